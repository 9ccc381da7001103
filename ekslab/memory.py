"""The memory of the lab's process, and a last line before it takes too much of the computer's."""

from __future__ import annotations

import contextlib
import ctypes
import resource
import time
from pathlib import Path

FULL = 500 * 1024**2  # bytes; a lab in use takes some 200 MB
MESSAGE = (
    f"the embedded lab's memory is full ({FULL // 1024**2} MB): delete what you don't need, or restart the lab with "
    "`labkit down` and `labkit up`"
)
_FRESH = 0.25  # seconds for which an answer holds
_limit = float("inf")
_last = (float("-inf"), False)


def keep_below_full() -> None:
    """Says that this process is a lab and nothing else, and has to stay below `FULL`."""
    global _limit
    _limit = FULL


def resident() -> int:
    """Bytes of memory this process holds now (Linux), or held at most (elsewhere)."""
    with contextlib.suppress(OSError):
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def is_full() -> bool:
    """Whether requests that store something have to be refused."""
    global _last
    now = time.monotonic()
    if now - _last[0] > _FRESH:
        if full := resident() > _limit:
            with contextlib.suppress(AttributeError, OSError):  # glibc: gives back what is free
                ctypes.CDLL(None).malloc_trim(0)
            full = resident() > _limit
        _last = now, full
    return _last[1]
