"""Steps `nginx`, the application that the workshop opens shells in, and `canary`, one line through the pipeline."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from labkit.errors import StepError
from labkit.kube import Object, Patience
from labkit.provision.manifests import ManifestPart, in_the_workshop, manifest_parts
from labkit.provision.steps import Part, Step

if TYPE_CHECKING:
    from labkit.lab import Lab


@dataclass(frozen=True)
class App(ManifestPart):
    """The Deployment. Applied means: rolled out."""

    def apply(self, lab: Lab, *, mine: bool) -> str:
        action = super().apply(lab, mine=mine)
        meta = self.item["metadata"]
        lab.kube.wait_rollout(self.kind, meta["name"], meta["namespace"], timeout=lab.settings.timeout)
        return action


def _parts(lab: Lab) -> list[Part]:
    return [App(part.item) if part.kind == "Deployment" else part for part in manifest_parts(lab, "nginx")]


def _cli(lab: Lab) -> str:
    namespace = lab.settings.app_namespace
    return in_the_workshop(
        f"kubectl -n {namespace} apply -f manifests/nginx/\n"
        f"kubectl -n {namespace} rollout status deployment/nginx --timeout=5m"
    )


def _undo_cli(lab: Lab) -> str:
    return in_the_workshop(f"kubectl -n {lab.settings.app_namespace} delete -f manifests/nginx/ --ignore-not-found")


@dataclass(frozen=True)
class Canary(ManifestPart):
    """A pod that prints its line and ends. Applied means: it has ended well."""

    def apply(self, lab: Lab, *, mine: bool) -> str:
        action = super().apply(lab, mine=mine)
        meta = self.item["metadata"]

        limit = Patience(15.0)

        def unmet() -> str:
            pod = lab.kube.get("Pod", meta["name"], meta["namespace"]) or {}
            if _phase(pod) == "Failed":
                state = pod["status"]["containerStatuses"][0]["state"]["terminated"]
                said = state.get("message") or f"exit code {state['exitCode']}"
                raise StepError(
                    f"Pod {meta['name']} failed: {said}",
                    hint=f"`kubectl -n {meta['namespace']} logs {meta['name']}` shows what it printed.",
                )
            if _phase(pod) == "Succeeded":
                return ""
            problems = lab.kube.pod_problems(pod) if pod else []
            if limit.ended(problems, [pod]):
                raise StepError(
                    f"Pod {meta['name']} does not run: {'; '.join(map(str, problems))}",
                    hint=f"Correct it and apply again. `kubectl get pods,events -n {meta['namespace']}` shows more.",
                )
            return f"its phase is {_phase(pod)}"

        pods = lab.kube.path("v1", "Pod", meta["namespace"])
        lab.kube.wait(unmet, pods, timeout=lab.settings.timeout, what=f"pod {meta['name']} to end")
        return action


def _phase(pod: Object) -> str:
    return str(pod.get("status", {}).get("phase", "unknown"))


def is_former_canary(lab: Lab) -> Callable[[str], bool]:
    """Tells the line of a canary that was there before from that of the one that is there now: by its pod's uid."""
    pod = lab.kube.get("Pod", "canary", lab.settings.falco_namespace)
    current = pod["metadata"]["uid"] if pod else None

    def is_former(message: str) -> bool:
        try:
            printed = json.loads(message) if '"canary"' in message else None
        except (ValueError, RecursionError):
            return False
        return isinstance(printed, dict) and current is not None and printed.get("pod", current) != current

    return is_former


def _canary_parts(lab: Lab) -> list[Part]:
    return [
        *manifest_parts(lab, "falco/namespace.yaml"),
        *(Canary(part.item) for part in manifest_parts(lab, "canary", kinds=("Pod",))),
    ]


def _canary_cli(lab: Lab) -> str:
    namespace = lab.settings.falco_namespace
    return in_the_workshop(
        "kubectl apply -f manifests/falco/namespace.yaml -f manifests/canary/\n"
        f"kubectl -n {namespace} wait pod/canary --for=jsonpath='{{.status.phase}}'=Succeeded --timeout=5m"
    )


def _canary_undo_cli(lab: Lab) -> str:
    return in_the_workshop("kubectl delete -f manifests/canary/ --ignore-not-found")


STEPS = [
    Step("nginx", "nginx, the application to attack", (), _parts, _cli, _undo_cli),
    Step(
        "canary",
        "A pod whose one line goes through the pipeline",
        ("fluent-bit",),
        _canary_parts,
        _canary_cli,
        _canary_undo_cli,
    ),
]
