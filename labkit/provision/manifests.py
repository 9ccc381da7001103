"""Kubernetes objects of `manifests/` as parts of a step, with the namespaces and names of the settings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar

from labkit.errors import StepError
from labkit.kube import KubernetesError, Object
from labkit.kube.access import Access, resource_of, to_apply
from labkit.kube.objects import (
    LAB_LABELS,
    WORKLOADS,
    WORKSHOP_LABELS,
    has_labels,
    in_order,
    load_objects,
    rollout_unmet,
)
from labkit.kube.rollout import unwell, wait_rollout
from labkit.provision.parts import Part
from labkit.target import Target

_USED_KINDS = (
    ("apps/v1", "Deployment"),
    ("apps/v1", "StatefulSet"),
    ("apps/v1", "DaemonSet"),
    ("batch/v1", "Job"),
    ("v1", "Pod"),
    ("v1", "Secret"),
)
# The namespaces that the files name; the settings may name others.
_NAMESPACES = {"logging": "logging_namespace", "falco": "falco_namespace", "default": "app_namespace"}


@dataclass(frozen=True)
class ManifestPart(Part):
    """One Kubernetes object."""

    item: Object = field(hash=False)
    service: ClassVar[str] = "Kubernetes"

    @property
    def kind(self) -> str:
        return str(self.item["kind"])

    @property
    def name(self) -> str:
        meta = self.item["metadata"]
        return f"{meta['namespace']}/{meta['name']}" if "namespace" in meta else str(meta["name"])

    def find(self, target: Target) -> Any:
        return target.kube.find(self.item)

    def describe(self, found: Any) -> str:
        if self.kind == "Pod":
            return str(found.get("status", {}).get("phase", "Pending"))
        if self.kind in WORKLOADS.values():
            return rollout_unmet(found) or "ready"
        return "being deleted" if "deletionTimestamp" in found["metadata"] else "there"

    def fault(self, target: Target, found: Any) -> str:
        """Why a workload's pods aren't ready, in a line; empty if they are, or if it isn't a workload."""
        return unwell(target.kube, found) if self.kind in WORKLOADS.values() else ""

    def is_owned(self, target: Target, found: Any) -> bool:
        return has_labels(found, LAB_LABELS)

    def in_use(self, target: Target) -> str:
        """What in a namespace isn't the lab's: others' workloads, pods and Helm releases keep it from being deleted."""
        if self.kind != "Namespace":
            return ""
        for api_version, kind in _USED_KINDS:
            labels = "owner=helm" if kind == "Secret" else ""
            try:
                found = target.kube.list(kind, self.name, api_version=api_version, labels=labels)
            except KubernetesError as error:
                if error.status != 404:  # not every cluster has every kind
                    raise
                continue
            for item in found:
                meta = item["metadata"]
                if not (has_labels(item, LAB_LABELS) or meta.get("ownerReferences") or meta.get("deletionTimestamp")):
                    return f"it holds {kind} {meta['name']}"
        return ""

    def obstacle(self, target: Target, found: Any) -> str:
        if self.kind == "Namespace" or has_labels(found, WORKSHOP_LABELS) or _includes(found, self.item):
            return ""
        return "it isn't the workshop's, and another than the workshop needs"

    def access(self, target: Target) -> Iterator[Access]:
        yield from to_apply(self.item)
        if self.kind == "Namespace":  # is it empty, before it is deleted
            yield from (Access("list", resource_of({"apiVersion": v, "kind": k}), self.name) for v, k in _USED_KINDS)

    def wait_deleted(self, target: Target, found: Any) -> Any:
        """The object, or None once one that is being deleted is gone: what is applied meanwhile would go with it."""
        if found is None or "deletionTimestamp" not in found["metadata"]:
            return found
        target.kube.wait_gone(found, timeout=target.settings.timeout)
        return None

    def apply(self, target: Target, found: Any, *, owned: bool) -> str:
        item = self.item
        if owned:
            meta = item["metadata"]
            item = {**item, "metadata": {**meta, "labels": {**meta.get("labels", {}), **LAB_LABELS}}}
        elif self.kind == "Namespace":
            return "unchanged"  # a namespace that the lab didn't make isn't changed
        elif not has_labels(found, WORKSHOP_LABELS):
            if target.kube.would_change(item):
                raise StepError(
                    f"{self.kind} {self.name} is there already and isn't the workshop's.",
                    hint="Choose another namespace (LABKIT_APP_NAMESPACE for nginx, LABKIT_LOGGING_NAMESPACE for "
                    "Fluent Bit), or delete it if nothing uses it.",
                )
            return "unchanged"
        return target.kube.apply_one(item)

    def delete(self, target: Target, found: Any) -> None:
        target.kube.delete_one(self.item, timeout=target.settings.timeout)


def _includes(found: Any, wanted: Any) -> bool:
    """Whether an object has all that another asks for, its labels aside."""
    if isinstance(wanted, dict):
        named = found if isinstance(found, dict) else {}
        return all(key == "labels" or _includes(named.get(key), value) for key, value in wanted.items())
    if isinstance(wanted, list):
        items = found if isinstance(found, list) else []
        return len(items) >= len(wanted) and all(_includes(f, w) for f, w in zip(items, wanted, strict=False))
    return bool(found == wanted)


class Workload(ManifestPart):
    """A workload or pod. Applied means: rolled out; of a pod that isn't to start again, that it has ended well."""

    def apply(self, target: Target, found: Any, *, owned: bool) -> str:
        action = super().apply(target, found, owned=owned)
        self.roll_out(target)
        return action

    def roll_out(self, target: Target) -> None:
        meta = self.item["metadata"]
        wait_rollout(target.kube, self.kind, meta["name"], meta["namespace"], timeout=target.settings.timeout)


def manifest_parts(target: Target, name: str, *, kinds: tuple[str, ...] = ()) -> list[ManifestPart]:
    """The objects in a file or folder of `manifests/`, all or of some kinds, in an order to create them in."""
    objects = load_objects([target.settings.root / "manifests" / name])
    return [ManifestPart(settle(item, target)) for item in in_order(objects) if not kinds or item["kind"] in kinds]


def settle(item: Object, target: Target) -> Object:
    """The object with the settings' namespaces, log group and log stream in place of the ones in the file."""
    meta = item["metadata"]
    if item["kind"] == "Namespace":
        meta["name"] = _namespace(meta["name"], target)
    elif item["kind"] not in ("ClusterRole", "ClusterRoleBinding"):
        meta["namespace"] = _namespace(meta.get("namespace", "default"), target)
    if item["kind"] == "ConfigMap":
        item["data"] = {name: settled_text(text, target) for name, text in item.get("data", {}).items()}
    return item


def settled_text(text: str, target: Target) -> str:
    """Fluent Bit's configuration with the settings' names."""
    settings = target.settings
    text = re.sub(r"(?m)^(\s*log_group_name:\s*)\S+", rf"\g<1>{settings.log_group}", text)
    text = re.sub(r"(?m)^(\s*log_stream_name:\s*)\S+", rf"\g<1>{settings.log_stream}", text)
    return text.replace("*_falco_falco-*.log", f"*_{settings.falco_namespace}_falco-*.log")


def _namespace(name: str, target: Target) -> str:
    setting = _NAMESPACES.get(name)
    return getattr(target.settings, setting) if setting else name
