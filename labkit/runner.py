"""Executes the chapters with papermill, in order, up to the first that fails; `labkit.report` shows what came of it."""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labkit.connect import running_embedded, start_embedded, stop_embedded
from labkit.environment import embedded
from labkit.errors import NoLabError, NotRunningError, RunError
from labkit.kernels import Template
from labkit.report import INTERRUPTED, Pages, Run, chapter_of, reasons
from labkit.settings import Settings, workshop_root
from labkit.show import say
from labkit.workbook import FOLDER

if TYPE_CHECKING:
    from nbformat import NotebookNode

CELL_SECONDS = 900
"""How long a cell may take."""


def find_chapters(folder: Path, only: Sequence[str] = ()) -> list[Path]:
    """The notebooks of `folder` in order; `only` keeps those whose name starts with one of its entries (`03`, `3`).

    Raises `RunError` if there are none, or if an entry of `only` matches none.
    """
    found = sorted(folder.glob("[0-9][0-9]-*.ipynb"))
    if not found:
        raise RunError(f"There are no notebooks in {folder}.", hint="Run this from the workshop's folder.")
    starts = tuple(wanted.zfill(2) for wanted in only)
    for wanted in starts:
        if not any(path.stem.startswith(wanted) for path in found):
            raise RunError(
                f"There is no chapter {wanted!r}.", hint="There are: " + ", ".join(path.stem for path in found) + "."
            )
    return [path for path in found if not only or path.stem.startswith(starts)]


def refuse_output(output: Path, root: Path, home: Path) -> None:
    """Raises `RunError` if a run into the folder `output` would replace chapters, or files of a lab."""
    chapters = [root / "notebooks", root / FOLDER]
    for folder in (*chapters, root, *root.parents, home):
        if output == folder.resolve() or (output.exists() and folder.exists() and output.samefile(folder)):
            holds = "files of a lab" if folder == home else "the chapters"
            raise RunError(
                f"The output can't go to {output}: that folder holds {holds}, which the run would replace.",
                hint="Choose a folder of its own, such as build/run.",
            )


@contextmanager
def alone(output: Path) -> Iterator[None]:
    """Makes the folder and keeps other runs out of it: they wait. SIGTERM is Ctrl-C meanwhile."""
    output.mkdir(parents=True, exist_ok=True)
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with (output / ".run.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say(f"Waiting for another run into {output} ...")
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield
    finally:
        signal.signal(signal.SIGTERM, before)


def execute(
    notebooks: Sequence[Path],
    output: Path,
    *,
    target: str = "embedded",
    parameters: dict[str, Any] | None = None,
    template: Template | None = None,
    lab: Path | None = None,
) -> Iterator[Run]:
    """Execute notebooks in order; yields the run before each chapter and after it. Stops at the first failure.

    `parameters` go to each notebook's cell tagged `parameters`. Executed notebooks and their HTML are in `output`.
    `template` is what kernels are forked from, if it has been started already. `lab` is the state folder of the
    embedded lab that they run on: if that has ended, a chapter that fails says so.
    """
    import papermill
    from nbclient.exceptions import CellTimeoutError, DeadKernelError
    from papermill.engines import papermill_engines
    from papermill.exceptions import PapermillExecutionError

    from labkit.kernels.manager import Kernels, SeldomSaved

    logging.getLogger("papermill").setLevel(logging.ERROR)
    logging.getLogger("traitlets").setLevel(logging.CRITICAL)  # nbclient's: that a kernel died is in the report
    papermill_engines.register("seldom", SeldomSaved)
    output.mkdir(parents=True, exist_ok=True)
    run = Run(target, [chapter_of(path, output) for path in notebooks], output)
    with Pages() as pages, Kernels(template or Template(output / "kernels.log")) as kernels:
        for chapter in run.chapters:
            chapter.status = "running"
            yield run
            started = time.monotonic()
            executed = output / chapter.path.name
            executed.unlink(missing_ok=True)
            try:
                with kernels.start(chapter.path.parent, another=chapter is not run.chapters[-1]) as kernel:
                    papermill.execute_notebook(
                        str(chapter.path),
                        str(executed),
                        parameters=parameters or {},
                        kernel_name="python3",
                        cwd=str(chapter.path.parent),
                        progress_bar=False,
                        execution_timeout=CELL_SECONDS,
                        engine_name="seldom",
                        km=kernel,
                    )
                chapter.status = "passed"
            except PapermillExecutionError as error:
                chapter.status, chapter.cell_number = "failed", error.cell_index
                cell = _cell(executed, error.source)
                chapter.cell, chapter.error = error.source, reasons.of_error(cell, error.ename, error.evalue)
            except KeyboardInterrupt:
                chapter.status, chapter.error = "failed", INTERRUPTED
            except (CellTimeoutError, DeadKernelError) as error:
                chapter.status = "failed"
                chapter.cell_number, running = _last_begun(executed)
                chapter.cell = running.source if running is not None else ""
                if isinstance(error, DeadKernelError):
                    chapter.error = reasons.of_kernel(running, output / "kernels.log")
                else:
                    chapter.error = reasons.of_timeout(CELL_SECONDS)
            except (
                Exception
            ) as error:  # a kernel that doesn't start, a notebook that isn't one: the report has to say so
                chapter.status, chapter.error = "failed", f"{type(error).__name__}: {error}"
            if chapter.status == "failed" and chapter.error != INTERRUPTED and lab is not None and _has_ended(lab):
                from ekslab.client import log_file

                chapter.error = reasons.of_lab(chapter.error, log_file(lab))
            chapter.seconds = time.monotonic() - started
            if executed.exists():
                pages.write(run, chapter)
            yield run
            if chapter.status == "failed":
                return


def _cell(executed: Path, source: str) -> NotebookNode:
    """The cell that failed, with what it printed."""
    import nbformat

    cells = nbformat.read(executed, as_version=4).cells
    failed = (cell for cell in cells if cell.source == source and cell.metadata.get("papermill", {}).get("exception"))
    return next(failed, nbformat.v4.new_code_cell(source))


def _last_begun(executed: Path) -> tuple[int, NotebookNode | None]:
    """The last cell that was begun, with its number from 0; None if there is none."""
    import nbformat

    cells = nbformat.read(executed, as_version=4).cells if executed.exists() else []
    begun = [
        (number, cell)
        for number, cell in enumerate(cells)
        if cell.cell_type == "code" and cell.metadata.get("papermill", {}).get("start_time")
    ]
    return begun[-1] if begun else (0, None)


def _has_ended(lab: Path) -> bool:
    """Whether the lab with this state folder has ended by itself."""
    try:
        running_embedded(lab)
    except NoLabError as error:
        return error.ended
    except NotRunningError:  # it is there and doesn't answer
        pass
    return False


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


# Variables of the shell that are about a lab of the person's, or about another workshop.
_OF_A_LAB = ("LABKIT_HOME", "LABKIT_ROOT", "LABKIT_AWS_PORT", "LABKIT_KUBERNETES_PORT")


@contextmanager
def lab_of_its_own(settings: Settings, output: Path, *, here: bool = False) -> Iterator[Path | None]:
    """On the embedded target, runs on a new lab in `output`, which ends with the run. `here`: on that of `settings`.

    Yields the lab's state folder; None on another target.

    The notebooks' kernels inherit the environment, which is the lab's then, as in JupyterLab. Nothing in it is of the
    lab that the shell uses.
    """
    if settings.target != "embedded":
        yield None
        return
    from ekslab.client import PARENT

    before = dict(os.environ)
    home = output / ".labkit"
    try:
        if not here:
            stop_embedded(home)  # left over from a run that was killed
            settings = replace(settings, home=home, aws_port=0, kubernetes_port=0)
            for name in _OF_A_LAB:
                os.environ.pop(name, None)
            os.environ["LABKIT_ROOT"] = str(workshop_root())
        progress = output / "progress.json"  # of this run: it executes solutions, which are not an attendee's
        progress.unlink(missing_ok=True)
        shutil.rmtree(output / "drafts", ignore_errors=True)
        os.environ["LABKIT_PROGRESS"] = str(progress)
        os.environ[PARENT] = str(os.getpid())  # killed, this process can't stop its lab
        environ = embedded(start_embedded(settings)).of_process(os.environ)
        os.environ.clear()
        os.environ.update(environ)
        yield settings.home
    finally:
        if not here:
            stop_embedded(home)
        os.environ.clear()
        os.environ.update(before)
