"""Wildcards match as people expect, and take no time to speak of."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ekslab.wildcards import wildcard

PATTERNS = st.text(alphabet="ab*?\n.", max_size=8)


@given(PATTERNS, st.text(alphabet="ab\n.?", max_size=8), st.booleans())
def test_they_match_as_the_obvious_regular_expression_does(pattern: str, text: str, single: bool) -> None:
    special = {"*": ".*", **({"?": "."} if single else {})}
    obvious = "".join(special.get(char) or re.escape(char) for char in pattern)
    assert wildcard(pattern, single=single)(text) == (re.fullmatch(obvious, text, re.DOTALL) is not None)


def test_case_can_be_ignored() -> None:
    assert wildcard("Logs:Put*", ignore_case=True)("logs:PUTlogEvents")
    assert not wildcard("Logs:Put*")("logs:PutLogEvents")


@pytest.mark.parametrize("pattern", ["*a" * 200 + "b", "*?a" * 200 + "b", "*" * 100_000 + "b", "?" * 20_000 + "b"])
def test_no_pattern_takes_long(pattern: str) -> None:
    assert not wildcard(pattern, single=True)("a" * 10_000)


def test_only_stars_are_special() -> None:
    assert wildcard("[ab]*")("[ab]c")
    assert not wildcard("[ab]*")("ac")
