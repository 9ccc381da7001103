"""From a command in a pod to a finding, through the whole of a running lab, by the forwarder that the step applies."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ekslab.state import Endpoints
from labkit import Lab
from labkit.aws import Aws
from labkit.errors import AlertTimeoutError, LabError
from labkit.provision.findings_forwarder import dead_letter_queue_url, function_name
from labkit.provision.forwarder_diagnosis import broken_link
from labkit.respond.findings import dead_letters, origin, read, to_findings
from labkit.respond.forwarder import alert_of, finding_id
from labkit.waiting import poll

NAME = "falco-workshop-forwarder"

pytestmark = pytest.mark.in_order  # findings and dead letters of one lab are counted


@pytest.fixture(scope="module")
def endpoints(new_lab: Callable[..., Endpoints]) -> Endpoints:
    return new_lab()


@pytest.fixture(scope="module")
def lab(endpoints: Endpoints, workshop: Path) -> Lab:
    lab = Lab.connect(home=endpoints.home, root=workshop)
    lab.ensure("nginx", "falco", "fluent-bit", "findings-forwarder")
    return lab


def awaited(look: Callable[[], Any], label: str) -> Any:
    found = poll(look, label, 60)
    assert found is not None, label
    return found


def findings(lab: Lab) -> list[dict[str, Any]]:
    pages = lab.aws.client("securityhub").get_paginator("get_findings").paginate()
    return [finding for page in pages for finding in page["Findings"]]


def dead_letter(lab: Lab) -> dict[str, Any]:
    def look() -> Any:
        answer = lab.aws.client("sqs").receive_message(
            QueueUrl=dead_letter_queue_url(lab.target), WaitTimeSeconds=1, MessageAttributeNames=["All"]
        )
        return (answer.get("Messages") or [None])[0]

    letter: dict[str, Any] = awaited(look, "a dead letter")
    lab.aws.client("sqs").delete_message(
        QueueUrl=dead_letter_queue_url(lab.target), ReceiptHandle=letter["ReceiptHandle"]
    )
    return letter


def drain(lab: Lab) -> None:
    """Takes away the dead letters of earlier tests."""
    dead_letters(lab.aws.client("sqs"), dead_letter_queue_url(lab.target), at_least=0, timeout=0)


def put(lab: Lab, *messages: str) -> None:
    events = [{"timestamp": int(time.time() * 1000), "message": message} for message in messages]
    lab.aws.client("logs").put_log_events(logGroupName="falco", logStreamName="by-hand", logEvents=events)


@pytest.fixture(scope="module", autouse=True)
def _stream(lab: Lab) -> None:
    lab.aws.client("logs").create_log_stream(logGroupName="falco", logStreamName="by-hand")


def test_a_command_in_a_pod_becomes_a_finding(lab: Lab) -> None:
    lab.exec("deploy/nginx", "cat", "/etc/shadow")
    raised = lab.wait_for_alert("Read sensitive file untrusted")
    (finding,) = awaited(lambda: findings(lab) or None, "a finding")
    assert finding["Title"] == f"Read sensitive file untrusted: default/{raised['k8s.pod.name']}"
    assert finding["ProductFields"]["falco/fd.name"] == "/etc/shadow"
    # Fluent Bit may send a line a second time, and a subscription may deliver it a second time.
    logs = lab.aws.client("logs")
    (event,) = logs.filter_log_events(logGroupName="falco", filterPattern='{ $.rule = "Read*" }')["events"]
    other = {**alert_of(event["message"]), "time": "2026-11-26T00:00:00.5Z"}
    other["output_fields"] = {**other["output_fields"], "evt.time.iso8601": None, "evt.time": None}
    put(lab, event["message"], event["message"], json.dumps(other))
    awaited(lambda: len(findings(lab)) > 1 or None, "the other finding")
    assert len(findings(lab)) == 2
    place = {"account_id": "111122223333", "region": "us-east-1", "cluster": "falco-workshop"}
    assert {found["Id"] for found in findings(lab)} == {
        finding_id(alert, **place) for alert in (alert_of(event["message"]), other)
    }


def test_the_function_and_the_frame_agree_on_alerts_of_any_time(lab: Lab) -> None:
    bare = {"rule": "any time", "priority": "Warning", "output_fields": {}, "hostname": "h", "tags": []}
    ages = ("9999-12-31T23:59:59Z", "2026-11-26T00:00:00.5Z", "now", None)
    far, *held = [{**bare, "time": age, "output": f"at {age}"} for age in ages]
    put(lab, *(json.dumps(alert) for alert in (far, *held)))

    def look() -> Any:
        made = {found["Id"]: found for found in findings(lab) if found["GeneratorId"] == "falco/any time"}
        return made if len(made) == len(ages) else None

    made = awaited(look, "the findings of the function")
    df = lab.alerts(rule="any time")
    assert (df.attrs["alerts"], df.attrs["untimed"], df["time"].isna().sum()) == (4, 1, 1)
    found = to_findings(df, **origin(lab.target))
    assert [one.number for one in found.refused] == [3]
    (beyond,) = to_findings([far], **origin(lab.target))
    assert {one["Id"] for one in (*found, beyond)} == set(made)
    shown = read(lab.aws.client("securityhub"), lab.settings.cluster).set_index("id")
    assert set(shown.index[shown["created"].isna()]) == {beyond["Id"]}


def test_the_functions_log_tells_what_it_did(lab: Lab) -> None:
    put(lab, json.dumps({"rule": "logged", "priority": "Error", "output": "x", "time": "2026-11-26T00:00:01Z"}))

    def look() -> Any:
        events = lab.aws.client("logs").filter_log_events(
            logGroupName=f"/aws/lambda/{function_name(lab.target)}",
            filterPattern='{ $.findings = "*" || $.findings > 0 }',
        )["events"]
        return events or None

    summary = json.loads(awaited(look, "a summary")[-1]["message"])
    assert summary["findings"] >= 1


def test_only_alerts_get_through_the_filter(lab: Lab) -> None:
    function = function_name(lab.target)
    logs = lab.aws.client("logs")
    (filter_,) = logs.describe_subscription_filters(logGroupName="falco")["subscriptionFilters"]
    lines = ["Falco initialized", '{"level": "info"}', '{"rule": "x", "priority": "Error", "output": "y"}']
    matches = logs.test_metric_filter(filterPattern=filter_["filterPattern"], logEventMessages=lines)["matches"]
    assert [match["eventNumber"] for match in matches] == [3]
    assert filter_["destinationArn"].endswith(f":function:{function}")


def test_what_looks_like_an_alert_and_is_none_is_a_dead_letter_with_its_reason(lab: Lab) -> None:
    line = json.dumps({"rule": "no output and no time", "priority": "Error"})
    put(lab, line)
    body = json.loads(dead_letter(lab)["Body"])
    assert body["logEvent"]["message"] == line
    assert "so it is no alert of Falco" in body["reason"]
    assert (body["logGroup"], body["logStream"]) == ("falco", "by-hand")


def test_a_permission_that_is_missing_is_the_reason_of_a_dead_letter(lab: Lab) -> None:
    iam, name = lab.aws.client("iam"), function_name(lab.target)
    policy = iam.get_role_policy(RoleName=name, PolicyName="forward-falco-alerts")["PolicyDocument"]
    policy["Statement"] = [s for s in policy["Statement"] if s["Sid"] != "ImportFindings"]
    iam.put_role_policy(RoleName=name, PolicyName="forward-falco-alerts", PolicyDocument=json.dumps(policy))
    try:
        put(lab, json.dumps({"rule": "late", "priority": "Error", "output": "x", "time": "2026-11-26T00:00:02Z"}))
        letter = dead_letter(lab)
    finally:
        lab.apply("findings-forwarder")
    reason = letter["MessageAttributes"]["ErrorMessage"]["StringValue"]
    assert "not authorized to perform: securityhub:BatchImportFindings" in reason
    # With the permission back, the delivery is sent again by hand: nothing is lost.
    before = {finding["Id"] for finding in findings(lab)}
    lab.aws.client("lambda").invoke(FunctionName=name, InvocationType="Event", Payload=letter["Body"])
    awaited(lambda: {finding["Id"] for finding in findings(lab)} - before or None, "the late finding")


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (
            lambda aws: aws("iam").delete_role_policy(RoleName=NAME, PolicyName="forward-falco-alerts"),
            "There is no inline policy forward-falco-alerts.",
        ),
        (
            lambda aws: aws("logs").delete_subscription_filter(logGroupName="falco", filterName=NAME),
            f"There is no subscription filter {NAME}.",
        ),
        (
            lambda aws: aws("logs").put_subscription_filter(
                logGroupName="falco",
                filterName=NAME,
                filterPattern="nothing",
                destinationArn=f"arn:aws:lambda:us-east-1:111122223333:function:{NAME}",
            ),
            f"The subscription filter {NAME} isn't as the step makes it.",
        ),
        (
            lambda aws: aws("lambda").remove_permission(FunctionName=NAME, StatementId="log-group-of-alerts"),
            "There is no permission log-group-of-alerts.",
        ),
    ],
)
def test_a_finding_that_does_not_come_names_what_is_broken(lab: Lab, call: Callable[[Any], Any], said: str) -> None:
    call(lab.aws.client)
    try:
        with pytest.raises(AlertTimeoutError, match="1 of 1 finding is not in Security Hub") as caught:
            lab.wait_for_findings(["never"], timeout=0.1)
    finally:
        lab.apply("findings-forwarder")
    assert f"Broken link: forwarder. {said}" in caught.value.message
    assert 'lab.apply("findings-forwarder")' in caught.value.hint
    assert said not in broken_link(lab.target).finding


def test_what_the_function_reports_is_told_and_dead_letters_stay(lab: Lab) -> None:
    drain(lab)
    lab.aws.client("lambda").invoke(FunctionName=NAME, InvocationType="Event", Payload=json.dumps({"awslogs": 1}))
    awaited(lambda: "dead letter" in broken_link(lab.target).finding or None, "a dead letter")
    link = broken_link(lab.target)
    reason = "This event is no delivery of a CloudWatch Logs subscription"
    assert re.search(rf"Newest dead letter \(.* UTC\): {reason}", link.finding)
    assert re.search(rf"Newest error in the function's log \(.* UTC\): \[ERROR\] ValueError: {reason}", link.finding)
    assert f"aws logs tail /aws/lambda/{NAME}" in link.hint
    assert dead_letter(lab)["Body"] == '{"awslogs": 1}'


def test_security_hub_that_is_off_is_said_at_once(lab: Lab, endpoints: Endpoints) -> None:
    keys = {"aws_access_key_id": endpoints.access_key_id, "aws_secret_access_key": endpoints.secret_access_key}
    elsewhere = Aws("eu-west-2", hint="", endpoint=endpoints.aws_url, keys=keys)
    with pytest.raises(LabError, match="Security Hub CSPM is off"):
        Lab(replace(lab.target, aws=elsewhere)).wait_for_findings(["never"], timeout=60)
