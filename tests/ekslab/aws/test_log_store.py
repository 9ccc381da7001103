"""The store against the simplest one that could be right: all events in one list, sorted."""

from __future__ import annotations

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from ekslab.aws.log_store import Event, Group, scan
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
        stream.remove_before(limit)
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
    for forward in [*steps, *[True] * 40]:
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
    stream.events = CountingList((n, n, 0, "x") for n in range(1, count + 1))
    CountingList.looks = 0
    after, read, pages = None, 0, 0
    while page := list(itertools.islice(scan([stream], 0, count, after=after), size)):
        read, pages, after = read + len(page), pages + 1, page[-1][0][:2]
    assert (read, pages) == (count, count // size)
    # Beside the events themselves, each page costs three binary searches.
    assert CountingList.looks < count + (pages + 1) * 3 * 16
