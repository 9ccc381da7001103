"""What is on its way to a client that holds a connection open."""

from __future__ import annotations

import asyncio


class Outbox:
    """Frames on their way to the client, in order; None ends them. Who writes much waits for room."""

    _LIMIT = 64

    def __init__(self) -> None:
        self._frames: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._room = asyncio.Event()
        self._room.set()

    def put(self, frame: bytes | None) -> None:
        self._frames.put_nowait(frame)
        if self._frames.qsize() >= self._LIMIT:
            self._room.clear()

    async def get(self) -> bytes | None:
        frame = await self._frames.get()
        if self._frames.qsize() < self._LIMIT:
            self._room.set()
        return frame

    @property
    def full(self) -> bool:
        return not self._room.is_set()

    async def room(self) -> None:
        await self._room.wait()
