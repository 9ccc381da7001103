"""Exercises: registered by `@exercise`, checked by `check`, helped with by `hint`."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from labkit.calls import near, short_repr
from labkit.errors import LabError
from labkit.exercises.feedback import Feedback, stop
from labkit.exercises.published import publish
from labkit.exercises.store import Progress
from labkit.target import Target
from labkit.workbook import chapter, solution

MODULES = tuple(f"labkit.exercises.chapter{number:02}" for number in range(9))

_registered: dict[str, Exercise] = {}


class Wrong(Exception):
    """An answer isn't right. The message says what about it, without giving the answer away."""


def keyed(answer: Any, keys: Collection[str]) -> None:
    """Raises `Wrong` unless an answer is a mapping with these keys and no others."""
    if not isinstance(answer, Mapping):
        raise Wrong(
            f"It has to be a dict, as the cell above began with: {{{', '.join(f'{key!r}: ...' for key in keys)}}}. "
            f"It is `{short_repr(answer)}`."
        )
    for key in answer:
        if key not in keys:
            name = key if isinstance(key, str) else short_repr(key)
            raise Wrong(f"Nothing was asked of `{name}`. {near(key, keys)}The keys are: {', '.join(keys)}.")
    if missing := [key for key in keys if key not in answer]:
        raise Wrong(f"It says nothing of {', '.join(f'`{key}`' for key in missing)}.")


@dataclass(frozen=True)
class Exercise:
    """An exercise of a chapter. `name` begins with the chapter's number: `03-quiet-commands`."""

    name: str
    task: str
    """What to do, in one line."""
    hints: tuple[str, str]
    """A first hint, and one that says more; neither is the answer."""
    check: Callable[..., str]
    """Takes the target and the answers; returns what to tell of a right answer, raises `Wrong` for another."""

    @property
    def chapter(self) -> str:
        return self.name[:2]


def exercise(name: str, task: str, *, hints: tuple[str, str]) -> Callable[[Callable[..., str]], Callable[..., str]]:
    """Registers the decorated function as the check of an exercise."""

    def register(check: Callable[..., str]) -> Callable[..., str]:
        _registered[name] = Exercise(name, task, hints, check)
        return check

    return register


@functools.cache
def exercises() -> Mapping[str, Exercise]:
    """All exercises by name, in the chapters' order."""
    for module in MODULES:
        importlib.import_module(module)
    return dict(sorted(_registered.items(), key=lambda item: item[0][:2]))


def find(name: str) -> Exercise:
    """Raises `LabError` with similar names if there is no such exercise."""
    known = exercises()
    if name in known:
        return known[name]
    of_chapter = [one for one in known if str(name).strip().zfill(2) == one[:2]]
    hint = f"{near(name, known) if not of_chapter else ''}There are: {', '.join(of_chapter or known)}."
    raise LabError(f"There is no exercise {short_repr(name)}.", hint=hint)


def check(target: Target, name: str, *answers: Any) -> Feedback:
    """See `Lab.check`."""
    exercise = find(name)
    progress = Progress(target.settings)
    if any(map(_untouched, answers)):
        todo = f"Fill in what is `...` in the cell above, run it, and then this one.{_blank(answers)}"
        raise stop(Feedback("your turn", f"Your turn: {exercise.task}", todo), hint=_help(progress, name))
    try:
        said = exercise.check(target, *answers)
    except Wrong as wrong:
        progress.count(name, "wrong")
        publish(target, progress)
        raise stop(Feedback("wrong", f"Not yet: {exercise.task}", str(wrong)), hint=_help(progress, name)) from None
    except (TypeError, ValueError, AttributeError, KeyError, IndexError) as error:
        given = ", ".join(map(short_repr, answers))
        form = f"The answer doesn't have the form that the cell above began with; it is `{given}`."
        if not answers:
            form = f'The answer is missing: `lab.check("{name}", ...)`, with yours in place of `...`.'
        raise stop(Feedback("wrong", f"Not yet: {exercise.task}", form), hint=_help(progress, name)) from error
    except LabError as error:  # the lab couldn't try it: no verdict on the answer
        said = f"It couldn't be checked. {error.message}"
        raise stop(Feedback("wrong", f"Not yet: {exercise.task}", said), hint=error.hint) from error
    progress.note(name, solved=True)
    publish(target, progress)
    return Feedback("right", f"Right: {exercise.task}", said)


def hint(target: Target, name: str) -> Feedback:
    """See `Lab.hint`."""
    exercise = find(name)
    taken = Progress(target.settings).count(name, "hints", most=len(exercise.hints) + 1)
    if taken <= len(exercise.hints):
        title = f"Hint {taken} of {len(exercise.hints)}: {exercise.task}"
        return Feedback("hint", title, exercise.hints[taken - 1])
    code = solution(chapter(target.settings.root, exercise.chapter), f'lab.check("{name}"')
    return Feedback("solution", f"A solution: {exercise.task}", "Others may be right, too.", code)


def _help(progress: Progress, name: str) -> str:
    """What to do when stuck: the next hint, or the solution if there are no more."""
    taken = progress.hints(name)
    words = ("for a hint", "for another hint")[taken] if taken < 2 else "for a solution"
    return f'Change your answer and run it again, or run `lab.hint("{name}")` {words}.'


def _blank(answers: Iterable[Any]) -> str:
    """Which keys have no answer yet, if others have one."""
    for answer in answers:
        if isinstance(answer, Mapping):
            blank = [f"`{key}`" for key, value in answer.items() if _untouched(value)]
            if 0 < len(blank) < len(answer):
                return f" Nothing stands at {', '.join(blank)} yet."
    return ""


def _untouched(answer: Any) -> bool:
    """Whether an answer is, or holds, the `...` that a chapter's cell begins with."""
    if answer is ... or answer is None or getattr(answer, "untouched", None) is True:
        return True
    if isinstance(answer, str):
        return answer.strip() in ("", "...")
    if isinstance(answer, Mapping):
        return not answer or any(map(_untouched, answer.values()))
    if isinstance(answer, list | tuple | set | frozenset):
        return not answer or any(map(_untouched, answer))
    return False
