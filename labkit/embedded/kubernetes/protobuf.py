"""Protobuf bodies, which kubectl 1.32 and later send for `create` and `auth`: bytes in, the object as JSON has it out.

Only what those commands send is known here: a field that isn't is refused rather than lost.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

from labkit.embedded.kubernetes.errors import bad_request, unsupported_media_type
from labkit.embedded.kubernetes.resources import Object

MAGIC = b"k8s\x00"

# Message -> field number -> (name, type). `*` marks a list, `{}` a map with string keys; other types are messages.
_MESSAGES: dict[str, dict[int, tuple[str, str]]] = {
    "ObjectMeta": {
        1: ("name", "str"), 2: ("generateName", "str"), 3: ("namespace", "str"), 4: ("selfLink", "str"),
        5: ("uid", "str"), 6: ("resourceVersion", "str"), 7: ("generation", "int"), 8: ("creationTimestamp", "Time"),
        11: ("labels", "{}str"), 12: ("annotations", "{}str"), 14: ("finalizers", "*str"),
    },
    "ConfigMap": {
        1: ("metadata", "ObjectMeta"), 2: ("data", "{}str"), 3: ("binaryData", "{}bytes"), 4: ("immutable", "bool"),
    },
    "Secret": {
        1: ("metadata", "ObjectMeta"), 2: ("data", "{}bytes"), 3: ("type", "str"), 4: ("stringData", "{}str"),
        5: ("immutable", "bool"),
    },
    "ServiceAccount": {1: ("metadata", "ObjectMeta"), 4: ("automountServiceAccountToken", "bool")},
    "Namespace": {1: ("metadata", "ObjectMeta"), 2: ("spec", "NamespaceSpec"), 3: ("status", "Status")},
    "NamespaceSpec": {1: ("finalizers", "*str")},
    "Status": {},
    "Role": {1: ("metadata", "ObjectMeta"), 2: ("rules", "*PolicyRule")},
    "ClusterRole": {1: ("metadata", "ObjectMeta"), 2: ("rules", "*PolicyRule")},
    "PolicyRule": {
        1: ("verbs", "*str"), 2: ("apiGroups", "*str"), 3: ("resources", "*str"), 4: ("resourceNames", "*str"),
        5: ("nonResourceURLs", "*str"),
    },
    "RoleBinding": {1: ("metadata", "ObjectMeta"), 2: ("subjects", "*Subject"), 3: ("roleRef", "RoleRef")},
    "ClusterRoleBinding": {1: ("metadata", "ObjectMeta"), 2: ("subjects", "*Subject"), 3: ("roleRef", "RoleRef")},
    "Subject": {1: ("kind", "str"), 2: ("apiGroup", "str"), 3: ("name", "str"), 4: ("namespace", "str")},
    "RoleRef": {1: ("apiGroup", "str"), 2: ("kind", "str"), 3: ("name", "str")},
    "Deployment": {1: ("metadata", "ObjectMeta"), 2: ("spec", "DeploymentSpec"), 3: ("status", "Status")},
    "DeploymentSpec": {
        1: ("replicas", "int"), 2: ("selector", "LabelSelector"), 3: ("template", "PodTemplateSpec"),
        4: ("strategy", "DeploymentStrategy"), 5: ("minReadySeconds", "int"), 7: ("paused", "bool"),
    },
    "Job": {1: ("metadata", "ObjectMeta"), 2: ("spec", "JobSpec"), 3: ("status", "Status")},
    "JobSpec": {
        1: ("parallelism", "int"), 2: ("completions", "int"), 6: ("template", "PodTemplateSpec"),
        7: ("backoffLimit", "int"), 8: ("ttlSecondsAfterFinished", "int"),
    },
    "Service": {1: ("metadata", "ObjectMeta"), 2: ("spec", "ServiceSpec"), 3: ("status", "Status")},
    "ServiceSpec": {
        1: ("ports", "*ServicePort"), 2: ("selector", "{}str"), 3: ("clusterIP", "str"), 4: ("type", "str"),
        10: ("externalName", "str"),
    },
    "ServicePort": {
        1: ("name", "str"), 2: ("protocol", "str"), 3: ("port", "int"), 4: ("targetPort", "int or str"),
        5: ("nodePort", "int"),
    },
    "DeploymentStrategy": {1: ("type", "str")},
    "LabelSelector": {1: ("matchLabels", "{}str")},
    "PodTemplateSpec": {1: ("metadata", "ObjectMeta"), 2: ("spec", "PodSpec")},
    "PodSpec": {
        2: ("containers", "*Container"), 3: ("restartPolicy", "str"), 6: ("dnsPolicy", "str"),
        8: ("serviceAccountName", "str"), 9: ("serviceAccount", "str"), 10: ("nodeName", "str"),
        11: ("hostNetwork", "bool"), 12: ("hostPID", "bool"), 13: ("hostIPC", "bool"), 16: ("hostname", "str"),
        17: ("subdomain", "str"), 19: ("schedulerName", "str"), 24: ("priorityClassName", "str"),
    },
    "Container": {
        1: ("name", "str"), 2: ("image", "str"), 3: ("command", "*str"), 4: ("args", "*str"), 5: ("workingDir", "str"),
        6: ("ports", "*ContainerPort"), 8: ("resources", "Status"), 13: ("terminationMessagePath", "str"),
        14: ("imagePullPolicy", "str"), 16: ("stdin", "bool"), 17: ("stdinOnce", "bool"), 18: ("tty", "bool"),
        20: ("terminationMessagePolicy", "str"),
    },
    "ContainerPort": {
        1: ("name", "str"), 2: ("hostPort", "int"), 3: ("containerPort", "int"), 4: ("protocol", "str"),
        5: ("hostIP", "str"),
    },
    "SelfSubjectAccessReview": {
        1: ("metadata", "ObjectMeta"), 2: ("spec", "SelfSubjectAccessReviewSpec"), 3: ("status", "ReviewStatus"),
    },
    "SelfSubjectAccessReviewSpec": {
        1: ("resourceAttributes", "ResourceAttributes"), 2: ("nonResourceAttributes", "NonResourceAttributes"),
    },
    "ResourceAttributes": {
        1: ("namespace", "str"), 2: ("verb", "str"), 3: ("group", "str"), 4: ("version", "str"),
        5: ("resource", "str"), 6: ("subresource", "str"), 7: ("name", "str"),
    },
    "NonResourceAttributes": {1: ("path", "str"), 2: ("verb", "str")},
    "ReviewStatus": {
        1: ("allowed", "bool"), 2: ("reason", "str"), 3: ("evaluationError", "str"), 4: ("denied", "bool"),
    },
    "SelfSubjectRulesReview": {
        1: ("metadata", "ObjectMeta"), 2: ("spec", "SelfSubjectRulesReviewSpec"), 3: ("status", "RulesStatus"),
    },
    "SelfSubjectRulesReviewSpec": {1: ("namespace", "str")},
    "RulesStatus": {3: ("incomplete", "bool")},
    "SelfSubjectReview": {1: ("metadata", "ObjectMeta"), 2: ("status", "SelfSubjectReviewStatus")},
    "SelfSubjectReviewStatus": {1: ("userInfo", "UserInfo")},
    "UserInfo": {1: ("username", "str"), 2: ("uid", "str")},
    "TokenRequest": {
        1: ("metadata", "ObjectMeta"), 2: ("spec", "TokenRequestSpec"), 3: ("status", "TokenRequestStatus"),
    },
    "TokenRequestSpec": {
        1: ("audiences", "*str"), 3: ("boundObjectRef", "BoundObjectReference"), 4: ("expirationSeconds", "int"),
    },
    "BoundObjectReference": {1: ("kind", "str"), 2: ("apiVersion", "str"), 3: ("name", "str"), 4: ("uid", "str")},
    "TokenRequestStatus": {1: ("token", "str"), 2: ("expirationTimestamp", "Time")},
}  # fmt: skip
_SERVER_S = ("status", "creationTimestamp")


def decode(body: bytes) -> Object:
    """The object in a request's body. Raises a 415 error for a kind or field that isn't known here."""
    try:
        envelope = dict(_fields(body.removeprefix(MAGIC)))
        kind = {number: value.decode() for number, value in _fields(envelope.get(1, b""))}
        if kind.get(2) not in _MESSAGES:
            raise _unknown(f"kind {kind.get(2)}")
        return {"apiVersion": kind.get(1, ""), "kind": kind[2], **_message(kind[2], envelope.get(2, b""))}
    except (AttributeError, IndexError, TypeError, UnicodeDecodeError) as error:  # not a message of that kind
        raise bad_request(f"error decoding the body of the request: {error}") from error


def _unknown(what: str) -> Exception:
    return unsupported_media_type(
        f"the embedded cluster doesn't read {what} in protobuf: send JSON, for example with kubectl create "
        "--dry-run=client -o yaml | kubectl apply -f -"
    )


def _message(name: str, data: bytes) -> Object:
    known = _MESSAGES[name]
    message: Object = {}
    for number, value in _fields(data):
        if number not in known:
            if value in (b"", 0):
                continue
            raise _unknown(f"field {number} of {name}")
        field, kind = known[number]
        if field in _SERVER_S:  # what a client sends of these is empty, and the server's to say
            continue
        if kind.startswith("*"):
            message.setdefault(field, []).append(_value(kind[1:], value))
        elif kind.startswith("{}"):
            entry = dict(_fields(value))
            message.setdefault(field, {})[entry.get(1, b"").decode()] = _value(kind[2:], entry.get(2, b""))
        elif value not in (b"", 0) or kind in _MESSAGES:
            message[field] = _value(kind, value)
    return message


def _value(kind: str, value: Any) -> Any:
    match kind:
        case "str":
            return value.decode()
        case "bytes":
            return base64.b64encode(value).decode()
        case "int":
            return int(value)
        case "bool":
            return bool(value)
        case "int or str":
            parts = dict(_fields(value))
            return parts.get(3, b"").decode() if parts.get(1) else parts.get(2, 0)
    return _message(kind, value)


def _fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """Field numbers and values: an int for a varint, bytes for what has a length."""
    position = 0
    while position < len(data):
        tag, position = _varint(data, position)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            value, position = _varint(data, position)
            yield number, value
        elif wire == 2:
            length, position = _varint(data, position)
            yield number, data[position : position + length]
            position += length
        else:
            raise _unknown(f"wire type {wire}")


def _varint(data: bytes, position: int) -> tuple[int, int]:
    result = shift = 0
    while True:
        byte = data[position]
        position += 1
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            return result, position
        shift += 7
