"""Draws the frame of `labkit.alerts.read` as matplotlib figures.

Importing this module imports matplotlib; `labkit.charts` imports it when the first chart is drawn. pyplot isn't used: a
figure is displayed once, and nothing has to be closed.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pandas as pd

from falcorules import markup
from labkit.calls import checked
from labkit.charts import data
from labkit.errors import LabError
from labkit.show import counted

try:
    import matplotlib  # noqa: F401
except ModuleNotFoundError as error:
    raise LabError(
        "Charts need matplotlib, which isn't installed.",
        hint="pip install 'labkit[notebooks]'. The numbers are there without it: df.falco.summary().",
    ) from error

from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, DateFormatter, date2num
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator

COLOURS = {priority: background for priority, (background, _) in markup.PRIORITY_COLOURS.items()}
"""One colour per priority, the same as in badges."""

_INK = "#222b36"
_FAINT = "#5d6875"
_GRID = "#e3e7ec"
_WIDTH = 9.0


class Chart(Figure):
    """A figure that shows itself in a notebook whether or not pyplot's inline mode is on."""

    def _repr_png_(self) -> tuple[bytes, dict[str, Any]]:
        png = io.BytesIO()
        self.savefig(png, format="png", dpi=2 * 96, metadata={"Software": None})
        width, height = self.get_size_inches() * 96
        return png.getvalue(), {"width": int(width), "height": int(height)}


@checked
def timeline(df: pd.DataFrame) -> Figure:
    """Alerts over time as stacked bars, one colour per priority; times are UTC. Its data: `timeline_data`."""
    counts = data.timeline_data(df)
    title = "Alerts over time"
    if counts.empty:
        return _nothing(title)
    width: pd.Timedelta = counts.attrs["width"]
    fig, ax = _chart(3.8, title, f"{counted(int(counts.to_numpy().sum()), 'alert')}, one bar per {_span(width)}")
    left = pd.DatetimeIndex(counts.index).tz_localize(None)
    totals = _stacked(ax.bar, left.to_numpy(), counts, "bottom", width=width.to_timedelta64(), align="edge")
    # A lone bar would fill the whole width and look like a crowd.
    room = (max(0, 12 - len(counts)) / 2 + 0.5) * width
    ax.set_xlim(date2num(left[0] - room), date2num(left[-1] + width + room))  # type: ignore[no-untyped-call]
    _time_axis(ax, left[0], left[-1])
    ax.set_ylabel("alerts")
    _count_axis(ax.yaxis)
    ax.set_ylim(0, max(float(totals.max()) * 1.08, 1.25))
    ax.grid(axis="y", color=_GRID, linewidth=0.8)
    _legend(fig, counts.columns)
    return fig


@checked
def top_rules(df: pd.DataFrame, n: int = 10) -> Figure:
    """The rules with the most alerts, coloured by the highest priority each was raised with. Data: `top_rules_data`."""
    table = data.top_rules_data(df, n)
    title = "Rules that alerted most"
    if table.empty:
        return _nothing(title)
    shown, total = int(table["alerts"].sum()), table.attrs["alerts"]
    detail = f"{counted(total, 'alert')} from {counted(table.attrs['rules'], 'rule')}"
    if table.attrs["rules"] > len(table):
        detail += f"; the {len(table)} shown raised {_share(shown, total)} of them"
    fig, ax = _chart(1.6 + 0.32 * len(table), title, detail)
    priorities = table["priority"].astype("string").fillna("Debug")
    bars = ax.barh(range(len(table)), table["alerts"].to_numpy(), color=[COLOURS[p] for p in priorities], height=0.72)
    ax.bar_label(bars, labels=[f"{v:,}" for v in table["alerts"]], padding=4, color=_INK, fontsize=9)
    _rows(ax, table.index)
    ax.set_xlim(0, float(table["alerts"].max()) * 1.09)
    ax.set_xlabel("alerts")
    levels = table["priority"].cat.categories
    _legend(fig, [p for p in levels if p in set(priorities)], "highest priority")
    return fig


def _share(part: int, whole: int) -> str:
    """A percentage, rounded down: less than all is never `100%`."""
    percent = 100 * part // whole
    return "more than 99%" if percent == 99 and 100 * part > 99 * whole else f"{percent}%"


@checked
def by_pod(df: pd.DataFrame, n: int = 15) -> Figure:
    """Alerts per pod as stacked bars, one colour per priority. Its data: `by_pod_data`."""
    counts = data.by_pod_data(df, n)
    title = "Where alerts came from"
    if counts.empty:
        return _nothing(title)
    locations = counts.attrs["pods"]
    detail = f"{counted(len(df), 'alert')} from {counted(locations, 'place')}"
    if locations > len(counts):
        detail += f"; the {len(counts)} with the most are shown"
    fig, ax = _chart(1.6 + 0.32 * len(counts), title, detail)
    totals = _stacked(ax.barh, range(len(counts)), counts, "left", height=0.72)
    labels = [f"{total:,}" for total in totals]
    ax.bar_label(ax.containers[-1], labels=labels, padding=4, color=_INK, fontsize=9)  # type: ignore[arg-type]
    _rows(ax, counts.index)
    ax.set_xlim(0, float(totals.max()) * 1.09)
    ax.set_xlabel("alerts")
    _legend(fig, counts.columns)
    return fig


@checked
def tactics(df: pd.DataFrame) -> Figure:
    """Alerts per MITRE ATT&CK tactic, in the order of an intrusion, also those without any. Data: `tactics_data`."""
    table = data.tactics_data(df)
    title = "MITRE ATT&CK tactics, in the order of an intrusion"
    if df.empty:
        return _nothing(title)
    untagged = table.attrs["untagged"]
    detail = f"{(table['alerts'] > 0).sum()} of {len(table)} tactics seen"
    fig, ax = _chart(5.4, title, f"{detail}; {counted(untagged, 'alert')} without a tactic" if untagged else detail)
    bars = ax.barh(range(len(table)), table["alerts"].to_numpy(), color="#3f6fa8", height=0.7)
    numbers = zip(table["alerts"], table["rules"], strict=True)
    labels = [f"{alerts:,}  ({counted(rules, 'rule')})" if alerts else "–" for alerts, rules in numbers]
    texts = ax.bar_label(bars, labels=labels, padding=4, fontsize=9, color=_INK)
    _rows(ax, [f"{name}  {tactic}" for name, tactic in zip(table.index, table["id"], strict=True)])
    for text, label, count in zip(texts, ax.get_yticklabels(), table["alerts"], strict=True):
        if not count:
            text.set_color(_FAINT)
            label.set_color(_FAINT)
    ax.set_xlim(0, max(float(table["alerts"].max()) * 1.18, 1.0))
    ax.set_xlabel("alerts")
    return fig


@checked
def counts(compared: pd.DataFrame, n: int = 15) -> Figure:
    """Alerts beside what CloudWatch's metrics counted of them, two bars a row. Its data: `counts_data`.

    `compared` is what `labkit.respond.metrics.compare` gives.
    """
    table = data.counts_data(compared, n)
    title = "Alerts, and what CloudWatch counted"
    if table.empty:
        return _nothing(title)
    differing = table.attrs["differing"]
    found = f"not equal in {counted(differing, 'row')}" if differing else "equal in every row"
    totals = f"{counted(table.attrs['alerts'], 'alert')} in the frame, {table.attrs['metric']:,} in the metric"
    fig, ax = _chart(1.6 + 0.46 * len(table), title, f"{totals}; {found}")
    bars = {"alerts": (-0.2, COLOURS["Notice"], "alerts in the frame"), "metric": (0.2, COLOURS["Warning"], "metric")}
    for column, (shift, colour, _) in bars.items():
        places = [i + shift for i in range(len(table))]
        drawn = ax.barh(places, table[column].to_numpy(dtype="float64"), color=colour, height=0.36)
        ax.bar_label(drawn, labels=[f"{v:,}" for v in table[column]], padding=4, color=_INK, fontsize=8.5)
    _rows(ax, table.index)
    ax.set_xlim(0, float(table[["alerts", "metric"]].to_numpy(dtype="float64").max()) * 1.09)
    ax.set_xlabel("count")
    handles = [Patch(color=colour, label=label) for _, colour, label in bars.values()]
    fig.legend(handles=handles, loc="outside right upper", frameon=False, fontsize=9, labelcolor=_INK)
    return fig


def _chart(height: float, title: str, detail: str) -> tuple[Chart, Axes]:
    """A figure of `height` inches with a title, a line of detail below it, and its axes."""
    fig = Chart(figsize=(_WIDTH, height), layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.1), facecolor="white")
    ax = fig.add_subplot()
    for side in ("top", "right", "left"):
        ax.spines[side].set_visible(False)
    ax.spines["bottom"].set_color(_FAINT)
    ax.tick_params(colors=_INK, labelsize=9, length=0, pad=7)
    ax.xaxis.label.set(color=_FAINT, size=9)
    ax.yaxis.label.set(color=_FAINT, size=9)
    ax.set_axisbelow(True)
    fig.suptitle(title, x=0.014, ha="left", fontsize=12.5, fontweight="bold", color=_INK)
    ax.set_title(" ", fontsize=9.5, pad=14)  # keeps the height free; the text itself starts below the title's start
    subtitle = ax.annotate(
        detail,
        (0.014, 1),
        xycoords=("figure fraction", "axes fraction"),
        xytext=(0, 16),
        textcoords="offset points",
        fontsize=9.5,
        color=_FAINT,
        annotation_clip=False,
    )
    subtitle.set_in_layout(False)
    return fig, ax


def _nothing(title: str) -> Chart:
    fig, ax = _chart(2.2, title, "no alerts")
    ax.set_axis_off()
    ax.text(0.5, 0.5, "No alerts in this selection", ha="center", va="center", color=_FAINT, transform=ax.transAxes)
    return fig


def _stacked(draw: Callable[..., Any], at: Any, counts: pd.DataFrame, base: str, **style: Any) -> pd.Series[Any]:
    """Draws a stack of bars for each row, a colour per priority, and returns the rows' totals.

    `draw` is `Axes.bar` or `Axes.barh`, `base` its parameter for where a bar starts.
    """
    starts = counts.cumsum(axis=1) - counts
    for priority in counts.columns:
        style[base] = starts[priority].to_numpy()
        draw(at, counts[priority].to_numpy(), color=COLOURS[priority], edgecolor="white", linewidth=0.6, **style)
    return counts.sum(axis=1)


def _rows(ax: Axes, labels: Iterable[str]) -> None:
    names = list(labels)
    # A name is text: matplotlib would take what is between two $ for a formula.
    ax.set_yticks(range(len(names)), [_shortened(name) for name in names], parse_math=False)
    ax.set_ylim(len(names) - 0.4, -0.6)
    ax.spines["left"].set_visible(True)
    ax.spines["left"].set_color(_FAINT)
    ax.spines["bottom"].set_visible(False)
    _count_axis(ax.xaxis)
    ax.grid(axis="x", color=_GRID, linewidth=0.8)


def _time_axis(ax: Axes, start: pd.Timestamp, end: pd.Timestamp) -> None:
    """Times of day at the ticks, the date in the label; over several days, days at the ticks."""
    locator = AutoDateLocator(minticks=3, maxticks=8)  # type: ignore[no-untyped-call]
    ax.xaxis.set_major_locator(locator)
    first, last = _day(start), _day(end)
    if first == last:
        seconds = end - start < pd.Timedelta(minutes=5)
        ax.xaxis.set_major_formatter(DateFormatter("%H:%M:%S" if seconds else "%H:%M"))  # type: ignore[no-untyped-call]
        ax.set_xlabel(f"time (UTC), {first}")
    else:
        formatter = ConciseDateFormatter(locator, show_offset=False)  # type: ignore[no-untyped-call]
        ax.xaxis.set_major_formatter(formatter)
        ax.set_xlabel(f"time (UTC), {first} to {last}")


def _day(stamp: pd.Timestamp) -> str:
    return f"{stamp.day} {stamp:%B %Y}"


def _count_axis(axis: Any) -> None:
    axis.set_major_locator(MaxNLocator(nbins=6, integer=True, min_n_ticks=1))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))


def _legend(fig: Figure, priorities: Sequence[str] | pd.Index[Any], title: str = "priority") -> None:
    """Most severe first, to the right of the bars, where it never covers one."""
    handles = [Patch(color=COLOURS[p], label=p) for p in reversed(list(priorities))]
    legend = fig.legend(
        handles=handles, title=title, loc="outside right upper", frameon=False, fontsize=9, labelcolor=_INK
    )
    legend.get_title().set(fontsize=9, color=_FAINT)
    legend.set_alignment("left")


def _shortened(text: str, width: int = 52) -> str:
    """Cut in the middle: a pod's name tells itself apart at its end."""
    text = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    if len(text) <= width:
        return text
    tail = width // 3
    return f"{text[: width - tail - 1]}…{text[-tail:]}"


def _span(width: pd.Timedelta) -> str:
    seconds = int(width.total_seconds())
    for size, noun in ((86400, "day"), (3600, "hour"), (60, "minute"), (1, "second")):
        if seconds % size == 0:
            return noun if seconds == size else counted(seconds // size, noun)
    raise AssertionError(seconds)  # a width is a whole number of seconds
