"""Fluent Bit's own log lines, on standard error."""

from __future__ import annotations

import time as clock
from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ekslab.node import Process

_LEVELS = {"off": 0, "error": 1, "warn": 2, "warning": 2, "info": 3, "debug": 4, "trace": 5}
_TAGS = {"error": "error", "warn": " warn", "info": " info", "debug": "debug", "help": " help"}


class Log:
    """Writes `[2026/11/23 04:15:07.123] [ info] [...] ...`; nothing that is less urgent than `level`."""

    def __init__(self, process: Process, level: str = "info") -> None:
        self._process = process
        self.level = level
        self.counts: Counter[str] = Counter()
        """Lines so far, by level."""

    def write(self, level: str, text: str) -> None:
        if _LEVELS.get(level, 1) > _LEVELS.get(self.level, 3):
            return
        self.counts[level] += 1
        now = self._process.kernel.now()
        self._write(f"[{_stamp(now)}.{now // 1_000_000 % 1000:03d}] [{_TAGS[level]}] {text}\n")

    def signal(self, text: str) -> None:
        """A line of the signal handler, which has neither milliseconds nor a level."""
        self._write(f"[{_stamp(self._process.kernel.now())}] {text}\n")

    def _write(self, line: str) -> None:
        self._process.stderr.write(line)

    def error(self, text: str) -> None:
        self.write("error", text)

    def warn(self, text: str) -> None:
        self.write("warn", text)

    def info(self, text: str) -> None:
        self.write("info", text)

    def debug(self, text: str) -> None:
        self.write("debug", text)


def _stamp(now: int) -> str:
    return clock.strftime("%Y/%m/%d %H:%M:%S", clock.gmtime(now // 1_000_000_000))
