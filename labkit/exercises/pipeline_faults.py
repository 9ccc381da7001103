"""Faults of the log pipeline, for chapter 01's exercise: each breaks one link, without a word about which."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from labkit.errors import LabError
from labkit.exercises.feedback import Feedback
from labkit.exercises.fluent_bit_role import can_ship
from labkit.kube.rollout import pods_of
from labkit.provision.iam import (
    POLICY_NAME,
    ROLE_ANNOTATION,
    SERVICE_ACCOUNT,
    by_pod_identity,
    fluent_bit_trust,
    policy,
)
from labkit.provision.manifests import ManifestPart, manifest_parts
from labkit.provision.pod_identity import Association, association_of
from labkit.provision.steps import STEPS
from labkit.target import Target
from labkit.waiting import poll


@dataclass(frozen=True)
class Fault:
    """One broken link."""

    link: str
    """Its name, as chapter 01 lists them."""
    make: Callable[[Target], None]
    there: Callable[[Target], bool]
    """Whether the link is still broken."""
    what: str
    """What was wrong, for those who have found the link."""
    found: str
    """What was seen where it was broken: for attendees of a class, who share a pipeline and can't break it."""


_made: list[Fault] = []


def break_a_link(target: Target) -> Feedback:
    """Breaks a link of the pipeline, after repairing all; returns when that has taken effect.

    It is the same one in each new Python process; called again, it is another one. For an attendee of a class, whose
    pipeline is shared, nothing is broken: the case describes another pipeline.
    """
    if target.settings.attendee:
        case = FAULTS[len(_made) % len(FAULTS)]
        _made.append(case)
        said = f"The class shares this pipeline, and it works. In another one a canary got stuck. {case.found}"
        return Feedback("your turn", "Elsewhere, a link is broken. Which one?", said)
    for step in STEPS.with_needs(["fluent-bit"]):
        step.apply(target)
    fault = FAULTS[len(_made) % len(FAULTS)]
    fault.make(target)
    _wait_until(target, lambda: fault.there(target))
    _made.append(fault)
    return Feedback("your turn", "A link of the pipeline is broken.", "Send a new canary, and find out which one.")


def present() -> Fault | None:
    """The link that was broken last; None if none was."""
    return _made[-1] if _made else None


def _narrow_permissions(target: Target) -> None:
    document = policy("fluent-bit-permissions", target)
    document["Statement"][0]["Action"] = ["logs:CreateLogStream"]
    target.aws.client("iam").put_role_policy(
        RoleName=target.settings.role_name, PolicyName=POLICY_NAME, PolicyDocument=json.dumps(document)
    )


def _trust_another_account(target: Target) -> None:
    trust = fluent_bit_trust(target)
    (condition,) = (statement["Condition"]["StringEquals"] for statement in trust["Statement"])
    (subject,) = (key for key in condition if key.endswith((":sub", "/kubernetes-namespace")))
    condition[subject] = (
        "kube-system" if by_pod_identity(target) else f"system:serviceaccount:kube-system:{SERVICE_ACCOUNT}"
    )
    target.aws.client("iam").update_assume_role_policy(
        RoleName=target.settings.role_name, PolicyDocument=json.dumps(trust)
    )
    _wait_until(target, lambda: not can_ship(target))
    _replace_pods(target)  # the old ones have credentials for an hour


def _look_elsewhere(target: Target) -> None:
    part = _part(target, "ConfigMap")
    for name, text in part.item["data"].items():
        watched = f"*_{target.settings.falco_namespace}_falco-*.log"
        part.item["data"][name] = text.replace(watched, "*_falco-system_falco-*.log")
    part.apply(target, part.find(target), owned=True)
    _replace_pods(target)


def _take_the_role(target: Target) -> None:
    """From the service account: its annotation, or with EKS Pod Identity its association."""
    if by_pod_identity(target):
        part = Association(f"{target.settings.logging_namespace}/{SERVICE_ACCOUNT}", target.settings.role_name)
        part.delete(target, part.find(target))
        _replace_pods(target)
        return
    target.kube.core.patch_namespaced_service_account(
        SERVICE_ACCOUNT, target.settings.logging_namespace, {"metadata": {"annotations": {ROLE_ANNOTATION: None}}}
    )
    _replace_pods(target)


def _choose_other_nodes(target: Target) -> None:
    part = _part(target, "DaemonSet")
    part.item["spec"]["template"]["spec"]["nodeSelector"]["kubernetes.io/os"] = "freebsd"
    part.apply(target, part.find(target), owned=True)


def _watches_falco(target: Target) -> bool:
    found = target.kube.find(_part(target, "ConfigMap").item) or {}
    return f"_{target.settings.falco_namespace}_falco-" in str(found.get("data"))


def _has_role(target: Target) -> bool:
    if by_pod_identity(target):
        return association_of(target, target.settings.logging_namespace, SERVICE_ACCOUNT) is not None
    account = target.kube.get("ServiceAccount", SERVICE_ACCOUNT, target.settings.logging_namespace) or {"metadata": {}}
    return ROLE_ANNOTATION in (account["metadata"].get("annotations") or {})


FAULTS = (
    Fault(
        "permissions",
        _narrow_permissions,
        lambda target: not can_ship(target),
        "The role's policy had lost `logs:PutLogEvents`. Fluent Bit got credentials, and CloudWatch Logs refused its "
        "lines; it kept them and tried again and again.",
        "Fluent Bit was running on every node. Its log said: `PutLogEvents API responded with "
        "error='AccessDeniedException', message='User: arn:aws:sts::111122223333:assumed-role/falco-workshop-"
        "fluent-bit/fluent-bit is not authorized to perform: logs:PutLogEvents'`.",
    ),
    Fault(
        "configuration",
        _look_elsewhere,
        lambda target: not _watches_falco(target),
        "Fluent Bit looked for logs of a namespace `falco-system`. Nothing failed, and so nothing was in its log: it "
        "did what it was told.",
        "Fluent Bit was running on every node, with credentials, and its log had no error. The canary's line "
        "was in the file `canary_falco_falco-....log`; the input `tail` had the path "
        "`/var/log/containers/*_falco-system_falco-*.log`.",
    ),
    Fault(
        "trust policy",
        _trust_another_account,
        lambda target: not can_ship(target),
        "The role trusted a service account in `kube-system`. STS refused the token of the one in "
        "`logging`, and Fluent Bit had no credentials.",
        "Fluent Bit was running on every node. Its log said: `STS assume role request failed`; its service "
        "account had the annotation with the role's ARN, and the pods had a token.",
    ),
    Fault(
        "service account",
        _take_the_role,
        lambda target: not _has_role(target),
        "The service account had lost its annotation (with EKS Pod Identity: its association). EKS gives a role to a "
        "pod when the pod is made, so the annotation alone mended nothing: the pods had to be made anew.",
        "Fluent Bit was running on every node, and its log said: `'region' is a required field`. The pods had"
        " neither the variable AWS_ROLE_ARN nor a token.",
    ),
    Fault(
        "daemonset",
        _choose_other_nodes,
        lambda target: not _pods(target),
        "The DaemonSet asked for nodes with FreeBSD. There are none, so it had no pods, and no errors.",
        "Fluent Bit's log couldn't be read: `kubectl -n logging get pods` listed nothing, and `kubectl -n "
        "logging get daemonset` had 0 in each column.",
    ),
)


def _part(target: Target, kind: str) -> ManifestPart:
    (part,) = manifest_parts(target, "fluent-bit", kinds=(kind,))
    return ManifestPart(copy.deepcopy(part.item))


def _pods(target: Target) -> list[Any]:
    return list(pods_of(target.kube, _part(target, "DaemonSet").item))


def _replace_pods(target: Target) -> None:
    """New pods on all nodes at once; a rollout would stop at the first that isn't ready and leave the others."""
    target.kube.delete({"apiVersion": "v1", "kind": "Pod", **pod} for pod in _pods(target))


def _wait_until(target: Target, done: Callable[[], bool]) -> None:
    """Waits for what AWS or the cluster does a while after it was asked."""
    if poll(lambda: done() or None, "the change to take effect", target.settings.timeout) is None:
        raise LabError("The change didn't take effect.", hint="Run the cell again.")
