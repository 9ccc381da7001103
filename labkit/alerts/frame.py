"""Builds a typed DataFrame from log events: one row per Falco alert."""

from __future__ import annotations

import gc
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from itertools import islice
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from falcorules import markup
from labkit.alerts.columns import FIRST, LAST, MISSING, POOL, Column, Columns, Fields
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
_ROWS = 4_000  # whose texts are put into order at a time


def frame_of(columns: Columns) -> pd.DataFrame:
    """The frame that `labkit.alerts.read` describes, ordered by `time`, of the alerts collected; takes them away."""
    pages = sorted(columns.take_pages(), key=lambda page: page.times[0])  # those of parts of a window are mixed

    def joined(name: str) -> Any:
        return np.concatenate([np.empty(0, dtype="int64"), *(getattr(page, name) for page in pages)])

    rows = np.concatenate([np.empty((0, 5), dtype="int32"), *(page.rows for page in pages)])
    times, logged, stamps, ingested, streams = map(joined, ("times", "logged", "stamps", "ingested", "streams"))
    usual = np.ones(len(times), dtype=bool)
    start = 0
    for page in pages:
        for row, (time, rule, happened) in page.unusual.items():
            moment = _moment(time, rule, happened, int(logged[start + row]))
            times[start + row] = moment if FIRST <= moment <= LAST else MISSING
            usual[start + row] = False
        start += len(page)
    order = np.argsort(times.view("datetime64[ns]"), kind="stable")  # a missing time comes last
    if moved := not np.array_equal(order, np.arange(len(times))):
        rows, times, logged, stamps = rows[order], times[order], logged[order], stamps[order]
        ingested, streams, usual = ingested[order], streams[order], usual[order]
    texts = [[page.outputs for page in pages], [page.ids for page in pages]]
    pages.clear()
    outputs, ids = (_texts(chunks, order if moved else None) for chunks in texts)

    hosts, before, between, tails, whole = (np.ascontiguousarray(numbers) for numbers in rows.T)
    parts = [
        _Part(columns.before.fields, before),
        _Part(columns.between.fields, between),
        _Part(columns.tails.fields, tails),
        _Part(columns.whole, whole),
    ]
    rules = np.frombuffer(columns.tails.rule_of, dtype="int32")[tails] if len(tails) else tails
    priority, rule, source, tags = zip(*columns.tails.rules, strict=True) if columns.tails.rules else ((),) * 4
    data: dict[str, Any] = {
        "time": _utc(times),
        "rule": _categorical(rule, rules),
        "priority": _priorities(priority, rules),
        "source": _categorical(source, rules),
        "hostname": _categorical(list(columns.heads.hosts), hosts),
        "output": outputs,
        "tags": TagsArray(rules.astype(np.min_scalar_type(len(tags))), tags),
        **_field_columns(parts, stamps, usual),
        "eventId": ids,
        "logStreamName": _categorical(list(columns.streams), streams),
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
        return f"<p>{markup.with_code(str(self.attrs['none']))}</p>"


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


class _Part:
    """Pieces of one kind, and for each row the number of its piece; -1: it has none."""

    def __init__(self, fields: Fields, numbers: Any) -> None:
        self.fields, self.numbers = fields, numbers
        used = np.bincount(numbers + 1, minlength=fields.count + 1)[1:]
        self.used = used > 0  # not of lines that were cut and then found to be none


class _Field:
    """The values that pieces have for a field, one after the other, and whose they are."""

    def __init__(self, name: str, parts: Sequence[_Part]) -> None:
        self.found: list[Column] = []
        self._places: list[tuple[_Part, Any]] = []
        for part in parts:
            for shape, i in part.fields.places.get(name, ()):
                numbers = np.frombuffer(shape.numbers, dtype="int32")
                if part.used[numbers].any():
                    self.found += shape.columns(i)
                    self._places.append((part, numbers))
        self._rows = len(parts[0].numbers)
        self.used = np.concatenate([part.used[numbers] for part, numbers in self._places] or [np.empty(0, dtype=bool)])

    def rows(self, values: Any, missing: Any) -> Any:
        """A value for each row, from one for each piece; `missing` in rows that don't have the field."""
        tables: dict[int, tuple[_Part, Any, Any]] = {}
        start = 0
        for part, numbers in self._places:
            size = part.fields.count + 1  # -1, for no piece, is the last
            new = part, np.zeros(size, dtype=bool), np.full(size, missing, dtype=values.dtype)
            _, there, table = tables.setdefault(id(part), new)
            there[numbers] = True
            table[numbers] = values[start : start + len(numbers)]
            start += len(numbers)
        result = None
        for part, there, table in tables.values():
            found = table[part.numbers]
            result = found if result is None else np.where(there[part.numbers], found, result)
        return np.full(self._rows, missing, dtype=values.dtype) if result is None else result

    def column(self) -> Any:
        """A column in the dtype of the values: Int64, boolean, Float64, else category; None if all are missing."""
        kinds = {column.type if isinstance(column, pa.Array) else None for column in self.found} - {pa.null()}
        if len(kinds) == 1 and None not in kinds:
            (kind,) = kinds
            values = pa.concat_arrays([column.cast(kind) for column in self.found])
        else:
            every = [value for column in self.found for value in _listed(column)]
            values = _alike([value if used else None for value, used in zip(every, self.used, strict=True)])
        missing = values.is_null().to_numpy(zero_copy_only=False) | ~self.used
        return None if missing.all() else _column(values, missing, self.rows)


def _column(values: pa.Array, missing: Any, rows: Callable[[Any, Any], Any]) -> Any:
    """A column of values, some of which are missing; `rows` gives those of all rows."""
    if not pa.types.is_string(values.type):
        data = values.fill_null(pa.scalar(0).cast(values.type)).to_numpy(zero_copy_only=False)
        return _NULLABLE[values.type](rows(data, 0), rows(missing, True))
    encoded = values.dictionary_encode()
    codes = np.where(missing, -1, encoded.indices.fill_null(-1).to_numpy())
    used = np.unique(codes[codes >= 0])
    known = encoded.dictionary.take(pa.array(used)).to_pylist()
    order = sorted(range(len(known)), key=known.__getitem__)
    places = np.full(len(encoded.dictionary) + 1, -1, dtype=_smallest(len(known)))
    places[used[order]] = np.arange(len(known))
    dtype = categories(known[i] for i in order)
    return pd.Categorical.from_codes(rows(places[codes], -1), dtype=dtype, validate=False)


_NULLABLE = {
    pa.int64(): pd.arrays.IntegerArray,
    pa.uint64(): pd.arrays.IntegerArray,
    pa.bool_(): pd.arrays.BooleanArray,
    pa.float64(): pd.arrays.FloatingArray,
}


def _listed(column: Column) -> list[Any]:
    return column if isinstance(column, list) else list(column.to_pylist())


def _alike(values: Sequence[Any]) -> pa.Array:
    """Values of several kinds as an array of one."""
    kinds = set(map(type, values)) - {type(None)}
    if kinds == {int}:
        numbers = [value for value in values if value is not None]
        if max(numbers) < 2**63 or min(numbers) >= 0:
            return pa.array(values, pa.int64() if max(numbers) < 2**63 else pa.uint64())
    elif kinds == {bool}:
        return pa.array(values, pa.bool_())
    elif kinds and kinds <= {int, float}:
        return pa.array([None if value is None else float(value) for value in values], pa.float64())
    return pa.array([None if value is None else _text(value) for value in values], pa.string())


def _text(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _smallest(count: int) -> Any:
    """The smallest signed type for codes from -1 to `count` - 1."""
    return np.result_type("int8", np.min_scalar_type(-count - 1))


def _categorical(names: Sequence[str | None], numbers: Any) -> pd.Categorical:
    """Names as categories, in their order: those with a number that a row has."""
    used = np.unique(numbers).tolist()
    known = sorted({name for number in used if (name := names[number]) is not None})
    place = {name: i for i, name in enumerate(known)}
    places = np.full(len(names) + 1, -1, dtype=_smallest(len(known)))
    places[used] = [-1 if (name := names[number]) is None else place[name] for number in used]
    return pd.Categorical.from_codes(places[numbers], dtype=categories(known), validate=False)


def _priorities(names: Sequence[str | None], numbers: Any) -> pd.Categorical:
    place = {name.lower(): i for i, name in enumerate(PRIORITIES)} | {"info": PRIORITIES.index("Informational")}
    places = np.array([*(place.get(str(name).lower(), -1) for name in names), -1], dtype="int8")
    return pd.Categorical.from_codes(places[numbers], dtype=PRIORITY)


def _field_columns(parts: Sequence[_Part], stamps: Any, usual: Any) -> dict[str, Any]:
    """Output fields as columns: first those that every frame has, then the others by name.

    `stamps` is the field `evt.time` of rows that are `usual`.
    """
    n = len(usual)
    nothing = pd.Categorical.from_codes(np.full(n, -1, dtype="int8"), dtype=categories([]))
    no_number = pd.arrays.IntegerArray(np.zeros(n, dtype="int64"), np.ones(n, dtype=bool))
    first = {name: nothing if kind == "category" else no_number.copy() for name, kind in FIELDS.items()}
    found = {}
    for name in {name for part in parts for name in part.fields.places}:
        field = _Field(name, parts)
        column = field.column()
        if column is not None or (field.found and name not in FIELDS):
            found[name] = nothing if column is None else column
    if usual.any():
        found["evt.time"] = _stamped(found.get("evt.time"), stamps, usual)
    # Falco lets one add fields of any name (`append_output.extra_fields`).
    taken = {*ALERT, *DELIVERY}
    named = {f"output_fields.{name}" if name in taken else name: column for name, column in found.items()}
    return first | {name: named[name] for name in sorted(named)}


def _stamped(other: Any, stamps: Any, usual: Any) -> Any:
    """The column `evt.time`: `stamps` in usual rows, and in the rest what they have in the field."""
    if other is None or other.isna().all():
        return pd.arrays.IntegerArray(np.where(usual, stamps, 0), ~usual)
    if other.dtype == "Int64":
        data = np.where(usual, stamps, other.to_numpy(dtype="int64", na_value=0))
        return pd.arrays.IntegerArray(data, ~usual & other.isna())
    others = [None if pd.isna(value) else value for value in other.tolist()]
    values = _alike([own if mine else theirs for own, mine, theirs in zip(stamps.tolist(), usual, others, strict=True)])
    return _column(values, values.is_null().to_numpy(zero_copy_only=False), lambda every, _: every)


def categories(texts: Iterable[str]) -> pd.CategoricalDtype:
    """The dtype of a column with these texts. Without any it has what Falco writes then, or Parquet would lose it."""
    known = tuple(texts) or ("<NA>",)
    return _categories(known) if len(known) < 50 else _categories.__wrapped__(known)


@lru_cache(1_000)  # making one takes longer than all else that is done for a column of a few alerts
def _categories(texts: tuple[str, ...]) -> pd.CategoricalDtype:
    return pd.CategoricalDtype(pd.Index(texts, dtype="str"))


def _texts(chunks: list[pa.Array], order: Any) -> Any:
    """Texts in an order of rows, or as they are for None; the list is empty afterwards.

    Alerts arrive nearly in their order. Then a few rows at a time are put into it, which need a few pages only.
    """
    parts: list[pa.Array] = []
    if order is None:
        parts, chunks[:] = chunks[:], []
    elif len(order):
        starts = np.cumsum([0, *map(len, chunks)])
        blocks = np.arange(0, len(order), _ROWS)
        first, last = (
            np.searchsorted(starts, edge.reduceat(order, blocks), side="right") - 1 for edge in (np.minimum, np.maximum)
        )
        if (last - first).max() > 10:
            parts, chunks[:] = [_taken(chunks, order)], []
        needed = np.minimum.accumulate(first[::-1])[::-1]  # by this block and those after it
        for i, begin in enumerate(blocks if chunks else ()):
            chunks[: needed[i]] = [None] * needed[i]
            rows = order[begin : begin + _ROWS] - starts[first[i]]
            parts.append(_taken(chunks[first[i] : last[i] + 1], rows))
        chunks.clear()
    dtype: Any = pd.StringDtype("pyarrow")
    return dtype.__from_arrow__(pa.chunked_array(parts, pa.large_string()))


def _taken(chunks: Sequence[pa.Array], rows: Any) -> pa.Array:
    every = pa.concat_arrays(chunks, memory_pool=POOL)
    return pc.take(every, pa.array(rows), memory_pool=POOL)


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
