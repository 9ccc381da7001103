"""ReplicaSets: keep the desired number of pods."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from ekslab.kubernetes.controllers.base import (
    Controller,
    Key,
    is_active,
    owned_by,
    owner_key,
    ready_since,
    set_owner,
)
from ekslab.kubernetes.objects import resources as r
from ekslab.kubernetes.objects.errors import ApiError
from ekslab.kubernetes.objects.resources import Object, name_of, namespace_of, owner_reference
from ekslab.kubernetes.objects.selectors import matches
from ekslab.kubernetes.objects.store import Change
from ekslab.kubernetes.objects.timestamps import parse, rfc3339

_RETRY_SECONDS = 1.0


class ReplicaSets(Controller):
    name = "replicaset-controller"

    def concerned(self, change: Change) -> Iterable[Key]:
        if change.resource is r.REPLICA_SETS:
            yield Key.from_object(change.object)
        elif change.resource is r.PODS:
            key = owner_key(change.object, r.REPLICA_SETS)
            if key is not None:
                yield key

    def reconcile(self, key: Key) -> None:
        replica_set = self.store.get(r.REPLICA_SETS, *key)
        if replica_set is None:
            return
        spec = replica_set["spec"]
        failure = ""
        if not replica_set["metadata"].get("deletionTimestamp"):
            self._adopt(replica_set)
            failure = self._manage(replica_set, spec.get("replicas", 1))
        self._report(replica_set, failure)

    def _adopt(self, replica_set: Object) -> None:
        selector = replica_set["spec"]["selector"]
        for pod in self.store.list(r.PODS, namespace_of(replica_set)):
            labels = pod["metadata"].get("labels") or {}
            if not pod["metadata"].get("ownerReferences") and is_active(pod) and matches(selector, labels):
                reference = owner_reference(r.REPLICA_SETS, replica_set)
                self.registry.change(r.PODS, pod, partial(set_owner, reference))

    def _pods(self, replica_set: Object) -> list[Object]:
        pods = owned_by(self.store.list(r.PODS, namespace_of(replica_set)), replica_set)
        selector = replica_set["spec"]["selector"]
        owned = []
        for pod in pods:
            if matches(selector, pod["metadata"].get("labels") or {}):
                owned.append(pod)
            else:  # relabelled, for example to debug it: it is released
                self.registry.change(r.PODS, pod, lambda new: new["metadata"].pop("ownerReferences"))
        return owned

    def _manage(self, replica_set: Object, wanted: int) -> str:
        """Creates or deletes pods; returns why one could not be created."""
        active = [pod for pod in self._pods(replica_set) if is_active(pod)]
        template = replica_set["spec"]["template"]
        for _ in range(wanted - len(active)):
            pod: Object = {
                "metadata": {
                    "generateName": f"{name_of(replica_set)}-",
                    "labels": dict(template["metadata"].get("labels") or {}),
                    "annotations": dict(template["metadata"].get("annotations") or {}),
                    "ownerReferences": [owner_reference(r.REPLICA_SETS, replica_set)],
                },
                "spec": template["spec"],
            }
            for name in ("labels", "annotations"):
                if not pod["metadata"][name]:
                    del pod["metadata"][name]
            try:
                created = self.registry.create(r.PODS, namespace_of(replica_set), pod)
            except ApiError as error:
                message = f"Error creating: {error.message}"
                self.recorder.event(r.REPLICA_SETS, replica_set, "FailedCreate", message, warning=True)
                self.enqueue(Key.from_object(replica_set), delay=_RETRY_SECONDS)
                return error.message
            message = f"Created pod: {name_of(created)}"
            self.recorder.event(r.REPLICA_SETS, replica_set, "SuccessfulCreate", message)
        for pod in sorted(active, key=_expendable)[: max(0, len(active) - wanted)]:
            self.registry.delete(r.PODS, namespace_of(pod), name_of(pod))
            message = f"Deleted pod: {name_of(pod)}"
            self.recorder.event(r.REPLICA_SETS, replica_set, "SuccessfulDelete", message)
        return ""

    def _report(self, replica_set: Object, failure: str) -> None:
        spec = replica_set["spec"]
        pods = [pod for pod in self._pods(replica_set) if is_active(pod)]
        labels = spec["template"]["metadata"].get("labels") or {}
        minimum, now = spec.get("minReadySeconds", 0), self.registry.clock()
        ready = [since for pod in pods if (since := ready_since(pod))]
        available = [since for since in ready if now - parse(since) >= minimum]
        if len(available) < len(ready):
            wait = min(minimum - (now - parse(since)) for since in ready if since not in available)
            self.enqueue(Key.from_object(replica_set), delay=max(wait, 0.05))
        status: Object = {"replicas": len(pods), "observedGeneration": replica_set["metadata"]["generation"]}
        full = sum(labels.items() <= (pod["metadata"].get("labels") or {}).items() for pod in pods)
        for name, count in (
            ("fullyLabeledReplicas", full),
            ("readyReplicas", len(ready)),
            ("availableReplicas", len(available)),
        ):
            if count:
                status[name] = count
        if failure:
            before: Object = next(iter(replica_set["status"].get("conditions") or ()), {})
            status["conditions"] = [
                {
                    "type": "ReplicaFailure",
                    "status": "True",
                    "reason": "FailedCreate",
                    "message": failure,
                    "lastTransitionTime": before.get("lastTransitionTime", rfc3339(now)),
                }
            ]
        self.registry.set_status(r.REPLICA_SETS, replica_set, status)


def _expendable(pod: Object) -> tuple[bool, bool, float, str]:
    """Sorts pods so that those to delete first come first: unbound, not ready, then the youngest."""
    born = parse(pod["metadata"]["creationTimestamp"])
    return (bool(pod["spec"].get("nodeName")), ready_since(pod) is not None, -born, name_of(pod))
