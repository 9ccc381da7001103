"""The cluster: nodes with a clock of their own, pods, and what people and programs do in them."""

from __future__ import annotations

import asyncio
import itertools
import random
import selectors
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import falcorules
from ekslab import names
from ekslab.http import HttpRequest, HttpResponse
from ekslab.node import Container, ContainerSpec, ImageRegistry, KernelEvent, Network, Node, Process, sockets, subscribe
from ekslab.node import turns as taking_turns
from tests.day_of_alerts import images

DAY = datetime(2026, 3, 10, tzinfo=UTC)
NODES = {
    "ip-10-0-1-23.ec2.internal": "10.0.1.23",
    "ip-10-0-1-114.ec2.internal": "10.0.1.114",
    "ip-10-0-2-46.ec2.internal": "10.0.2.46",
    "ip-10-0-3-71.ec2.internal": "10.0.3.71",
}
API_SERVER = "kubernetes.default.svc.cluster.local"
SECOND = 1_000_000_000
Action = Callable[[Process], Awaitable[Any]]

# What is recorded of an event: what rules can ask for, without what is long and the same (environment, cgroups).
_FIELDS = """
    evt.num evt.time evt.hostname evt.type evt.category evt.args evt.res evt.rawres evt.failed
    evt.is_open_read evt.is_open_write evt.is_open_exec evt.is_open_create
    proc.name proc.pname proc.aname proc.exe proc.pexe proc.aexe proc.exepath proc.pexepath proc.aexepath
    proc.args proc.cmdline proc.pcmdline proc.acmdline proc.cmdnargs proc.cwd proc.tty proc.pid proc.ppid proc.apid
    proc.vpid proc.pvpid proc.sid proc.sname proc.duration
    proc.is_exe_writable proc.is_exe_upper_layer proc.is_exe_lower_layer proc.is_exe_from_memfd proc.exe_ino.ctime
    proc.exe_ino.mtime proc.exe_ino.ctime_duration_proc_start thread.cap_effective
    user.uid user.name user.homedir user.loginuid user.loginname group.gid group.name
    fd.num fd.type fd.typechar fd.name fd.nameraw fd.directory fd.filename fd.cip fd.sip fd.lip fd.rip fd.cport
    fd.sport fd.lport fd.rport fd.l4proto fd.sip.name fd.is_server fd.connected fd.name_changed
    container.id container.name container.image container.image.repository container.image.tag container.privileged
    container.type container.start_ts k8s.ns.name k8s.pod.name k8s.pod.uid k8s.pod.ip k8s.pod.labels
"""
FIELDS = _FIELDS.split()
_INODE = ("dev", "ino")


class _Selector(selectors.SelectSelector):
    """Nothing comes from outside: waiting for a timer is moving the clock."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("Everything waits for something else.")
        self.now += timeout
        return super().select(0)


class _Loop(asyncio.SelectorEventLoop):
    """An event loop whose time is the cluster's: seconds since the day began."""

    def __init__(self, start: float) -> None:
        self.selector = _Selector()
        self.selector.now = start
        super().__init__(self.selector)

    def time(self) -> float:
        return self.selector.now


@dataclass
class Pod:
    """A pod with one container."""

    cluster: Cluster
    node: Node
    container: Container

    @property
    def name(self) -> str:
        return self.container.spec.pod_name

    async def do(self, action: Action, worker: int = 0) -> Any:
        """Has the container's main process do something, or one of its workers (from 1 on)."""
        return await images.ask(self.container, action, worker)

    async def run(self, *argv: str, worker: int = 0) -> int:
        """Has the container's main process or a worker start a program, and waits for its end."""

        async def start(p: Process) -> int:
            return await p.wait(p.spawn(argv))

        return int(await self.do(start, worker))

    async def exec(self, *argv: str) -> int:
        """What `kubectl exec` and exec probes do."""
        return await self.node.runtime.exec(self.container, argv)

    @contextmanager
    def terminal(self, *argv: str) -> Iterator[Keys]:
        """What `kubectl exec -it` does."""
        keys = Keys(self.cluster.numbers("keys", self.name, asyncio.get_running_loop().time() // 60))
        execution = self.node.runtime.start_exec(self.container, argv, tty=True, stdin=keys)
        yield keys
        keys.typed.put_nowait(b"")
        self.cluster.begin(execution.wait())


class Keys:
    """The keyboard of a terminal."""

    def __init__(self, pace: random.Random) -> None:
        self.typed: asyncio.Queue[bytes] = asyncio.Queue()
        self._pace = pace

    async def read(self, n: int) -> bytes:
        return await self.typed.get()

    async def line(self, text: str, pause: float) -> None:
        """Types a line, about `pause` seconds after the last one."""
        await asyncio.sleep(pause * self._pace.uniform(0.75, 1.35))
        self.typed.put_nowait(f"{text}\n".encode())


@dataclass
class Cluster:
    """Four nodes, their pods, and the events that rules alert on or that start a program."""

    seed: int
    engine: falcorules.Engine
    events: list[falcorules.RecordedEvent] = field(default_factory=list)
    alerts: list[falcorules.Alert] = field(default_factory=list)
    tasks: list[asyncio.Task[Any]] = field(default_factory=list)
    last: int = 0

    def __post_init__(self) -> None:
        self.random = self.numbers("cluster")
        self._ticks, ports = self.numbers("clock"), self.numbers("ports")
        self.network = Network()
        self.network._ports = iter(lambda: ports.randrange(32768, 61000), None)  # type: ignore[assignment]
        self.network.serve(API_SERVER, _answers, ip="10.100.0.1")
        self.network.serve("ssh.github.com", _answers, ip="140.82.112.36", port=443)
        self.images = ImageRegistry(images.all_of_them())
        self.nodes = {name: self._node(name, ip) for name, ip in NODES.items()}
        self._addresses = {ip.rpartition(".")[0]: itertools.count(130) for ip in NODES.values()}
        self._placed = itertools.count()

    def _node(self, name: str, ip: str) -> Node:
        node = Node(name, network=self.network, images=self.images, ip=ip, clock=self._clock)
        # Other processes on the node and their system calls use up numbers, too.
        calls, processes = self.random.uniform(900, 2200), self.random.uniform(0.8, 2.1)
        node.kernel._pids = _numbers(processes, self.random.randrange(90_000, 900_000))  # type: ignore[assignment]
        node.kernel._call_numbers = _numbers(calls, self.random.randrange(10**9))  # type: ignore[assignment]
        subscribe(node.kernel, lambda event: self._seen(node, event), {"execve", *_alerting_types(self.engine)})
        return node

    def _clock(self) -> int:
        """Programs take time: between two looks at the clock it goes on."""
        passed = int((DAY.timestamp() + asyncio.get_running_loop().time()) * 1_000_000) * 1000
        self.last = max(self.last, passed) + self._ticks.randrange(9_000, 260_000)
        return self.last

    def _seen(self, node: Node, event: KernelEvent) -> None:
        if not 0 <= event.time - DAY.timestamp() * SECOND < 86_400 * SECOND:
            return
        alerts = self.engine.process(event)
        if not alerts and (event.type != "execve" or event.get("container.id") == "host"):
            return
        recorded = falcorules.RecordedEvent(_recorded(event))
        self.events.append(recorded)
        self.alerts += self.engine.process(recorded)
        assert len(self.engine.process(recorded)) == len(alerts)

    def numbers(self, *of: object) -> random.Random:
        """Random numbers of one program's own, so that a change elsewhere doesn't change what it does."""
        return random.Random(f"{self.seed} {of}")

    # -- time

    async def until(self, hours: float) -> None:
        """Waits for some seconds after a time of day; returns at once when that has passed."""
        seconds = hours * 3600 + self.numbers("until", hours).uniform(0.1, 3.9)
        await asyncio.sleep(max(0.0, seconds - asyncio.get_running_loop().time()))

    async def pause(self, seconds: float) -> None:
        """Waits for about that long."""
        await asyncio.sleep(seconds * self.random.uniform(0.8, 1.25))

    def begin(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        """Something that goes on beside everything else."""
        self.tasks.append(asyncio.get_running_loop().create_task(coroutine))

    # -- pods

    async def pod(
        self,
        namespace: str,
        name: str,
        image: str,
        *,
        node: str = "",
        owner: str = "",
        container: str = "",
        **more: Any,
    ) -> Pod:
        """Starts a pod, on the next node if none is named. `owner` is the value of its label `app`, and its container's
        name unless that is given."""
        found = self.images.resolve(image)
        place = self.nodes[node] if node else list(self.nodes.values())[next(self._placed) * 3 % 4]
        uid = names.uid("pod", namespace, name)
        subnet = place.ip.rpartition(".")[0]
        spec = ContainerSpec(
            pod_name=name,
            pod_namespace=namespace,
            pod_uid=uid,
            sandbox_id=names.hex_id(64, "sandbox", uid),
            name=container or owner or found.repository.rpartition("/")[2],
            image=image,
            pod_ip=f"{subnet}.{next(self._addresses[subnet])}",
            pod_labels={"app": owner or found.repository.rpartition("/")[2]},
            **more,
        )
        created = await place.runtime.create(spec)
        await place.runtime.start(created)
        await asyncio.sleep(0.3)
        return Pod(self, place, created)

    async def deployment(self, namespace: str, name: str, image: str, count: int, revision: int = 1) -> list[Pod]:
        found = []
        replica_set = names.suffix(10, namespace, name, revision)
        for number in range(count):
            suffix = names.suffix(5, namespace, name, revision, number)
            found.append(await self.pod(namespace, f"{name}-{replica_set}-{suffix}", image, owner=name))
            await asyncio.sleep(self.random.uniform(1, 6))
        return found

    async def job(self, namespace: str, name: str, image: str) -> Pod:
        """A pod of a job, with a random suffix to its name."""
        suffix = names.suffix(5, namespace, name)
        return await self.pod(namespace, f"{name}-{suffix}", image, owner=name.rpartition("-")[0], container="build")

    async def end(self, *pods: Pod) -> None:
        for pod in pods:
            await pod.node.runtime.remove(pod.container)


def _recorded(event: KernelEvent) -> dict[str, Any]:
    """The event without its environment, and without the numbers that inodes have in this process."""
    values: dict[str, Any] = event.recorded(FIELDS)
    if event.type != "socket":
        del values["evt.args"]
    arguments = values["evt.arg"]
    kept = ("res", "exe", "flags") if event.type == "execve" else [name for name in arguments if name not in _INODE]
    return values | {"evt.arg": {name: arguments[name] for name in kept}}


def minute(hours: float) -> int:
    """The number that a cron job's pod has in its name: the minute for which it was scheduled."""
    return int(DAY.timestamp() // 60 + round(hours * 60))


async def _answers(request: HttpRequest) -> HttpResponse:
    return HttpResponse(200, {"Content-Type": "application/json"}, b'{"kind": "List", "items": []}\n')


def _numbers(rate: float, start: int) -> Iterator[int]:
    """Numbers that rise, about `rate` a second."""
    last = start
    while True:
        passed = asyncio.get_running_loop().time() + 10 * 86_400
        last = max(last + 1, start + int(passed * rate))
        yield last


def _alerting_types(engine: falcorules.Engine) -> set[str]:
    return {one for rule in engine.active for one in rule.event_types}


def run(day: Callable[[Cluster], Coroutine[Any, Any, None]], rules: Any, *, start: float, seed: int) -> Cluster:
    """The cluster after a day: `start` is when its first pod starts, in seconds before or after midnight."""
    loop = _Loop(start)

    async def main() -> Cluster:
        images.begin_anew()
        cluster = Cluster(seed, falcorules.load(rules))
        await day(cluster)
        return cluster

    # Turns would depend on the computer's clock.
    instant = SimpleNamespace(monotonic=lambda: 0.0, thread_time=lambda: 0.0)
    with (
        patch.object(taking_turns, "time", instant),
        patch.object(taking_turns._Timer, "watch", lambda turns: None),
        patch.object(sockets.Socket, "write", _sent),
    ):
        try:
            return loop.run_until_complete(main())
        finally:
            for task in asyncio.all_tasks(loop):
                task.cancel()
            loop.run_until_complete(asyncio.sleep(0))
            loop.close()


_write = sockets.Socket.write


def _sent(self: sockets.Socket, data: bytes, now: int) -> int:
    """Writes to a socket. What isn't HTTP goes to a peer that reads it."""
    if self.remote in images.READERS:
        return len(data)
    return _write(self, data, now)
