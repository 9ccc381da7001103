"""Tables of resource quantities: requests and limits."""

from __future__ import annotations

from ekslab.kubernetes.objects.errors import Cause
from ekslab.kubernetes.objects.quantities import quantity
from ekslab.kubernetes.objects.resources import Object
from ekslab.kubernetes.objects.validation import formats
from ekslab.kubernetes.objects.validation.rules import Causes, Place, Rule, Scope

_OF_CONTAINERS = ("cpu", "memory", "ephemeral-storage")
_OF_PODS = ("cpu", "memory")
_STANDARD = (
    "cpu", "memory", "ephemeral-storage", "requests.cpu", "requests.memory", "requests.ephemeral-storage", "limits.cpu",
    "limits.memory", "limits.ephemeral-storage", "pods", "resourcequotas", "services", "replicationcontrollers",
    "secrets", "configmaps", "persistentvolumeclaims", "storage", "requests.storage", "services.nodeports",
    "services.loadbalancers",
)  # fmt: skip
_WHOLE = (
    "pods", "resourcequotas", "services", "replicationcontrollers", "secrets", "configmaps", "persistentvolumeclaims",
    "services.nodeports", "services.loadbalancers",
)  # fmt: skip


def is_huge_page(name: str) -> bool:
    return name.startswith("hugepages-")


def _is_native(name: str) -> bool:
    return "/" not in name or "kubernetes.io/" in name


def _is_extended(name: str) -> bool:
    return not (_is_native(name) or name.startswith("requests.")) and not formats.qualified_name(f"requests.{name}")


def _may_exceed(name: str) -> bool:
    """Whether limits may be above requests."""
    return _is_native(name) and not is_huge_page(name)


def resource_name(name: str, at: Place, _: Scope) -> Causes:
    if wrong := formats.qualified_name(name):
        return [Cause.invalid(str(at), name, why) for why in wrong]
    if "/" not in name and name not in _STANDARD and not is_huge_page(name):
        return [Cause.invalid(str(at), name, "must be a standard resource type or fully qualified")]
    return ()


def container_resource(name: str, at: Place, scope: Scope) -> Causes:
    causes = list(resource_name(name, at, scope))
    if "/" not in name:
        if name not in _OF_CONTAINERS and not is_huge_page(name):
            causes.append(Cause.invalid(str(at), name, "must be a standard resource for containers"))
    elif not _is_native(name) and not _is_extended(name):
        causes.append(Cause.invalid(str(at), name, "doesn't follow extended resource name standard"))
    return causes


def pod_resource(name: str, at: Place, scope: Scope) -> Causes:
    if causes := list(resource_name(name, at, scope)):
        return causes
    if name not in _OF_PODS and not is_huge_page(name):
        return (Cause.unsupported(str(at), name, _OF_PODS),)
    return ()


def amount(name: str, text: str, at: Place) -> Causes:
    """Not negative, and whole for things that are counted."""
    value = quantity(text)
    if value < 0:
        yield Cause.invalid(str(at), text, "must be greater than or equal to 0")
    if (name in _WHOLE or _is_extended(name)) and value != int(value):
        yield Cause.invalid(str(at), text, "must be an integer")


def requirements(named: Rule) -> Rule:
    """The table of requests and limits, by the rule for the resources' names."""

    def check(value: Object, at: Place, scope: Scope) -> Causes:
        limits, requests = value.get("limits") or {}, value.get("requests") or {}
        for kind, amounts in (("limits", limits), ("requests", requests)):
            place = at.child(kind)
            for name, text in amounts.items():
                own = place.key(name)
                yield from named(name, own, scope)
                yield from amount(name, text, own)
                if kind == "requests":
                    yield from _compared(name, text, limits, at)
                if is_huge_page(name) and not _is_divisible(name, text):
                    yield Cause.invalid(str(own), text, f"{text} is not positive integer multiple of {name}")
        names = {*limits, *requests}
        if any(map(is_huge_page, names)) and not names & {"cpu", "memory"}:
            yield Cause.forbidden(str(at), "HugePages require cpu or memory")
        yield from _claims(value.get("claims") or [], at.child("claims"), scope)

    return check


def _compared(name: str, text: str, limits: Object, at: Place) -> Causes:
    if name in limits:
        wanted, limit = quantity(text), quantity(limits[name])
        if wanted != limit and not _may_exceed(name):
            yield Cause.invalid(str(at.child("requests")), text, f"must be equal to {name} limit of {limits[name]}")
        elif wanted > limit:
            why = f"must be less than or equal to {name} limit of {limits[name]}"
            yield Cause.invalid(str(at.child("requests")), text, why)
    elif not _may_exceed(name):
        yield Cause.required(str(at.child("limits")), "Limit must be set for non overcommitable resources")


def _is_divisible(name: str, text: str) -> bool:
    try:
        page = quantity(name.removeprefix("hugepages-"))
    except ValueError:
        return False
    return page > 0 and quantity(text) % page == 0


def _claims(claims: list[Object], at: Place, scope: Scope) -> Causes:
    known = [claim.get("name", "") for claim in scope.pod.get("resourceClaims") or ()]
    seen: set[str] = set()
    for index, claim in enumerate(claims):
        name, place = claim.get("name", ""), str(at.item(index))
        if not name:
            yield Cause.required(place)
            continue
        if name in seen:
            yield Cause.duplicate(place, name)
        seen.add(name)
        if name not in known:
            listed = f": {', '.join(sorted(known))}" if known else " which is empty"
            yield Cause.not_found(place, name, f"must be one of the names in pod.spec.resourceClaims{listed}")
