"""What the tests of the rule language share: recorded events, and ways to evaluate one condition."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from falcorules import Engine, RecordedEvent, Report, check

DATA = Path(__file__).parent / "data"

_ROOT = Path(__file__).parents[2]
# Read now: the tests run without the person's own settings.
_PUBLISHED_FOLDERS = (
    *(Path(folder) for folder in (os.environ.get("LABKIT_UPSTREAM_RULES"),) if folder),
    _ROOT / ".labkit" / "rules",
    _ROOT.parent / "shared" / "upstream-rules",
)


def _published() -> list[Path]:
    """The rule files that the Falco project publishes, in the order in which they are loaded; empty if not here."""
    names = [f"falco{tier}_rules.yaml" for tier in ("", "-incubating", "-sandbox")]
    found = ([folder / name for name in names] for folder in _PUBLISHED_FOLDERS)
    return next((files for files in found if all(file.exists() for file in files)), [])


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out the tests of the published rule files where these aren't: `labkit rules fetch` brings them."""
    if _published():
        return
    left_out = [item for item in items if "upstream" in getattr(item, "fixturenames", ())]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


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
    """The rule files that the Falco project publishes."""
    return _published()
