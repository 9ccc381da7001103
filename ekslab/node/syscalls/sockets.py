"""socket, connect, listen, and HTTP requests over them. Events: socket, connect, accept4."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from ekslab.http import HttpRequest, HttpResponse
from ekslab.node import abi
from ekslab.node.abi import error
from ekslab.node.arguments import Argument, descriptor_argument, plain, result_argument
from ekslab.node.kernel import Task
from ekslab.node.network import Accept, destination, served_by
from ekslab.node.sockets import Socket

_UNANSWERED = 130.0  # seconds after which Linux gives up a connection attempt
_DOMAINS = {
    "AF_UNIX": (1, "u", "unix"),
    "AF_INET": (2, "4", "ipv4"),
    "AF_INET6": (10, "6", "ipv6"),
    "AF_PACKET": (17, "o", ""),
}
_DOMAIN_TEXT = {"AF_UNIX": "AF_LOCAL|AF_UNIX"}


class SocketCalls(Task):
    """Sockets."""

    def resolve(self, host: str) -> str:
        """The address of a name, tried with the search domains of the pod's resolv.conf; socket.gaierror if unknown."""
        if self.container is None:
            return self.network.resolve(host)
        namespace = self.container.spec.pod_namespace or "default"
        search = (f"{namespace}.svc.cluster.local", "svc.cluster.local", "cluster.local")
        return self.network.resolve(host, search)

    def socket(self, domain: str, type: int = 1, protocol: int = 0) -> int:
        """A socket that isn't connected; `domain` is Linux's name. AF_PACKET needs CAP_NET_RAW (EPERM)."""
        return self._socket(domain, type, protocol)[0]

    def _socket(self, domain: str, type: int, protocol: int) -> tuple[int, Socket]:
        number, typechar, name = _DOMAINS.get(domain, (0, "o", ""))
        if domain == "AF_PACKET" and "CAP_NET_RAW" not in self.capabilities:
            raise error("EPERM")
        sock = Socket(typechar=typechar, type=name, protocol="tcp" if protocol in (0, 6) else "udp")
        fd = self.install(sock)
        text = _DOMAIN_TEXT.get(domain, domain)
        self.emit(
            "socket",
            fd,
            descriptor_argument("fd", fd, sock),
            Argument("domain", f"{number}({text})", text),
            plain("type", str(type)),
            plain("proto", str(protocol)),
            Argument("flags", "0(O_NONE)", "O_NONE"),
            fd=fd,
            file=sock,
        )
        return fd, sock

    async def connect(self, host: str, port: int, *, nonblocking: bool = False) -> int:
        """A descriptor of a TCP connection; raises socket.gaierror, ECONNREFUSED or, in time, ETIMEDOUT."""
        address = self.resolve(host)
        local = address.startswith("127.")
        ip = self.ip if local else self._scoped(address)
        vanishes = not local and not self.network.allows(self.ip, ip, port)
        handler = None if vanishes else self.network.handler_for(ip, port, host)
        fd, sock = self._socket("AF_INET", 1, 6)
        sock.local, sock.remote = ("127.0.0.1" if local else self.ip, self.network.new_port()), (address, port)
        sock.name = f"{sock.local[0]}:{sock.local[1]}->{address}:{port}"
        sock.handler = handler
        reachable = handler is not None or (not vanishes and self.network.host_answers(ip))
        # A client that doesn't block sees the connection in progress before it knows how it ends.
        if nonblocking or not reachable:
            result = "EINPROGRESS"
        else:
            result = "" if handler is not None else "ECONNREFUSED"
        self._emit_connect(fd, sock, result, sock.name, f"{address}:{port}")
        if handler is not None:
            self.network.connected(ip, port, sock.local, sock.remote)
            return fd
        if not reachable:
            try:
                await asyncio.sleep(_UNANSWERED)
            finally:
                if fd in self.fds:
                    self.close(fd)
            raise error("ETIMEDOUT")
        self.close(fd)
        raise error("ECONNREFUSED")

    def accept(self, client: tuple[str, int], server: tuple[str, int]) -> None:
        """Accepts a connection, whose requests are answered by what `listen` was given."""
        if not self.kernel.wants("accept4"):
            return
        sock = Socket()
        sock.name = f"{client[0]}:{client[1]}->{server[0]}:{server[1]}"
        sock.local, sock.remote, sock.accepted = server, client, True
        fd = self.install(sock)
        self.emit(
            "accept4",
            fd,
            descriptor_argument("fd", fd, sock),
            plain("tuple", sock.name),
            plain("queuepct", "0"),
            plain("queuelen", "0"),
            plain("queuemax", "511"),
            plain("flags", "2048"),
            fd=fd,
            file=sock,
        )
        self.close(fd)

    def unix_connect(self, path: str) -> None:
        """Tries to connect to a local socket that doesn't exist, as the C library does with nscd's."""
        fd, sock = self._socket("AF_UNIX", 526_337, 0)
        self._emit_connect(fd, sock, "ENOENT", "NULL", path)
        self.close(fd)

    def _emit_connect(self, fd: int, sock: Socket, result: str, connection: str, address: str) -> None:
        number = -abi.errno_number(result) if result else 0
        self.emit(
            "connect",
            number,
            result_argument(number),
            plain("tuple", connection),
            descriptor_argument("fd", fd, sock),
            plain("addr", address),
            fd=fd,
            file=sock,
        )

    async def http(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        *,
        timeout: float | None = None,
    ) -> HttpResponse:
        """Sends a request and returns the answer, whatever its status.

        Raises socket.gaierror (unknown name), ConnectionRefusedError, TimeoutError.
        """
        request = HttpRequest(method, url, dict(headers or {}), body, self.ip)

        async def exchange() -> HttpResponse:
            fd = await self.connect(*destination(request))
            sock = self.fds[fd]
            assert isinstance(sock, Socket)
            assert sock.handler is not None
            try:
                return await served_by(sock.handler, request)
            finally:
                if fd in self.fds:
                    self.close(fd)

        return await asyncio.wait_for(exchange(), timeout)

    def listen(
        self,
        port: int,
        handler: Callable[[HttpRequest], Awaitable[HttpResponse]],
        accept: Accept | None = None,
        *,
        address: str = "",
    ) -> Callable[[], None]:
        """Answers HTTP requests at the process's address; returns what stops it. EADDRINUSE when the port is taken.

        `address` is another one of the node's, such as a link-local one. `accept` is called with the ends of each new
        connection: client and server.
        """

        async def answer(request: HttpRequest) -> HttpResponse:
            return await self.kernel.turns.task(_answered(handler, request), self)

        return self.network.listen(self._scoped(address or self.ip), port, answer, accept)

    def _scoped(self, address: str) -> str:
        """An address as the network knows it: each node has link-local ones for itself."""
        return f"{address}%{self.kernel.ip}" if address.startswith("169.254.") else address


async def _answered(handler: Callable[[HttpRequest], Awaitable[HttpResponse]], request: HttpRequest) -> HttpResponse:
    """Calls the handler in the task's first step: a process that ends before that leaves nothing that isn't awaited."""
    return await handler(request)
