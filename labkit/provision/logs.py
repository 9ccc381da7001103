"""Step `log-group`: the CloudWatch Logs group that alerts go to, with a retention so that it doesn't cost forever."""

from __future__ import annotations

from dataclasses import dataclass

from labkit.aws import describe_log_group
from labkit.errors import StepError
from labkit.provision.steps import TAG, Step
from labkit.target import Target

# What PutRetentionPolicy takes, in days.
RETENTIONS = (1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653)


@dataclass(frozen=True)
class LogGroup:
    name: str
    retention_days: int
    kind: str = "log group"

    def state(self, target: Target) -> str:
        group = describe_log_group(target.aws, self.name)
        if group is None:
            return ""
        days = group.get("retentionInDays")
        return f"keeps {days} days" if days else "keeps forever"

    def ours(self, target: Target) -> bool:
        arn = _arn(target, self.name)
        tags = target.aws.client("logs").list_tags_for_resource(resourceArn=arn)["tags"]
        return bool(tags.get(TAG[0]) == TAG[1])

    def apply(self, target: Target, *, mine: bool) -> str:
        if self.retention_days not in RETENTIONS:
            raise StepError(
                f"CloudWatch Logs can't keep logs for {self.retention_days} days.",
                hint=f"Set LABKIT_RETENTION_DAYS to one of {', '.join(map(str, RETENTIONS))}.",
            )
        logs = target.aws.client("logs")
        group = describe_log_group(target.aws, self.name)
        action = "unchanged"
        if group is None:
            logs.create_log_group(logGroupName=self.name, tags=dict([TAG]))
            action = "created"
        # A shorter retention deletes logs: only the lab's own group gets one.
        if mine and (group or {}).get("retentionInDays") != self.retention_days:
            logs.put_retention_policy(logGroupName=self.name, retentionInDays=self.retention_days)
            action = "created" if group is None else "updated"
        return action

    def delete(self, target: Target) -> bool:
        logs = target.aws.client("logs")
        try:
            logs.delete_log_group(logGroupName=self.name)
        except logs.exceptions.ResourceNotFoundException:
            return False
        return True


def _arn(target: Target, name: str) -> str:
    identity = target.aws.identity
    return f"arn:{identity.partition}:logs:{target.settings.region}:{identity.account_id}:log-group:{name}"


def parts(target: Target) -> list[LogGroup]:
    return [LogGroup(target.settings.log_group, target.settings.retention_days)]


def cli(target: Target) -> str:
    s = target.settings
    return (
        f"aws logs create-log-group --log-group-name {s.log_group} --tags {TAG[0]}={TAG[1]}\n"
        f"aws logs put-retention-policy --log-group-name {s.log_group} --retention-in-days {s.retention_days}"
    )


def undo_cli(target: Target) -> str:
    return f"aws logs delete-log-group --log-group-name {target.settings.log_group}"


STEPS = [Step("log-group", "Log group with a retention", (), parts, cli, undo_cli)]
