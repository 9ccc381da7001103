"""Text as Fluent Bit writes it into JSON, bytes that aren't UTF-8 included.

Records hold text that was decoded with `surrogateescape`, so that no byte of a log is lost before this module decides
what becomes of it.
"""

from __future__ import annotations

import json
import re
from typing import Any

_SURROGATE = re.compile("[\ud800-\udfff]")
_ASCII = re.compile(rb"[\x00-\x7f]+")


def decoded(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def joined(parts: list[str]) -> str:
    """Parts of a line; a character that was split between two of them is whole again."""
    text = "".join(parts)
    return decoded(encoded(text)) if _SURROGATE.search(text) else text


def valid(text: str) -> str:
    """The text with a replacement character for each byte that isn't UTF-8, for what takes no such bytes."""
    return text if text.isascii() else encoded(text).decode("utf-8", "replace")


def escaped(text: str, *, ascii_only: bool = True) -> bytes:
    """The text as it stands between the quotes of a JSON string.

    With `ascii_only` (json.escape_unicode, the default) characters outside ASCII are escaped, and bytes that aren't
    UTF-8 come out as Fluent Bit's decoder leaves them: most as a character of a private area, U+E000 and the byte.
    """
    if _SURROGATE.search(text):
        if ascii_only:
            return _escaped_bytes(encoded(text))
        text = _SURROGATE.sub("\ufffd", text)
    return json.dumps(text, ensure_ascii=ascii_only)[1:-1].replace("\x7f", "\\u007f").encode()


def as_json(value: Any, *, ascii_only: bool = True) -> bytes:
    """A record, or a part of one, as JSON."""
    if isinstance(value, str):
        return b'"' + escaped(value, ascii_only=ascii_only) + b'"'
    if isinstance(value, dict):
        pairs = (
            as_json(str(k), ascii_only=ascii_only) + b":" + as_json(v, ascii_only=ascii_only) for k, v in value.items()
        )
        return b"{" + b",".join(pairs) + b"}"
    if isinstance(value, list):
        return b"[" + b",".join(as_json(item, ascii_only=ascii_only) for item in value) + b"]"
    return json.dumps(value).encode()


def _escaped_bytes(data: bytes) -> bytes:
    out = bytearray()
    at = 0
    while at < len(data):
        if data[at] < 0x80:
            run = _ASCII.match(data, at)
            assert run is not None
            out += escaped(run[0].decode())
            at = run.end()
            continue
        length = _length(data[at])
        if at + length > len(data):  # the end of the text comes before that of the character
            at += 1
            continue
        code, read = _decode(data[at : at + length])
        if code is None:
            out += "".join(chr(0xE000 + byte) for byte in data[at : at + read]).encode()
        else:
            out += json.dumps(chr(code))[1:-1].encode() if code >= 0x80 else b"\\u%04x" % code
        at += read
    return bytes(out)


def _length(lead: int) -> int:
    """Bytes of the character that begins so, by a table that knows sequences of up to six."""
    for length, first in ((6, 0xFC), (5, 0xF8), (4, 0xF0), (3, 0xE0), (2, 0xC0)):
        if lead >= first:
            return length
    return 1


def _decode(data: bytes) -> tuple[int | None, int]:
    """The code point, overlong forms included, and the bytes that were read; None if they are no character."""
    lead = data[0]
    if lead & 0xE0 == 0xC0:
        code, more = lead & 0x1F, 1
    elif lead & 0xF0 == 0xE0:
        code, more = lead & 0x0F, 2
    elif lead & 0xF8 == 0xF0:
        code, more = lead & 0x07, 3
    else:
        return None, 1
    for number in range(1, more + 1):
        if data[number] & 0xC0 != 0x80:
            return None, number
        code = code << 6 | data[number] & 0x3F
    if 0xD800 <= code <= 0xDFFF or code > 0x10FFFF:
        return None, more  # its last byte is looked at again
    return code, more + 1
