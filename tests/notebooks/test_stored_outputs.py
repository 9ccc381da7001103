"""The notebooks as they are committed: executed, without errors, the same shape in every chapter."""

from __future__ import annotations

import json
import re
from copy import deepcopy
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode

from labkit.exercises import exercises
from labkit.workbook import SOLUTION, attendees, chapter, solution

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("[0-9][0-9]-*.ipynb"))


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(request: pytest.FixtureRequest) -> NotebookNode:
    return nbformat.read(request.param, as_version=4)


def _code(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_there_are_the_chapters_that_the_workshop_promises() -> None:
    assert [path.stem[:2] for path in NOTEBOOKS] == ["00", "01", "02", "03", "04", "05", "06", "07", "08"]


def test_every_cell_has_been_executed_in_order(notebook: NotebookNode) -> None:
    counts = [cell.execution_count for cell in _code(notebook)]
    assert counts == list(range(1, len(counts) + 1))


def test_no_stored_output_is_an_error(notebook: NotebookNode) -> None:
    outputs = [output for cell in _code(notebook) for output in cell.outputs]
    assert outputs
    assert not [output for output in outputs if output.output_type == "error"]
    assert not [output for output in outputs if output.get("name") == "stderr"]


def test_nbval_compares_every_cell(notebook: NotebookNode) -> None:
    skipped = {"nbval-skip", "nbval-ignore-output", "raises-exception"}
    for cell in _code(notebook):
        assert not skipped & set(cell.metadata.get("tags", []))
        assert not re.search(r"NBVAL_(SKIP|IGNORE)", cell.source)


def test_one_cell_takes_parameters(notebook: NotebookNode) -> None:
    tagged = [cell for cell in _code(notebook) if "parameters" in cell.metadata.get("tags", [])]
    assert len(tagged) == 1
    assert {"target", "region", "cluster"} <= set(re.findall(r"^(\w+) =", tagged[0].source, re.M))


def test_a_chapter_opens_with_its_title_and_ends_with_a_checkpoint(notebook: NotebookNode) -> None:
    first, last = notebook.cells[0], _code(notebook)[-1]
    assert first.cell_type == "markdown"
    assert re.match(r"# \w", first.source)
    assert "lab.checkpoint(" in last.source
    assert any(
        cell.cell_type == "markdown" and re.search(r"^## Checkpoint$", cell.source, re.M) for cell in notebook.cells
    )


def test_no_secret_and_no_path_of_one_machine_is_stored(notebook: NotebookNode) -> None:
    text = nbformat.writes(notebook)
    assert not re.search(r"(LKIA|AKIA|ASIA)[0-9A-Z]{12}", text)
    assert not re.search(r"eyJ[A-Za-z0-9_-]{20,}\.", text)  # a JSON web token
    assert not re.search(r"/(home|Users|work|site-packages)/\w", text)
    assert str(NOTEBOOKS[0].parents[1]) not in text


def test_links_between_chapters_and_to_pictures_lead_somewhere(notebook: NotebookNode) -> None:
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            for link in re.findall(r"\]\((?!https?:)([^)#]+)\)", cell.source):
                assert (NOTEBOOKS[0].parent / link).exists(), link


def test_a_cell_of_code_is_short_and_fits_beside_the_sidebar(notebook: NotebookNode) -> None:
    for cell in _code(notebook):
        lines = cell.source.splitlines()
        assert len(lines) <= 15, cell.source
        assert max(map(len, lines)) <= 100, max(lines, key=len)


def test_an_exercise_has_a_stub_a_solution_and_a_check_and_a_copy_has_no_solution(notebook: NotebookNode) -> None:
    checks = [cell for cell in _code(notebook) if cell.source.startswith("lab.check(")]
    assert checks, "a chapter without an exercise"
    solutions = [cell.source for cell in _code(notebook) if SOLUTION in cell.metadata.get("tags", [])]
    assert len(solutions) >= len(checks)
    copy = nbformat.writes(attendees(deepcopy(notebook)))
    assert not [text for text in solutions if json.dumps(text)[1:-1] in copy]


def test_every_exercise_is_checked_in_its_chapter_and_has_a_solution(workshop: Path) -> None:
    assert {one.chapter for one in exercises().values()} == {path.stem[:2] for path in NOTEBOOKS}
    for name, exercise in exercises().items():
        code = solution(chapter(workshop, exercise.chapter), f'lab.check("{name}"')
        assert code, name
        assert all(code not in hint for hint in exercise.hints)
        text = chapter(workshop, exercise.chapter).read_text()
        assert f'lab.hint(\\"{name}\\")' in text, f"chapter {exercise.chapter} doesn't tell of the hints of {name}"


def test_a_chapter_says_what_one_will_be_able_to_do_and_how_long_it_takes(notebook: NotebookNode) -> None:
    opening = notebook.cells[0].source
    assert "**You will be able to**" in opening
    assert re.search(r"\*\*Time\*\*: \d+ minutes\. \*\*Builds on\*\*: ", opening)
    assert "](../images/pipeline" in opening
    questions = [cell for cell in notebook.cells if "<summary>Question: " in cell.source]
    assert questions


def test_all_chapters_take_two_hours() -> None:
    openings = (nbformat.read(path, as_version=4).cells[0].source for path in NOTEBOOKS)
    minutes = [int(re.findall(r"\*\*Time\*\*: (\d+) minutes", opening)[0]) for opening in openings]
    assert sum(minutes) == 120
