"""What the console's views show of a lab with the workshop in it, and the commands beside them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import boto3
import pytest

from ekslab.console.views import VIEWS
from ekslab.state import Endpoints
from labkit.lab import Lab
from labkit.respond.findings import origin, to_findings
from tests.aws_cli import install
from tests.ekslab.console.page import Page
from tests.ekslab.console.test_card import compare

ODD = {
    "markup": '<img src=x onerror="alert(1)"></script><script>alert(2)</script>',
    "control characters": "a\x00b\x1b[2Jc\x07d\re\x9bf",
    "right to left": "invoice\u202efdp.exe\u2066x\u2069",
    "emoji": "🦅🏴‍☠️ é́ \u200b\ufeff",
    "half a character": '{"rule": "x", "output": "\\ud800", "priority": "Notice"}',
    "no object": "[1, 2]",
    "deep": "[" * 5000,
    "rule is no text": '{"rule": {"a": 1}, "priority": ["x"], "output_fields": 5, "tags": "t"}',
    "fields are odd": '{"rule": "r", "time": 5, "output_fields": {"k8s.pod.name": ["a"], "": null, "x": {"y": 1}}}',
    "empty object": "{}",
}


@pytest.fixture(scope="module")
def alert(console_lab: Lab) -> Any:
    console_lab.exec("deploy/nginx", "cat /etc/shadow")
    return console_lab.wait_for_alert("Read sensitive file untrusted")


@pytest.fixture(scope="module")
def aws_cli(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with the AWS CLI."""
    folder = tmp_path_factory.mktemp("aws")
    with install(folder):
        yield folder


@pytest.fixture(scope="module")
def odd(console_lab: Lab) -> str:
    """A log group with lines that aren't alerts, or hardly."""
    logs = console_lab.aws.client("logs")
    logs.create_log_group(logGroupName="odd")
    logs.create_log_stream(logGroupName="odd", logStreamName="s")
    now = int(time.time() * 1000)
    events = [{"timestamp": now, "message": message} for message in ODD.values()]
    events.append({"timestamp": now, "message": '{"rule": "long", "output": "' + "🦅x" * 130_000 + '"}'})
    logs.put_log_events(logGroupName="odd", logStreamName="s", logEvents=events)
    return "odd"


def test_an_alert_is_found_and_opened_as_the_notebooks_card(page: Page, alert: Any, console_lab: Lab) -> None:
    found = page.get("events", group="falco", pattern='{ $.rule = "Read sensitive file untrusted" }')
    row = found["events"][0]
    assert (row["rule"], row["command"], row["pod"]) == (alert["rule"], "cat /etc/shadow", alert["k8s.pod.name"])
    by_id = page.get("event", group="falco", timestamp=row["timestamp"], id=row["id"])
    by_key = page.get("event", group="falco", timestamp=row["timestamp"], key=row["key"])
    assert by_id["message"] == by_key["message"]
    compare(json.loads(by_id["message"]))
    assert by_id["card"]["rule"] == alert["rule"]


def test_events_come_newest_first_and_by_time(page: Page, alert: Any) -> None:
    stamps = [row["timestamp"] for row in page.get("events", group="falco")["events"]]
    assert stamps == sorted(stamps, reverse=True)
    assert len(stamps) > 1
    assert page.get("events", group="falco", start="2020-01-01T00:00", end="2020-01-02T00:00")["events"] == []
    assert len(page.get("events", group="falco", limit=1)["events"]) == 1
    middle = stamps[0]
    assert {row["timestamp"] for row in page.get("events", group="falco", start=middle, end=middle)["events"]} == {
        middle
    }


def test_ten_thousand_events_come_as_the_newest_in_order(page: Page, console_lab: Lab) -> None:
    logs = console_lab.aws.client("logs")
    logs.create_log_group(logGroupName="many")
    logs.create_log_stream(logGroupName="many", logStreamName="s")
    now = int(time.time() * 1000)
    for batch in range(3):
        start = now - 7_000_000 + batch * 4_000
        lines = [{"timestamp": start + i, "message": f"line {batch * 4_000 + i} " + "x" * 80} for i in range(4_000)]
        logs.put_log_events(logGroupName="many", logStreamName="s", logEvents=lines)
    found = page.get("events", group="many", start=now - 10_000_000)
    assert found["more"]
    numbers = [int(row["message"].split()[1]) for row in found["events"]]
    assert numbers == list(range(11_999, 1_999, -1))


def test_odd_lines_are_texts(page: Page, odd: str) -> None:
    found = page.get("events", group=odd)
    assert len(found["events"]) == len(ODD) + 1
    for row in found["events"]:
        shown = page.get("event", group=odd, timestamp=row["timestamp"], id=row["id"])
        assert "refused" not in shown, (row, shown)
        assert shown["message"]
    assert max(row["size"] for row in found["events"]) > 250_000
    assert len(json.dumps(found)) < 50_000  # a row has the beginning of a long line only


def test_refusals_are_in_the_services_words(page: Page) -> None:
    assert page.get("events", group="none") == {
        "refused": 400,
        "code": "ResourceNotFoundException",
        "message": "The specified log group does not exist.",
    }
    assert page.get("events", group="falco", pattern="{ $.x = ")["code"] == "InvalidParameterException"
    assert page.get("insights", group="falco", query="nonsense |")["code"] == "MalformedQueryException"
    assert page.get("object", namespace="default", name="none")["message"] == 'pods "none" not found'
    assert page.get("object", namespace="default", name="../../nodes")["refused"] in (400, 404)
    assert page.get("events")["refused"] == page.get("events", group="falco", start="x")["refused"] == 400
    assert page.get("alarm", name="none")["refused"] == 404


def test_insights_metrics_alarms_and_dashboards(page: Page, alert: Any, console_lab: Lab) -> None:
    found = page.get("insights", group="falco", query="filter ispresent(rule) | stats count(*) as n by rule")
    assert found["columns"] == ["rule", "n"]
    assert {"rule": alert["rule"], "n": "1"} in [{**row, "n": "1"} for row in found["rows"]]
    assert "falco-workshop" in page.get("metrics")["namespaces"]
    alarms = page.get("alarms")["alarms"]
    assert alarms
    one = page.get("alarm", name=alarms[0]["name"])
    assert one["history"]
    asked = urlencode({"widget": json.dumps({**one["widget"], "width": 300, "height": 120})})
    assert page.request(f"/api/image?{asked}")[0] == 200
    assert page.get("dashboards")["dashboards"][0]["name"] == "falco-workshop"
    body = page.get("dashboard", name="falco-workshop")["body"]
    widget = next(w for w in body["widgets"] if w["type"] == "metric")["properties"]
    asked = urlencode({"widget": json.dumps({**widget, "width": 300, "height": 120})})
    status, headers, png = page.request(f"/api/image?{asked}")
    assert (status, headers["Content-Type"], png[:4]) == (200, "image/png", b"\x89PNG"), png[:300]
    assert page.request("/api/image?widget=%7B")[0] == 400


def test_the_cluster_is_shown_as_kubectl_shows_it(page: Page, alert: Any) -> None:
    pods = page.get("pods")
    assert pods["columns"][:5] == ["Name", "Ready", "Status", "Restarts", "Age"]
    nginx = next(row for row in pods["rows"] if row["name"].startswith("nginx"))
    shown = page.get("object", namespace="default", name=nginx["name"])
    assert "kind: Pod" in shown["yaml"]
    assert "managedFields" not in shown["yaml"]
    assert shown["containers"] == ["nginx"]
    assert page.get("pods", namespace="falco", labels="app.kubernetes.io/name=falco")["rows"]
    assert len(page.get("nodes")["rows"]) == 2
    assert page.get("kube-events")["events"]
    rules = {rule["name"]: rule for rule in page.get("rules")["rules"]}
    assert rules[alert["rule"]]["enabled"] is True
    falco = pods["rows"][[row["namespace"] for row in pods["rows"]].index("falco")]
    with page.live("follow", namespace=nginx["namespace"], pod=nginx["name"], container="nginx") as messages:
        assert next(messages)[0] == "started"
        kind, lines = next(messages)
        assert (kind, any("nginx" in line for line in lines)) == ("lines", True)
    assert falco


def test_a_finding_leads_back_to_its_alert(page: Page, alert: Any, console_lab: Lab) -> None:
    deadline = time.monotonic() + 20
    while not (found := page.get("findings", severity="MEDIUM")["findings"]):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    row = page.get("finding", id=found[0]["id"])["row"]
    moment = page.get("events", group="falco")["events"][0]["timestamp"]
    shown = page.get("event", group="falco", timestamp=moment, key=row["key"])
    assert shown["card"]["rule"] == row["rule"] == alert["rule"]
    assert page.get("findings", severity="CRITICAL,HIGH")["findings"] == []


def test_many_findings_come_page_by_page(page: Page, alert: Any, console_lab: Lab) -> None:
    (one,) = to_findings(
        [{"rule": "many", "priority": "Debug", "time": "2026-01-01T00:00:00Z"}], **origin(console_lab.target)
    )
    hub = console_lab.aws.client("securityhub")
    hub.batch_import_findings(Findings=[{**one, "Id": f"{one['Id']}-{number}"} for number in range(100)])
    hub.batch_import_findings(Findings=[{**one, "Id": f"{one['Id']}+{number}"} for number in range(100)])
    ids: list[str] = []
    token = ""
    while token or not ids:
        answer = page.get("findings", severity="INFORMATIONAL", limit=100, token=token)
        ids += [row["id"] for row in answer["findings"]]
        token = answer["token"]
    assert len(ids) == len(set(ids)) == 200


def test_what_happens_is_told_as_it_happens(page: Page, console_lab: Lab) -> None:
    with page.live() as messages:
        for kind, content in messages:
            if kind == "snapshot" and content["links"]:
                break
        states = {link["id"]: link["state"] for link in content["links"]}
        assert states == dict.fromkeys(("calls", "alerts", "shipped", "stored", "metrics", "alarms", "findings"), "ok")
        begun = time.time()
        console_lab.exec("deploy/nginx", "cat /etc/shadow")
        told: dict[str, float] = {}
        key = ""
        for kind, content in messages:
            if kind == "alert":
                key = content["key"]
                told.setdefault("alert", time.time() - begun)
            elif kind in ("stored", "findings") and any(row.get("key") == key for row in content):
                told.setdefault(kind, time.time() - begun)
            if len(told) == 3:
                break
    assert told["alert"] < 0.5
    assert told["stored"] < 5
    with page.live("tail", group="falco", pattern='{ $.priority = "Warning" }') as messages:
        assert next(messages)[0] == "started"
        console_lab.exec("deploy/nginx", "cat /etc/shadow")
        kind, content = next(messages)
        assert (kind, content["events"][0]["rule"]) == ("stored", "Read sensitive file untrusted")


@pytest.mark.skipif(
    not (shutil.which("kubectl") and shutil.which("aws")), reason="kubectl and the AWS CLI are not on the PATH"
)
def test_every_command_by_hand_is_one_that_the_tools_accept(
    page: Page, alert: Any, endpoints: Endpoints, aws_cli: Path
) -> None:
    pods = page.get("pods")["rows"]
    name = next(row["name"] for row in pods if row["namespace"] == "default")
    node = page.get("nodes")["rows"][0]["name"]
    row = page.get("events", group="falco")["events"][0]
    asked: dict[str, list[dict[str, Any]]] = {
        "streams": [{"group": "falco"}],
        "events": [{"group": "falco"}, {"group": "falco", "stream": "alerts", "pattern": '{ $.rule = "it\'s" }'}],
        "event": [{"group": "falco", "timestamp": row["timestamp"], "id": row["id"]}],
        "insights": [{"group": "falco", "query": "fields @timestamp | filter rule = 'x' | limit 1"}],
        "metrics": [{}, {"namespace": "falco-workshop"}],
        "alarm": [{"name": page.get("alarms")["alarms"][0]["name"]}],
        "dashboard": [{"name": "falco-workshop"}],
        "pods": [{}, {"namespace": "falco", "labels": "app.kubernetes.io/name=falco"}],
        "kube-events": [{}, {"namespace": "falco"}],
        "object": [
            {"namespace": "default", "name": name},
            {"kind": "node", "name": node},
        ],
        "findings": [{}, {"severity": "HIGH,LOW", "workflow": "NEW"}],
        "finding": [{"id": page.get("findings")["findings"][0]["id"]}],
    }
    path = f"{endpoints.programs}:{aws_cli}:{os.environ['PATH']}"
    environ = {**endpoints.environment(), "PATH": path, "HOME": "/tmp"}
    commands = []
    for view in VIEWS:
        for query in asked.get(view, [{}]):
            answer = page.get(view, **query)
            assert "refused" not in answer, (view, answer)
            commands += answer.get("hand", "").splitlines()
    assert len(commands) > 15

    def typed(command: str) -> str:
        words = ["bash", "-c", command]
        done = subprocess.run(words, env=environ, capture_output=True, text=True, timeout=60, check=False)
        return f"{command}\n{done.stderr}" if done.returncode else ""

    with ThreadPoolExecutor(4) as pool:
        assert not [fault for fault in pool.map(typed, dict.fromkeys(commands)) if fault]


def test_what_boto3_sees_is_what_the_page_sees(page: Page, endpoints: Endpoints) -> None:
    client = boto3.client(
        "logs",
        region_name=endpoints.region,
        endpoint_url=endpoints.aws_url,
        aws_access_key_id=endpoints.access_key_id,
        aws_secret_access_key=endpoints.secret_access_key,
    )
    names = {group["logGroupName"] for group in client.describe_log_groups()["logGroups"]}
    assert names == {group["name"] for group in page.get("groups")["groups"]}


def test_a_broken_link_has_labkits_diagnosis(page: Page, console_lab: Lab) -> None:
    console_lab.aws.client("logs").delete_log_group(logGroupName="falco")
    try:
        with page.live() as messages:
            for kind, content in messages:
                if kind == "snapshot" and content["diagnosis"]:
                    break
        broken = {link["id"] for link in content["links"] if link["state"] == "broken"}
        assert "stored" in broken
        assert content["diagnosis"][0]["link"] == "log group"
        assert "`labkit apply log-group`" in content["diagnosis"][0]["hint"]
    finally:
        console_lab.ensure()
