"""The scheduler: assigns each pod to the feasible node with the fewest pods."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from ekslab.kubernetes.controllers.base import Controller, Key
from ekslab.kubernetes.controllers.scheduling import others_could_go, refusal
from ekslab.kubernetes.objects import resources as r
from ekslab.kubernetes.objects.resources import Object, name_of, namespace_of
from ekslab.kubernetes.objects.store import Change
from ekslab.kubernetes.objects.timestamps import rfc3339


class Scheduler(Controller):
    name = "default-scheduler"

    def concerned(self, change: Change) -> Iterable[Key]:
        if change.resource is r.PODS and change.type == "ADDED":
            if not change.object["spec"].get("nodeName"):
                yield Key.from_object(change.object)
        elif (
            (change.resource is r.PODS and change.type == "DELETED")
            or (change.resource is r.NODES and _room_changed(change))
            or change.resource is r.PERSISTENT_VOLUME_CLAIMS
        ):
            for pod in self.store.list(r.PODS):
                if not pod["spec"].get("nodeName"):
                    yield Key.from_object(pod)

    def reconcile(self, key: Key) -> None:
        pod = self.store.get(r.PODS, *key)
        if pod is None or pod["spec"].get("nodeName") or pod["metadata"].get("deletionTimestamp"):
            return
        if pod["spec"].get("schedulerName") != self.name or pod["spec"].get("schedulingGates"):
            return
        if unbound := self._unbound(pod):
            self._says(pod, f"0/{len(self.store.list(r.NODES))} nodes are available: {unbound}. not found")
            return
        running: dict[str, list[Object]] = {}
        for other in self.store.list(r.PODS):
            node_name = other["spec"].get("nodeName")
            if node_name and other["status"].get("phase") not in ("Succeeded", "Failed"):
                running.setdefault(node_name, []).append(other)
        nodes = self.store.list(r.NODES)
        refusals = {name_of(node): refusal(pod, node, running.get(name_of(node), [])) for node in nodes}
        fitting = [node for node in nodes if not refusals[name_of(node)]]
        if not fitting:
            victims = sum(others_could_go(pod, node, refusals[name_of(node)]) for node in nodes)
            self._unschedulable(pod, len(nodes), Counter(refusals.values()), victims)
            return
        chosen = min(fitting, key=lambda node: (_load(pod, running.get(name_of(node), [])), name_of(node)))
        self._bind(pod, name_of(chosen))

    def _unbound(self, pod: Object) -> str:
        """Why the pod's claims keep it from any node: nothing here provides volumes, so that none is ever bound."""
        for volume in pod["spec"].get("volumes") or ():
            if claimed := volume.get("persistentVolumeClaim"):
                claim = self.store.get(r.PERSISTENT_VOLUME_CLAIMS, namespace_of(pod), claimed["claimName"])
                if claim is None:
                    return f'persistentvolumeclaim "{claimed["claimName"]}" not found'
                if (claim.get("status") or {}).get("phase") != "Bound":
                    return "pod has unbound immediate PersistentVolumeClaims"
        return ""

    def _bind(self, pod: Object, node: str) -> None:
        now = rfc3339(self.registry.clock())

        def edit(new: Object) -> None:
            new["spec"]["nodeName"] = node
            new["status"]["conditions"] = [_scheduled(now, "True")]

        message = f"Successfully assigned {namespace_of(pod)}/{name_of(pod)} to {node}"
        self.recorder.event(r.PODS, pod, "Scheduled", message)
        self.registry.change(r.PODS, pod, edit)

    def _unschedulable(self, pod: Object, nodes: int, reasons: Counter[str], looked: int) -> None:
        """Says why; on `looked` of the nodes the scheduler looks in vain for pods that could go."""
        said = _counted(reasons)
        message = "no nodes available to schedule pods"
        if said:
            message = f"0/{nodes} nodes are available: {said}."
            preemption = _counted({_NO_HELP: nodes - looked, _NO_VICTIMS: looked})
            message += f" no new claims to deallocate, preemption: 0/{nodes} nodes are available: {preemption}."
        self._says(pod, message)

    def _says(self, pod: Object, message: str) -> None:
        self.recorder.event(r.PODS, pod, "FailedScheduling", message, warning=True)
        now = rfc3339(self.registry.clock())
        condition = {**_scheduled(now, "False"), "reason": "Unschedulable", "message": message}
        self.registry.change(r.PODS, pod, lambda new: new["status"].update(conditions=[condition]))


_NO_HELP, _NO_VICTIMS = "Preemption is not helpful for scheduling", "No preemption victims found for incoming pod"


def _counted(reasons: Mapping[str, int]) -> str:
    return ", ".join(sorted(f"{count} {reason}" for reason, count in reasons.items() if count))


def _scheduled(now: str, status: str) -> Object:
    return {"type": "PodScheduled", "status": status, "lastProbeTime": None, "lastTransitionTime": now}


def _load(pod: Object, running: list[Object]) -> tuple[int, int]:
    """Pods of the same controller on a node, then all pods on it: the fewer the better."""
    owners = {o["uid"] for o in pod["metadata"].get("ownerReferences") or ()}
    running = [other for other in running if not other["metadata"].get("deletionTimestamp")]
    same = sum(any(o["uid"] in owners for o in p["metadata"].get("ownerReferences") or ()) for p in running)
    return same, len(running)


def _room_changed(change: Change) -> bool:
    before, after = change.previous, change.object
    return before is None or (before["spec"], before["metadata"].get("labels")) != (
        after["spec"],
        after["metadata"].get("labels"),
    )
