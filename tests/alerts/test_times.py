"""Times as people give them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pandas as pd
import pytest

from labkit.alerts.times import epoch_ms, utc
from labkit.errors import LabError

NOW = pd.Timestamp("2026-11-23T12:00:00Z")


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("1h", "2026-11-23T11:00:00Z"),
        ("90s", "2026-11-23T11:58:30Z"),
        ("1h 30m", "2026-11-23T10:30:00Z"),
        ("1.5h ago", "2026-11-23T10:30:00Z"),
        ("2D", "2026-11-21T12:00:00Z"),
        ("1w", "2026-11-16T12:00:00Z"),
        ("now", "2026-11-23T12:00:00Z"),
        ("2026-11-23T13:00:00+02:00", "2026-11-23T11:00:00Z"),
        (datetime(2026, 11, 23, 11, tzinfo=UTC), "2026-11-23T11:00:00Z"),
        (datetime(2026, 11, 23, 13, tzinfo=timezone(timedelta(hours=2))), "2026-11-23T11:00:00Z"),
        (pd.Timestamp("2026-11-23T11:00:00.000000001Z"), "2026-11-23T11:00:00.000000001Z"),
    ],
)
def test_times_are_understood(given: str | datetime, meant: str) -> None:
    assert utc(given, now=NOW) == pd.Timestamp(meant)


@pytest.mark.parametrize("naive", [datetime(2026, 11, 23), pd.Timestamp("2026-11-23"), "2026-11-23T04:00:00"])
def test_a_time_without_a_zone_is_refused(naive: str | datetime) -> None:
    with pytest.raises(LabError, match="no time zone") as caught:
        utc(naive)
    assert "Z" in caught.value.hint


@pytest.mark.parametrize("nonsense", ["yesterday-ish", "1 parsec", "", None, 1795407307836])
def test_what_is_no_time_is_refused(nonsense: str) -> None:
    with pytest.raises(LabError, match="not a time"):
        utc(nonsense)


def test_milliseconds_are_rounded_down() -> None:
    assert epoch_ms("2026-11-23T00:00:00.123999Z") % 1000 == 123
