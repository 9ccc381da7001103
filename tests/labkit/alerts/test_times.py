"""Times as people give them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pandas as pd
import pytest

from labkit.alerts.times import column, epoch_ms, utc
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
    with pytest.raises(LabError, match="not a time") as caught:
        utc(nonsense)
    assert "how long ago" in caught.value.hint or "Leave it out" in caught.value.hint


@pytest.mark.parametrize(
    "far", ["9999-12-31T23:59:59Z", "0001-01-01T00:00:00+05:00", "400000d", "99999999999999999999w"]
)
def test_a_time_too_far_away_is_refused(far: str) -> None:
    with pytest.raises(LabError, match="too far away") as caught:
        epoch_ms(far)
    assert "1678" in caught.value.hint


def test_a_column_has_the_times_that_nanoseconds_hold() -> None:
    held = ["2026-11-23T04:15:07.123456789Z", "2026-11-23T06:15:07+02:00", "2262-04-11T23:47:16.854775807Z"]
    far = ["9999-12-31T23:59:59.999-05:00", "9999-12-31T23:59:59.123456789Z", "1600-01-01T00:00:00Z", "x", None]
    for texts in ([*held, *far], held, far, far[:1], []):
        times = column(pd.Series(texts, dtype=object))
        assert str(times.dtype) == "datetime64[ns, UTC]"
        assert [t for t in times if not pd.isna(t)] == [pd.Timestamp(t) for t in texts if t in held]
        assert len(times) == len(texts)


def test_milliseconds_are_rounded_down() -> None:
    assert epoch_ms("2026-11-23T00:00:00.123999Z") % 1000 == 123
