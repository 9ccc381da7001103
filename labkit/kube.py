"""Kubernetes for people who know kubectl: plain objects in, plain objects out, over the official client's connection.

The official client brings the kubeconfig, TLS and credentials (and renews them); requests are made on its connection
pool with objects as dictionaries, because importing and validating its thousand models costs more than the requests.
"""

from __future__ import annotations

import datetime as dt
import email.utils
import json
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from labkit.calls import near, shortened, shown
from labkit.errors import ExecError, Hint, StepError, StoppedError, TargetError, UnreachableError, reading_yaml
from labkit.files import read_text
from labkit.show import counted

Object = dict[str, Any]
Objects = list[Object]

FIELD_MANAGER = "labkit"
HELD_SECONDS = 10.0
"""How long finalizers may keep an object that is being deleted until that is an error."""
OURS = {"app.kubernetes.io/managed-by": "labkit"}
"""The label on every object the lab makes."""
WORKSHOP = {"app.kubernetes.io/part-of": "falco-workshop"}
"""The label in the workshop's manifests: also on objects that a person made from them with kubectl."""

# What has to exist before what: the order in which Helm installs, as far as the workshop's kinds go.
ORDER = (
    "Namespace",
    "NetworkPolicy",
    "ResourceQuota",
    "ServiceAccount",
    "Secret",
    "ConfigMap",
    "CustomResourceDefinition",
    "ClusterRole",
    "ClusterRoleBinding",
    "Role",
    "RoleBinding",
    "Service",
    "DaemonSet",
    "Pod",
    "ReplicaSet",
    "Deployment",
    "StatefulSet",
    "Job",
)

# kubectl's short names for what a command can be run in.
WORKLOADS = {
    "po": "Pod",
    "pod": "Pod",
    "pods": "Pod",
    "deploy": "Deployment",
    "deployment": "Deployment",
    "deployments": "Deployment",
    "ds": "DaemonSet",
    "daemonset": "DaemonSet",
    "daemonsets": "DaemonSet",
    "sts": "StatefulSet",
    "statefulset": "StatefulSet",
    "rs": "ReplicaSet",
    "replicaset": "ReplicaSet",
}
_NAME = re.compile(r"[A-Za-z0-9]([-.:\w]{0,251}[A-Za-z0-9])?", re.ASCII)
_API_VERSIONS = {"Pod": "v1", "Deployment": "apps/v1", "DaemonSet": "apps/v1", "StatefulSet": "apps/v1"}
_API_VERSIONS["ReplicaSet"] = "apps/v1"

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


class KubernetesError(StepError):
    """The API server refused a request. `status` is the HTTP status, `reason` Kubernetes' word (`NotFound`...)."""

    def __init__(self, message: str, *, status: int, reason: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.reason = reason


@dataclass(frozen=True)
class Ran:
    """Where a command ran, and from when to when (UTC, by the cluster's clock)."""

    argv: tuple[str, ...]
    namespace: str
    pod: str
    container: str
    started: dt.datetime
    ended: dt.datetime


@dataclass(frozen=True)
class ExecResult:
    """What a command in a pod printed, and how it ended. With a terminal, everything is in `stdout`."""

    stdout: str
    stderr: str
    exit_code: int
    ran: Ran | None = field(default=None, compare=False)
    """Where and when."""

    def __str__(self) -> str:
        return self.stdout + self.stderr

    def __repr__(self) -> str:
        """In a notebook: what a terminal would show, and the exit code if it isn't 0."""
        shown = (self.stdout + self.stderr).replace("\r\n", "\n").rstrip("\n")
        if self.exit_code:
            shown += f"\n(exit code {self.exit_code})"
        return shown.strip("\n") or "(no output)"


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
        where = f"pod {self.pod}" if self.pod else "a pod could not be made"
        where += f", container {self.container}" if self.container else ""
        return f"{where}: {self.reason}" + (f": {self.message}" if self.message else "")

    @property
    def final(self) -> bool:
        """Whether it can't pass without a change of the workload, its image or its namespace."""
        return self.reason in ("InvalidImageName", "ErrImageNeverPull") or "violates PodSecurity" in self.message

    def __str__(self) -> str:
        return self.line + (f"\n    its log ends with:\n{_indented(self.log)}" if self.log else "")


class Patience:
    """Tells problems that have lasted too long, and those that can't pass, from those that may."""

    def __init__(self, seconds: float, hopeless: Callable[[Problem], bool] | None = None) -> None:
        self._seconds = seconds
        self._hopeless = hopeless or (lambda problem: False)
        self._since: dict[tuple[str, str], float] = {}

    def ended(self, problems: Iterable[Problem], pods: Iterable[Object]) -> bool:
        """Whether there is no use in waiting. A container that runs between two crashes isn't well: it isn't ready."""
        problems, now = list(problems), time.monotonic()
        ready = {(p["metadata"]["name"], c["name"]) for p in pods for c in _statuses(p) if c.get("ready")}
        for key in set(self._since) - {(p.pod, p.container) for p in problems}:
            if key in ready or not key[1]:
                del self._since[key]
        return any(
            problem.final
            or self._hopeless(problem)
            or now - self._since.setdefault((problem.pod, problem.container), now) >= self._seconds
            for problem in problems
        )


class Kube:
    """One cluster. Raises `KubernetesError` for what the API server refuses, `TargetError` if it can't be reached."""

    def __init__(
        self,
        *,
        kubeconfig: Path | None = None,
        context: str = "",
        hint: Hint = "",
        before: Callable[[], None] = lambda: None,
    ) -> None:
        """`hint` is what to do if the cluster doesn't answer. `before` is called before each request, and may raise."""
        self.kubeconfig = kubeconfig
        self.context = context
        self._hint = hint or "Check the kubeconfig and its context: `kubectl cluster-info`."
        self._before = before
        self._skew = dt.timedelta()
        self._resources: dict[str, dict[str, tuple[str, bool]]] = {}

    @cached_property
    def client(self) -> Any:
        """The official client's `ApiClient`, for `kubernetes.client.CoreV1Api(lab.kube.client)` and the like."""
        from kubernetes import config
        from kubernetes.config import ConfigException

        # The client looks at KUBECONFIG once, when it is imported; a notebook may set it later.
        file = self.kubeconfig or os.environ.get("KUBECONFIG") or None
        try:
            client = config.new_client_from_config(
                config_file=str(file) if file else None, context=self.context or None
            )
        except (ConfigException, OSError) as error:
            raise TargetError(f"The kubeconfig can't be used: {error}", hint=self._hint) from error
        client.user_agent = "labkit"
        return client

    @cached_property
    def core(self) -> Any:
        """The official client's `CoreV1Api`: pods, nodes, config maps and the like, as typed objects."""
        from kubernetes.client import CoreV1Api

        return CoreV1Api(self.client)

    # Requests

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        content_type: str = "application/json",
        timeout: float = 30.0,
    ) -> Any:
        """The parsed answer to one request; text if it isn't JSON."""
        sent = dt.datetime.now(dt.UTC)
        response = self._open(method, path, query=query, body=body, content_type=content_type, timeout=timeout)
        data = response.data
        self._note_clock(response.headers.get("Date"), sent)
        if response.status >= 400:
            raise _refused(response.status, data, method, path)
        if "json" in response.headers.get("Content-Type", ""):
            return json.loads(data)
        return data.decode("utf-8", "replace")

    def _open(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        content_type: str = "application/json",
        timeout: float = 30.0,
        stream: bool = False,
    ) -> Any:
        import urllib3

        self._before()
        configuration = self.client.configuration
        url = configuration.host + path + (f"?{urlencode(query, doseq=True)}" if query else "")
        headers = {"Accept": "application/json", "User-Agent": "labkit", **self._authorization()}
        if body is not None:
            headers["Content-Type"] = content_type
        try:
            return self.client.rest_client.pool_manager.request(
                method,
                url,
                body=None if body is None else json.dumps(body),
                headers=headers,
                preload_content=not stream,
                # A request that never reached the server may be sent again; others are the caller's to repeat.
                retries=urllib3.Retry(total=3, connect=2, read=0, redirect=0, status=0, backoff_factor=0.1),
                timeout=urllib3.Timeout(connect=5.0, read=timeout),
            )
        except urllib3.exceptions.HTTPError as error:
            raise self._unreachable(error) from error

    def _authorization(self) -> dict[str, str]:
        auth = self.client.configuration.auth_settings().get("BearerToken")
        return {auth["key"]: auth["value"]} if auth and auth["value"] else {}

    def _unreachable(self, error: Exception) -> TargetError:
        host = self.client.configuration.host
        said = f"The Kubernetes API at {host} does not answer ({_root_cause(error)})."
        return UnreachableError(said, service="Kubernetes", hint=self._hint)

    def _note_clock(self, date: str | None, sent: dt.datetime) -> None:
        if date:
            # The header is cut to whole seconds, so the server's clock showed some time in this one second.
            earliest = email.utils.parsedate_to_datetime(date)
            received = dt.datetime.now(dt.UTC)
            agrees = earliest <= received and sent < earliest + dt.timedelta(seconds=1)
            self._skew = dt.timedelta() if agrees else earliest - received

    def now(self) -> dt.datetime:
        """The time (UTC) by the cluster's clock, so that alerts can be told from older ones when clocks differ."""
        return dt.datetime.now(dt.UTC) + self._skew

    # Objects

    def path(self, api_version: str, kind: str, namespace: str = "", name: str = "") -> str:
        """The URL path of a kind's collection, or of one object."""
        plural, namespaced = self._resource(api_version, kind)
        base = f"/api/{api_version}" if "/" not in api_version else f"/apis/{api_version}"
        if namespaced and (namespace or name):
            base += f"/namespaces/{quote(namespace or 'default', safe='')}"
        return f"{base}/{plural}" + (f"/{quote(name, safe=':')}" if name else "")

    def _resource(self, api_version: str, kind: str) -> tuple[str, bool]:
        if api_version not in self._resources:
            base = f"/api/{api_version}" if "/" not in api_version else f"/apis/{api_version}"
            listed = self.request("GET", base)
            self._resources[api_version] = {
                item["kind"]: (item["name"], item["namespaced"])
                for item in listed["resources"]
                if "/" not in item["name"]
            }
        try:
            return self._resources[api_version][kind]
        except KeyError:
            raise KubernetesError(
                f"The cluster knows no {kind} in {api_version}.", status=404, reason="NotFound"
            ) from None

    def get(self, kind: str, name: str, namespace: str = "", *, api_version: str = "") -> Object | None:
        """The object, or None if there is none. `namespace` defaults to `default` for kinds that have one."""
        try:
            found: Object = self.request(
                "GET", self.path(api_version or _API_VERSIONS.get(kind, "v1"), kind, namespace, name)
            )
        except KubernetesError as error:
            if error.status == 404:
                return None
            raise
        return found

    def list(
        self, kind: str, namespace: str = "", *, api_version: str = "", labels: str = "", fields: str = ""
    ) -> Objects:
        """Objects of a kind, in one namespace or all, sorted by namespace and name."""
        query = {
            key: value for key, value in (("labelSelector", labels), ("fieldSelector", fields), ("limit", 500)) if value
        }
        path = self.path(api_version or _API_VERSIONS.get(kind, "v1"), kind, namespace)
        items: Objects = []
        while True:
            page = self.request("GET", path, query=query)
            items += page["items"]
            following = page["metadata"].get("continue")
            if not following:
                break
            query["continue"] = following
        return sorted(items, key=lambda o: (o["metadata"].get("namespace", ""), o["metadata"]["name"]))

    def find(self, item: Object) -> Object | None:
        """The cluster's version of an object, or None."""
        meta = item["metadata"]
        return self.get(item["kind"], meta["name"], meta.get("namespace", ""), api_version=item["apiVersion"])

    def apply_one(self, item: Object) -> str:
        """Server-side apply of one object; tells what it did: `created`, `updated` or `unchanged`."""
        before = self.find(item)
        after = self._patch(item)
        if before is None:
            return "created"
        return "unchanged" if _wanted(before) == _wanted(after) else "updated"

    def would_change(self, item: Object) -> bool:
        """Whether applying would change more than the labels of an object that is there, as the API server tells."""
        try:
            return _substance(self.find(item) or {}) != _substance(self._patch(item, dryRun="All"))
        except KubernetesError as error:
            if error.status != 422:  # it would change what can't be changed
                raise
            return True

    def _patch(self, item: Object, **query: str) -> Object:
        meta = item["metadata"]
        after: Object = self.request(
            "PATCH",
            self.path(item["apiVersion"], item["kind"], meta.get("namespace", ""), meta["name"]),
            query={"fieldManager": FIELD_MANAGER, "force": "true", **query},
            body=item,
            content_type="application/apply-patch+yaml",
        )
        return after

    def apply(self, objects: Iterable[Object]) -> Sequence[tuple[Object, str]]:
        """Applies objects in dependency order; each with what happened to it."""
        return [(item, self.apply_one(item)) for item in in_order(objects)]

    def delete_one(self, item: Object, *, timeout: float = 60.0) -> bool:
        """Deletes an object and waits until it and its pods are gone. False if it wasn't there."""
        meta = item["metadata"]
        path = self.path(item["apiVersion"], item["kind"], meta.get("namespace", ""), meta["name"])
        current = self.find(item)
        if current is None:
            return False
        try:
            self.request("DELETE", path, query={"propagationPolicy": "Background"})
        except KubernetesError as error:
            if error.status != 404:
                raise
        self.wait_gone(current, timeout=timeout)
        return True

    def wait_gone(self, last: Object, *, timeout: float = 60.0) -> None:
        """Waits until an object that is being deleted is gone, and its pods; `last` is the object as it was.

        Raises `StepError` after `timeout` seconds, or when finalizers or a namespace's contents have held it for
        `HELD_SECONDS`.
        """
        meta, kind = last["metadata"], last["kind"]
        selector = last.get("spec", {}).get("selector", {})
        labels = label_selector(selector) if kind in set(WORKLOADS.values()) - {"Pod"} else ""
        namespace = meta.get("namespace", "default")
        label = f"{kind} {meta['name']}"
        held_since = time.monotonic()

        def left() -> str:
            nonlocal held_since
            found = self.find(last)
            if found is not None and found["metadata"].get("uid") == meta.get("uid"):
                held = _held(found)
                if not held:
                    held_since = time.monotonic()
                elif time.monotonic() - held_since >= HELD_SECONDS:
                    where = f" -n {namespace}" if "namespace" in meta else ""
                    raise StepError(
                        f"{label} is being deleted, but does not go: {held}.",
                        hint=f"`kubectl get {kind.lower()} {meta['name']}{where} -o yaml` says what it waits for: "
                        "see to that, or remove the finalizer; then run this again.",
                    )
                return f"{label} is still being deleted" + (f" ({held})" if held else "")
            pods = self.list("Pod", namespace, labels=labels) if labels else []
            return f"{len(pods)} of its pods still end" if pods else ""

        watched = self.path("v1", "Pod", namespace) if labels else self.path(last["apiVersion"], kind, namespace)
        self.wait(left, watched, timeout=timeout, what=f"{label} to be gone")

    def delete(self, objects: Iterable[Object]) -> Objects:
        """Deletes objects in reverse dependency order; returns those that were there."""
        return [item for item in reversed(in_order(objects)) if self.delete_one(item)]

    def restart(self, kind: str, name: str, namespace: str) -> None:
        """What `kubectl rollout restart` does: new pods, one after another."""
        now = dt.datetime.now(dt.UTC).isoformat(timespec="microseconds")
        template = {"metadata": {"annotations": {"kubectl.kubernetes.io/restartedAt": now}}}
        self.request(
            "PATCH",
            self.path(_API_VERSIONS[kind], kind, namespace, name),
            query={"fieldManager": "labkit-restart"},
            body={"spec": {"template": template}},
            content_type="application/strategic-merge-patch+json",
        )

    # Waiting

    def wait(self, unmet: Any, path: str, *, timeout: float, what: str) -> None:
        """Waits until `unmet()` returns an empty string; looks again whenever something at `path` changes.

        Raises `StepError` with the last thing `unmet()` said after `timeout` seconds.
        """
        deadline = time.monotonic() + timeout
        try:
            while True:
                version = self._version(path)
                reason = unmet()
                if not reason:
                    return
                left = deadline - time.monotonic()
                if left <= 0:
                    break
                self._until_change(path, version, min(left, 2.0))
        except KeyboardInterrupt:
            raise StoppedError(f"Stopped waiting for {what}.", hint="Run it again to go on waiting.") from None
        raise StepError(f"Waited {timeout:g} s for {what}: {reason}.", hint="Run it again to keep waiting.")

    def _version(self, path: str) -> str:
        """A collection's resource version: changes after it are what a watch from it reports."""
        found: str = self.request("GET", path, query={"limit": 1})["metadata"]["resourceVersion"]
        return found

    def _until_change(self, path: str, version: str, seconds: float) -> None:
        import urllib3

        query = {"watch": "true", "resourceVersion": version, "timeoutSeconds": max(1, round(seconds))}
        response = self._open("GET", path, query=query, stream=True, timeout=seconds + 5)
        try:
            response.read(1)
        except urllib3.exceptions.HTTPError:
            pass  # the watch ended without a change
        finally:
            response.close()

    def wait_rollout(
        self,
        kind: str,
        name: str,
        namespace: str,
        *,
        timeout: float = 300.0,
        patience: float = 15.0,
        placed: bool = True,
        hopeless: Callable[[Problem], bool] | None = None,
    ) -> None:
        """Waits until every pod of a workload's current version is ready.

        Raises `StepError` with Kubernetes' reasons after `timeout` seconds, or sooner: at once for what can't pass
        (PodSecurity refuses the pods, and what `hopeless` says of a problem), and after `patience` seconds of what
        hardly does (an image can't be pulled, a container crashes, no node takes a pod). With `placed`, a DaemonSet
        that no node takes is an error, too; to kubectl and Helm it is complete.
        """
        label = f"{kind} {namespace}/{name}"
        limit = Patience(patience, hopeless)
        started, begun = self.now(), time.monotonic()

        def unmet() -> str:
            item = self.get(kind, name, namespace)
            if item is None:
                raise StepError(f"There is no {label}.", hint="Apply the step that makes it.")
            reason = rollout_unmet(item)
            if reason and reason != _UNSEEN:
                # A refusal from before may be over: the controller tries again, in its own time.
                since = started if time.monotonic() - begun < patience else None
                problems = self.problems(item, current=True, since=since)
                if limit.ended(problems, self.pods_of(item)):
                    raise _rollout_failed(label, reason, problems, namespace)
            return reason

        try:
            self.wait(unmet, self.path("v1", "Pod", namespace), timeout=timeout, what=f"the rollout of {label}")
        except StepError as error:
            item = self.get(kind, name, namespace)
            if item is None or not error.message.startswith("Waited"):
                raise
            raise _rollout_failed(label, rollout_unmet(item), self.problems(item, current=True), namespace) from None
        item = self.get(kind, name, namespace)
        if placed and item is not None and _nowhere(item):
            nodes = len(self.list("Node"))
            why = f"none of the cluster's {nodes} nodes takes its pods" if nodes else "the cluster has no nodes"
            raise StepError(
                f"{label} runs nowhere: {why}.",
                hint="Add a node that its nodeSelector and tolerations allow (`kubectl get nodes`), then apply again.",
            )

    def unwell(self, item: Object) -> str:
        """Why a workload isn't rolled out, or a pod neither ready nor done, in a line; empty if it is."""
        if item["kind"] == "Pod":
            phase = item.get("status", {}).get("phase", "Pending")
            if phase == "Succeeded" or is_ready(item):
                return ""
            return "; ".join([f"its phase is {phase}", *(problem.line for problem in self.pod_problems(item))][:2])
        reason = rollout_unmet(item) or ("no node takes its pods" if _nowhere(item) else "")
        return "; ".join([reason, *(problem.line for problem in self.problems(item))][:2]) if reason else ""

    def pods_of(self, item: Object) -> Objects:
        """The pods that a workload selects, by name."""
        return self.list("Pod", item["metadata"].get("namespace", ""), labels=label_selector(item["spec"]["selector"]))

    def problems(self, item: Object, *, current: bool = False, since: dt.datetime | None = None) -> Sequence[Problem]:
        """What keeps a workload's pods from being there and ready; with `current`, those of its current version only.

        Pods that could not be made count if that was after `since`, by the cluster's clock. Containers that are stuck
        are shown with the end of their log, if they ran at all.
        """
        pods = self.pods_of(item)
        if current and item["kind"] in _VERSIONS:
            label, version = self._version_of(item)
            pods = [pod for pod in pods if pod["metadata"].get("labels", {}).get(label) == version]
        refused = self._refusal(item, since or dt.datetime.fromtimestamp(0, dt.UTC))
        return [*([refused] if refused else []), *(problem for pod in pods for problem in self.pod_problems(pod))]

    def _version_of(self, item: Object) -> tuple[str, str]:
        """Name and value of the label that pods of a workload's current version have."""
        kind, label, number = _VERSIONS[item["kind"]]
        meta = item["metadata"]
        made = [
            each
            for each in self.list(
                kind, meta["namespace"], api_version="apps/v1", labels=label_selector(item["spec"]["selector"])
            )
            if any(owner["uid"] == meta["uid"] for owner in each["metadata"].get("ownerReferences", []))
        ]
        newest = max(made, key=number, default=None)
        return label, newest["metadata"]["labels"].get(label, "") if newest else ""

    def _refusal(self, item: Object, since: dt.datetime) -> Problem | None:
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
        events = self.list("Event", item["metadata"]["namespace"], fields=f"involvedObject.uid={uid}")
        made = [event for event in events if event["reason"] in ("FailedCreate", "SuccessfulCreate")]
        last = max(made, key=lambda event: (event.get("lastTimestamp") or "", event["metadata"]["name"]), default=None)
        if last is None or last["reason"] != "FailedCreate":
            return None
        if last.get("lastTimestamp") and dt.datetime.fromisoformat(last["lastTimestamp"]) <= second:
            return None
        return Problem("", "", last["reason"], last["message"].removeprefix("Error creating: "))

    def pod_problems(self, pod: Object) -> Sequence[Problem]:
        """What keeps one pod from being ready: no node takes it, or containers are stuck."""
        found = [
            Problem(pod["metadata"]["name"], "", condition.get("reason", ""), condition.get("message", ""))
            for condition in pod.get("status", {}).get("conditions", [])
            if (condition["type"], condition["status"]) == ("PodScheduled", "False") and not self._node_is_coming(pod)
        ]
        for container in _statuses(pod):
            state = container.get("state", {})
            stuck = state.get("waiting") or state.get("terminated") or {}
            exit_code = stuck.get("exitCode", 0)
            if stuck.get("reason") not in _STUCK and not exit_code:
                continue
            found.append(
                Problem(
                    pod=pod["metadata"]["name"],
                    container=container["name"],
                    reason=stuck.get("reason", "Error"),
                    message=stuck.get("message", f"exit code {exit_code}" if exit_code else ""),
                    log=self._last_log(pod, container),
                )
            )
        return found

    def _node_is_coming(self, pod: Object) -> bool:
        """Whether an autoscaler has said that it makes a node for the pod."""
        meta = pod["metadata"]
        events = self.list("Event", meta["namespace"], fields=f"involvedObject.uid={meta['uid']}")
        return any(event["reason"] in _SCALING for event in events)

    def _last_log(self, pod: Object, container: Object) -> str:
        ran = container.get("restartCount", 0) or container.get("lastState") or "terminated" in container["state"]
        if not ran:
            return ""
        meta = pod["metadata"]
        for previous in (False, True):
            try:
                text = self.logs(
                    meta["name"], meta["namespace"], container=container["name"], tail=5, previous=previous
                )
            except KubernetesError:
                continue
            if text.strip():
                return text
        return ""

    # Pods

    def logs(
        self,
        target: str,
        namespace: str = "default",
        *,
        container: str = "",
        tail: int | None = None,
        since: dt.datetime | None = None,
        previous: bool = False,
    ) -> str:
        """What a container printed, or the end of it: the last `tail` lines, what came after `since`.

        `target` is a pod or anything else that `resolve` takes.
        """
        if "/" in target:
            meta = self.resolve(target, namespace=namespace)["metadata"]
            target, namespace = meta["name"], meta["namespace"]
        query = {
            "container": container,
            "tailLines": tail,
            "sinceTime": since.astimezone(dt.UTC).isoformat().replace("+00:00", "Z") if since else None,
            "previous": "true" if previous else None,
        }
        path = self.path("v1", "Pod", namespace, target) + "/log"
        text = self.request("GET", path, query={key: value for key, value in query.items() if value})
        return text if isinstance(text, str) else json.dumps(text)

    def events(self, namespace: str) -> Objects:
        """Events of a namespace, oldest first."""
        return sorted(self.list("Event", namespace), key=lambda e: e.get("lastTimestamp") or e.get("eventTime") or "")

    def resolve(self, target: str, *, namespace: str = "default") -> Object:
        """The pod that `target` means: `deploy/nginx`, `ds/falco`, `pod/x`, `namespace/pod`, or a bare name.

        A bare name is a pod, or else a workload. Of a workload's pods it is the first by name that is ready. Raises
        `ExecError` if there is none.
        """
        parts = target.split("/")
        if len(parts) == 3 or (len(parts) == 2 and parts[0].lower() not in WORKLOADS):
            namespace, parts = parts[0], parts[1:]
        if len(parts) > 2 or not all(map(_NAME.fullmatch, (*parts, namespace))):
            raise ExecError(f"{shown(target)} names no pod.", hint="Write deploy/NAME, ds/NAME, POD or NAMESPACE/POD.")
        name = parts[-1]
        kinds = [WORKLOADS[parts[0].lower()]] if len(parts) == 2 and parts[0].lower() in WORKLOADS else []
        if len(parts) == 2 and not kinds:
            raise ExecError(f"{shown(parts[0])} is no kind of workload.", hint="Use deploy, ds, sts, rs or pod.")
        for kind in kinds or ["Pod", "Deployment", "DaemonSet", "StatefulSet"]:
            item = self.get(kind, name, namespace)
            if item is None:
                continue
            if kind == "Pod":
                return item
            pods = self.pods_of(item)
            ready = [pod for pod in pods if is_ready(pod)]
            if ready:
                return ready[0]
            problems = "; ".join(str(problem) for problem in self.problems(item))
            raise ExecError(
                f"No pod of {kind} {namespace}/{name} is ready{f': {problems}' if problems else ''}.",
                hint=f"Look at `kubectl get pods -n {namespace}`; wait for the rollout, or apply the step again.",
            )
        names = [pod["metadata"]["name"] for pod in self.list("Pod", namespace)]
        if not names and len(parts) == 1 and self.get("Namespace", namespace) is None:
            others = [item["metadata"]["name"] for item in self.list("Namespace")]
            raise ExecError(
                f"There is no namespace {namespace}, and no kind of workload of that name.",
                hint=f"{near(namespace, others, cutoff=0.7)}Write deploy/NAME, ds/NAME, POD or NAMESPACE/POD.",
            )
        there = f"Pods there: {', '.join(names[:10])}." if names else "There are no pods there."
        listed = ["Deployment", "DaemonSet", *([] if names else ["Namespace"])]
        others = [*names, *(item["metadata"]["name"] for kind in listed for item in self.list(kind, namespace))]
        others = [other for other in others if other not in (name, namespace)]
        raise ExecError(
            f"Namespace {namespace} has no {name}. {there}",
            hint=f"{near(name, others) or near(namespace, others, cutoff=0.7)}Check the name; the workshop's pods come "
            "with `labkit apply nginx falco fluent-bit`.",
        )

    def exec(
        self,
        target: str,
        argv: Sequence[str],
        *,
        namespace: str = "default",
        container: str = "",
        tty: bool = False,
        stdin: str | bytes | None = None,
        timeout: float = 60.0,
    ) -> ExecResult:
        """Runs a command in a container of a pod, by default its first, and returns when it has ended.

        `target` is a pod or anything else that `resolve` takes. `tty` makes the API server's side allocate a terminal,
        whether or not this process has one. `stdin` is sent, then closed. Raises `ExecError` if the command can't be
        started or doesn't end within `timeout` seconds.
        """
        pod = self.resolve(target, namespace=namespace)
        name, namespace = pod["metadata"]["name"], pod["metadata"]["namespace"]
        containers = [one["name"] for one in pod["spec"]["containers"]]
        if container and container not in containers:
            raise ExecError(
                f"Pod {name} has no container {shown(container)}.",
                hint=f"{near(container, containers)}There are: {', '.join(containers)}.",
            )
        container = container or containers[0]
        query: dict[str, Any] = {"command": list(argv), "stdout": "true", "stderr": "false" if tty else "true"}
        query |= {"tty": "true"} if tty else {}
        query |= {"stdin": "true"} if stdin is not None or tty else {}
        query |= {"container": container}
        path = f"{self.path('v1', 'Pod', namespace, name)}/exec?{urlencode(query, doseq=True)}"
        started = self.now()
        result = self._run_exec(path, argv, stdin=stdin, tty=tty, timeout=timeout)
        return replace(result, ran=Ran(tuple(argv), namespace, name, container, started, self.now()))

    def _run_exec(
        self, path: str, argv: Sequence[str], *, stdin: str | bytes | None, tty: bool, timeout: float
    ) -> ExecResult:
        from kubernetes.stream.ws_client import get_websocket_url
        from websocket import WebSocketBadStatusException, WebSocketException, WebSocketTimeoutException

        from labkit.kube_exec import MAX_OUTPUT, OutputTooLarge, exchange

        configuration = self.client.configuration
        data = stdin.encode() if isinstance(stdin, str) else stdin
        if tty:  # at a terminal the end of input is a character (Ctrl-D) on a line of its own; a pipe is closed
            data = data or b""
            data += b"\x04" if not data or data.endswith(b"\n") else b"\n\x04"
        command = " ".join(argv)
        try:
            found = exchange(
                configuration,
                get_websocket_url(configuration.host + path),
                self._authorization(),
                stdin=data,
                close=not tty,
                timeout=timeout,
            )
            status = json.loads(found.status or b"{}")
        except WebSocketBadStatusException as error:
            raise _exec_refused(error, argv) from error
        except (TimeoutError, WebSocketTimeoutException):
            raise ExecError(
                f"`{command}` was still running after {timeout:.0f} s.",
                hint="Give it an end (an argument, input on stdin), or a longer timeout.",
            ) from None
        except OutputTooLarge:
            raise ExecError(
                f"`{command}` printed more than {MAX_OUTPUT // 1024**2} MB, and was stopped.",
                hint="Let it print less, for example with `| head`.",
            ) from None
        except KeyboardInterrupt:
            raise StoppedError(f"Stopped `{command}`.", hint="It may still be running in the pod.") from None
        except (OSError, WebSocketException) as error:
            raise self._unreachable(error) from error
        out, err = found.stdout, found.stderr
        return ExecResult(out.decode("utf-8", "replace"), err.decode("utf-8", "replace"), _exit_code(status, argv))


def in_order(objects: Iterable[Object]) -> Objects:
    """Objects in the order in which they can be created; unknown kinds come last."""
    rank = {kind: index for index, kind in enumerate(ORDER)}
    return sorted(objects, key=lambda item: rank.get(item["kind"], len(ORDER)))


def _wanted(item: Object) -> Object:
    """What people and tools ask for in an object, without what the cluster notes down on its own."""
    noted = ("resourceVersion", "generation", "managedFields")
    metadata = {key: value for key, value in item["metadata"].items() if key not in noted}
    return {**{key: value for key, value in item.items() if key != "status"}, "metadata": metadata}


def _substance(item: Object) -> Object:
    """What an object does: all but its status and what merely describes it."""
    annotations = item.get("metadata", {}).get("annotations") or {}
    return {key: value for key, value in item.items() if key not in ("status", "metadata")} | {
        "annotations": annotations
    }


def carries(item: Object | None, labels: Mapping[str, str]) -> bool:
    """Whether an object is there and has these labels."""
    found = (item or {}).get("metadata", {}).get("labels") or {}
    return all(found.get(key) == value for key, value in labels.items())


def load_objects(paths: Iterable[Path]) -> Iterator[Object]:
    """The objects in YAML files (each may hold several) and in all `*.yaml` of folders, by file name."""
    import yaml

    for path in paths:
        for file in sorted(path.glob("*.yaml")) if path.is_dir() else [path]:
            try:
                with reading_yaml(file, StepError):  # in Python: libyaml's loader dies of what is nested too deeply
                    documents = list(yaml.safe_load_all(read_text(file)))
            except OSError as error:
                raise StepError(
                    f"{file} can't be read: {error.strerror}.",
                    hint="Run from the workshop's folder, or set LABKIT_ROOT.",
                ) from error
            for document in documents:
                if isinstance(document, dict) and {"apiVersion", "kind", "metadata"} <= document.keys():
                    yield document
                elif document is not None:
                    raise StepError(
                        f"{file} holds something that is no Kubernetes object.",
                        hint="Each document needs `apiVersion`, `kind` and `metadata`.",
                    )


def label_selector(selector: Mapping[str, Any]) -> str:
    """A workload's `spec.selector` as the text that list requests take."""
    labels = selector.get("matchLabels", {})
    return ",".join(f"{key}={value}" for key, value in sorted(labels.items()))


def is_ready(pod: Object) -> bool:
    conditions = pod.get("status", {}).get("conditions", [])
    ready = any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
    return ready and "deletionTimestamp" not in pod["metadata"]


def _statuses(pod: Object) -> Objects:
    status = pod.get("status", {})
    return [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]


def _held(item: Object) -> str:
    """What keeps an object that is being deleted: its finalizers, or what is left in a namespace."""
    finalizers = [f for f in item["metadata"].get("finalizers", []) if f not in ("foregroundDeletion", "orphan")]
    said = [f"finalizer {finalizer}" for finalizer in finalizers]
    if item["kind"] == "Namespace":
        said += [
            condition["message"]
            for condition in item.get("status", {}).get("conditions", [])
            if condition["status"] == "True" and condition["type"] in _NAMESPACE_HELD
        ]
    return "; ".join(said)


def _nowhere(item: Object) -> bool:
    return item["kind"] == "DaemonSet" and not item.get("status", {}).get("desiredNumberScheduled", 0)


_NAMESPACE_HELD = (
    "NamespaceFinalizersRemaining",
    "NamespaceDeletionContentFailure",
    "NamespaceDeletionDiscoveryFailure",
)
_SCALING = {"TriggeredScaleUp", "Nominated"}  # Cluster Autoscaler and Karpenter
_UNSEEN = "the controller hasn't seen the change yet"
# Of a workload's kind: what keeps its versions, the label that pods of a version have, and the version's number.
_VERSIONS: Mapping[str, tuple[str, str, Callable[[Object], int]]] = {
    "DaemonSet": ("ControllerRevision", "controller-revision-hash", lambda made: int(made["revision"])),
    "Deployment": (
        "ReplicaSet",
        "pod-template-hash",
        lambda made: int(made["metadata"].get("annotations", {}).get("deployment.kubernetes.io/revision", 0)),
    ),
}


def rollout_unmet(item: Object) -> str:
    """What a workload's rollout still waits for, in kubectl's terms; empty when it is complete."""
    status = item.get("status", {})
    if status.get("observedGeneration", 0) < item["metadata"].get("generation", 0):
        return _UNSEEN
    if item["kind"] == "DaemonSet":
        wanted, updated = status.get("desiredNumberScheduled", 0), status.get("updatedNumberScheduled", 0)
        ready, total = status.get("numberReady", 0), wanted
    else:
        wanted, updated = item["spec"].get("replicas", 1), status.get("updatedReplicas", 0)
        ready, total = status.get("readyReplicas", 0), status.get("replicas", 0)
    if updated < wanted:
        return f"{updated} of {wanted} pods have been updated"
    if total > wanted:
        return f"{counted(total - wanted, 'old pod')} still to end"
    if ready < wanted:
        return f"{ready} of {wanted} pods are ready"
    return ""


def _rollout_failed(label: str, reason: str, problems: Sequence[Problem], namespace: str) -> StepError:
    why = "".join(f"\n  {problem}" for problem in problems)
    hint = f"Correct it and apply again. `kubectl get pods,events -n {namespace}` shows more."
    return StepError(f"{label} did not roll out: {reason}.{why}", hint=hint)


def _refused(status: int, data: bytes, method: str, path: str) -> KubernetesError:
    try:
        document = json.loads(data)
    except ValueError:
        document = {}
    said = document.get("message") or data.decode("utf-8", "replace").strip()[:300] or f"HTTP {status}"
    reason = document.get("reason", "")
    hints = {
        401: "The cluster doesn't accept these credentials: get new ones, then `Lab.connect()` again.",
        403: "This identity may not do that: ask for the permission, or use another kubeconfig context.",
        404: "Apply the step that makes it first: `lab.status()` (or `labkit status`) shows the steps.",
    }
    return KubernetesError(
        f"Kubernetes refused {method} {path}: {said}", status=status, reason=reason, hint=hints.get(status, "")
    )


def _exec_refused(error: Any, argv: Sequence[str]) -> ExecError:
    body = error.resp_body or b""
    try:
        said = json.loads(body)["message"]
    except (ValueError, KeyError, TypeError):
        said = body.decode("utf-8", "replace").strip() or str(error)
    return ExecError(
        f"`{shortened(' '.join(argv))}` could not be run: {said}", hint="Check the pod, the container and its state."
    )


def _exit_code(status: Object, argv: Sequence[str]) -> int:
    """The exit code in the Status object that ends an exec."""
    if status.get("status") == "Success":
        return 0
    for cause in (status.get("details") or {}).get("causes", []):
        if cause.get("reason") == "ExitCode":
            return int(cause["message"])
    said = status.get("message", "the connection ended without a status")
    raise ExecError(
        f"`{shortened(' '.join(argv))}` could not be run: {said}", hint="Is the program in the image? Try `ls /bin`."
    )


def _root_cause(error: BaseException) -> str:
    reason = getattr(error, "reason", None)
    if isinstance(reason, BaseException):
        return _root_cause(reason)
    text = str(reason or error)
    return text.rsplit(": ", 1)[-1] if "Errno" in text else text


def _indented(text: str) -> str:
    return "\n".join(f"      {line}" for line in text.rstrip("\n").splitlines())
