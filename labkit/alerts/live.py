"""Follows a log group as alerts arrive: in comes a client, out comes an endless stream of log events, each once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pandas as pd

from labkit.alerts.reader import Event, events, explained
from labkit.alerts.times import When, utc


def follow(
    client: Any,
    log_group: str = "falco",
    start: When | None = None,
    *,
    timeout: float | None = None,
    poll: float = 1.0,
    overlap: float = 30.0,
    stream_prefix: str | None = None,
    filter_pattern: str | None = None,
    stop: Callable[[], bool] | None = None,
) -> Iterator[Event]:
    """Events from `start` (default: now) on, as they become readable, each once, until `timeout` seconds have passed.

    CloudWatch Logs makes lines readable late and out of order, so every `poll` seconds it reads a window again that
    reaches `overlap` seconds back behind the latest event, and leaves out what it has given before. `stop` is asked
    after each reading. Errors as for `labkit.alerts.read`.
    """
    since = utc(start) if start is not None else pd.Timestamp.now("UTC")
    deadline = None if timeout is None else time.monotonic() + timeout
    given: dict[str, int] = {}
    latest = since
    back = pd.Timedelta(seconds=overlap)
    while True:
        window = max(since, latest - back)
        for event in events(client, log_group, window, stream_prefix=stream_prefix, filter_pattern=filter_pattern):
            if event["eventId"] not in given:
                given[event["eventId"]] = event["timestamp"]
                latest = max(latest, pd.Timestamp(event["timestamp"], unit="ms", tz="UTC"))
                yield event
        if stop is not None and stop():
            return
        # Only what the next window can contain needs to be remembered.
        oldest = (latest - back).value // 1_000_000
        given = {event_id: stamp for event_id, stamp in given.items() if stamp >= oldest}
        pause = poll if deadline is None else min(poll, deadline - time.monotonic())
        if pause <= 0:
            return
        time.sleep(pause)


def live_tail(
    client: Any,
    log_group_arn: str,
    *,
    timeout: float = 60.0,
    stream_prefix: str | None = None,
    filter_pattern: str | None = None,
) -> Iterator[Event]:
    """Events as CloudWatch Logs' own live tail pushes them, about once a second, for up to `timeout` seconds.

    Costs per minute, is sampled above 500 events a second and ends after three hours: `follow` gives every event.
    `log_group_arn` is the group's ARN without `:*`. Live tail's events have no `eventId`. On an endpoint of your own
    make the client with `Config(inject_host_prefix=False)`.
    """
    request: dict[str, Any] = {"logGroupIdentifiers": [log_group_arn]}
    if stream_prefix:
        request["logStreamNamePrefixes"] = [stream_prefix]
    if filter_pattern:
        request["logEventFilterPattern"] = filter_pattern
    deadline = time.monotonic() + timeout
    with explained(client, log_group_arn):
        stream = client.start_live_tail(**request)["responseStream"]
        try:
            for part in stream:
                yield from part.get("sessionUpdate", {}).get("sessionResults", ())
                if time.monotonic() >= deadline:
                    return
        finally:
            stream.close()
