"""The look that charts share."""

from __future__ import annotations

import io
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

from labkit.alerts import PRIORITIES
from labkit.charts import by_pod, style, timeline
from labkit.charts.bars import top_rules
from labkit.charts.data import NO_PRIORITY
from labkit.charts.glyphs import columns, drawable, shortened
from labkit.errors import LabError
from tests.labkit.charts.seen import untidy

# Machado, Oliveira, Fernandes 2009: what a complete deficiency leaves of linear RGB.
SEEN_BY = {
    "normal": np.eye(3).tolist(),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
}
LOOKS = pytest.mark.parametrize("look", [style.DARK, style.LIGHT], ids=["dark", "light"])


@LOOKS
def test_texts_can_be_read(look: style.Look) -> None:
    for text in (look.ink, look.faint):
        assert style.contrast(text, look.background) >= 4.5
    scale = (look.map()(share) for share in np.linspace(0, 1, 21))
    for colour in (*look.priorities.values(), *scale, look.accent, look.muted):
        assert style.contrast(style.text_on(colour), colour) >= 4.5


def test_the_card_is_dark_enough_for_a_dark_page_and_its_marks_are_seen_on_it() -> None:
    assert style.luminance(style.DARK.background) < 0.03
    for colour in (*style.DARK.priorities.values(), style.DARK.accent, style.DARK.muted):
        assert style.contrast(colour, style.DARK.background) >= 3


@pytest.mark.parametrize("deficiency", SEEN_BY)
def test_priorities_keep_apart_for_colour_blind_readers(deficiency: str) -> None:
    colours = [to_rgb(style.DARK.priorities[p]) for p in (*PRIORITIES, NO_PRIORITY)]
    seen = [np.clip(np.array(SEEN_BY[deficiency]) @ np.array(colour), 0, 1) for colour in colours]
    for one, other in combinations(seen, 2):
        assert np.linalg.norm(one - other) > 0.15


@LOOKS
def test_more_is_told_from_less_by_lightness(look: style.Look) -> None:
    shades = [style.contrast(look.map()(share), look.background) for share in np.linspace(0, 1, 21)]
    assert shades == sorted(shades)
    assert shades[-1] > 6 * shades[0]


def test_a_chart_takes_the_colours_that_suit_the_figure_it_is_drawn_into() -> None:
    assert style.look(style.axes(None, None, 3)) is style.DARK
    for colour, wanted in (("white", style.LIGHT), ("#111", style.DARK), ("none", style.LIGHT)):
        assert style.look(Figure(facecolor=colour).add_subplot(facecolor="none")) is wanted
    assert style.look(Figure(facecolor="white").add_subplot(facecolor="black")) is style.DARK


@pytest.mark.parametrize("size", [(9,), "large", (0, 4), (9, float("nan")), 9, (9, 4, 1)])
def test_what_is_no_size_is_refused(size: Any) -> None:
    with pytest.raises(LabError, match="figsize is"):
        style.axes(None, size, 3)


def test_what_are_no_axes_is_refused() -> None:
    with pytest.raises(LabError, match="ax is 'left'"):
        style.axes("left", None, 3)  # type: ignore[arg-type]


def test_axes_without_a_figure_are_refused() -> None:
    ax = Figure().add_subplot()
    ax.remove()
    with pytest.raises(LabError, match="no figure"):
        style.axes(ax, None, 3)


def test_in_a_subfigure_a_chart_keeps_to_its_side(captured: pd.DataFrame) -> None:
    figure = Figure(figsize=(14, 5), facecolor="#111")
    left, right = figure.subfigures(1, 2)
    for part, chart in ((left, by_pod), (right, timeline)):
        ax = chart(captured, ax=part.add_subplot(facecolor="none"))
        assert untidy(ax) == []
        assert part.bbox.x0 - 1 <= ax.get_tightbbox().x0 < ax.get_tightbbox().x1 <= part.bbox.x1 + 1
        assert style.look(ax) is style.DARK


def test_a_character_without_a_font_has_a_stand_in() -> None:
    assert drawable("a\x1bb\nc")[0] == "a�b�c"
    text, fonts = drawable("Regel ä 😀 \U0010fffd")
    assert fonts[0] == "DejaVu Sans"
    assert text.startswith("Regel ä 😀 ")
    assert drawable("\N{FIRE}\N{FIRE}")[0] in (":fire::fire:", "\N{FIRE}\N{FIRE}")  # if a font has it


def test_a_long_name_is_cut_in_the_middle_to_what_it_takes_when_drawn() -> None:
    assert shortened("x" * 52, 52) == "x" * 52
    assert shortened("a" * 100 + "b" * 100, 30) == "a" * 19 + "…" + "b" * 10
    assert columns(shortened("漢" * 100, 31)) <= 31


def test_a_chart_in_a_notebook_is_a_small_picture_of_the_same_colours(captured: pd.DataFrame) -> None:
    figure = top_rules(captured).figure
    figure.savefig(io.BytesIO())  # the first drawing settles where texts are
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=192)
    png, _ = figure._repr_png_()  # type: ignore[operator]
    assert len(png) < len(drawn.getvalue()) / 2
    shown, meant = (np.asarray(Image.open(one).convert("RGB"), dtype=int) for one in (io.BytesIO(png), drawn))
    assert np.abs(shown - meant).max() < 24
