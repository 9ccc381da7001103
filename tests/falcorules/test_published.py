"""The published rule files, where they are at hand: what they raise, and that the lab's rules raise the same."""

from __future__ import annotations

import json
import lzma
from pathlib import Path
from random import Random
from typing import Any

import pytest

from falcorules import Engine, RecordedEvent, check, load
from tests.falcorules.test_stable_rules import CASES
from tests.falcorules.test_stable_rules import FILE as STABLE

DATA = Path(__file__).parent / "data"

# What else programs, files and users are called in the rules' lists and macros.
OTHER_VALUES: dict[str, list[Any]] = {
    "proc.name": [
        "sshd",
        "sudo",
        "cron",
        "bash",
        "dpkg",
        "systemd-logind",
        "httpd",
        "mysqld",
        "java",
        "runc",
        "scp",
        "nc",
    ],
    "proc.pname": ["httpd", "nginx", "sshd", "cron", "runc", "containerd-shim", "sh", "", "tini", "<NA>", "exe"],
    "proc.aname": [["cat", "sh", "sshd"], ["x", "linux-bench"], []],
    "proc.cmdline": ["sh -c /usr/bin/x", "bash", "grep id_rsa", "find / -name .env", "nc -lvp 4444 -e /bin/sh"],
    "fd.name": [
        "/etc/shadow",
        "/etc/sudoers.d/x",
        "/etc/pam.conf",
        "/var/log/auth.log",
        "/root/.bash_history",
        "/.ssh/id_rsa",
    ],
    "container.image.repository": ["docker.io/falcosecurity/falco", "quay.io/x", "k8s.gcr.io/kube-proxy"],
    "user.name": ["bin", "daemon", "nobody", "<NA>"],
    "evt.res": ["SUCCESS", "ENOENT", "EINPROGRESS", "EACCES"],
}


def test_they_load_without_a_word(upstream: list[Path]) -> None:
    report = check(upstream)
    assert report.successful
    assert report.warnings == []
    assert [file.schema_warnings for file in report.files] == [[], [], []]


def test_the_labs_rules_raise_what_the_published_ones_of_the_same_name_raise(upstream: list[Path]) -> None:
    engines = [Engine(matching="all"), Engine(matching="all")]
    for engine, file in zip(engines, (STABLE, upstream[0]), strict=True):
        engine.load([file])
    ours, published = ([(rule.name, rule.priority, rule.tags) for rule in engine.rules] for engine in engines)
    assert ours == published
    events = [event for fires, silent in CASES.values() for event in (*fires, *silent)]
    values: dict[str, list[Any]] = {name: list(others) * 20 for name, others in OTHER_VALUES.items()}
    for event in events:
        for name, value in event.items():
            values.setdefault(name, []).append(value)
    random = Random(1)
    raised = set()
    for number in range(4_000):
        event = dict(events[number] if number < len(events) else random.choice(events))
        if number >= len(events):
            for name in random.sample(sorted(event.keys() - {"evt.type"}), random.randint(1, 3)):
                event[name] = random.choice(values[name])
        expected, found = ([rule.name for rule in engine.matches(RecordedEvent(event))] for engine in engines[::-1])
        assert found == expected, event
        raised.update(found)
    assert raised == {name for name, _, _ in ours}


@pytest.fixture(scope="module")
def recording() -> list[RecordedEvent]:
    """All system calls of a recorded minute; `test_engine.py` has those that raised an alert, and a few others."""
    with lzma.open(DATA / "recording.jsonl.xz") as lines:
        return [RecordedEvent(json.loads(line)) for line in lines]


def raised_by(files: list[Path], recording: list[RecordedEvent]) -> dict[str, list[str]]:
    engine = Engine(matching="all")
    engine.load(files)
    alerts = {str(event.get("evt.num")): [alert.rule for alert in engine.process(event)] for event in recording}
    return {number: rules for number, rules in alerts.items() if rules}


@pytest.fixture(scope="module")
def expected() -> dict[str, list[str]]:
    """By number of the event: the rules of which Falco raised an alert."""
    found: dict[str, list[str]] = json.loads((DATA / "recording-alerts.json").read_text())
    return found


def test_recorded_events_raise_what_falco_raised(
    upstream: list[Path], recording: list[RecordedEvent], expected: dict[str, list[str]]
) -> None:
    assert raised_by(upstream, recording) == expected


def test_recorded_events_raise_the_same_by_the_labs_rules(
    recording: list[RecordedEvent], expected: dict[str, list[str]]
) -> None:
    own = {rule.name for rule in load([STABLE]).rules}
    of_these = {number: [rule for rule in rules if rule in own] for number, rules in expected.items()}
    assert {"Read sensitive file untrusted", "Search Private Keys or Passwords"} <= {
        r for rs in of_these.values() for r in rs
    }
    assert raised_by([STABLE], recording) == {number: rules for number, rules in of_these.items() if rules}
