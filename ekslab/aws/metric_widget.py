"""GetMetricWidgetImage: reads the widget and evaluates its metrics and expressions; `widget_image` draws the graph.

Source: "GetMetricWidgetImage: Metric Widget Structure and Syntax" in CloudWatch's API reference.
"""

from __future__ import annotations

import datetime as dt
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ekslab.aws.dashboard_body import MAX_DRAWN, Message, check_drawn, expand
from ekslab.aws.metric_data import Queries
from ekslab.aws.metric_math import Series
from ekslab.aws.metrics import Metrics
from ekslab.aws.protocols import AwsError

_LARGEST = 100_000  # bytes of a widget: "up to 100 KB uncompressed payload"
_MAX_DATAPOINTS = 100_800
_LATEST = 1 << 35  # seconds since the epoch, in the year 3058
_MAX_DAYS = 455  # as long as CloudWatch keeps a metric
_DURATION = re.compile(
    r"(?P<sign>[-+]?)P(?:(?P<M>\d{1,4})M)?(?:(?P<W>\d{1,4})W)?(?:(?P<D>\d{1,4})D)?"
    r"(?:T(?:(?P<h>\d{1,5})H)?(?:(?P<m>\d{1,6})M)?(?:(?P<s>\d{1,8})S)?)?",
    re.ASCII,
)
_UNITS = {"M": 30 * 86_400, "W": 7 * 86_400, "D": 86_400, "h": 3600, "m": 60, "s": 1}
# Dynamic labels that are values of the series.
_VALUES: dict[str, Callable[[Sequence[float]], float]] = {
    "AVG": lambda values: math.fsum(values) / len(values),
    "DATAPOINT_COUNT": len,
    "FIRST": lambda values: values[0],
    "LAST": lambda values: values[-1],
    "MAX": max,
    "MIN": min,
    "MIN_MAX_RANGE": lambda values: max(values) - min(values),
    "SUM": math.fsum,
}


@dataclass(frozen=True)
class Line:
    """One series of a graph."""

    label: str
    series: Series
    period: int
    """Seconds from the start of a datapoint to its end."""
    colour: str | None = None
    right: bool = False
    """Whether it belongs to the right y-axis."""


@dataclass(frozen=True)
class Graph:
    """What is to be drawn, for start <= time < end (s): all of the first and of the last period."""

    widget: Mapping[str, Any]
    """The widget as it was sent: title, view, annotations..."""
    lines: Sequence[Line]
    start: int
    end: int


def graph_of(store: Metrics, text: str, *, region: str, now: float) -> Graph:
    """The graph that a widget (JSON) asks for, at a time (s). Raises AwsError that lists what is wrong with it."""
    widget = _read(text, region)
    view, period = widget.get("view", "timeSeries"), widget.get("period", 300)
    start, end = _moment(widget.get("start", "-PT3H"), now), _moment(widget.get("end", "PT0H"), now)
    if not 0 <= start < end <= _LATEST or end - start > _MAX_DAYS * 86_400:
        raise _invalid(Message("/start", f"Should be before the end, and at most {_MAX_DAYS} days"))
    whole = bool(widget.get("setPeriodToTimeRange")) and view != "timeSeries"
    if whole:
        start = int(start // 60) * 60
        period = math.ceil((end - start) / 60) * 60
    queries, options, periods = _queries(widget, period, whole)
    # Periods begin at multiples of the longest, as on a clock: at the full hour, not an hour before now.
    begin = start if whole else start // max(periods.values()) * max(periods.values())
    if sum((end - begin) / step for step in periods.values()) > _MAX_DATAPOINTS:
        raise _invalid(Message("/period", f"The graph would have more than {_MAX_DATAPOINTS:,} datapoints"))
    evaluated = Queries(store, queries, begin, end)
    lines = []
    for result, series in evaluated.results():
        asked = options[result["Id"]]
        several = isinstance(evaluated.value(result["Id"]), list)
        default = result["Label"] if several or "expression" not in asked else asked.get("id", asked["expression"])
        lines.append(
            Line(
                _label(asked.get("label"), _distinct(default) if several else default, series, several),
                series,
                periods[result["Id"]],
                asked.get("color"),
                asked.get("yAxis") == "right",
            )
        )
    if sum(len(line.series) for line in lines) > _MAX_DATAPOINTS:
        raise _invalid(Message("/metrics", f"The graph has more than {_MAX_DATAPOINTS:,} datapoints"))
    last = end if whole else math.ceil(end / min(periods.values())) * min(periods.values())
    return Graph(widget, lines[:MAX_DRAWN], int(begin), math.ceil(last))


def _read(text: str, region: str) -> dict[str, Any]:
    if len(text.encode()) > _LARGEST:
        raise AwsError("ValidationError", f"The metric widget is larger than {_LARGEST:,} bytes.")
    try:
        widget = json.loads(text)
    except (ValueError, RecursionError):
        widget = None
    if not isinstance(widget, dict):
        raise AwsError("ValidationError", "The parameter MetricWidget must be a valid JSON object.")
    if faults := check_drawn(widget, region):
        raise _invalid(*faults)
    return widget


def _invalid(*faults: Message) -> AwsError:
    listed = json.dumps([{"dataPath": fault.path, "message": fault.text} for fault in faults], indent=2)
    errors = f"{len(faults)} validation error{'s' if len(faults) > 1 else ''}"
    return AwsError("ValidationError", f"The metric widget is invalid, there {_are(faults)} {errors}:\n{listed}")


def _are(things: Sequence[Any]) -> str:
    return "is" if len(things) == 1 else "are"


def _moment(text: str, now: float) -> float:
    """A time in seconds: absolute, or relative to now such as `-PT3H`. Raises AwsError."""
    duration = _DURATION.fullmatch(text)
    if duration is not None and text[-1] not in "PT":
        seconds = sum(int(duration[unit] or 0) * length for unit, length in _UNITS.items())
        return now + (seconds if duration["sign"] == "+" else -seconds)
    try:
        moment = dt.datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)).timestamp()
    except (ValueError, OverflowError):
        fault = Message("", f"{text[:60]!r} is no time: give 2018-04-25T12:00:00Z, or relative to now -PT3H")
        raise _invalid(fault) from None


def _queries(
    widget: Mapping[str, Any], period: int, whole: bool
) -> tuple[list[dict[str, Any]], dict[str, Mapping[str, Any]], dict[str, int]]:
    """The rows of a widget as MetricDataQueries; their options and their periods (s) by id."""
    queries: list[dict[str, Any]] = []
    options: dict[str, Mapping[str, Any]] = {}
    periods: dict[str, int] = {}
    before: list[str] = []
    for place, row in enumerate(widget["metrics"]):
        asked = row[-1] if isinstance(row[-1], dict) else {}
        id_ = asked.get("id", f"row_{place}_without_id")
        step = period if whole else asked.get("period", period)
        query: dict[str, Any] = {"Id": id_, "ReturnData": asked.get("visible", True)}
        if names := [name for name in row if isinstance(name, str)]:
            before = expand(names, before) or []
            namespace, name, *pairs = before
            dimensions = [{"Name": pairs[i], "Value": pairs[i + 1]} for i in range(0, len(pairs), 2)]
            metric = {"Namespace": namespace, "MetricName": name, "Dimensions": dimensions}
            stat = asked.get("stat", widget.get("stat", "Average"))
            query["MetricStat"] = {"Metric": metric, "Period": step, "Stat": stat}
        else:
            query["Expression"] = asked["expression"]
        queries.append(query)
        options[id_], periods[id_] = asked, step
    # An expression has the longest period of the metrics, or the widget's if it only searches.
    longest = max((periods[query["Id"]] for query in queries if "MetricStat" in query), default=period)
    for query in queries:
        if "Expression" in query:
            query["Period"] = periods[query["Id"]] = longest
    return queries, options, periods


def _distinct(label: str) -> str:
    """The label of a metric that a search found without the metric's name, which its title has."""
    _, _, dimensions = label.partition(" ")
    return dimensions or label


def _label(asked: str | None, default: str, series: Series, several: bool) -> str:
    """A label with its dynamic parts filled in. Raises AwsError for those that the lab doesn't have."""
    if asked is None:
        return default
    if "${" not in asked:
        return f"{asked} {default}" if several else asked
    values = [series[time] for time in sorted(series)]

    def value(found: re.Match[str]) -> str:
        if found[1] == "LABEL":
            return default
        if found[1] not in _VALUES:
            known = ", ".join(f"${{{name}}}" for name in ("LABEL", *_VALUES))
            message = f"The embedded lab has the dynamic labels {known}"
            raise _invalid(Message("/metrics", message))
        return f"{_VALUES[found[1]](values):,.6g}" if values else "--"

    return re.sub(r"\$\{([^{}]*)\}", value, asked)
