"""The log file of a container, in the CRI format. As with the kubelet, it has 10 MiB, and four older ones are kept."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gzip
import posixpath
from collections.abc import Callable
from datetime import UTC, datetime

from ekslab.node.filesystem import Filesystem
from ekslab.node.limits import MIB

_LINE = 16_384  # containerd splits longer lines
_FILE = 10 * MIB
_KEPT = 5
_MANY = 100  # lines
_LOOK = 2.0
"""Seconds between two looks at a file's size. The kubelet's are ten apart; a node of the lab has a smaller disk."""
_FULL = 2 * _FILE
"""A container that prints so much between two looks waits for the second."""


class LogFile:
    """A container's log file, and the ones before it."""

    def __init__(self, path: str, filesystem: Filesystem) -> None:
        self._path = path
        self._filesystem = filesystem
        self._file = filesystem.open_file(path)
        self._looked = filesystem.now()
        self._rotated: list[str] = []
        """Oldest first; all but the last are compressed, or are about to be."""
        self._compressing: set[asyncio.Future[bytes]] = set()

    @property
    def full(self) -> bool:
        return self._file.size() > _FULL

    async def drain(self) -> None:
        """Waits until there is a new file."""
        while self.full:
            await asyncio.sleep(max(0.01, _LOOK - self._since_look()))
            self._look()

    def append(self, data: bytes) -> None:
        self._look()
        # When the node's disk is full, output is lost and the container goes on.
        with contextlib.suppress(OSError):
            self._file.write_at(self._file.size(), data, self._filesystem.now())

    def _since_look(self) -> float:
        return (self._filesystem.now() - self._looked) / 1e9

    def _look(self) -> None:
        """Starts a new file if the present one has grown, as often as the kubelet looks."""
        if self._file.size() <= _FILE or self._since_look() < _LOOK:
            return
        self._looked = now = self._filesystem.now()
        name = f"{self._path}.{datetime.fromtimestamp(now / 1e9, UTC):%Y%m%d-%H%M%S}"
        self._filesystem.rename(self._path, name)
        self._file = self._filesystem.open_file(self._path)
        if self._rotated:
            self._compress(self._rotated.pop())
        self._rotated.append(name)
        for old in self._rotated[: -(_KEPT - 1)]:
            self._filesystem.remove(old)
        self._rotated = self._rotated[-(_KEPT - 1) :]

    def _compress(self, name: str) -> None:
        self._rotated.append(f"{name}.gz")
        data = self._filesystem.read_bytes(name)
        work = asyncio.get_running_loop().run_in_executor(None, functools.partial(gzip.compress, data, 1))
        self._compressing.add(work)
        work.add_done_callback(functools.partial(self._compressed, name))

    def _compressed(self, name: str, work: asyncio.Future[bytes]) -> None:
        self._compressing.discard(work)
        if work.cancelled() or not self._filesystem.exists(posixpath.dirname(name)):
            return  # the container was removed meanwhile
        self._filesystem.remove(name)
        if f"{name}.gz" in self._rotated:
            with contextlib.suppress(OSError):
                self._filesystem.write_bytes(f"{name}.gz", work.result())


class LogWriter:
    """Writes a container's output as CRI log lines."""

    def __init__(self, log: LogFile, stream: str, clock: Callable[[], int]) -> None:
        self._log = log
        self._stream = stream.encode()
        self._clock = clock
        self._rest = b""

    @property
    def full(self) -> bool:
        return self._log.full

    async def drain(self) -> None:
        await self._log.drain()

    def write(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(lines) > _MANY and b"\r" not in data and max(map(len, lines)) <= _LINE:
            # What is printed at once has one time: a line each would take the lab's loop for too long.
            start = self._start(b"F")
            self._log.append(start + (b"\n" + start).join(lines) + b"\n")
            lines = []
        out = bytearray()
        for line in lines:
            if line.endswith(b"\r"):
                line = line[:-1]
            while len(line) > _LINE:
                out += self._line(b"P", line[:_LINE])
                line = line[_LINE:]
            out += self._line(b"F", line)
        while len(self._rest) > _LINE:
            out += self._line(b"P", self._rest[:_LINE])
            self._rest = self._rest[_LINE:]
        if out:
            self._log.append(bytes(out))

    def _line(self, tag: bytes, line: bytes) -> bytes:
        return self._start(tag) + line + b"\n"

    def _start(self, tag: bytes) -> bytes:
        return b"%b %b %b " % (rfc3339(self._clock()).encode(), self._stream, tag)

    def flush(self) -> None:
        if self._rest:
            self.write(b"\n")


def rfc3339(nanoseconds: int) -> str:
    """A time in the form of CRI logs: UTC, nine digits."""
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    return f"{_second(seconds)}.{rest:09d}Z"


@functools.lru_cache(maxsize=16)
def _second(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}"
