"""Waiting: ends as soon as something is there, at its deadline, or when the person has had enough."""

from __future__ import annotations

import pytest

from labkit.errors import LabError, StoppedError
from labkit.waiting import Elapsed, poll


def test_what_is_found_is_returned_at_once() -> None:
    answers = iter([None, None, "alert"])
    assert poll(lambda: next(answers), "an alert", timeout=10) == "alert"


def test_nothing_is_returned_after_the_deadline() -> None:
    assert poll(lambda: None, "an alert", timeout=0.1) is None


def test_other_errors_end_it() -> None:
    def look() -> None:
        raise LabError("AWS refuses these credentials.")

    with pytest.raises(LabError, match="refuses"):
        poll(look, "an alert", timeout=10)


def test_ctrl_c_is_two_plain_sentences() -> None:
    def look() -> None:
        raise KeyboardInterrupt

    with pytest.raises(StoppedError, match="Stopped waiting for an alert") as caught:
        poll(look, "an alert", timeout=10)
    assert "run the cell again" in caught.value.hint
    assert caught.value.__cause__ is None


def test_a_short_wait_leaves_no_trace(capsys: pytest.CaptureFixture[str]) -> None:
    with Elapsed("Waiting", 10) as elapsed:
        elapsed._live = True
        elapsed.show()
    assert capsys.readouterr() == ("", "")


def test_a_long_wait_shows_one_line_and_wipes_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("labkit.waiting.QUIET_SECONDS", 0)
    with Elapsed("Waiting", 10) as elapsed:
        elapsed._live = True
        elapsed.show()
        elapsed.show()
    shown = capsys.readouterr().err
    assert "\n" not in shown
    assert shown.count("Waiting: 0 of 10 s") == 2
    assert shown.endswith("\r" + " " * len("Waiting: 0 of 10 s") + "\r")
