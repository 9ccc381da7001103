"""Step `security-hub`: enables Security Hub CSPM in the lab's region; undoing it archives the findings of alerts.

It is enabled without standards, which would check the whole account. A hub that was there before stays as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from labkit.aws import answer_or_none
from labkit.boto_errors import code_of
from labkit.errors import StepError
from labkit.provision.parts import TAGS, AwsPart, Part
from labkit.provision.shared import SharedPart
from labkit.provision.steps import Step
from labkit.respond.forwarder import id_prefix
from labkit.show import counted
from labkit.target import Target
from labkit.waiting import poll

if TYPE_CHECKING:
    from mypy_boto3_securityhub.type_defs import DescribeHubResponseTypeDef


def describe(target: Target) -> DescribeHubResponseTypeDef | None:
    """Security Hub's description of the region's hub, None if it is off.

    None, too, for an attendee of a class without findings, whom no policy lets look: nothing there is the attendee's.
    """
    from botocore.exceptions import ClientError

    try:
        return answer_or_none(target.aws.client("securityhub").describe_hub)
    except ClientError as error:
        if target.settings.attendee and code_of(error) == "AccessDenied":
            return None
        raise


@dataclass(frozen=True)
class Hub(AwsPart):
    name: str
    kind: str = "Security Hub CSPM"

    def find(self, target: Target) -> Any:
        return describe(target)

    def describe(self, found: Any) -> str:
        return "enabled"

    def tags(self, target: Target, found: Any) -> Any:
        return target.aws.client("securityhub").list_tags_for_resource(ResourceArn=found["HubArn"])["Tags"]

    def create(self, target: Target) -> None:
        target.aws.client("securityhub").enable_security_hub(Tags=TAGS, EnableDefaultStandards=False)
        if poll(lambda: describe(target), "Security Hub to be enabled", target.settings.timeout) is None:
            raise StepError(
                f"Security Hub is still off {target.settings.timeout:g} s after it was enabled.",
                hint="Look at `aws securityhub describe-hub`, then run this again.",
            )

    def delete(self, target: Target, found: Any) -> None:
        target.aws.client("securityhub").disable_security_hub()
        poll(lambda: describe(target) is None or None, "Security Hub to be disabled", target.settings.timeout)


@dataclass(frozen=True)
class Findings(Part):
    """The findings of the cluster's alerts. They come with alerts, and can't be deleted: undoing archives them."""

    cluster: str
    namespace: str = ""
    kind: str = "findings"
    incidental: ClassVar[bool] = True

    @property
    def name(self) -> str:
        return f"{id_prefix(self.cluster, self.namespace)}*"

    def find(self, target: Target) -> Any:
        from labkit.respond.findings import active

        return describe(target) and next(active(target.aws.client("securityhub"), self.cluster, self.namespace), None)

    def describe(self, found: Any) -> str:
        return "active"

    def is_owned(self, target: Target, found: Any) -> bool:
        return True

    def delete(self, target: Target, found: Any) -> None:
        from labkit.respond.findings import archive

        report = archive(target.aws.client("securityhub"), self.cluster, self.namespace)
        if report.failed:
            first = report.failed[0]
            raise StepError(
                f"{counted(len(report.failed), 'finding')} could not be archived; {first.code}: {first.message}",
                hint="Run this again: what is archived already stays so.",
            )


def parts(target: Target) -> list[Part]:
    settings = target.settings
    hub = (
        SharedPart(Hub.kind, settings.region, _shared_hub, "--findings") if settings.attendee else Hub(settings.region)
    )
    return [hub, Findings(settings.cluster, settings.scope)]


def _shared_hub(target: Target) -> str:
    return "enabled" if describe(target) else ""


_ALLOWED = ("Hub", "RoleThatTheServiceMakesWhenEnabled")
STEPS = [Step("security-hub", "Security Hub CSPM, without standards", (), parts, allowed=_ALLOWED)]
