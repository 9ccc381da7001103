"""`port-forward`: bridges streams of a client to connections inside a pod's network namespace.

kubectl 1.31 and later sends SPDY inside a WebSocket, kubectl before that plain SPDY, the official Python client the
channels of a WebSocket. In SPDY each connection is a pair of streams, for data and for an error message.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

from aiohttp import WSMsgType, web

from ekslab.kubernetes.apiserver.channels import Outbox
from ekslab.kubernetes.apiserver.spdy import (
    REFUSED_STREAM,
    Decoder,
    Encoder,
    GoAway,
    Ping,
    SpdyError,
    StreamData,
    StreamOpened,
    StreamReset,
)
from ekslab.kubernetes.apiserver.upgrade import Upgraded
from ekslab.kubernetes.kubelet.kubelet import Kubelet
from ekslab.kubernetes.kubelet.pod import sandbox_of
from ekslab.kubernetes.objects.errors import bad_request
from ekslab.kubernetes.objects.resources import Object
from ekslab.node import Inbox

PROTOCOL = "portforward.k8s.io"
_TUNNEL = f"SPDY/3.1+{PROTOCOL}"
_CHANNELS = "v4.channel.k8s.io"
_MAX_MESSAGE = 16 * 1024 * 1024  # bytes of a WebSocket's message
_MAX_STREAMS = 512  # of one session; two for each connection
_MAX_PORTS = 64
_CHUNK = 32 * 1024  # bytes


async def serve_port_forward(request: web.Request, pod: Object, kubelet: Kubelet) -> web.StreamResponse:
    """Forwards connections to ports of the pod until the client goes away.

    Raises 400 errors before the connection is upgraded.
    """
    if request.headers.get("Upgrade", "").lower() == "spdy/3.1":
        offered = request.headers.getall("X-Stream-Protocol-Version", [])
        if PROTOCOL not in [word.strip() for line in offered for word in line.split(",")]:
            raise bad_request(f"unable to negotiate protocol: client supports {offered}, server accepts [{PROTOCOL}]")
        upgraded = Upgraded("SPDY/3.1", {"X-Stream-Protocol-Version": PROTOCOL})
        await upgraded.start(request)
        await _Session(pod, kubelet, upgraded.write).run(upgraded.chunks())
        if request.transport is not None:
            request.transport.close()
        return upgraded
    socket = web.WebSocketResponse(protocols=(_TUNNEL, _CHANNELS), max_msg_size=_MAX_MESSAGE)
    ready = socket.can_prepare(request)
    if not ready:
        raise bad_request("Upgrade request required")
    if ready.protocol == _TUNNEL:
        await socket.prepare(request)
        await _Session(pod, kubelet, socket.send_bytes).run(_messages(socket))
    else:
        ports = _ports(request)
        await socket.prepare(request)
        await _channels(socket, pod, kubelet, ports)
    await socket.close()
    return socket


async def _messages(socket: web.WebSocketResponse) -> AsyncIterator[bytes]:
    async for message in socket:
        if message.type is WSMsgType.BINARY:
            yield message.data


def _ports(request: web.Request) -> list[int]:
    """The ports of a client that speaks in channels. Raises a 400 error."""
    ports = []
    for text in [word for value in request.query.getall("ports", []) for word in value.split(",")]:
        if not text:
            raise bad_request('query parameter "port" cannot be empty')
        if not text.isdecimal() or len(text) > 5 or int(text) > 65535:
            raise bad_request(f'unable to parse "{text[:20]}" as a port: strconv.ParseUint: invalid syntax')
        if int(text) < 1:
            raise bad_request(f'port "{text}" must be > 0')
        ports.append(int(text))
    if not ports:
        raise bad_request('query parameter "port" is required')
    if len(ports) > _MAX_PORTS:
        raise bad_request(f"the embedded cluster forwards at most {_MAX_PORTS} ports at a time")
    return ports


async def _forward(
    pod: Object,
    kubelet: Kubelet,
    port: int,
    inbox: Inbox,
    write: Callable[[bytes], object],
    drain: Callable[[], Awaitable[object]],
) -> str:
    """Copies between a client and a port of the pod until the pod's end is closed; an error's text if it couldn't."""
    try:
        connection = await kubelet.connect(pod, port)
    except OSError as error:
        return f"error forwarding port {port} to pod {sandbox_of(pod)}, uid : {error}"

    async def upstream() -> None:
        try:
            while data := await inbox.read(_CHUNK):
                await connection.write(data)
        except OSError:  # the pod closed it; what it had sent before still goes to the client
            return
        connection.shut()

    sending = asyncio.create_task(upstream())
    try:
        while data := await connection.read(_CHUNK):
            write(data)
            await drain()
    finally:
        sending.cancel()
        connection.close()
    return ""


async def _send(outbox: Outbox, send: Callable[[bytes], Awaitable[object]]) -> None:
    """Sends what is on its way to the client; what can't be sent any more is dropped."""
    there = True
    while (frame := await outbox.get()) is not None:
        if there:
            try:
                await send(frame)
            except (ConnectionError, RuntimeError):
                there = False


class _Session:
    """One client that speaks SPDY, and its connections."""

    def __init__(self, pod: Object, kubelet: Kubelet, send: Callable[[bytes], Awaitable[object]]) -> None:
        self._pod = pod
        self._kubelet = kubelet
        self._outbox = Outbox()
        self._encoder = Encoder()
        self._sender = asyncio.create_task(_send(self._outbox, send))
        self._errors: dict[str, int] = {}
        self._streams: set[int] = set()
        self._inboxes: dict[int, Inbox] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}

    async def run(self, chunks: AsyncIterator[bytes]) -> None:
        decoder = Decoder()
        try:
            async for chunk in chunks:
                for frame in decoder.feed(chunk):
                    match frame:
                        case StreamOpened():
                            self._open(frame)
                        case StreamData():
                            await self._data(frame)
                        case StreamReset(stream):
                            self._reset(stream)
                        case Ping(number):
                            self._outbox.put(self._encoder.pong(number))
                        case GoAway():
                            return
        except (SpdyError, ConnectionError):
            self._outbox.put(self._encoder.go_away(max(self._streams, default=0)))
        finally:
            for task in tuple(self._tasks.values()):
                task.cancel()
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)
            self._outbox.put(None)
            await self._sender

    def _open(self, frame: StreamOpened) -> None:
        kind, request = frame.headers.get("streamtype", ""), frame.headers.get("requestid", "")
        port = frame.headers.get("port", "")
        valid = port.isdecimal() and len(port) <= 5 and 0 < int(port) < 65536 and frame.id not in self._streams
        if not valid or kind not in ("data", "error") or len(self._streams) >= _MAX_STREAMS:
            self._outbox.put(self._encoder.reset(frame.id, REFUSED_STREAM))
            return
        self._streams.add(frame.id)
        self._outbox.put(self._encoder.reply(frame.id))
        if kind == "error":
            self._errors[request] = frame.id
            return
        inbox = self._inboxes[frame.id] = Inbox()
        if frame.finished:
            inbox.end()
        task = asyncio.create_task(self._connection(frame.id, self._errors.pop(request, 0), int(port), inbox))
        self._tasks[frame.id] = task
        task.add_done_callback(lambda _: self._tasks.pop(frame.id, None))

    async def _connection(self, stream: int, error: int, port: int, inbox: Inbox) -> None:
        try:
            text = await _forward(
                self._pod,
                self._kubelet,
                port,
                inbox,
                lambda data: self._outbox.put(self._encoder.data(stream, data)),
                self._outbox.room,
            )
            if error:
                self._outbox.put(self._encoder.data(error, text.encode(), finished=True))
            self._outbox.put(self._encoder.data(stream, b"", finished=True))
        finally:
            self._inboxes.pop(stream, None)
            self._streams -= {stream, error}

    async def _data(self, frame: StreamData) -> None:
        inbox = self._inboxes.get(frame.id)
        if inbox is not None:
            inbox.feed(frame.data)
            if frame.finished:
                inbox.end()
            await inbox.room(_nothing)

    def _reset(self, stream: int) -> None:
        task = self._tasks.get(stream)
        if task is not None:
            task.cancel()


async def _nothing() -> None:
    """The connection itself says when the client went away."""


async def _channels(socket: web.WebSocketResponse, pod: Object, kubelet: Kubelet, ports: list[int]) -> None:
    """Two channels for each port, for data and for an error message; each begins with the port's number."""
    outbox = Outbox()
    sender = asyncio.create_task(_send(outbox, socket.send_bytes))
    inboxes = [Inbox() for _ in ports]

    async def connection(index: int, port: int) -> None:
        data, error = bytes((2 * index,)), bytes((2 * index + 1,))
        number = port.to_bytes(2, "little")
        outbox.put(data + number)
        outbox.put(error + number)
        text = await _forward(pod, kubelet, port, inboxes[index], lambda chunk: outbox.put(data + chunk), outbox.room)
        if text:
            outbox.put(error + text.encode())

    tasks = [asyncio.create_task(connection(index, port)) for index, port in enumerate(ports)]
    whole = asyncio.create_task(asyncio.wait(tasks))
    receiver = asyncio.create_task(_receive(socket, inboxes))
    try:
        await asyncio.wait((whole, receiver), return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (whole, receiver, *tasks):
            task.cancel()
        await asyncio.gather(whole, receiver, *tasks, return_exceptions=True)
        outbox.put(None)
        await sender


async def _receive(socket: web.WebSocketResponse, inboxes: list[Inbox]) -> None:
    async for data in _messages(socket):
        channel = data[0] if data else 1
        if channel % 2 == 0 and channel // 2 < len(inboxes):
            inbox = inboxes[channel // 2]
            inbox.feed(data[1:])
            await inbox.room(_nothing)
