"""What can be seen of a chart."""

from __future__ import annotations

import io
from typing import Any

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from PIL import Image

from labkit.charts import attack_matrix, by_pod, heat_map, latency, noise, tactics, timeline, top_rules
from labkit.charts.bars import before_after

COVERED = [["mitre_execution", "T1059"], ["mitre_impact", "T1485"], ["mitre_initial_access", "T1190"]]


def matrix(df: pd.DataFrame, **options: Any) -> Axes:
    return attack_matrix(df, COVERED, **options)


def halved(df: pd.DataFrame, **options: Any) -> Axes:
    return before_after(df, df.iloc[::2], **options)


def delivered(df: pd.DataFrame, **options: Any) -> Axes:
    """How long alerts took, had each taken a quarter of a second."""
    times = {"timestamp": df["time"] + pd.Timedelta("3ms"), "ingestionTime": df["time"] + pd.Timedelta("250ms")}
    return latency(df.assign(**times), **options)


CHARTS = [timeline, top_rules, by_pod, heat_map, tactics, matrix, delivered, noise, halved]
"""Every chart of a frame of alerts."""


def texts(ax: Axes) -> list[str]:
    """Every text of the figure that can be seen."""
    return [text.get_text() for text in _shown(ax)]


def _shown(ax: Axes) -> list[Any]:
    figure = ax.get_figure(root=True)
    assert figure is not None
    figure.draw_without_rendering()
    # Axes keep labels for ticks outside of their limits, which are not drawn.
    hidden = {
        label
        for axes in figure.axes
        for axis, limits in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim()))
        for place, label in zip(axis.get_majorticklocs(), axis.get_majorticklabels(), strict=True)
        if not min(limits) <= place <= max(limits)
    }
    found = figure.findobj(mpl.text.Text)
    return [t for t in found if t.get_visible() and t.get_text().strip() and t not in hidden]


def untidy(ax: Axes) -> list[str]:
    """Texts that lie over each other (those at an angle are left out) or reach out of the figure."""
    figure = ax.get_figure(root=True)
    assert figure is not None
    page = figure.bbox
    boxes = [(text, text.get_window_extent()) for text in _shown(ax)]
    found = [
        f"cut off: {text.get_text()}"
        for text, box in boxes
        if box.x0 < page.x0 - 1 or box.x1 > page.x1 + 1 or box.y0 < page.y0 - 1 or box.y1 > page.y1 + 1
    ]
    level = [(text.get_text(), box) for text, box in boxes if not text.get_rotation()]
    return found + [
        f"one over the other: {text}, {other}"
        for i, (text, a) in enumerate(level)
        for other, b in level[i + 1 :]
        if a.x0 < b.x1 - 1 and b.x0 < a.x1 - 1 and a.y0 < b.y1 - 1 and b.y0 < a.y1 - 1
    ]


def picture(ax: Axes) -> Image.Image:
    figure = ax.get_figure(root=True)
    assert figure is not None
    png = io.BytesIO()
    figure.savefig(png, format="png")
    return Image.open(png)
