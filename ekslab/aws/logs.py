"""CloudWatch Logs: the operations on groups, streams, events, filters, queries and live tail."""

from __future__ import annotations

import base64
import math
import re
from bisect import bisect_left
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import orjson

from ekslab import names
from ekslab.aws import filter_patterns
from ekslab.aws.event_blocks import BLOCK, EVENT_OVERHEAD, Event, Position, message_size
from ekslab.aws.live_tail import LiveTail
from ekslab.aws.load import SESSIONS, Load
from ekslab.aws.log_store import DAY, Group, Stream, scan
from ekslab.aws.metric_filters import MetricFilters
from ekslab.aws.metrics import Metrics
from ekslab.aws.protocols import AwsError, Call, unsupported
from ekslab.aws.subscription_filters import Functions, SubscriptionFilters
from ekslab.aws.validation import validate

if TYPE_CHECKING:
    from ekslab.aws.queries import Queries

MAX_BATCH_BYTES = 1_048_576
MAX_PAGE_BYTES = 1_048_576
MAX_PAGE_EVENTS = 10_000
MAX_BATCH_SPAN = DAY
TOO_OLD = 14 * DAY
TOO_NEW = 2 * 3_600_000
# Events that one FilterLogEvents call scans. The service, too, limits the work of a call and may return an empty page
# with a token; here it keeps other calls from waiting.
MAX_PAGE_SCAN = 20_000
# Above so many bytes of events, the oldest of the stream that is written to are compressed: a million alerts fit.
_PLAIN_BYTES = 64 * 1024 * 1024
_PLAIN_EVENTS = 2_048  # which a stream has before that
_ALWAYS = 1 << 62
_FIRST_MILLISECONDS = 100_000_000_000  # of queries: in seconds that is the year 5138, in milliseconds 1973
NEWEST_FIRST_SINCE = 1_704_067_200_000  # 2024-01-01T00:00:00Z: what the service demands of startFromHead=False

RETENTION_DAYS = (
    1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653,
)  # fmt: skip

Parameters = Mapping[str, Any]
Result = dict[str, Any]


def invalid(message: str) -> AwsError:
    return AwsError("InvalidParameterException", message)


def not_found(what: str) -> AwsError:
    return AwsError("ResourceNotFoundException", f"The specified {what} does not exist.")


@dataclass
class Region:
    """The log groups and queries of one region. `count` numbers its events in the order in which they came."""

    name: str
    queries: Queries
    metric_filters: MetricFilters
    subscription_filters: SubscriptionFilters
    groups: dict[str, Group] = field(default_factory=dict)
    count: int = 0
    sessions: int = 0
    open_sessions: WeakSet[LiveTail] = field(default_factory=WeakSet)


class Logs:
    """The service. Synchronous: each call sees all events that were put before."""

    def __init__(
        self,
        *,
        account_id: str,
        clock: Callable[[], float],
        metrics: Callable[[str], Metrics] | None = None,
        functions: Functions | None = None,
        load: Load | None = None,
    ) -> None:
        """`metrics` returns a region's CloudWatch metrics, for metric filters; `functions` are for subscriptions.

        `load` has quotas and how long queries take; by default they take as long as they need.
        """
        self.account_id = account_id
        self.clock = clock
        self._metrics = metrics or (lambda _: Metrics(clock))
        self._functions = functions
        self._load = load or Load()
        self._regions: dict[str, Region] = {}
        self._operations: dict[str, Callable[[Region, Parameters], Result]] = {
            "CreateLogGroup": self._create_log_group,
            "DeleteLogGroup": self._delete_log_group,
            "DescribeLogGroups": self._describe_log_groups,
            "PutRetentionPolicy": self._put_retention_policy,
            "DeleteRetentionPolicy": self._delete_retention_policy,
            "PutLogGroupDeletionProtection": self._put_deletion_protection,
            "CreateLogStream": self._create_log_stream,
            "DeleteLogStream": self._delete_log_stream,
            "DescribeLogStreams": self._describe_log_streams,
            "PutLogEvents": self._put_log_events,
            "GetLogEvents": self._get_log_events,
            "FilterLogEvents": self._filter_log_events,
            "TagResource": self._tag_resource,
            "UntagResource": self._untag_resource,
            "ListTagsForResource": self._list_tags_for_resource,
            "PutMetricFilter": self._put_metric_filter,
            "DescribeMetricFilters": self._describe_metric_filters,
            "DeleteMetricFilter": self._delete_metric_filter,
            "PutSubscriptionFilter": self._put_subscription_filter,
            "DescribeSubscriptionFilters": self._describe_subscription_filters,
            "DeleteSubscriptionFilter": self._delete_subscription_filter,
            "TestMetricFilter": self._test_metric_filter,
            "GetQueryResults": self._get_query_results,
            "StopQuery": self._stop_query,
            "DescribeQueries": self._describe_queries,
        }

    def now(self) -> int:
        """Milliseconds since the epoch."""
        return int(self.clock() * 1000)

    def region(self, name: str) -> Region:
        if name not in self._regions:
            subscriptions = SubscriptionFilters(name, self.account_id, self._functions)
            from ekslab.aws.queries import Queries  # slow to import

            queries = Queries(self.now, self._load, name)
            self._regions[name] = Region(name, queries, MetricFilters(self._metrics(name)), subscriptions)
        return self._regions[name]

    def handle(self, call: Call, user: str) -> Result | LiveTail:
        """The operation's result; for StartLiveTail the session. `user` is the caller's ARN.

        Raises AwsError, named and worded as the service does.
        """
        operation = self._operations.get(call.operation)
        if operation is None and call.operation not in ("StartQuery", "StartLiveTail"):
            raise unsupported(call)
        # A batch's events are checked where they are stored: one pass over ten thousand is enough.
        validate("logs", call.operation, call.parameters, skip=frozenset({"logEvents"}))
        region = self.region(call.region)
        if operation is not None:
            return operation(region, call.parameters)
        if call.operation == "StartLiveTail":
            return self._start_live_tail(region, call.parameters)
        return self._start_query(region, call, user)

    # -- groups --

    def _create_log_group(self, region: Region, p: Parameters) -> Result:
        name = p["logGroupName"]
        if name in region.groups:
            raise AwsError("ResourceAlreadyExistsException", "The specified log group already exists")
        log_class = p.get("logGroupClass", "STANDARD")
        arn = f"arn:aws:logs:{region.name}:{self.account_id}:log-group:{name}"
        if log_class != "STANDARD":
            raise invalid(f"The embedded lab has log groups of class STANDARD only, not {log_class}.")
        if p.get("kmsKeyId"):
            # There is no KMS in the lab, so there is no key that could be used.
            raise invalid(f"The specified KMS key does not exist or is not allowed to be used with LogGroup '{arn}'")
        region.groups[name] = Group(
            name,
            self.now(),
            arn,
            tags=_checked_tags(dict(p.get("tags", {}))),
            deletion_protection=p.get("deletionProtectionEnabled", False),
        )
        return {}

    def _delete_log_group(self, region: Region, p: Parameters) -> Result:
        group = self.group(region, p)
        if group.deletion_protection:
            raise AwsError(
                "ValidationException",
                "The log group has deletion protection enabled. Disable deletion protection and try again.",
            )
        region.metric_filters.delete_group(group)
        region.subscription_filters.delete_group(group)
        del region.groups[group.name]
        return {}

    def _describe_log_groups(self, region: Region, p: Parameters) -> Result:
        prefix, pattern = p.get("logGroupNamePrefix"), p.get("logGroupNamePattern")
        if prefix is not None and pattern:
            raise invalid("LogGroup name prefix and LogGroup name pattern are mutually exclusive parameters.")
        identifiers = [self._name(region, i) for i in p.get("logGroupIdentifiers", [])]
        chosen = [
            group
            for name, group in sorted(region.groups.items())
            if name.startswith(prefix or "")
            and (pattern or "") in name
            and p.get("logGroupClass", group.log_class) == group.log_class
            and (not identifiers or name in identifiers)
        ]
        page, token = _page([(group.name, group) for group in chosen], p)
        now = self.now()
        return {"logGroups": [self._describe(region, group, now) for group in page], **token}

    def _describe(self, region: Region, group: Group, now: int) -> Result:
        group.expire(now)
        description: Result = {
            "logGroupName": group.name,
            "creationTime": group.created,
            "metricFilterCount": len(region.metric_filters.in_group(group.name)),
            "arn": f"{group.arn}:*",
            "storedBytes": group.stored_bytes,
            "logGroupClass": group.log_class,
            "logGroupArn": group.arn,
            "deletionProtectionEnabled": group.deletion_protection,
        }
        if group.retention_days is not None:
            description["retentionInDays"] = group.retention_days
        return description

    def _put_retention_policy(self, region: Region, p: Parameters) -> Result:
        days = p["retentionInDays"]
        if days not in RETENTION_DAYS:
            options = ", ".join(map(str, RETENTION_DAYS))
            raise invalid(
                f"1 validation error detected: Value '{days}' at 'retentionInDays' failed to satisfy constraint: "
                f"Member must satisfy enum value set: [{options}]"
            )
        self.group(region, p).retention_days = days
        return {}

    def _delete_retention_policy(self, region: Region, p: Parameters) -> Result:
        self.group(region, p).retention_days = None
        return {}

    def _put_deletion_protection(self, region: Region, p: Parameters) -> Result:
        self.group(region, p).deletion_protection = p["deletionProtectionEnabled"]
        return {}

    def _name(self, region: Region, identifier: str) -> str:
        """The group's name, from a name or from its ARN (which must be of this account and region)."""
        if not identifier.startswith("arn:"):
            return identifier
        prefix = f"arn:aws:logs:{region.name}:{self.account_id}:log-group:"
        if not identifier.startswith(prefix):
            raise not_found("log group")
        return identifier.removeprefix(prefix).removesuffix(":*")

    def group(self, region: Region, p: Parameters) -> Group:
        """The group that a call names by `logGroupName` or `logGroupIdentifier`. Raises AwsError."""
        name, identifier = p.get("logGroupName"), p.get("logGroupIdentifier")
        if name is not None and identifier is not None:
            raise invalid("LogGroup name and LogGroup identifier are mutually exclusive parameters.")
        if name is None and identifier is None:
            raise invalid("LogGroup name or LogGroup identifier is required.")
        return self.group_named(region, name if name is not None else identifier or "")

    def group_named(self, region: Region, identifier: str) -> Group:
        """The group with this name or ARN. Raises AwsError."""
        group = region.groups.get(self._name(region, identifier))
        if group is None:
            raise not_found("log group")
        return group

    # -- tags --

    def _tagged(self, region: Region, p: Parameters) -> Group:
        return self.group_named(region, p["resourceArn"])

    def _tag_resource(self, region: Region, p: Parameters) -> Result:
        group = self._tagged(region, p)
        group.tags = _checked_tags({**group.tags, **p["tags"]})
        return {}

    def _untag_resource(self, region: Region, p: Parameters) -> Result:
        group = self._tagged(region, p)
        group.tags = {key: value for key, value in group.tags.items() if key not in p["tagKeys"]}
        return {}

    def _list_tags_for_resource(self, region: Region, p: Parameters) -> Result:
        return {"tags": self._tagged(region, p).tags}

    # -- streams --

    def _create_log_stream(self, region: Region, p: Parameters) -> Result:
        group = self.group(region, p)
        if p["logStreamName"] in group.streams:
            raise AwsError("ResourceAlreadyExistsException", "The specified log stream already exists")
        group.create_stream(p["logStreamName"], self.now())
        return {}

    def _delete_log_stream(self, region: Region, p: Parameters) -> Result:
        group = self.group(region, p)
        del group.streams[self._stream(group, p["logStreamName"]).name]
        return {}

    def _stream(self, group: Group, name: str) -> Stream:
        stream = group.streams.get(name)
        if stream is None:
            raise not_found("log stream")
        return stream

    def _describe_log_streams(self, region: Region, p: Parameters) -> Result:
        group = self.group(region, p)
        group.expire(self.now())
        prefix, by_time = p.get("logStreamNamePrefix"), p.get("orderBy") == "LastEventTime"
        if prefix is not None and by_time:
            raise invalid("Cannot order by LastEventTime with a logStreamNamePrefix.")
        keyed: list[tuple[Any, Stream]] = [
            ((stream.events.last[0] if stream.events else 0, stream.name) if by_time else stream.name, stream)
            for stream in group.streams.values()
            if stream.name.startswith(prefix or "")
        ]
        descending = p.get("descending", False)
        keyed.sort(key=lambda item: item[0], reverse=descending)
        page, token = _page(keyed, p, descending=descending)
        return {"logStreams": [self._describe_stream(group, stream) for stream in page], **token}

    def _describe_stream(self, group: Group, stream: Stream) -> Result:
        description: Result = {
            "logStreamName": stream.name,
            "creationTime": stream.created,
            "arn": f"{group.arn}:log-stream:{stream.name}",
            "storedBytes": 0,  # what the service reports for every stream since 2019
        }
        if stream.events:
            description |= {"firstEventTimestamp": stream.events.first[0], "lastEventTimestamp": stream.events.last[0]}
        if stream.last_ingestion is not None:
            description |= {
                "lastIngestionTime": stream.last_ingestion,
                "uploadSequenceToken": _sequence_token(stream),
            }
        return description

    # -- events --

    def _put_log_events(self, region: Region, p: Parameters) -> Result:
        now = self.now()
        events = _checked_events(p["logEvents"])
        size = sum(message_size(message) for _, message in events) + EVENT_OVERHEAD * len(events)
        if size > MAX_BATCH_BYTES:
            if len(events) == 1:
                raise invalid(f"Log event too large: {size} bytes exceeds limit of {MAX_BATCH_BYTES}")
            raise invalid(f"Upload too large: {size} bytes exceeds limit of {MAX_BATCH_BYTES}")
        times = [timestamp for timestamp, _ in events]
        if any(later < earlier for earlier, later in pairwise(times)):
            raise invalid("Log events in a single PutLogEvents request must be in chronological order.")
        group = self.group(region, p)
        stream = self._stream(group, p["logStreamName"])

        rejected: Result = {}
        too_old = bisect_left(times, now - TOO_OLD)
        expired = bisect_left(times, group.expired_before(now))
        too_new = bisect_left(times, now + TOO_NEW + 1)
        if too_old:
            rejected["tooOldLogEventEndIndex"] = too_old
        if expired > too_old:
            rejected["expiredLogEventEndIndex"] = expired
        if too_new < len(times):
            rejected["tooNewLogEventStartIndex"] = too_new
        accepted = events[max(too_old, expired) : too_new]
        if accepted and accepted[-1][0] - accepted[0][0] > MAX_BATCH_SPAN:
            raise invalid("The batch of log events in a single PutLogEvents request cannot span more than 24 hours.")
        first = region.count + 1
        region.count += len(accepted)
        batch = [(timestamp, number, now, message) for number, (timestamp, message) in enumerate(accepted, first)]
        group.put(stream, batch)
        if len(stream.events) > _PLAIN_EVENTS and self._plain_bytes() > _PLAIN_BYTES:
            stream.events.pack(2 * len(batch) + BLOCK)
        result: Result = {"nextSequenceToken": _sequence_token(stream)}
        if rejected:
            result["rejectedLogEventsInfo"] = rejected
        return result

    def _plain_bytes(self) -> int:
        """Bytes of events that aren't compressed."""
        groups = (group for region in self._regions.values() for group in region.groups.values())
        return sum(stream.events.plain_size for group in groups for stream in group.streams.values())

    def _get_log_events(self, region: Region, p: Parameters) -> Result:
        group = self.group(region, p)
        stream = self._stream(group, p["logStreamName"])
        group.expire(self.now())
        low = (p.get("startTime", 0), 0)
        # Unlike FilterLogEvents, this operation leaves out events at endTime itself.
        high = (p.get("endTime", _ALWAYS), 0)
        token = p.get("nextToken")
        forward = p.get("startFromHead", False)
        if token is not None:
            direction, position = _position(token)
            forward = direction == "f"
            if forward:
                low = max(low, (position[0], position[1] + 1))
            else:
                high = min(high, position)
        page: list[Event] = []
        size = 0
        for event in stream.events.between(low, high, newest_first=not forward):
            size += message_size(event[3]) + EVENT_OVERHEAD
            if len(page) >= p.get("limit", MAX_PAGE_EVENTS) or (page and size > MAX_PAGE_BYTES):
                break
            page.append(event)
        if not forward:
            page.reverse()
        if page:
            first, last = page[0][:2], page[-1][:2]
        elif token is not None:
            # An empty page: the token of the call's direction stays the same, the other one leads back.
            at = _position(token)[1]
            first, last = ((at[0], at[1] + 1), at) if forward else (at, (at[0], at[1] - 1))
        else:
            before = next(stream.events.between((0, 0), low, newest_first=True), None)
            at = before[:2] if before is not None else (0, 0)
            first, last = (at[0], at[1] + 1), at
        return {
            "events": [{"timestamp": e[0], "message": e[3], "ingestionTime": e[2]} for e in page],
            "nextForwardToken": _token("f", last),
            "nextBackwardToken": _token("b", first),
        }

    def _filter_log_events(self, region: Region, p: Parameters) -> Result:
        group = self.group(region, p)
        group.expire(self.now())
        start, end = p.get("startTime", 0), p.get("endTime", _ALWAYS)
        newest_first = p.get("startFromHead") is False
        if start > end:
            raise invalid("endTime must be greater than or equal to startTime.")
        if newest_first and start < NEWEST_FIRST_SINCE:
            raise invalid("startFromHead=false is supported only when startTime is on or after 2024-01-01T00:00:00Z.")
        streams = self.streams(group, p.get("logStreamNames"), p.get("logStreamNamePrefix"))
        pattern = p.get("filterPattern", "").strip()
        matches = compile_pattern(pattern).matches if pattern else None
        after = None
        if "nextToken" in p:
            direction, after = _position(p["nextToken"])
            newest_first = direction == "b"

        limit = p.get("limit", MAX_PAGE_EVENTS)
        found: list[Result] = []
        size = 0
        more = False
        events = scan(streams, start, end, after=after, newest_first=newest_first)
        last: Event | None = None
        for scanned, (event, stream) in enumerate(events):
            if len(found) >= limit or scanned >= MAX_PAGE_SCAN:
                more = True
                break
            timestamp, _, ingestion, message = event
            if matches is None or matches(message):
                size += message_size(message) + EVENT_OVERHEAD
                if found and size > MAX_PAGE_BYTES:
                    more = True
                    break
                found.append(
                    {
                        "logStreamName": stream.name,
                        "timestamp": timestamp,
                        "message": message,
                        "ingestionTime": ingestion,
                        "eventId": stream.event_id(event),
                    }
                )
            last = event
        result: Result = {"events": found, "searchedLogStreams": []}
        if more and last is not None:
            result["nextToken"] = _token("b" if newest_first else "f", last[:2])
        return result

    # -- filters --

    def _put_metric_filter(self, region: Region, p: Parameters) -> Result:
        region.metric_filters.put(self.group(region, p), p, self.now())
        return {}

    def _delete_metric_filter(self, region: Region, p: Parameters) -> Result:
        region.metric_filters.delete(self.group(region, p), p["filterName"])
        return {}

    def _describe_metric_filters(self, region: Region, p: Parameters) -> Result:
        if ("metricName" in p) != ("metricNamespace" in p):
            raise invalid("metricName and metricNamespace must be specified together.")
        if "logGroupName" in p:
            self.group(region, p)
        found = [
            ((filter_.group, filter_.name), filter_.described())
            for filter_ in region.metric_filters.in_group(p.get("logGroupName"))
            if filter_.name.startswith(p.get("filterNamePrefix", ""))
            if "metricName" not in p or filter_.metric == (p["metricNamespace"], p["metricName"])
        ]
        page, following = _page(found, p)
        return {"metricFilters": page, **following}

    def _put_subscription_filter(self, region: Region, p: Parameters) -> Result:
        region.subscription_filters.put(self.group(region, p), p, self.now())
        return {}

    def _delete_subscription_filter(self, region: Region, p: Parameters) -> Result:
        region.subscription_filters.delete(self.group(region, p), p["filterName"])
        return {}

    def _describe_subscription_filters(self, region: Region, p: Parameters) -> Result:
        prefix = p.get("filterNamePrefix", "")
        filters = region.subscription_filters.in_group(self.group(region, p))
        page, following = _page([(f.name, f.described()) for f in filters if f.name.startswith(prefix)], p)
        return {"subscriptionFilters": page, **following}

    def _test_metric_filter(self, region: Region, p: Parameters) -> Result:
        pattern = compile_pattern(p["filterPattern"])
        return {
            "matches": [
                {"eventNumber": number, "eventMessage": message, "extractedValues": pattern.extracted(message)}
                for number, message in enumerate(p["logEventMessages"], start=1)
                if pattern.matches(message)
            ]
        }

    # -- queries and live tail --

    def _start_query(self, region: Region, call: Call, user: str) -> Result:
        p = call.parameters
        if p.get("queryLanguage", "CWLI") != "CWLI":
            raise unsupported(call, f"query language {p['queryLanguage']}")
        given = [key for key in ("logGroupName", "logGroupNames", "logGroupIdentifiers") if p.get(key)]
        if len(given) != 1:
            raise invalid("Exactly one of logGroupName, logGroupNames and logGroupIdentifiers is required.")
        named = p[given[0]]
        groups = [self.group_named(region, name) for name in ([named] if isinstance(named, str) else named)]
        start, end = _query_time(p["startTime"]), _query_time(p["endTime"], 999)
        if end < start:
            raise invalid("endTime must be greater than or equal to startTime.")
        for group in groups:
            group.expire(self.now())
        query_id = region.queries.start(
            p["queryString"],
            groups,
            start,
            end,
            limit=p.get("limit"),
            user=user,
            account=self.account_id,
        )
        return {"queryId": query_id}

    def _get_query_results(self, region: Region, p: Parameters) -> Result:
        return region.queries.results(p["queryId"], p.get("nextToken"), p.get("maxItems", 0))

    def _stop_query(self, region: Region, p: Parameters) -> Result:
        return {"success": region.queries.stop(p["queryId"])}

    def _describe_queries(self, region: Region, p: Parameters) -> Result:
        name = p.get("logGroupName")
        if name is not None:
            self.group_named(region, name)
        return {"queries": region.queries.describe(name, p.get("status"), p.get("maxResults", 1000))}

    def _start_live_tail(self, region: Region, p: Parameters) -> LiveTail:
        identifiers = p["logGroupIdentifiers"]
        wanted, prefixes = p.get("logStreamNames"), p.get("logStreamNamePrefixes")
        if any(not identifier.startswith("arn:") or identifier.endswith("*") for identifier in identifiers):
            raise invalid("Each log group identifier must be the ARN of a log group, without an asterisk at its end.")
        if wanted is not None and prefixes is not None:
            raise invalid("logStreamNames and logStreamNamePrefixes are mutually exclusive parameters.")
        if (wanted or prefixes) and len(identifiers) > 1:
            raise invalid("Log streams can be selected only when there is one log group.")
        groups = [self.group_named(region, identifier) for identifier in dict.fromkeys(identifiers)]
        if len(region.open_sessions) >= self._load.quotas(region.name).get(SESSIONS, math.inf):
            raise AwsError("LimitExceededException", "Rate exceeded")

        def selects(stream: Stream) -> bool:
            return (wanted is None or stream.name in wanted) and (
                prefixes is None or stream.name.startswith(tuple(prefixes))
            )

        region.sessions += 1
        start: Result = {
            "requestId": names.uid("live tail request", region.name, region.sessions),
            "sessionId": names.uid("live tail session", region.name, region.sessions),
            **{key: p[key] for key in ("logGroupIdentifiers", "logStreamNames", "logStreamNamePrefixes") if key in p},
            "logEventFilterPattern": p.get("logEventFilterPattern", ""),
        }
        matches = compile_pattern(p.get("logEventFilterPattern", "")).matches
        session = LiveTail(groups, selects=selects, matches=matches, start=start)
        region.open_sessions.add(session)
        return session

    def streams(self, group: Group, wanted: list[str] | None, prefix: str | None) -> list[Stream]:
        """The streams of a group that a call selects. Raises AwsError for a stream that doesn't exist."""
        if wanted is not None and prefix is not None:
            raise invalid("logStreamNames and logStreamNamePrefix are mutually exclusive parameters.")
        if wanted is not None:
            return [self._stream(group, name) for name in dict.fromkeys(wanted)]
        return [stream for name, stream in group.streams.items() if name.startswith(prefix or "")]


def compile_pattern(pattern: str) -> filter_patterns.Pattern:
    """A filter pattern. Raises AwsError that says what is wrong, and where."""
    try:
        return filter_patterns.compile_pattern(pattern)
    except filter_patterns.PatternError as error:
        raise invalid(str(error)) from error


def _query_time(time: int, rest: int = 0) -> int:
    """A time of StartQuery in ms: the service takes seconds and milliseconds. `rest` is added to whole seconds."""
    return time if time >= _FIRST_MILLISECONDS else time * 1000 + rest


def _checked_events(events: list[Any]) -> list[tuple[int, str]]:
    checked = []
    for index, event in enumerate(events, start=1):
        timestamp, message = (event.get("timestamp"), event.get("message")) if isinstance(event, dict) else (None, None)
        if type(timestamp) is not int or type(message) is not str or timestamp < 0 or not message:
            # Slow, but it raises the service's own message.
            validate("logs", "PutLogEvents", {"logGroupName": "-", "logStreamName": "-", "logEvents": [event]})
            raise invalid(f"Log event {index} can't be read.")
        checked.append((timestamp, message))
    return checked


def _checked_tags(tags: dict[str, str]) -> dict[str, str]:
    if any(key.lower().startswith("aws:") for key in tags):
        raise invalid("Tag keys must not start with aws:")
    if len(tags) > 50:
        raise AwsError("TooManyTagsException", "A log group can have no more than 50 tags.")
    return tags


def _sequence_token(stream: Stream) -> str:
    return f"{4 << 182 | stream.id << 64 | len(stream.events):056d}"


def _token(direction: str, position: Position) -> str:
    # An event's number may be one below the first: stored shifted by one.
    return f"{direction}/{position[0] << 64 | position[1] + 1:056d}"


def _position(token: str) -> tuple[str, Position]:
    match = re.fullmatch(r"([fb])/(\d{56})", token)
    if match is None:
        raise invalid("The specified nextToken is invalid.")
    value = int(match[2])
    return match[1], (value >> 64, (value & (1 << 64) - 1) - 1)


def _page(items: list[tuple[Any, Any]], p: Parameters, *, descending: bool = False) -> tuple[list[Any], Result]:
    """One page of (sort key, item), and the token for the next one: the last key of this one."""
    token = p.get("nextToken")
    if token is not None:
        try:
            last = orjson.loads(base64.urlsafe_b64decode(token))
            last = tuple(last) if isinstance(last, list) else last
            items = [item for item in items if (item[0] < last if descending else item[0] > last)]
        except (ValueError, TypeError) as error:
            raise invalid("The specified nextToken is invalid.") from error
    limit = p.get("limit", 50)
    page, rest = items[:limit], items[limit:]
    following = {"nextToken": base64.urlsafe_b64encode(orjson.dumps(page[-1][0])).decode()} if rest else {}
    return [item for _, item in page], following
