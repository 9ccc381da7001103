"""Rollouts of workloads: waits until all pods are ready, and finds why they aren't."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from labkit.errors import StepError
from labkit.kube.client import Client, KubernetesError
from labkit.kube.objects import (
    UNSEEN,
    Object,
    Objects,
    container_statuses,
    label_selector,
    rollout_unmet,
    runs_nowhere,
)

# A pod that waits for one of these gets nowhere by waiting.
_STUCK = {
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "ErrImageNeverPull",
    "CrashLoopBackOff",
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
}
_SCALING = {"TriggeredScaleUp", "Nominated"}  # Cluster Autoscaler and Karpenter
# Of a workload's kind: what keeps its versions, the label that pods of a version have, and the version's number.
_VERSIONS: Mapping[str, tuple[str, str, Callable[[Object], int]]] = {
    "DaemonSet": ("ControllerRevision", "controller-revision-hash", lambda made: int(made["revision"])),
    "Deployment": (
        "ReplicaSet",
        "pod-template-hash",
        lambda made: int(made["metadata"].get("annotations", {}).get("deployment.kubernetes.io/revision", 0)),
    ),
}


@dataclass(frozen=True)
class Problem:
    """Why a pod isn't ready, or isn't there, in Kubernetes' own words."""

    pod: str
    """Name of the pod; of a pod that could not be made, empty."""
    container: str
    """Name of the container; empty if it isn't a container's problem."""
    reason: str
    message: str
    log: str = ""

    @property
    def line(self) -> str:
        subject = f"pod {self.pod}" if self.pod else "a pod could not be made"
        subject += f", container {self.container}" if self.container else ""
        return f"{subject}: {self.reason}" + (f": {self.message}" if self.message else "")

    @property
    def final(self) -> bool:
        """Whether it can't pass without a change of the workload, its image or its namespace."""
        return self.reason in ("InvalidImageName", "ErrImageNeverPull") or "violates PodSecurity" in self.message

    def __str__(self) -> str:
        return self.line + (f"\n    its log ends with:\n{_indented(self.log)}" if self.log else "")


class Patience:
    """Decides when waiting is useless: a problem is final, or has lasted for `seconds`."""

    def __init__(self, seconds: float, hopeless: Callable[[Problem], bool] | None = None) -> None:
        self._seconds = seconds
        self._hopeless = hopeless or (lambda problem: False)
        self._since: dict[tuple[str, str], float] = {}

    def ended(self, problems: Iterable[Problem], pods: Iterable[Object]) -> bool:
        """Whether there is no use in waiting. A container that runs between two crashes isn't well: it isn't ready."""
        problems, now = list(problems), time.monotonic()
        ready = {(p["metadata"]["name"], c["name"]) for p in pods for c in container_statuses(p) if c.get("ready")}
        for key in set(self._since) - {(p.pod, p.container) for p in problems}:
            if key in ready or not key[1]:
                del self._since[key]
        return any(
            problem.final
            or self._hopeless(problem)
            or now - self._since.setdefault((problem.pod, problem.container), now) >= self._seconds
            for problem in problems
        )


def wait_rollout(
    client: Client,
    kind: str,
    name: str,
    namespace: str,
    *,
    timeout: float = 300.0,
    patience: float = 15.0,
    hopeless: Callable[[Problem], bool] | None = None,
) -> None:
    """Waits until every pod of a workload's current version is ready; a pod that isn't to start again has to end well.

    Raises `StepError` with Kubernetes' reasons after `timeout` seconds, or sooner: at once for what can't pass
    (PodSecurity refuses the pods, and what `hopeless` says of a problem), and after `patience` seconds of what
    hardly does (an image can't be pulled, a container crashes, no node takes a pod). A DaemonSet that no node takes is
    an error, too; to kubectl and Helm it is complete.
    """
    label = f"{kind} {namespace}/{name}"
    limit = Patience(patience, hopeless)
    started, begun = client.now(), time.monotonic()

    def unmet() -> str:
        item = client.get(kind, name, namespace)
        if item is None:
            raise StepError(f"There is no {label}.", hint="Apply the step that makes it.")
        reason = rollout_unmet(item)
        if reason and reason != UNSEEN:
            # A refusal from before may be over: the controller tries again, in its own time.
            since = started if time.monotonic() - begun < patience else None
            blocking = problems(client, item, current=True, since=since)
            ended = item.get("status", {}).get("phase") == "Failed"  # a pod that isn't to start again
            if ended or limit.ended(blocking, pods_of(client, item)):
                raise _failed(label, reason, blocking, namespace)
        return reason

    try:
        client.wait(unmet, client.path("v1", "Pod", namespace), timeout=timeout, what=f"the rollout of {label}")
    except StepError as error:
        item = client.get(kind, name, namespace)
        if item is None or not error.message.startswith("Waited"):
            raise
        raise _failed(label, rollout_unmet(item), problems(client, item, current=True), namespace) from None
    item = client.get(kind, name, namespace)
    if item is not None and runs_nowhere(item):
        nodes = len(client.list("Node"))
        why = f"none of the cluster's {nodes} nodes takes its pods" if nodes else "the cluster has no nodes"
        raise StepError(
            f"{label} runs nowhere: {why}.",
            hint="Add a node that its nodeSelector and tolerations allow (`kubectl get nodes`), then apply again.",
        )


def unwell(client: Client, item: Object) -> str:
    """Why a workload isn't rolled out, or a pod neither ready nor done, in a line; empty if it is."""
    reason = rollout_unmet(item) or ("no node takes its pods" if runs_nowhere(item) else "")
    found = problems(client, item, crashed=True) if reason else ()
    return "; ".join([reason, *(problem.line for problem in found)][:2])


def pods_of(client: Client, item: Object) -> Objects:
    """The pods that a workload selects, by name; a pod itself."""
    if item["kind"] == "Pod":
        return [item]
    return client.list("Pod", item["metadata"].get("namespace", ""), labels=label_selector(item["spec"]["selector"]))


def problems(
    client: Client, item: Object, *, current: bool = False, crashed: bool = False, since: dt.datetime | None = None
) -> Sequence[Problem]:
    """What keeps a workload's pods from being there and ready; with `current`, those of its current version only.

    `crashed` is as in `pod_problems`. Pods that could not be made count if that was after `since`, by the cluster's
    clock. Containers that are stuck are shown with the end of their log, if they ran at all.
    """
    pods = pods_of(client, item)
    if current and item["kind"] in _VERSIONS:
        label, version = _version_of(client, item)
        pods = [pod for pod in pods if pod["metadata"].get("labels", {}).get(label) == version]
    refused = _refusal(client, item, since or dt.datetime.fromtimestamp(0, dt.UTC)) if item["kind"] != "Pod" else None
    found = (problem for pod in pods for problem in pod_problems(client, pod, crashed=crashed))
    return [*([refused] if refused else []), *found]


def _version_of(client: Client, item: Object) -> tuple[str, str]:
    """Name and value of the label that pods of a workload's current version have."""
    kind, label, number = _VERSIONS[item["kind"]]
    meta = item["metadata"]
    made = [
        each
        for each in client.list(
            kind, meta["namespace"], api_version="apps/v1", labels=label_selector(item["spec"]["selector"])
        )
        if any(owner["uid"] == meta["uid"] for owner in each["metadata"].get("ownerReferences", []))
    ]
    newest = max(made, key=number, default=None)
    return label, newest["metadata"]["labels"].get(label, "") if newest else ""


def _refusal(client: Client, item: Object, since: dt.datetime) -> Problem | None:
    """Why a controller can't make a workload's pods, if it can't: admission, quota."""
    second = since.replace(microsecond=0)  # times of conditions and events are in whole seconds
    for condition in item.get("status", {}).get("conditions", []):
        refused = (condition["type"], condition["status"]) == ("ReplicaFailure", "True")
        if refused and dt.datetime.fromisoformat(condition["lastTransitionTime"]) >= second:
            return Problem("", "", condition["reason"], condition["message"])
    status = item.get("status", {})
    if item["kind"] != "DaemonSet" or status.get("currentNumberScheduled", 0) >= status["desiredNumberScheduled"]:
        return None
    uid = item["metadata"]["uid"]  # a DaemonSet has no such condition, only events
    events = client.list("Event", item["metadata"]["namespace"], fields=f"involvedObject.uid={uid}")
    made = [event for event in events if event["reason"] in ("FailedCreate", "SuccessfulCreate")]
    last = max(made, key=lambda event: (event.get("lastTimestamp") or "", event["metadata"]["name"]), default=None)
    if last is None or last["reason"] != "FailedCreate":
        return None
    if last.get("lastTimestamp") and dt.datetime.fromisoformat(last["lastTimestamp"]) <= second:
        return None
    return Problem("", "", last["reason"], last["message"].removeprefix("Error creating: "))


def pod_problems(client: Client, pod: Object, *, crashed: bool = False) -> Sequence[Problem]:
    """What keeps one pod from being ready: no node takes it, or containers are stuck.

    With `crashed`, also a container that runs again after a crash and isn't ready. A wait leaves it time to get ready;
    a status, which looks once, reports it.
    """
    found = [
        Problem(pod["metadata"]["name"], "", condition.get("reason", ""), condition.get("message", ""))
        for condition in pod.get("status", {}).get("conditions", [])
        if (condition["type"], condition["status"]) == ("PodScheduled", "False") and not _node_is_coming(client, pod)
    ]
    for container in container_statuses(pod):
        state = container.get("state", {})
        stuck = state.get("waiting") or state.get("terminated") or {}
        if crashed and not stuck and not container.get("ready"):
            stuck = container.get("lastState", {}).get("terminated") or {}
        exit_code = stuck.get("exitCode", 0)
        if stuck.get("reason") not in _STUCK and not exit_code:
            continue
        found.append(
            Problem(
                pod=pod["metadata"]["name"],
                container=container["name"],
                reason=stuck.get("reason", "Error"),
                message=stuck.get("message", f"exit code {exit_code}" if exit_code else ""),
                log=_last_log(client, pod, container),
            )
        )
    return found


def _node_is_coming(client: Client, pod: Object) -> bool:
    """Whether an autoscaler has said that it makes a node for the pod."""
    meta = pod["metadata"]
    events = client.list("Event", meta["namespace"], fields=f"involvedObject.uid={meta['uid']}")
    return any(event["reason"] in _SCALING for event in events)


def _last_log(client: Client, pod: Object, container: Object) -> str:
    """The end of a container's log, or of the log before its restart; empty if it never ran."""
    ran = container.get("restartCount", 0) or container.get("lastState") or "terminated" in container["state"]
    if not ran:
        return ""
    meta = pod["metadata"]
    for previous in (False, True):
        try:
            text = client.pod_log(
                meta["name"], meta["namespace"], container=container["name"], tail=5, previous=previous
            )
        except KubernetesError:
            continue
        if text.strip():
            return text
    return ""


def _failed(label: str, reason: str, problems: Sequence[Problem], namespace: str) -> StepError:
    why = "".join(f"\n  {problem}" for problem in problems)
    hint = f"Correct it and apply again. `kubectl get pods,events -n {namespace}` shows more."
    did = "end" if label.startswith("Pod ") else "roll out"
    return StepError(f"{label} did not {did}: {reason}.{why}", hint=hint)


def _indented(text: str) -> str:
    return "\n".join(f"      {line}" for line in text.rstrip("\n").splitlines())
