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
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from labkit.alerts import PRIORITIES
from labkit.charts import by_pod, counts, heat_map, timeline, top_rules
from tests.labkit.charts.seen import CHARTS

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
@pytest.mark.parametrize("chart", CHARTS, ids=lambda chart: chart.__name__)
def test_captured(chart: Callable[..., Axes], captured: pd.DataFrame) -> Any:
    return chart(captured).figure


@picture
def test_busy_timeline(busy: pd.DataFrame) -> Any:
    return timeline(busy, "Europe/Berlin").figure


@picture
@pytest.mark.parametrize("chart", [top_rules, by_pod], ids=lambda chart: chart.__name__)
def test_busiest(chart: Callable[..., Axes], busy: pd.DataFrame) -> Any:
    return chart(busy, 3).figure


@picture
@pytest.mark.parametrize("chart", [timeline, heat_map], ids=lambda chart: chart.__name__)
def test_single(chart: Callable[..., Axes], make: Any) -> Any:
    return chart(make({"rule": "A rule", "priority": "Critical", "time": "2026-11-23T04:15:07Z"})).figure


@picture
def test_side_by_side_on_white(busy: pd.DataFrame) -> Any:
    figure = Figure(figsize=(13, 5))
    for ax, chart in zip(figure.subplots(1, 2), (timeline, by_pod), strict=True):
        chart(busy, ax=ax)
    return figure


@picture
@pytest.mark.parametrize("by", ["rule", "period"])
def test_counts(by: str) -> Any:
    periods = pd.date_range("2026-11-23T04:00Z", periods=4, freq="min")
    table = pd.DataFrame({"period": periods, "alerts": [3, 1, 12, 1200], "metric": [3, 2, 12, 1190]}).astype(
        {"alerts": "Int64", "metric": "Int64"}
    )
    return counts(table.assign(rule=["c", "b", "a", "Terminal shell"]) if by == "rule" else table).figure


@picture
def test_nothing(empty: pd.DataFrame) -> Any:
    return timeline(empty).figure
