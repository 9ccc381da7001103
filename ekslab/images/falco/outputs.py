"""The outputs of alerts (standard output, file, HTTP) and their statistics."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING

from ekslab.images.falco.config import Settings
from ekslab.node import Process

if TYPE_CHECKING:
    from falcorules import Alert

_BLOCK = 4096
"""Bytes that the C library collects before it writes to something that isn't a terminal."""


class Outputs:
    """The outputs of one Falco process. `settings` may be replaced; `log` takes a level and a text."""

    def __init__(self, process: Process, settings: Settings, log: Callable[[str, str], None]) -> None:
        self.settings = settings
        self._p = process
        self._log = log
        self._buffer: list[str] = []
        self._by_rule: Counter[str] = Counter()
        self._by_priority: Counter[str] = Counter()
        self._posts: set[asyncio.Task[None]] = set()

    def write(self, alert: Alert) -> None:
        """Counts the alert and sends it to every output that is enabled."""
        self._by_rule[alert.rule] += 1
        self._by_priority[alert.priority.upper()] += 1
        settings = self.settings
        line = (alert.to_json() if settings.flag("json_output") else alert.to_text()) + "\n"
        if settings.flag("stdout_output.enabled", True):
            self._buffer.append(line)
            held_back = settings.flag("buffered_outputs") and not self._p.isatty(1)
            if not held_back or sum(map(len, self._buffer)) >= _BLOCK:
                self.flush()
        if settings.flag("file_output.enabled"):
            self._p.append_text(settings.get("file_output.filename", "./events.txt"), line)
        if settings.flag("http_output.enabled"):
            task = asyncio.ensure_future(self._post(line))
            self._posts.add(task)
            task.add_done_callback(self._posts.discard)

    def flush(self) -> None:
        """Writes to standard output what was held back."""
        text, self._buffer = "".join(self._buffer), []
        if text:
            self._p.stdout.write(text)

    async def _post(self, line: str) -> None:
        url = str(self.settings.get("http_output.url", ""))
        headers = {"Content-Type": "application/json", "User-Agent": "falcosecurity/falco"}
        try:
            await self._p.http("POST", url, headers, line.encode())
        except (OSError, TimeoutError) as error:
            self._log("error", f"libcurl failed to perform call: {error}")

    def write_statistics(self) -> None:
        """What Falco prints when it ends."""
        lines = [f"Events detected: {self._by_rule.total()}", "Rule counts by severity:"]
        lines += [f"   {priority}: {count}" for priority, count in sorted(self._by_priority.items())]
        lines += ["Triggered rules by rule name:"]
        lines += [f"   {rule}: {count}" for rule, count in sorted(self._by_rule.items())]
        self._p.stdout.write("\n".join(lines) + "\n")
