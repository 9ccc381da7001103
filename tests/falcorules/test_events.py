"""Recorded events: written and read again, and parts that a recording holds only as a whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from falcorules import EventError, RecordedEvent, as_line, open_events, read_events, write_lines
from falcorules.events import TypedEvent

EVENT = {"evt.type": "openat", "evt.time": 5, "evt.source": "syscall", "fd.name": "/etc/é", "evt.arg": {"fd": "<f>3"}}


@pytest.mark.parametrize("name", ["events.jsonl", "events.jsonl.gz"])
def test_written_events_are_read_again(tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    write_lines(file, [as_line(RecordedEvent(EVENT)), "\n", as_line(RecordedEvent(EVENT | {"evt.time": 6}))])
    assert (file.read_bytes()[:2] == b"\x1f\x8b") is name.endswith(".gz")
    first, second = open_events(file)
    assert first.to_dict() == EVENT
    assert (second.type, second.time, second.source) == ("openat", 6, "syscall")
    assert repr(RecordedEvent(EVENT | {"proc.cmdline": "cat x"})) == "<RecordedEvent openat cat x>"


def test_a_file_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(EventError, match=r"Can't write events to .*: No such file or directory") as caught:
        write_lines(tmp_path / "none" / "x", [])
    assert caught.value.hint == "Name a file that can be written, in a folder that is there."


def test_a_line_is_bounded(tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    text = '{"evt.type": "open", "x": "%s"}'
    file.write_text(text % ("x" * ((1 << 20) - len(text) + 1)) + "\n")
    assert [event.type for event in open_events(file)] == ["open"]
    file.write_text('{"evt.type": "open"}\n' + "x" * ((1 << 20) + 1))
    with pytest.raises(EventError, match="line 2 is longer than 1 MiB"):
        list(open_events(file))


def test_an_event_is_a_mapping() -> None:
    with pytest.raises(EventError, match=r"\[1\] is not an event"):
        RecordedEvent([1])  # type: ignore[arg-type]
    with pytest.raises(EventError, match="events, line 1 is not text: 5"):
        list(read_events([5]))  # type: ignore[list-item]


@pytest.mark.parametrize(
    ("values", "field", "argument", "value"),
    [
        ({"proc.aname[1]": "sh"}, "proc.aname", "1", "sh"),
        ({"proc.aname": ["a", "b"]}, "proc.aname", "1", "b"),
        ({"proc.aname": ["a", "b"]}, "proc.aname", "2", None),
        ({"proc.aname": ["a", "b"]}, "proc.aname", "x", None),
        ({"evt.arg": {"path": "x"}}, "evt.arg", "path", "x"),
        ({"evt.arg": {"name": "x"}}, "evt.arg", "2", "x"),  # the third parameter of openat
        ({"evt.arg": {"name": "x"}}, "evt.arg", "99", None),
        ({"evt.arg": {"name": "x"}}, "evt.arg", "flags", None),
        ({"evt.arg.name": "x"}, "evt.arg", "name", "x"),
        ({"proc.args": "-c echo a b", "proc.cmdnargs": 2}, "proc.args", "1", "echo a b"),
        ({"proc.args": "-c echo a b"}, "proc.args", "1", "echo"),
        ({"proc.args": "a b", "proc.cmdnargs": 2}, "proc.args", "2", None),
        ({"proc.args": ""}, "proc.args", "0", None),
        ({"proc.args": "a"}, "proc.args", "x", None),
        ({"proc.args": 5}, "proc.args", "0", None),
        ({"proc.aname": ["a", "sh"], "proc.acmdline": ["a", "sh -c x"]}, "proc.aargs", "1", "-c x"),
        ({"proc.aname": ["a", "sh"], "proc.acmdline": ["a", "sh -c x"]}, "proc.aargs", "2", None),
        ({"proc.aname": ["a", "sh"]}, "proc.aargs", "1", None),
        ({"proc.env": "A=1 B=2 3 C=4"}, "proc.env", "B", "2 3"),
        ({"proc.env": "A=1 B=2 3 C=4"}, "proc.env", "C", "4"),
        ({"proc.env": "A=1 AB=2"}, "proc.env", "B", ""),
        ({}, "proc.env", "B", None),
        ({"proc.stdin.type": "pipe"}, "fd.types", "0", ["pipe"]),
        ({"proc.stderr.type": "file"}, "fd.types", "2", ["file"]),
        ({"fd.num": 7, "fd.type": "ipv4"}, "fd.types", "7", ["ipv4"]),
        ({"fd.num": 7, "fd.type": "ipv4"}, "fd.types", "8", None),
        ({"k8s.pod.labels": "app:web, a:b"}, "k8s.pod.label", "a", "b"),
        ({"k8s.pod.labels": "app:web, a:b"}, "k8s.pod.label", "pp", None),
        ({"container.labels": 1}, "container.label", "a", None),
        ({"thread.cgroups": "cpu=/x memory=/y"}, "thread.cgroup", "memory", "/y"),
        ({"evt.rawarg": {"flags": 3}}, "evt.rawarg", "flags", 3),
        ({"evt.rawarg.flags": 3}, "evt.rawarg", "flags", 3),
        ({"evt.rawres": -2, "evt.arg": {"res": "ENOENT"}}, "evt.rawarg", "res", -2),
        ({"evt.rawres": 3, "evt.arg": {"fd": "<f>3"}}, "evt.rawarg", "fd", 3),
        ({"evt.rawres": 3, "evt.arg": {"fd": "<f>5", "res": "3"}, "fd.num": 5}, "evt.rawarg", "fd", 5),
        ({"evt.arg": {"name": "x", "flags": "O_RDONLY"}}, "evt.rawarg", "name", "x"),
        ({"evt.arg": {"name": "x", "flags": "O_RDONLY"}}, "evt.rawarg", "flags", None),
        ({"evt.arg": {}}, "evt.rawarg", "name", None),
    ],
)
def test_a_part_of_a_field(values: dict[str, Any], field: str, argument: str, value: Any) -> None:
    assert RecordedEvent({"evt.type": "openat", **values}).get(field, argument) == value


@pytest.mark.parametrize(
    ("values", "field", "value"),
    [
        ({"proc.name": 5}, "proc.name", None),
        ({"proc.name": "a"}, "proc.name", "a"),
        ({"proc.pid": "5"}, "proc.pid", None),
        ({"proc.pid": True}, "proc.pid", None),
        ({"proc.pid": 5}, "proc.pid", 5),
        ({"evt.failed": 1}, "evt.failed", None),
        ({"evt.failed": False}, "evt.failed", False),
        ({"fd.sip": 5}, "fd.sip", None),
        ({"evt.buffer": b"x"}, "evt.buffer", b"x"),
        ({"evt.buffer": 5}, "evt.buffer", None),
        ({"proc.aname": ["a", 5, "b"]}, "proc.aname", ["a", "b"]),
        ({"fd.types": "file"}, "fd.types", ["file"]),
        ({"unknown.field": 5}, "unknown.field", 5),
    ],
)
def test_a_value_of_another_type_is_missing(values: dict[str, Any], field: str, value: Any) -> None:
    assert TypedEvent(RecordedEvent({"evt.type": "openat", **values})).get(field) == value


def test_one_text_instead_of_lines_is_refused() -> None:
    with pytest.raises(
        EventError, match=r"events is one text, not lines: 'visit\.jsonl'\n.*open_events\(\) reads a file"
    ):
        list(read_events("visit.jsonl"))
