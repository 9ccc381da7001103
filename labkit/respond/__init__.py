"""Responses to alerts: metrics, alarms, dashboard and what they cost, Security Hub findings and OCSF events."""

from __future__ import annotations

from labkit.lazy import lazily

__all__ = ["alarms", "costs", "dashboard", "findings", "forwarder", "metrics", "ocsf"]

__getattr__, __dir__ = lazily(__name__, {name: f"{__name__}.{name}" for name in __all__})
