"""CloudWatch metrics: PutMetricData, ListMetrics, GetMetricStatistics, and the store of values."""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ekslab.aws.protocols import AwsError

MINUTE = 60
DAY = 86_400
# CloudWatch keeps one-minute periods for 15 days, then only longer periods; the lab keeps nothing longer.
KEPT = 15 * DAY
KEPT_IN_SECONDS = 3 * 3600
_TOO_OLD = 14 * DAY
_TOO_NEW = 2 * 3600
_LARGEST = 2.0**360
_PERCENTILE = re.compile(r"p(\d{1,2}(?:\.\d{1,10})?|100)")
SIMPLE_STATISTICS = ("SampleCount", "Average", "Sum", "Minimum", "Maximum")

Dimensions = tuple[tuple[str, str], ...]


class Metric(NamedTuple):
    """The identity of a metric. `dimensions` are sorted."""

    namespace: str
    name: str
    dimensions: Dimensions = ()

    def described(self) -> dict[str, Any]:
        """The metric in responses."""
        dimensions = [{"Name": name, "Value": value} for name, value in self.dimensions]
        return {"Namespace": self.namespace, "MetricName": self.name, "Dimensions": dimensions}


def metric_of(p: Mapping[str, Any]) -> Metric:
    """The metric that `Namespace`, `MetricName` and `Dimensions` of a request name. Raises AwsError."""
    dimensions = tuple(sorted((d["Name"], d["Value"]) for d in p.get("Dimensions") or ()))
    if len({name for name, _ in dimensions}) < len(dimensions):
        raise AwsError("InvalidParameterValue", "The collection Dimensions must not have a duplicate Name.")
    for kind, text in ((kind, text) for pair in dimensions for kind, text in zip(("Name", "Value"), pair, strict=True)):
        # API reference, Dimension: ASCII without control characters, not only blanks, names without a colon first.
        if not (text.isascii() and text.isprintable() and text.strip()) or (kind == "Name" and text.startswith(":")):
            raise AwsError("InvalidParameterValue", f"The value {text!r} for parameter Dimensions.{kind} is invalid.")
    return Metric(p["Namespace"], p["MetricName"], dimensions)


@dataclass
class Statistics:
    """The statistics of one period. `values` counts each value; None if only statistic sets were put."""

    count: float = 0.0
    total: float = 0.0
    low: float = math.inf
    high: float = -math.inf
    values: dict[float, float] | None = field(default_factory=dict)

    def add(self, value: float, count: float = 1.0) -> None:
        self.count += count
        self.total += value * count
        self.low, self.high = min(self.low, value), max(self.high, value)
        if self.values is not None:
            self.values[value] = self.values.get(value, 0.0) + count

    def merge(self, other: Statistics) -> None:
        self.count += other.count
        self.total += other.total
        self.low, self.high = min(self.low, other.low), max(self.high, other.high)
        if self.values is None or other.values is None:
            self.values = None
            return
        for value, count in other.values.items():
            self.values[value] = self.values.get(value, 0.0) + count

    def get(self, statistic: str) -> float | None:
        """The value of a statistic (`Sum`, `p99`...); None for a percentile that can't be known. Raises AwsError."""
        match statistic:
            case "SampleCount":
                return self.count
            case "Sum":
                return self.total
            case "Average":
                return self.total / self.count
            case "Minimum":
                return self.low
            case "Maximum":
                return self.high
        return self._percentile(check_statistic(statistic))

    def _percentile(self, rank: float) -> float | None:
        if self.values is None:
            return None
        ordered = sorted(self.values.items())
        wanted = rank / 100 * (self.count - 1)
        before = 0.0
        for index, (value, count) in enumerate(ordered):
            if wanted <= before + count - 1 or index == len(ordered) - 1:
                return value
            if wanted < before + count:  # between the last of these and the first of the next
                return value + (ordered[index + 1][0] - value) * (wanted - (before + count - 1))
            before += count
        return None


def check_statistic(statistic: str) -> float:
    """The rank of a percentile; 0 for a simple statistic. Raises AwsError for an unsupported statistic."""
    if statistic in SIMPLE_STATISTICS:
        return 0.0
    match = _PERCENTILE.fullmatch(statistic)
    if match is None:
        known = ", ".join(SIMPLE_STATISTICS)
        raise AwsError(
            "InvalidParameterValue",
            f"The value {statistic} for parameter ExtendedStatistic is not supported by the embedded lab: "
            f"it has {known} and percentiles such as p99.",
        )
    return float(match[1])


class Metrics:
    """The metrics of one region."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        # metric -> (time in s, unit) -> what was put
        self._series: dict[Metric, dict[tuple[int, str], Statistics]] = {}
        self._last_put: dict[Metric, float] = {}
        self._high_resolution: set[Metric] = set()
        self.listeners: list[Callable[[Metric], None]] = []

    def put(
        self,
        metric: Metric,
        time: float,
        values: Iterable[tuple[float, float]] = (),
        *,
        unit: str = "None",
        statistics: Statistics | None = None,
        resolution: int = MINUTE,
    ) -> None:
        """Adds (value, count) pairs or a statistic set at a time in seconds since the epoch."""
        series = self._series.setdefault(metric, {})
        if resolution == 1:
            self._high_resolution.add(metric)
        bucket = series.setdefault((int(time // resolution) * resolution, unit), Statistics())
        for value, count in values:
            bucket.add(value, count)
        if statistics is not None:
            bucket.merge(statistics)
        now = self._clock()
        self._last_put[metric] = now
        if len(series) > KEPT // MINUTE:
            for key in [key for key in series if key[0] < now - KEPT]:
                del series[key]
        for listener in tuple(self.listeners):
            listener(metric)

    def names(self) -> Iterator[tuple[Metric, float]]:
        """Every metric with the time of its last value, in a stable order."""
        for metric in sorted(self._series):
            yield metric, self._last_put[metric]

    def periods(
        self, metric: Metric, start: int, end: int, period: int, *, unit: str | None = None
    ) -> dict[int, Statistics]:
        """Statistics by the start of each period that has values, for start <= time < end, oldest first.

        Periods under a minute have values for three hours.
        """
        found: dict[int, Statistics] = {}
        if period < MINUTE:
            late = int(self._clock()) - KEPT_IN_SECONDS
            start += max(0, math.ceil((late - start) / period)) * period
        series = self._series.get(metric, {})
        for time, put_unit in sorted(key for key in series if start <= key[0] < end and unit in (None, key[1])):
            bucket = found.setdefault(start + (time - start) // period * period, Statistics())
            bucket.merge(series[time, put_unit])
        return found

    def units(self, metric: Metric, start: int, end: int) -> list[str]:
        """The units in which a metric was put, for start <= time < end."""
        return sorted({unit for time, unit in self._series.get(metric, {}) if start <= time < end})


def seconds(value: Any) -> float:
    """A timestamp of a request as seconds since the epoch. Raises AwsError."""
    if isinstance(value, dt.datetime):
        return (value if value.tzinfo else value.replace(tzinfo=dt.UTC)).timestamp()
    if isinstance(value, str):
        try:
            return seconds(dt.datetime.fromisoformat(value))
        except ValueError:
            raise AwsError("InvalidParameterValue", f"timestamp {value!r} can't be read") from None
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    raise AwsError("InvalidParameterValue", f"timestamp {value!r} can't be read")


def moment(time: float) -> dt.datetime:
    """A time (s) as a datetime with milliseconds, for responses."""
    return dt.datetime.fromtimestamp(round(time, 3), dt.UTC)


def put_metric_data(metrics: Metrics, p: Mapping[str, Any], now: float) -> dict[str, Any]:
    """The operation PutMetricData: stores all data or none. Raises AwsError."""
    namespace = p["Namespace"]
    if namespace.startswith("AWS/"):
        raise AwsError("InvalidParameterValue", "The value AWS/ for parameter Namespace is invalid.")
    if p.get("EntityMetricData"):
        raise AwsError("InvalidParameterValue", "EntityMetricData is not supported by the embedded lab.")
    data = p.get("MetricData") or []
    if not data:
        raise AwsError("MissingParameter", "The parameter MetricData is required.")
    if len(data) > 1000:
        message = f"The collection MetricData must not have a size greater than 1000 (it has {len(data)})."
        raise AwsError("InvalidParameterValue", message)
    puts = [_datum(namespace, datum, place, now) for place, datum in enumerate(data, start=1)]
    for put in puts:
        metrics.put(**put)
    return {}


def _datum(namespace: str, datum: Mapping[str, Any], place: int, now: float) -> dict[str, Any]:
    where = f"MetricData.member.{place}"
    time = seconds(datum["Timestamp"]) if datum.get("Timestamp") is not None else now
    if not now - _TOO_OLD <= time <= now + _TOO_NEW:
        raise AwsError(
            "InvalidParameterValue",
            f"The parameter {where}.Timestamp must specify a time no more than two weeks in the past, and no more "
            "than two hours in the future.",
        )
    given = [name for name in ("Value", "Values", "StatisticValues") if datum.get(name) is not None]
    if not given:
        raise AwsError("MissingParameter", f"At least one of the parameters {where}.Value must be specified.")
    if len(given) > 1:
        raise AwsError(
            "InvalidParameterCombination",
            f"The parameters {where}.{given[0]} and {where}.{given[1]} are mutually exclusive and you have "
            "specified both.",
        )
    resolution = datum.get("StorageResolution", MINUTE)
    if resolution not in (1, MINUTE):
        raise AwsError("InvalidParameterValue", f"The parameter {where}.StorageResolution must be 1 or 60.")
    put: dict[str, Any] = {
        "metric": metric_of({**datum, "Namespace": namespace}),
        "time": time,
        "unit": datum.get("Unit", "None"),
        "resolution": resolution,
    }
    if given == ["StatisticValues"]:
        s = datum["StatisticValues"]
        if s["SampleCount"] <= 0 or s["Minimum"] > s["Maximum"]:
            raise AwsError("InvalidParameterValue", f"The parameter {where}.StatisticValues is not consistent.")
        known = (s["SampleCount"], s["Sum"], s["Minimum"], s["Maximum"])
        _check_numbers(known, where)
        count, total, low, high = map(float, known)
        return {**put, "statistics": Statistics(count, total, low, high, None)}
    values: Sequence[float] = datum["Values"] if given == ["Values"] else [datum["Value"]]
    counts: Sequence[float] = datum.get("Counts") or [1.0] * len(values)
    if len(values) > 150 or len(counts) != len(values) or not values:
        raise AwsError(
            "InvalidParameterValue",
            f"The parameters {where}.Values and {where}.Counts must have the same number of members, 1 to 150.",
        )
    _check_numbers((*values, *counts), where)
    return {**put, "values": [(float(v), float(c)) for v, c in zip(values, counts, strict=True)]}


def _check_numbers(numbers: Iterable[Any], where: str) -> None:
    for number in numbers:
        if not isinstance(number, int | float) or not math.isfinite(number) or abs(number) > _LARGEST:
            raise AwsError("InvalidParameterValue", f"The value {number} for parameter {where}.Value is invalid.")


def list_metrics(metrics: Metrics, p: Mapping[str, Any], now: float) -> dict[str, Any]:
    """The operation ListMetrics, in pages of 500. Raises AwsError."""
    if p.get("OwningAccount") or p.get("IncludeLinkedAccounts"):
        raise AwsError("InvalidParameterValue", "The embedded lab has one account, which monitors no other.")
    wanted = [(d["Name"], d.get("Value")) for d in p.get("Dimensions") or ()]

    def selected(metric: Metric, last: float) -> bool:
        has = dict(metric.dimensions)
        return (
            p.get("Namespace") in (None, metric.namespace)
            and p.get("MetricName") in (None, metric.name)
            and all(name in has and value in (None, has[name]) for name, value in wanted)
            and last >= now - (_TOO_OLD if p.get("RecentlyActive") is None else 3 * 3600)
        )

    found = [metric.described() for metric, last in metrics.names() if selected(metric, last)]
    token = p.get("NextToken") or "0"
    if not token.isdigit() or int(token) > len(found):
        raise AwsError("InvalidParameterValue", "The parameter NextToken is not valid.")
    first = int(token)
    more = {"NextToken": str(first + 500)} if len(found) > first + 500 else {}
    return {"Metrics": found[first : first + 500], **more}


def get_metric_statistics(metrics: Metrics, p: Mapping[str, Any], now: float) -> dict[str, Any]:
    """The operation GetMetricStatistics, oldest datapoint first. Raises AwsError."""
    start, end = seconds(p["StartTime"]), seconds(p["EndTime"])
    period = check_period(p["Period"])
    if start >= end:
        raise AwsError("InvalidParameterValue", "The parameter StartTime must be less than the parameter EndTime.")
    simple, extended = p.get("Statistics") or [], p.get("ExtendedStatistics") or []
    if bool(simple) == bool(extended):
        raise AwsError("InvalidParameterCombination", "Specify either Statistics or ExtendedStatistics, but not both.")
    for statistic in (*simple, *extended):
        check_statistic(statistic)
    begin = aligned(start, period)
    if (end - begin) / period > 1440:
        raise AwsError(
            "InvalidParameterCombination",
            f"You have requested up to {math.ceil((end - begin) / period):,} datapoints, which exceeds the limit of "
            "1,440. You may reduce the datapoints requested by increasing Period, or decreasing the time range.",
        )
    metric = metric_of(p)
    points = []
    for unit in [p["Unit"]] if p.get("Unit") else metrics.units(metric, begin, math.ceil(end)):
        for time, found in metrics.periods(metric, begin, math.ceil(end), period, unit=unit).items():
            point: dict[str, Any] = {"Timestamp": moment(time), "Unit": unit}
            point |= {statistic: found.get(statistic) for statistic in simple}
            known = {statistic: found.get(statistic) for statistic in extended}
            if extended:
                if None in known.values():
                    continue
                point["ExtendedStatistics"] = known
            points.append(point)
    points.sort(key=lambda point: point["Timestamp"])
    return {"Label": metric.name, "Datapoints": points}


def check_period(period: int) -> int:
    """A period in seconds as the service takes it. Raises AwsError."""
    if period in (1, 5, 10, 20, 30) or (period > 0 and period % MINUTE == 0):
        return period
    raise AwsError("InvalidParameterValue", "The parameter Period must be 1, 5, 10, 20, 30, or a multiple of 60.")


def aligned(start: float, period: int) -> int:
    """Where the first period begins: the start rounded down to the minute, or to a short period's own length."""
    step = period if period < MINUTE else MINUTE
    return int(start // step) * step
