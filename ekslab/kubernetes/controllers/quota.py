"""What namespaces use of their resource quotas."""

from __future__ import annotations

from collections.abc import Iterable

from ekslab.kubernetes.controllers.base import Controller, Key
from ekslab.kubernetes.objects import quota
from ekslab.kubernetes.objects import resources as r
from ekslab.kubernetes.objects.resources import namespace_of
from ekslab.kubernetes.objects.store import Change


class Quotas(Controller):
    """Keeps `status` of quotas."""

    name = "resourcequota-controller"

    def concerned(self, change: Change) -> Iterable[Key]:
        if change.resource is r.RESOURCE_QUOTAS:
            yield Key.from_object(change.object)
        elif change.resource.namespaced and change.resource is not r.EVENTS:
            for found in self.store.list(r.RESOURCE_QUOTAS, namespace_of(change.object)):
                yield Key.from_object(found)

    def reconcile(self, key: Key) -> None:
        found = self.store.get(r.RESOURCE_QUOTAS, *key)
        if found is not None and found.get("status") != (status := quota.status(self.store, found)):
            self.registry.change(r.RESOURCE_QUOTAS, found, lambda new: new.update(status=status))
