"""Tables of references to a pod's fields, resources, ConfigMaps and Secrets: for variables and volumes."""

from __future__ import annotations

from ekslab.kubernetes.objects.errors import Cause
from ekslab.kubernetes.objects.quantities import quantity
from ekslab.kubernetes.objects.resources import Object
from ekslab.kubernetes.objects.validation import formats
from ekslab.kubernetes.objects.validation.rules import Causes, Place, Rule, Scope, field, fields, formatted, required

_VOLUME_FIELDS = ("metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid")
_VARIABLE_FIELDS = (
    "metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName",
    "status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs",
)  # fmt: skip
_KNOWN_FIELDS = (*_VOLUME_FIELDS, *_VARIABLE_FIELDS, "spec.restartPolicy", "spec.schedulerName", "status.phase")
_RESOURCES = (
    "limits.cpu", "limits.ephemeral-storage", "limits.memory", "requests.cpu", "requests.ephemeral-storage",
    "requests.memory",
)  # fmt: skip
_HUGE_PAGES = ("requests.hugepages-", "limits.hugepages-")
_BYTES = ("1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei")
_DIVISORS = {
    "cpu": (("1m", "1"), "1m and 1 are supported with the cpu resource"),
    "memory": (_BYTES, f"{', '.join(_BYTES)} are supported with the memory resource"),
    "ephemeral-storage": (_BYTES, f"{', '.join(_BYTES)} are supported with the local ephemeral storage resource"),
    "hugepages": (_BYTES, f"{', '.join(_BYTES)} are supported with the hugepages resource"),
}


def _field_reference(supported: tuple[str, ...]) -> Rule:
    def check(value: Object, at: Place, _: Scope) -> Causes:
        version, path = value.get("apiVersion", ""), value.get("fieldPath", "")
        if not version:
            return [Cause.required(str(at.child("apiVersion")))]
        place = str(at.child("fieldPath"))
        if not path:
            return [Cause.required(place)]
        if version != "v1":
            return [Cause.invalid(place, path, f"error converting fieldPath: unsupported pod version: {version}")]
        of, bracket, key = path.removesuffix("']").partition("['")
        if bracket and path.endswith("']"):
            if of not in ("metadata.annotations", "metadata.labels"):
                why = f"error converting fieldPath: field label does not support subscript: {path}"
                return [Cause.invalid(place, path, why)]
            key = key.lower() if of == "metadata.annotations" else key
            return [Cause.invalid(str(at), key, why) for why in formats.qualified_name(key)]
        if path not in _KNOWN_FIELDS and path != "spec.host":
            return [Cause.invalid(place, path, f"error converting fieldPath: field label not supported: {path}")]
        return [] if path in supported or path == "spec.host" else [Cause.unsupported(place, path, supported)]

    return check


def _resource_reference(value: Object, at: Place, scope: Scope, *, in_volume: bool) -> Causes:
    name, divisor = value.get("resource", ""), value.get("divisor", "0")
    if in_volume and not value.get("containerName"):
        yield Cause.required(str(at.child("containerName")))
    elif not name:
        yield Cause.required(str(at.child("resource")))
    elif name not in _RESOURCES and not name.startswith(_HUGE_PAGES):
        yield Cause.unsupported(str(at.child("resource")), name, _RESOURCES)
    kind = name.partition(".")[2].partition("-")[0] if name.startswith(_HUGE_PAGES) else name.partition(".")[2]
    if quantity(divisor) and kind in _DIVISORS:
        allowed, said = _DIVISORS[kind]
        if divisor not in allowed:
            yield Cause.invalid(str(at.child("divisor")), name, f"only divisor's values {said}")


def _of_variable(value: Object, at: Place, scope: Scope) -> Causes:
    return _resource_reference(value, at, scope, in_volume=False)


def _of_volume(value: Object, at: Place, scope: Scope) -> Causes:
    return _resource_reference(value, at, scope, in_volume=True)


FIELD_OF_VOLUME = _field_reference(_VOLUME_FIELDS)
FIELD_OF_VARIABLE = _field_reference(_VARIABLE_FIELDS)
RESOURCE_OF_VOLUME: Rule = _of_volume
RESOURCE_OF_VARIABLE: Rule = _of_variable

KEY = fields(
    field("name", formatted(formats.dns_subdomain), absent=""),
    required("key", formatted(formats.config_key)),
)
"""A key of a ConfigMap or Secret."""
ALL_KEYS = fields(required("name", formatted(formats.dns_subdomain)))
