"""Ephemeral containers: what the `ephemeralcontainers` subresource of a pod takes. They are added, never changed."""

from __future__ import annotations

from collections.abc import Iterable

from ekslab.kubernetes.objects.errors import Cause
from ekslab.kubernetes.objects.resources import Object

_FIELD = "spec.ephemeralContainers"
_NOT_ALLOWED = ("lifecycle", "livenessProbe", "ports", "readinessProbe", "resources", "restartPolicy", "startupProbe")


def validate_ephemeral(pod: Object, old: Object) -> Iterable[Cause]:
    """What is wrong with the ephemeral containers of a pod, which was `old` before; `pod` has defaults already."""
    spec = pod["spec"]
    wanted = spec.get("ephemeralContainers") or []
    before = {container["name"]: container for container in old["spec"].get("ephemeralContainers") or ()}
    others = [c["name"] for kind in ("initContainers", "containers") for c in spec.get(kind) or ()]
    seen = set(others)
    volumes = {volume["name"] for volume in spec.get("volumes") or ()}
    for index, container in enumerate(wanted):
        place = f"{_FIELD}[{index}]"
        name = container.get("name", "")
        if not name:
            yield Cause.required(f"{place}.name")
        elif name in seen:
            yield Cause.duplicate(f"{place}.name", name)
        seen.add(name)
        if not container.get("image"):
            yield Cause.required(f"{place}.image")
        target = container.get("targetContainerName")
        if target and target not in others:
            yield Cause.not_found(f"{place}.targetContainerName", target)
        for field in _NOT_ALLOWED:
            if container.get(field):
                yield Cause.forbidden(f"{place}.{field}", "cannot be set for an Ephemeral Container")
        for number, mount in enumerate(container.get("volumeMounts") or ()):
            if mount.get("name") not in volumes:
                yield Cause.not_found(f"{place}.volumeMounts[{number}].name", mount.get("name", ""))
            if mount.get("subPath"):
                cause = "cannot be set for an Ephemeral Container"
                yield Cause.forbidden(f"{place}.volumeMounts[{number}].subPath", cause)
    after = {container.get("name"): container for container in wanted}
    for name, container in before.items():
        if name not in after:
            yield Cause.forbidden(_FIELD, f'existing ephemeral containers "{name}" may not be removed\n')
        elif after[name] != container:
            yield Cause.forbidden(_FIELD, f'existing ephemeral containers "{name}" may not be changed\n')
