"""Connections that leave HTTP by `Upgrade: SPDY/3.1`, as kubectl before 1.31 and other clients of client-go ask for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

from aiohttp import web

_LIMIT = 256 * 1024  # bytes that wait to be read; a client that sends more is paused


class _Received:
    """What aiohttp's protocol hands over once the connection isn't HTTP any more."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._waiting = bytearray()
        self._ended = False
        self._arrived = asyncio.Event()

    def feed_data(self, data: bytes, *_: object) -> tuple[bool, bytes]:
        self._waiting += data
        if len(self._waiting) > _LIMIT:
            self._transport.pause_reading()
        self._arrived.set()
        return False, b""

    def feed_eof(self) -> None:
        self._ended = True
        self._arrived.set()

    def set_exception(self, *_: object) -> None:
        self.feed_eof()

    async def read(self) -> bytes:
        while not self._waiting and not self._ended:
            self._arrived.clear()
            await self._arrived.wait()
        data = bytes(self._waiting)
        self._waiting.clear()
        if not self._transport.is_closing():
            self._transport.resume_reading()
        return data


class Upgraded(web.StreamResponse):
    """The answer 101, and the bytes that follow in both directions."""

    def __init__(self, protocol: str, headers: Mapping[str, str]) -> None:
        super().__init__(status=101, reason="Switching Protocols")
        self.headers.update({"Connection": "Upgrade", "Upgrade": protocol, **headers})
        self._received: _Received | None = None
        self._transport: asyncio.Transport | None = None

    async def start(self, request: web.Request) -> None:
        transport = self._transport = request.transport
        if transport is None:
            raise ConnectionResetError("the client went away")
        self.force_close()
        await self.prepare(request)
        received = self._received = _Received(transport)
        protocol: Any = request.protocol  # whose parser is declared to be that of WebSockets
        protocol.keep_alive(False)
        protocol.set_parser(received)

    async def write(self, data: bytes | bytearray | memoryview) -> None:
        """Raises ConnectionResetError when the client has gone."""
        if self._transport is None or self._transport.is_closing():
            raise ConnectionResetError("the client closed the connection")
        await super().write(data)

    async def chunks(self) -> AsyncIterator[bytes]:
        """What the client sends, until it goes away."""
        assert self._received is not None
        while data := await self._received.read():
            yield data
