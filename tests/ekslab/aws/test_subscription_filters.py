"""Subscription filters: a function gets matching events, in batches of a stream, if the log group may invoke it."""

from __future__ import annotations

import base64
import gzip
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from ekslab.aws.lambda_functions import digest

TELLER = (Path(__file__).parent / "functions" / "teller.py").read_bytes()
ACCOUNT = "111122223333"
FUNCTION = f"arn:aws:lambda:us-east-1:{ACCOUNT}:function:teller"
GROUP = f"arn:aws:logs:us-east-1:{ACCOUNT}:log-group:falco:*"
REFUSED = "Could not execute the lambda function. Make sure you have given CloudWatch Logs permission to execute your"


class Teller:
    """A function that sends what it gets to a queue, and a log group that may invoke it."""

    def __init__(self, running: Any) -> None:
        self.logs = running.client("logs")
        self.functions = running.client("lambda")
        self.sqs = running.client("sqs")
        iam = running.client("iam")
        self.queue = self.sqs.create_queue(QueueName="told")["QueueUrl"]
        trust = {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
        allow = {"Effect": "Allow", "Action": "sqs:SendMessage", "Resource": "*"}
        role = iam.create_role(RoleName="teller", AssumeRolePolicyDocument=policy(trust))["Role"]["Arn"]
        iam.put_role_policy(RoleName="teller", PolicyName="send", PolicyDocument=policy(allow))
        data = io.BytesIO()
        with zipfile.ZipFile(data, "w") as archive:
            archive.writestr("teller.py", TELLER)
        self.functions.create_function(
            FunctionName="teller",
            Runtime="python3.13",
            Role=role,
            Handler="teller.handler",
            Timeout=60,
            Code={"ZipFile": data.getvalue()},
            Environment={"Variables": {"QUEUE_URL": self.queue}},
        )
        self.logs.create_log_group(logGroupName="falco")
        self.logs.create_log_stream(logGroupName="falco", logStreamName="alerts")
        self.clock = running.clock

    def allow(self, source: str = GROUP, principal: str = "logs.amazonaws.com") -> None:
        self.functions.add_permission(
            FunctionName="teller",
            StatementId="logs",
            Action="lambda:InvokeFunction",
            Principal=principal,
            SourceArn=source,
            SourceAccount=ACCOUNT,
        )

    def subscribe(self, pattern: str = "", name: str = "all", **other: Any) -> None:
        given = {"destinationArn": FUNCTION, "logGroupName": "falco", **other}
        self.logs.put_subscription_filter(filterName=name, filterPattern=pattern, **given)

    def put(self, *messages: str, stream: str = "alerts") -> None:
        events = [{"timestamp": self.clock.ms(), "message": message} for message in messages]
        self.logs.put_log_events(logGroupName="falco", logStreamName=stream, logEvents=events)

    def told(self) -> list[dict[str, Any]]:
        """What the function got, decoded, in the order in which it got it; waits for the first."""
        found = self.sqs.receive_message(QueueUrl=self.queue, MaxNumberOfMessages=10, WaitTimeSeconds=20)["Messages"]
        for message in found:
            self.sqs.delete_message(QueueUrl=self.queue, ReceiptHandle=message["ReceiptHandle"])
        data = [json.loads(message["Body"])["awslogs"]["data"] for message in found]
        return [json.loads(gzip.decompress(base64.b64decode(encoded))) for encoded in data]

    def told_in_all(self, batches: int) -> list[dict[str, Any]]:
        told: list[dict[str, Any]] = []
        while len(told) < batches:
            told += self.told()
        return told


def policy(statement: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


@pytest.fixture
def teller(make_aws: Callable[..., Any]) -> Teller:
    return Teller(make_aws(trusted_code={digest(TELLER)}))


def refusal(call: Any, *arguments: Any, **named: Any) -> tuple[str, str]:
    with pytest.raises(ClientError) as caught:
        call(*arguments, **named)
    error = caught.value.response["Error"]
    return error["Code"], error["Message"]


def test_matching_events_arrive_as_a_batch_of_their_stream(teller: Teller) -> None:
    teller.allow()
    teller.subscribe('{ $.priority = "Warning" }', name="warnings")
    teller.put('{"priority": "Warning", "n": 1}', '{"priority": "Notice"}', '{"priority": "Warning", "n": "é"}')
    (message,) = teller.told()
    assert {key: value for key, value in message.items() if key != "logEvents"} == {
        "messageType": "DATA_MESSAGE",
        "owner": ACCOUNT,
        "logGroup": "falco",
        "logStream": "alerts",
        "subscriptionFilters": ["warnings"],
    }
    assert [json.loads(event["message"])["n"] for event in message["logEvents"]] == [1, "é"]
    kept = teller.logs.filter_log_events(logGroupName="falco", filterPattern='{ $.priority = "Warning" }')["events"]
    assert [(event["id"], event["timestamp"]) for event in message["logEvents"]] == [
        (event["eventId"], event["timestamp"]) for event in kept
    ]
    assert all(
        len(event["id"]) == 56 and set(event) == {"id", "timestamp", "message"} for event in message["logEvents"]
    )


def test_each_put_and_stream_is_a_batch_and_they_come_in_order(teller: Teller) -> None:
    teller.allow()
    teller.subscribe()
    teller.logs.create_log_stream(logGroupName="falco", logStreamName="other")
    for number in range(12):
        teller.put(f"a{number}", f"b{number}", stream="other" if number % 3 == 2 else "alerts")
    told = teller.told_in_all(12)
    for stream, numbers in (("alerts", [0, 1, 3, 4, 6, 7, 9, 10]), ("other", [2, 5, 8, 11])):
        batches = [[e["message"] for e in m["logEvents"]] for m in told if m["logStream"] == stream]
        assert batches == [[f"a{n}", f"b{n}"] for n in numbers]


def test_a_space_delimited_pattern_extracts_fields(teller: Teller) -> None:
    teller.allow()
    teller.subscribe("[who, what=opened, file]")
    teller.put("root opened /etc/shadow", "root closed /etc/shadow")
    (message,) = teller.told()
    (event,) = message["logEvents"]
    assert event["extractedFields"] == {"who": "root", "what": "opened", "file": "/etc/shadow"}


def test_a_large_put_arrives_in_parts_that_a_function_takes(teller: Teller) -> None:
    teller.allow()
    teller.subscribe()
    import random

    noise = random.Random(7)
    teller.put(*("".join(chr(noise.randrange(33, 0x2FFF)) for _ in range(100_000)) for _ in range(3)))
    messages = teller.told_in_all(1)
    while sum(len(message["logEvents"]) for message in messages) < 3:
        messages += teller.told()
    assert [e["message"][:20] for m in messages for e in m["logEvents"]] == [
        event["message"][:20] for event in teller.logs.filter_log_events(logGroupName="falco")["events"]
    ]


@pytest.mark.parametrize(
    ("source", "principal"),
    [
        (GROUP.replace("falco", "other"), "logs.amazonaws.com"),
        (GROUP.removesuffix(":*"), "logs.amazonaws.com"),
        (GROUP, "sns.amazonaws.com"),
        (GROUP, "logs.eu-west-1.amazonaws.com"),
    ],
)
def test_a_log_group_that_may_not_invoke_the_function_can_not_subscribe(
    teller: Teller, source: str, principal: str
) -> None:
    teller.allow(source, principal)
    code, said = refusal(teller.subscribe)
    assert code == "InvalidParameterException"
    assert said.startswith(REFUSED)
    assert teller.logs.describe_subscription_filters(logGroupName="falco")["subscriptionFilters"] == []


@pytest.mark.parametrize("principal", ["logs.amazonaws.com", "logs.us-east-1.amazonaws.com"])
def test_both_names_of_the_service_may_be_permitted(teller: Teller, principal: str) -> None:
    teller.allow(principal=principal)
    teller.subscribe()


def test_a_permission_that_is_gone_ends_the_deliveries(teller: Teller) -> None:
    teller.allow()
    teller.subscribe()
    teller.functions.remove_permission(FunctionName="teller", StatementId="logs")
    teller.put("lost")
    teller.allow()
    teller.put("told")
    assert [event["message"] for message in teller.told() for event in message["logEvents"]] == ["told"]


def test_filters_are_described_by_name_replaced_and_deleted(teller: Teller) -> None:
    teller.allow()
    teller.subscribe("ERROR", name="b")
    teller.subscribe("", name="a")
    assert refusal(teller.subscribe, name="c")[0] == "LimitExceededException"
    teller.subscribe("WARN", name="b")
    pages = teller.logs.get_paginator("describe_subscription_filters").paginate(
        logGroupName="falco", PaginationConfig={"PageSize": 1}
    )
    assert [[f["filterName"] for f in page["subscriptionFilters"]] for page in pages] == [["a"], ["b"]]
    (shown,) = teller.logs.describe_subscription_filters(logGroupName="falco", filterNamePrefix="b")[
        "subscriptionFilters"
    ]
    assert abs(shown.pop("creationTime") - teller.clock.ms()) < 60_000
    assert shown == {
        "filterName": "b",
        "logGroupName": "falco",
        "filterPattern": "WARN",
        "destinationArn": FUNCTION,
        "distribution": "ByLogStream",
        "applyOnTransformedLogs": False,
    }
    teller.logs.delete_subscription_filter(logGroupName="falco", filterName="b")
    gone = refusal(teller.logs.delete_subscription_filter, logGroupName="falco", filterName="b")
    assert gone == ("ResourceNotFoundException", "The specified subscription filter does not exist.")
    teller.logs.delete_log_group(logGroupName="falco")
    teller.logs.create_log_group(logGroupName="falco")
    assert teller.logs.describe_subscription_filters(logGroupName="falco")["subscriptionFilters"] == []


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"pattern": "{ $.a = "}, "must end with"),
        ({"destinationArn": f"arn:aws:kinesis:us-east-1:{ACCOUNT}:stream/s"}, "it has functions only"),
        ({"destinationArn": FUNCTION + "s"}, "Could not execute the lambda function"),
        ({"distribution": "Random"}, "Kinesis"),
        ({"roleArn": f"arn:aws:iam::{ACCOUNT}:role/r"}, "roleArn is not supported"),
        ({"logGroupName": "/aws/lambda/teller"}, "never end"),
    ],
)
def test_what_can_not_be_subscribed_is_refused(teller: Teller, other: dict[str, Any], said: str) -> None:
    teller.allow("arn:aws:logs:us-east-1:111122223333:*")
    teller.logs.create_log_group(logGroupName="/aws/lambda/teller")
    code, message = refusal(teller.subscribe, **other)
    assert code == "InvalidParameterException"
    assert said in message
