"""The chapters, executed once, by `make run`: nbval compares their outputs with the stored ones; the report is checked.

`--report DIR` keeps the report. nbval executes chapters itself by `pytest --nbval notebooks/03-default-rules.ipynb`.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

import nbformat
import pytest
from nbval.plugin import IPyNbFile, coalesce_streams

pytestmark = pytest.mark.timeout(1800)
ROOT = Path(__file__).parents[2]
CHAPTERS = sorted((ROOT / "notebooks").glob("[0-9][0-9]-*.ipynb"))


@dataclass(frozen=True)
class Run:
    """`make run` in a folder that has nothing but the workshop."""

    returncode: int
    printed: str
    report: Path

    def executed(self, chapter: Path) -> Path:
        path = self.report / chapter.name
        assert path.exists(), f"{chapter.stem} was not reached:\n{self.printed}"
        return path


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Run:
    folder = tmp_path_factory.mktemp("run") / "the workshop"
    for name in ("notebooks", "manifests", "custom-rules", "images"):
        shutil.copytree(ROOT / name, folder / name)
    shutil.copy(ROOT / "Makefile", folder)
    venv = Path(sys.prefix)
    command = ["make", f"--old-file={venv}/.ready", f"VENV={venv}", "run"]
    with (folder / "printed").open("w+") as file:
        done = subprocess.run(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=file, stderr=file, check=False)
        file.seek(0)
        printed = file.read()
    report = folder / "build" / "run"
    if kept := request.config.getoption("--report"):
        shutil.copytree(report, kept, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".labkit"))
    return Run(done.returncode, printed, report)


def differences(session: pytest.Session, stored: Path, executed: Path) -> list[str]:
    """What nbval finds different between the stored outputs of a notebook and those of an execution, by cell."""
    file = IPyNbFile.from_parent(session, path=stored)
    file.setup_sanitize_files()
    cells = [cell for cell in nbformat.read(executed, as_version=4).cells if cell.cell_type == "code"]
    found = []
    for item, cell in zip(file.collect(), cells, strict=True):
        assert item.cell.source == cell.source
        if not item.compare_outputs(coalesce_streams(cell.outputs), coalesce_streams(item.cell.outputs)):
            found.append(
                "\n".join([f"Cell {item.cell_num} of {stored.stem}:", cell.source, *item.comparison_traceback])
            )
    return found


def test_every_chapter_passes(run: Run) -> None:
    assert run.returncode == 0, run.printed
    assert re.search(rf"^{len(CHAPTERS)} chapters passed\.", run.printed, re.M)


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda path: path.stem)
def test_a_chapter_shows_what_is_stored(run: Run, chapter: Path, request: pytest.FixtureRequest) -> None:
    found = differences(request.session, chapter, run.executed(chapter))
    assert not found, "\n\n".join(["Right? Then `make notebooks` stores it.", *found])


def test_a_report_has_a_page_for_each_chapter(run: Run) -> None:
    suite = ET.parse(run.report / "junit.xml").getroot()
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == (str(len(CHAPTERS)), "0", "0")
    assert [case.get("name") for case in suite.iter("testcase")] == [chapter.stem for chapter in CHAPTERS]
    index = (run.report / "index.html").read_text()
    for chapter in CHAPTERS:
        assert f'href="{chapter.stem}.html"' in index
        page = (run.report / f"{chapter.stem}.html").read_text()
        cells = nbformat.read(run.executed(chapter), as_version=4).cells
        assert page.count("jp-OutputArea-output") >= sum(len(cell.get("outputs", ())) for cell in cells) > 0
        assert not re.search(r'<(?:script|link|img)[^>]*(?:src|href)="https?://', page)


def test_another_output_is_a_difference(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """Of each kind: a line of text, a value, one output more or less. Times may differ."""
    stored = nbformat.read(CHAPTERS[0], as_version=4)
    reference, changed = tmp_path / "reference.ipynb", tmp_path / "changed.ipynb"

    def found(*outputs: nbformat.NotebookNode) -> list[str]:
        other = nbformat.from_dict(stored)
        next(cell for cell in other.cells if cell.cell_type == "code").outputs = list(outputs)
        nbformat.write(other, changed)
        return differences(request.session, reference, changed)

    def text(of: str) -> nbformat.NotebookNode:
        return nbformat.v4.new_output("stream", name="stdout", text=of)

    def value(of: str) -> nbformat.NotebookNode:
        return nbformat.v4.new_output("execute_result", {"text/plain": of})

    next(cell for cell in stored.cells if cell.cell_type == "code").outputs = [
        text("one at 2026-01-02T03:04:05Z\n"),
        value("2"),
    ]
    nbformat.write(stored, reference)
    assert not found(text("one at 2027-11-12T13:14:15Z\n"), value("2"))
    for outputs in (
        [text("two at 2026-01-02T03:04:05Z\n"), value("2")],
        [text("one at 2026-01-02T03:04:05Z\n"), value("3")],
        [text("one at 2026-01-02T03:04:05Z\n")],
        [text("one at 2026-01-02T03:04:05Z\n"), value("2"), value("2")],
    ):
        assert len(found(*outputs)) == 1


def test_nbval_by_itself_executes_notebooks_on_a_lab(tmp_path: Path) -> None:
    """As maintainers do with a single chapter."""
    notebook = nbformat.v4.new_notebook(metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}})
    for number, (source, shown) in enumerate(
        [("import os; print(os.path.isfile(os.environ['KUBECONFIG']))", "True\n"), ("print(1)", "2\n")], 1
    ):
        output = nbformat.v4.new_output("stream", name="stdout", text=shown)
        notebook.cells.append(nbformat.v4.new_code_cell(source, execution_count=number, outputs=[output]))
    path = tmp_path / "a.ipynb"
    nbformat.write(notebook, path)
    command = [sys.executable, "-m", "pytest", "-c", "pyproject.toml", f"--rootdir={ROOT}", "-p", "conftest", "--nbval"]
    command += ["-p", "no:cacheprovider", str(path)]
    environment = {name: text for name, text in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert "1 failed, 1 passed" in done.stdout, done.stdout + done.stderr
    assert "Cell outputs differ" in done.stdout
