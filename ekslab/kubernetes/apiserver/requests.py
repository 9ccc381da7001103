"""A request to the API server: its target, parameters, authorization attributes and accepted form of answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ekslab.kubernetes.apiserver.auth import Attributes, User
from ekslab.kubernetes.objects import resources as r
from ekslab.kubernetes.objects.errors import ApiError, bad_request, no_such_path
from ekslab.kubernetes.objects.resources import Resource

STREAMED = ("exec", "attach", "portforward")
PROXY = "proxy"
_PROXIED = (r.PODS, r.SERVICES)
_NOT_EMULATED = (PROXY, "resize")


@dataclass(frozen=True)
class Target:
    """The kind that a request is for, and the object and subresource if it names them."""

    resource: Resource
    namespace: str = ""
    name: str = ""
    subresource: str = ""


@dataclass
class Request:
    """A parsed request. `query` has the last value of a repeated parameter, `pairs` all values."""

    method: str
    path: str
    pairs: list[tuple[str, str]]
    headers: Mapping[str, str]
    user: User
    parsed: Any = None
    """The decoded body; None without one."""
    body: bytes = b""
    """What a proxied request has sent, which isn't decoded."""
    warnings: list[str] = field(default_factory=list)

    @property
    def query(self) -> dict[str, str]:
        return dict(self.pairs)

    def flag(self, name: str) -> bool:
        return self.query.get(name, "").lower() in ("true", "1")

    def number(self, name: str) -> int:
        """An integer parameter, 0 if it isn't there. Raises a 400 error."""
        value = self.query.get(name) or "0"
        try:
            return int(value)
        except ValueError:
            raise bad_request(f'strconv.ParseInt: parsing "{value}": invalid syntax') from None

    def header(self, name: str) -> str:
        return next((value for key, value in self.headers.items() if key.lower() == name), "")


@dataclass(frozen=True)
class Accept:
    """The form of answer a client prefers: `Table`, `PartialObjectMetadata(List)`, or the object itself (empty)."""

    kind: str = ""

    @classmethod
    def parse(cls, header: str) -> Accept:
        for choice in header.split(","):
            parameters = dict(p.strip().partition("=")[::2] for p in choice.split(";")[1:])
            kind = parameters.get("as", "")
            if parameters.get("g") == "meta.k8s.io" and parameters.get("v") == "v1":
                return cls(kind)
            if not kind and choice.split(";")[0].strip() in ("application/json", "*/*"):
                return cls()
        return cls()


def parse_path(path: str) -> Target | None:
    """The object or collection a path names, None for a path that isn't a resource's. Raises a 404 error."""
    parts = [part for part in path.split("/") if part]
    match parts:
        case ["api", version, *rest] if rest:
            group = ""
        case ["apis", group, version, *rest] if rest:
            pass
        case _:
            return None
    namespace = ""
    if rest[0] == "namespaces" and len(rest) >= 3 and not (len(rest) == 3 and rest[2] in ("status", "finalize")):
        namespace, rest = rest[1], rest[2:]
    resource = r.by_path(group, version, rest[0])
    if resource in _PROXIED and rest[2:3] == [PROXY] and namespace:
        return Target(resource, namespace, rest[1], PROXY)
    beyond = len(rest) > 3 and rest[2] != PROXY
    if resource is None or beyond or (namespace and not resource.namespaced):
        raise no_such_path()
    target = Target(resource, namespace, *rest[1:3])
    if target.subresource and target.subresource not in (*resource.subresources, *_NOT_EMULATED):
        raise no_such_path()
    if target.name and resource.namespaced and not namespace:
        raise no_such_path()
    if resource is r.NAMESPACES and target.name:
        return replace(target, namespace="")
    return target


def refuse_not_emulated(target: Target) -> None:
    """Raises the 501 error for a subresource that the lab lacks."""
    if target.subresource in _NOT_EMULATED and target.subresource not in target.resource.subresources:
        what = f"{target.resource.qualified}/{target.subresource}"
        raise ApiError(501, "NotImplemented", f"the embedded cluster doesn't emulate {what}", {})


def attributes(request: Request, target: Target | None) -> Attributes:
    """What RBAC decides by."""
    if target is None:
        return Attributes(_path_verb(request.method), path=request.path)
    return Attributes(
        _verb(request, target),
        target.resource.group,
        target.resource.plural,
        target.subresource,
        # A namespace is in itself: a RoleBinding in it may give the right to get it.
        target.name if target.resource is r.NAMESPACES else target.namespace,
        target.name,
    )


def _path_verb(method: str) -> str:
    return {"GET": "get", "POST": "post", "PUT": "put", "PATCH": "patch", "DELETE": "delete"}.get(method, "get")


def _verb(request: Request, target: Target) -> str:
    if request.method == "GET" and not target.name:
        return "watch" if request.flag("watch") else "list"
    if request.method == "DELETE" and not target.name:
        return "deletecollection"
    return {"GET": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}.get(
        request.method, "get"
    )
