"""The forwarder: every alert becomes one finding that Security Hub takes, however often it is delivered."""

from __future__ import annotations

import base64
import contextlib
import copy
import functools
import gzip
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from botocore.awsrequest import AWSResponse
from botocore.config import Config
from botocore.exceptions import ClientError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ekslab.aws import asff
from ekslab.state import Endpoints
from labkit.respond import forwarder
from labkit.respond.forwarder import alert_of, to_asff

ALERTS = Path(__file__).parents[1] / "alerts" / "data"
LINES = (ALERTS / "falco-alerts.jsonl").read_text().splitlines()
SHELL: dict[str, Any] = json.loads(LINES[0])
PLACE = {"account_id": "111122223333", "region": "us-east-1", "cluster": "falco-workshop"}


def alert(**changes: Any) -> dict[str, Any]:
    """The alert of a shell in a container, with other values."""
    return {**copy.deepcopy(SHELL), **changes}


def with_fields(**fields: Any) -> dict[str, Any]:
    return alert(output_fields={**SHELL["output_fields"], **{k.replace("__", "."): v for k, v in fields.items()}})


def finding(alert: dict[str, Any], **place: Any) -> dict[str, Any]:
    """Its finding, which Security Hub's rules allow."""
    made = to_asff(alert, **{**PLACE, **place})
    assert asff.faults(made) == []
    assert len(json.dumps(made)) <= asff.MAX_BYTES
    return made


def resources(made: dict[str, Any]) -> dict[str, str]:
    return {f"{r['Type']} {r['Id']}": json.dumps(r.get("Details")) for r in made["Resources"]}


# What a finding says


def test_every_alert_of_a_real_falco_is_a_valid_finding_of_its_own() -> None:
    findings = [finding(json.loads(line)) for line in LINES]
    assert len({made["Id"] for made in findings}) == len(LINES) == 60
    captures = Path(__file__).parents[4] / "shared" / "captures" / "real-falco-alerts.json"
    if captures.exists():
        for command in json.loads(captures.read_text())["commands"]:
            for raised in command["alerts"]:
                finding(raised)


def test_an_alert_with_everything_in_it_is_this_finding() -> None:
    example = json.loads((Path(__file__).parent / "data" / "example.json").read_text())
    assert finding(example["alert"]) == example["finding"]


def test_a_finding_tells_what_the_alert_tells() -> None:
    made = finding(SHELL)
    assert made["Title"] == "Terminal shell in container: shop/web-0"
    assert made["Description"] == SHELL["output"]
    assert made["GeneratorId"] == "falco/Terminal shell in container"
    assert made["ProductArn"] == "arn:aws:securityhub:us-east-1:111122223333:product/111122223333/default"
    assert made["FindingProviderFields"] == {
        "Severity": {"Label": "LOW", "Original": "Notice"},
        "Types": ["TTPs/Execution/T1059"],
    }
    assert "Severity" not in made
    assert "Types" not in made
    assert made["Process"] == {"Name": "bash", "Path": "/usr/bin/bash"}
    assert made["ProductFields"]["falco/proc.cmdline"] == "bash"
    assert made["ProductFields"]["falco/time"] == SHELL["time"]
    assert list(resources(made)) == [
        "Container 6c87814e33bb",
        "Other falco-workshop/shop/web-0",
        "Other vm",
        "AwsEksCluster arn:aws:eks:us-east-1:111122223333:cluster/falco-workshop",
    ]
    assert made["Resources"][0]["Details"]["Container"] == {
        "Name": "nginx",
        "ImageName": "docker.io/library/nginx:1.22",
    }


def test_times_are_the_events_own_with_milliseconds() -> None:
    made = finding(SHELL)
    for name in ("CreatedAt", "UpdatedAt", "FirstObservedAt", "LastObservedAt"):
        assert made[name] == "2026-11-23T04:20:15.177Z"


@pytest.mark.parametrize(
    ("stamp", "shown"),
    [
        ("2026-11-23T04:20:15Z", "2026-11-23T04:20:15.000Z"),
        ("2026-11-23T04:20:15.9999Z", "2026-11-23T04:20:15.999Z"),
        ("2026-11-23T06:20:15.5+0200", "2026-11-23T04:20:15.500Z"),
        ("2026-11-22T23:50:15.5-04:30", "2026-11-23T04:20:15.500Z"),
        ("2031-01-01T00:00:00Z", "2031-01-01T00:00:00.000Z"),  # a node whose clock is ahead
    ],
)
def test_times_are_read_in_every_form_falco_writes(stamp: str, shown: str) -> None:
    assert finding(alert(time=stamp))["CreatedAt"] == shown


@pytest.mark.parametrize("stamp", [None, "", "04:20:15.177232855", "2026-13-45T99:99:99Z", 7, "1969-12-31T23:59:59Z"])
def test_an_alert_without_a_time_has_that_of_its_event_or_its_log_line(stamp: Any) -> None:
    assert finding(alert(time=stamp))["CreatedAt"] == "2026-11-23T04:20:15.177Z"  # from evt.time
    bare = alert(time=stamp, output_fields={})
    assert finding(bare, logged_ms=1795407616001)["CreatedAt"] == "2026-11-23T04:20:16.001Z"
    with pytest.raises(ValueError, match="nothing tells the time"):
        to_asff(bare, **PLACE)


@pytest.mark.parametrize(
    ("priority", "label"),
    [
        ("Emergency", "CRITICAL"),
        ("Alert", "CRITICAL"),
        ("Critical", "CRITICAL"),
        ("Error", "HIGH"),
        ("Warning", "MEDIUM"),
        ("Notice", "LOW"),
        ("Informational", "INFORMATIONAL"),
        ("INFO", "INFORMATIONAL"),
        ("Debug", "INFORMATIONAL"),
        ("Catastrophe", "MEDIUM"),
        ("x" * 500, "MEDIUM"),
        (None, "MEDIUM"),
        (3, "MEDIUM"),
        ("", "MEDIUM"),
    ],
)
def test_severity_follows_from_the_priority(priority: Any, label: str) -> None:
    severity = finding(alert(priority=priority))["FindingProviderFields"]["Severity"]
    assert severity["Label"] == label
    assert severity.get("Original", "") == forwarder._cut("" if priority is None else str(priority), 64)


@pytest.mark.parametrize(
    ("tags", "types"),
    [
        (["mitre_execution"], ["TTPs/Execution"]),
        (["T1555.001", "mitre_discovery", "T1552"], ["TTPs/Discovery/T1555.001", "TTPs/Discovery/T1552"]),
        (["mitre_persistence", "mitre_execution", "T1543"], ["TTPs/Persistence", "TTPs/Execution"]),
        (["mitre_exfiltration", "T1020"], ["Effects/Data Exfiltration/T1020"]),
        (["mitre_impact", "T1485"], ["Effects"]),
        (["container", "maturity_stable"], ["Unusual Behaviors/Container"]),
        (["mitre_unheard_of"], ["Unusual Behaviors/Container"]),
        ([], ["Unusual Behaviors/Container"]),
        (None, ["Unusual Behaviors/Container"]),
        ("mitre_execution", ["Unusual Behaviors/Container"]),
        ([None, 7, {"a": 1}, "mitre_execution"], ["TTPs/Execution"]),
    ],
)  # fmt: skip
def test_types_follow_from_the_tags(tags: Any, types: list[str]) -> None:
    assert finding(alert(tags=tags))["FindingProviderFields"]["Types"] == types


def test_techniques_are_kept_even_where_no_type_can_name_them() -> None:
    made = finding(alert(tags=["mitre_persistence", "mitre_privilege_escalation", "T1543"]))
    assert made["ProductFields"]["falco/techniques"] == "T1543"


# What it is about


def test_an_alert_of_the_host_names_no_container() -> None:
    host = alert(output_fields={"container.id": "host", "container.name": "host", "evt.time": 1, "proc.name": "cat"})
    made = finding(host, cluster="")
    assert list(resources(made)) == ["Other vm"]
    assert made["Title"] == "Terminal shell in container: vm"
    assert finding({**host, "tags": []})["FindingProviderFields"]["Types"] == ["Unusual Behaviors"]


@pytest.mark.parametrize("missing", [None, "", "<NA>", "  "])
def test_an_alert_without_kubernetes_or_container_fields_makes_none_up(missing: Any) -> None:
    made = finding(alert(hostname=missing, output_fields=dict.fromkeys(SHELL["output_fields"], missing)), cluster="")
    assert "Process" not in made
    if missing != "<NA>":  # a host may be called that
        assert list(resources(made)) == ["AwsAccount AWS::::Account:111122223333"]
    text = json.dumps({**made, "Description": "", "ProductFields": {}})
    assert not [word for word in ("nginx", "<NA>", "unknown", "test") if word in text and word != missing]


def test_a_node_named_by_its_instance_is_that_instance() -> None:
    made = finding(alert(hostname="i-0123456789abcdef0.us-east-1.compute.internal"))
    assert "AwsEc2Instance arn:aws:ec2:us-east-1:111122223333:instance/i-0123456789abcdef0" in resources(made)
    assert "Other ip-10-0-1-23.ec2.internal" in resources(finding(alert(hostname="ip-10-0-1-23.ec2.internal")))


def test_a_container_tells_what_falco_knows_of_it() -> None:
    made = finding(
        with_fields(
            container__type="containerd",
            container__privileged=True,
            container__start_ts=1795407615000000000,
            container__image__digest="sha256:abc",
            k8s__pod__uid="u-1",
            proc__pid=4711,
            proc__ppid=2**40,
        )
    )
    assert made["Resources"][0]["Details"]["Container"] == {
        "Name": "nginx",
        "ImageName": "docker.io/library/nginx:1.22",
        "ImageId": "sha256:abc",
        "ContainerRuntime": "containerd",
        "LaunchedAt": "2026-11-23T04:20:15.000Z",
        "Privileged": True,
    }
    assert made["Resources"][1]["Details"]["Other"]["k8s.pod.uid"] == "u-1"
    assert made["Process"] == {"Name": "bash", "Path": "/usr/bin/bash", "Pid": 4711}


@pytest.mark.parametrize("partition", ["aws", "aws-cn", "aws-us-gov", "aws-eusc"])
def test_arns_are_of_the_partition(partition: str) -> None:
    made = finding(SHELL, partition=partition)
    assert {arn.split(":")[1] for arn in (made["ProductArn"], made["Resources"][-1]["Id"])} == {partition}


# The Id


def test_the_id_is_the_same_however_often_and_wherever_the_alert_is_mapped() -> None:
    code = (
        "import json, sys; from labkit.respond.forwarder import to_asff;"
        f"print(to_asff(json.loads(sys.argv[1]), **{PLACE!r})['Id'])"
    )
    elsewhere = subprocess.run([sys.executable, "-c", code, LINES[0]], capture_output=True, text=True, check=True)
    shuffled = dict(reversed(SHELL.items()))
    shuffled["output_fields"] = dict(reversed(SHELL["output_fields"].items()))
    first = finding(SHELL)
    assert first["Id"] == elsewhere.stdout.strip() == finding(shuffled)["Id"]
    assert first["Id"].startswith("falco/falco-workshop/")
    assert finding(shuffled) == first


def test_the_id_does_not_depend_on_when_the_line_was_logged() -> None:
    assert finding(SHELL, logged_ms=1)["Id"] == finding(SHELL, logged_ms=2_000_000_000_000)["Id"]


@pytest.mark.parametrize(
    "other",
    [
        {"time": "2026-11-23T04:20:15.177232856Z"},  # a nanosecond later
        {"rule": "Terminal shell in container."},
        {"hostname": "vm2"},
        {"output": SHELL["output"] + " "},
        {"source": "k8s_audit"},
        {"output_fields": {**SHELL["output_fields"], "proc.pid": 2}},
        {"output_fields": {**SHELL["output_fields"], "container.id": "6c87814e33bc"}},
    ],
)
def test_alerts_that_differ_have_different_ids(other: dict[str, Any]) -> None:
    assert finding(alert(**other))["Id"] != finding(SHELL)["Id"]


@pytest.mark.parametrize("place", [{"account_id": "444455556666"}, {"region": "eu-west-1"}, {"cluster": "other"}])
def test_the_same_alert_elsewhere_is_another_finding(place: dict[str, str]) -> None:
    assert finding(SHELL, **place)["Id"] != finding(SHELL)["Id"]


ANY_TEXT = st.text(st.characters(exclude_categories=()))  # halves of characters, too, which JSON can escape
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(ANY_TEXT, inner, max_size=4),
    max_leaves=8,
)
FIELD = st.sampled_from(
    [*SHELL["output_fields"], "proc.pid", "proc.ppid", "container.start_ts", "container.privileged"]
)
ANY_ALERT = st.fixed_dictionaries(
    {"rule": ANY_TEXT.filter(str.strip) | JSON},
    optional={
        "time": st.datetimes().map(lambda moment: moment.isoformat() + "Z") | JSON,
        "priority": st.sampled_from([*forwarder.SEVERITIES, "odd"]) | JSON,
        "source": JSON,
        "hostname": ANY_TEXT | JSON,
        "output": ANY_TEXT | JSON,
        "tags": st.lists(st.sampled_from(["mitre_impact", "T1059", "mitre_discovery"]) | JSON) | JSON,
        "output_fields": st.dictionaries(FIELD | ANY_TEXT, JSON, max_size=60) | JSON,
    },
)


@settings(max_examples=200, deadline=None)
@given(ANY_ALERT, st.none() | st.integers(), st.sampled_from(["", "falco-workshop"]))
def test_whatever_the_values_are_a_finding_is_valid_or_it_is_said_why_there_is_none(
    anything: dict[str, Any], logged_ms: int | None, cluster: str
) -> None:
    place = {**PLACE, "cluster": cluster, "logged_ms": logged_ms}
    reason = ""
    try:
        made = to_asff(anything, **place)
    except ValueError as error:
        reason = str(error)
    if reason:
        assert reason in ("the alert names no rule", "nothing tells the time of the alert")
        return
    assert asff.faults(made) == []
    assert json.loads(json.dumps(made).encode()) == made
    again = to_asff(json.loads(json.dumps(anything)), **place)
    assert again == made


TEXTS = st.text(st.characters(codec="utf-8"), min_size=1).filter(str.strip)


@settings(max_examples=200, deadline=None)
@given(*[st.tuples(TEXTS, TEXTS, TEXTS, TEXTS, st.integers(1, 2**62))] * 2)
def test_findings_share_an_id_only_if_their_alerts_are_the_same(one: tuple[Any, ...], other: tuple[Any, ...]) -> None:
    def made(values: tuple[Any, ...]) -> dict[str, Any]:
        rule, host, output, command, time = values
        fields = {"evt.time": time, "proc.cmdline": command}
        return to_asff({"rule": rule, "hostname": host, "output": output, "output_fields": fields}, **PLACE)

    assert (made(one)["Id"] == made(other)["Id"]) == (one == other)
    assert made(one)["Id"] == made(copy.deepcopy(one))["Id"]


# Limits


def test_ten_megabytes_of_output_are_cut_with_a_mark() -> None:
    made = finding(alert(output="é" * 10_000_000))
    assert made["Description"].endswith("é… [10000000 characters]")
    assert len(made["Description"]) == 1024
    assert made["Id"] != finding(alert(output="é" * 9_999_999))["Id"]


def test_two_hundred_huge_fields_leave_room_for_those_that_matter() -> None:
    huge = {f"x{i}": "\U0001f600" * 10_000 for i in range(200)}
    made = finding(alert(output_fields={**huge, **SHELL["output_fields"]}))
    assert made["ProductFields"]["falco/proc.cmdline"] == "bash"
    assert made["ProductFields"]["falco/left_out"].endswith(" more fields")
    assert len(made["ProductFields"]) <= 50


def test_a_finding_fits_even_if_everything_in_it_is_as_long_as_can_be() -> None:
    long = "\U0001f600" * 5000  # a character of twelve bytes in JSON
    names = [
        *SHELL["output_fields"],
        *forwarder._POD_FIELDS,
        "container.type",
        "container.image.digest",
        *map(str, range(90)),
    ]
    everything = {"rule": long, "priority": long, "source": long, "hostname": long, "output": long, "tags": [long] * 60}
    made = finding(alert(**everything, output_fields=dict.fromkeys(names, long)))
    assert len(made["ProductFields"]) > 3
    assert made["ProductFields"]["falco/left_out"].endswith(" more fields")


def test_a_finding_is_filled_to_its_limit_and_no_further() -> None:
    huge = {f"proc.aname[{i}]": "\U0001f600" * 2000 for i in range(9)}  # 24 kB each
    large = {f"user.{i:02}": "a" * 2040 for i in range(20)}
    small = {f"zz.{i:02}": "a" * 100 for i in range(20)}
    made = finding(alert(output_fields={**SHELL["output_fields"], **huge, **large, **small}))
    assert forwarder.MAX_FINDING_BYTES - 300 < len(json.dumps(made)) <= forwarder.MAX_FINDING_BYTES
    assert len(made["ProductFields"]) < 50  # there is room for more of them, but not for more bytes


def test_as_many_fields_as_there_is_room_for_are_kept() -> None:
    fields = {f"x.{i:02}": "1" for i in range(60)}
    known = len([name for name in finding(alert(output_fields={}))["ProductFields"] if name != "falco/left_out"])
    made = finding(alert(output_fields=fields))["ProductFields"]
    assert len(made) == 50
    assert made["falco/left_out"] == f"{60 - (49 - known)} more fields"


def test_a_rule_with_a_name_too_long_is_still_told_from_others() -> None:
    one, other = finding(alert(rule="r" * 5000 + "1")), finding(alert(rule="r" * 5000 + "2"))
    assert (len(one["Title"]), len(one["GeneratorId"])) == (256, 512)
    assert one["Id"] != other["Id"]


def test_what_is_no_text_is_shown_as_an_escape() -> None:
    made = finding(with_fields(proc__cmdline="sh -c a\nb\x1b[0m\u2028\ud800 caf\u00e9"))
    assert made["ProductFields"]["falco/proc.cmdline"] == "sh -c a\\nb\\x1b[0m\\u2028\\ud800 caf\u00e9"


def test_an_own_field_called_like_a_key_of_the_alert_does_not_hide_it() -> None:
    made = finding(with_fields(rule="not the rule"))
    assert made["ProductFields"]["falco/rule"] == "Terminal shell in container"
    assert made["ProductFields"]["falco/left_out"] == "1 more field"


# Messages


@pytest.mark.parametrize("line", (ALERTS / "shipped-messages.jsonl").read_text().splitlines())
def test_the_alert_is_found_in_every_record_that_a_shipper_makes_of_it(line: str) -> None:
    message = json.loads(line)["message"]
    if "Terminal shell" not in message:
        with pytest.raises(ValueError, match=r"no JSON|names no rule"):
            alert_of(message)
        return
    found = alert_of(message)
    assert found["rule"] == "Terminal shell in container"
    assert finding(found)["CreatedAt"].startswith("2026-11-23T04:15:07.")


@pytest.mark.parametrize(
    "message",
    [
        "",
        "Fri Nov 23 04:15:07 2026: Falco version: 0.44.1",
        '{"rule": "x", "output": ',
        "[" * 100_000,
        "{" * 100_000,
        '{"rule": ["x"], "output": "y"}',
        '{"rule": "x"}',
        '{"log": {"rule": 1}}',
        '{"data": {"data": {"data": 1}}}',
        functools.reduce(lambda inner, _: json.dumps({"log": inner}), range(5), LINES[0]),
    ],
)
def test_a_message_that_is_no_alert_is_refused_with_a_reason(message: str) -> None:
    with pytest.raises(ValueError, match="the message"):
        alert_of(message)


def test_the_function_is_one_file_that_needs_nothing_but_boto3() -> None:
    code = (
        "import runpy, sys; sys.modules['labkit'] = None;"
        f"runpy.run_path({forwarder.__file__!r}); print(sorted({{m.partition('.')[0] for m in sys.modules}} & "
        "{'labkit', 'orjson', 'pandas', 'yaml', 'boto3'}))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "['labkit']"  # as the entry that keeps it out; boto3 waits until it is called


# Importing, into the embedded lab's Security Hub


class Account:
    """The lab's AWS, in a region and with a cluster of the test's own."""

    def __init__(self, embedded: Endpoints, region: str, cluster: str) -> None:
        self._endpoints, self.region, self.cluster = embedded, region, cluster
        self.hub, self.sqs = self.client("securityhub"), self.client("sqs")
        self.queue = self.sqs.create_queue(QueueName=cluster)["QueueUrl"]
        self.arn = f"arn:aws:lambda:{region}:111122223333:function:forwarder"

    def client(self, service: str) -> Any:
        return boto3.session.Session().client(
            service,  # type: ignore[call-overload]
            region_name=self.region,
            endpoint_url=self._endpoints.aws_url,
            aws_access_key_id=self._endpoints.access_key_id,
            aws_secret_access_key=self._endpoints.secret_access_key,
            config=Config(retries={"total_max_attempts": 1}),
        )

    def enable(self) -> None:
        with contextlib.suppress(self.hub.exceptions.ResourceConflictException):
            self.hub.enable_security_hub(EnableDefaultStandards=False)

    def findings(self) -> list[dict[str, Any]]:
        """The findings of the test's cluster."""
        wanted = {"Id": [{"Value": forwarder.id_prefix(self.cluster), "Comparison": "PREFIX"}]}
        pages = self.hub.get_paginator("get_findings").paginate(Filters=wanted)
        return [found for page in pages for found in page["Findings"]]

    def letters(self) -> list[dict[str, Any]]:
        """The dead letters, taken out of their queue."""
        found: list[dict[str, Any]] = []
        while messages := self.sqs.receive_message(QueueUrl=self.queue, MaxNumberOfMessages=10).get("Messages"):
            for message in messages:
                found.append(json.loads(message["Body"]))
                self.sqs.delete_message(QueueUrl=self.queue, ReceiptHandle=message["ReceiptHandle"])
        return found


@pytest.fixture
def account(embedded: Endpoints, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Account:
    cluster = f"c-{abs(hash(request.node.nodeid)):x}"
    region = getattr(request, "param", "us-east-1")
    made = Account(embedded, region, cluster)
    for name, value in {
        "AWS_ENDPOINT_URL": embedded.aws_url,
        "AWS_ACCESS_KEY_ID": embedded.access_key_id,
        "AWS_SECRET_ACCESS_KEY": embedded.secret_access_key,
        "LABKIT_CLUSTER": cluster,
        "LABKIT_DEAD_LETTER_QUEUE_URL": made.queue,
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(forwarder, "_clients", {})
    if region == "us-east-1":
        made.enable()
    return made


def lines(count: int, *, rule: str = "Terminal shell in container") -> list[str]:
    """Alerts, a millisecond apart."""
    return [json.dumps(alert(rule=rule, time=f"2026-11-23T04:20:{i // 1000:02}.{i % 1000:03}Z")) for i in range(count)]


def event(messages: list[str], **changes: Any) -> dict[str, Any]:
    """A delivery as CloudWatch Logs makes it."""
    delivery = {
        "messageType": "DATA_MESSAGE",
        "owner": "111122223333",
        "logGroup": "falco",
        "logStream": "alerts",
        "subscriptionFilters": ["falco-workshop-findings"],
        "logEvents": [
            {"id": f"{i:056}", "timestamp": 1795407616000 + i, "message": message} for i, message in enumerate(messages)
        ],
        **changes,
    }
    return {"awslogs": {"data": base64.b64encode(gzip.compress(json.dumps(delivery).encode())).decode()}}


def deliver(account: Account, what: dict[str, Any]) -> dict[str, int]:
    return forwarder.handler(what, SimpleNamespace(invoked_function_arn=account.arn))


def refuse(client: Any, times: int, status: int, code: str) -> list[int]:
    """Lets the client's next calls be refused by what answers instead of the service; the list counts them."""
    refused: list[int] = []

    def answer(request: Any, **_: Any) -> AWSResponse | None:
        if len(refused) == times:
            return None
        refused.append(status)
        body = json.dumps({"message": "slow down"}).encode()
        raw = SimpleNamespace(stream=lambda: [body])
        headers = {"x-amzn-ErrorType": code, "Content-Type": "application/json"}
        return AWSResponse(request.url, status, headers, raw)

    client.meta.events.register("before-send.securityhub.BatchImportFindings", answer)
    return refused


def mapped(account: Account, messages: list[str]) -> list[dict[str, Any]]:
    place = {**PLACE, "cluster": account.cluster, "region": account.region}
    return [to_asff(json.loads(message), **place) for message in messages]


def test_findings_are_imported_in_batches_and_once(account: Account) -> None:
    findings = mapped(account, lines(230))
    for _ in range(2):
        outcome = forwarder.import_findings(account.hub, [*findings, *findings[:3]])
        assert (len(outcome.ids), outcome.failed) == (230, [])
    assert sorted(f["Id"] for f in account.findings()) == sorted(f["Id"] for f in findings)


def test_findings_that_are_large_are_imported_in_batches_of_fewer(account: Account) -> None:
    def large(line: str) -> dict[str, Any]:
        return {**json.loads(line), "output_fields": {f"k{i}": "x" * 2048 for i in range(60)}}

    findings = mapped(account, [json.dumps(large(line)) for line in lines(90)])
    assert len(json.dumps(findings)) > forwarder.MAX_BATCH_BYTES
    assert len(forwarder.import_findings(account.hub, findings).ids) == 90


def test_a_finding_that_is_refused_is_told_and_the_others_get_in(account: Account) -> None:
    findings = mapped(account, lines(5))
    findings[1]["Title"] = "x" * 300
    findings[3]["ProductArn"] = findings[3]["ProductArn"].replace("us-east-1", "eu-west-1")  # refuses the request
    outcome = forwarder.import_findings(account.hub, findings)
    assert outcome.ids == [findings[i]["Id"] for i in (0, 2, 4)]
    assert [(f.id, f.code, f.invalid) for f in outcome.failed] == [
        (findings[1]["Id"], "InvalidInput", True),
        (findings[3]["Id"], "InvalidInputException", True),
    ]
    assert "256 characters" in outcome.failed[0].message
    assert len(account.findings()) == 3


def test_what_one_request_leaves_out_is_told_apart_from_what_is_invalid(account: Account) -> None:
    findings = mapped(account, lines(3))
    left_out = {"Id": findings[1]["Id"], "ErrorCode": "InternalException", "ErrorMessage": "try again"}
    hub = SimpleNamespace(batch_import_findings=lambda Findings: {"FailedFindings": [left_out]})
    outcome = forwarder.import_findings(hub, findings)
    assert outcome.ids == [findings[0]["Id"], findings[2]["Id"]]
    assert [(failure.code, failure.invalid) for failure in outcome.failed] == [("InternalException", False)]


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (429, "ThrottlingException"),
        (429, "TooManyRequestsException"),
        (500, "InternalException"),
        (503, "ServiceUnavailable"),
    ],
)
def test_boto3_asks_a_busy_security_hub_again(account: Account, status: int, code: str) -> None:
    hub = forwarder._client("securityhub", account.region)
    refused = refuse(hub, 2, status, code)
    outcome = forwarder.import_findings(hub, mapped(account, lines(3)))
    assert (len(outcome.ids), outcome.failed, len(refused)) == (3, [], 2)
    assert len(account.findings()) == 3


def test_one_that_stays_busy_is_an_error_for_which_lambda_delivers_again(account: Account) -> None:
    refused = refuse(account.hub, 99, 429, "ThrottlingException")
    with pytest.raises(ClientError, match="ThrottlingException"):
        forwarder.import_findings(account.hub, mapped(account, lines(300)))
    assert len(refused) == 1


def test_what_is_too_large_for_a_request_is_halved(account: Account) -> None:
    refused = refuse(account.hub, 3, 413, "RequestEntityTooLargeException")
    outcome = forwarder.import_findings(account.hub, mapped(account, lines(8)))
    assert len(refused) == 3  # 8, 4, 2
    assert len(outcome.ids) == 8


def test_what_would_fail_for_every_finding_is_raised(account: Account) -> None:
    refused = refuse(account.hub, 99, 403, "AccessDeniedException")
    with pytest.raises(ClientError, match="AccessDenied"):
        forwarder.import_findings(account.hub, mapped(account, lines(300)))
    assert len(refused) == 1


# Delivering


def test_a_delivery_becomes_findings_however_often_it_comes(account: Account) -> None:
    what = event([*LINES, LINES[0]])
    for _ in range(3):
        assert deliver(account, what) == {"events": 61, "findings": 60, "dead_letters": 0}
    found = account.findings()
    assert len(found) == 60
    assert {f["ProductFields"]["falco/cluster"] for f in found} == {account.cluster}
    assert account.letters() == []


def test_a_control_message_makes_nothing(account: Account) -> None:
    control = event(["CWL CONTROL MESSAGE: Checking health of destination Firehose."], messageType="CONTROL_MESSAGE")
    assert deliver(account, control) == {"events": 0, "findings": 0, "dead_letters": 0}
    assert account.letters() == []


@pytest.mark.parametrize("what", [{}, {"awslogs": {"data": "!"}}, {"awslogs": {"data": ""}}, {"Records": []}])
def test_what_is_no_delivery_is_refused(account: Account, what: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="no delivery of a CloudWatch Logs subscription"):
        deliver(account, what)


def test_poison_ends_in_the_dead_letter_queue_with_the_reason_and_the_rest_gets_in(account: Account) -> None:
    no_time = json.dumps({"rule": "r", "output": "o"})
    poison = ["Falco is starting", '{"rule": "cut sho', '{"level": "info"}', "[" * 5000]
    what = event([LINES[0], *poison, LINES[1], no_time])
    assert deliver(account, what) == {"events": 7, "findings": 3, "dead_letters": 4}
    assert len(account.findings()) == 3
    letters = account.letters()
    assert [letter["logEvent"]["message"] for letter in letters] == poison
    assert [letter["logEvent"]["id"] for letter in letters] == [f"{i:056}" for i in (1, 2, 3, 4)]
    assert {(letter["logGroup"], letter["logStream"]) for letter in letters} == {("falco", "alerts")}
    reasons = [letter["reason"] for letter in letters]
    assert reasons[0] == "the message is no JSON object"
    assert reasons[1].startswith("the message is no JSON that can be read: Unterminated string")
    assert reasons[2] == "the message names no rule, so it is no alert of Falco"


def test_a_finding_that_security_hub_calls_invalid_is_a_dead_letter_too(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LABKIT_CLUSTER", "c" * 600)  # no cluster of EKS is called that
    assert deliver(account, event(LINES[:2])) == {"events": 2, "findings": 0, "dead_letters": 2}
    for letter, line in zip(account.letters(), LINES, strict=False):
        assert letter["reason"].startswith("InvalidInput: Finding does not adhere to Amazon Finding Format.")
        assert letter["logEvent"]["message"] == line


def test_dead_letters_too_long_for_the_queue_are_cut_and_say_so(account: Account) -> None:
    messages = ["é" * 500_000, "x" * 1_000_000, "\x00" * 30]
    assert deliver(account, event(messages))["dead_letters"] == 3
    letters = account.letters()
    assert [letter["logEvent"].get("characters") for letter in letters] == [500_000, 1_000_000, None]
    for letter, message in zip(letters, messages, strict=True):
        assert message.startswith(letter["logEvent"]["message"])
        assert len(json.dumps(letter)) < 256 * 1024


def test_many_dead_letters_go_in_batches(account: Account) -> None:
    assert deliver(account, event([f"line {i}" for i in range(25)]))["dead_letters"] == 25
    assert [letter["logEvent"]["message"] for letter in account.letters()] == [f"line {i}" for i in range(25)]


def test_poison_with_no_queue_to_go_to_is_an_error_that_says_what_is_missing(
    account: Account, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LABKIT_DEAD_LETTER_QUEUE_URL")
    with pytest.raises(RuntimeError, match="LABKIT_DEAD_LETTER_QUEUE_URL is not set"):
        deliver(account, event([LINES[0], "poison"]))
    assert len(account.findings()) == 1


@pytest.mark.parametrize("account", ["eu-north-1"], indirect=True)
def test_while_security_hub_is_off_lambda_is_told_to_try_again_and_nothing_is_lost(account: Account) -> None:
    what = event([*LINES, "poison"])
    for _ in range(2):
        with pytest.raises(RuntimeError, match="did not take 60 of 60 findings; InvalidAccess"):
            deliver(account, what)
    assert account.letters() == []  # the whole delivery will come again
    account.enable()
    assert deliver(account, what) == {"events": 61, "findings": 60, "dead_letters": 1}
    assert len(account.findings()) == 60
    assert len(account.letters()) == 1


def test_stopped_halfway_and_run_again_it_makes_every_finding_once(account: Account) -> None:
    what = event(lines(250))
    calls = []

    def stop(**_: Any) -> None:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt

    client = forwarder._client("securityhub", account.region)
    client.meta.events.register("before-call.securityhub.BatchImportFindings", stop)
    with pytest.raises(KeyboardInterrupt):
        deliver(account, what)
    assert len(account.findings()) == 200
    assert deliver(account, what)["findings"] == 250
    assert len({found["Id"] for found in account.findings()}) == len(account.findings()) == 250


MESSAGES = st.lists(st.sampled_from([*LINES[:5], "plain", "{}"]) | st.text() | ANY_ALERT.map(json.dumps), max_size=8)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(MESSAGES)
def test_every_log_event_of_a_delivery_is_a_finding_or_a_dead_letter(account: Account, messages: list[str]) -> None:
    before = {found["Id"] for found in account.findings()}
    outcome = deliver(account, event(messages))
    letters = [letter["logEvent"]["message"] for letter in account.letters()]
    alerts = [message for message in messages if message not in letters]
    place = {**PLACE, "cluster": account.cluster}
    expected = {
        to_asff(alert_of(message), **place, logged_ms=1795407616000 + number)["Id"]
        for number, message in enumerate(messages)
        if message in alerts
    }
    assert outcome == {"events": len(messages), "findings": len(expected), "dead_letters": len(letters)}
    assert len(letters) + len(alerts) == len(messages)
    assert {found["Id"] for found in account.findings()} == before | expected
