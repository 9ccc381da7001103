"""Steps `alarms` and `dashboard`: alarms on the metrics of alerts, a topic and a queue for their notifications, a page.

Alarms, policies and the dashboard are `manifests/cloudwatch/*.json`, in the forms of PutMetricAlarm, SNS, SQS and
PutDashboard.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from labkit.aws import translated_errors
from labkit.errors import StepError
from labkit.provision.steps import TAG, Part, Step
from labkit.provision.templates import template
from labkit.show import counted
from labkit.target import Target

_TAGS = [{"Key": TAG[0], "Value": TAG[1]}]
_MARK = f"{TAG[0]}={TAG[1]}"  # in a dashboard's text: dashboards have no tags
RETENTION_SECONDS = 86_400  # of a notification nobody reads


def topic_arn(target: Target) -> str:
    """ARN of the topic that alarms publish to, whether or not it is there."""
    return _arn(target, "sns", f"{target.settings.prefix}-alarms")


def queue_name(target: Target) -> str:
    """Name of the queue in which notifications are read."""
    return f"{target.settings.prefix}-notifications"


def queue_url(target: Target, name: str) -> str | None:
    """URL of a queue of this account, None if there is none of that name."""
    sqs = target.aws.client("sqs")
    try:
        return str(sqs.get_queue_url(QueueName=name)["QueueUrl"])
    except sqs.exceptions.QueueDoesNotExist:
        return None


def notification_queue(target: Target) -> str:
    """URL of the queue in which notifications are read. Raises `StepError` if it isn't there."""
    with translated_errors(target.aws.hint):
        url = queue_url(target, queue_name(target))
    if url is None:
        raise StepError(f"There is no queue {queue_name(target)}.", hint='lab.apply("alarms") makes it.')
    return url


def requests(target: Target) -> list[dict[str, Any]]:
    """The workshop's alarms as PutMetricAlarm takes them, with the lab's names."""
    found: list[dict[str, Any]] = template(target, "cloudwatch/alarms")
    return found


def _arn(target: Target, service: str, name: str) -> str:
    identity = target.aws.identity
    return f"arn:{identity.partition}:{service}:{target.settings.region}:{identity.account_id}:{name}"


def _foreign(what: str) -> StepError:
    return StepError(
        f"There is {what} that the lab didn't make, and it isn't what the workshop needs.",
        hint="Choose another prefix for the workshop's names (LABKIT_PREFIX), or delete it if nothing uses it.",
    )


@dataclass(frozen=True)
class Topic:
    arn: str
    kind: str = "SNS topic"

    @property
    def name(self) -> str:
        return self.arn.rpartition(":")[2]

    def _get(self, target: Target) -> dict[str, str] | None:
        sns = target.aws.client("sns")
        try:
            return dict(sns.get_topic_attributes(TopicArn=self.arn)["Attributes"])
        except sns.exceptions.NotFoundException:
            return None

    def state(self, target: Target) -> str:
        return "there" if self._get(target) else ""

    def ours(self, target: Target) -> bool:
        return _TAGS[0] in target.aws.client("sns").list_tags_for_resource(ResourceArn=self.arn)["Tags"]

    def apply(self, target: Target, *, mine: bool) -> str:
        sns = target.aws.client("sns")
        found, policy = self._get(target), template(target, "cloudwatch/topic-policy")
        if found is None:
            sns.create_topic(Name=self.name, Attributes={"Policy": json.dumps(policy)}, Tags=_TAGS)
            return "created"
        if json.loads(found["Policy"]) == policy:
            return "unchanged"
        if not mine:
            raise _foreign(f"an SNS topic {self.name}")
        sns.set_topic_attributes(TopicArn=self.arn, AttributeName="Policy", AttributeValue=json.dumps(policy))
        return "updated"

    def delete(self, target: Target) -> bool:
        target.aws.client("sns").delete_topic(TopicArn=self.arn)  # succeeds whether or not there is one
        return True


@dataclass(frozen=True)
class Queue:
    """A queue with its attributes. SQS needs a minute to forget one, and that long takes no new one of its name."""

    name: str
    attributes: Mapping[str, str] = field(hash=False)
    kind: str = "SQS queue"

    def state(self, target: Target) -> str:
        return "there" if queue_url(target, self.name) else ""

    def ours(self, target: Target) -> bool:
        url = queue_url(target, self.name)
        tags = target.aws.client("sqs").list_queue_tags(QueueUrl=url).get("Tags", {}) if url else {}
        return bool(tags.get(TAG[0]) == TAG[1])

    def apply(self, target: Target, *, mine: bool) -> str:
        from labkit.waiting import poll

        sqs, url = target.aws.client("sqs"), queue_url(target, self.name)
        if url is None:

            def create() -> bool | None:
                try:
                    sqs.create_queue(QueueName=self.name, Attributes=self.attributes, tags=dict([TAG]))
                except sqs.exceptions.QueueDeletedRecently:
                    return None
                return True

            if not poll(create, f"SQS to take a queue {self.name} again (a minute after it was deleted)", 90):
                raise StepError(
                    f"Queue {self.name} was deleted a short time ago, and SQS takes no new one of its name yet.",
                    hint="Wait a minute and apply this again.",
                )
            return "created"
        found = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=list(self.attributes)).get("Attributes", {})
        # A policy and a number are both JSON; another layout of the same is the same.
        if all(json.loads(found.get(name) or "{}") == json.loads(text) for name, text in self.attributes.items()):
            return "unchanged"
        if not mine:
            raise _foreign(f"an SQS queue {self.name}")
        sqs.set_queue_attributes(QueueUrl=url, Attributes=self.attributes)
        return "updated"

    def delete(self, target: Target) -> bool:
        from labkit.waiting import poll

        sqs, url = target.aws.client("sqs"), queue_url(target, self.name)
        if url is None:
            return False
        sqs.delete_queue(QueueUrl=url)
        gone = poll(lambda: queue_url(target, self.name) is None or None, f"queue {self.name} to go", 90)
        if not gone:
            raise StepError(f"Queue {self.name} is still there.", hint="Wait a minute and run this again.")
        return True


@dataclass(frozen=True)
class Subscription:
    """The queue's subscription to the topic."""

    topic: str
    queue: str
    kind: str = "SNS subscription"

    @property
    def name(self) -> str:
        return f"{self.topic.rpartition(':')[2]} to {self.queue.rpartition(':')[2]}"

    def _get(self, target: Target) -> str | None:
        sns = target.aws.client("sns")
        try:
            for page in sns.get_paginator("list_subscriptions_by_topic").paginate(TopicArn=self.topic):
                for found in page["Subscriptions"]:
                    if found["Endpoint"] == self.queue:
                        return str(found["SubscriptionArn"])
        except sns.exceptions.NotFoundException:
            pass  # no topic, and so no subscription
        return None

    def state(self, target: Target) -> str:
        return "there" if self._get(target) else ""

    def ours(self, target: Target) -> bool:
        return True  # nothing else subscribes this queue to this topic

    def apply(self, target: Target, *, mine: bool) -> str:
        if self._get(target) is not None:
            return "unchanged"
        target.aws.client("sns").subscribe(TopicArn=self.topic, Protocol="sqs", Endpoint=self.queue)
        return "created"

    def delete(self, target: Target) -> bool:
        arn = self._get(target)
        if arn is None:
            return False
        target.aws.client("sns").unsubscribe(SubscriptionArn=arn)
        return True


@dataclass(frozen=True)
class Alarm:
    request: Mapping[str, Any] = field(hash=False)
    kind: str = "alarm"

    @property
    def name(self) -> str:
        return str(self.request["AlarmName"])

    def _get(self, target: Target) -> dict[str, Any] | None:
        found = target.aws.client("cloudwatch").describe_alarms(AlarmNames=[self.name])["MetricAlarms"]
        return dict(found[0]) if found else None

    def state(self, target: Target) -> str:
        found = self._get(target)
        return "" if found is None else str(found["StateValue"])

    def ours(self, target: Target) -> bool:
        found = self._get(target)
        if found is None:
            return False
        return _TAGS[0] in target.aws.client("cloudwatch").list_tags_for_resource(ResourceARN=found["AlarmArn"])["Tags"]

    def apply(self, target: Target, *, mine: bool) -> str:
        found = self._get(target)
        if found is not None and all(found.get(key) == value for key, value in self.request.items()):
            return "unchanged"
        if not mine:
            raise _foreign(f"an alarm {self.name}")
        tags = {"Tags": _TAGS} if found is None else {}  # of an alarm that is there, they aren't looked at
        target.aws.client("cloudwatch").put_metric_alarm(**self.request, **tags)
        return "created" if found is None else "updated"

    def delete(self, target: Target) -> bool:
        if self._get(target) is None:
            return False
        target.aws.client("cloudwatch").delete_alarms(AlarmNames=[self.name])
        return True


@dataclass(frozen=True)
class Dashboard:
    name: str
    kind: str = "dashboard"

    def _get(self, target: Target) -> Any:
        """Its body, None if it isn't there."""
        cloudwatch = target.aws.client("cloudwatch")
        pages = cloudwatch.get_paginator("list_dashboards").paginate(DashboardNamePrefix=self.name)
        if self.name not in {entry["DashboardName"] for page in pages for entry in page["DashboardEntries"]}:
            return None
        return json.loads(cloudwatch.get_dashboard(DashboardName=self.name)["DashboardBody"])

    def state(self, target: Target) -> str:
        found = self._get(target)
        return "" if found is None else counted(len(found.get("widgets", [])), "widget")

    def ours(self, target: Target) -> bool:
        return _MARK in json.dumps(self._get(target))

    def apply(self, target: Target, *, mine: bool) -> str:
        found, wanted = self._get(target), template(target, "cloudwatch/dashboard")
        if found == wanted:
            return "unchanged"
        if not mine:
            raise _foreign(f"a dashboard {self.name}")
        target.aws.client("cloudwatch").put_dashboard(DashboardName=self.name, DashboardBody=json.dumps(wanted))
        return "created" if found is None else "updated"

    def delete(self, target: Target) -> bool:
        if self._get(target) is None:
            return False
        target.aws.client("cloudwatch").delete_dashboards(DashboardNames=[self.name])
        return True


def _attributes(target: Target) -> dict[str, str]:
    policy = json.dumps(template(target, "cloudwatch/queue-policy"))
    return {"Policy": policy, "MessageRetentionPeriod": str(RETENTION_SECONDS)}


def _parts(target: Target) -> list[Part]:
    topic, queue = topic_arn(target), queue_name(target)
    return [
        Topic(topic),
        Queue(queue, _attributes(target)),
        Subscription(topic, _arn(target, "sqs", queue)),
        *(Alarm(request) for request in requests(target)),
    ]


def _cli(target: Target) -> str:
    topic, queue = topic_arn(target), queue_name(target)
    topic_policy, attributes = json.dumps(template(target, "cloudwatch/topic-policy")), json.dumps(_attributes(target))
    alarms = "\n".join(
        f"aws cloudwatch put-metric-alarm --tags Key={TAG[0]},Value={TAG[1]} --cli-input-json \\\n"
        f"    {shlex.quote(json.dumps(request))}"
        for request in requests(target)
    )
    return (
        f"aws sns create-topic --name {topic.rpartition(':')[2]} --tags Key={TAG[0]},Value={TAG[1]} \\\n"
        f"    --attributes {shlex.quote(json.dumps({'Policy': topic_policy}))}\n"
        f"aws sqs create-queue --queue-name {queue} --tags {TAG[0]}={TAG[1]} \\\n"
        f"    --attributes {shlex.quote(attributes)}\n"
        f"aws sns subscribe --topic-arn {topic} --protocol sqs \\\n"
        f"    --notification-endpoint {_arn(target, 'sqs', queue)}\n"
        f"{alarms}"
    )


def _undo_cli(target: Target) -> str:
    topic, names = topic_arn(target), " ".join(request["AlarmName"] for request in requests(target))
    return (
        f"aws cloudwatch delete-alarms --alarm-names {names}\n"
        f'aws sqs delete-queue --queue-url "$(aws sqs get-queue-url --queue-name {queue_name(target)} --output text)"\n'
        f"aws sns delete-topic --topic-arn {topic}  # and its subscriptions"
    )


def _dashboard_parts(target: Target) -> list[Part]:
    return [Dashboard(target.settings.prefix)]


def _dashboard_cli(target: Target) -> str:
    body = json.dumps(template(target, "cloudwatch/dashboard"))
    return (
        f"aws cloudwatch put-dashboard --dashboard-name {target.settings.prefix} \\\n"
        f"    --dashboard-body {shlex.quote(body)}"
    )


def _dashboard_undo_cli(target: Target) -> str:
    return f"aws cloudwatch delete-dashboards --dashboard-names {target.settings.prefix}"


STEPS = [
    Step("alarms", "Alarms, and a queue for their notifications", ("metric-filters",), _parts, _cli, _undo_cli),
    Step(
        "dashboard",
        "A dashboard of alerts and alarms",
        ("metric-filters", "alarms"),
        _dashboard_parts,
        _dashboard_cli,
        _dashboard_undo_cli,
    ),
]
