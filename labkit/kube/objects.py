"""Kubernetes objects as plain dictionaries: labels, the order to create them in, and what a rollout waits for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from labkit.errors import StepError
from labkit.files import load_yaml
from labkit.show import counted

Object = dict[str, Any]
Objects = list[Object]

LAB_LABELS = {"app.kubernetes.io/managed-by": "labkit"}
"""The label on every object the lab makes."""
WORKSHOP_LABELS = {"app.kubernetes.io/part-of": "falco-workshop"}
"""The label in the workshop's manifests: also on objects that a person made from them with kubectl."""

# What has to exist before what: the order in which Helm installs, as far as the workshop's kinds go.
ORDER = (
    *("Namespace", "NetworkPolicy", "ResourceQuota", "LimitRange", "ServiceAccount", "Secret", "ConfigMap"),
    *("CustomResourceDefinition", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding", "Service"),
    *("DaemonSet", "Pod", "ReplicaSet", "Deployment", "StatefulSet", "Job"),
)

_ALIASES = {
    "Pod": ("po", "pod", "pods"),
    "Deployment": ("deploy", "deployment", "deployments"),
    "DaemonSet": ("ds", "daemonset", "daemonsets"),
    "StatefulSet": ("sts", "statefulset", "statefulsets"),
    "ReplicaSet": ("rs", "replicaset", "replicasets"),
}
WORKLOADS = {alias: kind for kind, aliases in _ALIASES.items() for alias in aliases}
"""kubectl's names for what a command can be run in."""
API_VERSIONS = {kind: "v1" if kind == "Pod" else "apps/v1" for kind in _ALIASES}
_NAMESPACE_HELD = (
    "NamespaceFinalizersRemaining",
    "NamespaceDeletionContentFailure",
    "NamespaceDeletionDiscoveryFailure",
)
UNSEEN = "the controller hasn't seen the change yet"


def in_order(objects: Iterable[Object]) -> Objects:
    """Objects in the order in which they can be created; unknown kinds come last."""
    rank = {kind: index for index, kind in enumerate(ORDER)}
    return sorted(objects, key=lambda item: rank.get(item["kind"], len(ORDER)))


def requested(item: Object) -> Object:
    """What people and tools ask for in an object, without what the cluster notes down on its own."""
    noted = ("resourceVersion", "generation", "managedFields")
    metadata = {key: value for key, value in item["metadata"].items() if key not in noted}
    return {**{key: value for key, value in item.items() if key != "status"}, "metadata": metadata}


def behaviour(item: Object) -> Object:
    """What an object does: all but its status and what merely describes it."""
    annotations = item.get("metadata", {}).get("annotations") or {}
    return {key: value for key, value in item.items() if key not in ("status", "metadata")} | {
        "annotations": annotations
    }


def has_labels(item: Object | None, labels: Mapping[str, str]) -> bool:
    """Whether an object is there and has these labels."""
    found = (item or {}).get("metadata", {}).get("labels") or {}
    return all(found.get(key) == value for key, value in labels.items())


def config_map(name: str, namespace: str, data: Mapping[str, str], *, labels: Mapping[str, str] = LAB_LABELS) -> Object:
    """A ConfigMap."""
    metadata = {"name": name, "namespace": namespace, "labels": dict(labels)}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": dict(data)}


def load_objects(paths: Iterable[Path]) -> Iterator[Object]:
    """The objects in YAML files (each may hold several) and in all `*.yaml` of folders, by file name."""
    for path in paths:
        for file in sorted(path.glob("*.yaml")) if path.is_dir() else [path]:
            for document in load_yaml(file):
                if isinstance(document, dict) and {"apiVersion", "kind", "metadata"} <= document.keys():
                    yield document
                elif document is not None:
                    raise StepError(
                        f"{file} holds something that is no Kubernetes object.",
                        hint="Each document needs `apiVersion`, `kind` and `metadata`.",
                    )


def label_selector(selector: Mapping[str, Any]) -> str:
    """A workload's `spec.selector` as the text that list requests take."""
    labels = selector.get("matchLabels", {})
    return ",".join(f"{key}={value}" for key, value in sorted(labels.items()))


def is_ready(item: Object) -> bool:
    """Whether a pod or node is ready and isn't being deleted."""
    conditions = item.get("status", {}).get("conditions", [])
    ready = any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
    return ready and "deletionTimestamp" not in item["metadata"]


def container_statuses(pod: Object) -> Objects:
    """Statuses of a pod's init containers and containers."""
    status = pod.get("status", {})
    return [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]


def held_by(item: Object) -> str:
    """What keeps an object that is being deleted: its finalizers, or what is left in a namespace."""
    finalizers = [f for f in item["metadata"].get("finalizers", []) if f not in ("foregroundDeletion", "orphan")]
    said = [f"finalizer {finalizer}" for finalizer in finalizers]
    if item.get("kind") == "Namespace":
        conditions = item.get("status", {}).get("conditions", [])
        said += [
            condition["message"]
            for condition in conditions
            if condition["status"] == "True" and condition["type"] in _NAMESPACE_HELD
        ]
        if not conditions and item.get("spec", {}).get("finalizers"):
            said.append("no controller of the cluster has begun to empty it")
    return "; ".join(said)


def runs_nowhere(item: Object) -> bool:
    """Whether it is a DaemonSet that no node takes."""
    return item["kind"] == "DaemonSet" and not item.get("status", {}).get("desiredNumberScheduled", 0)


def rollout_unmet(item: Object) -> str:
    """What a workload's rollout still waits for, in kubectl's terms; empty when it is complete.

    A pod has to be ready, and one that isn't to start again to have ended well.
    """
    status = item.get("status", {})
    if item["kind"] == "Pod":
        phase, ends = status.get("phase", "Pending"), item.get("spec", {}).get("restartPolicy") == "Never"
        return "" if phase == "Succeeded" or (is_ready(item) and not ends) else f"its phase is {phase}"
    if status.get("observedGeneration", 0) < item["metadata"].get("generation", 0):
        return UNSEEN
    if item["kind"] == "DaemonSet":
        wanted, updated = status.get("desiredNumberScheduled", 0), status.get("updatedNumberScheduled", 0)
        ready, total = status.get("numberReady", 0), wanted
    else:
        wanted, updated = item["spec"].get("replicas", 1), status.get("updatedReplicas", 0)
        ready, total = status.get("readyReplicas", 0), status.get("replicas", 0)
    if updated < wanted:
        return f"{updated} of {wanted} pods have been updated"
    if total > wanted:
        return f"{counted(total - wanted, 'old pod')} still to end"
    if ready < wanted:
        return f"{ready} of {wanted} pods are ready"
    return ""
