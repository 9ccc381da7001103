"""Rollouts of workloads: waits until all pods are ready, and finds why they aren't.

Kubernetes says it in many places: conditions, container statuses and events of pods, conditions of their nodes, events
of controllers, logs. `problems` gathers what they say, and `labkit.causes` has what it means.
"""

from __future__ import annotations

import datetime as dt
import itertools
import math
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property

from labkit.causes import PATIENCE, Cause, cause
from labkit.errors import StepError
from labkit.kube.client import Client, KubernetesError
from labkit.kube.objects import (
    UNSEEN,
    Object,
    Objects,
    container_statuses,
    held_by,
    is_ready,
    label_selector,
    rollout_unmet,
    runs_nowhere,
)
from labkit.show import counted, say

_STARTING = {"", "ContainerCreating", "PodInitializing"}
"""What a container waits for in the ordinary course of things; any other reason means that it is stuck."""
_SCALING = {"TriggeredScaleUp", "Nominated"}  # Cluster Autoscaler and Karpenter
# Events that say why a container doesn't start, or isn't ready.
_BEFORE_START = {
    *("FailedMount", "FailedAttachVolume", "FailedMapVolume", "FailedCreatePodSandBox", "NetworkNotReady"),
    *("FailedPodSandBoxStatus", "FailedCreatePodContainer"),
}
_UNHEALTHY = {"Unhealthy", "ProbeWarning"}
_DOUBT = 2.0
"""Seconds that a pod may take to start before its events are read."""
_EPOCH = dt.datetime.fromtimestamp(0, dt.UTC)
_AGAIN = "falco-workshop/tried-again"
_EARLIEST = "1970-01-01T00:00:00Z"
_OVERDUE = 10.0
"""Seconds after its grace period that a pod may take to end."""
_LOG_LINES, _SHOWN_LINES = 40, 5
_EXAMINED = 5
"""Pods whose events and logs are read in one look; those of a workload mostly have the same problem."""
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
    """The end of the container's log."""
    ended: str = ""
    """How the container ended last, such as `OOMKilled, exit code 137`; or what an event adds to the message."""
    namespace: str = field(default="", compare=False)
    node: str = field(default="", compare=False)

    @property
    def line(self) -> str:
        subject = f"pod {self.pod}" if self.pod else "a pod could not be made" if self.reason == "FailedCreate" else ""
        subject += f", container {self.container}" if self.container else ""
        said = f"{self.reason}: {self.message}" if self.message else self.reason
        return (f"{subject}: {said}" if subject else said) + (f" ({self.ended})" if self.ended else "")

    @cached_property
    def cause(self) -> Cause | None:
        """What is wrong and how to mend it, where that is known."""
        names = {"namespace": self.namespace, "pod": self.pod, "container": self.container, "node": self.node}
        text = "\n".join(filter(None, (self.message, self.ended, self.log)))
        return cause("pod" if self.pod else "refusal", text, self.reason, **names)

    @property
    def final(self) -> bool:
        """Whether it can't pass without a change of the workload, its image or its namespace."""
        return self.cause is not None and self.cause.ends == "now"

    def __str__(self) -> str:
        if not self.log:
            return self.line
        shown = self.log.rstrip("\n").splitlines()[-_SHOWN_LINES:]
        return f"{self.line}\n    its log ends with:\n" + "\n".join(f"      {line}" for line in shown)


class Patience:
    """Decides when waiting is useless: a problem can't pass, or has lasted as long as its cause may (`seconds`)."""

    def __init__(self, seconds: float, hopeless: Callable[[Problem], bool] | None = None) -> None:
        self._seconds = seconds
        self._hopeless = hopeless or (lambda problem: False)
        self._since: dict[tuple[str, str], float] = {}

    def ended(self, problems: Iterable[Problem], pods: Iterable[Object]) -> bool:
        """Whether there is no use in waiting. A container that runs between two crashes isn't well: it isn't ready."""
        problems, now = list(problems), time.monotonic()
        ready = {(p["metadata"]["name"], c["name"]) for p in pods for c in container_statuses(p) if c.get("ready")}
        problems = [problem for problem in problems if self._allowed(problem) < math.inf]
        for key in set(self._since) - {(p.pod, p.container) for p in problems}:
            if key in ready or not key[1]:
                del self._since[key]
        return any(
            self._hopeless(problem)
            or now - self._since.setdefault((problem.pod, problem.container), now) >= self._allowed(problem)
            for problem in problems
        )

    def _allowed(self, problem: Problem) -> float:
        return self._seconds * PATIENCE[problem.cause.ends if problem.cause else "soon"]


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

    Raises `StepError` with Kubernetes' reasons, what they mean and what to do, after `timeout` seconds, or sooner: at
    once for what can't pass (PodSecurity refuses the pods, Falco can't load its probe, what `hopeless` says of a
    problem), and after `patience` seconds, or four times as long, of what hardly does (an image can't be pulled, a
    container crashes, no node takes a pod, a node doesn't answer); `labkit.causes` says which. Meanwhile the wait shows
    what is wrong. A DaemonSet that no node takes is an error, too; to kubectl and Helm it is complete.
    """
    label = f"{kind} {namespace}/{name}"
    limit = Patience(patience, hopeless)
    started, begun = client.now(), time.monotonic()
    first: Object | None = None

    def unmet() -> str:
        nonlocal first
        item = client.get(kind, name, namespace)
        if item is None:
            if first is not None:
                hint = "Another person or program did it; apply the step again."
                raise StepError(f"{label} was deleted while it was waited for.", hint=hint)
            raise StepError(f"There is no {label}.", hint="Apply the step that makes it.")
        if first is None:
            first = item
            _try_again(client, item, started)
        if replaced := _superseded(first, item):
            raise StepError(
                f"{label} was changed while its rollout was waited for, by {replaced}: this rollout is superseded.",
                hint="Agree on who changes it (another attendee, GitOps, an operator), then apply the step again.",
            )
        reason = rollout_unmet(item)
        if not reason or reason == UNSEEN:
            return reason
        # A refusal from before may be over: the controller tries again, in its own time.
        since = started if time.monotonic() - begun < patience else None
        blocking = problems(client, item, current=True, since=since)
        ended = item.get("status", {}).get("phase") == "Failed"  # a pod that isn't to start again
        if ended or limit.ended(blocking, pods_of(client, item)):
            raise _failed(label, reason, blocking, namespace)
        causes = [problem.cause.what if problem.cause else problem.line for problem in blocking]
        return "; ".join([reason, *causes[:1]])

    try:
        client.wait(unmet, client.path("v1", "Pod", namespace), timeout=timeout, what=f"the rollout of {label}")
    except StepError as error:
        if not error.message.startswith("Waited"):
            raise
        item = client.get(kind, name, namespace)
        if item is None:
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
    if item is not None and (left_out := _left_out(client, item)):
        say(f"{label} is rolled out, but not everywhere: {left_out}.")


def _left_out(client: Client, item: Object) -> str:
    """The nodes that aren't ready, and so count as none of a DaemonSet's, with why; empty if there are none."""
    if item["kind"] != "DaemonSet":
        return ""
    try:
        nodes = client.list("Node")
    except KubernetesError:  # an attendee may see no nodes
        return ""
    found = [_unready_node(node) for node in nodes if not is_ready(node)]
    return "; ".join(message for _, message in found[:3])


def _superseded(first: Object, now: Object) -> str:
    """Who has changed what a workload's pods are made from since a wait for them began; empty if that is the same."""
    if now["metadata"].get("uid") == first["metadata"].get("uid") and first["spec"].get("template") == now["spec"].get(
        "template"
    ):
        return ""
    if now["kind"] == "Pod" and now["metadata"].get("uid") == first["metadata"].get("uid"):
        return ""
    before = first["metadata"].get("managedFields", [])
    entries = [
        e for e in now["metadata"].get("managedFields", []) if e.get("subresource") != "status" and e not in before
    ]
    newest: Object = max(entries, key=lambda entry: entry.get("time", ""), default={})
    return f"{newest['manager']} at {newest.get('time', '?')}" if newest.get("manager") else "another program"


def unwell(client: Client, item: Object) -> str:
    """Why a workload isn't rolled out, or a pod neither ready nor done, in a line; empty if it is."""
    reason = rollout_unmet(item) or ("no node takes its pods" if runs_nowhere(item) else _left_out(client, item))
    found = problems(client, item, crashed=True) if reason else ()
    lines = (f"{p.cause.what} {p.line}" if p.cause and p.cause.what else p.line for p in found)
    return "; ".join(itertools.islice((reason, *lines), 2))


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
    leaving: Objects = []
    if current and item["kind"] in _VERSIONS:
        label, version = _version_of(client, item)
        old = [pod for pod in pods if pod["metadata"].get("labels", {}).get(label) != version]
        leaving = [pod for pod in old if pod["metadata"].get("deletionTimestamp")]
        pods = [pod for pod in pods if pod not in old]
    found: list[Problem] = []
    if item["kind"] != "Pod":
        since = since or _EPOCH
        found += filter(None, (_refusal(client, item, since), _held_up(item, since)))
    examined = 0
    for pod in pods:
        of_pod = pod_problems(client, pod, crashed=crashed, briefly=examined >= _EXAMINED)
        examined += bool(of_pod)
        found += of_pod
    return [*found, *(problem for pod in leaving for problem in _overdue(client, pod))]


def _held_up(item: Object, since: dt.datetime) -> Problem | None:
    """Why a controller doesn't go on with a workload's rollout: its deadline has passed, it is paused or manual."""
    namespace, spec, status = item["metadata"].get("namespace", ""), item["spec"], item.get("status", {})
    if spec.get("paused"):
        return Problem("", "", "Paused", "the rollout is paused (spec.paused)", namespace=namespace)
    if (spec.get("updateStrategy") or {}).get("type") == "OnDelete":
        wanted, updated = status.get("desiredNumberScheduled", 0), status.get("updatedNumberScheduled", 0)
        if updated < wanted:
            return Problem("", "", "OnDelete", "its updateStrategy is OnDelete", namespace=namespace)
    for condition in status.get("conditions", []):
        late = (condition["type"], condition["status"]) == ("Progressing", "False")
        changed = condition.get("lastUpdateTime") or condition["lastTransitionTime"]
        if late and dt.datetime.fromisoformat(changed) >= since.replace(microsecond=0):
            return Problem("", "", condition["reason"], condition["message"], namespace=namespace)
    return None


def _overdue(client: Client, pod: Object) -> Sequence[Problem]:
    """Why a pod that is being deleted is still there: its node doesn't answer, or its grace period ended long ago."""
    meta, node = pod["metadata"], pod["spec"].get("nodeName", "")
    if node and (silent := _node_problem(client, node)):
        return [Problem(meta["name"], "", *silent, namespace=meta["namespace"], node=node)]
    due = dt.datetime.fromisoformat(meta["deletionTimestamp"])
    if (client.now() - due).total_seconds() < _OVERDUE:
        return []
    held = held_by(pod)
    message = held or f"its grace period ended at {meta['deletionTimestamp']}"
    return [Problem(meta["name"], "", "Terminating", message, namespace=meta["namespace"], node=node)]


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
        if refused and (
            dt.datetime.fromisoformat(condition["lastTransitionTime"]) >= second
            or _refused_again(client, item, condition["message"], second)
        ):
            said = condition["message"].removeprefix("Error creating: ")
            return Problem("", "", condition["reason"], said, namespace=item["metadata"]["namespace"])
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
    said = last["message"].removeprefix("Error creating: ")
    return Problem("", "", last["reason"], said, namespace=item["metadata"]["namespace"])


def _try_again(client: Client, item: Object, since: dt.datetime) -> None:
    """Has the controller make pods now that were refused before `since`.

    After some refusals it would wait for minutes, though what refused them is mended: a change of the workload ends it.
    """
    if item["kind"] not in _VERSIONS or _refusal(client, item, since) or not _refusal(client, item, _EPOCH):
        return
    meta = item["metadata"]
    note = {"metadata": {"annotations": {_AGAIN: since.isoformat(timespec="seconds")}}}
    with suppress(KubernetesError):  # the wait goes on in any case
        client.request(
            "PATCH",
            client.path("apps/v1", item["kind"], meta["namespace"], meta["name"]),
            body=note,
            content_type="application/merge-patch+json",
        )


def _refused_again(client: Client, item: Object, message: str, since: dt.datetime) -> bool:
    """Whether a pod of a Deployment was refused after `since`, too: the condition has the time of the first refusal."""
    meta = item["metadata"]
    events = client.list("Event", meta["namespace"], fields="reason=FailedCreate,involvedObject.kind=ReplicaSet")
    return any(
        event["involvedObject"]["name"].startswith(f"{meta['name']}-")
        and event["message"].removeprefix("Error creating: ") == message
        and dt.datetime.fromisoformat(event.get("lastTimestamp") or _EARLIEST) > since
        for event in events
    )


def pod_problems(client: Client, pod: Object, *, crashed: bool = False, briefly: bool = False) -> Sequence[Problem]:
    """What keeps one pod from being ready: no node takes it, its node or its containers are stuck.

    With `crashed`, also a container that runs again after a crash and isn't ready. A wait leaves it time to get ready;
    a status, which looks once, reports it. `briefly`: without what takes further requests (events, nodes, logs).
    """
    meta, status = pod["metadata"], pod.get("status", {})
    node = pod.get("spec", {}).get("nodeName", "")

    def problem(reason: str, message: str, container: str = "", log: str = "", ended: str = "") -> Problem:
        return Problem(meta["name"], container, reason, message, log, ended, meta.get("namespace", ""), node)

    conditions = {condition["type"]: condition for condition in status.get("conditions", [])}
    placed = conditions.get("PodScheduled", {})
    if placed.get("status") == "False":
        coming = "" if briefly else _node_is_coming(client, pod)
        return [problem(placed.get("reason", ""), placed.get("message", ""), ended=coming)]
    if status.get("reason") and status.get("phase") == "Failed":  # Evicted, NodeAffinity, OutOfcpu...
        return [problem(status["reason"], status.get("message", ""))]
    if (disrupted := conditions.get("DisruptionTarget", {})).get("status") == "True" and "deletionTimestamp" in meta:
        return [problem(disrupted.get("reason", ""), disrupted.get("message", ""))]
    found = []
    starting = False
    for container in container_statuses(pod):
        state = container.get("state", {})
        stuck = state.get("waiting") or state.get("terminated") or {}
        if crashed and not stuck and not container.get("ready"):
            stuck = container.get("lastState", {}).get("terminated") or {}
        exit_code, reason = stuck.get("exitCode", 0), stuck.get("reason", "")
        if "waiting" in state and reason in _STARTING:
            starting = True
            continue
        if not exit_code and ("waiting" not in state or not reason):
            continue
        message = stuck.get("message", f"exit code {exit_code}" if exit_code else "")
        ended = _ended(container) if "waiting" in state else ""
        if not ended and reason.startswith("ImagePullBackOff") and ": " not in message and not briefly:
            ended = _said(client, pod, {"Failed"}, "Failed to pull image")
        log = "" if briefly else _last_log(client, pod, container)
        found.append(problem(reason or "Error", message, container["name"], log, ended))
    if found and not briefly:
        found = [_with_probe(client, pod, one) for one in found]
    if found or briefly or is_ready(pod) or status.get("phase") == "Succeeded":
        return found
    if node and (silent := _node_problem(client, node)):
        return [problem(*silent)]
    if "deletionTimestamp" in meta:
        return []
    if starting or not status.get("containerStatuses"):
        if _age(client, pod) >= _DOUBT and (said := _said_of(client, pod, _BEFORE_START)):
            return [problem(*said)]
        return []
    return [
        problem("NotReady", _said(client, pod, _UNHEALTHY, "", one["name"]), one["name"])
        for one in container_statuses(pod)
        if "running" in one.get("state", {}) and not one.get("ready") and _age(client, pod) >= _DOUBT
    ]


def _ended(container: Object) -> str:
    """How a container ended last, e.g. `OOMKilled, exit code 137`; empty if it never ran."""
    last = container.get("lastState", {}).get("terminated") or {}
    if not last:
        return ""
    reason = "" if last.get("reason") in (None, "Error", "Completed") else f"{last['reason']}, "
    said = f": {last['message'].strip()}" if last.get("message") else ""
    return f"{reason}exit code {last.get('exitCode', 0)}{said}"


def _with_probe(client: Client, pod: Object, problem: Problem) -> Problem:
    """The problem of a container that ends again and again, with the probe that made the kubelet end it, if so."""
    if problem.reason != "CrashLoopBackOff" or "OOMKilled" in problem.ended:
        return problem
    killed = _said(client, pod, {"Killing"}, " probe, will be restarted", problem.container)
    if not killed:
        return problem
    failed = _said(client, pod, _UNHEALTHY, "Readiness", problem.container, without=True)
    return replace(problem, ended="; ".join(filter(None, (problem.ended, killed, failed))))


def _age(client: Client, pod: Object) -> float:
    """Seconds since the kubelet saw the pod, by the cluster's clock."""
    started = pod.get("status", {}).get("startTime") or pod["metadata"].get("creationTimestamp")
    return (client.now() - dt.datetime.fromisoformat(started)).total_seconds() if started else float("inf")


def _node_problem(client: Client, name: str) -> tuple[str, str] | None:
    """Reason and message, if the node of a pod isn't ready or isn't there."""
    try:
        node = client.get("Node", name)
    except KubernetesError:  # an attendee may see no nodes
        return None
    if node is None:
        return "NodeGone", f"there is no node {name} any more"
    return None if is_ready(node) else _unready_node(node)


def _unready_node(node: Object) -> tuple[str, str]:
    """Reason and message of a node that isn't ready."""
    name = node["metadata"]["name"]
    for condition in node.get("status", {}).get("conditions", []):
        if condition["type"] == "Ready" and condition["status"] != "True":
            said = f"{condition.get('reason', '')}: {condition.get('message', '')}"
            return (
                "NodeNotReady",
                f"node {name} is {'not ready' if condition['status'] == 'False' else 'unknown'}, {said}",
            )
    return "NodeNotReady", f"node {name} is being deleted"


def _events(client: Client, pod: Object) -> Objects:
    """A pod's events, the last one last; none if they may not be read."""
    meta = pod["metadata"]
    try:
        events = client.list("Event", meta["namespace"], fields=f"involvedObject.uid={meta.get('uid', '')}")
    except KubernetesError:
        return []
    return sorted(events, key=lambda event: event.get("lastTimestamp") or event.get("eventTime") or "")


def _said_of(client: Client, pod: Object, reasons: set[str]) -> tuple[str, str] | None:
    """Reason and message of the last event of a pod with one of the reasons."""
    found = [event for event in _events(client, pod) if event["reason"] in reasons]
    return (found[-1]["reason"], found[-1]["message"]) if found else None


def _said(
    client: Client, pod: Object, reasons: set[str], part: str, container: str = "", *, without: bool = False
) -> str:
    """The message of the last such event whose message has `part` (or hasn't, `without`), of a container."""
    path = re.compile(rf"\{{{re.escape(container)}\}}$")
    found = [
        event["message"]
        for event in _events(client, pod)
        if event["reason"] in reasons
        and (part in event["message"]) != without
        and (not container or path.search(event.get("involvedObject", {}).get("fieldPath", "{" + container + "}")))
    ]
    return str(found[-1]).strip() if found else ""


def _node_is_coming(client: Client, pod: Object) -> str:
    """What an autoscaler has said of the node that it makes for the pod; empty if it has said nothing."""
    found = [event for event in _events(client, pod) if event["reason"] in _SCALING]
    return f"{found[-1]['reason']}: {found[-1]['message']}" if found else ""


def _last_log(client: Client, pod: Object, container: Object) -> str:
    """The end of a container's log, or of the log before its restart; empty if it never ran."""
    ran = container.get("restartCount", 0) or container.get("lastState") or "terminated" in container["state"]
    if not ran:
        return ""
    meta = pod["metadata"]
    for previous in (False, True):
        try:
            text = client.pod_log(
                meta["name"], meta["namespace"], container=container["name"], tail=_LOG_LINES, previous=previous
            )
        except KubernetesError:
            continue
        if text.strip():
            return text
    return ""


def _failed(label: str, reason: str, problems: Sequence[Problem], namespace: str) -> StepError:
    """The error of a rollout: all that Kubernetes says, each thing once, then what it means and what to do."""
    alike: dict[tuple[str, str, str], list[Problem]] = {}
    for problem in problems:
        name = problem.cause.name if problem.cause else problem.message
        alike.setdefault((problem.container, problem.reason, name), []).append(problem)
    why = ""
    for first, *others in alike.values():
        more = f" (and {counted(len(others), 'pod')} more)" if others else ""
        head, _, tail = str(first).partition("\n")
        why += f"\n  {head}{more}" + (f"\n{tail}" if tail else "")
    causes = list({p.cause.name: p.cause for p in problems if p.cause and p.cause.what}.values())
    meaning = "".join(f"\n  What is wrong: {one.what}" for one in causes[:2])
    shows = f"`kubectl get pods,events -n {namespace}` shows more."
    hint = " ".join([one.mend for one in causes[:2]] or [f"Correct it and apply again. {shows}"])
    did = "end" if label.startswith("Pod ") else "roll out"
    return StepError(f"{label} did not {did}: {reason}.{why}{meaning}", hint=hint)
