"""The store against the simplest one that could be right: all events in one list, sorted."""

from __future__ import annotations

import itertools
import json
import zlib
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ekslab.aws import event_blocks
from ekslab.aws.event_blocks import Event, Events, stored_size
from ekslab.aws.log_store import Group, Stream, scan
from ekslab.aws.logs import Logs
from ekslab.aws.protocols import Call
from ekslab.http import HttpRequest

BATCHES = st.lists(
    st.tuples(st.sampled_from(["a", "b", "c"]), st.lists(st.integers(0, 30), min_size=1, max_size=12)), max_size=12
)


def group_of(batches: list[tuple[str, list[int]]]) -> tuple[Group, list[tuple[Event, str]]]:
    group = Group("falco", 0, "arn:falco")
    naive = []
    number = 0
    for name in "abc":
        group.create_stream(name, 0)
    for name, times in batches:
        batch = []
        for timestamp in sorted(times):
            number += 1
            batch.append((timestamp, number, 0, f"{number}"))
        group.put(group.streams[name], batch)
        naive += [(event, name) for event in batch]
    return group, sorted(naive)


@given(BATCHES, st.integers(0, 30), st.integers(0, 30), st.booleans(), st.integers(1, 5))
@settings(max_examples=150, deadline=None)
def test_pages_of_a_scan_are_the_sorted_list(
    batches: list[tuple[str, list[int]]], start: int, end: int, newest_first: bool, size: int
) -> None:
    group, naive = group_of(batches)
    expected = [item for item in naive if start <= item[0][0] <= end]
    if newest_first:
        expected.reverse()
    found: list[tuple[Event, str]] = []
    after = None
    while True:
        page = []
        for event, stream in scan(group.streams.values(), start, end, after=after, newest_first=newest_first):
            page.append((event, stream.name))
            if len(page) == size:
                break
        found += page
        if not page:
            break
        after = page[-1][0][:2]
    assert found == expected
    ids = [group.streams[name].event_id(event) for event, name in expected]
    assert len(set(ids)) == len(ids)


@given(BATCHES, st.integers(0, 31))
@settings(max_examples=50, deadline=None)
def test_expiry_forgets_exactly_what_is_older(batches: list[tuple[str, list[int]]], limit: int) -> None:
    group, naive = group_of(batches)
    for stream in group.streams.values():
        stream.events.remove_before(limit)
    kept = [(event, stream.name) for event, stream in scan(group.streams.values(), 0, 100)]
    assert kept == [item for item in naive if item[0][0] >= limit]
    assert group.stored_bytes == sum(26 + len(event[3]) for event, _ in kept)


@given(BATCHES, st.booleans(), st.integers(1, 4), st.lists(st.booleans(), max_size=12))
@settings(max_examples=100, deadline=None)
def test_get_log_events_walks_either_way_without_loss(
    batches: list[tuple[str, list[int]]], head: bool, limit: int, steps: list[bool]
) -> None:
    """Walking by any mix of forward and backward tokens, each page is what lies next to the one before."""
    group, naive = group_of(batches)
    logs = Logs(account_id="1", clock=lambda: 100.0)
    logs.region("r").groups["falco"] = group
    messages = [event[3] for event, name in naive if name == "a"]

    def get(**kwargs: object) -> dict[str, object]:
        parameters = {"logGroupName": "falco", "logStreamName": "a", "limit": limit, **kwargs}
        call = Call(HttpRequest("POST", "http://x"), "logs", "GetLogEvents", "json", "r", None, parameters)
        result = logs.handle(call, "me")
        assert isinstance(result, dict)
        return result

    page = get(startFromHead=head)
    first = 0 if head else max(0, len(messages) - limit)
    last = min(limit, len(messages)) if head else len(messages)
    for forward in [*steps, *[True] * (len(messages) + 13)]:
        shown = [event["message"] for event in page["events"]]  # type: ignore[attr-defined]
        assert shown == messages[first:last]
        token = page["nextForwardToken" if forward else "nextBackwardToken"]
        page = get(nextToken=token, startFromHead=forward)
        if forward:
            first, last = last, min(last + limit, len(messages))
        else:
            first, last = max(0, first - limit), first
    assert page["events"] == []
    assert page["nextForwardToken"] == token


@given(BATCHES, st.integers(0, 30), st.integers(0, 30), st.booleans(), st.integers(0, 31))
@settings(max_examples=200, deadline=None)
def test_compressed_events_are_the_same_events(
    batches: list[tuple[str, list[int]]], start: int, end: int, newest_first: bool, limit: int
) -> None:
    """Blocks of two events, packed after each batch: late events fall into them, before them and between them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(event_blocks, "BLOCK", 2)
        events, naive = Events(), []
        for number, (_, times) in enumerate(batches):
            batch = [(timestamp, number * 100 + i, 0, f"{i}" * i) for i, timestamp in enumerate(sorted(times))]
            events.add(batch)
            events.pack(len(times), keep=1)
            naive = sorted(naive + batch)
        taken = events.snapshot((start, 0), (end, 0))
        expected = [event for event in naive if start <= event[0] < end]
        expected.reverse() if newest_first else None
        assert list(events.between((start, 0), (end, 0), newest_first=newest_first)) == expected
        assert (len(events), events.size) == (len(naive), stored_size(naive))
        events.remove_before(limit)
        kept = [event for event in naive if event[0] >= limit]
        assert list(events.between((0, 0), (100, 0))) == kept
        assert (len(events), events.size) == (len(kept), stored_size(kept))
        assert events.plain_size == stored_size(events._tail)
        if kept:
            assert (events.first, events.last) == (kept[0][:2], kept[-1][:2])
            events.add([(limit, 10_000, 0, "new")])
        assert list(taken.between((start, 0), (end, 0), newest_first=newest_first)) == expected


ALERT = json.dumps({"rule": "Terminal shell in container", "output": "A shell was spawned in a container " * 20})


@pytest.fixture
def packed(monkeypatch: pytest.MonkeyPatch) -> tuple[Logs, Stream, Counter[str]]:
    """A log group with 20,000 alerts, of which all but some hundred are compressed, and how often that was done."""
    done: Counter[str] = Counter()
    for name in ("compress", "decompress"):
        original = getattr(zlib, name)
        monkeypatch.setattr(event_blocks.zlib, name, partial(_counted, done, name, original))
    monkeypatch.setattr("ekslab.aws.logs._PLAIN_BYTES", 0)
    logs = Logs(account_id="1", clock=lambda: 1000.0)
    stream = Group("falco", 0, "arn").create_stream("a", 0)
    logs.region("r").groups["falco"] = group = Group("falco", 0, "arn", streams={"a": stream})
    for first in range(0, 20_000, 500):
        events = [
            {"timestamp": 900_000 + first + i, "message": f'{ALERT[:-1]}, "n": {first + i}}}'} for i in range(500)
        ]
        call(logs, "PutLogEvents", logGroupName=group.name, logStreamName="a", logEvents=events)
    return logs, stream, done


def _counted(done: Counter[str], name: str, original: Callable[..., bytes], *arguments: Any) -> bytes:
    done[name] += 1
    return original(*arguments)


def call(logs: Logs, operation: str, **parameters: Any) -> dict[str, Any]:
    result = logs.handle(Call(HttpRequest("POST", "http://x"), "logs", operation, "json", "r", None, parameters), "me")
    assert isinstance(result, dict)
    return result


def test_many_alerts_are_compressed_once_and_take_little(packed: tuple[Logs, Stream, Counter[str]]) -> None:
    _, stream, done = packed
    blocks = stream.events._blocks
    assert len(stream.events) == 20_000
    assert done == {"compress": len(blocks)}
    assert len(stream.events._tail) < event_blocks.BLOCK * 4
    assert sum(len(block._data) for block in blocks) < stream.events.size / 10


@pytest.mark.parametrize("extra", [{}, {"startFromHead": False}, {"filterPattern": '{ $.rule = "Terminal*" }'}])
def test_all_pages_together_decompress_each_block_once(
    packed: tuple[Logs, Stream, Counter[str]], extra: dict[str, Any]
) -> None:
    logs, stream, done = packed
    read, pages, token = 0, 0, {}
    if "startFromHead" in extra:
        logs.clock = lambda: 1_705_000_000.0
        extra = {**extra, "startTime": 1_704_067_200_000}
        events = [{"timestamp": 1_704_999_000_000 + i, "message": ALERT} for i in range(5_000)]
        for first in range(0, 5_000, 500):
            call(logs, "PutLogEvents", logGroupName="falco", logStreamName="a", logEvents=events[first : first + 500])
    done.clear()
    while True:
        page = call(logs, "FilterLogEvents", logGroupName="falco", **extra, **token)
        read, pages = read + len(page["events"]), pages + 1
        if "nextToken" not in page:
            break
        token = {"nextToken": page["nextToken"]}
    assert read == (5_000 if "startFromHead" in extra else 20_000)
    assert pages > 3
    assert done["decompress"] <= len(stream.events._blocks)


def test_late_alerts_compress_only_the_blocks_that_they_belong_in(packed: tuple[Logs, Stream, Counter[str]]) -> None:
    logs, stream, done = packed
    done.clear()
    events = [{"timestamp": 905_000 + i, "message": "late"} for i in range(100)]
    call(logs, "PutLogEvents", logGroupName="falco", logStreamName="a", logEvents=events)
    assert len(stream.events) == 20_100
    assert done["compress"] <= 6


class CountingList(list[Event]):
    """A list that counts how often one of its items is looked at."""

    looks = 0

    def __getitem__(self, index: object) -> object:  # type: ignore[override]
        CountingList.looks += 1
        return super().__getitem__(index)  # type: ignore[index]


def test_reading_page_by_page_looks_at_each_event_once() -> None:
    count, size = 20_000, 100
    group = Group("falco", 0, "arn")
    stream = group.create_stream("a", 0)
    stream.events._tail = CountingList((n, n, 0, "x") for n in range(1, count + 1))
    CountingList.looks = 0
    after, read, pages = None, 0, 0
    while page := list(itertools.islice(scan([stream], 0, count, after=after), size)):
        read, pages, after = read + len(page), pages + 1, page[-1][0][:2]
    assert (read, pages) == (count, count // size)
    # Beside the events themselves, each page costs three binary searches.
    assert CountingList.looks < count + (pages + 1) * 3 * 16
