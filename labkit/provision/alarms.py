"""Steps `alarms` (alarms on alert metrics, with a topic and a queue for their notifications) and `dashboard`.

Alarms, policies and the dashboard are `manifests/cloudwatch/*.json`, in the forms of PutMetricAlarm, SNS, SQS and
PutDashboard.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from labkit.aws import answer_or_none, translated_errors
from labkit.errors import StepError
from labkit.provision.parts import TAG, TAG_LIST, TAGS, AwsPart, Part, RequestPart
from labkit.provision.steps import Step
from labkit.provision.templates import template
from labkit.show import counted
from labkit.target import Target
from labkit.waiting import poll

RETENTION_SECONDS = 86_400  # of notifications


def topic_arn(target: Target) -> str:
    """ARN of the topic that alarms publish to, whether or not it is there."""
    return target.aws.arn("sns", f"{target.settings.prefix}-alarms")


def queue_name(target: Target) -> str:
    """Name of the queue in which notifications are read."""
    return f"{target.settings.prefix}-notifications"


def queue_url(target: Target, name: str) -> str | None:
    """URL of a queue of this account, None if there is none of that name."""
    answer = answer_or_none(target.aws.client("sqs").get_queue_url, QueueName=name)
    return answer and str(answer["QueueUrl"])


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


@dataclass(frozen=True)
class Topic(AwsPart):
    arn: str
    kind: str = "SNS topic"

    @property
    def name(self) -> str:
        return self.arn.rpartition(":")[2]

    def find(self, target: Target) -> Any:
        answer = answer_or_none(target.aws.client("sns").get_topic_attributes, TopicArn=self.arn)
        return answer and answer["Attributes"]

    def tags(self, target: Target, found: Any) -> Any:
        return target.aws.client("sns").list_tags_for_resource(ResourceArn=self.arn)["Tags"]

    def matches(self, target: Target, found: Any) -> bool:
        return bool(json.loads(found["Policy"]) == _topic_policy(target))

    def create(self, target: Target) -> None:
        policy = json.dumps(_topic_policy(target))
        target.aws.client("sns").create_topic(Name=self.name, Attributes={"Policy": policy}, Tags=TAG_LIST)

    def update(self, target: Target, found: Any) -> None:
        policy = json.dumps(_topic_policy(target))
        target.aws.client("sns").set_topic_attributes(TopicArn=self.arn, AttributeName="Policy", AttributeValue=policy)

    def delete(self, target: Target, found: Any) -> None:
        target.aws.client("sns").delete_topic(TopicArn=self.arn)


@dataclass(frozen=True)
class Queue(AwsPart):
    """A queue with its attributes. SQS needs a minute to forget one, and that long takes no new one of its name."""

    name: str
    attributes: Mapping[Any, str] = field(hash=False)
    kind: str = "SQS queue"

    def find(self, target: Target) -> Any:
        return queue_url(target, self.name)

    def tags(self, target: Target, found: Any) -> Any:
        return target.aws.client("sqs").list_queue_tags(QueueUrl=found).get("Tags", {})

    def matches(self, target: Target, found: Any) -> bool:
        sqs, names = target.aws.client("sqs"), list(self.attributes)
        there = sqs.get_queue_attributes(QueueUrl=found, AttributeNames=names).get("Attributes", {})
        # A policy and a number are both JSON; another layout of the same is the same.
        return all(json.loads(there.get(name) or "{}") == json.loads(text) for name, text in self.attributes.items())

    def create(self, target: Target) -> None:
        sqs = target.aws.client("sqs")

        def create() -> bool | None:
            try:
                sqs.create_queue(QueueName=self.name, Attributes=self.attributes, tags=TAGS)
            except sqs.exceptions.QueueDeletedRecently:
                return None
            return True

        if not poll(create, f"SQS to take a queue {self.name} again (a minute after it was deleted)", 90):
            raise StepError(
                f"Queue {self.name} was deleted a short time ago, and SQS takes no new one of its name yet.",
                hint="Wait a minute and apply this again.",
            )

    def update(self, target: Target, found: Any) -> None:
        target.aws.client("sqs").set_queue_attributes(QueueUrl=found, Attributes=self.attributes)

    def delete(self, target: Target, found: Any) -> None:
        target.aws.client("sqs").delete_queue(QueueUrl=found)
        if not poll(lambda: self.find(target) is None or None, f"queue {self.name} to go", 90):
            raise StepError(f"Queue {self.name} is still there.", hint="Wait a minute and run this again.")


@dataclass(frozen=True)
class Subscription(AwsPart):
    """The queue's subscription to the topic."""

    topic: str
    queue: str
    kind: str = "SNS subscription"

    @property
    def name(self) -> str:
        return f"{self.topic.rpartition(':')[2]} to {self.queue.rpartition(':')[2]}"

    def find(self, target: Target) -> Any:
        pages = target.aws.client("sns").get_paginator("list_subscriptions_by_topic").paginate(TopicArn=self.topic)
        answer = answer_or_none(pages.build_full_result) or {"Subscriptions": []}
        return next((s["SubscriptionArn"] for s in answer["Subscriptions"] if s["Endpoint"] == self.queue), None)

    def create(self, target: Target) -> None:
        target.aws.client("sns").subscribe(TopicArn=self.topic, Protocol="sqs", Endpoint=self.queue)

    def delete(self, target: Target, found: Any) -> None:
        # No policy can limit Unsubscribe, so attendees of a class may not: the topic takes its subscriptions along.
        if not target.settings.attendee:
            target.aws.client("sns").unsubscribe(SubscriptionArn=found)


@dataclass(frozen=True)
class Alarm(RequestPart):
    kind: str = "alarm"
    name_key: ClassVar[str] = "AlarmName"

    def find(self, target: Target) -> Any:
        alarms = target.aws.client("cloudwatch").describe_alarms(AlarmNames=[self.name])["MetricAlarms"]
        return alarms[0] if alarms else None

    def describe(self, found: Any) -> str:
        return str(found["StateValue"])

    def tags(self, target: Target, found: Any) -> Any:
        return target.aws.client("cloudwatch").list_tags_for_resource(ResourceARN=found["AlarmArn"])["Tags"]

    def create(self, target: Target) -> None:
        target.aws.client("cloudwatch").put_metric_alarm(**self.request, Tags=TAG_LIST)

    def update(self, target: Target, found: Any) -> None:
        target.aws.client("cloudwatch").put_metric_alarm(**self.request)  # ignores tags of an alarm that is there

    def delete(self, target: Target, found: Any) -> None:
        target.aws.client("cloudwatch").delete_alarms(AlarmNames=[self.name])


@dataclass(frozen=True)
class Dashboard(AwsPart):
    name: str
    kind: str = "dashboard"

    def find(self, target: Target) -> Any:
        """Its body, None if it isn't there."""
        answer = answer_or_none(target.aws.client("cloudwatch").get_dashboard, DashboardName=self.name)
        return answer and json.loads(answer["DashboardBody"])

    def describe(self, found: Any) -> str:
        return counted(len(found.get("widgets", [])), "widget")

    def is_owned(self, target: Target, found: Any) -> bool:
        return f"{TAG[0]}={TAG[1]}" in json.dumps(found)  # in its text: older boto3 gives no tags

    def matches(self, target: Target, found: Any) -> bool:
        return bool(found == template(target, "cloudwatch/dashboard"))

    def create(self, target: Target) -> None:
        body, client = json.dumps(template(target, "cloudwatch/dashboard")), target.aws.client("cloudwatch")
        shape: Any = client.meta.service_model.operation_model("PutDashboard").input_shape
        tags: Any = {"Tags": TAG_LIST} if "Tags" in shape.members else {}  # boto3 since 2026 knows them
        client.put_dashboard(DashboardName=self.name, DashboardBody=body, **tags)

    def delete(self, target: Target, found: Any) -> None:
        target.aws.client("cloudwatch").delete_dashboards(DashboardNames=[self.name])


def _topic_policy(target: Target) -> Any:
    return template(target, "cloudwatch/topic-policy")


def _attributes(target: Target) -> dict[str, str]:
    policy = json.dumps(template(target, "cloudwatch/queue-policy"))
    return {"Policy": policy, "MessageRetentionPeriod": str(RETENTION_SECONDS)}


def _parts(target: Target) -> list[Part]:
    topic, queue = topic_arn(target), queue_name(target)
    return [
        Topic(topic),
        Queue(queue, _attributes(target)),
        Subscription(topic, target.aws.arn("sqs", queue)),
        *(Alarm(request) for request in requests(target)),
    ]


def _values(target: Target) -> dict[str, Any]:
    return {
        "topic_attributes": {"Policy": json.dumps(_topic_policy(target))},
        "queue_attributes": _attributes(target),
        "alarm_names": " ".join(request["AlarmName"] for request in requests(target)),
    }


def _dashboard_parts(target: Target) -> list[Part]:
    return [Dashboard(target.settings.prefix)]


_ALLOWED = ("Alarms", "AlarmsByName", "TopicOfAlarms", "SubscriptionsHaveNoResource", "QueueOfNotifications")

STEPS = [
    Step(
        "alarms",
        "Alarms, and a queue for their notifications",
        ("metric-filters",),
        _parts,
        _values,
        allowed=_ALLOWED,
    ),
    Step(
        "dashboard",
        "A dashboard of alerts and alarms",
        ("metric-filters", "alarms"),
        _dashboard_parts,
        allowed=("Dashboard",),
    ),
]
