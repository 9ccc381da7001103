"""Reads alerts by Logs Insights: rows of many queries at a time, as events; and what such queries cost."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from labkit.alerts.pages import Event, Stop
from labkit.alerts.service import BrokenAnswerError, Service
from labkit.alerts.times import When, epoch_ms, window
from labkit.calls import LogsClient, checked
from labkit.errors import LabError

DOLLARS_A_GB = 0.005
"""What Insights costs by GB scanned (us-east-1, 2026-02): https://aws.amazon.com/cloudwatch/pricing/."""

ROWS = 10_000
"""Rows that a query asks for."""
MOST_ROWS = 100_000
"""Rows that a query can have."""
MOST_QUERIES = 8
"""Queries that run at a time. An account may run 100 (once 30), those of dashboards and of other people included."""

_QUERY = "fields @timestamp, @message, @logStream, @ingestionTime{filter} | sort @timestamp asc"
_AIM = 8_000  # rows that a part is meant to have: it may have more than its share
_ENDED = {"Failed", "Cancelled", "Timeout"}
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 2.0  # seconds between two looks at a query
_LONGEST_QUERY = 3600.0  # seconds; then the service ends it
_EARLIEST = 14 * 86_400_000  # ms before a group's creation of which it can have events


@dataclass(frozen=True)
class Price:
    """What Insights will have to scan for a window, about: the group's size, as if its log were evenly spread."""

    bytes: int
    begins: int
    """When the group can have its first event, in ms."""

    @property
    def rows(self) -> int:
        """About how many alerts that are."""
        return self.bytes // 1000

    @property
    def dollars(self) -> float:
        return self.bytes / 1e9 * DOLLARS_A_GB

    def __repr__(self) -> str:
        shown = "less than 0.01" if self.dollars < 0.01 else f"about {self.dollars:,.2f}"
        return (
            f"Insights scans about {self.bytes / 1e9:,.3f} GB for this window: {shown} US dollars at "
            f"{DOLLARS_A_GB} a GB. An estimate: the log group's size, as if its log were evenly spread."
        )


@checked
def insights_price(
    client: LogsClient, log_group: str = "falco", start: When | None = "1h", end: When | None = "now"
) -> Price:
    """What a query of Logs Insights over a window costs, about. Looks at the group's size and asks nothing else.

    Raises `LabError` if there is no such group.
    """
    window(start, end)
    service = Service(client, log_group)
    with service.errors():
        groups = client.describe_log_groups(logGroupNamePrefix=log_group)["logGroups"]
    group: Mapping[str, Any] | None = next((group for group in groups if group["logGroupName"] == log_group), None)
    if group is None:
        raise service.no_group()
    now = int(time.time() * 1000)
    kept = group.get("retentionInDays")
    begins = max(group["creationTime"] - _EARLIEST, now - kept * 86_400_000 if kept else 0)
    since = max(group["creationTime"], begins)  # what is older is the exception
    low, high = (edge if when is None else epoch_ms(when) for when, edge in ((start, since), (end, now)))
    share = (min(high, now) - max(low, since)) / max(now - since, 1)
    return Price(int(group.get("storedBytes", 0) * min(max(share, 0.0), 1.0)), begins)


@dataclass
class _Part:
    """A part of the window, in ms, both inclusive, and how many rows its query may have."""

    low: int
    high: int
    rows: int = ROWS


@dataclass
class _Result:
    part: _Part
    events: list[Event]
    more: list[_Part]
    scanned: int = 0
    error: BaseException | None = None


class Rows:
    """Iterates over the rows of a window as events of FilterLogEvents, in lists; once. As `Pages` in everything else.

    Where a query has as many rows as it may have, it has the oldest of them, and its part of the window is divided:
    by how many the service says there are. Insights doesn't tell an event's id: `eventId` is its `@ptr`.
    """

    def __init__(
        self,
        client: LogsClient,
        log_group: str,
        low: int,
        high: int,
        filter_: str = "",
        expected: int = 0,
        interrupted: Stop | None = None,
    ) -> None:
        """`low` and `high` are the window's first and last ms; `expected` is about how many rows it will have."""
        self._service = Service(client, log_group)
        self._text = _QUERY.format(filter=f" | filter {filter_}" if filter_ else "")
        self._interrupted = interrupted or Stop()
        self._results: queue.SimpleQueue[_Result] = queue.SimpleQueue()
        # What is scanned is paid for: a query for the whole of a large window would be one for its first rows.
        self._todo = deque(_divided(low, high, expected if expected > 2 * _AIM else 0))
        self._running: dict[int, _Part] = {}
        self.complete = False
        """Whether all rows were read."""
        self.scanned = 0
        """Bytes that were scanned, by the service's account: what is paid for."""
        self.parts = 0
        """Queries that were started."""

    @property
    def read_until(self) -> int | None:
        """The time (ms) before which every event of the window has been handed over."""
        left = [part.low for part in (*self._todo, *self._running.values())]
        return min(left) if left else None

    def __iter__(self) -> Iterator[list[Event]]:
        with self._service.open("StartQuery", "GetQueryResults"):
            try:
                while self._todo or self._running:
                    while self._todo and len(self._running) < MOST_QUERIES:
                        self._start(self._todo.popleft())
                    result = self._next()
                    if result is None:
                        return
                    if result.error is not None:
                        raise result.error
                    yield result.events
                    del self._running[id(result.part)]
                    self._todo.extend(result.more)
                    self.scanned += result.scanned
                self.complete = True
            finally:
                self._service.stop.set()

    def _start(self, part: _Part) -> None:
        self._running[id(part)] = part
        self.parts += 1
        threading.Thread(target=self._run, args=(part,), name="labkit-rows", daemon=True).start()

    def _next(self) -> _Result | None:
        while not self._interrupted.is_set():
            with contextlib.suppress(queue.Empty):
                return self._results.get(timeout=0.1)
        return None

    def _run(self, part: _Part) -> None:
        """A query's thread."""
        try:
            self._results.put(self._result(part))
        except BaseException as error:
            self._results.put(_Result(part, [], [], error=error))

    def _result(self, part: _Part) -> _Result:
        # Whole seconds, and one more: whether the last second is part of the range isn't documented to the ms.
        asked = {
            "logGroupName": self._service.log_group,
            "startTime": part.low // 1000,
            "endTime": part.high // 1000 + 1,
            "queryString": f"{self._text} | limit {part.rows}",
        }
        query_id = self._service.call("StartQuery", asked)["queryId"]
        answer = self._wait(query_id)
        rows = list(answer["results"])
        while token := answer.get("nextToken"):
            answer = self._service.call("GetQueryResults", {"queryId": query_id, "nextToken": token})
            rows += answer["results"]
        statistics = answer.get("statistics", {})
        events = _events(rows)
        more = self._rest(part, events, int(statistics.get("recordsMatched", 0)))
        until = more[0].low if more else part.high + 1
        wanted = [event for event in events if part.low <= event["timestamp"] < until]
        return _Result(part, wanted, more, int(statistics.get("bytesScanned", 0)))

    def _wait(self, query_id: str) -> Any:
        pause, ends = _FIRST_PAUSE, time.monotonic() + _LONGEST_QUERY
        while not self._service.stop.is_set():
            answer = self._service.call("GetQueryResults", {"queryId": query_id})
            if answer["status"] == "Complete":
                return answer
            if answer["status"] in _ENDED or time.monotonic() > ends:
                raise LabError(
                    f"A query of Logs Insights ended as {answer['status']}: {self._text}", hint="Try a shorter window."
                )
            self._service.pause(pause)
            pause = min(1.5 * pause, _LONGEST_PAUSE)
        with contextlib.suppress(Exception):  # one that is still running counts against the account's limit
            self._service.client.stop_query(queryId=query_id)
        raise LabError("The query was stopped.")

    @staticmethod
    def _rest(part: _Part, events: Sequence[Event], matched: int) -> list[_Part]:
        """The parts that the rest of a part is read in, if its query had no room for all of it."""
        if len(events) < part.rows:
            return []
        last = events[-1]["timestamp"]  # of that ms there may be more
        if last // 1000 <= part.low // 1000 and part.rows >= MOST_ROWS:
            raise LabError(
                f"There are {MOST_ROWS:,} alerts or more within a second, which is the most that a query can have.",
                hint="Read this time by FilterLogEvents: leave by= out.",
            )
        if last // 1000 <= part.low // 1000:
            return [_Part(part.low, part.high, MOST_ROWS)]  # times of queries are whole seconds
        return _divided(max(last, part.low), part.high, matched - len(events))


def _divided(low: int, high: int, rows: int) -> list[_Part]:
    """Parts of a window, each for about as many rows as a query is meant to have; of a second at least."""
    step = max(-(-(high + 1 - low) // max(-(-rows // _AIM), 1)), 1000)
    return [_Part(at, min(at + step - 1, high)) for at in range(low, high + 1, step)]


def _events(rows: Sequence[Sequence[Mapping[str, str]]]) -> list[Event]:
    try:
        found = [{cell["field"]: cell["value"] for cell in row} for row in rows]
        logged, ingested = (_milliseconds([row[name] for row in found]) for name in ("@timestamp", "@ingestionTime"))
        return [
            {
                "eventId": row["@ptr"],
                "timestamp": timestamp,
                "ingestionTime": ingestion,
                "message": row["@message"],
                "logStreamName": row["@logStream"],
            }
            for row, timestamp, ingestion in zip(found, logged, ingested, strict=True)
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise BrokenAnswerError(
            f"Logs Insights answered with something else than rows: {error!r}.", hint="Try again."
        ) from error


def _milliseconds(texts: list[str]) -> list[int]:
    """Times as Insights writes them, `2026-11-23 04:15:07.123` in UTC or already in ms, in ms since 1970."""
    if texts and texts[0].isdigit():
        return list(map(int, texts))
    milliseconds: list[int] = np.array(texts, dtype="datetime64[ms]").view("int64").tolist()
    return milliseconds


def bounds(client: LogsClient, log_group: str, start: When | None, end: When | None) -> tuple[int, int, Price]:
    """A window's first and last ms (the group's first possible event; now), and its price."""
    price = insights_price(client, log_group, start, end)
    low = price.begins if start is None else epoch_ms(start)
    high = epoch_ms("now") if end is None else epoch_ms(end)
    return low, high, price
