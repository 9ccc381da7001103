"""Kubernetes for people who know kubectl: pods by workload, logs, commands in containers, rollouts."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlencode

from labkit.calls import near, short_repr
from labkit.errors import ExecError
from labkit.kube import rollout
from labkit.kube.client import Client, KubernetesError
from labkit.kube.exec import ExecResult, NoProgramError, Ran, run
from labkit.kube.objects import WORKLOADS, Object, is_ready

__all__ = ["ExecResult", "Kube", "KubernetesError", "Object", "Place", "Ran"]

_NAME = re.compile(r"[A-Za-z0-9]([-.:\w]{0,251}[A-Za-z0-9])?", re.ASCII)


@dataclass(frozen=True)
class Place:
    """A container of a pod, and the names of the pod's other containers."""

    namespace: str
    pod: str
    container: str
    others: tuple[str, ...] = ()


class Kube(Client):
    """One cluster. Raises `KubernetesError` for what the API server refuses, `TargetError` if it can't be reached."""

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
        return self.pod_log(target, namespace, container=container, tail=tail, since=since, previous=previous)

    def resolve(self, target: str, *, namespace: str = "default") -> Object:
        """The pod that `target` means: `deploy/nginx`, `ds/falco`, `pod/x`, `namespace/pod`, or a bare name.

        A bare name is a pod, or else a workload. Of a workload's pods it is the first by name that is ready. Raises
        `ExecError` if there is none.
        """
        parts = target.split("/")
        if len(parts) == 3 or (len(parts) == 2 and parts[0].lower() not in WORKLOADS):
            namespace, parts = parts[0], parts[1:]
        if len(parts) > 2 or not all(map(_NAME.fullmatch, (*parts, namespace))):
            raise ExecError(
                f"{short_repr(target)} names no pod.", hint="Write deploy/NAME, ds/NAME, POD or NAMESPACE/POD."
            )
        name = parts[-1]
        kinds = [WORKLOADS[parts[0].lower()]] if len(parts) == 2 and parts[0].lower() in WORKLOADS else []
        if len(parts) == 2 and not kinds:
            raise ExecError(f"{short_repr(parts[0])} is no kind of workload.", hint="Use deploy, ds, sts, rs or pod.")
        for kind in kinds or ["Pod", "Deployment", "DaemonSet", "StatefulSet"]:
            try:
                item = self.get(kind, name, namespace)
            except KubernetesError as error:
                if error.status != 403 or kinds:  # of kinds that were only guessed, some may not be looked at
                    raise
                item = None
            if item is None:
                continue
            if kind == "Pod":
                return item
            pods = rollout.pods_of(self, item)
            ready = [pod for pod in pods if is_ready(pod)]
            if ready:
                return ready[0]
            problems = "; ".join(str(problem) for problem in rollout.problems(self, item))
            raise ExecError(
                f"No pod of {kind} {namespace}/{name} is ready{f': {problems}' if problems else ''}.",
                hint=f"Look at `kubectl get pods -n {namespace}`; wait for the rollout, or apply the step again.",
            )
        names = [pod["metadata"]["name"] for pod in self.list("Pod", namespace)]
        if not names and len(parts) == 1 and self.get("Namespace", namespace) is None:
            others = self._names("Namespace", namespace)
            raise ExecError(
                f"There is no namespace {namespace}, and no kind of workload of that name.",
                hint=f"{near(namespace, others, cutoff=0.7)}Write deploy/NAME, ds/NAME, POD or NAMESPACE/POD.",
            )
        there = f"Pods there: {', '.join(names[:10])}." if names else "There are no pods there."
        listed = ["Deployment", "DaemonSet", *([] if names else ["Namespace"])]
        others = [*names, *(other for kind in listed for other in self._names(kind, namespace))]
        others = [other for other in others if other not in (name, namespace)]
        raise ExecError(
            f"Namespace {namespace} has no {name}. {there}",
            hint=f"{near(name, others) or near(namespace, others, cutoff=0.7)}Check the name; the workshop's pods come "
            'with lab.ensure("nginx", "falco", "fluent-bit").',
        )

    def _names(self, kind: str, namespace: str) -> list[str]:
        """Names for a hint: none of a kind that the caller may not list."""
        try:
            return [item["metadata"]["name"] for item in self.list(kind, namespace)]
        except KubernetesError as error:
            if error.status != 403:
                raise
            return []

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
        place = self.place(target, namespace, container)
        path = self._exec_path(place, argv, tty=tty, stdin=stdin is not None or tty)
        started = self.now()
        result = run(self, path, argv, stdin=stdin, tty=tty, timeout=timeout)
        return replace(result, ran=Ran(tuple(argv), place.namespace, place.pod, place.container, started, self.now()))

    def shell(
        self, place: Place, argv: Sequence[str] = (), *, tty: bool, greeting: Callable[[], None] = lambda: None
    ) -> int:
        """Runs a command, or else bash or sh, with this process's input and output; its exit code.

        `tty` makes it a session in this process's terminal. `greeting` is called before the first output. Raises
        `ExecError` if the command can't be started or the connection is lost, `Terminated` at SIGTERM and SIGHUP.
        """
        from labkit.kube.terminal import attach

        for program in [argv] if argv else [["bash"], ["sh"]]:
            path = self._exec_path(place, program, tty=tty, stdin=True)
            try:
                return attach(self, path, program, tty=tty, greeting=greeting)
            except NoProgramError:
                if argv:
                    raise
        raise ExecError(
            f"Container {place.container} of pod {place.pod} has no shell: its image has neither bash nor sh.",
            hint="Name a program that it has (`labkit shell POD -- PROGRAM`), or bring a shell along: `kubectl debug "
            f"-it -n {place.namespace} {place.pod} --image=busybox --target={place.container}`.",
        )

    def place(self, target: str, namespace: str = "default", container: str = "") -> Place:
        """The container in which a command is to run, by default kubectl's choice: the pod's annotated or first one.

        `target` is what `resolve` takes. Raises `ExecError` if the pod or the container isn't there.
        """
        pod = self.resolve(target, namespace=namespace)
        meta, spec = pod["metadata"], pod["spec"]
        containers = [one["name"] for one in spec["containers"]]
        others = [one["name"] for kind in ("initContainers", "ephemeralContainers") for one in spec.get(kind) or []]
        if container and container not in [*containers, *others]:
            raise ExecError(
                f"Pod {meta['name']} has no container {short_repr(container)}.",
                hint=f"{near(container, containers)}There are: {', '.join(containers)}.",
            )
        marked = (meta.get("annotations") or {}).get("kubectl.kubernetes.io/default-container")
        container = container or (str(marked) if marked in containers else containers[0])
        return Place(meta["namespace"], meta["name"], container, tuple(c for c in containers if c != container))

    def _exec_path(self, place: Place, argv: Sequence[str], *, tty: bool, stdin: bool) -> str:
        query: dict[str, Any] = {"command": list(argv), "stdout": "true", "stderr": "false" if tty else "true"}
        query |= {"tty": "true"} if tty else {}
        query |= {"stdin": "true"} if stdin else {}
        query |= {"container": place.container}
        return f"{self.path('v1', 'Pod', place.namespace, place.pod)}/exec?{urlencode(query, doseq=True)}"
