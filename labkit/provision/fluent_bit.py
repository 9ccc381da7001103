"""Step `fluent-bit`: Fluent Bit on every node, which ships Falco's container logs to CloudWatch Logs."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from labkit.errors import StepError
from labkit.kube import Object
from labkit.kube.rollout import pods_of
from labkit.provision.iam import ROLE_ANNOTATION, SERVICE_ACCOUNT, Role, by_pod_identity, role_arn
from labkit.provision.manifests import ManifestPart, Workload, manifest_parts, settled_text
from labkit.provision.parts import Part
from labkit.provision.pod_identity import VARIABLE, association_of
from labkit.provision.steps import STEPS as ALL_STEPS
from labkit.provision.steps import Step
from labkit.target import Target

NAME = "fluent-bit"
CHECKSUM = "checksum/config"


@dataclass(frozen=True)
class Shipper(Workload):
    """The DaemonSet. Applied means: every pod is ready, runs with the present configuration and has the role."""

    def apply(self, target: Target, found: Any, *, owned: bool) -> str:
        namespace = self.item["metadata"]["namespace"]
        self._need_role(target, namespace)
        replaced = not found or _checksum(found) != _checksum(self.item)  # another template: the rollout makes new pods
        action = ManifestPart.apply(self, target, found, owned=owned)  # pods may have to be replaced to be ready
        if not replaced and self._stale(target, namespace):
            target.kube.restart("DaemonSet", NAME, namespace)
            action = "updated"
        self.roll_out(target)
        return action

    def _need_role(self, target: Target, namespace: str) -> None:
        """Gives the service account its role back if it lost it; without one, EKS gives the pods no region either."""
        if _role_of_account(target, namespace):
            return
        role_step = ALL_STEPS["fluent-bit-role"]
        if not Role(target.settings.role_name).state(target):
            raise StepError(
                f"Service account {namespace}/{SERVICE_ACCOUNT} has no role.", hint=f'lab.apply("{role_step.name}")'
            )
        role_step.apply(target)

    def _stale(self, target: Target, namespace: str) -> bool:
        """Whether a pod was made before its service account had the role, or before its configuration changed."""
        config = target.kube.get("ConfigMap", NAME, namespace) or {"metadata": {}}
        changed = max((entry.get("time", "") for entry in config["metadata"].get("managedFields", [])), default="")
        for pod in pods_of(target.kube, self.item):
            if not _has_role(target, pod) or pod["metadata"]["creationTimestamp"] < changed:
                return True
        return False

    def fault(self, target: Target, found: Any) -> str:
        """Besides what keeps pods from being ready: that they are from before their service account had its role."""
        if fault := super().fault(target, found):
            return fault
        namespace = self.item["metadata"]["namespace"]
        if not _role_of_account(target, namespace):
            return ""
        without = [pod["metadata"]["name"] for pod in pods_of(target.kube, self.item) if not _has_role(target, pod)]
        if not without:
            return ""
        return (
            f"{', '.join(without)}: made before service account {namespace}/{SERVICE_ACCOUNT} had its role, so Fluent "
            'Bit has no credentials, or its node\'s; lab.apply("fluent-bit") replaces them'
        )


def _checksum(workload: Object) -> str:
    annotations = workload["spec"]["template"]["metadata"].get("annotations") or {}
    return str(annotations.get(CHECKSUM, ""))


def _has_role(target: Target, pod: Object) -> bool:
    """Whether EKS gave the pod the role, in the way that is set, when it was made. Pod Identity goes before IRSA."""
    if by_pod_identity(target):
        return bool(_env(pod, VARIABLE))
    return _env(pod, "AWS_ROLE_ARN") == role_arn(target) and not _env(pod, VARIABLE)


def _role_of_account(target: Target, namespace: str) -> str:
    """The ARN of the role that the service account has; empty if it has none."""
    if by_pod_identity(target):
        return str((association_of(target, namespace, SERVICE_ACCOUNT) or {}).get("roleArn", ""))
    account = target.kube.get("ServiceAccount", SERVICE_ACCOUNT, namespace) or {"metadata": {}}
    return str((account["metadata"].get("annotations") or {}).get(ROLE_ANNOTATION, ""))


def _env(pod: Object, name: str) -> str:
    for container in pod["spec"]["containers"]:
        for variable in container.get("env", []):
            if variable["name"] == name:
                return str(variable.get("value", ""))
    return ""


def _parts(target: Target) -> list[Part]:
    parts = manifest_parts(target, "fluent-bit")
    text = (target.settings.root / "manifests" / "fluent-bit" / "20-configmap.yaml").read_text(encoding="utf-8")
    for part in parts:
        if part.kind == "DaemonSet":
            annotations = part.item["spec"]["template"]["metadata"].setdefault("annotations", {})
            annotations[CHECKSUM] = hashlib.sha256(settled_text(text, target).encode()).hexdigest()
    return [
        Shipper(part.item) if part.kind == "DaemonSet" else part
        for part in parts
        if part.kind not in ("Namespace", "ServiceAccount")  # these belong to the step `fluent-bit-role`
    ]


STEPS = [Step("fluent-bit", "Fluent Bit on every node", ("fluent-bit-role",), _parts)]
