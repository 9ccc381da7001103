"""Draws counts as bars: of rules, pods, tactics; beside CloudWatch's, before and after a change."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from labkit.calls import checked
from labkit.charts import data, style
from labkit.show import counted

if TYPE_CHECKING:
    from matplotlib.axes import Axes

from matplotlib.lines import Line2D

_HEAD, _ROW = 1.75, 0.3  # inches: title, legend and axis; a bar
_SEVERE = ("Emergency", "Alert", "Critical")
_SEEN = 0.006  # of the axis: what is shorter isn't seen


@checked
def top_rules(df: pd.DataFrame, n: int = 10, *, ax: Axes | None = None, figsize: Sequence[float] | None = None) -> Axes:
    """The rules with the most alerts, coloured by the highest priority each was raised with. Data: `top_rules_data`."""
    table = data.top_rules_data(df, style.fitting(n, ax, figsize))
    title = "Rules that alerted most"
    if table.empty:
        return style.nothing(title, ax, figsize)
    ax = style.axes(ax, figsize, _HEAD + _ROW * len(table))
    look = style.look(ax)
    shown, total = int(table["alerts"].sum()), table.attrs["alerts"]
    detail = f"{counted(total, 'alert')} from {counted(table.attrs['rules'], 'rule')}"
    if table.attrs["rules"] > len(table):
        detail += f"; the {len(table)} shown raised {_share(shown, total)} of them"
    priorities = [data.NO_PRIORITY if pd.isna(p) else str(p) for p in table["priority"]]
    bars = ax.barh(range(len(table)), table["alerts"].to_numpy(), 0.72, color=[look.priorities[p] for p in priorities])
    style.rows(ax, table.index)
    _labels(ax, bars, [f"{v:,}" for v in table["alerts"]])
    _count_limits(ax, table["alerts"].max())
    levels = [data.NO_PRIORITY, *table["priority"].cat.categories]
    legend = [(p, look.priorities[p]) for p in reversed(levels) if p in priorities]
    style.header(ax, title, f"{detail}; colour: highest priority", legend)
    return ax


def _share(part: int, whole: int) -> str:
    """A percentage, rounded down: less than all is never `100%`."""
    percent = 100 * part // whole
    return "more than 99%" if percent == 99 and 100 * part > 99 * whole else f"{percent}%"


@checked
def by_pod(df: pd.DataFrame, n: int = 15, *, ax: Axes | None = None, figsize: Sequence[float] | None = None) -> Axes:
    """Alerts per pod as stacked bars, one colour per priority. Its data: `by_pod_data`."""
    counts = data.by_pod_data(df, style.fitting(n, ax, figsize))
    title = "Where alerts came from"
    if counts.empty:
        return style.nothing(title, ax, figsize)
    ax = style.axes(ax, figsize, _HEAD + _ROW * len(counts))
    look = style.look(ax)
    places = counts.attrs["pods"]
    detail = f"{counted(len(df), 'alert')} from {counted(places, 'place')}"
    if places > len(counts):
        detail += f"; the {len(counts)} with the most are shown"
    totals = counts.sum(axis=1)
    start = np.zeros(len(counts))
    for priority in counts.columns:
        lengths = counts[priority].to_numpy()
        bars = ax.barh(
            range(len(counts)),
            lengths,
            0.72,
            left=start,
            color=look.priorities[priority],
            edgecolor=look.edge,
            linewidth=0.6,
        )
        start = start + lengths
    style.rows(ax, counts.index)
    severe = [p for p in _SEVERE if p in counts.columns]
    labels = []
    for total, row in zip(totals, counts[severe].to_numpy(), strict=True):
        # Too few to be seen in the bar, but not to be left out.
        few = [f"{k:,} {p}" for p, k in zip(severe, row, strict=True) if 0 < k < _SEEN * totals.max()]
        labels.append(f"{total:,}" + (f" ({', '.join(few)})" if few else ""))
    _labels(ax, bars, labels)
    _count_limits(ax, totals.max())
    style.header(ax, title, detail, [(p, look.priorities[p]) for p in reversed(counts.columns)])
    return ax


@checked
def tactics(df: pd.DataFrame, *, ax: Axes | None = None, figsize: Sequence[float] | None = None) -> Axes:
    """Alerts per MITRE ATT&CK tactic, in the order of an intrusion, also those without any. Data: `tactics_data`."""
    table = data.tactics_data(df)
    title = "MITRE ATT&CK tactics, in the order of an intrusion"
    if df.empty:
        return style.nothing(title, ax, figsize)
    ax = style.axes(ax, figsize, 5.4)
    look = style.look(ax)
    untagged = table.attrs["untagged"]
    detail = f"{(table['alerts'] > 0).sum()} of {len(table)} tactics seen"
    bars = ax.barh(range(len(table)), table["alerts"].to_numpy(), 0.7, color=look.accent)
    numbers = zip(table["alerts"], table["rules"], strict=True)
    ids = [f"  {tactic}" if style.room(ax) > 400 else "" for tactic in table["id"]]
    style.rows(ax, [f"{name}{tactic}" for name, tactic in zip(table.index, ids, strict=True)])
    texts = _labels(ax, bars, [f"{a:,}  ({counted(rules, 'rule')})" if a else "–" for a, rules in numbers])
    for text, label, count in zip(texts, ax.get_yticklabels(), table["alerts"], strict=True):
        if not count:
            text.set_color(look.faint)
            label.set_color(look.faint)
    _count_limits(ax, max(table["alerts"].max(), 1))
    style.header(ax, title, f"{detail}; {counted(untagged, 'alert')} without a tactic" if untagged else detail)
    return ax


@checked
def noise(df: pd.DataFrame, n: int = 15, *, ax: Axes | None = None, figsize: Sequence[float] | None = None) -> Axes:
    """Which rules drown the rest: a Pareto chart, each rule's alerts and the share of all that it and those above have.

    The `n` rules with the most alerts, and the others in one row. Its data: `noise_data`.
    """
    table = data.noise_data(df)
    title = "Noise: the rules that raise most alerts"
    if table.empty:
        return style.nothing(title, ax, figsize)
    total, most = table.attrs["alerts"], table.attrs["most"]
    n = style.fitting(n, ax, figsize)
    shown, rest = table.head(n), table.iloc[n:]
    names, alerts, upto = list(shown.index), shown["alerts"].tolist(), shown["cumulative"].tolist()
    if len(rest):
        names.append(f"{counted(len(rest), 'other rule')}")
        alerts.append(int(rest["alerts"].sum()))
        upto.append(1.0)
    ax = style.axes(ax, figsize, _HEAD + _ROW * len(names))
    look = style.look(ax)
    colours = [look.accent if i < min(most, n) else look.muted for i in range(len(names))]
    ax.barh(range(len(names)), alerts, 0.72, color=colours)
    style.rows(ax, names)
    line = look.priorities["Warning" if look is style.DARK else "Error"]
    marks = [share * total for share in upto]
    ax.plot(marks, range(len(names)), color=line, marker="o", markersize=4, linewidth=1.4, zorder=3)
    apart = total * 60 / (0.55 * style.room(ax))  # alerts: as wide as a number, about
    for i, (count, mark) in enumerate(zip(alerts, marks, strict=True)):
        share = _percent(upto[i], last=i == len(names) - 1)
        level = style.room(ax) > 400 and [*marks, mark][i + 1] - mark > apart / 2
        up = 6 if level else 0  # above a line that is nearly level
        if mark - count < apart:  # the number would be under the line
            _beside(ax, mark, i, f"{count:,}  ({share})", up=up)
        else:
            _beside(ax, count, i, f"{count:,}")
            _beside(ax, mark, i, share, line, up)
    ax.set_xlim(0, total * 1.08)
    ax.set_xlabel("alerts")
    detail = f"{counted(most, 'rule')} of {len(table)} raised {_percent(float(table['cumulative'].iloc[most - 1]))} of "
    legend: list[tuple[str, Any]] = [("alerts of the rule", look.accent)]
    if most < len(table):
        legend.append(("of the rest", look.muted))
    legend.append(("", Line2D([], [], color=line, marker="o", markersize=4, label="share of all, from the top on")))
    style.header(ax, title, f"{detail}{counted(total, 'alert')}", legend)
    return ax


def _percent(share: float, last: bool = False) -> str:
    """Less than all is never `100%`."""
    return "100%" if last or share >= 1 else f"{min(100 * share, 99.9):.1f}%" if share > 0.99 else f"{100 * share:.0f}%"


@checked
def before_after(
    before: pd.DataFrame,
    after: pd.DataFrame,
    n: int = 15,
    *,
    ax: Axes | None = None,
    figsize: Sequence[float] | None = None,
) -> Axes:
    """Each rule's alerts before and after a change, such as an exception; the largest changes first.

    Data: `before_after_data`.
    """
    table = data.before_after_data(before, after, style.fitting(n, ax, figsize))
    title = "Alerts before and after"
    if table.empty:
        return style.nothing(title, ax, figsize)
    ax = style.axes(ax, figsize, _HEAD + _ROW * len(table) * 1.1)
    look = style.look(ax)
    places = range(len(table))
    ax.barh(places, table["before"].to_numpy(), 0.74, color=look.muted)
    ax.barh(places, table["after"].to_numpy(), 0.38, color=look.accent, edgecolor=look.edge, linewidth=0.8)
    style.rows(ax, table.index)
    pairs = list(zip(table["before"].tolist(), table["after"].tolist(), strict=True))
    for place, (old, new) in enumerate(pairs):
        _beside(ax, max(old, new), place, f"{old:,}" if old == new else f"{old:,} → {new:,}{_change(old, new)}")
    _count_limits(ax, max(max(pair) for pair in pairs))
    old, new, changed = (table.attrs[name] for name in ("before", "after", "changed"))
    detail = f"{old:,} → {counted(new, 'alert')}{_change(old, new)}; "
    detail += f"{counted(changed, 'rule')} of {table.attrs['rules']} changed" if changed else "no rule changed"
    if len(table) < table.attrs["rules"]:
        detail += f"; {len(table)} are shown"
    style.header(ax, title, detail, [("before", look.muted), ("after", look.accent)])
    return ax


def _change(old: int, new: int) -> str:
    if old == new:
        return " (as before)"
    if not old:
        return " (new)"
    if not new:
        return " (gone)"
    percent = 100 * (new - old) / old
    return f" ({'+' if percent > 0 else '−'}{max(abs(percent), 1):,.0f}%)" if percent > -99 else " (−99%)"


@checked
def counts(
    compared: pd.DataFrame, n: int = 15, *, ax: Axes | None = None, figsize: Sequence[float] | None = None
) -> Axes:
    """Alerts beside what CloudWatch's metrics counted of them, two bars a row. Its data: `counts_data`.

    `compared` is what `labkit.respond.metrics.compare` gives.
    """
    table = data.counts_data(compared, style.fitting(n, ax, figsize, 20))
    title = "Alerts, and what CloudWatch counted"
    if table.empty:
        return style.nothing(title, ax, figsize)
    ax = style.axes(ax, figsize, _HEAD + 0.46 * len(table))
    look = style.look(ax)
    differing = table.attrs["differing"]
    found = f"not equal in {counted(differing, 'row')}" if differing else "equal in every row"
    totals = f"{counted(table.attrs['alerts'], 'alert')} in the frame, {table.attrs['metric']:,} in the metric"
    both = {
        "alerts": (-0.2, look.priorities["Notice"], "alerts in the frame"),
        "metric": (0.2, look.priorities["Warning"], "metric"),
    }
    drawn = []
    for column, (shift, colour, _) in both.items():
        lengths = table[column].to_numpy(dtype="float64")
        drawn.append(ax.barh([i + shift for i in range(len(table))], lengths, 0.36, color=colour))
    style.rows(ax, table.index)
    for bars, column in zip(drawn, both, strict=True):
        _labels(ax, bars, [f"{v:,}" for v in table[column]])
    _count_limits(ax, table[["alerts", "metric"]].to_numpy(dtype="float64").max())
    ax.set_xlabel("count")
    style.header(ax, title, f"{totals}; {found}", [(label, colour) for _, colour, label in both.values()])
    return ax


def _labels(ax: Axes, bars: Any, labels: Iterable[str]) -> list[Any]:
    size = style.size(ax, len(bars))
    return list(ax.bar_label(bars, list(labels), padding=4, color=style.look(ax).ink, fontsize=size))


def _beside(ax: Axes, x: float, y: float, text: str, colour: str = "", up: float = 0) -> None:
    """A text to the right of a mark, `up` points above its middle."""
    ax.annotate(
        text,
        (x, y),
        xytext=(6, up),
        textcoords="offset points",
        va="center",
        color=colour or style.look(ax).ink,
        fontsize=style.size(ax, len(ax.get_yticks())),
        annotation_clip=False,
    )


def _count_limits(ax: Axes, highest: float) -> None:
    """From 0 to a bit more than the longest bar; the layout makes room for the numbers beside the bars."""
    ax.set_xlim(0, max(float(highest) * 1.02, 1.0))
    ax.set_xlabel("alerts")
