"""HTTP requests and responses of the emulated services, from loopback and from simulated pods alike."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit


@dataclass(frozen=True)
class HttpRequest:
    """An HTTP request. `url` is absolute, with the query; `headers` have the sender's order and spelling.

    `peer` is the client's address, if it came over a connection that has one.
    """

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    peer: str = ""

    def header(self, name: str, default: str = "") -> str:
        """The value of a header; the case of its name doesn't matter."""
        name = name.lower()
        return next((value for key, value in self.headers.items() if key.lower() == name), default)

    @property
    def host(self) -> str:
        return urlsplit(self.url).hostname or ""


@dataclass(frozen=True)
class HttpResponse:
    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


Handler = Callable[[HttpRequest], Awaitable[HttpResponse]]
