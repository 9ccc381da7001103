"""The whole day: alerts and events as lines."""

from __future__ import annotations

from falcorules import as_line, default_rules
from tests.day_of_alerts.cluster import Cluster, run
from tests.day_of_alerts.intruder import Intruder
from tests.day_of_alerts.people import People
from tests.day_of_alerts.work import BEFORE, Work


async def _day(cluster: Cluster) -> None:
    work = Work(cluster)
    await work.start()
    work.begin()
    People(work).begin()
    cluster.begin(Intruder(work).visit())
    await cluster.until(24)
    for task in cluster.tasks:
        if task.done() and not task.cancelled():
            task.result()


def lines() -> tuple[list[str], list[str]]:
    """The day's alerts as Falco prints them, and its events as they are recorded, in the order of time."""
    cluster = run(_day, [default_rules()], start=BEFORE, seed=20260310)
    alerts = sorted(cluster.alerts, key=lambda alert: alert.time)
    events = sorted(cluster.events, key=lambda event: event.time)
    return [f"{alert.to_json()}\n" for alert in alerts], [as_line(event) for event in events]
