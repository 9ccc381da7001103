"""Tables and commands as text in a terminal and as HTML or Markdown in a notebook."""

from __future__ import annotations

import html
import itertools
import os
import re
import sys
import textwrap
from abc import ABC, abstractmethod
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from falcorules import markup


def counted(count: int, noun: str) -> str:
    """`1 event`, `2 events`, `1,000 events`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def terminal_width() -> int | None:
    """Columns of the terminal that output goes to; None if it goes elsewhere."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):
            if stream.isatty():
                return max(os.get_terminal_size(stream.fileno()).columns, 40)
    return None


def _narrowed(widths: list[int], room: int, least: list[int]) -> list[int]:
    """Widths that fit into `room` together: the widest columns give way, as far as `least` if that is enough."""
    for floor in (least, [0] * len(widths)):
        limit = max(widths, default=0)
        while limit > 8 and sum(max(min(width, limit), low) for width, low in zip(widths, floor, strict=True)) > room:
            limit -= 1
        widths = [max(min(width, limit), low) for width, low in zip(widths, floor, strict=True)]
    return widths


def _lines(cell: str, width: int) -> list[str]:
    return textwrap.wrap(cell, max(width, 1), break_on_hyphens=False) or [""]


@dataclass(frozen=True)
class Table:
    """A title, column names and rows of text. The same input always gives the same output."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def __repr__(self) -> str:
        """As text; in a terminal not wider than that. (A notebook's text is as wide as it takes.)"""
        return self.text(terminal_width())

    def text(self, width: int | None = None) -> str:
        """The title and a line for each row; at most `width` wide, for which cells are broken into lines."""
        widths = [max((len(row[i]) for row in self.rows), default=0) for i in range(len(self.columns))]
        if width is not None:
            words = [max((len(w) for row in self.rows for w in row[i].split()), default=0) for i in range(len(widths))]
            widths = _narrowed(widths, width - 2 * len(widths), least=words)
        lines = []
        for row in self.rows:
            cells = [
                _lines(cell, most) if width is not None else [cell] for cell, most in zip(row, widths, strict=True)
            ]
            for parts in itertools.zip_longest(*cells, fillvalue=""):
                line = "  ".join(part.ljust(most) for part, most in zip(parts, widths, strict=True))
                lines.append(f"  {line}".rstrip())
        return "\n".join([self.title, *lines])

    def _repr_html_(self) -> str:
        """States and priorities as badges; columns without a value are left out."""
        title = f"<b>{html.escape(self.title)}</b>"
        used = [i for i in range(len(self.columns)) if any(row[i] for row in self.rows)]
        columns = [self.columns[i] for i in used]
        rows = [[_cell(self.columns[i], row[i]) for i in used] for row in self.rows]
        return title + (markup.table(columns, rows) if rows else "")


# Columns whose words are shown as badges, and how each word is meant; `NOT as expected: why` has the rest beside it.
_STATES = ("state", "action", "result", "phase")
_TONES = {
    "good": (
        *("applied", "ready", "ok", "made", "solved", "reached", "created", "updated", "removed", "imported"),
        *("as expected", "Running", "Succeeded"),
    ),
    "warning": ("partly", "not ready", "warning", "interrupted", "kept", "no finding", "Pending", "Terminating"),
    "bad": (
        *("failed", "blocker", "left", "lost", "NOT as expected"),
        *("Failed", "CrashLoopBackOff", "ImagePullBackOff", "ErrImagePull"),
    ),
    "plain": ("absent", "unchanged", "to do", "will be made"),
}
_TONE_OF = {word: tone for tone, words in _TONES.items() for word in words}


def _cell(column: str, cell: str) -> str:
    if column == "priority":
        return markup.priority_badge(cell) if cell in markup.PRIORITY_COLOURS else cell
    if column not in _STATES:
        return cell
    word = re.split("[:,]", cell, maxsplit=1)[0]
    if word not in _TONE_OF:
        return cell
    rest = cell.removeprefix(word).removeprefix(":")
    return markup.Html(markup.badge(word, markup.TONES[_TONE_OF[word]]) + markup.escaped(rest))


class AsTable(ABC):
    """A result that is shown as the table that `_table` returns."""

    @abstractmethod
    def _table(self) -> Table: ...

    def __repr__(self) -> str:
        return repr(self._table())

    def _repr_html_(self) -> str:
        return self._table()._repr_html_()


class Cli(str):
    """Shell commands. Printed they are the commands; at the end of a cell, a block in colour to copy."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        from labkit.source import Source

        return Source(str(self), "bash")._repr_html_()


def in_notebook() -> bool:
    shell = sys.modules.get("IPython")
    return shell is not None and shell.get_ipython() is not None


def _kernel() -> Any:
    """The kernel of a notebook; None elsewhere, also in IPython at a terminal."""
    return getattr(sys.modules["IPython"].get_ipython(), "kernel", None) if in_notebook() else None


def watched() -> bool:
    """Whether a person sees what is shown only for a while: at a terminal, or in a notebook that is open.

    A notebook that a program executes (papermill, nbconvert, nbval) would keep it.
    """
    kernel = _kernel()
    if kernel is None:
        return bool(sys.stderr and sys.stderr.isatty())
    # JupyterLab, Notebook and VS Code say which cell it is that they execute.
    return "cellId" in kernel.get_parent().get("metadata", {})


def execution() -> str:
    """Which execution of a cell this is; empty outside of a notebook."""
    kernel = _kernel()
    return str(kernel.get_parent().get("header", {}).get("msg_id", "")) if kernel else ""


class Output:
    """An output of a notebook's cell that can be replaced."""

    def __init__(self) -> None:
        self._handle: Any = None

    def show(self, shown: Any) -> None:
        """Shows an object, or a dict of texts by MIME type."""
        from IPython.display import DisplayHandle

        raw = isinstance(shown, dict)
        if self._handle is None:
            self._handle = DisplayHandle()  # type: ignore[no-untyped-call]
            self._handle.display(shown, raw=raw)
        else:
            self._handle.update(shown, raw=raw)


class Live:
    """One line that is written over and taken away at the end: in a notebook an output, elsewhere on stderr."""

    def __init__(self) -> None:
        self.execution = execution()
        self._width = 0
        self._output = Output()

    def show(self, text: str) -> None:
        if in_notebook():
            shown = markup.styled(text, f"{markup.FAINT};{markup.MONO}")
            self._output.show({"text/plain": text, "text/html": shown})
            return
        columns = (terminal_width() or 80) - 1
        text = text if len(text) <= columns else f"{text[: columns - 1]}…"
        print("\r" + text.ljust(self._width), end="", file=sys.stderr, flush=True)
        self._width = len(text)

    def clear(self) -> None:
        if in_notebook():
            self._output.show({"text/plain": ""})
        elif self._width:
            print("\r" + " " * self._width + "\r", end="", file=sys.stderr, flush=True)
            self._width = 0


def say(text: str) -> None:
    """Prints a message: in a notebook below the cell, elsewhere on standard error."""
    if in_notebook():
        print(text, flush=True)
        return
    wipe = "\r\033[K" if sys.stderr and sys.stderr.isatty() else ""  # a line that says what is waited for
    print(f"{wipe}{text}", file=sys.stderr, flush=True)
