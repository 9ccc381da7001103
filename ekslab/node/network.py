"""The lab's network: names, addresses and the HTTP servers behind them.

Servers are handlers of `HttpRequest`. Requests of the lab itself go through `Network.http`; processes connect by system
calls (`syscalls/sockets.py`).
"""

from __future__ import annotations

import asyncio
import itertools
import socket as _socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from urllib.parse import urlsplit

from ekslab.http import Handler, HttpRequest, HttpResponse
from ekslab.names import digest
from ekslab.node.abi import error

Accept = Callable[[tuple[str, int], tuple[str, int]], None]


@dataclass
class _Served:
    pattern: str
    handler: Handler
    ip: str | None
    port: int | None


class Network:
    """Names and servers that every node and pod of the lab can reach."""

    def __init__(self) -> None:
        self._served: list[_Served] = []
        self.instant: dict[tuple[str, int], Callable[[HttpRequest], HttpResponse | None]] = {}
        """What programs answer without waiting for anything, for admission, which is one step; None is no answer."""
        self._listeners: dict[tuple[str, int], Handler] = {}
        self._accepting: dict[tuple[str, int], Accept] = {}
        self._names: dict[str, str] = {}
        self._reverse: dict[str, str] = {}
        self._ports = itertools.count(32_768)
        self.allows: Callable[[str, str, int], bool] = lambda source, destination, port: True
        """Whether packets get from one address to a port of another; what may not get there vanishes."""

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

    def listen(self, ip: str, port: int, handler: Handler, accept: Accept | None = None) -> Callable[[], None]:
        """Answers at an address; returns what stops it. EADDRINUSE when the port is taken.

        `accept` is called with both ends of each new connection.
        """
        key = (ip, port)
        if key in self._listeners:
            raise error("EADDRINUSE")
        self._listeners[key] = handler
        if accept is not None:
            self._accepting[key] = accept

        def stop() -> None:
            if self._listeners.get(key) is handler:
                del self._listeners[key]
                self._accepting.pop(key, None)

        return stop

    def ports(self, ip: str) -> list[int]:
        """The ports on which something listens at an address."""
        return sorted(port for address, port in self._listeners if address == ip)

    def connected(self, ip: str, port: int, client: tuple[str, int], server: tuple[str, int]) -> None:
        """Lets what listens at an address accept a connection; `server` is that address as the client sees it."""
        accept = self._accepting.get((ip, port))
        if accept is not None:
            accept(client, server)

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

    def host_answers(self, ip: str) -> bool:
        """Whether there is a host at an address, so that a closed port refuses; else packets vanish."""
        return any(address == ip for address, _ in self._listeners) or ip in self._reverse or ip.startswith("10.")

    def new_port(self) -> int:
        """A client's port."""
        return next(self._ports)

    # -- clients -----------------------------------------------------------------------------------------------------

    async def http(self, request: HttpRequest, timeout: float | None = None) -> HttpResponse:
        """Sends a request of the lab itself and returns the answer, whatever its status.

        Raises socket.gaierror (unknown name), ConnectionRefusedError, TimeoutError.
        """
        host, port = destination(request)
        address = self.resolve(host)
        handler = self.handler_for(address, port, host)
        if handler is None:
            raise error("ECONNREFUSED")
        if request.peer:
            self.connected(address, port, (request.peer, self.new_port()), (address, port))
        return await asyncio.wait_for(served_by(handler, request), timeout)


def destination(request: HttpRequest) -> tuple[str, int]:
    """The host and port of a request's URL."""
    url = urlsplit(request.url)
    return url.hostname or "", url.port or (443 if url.scheme == "https" else 80)


async def served_by(handler: Handler, request: HttpRequest) -> HttpResponse:
    """The answer to a request. The server runs as a task of its own, so its work doesn't count as its client's."""

    async def answer() -> HttpResponse:
        return await handler(request)

    return await asyncio.get_running_loop().create_task(answer())


def _is_address(host: str) -> bool:
    return ":" in host or (host.count(".") == 3 and all(part.isdigit() and int(part) < 256 for part in host.split(".")))


def _public_address(host: str) -> str:
    """An address for a host of the outside world, the same in every run (52.0.0.0/8 is mostly Amazon's)."""
    return "52." + ".".join(str(byte) for byte in digest("address", host)[:3])
