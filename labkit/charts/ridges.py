"""Draws how long alerts took, as a distribution."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from labkit.calls import checked
from labkit.charts import style, timing
from labkit.show import counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes

from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

_NAMES = {
    "printed": "system call → Falco's line",
    "shipped": "Falco's line → CloudWatch",
    "total": "system call → CloudWatch",
}
_MARKS: dict[str, tuple[str, Any]] = {"median": ("median", "-"), "p99": ("99% took at most", ":")}
# What an axis of times has ticks at, in milliseconds.
_TICKS = [1, 10, 100, 1000, 10_000, 60_000, 600_000, 3_600_000, 36_000_000, 86_400_000, 864_000_000]
_LEAST = 0.5  # ms: where what took less than one is drawn


@checked
def latency(df: pd.DataFrame, *, ax: Axes | None = None, figsize: Sequence[float] | None = None) -> Axes:
    """How long alerts took to Falco's line, from there to CloudWatch Logs, and in total: a histogram for each.

    Times are on a scale of powers of ten. Its data: `latency_data` and `latency_histogram_data`.
    """
    table, bins = timing.latency_data(df), timing.latency_histogram_data(df)
    title = "How long alerts took"
    known = table[table["alerts"] > 0]
    if known.empty:
        return style.nothing(title, ax, figsize, "No alerts with times of delivery" if len(df) else "No alerts")
    ax = style.axes(ax, figsize, 1.7 + 0.95 * len(known))
    look = style.look(ax)
    edges = np.array([_LEAST, *(bin.right for bin in bins.index)])
    for y, stage in enumerate(known.index):
        counts = bins[stage].to_numpy()
        # As a share of the highest: stages differ in shape, not in number.
        heights = np.repeat(0.8 * counts / counts.max(), 2)
        colour = look.muted if stage != "total" else look.accent
        ax.fill_between(np.repeat(edges, 2)[1:-1], y + 0.35, y + 0.35 - heights, color=colour, linewidth=0)
        ax.plot(np.repeat(edges, 2)[1:-1], y + 0.35 - heights, color=colour, linewidth=0.8)
        ax.axhline(y + 0.35, color=look.faint, linewidth=0.6)
        for mark, (_, dashes) in _MARKS.items():
            at = max(float(known.loc[stage, mark]), _LEAST * 1.05)
            ax.plot([at, at], [y + 0.35, y - 0.47], color=look.ink, linewidth=1.4, linestyle=dashes)
    labels = [f"{_NAMES[stage]}\n{_said(known.loc[stage])}" for stage in known.index]
    if style.room(ax) < 400:
        labels = [label.replace(" → ", "\n→ ").replace(", ", "\n") for label in labels]
    if style.height(ax) / len(known) < 15 * (1 + labels[0].count("\n")):  # points
        labels = [label.partition("\nmedian")[0] for label in labels]
    style.named(ax.yaxis, range(len(known)), [""] * len(known))
    ax.set_yticks(range(len(known)), labels, fontsize=9, linespacing=1.5)
    ax.set_xscale("log")
    right = max(float(edges[-1]), 10) * 1.15
    ax.set_xlim(_LEAST, right)
    ticks = [tick for tick in _TICKS if tick <= right]
    ticks = ticks[:: -(-len(ticks) // max(2, int(style.room(ax) / 90)))]
    ax.xaxis.set_major_locator(FixedLocator(ticks))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: duration(value)))
    ax.set_ylim(len(known) - 0.6, -0.6)
    ax.grid(axis="x", color=look.grid, linewidth=0.8)
    ax.set_xlabel("time (log scale)")
    legend = [
        (label, Line2D([], [], color=look.ink, linewidth=1.4, linestyle=dashes, label=label))
        for label, dashes in _MARKS.values()
    ]
    style.header(ax, title, _detail(table, len(df)), [("alerts", look.accent), *legend])
    return ax


def _said(row: pd.Series[Any]) -> str:
    return f"median {duration(row['median'])}, longest {duration(row['max'])}"


def _detail(table: pd.DataFrame, alerts: int) -> str:
    detail = counted(alerts, "alert")
    if missing := int(table["missing"].max()):
        detail += f", {missing:,} without all times"
    if negative := int(table["negative"].max()):
        detail += f"; {negative:,} took less than nothing: the clocks of node and AWS differ"
    return detail


def duration(milliseconds: float) -> str:
    """A time in the unit that suits it: `180 ms`, `1.2 s`, `10 min`, `3 h`, `2 days`."""
    for unit, size in (("days", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1000)):
        if abs(milliseconds) >= size * (2 if unit == "days" else 1):
            number = milliseconds / size
            return f"{number:.0f} {unit}" if number >= 10 or number == int(number) else f"{number:.1f} {unit}"
    return f"{milliseconds:.0f} ms"
