from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from benchmarks import windows
from ekslab import client
from ekslab.state import Endpoints
from labkit import Lab


@pytest.fixture
def logs(embedded: Endpoints) -> Iterator[Any]:
    logs = Lab.connect(home=embedded.home).aws.client("logs")
    yield logs
    for group in logs.describe_log_groups(logGroupNamePrefix="bench-")["logGroups"]:
        logs.delete_log_group(logGroupName=group["logGroupName"])


@pytest.fixture
def one_way(monkeypatch: pytest.MonkeyPatch) -> None:
    way = next(iter(windows.WAYS))
    monkeypatch.setattr(windows, "WAYS", {way: windows.WAYS[way]})


def test_each_way_finds_all_alerts(logs: Any) -> None:
    windows.fill(logs, "bench-ways", 60)
    assert {way: find(logs, "bench-ways") for way, find in windows.WAYS.items()} == dict.fromkeys(windows.WAYS, 60)


@pytest.mark.usefixtures("logs", "one_way")
def test_an_account_with_latency_is_waited_for(embedded: Endpoints) -> None:
    (table,) = windows.waits(embedded, {25: [30]})
    assert table.columns == ("way", "30 alerts")
    (row,) = table.rows
    assert isinstance(row[1], float)
    assert row[1] >= windows.LATENCY
    assert not client.load(embedded)["quotas"]  # they are switched off again


@pytest.mark.usefixtures("logs", "one_way")
def test_alerts_that_are_missing_are_an_error(embedded: Endpoints, monkeypatch: pytest.MonkeyPatch) -> None:
    def lossy(logs: Any, group: str, count: int) -> None:
        fill(logs, group, count - 1)

    fill = windows.fill
    monkeypatch.setattr(windows, "fill", lossy)
    with pytest.raises(RuntimeError, match="19 alerts of 20"):
        windows.waits(embedded, {25: [20]})
