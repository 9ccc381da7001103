"""The kubelet: starts a worker for each pod bound to its node, and tells the workers what changed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from ekslab import names
from ekslab.identity import ServiceAccountIssuer
from ekslab.kubernetes.kubelet.host import Host
from ekslab.kubernetes.kubelet.pod import PodWorker, sandbox_of
from ekslab.kubernetes.kubelet.status import ContainerState
from ekslab.kubernetes.objects import resources as r
from ekslab.kubernetes.objects.registry import Registry
from ekslab.kubernetes.objects.resources import Object, namespace_of
from ekslab.kubernetes.objects.store import Change
from ekslab.node import Connection, Container, Node


class Kubelet:
    """Runs the pods of one node. `clock` gives seconds since the epoch."""

    def __init__(
        self, node: Node, registry: Registry, issuer: ServiceAccountIssuer, clock: Callable[[], float]
    ) -> None:
        self.node = node
        self._store = registry.store
        self._host = Host(node, registry, issuer, clock)
        self._workers: dict[str, PodWorker] = {}
        self._unsubscribe: Callable[[], None] | None = None
        self.silent = False
        """Whether the instance is stopped: nothing answers on it."""

    def start(self) -> None:
        """Begins to watch for pods bound to the node."""
        self.silent = False
        self._unsubscribe = self._store.subscribe(self._on_change)
        for pod in self._store.list(r.PODS):
            self._sync(pod)

    async def stop(self) -> None:
        """Kills every container; nothing more is reported to the API."""
        if self._unsubscribe:
            self._unsubscribe()
            self._unsubscribe = None
        await asyncio.gather(*(worker.kill() for worker in tuple(self._workers.values())), return_exceptions=True)
        await self._host.cancel_tasks()

    def container(self, pod: Object, name: str) -> Container | None:
        """The running (or last) container of that name."""
        state = self._state(pod, name)
        return state.current if state else None

    def previous(self, pod: Object, name: str) -> Container | None:
        """The container before the last restart."""
        state = self._state(pod, name)
        return state.previous if state else None

    async def connect(self, pod: Object, port: int) -> Connection:
        """A connection to a port of the pod, for `port-forward`. Raises OSError with containerd's words."""
        worker = self._workers.get(pod["metadata"]["uid"])
        if worker is None or not worker.address:
            raise OSError(f'failed to find sandbox "{sandbox_of(pod)}" in store: not found')
        try:
            return await self.node.runtime.connect(worker.address, port)
        except ConnectionRefusedError as error:
            namespace = f"/var/run/netns/cni-{names.uid('network namespace', worker.sandbox)}"
            refused = "connect: connection refused"
            raise OSError(
                f'failed to execute portforward in network namespace "{namespace}": failed to connect to '
                f'localhost:{port} inside namespace "{worker.sandbox}", IPv4: dial tcp4 127.0.0.1:{port}: {refused} '
                f"IPv6 dial tcp6 [::1]:{port}: {refused} "
            ) from error

    def _state(self, pod: Object, name: str) -> ContainerState | None:
        worker = self._workers.get(pod["metadata"]["uid"])
        return worker.find(name) if worker else None

    def _forget(self, uid: str) -> None:
        self._workers.pop(uid, None)
        self._host.release_address(uid)

    def refresh_volumes(self) -> None:
        """Renews service account tokens that are near their end."""
        for worker in self._workers.values():
            worker.refresh_volumes()

    def _on_change(self, change: Change) -> None:
        if change.resource is r.PODS:
            if change.type == "DELETED":
                worker = self._workers.get(change.object["metadata"]["uid"])
                if worker is not None:
                    self._host.spawn(worker.kill())
            else:
                self._sync(change.object)
        elif change.resource in (r.CONFIG_MAPS, r.SECRETS):
            for worker in tuple(self._workers.values()):
                if namespace_of(worker.pod) == namespace_of(change.object):
                    worker.refresh_volumes()

    def _sync(self, pod: Object) -> None:
        if pod["spec"].get("nodeName") != self.node.name:
            return
        uid = pod["metadata"]["uid"]
        worker = self._workers.get(uid)
        if worker is None:
            if pod.get("status", {}).get("phase") in ("Succeeded", "Failed"):
                return
            worker = self._workers[uid] = PodWorker(self._host, pod, self._forget)
            self._host.spawn(worker.run())
        worker.update(pod)
