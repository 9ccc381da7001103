"""Validates requests against botocore's model of a service, with the service's error messages."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from functools import cache
from typing import Any

import re2

from ekslab.aws.protocols import AwsError, service_model

_KINDS: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "long": (int,),
    "boolean": (bool,),
    "double": (int, float),
    "float": (int, float),
    "list": (list,),
    "map": (dict,),
    "structure": (dict,),
}


def validate(
    service: str, operation: str, parameters: Mapping[str, Any], *, skip: frozenset[str] = frozenset()
) -> None:
    """Checks types, required members, lengths, ranges, patterns and enumerations of a request.

    Members named in `skip` are only checked for presence and length. Raises AwsError: SerializationException for a
    wrong type, else InvalidParameterException that lists every fault as the service does.
    """
    model = _model(service)
    input_shape = model["operations"][operation].get("input")
    if input_shape is None:
        return
    faults: list[str] = []
    _structure(model["shapes"], model["shapes"][input_shape["shape"]], parameters, "", faults, skip)
    if faults:
        plural = "s" if len(faults) > 1 else ""
        raise AwsError(
            "InvalidParameterException", f"{len(faults)} validation error{plural} detected: " + "; ".join(faults)
        )


def _structure(
    shapes: Mapping[str, Any],
    shape: Mapping[str, Any],
    value: Mapping[str, Any],
    path: str,
    faults: list[str],
    skip: frozenset[str] = frozenset(),
) -> None:
    missing = (name for name in shape.get("required", ()) if value.get(name) is None)
    faults.extend(_fault(None, path + _lower(name), "Member must not be null") for name in missing)
    for name, member in shape["members"].items():
        if value.get(name) is not None:
            _check(shapes, shapes[member["shape"]], value[name], path + _lower(name), faults, deep=name not in skip)


def _check(
    shapes: Mapping[str, Any], shape: Mapping[str, Any], value: Any, path: str, faults: list[str], *, deep: bool = True
) -> None:
    kind = shape["type"]
    allowed = _KINDS.get(kind)
    if allowed and (not isinstance(value, allowed) or (isinstance(value, bool) and bool not in allowed)):
        given = {str: "STRING_VALUE", bool: "TRUE_VALUE", list: "LIST", dict: "STRUCTURE"}.get(
            type(value), "NUMBER_VALUE"
        )
        raise AwsError("SerializationException", f"{given} can not be converted to {_java_name(kind)}")
    if kind in ("integer", "long", "double", "float"):
        _bounds(shape, value, value, path, faults, "value")
    elif kind in ("string", "list", "map"):
        _bounds(shape, value, len(value), path, faults, "length")
        deep = deep and len(value) <= shape.get("max", math.inf)
    if kind == "string":
        if "enum" in shape and value not in shape["enum"]:
            options = ", ".join(shape["enum"])
            faults.append(_fault(value, path, f"Member must satisfy enum value set: [{options}]"))
        if "pattern" in shape and not _pattern(shape["pattern"]).fullmatch(value):
            faults.append(_fault(value, path, f"Member must satisfy regular expression pattern: {shape['pattern']}"))
    elif kind == "structure":
        _structure(shapes, shape, value, path + ".", faults)
    elif kind == "list" and deep:
        for index, item in enumerate(value, start=1):
            _check(shapes, shapes[shape["member"]["shape"]], item, f"{path}.{index}.member", faults)
    elif kind == "map" and deep:
        for key, item in value.items():
            _check(shapes, shapes[shape["key"]["shape"]], key, f"{path}.key", faults)
            _check(shapes, shapes[shape["value"]["shape"]], item, f"{path}.{key}.member", faults)


def _bounds(shape: Mapping[str, Any], value: Any, measure: float, path: str, faults: list[str], noun: str) -> None:
    if "min" in shape and measure < shape["min"]:
        faults.append(_fault(value, path, f"Member must have {noun} greater than or equal to {shape['min']}"))
    if "max" in shape and measure > shape["max"]:
        faults.append(_fault(value, path, f"Member must have {noun} less than or equal to {shape['max']}"))


def _lower(name: str) -> str:
    """The name of a member in messages: its first letter is lower case."""
    return name[0].lower() + name[1:]


def _fault(value: Any, path: str, constraint: str) -> str:
    shown = "null" if value is None else str(value)
    shown = shown if len(shown) <= 1000 else shown[:1000] + "..."
    quoted = shown if value is None else f"'{shown}'"
    return f"Value {quoted} at '{path}' failed to satisfy constraint: {constraint}"


@cache
def _model(service: str) -> dict[str, Any]:
    return service_model(service)


@cache
def _pattern(pattern: str) -> Any:
    # botocore's patterns use Unicode classes (`\p{L}`), which Python's own `re` doesn't know.
    try:
        return re2.compile(pattern)
    except re2.error:  # a few look behind, which re2 doesn't
        return re.compile(pattern)


def _java_name(kind: str) -> str:
    return {"list": "a list", "map": "a map", "structure": "a structure"}.get(kind, kind.capitalize())
