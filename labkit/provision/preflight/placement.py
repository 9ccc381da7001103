"""Whether a node takes a pod, as the scheduler decides: selector, affinity, taints, free room."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any

from labkit.kube import Object

_UNITS: Mapping[str, int] = {"": 0, "k": 1, "K": 1, "M": 2, "G": 3, "T": 4, "P": 5, "E": 6}
_SMALL = {"m": Decimal("1e-3"), "u": Decimal("1e-6"), "n": Decimal("1e-9")}
_CORDON = "node.kubernetes.io/unschedulable"
# The DaemonSet controller adds these tolerations to its pods.
_OF_DAEMONSETS: tuple[Object, ...] = tuple(
    {"key": f"node.kubernetes.io/{what}", "operator": "Exists"}
    for what in ("not-ready", "unreachable", "disk-pressure", "memory-pressure", "pid-pressure", "unschedulable")
)


def quantity(text: Any) -> Decimal:
    """A quantity of Kubernetes as a number: `100m` is 0.1, `64Mi` is 67108864. What is none counts as 0."""
    text = str(text).strip()
    try:
        if text.endswith("i"):
            return Decimal(text[:-2]) * Decimal(1024) ** _UNITS[text[-2]]
        if text[-1:] in _SMALL:
            return Decimal(text[:-1]) * _SMALL[text[-1]]
        if text[-1:].isalpha():
            return Decimal(text[:-1]) * Decimal(1000) ** _UNITS[text[-1]]
        return Decimal(text)
    except (InvalidOperation, KeyError, IndexError):
        return Decimal(0)


def requests(spec: Object) -> dict[str, Decimal]:
    """What a pod asks for of `cpu` (cores), `memory` (bytes)...: its containers' sum, or more for an init container."""
    total: dict[str, Decimal] = {}
    peak: dict[str, Decimal] = {}
    for container in spec.get("initContainers") or ():
        for name, amount in _requested(container).items():
            peak[name] = max(peak.get(name, Decimal(0)), total.get(name, Decimal(0)) + amount)
            if container.get("restartPolicy") == "Always":  # a sidecar: it runs beside all that come after it
                total[name] = total.get(name, Decimal(0)) + amount
    for container in spec.get("containers") or ():
        for name, amount in _requested(container).items():
            total[name] = total.get(name, Decimal(0)) + amount
    overhead = {name: quantity(amount) for name, amount in (spec.get("overhead") or {}).items()}
    names = {*total, *peak, *overhead}
    return {n: max(total.get(n, Decimal(0)), peak.get(n, Decimal(0))) + overhead.get(n, Decimal(0)) for n in names}


def _requested(container: Object) -> dict[str, Decimal]:
    resources = container.get("resources") or {}
    asked = {**(resources.get("limits") or {}), **(resources.get("requests") or {})}  # a limit alone is a request, too
    return {name: quantity(amount) for name, amount in asked.items()}


def lacking(wanted: Sequence[Object], node: Object, running: Iterable[Object]) -> str:
    """What the node has too little of for pods with these specs; empty if there is room. `running` are its pods."""
    pods = [pod["spec"] for pod in running]
    allocatable = node["status"].get("allocatable") or {}
    most = int(quantity(allocatable.get("pods", 110)))
    if len(pods) + len(wanted) > most:
        return f"it has {len(pods)} of {most} pods"
    for name in ("cpu", "memory"):
        need = sum((requests(spec).get(name, Decimal(0)) for spec in wanted), Decimal(0))
        used = sum((requests(spec).get(name, Decimal(0)) for spec in pods), Decimal(0))
        free = quantity(allocatable.get(name, 0)) - used
        if need > free:
            return f"{_amount(name, need)} of {name} needed, {_amount(name, max(free, Decimal(0)))} free"
    return ""


def _amount(name: str, amount: Decimal) -> str:
    return f"{amount * 1000:.0f}m" if name == "cpu" else f"{amount / 1024**2:.0f} MiB"


def untolerated(spec: Object, node: Object, *, daemon: bool) -> str:
    """The first taint that keeps a pod off the node, as `key=value:effect`; empty if there is none.

    `daemon`: it is a DaemonSet's pod, which tolerates what its controller says, such as a cordoned node.
    """
    tolerations = [*(spec.get("tolerations") or ()), *(_OF_DAEMONSETS if daemon else ())]
    taints = list(node["spec"].get("taints") or ())
    if node["spec"].get("unschedulable") and all(taint["key"] != _CORDON for taint in taints):
        taints.append({"key": _CORDON, "effect": "NoSchedule"})
    for taint in taints:
        if taint["effect"] in ("NoSchedule", "NoExecute") and not any(_tolerates(t, taint) for t in tolerations):
            value = taint.get("value")
            return f"{taint['key']}{f'={value}' if value else ''}:{taint['effect']}"
    return ""


def _tolerates(toleration: Object, taint: Object) -> bool:
    if toleration.get("effect") not in (None, "", taint["effect"]):
        return False
    if toleration.get("operator") == "Exists":
        return toleration.get("key") in (None, "", taint["key"])
    return toleration.get("key") == taint["key"] and (toleration.get("value") or "") == (taint.get("value") or "")


def is_selected(spec: Object, node: Object) -> bool:
    """Whether a pod's node selector and its required node affinity accept the node."""
    labels = node["metadata"].get("labels") or {}
    if any(labels.get(key) != value for key, value in (spec.get("nodeSelector") or {}).items()):
        return False
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    terms = (affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or {}).get("nodeSelectorTerms")
    name = {"metadata.name": node["metadata"]["name"]}
    return terms is None or any(
        all(_matches(e, labels) for e in term.get("matchExpressions") or ())
        and all(_matches(e, name) for e in term.get("matchFields") or ())
        for term in terms
    )


def _matches(expression: Object, labels: Mapping[str, str]) -> bool:
    key, values, there = expression["key"], expression.get("values") or [], labels.get(expression["key"])
    match expression["operator"]:
        case "In":
            return there in values
        case "NotIn":
            return there not in values
        case "Exists":
            return key in labels
        case "DoesNotExist":
            return key not in labels
        case operator:  # Gt, Lt: of whole numbers
            if not (there or "").lstrip("-").isdigit():
                return False
            return int(there or 0) > int(values[0]) if operator == "Gt" else int(there or 0) < int(values[0])
