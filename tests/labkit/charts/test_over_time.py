"""The timeline."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pandas as pd
import pytest

from labkit.charts import timeline, timeline_data
from labkit.errors import LabError
from tests.labkit.charts.seen import texts


def test_the_timeline_s_bars_are_its_data(captured: pd.DataFrame) -> None:
    ax = timeline(captured)
    heights = [[bar.get_height() for bar in container] for container in ax.containers]
    assert np.array_equal(np.array(heights).T, timeline_data(captured).to_numpy())
    assert "UTC" in ax.get_xlabel()


@pytest.mark.parametrize(
    ("last", "tick", "label"),
    [
        ("2026-11-23T04:04:50Z", r"04:0\d:\d\d", "time (UTC), 23 November 2026"),
        ("2026-11-23T07:00:00Z", r"0\d:\d\d", "time (UTC), 23 November 2026"),
        ("2026-11-25T04:00:00Z", r"\d\d:\d\d|\d\d Nov", "time (UTC), 23 November 2026 to 25 November 2026"),
    ],
)
def test_the_time_axis_is_as_exact_as_its_span_asks_for(make: Any, last: str, tick: str, label: str) -> None:
    ax = timeline(make({"time": "2026-11-23T04:00:00Z"}, {"time": last}))
    assert ticks(ax)
    assert all(re.fullmatch(tick, text) for text in ticks(ax)), ticks(ax)
    assert ax.get_xlabel() == label


def ticks(ax: Any) -> list[str]:
    ax.figure.draw_without_rendering()
    low, high = ax.get_xlim()
    labels = zip(ax.xaxis.get_majorticklocs(), ax.xaxis.get_majorticklabels(), strict=True)
    return [label.get_text() for place, label in labels if low <= place <= high]


@pytest.mark.parametrize(
    ("first", "last", "offsets", "shown"),
    [
        ("2026-10-24T21:00Z", "2026-10-25T04:59Z", "UTC+02:00, then UTC+01:00", ["02:00", "03:00", "04:00"]),
        ("2026-03-28T22:00Z", "2026-03-29T04:59Z", "UTC+01:00, then UTC+02:00", ["01:00", "03:00", "04:00"]),
        ("2026-07-01T00:00Z", "2026-07-01T04:59Z", "UTC+02:00", ["02:00", "03:00", "04:00"]),
    ],
)
def test_times_are_by_the_clocks_of_the_zone(make: Any, first: str, last: str, offsets: str, shown: list[str]) -> None:
    ax = timeline(make({"time": f"{first[:-1]}:00Z"}, {"time": f"{last[:-1]}:00Z"}), "Europe/Berlin")
    assert f"(Europe/Berlin, {offsets})" in ax.get_xlabel()
    assert "".join(shown) in "".join(ticks(ax))
    # A dotted line where the clocks are changed, which is on 25 October and 29 March at one o'clock UTC.
    change = [pd.Timestamp(0) + pd.Timedelta(days=line.get_xdata()[0]) for line in ax.get_lines()]
    assert [f"{time:%d %H:%M}" for time in change] == ([f"{last[8:10]} 01:00"] if "then" in offsets else [])


@pytest.mark.parametrize("zone", ["Europe/Berlni", "", "../../etc/passwd", 5])
def test_what_is_no_time_zone_is_refused(captured: pd.DataFrame, zone: Any) -> None:
    with pytest.raises(LabError, match="no time zone") as error:
        timeline(captured, zone)
    assert "Europe/Berlin" in str(error.value)


def test_a_severe_alert_among_thousands_is_marked(make: Any) -> None:
    noise = make({"time": "2026-11-23T04:00:00Z"}, {"time": "2026-11-23T05:00:00Z"})
    many = pd.concat([noise] * 500, ignore_index=True)
    one = make({"priority": "Critical", "time": "2026-11-23T04:30:00Z"}, {"priority": "Critical"})
    ax = timeline(pd.concat([many, one.head(1)], ignore_index=True))
    (mark,) = (c for c in ax.collections if len(c.get_offsets()))
    assert len(mark.get_offsets()) == 1
    assert any("too few to be seen" in text for text in texts(ax))
    assert not any("too few" in text for text in texts(timeline(one)))


def test_a_count_of_one_is_in_the_singular(make: Any) -> None:
    assert "1 alert, one bar per second" in texts(timeline(make({})))
