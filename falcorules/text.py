"""Values as Falco prints them: numbers, lists, buffers, times."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

from falcorules.fields import TIMES

MISSING = "<NA>"
_NOT_PRINTABLE = re.compile(rb"[^ -~]")
_LONGEST = 1023  # bytes of a list or a buffer
_LAST_SECOND = 253_402_300_799  # of the year 9999


def as_text(value: Any, field: str = "") -> str:
    """A value as Falco prints it in a message."""
    if field.startswith("evt.") and isinstance(value, int) and not isinstance(value, bool) and field in TIMES:
        return as_time(value, field) or MISSING
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return _NOT_PRINTABLE.sub(b".", value[:_LONGEST]).decode()
    if isinstance(value, float):
        return f"{value:.1f}"
    if isinstance(value, list | tuple):
        shown = ""
        for item in value:  # no comma after nothing
            shown = f"{shown}," * bool(shown) + as_text(item).partition("\0")[0]
        return f"({shown})".encode("utf-8", "surrogateescape")[:_LONGEST].decode("utf-8", "surrogateescape")
    return str(value)


def as_time(value: Any, field: str) -> str | None:
    """A time in nanoseconds as the text that `field` shows (UTC)."""
    if not isinstance(value, int):
        text: str | None = value
        return text
    moment, nanoseconds = moment_of(value)
    match field:
        case "evt.time":
            return f"{moment:%H:%M:%S}.{nanoseconds:09d}"
        case "evt.time.s":
            return f"{moment:%H:%M:%S}"
        case "evt.time.iso8601":
            return f"{moment:%Y-%m-%dT%H:%M:%S}.{nanoseconds:09d}+0000"
        case "evt.datetime":
            return f"{moment:%Y-%m-%d %H:%M:%S}.{nanoseconds:09d}"
        case _:
            return f"{moment:%Y-%m-%d %H:%M:%S}"


def iso8601(time: int) -> str:
    """Nanoseconds since the epoch in the form of Falco's JSON."""
    moment, nanoseconds = moment_of(time)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{nanoseconds:09d}Z"


def moment_of(time: int) -> tuple[datetime, int]:
    """Nanoseconds since the epoch as a time in seconds (UTC) and the rest. Out of range, the time is the epoch."""
    seconds, nanoseconds = divmod(time, 1_000_000_000)
    return datetime.fromtimestamp(seconds if 0 <= seconds <= _LAST_SECOND else 0, UTC), nanoseconds
