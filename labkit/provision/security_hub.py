"""Step `security-hub`: Security Hub CSPM in the lab's region, where findings of alerts go, and these findings' end.

It is enabled without standards: they would check the whole account, which is not what the workshop is about. A hub that
was there before stays as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from labkit.errors import StepError
from labkit.provision.steps import TAG, Step
from labkit.respond.forwarder import id_prefix
from labkit.show import counted
from labkit.target import Target
from labkit.waiting import poll


def describe(target: Target) -> dict[str, Any] | None:
    """Security Hub's description of the region's hub, None if it is off."""
    hub = target.aws.client("securityhub")
    try:
        return dict(hub.describe_hub())
    except (hub.exceptions.InvalidAccessException, hub.exceptions.ResourceNotFoundException):
        return None


@dataclass(frozen=True)
class Hub:
    name: str
    kind: str = "Security Hub CSPM"

    def state(self, target: Target) -> str:
        return "" if describe(target) is None else "enabled"

    def ours(self, target: Target) -> bool:
        found = describe(target)
        if found is None:
            return False
        tags = target.aws.client("securityhub").list_tags_for_resource(ResourceArn=found["HubArn"])["Tags"]
        return bool(tags.get(TAG[0]) == TAG[1])

    def apply(self, target: Target, *, mine: bool) -> str:
        if describe(target) is not None:
            return "unchanged"
        target.aws.client("securityhub").enable_security_hub(Tags=dict([TAG]), EnableDefaultStandards=False)
        if poll(lambda: describe(target), "Security Hub to be enabled", target.settings.timeout) is None:
            raise StepError(
                f"Security Hub is still off {target.settings.timeout:g} s after it was enabled.",
                hint="Look at `aws securityhub describe-hub`, then run this again.",
            )
        return "created"

    def delete(self, target: Target) -> bool:
        hub = target.aws.client("securityhub")
        try:
            hub.disable_security_hub()
        except (hub.exceptions.InvalidAccessException, hub.exceptions.ResourceNotFoundException):
            return False
        poll(lambda: describe(target) is None or None, "Security Hub to be disabled", target.settings.timeout)
        return True


@dataclass(frozen=True)
class Findings:
    """The findings of the cluster's alerts. They can't be deleted: taking them away means archiving them."""

    cluster: str
    kind: str = "findings"
    incidental: bool = True

    @property
    def name(self) -> str:
        return f"{id_prefix(self.cluster)}*"

    def state(self, target: Target) -> str:
        from labkit.respond.findings import active

        if describe(target) is None or next(active(target.aws.client("securityhub"), self.cluster), None) is None:
            return ""
        return "active"

    def ours(self, target: Target) -> bool:
        return True  # nobody else's findings have such Ids

    def apply(self, target: Target, *, mine: bool) -> str:
        return "unchanged"  # they come with alerts

    def delete(self, target: Target) -> bool:
        from labkit.respond.findings import archive

        report = archive(target.aws.client("securityhub"), self.cluster)
        if report.failed:
            first = report.failed[0]
            raise StepError(
                f"{counted(len(report.failed), 'finding')} could not be archived; {first.code}: {first.message}",
                hint="Run this again: what is archived already stays so.",
            )
        return bool(report.updated)


def parts(target: Target) -> list[Hub | Findings]:
    return [Hub(target.settings.region), Findings(target.settings.cluster)]


def cli(target: Target) -> str:
    return f"aws securityhub enable-security-hub --no-enable-default-standards --tags {TAG[0]}={TAG[1]}"


def undo_cli(target: Target) -> str:
    return (
        "# Archive: import each finding again, with RecordState ARCHIVED and a later UpdatedAt.\n"
        "python3 -c 'from labkit import Lab; from labkit.respond import findings; lab = Lab.connect(); "
        'print(findings.archive(target.aws.client("securityhub"), target.settings.cluster))\'\n'
        "# Only if nobody else needs it:\n"
        "aws securityhub disable-security-hub"
    )


STEPS = [Step("security-hub", "Security Hub CSPM, without standards", (), parts, cli, undo_cli)]
