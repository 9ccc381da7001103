"""Faults of nodes that a person asks for by an annotation, as on a cluster they happen by themselves.

kubectl annotate node NAME ekslab/kubelet=stopped      the instance was stopped: nothing on it runs or answers
kubectl annotate node NAME ekslab/kubelet=no-network   its network plugin isn't running: the node is not ready
kubectl annotate node NAME ekslab/bpf=no-btf           its kernel takes no eBPF probe: no-btf, old or locked-down
kubectl annotate node NAME ekslab/kubelet-             all is well again
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping

from ekslab.kubernetes.controllers.base import Controller, Key
from ekslab.kubernetes.kubelet.kubelet import Kubelet
from ekslab.kubernetes.objects import resources as r
from ekslab.kubernetes.objects.registry import Registry
from ekslab.kubernetes.objects.resources import Object, name_of
from ekslab.kubernetes.objects.store import Change
from ekslab.kubernetes.objects.timestamps import rfc3339

KUBELET, BPF = "ekslab/kubelet", "ekslab/bpf"
_GRACE = 3.0
"""Seconds without a sign of life until a node counts as unreachable; on a cluster they are 50."""
_SILENT = ("Unknown", "NodeStatusUnknown", "Kubelet stopped posting node status.")
_NO_NETWORK = (
    "False",
    "KubeletNotReady",
    "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady message:Network plugin "
    "returns error: cni plugin not initialized",
)
_READY = ("True", "KubeletReady", "kubelet is posting ready status")


class NodeFaults(Controller):
    """Makes the faults that nodes' annotations ask for, and ends them."""

    name = "node-controller"

    def __init__(self, registry: Registry, kubelets: Mapping[str, Kubelet]) -> None:
        super().__init__(registry)
        self._kubelets = kubelets
        self._tasks: set[asyncio.Task[None]] = set()

    def concerned(self, change: Change) -> Iterable[Key]:
        if change.resource is r.NODES and change.type == "MODIFIED":
            yield Key.from_object(change.object)

    def reconcile(self, key: Key) -> None:
        node, kubelet = self.store.get(r.NODES, *key), self._kubelets.get(key.name)
        if node is None or kubelet is None:
            return
        asked = node["metadata"].get("annotations") or {}
        kubelet.node.kernel.bpf_fault = asked.get(BPF, "")
        fault = asked.get(KUBELET, "")
        if fault == "stopped":
            if not kubelet.silent:
                self._spawn(kubelet)
                self.enqueue(key, delay=_GRACE)
            elif key not in self._timers:
                self._post(node, *_SILENT, others="Unknown")
            return
        if kubelet.silent:
            kubelet.start()
        self._post(node, *(_NO_NETWORK if fault == "no-network" else _READY))

    def _spawn(self, kubelet: Kubelet) -> None:
        kubelet.silent = True
        task = asyncio.ensure_future(kubelet.stop())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _post(self, node: Object, status: str, reason: str, message: str, *, others: str = "False") -> None:
        """Sets the node's conditions, unless they are like that."""
        before = next(c for c in node["status"]["conditions"] if c["type"] == "Ready")
        if (before["status"], before["reason"]) == (status, reason):
            return
        now = rfc3339(self.registry.clock())

        def edit(new: Object) -> None:
            for condition in new["status"]["conditions"]:
                ready = condition["type"] == "Ready"
                word = status if ready else others
                if condition["status"] != word:
                    condition.update(status=word, lastTransitionTime=now)
                if ready or others == "Unknown":
                    condition.update(reason=reason, message=message)
                elif condition["reason"] == _SILENT[1]:
                    condition.update(_WELL[condition["type"]])
                condition["lastHeartbeatTime"] = now

        self.registry.change(r.NODES, node, edit)
        word = "NodeReady" if status == "True" else "NodeNotReady"
        self.recorder.event(r.NODES, node, word, f"Node {name_of(node)} status is now: {word}")


_WELL = {
    kind: {"reason": reason, "message": message}
    for kind, reason, message in (
        ("MemoryPressure", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
        ("DiskPressure", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        ("PIDPressure", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
    )
}
