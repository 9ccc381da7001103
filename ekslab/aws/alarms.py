"""CloudWatch alarms: PutMetricAlarm and the other operations, evaluation, history, notifications to SNS."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from ekslab.aws import metrics, wire
from ekslab.aws.alarm_evaluation import COMPARISONS, Datapoint, Rule, State, Verdict, reason_data, timestamp
from ekslab.aws.metric_data import Queries, check_queries
from ekslab.aws.metrics import DAY, MINUTE, Metric, Metrics
from ekslab.aws.protocols import AwsError

logger = logging.getLogger(__name__)

# (alarm ARN, topic ARN, subject, message); raises AwsError if the topic refuses the message.
Publish = Callable[[str, str, str, str], object]

MAX_ALARMS = 5000
HISTORY_KEPT = 30 * DAY
_MAX_HISTORY = 10_000  # items; a workshop has some dozens
_MAX_HISTORY_DATA = 4095  # characters
_MAX_TAGS = 50
_SHORT_PERIODS = (10, 20, 30)
_ACTIONS: dict[State, str] = {
    "OK": "OKActions",
    "ALARM": "AlarmActions",
    "INSUFFICIENT_DATA": "InsufficientDataActions",
}
_MISSING_DATA = ("breaching", "notBreaching", "ignore", "missing")
_OF_ONE_METRIC = ("MetricName", "Namespace", "Statistic", "ExtendedStatistic", "Dimensions", "Period", "Unit")
_UNSUPPORTED = ("ThresholdMetricId", "EvaluationWindow", "WarmUpConfiguration", "EvaluationCriteria",
                "EvaluationInterval", "ActionConfiguration", "EvaluateLowSampleCountPercentile")  # fmt: skip


@dataclass(eq=False)
class Alarm:
    """One metric alarm. `settings` are the members of PutMetricAlarm that were given."""

    name: str
    arn: str
    settings: dict[str, Any]
    configured: float
    updated: float
    state: State = "INSUFFICIENT_DATA"
    reason: str = "Unchecked: Initial alarm creation"
    reason_data: str = ""
    transitioned: float = 0.0
    tags: dict[str, str] = field(default_factory=dict)
    # The minute (or ten seconds) up to which it was evaluated.
    evaluated: int = 0

    @property
    def rule(self) -> Rule:
        return Rule(
            self.settings["ComparisonOperator"],
            float(self.settings["Threshold"]),
            self.settings["EvaluationPeriods"],
            self.settings.get("DatapointsToAlarm"),
            self.settings.get("TreatMissingData", "missing"),
        )

    @property
    def period(self) -> int:
        """Its period in seconds."""
        if "Metrics" in self.settings:
            return int(next(q["MetricStat"]["Period"] for q in self.settings["Metrics"] if "MetricStat" in q))
        return int(self.settings["Period"])

    @property
    def step(self) -> int:
        """The interval of its evaluations in seconds."""
        return MINUTE if self.period >= MINUTE else 10

    @property
    def statistic(self) -> str:
        return str(self.settings.get("Statistic") or self.settings.get("ExtendedStatistic") or "")

    @property
    def metric(self) -> Metric | None:
        """The metric of an alarm on one metric; None for an alarm on an expression."""
        return None if "Metrics" in self.settings else metrics.metric_of(self.settings)

    @property
    def watched(self) -> set[Metric]:
        """All metrics that it reads."""
        if "Metrics" not in self.settings:
            return {metrics.metric_of(self.settings)}
        stats = [query["MetricStat"] for query in self.settings["Metrics"] if "MetricStat" in query]
        return {metrics.metric_of(stat["Metric"]) for stat in stats}

    @property
    def only_grows(self) -> bool:
        """Whether a datapoint that crosses the threshold still crosses it when more values come in its period."""
        comparison = self.settings["ComparisonOperator"]
        if "Metrics" not in self.settings:
            return (comparison.startswith("Greater") and self.statistic in ("Sum", "SampleCount", "Maximum")) or (
                comparison.startswith("Less") and self.statistic == "Minimum"
            )
        queries = self.settings["Metrics"]
        grow = {q["MetricStat"]["Stat"] for q in queries if "MetricStat" in q} <= {"Sum", "SampleCount", "Maximum"}
        additive = all(
            re.fullmatch(r"[\w\s.+*()\[\],\"']*", q["Expression"])
            and not set(re.findall(r"[A-Z][A-Z_]+", q["Expression"])) - {"FILL", "MAX", "METRICS", "SUM", "REPEAT"}
            for q in queries
            if "Expression" in q
        )
        return bool(grow and additive and comparison.startswith("Greater"))

    def described(self) -> dict[str, Any]:
        """The alarm in the response of DescribeAlarms."""
        return {
            "AlarmName": self.name,
            "AlarmArn": self.arn,
            "ActionsEnabled": True,
            "OKActions": [],
            "AlarmActions": [],
            "InsufficientDataActions": [],
            "Dimensions": [],
            **self.settings,
            "AlarmConfigurationUpdatedTimestamp": metrics.moment(self.configured),
            "StateValue": self.state,
            "StateReason": self.reason,
            **({"StateReasonData": self.reason_data} if self.reason_data else {}),
            "StateUpdatedTimestamp": metrics.moment(self.updated),
            "StateTransitionedTimestamp": metrics.moment(self.transitioned),
        }

    def configuration(self) -> dict[str, Any]:
        """The alarm in an item of its history."""
        return {
            **{_camel(name): _camelled(value) for name, value in self.described().items()
               if name not in ("StateReason", "StateReasonData")},
            "threshold": float(self.settings["Threshold"]),
        }  # fmt: skip


class Alarms:
    """The alarms of one region."""

    def __init__(
        self, *, region: str, account_id: str, store: Metrics, clock: Callable[[], float], publish: Publish
    ) -> None:
        self._region = region
        self._account_id = account_id
        self._store = store
        self._clock = clock
        self._publish = publish
        self._alarms: dict[str, Alarm] = {}
        self._history: list[dict[str, Any]] = []
        # Names of alarms by the metrics that they read; metrics with datapoints since the last evaluation.
        self._alarms_by_metric: dict[Metric, set[str]] = {}
        self._changed: set[Metric] = set()
        store.listeners.append(self._schedule)
        self.operations: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]] = {
            "PutMetricAlarm": self._put,
            "DescribeAlarms": self._describe,
            "DescribeAlarmsForMetric": self._describe_for_metric,
            "DescribeAlarmHistory": self._describe_history,
            "DeleteAlarms": self._delete,
            "SetAlarmState": self._set_state,
            "EnableAlarmActions": lambda p: self._switch_actions(p, True),
            "DisableAlarmActions": lambda p: self._switch_actions(p, False),
        }

    def arn(self, name: str) -> str:
        return f"arn:aws:cloudwatch:{self._region}:{self._account_id}:alarm:{name}"

    def tags(self, arn: str) -> dict[str, str] | None:
        """The mutable tags of the alarm with this ARN; None if there is no such alarm."""
        alarm = self._alarms.get(arn.removeprefix(self.arn("")))
        return alarm.tags if alarm is not None and alarm.arn == arn else None

    # -- evaluation

    def _schedule(self, metric: Metric) -> None:
        """Schedules re-evaluation of the alarms on a metric that got a datapoint."""
        if metric not in self._alarms_by_metric or metric in self._changed:
            return
        if not self._changed:
            with contextlib.suppress(RuntimeError):  # without a loop, the next call evaluates
                asyncio.get_running_loop().call_soon(self.evaluate)
        self._changed.add(metric)

    def evaluate(self) -> None:
        """Evaluates the alarms that are due, and those whose metrics got datapoints."""
        now = self._clock()
        changed_alarms = {name for metric in self._changed for name in self._alarms_by_metric.get(metric, ())}
        self._changed.clear()
        for alarm in list(self._alarms.values()):
            end = int(now // alarm.step) * alarm.step
            due = alarm.evaluated < end
            if due or alarm.name in changed_alarms:
                alarm.evaluated = end
                try:
                    self._evaluate(alarm, end, now, due=due)
                except Exception:
                    logger.exception("Alarm %s can't be evaluated", alarm.name)  # the others can

    def _index(self) -> None:
        """Rebuilds the index of alarms by metric."""
        self._alarms_by_metric.clear()
        for alarm in self._alarms.values():
            for metric in alarm.watched:
                self._alarms_by_metric.setdefault(metric, set()).add(alarm.name)

    def _evaluate(self, alarm: Alarm, end: int, now: float, *, due: bool) -> None:
        # The current period may raise an alarm if later datapoints of the period can't take it back.
        verdict = self._verdict(alarm, end + alarm.step, early=True) if alarm.only_grows else None
        if verdict is None or verdict.state != "ALARM":
            verdict = self._verdict(alarm, end)
            if verdict is not None and not due and verdict.state != "ALARM":
                return  # before the alarm is due, datapoints can only raise it
        if verdict is not None and verdict.state != alarm.state:
            data = reason_data(
                verdict,
                now,
                period=alarm.period,
                threshold=alarm.rule.threshold,
                statistic=alarm.statistic,
                unit=alarm.settings.get("Unit", ""),
            )
            self._transition(alarm, verdict.state, verdict.reason, json.dumps(data, separators=(",", ":")), now)

    def _verdict(self, alarm: Alarm, end: int, *, early: bool = False) -> Verdict | None:
        """The verdict on the periods up to `end` (s). With `early`, None unless the last one breaches."""
        points = self._datapoints(alarm, end)
        last = points[-1].value
        if early and (last is None or not alarm.rule.breached_by(last)):
            return None
        return alarm.rule.judge(points)

    def _datapoints(self, alarm: Alarm, end: int) -> list[Datapoint]:
        """One for each period of the evaluation range, oldest first. The last period ends at `end` (s)."""
        period = alarm.period
        start = end - alarm.rule.evaluation_range * period
        times = range(start, end, period)
        metric = alarm.metric
        if metric is not None:
            found = self._store.periods(metric, start, end, period, unit=alarm.settings.get("Unit"))
            return [
                Datapoint(time, found[time].get(alarm.statistic), found[time].count)
                if time in found
                else Datapoint(time, None)
                for time in times
            ]
        values = _returned(Queries(self._store, alarm.settings["Metrics"], start, end), alarm.settings["Metrics"])
        return [Datapoint(time, values.get(time)) for time in times]

    def _transition(self, alarm: Alarm, state: State, reason: str, data: str, now: float) -> None:
        old = {"stateValue": alarm.state, "stateReason": alarm.reason}
        new: dict[str, Any] = {"stateValue": state, "stateReason": reason}
        if alarm.reason_data:
            old["stateReasonData"] = json.loads(alarm.reason_data)
        if data:
            new["stateReasonData"] = json.loads(data)
        before, alarm.state = alarm.state, state
        alarm.reason, alarm.reason_data, alarm.updated = reason, data, now
        if before == state:
            return
        alarm.transitioned = now
        self._record(
            alarm, now, "StateUpdate", f"Alarm updated from {before} to {state}",
            {"version": "1.0", "oldState": old, "newState": new},
        )  # fmt: skip
        if not alarm.settings.get("ActionsEnabled", True):
            return
        message = json.dumps(self._notification(alarm, before))
        subject = f'{state}: "{alarm.name}" in {region_name(self._region)}'
        for action in alarm.settings.get(_ACTIONS[state], []):
            self._act(alarm, action, subject[:100], message, now)

    def _act(self, alarm: Alarm, action: str, subject: str, message: str, now: float) -> None:
        data = {
            "actionState": "Succeeded",
            "stateUpdateTimestamp": int(alarm.updated * 1000),
            "notificationResource": action,
            "publishedMessage": json.dumps({"default": message}),
        }
        summary = f"Successfully executed action {action}"
        try:
            self._publish(alarm.arn, action, subject, message)
        except AwsError as error:
            summary = f"Failed to execute action {action}"
            data |= {"actionState": "Failed", "error": error.message}
            summary = f'{summary}. Received error: "{error.message}"'
        self._record(alarm, now, "Action", summary, data)

    def _notification(self, alarm: Alarm, before: State) -> dict[str, Any]:
        """The message that is published to the topic."""
        shown = alarm.described()
        return {
            "AlarmName": alarm.name,
            "AlarmDescription": alarm.settings.get("AlarmDescription"),
            "AWSAccountId": self._account_id,
            "AlarmConfigurationUpdatedTimestamp": timestamp(alarm.configured),
            "NewStateValue": alarm.state,
            "NewStateReason": alarm.reason,
            "StateChangeTime": timestamp(alarm.updated),
            "Region": region_name(self._region),
            "AlarmArn": alarm.arn,
            "OldStateValue": before,
            **{name: shown[name] for name in ("OKActions", "AlarmActions", "InsufficientDataActions")},
            "Trigger": _trigger(alarm),
        }

    # -- operations

    def _put(self, p: Mapping[str, Any]) -> dict[str, Any]:
        name, now = p["AlarmName"], self._clock()
        settings = self._checked(p)
        alarm = self._alarms.get(name)
        if alarm is None:
            if len(self._alarms) >= MAX_ALARMS:
                raise AwsError("LimitExceeded", f"The maximum of {MAX_ALARMS} alarms has been reached.")
            tags = {tag["Key"]: tag["Value"] for tag in p.get("Tags") or ()}
            if len(tags) > _MAX_TAGS:
                raise _invalid(f"An alarm can have {_MAX_TAGS} tags.")
            alarm = Alarm(name, self.arn(name), settings, now, now, transitioned=now, tags=tags)
            self._alarms[name] = alarm
            data: dict[str, Any] = {"version": "1.0", "type": "Create", "createdAlarm": alarm.configuration()}
            self._record(alarm, now, "ConfigurationUpdate", f'Alarm "{name}" created', data)
        else:
            self._reconfigure(alarm, settings, now)
        # The first evaluation comes when this minute is over, or at once if there are datapoints already.
        alarm.evaluated = int(now // alarm.step) * alarm.step
        self._index()
        for metric in alarm.watched:
            self._schedule(metric)
        return {}

    def _reconfigure(self, alarm: Alarm, settings: dict[str, Any], now: float) -> None:
        before = alarm.configuration()
        alarm.settings, alarm.configured = settings, now
        after = alarm.configuration()
        changed = {
            name: value
            for name, value in before.items()
            if after.get(name) != value and name != "alarmConfigurationUpdatedTimestamp"
        }
        data = {"version": "1.0", "type": "Update", "originalUpdatedFields": changed, "updatedAlarm": after}
        self._record(alarm, now, "ConfigurationUpdate", f'Alarm "{alarm.name}" updated', data)

    def _checked(self, p: Mapping[str, Any]) -> dict[str, Any]:
        """The settings of an alarm. Raises AwsError for settings that the service or the lab doesn't support."""
        for name in _UNSUPPORTED:
            if p.get(name) is not None:
                raise _invalid(f"{name} is not supported by the embedded lab.")
        missing = [name for name in ("EvaluationPeriods", "ComparisonOperator") if p.get(name) is None]
        if missing:
            where = missing[0][0].lower() + missing[0][1:]
            raise _invalid(
                f"1 validation error detected: Value null at '{where}' failed to satisfy constraint: "
                "Member must not be null"
            )
        if p["ComparisonOperator"] not in COMPARISONS:
            raise _invalid(f"{p['ComparisonOperator']}: the embedded lab has no anomaly detection.")
        if p.get("Threshold") is None:
            raise _invalid("Threshold must not be null")
        if not math.isfinite(p["Threshold"]):
            raise _invalid("Threshold must be a finite number")
        settings = {name: value for name, value in p.items() if name not in ("Tags", "AlarmName") and value is not None}
        settings["Threshold"] = float(p["Threshold"])
        if p.get("Metrics"):
            self._check_queries(p, settings)
        else:
            self._check_metric(p)
        periods, to_alarm = p["EvaluationPeriods"], p.get("DatapointsToAlarm")
        if to_alarm is not None and to_alarm > periods:
            raise _invalid("DatapointsToAlarm must be less than or equal to EvaluationPeriods")
        period = Alarm("", "", settings, 0, 0).period
        longest = DAY if period < 3600 else 7 * DAY
        if period * periods > longest:
            days = "a day" if longest == DAY else "seven days"
            message = f"Metrics cannot be checked across more than {days} (EvaluationPeriods * Period must be <= "
            raise _invalid(f"{message}{longest}).")
        if p.get("TreatMissingData", "missing") not in _MISSING_DATA:
            raise _invalid(f"{p['TreatMissingData']} is not a valid value for TreatMissingData: {list(_MISSING_DATA)}")
        for name in _ACTIONS.values():
            for action in p.get(name) or ():
                self._check_action(action)
        return settings

    def _check_metric(self, p: Mapping[str, Any]) -> None:
        for name in ("MetricName", "Namespace", "Period"):
            if p.get(name) is None:
                raise _invalid(f"{name} must not be null: an alarm is on one metric, or has a Metrics list")
        if bool(p.get("Statistic")) == bool(p.get("ExtendedStatistic")):
            raise _invalid("Exactly one of Statistic and ExtendedStatistic must be specified")
        if p["Period"] not in _SHORT_PERIODS and p["Period"] % MINUTE:
            raise _invalid("Period must be 10, 20, 30 or a multiple of 60")
        metrics.check_statistic(p.get("ExtendedStatistic") or p["Statistic"])
        metrics.metric_of(p)

    def _check_queries(self, p: Mapping[str, Any], settings: dict[str, Any]) -> None:
        given = [name for name in _OF_ONE_METRIC if p.get(name) is not None]
        if given:
            raise AwsError(
                "InvalidParameterCombination", f"Metrics and {given[0]} are mutually exclusive and you have given both."
            )
        queries = [{"ReturnData": True, **query} for query in p["Metrics"]]
        check_queries(queries)
        if sum(query["ReturnData"] for query in queries) != 1:
            raise _invalid("Exactly one element of the metrics list should return data.")
        stats = [query["MetricStat"] for query in queries if "MetricStat" in query]
        if not 1 <= len(stats) <= 10:
            raise _invalid("The metrics list must have one to ten metrics.")
        if len({stat["Period"] for stat in stats}) > 1:
            raise _invalid("All metrics of an alarm must have the same period.")
        if stats[0]["Period"] not in _SHORT_PERIODS and stats[0]["Period"] % MINUTE:
            raise _invalid("Period must be 10, 20, 30 or a multiple of 60")
        for query in queries:
            if re.search(r"\b(SEARCH|SELECT)\b", query.get("Expression", "")):
                raise _invalid(f"Error in expression '{query['Id']}': SEARCH is not supported on Metric Alarms.")
        settings["Metrics"] = queries
        now = int(self._clock() // MINUTE) * MINUTE
        _returned(Queries(self._store, queries, now - stats[0]["Period"], now), queries)

    def _check_action(self, action: str) -> None:
        match = re.fullmatch(r"arn:aws:([\w-]+):([\w-]*):([\w-]*):(.+)", action)
        if match is None:
            raise _invalid(f"Invalid arn syntax: {action}")
        service, region, account, _ = match.groups()
        if service != "sns":
            raise _invalid(f"The embedded lab's alarms notify SNS topics, and can't do this: {action}")
        if region != self._region:
            raise _invalid(f"Invalid region {region} specified. Only {self._region} is supported.")
        if account != self._account_id:
            raise _invalid(f"The embedded lab has one account, and {action} is of another.")

    def _describe(self, p: Mapping[str, Any]) -> dict[str, Any]:
        if p.get("AlarmNames") and p.get("AlarmNamePrefix"):
            raise AwsError(
                "InvalidParameterCombination", "AlarmNames and AlarmNamePrefix can't be specified in the same call."
            )
        for name in ("ChildrenOfAlarmName", "ParentsOfAlarmName"):
            if p.get(name):
                raise _invalid(f"{name} is not supported by the embedded lab, which has no composite alarms.")
        if "MetricAlarm" not in (p.get("AlarmTypes") or ["MetricAlarm"]):
            return {"MetricAlarms": [], "CompositeAlarms": []}

        def selected(alarm: Alarm) -> bool:
            actions = [action for name in _ACTIONS.values() for action in alarm.settings.get(name, ())]
            return (
                (not p.get("AlarmNames") or alarm.name in p["AlarmNames"])
                and alarm.name.startswith(p.get("AlarmNamePrefix") or "")
                and p.get("StateValue") in (None, alarm.state)
                and (not p.get("ActionPrefix") or any(action.startswith(p["ActionPrefix"]) for action in actions))
            )

        found = [alarm.described() for _, alarm in sorted(self._alarms.items()) if selected(alarm)]
        page, following = _page(found, p, 50)
        return {"MetricAlarms": page, "CompositeAlarms": [], **following}

    def _describe_for_metric(self, p: Mapping[str, Any]) -> dict[str, Any]:
        metric = metrics.metric_of(p)
        wanted = {
            name: p[name] for name in ("Statistic", "ExtendedStatistic", "Period", "Unit") if p.get(name) is not None
        }
        found = [
            alarm.described()
            for _, alarm in sorted(self._alarms.items())
            if alarm.metric == metric and all(alarm.settings.get(name) == value for name, value in wanted.items())
        ]
        return {"MetricAlarms": found}

    def _describe_history(self, p: Mapping[str, Any]) -> dict[str, Any]:
        if p.get("AlarmContributorId"):
            raise _invalid("AlarmContributorId is not supported by the embedded lab.")
        if "MetricAlarm" not in (p.get("AlarmTypes") or ["MetricAlarm"]):
            return {"AlarmHistoryItems": []}
        start = metrics.seconds(p["StartDate"]) if p.get("StartDate") is not None else -math.inf
        end = metrics.seconds(p["EndDate"]) if p.get("EndDate") is not None else math.inf
        found = [
            item
            for item in self._history
            if p.get("AlarmName") in (None, item["AlarmName"])
            and p.get("HistoryItemType") in (None, item["HistoryItemType"])
            and start <= item["Timestamp"].timestamp() <= end
        ]
        if p.get("ScanBy", "TimestampDescending") == "TimestampDescending":
            found.reverse()
        page, following = _page(found, p, 100)
        return {"AlarmHistoryItems": page, **following}

    def _delete(self, p: Mapping[str, Any]) -> dict[str, Any]:
        alarms = [self._named(name) for name in p["AlarmNames"]]  # all of them or none
        now = self._clock()
        for alarm in dict.fromkeys(alarms):
            data = {"version": "1.0", "type": "Delete", "deletedAlarm": alarm.configuration()}
            self._record(alarm, now, "ConfigurationUpdate", f'Alarm "{alarm.name}" deleted', data)
            del self._alarms[alarm.name]
        self._index()
        return {}

    def _set_state(self, p: Mapping[str, Any]) -> dict[str, Any]:
        alarm = self._named(p["AlarmName"])
        data = p.get("StateReasonData") or ""
        if data:
            try:
                json.loads(data)
            except ValueError:
                raise AwsError("InvalidFormat", "Invalid JSON in StateReasonData") from None
        now = self._clock()
        self._transition(alarm, p["StateValue"], p["StateReason"], data, now)
        # The state lasts until the next evaluation that is due.
        alarm.evaluated = int(now // alarm.step) * alarm.step
        return {}

    def _switch_actions(self, p: Mapping[str, Any], enabled: bool) -> dict[str, Any]:
        now = self._clock()
        for name in p["AlarmNames"]:
            alarm = self._alarms.get(name)
            if alarm is not None and alarm.settings.get("ActionsEnabled", True) != enabled:
                self._reconfigure(alarm, {**alarm.settings, "ActionsEnabled": enabled}, now)
        return {}

    def _named(self, name: str) -> Alarm:
        alarm = self._alarms.get(name)
        if alarm is None:
            raise AwsError("ResourceNotFound", f"Alarm {name} does not exist", 404)
        return alarm

    def _record(self, alarm: Alarm, now: float, kind: str, summary: str, data: dict[str, Any]) -> None:
        text = json.dumps(data, separators=(",", ":"))
        if len(text) > _MAX_HISTORY_DATA and "publishedMessage" in data:
            text = json.dumps({**data, "publishedMessage": None}, separators=(",", ":"))
        self._history.append(
            {
                "AlarmName": alarm.name,
                "AlarmType": "MetricAlarm",
                "Timestamp": metrics.moment(now),
                "HistoryItemType": kind,
                "HistorySummary": summary,
                "HistoryData": text,
            }
        )
        oldest = metrics.moment(now - HISTORY_KEPT)
        while len(self._history) > _MAX_HISTORY or self._history[0]["Timestamp"] < oldest:
            del self._history[0]


def _returned(queries: Queries, of: Sequence[Mapping[str, Any]]) -> dict[int, float]:
    """The time series that a list of queries returns. Raises AwsError if the result isn't a single series."""
    id_ = next(query["Id"] for query in of if query["ReturnData"])
    value = queries.value(id_)
    if not isinstance(value, dict):
        kind = "a number" if isinstance(value, float) else "an array of time series"
        raise _invalid(f"Error in expression '{id_}': it returns {kind}; an alarm needs a single time series.")
    return value


def _trigger(alarm: Alarm) -> dict[str, Any]:
    """The `Trigger` of a notification: the alarm's settings."""
    settings = alarm.settings
    what: dict[str, Any]
    if "Metrics" in settings:
        what = {"Metrics": [_query(query) for query in settings["Metrics"]]}
    else:
        statistic = (
            {"StatisticType": "Statistic", "Statistic": _constant(settings["Statistic"])}
            if settings.get("Statistic")
            else {"StatisticType": "ExtendedStatistic", "ExtendedStatistic": settings["ExtendedStatistic"]}
        )
        what = {
            "MetricName": settings["MetricName"],
            "Namespace": settings["Namespace"],
            **statistic,
            "Unit": settings.get("Unit"),
            "Dimensions": _dimensions(settings.get("Dimensions")),
        }
    return {
        **what,
        "Period": alarm.period,
        "EvaluationPeriods": settings["EvaluationPeriods"],
        **({"DatapointsToAlarm": settings["DatapointsToAlarm"]} if settings.get("DatapointsToAlarm") else {}),
        "ComparisonOperator": settings["ComparisonOperator"],
        "Threshold": settings["Threshold"],
        "TreatMissingData": settings.get("TreatMissingData", "missing"),
        "EvaluateLowSampleCountPercentile": "",
    }


def _query(query: Mapping[str, Any]) -> dict[str, Any]:
    if "MetricStat" not in query:
        return dict(query)
    stat = query["MetricStat"]
    metric = {**stat["Metric"], "Dimensions": _dimensions(stat["Metric"].get("Dimensions"))}
    return {**query, "MetricStat": {**stat, "Metric": metric}}


def _dimensions(dimensions: Sequence[Mapping[str, str]] | None) -> list[dict[str, str]]:
    return [{"value": dimension["Value"], "name": dimension["Name"]} for dimension in dimensions or ()]


def _constant(statistic: str) -> str:
    """The constant for a statistic: `SAMPLE_COUNT` for `SampleCount`."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", statistic).upper()


def _camel(name: str) -> str:
    return "okactions" if name == "OKActions" else name[0].lower() + name[1:]


def _camelled(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {_camel(name): _camelled(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_camelled(item) for item in value]
    return timestamp(value.timestamp()) if hasattr(value, "timestamp") else value


def _page(
    found: Sequence[dict[str, Any]], p: Mapping[str, Any], usual: int
) -> tuple[Sequence[dict[str, Any]], dict[str, str]]:
    """A page of MaxRecords items, and NextToken if there are more. Raises AwsError for an invalid token."""
    try:
        return wire.page(found, p.get("NextToken"), p.get("MaxRecords") or usual)
    except ValueError:
        raise AwsError("InvalidNextToken", "The next token specified is invalid.") from None


@cache
def region_name(region: str) -> str:
    """The display name of a region: `US East (N. Virginia)`."""
    import botocore.loaders

    for partition in botocore.loaders.Loader().load_data("endpoints")["partitions"]:
        if region in partition["regions"]:
            return str(partition["regions"][region]["description"])
    return region


def _invalid(message: str) -> AwsError:
    return AwsError("ValidationError", message)
