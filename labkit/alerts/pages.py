"""Reads a window of log events page by page, each event once: the next page is fetched ahead, long windows in parts."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from labkit.alerts.service import BrokenAnswerError, Service, log_errors
from labkit.aws import refusal
from labkit.calls import LogsClient
from labkit.errors import LabError
from labkit.show import counted

Event = Mapping[str, Any]
"""One event of FilterLogEvents: `message`, `timestamp` and `ingestionTime` (ms), `eventId`, `logStreamName`."""

NEWEST_FIRST_SINCE = 1_704_067_200_000
"""2024-01-01, in ms: FilterLogEvents reads events of before from the oldest on only."""

MOST_PARTS = 8
"""Parts of a window that are read at a time."""
_SAME_PAGES = 5  # pages with nothing new and a token that was there before, one after the other
_LEARN = 3  # pages from which it is known how many events a part of a window holds
_PART = 60  # pages that a part is meant to have
_WORTH = 12  # pages that have to be left
_AGAIN = 0.15  # the share of pages that may be read again for that, beside the first few
_BLIND = 6  # pages with next to no events after which a window is divided without knowing
_GAIN = 1.15  # twice as many parts at a time have to be that much faster, or it stays at that
_ENOUGH = 25.0  # pages a second: the largest quota that AWS publishes
_FULL = 0.5  # the share of the time that has to go by with waiting for pages before there are more


class Stop(threading.Event):
    """Set by another thread or by a signal's handler, it ends an iteration."""

    at_once = False
    """Whether what goes on in this thread has to be interrupted for that."""


@dataclass(frozen=True)
class Window:
    """What FilterLogEvents is asked for. `start` and `end` are in ms, both inclusive; None is no bound."""

    log_group: str
    start: int | None = None
    end: int | None = None
    stream_prefix: str | None = None
    filter_pattern: str | None = None
    newest_first: bool = False
    """From the newest event on; `start` has to be `NEWEST_FIRST_SINCE` or later."""

    def request(self, low: int | None, high: int | None) -> dict[str, Any]:
        asked = {
            "logGroupName": self.log_group,
            "startTime": low,
            "endTime": high,
            "logStreamNamePrefix": self.stream_prefix or None,
            "filterPattern": self.filter_pattern or None,
            "startFromHead": False if self.newest_first else None,
        }
        return {name: value for name, value in asked.items() if value is not None}


class Chain:
    """The pages of one request: `page()` returns the next one, `ended` says that it was the last."""

    def __init__(self, service: Service, window: Window, low: int | None, high: int | None, *, part: bool) -> None:
        """`part`: it is a part of the window, and what lies outside of it is another's."""
        self._service, self._window, self._part = service, window, part
        self.low, self.high = low, high
        self.seen: set[str] = set()
        self.ended = False
        self.turn = threading.Semaphore(1)
        """Held by the page that waits to be taken."""
        self.pages = 0  # since the last cut
        self.events = 0
        self.first: int | None = None  # the earliest and the latest time that were read
        self.latest: int | None = None
        self.ordered = True
        """Whether pages came in the order of their events' times, as AWS documents it."""
        self.honoured = True
        """Whether the service gave only events of the times that it was asked for."""
        self._low_of_page: int | None = None
        self._high_of_page: int | None = None
        self._token: str | None = None
        self._tokens: set[str] = set()
        self._same = 0
        self._expired = 0

    def page(self) -> list[Event]:
        """The new events of the next page, which may be none. Raises `LabError`."""
        request = self._window.request(self.low, self.high)
        if self._token is not None:
            request["nextToken"] = self._token
        try:
            answer = self._service.call("FilterLogEvents", request)
        except LabError as error:
            if self._token is None or refusal(error)[0] != "InvalidParameterException" or self._expired >= _SAME_PAGES:
                raise
            self._expired += 1  # tokens expire after a day
            self.again()
            return []
        new = self._new(answer)
        self.pages += 1
        self.events += len(new)
        if new:
            self._expired = 0
        self._follow(answer.get("nextToken"), bool(new))
        return new

    def _new(self, answer: Mapping[str, Any]) -> list[Event]:
        low, high = self.low, self.high
        try:
            found: list[Event] = list(answer.get("events", ()))
            if self._part:
                count = len(found)
                found = [
                    event
                    for event in found
                    if (low is None or event["timestamp"] >= low) and (high is None or event["timestamp"] <= high)
                ]
                self.honoured &= len(found) == count
            ids = [event["eventId"] for event in found]
            if len(set(ids)) < len(ids) or not self.seen.isdisjoint(ids):
                fresh = {event["eventId"]: event for event in found if event["eventId"] not in self.seen}
                found = list(fresh.values())
            self.seen.update(ids)
            times: list[int] = [event["timestamp"] for event in found if event["message"] is not None]
            lowest, highest = (min(times), max(times)) if times else (None, None)
        except (KeyError, TypeError, AttributeError) as error:
            with log_errors(self._service.client, self._window.log_group):
                raise BrokenAnswerError(
                    f"CloudWatch Logs answered with something else than events: {error!r}.",
                    hint="Is a proxy or another program in between? Check AWS_ENDPOINT_URL, then try again.",
                ) from error
        if lowest is not None and highest is not None:
            if self._window.newest_first:
                self.ordered &= self._low_of_page is None or highest <= self._low_of_page
            else:
                self.ordered &= self._high_of_page is None or lowest >= self._high_of_page
            self._low_of_page, self._high_of_page = lowest, highest
            self.first = lowest if self.first is None else min(self.first, lowest)
            self.latest = highest if self.latest is None else max(self.latest, highest)
        return found

    def _follow(self, token: str | None, new: bool) -> None:
        # A page may be empty and yet have a successor: only the token tells whether there is more.
        if not token:
            self.ended = True
            return
        self._same = self._same + 1 if token in self._tokens and not new else 0
        if self._same >= _SAME_PAGES:
            raise LabError(
                f"CloudWatch Logs gives the same page of {self._window.log_group!r} again and again, after "
                f"{counted(len(self.seen), 'event')}: there may be more.",
                hint="Read it again, or a shorter window.",
            )
        if self._same:
            self._service.pause(min(2.0**self._same * 0.1, 2.0))
        self._tokens.add(token)
        self._token = token

    def again(self) -> None:
        """Drops the token: the next request begins at the start again, and what was seen isn't new.

        To go on where the token has led would rely on the order of the service's pages.
        """
        self._token, self._same, self._low_of_page, self._high_of_page = None, 0, None, None
        self._tokens.clear()
        self.pages = self.events = 0

    def others(self, now: int, most: int) -> list[tuple[int, int | None]]:
        """Later parts of its window, their first and last ms: so many, and the rest; none if it isn't worth it."""
        end = now if self.high is None else min(self.high, now)
        at = self.low if self.latest is None else self.latest
        if self.ended or at is None:
            return []
        step = (end - at) / (most + 2)
        if self.first is None or self.latest is None or self.events < self.pages:
            worth = self.pages >= _BLIND
        else:
            a_page = max((self.latest - self.first) / max(self.pages, 1), 1e-3)  # ms
            worth = self.pages >= _LEARN and (end - at) / a_page >= _WORTH
            step = min(step, _PART * a_page)
        if not worth or step < 1:
            return []
        cuts = [at + int(step * (i + 1)) for i in range(most + 1)]
        return [(cut + 1, high) for cut, high in zip(cuts, [*cuts[1:], self.high], strict=True)]

    def shorten(self, high: int) -> None:
        """Ends this part at `high` (ms), for which it is read from its start again: a token can't be asked for less."""
        self.again()
        self.high, self._part = high, True

    @property
    def position(self) -> int | None:
        """The time (ms) up to which all of this part has been read; None if that isn't known."""
        return self.latest if self.ordered and self.latest is not None else self.low


@dataclass
class _Item:
    """What a part hands over: a page, at last with `ended`, or the error that ended it."""

    chain: Chain
    events: list[Event]
    position: int | None
    ended: bool = False
    error: BaseException | None = None


class Pages:
    """Iterates over the pages of a window, lists of events without duplicates; once.

    The next page is fetched ahead in a thread, and one more may wait. With `shards`, a window that takes long is
    divided by time and its parts are read at the same time: as many as make it faster, at the pace that the service
    allows. Pages then come in any order. An error of one part ends the whole.
    """

    def __init__(
        self,
        client: LogsClient,
        window: Window,
        *,
        shards: bool = False,
        interrupted: Stop | None = None,
    ) -> None:
        self._service = Service(client, window.log_group)
        self._window = window
        self._shards = shards
        self._interrupted = interrupted or Stop()
        self._items: queue.SimpleQueue[_Item] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._wanted = 0  # parts to add
        self._coming = 0  # parts that are about to be added
        self._later: list[tuple[int, int | None]] = []  # parts that wait for others to end
        self._total = self._again = 0  # pages that were read, and those of them that had been read before
        self._open: dict[int, tuple[Chain, int | None]] = {}  # running, and up to where each was handed over
        self.complete = False
        """Whether all pages were read."""
        self.parts = 0
        """Parts of the window that were begun."""
        self.most = 1
        """How many parts were read at a time."""

    @property
    def read_until(self) -> int | None:
        """The time (ms) before which every event of the window has been handed over; None if there is none."""
        with self._lock:
            positions = [*(position for _, position in self._open.values()), *(low for low, _ in self._later)]
        known = [position for position in positions if position is not None]
        return min(known) if known and len(known) == len(positions) else None

    def __iter__(self) -> Iterator[list[Event]]:
        with self._service.open("FilterLogEvents"):
            chain = Chain(self._service, self._window, self._window.start, self._window.end, part=False)
            self._open[id(chain)] = (chain, chain.low)
            crew = _Crew(self._service)
            try:
                self._start(chain, self._first(chain))
                while self._open:
                    waited = time.monotonic()
                    item = self._next()
                    if item is None:
                        return
                    if item.error is not None:
                        raise item.error
                    crew.delivered(time.monotonic() - waited, len(self._open))
                    yield item.events
                    with self._lock:
                        if item.ended:
                            del self._open[id(item.chain)]
                        else:
                            self._open[id(item.chain)] = (item.chain, item.position)
                        free = crew.size() - len(self._open) - self._coming
                        later, self._later = self._later[: max(free, 0)], self._later[max(free, 0) :]
                        self._wanted = free - len(later) if self._shards else 0
                    for low, high in later:
                        self._start(Chain(self._service, self._window, low, high, part=True))
                self.complete = True
            finally:
                self._service.stop.set()
                for chain, _ in tuple(self._open.values()):
                    chain.turn.release()  # lets the threads end that wait to hand over

    def _first(self, chain: Chain) -> list[Event]:
        """The first page, which may be all there is: without a thread, for which the rest would wait."""
        self._interrupted.at_once = True
        try:
            return chain.page()
        finally:
            self._interrupted.at_once = False

    def _next(self) -> _Item | None:
        while not self._interrupted.is_set():
            try:
                item = self._items.get(timeout=0.1)
            except queue.Empty:
                continue
            item.chain.turn.release()
            return item
        return None

    def _start(self, chain: Chain, events: list[Event] | None = None) -> None:
        """Begins to read a chain, of which a first page may have been read."""
        with self._lock:
            self.parts += 1
            self._open[id(chain)] = (chain, chain.low)
            self.most = max(self.most, len(self._open))
        if events is not None:
            self._hand_over(_Item(chain, events, chain.position, ended=chain.ended))
        if not chain.ended:
            threading.Thread(target=self._read, args=(chain,), name="labkit-pages", daemon=True).start()

    def _hand_over(self, item: _Item) -> None:
        item.chain.turn.acquire()  # one page of a chain waits at a time
        self._items.put(item)

    def _read(self, chain: Chain) -> None:
        """A part's thread."""
        stop = self._service.stop
        try:
            while not chain.ended and not stop.is_set():
                events = chain.page()
                self._total += 1
                self._hand_over(_Item(chain, events, chain.position, ended=chain.ended))
                if self._wanted > 0 and not chain.ended:
                    self._divide(chain)
        except BaseException as error:
            self._items.put(_Item(chain, [], None, error=error))

    def _divide(self, chain: Chain) -> None:
        """Hands on later parts of a chain's window, if that is worth it."""
        with self._lock:
            if self._again + chain.pages > 2 * _LEARN + _AGAIN * self._total:
                return
            wanted, self._wanted = max(self._wanted, 0), 0
            self._coming += wanted
        try:
            windows = chain.others(int(time.time() * 1000), wanted) if wanted else []
            if windows:
                self._hand_on(chain, windows)
        finally:
            with self._lock:
                self._coming -= wanted

    def _hand_on(self, chain: Chain, windows: list[tuple[int, int | None]]) -> None:
        *parts, last = (Chain(self._service, self._window, low, high, part=True) for low, high in windows[:-1])
        try:
            events = last.page()
            # A service that knows no times would give everything to every part.
            self._shards = last.honoured
        except LabError:
            self._shards = False
        if not self._shards:
            return
        with self._lock:
            self._again += chain.pages
            self._later.append(windows[-1])
        chain.shorten(windows[0][0] - 1)
        for part in parts:
            self._start(part)
        self._start(last, events)


class _Crew:
    """How many parts to read at a time: twice as many, while pages are waited for and that has made it faster."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._size, self._before, self._grows = 1, 0.0, True
        self._restart()

    def _restart(self) -> None:
        self._since, self._pages, self._waited, self._held = time.monotonic(), 0, 0.0, self._service.held

    def delivered(self, waited: float, running: int) -> None:
        """Counts a page that was waited for, with so many parts being read."""
        if self._pages == 0 and running < self._size:
            self._restart()  # counts from when all are at work
        self._pages += 1
        self._waited += waited

    def size(self) -> int:
        spent = time.monotonic() - self._since
        if not self._grows or self._pages < 4 * self._size or spent < 0.2:
            return self._size
        speed = self._pages / spent
        held = self._service.held - self._held > 0.2 * spent  # by the account's quota
        if held or self._waited < _FULL * spent or speed >= _ENOUGH or self._size >= MOST_PARTS:
            self._restart()  # more wouldn't be faster; if little was waited for, the frame takes the time
        elif speed < _GAIN * self._before:
            self._grows = False
        else:
            self._before, self._size = speed, 2 * self._size
            self._restart()
        return self._size
