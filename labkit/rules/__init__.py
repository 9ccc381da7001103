"""Falco's rule language: rule files and events in, reports and alerts out. Names are imported when they are used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labkit.lazy import lazily

if TYPE_CHECKING:
    from labkit.errors import ConditionError, RuleError
    from labkit.rules.chart import from_values
    from labkit.rules.engine import Engine, LoadError, check, load
    from labkit.rules.events import Event, RecordedEvent, open_events, read_events
    from labkit.rules.explain import Explanation, Truth, Verdict
    from labkit.rules.loader import Rule
    from labkit.rules.output import Alert
    from labkit.rules.parser import parse_condition
    from labkit.rules.replay import Replay
    from labkit.rules.report import Problem, Report

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
        "Engine": "labkit.rules.engine",
        "LoadError": "labkit.rules.engine",
        "check": "labkit.rules.engine",
        "load": "labkit.rules.engine",
        "from_values": "labkit.rules.chart",
        "Event": "labkit.rules.events",
        "RecordedEvent": "labkit.rules.events",
        "open_events": "labkit.rules.events",
        "read_events": "labkit.rules.events",
        "Explanation": "labkit.rules.explain",
        "Truth": "labkit.rules.explain",
        "Verdict": "labkit.rules.explain",
        "Rule": "labkit.rules.loader",
        "Alert": "labkit.rules.output",
        "parse_condition": "labkit.rules.parser",
        "Replay": "labkit.rules.replay",
        "Problem": "labkit.rules.report",
        "Report": "labkit.rules.report",
    },
)
