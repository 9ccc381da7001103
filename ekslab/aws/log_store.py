"""Stores log events: groups of streams, ordered by time."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import repeat

from ekslab import names
from ekslab.aws.event_blocks import Event, Events, Position

DAY = 86_400_000  # ms


@dataclass(eq=False)
class Stream:
    """One log stream. `events` is sorted at all times."""

    name: str
    created: int
    events: Events = field(default_factory=Events)
    last_ingestion: int | None = None
    id: int = 0  # of 80 bits

    def __post_init__(self) -> None:
        self._digits = f"{self.id:025d}"

    def add(self, batch: list[Event]) -> None:
        """Adds a batch that is sorted in itself."""
        if batch:
            self.last_ingestion = batch[-1][2]
            self.events.add(batch)

    def event_id(self, event: Event) -> str:
        """A stable id of 56 digits that sorts by time, as CloudWatch's do."""
        return f"{event[0]:013d}{self._digits}{event[1]:018d}"


Listener = Callable[["Group", Stream, list[Event]], None]


@dataclass(eq=False)
class Group:
    """One log group. `listeners` are called with every accepted batch, in order, before PutLogEvents returns."""

    name: str
    created: int
    arn: str
    log_class: str = "STANDARD"
    retention_days: int | None = None
    deletion_protection: bool = False
    tags: dict[str, str] = field(default_factory=dict)
    streams: dict[str, Stream] = field(default_factory=dict)
    listeners: list[Listener] = field(default_factory=list)

    def create_stream(self, name: str, now: int) -> Stream:
        stream = self.streams[name] = Stream(name, now, id=int(names.hex_id(20, self.arn, name), 16))
        return stream

    def put(self, stream: Stream, batch: list[Event]) -> None:
        """Adds an accepted batch and calls the listeners."""
        stream.add(batch)
        if batch:
            for listener in tuple(self.listeners):
                listener(self, stream, batch)

    def expired_before(self, now: int) -> int:
        """The timestamp (ms) before which events are past the retention."""
        return now - self.retention_days * DAY if self.retention_days else 0

    def expire(self, now: int) -> None:
        """Removes events that are past the retention."""
        limit = self.expired_before(now)
        for stream in self.streams.values():
            stream.events.remove_before(limit)

    @property
    def stored_bytes(self) -> int:
        return sum(stream.events.size for stream in self.streams.values())


def scan(
    streams: Iterable[Stream],
    start: int,
    end: int,
    *,
    after: Position | None = None,
    newest_first: bool = False,
) -> Iterator[tuple[Event, Stream]]:
    """Events with start <= timestamp <= end of several streams, merged by time, lazily.

    `after` is where an earlier scan stopped: only events beyond it (in the scan's direction) come. Valid until the
    next put.
    """
    runs = []
    for stream in streams:
        low, high = (start, 0), (end + 1, 0)
        if after is not None:
            low, high = (low, min(high, after)) if newest_first else (max(low, (after[0], after[1] + 1)), high)
        runs.append(zip(stream.events.between(low, high, newest_first=newest_first), repeat(stream)))
    if len(runs) == 1:
        return runs[0]
    return heapq.merge(*runs, reverse=newest_first)
