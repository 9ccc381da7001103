"""Draws alerts over time."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import tzinfo
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from labkit.calls import checked
from labkit.charts import data, style
from labkit.show import counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes

from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, DateFormatter, date2num

_TITLE = "Alerts over time"
_SEVERE = ("Critical", "Alert", "Emergency")
_SEEN = 0.012  # of the axis: a bar that is lower isn't seen


@checked
def timeline(
    df: pd.DataFrame,
    tz: str | tzinfo = "UTC",
    *,
    ax: Axes | None = None,
    figsize: Sequence[float] | None = None,
) -> Axes:
    """Alerts over time as stacked bars, one colour per priority, by the clocks of the time zone `tz`.

    A triangle above a bar says that severe alerts (from Critical) are in it, too few to be seen. Data: `timeline_data`.
    """
    counts = data.timeline_data(df, tz)
    if counts.empty:
        return style.nothing(_TITLE, ax, figsize, "No alerts with a time" if len(df) else "No alerts")
    ax = style.axes(ax, figsize, 4.0)
    look = style.look(ax)
    width: pd.Timedelta = counts.attrs["width"]
    starts = pd.DatetimeIndex(counts.index)
    edges = date2num([*starts.to_pydatetime(), counts.attrs["end"].to_pydatetime()])  # type: ignore[no-untyped-call]
    totals = counts.sum(axis=1)
    top = max(float(totals.max()) * 1.08, 1.25)
    below = np.zeros(len(counts))
    for priority in counts.columns:
        heights = counts[priority].to_numpy()
        ax.bar(
            edges[:-1],
            heights,
            np.diff(edges),
            bottom=below,
            align="edge",
            color=look.priorities[priority],
            edgecolor=look.edge,
            linewidth=0.6,
        )
        below = below + heights
    hidden = _hidden(ax, counts, edges, top)
    # A lone bar would fill the whole width and look like a crowd.
    room = (max(0, 12 - len(counts)) / 2 + 0.5) * (edges[1] - edges[0])
    ax.set_xlim(edges[0] - room, edges[-1] + room)
    _time_axis(ax, starts, counts.attrs["end"], data.time_zone(tz))
    ax.set_ylabel("alerts")
    style.count_axis(ax.yaxis)
    ax.set_ylim(0, top)
    ax.grid(axis="y", color=look.grid, linewidth=0.8)
    detail = f"{counted(int(totals.sum()), 'alert')}, one bar per {_span(width)}"
    if hidden:
        detail += "; a triangle: severe ones, too few to be seen"
    if untimed := counts.attrs["untimed"]:
        detail += f"; {counted(untimed, 'alert')} without a time"
    style.header(ax, _TITLE, detail, [(p, look.priorities[p]) for p in reversed(counts.columns)])
    return ax


def _hidden(ax: Axes, counts: pd.DataFrame, edges: Any, top: float) -> bool:
    """Marks what is severe and too little to be seen. Whether there was any."""
    look, found = style.look(ax), False
    middle, totals = (edges[:-1] + edges[1:]) / 2, counts.sum(axis=1).to_numpy()
    for priority in (p for p in counts.columns if p in _SEVERE):
        few = (counts[priority] > 0).to_numpy() & (counts[priority] < _SEEN * top).to_numpy()
        ax.scatter(
            middle[few],
            totals[few] + 0.03 * top,
            marker="v",
            s=26,
            color=look.priorities[priority],
            zorder=3,
            clip_on=False,
        )
        found = found or bool(few.any())
    return found


class _Ticks(AutoDateLocator):
    """At most so many, and without the hour that is skipped when clocks are put forward: it would be the next one."""

    most = 9

    def __call__(self) -> Any:
        ticks = np.unique(super().__call__())  # type: ignore[no-untyped-call]
        return ticks[:: -(-len(ticks) // self.most) or 1]


def _time_axis(ax: Axes, starts: pd.DatetimeIndex, end: pd.Timestamp, zone: tzinfo) -> None:
    """Times of day at the ticks, the date in the label; over several days, days at the ticks."""
    locator = _Ticks(tz=zone, minticks=3, maxticks=9)  # type: ignore[no-untyped-call]
    locator.most = max(2, min(9, int(style.room(ax) / 60)))
    ax.xaxis_date(zone)
    ax.xaxis.set_major_locator(locator)
    first, last = starts[0], end - pd.Timedelta(seconds=1)
    days = _day(first), _day(last)
    if days[0] == days[1]:
        form = "%H:%M:%S" if end - first < pd.Timedelta(minutes=5) else "%H:%M"
        ax.xaxis.set_major_formatter(DateFormatter(form, tz=zone))  # type: ignore[no-untyped-call]
    else:
        formatter = ConciseDateFormatter(  # type: ignore[no-untyped-call]
            locator,
            tz=zone,
            formats=["%Y", "%b %Y", "%d %b", "%H:%M", "%H:%M", "%S.%f"],
            zero_formats=["", "%Y", "%d %b", "%d %b", "%H:%M", "%H:%M"],
            show_offset=False,
        )
        ax.xaxis.set_major_formatter(formatter)
    if change := _change(first, end):
        ax.axvline(date2num(change.to_pydatetime()), color=style.look(ax).faint, linewidth=1, linestyle=(0, (2, 3)))  # type: ignore[no-untyped-call]
    ax.set_xlabel(f"time ({_clock(zone, first, last)}), {' to '.join(dict.fromkeys(days))}", parse_math=False)


def _change(first: pd.Timestamp, last: pd.Timestamp) -> pd.Timestamp | None:
    """When clocks are changed between two times, if they differ at its end from what they were."""
    if first.utcoffset() == last.utcoffset():
        return None
    before, after = int(first.timestamp()), int(last.timestamp())
    while after - before > 1:
        middle = (before + after) // 2
        same = pd.Timestamp(middle, unit="s", tz=first.tz).utcoffset() == first.utcoffset()
        before, after = (middle, after) if same else (before, middle)
    return pd.Timestamp(after, unit="s", tz=first.tz)


def _clock(zone: tzinfo, first: pd.Timestamp, last: pd.Timestamp) -> str:
    """The zone, and how far its clocks are from UTC at both ends."""
    if str(zone) == "UTC":
        return "UTC"
    offsets = [f"{time:%z}" for time in (first, last)]
    said = [f"UTC{offset[:3]}:{offset[3:5]}" for offset in dict.fromkeys(offsets)]
    return ", ".join((*([] if str(zone).startswith("UTC") else [str(zone)]), ", then ".join(said)))


def _day(stamp: pd.Timestamp) -> str:
    return f"{stamp.day} {stamp:%B %Y}"


def _span(width: pd.Timedelta) -> str:
    seconds = int(width.total_seconds())
    for size, noun in ((86400, "day"), (3600, "hour"), (60, "minute"), (1, "second")):
        if seconds % size == 0:
            return noun if seconds == size else counted(seconds // size, noun)
    raise AssertionError(seconds)  # a width is a whole number of seconds
