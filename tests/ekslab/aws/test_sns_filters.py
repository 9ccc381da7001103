"""Filter policies of subscriptions: the operators of SNS's documentation, on attributes and on JSON bodies."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ekslab.aws.protocols import AwsError
from ekslab.aws.sns_filters import compile_policy


def attributes(**values: Any) -> dict[str, dict[str, str]]:
    """Numbers, texts and arrays as message attributes."""
    kinds = {int: "Number", float: "Number", list: "String.Array"}
    return {
        name: {
            "DataType": kinds.get(type(value), "String"),
            "StringValue": value if isinstance(value, str) else json.dumps(value),
        }
        for name, value in values.items()
    }


SALE = attributes(
    store="example_corp",
    event="order_placed",
    customer_interests=["soccer", "rugby", "hockey"],
    price_usd=210.75,
    encrypted="false",
    source_ip="10.0.0.200",
)


@pytest.mark.parametrize(
    ("policy", "matches"),
    [
        ({"store": ["example_corp"], "event": ["order_placed"]}, True),
        ({"store": ["example_corp"], "event": ["order_cancelled"]}, False),
        ({"store": ["other", "example_corp"]}, True),
        ({"store": ["Example_corp"]}, False),
        ({"customer_interests": ["rugby", "football"]}, True),
        ({"customer_interests": ["tennis"]}, False),
        ({"store": [{"prefix": "exam"}]}, True),
        ({"store": [{"suffix": "corp"}]}, True),
        ({"store": [{"equals-ignore-case": "EXAMPLE_Corp"}]}, True),
        ({"store": [{"wildcard": "ex*_c*p"}]}, True),
        ({"store": [{"anything-but": "example_corp"}]}, False),
        ({"store": [{"anything-but": ["a", "b"]}]}, True),
        ({"missing": [{"anything-but": "a"}]}, False),
        ({"event": [{"anything-but": {"prefix": "order-"}}]}, True),
        ({"event": [{"anything-but": {"prefix": "order"}}]}, False),
        ({"price_usd": [210.75]}, True),
        ({"price_usd": ["210.75"]}, False),
        ({"price_usd": [{"numeric": ["=", 210.75]}]}, True),
        ({"price_usd": [{"numeric": [">", 100]}]}, True),
        ({"price_usd": [{"numeric": [">", 0, "<=", 150]}]}, False),
        ({"price_usd": [{"anything-but": [100, 500]}]}, True),
        ({"store": [{"numeric": [">", 0]}]}, False),
        ({"store": [{"exists": True}]}, True),
        ({"store": [{"exists": False}]}, False),
        ({"missing": [{"exists": False}]}, True),
        ({"source_ip": [{"cidr": "10.0.0.0/24"}]}, True),
        ({"source_ip": [{"cidr": "10.0.1.0/24"}]}, False),
        ({"source_ip": ["x", {"prefix": "10."}]}, True),
        ({"$or": [{"store": ["other"]}, {"price_usd": [{"numeric": [">", 200]}]}]}, True),
        ({"$or": [{"store": ["other"]}, {"event": ["other"]}]}, False),
    ],
)
def test_attributes(policy: dict[str, Any], matches: bool) -> None:
    assert compile_policy(json.dumps(policy), "MessageAttributes", "")(SALE, "text") is matches


ALERT = json.dumps(
    {"rule": "Shell", "priority": "Critical", "fields": {"pid": 7, "user": None, "tags": ["a", "b"]}, "ok": True}
)


@pytest.mark.parametrize(
    ("policy", "body", "matches"),
    [
        ({"priority": ["Critical"]}, ALERT, True),
        ({"fields": {"pid": [{"numeric": ["<", 10]}]}}, ALERT, True),
        ({"fields": {"tags": ["b"], "user": [None]}}, ALERT, True),
        ({"fields": {"missing": ["b"]}}, ALERT, False),
        ({"ok": [True]}, ALERT, True),
        ({"ok": [1]}, ALERT, False),
        ({"list": {"id": [2]}}, '{"list": [{"id": 1}, {"id": 2}]}', True),
        ({"priority": ["Critical"]}, "no JSON", False),
        ({"priority": [{"exists": False}]}, "[]", False),
    ],
)
def test_bodies(policy: dict[str, Any], body: str, matches: bool) -> None:
    assert compile_policy(json.dumps(policy), "MessageBody", "")({}, body) is matches


@pytest.mark.parametrize(
    ("policy", "error"),
    [
        ("{", "FilterPolicy: failed to parse JSON"),
        ("[]", "FilterPolicy: failed to parse JSON"),
        ('{"a": "b"}', 'FilterPolicy: "a" must be an object or an array'),
        ('{"a": []}', "FilterPolicy: Empty arrays are not allowed"),
        ('{"a": {"b": ["c"]}}', "scope MessageAttributes does not support nested filter policy"),
        ('{"a": [{"sounds-like": "x"}]}', "Unrecognized match type sounds-like"),
        ('{"a": [["b"]]}', "Match value must be String, number, true, false, or null"),
        ('{"a": [{"prefix": 5}]}', "prefix match pattern must be a string"),
        ('{"a": [{"exists": "yes"}]}', "exists match pattern must be either true or false."),
        ('{"a": [{"numeric": ["~", 1]}]}', "Unrecognized numeric range operator: ~"),
        ('{"a": [{"numeric": [">", 5, "<", 1]}]}', "Bottom must be less than top"),
        ('{"a": [{"numeric": [">"]}]}', "Value of numeric must be an array"),
        ('{"a": [{"anything-but": []}]}', "Value of anything-but must be"),
        ('{"a": [{"cidr": "x"}]}', "Malformed CIDR x"),
        (json.dumps({key: ["x"] for key in "abcdef"}), "can not have more than 5 keys"),
        (json.dumps({key: list("0123456789") for key in "abc"}), "Filter policy is too complex"),
        ('{"$or": [{"a": ["x"]}]}', '"$or" must be an array'),
    ],
)
def test_policies_that_are_refused(policy: str, error: str) -> None:
    with pytest.raises(AwsError) as caught:
        compile_policy(policy, "MessageAttributes", "Attributes Reason: ")
    assert caught.value.code == "InvalidParameter"
    assert error in caught.value.message


@given(low=st.integers(-100, 100), width=st.integers(1, 50), value=st.integers(-200, 200))
def test_a_range_is_where_its_two_comparisons_hold(low: int, width: int, value: int) -> None:
    policy = json.dumps({"n": [{"numeric": [">=", low, "<", low + width]}]})
    matches = compile_policy(policy, "MessageAttributes", "")
    assert matches(attributes(n=value), "") is (low <= value < low + width)


def test_a_subscription_gets_what_its_policy_selects(running: Any) -> None:
    sns, sqs = running.client("sns"), running.client("sqs")
    topic = sns.create_topic(Name="alerts")["TopicArn"]
    queue = sqs.create_queue(QueueName="critical")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    allow = {"Effect": "Allow", "Principal": "*", "Action": "sqs:SendMessage", "Resource": arn}
    sqs.set_queue_attributes(QueueUrl=queue, Attributes={"Policy": json.dumps({"Statement": [allow]})})
    policy = json.dumps({"priority": ["Critical"]})
    subscription = sns.subscribe(
        TopicArn=topic,
        Protocol="sqs",
        Endpoint=arn,
        Attributes={"FilterPolicy": policy, "RawMessageDelivery": "true"},
    )["SubscriptionArn"]
    shown = sns.get_subscription_attributes(SubscriptionArn=subscription)["Attributes"]
    assert (shown["FilterPolicy"], shown["FilterPolicyScope"]) == (policy, "MessageAttributes")

    def received() -> list[str]:
        found = sqs.receive_message(QueueUrl=queue, MaxNumberOfMessages=10).get("Messages", [])
        return [message["Body"] for message in found]

    for priority in ("Critical", "Notice"):
        sns.publish(TopicArn=topic, Message=priority, MessageAttributes=attributes(priority=priority))
    assert received() == ["Critical"]

    def change(name: str, value: str) -> None:
        sns.set_subscription_attributes(SubscriptionArn=subscription, AttributeName=name, AttributeValue=value)

    with pytest.raises(sns.exceptions.InvalidParameterException):
        change("FilterPolicy", '{"a": 5}')
    change("FilterPolicyScope", "MessageBody")
    body = json.dumps({"priority": "Critical"})
    sns.publish(TopicArn=topic, Message=body)
    sns.publish(TopicArn=topic, Message="Critical", MessageAttributes=attributes(priority="Critical"))
    assert received() == [body]
    change("FilterPolicy", "{}")
    assert "FilterPolicy" not in sns.get_subscription_attributes(SubscriptionArn=subscription)["Attributes"]
    sns.publish(TopicArn=topic, Message="anything")
    assert received() == ["anything"]
