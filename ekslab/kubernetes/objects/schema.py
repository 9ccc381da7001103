"""The fields of every kind and their types, by which objects from clients are decoded.

`schema.json` maps the API's type names to their fields; `python -m ekslab.kubernetes.objects.schema` writes it from
the models of the installed official client. A field's type is `str`, `int`, `bool`, `float`, `quantity`, `any`, the
name of another type, `[type` for a list or `{type` for a map of strings.

`go_types.json` has Go's type of a field where that isn't what the client's models say: 64 bits, base64, a time, a
number or text, a named type. Go's decoder decides by it, and messages name it; so they do the embedded types that some
fields are in.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import orjson

from ekslab.kubernetes.objects.errors import json_kind
from ekslab.kubernetes.objects.quantities import quantity_text
from ekslab.kubernetes.objects.resources import RESOURCES, Object, Resource

_GO_NAMES = {"str": "string", "int": "int32", "bool": "bool", "float": "float64", "quantity": "resource.Quantity"}
_QUANTITIES = {"limits", "requests", "capacity", "allocatable", "sizeLimit", "divisor", "podFixed"}
_GO_STRUCTS = {"RbacV1Subject": "Subject"}  # where the client has another name
_SIZES = {"int32": 2**31, "int64": 2**63}

_OPTIONS = ("V1DeleteOptions", "V1Eviction", "V1Binding", "V1Scale", "AuthenticationV1TokenRequest")
_KEPT_EMPTY = {"endpoints"}  # an EndpointSlice always has the list


class TypeMismatch(Exception):
    """A value has a type that its field can't hold; the message is that of Go's JSON decoder.

    `converted` is what is said instead where a strategic merge patch brings the value in.
    """

    def __init__(self, message: str, converted: str = "") -> None:
        super().__init__(message)
        self.converted = converted or message


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


@cache
def _go() -> tuple[dict[str, dict[str, str]], dict[str, dict[str, str]]]:
    """Go's types of fields, and the embedded types that fields are in, by type and field."""
    loaded: dict[str, dict[str, dict[str, str]]] = orjson.loads(
        resources.files(__package__).joinpath("go_types.json").read_bytes()
    )
    return loaded["types"], loaded["embedded"]


def decode(resource: Resource, obj: Object) -> tuple[Object, list[str]]:
    """A copy of `obj` as the API server holds it, and the paths of fields that the kind doesn't have.

    Unknown fields, nulls and empty lists are left out; quantities become strings. Raises `TypeMismatch`.
    """
    unknown: list[str] = []
    decoded: Object = _decode(obj, resource.kind, f"v1.{resource.kind}", "", "", unknown)
    return decoded, unknown


def decode_body(kind: str, obj: Object) -> Object:
    """A copy of a body that isn't stored (`DeleteOptions`, `Eviction`, ...), without unknown fields and nulls.

    Raises `TypeMismatch`.
    """
    decoded: Object = _decode(obj, kind, f"v1.{kind}", "", "", [])
    return decoded


_PLAIN = {"str": str, "bool": bool}
_CODED = ("[]uint8", "v1.Time")  # what is text in JSON, and isn't any text


def _decode(value: Any, kind: str, go: str, path: str, go_path: str, unknown: list[str]) -> Any:
    """`go` is Go's type of the value, `go_path` how Go names the field: the struct around it, and the path to it."""
    if (scalar := _SCALARS.get(kind)) is not None:
        return scalar(value, go, go_path)
    if kind.startswith("["):
        if not isinstance(value, list):
            raise _mismatch(value, go_path, go)
        inner = go[2:] if go.startswith("[]") else _go_name(kind[1:])
        return [
            _decode(_zero(kind[1:]) if item is None else item, kind[1:], inner, f"{path}[{index}]", go_path, unknown)
            for index, item in enumerate(value)
        ]
    if kind.startswith("{"):
        if not isinstance(value, dict):
            raise _mismatch(value, go_path, go)
        inner = go.partition("]")[2] if go.startswith("map[") else _go_name(kind[1:])
        if inner == "string" and all(type(item) is str for item in value.values()):
            return dict(value)
        return {
            key: _decode(_zero(kind[1:]) if item is None else item, kind[1:], inner, f"{path}.{key}", go_path, unknown)
            for key, item in value.items()
        }
    if not isinstance(value, dict):
        raise _mismatch(value, go_path, go)
    fields, (go_types, embedded) = types()[kind], (each.get(kind, {}) for each in _go())
    decoded = {}
    above = go_path.partition(".")[2]
    for key, item in value.items():
        field = fields.get(key)
        if field is None:
            unknown.append(f"{path}.{key}" if path else key)
        elif type(item) is _PLAIN.get(field) and go_types.get(key) not in _CODED:
            decoded[key] = item
        elif item is not None and (item != [] or key in _KEPT_EMPTY or not _may_be_empty(field, go_types.get(key))):
            inside = f"{embedded[key]}." if key in embedded else ""
            below = f"{_GO_STRUCTS.get(kind, kind)}.{above}{'.' if above else ''}{inside}{key}"
            go_type = go_types.get(key) or _go_name(field)
            decoded[key] = _decode(item, field, go_type, f"{path}.{key}" if path else key, below, unknown)
    return decoded


def _may_be_empty(field: str, go: str | None) -> bool:
    """Whether an empty list is the same as none."""
    return field.startswith("[") or (field == "any" and go != "intstr.IntOrString")


def _zero(kind: str) -> Any:
    """What Go makes of a null in a list or map."""
    return {"str": "", "int": 0, "bool": False, "quantity": "0"}.get(kind, [] if kind.startswith("[") else {})


def _text(value: Any, go: str, go_path: str) -> Any:
    if go == "[]uint8" and isinstance(value, list) and all(type(byte) is int and 0 <= byte < 256 for byte in value):
        return base64.b64encode(bytes(value)).decode()
    if not isinstance(value, str):
        raise _mismatch(value, go_path, "string" if go == "v1.Time" else go)
    if go == "[]uint8":
        if (offset := _illegal_base64(value)) is not None:
            raise TypeMismatch(f"illegal base64 data at input byte {offset}")
    elif go == "v1.Time" and (wrong := _wrong_time(value)):
        raise TypeMismatch(wrong)
    return value


def _whole(value: Any, go: str, go_path: str) -> Any:
    if type(value) is int:
        size = _SIZES.get(go, 2**63)
        if -size <= value < size:
            return value
    raise _mismatch(value, go_path, go, literal=True)


def _truth(value: Any, go: str, go_path: str) -> Any:
    if type(value) is not bool:
        raise _mismatch(value, go_path, go)
    return value


def _real(value: Any, go: str, go_path: str) -> Any:
    if type(value) not in (int, float):
        raise _mismatch(value, go_path, go)
    return value


def _amount(value: Any, go: str, go_path: str) -> Any:
    try:
        return quantity_text(value if isinstance(value, str) else orjson.dumps(value).decode())
    except ValueError as error:
        raise TypeMismatch(str(error)) from error


def _anything(value: Any, go: str, go_path: str) -> Any:
    if go != "intstr.IntOrString":
        return _without_empty(value)
    return value if isinstance(value, str) else _whole(value, "int32", go_path)


_SCALARS: dict[str, Callable[[Any, str, str], Any]] = {
    "str": _text,
    "int": _whole,
    "bool": _truth,
    "float": _real,
    "quantity": _amount,
    "any": _anything,
}


def _without_empty(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_empty(item) for key, item in value.items() if item is not None}
    return value


_BASE64 = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")


def _illegal_base64(text: str) -> int | None:
    """Where Go's decoder stops; None if it decodes the text."""
    found, start = 0, 0
    for index, character in enumerate(text):
        if character in "\r\n":
            continue
        if character == "=":
            rest = text[index:].replace("\r", "").replace("\n", "")
            if found < 2:
                return index
            if rest != "=" * (4 - found):
                return len(text) if rest == "=" and found == 2 else index + 4 - found
            return None
        if character not in _BASE64:
            return len(text[:index].encode())
        if not found:
            start = index
        found = (found + 1) % 4
    return start if found else None


_TIME = (
    (r"\d{4}", "2006"), ("-", "-"), (r"\d\d", "01"), ("-", "-"), (r"\d\d", "02"), ("T", "T"), (r"\d\d", "15"),
    (":", ":"), (r"\d\d", "04"), (":", ":"), (r"\d\d(?:[.,]\d+)?", "05"), (r"Z|[+-]\d\d:\d\d", "Z07:00"),
)  # fmt: skip


def _wrong_time(text: str) -> str:
    """Why a text is no time, in Go's words; empty if it is one."""
    rest, layout = text, "2006-01-02T15:04:05Z07:00"
    for pattern, name in _TIME:
        match = re.match(pattern, rest)
        if match is None:
            return f'parsing time "{text}" as "{layout}": cannot parse "{rest}" as "{name}"'
        rest = rest[match.end() :]
    return f'parsing time "{text}": extra text: "{rest}"' if rest else ""


def _mismatch(value: Any, go_path: str, wanted: str, *, literal: bool = False) -> TypeMismatch:
    given = json_kind(value)
    if literal and given == "number":
        given = f"number {orjson.dumps(value).decode()}"
    message = f"json: cannot unmarshal {given} into Go struct field {go_path} of type {wanted}"
    return TypeMismatch(message, _not_converted(value, wanted))


_GO_KINDS = {bool: "bool", int: "int64", float: "float64", str: "string", list: "slice", dict: "map"}
_BASIC = {"string", "bool", "int32", "int64", "float64"}


def _not_converted(value: Any, wanted: str) -> str:
    """Why a value of a patch can't become one of the wanted type of Go."""
    given = _GO_KINDS.get(type(value), "nil")
    if wanted.startswith("[]"):
        return f"cannot restore slice from {given}"
    if wanted.startswith("map[") or wanted == "v1.ResourceList":
        return f"cannot restore map from {given}"
    if wanted in _BASIC:
        return f"cannot convert {given} to {wanted}" if _is_near(given, wanted) else f"unrecognized type: {wanted}"
    if wanted.partition(".")[2] in types():
        return f"cannot restore struct from: {given}"
    return f"cannot convert {given} to {wanted}" if _is_near(given, "string") else "unrecognized type: string"


def _is_near(given: str, wanted: str) -> bool:
    """Whether Go can convert the one to the other: numbers among each other, and integers to text."""
    return given in ("int64", "float64") and wanted not in ("bool",) and (given, wanted) != ("float64", "string")


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
