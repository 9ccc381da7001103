"""The data of the console's views: what AWS and Kubernetes answer, and the command that asks for the same by hand."""

from __future__ import annotations

import asyncio
import base64
import datetime as dt
import shlex
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

import orjson

from ekslab.console import terminal
from ekslab.console.alerts import card_of, event_row, finding_row, parsed, row_of, short
from ekslab.console.doors import DoorError, Doors, segment
from ekslab.console.pipeline import seconds

MOST_ROWS = 10_000
_MOST_TEXT = 1_100_000  # characters of a log event that is shown in full
_LOG_LINES = 2_000
_FINDINGS = 500  # in an answer, of five pages
_TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
_QUERY_SECONDS = 60.0

Query = Mapping[str, str]
Answer = dict[str, Any]
View = Callable[[Doors, Query], Awaitable[Answer]]

VIEWS: dict[str, View] = {}


def _view(name: str) -> Callable[[View], View]:
    def register(view: View) -> View:
        VIEWS[name] = view
        return view

    return register


def by_hand(*words: object) -> str:
    """A command as it is typed in a shell."""
    return shlex.join(str(word) for word in words)


def _group(q: Query) -> str:
    """The log group that a page asks for. Raises `DoorError` if it names none."""
    if not (name := q.get("group", "")):
        raise DoorError("", "There is no log group yet: `labkit apply log-group` makes it.", 400)
    return name


@_view("about")
async def about(doors: Doors, q: Query) -> Answer:
    e = doors.endpoints
    return {"id": e.id, "region": e.region, "account": e.account_id, "cluster": e.cluster}


# -- CloudWatch Logs


@_view("groups")
async def groups(doors: Doors, q: Query) -> Answer:
    prefix = {"logGroupNamePrefix": q["prefix"]} if q.get("prefix") else {}
    found = await _pages(doors, "logs", "DescribeLogGroups", "logGroups", "nextToken", limit=50, **prefix)
    rows = [
        {
            "name": group["logGroupName"],
            "class": group.get("logGroupClass", "STANDARD"),
            "retention": group.get("retentionInDays"),
            "filters": group.get("metricFilterCount", 0),
            "bytes": group.get("storedBytes", 0),
            "created": group.get("creationTime", 0),
        }
        for group in found
    ]
    return {"groups": rows, "hand": by_hand("aws", "logs", "describe-log-groups")}


@_view("streams")
async def streams(doors: Doors, q: Query) -> Answer:
    group = _group(q)
    by_time = {"logGroupName": group, "orderBy": "LastEventTime", "descending": True}
    found = await _pages(doors, "logs", "DescribeLogStreams", "logStreams", "nextToken", **by_time)
    rows = [
        {"name": s["logStreamName"], "last": s.get("lastEventTimestamp"), "created": s.get("creationTime")}
        for s in found
    ]
    described = await doors.aws("logs", "DescribeLogGroups", logGroupNamePrefix=group)
    facts = next((g for g in described["logGroups"] if g["logGroupName"] == group), None)
    if facts is None:
        raise DoorError("ResourceNotFoundException", f"The specified log group does not exist: {group}", 404)
    filters, subscriptions = await asyncio.gather(
        doors.aws("logs", "DescribeMetricFilters", logGroupName=group),
        doors.aws("logs", "DescribeSubscriptionFilters", logGroupName=group),
    )
    return {
        "streams": rows,
        "arn": facts["arn"],
        "retention": facts.get("retentionInDays"),
        "bytes": facts.get("storedBytes", 0),
        "filters": [
            {
                "name": f["filterName"],
                "pattern": f.get("filterPattern", ""),
                "metrics": [f"{t['metricNamespace']} / {t['metricName']}" for t in f["metricTransformations"]],
            }
            for f in filters["metricFilters"]
        ],
        "subscriptions": [
            {"name": f["filterName"], "pattern": f.get("filterPattern", ""), "destination": f["destinationArn"]}
            for f in subscriptions["subscriptionFilters"]
        ],
        "hand": by_hand(
            "aws", "logs", "describe-log-streams", "--log-group-name", group, "--order-by", "LastEventTime",
            "--descending",
        ),
    }  # fmt: skip


@_view("events")
async def events(doors: Doors, q: Query) -> Answer:
    """The newest log events that match, newest first, at most `MOST_ROWS`."""
    now = int(time.time() * 1000)
    start, end = _time(q.get("start"), now - 3_600_000), _time(q.get("end"), now + 60_000)
    asked: dict[str, Any] = {"logGroupName": _group(q)}
    hand = ["aws", "logs", "filter-log-events", "--log-group-name", _group(q)]
    if q.get("stream"):
        asked["logStreamNames"] = [q["stream"]]
        hand += ["--log-stream-names", q["stream"]]
    if q.get("pattern"):
        asked["filterPattern"] = q["pattern"]
        hand += ["--filter-pattern", q["pattern"]]
    hand += ["--start-time", str(start), "--end-time", str(end)]
    most = min(int(q.get("limit") or MOST_ROWS), MOST_ROWS)
    rows: list[Answer] = []
    more = False
    # FilterLogEvents begins with the oldest: the newest stretch of time is read first, then longer ones before it.
    upper, span = end, 300_000
    while upper >= start and not more:
        lower = max(start, upper - span)
        part: list[Answer] = []
        token = ""
        while True:
            page = await doors.aws(
                "logs", "FilterLogEvents", **asked, startTime=lower, endTime=upper,
                **({"nextToken": token} if token else {}),
            )  # fmt: skip
            part += [event_row(event) for event in page.get("events", [])]
            if len(rows) + len(part) > most:
                part = part[-(most - len(rows)) :] if most > len(rows) else []
                more = True
            token = page.get("nextToken", "")
            await asyncio.sleep(0)  # each page takes a while to decode: others get their turn
            if not token:
                break
        rows += reversed(part)
        upper, span = lower - 1, span * 4
    return {"events": rows, "more": more, "start": start, "end": end, "hand": by_hand(*hand)}


@_view("event")
async def event(doors: Doors, q: Query) -> Answer:
    """One log event in full; an alert also as a card. By its id, or by the key of its alert."""
    moment = int(q["timestamp"])
    exact = bool(q.get("id"))
    room = 0 if exact else 5_000  # the log event of an alert has the time at which Fluent Bit read it
    asked: dict[str, Any] = {"logGroupName": _group(q), "startTime": moment - room, "endTime": moment + room * 12}
    if q.get("stream"):
        asked["logStreamNames"] = [q["stream"]]
    token = ""
    while True:
        page = await doors.aws("logs", "FilterLogEvents", **asked, **({"nextToken": token} if token else {}))
        for one in page.get("events", []):
            alert = parsed(one["message"])
            if one["eventId"] == q.get("id") or (not exact and alert and row_of(alert)["key"] == q.get("key")):
                return _shown(one, alert, _group(q))
        token = page.get("nextToken", "")
        if not token:
            break
    raise DoorError("", "This log event is not in the log group (any more, or not yet).", 404)


def _shown(one: Mapping[str, Any], alert: Mapping[str, Any] | None, group: str) -> Answer:
    message = one["message"]
    moment = str(one["timestamp"])
    return {
        "message": short(message, _MOST_TEXT),
        "row": event_row(one),
        "card": card_of(alert) if alert else None,
        "hand": by_hand(
            "aws", "logs", "filter-log-events", "--log-group-name", group, "--start-time", moment, "--end-time", moment
        ),
    }


async def tail(doors: Doors, q: Query) -> AsyncIterator[tuple[str, Any]]:
    """Log events as they are stored: a session of Live Tail."""
    e = doors.endpoints
    arn = f"arn:aws:logs:{e.region}:{e.account_id}:log-group:{q.get('group', '')}"
    asked: dict[str, Any] = {"logGroupIdentifiers": [arn]}
    hand = ["aws", "logs", "start-live-tail", "--log-group-identifiers", arn]
    if q.get("pattern"):
        asked["logEventFilterPattern"] = q["pattern"]
        hand += ["--log-event-filter-pattern", q["pattern"]]
    async with doors.live_tail(**asked) as updates:
        yield "started", {"hand": by_hand(*hand)}
        async for update in updates:
            rows = [event_row(one) for one in update.get("sessionResults", [])]
            sampled = bool(update.get("sessionMetadata", {}).get("sampled"))
            if rows:
                yield "stored", {"events": rows, "sampled": sampled}


@_view("insights")
async def insights(doors: Doors, q: Query) -> Answer:
    """Runs a query of Logs Insights and waits for its results."""
    now = int(time.time())
    start = _time(q.get("start"), (now - 3600) * 1000) // 1000
    end = _time(q.get("end"), now * 1000) // 1000
    text = q["query"]
    started = await doors.aws(
        "logs", "StartQuery", logGroupNames=[_group(q)], queryString=text, startTime=start, endTime=end
    )
    deadline = time.monotonic() + _QUERY_SECONDS
    wait = 0.05
    while True:
        found = await doors.aws("logs", "GetQueryResults", queryId=started["queryId"])
        if found["status"] not in ("Scheduled", "Running") or time.monotonic() > deadline:
            break
        await asyncio.sleep(wait)
        wait = min(wait * 2, 1.0)
    columns: list[str] = []
    rows = []
    for result in found.get("results", []):
        cells = {cell["field"]: short(cell.get("value", ""), 2_000) for cell in result if cell["field"] != "@ptr"}
        columns += [name for name in cells if name not in columns]
        rows.append(cells)
    hand = by_hand(
        "aws", "logs", "start-query", "--log-group-names", _group(q), "--start-time", start, "--end-time", end,
        "--query-string", text,
    )  # fmt: skip
    hand += "\n" + by_hand("aws", "logs", "get-query-results", "--query-id", started["queryId"])
    return {
        "status": found["status"],
        "columns": columns,
        "rows": rows,
        "statistics": found.get("statistics", {}),
        "hand": hand,
    }


# -- CloudWatch


@_view("metrics")
async def metrics(doors: Doors, q: Query) -> Answer:
    found = await _pages(doors, "monitoring", "ListMetrics", "Metrics", "NextToken")
    namespace = q.get("namespace")
    return {
        "namespaces": sorted({metric["Namespace"] for metric in found}),
        "metrics": [metric for metric in found if namespace in (None, "", metric["Namespace"])],
        "hand": by_hand("aws", "cloudwatch", "list-metrics", *(["--namespace", namespace] if namespace else [])),
    }


async def image(doors: Doors, q: Query) -> bytes:
    """A metric widget as a PNG."""
    drawn = await doors.aws("monitoring", "GetMetricWidgetImage", MetricWidget=q.get("widget", "{}"))
    return base64.b64decode(drawn["MetricWidgetImage"])


@_view("alarms")
async def alarms(doors: Doors, q: Query) -> Answer:
    found = await doors.aws(
        "monitoring", "DescribeAlarms", MaxRecords=100, AlarmTypes=["MetricAlarm", "CompositeAlarm"]
    )
    rows = [_alarm(alarm) for alarm in [*found.get("MetricAlarms", []), *found.get("CompositeAlarms", [])]]
    order = {"ALARM": 0, "INSUFFICIENT_DATA": 1, "OK": 2}
    rows.sort(key=lambda row: (order.get(row["state"], 3), row["name"]))
    return {"alarms": rows, "hand": by_hand("aws", "cloudwatch", "describe-alarms")}


def _alarm(alarm: Mapping[str, Any]) -> Answer:
    operators = {
        "GreaterThanOrEqualToThreshold": ">=",
        "GreaterThanThreshold": ">",
        "LessThanThreshold": "<",
        "LessThanOrEqualToThreshold": "<=",
    }
    operator = operators.get(alarm.get("ComparisonOperator", ""), alarm.get("ComparisonOperator", ""))
    condition = alarm.get("AlarmRule", "")
    if "Threshold" in alarm:
        of = alarm.get("DatapointsToAlarm", alarm["EvaluationPeriods"])
        minutes = alarm.get("Period", 60) * alarm["EvaluationPeriods"] / 60
        name = alarm.get("MetricName", "expression")
        condition = f"{name} {operator} {alarm['Threshold']:g} for {of} datapoints within {minutes:g} minutes"
    return {
        "name": alarm["AlarmName"],
        "arn": alarm["AlarmArn"],
        "state": alarm["StateValue"],
        "reason": alarm.get("StateReason", ""),
        "updated": int(seconds(alarm["StateUpdatedTimestamp"]) * 1000),
        "condition": condition,
        "description": alarm.get("AlarmDescription", ""),
        "actions": alarm.get("AlarmActions", []) if alarm.get("ActionsEnabled") else [],
        "namespace": alarm.get("Namespace", ""),
        "widget": _widget_of(alarm),
    }


def _widget_of(alarm: Mapping[str, Any]) -> Answer | None:
    """The graph of an alarm's metric with its threshold; None of an alarm that has no metric of its own."""
    if "MetricName" not in alarm:
        return None
    dimensions = [text for pair in alarm.get("Dimensions", ()) for text in (pair["Name"], pair["Value"])]
    return {
        "metrics": [[alarm["Namespace"], alarm["MetricName"], *dimensions]],
        "stat": alarm.get("Statistic") or alarm.get("ExtendedStatistic", "Sum"),
        "period": alarm["Period"],
        "annotations": {"horizontal": [{"label": "Threshold", "value": alarm["Threshold"]}]},
        "start": "-PT3H",
    }


@_view("alarm")
async def alarm(doors: Doors, q: Query) -> Answer:
    """One alarm, and its history."""
    name = q["name"]
    found, history = await asyncio.gather(
        doors.aws("monitoring", "DescribeAlarms", AlarmNames=[name], AlarmTypes=["MetricAlarm", "CompositeAlarm"]),
        doors.aws("monitoring", "DescribeAlarmHistory", AlarmName=name, MaxRecords=100),
    )
    alarms = [*found.get("MetricAlarms", []), *found.get("CompositeAlarms", [])]
    if not alarms:
        raise DoorError("", f"There is no alarm {name}.", 404)
    return {
        **_alarm(alarms[0]),
        "history": [
            {
                "time": int(seconds(item["Timestamp"]) * 1000),
                "type": item["HistoryItemType"],
                "summary": item["HistorySummary"],
            }
            for item in history.get("AlarmHistoryItems", [])
        ],
        "hand": by_hand("aws", "cloudwatch", "describe-alarm-history", "--alarm-name", name),
    }


@_view("dashboards")
async def dashboards(doors: Doors, q: Query) -> Answer:
    found = await doors.aws("monitoring", "ListDashboards")
    rows = [
        {"name": d["DashboardName"], "modified": int(seconds(d["LastModified"]) * 1000)}
        for d in found.get("DashboardEntries", [])
    ]
    return {"dashboards": rows, "hand": by_hand("aws", "cloudwatch", "list-dashboards")}


@_view("dashboard")
async def dashboard(doors: Doors, q: Query) -> Answer:
    found = await doors.aws("monitoring", "GetDashboard", DashboardName=q["name"])
    body = orjson.loads(found["DashboardBody"])
    hand = by_hand("aws", "cloudwatch", "get-dashboard", "--dashboard-name", q["name"])
    return {"name": q["name"], "body": body, "hand": hand}


# -- Kubernetes


def _scope(q: Query, path: str) -> tuple[str, list[str]]:
    """The path of a list of objects, and kubectl's option: of one namespace, or of all."""
    namespace = q.get("namespace", "")
    if namespace:
        return f"/api/v1/namespaces/{segment(namespace)}/{path}", ["-n", namespace]
    return f"/api/v1/{path}", ["-A"]


async def _table(doors: Doors, path: str, **query: str) -> Answer:
    """A list as `kubectl get -o wide` prints it: columns and rows, with each object's name and namespace."""
    table = orjson.loads(await doors.kube(path, accept=_TABLE, **query))
    columns = [column["name"] for column in table["columnDefinitions"]]
    rows = [
        {
            "name": row["object"]["metadata"]["name"],
            "namespace": row["object"]["metadata"].get("namespace", ""),
            "cells": [short(cell) for cell in row["cells"]],
        }
        for row in table.get("rows") or []
    ]
    return {"columns": columns, "rows": rows}


@_view("nodes")
async def nodes(doors: Doors, q: Query) -> Answer:
    return {**await _table(doors, "/api/v1/nodes"), "hand": by_hand("kubectl", "get", "nodes", "-o", "wide")}


@_view("pods")
async def pods(doors: Doors, q: Query) -> Answer:
    path, option = _scope(q, "pods")
    query = {"labelSelector": q["labels"]} if q.get("labels") else {}
    hand = ["kubectl", "get", "pods", *option, "-o", "wide", *(["-l", q["labels"]] if query else [])]
    found = await doors.objects("/api/v1/namespaces")
    names = [item["metadata"]["name"] for item in found["items"]]
    return {**await _table(doors, path, **query), "namespaces": names, "hand": by_hand(*hand)}


@_view("kube-events")
async def kube_events(doors: Doors, q: Query) -> Answer:
    path, option = _scope(q, "events")
    found = await doors.objects(path)
    rows = [
        {
            "time": one.get("lastTimestamp") or one.get("eventTime") or one["metadata"].get("creationTimestamp", ""),
            "type": one.get("type", ""),
            "reason": one.get("reason", ""),
            "object": f"{one['involvedObject'].get('kind', '').lower()}/{one['involvedObject'].get('name', '')}",
            "namespace": one["metadata"].get("namespace", ""),
            "message": short(one.get("message", ""), 1_000),
            "count": one.get("count", 1),
        }
        for one in found.get("items", [])
    ]
    rows.sort(key=lambda row: str(row["time"]), reverse=True)
    hand = by_hand("kubectl", "get", "events", *option, "--sort-by=.lastTimestamp")
    return {"events": rows, "hand": hand}


@_view("object")
async def object_(doors: Doors, q: Query) -> Answer:
    """A pod or a node as YAML, and a pod's containers."""
    import yaml

    name = q["name"]
    if q.get("kind") == "node":
        found = await doors.objects(f"/api/v1/nodes/{segment(name)}")
        hand = by_hand("kubectl", "get", "node", name, "-o", "yaml")
    else:
        namespace = q["namespace"]
        found = await doors.objects(f"/api/v1/namespaces/{segment(namespace)}/pods/{segment(name)}")
        hand = by_hand("kubectl", "-n", namespace, "get", "pod", name, "-o", "yaml")
    found["metadata"].pop("managedFields", None)
    spec = found.get("spec", {})
    containers = [c["name"] for c in (*(spec.get("containers") or ()), *(spec.get("initContainers") or ()))]
    text = yaml.dump(found, Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper), sort_keys=True, allow_unicode=True)
    return {"yaml": text, "containers": containers, "node": spec.get("nodeName", ""), "hand": hand}


async def follow(doors: Doors, q: Query) -> AsyncIterator[tuple[str, Any]]:
    """A container's log: its last lines, and what it gets."""
    namespace, pod, container = q.get("namespace", ""), q.get("pod", ""), q.get("container", "")
    path = f"/api/v1/namespaces/{segment(namespace)}/pods/{segment(pod)}/log"
    hand = ["kubectl", "-n", namespace, "logs", "-f", f"--tail={_LOG_LINES}", pod, "-c", container]
    async with doors.kube_stream(path, container=container, follow="true", tailLines=str(_LOG_LINES)) as lines:
        yield "started", {"hand": by_hand(*hand)}
        batch: list[str] = []
        iterator = aiter(lines)
        following: asyncio.Future[bytes] = asyncio.ensure_future(anext(iterator))
        try:
            while True:
                # Lines that come together are sent together.
                done, _ = await asyncio.wait([following], timeout=0.03 if batch else None)
                if done:
                    batch.append(short(following.result().rstrip(b"\r").decode("utf-8", "replace"), 20_000))
                    following = asyncio.ensure_future(anext(iterator))
                if batch and (not done or len(batch) >= 500):
                    yield "lines", batch
                    batch = []
        except StopAsyncIteration:
            if batch:
                yield "lines", batch
            yield "ended", {}
        finally:
            following.cancel()


@_view("rules")
async def rules(doors: Doors, q: Query) -> Answer:
    """The rules that a running Falco has loaded, by its own list (`falco -L`)."""
    found = await doors.objects("/api/v1/pods", labelSelector="app.kubernetes.io/name=falco")
    running = [pod for pod in found["items"] if pod["status"].get("phase") == "Running"]
    if not running:
        return {"rules": [], "hand": ""}
    meta = running[0]["metadata"]
    argv = ["falco", "-L", "-o", "json_output=true"]
    printed = await terminal.run(doors, meta["namespace"], meta["name"], "falco", argv)
    if "{" not in printed:
        raise DoorError("", f"Falco does not say which rules it has: {printed.strip()[:500]}", 502)
    listed = orjson.loads(printed[printed.index("{") :])["rules"]
    keep = ("name", "priority", "source", "enabled", "tags", "description", "condition")
    rows = [{name: rule["info"].get(name) for name in keep} for rule in listed]
    hand = ["kubectl", "-n", meta["namespace"], "exec", "daemonset/falco", "-c", "falco", "--", "falco", "-L"]
    return {"rules": rows, "hand": by_hand(*hand)}


# -- Security Hub


@_view("findings")
async def findings(doors: Doors, q: Query) -> Answer:
    """Findings, newest first, from `token` on; `severity`, `workflow` and `record` are values, with commas between."""
    filters: dict[str, Any] = {}
    names = {"severity": "SeverityLabel", "workflow": "WorkflowStatus", "record": "RecordState", "id": "Id"}
    for name, attribute in names.items():
        if values := [value for value in q.get(name, "").split(",") if value]:
            filters[attribute] = [{"Value": value, "Comparison": "EQUALS"} for value in values]
    sort = [{"Field": "UpdatedAt", "SortOrder": "desc"}]
    most = min(int(q.get("limit") or _FINDINGS), MOST_ROWS)
    rows: list[Answer] = []
    token = q.get("token", "")
    try:
        while len(rows) < most:
            asked = {"Filters": filters, "SortCriteria": sort, "MaxResults": 100}
            page = await doors.rest(
                "securityhub", "POST", "/findings", {**asked, **({"NextToken": token} if token else {})}
            )
            rows += map(finding_row, page.get("Findings", []))
            token = page.get("NextToken", "")
            if not token:
                break
    except DoorError as error:
        if "InvalidAccess" not in error.code:
            raise
        return {"findings": [], "off": error.message, "hand": by_hand("aws", "securityhub", "get-findings")}
    hand = ["aws", "securityhub", "get-findings"]
    if filters:
        hand += ["--filters", orjson.dumps(filters).decode()]
    hand += ["--sort-criteria", orjson.dumps(sort[0]).decode()]
    return {"findings": rows, "token": token, "hand": by_hand(*hand)}


@_view("finding")
async def finding(doors: Doors, q: Query) -> Answer:
    filters = {"Id": [{"Value": q["id"], "Comparison": "EQUALS"}]}
    page = await doors.rest("securityhub", "POST", "/findings", {"Filters": filters, "MaxResults": 1})
    if not page.get("Findings"):
        raise DoorError("", "There is no such finding.", 404)
    found = page["Findings"][0]
    hand = by_hand("aws", "securityhub", "get-findings", "--filters", orjson.dumps(filters).decode())
    return {"finding": found, "row": finding_row(found), "hand": hand}


# -- common


async def _pages(
    doors: Doors, service: str, operation: str, member: str, token: str, **parameters: Any
) -> list[dict[str, Any]]:
    """All pages of a list, up to `MOST_ROWS` items."""
    found: list[dict[str, Any]] = []
    while True:
        page = await doors.aws(service, operation, **parameters)
        found += page.get(member, [])
        if not page.get(token) or len(found) >= MOST_ROWS:
            return found
        parameters[token] = page[token]


def _time(text: str | None, default: int) -> int:
    """A time of a page: ms since the epoch, or ISO 8601 in UTC."""
    if not text:
        return default
    if text.isdigit():
        return int(text)
    moment = dt.datetime.fromisoformat(text)
    return int((moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)).timestamp() * 1000)
