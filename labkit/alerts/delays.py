"""How long alerts took from the system call to CloudWatch Logs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from labkit.errors import LabError

_STAGES = ("printed", "shipped", "total")


class Delays(pd.DataFrame):
    """The frame of `delays`, shown with its unit. Its rows and columns are plain frames and numbers."""

    @property
    def _constructor(self) -> type[pd.DataFrame]:
        return pd.DataFrame

    def __repr__(self) -> str:
        return self.to_string(formatters=_FORMATTERS, max_rows=pd.get_option("display.max_rows"))

    def _repr_html_(self) -> str:
        return self.to_html(formatters=_FORMATTERS, border=0, max_rows=pd.get_option("display.max_rows"))


def _with_unit(milliseconds: Any) -> str:
    return "-" if pd.isna(milliseconds) else f"{milliseconds:>6,} ms"  # as wide whatever the number is


_FORMATTERS: dict[str, Callable[[Any], str]] = dict.fromkeys(_STAGES, _with_unit)


def _milliseconds(start: pd.Series[Any], end: pd.Series[Any]) -> pd.Series[Any]:
    """Milliseconds (Int64) from one time to another; missing where one is missing.

    CloudWatch's times are in milliseconds, so the others are cut to them: stages add up.
    """
    first, last = (time.dt.tz_localize(None).to_numpy(dtype="datetime64[ms]") for time in (start, end))
    took = last - first
    values = pd.arrays.IntegerArray(took.astype("int64"), np.isnat(took))
    return pd.Series(values, index=start.index)


def delays(df: pd.DataFrame) -> Delays:
    """Milliseconds that each alert of a frame took, a row for each, in its order.

    Columns: `time` (UTC, of the system call), `rule`, and Int64: `printed` (from the system call to Falco's line in the
    container's log, which is the log event's `timestamp`), `shipped` (from there to CloudWatch's `ingestionTime`) and
    `total`. `ingestionTime` is by AWS's clock, the others are by the node's: a difference between the clocks is in the
    result. Missing where a time is missing. Raises `LabError` for a frame without the times of delivery.
    """
    if missing := [name for name in ("time", "rule", "timestamp", "ingestionTime") if name not in df.columns]:
        hint = "Use the frame that lab.alerts() gives, with all its columns."
        raise LabError(
            f"These alerts don't say when they were delivered: there is no column {missing[0]!r}.", hint=hint
        )
    stages = (
        _milliseconds(df["time"], df["timestamp"]),
        _milliseconds(df["timestamp"], df["ingestionTime"]),
        _milliseconds(df["time"], df["ingestionTime"]),
    )
    return Delays({"time": df["time"], "rule": df["rule"], **dict(zip(_STAGES, stages, strict=True))})
