"""Reads the log events of a time window from CloudWatch Logs, page by page, or all of its alerts as a DataFrame."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from typing import Any

import orjson
import pandas as pd
from botocore.exceptions import ClientError

from labkit.alerts.columns import Columns
from labkit.alerts.frame import frame_of, unhurried_gc
from labkit.alerts.times import When, epoch_ms
from labkit.aws import refusal, translated_errors
from labkit.calls import LogsClient, checked, short_repr
from labkit.errors import LabError, TargetError
from labkit.show import counted
from labkit.waiting import counting

Event = Mapping[str, Any]
"""One event of FilterLogEvents: `message`, `timestamp` and `ingestionTime` (ms), `eventId`, `logStreamName`."""

Progress = Callable[[int, "pd.Timestamp | None"], None]
"""Called after each page with the number of events read so far and the latest event's time."""

_THROTTLED = frozenset({"ThrottlingException", "TooManyRequestsException", "ServiceUnavailableException"})
_PATIENCE = 8  # attempts on top of botocore's own; with doubling pauses that is about two minutes
_SAME_PAGES = 5  # pages with nothing new and a token that was there before, one after the other
_BROKEN_PAGES = 3


class NoLogGroupError(LabError):
    """There is no log group of that name in that region."""


class BrokenAnswerError(LabError):
    """A service answered with success, but not with JSON."""


@checked
def read(
    client: LogsClient,
    log_group: str = "falco",
    start: When | None = None,
    end: When | None = None,
    *,
    rule: str | None = None,
    stream_prefix: str | None = None,
    filter_pattern: str | None = None,
    progress: Progress | None = None,
) -> pd.DataFrame:
    """The alerts of a log group as a DataFrame, one row per alert, ordered by `time`.

    `client` is `boto3.client("logs")`. `start` and `end` limit the time at which the line was logged: an aware
    datetime, an ISO string with its zone, or how long ago (`"1h"`); None is no limit. `rule` selects the alerts of one
    rule, `stream_prefix` the log streams; `filter_pattern` is a CloudWatch Logs filter pattern.

    Columns: `time` datetime64[ns, UTC] (Falco's own, exact; of an alert without one that of its `evt.time`, else when
    it was logged; missing if nanoseconds can't hold it, before 1677-09-22 or after 2262-04-11); `rule`, `source`,
    `hostname` categorical; `priority` ordered categorical from Debug to Emergency; `output` string; `tags` tuples; one
    column per output field under Falco's name (`proc.cmdline` string, `user.uid` Int64, ...; a missing value is `<NA>`,
    which is normal); and `eventId`, `logStreamName`, `timestamp`, `ingestionTime` as CloudWatch Logs knows the line. An
    empty result has the same columns and dtypes. `df.attrs` counts: `events` read, `alerts` made of them, and `skipped`
    lines by reason (`lifecycle`, `malformed`, `other`), and `untimed` alerts, whose `time` is missing.

    Raises `LabError` when the log group doesn't exist, when a time has no zone, when the service refuses, or when it
    stops giving pages before the last (never is a part passed off as the whole).
    """
    if rule is not None and filter_pattern is None and rule.isascii() and not set(rule) & set('"\\'):
        # Lets the service drop most of the others. A name that JSON may escape would be missed in some shapes.
        filter_pattern = f'"{rule}"'
    columns = Columns(rule)
    with unhurried_gc():
        found = events(
            client,
            log_group,
            start,
            end,
            stream_prefix=stream_prefix,
            filter_pattern=filter_pattern,
            progress=progress,
        )
        while page := list(islice(found, 1_000)):
            columns.add_page(page)
        return frame_of(columns)


@contextmanager
def reading() -> Iterator[Progress]:
    """A `progress` that shows how many events have been read, and up to which time, if that takes long."""
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
    """The events of a window as FilterLogEvents returns them, each once. Arguments and errors as for `read`."""
    request: dict[str, Any] = {"logGroupName": log_group}
    if start is not None:
        request["startTime"] = epoch_ms(start)
    if end is not None:
        request["endTime"] = epoch_ms(end)
    if stream_prefix:
        request["logStreamNamePrefix"] = stream_prefix
    if filter_pattern:
        request["filterPattern"] = filter_pattern
    seen_events: set[str] = set()
    seen_tokens: set[str] = set()
    latest, same = 0, 0
    while True:
        with log_errors(client, log_group), _quick_parse(client):
            page = _patiently(client.filter_log_events, request)
        before = len(seen_events)
        # A page may be empty and yet have a successor: only the token tells whether there is more.
        for event in page.get("events", ()):
            if event["eventId"] not in seen_events:
                seen_events.add(event["eventId"])
                latest = max(latest, event["timestamp"])
                yield event
        if progress is not None:
            progress(len(seen_events), pd.Timestamp(latest, unit="ms", tz="UTC") if latest else None)
        token = page.get("nextToken")
        if not token:
            return
        same = same + 1 if token in seen_tokens and len(seen_events) == before else 0
        if same >= _SAME_PAGES:
            raise LabError(
                f"CloudWatch Logs gives the same page of {log_group!r} again and again, after "
                f"{counted(len(seen_events), 'event')}: there may be more.",
                hint="Read it again, or a shorter window.",
            )
        if same:
            time.sleep(min(2.0**same * 0.1, 2.0))
        seen_tokens.add(token)
        request["nextToken"] = token


def _patiently(call: Callable[..., Any], request: Mapping[str, Any]) -> Any:
    """Calls again, after growing pauses, while the service throttles or answers with something else than JSON."""
    broken = 0
    for attempt in range(_PATIENCE):
        try:
            return call(**request)
        except BrokenAnswerError:
            broken += 1
            if broken >= _BROKEN_PAGES:
                raise
            time.sleep(0.2 * broken)
        except ClientError as error:
            if error.response["Error"]["Code"] not in _THROTTLED:
                raise
            time.sleep(min(2.0**attempt * 0.5, 30.0) * random.uniform(0.5, 1.0))
    return call(**request)


@contextmanager
def _quick_parse(client: Any) -> Iterator[None]:
    """Decodes FilterLogEvents' body with orjson instead of botocore's parser, which costs several times as much."""
    name = "before-parse.cloudwatch-logs.FilterLogEvents"
    emitter = client.meta.events
    emitter.register_first(name, _decode, unique_id="labkit-quick-parse")
    try:
        yield
    finally:
        emitter.unregister(name, _decode, unique_id="labkit-quick-parse")


def _decode(response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: Any) -> None:
    if response_dict["status_code"] != 200 or "cbor" in response_dict["headers"].get("content-type", ""):
        return  # errors are for botocore to read
    try:
        page = orjson.loads(response_dict["body"])
    except ValueError:
        page = None
    if not isinstance(page, dict) or not isinstance(page.get("events", []), list):
        raise BrokenAnswerError(
            f"CloudWatch Logs answered with something else than events: {short_repr(response_dict['body'], 80)}",
            hint=_IN_BETWEEN,
        )
    customized_response_dict.update(page)
    response_dict["body"] = b"{}"


@contextmanager
def log_errors(client: LogsClient, log_group: str) -> Iterator[None]:
    """`translated_errors` for CloudWatch Logs: errors name the log group and what to do."""
    try:
        with translated_errors():
            yield
    except KeyError as error:  # botocore takes an answer that is no JSON for an empty one
        raise BrokenAnswerError(
            f"CloudWatch Logs answered with something else than a result: it has no {error}.", hint=_IN_BETWEEN
        ) from error
    except TargetError as error:
        code, message = refusal(error)
        if code == "ResourceNotFoundException":
            raise NoLogGroupError(
                f"There is no log group {log_group!r} in {client.meta.region_name}.",
                hint="Create it with lab.apply('log-group'), or check log_group and the region (LABKIT_REGION).",
            ) from error.__cause__
        if code in ("AccessDeniedException", "AccessDenied"):
            raise TargetError(
                f"These credentials may not read log group {log_group!r}: {message}",
                hint="They need logs:FilterLogEvents (and logs:StartQuery, logs:GetQueryResults for Insights) on it.",
            ) from error.__cause__
        if code in _HINTS:
            raise LabError(f"CloudWatch Logs answered {code}: {message}", hint=_HINTS[code]) from error.__cause__
        raise


_IN_BETWEEN = "Is a proxy or another program in between? Check AWS_ENDPOINT_URL and the network, then try again."
_HINTS = {
    "InvalidParameterException": "Check the filter pattern's quotes and braces, and that start is before end.",
    "MalformedQueryException": "Check the query's commands: fields, filter, stats, sort, limit, separated by |.",
    "ThrottlingException": "Wait a minute, or ask for a shorter window: the account's quota of requests is used up.",
}
