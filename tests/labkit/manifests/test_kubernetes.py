"""Every manifest is right for Kubernetes 1.33 to 1.35, and each namespace claims the strictest pod security that fits.

The lab's API server is 1.35's. What 1.34 and 1.35 added to the kinds that are used is below: it may not be used.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ekslab.helm import chart
from ekslab.state import Endpoints
from labkit import Lab
from labkit.kube import KubernetesError
from labkit.provision.falco import merged_values
from labkit.provision.preflight.cluster import TESTED

ROOT = Path(__file__).parents[3]
# Fields of Pods, workloads, Services, ConfigMaps, accounts and roles that versions added (from the API's descriptions).
ADDED = {
    "1.34": {"restartPolicyRules", "fileKeyRef", "hostnameOverride", "podCertificate"},
    "1.35": {"workloadRef", "userAnnotations"},
}
LEVELS = ("restricted", "baseline", "privileged")
FALCO = [
    ["values.yaml"],
    ["values.yaml", "least-privileged.yaml"],
    ["values.yaml", "rules-incubating-sandbox.yaml"],
]


def documents(path: Path) -> Iterator[Any]:
    text = re.sub(r"\$\{\w+\}", "x", path.read_text())
    return (item for item in yaml.safe_load_all(text) if isinstance(item, dict) and "kind" in item)


def objects() -> dict[str, list[Any]]:
    """Every object of the project, by where it is: manifests, pods of attacks, and what the chart makes."""
    found = {}
    for folder in ("manifests", "labkit"):  # but for templates of CloudFormation
        for path in sorted(set((ROOT / folder).rglob("*.yaml")) - set((ROOT / "manifests/security-hub").glob("*"))):
            items = [item for item in documents(path) if "apiVersion" in item and "eksctl" not in item["apiVersion"]]
            if items:
                found[str(path.relative_to(ROOT))] = items
    for names in FALCO:
        values = merged_values([ROOT / "manifests/falco" / name for name in names])
        found[f"chart with {' '.join(names)}"] = chart.render("falco", "falco", values, warn=print)
    return found


OBJECTS = objects()


@pytest.fixture(scope="module")
def lab(new_lab: Callable[..., Endpoints], workshop: Path) -> Lab:
    """With the namespaces that objects are in."""
    lab = Lab.connect(home=new_lab().home, root=workshop)
    made = [item for items in OBJECTS.values() for item in items if item["kind"] == "Namespace"]
    named = {item["metadata"].get("namespace", "default") for items in OBJECTS.values() for item in items}
    others = named - {item["metadata"]["name"] for item in made} - {"default"}
    lab.kube.apply([*made, *({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": n}} for n in others)])
    return lab


def tried(lab: Lab, item: Any, namespace: str) -> str:
    """What the API server says against an object, strictly, without storing it."""
    item = copy.deepcopy(item)
    item["metadata"] = {"name": "tried", **item["metadata"]}
    if item["kind"] in ("Namespace", "ClusterRole", "ClusterRoleBinding"):
        item["metadata"]["name"] = "tried"
    path = lab.kube.path(item["apiVersion"], item["kind"], namespace)
    try:
        lab.kube.request("POST", path, query={"dryRun": "All", "fieldValidation": "Strict"}, body=item)
    except KubernetesError as error:
        return error.message
    return ""


@pytest.mark.parametrize("where", OBJECTS)
def test_the_api_server_takes_every_object_strictly(lab: Lab, where: str) -> None:
    for item in OBJECTS[where]:
        assert tried(lab, item, item["metadata"].get("namespace", "default")) == "", item["kind"]


def test_a_field_that_there_is_not_would_be_found(lab: Lab) -> None:
    (item,) = OBJECTS["manifests/canary/pod.yaml"]
    wrong = {**item, "spec": {**item["spec"], "restartPolicie": "Never"}}
    assert 'unknown field "spec.restartPolicie"' in tried(lab, wrong, "falco")


def keys(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from keys(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from keys(inner)


def test_nothing_is_used_that_the_oldest_version_lacks() -> None:
    assert TESTED == ("1.33", "1.35")
    later = set().union(*ADDED.values())
    for where, items in OBJECTS.items():
        for item in items:
            assert not later & set(keys(item)), where
            assert item["apiVersion"] in ("v1", "apps/v1", "rbac.authorization.k8s.io/v1", "networking.k8s.io/v1"), (
                where
            )
            # 1.33 wants what later versions leave out.
            assert item["kind"] != "NetworkPolicy" or "podSelector" in item["spec"], where


# Pod security


def pods() -> dict[str, tuple[str, Any]]:
    """Pods and templates of pods by kind and name, with their namespaces."""
    found = {}
    for where, items in OBJECTS.items():
        for item in items:
            template = item if item["kind"] == "Pod" else item.get("spec", {}).get("template")
            if template:
                meta = {"labels": template["metadata"].get("labels", {}), "name": "tried"}
                pod = {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": template["spec"]}
                name = f"{where}: {item['kind']} {item['metadata'].get('name', '')}"
                found[name] = item["metadata"].get("namespace", "default"), pod
    return found


@pytest.fixture(scope="module")
def levels(lab: Lab) -> Callable[[Any], str]:
    """The strictest level of the pod security standards that takes a pod."""
    for level in LEVELS:
        labels = {"pod-security.kubernetes.io/enforce": level}
        lab.kube.apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": level, "labels": labels}}])

    def strictest(pod: Any) -> str:
        pod = copy.deepcopy(pod)
        pod["metadata"].pop("namespace", None)
        pod["spec"].pop("serviceAccountName", None)
        return next(level for level in LEVELS if "PodSecurity" not in tried(lab, pod, level))

    return strictest


def claimed(namespace: str) -> str:
    for items in OBJECTS.values():
        for item in items:
            if item["kind"] == "Namespace" and item["metadata"]["name"] == namespace:
                return str(item["metadata"].get("labels", {}).get("pod-security.kubernetes.io/enforce", ""))
    return ""


def test_each_namespace_claims_the_level_that_its_pods_need_and_no_lower_one(levels: Callable[[Any], str]) -> None:
    needed: dict[str, str] = {}
    for name, (namespace, pod) in pods().items():
        if name.startswith("labkit/"):  # attacks go where the application is
            continue
        level = levels(pod)
        needed[namespace] = max(needed.get(namespace, "restricted"), level, key=LEVELS.index)
    assert needed["falco"] == needed["logging"] == "privileged"
    for namespace, level in needed.items():
        assert claimed(namespace) in ("", level), namespace


def test_the_application_needs_no_more_than_baseline(levels: Callable[[Any], str]) -> None:
    found = {name: levels(pod) for name, (_, pod) in pods().items()}
    assert found["manifests/nginx/deployment.yaml: Deployment nginx"] == "baseline"
    assert found["manifests/canary/pod.yaml: Pod canary"] == "baseline"
    assert found["labkit/attacks/pods/plain.yaml: Pod "] == "baseline"
    assert found["labkit/attacks/pods/privileged.yaml: Pod "] == "privileged"
