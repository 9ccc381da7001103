"""The pipeline with EKS Pod Identity in place of IRSA: applied, its faults, and taken down. One lab, in this order."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ekslab.state import Endpoints
from labkit import Lab
from labkit.alerts.diagnose import broken_link
from labkit.errors import StepError, TargetError
from labkit.exercises import fluent_bit_role, pipeline_faults
from labkit.provision.pod_identity import AGENT, VARIABLE, association_of
from labkit.provision.steps import STEPS
from labkit.waiting import poll

ACCOUNT = {"namespace": "logging", "serviceAccount": "fluent-bit"}


@pytest.fixture(scope="module")
def connect(new_lab: Callable[..., Endpoints], workshop: Path) -> Callable[..., Lab]:
    home = new_lab().home
    return lambda **settings: Lab.connect(home=home, root=workshop, **{"identity": "pod-identity", **settings})


@pytest.fixture
def lab(connect: Callable[..., Lab]) -> Lab:
    return connect()


def logged(lab: Lab, sign: str) -> bool | None:
    """Whether a Fluent Bit has logged it; None if not yet."""
    names = [pod["metadata"]["name"] for pod in lab.kube.list("Pod", "logging")]
    return any(sign in lab.kube.logs(name, "logging") for name in names) or None


def restarted(lab: Lab) -> None:
    """New pods of Fluent Bit, and an alert for it to ship."""
    lab.kube.restart("DaemonSet", "fluent-bit", "logging")
    lab.apply("fluent-bit")
    lab.exec("deploy/nginx", "cat /etc/shadow")


def test_alerts_are_shipped_with_the_role_of_an_association(lab: Lab) -> None:
    lab.ensure("fluent-bit", "falco", "nginx")
    assert lab.aws.client("iam").list_open_id_connect_providers()["OpenIDConnectProviderList"] == []
    assert "annotations" not in (lab.kube.get("ServiceAccount", "fluent-bit", "logging") or {})["metadata"]
    lab.exec("deploy/nginx", "cat /etc/shadow")
    assert lab.wait_for_alert("Read sensitive file untrusted", timeout=20)["rule"]
    arn = lab.as_service_account("logging", "fluent-bit").identity.arn
    assert ":assumed-role/falco-workshop-fluent-bit/eks-falco-workshop-fluent-" in arn
    assert {step.state for step in map(lab_step(lab), ("oidc-provider", "fluent-bit-role", "fluent-bit"))} == {
        "applied"
    }
    assert lab.apply("fluent-bit").action == "unchanged"


def without_role(lab: Lab) -> list[str]:
    """The pods of Fluent Bit that EKS gave no credentials."""
    pods = lab.kube.list("Pod", "logging")
    return [pod["metadata"]["name"] for pod in pods if VARIABLE not in json.dumps(pod["spec"])]


def lab_step(lab: Lab) -> Callable[[str], Any]:
    return lambda name: STEPS[name].status(lab.target)


def test_another_service_account_cannot_have_the_role(lab: Lab) -> None:
    eks, role = lab.aws.client("eks"), lab.aws.arn("iam", "role/falco-workshop-fluent-bit")
    other = eks.create_pod_identity_association(
        clusterName="falco-workshop", namespace="logging", serviceAccount="default", roleArn=role
    )["association"]
    try:
        with pytest.raises(TargetError, match=r"AccessDeniedException\): Unauthorized Exception"):
            lab.as_service_account("logging", "default")
    finally:
        eks.delete_pod_identity_association(clusterName="falco-workshop", associationId=other["associationId"])


def test_what_is_wrong_with_the_trust_or_the_association_is_named(lab: Lab) -> None:
    iam, role = lab.aws.client("iam"), "falco-workshop-fluent-bit"
    since = lab.kube.now()
    good = iam.get_role(RoleName=role)["Role"]["AssumeRolePolicyDocument"]
    bad = json.dumps(good).replace('"logging"', '"elsewhere"')
    iam.update_assume_role_policy(RoleName=role, PolicyDocument=bad)
    restarted(lab)
    assert poll(lambda: logged(lab, "(AccessDeniedException)"), "the refusal", 20)
    link = broken_link(lab.target, "Read sensitive file untrusted", since)
    assert "trust policy" in link.finding
    assert lab.apply("fluent-bit-role").action == "updated"
    found = association_of(lab.target, "logging", "fluent-bit")
    assert found is not None
    lab.aws.client("eks").delete_pod_identity_association(
        clusterName="falco-workshop", associationId=found["associationId"]
    )
    assert lab_step(lab)("fluent-bit-role").state == "partly"
    lab.kube.restart("DaemonSet", "fluent-bit", "logging")
    assert poll(lambda: without_role(lab) or None, "a pod without the role", 20)
    lab.apply("fluent-bit-role")
    assert without_role(lab)  # an association made now gives nothing to pods that are there
    assert lab.apply("fluent-bit").action == "updated"
    lab.exec("deploy/nginx", "cat /etc/shadow")
    assert lab.wait_for_alert("Read sensitive file untrusted", timeout=20)["rule"]


@pytest.mark.parametrize("link", ["trust policy", "service account"])
def test_chapter_01_breaks_and_mends_what_pod_identity_needs(lab: Lab, link: str) -> None:
    (fault,) = (fault for fault in pipeline_faults.FAULTS if fault.link == link)
    fault.make(lab.target)
    assert poll(lambda: fault.there(lab.target), "the fault to take effect", 20)
    assert not fluent_bit_role.can_ship(lab.target)
    lab.apply("fluent-bit-role")
    lab.apply("fluent-bit")
    assert not fault.there(lab.target)
    assert list(fluent_bit_role.excess(lab.target)) == []


def test_an_agent_that_is_gone_is_named_and_put_back(lab: Lab) -> None:
    since = lab.kube.now()
    lab.kube.delete_one(lab.kube.get("DaemonSet", AGENT, "kube-system") or {})
    fault = lab_step(lab)("fluent-bit-role").fault
    assert "DaemonSet kube-system/eks-pod-identity-agent is gone" in fault
    with pytest.raises(StepError, match="its DaemonSet isn't") as caught:
        lab.apply("fluent-bit-role")
    assert "aws eks create-addon --cluster-name falco-workshop --addon-name eks-pod-identity-agent" in caught.value.hint
    restarted(lab)
    assert poll(lambda: logged(lab, "tcp://169.254.170.23:80"), "the time-out", 20)
    assert "agent" in broken_link(lab.target, "Read sensitive file untrusted", since).finding
    lab.aws.client("eks").delete_addon(clusterName="falco-workshop", addonName=AGENT)
    assert lab.apply("fluent-bit-role").changes[0].action == "created"


def test_irsa_takes_the_place_of_an_association(lab: Lab, connect: Callable[..., Lab]) -> None:
    irsa = connect(identity="irsa")
    changes = {change.kind: change.action for change in irsa.apply("fluent-bit-role").changes}
    assert (changes["Pod Identity association"], changes["IAM role"]) == ("removed", "updated")
    assert association_of(irsa.target, "logging", "fluent-bit") is None
    fault = lab_step(irsa)("fluent-bit").fault  # its pods still have what the association gave them
    assert "made before service account logging/fluent-bit had its role" in fault
    assert irsa.apply("fluent-bit").action == "updated"
    assert lab_step(irsa)("fluent-bit").fault == ""
    irsa.exec("deploy/nginx", "cat /etc/shadow")
    assert irsa.wait_for_alert("Read sensitive file untrusted", timeout=20)["rule"]
    role = lab.aws.arn("iam", "role/falco-workshop-fluent-bit")
    foreign = {"clusterName": "falco-workshop", **ACCOUNT, "roleArn": role}
    lab.aws.client("eks").create_pod_identity_association(**foreign)
    with pytest.raises(StepError, match="EKS prefers to the role of IRSA") as caught:
        irsa.apply("fluent-bit-role")
    assert "aws eks delete-pod-identity-association --cluster-name falco-workshop" in caught.value.hint
    found = association_of(lab.target, "logging", "fluent-bit")
    assert found is not None
    lab.aws.client("eks").delete_pod_identity_association(
        clusterName="falco-workshop", associationId=found["associationId"]
    )


def test_all_of_it_is_taken_away_but_an_agent_that_others_use(lab: Lab) -> None:
    lab.apply("fluent-bit-role")
    eks, role = lab.aws.client("eks"), lab.aws.arn("iam", "role/falco-workshop-node")
    other = eks.create_pod_identity_association(
        clusterName="falco-workshop", namespace="kube-system", serviceAccount="aws-node", roleArn=role
    )["association"]
    kept = [change for change in lab.undo("fluent-bit-role").changes if change.action == "kept"]
    assert [(change.name, change.why) for change in kept] == [(AGENT, "it serves kube-system/aws-node")]
    eks.delete_pod_identity_association(clusterName="falco-workshop", associationId=other["associationId"])
    lab.teardown()
    assert lab.audit().clean
    assert lab.kube.get("DaemonSet", AGENT, "kube-system") is None
