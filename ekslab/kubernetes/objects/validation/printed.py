"""Values as messages print them: the JSON of the API server's own types, which have other field names and orders.

`internal.json` maps a type to its fields in order: Go's name, the name in an object, and the type: `str`, `int`,
`bool`, `any`, `quantity` or another type's name, with `*` for a pointer, `[` for a list and `{` for a map.
"""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import Any

import orjson

from ekslab.kubernetes.objects.errors import Printed, go_value
from ekslab.kubernetes.objects.resources import Object

_ZERO = {"str": '""', "int": "0", "bool": "false", "any": "null", "quantity": '"0"', "LabelSelector": "{}"}
_HOST = ("hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace", "hostUsers")
"""Fields that the API server keeps in a pod's security context."""


@cache
def _types() -> dict[str, list[tuple[str, str, str]]]:
    loaded: dict[str, list[tuple[str, str, str]]] = orjson.loads(
        resources.files(__package__).joinpath("internal.json").read_bytes()
    )
    return loaded


def internal(kind: str, value: Any) -> Printed:
    """The JSON of a value of one of the API server's own types."""
    return Printed(_text(kind, value))


def selector(value: Object | None) -> Printed:
    """The JSON of a label selector: its fields are in the order of the type."""
    return Printed("null" if value is None else _selector(value))


def _text(kind: str, value: Any) -> str:
    if value is None:
        if kind[0] in "*[{":
            return "null"
        return _ZERO[kind] if kind in _ZERO else _text(kind, {})
    kind = kind.removeprefix("*")
    if kind.startswith("["):
        return f"[{','.join(_text(kind[1:], item) for item in value)}]"
    if kind.startswith("{"):
        return f"{{{','.join(f'{go_value(key)}:{_text(kind[1:], value[key])}' for key in sorted(value))}}}"
    if kind == "LabelSelector":
        return _selector(value)
    if kind in _ZERO:
        return _json(value)
    if kind == "PodSpec" and any(name in value for name in (*_HOST, "securityContext")):
        inner = {**(value.get("securityContext") or {}), **{name: value[name] for name in _HOST if name in value}}
        value = {**value, "securityContext": inner}
    parts = []
    for go_name, name, inner_kind in _types()[kind]:
        if go_name:
            parts.append(f'"{go_name}":{_text(inner_kind, value.get(name))}')
        else:  # embedded metadata, whose fields have JSON names
            metadata = value.get("metadata") or {}
            parts += [f'"{key}":{_json(metadata[key])}' for key in ("name", "labels", "annotations") if key in metadata]
    return f"{{{','.join(parts)}}}"


def _selector(value: Object) -> str:
    parts = []
    if labels := value.get("matchLabels"):
        parts.append(f'"matchLabels":{_json(labels)}')
    if expressions := value.get("matchExpressions"):
        listed = ",".join(
            f'{{"key":{_json(item.get("key", ""))},"operator":{_json(item.get("operator", ""))}'
            + (f',"values":{_json(item["values"])}}}' if item.get("values") else "}")
            for item in expressions
        )
        parts.append(f'"matchExpressions":[{listed}]')
    return f"{{{','.join(parts)}}}"


def _json(value: Any) -> str:
    if isinstance(value, str):
        value = [value]
        return go_value(value)[1:-1]
    return go_value(value)
