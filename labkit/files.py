"""Reads files up to a limit, and named pipes without waiting forever for a writer."""

from __future__ import annotations

import errno
import io
import os
import stat
import time
from pathlib import Path
from typing import BinaryIO

LARGEST = 1 << 20
"""Bytes of a values or manifest file: what a ConfigMap holds at most."""
PATIENCE = 3.0
"""Seconds to wait for somebody to open a named pipe for writing."""


def read(path: Path | str, most: int = LARGEST) -> bytes:
    """A file's content. Raises OSError, also for what is larger than `most` bytes or a pipe that nobody writes to."""
    with opened(path) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise OSError(errno.EFBIG, f"It is larger than {most >> 20} MiB", str(path))
    return content


def read_text(path: Path | str, most: int = LARGEST) -> str:
    """A text file's content; errors as for `read`, and UnicodeDecodeError."""
    return read(path, most).decode("utf-8")


def opened(path: Path | str) -> BinaryIO:
    """A file, opened for reading. Raises OSError, also for a pipe that nobody has opened for writing."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except ValueError as error:  # a NUL in the name
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), str(path)) from error
    try:
        kind = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(kind):
            raise OSError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        first = _first(descriptor, path) if stat.S_ISFIFO(kind) else b""
        os.set_blocking(descriptor, True)
    except BaseException:
        os.close(descriptor)
        raise
    raw = os.fdopen(descriptor, "rb", buffering=0)
    return io.BufferedReader(_Resumed(first, raw))


def _first(descriptor: int, path: Path | str) -> bytes:
    """The first bytes of a pipe; empty if there is a writer that hasn't written yet."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            if first := os.read(descriptor, 65536):
                return first
        except BlockingIOError:
            return b""
        time.sleep(0.05)  # a pipe without a writer is always ready: there is nothing to wait on
    raise OSError(errno.ETIMEDOUT, "Nobody writes to this pipe", str(path))


class _Resumed(io.RawIOBase):
    """Some bytes, and then what a file has."""

    def __init__(self, first: bytes, rest: io.RawIOBase) -> None:
        self._first = first
        self._rest = rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int | None:  # type: ignore[override]
        if not self._first:
            return self._rest.readinto(buffer)
        count = min(len(buffer), len(self._first))
        buffer[:count] = self._first[:count]
        self._first = self._first[count:]
        return count

    def close(self) -> None:
        self._rest.close()
        super().close()
