"""What `kubectl top` asks for: processor time and memory of the simulated programs, as a metrics server reports them.

Processor time is what the programs took of the lab's own. Memory is what `ps` shows of each process, and what the
kernel charges to its container beyond that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ekslab.kubernetes.kubelet.kubelet import Kubelet
from ekslab.kubernetes.objects.resources import Object, Resource, name_of, namespace_of
from ekslab.kubernetes.objects.timestamps import rfc3339
from ekslab.node import Container

_WINDOW = 15.0  # seconds between two looks of a metrics server
_MOST = 2_000
_RESIDENT = 3456  # KiB of a process, as `ps` has it


class Usage:
    """Measures pods and nodes; remembers when it last looked, as usage is a rate. `clock` gives seconds."""

    def __init__(self, kubelets: Mapping[str, Kubelet], clock: Callable[[], float]) -> None:
        self._kubelets = kubelets
        self._clock = clock
        self._looked: dict[str, list[tuple[float, float]]] = {}

    def of_pod(self, resource: Resource, pod: Object) -> Object | None:
        """The PodMetrics of a pod; None where none of its containers runs."""
        kubelet = self._kubelets.get(pod["spec"].get("nodeName", ""))
        if kubelet is None or pod.get("status", {}).get("phase") != "Running":
            return None
        containers = []
        for spec in (*(pod["spec"].get("initContainers") or ()), *pod["spec"]["containers"]):
            container = kubelet.container(pod, spec["name"])
            if container is not None and container.state == "running":
                containers.append({"name": spec["name"], "usage": self._usage(kubelet, container)})
        if not containers:
            return None
        return {**self._about(resource, pod), "containers": containers}

    def of_node(self, resource: Resource, node: Object) -> Object | None:
        """The NodeMetrics of a node: all of its containers and its own processes."""
        kubelet = self._kubelets.get(name_of(node))
        if kubelet is None:
            return None
        kernel = kubelet.node.kernel
        groups = [kernel, *kubelet.node.runtime.containers.values()]
        took = sum(kernel.turns.took(group) for group in groups)
        memory = _RESIDENT * 1024 * len(kernel.processes) + kernel.memory.used
        rate = self._rate(f"node {name_of(node)}", took, kernel.boot_time / 1e9)
        return {**self._about(resource, node), "usage": _amounts(rate, memory)}

    def _about(self, resource: Resource, obj: Object) -> Object:
        metadata: Object = {"name": name_of(obj), "creationTimestamp": rfc3339(self._clock())}
        if resource.namespaced:
            metadata["namespace"] = namespace_of(obj)
        if labels := obj["metadata"].get("labels"):
            metadata["labels"] = labels
        return {
            "kind": resource.kind,
            "apiVersion": resource.api_version,
            "metadata": metadata,
            "timestamp": rfc3339(self._clock()),
            "window": f"{_WINDOW:.0f}s",
        }

    def _usage(self, kubelet: Kubelet, container: Container) -> Object:
        kernel = kubelet.node.kernel
        processes = len(kernel.processes_of(container))
        memory = _RESIDENT * 1024 * processes + container.memory.used
        return _amounts(self._rate(container.id, kernel.turns.took(container), container.started_at / 1e9), memory)

    def _rate(self, key: str, took: float, since: float) -> float:
        """Processors in use, on average since the last look but one at most; since the start at first."""
        now = self._clock()
        if len(self._looked) > _MOST:  # of containers that are gone for the most part
            self._looked.clear()
        looks = self._looked.setdefault(key, [(since, 0.0)])
        while len(looks) > 1 and now - looks[1][0] >= _WINDOW:
            looks.pop(0)
        if now - looks[-1][0] >= _WINDOW:
            looks.append((now, took))
        before, then = looks[0]
        return max(0.0, took - then) / max(now - before, 1.0)


def _amounts(processors: float, memory: int) -> Object:
    return {"cpu": f"{round(processors * 1e9)}n", "memory": f"{memory // 1024}Ki"}
