"""IAM, EKS and CloudWatch as the workshop uses them; what isn't emulated says so in the service's protocol."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from typing import Any

import pytest
from botocore.exceptions import ClientError

from labkit.versions import pinned

TRUST = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}],
    }
)
POLICY = json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "logs:*", "Resource": "*"}]})


def error_of(call: Any, **kwargs: Any) -> tuple[str, str, int]:
    with pytest.raises(ClientError) as caught:
        call(**kwargs)
    response = caught.value.response
    return response["Error"]["Code"], response["Error"]["Message"], response["ResponseMetadata"]["HTTPStatusCode"]


def test_the_cluster_is_there_from_the_start(running: Any) -> None:
    eks = running.client("eks")
    assert eks.list_clusters()["clusters"] == ["falco-workshop"]
    cluster = eks.describe_cluster(name="falco-workshop")["cluster"]
    assert cluster["status"] == "ACTIVE"
    assert cluster["endpoint"] == "https://127.0.0.1:6443"
    assert cluster["version"] == pinned()["kubernetes"]["eks"]
    assert cluster["identity"]["oidc"]["issuer"] == running.issuer.issuer
    assert base64.b64decode(cluster["certificateAuthority"]["data"]).startswith(b"-----BEGIN CERTIFICATE")
    assert cluster["arn"] == "arn:aws:eks:us-east-1:111122223333:cluster/falco-workshop"
    role = running.client("iam").get_role(RoleName="falco-workshop-cluster")["Role"]
    assert role["Arn"] == cluster["roleArn"]
    (name,) = eks.list_nodegroups(clusterName="falco-workshop")["nodegroups"]
    group = eks.describe_nodegroup(clusterName="falco-workshop", nodegroupName=name)["nodegroup"]
    assert (group["status"], group["amiType"]) == ("ACTIVE", "AL2023_x86_64_STANDARD")
    assert eks.list_addons(clusterName="falco-workshop")["addons"] == []


def test_a_cluster_that_does_not_exist_is_not_found(running: Any) -> None:
    code, message, status = error_of(running.client("eks").describe_cluster, name="nope")
    assert (code, message, status) == ("ResourceNotFoundException", "No cluster found for name: nope.", 404)
    elsewhere = running.client("eks", region="eu-west-1")
    assert elsewhere.list_clusters()["clusters"] == []
    assert error_of(elsewhere.describe_cluster, name="falco-workshop")[0] == "ResourceNotFoundException"


def test_the_cluster_can_be_tagged(running: Any) -> None:
    eks = running.client("eks")
    arn = "arn:aws:eks:us-east-1:111122223333:cluster/falco-workshop"
    eks.tag_resource(resourceArn=arn, tags={"a": "1", "b": "2"})
    eks.untag_resource(resourceArn=arn, tagKeys=["a"])
    assert eks.list_tags_for_resource(resourceArn=arn)["tags"] == {"b": "2"}
    assert eks.describe_cluster(name="falco-workshop")["cluster"]["tags"] == {"b": "2"}


def test_cluster_versions_have_their_support_dates(running: Any) -> None:
    eks = running.client("eks")
    (found,) = eks.describe_cluster_versions(clusterVersions=["1.34"])["clusterVersions"]
    assert found["endOfStandardSupportDate"].strftime("%Y-%m-%d") == "2026-12-02"
    assert found["defaultVersion"] is True
    assert all(v["versionStatus"] != "UNSUPPORTED" for v in eks.describe_cluster_versions()["clusterVersions"])


def test_an_attached_policy_cannot_be_deleted(running: Any) -> None:
    iam = running.client("iam")
    arn = iam.create_policy(PolicyName="p", PolicyDocument=POLICY)["Policy"]["Arn"]
    assert arn == "arn:aws:iam::111122223333:policy/p"
    iam.create_role(RoleName="r", AssumeRolePolicyDocument=TRUST)
    iam.attach_role_policy(RoleName="r", PolicyArn=arn)
    iam.attach_role_policy(RoleName="r", PolicyArn=arn)
    assert iam.get_policy(PolicyArn=arn)["Policy"]["AttachmentCount"] == 1
    assert error_of(iam.delete_policy, PolicyArn=arn) == (
        "DeleteConflict",
        "Cannot delete a policy attached to entities.",
        409,
    )
    assert error_of(iam.delete_role, RoleName="r")[0] == "DeleteConflict"
    iam.detach_role_policy(RoleName="r", PolicyArn=arn)
    iam.create_policy_version(PolicyArn=arn, PolicyDocument=POLICY, SetAsDefault=True)
    assert error_of(iam.delete_policy, PolicyArn=arn)[0] == "DeleteConflict"
    iam.delete_policy_version(PolicyArn=arn, VersionId="v1")
    iam.delete_policy(PolicyArn=arn)
    iam.delete_role(RoleName="r")
    assert error_of(iam.get_policy, PolicyArn=arn)[0] == "NoSuchEntity"


def test_roles_with_inline_policies_cannot_be_deleted(running: Any) -> None:
    iam = running.client("iam")
    iam.create_role(RoleName="r", AssumeRolePolicyDocument=TRUST)
    assert error_of(iam.create_role, RoleName="r", AssumeRolePolicyDocument=TRUST)[0] == "EntityAlreadyExists"
    iam.put_role_policy(RoleName="r", PolicyName="p", PolicyDocument=POLICY)
    assert error_of(iam.delete_role, RoleName="r")[0] == "DeleteConflict"
    iam.delete_role_policy(RoleName="r", PolicyName="p")
    iam.delete_role(RoleName="r")
    assert error_of(iam.get_role, RoleName="r")[0] == "NoSuchEntity"


def test_the_labs_key_belongs_to_an_administrator(running: Any) -> None:
    user = running.client("iam").get_user()["User"]
    identity = running.client("sts").get_caller_identity()
    assert (user["Arn"], user["UserId"]) == (identity["Arn"], identity["UserId"])
    attached = running.client("iam").list_attached_user_policies(UserName=user["UserName"])["AttachedPolicies"]
    assert [policy["PolicyName"] for policy in attached] == ["AdministratorAccess"]


def test_documents_that_are_not_policies_are_refused(running: Any) -> None:
    iam = running.client("iam")
    assert error_of(iam.create_policy, PolicyName="p", PolicyDocument="{")[0] == "MalformedPolicyDocument"
    assert error_of(iam.create_role, RoleName="r", AssumeRolePolicyDocument="nonsense")[0] == "MalformedPolicyDocument"


CHARACTERS = "It must contain only alphanumeric characters and/or the following: +=,.@_-"
CONSTRAINT = "failed to satisfy constraint: Member must"


@pytest.mark.parametrize(
    ("operation", "changes", "message"),
    [
        ("create_role", {"RoleName": "falco reader"}, f"The specified value for roleName is invalid. {CHARACTERS}"),
        ("get_role", {"RoleName": "falco/reader"}, f"The specified value for roleName is invalid. {CHARACTERS}"),
        ("create_policy", {"PolicyName": "p:q"}, f"The specified value for policyName is invalid. {CHARACTERS}"),
        ("create_user", {"UserName": "höhe"}, f"The specified value for userName is invalid. {CHARACTERS}"),
        ("create_role", {"RoleName": "r" * 65}, f"at 'roleName' {CONSTRAINT} have length less than or equal to 64"),
        (
            "create_policy",
            {"PolicyName": "p" * 129},
            f"at 'policyName' {CONSTRAINT} have length less than or equal to 128",
        ),
        (
            "create_role",
            {"RoleName": "r", "MaxSessionDuration": 43_201},
            f"1 validation error detected: Value '43201' at 'maxSessionDuration' {CONSTRAINT} have value less than or "
            "equal to 43200",
        ),
        (
            "create_role",
            {"RoleName": "r" * 65, "Description": "d" * 1001},
            "2 validation errors detected: ",
        ),
        (
            "attach_role_policy",
            {"RoleName": "r", "PolicyArn": "a" * 2049},
            f"at 'policyArn' {CONSTRAINT} have",
        ),
    ],
)
def test_what_iam_describes_is_checked_as_iam_words_it(
    running: Any, operation: str, changes: dict[str, Any], message: str
) -> None:
    needed = {"create_role": {"AssumeRolePolicyDocument": TRUST}, "create_policy": {"PolicyDocument": POLICY}}
    call = getattr(running.client("iam"), operation)
    code, said, status = error_of(call, **needed.get(operation, {}), **changes)
    assert (code, status) == ("ValidationError", 400)
    assert message in said
    assert running.client("iam").list_users()["Users"][1:] == []


def test_oidc_providers_are_made_once_and_deleted_once(running: Any) -> None:
    iam = running.client("iam")
    wanted = {"Url": running.issuer.issuer, "ClientIDList": ["sts.amazonaws.com"]}
    arn = iam.create_open_id_connect_provider(**wanted)["OpenIDConnectProviderArn"]
    assert arn == f"arn:aws:iam::111122223333:oidc-provider/{running.issuer.issuer.removeprefix('https://')}"
    assert error_of(iam.create_open_id_connect_provider, **wanted)[0] == "EntityAlreadyExists"
    assert iam.get_open_id_connect_provider(OpenIDConnectProviderArn=arn)["ClientIDList"] == ["sts.amazonaws.com"]
    iam.delete_open_id_connect_provider(OpenIDConnectProviderArn=arn)
    assert error_of(iam.delete_open_id_connect_provider, OpenIDConnectProviderArn=arn)[0] == "NoSuchEntity"


def test_ids_are_the_same_in_every_lab_whatever_was_called_before(make_aws: Any) -> None:
    def role_id(*calls: str) -> str:
        lab = make_aws()
        for call in calls:
            service, operation = call.split()
            getattr(lab.client(service), operation)()
        role = lab.client("iam").create_role(RoleName="r", AssumeRolePolicyDocument=TRUST)["Role"]
        return str(role["RoleId"])

    first = role_id()
    assert first.startswith("AROA")
    assert role_id("cloudwatch list_metrics", "iam list_roles", "iam list_roles") == first


def test_what_one_lab_does_with_a_policy_of_aws_stays_in_it(make_aws: Any) -> None:
    arn = "arn:aws:iam::aws:policy/ReadOnlyAccess"
    first = make_aws().client("iam")
    before = first.get_policy(PolicyArn=arn)["Policy"]
    assert before["AttachmentCount"] == 0
    first.attach_user_policy(UserName="workshop", PolicyArn=arn)
    first.tag_policy(PolicyArn=arn, Tags=[{"Key": "a", "Value": "b"}])
    first.create_policy_version(PolicyArn=arn, PolicyDocument=POLICY, SetAsDefault=True)
    assert first.get_policy(PolicyArn=arn)["Policy"]["AttachmentCount"] == 1
    second = make_aws().client("iam")
    assert second.get_policy(PolicyArn=arn)["Policy"] == before
    assert second.list_policy_tags(PolicyArn=arn)["Tags"] == []
    assert len(second.list_policy_versions(PolicyArn=arn)["Versions"]) == 1


def test_a_role_made_again_is_another_one(running: Any) -> None:
    iam = running.client("iam")
    ids = set()
    for _ in range(2):
        ids.add(iam.create_role(RoleName="r", AssumeRolePolicyDocument=TRUST)["Role"]["RoleId"])
        iam.delete_role(RoleName="r")
    assert len(ids) == 2


def test_what_cannot_be_made_is_listed_as_empty(running: Any) -> None:
    assert running.client("cloudwatch").describe_alarms()["MetricAlarms"] == []
    assert running.client("cloudwatch").list_dashboards()["DashboardEntries"] == []
    logs = running.client("logs")
    logs.create_log_group(logGroupName="falco")
    assert logs.describe_metric_filters(logGroupName="falco")["metricFilters"] == []
    assert logs.describe_subscription_filters(logGroupName="falco")["subscriptionFilters"] == []


@pytest.mark.parametrize(
    ("service", "operation", "parameters", "action"),
    [
        ("logs", "get_transformer", {"logGroupIdentifier": "x"}, "logs:GetTransformer"),
        ("iam", "list_groups", {}, "iam:ListGroups"),
        ("eks", "create_cluster", {"name": "x", "roleArn": "y", "resourcesVpcConfig": {}}, "eks:CreateCluster"),
        ("cloudwatch", "list_metric_streams", {}, "cloudwatch:ListMetricStreams"),
        ("ec2", "describe_instances", {}, "ec2:DescribeInstances"),
        ("s3", "list_buckets", {}, "s3:ListBuckets"),
        ("s3", "get_object", {"Bucket": "b", "Key": "k"}, "s3:GetObject"),
        ("lambda", "list_layers", {}, "lambda:ListLayers"),
        ("securityhub", "list_members", {}, "securityhub:ListMembers"),
        ("sns", "list_phone_numbers_opted_out", {}, "sns:ListPhoneNumbersOptedOut"),
        ("sqs", "list_message_move_tasks", {"SourceArn": "x"}, "sqs:ListMessageMoveTasks"),
        ("dynamodb", "list_tables", {}, "dynamodb:ListTables"),
    ],
)  # fmt: skip
def test_what_is_not_emulated_is_refused_by_name_in_the_services_protocol(
    running: Any, service: str, operation: str, parameters: dict[str, Any], action: str
) -> None:
    code, message, status = error_of(getattr(running.client(service), operation), **parameters)
    assert code in ("UnknownOperationException", "InvalidAction")
    assert message == f"{action} is not supported by the embedded lab."
    assert status == 400


def test_constructing_the_account_imports_no_moto() -> None:
    code = (
        "import sys\n"
        "from ekslab.aws import Aws\n"
        "from ekslab.identity import Credentials, ServiceAccountIssuer\n"
        "Aws(credentials=Credentials(), issuer=ServiceAccountIssuer('https://issuer'))\n"
        "assert not [name for name in sys.modules if name.split('.')[0] in ('moto', 'boto3', 'flask')]\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_first_lab_of_a_process_has_the_same_ids_as_a_later_one() -> None:
    code = (
        "from ekslab.aws import Aws\n"
        "from ekslab.identity import Credentials, ServiceAccountIssuer\n"
        "def role_id():\n"
        "    aws = Aws(credentials=Credentials(), issuer=ServiceAccountIssuer('https://issuer'))\n"
        "    aws.account.load()\n"
        "    return aws.account.role('arn:aws:iam::111122223333:role/falco-workshop-node').id\n"
        "assert role_id() == role_id()\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
