"""Figures of alerts, the counts behind them, and the accessor `df.falco`, which importing this package registers.

Every chart has a function for its data: `timeline` draws what `timeline_data` counts. matplotlib is imported when the
first chart is drawn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.charts import accessor as _accessor  # noqa: F401  registers df.falco
from labkit.charts.data import by_pod_data, counts_data, summary_data, tactics_data, timeline_data, top_rules_data
from labkit.charts.tree import process_tree
from labkit.lazy import lazily

if TYPE_CHECKING:
    from labkit.charts.figures import by_pod, counts, tactics, timeline, top_rules

__all__ = [
    "by_pod",
    "by_pod_data",
    "counts",
    "counts_data",
    "process_tree",
    "summary_data",
    "tactics",
    "tactics_data",
    "timeline",
    "timeline_data",
    "top_rules",
    "top_rules_data",
]

_DRAWN = ("by_pod", "counts", "tactics", "timeline", "top_rules")
__getattr__, __dir__ = lazily(__name__, dict.fromkeys(_DRAWN, f"{__name__}.figures"), __all__)
