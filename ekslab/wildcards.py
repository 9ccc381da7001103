"""Wildcard patterns: `*` stands for any text. Matching takes time linear in the text, whatever the pattern."""

from __future__ import annotations

import functools
from collections.abc import Callable

Matcher = Callable[[str], bool]


@functools.lru_cache(maxsize=1024)
def wildcard(pattern: str, *, single: bool = False, ignore_case: bool = False) -> Matcher:
    """Returns a function that tests whether a whole text matches. With `single`, `?` stands for any one character."""
    if ignore_case:
        inner = wildcard(pattern.lower(), single=single)
        return lambda text: inner(text.lower())
    if single and "?" in pattern:
        return _with_single(pattern)
    first, *others = pattern.split("*")
    if not others:
        return lambda text: text == pattern
    *between, last = others
    between = [part for part in between if part]
    shortest = len(first) + len(last)

    def matches(text: str) -> bool:
        if len(text) < shortest or not (text.startswith(first) and text.endswith(last)):
            return False
        at, end = len(first), len(text) - len(last)
        for part in between:
            found = text.find(part, at, end)
            if found < 0:
                return False
            at = found + len(part)
        return True

    return matches


def _with_single(pattern: str) -> Matcher:
    import re2

    options = re2.Options()
    options.dot_nl = True
    options.log_errors = False
    options.max_mem = 64 * 1024 * 1024
    while "**" in pattern:
        pattern = pattern.replace("**", "*")
    source = "".join({"*": ".*", "?": "."}.get(char) or re2.escape(char) for char in pattern)
    compiled = re2.compile(source, options)
    return lambda text: compiled.fullmatch(text) is not None
