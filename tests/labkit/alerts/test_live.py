"""Alerts are followed as they arrive in the embedded lab's CloudWatch Logs."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from labkit.alerts import follow, live_tail
from labkit.alerts.card import Alert
from labkit.alerts.live import Following, follow_events
from labkit.alerts.pages import Event
from labkit.errors import AlertTimeoutError, LabError, StoppedError

from ..conftest import RunCell

DATA = Path(__file__).parent / "data" / "falco-alerts.jsonl"

TIMEOUT = 10.0  # seconds; each test ends as soon as it has seen what it waits for


def test_alerts_come_one_by_one_as_they_are_logged(client: Any, group: Any, shell: Callable[..., str]) -> None:
    group.put([shell("before")], ago=60_000)
    stream = follow(client, group.name, timeout=TIMEOUT, poll=0.02)
    group.now = int(pd.Timestamp.now("UTC").timestamp() * 1000)
    for command in ("first", "second"):
        group.put(["not an alert", shell(command)])
        alert = next(stream)
        assert alert["proc.cmdline"] == command
    assert alert["rule"] == "Terminal shell in container"
    assert alert["time"] == pd.Timestamp("2026-11-23T04:20:15.177232855Z")
    assert "fd.name" not in alert


def test_late_and_out_of_order_alerts_are_not_missed_and_none_comes_twice(
    client: Any, group: Any, shell: Callable[..., str]
) -> None:
    group.put([shell("first")])
    seen = follow(client, group.name, "1m", timeout=TIMEOUT, poll=0.02, overlap=30)
    for command, ago in (("first", 0), ("late", 10_000), ("last", 0)):
        if command != "first":
            group.put([shell(command)], ago=ago)
        assert next(seen)["proc.cmdline"] == command


def test_one_rule_can_be_followed(client: Any, group: Any, shell: Callable[..., str]) -> None:
    group.put([shell("bash"), shell("cat", rule="Read sensitive file untrusted")])
    found = list(follow(client, group.name, "1m", rule="Read sensitive file untrusted", timeout=0))
    assert [alert["proc.cmdline"] for alert in found] == ["cat"]


def test_following_a_missing_group_says_what_to_do(client: Any) -> None:
    with pytest.raises(LabError, match="no log group"):
        next(follow(client, "nowhere"))


def test_what_was_followed_is_a_table_newest_first(client: Any, group: Any, shell: Callable[..., str]) -> None:
    group.put([shell("first"), shell("second\x1b[2J")], step=1000)
    start = pd.Timestamp.now("UTC") - pd.Timedelta("1m")
    with Following(follow_events(client, group.name, start, timeout=0), 0) as stream:
        alerts = list(stream)
    assert [alert["proc.cmdline"] for alert in alerts] == ["first", "second\x1b[2J"]
    assert all(isinstance(alert, Alert) for alert in alerts)
    alert = "04:20:15.177232855 Notice Terminal shell in container web-0"
    shown = [" ".join(line.split()) for line in repr(stream).splitlines()]
    assert shown == ["2 alerts", f"{alert} second?[2J", f"{alert} first"]


def test_a_stream_without_the_alert_that_is_asked_for_says_so(client: Any, group: Any) -> None:
    events = follow_events(client, group.name, pd.Timestamp.now("UTC"), timeout=0.1, poll=0.05)
    said = r"for 0\.1 s: no alert arrived"
    with pytest.raises(AlertTimeoutError, match=said) as caught, Following(events, 0.1) as it:
        next(it)
    assert "which link" in caught.value.hint


def test_a_person_ends_a_stream_by_stopping_the_cell() -> None:
    def interrupted() -> Iterator[list[Event]]:
        raise KeyboardInterrupt
        yield []

    with Following(interrupted(), 60) as stream:
        assert list(stream) == []
    with pytest.raises(StoppedError, match="Stopped following"), Following(interrupted(), 60) as stream:
        next(stream)


FOLLOW = """
from pathlib import Path
from labkit.alerts.live import Following
lines = Path({file!r}).read_text().splitlines()[:3]
with Following(([{{"message": line}}] for line in lines), 5) as stream:
    for alert in stream:
        pass
"""


def test_a_table_grows_in_an_open_notebook_and_is_shown_once_where_a_program_executes_it(run_cell: RunCell) -> None:
    code = FOLLOW.format(file=str(DATA))
    open_, executed = run_cell(code, cellId="cell-1"), run_cell(code)
    assert [kind for kind, _ in open_] == ["display_data", *["update_display_data"] * 4]
    titles = [content["data"]["text/plain"].splitlines()[0] for _, content in open_]
    assert titles == ["0 alerts", "1 alert", "2 alerts", "3 alerts", "3 alerts"]
    assert len({content["transient"]["display_id"] for _, content in open_}) == 1
    ((kind, content),) = executed
    assert kind == "display_data"
    assert content["data"] == open_[-1][1]["data"]
    assert "background:#4a8cc7" in content["data"]["text/html"]


def test_live_tail_gives_what_the_service_pushes(client: Any, group: Any, shell: Callable[..., str]) -> None:
    group.put([shell("before")])
    arn = client.describe_log_groups(logGroupNamePrefix=group.name)["logGroups"][0]["logGroupArn"]
    stream = live_tail(client, arn, timeout=TIMEOUT)
    later = threading.Timer(0.2, lambda: group.put(["not an alert", shell("bash")]))
    later.start()
    assert next(stream)["message"] == "not an alert"
    assert next(stream)["message"] == shell("bash")
    stream.close()


def test_live_tail_ends_in_time(client: Any, group: Any) -> None:
    arn = client.describe_log_groups(logGroupNamePrefix=group.name)["logGroups"][0]["logGroupArn"]
    assert list(live_tail(client, arn, timeout=0.1)) == []


def test_live_tail_of_a_missing_group_says_what_to_do(client: Any) -> None:
    arn = "arn:aws:logs:us-east-1:111122223333:log-group:nowhere"
    with pytest.raises(LabError, match="no log group"):
        next(live_tail(client, arn))


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ({"filter_pattern": '{ $.rule = "Other" }'}, ["cat", "id"]),
        ({"stream_prefix": "oth"}, ["sh", "id"]),
        ({"stream_prefix": "oth", "filter_pattern": '{ $.rule = "Other" }'}, ["id"]),
    ],
)
def test_live_tail_s_streams_and_pattern_choose(
    client: Any, group: Any, shell: Callable[..., str], choice: dict[str, str], expected: list[str]
) -> None:
    arn = client.describe_log_groups(logGroupNamePrefix=group.name)["logGroups"][0]["logGroupArn"]
    group.stream("other")
    ended = threading.Event()

    def put() -> None:
        while not ended.wait(0.2):
            group.now = int(pd.Timestamp.now("UTC").timestamp() * 1000)
            group.put([shell("bash"), shell("cat", rule="Other")])
            group.put([shell("sh"), shell("id", rule="Other")], stream="other")

    thread = threading.Thread(target=put)
    thread.start()
    try:
        stream = live_tail(client, arn, timeout=TIMEOUT, **choice)
        found = [json.loads(next(stream)["message"])["output_fields"]["proc.cmdline"] for _ in range(2 * len(expected))]
        stream.close()
    finally:
        ended.set()
        thread.join()
    assert sorted(found) == sorted(expected * 2)


def test_an_iterator_of_the_block_that_ends_is_the_blocks_own_error(client: Any, group: Any) -> None:
    events = follow_events(client, group.name, pd.Timestamp.now("UTC"), timeout=0.1, poll=0.05)
    with pytest.raises(StopIteration, match=r"^$"), Following(events, 0.1):
        next(iter(()))
