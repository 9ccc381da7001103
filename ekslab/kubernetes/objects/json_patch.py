"""JSON patch (RFC 6902), as kube-apiserver applies it.

It is more lenient than the RFC where the API server's library is: `replace` of a field that isn't there adds it, a
value that is left out is null, a negative index counts from a list's end.
"""

from __future__ import annotations

import copy
import re
from typing import Any

import orjson

from ekslab.kubernetes.objects.errors import ApiError, bad_request, json_kind, request_entity_too_large
from ekslab.kubernetes.objects.resources import Object

_MAX_OPERATIONS = 10_000  # of one patch
_MAX_COPIED = 3 * 1024 * 1024  # bytes that the copies of one patch may add
_INDEX = re.compile(r"[+-]?(0|[1-9]\d*)", re.ASCII)
_TEXTS = ("op", "path", "from")


class _Refused(Exception):
    """An operation doesn't apply."""


def json_patch(target: Object, operations: Any) -> Any:
    """The target with the operations applied. Raises the API server's 400, 413 and 422 errors."""
    result: Any = copy.deepcopy(target)
    copied = 0
    for operation in decoded(operations):
        try:
            result, size = _applied(result, operation, copied)
        except _Refused as error:
            message = "the server rejected our request due to an error in our request"
            raise ApiError(422, "Invalid", message, {}) from error
        copied += size
    return result


def decoded(operations: Any) -> list[Object]:
    """The operations of a patch, if it has the form of one. Raises 400 and 413 errors."""
    wrong = "error decoding patch: json: cannot unmarshal"
    listed = [] if operations is None else operations
    if not isinstance(listed, list):
        raise bad_request(f"{wrong} {json_kind(operations)} into Go value of type []handlers.jsonPatchOp")
    listed = [{} if operation is None else operation for operation in listed]
    for operation in listed:
        if not isinstance(operation, dict):
            raise bad_request(f"{wrong} {json_kind(operation)} into Go value of type handlers.jsonPatchOp")
        for name in _TEXTS:
            if not isinstance(operation.get(name) or "", str):
                given = json_kind(operation[name])
                raise bad_request(f"{wrong} {given} into Go struct field jsonPatchOp.{name} of type string")
    if len(listed) > _MAX_OPERATIONS:
        allowed = f"The allowed maximum operations in a JSON patch is {_MAX_OPERATIONS}, got {len(listed)}"
        raise request_entity_too_large(allowed)
    return listed


def unknown_fields(operations: Any) -> list[str]:
    """The paths of fields that operations don't have, as in `[0].extra`."""
    return [
        f"[{index}].{name}"
        for index, operation in enumerate(operations or ())
        for name in operation or ()
        if name not in (*_TEXTS, "value")
    ]


def _applied(document: Any, operation: Object, copied: int) -> tuple[Any, int]:
    """The document after one operation, and how many bytes were copied. Raises `_Refused`."""
    value = operation.get("value")
    match operation.get("op"):
        case "add":
            _add(*_found(document, operation, "path"), value)
        case "remove":
            _take(*_found(document, operation, "path"))
        case "replace":
            if operation.get("path") == "":
                if not isinstance(value, dict | list):
                    raise _Refused("only an object or a list can replace the whole")
                return value, 0
            _replace(*_found(document, operation, "path"), value)
        case "move":
            moved = _take(*_found(document, operation, "from"))
            _add(*_found(document, operation, "path"), moved)
        case "copy":
            value = copy.deepcopy(_get(*_found(document, operation, "from")))
            size = len(orjson.dumps(value))
            if copied + size > _MAX_COPIED:
                raise _Refused("the copies are too large")
            _add(*_found(document, operation, "path"), value)
            return document, size
        case "test":
            whole = operation.get("path") == ""
            if not _equal(document if whole else _get(*_found(document, operation, "path")), value):
                raise _Refused("the test failed")
        case other:
            raise _Refused(f"there is no operation {other}")
    return document, 0


def _found(document: Any, operation: Object, name: str) -> tuple[Any, str]:
    """The object or list that a pointer leads into, and the key or index in it."""
    pointer = operation.get(name)
    if pointer is None or "/" not in pointer:
        raise _Refused(f"{name} is missing, or is no pointer")
    *steps, last = (step.replace("~1", "/").replace("~0", "~") for step in pointer.split("/")[1:])
    for step in steps:
        document = _get(document, step)
    if not isinstance(document, dict | list):
        raise _Refused(f"nothing is at {pointer}")
    return document, last


def _index(items: list[Any], key: str, size: int) -> int:
    """The index that a key names in a list of that size."""
    if not _INDEX.fullmatch(key):
        raise _Refused(f"{key} is no index")
    index = int(key)
    if not -size <= index < size:
        raise _Refused(f"index {key} is out of the list")
    return index + size if index < 0 else index


def _get(container: Any, key: str) -> Any:
    if isinstance(container, dict):
        return container.get(key)
    if isinstance(container, list):
        return container[_index(container, key, len(container))]
    raise _Refused(f"{key} is in no object or list")


def _add(container: Any, key: str, value: Any) -> None:
    if isinstance(container, dict):
        container[key] = value
    elif key == "-":
        container.append(value)
    else:
        container.insert(_index(container, key, len(container) + 1), value)


def _replace(container: Any, key: str, value: Any) -> None:
    if isinstance(container, dict):
        container[key] = value
    else:
        container[_index(container, key, len(container))] = value


def _take(container: Any, key: str) -> Any:
    if isinstance(container, dict):
        if key not in container:
            raise _Refused(f"there is no {key}")
        return container.pop(key)
    return container.pop(_index(container, key, len(container)))


def _equal(left: Any, right: Any) -> bool:
    """Equal as JSON texts are: 1, 1.0 and true differ."""
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(_equal(left[key], right[key]) for key in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(_equal(*pair) for pair in zip(left, right, strict=True))
    return type(left) is type(right) and bool(left == right)
