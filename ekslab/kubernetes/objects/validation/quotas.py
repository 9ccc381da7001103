"""Tables of ResourceQuota and LimitRange."""

from __future__ import annotations

from ekslab.kubernetes.objects.errors import Cause
from ekslab.kubernetes.objects.quantities import quantity
from ekslab.kubernetes.objects.resources import Object
from ekslab.kubernetes.objects.validation import formats
from ekslab.kubernetes.objects.validation.amounts import amount, resource_name
from ekslab.kubernetes.objects.validation.rules import Causes, Place, Scope, field, fields

_SCOPES = ("BestEffort", "CrossNamespacePodAffinity", "NotBestEffort", "NotTerminating", "PriorityClass", "Terminating")
_TYPES = ("Container", "PersistentVolumeClaim", "Pod")


def _hard(value: Object, at: Place, scope: Scope) -> Causes:
    for name, text in value.items():
        own = at.key(name)
        if name.startswith("count/"):
            yield from (Cause.invalid(str(own), name, why) for why in formats.qualified_name(name))
        else:
            yield from resource_name(name, own, scope)
        yield from amount(name, text, own)


def _scopes(value: list[str], at: Place, _: Scope) -> Causes:
    for index, name in enumerate(value):
        if name not in _SCOPES:
            yield Cause.invalid(str(at.item(index)), name, "unsupported scope")


def _limits(value: list[Object], at: Place, scope: Scope) -> Causes:
    seen: set[str] = set()
    for index, item in enumerate(value):
        place, kind = at.item(index), item.get("type", "")
        if kind in seen:
            yield Cause.duplicate(str(place.child("type")), kind)
        seen.add(kind)
        if "/" not in kind and kind not in _TYPES:
            yield Cause.invalid(str(place.child("type")), kind, "must be a standard limit type or fully qualified")
        for key in ("max", "min", "default", "defaultRequest"):
            for name in item.get(key) or ():
                yield from resource_name(name, place.child(key).key(name), scope)
        yield from _ordered(item, place)


def _ordered(item: Object, place: Place) -> Causes:
    """Minimum, default request, default and maximum, none of them above the next."""
    order = ("min", "defaultRequest", "default", "max")
    words = {"min": "min", "defaultRequest": "default request", "default": "default", "max": "max"}
    for low, high in (("min", "max"), ("min", "defaultRequest"), ("defaultRequest", "default"), ("default", "max")):
        for name, text in (item.get(low) or {}).items():
            above = (item.get(high) or {}).get(name)
            if above is not None and quantity(text) > quantity(above):
                at = place.child(low if order.index(low) else high).key(name)
                why = f"{words[low]} value {text} is greater than {words[high]} value {above}"
                yield Cause.invalid(str(at), text, why)


RESOURCE_QUOTA = fields(field("spec", fields(field("hard", _hard), field("scopes", _scopes))))
LIMIT_RANGE = fields(field("spec", fields(field("limits", _limits))))
