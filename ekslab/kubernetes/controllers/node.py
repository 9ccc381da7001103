"""Nodes: keeps the taint of cordoned nodes."""

from __future__ import annotations

from collections.abc import Iterable

from ekslab.kubernetes.controllers.base import Controller, Key
from ekslab.kubernetes.controllers.scheduling import CORDONED
from ekslab.kubernetes.objects import resources as r
from ekslab.kubernetes.objects.resources import Object
from ekslab.kubernetes.objects.store import Change
from ekslab.kubernetes.objects.timestamps import rfc3339


class Nodes(Controller):
    name = "node-controller"

    def concerned(self, change: Change) -> Iterable[Key]:
        if change.resource is r.NODES and change.type != "DELETED":
            yield Key.from_object(change.object)

    def reconcile(self, key: Key) -> None:
        node = self.store.get(r.NODES, *key)
        if node is None:
            return
        taints = node["spec"].get("taints") or []
        others = [taint for taint in taints if taint["key"] != CORDONED["key"]]
        if bool(node["spec"].get("unschedulable")) == (len(others) < len(taints)):
            return
        if node["spec"].get("unschedulable"):
            others.append({**CORDONED, "timeAdded": rfc3339(self.registry.clock())})

        def edit(new: Object) -> None:
            new["spec"]["taints"] = others
            if not others:
                del new["spec"]["taints"]

        self.registry.change(r.NODES, node, edit)
