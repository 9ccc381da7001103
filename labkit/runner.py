"""Executes the chapters with papermill and writes a report in HTML and JUnit.

In: the notebooks' folder and parameters. Out: `NN-*.ipynb` and `NN-*.html`, `index.html`, and a JUnit file. It stops
at the first chapter that fails and says which cell it was and why.
"""

from __future__ import annotations

import base64
import html
import logging
import mimetypes
import os
import re
import shutil
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labkit.connect import start_embedded, stop_embedded
from labkit.environment import embedded
from labkit.errors import RunError
from labkit.settings import Settings

if TYPE_CHECKING:
    from nbformat import NotebookNode

_ANSI = re.compile(r"\x1b\[[0-9;]*m")


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

    @property
    def name(self) -> str:
        return self.path.stem


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


def find_chapters(folder: Path, only: Sequence[str] = ()) -> list[Path]:
    """The notebooks of `folder` in order; `only` keeps those whose name starts with one of its entries (`03`).

    Raises `RunError` if there are none, or if an entry of `only` matches none.
    """
    found = sorted(folder.glob("[0-9][0-9]-*.ipynb"))
    if not found:
        raise RunError(f"There are no notebooks in {folder}.", hint="Run this from the workshop's folder.")
    for wanted in only:
        if not any(path.stem.startswith(wanted) for path in found):
            raise RunError(
                f"There is no chapter {wanted!r}.", hint="There are: " + ", ".join(path.stem for path in found) + "."
            )
    return [path for path in found if not only or path.stem.startswith(tuple(only))]


def execute(
    notebooks: Sequence[Path], output: Path, *, target: str = "embedded", parameters: dict[str, Any] | None = None
) -> Iterator[Run]:
    """Execute notebooks in order; yields the run before each chapter and after it. Stops at the first failure.

    `parameters` go to each notebook's cell tagged `parameters`. Executed notebooks and their HTML are in `output`.
    """
    import papermill
    from papermill.exceptions import PapermillExecutionError

    logging.getLogger("papermill").setLevel(logging.ERROR)
    output.mkdir(parents=True, exist_ok=True)
    run = Run(target, [Chapter(path, _title(path)) for path in notebooks], output)
    for chapter in run.chapters:
        chapter.status = "running"
        yield run
        started = time.monotonic()
        executed = output / chapter.path.name
        try:
            papermill.execute_notebook(
                str(chapter.path),
                str(executed),
                parameters=parameters or {},
                kernel_name="python3",
                cwd=str(chapter.path.parent),
                progress_bar=False,
                execution_timeout=900,
                kernel_manager_class=_local_kernels(output / "kernels.log"),
            )
            chapter.status = "passed"
        except PapermillExecutionError as error:
            chapter.status = "failed"
            chapter.error = _ANSI.sub("", f"{error.ename}: {error.evalue}")
            chapter.cell, chapter.cell_number = error.source, error.cell_index
        except KeyboardInterrupt:
            chapter.status, chapter.error = "failed", "Interrupted."
        except Exception as error:  # a kernel that died, a notebook that isn't one: the report has to say so
            chapter.status, chapter.error = "failed", f"{type(error).__name__}: {error}"
        chapter.seconds = time.monotonic() - started
        if executed.exists():
            executed.with_suffix(".html").write_text(_render(executed, chapter.path.parent), encoding="utf-8")
        yield run
        if chapter.status == "failed":
            return


def write_index(run: Run) -> Path:
    """`index.html` in the run's folder: each chapter's status, with links to its files."""
    rows = []
    for chapter in run.chapters:
        page = run.output / f"{chapter.name}.html"
        title = html.escape(chapter.title)
        link = f'<a href="{page.name}">{title}</a>' if page.exists() else title
        notebook = f'<a href="{chapter.path.name}">notebook</a>' if page.exists() else ""
        error = ""
        if chapter.error:
            position = f"cell {chapter.cell_number}" if chapter.cell else ""
            error = f"<p>{position}</p><pre>{html.escape(chapter.cell)}</pre><pre>{html.escape(chapter.error)}</pre>"
        rows.append(
            f'<tr class="{chapter.status.replace(" ", "-")}"><td>{chapter.name[:2]}</td><td>{link}{error}</td>'
            f"<td>{chapter.status}</td><td>{chapter.seconds:.1f} s</td><td>{notebook}</td></tr>"
        )
    passed = sum(chapter.status == "passed" for chapter in run.chapters)
    when = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(run.started))
    page = run.output / "index.html"
    page.write_text(
        f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Workshop run</title><style>
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #1b1f24 }}
table {{ border-collapse: collapse; width: 100% }}
td, th {{ padding: .5rem .75rem; border-bottom: 1px solid #d0d7de; text-align: left; vertical-align: top }}
.passed td:nth-child(3) {{ color: #116329; font-weight: 600 }}
.failed td:nth-child(3) {{ color: #a40e26; font-weight: 600 }}
pre {{ background: #f6f8fa; padding: .5rem; overflow-x: auto; white-space: pre-wrap }}
</style></head><body>
<h1>Container runtime security with Falco on Amazon EKS</h1>
<p>{passed} of {len(run.chapters)} chapters passed on target <b>{html.escape(run.target)}</b>, {when},
in {sum(chapter.seconds for chapter in run.chapters):.0f} s.</p>
<table><thead><tr><th></th><th>Chapter</th><th>Status</th><th>Time</th><th></th></tr></thead>
<tbody>{"".join(rows)}</tbody></table>
</body></html>
""",
        encoding="utf-8",
    )
    return page


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
        time=f"{sum(chapter.seconds for chapter in run.chapters):.3f}",
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


def store_outputs(executed: Path, notebook: Path) -> None:
    """Store an executed notebook's outputs and execution counts in its source, without papermill's own notes."""
    import nbformat

    done: NotebookNode = nbformat.read(executed, as_version=4)
    done.metadata.pop("papermill", None)
    for cell in done.cells:
        for note in ("papermill", "execution"):
            cell.metadata.pop(note, None)
        if cell.cell_type == "code":
            cell.outputs = _joined(cell.outputs)
        # papermill adds an empty list of tags to each cell; a notebook without it is the same and easier to read
        if not cell.metadata.get("tags", True):
            del cell.metadata["tags"]
    source: NotebookNode = nbformat.read(notebook, as_version=4)
    done.metadata.update(source.metadata)
    nbformat.write(done, notebook)


def _joined(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """Outputs with neighbours of one stream joined: where a kernel cuts its output is chance."""
    joined: list[NotebookNode] = []
    for output in outputs:
        if joined and output.output_type == "stream" and joined[-1].get("name") == output.name:
            joined[-1].text += output.text
        else:
            joined.append(output)
    return joined


def _local_kernels(log: Path) -> type:
    """Kernels on Unix sockets, which other users of the computer can't open; their stderr goes to `log`."""
    from jupyter_client.manager import AsyncKernelManager

    class LocalKernelManager(AsyncKernelManager):
        transport = "ipc"

        async def _async_launch_kernel(self, kernel_cmd: list[str], **options: Any) -> None:
            with log.open("ab") as file:
                await super()._async_launch_kernel(kernel_cmd, **options | {"stderr": file})

    return LocalKernelManager


def _render(executed: Path, folder: Path) -> str:
    """A notebook as one HTML page; pictures that its text links to are looked up from `folder` and put into it."""
    import nbformat
    from nbconvert.exporters import HTMLExporter

    def inlined(link: re.Match[str]) -> str:
        picture = folder / link[2]
        kind = mimetypes.guess_type(picture.name)[0] or "application/octet-stream"
        return f"{link[1]}data:{kind};base64,{base64.b64encode(picture.read_bytes()).decode()})"

    notebook: NotebookNode = nbformat.read(executed, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = re.sub(r"(!\[[^\]]*\]\()(?!https?:|data:)([^)]+)\)", inlined, cell.source)
    page: str = HTMLExporter(template_name="lab").from_notebook_node(notebook)[0]
    # Scripts for formulas and widgets, of which there are none: a report asks nothing of other computers.
    return re.sub(r'<script[^>]*\ssrc="https?://[^>]*>\s*</script>', "", page)


def _title(path: Path) -> str:
    import nbformat

    notebook: NotebookNode = nbformat.read(path, as_version=4)
    headings = (re.search(r"^# (.+)$", cell.source, re.M) for cell in notebook.cells if cell.cell_type == "markdown")
    return next((heading[1].strip() for heading in headings if heading), path.stem)


def _xml_text(text: str) -> str:
    """`text` without the control characters that XML can't hold."""
    return re.sub(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "?", text)


@contextmanager
def lab_of_its_own(settings: Settings, output: Path) -> Iterator[None]:
    """On the embedded target, runs on a fresh lab, or on the one of `LABKIT_HOME` if that is set.

    A lab that the run starts ends with the run; one that was there before stays. The notebooks'
    kernels inherit the environment, which is the lab's then, as in JupyterLab.
    """
    if settings.target != "embedded":
        yield
        return
    from ekslab.client import PARENT

    before = dict(os.environ)
    home = output / ".labkit"
    own = "LABKIT_HOME" not in os.environ
    try:
        if own:
            stop_embedded(home)  # left over from a run that was killed
            settings = replace(settings, home=home)
        progress = output / "progress.json"  # of this run: it executes solutions, which are not an attendee's
        progress.unlink(missing_ok=True)
        shutil.rmtree(output / "drafts", ignore_errors=True)
        os.environ["LABKIT_PROGRESS"] = str(progress)
        os.environ[PARENT] = str(os.getpid())  # killed, this process can't stop its lab
        environ = embedded(start_embedded(settings)).of_process(os.environ)
        os.environ.clear()
        os.environ.update(environ)
        yield
    finally:
        if own:
            stop_embedded(home)
        os.environ.clear()
        os.environ.update(before)
