"""Pods of an attack's own, for commands that the application's pod may not run: `pods/*.yaml`."""

from __future__ import annotations

from contextlib import suppress
from importlib import resources
from typing import TYPE_CHECKING

import yaml

from labkit.errors import StepError, TargetError
from labkit.kube.objects import Object
from labkit.kube.rollout import wait_rollout

if TYPE_CHECKING:
    from labkit.attacks.catalogue import Attack
    from labkit.target import Target

LABELS = {"app": "labkit-attack", "app.kubernetes.io/managed-by": "labkit"}
"""What every such pod has: teardown and audit find one that was left behind by it."""


def attack_pod(attack: Attack, run: str, namespace: str) -> Object:
    """The pod of one run of an attack."""
    text = resources.files("labkit.attacks").joinpath("pods", f"{attack.pod}.yaml").read_text(encoding="utf-8")
    pod: Object = yaml.safe_load(text)
    pod["metadata"] |= {"name": f"labkit-{attack.name}"[:56] + f"-{run}", "namespace": namespace}
    return pod


def start(target: Target, pod: Object) -> None:
    """Makes a pod and waits until it is ready. Raises `StepError` if it is refused, or isn't well."""
    target.kube.apply_one(pod)
    meta = pod["metadata"]
    wait_rollout(target.kube, "Pod", meta["name"], meta["namespace"], timeout=target.settings.timeout)


def remove_left(target: Target) -> None:
    """Deletes the pods of runs that were killed before they could do so. A cluster that is gone has none."""
    labels = ",".join(f"{key}={value}" for key, value in LABELS.items())
    with suppress(StepError, TargetError):
        found = target.kube.list("Pod", target.settings.app_namespace, labels=labels)
        target.kube.delete([{"apiVersion": "v1", "kind": "Pod", **pod} for pod in found])
