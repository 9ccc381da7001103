"""Metric math: an expression over time series goes in, time series or a number come out."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from labkit.embedded.aws.protocols import AwsError

Series = dict[int, float]  # start of the period -> value
Value = float | Series | list[Series]

_TOKEN = re.compile(
    r"\s*(?:(?P<number>\d+\.?\d*(?:[eE][+-]?\d+)?)|(?P<name>[A-Za-z_]\w*)|(?P<text>'[^']*'|\"[^\"]*\")"
    r"|(?P<operator>==|!=|<=|>=|&&|\|\||[-+*/^<>(),]))"
)
_BINARY: dict[str, tuple[int, Callable[[float, float], float]]] = {
    "||": (1, lambda a, b: float(bool(a) or bool(b))),
    "OR": (1, lambda a, b: float(bool(a) or bool(b))),
    "&&": (2, lambda a, b: float(bool(a) and bool(b))),
    "AND": (2, lambda a, b: float(bool(a) and bool(b))),
    "==": (3, lambda a, b: float(a == b)),
    "!=": (3, lambda a, b: float(a != b)),
    "<": (3, lambda a, b: float(a < b)),
    "<=": (3, lambda a, b: float(a <= b)),
    ">": (3, lambda a, b: float(a > b)),
    ">=": (3, lambda a, b: float(a >= b)),
    "+": (4, operator.add),
    "-": (4, operator.sub),
    "*": (5, operator.mul),
    "/": (5, lambda a, b: a / b if b else math.nan),
    "^": (6, lambda a, b: _power(a, b)),
}
_MAX_DEPTH = 100
_LONGEST = 2048


def _power(a: float, b: float) -> float:
    try:
        result = a**b
    except (OverflowError, ZeroDivisionError):
        return math.nan
    return result if isinstance(result, float) else math.nan


@dataclass(frozen=True)
class Context:
    """What an expression can name: series by id, the requested range (s) and the period (s)."""

    series: Mapping[str, Value]
    # Ids of the metrics (not of other expressions), in the order of the request.
    metrics: Sequence[str]
    times: range
    search: Callable[[str, str, int], list[tuple[str, Series]]]

    @property
    def period(self) -> int:
        return self.times.step


def evaluate(text: str, context: Context) -> Value:
    """The value of an expression. Raises AwsError, as the service words it, for what can't be evaluated."""
    if len(text) > _LONGEST:
        raise _invalid(text[:50], f"it is longer than {_LONGEST} characters")
    parser = _Parser(text, context)
    value = parser.expression(0)
    if parser.token is not None:
        raise parser.unexpected()
    return value


def as_series(value: Value, context: Context) -> list[Series]:
    """A value as what GetMetricData shows: a number is a series with it at every period."""
    if isinstance(value, list):
        return value
    return [value] if isinstance(value, dict) else [dict.fromkeys(context.times, value)]


class _Parser:
    def __init__(self, text: str, context: Context) -> None:
        self._text = text
        self._context = context
        self._at = 0
        self._depth = 0
        self.token: tuple[str, str] | None = None
        self._next()

    def unexpected(self) -> AwsError:
        found = f"unexpected {self.token[1]!r}" if self.token else "it ends too early"
        return _invalid(self._text, f"{found} (position {self._at})")

    def _next(self) -> None:
        if not self._text[self._at :].strip():
            self.token = None
            return
        match = _TOKEN.match(self._text, self._at)
        if match is None:
            self.token = ("", self._text[self._at :].strip()[0])
            raise self.unexpected()
        self._at = match.end()
        self.token = (str(match.lastgroup), match[match.lastgroup or 0])

    def _take(self, wanted: str) -> bool:
        if self.token is None or self.token[1] != wanted:
            return False
        self._next()
        return True

    def _expect(self, wanted: str) -> None:
        if not self._take(wanted):
            raise self.unexpected()

    def expression(self, binding: int) -> Value:
        """Precedence climbing: everything that binds tighter than `binding`."""
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise _invalid(self._text[:50], "it is nested too deeply")
        left = self._primary()
        while self.token is not None and self.token[1] in _BINARY and _BINARY[self.token[1]][0] > binding:
            precedence, apply = _BINARY[self.token[1]]
            self._next()
            left = self._pairwise(apply, left, self.expression(precedence))
        self._depth -= 1
        return left

    def _primary(self) -> Value:
        if self.token is None:
            raise self.unexpected()
        kind, text = self.token
        if kind == "number":
            self._next()
            return float(text)
        if self._take("-"):
            return self._pairwise(operator.mul, -1.0, self.expression(5))
        if self._take("("):
            value = self.expression(0)
            self._expect(")")
            return value
        if kind != "name":
            raise self.unexpected()
        self._next()
        if self._take("("):
            return self._call(text)
        if text not in self._context.series:
            raise _invalid(self._text, f"there is no metric or expression {text!r}")
        return self._context.series[text]

    def _call(self, name: str) -> Value:
        if name == "METRICS":
            wanted = self._text_argument() if self.token and self.token[0] == "text" else ""
            self._expect(")")
            return [
                series
                for id_ in self._context.metrics
                if wanted in id_ and isinstance(series := self._context.series[id_], dict)
            ]
        if name == "SEARCH":
            pattern = self._text_argument()
            self._expect(",")
            statistic = self._text_argument()
            period = int(self._number()) if self._take(",") else self._context.period
            self._expect(")")
            return [series for _, series in self._context.search(pattern, statistic, period)]
        arguments: list[Value] = []
        mode = ""
        if not self._take(")"):
            while True:
                if name == "FILL" and len(arguments) == 1 and self.token and self.token[1] in ("REPEAT", "LINEAR"):
                    mode = self.token[1]
                    self._next()
                else:
                    arguments.append(self.expression(0))
                if not self._take(","):
                    break
            self._expect(")")
        return self._apply(name, arguments, mode)

    def _apply(self, name: str, a: list[Value], mode: str) -> Value:
        match name, len(a):
            case (("SUM" | "AVG" | "MIN" | "MAX"), 1):
                return _aggregate(name, a[0])
            case (("ABS" | "CEIL" | "FLOOR"), 1):
                function: Any = {"ABS": abs, "CEIL": math.ceil, "FLOOR": math.floor}[name]
                return _each(lambda value: float(function(value)) if math.isfinite(value) else value, a[0])
            case "PERIOD", 1:
                return float(self._context.period)
            case "METRIC_COUNT", 1:
                return float(len(a[0])) if isinstance(a[0], list) else 1.0
            case "RATE", 1:
                return _map_series(_rate, a[0])
            case "FILL", 1 | 2 if (len(a) == 2) != bool(mode):
                filler = a[1] if len(a) == 2 else 0.0
                return _map_series(lambda series: self._filled(series, filler, mode), a[0])
            case "IF", 2 | 3:
                return self._chosen(a)
        raise _invalid(self._text, f"{name}() with {len(a)} arguments is not a function that the embedded lab supports")

    def _filled(self, series: Series, filler: Value, mode: str) -> Series:
        filled: Series = {}
        known = sorted(series)
        for time in self._context.times:
            if time in series:
                filled[time] = series[time]
                continue
            before = [t for t in known if t < time]
            after = [t for t in known if t > time]
            if mode == "REPEAT" and before:
                filled[time] = series[before[-1]]
            elif mode == "LINEAR" and before and after:
                low, high = before[-1], after[0]
                filled[time] = series[low] + (series[high] - series[low]) * (time - low) / (high - low)
            elif not mode:
                value = filler.get(time) if isinstance(filler, dict) else filler
                if isinstance(value, float):
                    filled[time] = value
        return filled

    def _chosen(self, a: list[Value]) -> Value:
        """IF(condition, then, else); without an else, only the periods where the condition holds."""
        condition, then, otherwise = a[0], a[1], a[2] if len(a) == 3 else {}
        if isinstance(condition, list) or isinstance(then, list) or isinstance(otherwise, list):
            raise _invalid(self._text, "IF() takes series and numbers, no arrays")
        if isinstance(condition, float):
            return then if condition else otherwise
        result: Series = {}
        for time, holds in condition.items():
            chosen = then if holds else otherwise
            value = chosen.get(time) if isinstance(chosen, dict) else chosen
            if value is not None:
                result[time] = value
        return result

    def _pairwise(self, apply: Callable[[float, float], float], left: Value, right: Value) -> Value:
        if isinstance(left, list) or isinstance(right, list):
            if isinstance(left, list) and isinstance(right, list):
                raise _invalid(self._text, "two arrays of time series can't be combined")
            if isinstance(left, list):
                return [s for item in left if isinstance(s := self._pairwise(apply, item, right), dict)]
            assert isinstance(right, list)
            return [s for item in right if isinstance(s := self._pairwise(apply, left, item), dict)]
        if isinstance(left, float) and isinstance(right, float):
            return apply(left, right)
        if isinstance(left, float):
            assert isinstance(right, dict)
            return _finite({time: apply(left, value) for time, value in right.items()})
        if isinstance(right, float):
            return _finite({time: apply(value, right) for time, value in left.items()})
        return _finite({time: apply(value, right[time]) for time, value in left.items() if time in right})

    def _text_argument(self) -> str:
        if self.token is None or self.token[0] != "text":
            raise self.unexpected()
        text = self.token[1][1:-1]
        self._next()
        return text

    def _number(self) -> float:
        if self.token is None or self.token[0] != "number":
            raise self.unexpected()
        number = float(self.token[1])
        self._next()
        return number


def _finite(series: Series) -> Series:
    """A series without the periods for which there is no number (a division by zero)."""
    return {time: value for time, value in series.items() if math.isfinite(value)}


def _aggregate(name: str, value: Value) -> Value:
    """One number of a series; of an array of series, one series."""
    if isinstance(value, float):
        return value
    together: Callable[[list[float]], float] = {
        "SUM": math.fsum,
        "AVG": lambda values: math.fsum(values) / len(values),
        "MIN": lambda values: min(values),
        "MAX": lambda values: max(values),
    }[name]
    if isinstance(value, dict):
        return together(list(value.values())) if value else math.nan
    by_time: dict[int, list[float]] = {}
    for series in value:
        for time, number in series.items():
            by_time.setdefault(time, []).append(number)
    return {time: together(numbers) for time, numbers in sorted(by_time.items())}


def _each(function: Callable[[float], float], value: Value) -> Value:
    if isinstance(value, float):
        return function(value)
    return _map_series(lambda series: {time: function(number) for time, number in series.items()}, value)


def _map_series(function: Callable[[Series], Series], value: Value) -> Value:
    if isinstance(value, list):
        return [function(series) for series in value]
    return function(value) if isinstance(value, dict) else value


def _rate(series: Series) -> Series:
    pairs = pairwise(sorted(series))
    return {after: (series[after] - series[before]) / (after - before) for before, after in pairs}


def _invalid(text: str, why: str) -> AwsError:
    return AwsError("ValidationError", f"Error in expression '{text}': {why}.")
