"""What is found of quotas: fine, near their end, at their end, and not to be looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from ekslab import client
from labkit import Lab
from labkit.connect import running_embedded
from labkit.provision.metric_filters import requests
from labkit.provision.preflight import quotas as module
from labkit.provision.preflight.chapters import Chosen
from labkit.provision.preflight.finding import Finding
from labkit.provision.preflight.plan import Planned, look

READS = {"Effect": "Allow", "Action": ["sts:*"], "Resource": "*"}


@pytest.fixture
def set_quotas(lab: Lab) -> Iterator[Callable[..., None]]:
    """Sets what Service Quotas tells, by service and code, until the end of the test."""
    endpoints = running_embedded(lab.settings.home)
    yield (
        lambda **values: (
            client.set_load(endpoints, quotas={k.replace("__", "/"): v for k, v in values.items()}) and None
        )
    )
    client.set_load(endpoints, quotas=False)


def found(lab: Lab, *chapters: str) -> dict[str, Finding]:
    planned = look(lab.target, Chosen.of(lab.target, chapters).steps)
    return {finding.what: finding for finding in module.quotas(lab.target, planned)}


def test_what_is_needed_fits_into_the_quotas_of_a_new_account(lab: Lab) -> None:
    findings = found(lab)
    assert {finding.result for finding in findings.values()} == {"ok"}
    room = findings["room"].found
    for said in (
        "IAM roles: 2 of 1,000, 2 more",
        "OIDC providers: 0 of 100, 1 more",
        "metric filters of a log group: 0 of 100, 4 more",
    ):
        assert said in room
    assert "alarms: 0 of 5,000 (default), 2 more" in room  # which Service Quotas doesn't have
    assert findings["concurrent executions of functions"].found == "1,000 of 1,000 unreserved"


def test_chapters_need_what_their_steps_make(lab: Lab) -> None:
    assert found(lab, "03")["room"].found == (
        "IAM roles: 2 of 1,000, 1 more; OIDC providers: 0 of 100, 1 more; log groups: 0 of 1,000,000, 1 more"
    )
    assert found(lab, "00") == {}


@pytest.mark.parametrize(
    ("values", "what", "result", "said"),
    [
        ({"iam__L-FE177D64": 3}, "IAM roles", "blocker", "2 of 3, 2 more needed"),
        ({"iam__L-FE177D64": 4}, "IAM roles", "warning", "2 of 4, 2 more needed"),
        ({"iam__L-FE177D64": 5}, "room", "ok", "IAM roles: 2 of 5, 2 more"),
        ({"logs__L-C7B9AAAB": 1}, "log groups", "blocker", "0 of 1, 2 more needed"),
        ({"sns__L-61103206": 0.5}, "SNS topics", "blocker", "0 of 0, 1 more needed"),
        ({"lambda__L-B99A9384": 10}, "concurrent executions of functions", "ok", "10 of 10"),
        ({"lambda__L-B99A9384": 9}, "concurrent executions of functions", "warning", "9 of 9"),
        ({"lambda__L-B99A9384": 0.5}, "concurrent executions of functions", "blocker", "0 of 0"),
    ],
)
def test_quotas_near_their_end_are_told(
    lab: Lab, set_quotas: Callable[..., None], values: dict[str, float], what: str, result: str, said: str
) -> None:
    set_quotas(**values)
    finding = found(lab)[what]
    assert (finding.result, said in finding.found) == (result, True), finding
    assert bool(finding.hint) == (result != "ok")
    if result != "ok":
        service, code = next(iter(values)).split("__")
        assert f"--service-code {service} --quota-code {code}" in finding.hint


def test_filters_of_the_log_group_count(lab: Lab) -> None:
    logs, group = lab.aws.client("logs"), lab.settings.log_group
    logs.create_log_group(logGroupName=group)
    request = requests(lab.target)[0]
    try:
        for number in range(97):
            logs.put_metric_filter(**{**request, "filterName": f"theirs-{number}"})
        finding = found(lab)["metric filters of a log group"]
        assert (finding.result, finding.found) == ("blocker", "97 of 100, 4 more needed")
        assert "LABKIT_LOG_GROUP" in finding.hint
        logs.delete_metric_filter(logGroupName=group, filterName="theirs-0")
        finding = found(lab)["metric filters of a log group"]
        assert (finding.result, finding.found) == ("warning", "96 of 100, 4 more needed")
        logs.delete_metric_filter(logGroupName=group, filterName="theirs-1")
    finally:
        logs.delete_log_group(logGroupName=group)
    assert "metric filters of a log group" not in found(lab)


def test_counting_ends_where_it_would_take_too_long(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_PAGES", 1)
    sns = lab.aws.client("sns")
    arns = [sns.create_topic(Name=f"topic-{number}")["TopicArn"] for number in range(101)]
    try:
        assert "SNS topics: more than 100 of 100,000, 1 more" in found(lab)["room"].found
    finally:
        for arn in arns:
            sns.delete_topic(TopicArn=arn)


def test_quotas_that_may_not_be_asked_for_are_the_documented_ones(lab: Lab, person: Callable[..., Lab]) -> None:
    allowed = ["iam:GetAccountSummary", "iam:ListOpenIDConnectProviders", "lambda:GetAccountSettings"]
    planned = [Planned("x", kind, "x", "will be made") for kind in ("IAM role", "OIDC provider", "log group")]
    other = person({"Effect": "Allow", "Action": allowed, "Resource": "*"})
    findings = {finding.what: finding for finding in module.quotas(other.target, planned)}
    assert (
        findings["room"].found == "IAM roles: 3 of 1,000 (default), 1 more; OIDC providers: 0 of 100 (default), 1 more"
    )
    assert (findings["log groups"].result, "can't be counted" in findings["log groups"].found) == ("warning", True)
    assert "workshop-preflight" in findings["log groups"].hint


def test_concurrency_that_may_not_be_looked_at_is_said(lab: Lab, person: Callable[..., Lab]) -> None:
    other = person(READS)
    (finding,) = module.quotas(other.target, [Planned("x", "Lambda function", "x", "made")])
    assert (finding.result, "can't be looked at" in finding.found) == ("warning", True)


def test_every_part_that_counts_against_a_quota_is_counted() -> None:
    assert {quota["kind"] for quota in module.table()} == set(module._USED)
