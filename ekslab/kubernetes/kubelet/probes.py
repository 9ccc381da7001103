"""Startup, readiness and liveness probes: HTTP requests, TCP connections and commands."""

from __future__ import annotations

import asyncio
from typing import Any

from ekslab import versions
from ekslab.http import HttpRequest
from ekslab.kubernetes.objects.resources import Object
from ekslab.node import Container, Node, OciError


class ProbeFailure(Exception):
    """The container isn't well; the message follows `Readiness probe `, as the kubelet words it."""


class ProbeError(Exception):
    """The probe couldn't be made; the message follows `Readiness probe `."""

    def __init__(self, why: str) -> None:
        super().__init__(f"errored and resulted in unknown state: {why}")


_USER_AGENT = f"kube-probe/{versions.EKS}"


class _Output:
    def __init__(self) -> None:
        self.data = bytearray()

    def write(self, data: bytes) -> None:
        self.data += data


class Probe:
    """One probe of one container. `address` is the pod's IP."""

    def __init__(self, spec: Object, container_spec: Object, container: Container, node: Node, address: str) -> None:
        self._spec = spec
        self._ports = {port.get("name"): port["containerPort"] for port in container_spec.get("ports") or ()}
        self._container = container
        self._node = node
        self._address = address

    def can_answer(self) -> bool:
        """Whether the port that it asks is open. A command can always be run."""
        asked = self._spec.get("tcpSocket") or self._spec.get("httpGet")
        if asked is None:
            return True
        try:
            address, port = self._node.network.resolve(self._host(asked)), self._port(asked["port"])
        except (OSError, ProbeError):
            return True  # asking says what is wrong
        return self._node.network.handler_for(address, port) is not None

    async def check(self) -> None:
        """Returns when the container is well. Raises `ProbeFailure` when not, `ProbeError` when that is unknown."""
        timeout = float(self._spec.get("timeoutSeconds", 1))
        if "exec" in self._spec:
            await self._command(list(self._spec["exec"].get("command") or ()), timeout)
        elif "tcpSocket" in self._spec:
            port = self._port(self._spec["tcpSocket"]["port"])
            host = self._host(self._spec["tcpSocket"])
            try:
                reached = self._node.network.handler_for(self._node.network.resolve(host), port) is not None
            except OSError as error:
                raise ProbeFailure(f"failed: dial tcp: lookup {host}: no such host") from error
            if not reached:
                raise ProbeFailure(f"failed: dial tcp {host}:{port}: connect: connection refused")
        elif "httpGet" in self._spec:
            await self._http(self._spec["httpGet"], timeout)

    def _host(self, spec: Object) -> str:
        """The host that is asked: the pod, or what the probe names. The kubelet's own is its node."""
        host = str(spec.get("host") or self._address)
        return self._node.ip if host in ("localhost", "127.0.0.1") else host

    async def _http(self, spec: Object, timeout: float) -> None:
        host = self._host(spec)
        scheme = str(spec.get("scheme", "HTTP")).lower()
        url = f"{scheme}://{host}:{self._port(spec['port'])}/{str(spec.get('path', '/')).lstrip('/')}"
        headers = {header["name"]: header["value"] for header in spec.get("httpHeaders") or ()}
        try:
            status = await self._get(url, {"User-Agent": _USER_AGENT, **headers}, timeout)
        except (OSError, TimeoutError) as error:
            raise ProbeFailure(f'failed: Get "{url}": {_words(error)}') from error
        if not 200 <= status < 400:
            raise ProbeFailure(f"failed: HTTP probe failed with statuscode: {status}")

    async def _get(self, url: str, headers: dict[str, str], timeout: float) -> int:
        request = HttpRequest("GET", url, headers, peer=self._node.ip)
        response = await asyncio.wait_for(self._node.network.http(request), timeout)
        return response.status

    async def _command(self, argv: list[str], timeout: float) -> None:
        output = _Output()
        try:
            code = await asyncio.wait_for(
                self._node.runtime.exec(self._container, argv, stdout=output, stderr=output), timeout
            )
        except TimeoutError as error:
            said = f'command timed out: "{" ".join(argv)}" timed out after {timeout:g}s'
            raise ProbeFailure(f"failed: {said}") from error
        except OciError as error:
            raise ProbeError(str(error)) from error
        if code:
            raise ProbeFailure(f"failed: {output.data.decode(errors='replace')}")

    def _port(self, port: Any) -> int:
        if isinstance(port, int):
            return port
        if port in self._ports:
            return int(self._ports[port])
        if not port.isdecimal():
            raise ProbeError(f'strconv.Atoi: parsing "{port}": invalid syntax')
        return int(port)


def _words(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
    if isinstance(error, ConnectionRefusedError):
        return "connect: connection refused"
    return str(error)
