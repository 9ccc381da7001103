"""The pod identity webhook of EKS: variables and a token for pods whose service account has a role of IAM.

The role comes from the account's annotation (IRSA) or from an association (EKS Pod Identity), which goes first.
"""

from __future__ import annotations

import csv

from ekslab.identity import POD_IDENTITY_AUDIENCE, STS_AUDIENCE
from ekslab.kubernetes.objects.resources import Object

_DOMAIN = "eks.amazonaws.com"
ROLE_ANNOTATION = f"{_DOMAIN}/role-arn"
_URI = "http://169.254.170.23/v1/credentials"
_LONGEST, _SHORTEST = 86400, 600  # seconds of a token
# Where the token is: name of the volume, folder, file.
_WEB_IDENTITY = ("aws-iam-token", "/var/run/secrets/eks.amazonaws.com/serviceaccount", "token")
_CONTAINER = (
    *("eks-pod-identity-token", "/var/run/secrets/pods.eks.amazonaws.com/serviceaccount", "eks-pod-identity-token"),
)


def give_identity(pod: Object, account: Object, region: str, *, associated: bool) -> None:
    """Adds to a new pod what SDKs need to take on the role of its service account; nothing if it has none."""
    annotations = (account.get("metadata") or {}).get("annotations") or {}
    role = annotations.get(ROLE_ANNOTATION)
    if not (associated or role):
        return
    spec, own = pod["spec"], pod["metadata"].get("annotations") or {}
    if associated:
        volume, folder, file = _CONTAINER
        audience = POD_IDENTITY_AUDIENCE
        keys = {
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": _URI,
            "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": f"{folder}/{file}",
        }
        pod["metadata"].setdefault("labels", {})[f"{_DOMAIN}/pod-identity"] = "enabled"
    else:
        volume, folder, file = _WEB_IDENTITY
        audience = annotations.get(f"{_DOMAIN}/audience", STS_AUDIENCE)
        keys = {"AWS_ROLE_ARN": str(role), "AWS_WEB_IDENTITY_TOKEN_FILE": f"{folder}/{file}"}
    regional = annotations.get(f"{_DOMAIN}/sts-regional-endpoints", "true") == "true"
    skipped = next(csv.reader([own.get(f"{_DOMAIN}/skip-containers", "")]), [])
    for container in containers_of(spec):
        if container["name"] in skipped:
            continue
        have = {variable["name"] for variable in container.get("env") or ()}
        variables = {"AWS_STS_REGIONAL_ENDPOINTS": "regional"} if regional else {}
        if not have & {"AWS_REGION", "AWS_DEFAULT_REGION"}:
            variables |= {"AWS_DEFAULT_REGION": region, "AWS_REGION": region}
        if not have & set(keys):
            variables |= keys
        container.setdefault("env", []).extend(
            {"name": name, "value": value} for name, value in variables.items() if name not in have
        )
        mounts = container.setdefault("volumeMounts", [])
        if all(mount["name"] != volume for mount in mounts):
            mounts.append({"name": volume, "readOnly": True, "mountPath": folder})
    volumes = spec.setdefault("volumes", [])
    if all(one["name"] != volume for one in volumes):
        token = {"audience": audience, "expirationSeconds": _seconds(annotations, own), "path": file}
        volumes.insert(
            0, {"name": volume, "projected": {"sources": [{"serviceAccountToken": token}], "defaultMode": 420}}
        )


def _seconds(account: dict[str, str], pod: dict[str, str]) -> int:
    """How long a token is good for: the pod's annotation goes before its account's."""
    for known in (pod, account):
        text = known.get(f"{_DOMAIN}/token-expiration", "")
        if text.isdigit():
            return min(max(int(text), _SHORTEST), _LONGEST)
    return _LONGEST


def containers_of(spec: Object) -> list[Object]:
    return [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]
