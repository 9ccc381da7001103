"""Parses request bodies (JSON, YAML, protobuf) that may be hostile: their size, depth and expansion are bounded."""

from __future__ import annotations

from typing import Any

import orjson
import yaml

from ekslab.kubernetes.apiserver import protobuf
from ekslab.kubernetes.apiserver.json_syntax import why_not_json
from ekslab.kubernetes.objects.errors import ApiError, bad_request, request_entity_too_large
from ekslab.kubernetes.objects.registry import (
    APPLY_PATCH,
    JSON_PATCH,
    MERGE_PATCH,
    STRATEGIC_MERGE_PATCH,
    unread,
    unrecognized,
)
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


class Unreadable(Exception):
    """A body is no JSON or YAML, for this reason."""


def parse(body: bytes, kind: str) -> Any:
    """The object in a body of that media type. Raises `Unreadable`, and 400, 413 and 415 errors."""
    if body.startswith(protobuf.MAGIC):
        return protobuf.decode(body)
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        if kind not in YAML_TYPES:
            raise Unreadable(why_not_json(body) or str(error)) from error
    else:
        if body.count(b"[") + body.count(b"{") > _MAX_DEPTH:
            _measure(parsed)
        return parsed
    if len(body) > _MAX_YAML:
        raise request_entity_too_large(f"limit is {_MAX_YAML}")
    try:
        parsed = yaml.load(body, _Loader)
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise Unreadable(f"yaml: {line}{error.problem or error.context}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise Unreadable(f"yaml: {error}") from error
    _measure(parsed)
    return parsed


def refusal(body: bytes, kind: str, what: str, why: Unreadable) -> ApiError:
    """The answer to a body that can't be read; `what` is the kind of object that should be in it, if one should."""
    if kind in (JSON_PATCH, MERGE_PATCH):
        return bad_request(f"error decoding patch: {why}")
    if kind == STRATEGIC_MERGE_PATCH:
        return bad_request(str(why))
    if kind == APPLY_PATCH:
        return bad_request(f"error decoding YAML: {why}")
    said = str(why) if kind in YAML_TYPES else unread(str(why))
    return unrecognized(what, said, body) if what else bad_request(said)


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
