"""Alerts in OCSF: every event is a valid detection finding by the published schema, and tells what the alert tells."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from labkit.respond.forwarder import to_asff
from labkit.respond.ocsf import to_ocsf

LINES = (Path(__file__).parents[1] / "alerts/data/falco-alerts.jsonl").read_text().splitlines()
SHELL: dict[str, Any] = json.loads(LINES[0])
PLACE = {"account_id": "111122223333", "region": "us-east-1", "cluster": "falco-workshop"}
SCHEMA = Draft202012Validator(
    json.loads((Path(__file__).parent / "data" / "ocsf-1.5.0-detection_finding.json").read_text())
)


def event(alert: dict[str, Any], **place: Any) -> dict[str, Any]:
    """Its event, which the schema allows."""
    made = to_ocsf(alert, **{**PLACE, **place})
    assert [f"{fault.json_path}: {fault.message[:200]}" for fault in SCHEMA.iter_errors(made)] == []
    return made


def alert(**changes: Any) -> dict[str, Any]:
    return {**copy.deepcopy(SHELL), **changes}


def with_fields(**fields: Any) -> dict[str, Any]:
    return alert(output_fields={**SHELL["output_fields"], **{k.replace("__", "."): v for k, v in fields.items()}})


def test_the_schema_refuses_what_is_wrong() -> None:
    made = event(SHELL)
    for wrong in ({"severity_id": 7}, {"type_uid": 200101}, {"time": "now"}, {"nonsense": 1}, {"finding_info": {}}):
        assert list(SCHEMA.iter_errors({**made, **wrong})), wrong


def test_every_alert_of_a_real_falco_is_a_valid_event_of_its_own() -> None:
    assert len({event(json.loads(line))["finding_info"]["uid"] for line in LINES}) == 60


def test_an_alert_with_everything_in_it_is_this_event() -> None:
    example = json.loads((Path(__file__).parent / "data" / "example.json").read_text())
    assert event(example["alert"]) == example["event"]


@pytest.mark.parametrize(("path", "name"), [("/", "/"), ("/etc/", "/etc/"), ("/a/b", "b")])
def test_a_file_is_named_by_the_end_of_its_path(path: str, name: str) -> None:
    (evidence,) = event(with_fields(fd__name=path))["evidences"]
    assert evidence["file"]["name"] == name
    assert "file" not in event(with_fields(fd__name="10.0.0.1:80"))["evidences"][0]


def test_an_event_tells_what_the_alert_tells() -> None:
    made = event(SHELL)
    assert (made["class_uid"], made["category_uid"], made["activity_id"], made["type_uid"]) == (2004, 2, 1, 200401)
    assert made["time"] == 1795407615177
    assert made["metadata"]["version"] == "1.5.0"
    assert made["metadata"]["original_time"] == SHELL["time"]
    assert made["finding_info"]["uid"] == to_asff(SHELL, **PLACE)["Id"]
    assert made["finding_info"]["attacks"] == [
        {"tactic": {"name": "Execution", "uid": "TA0002"}, "technique": {"uid": "T1059"}}
    ]
    assert made["message"] == SHELL["output"]
    assert [(r["type"], r["name"]) for r in made["resources"]] == [
        ("Container", "nginx"),
        ("Pod", "web-0"),
        ("Host", "vm"),
        ("AwsEksCluster", "falco-workshop"),
    ]
    (evidence,) = made["evidences"]
    assert evidence["data"]["proc.cmdline"] == "bash"
    assert evidence["container"] == {"uid": "6c87814e33bb", "name": "nginx", "orchestrator": "Kubernetes"}
    assert evidence["user"] == {"name": "root", "uid": "0"}
    assert "process" not in evidence  # OCSF knows a process by its id, which this alert doesn't tell


def test_a_process_a_file_and_an_image_are_there_when_the_alert_tells_them() -> None:
    uid = "11111111-2222-3333-4444-555555555555"
    made = event(
        with_fields(
            proc__pid=4711,
            proc__ppid=1,
            fd__name="/etc/shadow",
            k8s__pod__uid=uid,
            container__image__id="sha256:abc",
            container__type="containerd",
        )
    )
    (evidence,) = made["evidences"]
    assert evidence["process"] == {
        "pid": 4711,
        "name": "bash",
        "path": "/usr/bin/bash",
        "cmd_line": "bash",
        "parent_process": {"pid": 1, "name": "containerd-shim"},
    }
    assert evidence["file"]["path"] == "/etc/shadow"
    assert evidence["container"]["image"] == {
        "uid": "sha256:abc",
        "name": "docker.io/library/nginx",
        "tag": "1.22",
    }
    assert (evidence["container"]["pod_uuid"], evidence["container"]["runtime"]) == (uid, "containerd")


@pytest.mark.parametrize(
    ("priority", "severity"),
    [
        ("Emergency", (5, "Critical")),
        ("Critical", (5, "Critical")),
        ("Error", (4, "High")),
        ("Warning", (3, "Medium")),
        ("notice", (2, "Low")),
        ("Debug", (1, "Informational")),
        ("Catastrophe", (99, "Catastrophe")),
        ("", (0, "Unknown")),
        (None, (0, "Unknown")),
    ],
)
def test_severity_follows_from_the_priority(priority: Any, severity: tuple[int, str]) -> None:
    made = event(alert(priority=priority))
    assert (made["severity_id"], made["severity"]) == severity


@pytest.mark.parametrize(
    ("tags", "attacks"),
    [
        ([], []),
        (["mitre_execution"], [{"tactic": {"name": "Execution", "uid": "TA0002"}}]),
        (["T1059"], [{"technique": {"uid": "T1059"}}]),
        (
            ["T1555.001", "mitre_credential_access"],
            [
                {
                    "tactic": {"name": "Credential Access", "uid": "TA0006"},
                    "technique": {"uid": "T1555"},
                    "sub_technique": {"uid": "T1555.001"},
                }
            ],
        ),
        (
            ["mitre_impact", "mitre_discovery", "T1496", "TA0040"],
            [
                {"tactic": {"name": "Impact", "uid": "TA0040"}},
                {"tactic": {"name": "Discovery", "uid": "TA0007"}},
                {"technique": {"uid": "T1496"}},
            ],
        ),
    ],
)
def test_attacks_follow_from_the_tags(tags: list[str], attacks: list[dict[str, Any]]) -> None:
    assert event(alert(tags=tags))["finding_info"]["attacks"] == attacks


def test_an_alert_of_a_host_without_anything_else_is_still_an_event() -> None:
    made = event({"rule": "r", "time": SHELL["time"]}, cluster="")
    assert made["resources"] == [
        {"uid": "AWS::::Account:111122223333", "type": "AwsAccount", "region": "us-east-1", "cloud_partition": "aws"}
    ]
    assert made["evidences"] == [{"data": {}}]


def test_halves_of_characters_become_what_can_be_written() -> None:
    made = event(with_fields(proc__cmdline="echo \ud800\U0001f600"))
    assert made["evidences"][0]["data"]["proc.cmdline"] == "echo \ufffd\U0001f600"
    assert json.loads(json.dumps(made, ensure_ascii=False).encode()) == made


def test_an_alert_that_has_no_finding_has_no_event() -> None:
    with pytest.raises(ValueError, match="names no rule"):
        to_ocsf({}, **PLACE)
    with pytest.raises(ValueError, match="nothing tells the time"):
        to_ocsf({"rule": "r"}, **PLACE)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
FIELD = st.sampled_from([*SHELL["output_fields"], "proc.pid", "proc.ppid", "k8s.pod.uid", "container.image.id"])


@settings(max_examples=150, deadline=None)
@given(
    st.fixed_dictionaries(
        {"rule": st.text(min_size=1).filter(str.strip), "time": st.just(SHELL["time"])},
        optional={
            "priority": JSON,
            "source": JSON,
            "hostname": JSON,
            "output": JSON,
            "tags": st.lists(st.sampled_from(["mitre_impact", "T1059", "T1003.001", "TA0001"]) | JSON) | JSON,
            "output_fields": st.dictionaries(FIELD | st.text(), JSON, max_size=20) | JSON,
        },
    )
)
def test_whatever_the_values_are_an_event_is_valid(anything: dict[str, Any]) -> None:
    event(anything)
