"""Says what to do, instead of a traceback, when a cell uses a name that isn't there.

A chapter's names aren't set when a kernel was restarted, a chapter is begun in the middle, or cells are run out of
order. An object of the workshop's, or a client of boto3, that lacks an attribute has one that is spelt much like it.
`labkit lab` loads it into the kernels of its JupyterLab as an extension of IPython, `Lab.connect` into any other's.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from labkit.calls import near, short_repr
from labkit.errors import LabError
from labkit.settings import workshop_root
from labkit.workbook import chapters, defining_cell

_COPY = re.compile(r"\d\d-[a-z-]+\.ipynb$")  # also of `until-2026-02-03-101112-03-default-rules.ipynb`
_FEW = 30  # names that are listed
_RUN_ABOVE = "Choose *Run*, *Run All Above Selected Cell* in the menu, then run this cell again."


def load_ipython_extension(shell: Any) -> None:
    """Makes a shell of IPython say it. Without effect if the shell treats exceptions in a way of its own already."""
    if not shell.custom_exceptions:
        shell.set_custom_exc((NameError, AttributeError), _show)
    if "rule" not in shell.magics_manager.magics["cell"]:  # `Lab.connect` brings the real one
        shell.register_magic_function(_rule, "cell", "rule")


def _rule(line: str, cell: str) -> None:
    """Checks rules as Falco would load them; once `Lab.connect` has run."""
    raise LabError("`%%rule` isn't there yet: this chapter's first cells haven't been run.", hint=_RUN_ABOVE)


def _show(shell: Any, kind: type[Exception], error: Exception, trace: Any, tb_offset: int | None = None) -> None:
    said = None
    if isinstance(error, AttributeError):
        said = None if isinstance(error, LabError) else meant(error)
    elif isinstance(error, NameError) and _in_a_cell(shell, trace):
        said = what_to_do(notebook(shell.user_ns), error.name or "", connected="lab" in shell.user_ns)
    if said is None:
        shell.showtraceback((kind, error, trace), tb_offset=tb_offset)
    else:
        shell._showtraceback(kind, error, said)


def _in_a_cell(shell: Any, trace: Any) -> bool:
    """Whether an error comes from a cell's own code, not from a function of a library."""
    while trace and trace.tb_next:
        trace = trace.tb_next
    return trace is not None and trace.tb_frame.f_globals is shell.user_ns


def meant(error: AttributeError) -> list[str] | None:
    """Two lines about an attribute that an object of the workshop's or a boto3 client lacks; None for other objects."""
    of = error.obj
    if type(of).__module__.partition(".")[0] not in ("labkit", "falcorules", "botocore"):
        return None
    has = [name for name in dir(of) if not name.startswith("_")]
    all_of_them = f"It has {', '.join(has)}."
    tab = "Type the name, a dot and Tab for all that it has."
    return [
        f"{type(of).__name__} has no {short_repr(error.name)}.",
        f"  What to do: {near(error.name, has)}{tab if len(has) > _FEW else all_of_them}",
    ]


def notebook(variables: dict[str, Any]) -> Path | None:
    """The committed chapter of the notebook that is open, by what JupyterLab or VS Code say it is; None for another."""
    opened = Path(os.environ.get("JPY_SESSION_NAME") or str(variables.get("__vsc_ipynb_file__", "")))
    copy = _COPY.search(opened.name)
    try:
        known = {path.name: path for path in chapters(workshop_root(opened.parent))}
    except LabError:
        return None
    return known.get(copy[0]) if copy else None


def what_to_do(notebook: Path | None, name: str, *, connected: bool) -> list[str] | None:
    """Two lines about a name that isn't set; None if the chapter doesn't set it either."""
    try:
        found = defining_cell(notebook, name) if notebook else None
    except (OSError, LabError):
        return None
    if found is None:
        return None
    if not connected:
        return [
            "This chapter's first cells haven't been run since the kernel was started.",
            f"  What to do: {_RUN_ABOVE}",
        ]
    heading, line = found
    where = f"the cell below “{heading}” that begins with `{line.strip()}`"
    return [
        f"`{name}` isn't set: the cell that sets it hasn't been run, or stopped before it did.",
        f"  What to do: Run {where}, then this one.",
    ]
