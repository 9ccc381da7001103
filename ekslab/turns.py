"""Limits how long a request may keep the event loop, from one await to the next.

A thread reads the processor time of the loop's thread and raises `TooLong` in it. That interrupts any Python code; a
long call into a library written in C is not interrupted, and has to be bounded by its caller.

Programs in pods have another watch, `ekslab.node.turns`. Its signal handler sees the interrupted frame, so that it can
spare the simulated kernel; but it runs in the main thread only. This watch also serves loops of other threads.
"""

from __future__ import annotations

import contextlib
import ctypes
import threading
import time
import types
from collections.abc import Callable, Coroutine, Generator
from typing import Any, TypeVar

LIMIT = 0.8
"""Seconds of processor time."""
_TICK = 0.1
T = TypeVar("T")


class TooLong(Exception):
    """A request kept the event loop for longer than `LIMIT`."""


class _Watch:
    """Watches the thread of an event loop."""

    def __init__(self) -> None:
        self._thread = threading.get_ident()
        self._lock = threading.Lock()
        self._active = threading.Event()
        self._began: float | None = None
        self._raised = False
        self._clock = _clock_of(self._thread)
        threading.Thread(target=self._run, name="turns", daemon=True).start()

    def begin(self) -> None:
        self._began = self._clock()
        self._active.set()

    def end(self) -> None:
        with self._lock:
            self._began = None
            self._active.clear()
            if self._raised:
                self._raised = False
                _raise_in(self._thread, None)  # takes back an exception that has not been raised yet

    def _run(self) -> None:
        pause = threading.Event()
        while self._active.wait():
            pause.wait(_TICK)
            with self._lock:
                if self._began is not None and self._clock() - self._began > LIMIT:
                    self._raised = True
                    _raise_in(self._thread, TooLong)


def _raise_in(thread: int, error: type[BaseException] | None) -> None:
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(error) if error else None)


def _clock_of(thread: int) -> Callable[[], float]:
    """A thread's processor time, which a busy computer doesn't lengthen; a monotonic clock where there is none."""
    with contextlib.suppress(AttributeError, OSError):
        number = time.pthread_getcpuclockid(thread)
        return lambda: time.clock_gettime(number)
    return time.monotonic


_local = threading.local()


@types.coroutine
def limited(work: Coroutine[Any, Any, T]) -> Generator[Any, Any, T]:
    """Runs a coroutine. `TooLong` is raised in it when it takes more than `LIMIT` from one await to the next."""
    watch: _Watch | None = getattr(_local, "watch", None)
    if watch is None:
        watch = _local.watch = _Watch()
    proceed: Callable[[Any], Any] = work.send
    argument: Any = None
    while True:
        watch.begin()
        try:
            waiting_for = proceed(argument)
        except StopIteration as stop:
            result: T = stop.value
            return result
        finally:
            watch.end()
        try:
            proceed, argument = work.send, (yield waiting_for)
        except GeneratorExit:
            work.close()
            raise
        except BaseException as error:
            proceed, argument = work.throw, error
