"""How long alerts took, drawn."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from labkit.charts import latency
from labkit.charts.ridges import duration
from tests.labkit.charts.seen import texts, untidy


def test_each_stage_has_its_median_and_its_longest(make: Any) -> None:
    df = make(*({"time": f"2026-11-23T04:00:0{i}Z"} for i in range(4)))
    df["timestamp"] = df["time"] + pd.to_timedelta([1, 2, 3, 400], unit="ms")
    df["ingestionTime"] = df["timestamp"] + pd.to_timedelta([100, 200, 300, 90_000], unit="ms")
    ax = latency(df)
    said = texts(ax)
    assert "system call → Falco's line\nmedian 2 ms, longest 400 ms" in said
    assert "Falco's line → CloudWatch\nmedian 250 ms, longest 1.5 min" in said
    assert untidy(ax) == []


def test_times_that_are_missing_or_negative_are_said(make: Any) -> None:
    df = make({}, {}, {})
    df["timestamp"] = df["time"] + pd.to_timedelta([-5, 0, None], unit="ms")
    df["ingestionTime"] = df["timestamp"] + pd.Timedelta("10ms")
    ax = latency(df)
    assert "3 alerts, 1 without all times; 1 took less than nothing: the clocks of node and AWS differ" in texts(ax)
    assert untidy(ax) == []


def test_alerts_of_a_file_have_no_times_of_delivery(captured: pd.DataFrame) -> None:
    assert "No alerts with times of delivery in this selection" in texts(latency(captured))


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [
        *((0, "0 ms"), (-7, "-7 ms"), (999, "999 ms"), (1000, "1 s"), (1234, "1.2 s"), (90_000, "1.5 min")),
        *((86_400_000, "24 h"), (259_200_000, "3 days")),
    ],
)
def test_a_duration_is_in_the_unit_that_suits_it(milliseconds: float, text: str) -> None:
    assert duration(milliseconds) == text
