"""Live Tail: what is put while a session is open arrives within its next update."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
from botocore.exceptions import EventStreamError

ARN = "arn:aws:logs:us-east-1:111122223333:log-group:falco"


@pytest.fixture
def logs(running: Any) -> Any:
    client = running.client("logs")
    client.create_log_group(logGroupName="falco")
    for name in ("node-1", "node-2"):
        client.create_log_stream(logGroupName="falco", logStreamName=name)
    return client


def put(running: Any, logs: Any, stream: str, *messages: str) -> None:
    events = [{"timestamp": running.clock.ms(), "message": message} for message in messages]
    logs.put_log_events(logGroupName="falco", logStreamName=stream, logEvents=events)


def first_update_with_events(stream: Any) -> Any:
    for event in stream:
        if event.get("sessionUpdate", {}).get("sessionResults"):
            return event["sessionUpdate"]
    raise AssertionError("the session ended")


def test_a_session_starts_and_shows_what_is_put_from_then_on(running: Any, logs: Any) -> None:
    put(running, logs, "node-1", "before")
    stream = logs.start_live_tail(logGroupIdentifiers=[ARN])["responseStream"]
    events = iter(stream)
    start = next(events)["sessionStart"]
    assert start["logGroupIdentifiers"] == [ARN]
    assert start["sessionId"]
    put(running, logs, "node-1", "after")
    update = first_update_with_events(events)
    (result,) = update["sessionResults"]
    assert result["message"] == "after"
    assert (result["logStreamName"], result["logGroupIdentifier"]) == ("node-1", ARN)
    assert update["sessionMetadata"] == {"sampled": False}
    stream.close()


def test_streams_and_patterns_narrow_a_session(running: Any, logs: Any) -> None:
    stream = logs.start_live_tail(
        logGroupIdentifiers=[ARN], logStreamNames=["node-2"], logEventFilterPattern='{ $.rule = "A*" }'
    )["responseStream"]
    events = iter(stream)
    assert next(events)["sessionStart"]["logEventFilterPattern"] == '{ $.rule = "A*" }'
    put(running, logs, "node-1", '{"rule": "A1"}')
    put(running, logs, "node-2", '{"rule": "B"}', '{"rule": "A2"}')
    (result,) = first_update_with_events(events)["sessionResults"]
    assert result["message"] == '{"rule": "A2"}'
    stream.close()


def test_more_than_500_events_in_a_second_are_sampled(running: Any, logs: Any) -> None:
    stream = logs.start_live_tail(logGroupIdentifiers=[ARN])["responseStream"]
    events = iter(stream)
    next(events)
    put(running, logs, "node-1", *(str(i) for i in range(2000)))
    update = first_update_with_events(events)
    assert update["sessionMetadata"] == {"sampled": True}
    assert len(update["sessionResults"]) == 500
    stream.close()


def test_a_session_that_its_reader_left_stops_listening(running: Any, logs: Any) -> None:
    stream = logs.start_live_tail(logGroupIdentifiers=[ARN])["responseStream"]
    next(iter(stream))
    group = running.aws.logs.region("us-east-1").groups["falco"]
    assert len(group.listeners) == 1
    stream.close()
    logs.close()  # the connection too, not only its reader
    left = threading.Event()
    deadline = time.monotonic() + 60
    while group.listeners and time.monotonic() < deadline:
        left.wait(0.05)
    assert group.listeners == []


def test_sessions_need_arns_and_existing_groups(logs: Any) -> None:
    with pytest.raises(logs.exceptions.InvalidParameterException, match="must be the ARN of a log group"):
        logs.start_live_tail(logGroupIdentifiers=["falco"])
    with pytest.raises(logs.exceptions.InvalidParameterException, match=r"logGroupIdentifiers\.1\.member"):
        logs.start_live_tail(logGroupIdentifiers=[ARN + ":*"])
    with pytest.raises(logs.exceptions.ResourceNotFoundException, match="log group does not exist"):
        logs.start_live_tail(logGroupIdentifiers=[ARN + "-2"])
    with pytest.raises(logs.exceptions.InvalidParameterException, match="expected a selector"):
        logs.start_live_tail(logGroupIdentifiers=[ARN], logEventFilterPattern="{ nonsense }")


def test_a_session_ends_with_an_error_when_its_time_is_over(logs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ekslab.aws.live_tail.MAX_SESSION", 0.05)
    monkeypatch.setattr("ekslab.aws.live_tail.INTERVAL", 0.02)
    stream = logs.start_live_tail(logGroupIdentifiers=[ARN])["responseStream"]
    with pytest.raises(EventStreamError, match="SessionTimeoutException"):
        list(stream)
