"""Steps `nginx`, the application under attack, and `canary`, a pod whose one line tests the log pipeline."""

from __future__ import annotations

from labkit.provision.manifests import Workload, manifest_parts
from labkit.provision.parts import Part
from labkit.provision.steps import Step
from labkit.target import Target


def _parts(target: Target) -> list[Part]:
    return [Workload(part.item) if part.kind == "Deployment" else part for part in manifest_parts(target, "nginx")]


def _canary_parts(target: Target) -> list[Part]:
    pods = manifest_parts(target, "canary", kinds=("Pod",))
    return [*manifest_parts(target, "falco/namespace.yaml"), *(Workload(pod.item) for pod in pods)]


STEPS = [
    Step("nginx", "nginx, the application to attack", (), _parts),
    Step("canary", "A pod whose one line goes through the pipeline", ("fluent-bit",), _canary_parts),
]
