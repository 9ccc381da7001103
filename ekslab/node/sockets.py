"""Sockets as open files. Bytes written to one are parsed as HTTP and answered by the handler at the other end."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field, replace
from typing import ClassVar

from ekslab.http import Handler, HttpRequest, HttpResponse
from ekslab.node import abi
from ekslab.node.abi import error
from ekslab.node.descriptors import OpenFile

_MOST_UNREAD_OF_ALL = 64 * 1024 * 1024
_TOO_MUCH = b"the embedded lab holds too much that clients haven't read\n"
_MOST_UNREAD = 1024 * 1024  # bytes of answers that the client hasn't read
_MAX_REQUEST = 4 * 1024 * 1024  # bytes, with its headers


@dataclass
class Socket(OpenFile):
    """A socket, with `local` and `remote` once it is connected. It carries HTTP requests and their answers."""

    unread: ClassVar[int] = 0
    """Bytes of answers that wait in all sockets together."""

    typechar: str = "4"
    type: str = "ipv4"
    protocol: str = "tcp"
    local: tuple[str, int] | None = None
    remote: tuple[str, int] | None = None
    handler: Handler | None = None
    accepted: bool = False
    """Whether it is the server's end."""
    _sent: bytearray = field(default_factory=bytearray)
    _received: deque[memoryview] = field(default_factory=deque)
    _waiting: int = 0
    _ended: bool = False
    _shut: bool = False

    def __post_init__(self) -> None:
        super().__init__(flags=abi.O_RDWR)
        self._wake = asyncio.Event()
        self._taken = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def client(self) -> tuple[str, int] | None:
        return self.remote if self.accepted else self.local

    @property
    def server(self) -> tuple[str, int] | None:
        return self.local if self.accepted else self.remote

    def write(self, data: bytes, now: int) -> int:
        if self.remote is None:
            raise error("ENOTCONN")
        if self._ended:
            raise error("EPIPE")
        self._sent.extend(data)
        request = _parse_request(self._sent, self.remote)
        if request is not None and self.handler is not None:
            self._sent.clear()
            task = asyncio.get_running_loop().create_task(self._answer(request, self.handler))
            self._tasks.add(task)
            task.add_done_callback(self._answered)
        elif self._sent and not _looks_like_http(self._sent):
            self._refuse(400)  # what listens here speaks HTTP only
        elif len(self._sent) > _MAX_REQUEST:
            self._refuse(413)
        return len(data)

    def _answered(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._taken.set()

    def _receive(self, *parts: bytes) -> None:
        for part in parts:
            if part:
                self._received.append(memoryview(part))
                self._waiting += len(part)
                Socket.unread += len(part)

    def closed(self) -> None:
        Socket.unread -= self._waiting
        self._waiting = 0
        self._received.clear()

    async def settled(self) -> None:
        """Waits until requests are answered and most of the answers read: as long, a server reads nothing more."""
        while self._tasks or self._waiting > _MOST_UNREAD:
            self._taken.clear()
            await self._taken.wait()

    def _refuse(self, status: int) -> None:
        head = f"HTTP/1.1 {status} {reason(status)}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        self._receive(head.encode())
        self._sent.clear()
        self._ended = True
        self._wake.set()

    def shut(self) -> None:
        """Nothing more is written: the other end closes the connection when it has answered."""
        self._shut = True
        if not self._tasks:
            self._ended = True
            self._wake.set()

    async def _answer(self, request: HttpRequest, handler: Handler) -> None:
        if self.local is not None:
            request = replace(request, peer=self.local[0])
        response = await handler(request)
        if Socket.unread + len(response.body) > _MOST_UNREAD_OF_ALL:
            response = HttpResponse(503, body=_TOO_MUCH)
        head = f"HTTP/1.1 {response.status} {reason(response.status)}\r\n"
        headers = {"Content-Length": str(len(response.body)), **response.headers}
        head += "".join(f"{name}: {value}\r\n" for name, value in headers.items()) + "\r\n"
        self._receive(head.encode(), response.body)
        self._ended = self._shut or request.header("Connection").lower() == "close"
        self._wake.set()

    async def read(self, size: int) -> bytes:
        if self.remote is None:
            raise error("ENOTCONN")
        while not self._received:
            if self._ended:
                return b""
            self._wake.clear()
            await self._wake.wait()
        first = self._received.popleft()
        if len(first) > size:
            self._received.appendleft(first[size:])
        data = bytes(first[:size])
        self._waiting -= len(data)
        Socket.unread -= len(data)
        self._taken.set()
        return data

    def read_now(self, size: int) -> bytes:
        raise error("EAGAIN")


_REASONS = {
    200: "OK",
    201: "Created",
    204: "No Content",
    206: "Partial Content",
    301: "Moved Permanently",
    302: "Found",
    304: "Not Modified",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    409: "Conflict",
    413: "Request Entity Too Large",
    429: "Too Many Requests",
    500: "Internal Server Error",
    502: "Bad Gateway",
    503: "Service Unavailable",
}


def reason(status: int) -> str:
    """The words that go with an HTTP status."""
    return _REASONS.get(status, "")


def _looks_like_http(data: bytes | bytearray) -> bool:
    first = bytes(data).split(b"\n", 1)[0]
    return b"\n" not in data or first.rstrip().endswith((b"HTTP/1.0", b"HTTP/1.1"))


def _parse_request(data: bytes | bytearray, remote: tuple[str, int]) -> HttpRequest | None:
    """A whole HTTP request, or None while there isn't one."""
    for separator in (b"\r\n\r\n", b"\n\n"):
        head, found, body = bytes(data).partition(separator)
        if found:
            break
    else:
        return None
    lines = head.decode("latin-1").splitlines()
    words = lines[0].split()
    if len(words) != 3 or not words[2].startswith("HTTP/1."):
        return None
    headers = {}
    for line in lines[1:]:
        name, _, value = line.partition(":")
        headers[name.strip()] = value.strip()
    lowered = {name.lower(): value for name, value in headers.items()}
    length = lowered.get("content-length", "0")
    if not length.isdigit() or len(body) < int(length):
        return None
    host = lowered.get("host", f"{remote[0]}:{remote[1]}")
    if words[2] == "HTTP/1.0":
        headers.setdefault("Connection", "close")
    return HttpRequest(words[0], f"http://{host}{words[1]}", headers, body[: int(length)])
