"""Waits, and what they show meanwhile: one line that says what is waited for or how far something is."""

from __future__ import annotations

import contextvars
import io
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from labkit.errors import StoppedError
from labkit.show import Live, execution, watched

Found = TypeVar("Found")
Item = TypeVar("Item")

# Polls start close together, because the embedded lab delivers at once, and grow apart, because AWS meters them.
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 1.0
QUIET_SECONDS = 2.0
"""What takes less shows nothing."""
_TICK = 0.5  # seconds between two looks at the clock


def poll(
    look: Callable[[], Found | None], label: str, timeout: float, doubt: Callable[[], str] = lambda: ""
) -> Found | None:
    """The first result of `look()` that isn't None; None after `timeout` seconds.

    Raises `StoppedError` on Ctrl-C; `label` says what is waited for. `doubt` is called after each look in vain: what it
    says is shown, and it may raise.
    """
    started = time.monotonic()
    pause = FIRST_PAUSE
    with waiting(label, timeout) as note:
        try:
            while True:
                found = look()
                left = started + timeout - time.monotonic()
                if found is not None or left <= 0:
                    return found
                note(doubt())
                time.sleep(min(pause, left))
                pause = min(pause * 1.2, LONGEST_PAUSE)
        except KeyboardInterrupt:
            raise StoppedError(
                f"Stopped waiting for {label}.",
                hint="Nothing is broken by that: run the cell again to go on waiting.",
            ) from None


class _Line:
    """The one line, shared by what goes on at the same time: an attack, and in it the wait for its alert."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._texts: dict[int, str] = {}
        self._live: Live | None = None

    def show(self, owner: object, text: str) -> None:
        with self._lock:
            self._texts[id(owner)] = text
            if self._live is None or self._live.execution != execution():
                self._live = Live()
            self._live.show(" | ".join(filter(None, self._texts.values())))

    def note(self, owner: object, text: str) -> None:
        """A text to show when something else of the line changes."""
        with self._lock:
            self._texts[id(owner)] = text

    def remove(self, owner: object) -> None:
        with self._lock:
            self._texts.pop(id(owner), None)
            if self._live is not None and not self._texts:
                self._live.clear()


_line = _Line()


@contextmanager
def waiting(label: str, timeout: float) -> Iterator[Callable[[str], None]]:
    """Shows what is waited for and the time gone by, from `QUIET_SECONDS` on, where a person sees it.

    Call the result with what keeps it from being there: that is shown behind it.
    """
    said = ""

    def note(text: str) -> None:
        nonlocal said
        said = f" ({text})" if text else ""

    if not watched():
        yield note
        return
    started, done = time.monotonic(), threading.Event()
    owner = object()

    def tick() -> None:
        while not done.wait(_TICK if time.monotonic() - started >= QUIET_SECONDS else QUIET_SECONDS):
            _line.show(
                owner, f"Waiting for {label}: {time.monotonic() - started:.0f} s of at most {timeout:.0f} s{said}"
            )

    # The context tells IPython which cell it is.
    ticking = threading.Thread(target=contextvars.copy_context().run, args=(tick,), daemon=True)
    ticking.start()
    try:
        yield note
    finally:
        done.set()
        ticking.join()
        _line.remove(owner)


def progress(items: Iterable[Item], what: str, total: int, name: Callable[[Item], str] = str) -> Iterator[Item]:
    """The items, with a bar of how many are done, from `QUIET_SECONDS` on; `name` says which one it is."""
    with counting(what, total) as bar:
        for item in items:
            bar(0, name(item))
            yield item
            bar(1, "")


@contextmanager
def counting(what: str, total: int | None = None, unit: str = "") -> Iterator[Callable[[int, str], None]]:
    """Shows progress as tqdm writes it: call the result with how many more are done, and what is being done."""
    if not watched():
        yield lambda done, doing: None
        return
    from tqdm import tqdm

    class Bar(tqdm):  # type: ignore[type-arg,misc,unused-ignore]
        monitor_interval = 0

        def display(self, msg: str | None = None, pos: int | None = None) -> bool:
            if msg is None:
                _line.show(self, str(self))
            return True

    counted = "{desc}: {n:,}{unit} [{elapsed}, {rate_fmt}{postfix}]"
    form = "{desc}: {percentage:3.0f}%|{bar:20}| {n_fmt} of {total_fmt}{postfix}" if total else counted
    look = {"bar_format": form, "ncols": 90, "ascii": False}
    started = time.monotonic()
    bar = Bar(desc=what, total=total, unit=unit, delay=QUIET_SECONDS, file=io.StringIO(), leave=False, **look)

    def update(done: int, doing: str) -> None:
        bar.set_postfix_str(doing, refresh=False)
        bar.update(done)
        begins = not done and time.monotonic() - started >= QUIET_SECONDS
        (_line.show if begins else _line.note)(bar, str(bar))

    try:
        yield update
    finally:
        bar.close()
        _line.remove(bar)
