"""Logs Insights queries become typed frames."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pandas as pd
import pytest
from botocore.stub import ANY, Stubber

from labkit.alerts import insights, read, service
from labkit.errors import LabError


def cells(**values: str) -> list[dict[str, str]]:
    return [{"field": name, "value": value} for name, value in values.items()]


@pytest.fixture
def stub(make_client: Callable[..., Any]) -> Iterator[Stubber]:
    client = make_client()
    with Stubber(client) as stub:
        yield stub


def started(stub: Stubber, **parameters: Any) -> None:
    expected = {"logGroupName": ANY, "startTime": ANY, "endTime": ANY, "queryString": ANY}
    stub.add_response("start_query", {"queryId": "q"}, {**expected, **parameters})


def test_columns_get_types(stub: Stubber) -> None:
    started(stub)
    first = {"rule": "Terminal shell in container", "alerts": "12", "mean": "1.50"}
    rows = [
        cells(**first, **{"bin(5m)": "2026-11-23 04:15:00.000", "@ptr": "x"}),
        cells(**{"rule": "007", "alerts": "3", "mean": "2", "@ptr": "y"}),
    ]
    statistics = {"recordsMatched": 15.0, "recordsScanned": 20.0, "bytesScanned": 900.0}
    stub.add_response("get_query_results", {"status": "Running", "results": []})
    stub.add_response("get_query_results", {"status": "Complete", "results": rows, "statistics": statistics})
    df = insights(stub.client, "stats count(*) as alerts by rule", "falco", "1h")
    assert df.dtypes.astype(str).to_dict() == {
        "rule": "string",
        "alerts": "Int64",
        "mean": "Float64",
        "bin(5m)": "datetime64[ns, UTC]",
    }
    assert df["bin(5m)"][0] == pd.Timestamp("2026-11-23T04:15:00Z")
    assert df["bin(5m)"].isna()[1]
    assert df.attrs == {"recordsMatched": 15, "recordsScanned": 20, "bytesScanned": 900}


def test_times_that_a_column_can_not_hold_stay_text(stub: Stubber) -> None:
    started(stub)
    texts = ["2026-11-23 04:15:00.000", "9999-12-31 23:59:59.000"]
    answer = {"status": "Complete", "results": [cells(until=text) for text in texts]}
    stub.add_response("get_query_results", answer)
    assert insights(stub.client, "fields until", "falco", "1h")["until"].tolist() == texts


def test_the_window_is_given_in_seconds_and_holds_all_of_it(stub: Stubber) -> None:
    start, end = pd.Timestamp("2026-11-23T04:00:00.9Z"), pd.Timestamp("2026-11-23T05:00:00.1Z")
    started(stub, startTime=1795406400, endTime=1795410001)
    stub.add_response("get_query_results", {"status": "Complete", "results": []})
    assert insights(stub.client, "fields @message", "falco", start, end).empty


def test_all_pages_of_a_result_are_read(stub: Stubber) -> None:
    started(stub)
    stub.add_response("get_query_results", {"status": "Complete", "results": [cells(n="1")], "nextToken": "t"})
    stub.add_response(
        "get_query_results", {"status": "Complete", "results": [cells(n="2")]}, {"queryId": "q", "nextToken": "t"}
    )
    assert list(insights(stub.client, "fields n")["n"]) == [1, 2]


def test_a_failed_query_says_so(stub: Stubber) -> None:
    started(stub)
    stub.add_response("get_query_results", {"status": "Failed", "results": []})
    with pytest.raises(LabError, match="ended as Failed"):
        insights(stub.client, "fields n")


def test_a_query_that_takes_too_long_is_stopped(stub: Stubber) -> None:
    started(stub)
    stub.add_response("get_query_results", {"status": "Running", "results": []})
    stub.add_response("stop_query", {"success": True}, {"queryId": "q"})
    with pytest.raises(LabError, match="still Running after 0 s"):
        insights(stub.client, "fields n", timeout=0)
    stub.assert_no_pending_responses()


def test_a_malformed_query_says_what_the_service_says(stub: Stubber) -> None:
    stub.add_client_error(
        "start_query", "MalformedQueryException", "unexpected symbol found } at line 1 and position 7"
    )
    with pytest.raises(LabError, match="unexpected symbol found } at line 1") as caught:
        insights(stub.client, "fields }")
    assert "counted from 0" in caught.value.hint


def test_an_account_that_is_throttled_is_waited_for(stub: Stubber, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "_paces", {})
    monkeypatch.setattr(service.Service, "pause", lambda *_: None)
    stub.add_client_error("start_query", "LimitExceededException", "Account maximum query concurrency limit reached.")
    started(stub)
    stub.add_client_error("get_query_results", "ThrottlingException", "Rate exceeded")
    stub.add_response("get_query_results", {"status": "Complete", "results": [cells(n="1")]})
    assert list(insights(stub.client, "fields n")["n"]) == [1]


def test_the_service_and_the_frame_count_the_same(client: Any, group: Any, falco_lines: list[str]) -> None:
    group.put(["Falco version: 0.44.1", *falco_lines], ago=5000, step=1)
    df = read(client, group.name)
    counted = insights(client, "filter ispresent(rule) | stats count(*) as alerts by rule", group.name, "1h")
    assert dict(zip(counted["rule"], counted["alerts"], strict=True)) == df["rule"].value_counts().to_dict()
    assert counted["alerts"].dtype == "Int64"
    assert counted.attrs["recordsScanned"] == 61
    assert insights(client, "stats count(*) as alerts by rule", group.name, "2h", "1h").empty


def test_times_of_the_service_are_times(client: Any, group: Any, shell: Callable[..., str]) -> None:
    group.put([shell("bash")])
    df = insights(client, "fields @timestamp, rule", group.name, "1h")
    assert df["@timestamp"][0] == pd.Timestamp(group.now, unit="ms", tz="UTC")
    per_hour = insights(client, "stats count(*) as alerts by bin(1h) as hour", group.name, "1h")
    assert per_hour["hour"][0] == pd.Timestamp(group.now, unit="ms", tz="UTC").floor("h")


def test_the_number_of_rows_is_the_querys_own_or_the_callers(
    client: Any, group: Any, shell: Callable[..., str]
) -> None:
    group.put([shell("bash")] * 5)
    counts = {None: 4, 3: 3, 10: 4}
    found = {limit: len(insights(client, "fields rule | limit 4", group.name, limit=limit)) for limit in counts}
    assert found == counts


def test_what_the_service_says_of_a_bad_query_is_passed_on(client: Any, group: Any) -> None:
    with pytest.raises(LabError, match="MalformedQueryException"):
        insights(client, "stats count(* by", group.name)
    with pytest.raises(LabError, match="no log group"):
        insights(client, "fields @message", "nowhere")
