"""The nodes: what they run, whether Falco can watch their kernels, and whether there is room on them.

EKS publishes no AMI of Amazon Linux 2 since 2025-11-26. Falco's modern eBPF probe needs Linux 5.8 or later (ring
buffer, `CAP_BPF`) with BTF (`CONFIG_DEBUG_INFO_BTF`), which a node doesn't tell; the images below have it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from labkit.kube import KubernetesError, Object
from labkit.kube.objects import is_ready
from labkit.provision.falco import merged_values, shipped_rules, values_files
from labkit.provision.manifests import manifest_parts
from labkit.provision.preflight.finding import Finding, blocker, ok, warning
from labkit.provision.preflight.placement import is_selected, lacking, untolerated
from labkit.show import counted
from labkit.target import Target

MINIMUM_KERNEL = (5, 8)
"""What Falco's modern eBPF probe needs."""
CHART_REQUESTS = {"cpu": "100m", "memory": "512Mi"}
"""Of Falco's container, by the chart's default values."""
_NODES = "nodes"
_COMPUTE = "eks.amazonaws.com/compute-type"
_ARCHITECTURES = ("amd64", "arm64")  # of Falco's, Fluent Bit's and nginx's images
# Operating systems whose kernels are built with BTF, by the beginning of `osImage`.
_WITH_BTF = ("Amazon Linux 2", "Bottlerocket", "Ubuntu 2", "Red Hat Enterprise Linux", "Flatcar", "Container-Optimized")
_ADD = "Add a managed node group of EC2 instances (manifests/eks/cluster.yaml has one)."


def nodes(target: Target) -> Iterator[Finding]:
    """What nodes there are, and of those that Falco goes to: readiness, system, kernel, architecture, room."""
    found = target.kube.list("Node")
    if not found:
        yield blocker(_NODES, "nodes", "none", _ADD)
        return
    falco = falco_pod(target)
    usable = [node for node in found if is_selected(falco, node)]
    left_out = Counter(_kind(node) for node in found if node not in usable)
    others = ", ".join(f"{count} {kind}" for kind, count in sorted(left_out.items()))
    if not usable:
        hint = f"Falco needs Linux nodes on EC2: it sees into neither Fargate nor Windows. {_ADD}"
        yield blocker(_NODES, "nodes", f"{len(found)}, none of them Linux on EC2 ({others})", hint)
        return
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(Counter(map(_kind, usable)).items()))
    yield ok(_NODES, "nodes", kinds)
    if others:
        hint = "Falco doesn't run there, so pods there raise no alerts. The application needs a Linux node on EC2."
        yield warning(_NODES, "left out", others, hint)
    if unready := [_name(node) for node in usable if not is_ready(node)]:
        hint = f"A rollout waits for every node: `kubectl describe node {unready[0]}` says why. Mend or remove it."
        yield blocker(_NODES, "ready", f"not ready: {_listed(unready)}", hint)
    auto = [_name(node) for node in usable if _kind(node) == "EKS Auto Mode"]
    if auto:
        yield ok(_NODES, "EKS Auto Mode", f"{_listed(auto)}; EKS replaces each after 21 days at the latest")
    yield from _systems(usable)
    yield from _kernels(usable)
    yield from _architectures(usable)
    if not target.settings.attendee:  # who finds Falco and Fluent Bit there
        yield from _room(target, falco, usable)


def _systems(usable: Sequence[Object]) -> Iterator[Finding]:
    images = _by(usable, "osImage")
    old = [image for image in images if image == "Amazon Linux 2"]
    if old:
        hint = "EKS publishes no AMI of Amazon Linux 2 since 2025-11-26: move to AL2023 or Bottlerocket."
        yield warning(_NODES, "end of support", f"{', '.join(old)} on {_listed(images[old[0]])}", hint)
    if rest := [image for image in images if image not in old]:
        yield ok(_NODES, "operating system", ", ".join(rest))
    runtimes = _by(usable, "containerRuntimeVersion")
    other = [name for name in runtimes if not name.startswith("containerd://")]
    if other:
        hint = "Fluent Bit is set up for containerd's log format: use nodes with containerd."
        yield warning(_NODES, "container runtime", ", ".join(other), hint)
    else:
        yield ok(_NODES, "container runtime", ", ".join(runtimes))


def _kernels(usable: Sequence[Object]) -> Iterator[Finding]:
    kernels = _by(usable, "kernelVersion")
    old = [kernel for kernel in kernels if _version(kernel) < MINIMUM_KERNEL]
    if old:
        hint = "Falco's modern eBPF probe needs 5.8 or later: use AL2023 or Bottlerocket."
        where = _listed([name for kernel in old for name in kernels[kernel]])
        yield blocker(_NODES, "kernel", f"{', '.join(old)} on {where}", hint)
        return
    unsure = [node for node in usable if not _info(node, "osImage").startswith(_WITH_BTF)]
    if unsure:
        hint = (
            "The probe needs BTF, which a node doesn't tell. Look: `kubectl debug node/"
            f"{_name(unsure[0])} -it --image=busybox -- ls -l /host/sys/kernel/btf/vmlinux`."
        )
        found = f"{', '.join(kernels)}; it isn't known whether {', '.join(_by(unsure, 'osImage'))} has BTF"
        yield warning(_NODES, "kernel", found, hint)
    else:
        yield ok(_NODES, "kernel", f"{', '.join(kernels)}, with BTF")


def _architectures(usable: Sequence[Object]) -> Iterator[Finding]:
    found = _by(usable, "architecture")
    other = [name for name in found if name not in _ARCHITECTURES]
    if other:
        hint = f"The images are for {' and '.join(_ARCHITECTURES)}: use such nodes."
        yield blocker(_NODES, "architecture", f"{', '.join(other)} on {_listed(found[other[0]])}", hint)
    else:
        yield ok(_NODES, "architecture", ", ".join(found))


def _room(target: Target, falco: Object, usable: Sequence[Object]) -> Iterator[Finding]:
    """Whether each node takes one Falco and one Fluent Bit more, unless it has them, and one node the application."""
    shipper, application = _template(target, "fluent-bit", "DaemonSet"), _template(target, "nginx", "Deployment")
    daemons = {
        ("Falco", target.settings.falco_namespace, "falco"): falco,
        ("Fluent Bit", target.settings.logging_namespace, "fluent-bit"): shipper,
    }
    tainted = {
        _name(node): taint
        for node in usable
        for spec in daemons.values()
        if is_selected(spec, node) and (taint := untolerated(spec, node, daemon=True))
    }
    if tainted:
        hint = "Tolerate it in manifests/falco/values.yaml and manifests/fluent-bit/30-daemonset.yaml, or take it off."
        where = _listed([f"{name} ({taint})" for name, taint in tainted.items()])
        yield warning(_NODES, "taints", f"not tolerated, so not watched: {where}", hint)
    try:
        running = target.kube.list("Pod", fields="status.phase!=Succeeded,status.phase!=Failed")
    except KubernetesError as error:
        hint = "To let the check look: allow to list pods in all namespaces."
        yield warning(_NODES, "free room", f"can't be looked at: {error.message}", hint)
        return
    pods: dict[str, list[Object]] = {}
    for pod in running:
        pods.setdefault(pod["spec"].get("nodeName", ""), []).append(pod)
    full = {}
    for node in usable:
        there = pods.get(_name(node), [])
        wanted = {
            title: spec
            for (title, namespace, label), spec in daemons.items()
            if is_selected(spec, node)
            and not untolerated(spec, node, daemon=True)
            and not any(_is(pod, namespace, label) for pod in there)
        }
        if wanted and (why := lacking(list(wanted.values()), node, there)):
            full[_name(node)] = f"{_name(node)} for {' and '.join(wanted)}: {why}"
    if full:
        hint = "A rollout waits for every node. Move pods away, or use larger nodes (for more pods: prefix delegation)."
        yield blocker(_NODES, "free room", f"none on {_listed(list(full.values()), '; ')}", hint)
    else:
        yield ok(_NODES, "free room", f"for one Falco and one Fluent Bit on {counted(len(usable), 'node')}")
    yield from _home_for(application, usable, pods, target.settings.app_namespace)


def _home_for(
    spec: Object, usable: Sequence[Object], pods: dict[str, list[Object]], namespace: str
) -> Iterator[Finding]:
    """Whether a watched node takes the application's pod."""
    if any(_is(pod, namespace, "nginx") for there in pods.values() for pod in there):
        return
    reasons = []
    for node in usable:
        taint = untolerated(spec, node, daemon=False)
        why = f"taint {taint}" if taint else lacking([spec], node, pods.get(_name(node), []))
        if not why and is_selected(spec, node):
            return
        reasons.append(f"{_name(node)} ({why or 'its selector'})")
    hint = "Take a taint off, or add a node that takes ordinary pods."
    yield blocker(_NODES, "room for nginx", f"no node takes the application: {_listed(reasons)}", hint)


def falco_pod(target: Target) -> Object:
    """As much of the pods of Falco's DaemonSet as placement depends on, from the values and the chart's defaults."""
    values = merged_values([*values_files(target), *shipped_rules(target)])
    resources = values.get("resources") or {"requests": CHART_REQUESTS}
    places = {key: values.get(key) for key in ("nodeSelector", "affinity", "tolerations")}
    return {**places, "containers": [{"name": "falco", "resources": resources}]}


def _template(target: Target, manifest: str, kind: str) -> Object:
    (part,) = manifest_parts(target, manifest, kinds=(kind,))
    spec: Object = part.item["spec"]["template"]["spec"]
    return spec


def _is(pod: Object, namespace: str, label: str) -> bool:
    meta, labels = pod["metadata"], pod["metadata"].get("labels") or {}
    return bool(meta["namespace"] == namespace and label in (labels.get("app.kubernetes.io/name"), labels.get("app")))


def _kind(node: Object) -> str:
    """`Linux on EC2`, `EKS Auto Mode`, `Fargate`, `Windows`, `hybrid`."""
    compute = (node["metadata"].get("labels") or {}).get(_COMPUTE, "")
    named = {"fargate": "Fargate", "auto": "EKS Auto Mode", "hybrid": "hybrid"}.get(compute)
    system = _info(node, "operatingSystem")
    return named or ("Linux on EC2" if system == "linux" else system.title() or "of an unknown system")


def _name(node: Object) -> str:
    return str(node["metadata"]["name"])


def _info(node: Object, key: str) -> str:
    return str(node["status"]["nodeInfo"].get(key, ""))


def _by(nodes: Iterable[Object], key: str) -> dict[str, list[str]]:
    """Names of nodes by a fact of theirs."""
    found: dict[str, list[str]] = {}
    for node in nodes:
        found.setdefault(_info(node, key), []).append(_name(node))
    return dict(sorted(found.items()))


def _listed(names: Sequence[Any], separator: str = ", ") -> str:
    more = f"{separator}and {len(names) - 3} more" if len(names) > 3 else ""
    return separator.join(names[:3]) + more


def _version(kernel: str) -> tuple[int, int]:
    found = re.match(r"(\d+)\.(\d+)", kernel)
    return (int(found[1]), int(found[2])) if found else (0, 0)
