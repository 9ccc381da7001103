"""Subscription filters: send matching log events to a Lambda function, in a batch for each stream."""

from __future__ import annotations

import base64
import gzip
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from ekslab.aws import filter_patterns
from ekslab.aws.event_blocks import Event
from ekslab.aws.filter_patterns import Pattern, PatternError, SpacePattern
from ekslab.aws.log_store import Group, Stream
from ekslab.aws.protocols import AwsError

MAX_FILTERS = 2  # in a log group
MAX_PAYLOAD = 1_048_576  # bytes of one event for a function

logger = logging.getLogger(__name__)


class Functions(Protocol):
    """The interface of Lambda that subscriptions use."""

    def permits(self, service: str, source_arn: str, function_arn: str) -> bool:
        """Whether the function exists and its policy allows `service` to invoke it on behalf of `source_arn`."""

    def submit(self, function_arn: str, payload: str) -> None:
        """Invokes the function asynchronously. Raises AwsError."""


@dataclass(frozen=True)
class SubscriptionFilter:
    """One filter. It sends events that arrive after it was created."""

    name: str
    group: str
    text: str
    pattern: Pattern
    destination: str
    created: int

    def described(self) -> dict[str, Any]:
        """The filter in the response of DescribeSubscriptionFilters."""
        return {
            "filterName": self.name,
            "logGroupName": self.group,
            "filterPattern": self.text,
            "destinationArn": self.destination,
            "distribution": "ByLogStream",
            "applyOnTransformedLogs": False,
            "creationTime": self.created,
        }


class SubscriptionFilters:
    """The subscription filters of one region."""

    def __init__(self, region: str, account_id: str, functions: Functions | None) -> None:
        self._account_id = account_id
        self._functions = functions
        self._services = (f"logs.{region}.amazonaws.com", "logs.amazonaws.com")
        self._filters: dict[str, dict[str, SubscriptionFilter]] = {}

    def put(self, group: Group, p: Mapping[str, Any], now: int) -> None:
        """PutSubscriptionFilter, on a group that exists. Raises AwsError."""
        for name in ("roleArn", "fieldSelectionCriteria", "emitSystemFields"):
            if p.get(name):
                raise _invalid(f"{name} is not supported by the embedded lab.")
        if p.get("applyOnTransformedLogs"):
            raise _invalid("The embedded lab has no log transformers: applyOnTransformedLogs can't be true.")
        if p.get("distribution", "ByLogStream") != "ByLogStream":
            raise _invalid("The distribution Random is for Kinesis data streams, which the embedded lab doesn't have.")
        destination = p["destinationArn"]
        if destination.split(":")[2:3] != ["lambda"]:
            raise _invalid(f"Destination {destination} is not supported by the embedded lab: it has functions only.")
        try:
            pattern = filter_patterns.compile_pattern(p["filterPattern"])
        except PatternError as error:
            raise _invalid(str(error)) from error
        if group.name == f"/aws/lambda/{destination.rpartition(':function:')[2]}":
            raise _invalid("The embedded lab doesn't let a function subscribe to its own log: it would never end.")
        filters = self._filters.setdefault(group.name, {})
        if len(filters.keys() - {p["filterName"]}) >= MAX_FILTERS:
            raise AwsError("LimitExceededException", "Resource limit exceeded.")
        if not self._permitted(group, destination):
            raise _invalid(
                "Could not execute the lambda function. Make sure you have given CloudWatch Logs permission to execute "
                "your function."
            )
        filters[p["filterName"]] = SubscriptionFilter(
            p["filterName"], group.name, p["filterPattern"], pattern, destination, now
        )
        if self._send_matching not in group.listeners:
            group.listeners.append(self._send_matching)

    def _permitted(self, group: Group, destination: str) -> bool:
        functions = self._functions
        source = f"{group.arn}:*"
        return functions is not None and any(functions.permits(name, source, destination) for name in self._services)

    def delete(self, group: Group, name: str) -> None:
        """DeleteSubscriptionFilter. Raises AwsError if there is none of that name."""
        if self._filters.get(group.name, {}).pop(name, None) is None:
            raise AwsError("ResourceNotFoundException", "The specified subscription filter does not exist.")

    def delete_group(self, group: Group) -> None:
        """Deletes the filters of a group."""
        self._filters.pop(group.name, None)

    def in_group(self, group: Group) -> list[SubscriptionFilter]:
        """The filters of a group, by name."""
        return [found for _, found in sorted(self._filters.get(group.name, {}).items())]

    def _send_matching(self, group: Group, stream: Stream, batch: list[Event]) -> None:
        for filter_ in self.in_group(group):
            matching = [event for event in batch if filter_.pattern.matches(event[3])]
            if matching:
                self._deliver(filter_, group, stream, matching)

    def _deliver(self, filter_: SubscriptionFilter, group: Group, stream: Stream, events: list[Event]) -> None:
        """Sends events, split into batches by size. Without permission they are skipped, as on AWS."""
        payload = self._payload(filter_, group, stream, events)
        if len(payload) > MAX_PAYLOAD and len(events) > 1:
            middle = len(events) // 2
            self._deliver(filter_, group, stream, events[:middle])
            self._deliver(filter_, group, stream, events[middle:])
            return
        if self._functions is None or not self._permitted(group, filter_.destination):
            logger.warning("%s may not invoke %s: %d events skipped", group.name, filter_.destination, len(events))
            return
        try:
            self._functions.submit(filter_.destination, payload)
        except AwsError as error:
            logger.warning("%s: %d events skipped: %s", filter_.destination, len(events), error)

    def _payload(self, filter_: SubscriptionFilter, group: Group, stream: Stream, events: list[Event]) -> str:
        message = {
            "messageType": "DATA_MESSAGE",
            "owner": self._account_id,
            "logGroup": group.name,
            "logStream": stream.name,
            "subscriptionFilters": [filter_.name],
            "logEvents": [self._shown(filter_, stream, event) for event in events],
        }
        packed = gzip.compress(json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode(), mtime=0)
        return json.dumps({"awslogs": {"data": base64.b64encode(packed).decode()}})

    def _shown(self, filter_: SubscriptionFilter, stream: Stream, event: Event) -> dict[str, Any]:
        shown: dict[str, Any] = {"id": stream.event_id(event), "timestamp": event[0], "message": event[3]}
        if isinstance(filter_.pattern, SpacePattern):
            fields = filter_.pattern.extracted(event[3])
            shown["extractedFields"] = {name.removeprefix("$"): value for name, value in fields.items()}
        return shown


def _invalid(message: str) -> AwsError:
    return AwsError("InvalidParameterException", message)
