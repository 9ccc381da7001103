"""Ephemeral containers, which the `ephemeralcontainers` subresource of a pod takes: they are added, never changed."""

from __future__ import annotations

from ekslab.kubernetes.objects.errors import Cause
from ekslab.kubernetes.objects.resources import Object
from ekslab.kubernetes.objects.validation.pods import CONTAINER, containers_of
from ekslab.kubernetes.objects.validation.rules import (
    ROOT,
    Causes,
    Place,
    Scope,
    each,
    field,
    fields,
    forbidden,
    is_unique,
    when,
)
from ekslab.kubernetes.objects.validation.volumes import volumes

_not_here = forbidden("cannot be set for an Ephemeral Container")
_NOT_ALLOWED = (
    "ports", "resizePolicy", "restartPolicy", "restartPolicyRules", "livenessProbe", "readinessProbe",
    "startupProbe", "lifecycle",
)  # fmt: skip


def _is_container(name: str, at: Place, scope: Scope) -> Causes:
    lasting = {key: value for key, value in scope.pod.items() if key != "ephemeralContainers"}
    if name not in {container["name"] for container, _ in containers_of(lasting, ROOT)}:
        yield Cause.not_found(str(at), name)


EPHEMERAL_CONTAINER = fields(
    CONTAINER,
    field("name", is_unique),
    field("targetContainerName", _is_container),
    *(field(name, _not_here) for name in _NOT_ALLOWED),
    when(lambda container: bool(container.get("resources")), field("resources", _not_here)),
    field("volumeMounts", each(fields(field("subPath", _not_here), field("subPathExpr", _not_here)))),
)


def validate_ephemeral(pod: Object, old: Object) -> Causes:
    """Everything wrong with the ephemeral containers of a pod (which has its defaults) that was `old` before."""
    spec, at = pod["spec"], Place("spec").child("ephemeralContainers")
    scope = Scope(pod, old, pod=spec, is_pod=True)
    list(volumes(spec.get("volumes") or [], at, scope))  # those that are right can be mounted
    lasting = {key: value for key, value in spec.items() if key != "ephemeralContainers"}
    scope.seen = {"name": {container["name"] for container, _ in containers_of(lasting, ROOT)}}
    wanted = spec.get("ephemeralContainers") or []
    for index, container in enumerate(wanted):
        yield from EPHEMERAL_CONTAINER(container, at.item(index), scope)
    after = {container.get("name"): container for container in wanted}
    for container in old["spec"].get("ephemeralContainers") or ():
        name = container["name"]
        if name not in after:
            yield Cause.forbidden(str(at), f'existing ephemeral containers "{name}" may not be removed\n')
        elif after[name] != container:
            yield Cause.forbidden(str(at), f'existing ephemeral containers "{name}" may not be changed\n')
