"""Images of metric widgets look as they did: compared with `baseline/` by pytest-mpl.

After a wanted change: `pytest tests/ekslab/aws/test_widget_pictures.py -n 0
--mpl-generate-path=tests/ekslab/aws/baseline`, then look at each picture.
"""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from matplotlib.figure import Figure

from ekslab.aws.metric_widget import graph_of
from ekslab.aws.metrics import Metric, Metrics
from ekslab.aws.widget_image import figure

NOW = 1_795_944_090.0
SEARCH = "SORT(SEARCH('{Falco,Rule} MetricName=\"ByRule\"', 'Sum'), SUM, DESC)"
RULES = {"Read sensitive file untrusted": 12, "Terminal shell in container": 7, "Drop and execute new binary": 1}
BY_RULE: dict[str, Any] = {
    "metrics": [[{"expression": SEARCH, "id": "s"}]],
    "stat": "Sum",
    "setPeriodToTimeRange": True,
}
WIDGETS: dict[str, dict[str, Any]] = {
    "stacked": {
        "title": "Alerts by priority",
        "stacked": True,
        "stat": "Sum",
        "period": 60,
        "start": "-PT1H",
        "metrics": [
            ["Falco", "ByPriority", "Priority", "Critical", {"label": "Critical", "color": "#a5133b"}],
            ["...", "Warning", {"label": "Warning", "color": "#f2a93b"}],
            ["...", "Notice", {"label": "Notice", "color": "#4a8cc7"}],
        ],
    },
    "lines": {
        "title": "Alerts, and a share of them",
        "theme": "dark",
        "timezone": "+0530",
        "stat": "Sum",
        "metrics": [
            ["Falco", "ByPriority", "Priority", "Notice", {"id": "m", "label": "Notice: ${SUM}"}],
            [{"expression": "m * 100", "yAxis": "right", "label": "percent"}],
        ],
        "legend": {"position": "right"},
        "yAxis": {"left": {"min": 0, "label": "alerts"}},
        "annotations": {
            "horizontal": [{"value": 8, "label": "many", "fill": "above"}],
            "vertical": [{"value": "2026-11-29T08:30:00Z", "label": "deployed", "fill": "before"}],
        },
    },
    "bar": {"title": "Alerts by rule", "view": "bar", **BY_RULE},
    "pie": {"title": "Alerts by rule", "view": "pie", **BY_RULE},
    "singleValue": {"view": "singleValue", **BY_RULE},
    "nothing": {"title": "Nothing", "metrics": [["Falco", "None"]]},
}


@pytest.fixture(scope="module")
def store() -> Metrics:
    metrics, chance = Metrics(lambda: NOW), random.Random(3)
    for minute in range(180):
        for priority, often in (("Critical", 0.1), ("Notice", 0.5), ("Warning", 0.3)):
            if chance.random() < often and not 70 < minute < 90:
                metric = Metric("Falco", "ByPriority", (("Priority", priority),))
                metrics.put(metric, NOW - 60 * minute, [(1.0, float(chance.randrange(1, 4)))])
    for rule, count in RULES.items():
        metrics.put(Metric("Falco", "ByRule", (("Rule", rule),)), NOW - 600, [(1.0, float(count))])
    return metrics


@pytest.mark.mpl_image_compare(
    style="default", backend="agg", tolerance=0.5, savefig_kwargs={"dpi": 60, "pil_kwargs": {"optimize": True}}
)
@pytest.mark.parametrize("name", WIDGETS)
def test_widget(store: Metrics, name: str) -> Figure:
    widget = {"width": 480, "height": 280, **WIDGETS[name]}
    return figure(graph_of(store, json.dumps(widget), region="us-east-1", now=NOW))
