"""The object store: numbers each change, keeps recent ones for watches, and notifies controllers.

Objects in the store are never changed in place, but replaced by changed copies. Calls are
synchronous and run on the one event loop, so nothing can come between reading an object and writing it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import orjson

from ekslab.kubernetes.objects.errors import ApiError, gone
from ekslab.kubernetes.objects.resources import Object, Resource, name_of, namespace_of

_MAX_OBJECT = 1536 * 1024  # bytes of JSON; etcd's limit
_MAX_SIZE = 32 * 1024 * 1024  # bytes of all objects; a cluster of the workshop has less than one
_MAX_HISTORY = 16 * 1024 * 1024  # bytes of changes that a watch can look back
Kind = Literal["ADDED", "MODIFIED", "DELETED"]


@dataclass(frozen=True)
class Change:
    """One change: `previous` is None for an addition; of a deletion `object` is the last state."""

    type: Kind
    resource: Resource
    object: Object
    previous: Object | None
    revision: int
    size: int = 0
    """Bytes of `object` as JSON."""


Listener = Callable[[Change], None]

# `list` is a method below, so the types are named here.
Objects = list[Object]
ObjectsOfKinds = list[tuple[Resource, Object]]
Changes = list[Change]
Listeners = list[Listener]


class Store:
    """Objects by resource, namespace and name. `history` is how many changes a watch can look back, at most."""

    def __init__(self, *, history: int = 2_000) -> None:
        self.revision = 1
        self.size = 0
        """Bytes of all objects, as JSON."""
        self._objects: dict[Resource, dict[tuple[str, str], Object]] = {}
        self._sizes: dict[tuple[Resource, str, str], int] = {}
        self._changes: deque[Change] = deque()
        self._history = history
        self._history_size = 0
        self._oldest = 1  # changes up to and including this revision are forgotten
        self._listeners: Listeners = []

    def get(self, resource: Resource, namespace: str, name: str) -> Object | None:
        return self._objects.get(resource, {}).get((namespace, name))

    def list(self, resource: Resource, namespace: str = "") -> Objects:
        """Objects of a kind (in one namespace, or everywhere), ordered by namespace and name."""
        found = self._objects.get(resource, {})
        return [found[key] for key in sorted(found) if not namespace or key[0] == namespace]

    def all_objects(self) -> ObjectsOfKinds:
        """All objects with their resources."""
        return [(resource, obj) for resource, found in self._objects.items() for obj in found.values()]

    def put(self, resource: Resource, obj: Object) -> Object:
        """Stores `obj` under its name, new or in place of the one there, and gives it a new resourceVersion.

        Raises a 500 error for an object that is too large, or more of them than there is room for.
        """
        key = (namespace_of(obj), name_of(obj))
        previous = self._objects.setdefault(resource, {}).get(key)
        self._account(resource, key, len(orjson.dumps(obj)), growing=previous is None)
        self._record("ADDED" if previous is None else "MODIFIED", resource, obj, previous)
        return obj

    def remove(self, resource: Resource, obj: Object) -> Object:
        """Takes the object of that name away; returns its last state, with the resourceVersion of the deletion."""
        key = (namespace_of(obj), name_of(obj))
        previous = self._objects[resource][key]
        last = {**previous, "metadata": dict(previous["metadata"])}
        self._record("DELETED", resource, last, previous)
        return last

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Calls `listener` with each change as it happens; returns what ends that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def since(self, resource: Resource, revision: int) -> Changes:
        """Changes of a resource after `revision`. Raises a 410 error when they are no longer all there."""
        if revision < self._oldest:
            raise gone(f"too old resource version: {revision} ({self._oldest})")
        return [change for change in self._changes if change.revision > revision and change.resource is resource]

    def _account(self, resource: Resource, key: tuple[str, str], size: int, *, growing: bool) -> None:
        before = self._sizes.get((resource, *key), 0)
        if size > _MAX_OBJECT:
            raise ApiError(500, "InternalError", "etcdserver: request is too large")
        if size > before and self.size + size - before > (_MAX_SIZE if growing else 2 * _MAX_SIZE):
            raise ApiError(500, "InternalError", "etcdserver: mvcc: database space exceeded")
        self._sizes[resource, *key] = size
        self.size += size - before

    def _record(self, kind: Kind, resource: Resource, obj: Object, previous: Object | None) -> None:
        self.revision += 1
        obj["metadata"]["resourceVersion"] = str(self.revision)
        key = (namespace_of(obj), name_of(obj))
        if kind == "DELETED":
            del self._objects[resource][key]
            size = self._sizes.pop((resource, *key))
            self.size -= size
        else:
            self._objects[resource][key] = obj
            size = self._sizes[resource, *key]
        change = Change(kind, resource, obj, previous, self.revision, size)
        self._changes.append(change)
        self._history_size += size
        while len(self._changes) > self._history or self._history_size > _MAX_HISTORY:
            forgotten = self._changes.popleft()
            self._oldest = forgotten.revision
            self._history_size -= forgotten.size
        for listener in tuple(self._listeners):
            listener(change)
