"""Parses and runs Logs Insights queries: fields, filter, stats, sort, limit, display.

Other commands and functions of the language are refused with their position.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from operator import itemgetter
from typing import Any

import orjson

from ekslab.aws import filter_patterns
from ekslab.aws.event_blocks import Event, Events, Position
from ekslab.aws.log_store import Stream

Value = str | int | float | None


class Row(dict[str, Value]):
    """The values of a row by name; those that it lacks are None."""

    def __missing__(self, name: str) -> Value:
        return None

    def lacks(self, needles: Sequence[str]) -> bool:
        """Whether none of the discovered fields can contain one of the needles."""
        return False

    def release(self) -> None:
        """Lets go of what can be found again: the row is kept for a while."""


Expression = Callable[[Row], Value]
Predicate = Callable[[Row], bool]

DEFAULT_LIMIT = 10_000
MAX_LIMIT = 100_000
_BIN_UNITS = {
    unit: width
    for width, units in (
        (1, "ms msec millisecond milliseconds"),
        (1000, "s sec secs second seconds"),
        (60_000, "m min mins minute minutes"),
        (3_600_000, "h hr hrs hour hours"),
        (86_400_000, "d day days"),
        (604_800_000, "w week weeks"),
    )
    for unit in units.split()
}
# Parts of the language that the lab lacks. The error names them, so that they aren't taken for typing errors.
_ELSEWHERE = {
    "parse", "dedup", "pattern", "diff", "unmask", "unnest", "anomaly", "filterindex", "source", "lookup",
    "join", "addtotals", "abs", "ceil", "floor", "greatest", "least", "log", "sqrt", "datefloor", "dateceil",
    "frommillis", "tomillis", "now", "isvalidip", "isvalidipv4", "isvalidipv6", "isipinsubnet",
    "isipv4insubnet", "isipv6insubnet", "isempty", "isblank", "concat", "ltrim", "rtrim", "trim", "strlen",
    "toupper", "tolower", "substr", "replace", "strcontains", "coalesce", "case", "if", "jsonparse",
    "jsonstringify", "pct", "median", "stddev", "earliest", "latest", "sortsfirst", "sortslast",
}  # fmt: skip
_AGGREGATES = ("count", "count_distinct", "sum", "avg", "min", "max")
_PREDICATES = ("ispresent",)


class MalformedQuery(ValueError):
    """An invalid query. `start` and `end` are offsets into its text, from 0."""

    def __init__(self, message: str, text: str, start: int, end: int, hint: str = "") -> None:
        line = text.count("\n", 0, start) + 1
        column = start - (text.rfind("\n", 0, start) + 1) + 1
        super().__init__(f"{message} at line {line} and position {column}{hint}")
        self.start = start
        self.end = end


class Millis(int):
    """A time in milliseconds since the epoch; results show it as a date."""


@dataclass(frozen=True)
class Source:
    """Where events come from: a stream, its group as `@log` shows it, and the stream's events in the query's range."""

    stream: Stream
    log: str
    events: Events


Record = tuple[Event, Source]


class EventRow(Row):
    """A log event's values, each found when it is asked for: a query over many events needs few of each.

    `json_fields` are the discovered fields that the query names; they are read together.
    """

    __slots__ = ("_event", "_json_fields", "source")

    def __init__(self, event: Event, source: Source, json_fields: Sequence[str] = ()) -> None:
        self._event: Event | Position = event
        self.source = source
        self._json_fields = json_fields

    def release(self) -> None:
        # The store has the event, compressed.
        position = self._event[:2]
        if self.source.events.is_packed(position):
            self._event = position

    def _whole(self) -> Event:
        return self._event if len(self._event) == 4 else self.source.events.find(self._event)

    def __missing__(self, name: str) -> Value:
        timestamp, number, ingestion, message = self._whole()
        if not name.startswith("@"):
            return self._read(message, name)
        match name:
            case "@message":
                return message
            case "@timestamp":
                return Millis(timestamp)
            case "@ingestionTime":
                return Millis(ingestion)
            case "@logStream":
                return self.source.stream.name
            case "@log":
                return self.source.log
            case "@ptr":
                return f"{self.source.stream.id:020x}{timestamp:012x}{number:08x}"
        return None

    def _read(self, message: str, name: str) -> Value:
        """Reads the discovered fields, all at once, and returns one of them."""
        if name not in self._json_fields:
            return None
        document = None
        if message.startswith("{") or message.lstrip().startswith("{"):
            try:
                document = orjson.loads(message)
            except orjson.JSONDecodeError:
                document = None
        for field_ in self._json_fields:
            self.setdefault(field_, discovered(document, field_))
        return self[name]

    def lacks(self, needles: Sequence[str]) -> bool:
        return filter_patterns.lacks(self._whole()[3], needles)


@dataclass(frozen=True)
class Token:
    kind: str
    text: str
    start: int
    end: int


_TOKENS = re.compile(
    r"""(?P<space>(?:\s|\#[^\n]*)+)
    |(?P<string>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')
    |(?P<quoted>`[^`]*`)
    |(?P<duration>\d+[ ]?(?:ms(?:ec)?|milliseconds?|s(?:ecs?|econds?)?|m(?:ins?|inutes?)?|h(?:rs?|ours?)?|d(?:ays?)?
        |w(?:eeks?)?)\b)
    |(?P<number>-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?(?![\w.]))
    |(?P<name>[@A-Za-z_][\w@.]*)
    |(?P<regex>/(?:\\.|[^/\\\n])+/)
    |(?P<symbol>=~|!=|<=|>=|[=<>|,()\[\]*])""",
    re.VERBOSE,
)


def _tokens(text: str) -> list[Token]:
    found = []
    at = 0
    while at < len(text):
        match = _TOKENS.match(text, at)
        if match is None:
            raise MalformedQuery(f"unexpected symbol found {text[at]}", text, at, at + 1)
        if match.lastgroup != "space":
            found.append(Token(str(match.lastgroup), match[0], at, match.end()))
        at = match.end()
    found.append(Token("end", "", len(text), len(text)))
    return found


# -- commands, each a stage of a pipeline --


class Stage:
    """A command of the pipeline: `push` takes one row, `finish` returns the rows that it held back."""

    def push(self, row: Row) -> Row | None:
        return row

    def finish(self) -> list[Row]:
        return []


@dataclass
class Filter(Stage):
    predicate: Predicate

    def push(self, row: Row) -> Row | None:
        return row if self.predicate(row) else None


@dataclass
class Alias(Stage):
    """`fields x as y`: adds a value to the row under another name."""

    names: Sequence[tuple[str, Expression]]

    def push(self, row: Row) -> Row | None:
        row.update({name: expression(row) for name, expression in self.names})
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
            self._rows.sort(key=lambda row: _order(row[name]), reverse=descending)
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


@dataclass(frozen=True)
class Aggregate:
    name: str
    function: str
    argument: Expression | None


@dataclass
class Stats(Stage):
    aggregates: Sequence[Aggregate]
    keys: Sequence[tuple[str, Expression]]
    _groups: dict[tuple[Value, ...], list[Any]] = field(default_factory=dict)

    def push(self, row: Row) -> Row | None:
        key = tuple([expression(row) for _, expression in self.keys])
        state = self._groups.get(key)
        if state is None:
            state = self._groups[key] = [
                set() if a.function == "count_distinct" else [0, None] for a in self.aggregates
            ]
        for index, aggregate in enumerate(self.aggregates):
            if aggregate.argument is None:
                state[index][0] += 1
                continue
            value = aggregate.argument(row)
            if value is None:
                continue
            if aggregate.function == "count_distinct":
                state[index].add(value)
                continue
            _accumulate(state[index], aggregate.function, value)
        return None

    def finish(self) -> list[Row]:
        if not self._groups and not self.keys:
            self._groups[()] = [set() if a.function == "count_distinct" else [0, None] for a in self.aggregates]
        rows = []
        for key, state in self._groups.items():
            row = Row(zip((name for name, _ in self.keys), key, strict=True))
            for aggregate, values in zip(self.aggregates, state, strict=True):
                row[aggregate.name] = _result(aggregate.function, values)
            rows.append(row)
        return rows


def _accumulate(state: list[Any], function: str, value: Value) -> None:
    """Adds a value to the aggregate `state` ([count, value so far])."""
    if function == "count":
        state[0] += 1
        return
    if function in ("sum", "avg"):
        number = _number(value)
        if number is not None:
            state[0] += 1
            state[1] = number if state[1] is None else state[1] + number
        return
    number = _number(value)
    candidate = value if number is None or isinstance(value, Millis) else number
    better = state[1] is None or (
        _order(candidate) < _order(state[1]) if function == "min" else _order(candidate) > _order(state[1])
    )
    if better:
        state[1] = candidate


def _result(function: str, state: Any) -> Value:
    if function == "count_distinct":
        return len(state)
    if function == "count":
        return int(state[0])
    if function == "avg":
        return state[1] / state[0] if state[0] else None
    value: Value = state[1]
    return value


# -- values --


def _number(value: Value) -> int | float | None:
    if isinstance(value, int | float):
        return value
    if isinstance(value, str):
        try:
            return int(value) if re.fullmatch(r"[+-]?\d+", value) else float(value)
        except ValueError:
            return None
    return None


def _order(value: Value) -> tuple[int, Any]:
    """The sort key of a value of any type: missing values first, numbers before text."""
    if value is None:
        return 0, 0
    number = _number(value)
    return (1, number) if number is not None else (2, value)


def _text(value: Value) -> str:
    """The text of a value in results."""
    if isinstance(value, str):
        return value
    if isinstance(value, Millis):
        return f"{_second(value // 1000)}.{value % 1000:03d}"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else repr(round(value, 10))
    return str(value)


@lru_cache(maxsize=4096)
def _second(seconds: int) -> str:
    return f"{dt.datetime.fromtimestamp(seconds, dt.UTC):%Y-%m-%d %H:%M:%S}"


def discovered(document: Any, path: str) -> Value:
    """The value of a discovered JSON field: nesting, array indices and dots within keys are all written as dots."""
    found = _descend(document, path)
    if isinstance(found, bool):
        return int(found)  # Insights shows truth values as 1 and 0
    return found if isinstance(found, str | int | float) else None


@lru_cache(maxsize=256)
def _splits(path: str) -> list[tuple[str, str | None]]:
    """A path as (key, path below it, None at its end), in every way that its dots allow."""
    parts = path.split(".")
    below = (".".join(parts[length:]) for length in range(1, len(parts)))
    return [(".".join(parts[:length]), rest) for length, rest in enumerate([*below, None], start=1)]


def _descend(value: Any, path: str | None) -> Any:
    if path is None:
        return value
    if isinstance(value, dict):
        for key, rest in _splits(path):
            if key in value:
                found = _descend(value[key], rest)
                if found is not None:
                    return found
    elif isinstance(value, list):
        index, rest = _splits(path)[0]
        if index.isdigit() and int(index) < len(value):
            return _descend(value[int(index)], rest)
    return None


def _compare(operator: str, left: Value, right: Value) -> bool:
    if left is None or right is None:
        return False
    a, b = _number(left), _number(right)
    if a is not None and b is not None:
        order = (a > b) - (a < b)
    else:
        x, y = str(left), str(right)
        order = (x > y) - (x < y)
    return {"=": order == 0, "!=": order != 0, "<": order < 0, "<=": order <= 0, ">": order > 0, ">=": order >= 0}[
        operator
    ]


# -- the parser --


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = _tokens(text)
        self._at = 0
        self.stages: list[Stage] = []
        self.needed: set[str] = set()
        self.shown: list[str] | None = None
        # Once there are statistics, only their own columns can be named.
        self.columns: set[str] | None = None
        self._elsewhere: set[str] = set()  # names of values that need not be in the message

    @property
    def _token(self) -> Token:
        return self._tokens[self._at]

    def _fail(self, token: Token | None = None, message: str = "") -> MalformedQuery:
        token = token or self._token
        shown = token.text or "the end of the query"
        hint = f": the embedded lab's queries have no {shown}" if token.text.lower() in _ELSEWHERE else ""
        return MalformedQuery(message or f"unexpected symbol found {shown}", self._text, token.start, token.end, hint)

    def _next(self) -> Token:
        token = self._token
        self._at += 1
        return token

    def _symbol(self, *symbols: str) -> Token | None:
        if self._token.kind == "symbol" and self._token.text in symbols:
            return self._next()
        return None

    def _expect(self, symbol: str) -> Token:
        token = self._symbol(symbol)
        if token is None:
            raise self._fail()
        return token

    def _keyword(self, *words: str) -> Token | None:
        if self._token.kind == "name" and self._token.text.lower() in words:
            return self._next()
        return None

    def parse(self) -> None:
        self._symbol("|")
        while self._token.kind != "end":
            command = self._token
            if self._keyword("fields"):
                self._fields()
            elif self._keyword("display"):
                self.shown = [name for name, _ in self._names()]
            elif self._keyword("filter"):
                self.stages.append(Filter(self._or()))
            elif self._keyword("stats"):
                self._stats()
            elif self._keyword("sort"):
                self.stages.append(Sort(self._sort_keys()))
            elif self._keyword("limit"):
                self.stages.append(Limit(self._count()))
            else:
                raise self._fail(command)
            if self._token.kind != "end":
                self._expect("|")
                if self._token.kind == "end":
                    raise self._fail()

    def _field(self) -> str:
        token = self._next()
        if token.kind == "quoted":
            name = token.text[1:-1]
        elif token.kind == "name" and not (self._token.kind == "symbol" and self._token.text == "("):
            name = token.text
        else:
            raise self._fail(token)
        if self.columns is not None and name not in self.columns:
            raise self._fail(token, f"Unknown symbols found in or after stats: {name}")
        self.needed.add(name)
        return name

    def _names(self) -> list[tuple[str, str]]:
        """(shown name, source field) of a list of fields."""
        names = []
        while True:
            source = self._field()
            alias = source
            if self._keyword("as"):
                alias = self._alias()
            names.append((alias, source))
            if not self._symbol(","):
                return names

    def _alias(self) -> str:
        token = self._next()
        if token.kind not in ("name", "quoted"):
            raise self._fail(token)
        return token.text.strip("`")

    def _fields(self) -> None:
        names = self._names()
        renamed = [(alias, _getter(source)) for alias, source in names if alias != source]
        if renamed:
            self.stages.append(Alias(renamed))
            self._elsewhere |= {alias for alias, _ in renamed}
            if self.columns is not None:
                self.columns |= {alias for alias, _ in renamed}
        self.shown = [*(self.shown or []), *(alias for alias, _ in names)]

    def _count(self) -> int:
        token = self._next()
        if token.kind != "number" or not token.text.isdigit() or not 1 <= int(token.text) <= MAX_LIMIT:
            raise self._fail(token)
        return int(token.text)

    def _sort_keys(self) -> list[tuple[str, bool]]:
        keys = []
        while True:
            name = self._column() or self._field()
            descending = self._keyword("desc") is not None
            if not descending:
                self._keyword("asc")
            keys.append((name, descending))
            if not self._symbol(","):
                return keys

    def _column(self) -> str | None:
        """A column of the statistics that is named by its expression, like `bin(5m)` or `count(*)`."""
        for column in self.columns or ():
            if "(" in column and self._text.startswith(column, self._token.start):
                end = self._token.start + len(column)
                while self._token.start < end:
                    self._next()
                return column
        return None

    # stats

    def _stats(self) -> None:
        if sum(isinstance(stage, Stats) for stage in self.stages) == 2:
            raise self._fail(message="no more than two stats commands are allowed")
        aggregates = [self._aggregate()]
        while self._symbol(","):
            aggregates.append(self._aggregate())
        keys = []
        if self._keyword("by"):
            keys.append(self._group_key())
            while self._symbol(","):
                keys.append(self._group_key())
        self.stages.append(Stats(aggregates, keys))
        self.columns = {a.name for a in aggregates} | {name for name, _ in keys}
        self.shown = [*(name for name, _ in keys), *(a.name for a in aggregates)]

    def _aggregate(self) -> Aggregate:
        start = self._token
        function = self._keyword(*_AGGREGATES)
        if function is None:
            raise self._fail()
        name = function.text.lower()
        self._expect("(")
        argument: Expression | None = None
        if name == "count" and (self._symbol("*") or (self._token.text == ")")):
            pass
        else:
            argument = _getter(self._field())
        end = self._expect(")")
        alias = self._alias() if self._keyword("as") else self._text[start.start : end.end]
        return Aggregate(alias, name, argument)

    def _group_key(self) -> tuple[str, Expression]:
        start = self._token
        following = self._tokens[self._at + 1] if self._at + 1 < len(self._tokens) else start
        if start.text.lower() == "bin" and following.text == "(":
            self._at += 2
            period = self._next()
            if period.kind != "duration" or not period.text.lstrip("0")[:1].isdigit():
                raise self._fail(period)
            end = self._expect(")")
            name, expression = self._text[start.start : end.end], _bin(period.text)
            self.needed.add("@timestamp")
        else:
            source = self._field()
            name, expression = source, _getter(source)
        if self._keyword("as"):
            name = self._alias()
        return name, expression

    # filter

    def _or(self) -> Predicate:
        parts = [self._and()]
        while self._keyword("or"):
            parts.append(self._and())
        return parts[0] if len(parts) == 1 else lambda row: any(part(row) for part in parts)

    def _and(self) -> Predicate:
        parts = [self._not()]
        while self._keyword("and"):
            parts.append(self._not())
        return parts[0] if len(parts) == 1 else lambda row: all(part(row) for part in parts)

    def _not(self) -> Predicate:
        if self._keyword("not"):
            inner = self._not()
            return lambda row: not inner(row)
        if self._symbol("("):
            predicate = self._or()
            self._expect(")")
            return predicate
        following = self._tokens[self._at + 1] if self._token.kind != "end" else self._token
        if self._token.text.lower() in _PREDICATES and following.text == "(":
            self._at += 2
            name = self._field()
            self._expect(")")
            return lambda row: row[name] is not None
        return self._comparison()

    def _operand(self) -> Expression:
        token = self._token
        if token.kind == "string":
            self._next()
            text = _unquote(token.text)
            return lambda row: text
        if token.kind == "number":
            self._next()
            number = _number(token.text)
            return lambda row: number
        return _getter(self._field())

    def _comparison(self) -> Predicate:
        at = self._token
        left = self._operand()
        operator = self._symbol("=", "!=", "<", "<=", ">", ">=")
        if operator:
            constant = self._token
            right, sign = self._operand(), operator.text
            if sign == "=" and constant.kind == "string" and at.kind == "name" and at.text not in self._elsewhere:
                needles = filter_patterns.needles_of(_unquote(constant.text)) if not at.text.startswith("@") else ()
                if needles:
                    return lambda row: not row.lacks(needles) and _compare(sign, left(row), right(row))
            return lambda row: _compare(sign, left(row), right(row))
        if self._symbol("=~"):
            return self._pattern(left)
        negated = self._keyword("not") is not None
        if self._keyword("like"):
            predicate = self._pattern(left)
        elif self._keyword("in"):
            predicate = self._membership(left)
        else:
            raise self._fail()
        return (lambda row: not predicate(row)) if negated else predicate

    def _pattern(self, left: Expression) -> Predicate:
        import re2

        token = self._next()
        if token.kind == "string":
            wanted = _unquote(token.text)
            return lambda row: (value := left(row)) is not None and wanted in _text(value)
        if token.kind != "regex":
            raise self._fail(token)
        try:
            compiled = re2.compile(token.text[1:-1].replace("\\/", "/"))
        except re2.error as error:
            raise self._fail(token, f"invalid regular expression {token.text}: {error}") from error
        return lambda row: (value := left(row)) is not None and compiled.search(_text(value)) is not None

    def _membership(self, left: Expression) -> Predicate:
        self._expect("[")
        options = [self._operand()]
        while self._symbol(","):
            options.append(self._operand())
        self._expect("]")
        return lambda row: any(_compare("=", left(row), option(row)) for option in options)


def _getter(name: str) -> Expression:
    return itemgetter(name)


def _bin(period: str) -> Expression:
    match = re.fullmatch(r"(\d+) ?([a-z]+)", period)
    assert match is not None
    width = int(match[1]) * _BIN_UNITS[match[2]]

    def floor(row: Row) -> Value:
        timestamp = row["@timestamp"]
        assert isinstance(timestamp, int)
        return Millis(timestamp - timestamp % width)

    return floor


def _unquote(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text[1:-1], flags=re.DOTALL)


# -- a query --


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
        filters = next((i for i, s in enumerate(self.stages) if not isinstance(s, Filter | Alias)), len(self.stages))
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
        following = next((stage for stage in self.stages if not isinstance(stage, Alias)), None)
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
            [{"field": name, "value": _text(value)} for name in columns if (value := row[name]) is not None]
            for row in self._rows[start:end]
        ]


def parse(text: str, *, limit: int | None = None) -> Query:
    """A query ready to run. `limit` is the number of rows when the query doesn't say. Raises MalformedQuery."""
    parser = _Parser(text)
    parser.parse()
    has_limit = any(isinstance(stage, Limit) for stage in parser.stages)
    most = MAX_LIMIT if has_limit else limit or DEFAULT_LIMIT
    asked: int | None = most
    for stage in reversed(parser.stages):
        match stage:
            case Limit(count):
                asked = count if asked is None else min(asked, count)
            case Sort():
                stage.limit = asked
            case Filter() | Stats():
                asked = None
    return Query(
        text,
        most,
        parser.stages,
        frozenset(parser.needed),
        parser.shown if parser.shown is not None else ["@timestamp", "@message"],
        parser.columns is not None,
    )


def statistics(query: Query) -> dict[str, float]:
    """The statistics in the response of GetQueryResults."""
    return {
        "recordsMatched": float(query.matched),
        "recordsScanned": float(query.scanned),
        "bytesScanned": float(query.bytes_scanned),
    }
