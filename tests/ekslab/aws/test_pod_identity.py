"""EKS Pod Identity: associations, credentials for a service account's token, and session tags in policies."""

from __future__ import annotations

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

CLUSTER = "falco-workshop"
ARN = f"arn:aws:eks:us-east-1:111122223333:cluster/{CLUSTER}"
AUDIENCE = "pods.eks.amazonaws.com"
POD = {"pod": "fluent-bit-x7k2q", "pod_uid": "2b6a"}


def trust(**condition: Any) -> str:
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": AUDIENCE},
        "Action": ["sts:AssumeRole", "sts:TagSession"],
        **({"Condition": condition} if condition else {}),
    }
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


OWN = {
    "StringEquals": {
        "aws:RequestTag/eks-cluster-arn": ARN,
        "aws:RequestTag/kubernetes-namespace": "logging",
        "aws:RequestTag/kubernetes-service-account": "fluent-bit",
        "aws:SourceAccount": "111122223333",
    },
    "ArnEquals": {"aws:SourceArn": ARN},
}


def role(running: Any, policy: str = "", name: str = "shipper") -> str:
    made = running.client("iam").create_role(RoleName=name, AssumeRolePolicyDocument=policy or trust(**OWN))
    return str(made["Role"]["Arn"])


def associate(running: Any, arn: str, namespace: str = "logging", account: str = "fluent-bit", **more: Any) -> Any:
    return running.client("eks").create_pod_identity_association(
        clusterName=CLUSTER, namespace=namespace, serviceAccount=account, roleArn=arn, **more
    )["association"]


def assume(running: Any, subject: str = "system:serviceaccount:logging:fluent-bit", **token: Any) -> Any:
    token = {"audience": AUDIENCE, **POD, **token}
    return running.client("eks-auth").assume_role_for_pod_identity(
        clusterName=CLUSTER, token=running.token(subject, **token)
    )


def refused(call: Any, *arguments: Any, **more: Any) -> tuple[str, str]:
    with pytest.raises(ClientError) as caught:
        call(*arguments, **more)
    error = caught.value.response["Error"]
    return error["Code"], error["Message"]


def test_an_association_is_made_found_changed_and_deleted(running: Any) -> None:
    eks, first, second = running.client("eks"), role(running), role(running, name="other")
    made = associate(running, first, tags={"workshop": "falco-eks"})
    assert made["associationId"].startswith("a-")
    assert made["associationArn"].endswith(f":podidentityassociation/{CLUSTER}/{made['associationId']}")
    assert refused(associate, running, second) == (
        "ResourceInUseException",
        f"Association already exists: {made['associationId']}",
    )
    named = {"clusterName": CLUSTER, "associationId": made["associationId"]}
    assert eks.update_pod_identity_association(**named, roleArn=second)["association"]["roleArn"] == second
    found = eks.describe_pod_identity_association(**named)["association"]
    assert (found["roleArn"], found["tags"], found["disableSessionTags"]) == (second, {"workshop": "falco-eks"}, False)
    assert eks.list_tags_for_resource(resourceArn=made["associationArn"])["tags"] == {"workshop": "falco-eks"}
    listed = eks.list_pod_identity_associations(clusterName=CLUSTER, namespace="logging", serviceAccount="fluent-bit")
    assert [one["associationId"] for one in listed["associations"]] == [made["associationId"]]
    assert eks.list_pod_identity_associations(clusterName=CLUSTER, namespace="x")["associations"] == []
    eks.delete_pod_identity_association(**named)
    assert refused(eks.describe_pod_identity_association, **named)[0] == "ResourceNotFoundException"
    assert refused(eks.list_pod_identity_associations, clusterName="mine")[0] == "ResourceNotFoundException"
    assert refused(associate, running, first + "x") == (
        "InvalidParameterException",
        "Role provided in the request does not exist.",
    )


def test_a_service_account_gets_credentials_that_carry_its_names(running: Any) -> None:
    arn = role(running)
    allowed = {
        "Effect": "Allow",
        "Action": "logs:CreateLogGroup",
        "Resource": "arn:aws:logs:*:*:log-group:${aws:PrincipalTag/kubernetes-namespace}:*",
        "Condition": {"StringEquals": {"aws:PrincipalTag/kubernetes-service-account": "fluent-bit"}},
    }
    document = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
    running.client("iam").put_role_policy(RoleName="shipper", PolicyName="own", PolicyDocument=document)
    associate(running, arn)
    answer = assume(running)
    assert answer["subject"] == {"namespace": "logging", "serviceAccount": "fluent-bit"}
    assert answer["assumedRoleUser"]["arn"].startswith("arn:aws:sts::111122223333:assumed-role/shipper/eks-falco")
    keys = {name[0].upper() + name[1:]: value for name, value in answer["credentials"].items()}
    logs = running.as_session("logs", keys)
    logs.create_log_group(logGroupName="logging")
    assert refused(logs.create_log_group, logGroupName="falco")[0] == "AccessDeniedException"


@pytest.mark.parametrize(
    ("subject", "policy"),
    [
        ("system:serviceaccount:logging:default", ""),
        ("system:serviceaccount:default:fluent-bit", ""),
        ("system:serviceaccount:logging:fluent-bit", trust(ArnEquals={"aws:SourceArn": ARN + "-2"})),
        ("system:serviceaccount:logging:fluent-bit", trust().replace(AUDIENCE, "ec2.amazonaws.com")),
        ("system:serviceaccount:logging:fluent-bit", trust().replace(', "sts:TagSession"', "")),
    ],
)
def test_a_role_that_does_not_trust_this_service_account_of_this_cluster_is_denied(
    running: Any, subject: str, policy: str
) -> None:
    _, _, namespace, account = subject.split(":")
    associate(running, role(running, policy), namespace, account)
    assert refused(assume, running, subject) == (
        "AccessDeniedException",
        "Unauthorized Exception! EKS does not have permissions to assume the associated role.",
    )


def test_without_session_tags_a_condition_on_them_does_not_hold(running: Any) -> None:
    associate(running, role(running), disableSessionTags=True)
    assert refused(assume, running)[0] == "AccessDeniedException"
    associate(running, role(running, trust(), "plain"), "logging", "plain", disableSessionTags=True)
    assert assume(running, "system:serviceaccount:logging:plain")["credentials"]["accessKeyId"]


def test_tokens_without_an_association_expired_or_for_others_are_told_apart(running: Any) -> None:
    assert refused(assume, running)[0] == "ResourceNotFoundException"
    associate(running, role(running))
    assert refused(assume, running, audience="sts.amazonaws.com")[0] == "InvalidTokenException"
    assert refused(assume, running, now=1e9)[0] == "ExpiredTokenException"
    eks_auth = running.client("eks-auth")
    assert refused(eks_auth.assume_role_for_pod_identity, clusterName=CLUSTER, token="a.b.c")[0] == (
        "InvalidTokenException"
    )


def test_the_caller_has_to_be_allowed_to_pass_the_role(running: Any) -> None:
    arn = role(running)
    own = {"Effect": "Allow", "Action": "eks:CreatePodIdentityAssociation", "Resource": ARN}
    keys = running.session({"Version": "2012-10-17", "Statement": [own]})
    create = running.as_session("eks", keys).create_pod_identity_association
    wanted = {"clusterName": CLUSTER, "namespace": "logging", "serviceAccount": "fluent-bit", "roleArn": arn}
    code, message = refused(create, **wanted)
    assert (code, f"iam:PassRole on resource: {arn}" in message) == ("AccessDeniedException", True)
    passing = {"Effect": "Allow", "Action": "iam:PassRole", "Resource": arn}
    document = json.dumps({"Version": "2012-10-17", "Statement": [own, passing]})
    running.client("iam").put_role_policy(RoleName="fluent-bit", PolicyName="permissions", PolicyDocument=document)
    assert create(**wanted)["association"]["roleArn"] == arn


def test_tags_of_a_session_need_permission_and_are_seen_in_conditions(running: Any) -> None:
    iam, sts = running.client("iam"), running.client("sts")
    me = sts.get_caller_identity()["Arn"]
    trusted = {"Effect": "Allow", "Principal": {"AWS": me}, "Action": "sts:AssumeRole"}
    document = {"Version": "2012-10-17", "Statement": [trusted]}
    arn = iam.create_role(RoleName="tagged", AssumeRolePolicyDocument=json.dumps(document))["Role"]["Arn"]
    wanted = {"RoleArn": arn, "RoleSessionName": "me", "Tags": [{"Key": "team", "Value": "07"}]}
    assert "sts:TagSession" in refused(sts.assume_role, **wanted)[1]
    trusted["Action"] = ["sts:AssumeRole", "sts:TagSession"]  # type: ignore[assignment]
    trusted["Condition"] = {"StringEquals": {"aws:RequestTag/team": "07"}}  # type: ignore[assignment]
    iam.update_assume_role_policy(RoleName="tagged", PolicyDocument=json.dumps(document))
    allowed = {
        "Effect": "Allow",
        "Action": "logs:DescribeLogGroups",
        "Resource": "*",
        "Condition": {"StringEquals": {"aws:PrincipalTag/team": "07"}},
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
    iam.put_role_policy(RoleName="tagged", PolicyName="own", PolicyDocument=policy)
    running.as_session("logs", sts.assume_role(**wanted)["Credentials"]).describe_log_groups()
    wanted["Tags"] = [{"Key": "team", "Value": "08"}]
    assert refused(sts.assume_role, **wanted)[0] == "AccessDenied"


def test_there_is_one_add_on_the_agent(running: Any) -> None:
    eks = running.client("eks")
    named = {"clusterName": CLUSTER, "addonName": "eks-pod-identity-agent"}
    assert refused(eks.describe_addon, **named) == (
        "ResourceNotFoundException",
        f"No addon: eks-pod-identity-agent found in cluster: {CLUSTER}",
    )
    assert eks.create_addon(**named, tags={"a": "b"})["addon"]["status"] == "CREATING"
    assert eks.list_addons(clusterName=CLUSTER)["addons"] == ["eks-pod-identity-agent"]
    assert eks.describe_addon(**named)["addon"]["tags"] == {"a": "b"}
    assert refused(eks.create_addon, **named)[0] == "ResourceInUseException"
    assert "only the add-on" in refused(eks.create_addon, clusterName=CLUSTER, addonName="vpc-cni")[1]
    eks.delete_addon(**named)
    assert eks.list_addons(clusterName=CLUSTER)["addons"] == []
