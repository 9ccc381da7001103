"""Events: records what happens to objects, and counts repeated events instead of storing them again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from ekslab.kubernetes.objects import resources as r
from ekslab.kubernetes.objects.errors import ApiError
from ekslab.kubernetes.objects.registry import Registry
from ekslab.kubernetes.objects.resources import Object, Resource, name_of, namespace_of
from ekslab.kubernetes.objects.store import Store
from ekslab.kubernetes.objects.timestamps import parse, rfc3339

_LIFETIME = 3600.0
_AGGREGATE_SECONDS = 600.0
_FIRST = 0x1880_0000_0000_0000


@dataclass(frozen=True)
class Recorder:
    """Writes events as one component, e.g. `kubelet` on a host."""

    registry: Registry
    component: str
    host: str = ""
    _names: dict[tuple[str, ...], str] = field(default_factory=dict)

    def event(
        self, resource: Resource, about: Object, reason: str, message: str, *, warning: bool = False, path: str = ""
    ) -> None:
        """Records that `reason` happened to `about`. Never fails: an event isn't worth an error."""
        store, now = self.registry.store, self.registry.clock()
        namespace = namespace_of(about) or "default"
        kind = "Warning" if warning else "Normal"
        involved: Object = {
            "kind": resource.kind,
            "namespace": namespace_of(about),
            "name": name_of(about),
            "uid": about["metadata"]["uid"],
            "apiVersion": resource.api_version,
            "resourceVersion": about["metadata"].get("resourceVersion", ""),
        }
        if path:
            involved["fieldPath"] = path
        if not involved["namespace"]:
            del involved["namespace"]
        same = (involved["uid"], kind, reason, message, path)
        known = store.get(r.EVENTS, namespace, self._names.get(same, ""))
        if known is not None and now - parse(known["lastTimestamp"]) < _AGGREGATE_SECONDS:
            self.registry.change(
                r.EVENTS, known, lambda event: event.update(count=event["count"] + 1, lastTimestamp=rfc3339(now))
            )
            return
        # As on a cluster, names of later events sort after those of earlier ones.
        name = self._names[same] = f"{name_of(about)}.{_FIRST + store.revision:016x}"
        source = {"component": self.component, **({"host": self.host} if self.host else {})}
        event: Object = {
            "metadata": {"name": name},
            "involvedObject": involved,
            "reason": reason,
            "message": message,
            "source": source,
            "firstTimestamp": rfc3339(now),
            "lastTimestamp": rfc3339(now),
            "count": 1,
            "type": kind,
            "eventTime": None,
            "reportingComponent": self.component,
            "reportingInstance": self.host,
        }
        try:
            self.registry.create(r.EVENTS, namespace, event)
        except ApiError:  # the namespace is gone
            return


def forget_old(store: Store, clock: Callable[[], float]) -> None:
    """Removes events older than an hour, as the API server's time to live does."""
    for event in store.list(r.EVENTS):
        seen = event.get("lastTimestamp") or event["metadata"]["creationTimestamp"]
        if clock() - parse(seen) > _LIFETIME:
            store.remove(r.EVENTS, event)
