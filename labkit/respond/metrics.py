"""Metrics of alerts: alerts become counts in CloudWatch; those come back as frames and are compared with the alerts.

Two routes lead into CloudWatch's metrics. *Metric filters* count in the log group itself: one value for each log event
that a pattern matches. *PutMetricData* takes numbers that were computed elsewhere, such as here with pandas.

AWS sets limits to metric filters, and the workshop's filters (`manifests/cloudwatch/metric-filters.json`) are made so
that no amount of alerts reaches one: four filters of the 100 that a log group can have; at most one dimension of the
three that a filter can have; dimensions are the priority (the pattern names the eight there are) and the rule (as many
as Falco has loaded, some dozens), while a filter that makes 1,000 different name/value pairs in an hour may be
disabled; and `defaultValue` only where there is no dimension. What identifies a pod, a file or a command is no
dimension: it stays in the log event, where Logs Insights counts it.

Facts about limits and names: PutMetricFilter, PutMetricData, GetMetricData in the API references of CloudWatch Logs and
CloudWatch.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ekslab.aws.filter_patterns import PatternError, compile_pattern
from labkit.alerts.times import When, utc
from labkit.connect import explained
from labkit.errors import LabError

MAX_PATTERN = 1024  # characters
MAX_DIMENSIONS = 3  # of a metric filter
MAX_PAIRS = 1000  # different dimension names and values in an hour, beyond which a filter may be disabled
MAX_VALUES = 150  # of one metric in a PutMetricData call
MAX_DATA = 1000  # metrics in a PutMetricData call
MAX_QUERIES = 500  # in a GetMetricData call
MAX_BYTES = 500_000  # of a PutMetricData call, which takes 1 MB: names grow when they are encoded

Request = Mapping[str, Any]
"""A metric filter as PutMetricFilter takes it."""

_HINT = "Is the embedded lab running (`labkit status`)? On EKS: check network, region and credentials."
_OLDEST, _NEWEST = pd.Timedelta(days=14), pd.Timedelta(hours=2)  # what PutMetricData takes


# Names and filters, checked before AWS sees them


def check_name(what: str, name: str) -> None:
    """Raises `LabError` if CloudWatch would refuse `name` as a `namespace`, `metric`, `dimension` or `value`.

    Each is ASCII without control characters, with something other than spaces in it. A namespace, a metric's name and
    the name of a dimension have up to 255 characters, a dimension's value up to 1,024; a namespace and a dimension's
    name don't begin with a colon, and namespaces that begin with `AWS/` are AWS's own.
    """
    most = 1024 if what == "value" else 255
    described = {"metric": "name of a metric", "dimension": "name of a dimension", "value": "value of a dimension"}
    label = f"{name[:60]!r} can't be the {described.get(what, what)}"
    if not name.strip():
        raise LabError(f"{label}: it is empty.", hint="Give it at least one visible character.")
    if len(name) > most:
        raise LabError(f"{label}: it has {len(name):,} characters.", hint=f"Shorten it to {most:,}.")
    for position, character in enumerate(name, start=1):
        if not " " <= character <= "~":
            raise LabError(
                f"{label}: CloudWatch takes ASCII without control characters, and character {position} is "
                f"{character!r}.",
                hint="Leave it out, or write it in ASCII.",
            )
    if what in ("namespace", "dimension") and name.startswith(":"):
        raise LabError(f"{label}: it begins with a colon.", hint="Leave the colon out.")
    if what == "namespace" and name.startswith("AWS/"):
        raise LabError(f"{label}: AWS/ is where AWS's own services put their metrics.", hint="Take another name.")


def check_filter(request: Request) -> None:
    """Raises `LabError` if CloudWatch Logs would refuse this metric filter, with the position of an error in a pattern.

    `request` is what PutMetricFilter takes.
    """
    name, pattern = str(request["filterName"]), str(request["filterPattern"])
    if len(pattern) > MAX_PATTERN:
        raise LabError(
            f"The pattern of metric filter {name} has {len(pattern):,} characters.",
            hint=f"Shorten it to {MAX_PATTERN:,}, or make two filters of it that count into one metric.",
        )
    try:
        compile_pattern(pattern)
    except PatternError as error:
        raise LabError(
            f"The pattern of metric filter {name} is wrong: {error}\n  {pattern}\n  {' ' * (error.position - 1)}^",
            hint="Correct it there, then try it on messages: TestMetricFilter needs no filter.",
        ) from error
    for transformation in request["metricTransformations"]:
        for what, value in (
            ("namespace", transformation["metricNamespace"]),
            ("metric", transformation["metricName"]),
        ):
            check_name(what, value)
            # Stricter than PutMetricData: these separate names where filters are kept.
            if set(value) & set(":*$"):
                raise LabError(
                    f"Metric filter {name}: {value!r} has one of : * $ in it.",
                    hint=f"A metric filter's {what} can't have these.",
                )
        dimensions = transformation.get("dimensions") or {}
        for dimension in dimensions:
            check_name("dimension", dimension)
        if len(dimensions) > MAX_DIMENSIONS:
            raise LabError(
                f"Metric filter {name} has {len(dimensions)} dimensions: {', '.join(dimensions)}.",
                hint=f"Keep {MAX_DIMENSIONS} of them. Each combination of their values is a metric that is paid for.",
            )
        if dimensions and transformation.get("defaultValue") is not None:
            raise LabError(
                f"Metric filter {name} has a default value and dimensions.",
                hint="Leave one of them out: with dimensions CloudWatch couldn't tell which metric to give it to.",
            )


def distinct(df: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """How many values each column of an alert frame has: what it would make of metrics, were it a dimension.

    Rows are `columns`; `values` (Int64) is the number of different values, `hour` (Int64) the most in a clock hour, and
    `share` (Float64) that number's share of the 1,000 beyond which a filter may be disabled. A column that no alert has
    (`k8s.pod.name` of alerts from a host) counts 0.
    """
    hours = _logged(df).dt.floor("h")
    rows = []
    for name in columns:
        values = df[name].astype("string") if name in df else pd.Series(pd.NA, df.index, dtype="string")
        in_an_hour = values.groupby(hours).nunique().max() if len(df) else 0
        rows.append((int(values.nunique()), int(in_an_hour)))
    table = pd.DataFrame(rows, index=pd.Index(list(columns), name="column"), columns=["values", "hour"], dtype="Int64")
    table["share"] = (table["hour"] / MAX_PAIRS).astype("Float64")
    return table


# Counts: of alerts, of metrics, and the two side by side


@dataclass(frozen=True)
class Counter:
    """A metric that a metric filter makes of alerts: one for each alert, by at most one column of the alert frame."""

    namespace: str
    metric: str
    dimension: str = ""
    """The dimension's name, such as `Rule`; empty if the metric has none."""
    by: str = ""
    """The column of the alert frame that it has the values of, such as `rule`."""

    @classmethod
    def of(cls, requests: Iterable[Request]) -> dict[str, Counter]:
        """The counters that these filters make, by the column that they count by (`""` for all alerts).

        Filters that select among alerts by their own pattern are left out when an earlier one counts by the same.
        """
        found: dict[str, Counter] = {}
        for request in requests:
            (transformation,) = request["metricTransformations"]
            dimensions = transformation.get("dimensions") or {}
            if len(dimensions) <= 1:
                dimension, selector = next(iter(dimensions.items()), ("", ""))
                by = selector.removeprefix("$.").removeprefix("output_fields.['").removesuffix("']")
                found.setdefault(
                    by, cls(transformation["metricNamespace"], transformation["metricName"], dimension, by)
                )
        return found


def counted(df: pd.DataFrame, filters: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """The alerts of `df` that filters can have counted: those that got into the log group after the filters were made.

    `filters` are as DescribeMetricFilters shows them (`creationTime`, ms). A metric filter isn't retroactive.
    """
    made = max((int(found["creationTime"]) for found in filters), default=0)
    return df[df["ingestionTime"] >= pd.Timestamp(made, unit="ms", tz="UTC")].reset_index(drop=True)


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


def read(
    client: Any,
    counter: Counter,
    start: When,
    end: When = "now",
    *,
    period: int = 60,
    values: Iterable[str] = (),
) -> pd.DataFrame:
    """What CloudWatch has counted: the frame that `count` makes of alerts, read by GetMetricData.

    `client` is `boto3.client("cloudwatch")`; `start` is rounded down to a whole period and `end` up. Which values the
    dimension has, ListMetrics knows, though for a new one only after some minutes: those in `values` are asked for in
    any case. CloudWatch keeps minutes for 15 days, periods of five minutes for 63, hours for 15 months.

    Raises `LabError` if the service refuses, as for more than its quota of requests.
    """
    first, last = utc(start).floor(f"{period}s"), utc(end).ceil(f"{period}s")
    if last <= first:
        raise LabError(f"There is no time between {start} and {end}.", hint="`end` has to be later than `start`.")
    with explained(_HINT):
        known = sorted({*values, *_listed(client, counter)}) if counter.dimension else [""]
        rows: list[tuple[Any, str, float]] = []
        for i in range(0, len(known), MAX_QUERIES):
            chunk = known[i : i + MAX_QUERIES]
            queries = [_query(f"m{place}", counter, value, period) for place, value in enumerate(chunk)]
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


def compare(alerts: pd.DataFrame, metrics: pd.DataFrame) -> pd.DataFrame:
    """Two frames of counts side by side: a row for each period and value that either has.

    Columns: `period`, the column that was counted by, if any, `alerts` and `metric` (Int64, 0 where one has no row).
    They are equal in every row when CloudWatch has counted what the frame holds.
    """
    keys = [name for name in alerts.columns if name != "count"]
    if keys != [name for name in metrics.columns if name != "count"]:
        raise LabError(
            f"These counts can't be compared: one is by {', '.join(keys)}, the other by "
            f"{', '.join(name for name in metrics.columns if name != 'count')}.",
            hint="Count and read by the same column.",
        )
    both = alerts.rename(columns={"count": "alerts"}).merge(
        metrics.rename(columns={"count": "metric"}), on=keys, how="outer"
    )
    both[["alerts", "metric"]] = both[["alerts", "metric"]].fillna(0).astype("Int64")
    return both.sort_values(keys).reset_index(drop=True)


def wait(client: Any, counter: Counter, alerts: pd.DataFrame, *, timeout: float, period: int = 60) -> pd.DataFrame:
    """What `read` gives, as soon as CloudWatch has counted as many as `alerts` (the frame that `count` gives).

    On AWS that takes a minute or two. After `timeout` seconds it is what CloudWatch has by then: `compare` shows what
    is missing.
    """
    from labkit.provision.waiting import poll

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


def _listed(client: Any, counter: Counter) -> Iterator[str]:
    pages = client.get_paginator("list_metrics").paginate(
        Namespace=counter.namespace, MetricName=counter.metric, Dimensions=[{"Name": counter.dimension}]
    )
    for page in pages:
        for metric in page["Metrics"]:
            if [d["Name"] for d in metric["Dimensions"]] == [counter.dimension]:
                yield metric["Dimensions"][0]["Value"]


def _query(id_: str, counter: Counter, value: str, period: int) -> dict[str, Any]:
    metric: dict[str, Any] = {"Namespace": counter.namespace, "MetricName": counter.metric}
    if counter.dimension:
        metric["Dimensions"] = [{"Name": counter.dimension, "Value": value}]
    return {"Id": id_, "MetricStat": {"Metric": metric, "Period": period, "Stat": "Sum"}}


# The other route: numbers of one's own, by PutMetricData


def lag(df: pd.DataFrame) -> pd.Series[Any]:
    """Milliseconds (Int64) from each event in the kernel to when CloudWatch Logs had its alert.

    `time` is the node's clock and `ingestionTime` AWS's, in whole milliseconds: a difference between the clocks is in
    the result. Missing where a time is.
    """
    # Microseconds, since two times of nanoseconds can be further apart than nanoseconds can tell.
    took = df["ingestionTime"].dt.as_unit("us") - df["time"].dt.as_unit("us")
    milliseconds: pd.Series[Any] = (took.dt.total_seconds() * 1000).round()
    return milliseconds.astype("Int64").rename("lag")


def metric_data(
    name: str,
    values: pd.Series[Any],
    times: pd.Series[Any],
    *,
    unit: str = "None",
    dimensions: Mapping[str, str] | None = None,
) -> list[dict[str, Any]]:
    """Numbers as PutMetricData takes them: for each minute its different values and how often each occurs.

    `values` are numbers, `times` aware datetimes with the same index; missing values are left out. At most 150 values
    go into one entry. Raises `LabError` for a name that CloudWatch refuses, a number that is none, and times that have
    no zone or are more than two weeks old or two hours ahead.
    """
    check_name("metric", name)
    for key, value in (dimensions or {}).items():
        check_name("dimension", key)
        check_name("value", value)
    if not isinstance(times.dtype, pd.DatetimeTZDtype):
        raise LabError(
            f"The times of metric {name} are {times.dtype}, not times with their zone.",
            hint='Use a column such as df["timestamp"] or df["time"] of lab.alerts().',
        )
    if not pd.api.types.is_numeric_dtype(values.dtype):
        raise LabError(f"The values of metric {name} are {values.dtype}, not numbers.", hint="Convert them first.")
    table = pd.DataFrame({"minute": times.dt.floor("min"), "value": values.astype("Float64")}).dropna()
    if not np.isfinite(table["value"].to_numpy(dtype="float64")).all():
        raise LabError(f"Metric {name} has a value that isn't a finite number.", hint="Leave such values out.")
    now = pd.Timestamp.now("UTC")
    outside = table["minute"][(table["minute"] < now - _OLDEST) | (table["minute"] > now + _NEWEST)]
    if len(outside):
        raise LabError(
            f"CloudWatch refuses {len(outside)} of {len(table)} values of metric {name}: they are of "
            f"{outside.iloc[0]:%Y-%m-%d %H:%M}.",
            hint="It takes what is at most two weeks old and two hours ahead: leave the others out.",
        )
    shared: dict[str, Any] = {"MetricName": name, "Unit": unit}
    if dimensions:
        shared["Dimensions"] = [{"Name": key, "Value": value} for key, value in dimensions.items()]
    data: list[dict[str, Any]] = []
    for minute, group in table.groupby("minute"):
        counts = group["value"].value_counts().sort_index()
        for i in range(0, len(counts), MAX_VALUES):
            part = counts.iloc[i : i + MAX_VALUES]
            data.append(
                {
                    **shared,
                    "Timestamp": pd.Timestamp(str(minute)).to_pydatetime(),
                    "Values": [float(value) for value in part.index],
                    "Counts": [float(n) for n in part],
                }
            )
    return data


def put(client: Any, namespace: str, data: Sequence[Mapping[str, Any]]) -> int:
    """Puts what `metric_data` made, in as few calls as AWS's limits allow; how many calls that were.

    What is put counts: putting the same twice counts it twice, and it can't be taken back. CloudWatch has no call that
    deletes a metric; what nobody puts to disappears from lists after two weeks, and for good after 15 months.

    Raises `LabError` for a namespace that CloudWatch refuses, and when the service refuses.
    """
    check_name("namespace", namespace)
    batches: list[list[Mapping[str, Any]]] = []
    size = 0
    for datum in data:
        length = len(json.dumps(datum, default=str))
        if not batches or len(batches[-1]) == MAX_DATA or size + length > MAX_BYTES:
            batches.append([])
            size = 0
        batches[-1].append(datum)
        size += length
    with explained(_HINT):
        for batch in batches:
            client.put_metric_data(Namespace=namespace, MetricData=batch)
    return len(batches)
