"""Tables of metadata, labels and selectors."""

from __future__ import annotations

from ekslab.kubernetes.objects.errors import Cause, Printed, go_value
from ekslab.kubernetes.objects.resources import Object
from ekslab.kubernetes.objects.validation import formats
from ekslab.kubernetes.objects.validation.formats import Format
from ekslab.kubernetes.objects.validation.rules import (
    Causes,
    Place,
    Rule,
    Scope,
    at_least_0,
    each,
    each_unplaced,
    equals,
    field,
    fields,
    forbidden,
    formatted,
    holds,
    required,
    when,
)

_ANNOTATIONS_SIZE = 256 * 1024  # bytes of all keys and values
_STANDARD_FINALIZERS = ("kubernetes", "orphan", "foregroundDeletion")


def labels(value: Object, at: Place, _: Scope) -> Causes:
    for key, text in value.items():
        for why in formats.qualified_name(key):
            yield Cause.invalid(str(at), key, why)
        for why in formats.label_value(text):
            yield Cause.invalid(str(at), text, why)


def annotation_map(value: Object, at: Place, _: Scope) -> Causes:
    for key in value:
        for why in formats.qualified_name(key.lower()):
            yield Cause.invalid(str(at), key, why)
    if sum(len(key.encode()) + len(text.encode()) for key, text in value.items()) > _ANNOTATIONS_SIZE:
        yield Cause.too_long(str(at), _ANNOTATIONS_SIZE)


label_key = formatted(formats.qualified_name)
_OPERATORS = ("In", "NotIn", "Exists", "DoesNotExist")
_values_needed = "must be specified when `operator` is 'In' or 'NotIn'"
_values_unwanted = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"

SELECTOR = fields(
    field("matchLabels", labels),
    field(
        "matchExpressions",
        each(
            fields(
                when(equals("operator", "In", "NotIn"), required("values", why=_values_needed)),
                when(equals("operator", "Exists", "DoesNotExist"), field("values", forbidden(_values_unwanted))),
                field(
                    "operator",
                    holds(lambda name: name in _OPERATORS, "not a valid selector operator"),
                    absent="",
                ),
                field("key", label_key, absent=""),
                field("values", each(formatted(formats.label_value))),
            )
        ),
    ),
)


def is_selector(value: Object) -> bool:
    """Whether it can be asked what it selects."""
    return not list(SELECTOR(value, Place("selector"), Scope(value)))


def _one_controller(references: list[Object], at: Place, _: Scope) -> Causes:
    found = [reference for reference in references if reference.get("controller")]
    for other in found[1:]:
        names = " and ".join(f"{one['kind']}/{one['name']}" for one in (found[0], other))
        order = ("apiVersion", "kind", "name", "uid", "controller", "blockOwnerDeletion")
        yield Cause.invalid(
            str(at),
            _ordered(references, order),
            f'Only one reference can have Controller set to true. Found "true" in references for {names}',
        )


def _ordered(items: list[Object], order: tuple[str, ...]) -> Printed:
    texts = [
        "{" + ",".join(f'"{name}":{go_value([item[name]])[1:-1]}' for name in order if name in item) + "}"
        for item in items
    ]
    return Printed(f"[{','.join(texts)}]")


_present = "must not be empty"
_OWNER = fields(
    field("apiVersion", holds(bool, "version must not be empty"), absent=""),
    field("kind", holds(bool, _present), absent=""),
    field("name", holds(bool, _present), absent=""),
    field("uid", holds(bool, _present), absent=""),
)


def _finalizers_exclude(value: list[str], at: Place, _: Scope) -> Causes:
    if "orphan" in value and "foregroundDeletion" in value:
        yield Cause.invalid(str(at), value, "finalizer orphan and foregroundDeletion cannot be both set")


def _is_standard(name: str) -> bool:
    return "/" in name or name in _STANDARD_FINALIZERS


kube_finalizer = holds(_is_standard, "name is neither a standard finalizer name nor is it fully qualified")
_MANAGED = fields(
    field("operation", holds(lambda name: name in ("Apply", "Update"), "must be `Apply` or `Update`"), absent=""),
    field("fieldsType", holds(lambda name: name == "FieldsV1", "must be `FieldsV1`")),
)


def metadata(name: Format, prefix: Format | None = None) -> Rule:
    """The table of metadata, by the format of the kind's names and of their generated prefixes."""
    return fields(
        field("generateName", formatted(prefix or formats.masked(name))),
        required("name", formatted(name), why="name or generateName is required"),
        field("namespace", formatted(formats.dns_label)),
        field("generation", at_least_0),
        field("labels", labels),
        field("annotations", annotation_map),
        field("ownerReferences", each_unplaced(_OWNER), _one_controller),
        field("finalizers", each_unplaced(formatted(formats.qualified_name)), _finalizers_exclude),
        field("managedFields", each(_MANAGED)),
        field("finalizers", each(kube_finalizer)),
    )


TEMPLATE_METADATA = fields(field("labels", labels), field("annotations", annotation_map))
"""Of pod templates: whose messages leave `metadata` out."""
