"""Step `falco`: Falco on every node, by its Helm chart, with the values in `manifests/falco/`."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from labkit.errors import StepError, reading_yaml
from labkit.files import read_text
from labkit.helm import Release, upgrade_install_arguments
from labkit.kube import OURS, WORKSHOP, Problem, carries
from labkit.provision.manifests import in_the_workshop, manifest_parts
from labkit.provision.steps import Part, Step
from labkit.versions import pinned

if TYPE_CHECKING:
    import pandas as pd

    from labkit.lab import Lab

STEP = "falco"
_MARK = ",".join(f"{key}={value}" for key, value in OURS.items())
RELEASE = "falco"
CUSTOM_RULES_STEP = "custom-rules"


def values_file(lab: Lab) -> Path:
    return lab.settings.root / "manifests" / "falco" / "values.yaml"


def shipped_rules(lab: Lab) -> list[Path]:
    """The custom rules files that the release has now, as the ledger knows them."""
    return [
        Path(file)
        for record in lab.ledger.records(CUSTOM_RULES_STEP)
        for file in record.details.get("files", [])
        if Path(file).is_file()
    ]


@dataclass(frozen=True)
class FalcoRelease:
    """The Helm release with some values files. Applied means: rolled out on every node."""

    namespace: str
    values: tuple[Path, ...]
    kind: str = "Helm release"
    name: str = RELEASE
    details: dict[str, Any] = field(default_factory=dict, hash=False)

    service: ClassVar[str] = "Kubernetes"

    def state(self, lab: Lab) -> str:
        release = lab.helm.status(RELEASE, self.namespace)
        return f"revision {release.revision}, {release.status}" if release else ""

    def fault(self, lab: Lab) -> str:
        """What is wrong with the release or its pods, in a line; empty if all is well."""
        release = lab.helm.status(RELEASE, self.namespace)
        if release is None or release.status != "deployed":
            return f"Helm release {RELEASE} is {release.status}" if release else ""
        found = lab.kube.get("DaemonSet", RELEASE, self.namespace)
        return lab.kube.unwell(found) if found else f"There is no DaemonSet {self.namespace}/{RELEASE}"

    def ours(self, lab: Lab) -> bool:
        return bool(lab.kube.list("Secret", self.namespace, labels=f"owner=helm,name={RELEASE},{_MARK}"))

    def apply(self, lab: Lab, *, mine: bool) -> str:
        release = lab.helm.status(RELEASE, self.namespace)
        if release is not None and not is_workshops(lab, self.namespace):
            raise foreign(self.namespace)
        values = lab.helm.get_values(RELEASE, self.namespace) if release is not None else {}
        action = "created" if release is None else "updated"
        return self.settle(lab, release, values, action)

    def settle(self, lab: Lab, release: Release | None, values: Mapping[str, Any], action: str) -> str:
        """Upgrades unless the release is as it should be, and waits for the rollout: `action` or `unchanged`."""
        wanted = merged_values(self.values)
        version = pinned()["falco"]["chart"]["version"]
        if release and (release.status, release.version) == ("deployed", version) and values == wanted:
            action = "unchanged"
        else:
            self.upgrade(lab, mark=release is None or self.ours(lab))
        lab.kube.wait_rollout(
            "DaemonSet", RELEASE, self.namespace, timeout=lab.settings.timeout, hopeless=_has_wrong_rules
        )
        return action

    def upgrade(self, lab: Lab, *, mark: bool = False) -> None:
        """`helm upgrade --install` with these values; returns before Falco is rolled out. `mark`: it is the lab's."""
        chart = pinned()["falco"]["chart"]
        lab.helm.upgrade_install(
            RELEASE,
            chart["name"],
            version=chart["version"],
            namespace=self.namespace,
            values=self.values,
            # Helm would wait for the whole timeout and then say "timed out"; the rollout says what is wrong.
            wait=False,
            labels=OURS if mark else None,
        )

    def delete(self, lab: Lab) -> bool:
        return lab.helm.uninstall(RELEASE, self.namespace)


def _has_wrong_rules(problem: Problem) -> bool:
    """Whether Falco ends because of a rule, at its second try, too: no restart will change that."""
    return (problem.container, problem.reason) == (RELEASE, "CrashLoopBackOff") and "LOAD_ERR_" in problem.log


def is_workshops(lab: Lab, namespace: str) -> bool:
    """Whether a Falco in that namespace is the workshop's: installed by a step, or by hand as the steps show it."""
    known = lab.ledger.find(STEP, FalcoRelease.kind, RELEASE)
    if known is not None and known.made:
        return True
    found = lab.kube.get("Namespace", namespace)
    return carries(found, OURS) or carries(found, WORKSHOP) or FalcoRelease(namespace, ()).ours(lab)


def foreign(namespace: str) -> StepError:
    return StepError(
        f"A Falco release that the workshop did not install is in namespace {namespace}.",
        hint="Use another cluster, or another namespace (LABKIT_FALCO_NAMESPACE), or uninstall that release: "
        f"`helm uninstall {RELEASE} --namespace {namespace}`.",
    )


def merged_values(files: Sequence[Path]) -> dict[str, Any]:
    """Values files as Helm merges them: maps key by key, anything else replaced by the later file."""
    import yaml

    merged: dict[str, Any] = {}
    for file in files:
        try:
            with reading_yaml(file, StepError):
                document = yaml.safe_load(read_text(file))
        except OSError as error:
            raise StepError(f"{file} can't be read: {error.strerror}.", hint="Check its name.") from error
        if not isinstance(document or {}, dict):
            raise StepError(
                f"{file} is a {type(document).__name__} at its top; Helm takes a map.",
                hint="Put rules under `customRules:`, as a file name and a block of text.",
            )
        merged = _merge(merged, document or {})
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


DEFAULT_RULES = "/etc/falco/falco_rules.yaml"


def loaded_rules(lab: Lab) -> pd.DataFrame:
    """See `Lab.falco_rules`. Columns: `rule`, `priority`, `source`, `enabled`, `tags`, `description`, `condition`."""
    import pandas as pd

    pod = lab.kube.resolve(f"ds/{RELEASE}", namespace=lab.settings.falco_namespace)
    meta = pod["metadata"]
    said = lab.kube.exec(meta["name"], meta["namespace"], ["falco", "-L", "-o", "json_output=true"], container=RELEASE)
    start = said.stdout.find("{")
    if said.exit_code != 0 or start < 0:
        raise StepError(
            f"Falco did not list its rules: {(said.stderr or said.stdout).strip()}",
            hint=f"`kubectl -n {meta['namespace']} logs {meta['name']} -c {RELEASE}` says how it is.",
        )
    rules = [rule["info"] for rule in json.loads(said.stdout[start:])["rules"]]
    frame = pd.DataFrame(rules).rename(columns={"name": "rule"})
    first = ["rule", "priority", "source", "enabled", "tags", "description", "condition"]
    return frame[[column for column in first if column in frame]]


def default_rules(lab: Lab) -> tuple[str, str]:
    """See `Lab.default_rules`."""
    pod = lab.kube.resolve(f"ds/{RELEASE}", namespace=lab.settings.falco_namespace)
    meta = pod["metadata"]
    said = lab.kube.exec(meta["name"], meta["namespace"], ["cat", DEFAULT_RULES], container=RELEASE)
    if said.exit_code != 0:
        raise StepError(
            f"Falco's default rules can't be read: {said.stderr.strip()}",
            hint=f"`kubectl -n {meta['namespace']} logs {meta['name']} -c {RELEASE}` says which files it loads.",
        )
    return DEFAULT_RULES.rpartition("/")[2], said.stdout


def helm_command(lab: Lab, values: Sequence[Path]) -> str:
    """The `helm upgrade --install` that brings the release about, with paths from the workshop's folder."""
    chart = pinned()["falco"]["chart"]
    root = lab.settings.root.resolve()
    arguments = upgrade_install_arguments(
        RELEASE,
        chart["name"],
        version=chart["version"],
        namespace=lab.settings.falco_namespace,
        values=[file.relative_to(root) if file.is_relative_to(root) else file for file in values],
    )
    lines: list[list[str]] = [["helm", *arguments[:4]]]
    for argument in arguments[4:]:
        lines[-1].append(argument) if not argument.startswith("--") else lines.append([argument])
    return " \\\n    ".join(shlex.join(line) for line in lines)


def _parts(lab: Lab) -> list[Part]:
    namespace = lab.settings.falco_namespace
    # Applying this step again must not take away rules that were shipped since.
    values = (values_file(lab), *shipped_rules(lab))
    return [*manifest_parts(lab, "falco/namespace.yaml"), FalcoRelease(namespace, values)]


def _cli(lab: Lab) -> str:
    namespace = lab.settings.falco_namespace
    return in_the_workshop(
        "kubectl apply -f manifests/falco/namespace.yaml\n"
        f"{helm_command(lab, [values_file(lab), *shipped_rules(lab)])}\n"
        f"kubectl -n {namespace} rollout status daemonset/{RELEASE} --timeout=5m"
    )


def _undo_cli(lab: Lab) -> str:
    namespace = lab.settings.falco_namespace
    return (
        f"helm uninstall {RELEASE} --namespace {namespace} --wait --ignore-not-found\n"
        f"kubectl delete namespace {namespace} --ignore-not-found"
    )


STEPS = [Step(STEP, "Falco on every node", (), _parts, _cli, _undo_cli)]
