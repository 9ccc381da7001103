"""An instructor with the shipped policies and nothing else: enough for a class, and nothing in them is spare."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from classroom import attendees, handout
from classroom.down import down, remove
from classroom.up import plan, up
from classroom.view import view
from ekslab.state import Endpoints
from labkit import Lab
from labkit.provision.templates import template
from tests.policies import allowed

ADMINISTRATOR = "arn:aws:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy"
# Needed when something was changed by others, or with what is made with tags.
WITHOUT_A_CALL = {"eks:TagResource", "iam:DetachRolePolicy", "iam:TagRole"}


@pytest.fixture
def instructor(
    new_lab: Callable[..., Endpoints],
    as_on_eks: Callable[[Endpoints], None],
    workshop: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> tuple[Lab, set[str]]:
    """An `eks` target behind the lab's endpoint, with the session of a role; and the actions that it calls."""
    endpoints = new_lab()
    admin = Lab.connect(home=endpoints.home, root=workshop)
    iam, eks, account = admin.aws.client("iam"), admin.aws.client("eks"), admin.aws.identity.account_id
    trust = {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{account}:root"}, "Action": "sts:AssumeRole"}
    role = iam.create_role(
        RoleName="instructor",
        Path="/people/",
        AssumeRolePolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [trust]}),
    )["Role"]["Arn"]
    for file in sorted((workshop / "manifests/iam").glob("*.json")):
        if file.stem.startswith("workshop-") or file.stem == "class-instructor":
            text = json.dumps(template(admin, f"iam/{file.stem}"), separators=(",", ":"))
            made = iam.create_policy(PolicyName=file.stem, PolicyDocument=text)
            iam.attach_role_policy(RoleName="instructor", PolicyArn=made["Policy"]["Arn"])
    eks.create_access_entry(clusterName="falco-workshop", principalArn=role)
    eks.associate_access_policy(
        clusterName="falco-workshop", principalArn=role, policyArn=ADMINISTRATOR, accessScope={"type": "cluster"}
    )
    keys = admin.aws.client("sts").assume_role(RoleArn=role, RoleSessionName="ida")["Credentials"]
    as_on_eks(endpoints)
    monkeypatch.delenv("KUBECONFIG")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", keys["AccessKeyId"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", keys["SecretAccessKey"])
    monkeypatch.setenv("AWS_SESSION_TOKEN", keys["SessionToken"])
    lab = Lab.connect(target="eks", home=tmp_path / "home", root=workshop)
    calls: set[str] = set()

    def note(model: Any, **_: Any) -> None:
        calls.add(f"{model.service_model.signing_name}:{model.name}")

    lab.aws.session.events.register("before-call", note)
    for known in ("eks", "sts"):  # made while the lab was connected, and so with the events of before
        lab.aws.client(known).meta.events.register("before-call", note)
    return lab, calls


def test_the_policies_are_enough_for_a_class_and_nothing_in_them_is_spare(
    instructor: tuple[Lab, set[str]],
) -> None:
    lab, calls = instructor
    target = lab.target
    plan(target, ["01", "02"], findings=True)
    up(target, ["01", "02"], findings=True)
    role: Any = lab.aws.client("iam").get_role(RoleName="falco-workshop-attendee-01")["Role"]
    (trusted,) = role["AssumeRolePolicyDocument"]["Statement"][0]["Principal"]["AWS"]
    assert trusted.endswith(":role/people/instructor")  # with its path, which a session's ARN doesn't show
    other = f"arn:aws:iam::{lab.aws.identity.account_id}:user/anna"
    up(target, ["02"], trust={"": [other]})
    eks = lab.aws.client("eks")
    arn = attendees.role_arn(target, "01")
    eks.update_access_entry(clusterName="falco-workshop", principalArn=arn, kubernetesGroups=["another"])
    up(target, ["01"])
    assert {row.state for row in view(target).rows} == {"ready"}
    given = handout.handout(target, "01")
    assert given.variables["AWS_ACCESS_KEY_ID"].startswith("ASIA")
    assert "LABKIT_ROLE" in handout.handout(target, "02").variables
    lab.aws.client("sns").create_topic(Name="falco-workshop-alarms")  # the instructor's own, of chapter 06
    seven = lab.aws.client("cloudwatch")
    with pytest.raises(ClientError, match="not authorized"):  # attendees make these; an instructor deletes them
        seven.put_dashboard(DashboardName="falco-workshop-01", DashboardBody='{"widgets": []}')
    attendee = target.aws.with_keys(
        {
            "AccessKeyId": given.variables["AWS_ACCESS_KEY_ID"],
            "SecretAccessKey": given.variables["AWS_SECRET_ACCESS_KEY"],
            "SessionToken": given.variables["AWS_SESSION_TOKEN"],
        }
    )
    attendee.client("cloudwatch").put_dashboard(DashboardName="falco-workshop-01", DashboardBody='{"widgets": []}')
    attendee.client("sns").create_topic(Name="falco-workshop-01-alarms")
    attendee.client("sqs").create_queue(QueueName="falco-workshop-01-notifications")
    remove(target, ["02"])
    down(target)
    lab.aws.client("sns").delete_topic(TopicArn=target.aws.arn("sns", "falco-workshop-alarms"))
    assert lab.audit().clean
    made = {call.replace("monitoring:", "cloudwatch:") for call in calls}
    spare = allowed("class-instructor") - made - WITHOUT_A_CALL
    assert not spare, f"allowed, but never needed: {sorted(spare)}"
