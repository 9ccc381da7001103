"""Patterns of a configuration: regular expressions, and the tags that a filter or output matches."""

from __future__ import annotations

import functools
import re
from typing import Any

import re2

from ekslab.images.fluent_bit.config import ConfigError, Section
from ekslab.wildcards import wildcard


def matches(section: Section, tag: str) -> bool:
    """Whether a filter or output takes events with this tag; `*` stands for any text."""
    if section.get("match_regex"):
        try:
            return _regex(section.get("match_regex")).search(tag) is not None
        except re2.error:
            return False
    pattern = section.get("match")
    return bool(pattern) and wildcard(pattern)(tag)


def filter_failed(section: Section, *texts: str) -> ConfigError:
    """The error of a filter that can't be initialized."""
    lines = [("error", f"[{section.label}] {text}") for text in texts]
    return ConfigError(
        *lines,
        ("error", f"Failed initialize filter {section.instance}"),
        ("error", "[engine] filter initialization failed"),
    )


@functools.lru_cache(maxsize=256)
def _regex(pattern: str) -> Any:
    """RE2's, whose searches take linear time. Raises re2.error."""
    options = re2.Options()
    options.log_errors = False
    # Onigmo's named groups are written (?<name>...).
    return re2.compile(re.sub(r"\(\?<(?![=!])", "(?P<", pattern), options)


def compiled(section: Section, pattern: str) -> Any:
    """The pattern compiled. Raises `ConfigError` for an invalid one, or one that RE2 doesn't support."""
    try:
        return _regex(pattern)
    except re2.error as error:
        why = ""
        if re.search(r"\(\?<?[=!]|\\[1-9]|[+*?}]\+", pattern):
            why = ": the embedded lab knows no look-around, back-references or possessive quantifiers here"
        raise filter_failed(section, f"could not compile regex pattern '{pattern}'{why}") from error
