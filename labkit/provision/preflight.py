"""Checks before provisioning: tools, identity, region, cluster, nodes and permissions."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from labkit.aws import translated_errors
from labkit.errors import LabError
from labkit.kube import KubernetesError, Object
from labkit.kube.objects import is_ready
from labkit.provision.falco import RELEASE, foreign, is_workshops
from labkit.show import AsTable, Table
from labkit.target import Target

MINIMUM_KERNEL = (5, 8)
"""What Falco's modern eBPF probe needs."""

# What the steps do to the cluster: verb, API group, resource, subresource.
_NEEDED = (
    ("create", "", "namespaces", ""),
    ("create", "apps", "daemonsets", ""),
    ("create", "apps", "deployments", ""),
    ("create", "", "configmaps", ""),
    ("create", "", "serviceaccounts", ""),
    ("create", "", "pods", "exec"),
    ("get", "", "pods", "log"),
    ("create", "rbac.authorization.k8s.io", "clusterroles", ""),
)


@dataclass(frozen=True)
class Check:
    """One check. `result` is `ok`, `warning` or `failed`."""

    what: str
    result: str
    found: str
    hint: str = ""


@dataclass(frozen=True, repr=False)
class Preflight(AsTable):
    """All checks. `passed` if none failed; `failures` says what to do about those that did."""

    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        return all(check.result != "failed" for check in self.checks)

    @property
    def failures(self) -> str:
        return "\n".join(f"{c.what}: {c.found}\n  What to do: {c.hint}" for c in self.checks if c.result == "failed")

    def _table(self) -> Table:
        rows = tuple((c.what, c.result, c.found, c.hint) for c in self.checks)
        return Table("Ready" if self.passed else "Not ready", ("check", "result", "found", "what to do"), rows)


def preflight(target: Target) -> Preflight:
    """Runs every check; one that can't be made counts as failed and says why."""
    checks: list[Check] = []
    for make in CHECKS:
        try:
            with translated_errors(target.aws.hint):
                checks += make(target)
        except LabError as error:
            checks.append(Check(make.__name__.strip("_"), "failed", error.message, error.hint))
    return Preflight(tuple(checks))


def _check(what: str, found: str, hint: str = "", result: str = "failed") -> Check:
    """A check with its `result` if there is something to do, and else `ok`."""
    return Check(what, result if hint else "ok", found, hint)


def _helm(target: Target) -> Iterator[Check]:
    version = target.helm.version()
    yield _check("helm", version, "" if re.match(r"v([3-9]|\d\d)\.", version) else "Install Helm 3 or later.")


def _identity(target: Target) -> Iterator[Check]:
    arn = target.aws.identity.arn
    hint = "This is the account's root user: use a role or a user instead." if arn.endswith(":root") else ""
    yield _check("identity", arn, hint, "warning")


def _cluster(target: Target) -> Iterator[Check]:
    cluster, region = target.cluster, target.settings.region
    status, issuer = cluster["status"], cluster.get("identity", {}).get("oidc", {}).get("issuer", "")
    hint = "" if status == "ACTIVE" else "Wait until the cluster is ACTIVE."
    yield _check("cluster", f"{cluster['name']} in {region} is {status}", hint)
    yield _support(target, cluster["version"])
    yield _check("OIDC issuer", issuer or "none", "" if issuer else "EKS clusters have one.")


def _support(target: Target, version: str) -> Check:
    """Support ends on a date that EKS knows best, so EKS is asked instead of a list in here."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        found = target.aws.client("eks").describe_cluster_versions(clusterVersions=[version])["clusterVersions"]
    except (ClientError, BotoCoreError):
        return _check("version", f"{version} (EKS did not say how long it is supported)")
    status = str(found[0].get("versionStatus") or found[0].get("status", "")).lower() if found else "unknown"
    if "standard" in status:
        return _check("version", f"{version}, in standard support")
    hint = "Upgrade the cluster; extended support costs more."
    return _check("version", f"{version}, {status.replace('_', ' ')}", hint, "warning")


def _nodes(target: Target) -> Iterator[Check]:
    nodes = target.kube.list("Node")
    if not nodes:
        yield _check("nodes", "none", "Add a node group of EC2 instances (manifests/eks/cluster.yaml).")
        return
    fargate = [n for n in nodes if n["metadata"].get("labels", {}).get("eks.amazonaws.com/compute-type") == "fargate"]
    usable = [n for n in nodes if n not in fargate and _info(n, "operatingSystem") == "linux"]
    unready, unseen = [n["metadata"]["name"] for n in usable if not is_ready(n)], len(nodes) - len(usable)
    if not usable:
        hint = "Falco needs Linux nodes on EC2: it can't see into Fargate or Windows. Add a node group."
        yield _check("nodes", f"{len(nodes)}, none of them Linux on EC2", hint)
        return
    if unready:
        yield _check("nodes", f"not ready: {', '.join(unready)}", "`kubectl describe node` says why.")
    elif unseen:
        hint = f"Falco can't run on {unseen} (Fargate or Windows)."
        yield _check("nodes", f"{len(usable)} usable", hint, "warning")
    else:
        yield _check("nodes", f"{len(nodes)} ready, {', '.join(_infos(nodes, 'osImage'))}")
    kernels = _infos(usable, "kernelVersion")
    old = [kernel for kernel in kernels if _kernel(kernel) < MINIMUM_KERNEL]
    hint = "Falco's modern eBPF probe needs 5.8 or later: use AL2023 or Bottlerocket." if old else ""
    yield _check("kernel", ", ".join(old or kernels), hint)
    runtimes = _infos(usable, "containerRuntimeVersion")
    other = [name for name in runtimes if not name.startswith("containerd://")]
    hint = "Fluent Bit is set up for containerd's log format." if other else ""
    yield _check("container runtime", ", ".join(runtimes), hint, "warning")


def _permissions(target: Target) -> Iterator[Check]:
    denied = []
    for verb, group, resource, subresource in _NEEDED:
        attributes = {"verb": verb, "group": group, "resource": resource, "subresource": subresource}
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": {**attributes, "namespace": target.settings.falco_namespace}},
        }
        path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
        try:
            allowed = target.kube.request("POST", path, body=review)["status"].get("allowed", False)
        except KubernetesError as error:
            yield Check("in the cluster", "warning", f"can't be checked: {error.message}")
            break
        if not allowed:
            denied.append(f"{verb} {resource}{f'/{subresource}' if subresource else ''}")
    else:
        hint = "Ask for cluster-admin for the workshop, or use another cluster." if denied else ""
        found = f"may not: {', '.join(denied)}" if denied else f"{len(_NEEDED)} permissions"
        yield _check("in the cluster", found, hint)
    target.aws.client("iam").list_open_id_connect_providers()
    target.aws.client("logs").describe_log_groups(logGroupNamePrefix=target.settings.log_group, limit=1)
    yield _check("in the account", "IAM and CloudWatch Logs can be read")


def _other_falco(target: Target) -> Iterator[Check]:
    own = target.settings.falco_namespace
    found = target.kube.list("DaemonSet", labels="app.kubernetes.io/name=falco")
    namespaces = {item["metadata"]["namespace"] for item in found}
    if (own in namespaces or target.helm.status(RELEASE, own)) and not is_workshops(target, own):
        error = foreign(own)
        yield _check("other Falco", error.message, error.hint)
        return
    others = sorted(namespaces - {own})
    hint = "Two Falcos alert twice: uninstall the other one." if others else ""
    yield _check("other Falco", f"in {', '.join(others)}" if others else "none", hint, "warning")


CHECKS: tuple[Callable[[Target], Iterator[Check]], ...] = (
    _helm,
    _identity,
    _cluster,
    _nodes,
    _permissions,
    _other_falco,
)


def _info(node: Object, key: str) -> str:
    return str(node["status"]["nodeInfo"].get(key, ""))


def _infos(nodes: Iterable[Object], key: str) -> list[str]:
    return sorted({_info(node, key) for node in nodes})


def _kernel(version: str) -> tuple[int, int]:
    found = re.match(r"(\d+)\.(\d+)", version)
    return (int(found[1]), int(found[2])) if found else (0, 0)
