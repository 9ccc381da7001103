"""Constants of a condition as values of a field's type; matching of values: globs, paths, addresses, regexes."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable
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
    """A constant that can't be a value of the field. `message` is in Falco's words."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


def convert(text: str, kind: str) -> Any:
    """`text` as a value of type `kind`: str, int, float, bool, bytes; an address is packed bytes, a network an
    (address bits, mask bits, packed length) triple. Raises BadValue."""
    if kind in STRING_TYPES:
        text = text.partition("\0")[0]
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
        if packed is None or (len(packed) == 4) is not ("." in text):
            raise BadValue(f"unrecognized {'IPv4' if '.' in text else 'IPv6'} address {text}")
        return packed
    if kind in NETWORK_TYPES:
        return _network(text)
    if kind == "BYTEBUF":
        data = text.encode("utf-8", "surrogateescape")
        if len(data) >= MAX_CONSTANT:
            raise BadValue("filter parameter too long (byte buf)")
        return data
    if kind == "DOUBLE":
        # Falco reads a 32-bit integer, and then makes it a fraction.
        return float(_scan(text, 32, signed=True))
    raise BadValue(f"wrong parameter type {_NUMBERED.get(kind, kind)}")


def unhex(text: str) -> bytes:
    """The bytes that a bcontains or bstartswith constant spells; raises BadValue."""
    if not text or len(text) % 2 or not re.fullmatch(r"[0-9a-fA-F]+", text):
        raise BadValue("filter error: bcontains and bstartswith operator support hex strings only")
    return bytes.fromhex(text)


def _scan(text: str, bits: int, *, signed: bool) -> int:
    """What C's sscanf makes of a whole string: leading blanks and a sign are fine, anything after is not."""
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
            raise BadValue("stoi")
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


def _network(text: str) -> tuple[int, int, int]:
    host, slash, length = text.partition("/")
    is_v4 = "." in text
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


def in_network(text: str, network: tuple[int, int, int]) -> bool:
    """Whether the address `text` is in `network`; False for the other family."""
    packed = address(text)
    if packed is None or len(packed) != network[2]:
        return False
    return int.from_bytes(packed, "big") & network[1] == network[0]


def lower(text: str) -> str:
    """ASCII lower case, as in the C locale."""
    return text.lower() if text.isascii() else re.sub("[A-Z]+", lambda match: match[0].lower(), text)


def upper(text: str) -> str:
    """ASCII upper case, as in the C locale."""
    return text.upper() if text.isascii() else re.sub("[a-z]+", lambda match: match[0].upper(), text)


def regex(pattern: str) -> Callable[[str], bool]:
    """A matcher of whole strings against an RE2 pattern in POSIX syntax. Raises BadValue."""
    import re2

    options = re2.Options()
    options.posix_syntax = True
    options.longest_match = True
    options.log_errors = False
    try:
        compiled = re2.compile(pattern.encode("utf-8", "surrogateescape"), options)
    except re2.error as error:
        raise BadValue(f"invalid regex pattern: {error.args[0].decode('utf-8', 'replace')}") from None
    match = compiled.fullmatch
    return lambda text: match(text.encode("utf-8", "surrogateescape")) is not None


@lru_cache(4096)
def glob(pattern: str, *, fold_case: bool = False) -> Callable[[str], bool]:
    """A matcher for a shell pattern as C's fnmatch(3) without flags sees it: `*` also matches slashes."""
    if not fold_case and not re.search(r"[?\[\\]", pattern):
        head, *rest = pattern.split("*")
        if not rest:
            return lambda text: text == pattern
        if rest == [""]:
            return lambda text: text.startswith(head)
        if not head and len(rest) == 2 and not rest[1]:
            return lambda text: rest[0] in text
        if not head and len(rest) == 1:
            return lambda text: text.endswith(rest[0])
    import re2

    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1
    options.case_sensitive = not fold_case
    options.dot_nl = True
    options.log_errors = False
    expression = _translate(pattern.encode("utf-8", "surrogateescape"), fold_case)
    if expression is None:
        return lambda text: False
    try:
        compiled = re2.compile(expression, options)
    except re2.error:
        return lambda text: False
    match = compiled.fullmatch
    return lambda text: match(text.encode("utf-8", "surrogateescape")) is not None


def _translate(pattern: bytes, fold_case: bool) -> bytes | None:
    """A regular expression for a shell pattern; None if nothing can match it (it ends in a backslash)."""
    out: list[bytes] = []
    at = 0
    while at < len(pattern):
        character = pattern[at : at + 1]
        at += 1
        if character == b"*":
            if not out or out[-1] != b".*":
                out.append(b".*")
        elif character == b"?":
            out.append(b".")
        elif character == b"\\":
            if at == len(pattern):
                return None
            out.append(_escaped(pattern[at : at + 1]))
            at += 1
        elif character == b"[" and (bracket := _bracket(pattern, at, fold_case)) is not None:
            expression, at = bracket
            out.append(expression)
        else:
            out.append(_escaped(character))
    return b"".join(out)


def _escaped(character: bytes) -> bytes:
    return b"\\x%02x" % character[0]


_CLASSES = b"alnum alpha blank cntrl digit graph lower print punct space upper xdigit".split()


_NOTHING = b"[^\\x00-\\xff]"
_CLASS = re.compile(rb"\[:([a-y]*):\]")
# One character may be written as a collating symbol or an equivalence class: [.a.], [=a=].
_SYMBOL = re.compile(rb"\[\.(.)\.\]|\[=(.)=\]", re.DOTALL)


def _bracket(pattern: bytes, at: int, fold_case: bool) -> tuple[bytes, int] | None:
    """The bracket expression whose inside starts at `at`, and where it ends; None if it isn't closed.

    Then the bracket is a character, except that nothing matches a range or symbol without an end: `[a-`, `[[.a`.
    """
    negated = pattern[at : at + 1] in (b"!", b"^")
    at += negated
    first = True
    valid = True
    items: list[bytes] = []
    while at < len(pattern):
        if pattern[at : at + 1] == b"]" and not first:
            if not valid:
                return _NOTHING, at + 1
            if not items:
                return (b"." if negated else _NOTHING), at + 1
            return b"[" + (b"^" if negated else b"") + b"".join(items) + b"]", at + 1
        first = False
        if named := _CLASS.match(pattern, at):
            at = named.end()
            if named[1] in _CLASSES:
                items.append(b"[:" + named[1] + b":]")
            else:
                valid = False
            symbol = ":"
        else:
            character, at, symbol = _member(pattern, at)
            if not character:
                return (_NOTHING, len(pattern)) if symbol == "." else None
            if symbol == "=":
                items.append(_escaped(character))
        if symbol in ("=", ":"):
            pass
        elif pattern[at : at + 1] == b"-" and pattern[at + 1 : at + 2] not in (b"]", b""):
            last, at, symbol = _member(pattern, at + 1)
            if not last:
                return (_NOTHING, len(pattern)) if symbol == "." else None
            if members := _range(character, last, fold_case):
                items.append(members)
            continue
        else:
            items.append(_escaped(character))
        if pattern[at:] == b"-" and not _matches_bracket(items):
            return _NOTHING, len(pattern)
    return None


def _range(first: bytes, last: bytes, fold_case: bool) -> bytes:
    """A range of characters for a regular expression; a character whose case doesn't count is a small letter."""
    if not fold_case:
        return _escaped(first) + b"-" + _escaped(last) if first <= last else b""
    codes = range(first.lower()[0], last.lower()[0] + 1)
    return b"".join(_escaped(bytes([code])) for code in codes if not ord("A") <= code <= ord("Z"))


def _matches_bracket(items: list[bytes]) -> bool:
    import re2

    inside = b"".join(items)
    return bool(inside) and re2.fullmatch(b"[" + inside + b"]", b"[") is not None


def _member(pattern: bytes, at: int) -> tuple[bytes, int, str]:
    """A character in a bracket expression, where what follows it starts, and whether it is a symbol ("." or "=").

    No character is there at the end of the pattern, and for a symbol of none or several characters.
    """
    if symbol := _SYMBOL.match(pattern, at):
        return symbol[1] or symbol[2], symbol.end(), "=" if symbol[2] else "."
    if pattern.startswith(b"[.", at):
        return b"", at, "."
    at += pattern[at : at + 1] == b"\\"
    return pattern[at : at + 1], at + 1, ""


_WILD = re.compile(r"[?*\[]")


class Paths:
    """A set of path prefixes, matched component by component; a component may be a glob."""

    def __init__(self, paths: tuple[str, ...]) -> None:
        # component -> the rest of the tree, or None where a prefix ends
        self._tree: dict[str, Any] | None = {}
        for path in paths:
            self._add([part for part in path.split("/") if part])

    def _add(self, parts: list[str]) -> None:
        if self._tree is None:
            return
        if not parts:
            self._tree = None  # "/" is a prefix of everything
            return
        tree = self._tree
        for part in parts[:-1]:
            below = tree.setdefault(part, {})
            if below is None:
                return  # a shorter prefix covers this one
            tree = below
        tree[parts[-1]] = None

    def match(self, path: str) -> bool:
        """Whether one of the prefixes is a prefix of `path`."""
        return _descend(self._tree, [part for part in path.split("/") if part])


def _descend(tree: dict[str, Any] | None, parts: list[str]) -> bool:
    while tree is not None:
        if not parts:
            return False
        part, parts = parts[0], parts[1:]
        for pattern, below in tree.items():
            if _WILD.search(pattern) and glob(pattern)(part) and _descend(below, parts):
                return True
        if part not in tree or _WILD.search(part):
            return False
        tree = tree[part]
    return True
