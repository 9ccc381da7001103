"""The aggregate functions of `stats`: each collects values, and has a result."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from ekslab.aws.insights.values import Expression, Millis, Row, Value, computed, number, order, text


@dataclass(frozen=True)
class Aggregate:
    """An aggregate of a query. `key` is the name of its result within a row, `rank` the percentage of `pct`."""

    key: str
    function: str
    argument: Expression | None
    """What it is applied to; None for `count(*)`."""
    rank: float | None = None

    def new(self) -> Collected:
        """What it has collected before the first row."""
        return AGGREGATES[self.function](self.rank)


class Collected(ABC):
    """What an aggregate has collected: `add` takes the value of a row, which isn't missing, `result` is its result."""

    def __init__(self, rank: float | None) -> None:
        self.rank = rank

    @abstractmethod
    def add(self, value: Value, row: Row) -> None: ...

    @abstractmethod
    def result(self) -> Value: ...


class _Count(Collected):
    count = 0

    def add(self, value: Value, row: Row) -> None:
        self.count += 1

    def result(self) -> Value:
        return self.count


class _CountDistinct(Collected):
    def __init__(self, rank: float | None) -> None:
        super().__init__(rank)
        self.values: set[str] = set()

    def add(self, value: Value, row: Row) -> None:
        self.values.add(text(value))

    def result(self) -> Value:
        return len(self.values)


class _Sum(Collected):
    count = 0
    sum: float = 0

    def add(self, value: Value, row: Row) -> None:
        found = number(value)
        if found is not None:
            self.count += 1
            self.sum += found

    def result(self) -> Value:
        return computed(self.sum) if self.count else None


class _Average(_Sum):
    def result(self) -> Value:
        return _quotient(self.sum, self.count)


class _Deviation(Collected):
    """The standard deviation, by Welford's method."""

    count = 0
    mean = 0.0
    squares = 0.0

    def add(self, value: Value, row: Row) -> None:
        found = number(value)
        if found is not None:
            self.count += 1
            difference = float(found) - self.mean
            self.mean += difference / self.count
            self.squares += difference * (float(found) - self.mean)

    def result(self) -> Value:
        return computed(math.sqrt(self.squares / self.count)) if self.count else None


class _Percentile(Collected):
    """The smallest value that so many per cent of the values don't exceed."""

    default: ClassVar[float] = 50

    def __init__(self, rank: float | None) -> None:
        super().__init__(rank)
        self.values: list[int | float] = []

    def add(self, value: Value, row: Row) -> None:
        found = number(value)
        if found is not None:
            self.values.append(found)

    def result(self) -> Value:
        if not self.values:
            return None
        rank = self.default if self.rank is None else self.rank
        at = max(math.ceil(rank / 100 * len(self.values)) - 1, 0)
        return computed(sorted(self.values)[at])


class _Best(Collected):
    """Keeps one value: the one that is better than all others."""

    key: Any = None
    value: Value = None

    def keep(self, key: Any, value: Value, better: bool) -> None:
        if self.key is None or better:
            self.key, self.value = key, value

    def result(self) -> Value:
        # Statistics show times as numbers.
        return int(self.value) if isinstance(self.value, Millis) else self.value


class _First(_Best):
    def add(self, value: Value, row: Row) -> None:
        key = order(value)
        self.keep(key, value, self.key is None or key < self.key)


class _Last(_Best):
    def add(self, value: Value, row: Row) -> None:
        key = order(value)
        self.keep(key, value, self.key is None or key > self.key)


class _Minimum(_First):
    def result(self) -> Value:
        found = number(super().result())
        return super().result() if found is None else found


class _Maximum(_Last):
    def result(self) -> Value:
        found = number(super().result())
        return super().result() if found is None else found


class _Earliest(_Best):
    def add(self, value: Value, row: Row) -> None:
        key = number(row["@timestamp"]) or 0
        self.keep(key, value, self.key is None or key <= self.key)  # rows come newest first


class _Latest(_Best):
    def add(self, value: Value, row: Row) -> None:
        key = number(row["@timestamp"]) or 0
        self.keep(key, value, self.key is None or key > self.key)


def _quotient(total: float, count: int) -> Value:
    if not count:
        return None
    if isinstance(total, int) and total % count == 0:
        return total // count
    try:
        return computed(total / count)
    except OverflowError:
        return None


AGGREGATES: dict[str, Callable[[float | None], Collected]] = {
    "count": _Count,
    "count_distinct": _CountDistinct,
    "sum": _Sum,
    "avg": _Average,
    "min": _Minimum,
    "max": _Maximum,
    "pct": _Percentile,
    "median": _Percentile,
    "stddev": _Deviation,
    "earliest": _Earliest,
    "latest": _Latest,
    "sortsfirst": _First,
    "sortslast": _Last,
}
