"""What is wrong with a text that should be JSON, in the words of Go's `encoding/json`."""

from __future__ import annotations

import re

_SPACE = re.compile(r"[ \t\r\n]*")
_LITERALS = {"t": "true", "f": "false", "n": "null"}
# The parts of a number: what may come next, and where in a number something else stands then.
_NUMBER = (
    (re.compile(r"-?"), re.compile(r"0|[1-9]\d*", re.ASCII), "in numeric literal"),
    (re.compile(r"\."), re.compile(r"\d+", re.ASCII), "after decimal point in numeric literal"),
    (re.compile(r"[eE][+-]?"), re.compile(r"\d+", re.ASCII), "in exponent of numeric literal"),
)
_TEXT = re.compile(r'[^"\\\x00-\x1f]*')
_ESCAPE = re.compile(r'["\\/bfnrt]|u[0-9a-fA-F]{4}')
_HEX = re.compile(r"[0-9a-fA-F]*")
_END = "unexpected end of JSON input"
# What a reader waits for: the words for anything else.
_WANTED = {
    "value": "looking for beginning of value",
    "first item": "looking for beginning of value",
    "key": "looking for beginning of object key string",
    "first key": "looking for beginning of object key string",
    "colon": "after object key",
    "}": "after object key:value pair",
    "]": "after array element",
    "": "after top-level value",
}


class _Wrong(Exception):
    """The text isn't JSON, for this reason."""


def why_not_json(body: bytes) -> str:
    """Why a text isn't JSON; empty if it is."""
    text = body.decode("latin-1")  # Go looks at single bytes
    try:
        _read(text)
    except _Wrong as wrong:
        return str(wrong)
    return ""


def _read(text: str) -> None:
    at, closing, wanted = 0, [""], "value"
    while True:
        at = _SPACE.match(text, at).end()  # type: ignore[union-attr]  # it matches nothing, too
        if at == len(text):
            if wanted:
                raise _Wrong(_END)
            return
        char = text[at]
        if char == wanted or (wanted, char) in (("first item", "]"), ("first key", "}")):
            closing.pop()
            at, wanted = at + 1, closing[-1]
        elif wanted in ("}", "]") and char == ",":
            at, wanted = at + 1, "key" if wanted == "}" else "value"
        elif wanted == "colon" and char == ":":
            at, wanted = at + 1, "value"
        elif wanted in ("key", "first key") and char == '"':
            at, wanted = _string(text, at), "colon"
        elif wanted in ("value", "first item") and char in "{[":
            closing.append("}" if char == "{" else "]")
            at, wanted = at + 1, "first key" if char == "{" else "first item"
        elif wanted in ("value", "first item") and (end := _scalar(text, at)):
            at, wanted = end, closing[-1]
        else:
            raise _unexpected(char, _WANTED[wanted])


def _scalar(text: str, at: int) -> int:
    """Where a text, number or literal ends that begins there; 0 if none does."""
    char = text[at]
    if char == '"':
        return _string(text, at)
    if char in _LITERALS:
        return _literal(text, at, _LITERALS[char])
    return _number(text, at) if char in "-0123456789" else 0


def _literal(text: str, at: int, literal: str) -> int:
    for place, expected in enumerate(literal):
        if (given := text[at + place : at + place + 1]) != expected:
            raise _unexpected(given, f"in literal {literal} (expecting {_char(expected)})")
    return at + len(literal)


def _number(text: str, at: int) -> int:
    for begin, digits, where in _NUMBER:
        begun = begin.match(text, at)
        if begun is None:
            continue
        found = digits.match(text, begun.end())
        if found is None:
            raise _unexpected(text[begun.end() : begun.end() + 1], where)
        at = found.end()
    return at


def _string(text: str, at: int) -> int:
    at += 1
    while True:
        at = _TEXT.match(text, at).end()  # type: ignore[union-attr]  # it matches nothing, too
        match text[at : at + 1]:
            case "":
                raise _Wrong(_END)
            case '"':
                return at + 1
            case "\\":
                at = _escape(text, at + 1)
            case control:
                raise _unexpected(control, "in string literal")


def _escape(text: str, at: int) -> int:
    found = _ESCAPE.match(text, at)
    if found is not None:
        return found.end()
    if text[at : at + 1] != "u":
        raise _unexpected(text[at : at + 1], "in string escape code")
    end = _HEX.match(text, at + 1).end()  # type: ignore[union-attr]  # it matches nothing, too
    raise _unexpected(text[end : end + 1], "in \\u hexadecimal character escape")


def _unexpected(char: str, where: str) -> _Wrong:
    return _Wrong(f"invalid character {_char(char or ' ')} {where}")  # Go reads a space at the end


def _char(char: str) -> str:
    if char in "'\"":
        return "'\\''" if char == "'" else "'\"'"
    escaped = {"\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r", "\x08": "\\b", "\x0c": "\\f"}.get(char)
    if escaped is None and not char.isprintable():
        escaped = f"\\x{ord(char):02x}" if char < "\x80" else f"\\u{ord(char):04x}"
    return f"'{escaped or char}'"
