"""Whether a pod can run on a node: taints, selectors, affinity, ports and resources."""

from __future__ import annotations

from collections.abc import Iterable

from ekslab.kubernetes.objects.quantities import quantity
from ekslab.kubernetes.objects.resources import Object, name_of
from ekslab.kubernetes.objects.selectors import expression_matches

CORDONED = {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}


def tolerates(tolerations: Iterable[Object], taint: Object) -> bool:
    """Whether any toleration covers the taint."""
    for toleration in tolerations:
        if toleration.get("effect") not in (None, "", taint["effect"]):
            continue
        if toleration.get("operator") == "Exists" and toleration.get("key") in (None, "", taint["key"]):
            return True
        if toleration.get("key") == taint["key"] and toleration.get("value", "") == taint.get("value", ""):
            return True
    return False


def untolerated(tolerations: Iterable[Object], node: Object, effects: tuple[str, ...]) -> Object | None:
    """The first taint of the node, with one of the effects, that isn't tolerated."""
    tolerations = list(tolerations)
    for taint in node["spec"].get("taints") or ():
        if taint["effect"] in effects and not tolerates(tolerations, taint):
            return dict(taint)
    return None


def selects_node(spec: Object, node: Object) -> bool:
    """Whether a pod's nodeSelector and required node affinity accept the node."""
    labels = node["metadata"].get("labels") or {}
    if any(labels.get(key) != value for key, value in (spec.get("nodeSelector") or {}).items()):
        return False
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    if not required:
        return True
    fields = {"metadata.name": name_of(node)}
    return any(
        all(expression_matches(e, labels) for e in term.get("matchExpressions") or ())
        and all(expression_matches(e, fields) for e in term.get("matchFields") or ())
        for term in required.get("nodeSelectorTerms") or ()
    )


def requests(spec: Object) -> dict[str, float]:
    """What a pod asks for of cpu (cores) and memory (bytes)."""
    total: dict[str, float] = {}
    at_most: dict[str, float] = {}
    for container in spec.get("initContainers") or ():
        for name, amount in _requested(container).items():
            needed = total.get(name, 0.0) + amount
            at_most[name] = max(at_most.get(name, 0.0), needed)
            if container.get("restartPolicy") == "Always":  # a sidecar: it runs beside all that come after it
                total[name] = needed
    for container in spec.get("containers") or ():
        for name, amount in _requested(container).items():
            total[name] = total.get(name, 0.0) + amount
    return {name: max(total.get(name, 0.0), at_most.get(name, 0.0)) for name in {**total, **at_most}}


def _requested(container: Object) -> dict[str, float]:
    asked = (container.get("resources") or {}).get("requests") or {}
    return {name: float(quantity(amount)) for name, amount in asked.items()}


def refusal(pod: Object, node: Object, running: list[Object]) -> str:
    """Why the node can't take the pod, in the scheduler's words; empty if it can."""
    spec = pod["spec"]
    tolerations = spec.get("tolerations") or ()
    if node["spec"].get("unschedulable") and not tolerates(tolerations, CORDONED):
        return "node(s) were unschedulable"
    taint = untolerated(tolerations, node, ("NoSchedule", "NoExecute"))
    if taint is not None and taint["key"] != CORDONED["key"]:
        value = taint.get("value", "")
        return f"node(s) had untolerated taint {{{taint['key']}: {value}}}"
    if not selects_node(spec, node):
        return "node(s) didn't match Pod's node affinity/selector"
    ports = _host_ports(spec)
    if ports and any(ports & _host_ports(other["spec"]) for other in running):
        return "node(s) didn't have free ports for the requested pod ports"
    allocatable = node["status"].get("allocatable") or {}
    if len(running) >= int(allocatable.get("pods", 110)):
        return "Too many pods"
    for name, amount in requests(spec).items():
        used = sum(requests(other["spec"]).get(name, 0.0) for other in running)
        if used + amount > quantity(allocatable.get(name, "0")):
            return f"Insufficient {name}"
    return ""


def others_could_go(pod: Object, node: Object, why: str) -> bool:
    """Whether a node that refuses a pod could take it if others went: the scheduler looks for victims there."""
    allocatable = node["status"].get("allocatable") or {}
    name = why.removeprefix("Insufficient ")
    return name != why and requests(pod["spec"]).get(name, 0.0) <= quantity(allocatable.get(name, "0"))


def _host_ports(spec: Object) -> set[tuple[str, int]]:
    return {
        (port.get("protocol", "TCP"), port["hostPort"])
        for container in spec.get("containers") or ()
        for port in container.get("ports") or ()
        if port.get("hostPort")
    }
