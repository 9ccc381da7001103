"""`exec` and `attach`: bridges the channels of a client's connection to a process in a container."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import logging
from collections.abc import Callable

from aiohttp import web

from ekslab.kubernetes.apiserver.channels import Outbox
from ekslab.kubernetes.apiserver.logs import container_named, follow_log
from ekslab.kubernetes.apiserver.wires import CLOSE, ERROR, RESIZE, STDERR, STDIN, STDOUT, Wire, open_wire
from ekslab.kubernetes.kubelet.kubelet import Kubelet
from ekslab.kubernetes.objects.errors import ApiError, bad_request
from ekslab.kubernetes.objects.resources import Object
from ekslab.names import hex_id
from ekslab.node import Container, Execution, Inbox, OciError
from ekslab.node.tty import Tty

logger = logging.getLogger("ekslab")


class _Channel:
    """An output of the process: what it writes goes to the client in order with everything else."""

    def __init__(self, number: int, frames: Outbox) -> None:
        self._prefix = bytes((number,))
        self._frames = frames
        self.closed = False

    def write(self, data: bytes) -> None:
        if self.closed:
            raise BrokenPipeError(errno.EPIPE, "Broken pipe")
        if data:
            self._frames.put(self._prefix + data)

    @property
    def full(self) -> bool:
        return self._frames.full

    async def drain(self) -> None:
        await self._frames.room()


class _Attachment:
    """A client that looks on while a container's own process runs, and types into its terminal if it has one."""

    def __init__(self, container: Container, kubelet: Kubelet, stdin: Inbox | None, stdout: _Channel | None) -> None:
        self._container = container
        first = kubelet.node.kernel.first_process(container)
        self._tty = first.tty if first is not None else None
        self._input: asyncio.Task[None] | None = None
        self._tasks: list[asyncio.Task[None]] = []
        if self._tty is not None:
            self._before = self._tty.output
            if stdout is not None:
                self._tty.output = self._both(stdout)
            if stdin is not None:
                self._tasks.append(asyncio.create_task(self._type(self._tty, stdin)))
            return
        if stdout is not None:
            self._tasks.append(asyncio.create_task(follow_log(kubelet, container, stdout.write, stdout.drain)))
        if stdin is not None and container.stdin is not None:
            self._input = asyncio.create_task(self._pass_on(container.stdin, stdin))

    def _both(self, stdout: _Channel) -> Callable[[bytes], object]:
        def write(data: bytes) -> None:
            self._before(data)
            if not stdout.closed:
                stdout.write(data)

        return write

    async def _pass_on(self, to: Inbox, stdin: Inbox) -> None:
        """Hands on what the client sends; its end ends the container's input if that is to be attached once only."""
        while data := await stdin.read(4096):
            to.feed(data)
            await to.room(_still_there)
        if self._container.spec.stdin_once:
            to.end()

    @staticmethod
    async def _type(tty: Tty, stdin: Inbox) -> None:
        while data := await stdin.read(4096):
            await tty.room()
            tty.input(data)

    def resize(self, rows: int, columns: int) -> None:
        if self._tty is not None:
            self._tty.resize(rows, columns)

    def hang_up(self) -> None:
        """The client went away; the container goes on."""
        if self._tty is not None:
            self._tty.output = self._before
        for task in self._tasks:
            task.cancel()

    async def wait(self) -> int:
        """Waits for the container's end. Its exit code isn't the session's: that is in the pod's status."""
        await self._container.wait()
        if self._input is not None:
            self._input.cancel()
        if self._tty is None:
            await asyncio.gather(*self._tasks, return_exceptions=True)
        self.hang_up()
        return 0


async def _still_there() -> None:
    """The receiver of the connection finds out when the client goes away."""


async def serve_exec(request: web.Request, pod: Object, kubelet: Kubelet, *, attach: bool) -> web.StreamResponse:
    """Runs a command in a container of the pod, or attaches to its own process, until that ends.

    Raises 400 and 404 errors before the connection is upgraded.
    """
    query = request.query
    command = query.getall("command", [])
    wants = {name: query.get(name, "").lower() in ("true", "1") for name in ("stdin", "stdout", "stderr", "tty")}
    container = _running(pod, kubelet, query.get("container", ""))
    if not attach and not command:
        raise bad_request("you must specify at least 1 command for the container")
    if not any(wants[name] for name in ("stdin", "stdout", "stderr")):
        raise bad_request("you must specify at least one of stdin, stdout, stderr")
    try:
        wire = await open_wire(request, wants)
    except TimeoutError as error:  # it asked for SPDY, and then for no streams
        raise ConnectionResetError("the client opened no streams") from error
    frames = Outbox()
    sender = asyncio.create_task(_send(wire, frames))
    first = STDOUT if wants["stdout"] else STDERR if wants["stderr"] else ERROR
    frames.put(bytes((first,)))  # tells the client that the streams are there
    stdin = Inbox() if wants["stdin"] else None
    stdout = _Channel(STDOUT, frames) if wants["stdout"] else None
    stderr = _Channel(STDERR, frames) if wants["stderr"] and not wants["tty"] else None
    runtime = kubelet.node.runtime
    receiver: asyncio.Task[None] | None = None
    try:
        execution: Execution | _Attachment
        if attach:
            execution = _Attachment(container, kubelet, stdin, stdout)
        else:
            execution = runtime.start_exec(
                container, command, tty=wants["tty"], stdin=stdin, stdout=stdout, stderr=stderr
            )
        outputs = [channel for channel in (stdout, stderr) if channel is not None]
        receiver = asyncio.create_task(_receive(wire, execution, stdin, outputs))
        status = _exit_status(await execution.wait())
    except OciError as error:
        exec_id = hex_id(64, "exec", container.id, *command)
        status = _start_error(f'failed to exec in container: failed to start exec "{exec_id}": {error}')
    except Exception:  # the WebSocket is open: an answer over HTTP would garble it
        logger.exception("exec failed: %s", command)
        status = _start_error("the embedded lab failed to run this command; its log says why")
    finally:
        if receiver is not None:
            receiver.cancel()
    frames.put(bytes((ERROR,)) + json.dumps(status).encode())
    frames.put(None)
    await sender
    with contextlib.suppress(ConnectionError):
        await wire.close()
    return wire.response


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


async def _send(wire: Wire, frames: Outbox) -> None:
    there = True
    while (frame := await frames.get()) is not None:
        if there:
            try:
                await wire.send(frame)
            except (ConnectionError, RuntimeError):  # the client went away; the process may go on
                there = False


async def _receive(
    wire: Wire, execution: Execution | _Attachment, stdin: Inbox | None, outputs: list[_Channel]
) -> None:
    """Hands the client's frames to the process until the connection ends; then its input ends too."""
    try:
        async for data in wire.frames():
            if not data:
                continue
            channel, payload = data[0], data[1:]
            if channel == STDIN and stdin is not None:
                stdin.feed(payload)
                await stdin.room(wire.check)
            elif channel == RESIZE:
                _resize(execution, payload)
            elif channel == CLOSE and payload[:1] == bytes((STDIN,)) and stdin is not None:
                stdin.end()
    except ConnectionError:  # found out by a ping, or said by the connection itself
        pass
    if stdin is not None:
        stdin.end()
    for output in outputs:
        output.closed = True
    execution.hang_up()


def _resize(execution: Execution | _Attachment, payload: bytes) -> None:
    try:
        size = json.loads(payload)
        rows, columns = int(size.get("Height", 24)), int(size.get("Width", 80))
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError):
        return
    if 0 < rows < 65536 and 0 < columns < 65536:  # as a terminal keeps them
        execution.resize(rows, columns)


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
