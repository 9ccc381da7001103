"""Frames to sort."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from labkit.alerts import read_file
from tests.labkit.charts.conftest import captured, empty, make  # noqa: F401

DAY = Path(__file__).parents[3] / "notebooks" / "data" / "day.jsonl.gz"
WORDS = ("rule", "source", "hostname")


@pytest.fixture(scope="session")
def day() -> pd.DataFrame:
    """A day of a busy cluster, with an intruder in it."""
    return read_file(DAY)


def as_categories(df: pd.DataFrame) -> pd.DataFrame:
    """The frame with each column of text as a categorical one."""
    texts = [name for name in df.columns if df[name].dtype == "string"]
    return df.astype(dict.fromkeys(texts, "category"))


def alert(time: str, rule: str = "A rule", priority: str = "Notice", **fields: Any) -> dict[str, Any]:
    """An alert for `make`, at a time of 23 November; `fields` have `_` for the first dot of their names."""
    named = {"pod": "k8s.pod.name", "namespace": "k8s.ns.name", "image": "container.image.repository"}
    defaults = {"proc.tty": 0, "proc.cmdline": "ls", "proc.name": "ls", "proc.pname": "sh", "proc.exepath": "/bin/ls"}
    changed = {named.get(name, name.replace("_", ".", 1)): value for name, value in fields.items()}
    clock = time if time.count(":") == 2 else f"{time}:00"
    stamp = {"time": f"2026-11-23T{clock}Z", "rule": rule, "priority": priority, "tags": fields.pop("tags", [])}
    changed.pop("tags", None)
    return {**stamp, "fields": {**defaults, "fd.name": None, **changed}}
