"""Steps `nginx`, the application under attack, and `canary`, a pod whose one line tests the log pipeline."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from labkit.errors import StepError
from labkit.kube import Object
from labkit.kube.rollout import Patience, pod_problems, wait_rollout
from labkit.provision.manifests import ManifestPart, manifest_parts
from labkit.provision.parts import Part
from labkit.provision.steps import Step
from labkit.target import Target


@dataclass(frozen=True)
class App(ManifestPart):
    """The Deployment. Applied means: rolled out."""

    def apply(self, target: Target, found: Any, *, owned: bool) -> str:
        action = super().apply(target, found, owned=owned)
        meta = self.item["metadata"]
        wait_rollout(target.kube, self.kind, meta["name"], meta["namespace"], timeout=target.settings.timeout)
        return action


def _parts(target: Target) -> list[Part]:
    return [App(part.item) if part.kind == "Deployment" else part for part in manifest_parts(target, "nginx")]


@dataclass(frozen=True)
class Canary(ManifestPart):
    """A pod that prints its line and ends. Applied means: it has ended well."""

    def apply(self, target: Target, found: Any, *, owned: bool) -> str:
        action = super().apply(target, found, owned=owned)
        meta = self.item["metadata"]

        limit = Patience(15.0)

        def unmet() -> str:
            pod = target.kube.get("Pod", meta["name"], meta["namespace"]) or {}
            if _phase(pod) == "Failed":
                state = pod["status"]["containerStatuses"][0]["state"]["terminated"]
                said = state.get("message") or f"exit code {state['exitCode']}"
                raise StepError(
                    f"Pod {meta['name']} failed: {said}",
                    hint=f"`kubectl -n {meta['namespace']} logs {meta['name']}` shows what it printed.",
                )
            if _phase(pod) == "Succeeded":
                return ""
            problems = pod_problems(target.kube, pod) if pod else []
            if limit.ended(problems, [pod]):
                raise StepError(
                    f"Pod {meta['name']} does not run: {'; '.join(map(str, problems))}",
                    hint=f"Correct it and apply again. `kubectl get pods,events -n {meta['namespace']}` shows more.",
                )
            return f"its phase is {_phase(pod)}"

        pods = target.kube.path("v1", "Pod", meta["namespace"])
        target.kube.wait(unmet, pods, timeout=target.settings.timeout, what=f"pod {meta['name']} to end")
        return action


def _phase(pod: Object) -> str:
    return str(pod.get("status", {}).get("phase", "unknown"))


def _canary_parts(target: Target) -> list[Part]:
    return [
        *manifest_parts(target, "falco/namespace.yaml"),
        *(Canary(part.item) for part in manifest_parts(target, "canary", kinds=("Pod",))),
    ]


STEPS = [
    Step("nginx", "nginx, the application to attack", (), _parts),
    Step("canary", "A pod whose one line goes through the pipeline", ("fluent-bit",), _canary_parts),
]
