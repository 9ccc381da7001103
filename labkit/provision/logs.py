"""Step `log-group`: the CloudWatch Logs group for alerts, with a retention."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from labkit.aws import describe_log_group
from labkit.errors import StepError
from labkit.provision.parts import TAGS, AwsPart
from labkit.provision.steps import Step
from labkit.target import Target

# What PutRetentionPolicy takes, in days.
RETENTIONS = (1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653)


@dataclass(frozen=True)
class LogGroup(AwsPart):
    name: str
    retention_days: int
    stream: str = ""
    """A stream that the group has from the beginning.

    Fluent Bit makes its own, but one that finds the group without it drops what it has in hand.
    """
    kind: str = "log group"

    def find(self, target: Target) -> Any:
        return describe_log_group(target.aws, self.name)

    def describe(self, found: Any) -> str:
        days = found.get("retentionInDays")
        return f"keeps {days} days" if days else "keeps forever"

    def tags(self, target: Target, found: Any) -> Any:
        arn = target.aws.arn("logs", f"log-group:{self.name}")
        return target.aws.client("logs").list_tags_for_resource(resourceArn=arn)["tags"]

    def matches(self, target: Target, found: Any) -> bool:
        return bool(found.get("retentionInDays") == self.retention_days)

    def obstacle(self, target: Target, found: Any) -> str:
        return ""

    def apply(self, target: Target, found: Any, *, owned: bool) -> str:
        if self.retention_days not in RETENTIONS:
            raise StepError(
                f"CloudWatch Logs can't keep logs for {self.retention_days} days.",
                hint=f"Set LABKIT_RETENTION_DAYS to one of {', '.join(map(str, RETENTIONS))}.",
            )
        # A shorter retention deletes logs: only the lab's own group gets one.
        return super().apply(target, found, owned=True) if owned else "unchanged"

    def create(self, target: Target) -> None:
        logs = target.aws.client("logs")
        logs.create_log_group(logGroupName=self.name, tags=TAGS)
        if self.stream:
            logs.create_log_stream(logGroupName=self.name, logStreamName=self.stream)
        self.update(target, None)

    def update(self, target: Target, found: Any) -> None:
        target.aws.client("logs").put_retention_policy(logGroupName=self.name, retentionInDays=self.retention_days)

    def delete(self, target: Target, found: Any) -> None:
        target.aws.client("logs").delete_log_group(logGroupName=self.name)


def parts(target: Target) -> list[LogGroup]:
    settings = target.settings
    return [LogGroup(settings.log_group, settings.retention_days, settings.log_stream)]


STEPS = [Step("log-group", "Log group with a retention", (), parts, allowed=("LogGroup", "LogGroupsByName"))]
