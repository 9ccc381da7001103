"""Draws alerts as grids: pods by rules, and MITRE ATT&CK's tactics and techniques."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from labkit.alerts.mitre import TACTICS
from labkit.calls import checked
from labkit.charts import coverage, data, style
from labkit.charts.glyphs import OWN, drawable, shortened
from labkit.show import counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes

from matplotlib.colors import LogNorm
from matplotlib.patches import Patch, Rectangle

_ROW, _LONGEST = 0.26, 34  # inches: a row of the heat map; columns of a rule's name
_CELL = 140.0  # points: a technique's id, its number and its name
_SMALL_CELL = 84.0  # without its name
_LINE = 0.4  # inches: a line of techniques


@checked
def heat_map(
    df: pd.DataFrame,
    pods: int = 30,
    rules: int = 20,
    *,
    ax: Axes | None = None,
    figsize: Sequence[float] | None = None,
) -> Axes:
    """Alerts per pod (rows) and rule (columns): the number in a cell, and its colour on a scale of powers of ten.

    At the top are the pods where most different rules alerted, at the left the most severe rules: what an intruder does
    is a row of many cells, noise is a column or a cell. At most `pods` rows and `rules` columns, or as many as fit `ax`
    or `figsize`. Data: `heat_map_data`.
    """
    longest = _LONGEST
    if place := style.given(ax, figsize):
        longest = max(10, min(_LONGEST, int(0.09 * place[1])))
        pods = min(pods, max(1, int((place[1] - 3.4 * longest) / 12)))
        rules = min(rules, max(1, int(0.6 * place[0] / 14)))
    table = data.heat_map_data(df, pods, rules)
    title = "Which rules alerted where"
    if table.empty:
        return style.nothing(title, ax, figsize)
    high, wide = table.shape
    # A rule's name is written at an angle of 40 degrees: as high as two thirds of its length.
    names = max(style.width_of(shortened(drawable(name)[0], longest)) for name in table.columns) * 0.65 / 72
    ax = style.axes(ax, figsize, 1.5 + names + _ROW * (high + 0.6), style.WIDTH if wide > 4 else 5.0 + wide)
    look = style.look(ax)
    cells = table.to_numpy()
    norm = LogNorm(1, max(10, int(cells.max())))
    colours = look.map()
    ax.pcolormesh(
        np.arange(wide + 1) - 0.5,
        np.arange(high + 1) - 0.5,
        np.ma.masked_equal(cells, 0),
        cmap=colours,
        norm=norm,
        edgecolors=look.background,
        linewidth=1.2,
    )
    each = 0.62 * style.room(ax) / wide  # points, about
    for y, x in zip(*np.nonzero(cells), strict=True):
        text = _short(int(cells[y, x]), each)
        colour = style.text_on(colours(norm(cells[y, x])))
        _inside(ax, x, y, text, ha="center", fontsize=8, color=colour)
    for x, priority in enumerate(table.attrs["priorities"]):
        colour = look.priorities[priority or data.NO_PRIORITY]
        ax.add_patch(Rectangle((x - 0.47, high - 0.32), 0.94, 0.28, color=colour, linewidth=0))
    ax.hlines(np.arange(high) + 0.5, -0.5, wide - 0.5, color=look.grid, linewidth=0.5, zorder=0)
    style.named(ax.yaxis, range(high), table.index, max(12, int(0.36 * style.room(ax) / 5.4)))
    style.named(ax.xaxis, range(wide), table.columns, longest, rotation=40, ha="right", rotation_mode="anchor")
    ax.tick_params(axis="x", pad=3)
    ax.set_xlim(-0.5, wide - 0.5)
    ax.set_ylim(high + 0.1, -0.5)
    ax.spines["bottom"].set_visible(False)
    detail = f"{counted(len(df), 'alert')} of {counted(table.attrs['rules'], 'rule')} in "
    detail += counted(table.attrs["pods"], "place")
    if (table.attrs["pods"], table.attrs["rules"]) != (high, wide):
        shown = int(cells.sum())
        detail += f"; shown: {counted(high, 'place')}, {counted(wide, 'rule')}, {shown:,} of the alerts"
    seen = [p or data.NO_PRIORITY for p in table.attrs["priorities"]]
    legend = [(p, look.priorities[p]) for p in reversed(list(look.priorities)) if p in seen]
    style.header(ax, title, f"{detail}; below: each rule's highest priority", legend)
    return ax


def _short(count: int, room: float) -> str:
    """The number, in a small cell with thousands as `k`."""
    if style.width_of(f"{count:,}", 8) <= room or count < 1000:
        return f"{count:,}"
    return f"{count / 1000:.0f}k" if count < 999_500 else f"{count / 1_000_000:.1f}M"


@checked
def attack_matrix(
    df: pd.DataFrame,
    covered: Any = None,
    *,
    ax: Axes | None = None,
    figsize: Sequence[float] | None = None,
) -> Axes:
    """MITRE ATT&CK's fourteen tactics with the techniques that alerts were about, and those that loaded rules cover.

    `covered` is what `lab.falco_rules()` gives, or a list of rules' tags. Data: `attack_matrix_data`.
    """
    table = coverage.attack_matrix_data(df, covered)
    compared = covered is not None
    title = "MITRE ATT&CK: seen" + (", and covered by the loaded rules" if compared else "")
    if table.empty:
        return style.nothing(title, ax, figsize, "No alerts with a tactic" if len(df) else "No alerts")
    own = ax is None and figsize is None
    ax = style.axes(ax, figsize, 1.0)
    look = style.look(ax)
    width = style.room(ax) - 180  # the tactics' names
    across = max(1, int(width / _CELL))
    rows = _lines(table, across)
    named = True
    if own:
        ax.figure.set_size_inches(style.WIDTH, 1.35 + _LINE * len(rows))  # type: ignore[union-attr]
    elif style.height(ax) / len(rows) < 21:  # points: two lines of text
        named, across = False, max(1, int(width / _SMALL_CELL))
        rows = _lines(table, across)
    size = min(8.0, style.size(ax, len(rows)))
    norm = LogNorm(1, max(10, int(table["alerts"].to_numpy().max())))
    for y, (tactic, cells) in enumerate(rows):
        for x, cell in enumerate(cells):
            back = look.map()(norm(cell.alerts)) if cell.alerts else None
            _technique(ax, (x, y), cell, back, 0.88 * max(width / across, 60.0) if named else 0, compared, size)
        if not cells:
            text = "no loaded rule" if compared else "not seen"
            _inside(ax, 0.06, y, text, fontsize=size, fontstyle="italic", color=look.faint)
        if tactic and y:
            ax.axhline(y - 0.5, color=look.grid, linewidth=0.7, zorder=0)
    places = [y for y, (tactic, _) in enumerate(rows) if tactic]
    style.named(
        ax.yaxis,
        places,
        [f"{rows[y][0]}  {TACTICS[rows[y][0]]}" for y in places],
        fontsize=size + (1 if size == 8 else 0),
    )
    for label, y in zip(ax.get_yticklabels(), places, strict=True):
        label.set_color(look.ink if rows[y][1] else look.faint)
    ax.set_xlim(0, across)
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.set_xticks([])
    ax.spines["bottom"].set_visible(False)
    style.header(ax, title, _coverage(table, compared, len(df)), _matrix_legend(look, table, compared))
    return ax


def _lines(table: pd.DataFrame, across: int) -> list[tuple[str, list[Any]]]:
    """Tactics with their techniques, `across` a line; further lines have no tactic."""
    rows: list[tuple[str, list[Any]]] = []
    for tactic in TACTICS:
        cells: list[Any] = list(table[table["tactic"] == tactic].itertuples(index=False))
        rows += [("" if i else tactic, cells[i : i + across]) for i in range(0, max(len(cells), 1), across)]
    return rows


def _technique(ax: Axes, at: tuple[int, int], cell: Any, back: Any, room: float, compared: bool, size: float) -> None:
    """A technique's cell: filled if it was seen, else an outline; `room` points for its name, which it else lacks."""
    look, (x, y) = style.look(ax), at
    ink = style.text_on(back) if back else look.faint
    dashed = compared and back and not cell.covered
    edge = {"edgecolor": look.ink, "linewidth": 1.6, "linestyle": "--"} if dashed else {"edgecolor": look.faint}
    ax.add_patch(Rectangle((x + 0.02, y - 0.44), 0.96, 0.88, facecolor=back or "none", **{"linewidth": 0.7} | edge))
    name = "tactic only" if pd.isna(cell.technique) else cell.technique
    count = f"{cell.alerts:,}" if cell.alerts else counted(int(cell.covered), "rule")
    for place, align, text, weight in ((0.06, "left", name, "bold"), (0.94, "right", count, "normal")):
        _inside(ax, x + place, y - (0.18 if room else 0), text, ha=align, fontsize=size, fontweight=weight, color=ink)
    if room and not pd.isna(cell.name):
        _inside(ax, x + 0.06, y + 0.2, _fitting(cell.name, room), fontsize=7.5, color=ink)


def _inside(ax: Axes, x: float, y: float, text: str, **style: Any) -> None:
    """A text in a cell. The layout needn't make room for it."""
    ax.text(x, y, text, va="center", fontfamily=OWN, parse_math=False, **style).set_in_layout(False)


def _coverage(table: pd.DataFrame, compared: bool, alerts: int) -> str:
    tactics = table.groupby("tactic")[["alerts", "covered"]].sum()
    seen = f"{counted(alerts, 'alert')}: {(tactics['alerts'] > 0).sum()} of {len(TACTICS)} tactics seen"
    if compared:
        seen += f", {(tactics['covered'] > 0).sum()} covered"
    untagged = table.attrs["untagged"]
    return seen + (f"; {counted(untagged, 'alert')} without a tactic" if untagged else "")


def _matrix_legend(look: style.Look, table: pd.DataFrame, compared: bool) -> list[tuple[str, Any]]:
    entries: list[tuple[str, Any]] = [("seen, and how many alerts", look.map()(0.6))]
    if compared:
        entries.append(("", Patch(facecolor="none", edgecolor=look.faint, label="covered by rules, not seen")))
        if ((table["alerts"] > 0) & (table["covered"] == 0)).any():
            dashed = Patch(
                facecolor=look.map()(0.6), edgecolor=look.ink, linestyle="--", label="seen, no rule loaded now"
            )
            entries.append(("", dashed))
    return entries


def _fitting(name: str, room: float) -> str:
    """As much of a name as there is room for, in points."""
    if style.width_of(name, 7.5) <= room:
        return name
    while name and style.width_of(f"{name}…", 7.5) > room:
        name = name[:-1]
    return f"{name.rstrip()}…"
