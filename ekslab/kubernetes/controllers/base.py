"""The base of all control loops: a queue of keys, each reconciled soon after something about it changed."""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import ClassVar, NamedTuple

from ekslab.kubernetes.objects.events import Recorder
from ekslab.kubernetes.objects.registry import Registry
from ekslab.kubernetes.objects.resources import Object, Resource, controller_of, name_of, namespace_of
from ekslab.kubernetes.objects.store import Change

_log = logging.getLogger(__name__)
_RETRY_SECONDS = 0.5


class Key(NamedTuple):
    """An object by namespace and name."""

    namespace: str
    name: str

    @classmethod
    def from_object(cls, obj: Object) -> Key:
        return cls(namespace_of(obj), name_of(obj))


class Controller(ABC):
    """A control loop. A subclass maps changes to keys, and reconciles one key at a time.

    Reconciling is a plain call on the event loop: it reads the store, writes through the registry, and returns.
    """

    name: ClassVar[str]

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self.store = registry.store
        self.recorder = Recorder(registry, self.name)
        self._queued: set[Key] = set()
        self._timers: dict[Key, asyncio.TimerHandle] = {}
        self._unsubscribe: Callable[[], None] | None = None

    def start(self) -> None:
        """Begins to watch."""
        self._unsubscribe = self.store.subscribe(self._on_change)

    def stop(self) -> None:
        if self._unsubscribe is not None:
            self._unsubscribe()
            self._unsubscribe = None
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    @abstractmethod
    def concerned(self, change: Change) -> Iterable[Key]:
        """The keys to reconcile because of a change."""

    @abstractmethod
    def reconcile(self, key: Key) -> None:
        """Makes the cluster look like what the object asks for; an object that is gone is not an error."""

    def enqueue(self, key: Key, *, delay: float = 0.0) -> None:
        """Reconciles a key soon, or within `delay` seconds."""
        loop = asyncio.get_running_loop()
        if delay > 0:
            timer = self._timers.get(key)
            if timer is not None:
                if timer.when() <= loop.time() + delay:
                    return
                timer.cancel()
            self._timers[key] = loop.call_later(delay, self._wake, key)
        elif key not in self._queued:
            self._queued.add(key)
            loop.call_soon(self._process, key)

    def _wake(self, key: Key) -> None:
        del self._timers[key]
        self.enqueue(key)

    def _on_change(self, change: Change) -> None:
        for key in self.concerned(change):
            self.enqueue(key)

    def _process(self, key: Key) -> None:
        self._queued.discard(key)
        if self._unsubscribe is None:
            return
        try:
            self.reconcile(key)
        except Exception:
            _log.exception("%s: %s", self.name, key)
            self.enqueue(key, delay=_RETRY_SECONDS)


def owner_key(obj: Object, resource: Resource) -> Key | None:
    """The key of the object's controller, if that is of this kind."""
    owner = controller_of(obj)
    if owner is None or owner["kind"] != resource.kind or owner["apiVersion"] != resource.api_version:
        return None
    return Key(namespace_of(obj), owner["name"])


def owned_by(objects: Iterable[Object], owner: Object) -> list[Object]:
    """Those of the objects whose controller is `owner`."""
    uid = owner["metadata"]["uid"]
    return [obj for obj in objects if (controller_of(obj) or {}).get("uid") == uid]


def is_active(pod: Object) -> bool:
    """Whether the pod is neither finished nor being deleted."""
    return pod["status"].get("phase") not in ("Succeeded", "Failed") and not pod["metadata"].get("deletionTimestamp")


def ready_since(pod: Object) -> str | None:
    """When the pod became ready; None if it isn't."""
    for condition in pod["status"].get("conditions") or ():
        if condition["type"] == "Ready" and condition["status"] == "True":
            return str(condition["lastTransitionTime"])
    return None


def set_owner(reference: Object, obj: Object) -> None:
    """Makes `reference` the only owner of the object."""
    obj["metadata"]["ownerReferences"] = [reference]
