"""The events of a log stream, in order: the newest as they came, older ones compressed once there are many."""

from __future__ import annotations

import marshal
import zlib
from bisect import bisect_left
from collections.abc import Iterator
from functools import lru_cache
from itertools import chain, pairwise

# (timestamp in ms, number of the event within its region, ingestion time in ms, message). The first two order events
# and are unique, so that a tuple's own comparison never reaches the message.
Event = tuple[int, int, int, str]
Position = tuple[int, int]  # (timestamp, number) of an event

BLOCK = 256  # events
_LOADED = 32  # blocks that are kept decompressed: readers come back for the rest of one
EVENT_OVERHEAD = 26  # bytes that AWS counts for each event beside its message


def message_size(message: str) -> int:
    """Bytes of a message in UTF-8."""
    return len(message) if message.isascii() else len(message.encode())


def stored_size(events: list[Event]) -> int:
    """Bytes that AWS counts for events: their messages and an overhead for each."""
    return sum([message_size(event[3]) for event in events]) + EVENT_OVERHEAD * len(events)


class Block:
    """Some hundred events, compressed: about 200 bytes for an alert of 1,300. Never changes."""

    __slots__ = ("_data", "count", "first", "last", "size")

    def __init__(self, events: list[Event]) -> None:
        self.first: Position = events[0][:2]
        self.last: Position = events[-1][:2]
        self.count = len(events)
        self.size = stored_size(events)
        self._data = zlib.compress(marshal.dumps(events), 1)  # read by this process only

    def load(self) -> list[Event]:
        """The events; a list that others use, too."""
        return _loaded(self)


@lru_cache(maxsize=_LOADED)
def _loaded(block: Block) -> list[Event]:
    events: list[Event] = marshal.loads(zlib.decompress(block._data))
    return events


def _blocks(events: list[Event]) -> list[Block]:
    """Sorted events as blocks of equal size; as one if they are few enough."""
    parts = 1 if len(events) <= 2 * BLOCK else -(-len(events) // BLOCK)
    cuts = [len(events) * part // parts for part in range(parts + 1)]
    return [Block(events[low:high]) for low, high in pairwise(cuts)]


class Events:
    """Sorted events. Positions are given as [low, high): low <= (timestamp, number) < high."""

    def __init__(self) -> None:
        # All blocks lie before the tail, which isn't empty where there are blocks.
        self._blocks: list[Block] = []
        self._tail: list[Event] = []
        self._count = 0  # in blocks
        self._recent: Block | None = None  # where `find` found the last one
        self.size = 0
        """Bytes that AWS counts."""
        self.plain_size = 0
        """Of these, bytes that aren't compressed."""

    def __len__(self) -> int:
        return self._count + len(self._tail)

    @property
    def first(self) -> Position:
        return self._blocks[0].first if self._blocks else self._tail[0][:2]

    @property
    def last(self) -> Position:
        return self._tail[-1][:2]

    def add(self, batch: list[Event]) -> None:
        """Adds a batch that is sorted in itself; costs what must be moved, nothing more."""
        size = stored_size(batch)
        self.size += size
        if not self._tail or self._tail[-1] < batch[0]:
            self._tail += batch
            self.plain_size += size
            return
        # Late events: merge them with the part of the stream that is newer. Sorting two sorted runs is a merge.
        if self._blocks and batch[0][:2] < self._blocks[-1].last:
            late = bisect_left(batch, self._blocks[-1].last)
            self._merge(batch[:late])
            batch = batch[late:]
            size = stored_size(batch)
        if batch:
            start = bisect_left(self._tail, batch[0])
            self._tail[start:] = sorted(self._tail[start:] + batch)
            self.plain_size += size

    def _merge(self, late: list[Event]) -> None:
        """Adds late events to the blocks that they belong in; all of them come before the end of the last block."""
        at = bisect_left(self._blocks, late[0][:2], key=lambda block: block.last)
        blocks, done = self._blocks[:at], 0
        for block in self._blocks[at:]:
            end = bisect_left(late, block.last, done)
            blocks += _blocks(sorted(block.load() + late[done:end])) if end > done else [block]
            done = end
        self._blocks, self._count = blocks, self._count + len(late)

    def pack(self, most: int, keep: int = 2 * BLOCK) -> None:
        """Compresses the oldest plain events, at most so many; the newest `keep` stay as they are."""
        count = min(most, len(self._tail) - keep) // BLOCK * BLOCK
        if count > 0:
            blocks = [Block(self._tail[low : low + BLOCK]) for low in range(0, count, BLOCK)]
            self._blocks, self._tail = self._blocks + blocks, self._tail[count:]
            self._count += count
            self.plain_size -= sum(block.size for block in blocks)

    def remove_before(self, timestamp: int) -> None:
        """Forgets events with an earlier timestamp."""
        limit = (timestamp, 0)
        while self._blocks and self._blocks[0].first < limit:
            block = self._blocks.pop(0)
            self.size -= block.size
            self._count -= block.count
            if block.last >= limit:
                kept = block.load()[bisect_left(block.load(), limit) :]
                self._blocks.insert(0, Block(kept))
                self._count += len(kept)
                self.size += self._blocks[0].size
        end = bisect_left(self._tail, limit)
        if end:
            size = stored_size(self._tail[:end])
            self.size -= size
            self.plain_size -= size
            del self._tail[:end]

    def between(self, low: Position, high: Position, *, newest_first: bool = False) -> Iterator[Event]:
        """The events of a range, lazily. Valid until the next `add`, `pack` or `remove_before`."""
        start = bisect_left(self._blocks, low, key=lambda block: block.last)
        end = bisect_left(self._blocks, high, start, key=lambda block: block.first)
        tail = range(bisect_left(self._tail, low), bisect_left(self._tail, high))
        plain = map(self._tail.__getitem__, tail[::-1] if newest_first else tail)
        if start == end:
            return plain
        blocks = self._blocks[start:end]
        parts = chain.from_iterable(
            _cut(block.load(), low, high, newest_first) for block in (reversed(blocks) if newest_first else blocks)
        )
        return chain(plain, parts) if newest_first else chain(parts, plain)

    def is_packed(self, position: Position) -> bool:
        """Whether the event at a position is compressed."""
        return bool(self._blocks) and position <= self._blocks[-1].last

    def find(self, position: Position) -> Event:
        """The event at a position that is compressed. Quick for one that is near the last one."""
        block = self._recent
        if block is None or not block.first <= position <= block.last:
            at = bisect_left(self._blocks, position, key=lambda block: block.last)
            block = self._recent = self._blocks[at]
        events = block.load()
        return events[bisect_left(events, position)]

    def forget_plain(self) -> None:
        """Keeps the compressed events only: for a snapshot of which no others will be asked."""
        self._tail = []

    def snapshot(self, low: Position, high: Position) -> Events:
        """The events of a range as they are now, for a reader that takes its time."""
        found = Events()
        start = bisect_left(self._blocks, low, key=lambda block: block.last)
        end = bisect_left(self._blocks, high, start, key=lambda block: block.first)
        for block in self._blocks[start:end]:
            whole = low <= block.first and block.last < high
            part = [] if whole else _cut(block.load(), low, high, newest_first=False)
            found._blocks += [block] if whole else [Block(part)] if part else []
        found._tail = self._tail[bisect_left(self._tail, low) : bisect_left(self._tail, high)]
        found._count = sum(block.count for block in found._blocks)
        found.plain_size = stored_size(found._tail)
        found.size = found.plain_size + sum(block.size for block in found._blocks)
        return found


def _cut(events: list[Event], low: Position, high: Position, newest_first: bool) -> list[Event]:
    part = events[bisect_left(events, low) : bisect_left(events, high)]
    return part[::-1] if newest_first else part
