"""The kernels of a run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from labkit.kernels.process import Process


@pytest.fixture
def children() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Two processes that do nothing."""
    command = [sys.executable, "-c", "import signal; print(flush=True); signal.pause()"]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(2)]
    for child in started:
        assert child.stdout is not None
        child.stdout.readline()
    yield started
    for child in started:
        child.kill()
        child.communicate()


@pytest.mark.parametrize("by_descriptor", [True, False])
def test_a_process_is_known_to_have_ended(
    children: list[subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch, by_descriptor: bool
) -> None:
    if not by_descriptor:  # as on macOS
        monkeypatch.delattr(os, "pidfd_open", raising=False)
    first, _ = children
    process = Process(first.pid)
    assert process.poll() is None
    process.terminate()
    assert first.wait() == -signal.SIGTERM
    assert process.wait() == 0
    process.kill()
    assert Process(first.pid).wait() == 0


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="only Linux has descriptors of processes")
def test_no_signal_reaches_another_process_that_got_the_number(children: list[subprocess.Popen[bytes]]) -> None:
    first, other = children
    process = Process(first.pid)
    first.kill()
    first.wait()
    process.pid = other.pid
    process.kill()
    assert process.poll() == 0
    assert other.poll() is None
