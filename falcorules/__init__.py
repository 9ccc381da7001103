"""Falco's rule language: checks and loads rule files, and evaluates them over events.

Names are imported when they are first used, so that `import falcorules` costs almost nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from falcorules import markup
    from falcorules.annotated import Annotated, Mark, annotate
    from falcorules.chart import from_values
    from falcorules.engine import Engine, LoadError, check, load
    from falcorules.errors import ConditionError, EventError, FalcoRulesError, RuleError
    from falcorules.events import Event, RecordedEvent, as_line, open_events, read_events, write_lines
    from falcorules.explain import Explanation, Truth, Verdict
    from falcorules.loader import Rule
    from falcorules.output import Alert
    from falcorules.parser import parse_condition
    from falcorules.replay import Replay
    from falcorules.report import Problem, Report
    from falcorules.rulesets import default_rules

__all__ = [
    "Alert",
    "Annotated",
    "ConditionError",
    "Engine",
    "Event",
    "EventError",
    "Explanation",
    "FalcoRulesError",
    "LoadError",
    "Mark",
    "Problem",
    "RecordedEvent",
    "Replay",
    "Report",
    "Rule",
    "RuleError",
    "Truth",
    "Verdict",
    "annotate",
    "as_line",
    "check",
    "default_rules",
    "from_values",
    "load",
    "markup",
    "open_events",
    "parse_condition",
    "read_events",
    "write_lines",
]

_NAMES = {
    "annotated": "Annotated Mark annotate",
    "chart": "from_values",
    "engine": "Engine LoadError check load",
    "errors": "ConditionError EventError FalcoRulesError RuleError",
    "events": "Event RecordedEvent as_line open_events read_events write_lines",
    "explain": "Explanation Truth Verdict",
    "loader": "Rule",
    "output": "Alert",
    "parser": "parse_condition",
    "replay": "Replay",
    "report": "Problem Report",
    "rulesets": "default_rules",
}
_MODULES = {name: module for module, names in _NAMES.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    if name == "markup":
        return importlib.import_module(f"{__name__}.markup")
    if name in _MODULES:
        return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    from falcorules.arguments import near

    hint = "" if name.startswith("_") else near(name, __all__)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}. {hint}".strip())


def __dir__() -> list[str]:
    return list(__all__)
