"""Collects alerts page by page into columns: what repeats from alert to alert is decoded once.

Alerts differ in when they happened and in the text of their output. Everything else comes from a few nodes, containers,
programs and rules, so that an alert's JSON is mostly made of pieces that were seen before. `Columns` cuts Falco's line
at places that the order of its keys gives, and looks the pieces up. Only a piece that is new is decoded, and checked: a
line counts as cut only if its pieces are JSON and hold the keys that belong there. Every other line is decoded whole.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain
from operator import itemgetter
from typing import Any

import numpy as np
import orjson
import pandas as pd
import pyarrow as pa

from labkit.alerts.parse import NotAlert, is_alert, parse

Event = Mapping[str, Any]

_NONE = -1  # no piece, no value
ABSENT = -2  # no such field
IRREGULAR = -2  # a piece that is not what belongs there

_MOST_PIECES = 50_000  # texts of one kind that are remembered, some 15 MB; alerts of which nothing repeats have more


class Values:
    """The distinct values of one output field: a number for each."""

    def __init__(self) -> None:
        self.values: list[Any] = []
        self._codes: dict[Any, int] = {}

    def find(self, value: str) -> int:
        """The number of a text; -1 if no alert has it."""
        return self._codes.get(value, _NONE)

    def code(self, value: Any) -> int:
        """The number of a value; -1 for a missing one, which Falco writes as null or as `<NA>`."""
        if value is None or value == "<NA>":
            return _NONE
        if isinstance(value, dict | list):
            value = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
        # 1, 1.0 and true are equal in Python.
        key = value if type(value) is str else (type(value), value)
        code = self._codes.get(key)
        if code is None:
            code = self._codes[key] = len(self.values)
            self.values.append(value)
        return code


class Numbers(dict[Any, int]):
    """Numbers values as they are looked up."""

    def __missing__(self, value: Any) -> int:
        self[value] = len(self)
        return self[value]


class Pieces(dict[str, int]):
    """The pieces of one kind: text of a piece -> its number. A new one is decoded by looking it up."""

    def __init__(self, fields: dict[str, Values], first: str = "", last: str = "") -> None:
        super().__init__()
        self.count = 0
        self._fields = fields
        self._first, self._last = first, last
        # For each set of keys: the numbers of the pieces that have it, and their values' codes, one after the other.
        self._shapes: dict[tuple[str, ...], tuple[array[int], array[int]]] = {}
        # For each key: where its code is in a piece of a shape.
        self._places: dict[str, list[tuple[tuple[str, ...], int]]] = {}

    def __missing__(self, text: str) -> int:
        if len(self) >= _MOST_PIECES:
            self.clear()
        found = self[text] = self._decoded(text)
        return found

    def _decoded(self, text: str) -> int:
        """A piece is `"key":value,...`, with keys from `first` on and before `last`."""
        try:
            fields = orjson.loads(f"{{{text}}}")
        except ValueError:
            return IRREGULAR
        return self.add(fields) if self.belong(fields) else IRREGULAR

    def belong(self, fields: Mapping[str, Any]) -> bool:
        return all(self._first <= name < self._last for name in fields)

    def add(self, fields: Mapping[str, Any]) -> int:
        """The number of a piece with these fields."""
        shape = self._shapes.get(names := tuple(fields))
        if shape is None:
            shape = self._shapes[names] = (array("i"), array("i"))
            for place, name in enumerate(names):
                self._places.setdefault(name, []).append((names, place))
        for name, value in fields.items():
            values = self._fields.get(name)
            if values is None:
                values = self._fields[name] = Values()
            shape[1].append(values.code(value))
        shape[0].append(self.count)
        self.count += 1
        return self.count - 1

    def codes(self, name: str) -> Any:
        """The code that each piece has for a field (int32; -1: no value, -2: no field); None if no piece has it."""
        if name not in self._places:
            return None
        found = np.full(self.count, ABSENT, dtype="int32")
        for names, place in self._places[name]:
            numbers, codes = (np.frombuffer(values, dtype="int32") for values in self._shapes[names])
            found[numbers] = codes[place :: len(names)]
        return found


class Heads(Pieces):
    """`{"hostname":...`"""

    def _decoded(self, text: str) -> int:
        try:
            head = orjson.loads(f"{text}}}")
        except ValueError:
            return IRREGULAR
        return self.add(head) if _is_head(head) else IRREGULAR


def _is_head(value: Any) -> bool:
    return value.keys() == {"hostname"} and isinstance(value["hostname"], str | None)


class Tails(Pieces):
    """The last fields, `"proc...":...},`, and what follows: `"priority":...,"rule":...,"source":...,"tags":[...]`."""

    def __init__(self, top: dict[str, Values], fields: dict[str, Values], first: str) -> None:
        super().__init__(top)
        self.fields = Pieces(fields, first, "\U0010ffff")

    def _decoded(self, text: str) -> int:
        try:
            tail = orjson.loads(f'{{"output_fields":{{{text}}}')
        except ValueError:
            return IRREGULAR
        if tuple(tail) != ("output_fields", "priority", "rule", "source", "tags") or not is_alert(tail):
            return IRREGULAR
        fields = tail.pop("output_fields")
        if not self.fields.belong(fields):
            return IRREGULAR
        self.fields.add(fields)  # gets the same number
        return self.add({**tail, "tags": tags(tail["tags"])})

    def add_without_fields(self, values: Mapping[str, Any]) -> int:
        self.fields.add({})
        return self.add(values)


def tags(values: Sequence[Any] | None) -> tuple[str, ...]:
    return tuple(map(str, values or ()))


class Columns:
    """Collects alerts, all of them or those of one `rule`; `frame()` makes the DataFrame."""

    def __init__(self, rule: str | None = None) -> None:
        self.rule = rule
        self.events = 0
        self.skipped: Counter[str] = Counter()
        self.fields: dict[str, Values] = {}
        self.top = {name: Values() for name in ("rule", "priority", "source", "hostname", "tags")}
        # Falco orders keys by their bytes, so each kind of piece has the fields of a range. Lines that aren't cut have
        # all of their fields in `whole`.
        self.heads = Heads(self.top)
        self.before = Pieces(self.fields, "", _TIME)
        self.between = Pieces(self.fields, _TIME + "\0", _PROC)
        self.tails = Tails(self.top, self.fields, _PROC)
        self.whole = Pieces(self.fields)
        self.streams = Numbers()
        self._pages: list[Page] = []
        self._rows = 0
        # Alerts without a usual time, by row: `time`, `rule` and the field `evt.time`.
        self.unusual: dict[int, tuple[Any, Any, Any]] = {}

    def __len__(self) -> int:
        return self._rows

    def add_page(self, events: Sequence[Event]) -> None:
        """Adds events of FilterLogEvents, or mappings with a `message`. Messages without an alert are counted."""
        page = self._cut(events) or self._cut(events, whole=True)
        assert page is not None  # lines that are decoded whole are checked by it
        self.events += len(events)
        self.skipped += page.skipped
        self.unusual.update(page.unusual)
        self._rows += len(page)
        if len(page):
            self._pages.append(page)

    def _cut(self, events: Sequence[Event], whole: bool = False) -> Page | None:
        """The rows of a page; None if one of the lines that were cut is not JSON after all."""
        page = Page(self._rows)
        add_row, add_output, add_event = page.rows.append, page.outputs.append, page.events.append
        add_time, add_stamp = page.times.append, page.stamps.append
        heads, before, between, tails, rest = self.heads, self.before, self.between, self.tails, self.whole
        for event in events:
            message: str = event["message"]
            if whole:  # half of a surrogate pair is no text
                message = message.encode("utf-8", "replace").decode()
            # In JSON these can't be within a text, where a quote follows a backslash.
            output = message.find(',"output":"')
            fields = message.find('","output_fields":{', output)
            moment = message.find(',"evt.time":', fields)
            process = message.find(',"proc.', moment)
            if 0 < output < fields < moment < process and message[-41:-32] == ',"time":"' and not whole:
                row = (
                    heads[message[:output]],
                    before[message[fields + 19 : moment]],
                    between[message[moment + 32 : process]],
                    tails[message[process + 1 : -41]],
                    _NONE,
                )
                cut = message[output + 11 : fields]
                text = _decoded(cut) if "\\" in cut else cut
                if text != cut:
                    page.decoded.add(len(page))
                if IRREGULAR not in row and text is not None and message[moment + 31] == ",":
                    add_row(row)
                    add_output(text)
                    add_time(message[-32:])
                    add_stamp(message[moment + 12 : moment + 31])
                    add_event(event)
                    continue
            alert = parse(message)
            if isinstance(alert, NotAlert):
                page.skipped[alert.value] += 1
                continue
            values = alert.get("output_fields") or {}
            page.decoded.add(len(page))
            page.unusual[page.first + len(page)] = (alert.get("time"), alert.get("rule"), values.get(_TIME))
            head = {"hostname": alert.get("hostname")}
            tail = {name: alert.get(name) for name in ("priority", "rule", "source")}
            tail["tags"] = tags(alert.get("tags"))
            add_row((heads.add(head), _NONE, _NONE, tails.add_without_fields(tail), rest.add(values)))
            add_output(alert.get("output"))
            add_time(_NO_TIME)
            add_stamp(_NO_STAMP)
            add_event(event)
        return page if page.close(self.streams) else None

    def take_pages(self) -> list[Page]:
        """The pages collected, which are no longer kept here."""
        pages, self._pages = self._pages, []
        return pages


_TIME, _PROC = "evt.time", "proc."
_NO_TIME, _NO_STAMP = '1970-01-01T00:00:00.000000000Z"}', "1" + "0" * 18


class Page:
    """The alerts of a page. After `close` its values are arrays."""

    def __init__(self, first: int) -> None:
        self.first = first
        self.skipped: Counter[str] = Counter()
        self.unusual: dict[int, tuple[Any, Any, Any]] = {}
        self.rows: Any = []  # numbers of pieces: head, before, between, tail, whole; int32, n x 5
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
            texts = pa.array(self.outputs, pa.large_string())
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
        self.ids = pa.array(ids, pa.large_string())
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
    found = found.reshape(n, _FORM.size)
    digits = found[:, _DIGITS] - np.uint8(ord("0"))
    if (found[:, _MARKS] != _FORM[_MARKS]).any() or (digits > 9).any():
        return None

    def number(start: int, end: int) -> Any:
        return digits[:, start:end].astype("int64") @ 10 ** np.arange(end - start - 1, -1, -1)

    year, month, day = number(0, 4), number(4, 6), number(6, 8)
    hour, minute, second = number(8, 10), number(10, 12), number(12, 14)
    usual = (year >= 1678) & (year <= 2261) & (month >= 1) & (month <= 12) & (day >= 1)
    if not (usual & (hour < 24) & (minute < 60) & (second < 60)).all():
        return None
    leap = (year % 4 == 0) & ((year % 100 != 0) | (year % 400 == 0))
    if (day > _MONTHS[month] - ((month == 2) & ~leap)).any():
        return None
    months = ((year - 1970) * 12 + month - 1).astype("datetime64[M]")
    days = months.astype("datetime64[D]").astype("int64") + day - 1
    return ((days * 24 + hour) * 60 + minute) * 60_000_000_000 + second * 1_000_000_000 + number(14, 23)


def _whole_numbers(texts: bytes, n: int) -> Any:
    """Whole numbers of 19 digits, one after the other (int64); None if one is something else, or too large."""
    found = np.frombuffer(texts, dtype="uint8") - np.uint8(ord("0"))
    if found.size != n * 19 or (found > 9).any():
        return None
    digits = found.reshape(n, 19).astype("uint64")
    numbers = digits @ np.array([10**i for i in range(18, -1, -1)], dtype="uint64")
    return None if (digits[:, 0] == 0).any() or (numbers >= 2**63).any() else numbers.astype("int64")


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
