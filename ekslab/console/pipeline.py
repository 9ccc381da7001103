"""The pipeline's links, from a system call to a finding: what is there of each, its counts, what is broken."""

from __future__ import annotations

import asyncio
import datetime as dt
import re
import time
from collections.abc import Awaitable, Iterable, Mapping
from typing import Any

import orjson

from ekslab.console.doors import DoorError, Doors, segment

_FALCO = "app.kubernetes.io/name=falco"
_FLUENT_BIT = "app.kubernetes.io/name=fluent-bit"
_FINDINGS_PAGES = 10
_MATCHES = re.compile(
    r'^falcosecurity_falco_rules_matches_total\{[^}]*rule_name="((?:[^"\\]|\\.)*)"[^}]*\} (\d+)', re.M
)
_EVENTS = re.compile(r"^falcosecurity_scap_n_evts_total(?:\{[^}]*\})? (\d+)", re.M)
_GROUP = re.compile(r"(?m)^\s*log_group_name:?\s+[\"']?([^\s\"']+)")
_WINDOW = 3 * 3600  # seconds of datapoints that are summed up

Object = dict[str, Any]


class Pipeline:
    """Reads the links of one lab. It keeps what changes rarely for some seconds, and nothing else."""

    def __init__(self, doors: Doors) -> None:
        self._doors = doors
        self._kept: dict[str, tuple[float, Any]] = {}
        self.falco: list[Object] = []
        """Falco's pods."""
        self.group = ""
        """The log group that Fluent Bit writes to, whether it exists or not."""
        self.group_exists = False
        self._errors: dict[str, tuple[float, float]] = {}
        self._findings_every = 2.0

    async def links(self) -> list[Object]:
        """The links in order. Raises `DoorError` if the lab doesn't answer."""
        self.falco, carriers = await asyncio.gather(self._pods(_FALCO), self._pods(_FLUENT_BIT))
        self.group = await self._every(3, "group", self._find_group(carriers))
        groups = await self._group_named(self.group) if self.group else []
        self.group_exists = bool(groups)
        found = await asyncio.gather(
            self._calls(),
            self._shipped(carriers),
            self._stored(groups, there=bool(carriers)),
            self._metrics(),
            self._alarms(),
            self._findings(),
        )
        calls, raised = found[0]
        return [calls, raised, *found[1:]]

    # -- Kubernetes

    async def _pods(self, label: str) -> list[Object]:
        return list((await self._doors.objects("/api/v1/pods", labelSelector=label)).get("items", []))

    async def _calls(self) -> tuple[Object, Object]:
        metrics = await asyncio.gather(*(self._falco_metrics(pod) for pod in self.falco))
        texts = [text for text in metrics if text]
        state, why = _condition(self.falco, "Falco")
        where = f"#/pods?labels={_FALCO}"
        seen = sum(int(n) for text in texts for n in _EVENTS.findall(text)) if texts else None
        rules: dict[str, int] = {}
        for text in texts:
            for name, count in _MATCHES.findall(text):
                rules[name] = rules.get(name, 0) + int(count)
        ready = _ready(self.falco)
        calls = _link("calls", "System calls", "seen by Falco", state, seen, "system calls", ready, where, why)
        if seen is None and self.falco and state == "ok":
            calls["detail"] = "not counted: Falco's metrics are off"
        raised = _link("alerts", "Alerts", "raised by Falco", state, None, "alerts", "", "#/rules", why)
        raised["rules"] = rules
        return calls, raised

    async def _falco_metrics(self, pod: Object) -> str:
        if not _is_ready(pod):
            return ""
        try:
            return (await self._doors.kube(f"{_path(pod)}:8765/proxy/metrics", accept="*/*")).decode("utf-8", "replace")
        except DoorError:
            return ""

    async def _shipped(self, carriers: list[Object]) -> Object:
        state, why = _condition(carriers, "Fluent Bit")
        counts = [one for one in await asyncio.gather(*(self._fluent_bit(pod) for pod in carriers)) if one is not None]
        outputs = [o for count in counts for o in count.get("output", {}).values()]
        shipped = sum(int(o.get("proc_records", 0)) for o in outputs) if counts else None
        failed = float(sum(o.get("errors", 0) + o.get("retries", 0) for o in outputs))
        dropped = sum(int(o.get("dropped_records", 0)) for o in outputs)
        before, since = self._errors.get("fluent-bit", (failed, 0.0))
        if failed > before:
            since = time.monotonic()
        self._errors["fluent-bit"] = (failed, since)
        if state == "ok" and since and time.monotonic() - since < 30:
            state, why = "broken", "Fluent Bit can't deliver: its output counts new errors or retries."
        detail = _ready(carriers) + (f", {dropped} dropped" if dropped else "")
        return _link(
            "shipped",
            "Lines shipped",
            "Fluent Bit",
            state,
            shipped,
            "lines",
            detail,
            f"#/pods?labels={_FLUENT_BIT}",
            why,
        )

    async def _fluent_bit(self, pod: Object) -> Object | None:
        try:
            found: Object = orjson.loads(await self._doors.kube(f"{_path(pod)}:2020/proxy/api/v1/metrics"))
            return found
        except (DoorError, orjson.JSONDecodeError):
            return None

    async def _find_group(self, carriers: list[Object]) -> str:
        """The group that the configuration of Fluent Bit's pods names."""
        for namespace in {pod["metadata"]["namespace"] for pod in carriers}:
            maps = await self._doors.objects(f"/api/v1/namespaces/{segment(namespace)}/configmaps")
            for config in maps.get("items", []):
                for text in (config.get("data") or {}).values():
                    if named := _GROUP.search(text):
                        return named[1]
        return ""

    # -- AWS

    async def _group_named(self, name: str) -> list[Object]:
        found = await self._doors.aws("logs", "DescribeLogGroups", logGroupNamePrefix=name)
        return [group for group in found.get("logGroups", []) if group["logGroupName"] == name]

    async def _stored(self, groups: list[Object], *, there: bool) -> Object:
        if not groups:
            state = "broken" if there and self.group else "absent"
            why = f"There is no log group {self.group!r}, which Fluent Bit writes to." if state == "broken" else ""
            return _link("stored", "Log events", "CloudWatch Logs", state, None, "log events", "", "#/logs", why)
        count = await self._every(20, "count", self._count())
        streams = await self._doors.aws(
            "logs", "DescribeLogStreams", logGroupName=self.group, orderBy="LastEventTime", descending=True, limit=1
        )
        newest = max((s.get("lastEventTimestamp", 0) for s in streams.get("logStreams", [])), default=0)
        days = groups[0].get("retentionInDays")
        detail = f"kept for {days} days" if days else "kept for ever"
        where = f"#/logs?group={segment(self.group)}"
        link = _link("stored", "Log events", "CloudWatch Logs", "ok", count, f"in {self.group}", detail, where)
        link["last"] = newest or None
        return link

    async def _count(self) -> int | None:
        """How many events the group has; None if that can't be counted."""
        query = "stats count(*) as events"
        now = int(time.time())
        try:
            started = await self._doors.aws(
                "logs", "StartQuery", logGroupName=self.group, queryString=query, startTime=0, endTime=now + 60
            )
            for _ in range(40):
                found = await self._doors.aws("logs", "GetQueryResults", queryId=started["queryId"])
                if found["status"] not in ("Scheduled", "Running"):
                    break
                await asyncio.sleep(0.1)
            cells = {cell["field"]: cell["value"] for row in found["results"] for cell in row}
            return int(float(cells.get("events", 0)))
        except (DoorError, KeyError, ValueError):
            return None

    def forget_count(self) -> None:
        """The next snapshot counts the events anew."""
        self._kept.pop("count", None)

    async def _metrics(self) -> Object:
        filters = []
        if self.group_exists:
            found = await self._doors.aws("logs", "DescribeMetricFilters", logGroupName=self.group)
            filters = found.get("metricFilters", [])
        named = {
            (t["metricNamespace"], t["metricName"]) for one in filters for t in one.get("metricTransformations", ())
        }
        if not named:
            return _link("metrics", "Metrics", "CloudWatch", "absent", None, "datapoints", "", "#/metrics")
        count, last = await self._every(2, "datapoints", self._datapoints(sorted(named)))
        namespace = min(namespace for namespace, _ in named)
        detail = f"{namespace}, by {len(filters)} metric filters in 3 hours"
        where = f"#/metrics?namespace={segment(namespace)}"
        link = _link("metrics", "Metrics", "CloudWatch", "ok", count, "values counted", detail, where)
        link["last"] = last
        return link

    async def _datapoints(self, named: list[tuple[str, str]]) -> tuple[int, int | None]:
        """How many values all metrics of the filters got, and when the last did (ms)."""
        found = await self._doors.aws("monitoring", "ListMetrics", Namespace=named[0][0])
        names = set(named)
        metrics = [m for m in found.get("Metrics", []) if (m["Namespace"], m["MetricName"]) in names][:100]
        if not metrics:
            return 0, None
        now = int(time.time())
        queries = [
            {"Id": f"m{i}", "MetricStat": {"Metric": metric, "Period": 60, "Stat": "SampleCount"}}
            for i, metric in enumerate(metrics)
        ]
        data = await self._doors.aws(
            "monitoring", "GetMetricData", MetricDataQueries=queries, StartTime=now - _WINDOW, EndTime=now + 60
        )
        count, last = 0, 0.0
        for result in data["MetricDataResults"]:
            count += int(sum(result["Values"]))
            last = max(last, *map(seconds, result["Timestamps"]), 0.0)
        return count, int(last * 1000) or None

    async def _alarms(self) -> Object:
        found = await self._doors.aws("monitoring", "DescribeAlarms", MaxRecords=100)
        alarms = [*found.get("MetricAlarms", []), *found.get("CompositeAlarms", [])]
        ringing = [alarm for alarm in alarms if alarm["StateValue"] == "ALARM"]
        state = "absent" if not alarms else "alarm" if ringing else "ok"
        detail = ", ".join(alarm["AlarmName"] for alarm in ringing[:3]) or (
            f"all {len(alarms)} quiet" if alarms else ""
        )
        link = _link(
            "alarms", "Alarms", "CloudWatch", state, len(ringing) if alarms else None, f"of {len(alarms)} in ALARM",
            detail, "#/alarms",
        )  # fmt: skip
        changed = [seconds(a["StateUpdatedTimestamp"]) for a in alarms if a.get("StateUpdatedTimestamp")]
        link["last"] = int(max(changed) * 1000) if changed else None
        return link

    async def _findings(self) -> Object:
        try:
            count, more, last = await self._every(self._findings_every, "findings", self._count_findings())
        except DoorError as error:
            if error.status in (401, 403, 404) or "InvalidAccess" in error.code:
                return _link(
                    "findings", "Findings", "Security Hub", "absent", None, "findings", "not enabled", "#/findings"
                )
            raise
        state, why = await self._forwarding()
        link = _link("findings", "Findings", "Security Hub", state, count, "findings", "", "#/findings", why)
        link["more"] = more
        link["last"] = last
        if not count and state == "absent":
            link["detail"] = "nothing sends findings yet"
        return link

    async def _count_findings(self) -> tuple[int, bool, int | None]:
        count, token, last = 0, "", None
        for _ in range(_FINDINGS_PAGES):
            parameters: Object = {"MaxResults": 100, "SortCriteria": [{"Field": "UpdatedAt", "SortOrder": "desc"}]}
            if token:
                parameters["NextToken"] = token
            page = await self._doors.rest("securityhub", "POST", "/findings", parameters)
            found = page.get("Findings", [])
            if found and last is None:
                last = int(dt.datetime.fromisoformat(found[0]["UpdatedAt"]).timestamp() * 1000)
            count += len(found)
            token = page.get("NextToken", "")
            if not token:
                break
        self._findings_every = 2.0 if count <= 300 else 10.0  # many pages take the lab a while
        return count, bool(token), last

    async def _forwarding(self) -> tuple[str, str]:
        """Whether something sends alerts to Security Hub, and why it fails if it does."""
        if not self.group_exists:
            return "ok", ""
        found = await self._doors.aws("logs", "DescribeSubscriptionFilters", logGroupName=self.group)
        functions = [f["destinationArn"].rpartition(":")[2] for f in found.get("subscriptionFilters", [])]
        if not functions:
            return "absent", ""
        now = int(time.time())
        queries = [
            {
                "Id": f"e{i}",
                "MetricStat": {
                    "Metric": {
                        "Namespace": "AWS/Lambda",
                        "MetricName": "Errors",
                        "Dimensions": [{"Name": "FunctionName", "Value": name}],
                    },
                    "Period": 60,
                    "Stat": "Sum",
                },
            }
            for i, name in enumerate(functions)
        ]
        data = await self._doors.aws(
            "monitoring", "GetMetricData", MetricDataQueries=queries, StartTime=now - 120, EndTime=now + 60
        )
        failed = int(sum(sum(result["Values"]) for result in data["MetricDataResults"]))
        if failed:
            return "broken", f"The function {functions[0]} failed {failed} times in the last two minutes."
        return "ok", ""

    async def _every(self, interval: float, name: str, reading: Awaitable[Any]) -> Any:
        """What `reading` gives, at most once in so many seconds."""
        kept = self._kept.get(name)
        now = time.monotonic()
        if kept is not None and now - kept[0] < interval:
            if asyncio.iscoroutine(reading):
                reading.close()
            return kept[1]
        value = await reading
        self._kept[name] = (now, value)
        return value


def _link(
    id_: str, title: str, where: str, state: str, count: int | None, unit: str, detail: str, href: str, why: str = ""
) -> Object:
    """`state`: `ok`, `alarm`, `absent` (nothing of it is there), `waiting` (it starts) or `broken`."""
    return {
        "id": id_, "title": title, "where": where, "state": state, "count": count, "unit": unit,
        "detail": detail, "href": href, "why": why, "last": None,
    }  # fmt: skip


def seconds(value: Any) -> float:
    """A time of AWS's JSON, which is a number or a text, in seconds since the epoch."""
    return float(value) if isinstance(value, int | float) else dt.datetime.fromisoformat(str(value)).timestamp()


def _path(pod: Mapping[str, Any]) -> str:
    meta = pod["metadata"]
    return f"/api/v1/namespaces/{segment(meta['namespace'])}/pods/{segment(meta['name'])}"


def _is_ready(pod: Mapping[str, Any]) -> bool:
    conditions = pod.get("status", {}).get("conditions") or ()
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def _ready(pods: Iterable[Object]) -> str:
    pods = list(pods)
    return f"{sum(map(_is_ready, pods))}/{len(pods)} pods ready" if pods else ""


def _condition(pods: list[Object], what: str) -> tuple[str, str]:
    """A state for the pods of a program, and why: in Kubernetes's words."""
    if not pods:
        return "absent", ""
    waiting = False
    for pod in pods:
        if _is_ready(pod):
            continue
        if pod["metadata"].get("deletionTimestamp"):
            continue
        status = pod.get("status", {})
        for one in [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]:
            reason = ((one.get("state") or {}).get("waiting") or {}).get("reason", "")
            ended = (one.get("state") or {}).get("terminated") or {}
            failed = ended.get("exitCode", 0) != 0
            if reason not in ("", "ContainerCreating", "PodInitializing") or failed:
                name = reason or ended.get("reason", "Error")
                return "broken", f"{what}: {name} (pod {pod['metadata']['name']}, restarts: {one['restartCount']})"
        age = time.time() - seconds(pod["metadata"].get("creationTimestamp") or time.time())
        if age > 60:
            return "broken", f"{what}: pod {pod['metadata']['name']} is not ready"
        waiting = True
    return ("waiting", f"{what} is starting") if waiting else ("ok", "")
