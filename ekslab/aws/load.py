"""AWS under load, on request: latency, CloudWatch Logs' quotas, and Insights queries that take a while.

All of it is off until `Load.set` is called. Quotas are AWS's published defaults, by region
(https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/cloudwatch_limits_cwl.html, read in 2026).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ekslab.aws.protocols import AwsError

QUERIES = "ConcurrentQueries"
SESSIONS = "LiveTailSessions"
QUERY_SECONDS = 1.0
"""How long a query takes when latency is on and nothing else is said. An assumption: AWS publishes no figure."""
MAX_LATENCY = 60.0
MAX_QUERY_SECONDS = 3600.0

# Requests per second of an account in a region; for QUERIES and SESSIONS, how many at a time.
_EVERYWHERE = {
    QUERIES: 100,
    SESSIONS: 15,
    "CreateLogGroup": 10,
    "CreateLogStream": 50,
    "DeleteLogGroup": 10,
    "DeleteLogStream": 15,
    "DeleteMetricFilter": 5,
    "DeleteRetentionPolicy": 5,
    "DeleteSubscriptionFilter": 5,
    "DescribeLogGroups": 10,
    "DescribeLogStreams": 25,
    "DescribeMetricFilters": 5,
    "DescribeSubscriptionFilters": 5,
    "FilterLogEvents": 10,
    "GetLogEvents": 25,
    "GetQueryResults": 10,
    "ListTagsForResource": 5,
    "PutLogEvents": 5000,
    "PutMetricFilter": 5,
    "PutRetentionPolicy": 5,
    "PutSubscriptionFilter": 5,
    "StartLiveTail": 5,
    "StartQuery": 10,
    "TagResource": 5,
    "TestMetricFilter": 5,
    "UntagResource": 5,
}
_LOWER = {"FilterLogEvents": 5, "GetLogEvents": 10}
_IN_REGION = {
    "us-east-1": {"FilterLogEvents": 25},
    "us-west-2": {"GetLogEvents": 10},
    "eu-west-1": {"GetLogEvents": 10},
    "eu-west-3": {"GetLogEvents": 30},
    "ap-northeast-3": _LOWER,
    "ap-southeast-3": _LOWER,
    "ca-west-1": _LOWER,
    "eu-central-1": _LOWER,
    "il-central-1": _LOWER,
}


def published(region: str) -> dict[str, float]:
    """AWS's default quotas of CloudWatch Logs in a region: requests per second by operation, and concurrency."""
    return {**_EVERYWHERE, **_IN_REGION.get(region, {})}


@dataclass
class Bucket:
    """A token bucket: as many requests as `rate` at once, then `rate` a second."""

    rate: float
    tokens: float
    at: float

    def take(self, now: float) -> bool:
        self.tokens = min(max(self.rate, 1.0), self.tokens + (now - self.at) * self.rate)
        self.at = now
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True


class Load:
    """What is switched on. `latency` and `query_seconds` are seconds; `clock` returns seconds that only grow."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.latency = 0.0
        self.query_seconds = 0.0
        self.account_quotas: dict[str, float] = {}
        """Values of Service Quotas other than the defaults, by service and code: `iam/L-FE177D64`."""
        self._quotas: bool | dict[str, float] = False
        self._buckets: dict[tuple[str, str], Bucket] = {}

    def set(self, changes: Mapping[str, Any]) -> None:
        """Changes what `changes` names and leaves the rest as it is.

        `latency`: seconds that each answer to a client is held back. `query_seconds`: the least time from StartQuery
        until the results are complete. `quotas`: whether AWS's published ones hold, or numbers that replace some of
        them; names with a slash (`iam/L-FE177D64`) are quotas that Service Quotas tells. Latency brings `QUERY_SECONDS`
        along unless that is given, too. Raises ValueError.
        """
        if not isinstance(changes, Mapping):
            raise ValueError("Give an object with latency, query_seconds and quotas.")
        unknown = set(changes) - {"latency", "query_seconds", "quotas"}
        if unknown:
            raise ValueError(f"There is no {sorted(unknown)[0]!r}. Use latency, query_seconds and quotas.")
        latency = _number(changes, "latency", self.latency, MAX_LATENCY)
        default = self.query_seconds if "latency" not in changes else QUERY_SECONDS if latency else 0.0
        query_seconds = _number(changes, "query_seconds", default, MAX_QUERY_SECONDS)
        if "quotas" in changes:
            quotas = _quotas(changes["quotas"])
            if isinstance(quotas, dict):
                self.account_quotas |= {name: value for name, value in quotas.items() if "/" in name}
                quotas = {name: value for name, value in quotas.items() if "/" not in name} or self._quotas
            else:
                self.account_quotas = {}
            earlier = self._quotas if isinstance(self._quotas, dict) else {}
            self._quotas = earlier | quotas if isinstance(quotas, dict) else quotas
            self._buckets.clear()
        self.latency, self.query_seconds = latency, query_seconds

    def quotas(self, region: str) -> dict[str, float]:
        """The quotas that hold in a region; empty if they are off."""
        if self._quotas is False:
            return {}
        return published(region) | (self._quotas if isinstance(self._quotas, dict) else {})

    def described(self, region: str) -> dict[str, Any]:
        """What is switched on, for people and programs; `quotas` are those of the region."""
        return {"latency": self.latency, "query_seconds": self.query_seconds, "quotas": self.quotas(region)}

    def admit(self, operation: str, region: str) -> None:
        """Counts a request to CloudWatch Logs. Raises AwsError if there were too many within the last second."""
        if self._quotas is False:
            return
        now = self._clock()
        bucket = self._buckets.get((operation, region))
        if bucket is None:
            rate = self.quotas(region).get(operation, math.inf)
            bucket = self._buckets[operation, region] = Bucket(rate, max(rate, 1.0), now)
        if not bucket.take(now):
            raise AwsError("ThrottlingException", "Rate exceeded")


def _number(changes: Mapping[str, Any], name: str, default: float, most: float) -> float:
    value = changes.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
        raise ValueError(f"{name} is {value!r}: give seconds from 0 to {most:g}.")
    return float(value)


def _quotas(given: Any) -> bool | dict[str, float]:
    if isinstance(given, bool):
        return given
    if not isinstance(given, Mapping):
        raise ValueError(f"quotas is {given!r}: give true, false, or numbers by operation.")
    for name, value in given.items():
        if name not in _EVERYWHERE and "/" not in name:
            raise ValueError(f"There is no quota {name!r}. Use one of: {', '.join(_EVERYWHERE)}.")
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
            raise ValueError(f"The quota {name} is {value!r}: give a number above 0.")
    return {name: float(value) for name, value in given.items()}
