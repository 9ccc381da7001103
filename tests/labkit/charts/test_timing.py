"""How long alerts took, in numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from labkit.charts import latency_data, latency_histogram_data


def delayed(make: Any, *milliseconds: float | None) -> pd.DataFrame:
    df = make(*({"time": f"2026-11-23T04:00:{i:02}Z"} for i in range(len(milliseconds))))
    df["timestamp"] = df["time"]
    df["ingestionTime"] = df["time"] + pd.to_timedelta(list(milliseconds), unit="ms")
    return df


def test_a_row_per_stage(make: Any) -> None:
    table = latency_data(delayed(make, 100, 200, None, -20))
    assert list(table.index) == ["printed", "shipped", "total"]
    assert [str(dtype) for dtype in table.dtypes] == ["int64"] * 3 + ["Float64"] * 5
    total = {"alerts": 3, "missing": 1, "negative": 1, "min": -20, "median": 100, "p90": 180, "p99": 198, "max": 200}
    assert table.loc["total"].to_dict() == total
    assert table.loc["printed", "max"] == 0


def test_each_alert_is_in_one_interval(make: Any) -> None:
    took = [0, 1, 2, 9, 10, 12, 13, 999, 1000, 1001, 86_400_000, -3]
    table = latency_histogram_data(delayed(make, *took, None))
    assert table.sum().to_dict() == {"printed": 13, "shipped": 12, "total": 12}
    for interval, row in table.iterrows():
        inside = [ms for ms in took if interval.left <= max(ms, 0) < interval.right]
        assert row["total"] == len(inside), interval
    assert table.index[0].left == 0
    widths = [interval.right / interval.left for interval in table.index[10:]]
    assert np.allclose(widths, 10**0.1, rtol=0.1)


def test_nothing_took_nothing(empty: pd.DataFrame) -> None:
    assert latency_data(empty)["alerts"].sum() == 0
    assert latency_data(empty)["median"].isna().all()
    assert latency_histogram_data(empty).to_numpy().sum() == 0
