"""What is found of permissions: all there, some missing and by whom denied, not to be simulated."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from labkit import Lab
from labkit.aws import Identity
from labkit.kube import KubernetesError
from labkit.kube.access import Access
from labkit.provision.preflight import permissions
from labkit.provision.preflight.chapters import CHAPTERS, OPTIONAL, Chosen
from labkit.provision.preflight.finding import Finding
from labkit.provision.steps import STEPS

ALL = {"Effect": "Allow", "Action": "*", "Resource": "*"}


def aws(lab: Lab, *chapters: str) -> dict[str, Finding]:
    return {finding.what: finding for finding in permissions.in_aws(Chosen.of(lab.target, chapters))}


def without(lab: Lab, *sids: str) -> list[Any]:
    """The workshop's policies in full, but for some statements."""
    kept = []
    for name, statement in permissions.statements(lab.target).items():
        if name not in sids:
            condition = {"Condition": {"StringEquals": statement.context}} if statement.context else {}
            actions, resources = list(statement.actions), list(statement.resources)
            kept.append({"Effect": "Allow", "Action": actions, "Resource": resources, **condition})
    return kept


def test_an_administrator_may_do_everything(lab: Lab) -> None:
    (finding,) = aws(lab).values()
    assert (finding.result, finding.what) == ("ok", "in AWS")
    assert finding.found == "every action that they use is allowed, as IAM simulates it"


def test_the_workshops_policies_are_enough(lab: Lab, person: Callable[..., Lab]) -> None:
    assert [finding.result for finding in aws(person(*without(lab))).values()] == ["ok"]


# Who uses each statement first: a step, or a chapter for what it does itself.
USERS = {
    **{sid: f"chapter {number}" for number, chapter in reversed(CHAPTERS.items()) for sid in chapter.allowed},
    **{
        sid: f"step {step.name}"
        for step in reversed(list(STEPS))
        for sid in (*step.allowed, *step.allowed_by_form.get("", ()))
    },
}


# Rounds in each of which everyone who uses statements lacks one.
ROUNDS: list[list[str]] = []
for _sid, _user in sorted(USERS.items()):
    _nth = sum(USERS[other] == _user for other in sorted(USERS) if other < _sid)
    ROUNDS += [[] for _ in range(_nth + 1 - len(ROUNDS))]
    ROUNDS[_nth].append(_sid)


@pytest.mark.parametrize("missing", ROUNDS, ids=range(len(ROUNDS)))
def test_each_statement_that_is_missing_is_a_blocker_for_what_needs_it(
    lab: Lab, person: Callable[..., Lab], missing: list[str]
) -> None:
    findings = aws(person(*without(lab, *missing)))
    assert "in AWS" not in findings
    for sid in missing:
        statement, finding = permissions.statements(lab.target)[sid], findings[f"in AWS, {USERS[sid]}"]
        assert finding.result == "blocker"
        assert sorted(statement.actions)[0] in finding.found
        assert f"`labkit policy {statement.policy}`" in finding.hint


def test_other_chapters_need_less(lab: Lab, person: Callable[..., Lab]) -> None:
    other = person(*without(lab, "Alarms", "Hub", "Forwarder"))
    assert [finding.result for finding in aws(other, "01", "03").values()] == ["ok"]
    assert list(aws(other, "06")) == ["in AWS, step alarms"]


def test_who_denies_is_said(lab: Lab, person: Callable[..., Lab]) -> None:
    deny = {"Effect": "Deny", "Action": "logs:CreateLogGroup", "Resource": "*"}
    finding = aws(person(ALL, deny), "01")["in AWS, step log-group"]
    assert finding.found == "may not logs:CreateLogGroup (denied by policy own)"
    iam, account = lab.aws.client("iam"), lab.aws.identity.account_id
    document = {"Version": "2012-10-17", "Statement": [{**ALL, "Action": ["iam:*", "eks:*"]}]}
    made = iam.create_policy(PolicyName="boundary", PolicyDocument=json.dumps(document))["Policy"]["Arn"]
    iam.put_role_permissions_boundary(RoleName="person", PermissionsBoundary=made)
    iam.put_role_policy(
        RoleName="person", PolicyName="own", PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [ALL]})
    )
    keys = lab.aws.client("sts").assume_role(RoleArn=f"arn:aws:iam::{account}:role/person", RoleSessionName="person")
    bounded = Lab(replace(lab.target, aws=lab.aws.with_keys(keys["Credentials"])))
    found = aws(bounded, "01")["in AWS, step log-group"].found
    assert found.endswith("logs:TagResource, logs:DescribeLogGroups (denied by the permissions boundary)") or (
        "(denied by the permissions boundary)" in found
    )
    iam.delete_role_permissions_boundary(RoleName="person")
    iam.delete_policy(PolicyArn=made)


def test_an_organization_that_denies_is_said() -> None:
    result = {"EvalDecision": "implicitDeny", "OrganizationsDecisionDetail": {"AllowedByOrganizations": False}}
    assert permissions._reason(result) == "denied by the organization's policies (SCP)"
    assert permissions._reason({"EvalDecision": "implicitDeny"}) == ""


def test_without_the_right_to_simulate_it_says_what_is_needed(lab: Lab, person: Callable[..., Lab]) -> None:
    (finding,) = aws(person({**ALL, "Action": "logs:*"}), "06").values()
    assert finding.result == "warning"
    assert "not checked" in finding.found
    assert "iam:SimulatePrincipalPolicy" in finding.hint
    assert "`labkit policy workshop-alarms` and `labkit policy workshop-pipeline`" in finding.hint


@pytest.mark.parametrize("arn", ["arn:aws:iam::1:root", "arn:aws:sts::1:federated-user/x"])
def test_an_identity_without_policies_of_its_own_is_not_simulated(lab: Lab, arn: str) -> None:
    other = lab.aws.with_keys({"AccessKeyId": "a", "SecretAccessKey": "b", "SessionToken": "c"})
    other.__dict__["identity"] = Identity("1", arn)
    (finding,) = permissions.in_aws(Chosen.of(replace(lab.target, aws=other), ["01"]))
    assert (finding.result, finding.hint.startswith(f"IAM simulates no policies of {arn.rpartition(':')[2]}")) == (
        "warning",
        True,
    )


def test_a_role_with_a_path_is_found(lab: Lab) -> None:
    iam, account = lab.aws.client("iam"), lab.aws.identity.account_id
    trust = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Principal": {"AWS": account}, "Action": "sts:AssumeRole"}],
    }
    iam.create_role(RoleName="sso", Path="/aws-reserved/", AssumeRolePolicyDocument=json.dumps(trust))
    other = replace(lab.target, aws=lab.aws.with_keys({"AccessKeyId": "", "SecretAccessKey": "", "SessionToken": ""}))
    other.aws.__dict__["identity"] = Identity(account, f"arn:aws:sts::{account}:assumed-role/sso/me")
    other.aws._clients["iam"] = iam
    try:
        assert permissions._principal(other) == (f"arn:aws:iam::{account}:role/aws-reserved/sso", "")
    finally:
        iam.delete_role(RoleName="sso")


# The cluster


def cluster(lab: Lab, *chapters: str) -> Finding:
    (finding,) = permissions.in_cluster(Chosen.of(lab.target, chapters))
    return finding


def test_a_clusters_administrator_may_do_everything(lab: Lab) -> None:
    finding = cluster(lab)
    assert (finding.result, finding.found) == ("ok", "everything: an administrator")


def test_what_the_cluster_does_not_grant_is_a_blocker(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    denied = {Access("create", "pods/exec", "default"), Access("*", "*.*")}
    monkeypatch.setattr(Access, "is_granted", lambda self, client: self not in denied)
    finding = cluster(lab, "03")
    assert (finding.result, finding.found) == ("blocker", "may not create pods/exec in default")
    assert "AmazonEKSClusterAdminPolicy" in finding.hint
    denied -= {Access("create", "pods/exec", "default")}
    assert cluster(lab, "03").found == "every verb that they use is granted"
    denied |= {Access(verb, "daemonsets.apps", "logging") for verb in ("create", "delete", "patch")}
    assert cluster(lab, "03").found == "may not create, delete, patch daemonsets.apps in logging"
    assert cluster(lab, "00").result == "ok"


def test_a_cluster_that_does_not_review_is_said(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(self: Access, client: object) -> bool:
        raise KubernetesError("no such API", status=404)

    monkeypatch.setattr(Access, "is_granted", refused)
    finding = cluster(lab)
    assert (finding.result, finding.found) == ("warning", "not checked: no such API")


def test_the_api_server_is_asked_for_group_resource_and_subresource() -> None:
    assert Access("create", "pods/exec", "default").attributes == {
        **{"verb": "create", "group": "", "resource": "pods"},
        **{"subresource": "exec", "namespace": "default"},
    }
    assert Access("get", "roles.rbac.authorization.k8s.io").attributes["group"] == "rbac.authorization.k8s.io"


def test_optional_statements_are_those_that_only_the_preflight_uses(lab: Lab) -> None:
    others = {sid for step in STEPS for sids in step.allowed_by_form.values() for sid in sids}
    assert set(permissions.statements(lab.target)) == set(USERS) | others | set(OPTIONAL)


@pytest.mark.parametrize("sid", STEPS["fluent-bit-role"].allowed_by_form[".pod-identity"])
def test_a_setting_may_need_others(lab: Lab, person: Callable[..., Lab], sid: str) -> None:
    other = person(*without(lab, sid, "OidcProviderOfAnEksCluster"))
    assert [finding.result for finding in aws(other, "06").values()] == ["blocker"]  # the provider
    settings = replace(other.settings, identity="pod-identity")
    found = aws(Lab(replace(other.target, settings=settings)), "06")
    assert set(found) == {"in AWS, step fluent-bit-role"}
