"""Metric math: parses and evaluates expressions over time series."""

from __future__ import annotations

import datetime as dt
import math
import operator
import re
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import NamedTuple

from ekslab.aws.protocols import AwsError

Series = dict[int, float]  # start of the period -> value


class Labelled(NamedTuple):
    """A series of an array with its label."""

    label: str
    series: Series


Value = float | Series | list[Labelled]

_TOKEN = re.compile(
    r"\s*(?:(?P<number>\d+\.?\d*(?:[eE][+-]?\d+)?)|(?P<name>[A-Za-z_]\w*)|(?P<text>'[^']*'|\"[^\"]*\")"
    r"|(?P<operator>==|!=|<=|>=|&&|\|\||[-+*/^<>(),\[\]]))"
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
_ONE_NUMBER: dict[str, Callable[[Sequence[float]], float]] = {
    "SUM": math.fsum,
    "AVG": lambda values: math.fsum(values) / len(values),
    "MIN": min,
    "MAX": max,
    "STDDEV": statistics.pstdev,
    "DATAPOINT_COUNT": len,
}
_EACH: dict[str, Callable[[float], float]] = {
    "ABS": abs,
    "CEIL": lambda value: float(math.ceil(value)),
    "FLOOR": lambda value: float(math.floor(value)),
    "LOG": lambda value: math.log(value) if value > 0 else math.nan,
    "LOG10": lambda value: math.log10(value) if value > 0 else math.nan,
}
_OF_TIME: dict[str, Callable[[dt.datetime], float]] = {
    "MINUTE": lambda time: time.minute,
    "HOUR": lambda time: time.hour,
    "DAY": lambda time: time.isoweekday(),  # Monday is 1
    "DATE": lambda time: time.day,
    "MONTH": lambda time: time.month,
    "YEAR": lambda time: time.year,
    "EPOCH": lambda time: time.timestamp(),
}
_OF_SERIES: dict[str, Callable[[Series], Series]] = {
    "RATE": lambda s: {b: (s[b] - s[a]) / (b - a) for a, b in pairwise(sorted(s))},
    "DIFF": lambda s: {b: s[b] - s[a] for a, b in pairwise(sorted(s))},
    "DIFF_TIME": lambda s: {b: float(b - a) for a, b in pairwise(sorted(s))},
    "RUNNING_SUM": lambda s: dict(zip(sorted(s), accumulate(s[time] for time in sorted(s)), strict=True)),
}
_WORDS = {"FILL": ("REPEAT", "LINEAR"), "SORT": ("AVG", "MIN", "MAX", "SUM", "ASC", "DESC")}
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
    """What an expression refers to: values by id, the requested range (s) and the period (s)."""

    values: Mapping[str, Value]
    # Labels of the metrics (not of other expressions) by id, in the order of the request.
    metrics: Mapping[str, str]
    times: range
    search: Callable[[str, str, int], list[Labelled]]

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
        if self._take("["):
            return self._array()
        if kind != "name":
            raise self.unexpected()
        self._next()
        if self._take("("):
            return self._call(text)
        if text not in self._context.values:
            raise _invalid(self._text, f"there is no metric or expression {text!r}")
        return self._context.values[text]

    def _array(self) -> Value:
        """`[m1, m2, METRICS("x")]`: the series of all of them."""
        found: list[Labelled] = []
        while True:
            label = self.token[1] if self.token else ""
            value = self.expression(0)
            if isinstance(value, list):
                found += value
            elif isinstance(value, dict):
                found.append(Labelled(self._context.metrics.get(label, label), value))
            else:
                raise _invalid(self._text, "an array holds time series, no numbers")
            if not self._take(","):
                break
        self._expect("]")
        return found

    def _call(self, name: str) -> Value:
        if name == "METRICS":
            wanted = self._text_argument() if self.token and self.token[0] == "text" else ""
            self._expect(")")
            return [
                Labelled(label, series)
                for id_, label in self._context.metrics.items()
                if wanted in id_ and isinstance(series := self._context.values[id_], dict)
            ]
        if name == "SEARCH":
            pattern = self._text_argument()
            self._expect(",")
            statistic = self._text_argument()
            period = int(self._number()) if self._take(",") else self._context.period
            self._expect(")")
            return self._context.search(pattern, statistic, period)
        arguments: list[Value] = []
        words: list[str] = []
        if not self._take(")"):
            while True:
                if self.token and self.token[1] in _WORDS.get(name, ()) and not self._is_call():
                    words.append(self.token[1])
                    self._next()
                else:
                    arguments.append(self.expression(0))
                if not self._take(","):
                    break
            self._expect(")")
        return self._apply(name, arguments, words)

    def _is_call(self) -> bool:
        """Whether a parenthesis follows: `FILL(m1, MIN(m1))` calls MIN, `SORT(..., MIN, ASC)` only names it."""
        return self._text[self._at :].lstrip().startswith("(")

    def _apply(self, name: str, a: list[Value], words: list[str]) -> Value:
        first = a[0] if a else 0.0
        match name, len(a):
            case _, 1 if name in _ONE_NUMBER:
                return _aggregate(name, first)
            case _, 1 if name in _EACH:
                return _map_series(lambda series: _mapped(_EACH[name], series), first, _EACH[name])
            case _, 1 if name in _OF_SERIES and not isinstance(first, float):
                return _map_series(_OF_SERIES[name], first)
            case _, 1 if name in _OF_TIME and isinstance(first, dict):
                moments = {time: dt.datetime.fromtimestamp(time, dt.UTC) for time in self._context.times}
                return {time: float(_OF_TIME[name](moment)) for time, moment in moments.items()}
            case "PERIOD", 1:
                return float(self._context.period)
            case "METRIC_COUNT", 1:
                return float(len(first)) if isinstance(first, list) else 1.0
            case "TIME_SERIES", 1 if isinstance(first, float):
                return dict.fromkeys(self._context.times, first) if math.isfinite(first) else {}
            case "FILL", 1 | 2 if len(a) + len(words) == 2 and not isinstance(first, float):
                filler, mode = (a[1], "") if len(a) == 2 else (0.0, words[0])
                return _map_series(lambda series: self._filled(series, filler, mode), first)
            case "IF", 2 | 3:
                return self._chosen(a)
            case (("FIRST" | "LAST"), 1) if isinstance(first, list):
                return first[0 if name == "FIRST" else -1].series if first else {}
            case "REMOVE_EMPTY", 1 if isinstance(first, list):
                return [item for item in first if item.series]
            case "SLICE", 2 | 3 if isinstance(first, list) and all(isinstance(bound, float) for bound in a[1:]):
                start, *end = (int(bound) for bound in a[1:] if isinstance(bound, float))
                return first[max(start, 0) : max(end[0], 0) if end else None]
            case "SORT", 1 | 2 if isinstance(first, list) and len(words) == 2 and words[1] in ("ASC", "DESC"):
                return _sorted(first, words, a[1] if len(a) == 2 else None)
        given = len(a) + len(words)
        raise _invalid(
            self._text, f"{name}() with these {given} arguments is not a function that the embedded lab supports"
        )

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
                if isinstance(value, float) and math.isfinite(value):
                    filled[time] = value
        return filled

    def _chosen(self, a: list[Value]) -> Value:
        """IF(condition, then, else). A datapoint that `then` lacks is 0; one that `else` lacks is dropped."""
        condition, then, otherwise = a[0], a[1], a[2] if len(a) == 3 else {}
        if isinstance(condition, list) or isinstance(then, list) or isinstance(otherwise, list):
            raise _invalid(self._text, "IF() takes series and numbers, no arrays")
        if isinstance(condition, float):
            return then if condition else otherwise
        result: Series = {}
        for time, holds in condition.items():
            value: float | None
            if holds:
                value = then.get(time, 0.0) if isinstance(then, dict) else then
            else:
                value = otherwise.get(time) if isinstance(otherwise, dict) else otherwise
            if value is not None:
                result[time] = value
        return _finite(result)

    def _pairwise(self, apply: Callable[[float, float], float], left: Value, right: Value) -> Value:
        """An operator on numbers, series and arrays. A datapoint that only one of two series has is 0 in the other."""
        if isinstance(left, list) or isinstance(right, list):
            if isinstance(left, list) and isinstance(right, list):
                raise _invalid(self._text, "two arrays of time series can't be combined")
            array = left if isinstance(left, list) else right
            assert isinstance(array, list)
            results = []
            for label, series in array:
                one = self._pairwise(apply, series, right) if array is left else self._pairwise(apply, left, series)
                assert isinstance(one, dict)
                results.append(Labelled(label, one))
            return results
        if isinstance(left, float) and isinstance(right, float):
            return apply(left, right)
        if isinstance(left, float):
            assert isinstance(right, dict)
            return _finite({time: apply(left, value) for time, value in right.items()})
        if isinstance(right, float):
            return _finite({time: apply(value, right) for time, value in left.items()})
        times = sorted({*left, *right})
        return _finite({time: apply(left.get(time, 0.0), right.get(time, 0.0)) for time in times})

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
    """A series without infinite values and NaN (a division by zero)."""
    return {time: value for time, value in series.items() if math.isfinite(value)}


def _aggregate(name: str, value: Value) -> Value:
    """One number of a series; of an array of series, one series."""
    together = _ONE_NUMBER[name]
    if isinstance(value, float):
        return value
    if isinstance(value, dict):
        return float(together(list(value.values()))) if value else 0.0 if name == "DATAPOINT_COUNT" else math.nan
    by_time: dict[int, list[float]] = {}
    for _, series in value:
        for time, number in series.items():
            by_time.setdefault(time, []).append(number)
    if name == "AVG":  # a missing datapoint counts as 0
        return {time: math.fsum(numbers) / len(value) for time, numbers in sorted(by_time.items())}
    return {time: float(together(numbers)) for time, numbers in sorted(by_time.items())}


def _mapped(function: Callable[[float], float], series: Series) -> Series:
    return _finite({time: function(number) for time, number in series.items()})


def _map_series(
    function: Callable[[Series], Series], value: Value, of_number: Callable[[float], float] | None = None
) -> Value:
    if isinstance(value, list):
        return [Labelled(label, function(series)) for label, series in value]
    if isinstance(value, dict):
        return function(value)
    return of_number(value) if of_number is not None and math.isfinite(value) else value


def _sorted(array: list[Labelled], words: list[str], limit: Value | None) -> list[Labelled]:
    """An array by the average (or minimum...) of each series; those without data come last."""
    reduce = _ONE_NUMBER[words[0]]
    full = [item for item in array if item.series]
    full.sort(key=lambda item: reduce(list(item.series.values())), reverse=words[1] == "DESC")
    ordered = [*full, *(item for item in array if not item.series)]
    return ordered[: int(limit)] if isinstance(limit, float) else ordered


def _invalid(text: str, why: str) -> AwsError:
    return AwsError("ValidationError", f"Error in expression '{text}': {why}.")
