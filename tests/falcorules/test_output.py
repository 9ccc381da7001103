"""Output formats and alerts, byte for byte as Falco prints them."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from falcorules import Engine, RecordedEvent, RuleError
from falcorules.output import BadFormat, Format


def _text(format_: str, **values: Any) -> str:
    event = RecordedEvent({name.replace("__", "."): value for name, value in values.items()})
    return Format.parse(format_).text(event.get)


@pytest.mark.parametrize(
    ("format_", "expected"),
    [
        ("plain", "plain"),
        ("*plain", "plain"),
        ("%proc.name", "cat"),
        ("a %proc.name.", "a cat."),
        ("%proc.name%fd.num", "cat3"),
        ("%proc.names", "cats"),
        ("%fd.name", "<NA>"),
        ("%5proc.name|", "cat  |"),
        ("%2proc.name|", "ca|"),
        ("%6fd.name|", "<NA>  |"),
        ("%proc.aname[1] %proc.aname[7]", "bash <NA>"),
        ("%evt.arg.flags %evt.arg.mode", "O_RDONLY <NA>"),
        ("%toupper(proc.name) %tolower( proc.exe )", "CAT x"),
        ("%len(proc.name)", "3"),
        ("%concat(proc.name, '-', proc.exe)", "cat-X"),
        ("%join('/', (proc.name, fd.num, evt.failed))", "cat/3/false"),
        ("%join('/', fd.types) %toupper(fd.types)", "file/pipe (FILE,PIPE)"),
        ("%concat(proc.name, fd.name)", "<NA>"),
        ("%tolower(proc.name)[1]", "cat[1]"),
        ("%tolower(evt.time)", "04:20:15.177232855"),
        ("%proc.name[1] %proc.name[", "cat[1] cat["),
        ("%proc.aname %proc.apid", "cat 7"),
        ("%evt.dir %evt.latency %evt.latency.human", "< 0 0ns"),
        ("%3user.name|", "ä\udcc3|"),  # in bytes
        ("%evt.failed %proc.fdusage", "false 0.5"),
        ("%fd.types", "(file,pipe)"),
        ("%evt.time %evt.time.s", "04:20:15.177232855 04:20:15"),
        ("%evt.time.iso8601", "2026-11-23T04:20:15.177232855+0000"),
        ("%evt.datetime", "2026-11-23 04:20:15.177232855"),
        ("%evt.args", "a\nb"),
    ],
)
def test_a_format_with_values_in_place(format_: str, expected: str) -> None:
    now = 1795407615177232855
    times = dict.fromkeys(("evt__time", "evt__time__s", "evt__time__iso8601", "evt__datetime"), now)
    values: dict[str, Any] = {
        "evt__type": "openat",
        "proc__name": "cat",
        "proc__exe": "X",
        "fd__num": 3,
        "proc__aname": ["cat", "bash"],
        "proc__apid": [7, 1],
        "user__name": "äé",
        "evt__arg": {"flags": "O_RDONLY"},
        "evt__failed": False,
        "proc__fdusage": 0.45,
        "fd__types": ["file", "pipe"],
        "evt__args": "a\nb",
    }
    if format_.startswith("%evt.failed"):
        values["proc__fdusage"] = 0.5
    assert _text(format_, **times, **values) == expected


@pytest.mark.parametrize(
    ("format_", "message"),
    [
        ("", "empty formatting token"),
        ("100%", "formatting cannot end with a %"),
        ("%20", "formatting cannot end with a number"),
        ("%nothing.here", "unknown filter: unexpected token after '"),
        ("% proc.name", "unknown filter"),
        ("%tolower(proc.name", "unknown filter: unexpected token after '"),
        ("%tolower(proc.pid)", "unknown filter: unexpected token after '"),
        ("%concat(proc.name)", "unknown filter: unexpected token after '"),
        ("%tolower(proc.name, fd.name)", "unknown multivalue transformer"),
    ],
)
def test_a_format_that_cannot_be_used(format_: str, message: str) -> None:
    with pytest.raises(BadFormat, match=message.replace("(", r"\(")):
        Format.parse(format_)


def test_long_formats_take_time_in_proportion() -> None:
    started = time.process_time()
    assert len(Format.parse("%proc.name " * 20_000).tokens) == 20_000
    assert Format.parse("%proc.name" + "x" * 200_000 + ".y" * 100_000).tokens[0].fields[0][0] == "proc.name"
    assert time.process_time() - started < 10


SHELL = """
- rule: Terminal shell in container
  desc: d
  condition: evt.type in (execve, execveat) and proc.tty != 0 and proc.name in (bash, sh)
  output: "A shell was spawned in a container with an attached terminal | evt_type=%evt.type user=%user.name
    user_uid=%user.uid user_loginuid=%user.loginuid process=%proc.name proc_exepath=%proc.exepath parent=%proc.pname
    command=%proc.cmdline terminal=%proc.tty exe_flags=%evt.arg.flags"
  priority: NOTICE
  tags: [maturity_stable, container, shell, mitre_execution, T1059]
"""


def test_alerts_are_those_that_a_real_falco_printed(recorded_alerts: list[dict[str, Any]]) -> None:
    engine = Engine(hostname="vm")
    engine.load([("shell.yaml", SHELL)])
    wanted = [alert for alert in recorded_alerts if alert["rule"] == "Terminal shell in container"]
    assert wanted
    for recorded in wanted:
        (alert,) = engine.process(RecordedEvent(recorded["output_fields"]))
        assert alert.to_text() == recorded["output"]
        assert alert.to_json() == json.dumps(recorded, separators=(",", ":"), ensure_ascii=False, sort_keys=True)


def test_published_formats_give_all_recorded_alerts(
    upstream: list[Path], recorded_alerts: list[dict[str, Any]]
) -> None:
    engine = Engine()
    engine.load(upstream)
    for recorded in recorded_alerts:
        event = RecordedEvent(recorded["output_fields"])
        text = engine.rule(recorded["rule"]).format.text(event.get)
        prefix = Format.parse("%evt.time: ").text(event.get)
        assert f"{prefix}{recorded['priority']} {text}" == recorded["output"]


def test_missing_fields_are_null_and_numbers_stay_numbers() -> None:
    engine = Engine(suggested_output=False, extra_fields={"lab": "workshop", "who": "user %user.name"})
    rule = "- rule: R\n  desc: d\n  condition: evt.type = open\n  output: o %proc.pid %fd.name %toupper(proc.name)\n"
    engine.load([("r.yaml", f"{rule}  priority: info\n  tags: [z, a]\n")])
    (alert,) = engine.process(RecordedEvent({"evt.type": "open", "evt.time": 5, "proc.pid": 7, "user.name": "ä\x01"}))
    assert alert.to_json() == (
        '{"hostname":"","output":"00:00:00.000000005: Informational o 7 <NA> <NA>","output_fields":{"evt.time":5,'
        '"fd.name":null,"lab":"workshop","proc.name":null,"proc.pid":7,"who":"user ä\\u0001"},'
        '"priority":"Informational","rule":"R",'
        '"source":"syscall","tags":["a","z"],"time":"1970-01-01T00:00:00.000000005Z"}'
    )


def test_times_and_texts_that_cannot_be_are_printed_all_the_same() -> None:
    engine = Engine(suggested_output=False)
    rule = "- rule: R\n  desc: d\n  condition: evt.type = open and evt.time exists\n  output: '%proc.name'\n"
    engine.load([("r.yaml", f"{rule}  priority: info\n")])
    for moment in (-1, 1 << 70):
        (alert,) = engine.process(RecordedEvent({"evt.type": "open", "evt.time": moment, "proc.name": "\ud800"}))
        assert "\ufffd" not in alert.output
        assert json.loads(alert.to_json())["output_fields"]["proc.name"] == "?"


def test_the_parts_of_the_json_line_can_be_chosen() -> None:
    engine = Engine(properties=("message",), time_iso_8601=True)
    engine.load([("shell.yaml", SHELL)])
    (alert,) = engine.process(RecordedEvent({"evt.type": "execve", "evt.time": 0, "proc.tty": 1, "proc.name": "sh"}))
    assert set(alert.to_dict()) == {"hostname", "message", "priority", "rule", "source", "time"}
    assert alert.output.startswith("1970-01-01T00:00:00.000000000+0000: Notice A shell")


def test_an_extra_field_that_cannot_be_formatted_is_refused() -> None:
    with pytest.raises(RuleError, match="extra field 'x'"):
        Engine(extra_fields={"x": "%nothing.here"})
