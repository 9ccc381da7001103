"""manifests/eks: eksctl takes the cluster, AWS takes the budget, and both have the workshop's tag."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from botocore.validate import ParamValidator

from labkit.provision.parts import TAG
from labkit.provision.preflight.cluster import TESTED
from labkit.respond.costs import prices
from labkit.versions import pinned

ROOT = Path(__file__).parents[3]
TYPES: dict[str, dict[str, Any]] = json.loads((Path(__file__).parent / "data/eksctl.json").read_text())
JSON_TYPES = {"string": str, "integer": int, "boolean": bool, "object": dict, "number": float}
TEXT = (ROOT / "manifests/eks/cluster.yaml").read_text()
CLUSTER = yaml.safe_load(TEXT)


def faults(value: Any, kind: Any, path: str = "") -> list[str]:
    """What eksctl's schema says of a value."""
    if isinstance(kind, list):
        if not isinstance(value, list):
            return [f"{path} is no list"]
        return [fault for index, item in enumerate(value) for fault in faults(item, kind[0], f"{path}[{index}]")]
    if kind in TYPES:
        if not isinstance(value, dict):
            return [f"{path} is no map"]
        known = TYPES[kind]
        found = [f"{path}.{key} is unknown" for key in value if key not in known]
        return found + [f for k, v in value.items() if k in known for f in faults(v, known[k], f"{path}.{k}")]
    if kind in JSON_TYPES:
        right = isinstance(value, JSON_TYPES[kind]) and (kind == "boolean" or not isinstance(value, bool))
        return [] if right else [f"{path} is no {kind}"]
    return [] if value in kind[1:].split("|") else [f"{path} is none of {kind[1:]}"]


def uncommented(text: str) -> Any:
    """The cluster with what is offered in comments, too."""
    return yaml.safe_load(re.sub(r"(?m)^(\s*)# (?=(accessEntries:|  - |    ))", r"\1", text))


def test_eksctl_takes_the_cluster() -> None:
    assert faults(CLUSTER, "ClusterConfig") == []
    offered = uncommented(TEXT)
    assert offered["accessConfig"]["accessEntries"]
    assert faults(offered, "ClusterConfig") == []


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"kind": "Cluster"}, ".kind is none of ClusterConfig"),
        ({"nodegroups": []}, ".nodegroups is unknown"),
        ({"metadata": {"name": 1}}, ".metadata.name is no string"),
        ({"iam": {"withOIDC": "yes"}}, ".iam.withOIDC is no boolean"),
        ({"managedNodeGroups": [{"amiFamily": "AmazonLinux"}]}, ".managedNodeGroups[0].amiFamily is none of"),
        ({"managedNodeGroups": {}}, ".managedNodeGroups is no list"),
    ],
)
def test_what_eksctl_would_refuse_is_found(change: Any, fault: str) -> None:
    (found,) = faults({**CLUSTER, **change}, "ClusterConfig")
    assert found.startswith(fault)


def test_the_cluster_is_what_the_workshop_needs() -> None:
    assert CLUSTER["metadata"]["version"] == pinned()["kubernetes"]["eks"]
    assert CLUSTER["metadata"]["version"] in TESTED
    assert CLUSTER["accessConfig"]["authenticationMode"] == "API"
    assert {addon["name"] for addon in CLUSTER["addons"]} >= {"vpc-cni", "coredns", "eks-pod-identity-agent"}
    assert CLUSTER["cloudWatch"]["clusterLogging"]["enableTypes"] == []
    (group,) = CLUSTER["managedNodeGroups"]
    assert group["disablePodIMDS"]
    assert group["privateNetworking"]
    assert group["minSize"] >= 2


def test_its_price_is_the_sum_of_list_prices() -> None:
    (group,) = CLUSTER["managedNodeGroups"]
    nodes = group["desiredCapacity"] * prices()["instances"][group["instanceType"]]
    gateway = float(re.findall(r"NAT gateway (0\.\d+)", TEXT)[0])
    plane = prices()["items"]["clusters"]["price"]
    (said,) = re.findall(r"about (0\.\d+) US dollars an hour", re.sub(r"\n# ", " ", TEXT))
    assert float(said) == pytest.approx(plane + nodes + gateway, abs=0.005)


def test_everything_has_the_workshops_tag() -> None:
    tags = CLUSTER["metadata"]["tags"]
    assert tags[TAG[0]] == TAG[1]
    assert {"project", "owner", "expires"} <= set(tags)
    budget = json.loads((ROOT / "manifests/eks/budget.json").read_text())
    assert budget["ResourceTags"] == [{"Key": TAG[0], "Value": TAG[1]}]
    assert budget["Budget"]["CostFilters"] == {"TagKeyValue": [f"user:{TAG[0]}${TAG[1]}"]}


def test_aws_takes_the_budget_with_the_command_of_the_page() -> None:
    request = {"AccountId": "111122223333", **json.loads((ROOT / "manifests/eks/budget.json").read_text())}
    model = boto3.client("budgets", region_name="us-east-1").meta.service_model
    shape = model.operation_model("CreateBudget").input_shape
    assert not ParamValidator().validate(request, shape).has_errors()
    assert _enums(request, shape) == []
    page = (ROOT / "docs/own-cluster.md").read_text()
    assert "aws budgets create-budget --account-id" in page
    assert "--cli-input-json file://manifests/eks/budget.json" in page


def _enums(value: Any, shape: Any, path: str = "") -> list[str]:
    """Values that are none of an enumeration's, which botocore's validation leaves to the service."""
    match shape.type_name:
        case "structure":
            return [f for k, v in value.items() for f in _enums(v, shape.members[k], f"{path}.{k}")]
        case "list":
            return [f for item in value for f in _enums(item, shape.member, path)]
        case "string":
            return [path] if shape.enum and value not in shape.enum else []
    return []
