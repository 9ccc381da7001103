"""A wait for an alert names the broken link in seconds, not when its time is over."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ekslab import client
from ekslab.state import Endpoints
from labkit import Lab, connect
from labkit.alerts import arrival
from labkit.errors import AlertTimeoutError
from labkit.provision.iam import POLICY_NAME
from labkit.provision.pipeline_diagnosis import broken_links

TIMEOUT = 100.0
pytestmark = pytest.mark.in_order  # what Fluent Bit holds comes later, and in the end there is none


@pytest.fixture(scope="module")
def lab(new_lab: Callable[..., Endpoints], workshop: Path) -> Lab:
    lab = Lab.connect(home=new_lab().home, root=workshop)
    lab.ensure("nginx", "fluent-bit", "falco")
    return lab


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in (("_DOUBT", 0.5), ("_LOOKS", 0.3), ("_PATIENCE", 0.4)):
        monkeypatch.setattr(arrival, name, seconds)


def broken(lab: Lab) -> AlertTimeoutError:
    """How waiting for an alert that was raised fails, in time."""
    lab.exec("deploy/nginx", "cat /etc/shadow")
    begun = time.monotonic()
    with pytest.raises(AlertTimeoutError) as caught:
        lab.wait_for_alert("Read sensitive file untrusted", timeout=TIMEOUT)
    assert time.monotonic() - begun < 10
    return caught.value


def arrives(lab: Lab) -> None:
    for _ in range(3):
        lab.exec("deploy/nginx", "cat /etc/shadow")
        try:
            alert = lab.wait_for_alert("Read sensitive file untrusted", timeout=40)
        except AlertTimeoutError as error:
            if "trigger it again" not in str(error):  # it was among what Fluent Bit had in hand
                raise
        else:
            assert alert["proc.name"] == "cat"
            return
    pytest.fail("Three alerts were lost.")


def test_a_role_without_its_policy(lab: Lab) -> None:
    arrives(lab)
    lab.aws.client("iam").delete_role_policy(RoleName=lab.settings.role_name, PolicyName=POLICY_NAME)
    error = broken(lab)
    assert "Broken link: shipping. CloudWatch Logs refuses what Fluent Bit's role may not do." in error.message
    assert "is not authorized to perform: logs:PutLogEvents" in error.message
    lab.apply("fluent-bit-role")
    arrives(lab)


def test_a_role_that_trusts_no_one(lab: Lab) -> None:
    iam = lab.aws.client("iam")
    deny = {"Effect": "Deny", "Principal": "*", "Action": "sts:AssumeRoleWithWebIdentity"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [deny]})
    iam.update_assume_role_policy(RoleName=lab.settings.role_name, PolicyDocument=document)
    lab.kube.restart("DaemonSet", "fluent-bit", "logging")
    for pod in lab.kube.list("Pod", "logging"):
        lab.kube.delete_one({**pod, "apiVersion": "v1", "kind": "Pod"})
    assert "STS refuses Fluent Bit's service account" in broken(lab).message
    lab.apply("fluent-bit-role")
    lab.apply("fluent-bit")
    arrives(lab)


def test_a_service_account_without_a_role(lab: Lab) -> None:
    path = lab.kube.path("v1", "ServiceAccount", "logging", "fluent-bit")
    body = {"metadata": {"annotations": {"eks.amazonaws.com/role-arn": None}}}
    lab.kube.request("PATCH", path, body=body, content_type="application/merge-patch+json")
    for pod in lab.kube.list("Pod", "logging"):
        lab.kube.delete_one({**pod, "apiVersion": "v1", "kind": "Pod"})
    error = broken(lab)
    assert "neither role nor region" in error.message or "no AWS credentials" in error.message
    assert 'lab.apply("fluent-bit-role")' in error.hint
    lab.apply("fluent-bit")
    arrives(lab)


def test_a_log_group_that_was_deleted(lab: Lab) -> None:
    lab.aws.client("logs").delete_log_group(logGroupName=lab.settings.log_group)
    error = broken(lab)
    assert "Broken link: log group. There is no log group 'falco'" in error.message
    lab.apply("log-group")
    lab.exec("deploy/nginx", "cat /etc/shadow")
    lab.wait_for_alert("Read sensitive file untrusted", timeout=TIMEOUT)


def test_an_account_that_throttles_fluent_bit(lab: Lab) -> None:
    endpoints = connect.running_embedded(lab.settings.home)
    client.set_load(endpoints, quotas={"PutLogEvents": 0.01})
    try:

        def throttled() -> str | None:
            lab.exec("deploy/nginx", "cat /etc/shadow")
            return next((link.finding for link in broken_links(lab.target) if "limits how fast" in link.finding), None)

        assert "ThrottlingException" in lab.wait_until(throttled, "Fluent Bit to be throttled", timeout=60)
        (link,) = broken_links(lab.target)
        assert link.ends == "never"  # it is sent again: a wait goes on
        assert "nothing is lost" in link.hint
    finally:
        client.set_load(endpoints, quotas=False)
    arrives(lab)


def test_no_fluent_bit_at_all(lab: Lab) -> None:
    lab.undo("fluent-bit")
    error = broken(lab)
    assert "No Fluent Bit is running." in error.message
    assert error.hint == 'lab.apply("fluent-bit")'
