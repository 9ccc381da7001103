"""The lab's network: names, addresses, and HTTP between whatever lives in the lab; connections become events.

Servers are handlers of `HttpRequest`. A request or connection made by a process makes that process's socket and
connect events; one made by the lab itself (process None) makes none.
"""

from __future__ import annotations

import asyncio
import itertools
import socket as _socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ekslab.http import Handler, HttpRequest, HttpResponse
from ekslab.names import digest
from ekslab.node import abi
from ekslab.node.abi import error
from ekslab.node.descriptors import OpenFile
from ekslab.node.events import Argument, descriptor_argument, plain, result_argument

if TYPE_CHECKING:
    from ekslab.node.kernel import Process

# Where instances and pods ask for metadata and credentials: an address of its own on every node.
METADATA_IP = "169.254.169.254"
_DEFAULT_TIMEOUT = 130.0  # what an unanswered connection attempt takes on Linux


@dataclass
class _Served:
    pattern: str
    handler: Handler
    ip: str | None
    port: int | None


@dataclass
class Socket(OpenFile):
    """A socket: `local` and `remote` once it is connected; written bytes are HTTP requests, read ones the answers."""

    typechar: str = "4"
    type: str = "ipv4"
    protocol: str = "tcp"
    local: tuple[str, int] | None = None
    remote: tuple[str, int] | None = None
    handler: Handler | None = None
    _sent: bytearray = field(default_factory=bytearray)
    _received: bytearray = field(default_factory=bytearray)
    _ended: bool = False

    def __post_init__(self) -> None:
        super().__init__(flags=abi.O_RDWR)
        self._wake = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def client(self) -> tuple[str, int] | None:
        return self.local

    @property
    def server(self) -> tuple[str, int] | None:
        return self.remote

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
            task.add_done_callback(self._tasks.discard)
        elif self._sent and not _looks_like_http(self._sent):
            # What listens here speaks HTTP only.
            self._received.extend(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            self._sent.clear()
            self._ended = True
            self._wake.set()
        return len(data)

    async def _answer(self, request: HttpRequest, handler: Handler) -> None:
        response = await handler(request)
        head = f"HTTP/1.1 {response.status} {reason(response.status)}\r\n"
        headers = {"Content-Length": str(len(response.body)), **response.headers}
        head += "".join(f"{name}: {value}\r\n" for name, value in headers.items()) + "\r\n"
        self._received.extend(head.encode() + response.body)
        self._ended = request.header("Connection").lower() == "close"
        self._wake.set()

    async def read(self, size: int) -> bytes:
        if self.remote is None:
            raise error("ENOTCONN")
        while not self._received:
            if self._ended:
                return b""
            self._wake.clear()
            await self._wake.wait()
        data = bytes(self._received[:size])
        del self._received[:size]
        return data

    def read_now(self, size: int) -> bytes:
        raise error("EAGAIN")


async def _answered(handler: Handler, request: HttpRequest) -> HttpResponse:
    return await handler(request)


class Network:
    """Names and servers that every node and pod of the lab can reach."""

    def __init__(self) -> None:
        self._served: list[_Served] = []
        self._listeners: dict[tuple[str, int], Handler] = {}
        self._names: dict[str, str] = {}
        self._reverse: dict[str, str] = {}
        self._ports = itertools.count(32_768)

    # -- names -------------------------------------------------------------------------------------------------------

    def add_name(self, name: str, ip: str) -> None:
        self._names[name.lower()] = ip
        self._reverse[ip] = name.lower()

    def remove_name(self, name: str) -> None:
        ip = self._names.pop(name.lower(), None)
        if ip is not None and self._reverse.get(ip) == name.lower():
            del self._reverse[ip]

    def name_of(self, ip: str) -> str | None:
        """The name that an address was given, if any."""
        return self._reverse.get(ip)

    def resolve(self, host: str, search: Sequence[str] = ()) -> str:
        """The address of a name; `search` are the domains tried after it. Raises socket.gaierror for an unknown one."""
        host = host.lower().rstrip(".")
        if host == "localhost":
            return "127.0.0.1"
        if _is_address(host):
            return host
        for candidate in (host, *(f"{host}.{domain}" for domain in search)):
            if candidate in self._names:
                return self._names[candidate]
            served = next((entry for entry in self._served if fnmatchcase(candidate, entry.pattern)), None)
            if served is not None:
                ip = served.ip or _public_address(candidate)
                self._reverse.setdefault(ip, candidate)
                return ip
        raise _socket.gaierror(_socket.EAI_NONAME, "Name or service not known")

    def search_domains(self, process: Process | None) -> list[str]:
        """The search list of a pod's resolv.conf."""
        if process is None or process.container is None:
            return []
        namespace = process.container.spec.pod_namespace or "default"
        return [f"{namespace}.svc.cluster.local", "svc.cluster.local", "cluster.local"]

    # -- servers -----------------------------------------------------------------------------------------------------

    def serve(
        self, host_glob: str, handler: Handler, *, ip: str | None = None, port: int | None = None
    ) -> Callable[[], None]:
        """Answers requests for every host that matches; `port` None means 80 and 443. Returns what stops it."""
        entry = _Served(host_glob.lower(), handler, ip, port)
        self._served.append(entry)
        if ip is not None and "*" not in host_glob and not _is_address(host_glob):
            self.add_name(host_glob, ip)

        def stop() -> None:
            if entry in self._served:
                self._served.remove(entry)

        return stop

    def listen(self, ip: str, port: int, handler: Handler) -> Callable[[], None]:
        """Answers at an address; returns what stops it. EADDRINUSE when somebody does already."""
        key = (ip, port)
        if key in self._listeners:
            raise error("EADDRINUSE")
        self._listeners[key] = handler

        def stop() -> None:
            if self._listeners.get(key) is handler:
                del self._listeners[key]

        return stop

    def handler_for(self, ip: str, port: int, host: str = "") -> Handler | None:
        """What answers at an address and port, for a host name where several share them."""
        handler = self._listeners.get((ip, port))
        if handler is not None:
            return handler
        for entry in self._served:
            if port != entry.port and (entry.port is not None or port not in (80, 443)):
                continue
            named = fnmatchcase(host.lower(), entry.pattern) if host and not _is_address(host) else False
            here = (
                entry.ip == ip
                or entry.pattern == ip
                or (
                    entry.ip is None
                    and self._reverse.get(ip, "") != ""
                    and fnmatchcase(self._reverse[ip], entry.pattern)
                )
            )
            if named or here:
                return entry.handler
        return None

    # -- clients -----------------------------------------------------------------------------------------------------

    async def http(self, process: Process | None, request: HttpRequest, timeout: float | None = None) -> HttpResponse:
        """Sends a request and returns the answer, whatever its status.

        Raises socket.gaierror (unknown name), ConnectionRefusedError, TimeoutError (nobody at that address).
        """
        url = urlsplit(request.url)
        host = url.hostname or ""
        port = url.port or (443 if url.scheme == "https" else 80)

        async def exchange() -> HttpResponse:
            if process is None:
                ip = self.resolve(host)
                handler = self.handler_for(ip, port, host)
                if handler is None:
                    raise error("ECONNREFUSED")
                return await self._served_by(handler, request)
            fd = await self.connect(process, host, port)
            try:
                handler = self.handler_for(self._target(process, host), port, host)
                if handler is None:
                    raise error("ECONNREFUSED")
                return await self._served_by(handler, request)
            finally:
                if fd in process.fds:
                    process.close(fd)

        return await asyncio.wait_for(exchange(), timeout)

    @staticmethod
    async def _served_by(handler: Handler, request: HttpRequest) -> HttpResponse:
        """The server's work is a task of its own, and not time for which the client's program runs."""
        return await asyncio.get_running_loop().create_task(_answered(handler, request))

    def _target(self, process: Process, host: str) -> str:
        ip = self.resolve(host, self.search_domains(process))
        return process.ip if ip.startswith("127.") else ip

    async def connect(self, process: Process, host: str, port: int, *, nonblocking: bool = False) -> int:
        """Opens a TCP connection for a process; a descriptor. Events: socket, connect."""
        shown = self.resolve(host, self.search_domains(process))
        ip = process.ip if shown.startswith("127.") else shown
        handler = self.handler_for(ip, port, host)
        fd = self.socket(process, "AF_INET", 1, 6)
        sock = process.fds[fd]
        assert isinstance(sock, Socket)
        local = "127.0.0.1" if shown.startswith("127.") else process.ip
        sock.local, sock.remote = (local, next(self._ports)), (shown, port)
        sock.name = f"{local}:{sock.local[1]}->{shown}:{port}"
        sock.handler = handler
        reachable = handler is not None or self._host_answers(ip)
        # A client that doesn't block sees the connection in progress before it knows how it ends.
        if nonblocking or not reachable:
            number = -abi.errno_number("EINPROGRESS")
        else:
            number = 0 if handler is not None else -abi.errno_number("ECONNREFUSED")
        process.emit_network(
            "connect",
            number,
            result_argument(number),
            plain("tuple", sock.name),
            descriptor_argument("fd", fd, sock),
            plain("addr", f"{shown}:{port}"),
            fd=fd,
            file=sock,
        )
        if handler is not None:
            return fd
        if not reachable:
            try:
                await asyncio.sleep(_DEFAULT_TIMEOUT)
            finally:
                if fd in process.fds:
                    process.close(fd)
            raise error("ETIMEDOUT")
        process.close(fd)
        raise error("ECONNREFUSED")

    def _host_answers(self, ip: str) -> bool:
        """Whether somebody lives at an address, so that a closed port refuses; else packets vanish."""
        return any(address == ip for address, _ in self._listeners) or ip in self._reverse or ip.startswith("10.")

    def socket(self, process: Process, domain: str, type: int, protocol: int) -> int:
        """Makes a socket that isn't connected. AF_PACKET needs CAP_NET_RAW (EPERM)."""
        number, typechar, name = _DOMAINS.get(domain, (0, "o", ""))
        if domain == "AF_PACKET" and "CAP_NET_RAW" not in process.capabilities:
            raise error("EPERM")
        sock = Socket(typechar=typechar, type=name, protocol="tcp" if protocol in (0, 6) else "udp")
        fd = process.install(sock)
        process.emit_network(
            "socket",
            fd,
            descriptor_argument("fd", fd, sock),
            Argument("domain", f"{number}({_DOMAIN_TEXT.get(domain, domain)})", _DOMAIN_TEXT.get(domain, domain)),
            plain("type", str(type)),
            plain("proto", str(protocol)),
            Argument("flags", "0(O_NONE)", "O_NONE"),
            fd=fd,
            file=sock,
        )
        return fd

    def unix_connect(self, process: Process, path: str) -> None:
        """An attempt to reach a local socket that isn't there, as the C library makes with nscd's."""
        fd = self.socket(process, "AF_UNIX", 526_337, 0)
        sock = process.fds[fd]
        number = -abi.errno_number("ENOENT")
        process.emit_network(
            "connect",
            number,
            result_argument(number),
            plain("tuple", "NULL"),
            descriptor_argument("fd", fd, sock),
            plain("addr", path),
            fd=fd,
            file=sock,
        )
        process.close(fd)


_DOMAINS = {
    "AF_UNIX": (1, "u", "unix"),
    "AF_INET": (2, "4", "ipv4"),
    "AF_INET6": (10, "6", "ipv6"),
    "AF_PACKET": (17, "o", ""),
}
_DOMAIN_TEXT = {"AF_UNIX": "AF_LOCAL|AF_UNIX"}

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
    429: "Too Many Requests",
    500: "Internal Server Error",
    502: "Bad Gateway",
    503: "Service Unavailable",
}


def reason(status: int) -> str:
    """The words that go with an HTTP status."""
    return _REASONS.get(status, "")


def _is_address(host: str) -> bool:
    return ":" in host or (host.count(".") == 3 and all(part.isdigit() and int(part) < 256 for part in host.split(".")))


def _public_address(host: str) -> str:
    """An address for a host of the outside world, the same in every run (52.0.0.0/8 is mostly Amazon's)."""
    return "52." + ".".join(str(byte) for byte in digest("address", host)[:3])


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
