"""Charts draw what their data says, for any number of alerts, and leave nothing behind."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from itertools import pairwise
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from labkit.alerts import PRIORITIES
from labkit.charts import by_pod, counts, counts_data, tactics, timeline, timeline_data, top_rules, top_rules_data
from labkit.charts.figures import COLOURS
from labkit.respond import metrics

CHARTS = [timeline, top_rules, by_pod, tactics]


def texts(figure: Figure) -> list[str]:
    """Every text of the figure that can be seen."""
    figure.draw_without_rendering()
    return [t.get_text() for t in figure.findobj(mpl.text.Text) if t.get_visible() and t.get_text().strip()]


def overlapping(figure: Figure) -> list[tuple[str, str]]:
    """Pairs of texts that lie over each other."""
    figure.draw_without_rendering()
    axes = figure.axes[0]
    # Axes keep labels for ticks outside of their limits, which are not drawn.
    hidden = {
        label
        for axis, limits in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim()))
        for place, label in zip(axis.get_majorticklocs(), axis.get_majorticklabels(), strict=True)
        if not min(limits) <= place <= max(limits)
    }
    shown = [t for t in figure.findobj(mpl.text.Text) if t.get_visible() and t.get_text().strip() and t not in hidden]
    boxes = [(t.get_text(), t.get_window_extent()) for t in shown]
    return [
        (text, other)
        for i, (text, a) in enumerate(boxes)
        for other, b in boxes[i + 1 :]
        if a.x0 < b.x1 - 1 and b.x0 < a.x1 - 1 and a.y0 < b.y1 - 1 and b.y0 < a.y1 - 1
    ]


@pytest.mark.parametrize("chart", CHARTS)
def test_a_chart_says_what_it_shows_and_its_texts_keep_apart(chart: Any, captured: pd.DataFrame) -> None:
    figure = chart(captured)
    assert len(texts(figure)[0]) > 10
    assert overlapping(figure) == []


@pytest.mark.parametrize("chart", CHARTS)
def test_a_single_alert_can_be_drawn(chart: Any, captured: pd.DataFrame) -> None:
    figure = chart(captured.head(1))
    assert any(patch.get_width() and patch.get_height() for patch in figure.axes[0].patches)
    assert overlapping(figure) == []


@pytest.mark.parametrize("chart", CHARTS)
def test_no_alerts_are_said_to_be_none(chart: Any, empty: pd.DataFrame) -> None:
    assert any("No alerts" in text for text in texts(chart(empty)))


def test_the_timeline_s_bars_are_its_data(captured: pd.DataFrame) -> None:
    axes = timeline(captured).axes[0]
    heights = [[bar.get_height() for bar in container] for container in axes.containers]
    assert np.array_equal(np.array(heights).T, timeline_data(captured).to_numpy())
    assert "UTC" in axes.get_xlabel()


def test_what_is_left_out_is_never_none_of_it() -> None:
    times = pd.date_range("2026-01-01", periods=2001, freq="s", tz="UTC")
    rules = ["one"] * 1000 + ["two"] * 1000 + ["three"]
    df = pd.DataFrame({"time": times, "rule": rules, "priority": pd.Categorical(["Notice"] * 2001, PRIORITIES)})
    df["tags"] = [[] for _ in rules]
    assert "2,001 alerts from 3 rules; the 2 shown raised more than 99% of them" in texts(top_rules(df, 2))
    assert "2,001 alerts from 3 rules; the 1 shown raised 49% of them" in texts(top_rules(df, 1))


def test_the_bars_of_top_rules_are_its_data(captured: pd.DataFrame) -> None:
    axes = top_rules(captured, 5).axes[0]
    table = top_rules_data(captured, 5)
    assert [bar.get_width() for bar in axes.containers[0]] == list(table["alerts"])
    assert [label.get_text() for label in axes.get_yticklabels()] == list(table.index)
    assert [bar.get_facecolor()[:3] for bar in axes.containers[0]] == [to_rgb(COLOURS[p]) for p in table["priority"]]


@pytest.mark.parametrize("chart", CHARTS)
def test_a_notebook_shows_a_figure_once_and_pyplot_knows_nothing_of_it(chart: Any, captured: pd.DataFrame) -> None:
    from matplotlib import pyplot

    figure = chart(captured)
    assert isinstance(figure, Figure)
    assert pyplot.get_fignums() == []
    png, size = figure._repr_png_()
    assert png.startswith(b"\x89PNG")
    assert size["width"] == 864
    assert figure._repr_png_()[0] == png


def test_many_alerts_with_long_names_are_drawn(make: Any) -> None:
    frame = make(*({"rule": f"{i} " + "a rule with a rather long name " * 4} for i in range(40)))
    frame["k8s.pod.name"] = [f"a-deployment-with-a-rather-long-name-7c5ddbdf54-{i % 30:05d}" for i in range(40)]
    big = pd.concat([frame] * 250, ignore_index=True)
    big["priority"] = pd.Categorical(np.resize(PRIORITIES, len(big)), categories=list(PRIORITIES), ordered=True)
    big["time"] = pd.date_range("2026-11-22T00:00Z", periods=len(big), freq="s").as_unit("ns")
    for chart in CHARTS:
        figure = chart(big)
        figure.savefig(io.BytesIO())
        assert overlapping(figure) == []


def luminance(colour: tuple[float, float, float]) -> float:
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


# Machado, Oliveira, Fernandes 2009: what a complete deficiency leaves of linear RGB.
SEEN_BY = {
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
}


@pytest.mark.parametrize("deficiency", SEEN_BY)
def test_priorities_keep_apart_for_colour_blind_readers(deficiency: str) -> None:
    seen = [np.clip(np.array(SEEN_BY[deficiency]) @ np.array(to_rgb(COLOURS[p])), 0, 1) for p in PRIORITIES]
    for first, second in pairwise(seen):
        assert np.linalg.norm(first - second) > 0.15


def test_priorities_get_darker_as_they_get_worse() -> None:
    shades = [luminance(to_rgb(COLOURS[p])) for p in PRIORITIES]
    assert shades[0] > shades[1] > shades[2]
    assert shades[3] > shades[4] > shades[5] > shades[6] > shades[7]


def test_matplotlib_is_imported_when_something_is_drawn_and_not_before() -> None:
    code = "import sys, labkit.alerts, labkit.charts; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_without_matplotlib_one_is_told_what_to_install() -> None:
    code = """
import sys
sys.modules["matplotlib"] = None  # as if it weren't installed
from labkit import charts
from labkit.alerts import to_frame
from labkit.errors import LabError
for draw in (to_frame([]).falco.timeline, lambda: charts.timeline(to_frame([]))):
    try:
        draw()
    except LabError as error:
        print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.count("Charts need matplotlib, which isn't installed.") == 2
    assert "labkit[notebooks]" in done.stdout


def compared(df: pd.DataFrame, by: str, missing: int = 0) -> pd.DataFrame:
    """As if CloudWatch had counted all but some of the first row."""
    alerts = metrics.count(df, by)
    counted = alerts.copy()
    counted.loc[counted.index[:1], "count"] -= missing
    return metrics.compare(alerts, counted)


@pytest.mark.parametrize("by", ["rule", "priority", ""])
def test_counts_are_drawn_side_by_side(captured: pd.DataFrame, by: str) -> None:
    table = compared(captured, by)
    figure = counts(table)
    drawn = [[bar.get_width() for bar in container] for container in figure.axes[0].containers]
    assert np.array_equal(np.array(drawn).T, counts_data(table).to_numpy(dtype="float64"))
    assert len(drawn[0]) <= 15
    assert any("60 alerts in the frame, 60 in the metric; equal in every row" in text for text in texts(figure))
    assert overlapping(figure) == []


def test_counts_that_differ_are_said(captured: pd.DataFrame, empty: pd.DataFrame) -> None:
    assert any("59 in the metric; not equal in 1 row" in text for text in texts(counts(compared(captured, "rule", 1))))
    assert any("No alerts" in text for text in texts(counts(compared(empty, "rule"))))


@pytest.mark.parametrize(
    "name", ["costs $1 and $2", r"$\frac{a}{b}$ \alpha", "_hidden_", "x^2_3 {", "tab\tand\nline", "50% \x1b"]
)
def test_a_name_is_text_and_no_formula(make: Any, name: str) -> None:
    frame = make({"rule": name}, {"rule": "Other"})
    frame["k8s.pod.name"] = [name, "other"]
    plain = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in name)
    for chart in (top_rules, by_pod):
        figure = chart(frame)
        figure.canvas.draw()
        (label,) = (text for text in figure.axes[0].get_yticklabels() if "ther" not in text.get_text())
        assert plain in label.get_text()
        assert not label.get_parse_math()
        assert label.get_window_extent().width > 5 * len(plain)  # all of its characters are drawn


@pytest.mark.parametrize(
    ("last", "tick", "label"),
    [
        ("2026-11-23T04:04:59Z", r"04:0\d:\d\d", "time (UTC), 23 November 2026"),
        ("2026-11-23T07:00:00Z", r"0\d:\d\d", "time (UTC), 23 November 2026"),
        ("2026-11-25T04:00:00Z", r"\d\d:\d\d|Nov-\d\d", "time (UTC), 23 November 2026 to 25 November 2026"),
    ],
)
def test_the_time_axis_is_as_exact_as_its_span_asks_for(make: Any, last: str, tick: str, label: str) -> None:
    figure = timeline(make({"time": "2026-11-23T04:00:00Z"}, {"time": last}))
    figure.draw_without_rendering()
    axis = figure.axes[0].xaxis
    ticks = [text.get_text() for text in axis.get_majorticklabels()]
    assert ticks
    assert all(re.fullmatch(tick, text) for text in ticks), ticks
    assert axis.get_label_text() == label


def test_a_count_of_one_is_in_the_singular(make: Any) -> None:
    one = make({"rule": "A rule", "tags": ["mitre_execution"]})
    said = [text for chart in CHARTS for text in texts(chart(one))]
    assert {"1 alert, one bar per second", "1 alert from 1 rule", "1 alert from 1 place", "1  (1 rule)"} <= set(said)
    two = make({"tags": []}, {"tags": []})
    assert any("2 alerts without a tactic" in text for text in texts(tactics(two)))
    assert any("1 alert without a tactic" in text for text in texts(tactics(two.head(1))))
