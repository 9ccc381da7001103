"""The log file of a container, in the CRI format, rotated as the kubelet does."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from datetime import UTC, datetime

from ekslab.node.filesystem import Filesystem
from ekslab.node.limits import MIB

_LINE = 16_384  # containerd splits longer lines
_FILE = 4 * MIB  # the kubelet starts a new file at 10 MiB


class LogFile:
    """A container's log file. As the kubelet does, it starts a new one when it has grown, and keeps the one before."""

    def __init__(self, path: str, filesystem: Filesystem) -> None:
        self._path = path
        self._filesystem = filesystem
        self._file = filesystem.open_file(path)
        self._before = ""

    def append(self, data: bytes) -> None:
        now = self._filesystem.now()
        if self._file.size() + len(data) > _FILE:
            self._rotate(now)
        # When the node's disk is full, output is lost and the container goes on.
        with contextlib.suppress(OSError):
            self._file.write_at(self._file.size(), data, now)

    def _rotate(self, now: int) -> None:
        self.remove_old()
        self._before = f"{self._path}.{datetime.fromtimestamp(now / 1e9, UTC):%Y%m%d-%H%M%S}"
        self._filesystem.rename(self._path, self._before)
        self._file = self._filesystem.open_file(self._path)

    def remove_old(self) -> None:
        if self._before:
            self._filesystem.remove(self._before)


class LogWriter:
    """Writes a container's output as CRI log lines."""

    def __init__(self, log: LogFile, stream: str, clock: Callable[[], int]) -> None:
        self._log = log
        self._stream = stream
        self._clock = clock
        self._rest = b""

    def write(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
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
        return b"%s %s %s %s\n" % (rfc3339(self._clock()).encode(), self._stream.encode(), tag, line)

    def flush(self) -> None:
        if self._rest:
            self.write(b"\n")


def rfc3339(nanoseconds: int) -> str:
    """A time in the form of CRI logs: UTC, nine digits."""
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"
