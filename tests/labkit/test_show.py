"""How results look in a terminal and in a notebook."""

from __future__ import annotations

import os
import re
import sys
from types import SimpleNamespace

import pytest

from falcorules import markup
from labkit.attacks import catalogue
from labkit.show import AsTable, Cli, Table, counted, in_notebook, say, terminal_width

TABLE = Table("Two rows", ("name", "what"), (("a<b", "one two three"), ("c", "four-five")))


@pytest.mark.parametrize(("count", "said"), [(0, "0 pods"), (1, "1 pod"), (2, "2 pods"), (1000, "1,000 pods")])
def test_a_count_has_its_noun(count: int, said: str) -> None:
    assert counted(count, "pod") == said


def test_a_table_is_a_title_and_a_line_for_each_row() -> None:
    assert TABLE.text() == "Two rows\n  a<b  one two three\n  c    four-five"
    assert repr(TABLE) == TABLE.text()  # output goes to no terminal
    assert TABLE.text(20) == TABLE.text()
    broken = TABLE.text().replace("two three", "two\n       three")
    assert (TABLE.text(19), TABLE.text(16)) == (broken, broken)
    assert Table("None", ("a",), ()).text(40) == "None"


def test_a_word_is_broken_only_where_a_table_would_not_fit_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    attacks = catalogue()
    assert attacks
    monkeypatch.setattr(sys.modules["labkit.attacks.catalogue"], "terminal_width", lambda: 80)
    text = repr(attacks)
    assert max(map(len, text.splitlines())) <= 80
    for attack in attacks:
        assert f"\n  {attack.name}  " in text  # it is to be typed after `labkit attack run`
    wide = Table("T", ("a", "b"), (("x" * 30, "y" * 20),))
    assert wide.text(30) == "T\n  xxxxxxxxxxxxx  yyyyyyyyyyyyy\n  xxxxxxxxxxxxx  yyyyyyy\n  xxxx"
    assert wide.text(1) == wide.text(20)  # not narrower than 8 for each column


def test_a_table_in_a_notebook_has_its_columns_names() -> None:
    shown = TABLE._repr_html_()
    assert re.findall(r"<t[hd][^>]*>([^<]*)</t", shown) == ["name", "what", "a&lt;b", "one two three", "c", "four-five"]
    assert shown.startswith("<b>Two rows</b><table")
    assert Table("<None>", ("a",), ())._repr_html_() == "<b>&lt;None&gt;</b>"


@pytest.mark.parametrize(
    ("state", "tone", "rest"),
    [
        ("applied", "good", ""),
        ("as expected", "good", ""),
        ("NOT as expected: it needs curl", "bad", " it needs curl"),
        ("solved, 1 hint", "good", ", 1 hint"),
        ("partly", "warning", ""),
        ("absent", "plain", ""),
    ],
)
def test_a_state_is_a_badge(state: str, tone: str, rest: str) -> None:
    shown = Table("T", ("step", "state"), ((state, state),))._repr_html_()
    word = state.removesuffix(rest).removesuffix(":")
    assert re.findall(rf"background:{markup.TONES[tone][0]};[^>]*>([^<]*)</span>([^<]*)</td>", shown) == [(word, rest)]
    assert f">{state}</td>" in shown  # in another column it is a word like any other


def test_a_column_without_a_value_is_left_out_of_the_page() -> None:
    shown = Table("T", ("check", "what to do", "found"), (("a", "", "x"), ("b", "", "")))._repr_html_()
    assert re.findall(r"<th [^>]*>([^<]*)<", shown) == ["check", "found"]


def test_a_state_without_a_meaning_is_a_word() -> None:
    assert "<span" not in Table("T", ("state",), (("ready for lunch",),))._repr_html_()


class Result(AsTable):
    def _table(self) -> Table:
        return TABLE


def test_a_result_is_shown_as_its_table() -> None:
    assert repr(Result()) == TABLE.text()
    assert Result()._repr_html_() == TABLE._repr_html_()


@pytest.mark.parametrize(("columns", "width"), [(120, 120), (20, 40)])
def test_the_width_is_that_of_the_terminal(monkeypatch: pytest.MonkeyPatch, columns: int, width: int) -> None:
    class Terminal:
        def isatty(self) -> bool:
            return True

        def fileno(self) -> int:
            return 7

    assert terminal_width() is None
    monkeypatch.setattr(sys, "stderr", Terminal())  # standard output may go into a pipe
    monkeypatch.setattr(os, "get_terminal_size", lambda fileno: os.terminal_size((columns, 25)))
    assert terminal_width() == width


def test_commands_are_shown_as_they_are_and_as_a_block_to_copy() -> None:
    commands = Cli("kubectl get pods\nhelm list")
    assert repr(commands) == "kubectl get pods\nhelm list"
    shown = commands._repr_html_()
    assert re.findall(r"<div[^>]*>(kubectl get pods|helm list)</div>", shown) == ["kubectl get pods", "helm list"]


def test_outside_of_a_notebook_messages_go_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert not in_notebook()
    say("hello")
    assert capsys.readouterr() == ("", "hello\n")


def test_in_a_notebook_messages_go_below_the_cell(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: object()))  # type: ignore[arg-type]
    assert in_notebook()
    say("hello")
    assert capsys.readouterr() == ("hello\n", "")
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: None))  # type: ignore[arg-type]
    assert not in_notebook()
