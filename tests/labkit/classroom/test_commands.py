"""The commands that an attendee types in the shell that `labkit class env` makes theirs."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from click.testing import CliRunner, Result

from labkit.cli import main
from tests.labkit.classroom.conftest import Attendee

Typed = Callable[..., Result]


@pytest.fixture
def typed(seven: Attendee, monkeypatch: pytest.MonkeyPatch) -> Typed:
    for name, value in seven.variables.items():
        monkeypatch.setenv(name, value)

    def run(*words: str) -> Result:
        return CliRunner().invoke(main, words)

    return run


def test_status_is_that_of_the_class_and_no_second_lab_is_started(typed: Typed) -> None:
    found = typed("status")
    assert found.exit_code == 0, found.output
    assert "attendee 07's" in found.output
    assert "falco/falco-" in found.output
    for command in ("up", "env"):
        refused = typed(command)
        assert refused.exit_code == 1
        assert "no embedded lab is needed" in refused.output


@pytest.mark.parametrize(
    "words", [("status",), ("env", "08"), ("gate",), ("up", "--plan", "--attendees", "1"), ("down",)]
)
def test_what_is_the_instructors_says_so(typed: Typed, words: tuple[str, ...]) -> None:
    refused = typed("class", *words)
    assert refused.exit_code == 1
    assert "a class is its instructor's" in refused.output
