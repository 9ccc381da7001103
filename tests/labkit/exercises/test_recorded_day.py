"""The day of alerts: made again by the nodes that made it, and what somebody who knows such alerts would look at."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import falcorules
from labkit.exercises import recorded_day
from labkit.exercises.recorded_day import DAY, EVENTS
from tests.day_of_alerts.day import lines


@pytest.fixture(scope="module")
def day(workshop: Path) -> pd.DataFrame:
    return recorded_day.frame(workshop)


@pytest.fixture(scope="module")
def events(workshop: Path) -> list[dict[str, Any]]:
    return [event.to_dict() for event in recorded_day.events(workshop)]


def test_the_nodes_make_the_same_day_again(workshop: Path) -> None:
    for file, made in zip((DAY, EVENTS), lines(), strict=True):
        assert gzip.decompress((workshop / file).read_bytes()).decode() == "".join(made), (
            f"{file} isn't what `python -m tests.day_of_alerts` writes"
        )


def test_the_files_are_small(workshop: Path) -> None:
    assert sum((workshop / file).stat().st_size for file in (DAY, EVENTS)) < 1_000_000


def test_a_replay_of_the_events_raises_the_alerts_of_the_day(workshop: Path) -> None:
    replay = falcorules.load([falcorules.default_rules()]).replay(workshop / EVENTS)
    assert [alert.to_json() for alert in replay] == recorded_day.messages(workshop)
    assert replay.events > len(replay) + 500  # programs that were started, and raised no alert


def test_it_is_24_hours_of_a_cluster_and_all_of_it_is_read(day: pd.DataFrame) -> None:
    assert day.attrs["skipped"] == {}
    assert 2900 < len(day) == day.attrs["events"] < 3200
    assert day["time"].is_monotonic_increasing
    assert set(day["time"].dt.hour) == set(range(24))
    assert day["time"].dt.date.nunique() == 1
    assert day["hostname"].nunique() == 4
    assert day["k8s.pod.name"].nunique() > 100  # most of them of cron jobs and builds
    assert day["rule"].nunique() == 15


def test_one_rule_makes_more_than_half_of_the_alerts_and_one_program_nearly_all_of_these(day: pd.DataFrame) -> None:
    noisy = day[day["rule"] == recorded_day.NOISY_RULE]
    assert len(noisy) > len(day) / 2
    assert (noisy["proc.name"] == recorded_day.NOISY_PROGRAM).mean() > 0.9


def test_the_intrusion_is_forty_alerts_in_fifty_minutes_with_pauses(day: pd.DataFrame) -> None:
    visit = recorded_day.intruder(day)
    assert 35 <= len(visit) <= 45
    assert 45 < (visit["time"].iloc[-1] - visit["time"].iloc[0]).total_seconds() / 60 < 55
    assert (visit["time"].diff().dt.total_seconds() > 120).sum() > 5
    assert visit["k8s.pod.name"].nunique() == 2
    assert visit["hostname"].nunique() == 2
    assert visit["rule"].nunique() >= 10


@pytest.mark.parametrize("rule", ["", "Drop and execute new binary in container"])
def test_no_rule_and_no_priority_is_the_intruders_alone(day: pd.DataFrame, rule: str) -> None:
    visit = recorded_day.intruder(day)
    others = day.drop(visit.index)
    assert set(visit["rule"]) <= set(others["rule"])
    critical = others[others["priority"] >= "Critical"]
    assert len(critical) > 40
    assert critical["k8s.ns.name"].nunique() >= 3
    same_hours = others[others["time"].between(visit["time"].iloc[0], visit["time"].iloc[-1])]
    assert len(same_hours) > 2 * len(visit)
    assert (same_hours["rule"] == "Terminal shell in container").any()  # a colleague, in a pod beside


def test_pods_keep_to_their_node_image_and_address(events: list[dict[str, Any]]) -> None:
    for field in ("evt.hostname", "container.id", "container.image", "k8s.pod.ip", "container.start_ts", "k8s.ns.name"):
        seen = {(event["k8s.pod.name"], event[field]) for event in events}
        assert max(Counter(pod for pod, _ in seen).values()) == 1, field
    addresses = {(event["k8s.pod.name"], event["k8s.pod.ip"]) for event in events}
    assert max(Counter(address for _, address in addresses).values()) == 1
    assert all(event["container.start_ts"] < event["evt.time"] for event in events)


def test_processes_have_parents_that_were_there(events: list[dict[str, Any]]) -> None:
    names: dict[tuple[str, int], set[str]] = {}
    for event in events:
        node, numbers = event["evt.hostname"], event["proc.apid"]
        assert numbers[:2] == [event["proc.pid"], event["proc.ppid"]]
        assert len(numbers) == len(event["proc.aname"]) == len(event["proc.acmdline"])
        assert event["proc.aname"][:2] == [event["proc.name"], event["proc.pname"]]
        assert event["proc.aname"][-1] == "containerd-shim"
        for number, name in zip(numbers, event["proc.aname"], strict=True):
            names.setdefault((node, number), set()).add(name)
    # A process that runs another program has another name then; no number stands for two processes.
    changed = [both for both in names.values() if len(both) > 1]
    assert all(len(both) == 2 for both in changed)
    started = {
        (event["evt.hostname"], event["proc.pid"]): event["evt.time"]
        for event in events
        if event["evt.type"] == "execve"
    }
    for event in events:
        if parent := started.get((event["evt.hostname"], event["proc.ppid"])):
            assert parent < event["evt.time"]


def test_numbers_of_processes_and_events_rise_on_each_node(events: list[dict[str, Any]]) -> None:
    for node in {event["evt.hostname"] for event in events}:
        here = [event for event in events if event["evt.hostname"] == node]
        numbers = [event["evt.num"] for event in here]
        assert numbers == sorted(set(numbers))
        started = [e["proc.pid"] for e in here if e["evt.type"] == "execve" and e["proc.vpid"] > 1]
        later = sum(b < a for a, b in pairwise(started))
        assert later < len(started) / 20  # numbers are given at the fork


def test_an_alerts_text_has_its_fields(workshop: Path) -> None:
    for line in recorded_day.messages(workshop):
        alert = json.loads(line)
        fields = alert["output_fields"]
        assert alert["output"].startswith(f"{alert['time'][11:29]}: {alert['priority']} ")
        for field in ("proc.cmdline", "k8s.pod.name", "container.id", "proc.exepath"):
            assert f"={fields[field]}" in alert["output"]
        assert fields["evt.time"] % 10**9 == int(alert["time"][20:29])


def test_terminals_and_users_go_with_the_process(events: list[dict[str, Any]]) -> None:
    for event in events:
        terminal = event["proc.tty"]
        assert terminal == 0 or terminal >= 34816
        assert {"root": 0, "www-data": 33, "app": event["user.uid"], "node": 1000, "postgres": 999, "redis": 999}[
            event["user.name"]
        ] == event["user.uid"]
        if event["evt.type"] == "execve" and event["proc.is_exe_upper_layer"]:
            assert event["proc.exe_ino.ctime"] < event["evt.time"]
            assert event["proc.exe_ino.ctime"] > event["container.start_ts"]
