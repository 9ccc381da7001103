"""Patterns: `regex` (RE2), `glob` (fnmatch(3)) and the path prefixes of `pmatch`."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from falcorules.values import BadValue


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
    """A matcher of a shell pattern, as fnmatch(3) without flags: `*` also matches slashes."""
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
    """A regular expression for a shell pattern; None if nothing matches it (it ends in a backslash)."""
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
    """A range of characters for a regular expression. With `fold_case`, letters are lower case."""
    if not fold_case:
        return _escaped(first) + b"-" + _escaped(last) if first <= last else b""
    codes = range(first.lower()[0], last.lower()[0] + 1)
    return b"".join(_escaped(bytes([code])) for code in codes if not ord("A") <= code <= ord("Z"))


def _matches_bracket(items: list[bytes]) -> bool:
    import re2

    inside = b"".join(items)
    return bool(inside) and re2.fullmatch(b"[" + inside + b"]", b"[") is not None


def _member(pattern: bytes, at: int) -> tuple[bytes, int, str]:
    """A character in a bracket expression, the position after it, and "." or "=" if it is a symbol.

    The character is empty at the end of the pattern, and for a symbol of none or several characters.
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
