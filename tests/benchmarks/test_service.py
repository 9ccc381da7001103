from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import orjson
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from benchmarks import alerts, pages, service


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("groups")
    pages.group(folder, "usual", 2500)
    return folder


@pytest.fixture(scope="module")
def logs(folder: Path) -> Iterator[Any]:
    with service.running(folder) as url:
        yield boto3.client(
            "logs",
            endpoint_url=url,
            region_name="us-east-1",
            aws_access_key_id="bench",
            aws_secret_access_key="bench",
            config=Config(retries={"total_max_attempts": 1}),
        )


def test_all_alerts_come_page_by_page(logs: Any) -> None:
    found = list(logs.get_paginator("filter_log_events").paginate(logGroupName="usual-2500"))
    assert [bool(page["events"]) for page in found] == [True] * 3
    events = [event for page in found for event in page["events"]]
    assert [event["message"].encode() for event in events] == [line for _, line in alerts.messages(2500, "usual")]
    assert len({event["eventId"] for event in events}) == 2500
    assert [event["timestamp"] for event in events] == sorted(event["timestamp"] for event in events)


def test_a_window_has_the_events_of_its_time(logs: Any) -> None:
    def read(**window: int) -> list[int]:
        pages = logs.get_paginator("filter_log_events").paginate(logGroupName="usual-2500", **window)
        return [event["timestamp"] for page in pages for event in page["events"]]

    times = read()
    middle, late = times[1250], times[2400]
    assert read(startTime=middle, endTime=late) == [time for time in times if middle <= time <= late]
    assert read(endTime=middle) + read(startTime=middle + 1) == times
    assert read(startTime=times[0], endTime=times[-1]) == times
    assert read(startTime=times[-1] + 1) == read(endTime=times[0] - 1) == []


def test_pages_are_as_large_as_cloudwatch_makes_them(folder: Path) -> None:
    group = pages.group(folder, "usual", 2500)
    data = group.file.read_bytes()
    for first, end, *_ in group.pages[:-1]:
        events = orjson.loads(data[first:end])["events"]
        size = sum(len(event["message"]) + 26 for event in events)
        assert pages.MOST_BYTES - 3000 < size <= pages.MOST_BYTES
    tiny = list(pages.bodies(iter([(0, b"{}")] * 10_001)))
    assert [len(orjson.loads(body)["events"]) for body, *_ in tiny] == [10_000, 1]


@pytest.mark.parametrize("what", [{"filterPattern": "root"}, {"startFromHead": False}, {"logStreamNamePrefix": "a"}])
def test_what_it_would_answer_wrongly_is_refused(logs: Any, what: dict[str, Any]) -> None:
    with pytest.raises(ClientError, match="not served"):
        logs.filter_log_events(logGroupName="usual-2500", **what)
    with pytest.raises(ClientError, match="not served"):
        logs.filter_log_events(logGroupName="another")


def test_a_group_is_made_once_and_again_when_alerts_change(tmp_path: Path) -> None:
    made = pages.group(tmp_path, "hard", 20)
    at = made.file.stat().st_mtime_ns
    assert pages.group(tmp_path, "hard", 20) == made
    assert made.file.stat().st_mtime_ns == at
    index = made.file.with_suffix(".json")
    index.write_bytes(orjson.dumps({**orjson.loads(index.read_bytes()), "made_by": "another"}))
    assert pages.group(tmp_path, "hard", 20) == made
    assert made.file.stat().st_mtime_ns > at
