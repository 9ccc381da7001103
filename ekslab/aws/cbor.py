"""CBOR (RFC 8949), as AWS's rpc-v2-cbor protocol uses it: values go in, bytes come out, and back again."""

from __future__ import annotations

import datetime as dt
import math
import struct
from collections.abc import Mapping
from typing import Any

_BREAK = object()
_DEEPEST = 64
_HEADS = {24: (">B", 1), 25: (">H", 2), 26: (">I", 4), 27: (">Q", 8)}
_FLOATS = {25: (">e", 2), 26: (">f", 4), 27: (">d", 8)}
_SIMPLE = {20: False, 21: True, 22: None, 23: None}


def encode(value: Any) -> bytes:
    """The bytes of plain values; a time is a tagged number of seconds. Raises TypeError for any other value."""
    match value:
        case None:
            return b"\xf6"
        case bool():
            return b"\xf5" if value else b"\xf4"
        case int() if -(1 << 64) <= value < 1 << 64:
            return _head(0, value) if value >= 0 else _head(1, -1 - value)
        case int() | float():
            return b"\xfb" + struct.pack(">d", value)
        case dt.datetime():
            return _head(6, 1) + encode(value.timestamp())
        case str():
            data = value.encode()
            return _head(3, len(data)) + data
        case bytes():
            return _head(2, len(value)) + value
        case Mapping():
            members = b"".join(encode(name) + encode(member) for name, member in value.items())
            return _head(5, len(value)) + members
        case list() | tuple():
            return _head(4, len(value)) + b"".join(map(encode, value))
    raise TypeError(f"not a value of CBOR: {value!r}")


def decode(data: bytes) -> Any:
    """The value that bytes stand for. Raises ValueError for what is no single well-formed value."""
    reader = _Reader(data)
    value = reader.value()
    if value is _BREAK or reader.at < len(data):
        raise ValueError("more than one value, or none")
    return value


def _head(major: int, argument: int) -> bytes:
    if argument < 24:
        return bytes([major << 5 | argument])
    for info, (form, size) in _HEADS.items():
        if argument < 1 << 8 * size:
            return bytes([major << 5 | info]) + struct.pack(form, argument)
    raise AssertionError(argument)


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self.at = 0

    def _take(self, size: int) -> bytes:
        if size > len(self._data) - self.at:
            raise ValueError("it ends too early")
        self.at += size
        return self._data[self.at - size : self.at]

    def value(self, depth: int = 0) -> Any:
        if depth > _DEEPEST:
            raise ValueError("it is nested too deeply")
        first = self._take(1)[0]
        major, info = first >> 5, first & 31
        if major == 7:
            return self._simple(info)
        if info == 31 and major in (2, 3, 4, 5):
            return self._indefinite(major, depth)
        argument = self._argument(info)
        match major:
            case 0:
                return argument
            case 1:
                return -1 - argument
            case 2:
                return self._take(argument)
            case 3:
                return self._take(argument).decode()
            case 4:
                return [self._item(depth) for _ in range(argument)]
            case 5:
                return {self._name(depth): self._item(depth) for _ in range(argument)}
        return self._tagged(argument, self._item(depth))

    def _item(self, depth: int) -> Any:
        value = self.value(depth + 1)
        if value is _BREAK:
            raise ValueError("an end where nothing began")
        return value

    def _name(self, depth: int) -> str:
        name = self._item(depth)
        if not isinstance(name, str):
            raise ValueError("a member's name is text")
        return name

    def _argument(self, info: int) -> int:
        if info < 24:
            return info
        if info not in _HEADS:
            raise ValueError(f"unknown length {info}")
        form, size = _HEADS[info]
        return int(struct.unpack(form, self._take(size))[0])

    def _simple(self, info: int) -> Any:
        if info == 31:
            return _BREAK
        if info in _SIMPLE:
            return _SIMPLE[info]
        if info not in _FLOATS:
            raise ValueError(f"unknown value {info}")
        form, size = _FLOATS[info]
        return struct.unpack(form, self._take(size))[0]

    def _indefinite(self, major: int, depth: int) -> Any:
        items = []
        while (item := self.value(depth + 1)) is not _BREAK:
            items.append(item)
        match major:
            case 2 if all(isinstance(item, bytes) for item in items):
                return b"".join(items)
            case 3 if all(isinstance(item, str) for item in items):
                return "".join(items)
            case 4:
                return items
            case 5 if len(items) % 2 == 0 and all(isinstance(name, str) for name in items[::2]):
                return dict(zip(items[::2], items[1::2], strict=True))
        raise ValueError("parts that don't belong together")

    def _tagged(self, tag: int, value: Any) -> Any:
        if tag == 1:
            if not isinstance(value, int | float) or not math.isfinite(value):
                raise ValueError("a time is a number of seconds")
            try:
                return dt.datetime.fromtimestamp(value, dt.UTC)
            except (OverflowError, OSError) as error:
                raise ValueError("a time out of range") from error
        if tag in (2, 3) and isinstance(value, bytes):
            number = int.from_bytes(value)
            return number if tag == 2 else -1 - number
        return value
