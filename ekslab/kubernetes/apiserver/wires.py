"""How `exec` and `attach` travel: as channels of a WebSocket, or as streams of SPDY from kubectl before 1.31.

A frame begins with the number of its channel in either case: 0 to 2 are the process's standard streams, 3 is how it
ended, 4 the size of the terminal, and 255 says that the client closes the channel that follows.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Protocol

from aiohttp import WSMsgType, web

from ekslab.kubernetes.apiserver.spdy import Decoder, Encoder, Ping, SpdyError, StreamData, StreamOpened
from ekslab.kubernetes.apiserver.upgrade import Upgraded
from ekslab.kubernetes.objects.errors import ApiError, bad_request

STDIN, STDOUT, STDERR, ERROR, RESIZE, CLOSE = 0, 1, 2, 3, 4, 255
_CHANNELS = ("v5.channel.k8s.io", "v4.channel.k8s.io")
_STREAMS = "v4.channel.k8s.io"
_NUMBERS = {"stdin": STDIN, "stdout": STDOUT, "stderr": STDERR, "error": ERROR, "resize": RESIZE}
_MAX_MESSAGE = 16 * 1024 * 1024  # bytes; the official Python client sends all input as one
_OPENING_SECONDS = 30.0


class Wire(Protocol):
    """A client's connection."""

    @property
    def response(self) -> web.StreamResponse: ...

    async def send(self, frame: bytes) -> None:
        """Raises ConnectionError or RuntimeError when the client has gone."""

    def frames(self) -> AsyncIterator[bytes]:
        """What the client sends, until it goes away."""

    async def check(self) -> object:
        """Raises ConnectionError when the client has gone, if that can be found out."""

    async def close(self) -> None: ...


async def open_wire(request: web.Request, wants: Mapping[str, bool]) -> Wire:
    """Upgrades the connection of a client that wants these streams. Raises 400 errors if that can't be."""
    if request.headers.get("Upgrade", "").lower() == "spdy/3.1":
        return await _SpdyWire.opened(request, wants)
    socket = web.WebSocketResponse(protocols=_CHANNELS, autoping=True, max_msg_size=_MAX_MESSAGE)
    if not socket.can_prepare(request):
        raise ApiError(400, "BadRequest", "Upgrade request required")
    await socket.prepare(request)
    return _WebSocketWire(socket)


class _WebSocketWire:
    def __init__(self, socket: web.WebSocketResponse) -> None:
        self._socket = socket

    @property
    def response(self) -> web.StreamResponse:
        return self._socket

    async def send(self, frame: bytes) -> None:
        if self._socket.closed:
            raise ConnectionResetError("the client closed the connection")
        await self._socket.send_bytes(frame)

    async def frames(self) -> AsyncIterator[bytes]:
        async for message in self._socket:
            if message.type is WSMsgType.TEXT:
                yield message.data.encode()
            elif message.type is WSMsgType.BINARY:
                yield message.data

    async def check(self) -> object:
        await self._socket.ping()
        return None

    async def close(self) -> None:
        await self._socket.close()


class _SpdyWire:
    def __init__(self, upgraded: Upgraded, request: web.Request) -> None:
        self._upgraded = upgraded
        self._request = request
        self._chunks = upgraded.chunks()
        self._decoder = Decoder()
        self._encoder = Encoder()
        self._streams: dict[int, int] = {}
        self._early: list[bytes] = []

    @classmethod
    async def opened(cls, request: web.Request, wants: Mapping[str, bool]) -> _SpdyWire:
        offered = [
            word.strip() for line in request.headers.getall("X-Stream-Protocol-Version", []) for word in line.split(",")
        ]
        if _STREAMS not in offered:
            raise bad_request(f"unable to negotiate protocol: client supports {offered}, server accepts [{_STREAMS}]")
        upgraded = Upgraded("SPDY/3.1", {"X-Stream-Protocol-Version": _STREAMS})
        await upgraded.start(request)
        wire = cls(upgraded, request)
        needed = {ERROR, *(_NUMBERS[name] for name in ("stdin", "stdout") if wants[name])}
        needed |= {RESIZE} if wants["tty"] else {STDERR} if wants["stderr"] else set()
        async with asyncio.timeout(_OPENING_SECONDS):
            while needed - set(wire._streams):
                wire._early += await wire._more()
        return wire

    @property
    def response(self) -> web.StreamResponse:
        return self._upgraded

    async def _more(self) -> list[bytes]:
        """The next frames of the client; raises ConnectionError at the end."""
        found: list[bytes] = []
        try:
            for frame in self._decoder.feed(await anext(self._chunks)):
                match frame:
                    case StreamOpened(stream, headers, _):
                        number = _NUMBERS.get(headers.get("streamtype", ""))
                        if number is not None and number not in self._streams:
                            self._streams[number] = stream
                            await self._upgraded.write(self._encoder.reply(stream))
                    case StreamData(stream, data, finished):
                        number = next((n for n, known in self._streams.items() if known == stream), None)
                        if number is not None:
                            found += [bytes((number,)) + data] if data else []
                            found += [bytes((CLOSE, number))] if finished else []
                    case Ping(number):
                        await self._upgraded.write(self._encoder.pong(number))
        except (SpdyError, StopAsyncIteration) as error:
            raise ConnectionResetError(str(error)) from error
        return found

    async def frames(self) -> AsyncIterator[bytes]:
        while True:
            for frame in self._early:
                yield frame
            self._early = await self._more()

    async def send(self, frame: bytes) -> None:
        number, data = frame[0], frame[1:]
        stream = self._streams.get(number)
        if stream is not None and data:
            await self._upgraded.write(self._encoder.data(stream, data, finished=number == ERROR))

    async def check(self) -> object:
        if self._request.transport is None or self._request.transport.is_closing():
            raise ConnectionResetError("the client closed the connection")
        return None

    async def close(self) -> None:
        for number in (STDOUT, STDERR):
            if number in self._streams:
                await self._upgraded.write(self._encoder.data(self._streams[number], b"", finished=True))
        if self._request.transport is not None:
            self._request.transport.close()
