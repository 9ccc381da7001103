"""Turns lines of container logs (CRI and Docker formats) into records; joins lines that the runtime split."""

from __future__ import annotations

import datetime as dt
import functools
import json
import re
from dataclasses import dataclass, field
from typing import Any

from ekslab.images.fluent_bit.text import joined

Record = dict[str, Any]


@dataclass
class Event:
    """A record and its time in nanoseconds since the epoch."""

    time: int
    record: Record


CRI = re.compile(r"(?P<time>.+?) (?P<stream>stdout|stderr) (?P<_p>F|P) (?P<log>.*)")
CRI_KEYS = list(CRI.groupindex)

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


_STEPS = (("year", 0, 9999, "-"), ("month", 1, 12, "-"), ("day", 1, 31, "T"),
          ("hour", 0, 23, ":"), ("minute", 0, 59, ":"), ("second", 0, 60, "."))  # fmt: skip
_ZONE = re.compile(
    r"\s*(?:(?P<utc>Z|GMT|UTC?)|(?P<sign>[+-])(?P<hours>\d\d):?(?P<minutes>\d\d)?(?!\d)|(?P<name>[ECMP][SD]T))"
)
_USUAL = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)\.(\d{1,9})Z", re.ASCII)
_NAMED = {"EST": -5, "CST": -6, "MST": -7, "PST": -8, "EDT": -4, "CDT": -5, "MDT": -6, "PDT": -7}


def parse_time(text: str) -> int | None:
    """Nanoseconds since the epoch of a CRI line's time, `%Y-%m-%dT%H:%M:%S.%L%z`; None if it fits into no record.

    Fluent Bit refuses no time. What it can't read, and all after that, stays at its start: year 1900, the day before
    the first of January, midnight, UTC. A day that the month doesn't have is one of the next month.
    """
    usual = _USUAL.fullmatch(text)  # by far the most, and many in the same second
    seconds = _whole_second(usual[1]) if usual is not None else None
    if usual is None or seconds is None:
        return _parse_time(text)
    return _representable(seconds, int(float(f"0.{usual[2]}") * 1e9))


def _representable(seconds: int, fraction: int) -> int | None:
    """Nanoseconds since the epoch; a record's time has 32 bits of seconds without a sign."""
    return seconds * 1_000_000_000 + fraction if 0 <= seconds < 2**32 and fraction < 1e9 else None


@functools.lru_cache(maxsize=256)
def _whole_second(text: str) -> int | None:
    try:
        return int(dt.datetime.fromisoformat(f"{text}+00:00").timestamp())
    except ValueError:
        return None


def _parse_time(text: str) -> int | None:
    found = {"year": 1900, "month": 1, "day": 0, "hour": 0, "minute": 0, "second": 0}
    rest = text
    for name, least, most, end in _STEPS:
        number, rest = _number(rest, most)
        if number is None or not least <= number <= most:
            return _nanoseconds(found)
        found[name] = number
        if not rest.startswith(end):
            return _nanoseconds(found)
        rest = rest[1:]
    digits = re.match(r"\d+(?:[eE][+-]?\d+)?", rest[:9])
    if digits is None:
        return _nanoseconds(found)
    fraction = int(float(f"0.{digits[0]}") * 1e9)
    zone = _ZONE.match(rest, digits.end())
    return _nanoseconds(found, fraction, 0 if zone is None else _offset(zone))


def _number(text: str, most: int) -> tuple[int | None, str]:
    """A number of as many digits as can still be below `most`, and the text after it."""
    value: int | None = None
    room = most
    at = 0
    while at < len(text) and "0" <= text[at] <= "9" and room and (value is None or value * 10 <= most):
        value = (value or 0) * 10 + int(text[at])
        room //= 10
        at += 1
    return value, text[at:]


def _offset(zone: re.Match[str]) -> int:
    if zone["utc"]:
        return 0
    if zone["name"]:
        return _NAMED[zone["name"]] * 3600
    seconds = int(zone["hours"]) * 3600 + int(zone["minutes"] or 0) * 60
    return -seconds if zone["sign"] == "-" else seconds


def _nanoseconds(found: dict[str, int], fraction: int = 0, offset: int = 0) -> int | None:
    # The calendar repeats after 400 years of 146,097 days; Python's has no year 0.
    early = 0 if found["year"] else 1
    first = dt.date(found["year"] + 400 * early, found["month"], 1).toordinal() - 146_097 * early
    days = first + found["day"] - 1 - 719_163
    seconds = days * 86_400 + found["hour"] * 3600 + found["minute"] * 60 + found["second"] - offset
    return _representable(seconds, fraction)


@dataclass
class Lines:
    """Turns the lines of one file into events. `parsers` are names of multiline parsers, tried in order."""

    parsers: tuple[str, ...]
    key: str = "log"
    _pending: dict[str, tuple[Event, list[str]]] = field(default_factory=dict)
    """The first part of a split line, and the text of all parts so far, by stream."""
    _carried: dict[str, list[str]] = field(default_factory=dict)
    """Text of lines whose time fits into no record, by stream. Fluent Bit leaves it in its buffer: it comes before the
    text of the next line."""
    unpacked: int = 0
    """Lines so far that made no event because of their time."""

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
        return [event for stream in list(self._pending) for event in self._whole(stream)]

    def _cri(self, line: str, now: int) -> list[Event] | None:
        match = CRI.fullmatch(line)
        if match is None:
            return None
        time, stream, flag, log = match.groups()
        at = parse_time(time)
        event = Event(now if at == 0 else -1 if at is None else at, dict(zip(CRI_KEYS, match.groups(), strict=True)))
        if flag == "F" and at is not None and stream not in self._pending and stream not in self._carried:
            return [event]
        self._pending.setdefault(stream, (event, self._carried.pop(stream, [])))[1].append(log)
        return [] if flag == "P" else self._whole(stream)

    def _docker(self, line: str, now: int) -> list[Event] | None:
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            return None
        if not isinstance(record, dict) or not isinstance(record.get("log"), str):
            return None
        event = Event(parse_time(str(record.get("time", ""))) or now, record)
        stream = str(record.get("stream", ""))
        self._pending.setdefault(stream, (event, []))[1].append(record["log"])
        return self._whole(stream) if record["log"].endswith("\n") else []

    def _whole(self, stream: str) -> list[Event]:
        """The event of all parts. The first one's time and flag stay, as Fluent Bit leaves them."""
        first, parts = self._pending.pop(stream)
        if first.time < 0:
            self.unpacked += 1
            self._carried[stream] = parts
            return []
        return [Event(first.time, first.record | {"log": joined(parts)})]
