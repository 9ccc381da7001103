"""The kubelet: pods bound to its node become containers, and what becomes of these becomes the pods' status."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ekslab import names
from ekslab.identity import ServiceAccountIssuer
from ekslab.kubernetes import resources as r
from ekslab.kubernetes.environment import ConfigError, environment, expand
from ekslab.kubernetes.events import Recorder
from ekslab.kubernetes.probes import Probe, ProbeFailure
from ekslab.kubernetes.registry import Registry
from ekslab.kubernetes.resources import Object, name_of, namespace_of
from ekslab.kubernetes.scheduling import quantity
from ekslab.kubernetes.seed import node_address
from ekslab.kubernetes.store import Change
from ekslab.kubernetes.timestamps import rfc3339
from ekslab.kubernetes.volumes import MountError, Volumes
from ekslab.node import Container, ContainerSpec, ImagePullError, Node, OciError
from ekslab.node.limits import NODE_MEMORY

_log = logging.getLogger(__name__)

# A cluster waits 10 s, 20 s ... 5 min; here the same happens fast enough to watch.
_BACKOFF_FIRST, _BACKOFF_MAX = 1.0, 30.0
_BACKOFF_RESET = 600.0
_MOUNT_RETRY = 1.0


@dataclass
class _ContainerState:
    """What the kubelet knows of one container of a pod, over all its restarts."""

    spec: Object
    current: Container | None = None
    previous: Container | None = None
    state: Object = field(default_factory=lambda: {"waiting": {"reason": "ContainerCreating"}})
    last_state: Object = field(default_factory=dict)
    restarts: int = 0
    ready: bool = False
    started: bool = False
    backoff: float = 0.0
    done: bool = False

    @property
    def name(self) -> str:
        return str(self.spec["name"])


class Kubelet:
    """Runs the pods of one node. `clock` gives seconds since the epoch."""

    def __init__(
        self, node: Node, registry: Registry, issuer: ServiceAccountIssuer, clock: Callable[[], float]
    ) -> None:
        self.node = node
        self.ip = node_address(node)
        self.registry = registry
        self.issuer = issuer
        self.clock = clock
        self.recorder = Recorder(registry, "kubelet", node.name)
        self.images: set[str] = set()
        self._workers: dict[str, _PodWorker] = {}
        self._addresses: dict[str, str] = {}
        self._unsubscribe: Callable[[], None] | None = None
        self._tasks: set[asyncio.Task[Any]] = set()

    def start(self) -> None:
        """Begins to watch for pods bound to the node."""
        self._unsubscribe = self.registry.store.subscribe(self._on_change)
        for pod in self.registry.store.list(r.PODS):
            self._sync(pod)

    async def stop(self) -> None:
        """Kills every container; nothing more is reported to the API."""
        if self._unsubscribe:
            self._unsubscribe()
        await asyncio.gather(*(worker.kill() for worker in tuple(self._workers.values())), return_exceptions=True)
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def container(self, pod: Object, name: str) -> Container | None:
        """The running (or last) container of that name."""
        state = self._state(pod, name)
        return state.current if state else None

    def previous(self, pod: Object, name: str) -> Container | None:
        """The container before the last restart."""
        state = self._state(pod, name)
        return state.previous if state else None

    def _state(self, pod: Object, name: str) -> _ContainerState | None:
        worker = self._workers.get(pod["metadata"]["uid"])
        return worker.find(name) if worker else None

    def spawn(self, coroutine: Any) -> asyncio.Task[Any]:
        """Runs a coroutine for as long as the kubelet lives; a failure of it is logged."""
        task: asyncio.Task[Any] = asyncio.ensure_future(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._finished)
        return task

    def _finished(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("kubelet of %s: %r", self.node.name, error, exc_info=error)

    def address_for(self, pod: Object) -> str:
        """The pod's IP: the node's own, or one of its subnet that depends on the pod and not on who came first."""
        if pod["spec"].get("hostNetwork"):
            return self.ip
        prefix = self.ip.rpartition(".")[0]
        taken = set(self._addresses.values())
        first = names.digest("pod-ip", pod["metadata"]["uid"])[0]
        for step in range(250):
            candidate = f"{prefix}.{(first + step) % 250 + 4}"
            if candidate not in taken and candidate != self.ip:
                self._addresses[pod["metadata"]["uid"]] = candidate
                return candidate
        raise MountError(f"no free address left in the subnet of {self.node.name}")

    def forget(self, uid: str) -> None:
        """The pod with that uid is gone from the node."""
        self._workers.pop(uid, None)
        self._addresses.pop(uid, None)

    def refresh_volumes(self) -> None:
        """Renews service account tokens that are near their end."""
        for worker in self._workers.values():
            worker.refresh_volumes()

    def _on_change(self, change: Change) -> None:
        if change.resource is r.PODS:
            if change.type == "DELETED":
                worker = self._workers.get(change.object["metadata"]["uid"])
                if worker is not None:
                    self.spawn(worker.kill())
            else:
                self._sync(change.object)
        elif change.resource in (r.CONFIG_MAPS, r.SECRETS):
            for worker in tuple(self._workers.values()):
                if namespace_of(worker.pod) == namespace_of(change.object):
                    worker.refresh_volumes()

    def _sync(self, pod: Object) -> None:
        if pod["spec"].get("nodeName") != self.node.name:
            return
        uid = pod["metadata"]["uid"]
        worker = self._workers.get(uid)
        if worker is None:
            if pod.get("status", {}).get("phase") in ("Succeeded", "Failed"):
                return
            worker = self._workers[uid] = _PodWorker(self, pod)
            self.spawn(worker.run())
        worker.update(pod)


class _PodWorker:
    """One pod on its node, from its binding to its end."""

    def __init__(self, kubelet: Kubelet, pod: Object) -> None:
        self.kubelet = kubelet
        self.pod = pod
        self._volumes = Volumes(pod, kubelet.registry.store, kubelet.issuer, kubelet.node.filesystem, kubelet.clock)
        self._init = [_ContainerState(spec) for spec in pod["spec"].get("initContainers") or ()]
        self._main = [_ContainerState(spec) for spec in pod["spec"]["containers"]]
        if self._init:
            for state in (*self._init, *self._main):
                state.state = {"waiting": {"reason": "PodInitializing"}}
        self._ip = ""
        self._started_at = rfc3339(kubelet.clock())
        self._initialized = not self._init
        self._mounted = False
        self._stopping = asyncio.Event()
        self._ended = asyncio.Event()
        self._changed = asyncio.Event()
        self._terminating = False
        self._sandbox = names.hex_id(64, "sandbox", pod["metadata"]["uid"])

    # What others see and do

    def find(self, name: str) -> _ContainerState | None:
        return next((state for state in (*self._init, *self._main) if state.name == name), None)

    def update(self, pod: Object) -> None:
        """The pod's object changed: maybe it is to end, maybe its image or labels are others."""
        before, self.pod = self.pod, pod
        metadata = pod["metadata"]
        if metadata.get("deletionTimestamp"):
            if not self._terminating:
                self._terminating = True
                self.kubelet.spawn(self._terminate(float(metadata.get("deletionGracePeriodSeconds", 30))))
            return
        if before["metadata"] is not metadata and _labels_of(before) != _labels_of(pod):
            self.refresh_volumes()
        for state in self._main:
            new = next(c for c in pod["spec"]["containers"] if c["name"] == state.name)
            if new["image"] != state.spec["image"]:
                state.spec = new
                if state.current is not None and state.current.state == "running":
                    message = f"Container {state.name} definition changed, will be restarted"
                    self._event("Killing", message, state)
                    self.kubelet.spawn(self.kubelet.node.runtime.stop(state.current, self._grace))

    def refresh_volumes(self) -> None:
        if self._mounted:
            self._volumes.refresh(self.pod)

    @property
    def _grace(self) -> float:
        return float(self.pod["spec"].get("terminationGracePeriodSeconds", 30))

    async def kill(self) -> None:
        """Ends everything at once: the pod's object is gone already."""
        self._terminating = True
        await self._stop_containers(0.0)
        await self._clean_up()

    # Life of the pod

    async def run(self) -> None:
        try:
            await self._run()
        finally:
            self._ended.set()

    async def _run(self) -> None:
        self._ip = self.kubelet.address_for(self.pod)
        self._publish()
        if not await self._mount():
            return
        sidecars = []
        for state in self._init:
            if state.spec.get("restartPolicy") == "Always":
                sidecars.append(self.kubelet.spawn(self._supervise(state, "Always")))
                await self._sidecar_started(state)
                continue
            policy = "OnFailure" if self._policy == "Always" else self._policy
            await self._supervise(state, policy)
            if self._stopping.is_set():
                break
            terminated = state.state.get("terminated")
            if not terminated or terminated["exitCode"] != 0:
                await self._end_sidecars(sidecars)
                self._publish(phase="Failed")
                return
            state.ready = True
        if not self._stopping.is_set():
            self._initialized = True
            await asyncio.gather(*(self._supervise(state, self._policy) for state in self._main))
        await self._end_sidecars(sidecars)
        if not self._terminating:
            failed = any((s.state.get("terminated") or {}).get("exitCode", 0) != 0 for s in self._main)
            self._publish(phase="Failed" if failed else "Succeeded")

    async def _sidecar_started(self, state: _ContainerState) -> None:
        """Waits until a container that runs beside the others is up."""
        while not state.started and not self._stopping.is_set():
            await self._changed.wait()

    async def _end_sidecars(self, sidecars: list[asyncio.Task[Any]]) -> None:
        self._stopping.set()
        running = [s for s in self._init if s.current is not None and s.current.state == "running"]
        await asyncio.gather(*(self._stop_container(state, self._grace) for state in running))
        await asyncio.gather(*sidecars)

    @property
    def _full_name(self) -> str:
        return f"{name_of(self.pod)}_{namespace_of(self.pod)}({self.pod['metadata']['uid']})"

    @property
    def _policy(self) -> str:
        return str(self.pod["spec"].get("restartPolicy", "Always"))

    async def _mount(self) -> bool:
        while not self._stopping.is_set():
            try:
                self._volumes.set_up()
            except MountError as error:
                self._event("FailedMount", str(error), warning=True)
                await self._pause(_MOUNT_RETRY)
            else:
                self._mounted = True
                return True
        return False

    async def _supervise(self, state: _ContainerState, policy: str) -> None:
        """Runs one container, again and again as the restart policy says; returns when it is over for good."""
        while not self._stopping.is_set():
            container = await self._create(state)
            if container is None:
                continue
            code = await self._run_container(state, container)
            if self._stopping.is_set():
                return
            if policy == "Never" or (policy == "OnFailure" and code == 0):
                state.done = True
                self._publish()
                return
            await self._back_off(state, container)
            state.restarts += 1
            if state.previous is not None:
                await self.kubelet.node.runtime.remove(state.previous)
            state.previous, state.current = container, None

    async def _back_off(self, state: _ContainerState, container: Container) -> None:
        """Waits before a restart: not at all the first time, then ever longer."""
        ran = (container.finished_at - container.started_at) / 1e9 if container.started_at else 0.0
        if ran > _BACKOFF_RESET:
            state.backoff = 0.0
        wait = state.backoff
        state.backoff = min(_BACKOFF_MAX, wait * 2 or _BACKOFF_FIRST)
        if not wait:
            return
        state.last_state = state.state
        pod = self._full_name
        message = f"back-off {wait:.0f}s restarting failed container={state.name} pod={pod}"
        state.state = {"waiting": {"reason": "CrashLoopBackOff", "message": message}}
        self._event("BackOff", f"Back-off restarting failed container {state.name} in pod {pod}", state, warning=True)
        self._publish()
        await self._pause(wait)

    async def _create(self, state: _ContainerState) -> Container | None:
        """A created container, or None after a failure that has been reported and waited for."""
        runtime, image = self.kubelet.node.runtime, str(state.spec["image"])
        try:
            spec = self._container_spec(state)
        except ConfigError as error:
            await self._config_error(state, str(error))
            return None
        known = image in self.kubelet.images
        policy = state.spec.get("imagePullPolicy", "IfNotPresent")
        if known and policy == "IfNotPresent":
            self._event("Pulled", f'Container image "{image}" already present on machine', state)
        elif not known and policy == "Never":
            message = f'Container image "{image}" is not present with pull policy of Never'
            self._event("ErrImageNeverPull", message, state, warning=True)
            await self._waiting(state, "ErrImageNeverPull", message)
            return None
        else:
            self._event("Pulling", f'Pulling image "{image}"', state)
        try:
            container = await runtime.create(spec)
        except ImagePullError as error:
            await self._pull_failed(state, image, error)
            return None
        except OSError as error:  # a mount that can't be made: a path in the way, a part of a volume that isn't there
            message = f"failed to create containerd container: {error}"
            self._event("Failed", f"Error: {message}", state, warning=True)
            await self._waiting(state, "CreateContainerError", message)
            return None
        if not (known and policy == "IfNotPresent"):
            self.kubelet.images.add(image)
            size = 20_000_000 + int(container.image.digest[7:13], 16) * 8
            message = f'Successfully pulled image "{image}" in 0s (0s including waiting). Image size: {size} bytes.'
            self._event("Pulled", message, state)
        if refusal := self._runs_as_root(state, container):
            await runtime.remove(container)
            await self._config_error(state, refusal)
            return None
        self._event("Created", f"Created container {state.name}", state)
        return container

    async def _config_error(self, state: _ContainerState, message: str) -> None:
        self._event("Failed", f"Error: {message}", state, warning=True)
        await self._waiting(state, "CreateContainerConfigError", message)

    async def _pull_failed(self, state: _ContainerState, image: str, error: ImagePullError) -> None:
        reason, message = error.reason, error.message
        if reason == "InvalidImageName":
            self._event("InspectFailed", message, state, warning=True)
            self._event("Failed", f"Error: {reason}", state, warning=True)
            await self._waiting(state, reason, message)
            return
        self._event("Failed", f'Failed to pull image "{image}": {message}', state, warning=True)
        self._event("Failed", f"Error: {reason}", state, warning=True)
        state.state = {"waiting": {"reason": reason, "message": message}}
        self._publish()
        wait = state.backoff = min(_BACKOFF_MAX, state.backoff * 2 or _BACKOFF_FIRST)
        await self._pause(min(wait, _BACKOFF_FIRST) / 2)
        self._event("BackOff", f'Back-off pulling image "{image}"', state)
        self._event("Failed", "Error: ImagePullBackOff", state, warning=True)
        state.state = {"waiting": {"reason": "ImagePullBackOff", "message": f'Back-off pulling image "{image}"'}}
        self._publish()
        await self._pause(wait)

    async def _waiting(self, state: _ContainerState, reason: str, message: str) -> None:
        state.state = {"waiting": {"reason": reason, "message": message}}
        self._publish()
        state.backoff = min(_BACKOFF_MAX, state.backoff * 2 or _BACKOFF_FIRST)
        await self._pause(state.backoff)

    def _runs_as_root(self, state: _ContainerState, container: Container) -> str:
        pod_context, context = self.pod["spec"].get("securityContext") or {}, state.spec.get("securityContext") or {}
        if not context.get("runAsNonRoot", pod_context.get("runAsNonRoot")):
            return ""
        user = str(container.spec.user or container.image.user or "0").partition(":")[0]
        where = f'(pod: "{self._full_name}", container: {state.name})'
        if user in ("0", "root"):
            said = "container's runAsUser breaks non-root policy" if container.spec.user else ""
            return f"{said or 'container has runAsNonRoot and image will run as root'} {where}"
        if not user.isdigit():
            return (
                f"container has runAsNonRoot and image has non-numeric user ({user}), "
                f"cannot verify user is non-root {where}"
            )
        return ""

    async def _run_container(self, state: _ContainerState, container: Container) -> int:
        runtime = self.kubelet.node.runtime
        state.current = container
        try:
            await runtime.start(container)
        except OciError as error:
            now = rfc3339(self.kubelet.clock())
            self._event("Failed", f"Error: {error}", state, warning=True)
            state.state = {
                "terminated": {
                    "exitCode": 128,
                    "reason": "StartError",
                    "message": str(error),
                    "startedAt": "1970-01-01T00:00:00Z",
                    "finishedAt": now,
                    "containerID": f"containerd://{container.id}",
                }
            }
            state.backoff = state.backoff or _BACKOFF_FIRST
            self._publish()
            return 128
        self._event("Started", f"Started container {state.name}", state)
        if self._stopping.is_set():
            await runtime.stop(container, 0.0)
        if state.state.get("terminated"):
            state.last_state = state.state
        state.state = {"running": {"startedAt": rfc3339(container.started_at / 1e9)}}
        probes = self._probes(state, container)
        state.started = "startupProbe" not in state.spec
        state.ready = state.started and "readinessProbe" not in state.spec
        self._publish()
        try:
            code = int(await container.wait())
        finally:
            for probe in probes:
                probe.cancel()
        state.ready = state.started = False
        state.state = {
            "terminated": {
                "exitCode": code,
                "reason": container.reason,
                "startedAt": rfc3339(container.started_at / 1e9),
                "finishedAt": rfc3339(container.finished_at / 1e9),
                "containerID": f"containerd://{container.id}",
                **self._termination_message(state, container, code),
            }
        }
        if not self._terminating:
            self._publish()
        return code

    def _termination_message(self, state: _ContainerState, container: Container, code: int) -> Object:
        path = state.spec.get("terminationMessagePath", "/dev/termination-log")
        if container.filesystem.exists(path) and (text := container.filesystem.read_bytes(path)):
            return {"message": text[:4096].decode(errors="replace")}
        if code and state.spec.get("terminationMessagePolicy") == "FallbackToLogsOnError":
            log = self.kubelet.node.filesystem.read_text(container.log_path).splitlines()[-80:]
            return {"message": "\n".join(line.split(" ", 3)[-1] for line in log)[-2048:]}
        return {}

    # Probes

    def _probes(self, state: _ContainerState, container: Container) -> list[asyncio.Task[Any]]:
        kinds = [kind for kind in ("startupProbe", "readinessProbe", "livenessProbe") if kind in state.spec]
        return [self.kubelet.spawn(self._probe(state, container, kind)) for kind in kinds]

    async def _probe(self, state: _ContainerState, container: Container, kind: str) -> None:
        spec = state.spec[kind]
        probe = Probe(spec, state.spec, container, self.kubelet.node, self._ip)
        word = kind.removesuffix("Probe").capitalize()
        if kind != "startupProbe":
            while not state.started:
                await asyncio.sleep(0.05)
        await asyncio.sleep(float(spec.get("initialDelaySeconds", 0)) or 0.02)
        good = bad = 0
        while True:
            try:
                await probe.check()
            except ProbeFailure as failure:
                good, bad = 0, bad + 1
                self._event("Unhealthy", f"{word} probe {failure}", state, warning=True)
                if bad >= int(spec["failureThreshold"]):
                    if kind == "readinessProbe":
                        self._set_ready(state, False)
                    else:
                        message = f"Container {state.name} failed {word.lower()} probe, will be restarted"
                        self._event("Killing", message, state)
                        await self.kubelet.node.runtime.stop(container, self._grace)
                        return
            else:
                good, bad = good + 1, 0
                if good >= int(spec["successThreshold"]):
                    if kind == "startupProbe":
                        state.started = True
                        self._set_ready(state, "readinessProbe" not in state.spec)
                        return
                    if kind == "readinessProbe":
                        self._set_ready(state, True)
            await asyncio.sleep(float(spec["periodSeconds"]))

    def _set_ready(self, state: _ContainerState, ready: bool) -> None:
        if state.ready != ready:
            state.ready = ready
            self._publish()

    # The end

    async def _terminate(self, grace: float) -> None:
        for state in (*self._init, *self._main):
            if state.current is not None and state.current.state == "running":
                self._event("Killing", f"Stopping container {state.name}", state)
        await self._stop_containers(grace)
        await self._clean_up()
        options = {"gracePeriodSeconds": 0, "preconditions": {"uid": self.pod["metadata"]["uid"]}}
        pod = self.kubelet.registry.store.get(r.PODS, namespace_of(self.pod), name_of(self.pod))
        if pod is not None and pod["metadata"]["uid"] == self.pod["metadata"]["uid"]:
            if pod["metadata"].get("finalizers"):
                self.kubelet.registry.change(
                    r.PODS, pod, lambda new: new["metadata"].update(deletionGracePeriodSeconds=0)
                )
            else:
                self.kubelet.registry.delete(r.PODS, namespace_of(pod), name_of(pod), options)

    async def _stop_containers(self, grace: float) -> None:
        self._stopping.set()
        self._changed.set()
        running = [s for s in (*self._init, *self._main) if s.current is not None and s.current.state == "running"]
        await asyncio.gather(*(self._stop_container(state, grace) for state in running))
        await self._ended.wait()

    async def _stop_container(self, state: _ContainerState, grace: float) -> None:
        runtime, container = self.kubelet.node.runtime, state.current
        assert container is not None
        hook = ((state.spec.get("lifecycle") or {}).get("preStop") or {}).get("exec")
        if hook and grace > 0:
            try:
                await asyncio.wait_for(runtime.exec(container, list(hook.get("command") or ())), grace)
            except (OciError, TimeoutError) as error:
                self._event("FailedPreStopHook", f"PreStopHook failed: {error}", state, warning=True)
        await runtime.stop(container, grace)

    async def _clean_up(self) -> None:
        for state in (*self._init, *self._main):
            containers = [c for c in (state.previous, state.current) if c is not None]
            state.previous = state.current = None  # a forced deletion may come while a graceful one is on its way
            for container in containers:
                await self.kubelet.node.runtime.remove(container)
        self.kubelet.forget(self.pod["metadata"]["uid"])

    async def _pause(self, seconds: float) -> None:
        """Waits, unless the pod is to end."""
        try:
            await asyncio.wait_for(self._stopping.wait(), seconds)
        except TimeoutError:
            return

    # Translation

    def _container_spec(self, state: _ContainerState) -> ContainerSpec:
        pod, spec = self.pod, state.spec
        pod = {**pod, "status": {**pod.get("status", {}), **self._addresses()}}
        pod_context, context = pod["spec"].get("securityContext") or {}, spec.get("securityContext") or {}
        variables = environment(spec, pod, self.kubelet.registry.store)
        user = context.get("runAsUser", pod_context.get("runAsUser"))
        group = context.get("runAsGroup", pod_context.get("runAsGroup"))
        capabilities = context.get("capabilities") or {}
        limit = ((spec.get("resources") or {}).get("limits") or {}).get("memory")
        return ContainerSpec(
            pod_name=name_of(pod),
            pod_namespace=namespace_of(pod),
            pod_uid=pod["metadata"]["uid"],
            sandbox_id=self._sandbox,
            name=state.name,
            image=str(spec["image"]),
            command=tuple(expand(part, variables) for part in spec.get("command") or ()),
            args=tuple(expand(part, variables) for part in spec.get("args") or ()),
            env=variables,
            workdir=spec.get("workingDir", ""),
            user="" if user is None else str(user) if group is None else f"{user}:{group}",
            tty=bool(spec.get("tty")),
            stdin=bool(spec.get("stdin")),
            privileged=bool(context.get("privileged")),
            add=tuple(capabilities.get("add") or ()),
            drop=tuple(capabilities.get("drop") or ()),
            mounts=self._volumes.mounts(spec),
            restart_count=state.restarts,
            host_network=bool(pod["spec"].get("hostNetwork")),
            host_pid=bool(pod["spec"].get("hostPID")),
            host_ipc=bool(pod["spec"].get("hostIPC")),
            pod_ip=self._ip,
            hostname=self.kubelet.node.name if pod["spec"].get("hostNetwork") else name_of(pod)[:63],
            pod_labels=dict(pod["metadata"].get("labels") or {}),
            annotations=dict(pod["metadata"].get("annotations") or {}),
            memory_limit=int(quantity(limit)) if limit else NODE_MEMORY,
        )

    def _addresses(self) -> Object:
        host = self.kubelet.ip
        return {
            "hostIP": host,
            "hostIPs": [{"ip": host}],
            "podIP": self._ip,
            "podIPs": [{"ip": self._ip}],
        }

    def _event(self, reason: str, message: str, state: _ContainerState | None = None, *, warning: bool = False) -> None:
        path = ""
        if state is not None:
            path = f"spec.{'initContainers' if state in self._init else 'containers'}{{{state.name}}}"
        self.kubelet.recorder.event(r.PODS, self.pod, reason, message, warning=warning, path=path)

    def _publish(self, phase: str = "") -> None:
        """Writes the pod's status as it is now."""
        self._changed.set()
        self._changed.clear()
        pod = self.kubelet.registry.store.get(r.PODS, namespace_of(self.pod), name_of(self.pod))
        if pod is None or pod["metadata"]["uid"] != self.pod["metadata"]["uid"]:
            return
        if not phase:
            begun = any(s.current is not None or s.restarts for s in self._main) and self._initialized
            phase = "Running" if begun else "Pending"
        status: Object = {
            "phase": phase,
            "qosClass": pod["status"].get("qosClass", "BestEffort"),
            "conditions": self._conditions(pod["status"].get("conditions") or [], phase),
            **self._addresses(),
            "startTime": self._started_at,
            "containerStatuses": [self._container_status(state) for state in self._main],
        }
        if self._init:
            status["initContainerStatuses"] = [self._container_status(state) for state in self._init]
        self.kubelet.registry.set_status(r.PODS, pod, status)

    def _container_status(self, state: _ContainerState) -> Object:
        container = state.current or state.previous
        status: Object = {
            "name": state.name,
            "state": state.state,
            "lastState": state.last_state,
            "ready": state.ready,
            "restartCount": state.restarts,
            "image": str(state.spec["image"]),
            "imageID": "",
            "started": state.started,
        }
        if container is not None:
            image = container.image
            status["containerID"] = f"containerd://{container.id}"
            status["imageID"] = f"{image.repository}@{image.digest}"
        return status

    def _conditions(self, before: list[Object], phase: str) -> list[Object]:
        unready = [state.name for state in self._main if not state.ready]
        ready = not unready and self._initialized
        problem: Object = {}
        if phase == "Succeeded":
            problem = {"reason": "PodCompleted"}
        elif not ready:
            problem = {
                "reason": "ContainersNotReady",
                "message": f"containers with unready status: [{' '.join(unready)}]",
            }
        initialized: Object = {}
        if not self._initialized:
            waiting = [s.name for s in self._init if not (s.done and s.ready)]
            initialized = {
                "reason": "ContainersNotInitialized",
                "message": f"containers with incomplete status: [{' '.join(waiting)}]",
            }
        wanted = [
            ("PodReadyToStartContainers", bool(self._ip) and phase not in ("Succeeded", "Failed"), {}),
            ("Initialized", self._initialized, initialized),
            ("Ready", ready, problem),
            ("ContainersReady", ready, problem),
            ("PodScheduled", True, {}),
        ]
        known = {condition["type"]: condition for condition in before}
        now = rfc3339(self.kubelet.clock())
        conditions = []
        for kind, holds, why in wanted:
            word = "True" if holds else "False"
            old = known.get(kind, {})
            since = old.get("lastTransitionTime", now) if old.get("status") == word else now
            conditions.append({"type": kind, "status": word, "lastProbeTime": None, "lastTransitionTime": since, **why})
        return conditions


def _labels_of(pod: Object) -> tuple[Any, Any]:
    return pod["metadata"].get("labels"), pod["metadata"].get("annotations")
