"""What an attendee of a class finds of the steps that the instructor has applied for all: it can be looked at only.

Each row looks at what an attendee may read. Everything else about these steps, the instructor's own parts know.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from labkit.aws import answer_or_none, describe_log_group
from labkit.errors import StepError
from labkit.kube.objects import rollout_unmet
from labkit.provision.parts import Part
from labkit.provision.pod_identity import VARIABLE
from labkit.target import Target


@dataclass(frozen=True)
class SharedPart(Part):
    """Something of the instructor's. `look_at` says what is there of it in a word or two; empty if it isn't."""

    kind: str
    name: str
    look_at: Callable[[Target], str] = field(compare=False, repr=False)
    option: str = ""
    """The option of `labkit class up` that makes it, if a class may be without it."""
    service: ClassVar[str] = "AWS"

    def find(self, target: Target) -> Any:
        return self.look_at(target) or None

    def describe(self, found: Any) -> str:
        return str(found)

    def is_owned(self, target: Target, found: Any) -> bool:
        return False

    def lack(self, target: Target) -> str:
        if self.option:
            return f"this class was set up without it: `labkit class up {self.option}` makes it"
        return "the class isn't up, or not all of it: `labkit class up` makes what all share"

    def apply(self, target: Target, found: Any, *, owned: bool) -> str:
        if found is None and self.option:
            raise StepError(
                f"This class was set up without it: there is no {self.kind} {self.name}.",
                hint=f"Leave that chapter out, or ask the instructor for `labkit class up {self.option}`.",
            )
        if found is None:
            raise StepError(
                f"The class isn't up, or not all of it: there is no {self.kind} {self.name}.",
                hint="Ask the instructor: `labkit class up` makes what all share; `labkit class status` shows it.",
            )
        return "shared"

    def delete(self, target: Target, found: Any) -> None:
        raise StepError(
            f"The {self.kind} {self.name} is the class's.", hint="The instructor takes it away: `labkit class down`."
        )


def _daemonset(name: str, namespace: str) -> SharedPart:
    def look(target: Target) -> str:
        found = target.kube.get("DaemonSet", name, namespace)
        return "" if found is None else rollout_unmet(found) or "ready"

    return SharedPart("DaemonSet", f"{namespace}/{name}", look)


def _credentials(target: Target) -> str:
    """The variable by which Fluent Bit's pods find the credentials of their role."""
    names = ("AWS_ROLE_ARN", VARIABLE)
    namespace = target.settings.logging_namespace
    for pod in target.kube.list("Pod", namespace, labels="app.kubernetes.io/name=fluent-bit"):
        for container in pod["spec"]["containers"]:
            for variable in container.get("env", []):
                if variable["name"] in names:
                    return "in use"
    return ""


def _log_group(target: Target) -> str:
    found = describe_log_group(target.aws, target.settings.log_group)
    days = found and found.get("retentionInDays")
    return "" if found is None else f"keeps {days} days" if days else "keeps forever"


def _canary(target: Target) -> str:
    found = target.kube.get("Pod", "canary", target.settings.falco_namespace)
    return str(found.get("status", {}).get("phase", "Pending")) if found else ""


def _metric_filters(target: Target) -> str:
    logs, settings = target.aws.client("logs"), target.settings
    answer = answer_or_none(
        logs.describe_metric_filters, logGroupName=settings.log_group, filterNamePrefix=f"{settings.class_prefix}-"
    )
    names = {found["filterName"] for found in answer["metricFilters"]} if answer else set()
    return "there" if names else ""


_PARTS: Mapping[str, Callable[[Target], Sequence[SharedPart]]] = {
    "oidc-provider": lambda t: [SharedPart("identity provider", t.settings.cluster, _credentials)],
    "log-group": lambda t: [SharedPart("log group", t.settings.log_group, _log_group)],
    "fluent-bit-role": lambda t: [SharedPart("IAM role", t.settings.role_name, _credentials)],
    "fluent-bit": lambda t: [_daemonset("fluent-bit", t.settings.logging_namespace)],
    "canary": lambda t: [SharedPart("Pod", f"{t.settings.falco_namespace}/canary", _canary)],
    "falco": lambda t: [_daemonset("falco", t.settings.falco_namespace)],
    "metric-filters": lambda t: [SharedPart("metric filters", f"{t.settings.class_prefix}-*", _metric_filters)],
}


def shared_parts(target: Target, step: str) -> Sequence[SharedPart] | None:
    """An attendee's view of a step that the class shares; None if the step is the attendee's, or there is no class."""
    return _PARTS[step](target) if target.settings.attendee and step in _PARTS else None


def form_in_class(target: Target) -> str:
    """The form of a step's commands (`Step.form`) where an attendee's are others than those of somebody alone."""
    return ".class" if target.settings.attendee else ""
