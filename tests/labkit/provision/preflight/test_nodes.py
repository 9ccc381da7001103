"""What is found of nodes, on nodes of every kind: each finding, and its absence."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from ekslab.helm import chart
from labkit import Lab
from labkit.provision.preflight import nodes as module
from labkit.provision.preflight.finding import Finding
from labkit.provision.preflight.placement import is_selected, lacking, quantity, requests, untolerated
from tests.labkit.provision.preflight.conftest import Nodes, info, labelled

COMPUTE = "eks.amazonaws.com/compute-type"
FARGATE = {"metadata": {"labels": {COMPUTE: "fargate"}}}
AUTO = {"metadata": {"labels": {COMPUTE: "auto"}}, **info(osImage="Bottlerocket (EKS Auto, Standard) 2026.9")}
WINDOWS = {**info(operatingSystem="windows", osImage="Windows Server 2022"), **labelled(kubernetes_io__os="windows")}
WINDOWS["metadata"] = {"labels": {"kubernetes.io/os": "windows"}}
TAINT = {"spec": {"taints": [{"key": "dedicated", "value": "gpu", "effect": "NoSchedule"}]}}
UNREADY = {"status": {"conditions": [{"type": "Ready", "status": "Unknown"}]}}


def found(lab: Lab) -> dict[str, Finding]:
    return {finding.what: finding for finding in module.nodes(lab.target)}


def test_the_labs_nodes_are_fine(lab: Lab) -> None:
    findings = found(lab)
    assert {finding.result for finding in findings.values()} == {"ok"}
    assert findings["nodes"].found == "2 Linux on EC2"
    assert findings["operating system"].found.startswith("Amazon Linux 2023")
    assert findings["kernel"].found.endswith(", with BTF")
    assert findings["architecture"].found == "amd64"
    assert findings["container runtime"].found.startswith("containerd://")


# What is changed of the nodes; check, result, and a part of what is found. One patch is for both nodes.
CASES: dict[str, tuple[tuple[Any, ...], tuple[str, str, str]]] = {
    "fargate only": ((FARGATE,), ("nodes", "blocker", "2, none of them Linux on EC2 (2 Fargate)")),
    "windows only": ((WINDOWS,), ("nodes", "blocker", "(2 Windows)")),
    "one fargate": ((FARGATE, {}), ("left out", "warning", "1 Fargate")),
    "one windows": (({}, WINDOWS), ("left out", "warning", "1 Windows")),
    "auto mode": ((AUTO,), ("EKS Auto Mode", "ok", "ip-10-0-1-23.ec2.internal, ip-")),
    "auto mode is counted": ((AUTO, {}), ("nodes", "ok", "1 EKS Auto Mode, 1 Linux on EC2")),
    "not ready": ((UNREADY, {}), ("ready", "blocker", "not ready: ip-10-0-1-23")),
    "old kernel": ((info(kernelVersion="4.14.355-280.652.amzn2"), {}), ("kernel", "blocker", "4.14.355")),
    "kernel of another form": ((info(kernelVersion="odd"),), ("kernel", "blocker", "odd")),
    "the first kernel": ((info(kernelVersion="5.8.0"),), ("kernel", "ok", "5.8.0, with BTF")),
    "unknown system": (
        (info(osImage="Debian GNU/Linux 12"),),
        ("kernel", "warning", "whether Debian GNU/Linux 12 has BTF"),
    ),
    "ubuntu": ((info(osImage="Ubuntu 24.04.3 LTS"),), ("kernel", "ok", "with BTF")),
    "bottlerocket": (
        (info(osImage="Bottlerocket OS 1.49.0 (aws-k8s-1.35)"),),
        ("operating system", "ok", "Bottlerocket OS"),
    ),
    "amazon linux 2": ((info(osImage="Amazon Linux 2"), {}), ("end of support", "warning", "Amazon Linux 2 on ip-")),
    "arm64": ((info(architecture="arm64"), {}), ("architecture", "ok", "amd64, arm64")),
    "riscv": ((info(architecture="riscv64"), {}), ("architecture", "blocker", "riscv64 on ip-")),
    "docker": ((info(containerRuntimeVersion="docker://20.10"),), ("container runtime", "warning", "docker://20.10")),
    "no cpu": (
        ({"status": {"allocatable": {"cpu": "120m"}}}, {}),
        ("free room", "blocker", "150m of cpu needed, 120m free"),
    ),
    "no memory": (
        ({"status": {"allocatable": {"memory": "500Mi"}}}, {}),
        ("free room", "blocker", "576 MiB of memory needed, 500 MiB free"),
    ),
    "pods": (({"status": {"allocatable": {"pods": "1"}}}, {}), ("free room", "blocker", "it has 0 of 1 pods")),
    "tainted": ((TAINT,), ("room for nginx", "blocker", "taint dedicated=gpu:NoSchedule")),
    "cordoned": (({"spec": {"unschedulable": True}},), ("room for nginx", "blocker", "unschedulable:NoSchedule")),
}


@pytest.mark.parametrize("case", CASES)
def test_nodes_of_every_kind_are_told(lab: Lab, nodes: Nodes, case: str) -> None:
    patches, (what, result, said) = CASES[case]
    with nodes(*patches):
        finding = found(lab)[what]
    assert (finding.result, said in finding.found) == (result, True), finding
    assert bool(finding.hint) == (result != "ok")


@pytest.mark.parametrize("case", ["tainted", "cordoned"])
def test_one_node_for_the_application_is_enough_and_daemons_go_to_the_tainted_one(
    lab: Lab, nodes: Nodes, case: str
) -> None:
    with nodes(CASES[case][0][0], {}):
        findings = found(lab)
    assert "room for nginx" not in findings
    assert "taints" not in findings  # the workshop's values tolerate everything
    assert findings["free room"].result == "ok"


def test_a_taint_that_the_daemons_do_not_tolerate_is_a_warning(
    lab: Lab, nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "falco_pod", lambda target: {"containers": []})
    with nodes(TAINT, {}):
        finding = found(lab)["taints"]
    assert (finding.result, finding.found) == (
        "warning",
        "not tolerated, so not watched: ip-10-0-1-23.ec2.internal (dedicated=gpu:NoSchedule)",
    )


def test_no_nodes_is_a_blocker(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lab.kube, "list", lambda kind, *_, **__: [])
    assert [(f.what, f.result, f.found) for f in module.nodes(lab.target)] == [("nodes", "blocker", "none")]


def test_what_is_there_already_needs_no_room(lab: Lab, nodes: Nodes) -> None:
    lab.ensure("falco")
    try:
        with nodes({"status": {"allocatable": {"cpu": "120m"}}}):
            finding = found(lab)["free room"]
        assert (finding.result, "for Fluent Bit: 50m of cpu needed, 20m free" in finding.found) == ("blocker", True)
        with nodes({"status": {"allocatable": {"cpu": "150m"}}}):
            assert found(lab)["free room"].result == "ok"
    finally:
        lab.teardown()


def test_falcos_pod_asks_for_what_the_chart_gives_it_and_goes_where_the_values_say(lab: Lab) -> None:
    assert chart.defaults()["resources"]["requests"] == module.CHART_REQUESTS
    pod = module.falco_pod(lab.target)
    assert requests(pod) == {"cpu": Decimal("0.1"), "memory": Decimal(512 * 1024**2)}
    assert pod["tolerations"] == [{"operator": "Exists"}]


@pytest.mark.parametrize(
    ("text", "number"),
    [("100m", "0.1"), ("2", "2"), ("64Mi", "67108864"), ("7229456Ki", "7402962944"), ("1k", "1000"), ("1.5G", "1.5e9")],
)
def test_quantities_are_numbers(text: str, number: str) -> None:
    assert quantity(text) == Decimal(number)
    assert quantity("odd") == 0


def test_a_pod_asks_for_its_containers_sum_or_for_a_larger_init_container() -> None:
    def container(cpu: str, **more: Any) -> Any:
        return {"resources": {"requests": {"cpu": cpu}}, **more}

    assert requests({"containers": [container("100m"), container("50m")]})["cpu"] == Decimal("0.15")
    assert requests({"initContainers": [container("1")], "containers": [container("50m")]})["cpu"] == 1
    sidecar = container("100m", restartPolicy="Always")
    assert requests({"initContainers": [sidecar], "containers": [container("50m")]})["cpu"] == Decimal("0.15")
    assert requests({"containers": [{"resources": {"limits": {"cpu": "1"}}}]})["cpu"] == 1
    node = {"status": {"allocatable": {"cpu": "1", "pods": "2"}}}
    assert lacking([{"containers": [container("900m")]}], node, []) == ""
    assert lacking([{"containers": [container("900m")]}], node, [{"spec": {"containers": [container("200m")]}}])


def test_taints_selectors_and_affinity_are_the_schedulers() -> None:
    node: Any = {"metadata": {"name": "a", "labels": {"os": "linux"}}, "spec": {"taints": []}}
    taint = {"key": "k", "value": "v", "effect": "NoExecute"}
    tainted = {**node, "spec": {"taints": [taint]}}
    assert untolerated({}, tainted, daemon=False) == "k=v:NoExecute"
    for toleration in ({"operator": "Exists"}, {"key": "k", "value": "v"}, {"key": "k", "operator": "Exists"}):
        assert untolerated({"tolerations": [toleration]}, tainted, daemon=False) == ""
    assert untolerated({"tolerations": [{"key": "k", "value": "w"}]}, tainted, daemon=False)
    assert untolerated({"tolerations": [{"operator": "Exists", "effect": "NoSchedule"}]}, tainted, daemon=False)
    cordoned = {**node, "spec": {"unschedulable": True}}
    assert untolerated({}, cordoned, daemon=False)
    assert untolerated({}, cordoned, daemon=True) == ""

    def affinity(operator: str, *values: str) -> Any:
        terms = [{"matchExpressions": [{"key": "os", "operator": operator, "values": list(values)}]}]
        return {
            "affinity": {
                "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}
            }
        }

    assert is_selected({"nodeSelector": {"os": "linux"}}, node)
    assert not is_selected({"nodeSelector": {"os": "windows"}}, node)
    accepted = [("In", "linux"), ("NotIn", "x"), ("Exists",)]
    refused = [("In", "x"), ("NotIn", "linux"), ("DoesNotExist",), ("Gt", "1"), ("Lt", "1")]
    assert [is_selected(affinity(*e), node) for e in (*accepted, *refused)] == [True] * 3 + [False] * 5
