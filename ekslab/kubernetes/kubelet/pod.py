"""Runs one pod on its node: volumes, containers with their restarts and probes, status, termination."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from ekslab import names
from ekslab.kubernetes.kubelet.container_spec import container_spec
from ekslab.kubernetes.kubelet.environment import ConfigError
from ekslab.kubernetes.kubelet.hooks import HookFailure, run_hook
from ekslab.kubernetes.kubelet.host import Host
from ekslab.kubernetes.kubelet.probes import Probe, ProbeError, ProbeFailure
from ekslab.kubernetes.kubelet.status import ContainerState, container_status, pod_addresses, pod_conditions
from ekslab.kubernetes.kubelet.volumes import MountError, Volumes
from ekslab.kubernetes.objects import resources as r
from ekslab.kubernetes.objects.resources import Object, name_of, namespace_of
from ekslab.kubernetes.objects.timestamps import rfc3339
from ekslab.node import Container, ContainerSpec, ImagePullError, OciError, PidNamespace

# A cluster waits 10 s, 20 s ... 5 min; here the same happens fast enough to watch.
_BACKOFF_FIRST, _BACKOFF_MAX = 1.0, 30.0
_BACKOFF_RESET = 600.0
_MOUNT_RETRY = 1.0
_LEAST_GRACE = 2.0
_FIRST_SHARED = 7  # the number of the first process beside the pod's sandbox
_START_SECONDS = 1.0  # at most; what a program takes to open the port that a probe asks


def sandbox_of(pod: Object) -> str:
    """The id of the pod's sandbox."""
    return names.hex_id(64, "sandbox", pod["metadata"]["uid"])


class PodWorker:
    """One pod on its node, from its binding to its end; then `on_gone` is called with its uid."""

    def __init__(self, host: Host, pod: Object, on_gone: Callable[[str], None]) -> None:
        self._host = host
        self._on_gone = on_gone
        self.pod = pod
        self._volumes = Volumes(pod, host.registry.store, host.issuer, host.node.filesystem, host.clock)
        self._init = [ContainerState(spec) for spec in pod["spec"].get("initContainers") or ()]
        self._main = [ContainerState(spec) for spec in pod["spec"]["containers"]]
        self._ephemeral: list[ContainerState] = []
        if self._init:
            for state in (*self._init, *self._main):
                state.state = {"waiting": {"reason": "PodInitializing"}}
        self._ip = ""
        self._started_at = rfc3339(host.clock())
        self._initialized = not self._init
        self._mounted = asyncio.Event()
        self._processes = PidNamespace(_FIRST_SHARED) if pod["spec"].get("shareProcessNamespace") else None
        self._stopping = asyncio.Event()
        self._ended = asyncio.Event()
        self._changed = asyncio.Event()
        self._terminating = False
        self._killing = False
        self.sandbox = sandbox_of(pod)

    # What others see and do

    @property
    def address(self) -> str:
        """The pod's IP; empty when no container of it runs."""
        return self._ip if any(state.running for state in self._all) else ""

    @property
    def _all(self) -> list[ContainerState]:
        return [*self._init, *self._main, *self._ephemeral]

    def find(self, name: str) -> ContainerState | None:
        return next((state for state in self._all if state.name == name), None)

    def update(self, pod: Object) -> None:
        """The pod's object changed: maybe it is to end, maybe its image or labels are others."""
        before, self.pod = self.pod, pod
        metadata = pod["metadata"]
        if metadata.get("deletionTimestamp"):
            if not self._terminating:
                self._terminating = True
                self._host.spawn(self._terminate(float(metadata.get("deletionGracePeriodSeconds", 30))))
            return
        if before["metadata"] is not metadata and _labels_of(before) != _labels_of(pod):
            self.refresh_volumes()
        specs = {
            spec["name"]: spec for kind in ("initContainers", "containers") for spec in pod["spec"].get(kind) or ()
        }
        for state in (*self._init, *self._main):
            new = specs[state.name]
            if new["image"] != state.spec["image"]:
                state.spec = new
                if state.running and (state.is_sidecar or state in self._main):
                    message = f"Container {state.name} definition changed, will be restarted"
                    self._event("Killing", message, state)
                    self._host.spawn(self._host.node.runtime.stop(state.running, self._grace))
        for spec in pod["spec"].get("ephemeralContainers") or ():
            if self.find(spec["name"]) is None:
                state = ContainerState(spec)
                self._ephemeral.append(state)
                self._host.spawn(self._debug(state))

    def refresh_volumes(self) -> None:
        if self._mounted.is_set():
            self._volumes.refresh(self.pod)

    @property
    def _grace(self) -> float:
        return float(self.pod["spec"].get("terminationGracePeriodSeconds", 30))

    async def kill(self) -> None:
        """Ends everything at once: the pod's object is gone already."""
        self._terminating = self._killing = True
        await self._stop_containers(0.0)
        await self._clean_up()

    # Life of the pod

    async def run(self) -> None:
        try:
            await self._run()
        finally:
            self._ended.set()

    async def _run(self) -> None:
        self._ip = self._host.address_for(self.pod)
        self._publish()
        if not await self._mount():
            return
        sidecars = []
        for state in self._init:
            if state.is_sidecar:
                sidecars.append(self._host.spawn(self._supervise(state, "Always")))
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

    async def _sidecar_started(self, state: ContainerState) -> None:
        """Waits until a container that runs beside the others is up."""
        while not state.started and not self._stopping.is_set():
            await self._changed.wait()

    async def _end_sidecars(self, sidecars: list[asyncio.Task[Any]]) -> None:
        """Ends what still runs when the pod's work is done."""
        self._stopping.set()
        if not self._terminating:
            await self._stop_running(self._grace)
        await asyncio.gather(*sidecars)

    async def _debug(self, state: ContainerState) -> None:
        """Runs an ephemeral container, once, in a pod whose volumes are there."""
        mounted = asyncio.create_task(self._mounted.wait())
        stopping = asyncio.create_task(self._stopping.wait())
        await asyncio.wait((mounted, stopping), return_when=asyncio.FIRST_COMPLETED)
        for task in (mounted, stopping):
            task.cancel()
        await self._supervise(state, "Never")

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
                self._mounted.set()
                return True
        return False

    async def _supervise(self, state: ContainerState, policy: str) -> None:
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
                await self._host.node.runtime.remove(state.previous)
            state.previous, state.current = container, None

    async def _back_off(self, state: ContainerState, container: Container) -> None:
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

    def _container_spec(self, state: ContainerState) -> ContainerSpec:
        status = {**self.pod.get("status", {}), **pod_addresses(self._host.ip, self._ip)}
        return container_spec(
            {**self.pod, "status": status},
            state.spec,
            sandbox_id=self.sandbox,
            mounts=self._volumes.mounts(state.spec),
            restarts=state.restarts,
            node_name=self._host.node.name,
            store=self._host.registry.store,
            pid_namespace=self._pid_namespace(state),
        )

    def _pid_namespace(self, state: ContainerState) -> PidNamespace | None:
        """The processes that the container sees besides its own. Raises `ConfigError` for a target that isn't there."""
        name = state.spec.get("targetContainerName")
        if not name or self._processes is not None:
            return self._processes
        target = self.find(name)
        if target is None or target.current is None:
            raise ConfigError(f"unable to find target container {name}")
        return target.current.pid_namespace

    async def _create(self, state: ContainerState) -> Container | None:
        """A created container, or None after a failure that has been reported and waited for."""
        runtime, image = self._host.node.runtime, str(state.spec["image"])
        try:
            spec = self._container_spec(state)
        except ConfigError as error:
            await self._config_error(state, str(error))
            return None
        known = image in self._host.images
        policy = state.spec.get("imagePullPolicy", "IfNotPresent")
        if known and policy == "IfNotPresent":
            message = f'Container image "{image}" already present on machine and can be accessed by the pod'
            self._event("Pulled", message, state)
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
            self._host.images.add(image)
            size = 20_000_000 + int(container.image.digest[7:13], 16) * 8
            message = f'Successfully pulled image "{image}" in 0s (0s including waiting). Image size: {size} bytes.'
            self._event("Pulled", message, state)
        if refusal := self._runs_as_root(state, container):
            await runtime.remove(container)
            await self._config_error(state, refusal)
            return None
        self._event("Created", "Container created", state)
        return container

    async def _config_error(self, state: ContainerState, message: str) -> None:
        self._event("Failed", f"Error: {message}", state, warning=True)
        await self._waiting(state, "CreateContainerConfigError", message)

    async def _pull_failed(self, state: ContainerState, image: str, error: ImagePullError) -> None:
        reason, message = error.reason, error.message
        if reason in ("InvalidImageName", "ImageInspectError"):
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
        message = f'Back-off pulling image "{image}": {reason}: {message}'
        state.state = {"waiting": {"reason": "ImagePullBackOff", "message": message}}
        self._publish()
        await self._pause(wait)

    async def _waiting(self, state: ContainerState, reason: str, message: str) -> None:
        state.state = {"waiting": {"reason": reason, "message": message}}
        self._publish()
        state.backoff = min(_BACKOFF_MAX, state.backoff * 2 or _BACKOFF_FIRST)
        await self._pause(state.backoff)

    def _runs_as_root(self, state: ContainerState, container: Container) -> str:
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

    async def _run_container(self, state: ContainerState, container: Container) -> int:
        runtime = self._host.node.runtime
        state.current = container
        try:
            await runtime.start(container)
        except OciError as error:
            now = rfc3339(self._host.clock())
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
        self._event("Started", "Container started", state)
        if self._stopping.is_set():
            await runtime.stop(container, 0.0)
        if state.state.get("terminated"):
            state.last_state = state.state
        state.state = {"running": {"startedAt": rfc3339(container.started_at / 1e9)}}
        probes = self._probes(state, container)
        state.started = "startupProbe" not in state.spec
        state.ready = state.started and "readinessProbe" not in state.spec
        started = self._host.spawn(self._after_start(state, container))
        self._publish()
        try:
            code = int(await container.wait())
        finally:
            for task in (*probes, started):
                task.cancel()
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

    async def _after_start(self, state: ContainerState, container: Container) -> None:
        """Runs the hook after the start; a container whose hook fails is killed."""
        hook = (state.spec.get("lifecycle") or {}).get("postStart")
        if hook:
            try:
                await run_hook(hook, state.spec, container, self._host.node, self._ip)
            except HookFailure:
                self._event("FailedPostStartHook", "PostStartHook failed", state, warning=True)
                self._event("Killing", "FailedPostStartHook", state)
                await self._host.node.runtime.stop(container, self._grace)

    def _termination_message(self, state: ContainerState, container: Container, code: int) -> Object:
        path = state.spec.get("terminationMessagePath", "/dev/termination-log")
        if container.filesystem.exists(path) and (text := container.filesystem.read_bytes(path)):
            return {"message": text[:4096].decode(errors="replace")}
        if code and state.spec.get("terminationMessagePolicy") == "FallbackToLogsOnError":
            log = self._host.node.filesystem.read_text(container.log_path).splitlines()[-80:]
            return {"message": "\n".join(line.split(" ", 3)[-1] for line in log)[-2048:]}
        return {}

    # Probes

    def _probes(self, state: ContainerState, container: Container) -> list[asyncio.Task[Any]]:
        kinds = [kind for kind in ("startupProbe", "readinessProbe", "livenessProbe") if kind in state.spec]
        return [self._host.spawn(self._probe(state, container, kind)) for kind in kinds]

    async def _probe(self, state: ContainerState, container: Container, kind: str) -> None:
        spec = state.spec[kind]
        probe = Probe(spec, state.spec, container, self._host.node, self._ip)
        word = kind.removesuffix("Probe").capitalize()
        if kind != "startupProbe":
            while not state.started:
                await asyncio.sleep(0.05)
        await asyncio.sleep(float(spec.get("initialDelaySeconds", 0)) or 0.02)
        if kind != "livenessProbe":
            await self._opened(probe, min(float(spec["periodSeconds"]), _START_SECONDS))
        good = bad = 0
        while True:
            try:
                await probe.check()
            except ProbeError as error:  # no verdict: it doesn't count
                self._event("Unhealthy", f"{word} probe {error}", state, warning=True)
            except ProbeFailure as failure:
                good, bad = 0, bad + 1
                self._event("Unhealthy", f"{word} probe {failure}", state, warning=True)
                if bad >= int(spec["failureThreshold"]):
                    if kind == "readinessProbe":
                        self._set_ready(state, False)
                    else:
                        message = f"Container {state.name} failed {word.lower()} probe, will be restarted"
                        if state in self._init:
                            message = f"Init container {state.name} failed {word.lower()} probe"
                        self._event("Killing", message, state)
                        await self._host.node.runtime.stop(container, self._grace)
                        return
            else:
                good, bad = good + 1, 0
                if good >= int(spec["successThreshold"]):
                    if kind == "startupProbe":
                        state.started = True
                        state.ready = "readinessProbe" not in state.spec
                        self._publish()
                        return
                    if kind == "readinessProbe":
                        self._set_ready(state, True)
            await asyncio.sleep(float(spec["periodSeconds"]))

    async def _opened(self, probe: Probe, seconds: float) -> None:
        """Returns when the port that a probe asks is open, at the latest after `seconds`.

        A program takes a moment to start: asked before that, it would be asked again after a whole period only.
        """
        deadline = asyncio.get_running_loop().time() + seconds
        while not probe.can_answer() and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(0.05)

    def _set_ready(self, state: ContainerState, ready: bool) -> None:
        if state.ready != ready:
            state.ready = ready
            self._publish()

    # The end

    async def _terminate(self, grace: float) -> None:
        await self._stop_containers(grace)
        await self._clean_up()
        options = {"gracePeriodSeconds": 0, "preconditions": {"uid": self.pod["metadata"]["uid"]}}
        pod = self._host.registry.store.get(r.PODS, namespace_of(self.pod), name_of(self.pod))
        if pod is not None and pod["metadata"]["uid"] == self.pod["metadata"]["uid"]:
            if pod["metadata"].get("finalizers"):
                self._host.registry.change(
                    r.PODS, pod, lambda new: new["metadata"].update(deletionGracePeriodSeconds=0)
                )
            else:
                self._host.registry.delete(r.PODS, namespace_of(pod), name_of(pod), options)

    async def _stop_containers(self, grace: float) -> None:
        self._stopping.set()
        self._changed.set()
        await self._stop_running(grace)
        await self._ended.wait()

    async def _stop_running(self, grace: float) -> None:
        """Stops what runs: the sidecars one by one, the last first, after all others have ended.

        Hooks run at once, as on a cluster, and waiting for its turn counts as a sidecar's time.
        """
        deadline = asyncio.get_running_loop().time() + grace
        running = [state for state in self._all if state.running]
        if not self._killing:
            for state in running:
                self._event("Killing", f"Stopping container {state.name}", state)
        before = [asyncio.create_task(self._stop(s, deadline, grace, ())) for s in running if not self._waits(s)]
        for state in reversed(running):
            if self._waits(state):
                before.append(asyncio.create_task(self._stop(state, deadline, grace, tuple(before))))
        await asyncio.gather(*before)

    def _waits(self, state: ContainerState) -> bool:
        return state in self._init and state.is_sidecar

    async def _stop(
        self, state: ContainerState, deadline: float, grace: float, before: tuple[asyncio.Task[None], ...]
    ) -> None:
        container, now = state.running, asyncio.get_running_loop().time
        hook = (state.spec.get("lifecycle") or {}).get("preStop")
        if hook and grace > 0 and container is not None:
            try:
                async with asyncio.timeout_at(deadline):
                    await run_hook(hook, state.spec, container, self._host.node, self._ip)
            except (HookFailure, TimeoutError):
                self._event("FailedPreStopHook", "PreStopHook failed", state, warning=True)
        if before:
            await asyncio.wait(before, timeout=max(0.0, deadline - now()))
        if container is not None:
            left = max(deadline - now(), _LEAST_GRACE) if grace > 0 else 0.0
            await self._host.node.runtime.stop(container, left)

    async def _clean_up(self) -> None:
        for state in self._all:
            containers = [c for c in (state.previous, state.current) if c is not None]
            state.previous = state.current = None  # a forced deletion may come while a graceful one is on its way
            for container in containers:
                await self._host.node.runtime.remove(container)
        self._on_gone(self.pod["metadata"]["uid"])

    async def _pause(self, seconds: float) -> None:
        """Waits, unless the pod is to end."""
        try:
            await asyncio.wait_for(self._stopping.wait(), seconds)
        except TimeoutError:
            return

    def _event(self, reason: str, message: str, state: ContainerState | None = None, *, warning: bool = False) -> None:
        path = ""
        if state is not None:
            kind = "containers"
            if state not in self._main:
                kind = "initContainers" if state in self._init else "ephemeralContainers"
            path = f"spec.{kind}{{{state.name}}}"
        self._host.recorder.event(r.PODS, self.pod, reason, message, warning=warning, path=path)

    def _publish(self, phase: str = "") -> None:
        """Writes the pod's status as it is now."""
        self._changed.set()
        self._changed.clear()
        pod = self._host.registry.store.get(r.PODS, namespace_of(self.pod), name_of(self.pod))
        if pod is None or pod["metadata"]["uid"] != self.pod["metadata"]["uid"]:
            return
        if not phase:
            begun = any(s.current is not None or s.restarts for s in self._main) and self._initialized
            phase = "Running" if begun else "Pending"
        status: Object = {
            "phase": phase,
            "qosClass": pod["status"].get("qosClass", "BestEffort"),
            "conditions": pod_conditions(
                before=pod["status"].get("conditions") or [],
                phase=phase,
                has_address=bool(self._ip),
                initialized=self._initialized,
                init=self._init,
                main=self._main,
                now=rfc3339(self._host.clock()),
            ),
            **pod_addresses(self._host.ip, self._ip),
            "startTime": self._started_at,
            "containerStatuses": [container_status(state) for state in self._main],
        }
        if self._init:
            status["initContainerStatuses"] = [container_status(state) for state in self._init]
        if self._ephemeral:
            status["ephemeralContainerStatuses"] = [container_status(state) for state in self._ephemeral]
        self._host.registry.set_status(r.PODS, pod, status)


def _labels_of(pod: Object) -> tuple[Any, Any]:
    return pod["metadata"].get("labels"), pod["metadata"].get("annotations")
