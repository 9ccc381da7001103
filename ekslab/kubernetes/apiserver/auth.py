"""Authentication by bearer token and authorization by RBAC."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import jwt

from ekslab.identity import API_AUDIENCE, Credentials, ServiceAccountIssuer
from ekslab.kubernetes.objects import resources as r
from ekslab.kubernetes.objects.errors import ApiError, unauthorized
from ekslab.kubernetes.objects.resources import Object, Resource
from ekslab.kubernetes.objects.store import Store

MASTERS = "system:masters"


@dataclass(frozen=True)
class User:
    """A caller.

    `grants` are cluster roles that it has without a binding, each with a namespace, or with "" for everywhere: what
    the access policies of EKS allow.
    """

    name: str
    groups: tuple[str, ...]
    uid: str = ""
    extra: tuple[tuple[str, tuple[str, ...]], ...] = ()
    grants: tuple[tuple[str, str], ...] = ()

    def info(self) -> Object:
        """As `UserInfo`."""
        info: Object = {"username": self.name, "groups": list(self.groups)}
        if self.uid:
            info["uid"] = self.uid
        if self.extra:
            info["extra"] = {key: list(values) for key, values in self.extra}
        return info


ANONYMOUS = User("system:anonymous", ("system:unauthenticated",))


@dataclass(frozen=True)
class Attributes:
    """The attributes of a request that RBAC decides by. `path` is set instead of a resource for non-resource URLs."""

    verb: str
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""


class Authenticator:
    """Turns bearer tokens into users. `aws_user` gives the user behind a `k8s-aws-v1.` token, None if it is refused."""

    def __init__(
        self,
        store: Store,
        credentials: Credentials,
        issuer: ServiceAccountIssuer,
        aws_user: Callable[[str], User | None] | None,
    ) -> None:
        self._store = store
        self._credentials = credentials
        self._issuer = issuer
        self._aws_user = aws_user

    def user(self, authorization: str) -> User:
        """The caller with this `Authorization` header; `ANONYMOUS` without one. Raises a 401 error."""
        scheme, _, token = authorization.partition(" ")
        if not authorization:
            return ANONYMOUS
        user = self.authenticate(token.strip()) if scheme.lower() == "bearer" else None
        if user is None:
            raise unauthorized()
        return user

    def authenticate(self, token: str, audience: str | None = None) -> User | None:
        """The user of a token, None if it isn't valid."""
        if hmac.compare_digest(token.encode(), self._credentials.kubernetes_token.encode()):
            return User("kubernetes-admin", (MASTERS, "system:authenticated"))
        if token.startswith("k8s-aws-v1."):
            return self._aws_user(token) if self._aws_user else None
        return self._service_account(token, audience or API_AUDIENCE)

    def _service_account(self, token: str, audience: str) -> User | None:
        try:
            bound = self._issuer.verify(token, audience=audience)["kubernetes.io"]
        except (jwt.InvalidTokenError, KeyError):
            return None
        namespace, account = bound["namespace"], bound["serviceaccount"]
        stored = self._store.get(r.SERVICE_ACCOUNTS, namespace, account["name"])
        if stored is None or (account.get("uid") and account["uid"] != stored["metadata"]["uid"]):
            return None
        extra: tuple[tuple[str, tuple[str, ...]], ...] = ()
        if pod := bound.get("pod"):
            running = self._store.get(r.PODS, namespace, pod["name"])
            if running is None or running["metadata"]["uid"] != pod.get("uid"):
                return None
            extra = (
                ("authentication.kubernetes.io/pod-name", (pod["name"],)),
                ("authentication.kubernetes.io/pod-uid", (pod["uid"],)),
            )
        groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated")
        return User(f"system:serviceaccount:{namespace}:{account['name']}", groups, stored["metadata"]["uid"], extra)


class Authorizer:
    """RBAC over the store's roles and bindings."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def allows(self, user: User, wanted: Attributes) -> bool:
        return MASTERS in user.groups or any(_rule_allows(rule, wanted) for rule in self.rules(user, wanted.namespace))

    def rules(self, user: User, namespace: str) -> list[dict[str, Any]]:
        """The policy rules a user has cluster-wide and in a namespace."""
        found: list[dict[str, Any]] = []
        for role, scope in user.grants:
            if scope in ("", namespace):
                found += (self._store.get(r.CLUSTER_ROLES, "", role) or {}).get("rules") or ()
        for binding in self._store.list(r.CLUSTER_ROLE_BINDINGS):
            if _binds(binding, user):
                found += self._role(r.CLUSTER_ROLES, "", binding)
        if namespace:
            for binding in self._store.list(r.ROLE_BINDINGS, namespace):
                if _binds(binding, user):
                    kind = r.ROLES if binding["roleRef"]["kind"] == "Role" else r.CLUSTER_ROLES
                    found += self._role(kind, namespace if kind is r.ROLES else "", binding)
        return found

    def _role(self, resource: Resource, namespace: str, binding: Object) -> list[dict[str, Any]]:
        role = self._store.get(resource, namespace, binding["roleRef"]["name"])
        return list((role or {}).get("rules") or ())

    def check(self, user: User, wanted: Attributes) -> None:
        """Raises the 403 error with which the API server refuses what RBAC does not allow."""
        if not self.allows(user, wanted):
            raise _refused(user, wanted)

    def check_grant(self, user: User, resource: Resource, obj: Object) -> None:
        """Raises the 403 error for a role, or a binding of one, that gives more than the user has.

        `escalate` on roles and `bind` on a role allow it all the same.
        """
        namespace = str(obj["metadata"].get("namespace", ""))
        if resource in (r.ROLES, r.CLUSTER_ROLES):
            wanted, rules = (
                Attributes("escalate", r.ROLES.group, resource.plural, "", namespace),
                obj.get("rules") or (),
            )
        else:
            reference = obj["roleRef"]
            kind = r.ROLES if reference["kind"] == "Role" else r.CLUSTER_ROLES
            scope = namespace if kind is r.ROLES else ""
            wanted = Attributes("bind", kind.group, kind.plural, "", namespace, reference["name"])
            rules = self._role(kind, scope, obj)
        if self.allows(user, wanted):
            return
        held = self.rules(user, namespace)
        missing = [rule for rule in rules if not all(_any_covers(held, one) for one in _singly(rule))]
        if missing:
            groups = ",".join(f'"{group}"' for group in user.groups)
            name = obj["metadata"]["name"]
            message = (
                f'{resource.qualified} "{name}" is forbidden: user "{user.name}" (groups=[{groups}]) is attempting to '
                "grant RBAC permissions not currently held:\n" + "\n".join(map(_compact, missing))
            )
            details = {"name": name, "group": resource.group, "kind": resource.plural}
            raise ApiError(403, "Forbidden", message, details)


def _singly(rule: Mapping[str, Any]) -> Iterator[dict[str, list[str]]]:
    """A rule as rules of one verb, group, resource and name each, or of one verb and path."""
    for verb in rule.get("verbs") or ():
        for path in rule.get("nonResourceURLs") or ():
            yield {"verbs": [verb], "nonResourceURLs": [path]}
        for group in rule.get("apiGroups") or ():
            for resource in rule.get("resources") or ():
                for name in rule.get("resourceNames") or [""]:
                    yield {
                        "verbs": [verb],
                        "apiGroups": [group],
                        "resources": [resource],
                        "resourceNames": [name] if name else [],
                    }


def _any_covers(held: Iterable[Mapping[str, Any]], one: Mapping[str, list[str]]) -> bool:
    def has(rule: Mapping[str, Any], key: str) -> bool:
        values = rule.get(key) or ()
        return "*" in values or all(value in values for value in one[key])

    def covers(rule: Mapping[str, Any]) -> bool:
        if "nonResourceURLs" in one:
            paths = rule.get("nonResourceURLs") or ()
            (path,) = one["nonResourceURLs"]
            return has(rule, "verbs") and any(
                p in ("*", path) or (p[-1:] == "*" and path.startswith(p[:-1])) for p in paths
            )
        named = rule.get("resourceNames") or ()
        return all(has(rule, key) for key in ("verbs", "apiGroups", "resources")) and (
            not named or bool(one["resourceNames"] and one["resourceNames"][0] in named)
        )

    return any(covers(rule) for rule in held)


def _compact(rule: Mapping[str, Any]) -> str:
    """A rule as the API server prints it."""
    parts = [("APIGroups", "apiGroups"), ("Resources", "resources"), ("ResourceNames", "resourceNames")]
    parts += [("NonResourceURLs", "nonResourceURLs"), ("Verbs", "verbs")]
    shown = [
        f"{word}:[{', '.join(f'{chr(34)}{v}{chr(34)}' for v in rule[key])}]" for word, key in parts if rule.get(key)
    ]
    return f"{{{', '.join(shown)}}}"


def _binds(binding: Object, user: User) -> bool:
    for subject in binding.get("subjects") or ():
        kind, name = subject["kind"], subject["name"]
        if kind == "Group" and name in user.groups:
            return True
        if kind == "User" and name == user.name:
            return True
        if kind == "ServiceAccount" and user.name == f"system:serviceaccount:{subject.get('namespace')}:{name}":
            return True
    return False


def _rule_allows(rule: dict[str, Any], wanted: Attributes) -> bool:
    def covers(name: str, value: str) -> bool:
        values = rule.get(name) or ()
        return "*" in values or value in values

    if not covers("verbs", wanted.verb):
        return False
    if wanted.path:
        return any(
            pattern == "*" or wanted.path == pattern or (pattern.endswith("*") and wanted.path.startswith(pattern[:-1]))
            for pattern in rule.get("nonResourceURLs") or ()
        )
    if not covers("apiGroups", wanted.group):
        return False
    resource = f"{wanted.resource}/{wanted.subresource}" if wanted.subresource else wanted.resource
    if not covers("resources", resource) and not (
        wanted.subresource and f"*/{wanted.subresource}" in (rule.get("resources") or ())
    ):
        return False
    names = rule.get("resourceNames")
    return not names or wanted.name in names


def _refused(user: User, wanted: Attributes) -> ApiError:
    if wanted.path:
        return ApiError(
            403, "Forbidden", f'forbidden: User "{user.name}" cannot {wanted.verb} path "{wanted.path}"', {}
        )
    qualified = f"{wanted.resource}.{wanted.group}" if wanted.group else wanted.resource
    resource = f"{wanted.resource}/{wanted.subresource}" if wanted.subresource else wanted.resource
    subject = f'{qualified} "{wanted.name}"' if wanted.name else qualified
    scope = f'in the namespace "{wanted.namespace}"' if wanted.namespace else "at the cluster scope"
    message = (
        f'{subject} is forbidden: User "{user.name}" cannot {wanted.verb} resource "{resource}" '
        f'in API group "{wanted.group}" {scope}'
    )
    details: Object = {"name": wanted.name, "kind": wanted.resource} if wanted.name else {"kind": wanted.resource}
    if wanted.group:
        details["group"] = wanted.group
    return ApiError(403, "Forbidden", message, details)
