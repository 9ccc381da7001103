"""`exec` over a WebSocket: frames whose first byte is a channel, in and out of a process in a container."""

from __future__ import annotations

import asyncio
import json

from aiohttp import WSMsgType, web

from labkit.embedded.kubernetes.errors import ApiError, bad_request
from labkit.embedded.kubernetes.kubelet import Kubelet
from labkit.embedded.kubernetes.logs import container_named
from labkit.embedded.kubernetes.resources import Object
from labkit.embedded.names import hex_id
from labkit.embedded.node import Container, Execution, OciError

_PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io")
_STDIN, _STDOUT, _STDERR, _ERROR, _RESIZE, _CLOSE = 0, 1, 2, 3, 4, 255


class _Stdin:
    """What the client sends on channel 0, as the process reads it."""

    def __init__(self) -> None:
        self._chunks: asyncio.Queue[bytes] = asyncio.Queue()
        self._rest = b""
        self._ended = False

    def feed(self, data: bytes) -> None:
        if data:
            self._chunks.put_nowait(data)

    def end(self) -> None:
        self._chunks.put_nowait(b"")

    async def read(self, count: int) -> bytes:
        if not self._rest and not self._ended:
            self._rest = await self._chunks.get()
            self._ended = not self._rest
        data, self._rest = self._rest[:count], self._rest[count:]
        return data


class _Channel:
    """An output of the process: what it writes goes to the client in order with everything else."""

    def __init__(self, number: int, frames: asyncio.Queue[bytes | None]) -> None:
        self._prefix = bytes((number,))
        self._frames = frames

    def write(self, data: bytes) -> None:
        if data:
            self._frames.put_nowait(self._prefix + data)


async def serve_exec(request: web.Request, pod: Object, kubelet: Kubelet) -> web.StreamResponse:
    """Runs a command in a container of the pod, until it ends or the client goes away.

    Raises 400 and 404 errors before the connection is upgraded.
    """
    query = request.query
    command = query.getall("command", [])
    wants = {name: query.get(name, "").lower() in ("true", "1") for name in ("stdin", "stdout", "stderr", "tty")}
    container = _running(pod, kubelet, query.get("container", ""))
    if not command:
        raise bad_request("you must specify at least 1 command for the container")
    if not any(wants[name] for name in ("stdin", "stdout", "stderr")):
        raise bad_request("you must specify at least one of stdin, stdout, stderr")
    socket = web.WebSocketResponse(protocols=_PROTOCOLS, autoping=True, max_msg_size=0)
    if not socket.can_prepare(request):
        raise ApiError(
            400, "BadRequest", "the embedded cluster runs commands over WebSocket only: use kubectl 1.30 or later"
        )
    await socket.prepare(request)
    frames: asyncio.Queue[bytes | None] = asyncio.Queue()
    sender = asyncio.create_task(_send(socket, frames))
    first = _STDOUT if wants["stdout"] else _STDERR if wants["stderr"] else _ERROR
    frames.put_nowait(bytes((first,)))  # tells the client that the streams are there
    stdin = _Stdin() if wants["stdin"] else None
    stdout = _Channel(_STDOUT, frames) if wants["stdout"] else None
    stderr = _Channel(_STDERR, frames) if wants["stderr"] and not wants["tty"] else None
    runtime = kubelet.node.runtime
    receiver: asyncio.Task[None] | None = None
    try:
        execution = runtime.start_exec(container, command, tty=wants["tty"], stdin=stdin, stdout=stdout, stderr=stderr)
        receiver = asyncio.create_task(_receive(socket, execution, stdin))
        status = _exit_status(await execution.wait())
    except OciError as error:
        exec_id = hex_id(64, "exec", container.id, *command)
        status = _start_error(f'failed to exec in container: failed to start exec "{exec_id}": {error}')
    finally:
        if receiver is not None:
            receiver.cancel()
    frames.put_nowait(bytes((_ERROR,)) + json.dumps(status).encode())
    frames.put_nowait(None)
    await sender
    await socket.close()
    return socket


def _running(pod: Object, kubelet: Kubelet, wanted: str) -> Container:
    if pod.get("status", {}).get("phase") in ("Succeeded", "Failed"):
        raise ApiError(
            500,
            "InternalError",
            "Internal error occurred: error executing command in container: cannot exec into a container in a "
            f"completed pod; current phase is {pod['status']['phase']}",
        )
    name = container_named(pod, wanted)
    container = kubelet.container(pod, name)
    if container is None or container.state != "running":
        message = f'unable to upgrade connection: container not found ("{name}")'
        raise ApiError(500, "InternalError", f"Internal error occurred: {message}")
    return container


async def _send(socket: web.WebSocketResponse, frames: asyncio.Queue[bytes | None]) -> None:
    while (frame := await frames.get()) is not None:
        try:
            await socket.send_bytes(frame)
        except (ConnectionResetError, RuntimeError):  # the client went away; the process may go on
            continue


async def _receive(socket: web.WebSocketResponse, execution: Execution, stdin: _Stdin | None) -> None:
    """Hands the client's frames to the process until the connection ends; then its input ends too."""
    async for message in socket:
        if message.type is WSMsgType.TEXT:
            data = message.data.encode()
        elif message.type is WSMsgType.BINARY:
            data = message.data
        else:
            continue
        if not data:
            continue
        channel, payload = data[0], data[1:]
        if channel == _STDIN and stdin is not None:
            stdin.feed(payload)
        elif channel == _RESIZE:
            size = json.loads(payload)
            execution.resize(int(size.get("Height", 24)), int(size.get("Width", 80)))
        elif channel == _CLOSE and payload[:1] == bytes((_STDIN,)) and stdin is not None:
            stdin.end()
    if stdin is not None:
        stdin.end()
    execution.hang_up()


def _exit_status(code: int) -> Object:
    if code == 0:
        return {"metadata": {}, "status": "Success"}
    return {
        "metadata": {},
        "status": "Failure",
        "message": f"command terminated with non-zero exit code: exit status {code}",
        "reason": "NonZeroExitCode",
        "details": {"causes": [{"reason": "ExitCode", "message": str(code)}]},
    }


def _start_error(message: str) -> Object:
    said = f"error executing command in container: {message}"
    return {
        "metadata": {},
        "status": "Failure",
        "message": f"Internal error occurred: {said}",
        "reason": "InternalError",
        "details": {"causes": [{"message": said}]},
        "code": 500,
    }
