"""Log events as rows of a query, whose values are read when they are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import orjson

from ekslab.aws import filter_patterns
from ekslab.aws.event_blocks import Event, Events, Position
from ekslab.aws.insights.values import Millis, Row, Value, discovered
from ekslab.aws.log_store import Stream


@dataclass(frozen=True)
class Source:
    """Where events come from: a stream, its group as `@log` shows it, and the stream's events in the query's range."""

    stream: Stream
    log: str
    events: Events


Record = tuple[Event, Source]


class EventRow(Row):
    """A log event's values, each found when it is asked for: a query over many events needs few of each.

    `json_fields` are the discovered fields that the query names; they are read together.
    """

    __slots__ = ("_event", "_json_fields", "source")

    def __init__(self, event: Event, source: Source, json_fields: Sequence[str] = ()) -> None:
        self._event: Event | Position = event
        self.source = source
        self._json_fields = json_fields

    def release(self) -> None:
        # The store has the event, compressed.
        position = self._event[:2]
        if self.source.events.is_packed(position):
            self._event = position

    def _whole(self) -> Event:
        return self._event if len(self._event) == 4 else self.source.events.find(self._event)

    def __missing__(self, name: str) -> Value:
        timestamp, number, ingestion, message = self._whole()
        if not name.startswith("@"):
            return self._read(message, name)
        match name:
            case "@message":
                return message
            case "@timestamp":
                return Millis(timestamp)
            case "@ingestionTime":
                return Millis(ingestion)
            case "@logStream":
                return self.source.stream.name
            case "@log":
                return self.source.log
            case "@ptr":
                return f"{self.source.stream.id:020x}{timestamp:012x}{number:08x}"
        return None

    def _read(self, message: str, name: str) -> Value:
        """Reads the discovered fields, all at once, and returns one of them."""
        if name not in self._json_fields:
            return None
        document = None
        if message.startswith("{") or message.lstrip().startswith("{"):
            try:
                document = orjson.loads(message)
            except orjson.JSONDecodeError:
                document = None
        for field_ in self._json_fields:
            self.setdefault(field_, discovered(document, field_))
        return self[name]

    def lacks(self, needles: Sequence[str]) -> bool:
        return filter_patterns.lacks(self._whole()[3], needles)
