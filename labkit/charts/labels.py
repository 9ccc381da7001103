"""Texts in charts whose width is known: command lines, badges, notes. Sizes are in points."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.text import Text

from labkit.charts import style
from labkit.charts.glyphs import columns, drawable, shortened

MONO = "DejaVu Sans Mono"
"""The font of command lines, which comes with matplotlib: each character is equally wide."""

SMALL = 8.0
_WIDE = 0.65  # width of a character of MONO, in ems: 0.602, and what it is rounded up by to whole pixels
_PAD = 4.0  # from a badge's text to its edge


def put(
    ax: Axes,
    x: float,
    y: float,
    text: str,
    colour: Any,
    *,
    width: float | None = None,
    size: float = SMALL,
    mono: bool = False,
    beside: Text | None = None,
    **how: Any,
) -> Text:
    """Writes a text as it is, on one line and cut in the middle to `width`.

    `x` is in data coordinates; with `beside`, points from the right end of that text, or from its left end if negative.
    """
    drawn, fonts = drawable(fitted(text, width, size, mono, how.get("weight", "normal")))
    style_of = {
        "color": colour,
        "fontsize": size,
        "fontfamily": [MONO, *fonts] if mono else fonts,
        "parse_math": False,
        "va": "center_baseline",
        **how,
    }
    if beside is None:
        label = ax.text(x, y, drawn, **style_of)
    else:
        style_of |= {"ha": "right" if x < 0 else "left", "annotation_clip": False}
        end = (0 if x < 0 else 1, y)
        coords: Any = (beside, "data")
        label = ax.annotate(drawn, end, xycoords=coords, xytext=(x, 0), textcoords="offset points", **style_of)
    label.set_in_layout(False)
    return label


def fitted(text: str, width: float | None, size: float = SMALL, mono: bool = False, weight: str = "normal") -> str:
    """The text on one line, cut in the middle so that it isn't wider than `width`."""
    text = " ".join(text.split())
    if width is None or wide(text, size, mono, weight) <= width:
        return text
    most = int(width / (_WIDE * size)) if mono else int(columns(text) * width / wide(text, size, weight=weight)) + 2
    while not mono and most > 1 and wide(shortened(text, most), size, weight=weight) > width:
        most -= 1
    return shortened(text, max(most, 1))


def wide(text: str, size: float = SMALL, mono: bool = False, weight: str = "normal") -> float:
    """How wide a text is when drawn."""
    if mono:
        return columns(drawable(text)[0]) * _WIDE * size
    return style.width_of(text, size, weight) * (1.12 if weight == "bold" else 1.0)


def badge(ax: Axes, x: float, y: float, text: str, colour: str, *, width: float | None = None) -> None:
    """Writes a text on a background, from `x` on, at most `width` wide."""
    box = {"boxstyle": f"round,pad={_PAD * 0.55 / SMALL},rounding_size=0.5", "facecolor": colour, "edgecolor": "none"}
    room = None if width is None else width - 2 * _PAD
    put(ax, x + _PAD, y, text, style.text_on(colour), width=room, bbox=box)


def badge_width(text: str) -> float:
    """How wide a badge is."""
    return wide(text) + 2 * _PAD


def same_day(first: pd.Timestamp, last: pd.Timestamp) -> bool:
    return bool(first.date() == last.date())


def spanned(first: pd.Timestamp, last: pd.Timestamp) -> str:
    """`10 March 2026, 13:07:24 to 13:44:32 UTC`."""
    day = f"{first.day} {first:%B %Y}"
    if first == last:
        return f"{day}, {first:%H:%M:%S} UTC"
    if same_day(first, last):
        return f"{day}, {first:%H:%M:%S} to {last:%H:%M:%S} UTC"
    return f"{day}, {first:%H:%M} to {last.day} {last:%B %Y}, {last:%H:%M} UTC"
