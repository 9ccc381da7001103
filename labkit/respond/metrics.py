"""CloudWatch metrics of alerts: counts made by metric filters, compared with the alerts, and PutMetricData.

*Metric filters* count in the log group itself: one value for each log event that a pattern matches. *PutMetricData*
takes numbers that were computed elsewhere, such as here with pandas.

The workshop's filters (`manifests/cloudwatch/metric-filters.json`) stay far below AWS's limits, however many alerts
there are: 4 filters of 100 in a log group, at most 1 dimension of 3, and the dimensions are the priority (8 values) and
the rule (as many as Falco has loaded). A filter that makes 1,000 different name/value pairs within an hour may be
disabled. Pods, files and commands are therefore no dimensions; Logs Insights counts them.

Sources: API references of PutMetricFilter, PutMetricData and GetMetricData.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from labkit.alerts.times import When, utc
from labkit.aws import refusal, translated_errors
from labkit.calls import CloudWatchClient, LogsClient, checked
from labkit.errors import LabError, TargetError
from labkit.respond.forwarder import batches
from labkit.waiting import poll

if TYPE_CHECKING:
    from mypy_boto3_cloudwatch.literals import StandardUnitType
    from mypy_boto3_cloudwatch.type_defs import (
        DimensionFilterTypeDef,
        DimensionTypeDef,
        MetricDataQueryTypeDef,
        MetricDatumTypeDef,
        MetricTypeDef,
    )

MAX_VALUES = 150  # of one metric in a PutMetricData call
MAX_DATA = 1000  # metrics in a PutMetricData call
MAX_QUERIES = 500  # in a GetMetricData call
MAX_BYTES = 500_000  # of a PutMetricData call, which takes 1 MB: names grow when they are encoded

_NAMESPACE = "Namespace"  # the dimension that tells attendees of a class apart
Request = Mapping[str, Any]
"""A metric filter as PutMetricFilter takes it."""


@checked
def put_filter(client: LogsClient, request: Request) -> None:
    """Creates or replaces a metric filter.

    `client` is `boto3.client("logs")`. Raises `LabError` with the service's reason if CloudWatch Logs refuses the
    filter, and with the pattern and a mark below the character if the reason names a position; `TargetError` if the
    service can't be reached or refuses the call itself.
    """
    try:
        with translated_errors():
            client.put_metric_filter(**request)
    except TargetError as error:
        code, reason = refusal(error)
        if code != "InvalidParameterException":
            raise
        position = re.search(r"\(position (\d+)\)", reason)
        mark = f"\n  {request['filterPattern']}\n  {' ' * (int(position[1]) - 1)}^" if position else ""
        raise LabError(
            f"CloudWatch Logs refuses metric filter {request['filterName']}: {reason}{mark}",
            hint="Correct it. TestMetricFilter tries a pattern on messages without a filter.",
        ) from error.__cause__


@dataclass(frozen=True)
class Counter:
    """A metric that a metric filter makes of alerts: one for each alert, by at most one column of the alert frame."""

    namespace: str
    metric: str
    dimension: str = ""
    """The dimension's name, such as `Rule`; empty if the metric has none."""
    by: str = ""
    """The column of the alert frame that it has the values of, such as `rule`."""
    namespace_of: str = ""
    """The Kubernetes namespace whose alerts it counts, a value of the dimension `Namespace`; empty if it counts all."""

    def dimensions(self, value: str = "") -> list[DimensionTypeDef]:
        """The dimensions of its metric, as CloudWatch takes them."""
        found: list[DimensionTypeDef] = []
        if self.namespace_of:
            found.append({"Name": _NAMESPACE, "Value": self.namespace_of})
        if self.dimension and value:
            found.append({"Name": self.dimension, "Value": value})
        return found


@checked
def counters(requests: Iterable[Request], namespace: str = "") -> dict[str, Counter]:
    """The counters that metric filters make, by the column that they count by (`""` for all alerts).

    Of several filters that count by the same column only the first is taken. `namespace` chooses a value of the
    dimension `Namespace`, which the filters of a class have.
    """
    found: dict[str, Counter] = {}
    for request in requests:
        (transformation,) = request["metricTransformations"]
        dimensions = dict(transformation.get("dimensions") or {})
        of = namespace if dimensions.pop(_NAMESPACE, None) else ""
        if len(dimensions) <= 1:
            dimension, selector = next(iter(dimensions.items()), ("", ""))
            by = selector.removeprefix("$.").removeprefix("output_fields.['").removesuffix("']")
            counter = Counter(transformation["metricNamespace"], transformation["metricName"], dimension, by, of)
            found.setdefault(by, counter)
    return found


@checked
def counted(df: pd.DataFrame, filters: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """The alerts of `df` that metric filters can have counted: those ingested after the newest filter was made.

    `filters` are as DescribeMetricFilters shows them (`creationTime`, ms). A metric filter isn't retroactive.
    """
    made = max((int(found["creationTime"]) for found in filters), default=0)
    return df[df["ingestionTime"] >= pd.Timestamp(made, unit="ms", tz="UTC")].reset_index(drop=True)


@checked
def count(df: pd.DataFrame, by: str = "", *, period: int = 60) -> pd.DataFrame:
    """Alerts of the frame that `labkit.alerts.read` gives, counted as CloudWatch's metric filters do.

    Columns: `period` datetime64[ns, UTC], the start of each period of `period` seconds, by the log event's own
    `timestamp`; `by` (string), if it is given; `count` (Int64). Periods and values without alerts have no row, nor have
    alerts without a value in `by`, such as a priority that Falco doesn't know. Ordered by period and value.
    """
    if by and by not in df:
        raise LabError(f"There is no column {by!r} in the alerts.", hint='Count by "rule" or "priority", for example.')
    columns = {"period": _logged(df).dt.floor(f"{period}s")}
    if by:
        columns[by] = df[by].astype("string")
    table = pd.DataFrame(columns).dropna()
    sizes = table.groupby(list(columns), sort=True).size()
    return _counts(sizes.rename("count").reset_index(), by)


@checked
def read(
    client: CloudWatchClient,
    counter: Counter,
    start: When,
    end: When = "now",
    *,
    period: int = 60,
    values: Iterable[str] = (),
) -> pd.DataFrame:
    """The counts in CloudWatch (GetMetricData): columns, dtypes and order as in `count`.

    `client` is `boto3.client("cloudwatch")`. `start` is rounded down to a whole period (`period` seconds) and `end` up.
    The values of the dimension come from ListMetrics, which knows a new one only after some minutes; `values` are asked
    for in any case. CloudWatch keeps 1-minute periods for 15 days, 5 minutes for 63 days, 1 hour for 15 months.

    Raises `LabError` if `end` isn't later than `start`, `TargetError` if the service refuses or can't be reached.
    """
    first, last = utc(start).floor(f"{period}s"), utc(end).ceil(f"{period}s")
    if last <= first:
        raise LabError(f"There is no time between {start} and {end}.", hint="`end` has to be later than `start`.")
    with translated_errors():
        known = sorted({*values, *_listed(client, counter)}) if counter.dimension else [""]
        rows: list[tuple[Any, str, float]] = []
        for i in range(0, len(known), MAX_QUERIES):
            chunk = known[i : i + MAX_QUERIES]
            queries = [_query(f"m{index}", counter, value, period) for index, value in enumerate(chunk)]
            pages = client.get_paginator("get_metric_data").paginate(
                MetricDataQueries=queries, StartTime=first.to_pydatetime(), EndTime=last.to_pydatetime()
            )
            for page in pages:
                for result in page["MetricDataResults"]:
                    value = chunk[int(result["Id"][1:])]
                    rows += [
                        (at, value, n) for at, n in zip(result["Timestamps"], result["Values"], strict=True) if n > 0
                    ]
    table = pd.DataFrame(rows, columns=["period", "value", "count"])
    table["period"] = pd.to_datetime(table["period"], utc=True)
    table = table.rename(columns={"value": counter.by}) if counter.by else table.drop(columns="value")
    return _counts(table.sort_values(list(table.columns[:-1])), counter.by)


@checked
def compare(alerts: pd.DataFrame, metrics: pd.DataFrame) -> pd.DataFrame:
    """Two frames of counts (`count` and `read`) side by side: a row for each period and value that either has.

    Columns: `period`, the column that was counted by, if any, `alerts` and `metric` (Int64, 0 where one has no row).
    Raises `LabError` if the two are counted by different columns.
    """
    keys, others = ([str(name) for name in table.columns if name != "count"] for table in (alerts, metrics))
    if keys != others:
        raise LabError(
            f"These counts can't be compared: one is by {', '.join(keys)}, the other by {', '.join(others)}.",
            hint="Count and read by the same column.",
        )
    left, right = alerts.rename(columns={"count": "alerts"}), metrics.rename(columns={"count": "metric"})
    both = left.merge(right, on=keys, how="outer", sort=True)
    return both.fillna({"alerts": 0, "metric": 0}).astype({"alerts": "Int64", "metric": "Int64"})


@checked
def wait(
    client: CloudWatchClient, counter: Counter, alerts: pd.DataFrame, *, timeout: float, period: int = 60
) -> pd.DataFrame:
    """The frame of `read`, as soon as CloudWatch has counted as many as `alerts` (the frame of `count`).

    On AWS that takes a minute or two. After `timeout` seconds it is what CloudWatch has by then: `compare` shows what
    is missing. Raises `LabError` if there are no alerts.
    """
    if alerts.empty:
        raise LabError("There are no alerts to wait for.", hint="Trigger some, then count the alerts again.")
    start, end = alerts["period"].min(), alerts["period"].max() + pd.Timedelta(seconds=period)
    values = sorted(set(alerts[counter.by])) if counter.by else ()
    found: list[pd.DataFrame] = []

    def look() -> pd.DataFrame | None:
        found[:] = [read(client, counter, start, end, period=period, values=values)]
        table = compare(alerts, found[0])
        return found[0] if (table["metric"] >= table["alerts"]).all() else None

    poll(look, f"metric {counter.metric}", timeout)
    return found[0]


def _logged(df: pd.DataFrame) -> pd.Series[Any]:
    """When each alert was logged, as CloudWatch has it; alerts that never were there have only Falco's time."""
    return df["timestamp"].fillna(df["time"])


def _counts(table: pd.DataFrame, by: str) -> pd.DataFrame:
    dtypes = {"period": "datetime64[ns, UTC]", **({by: "string"} if by else {}), "count": "Int64"}
    return table[list(dtypes)].astype(dtypes).reset_index(drop=True)


def _listed(client: CloudWatchClient, counter: Counter) -> Iterator[str]:
    fixed = [(one["Name"], one["Value"]) for one in counter.dimensions()]
    wanted: list[DimensionFilterTypeDef] = [{"Name": counter.dimension}]
    wanted += [{"Name": name, "Value": value} for name, value in fixed]
    pages = client.get_paginator("list_metrics").paginate(
        Namespace=counter.namespace, MetricName=counter.metric, Dimensions=wanted
    )
    for page in pages:
        for metric in page["Metrics"]:
            values = {d["Name"]: d["Value"] for d in metric["Dimensions"]}
            if values.keys() == {counter.dimension, *(name for name, _ in fixed)}:
                yield values[counter.dimension]


def _query(id_: str, counter: Counter, value: str, period: int) -> MetricDataQueryTypeDef:
    metric: MetricTypeDef = {"Namespace": counter.namespace, "MetricName": counter.metric}
    if dimensions := counter.dimensions(value):
        metric["Dimensions"] = dimensions
    return {"Id": id_, "MetricStat": {"Metric": metric, "Period": period, "Stat": "Sum"}}


# PutMetricData


@checked
def metric_data(
    name: str,
    values: pd.Series[Any],
    times: pd.Series[Any],
    *,
    unit: StandardUnitType = "None",
    dimensions: Mapping[str, str] | None = None,
) -> list[MetricDatumTypeDef]:
    """The `MetricData` of PutMetricData: for each minute the different values and how often each occurs.

    `values` are numbers, `times` aware datetimes with the same index; missing values are left out. An entry has at most
    150 different values. Raises `LabError` for values that aren't numbers and times without a zone.
    """
    if not isinstance(times.dtype, pd.DatetimeTZDtype):
        raise LabError(
            f"The times of metric {name} are {times.dtype}, not times with their zone.",
            hint='Use a column such as df["timestamp"] or df["time"] of lab.alerts().',
        )
    if not pd.api.types.is_numeric_dtype(values.dtype):
        raise LabError(f"The values of metric {name} are {values.dtype}, not numbers.", hint="Convert them first.")
    shared: MetricDatumTypeDef = {"MetricName": name, "Unit": unit}
    if dimensions:
        shared["Dimensions"] = [{"Name": key, "Value": value} for key, value in dimensions.items()]
    table = pd.DataFrame({"minute": times.dt.floor("min"), "value": values.astype("Float64")}).dropna()
    by_minute: dict[pd.Timestamp, list[tuple[float, float]]] = {}
    sizes = table.groupby(["minute", "value"]).size().rename("count").reset_index()
    for minute, value, count in sizes.itertuples(index=False):
        by_minute.setdefault(minute, []).append((float(value), float(count)))
    data: list[MetricDatumTypeDef] = []
    for minute, pairs in by_minute.items():
        for i in range(0, len(pairs), MAX_VALUES):
            numbers, counts = zip(*pairs[i : i + MAX_VALUES], strict=True)
            moment = minute.to_pydatetime(warn=False)
            data.append({**shared, "Timestamp": moment, "Values": list(numbers), "Counts": list(counts)})
    return data


@checked
def put(client: CloudWatchClient, namespace: str, data: Sequence[MetricDatumTypeDef]) -> int:
    """Sends what `metric_data` returned, in as few calls as AWS's limits allow; returns the number of calls.

    `client` is `boto3.client("cloudwatch")`. Values add up: putting the same data twice counts it twice. CloudWatch
    can't delete a metric. Without new values it leaves lists after two weeks, and is gone after 15 months.

    Raises `TargetError` if CloudWatch refuses a name, a value or a time (more than two weeks old or two hours ahead).
    """
    calls = list(batches(data, MAX_DATA, MAX_BYTES))
    with translated_errors():
        for batch in calls:
            client.put_metric_data(Namespace=namespace, MetricData=batch)
    return len(calls)
