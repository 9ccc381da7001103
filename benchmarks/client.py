"""Reads log groups in one of several ways, and prints as JSON what each took. A script, for a fresh process.

`python benchmarks/client.py READER LOG_GROUP...`: boto3 finds endpoint and credentials in the environment.
Imports nothing of this project unless the reader does, so that peers run it in an environment of their own.
"""

from __future__ import annotations

import gc
import hashlib
import json
import resource
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

WARM = "usual-1"
"""The log group that each reader reads first, unmeasured: it imports and caches what a first read needs."""

MOST_COMPARED = 1_000
"""Alerts in a log group whose frames are compared."""

PRIORITIES = ["Debug", "Informational", "Notice", "Warning", "Error", "Critical", "Alert", "Emergency"]
DELIVERY = ["eventId", "logStreamName", "timestamp", "ingestionTime"]

Reader = Callable[[str], Any]
"""Reads a log group by its name into a frame, or counts its events."""


def labkit() -> Reader:
    """`labkit.alerts.read`."""
    import boto3

    from labkit.alerts import read

    client = boto3.client("logs")
    return lambda group: read(client, group)


def boto3_paginator() -> Reader:
    """boto3's paginator, `json.loads`, `json_normalize`, and typed columns."""
    import boto3
    import pandas as pd

    client = boto3.client("logs")

    def read(group: str) -> Any:
        pages = client.get_paginator("filter_log_events").paginate(logGroupName=group)
        events = [event for page in pages for event in page["events"]]
        df = pd.json_normalize([json.loads(event["message"]) for event in events])
        df.columns = df.columns.str.removeprefix("output_fields.")
        return typed(df, pd.DataFrame(events))

    return read


def awswrangler() -> Reader:
    """`awswrangler.cloudwatch.filter_log_events`, then what a user adds: `json.loads`, `json_normalize`, types."""
    return _awswrangler(by_hand=False)


def awswrangler_by_hand() -> Reader:
    """The same with frames made of lists of dicts, which is quicker than `json_normalize`."""
    return _awswrangler(by_hand=True)


def _awswrangler(*, by_hand: bool) -> Reader:
    import awswrangler as wr
    import boto3
    import pandas as pd

    session = boto3.Session()

    def read(group: str) -> Any:
        events = wr.cloudwatch.filter_log_events(log_group_name=group, boto3_session=session)
        alerts = [json.loads(message) for message in events["message"]]
        if by_hand:
            fields = pd.DataFrame([alert.pop("output_fields") for alert in alerts])
            return typed(pd.concat([pd.DataFrame(alerts), fields], axis=1), events)
        df = pd.json_normalize(alerts)
        df.columns = df.columns.str.removeprefix("output_fields.")
        return typed(df, events)

    return read


def typed(df: Any, events: Any) -> Any:
    """Types the columns of decoded alerts as labkit does, as far as pandas makes it easy, and adds the events' own."""
    import pandas as pd

    df["time"] = pd.to_datetime(df["time"], utc=True)
    df["priority"] = pd.Categorical(df["priority"], categories=PRIORITIES, ordered=True)
    for name in ("rule", "source", "hostname"):
        df[name] = df[name].astype("category")
    for name in df.columns[df.dtypes == "float64"]:  # whole numbers, of which some are missing
        df[name] = df[name].astype("Int64")
    for name in DELIVERY:
        df[name] = events[name]
    for name in ("timestamp", "ingestionTime"):
        df[name] = pd.to_datetime(df[name], unit="ms", utc=True)
    return df.sort_values("time", kind="stable", ignore_index=True)


def floor(*, messages: bool = False) -> Reader:
    """Fetches the pages by boto3's HTTP stack and decodes their bodies; with `messages` the messages too. No frame."""
    import boto3
    import orjson

    client = boto3.client("logs")

    def decode(response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: Any) -> None:
        customized_response_dict.update(orjson.loads(response_dict["body"]))
        response_dict["body"] = b"{}"  # for botocore's own parser, which takes several times as long

    client.meta.events.register_first("before-parse.cloudwatch-logs.FilterLogEvents", decode)

    def read(group: str) -> int:
        count = 0
        request = {"logGroupName": group}
        while True:
            page: Any = client.filter_log_events(**request)  # type: ignore[arg-type]
            count += len(page["events"])
            if messages:
                for event in page["events"]:
                    orjson.loads(event["message"])
            if "nextToken" not in page:
                return count
            request["nextToken"] = page["nextToken"]

    return read


READERS: dict[str, Callable[[], Reader]] = {
    "labkit": labkit,
    "awswrangler": awswrangler,
    "awswrangler, by hand": awswrangler_by_hand,
    "boto3": boto3_paginator,
    "floor": floor,
    "floor and messages": lambda: floor(messages=True),
}


def measure(read: Reader, group: str, *, compare: bool) -> dict[str, Any]:
    """`cpu` and `wall` seconds; `count` of alerts; `peak` and `kept`: resident bytes more than before, at the highest
    and afterwards; `frame`: the frame's bytes as pandas counts them; `digest` of its values, if they are to be compared
    with another reader's."""
    gc.collect()
    before, start, started = resident(), cpu(), time.perf_counter()
    forget_peak()
    found = read(group)
    wall, spent, peak = time.perf_counter() - started, cpu() - start, resident(peak=True)
    gc.collect()
    result = {"cpu": spent, "wall": wall, "peak": peak - before, "kept": resident() - before}
    if isinstance(found, int):
        return {**result, "count": found}
    result |= {"count": len(found), "frame": int(found.memory_usage(deep=True).sum())}
    return {**result, "digest": digest(found)} if compare else result


def main(reader: str, *groups: str) -> None:
    """Small log groups are compared, the first time that they are read."""
    read = READERS[reader]()
    read(WARM)
    results = []
    for i, group in enumerate(groups):
        small = int(group.rpartition("-")[2]) <= MOST_COMPARED
        results.append(measure(read, group, compare=small and group not in groups[:i]))
    print(json.dumps(results))


def cpu() -> float:
    """CPU time of this process, all its threads, and the children it has waited for, in seconds."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def resident(*, peak: bool = False) -> int:
    """Resident memory of this process in bytes: now, or at its highest since `forget_peak`."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:  # not Linux: the highest since the process began, in bytes on macOS
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    name = "VmHWM:" if peak else "VmRSS:"
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith(name))


def forget_peak() -> None:
    """Sets the highest resident memory to what it is now, where the kernel can do that."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def digest(df: Any) -> str:
    """A hash of all values, the same for frames that hold the same alerts, whatever their dtypes.

    What the peers don't do is no difference here: `"<NA>"` is a missing value, and a number is compared as float64,
    which is what pandas makes of nanoseconds as soon as an alert lacks them.
    """
    import pandas as pd

    values: dict[str, list[Any]] = {}
    for name in sorted(df.columns):
        column = df[name]
        if pd.api.types.is_datetime64_any_dtype(column.dtype):
            column = column.dt.as_unit("ns").astype("int64")
        if name == "tags":
            values[name] = [tuple(tags) for tags in column]
        else:
            values[name] = [_plain(v) for v in column.astype(object).where(column.notna(), None)]
            if not any(v is not None for v in values[name]):
                del values[name]  # labkit's frames have some columns always
    return hashlib.sha256(repr(values).encode()).hexdigest()


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return None if value == "<NA>" else str(value)
    return None if value is None else float(value)


if __name__ == "__main__":
    main(*sys.argv[1:])
