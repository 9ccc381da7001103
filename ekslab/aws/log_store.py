"""Stores log events: groups of streams, ordered by time."""

from __future__ import annotations

import heapq
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from ekslab import names

# (timestamp in ms, number of the event within its region, ingestion time in ms, message). The first two order events
# and are unique, so that a tuple's own comparison never reaches the message.
Event = tuple[int, int, int, str]
Position = tuple[int, int]  # (timestamp, number) of an event

EVENT_OVERHEAD = 26  # bytes that AWS counts for each event beside its message
DAY = 86_400_000  # ms


def message_size(message: str) -> int:
    """Bytes of a message in UTF-8."""
    return len(message) if message.isascii() else len(message.encode())


def stored_size(events: list[Event]) -> int:
    """Bytes that AWS counts for events: their messages and an overhead for each."""
    return sum(message_size(event[3]) for event in events) + EVENT_OVERHEAD * len(events)


@dataclass(eq=False)
class Stream:
    """One log stream. `events` is sorted at all times."""

    name: str
    created: int
    events: list[Event] = field(default_factory=list)
    last_ingestion: int | None = None
    id: int = 0
    stored_bytes: int = 0

    def add(self, batch: list[Event]) -> None:
        """Adds a batch that is sorted in itself; costs what must be moved, nothing more."""
        if not batch:
            return
        self.last_ingestion = batch[-1][2]
        self.stored_bytes += stored_size(batch)
        if not self.events or self.events[-1] < batch[0]:
            self.events += batch
            return
        # Late events: merge them with the part of the stream that is newer. Sorting two sorted runs is a merge.
        start = bisect_left(self.events, batch[0])
        self.events[start:] = sorted(self.events[start:] + batch)

    def remove_before(self, limit: int) -> None:
        """Forgets events with timestamp < limit."""
        if self.events and self.events[0][0] < limit:
            end = bisect_left(self.events, (limit,))
            self.stored_bytes -= stored_size(self.events[:end])
            del self.events[:end]

    def between(self, start: int, end: int) -> tuple[int, int]:
        """The index range of events with start <= timestamp <= end."""
        return bisect_left(self.events, (start,)), bisect_left(self.events, (end + 1,))

    def event_id(self, event: Event) -> str:
        """A stable id of 56 digits that sorts by time, as CloudWatch's do."""
        return f"{event[0] << 144 | self.id << 64 | event[1]:056d}"


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
            stream.remove_before(limit)

    @property
    def stored_bytes(self) -> int:
        return sum(stream.stored_bytes for stream in self.streams.values())


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
    ranges = []
    for stream in streams:
        low, high = stream.between(start, end)
        if after is not None:
            if newest_first:
                high = min(high, bisect_left(stream.events, after))
            else:
                low = max(low, bisect_left(stream.events, (after[0], after[1] + 1)))
        if low < high:
            ranges.append(_run(stream, range(low, high)[::-1] if newest_first else range(low, high)))
    if len(ranges) == 1:
        return ranges[0]
    return heapq.merge(*ranges, key=lambda item: item[0], reverse=newest_first)


def _run(stream: Stream, indices: range) -> Iterator[tuple[Event, Stream]]:
    events = stream.events
    for index in indices:
        yield events[index], stream
