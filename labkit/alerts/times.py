"""Parses points in time: "1h" (ago), aware datetimes and ISO strings, as UTC timestamps."""

from __future__ import annotations

from datetime import datetime, timedelta
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd

from labkit.calls import duration, short_repr
from labkit.errors import LabError

When = str | datetime | pd.Timestamp | timedelta
"""An aware datetime, an ISO string with its zone ("2026-11-23T04:15:07Z"), "now", or how long ago ("90s", "1h 30m",
"5 minutes", a timedelta)."""


def utc(when: When, *, now: pd.Timestamp | None = None) -> pd.Timestamp:
    """`when` as a Timestamp in UTC, with nanoseconds. Relative times count back from `now`.

    Raises `LabError` for a time without a zone (another moment on another computer), for text that isn't a time, and
    for times that nanoseconds can't hold.
    """
    now = now if now is not None else pd.Timestamp.now("UTC")
    ago: float | None = None
    if isinstance(when, np.timedelta64):
        when = pd.Timedelta(when)
    if isinstance(when, timedelta):
        ago = when.total_seconds()
        if not ago >= 0:  # NaT is a timedelta, too
            raise LabError(f"{short_repr(when)} is no time ago.", hint="Give how long ago as a timedelta from 0 on.")
    elif isinstance(when, str):
        text = when.strip().lower().removesuffix(" ago")
        ago = 0.0 if text == "now" else duration(text)
    if ago is not None:
        try:
            return (now - pd.Timedelta(seconds=ago)).as_unit("ns")
        except (ValueError, OverflowError):
            raise _too_far(when) from None
    if isinstance(when, Real):
        raise LabError(
            f"{short_repr(when)} is a number, not a time.", hint='Use how long ago ("15m"), or a pd.Timestamp.'
        )
    try:
        stamp = pd.Timestamp(when)  # type: ignore[arg-type]  # no timedelta any more
    except (TypeError, ValueError, OverflowError):
        raise LabError(
            f"{short_repr(when)} is not a time.", hint='Use how long ago ("15m", "1h", "2d") or a time with its zone.'
        ) from None
    if pd.isna(stamp):
        raise LabError(f"{short_repr(when)} is not a time.", hint="Leave it out to mean: no limit.")
    if stamp.tzinfo is None:
        raise LabError(
            f"{short_repr(when)} says no time zone, so it is a different moment on every computer.",
            hint='Use datetime.now(timezone.utc), a time that ends in "Z" or "+02:00", or how long ago ("1h").',
        )
    try:
        return stamp.tz_convert("UTC").as_unit("ns")
    except (ValueError, OverflowError):
        raise _too_far(when) from None


def _too_far(when: When) -> LabError:
    return LabError(f"{short_repr(when)} is too far away.", hint="Use a time from 1678 to 2261.")


def epoch_ms(when: When) -> int:
    """`when` in whole milliseconds since 1970, rounded down: what FilterLogEvents takes."""
    return utc(when).value // 1_000_000


def window(start: When | None, end: When | None) -> tuple[int | None, int | None]:
    """Both as `epoch_ms`. Raises `LabError` if it ends before it starts, which AWS refuses in words of its own."""
    low, high = (None if when is None else epoch_ms(when) for when in (start, end))
    if low is not None and high is not None and low > high:
        first, last = (f"{pd.Timestamp(edge, unit='ms'):%Y-%m-%d %H:%M:%S}" for edge in (low, high))
        raise LabError(
            f"The time ends at {last} UTC, before it starts at {first} UTC.",
            hint='Give the earlier time first: "2h" ago is before "1h" ago.',
        )
    return low, high


def column(texts: pd.Series[Any]) -> pd.Series[Any]:
    """ISO times as a column of datetime64[ns, UTC]; missing where a text is no time that nanoseconds can hold."""
    times = pd.to_datetime(texts.astype("string"), utc=True, format="ISO8601", errors="coerce")
    first, last = (edge.tz_localize("UTC") for edge in (pd.Timestamp.min, pd.Timestamp.max))
    return times.where(times.between(first, last)).dt.as_unit("ns")
