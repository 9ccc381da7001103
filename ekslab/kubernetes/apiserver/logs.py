"""`kubectl logs`: reads and follows the CRI log of a container on the file system of its node."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass

from aiohttp import web

from ekslab.kubernetes.kubelet.kubelet import Kubelet
from ekslab.kubernetes.objects.errors import bad_request
from ekslab.kubernetes.objects.registry import Registry
from ekslab.kubernetes.objects.resources import Object, name_of
from ekslab.kubernetes.objects.timestamps import parse
from ekslab.node import Container, Filesystem

_CHECK_SECONDS = 5.0
_READ_SIZE = 256 << 10  # bytes that are read, and sent, in one piece


@dataclass(frozen=True)
class LogRequest:
    """Which lines of which container. `since` is in seconds before now, `since_time` since the epoch."""

    container: str
    previous: bool = False
    timestamps: bool = False
    tail: int | None = None
    since: float | None = None
    since_time: float | None = None
    limit: int | None = None


def container_named(pod: Object, wanted: str) -> str:
    """The container a request means. Raises a 400 error for a wrong name, or none where the pod has several."""
    spec = pod["spec"]
    main = [container["name"] for container in spec["containers"]]
    init = [container["name"] for container in spec.get("initContainers") or ()]
    if wanted:
        ephemeral = [container["name"] for container in spec.get("ephemeralContainers") or ()]
        if wanted not in (*main, *init, *ephemeral):
            raise bad_request(f"container {wanted} is not valid for pod {name_of(pod)}")
        return wanted
    if len(main) == 1:
        return str(main[0])
    default = (pod["metadata"].get("annotations") or {}).get("kubectl.kubernetes.io/default-container")
    if default in main:
        return str(default)
    choices = f"choose one of: [{' '.join(main)}]"
    if init:
        choices += f" or one of the init containers: [{' '.join(init)}]"
    raise bad_request(f"a container name must be specified for pod {name_of(pod)}, {choices}")


def log_request(pod: Object, query: Mapping[str, str]) -> LogRequest:
    """The request in a query string. Raises a 400 error."""

    def number(name: str) -> int | None:
        value = query.get(name)
        if value and not value.isdigit():
            raise bad_request(f'{name}: Invalid value: "{value}": must be greater than or equal to 0')
        return int(value) if value else None

    def flag(name: str) -> bool:
        return query.get(name, "").lower() in ("true", "1")

    return LogRequest(
        container_named(pod, query.get("container", "")),
        flag("previous"),
        flag("timestamps"),
        number("tailLines"),
        number("sinceSeconds"),
        parse(query["sinceTime"]) if query.get("sinceTime") else None,
        number("limitBytes"),
    )


def _log_path(kubelet: Kubelet, pod: Object, wanted: LogRequest) -> tuple[str, Container]:
    """The log's path and its container. Raises a 400 error for a container that has not run."""
    name = wanted.container
    if wanted.previous:
        container = kubelet.previous(pod, name)
        if container is None:
            raise bad_request(f'previous terminated container "{name}" in pod "{name_of(pod)}" not found')
        return container.log_path, container
    container = kubelet.container(pod, name) or kubelet.previous(pod, name)
    if container is None:
        raise bad_request(f'container "{name}" in pod "{name_of(pod)}" is waiting to start: {_waiting(pod, name)}')
    return container.log_path, container


def _waiting(pod: Object, name: str) -> str:
    status = pod.get("status", {})
    kinds = ("containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses")
    for state in [state for kind in kinds for state in status.get(kind) or ()]:
        if state["name"] == name:
            reason = (state["state"].get("waiting") or {}).get("reason", "ContainerCreating")
            if reason == "ErrImagePull":
                return "image can't be pulled"
            return "trying and failing to pull image" if reason == "ImagePullBackOff" else str(reason)
    return "ContainerCreating"


class _Lines:
    """Joins CRI lines: `<time> <stream> <F|P> <text>`, partial ones (P) with what follows."""

    def __init__(self, timestamps: bool, since: float | None) -> None:
        self._timestamps = timestamps
        self._since = since
        self._pending = b""
        self._partial = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The texts of the complete lines, each with its newline unless it is partial."""
        *complete, self._pending = (self._pending + data).split(b"\n")
        for line in complete:
            time, _, rest = line.partition(b" ")
            _, _, rest = rest.partition(b" ")
            tag, _, text = rest.partition(b" ")
            starts, self._partial = not self._partial, tag == b"P"
            if self._since is not None and parse(time.decode()[:26].rstrip("Z") + "Z") < self._since:
                continue
            prefix = time + b" " if self._timestamps and starts else b""
            yield prefix + text + (b"" if self._partial else b"\n")


def _chosen(data: bytes, wanted: LogRequest, lines: _Lines) -> bytes:
    texts = list(lines.feed(data))
    if wanted.tail is not None:
        texts = texts[len(texts) - min(wanted.tail, len(texts)) :]
    text = b"".join(texts)
    return text if wanted.limit is None else text[: wanted.limit]


def _since(wanted: LogRequest, registry: Registry) -> float | None:
    return wanted.since_time if wanted.since is None else registry.clock() - wanted.since


def read_log(kubelet: Kubelet, pod: Object, wanted: LogRequest, registry: Registry) -> bytes:
    """The log's text now. Raises 400 errors."""
    path, _ = _log_path(kubelet, pod, wanted)
    filesystem = kubelet.node.filesystem
    data = filesystem.read_bytes(path) if filesystem.exists(path) else b""
    return _chosen(data, wanted, _Lines(wanted.timestamps, _since(wanted, registry)))


async def follow_log(
    kubelet: Kubelet,
    container: Container,
    write: Callable[[bytes], object],
    drain: Callable[[], Awaitable[object]],
) -> None:
    """Writes what a container's log gets from now on, until the container ends; `drain` waits for a slow reader."""
    lines = _Lines(False, None)
    async for data in _growth(kubelet.node.filesystem, container, kubelet.node.filesystem.size(container.log_path)):
        write(b"".join(lines.feed(data)))
        await drain()


async def _growth(filesystem: Filesystem, container: Container, position: int) -> AsyncIterator[bytes]:
    """What a container's log gets after a position, until the container ends; b"" now and then, while it gets nothing.

    A file that is smaller than it was is a new one: the log was rotated.
    """
    path = container.log_path
    while filesystem.exists(path):
        over = container.state == "exited"
        size = filesystem.size(path)
        if size < position:
            position = 0
        if size > position:
            data = filesystem.read_range(path, position, _READ_SIZE)
            position += len(data)
            yield data
        elif over:
            break
        else:
            await filesystem.wait_for_change(path, timeout=_CHECK_SECONDS)
            yield b""


async def stream_log(
    request: web.Request, kubelet: Kubelet, pod: Object, wanted: LogRequest, registry: Registry
) -> web.StreamResponse:
    """The log's text now and as it grows, until the container ends or the client goes away."""
    path, container = _log_path(kubelet, pod, wanted)
    filesystem = kubelet.node.filesystem
    lines = _Lines(wanted.timestamps, _since(wanted, registry))
    response = web.StreamResponse(headers={"Content-Type": "text/plain"})
    await response.prepare(request)
    data = filesystem.read_bytes(path) if filesystem.exists(path) else b""
    if first := _chosen(data, wanted, lines):
        await response.write(first)
    async for more in _growth(filesystem, container, len(data)):
        if request.transport is None or request.transport.is_closing():
            break
        if text := b"".join(lines.feed(more)):
            await response.write(text)
    await response.write_eof()
    return response
