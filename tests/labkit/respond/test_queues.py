"""Messages are received until there are enough, by long polling."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from labkit import Lab
from labkit.errors import TargetError
from labkit.respond.queues import receive_all


@pytest.fixture
def queue(lab: Lab) -> tuple[Any, str]:
    """A client and the URL of an empty queue."""
    client = lab.aws.client("sqs")
    return client, client.create_queue(QueueName=lab.settings.prefix)["QueueUrl"]


@pytest.fixture
def requests(queue: tuple[Any, str]) -> list[str]:
    """The receive requests that are made."""
    seen: list[str] = []
    queue[0].meta.events.register("before-send.sqs.ReceiveMessage", lambda request, **_: seen.append(request.url))
    return seen


def test_an_empty_queue_is_asked_once_for_the_whole_time(queue: tuple[Any, str], requests: list[str]) -> None:
    assert receive_all(*queue, timeout=1) == []
    assert len(requests) <= 3
    assert receive_all(*queue, at_least=0, timeout=30) == []


def test_all_messages_are_taken_out_as_soon_as_there_are_enough(queue: tuple[Any, str]) -> None:
    client, url = queue
    for number in range(12):
        client.send_message(QueueUrl=url, MessageBody=str(number))
    later = threading.Timer(0.5, lambda: client.send_message(QueueUrl=url, MessageBody="12"))
    later.start()
    found = receive_all(client, url, at_least=13, timeout=30)
    assert sorted(int(message["Body"]) for message in found) == list(range(13))
    assert receive_all(client, url, timeout=0) == []


def test_what_there_is_when_the_time_is_up_is_returned(queue: tuple[Any, str]) -> None:
    client, url = queue
    client.send_message(QueueUrl=url, MessageBody="only one")
    assert [message["Body"] for message in receive_all(client, url, at_least=2, timeout=1)] == ["only one"]


def test_a_queue_that_is_not_there_is_an_error(lab: Lab, queue: tuple[Any, str]) -> None:
    client, url = queue
    with pytest.raises(TargetError, match="refused ReceiveMessage"):
        receive_all(client, f"{url}-of-nobody", timeout=0)
