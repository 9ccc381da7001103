"""Deployments: one ReplicaSet for each version of the template, and rollouts between them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import partial
from typing import Any

import orjson

from ekslab import names
from ekslab.kubernetes.controllers.base import Controller, Key, owned_by, owner_key, set_owner
from ekslab.kubernetes.objects import resources as r
from ekslab.kubernetes.objects.registry import Registry
from ekslab.kubernetes.objects.resources import Object, controller_of, name_of, namespace_of, owner_reference
from ekslab.kubernetes.objects.selectors import matches
from ekslab.kubernetes.objects.store import Change
from ekslab.kubernetes.objects.timestamps import rfc3339

REVISION = "deployment.kubernetes.io/revision"
HASH_LABEL = "pod-template-hash"
_NOT_COPIED = (
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    "deployment.kubernetes.io/revision-history",
    "deployment.kubernetes.io/desired-replicas",
    "deployment.kubernetes.io/max-replicas",
    "deprecated.deployment.rollback.to",
)


def template_hash(template: Object, length: int = 10) -> str:
    """A short name for a pod template, the same for the same template."""
    return names.suffix(length, "template", orjson.dumps(template, option=orjson.OPT_SORT_KEYS).decode())


def resolve(amount: Any, total: int, *, up: bool) -> int:
    """A number of pods given as a number or as a percentage of `total`."""
    if isinstance(amount, str) and amount.endswith("%"):
        part = int(amount[:-1]) * total / 100
        return math.ceil(part) if up else math.floor(part)
    return int(amount)


class Deployments(Controller):
    name = "deployment-controller"

    def __init__(self, registry: Registry) -> None:
        super().__init__(registry)
        self._progressed: dict[str, tuple[tuple[str, str], float]] = {}

    def concerned(self, change: Change) -> Iterable[Key]:
        if change.resource is r.DEPLOYMENTS:
            yield Key.from_object(change.object)
        elif change.resource is r.REPLICA_SETS:
            key = owner_key(change.object, r.DEPLOYMENTS)
            if key is not None:
                yield key

    def reconcile(self, key: Key) -> None:
        deployment = self.store.get(r.DEPLOYMENTS, *key)
        if deployment is None:
            return
        if deployment["metadata"].get("deletionTimestamp"):
            self._report(deployment, self._replica_sets(deployment))
            return
        self._adopt(deployment)
        sets = self._replica_sets(deployment)
        new = self._new(deployment, sets)
        if deployment["spec"].get("paused"):
            if new is not None and sum(s["spec"]["replicas"] > 0 for s in sets) <= 1:
                self._scale(deployment, new, deployment["spec"]["replicas"])
            self._report(deployment, self._replica_sets(deployment))
            return
        revision = self._revision(sets, new)
        new = self._create(deployment, revision) if new is None else self._mark(deployment, new, revision)
        self._set_revision(deployment, revision)
        old = [s for s in self._replica_sets(deployment) if name_of(s) != name_of(new)]
        if deployment["spec"]["strategy"]["type"] == "Recreate":
            self._recreate(deployment, new, old)
        else:
            self._roll(deployment, new, old)
        sets = self._replica_sets(deployment)
        self._report(deployment, sets)
        self._clean_up(deployment, [s for s in sets if name_of(s) != name_of(new)])

    def _adopt(self, deployment: Object) -> None:
        selector = deployment["spec"]["selector"]
        for found in self.store.list(r.REPLICA_SETS, namespace_of(deployment)):
            if controller_of(found) is None and matches(selector, found["metadata"].get("labels") or {}):
                reference = owner_reference(r.DEPLOYMENTS, deployment)
                self.registry.change(r.REPLICA_SETS, found, partial(set_owner, reference))

    def _replica_sets(self, deployment: Object) -> list[Object]:
        """The deployment's ReplicaSets, oldest revision first."""
        found = owned_by(self.store.list(r.REPLICA_SETS, namespace_of(deployment)), deployment)
        return sorted(found, key=_revision_of)

    def _new(self, deployment: Object, sets: list[Object]) -> Object | None:
        """The ReplicaSet whose template is the deployment's."""
        wanted = deployment["spec"]["template"]
        return next((s for s in sets if _without_hash(s["spec"]["template"]) == wanted), None)

    def _revision(self, sets: list[Object], new: Object | None) -> int:
        others = [_revision_of(s) for s in sets if s is not new]
        newest = max(others, default=0) + 1
        return max(newest, _revision_of(new)) if new is not None else newest

    def _annotations(self, deployment: Object, revision: int) -> dict[str, str]:
        own = deployment["metadata"].get("annotations") or {}
        spec = deployment["spec"]
        surge = _surge(spec)
        return {
            **{key: value for key, value in own.items() if key not in _NOT_COPIED},
            "deployment.kubernetes.io/desired-replicas": str(spec["replicas"]),
            "deployment.kubernetes.io/max-replicas": str(spec["replicas"] + surge),
            REVISION: str(revision),
        }

    def _create(self, deployment: Object, revision: int) -> Object:
        spec = deployment["spec"]
        key = template_hash(spec["template"])
        template = {**spec["template"]}
        labels = {**(template["metadata"].get("labels") or {}), HASH_LABEL: key}
        template["metadata"] = {**template["metadata"], "labels": labels}
        selector = {**spec["selector"]}
        selector["matchLabels"] = {**(selector.get("matchLabels") or {}), HASH_LABEL: key}
        replica_set = {
            "metadata": {
                "name": f"{name_of(deployment)}-{key}",
                "labels": labels,
                "annotations": self._annotations(deployment, revision),
                "ownerReferences": [owner_reference(r.DEPLOYMENTS, deployment)],
            },
            "spec": {
                "replicas": 0,
                "selector": selector,
                "template": template,
                **({"minReadySeconds": spec["minReadySeconds"]} if spec.get("minReadySeconds") else {}),
            },
        }
        return self.registry.create(r.REPLICA_SETS, namespace_of(deployment), replica_set)

    def _mark(self, deployment: Object, new: Object, revision: int) -> Object:
        """Brings an existing ReplicaSet's annotations up to date; going back to it makes it the newest revision."""
        before = _revision_of(new)
        wanted = self._annotations(deployment, revision)
        have = new["metadata"].get("annotations") or {}
        if before and before != revision:
            history = [part for part in have.get("deployment.kubernetes.io/revision-history", "").split(",") if part]
            wanted["deployment.kubernetes.io/revision-history"] = ",".join([*history, str(before)])
        elif "deployment.kubernetes.io/revision-history" in have:
            key = "deployment.kubernetes.io/revision-history"
            wanted[key] = have[key]
        minimum = deployment["spec"].get("minReadySeconds", 0)

        def edit(obj: Object) -> None:
            obj["metadata"]["annotations"] = wanted
            if minimum or obj["spec"].get("minReadySeconds"):
                obj["spec"]["minReadySeconds"] = minimum

        return self.registry.change(r.REPLICA_SETS, new, edit)

    def _set_revision(self, deployment: Object, revision: int) -> None:
        self.registry.change(
            r.DEPLOYMENTS,
            deployment,
            lambda new: new["metadata"].setdefault("annotations", {}).update({REVISION: str(revision)}),
        )

    def _scale(self, deployment: Object, replica_set: Object, replicas: int) -> None:
        before = replica_set["spec"]["replicas"]
        if before == replicas:
            return
        self.registry.change(r.REPLICA_SETS, replica_set, lambda new: new["spec"].update(replicas=replicas))
        direction = "up" if replicas > before else "down"
        message = f"Scaled {direction} replica set {name_of(replica_set)} from {before} to {replicas}"
        self.recorder.event(r.DEPLOYMENTS, deployment, "ScalingReplicaSet", message)

    def _recreate(self, deployment: Object, new: Object, old: list[Object]) -> None:
        for replica_set in old:
            self._scale(deployment, replica_set, 0)
        uids = {s["metadata"]["uid"] for s in old}
        pods = self.store.list(r.PODS, namespace_of(deployment))
        left = [
            pod
            for pod in pods
            if (controller_of(pod) or {}).get("uid") in uids
            and pod["status"].get("phase") not in ("Succeeded", "Failed")
        ]
        if left:
            self.enqueue(Key.from_object(deployment), delay=0.05)
        else:
            self._scale(deployment, new, deployment["spec"]["replicas"])

    def _roll(self, deployment: Object, new: Object, old: list[Object]) -> None:
        wanted = deployment["spec"]["replicas"]
        rolling = deployment["spec"]["strategy"].get("rollingUpdate") or {}
        surge = _surge(deployment["spec"])
        unavailable = resolve(rolling.get("maxUnavailable", "25%"), wanted, up=False)
        if surge == 0 and unavailable == 0:
            unavailable = 1
        total = sum(s["spec"]["replicas"] for s in (new, *old))
        have = new["spec"]["replicas"]
        if have > wanted:
            self._scale(deployment, new, wanted)
        elif have < wanted:
            self._scale(deployment, new, min(wanted, have + max(0, wanted + surge - total)))
        current = self.store.get(r.REPLICA_SETS, namespace_of(new), name_of(new)) or new
        self._shrink(deployment, current, old, wanted - unavailable)

    def _shrink(self, deployment: Object, new: Object, old: list[Object], minimum: int) -> None:
        """Scales old sets down as far as enough pods stay available; pods that aren't available go first."""
        new_unavailable = new["spec"]["replicas"] - new["status"].get("availableReplicas", 0)
        total = sum(s["spec"]["replicas"] for s in (new, *old))
        budget = total - minimum - new_unavailable
        sizes = {name_of(s): s["spec"]["replicas"] for s in old}
        for replica_set in old:
            size = sizes[name_of(replica_set)]
            broken = min(size - replica_set["status"].get("availableReplicas", 0), budget)
            if broken > 0:
                sizes[name_of(replica_set)] = size - broken
                budget -= broken
        available = sum(s["status"].get("availableReplicas", 0) for s in (new, *old))
        spare = available - minimum
        for replica_set in old:
            drop = min(sizes[name_of(replica_set)], spare)
            if drop > 0:
                sizes[name_of(replica_set)] -= drop
                spare -= drop
        for replica_set in old:
            self._scale(deployment, replica_set, sizes[name_of(replica_set)])

    def _clean_up(self, deployment: Object, old: list[Object]) -> None:
        keep = deployment["spec"].get("revisionHistoryLimit", 10)
        idle = [s for s in old if s["spec"]["replicas"] == 0 and s["status"].get("replicas", 0) == 0]
        for replica_set in idle[: max(0, len(idle) - keep)]:
            self.registry.delete(r.REPLICA_SETS, namespace_of(replica_set), name_of(replica_set))

    def _report(self, deployment: Object, sets: list[Object]) -> None:
        deployment = self.store.get(r.DEPLOYMENTS, namespace_of(deployment), name_of(deployment)) or deployment
        wanted = deployment["spec"]["replicas"]
        new = self._new(deployment, sets)
        totals = {
            name: sum(s["status"].get(name, 0) for s in sets)
            for name in ("replicas", "readyReplicas", "availableReplicas")
        }
        updated = new["status"].get("replicas", 0) if new else 0
        status: Object = {"observedGeneration": deployment["metadata"]["generation"]}
        counts = {
            "replicas": totals["replicas"],
            "updatedReplicas": updated,
            "readyReplicas": totals["readyReplicas"],
            "availableReplicas": totals["availableReplicas"],
            "unavailableReplicas": max(0, max(wanted, totals["replicas"]) - totals["availableReplicas"]),
        }
        status.update({name: count for name, count in counts.items() if count})
        status["conditions"] = self._conditions(deployment, sets, new, counts)
        self.registry.set_status(r.DEPLOYMENTS, deployment, status)

    def _conditions(
        self, deployment: Object, sets: list[Object], new: Object | None, counts: dict[str, int]
    ) -> list[Object]:
        spec = deployment["spec"]
        wanted = spec["replicas"]
        before = {c["type"]: c for c in deployment["status"].get("conditions") or ()}
        rolling = spec["strategy"].get("rollingUpdate") or {}
        unavailable = resolve(rolling.get("maxUnavailable", wanted), wanted, up=False)
        enough = counts["availableReplicas"] >= wanted - unavailable
        available = self._condition(
            before.get("Available"),
            "Available",
            enough,
            "MinimumReplicasAvailable" if enough else "MinimumReplicasUnavailable",
            f"Deployment {'has' if enough else 'does not have'} minimum availability.",
        )
        conditions = [available]
        failure = next(
            (c for s in sets for c in s["status"].get("conditions") or () if c["type"] == "ReplicaFailure"), None
        )
        if failure is not None:
            conditions.append(
                self._condition(
                    before.get("ReplicaFailure"), "ReplicaFailure", True, failure["reason"], failure["message"]
                )
            )
        conditions.insert(0, self._progress(deployment, before.get("Progressing"), new, counts))
        return sorted(conditions, key=lambda c: {"Available": 0, "ReplicaFailure": 1, "Progressing": 2}[c["type"]])

    def _progress(
        self, deployment: Object, before: Object | None, new: Object | None, counts: dict[str, int]
    ) -> Object:
        spec = deployment["spec"]
        if spec.get("paused"):
            return self._condition(before, "Progressing", None, "DeploymentPaused", "Deployment is paused")
        name = name_of(new) if new else ""
        complete = counts["updatedReplicas"] == counts["replicas"] == counts["availableReplicas"] == spec["replicas"]
        if complete:
            message = f'ReplicaSet "{name}" has successfully progressed.'
            return self._condition(before, "Progressing", True, "NewReplicaSetAvailable", message)
        now, limit = self.registry.clock(), spec.get("progressDeadlineSeconds", 600)
        marks = f"{counts['updatedReplicas']}/{counts['readyReplicas']}/{counts['availableReplicas']}"
        known = self._progressed.get(deployment["metadata"]["uid"])
        if known is None or known[0] != (name, marks):
            known = self._progressed[deployment["metadata"]["uid"]] = ((name, marks), now)
            message = f'ReplicaSet "{name}" is progressing.'
            condition = self._condition(before, "Progressing", True, "ReplicaSetUpdated", message)
            condition["lastUpdateTime"] = rfc3339(now)
            self.enqueue(Key.from_object(deployment), delay=limit + 0.1)
            return condition
        if now - known[1] > limit:
            message = f'ReplicaSet "{name}" has timed out progressing.'
            return self._condition(before, "Progressing", False, "ProgressDeadlineExceeded", message)
        self.enqueue(Key.from_object(deployment), delay=limit - (now - known[1]) + 0.1)
        return before or self._condition(
            before, "Progressing", True, "ReplicaSetUpdated", f'ReplicaSet "{name}" is progressing.'
        )

    def _condition(self, before: Object | None, kind: str, holds: bool | None, reason: str, message: str) -> Object:
        now = rfc3339(self.registry.clock())
        word = "Unknown" if holds is None else str(holds)
        if before is not None and (before["status"], before["reason"], before["message"]) == (word, reason, message):
            return before
        changed = before is None or before["status"] != word
        return {
            "type": kind,
            "status": word,
            "lastUpdateTime": now,
            "lastTransitionTime": now if changed or before is None else before["lastTransitionTime"],
            "reason": reason,
            "message": message,
        }


def _surge(spec: Object) -> int:
    if spec["strategy"]["type"] != "RollingUpdate":
        return 0
    return resolve((spec["strategy"].get("rollingUpdate") or {}).get("maxSurge", "25%"), spec["replicas"], up=True)


def _revision_of(replica_set: Object) -> int:
    return int((replica_set["metadata"].get("annotations") or {}).get(REVISION, 0))


def _without_hash(template: Object) -> Object:
    labels = {k: v for k, v in (template["metadata"].get("labels") or {}).items() if k != HASH_LABEL}
    return {**template, "metadata": {**template["metadata"], "labels": labels}}
