"""Parses request bodies (JSON, YAML, protobuf) that may be hostile: their size, depth and expansion are bounded."""

from __future__ import annotations

from typing import Any

import orjson
import yaml

from ekslab.kubernetes.apiserver import protobuf
from ekslab.kubernetes.objects.errors import bad_request, request_entity_too_large
from ekslab.kubernetes.objects.registry import APPLY_PATCH
from ekslab.kubernetes.objects.resources import Object
from ekslab.kubernetes.objects.schema import TypeMismatch, decode_body

MAX_BODY = 3 * 1024 * 1024  # bytes; kube-apiserver's limit
YAML_TYPES = ("application/yaml", APPLY_PATCH)
_MAX_YAML = 512 * 1024  # bytes; Python reads some 100 KB of YAML in a second
_MAX_DEPTH = 100
_MAX_VALUES = 1_000_000  # after aliases were followed


class _TooDeep(yaml.YAMLError):
    pass


class _Loader(yaml.SafeLoader):
    """Not libyaml's loader, which dies of what is nested too deeply."""

    flow_level: int
    indents: list[int]

    def fetch_flow_collection_start(self, token: Any) -> None:
        if self.flow_level >= _MAX_DEPTH:
            raise _TooDeep("exceeded max depth")
        super().fetch_flow_collection_start(token)

    def add_indent(self, column: int) -> bool:
        if len(self.indents) >= _MAX_DEPTH:
            raise _TooDeep("exceeded max depth")
        return bool(super().add_indent(column))


def parse(body: bytes, kind: str) -> Any:
    """The object in a body of that media type. Raises 400, 413 and 415 errors."""
    if body.startswith(protobuf.MAGIC):
        return protobuf.decode(body)
    failure: Exception
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        failure = error
    else:
        if body.count(b"[") + body.count(b"{") > _MAX_DEPTH:
            _measure(parsed)
        return parsed
    if kind in YAML_TYPES:
        if len(body) > _MAX_YAML:
            raise request_entity_too_large(f"limit is {_MAX_YAML}")
        try:
            parsed = yaml.load(body, _Loader)
            _measure(parsed)
            return parsed
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            failure = error
    raise bad_request(f"error decoding the body of the request: {failure}") from failure


def typed(parsed: Any, kind: str) -> Object:
    """A body that isn't stored (`DeleteOptions`, `Scale`, a review), by the types of its kind. Raises a 400 error."""
    if not isinstance(parsed, dict):
        raise bad_request("the object provided is unrecognized (must be a JSON object)")
    try:
        return decode_body(kind, parsed)
    except TypeMismatch as mismatch:
        raise bad_request(f'{kind} in version "v1" cannot be handled as a {kind}: {mismatch}') from mismatch


def _measure(parsed: Any) -> None:
    """Raises a 400 error for what is nested too deeply, or is too large once its aliases are followed."""
    level, depth, values = [parsed], 0, 0
    while level:
        values += len(level)
        if depth > _MAX_DEPTH or values > _MAX_VALUES:
            what = "exceeded max depth" if depth > _MAX_DEPTH else "document contains excessive aliasing"
            raise bad_request(f"error decoding the body of the request: {what}")
        deeper: list[Any] = []
        for value in level:
            if isinstance(value, dict):
                deeper += value.values()
            elif isinstance(value, list):
                deeper += value
            if len(deeper) > _MAX_VALUES:
                break
        level, depth = deeper, depth + 1
