"""Namespaces: creates the default service account and the CA ConfigMap; empties deleted namespaces."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from ekslab.kubernetes.controllers.base import Controller, Key
from ekslab.kubernetes.objects import resources as r
from ekslab.kubernetes.objects.errors import ApiError
from ekslab.kubernetes.objects.registry import Registry
from ekslab.kubernetes.objects.resources import Object, Resource, name_of
from ekslab.kubernetes.objects.store import Change
from ekslab.kubernetes.objects.timestamps import rfc3339


class Namespaces(Controller):
    name = "namespace-controller"

    def __init__(self, registry: Registry, certificate: str) -> None:
        super().__init__(registry)
        self._certificate = certificate

    def concerned(self, change: Change) -> Iterable[Key]:
        if change.resource is r.NAMESPACES:
            yield Key.from_object(change.object)
        elif change.resource.namespaced and change.type == "DELETED":
            yield Key("", change.object["metadata"]["namespace"])

    def reconcile(self, key: Key) -> None:
        namespace = self.store.get(r.NAMESPACES, "", key.name)
        if namespace is None:
            return
        if namespace["metadata"].get("deletionTimestamp"):
            self._empty(namespace)
            return
        self.provide(key.name)

    def provide(self, namespace: str) -> None:
        """Makes what every namespace has, if it isn't there."""
        if self.store.get(r.SERVICE_ACCOUNTS, namespace, "default") is None:
            self.registry.create(r.SERVICE_ACCOUNTS, namespace, {"metadata": {"name": "default"}})
        if self.store.get(r.CONFIG_MAPS, namespace, "kube-root-ca.crt") is None:
            why = (
                "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such "
                "as the internal service IP or kubernetes.default.svc. No other usage is guaranteed across "
                "distributions of Kubernetes clusters."
            )
            self.registry.create(
                r.CONFIG_MAPS,
                namespace,
                {
                    "metadata": {
                        "name": "kube-root-ca.crt",
                        "annotations": {"kubernetes.io/description": why},
                    },
                    "data": {"ca.crt": self._certificate},
                },
            )

    def _empty(self, namespace: Object) -> None:
        left = list(self._contents(name_of(namespace)))
        for resource, obj in left:
            if not obj["metadata"].get("deletionTimestamp"):
                try:
                    self.registry.delete(resource, name_of(namespace), name_of(obj))
                except ApiError as error:
                    if error.code != 404:
                        raise
        left = list(self._contents(name_of(namespace)))
        self._report(namespace, left)
        if not left:
            # Emptying the finalizers removes it: `_store` drops a deleted object that nothing holds.
            self.registry.change(r.NAMESPACES, namespace, lambda new: new["spec"].update(finalizers=[]))

    def _report(self, namespace: Object, left: list[tuple[Resource, Object]]) -> None:
        """Says in conditions what is left, and which finalizers hold it."""
        kinds = Counter(f"{resource.plural}.{resource.group}" for resource, _ in left)
        finalizers = Counter(name for _, obj in left for name in obj["metadata"].get("finalizers") or ())
        found = {
            "NamespaceDeletionDiscoveryFailure": ("", "ResourcesDiscovered", "All resources successfully discovered"),
            "NamespaceDeletionGroupVersionParsingFailure": (
                "",
                "ParsedGroupVersions",
                "All legacy kube types successfully parsed",
            ),
            "NamespaceDeletionContentFailure": (
                "",
                "ContentDeleted",
                "All content successfully deleted, may be waiting on finalization",
            ),
            "NamespaceContentRemaining": (
                "SomeResourcesRemain",
                "ContentRemoved",
                "Some resources are remaining: "
                + ", ".join(f"{kind} has {count} resource instances" for kind, count in sorted(kinds.items()))
                if kinds
                else "All content successfully removed",
            ),
            "NamespaceFinalizersRemaining": (
                "SomeFinalizersRemain",
                "ContentHasNoFinalizers",
                "Some content in the namespace has finalizers remaining: "
                + ", ".join(f"{name} in {count} resource instances" for name, count in sorted(finalizers.items()))
                if finalizers
                else "All content-preserving finalizers finished",
            ),
        }
        holds = {"NamespaceContentRemaining": bool(kinds), "NamespaceFinalizersRemaining": bool(finalizers)}
        before = {c["type"]: c for c in namespace["status"].get("conditions") or ()}
        conditions = []
        for kind, (bad, good, message) in found.items():
            status = "True" if holds.get(kind) else "False"
            old = before.get(kind, {})
            now = rfc3339(self.registry.clock())
            conditions.append(
                {
                    "type": kind,
                    "status": status,
                    "lastTransitionTime": old.get("lastTransitionTime", now) if old.get("status") == status else now,
                    "reason": bad if holds.get(kind) else good,
                    "message": message,
                }
            )
        if conditions != list(before.values()):
            self.registry.change(r.NAMESPACES, namespace, lambda new: new["status"].update(conditions=conditions))

    def _contents(self, namespace: str) -> Iterable[tuple[Resource, Object]]:
        for resource in r.RESOURCES:
            if resource.namespaced:
                for obj in self.store.list(resource, namespace):
                    yield resource, obj
