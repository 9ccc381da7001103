"""Runs a CloudWatch Logs Insights query and returns its result as a typed DataFrame."""

from __future__ import annotations

import contextlib
import re
from typing import Any

import pandas as pd

from labkit.alerts.service import Service
from labkit.alerts.times import When, column, utc, window
from labkit.calls import LogsClient, checked
from labkit.errors import LabError, StoppedError
from labkit.waiting import poll

# Insights writes every time like this, in UTC, whatever the column is called.
_TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}")
_ENDED = {"Failed", "Cancelled", "Timeout"}


@checked
def insights(
    client: LogsClient,
    text: str,
    log_group: str = "falco",
    start: When = "1h",
    end: When = "now",
    *,
    limit: int | None = None,
    timeout: float = 60.0,
) -> pd.DataFrame:
    """The query's result, one row per result row, columns as the query names them (Insights' `@ptr` left out).

    Numbers become Int64 or Float64; times (`@timestamp`, `bin(...)`) become datetime64[ns, UTC] if that can hold all of
    a column; the rest is string, missing where a row lacks the field. `df.attrs` has `recordsMatched`,
    `recordsScanned`, `bytesScanned`. The window is given to the service in whole seconds, as StartQuery documents it,
    wide enough to hold `start` and `end`. `limit` ends the query as its own command `limit` would; without either, it
    has at most 10,000 rows.

    Raises `LabError` when the query is malformed, fails, or isn't complete after `timeout` seconds.
    """
    service = Service(client, log_group)
    window(start, end)
    asked = {
        "logGroupName": log_group,
        "startTime": utc(start).value // 1_000_000_000,
        "endTime": -(-utc(end).value // 1_000_000_000),
        "queryString": text,
        **({} if limit is None else {"limit": limit}),
    }
    with service.errors():
        query_id = service.call("StartQuery", asked)["queryId"]
        answer = _wait(service, query_id, text, timeout)
        rows = list(answer["results"])
        while token := answer.get("nextToken"):
            answer = service.call("GetQueryResults", {"queryId": query_id, "nextToken": token})
            rows += answer["results"]
    df = pd.DataFrame([{cell["field"]: cell.get("value") for cell in row if cell["field"] != "@ptr"} for row in rows])
    for name in df.columns:
        df[name] = _typed(df[name])
    df.attrs = {name: int(value) for name, value in answer.get("statistics", {}).items()}
    return df


@checked
def limited(text: str, namespace: str) -> str:
    """The query with a filter for alerts of pods in a namespace before its first command; empty: the query itself."""
    return f'filter output_fields.k8s.ns.name = "{namespace}" | {text}' if namespace else text


def _wait(service: Service, query_id: str, text: str, timeout: float) -> Any:
    """Polls until the query has ended; the service offers nothing to wait on."""
    status = ""

    def look() -> Any:
        nonlocal status
        answer = service.call("GetQueryResults", {"queryId": query_id})
        status = answer["status"]
        if status == "Complete":
            return answer
        if status in _ENDED:
            raise LabError(f"The query ended as {status}: {text}", hint="Try a shorter window or a simpler query.")
        return None

    try:
        answer = poll(look, "Logs Insights", timeout)
    except StoppedError:
        _stop(service.client, query_id)
        raise
    if answer is None:
        _stop(service.client, query_id)
        raise LabError(
            f"The query is still {status} after {timeout:g} s: {text}",
            hint="Give it a longer timeout=, or a shorter window.",
        )
    return answer


def _stop(client: Any, query_id: str) -> None:
    """Stops a query: one that is still running counts against the account's limit."""
    with contextlib.suppress(client.exceptions.ClientError):  # it may have ended by itself
        client.stop_query(queryId=query_id)


def _typed(values: pd.Series[Any]) -> pd.Series[Any]:
    strings = values.astype("string")
    if strings.notna().any() and strings.dropna().str.fullmatch(_TIME).all():
        times = column(strings)
        return times if times.isna().equals(strings.isna()) else strings
    numbers = pd.to_numeric(strings, errors="coerce")
    if numbers.notna().any() and numbers.isna().equals(strings.isna()):
        whole = (numbers.dropna() % 1 == 0).all() and not strings.str.contains(r"[.eE]", na=False).any()
        return numbers.astype("Int64" if whole else "Float64")
    return strings
