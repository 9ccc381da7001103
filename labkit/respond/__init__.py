"""What follows an alert: alerts come in, metrics, alarms and findings come out. Import the module that you need."""

from __future__ import annotations

from labkit.lazy import lazily

__all__ = ["alarms", "costs", "findings", "forwarder", "metrics", "ocsf"]

__getattr__, __dir__ = lazily(__name__, {name: f"{__name__}.{name}" for name in __all__})
