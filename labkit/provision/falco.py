"""Step `falco`: Falco on every node, by its Helm chart, with the values in `manifests/falco/`."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from labkit.calls import short_repr
from labkit.errors import StepError
from labkit.files import load_yaml, named
from labkit.helm import Release, upgrade_install_arguments
from labkit.kube import KubernetesError
from labkit.kube.access import Access, of, to_roll_out
from labkit.kube.objects import LAB_LABELS, WORKSHOP_LABELS, has_labels
from labkit.kube.rollout import Problem, unwell, wait_rollout
from labkit.provision.manifests import manifest_parts
from labkit.provision.parts import Part
from labkit.provision.steps import Step
from labkit.settings import Settings
from labkit.show import counted, say
from labkit.target import Target
from labkit.versions import pinned

STEP = "falco"
CHART_RESOURCES = ("serviceaccounts", "configmaps", "daemonsets.apps")
"""Of what the chart makes objects, with the workshop's values."""
_MARK = ",".join(f"{key}={value}" for key, value in LAB_LABELS.items())
RELEASE = "falco"
CUSTOM_RULES_STEP = "custom-rules"


def values_files(target: Target) -> tuple[Path, ...]:
    """The values that the settings ask for, and those that a class adds while it is up; a later file wins.

    Raises `StepError` for a lock of other artifacts.
    """
    settings = target.settings
    files, lock = chosen_values(settings), lock_file(settings)
    # The embedded lab's rules are its own, so digests of the registry say nothing of them.
    if settings.target == "eks" and lock.is_file():
        _check_lock(files, lock)
        files = (*files, lock)
    if target.ledger.records("class"):
        folder = settings.root / "manifests" / "class"
        files = (*files, folder / "falco-values.yaml")
        if settings.rule_tiers:  # both have a list of rule files
            files = (*files, _rules_files(settings, folder / "falco-values.yaml"))
    return files


def _rules_files(settings: Settings, of_class: Path) -> Path:
    """A values file with the rule files of the tiers and of a class."""
    tiers, more = (merged_values(files)["falco"]["rules_files"] for files in (chosen_values(settings), [of_class]))
    file = settings.home / "falco-rules-files.yaml"
    lines = [f"    - {name}\n" for name in dict.fromkeys([*tiers, *more])]
    text = f"# Written by labkit: tiers {settings.rule_tiers}, and a class.\nfalco:\n  rules_files:\n{''.join(lines)}"
    if not file.is_file() or file.read_text(encoding="utf-8") != text:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    return file


def chosen_values(settings: Settings) -> tuple[Path, ...]:
    """The values files of the workshop that settings ask for."""
    names = ["values"]
    if settings.falco_privileges == "least":
        names.append("least-privileged")
    if settings.rule_tiers:
        names.append(f"rules-{settings.rule_tiers.replace(',', '-')}")
    return tuple(settings.root / "manifests" / "falco" / f"{name}.yaml" for name in names)


def lock_file(settings: Settings) -> Path:
    """Where `labkit rules lock` writes the digests of the rules' artifacts: a values file."""
    return settings.home / "falco-rules.lock.yaml"


def artifacts(files: Sequence[Path]) -> list[str]:
    """References of the artifacts that falcoctl installs, such as `falco-rules:5.1.0`."""
    install = merged_values(files).get("falcoctl", {}).get("config", {}).get("artifact", {}).get("install", {})
    return [str(ref) for ref in install.get("refs", [])]


def _check_lock(files: Sequence[Path], lock: Path) -> None:
    wanted = [ref.partition(":")[0] for ref in artifacts(files)]
    locked = [ref.partition("@")[0] for ref in artifacts([lock])]
    if wanted != locked:
        raise StepError(
            f"{named(lock)} has digests of {', '.join(locked) or 'nothing'}, and the settings ask for "
            f"{', '.join(wanted)}.",
            hint="Write it anew with `labkit rules lock`, or delete it.",
        )


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
        if found.fault:
            return str(found.fault)
        pods = target.kube.get("DaemonSet", RELEASE, self.namespace)
        return unwell(target.kube, pods) if pods else f"There is no DaemonSet {self.namespace}/{RELEASE}"

    def is_owned(self, target: Target, found: Any) -> bool:
        return self._is_marked(target)

    def _is_marked(self, target: Target) -> bool:
        return bool(target.kube.list("Secret", self.namespace, labels=f"owner=helm,name={RELEASE},{_MARK}"))

    def obstacle(self, target: Target, found: Any) -> str:
        return "" if is_workshops(target, self.namespace) else "the workshop did not install it"

    def access(self, target: Target) -> Iterator[Access]:
        """Helm keeps releases in Secrets, and applies and deletes what the chart makes of the workshop's values.

        Tried with Helm 3.18 and chart 9.1.0: without any of these it refuses to install, upgrade or uninstall. (Helm 4
        watches what it deletes.)
        """
        namespace = self.namespace
        yield from of("get list create update delete", ["secrets"], namespace)
        yield from of("get list watch create patch delete", CHART_RESOURCES, namespace)
        yield from to_roll_out("DaemonSet", namespace)
        yield Access("get", "namespaces")
        yield Access("list", "daemonsets.apps")  # another Falco is somewhere else

    def apply(self, target: Target, found: Any, *, owned: bool) -> str:
        if found is None:
            refuse_second(target, self.namespace)
            return self.settle(target, None, {}, "created")
        if found.chart != RELEASE:
            raise StepError(
                f"Helm release {RELEASE} in namespace {self.namespace} is of another chart, {found.chart}.",
                hint=f"Use another namespace (LABKIT_FALCO_NAMESPACE), or uninstall it: `helm uninstall {RELEASE} "
                f"--namespace {self.namespace}`.",
            )
        if not is_workshops(target, self.namespace):
            raise foreign(self.namespace)
        refuse_second(target, self.namespace)
        values = target.helm.get_values(RELEASE, self.namespace)
        announce(found, values, merged_values(self.values))
        return self.settle(target, found, values, "updated")

    def settle(self, target: Target, release: Release | None, values: Mapping[str, Any], action: str) -> str:
        """Upgrades unless the release is as it should be, and waits for the rollout: `action` or `unchanged`."""
        wanted = merged_values(self.values)
        version = pinned()["falco"]["chart"]["version"]
        if release:
            refuse_downgrade(release, version)
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


_FALCO = re.compile(r"(?:^|/)falco(?:-no-driver)?(?:[:@]|$)")


def refuse_second(target: Target, namespace: str) -> None:
    """Raises `StepError` if a DaemonSet of another release, of the operator or of none runs Falco, too.

    A Falco that systemd runs on a node can't be seen from the cluster.
    """
    try:
        found = target.kube.list("DaemonSet")
    except KubernetesError as error:
        if error.status != 403:
            raise
        return  # a person who may install Falco in a namespace need not see the others
    for item in found:
        meta = item["metadata"]
        images = [str(container["image"]) for container in item["spec"]["template"]["spec"]["containers"]]
        image = next((image for image in images if _FALCO.search(image)), "")
        if image and (meta["namespace"], meta["name"]) != (namespace, RELEASE):
            release = meta.get("annotations", {}).get("meta.helm.sh/release-name", "")
            owners = [str(owner["kind"]) for owner in meta.get("ownerReferences", ())]
            by = (
                f"Helm release {release}" if release else f"the operator ({owners[0]})" if owners else "no Helm release"
            )
            raise StepError(
                f"DaemonSet {meta['namespace']}/{meta['name']} runs Falco already ({image}, by {by}).",
                hint="Two on a node see the same events: each alert comes twice, and each has buffers of its own. "
                "Remove that one, or use another cluster.",
            )


def refuse_downgrade(release: Release, version: str) -> None:
    """Raises `StepError` for a release of a newer chart than the workshop's."""
    if _numbers(release.version) > _numbers(version):
        raise StepError(
            f"Falco's release has chart {release.version} (Falco {release.app_version}), not {version}.",
            hint="It isn't put back to an older one, which may not know its values and rules. Update the workshop, or "
            f"remove the release first: `helm uninstall {RELEASE} -n {release.namespace}`.",
        )


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version.partition("-")[0].partition("+")[0])]


def announce(release: Release, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    """Prints what an upgrade changes in a release, before it is made."""
    version = pinned()["falco"]["chart"]["version"]
    lines = [f"chart: {release.version} -> {version}"] if release.version != version else []
    before, after = _flat(old), _flat(new)
    kept = sum(before[name] == after.get(name) for name in before)
    for name in sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name)):
        was, becomes = (_short(values, name) for values in (before, after))
        lines.append(f"{name}: {was} -> {becomes}")
    if lines:
        more = f"\n  ... and {len(lines) - _SHOWN} more" if len(lines) > _SHOWN else ""
        shown = "".join(f"\n  {line}" for line in lines[:_SHOWN])
        say(f"Falco's release is upgraded. {counted(kept, 'value')} kept; this changes:{shown}{more}")


_SHOWN = 12


def _short(values: Mapping[str, Any], name: str) -> str:
    if name.startswith("customRules."):
        return "a rule file" if name in values else "no file"
    return short_repr(values[name]) if name in values else "the chart's default"


def _flat(values: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    """Values by their paths, such as `falco.priority`."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{path}{key}"
        found |= _flat(value, f"{name}.") if isinstance(value, dict) and value else {name: value}
    return found


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
