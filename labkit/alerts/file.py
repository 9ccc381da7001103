"""Reads alerts from files: lines as Falco prints them, what CloudWatch exports to S3, the AWS CLI's JSON, Parquet."""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pandas as pd
import pyarrow as pa

from labkit.alerts.frame import ALERT, DELIVERY, FIELDS, to_frame
from labkit.calls import checked, short_repr
from labkit.errors import LabError
from labkit.show import counted

_GZIP, _PARQUET = b"\x1f\x8b", b"PAR1"

# A line of an export: the time of the log event, and its message. A CRI line may begin like it.
_EXPORTED = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z) (?!(?:stdout|stderr) [FP] )", re.ASCII)


@checked
def read_file(file: Path | str) -> pd.DataFrame:
    """The alerts of a file as `labkit.alerts.read` gives them, whatever it is:

    * one JSON object a line, as Falco prints them, or any other shape that `labkit.alerts.parse` knows
    * a file of an export of CloudWatch Logs to S3, or the folder of the export: its streams are folders
    * what `aws logs filter-log-events` or `aws logs get-log-events` prints
    * a frame that was kept with `df.to_parquet(file)`, which comes back as it was

    Text may be compressed by gzip. `attrs["skipped"]` counts lines that are no alerts. Raises `LabError` for a file
    that can't be read, and for one that isn't empty and has no alert.
    """
    df = _read(file)
    if df.empty and (lines := df.attrs["events"]):
        raise LabError(
            f"None of the {counted(lines, 'line')} of {short_repr(str(file), 200)} is an alert of Falco.",
            hint="It reads alerts. Recorded system calls are for falcorules: load(rules).replay(read_events(file)).",
        )
    return df


def _read(file: Path | str) -> pd.DataFrame:
    path = Path(file)
    try:
        if path.is_dir():
            parts = sorted(part for part in path.rglob("*") if part.is_file() and part.name != "aws-logs-write-test")
            return to_frame(event for part in parts for event in _events(part.read_bytes(), part.parent.name))
        if not path.is_file():
            raise FileNotFoundError("there is no such file")
        data = path.read_bytes()
        return _parquet(path) if data.startswith(_PARQUET) else to_frame(_events(data))
    except (OSError, EOFError, ValueError, zlib.error, pa.ArrowException) as error:
        why = getattr(error, "strerror", None) or str(error)
        hint = "Check its name; paths count from here or from the workshop's folder."
        raise LabError(f"{short_repr(str(file), 200)} can't be read: {why}.", hint=hint) from error


def _events(data: bytes, stream: str | None = None) -> Iterator[dict[str, Any]]:
    text = (gzip.decompress(data) if data.startswith(_GZIP) else data).decode("utf-8", "replace")
    if text.lstrip().startswith("{") and (printed := _printed(text)) is not None:
        yield from printed
        return
    for line in text.splitlines():
        if exported := _EXPORTED.match(line):
            logged = pd.Timestamp(exported[1]).value // 1_000_000
            yield {"message": line[exported.end() :], "timestamp": logged, "logStreamName": stream}
        elif line.strip():
            yield {"message": line}


def _printed(text: str) -> list[dict[str, Any]] | None:
    """The events of an answer as the AWS CLI prints it; None for other text, such as many objects."""
    try:
        events = orjson.loads(text).get("events")
    except ValueError:
        return None
    return events if isinstance(events, list) else None


def _parquet(path: Path) -> pd.DataFrame:
    df = pd.read_parquet(path)
    if missing := [name for name in (*ALERT, *FIELDS, *DELIVERY) if name not in df.columns]:
        raise ValueError(f"it is no frame of alerts, as it has no column {missing[0]!r}")
    return df if len(df) else to_frame([])  # Parquet keeps no categories without rows
