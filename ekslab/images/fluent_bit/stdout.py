"""The stdout output, in its default form or as JSON, and the null output."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ekslab.images.fluent_bit.cloudwatch import Result
from ekslab.images.fluent_bit.config import ConfigError, Section
from ekslab.images.fluent_bit.records import Event
from ekslab.images.fluent_bit.text import as_json

if TYPE_CHECKING:
    from ekslab.node import Process


class Stdout:
    """One output section."""

    def __init__(self, process: Process, section: Section) -> None:
        self._process = process
        self._format = section.get("format", "msgpack")
        if self._format not in ("msgpack", "json_lines", "json"):
            raise ConfigError(("error", f"[{section.label}] [embedded lab] format '{self._format}' isn't emulated"))

    async def flush(self, tag: str, events: Sequence[Event]) -> Result:
        dated = [{"date": event.time / 1e9} | event.record for event in events]
        if self._format == "json":
            self._process.stdout.write(as_json(dated).decode() + "\n")
        for number, event in enumerate(events):
            if self._format == "json_lines":
                self._process.stdout.write(as_json(dated[number]).decode() + "\n")
            elif self._format == "msgpack":
                time = f"{event.time // 1_000_000_000}.{event.time % 1_000_000_000:09d}"
                self._process.stdout.write(f"[{number}] {tag}: [[{time}, {{}}], {_ruby(event.record)}]\n")
        return "ok"


class Null:
    """Discards events."""

    async def flush(self, tag: str, events: Sequence[Event]) -> Result:
        return "ok"


def _ruby(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f'"{key}"=>{_ruby(item)}' for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_ruby, value)) + "]"
    return as_json(value).decode()
