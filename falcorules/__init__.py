"""Falco's rule language: rule files and events in, reports and alerts out. Names are imported when they are used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.lazy import lazily

if TYPE_CHECKING:
    from falcorules.chart import from_values
    from falcorules.engine import Engine, LoadError, check, load
    from falcorules.events import Event, RecordedEvent, open_events, read_events
    from falcorules.explain import Explanation, Truth, Verdict
    from falcorules.loader import Rule
    from falcorules.output import Alert
    from falcorules.parser import parse_condition
    from falcorules.replay import Replay
    from falcorules.report import Problem, Report
    from labkit.errors import ConditionError, RuleError

__all__ = [
    "Alert",
    "ConditionError",
    "Engine",
    "Event",
    "Explanation",
    "LoadError",
    "Problem",
    "RecordedEvent",
    "Replay",
    "Report",
    "Rule",
    "RuleError",
    "Truth",
    "Verdict",
    "check",
    "from_values",
    "load",
    "open_events",
    "parse_condition",
    "read_events",
]

__getattr__, __dir__ = lazily(
    __name__,
    {
        "ConditionError": "labkit.errors",
        "RuleError": "labkit.errors",
        "Engine": "falcorules.engine",
        "LoadError": "falcorules.engine",
        "check": "falcorules.engine",
        "load": "falcorules.engine",
        "from_values": "falcorules.chart",
        "Event": "falcorules.events",
        "RecordedEvent": "falcorules.events",
        "open_events": "falcorules.events",
        "read_events": "falcorules.events",
        "Explanation": "falcorules.explain",
        "Truth": "falcorules.explain",
        "Verdict": "falcorules.explain",
        "Rule": "falcorules.loader",
        "Alert": "falcorules.output",
        "parse_condition": "falcorules.parser",
        "Replay": "falcorules.replay",
        "Problem": "falcorules.report",
        "Report": "falcorules.report",
    },
)
