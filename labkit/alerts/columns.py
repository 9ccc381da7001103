"""Collects alerts page by page into columns: what repeats from alert to alert is decoded once.

Alerts differ in when they happened and in the text of their output. Everything else comes from a few nodes, containers,
programs and rules, so that an alert's JSON is mostly made of pieces that were seen before. `Columns` cuts Falco's line
at places that the order of its keys gives, and looks the pieces up. Only a piece that is new is decoded, and checked: a
line counts as cut only if its pieces are JSON and hold the keys that belong there. Every other line is decoded whole.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import chain
from operator import itemgetter
from typing import Any, TypeAlias

import numpy as np
import orjson
import pandas as pd
import pyarrow as pa

from labkit.alerts.parse import NotAlert, is_alert, parse

Event = Mapping[str, Any]

POOL = pa.system_memory_pool()  # gives memory back at once; Arrow's own keeps as much again
_NONE = -1  # no piece
IRREGULAR = -2  # a piece that is not what belongs there

_MOST_PIECES = 10_000  # texts of one kind that are remembered, some 4 MB; where alerts have more, few of them repeat
_PAGES_UNCUT = 16  # after a page with more new pieces than lines
_MOST_VALUES = 50_000  # of pieces with the same keys that are kept as Python objects

Column: TypeAlias = Any
"""Values of a field: an array of strings, int64, booleans, doubles or nulls, or a list of what fits none of them."""


class Numbers(dict[Any, int]):
    """Numbers values as they are looked up."""

    def __missing__(self, value: Any) -> int:
        self[value] = len(self)
        return self[value]


class Shape:
    """The pieces that have the same keys."""

    def __init__(self, width: int) -> None:
        self.numbers = array("i")
        self._values: list[Any] = []
        self._columns: list[list[Column]] = [[] for _ in range(width)]

    def add(self, number: int, values: Iterable[Any]) -> None:
        self.numbers.append(number)
        self._values.extend(values)
        if len(self._values) > _MOST_VALUES:
            self.pack()

    def pack(self) -> None:
        """Values become arrays, which need much less memory."""
        width = len(self._columns)
        for i, column in enumerate(self._columns):
            column.append(_column(self._values[i::width]))
        self._values.clear()

    def columns(self, i: int) -> list[Column]:
        """The values of the key at a position, in parts, in the order of `numbers`."""
        if self._values:
            self.pack()
        return self._columns[i]


class Fields:
    """Output fields of pieces, whose keys are from `first` on and before `last`."""

    def __init__(self, first: str = "", last: str = "\U0010ffff") -> None:
        self.count = 0
        self.places: dict[str, list[tuple[Shape, int]]] = {}  # for each key: the shapes that have it, and where
        self._first, self._last = first, last
        self._shapes: dict[tuple[str, ...], Shape] = {}

    def add(self, fields: Mapping[str, Any], *, any_keys: bool = False) -> int:
        """The number of a new piece; IRREGULAR if there is a key that doesn't belong here, unless any does."""
        names = tuple(fields)
        shape = self._shapes.get(names)
        if shape is None:
            if not any_keys and not all(self._first <= name < self._last for name in names):
                return IRREGULAR
            shape = self._shapes[names] = Shape(len(names))
            for i, name in enumerate(names):
                self.places.setdefault(name, []).append((shape, i))
        shape.add(self.count, fields.values())
        self.count += 1
        return self.count - 1


class Pieces(dict[str, int]):
    """Texts of pieces, `"key":value,...`, and their numbers. A new one is decoded by looking it up."""

    def __init__(self, first: str, last: str) -> None:
        super().__init__()
        self.fields = Fields(first, last)

    def __missing__(self, text: str) -> int:
        if len(self) >= _MOST_PIECES:
            self.clear()
        try:
            found = self._decoded(text)
        except ValueError:  # not JSON
            found = IRREGULAR
        self[text] = found
        return found

    def _decoded(self, text: str) -> int:
        return self.fields.add(orjson.loads(f"{{{text}}}"))


class Heads(Pieces):
    """`{"hostname":...`; the number is the host's."""

    def __init__(self) -> None:
        super().__init__("", "")
        self.hosts = Numbers()

    def _decoded(self, text: str) -> int:
        head = orjson.loads(f"{text}}}")
        if head.keys() != {"hostname"} or not isinstance(head["hostname"], str | None):
            return IRREGULAR
        return self.hosts[head["hostname"]]


class Tails(Pieces):
    """The last fields, without the first `"proc.`, and `},"priority":...,"rule":...,"source":...,"tags":[...]`."""

    def __init__(self, first: str) -> None:
        super().__init__(first, "\U0010ffff")
        self.rules = Numbers()  # priority, rule, source and tags
        self.rule_of = array("i")  # for each piece the number of its rule
        self._bare: dict[tuple[Any, ...], int] = {}

    def _decoded(self, text: str) -> int:
        tail = orjson.loads(f'{{"output_fields":{{"proc.{text}}}')
        if tuple(tail) != ("output_fields", "priority", "rule", "source", "tags") or not is_alert(tail):
            return IRREGULAR
        return self.add(tail, tail["output_fields"])

    def add(self, alert: Mapping[str, Any], fields: Mapping[str, Any]) -> int:
        """The number of a new piece, of an alert and its last fields."""
        number = self.fields.add(fields)
        if number != IRREGULAR:
            self.rule_of.append(self.rules[_rule(alert)])
        return number

    def without_fields(self, alert: Mapping[str, Any]) -> int:
        """The number of a piece that has no fields, the same for each alert of a rule."""
        rule = _rule(alert)
        number = self._bare.get(rule)
        if number is None:
            number = self._bare[rule] = self.add(alert, {})
        return number


def _rule(alert: Mapping[str, Any]) -> tuple[Any, ...]:
    tags = tuple(map(str, alert.get("tags") or ()))
    return alert.get("priority"), alert.get("rule"), alert.get("source"), tags


_ARRAYS = {str: pa.string(), int: pa.int64(), bool: pa.bool_(), float: pa.float64()}


def _column(values: list[Any]) -> Column:
    """Values as an array, if they are of one kind that has one. A missing value is null, or `<NA>`, in Falco's JSON."""
    kinds = set(map(type, values)) - {type(None)}
    if str in kinds and "<NA>" in values:
        values = [None if value == "<NA>" else value for value in values]
        kinds = set(map(type, values)) - {type(None)}
    if not kinds:
        return pa.nulls(len(values))
    if len(kinds) == 1 and (dtype := _ARRAYS.get(kinds.pop())):
        with suppress(OverflowError):
            return pa.array(values, dtype)
    return values


class Columns:
    """Collects alerts; `frame_of` makes a DataFrame of them."""

    def __init__(self) -> None:
        self.events = 0
        self.skipped: Counter[str] = Counter()
        # Falco orders keys by their bytes, so each kind of piece has the fields of a range. Lines that aren't cut have
        # all of their fields in `whole`.
        self.heads = Heads()
        self.before = Pieces("", _TIME)
        self.between = Pieces(_TIME + "\0", _PROC)
        self.tails = Tails(_PROC)
        self.whole = Fields()
        self.streams = Numbers()
        self._pages: list[Page] = []
        self._uncut = 0  # pages to come whose lines are decoded whole, since little repeats in them

    def add_page(self, events: Sequence[Event]) -> None:
        """Adds events of FilterLogEvents, or mappings with a `message`. Messages without an alert are counted."""
        pieces = (self.before, self.between, self.tails)
        known = sum(kind.fields.count for kind in pieces)
        page = self._rows_of(events, cut=not self._uncut) or self._rows_of(events, cut=False, trusted=False)
        assert page is not None  # JSON's own texts and numbers are what they should be
        new = sum(kind.fields.count for kind in pieces) - known
        self._uncut = max(self._uncut - 1, _PAGES_UNCUT if new > len(page) else 0)
        self.events += len(events)
        self.skipped += page.skipped
        if len(page):
            self._pages.append(page)

    def _rows_of(self, events: Sequence[Event], *, cut: bool, trusted: bool = True) -> Page | None:
        """The rows of a page; None if something that was cut out of a line, or is trusted to be usual, isn't.

        Lines that aren't cut are decoded whole.
        """
        page = Page()
        add_row, add_output, add_event = page.rows.append, page.outputs.append, page.events.append
        add_time, add_stamp = page.times.append, page.stamps.append
        heads, before, between, tails = self.heads, self.before, self.between, self.tails
        for event in events:
            message: str = event["message"]
            if not trusted:  # half of a surrogate pair is no text
                message = message.encode("utf-8", "replace").decode()
            # In JSON these can't be within a text, where a quote follows a backslash.
            head, _, rest = message.partition(',"output":"') if cut else ("", "", "")
            said, _, rest = rest.partition('","output_fields":{')
            first, _, rest = rest.partition(',"evt.time":')
            second, process, last = rest.partition(',"proc.')  # nothing is found in what is empty
            if process and last[-41:-32] == ',"time":"' and second[19:20] in _COMMA:
                row = heads[head], before[first], between[second[20:]], tails[last[:-41]], _NONE
                text = _decoded(said) if "\\" in said else said
                if IRREGULAR not in row and text is not None:
                    if text is not said:
                        page.decoded.add(len(page))
                    add_row(row)
                    add_output(text)
                    add_time(last[-32:])
                    add_stamp(second[:19])
                    add_event(event)
                    continue
            alert = parse(message)
            if isinstance(alert, NotAlert):
                page.skipped[alert.value] += 1
                continue
            values = alert.get("output_fields") or {}
            time, stamp = alert.get("time"), values.get(_TIME)
            page.decoded.add(len(page))
            if trusted and time and len(time) == 30 and type(stamp) is int and 10**18 <= stamp < 2**63:
                del values[_TIME]
                add_time(f'{time}"}}')
                add_stamp(str(stamp))
            else:
                page.unusual[len(page)] = (time, alert.get("rule"), stamp)
                add_time(_NO_TIME)
                add_stamp(_NO_STAMP)
            host = heads.hosts[alert.get("hostname")]
            add_row((host, _NONE, _NONE, tails.without_fields(alert), self.whole.add(values, any_keys=True)))
            add_output(alert.get("output"))
            add_event(event)
        return page if page.close(self.streams) else None

    def take_pages(self) -> list[Page]:
        """The pages collected, which are no longer kept here."""
        pages, self._pages = self._pages, []
        return pages


_TIME, _PROC = "evt.time", "proc."
_COMMA = ("", ",")  # after the time, unless it is the last field before those of the process
_NO_TIME, _NO_STAMP = '1970-01-01T00:00:00.000000000Z"}', "1" + "0" * 18


class Page:
    """The alerts of a page. After `close` its values are arrays."""

    def __init__(self) -> None:
        self.skipped: Counter[str] = Counter()
        # Alerts without a usual time, by row: `time`, `rule` and the field `evt.time`.
        self.unusual: dict[int, tuple[Any, Any, Any]] = {}
        self.rows: Any = []  # numbers of host and pieces: before, between, tail, whole; int32, n x 5
        self.outputs: Any = []
        self.times: Any = []  # ns since the epoch, int64
        self.stamps: Any = []  # `evt.time`, int64
        self.decoded: set[int] = set()  # rows whose output isn't the line's own text, so that it may have line breaks
        self.events: list[Event] = []
        self.count = 0

    def __len__(self) -> int:
        return self.count or len(self.rows)

    def close(self, streams: Numbers) -> bool:
        """Makes arrays of the values. False if a text or number that was cut out isn't what JSON allows there."""
        self.count = n = len(self.rows)
        try:
            texts = pa.array(self.outputs, pa.large_string(), memory_pool=POOL)
            times, stamps = ("".join(column).encode("ascii") for column in (self.times, self.stamps))
        except UnicodeEncodeError:
            return False
        moments, numbers = _moments(times, n), _whole_numbers(stamps, n)
        if moments is None or numbers is None:
            return False
        decoded = "".join(self.outputs[row] or "" for row in self.decoded).encode()
        if _not_in_json(texts.buffers()[2] or b"") != _not_in_json(decoded):  # there is one in a text that was cut
            return False
        self.outputs = texts
        self.times, self.stamps = moments, numbers
        self.rows = np.fromiter(chain.from_iterable(self.rows), "int32", 5 * n).reshape(n, 5)
        ids, names, logged, ingested = _deliveries(self.events) if n else ((),) * 4
        self.ids = pa.array(ids, pa.large_string(), memory_pool=POOL)
        self.streams = np.array([streams[name] for name in names], dtype="int32")
        self.logged, self.ingested = _nanoseconds(logged), _nanoseconds(ingested)
        self.events = []
        return True


_DELIVERY = ("eventId", "logStreamName", "timestamp", "ingestionTime")


def _deliveries(events: Sequence[Event]) -> Any:
    """Where and when CloudWatch Logs got the lines, as columns."""
    try:
        rows = map(itemgetter(*_DELIVERY), events)
        return tuple(zip(*rows, strict=True))
    except KeyError:
        return tuple([event.get(name) for event in events] for name in _DELIVERY)


def _not_in_json(text: Any) -> int:
    """How many characters of a text can't be in a JSON string as they are, backslashes aside."""
    found = np.frombuffer(text, dtype="uint8")
    return int(np.count_nonzero(found < 0x20) + np.count_nonzero(found == ord('"')))


def _decoded(text: str) -> str | None:
    """What is between the quotes of a JSON string; None if that isn't one."""
    try:
        found = orjson.loads(f'"{text}"')
    except ValueError:
        return None
    return found if isinstance(found, str) else None


_FORM = np.frombuffer(b'0000-00-00T00:00:00.000000000Z"}', dtype="uint8")
_DIGITS = np.flatnonzero(ord("0") == _FORM)
_MARKS = np.flatnonzero(ord("0") != _FORM)
_MONTHS = np.array([0, 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])


def _moments(texts: bytes, n: int) -> Any:
    """Ends of lines, `2026-11-23T04:15:07.123456789Z"}` each, as ns since the epoch; None if one is something else."""
    found = np.frombuffer(texts, dtype="uint8")
    if found.size != n * _FORM.size:
        return None
    found = np.ascontiguousarray(found.reshape(n, _FORM.size).T)
    digits = found[_DIGITS] - np.uint8(ord("0"))
    if (found[_MARKS] != _FORM[_MARKS, np.newaxis]).any() or (digits > 9).any():
        return None
    year, month, day = _number(digits[0:4]), _number(digits[4:6]), _number(digits[6:8])
    hour, minute, second = _number(digits[8:10]), _number(digits[10:12]), _number(digits[12:14])
    usual = (year >= 1678) & (year <= 2261) & (month >= 1) & (month <= 12) & (day >= 1)
    if not (usual & (hour < 24) & (minute < 60) & (second < 60)).all():
        return None
    leap = (year % 4 == 0) & ((year % 100 != 0) | (year % 400 == 0))
    if (day > _MONTHS[month] - ((month == 2) & ~leap)).any():
        return None
    months = ((year - 1970) * 12 + month - 1).astype("datetime64[M]")
    days = months.astype("datetime64[D]").astype("int64") + day - 1
    return ((days * 24 + hour) * 60 + minute) * 60_000_000_000 + second * 1_000_000_000 + _number(digits[14:23])


def _whole_numbers(texts: bytes, n: int) -> Any:
    """Whole numbers of 19 digits, one after the other (int64); None if one is something else, or too large."""
    found = np.frombuffer(texts, dtype="uint8") - np.uint8(ord("0"))
    if found.size != n * 19 or (found > 9).any():
        return None
    digits = np.ascontiguousarray(found.reshape(n, 19).T)
    large, small = _number(digits[:10]), _number(digits[10:])
    if (digits[0] == 0).any() or ((large > _LARGE) | ((large == _LARGE) & (small > _SMALL))).any():
        return None
    return large * 1_000_000_000 + small


_LARGE, _SMALL = divmod(2**63 - 1, 1_000_000_000)


def _number(digits: Any) -> Any:
    """Whole numbers (int64) of digits: a row for each place, the first one's first."""
    found = digits[0].astype("int64")
    for place in digits[1:]:
        found = found * 10 + place
    return found


def _nanoseconds(milliseconds: Sequence[Any]) -> Any:
    """Epoch milliseconds as ns (int64); `MISSING` where there are none, or ns can't hold them."""
    first, last = -(-FIRST // 1_000_000), LAST // 1_000_000
    try:
        found = np.array(milliseconds, dtype="int64")
    except (TypeError, OverflowError):
        found = np.array([last + 1 if v is None or not first <= v <= last else v for v in milliseconds], dtype="int64")
    held = (found >= first) & (found <= last)
    return np.where(held, np.where(held, found, 0) * 1_000_000, MISSING)


FIRST, LAST = pd.Timestamp.min.value, pd.Timestamp.max.value  # ns since the epoch that a column can hold
MISSING = np.iinfo(np.int64).min  # what numpy takes for: not a time
