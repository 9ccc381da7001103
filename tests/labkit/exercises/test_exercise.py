"""Checks, hints, checkpoints and progress, on exercises of the tests' own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from labkit import exercises
from labkit.errors import LabError
from labkit.exercises import NotYet, Progress, Wrong, exercise
from labkit.settings import Settings
from labkit.target import Target

NAME = "01-sum"


@pytest.fixture
def target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Target]:
    """A workshop of two chapters, the first of which has an exercise; nothing else of a target is used."""

    def check(target: Target, answer: Any) -> str:
        if answer + 1 != 3:
            raise Wrong("It is `a` number, but another.")
        return "Well <done>."

    one = exercise.Exercise(NAME, "A sum", ("first hint", "second hint"), check)
    monkeypatch.setattr(exercise, "MODULES", ())
    monkeypatch.setattr(exercise, "_registered", {NAME: one})
    exercise.exercises.cache_clear()
    monkeypatch.delenv("LABKIT_PROGRESS", raising=False)
    solution = new_code_cell("answer = 2", metadata={"tags": ["solution"]})
    cells = [
        new_markdown_cell("# Sums\n\n## Add"),
        new_code_cell("answer = ..."),
        solution,
        new_code_cell(f'lab.check("{NAME}", answer)'),
        new_code_cell("%%time\nignored"),
        new_markdown_cell("## Count\n\ntext"),
        new_code_cell("# counted\ncounted = 1"),
    ]
    (tmp_path / "notebooks").mkdir()
    nbformat.write(new_notebook(cells=cells), tmp_path / "notebooks" / "01-sums.ipynb")
    nbformat.write(new_notebook(cells=cells[:1]), tmp_path / "notebooks" / "02-later-on.ipynb")
    settings = Settings.load(environ={}, root=tmp_path, home=tmp_path / ".labkit")
    yield Target(settings, *cast(Any, [None] * 5))
    exercise.exercises.cache_clear()


@pytest.mark.parametrize("answer", [..., None, "", " ... ", [], [1, ...], {"a": ...}, ("a", [...])])
def test_an_untouched_answer_is_the_attendees_turn(target: Target, answer: Any) -> None:
    with pytest.raises(NotYet) as caught:
        exercises.check(target, NAME, answer)
    assert caught.value.feedback.verdict == "your turn"
    assert Progress(target.settings).path.exists() is False  # that was no try


def test_a_wrong_answer_is_told_why_and_how_to_get_help(target: Target) -> None:
    with pytest.raises(NotYet, match="It is `a` number, but another") as caught:
        exercises.check(target, NAME, 1)
    assert f'lab.hint("{NAME}")` for a hint' in str(caught.value)
    assert caught.value._render_traceback_() == ["Not yet: the cells below wait for this one."]
    assert not Progress(target.settings).solved(NAME)


@pytest.mark.parametrize("answer", ["text", {"a": 1}, object()])
def test_an_answer_of_another_form_is_no_traceback(target: Target, answer: Any) -> None:
    with pytest.raises(NotYet, match="doesn't have the form"):
        exercises.check(target, NAME, answer)


def test_a_right_answer_is_kept(target: Target) -> None:
    feedback = exercises.check(target, NAME, 2)
    assert feedback.right
    assert "Well <done>." in repr(feedback)
    assert "Well &lt;done&gt;." in feedback._repr_html_()
    assert Progress(target.settings).solved(NAME)
    with pytest.raises(NotYet, match="but another"):
        exercises.check(target, NAME, 5)
    assert Progress(target.settings).solved(NAME)  # solved once


def test_hints_come_one_after_the_other_and_the_solution_last(target: Target) -> None:
    told = [exercises.hint(target, NAME) for _ in range(4)]
    assert [one.text for one in told[:2]] == ["first hint", "second hint"]
    assert [one.code for one in told] == ["", "", "answer = 2", "answer = 2"]
    assert exercises.table(target.settings).rows[0] == ("01-sums", "A sum", "to do, 2 hints and the solution")
    assert Progress(target.settings).hints(NAME) == 3
    with pytest.raises(NotYet, match="for a solution"):
        exercises.check(target, NAME, 1)


def test_an_unknown_exercise_names_similar_ones(target: Target) -> None:
    with pytest.raises(LabError, match="Did you mean '01-sum'"):
        exercises.check(target, "01-sums", 1)


def test_a_checkpoint_says_what_is_missing_and_which_cell_to_run(target: Target) -> None:
    counted = 0
    conditions = {
        "Counted": lambda: counted == 1,
        "Not run yet": lambda: answer == 2,  # type: ignore[name-defined]  # noqa: F821
        "Fine": lambda: True,
        "Broken": lambda: 1 / 0,
    }
    with pytest.raises(NotYet) as caught:
        exercises.checkpoint(target, "01", conditions)
    told = caught.value.feedback.text.splitlines()
    assert told == [
        "✗ Counted: it isn't so (yet). Run this cell again when you have changed something",
        "✗ Not run yet: run the cell below “Add” that begins with `answer = ...`",
        "✓ Fine",
        "✗ Broken: ZeroDivisionError: division by zero",
        f'✗ Exercise solved: A sum: run the cell with `lab.check("{NAME}", ...)`',
    ]
    assert "4 things missing" in caught.value.feedback.title


def test_a_condition_on_a_notebooks_variable_names_its_cell(target: Target) -> None:
    names: dict[str, Any] = {"counted": 0}
    condition = eval("lambda: counted == 1", names)
    with pytest.raises(NotYet) as caught:
        exercises.checkpoint(target, "01", {"Counted": condition})
    assert (
        "Counted: it isn't so (yet). Look at the cell below “Count” that begins with `counted = 1`, and run it"
        in str(caught.value)
    )


def test_an_attribute_of_the_same_name_is_not_the_notebooks_variable(target: Target) -> None:
    condition = eval("lambda: lab.counted == 1", {"lab": SimpleNamespace(counted=0)})
    with pytest.raises(NotYet) as caught:
        exercises.checkpoint(target, "01", {"Counted": condition})
    assert "Counted: it isn't so (yet). Run this cell again when" in str(caught.value)
    assert "below “Count”" not in str(caught.value)


def test_a_condition_may_say_itself_what_to_do(target: Target) -> None:
    def condition() -> bool:
        raise LabError("The queue is left over.", hint="lab.delete_queue()")

    with pytest.raises(NotYet, match=r"The queue is left over\. What to do: lab\.delete_queue"):
        exercises.checkpoint(target, "01", {"Nothing is left": condition})


def test_a_reached_checkpoint_leads_to_the_next_chapter(target: Target) -> None:
    exercises.check(target, NAME, 2)
    reached = exercises.checkpoint(target, "01", {"Counted": lambda: True})
    assert '<a href="02-later-on.ipynb">02 later on</a>' in reached._repr_html_()
    last = exercises.checkpoint(target, "02", {})
    assert "That was the last chapter." in repr(last)
    assert exercises.table(target.settings).rows == (
        ("01-sums", "A sum", "solved"),
        ("01-sums", "checkpoint", "reached"),
        ("02-later-on", "checkpoint", "reached"),
    )


def test_what_was_done_is_forgotten_by_chapter(target: Target) -> None:
    exercises.check(target, NAME, 2)
    exercises.checkpoint(target, "02", {})
    Progress(target.settings).forget(["1"])
    assert not Progress(target.settings).solved(NAME)
    assert Progress(target.settings).reached("02")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"01-sum": 3}', "\0"])
def test_a_broken_file_of_progress_is_as_good_as_none(target: Target, text: str) -> None:
    path = Progress(target.settings).path
    path.parent.mkdir(parents=True)
    path.write_text(text)
    assert not Progress(target.settings).solved(NAME)
    exercises.check(target, NAME, 2)
    assert json.loads(path.read_text())[NAME] == {"solved": True}


def test_several_notebooks_note_their_progress_at_the_same_time(target: Target) -> None:
    code = (
        "import sys\nfrom labkit.exercises import Progress\nfrom labkit.settings import Settings\n"
        "progress = Progress(Settings.load(environ={}, home=sys.argv[1]))\n"
        "for _ in range(50): progress.count('01-sum', 'tries')"
    )
    home = str(target.settings.home)
    running = [subprocess.Popen([sys.executable, "-c", code, home]) for _ in range(3)]
    assert [process.wait(timeout=60) for process in running] == [0, 0, 0]
    assert json.loads(Progress(target.settings).path.read_text())[NAME]["tries"] == 150
