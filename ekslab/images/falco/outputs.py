"""The outputs of alerts (standard output, file, HTTP) and their statistics."""

from __future__ import annotations

import asyncio
import json
import time as clock
from collections import Counter
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from ekslab.images.falco.config import Settings
from ekslab.node import Process

if TYPE_CHECKING:
    from falcorules import Alert

_BLOCK = 4096
"""Bytes that the C library collects before it writes to something that isn't a terminal."""
_SHORT = ("EMERGENCY", "ALERT", "CRITICAL", "ERROR", "WARNING", "NOTICE", "INFO", "DEBUG")


class Outputs:
    """The outputs of one Falco process. `settings` may be replaced; `log` takes a level and a text."""

    def __init__(self, process: Process, settings: Settings, log: Callable[[str, str], None]) -> None:
        self.settings = settings
        self.hostname = ""
        self._p = process
        self._log = log
        self._buffer: list[str] = []
        self._by_rule: Counter[str] = Counter()
        self._by_priority: Counter[str] = Counter()
        self._posts: set[asyncio.Task[None]] = set()

    def write(self, alert: Alert) -> None:
        """Counts the alert and sends it to every output that is enabled."""
        self._by_rule[alert.rule] += 1
        self._by_priority[alert.priority.upper().replace("INFORMATIONAL", "INFO")] += 1
        self._send((alert.to_json() if self.settings["json_output"] else alert.to_text()) + "\n")

    def report(self, priority: str, rule: str, text: str) -> None:
        """Sends a message of Falco's own, which isn't counted, in the shape of an alert without fields."""
        now = self._p.kernel.now()
        seconds, nanoseconds = divmod(now, 1_000_000_000)
        if not self.settings["json_output"]:
            stamp = clock.strftime("%H:%M:%S", clock.gmtime(seconds))
            self._send(f"{stamp}.{nanoseconds:09}: {priority} {text} ()\n")
            return
        message = {
            "hostname": self.hostname,
            "output": text,
            "output_fields": {},
            "priority": priority,
            "rule": rule,
            "source": "internal",
            "time": f"{clock.strftime('%Y-%m-%dT%H:%M:%S', clock.gmtime(seconds))}.{nanoseconds:09}Z",
        }
        self._send(json.dumps(message, separators=(",", ":"), ensure_ascii=False) + "\n")

    def _send(self, line: str) -> None:
        settings = self.settings
        if settings["stdout_output.enabled"]:
            self._buffer.append(line)
            held_back = settings["buffered_outputs"] and not self._p.isatty(1)
            if not held_back or sum(map(len, self._buffer)) >= _BLOCK:
                self.flush()
        if settings["file_output.enabled"]:
            path = settings["file_output.filename"]
            try:
                self._p.append_text(path, line)
            except OSError:
                self._log("error", f"file: failed to open output file {path}")
        if settings["http_output.enabled"]:
            task = asyncio.ensure_future(self._post(line))
            self._posts.add(task)
            task.add_done_callback(self._posts.discard)

    def flush(self) -> None:
        """Writes to standard output what was held back."""
        text, self._buffer = "".join(self._buffer), []
        if text:
            self._p.stdout.write(text)

    async def _post(self, line: str) -> None:
        url = self.settings["http_output.url"]
        kind = "application/json" if self.settings["json_output"] else "text/plain"
        headers = {"Content-Type": kind, "User-Agent": self.settings["http_output.user_agent"]}
        try:
            await self._p.http("POST", url, headers, line.encode())
        except (OSError, TimeoutError) as error:
            self._log("error", f"libcurl failed to perform call: {error}")

    def write_statistics(self, rules: Iterable[str]) -> None:
        """What Falco prints when it ends, the most severe priority first and rules in the order of `rules`."""
        lines = [f"Events detected: {self._by_rule.total()}", "Rule counts by severity:"]
        lines += [f"   {priority}: {count}" for priority in _SHORT if (count := self._by_priority[priority])]
        lines += ["Triggered rules by rule name:"]
        lines += [f"   {rule}: {count}" for rule in rules if (count := self._by_rule[rule])]
        self._p.stdout.write("\n".join(lines) + "\n")
