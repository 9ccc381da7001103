"""Attendees' copies of the chapters: made once, never overwritten, begun again on request."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.sign import NotebookNotary
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from labkit import workbook
from labkit.errors import LabError


def chapter(folder: Path, name: str = "03-default-rules", question: str = "Which one?") -> Path:
    """A committed chapter with an exercise and its solution, executed."""
    done = {"execution_count": 1, "outputs": [new_output("stream", text="1")]}
    cells = [
        new_markdown_cell(f"# Default rules\n\n{question}\n\n![Pipeline](../images/pipeline.svg)"),
        new_code_cell("answer = [..., ...]", **done),
        new_code_cell('answer = ["a", "b"]', metadata={"tags": ["solution"]}, **done),
        new_code_cell('lab.check("03-first", answer)', **done),
        new_code_cell("other = ...", **done),
        new_code_cell("other = 2", metadata={"tags": ["solution"]}, **done),
        new_code_cell('lab.check("03-second", other)', **done),
    ]
    path = folder / "notebooks" / f"{name}.ipynb"
    path.parent.mkdir(exist_ok=True)
    nbformat.write(new_notebook(cells=cells), path)
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    chapter(tmp_path)
    chapter(tmp_path, "04-custom-rules")
    return tmp_path


def sources(path: Path) -> list[str]:
    return [cell.source for cell in nbformat.read(path, as_version=4).cells]


def edit(copy: Path) -> None:
    notebook = nbformat.read(copy, as_version=4)
    notebook.cells[1].source = 'answer = ["mine", "too"]'
    nbformat.write(notebook, copy)


def test_a_copy_has_neither_outputs_nor_solutions(root: Path) -> None:
    copies = workbook.prepare(root)
    assert copies.made == ("03-default-rules.ipynb", "04-custom-rules.ipynb")
    copy = nbformat.read(root / "my-notebooks" / "03-default-rules.ipynb", as_version=4)
    assert [cell.source for cell in copy.cells if cell.cell_type == "code"] == [
        "answer = [..., ...]",
        'lab.check("03-first", answer)',
        "other = ...",
        'lab.check("03-second", other)',
    ]
    assert not [cell for cell in copy.cells if cell.get("outputs") or cell.get("execution_count")]
    assert '"a", "b"' not in nbformat.writes(copy)
    assert len(sources(root / "notebooks" / "03-default-rules.ipynb")) == 7  # the chapter itself is as it was


def test_a_copy_is_trusted_so_that_jupyterlab_asks_nothing_before_it_does_what_a_button_is_for(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(root / "jupyter"))
    notary = NotebookNotary()
    workbook.prepare(root)
    copy = root / "my-notebooks" / "03-default-rules.ipynb"
    assert notary.check_signature(nbformat.read(copy, as_version=4))
    edit(copy)
    workbook.prepare(root)  # what a person has made of it is theirs to trust
    assert not notary.check_signature(nbformat.read(copy, as_version=4))


def test_made_again_it_is_what_the_attendee_left(root: Path) -> None:
    workbook.prepare(root)
    copy = root / "my-notebooks" / "03-default-rules.ipynb"
    edit(copy)
    left = copy.read_bytes()
    assert workbook.prepare(root) == workbook.Copies()
    assert copy.read_bytes() == left


def test_a_new_version_replaces_a_copy_only_if_its_cells_are_as_they_were_made(root: Path) -> None:
    workbook.prepare(root)
    mine, untouched = (root / "my-notebooks" / name for name in ("03-default-rules.ipynb", "04-custom-rules.ipynb"))
    edit(mine)
    executed = nbformat.read(untouched, as_version=4)  # outputs are no work that is lost
    executed.cells[1].outputs = [new_output("stream", text="1")]
    nbformat.write(executed, untouched)
    left = mine.read_bytes()
    chapter(root, question="Which two?")
    chapter(root, "04-custom-rules", question="Which two?")
    copies = workbook.prepare(root)
    assert (copies.made, copies.updated) == ((), ("04-custom-rules.ipynb",))
    assert copies.outdated == ("03-default-rules.ipynb",)
    assert mine.read_bytes() == left
    assert "Which two?" in sources(untouched)[0]


@pytest.mark.parametrize("text", ["", "not a notebook", '{"cells": 3}'])
def test_a_copy_that_is_no_notebook_any_more_is_not_overwritten(root: Path, text: str) -> None:
    workbook.prepare(root)
    copy = root / "my-notebooks" / "03-default-rules.ipynb"
    copy.write_text(text)
    chapter(root, question="Which two?")
    assert workbook.prepare(root).outdated == ("03-default-rules.ipynb",)
    assert copy.read_text() == text


@pytest.mark.parametrize("record", ["[broken", '{"03-default-rules.ipynb": 3}', None])
def test_copies_of_before_their_record_was_lost_are_kept_and_not_called_outdated(
    root: Path, record: str | None
) -> None:
    workbook.prepare(root)
    made = root / "my-notebooks" / ".made.json"
    made.unlink() if record is None else made.write_text(record)
    copy = root / "my-notebooks" / "03-default-rules.ipynb"
    edit(copy)
    assert workbook.prepare(root) == workbook.Copies(unknown=("03-default-rules.ipynb",))
    assert "mine" in sources(copy)[1]
    # Of the copy that is as it was made, there is a record again: a new version replaces it.
    chapter(root, "04-custom-rules", question="Which two?")
    assert workbook.prepare(root).updated == ("04-custom-rules.ipynb",)


def test_a_record_that_is_written_again_says_the_same_about_what_was_worked_on(root: Path) -> None:
    workbook.prepare(root)
    (root / "my-notebooks" / ".made.json").unlink()
    second = Path("my-notebooks", "04-custom-rules.ipynb")
    edited = (root / second).stat().st_mtime + 5
    os.utime(root / second, (edited, edited))
    workbook.prepare(root)
    assert workbook.current(root) == second


def test_two_at_once_make_the_copies_once(root: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from labkit import workbook; print(workbook.prepare(Path(sys.argv[1])))"
    )
    command = [sys.executable, "-c", program, str(root)]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = sorted(process.communicate(timeout=60)[0].strip() for process in started)
    names = ("03-default-rules.ipynb", "04-custom-rules.ipynb")
    assert said == sorted([repr(workbook.Copies(made=names)), repr(workbook.Copies())])
    assert not list((root / "my-notebooks").glob("*.new"))


def test_a_folder_that_can_not_be_one_is_an_error_that_says_what_to_do(root: Path) -> None:
    folder = root / "my-notebooks"
    folder.write_text("notes")
    with pytest.raises(LabError, match=r"is no folder\.\n.*Move it away \(`mv "):
        workbook.prepare(root)
    folder.unlink()
    folder.symlink_to(root / "nowhere")
    with pytest.raises(LabError, match="is a link that leads nowhere"):
        workbook.start_over(root)


def test_starting_over_that_fails_leaves_every_copy_where_it_was(root: Path) -> None:
    workbook.prepare(root)
    folder = root / "my-notebooks"
    copy = folder / "03-default-rules.ipynb"
    edit(copy)
    chapter(root, question="Which two?")
    (root / "notebooks" / "04-custom-rules.ipynb").write_text("{broken")
    there = {path: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(Exception, match=r"04-custom-rules.ipynb isn't a notebook: it isn't JSON"):
        workbook.start_over(root, ["03"])
    assert {path: path.read_bytes() for path in folder.iterdir()} == there
    chapter(root, "04-custom-rules")
    assert workbook.prepare(root).outdated == (copy.name,)


def test_copies_set_aside_in_the_same_second_are_all_kept(root: Path) -> None:
    workbook.prepare(root)
    asides = {workbook.start_over(root, ["3", "03"])[0][1] for _ in range(4)}
    assert {path.name for path in (root / "my-notebooks").glob("until-*")} == asides
    assert len(asides) == 4


def test_starting_over_keeps_the_old_copy_beside_the_new_one(root: Path) -> None:
    workbook.prepare(root)
    copy = root / "my-notebooks" / "03-default-rules.ipynb"
    edit(copy)
    ((name, aside),) = workbook.start_over(root, ["3"])
    assert name == copy.name
    assert "mine" in sources(copy.with_name(aside))[1]
    assert sources(copy)[1] == "answer = [..., ...]"
    with pytest.raises(LabError, match="There is no chapter '09'"):
        workbook.start_over(root, ["03", "09"])
    assert len(list(copy.parent.glob("until-*"))) == 1  # an unknown chapter changes nothing


def test_the_chapter_worked_on_last_is_opened(root: Path) -> None:
    first, second = (Path("my-notebooks", name) for name in ("03-default-rules.ipynb", "04-custom-rules.ipynb"))
    assert workbook.current(root) == first
    workbook.prepare(root)
    assert workbook.current(root) == first
    made = (root / "my-notebooks" / ".made.json").stat().st_mtime
    os.utime(root / second, (made + 1, made + 1))
    assert workbook.current(root) == second


def test_a_solution_is_that_of_its_own_exercise(root: Path) -> None:
    path = root / "notebooks" / "03-default-rules.ipynb"
    assert workbook.solution(path, 'lab.check("03-first"') == 'answer = ["a", "b"]'
    assert workbook.solution(path, 'lab.check("03-second"') == "other = 2"
    assert workbook.solution(path, 'lab.check("03-third"') == ""


def test_the_cell_that_sets_a_variable_is_named_by_its_heading_and_first_line(root: Path) -> None:
    path = root / "notebooks" / "03-default-rules.ipynb"
    assert workbook.defining_cell(path, "answer") == ("Default rules", "answer = [..., ...]")
    assert workbook.defining_cell(path, "nothing") is None


def test_without_a_workshop_it_says_where_to_run(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="There are no notebooks"):
        workbook.prepare(tmp_path)
