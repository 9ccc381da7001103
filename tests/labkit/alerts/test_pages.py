"""Pages of a window are read to the last, from a service that behaves badly: nothing is lost, nothing comes twice."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from labkit.alerts import concat, pages, read, service
from labkit.alerts.pages import Pages, Window
from labkit.errors import LabError

from .unreliable import ODD, PASSING, Event, Unreliable, event, serving

T0 = 1_790_000_000_000
quick = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def served(make_client: Callable[..., Any]) -> Iterator[tuple[Unreliable, Any]]:
    """The unreliable service, and a client of it."""
    with serving() as (bad, url):
        yield bad, make_client(endpoint_url=url)


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "_paces", {})
    monkeypatch.setattr(service.Service, "pause", lambda *_: None)


class Eager:
    """A crew that is divided as soon and as often as it can be."""

    def __init__(self, _: object) -> None: ...

    def delivered(self, waited: float, running: int) -> None: ...

    def size(self) -> int:
        return 4


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows of a few pages are divided, too."""
    monkeypatch.setattr(pages, "_Crew", Eager)
    for name, value in {"_LEARN": 1, "_WORTH": 2, "_PART": 3, "_BLIND": 2}.items():
        monkeypatch.setattr(pages, name, value)


times = st.lists(st.integers(0, 60), max_size=24)
passing = st.lists(st.sampled_from(["", "", *PASSING]), max_size=6)
odd = st.lists(st.sampled_from(["", *ODD]), max_size=5)


def spread(found: list[int]) -> list[Event]:
    return [event(number, T0 + at) for number, at in enumerate(found, 1)]


def ids(found: Pages) -> list[str]:
    return [one["eventId"] for page in found for one in page]


def one_by_one(faults: list[str]) -> list[str]:
    """The faults with answers between them."""
    return [answer for fault in faults for answer in (fault, "")]


@quick
@given(times, st.integers(1, 5), passing, odd, st.booleans())
@pytest.mark.usefixtures("eager")
def test_nothing_is_lost_and_nothing_comes_twice(
    served: tuple[Unreliable, Any], at: list[int], page: int, passing: list[str], odd: list[str], permuted: bool
) -> None:
    bad, client = served
    for shards in (False, True):
        bad.reset(spread(at), page=page, faults=["", *odd, *passing], permuted=permuted, patience=2)
        found = Pages(client, Window("falco", T0, T0 + 100), shards=shards)
        got = ids(found)
        assert sorted(got) == [one["eventId"] for one in bad.events]
        assert found.complete


@quick
@given(times, st.integers(1, 5), odd, st.integers(0, 60), st.integers(0, 60))
@pytest.mark.usefixtures("eager")
def test_a_window_holds_its_first_and_its_last_millisecond(
    served: tuple[Unreliable, Any], at: list[int], page: int, odd: list[str], low: int, high: int
) -> None:
    bad, client = served
    bad.reset(spread(at), page=page, faults=odd)
    got = ids(Pages(client, Window("falco", T0 + low, T0 + high), shards=True))
    assert sorted(got) == [one["eventId"] for one in bad.events if low <= one["timestamp"] - T0 <= high]


@quick
@given(times, st.integers(1, 5), st.lists(st.sampled_from(["", "expired", "empty", "duplicates"]), max_size=5))
def test_backwards_it_is_the_same(served: tuple[Unreliable, Any], at: list[int], page: int, odd: list[str]) -> None:
    bad, client = served
    bad.reset(spread(at), page=page, faults=one_by_one(odd))
    got = ids(Pages(client, Window("falco", T0, T0 + 100, newest_first=True)))
    assert sorted(got) == [one["eventId"] for one in bad.events]


@quick
@given(times, st.integers(1, 4), st.integers(2, 12), st.booleans())
@pytest.mark.usefixtures("eager")
def test_what_a_deleted_stream_or_a_late_line_changes_is_theirs_alone(
    served: tuple[Unreliable, Any], at: list[int], page: int, when: int, shards: bool
) -> None:
    bad, client = served
    events = [event(n, T0 + moment, stream="ab"[n % 2]) for n, moment in enumerate(at, 1)]
    late = [event(1000 + n, T0 + n * 7) for n in range(5)]

    def change(bad: Unreliable, number: int) -> None:
        if number == when:
            bad.events = [one for one in bad.events if one["logStreamName"] == "a"] + late

    bad.reset(events, page=page, before=change)
    got = ids(Pages(client, Window("falco", T0, T0 + 100), shards=shards))
    assert len(got) == len(set(got))
    assert {one["eventId"] for one in events if one["logStreamName"] == "a"} <= set(got)
    assert set(got) <= {one["eventId"] for one in [*events, *late]}


LINE = json.dumps({"rule": "R", "priority": "Notice", "output": "o", "output_fields": {}})


@quick
@given(times, st.integers(1, 5), st.integers(1, 12), st.booleans())
def test_the_newest_are_the_newest_also_of_a_service_that_begins_with_the_oldest(
    served: tuple[Unreliable, Any], at: list[int], page: int, limit: int, honest: bool
) -> None:
    bad, client = served
    bad.reset([event(n, T0 + moment, LINE) for n, moment in enumerate(at, 1)], page=page)
    bad.honest = honest
    df = read(client, start=pd.Timestamp(T0, unit="ms", tz="UTC"), limit=limit)
    assert df["eventId"].is_unique
    found = sorted(df["timestamp"].astype("int64") // 1_000_000 - T0)
    assert found == sorted(at)[-limit:]


@settings(quick, max_examples=5)
@given(st.lists(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 59)), max_size=8), max_size=4), odd)
def test_reading_again_and_again_gives_every_late_line_once(
    served: tuple[Unreliable, Any], visits: list[list[tuple[int, int]]], odd: list[str]
) -> None:
    """At each visit there are new lines: some of now, some up to nine minutes late."""
    bad, client = served
    bad.reset([], faults=odd)
    df = read(client)
    for number, lines in enumerate(visits):
        now = T0 + number * 60_000
        for late, second in lines:
            bad.events.append(event(len(bad.events) + 1, now - late * 60_000 + second * 1000, LINE))
        df = concat([df, read(client, after=df)])
        assert sorted(df["eventId"]) == [one["eventId"] for one in bad.events]


@pytest.mark.parametrize("fault", ["error 500", "reset", "cut off", "no json", "throttled"])
@pytest.mark.parametrize("number", [1, 6])
@pytest.mark.usefixtures("eager")
def test_a_part_that_fails_for_good_ends_the_whole(served: tuple[Unreliable, Any], fault: str, number: int) -> None:
    bad, client = served
    bad.reset(spread(list(range(60))), faults=["repeat"] * (number - 1) + [fault] * 1000)
    found = Pages(client, Window("falco", T0, T0 + 100), shards=True)
    with pytest.raises(LabError) as caught:
        ids(found)
    assert caught.value.hint
    assert not found.complete


@pytest.mark.usefixtures("eager")
def test_a_group_that_is_deleted_meanwhile_is_an_error(served: tuple[Unreliable, Any]) -> None:
    bad, client = served

    def answer(asked: dict[str, Any], answered: Any = bad.answer) -> Any:
        if len(bad.requests) >= 4:
            return 400, b'{"__type": "ResourceNotFoundException", "message": "gone"}', 58
        return answered(asked)

    bad.reset(spread(list(range(60))))
    bad.answer = answer  # type: ignore[method-assign]
    try:
        with pytest.raises(LabError, match="no log group 'falco'"):
            ids(Pages(client, Window("falco", T0, T0 + 100), shards=True))
    finally:
        del bad.answer


def test_a_token_that_is_refused_again_and_again_is_an_error(served: tuple[Unreliable, Any]) -> None:
    bad, client = served
    bad.reset(spread(list(range(20))), faults=["", "expired", "", "expired", *["expired", "empty"] * 50])
    with pytest.raises(LabError, match="expired"):
        ids(Pages(client, Window("falco", T0, T0 + 100)))


@pytest.mark.usefixtures("eager")
def test_a_service_that_knows_no_times_is_read_in_one_piece(served: tuple[Unreliable, Any]) -> None:
    bad, client = served
    bad.reset(spread(list(range(60))), honest=False)
    assert len(ids(Pages(client, Window("falco", T0, T0 + 100), shards=True))) == 60
    assert len(bad.requests) <= 22


@pytest.mark.usefixtures("eager")
def test_parts_are_read_at_the_same_time(served: tuple[Unreliable, Any]) -> None:
    bad, client = served
    bad.reset(spread(list(range(100))), before=lambda *_: time.sleep(0.02))
    found = Pages(client, Window("falco", T0, T0 + 100), shards=True)
    assert len(ids(found)) == 100
    assert 2 <= found.most <= pages.MOST_PARTS
    assert 2 <= bad.most_at_once <= pages.MOST_PARTS


def test_a_few_pages_are_read_one_after_the_other(served: tuple[Unreliable, Any]) -> None:
    bad, client = served
    bad.reset(spread(list(range(30))), before=lambda *_: time.sleep(0.03))
    found = Pages(client, Window("falco", T0, T0 + 30), shards=True)
    assert len(ids(found)) == 30
    assert (found.most, bad.most_at_once, len(bad.requests)) == (1, 1, 10)


def test_two_pages_are_fetched_ahead_and_no_more(served: tuple[Unreliable, Any]) -> None:
    bad, client = served
    bad.reset(spread(list(range(60))))
    reading = iter(Pages(client, Window("falco", T0, T0 + 100)))
    next(reading)
    time.sleep(0.1)
    assert 2 <= len(bad.requests) <= 3
    reading.close()  # type: ignore[attr-defined]
    for thread in threading.enumerate():
        if thread.name == "labkit-pages":
            thread.join(5)
            assert not thread.is_alive()


class Simulated:
    """A crew on a service whose pages take some time each, read by so many parts at a time as the crew says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, at_most: float = 1000.0) -> None:
        self.now, self.held, self.at_most = 0.0, 0.0, at_most
        monkeypatch.setattr(pages.time, "monotonic", lambda: self.now)
        self.crew = pages._Crew(self)  # type: ignore[arg-type]

    def read(self, count: int, *, seconds: float, frame: float = 0.0, held: float = 0.0) -> int:
        """Reads pages that take `seconds` each, and `frame` for the frame; how many are read at a time in the end."""
        size = 1
        for _ in range(count):
            apart = max(seconds / size, 1 / self.at_most, frame)
            self.now += apart
            self.held += held
            self.crew.delivered(apart - frame, size)
            size = self.crew.size()
        return size


@pytest.mark.parametrize(
    ("page", "at_most", "size"),
    [
        ({"seconds": 0.2}, 1000, 8),  # a client far away
        ({"seconds": 0.02}, 1000, 1),  # quick already
        ({"seconds": 0.2, "frame": 0.15}, 1000, 1),  # the frame takes the time
        ({"seconds": 0.2}, 5, 2),  # no quicker by two: no more are tried
        ({"seconds": 0.2, "held": 0.1}, 1000, 1),  # held back to keep the pace
    ],
)
def test_more_parts_are_read_while_that_makes_it_faster(
    monkeypatch: pytest.MonkeyPatch, page: dict[str, float], at_most: float, size: int
) -> None:
    assert Simulated(monkeypatch, at_most=at_most).read(200, **page) == size
