"""One message in, one alert or the reason out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.alerts import NotAlert, parse

DATA = Path(__file__).parent / "data"
SHIPPED = [json.loads(line) for line in (DATA / "shipped-messages.jsonl").read_text().splitlines()]
ALERTS = (DATA / "falco-alerts.jsonl").read_text().splitlines()
ALERT = json.loads(ALERTS[0])


@pytest.mark.parametrize("shipped", SHIPPED, ids=lambda s: s["pipeline"])
def test_every_pipeline_delivers_the_same_alert(shipped: dict[str, Any]) -> None:
    alert = parse(shipped["message"])
    if "malformed" in shipped["pipeline"]:
        assert alert is NotAlert.MALFORMED
    elif "start-up" in shipped["pipeline"]:
        assert alert is NotAlert.LIFECYCLE
    else:
        assert not isinstance(alert, NotAlert)
        assert alert["rule"] == "Terminal shell in container"
        assert alert["output_fields"]["evt.time"] == 1767225600123456789
        assert alert["output_fields"]["utf8"] == "café ☃"


@pytest.mark.parametrize("line", ALERTS)
def test_falco_s_own_line_is_taken_as_it_is(line: str) -> None:
    assert parse(line) == json.loads(line)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda line: json.dumps({"log": line}),
        lambda line: json.dumps({"log": line + "\n", "stream": "stdout", "time": "2026-11-23T04:15:07.8Z"}),
        lambda line: json.dumps({"data": json.loads(line)}),
        lambda line: json.dumps({"log": line, "log_processed": json.loads(line)}),
        lambda line: json.dumps({"message": line}),
        lambda line: f"2026-11-23T04:15:07.836922002Z stdout F {line}",
        lambda line: f"  {line}\n",
        lambda line: json.dumps({"log": json.dumps({"log": line})}),
    ],
    ids=["log", "docker", "data", "log_processed", "message", "CRI line", "blanks", "twice"],
)
def test_an_alert_is_found_inside_of_what_shippers_wrap_it_in(wrap: Any) -> None:
    assert parse(wrap(ALERTS[0])) == ALERT


@pytest.mark.parametrize("line", ALERTS)
def test_falco_s_text_form_gives_fields_but_no_rule(line: str) -> None:
    original = json.loads(line)
    alert = parse(original["output"])
    assert not isinstance(alert, NotAlert)
    assert "rule" not in alert
    assert alert["priority"] == original["priority"]
    assert alert["time"] == original["time"][11:-1]
    fields = {name: None if value == "<NA>" else value for name, value in original["output_fields"].items()}
    found = alert["output_fields"]
    both = fields.keys() & found.keys()
    assert {name: found[name] for name in both} == {name: fields[name] for name in both}
    assert {"proc.cmdline", "proc.tty", "user.uid", "container.id", "k8s.pod.name", "evt.type"} <= both


def test_text_values_keep_their_blanks_and_equal_signs() -> None:
    line = "04:20:15.177232855: Warning Something happened | command=sh -c A=1 b=2 cat x terminal=0 file=<NA>"
    alert = parse(line)
    assert not isinstance(alert, NotAlert)
    assert alert["output_fields"] == {"proc.cmdline": "sh -c A=1 b=2 cat x", "proc.tty": 0, "fd.name": None}


@pytest.mark.parametrize("value", ["²", "9" * 5000, "--1", "1_0"])
def test_what_only_looks_like_a_number_stays_text(value: str) -> None:
    alert = parse(f"04:20:15.177232855: Warning Something happened | terminal={value} user_uid=-1")
    assert not isinstance(alert, NotAlert)
    assert alert["output_fields"] == {"proc.tty": value, "user.uid": -1}


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("Mon Nov 23 04:20:00 2026: Falco version: 0.44.1 (x86_64)", NotAlert.LIFECYCLE),
        ("", NotAlert.LIFECYCLE),
        (ALERTS[0][:400], NotAlert.MALFORMED),
        (json.dumps({"log": ALERTS[0][:400]}), NotAlert.MALFORMED),
        ('{"data":' * 200_000, NotAlert.MALFORMED),
        ('{"data":' * 1_000 + ALERTS[0] + "}" * 1_000, NotAlert.MALFORMED),
        ("2026-11-23T04:15:07Z stdout F " * 5_000 + ALERTS[0], NotAlert.MALFORMED),
        ('{"level": "info", "msg": "hello"}', NotAlert.OTHER),
        ('{"rule": "only a name"}', NotAlert.OTHER),
        ("{}", NotAlert.OTHER),
    ],
    ids=lambda value: str(value)[:40],
)
def test_other_lines_are_told_apart(message: str, reason: NotAlert) -> None:
    assert parse(message) is reason


@given(st.text() | st.text().map(lambda t: "{" + t) | st.text().map(lambda t: json.dumps({"log": t})))
def test_no_message_raises(message: str) -> None:
    parse(message)
