"""The state of a pod's containers, and the parts of the pod's status that follow from it."""

from __future__ import annotations

from dataclasses import dataclass, field

from ekslab.kubernetes.objects.resources import Object
from ekslab.node import Container


@dataclass
class ContainerState:
    """One container of a pod, over all its restarts."""

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

    @property
    def running(self) -> Container | None:
        """The container, while it runs."""
        return self.current if self.current is not None and self.current.state == "running" else None

    @property
    def is_sidecar(self) -> bool:
        """Whether it is an init container that runs beside the others: what only those may say is `Always`."""
        return self.spec.get("restartPolicy") == "Always"


def pod_addresses(host_ip: str, pod_ip: str) -> Object:
    """The addresses in a pod's status."""
    return {"hostIP": host_ip, "hostIPs": [{"ip": host_ip}], "podIP": pod_ip, "podIPs": [{"ip": pod_ip}]}


def container_status(state: ContainerState) -> Object:
    """A `ContainerStatus`."""
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


def pod_conditions(
    *,
    before: list[Object],
    phase: str,
    has_address: bool,
    initialized: bool,
    init: list[ContainerState],
    main: list[ContainerState],
    now: str,
) -> list[Object]:
    """The conditions of a pod; one whose status is as in `before` keeps its transition time."""
    unready = [state.name for state in (*(s for s in init if s.is_sidecar), *main) if not state.ready]
    ready = not unready and initialized
    problem: Object = {}
    if phase == "Succeeded":
        problem = {"reason": "PodCompleted"}
    elif not ready:
        problem = {
            "reason": "ContainersNotReady",
            "message": f"containers with unready status: [{' '.join(unready)}]",
        }
    uninitialized: Object = {}
    if not initialized:
        waiting = [s.name for s in init if not (s.started if s.is_sidecar else s.done and s.ready)]
        uninitialized = {
            "reason": "ContainersNotInitialized",
            "message": f"containers with incomplete status: [{' '.join(waiting)}]",
        }
    wanted = [
        ("PodReadyToStartContainers", has_address and phase not in ("Succeeded", "Failed"), {}),
        ("Initialized", initialized, uninitialized),
        ("Ready", ready, problem),
        ("ContainersReady", ready, problem),
        ("PodScheduled", True, {}),
    ]
    known = {condition["type"]: condition for condition in before}
    conditions = []
    for kind, holds, why in wanted:
        word = "True" if holds else "False"
        old = known.get(kind, {})
        since = old.get("lastTransitionTime", now) if old.get("status") == word else now
        conditions.append({"type": kind, "status": word, "lastProbeTime": None, "lastTransitionTime": since, **why})
    return conditions
