"""What a class consists of: the parts of one attendee, and those that all share."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from classroom.attendees import GROUP, LABEL, group_of, role_arn, role_name
from labkit.aws import answer_or_none
from labkit.errors import LabError, StepError
from labkit.kube import KubernetesError, Object
from labkit.kube.objects import in_order, load_objects
from labkit.provision.iam import Role, RolePolicy, policy
from labkit.provision.manifests import ManifestPart, manifest_parts
from labkit.provision.metric_filters import MetricFilter
from labkit.provision.parts import TAGS, AwsPart, Part
from labkit.provision.steps import Step
from labkit.provision.templates import template
from labkit.target import Target
from labkit.waiting import poll

SESSION_SECONDS = 43_200
"""The longest session of an attendee's role: 12 hours, which is as long as IAM allows."""
_KNOWN_SECONDS = 60.0  # the longest that IAM takes to make a role known to EKS
_POLICIES = {"attendee-permissions": "falco-workshop", "attendee-findings": "falco-workshop-findings"}


class AttendeeObject(ManifestPart):
    """An object of one attendee. The namespace is deleted with all in it, the attendee's own objects included."""

    def apply(self, target: Target, found: Any, *, owned: bool) -> str:
        if not owned and self.kind == "Namespace":
            raise StepError(
                f"Namespace {self.name} is there already and isn't the class's.",
                hint="Give the attendee another name (`--names`), or delete the namespace if nothing uses it.",
            )
        return super().apply(target, found, owned=True)

    def in_use(self, target: Target) -> str:
        return ""


@dataclass(frozen=True)
class AttendeeRole(Role):
    """An attendee's role, for sessions of up to 12 hours. `principals` are the ARNs that may assume it."""

    principals: tuple[str, ...] = ()

    def _trust(self, target: Target) -> dict[str, Any]:
        document = template(target, "iam/attendee-trust", principal=self.principals[0])
        document["Statement"][0]["Principal"]["AWS"] = list(self.principals)
        return dict(document)

    def matches(self, target: Target, found: Any) -> bool:
        document = found["AssumeRolePolicyDocument"]
        there = json.loads(document) if isinstance(document, str) else document
        return bool(_sorted_principals(there) == _sorted_principals(self._trust(target)))

    def create(self, target: Target) -> None:
        target.aws.client("iam").create_role(
            RoleName=self.name,
            AssumeRolePolicyDocument=json.dumps(self._trust(target)),
            Description=self.description,
            MaxSessionDuration=SESSION_SECONDS,
            Tags=[{"Key": key, "Value": value} for key, value in TAGS.items()],
        )

    def update(self, target: Target, found: Any) -> None:
        target.aws.client("iam").update_assume_role_policy(
            RoleName=self.name, PolicyDocument=json.dumps(self._trust(target))
        )


def _sorted_principals(document: dict[str, Any]) -> Any:
    """The document with its principals as a sorted list: IAM returns one as a text, and several in any order."""
    document = json.loads(json.dumps(document))
    for statement in document["Statement"]:
        named = statement["Principal"].get("AWS", [])
        statement["Principal"]["AWS"] = sorted([named] if isinstance(named, str) else named)
    return document


@dataclass(frozen=True)
class AccessEntry(AwsPart):
    """A role's way into the cluster, as a member of Kubernetes groups."""

    cluster: str
    name: str
    """ARN of the role."""
    groups: tuple[str, ...]
    kind: str = "access entry"

    def find(self, target: Target) -> Any:
        describe = target.aws.client("eks").describe_access_entry
        answer = answer_or_none(describe, clusterName=self.cluster, principalArn=self.name)
        return answer and answer["accessEntry"]

    def tags(self, target: Target, found: Any) -> Any:
        return found.get("tags", {})

    def matches(self, target: Target, found: Any) -> bool:
        return sorted(found["kubernetesGroups"]) == sorted(self.groups)

    def create(self, target: Target) -> None:
        eks = target.aws.client("eks")

        def create() -> bool | None:
            try:
                eks.create_access_entry(
                    clusterName=self.cluster, principalArn=self.name, kubernetesGroups=list(self.groups), tags=TAGS
                )
            except eks.exceptions.InvalidParameterException as error:
                if "invalid principal" not in str(error):
                    raise
                return None  # IAM has just made the role, and EKS doesn't know it yet
            except eks.exceptions.ResourceInUseException:
                pass  # made meanwhile, by a request whose answer got lost
            return True

        if poll(create, f"EKS to know the role {self.name}", _KNOWN_SECONDS) is None:
            raise StepError(
                f"EKS doesn't know the role {self.name} {_KNOWN_SECONDS:g} s after it was made.",
                hint="Wait a minute and run this again.",
            )

    def update(self, target: Target, found: Any) -> None:
        target.aws.client("eks").update_access_entry(
            clusterName=self.cluster, principalArn=self.name, kubernetesGroups=list(self.groups)
        )

    def delete(self, target: Target, found: Any) -> None:
        delete = target.aws.client("eks").delete_access_entry
        answer_or_none(delete, clusterName=self.cluster, principalArn=self.name)


def of_attendee(target: Target, instructor: Target, principals: Sequence[str], *, findings: bool) -> list[Part]:
    """The parts of one attendee, in the order in which they are made; `target` has the attendee's settings."""
    name, settings = target.settings.attendee, instructor.settings
    role = role_name(settings, name)
    objects = load_objects([settings.root / "manifests" / "class" / "attendee.yaml"])
    policies = list(_POLICIES)[: 2 if findings else 1]
    return [
        *(AttendeeObject(_named(item, target)) for item in in_order(objects)),
        AttendeeRole(role, description=f"Attendee {name} of the Falco workshop", principals=tuple(principals)),
        *(RolePolicy(role, _POLICIES[file], partial(policy, file)) for file in policies),
        AccessEntry(settings.cluster, role_arn(instructor, name), (GROUP, group_of(name))),
    ]


def _named(item: Object, target: Target) -> Object:
    """An object of attendee.yaml with the attendee's namespace, label and group."""
    settings, meta = target.settings, item["metadata"]
    if item["kind"] == "Namespace":
        meta["name"] = settings.app_namespace
        meta["labels"][LABEL] = settings.attendee
    else:
        meta["namespace"] = settings.app_namespace
    for subject in item.get("subjects", ()):
        subject["name"] = group_of(settings.attendee)
    return item


def apply(part: Part, target: Target) -> str:
    """Makes a part match: `created`, `updated`, `unchanged`, or `lacked` by a cluster that doesn't have its kind."""
    found = part.wait_deleted(target, part.find(target))
    try:
        return part.apply(target, found, owned=found is None or part.is_owned(target, found))
    except KubernetesError as error:
        if error.status != 501:
            raise
        return "lacked"


@dataclass(frozen=True)
class ClassStep(Step):
    """A step that only a class has. `manifests/class/` is what it applies; it has no commands of its own to show."""

    def cli(self, target: Target) -> str:
        return ""

    def undo_cli(self, target: Target) -> str:
        return ""


def _access_parts(target: Target) -> list[Part]:
    return [*manifest_parts(target, "class/cluster.yaml")]


def _filter_parts(target: Target) -> list[Part]:
    return [MetricFilter(request) for request in template(target, "class/metric-filters")]


ACCESS = ClassStep("class-access", "What all attendees may see of the cluster", ("falco", "fluent-bit"), _access_parts)
FILTERS = ClassStep("class-metric-filters", "Alerts counted by namespace", ("log-group",), _filter_parts)
SHARED: tuple[str, ...] = ("log-group", "fluent-bit-role", "fluent-bit", "canary", "falco")
"""The workshop's steps that the instructor applies for all."""
FINDINGS: tuple[str, ...] = ("security-hub", "findings-forwarder")
"""Those that are applied for a class with findings (`--findings`)."""


def principal(target: Target) -> str:
    """The ARN that stands for the caller in a trust policy: of a session, that of its role. Raises `LabError`."""
    identity = target.aws.identity
    arn, role = identity.arn, identity.role
    if not role:
        if ":user/" in arn or arn.endswith(":root"):
            return arn
        raise LabError(f"{arn} can't be named in a trust policy.", hint="Say who may assume the roles: `--trust ARN`.")
    # A role of IAM Identity Center has a path, which the session's ARN doesn't show.
    answer = answer_or_none(target.aws.client("iam").get_role, RoleName=role)
    if answer is None:
        raise LabError(f"IAM has no role {role}.", hint="Say who may assume the attendees' roles: `--trust ARN`.")
    return str(answer["Role"]["Arn"])
