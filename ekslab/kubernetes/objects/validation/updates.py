"""What of an object may not change, by kind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ekslab.kubernetes.objects import resources as r
from ekslab.kubernetes.objects.errors import Cause
from ekslab.kubernetes.objects.resources import Object, Resource
from ekslab.kubernetes.objects.validation.differences import difference
from ekslab.kubernetes.objects.validation.printed import internal, selector
from ekslab.kubernetes.objects.validation.rules import Causes, Place
from ekslab.kubernetes.objects.validation.services import service_update

Update = Callable[[Object, Object], Causes]
Printer = Callable[[Any], Any]

_IMMUTABLE = "field is immutable"


def _value(obj: Object, path: str) -> Any:
    found: Any = obj
    for name in path.split("."):
        found = (found or {}).get(name)
    return found


def _immutable(path: str, printed: Printer = lambda value: value, why: str = _IMMUTABLE) -> Update:
    """A field that keeps its value; a message prints the new one."""

    def check(obj: Object, old: Object) -> Causes:
        value = _value(obj, path)
        if (value or None) != (_value(old, path) or None):
            yield Cause.invalid(path, printed(value), why)

    return check


def _all(*checks: Update) -> Update:
    def check(obj: Object, old: Object) -> Causes:
        for part in checks:
            yield from part(obj, old)

    return check


def _sealed(*names: str) -> Update:
    """Of an object whose `immutable` is set, neither that nor its contents change."""

    def check(obj: Object, old: Object) -> Causes:
        if not old.get("immutable"):
            return
        why = "field is immutable when `immutable` is set"
        if not obj.get("immutable"):
            yield Cause.forbidden("immutable", why)
        for name in names:
            if (obj.get(name) or {}) != (old.get(name) or {}):
                yield Cause.forbidden(name, why)

    return check


_UPDATABLE = (
    "`spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,"
    "`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)


def _pod(obj: Object, old: Object) -> Causes:
    """Of a pod's spec hardly anything changes but images and tolerations."""
    spec, before, at = obj["spec"], old["spec"], Place("spec")
    for kind in ("containers", "initContainers"):
        if len(spec.get(kind) or ()) != len(before.get(kind) or ()):
            yield Cause.forbidden(str(at.child(kind)), "pod updates may not add or remove containers")
            return
    new_deadline, old_deadline = (each.get("activeDeadlineSeconds") for each in (spec, before))
    place = str(at.child("activeDeadlineSeconds"))
    if new_deadline is None and old_deadline is not None:
        yield Cause.invalid(place, None, "must not update from a positive integer to nil value")
    elif new_deadline is not None and old_deadline is not None and old_deadline < new_deadline:
        yield Cause.invalid(place, new_deadline, "must be less than or equal to previous value")
        return
    if not all(_is_kept(toleration, spec) for toleration in before.get("tolerations") or ()):
        why = "existing toleration can not be modified except its tolerationSeconds"
        yield Cause.forbidden(str(at.child("tolerations")), why)
    for index, gate in enumerate(spec.get("schedulingGates") or ()):
        if gate not in (before.get("schedulingGates") or ()):
            name = gate.get("name", "")
            why = f"only deletion is allowed, but found new scheduling gate '{name}'"
            yield Cause.forbidden(str(at.child("schedulingGates").item(index).child("name")), why)
    compared = _with_old(spec, before)
    if compared != before:
        found = difference("PodSpec", before, compared)
        yield Cause.forbidden("spec", f"pod updates may not change fields other than {_UPDATABLE}\n{found}")


def _is_kept(toleration: Object, spec: Object) -> bool:
    def without_time(each: Object) -> Object:
        return {key: value for key, value in each.items() if key != "tolerationSeconds"}

    return any(without_time(toleration) == without_time(other) for other in spec.get("tolerations") or ())


def _with_old(spec: Object, before: Object) -> Object:
    """The new spec, with the old values of what may change."""
    compared = dict(spec)
    for name in ("activeDeadlineSeconds", "tolerations", "schedulingGates", "nodeName"):
        compared.pop(name, None)
        if name in before:
            compared[name] = before[name]
    if before.get("terminationGracePeriodSeconds", 0) < 0 and spec.get("terminationGracePeriodSeconds") == 1:
        compared["terminationGracePeriodSeconds"] = before["terminationGracePeriodSeconds"]
    for kind in ("containers", "initContainers"):
        if kind in spec:
            compared[kind] = [
                {**container, "image": was["image"]} for container, was in zip(spec[kind], before[kind], strict=True)
            ]
    return compared


def _claim(obj: Object, old: Object) -> Causes:
    """Of a bound claim only the size and the class of its attributes change."""
    spec, before = obj["spec"], old["spec"]

    def fixed(each: Object) -> Object:
        kept = {key: value for key, value in each.items() if key not in ("resources", "volumeAttributesClassName")}
        if not before.get("volumeName"):
            kept.pop("volumeName", None)
        return kept

    if fixed(spec) != fixed(before):
        why = (
            "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"
        )
        found = difference("PersistentVolumeClaimSpec", fixed(before), fixed(spec))
        yield Cause.forbidden("spec", f"{why}\n{found}")


_selector = _immutable("spec.selector", selector)
_role = _immutable("roleRef", lambda value: internal("RoleRef", value or {}), "cannot change roleRef")
UPDATES: dict[Resource, Update] = {
    r.PODS: _pod,
    r.DEPLOYMENTS: _selector,
    r.REPLICA_SETS: _selector,
    r.DAEMON_SETS: _selector,
    r.JOBS: _all(
        _immutable("spec.completions"),
        _selector,
        _immutable("spec.template", lambda value: internal("PodTemplateSpec", value)),
        _immutable("spec.completionMode"),
        _immutable("spec.podFailurePolicy", lambda value: internal("*PodFailurePolicy", value)),
        _immutable("spec.backoffLimitPerIndex"),
    ),
    r.CONFIG_MAPS: _sealed("data", "binaryData"),
    r.SECRETS: _all(_immutable("type"), _sealed("data")),
    r.SERVICES: service_update,
    r.PERSISTENT_VOLUME_CLAIMS: _claim,
    r.ROLE_BINDINGS: _role,
    r.CLUSTER_ROLE_BINDINGS: _role,
    r.PRIORITY_CLASSES: _immutable("value"),
}
