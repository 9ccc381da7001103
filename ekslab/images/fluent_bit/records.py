"""Turns lines of container logs (CRI and Docker formats) into records; joins lines that the runtime split."""

from __future__ import annotations

import datetime as dt
import json
import re
from dataclasses import dataclass, field
from typing import Any

Record = dict[str, Any]


@dataclass
class Event:
    """A record and its time in nanoseconds since the epoch."""

    time: int
    record: Record


_CRI = re.compile(r"^(?P<time>[^ ]+) (?P<stream>stdout|stderr) (?P<_p>[^ ]*) (?P<log>.*)$", re.DOTALL)
_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)$")

FLUSH_TIMEOUT = 4.0
"""Seconds after which the first part of a split line goes out without its end."""


def lookup(record: Record, accessor: str) -> Any:
    """The value of a key, or of a record accessor such as `$kubernetes['labels']['app']`; None if there is none."""
    if not accessor.startswith("$"):
        return record.get(accessor)
    value: Any = record
    for dotted, quoted in re.findall(r"\$?([^\[\]$]+)|\['([^']*)'\]", accessor):
        if not isinstance(value, dict):
            return None
        value = value.get(quoted or dotted)
    return value


def parse_time(text: str) -> int | None:
    """Nanoseconds since the epoch of an RFC 3339 time, None if it isn't one."""
    match = _TIME.match(text)
    if match is None:
        return None
    zone = "+00:00" if match[3] == "Z" else match[3]
    seconds = int(dt.datetime.fromisoformat(match[1] + zone).timestamp())
    return seconds * 1_000_000_000 + int((match[2] or "0").ljust(9, "0"))


@dataclass
class Lines:
    """Turns the lines of one file into events. `parsers` are names of multiline parsers, tried in order."""

    parsers: tuple[str, ...]
    key: str = "log"
    _pending: dict[str, Event] = field(default_factory=dict)
    """The parts so far of a split line, by stream."""

    def feed(self, line: str, now: int) -> list[Event]:
        """Events that are complete with this line, which comes without its line end; `now` is in nanoseconds."""
        for parser in self.parsers:
            parsed = self._cri(line, now) if parser == "cri" else self._docker(line, now)
            if parsed is not None:
                return parsed
        return [Event(now, {self.key: line})]

    @property
    def waiting(self) -> bool:
        return bool(self._pending)

    def flush(self) -> list[Event]:
        """Ends split lines whose last part hasn't come."""
        events = list(self._pending.values())
        self._pending.clear()
        return events

    def _cri(self, line: str, now: int) -> list[Event] | None:
        match = _CRI.match(line)
        if match is None:
            return None
        record: Record = {"time": match["time"], "stream": match["stream"], "_p": match["_p"], "log": match["log"]}
        time = parse_time(match["time"])
        return self._join(match["stream"], Event(now if time is None else time, record), partial=match["_p"] == "P")

    def _docker(self, line: str, now: int) -> list[Event] | None:
        try:
            record = json.loads(line)
        except ValueError:
            return None
        if not isinstance(record, dict) or not isinstance(record.get("log"), str):
            return None
        time = parse_time(str(record.get("time", "")))
        event = Event(now if time is None else time, record)
        joined = self._join(str(record.get("stream", "")), event, partial=not record["log"].endswith("\n"))
        return joined

    def _join(self, stream: str, event: Event, *, partial: bool) -> list[Event]:
        first = self._pending.get(stream)
        if first is not None:
            # The first part's time and flag stay, as Fluent Bit leaves them.
            first.record["log"] += event.record["log"]
        elif partial:
            self._pending[stream] = event
        if partial:
            return []
        return [self._pending.pop(stream, event)]
