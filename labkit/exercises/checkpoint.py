"""Checkpoints: what has to be true at the end of a chapter, and which cell to run if it isn't."""

from __future__ import annotations

import builtins
import dis
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from labkit.errors import LabError
from labkit.exercises.exercise import exercises
from labkit.exercises.feedback import Feedback, stop
from labkit.exercises.published import publish
from labkit.exercises.store import Progress
from labkit.show import counted
from labkit.target import Target
from labkit.workbook import chapter, chapters, defining_cell


def checkpoint(target: Target, number: str, conditions: Mapping[str, Callable[[], Any]]) -> Feedback:
    """See `Lab.checkpoint`."""
    notebook = chapter(target.settings.root, number)
    number = notebook.stem[:2]
    progress = Progress(target.settings)
    results = [(sentence, _missing(condition, notebook)) for sentence, condition in conditions.items()]
    for exercise in exercises().values():
        if exercise.chapter == number:
            todo = f'run the cell with `lab.check("{exercise.name}", ...)`'
            results.append((f"Exercise solved: {exercise.task}", "" if progress.solved(exercise.name) else todo))
    lines = [f"✗ {sentence}: {missing}" if missing else f"✓ {sentence}" for sentence, missing in results]
    missing = sum(1 for _, missing in results if missing)
    if missing:
        title = f"Chapter {number} isn't complete: {counted(missing, 'thing')} missing"
        raise stop(Feedback("wrong", title, "\n".join(lines)))
    progress.note(number, reached=True)
    publish(target, progress)
    return Feedback("right", f"Chapter {number} is done.", "\n".join(lines) + f"\n\n{_next(target, notebook)}")


def _next(target: Target, notebook: Path) -> str:
    later = [path for path in chapters(target.settings.root) if path.stem > notebook.stem]
    if not later:
        return "That was the last chapter."
    name = later[0].stem.replace("-", " ").capitalize()
    return f"Go on with [{name}]({later[0].name})."


def _missing(condition: Callable[[], Any], notebook: Path) -> str:
    """Empty if the condition holds; else what to do, or what it said."""
    try:
        if bool(condition()):
            return ""
    except NameError as error:
        where = _cell(notebook, error.name or "")
        return f"run {where}" if where else str(error)
    except LabError as error:
        return " ".join(str(error).split())
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    for name in _names(condition):  # they are set: the condition was evaluated
        if where := _cell(notebook, name):
            return f"it isn't so (yet). Look at {where}, and run it again when you have changed something"
    return "it isn't so (yet). Run this cell again when you have changed something"


def _names(condition: Callable[[], Any]) -> list[str]:
    """The notebook's variables that a condition reads, in order; attributes (`audit` in `lab.audit()`) are none."""
    code = getattr(condition, "__code__", None)
    if code is None:
        return []
    inner = [constant for constant in code.co_consts if hasattr(constant, "co_names")]
    steps = [step for one in (code, *inner) for step in dis.get_instructions(one)]
    names = [step.argval for step in steps if step.opname in ("LOAD_GLOBAL", "LOAD_NAME")]
    return [name for name in names if name not in ("lab", "pd") and not hasattr(builtins, name)]


def _cell(notebook: Path, name: str) -> str:
    """Which cell sets a variable; empty if the chapter doesn't set it."""
    found = defining_cell(notebook, name)
    if found is None:
        return ""
    heading, line = found
    return f"the cell below “{heading}” that begins with `{line.strip()}`"
