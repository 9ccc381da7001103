"""What a role may do follows from its policies at the moment of the call, and a refusal is worded as AWS words it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from ekslab.aws.iam_authorization import evaluate, trusts

GROUP = "arn:aws:logs:us-east-1:111122223333:log-group:falco"
STREAM = f"{GROUP}:log-stream:alerts"


def statement(effect: str = "Allow", action: Any = "logs:PutLogEvents", resource: Any = "*", **more: Any) -> Any:
    return {"Effect": effect, "Action": action, "Resource": resource, **more}


def policy(*statements: Any) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": list(statements)}


@pytest.mark.parametrize(
    ("statements", "verdict"),
    [
        ([], "implicitly denied"),
        ([statement(resource=f"{GROUP}:*")], "allowed"),
        ([statement(resource=f"{GROUP}:log-stream:*")], "allowed"),
        ([statement(resource=GROUP)], "implicitly denied"),
        ([statement(resource=f"{GROUP}:log-stream:alert?")], "allowed"),
        ([statement(resource=f"{GROUP}-2:*")], "implicitly denied"),
        ([statement(action="LOGS:putlogevents")], "allowed"),
        ([statement(action="logs:Put*")], "allowed"),
        ([statement(action=["s3:*", "logs:Describe*"])], "implicitly denied"),
        ([statement(), statement("Deny", "logs:*", f"{GROUP}:*")], "explicitly denied"),
        ([statement("Deny", "logs:*", "*"), statement(action="*")], "explicitly denied"),
        ([{"Effect": "Allow", "NotAction": "iam:*", "Resource": "*"}], "allowed"),
        ([{"Effect": "Allow", "NotAction": "logs:*", "Resource": "*"}], "implicitly denied"),
        ([{"Effect": "Allow", "Action": "*", "NotResource": f"{GROUP}:*"}], "implicitly denied"),
        ([{"Effect": "Allow", "Action": "*", "NotResource": "arn:aws:s3:::*"}], "allowed"),
        ([{"Effect": "Deny", "Action": "*", "NotResource": f"{GROUP}:*"}, statement()], "allowed"),
        ([statement(Condition={"StringEquals": {"aws:RequestedRegion": "us-east-1"}})], "allowed"),
        ([statement(Condition={"StringEquals": {"aws:RequestedRegion": ["eu-west-1"]}})], "implicitly denied"),
        ([statement(Condition={"StringNotEquals": {"aws:RequestedRegion": "eu-west-1"}})], "allowed"),
        ([statement(Condition={"StringEqualsIgnoreCase": {"aws:RequestedRegion": "US-East-1"}})], "allowed"),
        ([statement(Condition={"StringEqualsIgnoreCase": {"aws:RequestedRegion": "US-East"}})], "implicitly denied"),
        ([statement(Condition={"StringEquals": {"aws:RequestedRegion": "US-East-1"}})], "implicitly denied"),
        (
            [statement(Condition={"StringNotEqualsIgnoreCase": {"aws:RequestedRegion": "US-East-1"}})],
            "implicitly denied",
        ),
        ([statement(Condition={"StringLike": {"AWS:requestedregion": "us-*"}})], "allowed"),
        ([statement(Condition={"ArnLike": {"aws:PrincipalArn": "arn:aws:sts::*:assumed-role/*"}})], "allowed"),
        ([statement(Condition={"ArnLike": {"aws:PrincipalArn": "arn:aws:*/fluent-bit"}})], "implicitly denied"),
        ([statement(Condition={"StringEquals": {"aws:PrincipalTag/team": "x"}})], "implicitly denied"),
        ([statement(Condition={"StringEqualsIfExists": {"aws:PrincipalTag/team": "x"}})], "allowed"),
        ([statement(Condition={"Null": {"aws:PrincipalTag/team": "true"}})], "allowed"),
        ([statement(Condition={"Bool": {"aws:SecureTransport": True}})], "allowed"),
        ([statement(Condition={"FutureOperator": {"aws:x": "y"}})], "implicitly denied"),
        ([statement(), statement("Deny", Condition={"FutureOperator": {"aws:x": "y"}})], "explicitly denied"),
        ([statement(resource="arn:aws:logs:${aws:RequestedRegion}:*")], "allowed"),
        ([statement(resource="arn:${aws:unknown}*")], "implicitly denied"),
    ],
)
def test_policies_are_evaluated_as_iam_does(statements: list[Any], verdict: str) -> None:
    context = {
        "aws:RequestedRegion": "us-east-1",
        "aws:PrincipalArn": "arn:aws:sts::111122223333:assumed-role/fluent-bit",
        "aws:SecureTransport": "true",
    }
    assert evaluate([policy(*statements)], "logs:PutLogEvents", STREAM, context) == verdict


def test_a_trust_policys_deny_wins() -> None:
    principals = {"Federated": ["arn:provider"]}
    allow = {"Effect": "Allow", "Principal": {"Federated": "arn:provider"}, "Action": "sts:*"}
    deny = {**allow, "Effect": "Deny", "Condition": {"StringLike": {"x:sub": "*:default:*"}}}
    document = policy(allow, deny)
    assert trusts(document, "sts:AssumeRoleWithWebIdentity", principals, {"x:sub": "a:fluent-bit:b"})
    assert not trusts(document, "sts:AssumeRoleWithWebIdentity", principals, {"x:sub": "a:default:b"})
    assert not trusts(policy(allow), "sts:AssumeRoleWithWebIdentity", {"AWS": ["arn:provider"]}, {})


def denied(call: Any, **kwargs: Any) -> str:
    with pytest.raises(ClientError) as caught:
        call(**kwargs)
    assert caught.value.response["Error"]["Code"] in ("AccessDeniedException", "AccessDenied")
    return str(caught.value.response["Error"]["Message"])


@pytest.fixture
def pod(running: Any) -> Any:
    """A client with the workshop's least-privilege role, and the group it may write to."""
    admin = running.client("logs")
    admin.create_log_group(logGroupName="falco")
    admin.create_log_group(logGroupName="other")
    document = policy(statement(action=["logs:CreateLogStream", "logs:PutLogEvents"], resource=f"{GROUP}:*"))
    return running.as_session("logs", running.session(document))


def test_least_privilege_is_enough_to_ship_and_for_nothing_else(running: Any, pod: Any) -> None:
    now = running.clock.ms()
    events = [{"timestamp": now, "message": "x"}]
    pod.create_log_stream(logGroupName="falco", logStreamName="alerts")
    pod.put_log_events(logGroupName="falco", logStreamName="alerts", logEvents=events)
    session = "User: arn:aws:sts::111122223333:assumed-role/fluent-bit/pod is not authorized to perform: "
    assert denied(pod.create_log_stream, logGroupName="other", logStreamName="alerts") == (
        f"{session}logs:CreateLogStream on resource: arn:aws:logs:us-east-1:111122223333:log-group:other:"
        "log-stream:alerts because no identity-based policy allows the logs:CreateLogStream action"
    )
    assert "logs:FilterLogEvents on resource" in denied(pod.filter_log_events, logGroupName="falco")
    assert "log-group::log-stream:" in denied(pod.describe_log_groups)
    assert "log-group:new:log-stream:" in denied(pod.create_log_group, logGroupName="new")


def test_a_policy_taken_away_stops_a_running_session_and_given_back_lets_it_on(running: Any, pod: Any) -> None:
    iam = running.client("iam")
    pod.create_log_stream(logGroupName="falco", logStreamName="alerts")
    event = {"timestamp": running.clock.ms(), "message": "x"}
    put = {"logGroupName": "falco", "logStreamName": "alerts", "logEvents": [event]}
    document = iam.get_role_policy(RoleName="fluent-bit", PolicyName="permissions")["PolicyDocument"]
    iam.delete_role_policy(RoleName="fluent-bit", PolicyName="permissions")
    assert "no identity-based policy allows the logs:PutLogEvents action" in denied(pod.put_log_events, **put)
    iam.put_role_policy(RoleName="fluent-bit", PolicyName="permissions", PolicyDocument=json.dumps(document))
    pod.put_log_events(**put)
    deny = policy(statement("Deny", "logs:PutLogEvents", "*"))
    iam.put_role_policy(RoleName="fluent-bit", PolicyName="stop", PolicyDocument=json.dumps(deny))
    assert denied(pod.put_log_events, **put).endswith("with an explicit deny in an identity-based policy")


def test_attached_policies_count_customer_and_aws_managed(running: Any) -> None:
    admin, iam = running.client("logs"), running.client("iam")
    admin.create_log_group(logGroupName="falco")
    pod = running.as_session("logs", running.session(None))
    denied(pod.describe_log_groups)
    document = json.dumps(policy(statement(action="logs:DescribeLogGroups")))
    arn = iam.create_policy(PolicyName="read", PolicyDocument=document)["Policy"]["Arn"]
    iam.attach_role_policy(RoleName="fluent-bit", PolicyArn=arn)
    assert pod.describe_log_groups()["logGroups"]
    denied(pod.delete_log_group, logGroupName="falco")
    iam.attach_role_policy(RoleName="fluent-bit", PolicyArn="arn:aws:iam::aws:policy/AdministratorAccess")
    pod.delete_log_group(logGroupName="falco")


def test_a_new_default_version_of_a_policy_holds_at_once(running: Any) -> None:
    iam = running.client("iam")
    pod = running.as_session("logs", running.session(None))
    document = json.dumps(policy(statement(action="s3:*")))
    arn = iam.create_policy(PolicyName="p", PolicyDocument=document)["Policy"]["Arn"]
    iam.attach_role_policy(RoleName="fluent-bit", PolicyArn=arn)
    denied(pod.describe_log_groups)
    better = json.dumps(policy(statement(action="logs:*")))
    iam.create_policy_version(PolicyArn=arn, PolicyDocument=better, SetAsDefault=True)
    pod.describe_log_groups()


def test_other_services_are_authorised_too(running: Any) -> None:
    allowed = policy(statement(action=["eks:DescribeCluster"], resource="arn:aws:eks:*:*:cluster/falco-workshop"))
    session = running.session(allowed)
    assert running.as_session("eks", session).describe_cluster(name="falco-workshop")
    assert "eks:ListClusters" in denied(running.as_session("eks", session).list_clusters)
    assert "iam:CreateRole on resource: arn:aws:iam::111122223333:role/x" in denied(
        running.as_session("iam", session).create_role, RoleName="x", AssumeRolePolicyDocument="{}"
    )
    assert "cloudwatch:ListMetrics" in denied(running.as_session("cloudwatch", session).list_metrics)


def test_a_permissions_boundary_limits_what_policies_grant(running: Any) -> None:
    iam = running.client("iam")
    session = running.session(policy(statement(action="logs:*")))
    pod = running.as_session("logs", session)
    boundary = json.dumps(policy(statement(action="logs:DescribeLogGroups")))
    arn = iam.create_policy(PolicyName="boundary", PolicyDocument=boundary)["Policy"]["Arn"]
    iam.put_role_permissions_boundary(RoleName="fluent-bit", PermissionsBoundary=arn)
    pod.describe_log_groups()
    assert denied(pod.create_log_group, logGroupName="x").endswith(
        "because no permissions boundary allows the logs:CreateLogGroup action"
    )


def test_a_session_policy_limits_the_session(running: Any) -> None:
    role = running.make_role(policy(statement(action="logs:*")))
    answer = running.client("sts").assume_role_with_web_identity(
        RoleArn=role,
        RoleSessionName="pod",
        WebIdentityToken=running.token(),
        Policy=json.dumps(policy(statement(action="logs:DescribeLogGroups"))),
    )
    pod = running.as_session("logs", answer["Credentials"])
    pod.describe_log_groups()
    assert "no session policy allows" in denied(pod.create_log_group, logGroupName="x")


def test_a_group_with_tags_needs_leave_to_tag(running: Any) -> None:
    pod = running.as_session("logs", running.session(policy(statement(action="logs:CreateLogGroup"))))
    pod.create_log_group(logGroupName="plain")
    assert denied(pod.create_log_group, logGroupName="tagged", tags={"a": "b"}) == (
        "User with accountId: 111122223333 is not authorized to perform CreateLogGroup with Tags"
    )
    iam = running.client("iam")
    tagging = json.dumps(policy(statement(action="logs:TagResource", resource=f"{GROUP[:-5]}tagged")))
    iam.put_role_policy(RoleName="fluent-bit", PolicyName="tag", PolicyDocument=tagging)
    pod.create_log_group(logGroupName="tagged", tags={"a": "b"})


def test_reading_is_granted_by_group(running: Any) -> None:
    for name in ("falco", "other"):
        running.client("logs").create_log_group(logGroupName=name)
    read = statement(action=["logs:StartQuery", "logs:FilterLogEvents"], resource=f"{GROUP}:*")
    pod = running.as_session("logs", running.session(policy(read, statement(action="logs:GetQueryResults"))))
    wanted = {"startTime": 0, "endTime": 1, "queryString": ""}
    query_id = pod.start_query(logGroupName="falco", **wanted)["queryId"]
    assert pod.get_query_results(queryId=query_id)["status"] == "Complete"
    assert pod.start_query(logGroupIdentifiers=[GROUP], **wanted)["queryId"]
    assert "log-group:other:" in denied(pod.start_query, logGroupNames=["falco", "other"], **wanted)
    assert pod.filter_log_events(logGroupIdentifier=GROUP)["events"] == []
    assert "log-group:other:" in denied(pod.filter_log_events, logGroupName="other")


def test_a_deleted_roles_sessions_may_do_nothing(running: Any, pod: Any) -> None:
    iam = running.client("iam")
    iam.delete_role_policy(RoleName="fluent-bit", PolicyName="permissions")
    iam.delete_role(RoleName="fluent-bit")
    denied(pod.create_log_stream, logGroupName="falco", logStreamName="alerts")


def decisions(answer: Any) -> dict[tuple[str, str], str]:
    results = answer["EvaluationResults"]
    return {(r["EvalActionName"], r["EvalResourceName"]): r["EvalDecision"] for r in results}


def test_the_simulator_says_what_will_happen(running: Any, pod: Any) -> None:
    iam = running.client("iam")
    answer = iam.simulate_principal_policy(
        PolicySourceArn="arn:aws:iam::111122223333:role/fluent-bit",
        ActionNames=["logs:PutLogEvents", "logs:DeleteLogGroup"],
        ResourceArns=[STREAM, STREAM.replace("falco", "other")],
    )
    assert decisions(answer) == {
        ("logs:PutLogEvents", STREAM): "allowed",
        ("logs:PutLogEvents", STREAM.replace("falco", "other")): "implicitDeny",
        ("logs:DeleteLogGroup", STREAM): "implicitDeny",
        ("logs:DeleteLogGroup", STREAM.replace("falco", "other")): "implicitDeny",
    }
    assert answer["EvaluationResults"][0]["MatchedStatements"][0]["SourcePolicyId"] == "permissions"


def test_the_simulator_takes_policies_that_are_nowhere_attached(running: Any) -> None:
    iam = running.client("iam")
    condition = {"StringEquals": {"aws:RequestedRegion": "us-east-1"}, "Bool": {"aws:SecureTransport": "true"}}
    documents = [
        json.dumps(policy(statement(action="logs:*", Condition=condition))),
        json.dumps(policy(statement("Deny", "logs:Delete*"))),
    ]
    context = {"ContextKeyName": "aws:RequestedRegion", "ContextKeyValues": ["us-east-1"], "ContextKeyType": "string"}
    secure = {"ContextKeyName": "aws:SecureTransport", "ContextKeyValues": ["true"], "ContextKeyType": "boolean"}
    answer = iam.simulate_custom_policy(
        PolicyInputList=documents,
        ActionNames=["logs:PutLogEvents", "logs:DeleteLogGroup", "s3:GetObject"],
        ContextEntries=[context, secure],
    )
    assert list(decisions(answer).values()) == ["allowed", "explicitDeny", "implicitDeny"]
    without = iam.simulate_custom_policy(PolicyInputList=documents, ActionNames=["logs:PutLogEvents"])
    assert list(decisions(without).values()) == ["implicitDeny"]
    limited = iam.simulate_custom_policy(
        PolicyInputList=[json.dumps(policy(statement(action="*")))],
        PermissionsBoundaryPolicyInputList=[json.dumps(policy(statement(action="s3:*")))],
        ActionNames=["logs:PutLogEvents"],
    )["EvaluationResults"][0]
    assert limited["EvalDecision"] == "implicitDeny"
    assert limited["PermissionsBoundaryDecisionDetail"] == {"AllowedByPermissionsBoundary": False}
    with pytest.raises(iam.exceptions.NoSuchEntityException, match="role/nobody cannot be found"):
        iam.simulate_principal_policy(
            PolicySourceArn="arn:aws:iam::111122223333:role/nobody", ActionNames=["logs:PutLogEvents"]
        )
