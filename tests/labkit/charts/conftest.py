"""Frames to draw."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from labkit.alerts import to_frame

LINES = (Path(__file__).parents[1] / "alerts" / "data" / "falco-alerts.jsonl").read_text().splitlines()


@pytest.fixture(scope="session")
def captured() -> pd.DataFrame:
    """Sixty alerts of a real Falco, raised within two and a half minutes in one pod and on its host."""
    return to_frame(LINES)


@pytest.fixture(scope="session")
def empty() -> pd.DataFrame:
    return to_frame([])


class Make:
    """Makes frames of alerts that differ in what matters."""

    def __call__(self, *alerts: dict[str, Any]) -> pd.DataFrame:
        return to_frame([self._line(**alert) for alert in alerts])

    def _line(self, fields: dict[str, Any] | None = None, **changes: Any) -> str:
        alert = json.loads(LINES[0])
        return json.dumps({**alert, **changes, "output_fields": {**alert["output_fields"], **(fields or {})}})


@pytest.fixture(scope="session")
def make() -> Make:
    return Make()
