"""container.* and k8s.*: fields of the container and its pod."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ekslab.node.container import Container
from ekslab.node.fields.common import ArgumentExtract, Extract, Value
from ekslab.node.kernel import SystemCall


def _contained(read: Callable[[Container], Value | None], on_host: Value | None) -> Extract:
    def extract(call: SystemCall) -> Value | None:
        return read(call.container) if call.container is not None else on_host

    return extract


def _labels(labels: Iterable[tuple[str, str]]) -> str:
    return ", ".join(f"{name}:{value}" for name, value in sorted(labels))


FIELDS: dict[str, Extract] = {
    "container.id": _contained(lambda c: c.short_id, "host"),
    "container.full_id": _contained(lambda c: c.id, "host"),
    "container.name": _contained(lambda c: c.spec.name, "host"),
    "container.image": _contained(lambda c: c.image_reference, ""),
    "container.image.repository": _contained(lambda c: c.image.repository, ""),
    "container.image.tag": _contained(lambda c: c.image_tag, ""),
    "container.image.digest": _contained(lambda c: c.image.digest, ""),
    "container.image.id": _contained(lambda c: c.image.id.removeprefix("sha256:"), ""),
    "container.type": _contained(lambda c: "containerd", "host"),
    "container.privileged": _contained(lambda c: c.spec.privileged, False),
    "container.start_ts": _contained(lambda c: c.started_at or None, None),
    "container.duration": lambda c: c.time - c.container.started_at if c.container and c.container.started_at else None,
    "container.ip": _contained(lambda c: c.spec.pod_ip, ""),
    "container.host_pid": _contained(lambda c: c.spec.host_pid, False),
    "container.host_network": _contained(lambda c: c.spec.host_network, False),
    "container.host_ipc": _contained(lambda c: c.spec.host_ipc, False),
    "container.cni.json": lambda c: "",
    "container.labels": _contained(lambda c: _labels(c.spec.labels.items()), ""),
    "container.mounts": _contained(lambda c: ",".join(c.mount_texts()), ""),
    "k8s.pod.name": _contained(lambda c: c.spec.pod_name or None, None),
    "k8s.ns.name": _contained(lambda c: c.spec.pod_namespace or None, None),
    "k8s.pod.id": _contained(lambda c: c.spec.pod_uid or None, None),
    "k8s.pod.uid": _contained(lambda c: c.spec.pod_uid or None, None),
    "k8s.pod.sandbox_id": _contained(lambda c: c.spec.sandbox_id[:12], ""),
    "k8s.pod.full_sandbox_id": _contained(lambda c: c.spec.sandbox_id, ""),
    "k8s.pod.labels": _contained(lambda c: _labels(c.spec.pod_labels.items()), ""),
    "k8s.pod.ip": _contained(lambda c: c.spec.pod_ip, ""),
}


ARGUMENT_FIELDS: dict[str, ArgumentExtract] = {
    "container.label": lambda c, name: c.container.spec.labels.get(name or "") if c.container else None,
    "k8s.pod.label": lambda c, name: c.container.spec.pod_labels.get(name or "") if c.container else None,
}
