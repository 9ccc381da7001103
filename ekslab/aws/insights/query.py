"""A query of Logs Insights: takes log events, has rows and statistics."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from ekslab.aws.insights.parser import MAX_LIMIT, Parser
from ekslab.aws.insights.rows import EventRow, Record
from ekslab.aws.insights.stages import Filter, Limit, Sort, Stage, Tail
from ekslab.aws.insights.values import Row, text

DEFAULT_LIMIT = 10_000


@dataclass
class Query:
    """A parsed query. Takes events newest first; can be run once."""

    text: str
    limit: int
    stages: Sequence[Stage]
    needed: frozenset[str]
    shown: Sequence[str]
    aggregated: bool
    scanned: int = 0
    matched: int = 0
    bytes_scanned: int = 0
    _rows: list[Row] = field(default_factory=list)

    def push(self, records: Sequence[Record]) -> None:
        """Processes events; some thousands take about 10 ms."""
        json_fields = [name for name in self.needed if not name.startswith("@")]
        filters = next(
            (i for i, s in enumerate(self.stages) if not (s.one_to_one or isinstance(s, Filter))), len(self.stages)
        )
        first = self.stages[:filters]
        self.scanned += len(records)
        for event, source in records:
            row: Row | None = EventRow(event, source, json_fields)
            for stage in first:
                row = stage.push(row) if row is not None else None
            if row is not None:
                self.matched += 1
                self._push_through(row, filters)

    @property
    def is_full(self) -> bool:
        """Whether the events that follow would only be counted: all of them match, and none would be shown."""
        following = next((stage for stage in self.stages if not stage.one_to_one), None)
        if following is None:
            return len(self._rows) >= self.limit
        return isinstance(following, Limit) and following.full

    def count_all(self, events: int, size: int) -> None:
        """Sets the statistics at the end: there were so many events, with so many bytes."""
        if self.is_full:
            self.matched = events
        self.scanned = events
        self.bytes_scanned = size

    def _push_through(self, row: Row | None, start: int) -> None:
        for stage in self.stages[start:]:
            row = stage.push(row) if row is not None else None
        if row is not None and len(self._rows) < self.limit:
            row.release()
            self._rows.append(row)

    def finish(self) -> None:
        """Ends the query: there are no more events."""
        for index, stage in enumerate(self.stages):
            for row in stage.finish():
                self._push_through(row, index + 1)
        for events in {row.source.events for row in self._rows if isinstance(row, EventRow)}:
            events.forget_plain()

    @property
    def row_count(self) -> int:
        return len(self._rows)

    def rows(self, start: int, end: int) -> list[list[dict[str, str]]]:
        """Rows of the result as `[{"field": ..., "value": ...}]`; a row lacks the fields that have no value."""
        columns = list(dict.fromkeys([*self.shown] if self.aggregated else [*self.shown, "@ptr"]))
        return [
            [{"field": name, "value": text(value)} for name in columns if (value := row[name]) is not None]
            for row in self._rows[start:end]
        ]


def parse(query: str, *, limit: int | None = None, now: int | None = None) -> Query:
    """A query ready to run. `limit` is the call's: it ends the query as a command would; `now` (ms) is when it starts.

    Raises MalformedQuery.
    """
    parser = Parser(query, int(time.time() * 1000) if now is None else now)
    parser.parse()
    has_limit = any(isinstance(stage, Limit | Tail) for stage in parser.stages)
    most = limit or (MAX_LIMIT if has_limit else DEFAULT_LIMIT)
    asked: int | None = most
    for stage in reversed(parser.stages):
        match stage:
            case Limit(count):
                asked = count if asked is None else min(asked, count)
            case Sort():
                stage.limit = asked
            case _ if not stage.one_to_one:
                asked = None
    return Query(
        query,
        most,
        parser.stages,
        frozenset(parser.expressions.needed),
        parser.shown if parser.shown is not None else ["@timestamp", "@message"],
        parser.aggregated,
    )


def statistics(query: Query) -> dict[str, float]:
    """The statistics in the response of GetQueryResults."""
    return {
        "recordsMatched": float(query.matched),
        "recordsScanned": float(query.scanned),
        "bytesScanned": float(query.bytes_scanned),
    }
