"""EKS Pod Identity where it can't be: clusters outside EKS, and an agent that may not be installed."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ekslab.state import Endpoints
from labkit import Lab
from labkit.errors import StepError
from labkit.kube import Kube
from labkit.provision.pod_identity import Agent, foreign_tokens
from labkit.target import Target

OWN = "https://kubernetes.default.svc.cluster.local"  # what kind, minikube and k3d have


class OutsideEks(Kube):
    """The lab's cluster, with the issuer of one outside EKS."""

    issuer: Any = OWN

    def request(self, method: str, path: str, **more: Any) -> Any:
        if path == "/.well-known/openid-configuration":
            return {"issuer": self.issuer}
        return super().request(method, path, **more)


@pytest.fixture(scope="module")
def changed(new_lab: Callable[..., Endpoints]) -> Endpoints:
    return new_lab()


@pytest.fixture
def lab(changed: Endpoints, workshop: Path) -> Lab:
    return Lab.connect(home=changed.home, root=workshop, identity="pod-identity")


@pytest.fixture
def outside(lab: Lab) -> Target:
    kube = OutsideEks(kubeconfig=lab.kube.kubeconfig)
    return replace(lab.target, kube=kube, settings=replace(lab.settings, context="kind-lab"))


def test_pods_of_a_cluster_outside_eks_get_no_role(outside: Target, capsys: pytest.CaptureFixture[str]) -> None:
    said = f"Context kind-lab is not EKS cluster falco-workshop of this account: its tokens are from {OWN}, "
    assert foreign_tokens(outside).startswith(said)
    missing = replace(outside, settings=replace(outside.settings, cluster="mine"))
    assert foreign_tokens(missing).startswith("Context kind-lab is not EKS cluster mine of this account")
    with pytest.raises(StepError, match="neither IRSA nor EKS Pod Identity gives its pods a role") as caught:
        Agent().create(outside)
    assert caught.value.hint.startswith("Set LABKIT_CONTEXT")
    irsa = Lab(replace(outside, settings=replace(outside.settings, identity="irsa")))
    assert irsa.apply("fluent-bit-role").action == "created"
    assert said in capsys.readouterr().err
    irsa.teardown()


def test_an_eks_cluster_by_its_context_is_none_of_those(lab: Lab, outside: Target) -> None:
    assert foreign_tokens(lab.target) == ""
    known = lab.target.cluster["identity"]["oidc"]["issuer"]
    outside.kube.issuer = f"{known}/"  # type: ignore[attr-defined]
    assert foreign_tokens(outside) == ""


def test_an_agent_that_may_not_be_installed_is_told_with_the_command(lab: Lab) -> None:
    iam, me = lab.aws.client("iam"), lab.aws.identity.arn
    statement = {"Effect": "Allow", "Principal": {"AWS": me}, "Action": "sts:AssumeRole"}
    trust = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    role = iam.create_role(RoleName="poor", AssumeRolePolicyDocument=trust)["Role"]["Arn"]
    keys = lab.aws.client("sts").assume_role(RoleArn=role, RoleSessionName="me")["Credentials"]
    try:
        poor = replace(lab.target, aws=lab.aws.with_keys(keys))
        with pytest.raises(StepError, match="isn't on this cluster, and may not be installed: User: ") as caught:
            Agent().create(poor)
        command = "aws eks create-addon --cluster-name falco-workshop --addon-name eks-pod-identity-agent"
        assert caught.value.hint == f"Have it installed (`{command}`), or set LABKIT_IDENTITY=irsa."
    finally:
        iam.delete_role(RoleName="poor")
