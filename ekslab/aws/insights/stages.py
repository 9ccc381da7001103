"""The commands of a query as stages of a pipeline, which rows go through one by one."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from ekslab.aws.insights.aggregates import Aggregate, Collected
from ekslab.aws.insights.values import Expression, Row, Value, order, text, truth

_Collecting = tuple[Expression | None, Collected]  # what is collected, and what has been


class Stage:
    """A command of the pipeline: `push` takes one row, `finish` returns the rows that it held back."""

    one_to_one = False
    """Whether each row that is pushed comes out at once."""

    def push(self, row: Row) -> Row | None:
        return row

    def finish(self) -> list[Row]:
        return []


@dataclass
class Filter(Stage):
    condition: Expression

    def push(self, row: Row) -> Row | None:
        return row if truth(self.condition(row)) else None


@dataclass
class Fields(Stage):
    """`fields x as y`: adds values to the row under other names."""

    names: Sequence[tuple[str, Expression]]
    one_to_one = True

    def push(self, row: Row) -> Row | None:
        row.update([(name, expression(row)) for name, expression in self.names])
        return row


@dataclass
class Parse(Stage):
    """`parse`: adds what the groups of a pattern match. Rows that it doesn't match lack these values."""

    source: Expression
    pattern: Any
    names: Sequence[tuple[str, int]]
    """Names of values, with the pattern's groups."""
    one_to_one = True

    def push(self, row: Row) -> Row | None:
        value = self.source(row)
        found = self.pattern.search(text(value)) if value is not None else None
        row.update([(name, found[group] if found else None) for name, group in self.names])
        return row


@dataclass
class Sort(Stage):
    """`limit` is the number of rows that are asked of it, None for all."""

    keys: Sequence[tuple[str, bool]]
    limit: int | None = None
    _rows: list[Row] = field(default_factory=list)

    def push(self, row: Row) -> Row | None:
        row.update([(name, row[name]) for name, _ in self.keys])
        row.release()
        self._rows.append(row)
        if self.limit is not None and len(self._rows) > 2 * self.limit + 1000:
            self._rows = self.finish()
        return None

    def finish(self) -> list[Row]:
        for name, descending in reversed(self.keys):
            self._rows.sort(key=lambda row: order(row[name]), reverse=descending)
        return self._rows[: self.limit]


@dataclass
class Limit(Stage):
    count: int
    _seen: int = 0

    def push(self, row: Row) -> Row | None:
        self._seen += 1
        return row if self._seen <= self.count else None

    @property
    def full(self) -> bool:
        return self._seen >= self.count


@dataclass
class Tail(Stage):
    """The last rows, in the order in which they come."""

    count: int
    _rows: deque[Row] = field(default_factory=deque)

    def push(self, row: Row) -> Row | None:
        row.release()
        self._rows.append(row)
        if len(self._rows) > self.count:
            self._rows.popleft()
        return None

    def finish(self) -> list[Row]:
        return list(self._rows)


@dataclass
class Dedup(Stage):
    """The first row of each combination of values. A row that lacks one of them is no duplicate."""

    names: Sequence[str]
    _seen: set[tuple[str, ...]] = field(default_factory=set)

    def push(self, row: Row) -> Row | None:
        values = [row[name] for name in self.names]
        if any(value is None for value in values):
            return row
        key = tuple(map(text, values))
        if key in self._seen:
            return None
        self._seen.add(key)
        return row


@dataclass
class Stats(Stage):
    """Rows grouped by keys. `columns` are made of the row that has the keys and the aggregates' results."""

    aggregates: Sequence[Aggregate]
    columns: Sequence[tuple[str, Expression]]
    keys: Sequence[tuple[str, Expression]]
    _groups: dict[tuple[str | None, ...], tuple[list[Value], list[_Collecting]]] = field(default_factory=dict)

    def push(self, row: Row) -> Row | None:
        values = [expression(row) for _, expression in self.keys]
        # In a log 7 and "7" are the same.
        key = tuple([value if value is None or type(value) is str else text(value) for value in values])
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = (values, self._nothing())
        for argument, state in group[1]:
            if argument is None:
                state.add(None, row)
            elif (value := argument(row)) is not None:
                state.add(value, row)
        return None

    def _nothing(self) -> list[_Collecting]:
        return [(aggregate.argument, aggregate.new()) for aggregate in self.aggregates]

    def finish(self) -> list[Row]:
        if not self._groups and not self.keys:
            self._groups[()] = ([], self._nothing())
        return [self._row(values, collected) for values, collected in self._groups.values()]

    def _row(self, values: list[Value], collected: list[_Collecting]) -> Row:
        row = Row(zip((name for name, _ in self.keys), values, strict=True))
        results = Row(row)
        results.update(
            (aggregate.key, state.result()) for aggregate, (_, state) in zip(self.aggregates, collected, strict=True)
        )
        for name, expression in self.columns:
            row[name] = results[name] = expression(results)
        return row
