"""Reads the alerts of a time window from CloudWatch Logs as a DataFrame, or its log events one by one."""

from __future__ import annotations

import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pandas as pd

from labkit.alerts.choice import Choice
from labkit.alerts.columns import Columns
from labkit.alerts.frame import frame_of, to_frame, unhurried_gc
from labkit.alerts.pages import NEWEST_FIRST_SINCE, Event, Pages, Stop, Window
from labkit.alerts.rows import Rows, bounds
from labkit.alerts.times import When, epoch_ms, utc, window
from labkit.calls import LogsClient, checked, duration, short_repr
from labkit.errors import LabError
from labkit.show import counted, say
from labkit.waiting import counting

Progress = Callable[[int, "pd.Timestamp | None"], None]
"""Called after each page with the number of events read so far and the latest event's time."""

OVERLAP = "10m"
"""How far `after=` looks back behind the newest alert it is given, unless it is told otherwise."""


@checked
def read(
    client: LogsClient,
    log_group: str = "falco",
    start: When | None = None,
    end: When | None = None,
    *,
    rule: str | Iterable[str] | None = None,
    pod: str | None = None,
    priority: str | None = None,
    namespace: str | None = None,
    limit: int | None = None,
    after: pd.DataFrame | None = None,
    overlap: str | timedelta = OVERLAP,
    stream_prefix: str | None = None,
    filter_pattern: str | None = None,
    progress: Progress | None = None,
) -> pd.DataFrame:
    """The alerts of a log group as a DataFrame, one row per alert, ordered by `time`.

    `client` is `boto3.client("logs")`. `start` and `end` limit the time at which the line was logged: an aware
    datetime, an ISO string with its zone, or how long ago (`"1h"`); None is no limit. `rule` selects the alerts of one
    rule or of several, `pod` those of a pod (`web-0` or `default/web-0`), `priority` those of that level and above,
    `namespace` those of pods in that Kubernetes namespace. `stream_prefix` selects log streams; `filter_pattern` is a
    CloudWatch Logs filter pattern. `limit=n` gives the newest n alerts, and reads no more than it takes to find them.

    What can be is left to the service: `rule`, `pod`, `priority` and `namespace` become a filter pattern (unless you
    give one), which `df.attrs["pushed_down"]` holds. It lets alerts pass in every shape that shippers give them, and
    perhaps some others: those are left out here, and counted in `df.attrs["left_out"]`.

    Columns: `time` datetime64[ns, UTC] (Falco's own, exact; of an alert without one that of its `evt.time`, else when
    it was logged; missing if nanoseconds can't hold it, before 1677-09-22 or after 2262-04-11); `rule`, `source`,
    `hostname` categorical; `priority` ordered categorical from Debug to Emergency; `output` string; `tags` tuples; one
    column per output field under Falco's name (texts categorical, as `proc.cmdline`; whole numbers Int64, as
    `user.uid`; booleans boolean, other numbers Float64; a missing value is normal); and `eventId` string,
    `logStreamName` categorical, `timestamp` and `ingestionTime` datetime64[ns, UTC], as CloudWatch Logs knows the line.
    An empty result has the same columns and dtypes. `df.to_parquet(file)` keeps all of it. `df.attrs` counts: `events`
    read, `alerts` made of them, `skipped` lines by reason (`lifecycle`, `malformed`, `other`), and `untimed` alerts,
    whose `time` is missing.

    A long window is read in parts at the same time, at the pace that the account's quota of FilterLogEvents allows.
    Ctrl-C (Jupyter's stop button) ends the reading and keeps what was read: `df.attrs["complete"]` is False then, and
    `df.attrs["read_until"]` says up to when nothing is missing. A second Ctrl-C raises `KeyboardInterrupt`.

    `after=df` goes on where a frame ends: the alerts that came since, without those it has. Lines become readable late
    and out of order, so it reads again from `overlap` before the newest `timestamp` in it (10 minutes unless you say
    otherwise): enough while nothing becomes readable later than that. What holds for your pipeline is in
    `df["ingestionTime"] - df["timestamp"]`. `labkit.alerts.concat([df, later])` joins both.

    Raises `LabError` when the log group doesn't exist, when a time has no zone, when the service refuses, or when it
    stops giving pages before the last (never is a part passed off as the whole).
    """
    df = _read(
        client,
        Window(log_group, *window(start, end)),
        Choice.of(rule, pod, priority, namespace),
        limit=limit,
        after=_known(after, overlap),
        stream_prefix=stream_prefix,
        filter_pattern=filter_pattern,
        progress=progress,
    )
    if not df.attrs["complete"]:
        say(f"Stopped: of this window {counted(len(df), 'alert')} had been read, which are in the frame.")
    return df


@checked
def read_by_insights(
    client: LogsClient,
    log_group: str = "falco",
    start: When | None = None,
    end: When | None = None,
    *,
    rule: str | Iterable[str] | None = None,
    pod: str | None = None,
    priority: str | None = None,
    namespace: str | None = None,
    most_dollars: float = 1.0,
    progress: Progress | None = None,
) -> pd.DataFrame:
    """The frame of `read`, value for value, by queries of Logs Insights instead of FilterLogEvents.

    Queries have 10,000 rows each, of parts of the window, eight at a time. That may be quicker where there are very
    many alerts and the account's quota holds FilterLogEvents up: in some regions it allows 5 requests of about 1,000
    alerts a second. It is the only way to read a log group of the class Infrequent Access. It costs money:
    `labkit.alerts.insights_price(client, log_group, start, end)` says about how much, and a window whose estimate is
    above `most_dollars` is refused. `df.attrs["bytesScanned"]` is what was scanned in the end, which is more where
    parts had to be divided.

    Insights doesn't tell the ids of events: `eventId` holds its `@ptr` (for GetLogRecord), and `after=` can't go on
    after such a frame. A line can be found by Insights somewhat later than by FilterLogEvents. Arguments, columns,
    `attrs` and Ctrl-C as for `read`. Where counts will do, let the service count: `labkit.alerts.insights`.

    Raises `LabError` if the price is too high, if a query fails, or if a second holds more than 100,000 alerts.
    """
    choice = Choice.of(rule, pod, priority, namespace)
    low, high, price = bounds(client, log_group, start, end)
    if price.dollars > most_dollars:
        raise LabError(f"{price} That is more than most_dollars={most_dollars:g}.", hint="Allow more, or ask for less.")
    with stoppable() as stopped:
        rows = Rows(client, log_group, low, high, choice.query(), price.rows, stopped)
        df = choice.select(_all(rows, frozenset(), progress, stopped))
    df.attrs |= {"pushed_down": choice.query(), "bytesScanned": rows.scanned, "queries": rows.parts}
    if not df.attrs["complete"]:
        say(f"Stopped: of this window {counted(len(df), 'alert')} had been read, which are in the frame.")
    return df


def whole(
    client: LogsClient,
    log_group: str,
    start: When | None = None,
    *,
    rule: str | None = None,
    namespace: str = "",
    filter_pattern: str | None = None,
) -> pd.DataFrame:
    """As `read`, for waits: Ctrl-C raises `KeyboardInterrupt`."""
    window = Window(log_group, None if start is None else epoch_ms(start))
    choice = Choice.of(rule, None, None, namespace)
    df = _read(client, window, choice, filter_pattern=filter_pattern, keep=False)
    if not df.attrs["complete"]:
        raise KeyboardInterrupt
    return df


def _read(
    client: LogsClient,
    window: Window,
    choice: Choice,
    *,
    limit: int | None = None,
    after: tuple[int | None, frozenset[str]] = (None, frozenset()),
    stream_prefix: str | None = None,
    filter_pattern: str | None = None,
    progress: Progress | None = None,
    keep: bool = True,
) -> pd.DataFrame:
    """`keep`: whether Ctrl-C keeps what was read."""
    if limit is not None and limit < 1:
        raise LabError(f"limit is {limit}.", hint="Give a whole number from 1 on, or leave it out to mean: all.")
    pattern = filter_pattern or choice.pattern()
    begin, known = after
    low = begin if window.start is None else window.start if begin is None else max(begin, window.start)
    window = replace(window, start=low, stream_prefix=stream_prefix, filter_pattern=pattern)
    if limit is None:
        with stoppable() if keep else nullcontext(Stop()) as stopped:
            df = choice.select(_all(Pages(client, window, shards=True, interrupted=stopped), known, progress, stopped))
    else:
        newest, attrs = found(client, window, choice, limit=limit, known=known, progress=progress)
        df = to_frame(newest)
        df.attrs |= attrs
    df.attrs["pushed_down"] = pattern or ""
    return df


def _all(pages: Pages | Rows, known: frozenset[str], progress: Progress | None, stopped: Stop) -> pd.DataFrame:
    columns = Columns()
    tell, adding = _tell(progress), False
    with unhurried_gc():
        try:
            for page in pages:
                adding = True
                columns.add_page([event for event in page if event["eventId"] not in known] if known else page)
                adding = False
                tell(page)
        except KeyboardInterrupt:
            if adding or stopped.is_set():  # half a page may be in it; the second one
                raise
        df = frame_of(columns)
        if pages.parts > 1:
            df = _in_order(df)
    df.attrs["complete"] = pages.complete
    if not pages.complete:
        until = pages.read_until
        df.attrs["read_until"] = None if until is None else str(pd.Timestamp(until, unit="ms", tz="UTC"))
    return df


def _in_order(df: pd.DataFrame) -> pd.DataFrame:
    """Alerts of the same time in the order in which they were logged; the window's parts came in any."""
    time, logged = df["time"], df["timestamp"]
    if ((time == time.shift()) & (logged < logged.shift())).any():
        return df.sort_values(["time", "timestamp"], kind="stable", ignore_index=True)
    return df


def found(
    client: LogsClient,
    window: Window,
    choice: Choice,
    *,
    limit: int | None = None,
    known: frozenset[str] = frozenset(),
    by_insights: tuple[int, int, int] | None = None,
    progress: Progress | None = None,
) -> tuple[list[Event], dict[str, Any]]:
    """The events that hold alerts of the choice, oldest first, or the newest `limit` of them; and a frame's `attrs`.

    `by_insights` are a window's first and last ms and the rows that are expected in it: Logs Insights is asked.
    """
    kept: list[Event] = []
    skipped: Counter[str] = Counter()
    read = left_out = 0
    newest_first, before = limit is not None, 1 << 62  # an emulator may know no order but its own
    complete, tell = False, _tell(progress)
    with stoppable() as stopped, unhurried_gc():
        pages: Pages | Rows = Pages(client, window, shards=True, interrupted=stopped)
        if by_insights is not None:
            low, high, expected = by_insights
            pages = Rows(client, window.log_group, low, high, choice.query(), expected, stopped)
        try:
            for page in pages if limit is None else _backwards(client, window, stopped):
                times = [before, *(event["timestamp"] for event in page)]
                newest_first = newest_first and all(later >= earlier for later, earlier in pairwise(times))
                before = times[-1]
                fresh = [event for event in page if event["eventId"] not in known]
                df = choice.select(to_frame(fresh))
                chosen = set(df["eventId"])
                kept += [event for event in fresh if event["eventId"] in chosen]
                skipped.update(df.attrs["skipped"])
                read, left_out = read + len(fresh), left_out + df.attrs["left_out"]
                tell(page)
                # Events that are all of one time may be the oldest as well as the newest.
                if newest_first and len(kept) >= (limit or 0) and len(set(times[1:])) > 1:
                    complete = True
                    break
            else:
                complete = not stopped.is_set()
        except KeyboardInterrupt:
            if stopped.is_set():
                raise
    attrs = {"events": read, "skipped": dict(skipped), "left_out": left_out, "complete": complete}
    if newest_first:
        kept.reverse()  # events of one time are in the order of their lines
    kept.sort(key=lambda event: event["timestamp"])
    return kept if limit is None else kept[-limit:], attrs if complete else {**attrs, "read_until": None}


def _backwards(client: LogsClient, window: Window, stopped: Stop) -> Iterator[list[Event]]:
    """The pages of a window from the newest on. Events from before 2024 come last, as one page."""
    if window.end is None or window.end >= NEWEST_FIRST_SINCE:
        later = replace(window, start=max(window.start or 0, NEWEST_FIRST_SINCE), newest_first=True)
        yield from Pages(client, later, interrupted=stopped)
    if not stopped.is_set() and (window.start is None or window.start < NEWEST_FIRST_SINCE):
        until = NEWEST_FIRST_SINCE - 1 if window.end is None else min(window.end, NEWEST_FIRST_SINCE - 1)
        earlier = Pages(client, replace(window, end=until), interrupted=stopped)
        yield [event for page in earlier for event in page][::-1]


def _known(after: pd.DataFrame | None, overlap: str | timedelta) -> tuple[int | None, frozenset[str]]:
    """Where to go on after a frame (ms; None: at the window's start), and the ids of events that it has."""
    if after is None:
        return None, frozenset()
    lacking = {"timestamp", "eventId"} - set(after.columns)
    if lacking:
        hint = "Give it a frame of lab.alerts(), with all its columns."
        raise LabError(f"after is a frame without the column {min(lacking)!r}.", hint=hint)
    if "queries" in after.attrs:
        raise LabError(
            "after is a frame that was read by Insights, which doesn't tell the ids of events.",
            hint="Read it by FilterLogEvents (without by=), and go on after that.",
        )
    back = duration(overlap) if isinstance(overlap, str) else overlap.total_seconds()
    if back is None or not back >= 0:
        raise LabError(f"overlap is {short_repr(overlap)}.", hint='Give it a time such as "10m", or a timedelta.')
    latest = after["timestamp"].max()
    if after.attrs.get("complete") is False:
        until = after.attrs.get("read_until")
        latest = pd.NaT if until is None else min(utc(until), latest)
    if pd.isna(latest):
        return None, frozenset(after["eventId"].dropna())
    begin = max(latest.value // 1_000_000 - int(back * 1000), 0)
    recent = after["timestamp"] >= pd.Timestamp(begin, unit="ms", tz="UTC")
    return begin, frozenset(after.loc[recent, "eventId"].dropna())


def _tell(progress: Progress | None) -> Callable[[list[Event]], None]:
    """A function that is called with each page, and calls `progress` with what all of them had."""
    count, latest = 0, 0

    def tell(page: list[Event]) -> None:
        nonlocal count, latest
        count += len(page)
        latest = max(latest, 0, *(event["timestamp"] for event in (*page[:1], *page[-1:])))
        if progress is not None:
            progress(count, pd.Timestamp(latest, unit="ms", tz="UTC") if latest else None)

    return tell


@contextmanager
def stoppable() -> Iterator[Stop]:
    """An event that the first Ctrl-C sets. The second one raises `KeyboardInterrupt`, as it does elsewhere."""
    stopped = Stop()

    def stop(*_: object) -> None:
        if stopped.is_set() or stopped.at_once:
            raise KeyboardInterrupt
        stopped.set()

    here = threading.current_thread() is threading.main_thread()
    if not here or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield stopped
        return
    signal.signal(signal.SIGINT, stop)
    try:
        yield stopped
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@contextmanager
def reading() -> Iterator[Progress]:
    """A `progress` that shows how many events have been read, how fast, and up to which time, if that takes long."""
    with counting("Reading alerts", unit=" events") as bar:
        before = 0

        def show(count: int, latest: pd.Timestamp | None) -> None:
            nonlocal before
            bar(count - before, f"up to {latest:%Y-%m-%d %H:%M:%S}" if latest is not None else "")
            before = count

        yield show


@checked
def events(
    client: LogsClient,
    log_group: str = "falco",
    start: When | None = None,
    end: When | None = None,
    *,
    stream_prefix: str | None = None,
    filter_pattern: str | None = None,
    progress: Progress | None = None,
) -> Iterator[Event]:
    """The events of a window as FilterLogEvents returns them, each once, oldest first.

    Arguments and errors as for `read`; Ctrl-C raises `KeyboardInterrupt`.
    """
    return _events(
        Pages(client, Window(log_group, *window(start, end), stream_prefix, filter_pattern)), _tell(progress)
    )


def _events(pages: Pages, tell: Callable[[list[Event]], None]) -> Iterator[Event]:
    for page in pages:
        yield from page
        tell(page)
