"""Service Quotas of the lab, and where else quotas are told: Lambda's account settings, IAM's account summary."""

from __future__ import annotations

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from ekslab.aws.service_quotas import QUOTAS
from tests.ekslab.aws.conftest import RunningAws


@pytest.fixture
def quotas(running: RunningAws) -> Any:
    return running.client("service-quotas")


def refused(call: Any, **request: Any) -> tuple[str, int]:
    with pytest.raises(ClientError) as caught:
        call(**request)
    response = caught.value.response
    return response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"]


def test_quotas_have_awss_defaults(quotas: Any) -> None:
    assert {service["ServiceCode"] for service in quotas.list_services()["Services"]} == {q.service for q in QUOTAS}
    found = {q["QuotaCode"]: q for q in quotas.list_service_quotas(ServiceCode="iam")["Quotas"]}
    assert {code: quota["Value"] for code, quota in found.items()} == {"L-FE177D64": 1000.0, "L-858F3967": 100.0}
    roles = found["L-FE177D64"]
    assert (roles["QuotaName"], roles["GlobalQuota"], roles["QuotaAppliedAtLevel"]) == (
        "Roles per account",
        True,
        "ACCOUNT",
    )
    one = quotas.get_service_quota(ServiceCode="iam", QuotaCode="L-FE177D64")["Quota"]
    assert one == roles
    assert quotas.list_service_quotas(ServiceCode="iam", QuotaCode="L-858F3967")["Quotas"] == [found["L-858F3967"]]


def test_pages_follow_one_another(quotas: Any) -> None:
    first = quotas.list_service_quotas(ServiceCode="iam", MaxResults=1)
    second = quotas.list_service_quotas(ServiceCode="iam", MaxResults=1, NextToken=first["NextToken"])
    assert [len(page["Quotas"]) for page in (first, second)] == [1, 1]
    assert first["Quotas"] != second["Quotas"]
    assert "NextToken" not in second
    token = "abcd"
    assert (
        refused(quotas.list_service_quotas, ServiceCode="iam", NextToken=token)[0] == "InvalidPaginationTokenException"
    )


def test_an_accounts_value_may_differ_from_the_default(running: RunningAws, quotas: Any) -> None:
    running.aws.load.set({"quotas": {"iam/L-FE177D64": 20, "lambda/L-B99A9384": 10}})
    key = {"ServiceCode": "iam", "QuotaCode": "L-FE177D64"}
    assert quotas.get_service_quota(**key)["Quota"]["Value"] == 20.0
    assert quotas.get_aws_default_service_quota(**key)["Quota"]["Value"] == 1000.0
    limit = running.client("lambda").get_account_settings()["AccountLimit"]
    assert (limit["ConcurrentExecutions"], limit["UnreservedConcurrentExecutions"]) == (10, 10)
    running.aws.load.set({"quotas": False})
    assert quotas.get_service_quota(**key)["Quota"]["Value"] == 1000.0


def test_such_a_value_switches_no_other_quota_on(running: RunningAws) -> None:
    running.aws.load.set({"quotas": {"iam/L-FE177D64": 20}})
    assert running.aws.load.quotas("us-east-1") == {}
    running.aws.load.set({"quotas": {"FilterLogEvents": 5}})
    assert running.aws.load.quotas("us-east-1")["FilterLogEvents"] == 5
    with pytest.raises(ValueError, match="above 0"):
        running.aws.load.set({"quotas": {"iam/L-FE177D64": -1}})
    running.aws.load.set({"quotas": False})


@pytest.mark.parametrize(
    ("operation", "request_", "code"),
    [
        ("list_service_quotas", {"ServiceCode": "nope"}, "NoSuchResourceException"),
        ("get_service_quota", {"ServiceCode": "iam", "QuotaCode": "L-00000000"}, "NoSuchResourceException"),
        (
            "request_service_quota_increase",
            {"ServiceCode": "iam", "QuotaCode": "L-FE177D64", "DesiredValue": 2000},
            "UnknownOperationException",
        ),
    ],
)
def test_what_there_is_not_is_refused(quotas: Any, operation: str, request_: Any, code: str) -> None:
    assert refused(getattr(quotas, operation), **request_) == (code, 400)


def test_iams_quotas_are_in_us_east_1_only(running: RunningAws) -> None:
    elsewhere = running.client("service-quotas", region="eu-west-1")
    assert refused(elsewhere.list_service_quotas, ServiceCode="iam")[0] == "NoSuchResourceException"
    assert elsewhere.list_service_quotas(ServiceCode="logs")["Quotas"][0]["Value"] == 1_000_000.0


def test_iam_counts_roles_in_its_summary(running: RunningAws) -> None:
    iam = running.client("iam")
    before = iam.get_account_summary()["SummaryMap"]
    assert before["RolesQuota"] == 1000
    statement = {"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"}
    trust = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    iam.create_role(RoleName="one-more", AssumeRolePolicyDocument=trust)
    assert iam.get_account_summary()["SummaryMap"]["Roles"] == before["Roles"] + 1


def test_lambda_counts_functions(running: RunningAws) -> None:
    assert running.client("lambda").get_account_settings()["AccountUsage"] == {"TotalCodeSize": 0, "FunctionCount": 0}
