"""Commands typed into pods that would stop a lab that trusts them: others are answered meanwhile, and it ends well."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ekslab import client
from ekslab.state import Endpoints
from labkit import Lab
from labkit.errors import ExecError
from labkit.kube.rollout import wait_rollout
from tests.ekslab.test_hostile_requests import GROUP, Bystander, at_once

COMMANDS = (Path(__file__).parent / "node" / "data" / "hostile.txt").read_text().splitlines()[::3]
PODS = 4  # attendees that do their worst at the same time
WHILE = 0.5  # seconds that each of them is let
MOST_MEMORY = 600 << 20


@pytest.fixture(scope="module")
def endpoints(new_lab: Callable[..., Endpoints]) -> Endpoints:
    return new_lab()


@pytest.fixture(scope="module")
def lab(endpoints: Endpoints, workshop: Path) -> Lab:
    lab = Lab.connect(home=endpoints.home, root=workshop)
    lab.ensure("fluent-bit", "falco", "nginx")
    lab.aws.client("logs").create_log_group(logGroupName=GROUP)
    lab.kube.request(
        "PATCH",
        "/apis/apps/v1/namespaces/default/deployments/nginx",
        body={"spec": {"replicas": PODS}},
        content_type="application/merge-patch+json",
    )
    wait_rollout(lab.kube, "Deployment", "nginx", "default")
    return lab


@pytest.fixture(scope="module")
def other(endpoints: Endpoints, lab: Lab) -> Iterator[Bystander]:
    bystander = Bystander(endpoints)
    yield bystander
    bystander.stop()


def test_others_are_answered_whatever_is_typed_in_pods(endpoints: Endpoints, lab: Lab, other: Bystander) -> None:
    assert len(COMMANDS) >= 60
    pods = [pod["metadata"]["name"] for pod in lab.kube.list("Pod", "default", labels="app=nginx")]
    assert len(pods) == PODS

    def type_in(pod: str, command: str) -> None:
        try:
            lab.exec(pod, "bash", "-c", command, timeout=WHILE)
        except ExecError:
            return  # still running after that time, too much output, or its container ran out of memory before

    for begin in range(0, len(COMMANDS), PODS):
        some = COMMANDS[begin : begin + PODS]
        with ThreadPoolExecutor(PODS) as attendees:
            list(attendees.map(type_in, pods, some))
        assert at_once(other.latencies()), some
        assert (client.health(endpoints) or {})["memory"] < MOST_MEMORY, some

    # And the lab is as well as before.
    wait_rollout(lab.kube, "Deployment", "nginx", "default")
    fresh = lab.kube.list("Pod", "default", labels="app=nginx")[0]["metadata"]["name"]
    lab.exec(fresh, "cat", "/etc/shadow")
    assert lab.wait_for_alert("Read sensitive file untrusted", where={"k8s.pod.name": fresh})["proc.name"] == "cat"
    states = {row[0]: row[1] for row in lab.status().rows}
    assert {states[step] for step in ("falco", "fluent-bit", "nginx")} == {"applied"}
