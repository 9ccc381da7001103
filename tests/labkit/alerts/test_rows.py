"""Rows of Logs Insights are the alerts that FilterLogEvents gives, whatever a query has room for."""

from __future__ import annotations

import signal
import threading
import tomllib
from importlib import resources
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from labkit.alerts import insights_price, read, read_by_insights, rows
from labkit.alerts.rows import Rows
from labkit.errors import LabError

T0 = 1_790_000_000_000


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Queries of a few rows."""
    monkeypatch.setattr(rows, "ROWS", 50)
    monkeypatch.setattr(rows, "_AIM", 40)
    monkeypatch.setattr(rows._Part.__init__, "__defaults__", (50,))


def same(by_insights: pd.DataFrame, by_events: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(by_insights.drop(columns="eventId"), by_events.drop(columns="eventId"))


@pytest.mark.usefixtures("few")
def test_the_frame_is_the_one_of_filter_log_events(client: Any, group: Any, falco_lines: list[str]) -> None:
    group.stream("other")
    group.put(["Falco version: 0.44.1", *falco_lines], ago=9_000_000, step=70_000)
    group.put(falco_lines, ago=100_000, step=13, stream="other")
    start = pd.Timestamp(group.now - 8_000_000, unit="ms", tz="UTC")
    end = pd.Timestamp(group.now - 100_000 + 30 * 13, unit="ms", tz="UTC")  # within a second
    shown: list[int] = []
    df = read_by_insights(client, group.name, start, end, progress=lambda count, _: shown.append(count))
    same(df, read(client, group.name, start, end))
    assert len(df) == shown[-1] > 70
    assert df.attrs["complete"]
    assert df.attrs["queries"] >= 2
    assert df.attrs["bytesScanned"] > 1000
    same(read_by_insights(client, group.name), read(client, group.name))
    with pytest.raises(LabError, match="read by Insights"):
        read(client, group.name, after=df)


@pytest.mark.usefixtures("few")
def test_rules_pods_and_priorities_choose(client: Any, group: Any, falco_lines: list[str]) -> None:
    group.put(falco_lines, ago=100_000, step=1000)
    rule = "Read sensitive file untrusted"
    for chosen in ({"rule": rule}, {"rule": [rule, "Terminal shell in container"]}, {"pod": "web-0"}):
        df = read_by_insights(client, group.name, "1h", **chosen)
        same(df, read(client, group.name, "1h", **chosen))
        assert df.attrs["pushed_down"].startswith('(@message like "')
        assert len(df)
    assert read_by_insights(client, group.name, "1h", rule="None", priority="Alert").empty


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 20_000), st.integers(1, 120)), max_size=12), st.sampled_from([0, 500]))
@pytest.mark.usefixtures("few")
def test_bursts_are_divided_until_they_have_room(
    client: Any, group: Any, bursts: list[tuple[int, int]], expected: int
) -> None:
    name = f"{group.name}-{threading.get_ident()}-{abs(hash((tuple(bursts), expected)))}"
    client.create_log_group(logGroupName=name)
    client.create_log_stream(logGroupName=name, logStreamName="a")
    base = group.now - 100_000
    times = sorted(base + at for at, count in bursts for _ in range(count))
    events = [{"timestamp": at, "message": str(n)} for n, at in enumerate(times)]
    if events:
        client.put_log_events(logGroupName=name, logStreamName="a", logEvents=events)
    low, high = base + 1000, base + 19_999
    found = [event for page in Rows(client, name, low, high, expected=expected) for event in page]
    assert sorted(int(event["message"]) for event in found) == [n for n, at in enumerate(times) if low <= at <= high]
    client.delete_log_group(logGroupName=name)


@pytest.mark.usefixtures("few")
def test_a_window_of_many_is_divided_before_it_is_scanned(client: Any, group: Any) -> None:
    group.put(["x"] * 400, ago=100_000, step=200)
    spread = Rows(client, group.name, group.now - 100_000, group.now - 20_001, expected=400)
    assert sum(len(page) for page in spread) == 400
    assert spread.parts == 10
    one = Rows(client, group.name, group.now - 100_000, group.now - 20_001)
    assert sum(len(page) for page in one) == 400
    assert one.scanned > 1.5 * spread.scanned


@pytest.mark.usefixtures("few")
def test_more_in_a_second_than_a_query_can_have_is_an_error(
    client: Any, group: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "MOST_ROWS", 100)
    group.put(["x"] * 150, ago=100_000)
    with pytest.raises(LabError, match="100 alerts or more within a second"):
        list(Rows(client, group.name, group.now - 200_000, group.now))


def test_times_of_insights_are_milliseconds() -> None:
    texts = ["2026-11-23 04:15:07.123", "1969-12-31 23:59:59.999"]
    assert rows._milliseconds(texts) == [1_795_407_307_123, -1]
    assert rows._milliseconds(["1795407307123"]) == [1_795_407_307_123]
    assert rows._milliseconds([]) == []


def test_the_price_is_told_before_and_can_be_too_high(client: Any, group: Any) -> None:
    group.put(["x" * 974] * 1000, ago=1000)
    price = insights_price(client, group.name, start=None)
    assert price.bytes == pytest.approx(1_000_000, rel=0.01)
    assert price.dollars == pytest.approx(0.000005, rel=0.01)
    assert "0.001 GB" in repr(price)
    assert "An estimate" in repr(price)
    with pytest.raises(LabError, match=r"more than most_dollars=1e-06") as caught:
        read_by_insights(client, group.name, most_dollars=0.000001)
    assert "ask for less" in caught.value.hint
    for call in (insights_price, read_by_insights):
        with pytest.raises(LabError, match="no log group 'nowhere'"):
            call(client, "nowhere")
    listed = tomllib.loads(resources.files("labkit.respond").joinpath("prices.toml").read_text())
    assert listed["items"]["scanned_gb"]["price"] == rows.DOLLARS_A_GB


class Slow:
    """A client whose queries never end."""

    def __init__(self, client: Any) -> None:
        self._client, self.meta, self.stopped = client, client.meta, threading.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def get_query_results(self, **_: Any) -> Any:
        return {"status": "Running", "results": []}

    def stop_query(self, **_: Any) -> None:
        self.stopped.set()


def test_what_is_stopped_runs_no_longer(client: Any, group: Any, falco_lines: list[str]) -> None:
    group.put(falco_lines)
    slow = Slow(client)
    threading.Timer(0.5, signal.raise_signal, [signal.SIGINT]).start()
    df = read_by_insights(slow, group.name)
    assert df.empty
    assert df.attrs["complete"] is False
    assert slow.stopped.wait(5)


@pytest.mark.parametrize("status", ["Failed", "Timeout"])
def test_a_query_that_fails_ends_the_whole(
    client: Any, group: Any, monkeypatch: pytest.MonkeyPatch, status: str
) -> None:
    slow = Slow(client)
    monkeypatch.setattr(slow, "get_query_results", lambda **_: {"status": status, "results": []}, raising=False)
    with pytest.raises(LabError, match=f"ended as {status}"):
        list(Rows(slow, group.name, T0, T0 + 5000))


def test_an_account_with_no_room_for_a_query_is_waited_for(
    client: Any, group: Any, falco_lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    group.put(falco_lines, ago=1000)
    refused = [
        client.exceptions.LimitExceededException({"Error": {"Code": "LimitExceededException"}}, "StartQuery")
    ] * 2

    class Full(Slow):
        def start_query(self, **asked: Any) -> Any:
            if refused:
                raise refused.pop()
            return client.start_query(**asked)

        def get_query_results(self, **asked: Any) -> Any:
            return client.get_query_results(**asked)

    assert len(read_by_insights(Full(client), group.name, "1h")) == len(falco_lines)
    assert not refused
