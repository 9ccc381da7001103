"""Requests keep the account's pace, and what CloudWatch Logs says in passing is got over."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from botocore.config import Config

from labkit.alerts import service
from labkit.alerts.service import Pace, Service, pace_of

from .unreliable import event, serving


class Clock:
    """A clock that goes on by what is waited, and counts what a service with a quota would refuse."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.sent: list[float] = []

    def __call__(self) -> float:
        return self.now

    def send(self, pace: Pace, count: int) -> float:
        """Sends requests one after the other; how long that took."""
        started = self.now
        for _ in range(count):
            self.now += pace.delay()
            self.sent.append(self.now)
        return self.now - started


def test_a_service_that_does_not_throttle_is_never_waited_for() -> None:
    clock = Clock()
    assert clock.send(Pace(5, limited=False, clock=clock), 1000) == 0


def test_aws_is_asked_at_its_published_pace_from_the_start() -> None:
    clock = Clock()
    pace = Pace(5, limited=True, clock=clock)
    assert clock.send(pace, 5) < 0.001  # a second's worth at once
    assert 4 <= clock.send(pace, 25) <= 5


@pytest.mark.parametrize(
    ("limited", "answers", "after"),
    [(False, 0, 2), (False, 8, 4), (False, 50, 5), (True, 0, 2), (True, 6, 3), (True, 50, 4.5)],
)
def test_a_throttled_pace_is_what_was_let_through_and_finds_its_way_up_again(
    limited: bool, answers: int, after: float
) -> None:
    clock = Clock()
    pace = Pace(5, limited=limited, clock=clock)
    clock.now += 1.5  # a while after it was made
    for _ in range(answers):
        pace.answered()
    for _ in range(8):  # parts are throttled at the same time
        pace.throttled()
    assert pace.rate == pytest.approx(after, abs=0.2)
    assert clock.send(pace, 1) > 0  # no burst after that
    clock.now += 4
    assert pace.rate == pytest.approx(after + 1, abs=0.3)
    clock.now += 1000
    assert pace.rate == 50


def test_it_stays_near_a_quota_that_it_does_not_know() -> None:
    """A service that lets 10 requests through in each second, and one that begins with the lower quota."""
    clock = Clock()
    pace = Pace(5, limited=True, clock=clock)
    through: list[float] = []
    refused = 0
    while clock.now < 1060:
        clock.now += pace.delay()
        if sum(at > clock.now - 1 for at in through[-20:]) >= 10:
            refused += 1
            pace.throttled()
        else:
            through.append(clock.now)
            pace.answered()
    assert len(through) > 60 * 7
    assert refused < len(through) / 20


@pytest.mark.parametrize(("region", "rate"), [("us-east-1", 25), ("eu-west-1", 10), ("eu-central-1", 5)])
def test_regions_have_quotas_of_their_own(
    make_client: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, region: str, rate: float
) -> None:
    monkeypatch.setattr(service, "_paces", {})
    aws = make_client(region_name=region, endpoint_url=None)
    assert pace_of(aws, "FilterLogEvents").rate == pytest.approx(rate, rel=0.01)
    assert pace_of(aws, "FilterLogEvents") is pace_of(
        make_client(region_name=region, endpoint_url=None), "FilterLogEvents"
    )
    assert pace_of(aws, "StartQuery").rate == pytest.approx(10, rel=0.01)
    assert pace_of(make_client(region_name=region), "FilterLogEvents").rate is None


def test_what_botocore_retries_slows_the_pace_too(
    make_client: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:

    monkeypatch.setattr(service, "_paces", {})
    with serving() as (bad, url):
        client = make_client(endpoint_url=url, config=Config(retries={"mode": "standard", "total_max_attempts": 3}))
        bad.reset([event(1, 5)], faults=["throttled"])
        with Service(client, "falco").open("FilterLogEvents") as logs:
            assert len(logs.call("FilterLogEvents", {"logGroupName": "falco"})["events"]) == 1
        assert pace_of(client, "FilterLogEvents").rate is not None
        assert len(bad.requests) == 2


def test_a_client_is_left_as_it_was(client: Any, group: Any) -> None:
    names = [
        f"{event}.cloudwatch-logs.{operation}"
        for event in ("before-parse", "needs-retry")
        for operation in ("FilterLogEvents", "GetQueryResults")
    ]

    def handlers() -> list[int]:
        return [len(client.meta.events._emitter._handlers.prefix_search(name)) for name in names]

    before = handlers()
    with Service(client, group.name).open("FilterLogEvents", "GetQueryResults"):
        assert [now - then for now, then in zip(handlers(), before, strict=True)] == [1, 1, 1, 1]
    assert handlers() == before
