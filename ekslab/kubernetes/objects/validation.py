"""Validation of objects: required and malformed fields, and fields that are immutable."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Iterable
from typing import Any

from ekslab.kubernetes.objects import resources as r
from ekslab.kubernetes.objects.errors import Cause
from ekslab.kubernetes.objects.resources import Object, Resource
from ekslab.kubernetes.objects.selectors import matches

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_DNS_1035 = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_LABEL_VALUE = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?")
_QUALIFIED_NAME = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")
_ENV_NAME = re.compile(r"[-._a-zA-Z][-._a-zA-Z0-9]*")
_DATA_KEY = re.compile(r"[-._a-zA-Z0-9]+")
_QUANTITY = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+|[KMGTPE]i|[numkMGTPE])?")

_SUBDOMAIN_HELP = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start "
    "and end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
_LABEL_HELP = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end "
    "with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
_DNS_1035_HELP = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, "
    "and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is "
    "'[a-z]([-a-z0-9]*[a-z0-9])?')"
)
_LABEL_VALUE_HELP = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is "
    "'(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)
_QUANTITY_HELP = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
_POD_UPDATE_HELP = (
    "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,"
    "`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)
_RBAC = (r.ROLES, r.CLUSTER_ROLES, r.ROLE_BINDINGS, r.CLUSTER_ROLE_BINDINGS)


def validate(resource: Resource, obj: Object, old: Object | None = None) -> list[Cause]:
    """Everything wrong with `obj` (which has its defaults); `old` is the state it replaces, if any."""
    causes = list(_metadata(resource, obj))
    if check := _CHECKS.get(resource):
        causes += check(obj)
    if old is not None and (check_update := _UPDATES.get(resource)):
        causes += check_update(obj, old)
    return causes


def _metadata(resource: Resource, obj: Object) -> Iterable[Cause]:
    metadata = obj["metadata"]
    name = metadata.get("name", "")
    if not name:
        yield Cause.required("metadata.name", "name or generateName is required")
    elif resource in (r.NAMESPACES,):
        if not _LABEL.fullmatch(name) or len(name) > 63:
            yield Cause.invalid("metadata.name", name, _LABEL_HELP)
    elif resource is r.SERVICES:
        if not _DNS_1035.fullmatch(name) or len(name) > 63:
            yield Cause.invalid("metadata.name", name, _DNS_1035_HELP)
    elif resource not in _RBAC and (not _SUBDOMAIN.fullmatch(name) or len(name) > 253):
        yield Cause.invalid("metadata.name", name, _SUBDOMAIN_HELP)
    yield from _labels(metadata.get("labels"), "metadata.labels")
    for key in metadata.get("annotations") or {}:
        yield from _qualified_name(key, "metadata.annotations")


def _labels(labels: Any, field: str) -> Iterable[Cause]:
    for key, value in (labels or {}).items():
        yield from _qualified_name(key, field)
        if not _LABEL_VALUE.fullmatch(str(value)):
            yield Cause.invalid(field, value, _LABEL_VALUE_HELP)
        elif len(str(value)) > 63:
            yield Cause.invalid(field, value, "must be no more than 63 characters")


def _qualified_name(key: str, field: str) -> Iterable[Cause]:
    prefix, slash, name = key.rpartition("/")
    if (slash and not _SUBDOMAIN.fullmatch(prefix.lower())) or not _QUALIFIED_NAME.fullmatch(name):
        yield Cause.invalid(
            field,
            key,
            "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an "
            "alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
            "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')",
        )


def _pod_spec(spec: Object, field: str) -> Iterable[Cause]:
    containers = spec.get("containers") or []
    if not containers:
        yield Cause.required(f"{field}.containers")
    volumes = spec.get("volumes") or []
    names: set[str] = set()
    for index, volume in enumerate(volumes):
        place = f"{field}.volumes[{index}]"
        name = volume.get("name", "")
        if not name:
            yield Cause.required(f"{place}.name")
        elif not _LABEL.fullmatch(name):
            yield Cause.invalid(f"{place}.name", name, _LABEL_HELP)
        if name in names:
            yield Cause.duplicate(f"{place}.name", name)
        names.add(name)
        sources = [key for key in volume if key != "name"]
        if len(sources) > 1:
            yield Cause.forbidden(f"{place}.{sources[1]}", "may not specify more than 1 volume type")
        if "hostPath" in volume and not (volume["hostPath"] or {}).get("path"):
            yield Cause.required(f"{place}.hostPath.path")
        if "configMap" in volume and not (volume["configMap"] or {}).get("name"):
            yield Cause.required(f"{place}.configMap.name")
        if "secret" in volume and not (volume["secret"] or {}).get("secretName"):
            yield Cause.required(f"{place}.secret.secretName")
    seen: set[str] = set()
    for kind in ("initContainers", "containers"):
        for index, container in enumerate(spec.get(kind) or ()):
            yield from _container(container, f"{field}.{kind}[{index}]", names, seen)
    if spec.get("restartPolicy") not in ("Always", "OnFailure", "Never"):
        yield Cause.unsupported(f"{field}.restartPolicy", spec.get("restartPolicy"), ("Always", "OnFailure", "Never"))
    for index, toleration in enumerate(spec.get("tolerations") or ()):
        if toleration.get("operator", "Equal") not in ("Equal", "Exists"):
            yield Cause.unsupported(
                f"{field}.tolerations[{index}].operator", toleration["operator"], ("Equal", "Exists")
            )


def _container(container: Object, field: str, volumes: set[str], seen: set[str]) -> Iterable[Cause]:
    name = container.get("name", "")
    if not name:
        yield Cause.required(f"{field}.name")
    elif not _LABEL.fullmatch(name) or len(name) > 63:
        yield Cause.invalid(f"{field}.name", name, _LABEL_HELP)
    elif name in seen:
        yield Cause.duplicate(f"{field}.name", name)
    seen.add(name)
    image = container.get("image", "")
    if not image:
        yield Cause.required(f"{field}.image")
    elif image != image.strip():
        yield Cause.invalid(f"{field}.image", image, "must not have leading or trailing whitespace")
    if container.get("imagePullPolicy") not in ("Always", "IfNotPresent", "Never"):
        yield Cause.unsupported(
            f"{field}.imagePullPolicy", container.get("imagePullPolicy"), ("Always", "IfNotPresent", "Never")
        )
    for index, variable in enumerate(container.get("env") or ()):
        variable_name = variable.get("name", "")
        if not variable_name:
            yield Cause.required(f"{field}.env[{index}].name")
        elif not _ENV_NAME.fullmatch(variable_name):
            yield Cause.invalid(
                f"{field}.env[{index}].name",
                variable_name,
                "a valid environment variable name must consist of alphabetic characters, digits, '_', '-', or '.', "
                "and must not start with a digit (e.g. 'my.env-name',  or 'MY_ENV.NAME',  or 'MyEnvName1', regex used "
                "for validation is '[-._a-zA-Z][-._a-zA-Z0-9]*')",
            )
        if variable.get("value") and variable.get("valueFrom"):
            yield Cause.invalid(f"{field}.env[{index}].valueFrom", "", "may not be specified when `value` is not empty")
    mounted: set[str] = set()
    for index, mount in enumerate(container.get("volumeMounts") or ()):
        place = f"{field}.volumeMounts[{index}]"
        if not mount.get("name"):
            yield Cause.required(f"{place}.name")
        elif mount["name"] not in volumes:
            yield Cause.not_found(f"{place}.name", mount["name"])
        path = mount.get("mountPath", "")
        if not path:
            yield Cause.required(f"{place}.mountPath")
        elif path in mounted:
            yield Cause.invalid(f"{place}.mountPath", path, "must be unique")
        mounted.add(path)
    for index, port in enumerate(container.get("ports") or ()):
        number = port.get("containerPort")
        if not number:
            yield Cause.required(f"{field}.ports[{index}].containerPort")
        elif not 0 < number < 65536:
            yield Cause.invalid(
                f"{field}.ports[{index}].containerPort", number, "must be between 1 and 65535, inclusive"
            )
    for kind in ("limits", "requests"):
        for resource_name, amount in ((container.get("resources") or {}).get(kind) or {}).items():
            if not _QUANTITY.fullmatch(str(amount)):
                yield Cause.invalid(f"{field}.resources.{kind}.{resource_name}", amount, _QUANTITY_HELP)


def _pod(obj: Object) -> Iterable[Cause]:
    yield from _pod_spec(obj["spec"], "spec")


def _template_owner(obj: Object) -> Iterable[Cause]:
    spec = obj["spec"]
    selector = spec.get("selector")
    template = spec["template"]
    labels = template["metadata"].get("labels") or {}
    if selector is None:
        yield Cause.required("spec.selector")
    elif not selector.get("matchLabels") and not selector.get("matchExpressions"):
        yield Cause.invalid(
            "spec.selector", selector, f"empty selector is invalid for {str(obj.get('kind', '')).lower()}"
        )
    if selector is not None and not matches(selector, labels):
        yield Cause.invalid("spec.template.metadata.labels", labels, "`selector` does not match template `labels`")
    yield from _labels(labels, "spec.template.metadata.labels")
    yield from _pod_spec(template["spec"], "spec.template.spec")
    if template["spec"].get("restartPolicy") in ("OnFailure", "Never"):
        yield Cause.unsupported("spec.template.spec.restartPolicy", template["spec"]["restartPolicy"], ("Always",))
    if spec.get("replicas", 0) < 0:
        yield Cause.invalid("spec.replicas", spec["replicas"], "must be greater than or equal to 0")


def _deployment(obj: Object) -> Iterable[Cause]:
    yield from _template_owner(obj)
    strategy = obj["spec"]["strategy"]
    if strategy["type"] not in ("Recreate", "RollingUpdate"):
        yield Cause.unsupported("spec.strategy.type", strategy["type"], ("Recreate", "RollingUpdate"))
    elif strategy["type"] == "Recreate" and strategy.get("rollingUpdate"):
        yield Cause.forbidden("spec.strategy.rollingUpdate", "may not be specified when strategy `type` is 'Recreate'")
    else:
        rolling = strategy.get("rollingUpdate") or {}
        if str(rolling.get("maxSurge")) in ("0", "0%") and str(rolling.get("maxUnavailable")) in ("0", "0%"):
            yield Cause.invalid(
                "spec.strategy.rollingUpdate.maxUnavailable", rolling["maxUnavailable"],
                "may not be 0 when `maxSurge` is 0",
            )  # fmt: skip


def _daemon_set(obj: Object) -> Iterable[Cause]:
    yield from _template_owner(obj)
    kind = obj["spec"]["updateStrategy"]["type"]
    if kind not in ("OnDelete", "RollingUpdate"):
        yield Cause.unsupported("spec.updateStrategy.type", kind, ("RollingUpdate", "OnDelete"))


def _job(obj: Object) -> Iterable[Cause]:
    template = obj["spec"]["template"]
    yield from _pod_spec(template["spec"], "spec.template.spec")
    if template["spec"].get("restartPolicy") == "Always":
        yield Cause.unsupported("spec.template.spec.restartPolicy", "Always", ("OnFailure", "Never"))


def _data(obj: Object) -> Iterable[Cause]:
    for group in ("data", "binaryData"):
        for key in obj.get(group) or {}:
            if not _DATA_KEY.fullmatch(key):
                yield Cause.invalid(
                    f"{group}[{key}]",
                    key,
                    "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or "
                    "'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')",
                )
    size = sum(len(str(value)) for group in ("data", "binaryData") for value in (obj.get(group) or {}).values())
    if size > 1024 * 1024:
        yield Cause("", "FieldValueTooLong", "Too long: must have at most 1048576 bytes")


def _secret(obj: Object) -> Iterable[Cause]:
    yield from _data(obj)
    for key, value in (obj.get("data") or {}).items():
        try:
            base64.b64decode(value, validate=True)
        except (binascii.Error, ValueError, TypeError):
            yield Cause.invalid(f"data[{key}]", value, "illegal base64 data")


def _service(obj: Object) -> Iterable[Cause]:
    spec = obj["spec"]
    kinds = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
    if spec["type"] not in kinds:
        yield Cause.unsupported("spec.type", spec["type"], kinds)
        return
    ports = spec.get("ports") or []
    if not ports and spec["type"] != "ExternalName" and spec.get("clusterIP") != "None":
        yield Cause.required("spec.ports")
    names: set[str] = set()
    for index, port in enumerate(ports):
        number = port.get("port", 0)
        if not 0 < number < 65536:
            yield Cause.invalid(f"spec.ports[{index}].port", number, "must be between 1 and 65535, inclusive")
        name = port.get("name", "")
        if len(ports) > 1 and not name:
            yield Cause.required(f"spec.ports[{index}].name")
        elif name and name in names:
            yield Cause.duplicate(f"spec.ports[{index}].name", name)
        names.add(name)


def _binding(obj: Object) -> Iterable[Cause]:
    reference = obj.get("roleRef") or {}
    kinds = ("Role", "ClusterRole") if obj["kind"] == "RoleBinding" else ("ClusterRole",)
    if reference.get("kind") not in kinds:
        yield Cause.unsupported("roleRef.kind", reference.get("kind", ""), kinds)
    if not reference.get("name"):
        yield Cause.required("roleRef.name")
    for index, subject in enumerate(obj.get("subjects") or ()):
        if subject.get("kind") not in ("ServiceAccount", "User", "Group"):
            yield Cause.unsupported(
                f"subjects[{index}].kind", subject.get("kind", ""), ("ServiceAccount", "User", "Group")
            )
        if not subject.get("name"):
            yield Cause.required(f"subjects[{index}].name")
        if subject.get("kind") == "ServiceAccount" and not subject.get("namespace"):
            yield Cause.required(f"subjects[{index}].namespace")


def _immutable(*path: str) -> Callable[[Object, Object], Iterable[Cause]]:
    def check(obj: Object, old: Object) -> Iterable[Cause]:
        new_value, old_value = obj, old
        for name in path:
            new_value, old_value = new_value.get(name) or {}, old_value.get(name) or {}
        if new_value != old_value:
            yield Cause.invalid(".".join(path), new_value, "field is immutable")

    return check


def _role_reference(obj: Object, old: Object) -> Iterable[Cause]:
    if obj.get("roleRef") != old.get("roleRef"):
        yield Cause.invalid("roleRef", obj.get("roleRef"), "cannot change roleRef")


def _pod_update(obj: Object, old: Object) -> Iterable[Cause]:
    if _fixed_part(obj["spec"], old["spec"]) != _fixed_part(old["spec"], old["spec"]):
        yield Cause.forbidden("spec", _POD_UPDATE_HELP)


def _fixed_part(spec: Object, old: Object) -> Object:
    """What of a pod's spec may not change; tolerations may be added to."""
    fixed = {k: v for k, v in spec.items() if k not in ("activeDeadlineSeconds", "tolerations", "nodeName")}
    fixed["kept"] = [t for t in old.get("tolerations") or () if t in (spec.get("tolerations") or ())]
    for kind in ("containers", "initContainers"):
        fixed[kind] = [{k: v for k, v in c.items() if k != "image"} for c in spec.get(kind) or ()]
    return fixed


def _data_update(obj: Object, old: Object) -> Iterable[Cause]:
    if not old.get("immutable"):
        return
    for name in ("data", "binaryData"):
        if obj.get(name) != old.get(name):
            yield Cause.forbidden(name, "field is immutable when `immutable` is set")
    if not obj.get("immutable"):
        yield Cause.forbidden("immutable", "field is immutable when `immutable` is set")


def _secret_update(obj: Object, old: Object) -> Iterable[Cause]:
    if obj.get("type") != old.get("type"):
        yield Cause.invalid("type", obj.get("type"), "field is immutable")
    yield from _data_update(obj, old)


def _service_update(obj: Object, old: Object) -> Iterable[Cause]:
    new_ip, old_ip = obj["spec"].get("clusterIP"), old["spec"].get("clusterIP")
    if old_ip and new_ip != old_ip and obj["spec"]["type"] != "ExternalName":
        yield Cause.invalid("spec.clusterIPs[0]", [new_ip or ""], "may not change once set")


_CHECKS: dict[Resource, Callable[[Object], Iterable[Cause]]] = {
    r.PODS: _pod,
    r.DEPLOYMENTS: _deployment,
    r.REPLICA_SETS: _template_owner,
    r.DAEMON_SETS: _daemon_set,
    r.JOBS: _job,
    r.CONFIG_MAPS: _data,
    r.SECRETS: _secret,
    r.SERVICES: _service,
    r.ROLE_BINDINGS: _binding,
    r.CLUSTER_ROLE_BINDINGS: _binding,
}
_UPDATES: dict[Resource, Callable[[Object, Object], Iterable[Cause]]] = {
    r.PODS: _pod_update,
    r.DEPLOYMENTS: _immutable("spec", "selector"),
    r.REPLICA_SETS: _immutable("spec", "selector"),
    r.DAEMON_SETS: _immutable("spec", "selector"),
    r.JOBS: _immutable("spec", "template"),
    r.CONFIG_MAPS: _data_update,
    r.SECRETS: _secret_update,
    r.SERVICES: _service_update,
    r.ROLE_BINDINGS: _role_reference,
    r.CLUSTER_ROLE_BINDINGS: _role_reference,
}
