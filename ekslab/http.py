"""An HTTP exchange inside the embedded lab, the same whether it came over loopback or from a simulated pod."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit


@dataclass(frozen=True)
class HttpRequest:
    """`url` is absolute, query included; `headers` keep the sender's order, names in any case."""

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    def header(self, name: str, default: str = "") -> str:
        """The value of a header, whatever the case of its name."""
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
