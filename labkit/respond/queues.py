"""Messages of an SQS queue, received until there are enough."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

from labkit.aws import translated_errors
from labkit.calls import SqsClient
from labkit.waiting import waiting

if TYPE_CHECKING:
    from mypy_boto3_sqs.type_defs import MessageTypeDef


def receive_all(client: SqsClient, queue_url: str, *, at_least: int = 1, timeout: float) -> list[MessageTypeDef]:
    """Receives and deletes all messages; waits up to `timeout` seconds for `at_least` of them.

    Each is as ReceiveMessage returns it, with its attributes. SQS delivers at least once: there may be duplicates.
    """
    deadline = time.monotonic() + timeout
    found: list[MessageTypeDef] = []
    with translated_errors(), waiting(f"messages in queue {queue_url.rpartition('/')[2]}", timeout):
        while True:
            left = deadline - time.monotonic()
            messages = client.receive_message(
                QueueUrl=queue_url,
                MaxNumberOfMessages=10,
                WaitTimeSeconds=0 if len(found) >= at_least else max(0, min(20, math.ceil(left))),
                MessageAttributeNames=["All"],
            ).get("Messages", [])
            for message in messages:
                client.delete_message(QueueUrl=queue_url, ReceiptHandle=message["ReceiptHandle"])
            found += messages
            if not messages and (len(found) >= at_least or left <= 0):
                return found
