"""EKS Pod Identity: the association of a service account with a role, and the agent that hands out its credentials."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from labkit.aws import NoClusterError, answer_or_none, refusal
from labkit.errors import LabError, StepError
from labkit.kube.access import Access, of, to_roll_out
from labkit.kube.objects import rollout_unmet
from labkit.kube.rollout import unwell, wait_rollout
from labkit.provision.parts import TAGS, AwsPart
from labkit.target import Target

AGENT = "eks-pod-identity-agent"
AGENT_NAMESPACE = "kube-system"
AUDIENCE = "pods.eks.amazonaws.com"
VARIABLE = "AWS_CONTAINER_CREDENTIALS_FULL_URI"
"""What EKS gives to pods of a service account with an association."""


def foreign_tokens(target: Target) -> str:
    """Why pods of a kubeconfig context get no role: it isn't the EKS cluster's. Empty if it is, or that is unknown."""
    settings = target.settings
    if not settings.context:
        return ""
    try:
        found = target.kube.request("GET", "/.well-known/openid-configuration")
    except LabError:
        return ""
    own = str(found.get("issuer", "")) if isinstance(found, dict) else ""
    try:
        known = str(target.cluster.get("identity", {}).get("oidc", {}).get("issuer", ""))
    except NoClusterError:
        known = ""
    if not own or own.rstrip("/") == known.rstrip("/"):
        return ""
    return (
        f"Context {settings.context} is not EKS cluster {settings.cluster} of this account: its tokens are from {own}, "
        "which AWS doesn't trust, so neither IRSA nor EKS Pod Identity gives its pods a role. Fluent Bit ships nothing "
        "from there; Falco, its rules and the application work."
    )


def associations(target: Target) -> Iterator[dict[str, Any]]:
    """The associations of the cluster: `namespace`, `serviceAccount`, `associationId`."""
    pages = target.aws.client("eks").get_paginator("list_pod_identity_associations")
    for page in pages.paginate(clusterName=target.settings.cluster):
        for one in page["associations"]:
            yield dict(one)


def association_of(target: Target, namespace: str, service_account: str) -> dict[str, Any] | None:
    """EKS's description of a service account's association, with `roleArn`; None if it has none."""
    eks, cluster = target.aws.client("eks"), target.settings.cluster
    found = answer_or_none(
        eks.list_pod_identity_associations,
        clusterName=cluster,
        namespace=namespace,
        serviceAccount=service_account,
    )
    if not found or not found["associations"]:
        return None
    id_ = found["associations"][0]["associationId"]
    answer = answer_or_none(eks.describe_pod_identity_association, clusterName=cluster, associationId=id_)
    return dict(answer["association"]) if answer else None


@dataclass(frozen=True)
class Association(AwsPart):
    """The association of a service account (`namespace/name`) with a role of this account."""

    name: str
    role: str
    kind: str = "Pod Identity association"

    def find(self, target: Target) -> Any:
        return association_of(target, *self.name.split("/"))

    def describe(self, found: Any) -> str:
        return f"role {found['roleArn'].rpartition('/')[2]}"

    def tags(self, target: Target, found: Any) -> Any:
        return found.get("tags", {})

    def matches(self, target: Target, found: Any) -> bool:
        # Without session tags, the role's trust policy can't tell one service account from another.
        return found["roleArn"] == self._role_arn(target) and not found.get("disableSessionTags")

    def create(self, target: Target) -> None:
        namespace, account = self.name.split("/")
        target.aws.client("eks").create_pod_identity_association(
            clusterName=target.settings.cluster,
            namespace=namespace,
            serviceAccount=account,
            roleArn=self._role_arn(target),
            tags=TAGS,
        )

    def apply(self, target: Target, found: Any, *, owned: bool) -> str:
        if found and not owned and not self.matches(target, found):
            raise StepError(
                f"Service account {self.name} has a Pod Identity association with {found['roleArn']}, which was there "
                "before the lab.",
                hint="Choose another namespace (LABKIT_LOGGING_NAMESPACE), or delete the association if nothing uses "
                f"it: `{removal(target, found)}`.",
            )
        return super().apply(target, found, owned=owned)

    def update(self, target: Target, found: Any) -> None:
        target.aws.client("eks").update_pod_identity_association(
            clusterName=target.settings.cluster,
            associationId=found["associationId"],
            roleArn=self._role_arn(target),
            disableSessionTags=False,
        )

    def delete(self, target: Target, found: Any) -> None:
        target.aws.client("eks").delete_pod_identity_association(
            clusterName=target.settings.cluster, associationId=found["associationId"]
        )

    def _role_arn(self, target: Target) -> str:
        return target.aws.arn("iam", f"role/{self.role}")


def removal(target: Target, found: Any) -> str:
    """The command that deletes an association."""
    return (
        f"aws eks delete-pod-identity-association --cluster-name {target.settings.cluster} "
        f"--association-id {found['associationId']}"
    )


class FormerAssociation(Association):
    """An association while IRSA is the setting. EKS prefers it to the role of the annotation, so it has to go."""

    unwanted = True

    def find(self, target: Target) -> Any:
        from botocore.exceptions import ClientError

        try:
            return super().find(target)
        except ClientError as error:
            if "AccessDenied" not in refusal(error)[0]:
                raise
            return None  # who uses IRSA need not be allowed to look

    def obstacle(self, target: Target, found: Any) -> str:
        return "EKS prefers it to the role of IRSA"

    def apply(self, target: Target, found: Any, *, owned: bool) -> str:
        if owned:
            self.delete(target, found)
            return "removed"
        raise StepError(
            f"Service account {self.name} has a Pod Identity association, which EKS prefers to the role of IRSA.",
            hint=f"Use it (LABKIT_IDENTITY=pod-identity), or delete it: `{removal(target, found)}`.",
        )


@dataclass(frozen=True)
class Agent(AwsPart):
    """The agent on every node: an add-on of EKS, or installed otherwise. EKS Auto Mode has it built in."""

    name: str = AGENT
    kind: str = "EKS add-on"

    def find(self, target: Target) -> Any:
        eks, cluster = target.aws.client("eks"), target.settings.cluster
        answer = answer_or_none(eks.describe_addon, clusterName=cluster, addonName=self.name)
        addon = dict(answer["addon"]) if answer else None
        workload = target.kube.get("DaemonSet", self.name, AGENT_NAMESPACE)
        if addon is None and workload is None:
            return {"built in": True} if _is_auto_mode(target) else None
        return {"addon": addon, "workload": workload}

    def describe(self, found: Any) -> str:
        if "built in" in found:
            return "part of EKS Auto Mode"
        if found["workload"] is None:
            return f"{found['addon']['status']}, without its DaemonSet"
        return rollout_unmet(found["workload"]) or "ready"

    def fault(self, target: Target, found: Any) -> str:
        if "built in" in found:
            return ""
        if found["workload"] is None:
            return f"DaemonSet {AGENT_NAMESPACE}/{self.name} is gone: {_install(target)} after deleting the add-on"
        return unwell(target.kube, found["workload"])

    def tags(self, target: Target, found: Any) -> Any:
        return (found.get("addon") or {}).get("tags", {})

    def access(self, target: Target) -> Iterator[Access]:
        yield from of("get list watch", ["daemonsets.apps"], AGENT_NAMESPACE)
        yield from to_roll_out("DaemonSet", AGENT_NAMESPACE)

    def create(self, target: Target) -> None:
        from botocore.exceptions import ClientError

        if why := foreign_tokens(target):
            raise StepError(
                why, hint="Set LABKIT_CONTEXT to the EKS cluster's, or to nothing; or leave Fluent Bit out."
            )
        try:
            target.aws.client("eks").create_addon(clusterName=target.settings.cluster, addonName=self.name, tags=TAGS)
        except ClientError as error:
            if "AccessDenied" not in refusal(error)[0]:
                raise
            raise StepError(
                f"The agent of EKS Pod Identity isn't on this cluster, and may not be installed: {refusal(error)[1]}",
                hint=f"Have it installed (`{_install(target)}`), or set LABKIT_IDENTITY=irsa.",
            ) from error
        self._wait(target)

    def apply(self, target: Target, found: Any, *, owned: bool) -> str:
        if found is None:
            self.create(target)
            return "created"
        if "built in" in found:
            return "unchanged"
        if found["workload"] is None:
            raise StepError(
                f"The add-on {self.name} is there, but its DaemonSet isn't.",
                hint=f"Install it again: `aws eks delete-addon --cluster-name {target.settings.cluster} --addon-name "
                f"{self.name}`, then `{_install(target)}`.",
            )
        self._wait(target)
        return "unchanged"

    def _wait(self, target: Target) -> None:
        def missing() -> str:
            found = target.kube.get("DaemonSet", self.name, AGENT_NAMESPACE)
            return "" if found else "EKS has not made its DaemonSet yet"

        timeout = target.settings.timeout
        path = target.kube.path("apps/v1", "DaemonSet", AGENT_NAMESPACE)
        target.kube.wait(missing, path, timeout=timeout, what=f"the add-on {self.name}")
        wait_rollout(target.kube, "DaemonSet", self.name, AGENT_NAMESPACE, timeout=timeout)

    def in_use(self, target: Target) -> str:
        others = [f"{one['namespace']}/{one['serviceAccount']}" for one in associations(target)]
        return f"it serves {', '.join(others)}" if others else ""

    def delete(self, target: Target, found: Any) -> None:
        target.aws.client("eks").delete_addon(clusterName=target.settings.cluster, addonName=self.name)
        if found["workload"] is not None:
            target.kube.wait_gone(found["workload"], timeout=target.settings.timeout)


def _is_auto_mode(target: Target) -> bool:
    return bool(target.cluster.get("computeConfig", {}).get("enabled"))


def _install(target: Target) -> str:
    return f"aws eks create-addon --cluster-name {target.settings.cluster} --addon-name {AGENT}"
