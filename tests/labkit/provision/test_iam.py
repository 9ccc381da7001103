"""The policies: what the templates become, and how narrow they are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from labkit.errors import StepError
from labkit.provision.templates import fill

VALUES = {
    "partition": "aws-cn",
    "account_id": "444455556666",
    "region": "cn-north-1",
    "log_group": "alerts-of-mine",
    "oidc_provider": "oidc.eks.cn-north-1.amazonaws.com.cn/id/ABC",
    "namespace": "logging",
    "service_account": "fluent-bit",
}


def test_permissions_are_two_actions_on_one_log_group(workshop: Path) -> None:
    document = fill(workshop / "manifests/iam/fluent-bit-permissions.json", VALUES)
    (statement,) = document["Statement"]
    assert sorted(statement["Action"]) == ["logs:CreateLogStream", "logs:PutLogEvents"]
    assert statement["Resource"] == ["arn:aws-cn:logs:cn-north-1:444455556666:log-group:alerts-of-mine:*"]


def test_trust_is_for_one_service_account_of_this_cluster(workshop: Path) -> None:
    document = fill(workshop / "manifests/iam/fluent-bit-trust.json", VALUES)
    (statement,) = document["Statement"]
    provider = VALUES["oidc_provider"]
    assert statement["Principal"] == {"Federated": f"arn:aws-cn:iam::444455556666:oidc-provider/{provider}"}
    assert statement["Condition"]["StringEquals"] == {
        f"{provider}:aud": "sts.amazonaws.com",
        f"{provider}:sub": "system:serviceaccount:logging:fluent-bit",
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [('{"a": "${acount}"}', "placeholder \\$\\{acount\\}"), ("{", "not a valid template"), (None, "can't be read")],
)
def test_a_template_that_is_wrong_is_named(tmp_path: Path, text: str | None, said: str) -> None:
    path = tmp_path / "policy.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(StepError, match=said) as caught:
        fill(path, {"account": "1"})
    assert "policy.json" in caught.value.message


# Actions that IAM can't narrow down to a resource (service authorization reference).
WITHOUT_RESOURCES = {
    "cloudwatch:GetMetricData",
    "cloudwatch:GetMetricStatistics",
    "cloudwatch:GetMetricWidgetImage",
    "cloudwatch:ListDashboards",
    "cloudwatch:ListMetrics",
    "cloudwatch:PutMetricData",
    "eks:DescribeClusterVersions",
    "eks:ListClusters",
    "iam:GetAccountSummary",
    "iam:ListOpenIDConnectProviders",
    "iam:ListRoles",
    "lambda:GetAccountSettings",
    "lambda:ListFunctions",
    "logs:GetQueryResults",
    "logs:StopQuery",
    "logs:TestMetricFilter",
    "servicequotas:ListServiceQuotas",
    "sns:ListTopics",
    "sns:Unsubscribe",
    "sqs:ListQueues",
}


def test_policies_of_the_workshop_grant_named_actions_on_named_resources(workshop: Path) -> None:
    policies = list((workshop / "manifests/iam").glob("*.json"))
    assert policies
    for path in policies:
        for statement in json.loads(path.read_text())["Statement"]:
            actions = [statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"]
            assert actions
            assert not any("*" in action for action in actions), path
            if statement.get("Resource") == "*":
                assert set(actions) <= WITHOUT_RESOURCES, path
