"""Converts the constants of conditions into values of a field's type: numbers, booleans, addresses, buffers."""

from __future__ import annotations

import re
import socket
from functools import lru_cache
from typing import Any

from falcorules.fields import ADDRESS_TYPES, NETWORK_TYPES, STRING_TYPES

_SIGNED = {"INT8": 8, "INT16": 16, "INT32": 32, "INT64": 64, "FD": 64, "PID": 64, "ERRNO": 64}
_UNSIGNED = {
    **dict.fromkeys(("UINT8", "FLAGS8", "ENUMFLAGS8"), 8),
    **dict.fromkeys(("UINT16", "FLAGS16", "ENUMFLAGS16"), 16),
    **dict.fromkeys(("UINT32", "FLAGS32", "ENUMFLAGS32", "MODE", "UID", "GID"), 32),
    **dict.fromkeys(("UINT64", "RELTIME", "ABSTIME"), 64),
}
# Types that have no constants go by a number.
_NUMBERED = {"BYTEBUF": 10, "SYSCALLID": 18, "SIGTYPE": 19}
# Names of ports, for systems without a services database.
_PORTS = {"ssh": 22, "telnet": 23, "smtp": 25, "domain": 53, "http": 80, "pop3": 110, "ntp": 123, "https": 443}
_SCANNED = re.compile(r"[\t\n\v\f\r ]*([+-]?)([0-9]+)")

# The longest constant Falco keeps; a longer one is refused when the rule is compiled.
MAX_CONSTANT = 256


class BadValue(Exception):
    """A constant isn't a value of the field's type. `message` is Falco's; `fatal` is True if it ends Falco."""

    def __init__(self, message: str, *, fatal: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.fatal = fatal


def convert(text: str, kind: str) -> Any:
    """`text` as a value of type `kind`: str, int, float, bool, bytes; an address is packed bytes, a network an
    (address bits, mask bits, packed length) triple. Raises BadValue."""
    if kind == "BYTEBUF":
        data = text.encode("utf-8", "surrogateescape")
        if len(data) >= MAX_CONSTANT:
            raise BadValue("filter parameter too long (byte buf)")
        return data
    dotted = "." in text
    text = text.partition("\0")[0]
    if kind in STRING_TYPES:
        if (used := len(text.encode("utf-8", "surrogateescape")) + 1) > MAX_CONSTANT:
            raise BadValue(f"filter parameter too long (used={used}, available={MAX_CONSTANT}):{text}")
        return text
    if kind in _SIGNED:
        bits = _SIGNED[kind]
        number = _scan(text, 64 if bits == 64 else 32, signed=True)
        return _wrapped(number, bits, signed=True)
    if kind in _UNSIGNED:
        bits = _UNSIGNED[kind]
        return _scan(text, 64 if bits == 64 else 32, signed=False) & ((1 << bits) - 1)
    if kind == "BOOL":
        if text not in ("true", "false"):
            raise BadValue(f"filter error: unrecognized boolean value {text}")
        return text == "true"
    if kind == "PORT":
        return _port(text)
    if kind in ADDRESS_TYPES:
        packed = address(text)
        if packed is None or (len(packed) == 4) is not dotted:
            raise BadValue(f"unrecognized {'IPv4' if dotted else 'IPv6'} address {text}")
        return packed
    if kind in NETWORK_TYPES:
        return _network(text, dotted)
    if kind == "DOUBLE":
        # Falco reads a 32-bit integer, and then makes it a fraction.
        return float(_scan(text, 32, signed=True))
    raise BadValue(f"wrong parameter type {_NUMBERED.get(kind, kind)}")


def unhex(text: str) -> bytes:
    """Decodes the hexadecimal constant of bcontains or bstartswith. Raises BadValue."""
    if len(text) % 2 or not re.fullmatch("[0-9a-fA-F]*", text):
        raise BadValue("filter error: bcontains and bstartswith operator support hex strings only")
    return bytes.fromhex(text)


def _scan(text: str, bits: int, *, signed: bool) -> int:
    """Reads an integer as C's sscanf does: leading blanks and a sign may precede the digits, nothing may follow."""
    match = _SCANNED.fullmatch(text)
    if match is None:
        raise BadValue(f"{text} is not a valid number")
    number = int(match[2][:40]) * (-1 if match[1] == "-" else 1)
    if signed:
        number = max(-(1 << 63), min((1 << 63) - 1, number))
        return _wrapped(number, bits, signed=True)
    if abs(number) >= 1 << 64:
        number = -1
    return number & ((1 << bits) - 1)


def _wrapped(number: int, bits: int, *, signed: bool) -> int:
    number &= (1 << bits) - 1
    return number - (1 << bits) if signed and number >> (bits - 1) else number


def _port(text: str) -> int:
    if not text:
        return 0
    if text.isascii() and text.isdigit():
        if int(text[:20]) >= 1 << 31:
            raise BadValue("stoi", fatal=True)
        return int(text) & 0xFFFF
    try:
        return socket.getservbyname(text)
    except (OSError, ValueError, UnicodeError):
        if text in _PORTS:
            return _PORTS[text]
        raise BadValue(f"unrecognized protocol {text}") from None


@lru_cache(4096)
def address(text: str) -> bytes | None:
    """An IPv4 or IPv6 address as packed bytes, or None if `text` isn't one."""
    try:
        return socket.inet_pton(socket.AF_INET if "." in text and ":" not in text else socket.AF_INET6, text)
    except (OSError, ValueError):
        return None


def _network(text: str, is_v4: bool) -> tuple[int, int, int]:
    host, slash, length = text.partition("/")
    if not slash:
        raise BadValue(f"unrecognized IP network {text}" if is_v4 else f"invalid v6 netmask: {text}")
    packed = address(host)
    if packed is None or (len(packed) == 4) is not is_v4:
        raise BadValue(f"unrecognized {'IP' if is_v4 else 'IPv6'} address {text}")
    bits = len(packed) * 8
    prefix = _scan(length, 32, signed=False) & 0xFF
    if prefix > bits or (bits == 128 and not prefix):
        raise BadValue(f"invalid {'' if is_v4 else 'v6 '}netmask {length}")
    mask = ((1 << prefix) - 1) << (bits - prefix)
    return (int.from_bytes(packed, "big") & mask, mask, len(packed))


def lower(text: str) -> str:
    """ASCII lower case, as in the C locale."""
    return text.lower() if text.isascii() else re.sub("[A-Z]+", lambda match: match[0].lower(), text)


def upper(text: str) -> str:
    """ASCII upper case, as in the C locale."""
    return text.upper() if text.isascii() else re.sub("[a-z]+", lambda match: match[0].upper(), text)
