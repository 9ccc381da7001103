"""Limits how long a request may keep the event loop, from one await to the next.

A thread reads the processor time of the loop's thread and raises `TooLong` in it. That interrupts any Python code; a
long call into a library written in C is not interrupted, and has to be bounded by its caller.

Programs in pods have another watch, `ekslab.node.turns`. Its signal handler sees the interrupted frame, so that it can
spare the simulated kernel; but it runs in the main thread only. This watch also serves loops of other threads.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
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
    """Watches the thread of an event loop, until `close`."""

    def __init__(self) -> None:
        self._thread = threading.get_ident()
        self._lock = threading.Lock()
        self._active = threading.Event()
        self._began: float | None = None
        self._raised = False
        self._collecting: float | None = None
        self._clock = _clock_of(self._thread)
        gc.callbacks.append(self._collection)
        self._closed = False
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

    def close(self) -> None:
        gc.callbacks.remove(self._collection)
        self._closed = True
        self._active.set()

    def _collection(self, phase: str, info: dict[str, int]) -> None:
        """Python collects garbage: that time is the whole process's, not the request's in which it happens to be due.

        An exception would be lost there, too: nothing can be raised in the callbacks of weak references.
        """
        if threading.get_ident() != self._thread:
            return
        if phase == "start":
            self._collecting = self._clock()
        elif self._collecting is not None:
            if self._began is not None:
                self._began += self._clock() - self._collecting
            self._collecting = None

    def _run(self) -> None:
        pause = threading.Event()
        while self._active.wait() and not self._closed:
            pause.wait(_TICK)
            with self._lock:
                if self._collecting is None and self._began is not None and self._clock() - self._began > LIMIT:
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


class _Held:
    """A thread's watch, closed when the thread has ended."""

    def __init__(self) -> None:
        self.watch = _Watch()

    def __del__(self) -> None:
        self.watch.close()


_local = threading.local()


@types.coroutine
def limited(work: Coroutine[Any, Any, T]) -> Generator[Any, Any, T]:
    """Runs a coroutine. `TooLong` is raised in it when it takes more than `LIMIT` from one await to the next."""
    held: _Held | None = getattr(_local, "held", None)
    if held is None:
        held = _local.held = _Held()
    watch = held.watch
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
