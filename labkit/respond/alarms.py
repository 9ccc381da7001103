"""CloudWatch alarms: waits for a state, reads the history, and reads the notifications from a queue."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from labkit.alerts.times import column
from labkit.aws import translated_errors
from labkit.calls import CloudWatchClient, SqsClient, checked, near
from labkit.errors import LabError
from labkit.respond.queues import receive_all
from labkit.show import Table
from labkit.waiting import poll

STATES = ("OK", "ALARM", "INSUFFICIENT_DATA")


@checked
def wait_for_alarm(client: CloudWatchClient, name: str, state: str = "ALARM", *, timeout: float) -> dict[str, Any]:
    """The alarm as DescribeAlarms returns it, as soon as it is in `state` (`OK`, `ALARM`, `INSUFFICIENT_DATA`).

    `client` is `boto3.client("cloudwatch")`. CloudWatch evaluates an alarm once in each of its periods: a change of
    state takes a minute or two on AWS. Raises `LabError` if there is no such alarm, and if it is in another state after
    `timeout` seconds, with CloudWatch's reason.
    """
    if state not in STATES:
        raise LabError(f"{state!r} is no state of an alarm.", hint=f"Use {', '.join(STATES)}.")
    found: dict[str, Any] = {}

    def described() -> dict[str, Any] | None:
        with translated_errors():
            alarms = client.describe_alarms(AlarmNames=[name])["MetricAlarms"]
        if not alarms:
            raise LabError(f"There is no alarm {name!r}.", hint='lab.apply("alarms") makes those of the workshop.')
        found.update(alarms[0])
        return found if found["StateValue"] == state else None

    if poll(described, f"alarm {name} to be {state}", timeout) is None:
        raise LabError(
            f"Alarm {name} is {found['StateValue']} after {timeout:g} s, not {state}. {found.get('StateReason', '')}",
            hint=f"Has its metric values? `aws cloudwatch describe-alarm-history --alarm-name {name}`.",
        )
    return found


class History(pd.DataFrame):
    """The frame of `history`, shown with nothing cut off. Its rows and columns are plain frames."""

    @property
    def _constructor(self) -> type[pd.DataFrame]:
        return pd.DataFrame

    def _table(self) -> Table:
        shown = self.assign(time=self["time"].dt.strftime("%Y-%m-%d %H:%M:%S")).fillna("")
        rows = tuple(shown.itertuples(index=False, name=None))
        return Table(f"History of alarm {self.attrs['alarm']}", tuple(shown.columns), rows)

    def __repr__(self) -> str:
        return repr(self._table())

    def _repr_html_(self) -> str:
        return self._table()._repr_html_()


@checked
def history(client: CloudWatchClient, name: str, limit: int = 20) -> History:
    """The last `limit` entries of an alarm's history, oldest first. CloudWatch keeps them for 30 days.

    `client` is `boto3.client("cloudwatch")`. Columns: `time` datetime64[ns, UTC], `type` (`StateUpdate`, `Action` or
    `ConfigurationUpdate`), `summary` and `reason` (of a change of state, else missing), string. Raises `LabError` if
    there is no history of it.
    """
    if limit < 1:
        raise LabError(f"{limit} is no number of entries.", hint="Give one from 1 on.")
    with translated_errors():
        pages = client.get_paginator("describe_alarm_history").paginate(
            AlarmName=name, ScanBy="TimestampDescending", PaginationConfig={"MaxItems": limit}
        )
        items = [item for page in pages for item in page["AlarmHistoryItems"]]
        if not items:
            alarms = client.get_paginator("describe_alarms").paginate().search("MetricAlarms[].AlarmName")
            hint = f'{near(name, alarms)}lab.apply("alarms") makes those of the workshop.'
            raise LabError(f"CloudWatch has no history of an alarm {name!r}.", hint=hint)
    rows = [(i["Timestamp"], i["HistoryItemType"], i["HistorySummary"], _reason(i)) for i in reversed(items)]
    columns = {"time": "datetime64[ns, UTC]", "type": "string", "summary": "string", "reason": "string"}
    found = History(pd.DataFrame(rows, columns=list(columns)).astype(columns))
    found.attrs["alarm"] = name
    return found


def _reason(item: Mapping[str, Any]) -> str | None:
    """Why the state changed, by the data (JSON) of an entry of the history."""
    try:
        reason = json.loads(item.get("HistoryData") or "{}")["newState"]["stateReason"]
    except (ValueError, KeyError, TypeError):
        return None
    return str(reason)


@checked
def notifications(client: SqsClient, queue_url: str, *, timeout: float) -> pd.DataFrame:
    """The notifications in the queue, oldest first. They are taken out of it; waits up to `timeout` s for the first.

    `client` is `boto3.client("sqs")`. Columns: `time` datetime64[ns, UTC] (when the alarm changed its state; missing if
    the message has no time from 1677 to 2262), `alarm`, `old`, `new` (states) and `reason`, string. Other messages are
    passed over, duplicates left out. Raises `TargetError` if there is no such queue.
    """
    messages = receive_all(client, queue_url, timeout=timeout)
    rows = [row for message in messages for row in _notification(message["Body"])]
    columns = {"time": "datetime64[ns, UTC]", "alarm": "string", "old": "string", "new": "string", "reason": "string"}
    df = pd.DataFrame(rows, columns=list(columns))
    df["time"] = column(df["time"])
    return df.astype(columns).drop_duplicates().sort_values("time", kind="stable").reset_index(drop=True)


def _notification(body: str) -> Iterator[tuple[Any, ...]]:
    """Time, alarm, old and new state and reason of an alarm's message, with SNS's envelope or without."""
    try:
        message = json.loads(body)
        if "AlarmName" not in message:
            message = json.loads(message["Message"])
        keys = ("StateChangeTime", "AlarmName", "OldStateValue", "NewStateValue", "NewStateReason")
        yield tuple(message[key] for key in keys)
    except (ValueError, KeyError, TypeError, RecursionError):
        return
