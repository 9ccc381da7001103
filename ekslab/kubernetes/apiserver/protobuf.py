"""Decodes Protobuf request bodies, which client-go's typed clients prefer, into the JSON form of the object.

`protobuf.json` has the fields of every message that a request to this cluster can carry (see `protobuf_fields`). A
field that isn't there is refused rather than lost.
"""

from __future__ import annotations

import base64
import datetime as dt
import struct
from collections.abc import Iterator
from functools import cache
from importlib import resources
from typing import Any

import orjson

from ekslab.kubernetes.objects.errors import bad_request, unsupported_media_type
from ekslab.kubernetes.objects.resources import Object

MAGIC = b"k8s\x00"
_FIXED = {1: "<d", 5: "<f"}


@cache
def _messages() -> dict[str, dict[str, str]]:
    data = resources.files(__package__).joinpath("protobuf.json").read_bytes()
    loaded: dict[str, dict[str, str]] = orjson.loads(data)
    return loaded


def decode(body: bytes) -> Object:
    """The object in a request's body. Raises a 415 error for a kind or field that isn't known here."""
    try:
        envelope = dict(_fields(body.removeprefix(MAGIC)))
        about = {number: value.decode() for number, value in _fields(envelope.get(1, b""))}
        api_version, kind = about.get(1, ""), about.get(2, "")
        options = f"meta/v1.{kind}"  # they come under the API version of the objects that they are about
        name = options if kind.endswith("Options") else message_of(api_version, kind)
        if name not in _messages():
            raise _unknown(f"kind {kind} of {api_version}")
        return {"apiVersion": api_version, "kind": kind, **_message(name, envelope.get(2, b""))}
    except (ArithmeticError, AttributeError, IndexError, TypeError, ValueError, struct.error) as error:
        raise bad_request(f"error decoding the body of the request: {error}") from error  # not a message of that kind


def message_of(api_version: str, kind: str) -> str:
    """The message of a kind: `core/v1.Pod`, `rbac/v1.Role`."""
    group, _, version = api_version.rpartition("/")
    return f"{group.partition('.')[0] or 'core'}/{version}.{kind}"


def _unknown(what: str) -> Exception:
    return unsupported_media_type(
        f"the embedded cluster doesn't read {what} in protobuf: send JSON, for example with kubectl create "
        "--dry-run=client -o yaml | kubectl apply -f -"
    )


def _message(name: str, data: bytes) -> Any:
    known = _messages()[name]
    message: Object = {}
    for number, value in _fields(data):
        if str(number) not in known:
            if value in (b"", 0):
                continue
            raise _unknown(f"field {number} of {name}")
        field, _, kind = known[str(number)].partition(" ")
        zeros, kind = kind.endswith("!"), kind.removesuffix("!")
        if not field and kind.startswith("*"):  # the message is the list
            message.setdefault("", []).append(_value(kind[1:], value))
        elif not field:
            message.update(_value(kind, value))
        elif kind.startswith("*"):
            message.setdefault(field, []).append(_value(kind[1:], value))
        elif kind.startswith("{"):
            entry = dict(_fields(value))
            message.setdefault(field, {})[entry.get(1, b"").decode()] = _value(kind[1:], entry.get(2, b""))
        elif zeros or "/" in kind or value not in (b"", 0):
            message[field] = _value(kind, value)
    wrapped = list(known.values()) == [" *str"]
    return message.get("", []) if wrapped else message


def _value(kind: str, value: Any) -> Any:
    match kind:
        case "str":
            return value.decode()
        case "bytes":
            return base64.b64encode(value).decode()
        case "int":
            number = int(value)
            return number - (1 << 64) if number >> 63 else number
        case "bool":
            return bool(value)
        case "double":
            return float(value)
        case "quantity":
            return dict(_fields(value)).get(1, b"").decode()
        case "json":
            return orjson.loads(dict(_fields(value)).get(1) or b"null")
        case "int-or-str":
            parts = dict(_fields(value))
            return parts.get(3, b"").decode() if parts.get(1) else _value("int", parts.get(2, 0))
        case "time" | "microtime":
            return _time(dict(_fields(value)), kind)
        case "duration":
            return f"{_value('int', dict(_fields(value)).get(1, 0)) / 1e9:g}s"
    return _message(kind, value)


def _time(parts: dict[int, Any], kind: str) -> str | None:
    """RFC 3339, with microseconds for a `microtime`; None for the zero time."""
    if not parts:
        return None
    epoch = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    moment = epoch + dt.timedelta(seconds=_value("int", parts.get(1, 0)), microseconds=parts.get(2, 0) // 1000)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ" if kind == "time" else "%Y-%m-%dT%H:%M:%S.%fZ")


def _fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """Field numbers and values: an int for a varint, a float for a fixed number, bytes for what has a length."""
    position = 0
    while position < len(data):
        tag, position = _varint(data, position)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            value, position = _varint(data, position)
            yield number, value
        elif wire == 2:
            length, position = _varint(data, position)
            if length > len(data) - position:
                raise ValueError("unexpected EOF")
            yield number, data[position : position + length]
            position += length
        elif wire in _FIXED:
            yield number, struct.unpack_from(_FIXED[wire], data, position)[0]
            position += struct.calcsize(_FIXED[wire])
        else:
            raise ValueError(f"illegal wireType {wire}")


def _varint(data: bytes, position: int) -> tuple[int, int]:
    result = 0
    for shift in range(0, 70, 7):
        byte = data[position]
        position += 1
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            return result, position
    raise ValueError("integer overflow")
