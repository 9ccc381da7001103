"""AWS under load: quotas and latency hold as they are set, and without them nothing is held back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest
from botocore.exceptions import ClientError

from ekslab.aws.load import Load, published
from ekslab.aws.protocols import AwsError
from ekslab.http import HttpRequest


class Ticks:
    """A clock that stands still until it is moved."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def admitted(load: Load, operation: str, count: int, region: str = "us-east-1") -> int:
    """How many of so many requests are let in."""
    passed = 0
    for _ in range(count):
        with suppress(AwsError):
            load.admit(operation, region)
            passed += 1
    return passed


@pytest.fixture
def logs(running: Any) -> Any:
    client = running.client("logs")
    client.create_log_group(logGroupName="falco")
    client.create_log_stream(logGroupName="falco", logStreamName="alerts")
    events = [{"timestamp": running.clock.ms(), "message": '{"rule": "a"}'}]
    client.put_log_events(logGroupName="falco", logStreamName="alerts", logEvents=events)
    return client


def test_a_bucket_holds_a_second_of_requests_and_fills_again() -> None:
    clock = Ticks()
    load = Load(clock)
    load.set({"quotas": True})
    assert admitted(load, "FilterLogEvents", 100) == 25
    clock.now += 0.2
    assert admitted(load, "FilterLogEvents", 100) == 5
    clock.now += 3600
    assert admitted(load, "FilterLogEvents", 100) == 25


def test_operations_and_regions_have_buckets_of_their_own() -> None:
    load = Load(Ticks())
    load.set({"quotas": True})
    assert admitted(load, "FilterLogEvents", 50, "eu-central-1") == 5
    assert admitted(load, "FilterLogEvents", 50, "eu-north-1") == 10
    assert admitted(load, "StartQuery", 50) == 10
    assert admitted(load, "StopQuery", 50) == 50  # AWS publishes none for it


def test_numbers_are_given_one_after_the_other() -> None:
    load = Load(Ticks())
    load.set({"quotas": {"FilterLogEvents": 7}})
    load.set({"quotas": {"StartQuery": 2}})
    assert load.quotas("us-east-1") == {**published("us-east-1"), "FilterLogEvents": 7, "StartQuery": 2}
    load.set({"quotas": True})
    assert load.quotas("us-east-1") == published("us-east-1")


def test_another_number_replaces_the_published_one_and_no_other() -> None:
    load = Load(Ticks())
    load.set({"quotas": {"FilterLogEvents": 7}})
    assert load.quotas("us-east-1") == {**published("us-east-1"), "FilterLogEvents": 7}
    assert admitted(load, "FilterLogEvents", 50) == 7
    load.set({"quotas": False})
    assert admitted(load, "FilterLogEvents", 50) == 50


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"latency": -1}, "latency is -1"),
        ({"latency": "80ms"}, "latency is '80ms'"),
        ({"query_seconds": True}, "query_seconds is True"),
        ({"quotas": {"FilterLogEvent": 5}}, "There is no quota 'FilterLogEvent'"),
        ({"quotas": {"FilterLogEvents": 0}}, "FilterLogEvents is 0"),
        ({"quotas": 5}, "quotas is 5"),
        ({"delay": 1}, "There is no 'delay'"),
        ([], "Give an object"),
    ],
)
def test_what_cannot_be_changes_nothing(changes: Any, message: str) -> None:
    load = Load()
    load.set({"latency": 0.08, "quotas": True})
    before = load.described("us-east-1")
    with pytest.raises(ValueError, match=message):
        load.set(changes)
    assert load.described("us-east-1") == before


def test_latency_brings_a_query_time_along() -> None:
    load = Load()
    load.set({"latency": 0.08})
    assert load.query_seconds == 1
    load.set({"quotas": True})
    assert (load.latency, load.query_seconds) == (0.08, 1)
    load.set({"latency": 0.08, "query_seconds": 0.3})
    assert load.query_seconds == 0.3
    load.set({"latency": 0})
    assert load.query_seconds == 0


def test_one_request_too_many_is_throttled_as_aws_does_it(running: Any, logs: Any) -> None:
    running.aws.load.set({"quotas": {"FilterLogEvents": 0.001}})
    assert logs.filter_log_events(logGroupName="falco")["events"]
    with pytest.raises(logs.exceptions.ThrottlingException) as error:
        logs.filter_log_events(logGroupName="falco")
    assert error.value.response["Error"] == {"Code": "ThrottlingException", "Message": "Rate exceeded"}
    assert error.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
    assert logs.describe_log_streams(logGroupName="falco")["logStreams"]


def test_another_service_has_no_quotas(running: Any, logs: Any) -> None:
    running.aws.load.set({"quotas": True})
    for _ in range(60):
        running.client("sts").get_caller_identity()


def test_the_aws_cli_says_what_it_says_of_a_real_account(running: Any, logs: Any, aws_cli: Callable[..., Any]) -> None:
    running.aws.load.set({"quotas": {"FilterLogEvents": 0.001}})
    command = ("logs", "filter-log-events", "--log-group-name", "falco")
    assert aws_cli(*command)["events"]
    assert "(ThrottlingException) when calling the FilterLogEvents operation" in aws_cli(*command, refused=True)


def start(client: Any) -> str:
    now = int(time.time())
    query = {"startTime": now - 3600, "endTime": now + 60, "queryString": "fields rule"}
    return str(client.start_query(logGroupName="falco", **query)["queryId"])


def test_a_query_is_running_for_as_long_as_was_said(running: Any, logs: Any) -> None:
    running.aws.load.set({"query_seconds": 500})
    query = start(logs)
    answer = logs.get_query_results(queryId=query)
    assert (answer["status"], answer["results"]) == ("Running", [])
    assert logs.describe_queries(status="Running")["queries"][0]["queryId"] == query
    running.clock.offset += 501
    answer = logs.get_query_results(queryId=query)
    assert (answer["status"], len(answer["results"])) == ("Complete", 1)
    assert 500 <= logs.describe_queries()["queries"][0]["queryDuration"] / 1000 < 502


def test_a_query_that_waits_can_be_stopped(running: Any, logs: Any) -> None:
    running.aws.load.set({"query_seconds": 500})
    query = start(logs)
    assert logs.stop_query(queryId=query)["success"]
    assert logs.get_query_results(queryId=query)["status"] == "Cancelled"


def test_queries_at_a_time_have_a_limit_that_stopped_ones_make_room_in(running: Any, logs: Any) -> None:
    running.aws.load.set({"query_seconds": 500, "quotas": {"ConcurrentQueries": 2}})
    first = start(logs)
    start(logs)
    with pytest.raises(logs.exceptions.LimitExceededException) as error:
        start(logs)
    assert error.value.response["Error"]["Message"] == "Account maximum query concurrency limit of [2] reached."
    logs.stop_query(queryId=first)
    start(logs)


def test_sessions_of_live_tail_at_a_time_have_a_limit(running: Any, logs: Any) -> None:
    running.aws.load.set({"quotas": {"LiveTailSessions": 1, "StartLiveTail": 1000}})
    arn = logs.describe_log_groups()["logGroups"][0]["logGroupArn"]
    first = logs.start_live_tail(logGroupIdentifiers=[arn])["responseStream"]
    assert "sessionStart" in next(iter(first))
    with pytest.raises(ClientError, match="LimitExceededException"):
        logs.start_live_tail(logGroupIdentifiers=[arn])
    first.close()
    deadline = time.monotonic() + 10
    while True:  # the service notices at the next update that the reader went away
        try:
            logs.start_live_tail(logGroupIdentifiers=[arn])["responseStream"].close()
            break
        except ClientError:
            assert time.monotonic() < deadline
            time.sleep(0.1)


def test_latency_delays_an_answer_and_no_other_call(running: Any, logs: Any) -> None:
    """Twenty calls at once take one latency together, not twenty."""
    clients = [running.client("logs") for _ in range(20)]
    running.aws.load.set({"latency": 0.5})
    started = time.monotonic()
    with ThreadPoolExecutor(20) as pool:
        list(pool.map(lambda client: client.filter_log_events(logGroupName="falco"), clients))
    assert 0.5 <= time.monotonic() - started < 5


def test_latency_is_for_clients_and_not_for_pods(running: Any, logs: Any) -> None:
    """A pod's request comes through the simulated network, and is the cluster's own."""
    running.aws.load.set({"latency": 60})
    body = b"Action=GetCallerIdentity&Version=2011-06-15"
    request = HttpRequest("POST", "https://sts.us-east-1.amazonaws.com/", {}, body)
    answer = asyncio.run_coroutine_threadsafe(running.aws.handle(request), running.loop).result(10)
    assert answer.status == 403
