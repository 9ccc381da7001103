"""The day of alerts that chapters 05 to 07 are about, the intruder in it, and the events behind it for a replay."""

from __future__ import annotations

import gzip
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from falcorules import Alert, RecordedEvent

DAY = Path("notebooks", "data", "day.jsonl.gz")
EVENTS = Path("notebooks", "data", "day-events.jsonl.gz")
NOISY_RULE, NOISY_PROGRAM = "Contact K8S API Server From Container", "config-sync"
# What the two pods do all day, and an audit in all pods.
_ORDINARY = ("sh -c convert ", f"{NOISY_PROGRAM} ", "grep -c ^[^:]*:: /etc/shadow")


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


@cache
def events(root: Path) -> list[RecordedEvent]:
    """The system calls that alerted, and the programs that were started in between, oldest first."""
    from falcorules import open_events

    return list(open_events(root / EVENTS))


@cache
def raised(root: Path) -> tuple[Alert, ...]:
    """The alerts that Falco's default rules raise on the events."""
    import falcorules

    return falcorules.load([falcorules.default_rules()]).replay(events(root)).alerts


def intruder(day: pd.DataFrame) -> pd.DataFrame:
    """The rows that are the intruder's, in the pod with the hole and in the one that it moved to."""
    import pandas as pd

    command = day["proc.cmdline"].astype("string").fillna("")
    brought = day["proc.exepath"].astype("string").fillna("").str.startswith("/tmp/.")
    first, last = day[brought].iloc[0], day[brought].iloc[-1]
    moved_to = next(pod for pod in day["k8s.pod.name"].dropna().unique() if pod in last["proc.cmdline"])
    there = (day["k8s.pod.name"] == first["k8s.pod.name"]) | (day["k8s.pod.name"] == moved_to)
    hour = pd.Timedelta(hours=1)
    then = day["time"].between(first["time"] - hour, last["time"] + hour)
    visit: pd.DataFrame = day[there & then & ~command.str.startswith(_ORDINARY)]
    return visit
