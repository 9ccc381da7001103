"""Teardown goes on past what fails, tells what is left and why, and takes only what the lab made."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from botocore.retries.standard import ExponentialBackoff
from click.testing import CliRunner

from ekslab import state
from ekslab.state import Endpoints
from labkit import Lab, connect
from labkit.aws import Aws
from labkit.cli import main
from labkit.errors import LabError
from labkit.helm import Helm
from labkit.kube import Kube, client
from labkit.provision.iam import RolePolicy
from labkit.provision.steps import TeardownError
from labkit.target import Target


@pytest.fixture
def home(new_lab: Callable[..., Endpoints]) -> Path:
    return new_lab().home


@pytest.fixture
def lab(home: Path, workshop: Path) -> Lab:
    """A new lab: nothing has been applied."""
    return Lab.connect(home=home, root=workshop)


def states(lab: Lab) -> dict[str, str]:
    return {step: state for step, state, _ in lab.status().rows}


def left(work: Callable[[], object]) -> dict[str, str]:
    """What a teardown leaves, by kind and name, and why."""
    with pytest.raises(TeardownError, match=r"^\d+ things? (is|are) left:\n") as caught:
        work()
    assert caught.value.left
    for change in caught.value.left:
        assert f"{change.kind} {change.name}: {change.why}" in caught.value.message
    assert "run the same again" in caught.value.hint
    return {f"{change.kind} {change.name}": change.why for change in caught.value.left}


def test_a_namespace_that_does_not_go_keeps_nothing_else(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "HELD_SECONDS", 0.5)
    lab.ensure("fluent-bit", "canary")
    held = {"metadata": {"name": "held", "namespace": "logging", "finalizers": ["example.com/hold"]}}
    lab.kube.apply([{"apiVersion": "v1", "kind": "ConfigMap", **held}])
    shell = CliRunner().invoke(main, ["teardown"], env={"LABKIT_HOME": str(lab.settings.home)})
    assert shell.exit_code == 1
    assert "removed  IAM role" in shell.stdout
    assert "1 thing is left:" in shell.stderr
    assert "Traceback" not in shell.output
    why = left(lab.teardown)
    assert list(why) == ["Namespace logging"]
    assert "finalizers remaining: example.com/hold in 1 resource instances" in why["Namespace logging"]
    assert lab.aws.client("logs").describe_log_groups()["logGroups"] == []
    with pytest.raises(LabError, match=r"Step fluent-bit-role: Namespace logging is being deleted, but does not go"):
        lab.apply("fluent-bit-role")
    path = lab.kube.path("v1", "ConfigMap", "logging", "held")
    freed = {"metadata": {"finalizers": None}}
    lab.kube.request("PATCH", path, body=freed, content_type="application/merge-patch+json")
    lab.teardown()
    assert lab.audit().clean


def test_what_may_not_be_deleted_keeps_nothing_else(lab: Lab) -> None:
    lab.ensure("fluent-bit-role", "metric-filters", "nginx")
    account, iam = lab.aws.identity.account_id, lab.aws.client("iam")
    trust = {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{account}:root"}, "Action": "sts:AssumeRole"}
    iam.create_role(RoleName="half", AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": trust}))
    rules = [
        {"Effect": "Allow", "Action": "*", "Resource": "*"},
        {"Effect": "Deny", "Action": ["logs:DeleteLogGroup", "sns:*"], "Resource": "*"},
    ]
    document = json.dumps({"Version": "2012-10-17", "Statement": rules})
    iam.put_role_policy(RoleName="half", PolicyName="half", PolicyDocument=document)
    answer = lab.aws.client("sts").assume_role(RoleArn=f"arn:aws:iam::{account}:role/half", RoleSessionName="half")
    limited = Lab(replace(lab.target, aws=lab.aws.with_keys(answer["Credentials"])))
    why = left(limited.teardown)
    assert {"log group falco", "SNS topic falco-workshop-alarms"} <= set(why)
    assert "AWS refused DeleteLogGroup (AccessDeniedException)" in why["log group falco"]
    assert lab.kube.get("Deployment", "nginx", "default") is None
    assert iam.list_open_id_connect_providers()["OpenIDConnectProviderList"] == []
    lab.teardown()
    iam.delete_role_policy(RoleName="half", PolicyName="half")
    iam.delete_role(RoleName="half")
    assert lab.audit().clean


def test_a_service_that_gives_no_answer_keeps_nothing_of_the_other(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ExponentialBackoff, "delay_amount", lambda self, context: 0.0)
    lab.ensure("fluent-bit", "falco")
    aws = Aws(lab.settings.region, endpoint="http://127.0.0.1:9", keys=lab.aws._keys, hint="")
    aws.__dict__["identity"] = lab.aws.identity
    silent = Lab(replace(lab.target, aws=aws))
    why = left(silent.teardown)
    assert lab.kube.get("Namespace", "falco") is None
    assert lab.kube.get("Namespace", "logging") is None
    assert {"log group falco", "IAM role falco-workshop-fluent-bit"} <= set(why)
    assert all("AWS does not answer" in reason for reason in why.values())

    lab.ensure("fluent-bit", "falco")
    config = json.loads(lab.kube.kubeconfig.read_text())  # type: ignore[union-attr]
    config["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:9"
    elsewhere = lab.settings.home / "nowhere"
    elsewhere.write_text(json.dumps(config))
    helm = Helm(program=(sys.executable, "-m", "ekslab.helm"), kubeconfig=elsewhere)
    silent = Lab(replace(lab.target, kube=Kube(kubeconfig=elsewhere), helm=helm))
    why = left(silent.teardown)
    assert lab.aws.client("logs").describe_log_groups()["logGroups"] == []
    assert {"Helm release falco", "DaemonSet logging/fluent-bit"} <= set(why)
    assert all("does not answer" in reason for reason in why.values())
    lab.teardown()
    assert lab.audit().clean


def test_a_release_is_the_labs_by_its_own_mark_though_ledger_and_namespace_do_not_say_so(
    lab: Lab, workshop: Path
) -> None:
    namespace = yaml.safe_load((workshop / "manifests/falco/namespace.yaml").read_text())
    lab.kube.apply([namespace])
    lab.ensure("custom-rules")
    lab.ledger.path.unlink()
    assert "Helm release" in [item.kind for item in lab.audit().left if item.why == "made by step falco"]
    lab.teardown()
    assert lab.helm.status("falco", "falco") is None
    assert lab.kube.get("Namespace", "falco") is not None
    lab.kube.delete([namespace])


def test_what_others_put_into_the_labs_namespace_stays_and_so_does_the_namespace(lab: Lab) -> None:
    lab.ensure("falco")
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "web", "image": "nginx"}]}}
    theirs: dict[str, Any] = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "theirs", "namespace": "falco"},
        "spec": {"replicas": 0, "selector": {"matchLabels": {"a": "b"}}, "template": template},
    }
    lab.kube.apply([theirs])
    rows = lab.teardown().rows
    assert ("kept", "Namespace", "falco", "it holds Deployment theirs") in rows
    assert lab.kube.find(theirs) is not None
    assert lab.helm.status("falco", "falco") is None
    lab.kube.delete([theirs])
    lab.teardown()
    assert lab.audit().clean


def test_a_lab_that_starts_anew_knows_nothing_of_the_ledger_of_the_last(
    home: Path, workshop: Path, new_lab: Callable[..., Endpoints]
) -> None:
    first = Lab.connect(home=home, root=workshop)
    first.apply("log-group")
    document = json.loads(first.ledger.path.read_text())
    document["lab"] = document["lab"].replace(new_lab(home=home).id, "0123456789abcdef")
    first.ledger.path.write_text(json.dumps(document))  # as it is where every lab has the same pid
    again = Lab.connect(home=home, root=workshop)
    assert again.ledger.records() == []
    again.teardown()
    assert again.audit().clean  # found by its tag


def test_where_the_cluster_is_gone_what_is_in_aws_still_goes(
    lab: Lab, workshop: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, value in state.read(lab.settings.home).environment().items():  # type: ignore[union-attr]
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("KUBECONFIG")
    arguments: dict[str, Any] = {"target": "eks", "home": tmp_path, "root": workshop}
    Lab.connect(**arguments).ensure("fluent-bit-role", "alarms")

    def gone(aws: Aws, cluster: str) -> None:
        raise connect.NoClusterError(f"There is no EKS cluster {cluster!r}.")

    monkeypatch.setattr(connect, "describe_cluster", gone)
    with pytest.raises(connect.NoClusterError, match="There is no EKS cluster"):
        Lab.connect(**arguments)
    away = Lab.connect(partly=True, **arguments)
    assert {"OIDC provider", "IAM role", "SNS topic", "log group"} <= {kind for _, kind, *_ in away.teardown().rows}
    assert away.audit().clean
    monkeypatch.undo()
    assert {item.kind for item in lab.audit().left} == {"Namespace", "ServiceAccount"}  # this cluster isn't gone


def test_the_steps_that_a_step_needs_come_first_and_are_shown(lab: Lab) -> None:
    result = lab.apply("fluent-bit")
    assert [done.step for done in result.needed] == ["oidc-provider", "log-group", "fluent-bit-role"]
    assert [line for line in repr(result).splitlines() if not line.startswith(" ")] == [
        "oidc-provider: created",
        "log-group: created",
        "fluent-bit-role: created",
        "fluent-bit: created",
    ]
    assert lab.apply("fluent-bit").needed == ()
    iam = lab.aws.client("iam")
    iam.delete_role_policy(RoleName=lab.settings.role_name, PolicyName="write-falco-alerts")
    assert lab.apply("canary").needed == ()  # what was taken away on purpose stays away
    assert states(lab)["fluent-bit-role"] == "partly"
    lab.kube.delete([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "logging"}}])
    iam.delete_role(RoleName=lab.settings.role_name)
    assert [done.step for done in lab.apply("fluent-bit").needed] == ["fluent-bit-role"]


def test_a_role_goes_with_the_policies_that_it_was_given_since(lab: Lab) -> None:
    lab.apply("fluent-bit-role")
    iam, role = lab.aws.client("iam"), lab.settings.role_name
    statement = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    iam.put_role_policy(RoleName=role, PolicyName="more", PolicyDocument=document)
    iam.attach_role_policy(RoleName=role, PolicyArn="arn:aws:iam::aws:policy/ReadOnlyAccess")
    assert ("removed", "IAM role") in {(c.action, c.kind) for c in lab.undo("fluent-bit-role").changes}


def test_what_others_took_away_meanwhile_is_not_left(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.ensure("fluent-bit-role")
    delete = RolePolicy.delete

    def second(self: RolePolicy, target: Target, found: Any) -> None:
        delete(self, target, found)
        delete(self, target, found)

    monkeypatch.setattr(RolePolicy, "delete", second)
    lab.teardown()
    assert lab.audit().clean
