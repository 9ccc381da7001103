"""Why a node can't take a pod, in the scheduler's words."""

from __future__ import annotations

from typing import Any

import pytest

from ekslab.kubernetes.controllers.scheduling import refusal, requests, selects_node, tolerates, untolerated


def node(*taints: dict[str, Any], unschedulable: bool = False, **allocatable: str) -> dict[str, Any]:
    return {
        "metadata": {"name": "n1", "labels": {"zone": "a", "size": "4"}},
        "spec": {"taints": list(taints), "unschedulable": unschedulable},
        "status": {"allocatable": {"cpu": "2", "memory": "1Gi", "pods": "3", **allocatable}},
    }


def pod(cpu: str = "", memory: str = "", port: int = 0, **spec: Any) -> dict[str, Any]:
    wanted = {name: amount for name, amount in (("cpu", cpu), ("memory", memory)) if amount}
    ports = [{"containerPort": 80, "hostPort": port}] if port else []
    return {"spec": {"containers": [{"name": "c", "resources": {"requests": wanted}, "ports": ports}], **spec}}


TAINT = {"key": "k", "value": "v", "effect": "NoSchedule"}
CORDONED = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}


@pytest.mark.parametrize(
    ("wanted", "on", "running", "reason"),
    [
        (pod(), node(), [], ""),
        (pod(), node(CORDONED, unschedulable=True), [], "node(s) were unschedulable"),
        (pod(tolerations=[{"operator": "Exists"}]), node(CORDONED, unschedulable=True), [], ""),
        (pod(), node(TAINT), [], "node(s) had untolerated taint {k: v}"),
        (pod(), node(TAINT | {"effect": "NoExecute"}), [], "node(s) had untolerated taint {k: v}"),
        (pod(), node(TAINT | {"effect": "PreferNoSchedule"}), [], ""),
        (pod(tolerations=[{"key": "k", "value": "v"}]), node(TAINT), [], ""),
        (pod(nodeSelector={"zone": "b"}), node(), [], "node(s) didn't match Pod's node affinity/selector"),
        (pod(nodeSelector={"zone": "a"}), node(), [], ""),
        (pod(port=80), node(), [pod(port=80)], "node(s) didn't have free ports for the requested pod ports"),
        (pod(port=80), node(), [pod(port=81)], ""),
        (pod(), node(), [pod(), pod()], ""),
        (pod(), node(), [pod(), pod(), pod()], "Too many pods"),
        (pod(cpu="1"), node(), [pod(cpu="1")], ""),
        (pod(cpu="1001m"), node(), [pod(cpu="1")], "Insufficient cpu"),
        (pod(memory="600Mi"), node(), [pod(memory="600Mi")], "Insufficient memory"),
    ],
)
def test_refusals(wanted: dict[str, Any], on: dict[str, Any], running: list[dict[str, Any]], reason: str) -> None:
    assert refusal(wanted, on, running) == reason


@pytest.mark.parametrize(
    ("toleration", "tolerated"),
    [
        ({"operator": "Exists"}, True),
        ({"operator": "Exists", "key": "k"}, True),
        ({"operator": "Exists", "key": "other"}, False),
        ({"key": "k", "value": "v", "effect": "NoSchedule"}, True),
        ({"key": "k", "value": "v", "effect": "NoExecute"}, False),
        ({"key": "k", "value": "other"}, False),
        ({"key": "k"}, False),
    ],
)
def test_tolerations(toleration: dict[str, Any], tolerated: bool) -> None:
    assert tolerates([toleration], TAINT) is tolerated
    assert tolerates([{"key": "none"}, toleration], TAINT) is tolerated


def test_only_taints_with_the_effects_asked_for_count() -> None:
    tainted = node(TAINT, {"key": "e", "effect": "NoExecute"})
    assert untolerated([], tainted, ("NoExecute",)) == {"key": "e", "effect": "NoExecute"}
    assert untolerated([{"key": "e", "operator": "Exists"}], tainted, ("NoExecute",)) is None
    assert untolerated([], tainted, ("NoSchedule", "NoExecute")) == TAINT


def affinity(*terms: dict[str, Any]) -> dict[str, Any]:
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": list(terms)}}
    return {"affinity": {"nodeAffinity": required}}


@pytest.mark.parametrize(
    ("term", "selected"),
    [
        ({"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a", "b"]}]}, True),
        ({"matchExpressions": [{"key": "size", "operator": "Gt", "values": ["3"]}]}, True),
        ({"matchExpressions": [{"key": "size", "operator": "Gt", "values": ["4"]}]}, False),
        ({"matchExpressions": [{"key": "size", "operator": "Lt", "values": ["4"]}]}, False),
        ({"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n1"]}]}, True),
        ({"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n2"]}]}, False),
        (
            {
                "matchExpressions": [{"key": "zone", "operator": "Exists"}],
                "matchFields": [{"key": "metadata.name", "operator": "NotIn", "values": ["n1"]}],
            },
            False,
        ),
    ],
)
def test_node_affinity(term: dict[str, Any], selected: bool) -> None:
    assert selects_node(affinity(term), node()) is selected
    never = {"matchExpressions": [{"key": "zone", "operator": "DoesNotExist"}]}
    assert selects_node(affinity(never, term), node()) is selected


def test_requests_of_all_containers_add_up() -> None:
    spec = {"containers": [*pod(cpu="250m", memory="1Ki")["spec"]["containers"], *pod(cpu="1")["spec"]["containers"]]}
    assert requests(spec) == {"cpu": 1.25, "memory": 1024}


@pytest.mark.parametrize(
    ("init", "cpu"),
    [
        ([], 1.0),
        ([("0.5", False)], 1.0),
        ([("3", False)], 3.0),
        ([("0.5", True)], 1.5),
        ([("0.5", True), ("2", False)], 2.5),
        ([("2", False), ("0.5", True)], 2.0),
    ],
)
def test_sidecars_count_beside_the_others_and_init_containers_before_them(init, cpu):
    def container(amount, sidecar=False):
        policy = {"restartPolicy": "Always"} if sidecar else {}
        return {"resources": {"requests": {"cpu": amount}}, **policy}

    spec = {"containers": [container("1")], "initContainers": [container(*each) for each in init]}
    assert requests(spec) == {"cpu": cpu}
