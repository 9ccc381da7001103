"""What the pods of a node share: the node, the API, addresses, pulled images and background tasks."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from ekslab import names
from ekslab.identity import ServiceAccountIssuer
from ekslab.kubernetes.kubelet.registration import node_address
from ekslab.kubernetes.kubelet.volumes import MountError
from ekslab.kubernetes.objects.events import Recorder
from ekslab.kubernetes.objects.registry import Registry
from ekslab.kubernetes.objects.resources import Object
from ekslab.node import Node

_log = logging.getLogger(__name__)


class Host:
    """One node's. `clock` gives seconds since the epoch."""

    def __init__(
        self, node: Node, registry: Registry, issuer: ServiceAccountIssuer, clock: Callable[[], float]
    ) -> None:
        self.node = node
        self.ip = node_address(node)
        self.registry = registry
        self.issuer = issuer
        self.clock = clock
        self.recorder = Recorder(registry, "kubelet", node.name)
        self.images: set[str] = set()
        self._addresses: dict[str, str] = {}
        self._tasks: set[asyncio.Task[Any]] = set()

    def spawn(self, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Runs a coroutine for as long as the kubelet runs; a failure of it is logged."""
        task: asyncio.Task[Any] = asyncio.ensure_future(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._finished)
        return task

    def _finished(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("kubelet of %s: %r", self.node.name, error, exc_info=error)

    def address_for(self, pod: Object) -> str:
        """The pod's IP: the node's own, or one of its subnet that depends on the pod and not on who came first."""
        if pod["spec"].get("hostNetwork"):
            return self.ip
        prefix = self.ip.rpartition(".")[0]
        taken = set(self._addresses.values())
        first = names.digest("pod-ip", pod["metadata"]["uid"])[0]
        for step in range(250):
            candidate = f"{prefix}.{(first + step) % 250 + 4}"
            if candidate not in taken and candidate != self.ip:
                self._addresses[pod["metadata"]["uid"]] = candidate
                return candidate
        raise MountError(f"no free address left in the subnet of {self.node.name}")

    def release_address(self, uid: str) -> None:
        """Frees the address of the pod with that uid."""
        self._addresses.pop(uid, None)

    async def cancel_tasks(self) -> None:
        """Cancels the background tasks and waits for their end."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
