"""Points in time as a person gives them ("1h", an aware datetime) or a service: in they come, out come UTC times."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

import pandas as pd

from labkit.errors import LabError

When = str | datetime | pd.Timestamp
"""An aware datetime, an ISO string with its zone ("2026-11-23T04:15:07Z"), "now", or how long ago ("90s", "1h 30m")."""

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_AGO = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw])\s*")


def utc(when: When, *, now: pd.Timestamp | None = None) -> pd.Timestamp:
    """`when` as a Timestamp in UTC. Relative times count back from `now`.

    Raises `LabError` for a time without a zone (it would mean another moment on another computer) and for text that
    isn't a time.
    """
    if isinstance(when, str):
        text = when.strip().lower().removesuffix(" ago")
        parts = _AGO.findall(text)
        if parts and not _AGO.sub("", text):
            now = now if now is not None else pd.Timestamp.now("UTC")
            try:
                return (now - pd.Timedelta(seconds=sum(float(n) * _SECONDS[unit] for n, unit in parts))).as_unit("ns")
            except (ValueError, OverflowError):
                raise _too_far(when) from None
        if text == "now":
            return now if now is not None else pd.Timestamp.now("UTC")
    if isinstance(when, int | float):
        raise LabError(f"{when!r} is a number, not a time.", hint='Use pd.Timestamp(..., unit="ms", tz="UTC").')
    try:
        stamp = pd.Timestamp(when)
    except (TypeError, ValueError):
        raise LabError(
            f"{when!r} is not a time.", hint='Use how long ago ("15m", "1h", "2d") or a time with its zone.'
        ) from None
    if pd.isna(stamp):
        raise LabError(f"{when!r} is not a time.", hint="Leave it out to mean: no limit.")
    if stamp.tzinfo is None:
        raise LabError(
            f"{when!r} says no time zone, so it is a different moment on every computer.",
            hint='Use datetime.now(timezone.utc), a time that ends in "Z" or "+02:00", or how long ago ("1h").',
        )
    try:
        return stamp.tz_convert("UTC").as_unit("ns")
    except (ValueError, OverflowError):
        raise _too_far(when) from None


def _too_far(when: When) -> LabError:
    return LabError(f"{when!r} is too far away.", hint="Use a time from 1678 to 2261.")


def epoch_ms(when: When) -> int:
    """`when` in whole milliseconds since 1970, rounded down: what FilterLogEvents takes."""
    return utc(when).value // 1_000_000


def column(texts: pd.Series[Any]) -> pd.Series[Any]:
    """ISO times as a column of datetime64[ns, UTC]: missing is what isn't one, or too far away for nanoseconds."""
    times = pd.to_datetime(texts.astype("string"), utc=True, format="ISO8601", errors="coerce")
    first, last = (edge.tz_localize("UTC") for edge in (pd.Timestamp.min, pd.Timestamp.max))
    return times.where(times.between(first, last)).dt.as_unit("ns")
