"""EKS access entries: the principals of IAM that a cluster lets in, with their Kubernetes users, groups and policies.

An access policy is EKS's own authorisation beside RBAC; what each allows is a role of `ekslab.kubernetes.seed`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ekslab import names
from ekslab.aws.protocols import AwsError, Call

_POLICY = "arn:aws:eks::aws:cluster-access-policy/"
# Access policies that the lab knows, and the cluster role that allows the same.
POLICIES: Mapping[str, str] = {
    "AmazonEKSAdminPolicy": "admin",
    "AmazonEKSClusterAdminPolicy": "cluster-admin",
    "AmazonEKSEditPolicy": "edit",
    "AmazonEKSViewPolicy": "view",
}
_TYPES = ("STANDARD", "EC2_LINUX", "EC2_WINDOWS", "FARGATE_LINUX", "EC2", "HYBRID_LINUX", "HYPERPOD_LINUX")
_RESERVED = ("system:", "eks:", "aws:", "amazon:", "iam:")
_PRINCIPAL = re.compile(r"arn:aws[\w-]*:iam::(\d{12}):(role|user|root)(?:/(.*))?")


@dataclass(frozen=True)
class KubernetesUser:
    """Whom a principal of IAM is in the cluster. `grants` are (cluster role, namespace), without one: everywhere."""

    name: str
    groups: tuple[str, ...]
    grants: tuple[tuple[str, str], ...]
    extra: tuple[tuple[str, tuple[str, ...]], ...]


@dataclass
class _Entry:
    principal: str
    arn: str
    type: str
    username: str
    groups: list[str]
    tags: dict[str, str]
    created: float
    modified: float
    policies: dict[str, dict[str, Any]] = field(default_factory=dict)


class AccessEntries:
    """The access entries of one cluster. `principal_exists` says whether IAM has a role or user with an ARN."""

    def __init__(
        self,
        *,
        cluster: str,
        cluster_arn: str,
        creator: str,
        node_role: str,
        principal_exists: Callable[[str], bool],
        clock: Callable[[], float],
    ) -> None:
        self._cluster = cluster
        self._cluster_arn = cluster_arn
        self._exists = principal_exists
        self._clock = clock
        self._entries: dict[str, _Entry] = {}
        # What EKS makes with a cluster and a managed node group.
        self._add(creator, "STANDARD", creator, [], {})
        self._associate(self._entries[creator], f"{_POLICY}AmazonEKSClusterAdminPolicy", {"type": "cluster"})
        self._add(node_role, "EC2_LINUX", "system:node:{{EC2PrivateDNSName}}", ["system:nodes"], {})

    def operations(self) -> dict[str, Callable[[Call], dict[str, Any]]]:
        """What answers each operation, by its name."""
        return {
            "CreateAccessEntry": self._create,
            "DescribeAccessEntry": lambda call: {"accessEntry": _described(self._cluster, self._entry(call))},
            "UpdateAccessEntry": self._update,
            "DeleteAccessEntry": self._delete,
            "ListAccessEntries": self._list,
            "AssociateAccessPolicy": self._associate_policy,
            "DisassociateAccessPolicy": self._disassociate,
            "ListAssociatedAccessPolicies": self._list_associated,
            "ListAccessPolicies": lambda call: {
                "accessPolicies": [{"name": name, "arn": _POLICY + name} for name in POLICIES]
            },
        }

    def resource(self, principal: str) -> str:
        """The ARN on which calls that name a principal are authorised: its entry's, or else the cluster's."""
        found = self._entries.get(principal)
        return found.arn if found is not None else self._cluster_arn

    def user(self, arn: str) -> KubernetesUser | None:
        """The Kubernetes user behind a caller's ARN (of a user or of a role's session); None: the cluster is closed."""
        account, _, session = arn.partition(":assumed-role/")
        role, _, session_name = session.partition("/")
        entry = self._entries.get(arn) if not session else None
        if session:
            entry = next((one for one in self._entries.values() if _is_role(one.principal, account, role)), None)
        if entry is None or entry.type != "STANDARD":
            return None
        grants = [
            (POLICIES[policy.removeprefix(_POLICY)], namespace)
            for policy, found in entry.policies.items()
            for namespace in (found["accessScope"].get("namespaces") or [""])
        ]
        extra = [("arn", (arn,)), ("canonicalArn", (entry.principal,)), ("sessionName", (session_name,))]
        # As EKS's authenticator does: an e-mail address is a usual name of a session, and `@` is none of Kubernetes'.
        name = entry.username.replace("{{SessionName}}", session_name.replace("@", "-"))
        return KubernetesUser(name, tuple(entry.groups), tuple(grants), tuple(extra))

    def _add(self, principal: str, kind: str, username: str, groups: list[str], tags: dict[str, str]) -> _Entry:
        matched = _PRINCIPAL.fullmatch(principal)
        assert matched is not None
        account, what, name = matched.groups()
        now = self._clock()
        path = f"{what}/{account}/{(name or what).rpartition('/')[2]}/{names.uid(self._cluster_arn, principal, now)}"
        arn = self._cluster_arn.replace(":cluster/", ":access-entry/") + f"/{path}"
        entry = _Entry(principal, arn, kind, username, groups, tags, now, now)
        self._entries[principal] = entry
        return entry

    def _entry(self, call: Call) -> _Entry:
        principal = call.path_parameters.get("principalArn", "")
        found = self._entries.get(principal)
        if found is None:
            message = (
                "The specified principalArn could not be found. You can view your available access entries with "
                "'list-access-entries'."
            )
            raise AwsError("ResourceNotFoundException", message, 404)
        return found

    def _create(self, call: Call) -> dict[str, Any]:
        p = call.parameters
        principal, kind = str(p.get("principalArn", "")), p.get("type") or "STANDARD"
        if kind not in _TYPES:
            raise _invalid(f"The type {kind} is not supported.")
        if _PRINCIPAL.fullmatch(principal) is None or not self._exists(principal):
            raise _invalid("The specified principalArn is invalid: invalid principal.")
        if principal in self._entries:
            message = "The specified access entry resource is already in use on this cluster."
            raise AwsError("ResourceInUseException", message, 409)
        groups, username = list(p.get("kubernetesGroups") or []), p.get("username") or ""
        if kind != "STANDARD" and (groups or username):
            raise _invalid(f"The kubernetesGroups and username of a {kind} type access entry can't be set.")
        _check(groups, username)
        entry = self._add(principal, kind, username or _default_username(principal), groups, dict(p.get("tags") or {}))
        return {"accessEntry": _described(self._cluster, entry)}

    def _update(self, call: Call) -> dict[str, Any]:
        entry, p = self._entry(call), call.parameters
        groups = p.get("kubernetesGroups")
        groups = entry.groups if groups is None else list(groups)
        username = p.get("username") or entry.username
        _check(groups, "" if username == entry.username else username)
        entry.groups, entry.username, entry.modified = groups, username, self._clock()
        return {"accessEntry": _described(self._cluster, entry)}

    def _delete(self, call: Call) -> dict[str, Any]:
        del self._entries[self._entry(call).principal]
        return {}

    def _list(self, call: Call) -> dict[str, Any]:
        policy = call.parameters.get("associatedPolicyArn")
        found = sorted(one.principal for one in self._entries.values() if policy in (None, *one.policies))
        size = int(call.parameters.get("maxResults") or 100)
        start = int(call.parameters.get("nextToken") or 0)
        following = str(start + size) if start + size < len(found) else None
        return {"accessEntries": found[start : start + size], "nextToken": following}

    def _associate_policy(self, call: Call) -> dict[str, Any]:
        entry, p = self._entry(call), call.parameters
        found = self._associate(entry, str(p.get("policyArn", "")), dict(p.get("accessScope") or {}))
        return {"clusterName": self._cluster, "principalArn": entry.principal, "associatedAccessPolicy": found}

    def _associate(self, entry: _Entry, policy: str, scope: dict[str, Any]) -> dict[str, Any]:
        if policy.removeprefix(_POLICY) not in POLICIES:
            raise _invalid("The specified policyArn is invalid: invalid policy.")
        if entry.type != "STANDARD":
            raise _invalid(f"The access entry type {entry.type} can't have access policies.")
        if scope.get("type") not in ("cluster", "namespace"):
            raise _invalid("The type of the accessScope must be cluster or namespace.")
        if (scope["type"] == "namespace") != bool(scope.get("namespaces")):
            raise _invalid("An accessScope of type namespace, and no other, needs namespaces.")
        now = self._clock()
        made = entry.policies.get(policy, {}).get("associatedAt", now)
        entry.policies[policy] = {
            "policyArn": policy,
            "accessScope": {"type": scope["type"], "namespaces": list(scope.get("namespaces") or [])},
            "associatedAt": made,
            "modifiedAt": now,
        }
        return entry.policies[policy]

    def _disassociate(self, call: Call) -> dict[str, Any]:
        entry = self._entry(call)
        if entry.policies.pop(call.path_parameters.get("policyArn", ""), None) is None:
            message = "The specified policyArn is not associated with the access entry."
            raise AwsError("ResourceNotFoundException", message, 404)
        return {}

    def _list_associated(self, call: Call) -> dict[str, Any]:
        entry = self._entry(call)
        return {
            "clusterName": self._cluster,
            "principalArn": entry.principal,
            "associatedAccessPolicies": list(entry.policies.values()),
        }


def _described(cluster: str, entry: _Entry) -> dict[str, Any]:
    return {
        "clusterName": cluster,
        "principalArn": entry.principal,
        "kubernetesGroups": entry.groups,
        "accessEntryArn": entry.arn,
        "createdAt": entry.created,
        "modifiedAt": entry.modified,
        "tags": entry.tags,
        "username": entry.username,
        "type": entry.type,
    }


def _check(groups: list[str], username: str) -> None:
    """Raises EKS's error for a group or user name that is reserved."""
    for what, name in [*(("group name", group) for group in groups), *((("username", username),) if username else ())]:
        for prefix in _RESERVED:
            if name.startswith(prefix):
                raise _invalid(f"The kubernetes {what} {name} is invalid, it cannot start with {prefix}")


def _default_username(principal: str) -> str:
    if ":role/" not in principal:
        return principal
    account, _, path = principal.partition(":role/")
    role = path.rpartition("/")[2]
    return f"{account.replace(':iam:', ':sts:')}:assumed-role/{role}/{{{{SessionName}}}}"


def _is_role(principal: str, account: str, role: str) -> bool:
    prefix, _, path = principal.partition(":role/")
    return prefix.replace(":iam:", ":sts:") == account and path.rpartition("/")[2] == role


def _invalid(message: str) -> AwsError:
    return AwsError("InvalidParameterException", message, 400)
