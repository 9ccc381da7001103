"""Step `custom-rules`: upgrades Falco's release with a values file for each custom rules file."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from textwrap import indent
from typing import Any, TypeAlias

from labkit.calls import short_repr
from labkit.errors import StepError
from labkit.helm import Release
from labkit.provision.falco import (
    CUSTOM_RULES_STEP,
    STEP,
    FalcoRelease,
    foreign,
    helm_command,
    is_workshops,
    shipped_rules,
    values_files,
)
from labkit.provision.own_rules import OwnRules, rules_of
from labkit.provision.parts import Part
from labkit.provision.shared import form_in_class
from labkit.provision.steps import Step
from labkit.target import Target

File: TypeAlias = "str | os.PathLike[str]"


@dataclass(frozen=True)
class CustomRules(FalcoRelease):
    """What the release has under `customRules`. Deleting it leaves Falco with its default rules."""

    kind: str = "custom rules"
    rules: tuple[Path, ...] = ()
    """The last of the values files."""

    def find(self, target: Target) -> tuple[Release, dict[str, Any]] | None:
        """The release and its values; None if there is none, or if it isn't the workshop's."""
        release = target.helm.status(self.name, self.namespace)
        if release is None or not is_workshops(target, self.namespace):
            return None
        return release, target.helm.get_values(self.name, self.namespace)

    def describe(self, found: Any) -> str:
        release, values = found
        # An installation or removal that was interrupted is the step `falco`'s to put right.
        return "" if release.status in ("pending-install", "uninstalling") else _names(values)

    def fault(self, target: Target, found: Any) -> str:
        return super().fault(target, found[0])

    def obstacle(self, target: Target, found: Any) -> str:
        return ""  # `find` takes the workshop's release only

    def is_owned(self, target: Target, found: Any) -> bool:
        release = target.ledger.find(STEP, FalcoRelease.kind, self.name)
        return super().is_owned(target, found) if release is None else release.made

    def apply(self, target: Target, found: Any, *, owned: bool) -> str:
        if found is None:
            if target.helm.status(self.name, self.namespace) is not None:
                raise foreign(self.namespace)
            raise StepError("Falco isn't installed, so there is nothing to give rules to.", hint='Apply "falco" first.')
        release, values = found
        return self.settle(target, release, values, "updated" if _names(values) else "created")

    def delete(self, target: Target, found: Any) -> None:
        replace(self, values=values_files(target)).upgrade(target)

    def wait_without(self, target: Target) -> None:
        with suppress(StepError):  # a Falco that isn't well is without these rules, too
            self.roll_out(target)

    def details(self) -> dict[str, Any]:
        return {"files": [str(file) for file in self.rules]}


def _names(values: Mapping[str, Any]) -> str:
    return ", ".join(sorted(values.get("customRules") or {}))


def rule_files(target: Target) -> list[Path]:
    """The workshop's own rule files: those directly in `custom-rules/`."""
    return sorted((target.settings.root / "custom-rules").glob("*.yaml"))


def _parts(target: Target, files: File | Iterable[File] | None = None) -> list[Part]:
    """`files` are values files with rules under `customRules`, one or several; by default those shipped before, or the
    workshop's."""
    if files is None:
        chosen = shipped_rules(target) or rule_files(target)
    else:
        several = files if isinstance(files, Iterable) and not isinstance(files, str) else [files]
        chosen = [_found(target, file) for file in several]
    own = tuple(chosen)
    if target.settings.attendee:
        return [OwnRules(own, target.settings.app_namespace)]
    return [CustomRules(target.settings.falco_namespace, (*values_files(target), *own), rules=own)]


def _found(target: Target, file: File) -> Path:
    if not isinstance(file, str | os.PathLike):
        raise StepError(f"{short_repr(file)} is no file.", hint="`files` takes a path, or a list of paths.")
    file = os.fspath(file)
    for candidate in (Path(file), target.settings.root / file):
        with suppress(ValueError):  # a NUL in it
            if candidate.is_file():
                return candidate.resolve()
    raise StepError(
        f"There is no file {short_repr(str(file), 200)}.", hint=f"Paths count from here or from {target.settings.root}."
    )


def _values(target: Target) -> dict[str, Any]:
    own = shipped_rules(target) or rule_files(target)
    if target.settings.attendee:
        return {"own_rules": partial(_as_yaml, own)}
    return {
        "helm_upgrade": helm_command(target, [*values_files(target), *own]),
        "helm_upgrade_without_rules": helm_command(target, values_files(target)),
    }


def _as_yaml(files: Sequence[Path]) -> str:
    """The rules as a block of YAML, for the key of an attendee's ConfigMap."""
    return indent(rules_of(files), "    ").rstrip("\n")


STEPS = [Step(CUSTOM_RULES_STEP, "Rules of our own", ("falco",), _parts, _values, form=form_in_class)]
