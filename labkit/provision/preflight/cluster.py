"""The EKS cluster: its state, its version's support, its OIDC issuer, who runs its nodes."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator
from typing import Any

from labkit.errors import LabError
from labkit.provision.iam import by_pod_identity
from labkit.provision.pod_identity import Agent, foreign_tokens
from labkit.provision.preflight.finding import Finding, blocker, ok, warning
from labkit.target import Target

TESTED = ("1.33", "1.35")
"""The lowest and the highest version of Kubernetes that the manifests are checked against."""
_CLUSTER = "cluster"


def cluster(target: Target) -> Iterator[Finding]:
    """Raises `NoClusterError` if there is no such cluster."""
    found, region = target.cluster, target.settings.region
    status, said = found["status"], f"{found['name']} in {region} is {found['status']}"
    if status == "ACTIVE":
        yield ok(_CLUSTER, "cluster", said)
    elif status == "UPDATING":
        hint = "Nodes may be replaced meanwhile: wait until it is ACTIVE."
        yield warning(_CLUSTER, "cluster", said, hint)
    else:
        hint = f"Wait until it is ACTIVE: `aws eks wait cluster-active --name {found['name']}`."
        yield blocker(_CLUSTER, "cluster", said, hint)
    yield support(target, str(found["version"]))
    yield _tested(target)
    issuer = found.get("identity", {}).get("oidc", {}).get("issuer", "")
    if by_pod_identity(target):
        yield from _pod_identity(target)
    elif issuer:
        yield ok(_CLUSTER, "OIDC issuer", issuer)
    else:
        hint = "EKS gives one to every cluster: `aws eks describe-cluster` shows it once the cluster is ACTIVE."
        yield blocker(_CLUSTER, "OIDC issuer", "none", hint)
    if why := foreign_tokens(target):
        hint = "For the chapters that wait for alerts in CloudWatch, take the EKS cluster (without LABKIT_CONTEXT)."
        yield warning(_CLUSTER, "tokens", why, hint)
    if found.get("computeConfig", {}).get("enabled"):
        pools = ", ".join(found["computeConfig"].get("nodePools") or ["none"])
        yield ok(_CLUSTER, "EKS Auto Mode", f"on, node pools: {pools}; Falco and Fluent Bit run on its nodes")


def _pod_identity(target: Target) -> Iterator[Finding]:
    agent = Agent()
    found, state = agent.look(target)
    if not state:
        yield ok(_CLUSTER, "EKS Pod Identity", f"the add-on {agent.name} isn't there: step fluent-bit-role installs it")
    elif fault := agent.fault(target, found):
        hint = f"`kubectl describe daemonset {agent.name} --namespace kube-system` says more."
        yield blocker(_CLUSTER, "EKS Pod Identity", fault, hint)
    else:
        yield ok(_CLUSTER, "EKS Pod Identity", f"{agent.name}: {state}")


def is_extended(target: Target) -> bool:
    """Whether the cluster's version is in extended support, as far as EKS says so."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        return "EXTENDED" in str(_described(target, str(target.cluster["version"])).get("versionStatus", ""))
    except (ClientError, BotoCoreError, LabError):
        return False


def _described(target: Target, version: str) -> Any:
    answer = target.aws.client("eks").describe_cluster_versions(clusterVersions=[version])
    return next(iter(answer["clusterVersions"]), {})


def support(target: Target, version: str) -> Finding:
    """How long EKS supports the version. EKS knows best, so EKS is asked instead of a list in here."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        described = _described(target, version)
    except (ClientError, BotoCoreError) as error:
        why = getattr(error, "response", {}).get("Error", {}).get("Code", type(error).__name__)
        hint = "Look it up in the EKS release calendar. To let the check ask: allow eks:DescribeClusterVersions."
        return warning(_CLUSTER, "version", f"{version}; EKS did not say how long it is supported ({why})", hint)
    status = str(described.get("versionStatus") or described.get("status") or "").lower().replace("_", "-")
    standard, extended = (_day(described.get(f"endOf{kind}SupportDate")) for kind in ("Standard", "Extended"))
    if status == "standard-support":
        return ok(_CLUSTER, "version", f"{version}, in standard support{standard and f' until {standard}'}")
    if status == "extended-support":
        hint = "Its control plane costs six times as much. Upgrade the cluster, or make a new one."
        until = extended and f" until {extended}"
        ended = standard and f" (standard support ended {standard})"
        return warning(_CLUSTER, "version", f"{version}, in extended support{until}{ended}", hint)
    ended = extended and f" since {extended}"
    hint = "EKS upgrades such a cluster by itself, at a time of its own choice. Upgrade it before the class."
    return warning(_CLUSTER, "version", f"{version}, not supported{ended}", hint)


def _tested(target: Target) -> Finding:
    """The API server's own version, which on other clusters than EKS is the only one there is."""
    found = target.kube.request("GET", "/version")
    version = f"{found['major']}.{re.sub(r'[^0-9].*', '', found['minor'])}"
    if _numbers(TESTED[0]) <= _numbers(version) <= _numbers(TESTED[1]):
        return ok(_CLUSTER, "Kubernetes", str(found["gitVersion"]))
    hint = f"The manifests are checked against {TESTED[0]} to {TESTED[1]}: run `labkit run` before the class."
    return warning(_CLUSTER, "Kubernetes", str(found["gitVersion"]), hint)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def _day(when: Any) -> str:
    return when.astimezone(dt.UTC).date().isoformat() if isinstance(when, dt.datetime) else ""
