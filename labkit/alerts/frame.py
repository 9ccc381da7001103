"""Turns log events into one typed pandas DataFrame: in come CloudWatch Logs events, out comes a row per Falco alert."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd

from labkit.alerts.parse import PRIORITIES, NotAlert, parse

PRIORITY = pd.CategoricalDtype(list(PRIORITIES), ordered=True)
UTC_NS = pd.DatetimeTZDtype("ns", "UTC")

# Columns that every frame has, in this order, before the output fields ...
_ALERT = ("time", "rule", "priority", "source", "hostname", "output", "tags")
# ... and after them: where and when CloudWatch Logs got the line (its own names).
_DELIVERY = ("eventId", "logStreamName", "timestamp", "ingestionTime")

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

_BY_NAME = {name.lower(): name for name in PRIORITIES} | {"info": "Informational"}


class Columns:
    """Collects alerts column by column; `frame()` makes the DataFrame."""

    def __init__(self) -> None:
        self.events = 0
        self.skipped: Counter[str] = Counter()
        self._base: dict[str, list[Any]] = {name: [] for name in (*_ALERT, *_DELIVERY)}
        self._fields: dict[str, list[Any]] = {}
        self._rows = 0

    def __len__(self) -> int:
        return self._rows

    def add(self, event: Mapping[str, Any]) -> None:
        """Adds one event of FilterLogEvents (or of its shape); a message that is no alert is only counted."""
        self.events += 1
        alert = parse(event["message"])
        if isinstance(alert, NotAlert):
            self.skipped[alert.value] += 1
            return
        base = self._base
        for name in _ALERT:
            base[name].append(alert.get(name))
        for name in _DELIVERY:
            base[name].append(event.get(name))
        fields = self._fields
        row = self._rows
        for name, value in (alert.get("output_fields") or {}).items():
            column = fields.get(name)
            if column is None:
                column = fields[name] = []
            if len(column) < row:
                column.extend([None] * (row - len(column)))
            column.append(value)
        self._rows = row + 1

    def frame(self) -> pd.DataFrame:
        """The frame that `labkit.alerts.read` describes, ordered by `time`."""
        base = self._base
        timestamp = _milliseconds(base["timestamp"])
        columns: dict[str, Any] = {
            "time": _times(base["time"], timestamp),
            "rule": _category(base["rule"]),
            "priority": pd.Categorical([_BY_NAME.get(str(p).lower()) for p in base["priority"]], dtype=PRIORITY),
            "source": _category(base["source"]),
            "hostname": _category(base["hostname"]),
            "output": _strings(base["output"]),
            "tags": _tags(base["tags"]),
        }
        for name in [*FIELDS, *sorted(set(self._fields) - set(FIELDS))]:
            values = self._fields.get(name, [])
            values.extend([None] * (self._rows - len(values)))
            columns[name] = _typed(values, FIELDS.get(name))
        columns["eventId"] = _strings(base["eventId"])
        columns["logStreamName"] = _category(base["logStreamName"])
        columns["timestamp"] = timestamp
        columns["ingestionTime"] = _milliseconds(base["ingestionTime"])
        df = pd.DataFrame(columns).sort_values("time", kind="stable", ignore_index=True)
        df.attrs = {"events": self.events, "alerts": self._rows, "skipped": dict(self.skipped)}
        return df


def to_frame(events: Iterable[Mapping[str, Any] | str]) -> pd.DataFrame:
    """A frame (see `labkit.alerts.read`) of events you already have: FilterLogEvents' dicts, or bare messages."""
    columns = Columns()
    with unhurried_gc():
        for event in events:
            columns.add({"message": event} if isinstance(event, str) else event)
        return columns.frame()


@contextmanager
def unhurried_gc() -> Iterator[None]:
    """Keeps the cycle collector from walking millions of fresh, cycle-free values over and over."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _milliseconds(values: list[int | None]) -> pd.Series[Any]:
    """Epoch milliseconds as UTC times; what is missing stays missing."""
    stamps = np.array([np.iinfo(np.int64).min if v is None else v for v in values], dtype="datetime64[ms]")
    return pd.Series(stamps.astype("datetime64[ns]")).dt.tz_localize("UTC")


def _times(values: list[str | None], shipped: pd.Series[Any]) -> pd.Series[Any]:
    """Falco's `time`, exact to the nanosecond. A time of day gets its date from `shipped`, as does no time."""
    try:
        # By far the usual case, and the fastest: every value ends in Z.
        stamps = np.array([v[:-1] if v[-1] == "Z" else None for v in values], dtype="datetime64[ns]")  # type: ignore[index]
    except (TypeError, IndexError, ValueError):
        stamps = np.full(len(values), np.datetime64("NaT"), dtype="datetime64[ns]")
    times = pd.Series(stamps).dt.tz_localize("UTC")
    for i in map(int, np.flatnonzero(np.isnat(stamps))):
        times.iloc[i] = _time(values[i], shipped.iloc[i])
    return times


def _time(value: str | None, shipped: pd.Timestamp) -> pd.Timestamp:
    try:
        if isinstance(value, str) and "T" in value:
            return pd.Timestamp(value).tz_convert("UTC")
        if isinstance(value, str) and not pd.isna(shipped):
            found = shipped.normalize() + pd.Timedelta(value)
            # Written just before midnight, shipped just after.
            return found - pd.Timedelta(days=1) if found - shipped > pd.Timedelta(hours=12) else found
    except (ValueError, TypeError):
        pass
    return shipped


def _tags(values: list[list[str] | None]) -> pd.Series[Any]:
    """Tuples, one object for each distinct set of tags: there are only as many as there are rules."""
    known: dict[tuple[str, ...], tuple[str, ...]] = {}
    made = [known.setdefault(t, t) for t in (tuple(v or ()) for v in values)]
    column = np.empty(len(made), dtype=object)
    column[:] = made
    return pd.Series(column, dtype=object)


def _category(values: list[Any]) -> pd.Categorical:
    # Categories are strings even where there is no value to tell: an empty frame has the dtypes of a full one.
    known = sorted({v for v in values if v is not None})
    return pd.Categorical(values, categories=pd.Index(known, dtype="string"))


def _strings(values: list[Any]) -> pd.Series[Any]:
    return pd.Series(values, dtype="string")


def _typed(values: list[Any], known: str | None) -> pd.Series[Any]:
    """A column in the dtype that its values have: Int64, boolean, Float64, else string. `"<NA>"` is missing, too."""
    kinds = set(map(type, values))
    if str in kinds and "<NA>" in values:
        values = [None if v == "<NA>" else v for v in values]
        kinds = set(map(type, values))
    kinds.discard(type(None))
    if not kinds:
        return pd.Series(values, dtype=known or "string")
    if kinds == {bool}:
        return pd.Series(values, dtype="boolean")
    if kinds == {int}:
        present = [v for v in values if v is not None]
        if max(present) < 2**63:
            return pd.Series(values, dtype="Int64")
        if min(present) >= 0:
            return pd.Series(values, dtype="UInt64")
    elif kinds <= {int, float}:
        return pd.Series(values, dtype="Float64")
    if kinds != {str}:
        values = [v if v is None or isinstance(v, str) else _text(v) for v in values]
    return _strings(values)


def _text(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
