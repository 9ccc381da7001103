"""Steps `alarms` and `dashboard`: made, mended and taken away; what others made stays."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ekslab.state import Endpoints
from falcorules.markup import PRIORITY_COLOURS
from labkit import Lab
from labkit.errors import StepError
from labkit.provision import metric_filters
from labkit.provision.alarms import notification_queue, requests, topic_arn
from labkit.provision.templates import template


@pytest.fixture
def fresh(new_lab: Callable[..., Endpoints], workshop: Path) -> Lab:
    """A lab with a log group and nothing else."""
    lab = Lab.connect(home=new_lab().home, root=workshop)
    lab.ensure("log-group")
    return lab


def alarms(lab: Lab) -> dict[str, dict[str, Any]]:
    found = lab.aws.client("cloudwatch").describe_alarms()["MetricAlarms"]
    return {str(alarm["AlarmName"]): alarm for alarm in found}


def test_everything_carries_the_workshops_tag(fresh: Lab) -> None:
    fresh.ensure("alarms")
    tag = {"Key": "workshop", "Value": "falco-eks"}
    cloudwatch, sns, sqs = (fresh.aws.client(name) for name in ("cloudwatch", "sns", "sqs"))
    made = alarms(fresh).values()
    assert made
    for alarm in made:
        assert tag in cloudwatch.list_tags_for_resource(ResourceARN=alarm["AlarmArn"])["Tags"]
    assert tag in sns.list_tags_for_resource(ResourceArn=topic_arn(fresh))["Tags"]
    assert sqs.list_queue_tags(QueueUrl=notification_queue(fresh))["Tags"] == {"workshop": "falco-eks"}


def test_only_alarms_may_publish_and_only_the_topic_may_send(fresh: Lab) -> None:
    fresh.ensure("alarms")
    topic = fresh.aws.client("sns").get_topic_attributes(TopicArn=topic_arn(fresh))["Attributes"]
    (statement,) = json.loads(topic["Policy"])["Statement"]
    assert statement["Principal"] == {"Service": "cloudwatch.amazonaws.com"}
    assert statement["Condition"]["StringEquals"] == {"aws:SourceAccount": fresh.aws.identity.account_id}
    queue = fresh.aws.client("sqs").get_queue_attributes(
        QueueUrl=notification_queue(fresh), AttributeNames=["Policy", "MessageRetentionPeriod"]
    )["Attributes"]
    (statement,) = json.loads(queue["Policy"])["Statement"]
    assert statement["Condition"] == {"ArnEquals": {"aws:SourceArn": topic_arn(fresh)}}
    assert queue["MessageRetentionPeriod"] == "86400"


def test_what_was_changed_is_mended(fresh: Lab) -> None:
    fresh.ensure("alarms")
    request = requests(fresh)[0]
    fresh.aws.client("cloudwatch").put_metric_alarm(**{**request, "Threshold": 100})
    fresh.aws.client("sqs").set_queue_attributes(
        QueueUrl=notification_queue(fresh),
        Attributes={"Policy": json.dumps({"Version": "2012-10-17", "Statement": []})},
    )
    anybody = {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sns:Publish", "Resource": topic_arn(fresh)}
    fresh.aws.client("sns").set_topic_attributes(
        TopicArn=topic_arn(fresh),
        AttributeName="Policy",
        AttributeValue=json.dumps({"Version": "2012-10-17", "Statement": [anybody]}),
    )
    changes = [(change.kind, change.action) for change in fresh.apply("alarms").changes]
    assert changes == [
        ("SNS topic", "updated"),
        ("SQS queue", "updated"),
        ("SNS subscription", "unchanged"),
        ("alarm", "updated"),
        ("alarm", "unchanged"),
    ]
    assert fresh.apply("alarms").action == "unchanged"
    assert alarms(fresh)[request["AlarmName"]]["Threshold"] == 1


def make_topic(lab: Lab) -> None:
    lab.aws.client("sns").create_topic(Name="falco-workshop-alarms")


def test_a_queue_that_was_deleted_a_moment_ago_is_waited_for(fresh: Lab) -> None:
    fresh.ensure("metric-filters")
    refused = []

    def refuse(**_: Any) -> Any:
        if not refused:
            refused.append(True)
            code = "QueueDeletedRecently"  # as botocore has it: the code of the old protocol, and that of the new one
            error = {"Code": f"AWS.SimpleQueueService.{code}", "QueryErrorCode": code, "Message": "wait 60 seconds"}
            return SimpleNamespace(status_code=400, headers={}), {"Error": error, "ResponseMetadata": {}}
        return None

    fresh.aws.client("sqs").meta.events.register("before-call.sqs.CreateQueue", refuse)
    created = {change.kind: change.action for change in fresh.apply("alarms").changes}
    assert refused
    assert created["SQS queue"] == "created"


def make_queue(lab: Lab) -> None:
    lab.aws.client("sqs").create_queue(QueueName="falco-workshop-notifications")


def make_alarm(lab: Lab) -> None:
    lab.aws.client("cloudwatch").put_metric_alarm(**{**requests(lab.target)[0], "Threshold": 5, "AlarmActions": []})


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (make_topic, "SNS topic falco-workshop-alarms"),
        (make_queue, "SQS queue falco-workshop-notifications"),
        (make_alarm, "alarm falco-workshop-critical-alert"),
    ],
)
def test_what_others_made_is_neither_changed_nor_deleted(fresh: Lab, make: Callable[[Lab], None], said: str) -> None:
    make(fresh)
    with pytest.raises(StepError, match=f"The {said} was there before the lab") as caught:
        fresh.ensure("alarms")
    assert "LABKIT_PREFIX" in caught.value.hint
    fresh.teardown()
    kept = {
        make_topic: lambda: len(fresh.aws.client("sns").list_topics()["Topics"]),
        make_queue: lambda: len(fresh.aws.client("sqs").list_queues()["QueueUrls"]),
        make_alarm: lambda: len(alarms(fresh)),
    }
    assert kept[make]() == 1
    if make is make_alarm:
        assert alarms(fresh)["falco-workshop-critical-alert"]["Threshold"] == 5
    (left,) = fresh.audit().left
    assert left.why == "has the workshop's name"


def test_a_dashboard_is_made_mended_and_deleted_and_that_of_others_is_left_alone(fresh: Lab) -> None:
    cloudwatch = fresh.aws.client("cloudwatch")
    cloudwatch.put_dashboard(DashboardName="falco-workshop", DashboardBody='{"widgets": []}')
    with pytest.raises(StepError, match="dashboard falco-workshop was there before the lab"):
        fresh.ensure("dashboard")
    fresh.undo("dashboard")
    assert cloudwatch.get_dashboard(DashboardName="falco-workshop")["DashboardBody"] == '{"widgets": []}'
    cloudwatch.delete_dashboards(DashboardNames=["falco-workshop"])
    assert fresh.apply("dashboard").action == "created"
    body = json.loads(cloudwatch.get_dashboard(DashboardName="falco-workshop")["DashboardBody"])
    cloudwatch.put_dashboard(
        DashboardName="falco-workshop", DashboardBody=json.dumps({"widgets": body["widgets"][:2], "start": "-PT3H"})
    )
    assert fresh.apply("dashboard").action == "updated"
    assert fresh.apply("dashboard").action == "unchanged"
    fresh.ledger.path.unlink()  # the text of its first widget tells whose it is
    assert ("dashboard", "falco-workshop") in {(item.kind, item.name) for item in fresh.audit().left}
    assert fresh.undo("dashboard").action == "removed"
    assert cloudwatch.list_dashboards()["DashboardEntries"] == []


def test_every_metric_of_the_dashboard_is_one_that_the_filters_make(fresh: Lab) -> None:
    fresh.apply("metric-filters")
    made = {(f["metricTransformations"][0]["metricName"]) for f in metric_filters.requests(fresh)}
    text = json.dumps(template(fresh, "cloudwatch/dashboard"))
    searched = set(re.findall(r"MetricName=\W+(\w+)", text))
    plain = set(re.findall(r'\["falco-workshop", "(\w+)"', text))
    assert searched == {"AlertsByRule"}  # rules come and go, priorities don't
    assert searched | plain == made
    colours = dict(re.findall(r'"label": "(\w+)", "color": "(#\w+)"', text))
    assert colours == {priority: background for priority, (background, _) in PRIORITY_COLOURS.items()}
    arns = {alarm["AlarmName"] for alarm in requests(fresh)}
    assert set(re.findall(r":alarm:([\w-]+)", text)) == arns


def test_a_topic_that_was_made_as_the_step_shows_is_used_and_kept(fresh: Lab, workshop: Path) -> None:
    policy = json.dumps(template(fresh, "cloudwatch/topic-policy"))
    fresh.aws.client("sns").create_topic(Name="falco-workshop-alarms", Attributes={"Policy": policy})
    fresh.ensure("alarms")
    undone = {change.kind: change.action for change in fresh.undo("alarms").changes}
    assert undone["SNS topic"] == "kept"
    assert undone["SQS queue"] == undone["alarm"] == undone["SNS subscription"] == "removed"


def test_without_a_ledger_tags_and_names_are_enough(fresh: Lab) -> None:
    fresh.ensure("alarms")
    fresh.ledger.path.unlink()
    left = {item.kind for item in fresh.audit().left}
    assert {"alarm", "SNS topic", "SQS queue", "SNS subscription", "metric filter"} <= left
    fresh.teardown()
    assert fresh.audit().clean


def test_the_audit_finds_what_begins_with_the_prefix(fresh: Lab) -> None:
    fresh.teardown()
    request = {**requests(fresh)[0], "AlarmName": "falco-workshop-of-mine", "AlarmActions": []}
    fresh.aws.client("cloudwatch").put_metric_alarm(**request)
    fresh.aws.client("sqs").create_queue(QueueName="falco-workshop-dead-letters")
    fresh.aws.client("sqs").create_queue(QueueName="payroll")
    fresh.aws.client("sns").create_topic(Name="falco-workshop-pager")
    fresh.aws.client("sns").create_topic(Name="payroll")
    assert {(item.kind, item.name) for item in fresh.audit().left} == {
        ("alarm", "falco-workshop-of-mine"),
        ("SQS queue", "falco-workshop-dead-letters"),
        ("SNS topic", "falco-workshop-pager"),
    }


def test_names_follow_the_prefix(new_lab: Callable[..., Endpoints], workshop: Path) -> None:
    lab = Lab.connect(home=new_lab().home, root=workshop, prefix="team-a")
    lab.ensure("alarms")
    names = {change.name for step in ("metric-filters", "alarms") for change in lab.apply(step).changes}
    assert {name.startswith("team-a-") for name in names} == {True}
    assert {alarm["Namespace"] for alarm in alarms(lab).values()} == {"team-a"}
