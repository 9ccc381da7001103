"""Falco's metrics for Prometheus, as its web server has them at `/metrics`: those of events, rules and versions.

What real Falco adds about its process, its tables and each CPU is left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from ekslab import versions
from falcorules import Rule

CONTENT_TYPE = "text/plain; version=0.0.4"
_PRIORITIES = ("Emergency", "Alert", "Critical", "Error", "Warning", "Notice", "Informational", "Debug")


class Counts:
    """What one Falco has counted since it loaded its rules, which are `rules`."""

    def __init__(self, rules: Iterable[Rule], *, hostname: str, started: int) -> None:
        self.events = 0
        self.matches: Counter[str] = Counter()
        self._rules = list(rules)
        self._hostname = hostname
        self._started = started

    def text(self, *, now: int, by_rule: bool, kernel: bool) -> str:
        """All metrics. Times are in ns; `by_rule` and `kernel` are settings that switch some on."""
        lines = _metric("falco", "version_info", "gauge", 1, {"version": versions.FALCO})
        for rule in self._rules if by_rule else ():
            if count := self.matches[rule.name]:
                labels = {
                    "priority": str(_PRIORITIES.index(rule.priority)),
                    "rule_name": rule.name,
                    "source": rule.source,
                    **{f"tag_{tag}": "true" for tag in sorted(rule.tags)},
                }
                lines += _metric("falco", "rules_matches_total", "counter", count, dict(sorted(labels.items())))
        engine = {"engine_name": "modern_bpf", "evt_source": "syscall"}
        lines += _metric("scap", "engine_name_info", "gauge", 1, engine)
        if kernel:
            lines += _metric("scap", "n_evts_total", "counter", self.events)
            lines += _metric("scap", "n_drops_total", "counter", 0)
        lines += _metric("evt", "hostname_info", "gauge", 1, {"hostname": self._hostname})
        lines += _metric("falco", "outputs_queue_num_drops_total", "counter", 0)
        lines += _metric("falco", "start_timestamp_nanoseconds", "gauge", self._started)
        lines += _metric("falco", "duration_seconds_total", "counter", (now - self._started) // 1_000_000_000)
        return "\n".join([*lines, ""])


def _metric(subsystem: str, name: str, kind: str, value: int, labels: Mapping[str, str] | None = None) -> list[str]:
    full = f"falcosecurity_{subsystem}_{name}"
    inner = ",".join(f'{key}="{_escaped(text)}"' for key, text in (labels or {}).items())
    braces = f"{{{inner}}}" if inner else ""
    return [f"# HELP {full} https://falco.org/docs/metrics/", f"# TYPE {full} {kind}", f"{full}{braces} {value}"]


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
