"""Figures of alerts, the counts behind them, and the accessor `df.falco`, which importing this package registers.

Every chart has a function for its data: `timeline` draws what `timeline_data` counts. matplotlib is imported when the
first chart is drawn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.charts import accessor as _accessor  # noqa: F401  registers df.falco
from labkit.charts.coverage import attack_matrix_data
from labkit.charts.data import (
    before_after_data,
    by_pod_data,
    counts_data,
    heat_map_data,
    noise_data,
    summary_data,
    tactics_data,
    timeline_data,
    top_rules_data,
)
from labkit.charts.timing import latency_data, latency_histogram_data
from labkit.lazy import lazily

if TYPE_CHECKING:
    from labkit.charts.bars import before_after, by_pod, counts, noise, tactics, top_rules
    from labkit.charts.grids import attack_matrix, heat_map
    from labkit.charts.over_time import timeline
    from labkit.charts.ridges import latency
    from labkit.charts.steps import sequence
    from labkit.charts.tree import process_tree

__all__ = [
    "attack_matrix",
    "attack_matrix_data",
    "before_after",
    "before_after_data",
    "by_pod",
    "by_pod_data",
    "counts",
    "counts_data",
    "heat_map",
    "heat_map_data",
    "latency",
    "latency_data",
    "latency_histogram_data",
    "noise",
    "noise_data",
    "process_tree",
    "sequence",
    "summary_data",
    "tactics",
    "tactics_data",
    "timeline",
    "timeline_data",
    "top_rules",
    "top_rules_data",
]

# A module must not have a chart's name: it would take its place when it is imported.
_DRAWN = {
    "bars": ("before_after", "by_pod", "counts", "noise", "tactics", "top_rules"),
    "grids": ("attack_matrix", "heat_map"),
    "over_time": ("timeline",),
    "ridges": ("latency",),
    "steps": ("sequence",),
    "tree": ("process_tree",),
}
_MODULES = {name: f"{__name__}.{module}" for module, names in _DRAWN.items() for name in names}
__getattr__, __dir__ = lazily(__name__, _MODULES, __all__)
