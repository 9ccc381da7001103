"""The look of all charts, and how they are displayed: colours for dark and light, title, legend, axes.

A new figure is a dark card, which neither glares on JupyterLab's dark theme nor vanishes on its light one. (A
transparent one can't do both: no text colour has a contrast of 4.5:1 on white and on #111.) Drawn into given axes, a
chart takes the colours that suit their background.

pyplot isn't used: a chart is displayed once, and nothing has to be closed.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from labkit.errors import LabError

try:
    import matplotlib  # noqa: F401
except ModuleNotFoundError as error:
    raise LabError(
        "Charts need matplotlib, which isn't installed.",
        hint="pip install 'labkit[notebooks]'. The numbers are there without it: df.falco.summary().",
    ) from error

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_rgb, to_rgba
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator
from matplotlib.transforms import ScaledTranslation, blended_transform_factory

from falcorules import markup
from labkit.calls import short_repr
from labkit.charts.data import NO_PRIORITY
from labkit.charts.glyphs import OWN, drawable, shortened

WIDTH = 9.0
"""Inches. A notebook shows 96 pixels for each."""

_LEFT = 0.014  # where title and legend start: a fraction of the figure
_TITLE, _DETAIL, _SMALL = 12.5, 9.5, 9.0  # points
_LEGEND_ROW = 15.0  # points


@dataclass(frozen=True)
class Look:
    """Colours. Texts have a contrast of at least 4.5:1 to the background, marks of at least 3:1 or an edge."""

    background: str
    ink: str
    """Text."""
    faint: str
    """Text that matters less, and axes."""
    grid: str
    accent: str
    """Marks that don't stand for a priority."""
    muted: str
    """Marks that are compared with those in `accent`."""
    edge: str
    """Around marks that touch one another."""
    priorities: Mapping[str, str]
    scale: tuple[str, ...]
    """From few to many."""

    def map(self) -> LinearSegmentedColormap:
        """The colours of `scale` as a colour map: its lightness tells more from less."""
        return LinearSegmentedColormap.from_list("alerts", self.scale)


DARK = Look(
    background="#1f2731",
    ink="#e8ecf2",
    faint="#aab4c1",
    grid="#364150",
    accent="#5aa9e6",
    muted="#78828f",
    edge="#1f2731",
    priorities={
        NO_PRIORITY: "#9a8a5f",
        "Debug": "#78828f",
        "Informational": "#4f94c9",
        "Notice": "#9bd3f7",
        "Warning": "#f4c33f",
        "Error": "#ef7f2a",
        "Critical": "#e8436b",
        "Alert": "#c57bf0",
        "Emergency": "#ffffff",
    },
    scale=("#2f4a68", "#3a7ca5", "#58b4ae", "#b5d66b", "#fff3a0"),
)
LIGHT = Look(
    background="#ffffff",
    ink="#222b36",
    faint="#5d6875",
    grid="#e3e7ec",
    accent="#3f6fa8",
    muted="#98a2ae",
    edge="#ffffff",
    priorities={NO_PRIORITY: "#c8bb96"} | {name: back for name, (back, _) in markup.PRIORITY_COLOURS.items()},
    scale=("#e3eef7", "#a9d0e6", "#5a9fce", "#2a6aa8", "#0c2f66"),
)


class Chart(Figure):
    """A figure that shows itself in a notebook whether or not pyplot's inline mode is on."""

    def _repr_png_(self) -> tuple[bytes, dict[str, Any]]:
        from PIL import Image

        drawn, png = io.BytesIO(), io.BytesIO()
        self.savefig(drawn, format="png", dpi=2 * 96, metadata={"Software": None}, pil_kwargs={"compress_level": 1})
        # A chart has few colours. By numbers of them, it takes a third of the space in a notebook.
        Image.open(drawn).convert("RGB").quantize(256, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).save(
            png, "PNG"
        )
        width, height = self.get_size_inches() * 96
        return png.getvalue(), {"width": int(width), "height": int(height)}


class ChartAxes(Axes):
    """Axes of a `Chart`. Displayed, they show their figure: nothing else does."""

    def _repr_png_(self) -> tuple[bytes, dict[str, Any]] | None:
        return self.figure._repr_png_() if isinstance(self.figure, Chart) else None

    def __repr__(self) -> str:
        return f"<Chart: {self.get_title(loc='left')}>"


def axes(ax: Axes | None, figsize: Sequence[float] | None, height: float, width: float = WIDTH) -> Axes:
    """Axes to draw in: `ax`, if it is given, else those of a new figure of `figsize` (or `width` and `height`) inches.

    A given figure without a layout gets matplotlib's constrained one: names beside an axis need room. Raises `LabError`
    if `ax` or `figsize` aren't what they have to be.
    """
    if ax is not None:
        _check(ax)
        whole = ax.figure.figure  # of a subfigure the figure
        if whole.get_layout_engine() is None:
            whole.set_layout_engine(ConstrainedLayoutEngine())
    else:
        size = _size(figsize) if figsize is not None else (width, height)
        layout = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.1)
        figure = Chart(figsize=size, layout=layout, facecolor=DARK.background)
        ax = figure.add_subplot(axes_class=ChartAxes)
        ax.set_facecolor("none")
    colours = look(ax)
    for side in ("top", "right", "left"):
        ax.spines[side].set_visible(False)
    ax.spines["bottom"].set_color(colours.faint)
    ax.tick_params(colors=colours.ink, labelsize=_SMALL, length=0, pad=7)
    for axis in (ax.xaxis, ax.yaxis):
        axis.label.set(color=colours.faint, size=_SMALL, fontfamily=OWN)
    ax.set_axisbelow(True)
    return ax


def _check(ax: object) -> None:
    if not isinstance(ax, Axes):
        hint = "It has to be matplotlib's Axes, such as `fig, ax = plt.subplots()` gives."
        raise LabError(f"ax is {short_repr(ax)}.", hint=hint)
    if ax.figure is None:
        raise LabError("ax is in no figure any longer.", hint="Make new ones: `fig, ax = plt.subplots()`.")


def _size(figsize: object) -> tuple[float, float]:
    try:
        width, height = (float(side) for side in figsize)  # type: ignore[attr-defined]
        if 1 <= width <= 100 and 1 <= height <= 100:
            return width, height
    except (TypeError, ValueError):
        pass
    hint = "It has to be width and height in inches, from 1 to 100, such as (9, 4)."
    raise LabError(f"figsize is {short_repr(figsize)}.", hint=hint)


def look(ax: Axes) -> Look:
    """The colours that suit what is behind the axes."""
    shade: tuple[float, ...] = to_rgb("white")
    for colour in (ax.figure.figure.get_facecolor(), ax.figure.get_facecolor(), ax.get_facecolor()):
        *rgb, alpha = to_rgba(colour)
        shade = tuple(alpha * top + (1 - alpha) * below for top, below in zip(rgb, shade, strict=True))
    return DARK if luminance(shade) < 0.18 else LIGHT


def luminance(colour: Any) -> float:
    """Relative luminance, from 0 to 1, as WCAG defines it."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: Any, other: Any) -> float:
    """Contrast of two colours, from 1 to 21, as WCAG defines it."""
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def text_on(colour: Any) -> str:
    """Dark or light text, whichever is read better on a colour."""
    return max("#000000", "#ffffff", key=lambda text: contrast(text, colour))


def _place(ax: Axes) -> tuple[float, float] | None:
    """Where the axes' columns of a grid start and how wide they are: fractions of the figure. None in no grid."""
    place = ax.get_subplotspec()
    if place is None or place.get_topmost_subplotspec() is not place:
        return None
    widths = np.cumsum([0.0, *place.get_gridspec().get_width_ratios()])  # type: ignore[misc]
    start, end = widths[[place.colspan.start, place.colspan.stop]] / widths[-1]
    return float(start), float(end - start)


def room(ax: Axes) -> float:
    """How wide the place of the axes is in its figure, with what is written beside them, in points."""
    place = _place(ax)
    return float(ax.figure.bbox.width / ax.figure.dpi * 72 * (place[1] if place else ax.get_position().width))


def height(ax: Axes) -> float:
    """About how high the axes themselves are, without title, legend and what is below them, in points."""
    place = ax.get_subplotspec()
    share = ax.get_position().height + 0.2
    if place is not None:
        share = (place.rowspan.stop - place.rowspan.start) / place.get_gridspec().nrows
    return max(float(ax.figure.bbox.height / ax.figure.dpi * 72 * share) - 100, 40.0)


def given(ax: Axes | None, figsize: Sequence[float] | None) -> tuple[float, float] | None:
    """Width and height, in points, of what is given to draw in, as `room` and `height` tell it; None if nothing is."""
    if ax is not None:
        _check(ax)
        return room(ax), height(ax)
    if figsize is None:
        return None
    across, high = _size(figsize)
    return across * 72, max(high * 72 - 100, 40.0)


def fitting(n: int, ax: Axes | None, figsize: Sequence[float] | None, each: float = 11.0) -> int:
    """How many of `n` rows, `each` points high, fit the axes or the figure that are given; else all."""
    place = given(ax, figsize)
    return n if place is None else min(n, max(1, int(place[1] / each)))


def size(ax: Axes, n: int) -> float:
    """The size of texts in `n` rows, in points."""
    return min(_SMALL, max(4.0, 0.8 * height(ax) / max(n, 1)))


def header(ax: Axes, title: str, detail: str, legend: Iterable[tuple[str, Any]] = ()) -> None:
    """Title, a line of detail and a legend (`(label, colour or handle)`, in its order) above the axes.

    They are above the marks, where they cover none, and start at the left of the axes' place in the figure.
    """
    figure, colours, place = ax.figure, look(ax), _place(ax)
    x = ax.transAxes if place is None else blended_transform_factory(figure.transSubfigure, ax.transAxes)
    left = 0.0 if place is None else place[0] + _LEFT
    width = room(ax) - 2 * _LEFT * figure.bbox.width / figure.dpi * 72
    detail, fonts = drawable(detail)
    lines = textwrap.wrap(detail, max(20, int(width / (0.53 * _DETAIL))))
    handles = [c if hasattr(c, "get_label") else Patch(facecolor=c, label=label) for label, c in legend]
    longest = max((width_of(str(handle.get_label())) for handle in handles), default=0)
    across = max(1, min(len(handles), int(width / (longest + 3 * _SMALL))))
    across = -(-len(handles) // -(-len(handles) // across)) if handles else 1  # as many in each row
    height = 9.0
    if handles:
        box = ax.legend(
            handles=handles,
            loc="lower left",
            bbox_to_anchor=(left, 1.0),
            bbox_transform=x + ScaledTranslation(0, height / 72, figure.dpi_scale_trans),
            ncols=across,
            frameon=False,
            borderaxespad=0,
            borderpad=0,
            handlelength=1.1,
            handleheight=0.9,
            columnspacing=1.4,
            handletextpad=0.5,
            prop={"family": OWN, "size": _SMALL},
            labelcolor=colours.ink,
        )
        box.set_in_layout(False)
        height += -(-len(handles) // across) * _LEGEND_ROW + 3
    said = ax.annotate(
        "\n".join(lines),
        (left, 1),
        xycoords=x,
        xytext=(0, height),
        textcoords="offset points",
        va="bottom",
        color=colours.faint,
        annotation_clip=False,
        fontsize=_DETAIL,
        fontfamily=fonts,
        parse_math=False,
        linespacing=1.3,
    )
    said.set_in_layout(False)
    height += len(lines) * _DETAIL * 1.35 + 4
    text = ax.set_title(
        "\n".join(textwrap.wrap(title, max(20, int(width / (0.7 * _TITLE))))),
        loc="left",
        pad=height,
        fontsize=_TITLE,
        fontweight="bold",
        color=colours.ink,
        fontfamily=OWN,
        parse_math=False,
    )
    text.set_transform(x + ax.titleOffsetTrans)  # type: ignore[attr-defined]
    text.set_x(left)


def nothing(title: str, ax: Axes | None, figsize: Sequence[float] | None, text: str = "No alerts") -> Axes:
    """A chart of nothing, which says so."""
    ax = axes(ax, figsize, 2.0)
    ax.set_axis_off()
    ax.set(xticks=[], yticks=[])
    ax.text(
        *(0.5, 0.5, f"{text} in this selection"),
        ha="center",
        va="center",
        color=look(ax).faint,
        transform=ax.transAxes,
        fontsize=_DETAIL + 0.5,
        fontfamily=OWN,
    )
    header(ax, title, text.lower())
    return ax


def rows(ax: Axes, labels: Iterable[str], *, share: float = 0.42) -> None:
    """Names as rows, the first one at the top, cut to a share of the axes' place; the axis of counts below."""
    colours = look(ax)
    names = list(labels)
    named(
        ax.yaxis,
        range(len(names)),
        names,
        max(12, int(share * room(ax) / (0.6 * _SMALL))),
        fontsize=size(ax, len(names)),
    )
    ax.set_ylim(len(names) - 0.4, -0.6)
    ax.spines["left"].set_visible(True)
    ax.spines["left"].set_color(colours.faint)
    ax.spines["bottom"].set_visible(False)
    count_axis(ax.xaxis, int(room(ax) / 100))
    ax.grid(axis="x", color=colours.grid, linewidth=0.8)


def named(axis: Any, places: Iterable[float], names: Iterable[str], width: int = 52, **style: Any) -> None:
    """Ticks with names of at most `width` columns."""
    texts = [drawable(name) for name in names]
    # A name is text: matplotlib would take what is between two $ for a formula.
    axis.set_ticks(list(places), [shortened(text, width) for text, _ in texts], parse_math=False, **style)
    for label, (_, fonts) in zip(axis.get_ticklabels(), texts, strict=True):
        label.set_fontfamily(fonts)


def count_axis(axis: Any, most: int = 6) -> None:
    """Whole numbers, with a comma at thousands, at most 6 of them."""
    axis.set_major_locator(MaxNLocator(nbins=max(1, min(most, 6)), integer=True, min_n_ticks=1))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))


@lru_cache(maxsize=4096)
def width_of(text: str, size: float = _SMALL, weight: str = "normal") -> float:
    """How wide a text is when drawn, in points."""
    drawn, fonts = drawable(text)
    figure = Figure((0.1, 0.1), dpi=720)  # at few dots per inch, each letter is rounded to whole ones
    shown = figure.text(0, 0, drawn, fontsize=size, fontweight=weight, fontfamily=fonts, parse_math=False)
    return float(shown.get_window_extent().width) / 10
