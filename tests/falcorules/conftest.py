"""What the tests of the rule language share: recorded events, and ways to evaluate one condition."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from falcorules import Engine, RecordedEvent, Report, check

DATA = Path(__file__).parent / "data"


def rule_file(condition: str, *, output: str = "o", more: str = "") -> str:
    """A rules file with one rule `R`; the condition goes in as a JSON string, which YAML reads."""
    return (
        f"- rule: R\n  desc: d\n  condition: {json.dumps(condition)}\n  output: {json.dumps(output)}\n"
        f"  priority: NOTICE\n{more}"
    )


@pytest.fixture
def report_on() -> Callable[[str], Report]:
    return lambda text: check([("rules.yaml", text)])


@pytest.fixture
def matches() -> Callable[..., bool]:
    """Whether a condition is true for an event given as field values."""

    def evaluate(condition: str, values: dict[str, Any] | None = None, **fields: Any) -> bool:
        engine = Engine()
        engine.load([("rules.yaml", rule_file(condition))])
        named = {name.replace("__", "."): value for name, value in fields.items()}
        return bool(engine.process(RecordedEvent({"evt.type": "openat", "evt.time": 0, **named, **(values or {})})))

    return evaluate


@pytest.fixture(scope="session")
def events() -> list[RecordedEvent]:
    """System calls that a real Falco recorded while commands ran in a container."""
    with gzip.open(DATA / "events.jsonl.gz") as lines:
        return [RecordedEvent(json.loads(line)) for line in lines]


@pytest.fixture(scope="session")
def recorded_alerts() -> list[dict[str, Any]]:
    """Alerts that a real Falco printed."""
    alerts: list[dict[str, Any]] = json.loads(gzip.decompress((DATA / "alerts.json.gz").read_bytes()))
    return alerts


@pytest.fixture(scope="session")
def upstream() -> list[Path]:
    """The rule files that the Falco project publishes, unmodified, in the order in which they are loaded."""
    return [DATA / "published" / f"falco{name}_rules.yaml" for name in ("", "-incubating", "-sandbox")]
