"""Reads and writes files that a user names: sizes are bounded, and a named pipe without a peer is an error."""

from __future__ import annotations

import errno
import os
import select
import stat
from pathlib import Path
from typing import BinaryIO

LARGEST = 1 << 20
"""Bytes of a file with rules at most. (A ConfigMap holds no more.)"""
PATIENCE = 3.0
"""Seconds to wait for the writer of a named pipe."""


def is_rules_file(name: str) -> bool:
    """Whether Falco reads a file of that name in a folder of rules."""
    return name.endswith((".yaml", ".yml"))


def read(path: Path | str) -> bytes:
    """The content of a file. Raises OSError, also for one that is larger than `LARGEST`."""
    with open_to_read(path) as file:
        content = file.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise OSError(errno.EFBIG, f"It is larger than {LARGEST >> 20} MiB", str(path))
    return content


def open_to_read(path: Path | str) -> BinaryIO:
    """Opens a file for reading. Raises OSError, also for a named pipe that nobody writes to."""
    descriptor = _open(path, os.O_RDONLY)
    try:
        kind = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(kind):
            raise OSError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if stat.S_ISFIFO(kind) and not _has_writer(descriptor):
            raise OSError(errno.ETIMEDOUT, "Nobody writes to this pipe", str(path))
        os.set_blocking(descriptor, True)
    except BaseException:
        os.close(descriptor)
        raise
    return os.fdopen(descriptor, "rb")


def open_to_write(path: Path | str) -> BinaryIO:
    """Opens a file for writing and empties it. Raises OSError, also for a named pipe that nobody reads."""
    descriptor = _open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.set_blocking(descriptor, True)
    return os.fdopen(descriptor, "wb")


def _open(path: Path | str, flags: int) -> int:
    try:
        return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
    except ValueError as error:  # a NUL in the name
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), str(path)) from error


def _has_writer(pipe: int) -> bool:
    """Whether a pipe is open for writing, or got data within `PATIENCE`."""
    if select.select([pipe], [], [], PATIENCE)[0]:
        return True
    try:
        os.read(pipe, 1)
    except BlockingIOError:  # there is a writer, which hasn't written yet
        return True
    return False
