"""Chunks of events, in memory and, for inputs with `storage.type: filesystem`, in files under `storage.path`."""

from __future__ import annotations

import contextlib
import json
import posixpath
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ekslab.images.fluent_bit.config import Section
from ekslab.images.fluent_bit.log import Log
from ekslab.images.fluent_bit.records import Event

if TYPE_CHECKING:
    from ekslab.node import Process


@dataclass
class Chunk:
    name: str
    tag: str
    source: str
    """The input it came from, `tail.0`, or `storage_backlog.1`."""
    path: str | None
    events: list[Event] = field(default_factory=list)
    size: int = 0
    """Bytes in its file."""
    task: int = 0


class Storage:
    """Makes chunks, and keeps their files below `root` (empty: there is no storage)."""

    def __init__(self, process: Process, log: Log, root: str) -> None:
        self.root = root.rstrip("/")
        self._process = process
        self._log = log

    def new(self, section: Section, tag: str) -> Chunk:
        """An empty chunk of an input."""
        now = self._process.kernel.now()
        name = f"{self._process.vpid}-{now // 1_000_000_000}.{now % 1_000_000_000:09d}.flb"
        if section.get("storage.type") != "filesystem":
            return Chunk(name, tag, section.instance, None)
        folder = posixpath.join(self.root, section.instance)
        _make_folders(self._process, folder)
        path = posixpath.join(folder, name)
        self._process.write_text(path, json.dumps(tag) + "\n")
        return Chunk(name, tag, section.instance, path)

    def append(self, chunk: Chunk, events: list[Event]) -> None:
        chunk.events += events
        if chunk.path is not None:
            lines = "".join(json.dumps([event.time, event.record]) + "\n" for event in events)
            self._process.append_text(chunk.path, lines)
            chunk.size += len(lines)

    def remove(self, chunk: Chunk) -> None:
        """Deletes the chunk's file, if it has one."""
        if chunk.path is not None:
            with contextlib.suppress(FileNotFoundError):
                self._process.unlink(chunk.path)

    def backlog(self, source: str) -> Iterator[Chunk]:
        """The chunks that an earlier process left, as those of the input `source`."""
        if not self.root or not self._process.isdir(self.root):
            return
        for folder in sorted(self._process.listdir(self.root)):
            parent = posixpath.join(self.root, folder)
            for name in sorted(self._process.listdir(parent)) if self._process.isdir(parent) else []:
                path = posixpath.join(parent, name)
                try:
                    head, *lines = self._process.read_text(path).splitlines()
                    events = [Event(time, record) for time, record in map(json.loads, lines)]
                    chunk = Chunk(name, json.loads(head), source, path, events, sum(map(len, lines)))
                except ValueError:
                    self._log.error(f"[storage] format check failed: {folder}/{name}")
                    continue
                self._log.info(f"[input:{source.split('.')[0]}:{source}] register {folder}/{name}")
                yield chunk


def _make_folders(process: Process, path: str) -> None:
    parent = posixpath.dirname(path)
    if parent not in ("", "/") and not process.isdir(parent):
        _make_folders(process, parent)
    if not process.isdir(path):
        process.mkdir(path)
