"""Metric filters: put a metric value for each matching log event."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from ekslab.aws import filter_patterns
from ekslab.aws.event_blocks import Event
from ekslab.aws.filter_patterns import PatternError, RegexPattern, SpacePattern, TermPattern
from ekslab.aws.log_store import Group, Stream
from ekslab.aws.metrics import Metric, Metrics
from ekslab.aws.protocols import AwsError

MAX_FILTERS = 100  # in a log group
MAX_REGEX_FILTERS = 5
MAX_DIMENSIONS = 3
_MAX_PAIRS = 1000  # of dimension names and values in an hour; beyond that the service disables a filter
_HOUR = 3_600_000  # ms

Read = Callable[[str], Any]  # message -> extracted value, None if there is none


@dataclass
class MetricFilter:
    """One filter. It applies to events that arrive after it was created or changed."""

    name: str
    group: str
    pattern: str
    created: int
    transformation: dict[str, Any]
    matches: Callable[[str], bool]
    value: Read
    dimensions: dict[str, Read]
    default: float | None
    _hour: int = 0
    _pairs: set[tuple[str, str]] = field(default_factory=set)
    _disabled: bool = False

    @property
    def metric(self) -> tuple[str, str]:
        return self.transformation["metricNamespace"], self.transformation["metricName"]

    def described(self) -> dict[str, Any]:
        """The filter in the response of DescribeMetricFilters."""
        return {
            "filterName": self.name,
            "filterPattern": self.pattern,
            "metricTransformations": [self.transformation],
            "creationTime": self.created,
            "logGroupName": self.group,
            "applyOnTransformedLogs": False,
        }

    def apply(self, event: Event, metrics: Metrics) -> None:
        """Puts the metric value of an event: the filter's value if it matches, else the default if there is one."""
        time, _, _, message = event
        if self._disabled:
            return
        dimensions: tuple[tuple[str, str], ...] = ()
        if self.matches(message):
            found = self.value(message)
            value = self.default if found is None else _number(found)
            dimensions = self._dimensions(message)
        else:
            value = self.default
        if value is None or self._too_many(dimensions, time):
            return
        unit = self.transformation.get("unit", "None")
        metrics.put(Metric(*self.metric, dimensions), time / 1000, [(value, 1.0)], unit=unit)

    def _dimensions(self, message: str) -> tuple[tuple[str, str], ...]:
        """The dimensions with their values; none if any has no value."""
        values = {name: _text(read(message)) for name, read in self.dimensions.items()}
        if any(value is None for value in values.values()):
            return ()
        return tuple(sorted((name, str(value)) for name, value in values.items()))

    def _too_many(self, dimensions: tuple[tuple[str, str], ...], time: int) -> bool:
        """Whether the dimension values of the hour exceed the limit; then the filter is disabled permanently."""
        if time // _HOUR != self._hour:
            self._hour = time // _HOUR
            self._pairs.clear()
        self._pairs.update(dimensions)
        self._disabled = len(self._pairs) > _MAX_PAIRS
        return self._disabled


class MetricFilters:
    """The metric filters of one region."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._filters: dict[str, dict[str, MetricFilter]] = {}

    def put(self, group: Group, p: Mapping[str, Any], now: int) -> None:
        """PutMetricFilter, on a group that exists. Raises AwsError."""
        for name in ("fieldSelectionCriteria", "emitSystemFieldDimensions"):
            if p.get(name):
                raise _invalid(f"{name} is not supported by the embedded lab.")
        if p.get("applyOnTransformedLogs"):
            raise _invalid("The embedded lab has no log transformers: applyOnTransformedLogs can't be true.")
        made = _made(group.name, p, now)
        filters = self._filters.setdefault(group.name, {})
        others = [other for name, other in filters.items() if name != made.name]
        if len(others) >= MAX_FILTERS:
            raise AwsError("LimitExceededException", "Resource limit exceeded.")
        with_regex = sum(filter_patterns.regexes(other.pattern) > 0 for other in others)
        if filter_patterns.regexes(made.pattern) and with_regex >= MAX_REGEX_FILTERS:
            message = f"A log group can have {MAX_REGEX_FILTERS} metric filters with regular expressions."
            raise AwsError("LimitExceededException", message)
        filters[made.name] = made
        if self._put_values not in group.listeners:
            group.listeners.append(self._put_values)

    def delete(self, group: Group, name: str) -> None:
        """DeleteMetricFilter. Raises AwsError if there is none of that name."""
        if self._filters.get(group.name, {}).pop(name, None) is None:
            raise AwsError("ResourceNotFoundException", "The specified metric filter does not exist.")

    def delete_group(self, group: Group) -> None:
        """Deletes the filters of a group."""
        self._filters.pop(group.name, None)

    def in_group(self, group: str | None) -> list[MetricFilter]:
        """The filters of a group, or of all, ordered by group and name."""
        names = sorted(self._filters) if group is None else [group]
        return [found for name in names for _, found in sorted(self._filters.get(name, {}).items())]

    def _put_values(self, group: Group, stream: Stream, batch: list[Event]) -> None:
        for filter_ in tuple(self._filters.get(group.name, {}).values()):
            for event in batch:
                filter_.apply(event, self._metrics)


def _made(group: str, p: Mapping[str, Any], now: int) -> MetricFilter:
    transformation = dict(p["metricTransformations"][0])
    dimensions = transformation.get("dimensions") or {}
    default = transformation.get("defaultValue")
    if default is not None and dimensions:
        raise _wrong("dimensions and default value are mutually exclusive properties")
    if len(dimensions) > MAX_DIMENSIONS:
        raise _wrong(f"the maximum number of dimensions is {MAX_DIMENSIONS}")
    if transformation["metricNamespace"].startswith("AWS/"):
        raise _wrong("namespaces that begin with AWS/ are reserved")
    try:
        pattern = filter_patterns.compile_pattern(p["filterPattern"])
    except PatternError as error:
        raise _invalid(str(error)) from error
    if dimensions and isinstance(pattern, TermPattern | RegexPattern):
        raise _invalid("The specified filter pattern does not support dimensions")
    value = transformation["metricValue"]
    constant = _number(value)
    read = (lambda message: constant) if constant is not None else _reader(value, pattern)
    if read is None:
        raise _wrong(f"metric value {value} must be a valid number")
    readers = {}
    for name, text in dimensions.items():
        reader = _reader(text, pattern)
        if reader is None:
            raise _wrong("dimension value must be valid selector")
        readers[name] = reader
    return MetricFilter(
        p["filterName"], group, p["filterPattern"], now, transformation, pattern.matches, read, readers, default
    )


def _reader(text: str, pattern: filter_patterns.Pattern) -> Read | None:
    """The function that extracts a field from a message, if a text names one.

    That is `$.name` of JSON, without a wildcard, or `$name` of a space-delimited pattern that has this field.
    """
    if isinstance(pattern, SpacePattern):
        return (lambda message: pattern.extracted(message).get(text)) if text in pattern.names else None
    if not text.startswith("$."):
        return None
    try:
        selector = filter_patterns.parse_selector(text)
    except PatternError:
        return None
    if selector.wildcard is not None:
        return None
    return lambda message: next(iter(selector.find(_document(message))), None)


def _document(message: str) -> Any:
    try:
        return orjson.loads(message)
    except orjson.JSONDecodeError:
        try:
            return json.loads(message)
        except ValueError:
            return None


def _number(value: Any) -> float | None:
    """The value of a number or of a text with a number; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def _text(value: Any) -> str | None:
    """The text of a dimension's value; None if it can't be one."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float | str) and value != "":
        return str(value)
    return None


def _wrong(message: str) -> AwsError:
    return _invalid(f"Invalid metric transformation: {message}")


def _invalid(message: str) -> AwsError:
    return AwsError("InvalidParameterException", message)
