"""Chunks of events, in memory and, for inputs with `storage.type: filesystem`, in files under `storage.path`."""

from __future__ import annotations

import contextlib
import json
import posixpath
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ekslab.images.fluent_bit.config import Section
from ekslab.images.fluent_bit.log import Log
from ekslab.images.fluent_bit.records import CRI, CRI_KEYS, Event
from ekslab.names import digest

if TYPE_CHECKING:
    from ekslab.node import Process

CHUNK_SIZE = 2_048_000
"""Bytes from which on a chunk takes no more events."""


@dataclass
class Chunk:
    name: str
    tag: str
    source: str
    """The input it came from, `tail.0`, or `storage_backlog.1`."""
    path: str | None
    """Its file, in which its events are: thousands of them in memory would make the lab's garbage collection slow."""
    events: list[Event] = field(default_factory=list)
    """Those of a chunk without a file."""
    records: int = 0
    size: int = 0
    """Bytes of its events, as they count for limits."""
    created: float = 0.0
    """Seconds since the epoch."""
    task: int | None = None
    busy: int = 0
    """Outputs that are sending it right now."""


class Storage:
    """Makes chunks, and keeps their files below `root` (empty: there is no storage).

    `rejected` is the folder there for copies of chunks that are dropped; empty to keep none.
    """

    def __init__(self, process: Process, log: Log, root: str, rejected: str = "") -> None:
        self.root = root.rstrip("/")
        self._rejected = rejected
        self.kept: dict[str, Chunk] = {}
        """Chunks that have a file, oldest first."""
        self._process = process
        self._log = log

    def prepare(self) -> None:
        """Makes the folder, and says so, if it isn't there."""
        if self.root and not self._process.isdir(self.root):
            _make_folders(self._process, self.root)
            self._log.info(f"[storage] created root path {self.root}")

    def new(self, section: Section, tag: str) -> Chunk:
        """An empty chunk of an input. Raises OSError when the disk is full."""
        now = self._process.kernel.now()
        name = f"{self._process.vpid}-{now // 1_000_000_000}.{now % 1_000_000_000:09d}.flb"
        if section.get("storage.type") != "filesystem":
            return Chunk(name, tag, section.instance, None, created=now / 1e9)
        folder = posixpath.join(self.root, section.instance)
        _make_folders(self._process, folder)
        path = posixpath.join(folder, name)
        self._process.write_text(path, json.dumps(tag) + "\n")
        chunk = self.kept[name] = Chunk(name, tag, section.instance, path, created=now / 1e9)
        return chunk

    def append(self, chunk: Chunk, events: list[Event], size: int) -> None:
        """Adds events of `size` bytes. Raises OSError when the disk is full."""
        if chunk.path is not None:
            self._process.append_text(chunk.path, "".join(map(_line, events)))
        else:
            chunk.events += events
        chunk.records += len(events)
        chunk.size += size

    def load(self, chunk: Chunk) -> list[Event]:
        """The chunk's events. Raises `ValueError` for a damaged file."""
        if chunk.path is None:
            return chunk.events
        _, *lines, _ = self._process.read_text(chunk.path).split("\n")
        return list(map(_event, lines))

    def remove(self, chunk: Chunk) -> None:
        """Deletes the chunk's file, if it has one."""
        self.kept.pop(chunk.name, None)
        if chunk.path is not None:
            with contextlib.suppress(FileNotFoundError):
                self._process.unlink(chunk.path)

    def quarantine(self, chunk: Chunk, output: str) -> None:
        """Keeps a copy of a chunk that is dropped, if that is configured. It is never sent."""
        if not self._rejected or chunk.path is None:
            return
        folder = posixpath.join(self.root, self._rejected)
        address = int.from_bytes(digest("chunk", chunk.name)[:5], "big")
        name = re.sub(r"[/\\:]", "_", f"{chunk.tag}_0_{output}_0x7f{address:010x}.flb")
        try:
            _make_folders(self._process, folder)
            self._process.write_bytes(posixpath.join(folder, name), self._process.read_bytes(chunk.path))
        except OSError:
            self._log.warn("[storage] DLQ write/sync failed")
            return
        self._log.info(f"[storage] quarantined rejected chunk into DLQ stream (bytes={chunk.size})")

    def backlog(self, source: str) -> Iterator[Chunk]:
        """The chunks that an earlier process left, as those of the input `source`."""
        if not self.root or not self._process.isdir(self.root):
            return
        for folder in sorted(set(self._process.listdir(self.root)) - {self._rejected}):
            parent = posixpath.join(self.root, folder)
            for name in sorted(self._process.listdir(parent)) if self._process.isdir(parent) else []:
                path = posixpath.join(parent, name)
                try:
                    head, *lines, _ = self._process.read_text(path).split("\n")
                    chunk = Chunk(name, json.loads(head), source, path, created=self._process.kernel.now() / 1e9)
                    chunk.records, chunk.size = len(lines), size_of(map(_event, lines))
                except ValueError:
                    self._log.error(f"[storage] format check failed: {folder}/{name}")
                    continue
                self._log.info(f"[input:{source.split('.')[0]}:{source}] register {folder}/{name}")
                self.kept[name] = chunk
                yield chunk


def size_of(events: Iterable[Event]) -> int:
    """Bytes of events as Fluent Bit stores them: a header, and each key and value with its length."""
    return sum(16 + sum(len(k) + len(str(v)) + 4 for k, v in event.record.items()) for event in events)


def _line(event: Event) -> str:
    """A record of a CRI log as it was there, any other one as JSON."""
    if list(event.record) == CRI_KEYS:
        return (
            f"{event.time} {event.record['time']} {event.record['stream']} {event.record['_p']} {event.record['log']}\n"
        )
    return f"{event.time}\t{json.dumps(event.record)}\n"


def _event(line: str) -> Event:
    match = re.match(r"(\d+)([ \t])", line)
    if match is None:
        raise ValueError(line)
    time, rest = int(match[1]), line[match.end() :]
    if match[2] == "\t":
        return Event(time, json.loads(rest))
    parts = CRI.fullmatch(rest)
    if parts is None:
        raise ValueError(line)
    return Event(time, parts.groupdict())


def _make_folders(process: Process, path: str) -> None:
    parent = posixpath.dirname(path)
    if parent not in ("", "/") and not process.isdir(parent):
        _make_folders(process, parent)
    if not process.isdir(path):
        process.mkdir(path)
