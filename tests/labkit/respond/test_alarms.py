"""Alarms: raised by alerts, told to a topic, read from a queue; and what is said when they aren't."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from labkit import Lab
from labkit.errors import LabError, StepError
from labkit.provision.alarms import notification_queue

DTYPES = {"time": "datetime64[ns, UTC]", "alarm": "string", "old": "string", "new": "string", "reason": "string"}


def test_a_critical_alert_raises_its_alarm_and_the_notification_is_read_once(
    lab: Lab, alert: Callable[..., str], log: Callable[..., None]
) -> None:
    lab.ensure("alarms")
    critical, burst = (f"{lab.settings.prefix}-{name}" for name in ("critical-alert", "alert-burst"))
    log(alert(priority="Error"), alert(priority="Warning"))
    with pytest.raises(LabError, match=f"Alarm {critical} is (OK|INSUFFICIENT_DATA) after 0.2 s, not ALARM"):
        lab.wait_for_alarm(critical, timeout=0.2)
    log(alert(priority="Emergency"))
    assert lab.wait_for_alarm(critical, timeout=20)["StateValue"] == "ALARM"
    found = lab.notifications(timeout=20)
    assert (found["alarm"].tolist(), found["new"].tolist()) == ([critical], ["ALARM"])
    assert {name: str(dtype) for name, dtype in found.dtypes.items()} == DTYPES
    assert lab.notifications().empty
    log(*[alert(priority="Debug")] * 30)
    lab.wait_for_alarm(burst, timeout=20)
    assert lab.notifications(timeout=20)["alarm"].tolist() == [burst]


def test_no_notifications_have_the_same_dtypes(lab: Lab) -> None:
    lab.ensure("alarms")
    assert {name: str(dtype) for name, dtype in lab.notifications().dtypes.items()} == DTYPES


def test_what_else_is_in_the_queue_is_passed_over_and_what_came_twice_is_one(lab: Lab) -> None:
    lab.ensure("alarms")
    sqs, url = lab.aws.client("sqs"), notification_queue(lab.target)
    message = {
        "AlarmName": "a",
        "OldStateValue": "OK",
        "NewStateValue": "ALARM",
        "NewStateReason": "because",
        "StateChangeTime": "2026-11-26T02:48:34.005+0000",
    }
    for body in (
        "hello",
        "[]",
        "[" * 100_000,
        '{"Message": "not JSON"}',
        json.dumps(message),
        json.dumps({"Message": json.dumps(message)}),
        json.dumps({**message, "AlarmName": "b", "StateChangeTime": "9999-12-31T23:59:59.999+0000"}),
        json.dumps({**message, "AlarmName": "c", "StateChangeTime": "soon"}),
    ):
        sqs.send_message(QueueUrl=url, MessageBody=body)
    found = lab.notifications(timeout=5)
    assert sorted(found["alarm"]) == ["a", "b", "c"]
    assert found["time"].isna().tolist() == [False, True, True]
    assert str(found["time"].iloc[0]) == "2026-11-26 02:48:34.005000+00:00"


def test_an_alarm_or_queue_that_is_not_there_points_to_the_step(lab: Lab) -> None:
    with pytest.raises(LabError, match="There is no alarm 'nobody'") as caught:
        lab.wait_for_alarm("nobody", timeout=5)
    assert 'lab.apply("alarms")' in caught.value.hint
    with pytest.raises(StepError, match="There is no queue") as without:
        lab.notifications()
    assert 'lab.apply("alarms")' in without.value.hint
    with pytest.raises(LabError, match="'Alarm' is no state"):
        lab.wait_for_alarm("nobody", "Alarm")
