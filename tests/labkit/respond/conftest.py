"""A lab whose log group and names are a test's own, on the embedded lab that the session shares."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ekslab.state import Endpoints
from labkit import Lab

LINES = (Path(__file__).parents[1] / "alerts/data/falco-alerts.jsonl").read_text().splitlines()


@pytest.fixture(scope="session")
def connected(embedded: Endpoints, workshop: Path) -> Lab:
    return Lab.connect(home=embedded.home, root=workshop)


@pytest.fixture
def lab(connected: Lab, request: pytest.FixtureRequest) -> Lab:
    """Nothing has been applied to it. Its boto3 clients are those of the session's other labs."""
    name = f"test-{abs(hash(request.node.nodeid)):x}"
    target = connected.target
    lab = Lab(replace(target, settings=replace(target.settings, log_group=name, prefix=name)))
    lab.apply("log-group")
    return lab


@pytest.fixture
def alert() -> Callable[..., str]:
    """A line of Falco's with other values; `None` takes a key away."""

    def make(**changes: Any) -> str:
        found = {**json.loads(LINES[0]), **changes}
        return json.dumps({key: value for key, value in found.items() if value is not None})

    return make


@pytest.fixture
def log(lab: Lab) -> Callable[..., None]:
    """Puts messages into the log group, the first logged `minutes` ago, each later one `step` seconds after it."""

    def put(*messages: str, minutes: float = 0, step: float = 0) -> None:
        start = time.time() - minutes * 60
        events = [
            {"timestamp": int((start + step * i) * 1000), "message": message} for i, message in enumerate(messages)
        ]
        lab.aws.client("logs").put_log_events(
            logGroupName=lab.settings.log_group, logStreamName="alerts", logEvents=events
        )

    return put
