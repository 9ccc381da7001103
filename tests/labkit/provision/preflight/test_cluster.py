"""What is found of identity, tools and the cluster, with EKS's answers in every form."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import Any

import pytest
from botocore.stub import Stubber

from labkit import Lab
from labkit.aws import Identity
from labkit.provision.preflight import account, cluster
from labkit.provision.preflight.finding import ok


def results(findings: Any) -> dict[str, tuple[str, str]]:
    return {finding.what: (finding.result, finding.found) for finding in findings}


def test_the_labs_cluster_is_fine_and_its_support_has_an_end(lab: Lab) -> None:
    found = results(cluster.cluster(lab.target))
    assert {result for result, _ in found.values()} == {"ok"}
    assert found["cluster"][1] == "falco-workshop in us-east-1 is ACTIVE"
    assert found["version"][1] == "1.35, in standard support until 2027-03-27"
    assert found["OIDC issuer"][1].startswith("https://oidc.eks.us-east-1.amazonaws.com/id/")
    assert not cluster.is_extended(lab.target)


@pytest.mark.parametrize(
    ("version", "result", "found"),
    [
        ("1.34", "ok", "1.34, in standard support until 2026-12-02"),
        ("1.33", "warning", "1.33, in extended support until 2027-07-29 (standard support ended 2026-07-29)"),
        ("1.30", "warning", "1.30, not supported since 2026-07-23"),
        ("1.99", "warning", "1.99, not supported"),
    ],
)
def test_support_of_a_version_is_eks_word(lab: Lab, version: str, result: str, found: str) -> None:
    finding = cluster.support(lab.target, version)
    assert (finding.result, finding.found, bool(finding.hint)) == (result, found, result != "ok")


def test_an_eks_that_does_not_say_is_said(lab: Lab) -> None:
    with Stubber(lab.aws.client("eks")) as eks:
        eks.add_client_error("describe_cluster_versions", "AccessDeniedException")
        finding = cluster.support(lab.target, "1.35")
    assert (finding.result, "AccessDeniedException" in finding.found) == ("warning", True)
    assert "eks:DescribeClusterVersions" in finding.hint


@pytest.mark.parametrize(
    ("change", "what", "result", "found"),
    [
        ({"status": "CREATING"}, "cluster", "blocker", "falco-workshop in us-east-1 is CREATING"),
        ({"status": "UPDATING"}, "cluster", "warning", "falco-workshop in us-east-1 is UPDATING"),
        ({"identity": {}}, "OIDC issuer", "blocker", "none"),
        (
            {"computeConfig": {"enabled": True, "nodePools": ["general-purpose"]}},
            "EKS Auto Mode",
            "ok",
            "on, node pools: general-purpose; Falco and Fluent Bit run on its nodes",
        ),
    ],
)
def test_a_cluster_that_is_not_ready_is_told(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, change: Any, what: str, result: str, found: str
) -> None:
    target = replace(lab.target)
    target.__dict__["cluster"] = {**lab.target.cluster, **change}
    findings = {finding.what: finding for finding in cluster.cluster(target)}
    assert (findings[what].result, findings[what].found) == (result, found)
    assert bool(findings[what].hint) == (result != "ok")


def test_extended_support_is_known_for_the_costs(lab: Lab) -> None:
    target = replace(lab.target)
    target.__dict__["cluster"] = {**lab.target.cluster, "version": "1.33"}
    assert cluster.is_extended(target)


@pytest.mark.parametrize(("minor", "result"), [("33", "ok"), ("35+", "ok"), ("32", "warning"), ("36", "warning")])
def test_kubernetes_that_the_manifests_were_not_checked_against_is_a_warning(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, minor: str, result: str
) -> None:
    version = {"major": "1", "minor": minor, "gitVersion": f"v1.{minor}.0"}
    monkeypatch.setattr(lab.kube, "request", lambda *_, **__: version)
    finding = cluster._tested(lab.target)
    assert (finding.result, finding.found) == (result, f"v1.{minor}.0")


def test_identity_is_the_account_and_the_arn_and_root_is_a_warning(lab: Lab) -> None:
    arn = "arn:aws:iam::111122223333:user/workshop"
    assert list(account.identity(lab.target)) == [
        ok("account", "account", "111122223333 in us-east-1"),
        ok("account", "identity", arn),
    ]
    aws = lab.aws.with_keys({"AccessKeyId": "a", "SecretAccessKey": "b", "SessionToken": "c"})
    aws.__dict__["identity"] = Identity("1", "arn:aws:iam::1:root")
    root = list(account.identity(replace(lab.target, aws=aws)))[1]
    assert (root.result, root.found, "root user" in root.hint) == ("warning", "arn:aws:iam::1:root", True)


@pytest.mark.parametrize(
    ("version", "result"),
    [
        *[("v3.13.0", "ok"), ("v4.1.0", "ok"), ("v10.0.0", "ok"), ("v3.12.3", "blocker"), ("v2.17.0", "blocker")],
        ("", "blocker"),
    ],
)
def test_helm_has_to_be_3_13_or_later(lab: Lab, monkeypatch: pytest.MonkeyPatch, version: str, result: str) -> None:
    monkeypatch.setattr(lab.helm, "version", lambda: version)
    (finding,) = account.helm(lab.target)
    assert (finding.result, finding.found) == (result, version or "no version")
    assert ("3.13" in finding.hint) == (result == "blocker")


def test_days_are_in_utc() -> None:
    assert cluster._day(dt.datetime.fromisoformat("2027-03-27T23:00:00-05:00")) == "2027-03-28"


def test_with_pod_identity_the_agent_matters_and_the_issuer_does_not(lab: Lab) -> None:
    target = replace(lab.target, settings=replace(lab.settings, identity="pod-identity"))
    target.__dict__["cluster"] = {**lab.target.cluster, "identity": {}}
    found = results(cluster.cluster(target))
    assert "OIDC issuer" not in found
    said = "the add-on eks-pod-identity-agent isn't there: step fluent-bit-role installs it"
    assert found["EKS Pod Identity"] == ("ok", said)
    eks, name = lab.aws.client("eks"), lab.settings.cluster
    eks.create_addon(clusterName=name, addonName="eks-pod-identity-agent")
    try:
        lab.wait_until(lambda: lab.kube.get("DaemonSet", "eks-pod-identity-agent", "kube-system"), "the agent")
        found = results(cluster.cluster(target))
        assert found["EKS Pod Identity"][0] in ("ok", "blocker")  # its pods may not be ready yet
        lab.kube.request("DELETE", "/apis/apps/v1/namespaces/kube-system/daemonsets/eks-pod-identity-agent")
        result, said = results(cluster.cluster(target))["EKS Pod Identity"]
        assert (result, "is gone" in said) == ("blocker", True)
    finally:
        eks.delete_addon(clusterName=name, addonName="eks-pod-identity-agent")


@pytest.mark.parametrize("issuer", ["https://kubernetes.default.svc", ""])
def test_a_context_of_another_cluster_is_a_warning(lab: Lab, monkeypatch: pytest.MonkeyPatch, issuer: str) -> None:
    target = replace(lab.target, settings=replace(lab.settings, context="kind-falco"))
    own = issuer or lab.target.cluster["identity"]["oidc"]["issuer"]
    request = lab.kube.request

    def answer(method: str, path: str, **more: Any) -> Any:  # the lab has no such page
        return {"issuer": own} if path.startswith("/.well-known") else request(method, path, **more)

    monkeypatch.setattr(lab.kube, "request", answer)
    found = results(cluster.cluster(target))
    assert ("tokens" in found) == bool(issuer)
    if issuer:
        result, said = found["tokens"]
        assert (result, said.startswith("Context kind-falco is not EKS cluster")) == ("warning", True)
