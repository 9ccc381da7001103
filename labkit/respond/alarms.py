"""Alarms and their notifications: names come in, states that were waited for and typed frames of messages go out."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from typing import Any

import pandas as pd

from labkit.alerts.times import column
from labkit.aws import translated_errors
from labkit.errors import LabError

_HINT = "Is the embedded lab running (`labkit status`)? On EKS: check network, region and credentials."


def wait_for_alarm(client: Any, name: str, state: str = "ALARM", *, timeout: float) -> dict[str, Any]:
    """The alarm as DescribeAlarms shows it, as soon as it is in `state` (`OK`, `ALARM`, `INSUFFICIENT_DATA`).

    `client` is `boto3.client("cloudwatch")`. An alarm is looked at once in each of its periods: a change of state takes
    a minute or two on AWS. Raises `LabError` if there is no such alarm, and if it is in another state after `timeout`
    seconds, with CloudWatch's reason.
    """
    from labkit.waiting import poll

    if state not in ("OK", "ALARM", "INSUFFICIENT_DATA"):
        raise LabError(f"{state!r} is no state of an alarm.", hint="Use OK, ALARM or INSUFFICIENT_DATA.")
    found: dict[str, Any] = {}

    def look() -> dict[str, Any] | None:
        with translated_errors(_HINT):
            alarms = client.describe_alarms(AlarmNames=[name])["MetricAlarms"]
        if not alarms:
            raise LabError(f"There is no alarm {name!r}.", hint='lab.apply("alarms") makes those of the workshop.')
        found.update(alarms[0])
        return found if found["StateValue"] == state else None

    if poll(look, f"alarm {name} to be {state}", timeout) is None:
        raise LabError(
            f"Alarm {name} is {found['StateValue']} after {timeout:g} s, not {state}. {found.get('StateReason', '')}",
            hint=f"Has its metric values? `aws cloudwatch describe-alarm-history --alarm-name {name}`.",
        )
    return found


def notifications(client: Any, queue_url: str, *, timeout: float) -> pd.DataFrame:
    """The notifications in the queue, oldest first, taken out of it: waits until there is one, `timeout` s at most.

    `client` is `boto3.client("sqs")`. Columns: `time` datetime64[ns, UTC] (when the alarm changed its state; missing if
    the message has no time that it can hold), `alarm`, `old`, `new` (states) and `reason`, string. SQS delivers at
    least once: what was delivered twice is one row. Raises `LabError` if there is no such queue.
    """
    deadline = time.monotonic() + timeout
    rows: list[tuple[Any, ...]] = []
    with translated_errors(_HINT):
        while True:
            left = deadline - time.monotonic()
            seconds = 0 if rows else max(0, min(20, math.ceil(left)))
            answer = client.receive_message(QueueUrl=queue_url, MaxNumberOfMessages=10, WaitTimeSeconds=seconds)
            messages = answer.get("Messages", [])
            for message in messages:
                rows += _notification(message["Body"])
                client.delete_message(QueueUrl=queue_url, ReceiptHandle=message["ReceiptHandle"])
            if not messages and (rows or left <= 0):
                break
    columns = {"time": "datetime64[ns, UTC]", "alarm": "string", "old": "string", "new": "string", "reason": "string"}
    df = pd.DataFrame(rows, columns=list(columns))
    df["time"] = column(df["time"])
    return df.astype(columns).drop_duplicates().sort_values("time", kind="stable").reset_index(drop=True)


def _notification(body: str) -> Iterator[tuple[Any, ...]]:
    """An alarm's message, with SNS's envelope around it or without; anything else in the queue is passed over."""
    try:
        message = json.loads(body)
        if "AlarmName" not in message:
            message = json.loads(message["Message"])
        keys = ("StateChangeTime", "AlarmName", "OldStateValue", "NewStateValue", "NewStateReason")
        yield tuple(message[key] for key in keys)
    except (ValueError, KeyError, TypeError, RecursionError):
        return
