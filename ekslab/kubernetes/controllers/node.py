"""Nodes: taints that follow from their conditions, and the end of pods on nodes that don't answer or are gone."""

from __future__ import annotations

from collections.abc import Iterable

from ekslab.kubernetes.controllers.base import Controller, Key
from ekslab.kubernetes.controllers.scheduling import CORDONED, tolerates
from ekslab.kubernetes.objects import resources as r
from ekslab.kubernetes.objects.errors import ApiError
from ekslab.kubernetes.objects.events import Recorder
from ekslab.kubernetes.objects.registry import Registry
from ekslab.kubernetes.objects.resources import Object, name_of, namespace_of
from ekslab.kubernetes.objects.store import Change
from ekslab.kubernetes.objects.timestamps import parse, rfc3339

_NOT_READY, _UNREACHABLE = "node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"
# Of a node's condition and its status: the taint, and its effects.
_TAINTS = {
    ("Ready", "False"): (_NOT_READY, ("NoSchedule", "NoExecute")),
    ("Ready", "Unknown"): (_UNREACHABLE, ("NoSchedule", "NoExecute")),
    ("MemoryPressure", "True"): ("node.kubernetes.io/memory-pressure", ("NoSchedule",)),
    ("DiskPressure", "True"): ("node.kubernetes.io/disk-pressure", ("NoSchedule",)),
    ("PIDPressure", "True"): ("node.kubernetes.io/pid-pressure", ("NoSchedule",)),
    ("NetworkUnavailable", "True"): ("node.kubernetes.io/network-unavailable", ("NoSchedule",)),
}
_OF_CONDITIONS = {CORDONED["key"], *(key for key, _ in _TAINTS.values())}


class Nodes(Controller):
    name = "node-controller"

    def __init__(self, registry: Registry) -> None:
        super().__init__(registry)
        self._evictions = Recorder(registry, "taint-eviction-controller")

    def concerned(self, change: Change) -> Iterable[Key]:
        if change.resource is r.NODES:
            yield Key.from_object(change.object)
        elif change.resource is r.PODS and change.type == "ADDED" and change.object["spec"].get("nodeName"):
            yield Key("", change.object["spec"]["nodeName"])

    def reconcile(self, key: Key) -> None:
        node = self.store.get(r.NODES, *key)
        pods = [pod for pod in self.store.list(r.PODS) if pod["spec"].get("nodeName") == key.name]
        if node is None:
            for pod in pods:
                self._delete(pod, "DeletionByPodGC", "PodGC: node no longer exists", grace=0)
            return
        node = self._taint(node)
        if any(c["type"] == "Ready" and c["status"] == "Unknown" for c in node["status"].get("conditions") or ()):
            for pod in pods:
                self._mark_unready(pod)
        self._evict(key, node, pods)

    def _taint(self, node: Object) -> Object:
        """The node with the taints that its conditions and `unschedulable` ask for."""
        wanted = [(CORDONED["key"], CORDONED["effect"])] if node["spec"].get("unschedulable") else []
        for condition in node["status"].get("conditions") or ():
            key, effects = _TAINTS.get((condition["type"], condition["status"]), ("", ()))
            wanted += [(key, effect) for effect in effects]
        taints = node["spec"].get("taints") or []
        kept = [t for t in taints if t["key"] not in _OF_CONDITIONS or (t["key"], t["effect"]) in wanted]
        have = {(taint["key"], taint["effect"]) for taint in kept}
        now = rfc3339(self.registry.clock())
        added = [{"key": k, "effect": e, "timeAdded": now} for k, e in wanted if (k, e) not in have]
        if len(kept) == len(taints) and not added:
            return node

        def edit(new: Object) -> None:
            new["spec"]["taints"] = [*kept, *added]
            if not new["spec"]["taints"]:
                del new["spec"]["taints"]

        return self.registry.change(r.NODES, node, edit)

    def _mark_unready(self, pod: Object) -> None:
        ready = [c for c in pod["status"].get("conditions") or () if c["type"] == "Ready" and c["status"] == "True"]
        if not ready:
            return
        now = rfc3339(self.registry.clock())

        def edit(new: Object) -> None:
            for condition in new["status"]["conditions"]:
                if condition["type"] == "Ready":
                    condition.update(status="False", lastTransitionTime=now)

        self.registry.change(r.PODS, pod, edit)
        self.recorder.event(r.PODS, pod, "NodeNotReady", "Node is not ready", warning=True)

    def _evict(self, key: Key, node: Object, pods: list[Object]) -> None:
        """Deletes pods that don't tolerate a taint with `NoExecute`, or have tolerated it for as long as they do."""
        now = self.registry.clock()
        for taint in node["spec"].get("taints") or ():
            if taint["effect"] != "NoExecute":
                continue
            for pod in pods:
                if pod["metadata"].get("deletionTimestamp"):
                    continue
                tolerations = [t for t in pod["spec"].get("tolerations") or () if tolerates([t], taint)]
                seconds = [float(t["tolerationSeconds"]) for t in tolerations if t.get("tolerationSeconds") is not None]
                if tolerations and not seconds:
                    continue
                since = parse(taint["timeAdded"]) if taint.get("timeAdded") else now
                left = since + min(seconds, default=0.0) - now
                if left > 0:
                    self.enqueue(key, delay=left)
                    continue
                message = f"Marking for deletion Pod {namespace_of(pod)}/{name_of(pod)}"
                self._evictions.event(r.PODS, pod, "TaintManagerEviction", message)
                self._delete(pod, "DeletionByTaintManager", "Taint manager: deleting due to NoExecute taint")

    def _delete(self, pod: Object, reason: str, message: str, *, grace: int | None = None) -> None:
        disrupt(self.registry, pod, reason, message)
        options: Object = {"preconditions": {"uid": pod["metadata"]["uid"]}}
        options |= {} if grace is None else {"gracePeriodSeconds": grace}
        try:
            self.registry.delete(r.PODS, namespace_of(pod), name_of(pod), options)
        except ApiError as error:
            if error.code not in (404, 409):
                raise


def disrupt(registry: Registry, pod: Object, reason: str, message: str) -> None:
    """Notes in a pod's conditions that it ends for another reason than its own."""
    now = rfc3339(registry.clock())
    condition = {"type": "DisruptionTarget", "status": "True", "lastProbeTime": None, "lastTransitionTime": now}
    condition |= {"reason": reason, "message": message}

    def edit(new: Object) -> None:
        others = [c for c in new["status"].get("conditions") or () if c["type"] != "DisruptionTarget"]
        new["status"]["conditions"] = [*others, condition]

    registry.change(r.PODS, pod, edit)
