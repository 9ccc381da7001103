"""Background noise on request: pods in which ordinary things happen that make Falco alert, a few times a minute.

`noise.yaml` says what. Each command runs in the simulated node like any other, so that its alert comes through Falco
and Fluent Bit to CloudWatch. A seed decides the pods' names and the order of what happens.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from ekslab import versions
from ekslab.kubernetes import Cluster
from ekslab.kubernetes.objects import resources as r
from ekslab.kubernetes.objects.errors import ApiError
from ekslab.kubernetes.objects.resources import Object
from ekslab.node import Container, OciError, Runtime

NAMESPACE = "background-noise"
MAX_RATE = 120.0  # alerts a minute
_LABELS = {"app.kubernetes.io/managed-by": "ekslab-noise"}
_CONTAINER = "main"
_COMMAND_SECONDS = 30.0
_REMOVAL_SECONDS = 8.0  # within the time-out of the client's request
_KEY_SECONDS = 0.2  # between two lines that are typed
_LETTERS = "bcdfghjklmnpqrstvwxz2456789"
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Happening:
    """One thing that happens: a command in a pod, so many seconds after the one before."""

    after: float
    pod: str
    argv: tuple[str, ...]
    typed: tuple[str, ...]
    rule: str | None


class Plan:
    """The pods of a seed, and what happens in them, without an end. `rate` is in alerts a minute."""

    def __init__(self, seed: int, rate: float) -> None:
        self._random = random.Random(seed)
        data = _data()
        self._pods = {
            kind: [f"{kind}-{''.join(self._random.choices(_LETTERS, k=5))}" for _ in range(count)]
            for kind, count in data["pods"].items()
        }
        self._activities: list[Mapping[str, Any]] = data["activities"]
        self._weights = [activity["weight"] for activity in self._activities]
        alerting = sum(activity["weight"] for activity in self._activities if activity["rule"])
        self._mean = 60 / rate * alerting / sum(self._weights)
        self._number = 0

    @property
    def pods(self) -> list[str]:
        return [name for names in self._pods.values() for name in names]

    def next(self) -> Happening:
        # Always the same draws in the same order: what happens does not depend on the rate.
        self._number += 1
        choose = self._random.choice
        (activity,) = self._random.choices(self._activities, self._weights)
        gap = min(self._random.expovariate(1.0), 3.0) / 0.95  # 1 on average, without long silences
        pod = choose(self._pods[activity["pod"]])
        if "typed" in activity:
            typed = (choose(activity["typed"]), "exit")
            return Happening(gap * self._mean, pod, ("bash",), typed, activity["rule"])
        script = choose(activity["commands"]).replace("{n}", str(self._number))
        return Happening(gap * self._mean, pod, ("sh", "-c", script), (), activity["rule"])


@cache
def _data() -> dict[str, Any]:
    data: dict[str, Any] = yaml.safe_load((Path(__file__).parent / "noise.yaml").read_text(encoding="utf-8"))
    return data


class Noise:
    """Switches noise on and off in a cluster. Its pods are in `NAMESPACE`; deleting that ends it, too."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._task: asyncio.Task[None] | None = None
        self._rate = 0.0
        self._seed = 1
        self._setting = asyncio.Lock()

    def described(self) -> dict[str, Any]:
        """`rate` in alerts a minute (0: off), `seed` and `namespace`."""
        return {"rate": self._rate if self._has_namespace() else 0.0, "seed": self._seed, "namespace": NAMESPACE}

    async def set(self, changes: Mapping[str, Any]) -> None:
        """Begins anew with what `changes` says of `rate` and `seed`; at a rate of 0 it only ends. Raises ValueError."""
        if not isinstance(changes, Mapping) or set(changes) - {"rate", "seed"}:
            raise ValueError("Give an object with rate and seed.")
        rate, seed = changes.get("rate", self._rate), changes.get("seed", self._seed)
        if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 <= rate <= MAX_RATE:
            raise ValueError(f"The rate of noise is {rate!r}: give alerts a minute, from 0 to {MAX_RATE:g}.")
        if isinstance(seed, bool) or not isinstance(seed, int):
            raise ValueError(f"The seed of noise is {seed!r}: give a whole number.")
        async with self._setting:
            await self.stop()
            await self._remove()
            self._seed = seed
            if rate:
                try:
                    metadata = {"name": NAMESPACE, "labels": _LABELS}
                    self._cluster.registry.create(r.NAMESPACES, "", {"metadata": metadata})
                except ApiError as error:
                    raise ValueError(f"Noise needs a namespace of its own, but {error}.") from error
                self._rate = float(rate)
                self._task = asyncio.create_task(self._run(Plan(seed, rate)))

    async def stop(self) -> None:
        """Ends what is going on, and leaves the pods as they are."""
        self._rate = 0.0
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def _run(self, plan: Plan) -> None:
        try:
            await self._make(plan)
            await self._until(lambda: all(self._container(name) for name in plan.pods))
            while self._has_namespace():
                happening = plan.next()
                await asyncio.sleep(happening.after)
                if found := self._container(happening.pod):
                    await self._happen(happening, *found)
        except Exception:
            logger.exception("noise ends")
        self._rate = 0.0

    async def _happen(self, happening: Happening, runtime: Runtime, container: Container) -> None:
        """Runs one command to its end, or for a while. What becomes of it doesn't matter."""
        with contextlib.suppress(OciError, OSError):  # a time-out is one, too
            async with asyncio.timeout(_COMMAND_SECONDS):
                stdin = _Typed(happening.typed) if happening.typed else None
                await runtime.exec(container, happening.argv, tty=stdin is not None, stdin=stdin)

    async def _make(self, plan: Plan) -> None:
        """Makes the pods, once the namespace has its service account."""
        registry = self._cluster.registry
        await self._until(lambda: self._cluster.store.get(r.SERVICE_ACCOUNTS, NAMESPACE, "default") is not None)
        image = f"{versions.NGINX_IMAGE}:{versions.NGINX}"
        for name in plan.pods:
            metadata = {"name": name, "labels": _LABELS | {"app": name.rpartition("-")[0]}}
            spec = {
                "automountServiceAccountToken": False,
                "terminationGracePeriodSeconds": 0,
                "containers": [{"name": _CONTAINER, "image": image}],
            }
            registry.create(r.PODS, NAMESPACE, {"metadata": metadata, "spec": spec})

    async def _remove(self) -> None:
        """Deletes the namespace, and waits until it is gone."""
        store = self._cluster.store
        namespace = store.get(r.NAMESPACES, "", NAMESPACE)
        if namespace is not None and _LABELS.items() <= (namespace["metadata"].get("labels") or {}).items():
            self._cluster.registry.delete(r.NAMESPACES, "", NAMESPACE)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_REMOVAL_SECONDS):
                    await self._until(lambda: False)

    async def _until(self, condition: Callable[[], bool]) -> None:
        """Waits until something is so, or the namespace is gone; looks whenever an object in the cluster changes."""
        changed = asyncio.Event()
        end = self._cluster.store.subscribe(lambda _: changed.set())
        try:
            while self._cluster.store.get(r.NAMESPACES, "", NAMESPACE) is not None and not condition():
                await changed.wait()
                changed.clear()
        finally:
            end()

    def _has_namespace(self) -> bool:
        namespace = self._cluster.store.get(r.NAMESPACES, "", NAMESPACE)
        return namespace is not None and not namespace["metadata"].get("deletionTimestamp")

    def _container(self, name: str) -> tuple[Runtime, Container] | None:
        """The runtime and the running container of a pod, if it has one."""
        pod: Object | None = self._cluster.store.get(r.PODS, NAMESPACE, name)
        kubelet = self._cluster.kubelets.get((pod or {}).get("spec", {}).get("nodeName", ""))
        container = kubelet.container(pod, _CONTAINER) if kubelet is not None and pod is not None else None
        if kubelet is None or container is None or container.state != "running":
            return None
        return kubelet.node.runtime, container


class _Typed:
    """Lines that are typed one after the other."""

    def __init__(self, lines: tuple[str, ...]) -> None:
        self._lines = list(lines)

    async def read(self, n: int) -> bytes:
        if not self._lines:
            return b""
        await asyncio.sleep(_KEY_SECONDS)
        return f"{self._lines.pop(0)}\n".encode()
