"""Badges, tables and colours in notebooks."""

from __future__ import annotations

import re

import pytest

from falcorules import markup
from falcorules.keys import PRIORITIES


def luminance(colour: tuple[float, float, float]) -> float:
    """Relative luminance as WCAG 2 defines it; channels from 0 to 255."""
    linear = [v / 3294.6 if v <= 10 else ((v / 255 + 0.055) / 1.055) ** 2.4 for v in colour]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: tuple[float, float, float], other: tuple[float, float, float]) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def rgb(text: str) -> tuple[float, float, float]:
    red, green, blue = (int(text[i : i + 2], 16) for i in (1, 3, 5))
    return red, green, blue


def mixed(
    share: float, one: tuple[float, float, float], other: tuple[float, float, float]
) -> tuple[float, float, float]:
    red, green, blue = (share * a + (1 - share) * b for a, b in zip(one, other, strict=True))
    return red, green, blue


# Text and the backgrounds of JupyterLab's outputs, and of rows of tables in them.
PAGES = {
    "light": ((33.0, 33.0, 33.0), ((255.0, 255.0, 255.0), (245.0, 245.0, 245.0), (225.0, 245.0, 254.0))),
    "dark": ((255.0, 255.0, 255.0), ((17.0, 17.0, 17.0), (33.0, 33.0, 33.0), (27.0, 60.0, 75.0))),
}


@pytest.mark.parametrize("badge", [*markup.PRIORITY_COLOURS.values(), *markup.TONES.values()])
def test_a_badge_is_read_easily(badge: tuple[str, str]) -> None:
    assert contrast(*map(rgb, badge)) >= 4.5


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("style", [markup.GOOD, markup.BAD, markup.WARNING, markup.FAINT])
def test_coloured_text_is_read_easily_on_every_background(style: str, page: str) -> None:
    text, backgrounds = PAGES[page]
    found = re.search(r"(#\w{6}) (\d+)%", style)
    share = re.search(r"currentColor (\d+)%, transparent", style)
    for background in backgrounds:
        colour = mixed(int(found[2]) / 100, rgb(found[1]), text) if found else text
        colour = mixed(int(share[1]) / 100, colour, background) if share else colour
        assert contrast(colour, background) >= 4.5


def test_every_priority_has_a_colour() -> None:
    assert set(markup.PRIORITY_COLOURS) == set(PRIORITIES)
    assert "#a5133b" in markup.priority_badge("Critical")
    assert "&lt;b&gt;" in markup.priority_badge("<b>")


def test_a_table_keeps_short_columns_and_breaks_long_words() -> None:
    shown = markup.table(["name", "what"], [["a<b", "x" * 60], ["short", markup.badge("ok", markup.TONES["good"])]])
    short, long = re.findall(r"<td[^>]*>(?:a&lt;b|x+)</td>", shown)
    assert "nowrap" in short
    assert "overflow-wrap:anywhere" in long
    assert "overflow-wrap" not in short
    assert ">ok</span></td>" in shown
