"""What of an object may not change, by kind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ekslab.kubernetes.objects import resources as r
from ekslab.kubernetes.objects.errors import Cause
from ekslab.kubernetes.objects.quantities import quantity
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


def _pointed(value: Any) -> Any:
    """To the API server what is empty isn't there, but an empty object is."""
    return None if value in ("", 0, []) else value


def _immutable(path: str, printed: Printer = lambda value: value, why: str = _IMMUTABLE) -> Update:
    """A field that keeps its value; a message prints the new one."""

    def check(obj: Object, old: Object) -> Causes:
        value = _value(obj, path)
        if _pointed(value) != _pointed(_value(old, path)):
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
    if new_deadline is not None and not 0 <= new_deadline < 2**31:
        yield Cause.invalid(place, new_deadline, f"must be between 0 and {2**31 - 1}, inclusive")
        return
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
    for name in ("activeDeadlineSeconds", "tolerations", "schedulingGates"):
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


def _job_template(obj: Object, old: Object) -> Causes:
    """Of a job that is suspended and never started, where its pods may run can change."""
    template, before = obj["spec"]["template"], old["spec"]["template"]
    if old["spec"].get("suspend") and not (old.get("status") or {}).get("startTime"):
        before = _with_new(before, template)
    if template != before:
        yield Cause.invalid("spec.template", internal("PodTemplateSpec", template), _IMMUTABLE)


def _with_new(before: Object, template: Object) -> Object:
    """The old template, with the new values of what says where pods may run."""
    metadata, spec = dict(before.get("metadata") or {}), dict(before["spec"])
    for target, source, names in (
        (metadata, template.get("metadata") or {}, ("labels", "annotations")),
        (spec, template["spec"], ("nodeSelector", "tolerations", "schedulingGates")),
    ):
        for name in names:
            target.pop(name, None)
            if name in source:
                target[name] = source[name]
    affinity = {**(spec.pop("affinity", None) or {})}
    affinity.pop("nodeAffinity", None)
    wanted = template["spec"].get("affinity")
    if "nodeAffinity" in (wanted or {}):
        affinity["nodeAffinity"] = wanted["nodeAffinity"]
    if affinity or wanted is not None:
        spec["affinity"] = affinity
    return {**before, "metadata": metadata, "spec": spec}


def _claim(obj: Object, old: Object) -> Causes:
    """Of a claim nothing changes, and of a bound one the size and the class of its attributes."""
    before, spec = dict(old["spec"]), dict(obj["spec"])
    allowed = []
    if not before.get("volumeName"):
        allowed.append("volumeName")
    if before.get("storageClassName") is None:
        allowed.append("storageClassName")
    is_bound = (obj.get("status") or {}).get("phase") == "Bound"
    if is_bound:
        allowed.append("volumeAttributesClassName")
        requests = {**((spec.get("resources") or {}).get("requests") or {})}
        requests["storage"] = _storage(before)
        spec["resources"] = {**(spec.get("resources") or {}), "requests": requests}
    for name in allowed:
        before.pop(name, None)
        if spec.get(name) is not None:
            before[name] = spec[name]
    if spec != before:
        why = (
            "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"
        )
        yield Cause.forbidden("spec", f"{why}\n{difference('PersistentVolumeClaimSpec', before, spec)}")
    smallest = ((old.get("status") or {}).get("capacity") or {}).get("storage", "0")
    wanted = quantity(_storage(obj["spec"]))
    if wanted < quantity(_storage(old["spec"])) and wanted <= quantity(smallest):
        yield Cause.forbidden("spec.resources.requests.storage", "field can not be less than status.capacity")
    if (mode := obj["spec"].get("volumeMode")) != old["spec"].get("volumeMode"):
        yield Cause.invalid("volumeMode", mode, _IMMUTABLE)


def _storage(spec: Object) -> str:
    return str(((spec.get("resources") or {}).get("requests") or {}).get("storage", "0"))


def _priority(obj: Object, old: Object) -> Causes:
    if (obj.get("value") or 0) != (old.get("value") or 0):
        yield Cause.forbidden("value", "may not be changed in an update.")


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
        _job_template,
        _immutable("spec.completionMode"),
        _immutable("spec.podFailurePolicy", lambda value: internal("*PodFailurePolicy", value)),
        _immutable("spec.backoffLimitPerIndex"),
        _immutable("spec.managedBy"),
        _immutable("spec.successPolicy", lambda value: internal("*SuccessPolicy", value)),
    ),
    r.CONFIG_MAPS: _sealed("data", "binaryData"),
    r.SECRETS: _all(_immutable("type"), _sealed("data")),
    r.SERVICES: service_update,
    r.PERSISTENT_VOLUME_CLAIMS: _claim,
    r.ROLE_BINDINGS: _role,
    r.CLUSTER_ROLE_BINDINGS: _role,
    r.PRIORITY_CLASSES: _all(_priority, _immutable("preemptionPolicy")),
    r.ENDPOINT_SLICES: _immutable("addressType"),
}
