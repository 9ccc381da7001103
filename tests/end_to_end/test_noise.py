"""Noise in a lab: its alerts come through Falco and Fluent Bit, and it leaves nothing behind."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import boto3
import pytest
from click.testing import CliRunner

from ekslab import client
from ekslab.client import EksLabError, Endpoints
from ekslab.noise import NAMESPACE, Plan, _data
from labkit import Lab
from labkit.cli import main


@pytest.fixture(scope="module")
def watched(new_lab: Callable[..., Endpoints], workshop: Path) -> tuple[Endpoints, Lab]:
    """A lab whose pods Falco watches."""
    lab = new_lab()
    connected = Lab.connect(home=lab.home, root=workshop)
    connected.ensure("fluent-bit", "falco")
    return lab, connected


@pytest.fixture
def quiet(watched: tuple[Endpoints, Lab]) -> Iterator[tuple[Endpoints, Lab]]:
    yield watched
    client.set_noise(watched[0], 0)


def alerts_of(lab: Endpoints, since: int, count: int) -> list[tuple[str, str, str]]:
    """(rule, pod, command) of the first alerts from noise's pods in CloudWatch, in order."""
    logs = boto3.client(
        "logs",
        endpoint_url=lab.aws_url,
        region_name=lab.region,
        aws_access_key_id=lab.access_key_id,
        aws_secret_access_key=lab.secret_access_key,
    )
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        events = logs.filter_log_events(logGroupName="falco", startTime=since)["events"]
        alerts = [json.loads(event["message"]) for event in events]
        fields: list[Any] = [(alert["time"], alert["rule"], alert["output_fields"]) for alert in alerts]
        found = sorted((t, rule, f["k8s.pod.name"], f["proc.cmdline"]) for t, rule, f in fields)
        if len(found) >= count:
            return [alert[1:] for alert in islice(found, count)]
        time.sleep(0.1)
    raise AssertionError(f"{len(found)} alerts instead of {count}")


def test_the_same_seed_gives_the_same_alerts(quiet: tuple[Endpoints, Lab]) -> None:
    lab, connected = quiet
    runs = []
    for _ in range(2):
        since = int(time.time() * 1000)
        client.set_noise(lab, 120, seed=5)
        runs.append(alerts_of(lab, since, 12))
        client.set_noise(lab, 0)
        assert not connected.pods(NAMESPACE).items
    assert runs[0] == runs[1]
    plan = Plan(5, 120)
    happenings = [plan.next() for _ in range(100)]
    expected = [(h.rule, h.pod) for h in happenings if h.rule]
    assert [alert[:2] for alert in runs[0]] == expected[:12]


@pytest.mark.parametrize("activity", _data()["activities"], ids=lambda a: a["name"][:30])
def test_each_command_raises_its_alert_once(quiet: tuple[Endpoints, Lab], activity: dict[str, Any]) -> None:
    lab, connected = quiet
    connected.ensure("nginx")
    for script in [*activity.get("commands", ()), *activity.get("typed", ())]:
        since = int(time.time() * 1000)
        if "typed" in activity:
            connected.exec("deploy/nginx", "bash", tty=True, stdin=f"{script}\nexit\n", timeout=10)
        else:
            connected.exec("deploy/nginx", "sh", "-c", script.replace("{n}", str(since)), timeout=10)
        connected.exec("deploy/nginx", "cat", "/etc/../usr/share/../../etc/passwd")  # the last one
        rules = [rule for rule, _, _ in alerts_of(lab, since, 2 if activity["rule"] else 1)]
        assert rules[:-1] == ([activity["rule"]] if activity["rule"] else [])


def test_noise_is_nothing_of_the_workshop_and_teardown_ends_it(
    new_lab: Callable[..., Endpoints], workshop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = new_lab()
    monkeypatch.setenv("LABKIT_HOME", str(lab.home))
    monkeypatch.chdir(workshop)
    up = CliRunner().invoke(main, ["up", "--noise", "--noise-seed", "9"])
    assert "noise       4 alerts a minute on average, in namespace background-noise (seed 9)" in up.output
    assert "12 alerts a minute" in CliRunner().invoke(main, ["up", "--noise", "12"]).output
    assert CliRunner().invoke(main, ["up", "--noise-seed", "3"]).exit_code == 2
    connected = Lab.connect(home=lab.home, root=workshop)
    assert connected.audit().clean
    connected.teardown()
    assert client.noise(lab) == {"rate": 0, "seed": 9, "namespace": NAMESPACE}
    assert NAMESPACE not in [item["metadata"]["name"] for item in connected.kube.list("Namespace")]


def test_deleting_its_namespace_ends_it(new_lab: Callable[..., Endpoints], workshop: Path) -> None:
    lab = new_lab()
    kube = Lab.connect(home=lab.home, root=workshop).kube
    assert client.set_noise(lab, 120)["rate"] == 120
    kube.request("DELETE", f"/api/v1/namespaces/{NAMESPACE}")
    deadline = time.monotonic() + 20
    while client.noise(lab)["rate"]:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_namespace_that_was_there_before_is_left_alone(new_lab: Callable[..., Endpoints], workshop: Path) -> None:
    lab = new_lab()
    kube = Lab.connect(home=lab.home, root=workshop).kube
    kube.request("POST", "/api/v1/namespaces", body={"metadata": {"name": NAMESPACE}})
    with pytest.raises(EksLabError, match=r"Noise needs a namespace of its own, but .*already exists"):
        client.set_noise(lab, 120)
    assert client.set_noise(lab, 0)["rate"] == 0
    assert kube.request("GET", f"/api/v1/namespaces/{NAMESPACE}")["status"]["phase"] == "Active"


@pytest.mark.parametrize(("rate", "seed"), [(-1, None), (121, None), (4, 1.5), (True, None)])
def test_a_rate_or_seed_that_cannot_be_is_refused(embedded: Endpoints, rate: float, seed: Any) -> None:
    with pytest.raises(EksLabError, match=r"The (rate|seed) of noise is"):
        client.set_noise(embedded, rate, seed=seed)
    assert client.noise(embedded)["rate"] == 0
