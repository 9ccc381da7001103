"""Garbage collection: deletes or orphans the dependents of deleted objects."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ekslab.kubernetes.controllers.base import Controller, Key
from ekslab.kubernetes.objects import resources as r
from ekslab.kubernetes.objects.errors import ApiError
from ekslab.kubernetes.objects.resources import Object, Resource, name_of, namespace_of
from ekslab.kubernetes.objects.store import Change


class Garbage(Controller):
    """Its keys are uids: of an object that was deleted, is being deleted, or was made with owners."""

    name = "garbage-collector"

    def concerned(self, change: Change) -> Iterable[Key]:
        metadata = change.object["metadata"]
        if change.type == "DELETED" or metadata.get("deletionTimestamp"):
            yield Key(change.type, metadata["uid"])
        if change.type == "DELETED":
            for owner in metadata.get("ownerReferences") or ():
                yield Key("MODIFIED", owner["uid"])
        elif change.type == "ADDED" and metadata.get("ownerReferences"):
            for owner in metadata["ownerReferences"]:
                yield Key("ADDED", owner["uid"])

    def reconcile(self, key: Key) -> None:
        uid = key.name
        found = self._by_uid(uid)
        if found is None:
            for resource, obj in list(self._dependents(uid)):
                self._owner_deleted(resource, obj)
            return
        resource, owner = found
        finalizers = owner["metadata"].get("finalizers") or []
        if not owner["metadata"].get("deletionTimestamp"):
            return
        if "orphan" in finalizers:
            for kind, obj in list(self._dependents(uid)):
                self.registry.change(kind, obj, lambda new: _disown(new, uid))
            self._release(resource, owner, "orphan")
        elif "foregroundDeletion" in finalizers:
            dependents = list(self._dependents(uid))
            for kind, obj in dependents:
                if not obj["metadata"].get("deletionTimestamp"):
                    self._delete(kind, obj, {"propagationPolicy": "Foreground"})
            blocking = [obj for _, obj in self._dependents(uid) if _blocks(obj, uid)]
            if not blocking:
                self._release(resource, owner, "foregroundDeletion")

    def _by_uid(self, uid: str) -> tuple[Resource, Object] | None:
        return next((item for item in self.store.all_objects() if item[1]["metadata"]["uid"] == uid), None)

    def _dependents(self, uid: str) -> Iterator[tuple[Resource, Object]]:
        for resource, obj in self.store.all_objects():
            if any(owner["uid"] == uid for owner in obj["metadata"].get("ownerReferences") or ()):
                yield resource, obj

    def _owner_deleted(self, resource: Resource, obj: Object) -> None:
        """Deletes an object one of whose owners is gone, unless another owner exists."""
        living = [o for o in obj["metadata"]["ownerReferences"] if self._exists(obj, o)]
        if living:
            self.registry.change(resource, obj, lambda new: new["metadata"].update(ownerReferences=living))
        elif not obj["metadata"].get("deletionTimestamp"):
            self._delete(resource, obj, {"propagationPolicy": "Background"})

    def _exists(self, obj: Object, owner: Object) -> bool:
        resource = r.by_kind(owner["apiVersion"], owner["kind"])
        if resource is None:
            return True  # of an unknown kind: such an object may exist
        found = self.store.get(resource, namespace_of(obj) if resource.namespaced else "", owner["name"])
        return found is not None and found["metadata"]["uid"] == owner["uid"]

    def _delete(self, resource: Resource, obj: Object, options: Object) -> None:
        preconditions = {"uid": obj["metadata"]["uid"]}
        try:
            self.registry.delete(resource, namespace_of(obj), name_of(obj), {**options, "preconditions": preconditions})
        except ApiError as error:
            if error.code not in (404, 409):
                raise

    def _release(self, resource: Resource, owner: Object, finalizer: str) -> None:
        self.registry.change(resource, owner, lambda new: new["metadata"]["finalizers"].remove(finalizer))


def _disown(obj: Object, uid: str) -> None:
    left = [owner for owner in obj["metadata"]["ownerReferences"] if owner["uid"] != uid]
    if left:
        obj["metadata"]["ownerReferences"] = left
    else:
        del obj["metadata"]["ownerReferences"]


def _blocks(obj: Object, uid: str) -> bool:
    return any(o["uid"] == uid and o.get("blockOwnerDeletion") for o in obj["metadata"].get("ownerReferences") or ())
