"""Attendees' copies of the chapters: made from the committed notebooks, without their outputs and solutions."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labkit.calls import short_repr
from labkit.errors import LabError

if TYPE_CHECKING:
    from nbformat import NotebookNode

FOLDER = "my-notebooks"
"""Where the copies are, beside `notebooks/`: links to pictures, rules and other chapters are the same in both."""
SOLUTION = "solution"
"""The tag of cells that an attendee's copy doesn't have."""
_MADE = ".made.json"  # a digest of each copy as it was made
_LOCK = ".made.lock"
_READ = ("notebooks", "images", "docs")
_CHANGED = ("manifests", "custom-rules")


def chapters(root: Path) -> list[Path]:
    """The committed notebooks in order. Raises `LabError` if there are none in `root`."""
    found = sorted((root / "notebooks").glob("[0-9][0-9]-*.ipynb"))
    if not found:
        raise LabError(f"There are no notebooks in {root}.", hint="Run this from the workshop's folder.")
    return found


def chapter(root: Path, number: str) -> Path:
    """The committed notebook of a chapter, by its number (`03`). Raises `LabError` if there is none."""
    found = chapters(root)
    for path in found:
        if path.stem.startswith(f"{number.zfill(2)}-") or path.stem == number:
            return path
    numbers = ", ".join(path.stem[:2] for path in found)
    raise LabError(f"There is no chapter {short_repr(number)}.", hint=f"There are: {numbers}.")


def make_folder(folder: Path, workshop: Path) -> None:
    """Makes an attendee's folder of a workshop that they share with others, or brings it up to date.

    What is read is copied again each time, what chapters ask an attendee to change once. Copies, since a server of
    Jupyter doesn't hand out files that links lead to.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name in (*_READ, *_CHANGED):
        if (workshop / name).is_dir() and (name in _READ or not (folder / name).exists()):
            shutil.copytree(workshop / name, folder / name, copy_function=shutil.copyfile, dirs_exist_ok=True)


@dataclass(frozen=True)
class Copies:
    """What `prepare` found and did: file names of copies that are new, brought up to date, or out of date but kept.

    `unknown` are kept, too: they differ from the chapter, and there is no record of what they were made from.
    """

    made: tuple[str, ...] = ()
    updated: tuple[str, ...] = ()
    outdated: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()


def prepare(root: Path) -> Copies:
    """Makes the copies that aren't there yet.

    When a chapter has changed since its copy was made, the copy is replaced only if its cells are as they were made;
    an attendee's work is never overwritten. Raises `LabError` if the folder of the copies can't be used.
    """
    with _locked(root / FOLDER):
        return _prepare(root)


def _prepare(root: Path) -> Copies:
    folder = root / FOLDER
    known = _known(folder)
    before = dict(known)
    made: list[str] = []
    updated: list[str] = []
    outdated: list[str] = []
    unknown: list[str] = []
    try:
        for source in chapters(root):
            copy = folder / source.name
            fresh = attendees(read(source))
            digest = _digest(fresh)
            if not copy.exists():
                made.append(copy.name)
            elif known.get(copy.name) == digest:
                continue
            elif (present := _digest_of(copy)) == digest:
                known[copy.name] = digest
                continue
            elif present == known.get(copy.name):
                updated.append(copy.name)
            else:
                (outdated if copy.name in known else unknown).append(copy.name)
                continue
            _write(fresh, copy)
            known[copy.name] = digest
    finally:  # also of the copies that were made before one failed
        if known != before:
            _record(folder, known, changed=bool(made or updated))
    return Copies(tuple(made), tuple(updated), tuple(outdated), tuple(unknown))


def _record(folder: Path, known: dict[str, str], *, changed: bool) -> None:
    """Keeps the digests. Unless copies were made, the file's time stays: `current` compares with it."""
    file = folder / _MADE
    times = [path.stat().st_mtime for path in ([file] if file.exists() else [folder / name for name in known])]
    _write_text(file, json.dumps(known, indent=1))
    if not changed:
        os.utime(file, (min(times), min(times)))


def start_over(root: Path, numbers: Iterable[str] = ()) -> list[tuple[str, str]]:
    """Sets the copies of chapters (all, if none are named) aside and makes new ones.

    Returns the name of each copy that there was, and the name under which it is kept. A copy stays in the folder, so
    that its links go on working. If that fails, every copy is where it was. Raises `LabError` for a chapter that
    doesn't exist.
    """
    folder = root / FOLDER
    chosen = [chapter(root, number) for number in numbers] or chapters(root)
    kept: list[tuple[str, str]] = []
    with _locked(folder):
        before = _known(folder)
        stamp = _unused(folder, time.strftime("%Y-%m-%d-%H%M%S"))
        try:
            for source in dict.fromkeys(chosen):
                copy = folder / source.name
                if copy.exists():
                    aside = copy.with_name(f"until-{stamp}-{copy.name}")
                    copy.rename(aside)
                    kept.append((copy.name, aside.name))
            _prepare(root)
        except BaseException:
            for name, aside_name in kept:
                os.replace(folder / aside_name, folder / name)
            if _known(folder) != before:
                with suppress(OSError):  # of a full disk, too, the copies themselves are back
                    _record(folder, before, changed=False)
            raise
    return kept


def _unused(folder: Path, stamp: str) -> str:
    """`stamp`, with a number if copies have been set aside under it: two of the same second are both kept."""
    stamps = (stamp, *(f"{stamp}-{n}" for n in range(2, 1000)))
    return next(s for s in stamps if not any(folder.glob(f"until-{s}-[0-9][0-9]-*.ipynb")))


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """The folder of the copies, made if need be, for one process at a time."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / _LOCK).open("w")
    except (FileExistsError, NotADirectoryError) as error:
        what = "a link that leads nowhere" if folder.is_symlink() else "no folder"
        hint = f"Move it away (`mv {folder} {folder}.old`), and run this again: your copies of the chapters go there."
        raise LabError(f"{folder} is {what}.", hint=hint) from error
    except OSError as error:
        hint = "Make it a folder that you can write to: your copies of the chapters go there."
        raise LabError(f"{folder} can't be used: {error.strerror or error}.", hint=hint) from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def current(root: Path) -> Path:
    """The copy that was worked on last, relative to `root`; the first chapter if none was."""
    folder = root / FOLDER
    made = (folder / _MADE).stat().st_mtime if (folder / _MADE).exists() else 0.0
    copies = [folder / source.name for source in chapters(root)]
    worked_on = [copy for copy in copies if copy.exists() and copy.stat().st_mtime > made]
    return max(worked_on, key=lambda copy: copy.stat().st_mtime, default=copies[0]).relative_to(root)


def attendees(notebook: NotebookNode) -> NotebookNode:
    """A chapter as an attendee begins with it: no outputs, no execution counts, no cells tagged `solution`."""
    from nbconvert.preprocessors import ClearOutputPreprocessor, TagRemovePreprocessor

    notebook, resources = TagRemovePreprocessor(remove_cell_tags={SOLUTION}).preprocess(notebook, {})
    notebook, _ = ClearOutputPreprocessor().preprocess(notebook, resources)
    return notebook


def solution(notebook: Path, marker: str) -> str:
    """The source of the `solution` cells before the first cell with `marker` in it, after the check before that one.

    Empty if there is none.
    """
    found: list[str] = []
    for cell in _code_cells(notebook):
        if SOLUTION in cell.metadata.get("tags", []):
            found.append(cell.source)
        elif marker in cell.source:
            return "\n\n".join(found)
        elif "lab.check(" in cell.source:
            found = []
    return ""


def defining_cell(notebook: Path, name: str) -> tuple[str, str] | None:
    """Where a chapter first assigns `name`: the heading above the cell and the cell's first line of code."""
    import ast

    heading = ""
    for cell in read(notebook).cells:
        if cell.cell_type == "markdown":
            lines = [line.lstrip("# ") for line in cell.source.splitlines() if line.startswith("#")]
            heading = lines[-1] if lines else heading
        elif cell.cell_type == "code" and SOLUTION not in cell.metadata.get("tags", []):
            try:
                tree = ast.parse(cell.source)
            except SyntaxError:  # a magic
                continue
            if name in _assigned(tree):
                lines = [line for line in cell.source.splitlines() if line.strip() and not line.startswith("#")]
                return heading, lines[0]
    return None


def _assigned(tree: Any) -> set[str]:
    import ast

    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.alias):
            names.add((node.asname or node.name).partition(".")[0])
    return names


def _code_cells(notebook: Path) -> Iterator[NotebookNode]:
    return (cell for cell in read(notebook).cells if cell.cell_type == "code")


def read(path: Path) -> NotebookNode:
    """A notebook. Raises `LabError` if the file isn't one."""
    import nbformat

    try:
        notebook: NotebookNode = nbformat.read(path, as_version=4)
        if not isinstance(notebook.cells, list):
            raise TypeError("cells are no list")
    except OSError:
        raise
    except Exception as error:  # what nbformat raises depends on how far the file is from a notebook
        name = f"{path.parent.name}/{path.name}"
        why = "it isn't JSON" if isinstance(error, ValueError) else "its JSON has no list of cells"
        raise LabError(
            f"{name} isn't a notebook: {why}.",
            hint=f"Restore it: `git checkout {name}` does, and drops what was changed in it.",
        ) from error
    return notebook


def _write(notebook: NotebookNode, path: Path) -> None:
    import nbformat

    _write_text(path, nbformat.writes(notebook))
    _trust(notebook)


def _trust(notebook: NotebookNode) -> None:
    """Signs a copy as `jupyter trust` does: or JupyterLab asks before it does what a button in the text is for."""
    from nbformat.sign import NotebookNotary

    with suppress(OSError):  # a home that can't be written to: then JupyterLab asks
        NotebookNotary().sign(notebook)


def _write_text(path: Path, text: str) -> None:
    """Replaces a file as a whole, so that an interruption leaves the old one."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _known(folder: Path) -> dict[str, str]:
    try:
        known = json.loads((folder / _MADE).read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(known, dict):
        return {}
    return {name: digest for name, digest in known.items() if isinstance(digest, str)}


def _digest_of(path: Path) -> str:
    try:
        return _digest(read(path))
    except Exception:  # whatever isn't a notebook is an attendee's work, too
        return ""


def _digest(notebook: NotebookNode) -> str:
    """A digest of the cells' kinds and sources: what an attendee edits, not what running them leaves."""
    cells = [[cell.cell_type, cell.source] for cell in notebook.cells]
    return hashlib.sha256(json.dumps(cells).encode()).hexdigest()
