"""The memory of the lab's process, and a limit above which requests that store something are refused."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import sys
import time
from functools import cache

FULL = 500 * 1024**2  # bytes; a lab in use takes some 200 MB
MESSAGE = (
    f"the embedded lab's memory is full ({FULL // 1024**2} MB): delete what you don't need, or stop the lab and start "
    "it again"
)
_FRESH = 0.25  # seconds for which an answer holds
_limit = float("inf")
_inherited = 0  # bytes
_last = (float("-inf"), False)


def keep_below_full() -> None:
    """Sets the limit: this process is a lab and nothing else. Without it, `is_full` is always false."""
    global _limit
    _limit = FULL


def begin_forked() -> None:
    """What this process holds now it shares with the one that forked it: it doesn't count as its own."""
    global _inherited
    _statm.cache_clear()  # an open file of the other process
    _inherited = 0
    _inherited = resident()


def resident() -> int:
    """Bytes of memory that this process holds; 0 where the system doesn't tell (Linux does)."""
    descriptor = _statm()
    if descriptor is None:
        return 0
    return max(0, int(os.pread(descriptor, 64, 0).split()[1]) * resource.getpagesize() - _inherited)


def peak() -> int:
    """Bytes of memory that this process has held at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def is_full() -> bool:
    """Whether requests that store something have to be refused."""
    global _last
    now = time.monotonic()
    if now - _last[0] > _FRESH:
        if full := resident() > _limit:
            with contextlib.suppress(AttributeError, OSError):  # glibc: returns freed memory to the system
                ctypes.CDLL(None).malloc_trim(0)
            full = resident() > _limit
        _last = now, full
    return _last[1]


@cache
def _statm() -> int | None:
    """The open file with the process's sizes: a signal handler reads it, which should not have to open it."""
    with contextlib.suppress(OSError):
        return os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)
    return None
