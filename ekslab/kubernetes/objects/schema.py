"""The fields of every kind and their types, by which objects from clients are decoded.

`schema.json` maps the API's type names to their fields; `python -m ekslab.kubernetes.objects.schema` writes it from
the models of the installed official client. A field's type is `str`, `int`, `bool`, `float`, `quantity`, `any`, the
name of another type, `[type` for a list or `{type` for a map of strings.
"""

from __future__ import annotations

import re
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import orjson

from ekslab.kubernetes.objects.errors import json_kind
from ekslab.kubernetes.objects.quantities import quantity_text
from ekslab.kubernetes.objects.resources import RESOURCES, Object, Resource

_GO_NAMES = {"str": "string", "int": "int32", "bool": "bool", "float": "float64", "quantity": "resource.Quantity"}
_ACCEPTED: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "int": (int,),
    "bool": (bool,),
    "float": (int, float),
    "quantity": (str, int, float),
}
_QUANTITIES = {"limits", "requests", "capacity", "allocatable", "sizeLimit", "divisor", "podFixed"}

_OPTIONS = ("V1DeleteOptions", "V1Eviction", "V1Binding", "V1Scale", "AuthenticationV1TokenRequest")
_KEPT_EMPTY = {"endpoints"}  # an EndpointSlice always has the list


class TypeMismatch(Exception):
    """A value has a type that its field can't hold; the message is that of Go's JSON decoder."""


@cache
def types() -> dict[str, dict[str, str]]:
    """The fields of every type, by the type's name: those that the cluster's version has."""
    loaded: dict[str, dict[str, str]] = orjson.loads(resources.files(__package__).joinpath("schema.json").read_bytes())
    for name, fields in loaded.items():
        for field in documented(name).get("later", ()):
            fields.pop(field, None)
    return loaded


@cache
def _documented() -> dict[str, dict[str, Any]]:
    loaded: dict[str, dict[str, Any]] = orjson.loads(resources.files(__package__).joinpath("openapi.json").read_bytes())
    return loaded


def documented(kind: str) -> dict[str, Any]:
    """What `openapi.json` says of a type besides the types of its fields.

    `package`, `required` (fields), `enums` (field: values), `merge` (field: strategy and key), `types` (field: format),
    and `later`: fields that the client's models have and the cluster's version has not.
    """
    return _documented().get(kind, {})


def decode(resource: Resource, obj: Object) -> tuple[Object, list[str]]:
    """A copy of `obj` as the API server holds it, and the paths of fields that the kind doesn't have.

    Unknown fields, nulls and empty lists are left out; quantities become strings. Raises `TypeMismatch`.
    """
    unknown: list[str] = []
    decoded: Object = _decode(obj, resource.kind, "", "", unknown)
    return decoded, unknown


def decode_body(kind: str, obj: Object) -> Object:
    """A copy of a body that isn't stored (`DeleteOptions`, `Eviction`, ...), without unknown fields and nulls.

    Raises `TypeMismatch`.
    """
    decoded: Object = _decode(obj, kind, "", "", [])
    return decoded


def _decode(value: Any, kind: str, path: str, go_path: str, unknown: list[str]) -> Any:
    if kind == "any":
        return _without_empty(value)
    if kind.startswith("["):
        if not isinstance(value, list):
            raise _mismatch(value, go_path, _go_name(kind))
        return [
            _decode(item, kind[1:], f"{path}[{index}]", go_path, unknown)
            for index, item in enumerate(value)
            if item is not None
        ]
    if kind.startswith("{"):
        if not isinstance(value, dict):
            raise _mismatch(value, go_path, _go_name(kind))
        return {
            key: _decode(item, kind[1:], f"{path}.{key}", go_path, unknown)
            for key, item in value.items()
            if item is not None
        }
    if kind in _ACCEPTED:
        if type(value) not in _ACCEPTED[kind]:
            raise _mismatch(value, go_path, _GO_NAMES[kind])
        return quantity_text(value) if kind == "quantity" else value
    if not isinstance(value, dict):
        raise _mismatch(value, go_path, f"v1.{kind}")
    fields = types()[kind]
    decoded = {}
    for key, item in value.items():
        inner = f"{path}.{key}" if path else key
        if key not in fields:
            unknown.append(inner)
        elif item is not None and (item != [] or key in _KEPT_EMPTY or not fields[key].startswith(("[", "any"))):
            struct, _, above = go_path.partition(".")
            below = f"{kind}.{above}.{key}" if struct and above else f"{kind}.{key}"
            decoded[key] = _decode(item, fields[key], inner, below, unknown)
    return decoded


def _without_empty(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_empty(item) for key, item in value.items() if item is not None}
    return value


def _mismatch(value: Any, go_path: str, wanted: str) -> TypeMismatch:
    return TypeMismatch(f"json: cannot unmarshal {json_kind(value)} into Go struct field {go_path} of type {wanted}")


def _go_name(kind: str) -> str:
    if kind.startswith("["):
        return f"[]{_go_name(kind[1:])}"
    if kind.startswith("{"):
        return f"map[string]{_go_name(kind[1:])}"
    return _GO_NAMES.get(kind, f"v1.{kind}")


def from_client() -> dict[str, dict[str, str]]:
    """The schema as the official client's models have it: every type that the cluster's kinds need."""
    from kubernetes.client import models

    found: dict[str, dict[str, str]] = {}

    def plain(text: str, field: str) -> str:
        if match := re.fullmatch(r"(?:List|list)\[(.+)\]", text):
            return "[" + plain(match[1], field)
        if match := re.fullmatch(r"(?:Dict\[str, |dict\(str, )(.+)[\])]", text):
            return "{" + plain(match[1], field)
        if text in ("str", "int", "bool", "float"):
            return "quantity" if text == "str" and field in _QUANTITIES else text
        if text in ("datetime", "bytes"):
            return "str"
        if text == "object":
            return "any"
        return add(text)

    def add(model: str) -> str:
        name = re.sub(r"^(Core|Authentication)?V1(?=[A-Z])", "", model)
        if name not in found:
            found[name] = {}
            kind = getattr(models, model)
            found[name].update(
                (json_name, plain(kind.openapi_types[attribute], json_name))
                for attribute, json_name in kind.attribute_map.items()
            )
        return name

    for resource in RESOURCES:
        add("CoreV1Event" if resource.kind == "Event" else f"V1{resource.kind}")
    for model in _OPTIONS:
        add(model)
    return dict(sorted(found.items()))


if __name__ == "__main__":
    Path(__file__).with_name("schema.json").write_bytes(orjson.dumps(from_client()) + b"\n")
