"""SQS: what is sent is received, hidden while it is worked on, and ends in the dead-letter queue if it never works."""

from __future__ import annotations

import hashlib
import json
import threading
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ekslab.aws.protocols import AwsError


@pytest.fixture
def sqs(running: Any) -> Any:
    return running.client("sqs")


@pytest.fixture
def queue(sqs: Any) -> str:
    return str(sqs.create_queue(QueueName="alarms")["QueueUrl"])


def arn(sqs: Any, url: str) -> str:
    return str(sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"])


def bodies(sqs: Any, url: str, **options: Any) -> list[str]:
    return [m["Body"] for m in sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, **options).get("Messages", [])]


def code(call: Any, **arguments: Any) -> str:
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    return str(caught.value.response["Error"]["Code"])


def test_a_message_is_received_hidden_received_again_and_deleted(running: Any, sqs: Any, queue: str) -> None:
    sent = sqs.send_message(
        QueueUrl=queue, MessageBody="héllo", MessageAttributes={"kind": {"DataType": "String", "StringValue": "x"}}
    )
    assert sent["MD5OfMessageBody"] == hashlib.md5("héllo".encode()).hexdigest()
    assert len(sent["MD5OfMessageAttributes"]) == 32  # boto3 checks digests, if there are any
    (first,) = sqs.receive_message(
        QueueUrl=queue, MessageAttributeNames=["All"], MessageSystemAttributeNames=["All"], VisibilityTimeout=30
    )["Messages"]  # boto3 checks the digests
    assert (first["MessageId"], first["Body"]) == (sent["MessageId"], "héllo")
    assert first["MessageAttributes"]["kind"]["StringValue"] == "x"
    assert first["MD5OfBody"] == sent["MD5OfMessageBody"]
    assert first["MD5OfMessageAttributes"] == sent["MD5OfMessageAttributes"]
    now = running.clock.ms()
    system = first["Attributes"]
    assert (system["ApproximateReceiveCount"], set(system)) == (
        "1",
        {"SenderId", "SentTimestamp", "ApproximateReceiveCount", "ApproximateFirstReceiveTimestamp"},
    )
    assert now - 30_000 < int(system["SentTimestamp"]) <= int(system["ApproximateFirstReceiveTimestamp"]) <= now
    assert bodies(sqs, queue) == []
    running.clock.offset += 31
    (second,) = sqs.receive_message(QueueUrl=queue, AttributeNames=["ApproximateReceiveCount"])["Messages"]
    assert second["Attributes"] == {"ApproximateReceiveCount": "2"}
    sqs.delete_message(QueueUrl=queue, ReceiptHandle=second["ReceiptHandle"])
    running.clock.offset += 31
    assert bodies(sqs, queue) == []


def test_binary_attributes(sqs: Any, queue: str) -> None:
    attributes = {"raw": {"DataType": "Binary", "BinaryValue": b"\x00\xff"}}
    sqs.send_message(QueueUrl=queue, MessageBody="x", MessageAttributes=attributes)  # boto3 checks the digest
    (message,) = sqs.receive_message(QueueUrl=queue, MessageAttributeNames=["All"])["Messages"]
    assert message["MessageAttributes"] == attributes
    wrong = {"raw": {"DataType": "Colour", "StringValue": "red"}}
    assert code(sqs.send_message, QueueUrl=queue, MessageBody="x", MessageAttributes=wrong) == "InvalidParameterValue"


def test_a_receiver_waits_for_a_message(sqs: Any, queue: str, running: Any) -> None:
    threading.Timer(0.2, lambda: running.client("sqs").send_message(QueueUrl=queue, MessageBody="late")).start()
    assert bodies(sqs, queue, WaitTimeSeconds=20) == ["late"]


def test_what_is_received_too_often_goes_to_the_dead_letter_queue(running: Any, sqs: Any, queue: str) -> None:
    dead = sqs.create_queue(QueueName="dead")["QueueUrl"]
    policy = {"deadLetterTargetArn": arn(sqs, dead), "maxReceiveCount": 2}
    sqs.set_queue_attributes(QueueUrl=queue, Attributes={"RedrivePolicy": json.dumps(policy)})
    sqs.send_message(QueueUrl=queue, MessageBody="poison")
    for _ in range(2):
        assert bodies(sqs, queue) == ["poison"]
        running.clock.offset += 31
    assert bodies(sqs, queue) == []
    assert redrive_error(sqs, queue, dead, 0) == "InvalidParameterValue"
    assert redrive_error(sqs, queue, dead, 1001) == "InvalidParameterValue"
    (letter,) = sqs.receive_message(QueueUrl=dead, MessageSystemAttributeNames=["All"])["Messages"]
    assert letter["Body"] == "poison"
    assert letter["Attributes"]["DeadLetterQueueSourceArn"] == arn(sqs, queue)
    assert sqs.list_dead_letter_source_queues(QueueUrl=dead)["queueUrls"] == [queue]


def redrive_error(sqs: Any, queue: str, dead: str, count: int) -> str:
    policy = json.dumps({"deadLetterTargetArn": arn(sqs, dead), "maxReceiveCount": count})
    return code(sqs.set_queue_attributes, QueueUrl=queue, Attributes={"RedrivePolicy": policy})


def test_batches_tell_of_each_entry(sqs: Any, queue: str) -> None:
    answer = sqs.send_message_batch(
        QueueUrl=queue, Entries=[{"Id": "a", "MessageBody": "1"}, {"Id": "b", "MessageBody": "\x00"}]
    )
    assert [entry["Id"] for entry in answer["Successful"]] == ["a"]
    assert [(entry["Id"], entry["Code"]) for entry in answer["Failed"]] == [("b", "InvalidMessageContents")]
    (message,) = sqs.receive_message(QueueUrl=queue)["Messages"]
    handle = {"Id": "x", "ReceiptHandle": message["ReceiptHandle"]}
    assert len(sqs.delete_message_batch(QueueUrl=queue, Entries=[handle])["Successful"]) == 1
    assert code(sqs.send_message_batch, QueueUrl=queue, Entries=[]) == "AWS.SimpleQueueService.EmptyBatchRequest"


def test_queues_are_made_once_listed_described_and_deleted(sqs: Any, queue: str) -> None:
    assert sqs.create_queue(QueueName="alarms")["QueueUrl"] == queue
    assert code(sqs.create_queue, QueueName="alarms", Attributes={"DelaySeconds": "5"}) == "QueueAlreadyExists"
    assert sqs.list_queues(QueueNamePrefix="al")["QueueUrls"] == [queue]
    assert sqs.get_queue_url(QueueName="alarms")["QueueUrl"] == queue
    sqs.send_message(QueueUrl=queue, MessageBody="x", DelaySeconds=10)
    attributes = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["All"])["Attributes"]
    assert attributes["ApproximateNumberOfMessagesDelayed"] == "1"
    assert attributes["QueueArn"] == "arn:aws:sqs:us-east-1:111122223333:alarms"
    sqs.tag_queue(QueueUrl=queue, Tags={"workshop": "falco-eks"})
    assert sqs.list_queue_tags(QueueUrl=queue)["Tags"] == {"workshop": "falco-eks"}
    sqs.purge_queue(QueueUrl=queue)
    assert code(sqs.purge_queue, QueueUrl=queue) == "AWS.SimpleQueueService.PurgeQueueInProgress"
    sqs.delete_queue(QueueUrl=queue)
    with pytest.raises(sqs.exceptions.QueueDoesNotExist, match="The specified queue does not exist"):
        sqs.send_message(QueueUrl=queue, MessageBody="x")


NOWHERE = json.dumps({"deadLetterTargetArn": "arn:aws:sqs:us-east-1:1:x", "maxReceiveCount": 1})


@pytest.mark.parametrize(
    ("attributes", "error"),
    [
        ({"VisibilityTimeout": "43201"}, "InvalidAttributeValue"),
        ({"VisibilityTimeout": "-1"}, "InvalidAttributeValue"),
        ({"MessageRetentionPeriod": "59"}, "InvalidAttributeValue"),
        ({"MaximumMessageSize": "1023"}, "InvalidAttributeValue"),
        ({"Nothing": "1"}, "InvalidAttributeName"),
        ({"Policy": "{"}, "InvalidAttributeValue"),
        ({"RedrivePolicy": "{}"}, "InvalidParameterValue"),
        ({"RedrivePolicy": NOWHERE}, "InvalidParameterValue"),
        ({"RedriveAllowPolicy": '{"redrivePermission": "denyAll"}'}, "AWS.SimpleQueueService.UnsupportedOperation"),
        ({"FifoQueue": "true"}, "AWS.SimpleQueueService.UnsupportedOperation"),
    ],
)
def test_attributes_that_cannot_be(sqs: Any, attributes: dict[str, str], error: str) -> None:
    assert code(sqs.create_queue, QueueName="q", Attributes=attributes) == error
    assert "QueueUrls" not in sqs.list_queues()


def test_a_service_may_send_only_what_the_queues_policy_lets_it(running: Any, sqs: Any, queue: str) -> None:
    service = running.aws.sqs
    topic = "arn:aws:sns:us-east-1:111122223333:t"
    with pytest.raises(AwsError, match="not authorized"):
        service.send_as("sns.amazonaws.com", topic, arn(sqs, queue), "x")
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": "sns.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": arn(sqs, queue),
        "Condition": {"ArnEquals": {"aws:SourceArn": topic}},
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    sqs.set_queue_attributes(QueueUrl=queue, Attributes={"Policy": policy})
    service.send_as("sns.amazonaws.com", topic, arn(sqs, queue), "welcome")
    with pytest.raises(AwsError, match="not authorized"):
        service.send_as("sns.amazonaws.com", f"{topic}2", arn(sqs, queue), "x")
    assert bodies(sqs, queue) == ["welcome"]


def test_a_role_needs_the_permission_on_the_queue(running: Any, sqs: Any, queue: str) -> None:
    statement = {"Effect": "Allow", "Action": "sqs:SendMessage", "Resource": arn(sqs, queue)}
    role = running.session({"Version": "2012-10-17", "Statement": [statement]})
    limited = running.as_session("sqs", role)
    limited.send_message(QueueUrl=queue, MessageBody="x")
    assert "AccessDenied" in code(limited.receive_message, QueueUrl=queue)


def test_a_batch_needs_the_permission_of_its_parts(running: Any, sqs: Any, queue: str) -> None:
    statement = {"Effect": "Allow", "Action": "sqs:SendMessage", "Resource": arn(sqs, queue)}
    limited = running.as_session("sqs", running.session({"Version": "2012-10-17", "Statement": [statement]}))
    sent = limited.send_message_batch(QueueUrl=queue, Entries=[{"Id": "a", "MessageBody": "x"}])
    assert [entry["Id"] for entry in sent["Successful"]] == ["a"]


def test_a_dead_letter_wakes_who_waits_for_it(running: Any, sqs: Any, queue: str) -> None:
    dead = sqs.create_queue(QueueName="dead")["QueueUrl"]
    policy = {"deadLetterTargetArn": arn(sqs, dead), "maxReceiveCount": 1}
    sqs.set_queue_attributes(QueueUrl=queue, Attributes={"RedrivePolicy": json.dumps(policy)})
    sqs.send_message(QueueUrl=queue, MessageBody="poison")
    assert bodies(sqs, queue, VisibilityTimeout=0) == ["poison"]
    threading.Timer(0.2, lambda: bodies(running.client("sqs"), queue)).start()
    assert bodies(sqs, dead, WaitTimeSeconds=20) == ["poison"]


@pytest.mark.parametrize(
    ("service", "operation", "parameters", "error"),
    [
        ("sqs", "create_queue", {}, "The request must contain the parameter QueueName."),
        ("sqs", "set_queue_attributes", {"QueueUrl": "x"}, "The request must contain the parameter Attributes."),
        ("sqs", "send_message_batch", {"QueueUrl": "x", "Entries": [{"Id": "a"}]}, "the parameter MessageBody."),
        ("sns", "create_topic", {}, "ValidationError.*Value null at 'name' failed to satisfy constraint"),
        ("sns", "publish", {"TopicArn": "arn:aws:sns:us-east-1:111122223333:t"}, "Value null at 'message' failed"),
        ("cloudwatch", "put_metric_alarm", {"Period": 60}, "Value null at 'alarmName' failed to satisfy constraint"),
    ],
)
def test_what_is_missing_is_named(
    running: Any, service: str, operation: str, parameters: dict[str, Any], error: str
) -> None:
    client = boto3.client(
        service,
        region_name="us-east-1",
        endpoint_url=running.url,
        aws_access_key_id=running.credentials.access_key_id,
        aws_secret_access_key=running.credentials.secret_access_key,
        config=Config(parameter_validation=False),
    )
    with pytest.raises(ClientError, match=error):
        getattr(client, operation)(**parameters)


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(texts=st.lists(st.text(st.characters(min_codepoint=32, max_codepoint=0xD7FF), min_size=1), max_size=15))
def test_nothing_is_lost_or_doubled(sqs: Any, queue: str, texts: list[str]) -> None:
    for text in texts:
        sqs.send_message(QueueUrl=queue, MessageBody=text)
    received: list[str] = []
    while found := sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=7).get("Messages", []):
        for message in found:
            received.append(message["Body"])
            sqs.delete_message(QueueUrl=queue, ReceiptHandle=message["ReceiptHandle"])
    assert sorted(received) == sorted(texts)


def test_a_batch_needs_the_permission_of_a_single_message(running: Any, sqs: Any, queue: str) -> None:
    def client(action: str) -> Any:
        statement = {"Effect": "Allow", "Action": action, "Resource": arn(sqs, queue)}
        running.client("iam").put_role_policy(
            RoleName="fluent-bit",
            PolicyName="permissions",
            PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [statement]}),
        )
        return running.as_session("sqs", session)

    nothing = {"Effect": "Allow", "Action": "sqs:ListQueues", "Resource": "*"}
    session = running.session({"Version": "2012-10-17", "Statement": [nothing]})
    entries = [{"Id": "1", "MessageBody": "x"}]
    assert code(client("sqs:SendMessageBatch").send_message_batch, QueueUrl=queue, Entries=entries).startswith("Acc")
    assert client("sqs:SendMessage").send_message_batch(QueueUrl=queue, Entries=entries)["Successful"]
    assert bodies(sqs, queue) == ["x"]
