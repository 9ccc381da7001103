"""Follows a log group: polls it for alerts, each once, or opens CloudWatch Logs' live tail."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Any

import pandas as pd

from labkit.alerts.card import Alert, table
from labkit.alerts.choice import Choice
from labkit.alerts.frame import to_frame
from labkit.alerts.pages import Event
from labkit.alerts.reader import events
from labkit.alerts.service import log_errors
from labkit.alerts.times import When, utc
from labkit.calls import LogsClient, checked
from labkit.errors import AlertTimeoutError, StoppedError
from labkit.show import AsTable, Output, Table, counted, in_notebook, watched
from labkit.waiting import waiting


@checked
def follow(
    client: LogsClient,
    log_group: str = "falco",
    start: When | None = None,
    *,
    rule: str | Iterable[str] | None = None,
    pod: str | None = None,
    priority: str | None = None,
    namespace: str | None = None,
    timeout: float | None = None,
    poll: float = 0.5,
    overlap: float = 30.0,
) -> Iterator[dict[str, Any]]:
    """Alerts logged from `start` on (default: now), one by one as they become readable.

    Each is a dict of a frame's columns (`time`, `rule`, `priority`, `proc.cmdline`, ...) without missing values.
    `rule`, `pod`, `priority` and `namespace` as for `read`. Ends after `timeout` seconds; without one, it doesn't end.

    Every `poll` seconds the log group is read again, from `overlap` seconds before its latest event, because lines
    become readable late and out of order: each node's Fluent Bit ships for itself, every few seconds, and the service
    takes some to make a line readable. 30 s are enough for that. What a Fluent Bit ships later than that, after an
    outage, is missed here: read the window again with `read(after=...)`. Errors as for `read`.
    """
    first = utc(start) if start is not None else pd.Timestamp.now("UTC")
    choice = Choice.of(rule, pod, priority, namespace)
    batches = follow_events(
        client, log_group, first, timeout=timeout, poll=poll, overlap=overlap, filter_pattern=choice.pattern()
    )
    return (
        {str(name): value for name, value in row.items() if not _missing(value)}
        for batch in batches
        for row in choice.select(to_frame(batch)).to_dict("records")
    )


def follow_events(
    client: Any,
    log_group: str,
    start: pd.Timestamp,
    *,
    timeout: float | None = None,
    poll: float = 0.5,
    overlap: float = 30.0,
    filter_pattern: str | None = None,
) -> Iterator[list[Event]]:
    """Log events from `start` on, each once, in batches (the first may be empty). Arguments as for `follow`."""
    deadline = None if timeout is None else time.monotonic() + timeout
    back = pd.Timedelta(seconds=overlap)
    latest = start
    given: dict[str, int] | None = None
    while True:
        found = list(events(client, log_group, max(start, latest - back), filter_pattern=filter_pattern))
        fresh = [event for event in found if given is None or event["eventId"] not in given]
        if fresh or given is None:
            yield fresh
        # The next window can only repeat what this one had: nothing older needs to be remembered.
        given = {event["eventId"]: event["timestamp"] for event in found}
        latest = max(latest, pd.Timestamp(max(given.values(), default=0), unit="ms", tz="UTC"))
        pause = poll if deadline is None else min(poll, deadline - time.monotonic())
        if pause <= 0:
            return
        time.sleep(pause)


class Following(AsTable, Iterator[Alert]):
    """Alerts as they become readable, each once. In a notebook a table of those that came grows with every one.

    It ends after `timeout` seconds, or when the person stops the cell. The table stays, newest alert first.
    """

    def __init__(self, batches: Iterator[list[Event]], timeout: float) -> None:
        self._rows = (row for batch in batches for _, row in to_frame(batch).iterrows())
        self.timeout = timeout
        self._ends: float | None = None  # counted from the first alert that is asked for, as in the batches
        self._end: BaseException | None = None  # the one that `next` raised last, not one of the block's own
        self.alerts: list[Alert] = []
        """Those that came, oldest first."""
        self._output = Output()
        self._stopped = False

    def __enter__(self) -> Following:
        self._show(final=False)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        self._show(final=True)
        if error is None or error is not self._end:
            return
        if self._stopped:
            raise StoppedError("Stopped following.", hint="Run the cell again to follow from then on.") from None
        seen = f"{counted(len(self.alerts), 'alert')} arrived, and no other" if self.alerts else "no alert arrived"
        raise AlertTimeoutError(
            f"Followed the log group for {self.timeout:g} s: {seen}.",
            hint="lab.wait_for_alert(...) says which link of the chain is broken.",
        ) from None

    def __next__(self) -> Alert:
        if self._ends is None:
            self._ends = time.monotonic() + self.timeout
        try:
            with waiting("the next alert", max(self._ends - time.monotonic(), 0)):
                row = next(self._rows)
        except StopIteration as end:
            self._end = end
            raise
        except KeyboardInterrupt:
            self._stopped, self._end = True, StopIteration()
            raise self._end from None
        self.alerts.append(Alert.of(row))
        self._show(final=False)
        return self.alerts[-1]

    def _show(self, *, final: bool) -> None:
        # A program that executes the notebook gets the table once, when it is complete.
        if in_notebook() and (final or watched()):
            self._output.show(self)

    def _table(self) -> Table:
        title = counted(len(self.alerts), "alert") + (f", the last {_SHOWN}" if len(self.alerts) > _SHOWN else "")
        return table(title, self.alerts[: -_SHOWN - 1 : -1])


_SHOWN = 30


def _missing(value: Any) -> bool:
    return value is None or (pd.api.types.is_scalar(value) and bool(pd.isna(value)))


@checked
def live_tail(
    client: LogsClient,
    log_group_arn: str,
    *,
    timeout: float = 60.0,
    stream_prefix: str | None = None,
    filter_pattern: str | None = None,
) -> Iterator[Event]:
    """Events of CloudWatch Logs' live tail, which sends them about once a second, for up to `timeout` seconds.

    `log_group_arn` is the group's ARN without `:*`. Live tail costs by the minute, samples above 500 events a second
    and ends after three hours; `follow` returns every event. Its events have no `eventId`. For an endpoint of your own
    make the client with `Config(inject_host_prefix=False)`. Errors as for `read`.
    """
    request: dict[str, Any] = {"logGroupIdentifiers": [log_group_arn]}
    if stream_prefix:
        request["logStreamNamePrefixes"] = [stream_prefix]
    if filter_pattern:
        request["logEventFilterPattern"] = filter_pattern
    deadline = time.monotonic() + timeout
    with log_errors(client, log_group_arn):
        stream = client.start_live_tail(**request)["responseStream"]
        try:
            for part in stream:
                yield from part.get("sessionUpdate", {}).get("sessionResults", ())
                if time.monotonic() >= deadline:
                    return
        finally:
            stream.close()
