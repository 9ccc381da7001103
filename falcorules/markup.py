"""HTML for notebooks and exported pages: badges, tables and colours that read well on light and on dark.

Colours of text are mixed with the page's own text colour, so that they follow its theme; badges bring their background.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence

PRIORITY_COLOURS = {
    "Debug": ("#dadee3", "#141414"),
    "Informational": ("#8cbfe0", "#141414"),
    "Notice": ("#4a8cc7", "#141414"),
    "Warning": ("#f2a93b", "#141414"),
    "Error": ("#d9601a", "#141414"),
    "Critical": ("#a5133b", "#ffffff"),
    "Alert": ("#5e1a6e", "#ffffff"),
    "Emergency": ("#141414", "#ffffff"),
}
"""Background and text of each priority: grey and blues, then amber to purple and black. Each is darker than the one
before, so that they stay apart for colour-blind readers and in print."""

TONES = {
    "good": ("#1b7a3d", "#ffffff"),
    "bad": ("#b3261e", "#ffffff"),
    "warning": ("#8a5a00", "#ffffff"),
    "plain": ("#5b6570", "#ffffff"),
}
"""Background and text of a badge that says how something went."""

GOOD = "color:color-mix(in srgb, #1b8f43 58%, currentColor)"
BAD = "color:color-mix(in srgb, #e0342b 58%, currentColor)"
WARNING = "color:color-mix(in srgb, #b87800 58%, currentColor)"
FAINT = "color:color-mix(in srgb, currentColor 75%, transparent)"
LINE = "1px solid color-mix(in srgb, currentColor 25%, transparent)"
WRAPPED = "white-space:pre-wrap;word-break:normal;overflow-wrap:anywhere"
"""Spaces are kept, and a long line is broken between words. (JupyterLab breaks a `pre` wherever the line ends.)"""
MONO = "font-family:var(--jp-code-font-family, monospace);font-size:0.92em"

_SHORT = 32  # characters of a column that is kept on one line
_LONG_WORD = 24


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


def escaped(text: str) -> Html:
    """Text as HTML; `Html` unchanged."""
    return text if isinstance(text, Html) else Html(html.escape(text))


def styled(text: str, style: str, tag: str = "span") -> Html:
    """An element with a text (or HTML) in it."""
    return Html(f'<{tag} style="{style}">{escaped(text)}</{tag}>')


def with_code(text: str) -> Html:
    """Text as HTML; what stands between backquotes is code."""
    return Html(re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(text)))


def badge(text: str, colours: tuple[str, str]) -> Html:
    """A word on a background."""
    background, colour = colours
    style = (
        f"display:inline-block;padding:0 0.55em;border-radius:0.8em;border:{LINE};font-weight:600;white-space:nowrap"
    )
    return styled(text, f"{style};background:{background};color:{colour}")


def priority_badge(priority: str) -> Html:
    """A priority as a badge in its colour."""
    return badge(priority, PRIORITY_COLOURS.get(priority, TONES["plain"]))


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Html:
    """A table that is never wider than the page: short columns keep their lines, long words are broken."""
    rows = [list(row) for row in rows]
    short = [max((len(row[i]) for row in rows), default=0) <= _SHORT for i in range(len(columns))]
    left = "text-align:left;vertical-align:top"

    def cell(text: str, short: bool) -> str:
        if isinstance(text, Html):
            return styled(text, f"{left};white-space:normal", "td")
        wrap = "nowrap" if short else "pre-wrap" if "\n" in text else "normal"
        long_word = max(map(len, text.split()), default=0) > _LONG_WORD and not short
        return styled(text, f"{left};white-space:{wrap}{';overflow-wrap:anywhere' * long_word}", "td")

    head = "".join(styled(name, left, "th") for name in columns)
    body = "".join(f"<tr>{''.join(map(cell, row, short))}</tr>" for row in rows)
    # JupyterLab takes what is between two dollars for a formula; shells have dollars, too.
    plain = ' class="mathjax_ignore"' if any("$" in cell for row in rows for cell in row) else ""
    return Html(
        f'<table{plain} style="margin-left:0;max-width:100%;table-layout:auto"><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table>"
    )


def pairs(rows: Iterable[tuple[str, str]]) -> Html:
    """Names and their values side by side. A page that drops styles, as GitHub does, shows them so, too."""
    name = f"{FAINT};text-align:left;vertical-align:top;padding:0 1em 0.15em 0;white-space:normal"
    value = "text-align:left;vertical-align:top;padding:0 0 0.15em 0;width:100%;overflow-wrap:anywhere"
    lines = (f"<tr style='background:none'>{styled(n, name, 'td')}{styled(v, value, 'td')}</tr>" for n, v in rows)
    shape = "margin:0;table-layout:auto;font-size:1em;border-collapse:collapse;width:100%"
    return Html(f"<table style='{shape}'><tbody>{''.join(lines)}</tbody></table>")


def code(content: str, style: str = "") -> Html:
    """Lines of code, or HTML of them: spaces are kept, long lines are wrapped."""
    keep = f"{MONO};line-height:1.45;{WRAPPED};margin:0.2em 0;text-align:left"
    return styled(content, f"{keep};{style}", "pre")


def box(content: str, edge: str) -> Html:
    """A frame with a coloured edge at its left, around HTML."""
    shape = f"border:{LINE};border-left:0.4em solid {edge};border-radius:4px;padding:0.6em 0.9em;margin:0.2em 0"
    return styled(Html(content), f"{shape};box-sizing:border-box;max-width:100%;text-align:left", "div")
