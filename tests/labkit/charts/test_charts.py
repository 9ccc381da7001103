"""What holds for every chart: it draws any number of alerts, nothing overlaps, it is displayed once."""

from __future__ import annotations

import inspect
import io
import subprocess
import sys
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from labkit import charts
from labkit.alerts import PRIORITIES
from labkit.charts import style
from labkit.charts.accessor import FalcoAccessor
from labkit.errors import LabError
from tests.labkit.charts.seen import CHARTS, picture, texts, untidy

EVERY = pytest.mark.parametrize("chart", CHARTS, ids=lambda chart: chart.__name__)
NAMES = [
    "costs $1 and $2",
    r"$\frac{a}{b}$ \alpha",
    "_hidden_",
    "x^2_3 {",
    "tab\tand\nline",
    "50% \x1b",
    "<b>&amp;</b>",
]


@pytest.fixture(scope="module", params=CHARTS, ids=lambda chart: chart.__name__)
def drawn(request: Any, captured: pd.DataFrame) -> Axes:
    """A chart of sixty alerts, drawn once for several tests."""
    ax: Axes = request.param(captured)
    return ax


def test_a_chart_says_what_it_shows_and_its_texts_keep_apart(drawn: Axes) -> None:
    assert len(drawn.get_title(loc="left")) > 10
    assert untidy(drawn) == []


@EVERY
def test_a_single_alert_can_be_drawn(chart: Any, captured: pd.DataFrame) -> None:
    ax = chart(captured.head(1))
    assert ax.patches or ax.collections
    assert untidy(ax) == []


@EVERY
def test_no_alerts_are_said_to_be_none(chart: Any, empty: pd.DataFrame) -> None:
    ax = chart(empty)
    assert any("No alerts" in text or "0 alerts" in text for text in texts(ax))
    assert untidy(ax) == []


@EVERY
def test_drawn_into_given_axes_it_keeps_to_them(chart: Any, captured: pd.DataFrame) -> None:
    figure = Figure()  # of matplotlib's usual size, which is small for two
    one, other = figure.subplots(1, 2)
    assert chart(captured, ax=one) is one
    assert chart(captured, ax=other) is other
    assert untidy(one) == []
    middle = figure.bbox.width / 2
    boxes = [(ax, ax.get_tightbbox()) for ax in (one, other)]
    assert boxes[0][1].x1 <= middle + 10
    assert boxes[1][1].x0 >= middle - 10


@EVERY
def test_a_chart_has_the_size_asked_for(chart: Any, captured: pd.DataFrame) -> None:
    ax = chart(captured, figsize=(11, 7))
    assert ax.figure.get_size_inches().tolist() == [11, 7]
    with pytest.raises(LabError, match="figsize"):
        chart(captured, figsize=(0, 7))


def test_a_notebook_shows_a_chart_and_pyplot_knows_nothing_of_it(drawn: Any) -> None:
    from matplotlib import pyplot

    assert isinstance(drawn, Axes)
    assert pyplot.get_fignums() == []
    png, size = drawn._repr_png_()
    assert png.startswith(b"\x89PNG")
    assert size["width"] == drawn.figure.get_size_inches()[0] * 96
    assert repr(drawn) == f"<Chart: {drawn.get_title(loc='left')}>"


def test_the_same_alerts_are_the_same_picture(captured: pd.DataFrame) -> None:
    first, second = (captured.falco.timeline()._repr_png_()[0] for _ in range(2))
    assert first == second


@EVERY
def test_many_alerts_with_long_names_are_drawn(chart: Any, make: Any) -> None:
    frame = make(*({"rule": f"{i} " + "a rule with a rather long name " * 4} for i in range(40)))
    frame["k8s.pod.name"] = [f"a-deployment-with-a-rather-long-name-7c5ddbdf54-{i % 30:05d}" for i in range(40)]
    big = pd.concat([frame] * 250, ignore_index=True)
    big["priority"] = pd.Categorical(np.resize(PRIORITIES, len(big)), categories=list(PRIORITIES), ordered=True)
    big["time"] = pd.date_range("2026-11-22T00:00Z", periods=len(big), freq="s").as_unit("ns")
    ax = chart(big)
    ax.figure.savefig(io.BytesIO())
    assert untidy(ax) == []


@EVERY
def test_a_name_is_text_and_no_formula(chart: Any, make: Any, recwarn: pytest.WarningsRecorder) -> None:
    frame = make(*({"rule": name, "fields": {"k8s.pod.name": name}, "tags": ["mitre_impact"]} for name in NAMES))
    ax = chart(frame)
    ax.figure.savefig(io.BytesIO())
    assert untidy(ax) == []
    assert [str(warning.message) for warning in recwarn] == []
    for label in (*ax.get_yticklabels(), *ax.get_xticklabels()):
        assert not label.get_parse_math() or "$" not in label.get_text()


@EVERY
def test_what_alerts_lack_is_not_left_out_in_silence(chart: Any, make: Any) -> None:
    frame = make({"rule": "Odd", "priority": "Odd"}, {"time": "9999-01-01T00:00:00Z"}, {"rule": None, "tags": None}, {})
    assert frame["priority"].isna().sum() == 1
    assert frame["time"].isna().sum() == 1
    ax = chart(frame)
    assert untidy(ax) == []
    said = " ".join(texts(ax))
    if chart.__name__ in ("timeline", "top_rules", "by_pod", "heat_map"):
        assert "(no priority)" in said
    if chart.__name__ == "timeline":
        assert "1 alert without a time" in said


def test_a_chart_is_a_dark_card_on_any_page(drawn: Axes) -> None:
    shown = picture(drawn).convert("RGBA")
    assert shown.getextrema()[3] == (255, 255)  # nothing of the page shines through
    colours = shown.convert("RGB").getcolors(1 << 24)
    assert max(colours)[1] == tuple(int(style.DARK.background[i : i + 2], 16) for i in (1, 3, 5))
    bright = sum(n for n, colour in colours if style.luminance([c / 255 for c in colour]) > 0.5)
    assert bright < 0.25 * sum(n for n, _ in colours)


def test_every_chart_of_alerts_is_a_method_with_the_same_parameters() -> None:
    drawn = set(charts._MODULES) - {"counts", "process_tree", "sequence"}  # of another frame, or of an incident of it
    for name in drawn:
        method = inspect.signature(getattr(FalcoAccessor, name)).parameters
        function = inspect.signature(getattr(charts, name)).parameters
        assert [*method][1:] == [*function][1:], name
        assert {p: method[p].default for p in [*method][1:]} == {p: function[p].default for p in [*function][1:]}
        assert [*method][-2:] == ["ax", "figsize"]
        assert hasattr(charts, f"{name}_data")


def test_matplotlib_is_imported_when_something_is_drawn_and_not_before() -> None:
    code = "import sys, labkit.alerts, labkit.charts; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_no_module_takes_the_place_of_a_chart() -> None:
    code = """
import importlib, pkgutil
from labkit import charts
for module in pkgutil.iter_modules(charts.__path__):
    importlib.import_module(f"labkit.charts.{module.name}")
print([name for name in charts.__all__ if not callable(getattr(charts, name))])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_without_matplotlib_one_is_told_what_to_install() -> None:
    code = """
import sys
sys.modules["matplotlib"] = None  # as if it weren't installed
from labkit import charts
from labkit.alerts import to_frame
from labkit.errors import LabError
for draw in (to_frame([]).falco.timeline, lambda: charts.timeline(to_frame([])), to_frame([]).falco.heat_map):
    try:
        draw()
    except LabError as error:
        print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.count("Charts need matplotlib, which isn't installed.") == 3
    assert "labkit[notebooks]" in done.stdout
