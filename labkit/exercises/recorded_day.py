"""The day of alerts that chapters 05 to 07 are about, and the intruder in it."""

from __future__ import annotations

import gzip
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

DAY = Path("notebooks", "data", "day.jsonl.gz")


@cache
def messages(root: Path) -> list[str]:
    """The alerts as Falco printed them, oldest first."""
    with gzip.open(root / DAY, "rt", encoding="utf-8") as lines:
        return lines.read().splitlines()


@cache
def frame(root: Path) -> pd.DataFrame:
    """The alerts, with columns as `labkit.alerts.read` has them."""
    from labkit.alerts import read_file

    return read_file(root / DAY)


def intruder(day: pd.DataFrame) -> pd.DataFrame:
    """The rows that are the intruder's: of the pod with the first shell, and of the one that it went on to."""
    import pandas as pd

    shell = first_shell(day)
    start = shell["time"] - pd.Timedelta(minutes=5)
    visit = day[day["time"].between(start, start + pd.Timedelta(hours=1))]
    pods = [shell["k8s.pod.name"], visit[visit["proc.tty"] > 0]["k8s.pod.name"].iloc[0]]
    return visit[visit["k8s.pod.name"].isin(pods)]


def first_shell(day: pd.DataFrame) -> pd.Series[Any]:
    """The alert of the intruder's first shell."""
    return day[day["rule"] == "Run shell untrusted"].iloc[0]
