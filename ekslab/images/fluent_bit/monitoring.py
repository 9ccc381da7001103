"""The HTTP server of Fluent Bit: version, uptime, health and metrics."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ekslab import versions
from ekslab.http import HttpRequest, HttpResponse
from ekslab.images.fluent_bit.log import Log

if TYPE_CHECKING:
    from ekslab.node import Process


class Monitoring:
    """Counts what inputs and outputs do, and serves the counts."""

    def __init__(self, process: Process, log: Log) -> None:
        self._process = process
        self._log = log
        self._started = process.kernel.now()
        self._counts: dict[str, dict[str, dict[str, int]]] = {}

    def count(self, kind: str, instance: str, **numbers: int) -> None:
        """Adds to the counters of an input or output."""
        counts = self._counts.setdefault(kind, {}).setdefault(instance, {})
        for name, number in numbers.items():
            counts[name] = counts.get(name, 0) + number

    def serve(self, service: dict[str, str]) -> Callable[[], None]:
        """Starts the HTTP server if the service section enables it; returns what stops it."""
        if service.get("http_server", "off").lower() not in ("on", "true", "yes"):
            return lambda: None
        host, port = service.get("http_listen", "0.0.0.0"), int(service.get("http_port", "2020"))
        self._log.info(f"[http_server] listen iface={host} tcp_port={port}")
        return self._process.listen(port, self._answer)

    async def _answer(self, request: HttpRequest) -> HttpResponse:
        path = request.url.split("?")[0].rstrip("/")
        path = "/" + path.split("/", 3)[3] if path.count("/") > 2 else "/"
        uptime = (self._process.kernel.now() - self._started) // 1_000_000_000
        answers: dict[str, Any] = {
            "/": {"fluent-bit": {"version": versions.FLUENT_BIT, "edition": "Community"}},
            "/api/v1/uptime": {"uptime_sec": uptime, "uptime_hr": f"Fluent Bit has been running: {uptime} seconds"},
            "/api/v1/metrics": self._counts,
        }
        if path == "/api/v1/health":
            return HttpResponse(200, {"Content-Type": "text/plain"}, b"ok\n")
        if path not in answers:
            return HttpResponse(404, {"Content-Type": "text/plain"}, b"")
        return HttpResponse(200, {"Content-Type": "application/json"}, json.dumps(answers[path]).encode())
