"""DaemonSets: one pod on every eligible node, replaced node by node when the template changes."""

from __future__ import annotations

import copy
from collections.abc import Iterable

from ekslab.kubernetes.controllers.base import Controller, Key, is_active, owned_by, owner_key, ready_since
from ekslab.kubernetes.controllers.deployment import resolve, template_hash
from ekslab.kubernetes.controllers.scheduling import selects_node, untolerated
from ekslab.kubernetes.objects import resources as r
from ekslab.kubernetes.objects.errors import ApiError
from ekslab.kubernetes.objects.resources import Object, name_of, namespace_of, owner_reference
from ekslab.kubernetes.objects.store import Change
from ekslab.kubernetes.objects.timestamps import parse

_RETRY_SECONDS = 1.0
_HASH_LABEL = "controller-revision-hash"
_GENERATION_LABEL = "pod-template-generation"
_TOLERATED = (
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
)
_NETWORK_TOLERATED = ("node.kubernetes.io/network-unavailable", "NoSchedule")


class DaemonSets(Controller):
    name = "daemonset-controller"

    def concerned(self, change: Change) -> Iterable[Key]:
        if change.resource is r.DAEMON_SETS:
            yield Key.from_object(change.object)
        elif change.resource in (r.PODS, r.CONTROLLER_REVISIONS):
            key = owner_key(change.object, r.DAEMON_SETS)
            if key is not None:
                yield key
        elif change.resource is r.NODES:
            for daemon_set in self.store.list(r.DAEMON_SETS):
                yield Key.from_object(daemon_set)

    def reconcile(self, key: Key) -> None:
        daemon_set = self.store.get(r.DAEMON_SETS, *key)
        if daemon_set is None:
            return
        revision = self._revision(daemon_set)
        key_of_template = revision["metadata"]["labels"][_HASH_LABEL]
        nodes = self.store.list(r.NODES)
        if not daemon_set["metadata"].get("deletionTimestamp"):
            self._manage(daemon_set, nodes, key_of_template)
            if daemon_set["spec"]["updateStrategy"]["type"] == "RollingUpdate":
                self._roll(daemon_set, nodes, key_of_template)
            self._clean_up(daemon_set, revision)
        self._report(daemon_set, nodes, key_of_template)

    def _pods(self, daemon_set: Object) -> dict[str, list[Object]]:
        """The set's pods by node; unscheduled ones by the node that they were created for."""
        found: dict[str, list[Object]] = {}
        for pod in owned_by(self.store.list(r.PODS, namespace_of(daemon_set)), daemon_set):
            found.setdefault(pod["spec"].get("nodeName") or _target_node(pod), []).append(pod)
        return found

    def _manage(self, daemon_set: Object, nodes: list[Object], key: str) -> None:
        pods = self._pods(daemon_set)
        for node in nodes:
            here = pods.get(name_of(node), [])
            should_run, should_stay = _placement(daemon_set, node)
            for pod in here:
                if pod["status"].get("phase") == "Failed" and not pod["metadata"].get("deletionTimestamp"):
                    message = f"Found failed daemon pod {namespace_of(pod)}/{name_of(pod)} on node {name_of(node)}, "
                    self.recorder.event(
                        r.DAEMON_SETS, daemon_set, "FailedDaemonPod", message + "will try to kill it", warning=True
                    )
                    self.registry.delete(r.PODS, namespace_of(pod), name_of(pod))
            if should_run and not here:
                if not self._create(daemon_set, node, key):
                    return
            elif not should_stay:
                for pod in here:
                    if is_active(pod):
                        self._delete(daemon_set, pod)

    def _create(self, daemon_set: Object, node: Object, key: str) -> bool:
        template = daemon_set["spec"]["template"]
        spec = copy.deepcopy(template["spec"])
        tolerations = spec.setdefault("tolerations", [])
        wanted = (*_TOLERATED, _NETWORK_TOLERATED) if spec.get("hostNetwork") else _TOLERATED
        for taint, effect in wanted:
            if not any(t.get("key") == taint and t.get("effect") in (None, "", effect) for t in tolerations):
                tolerations.append({"key": taint, "operator": "Exists", "effect": effect})
        affinity = spec.setdefault("affinity", {}).setdefault("nodeAffinity", {})
        fields = [{"key": "metadata.name", "operator": "In", "values": [name_of(node)]}]
        terms = (affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or {}).get("nodeSelectorTerms")
        affinity["requiredDuringSchedulingIgnoredDuringExecution"] = {
            "nodeSelectorTerms": [{**term, "matchFields": fields} for term in terms or [{}]]
        }
        labels = {
            **(template["metadata"].get("labels") or {}),
            _HASH_LABEL: key,
            _GENERATION_LABEL: str(daemon_set["metadata"]["generation"]),
        }
        metadata: Object = {
            "generateName": f"{name_of(daemon_set)}-",
            "labels": labels,
            "ownerReferences": [owner_reference(r.DAEMON_SETS, daemon_set)],
        }
        if template["metadata"].get("annotations"):
            metadata["annotations"] = dict(template["metadata"]["annotations"])
        try:
            pod = self.registry.create(r.PODS, namespace_of(daemon_set), {"metadata": metadata, "spec": spec})
        except ApiError as error:
            message = f"Error creating: {error.message}"
            self.recorder.event(r.DAEMON_SETS, daemon_set, "FailedCreate", message, warning=True)
            self.enqueue(Key.from_object(daemon_set), delay=_RETRY_SECONDS)
            return False
        self.recorder.event(r.DAEMON_SETS, daemon_set, "SuccessfulCreate", f"Created pod: {name_of(pod)}")
        return True

    def _delete(self, daemon_set: Object, pod: Object) -> None:
        self.registry.delete(r.PODS, namespace_of(pod), name_of(pod))
        self.recorder.event(r.DAEMON_SETS, daemon_set, "SuccessfulDelete", f"Deleted pod: {name_of(pod)}")

    def _roll(self, daemon_set: Object, nodes: list[Object], key: str) -> None:
        """Deletes old pods, as many at a time as may be unavailable; `_manage` puts new ones in their place."""
        rolling = daemon_set["spec"]["updateStrategy"].get("rollingUpdate") or {}
        pods = self._pods(daemon_set)
        wanted = [node for node in nodes if _placement(daemon_set, node)[0]]
        limit = max(1, resolve(rolling.get("maxUnavailable", 1), len(wanted), up=True))
        minimum = daemon_set["spec"].get("minReadySeconds", 0)
        unavailable = 0
        old_available: list[Object] = []
        for node in wanted:
            here = [pod for pod in pods.get(name_of(node), []) if is_active(pod)]
            if not here:
                unavailable += 1
                continue
            pod = here[0]
            available = self._available(pod, minimum)
            if pod["metadata"]["labels"].get(_HASH_LABEL) == key:
                unavailable += not available
            elif not available:  # an old pod that doesn't work is no loss
                unavailable += 1
                self._delete(daemon_set, pod)
            else:
                old_available.append(pod)
        for pod in old_available[: max(0, limit - unavailable)]:
            self._delete(daemon_set, pod)

    def _available(self, pod: Object, minimum: int) -> bool:
        since = ready_since(pod)
        return since is not None and self.registry.clock() - parse(since) >= minimum

    def _revision(self, daemon_set: Object) -> Object:
        """The ControllerRevision of the template as it is now; a returning template's becomes the newest again."""
        template = daemon_set["spec"]["template"]
        data = {"spec": {"template": {**template, "$patch": "replace"}}}
        found = self._revisions(daemon_set)
        newest = max((revision["revision"] for revision in found), default=0)
        for revision in found:
            if revision["data"] == data:
                if revision["revision"] == newest:
                    return revision
                return self.registry.change(
                    r.CONTROLLER_REVISIONS, revision, lambda new: new.update(revision=newest + 1)
                )
        key = template_hash(template)
        annotations = {"deprecated.daemonset.template.generation": str(daemon_set["metadata"]["generation"])}
        annotations |= {
            k: v
            for k, v in (daemon_set["metadata"].get("annotations") or {}).items()
            if k != "kubectl.kubernetes.io/last-applied-configuration"
        }
        return self.registry.create(
            r.CONTROLLER_REVISIONS,
            namespace_of(daemon_set),
            {
                "metadata": {
                    "name": f"{name_of(daemon_set)}-{key}",
                    "labels": {**(template["metadata"].get("labels") or {}), _HASH_LABEL: key},
                    "annotations": annotations,
                    "ownerReferences": [owner_reference(r.DAEMON_SETS, daemon_set)],
                },
                "data": data,
                "revision": newest + 1,
            },
        )

    def _revisions(self, daemon_set: Object) -> list[Object]:
        return owned_by(self.store.list(r.CONTROLLER_REVISIONS, namespace_of(daemon_set)), daemon_set)

    def _clean_up(self, daemon_set: Object, current: Object) -> None:
        keep = daemon_set["spec"].get("revisionHistoryLimit", 10)
        live = {pod["metadata"]["labels"].get(_HASH_LABEL) for pods in self._pods(daemon_set).values() for pod in pods}
        old = [
            revision
            for revision in sorted(self._revisions(daemon_set), key=lambda item: int(item["revision"]))
            if name_of(revision) != name_of(current) and revision["metadata"]["labels"][_HASH_LABEL] not in live
        ]
        for revision in old[: max(0, len(old) - keep)]:
            self.registry.delete(r.CONTROLLER_REVISIONS, namespace_of(revision), name_of(revision))

    def _report(self, daemon_set: Object, nodes: list[Object], key: str) -> None:
        pods = self._pods(daemon_set)
        minimum = daemon_set["spec"].get("minReadySeconds", 0)
        counts = dict.fromkeys(
            ("desired", "current", "misscheduled", "ready", "available", "updated"),
            0,
        )
        for node in nodes:
            here = [pod for pod in pods.get(name_of(node), []) if is_active(pod)]
            if not _placement(daemon_set, node)[0]:
                counts["misscheduled"] += bool(here)
                continue
            counts["desired"] += 1
            if here:
                pod = here[0]
                counts["current"] += 1
                counts["ready"] += ready_since(pod) is not None
                counts["available"] += self._available(pod, minimum)
                counts["updated"] += pod["metadata"]["labels"].get(_HASH_LABEL) == key
        if counts["available"] < counts["ready"]:
            self.enqueue(Key.from_object(daemon_set), delay=1.0)
        status: Object = {
            "currentNumberScheduled": counts["current"],
            "numberMisscheduled": counts["misscheduled"],
            "desiredNumberScheduled": counts["desired"],
            "numberReady": counts["ready"],
            "observedGeneration": daemon_set["metadata"]["generation"],
        }
        optional = {
            "updatedNumberScheduled": counts["updated"],
            "numberAvailable": counts["available"],
            "numberUnavailable": counts["desired"] - counts["available"],
        }
        status.update({name: count for name, count in optional.items() if count})
        self.registry.set_status(r.DAEMON_SETS, daemon_set, status)


def _target_node(pod: Object) -> str:
    affinity = (pod["spec"].get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or {}
    for term in required.get("nodeSelectorTerms") or ():
        for field in term.get("matchFields") or ():
            return str(field["values"][0])
    return ""


def _placement(daemon_set: Object, node: Object) -> tuple[bool, bool]:
    """Whether the set should have a pod on the node, and whether one that is there may stay."""
    spec = daemon_set["spec"]["template"]["spec"]
    if not selects_node(spec, node):
        return False, False
    tolerations: list[Object] = [
        *(spec.get("tolerations") or ()),
        *({"key": key, "operator": "Exists", "effect": effect} for key, effect in _TOLERATED),
    ]
    should_stay = untolerated(tolerations, node, ("NoExecute",)) is None
    return should_stay and untolerated(tolerations, node, ("NoSchedule",)) is None, should_stay
