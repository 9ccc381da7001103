"""GetMetricData: evaluates metric queries, math and search expressions."""

from __future__ import annotations

import base64
import binascii
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson

from ekslab.aws import metric_math, metrics
from ekslab.aws.metric_search import compile_search
from ekslab.aws.metrics import Metric, Metrics
from ekslab.aws.protocols import AwsError

_MAX_DATAPOINTS = 100_800
_MAX_SEARCHED = 500
_MAX_QUERIES = 500


def get_metric_data(store: Metrics, p: Mapping[str, Any]) -> dict[str, Any]:
    """Each query's datapoints, newest first unless asked otherwise; a page holds MaxDatapoints of them."""
    start, end = metrics.seconds(p["StartTime"]), metrics.seconds(p["EndTime"])
    if start >= end:
        raise AwsError("ValidationError", "The parameter StartTime must be less than the parameter EndTime.")
    queries = p["MetricDataQueries"]
    check_queries(queries)
    results = list(Queries(store, queries, start, end).results())
    ascending = p.get("ScanBy", "TimestampDescending") == "TimestampAscending"
    most = p.get("MaxDatapoints") or _MAX_DATAPOINTS
    first = _read_token(p.get("NextToken"))
    total = 0
    shown = []
    for result, series in results:
        times = sorted(series, reverse=not ascending)
        total += len(times)
        page = times[first : first + most]
        shown.append(
            {
                **result,
                "Timestamps": [metrics.moment(time) for time in page],
                "Values": [series[time] for time in page],
                "StatusCode": "PartialData" if len(times) > first + most else "Complete",
            }
        )
    more = any(result["StatusCode"] == "PartialData" for result in shown)
    following = {"NextToken": base64.b64encode(orjson.dumps(first + most)).decode()} if more else {}
    return {"MetricDataResults": shown, "Messages": [], **following}


def check_queries(queries: Sequence[Mapping[str, Any]]) -> None:
    """Raises AwsError unless every query has a unique id, and either a metric or an expression."""
    if len(queries) > _MAX_QUERIES:
        message = f"The collection MetricDataQueries must not have a size greater than {_MAX_QUERIES}."
        raise AwsError("ValidationError", message)
    ids = [query["Id"] for query in queries]
    for query in queries:
        if re.fullmatch(r"[a-z]\w*", query["Id"], re.ASCII) is None:
            raise AwsError("ValidationError", f"The value {query['Id']} for parameter Id is not matching the pattern.")
        if ("MetricStat" in query) == ("Expression" in query):
            raise AwsError(
                "ValidationError", f"Exactly one of MetricStat and Expression is required for query {query['Id']}."
            )
        if "${" in query.get("Label", ""):
            raise AwsError("ValidationError", f"The embedded lab has no dynamic labels: {query['Label']}")
        if query.get("AccountId"):
            raise AwsError("ValidationError", "The embedded lab has one account, which monitors no other.")
    if len(set(ids)) < len(ids):
        raise AwsError("ValidationError", "The values for parameter Id must be unique.")


def _read_token(token: str | None) -> int:
    if token is None:
        return 0
    try:
        first = orjson.loads(base64.b64decode(token))
    except (binascii.Error, ValueError):
        first = None
    if not isinstance(first, int) or first < 0:
        raise AwsError("InvalidNextToken", "The next token specified is invalid.")
    return first


class Queries:
    """The queries of one call, for start <= time < end (s); an expression may name any other query."""

    def __init__(self, store: Metrics, queries: Sequence[Mapping[str, Any]], start: float, end: float) -> None:
        self._store = store
        self._queries = {query["Id"]: query for query in queries}
        self._start, self._end = start, end
        self._values: dict[str, metric_math.Value] = {}
        self._pending: list[str] = []
        self._labels = _labels([query for query in queries if "MetricStat" in query])
        # The units by id, of metrics with several units.
        self._units: dict[str, list[str]] = {}

    def results(self) -> Iterator[tuple[dict[str, Any], metric_math.Series]]:
        """Id, label and messages, and the series, of every query that returns data."""
        for id_, query in self._queries.items():
            value = self.value(id_)
            if not query.get("ReturnData", True):
                continue
            if isinstance(value, float):
                message = f"Error in expression '{query['Expression']}': it returns a number, not a time series."
                raise AwsError("ValidationError", message)
            if isinstance(value, dict):
                label = query.get("Label") or self._labels.get(id_, id_)
                units = self._units.get(id_)
                several = {"Code": "MultipleUnits", "Value": f"Multiple units returned: '[{', '.join(units or ())}]'"}
                yield {"Id": id_, "Label": label, **({"Messages": [several]} if units else {})}, value
                continue
            for one, series in value:
                yield {"Id": id_, "Label": f"{query['Label']} {one}" if query.get("Label") else one}, series

    def value(self, id_: str) -> metric_math.Value:
        """The value of a query. Raises AwsError for an expression that can't be evaluated."""
        if id_ in self._values:
            return self._values[id_]
        if id_ in self._pending:
            raise AwsError("ValidationError", f"Circular reference: {' -> '.join([*self._pending, id_])}.")
        query = self._queries[id_]
        if "MetricStat" in query:
            self._values[id_] = self._of_metric(id_, query["MetricStat"])
            return self._values[id_]
        self._pending.append(id_)
        for name in set(re.findall(r"[a-z]\w*", re.sub(r"'[^']*'|\"[^\"]*\"", "", query["Expression"]))):
            if name in self._queries:
                self.value(name)
        for name in self._labels:
            self.value(name)
        self._values[id_] = metric_math.evaluate(query["Expression"], self._context(query))
        self._pending.pop()
        return self._values[id_]

    def _context(self, query: Mapping[str, Any]) -> metric_math.Context:
        periods = [q["MetricStat"]["Period"] for q in self._queries.values() if "MetricStat" in q]
        period = metrics.check_period(query.get("Period") or max(periods, default=metrics.MINUTE))
        begin = metrics.aligned(self._start, period)
        times = range(begin, math.ceil(self._end), period)
        if len(times) > _MAX_DATAPOINTS:
            raise AwsError("ValidationError", f"You requested {len(times):,} datapoints: the limit is 100,800.")
        return metric_math.Context(self._values, self._labels, times, self._search)

    def _of_metric(self, id_: str, wanted: Mapping[str, Any]) -> metric_math.Series:
        statistic, period = wanted["Stat"], metrics.check_period(wanted["Period"])
        metrics.check_statistic(statistic)
        metric, unit = metrics.metric_of(wanted["Metric"]), wanted.get("Unit")
        if unit is None:
            units = self._store.units(metric, math.floor(self._start), math.ceil(self._end))
            if len(units) > 1:
                self._units[id_] = units
                unit = units[0]
        return self._read(metric, statistic, period, unit)

    def _read(self, metric: Metric, statistic: str, period: int, unit: str | None = None) -> metric_math.Series:
        begin = metrics.aligned(self._start, period)
        found = self._store.periods(metric, begin, math.ceil(self._end), period, unit=unit)
        values = {time: statistics.get(statistic) for time, statistics in found.items()}
        return {time: value for time, value in values.items() if value is not None}

    def _search(self, pattern: str, statistic: str, period: int) -> list[metric_math.Labelled]:
        """The series of all metrics that a search expression finds."""
        finds = compile_search(pattern)
        metrics.check_statistic(statistic)
        metrics.check_period(period)
        found = [metric for metric, _ in self._store.names() if finds(metric)]
        return [
            metric_math.Labelled(
                " ".join([metric.name, *(value for _, value in metric.dimensions)]),
                self._read(metric, statistic, period),
            )
            for metric in found[:_MAX_SEARCHED]
        ]


def _labels(queries: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """The labels by id: the metric's name, with whatever distinguishes it from the request's other metrics."""
    parts = []
    for query in queries:
        stat = query["MetricStat"]
        dimensions = " ".join(dimension["Value"] for dimension in stat["Metric"].get("Dimensions") or ())
        parts.append((stat["Metric"]["MetricName"], dimensions, stat["Stat"], str(stat["Period"])))
    differ = [len(set(column)) > 1 for column in zip(*parts, strict=True)]
    shown = [[part for place, part in enumerate(row) if part and (place == 0 or differ[place])] for row in parts]
    return {query["Id"]: query.get("Label") or " ".join(words) for query, words in zip(queries, shown, strict=True)}
