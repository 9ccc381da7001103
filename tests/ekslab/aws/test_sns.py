"""SNS: what is published to a topic arrives in the queues that are subscribed to it, and that let it."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from ekslab.aws.protocols import AwsError

ALARM = "arn:aws:cloudwatch:us-east-1:111122223333:alarm:critical"


@pytest.fixture
def sns(running: Any) -> Any:
    return running.client("sns")


@pytest.fixture
def sqs(running: Any) -> Any:
    return running.client("sqs")


@pytest.fixture
def topic(sns: Any) -> str:
    return str(sns.create_topic(Name="alerts")["TopicArn"])


def queue_for(sqs: Any, topic: str, name: str = "notifications", **condition: Any) -> tuple[str, str]:
    """URL and ARN of a queue that lets the topic send to it."""
    url = sqs.create_queue(QueueName=name)["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": "sns.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": arn,
        "Condition": condition or {"ArnEquals": {"aws:SourceArn": topic}},
    }
    policy = {"Version": "2012-10-17", "Statement": [statement]}
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": json.dumps(policy)})
    return url, arn


def received(sqs: Any, url: str) -> list[Any]:
    answer = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, MessageAttributeNames=["All"])
    return list(answer.get("Messages", []))


def refusal(call: Any, **arguments: Any) -> str:
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    error = caught.value.response["Error"]
    return f"{error['Code']}: {error['Message']}"


def test_a_message_arrives_in_its_envelope(sns: Any, sqs: Any, topic: str) -> None:
    url, arn = queue_for(sqs, topic)
    subscription = sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)["SubscriptionArn"]
    level = {"DataType": "Number", "StringValue": "99.12"}
    sent = sns.publish(TopicArn=topic, Subject="Hello", Message='ö§a1"', MessageAttributes={"level": level})
    (message,) = received(sqs, url)
    envelope = json.loads(message["Body"])
    timestamp = envelope.pop("Timestamp")
    assert len(timestamp) == len("2026-11-26T10:00:00.000Z")
    signature = envelope.pop("Signature")
    assert base64.b64decode(signature) == b"The embedded lab doesn't sign notifications."
    assert envelope.pop("SigningCertURL").startswith("https://sns.us-east-1.amazonaws.com/SimpleNotificationService-")
    assert envelope == {
        "Type": "Notification",
        "MessageId": sent["MessageId"],
        "TopicArn": topic,
        "Subject": "Hello",
        "Message": 'ö§a1"',
        "SignatureVersion": "1",
        "UnsubscribeURL": (f"https://sns.us-east-1.amazonaws.com/?Action=Unsubscribe&SubscriptionArn={subscription}"),
        "MessageAttributes": {"level": {"Type": "Number", "Value": "99.12"}},
    }
    assert message["Body"].startswith('{\n  "Type" : "Notification",\n')


def test_raw_delivery_sends_the_message_and_its_attributes_alone(sns: Any, sqs: Any, topic: str) -> None:
    url, arn = queue_for(sqs, topic)
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn, Attributes={"RawMessageDelivery": "true"})
    attributes = {
        "store": {"DataType": "Binary", "BinaryValue": b"\x02\x03\x04"},
        "kind": {"DataType": "String", "StringValue": "x"},
    }
    sns.publish(TopicArn=topic, Message="plain", MessageAttributes=attributes)
    (message,) = received(sqs, url)  # boto3 checks the digests
    assert message["Body"] == "plain"
    assert message["MessageAttributes"] == attributes


def test_a_queue_without_a_policy_for_the_topic_gets_nothing(sns: Any, sqs: Any, topic: str) -> None:
    other = "arn:aws:sns:us-east-1:111122223333:other"
    url, arn = queue_for(sqs, topic, **{"ArnEquals": {"aws:SourceArn": other}})
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
    sns.publish(TopicArn=topic, Message="lost")
    assert received(sqs, url) == []
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": ""})
    sns.publish(TopicArn=topic, Message="lost too")
    assert received(sqs, url) == []
    everybody = {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "SQS:*", "Resource": arn}
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": json.dumps({"Statement": [everybody]})})
    sns.publish(TopicArn=topic, Message="found")
    assert len(received(sqs, url)) == 1


def test_what_a_queue_does_not_take_goes_to_the_dead_letter_queue(sns: Any, sqs: Any, topic: str) -> None:
    dead, dead_arn = queue_for(sqs, topic, "dead")
    redrive = json.dumps({"deadLetterTargetArn": dead_arn})
    gone = "arn:aws:sqs:us-east-1:111122223333:gone"
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=gone, Attributes={"RedrivePolicy": redrive})
    sns.publish(TopicArn=topic, Message="for nobody")
    (letter,) = received(sqs, dead)
    assert json.loads(letter["Body"])["Message"] == "for nobody"


def test_topics_are_made_once_listed_described_and_deleted(sns: Any, topic: str) -> None:
    assert sns.create_topic(Name="alerts")["TopicArn"] == topic
    assert topic == "arn:aws:sns:us-east-1:111122223333:alerts"
    sns.create_topic(Name="named", Attributes={"DisplayName": "Named"}, Tags=[{"Key": "k", "Value": "v"}])
    assert "Topic already exists with different attributes" in refusal(
        sns.create_topic, Name="named", Attributes={"DisplayName": "Other"}
    )
    assert "Topic already exists with different tags" in refusal(
        sns.create_topic, Name="named", Tags=[{"Key": "k", "Value": "w"}]
    )
    assert [t["TopicArn"].rpartition(":")[2] for t in sns.list_topics()["Topics"]] == ["alerts", "named"]
    sns.set_topic_attributes(TopicArn=topic, AttributeName="DisplayName", AttributeValue="Alerts")
    attributes = sns.get_topic_attributes(TopicArn=topic)["Attributes"]
    assert attributes["DisplayName"] == "Alerts"
    assert attributes["Owner"] == "111122223333"
    (statement,) = json.loads(attributes["Policy"])["Statement"]
    assert statement["Condition"] == {"StringEquals": {"AWS:SourceOwner": "111122223333"}}
    assert json.loads(attributes["EffectiveDeliveryPolicy"])["http"]["defaultHealthyRetryPolicy"]["numRetries"] == 3
    sns.delete_topic(TopicArn=topic)
    sns.delete_topic(TopicArn=topic)
    assert refusal(sns.get_topic_attributes, TopicArn=topic) == "NotFound: Topic does not exist"
    assert refusal(sns.publish, TopicArn="randomstring", Message="x") == (
        "InvalidParameter: Invalid parameter: TopicArn Reason: An ARN must have at least 6 elements, not 1"
    )


def test_subscriptions(sns: Any, topic: str) -> None:
    queue = "arn:aws:sqs:us-east-1:111122223333:q"
    arn = sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=queue)["SubscriptionArn"]
    assert sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=queue)["SubscriptionArn"] == arn
    pending = sns.subscribe(TopicArn=topic, Protocol="email", Endpoint="someone@example.com")
    assert pending["SubscriptionArn"] == "pending confirmation"
    listed = sns.list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"]
    assert [(s["SubscriptionArn"], s["Protocol"]) for s in listed] == [(arn, "sqs"), ("PendingConfirmation", "email")]
    assert sns.list_subscriptions()["Subscriptions"] == listed
    attributes = sns.get_topic_attributes(TopicArn=topic)["Attributes"]
    assert (attributes["SubscriptionsConfirmed"], attributes["SubscriptionsPending"]) == ("1", "1")
    sns.set_subscription_attributes(SubscriptionArn=arn, AttributeName="RawMessageDelivery", AttributeValue="true")
    assert sns.get_subscription_attributes(SubscriptionArn=arn)["Attributes"] == {
        "ConfirmationWasAuthenticated": "true",
        "Endpoint": queue,
        "Owner": "111122223333",
        "PendingConfirmation": "false",
        "Protocol": "sqs",
        "RawMessageDelivery": "true",
        "SubscriptionArn": arn,
        "SubscriptionPrincipal": "arn:aws:iam::111122223333:user/workshop",
        "TopicArn": topic,
    }
    sns.unsubscribe(SubscriptionArn=arn)
    sns.unsubscribe(SubscriptionArn=arn)
    assert "Subscription does not exist" in refusal(sns.get_subscription_attributes, SubscriptionArn=arn)
    assert sns.get_topic_attributes(TopicArn=topic)["Attributes"]["SubscriptionsDeleted"] == "1"


@pytest.mark.parametrize(
    ("call", "arguments", "error"),
    [
        ("create_topic", {"Name": "a b"}, "InvalidParameter: Invalid parameter: Topic Name"),
        ("create_topic", {"Name": "a.fifo", "Attributes": {"FifoTopic": "true"}}, "standard topics only"),
        ("create_topic", {"Name": "a", "Attributes": {"KmsMasterKeyId": "x"}}, "KmsMasterKeyId is not supported"),
        ("create_topic", {"Name": "a", "Tags": [{"Key": "k", "Value": "1"}] * 2}, "Duplicated keys are not allowed."),
        ("subscribe", {"Protocol": "pigeon", "Endpoint": "x"}, "does not support this protocol string: pigeon"),
        ("subscribe", {"Protocol": "https", "Endpoint": "https://x"}, "The embedded lab can't deliver to https"),
        ("subscribe", {"Protocol": "sqs", "Endpoint": "http://queue"}, "Invalid parameter: SQS endpoint ARN"),
        ("subscribe", {"Protocol": "email", "Endpoint": "someone"}, "Invalid parameter: Email address"),
        (
            "subscribe",
            {
                "Protocol": "sqs",
                "Endpoint": "arn:aws:sqs:us-east-1:111122223333:q",
                "Attributes": {"RawMessageDelivery": "wrongvalue"},
            },
            "Attributes Reason: RawMessageDelivery: Invalid value [wrongvalue]. Must be true or false.",
        ),
        (
            "subscribe",
            {
                "Protocol": "sqs",
                "Endpoint": "arn:aws:sqs:us-east-1:111122223333:q",
                "Attributes": {"FilterPolicy": '{"store": ["example_corp"]}'},
            },
            "Attributes Reason: FilterPolicy is not supported by the embedded lab.",
        ),
        ("publish", {"Message": ""}, "Invalid parameter: Empty message"),
        ("publish", {"Message": "x", "Subject": ""}, "Invalid parameter: Subject"),
        ("publish", {"Message": "x", "Subject": "a\nb"}, "Invalid parameter: Subject"),
        ("publish", {"Message": "x", "Subject": "x" * 101}, "Invalid parameter: Subject"),
        ("publish", {"Message": "x" * 262_145}, "Invalid parameter: Message too long"),
        ("publish", {"Message": "{", "MessageStructure": "json"}, "JSON message body failed to parse"),
        ("publish", {"Message": "{}", "MessageStructure": "json"}, "No default entry in JSON message body"),
        (
            "publish",
            {"Message": "x", "MessageAttributes": {"a": {"DataType": "Number", "StringValue": "x"}}},
            "ParameterValueInvalid: Could not cast message attribute 'a' value to number.",
        ),
        ("set_topic_attributes", {"AttributeName": "Policy", "AttributeValue": "no"}, "Policy is not valid JSON"),
        ("set_topic_attributes", {"AttributeName": "Colour", "AttributeValue": "no"}, "Invalid parameter: Attribute"),
        ("confirm_subscription", {"Token": "x"}, "Invalid token"),
        ("add_permission", {"Label": "x", "AWSAccountId": ["1"], "ActionName": ["Publish"]}, "is not supported by"),
    ],
)
def test_what_is_refused(sns: Any, topic: str, call: str, arguments: dict[str, Any], error: str) -> None:
    named = {} if call == "create_topic" else {"TopicArn": topic}
    assert error in refusal(getattr(sns, call), **named, **arguments)


def test_a_filter_policy_is_refused_and_not_ignored(sns: Any, topic: str) -> None:
    queue = "arn:aws:sqs:us-east-1:111122223333:q"
    arn = sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=queue)["SubscriptionArn"]
    change = {"SubscriptionArn": arn, "AttributeName": "FilterPolicy"}
    error = "InvalidParameter: Invalid parameter: FilterPolicy is not supported by the embedded lab."
    assert refusal(sns.set_subscription_attributes, **change, AttributeValue='{"a": ["b"]}') == error
    sns.set_subscription_attributes(**change, AttributeValue="{}")  # no filter at all
    assert "FilterPolicy" not in sns.get_subscription_attributes(SubscriptionArn=arn)["Attributes"]


def test_json_messages_differ_by_protocol(sns: Any, sqs: Any, topic: str) -> None:
    url, arn = queue_for(sqs, topic)
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
    texts = json.dumps({"default": "for others", "sqs": "for queues"})
    sns.publish(TopicArn=topic, Message=texts, MessageStructure="json")
    assert json.loads(received(sqs, url)[0]["Body"])["Message"] == "for queues"


def test_batches(sns: Any, sqs: Any, topic: str) -> None:
    url, arn = queue_for(sqs, topic)
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
    entries = [{"Id": "1", "Message": "one"}, {"Id": "2", "Message": "two", "Subject": ""}]
    answer = sns.publish_batch(TopicArn=topic, PublishBatchRequestEntries=entries)
    assert [entry["Id"] for entry in answer["Successful"]] == ["1"]
    assert [(entry["Id"], entry["Code"]) for entry in answer["Failed"]] == [("2", "InvalidParameter")]
    assert len(received(sqs, url)) == 1


def test_tags(sns: Any, topic: str) -> None:
    sns.tag_resource(ResourceArn=topic, Tags=[{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "2"}])
    sns.untag_resource(ResourceArn=topic, TagKeys=["a"])
    assert sns.list_tags_for_resource(ResourceArn=topic)["Tags"] == [{"Key": "b", "Value": "2"}]
    assert refusal(sns.list_tags_for_resource, ResourceArn=topic + "x") == "ResourceNotFound: Resource does not exist"


def test_lists_come_in_pages_of_a_hundred(sns: Any) -> None:
    for number in range(101):
        sns.create_topic(Name=f"t-{number:03d}")
    pages = list(sns.get_paginator("list_topics").paginate())
    assert [len(page["Topics"]) for page in pages] == [100, 1]


@pytest.mark.parametrize(
    ("principal", "condition", "allowed"),
    [
        ({"Service": "cloudwatch.amazonaws.com"}, {}, True),
        ({"Service": "cloudwatch.amazonaws.com"}, {"ArnLike": {"aws:SourceArn": ALARM[:-4] + "*"}}, True),
        ({"Service": "cloudwatch.amazonaws.com"}, {"StringEquals": {"aws:SourceAccount": "999999999999"}}, False),
        ({"Service": "events.amazonaws.com"}, {}, False),
        ({"AWS": "*"}, {"StringEquals": {"AWS:SourceOwner": "111122223333"}}, True),
    ],
)
def test_a_topic_lets_a_service_publish_if_its_policy_does(
    running: Any, sns: Any, topic: str, principal: Any, condition: Any, allowed: bool
) -> None:
    def publish() -> str:
        return str(running.aws.sns.publish_as("cloudwatch.amazonaws.com", ALARM, topic, "Subject", "Message"))

    assert publish()  # the default policy does
    statement = {"Effect": "Allow", "Principal": principal, "Action": "sns:Publish", "Resource": topic}
    policy = {"Statement": [statement | ({"Condition": condition} if condition else {})]}
    sns.set_topic_attributes(TopicArn=topic, AttributeName="Policy", AttributeValue=json.dumps(policy))
    if allowed:
        assert publish()
    else:
        with pytest.raises(AwsError, match=f"{ALARM} is not authorized to perform: SNS:Publish on resource: {topic}"):
            publish()


def test_permissions_are_by_topic(running: Any) -> None:
    allowed = "arn:aws:sns:us-east-1:111122223333:falco-*"
    statement = {"Effect": "Allow", "Action": ["sns:CreateTopic", "sns:Publish"], "Resource": allowed}
    session = running.session({"Version": "2012-10-17", "Statement": [statement]})
    sns = running.as_session("sns", session)
    topic = sns.create_topic(Name="falco-alerts")["TopicArn"]
    sns.publish(TopicArn=topic, Message="x")
    assert "is not authorized to perform: sns:CreateTopic on resource" in refusal(sns.create_topic, Name="other")
    assert "is not authorized to perform: sns:ListTopics on resource: *" in refusal(sns.list_topics)
    tags = [{"Key": "workshop", "Value": "falco"}]
    assert "is not authorized to perform: sns:TagResource" in refusal(sns.create_topic, Name="falco-tagged", Tags=tags)


def test_who_may_subscribe_what_is_a_condition(running: Any, topic: str) -> None:
    statement = {
        "Effect": "Allow",
        "Action": "sns:Subscribe",
        "Resource": topic,
        "Condition": {"StringEquals": {"sns:Protocol": "sqs"}},
    }
    limited = running.as_session("sns", running.session({"Version": "2012-10-17", "Statement": [statement]}))
    limited.subscribe(TopicArn=topic, Protocol="sqs", Endpoint="arn:aws:sqs:us-east-1:111122223333:q")
    assert "not authorized" in refusal(limited.subscribe, TopicArn=topic, Protocol="email", Endpoint="a@example.com")


def test_the_command_line(running: Any, aws_cli: Any) -> None:
    topic = aws_cli("sns", "create-topic", "--name", "alerts", "--tags", "Key=a,Value=b")["TopicArn"]
    aws_cli(
        "cloudwatch", "put-metric-alarm", "--alarm-name", "critical", "--metric-name", "Alerts", "--namespace", "Falco",
        "--statistic", "Sum", "--period", "60", "--evaluation-periods", "1", "--threshold", "1",
        "--comparison-operator", "GreaterThanOrEqualToThreshold", "--alarm-actions", topic,
    )  # fmt: skip
    aws_cli(
        "cloudwatch", "set-alarm-state", "--alarm-name", "critical", "--state-value", "ALARM", "--state-reason", "try"
    )
    cloudwatch = running.client("cloudwatch")
    (alarm,) = cloudwatch.describe_alarms()["MetricAlarms"]
    assert (alarm["StateValue"], alarm["AlarmActions"]) == ("ALARM", [topic])
    items = cloudwatch.describe_alarm_history(HistoryItemType="Action")["AlarmHistoryItems"]
    assert [item["HistorySummary"] for item in items] == [f"Successfully executed action {topic}"]
