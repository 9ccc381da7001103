"""Security Hub: findings that follow the format are kept once, updated by who may, and found by any kind of filter."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ekslab.aws import asff
from ekslab.aws.iam_authorization import Principal
from ekslab.aws.protocols import AwsError, Call, service_model
from ekslab.aws.securityhub import SecurityHub
from ekslab.http import HttpRequest

ACCOUNT = "111122223333"
HUB = f"arn:aws:securityhub:us-east-1:{ACCOUNT}:hub/default"
PRODUCT = f"arn:aws:securityhub:us-east-1:{ACCOUNT}:product/{ACCOUNT}/default"
T0 = "2026-11-23T04:20:15.177Z"
LATER = "2026-11-23T05:00:00Z"


@pytest.fixture
def hub(running: Any) -> Any:
    """Security Hub, enabled."""
    client = running.client("securityhub")
    client.enable_security_hub(EnableDefaultStandards=False)
    return client


def finding(id_: str = "f-1", **changes: Any) -> dict[str, Any]:
    made = {
        "SchemaVersion": "2018-10-08",
        "Id": id_,
        "ProductArn": PRODUCT,
        "GeneratorId": "rule-1",
        "AwsAccountId": ACCOUNT,
        "CreatedAt": T0,
        "UpdatedAt": T0,
        "Title": "A shell",
        "Description": "somebody opened a shell",
        "Resources": [{"Type": "Container", "Id": "c-1", "Details": {"Container": {"Name": "nginx"}}}],
        "FindingProviderFields": {"Severity": {"Label": "HIGH", "Original": "Error"}, "Types": ["TTPs/Execution"]},
        **changes,
    }
    return {name: value for name, value in made.items() if value is not None}


def put(hub: Any, *findings: dict[str, Any]) -> None:
    answer = hub.batch_import_findings(Findings=list(findings))
    assert answer["FailedFindings"] == []
    assert answer["SuccessCount"] == len(findings)


def get(hub: Any, **filters: Any) -> list[str]:
    """Ids of what filters find, in alphabetical order."""
    return sorted(found["Id"] for found in hub.get_findings(Filters=filters)["Findings"])


def one(hub: Any, id_: str = "f-1") -> dict[str, Any]:
    (found,) = hub.get_findings(Filters={"Id": [{"Value": id_, "Comparison": "EQUALS"}]})["Findings"]
    return dict(found)


def refused(call: Any, **arguments: Any) -> tuple[str, str, int]:
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    response = caught.value.response
    return response["Error"]["Code"], response["Error"]["Message"], response["ResponseMetadata"]["HTTPStatusCode"]


def failure(hub: Any, wrong: dict[str, Any]) -> tuple[str, str]:
    answer = hub.batch_import_findings(Findings=[wrong])
    assert (answer["SuccessCount"], answer["FailedCount"]) == (0, 1)
    (failed,) = answer["FailedFindings"]
    assert failed["Id"] == wrong.get("Id")
    return failed["ErrorCode"], failed["ErrorMessage"]


# The hub


def test_it_is_off_until_it_is_enabled_and_again_when_disabled(running: Any) -> None:
    client = running.client("securityhub")
    off = ("InvalidAccessException", f"Account {ACCOUNT} is not subscribed to AWS Security Hub", 401)
    assert refused(client.describe_hub) == off
    assert refused(client.get_findings) == off
    assert refused(client.disable_security_hub) == off
    client.enable_security_hub(EnableDefaultStandards=False, Tags={"workshop": "falco-eks"})
    described = client.describe_hub()
    assert described["HubArn"] == HUB
    assert dt.datetime.fromisoformat(described["SubscribedAt"]).tzinfo is not None
    assert client.get_enabled_standards()["StandardsSubscriptions"] == []
    conflict = refused(client.enable_security_hub, EnableDefaultStandards=False)
    assert conflict == ("ResourceConflictException", "Account is already subscribed to Security Hub", 409)
    client.disable_security_hub()
    assert refused(client.describe_hub) == off


def test_each_region_has_a_hub_of_its_own(running: Any, hub: Any) -> None:
    elsewhere = running.client("securityhub", region="eu-west-1")
    assert refused(elsewhere.describe_hub)[0] == "InvalidAccessException"
    put(hub, finding())
    elsewhere.enable_security_hub(EnableDefaultStandards=False)
    assert elsewhere.get_findings()["Findings"] == []


def test_it_says_that_it_runs_no_checks(running: Any) -> None:
    code, message, _ = refused(running.client("securityhub").enable_security_hub)
    assert code == "UnknownOperationException"
    assert "EnableDefaultStandards" in message


def test_what_it_does_not_do_is_refused_by_name(hub: Any) -> None:
    for call, arguments in (
        (hub.get_findings_v2, {}),
        (hub.enable_security_hub_v2, {}),
        (hub.list_enabled_products_for_import, {}),
        (hub.get_finding_history, {"FindingIdentifier": {"Id": "f-1", "ProductArn": PRODUCT}}),
    ):
        code, message, status = refused(call, **arguments)
        assert (code, status) == ("UnknownOperationException", 400)
        assert "is not supported by the embedded lab" in message


def test_the_hub_has_tags(hub: Any) -> None:
    hub.tag_resource(ResourceArn=HUB, Tags={"a": "1", "b": "2", "c": "3"})
    hub.untag_resource(ResourceArn=HUB, TagKeys=["a", "c"])
    assert hub.list_tags_for_resource(ResourceArn=HUB)["Tags"] == {"b": "2"}
    assert refused(hub.list_tags_for_resource, ResourceArn=HUB + "s")[0] == "ResourceNotFoundException"


def ask(service: SecurityHub, operation: str, **parameters: Any) -> Any:
    """The service's answer at a time that no SDK would sign a request for, or to what no SDK would send."""
    call = Call(HttpRequest("POST", "/", {}), "securityhub", operation, "rest-json", "us-east-1", None)
    return asyncio.run(service.handle(call, parameters, Principal("arn:aws:iam::111122223333:user/x", "AIDA")))


def test_findings_are_kept_for_90_days_even_by_a_hub_that_is_disabled() -> None:
    now, day = 1795407615.0, 86_400
    service = SecurityHub(account_id=ACCOUNT, clock=lambda: now)
    ask(service, "EnableSecurityHub", EnableDefaultStandards=False)
    ask(service, "BatchImportFindings", Findings=[finding(), finding("f-2")])
    ask(service, "DisableSecurityHub")
    now += 60 * day
    ask(service, "EnableSecurityHub", EnableDefaultStandards=False)
    ask(service, "BatchImportFindings", Findings=[finding("f-2", UpdatedAt=LATER)])
    assert len(ask(service, "GetFindings")["Findings"]) == 2
    now += 31 * day
    assert [found["Id"] for found in ask(service, "GetFindings")["Findings"]] == ["f-2"]
    ask(service, "DisableSecurityHub")
    now += 91 * day
    ask(service, "EnableSecurityHub", EnableDefaultStandards=False)
    assert ask(service, "GetFindings")["Findings"] == []


# Importing


def test_security_hub_adds_what_a_provider_leaves_out(running: Any, hub: Any) -> None:
    put(hub, finding())
    found = one(hub)
    assert found["Severity"] == {"Label": "HIGH", "Normalized": 70, "Original": "Error"}
    assert found["Types"] == ["TTPs/Execution"]
    assert (found["RecordState"], found["Workflow"]) == ("ACTIVE", {"Status": "NEW"})
    assert (found["Region"], found["ProductName"], found["CompanyName"]) == ("us-east-1", "Default", "Personal")
    assert found["ProductFields"]["aws/securityhub/FindingId"] == f"{PRODUCT}/f-1"
    assert abs(dt.datetime.fromisoformat(found["ProcessedAt"]).timestamp() - running.clock()) < 60
    for name, value in finding().items():
        assert found[name] == value


def test_severity_and_types_at_the_top_become_the_providers(hub: Any) -> None:
    put(hub, finding(FindingProviderFields=None, Severity={"Normalized": 55}, Types=["Effects"]))
    found = one(hub)
    assert found["Severity"] == {"Label": "MEDIUM", "Normalized": 55}
    assert found["FindingProviderFields"] == {"Severity": {"Label": "MEDIUM"}, "Types": ["Effects"]}


def test_the_same_finding_again_is_the_same_finding(hub: Any) -> None:
    for _ in range(3):
        put(hub, finding())
    put(hub, finding("f-2"), finding("f-2"))
    assert get(hub) == ["f-1", "f-2"]


@pytest.mark.parametrize(
    ("updated", "title"),
    [
        (T0, "A shell"),
        ("2026-11-23T04:20:15.176Z", "A shell"),
        ("2026-11-23T06:20:15.177+02:00", "A shell"),
        ("2026-11-23T04:20:15.177000001Z", "news"),
        (LATER, "news"),
    ],
)
def test_only_a_later_update_counts(hub: Any, updated: str, title: str) -> None:
    put(hub, finding())
    put(hub, finding(Title="news", UpdatedAt=updated))
    assert one(hub)["Title"] == title


def test_a_provider_cannot_overwrite_what_investigators_set(hub: Any) -> None:
    put(hub, finding(Note={"Text": "first", "UpdatedBy": "provider", "UpdatedAt": T0}))
    identifiers = [{"Id": "f-1", "ProductArn": PRODUCT}]
    hub.batch_update_findings(
        FindingIdentifiers=identifiers,
        Note={"Text": "looked at", "UpdatedBy": "me"},
        Workflow={"Status": "NOTIFIED"},
        UserDefinedFields={"team": "blue"},
        VerificationState="TRUE_POSITIVE",
        Severity={"Label": "CRITICAL"},
    )
    put(
        hub,
        finding(
            UpdatedAt=LATER,
            Title="news",
            Note={"Text": "mine", "UpdatedBy": "provider", "UpdatedAt": T0},
            Workflow={"Status": "RESOLVED"},
            UserDefinedFields={},
            VerificationState="UNKNOWN",
            FindingProviderFields={"Severity": {"Label": "LOW"}, "Types": ["Effects"]},
        ),
    )
    found = one(hub)
    assert (found["Title"], found["Note"]["Text"], found["Workflow"]["Status"]) == ("news", "looked at", "NOTIFIED")
    assert (found["UserDefinedFields"], found["VerificationState"]) == ({"team": "blue"}, "TRUE_POSITIVE")
    assert found["Severity"]["Label"] == "CRITICAL"
    assert found["FindingProviderFields"]["Severity"]["Label"] == "LOW"
    assert found["Types"] == ["Effects"]  # nobody but the provider has said anything of these


def test_an_archived_finding_that_comes_back_is_new_again(hub: Any) -> None:
    put(hub, finding())
    hub.batch_update_findings(
        FindingIdentifiers=[{"Id": "f-1", "ProductArn": PRODUCT}], Workflow={"Status": "RESOLVED"}
    )
    put(hub, finding(UpdatedAt=LATER, RecordState="ARCHIVED"))
    assert one(hub)["Workflow"]["Status"] == "RESOLVED"
    put(hub, finding(UpdatedAt="2026-11-23T06:00:00Z", RecordState="ACTIVE"))
    assert one(hub)["Workflow"]["Status"] == "NEW"


def test_a_workflow_without_a_status_is_a_new_one(hub: Any) -> None:
    put(hub, finding(Workflow={}))
    hub.batch_update_findings(FindingIdentifiers=[{"Id": "f-1", "ProductArn": PRODUCT}], Workflow={})
    put(hub, finding(Workflow={}, UpdatedAt=LATER, RecordState="ARCHIVED"))
    put(hub, finding(Workflow={}, UpdatedAt="2026-11-23T06:00:00Z"))
    assert (one(hub)["Workflow"], one(hub)["RecordState"]) == ({"Status": "NEW"}, "ACTIVE")


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"Title": "x" * 257}, "data.Title should NOT be longer than 256 characters"),
        ({"Title": ""}, "data.Title should NOT be shorter than 1 characters"),
        ({"Description": "x" * 1025}, "data.Description should NOT be longer than 1024 characters"),
        ({"Description": " \n"}, "data.Description should NOT be shorter than 1 characters"),
        ({"Id": "x" * 513}, "data.Id should NOT be longer than 512 characters"),
        ({"SchemaVersion": "2020-01-01"}, "data.SchemaVersion should match pattern"),
        ({"CreatedAt": "yesterday"}, 'data.CreatedAt should match format "date-time"'),
        ({"UpdatedAt": "2026-02-30T00:00:00Z"}, 'data.UpdatedAt should match format "date-time"'),
        ({"UpdatedAt": "2026-11-23 04:20:15Z"}, 'data.UpdatedAt should match format "date-time"'),
        ({"UpdatedAt": "2026-11-23T04:20:15.0000000001Z"}, 'data.UpdatedAt should match format "date-time"'),
        ({"RecordState": "GONE"}, "data.RecordState should be equal to one of the allowed values"),
        ({"Resources": []}, "data.Resources should NOT have fewer than 1 items"),
        ({"Resources": [{"Type": "Other", "Id": "x"}] * 33}, "data.Resources should NOT have more than 32 items"),
        ({"ProductFields": {f"k{i}": "v" for i in range(51)}}, "data.ProductFields should NOT have more than 50"),
        ({"ProductFields": {"k": "v" * 2049}}, "data.ProductFields['k'] should NOT be longer than 2048 characters"),
        ({"ProductFields": {"k" * 129: "v"}}, "data.ProductFields property name"),
        (
            {"Resources": [{"Type": "Other", "Id": "x", "Details": {"Other": {"k": "v" * 1025}}}]},
            "data.Resources[0].Details.Other['k'] should NOT be longer than 1024 characters",
        ),
        ({"FindingProviderFields": None}, "data should have required property 'FindingProviderFields'"),
        ({"FindingProviderFields": {"Types": ["Effects"]}}, "data should match some schema in anyOf"),
        (
            {"FindingProviderFields": {"Severity": {"Label": "LOW"}, "Types": ["a/b/c/d"]}},
            'data.FindingProviderFields.Types[0] should match pattern "^([^/]+)(/[^/]+){0,2}$"',
        ),
        ({"Process": {"Name": "x" * 65}}, "data.Process.Name should NOT be longer than 64 characters"),
    ],
)
def test_a_finding_that_breaks_the_format_is_told_how(hub: Any, changes: dict[str, Any], fault: str) -> None:
    code, message = failure(hub, finding(**changes))
    assert code == "InvalidInput"
    assert message.startswith("Finding does not adhere to Amazon Finding Format. ")
    assert fault in message
    assert hub.get_findings()["Findings"] == []


RATED = {"Severity": {"Label": "LOW"}}
URL = "data.Remediation.Recommendation.Url"


@pytest.mark.parametrize(
    ("changes", "faults"),
    [
        # Blank text is too short, and nothing else.
        ({"Title": ""}, ["data.Title should NOT be shorter than 1 characters"]),
        ({"GeneratorId": "   "}, ["data.GeneratorId should NOT be shorter than 1 characters"]),
        (
            {"Resources": [{"Type": "", "Id": ""}]},
            [f"data.Resources[0].{name} should NOT be shorter than 1 characters" for name in ("Type", "Id")],
        ),
        (
            {"Note": {"Text": "", "UpdatedBy": "", "UpdatedAt": T0}},
            [f"data.Note.{name} should NOT be shorter than 1 characters" for name in ("Text", "UpdatedBy")],
        ),
        (
            {"Resources": [{"Type": "Container", "Id": "c", "Details": {"Container": {"ImageName": ""}}}]},
            ["data.Resources[0].Details.Container.ImageName should NOT be shorter than 1 characters"],
        ),
        ({"Malware": [{"Name": " "}]}, ["data.Malware[0].Name should NOT be shorter than 1 characters"]),
        # Types are in any namespace, of one to three parts.
        ({"FindingProviderFields": RATED | {"Types": ["Container trouble", "Mine/a", "Mine/a/b c"]}}, []),
        *(
            (
                {"FindingProviderFields": RATED | {"Types": ["TTPs", wrong]}},
                ['data.FindingProviderFields.Types[1] should match pattern "^([^/]+)(/[^/]+){0,2}$"'],
            )
            for wrong in ("", "a/b/c/d", "a//b", "/a", "a/")
        ),
        ({"Types": ["x"] * 51}, ["data.Types should NOT have more than 50 items"]),
        # Links are URIs.
        *(
            ({"Remediation": {"Recommendation": {"Url": right}}}, [])
            for right in ("https://example.com/runbook?x=1#y", "HTTP://a", "mailto:sec@example.com", "urn:x:y")
        ),
        *(
            ({"Remediation": {"Recommendation": {"Url": wrong}}}, [f'{URL} should match format "uri"'])
            for wrong in ("example.com/runbook", "see the wiki", "https://example.com/a b", "//example.com", "1a:x")
        ),
        (
            {"Remediation": {"Recommendation": {"Text": "x" * 513, "Url": ""}}},
            [
                "data.Remediation.Recommendation.Text should NOT be longer than 512 characters",
                f"{URL} should NOT be shorter than 1 characters",
                f'{URL} should match format "uri"',
            ],
        ),
        ({"SourceUrl": "falco"}, ['data.SourceUrl should match format "uri"']),
        (
            {"ThreatIntelIndicators": [{"SourceUrl": "falco"}]},
            ['data.ThreatIntelIndicators[0].SourceUrl should match format "uri"'],
        ),
        (
            {"Vulnerabilities": [{"Id": "CVE-1", "ReferenceUrls": ["https://a.b", "x"]}]},
            ['data.Vulnerabilities[0].ReferenceUrls[1] should match format "uri"'],
        ),
        # Lists, numbers, choices, and members that belong together.
        (
            {"Compliance": {"AssociatedStandards": [{"StandardsId": f"s-{i}"} for i in range(21)]}},
            ["data.Compliance.AssociatedStandards should NOT have more than 20 items"],
        ),
        ({"Compliance": {"AssociatedStandards": [{"StandardsId": "s"}] * 20}}, []),
        ({"Compliance": {"Status": "FAIL"}}, ["data.Compliance.Status should be equal to one of the allowed values"]),
        (
            {"FindingProviderFields": {"Severity": {"Label": "WARNING"}, "Types": ["Effects"]}},
            ["data.FindingProviderFields.Severity.Label should be equal to one of the allowed values"],
        ),
        ({"Confidence": 101}, ["data.Confidence should be <= 100"]),
        ({"Criticality": -1}, ["data.Criticality should be >= 0"]),
        (
            {"FindingProviderFields": RATED | {"Types": ["a"], "Confidence": 101}},
            ["data.FindingProviderFields.Confidence should be <= 100"],
        ),
        ({"Network": {"SourcePort": -1}}, ["data.Network.SourcePort should be >= 0"]),
        ({"Threats": []}, ["data.Threats should NOT have fewer than 1 items"]),
        (
            {"Threats": [{"Name": "x" * 129, "FilePaths": []}]},
            [
                "data.Threats[0].Name should NOT be longer than 128 characters",
                "data.Threats[0].FilePaths should NOT have fewer than 1 items",
            ],
        ),
        (
            {"GeneratorDetails": {"Labels": ["x"] * 11}},
            ["data.GeneratorDetails.Labels should NOT have more than 10 items"],
        ),
        (
            {"PatchSummary": {"Id": "p", "OperationStartTime": "now"}},
            ['data.PatchSummary.OperationStartTime should match format "date-time"'],
        ),
        ({"UpdatedAt": ""}, ['data.UpdatedAt should match format "date-time"']),
        (
            {"ProductFields": {"k" * 129: "v"}},
            [
                "data.ProductFields should NOT be longer than 128 characters",
                f"data.ProductFields property name '{'k' * 129}' is invalid",
            ],
        ),
        (
            {"Title": "", "FindingProviderFields": {"Types": ["Effects"]}},
            [
                "data.Title should NOT be shorter than 1 characters",
                "data should have required property 'FindingProviderFields'",
                "data should match some schema in anyOf",
            ],
        ),
        ({"AwsAccountId": "1234"}, [r'data.AwsAccountId should match pattern "^\d{12}$"']),
    ],
)
def test_a_finding_breaks_the_format_in_exactly_so_many_ways(changes: dict[str, Any], faults: list[str]) -> None:
    assert asff.faults(finding(**changes)) == faults


def test_members_that_belong_together_are_asked_for() -> None:
    wrong = finding(Note={}, RelatedFindings=[{}], Resources=[{}])
    assert asff.faults(wrong) == [
        *(f"data.Resources[0] should have required property '{name}'" for name in ("Type", "Id")),
        *(f"data.RelatedFindings[0] should have required property '{name}'" for name in ("ProductArn", "Id")),
        *(f"data.Note should have required property '{name}'" for name in ("Text", "UpdatedBy", "UpdatedAt")),
    ]


def test_what_boto3_would_not_send_is_refused_too() -> None:
    whole = {"Process": {"Pid": "1"}, "Sample": 1, "Nonsense": 1, "Types": "x", "Network": {"SourcePort": 70_000}}
    found = asff.faults({**finding(), **whole})
    assert found == [
        "data should NOT have additional properties",
        "data.Types should be array",
        "data.Network.SourcePort should be <= 65535",
        "data.Process.Pid should be integer",
        "data.Sample should be boolean",
    ]
    assert asff.faults(finding(RecordState=5)) == [
        "data.RecordState should be string",
        "data.RecordState should be equal to one of the allowed values",
    ]
    assert "data should have required property 'Title'" in asff.faults({})
    assert asff.faults([]) == ["data should be object"]


def test_a_finding_of_more_than_240_kb_is_refused_and_the_others_get_in(hub: Any) -> None:
    details = [{"Type": "Other", "Id": "x", "Details": {"Other": {f"k{i}": "v" * 1000 for i in range(50)}}}]
    answer = hub.batch_import_findings(Findings=[finding(), finding("f-2", Resources=details * 5), finding("f-3")])
    assert (answer["SuccessCount"], answer["FailedCount"]) == (2, 1)
    assert answer["FailedFindings"][0]["Id"] == "f-2"
    assert "240 KB" in answer["FailedFindings"][0]["ErrorMessage"]
    assert get(hub) == ["f-1", "f-3"]


def test_a_request_has_1_to_100_findings_and_6_mb(hub: Any) -> None:
    put(hub, *(finding(f"f-{i}") for i in range(100)))
    code, message, status = refused(hub.batch_import_findings, Findings=[finding()] * 101)
    assert (code, status) == ("InvalidInputException", 400)
    assert "data.Findings should NOT have more than 100 items" in message
    service = SecurityHub(account_id=ACCOUNT, clock=lambda: 0.0)
    for wrong in ([], "findings", None):
        with pytest.raises(AwsError, match=r"data\.Findings should"):
            ask(service, "BatchImportFindings", Findings=wrong)
    fields = {f"k{i}": "v" * 2000 for i in range(50)}
    code, message, _ = refused(hub.batch_import_findings, Findings=[finding(ProductFields=fields)] * 70)
    assert (code, "6 MB" in message) == ("InvalidInputException", True)


def test_findings_are_of_the_accounts_own_product_account_and_region(hub: Any) -> None:
    other = PRODUCT.replace("us-east-1", "eu-west-1")
    assert refused(hub.batch_import_findings, Findings=[finding(ProductArn=other)])[0] == "InvalidInputException"
    answer = refused(hub.batch_import_findings, Findings=[finding(), finding(AwsAccountId="444455556666")])
    assert (answer[0], answer[2]) == ("AccessDeniedException", 403)
    assert hub.get_findings()["Findings"] == []


def test_importing_while_it_is_off_fails_finding_by_finding(running: Any) -> None:
    code, message = failure(running.client("securityhub"), finding())
    assert code == "InvalidAccess"
    assert "not subscribed" in message


# Who may


@pytest.mark.parametrize(
    ("resource", "allowed"),
    [(PRODUCT, True), (f"arn:aws:securityhub:*:{ACCOUNT}:product/*", True), (HUB, False), (PRODUCT + "x", False)],
)
def test_importing_needs_permission_on_the_product(running: Any, hub: Any, resource: str, allowed: bool) -> None:
    statement = {"Effect": "Allow", "Action": "securityhub:BatchImportFindings", "Resource": resource}
    client = running.as_session("securityhub", running.session({"Version": "2012-10-17", "Statement": [statement]}))
    if allowed:
        put(client, finding())
    else:
        code, message, status = refused(client.batch_import_findings, Findings=[finding()])
        assert (code, status) == ("AccessDeniedException", 403)
        assert PRODUCT in message
    assert HUB in refused(client.get_findings)[1]


# Investigating


def test_an_update_leaves_the_time_of_the_update_alone_and_adds_its_own_to_the_note(running: Any, hub: Any) -> None:
    put(hub, finding(), finding("f-2"))
    identifiers = [{"Id": id_, "ProductArn": PRODUCT} for id_ in ("f-1", "nobody", "f-1")]
    answer = hub.batch_update_findings(
        FindingIdentifiers=identifiers,
        Workflow={"Status": "RESOLVED"},
        Note={"Text": "drill", "UpdatedBy": "me"},
        Severity={"Normalized": 95},
        Types=["Effects"],
        Confidence=50,
    )
    assert answer["ProcessedFindings"] == identifiers[:1]
    assert [(u["FindingIdentifier"]["Id"], u["ErrorCode"]) for u in answer["UnprocessedFindings"]] == [
        ("nobody", "FindingNotFound"),
        ("f-1", "DuplicatedFindingIdentifier"),
    ]
    found = one(hub)
    assert (found["UpdatedAt"], found["Workflow"]["Status"], found["Types"]) == (T0, "RESOLVED", ["Effects"])
    assert found["Severity"] == {"Label": "CRITICAL", "Normalized": 95, "Original": "Error"}
    assert abs(dt.datetime.fromisoformat(found["Note"]["UpdatedAt"]).timestamp() - running.clock()) < 60
    assert one(hub, "f-2")["Workflow"]["Status"] == "NEW"


def test_an_update_that_breaks_the_format_is_not_made(hub: Any) -> None:
    put(hub, finding())
    identifiers = [{"Id": "f-1", "ProductArn": PRODUCT}]
    answer = hub.batch_update_findings(FindingIdentifiers=identifiers, Note={"Text": "x" * 513, "UpdatedBy": "me"})
    assert answer["UnprocessedFindings"][0]["ErrorCode"] == "InvalidInput"
    assert "Note" not in one(hub)
    for arguments in ({"FindingIdentifiers": identifiers}, {"FindingIdentifiers": [], "Confidence": 1}):
        assert refused(hub.batch_update_findings, **arguments)[0] == "InvalidInputException"
    code, message, _ = refused(hub.batch_update_findings, FindingIdentifiers=identifiers, Confidence=101)
    assert (code, "confidence" in message.lower()) == ("InvalidInputException", True)


# Finding


@pytest.fixture
def three(hub: Any) -> Any:
    """A hub with three findings: a shell (HIGH), a read (LOW) and a host's (CRITICAL)."""
    put(
        hub,
        finding("shell", Title="A shell in nginx", Confidence=10, ProductFields={"falco/rule": "shell"}),
        finding(
            "read",
            Title="A file was read",
            UpdatedAt="2026-11-24T00:00:00Z",
            Confidence=90,
            ProductFields={"falco/rule": "read", "extra": "1"},
            Process={"Name": "cat", "Pid": 7},
            Network={"SourceIpV4": "10.0.0.7"},
            FindingProviderFields={"Severity": {"Label": "LOW"}, "Types": ["TTPs/Collection", "Effects"]},
            Resources=[
                {"Type": "Container", "Id": "c-1"},
                {"Type": "Other", "Id": "default/nginx", "Details": {"Other": {"kind": "Pod"}}},
            ],
        ),
        finding(
            "host",
            Title="A host",
            UpdatedAt="2026-11-25T00:00:00Z",
            Sample=True,
            FindingProviderFields={"Severity": {"Label": "CRITICAL"}, "Types": ["Effects"]},
            Resources=[{"Type": "Other", "Id": "node"}],
        ),
    )
    return hub


def equals(*values: str, comparison: str = "EQUALS") -> list[dict[str, str]]:
    return [{"Value": value, "Comparison": comparison} for value in values]


@pytest.mark.parametrize(
    ("filters", "ids"),
    [
        ({}, ["host", "read", "shell"]),
        ({"Title": equals("A host")}, ["host"]),
        ({"Title": equals("a host")}, []),
        ({"Title": equals("A host", "A file was read")}, ["host", "read"]),
        ({"Title": equals("A s", "A f", comparison="PREFIX")}, ["read", "shell"]),
        ({"Title": equals("A host", "A file was read", comparison="NOT_EQUALS")}, ["shell"]),
        ({"Title": equals("A s", "A f", comparison="PREFIX_NOT_EQUALS")}, ["host"]),
        ({"Title": equals("nginx", "host", comparison="CONTAINS")}, ["host", "shell"]),
        ({"Title": equals("nginx", "host", comparison="NOT_CONTAINS")}, ["read"]),
        ({"Title": equals("A ", comparison="PREFIX") + equals("A host", comparison="NOT_EQUALS")}, ["read", "shell"]),
        ({"Title": equals("A host"), "SeverityLabel": equals("LOW")}, []),
        ({"SeverityLabel": equals("LOW", "HIGH"), "ResourceType": equals("Container")}, ["read", "shell"]),
        ({"ResourceType": equals("Other")}, ["host", "read"]),
        ({"ResourceType": equals("Container", comparison="NOT_EQUALS")}, ["host"]),
        ({"ResourceContainerName": equals("nginx")}, ["shell"]),
        ({"Type": equals("Effects")}, ["host", "read"]),
        ({"ProcessName": equals("cat", comparison="NOT_EQUALS")}, ["host", "shell"]),
        ({"ProcessPid": [{"Eq": 7}]}, ["read"]),
        ({"Confidence": [{"Gte": 10, "Lte": 10}]}, ["shell"]),
        ({"Confidence": [{"Lt": 11}, {"Gt": 89}]}, ["read", "shell"]),
        ({"SeverityNormalized": [{"Gte": 70}]}, ["host", "shell"]),
        ({"UpdatedAt": [{"Start": "2026-11-24T00:00:00Z", "End": "2026-11-24T23:00:00Z"}]}, ["read"]),
        ({"UpdatedAt": [{"Start": "2026-11-24T00:00:00Z"}]}, ["host", "read"]),
        ({"ProductFields": [{"Key": "falco/rule", "Value": "read", "Comparison": "EQUALS"}]}, ["read"]),
        ({"ProductFields": [{"Key": "falco/rule", "Value": "read", "Comparison": "NOT_EQUALS"}]}, ["host", "shell"]),
        ({"ProductFields": [{"Key": "falco/rule", "Value": "e", "Comparison": "CONTAINS"}]}, ["read", "shell"]),
        ({"ResourceDetailsOther": [{"Key": "kind", "Value": "Pod", "Comparison": "EQUALS"}]}, ["read"]),
        ({"NetworkSourceIpV4": [{"Cidr": "10.0.0.0/8"}]}, ["read"]),
        ({"Sample": [{"Value": True}]}, ["host"]),
        ({"Sample": [{"Value": False}]}, ["read", "shell"]),
        ({"Keyword": [{"Value": "default/nginx"}]}, ["read"]),
        ({"WorkflowStatus": equals("NEW"), "RecordState": equals("ACTIVE")}, ["host", "read", "shell"]),
        ({"FindingProviderFieldsTypes": equals("TTPs", comparison="PREFIX")}, ["read", "shell"]),
    ],
)
def test_filters_find(three: Any, filters: dict[str, Any], ids: list[str]) -> None:
    assert get(three, **filters) == ids


def test_a_date_range_counts_days_back_from_now(running: Any, hub: Any) -> None:
    def ago(days: float) -> str:
        return dt.datetime.fromtimestamp(running.clock() - days * 86_400, dt.UTC).isoformat()

    put(hub, *(finding(f"f-{days}", UpdatedAt=ago(days)) for days in (1, 5, 9)))

    def within(days: int, **comparison: str) -> list[str]:
        return get(hub, UpdatedAt=[{"DateRange": {"Value": days, "Unit": "DAYS", **comparison}}])

    assert within(6) == ["f-1", "f-5"]
    assert within(6, Comparison="WITHIN") == ["f-1", "f-5"]
    assert within(6, Comparison="OLDER_THAN") == ["f-9"]


@pytest.mark.parametrize(
    "filters",
    [
        {"Title": equals("a") + equals("b", comparison="NOT_EQUALS")},
        {"Title": equals("a") + equals("b", comparison="PREFIX_NOT_EQUALS")},
        {"Title": equals("a", comparison="CONTAINS") + equals("b", comparison="NOT_CONTAINS")},
        {"Title": equals("a", comparison="CONTAINS") + equals("b")},
        {"Title": equals("a", comparison="CONTAINS_WORD")},
        {"Title": [{"Value": "a"}]},
        {"Title": equals(*map(str, range(21)))},
        {f"Resource{kind}": equals("x") for kind in ("Type", "Id", "Partition", "Region", "Provider")}
        | {f"Process{kind}": equals("x") for kind in ("Name", "Path")}
        | {f"Malware{kind}": equals("x") for kind in ("Name", "Type", "Path", "State")},
        {"UpdatedAt": [{}]},
        {"UpdatedAt": [{"Start": "yesterday"}]},
        {"UpdatedAt": [{"DateRange": {"Unit": "DAYS"}}]},
        {"NetworkSourceIpV4": [{"Cidr": "nowhere"}]},
        {"Confidence": [{}]},
        {"ProductFields": [{"Value": "x", "Comparison": "EQUALS"}]},
    ],
)  # fmt: skip
def test_filters_that_make_no_sense_are_refused(three: Any, filters: dict[str, Any]) -> None:
    assert refused(three.get_findings, Filters=filters)[0] == "InvalidInputException"


def test_findings_come_in_the_order_that_is_asked_for(three: Any) -> None:
    def order(*criteria: tuple[str, str]) -> list[str]:
        sort = [{"Field": field, "SortOrder": direction} for field, direction in criteria]
        return [found["Id"] for found in three.get_findings(SortCriteria=sort)["Findings"]]

    assert order() == ["host", "read", "shell"]  # the latest first
    assert order(("UpdatedAt", "asc")) == ["shell", "read", "host"]
    assert order(("SeverityLabel", "desc")) == ["host", "shell", "read"]
    assert order(("Title", "asc")) == ["read", "host", "shell"]
    assert order(("CreatedAt", "asc"), ("Id", "desc")) == ["shell", "read", "host"]
    code, message, _ = refused(three.get_findings, SortCriteria=[{"Field": "Beauty", "SortOrder": "asc"}])
    assert (code, "Beauty" in message) == ("InvalidInputException", True)


def test_pages_hold_every_finding_once(hub: Any) -> None:
    for start in range(0, 250, 50):
        put(hub, *(finding(f"f-{i:03}") for i in range(start, start + 50)))
    pages = list(hub.get_paginator("get_findings").paginate(MaxResults=40))
    assert [len(page["Findings"]) for page in pages] == [40] * 6 + [10]
    assert len({found["Id"] for page in pages for found in page["Findings"]}) == 250
    token = pages[0]["NextToken"]
    assert refused(hub.get_findings, NextToken=token, Filters={"Id": equals("x")})[0] == "InvalidInputException"
    assert refused(hub.get_findings, NextToken="garbage")[0] == "InvalidInputException"
    assert refused(hub.get_findings, MaxResults=101)[0] == "InvalidInputException"
    assert len(hub.get_findings()["Findings"]) == 100


# The description of the format


def shape_at(path: str) -> str:
    shapes = service_model("securityhub")["shapes"]
    name = "AwsSecurityFinding"
    for part in path.split("."):
        name = shapes[name]["members"][part.removesuffix("[]")]["shape"]
        if part.endswith("[]"):
            name = shapes[name]["member"]["shape"]
    return name


def test_every_limit_and_filter_is_about_a_member_that_exists() -> None:
    rules = asff.rules()
    paths = [
        *rules["limits"],
        *rules["maps"],
        *rules["ranges"],
        *rules["patterns"],
        *rules["timestamps"],
        *rules["uris"],
    ]
    assert all(shape_at(path) for path in [*paths, *rules["filters"].values()])
    shapes = service_model("securityhub")["shapes"]
    members = set(shapes["AwsSecurityFindingFilters"]["members"])
    assert set(rules["filters"]) <= members
    assert members - set(rules["filters"]) - set(shapes["AwsSecurityFinding"]["members"]) == {"Keyword"}


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 2**70) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
MEMBERS = st.sampled_from(sorted(service_model("securityhub")["shapes"]["AwsSecurityFinding"]["members"]))


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(MEMBERS, ANYTHING, max_size=6))
def test_whatever_is_in_a_finding_its_faults_are_named(changes: dict[str, Any]) -> None:
    for fault in asff.faults({**finding(), **changes}):
        assert fault.startswith("data")


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 59)), min_size=1, max_size=12))
def test_however_updates_come_the_latest_of_each_finding_is_kept(hub: Any, updates: list[tuple[int, int]]) -> None:
    prefix = f"{abs(hash(str(updates)))}-"
    for number, second in updates:
        time = f"2026-11-23T04:20:{second:02}Z"
        put(hub, finding(f"{prefix}{number}", UpdatedAt=time, Title=f"at {second}"))
    wanted = {f"{prefix}{n}": f"at {max(s for m, s in updates if m == n)}" for n, _ in updates}
    found = hub.get_findings(Filters={"Id": equals(prefix, comparison="PREFIX")})["Findings"]
    assert {f["Id"]: f["Title"] for f in found} == wanted


def test_the_aws_command_line_works_on_it(aws_cli: Any, hub: Any, tmp_path: Path) -> None:
    findings = tmp_path / "findings.json"
    findings.write_text(json.dumps([finding(), finding("f-2", Title="x" * 300)]))
    answer = aws_cli("securityhub", "batch-import-findings", "--findings", f"file://{findings}")
    assert (answer["SuccessCount"], answer["FailedFindings"][0]["Id"]) == (1, "f-2")
    listed = aws_cli(
        "securityhub", "get-findings", "--filters", '{"SeverityLabel":[{"Value":"HIGH","Comparison":"EQUALS"}]}'
    )
    assert [found["Id"] for found in listed["Findings"]] == ["f-1"]
