"""Draws the processes behind alerts as a tree."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes

from labkit.calls import checked
from labkit.charts import style
from labkit.charts.data import NO_PRIORITY
from labkit.charts.labels import badge, badge_width, put, same_day, spanned, wide
from labkit.show import counted
from labkit.triage import processes

MOST = 60
"""Processes in one picture."""

# Points: from one process to the next, from one badge of a process to the next, a place's name, what is above the tree.
_ROW, _BADGE, _PLACE, _HEADER = 17.0, 15.5, 26.0, 84.0
_INDENT = 15.0
_TITLE = "Processes behind the alerts"


@checked
def process_tree(df: pd.DataFrame, *, ax: Axes | None = None, figsize: Sequence[float] | None = None) -> Axes:
    """The processes behind alerts as a tree per place: one line per process, parents above and to the left.

    A line has the time (UTC) of the first alert, the command line, the user and, if alerts have it, the process ID, and
    for each rule a badge in the colour of its priority. Ancestors that alerts only name are grey; a dashed line leads
    to a process whose parent was concluded (see `labkit.triage.processes`, which has the data). At most 60 processes
    are drawn, or as many as fit `ax` or `figsize`: those with the most severe alerts and their ancestors. A line says
    how many are left out.
    """
    table = processes(df)
    if table.empty:
        return style.nothing(_TITLE, ax, figsize)
    drawn = style.axes(ax, figsize, 3)
    if ax is not None:
        space = drawn.bbox.height / drawn.figure.dpi * 72 - _HEADER / 3
    else:
        space = drawn.figure.bbox.height / drawn.figure.dpi * 72 - _HEADER if figsize is not None else float("inf")
    kept = _kept(table, space)
    total = _height(kept) + (_ROW if len(kept) < len(table) else 0)
    if ax is None and figsize is None:
        drawn.figure.set_size_inches(style.WIDTH, (total + _HEADER) / 72)  # type: ignore[union-attr]
    width = style.room(drawn) - 17
    drawn.set_axis_off()
    drawn.set_xlim(0, width)
    drawn.set_ylim(total if space == float("inf") else max(total, space), 0)
    _header(drawn, table)
    _Columns(drawn, kept, width).draw()
    if len(kept) < len(table):
        left, alerts = len(table) - len(kept), int(table["alerts"].sum() - kept["alerts"].sum())
        noun = "process" if left == 1 else "processes"
        said = f"… {left:,} {noun} with {counted(alerts, 'alert')} left out: the least severe"
        put(drawn, 0, total - _ROW / 2, said, style.look(drawn).faint)
    return drawn


def _kept(table: pd.DataFrame, space: float) -> pd.DataFrame:
    """The processes with the most severe alerts, and their ancestors, as far as there is room for them."""
    parents = [None if pd.isna(parent) else int(parent) for parent in table["parent"]]
    heights = [_tall(raised) for raised in table["raised"]]
    order = table[table["alerts"] > 0].sort_values("priority", ascending=False, kind="stable").index
    kept: set[int] = set()
    places: set[str] = set()
    used = _ROW  # the names of the columns
    for number in order.tolist():
        line = []
        above: int | None = number
        while above is not None and above not in kept:
            line.append(above)
            above = parents[above]
        place = table["place"].iloc[number]
        more = sum(heights[n] for n in line) + (0 if place in places else _PLACE)
        if kept and (len(kept) + len(line) > MOST or used + more > space - _ROW):
            break
        kept.update(line)
        places.add(place)
        used += more
    return table.loc[sorted(kept)]


def _tall(raised: tuple[Any, ...]) -> float:
    return max(_ROW, len(raised) * _BADGE + 2)


def _height(kept: pd.DataFrame) -> float:
    return _ROW + sum(map(_tall, kept["raised"])) + _PLACE * kept["place"].nunique()


def _header(ax: Axes, table: pd.DataFrame) -> None:
    alerts = table[table["alerts"] > 0]
    places = table["place"].nunique()
    detail = f"{counted(int(alerts['alerts'].sum()), 'alert')} in {counted(places, 'place')}"
    if alerts["first"].notna().any():
        detail += f"; {spanned(alerts['first'].min(), alerts['last'].max())}"
    if table["inferred"].any():
        detail += "; dashed: the parent is not certain"
    colours = style.look(ax)
    seen = {priority or NO_PRIORITY for raised in table["raised"] for _, priority, _ in raised}
    legend = [(name, colour) for name, colour in reversed(list(colours.priorities.items())) if name in seen]
    style.header(ax, _TITLE, detail, legend)


class _Columns:
    """Where the columns are, in points from the left: time, processes, user, badges."""

    def __init__(self, ax: Axes, kept: pd.DataFrame, width: float) -> None:
        self.ax, self.kept, self.width = ax, kept, width
        self.colours = style.look(ax)
        first, last = kept["first"].min(), kept["first"].max()
        self.clock = "%H:%M:%S" if pd.isna(first) or same_day(first, last) else "%m-%d %H:%M"
        self.tree = wide("00:00:00" if self.clock == "%H:%M:%S" else "00-00 00:00") + 14
        who = [self._who(user, pid) for user, pid in zip(kept["user"], kept["pid"], strict=True)]
        self.who = dict(zip(kept.index, who, strict=True))
        badges = max((badge_width(_said(rule, n)) for raised in kept["raised"] for rule, _, n in raised), default=0)
        self.named = {place: self._one(names) for place, names in kept["user"].groupby(kept["place"])}
        # A user is named once per place, if there is one only.
        self.plain = bool(kept["pid"].isna().all()) and None not in self.named.values()
        users = 0 if self.plain else min(max(map(wide, [*who, "user"])), 0.13 * width) + 10
        self.badges = width - min(badges, 0.37 * width)
        self.user = self.badges - users - 10
        self.indent = min(_INDENT, 0.35 * (self.user - self.tree) / max(int(kept["depth"].max()), 1))
        texts = kept["command"].fillna(kept["program"])
        ends = [d * self.indent + wide(str(t), mono=True) for d, t in zip(kept["depth"], texts, strict=True)]
        spare = max(0.0, self.user - self.tree - max(ends) - 20)
        self.badges, self.user = self.badges - spare, self.user - spare

    @staticmethod
    def _one(users: pd.Series[Any]) -> str | None:
        """The user of a place, "" if none is known, None if there are several."""
        names = users.dropna().unique()
        return None if len(names) > 1 else str(names[0]) if len(names) else ""

    @staticmethod
    def _who(user: Any, pid: Any) -> str:
        return " ".join([*([] if pd.isna(user) else [str(user)]), *([] if pd.isna(pid) else [f"pid {pid}"])])

    def draw(self) -> None:
        faint = self.colours.faint
        for x, name in ((0.0, "time"), (self.tree, "process"), (self.user, "user"), (self.badges, "alerts")):
            if name == "user" and self.plain:
                continue
            put(self.ax, x, _ROW / 2, name, faint, size=7.5)
        y, place = _ROW, None
        at: dict[int, tuple[float, float]] = {}
        for number, row in self.kept.iterrows():
            if row["place"] != place:
                place = row["place"]
                self.ax.plot([0, self.width], [y + 4, y + 4], color=self.colours.grid, linewidth=0.8, zorder=0)
                room = 0.7 * self.width
                told = put(self.ax, 0, y + 15, str(place), self.colours.ink, size=9, weight="bold", width=room)
                if self.plain and self.named.get(str(place)):
                    user = f"as {self.named[str(place)]}"
                    put(self.ax, 8, y + 15, user, faint, width=0.25 * self.width, beside=told)
                y += _PLACE
            x = self.tree + int(row["depth"]) * self.indent
            at[int(str(number))] = x, y + _ROW / 2
            if not pd.isna(row["parent"]):
                self._edge(at[int(row["parent"])], (x, y + _ROW / 2), dashed=bool(row["inferred"]))
            self._process(number, row, x, y + _ROW / 2)
            y += _tall(row["raised"])

    def _edge(self, parent: tuple[float, float], child: tuple[float, float], *, dashed: bool) -> None:
        (x, y), (right, below) = parent, child
        style_of = (0, (2.5, 2)) if dashed else "-"
        colour = self.colours.faint
        self.ax.plot([x + 5, x + 5, right - 1], [y + 6, below, below], color=colour, lw=0.8, ls=style_of, zorder=1)

    def _process(self, number: Any, row: Any, x: float, y: float) -> None:
        colours = self.colours
        room = self.user - x - 14
        if row["alerts"] and not pd.isna(row["first"]):
            put(self.ax, 0, y, f"{row['first']:{self.clock}}", colours.faint)
        named = pd.isna(row["command"])
        text = str(row["program"] if named else row["command"])
        box = {"boxstyle": "round,pad=0.3,rounding_size=0.3", "linewidth": 0.8}
        if row["alerts"]:
            priority = NO_PRIORITY if pd.isna(row["priority"]) else row["priority"]
            box |= {"facecolor": colours.grid, "edgecolor": colours.priorities[priority]}
        else:
            box |= {"facecolor": colours.background, "edgecolor": colours.grid}
        put(self.ax, x + 5, y, text, colours.ink if row["alerts"] else colours.faint, width=room, mono=True, bbox=box)
        if self.who[number] and not self.plain:
            put(self.ax, self.user, y, self.who[number], colours.faint, width=self.badges - self.user - 8)
        for i, (rule, priority, count) in enumerate(row["raised"]):
            colour = colours.priorities[priority or NO_PRIORITY]
            badge(self.ax, self.badges, y + i * _BADGE, _said(rule, count), colour, width=self.width - self.badges)


def _said(rule: str, count: int) -> str:
    return rule if count == 1 else f"{rule} ×{count:,}"
