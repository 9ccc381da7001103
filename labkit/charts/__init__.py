"""Pictures of alerts: the frame of `labkit.alerts.read` comes in, figures and the counts behind them go out.

Each chart has a function for its data: `timeline` draws `timeline_data`. matplotlib is imported when one is drawn.
Importing this package also gives frames the accessor `df.falco`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from labkit.charts import accessor as _accessor  # noqa: F401  registers df.falco
from labkit.charts.data import by_pod_data, counts_data, summary_data, tactics_data, timeline_data, top_rules_data
from labkit.charts.tree import process_tree
from labkit.errors import LabError

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


def __dir__() -> list[str]:
    return __all__


def __getattr__(name: str) -> Any:
    if name in ("by_pod", "counts", "tactics", "timeline", "top_rules"):
        try:
            return getattr(importlib.import_module("labkit.charts.figures"), name)
        except ModuleNotFoundError as error:
            hint = "pip install 'labkit[notebooks]'. The numbers are there without it: df.falco.summary()."
            missing = (error.name or "matplotlib").partition(".")[0]
            raise LabError(f"Charts need {missing}, which isn't installed.", hint=hint) from error
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
