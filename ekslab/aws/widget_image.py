"""Draws the graph of a metric widget as a PNG, in the manner of CloudWatch's.

Importing this module imports matplotlib, which needs a second and 40 MB: the lab does so when the first image is asked
for. Only the object-oriented interface is used, without pyplot's state; one image is drawn at a time.
"""

from __future__ import annotations

import datetime as dt
import io
import math
import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.dates import AutoDateLocator, DateFormatter
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator

from ekslab.aws.metric_widget import Graph, Line

_LONGEST_FILL = 500  # points of a polygon
_DPI = 100
_DAY = 86_400
_LETTER = 6.0  # pixels of a letter of the legend, on average
_LINE = 17.0  # pixels of a line of the legend
_MAX_NAMES = 40  # in a legend
_PALETTE = (
    "#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#7f7f7f", "#bcbd22", "#17becf",
    "#aec7e8", "#ffbb78", "#98df8a", "#ff9896", "#c5b0d5", "#c49c94", "#f7b6d2", "#c7c7c7", "#dbdb8d", "#9edae5",
)  # fmt: skip
_lock = threading.Lock()  # matplotlib's parameters and caches are shared by all threads


class _Theme(NamedTuple):
    paper: str
    ink: str
    faint: str
    grid: str


_THEMES = {
    "light": _Theme("#ffffff", "#16191f", "#545b64", "#e4e7ea"),
    "dark": _Theme("#1a2029", "#e9ebed", "#a3abb4", "#37404a"),
}


def draw(graph: Graph) -> bytes:
    """The graph as a PNG of the widget's width and height in pixels."""
    with _lock, warnings.catch_warnings(), matplotlib.style.context("default"):
        warnings.simplefilter("ignore")  # a letter that the font lacks; an image that is too small for its axes
        fig = figure(graph)
        png = io.BytesIO()
        fig.savefig(png, format="png", metadata={"Software": None})
        fig.clear()
    return png.getvalue()


def figure(graph: Graph) -> Figure:
    """The graph as a matplotlib figure."""
    widget = graph.widget
    theme = _THEMES[widget.get("theme", "light")]
    width, height = widget.get("width", 600), widget.get("height", 400)
    fig = Figure(
        figsize=(width / _DPI, height / _DPI),
        dpi=_DPI,
        layout=ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.06),
        facecolor=theme.paper,
    )
    FigureCanvasAgg(fig)
    if title := widget.get("title"):
        letters = max(int((width - 16) / 7.5), 1)
        fig.suptitle(
            _shortened(title, letters), x=8 / width, ha="left", fontsize=10, fontweight="bold", color=theme.ink
        )
        fig.texts[-1].set_parse_math(False)
    colours = [line.colour or _PALETTE[place % len(_PALETTE)] for place, line in enumerate(graph.lines)]
    _VIEWS[widget.get("view", "timeSeries")](fig, graph, colours, theme)
    return fig


def _time_series(fig: Figure, graph: Graph, colours: Sequence[str], theme: _Theme) -> None:
    widget = graph.widget
    ax = _axes(fig, theme)
    annotations = widget.get("annotations", {})
    horizontal = [_pair(mark) for mark in annotations.get("horizontal", ())]
    horizontal = [pair for pair in horizontal if pair[0].get("visible", True)]
    right = any(line.right for line in graph.lines) or any(pair[0].get("yAxis") == "right" for pair in horizontal)
    sides = {"left": ax, **({"right": _second(ax, theme)} if right else {})}
    for side, on in sides.items():
        shown = [
            (line, colour) for line, colour in zip(graph.lines, colours, strict=True) if line.right == (on is not ax)
        ]
        marks = [pair for pair in horizontal if (pair[0].get("yAxis") == "right") == (on is not ax)]
        top = (_stack if widget.get("stacked") else _curves)(on, shown)
        _limits(on, widget.get("yAxis", {}).get(side, {}), [*top, *(mark["value"] for pair in marks for mark in pair)])
        for pair in marks:
            _horizontal(on, pair, theme)
    for pair in map(_pair, annotations.get("vertical", ())):
        if pair[0].get("visible", True):
            _vertical(ax, pair, graph, theme)
    _time_axis(ax, graph, _offset(widget.get("timezone", "+0000")), most=max(int(_pixels(fig)[0] / 75), 2))
    if not any(line.series for line in graph.lines):
        _no_data(ax, theme)
    _legend(fig, widget, [line.label for line in graph.lines], colours, theme)


def _axes(fig: Figure, theme: _Theme) -> Axes:
    ax = fig.add_subplot()
    ax.set_facecolor(theme.paper)
    for side in ("top", "right", "left"):
        ax.spines[side].set_visible(False)
    ax.spines["bottom"].set_color(theme.faint)
    ax.tick_params(colors=theme.faint, labelsize=8, length=0, pad=5)
    ax.set_axisbelow(True)
    ax.grid(axis="y", color=theme.grid, linewidth=0.8)
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _number(value)))
    return ax


def _second(ax: Axes, theme: _Theme) -> Axes:
    on = ax.twinx()
    for spine in on.spines.values():
        spine.set_visible(False)
    on.tick_params(colors=theme.faint, labelsize=8, length=0, pad=5)
    on.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _number(value)))
    return on


def _curves(ax: Axes, shown: Sequence[tuple[Line, str]]) -> list[float]:
    """Draws lines, interrupted where a datapoint is missing; returns their values."""
    for line, colour in shown:
        x: list[float] = []
        y: list[float] = []
        alone: list[int] = []
        times = sorted(line.series)
        for place, time in enumerate(times):
            before = place > 0 and time - times[place - 1] <= line.period
            after = place + 1 < len(times) and times[place + 1] - time <= line.period
            if not before and place:
                x.append(time / _DAY)
                y.append(math.nan)
            if not before and not after:
                alone.append(len(x))
            x.append(time / _DAY)
            y.append(line.series[time])
        ax.plot(x, y, color=colour, linewidth=1.5, marker="o", markersize=4, markevery=alone)
    return [value for line, _ in shown for value in line.series.values()]


def _stack(ax: Axes, shown: Sequence[tuple[Line, str]]) -> list[float]:
    """Draws areas on top of one another, each datapoint as wide as its period; returns the heights of the stack."""
    edges = sorted({edge for line, _ in shown for time in line.series for edge in (time, time + line.period)})
    x = [edge / _DAY for edge in edges]
    base = [0.0] * len(edges)
    for line, colour in shown:
        top, value, until = [], 0.0, -math.inf
        for place, edge in enumerate(edges):
            if edge in line.series:
                value, until = line.series[edge], edge + line.period
            elif edge >= until:
                value = 0.0
            top.append(base[place] + value)
        # In parts: Agg takes seconds for a long polygon, and the lab answers nothing meanwhile.
        for at in range(0, len(edges), _LONGEST_FILL):
            part = slice(at, at + _LONGEST_FILL + 1)  # parts share an edge
            ax.fill_between(x[part], base[part], top[part], step="post", color=colour, linewidth=0)
        base = top
    return base


def _limits(ax: Axes, asked: Mapping[str, Any], values: Sequence[float]) -> None:
    """The range of a y-axis: as asked for, else so that all values are in it, and zero if nothing is below."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    low = min(low, 0.0)
    high = high + (high - low) * 0.08 if high > low else low + 1.0
    bottom, top = asked.get("min", low), asked.get("max", high)
    ax.set_ylim(bottom, top if top > bottom else bottom + 1.0)
    whole = all(float(value).is_integer() for value in values)
    ax.yaxis.set_major_locator(MaxNLocator(nbins=5, integer=whole, min_n_ticks=2))
    if label := asked.get("label"):
        ax.set_ylabel(
            _shortened(label, 40), fontsize=8, color=ax.yaxis.get_tick_params()["labelcolor"], parse_math=False
        )


def _pair(mark: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """An annotation as a list: of one line, or of the two lines of a band."""
    return [mark] if isinstance(mark, Mapping) else list(mark)


def _horizontal(ax: Axes, pair: Sequence[Mapping[str, Any]], theme: _Theme) -> None:
    colour, fill = pair[0].get("color", "#d62728"), pair[0].get("fill", "none")
    low, high = ax.get_ylim()
    for mark in pair:
        ax.axhline(mark["value"], color=colour, linewidth=1.2)
        if mark.get("label"):
            _say(ax, mark["label"], (0.99, mark["value"]), ("axes fraction", "data"), (0, 3), theme, ha="right")
    if len(pair) == 2:
        ax.axhspan(pair[0]["value"], pair[1]["value"], color=colour, alpha=0.15, linewidth=0)
    elif fill in ("above", "below"):
        ax.axhspan(pair[0]["value"], high if fill == "above" else low, color=colour, alpha=0.15, linewidth=0)
    ax.set_ylim(low, high)


def _vertical(ax: Axes, pair: Sequence[Mapping[str, Any]], graph: Graph, theme: _Theme) -> None:
    colour, fill = pair[0].get("color", "#9467bd"), pair[0].get("fill", "none")
    times = [_seconds(mark["value"]) for mark in pair]
    for mark, time in zip(pair, times, strict=True):
        if graph.start <= time <= graph.end:
            ax.axvline(time / _DAY, color=colour, linewidth=1.2)
            if mark.get("label"):
                _say(ax, mark["label"], (time / _DAY, 0.99), ("data", "axes fraction"), (4, -9), theme)
    if len(times) == 2:
        ax.axvspan(times[0] / _DAY, times[1] / _DAY, color=colour, alpha=0.15, linewidth=0)
    elif fill in ("before", "after"):
        edge = graph.start if fill == "before" else graph.end
        if (edge < times[0]) == (fill == "before"):
            ax.axvspan(edge / _DAY, times[0] / _DAY, color=colour, alpha=0.15, linewidth=0)


def _say(
    ax: Axes, text: str, at: tuple[float, float], coords: Any, shift: tuple[float, float], theme: _Theme, **style: Any
) -> None:
    said = ax.annotate(
        _shortened(text, 60), at, xycoords=coords, xytext=shift, textcoords="offset points", fontsize=8, **style
    )
    said.set(color=theme.ink, parse_math=False, annotation_clip=False)
    said.set_in_layout(False)


def _seconds(text: str) -> float:
    moment = dt.datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)).timestamp()


def _offset(text: str) -> dt.timezone:
    """The time zone `+0130`."""
    minutes = int(text[1:3]) * 60 + int(text[3:])
    return dt.timezone(dt.timedelta(minutes=minutes if text[0] == "+" else -minutes))


def _time_axis(ax: Axes, graph: Graph, zone: dt.timezone, *, most: int) -> None:
    ax.set_xlim(graph.start / _DAY, graph.end / _DAY)
    locator = AutoDateLocator(tz=zone, minticks=min(3, most), maxticks=most)  # type: ignore[no-untyped-call]
    ax.xaxis.set_major_locator(locator)
    span = graph.end - graph.start
    form = "%H:%M:%S" if span <= 300 else "%H:%M" if span <= _DAY else "%m/%d %H:%M" if span <= 4 * _DAY else "%m/%d"
    ax.xaxis.set_major_formatter(DateFormatter(form, tz=zone))  # type: ignore[no-untyped-call]


def _bar(fig: Figure, graph: Graph, colours: Sequence[str], theme: _Theme) -> None:
    """One bar for the latest datapoint of each series."""
    rows = [
        (line.label, _latest(line), colour) for line, colour in zip(graph.lines, colours, strict=True) if line.series
    ]
    fitting = max(int((_pixels(fig)[1] - 60) / 16), 1)
    if not rows:
        _nothing(fig, theme)
        return
    left_out = len(rows) - fitting
    if left_out > 0:
        rows = sorted(rows, key=lambda row: -abs(row[1]))[:fitting]
    ax = _axes(fig, theme)
    ax.grid(visible=False)
    ax.spines["bottom"].set_visible(False)
    values = [value for _, value, _ in rows]
    bars = ax.barh(range(len(rows)), values, color=[colour for *_, colour in rows], height=0.7)
    ax.bar_label(bars, labels=[_number(value) for value in values], padding=4, fontsize=8, color=theme.ink)
    letters = max(int(_pixels(fig)[0] * 0.45 / _LETTER), 4)
    names = [_shortened(label, letters) for label, *_ in rows]
    ax.set_yticks(range(len(rows)), names, color=theme.ink, fontsize=8, parse_math=False)
    ax.set_ylim(len(rows) - 0.4, -0.6)
    low, high = min(0.0, *values), max(0.0, *values)
    room = (high - low or 1.0) * 0.12
    asked = graph.widget.get("yAxis", {}).get("left", {})
    ax.set_xlim(asked.get("min", low - room if low < 0 else 0.0), asked.get("max", high + room))
    ax.set_xticks([])
    if left_out > 0:
        ax.set_xlabel(f"and {left_out} more", fontsize=8, color=theme.faint)


def _pie(fig: Figure, graph: Graph, colours: Sequence[str], theme: _Theme) -> None:
    """One sector for the latest datapoint of each series; the legend has their values."""
    values = [max(_latest(line), 0.0) if line.series else 0.0 for line in graph.lines]
    if math.fsum(values) <= 0:
        _nothing(fig, theme)
        return
    ax = fig.add_subplot()
    shown = graph.widget.get("labels", {}).get("visible", True)
    ax.pie(
        values,
        colors=list(colours),
        startangle=90,
        counterclock=False,
        wedgeprops={"edgecolor": theme.paper, "linewidth": 1},
        autopct=(lambda share: f"{share:.0f}%" if share >= 4 else "") if shown else None,
        textprops={"color": "#ffffff", "fontsize": 8, "fontweight": "bold"},
    )
    labels = [f"{line.label}: {_number(value)}" for line, value in zip(graph.lines, values, strict=True)]
    _legend(fig, graph.widget, labels, colours, theme)


def _single_value(fig: Figure, graph: Graph, colours: Sequence[str], theme: _Theme) -> None:
    """The latest value of each series in large digits, and its course below it if the widget has a sparkline."""
    if not graph.lines:
        _nothing(fig, theme)
        return
    width, height = _pixels(fig)
    fig.set_layout_engine("none")
    top = 1 - (30 / height if graph.widget.get("title") else 0)
    columns = max(min(len(graph.lines), int(width / 130)), 1)
    rows = math.ceil(len(graph.lines) / columns)
    precise = graph.widget.get("singleValueFullPrecision", False)
    for place, (line, colour) in enumerate(zip(graph.lines, colours, strict=True)):
        row, column = divmod(place, columns)
        x, y, cell = column / columns, top - (row + 1) * top / rows, top / rows
        value = _latest(line) if line.series else None
        text = "--" if value is None else f"{value:,.15g}" if precise else _number(value)
        size = max(min(26.0, cell * height * 0.3, width / columns / (len(text) + 1) * 1.1), 4.0)
        left, middle = x + 12 / width, y + cell * 0.6
        below = middle - (size * 0.7 + 14) / height
        label = _shortened(line.label, max(int(width / columns / _LETTER) - 5, 1))
        fig.text(left, middle, text, fontsize=size, color=theme.ink, va="center", parse_math=False)
        fig.text(left, below, "■", fontsize=8, color=colour, va="center")
        fig.text(left + 13 / width, below, label, fontsize=8, color=theme.faint, va="center", parse_math=False)
        room = below - 14 / height - y
        if graph.widget.get("sparkline") and line.series and room * height > 8:
            ax = fig.add_axes((left, y + room * 0.1, max(1 / columns - 24 / width, 0.01), room * 0.9))
            ax.set_axis_off()
            _curves(ax, [(line, colour)])
            ax.set_xlim(graph.start / _DAY, graph.end / _DAY)


_VIEWS: dict[str, Callable[[Figure, Graph, Sequence[str], _Theme], None]] = {
    "timeSeries": _time_series,
    "bar": _bar,
    "pie": _pie,
    "singleValue": _single_value,
}


def _latest(line: Line) -> float:
    return line.series[max(line.series)]


def _nothing(fig: Figure, theme: _Theme) -> None:
    ax = fig.add_subplot()
    ax.set_axis_off()
    _no_data(ax, theme)


def _no_data(ax: Axes, theme: _Theme) -> None:
    text = "No data available.\nTry adjusting the time range."
    ax.text(0.5, 0.5, text, ha="center", va="center", color=theme.faint, fontsize=9, transform=ax.transAxes)


def _legend(
    fig: Figure, widget: Mapping[str, Any], labels: Sequence[str], colours: Sequence[str], theme: _Theme
) -> None:
    """The legend, below or to the right of the graph, as far as it takes a third of the image."""
    place = widget.get("legend", {}).get("position", "bottom")
    if place == "hidden" or not labels:
        return
    width, height = _pixels(fig)
    room = max(int((width / 3 if place == "right" else width - 30) / _LETTER) - 4, 4)
    names = [_shortened(label, min(room, 60)) for label in labels]
    columns = 1 if place == "right" else max(min(int(room / (max(map(len, names)) + 5)), len(names)), 1)
    rows = max(int((height - 60 if place == "right" else height / 3) / _LINE), 1)
    if len(names) > (most := min(columns * rows, _MAX_NAMES)):
        names = [*names[: most - 1], f"and {len(names) - most + 1} more"]
    handles = [Patch(facecolor=colour) for colour in colours[: len(names)]]
    legend = fig.legend(
        handles,
        [" "] * len(names),  # matplotlib would leave out a name that begins with _
        loc="outside right upper" if place == "right" else "outside lower left",
        ncols=columns,
        frameon=False,
        fontsize=8,
        handlelength=0.8,
        handleheight=0.8,
        columnspacing=1.4,
        labelcolor=theme.ink,
    )
    for text, name in zip(legend.get_texts(), names, strict=True):
        text.set(text=name, parse_math=False)


def _pixels(fig: Figure) -> tuple[float, float]:
    width, height = fig.get_size_inches() * _DPI
    return float(width), float(height)


def _number(value: float) -> str:
    """A value with at most three digits after the point, and K, M, G or T for thousands and more."""
    size, unit = abs(value), ""
    for unit_size, name in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e4, "K")):
        if size >= unit_size:
            value, unit = value / min(unit_size, {"K": 1e3}.get(name, unit_size)), name
            break
    if size and size < 0.001:
        return f"{value:.2g}"
    text = f"{value:,.3f}" if not unit else f"{value:,.2f}"
    return text.rstrip("0").rstrip(".") + unit


def _shortened(text: str, most: int) -> str:
    """Printable, on one line, and cut at the end if it is longer than `most` letters."""
    text = "".join(letter if letter.isprintable() else " " for letter in text)
    return text if len(text) <= most else f"{text[: max(most - 1, 0)]}…"
