"""Draws a class: alerts a minute of each attendee, as small charts on one scale."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from labkit.calls import checked
from labkit.charts import style
from labkit.charts.glyphs import drawable

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLUMNS, _GAP = 5, 0.14
_HEIGHT = 0.72  # inches of a row


@checked
def small_multiples(
    counts: pd.DataFrame,
    names: Sequence[str],
    *,
    ax: Axes | None = None,
    figsize: Sequence[float] | None = None,
) -> Axes:
    """Alerts a minute: one small chart for each of `names`, in their order, all to the same scales.

    `counts` has `period` (UTC, the start of a minute), `attendee` and `count`. A chart of an attendee without alerts is
    empty, and there all the same.
    """
    title = "Alerts a minute, by attendee"
    if counts.empty or not names:
        return style.nothing(title, ax, figsize)
    rows = -(-len(names) // _COLUMNS)
    ax = style.axes(ax, figsize, 1.0 + _HEIGHT * rows)
    look = style.look(ax)
    start, end = counts["period"].min(), counts["period"].max() + pd.Timedelta(minutes=1)
    minutes = pd.date_range(start, end, freq="min", inclusive="left")
    top = int(counts["count"].max())
    edges = np.linspace(0, 1 - _GAP, len(minutes) + 1)
    for number, name in enumerate(names):
        row, column = divmod(number, _COLUMNS)
        own = counts[counts["attendee"] == name].groupby("period")["count"].sum()
        values = own.reindex(minutes, fill_value=0).to_numpy(dtype=float)
        bottom = float(rows - row - 1)
        heights = bottom + values / top * (1 - 0.36)
        ax.stairs(heights, column + edges, baseline=bottom, fill=True, color=look.accent, linewidth=0)
        ax.hlines(bottom, column, column + 1 - _GAP, color=look.faint, linewidth=0.8)
        label = bottom + 0.8
        shown = drawable(name)[0]
        ax.text(column, label, shown, va="center", fontsize=9, fontweight="bold", color=look.ink)
        total = f"{int(values.sum()):,}"
        ax.text(column + 1 - _GAP, label, total, va="center", ha="right", fontsize=9, color=look.faint)
    ax.set_xlim(0, min(_COLUMNS, max(len(names), 1)) - _GAP)
    ax.set_ylim(-0.05, rows)
    ax.set_axis_off()
    detail = f"{start:%H:%M} to {end:%H:%M} UTC. The highest minute has {top:,}; at the right, the sum."
    style.header(ax, title, detail)
    return ax
