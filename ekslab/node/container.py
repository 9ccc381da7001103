"""A container: its specification, and what the runtime, the kernel and Falco's fields know about it."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ekslab.node import abi
from ekslab.node.filesystem import Filesystem
from ekslab.node.images import Image, normalized
from ekslab.node.inbox import Inbox
from ekslab.node.limits import NODE_MEMORY, Disk, Memory
from ekslab.node.volumes import HostPath, Mount


class PidNamespace:
    """The numbers of processes that see each other."""

    def __init__(self, first: int = 1) -> None:
        self._numbers = itertools.count(first)

    def new_pid(self) -> int:
        return next(self._numbers)


@dataclass(frozen=True)
class ContainerSpec:
    """What the kubelet asks the runtime for."""

    pod_name: str
    pod_namespace: str
    pod_uid: str
    sandbox_id: str
    name: str
    image: str
    command: Sequence[str] = ()
    args: Sequence[str] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    workdir: str = ""
    user: str = ""
    tty: bool = False
    stdin: bool = False
    stdin_once: bool = False
    privileged: bool = False
    no_new_privileges: bool = False
    read_only_root: bool = False
    add: Sequence[str] = ()
    drop: Sequence[str] = ()
    mounts: Sequence[Mount] = ()
    restart_count: int = 0
    host_network: bool = False
    host_pid: bool = False
    host_ipc: bool = False
    pod_ip: str = ""
    hostname: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    pod_labels: Mapping[str, str] = field(default_factory=dict)
    termination_log: str = "/dev/termination-log"
    memory_limit: int = NODE_MEMORY
    pid_namespace: PidNamespace | None = None
    """That of another container or of the whole pod; None for one of its own."""

    @property
    def capabilities(self) -> frozenset[str]:
        """The capabilities of root in the container."""
        if self.privileged:
            return abi.ALL_CAPABILITIES
        granted = set(abi.DEFAULT_CAPABILITIES)
        dropped = {_capability(name) for name in self.drop}
        granted = set() if "CAP_ALL" in dropped else granted - dropped
        added = {_capability(name) for name in self.add}
        return frozenset(abi.ALL_CAPABILITIES if "CAP_ALL" in added else granted | (added & abi.ALL_CAPABILITIES))


def _capability(name: str) -> str:
    return name.upper() if name.upper().startswith("CAP_") else f"CAP_{name.upper()}"


@dataclass(eq=False)
class Container:
    """A created container. Times are nanoseconds since the epoch, 0 for what hasn't happened."""

    spec: ContainerSpec
    image: Image
    id: str
    hostname: str
    filesystem: Filesystem
    disk: Disk
    memory: Memory
    started_at: int = 0
    finished_at: int = 0
    state: str = "created"
    exit_code: int | None = None
    reason: str = ""
    pid: int = 0
    """The node's number of the first process; 0 before it starts."""

    def __post_init__(self) -> None:
        repository, tag, _ = normalized(self.spec.image)
        self.image_tag: str = tag or self.image.tags[0]
        self.image_reference: str = f"{repository}:{self.image_tag}"
        self.pid_namespace = self.spec.pid_namespace or PidNamespace()
        self.stdin: Inbox | None = Inbox() if self.spec.stdin and not self.spec.tty else None
        self._finished = asyncio.Event()

    def __repr__(self) -> str:
        return (
            f"<Container {self.short_id} {self.spec.pod_namespace}/{self.spec.pod_name}/{self.spec.name} {self.state}>"
        )

    @property
    def short_id(self) -> str:
        return self.id[:12]

    @property
    def log_path(self) -> str:
        spec = self.spec
        return f"/var/log/pods/{spec.pod_namespace}_{spec.pod_name}_{spec.pod_uid}/{spec.name}/{spec.restart_count}.log"

    @property
    def log_link(self) -> str:
        """The link to the log below /var/log/containers."""
        spec = self.spec
        return f"/var/log/containers/{spec.pod_name}_{spec.pod_namespace}_{spec.name}-{self.id}.log"

    @property
    def cgroup(self) -> str:
        pod = self.spec.pod_uid.replace("-", "_")
        return (
            "/kubepods.slice/kubepods-besteffort.slice/"
            f"kubepods-besteffort-pod{pod}.slice/cri-containerd-{self.id}.scope"
        )

    def new_pid(self) -> int:
        """The next number in the container's pid namespace."""
        return self.pid_namespace.new_pid()

    def finish(self, exit_code: int, now: int) -> None:
        """Records the end of the container."""
        self.exit_code = exit_code
        self.reason = self.reason or ("Completed" if exit_code == 0 else "Error")
        self.finished_at = now
        self.state = "exited"
        self._finished.set()

    async def wait(self) -> int:
        """Waits for the container to end and returns its exit code."""
        await self._finished.wait()
        assert self.exit_code is not None
        return self.exit_code

    def mount_texts(self) -> list[str]:
        """`source:destination:mode:writable:propagation` of each volume, as `container.mounts` shows them."""
        texts = []
        for mount in self.spec.mounts:
            source = (
                mount.source.path
                if isinstance(mount.source, HostPath)
                else f"/var/lib/kubelet/pods/{self.spec.pod_uid}"
            )
            texts.append(f"{source}:{mount.path}::{'false' if mount.read_only else 'true'}:private")
        return texts
