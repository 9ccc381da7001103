"""A client that speaks SPDY/3.1, as kubectl does for port-forward, and did for exec before 1.31."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import struct
import zlib
from collections.abc import AsyncIterator

from ekslab.kubernetes.apiserver.spdy import DICTIONARY


class Client:
    """A client's half of SPDY. It opens the streams of a connection as kubectl does: first the one for errors."""

    def __init__(self) -> None:
        self._headers = zlib.compressobj(zdict=DICTIONARY)
        self._next = 1
        self._received = bytearray()
        self.replies: list[int] = []
        self.data: dict[int, bytes] = {}
        self.finished: set[int] = set()
        self.resets: list[int] = []
        self.pongs: list[int] = []
        self.gone = False

    def open(self, port: int | str, request: int, kind: str, *, finished: bool = False) -> tuple[int, bytes]:
        return self.stream({"streamtype": kind, "port": str(port), "requestid": str(request)}, finished=finished)

    def stream(self, headers: dict[str, str], *, finished: bool = False) -> tuple[int, bytes]:
        stream, self._next = self._next, self._next + 2
        block = struct.pack("!I", len(headers))
        for name, value in headers.items():
            block += b"".join(struct.pack("!I", len(part)) + part.encode() for part in (name, value))
        block = self._headers.compress(block) + self._headers.flush(zlib.Z_SYNC_FLUSH)
        flags = int(finished) << 24
        head = struct.pack("!HHIIIH", 0x8003, 1, flags | (len(block) + 10), stream, 0, 0)
        self.data[stream] = b""
        return stream, head + block

    def connect(self, port: int, request: int) -> tuple[int, int, bytes]:
        error, first = self.open(port, request, "error")
        data, second = self.open(port, request, "data")
        return error, data, first + self.send(error, b"", finished=True) + second

    @staticmethod
    def send(stream: int, data: bytes, *, finished: bool = False) -> bytes:
        return struct.pack("!II", stream, int(finished) << 24 | len(data)) + data

    def feed(self, data: bytes) -> None:
        self._received += data
        while len(self._received) >= 8:
            word, length = struct.unpack_from("!II", self._received)
            flags, length = length >> 24, length & 0xFFFFFF
            if len(self._received) < 8 + length:
                return
            payload = bytes(self._received[8 : 8 + length])
            del self._received[: 8 + length]
            if not word >> 31:
                self.data[word] += payload
                if flags & 1:
                    self.finished.add(word)
                continue
            number = struct.unpack_from("!I", payload)[0]
            {2: self.replies, 3: self.resets, 6: self.pongs, 7: []}[word & 0xFFFF].append(number)
            self.gone |= word & 0xFFFF == 7


class Line:
    """The connection of a client: what is sent on it, and what has come when a condition holds."""

    def __init__(self, client, send, chunks: AsyncIterator[bytes]) -> None:
        self.client = client
        self.send = send
        self._chunks = chunks

    async def until(self, condition) -> None:
        async with asyncio.timeout(20):
            while not condition():
                self.client.feed(await anext(self._chunks))


@contextlib.asynccontextmanager
async def plain(running, path, protocol="portforward.k8s.io"):
    host, port = running.url.removeprefix("https://").split(":")
    context = ssl.create_default_context(cafile=str(running.ca))
    reader, writer = await asyncio.open_connection(host, int(port), ssl=context)
    writer.write(
        f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {running.credentials.kubernetes_token}\r\n"
        "Connection: Upgrade\r\nUpgrade: SPDY/3.1\r\nContent-Length: 0\r\n"
        f"X-Stream-Protocol-Version: {protocol}\r\n\r\n".encode()
    )
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 Switching Protocols\r\n"), head
    assert f"X-Stream-Protocol-Version: {protocol}\r\n".encode() in head

    async def send(data):
        writer.write(data)
        await writer.drain()

    async def chunks():
        while data := await reader.read(65536):
            yield data

    try:
        yield Line(Client(), send, chunks())
    finally:
        writer.close()
