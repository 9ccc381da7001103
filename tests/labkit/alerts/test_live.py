"""Alerts are followed as they arrive in the embedded lab's CloudWatch Logs."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

from labkit.alerts import follow, live_tail
from labkit.errors import LabError

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
