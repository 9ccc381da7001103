"""Builds a typed DataFrame from log events: one row per Falco alert."""

from __future__ import annotations

import gc
import html
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd

from labkit.alerts.parse import PRIORITIES, NotAlert, parse
from labkit.calls import checked, short_repr
from labkit.errors import LabError

PRIORITY = pd.CategoricalDtype(list(PRIORITIES), ordered=True)

# Columns that every frame has, in this order, before the output fields ...
ALERT = ("time", "rule", "priority", "source", "hostname", "output", "tags")
# ... and after them: where and when CloudWatch Logs got the line (its own names).
DELIVERY = ("eventId", "logStreamName", "timestamp", "ingestionTime")

# Output fields that every frame has even when no alert does, so that code which names them works on an empty group.
FIELDS = {
    "evt.type": "string",
    "proc.name": "string",
    "proc.cmdline": "string",
    "proc.exepath": "string",
    "proc.pname": "string",
    "proc.tty": "Int64",
    "user.name": "string",
    "user.uid": "Int64",
    "user.loginuid": "Int64",
    "fd.name": "string",
    "container.id": "string",
    "container.name": "string",
    "container.image.repository": "string",
    "container.image.tag": "string",
    "k8s.ns.name": "string",
    "k8s.pod.name": "string",
}

# Falco's form of a time, in years that nanoseconds can hold: numpy reads it correctly.
_USUAL = re.compile(r"(?:1[7-9]|2[01])\d\d-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?Z", re.ASCII)
_ISO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:?\d\d)", re.ASCII)
_FIRST, _LAST = pd.Timestamp.min.value, pd.Timestamp.max.value  # ns since the epoch that a column can hold
_MISSING = np.iinfo(np.int64).min  # what numpy takes for: not a time
_DAY = 86_400_000_000_000  # ns

_BY_NAME = {name.lower(): name for name in PRIORITIES} | {"info": "Informational"}


class Columns:
    """Collects alerts, all of them or those of one `rule`; `frame()` makes the DataFrame.

    Alerts of one rule have the same output fields in the same order. Kept by that order, their values can be turned
    from rows into columns all at once, which is several times faster than field by field.
    """

    def __init__(self, rule: str | None = None) -> None:
        self._rule = rule
        self.events = 0
        self.skipped: Counter[str] = Counter()
        # Most values repeat. Kept once, they need a tenth of the memory, and later steps are faster.
        self._strings: dict[Any, Any] = {}
        self._tags: dict[tuple[str, ...], tuple[str, ...]] = {}
        self._alerts: list[tuple[Any, ...]] = []
        self._deliveries: list[tuple[Any, ...]] = []
        self._by_shape: dict[tuple[str, ...], tuple[list[int], list[tuple[Any, ...]]]] = {}

    def __len__(self) -> int:
        return len(self._alerts)

    def add(self, event: Mapping[str, Any]) -> None:
        """Adds an event of FilterLogEvents, or a mapping with a `message`. Messages without an alert are counted."""
        self.events += 1
        alert = parse(event["message"])
        if isinstance(alert, NotAlert):
            self.skipped[alert.value] += 1
            return
        if self._rule is not None and alert.get("rule") != self._rule:
            return
        same = self._strings.setdefault
        fields = alert.get("output_fields") or {}
        shape = tuple(fields)
        group = self._by_shape.get(shape)
        if group is None:
            group = self._by_shape[shape] = ([], [])
        group[0].append(len(self._alerts))
        group[1].append(tuple([same(v, v) if type(v) is str else v for v in fields.values()]))
        time, rule, priority, source, hostname, output, tags = map(alert.get, ALERT)
        marks = tuple(map(str, tags or ()))
        shared = same(rule, rule), same(priority, priority), same(source, source), same(hostname, hostname)
        self._alerts.append((time, *shared, output, self._tags.setdefault(marks, marks), fields.get("evt.time")))
        event_id, stream, timestamp, ingestion = map(event.get, DELIVERY)
        self._deliveries.append((event_id, same(stream, stream), timestamp, ingestion))

    def frame(self) -> pd.DataFrame:
        """The frame that `labkit.alerts.read` describes, ordered by `time`."""
        n = len(self._alerts)
        logged = _milliseconds([delivery[2] for delivery in self._deliveries])
        times = _times(self._alerts, logged)
        order = np.argsort(times.dt.tz_localize(None).to_numpy(), kind="stable")
        _, rule, priority, source, hostname, output, tags = _columns(self._alerts, order, len(ALERT))
        event_id, stream, _, ingestion = _columns(self._deliveries, order, len(DELIVERY))
        columns: dict[str, Any] = {
            "time": times.iloc[order].reset_index(drop=True),
            "rule": _category(rule),
            "priority": pd.Categorical([_BY_NAME.get(str(p).lower()) for p in priority], dtype=PRIORITY),
            "source": _category(source),
            "hostname": _category(hostname),
            "output": _strings([(None, output)], n),
            "tags": pd.Series(tags, dtype=object),
            **self._fields(order),
            "eventId": _strings([(None, event_id)], n),
            "logStreamName": _category(stream),
            "timestamp": logged.iloc[order].reset_index(drop=True),
            "ingestionTime": _milliseconds(ingestion),
        }
        df = pd.DataFrame(columns, copy=False)
        untimed = int(times.isna().sum())
        df.attrs = {"events": self.events, "alerts": n, "skipped": dict(self.skipped), "untimed": untimed}
        return df

    def _fields(self, order: Any) -> dict[str, Any]:
        """Output fields as columns: first those that every frame has, then the others by name."""
        n = len(order)
        row_of = np.empty(n, dtype="int64")  # number of an alert as it was added -> its row
        row_of[order] = np.arange(n)
        parts: dict[str, list[_Part]] = {name: [] for name in FIELDS}
        for shape, (rows, values) in self._by_shape.items():
            sorted_rows = row_of[rows]
            for i, name in enumerate(shape):
                # Falco lets one add fields of any name (`append_output.extra_fields`).
                column = f"output_fields.{name}" if name in ALERT or name in DELIVERY else name
                parts.setdefault(column, []).append((sorted_rows, [row[i] for row in values]))
        return {name: _typed(parts[name], n, FIELDS.get(name)) for name in [*FIELDS, *sorted(set(parts) - set(FIELDS))]}


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
        for event in events:
            message = event if isinstance(event, str) else event.get("message") if isinstance(event, Mapping) else None
            if not isinstance(message, str):
                raise _no_event(event)
            columns.add({"message": event} if isinstance(event, str) else event)
        return columns.frame()


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


def _columns(rows: list[tuple[Any, ...]], order: Any, width: int) -> list[list[Any]]:
    """The first `width` values of rows, in the given order, as columns."""
    rows = [rows[i] for i in order.tolist()]
    return [[row[i] for row in rows] for i in range(width)]


def _milliseconds(values: Sequence[int | None]) -> pd.Series[Any]:
    """Epoch milliseconds as UTC times; missing where nanoseconds can't hold them."""
    first, last = -(-_FIRST // 1_000_000), _LAST // 1_000_000
    held = [v * 1_000_000 if v is not None and first <= v <= last else _MISSING for v in values]
    return pd.Series(np.array(held, dtype="int64").view("datetime64[ns]")).dt.tz_localize("UTC")


def _times(alerts: Sequence[tuple[Any, ...]], logged: pd.Series[Any]) -> pd.Series[Any]:
    """When alerts happened, exact to the nanosecond; missing where nanoseconds can't hold it (numpy would wrap)."""
    usual = [time[:-1] if time is not None and _USUAL.fullmatch(time) else None for time, *_ in alerts]
    try:
        stamps = np.array(usual, dtype="datetime64[ns]")
    except ValueError:  # the 30th of February
        stamps = np.full(len(alerts), np.datetime64("NaT"), dtype="datetime64[ns]")
    nanoseconds, shipped = stamps.view("int64"), logged.dt.tz_localize(None).to_numpy().view("int64")
    for i in np.flatnonzero(np.isnat(stamps)).tolist():
        time, rule, *_, happened = alerts[i]
        moment = _moment(time, rule, happened, int(shipped[i]))
        nanoseconds[i] = moment if _FIRST <= moment <= _LAST else _MISSING
    return pd.Series(stamps).dt.tz_localize("UTC")


def _moment(time: str | None, rule: str | None, happened: Any, logged: int) -> int:
    """When an alert happened, in ns since the epoch; the same time as its finding's (`respond.forwarder.time_of`)."""
    try:
        if time and _ISO.fullmatch(time.strip()):
            return pd.Timestamp(time.strip()).as_unit("ns").value
        if rule is None and time and logged != _MISSING:  # Falco's text form: a time of day
            found = logged - logged % _DAY + pd.Timedelta(time).value
            # Written just before midnight, shipped just after.
            return found - _DAY if found - logged > _DAY // 2 else found
    except pd.errors.OutOfBoundsDatetime:
        return _MISSING
    except ValueError:
        pass  # the 30th of February
    if type(happened) is float and happened > _LAST:
        return _MISSING  # orjson's form of an integer that is too large for it
    return happened if type(happened) is int and happened > 0 else logged


def _category(values: Sequence[Any]) -> pd.Categorical:
    # Categories are strings even where there is no value to tell: an empty frame has the dtypes of a full one.
    known = sorted({v for v in values if v is not None})
    code = {name: i for i, name in enumerate(known)}
    return pd.Categorical.from_codes([code.get(v, -1) for v in values], categories=pd.Index(known, dtype="string"))


# Row numbers (None: all rows) and their values.
_Part = tuple[Any, Sequence[Any]]


def _typed(parts: list[_Part], n: int, known: str | None) -> Any:
    """A column of `n` rows in the dtype of its values: Int64, boolean, Float64, else string."""
    parts = [
        (rows, [None if v == "<NA>" else v for v in values] if "<NA>" in values else values) for rows, values in parts
    ]
    kinds = set().union(*(map(type, values) for _, values in parts)) - {type(None)}
    if not kinds:
        return pd.array([None] * n, dtype=known or "string")  # type: ignore[call-overload]
    if kinds == {int}:
        numbers = [v for _, values in parts for v in values if v is not None]
        low, high = min(numbers), max(numbers)
        if high < 2**63 or low >= 0:
            return pd.arrays.IntegerArray(*_masked(parts, n, "int64" if high < 2**63 else "uint64"))
    elif kinds == {bool}:
        return pd.arrays.BooleanArray(*_masked(parts, n, "bool"))
    elif kinds <= {int, float}:
        return pd.arrays.FloatingArray(*_masked(parts, n, "float64"))
    return _strings(parts, n)


def _masked(parts: list[_Part], n: int, dtype: str) -> tuple[Any, Any]:
    """Values and mask of missing values for pandas' nullable arrays."""
    data, mask = np.zeros(n, dtype=dtype), np.ones(n, dtype=bool)
    for rows, values in parts:
        missing = np.array([v is None for v in values]) if None in values else np.zeros(len(values), dtype=bool)
        data[rows] = [0 if v is None else v for v in values]
        mask[rows] = missing
    return data, mask


def _strings(parts: list[_Part], n: int) -> pd.arrays.StringArray:
    data = np.full(n, pd.NA, dtype=object)
    for rows, values in parts:
        kinds = set(map(type, values))
        if kinds != {str}:
            values = [pd.NA if v is None else v if isinstance(v, str) else _text(v) for v in values]
        data[slice(None) if rows is None else rows] = values
    return pd.arrays.StringArray(data)


def _text(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
