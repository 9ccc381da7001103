"""Shares the lab's event loop among simulated programs, and ends a program that doesn't yield.

Every task of a process is driven step by step by a `_Steps`. Between two steps the loop serves AWS, the Kubernetes
API and other pods. Three rules hold:

* A step begins only when it is its turn. Once programs have run for `TURN` seconds together, the loop gets a round for
  everything else. Containers then take turns: one with 500 processes waits as long as one with a single process.
  Within a container it is the turn of the process that has run least lately: a server answers however many spin.
* After a long step, programs rest for the time that it took.
* A step that takes more than `LONGEST` seconds of processor time is interrupted: a timer's signal handler raises
  `Overrun` inside the program, and the process ends as if killed (137). The kernel's own code is not interrupted, since
  that would leave files or processes half changed. It is bounded instead, by the sizes it accepts.
"""

from __future__ import annotations

import asyncio
import atexit
import gc
import heapq
import inspect
import itertools
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Generator
from types import FrameType
from typing import Any, ClassVar, Protocol, TypeVar
from weakref import WeakKeyDictionary

from ekslab import memory
from ekslab.node import programs
from ekslab.node.limits import OutOfMemory

TURN = 0.004
"""Seconds that programs run before the loop gets a round for everything else."""
LONGEST = 0.15
"""Seconds of processor time that a single step may take."""
_TICK = 0.02  # seconds of processor time between two looks at the step that is running
_LAST_RESORT = 1.5  # seconds after which the kernel's own code is interrupted, too
_LONGEST_REST = 0.25
_PATIENCE = 3  # interruptions that a program may catch

_LAB = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
# Functions without state, safe to interrupt.
_PURE = tuple(os.path.join(_LAB, "node", name) for name in ("patterns.py",))
# An interrupted lock of these would never be released, an interrupted import would leave half a module.
_UNSAFE = ("logging", "threading", "asyncio", "importlib", "weakref", "weakrefset")
_ASYNCHRONOUS = inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR | inspect.CO_ITERABLE_COROUTINE

log = logging.getLogger(__name__)
_T = TypeVar("_T")


class Overrun(BaseException):
    """Raised inside a simulated program that held the event loop for too long."""


class Owner(Protocol):
    """What turn-taking needs of a process."""

    ran: float | None
    """Seconds for which it ran, compared with others of its group; None before its first turn."""

    status: int | None
    """What it ended with; None while it is there."""

    @property
    def group(self) -> object:
        """The unit that takes turns: the container, or the node for processes outside of containers."""

    def room(self) -> Coroutine[Any, Any, object] | None:
        """Waits until what the process has written so far was taken, if that is too much to hold."""

    def overran(self, reason: Overrun | OutOfMemory) -> None:
        """A task of the process was ended: the whole process has to end."""

    def grew(self, size: int, *, over: bool) -> None:
        """The lab's process grew by so many bytes while this process ran; `over` says that it's too large now."""


class _Steps(Coroutine[Any, Any, _T]):
    """A coroutine of a process, which asyncio drives: each step waits for its turn, and is timed."""

    __slots__ = ("_coroutine", "_room", "_thrown", "_turn", "_turns", "doomed", "owner")

    def __init__(self, coroutine: Coroutine[Any, Any, _T], owner: Owner, turns: Turns) -> None:
        self._coroutine = coroutine
        self._turns = turns
        self._turn: asyncio.Future[None] | None = None
        self._room: Coroutine[Any, Any, object] | None = None
        self._thrown: BaseException | None = None
        self.owner = owner
        self.doomed = 0
        """How often the coroutine was interrupted."""

    def send(self, value: Any) -> Any:
        if self._thrown is None:
            if self._room is None and self._turn is None:
                self._room = self.owner.room()
            if self._room is not None:
                try:
                    return self._room.send(None)
                except StopIteration:
                    self._room = None
        if self._turn is None and not self._turns.free:
            return self._wait()
        self._turn = None
        if self._thrown is not None:
            thrown, self._thrown = self._thrown, None
            return self._step(self._coroutine.throw, thrown)
        if self.owner.status is not None:  # the process has ended, and with it whatever else it was doing
            return self._step(self._coroutine.throw, asyncio.CancelledError())
        if self.doomed:  # it caught the interruption and went on
            self.doomed += 1
            return self._step(self._coroutine.throw if self.doomed < _PATIENCE else _raise, Overrun())
        return self._step(self._coroutine.send, value)

    def _wait(self) -> asyncio.Future[None]:
        self._turn = self._turns.queue(self.owner, first=self._thrown is not None)
        self._turn._asyncio_future_blocking = True
        return self._turn

    def throw(self, typ: Any, val: Any = None, tb: Any = None) -> Any:
        """Like `send`, waits for its turn: killing a thousand processes at once takes time, too."""
        if self._room is not None:
            self._room.close()
            self._room = None
        self._turn, granted = None, self._turn is not None and not self._turn.cancelled()
        thrown = typ if val is None else val
        if granted or self._turns.free:
            return self._step(self._coroutine.throw, thrown)
        self._thrown = thrown
        return self._wait()

    def _step(self, resume: Callable[[Any], Any], value: Any) -> Any:
        turns = self._turns
        turns.enter(self)
        try:
            return resume(value)
        except (Overrun, OutOfMemory) as reason:
            self.owner.overran(reason)
            raise
        finally:
            turns.leave()

    def close(self) -> None:
        self._coroutine.close()

    def __await__(self) -> Generator[Any, Any, _T]:
        raise TypeError("only a task drives this")


class Turns:
    """The turns of one event loop."""

    _of_loop: ClassVar[WeakKeyDictionary[asyncio.AbstractEventLoop, Turns]] = WeakKeyDictionary()

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.free = True
        self._queues: dict[object, list[tuple[float, int, asyncio.Future[None]]]] = {}
        self._numbers = itertools.count()
        self._ran: WeakKeyDictionary[object, float] = WeakKeyDictionary()
        self._took: WeakKeyDictionary[object, float] = WeakKeyDictionary()
        self._step: _Steps[Any] | None = None
        self._last: _Steps[Any] | None = None
        self._began = 0.0
        self._used = 0.0
        self._resting = False
        self._resident = 0
        self.memory_limit: int | None = None
        """Bytes that the lab's whole process may hold before programs that grow are ended."""
        loop.set_task_factory(self._new_task)
        _Timer.install()

    @classmethod
    def of(cls, loop: asyncio.AbstractEventLoop) -> Turns:
        turns = cls._of_loop.get(loop)
        if turns is None:
            turns = cls._of_loop[loop] = cls(loop)
        return turns

    def task(self, coroutine: Coroutine[Any, Any, _T], owner: Owner, name: str | None = None) -> asyncio.Task[_T]:
        """Runs a coroutine as part of a process."""
        return asyncio.Task(_Steps(coroutine, owner, self), loop=self._loop, name=name)

    def _new_task(self, loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> asyncio.Task[Any]:
        """A task that a program starts, also through `asyncio.wait_for` and the like, is a task of its process."""
        if (
            self._step is not None
            and not isinstance(coroutine, _Steps)
            and _in_program(sys._getframe(1), anywhere=True)
        ):
            coroutine = _Steps(coroutine, self._step.owner, self)
        return asyncio.Task(coroutine, loop=loop, **options)

    # -- whose turn it is --------------------------------------------------------------------------------------------

    def queue(self, owner: Owner, *, first: bool = False) -> asyncio.Future[None]:
        """A place in the queue of the owner's group; done when it is its turn. What was killed goes `first`."""
        turn: asyncio.Future[None] = self._loop.create_future()
        self._account(owner)
        assert owner.ran is not None
        place = (float("-inf") if first else owner.ran, next(self._numbers), turn)
        heapq.heappush(self._queues.setdefault(owner.group, []), place)
        return turn

    def took(self, group: object) -> float:
        """Seconds for which programs of a group have run so far."""
        return self._took.get(group, 0.0)

    def _account(self, owner: Owner) -> None:
        """Makes what a process ran comparable: one that is new has had its turn, one that waited long saves up little.

        Otherwise new processes would come before all others for ever, or one that slept would run alone.
        """
        latest = self._ran.get(owner.group, 0.0)
        owner.ran = latest + TURN if owner.ran is None else max(owner.ran, latest - TURN)

    def _next(self) -> None:
        """Gives the turn to the group that has waited longest, or leaves it to whichever comes first."""
        self._resting = False
        if self.memory_limit is not None and self._last is not None:
            owner, self._last = self._last.owner, None
            try:
                self._weigh(owner)
            except OutOfMemory as reason:
                owner.overran(reason)
        while self._queues:
            group = next(iter(self._queues))
            waiting = self._queues.pop(group)
            turn = None
            while waiting and turn is None:
                candidate = heapq.heappop(waiting)[2]
                turn = None if candidate.done() else candidate  # its task was cancelled
            if waiting:
                self._queues[group] = waiting
            if turn is not None:
                turn.set_result(None)
                return
        self.free = True

    def enter(self, steps: _Steps[Any]) -> None:
        self._step = steps
        owner = steps.owner
        self._account(owner)
        assert owner.ran is not None
        self._ran[owner.group] = max(self._ran.get(owner.group, 0.0), owner.ran)
        self._began = time.monotonic()
        _Timer.watch(self)

    def leave(self) -> None:
        _Timer.turns = None
        took = time.monotonic() - self._began
        self._used += took
        self._last, self._step = self._step, None
        if self._last is not None and self._last.owner.ran is not None:
            self._last.owner.ran += took
            group = self._last.owner.group
            self._took[group] = self._took.get(group, 0.0) + took
        if self._resting:
            return
        if self._used < TURN:
            if not self.free:
                self._next()
            return
        used, self._used = self._used, 0.0
        self.free, self._resting = False, True
        if used > 4 * TURN:
            self._loop.call_later(min(used, _LONGEST_REST), self._next)
        else:
            self._loop.call_soon(self._next)

    def _weigh(self, owner: Owner) -> None:
        """Counts what the lab's process grew by as grown by `owner`, which ran last. May raise `OutOfMemory`."""
        held = memory.resident()
        grown, self._resident = held - self._resident, held
        owner.grew(grown, over=held > (self.memory_limit or held))

    def spent(self) -> bool:
        """Whether the step that is running has had its turn."""
        return self._used + time.monotonic() - self._began >= TURN


class _Timer:
    """The timer whose signal looks at the step that is running. It counts processor time, so that a busy computer
    doesn't make steps seem longer, and runs only while programs do."""

    turns: Turns | None = None
    _armed = False
    _installed = False
    _seen: _Steps[Any] | None = None
    _since = 0.0
    _collecting = 0.0

    @classmethod
    def install(cls) -> None:
        if cls._installed or threading.current_thread() is not threading.main_thread():
            return  # outside of the main thread nothing can be interrupted; the lab runs in it
        signal.signal(signal.SIGPROF, cls._look)
        atexit.register(signal.setitimer, signal.ITIMER_PROF, 0)  # Python takes the handler away at its end
        gc.callbacks.append(cls._excuse_collection)
        cls._installed = True

    @classmethod
    def watch(cls, turns: Turns) -> None:
        cls.turns = turns
        cls._seen = None
        if not cls._armed and cls._installed:
            cls._armed = True
            signal.setitimer(signal.ITIMER_PROF, _TICK, _TICK)

    @classmethod
    def _look(cls, number: int, frame: FrameType | None) -> None:
        turns = cls.turns
        step = turns._step if turns is not None else None
        if frame is not None and frame.f_code in [getattr(callback, "__code__", None) for callback in gc.callbacks]:
            return  # what is raised there is lost
        if turns is None or step is None:
            cls._armed = False
            signal.setitimer(signal.ITIMER_PROF, 0)
            return
        now = time.thread_time()
        if cls._seen is not step:
            cls._seen, cls._since = step, now
            return
        if turns.memory_limit is not None and memory.resident() > turns.memory_limit and _in_program(frame):
            turns._weigh(step.owner)
        if _importing(frame):  # a module that is needed for the first time
            cls._since = now
        took = now - cls._since
        if took < LONGEST - _TICK:
            return
        if _in_program(frame) or took > _LAST_RESORT:
            step.doomed += 1
            cls._since = now
            raise Overrun

    @classmethod
    def _excuse_collection(cls, phase: str, info: dict[str, int]) -> None:
        """Doesn't count garbage collection as time of the program during whose step it happens."""
        if phase == "start":
            cls._collecting = time.thread_time()
        else:
            cls._since += time.thread_time() - cls._collecting


def _in_program(frame: FrameType | None, *, anywhere: bool = False) -> bool:
    """Whether a program's own code runs in a frame, and not the kernel on its behalf.

    Code that may hold a lock counts as the kernel's, unless it may be `anywhere`.
    """
    own = False
    while frame is not None and frame.f_code is not _Steps._step.__code__:
        code = frame.f_code
        path = code.co_filename
        if path.startswith(programs.folders()):
            own = True
        elif path.startswith(_LAB) and path not in _PURE:
            # A coroutine of the kernel below a program is what started the program.
            if not (own and code.co_flags & _ASYNCHRONOUS):
                return False
        elif not (own or anywhere) and (code.co_name == "__del__" or _module(frame) in _UNSAFE):
            return False
        frame = frame.f_back
    return own


def _raise(exception: BaseException) -> None:
    raise exception


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__")).partition(".")[0].lstrip("_")


def _importing(frame: FrameType | None) -> bool:
    while frame is not None and frame.f_code is not _Steps._step.__code__:
        if frame.f_globals.get("__name__") in ("importlib._bootstrap", "_frozen_importlib"):
            return True
        frame = frame.f_back
    return False
