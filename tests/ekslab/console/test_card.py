"""The console's card of an alert, compared with the notebook's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ekslab.console.alerts import card_of
from falcorules.markup import PRIORITY_COLOURS
from labkit.alerts.card import Alert
from labkit.alerts.frame import to_frame

ROOT = Path(__file__).parents[3]
ODD: dict[str, dict[str, Any]] = {
    "markup": {"proc.cmdline": "<img src=x onerror=alert(1)>", "fd.name": "</script><b>", "user.name": "&amp;"},
    "control characters": {"proc.cmdline": "a\x1b[31m\x00\r\n\tb", "fd.name": "\u202egnp.exe"},
    "emoji": {"proc.cmdline": "🦅" * 50, "fd.name": "é́"},
    "nulls": {"proc.cmdline": None, "fd.name": None, "k8s.pod.name": None, "container.id": "host"},
    "numbers": {"proc.tty": 34816, "user.uid": 0, "user.loginuid": -1},
    "ancestors": {"proc.aname[2]": "bash", "proc.aname[3]": "sshd", "proc.pname": "sh", "proc.name": "cat"},
    "nothing": {},
}


def alert(**changed: Any) -> dict[str, Any]:
    return {
        "time": "2026-10-04T09:30:00.123456789Z",
        "rule": "Read sensitive file untrusted",
        "priority": "Warning",
        "source": "syscall",
        "hostname": "node-1",
        "output": "09:30:00.123456789: Warning Sensitive file opened | file=/etc/shadow gparent=<NA>",
        "tags": ["mitre_credential_access", "T1555", "container"],
        "output_fields": {"evt.type": "openat", "evt.time": 1791106200123456789},
        **changed,
    }


def compare(one: dict[str, Any]) -> None:
    shown = Alert.of(to_frame([json.dumps(one)]).iloc[0])
    card = card_of(one)
    assert (card["priority"], card["rule"]) == (str(shown["priority"]), shown["rule"])
    assert card["facts"] == shown._facts
    assert card["output"] + card["more"] == shown["output"]
    ours = {title: {name: (value, note) for name, value, note in rows} for title, rows in card["sections"]}
    theirs = {title: {name: (value, note) for name, value, note in rows} for title, rows in shown._sections()}
    assert ours == theirs
    assert [title for title, _ in card["sections"]] == [title for title, _ in shown._sections()]
    for (_, mine), (_, other) in zip(card["sections"], shown._sections(), strict=True):
        assert [name for name, *_ in mine] == [name for name, *_ in other]


@pytest.mark.parametrize("what", ODD)
def test_it_has_what_the_notebooks_card_has(what: str) -> None:
    one = alert()
    one["output_fields"] |= ODD[what]
    compare(one)


def test_priorities_have_the_colours_of_the_notebooks() -> None:
    css = (ROOT / "ekslab" / "console" / "static" / "console.css").read_text(encoding="utf-8")
    for priority, (background, text) in PRIORITY_COLOURS.items():
        assert f".p-{priority.lower()} {{ background: {background}; color: {text}; }}" in css
