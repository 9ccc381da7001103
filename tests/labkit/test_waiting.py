"""Waiting: ends as soon as something is there, at its deadline, or when the person has had enough."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from contextlib import suppress

import pytest

from labkit.errors import LabError, StoppedError
from labkit.waiting import poll

from .conftest import RunCell


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


QUICK = "import labkit.waiting as w; w.QUIET_SECONDS = w._TICK = 0.1; "
WAIT = QUICK + "w.poll(lambda: None, 'an alert', 0.6)"
COUNT = QUICK + "import time; [time.sleep(0.3) for step in w.progress(['one', 'two', 'three'], 'Steps', 3)]; None"
NESTED = QUICK + "[w.poll(lambda: None, 'a pod', 0.4) for step in w.progress(['one', 'two'], 'Steps', 2)]; None"
READ = (
    QUICK
    + """
import time
import pandas
from labkit.alerts.reader import reading
with reading() as shown:
    for count in (1050, 2100):
        time.sleep(0.2)
        shown(count, pandas.Timestamp("2026-11-23T04:20:00Z"))
"""
)


def at_a_terminal(code: str) -> str:
    """What a program writes to standard error if that is a terminal."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 120, 0, 0))
    process = subprocess.Popen([sys.executable, "-c", code], stderr=theirs, stdout=subprocess.PIPE)
    os.close(theirs)
    seen = b""
    with suppress(OSError):  # the end of a terminal
        while part := os.read(ours, 4096):
            seen += part
    os.close(ours)
    out, _ = process.communicate()
    assert (out, process.returncode) == (b"", 0), seen
    return seen.decode()


@pytest.mark.parametrize(
    ("code", "shown"),
    [
        (WAIT, "\rWaiting for an alert: 0 s of at most 1 s"),
        (COUNT, "Steps:  33%|██████▋             | 1 of 3, two"),
        (READ, r"Reading alerts: 1,050 events [00:00, "),
        (READ, r" events/s, up to 2026-11-23 04:20:00]"),
        (NESTED, "Steps:  50%|██████████          | 1 of 2, two | Waiting for a pod: 0 s"),
    ],
)
def test_a_long_wait_is_one_line_of_a_terminal_and_is_wiped(code: str, shown: str) -> None:
    seen = at_a_terminal(code)
    assert shown in seen
    assert "\n" not in seen
    assert re.search(r"\r +\r$", seen)


def test_a_short_wait_leaves_no_trace() -> None:
    assert at_a_terminal("import labkit.waiting as w; w.poll(lambda: None, 'an alert', 0.6)") == ""


@pytest.mark.parametrize("code", [WAIT, COUNT])
def test_nothing_is_shown_where_nobody_looks(code: str) -> None:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")


def test_in_an_open_notebook_it_is_one_output_that_is_emptied(run_cell: RunCell) -> None:
    found = run_cell(NESTED, cellId="cell-1")
    assert [kind for kind, _ in found] == ["display_data", *["update_display_data"] * (len(found) - 1)]
    assert len({content["transient"]["display_id"] for _, content in found}) == 1
    texts = [content["data"]["text/plain"] for _, content in found]
    assert any("two | Waiting for a pod: 0 s of at most 0 s" in text for text in texts)
    assert "Waiting for a pod" in found[0][1]["data"]["text/html"]
    assert texts[-1] == ""


@pytest.mark.parametrize("code", [WAIT, COUNT])
def test_a_notebook_that_a_program_executes_keeps_nothing_of_it(run_cell: RunCell, code: str) -> None:
    assert run_cell(code) == []
