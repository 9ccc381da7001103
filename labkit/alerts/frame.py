"""Builds a typed DataFrame from log events: one row per Falco alert."""

from __future__ import annotations

import gc
import html
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from itertools import islice
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from labkit.alerts.columns import ABSENT, FIRST, LAST, MISSING, Columns, Pieces, Values
from labkit.alerts.parse import PRIORITIES
from labkit.alerts.tags import TagsArray
from labkit.calls import checked, short_repr
from labkit.errors import LabError

PRIORITY = pd.CategoricalDtype(list(PRIORITIES), ordered=True)

# Columns that every frame has, in this order, before the output fields ...
ALERT = ("time", "rule", "priority", "source", "hostname", "output", "tags")
# ... and after them: where and when CloudWatch Logs got the line (its own names).
DELIVERY = ("eventId", "logStreamName", "timestamp", "ingestionTime")

# Output fields that every frame has even when no alert does, so that code which names them works on an empty group.
FIELDS = {
    "evt.type": "category",
    "proc.name": "category",
    "proc.cmdline": "category",
    "proc.exepath": "category",
    "proc.pname": "category",
    "proc.tty": "Int64",
    "user.name": "category",
    "user.uid": "Int64",
    "user.loginuid": "Int64",
    "fd.name": "category",
    "container.id": "category",
    "container.name": "category",
    "container.image.repository": "category",
    "container.image.tag": "category",
    "k8s.ns.name": "category",
    "k8s.pod.name": "category",
}

_ISO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:?\d\d)", re.ASCII)
_DAY = 86_400_000_000_000  # ns
_PAGE = 1_000  # events that `to_frame` adds at a time


def frame_of(columns: Columns) -> pd.DataFrame:
    """The frame that `labkit.alerts.read` describes, ordered by `time`, of the alerts collected; takes them away."""
    pages = columns.take_pages()

    def joined(name: str) -> Any:
        return np.concatenate([np.empty(0, dtype="int64"), *(getattr(page, name) for page in pages)])

    rows = np.concatenate([np.empty((0, 5), dtype="int32"), *(page.rows for page in pages)])
    times, logged, stamps, ingested, streams = map(joined, ("times", "logged", "stamps", "ingested", "streams"))
    usual = np.ones(len(times), dtype=bool)
    for row, (time, rule, happened) in columns.unusual.items():
        moment = _moment(time, rule, happened, int(logged[row]))
        times[row] = moment if FIRST <= moment <= LAST else MISSING
        usual[row] = False
    order = np.argsort(times.view("datetime64[ns]"), kind="stable")  # a missing time comes last
    if columns.rule is not None:
        rules = _Field.of(columns.top["rule"], "rule", [_Slot(columns.tails, rows[:, 3])])
        order = order[rules.rows(np.arange(len(rules.values) + 1))[order] == columns.top["rule"].find(columns.rule)]
    if moved := not np.array_equal(order, np.arange(len(times))):
        rows, times, logged, stamps = rows[order], times[order], logged[order], stamps[order]
        ingested, streams, usual = ingested[order], streams[order], usual[order]
    outputs, ids = (
        _texts([getattr(page, name) for page in pages], order if moved else None) for name in ("outputs", "ids")
    )
    pages.clear()

    heads, before, between, tails, whole = (np.ascontiguousarray(numbers) for numbers in rows.T)
    top = [_Slot(columns.heads, heads), _Slot(columns.tails, tails)]
    slots = [
        _Slot(columns.before, before),
        _Slot(columns.between, between),
        _Slot(columns.tails.fields, tails),
        _Slot(columns.whole, whole),
    ]
    rule, priority, source, hostname, tags = (
        _Field.of(columns.top[name], name, top) for name in ("rule", "priority", "source", "hostname", "tags")
    )
    fields = {name: _Field.of(values, name, slots) for name, values in columns.fields.items()}
    data: dict[str, Any] = {
        "time": _utc(times),
        "rule": rule.category(),
        "priority": priority.priority(),
        "source": source.category(),
        "hostname": hostname.category(),
        "output": outputs,
        "tags": tags.tags(),
        **_field_columns(fields, stamps, usual),
        "eventId": ids,
        "logStreamName": _streams(list(columns.streams), streams),
        "timestamp": _utc(logged),
        "ingestionTime": _utc(ingested),
    }
    df = pd.DataFrame(data, copy=False)
    untimed = int((times == MISSING).sum())
    df.attrs = {"events": columns.events, "alerts": len(df), "skipped": dict(columns.skipped), "untimed": untimed}
    return df


class Found(pd.DataFrame):
    """A frame that, when displayed empty, says why it is empty. Its rows and columns are plain frames."""

    def __init__(self, df: pd.DataFrame, none: str) -> None:
        super().__init__(df, copy=False)  # type: ignore[call-arg]
        self.attrs = {**df.attrs, "none": none}

    @property
    def _constructor(self) -> type[pd.DataFrame]:
        return pd.DataFrame

    def __repr__(self) -> str:
        return str(self.attrs["none"]) if self.empty else super().__repr__()

    def _repr_html_(self) -> str | None:
        if not self.empty:
            return super()._repr_html_()  # type: ignore[misc,no-any-return]
        return f"<p>{html.escape(str(self.attrs['none']))}</p>"


@checked
def to_frame(events: Iterable[Mapping[str, Any] | str]) -> pd.DataFrame:
    """The frame of `labkit.alerts.read` for events that you have: dicts of FilterLogEvents, or messages.

    Raises `LabError` for anything else.
    """
    if isinstance(events, str | Mapping):
        raise _no_event(events)
    columns = Columns()
    with unhurried_gc():
        found = map(_event, events)
        while page := list(islice(found, _PAGE)):
            columns.add_page(page)
        return frame_of(columns)


def _event(value: Mapping[str, Any] | str) -> Mapping[str, Any]:
    if isinstance(value, str):
        return {"message": value}
    if not isinstance(value, Mapping) or not isinstance(value.get("message"), str):
        raise _no_event(value)
    return value


def _no_event(value: object) -> LabError:
    hint = "Give a list of messages, or of events as FilterLogEvents has them; of a file its lines."
    return LabError(f"{short_repr(value)} is no log event.", hint=hint)


@contextmanager
def unhurried_gc() -> Iterator[None]:
    """Pauses the garbage collector, which would walk millions of new values without cycles again and again."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class _Slot:
    """Pieces of one kind, and for each row the number of its piece; -1: it has none."""

    def __init__(self, pieces: Pieces, numbers: Any) -> None:
        self.pieces, self.numbers = pieces, numbers
        self.used = np.flatnonzero(np.bincount(numbers + 1, minlength=1)[1:])


class _Field:
    """The values of a field in all rows: `codes`, of pieces, say which value of `distinct` it is."""

    def __init__(self, distinct: Sequence[Any], found: Sequence[tuple[Any, _Slot]], rows: int) -> None:
        self.values = distinct
        self._rows = rows
        self._found = [(np.append(codes, np.int32(ABSENT)), slot.numbers) for codes, slot in found]
        used = np.concatenate([np.empty(0, dtype="int32"), *(codes[slot.used] for codes, slot in found)])
        self.used = [code for code in np.unique(used).tolist() if code >= 0]

    @classmethod
    def of(cls, distinct: Values, name: str, slots: Sequence[_Slot]) -> _Field:
        codes = [(slot.pieces.codes(name), slot) for slot in slots]
        found = [(c, slot) for c, slot in codes if c is not None and (c[slot.used] > ABSENT).any()]
        return cls(distinct.values, found, len(slots[0].numbers))

    def __bool__(self) -> bool:
        """Whether a row has the field; a piece may be of a line that was cut and then found to be no alert."""
        return bool(self._found)

    @property
    def kinds(self) -> set[type]:
        return {type(self.values[code]) for code in self.used}

    def rows(self, table: Any) -> Any:
        """For each row what a table has for the code of its value; the last entry is for rows without a value."""
        if not self._found:
            return np.repeat(table[-1:], self._rows)
        (codes, numbers), *more = self._found
        found = table[np.maximum(codes, -1)][numbers]
        for codes, numbers in more:
            found = np.where((codes > ABSENT)[numbers], table[np.maximum(codes, -1)][numbers], found)
        return found

    def column(self) -> Any:
        """A column in the dtype of the values: Int64, boolean, Float64, else category."""
        kinds = self.kinds
        if kinds == {int}:
            numbers = [self.values[code] for code in self.used]
            low, high = min(numbers), max(numbers)
            if high < 2**63 or low >= 0:
                return self._nullable("int64" if high < 2**63 else "uint64", pd.arrays.IntegerArray)
        elif kinds == {bool}:
            return self._nullable("bool", pd.arrays.BooleanArray)
        elif kinds and kinds <= {int, float}:
            return self._nullable("float64", pd.arrays.FloatingArray)
        return self.category()

    def _nullable(self, dtype: str, kind: Any) -> Any:
        data, missing = np.zeros(len(self.values) + 1, dtype=dtype), np.ones(len(self.values) + 1, dtype=bool)
        data[self.used] = [self.values[code] for code in self.used]
        missing[self.used] = False
        return kind(self.rows(data), self.rows(missing))

    def category(self) -> pd.Categorical:
        """Texts as categories, in their order; values that are the same text are one."""
        texts = {code: value if isinstance(value := self.values[code], str) else str(value) for code in self.used}
        known = sorted(set(texts.values()))
        place = {text: i for i, text in enumerate(known)}
        places = np.full(len(self.values) + 1, -1, dtype=np.result_type("int8", np.min_scalar_type(-len(known) - 1)))
        places[self.used] = [place[text] for text in texts.values()]
        return pd.Categorical.from_codes(self.rows(places), dtype=categories(known), validate=False)

    def priority(self) -> pd.Categorical:
        place = {name.lower(): i for i, name in enumerate(PRIORITIES)} | {"info": PRIORITIES.index("Informational")}
        places = [place.get(str(value).lower(), -1) for value in self.values]
        return pd.Categorical.from_codes(self.rows(np.array([*places, -1], dtype="int8")), dtype=PRIORITY)

    def tags(self) -> TagsArray:
        codes = np.arange(len(self.values) + 1).astype(np.min_scalar_type(len(self.values)))
        return TagsArray(self.rows(codes), [*self.values, ()])


def _field_columns(fields: Mapping[str, _Field], stamps: Any, usual: Any) -> dict[str, Any]:
    """Output fields as columns: first those that every frame has, then the others by name.

    `stamps` is the field `evt.time` of rows that are `usual`.
    """
    n = len(usual)
    nothing = pd.Categorical.from_codes(np.full(n, -1, dtype="int8"), dtype=categories([]))
    no_number = pd.arrays.IntegerArray(np.zeros(n, dtype="int64"), np.ones(n, dtype=bool))
    first = {name: nothing if kind == "category" else no_number.copy() for name, kind in FIELDS.items()}
    by_name = {name: field for name, field in fields.items() if field}
    found = {name: field.column() for name, field in by_name.items() if name not in FIELDS or field.used}
    if usual.any():
        found["evt.time"] = _stamped(by_name.get("evt.time"), stamps, usual)
    # Falco lets one add fields of any name (`append_output.extra_fields`).
    taken = {*ALERT, *DELIVERY}
    named = {f"output_fields.{name}" if name in taken else name: column for name, column in found.items()}
    return first | {name: named[name] for name in sorted(named)}


def _stamped(other: _Field | None, stamps: Any, usual: Any) -> Any:
    """The column `evt.time`: `stamps` in usual rows, and in the rest what they have in the field."""
    if other is None:
        return pd.arrays.IntegerArray(np.where(usual, stamps, 0), ~usual)
    column = other.column()
    if column.dtype == "Int64":
        data = np.where(usual, stamps, column.to_numpy(dtype="int64", na_value=0))
        return pd.arrays.IntegerArray(data, ~usual & column.isna())
    # Something else than a whole number, once: each row's value is one of its own.
    every = _Slot(Pieces({}), np.arange(len(usual)))
    table = np.append(len(usual) + np.arange(len(other.values)), -1)
    codes = np.where(usual, np.arange(len(usual)), other.rows(table)).astype("int32")
    return _Field([*stamps.tolist(), *other.values], [(codes, every)], len(usual)).column()


def _streams(names: Sequence[str | None], numbers: Any) -> pd.Categorical:
    known = sorted(name for name in names if name is not None)
    places = np.array([-1 if name is None else known.index(name) for name in names], dtype="int32")
    return pd.Categorical.from_codes(places[numbers] if len(names) else numbers, dtype=categories(known))


def categories(texts: Iterable[str]) -> pd.CategoricalDtype:
    """The dtype of a column with these texts. Without any it has what Falco writes then, or Parquet would lose it."""
    known = tuple(texts) or ("<NA>",)
    return _categories(known) if len(known) < 50 else _categories.__wrapped__(known)


@lru_cache(1_000)  # making one takes longer than all else that is done for a column of a few alerts
def _categories(texts: tuple[str, ...]) -> pd.CategoricalDtype:
    return pd.CategoricalDtype(pd.Index(texts, dtype="str"))


def _texts(chunks: Sequence[pa.Array], order: Any) -> Any:
    """Texts in an order of rows, or as they are for None."""
    texts = pa.concat_arrays([pa.array([], pa.large_string()), *chunks])
    dtype: Any = pd.StringDtype("pyarrow")
    return dtype.__from_arrow__(texts if order is None else texts.take(pa.array(order)))


def _utc(nanoseconds: Any) -> Any:
    return pd.DatetimeIndex(nanoseconds.view("datetime64[ns]")).tz_localize("UTC").array


def _moment(time: str | None, rule: str | None, happened: Any, logged: int) -> int:
    """When an alert happened, in ns since the epoch; the same time as its finding's (`respond.forwarder.time_of`)."""
    try:
        if time and _ISO.fullmatch(time.strip()):
            return pd.Timestamp(time.strip()).as_unit("ns").value
        if rule is None and time and logged != MISSING:  # Falco's text form: a time of day
            found = logged - logged % _DAY + pd.Timedelta(time).value
            # Written just before midnight, shipped just after.
            return found - _DAY if found - logged > _DAY // 2 else found
    except pd.errors.OutOfBoundsDatetime:
        return MISSING
    except ValueError:
        pass  # the 30th of February
    if type(happened) is float and happened > LAST:
        return MISSING  # orjson's form of an integer that is too large for it
    return happened if type(happened) is int and happened > 0 else logged
