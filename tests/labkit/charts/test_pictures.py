"""Charts look as they did: pictures compared with `baseline/` by pytest-mpl.

After a wanted change: `pytest tests/labkit/charts/test_pictures.py --mpl-generate-path=tests/labkit/charts/baseline`,
then look at each picture.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest
from matplotlib.figure import Figure

from labkit.alerts import PRIORITIES
from labkit.charts import by_pod, counts, tactics, timeline, top_rules

# matplotlib's own style and font. The lack of the smallest bar, of one alert, makes a difference of more than 1.
picture = pytest.mark.mpl_image_compare(
    style="default", backend="agg", tolerance=0.5, savefig_kwargs={"dpi": 60, "pil_kwargs": {"optimize": True}}
)


@pytest.fixture(scope="module")
def busy(make: Any) -> pd.DataFrame:
    """Three days of alerts of all priorities, nine rules and nine places."""
    chance = random.Random(1)
    return make(
        *(
            {
                "time": f"2026-11-{chance.randrange(21, 24)}T{chance.randrange(24):02}:{chance.randrange(60):02}:00Z",
                "rule": f"Rule {chance.randrange(9)} with a name of some length",
                "priority": chance.choice(PRIORITIES),
                "fields": {"k8s.pod.name": f"web-7c5ddbdf54-{n:05}" if (n := chance.randrange(9)) else None},
            }
            for _ in range(300)
        )
    )


@picture
@pytest.mark.parametrize("chart", [timeline, top_rules, by_pod, tactics], ids=lambda chart: chart.__name__)
def test_captured(chart: Callable[..., Figure], captured: pd.DataFrame) -> Figure:
    return chart(captured)


@picture
def test_busy_timeline(busy: pd.DataFrame) -> Figure:
    return timeline(busy)


@picture
@pytest.mark.parametrize("chart", [top_rules, by_pod], ids=lambda chart: chart.__name__)
def test_busiest(chart: Callable[..., Figure], busy: pd.DataFrame) -> Figure:
    return chart(busy, 3)


@picture
@pytest.mark.parametrize("chart", [timeline, top_rules], ids=lambda chart: chart.__name__)
def test_single(chart: Callable[..., Figure], make: Any) -> Figure:
    return chart(make({"rule": "A rule", "priority": "Critical", "time": "2026-11-23T04:15:07Z"}))


@picture
@pytest.mark.parametrize("by", ["rule", "period"])
def test_counts(by: str) -> Figure:
    periods = pd.date_range("2026-11-23T04:00Z", periods=4, freq="min")
    table = pd.DataFrame({"period": periods, "alerts": [3, 1, 12, 1200], "metric": [3, 2, 12, 1190]}).astype(
        {"alerts": "Int64", "metric": "Int64"}
    )
    return counts(table.assign(rule=["c", "b", "a", "Terminal shell"]) if by == "rule" else table)


@picture
def test_nothing(empty: pd.DataFrame) -> Figure:
    return timeline(empty)
