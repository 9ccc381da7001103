"""Findings of alerts: imported once, told apart from those that were there, read back as a frame, archived."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import pandas as pd
import pytest
from botocore.config import Config
from hypothesis import given, settings
from hypothesis import strategies as st

from labkit import Lab
from labkit.alerts import events as events_of
from labkit.alerts import to_frame
from labkit.errors import LabError, TargetError
from labkit.respond import findings, forwarder

LINES = (Path(__file__).parents[1] / "alerts/data/falco-alerts.jsonl").read_text().splitlines()
PLACE = {"account_id": "111122223333", "region": "us-east-1", "cluster": "c"}


@pytest.fixture
def hub(lab: Lab) -> Any:
    """Security Hub of the test's lab, enabled."""
    lab.apply("security-hub")
    return lab.aws.client("securityhub")


@pytest.fixture
def cluster(lab: Lab) -> str:
    """A cluster of the test's own, as far as findings are concerned."""
    return lab.settings.prefix


def made(cluster: str, *lines: str) -> list[dict[str, Any]]:
    return findings.to_findings([json.loads(line) for line in lines], **{**PLACE, "cluster": cluster})


# Mapping


def test_a_frame_and_the_alerts_it_was_made_of_have_the_same_findings() -> None:
    by_id = {finding["Id"]: finding for finding in findings.to_findings(map(json.loads, LINES), **PLACE)}
    again = findings.to_findings(to_frame(LINES), **PLACE)
    assert len(again) == 60
    assert {finding["Id"]: finding for finding in again} == by_id


def test_a_frame_keeps_a_field_that_is_called_like_a_column() -> None:
    alert = json.loads(LINES[0])
    alert["output_fields"]["timestamp"] = "own"
    (finding,) = findings.to_findings(to_frame([json.dumps(alert)]), **PLACE)
    assert finding["Id"] == forwarder.to_asff(alert, **PLACE)["Id"]
    assert finding["ProductFields"]["falco/timestamp"] == "own"


VALUES = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(st.characters(codec="utf-8"))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.dictionaries(st.sampled_from(["proc.pid", "proc.name", "fd.name", "evt.res", "mine"]), VALUES), max_size=5
    )
)
def test_whatever_fields_alerts_have_a_frame_of_them_has_the_same_findings(fields: list[dict[str, Any]]) -> None:
    alerts = [
        {**json.loads(LINES[0]), "time": f"2026-11-23T04:20:15.{number:09}Z", "output_fields": own}
        for number, own in enumerate(fields)
    ]
    from_frame = findings.to_findings(to_frame(map(json.dumps, alerts)), **PLACE)
    assert [f["Id"] for f in from_frame] == [f["Id"] for f in findings.to_findings(alerts, **PLACE)]


def test_no_alerts_have_no_findings() -> None:
    assert findings.to_findings(to_frame([]), **PLACE) == []


def test_an_alert_that_has_no_finding_does_not_keep_the_others_from_theirs() -> None:
    events = [
        {"message": message, "timestamp": 1795407307836}
        for message in (LINES[0], "04:20:15.177232855: Notice a text line | user=root")
    ]
    df = to_frame(events)
    found = findings.to_findings(df, **PLACE)
    assert found == findings.to_findings([json.loads(LINES[0])], **PLACE)
    (number,) = df.index[df["rule"].isna()]
    assert found.refused == (findings.Refused(number, "the alert names no rule"),)


HELD = [
    *("2026-11-23T04:20:15.000000001Z", "2026-11-23T06:20:15+02:00", "2262-04-11T23:47:16.854775807Z"),
    *("2026-11-23T04:20Z", "12:00:00", "now", "", None),
]
FAR = [
    *("9999-12-31T23:59:59Z", "9999-12-31T23:59:59-02:00", "2300-01-01T00:00:00Z", "1600-01-01T00:00:00Z"),
    *("0001-01-01T00:00:00+05:00", "1969-12-31T23:59:59Z", "1970-01-01T00:00:00Z"),
]
TOO_LARGE = [2**63, 2**64, 2**65, 2**70]


@pytest.mark.parametrize("stamp", [*HELD, *FAR])
def test_whatever_its_time_an_alert_in_a_frame_has_the_finding_of_the_function_or_none(stamp: str | None) -> None:
    for happened in (None, 1795407307000000001, -1, 0, 2**63 - 1, 1.5, "1795407307000000001", True, *TOO_LARGE):
        alert = {**json.loads(LINES[0]), "time": stamp, "output_fields": {"evt.time": happened}}
        event = {"message": json.dumps(alert), "timestamp": 1795407307836}
        found = findings.to_findings(to_frame([event]), **PLACE)
        if found.refused:
            assert (len(found), found.refused[0].number) == (0, 0)
            assert "the frame has no time of it from 1970 to 2262" in found.refused[0].reason
            assert stamp in FAR or happened in TOO_LARGE
        else:
            assert found == [forwarder.to_asff(alert, **PLACE, logged_ms=event["timestamp"])]


def test_the_place_of_a_lab_is_its_account_region_and_cluster(lab: Lab) -> None:
    assert findings.origin(lab.target) == {
        "account_id": "111122223333",
        "region": "us-east-1",
        "partition": "aws",
        "cluster": "falco-workshop",
    }


# Importing and reading


def test_importing_tells_what_is_new_what_changed_and_what_was_there(hub: Any, cluster: str) -> None:
    batch = made(cluster, *LINES[:30])
    first = findings.import_findings(hub, batch)
    assert (len(first.imported), first.updated, first.unchanged, first.failed) == (30, (), (), ())
    second = findings.import_findings(hub, batch)
    assert (second.imported, second.updated, len(second.unchanged)) == ((), (), 30)
    later = [{**batch[0], "UpdatedAt": "2026-11-24T00:00:00Z", "Title": "news"}, *made(cluster, LINES[30])]
    third = findings.import_findings(hub, later)
    assert (third.imported, third.updated) == ((later[1]["Id"],), (later[0]["Id"],))
    df = findings.read(hub, cluster)
    assert len(df) == 31
    assert df.loc[df["id"] == batch[0]["Id"], "title"].item() == "news"


def test_what_fails_is_told_with_its_reason(hub: Any, cluster: str) -> None:
    good, *wrong = made(cluster, *LINES[:4])
    for finding in wrong:
        finding["Title"] = "x" * 300
    report = findings.import_findings(hub, [good, *wrong])
    assert report.imported == (good["Id"],)
    assert {(f.code, f.id) for f in report.failed} == {("InvalidInput", f["Id"]) for f in wrong}
    assert repr(report).splitlines()[0] == "Sent to Security Hub: 4"
    shown = [line.split(maxsplit=2) for line in repr(report).splitlines()[1:]]
    assert shown[0] == ["1", "imported"]
    assert shown[1][:2] == ["3", "failed"]
    assert "data.Title should NOT be longer than 256 characters" in shown[1][2]
    assert "<td" in report._repr_html_()


def test_alerts_of_any_time_are_imported_read_and_archived(hub: Any, cluster: str) -> None:
    ages = ["9999-12-31T23:59:59Z", "9999-12-31T23:59:59.999Z", "2300-01-01T00:00:00+05:00", "2026-11-23T04:20:15Z"]
    batch = made(cluster, *(json.dumps({**json.loads(LINES[0]), "time": age}) for age in ages))
    assert len(findings.import_findings(hub, batch).imported) == 4
    assert len(findings.import_findings(hub, batch).unchanged) == 4
    df = findings.read(hub, cluster)
    assert list(df["created"].isna()) == list(df["updated"].isna()) == [False, True, True, True]
    assert set(df["id"]) == {finding["Id"] for finding in batch}
    last = {**batch[0], "Id": f"{batch[0]['Id']}-last", "UpdatedAt": "9999-12-31T23:59:59.999999999Z"}
    findings.import_findings(hub, [last])
    report = findings.archive(hub, cluster)
    assert set(report.updated) == {finding["Id"] for finding in batch}
    assert [failure.id for failure in report.failed] == [last["Id"]]


def test_alerts_without_a_finding_are_in_the_report(hub: Any, cluster: str) -> None:
    late = json.dumps({**json.loads(LINES[0]), "time": "9999-12-31T23:59:59Z"})
    batch = findings.to_findings(to_frame([LINES[0], late]), **{**PLACE, "cluster": cluster})
    report = findings.import_findings(hub, batch)
    assert (len(report.imported), report.failed, [one.number for one in report.refused]) == (1, (), [1])
    assert "no finding  the frame has no time of it" in repr(report)


def test_findings_come_back_typed(hub: Any, cluster: str) -> None:
    findings.import_findings(hub, made(cluster, *LINES))
    df = findings.read(hub, cluster)
    alerts = to_frame(LINES)
    assert str(df["created"].dtype) == str(df["updated"].dtype) == "datetime64[ns, UTC]"
    assert list(df["severity"].cat.categories) == ["INFORMATIONAL", "LOW", "MEDIUM", "HIGH", "CRITICAL"]
    assert df["severity"].cat.ordered
    assert df["rule"].value_counts().to_dict() == alerts["rule"].value_counts().to_dict()
    assert df["created"].is_monotonic_increasing
    assert df["created"].tolist() == alerts["time"].dt.floor("ms").tolist()
    assert set(df["record"]) == {"ACTIVE"}
    assert set(df["workflow"]) == {"NEW"}
    assert df["types"].map(type).eq(tuple).all()
    empty = findings.read(hub, "nobody")
    assert (len(empty), list(empty.dtypes)) == (0, list(df.dtypes))


def test_filters_narrow_down_what_is_read(hub: Any, cluster: str) -> None:
    findings.import_findings(hub, made(cluster, *LINES))
    severe = [{"Value": label, "Comparison": "EQUALS"} for label in ("HIGH", "CRITICAL")]
    some = findings.read(hub, cluster, filters={"SeverityLabel": severe})
    df = findings.read(hub, cluster)
    assert some["id"].tolist() == df.loc[df["severity"] >= "HIGH", "id"].tolist() != []


def test_findings_are_waited_for_and_the_missing_are_named(hub: Any, cluster: str) -> None:
    batch = made(cluster, *LINES[:25])
    findings.import_findings(hub, batch[:24])
    ids = [finding["Id"] for finding in reversed(batch[:24])]
    assert [f["Id"] for f in findings.wait_for(hub, ids, timeout=5)] == ids
    with pytest.raises(LabError, match=f"1 of 25 findings is not in Security Hub.*{batch[24]['Id']}"):
        findings.wait_for(hub, [finding["Id"] for finding in batch], timeout=0.1)


def test_findings_are_waited_for_until_they_are_as_they_should_be(hub: Any, cluster: str) -> None:
    batch = made(cluster, *LINES[:3])
    findings.import_findings(hub, batch)
    ids, archived = [finding["Id"] for finding in batch], {"RecordState": "ARCHIVED"}
    with pytest.raises(LabError, match=r"3 of 3 findings are not .* with \{'RecordState': 'ARCHIVED'\}"):
        findings.wait_for(hub, ids, where=archived, timeout=0.1, why=lambda: pytest.fail("nothing is broken"))
    findings.archive(hub, cluster)
    assert len(findings.wait_for(hub, ids, where=archived, timeout=5)) == 3


# Deliveries and dead letters


def test_a_delivery_is_what_the_forwarder_reads(lab: Lab, alert: Callable[..., str], log: Callable[..., None]) -> None:
    log(alert(), "poison")
    events = list(events_of(lab.aws.client("logs"), lab.settings.log_group))
    event = findings.delivery(events, account_id="111122223333", log_group=lab.settings.log_group)
    read = forwarder.unpacked(event)
    assert [(one["id"], one["message"]) for one in read["logEvents"]] == [(e["eventId"], e["message"]) for e in events]
    assert (read["messageType"], read["logGroup"], read["logStream"]) == (
        "DATA_MESSAGE",
        lab.settings.log_group,
        "alerts",
    )


def test_dead_letters_are_read_once_and_those_of_lambda_too(lab: Lab, cluster: str) -> None:
    sqs = lab.aws.client("sqs")
    queue = sqs.create_queue(QueueName=cluster)["QueueUrl"]
    assert findings.dead_letters(sqs, queue, timeout=0).empty
    event = {"id": "e1", "timestamp": 1, "message": "poison"}
    letter = json.dumps({"reason": "no alert", "logGroup": "g", "logStream": "s", "logEvent": event})
    given_up = {"ErrorMessage": {"DataType": "String", "StringValue": "Security Hub is off"}}
    for _ in range(2):  # delivered twice
        sqs.send_message(QueueUrl=queue, MessageBody=letter)
    sqs.send_message(QueueUrl=queue, MessageBody='{"awslogs": {}}', MessageAttributes=given_up)
    df = findings.dead_letters(sqs, queue, at_least=3, timeout=5)
    assert df["reason"].tolist() == ["no alert", "Security Hub is off"]
    assert df["message"].tolist() == ["poison", '{"awslogs": {}}']
    assert df.loc[0, ["event_id", "log_group", "log_stream"]].tolist() == ["e1", "g", "s"]
    assert df.loc[1, ["event_id", "log_group", "log_stream"]].isna().all()
    assert (df.dtypes == "string").all()
    assert findings.dead_letters(sqs, queue, timeout=0).empty


# Investigating and archiving


def test_a_person_resolves_with_a_note_and_importing_again_does_not_undo_it(hub: Any, cluster: str) -> None:
    batch = made(cluster, *LINES[:3])
    findings.import_findings(hub, batch)
    report = findings.resolve(hub, [batch[0]["Id"], "falco/nobody"], note="a drill", by="instructor")
    assert report.updated == (batch[0]["Id"],)
    assert [(f.id, f.code) for f in report.failed] == [("falco/nobody", "FindingNotFound")]
    findings.import_findings(hub, [{**finding, "UpdatedAt": "2026-11-25T00:00:00Z"} for finding in batch])
    df = findings.read(hub, cluster).set_index("id")
    assert df.loc[[f["Id"] for f in batch], "workflow"].tolist() == ["RESOLVED", "NEW", "NEW"]


def test_archiving_leaves_nothing_active_and_the_rest_of_a_finding_as_it_was(hub: Any, cluster: str) -> None:
    ahead = json.dumps({**json.loads(LINES[0]), "time": "2031-01-01T00:00:00Z"})  # by a clock that is ahead
    batch = made(cluster, *LINES[:5], ahead)
    findings.import_findings(hub, batch)
    findings.resolve(hub, [batch[0]["Id"]], note="a drill", by="instructor")
    before = {finding["Id"]: finding for finding in findings.active(hub, cluster)}
    report = findings.archive(hub, cluster)
    assert (sorted(report.updated), report.failed) == (sorted(before), ())
    assert list(findings.active(hub, cluster)) == []
    for finding in findings.wait_for(hub, list(before), timeout=5):
        was = before[finding["Id"]]
        assert finding["RecordState"] == "ARCHIVED"
        assert pd.Timestamp(finding["UpdatedAt"]) > pd.Timestamp(was["UpdatedAt"])
        changed = {name for name in was if finding[name] != was[name]}
        assert changed <= {"RecordState", "UpdatedAt", "ProcessedAt"}
    assert findings.archive(hub, cluster).updated == ()
    # What happened then stays over, however often the stream is delivered again.
    findings.import_findings(hub, batch)
    assert list(findings.active(hub, cluster)) == []


def test_while_security_hub_is_off_it_is_said_how_to_turn_it_on(lab: Lab, cluster: str) -> None:
    elsewhere = lab.aws.session.client(
        "securityhub", region_name="eu-west-2", endpoint_url=lab.aws.client("sts").meta.endpoint_url
    )
    for call in (
        lambda: findings.read(elsewhere, cluster),
        lambda: findings.import_findings(elsewhere, made(cluster, LINES[0])),
        lambda: findings.archive(elsewhere, cluster),
        lambda: findings.wait_for(elsewhere, ["x"], timeout=1),
        lambda: findings.resolve(elsewhere, ["x"], note="n", by="b"),
    ):
        with pytest.raises(LabError, match="Security Hub CSPM is off") as caught:
            call()
        assert "security-hub" in caught.value.hint


def test_the_log_group_and_security_hub_agree(
    lab: Lab, hub: Any, cluster: str, alert: Callable[..., str], log: Callable[..., None]
) -> None:
    log(*[alert(time=f"2026-11-23T04:20:{second:02}.5Z") for second in range(7)])
    df = lab.alerts()
    report = findings.import_findings(
        hub, findings.to_findings(df, **{**findings.origin(lab.target), "cluster": cluster})
    )
    assert len(report.imported) == len(df) == len(findings.read(hub, cluster)) == 7


def test_what_else_security_hub_refuses_is_said_in_its_words(lab: Lab, cluster: str) -> None:
    endpoint = lab.aws.client("securityhub").meta.endpoint_url
    stranger = boto3.client(
        "securityhub", "us-east-1", endpoint_url=endpoint, aws_access_key_id="AKIDEXAMPLE", aws_secret_access_key="no"
    )
    with pytest.raises(
        TargetError, match=r"AWS refused GetFindings \((UnrecognizedClient|InvalidClientTokenId)"
    ) as caught:
        findings.read(stranger, cluster)
    assert "off" not in caught.value.message
    nowhere = boto3.client(
        "securityhub", "us-east-1", endpoint_url="http://127.0.0.1:9", aws_access_key_id="A", aws_secret_access_key="b",
        config=Config(retries={"total_max_attempts": 1}),
    )  # fmt: skip
    with pytest.raises(TargetError, match="does not answer"):
        findings.read(nowhere, cluster)


def test_a_report_counts_all_that_was_sent_by_its_result() -> None:
    failures = tuple(forwarder.Failure(str(number), "InvalidInput", "too long") for number in range(2))
    report = findings.Report(("a",), ("b", "c"), ("d", "e", "f"), failures, (findings.Refused(3, "no time"),))
    assert repr(report).splitlines() == [
        "Sent to Security Hub: 8",
        "  1  imported",
        "  2  updated",
        "  3  unchanged",
        "  2  failed      InvalidInput: too long",
        "  1  no finding  no time",
    ]
