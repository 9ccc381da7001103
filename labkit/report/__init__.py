"""The report of a run: an index, the chapters as pages that link to each other, and JUnit.

The pages need nothing but themselves: no network, and no script but the one that switches between light and dark.
"""

from __future__ import annotations

import base64
import html
import json
import mimetypes
import os
import re
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from falcorules import markup
from labkit.errors import RunError
from labkit.report.reasons import HINT
from labkit.workbook import read

if TYPE_CHECKING:
    from jinja2 import Environment
    from nbconvert.exporters import HTMLExporter
    from nbformat import NotebookNode

INTERRUPTED = "Interrupted."
"""The error of a chapter in which the run was ended, by Ctrl-C or a signal."""
_TIMES = "times.json"  # in the run's folder: seconds of each chapter when it passed last


@dataclass
class Chapter:
    """One notebook of a run. `seconds` is wall time; `error` is empty if it passed or was not reached."""

    path: Path
    title: str
    status: str = "not run"
    seconds: float = 0.0
    error: str = ""
    cell: str = ""
    cell_number: int = 0
    """Which cell failed, counted from 0, if it was a cell."""
    expected: float | None = None
    """Seconds that it took when it passed last in this folder."""
    minutes: int = 0
    """What it takes a class, as its first cell says; 0 if it doesn't."""

    @property
    def name(self) -> str:
        return self.path.stem

    @property
    def reason(self) -> str:
        return self.error.partition(HINT)[0].strip()

    @property
    def what_to_do(self) -> str:
        """The error's own hint; if it has none, where to look."""
        number = self.name[:2]
        if self.error == INTERRUPTED:
            return f"Nothing is wrong with the chapter. Run it again: `labkit run --only {number}`."
        hint = self.error.partition(HINT)[2].strip()
        again = f"Then run the chapter alone: `labkit run --only {number}`."
        return f"{hint} {again}" if hint else f"Read the cell and what the cells above it printed. {again}"

    @property
    def slow(self) -> bool:
        """Whether it took more than twice as long as the last time, and five seconds more."""
        return self.expected is not None and self.seconds > max(2 * self.expected, self.expected + 5)


@dataclass
class Run:
    """What a run did, chapter by chapter."""

    target: str
    chapters: list[Chapter]
    output: Path
    started: float = field(default_factory=time.time)

    @property
    def passed(self) -> bool:
        return all(chapter.status == "passed" for chapter in self.chapters)

    @property
    def failed_chapter(self) -> Chapter | None:
        return next((chapter for chapter in self.chapters if chapter.status == "failed"), None)

    @property
    def seconds(self) -> float:
        return sum(chapter.seconds for chapter in self.chapters)


def chapter_of(path: Path, output: Path) -> Chapter:
    """A chapter that isn't run yet: its title, and the times that it took last in this folder and takes a class."""
    notebook = read(path)
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    heading = re.search(r"^# (.+)$", text, re.M)
    minutes = re.search(r"\*\*Time\*\*: (\d+) minutes", text)
    return Chapter(
        path,
        heading[1].strip() if heading else path.stem,
        expected=_times(output).get(path.stem),
        minutes=int(minutes[1]) if minutes else 0,
    )


def write_index(run: Run) -> Path:
    """`index.html` in the run's folder: what failed and why, each chapter's status and time, and every chart."""
    executed = {chapter.name: _executed(run, chapter) for chapter in run.chapters}
    charts = {chapter.name: _charts(executed[chapter.name], chapter.title) for chapter in run.chapters}
    failed = run.failed_chapter
    cell_id = _failed_cell(executed[failed.name]) if failed else ""
    page = run.output / "index.html"
    when = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(run.started))
    passed = sum(chapter.status == "passed" for chapter in run.chapters)
    written = {c.name for c in run.chapters if c.status != "not run" and (run.output / f"{c.name}.html").exists()}
    page.write_text(
        _templates()
        .get_template("index.html.j2")
        .render(run=run, when=when, passed=passed, written=written, charts=charts, cell_id=cell_id, code=_highlighted),
        encoding="utf-8",
    )
    times = _times(run.output) | {c.name: round(c.seconds, 1) for c in run.chapters if c.status == "passed"}
    (run.output / _TIMES).write_text(json.dumps(times, indent=1), encoding="utf-8")
    return page


class Pages:
    """Writes chapters' pages in a process of its own, while the next chapter runs; its context ends when all are done.

    In this process it would keep a chapter from the messages of its kernel. If this process is killed, that one ends,
    too: its standard input does.
    """

    def __enter__(self) -> Pages:
        command = [sys.executable, "-m", "labkit.report"]
        self._writer = subprocess.Popen(
            command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        return self

    def __exit__(self, *_: object) -> None:
        complaint = self._writer.communicate()[1]
        if self._writer.returncode:
            raise RunError(f"The report's pages could not be written:\n{complaint}", hint="The notebooks are there.")

    def write(self, run: Run, chapter: Chapter) -> None:
        """A chapter's page will be written."""
        assert self._writer.stdin is not None
        with suppress(BrokenPipeError):  # the end says why
            self._writer.stdin.write(json.dumps([asdict(run), run.chapters.index(chapter)], default=str) + "\n")
            self._writer.stdin.flush()

    @staticmethod
    def serve(requests: Iterable[str]) -> None:
        """Writes the page for each line that `write` sent."""
        for line in requests:
            known, place = json.loads(line)
            chapters = [Chapter(**chapter | {"path": Path(chapter["path"])}) for chapter in known["chapters"]]
            run = Run(known["target"], chapters, Path(known["output"]), known["started"])
            write_page(run, run.chapters[place])


def write_page(run: Run, chapter: Chapter) -> None:
    """A chapter's executed notebook as HTML, with links to the chapters before and after it."""
    notebook = _executed(run, chapter)
    folder = chapter.path.parent
    charts = _charts(notebook, chapter.title)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = re.sub(r"(!\[[^\]]*\]\()(?!https?:|data:)([^)]+)\)", _with_picture(folder), cell.source)
    body: str = _exporter().from_notebook_node(notebook)[0]
    for _, heading, picture in charts:  # nbconvert knows no description
        described = f'alt="Chart: {html.escape(heading)}"'
        body = re.sub(r'alt="No description[^"]*"(?=[^>]*src="' + re.escape(picture[:200]) + ")", described, body)
    body = re.sub(r'href="([^":#]+)(#[^"]*)?"', _from_report(run, folder), body)
    place = run.chapters.index(chapter)
    more = chapter.status == "passed" and place + 1 < len(run.chapters)  # a run ends at the first that fails
    around = {"before": run.chapters[place - 1] if place else None, "after": run.chapters[place + 1] if more else None}
    page = (
        _templates()
        .get_template("chapter.html.j2")
        .render(run=run, chapter=chapter, cell_id=_failed_cell(notebook), body=body, **around)
    )
    (run.output / f"{chapter.name}.html").write_text(page, encoding="utf-8")


def write_junit(run: Run, path: Path) -> None:
    """One test case a chapter, in JUnit's XML form."""
    failed = sum(chapter.status == "failed" for chapter in run.chapters)
    skipped = sum(chapter.status == "not run" for chapter in run.chapters)
    suite = ET.Element(
        "testsuite",
        name=f"workshop on {run.target}",
        tests=str(len(run.chapters)),
        failures=str(failed),
        skipped=str(skipped),
        time=f"{run.seconds:.3f}",
    )
    for chapter in run.chapters:
        case = ET.SubElement(suite, "testcase", classname="notebooks", name=chapter.name, time=f"{chapter.seconds:.3f}")
        if chapter.status == "failed":
            failure = ET.SubElement(case, "failure", message=_xml_text(chapter.error.splitlines()[0]))
            failure.text = _xml_text(f"Cell {chapter.cell_number}:\n{chapter.cell}\n\n{chapter.error}")
        elif chapter.status == "not run":
            ET.SubElement(case, "skipped", message="a chapter before it failed")
    path.parent.mkdir(parents=True, exist_ok=True)
    ET.ElementTree(suite).write(path, encoding="utf-8", xml_declaration=True)


def _executed(run: Run, chapter: Chapter) -> NotebookNode:
    """The executed notebook; one without cells if the chapter didn't come so far."""
    import nbformat

    path = run.output / chapter.path.name
    there = chapter.status in ("passed", "failed") and path.exists()
    notebook: NotebookNode = nbformat.read(path, as_version=4) if there else nbformat.v4.new_notebook()
    banners = "papermill-error-cell-tag"  # the page has its own
    notebook.cells = [cell for cell in notebook.cells if banners not in cell.metadata.get("tags", ())]
    return notebook


def _failed_cell(notebook: NotebookNode) -> str:
    """The id of the cell that failed; empty if none did."""
    failed = (cell for cell in notebook.cells if cell.metadata.get("papermill", {}).get("exception"))
    return next((str(cell.get("id", "")) for cell in failed), "")


def _charts(notebook: NotebookNode, heading: str) -> list[tuple[str, str, str]]:
    """Cell id, the heading above it, and the picture as a data URL, for each chart."""
    found = []
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            headings = re.findall(r"^#+ (.+)$", cell.source, re.M)
            heading = headings[-1].strip() if headings else heading
        for output in cell.get("outputs", ()):
            if picture := output.get("data", {}).get("image/png"):
                data = "".join(str(picture).split())
                found.append((cell.get("id", ""), heading, f"data:image/png;base64,{data}"))
    return found


def _with_picture(folder: Path) -> Any:
    """Puts a picture that the text links to, relative to `folder`, into the page."""

    def inlined(link: re.Match[str]) -> str:
        picture = folder / link[2]
        kind = mimetypes.guess_type(picture.name)[0] or "application/octet-stream"
        return f"{link[1]}data:{kind};base64,{base64.b64encode(picture.read_bytes()).decode()})"

    return inlined


def _from_report(run: Run, folder: Path) -> Any:
    """Leads links between chapters to their pages, and links to other files from where the report is."""
    pages = {chapter.path.name: f"{chapter.name}.html" for chapter in run.chapters}

    def link(found: re.Match[str]) -> str:
        path, fragment = html.unescape(found[1]), found[2] or ""
        if path in pages:
            return f'href="{pages[path]}{fragment}"'
        if (folder / path).exists():
            return f'href="{html.escape(os.path.relpath(folder / path, run.output))}{fragment}"'
        return found[0]

    return link


def _highlighted(source: str) -> str:
    from pygments import highlight
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import PythonLexer

    marked: str = highlight(source, PythonLexer(), HtmlFormatter())
    return marked


@cache
def _exporter() -> HTMLExporter:
    from nbconvert.exporters import HTMLExporter

    return HTMLExporter(template_name="lab", template_file="base.html.j2")  # the cells; styles and scripts are ours


@cache
def _templates() -> Environment:
    import jinja2

    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    templates.filters["with_code"] = markup.with_code
    return templates


def _times(output: Path) -> dict[str, float]:
    with suppress(OSError, ValueError):
        return dict(json.loads((output / _TIMES).read_text(encoding="utf-8")))
    return {}


def _xml_text(text: str) -> str:
    """`text` without the control characters that XML can't hold."""
    return re.sub(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "?", text)
