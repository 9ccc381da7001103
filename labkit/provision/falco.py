"""Step `falco`: Falco on every node, by its Helm chart, with the values in `manifests/falco/`."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from labkit.errors import StepError
from labkit.files import load_yaml, named
from labkit.helm import Release, upgrade_install_arguments
from labkit.kube.objects import LAB_LABELS, WORKSHOP_LABELS, has_labels
from labkit.kube.rollout import Problem, unwell, wait_rollout
from labkit.provision.manifests import manifest_parts
from labkit.provision.parts import Part
from labkit.provision.steps import Step
from labkit.target import Target
from labkit.versions import pinned

STEP = "falco"
_MARK = ",".join(f"{key}={value}" for key, value in LAB_LABELS.items())
RELEASE = "falco"
CUSTOM_RULES_STEP = "custom-rules"


def values_file(target: Target) -> Path:
    return target.settings.root / "manifests" / "falco" / "values.yaml"


def values_files(target: Target) -> tuple[Path, ...]:
    """The workshop's values, and those that a class adds to them while it is up (`labkit class`)."""
    more = (
        [target.settings.root / "manifests" / "class" / "falco-values.yaml"] if target.ledger.records("class") else []
    )
    return (values_file(target), *more)


def shipped_rules(target: Target) -> list[Path]:
    """The custom rules files that the release has now, as the ledger knows them."""
    return [
        Path(file)
        for record in target.ledger.records(CUSTOM_RULES_STEP)
        for file in record.details.get("files", [])
        if Path(file).is_file()
    ]


@dataclass(frozen=True)
class FalcoRelease(Part):
    """The Helm release with some values files. Applied means: rolled out on every node."""

    namespace: str
    values: tuple[Path, ...]
    kind: str = "Helm release"
    name: str = RELEASE
    service: ClassVar[str] = "Kubernetes"

    def find(self, target: Target) -> Any:
        return target.helm.status(RELEASE, self.namespace)

    def describe(self, found: Any) -> str:
        return f"revision {found.revision}, {found.status}"

    def fault(self, target: Target, found: Any) -> str:
        """What is wrong with the release or its pods, in a line; empty if all is well."""
        if found.status != "deployed":
            return f"Helm release {RELEASE} is {found.status}"
        pods = target.kube.get("DaemonSet", RELEASE, self.namespace)
        return unwell(target.kube, pods) if pods else f"There is no DaemonSet {self.namespace}/{RELEASE}"

    def is_owned(self, target: Target, found: Any) -> bool:
        return self._is_marked(target)

    def _is_marked(self, target: Target) -> bool:
        return bool(target.kube.list("Secret", self.namespace, labels=f"owner=helm,name={RELEASE},{_MARK}"))

    def apply(self, target: Target, found: Any, *, owned: bool) -> str:
        if found is None:
            return self.settle(target, None, {}, "created")
        if not is_workshops(target, self.namespace):
            raise foreign(self.namespace)
        return self.settle(target, found, target.helm.get_values(RELEASE, self.namespace), "updated")

    def settle(self, target: Target, release: Release | None, values: Mapping[str, Any], action: str) -> str:
        """Upgrades unless the release is as it should be, and waits for the rollout: `action` or `unchanged`."""
        wanted = merged_values(self.values)
        version = pinned()["falco"]["chart"]["version"]
        if release and (release.status, release.version) == ("deployed", version) and values == wanted:
            action = "unchanged"
        else:
            self.upgrade(target, mark=release is None or self._is_marked(target))
        self.roll_out(target)
        return action

    def roll_out(self, target: Target) -> None:
        """Waits until Falco runs with what the release says, on every node. Raises `StepError` if it doesn't."""
        timeout = target.settings.timeout
        wait_rollout(target.kube, "DaemonSet", RELEASE, self.namespace, timeout=timeout, hopeless=_has_wrong_rules)

    def upgrade(self, target: Target, *, mark: bool = False) -> None:
        """`helm upgrade --install` with these values; returns before Falco is rolled out. `mark`: it is the lab's."""
        chart = pinned()["falco"]["chart"]
        target.helm.upgrade_install(
            RELEASE,
            chart["name"],
            version=chart["version"],
            namespace=self.namespace,
            values=self.values,
            # Helm would wait for the whole timeout and then say "timed out"; the rollout says what is wrong.
            wait=False,
            labels=LAB_LABELS if mark else None,
        )

    def delete(self, target: Target, found: Any) -> None:
        target.helm.uninstall(RELEASE, self.namespace)


def _has_wrong_rules(problem: Problem) -> bool:
    """Whether Falco ends because of a rule, at its second try, too: no restart will change that."""
    return (problem.container, problem.reason) == (RELEASE, "CrashLoopBackOff") and "LOAD_ERR_" in problem.log


def is_workshops(target: Target, namespace: str) -> bool:
    """Whether a Falco in that namespace is the workshop's: installed by a step, or by hand as the steps show it."""
    known = target.ledger.find(STEP, FalcoRelease.kind, RELEASE)
    if known is not None and known.made:
        return True
    found = target.kube.get("Namespace", namespace)
    return (
        has_labels(found, LAB_LABELS)
        or has_labels(found, WORKSHOP_LABELS)
        or FalcoRelease(namespace, ()).is_owned(target, None)
    )


def foreign(namespace: str) -> StepError:
    return StepError(
        f"A Falco release that the workshop did not install is in namespace {namespace}.",
        hint="Use another cluster, or another namespace (LABKIT_FALCO_NAMESPACE), or uninstall that release: "
        f"`helm uninstall {RELEASE} --namespace {namespace}`.",
    )


def merged_values(files: Sequence[Path]) -> dict[str, Any]:
    """Values files as Helm merges them: maps key by key, anything else replaced by the later file."""
    merged: dict[str, Any] = {}
    for file in files:
        documents = load_yaml(file) or [None]
        if len(documents) > 1 or not isinstance(documents[0] or {}, dict):
            what = "several documents" if len(documents) > 1 else f"a {type(documents[0]).__name__}"
            raise StepError(
                f"{named(file)} is {what} at its top; Helm takes a map.",
                hint="Put rules under `customRules:`, as a file name and a block of text.",
            )
        merged = _merge(merged, documents[0] or {})
    return merged


def _merge(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    result = dict(under)
    for key, value in over.items():
        below = result.get(key)
        if isinstance(below, dict) and isinstance(value, dict):
            result[key] = _merge(below, value)
        elif value is None:
            result.pop(key, None)
        else:
            result[key] = value
    return result


def helm_command(target: Target, values: Sequence[Path]) -> str:
    """The `helm upgrade --install` that brings the release about, with paths from the workshop's folder."""
    chart = pinned()["falco"]["chart"]
    root = target.settings.root.resolve()
    arguments = upgrade_install_arguments(
        RELEASE,
        chart["name"],
        version=chart["version"],
        namespace=target.settings.falco_namespace,
        values=[file.relative_to(root) if file.is_relative_to(root) else file for file in values],
    )
    lines: list[list[str]] = [["helm", *arguments[:4]]]
    for argument in arguments[4:]:
        lines[-1].append(argument) if not argument.startswith("--") else lines.append([argument])
    return " \\\n    ".join(shlex.join(line) for line in lines)


def _parts(target: Target) -> list[Part]:
    namespace = target.settings.falco_namespace
    # Applying this step again must not take away rules that were shipped since.
    values = (*values_files(target), *shipped_rules(target))
    return [*manifest_parts(target, "falco/namespace.yaml"), FalcoRelease(namespace, values)]


def _values(target: Target) -> dict[str, str]:
    return {"helm_upgrade": helm_command(target, [*values_files(target), *shipped_rules(target)])}


STEPS = [Step(STEP, "Falco on every node", (), _parts, _values)]
