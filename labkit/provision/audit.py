"""Finds what is left of the workshop in AWS, Kubernetes and Helm: by ledger, by tag and label, and by name."""

from __future__ import annotations

import re
import shlex
from contextlib import suppress
from dataclasses import dataclass
from textwrap import indent

from labkit.aws import NoClusterError, translated_errors
from labkit.kube.objects import LAB_LABELS
from labkit.provision.manifests import ManifestPart
from labkit.provision.parts import Part, is_tagged
from labkit.provision.shared import SharedPart
from labkit.provision.steps import STEPS, Step
from labkit.show import AsTable, Cli, Table
from labkit.target import Target

_TEARDOWN = Cli("labkit teardown")

# Kinds of objects that may have the lab's label.
_LABELLED = (
    ("v1", "Namespace"),
    ("v1", "ServiceAccount"),
    ("v1", "ConfigMap"),
    ("v1", "Service"),
    ("v1", "Secret"),  # a Helm release is one for each revision
    ("v1", "Pod"),
    ("apps/v1", "DaemonSet"),
    ("apps/v1", "Deployment"),
)


# Those of them that an attendee of a class makes, in the own namespace.
_OWN = tuple(row for row in _LABELLED if row[1] in ("ConfigMap", "Service", "Pod", "Deployment"))


# Found by the prefix of their names: service, operation, parameter for the prefix (SNS has none), path of the names.
_NAMED = (
    ("alarm", "cloudwatch", "describe_alarms", "AlarmNamePrefix", "MetricAlarms[].AlarmName"),
    ("dashboard", "cloudwatch", "list_dashboards", "DashboardNamePrefix", "DashboardEntries[].DashboardName"),
    ("SNS topic", "sns", "list_topics", "", "Topics[].TopicArn"),
    ("SQS queue", "sqs", "list_queues", "QueueNamePrefix", "QueueUrls[]"),
    ("Lambda function", "lambda", "list_functions", "", "Functions[].FunctionName"),
)


# What removes a thing that isn't a Kubernetes object by hand, by its kind.
_COMMANDS = {
    "alarm": "aws cloudwatch delete-alarms --alarm-names {name}",
    "dashboard": "aws cloudwatch delete-dashboards --dashboard-names {name}",
    "SNS topic": "aws sns delete-topic --topic-arn {arn}",
    "SQS queue": 'aws sqs delete-queue --queue-url "$(aws sqs get-queue-url --queue-name {name} --output text)"',
    "Lambda function": "aws lambda delete-function --function-name {name}",
    "event invoke config": "aws lambda delete-function-event-invoke-config --function-name {name}",
    "permission": "aws lambda remove-permission --function-name {FunctionName} --statement-id {name}",
    "log group": "aws logs delete-log-group --log-group-name {name}",
    "metric filter": "aws logs delete-metric-filter --log-group-name {logGroupName} --filter-name {name}",
    "subscription filter": "aws logs delete-subscription-filter --log-group-name {logGroupName} --filter-name {name}",
    "IAM role": "aws iam delete-role --role-name {name}",
    "inline policy": "aws iam delete-role-policy --role-name {role} --policy-name {name}",
    "OIDC provider": "aws iam delete-open-id-connect-provider --open-id-connect-provider-arn {arn}",
    "Pod Identity association": "aws eks delete-pod-identity-association --cluster-name {cluster} --association-id "
    '"$(aws eks list-pod-identity-associations --cluster-name {cluster} --namespace {namespace} '
    '--service-account {bare} --query associations[0].associationId --output text)"',
    "EKS add-on": "aws eks delete-addon --cluster-name {cluster} --addon-name {name}",
    "Helm release": "helm uninstall {name} --namespace {namespace} --wait --ignore-not-found",
}


@dataclass(frozen=True)
class Left:
    """Something of the workshop that is still there."""

    kind: str
    name: str
    why: str
    """Why it counts: `made by step ...`, `has the workshop's name`, `carries the workshop's tag`."""
    cli: Cli
    """The command that removes it."""


@dataclass(frozen=True, repr=False)
class Audit(AsTable):
    """What is left. `clean` if nothing is; `cli` are the commands that remove it."""

    left: tuple[Left, ...]

    @property
    def clean(self) -> bool:
        return not self.left

    @property
    def cli(self) -> Cli:
        """What removes all of it: the teardown for what it takes, and a command for each other thing."""
        others = [item.cli for item in reversed(self.left) if item.cli != _TEARDOWN]
        return Cli("\n".join(dict.fromkeys([*(item.cli for item in self.left if item.cli == _TEARDOWN), *others])))

    def __repr__(self) -> str:
        return super().__repr__() + ("" if self.clean else f"\nThis removes it:\n{indent(self.cli, '  ')}")

    def _repr_html_(self) -> str:
        return super()._repr_html_() + ("" if self.clean else f"This removes it:{self.cli._repr_html_()}")

    def _table(self) -> Table:
        rows = tuple((item.kind, item.name, item.why) for item in self.left)
        return Table("Left behind" if rows else "Nothing is left", ("kind", "name", "why"), rows)


def audit(target: Target) -> Audit:
    """Finds the parts of all steps, and anything else with the workshop's tag, label or prefix.

    What the ledger says was there before the lab is not counted. Raises `TargetError` if something can't be asked.
    """
    left: dict[tuple[str, str], Left] = {}
    found_before: set[tuple[str, str]] = set()
    with translated_errors(target.aws.hint):
        for step in STEPS:
            try:
                parts = [part for part in step.parts(target) if not isinstance(part, SharedPart)]
            except NoClusterError:
                # The OIDC provider is named after the cluster; without one it is found by its tag, below.
                continue
            for part in parts:
                record = target.ledger.find(step.name, part.kind, part.name)
                key = (part.kind, part.name)
                if record is not None and not record.made:
                    found_before.add(key)
                    continue
                try:
                    found, state = part.look(target)
                except NoClusterError:
                    continue  # gone with its cluster
                if state and key not in left:
                    owned = record is not None or part.is_owned(target, found)
                    why = f"made by step {step.name}" if owned else "has the workshop's name"
                    cli = _TEARDOWN if owned else _removal(target, *key, part, step)
                    left[key] = Left(*key, why, cli)
        for kind, name in _tagged(target):
            left.setdefault((kind, name), Left(kind, name, "carries the workshop's tag", _removal(target, kind, name)))
        for kind, name in _named(target):
            left.setdefault((kind, name), Left(kind, name, "has the workshop's name", _removal(target, kind, name)))
    return Audit(tuple(item for key, item in left.items() if key not in found_before))


def _removal(target: Target, kind: str, name: str, part: Part | None = None, step: Step | None = None) -> Cli:
    """The command that removes a thing; where its kind has none of its own, those that undo the step."""
    namespace, _, bare = name.rpartition("/")
    if kind == "Secret" and (revision := re.fullmatch(r"sh\.helm\.release\.v1\.(.+)\.v\d+", bare)):
        return Cli(_COMMANDS["Helm release"].format(name=revision[1], namespace=namespace))
    if template := _COMMANDS.get(kind):
        arn = target.aws.arn("iam", f"oidc-provider/{name}") if kind == "OIDC provider" else target.aws.arn("sns", name)
        request = getattr(part, "request", {})
        names = {
            **request,
            "name": name,
            "arn": arn,
            "role": getattr(part, "role", ""),
            "namespace": getattr(part, "namespace", namespace),
            "bare": bare,
            "cluster": target.settings.cluster,
        }
        return Cli(template.format_map({key: shlex.quote(str(value)) for key, value in names.items()}))
    if step is not None and not isinstance(part, ManifestPart):
        return Cli(step.undo_cli(target))
    return Cli(f"kubectl delete {kind.lower()} {bare}{f' -n {namespace}' if namespace else ''}")


def _tagged(target: Target) -> list[tuple[str, str]]:
    labels = ",".join(f"{key}={value}" for key, value in LAB_LABELS.items())
    found = []
    scope = target.settings.scope
    with suppress(NoClusterError):
        for api_version, kind in _LABELLED if not scope else _OWN:
            for item in target.kube.list(kind, scope, api_version=api_version, labels=labels):
                meta = item["metadata"]
                name = f"{meta['namespace']}/{meta['name']}" if "namespace" in meta else meta["name"]
                found.append((kind, name))
    if scope:
        return found
    iam = target.aws.client("iam")
    for provider in iam.list_open_id_connect_providers()["OpenIDConnectProviderList"]:
        arn = provider["Arn"]
        tags = iam.list_open_id_connect_provider_tags(OpenIDConnectProviderArn=arn)["Tags"]
        if is_tagged(tags):
            found.append(("OIDC provider", arn.partition(":oidc-provider/")[2]))
    return found


def _named(target: Target) -> list[tuple[str, str]]:
    prefix = f"{target.settings.prefix}-"
    found = []
    for kind, service, operation, parameter, path in _NAMED:
        if target.settings.attendee and service == "lambda":
            continue  # the class's function is the instructor's, and an attendee can make none
        pages = (
            target.aws.client(service).get_paginator(operation).paginate(**({parameter: prefix} if parameter else {}))
        )
        names = (re.split("[:/]", str(name))[-1] for name in pages.search(path) if name)
        found += [(kind, name) for name in names if name.startswith(prefix)]
    return found
