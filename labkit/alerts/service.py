"""Calls CloudWatch Logs: quick decoding of its pages, its quotas, patience with what passes, errors with a hint."""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

import orjson
from botocore.exceptions import ClientError, ConnectionError, HTTPClientError

from labkit.aws import refusal, translated_errors
from labkit.calls import LogsClient, short_repr
from labkit.errors import LabError, TargetError

PATIENCE = 8  # attempts on top of botocore's own; with doubling pauses that is about two minutes
_BROKEN_PAGES = 3
_THROTTLED = frozenset(
    {"ThrottlingException", "TooManyRequestsException", "ServiceUnavailableException", "LimitExceededException"}
)

# What AWS publishes for an account in a region, in requests a second; the quotas of FilterLogEvents can't be raised.
# https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/cloudwatch_limits_cwl.html
_QUOTA = 10.0
_FILTER_QUOTAS = {
    "us-east-1": 25.0,
    **dict.fromkeys(("eu-central-1", "ap-northeast-3", "ap-southeast-3", "ca-west-1", "il-central-1"), 5.0),
}


class NoLogGroupError(LabError):
    """There is no log group of that name in that region."""


class BrokenAnswerError(LabError):
    """A service answered with success, but not with JSON."""


class Pace:
    """Spaces the requests of one operation, for all threads: slower when the service throttles, faster when it doesn't.

    `quota` is in requests a second. AWS is asked at that pace from the start; another service only once it throttles.
    """

    def __init__(self, quota: float, *, limited: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self.quota = quota
        self._clock = clock
        self._lock = threading.Lock()
        self._base: float | None = quota if limited else None
        self._since = clock()  # when `_base` was set; from then on the pace grows
        self._answers: deque[float] = deque(maxlen=256)  # when they came
        self._next = 0.0  # when the next request is due if none may come early

    @property
    def rate(self) -> float | None:
        """Requests a second that are sent at most; None is no bound."""
        if self._base is None:
            return None
        quiet: float = max(self._clock() - self._since, 0.0)
        # A square: it stays near a pace that was just found too high, and finds a higher quota within seconds.
        return min(self._base + 0.05 * quiet * quiet, 10 * self.quota)

    def delay(self) -> float:
        """Takes a turn, and returns the seconds until it comes. The first ones of a second come at once."""
        with self._lock:
            rate, now = self.rate, self._clock()
            if rate is None:
                return 0.0
            early = max(rate - 1, 0.0) / rate  # a second's worth, as the service's own bucket holds
            self._next = max(self._next, now - early) + 1 / rate
            return max(self._next - 1 / rate - now, 0.0)

    def answered(self) -> None:
        """The service has answered a request."""
        self._answers.append(self._clock())

    def throttled(self) -> None:
        """The service has throttled. Several such answers within a second count once."""
        with self._lock:
            rate, now = self.rate, self._clock()
            if self._base is not None and now - self._since < 1:
                return
            known = self.quota if rate is None else min(rate, 2 * self.quota)
            # What has been let through in the last two seconds is what the service allows, about.
            through = sum(at > now - 2 for at in self._answers) / 2
            self._base = max(min(through, 0.9 * known if rate is not None else known), 0.4 * known, 0.5)
            self._since, self._next = now, max(self._next, now + 1 / self._base)


_paces: dict[tuple[str, str, str], Pace] = {}


def pace_of(client: LogsClient, operation: str) -> Pace:
    """The pace of an operation at a client's endpoint: its quota is the account's, whatever reads from it."""
    meta: Any = client.meta
    key = (str(meta.endpoint_url), str(meta.region_name), operation)
    if key not in _paces:
        quota = _FILTER_QUOTAS.get(str(meta.region_name), _QUOTA) if operation == "FilterLogEvents" else _QUOTA
        _paces[key] = Pace(quota, limited=".amazonaws.com" in key[0])
    return _paces[key]


class Service:
    """CloudWatch Logs as one reading sees it; threads may share it. Its pauses end when `stop` is set."""

    def __init__(self, client: LogsClient, log_group: str, stop: threading.Event | None = None) -> None:
        self.client: Any = client
        self.log_group = log_group
        self.stop = stop or threading.Event()
        self.held = 0.0
        """Seconds that requests were held back to keep the pace, in all threads."""
        self._answered = False

    @contextmanager
    def open(self, *operations: str) -> Iterator[Service]:
        """A block in which these operations' answers are decoded quickly, and their throttling is seen."""
        with ExitStack() as stack:
            for operation in operations:
                stack.enter_context(_hooked(self.client, operation, pace_of(self.client, operation)))
            yield self

    def call(self, operation: str, request: Mapping[str, Any]) -> Any:
        """The answer. Calls again, after growing pauses, while the service throttles, breaks off or isn't itself.

        Raises `LabError`. A service that has never answered is not waited for: botocore has tried it often enough.
        """
        method = getattr(self.client, _METHODS[operation])
        pace = pace_of(self.client, operation)
        with log_errors(self.client, self.log_group):
            broken = 0
            for attempt in range(PATIENCE + 1):
                held = pace.delay()
                self.held += held
                self.pause(held)
                try:
                    answer = method(**request)
                    self._answered = True
                    pace.answered()
                    return answer
                except (BrokenAnswerError, KeyError, ConnectionError, HTTPClientError) as error:
                    broken += 1
                    known = self._answered or isinstance(error, BrokenAnswerError | KeyError)
                    if broken >= _BROKEN_PAGES or not known or self.stop.is_set():
                        raise
                    self.pause(0.2 * broken)
                except ClientError as error:
                    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
                    if error.response["Error"]["Code"] in _THROTTLED:
                        pace.throttled()
                    elif status < 500 or not self._answered:
                        raise
                    if attempt == PATIENCE or self.stop.is_set():
                        raise
                    self.pause(min(2.0**attempt * 0.5, 30.0) * random.uniform(0.5, 1.0))
        raise AssertionError  # the last attempt has returned or raised

    def errors(self) -> AbstractContextManager[None]:
        """A block whose errors of boto3 become `LabError`s that name the group."""
        return log_errors(self.client, self.log_group)

    def no_group(self) -> NoLogGroupError:
        return NoLogGroupError(
            f"There is no log group {self.log_group!r} in {self.client.meta.region_name}.", hint=_NO_GROUP
        )

    def pause(self, seconds: float) -> None:
        if seconds > 0:
            self.stop.wait(seconds)


_METHODS = {
    "FilterLogEvents": "filter_log_events",
    "StartQuery": "start_query",
    "GetQueryResults": "get_query_results",
}


@contextmanager
def _hooked(client: Any, operation: str, pace: Pace) -> Iterator[None]:
    def see(response: Any = None, **_: Any) -> None:
        code = (response[1].get("Error") or {}).get("Code") if response else None
        if code in _THROTTLED:
            pace.throttled()

    emitter, key = client.meta.events, f"labkit-{operation}-{id(see)}"  # an id names one handler of one event
    retried = f"needs-retry.cloudwatch-logs.{operation}"
    decoded = f"before-parse.cloudwatch-logs.{operation}"
    decode = _DECODERS.get(operation)
    emitter.register(retried, see, unique_id=key)  # botocore's own retries
    if decode:
        emitter.register_first(decoded, decode, unique_id=f"{key}-decode")
    try:
        yield
    finally:
        emitter.unregister(retried, see, unique_id=key)
        if decode:
            emitter.unregister(decoded, decode, unique_id=f"{key}-decode")


def _decoder(member: str) -> Callable[..., None]:
    """Decodes a body whose `member` is a list with orjson, several times as fast as botocore's parser."""

    def decode(response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: Any) -> None:
        if response_dict["status_code"] != 200 or "cbor" in response_dict["headers"].get("content-type", ""):
            return  # errors are for botocore to read
        if member in customized_response_dict:
            return  # another reading of this client was first
        try:
            page = orjson.loads(response_dict["body"])
        except ValueError:
            page = None
        if not isinstance(page, dict) or not isinstance(page.get(member, []), list):
            raise BrokenAnswerError(
                f"CloudWatch Logs answered with something else than {member}: {short_repr(response_dict['body'], 80)}",
                hint=_IN_BETWEEN,
            )
        customized_response_dict.update(page)
        response_dict["body"] = b"{}"

    return decode


_DECODERS = {"FilterLogEvents": _decoder("events"), "GetQueryResults": _decoder("results")}


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
            raise Service(client, log_group).no_group() from error.__cause__
        if code in ("AccessDeniedException", "AccessDenied"):
            raise TargetError(
                f"These credentials may not read log group {log_group!r}: {message}",
                hint="They need logs:FilterLogEvents (and logs:StartQuery, logs:GetQueryResults for Insights) on it.",
            ) from error.__cause__
        if code in _HINTS:
            raise LabError(f"CloudWatch Logs answered {code}: {message}", hint=_HINTS[code]) from error.__cause__
        raise


_NO_GROUP = "Create it with lab.apply('log-group'), or check log_group and the region (LABKIT_REGION)."
_IN_BETWEEN = "Is a proxy or another program in between? Check AWS_ENDPOINT_URL and the network, then try again."
_HINTS = {
    "InvalidParameterException": "Check the filter pattern's quotes and braces, and that start is before end.",
    "MalformedQueryException": "Look at that position of the query, counted from 0. Commands are separated by |.",
    "ThrottlingException": "Wait a minute, or ask for a shorter window: the account's quota of requests is used up.",
    "LimitExceededException": "Wait until other Insights queries of this account have ended, or do what it says.",
}
