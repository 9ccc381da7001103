"""A node with one container of a Debian image, and short ways to run things in it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from functools import cache

import pytest

from ekslab.http import HttpRequest, HttpResponse
from ekslab.node import (
    Container,
    ContainerSpec,
    Image,
    ImageRegistry,
    Kernel,
    KernelEvent,
    Network,
    Node,
    Process,
    debian_userland,
    elf,
    program,
    subscribe,
)
from ekslab.node.kernel import Task


@program("test-wait")
async def wait_for_ever(p: Process) -> int:
    await asyncio.Event().wait()
    return 0


class Typed:
    """Standard input of an exec: what was typed."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    async def read(self, n: int) -> bytes:
        data, self.data = self.data[:n], self.data[n:]
        return data


class Shown:
    """An output of an exec."""

    def __init__(self) -> None:
        self.data = bytearray()

    def write(self, data: bytes) -> None:
        self.data += data

    @property
    def text(self) -> str:
        return self.data.decode()


@dataclass
class Result:
    code: int
    out: str
    err: str


class Pod:
    """A running container and the events that its kernel makes, until it should `look_away`."""

    def __init__(self, node: Node, container: Container) -> None:
        self.node = node
        self.container = container
        self.events: list[dict[str, object]] = []
        self.look_away = subscribe(node.kernel, self._note)

    @property
    def first(self) -> Process:
        """The container's first process."""
        process = self.node.kernel.first_process(self.container)
        assert isinstance(process, Process)
        return process

    def _note(self, event: KernelEvent) -> None:
        if event.container is self.container:
            self.events.append(event.recorded())

    async def run(self, *argv: str, stdin: str | None = None, tty: bool = False) -> Result:
        out, err = Shown(), Shown()
        typed = Typed(stdin.encode()) if stdin is not None else None
        running = self.node.runtime.exec(self.container, argv, tty=tty, stdin=typed, stdout=out, stderr=err)
        code = await asyncio.wait_for(running, 60)
        return Result(code, out.text, err.text)

    async def sh(self, command: str, stdin: str | None = None) -> Result:
        return await self.run("sh", "-c", command, stdin=stdin)

    async def bash(self, command: str) -> Result:
        return await self.run("bash", "-c", command)

    def seen(self, type: str, **fields: object) -> list[dict[str, object]]:
        """The events of a type with certain values, e.g. `seen("openat", proc_name="cat")`."""
        wanted = {name.replace("_", ".", 1): value for name, value in fields.items()}
        return [
            event
            for event in self.events
            if event["evt.type"] == type and all(event.get(name) == value for name, value in wanted.items())
        ]


@cache
def image() -> Image:
    layer = debian_userland("ca-certificates", "curl", "gettext-base", "openssl", "procps")
    layer.program("/usr/bin/test-wait", "test-wait").directory("/root/.ssh", 0o700)
    layer.program("/usr/bin/nc.openbsd", "nc").symlink("/usr/bin/nc", "nc.openbsd")
    layer.program("/usr/bin/wget", "wget").program("/usr/bin/scp", "scp").program("/usr/bin/xxd", "xxd")
    layer.user("app", 1000, 1000, "/home/app", "/bin/bash")
    return Image(
        "docker.io/library/nginx", ("1.22", "latest"), layer, cmd=("test-wait",), env={"NGINX_VERSION": "1.22"}
    )


def spec(**changes: object) -> ContainerSpec:
    values: dict[str, object] = {
        "pod_name": "web-0",
        "pod_namespace": "shop",
        "pod_uid": "3e41dc6b-08a8-44db-bc2a-3724b18ab19a",
        "sandbox_id": "65b203a8aaff27fb43baa1cb374137cb75fdd05a481f8424af2300205f3e0b92",
        "name": "nginx",
        "image": "nginx:1.22",
        "pod_ip": "10.88.0.2",
    }
    return ContainerSpec(**{**values, **changes})  # type: ignore[arg-type]


async def files_to_fetch(request: HttpRequest) -> HttpResponse:
    """Serves a program under whatever name is asked for."""
    return HttpResponse(200, {"Content-Type": "application/octet-stream"}, elf(request.url.rsplit("/", 1)[-1]))


Start = Callable[..., Awaitable[Pod]]


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    network = Network()
    network.listen("10.88.0.1", 8000, files_to_fetch)
    made = Node("node-1", network=network, images=ImageRegistry([image()]), ip="10.0.1.10")
    yield made
    for container in list(made.runtime.containers.values()):
        await made.runtime.remove(container)
    assert not _left_running(made.kernel)


def _left_running(kernel: Kernel) -> list[Task]:
    return [process for process in kernel.processes.values() if process.container is not None]


@pytest.fixture
async def start(node: Node) -> Start:
    async def start(**changes: object) -> Pod:
        container = await node.runtime.create(spec(**changes))
        await node.runtime.start(container)
        return Pod(node, container)

    return start


@pytest.fixture
async def pod(start: Start) -> Pod:
    return await start()


@pytest.fixture
def make_spec() -> Callable[..., ContainerSpec]:
    return spec


@pytest.fixture
def shown() -> Shown:
    return Shown()


@pytest.fixture
def typed() -> type[Typed]:
    return Typed
