"""Backslash escapes, and the forms in which the shells quote words."""

from __future__ import annotations

import re

_ESCAPES = {
    "a": "\a",
    "b": "\b",
    "e": "\x1b",
    "E": "\x1b",
    "f": "\f",
    "n": "\n",
    "r": "\r",
    "t": "\t",
    "v": "\v",
    "\\": "\\",
}
_QUOTES = {"'": "'", '"': '"', "?": "?"}
_HEXADECIMAL = "0123456789abcdefABCDEF"


def unescape(text: str, *, zero_octal: bool = False, quote: bool = False) -> str:
    """Backslash escapes as printf knows them, with `zero_octal` as echo does (octal numbers need a leading 0).

    With `quote` as `$'...'` does, which also takes escaped quotes and control characters.
    """
    if "\\" not in text:
        return text
    out: list[str] = []
    at = 0
    while at < len(text):
        backslash = text.find("\\", at)
        if backslash != at:
            end = len(text) if backslash < 0 else backslash
            out.append(text[at:end])
            at = end
            continue
        following = text[at + 1 : at + 2]
        if following in _ESCAPES and following:
            out.append(_ESCAPES[following])
            at += 2
        elif following in _QUOTES and following and not zero_octal:
            out.append(_QUOTES[following])
            at += 2
        elif following == "x" and (digits := _digits(text, at + 2, 2, _HEXADECIMAL)):
            at += 2 + len(digits)
            out.append(_byte(int(digits, 16)))
        elif following in ("u", "U") and following and (
            digits := _digits(text, at + 2, 4 if following == "u" else 8, _HEXADECIMAL)
        ):  # fmt: skip
            code = int(digits, 16)
            out.append(chr(code) if code < 0x110000 and not 0xD800 <= code < 0xE000 else "")
            at += 2 + len(digits)
        elif following in ("0", "1", "2", "3", "4", "5", "6", "7") and (following == "0" or not zero_octal):
            digits = _digits(text, at + 1, 4 if zero_octal else 3, "01234567")
            out.append(_byte(int(digits, 8) & 0xFF))
            at += 1 + len(digits)
        elif quote and following == "c" and text[at + 2 : at + 3]:
            out.append(chr(ord(text[at + 2].upper()) & 0x1F))
            at += 3
        else:
            out.append("\\" + following)
            at += 2
    return "".join(out)


def _byte(value: int) -> str:
    """A byte as a character: one that isn't ASCII stands for itself when it is encoded again."""
    return chr(value) if value < 128 else chr(0xDC00 + value)


def _digits(text: str, start: int, most: int, allowed: str) -> str:
    end = start
    while end < len(text) and end - start < most and text[end] in allowed:
        end += 1
    return text[start:end]


def quoted(value: str) -> str:
    """A value as `${x@Q}` shows it."""
    if any(ord(character) < 32 or ord(character) == 127 or 0xDC80 <= ord(character) < 0xDD00 for character in value):
        names = {
            "\n": "\\n",
            "\t": "\\t",
            "\r": "\\r",
            "\x1b": "\\E",
            "\a": "\\a",
            "\b": "\\b",
            "\f": "\\f",
            "\v": "\\v",
        }
        out = "".join(
            names.get(each)
            or ("\\'" if each == "'" else "\\\\" if each == "\\" else None)
            or (f"\\{ord(each) & 0xFF:03o}" if ord(each) < 32 or ord(each) == 127 or ord(each) >= 0xDC80 else each)
            for each in value
        )
        return f"$'{out}'"
    return "'" + value.replace("'", "'\\''") + "'"


def double_quoted(value: str) -> str:
    """A value as `declare -p` shows it."""
    if any(ord(character) < 32 for character in value):
        return quoted(value)
    return '"' + re.sub(r'([\\"$`])', r"\\\1", value) + '"'


def traced(word: str) -> str:
    """A word as `set -x` shows it."""
    if word and re.fullmatch(r"[\w@%+=:,./-]+", word):
        return word
    return "'" + word.replace("'", "'\\''") + "'"
