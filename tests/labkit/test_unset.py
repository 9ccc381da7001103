"""A name that no cell has set yet: two lines that say which cell to run, in every chapter."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from IPython.core.interactiveshell import InteractiveShell

from labkit import unset, workbook
from tests.conftest import ROOT

CHAPTERS = workbook.chapters(ROOT)


class Shell(InteractiveShell):
    """Keeps what a notebook would show of an error."""

    said = ""

    def _showtraceback(self, etype: Any, evalue: Any, stb: Any) -> None:
        self.said = "\n".join(stb)


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch) -> Iterator[Shell]:
    monkeypatch.setenv("JPY_SESSION_NAME", str(ROOT / "my-notebooks" / "03-default-rules.ipynb"))
    shell = Shell()
    shell.history_manager.enabled = False
    unset.load_ipython_extension(shell)
    yield shell
    shell.restore_sys_module_state()


def said(shell: Shell, source: str) -> str:
    shell.said = ""
    shell.run_cell(source, store_history=False)
    return shell.said


def test_in_a_kernel_that_was_started_again_it_says_to_run_what_is_above(shell: Shell) -> None:
    assert said(shell, 'lab.check("03-one-alerts", commands)') == (
        "This chapter's first cells haven't been run since the kernel was started.\n"
        "  What to do: Choose *Run*, *Run All Above Selected Cell* in the menu, then run this cell again."
    )


def test_it_names_the_cell_that_sets_the_name(shell: Shell) -> None:
    shell.user_ns["lab"] = SimpleNamespace(check=print)
    assert said(shell, 'lab.check("03-one-alerts", commands)') == (
        "`commands` isn't set: the cell that sets it hasn't been run, or stopped before it did.\n"
        "  What to do: Run the cell below “Exercise: one of three” that begins with `commands = [`, then this one."
    )
    assert "begins with `from datetime import UTC, datetime`" in said(shell, "(lambda: session.stdout)()")


@pytest.mark.parametrize(
    "source",
    ["prnt(3)", "import json\njson.loads(0)", "exec('commands', {})"],
    ids=["a misspelt name", "another error", "a name of another program"],
)
def test_any_other_error_is_shown_as_ever(shell: Shell, source: str) -> None:
    assert "Traceback" in said(shell, source)


def test_another_notebook_is_left_alone(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("mine.ipynb", "", "my-notebooks/99-mine.ipynb"):
        monkeypatch.setenv("JPY_SESSION_NAME", name and str(ROOT / name))
        assert "Traceback" in said(shell, "lab.status()")


def test_a_copy_that_was_set_aside_is_of_its_chapter(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    aside = ROOT / "my-notebooks" / "until-2026-02-03-101112-03-default-rules.ipynb"
    monkeypatch.setenv("JPY_SESSION_NAME", str(aside))
    assert "first cells" in said(shell, "lab.status()")


def test_a_rule_before_the_lab_is_connected_says_what_is_missing(shell: Shell) -> None:
    assert said(shell, "%%rule mine\n- rule: x").startswith("LabError: `%%rule` isn't there yet")


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda path: path.stem)
def test_every_check_and_checkpoint_can_be_run_before_its_cells(chapter: Path) -> None:
    names = {
        node.id
        for cell in workbook.attendees(workbook.read(chapter)).cells
        if cell.cell_type == "code" and cell.source.startswith(("lab.check(", "lab.checkpoint("))
        for node in ast.walk(ast.parse(cell.source))
        if isinstance(node, ast.Name)
    }
    assert names - {"all", "any", "len", "set"} >= {"lab"}
    for name in names - {"all", "any", "len", "set", "outcome", "o", "w"}:
        assert unset.what_to_do(chapter, name, connected=True), name


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("from labkit import attacks\nattacks.catalogue().stabel", "Catalogue has no 'stabel'"),
        (
            "import labkit.show\nlabkit.show.Table('', (), ()).txt",
            "Table has no 'txt'.\n  What to do: Did you mean 'text' or",
        ),
        (
            "import boto3\nboto3.client('logs', 'us-east-1').describe_log_group()",
            "CloudWatchLogs has no 'describe_log_group'.\n  What to do: Did you mean 'describe_log_groups'",
        ),
        ("import falcorules\nfalcorules.Engine.lod", "Traceback"),  # a class, as Python says it
    ],
)
def test_an_attribute_that_is_misspelt(shell: Shell, source: str, told: str) -> None:
    assert told in said(shell, source)
