"""What a client outside the node sends to a process: standard input of an exec, an attached container, a connection."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

_PING_SECONDS = 2.0


class Inbox:
    """What a client sends, as its reader takes it. A client that sends much waits for room."""

    _LIMIT = 256 * 1024  # bytes

    def __init__(self) -> None:
        self._chunks: asyncio.Queue[bytes] = asyncio.Queue()
        self._rest = memoryview(b"")
        self._waiting = 0
        self._room = asyncio.Event()
        self._ended = False

    def feed(self, data: bytes) -> None:
        if data:
            self._waiting += len(data)
            self._chunks.put_nowait(data)

    def end(self) -> None:
        self._chunks.put_nowait(b"")

    async def read(self, count: int) -> bytes:
        if not self._rest and not self._ended:
            self._rest = memoryview(await self._chunks.get())
            self._ended = not self._rest
        data, self._rest = bytes(self._rest[:count]), self._rest[count:]
        self._waiting -= len(data)
        self._room.set()
        return data

    async def room(self, there: Callable[[], Awaitable[object]]) -> None:
        """Waits until there is room for more; meanwhile calls `there` now and then, to find out if the client is."""
        while self._waiting > self._LIMIT:
            self._room.clear()
            try:
                async with asyncio.timeout(_PING_SECONDS):
                    await self._room.wait()
            except TimeoutError:
                await there()
