"""Alarms: what is put to a metric, and time that passes, change their state; changes are told and remembered."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from ekslab.aws.alarms import Alarms
from ekslab.aws.cloudwatch import CloudWatch
from ekslab.aws.metrics import Metric, Metrics
from ekslab.aws.protocols import AwsError

NOON = 1_793_102_400.0  # a full minute
ALERTS = Metric("Falco", "Alerts")
TOPIC = "arn:aws:sns:us-east-1:111122223333:alerts"


class Region:
    """Alarms on a clock that stands still until it is moved, and what they publish."""

    def __init__(self) -> None:
        self.now = NOON
        self.metrics = Metrics(lambda: self.now)
        self.published: list[tuple[str, str, str, str]] = []
        self.alarms = Alarms(
            region="us-east-1",
            account_id="111122223333",
            store=self.metrics,
            clock=lambda: self.now,
            publish=lambda *message: self.published.append(message),
        )

    def call(self, operation: str, **p: Any) -> dict[str, Any]:
        return self.alarms.operations[operation](p)

    def make(self, **settings: Any) -> None:
        self.call("PutMetricAlarm", **{**ALARM, **settings})

    def put(self, value: float = 1.0, metric: Metric = ALERTS) -> None:
        """A value now, as it would come in over the loop."""
        self.metrics.put(metric, self.now, [(value, 1.0)])
        self.alarms.evaluate()

    def wait(self, seconds: float) -> str:
        """Lets time pass as the service does, ten seconds at a time."""
        for _ in range(int(seconds // 10)):
            self.now += 10
            self.alarms.evaluate()
        return self.state

    @property
    def shown(self) -> dict[str, Any]:
        return dict(self.call("DescribeAlarms")["MetricAlarms"][0])

    @property
    def state(self) -> str:
        return str(self.shown["StateValue"])

    def history(self, kind: str) -> list[str]:
        items = self.call("DescribeAlarmHistory", HistoryItemType=kind, ScanBy="TimestampAscending")
        return [item["HistorySummary"] for item in items["AlarmHistoryItems"]]


ALARM: dict[str, Any] = {
    "AlarmName": "critical",
    "MetricName": "Alerts",
    "Namespace": "Falco",
    "Statistic": "Sum",
    "Period": 60,
    "EvaluationPeriods": 1,
    "Threshold": 1.0,
    "ComparisonOperator": "GreaterThanOrEqualToThreshold",
    "TreatMissingData": "notBreaching",
    "AlarmActions": [TOPIC],
    "OKActions": [TOPIC],
}


@pytest.fixture
def region() -> Region:
    return Region()


def refused(call: Callable[..., Any], **p: Any) -> str:
    with pytest.raises(AwsError) as caught:
        call(**p)
    return f"{caught.value.code}: {caught.value.message}"


# -- evaluation


def test_an_alarm_starts_without_data_is_raised_at_once_and_ends_when_its_data_ages_out(region: Region) -> None:
    region.make()
    assert (region.state, region.shown["StateReason"]) == ("INSUFFICIENT_DATA", "Unchecked: Initial alarm creation")
    assert region.wait(60) == "OK"
    region.now += 5
    region.put()
    assert region.state == "ALARM"
    assert region.shown["StateReason"] == (
        "Threshold Crossed: 1 datapoint [1.0 (27/10/26 12:01:00)] was greater than or equal to the threshold (1.0)."
    )
    assert region.wait(180) == "ALARM"  # three periods are looked at for one
    assert region.wait(60) == "OK"
    assert "no datapoints were received for 1 period" in region.shown["StateReason"]
    assert region.history("StateUpdate") == [
        "Alarm updated from INSUFFICIENT_DATA to OK",
        "Alarm updated from OK to ALARM",
        "Alarm updated from ALARM to OK",
    ]


@pytest.mark.parametrize(
    ("treatment", "states"),
    [
        ("missing", ["INSUFFICIENT_DATA", "ALARM", "INSUFFICIENT_DATA"]),
        ("ignore", ["INSUFFICIENT_DATA", "ALARM", "ALARM"]),
        ("breaching", ["ALARM", "ALARM", "ALARM"]),
        ("notBreaching", ["OK", "ALARM", "OK"]),
    ],
)
def test_data_that_stops_coming(region: Region, treatment: str, states: list[str]) -> None:
    region.make(TreatMissingData=treatment)
    seen = [region.wait(60)]
    region.put()
    seen += [region.state, region.wait(240)]
    assert seen == states


def test_m_out_of_n(region: Region) -> None:
    region.make(EvaluationPeriods=3, DatapointsToAlarm=2, Threshold=5.0)
    seen = []
    for value in (9.0, 0.0, 9.0, 0.0, 9.0, 0.0):
        region.put(value)
        region.wait(60)
        seen.append(region.state)
    assert seen == ["OK", "OK", "ALARM", "OK", "ALARM", "OK"]


def test_a_period_that_is_not_over_only_raises_an_alarm_that_more_data_could_not_take_back(region: Region) -> None:
    for name, settings in {
        "average": {"Statistic": "Average"},
        "quiet": {"ComparisonOperator": "LessThanThreshold", "Threshold": 5.0},
        "lowest": {"Statistic": "Minimum", "ComparisonOperator": "LessThanThreshold", "Threshold": 5.0},
        "sum": {},
    }.items():
        region.make(AlarmName=name, **settings)
    region.put()

    def alarmed() -> list[str]:
        return [a["AlarmName"] for a in region.call("DescribeAlarms", StateValue="ALARM")["MetricAlarms"]]

    assert alarmed() == ["lowest", "sum"]
    region.wait(60)
    assert alarmed() == ["average", "lowest", "quiet", "sum"]


def test_long_periods_slide_by_the_minute(region: Region) -> None:
    region.make(Period=300, Threshold=3.0)
    region.wait(180)
    for _ in range(3):  # at 12:03, 12:04 and 12:05, which no five minutes from 12:00 hold together
        region.put()
        region.wait(60)
    assert region.state == "ALARM"
    assert region.history("StateUpdate")[-1].endswith("to ALARM")


def test_high_resolution_alarms(region: Region) -> None:
    region.make(Period=10)
    assert region.wait(10) == "OK"
    region.metrics.put(ALERTS, region.now, [(1.0, 1.0)], resolution=1)
    region.alarms.evaluate()
    assert region.state == "ALARM"
    assert region.wait(40) == "OK"


def test_data_of_the_minute_before_counts_when_it_comes_late(region: Region) -> None:
    region.make()
    region.wait(60)
    region.metrics.put(ALERTS, region.now - 1, [(1.0, 1.0)])
    region.alarms.evaluate()
    assert region.state == "ALARM"


def test_an_alarm_on_a_percentile(region: Region) -> None:
    region.make(Statistic=None, ExtendedStatistic="p90")
    region.metrics.put(ALERTS, region.now, [(0.0, 80.0), (9.0, 20.0)])
    assert region.wait(60) == "ALARM"


def test_an_alarm_on_an_expression(region: Region) -> None:
    def stat(id_: str, name: str) -> dict[str, Any]:
        metric = {"Namespace": "Falco", "MetricName": name}
        return {"Id": id_, "MetricStat": {"Metric": metric, "Period": 60, "Stat": "Sum"}, "ReturnData": False}

    nothing = dict.fromkeys(("MetricName", "Namespace", "Statistic", "Period"))
    queries = [stat("a", "Alerts"), stat("b", "Errors"), {"Id": "e", "Expression": "FILL(a, 0) + FILL(b, 0)"}]
    region.make(**nothing, Metrics=queries, Threshold=3.0)
    region.put(2.0)
    assert region.state == "INSUFFICIENT_DATA"
    region.put(1.0, Metric("Falco", "Errors"))
    assert region.state == "ALARM"
    assert [query["ReturnData"] for query in region.shown["Metrics"]] == [False, False, True]
    ((_, _, _, message),) = region.published
    trigger = json.loads(message)["Trigger"]
    assert trigger["Metrics"][2] == {"ReturnData": True, "Id": "e", "Expression": "FILL(a, 0) + FILL(b, 0)"}
    assert "MetricName" not in trigger
    # Of what a ratio will be when the minute is over, nothing is known before.
    region.make(**nothing, AlarmName="ratio", Metrics=[*queries[:2], {"Id": "e", "Expression": "100 * a / b"}])
    region.put(50.0)
    assert [a["AlarmName"] for a in region.call("DescribeAlarms", StateValue="ALARM")["MetricAlarms"]] == ["critical"]
    region.wait(60)
    assert len(region.call("DescribeAlarms", StateValue="ALARM")["MetricAlarms"]) == 2


def test_data_that_was_there_before_the_alarm_counts(region: Region) -> None:
    region.put()
    region.now += 5
    region.make()
    region.alarms.evaluate()
    assert region.state == "ALARM"


# -- actions and history


def test_a_change_is_published_as_the_service_words_it(region: Region) -> None:
    region.make(AlarmDescription="Somebody is in", Dimensions=[{"Name": "Rule", "Value": "x"}], Unit="Count")
    region.metrics.put(Metric("Falco", "Alerts", (("Rule", "x"),)), region.now, [(2.0, 1.0)], unit="Count")
    region.now += 1.5
    region.alarms.evaluate()
    ((source, topic, subject, text),) = region.published
    assert (topic, source) == (TOPIC, "arn:aws:cloudwatch:us-east-1:111122223333:alarm:critical")
    assert subject == 'ALARM: "critical" in US East (N. Virginia)'
    assert json.loads(text) == {
        "AlarmName": "critical",
        "AlarmDescription": "Somebody is in",
        "AWSAccountId": "111122223333",
        "AlarmConfigurationUpdatedTimestamp": "2026-10-27T12:00:00.000+0000",
        "NewStateValue": "ALARM",
        "NewStateReason": region.shown["StateReason"],
        "StateChangeTime": "2026-10-27T12:00:01.500+0000",
        "Region": "US East (N. Virginia)",
        "AlarmArn": source,
        "OldStateValue": "INSUFFICIENT_DATA",
        "OKActions": [TOPIC],
        "AlarmActions": [TOPIC],
        "InsufficientDataActions": [],
        "Trigger": {
            "MetricName": "Alerts",
            "Namespace": "Falco",
            "StatisticType": "Statistic",
            "Statistic": "SUM",
            "Unit": "Count",
            "Dimensions": [{"value": "x", "name": "Rule"}],
            "Period": 60,
            "EvaluationPeriods": 1,
            "ComparisonOperator": "GreaterThanOrEqualToThreshold",
            "Threshold": 1.0,
            "TreatMissingData": "notBreaching",
            "EvaluateLowSampleCountPercentile": "",
        },
    }


def test_actions_can_be_switched_off(region: Region) -> None:
    region.make()
    region.call("DisableAlarmActions", AlarmNames=["critical", "unknown"])
    assert region.shown["ActionsEnabled"] is False
    region.call("SetAlarmState", AlarmName="critical", StateValue="ALARM", StateReason="try")
    assert (region.state, region.published) == ("ALARM", [])
    region.call("EnableAlarmActions", AlarmNames=["critical"])
    region.call("SetAlarmState", AlarmName="critical", StateValue="OK", StateReason="try")
    assert [subject for _, _, subject, _ in region.published] == ['OK: "critical" in US East (N. Virginia)']


def test_a_state_that_was_set_lasts_until_the_next_comparison(region: Region) -> None:
    region.make()
    region.wait(60)
    region.call("SetAlarmState", AlarmName="critical", StateValue="ALARM", StateReason="try")
    assert region.shown["StateReason"] == "try"
    assert "StateReasonData" not in region.shown
    assert region.wait(50) == "ALARM"
    assert region.wait(10) == "OK"


def test_the_history_tells_of_configuration_states_and_actions(region: Region) -> None:
    region.make()
    region.put()
    region.make(Threshold=7)
    region.call("DeleteAlarms", AlarmNames=["critical"])
    items = region.call("DescribeAlarmHistory", AlarmName="critical")["AlarmHistoryItems"]  # newest first
    assert [(item["HistoryItemType"], item["HistorySummary"]) for item in items] == [
        ("ConfigurationUpdate", 'Alarm "critical" deleted'),
        ("ConfigurationUpdate", 'Alarm "critical" updated'),
        ("Action", f"Successfully executed action {TOPIC}"),
        ("StateUpdate", "Alarm updated from INSUFFICIENT_DATA to ALARM"),
        ("ConfigurationUpdate", 'Alarm "critical" created'),
    ]
    data = [json.loads(item["HistoryData"]) for item in items]
    assert data[1]["originalUpdatedFields"] == {"threshold": 1.0}
    assert data[1]["updatedAlarm"]["threshold"] == 7.0
    assert data[2]["actionState"] == "Succeeded"
    assert json.loads(json.loads(data[2]["publishedMessage"])["default"])["AlarmName"] == "critical"
    assert data[3]["oldState"] == {
        "stateValue": "INSUFFICIENT_DATA",
        "stateReason": "Unchecked: Initial alarm creation",
    }
    assert data[3]["newState"]["stateReasonData"]["recentDatapoints"] == [1.0]
    assert data[4]["createdAlarm"]["alarmName"] == "critical"
    assert data[4]["createdAlarm"]["okactions"] == [TOPIC]
    pages = region.call("DescribeAlarmHistory", MaxRecords=2)
    assert len(pages["AlarmHistoryItems"]) == 2
    rest = region.call("DescribeAlarmHistory", NextToken=pages["NextToken"])
    assert len(rest["AlarmHistoryItems"]) == 3
    assert region.call("DescribeAlarmHistory", StartDate=NOON + 1)["AlarmHistoryItems"] == []


def test_a_failed_action_is_in_the_history(region: Region) -> None:
    def refuse(*message: str) -> None:
        raise AwsError("NotFound", "Topic does not exist", 404)

    region.alarms = Alarms(
        region="us-east-1", account_id="111122223333", store=region.metrics, clock=lambda: region.now, publish=refuse
    )
    region.make()
    region.put()
    assert region.state == "ALARM"
    assert region.history("Action") == [f'Failed to execute action {TOPIC}. Received error: "Topic does not exist"']


# -- what is refused


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"Period": 45}, "ValidationError: Period must be 10, 20, 30 or a multiple of 60"),
        ({"Statistic": None}, "ValidationError: Exactly one of Statistic and ExtendedStatistic"),
        ({"ExtendedStatistic": "p99"}, "ValidationError: Exactly one of Statistic and ExtendedStatistic"),
        ({"Threshold": None}, "ValidationError: Threshold must not be null"),
        ({"EvaluationPeriods": None}, "ValidationError: 1 validation error detected: Value null at 'evaluationPeri"),
        ({"DatapointsToAlarm": 2}, "ValidationError: DatapointsToAlarm must be less than or equal to"),
        ({"EvaluationPeriods": 1441}, "ValidationError: Metrics cannot be checked across more than a day"),
        ({"TreatMissingData": "never"}, "ValidationError: never is not a valid value"),
        ({"AlarmActions": ["notify me"]}, "ValidationError: Invalid arn syntax: notify me"),
        (
            {"OKActions": ["arn:aws:sns:eu-west-1:111122223333:x"]},
            "ValidationError: Invalid region eu-west-1 specified. Only us-east-1 is supported.",
        ),
        ({"AlarmActions": ["arn:aws:automate:us-east-1:ec2:stop"]}, "ValidationError: The embedded lab's alarms"),
        ({"ComparisonOperator": "LessThanLowerThreshold"}, "ValidationError: LessThanLowerThreshold: the embedded"),
        ({"Metrics": [{"Id": "a", "Expression": "1"}]}, "InvalidParameterCombination: Metrics and MetricName"),
        ({"EvaluationWindow": {}}, "ValidationError: EvaluationWindow is not supported by the embedded lab."),
    ],
)
def test_settings_that_are_refused(region: Region, settings: dict[str, Any], error: str) -> None:
    assert refused(region.make, **settings).startswith(error)
    assert region.call("DescribeAlarms")["MetricAlarms"] == []


@pytest.mark.parametrize(
    ("expression", "error"),
    [
        ("SEARCH('{Falco} x', 'Sum', 60)", "SEARCH is not supported on Metric Alarms"),
        ("SUM(m)", "it returns a number"),
        ("METRICS()", "it returns an array"),
        ("m +", "it ends too early"),
    ],
)
def test_expressions_that_are_refused(region: Region, expression: str, error: str) -> None:
    stat = {"Metric": {"Namespace": "Falco", "MetricName": "Alerts"}, "Period": 60, "Stat": "Sum"}
    queries = [{"Id": "m", "MetricStat": stat, "ReturnData": False}, {"Id": "e", "Expression": expression}]
    nothing = dict.fromkeys(("MetricName", "Namespace", "Statistic", "Period"))
    assert error in refused(region.make, **nothing, Metrics=queries)
    both = [{**query, "ReturnData": True} for query in queries]
    assert "Exactly one element" in refused(region.make, **nothing, Metrics=both)


def test_none_is_deleted_if_one_is_not_there(region: Region) -> None:
    region.make()
    assert refused(region.call, operation="DeleteAlarms", AlarmNames=["critical", "x"]).startswith("ResourceNotFound")
    assert len(region.call("DescribeAlarms")["MetricAlarms"]) == 1


# -- over HTTP


@pytest.fixture
def cloudwatch(running: Any) -> Any:
    return running.client("cloudwatch")


def test_new_data_raises_an_alarm_without_anybody_asking(running: Any, cloudwatch: Any) -> None:
    sns, sqs = running.client("sns"), running.client("sqs")
    topic = sns.create_topic(Name="alerts")["TopicArn"]
    queue = sqs.create_queue(QueueName="notifications")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": "sns.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": arn,
        "Condition": {"ArnEquals": {"aws:SourceArn": topic}},
    }
    policy = {"Version": "2012-10-17", "Statement": [statement]}
    sqs.set_queue_attributes(QueueUrl=queue, Attributes={"Policy": json.dumps(policy)})
    sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
    cloudwatch.put_metric_alarm(**ALARM)

    logs = running.client("logs")
    logs.create_log_group(logGroupName="/falco")
    logs.create_log_stream(logGroupName="/falco", logStreamName="node")
    transformation = {"metricNamespace": "Falco", "metricName": "Alerts", "metricValue": "1"}
    logs.put_metric_filter(
        logGroupName="/falco",
        filterName="critical",
        filterPattern='{ $.priority = "Critical" }',
        metricTransformations=[transformation],
    )
    event = {"timestamp": running.clock.ms(), "message": json.dumps({"priority": "Critical"})}
    logs.put_log_events(logGroupName="/falco", logStreamName="node", logEvents=[event])
    (received,) = sqs.receive_message(QueueUrl=queue, WaitTimeSeconds=10)["Messages"]
    envelope = json.loads(received["Body"])
    assert envelope["Subject"] == 'ALARM: "critical" in US East (N. Virginia)'
    assert json.loads(envelope["Message"])["NewStateValue"] == "ALARM"


def test_why_a_topic_got_nothing_is_in_the_history(running: Any, cloudwatch: Any) -> None:
    sns = running.client("sns")
    topic = sns.create_topic(Name="alerts")["TopicArn"]
    statement = {"Effect": "Allow", "Principal": {"Service": "events.amazonaws.com"}, "Action": "sns:Publish"}
    policy = json.dumps({"Statement": [{**statement, "Resource": topic}]})
    sns.set_topic_attributes(TopicArn=topic, AttributeName="Policy", AttributeValue=policy)
    cloudwatch.put_metric_alarm(**ALARM)
    cloudwatch.set_alarm_state(AlarmName="critical", StateValue="ALARM", StateReason="try")
    sns.delete_topic(TopicArn=topic)
    cloudwatch.set_alarm_state(AlarmName="critical", StateValue="OK", StateReason="try")
    items = cloudwatch.describe_alarm_history(AlarmName="critical", HistoryItemType="Action")["AlarmHistoryItems"]
    assert [item["HistorySummary"].partition("Received error: ")[2] for item in items] == [
        '"Topic does not exist"',
        '"Resource: arn:aws:cloudwatch:us-east-1:111122223333:alarm:critical is not authorized to perform: SNS:Publish '
        f'on resource: {topic} because no resource-based policy allows the SNS:Publish action"',
    ]


def test_time_alone_changes_a_state(running: Any, cloudwatch: Any) -> None:
    cloudwatch.put_metric_alarm(**{**ALARM, "AlarmActions": [], "OKActions": []})
    running.clock.offset += 60
    cloudwatch.get_waiter("alarm_exists").wait(AlarmNames=["critical"])
    (alarm,) = cloudwatch.describe_alarms(AlarmNames=["critical"])["MetricAlarms"]
    assert alarm["StateValue"] == "OK"


def test_the_timer_evaluates() -> None:
    """On a clock that is at the end of ten seconds, the service's own loop finds what is due."""
    started = time.monotonic()
    service = CloudWatch(
        account_id="111122223333",
        clock=lambda: NOON + 9.9 + time.monotonic() - started,
        publish=lambda *message: None,
    )
    alarms = service.region("us-east-1").alarms
    alarms.operations["PutMetricAlarm"]({**ALARM, "Period": 10})

    async def until_ok() -> None:
        task = asyncio.create_task(service.run())
        async with asyncio.timeout(10):
            while alarms.operations["DescribeAlarms"]({})["MetricAlarms"][0]["StateValue"] != "OK":
                await asyncio.sleep(0.01)
        task.cancel()

    asyncio.run(until_ok())


def test_alarms_are_listed_by_name_prefix_state_and_action_a_page_at_a_time(cloudwatch: Any) -> None:
    for name in ("b-2", "a-1", "a-2"):
        cloudwatch.put_metric_alarm(**{**ALARM, "AlarmName": name, "Dimensions": [{"Name": "n", "Value": name}]})

    def listed(**p: Any) -> list[str]:
        return [alarm["AlarmName"] for alarm in cloudwatch.describe_alarms(**p)["MetricAlarms"]]

    assert listed() == ["a-1", "a-2", "b-2"]
    assert listed(AlarmNamePrefix="a-") == ["a-1", "a-2"]
    assert listed(AlarmNames=["b-2", "none"]) == ["b-2"]
    assert listed(StateValue="ALARM") == []
    assert listed(ActionPrefix=TOPIC) == ["a-1", "a-2", "b-2"]
    assert listed(ActionPrefix="arn:aws:lambda") == []
    assert listed(AlarmTypes=["CompositeAlarm"]) == []
    pages = cloudwatch.get_paginator("describe_alarms").paginate(PaginationConfig={"PageSize": 2})
    assert [len(page["MetricAlarms"]) for page in pages] == [2, 1]
    found = cloudwatch.describe_alarms_for_metric(
        MetricName="Alerts", Namespace="Falco", Dimensions=[{"Name": "n", "Value": "a-1"}], Statistic="Sum"
    )["MetricAlarms"]
    assert [alarm["AlarmName"] for alarm in found] == ["a-1"]


def test_tags_of_alarms(cloudwatch: Any) -> None:
    cloudwatch.put_metric_alarm(**ALARM, Tags=[{"Key": "workshop", "Value": "falco"}])
    arn = cloudwatch.describe_alarms()["MetricAlarms"][0]["AlarmArn"]
    cloudwatch.tag_resource(ResourceARN=arn, Tags=[{"Key": "team", "Value": "blue"}])
    cloudwatch.untag_resource(ResourceARN=arn, TagKeys=["workshop"])
    assert cloudwatch.list_tags_for_resource(ResourceARN=arn)["Tags"] == [{"Key": "team", "Value": "blue"}]
    with pytest.raises(
        cloudwatch.exceptions.ResourceNotFoundException, match=r"There is no resource .*:alarm:criticalx"
    ):
        cloudwatch.list_tags_for_resource(ResourceARN=arn + "x")
    dashboard = "arn:aws:cloudwatch::111122223333:dashboard/none"
    with pytest.raises(cloudwatch.exceptions.ResourceNotFoundException) as caught:
        cloudwatch.list_tags_for_resource(ResourceARN=dashboard)
    assert (caught.value.response["ResourceType"], caught.value.response["ResourceId"]) == ("dashboard", dashboard)


def test_errors_are_those_of_the_service(cloudwatch: Any) -> None:
    with pytest.raises(cloudwatch.exceptions.ResourceNotFound, match="Alarm none does not exist"):
        cloudwatch.set_alarm_state(AlarmName="none", StateValue="OK", StateReason="x")
    with pytest.raises(ClientError, match="Value 'INVALID' at 'stateValue' failed to satisfy constraint"):
        cloudwatch.set_alarm_state(AlarmName="none", StateValue="INVALID", StateReason="x")
    with pytest.raises(cloudwatch.exceptions.InvalidNextToken, match="The next token specified is invalid"):
        cloudwatch.describe_alarms(NextToken="?")
    with pytest.raises(ClientError, match="PutCompositeAlarm is not supported by the embedded lab"):
        cloudwatch.put_composite_alarm(AlarmName="x", AlarmRule="ALARM(y)")


def test_permissions_are_by_alarm(running: Any) -> None:
    arn = "arn:aws:cloudwatch:us-east-1:111122223333:alarm:falco-*"
    actions = ["cloudwatch:PutMetricAlarm", "cloudwatch:DescribeAlarms", "cloudwatch:DeleteAlarms"]
    statement = {"Effect": "Allow", "Action": actions, "Resource": arn}
    session = running.session({"Version": "2012-10-17", "Statement": [statement]})
    cloudwatch = running.as_session("cloudwatch", session)
    cloudwatch.put_metric_alarm(**{**ALARM, "AlarmName": "falco-critical"})
    with pytest.raises(ClientError, match=r"PutMetricAlarm on resource: .*:alarm:other because no identity-based"):
        cloudwatch.put_metric_alarm(**{**ALARM, "AlarmName": "other"})
    assert len(cloudwatch.describe_alarms(AlarmNames=["falco-critical"])["MetricAlarms"]) == 1
    with pytest.raises(ClientError, match=r"DescribeAlarms on resource: .*:alarm:\* because"):
        cloudwatch.describe_alarms()
    cloudwatch.delete_alarms(AlarmNames=["falco-critical"])
