"""Why a chapter failed, and what to do: from what its cell printed, and what became of its kernel and its lab.

Each function returns a text for `Chapter.error`: the reason, and after "What to do:" a hint where there is one.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nbformat import NotebookNode

HINT = "What to do:"
"""What stands before the hint of an error, as in labkit's own."""
_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_EXIT = re.compile(r"returned non-zero exit status (\d+)|died with <Signals\.(\w+)")
_PLACE = re.compile(r"\((?:\d+\.py|<[^>]*>), line (\d+)\)")  # where Python's parser found an error
_LINES = 10  # of what a cell or a lab printed last


def of_error(cell: NotebookNode, name: str, value: str) -> str:
    """The reason of a cell that ended with an exception; magics that are called wrongly print it and raise none."""
    error, printed = _ANSI.sub("", f"{name}: {value}"), _stderr(cell)
    ended = _EXIT.search(error)
    if name == "CalledProcessError" and cell.source.startswith("%%") and ended:
        return _of_script(cell.source.split()[0], ended, printed)
    if name == "CellExecutionError" and not value:
        at = printed.rfind("UsageError:")
        if at >= 0:
            return _said(printed[at:].strip(), _of_magic(cell.source, printed[at:]))
        return _said(f"The cell failed without an error message.{_quoted(printed)}")
    return _PLACE.sub(r"(line \1 of the cell)", error)


def _of_script(magic: str, ended: re.Match[str], printed: str) -> str:
    how = f"ended with exit code {ended[1]}" if ended[1] else f"was ended by the signal {ended[2]}"
    hint = "Type its commands into a terminal, one by one (`labkit shell` is one with the lab's settings)."
    if ended[1] == "127":
        hint = f"There is no program of that name (exit code 127): `labkit doctor` says what the workshop needs. {hint}"
    return _said(f"The script of `{magic}` {how}.{_quoted(printed)}", hint)


def _of_magic(source: str, text: str) -> str:
    if "function `%%" in text:
        return "A magic with two percent signs must be the first line of its cell."
    if "not found" in text:
        return (
            "Correct the name of the magic (`%lsmagic` lists those there are), or load it before this cell: "
            "`Lab.connect()` brings `%%rule`."
        )
    name = re.search(r"%\w+", source)
    return f"Correct what follows the magic: `{name[0] if name else '%magic'}?` in a cell shows how it is called."


def of_kernel(cell: NotebookNode | None, log: Path) -> str:
    """The reason of a kernel that ended while it ran a cell."""
    when = "while it ran this cell" if cell is not None else "before it ran a cell"
    last = _last_lines(log)
    return _said(
        f"The kernel, the process that runs the chapter's cells, died {when}.{_quoted(last)}",
        "If the computer is out of memory, end other programs: the system kills the process that has the most. A cell "
        "must not end its own process (`os._exit`, `os.kill`).",
    )


def of_timeout(seconds: float) -> str:
    """The reason of a cell that took too long."""
    return _said(
        f"The cell was stopped: it ran for more than {seconds:g} seconds.",
        "What it had printed by then says what it was waiting for. Waits of the workshop take `timeout=`, in seconds.",
    )


def of_lab(error: str, log: Path) -> str:
    """The reason of a chapter whose lab ended meanwhile, with the error that the cell got of it."""
    last = _last_lines(log)
    ends = f" Its log, {log}, ends with:{_quoted(last)}" if last else ""
    return _said(
        f"The embedded lab ended while this cell ran.{ends}\nThe cell's own error:{_quoted(error.partition(HINT)[0])}",
        "Its process was killed (out of memory, or by `kill`), or it failed: then its log says how. A run starts a new "
        "lab.",
    )


def _said(reason: str, hint: str = "") -> str:
    return f"{reason}\n  {HINT} {hint}" if hint else reason


def _quoted(text: str) -> str:
    """The last lines of a text, indented, on lines of their own."""
    return "".join(f"\n    {line}" for line in text.strip().splitlines()[-_LINES:])


def _stderr(cell: NotebookNode) -> str:
    streams = (output for output in cell.get("outputs", ()) if output.output_type == "stream")
    return _ANSI.sub("", "".join(output.text for output in streams if output.name == "stderr"))


def _last_lines(log: Path) -> str:
    try:
        return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-_LINES:])
    except OSError:
        return ""
