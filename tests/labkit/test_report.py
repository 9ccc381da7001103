"""The report of a run: an index and pages that link to each other, open offline, and put a failure on top."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from labkit import report

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


def executed(run: report.Run, number: int, *cells: nbformat.NotebookNode, failed: str = "") -> report.Chapter:
    """A chapter with these cells, as papermill leaves its notebook."""
    chapter = run.chapters[number]
    chapter.status, chapter.seconds, chapter.error = "failed" if failed else "passed", 1.5, failed
    nbformat.write(
        new_notebook(cells=[new_markdown_cell(f"# {chapter.title}"), *cells]), run.output / chapter.path.name
    )
    report.write_page(run, chapter)
    return chapter


@pytest.fixture
def run(tmp_path: Path) -> report.Run:
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "manifests").mkdir()
    (tmp_path / "manifests" / "a.yaml").write_text("a: 1\n")
    (tmp_path / "out").mkdir()
    names = ("00-first", "01-second", "02-third")
    for name in names:
        first = new_markdown_cell(f"# Chapter {name}\n\n**Time**: 15 minutes. **Builds on**: nothing.")
        nbformat.write(new_notebook(cells=[first]), tmp_path / "notebooks" / f"{name}.ipynb")
    chapters = [report.chapter_of(tmp_path / "notebooks" / f"{name}.ipynb", tmp_path / "out") for name in names]
    return report.Run("embedded", chapters, tmp_path / "out")


def page(run: report.Run, name: str) -> str:
    return (run.output / f"{name}.html").read_text()


def test_pages_lead_to_the_next_the_one_before_and_all(run: report.Run) -> None:
    for number in range(3):
        executed(run, number)
    second = page(run, "01-second")
    assert len(re.findall('<a rel="prev" href="00-first.html">', second)) == 2  # above and below
    assert len(re.findall('<a rel="next" href="02-third.html">', second)) == 2
    assert 'href="index.html"' in second
    assert 'rel="prev"' not in page(run, "00-first")
    assert 'rel="next"' not in page(run, "02-third")


def test_links_of_the_text_lead_to_pages_and_files(run: report.Run) -> None:
    text = "[next](01-second.ipynb#end) [file](../manifests/a.yaml) [web](https://falco.org/) [here](#there)"
    executed(run, 0, new_markdown_cell(text))
    found = page(run, "00-first")
    assert 'href="01-second.html#end"' in found
    assert 'href="../manifests/a.yaml"' in found
    assert 'href="https://falco.org/"' in found
    assert 'href="#there"' in found


def test_charts_are_gathered_on_the_index_and_described(run: report.Run) -> None:
    cell = new_code_cell("draw()", outputs=[new_output("display_data", {"image/png": PNG + "\n"})])
    executed(run, 0, new_markdown_cell("## Noise by hour"), cell)
    index = report.write_index(run).read_text()
    assert f'<a href="00-first.html#cell-id={cell.id}">Noise by hour</a>' in index
    assert f'<img src="data:image/png;base64,{PNG}" alt="Chart: Noise by hour">' in index
    assert 'alt="Chart: Noise by hour"' in page(run, "00-first")


def test_a_failure_is_on_top_with_its_cell_its_reason_and_what_to_do(run: report.Run) -> None:
    executed(run, 0)
    cell = new_code_cell("lab.apply('<x>')", metadata={"papermill": {"exception": True}})
    banner = new_markdown_cell("An Exception was encountered", metadata={"tags": ["papermill-error-cell-tag"]})
    failed = executed(run, 1, banner, cell, failed="StepError: There is no step <x>.\n  What to do: Use another.")
    failed.cell, failed.cell_number = cell.source, 1
    index = report.write_index(run).read_text()
    assert index.index('id="failed"') < index.index('id="chapters"')
    assert f'href="01-second.html#cell-id={cell.id}"' in index
    assert "<pre>StepError: There is no step &lt;x&gt;.</pre>" in index
    assert "<p>Use another. Then run the chapter alone: <code>labkit run --only 01</code>.</p>" in index
    assert "02-third.html" not in index
    shown = page(run, "01-second")
    assert "An Exception was encountered" not in shown
    assert f'[id="cell-id={cell.id}"] {{ border-left' in shown
    assert 'rel="next"' not in shown, "there is no next chapter in this run"


def test_a_time_is_compared_with_the_last_good_one(run: report.Run) -> None:
    executed(run, 0)
    assert "slow</span>" not in report.write_index(run).read_text()
    assert json.loads((run.output / "times.json").read_text()) == {"00-first": 1.5}
    again = report.chapter_of(run.chapters[0].path, run.output)
    assert again.expected == 1.5
    again.seconds, again.status = 6.0, "passed"
    assert not again.slow
    again.seconds = 6.6
    assert again.slow
    index = report.write_index(report.Run("embedded", [again], run.output)).read_text()
    assert ">1.5 s</td>" in index
    assert ">15 min</td>" in index
    assert '<span class="badge late">slow</span>' in index


class Loads(HTMLParser):
    """What a page would load by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        known = dict(attrs)
        if tag != "a":
            self.found += [value for name in ("src", "href", "data", "srcset") if (value := known.get(name))]


def test_pages_load_nothing_and_style_is_all_inside(run: report.Run) -> None:
    formula = new_markdown_cell("$a^2$")
    executed(run, 0, formula, new_code_cell("1", outputs=[new_output("display_data", {"text/html": "<b>x</b>"})]))
    for written in (report.write_index(run), run.output / "00-first.html"):
        text = written.read_text()
        loads = Loads()
        loads.feed(text)
        assert loads.found == []
        assert "@import" not in text
        assert "url(" not in text
