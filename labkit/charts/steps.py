"""Draws what an intruder did, one step after the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from labkit.calls import checked
from labkit.charts import style
from labkit.charts.data import NO_PRIORITY
from labkit.charts.labels import put, same_day, spanned, wide
from labkit.show import counted
from labkit.triage import steps
from labkit.triage.display import lasted

MOST = 60
"""Steps in one picture."""

# Points: from one step to the next, a place's name, what is above and below the steps, from the edges to the marks.
_PAUSED = 14.0  # points for the length of pauses
_ROW, _PLACE, _HEADER, _AXIS, _EDGE = 16.0, 24.0, 84.0, 36.0, 10.0
_TITLE = "One step after the other"
_QUIET = 0.2  # of the whole time: a longer pause is drawn shortened
_LEAST = 130.0  # points beside marks that a text needs
_PAUSE = 0.09  # of the width, for a shortened pause
_TICKS = (
    *(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600),
    *(7200, 10800, 21600, 43200, 86400, 172800, 604800, 2592000),
)  # seconds


@checked
def sequence(df: pd.DataFrame, *, ax: Axes | None = None, figsize: Sequence[float] | None = None) -> Axes:
    """Alerts on the axis of time (UTC), a lane for each place, a line for each step with its rule and command line.

    A step is one command line that raised one rule, once or several times: a mark for each alert, in the colour of its
    highest priority. Pauses longer than a fifth of the whole time are drawn shortened, with their length. At most 60
    steps are drawn, or as many as fit `ax` or `figsize`; if there are more, a step is a rule in a place, and the most
    severe are drawn. Data: `labkit.triage.steps`.
    """
    drawn = style.axes(ax, figsize, 3)
    most = space = MOST * _ROW + 6 * _PLACE
    if ax is not None:
        space = drawn.bbox.height / drawn.figure.dpi * 72 - _HEADER / 3
    elif figsize is not None:
        space = drawn.figure.bbox.height / drawn.figure.dpi * 72 - _HEADER - _AXIS
    width = style.room(drawn) - 17
    table = _fitting(df, min(space, most), width)
    if table.empty:
        return style.nothing(_TITLE, ax, figsize)
    scale = _Scale.of(table, width)
    tall = _heights(table, scale, width)
    missing = table.attrs["steps"] - len(table)
    below = _height(table, tall) + (_PAUSED if scale.pauses else 0)
    total = below + (_ROW if missing else 0)
    own = ax is None and figsize is None
    if own:
        drawn.figure.set_size_inches(style.WIDTH, (total + _HEADER + _AXIS) / 72)  # type: ignore[union-attr]
    drawn.set_xlim(0, width)
    drawn.set_ylim(total if own else max(total, space), 0)
    drawn.set_yticks([])
    _header(drawn, table)
    _time_axis(drawn, scale, table)
    _steps(drawn, table, scale, tall, width)
    if missing:
        left = table.attrs["alerts"] - int(table["alerts"].sum())
        said = f"… {counted(missing, 'step')} with {counted(left, 'alert')} left out: the least severe"
        put(drawn, 0, below + _ROW / 2, said, style.look(drawn).faint)
    return drawn


def _fitting(df: pd.DataFrame, space: float, width: float) -> pd.DataFrame:
    """The steps that there is room for."""
    table = steps(df, MOST)
    while len(table) > 1:
        more = _height(table, _heights(table, _Scale.of(table, width), width)) + _PAUSED + _ROW - space
        if more <= 0:
            break
        table = steps(df, max(1, min(len(table) - 1, len(table) - int(more / (_ROW + _PLACE)))))
    return table


def _height(table: pd.DataFrame, tall: list[float]) -> float:
    return sum(tall) + _PLACE * table["place"].nunique() + 4


def _heights(table: pd.DataFrame, scale: _Scale, width: float) -> list[float]:
    """How high each step is: its text is above its marks where there is no room beside them."""
    ends = [(float(scale(times[0])), float(scale(times[-1]))) for times in table["times"]]
    beside = [max(first, width - last) - 10 >= _LEAST for first, last in ends]
    return [_ROW if room else 2 * _ROW - 4 for room in beside]


@dataclass(frozen=True)
class _Scale:
    """Where a time is on the axis: nanoseconds to points, piece by piece."""

    ns: tuple[int, ...]
    points: tuple[float, ...]
    pauses: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, table: pd.DataFrame, width: float) -> _Scale:
        """A scale for the steps; long pauses are shortened."""
        times = np.unique(np.concatenate(table["times"].tolist()).astype(np.int64))
        first, last = int(times[0]), int(times[-1])
        if first == last:
            return cls((first - 10**9, first, first + 10**9), (0, 3 * _EDGE, width - _EDGE), ())
        long = np.flatnonzero(np.diff(times) > _QUIET * (last - first))
        pauses = tuple((int(times[i]), int(times[i + 1])) for i in long)
        active = last - first - sum(end - start for start, end in pauses)
        if not active:  # nothing but pauses
            pauses, active = (), last - first
        room = width - 2 * _EDGE
        per_ns = room * (1 - _PAUSE * len(pauses)) / active
        ns, points = [first], [_EDGE]
        for start, end in pauses:
            points += [points[-1] + (start - ns[-1]) * per_ns]
            ns += [start, end]
            points += [points[-1] + _PAUSE * room]
        points.append(points[-1] + (last - ns[-1]) * per_ns)
        ns.append(last)
        return cls(tuple(ns), tuple(points), pauses)

    def __call__(self, time: Any) -> Any:
        """Points of a time or several, as datetime64[ns] or nanoseconds."""
        since = np.asarray(time).astype(np.int64) - self.ns[0]
        return np.interp(since, np.subtract(self.ns, self.ns[0]), self.points)


def _header(ax: Axes, table: pd.DataFrame) -> None:
    places = counted(table.attrs["places"], "place")
    detail = (
        f"{counted(table.attrs['alerts'], 'alert')} in {places}; {spanned(table['first'].min(), table['last'].max())}"
    )
    span = table["last"].max() - table["first"].min()
    if span >= pd.Timedelta("1s"):
        detail += f" ({lasted(span)})"
    if untimed := table.attrs["untimed"]:
        detail += f"; {counted(untimed, 'alert')} without a time left out"
    colours = style.look(ax)
    seen = {NO_PRIORITY if pd.isna(priority) else priority for priority in table["priority"]}
    style.header(ax, _TITLE, detail, [(p, c) for p, c in reversed(list(colours.priorities.items())) if p in seen])


def _time_axis(ax: Axes, scale: _Scale, table: pd.DataFrame) -> None:
    """Ticks at whole times, not within a pause that is drawn shortened."""
    first, last = table["first"].min(), table["last"].max()
    pieces = list(zip(scale.ns[::2], scale.ns[1::2], strict=False)) if first != last else [(scale.ns[1], scale.ns[1])]
    ax.grid(axis="x", color=style.look(ax).grid, linewidth=0.8)
    shown, longest = sum(end - start for start, end in pieces), max(end - start for start, end in pieces)
    across = sum(float(scale(end) - scale(start)) for start, end in pieces)
    plain = same_day(first, last)
    room = 46 if plain else 74
    step = next((s for s in _TICKS if s * 1e9 * across >= room * shown), _TICKS[-1]) if longest else 1
    form = "%H:%M:%S.%f" if step < 1 else "%H:%M:%S" if step < 60 or not longest else "%H:%M"
    ticks: list[int] = []
    for start, end in pieces:
        every = int(step * 1e9)
        found = list(range(-(-start // every) * every, end + 1, every)) or [start]
        ticks += [tick for tick in found if not ticks or float(scale(tick) - scale(ticks[-1])) >= 0.8 * room]
    stamps = [pd.Timestamp(tick, unit="ns", tz="UTC") for tick in ticks]
    names = [f"{stamp:{form}}"[:-3] if step < 1 else f"{stamp:{form}}" for stamp in stamps]
    if not plain:
        names = [f"{stamp.day} {stamp:%b} {name}" for stamp, name in zip(stamps, names, strict=True)]
    style.named(ax.xaxis, scale(ticks).tolist(), names, 30)
    ax.set_xlabel(f"time (UTC), {first.day} {first:%B %Y}" if plain else "time (UTC)")


def _steps(ax: Axes, table: pd.DataFrame, scale: _Scale, tall: list[float], width: float) -> None:
    colours = style.look(ax)
    bottom = _height(table, tall)
    for start, end in scale.pauses:
        left, right = float(scale(start)) + 5, float(scale(end)) - 5
        ax.fill_between([left, right], 0, bottom + _PAUSED, color=colours.grid, alpha=0.5, linewidth=0, zorder=0.5)
        span = lasted(pd.Timedelta(end - start, unit="ns"))
        put(ax, (left + right) / 2, bottom + _PAUSED / 2, span, colours.faint, size=7.5, ha="center")
    y = 2.0
    place: Any = None
    for height, row in zip(tall, table.to_dict("records"), strict=True):
        if place is None or row["place"] != place:
            place = row["place"]
            ax.plot([0, width], [y, y], color=colours.faint, linewidth=0.6, zorder=1)
            put(ax, 0, y + 14, str(place), colours.ink, size=9, weight="bold", width=width)
            y += _PLACE
        at = np.unique(np.round(scale(row["times"]) * 2) / 2)
        colour = colours.priorities[NO_PRIORITY if pd.isna(row["priority"]) else row["priority"]]
        middle = y + height - _ROW / 2
        ax.plot([at[0], at[-1]], [middle, middle], color=colour, linewidth=1.2, zorder=2)
        edge = colours.background if style.contrast(colour, colours.background) >= 3 else colours.faint
        ax.scatter(at, [middle] * len(at), s=42, color=colour, edgecolors=edge, linewidths=0.8, zorder=3)
        said = row["rule"] if row["alerts"] == 1 else f"{row['rule']} ×{row['alerts']:,}"
        command = "" if pd.isna(row["command"]) else " ".join(str(row["command"]).split())
        if height > _ROW:
            _annotate(ax, y + _ROW / 2 - 2, 0, float(at[0]) - 12, width, said, command)
        else:
            _annotate(ax, middle, float(at[0]), float(at[-1]), width, said, command)
        y += height


def _annotate(ax: Axes, y: float, first: float, last: float, width: float, said: str, after: str) -> None:
    """Rule and command line beside marks from `first` to `last`, at the side that has more room."""
    colours = style.look(ax)
    needed = wide(said) + 8 + wide(after, mono=True, size=7.5)
    right, left = width - last - 10, first - 10
    rightward = right >= min(needed, left)
    room = max(right, left)
    rule_room = min(wide(said), room if not after else max(room - wide(after, 7.5, mono=True) - 8, 0.55 * room))
    command_room = max(room - rule_room - 8, 0)
    x, gap = (last + 9, 7) if rightward else (first - 9, -7)
    rule: dict[str, Any] = {"text": said, "colour": colours.ink, "width": rule_room}
    command = {"text": after, "colour": colours.faint, "width": command_room, "mono": True, "size": 7.5}
    texts = [rule, command] if after and command_room > 20 else [rule]
    beside = put(ax, x, y, **(texts[0] if rightward else texts[-1]), ha="left" if rightward else "right")
    if len(texts) == 2:
        put(ax, gap, y, **(texts[1] if rightward else texts[0]), beside=beside)
