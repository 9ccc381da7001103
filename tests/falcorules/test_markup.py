"""Badges, tables and colours in notebooks."""

from __future__ import annotations

import re

import pytest

from falcorules import markup
from falcorules.keys import PRIORITIES

from ..contrast import contrast, least_contrast, rgb


@pytest.mark.parametrize("badge", [*markup.PRIORITY_COLOURS.values(), *markup.TONES.values()])
def test_a_badge_is_read_easily(badge: tuple[str, str]) -> None:
    assert contrast(*map(rgb, badge)) >= 4.5


@pytest.mark.parametrize("style", [markup.GOOD, markup.BAD, markup.WARNING, markup.FAINT])
def test_coloured_text_is_read_easily_on_every_background(style: str) -> None:
    assert least_contrast(style) >= 4.5


def test_every_priority_has_a_colour() -> None:
    assert set(markup.PRIORITY_COLOURS) == set(PRIORITIES)
    assert "#a5133b" in markup.priority_badge("Critical")
    assert "&lt;b&gt;" in markup.priority_badge("<b>")


def test_dollars_in_a_table_are_no_formula() -> None:
    assert 'class="mathjax_ignore"' in markup.table(["command"], [["echo $HOME $PATH"]])
    assert "mathjax" not in markup.table(["command"], [["ls"]])


def test_a_table_keeps_short_columns_and_breaks_long_words() -> None:
    shown = markup.table(["name", "what"], [["a<b", "x" * 60], ["short", markup.badge("ok", markup.TONES["good"])]])
    short, long = re.findall(r"<td[^>]*>(?:a&lt;b|x+)</td>", shown)
    assert "nowrap" in short
    assert "overflow-wrap:anywhere" in long
    assert "overflow-wrap" not in short
    assert ">ok</span></td>" in shown
