"""Transformers: `tolower`, `toupper`, `b64`, `basename`, `len`, `join`, `concat`, `getopt`.

Falco's results have the terminating NUL of a C string. It makes no difference where strings are compared, but it does
in a list, and at the end of a buffer.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from typing import Any

from falcorules import values
from falcorules.text import as_text


def _mapped(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Applies a function to a value, or to each item of a list; None if a value or a result is missing."""

    def apply(value: Any) -> Any:
        if isinstance(value, str):
            return function(value)
        if value is None:
            return None
        if isinstance(value, bytes):
            made = function(value.rstrip(b"\0"))
            return made if made is None or made.endswith(b"\0") else made + b"\0"
        items = [function(item.rstrip("\0")) for item in value]
        return None if None in items else [item if item.endswith("\0") else f"{item}\0" for item in items]

    return apply


def _until_nul(text: str) -> str:
    return text.partition("\0")[0]


def _decoded(text: str | bytes) -> Any:
    """Decodes base64, padded or not; None for other text."""
    data = text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text
    data = data[:-2] if data.endswith(b"==") else data.removesuffix(b"=")
    if not data:
        return None if text else text
    try:
        out = base64.b64decode(data + b"=" * (-len(data) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None
    if base64.b64encode(out).rstrip(b"=") != data:  # bits are left over
        return None
    return _until_nul(out.decode("utf-8", "surrogateescape")) if isinstance(text, str) else out


def texts(*items: Any) -> list[str] | None:
    """The items as text; None if one is missing."""
    return None if any(item is None for item in items) else [as_text(item) for item in items]


def _length(value: Any) -> int | None:
    if value is None:
        return None
    return len(value.encode("utf-8", "surrogateescape")) if isinstance(value, str) else len(value)


def _join(separator: Any, items: Any) -> str | None:
    if separator is None or items is None:
        return None
    return as_text(separator).join(_until_nul(item) for item in items)


def _concat(*parts: Any) -> str | None:
    return None if any(part is None for part in parts) else "".join(as_text(part) for part in parts)


def _getopt(arguments: Any, options: Any, wanted: str) -> Any:
    """The options that getopt(3) finds, in order: each option's letter and, if it takes one, its value; "?" for an
    unknown option, "" for an option without its value. With a letter as `wanted`: the value of the last such option
    (its letter if it takes none), or None."""
    if arguments is None or options is None:
        return None
    known, valued = _options(options)
    found: list[str] = []
    chosen: str | None = None
    pending = iter(arguments)
    for argument in pending:
        if argument.startswith("--") and len(argument) > 2:
            continue  # a long option
        if argument in ("--", "-") or not argument.startswith("-"):
            break
        for place, letter in enumerate(argument[1:], start=2):
            if letter not in known:
                found.append("?")
                continue
            value = (argument[place:] or next(pending, None)) if letter in valued else None
            found.extend([letter] if letter not in valued else [""] if value is None else [letter, value])
            if letter == wanted:
                chosen = found[-1]
            if letter in valued:
                break
    return chosen if wanted else found


def _options(text: str) -> tuple[set[str], set[str]]:
    """The letters in an option string of getopt(3), and those that take a value."""
    known: set[str] = set()
    valued: set[str] = set()
    for place, letter in enumerate(text):
        if letter != ":":
            known.add(letter)
            if text[place + 1 : place + 2] == ":":
                valued.add(letter)
    return known, valued


MAPPING: dict[str, Callable[[Any], Any]] = {
    "tolower": _mapped(values.lower),
    "toupper": _mapped(values.upper),
    "basename": _mapped(lambda path: path.rpartition("/")[2]),
    "b64": _mapped(_decoded),
}
TRANSFORMERS: dict[str, Callable[..., Any]] = {
    **MAPPING,
    "len": _length,
    "join": _join,
    "concat": _concat,
    "getopt": _getopt,
}
