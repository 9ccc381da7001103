"""Polls until something is there, at most for a time, and shows the time gone by."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TypeVar

from labkit.errors import StoppedError
from labkit.show import in_notebook

Found = TypeVar("Found")

# Polls start close together, because the embedded lab delivers at once, and grow apart, because AWS meters them.
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 1.0
QUIET_SECONDS = 5.0
"""A wait shorter than this shows nothing while it lasts, so that stored outputs stay the same."""


def poll(look: Callable[[], Found | None], label: str, timeout: float) -> Found | None:
    """The first result of `look()` that isn't None; None after `timeout` seconds.

    Raises `StoppedError` on Ctrl-C; `label` says what is waited for.
    """
    started = time.monotonic()
    pause = FIRST_PAUSE
    with Elapsed(f"Waiting for {label}", timeout) as elapsed:
        try:
            while True:
                found = look()
                left = started + timeout - time.monotonic()
                if found is not None or left <= 0:
                    return found
                time.sleep(min(pause, left))
                pause = min(pause * 1.5, LONGEST_PAUSE)
                elapsed.show()
        except KeyboardInterrupt:
            raise StoppedError(
                f"Stopped waiting for {label}.",
                hint="Nothing is broken by that: run the cell again to go on waiting.",
            ) from None


class Elapsed:
    """One line with the time gone by, written over itself and wiped at the end. Terminals and notebooks only."""

    def __init__(self, what: str, timeout: float) -> None:
        self.what = what
        self.timeout = timeout
        self._started = time.monotonic()
        self._width = 0
        self._live = sys.stderr.isatty() or in_notebook()
        self._out = sys.stdout if in_notebook() else sys.stderr  # Jupyter paints stderr red

    def __enter__(self) -> Elapsed:
        return self

    def __exit__(self, *_: object) -> None:
        if self._width:
            print("\r" + " " * self._width + "\r", end="", file=self._out, flush=True)

    def show(self) -> None:
        gone = time.monotonic() - self._started
        if self._live and gone >= QUIET_SECONDS:
            line = f"{self.what}: {gone:.0f} of {self.timeout:.0f} s"
            self._width = max(self._width, len(line))
            print("\r" + line.ljust(self._width), end="", file=self._out, flush=True)
