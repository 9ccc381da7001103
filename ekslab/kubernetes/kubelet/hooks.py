"""Lifecycle hooks of a container (commands, requests, pauses), which run after its start and before its end."""

from __future__ import annotations

import asyncio

from ekslab.http import HttpRequest
from ekslab.kubernetes.objects.resources import Object
from ekslab.node import Container, Node, OciError


class HookFailure(Exception):
    """The hook failed. As on a cluster, the event doesn't say why."""


async def run_hook(hook: Object, spec: Object, container: Container, node: Node, address: str) -> None:
    """Runs one hook of the container `spec`; `address` is the pod's IP. Raises `HookFailure`."""
    try:
        if "exec" in hook:
            if code := await node.runtime.exec(container, list(hook["exec"].get("command") or ())):
                raise HookFailure(f"exit code {code}")
        elif "httpGet" in hook:
            asked = hook["httpGet"]
            port = asked.get("port")
            if isinstance(port, str):
                ports = {entry.get("name"): entry["containerPort"] for entry in spec.get("ports") or ()}
                port = ports.get(port, port)
            scheme = str(asked.get("scheme", "HTTP")).lower()
            url = f"{scheme}://{asked.get('host') or address}:{port}/{str(asked.get('path', '/')).lstrip('/')}"
            headers = {header["name"]: header["value"] for header in asked.get("httpHeaders") or ()}
            status = (await node.network.http(HttpRequest("GET", url, headers, peer=node.ip))).status
            if status >= 400:
                raise HookFailure(f"status {status}")
        elif "sleep" in hook:
            await asyncio.sleep(float(hook["sleep"].get("seconds", 0)))
    except (OciError, OSError, ValueError) as error:
        raise HookFailure(str(error)) from error
