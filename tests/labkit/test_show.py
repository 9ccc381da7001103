"""How results look in a terminal."""

from __future__ import annotations

import pytest

from labkit.attacks import catalogue
from labkit.show import Cli, in_notebook, say


def test_a_word_is_broken_only_where_a_table_would_not_fit_otherwise() -> None:
    text = catalogue()._table().text(100)
    assert max(map(len, text.splitlines())) <= 100
    for attack in catalogue():
        assert f"\n  {attack.name}  " in text  # it is to be typed after `labkit attack run`


def test_commands_are_shown_as_they_are_and_as_a_block_to_copy() -> None:
    commands = Cli("kubectl get pods\nhelm list")
    assert repr(commands) == "kubectl get pods\nhelm list"
    assert commands._repr_markdown_() == "```bash\nkubectl get pods\nhelm list\n```"


def test_outside_of_a_notebook_messages_go_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert not in_notebook()
    say("hello")
    assert capsys.readouterr() == ("", "hello\n")
