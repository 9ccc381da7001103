"""Large windows of a log group of an account with quotas and latency: how long one waits, by the way of reading.

The embedded lab answers as such an account does (`ekslab.client.under_load`). Each way is tried in a process of its
own, so that none knows the account's pace before: `python -m benchmarks.windows HOME WAY LOG_GROUP` prints the number
of alerts and the seconds.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import alerts
from benchmarks.report import ROOT, Cell, Part, Table, this_machine

if TYPE_CHECKING:
    from ekslab import client

LATENCY = 0.08
# Requests of FilterLogEvents that an account may make in a second, and the numbers of alerts that are read from it.
QUOTAS = {25: (1_000, 10_000, 100_000), 5: (1_000, 10_000, 50_000)}
FULL = {25: (1_000, 10_000, 100_000, 1_000_000), 5: (1_000, 10_000, 50_000, 100_000)}
SINCE = "25h"
COUNTED = "stats count(*) as alerts by rule, priority"


def one_after_the_other(logs: Any, group: str) -> int:
    from labkit.alerts import events, to_frame

    return len(to_frame(events(logs, group, SINCE)))


def in_parts(logs: Any, group: str) -> int:
    from labkit.alerts import read

    return len(read(logs, group, SINCE))


def by_insights(logs: Any, group: str) -> int:
    from labkit.alerts import read_by_insights

    return len(read_by_insights(logs, group, SINCE, most_dollars=10.0))


def counted_by_insights(logs: Any, group: str) -> int:
    from labkit.alerts import insights

    return int(insights(logs, COUNTED, group, SINCE, timeout=600.0)["alerts"].sum())


WAYS: dict[str, Callable[[Any, str], int]] = {
    "FilterLogEvents, a page after the other (`events`)": one_after_the_other,
    "FilterLogEvents, in parts at a time (`read`)": in_parts,
    "rows by Insights (`read_by_insights`)": by_insights,
    f"counts by Insights (`{COUNTED}`)": counted_by_insights,
}


def measure(*, full: bool = False) -> Part:
    """Seconds for each way, number of alerts and quota. `full`: a million alerts, too, which takes minutes."""
    from ekslab import client
    from labkit.connect import start_embedded
    from labkit.settings import Settings

    machine = this_machine()
    os.environ[client.PARENT] = str(os.getpid())
    home = Path(tempfile.mkdtemp(prefix="labkit-bench-"))
    try:
        endpoints = start_embedded(Settings.load(environ={}, home=home, root=ROOT))
        return Part("windows", machine, waits(endpoints, FULL if full else QUOTAS))
    finally:
        client.stop(home)


def waits(endpoints: client.Endpoints, plan: Mapping[int, Sequence[int]]) -> list[Table]:
    """A table for each quota, of readings from a lab's log groups, which are made."""
    from ekslab import client
    from labkit import Lab

    logs = Lab.connect(home=endpoints.home, root=ROOT).aws.client("logs")
    for count in sorted({count for counts in plan.values() for count in counts}):
        fill(logs, f"bench-{count}", count)
    tables = []
    for quota, counts in plan.items():
        with client.under_load(endpoints, latency=LATENCY, quotas={"FilterLogEvents": quota}):
            rows = [[way, *(_seconds(endpoints.home, way, count) for count in counts)] for way in WAYS]
        title = f"Seconds, with {LATENCY * 1000:.0f} ms of latency and FilterLogEvents at {quota} a second"
        tables.append(Table(title, ("way", *(f"{count:,} alerts" for count in counts)), rows))
    return tables


def fill(logs: Any, group: str, count: int) -> None:
    """Makes a log group with alerts of the last 24 hours."""
    logs.create_log_group(logGroupName=group)
    logs.create_log_stream(logGroupName=group, logStreamName="alerts")
    shift = int(time.time() * 1000) - 86_400_000 - alerts.START // 1_000_000
    batch: list[dict[str, Any]] = []
    size = 0
    for happened, line in alerts.messages(count, "usual"):
        if batch and (size + len(line) + 26 > 1_000_000 or len(batch) == 10_000):
            logs.put_log_events(logGroupName=group, logStreamName="alerts", logEvents=_ordered(batch))
            batch, size = [], 0
        batch.append({"timestamp": happened // 1_000_000 + shift, "message": line.decode()})
        size += len(line) + 26
    logs.put_log_events(logGroupName=group, logStreamName="alerts", logEvents=_ordered(batch))


def _ordered(batch: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(batch, key=lambda event: int(event["timestamp"]))


def _seconds(home: Path, way: str, count: int) -> Cell:
    command = [sys.executable, "-m", "benchmarks.windows", str(home), way, f"bench-{count}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{way} failed with {count:,} alerts:\n{done.stderr}")
    found, spent = done.stdout.split()
    if int(found) != count:
        raise RuntimeError(f"{way}: {found} alerts of {count:,}.")
    return float(spent)


def main(home: str, way: str, group: str) -> None:
    import labkit.alerts
    from labkit import Lab

    logs = Lab.connect(home=Path(home), root=ROOT).aws.client("logs")
    assert labkit.alerts.to_frame([]).empty  # imports what a frame takes
    started = time.perf_counter()
    found = WAYS[way](logs, group)
    print(found, time.perf_counter() - started)


if __name__ == "__main__":
    main(*sys.argv[1:])
