"""What the chapters use: steps, and what they do themselves in AWS (statements of policies) and in the cluster."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property

from labkit.aws import translated_errors
from labkit.calls import near, short_repr
from labkit.errors import LabError
from labkit.kube.access import Access, of
from labkit.provision import security_hub
from labkit.provision.steps import STEPS, Step
from labkit.target import Target


@dataclass(frozen=True)
class Chapter:
    """What a chapter uses beside its steps."""

    steps: tuple[str, ...] = ()
    """Those that it applies or makes sure of; what they need is added."""
    allowed: tuple[str, ...] = ()
    """Statements of `manifests/iam/workshop-*.json`, by Sid."""
    access: tuple[tuple[str, tuple[str, ...], str], ...] = ()
    """Verbs, resources, and the setting of the namespace (empty: all)."""


_ALERTS = ("Alerts",)
_QUERIES = ("QueriesOfAlerts", "QueriesHaveNoResource")
# A WebSocket begins with GET; since 1.35 the API server asks for `create`, too.
_EXEC = ("get create", ("pods/exec",), "app_namespace")
_PODS = ("get list watch", ("pods",), "app_namespace")
_FALCOS_RULES = ("get create", ("pods/exec",), "falco_namespace")
_BASE = ("fluent-bit", "falco", "nginx")

CHAPTERS: Mapping[str, Chapter] = {
    "00": Chapter((), ("Cluster", "ClustersOfTheRegion"), (("list", ("nodes", "pods"), ""),)),
    "01": Chapter(
        ("oidc-provider", "log-group", "fluent-bit-role", "fluent-bit", "canary"),
        _ALERTS,
        (("create", ("serviceaccounts/token",), "logging_namespace"),),
    ),
    "02": Chapter(("fluent-bit", "falco"), (), (_FALCOS_RULES,)),
    "03": Chapter(_BASE, _ALERTS, (_EXEC, _PODS)),
    "04": Chapter((*_BASE, "custom-rules"), _ALERTS, (_EXEC, _PODS, _FALCOS_RULES)),
    "05": Chapter((*_BASE, "custom-rules"), (*_ALERTS, *_QUERIES), (_EXEC, _PODS, _FALCOS_RULES)),
    "06": Chapter(
        (*_BASE, "metric-filters", "alarms", "dashboard"),
        (*_ALERTS, *_QUERIES, "FilterPatterns", "Metrics", "MetricsOfTheWorkshop", "StatesOfAlarms", "Notifications"),
        (_EXEC, _PODS),
    ),
    "07": Chapter(
        (*_BASE, "security-hub", "findings-forwarder"),
        (*_ALERTS, "FindingsOfTheAccountsOwn", "InvocationsOfTheForwarder", "LogOfTheForwarder", "DeadLetters"),
        (_EXEC, _PODS),
    ),
    "08": Chapter(
        STEPS.ORDER,
        ("OidcProviders", "TagsOfOidcProviders", "NamesOfDashboardsTopicsAndQueues", "NamesOfFunctions"),
        (
            ("list", ("namespaces", "serviceaccounts", "configmaps", "services", "secrets", "pods"), ""),
            ("list", ("daemonsets.apps", "deployments.apps"), ""),
        ),
    ),
}
"""By number. What is here is proved by tests, which read the notebooks and record what is called."""

_OF_FINDINGS = ("security-hub", "findings-forwarder")
"""Steps that a class is set up with or without."""

OPTIONAL = ("QuotasOfTheAccount", "SimulationOfTheCallersPermissions")
"""Statements that only this preflight uses; without them it says what it can't tell."""


def numbers(chapters: Iterable[str]) -> tuple[str, ...]:
    """Chapters by number (`03` or `3`), in order. Raises `LabError` for one that there isn't."""
    wanted = [(name, name.zfill(2)) for name in chapters]
    for name, number in wanted:
        if number not in CHAPTERS:
            hint = f"{near(name, CHAPTERS)}Use their numbers: {', '.join(CHAPTERS)}."
            raise LabError(f"There is no chapter {short_repr(name)}.", hint=hint)
    return tuple(number for number in CHAPTERS if number in {number for _, number in wanted})


@dataclass(frozen=True)
class Chosen:
    """The chapters that a preflight is for."""

    target: Target
    chapters: tuple[str, ...] = field(default=tuple(CHAPTERS))

    @classmethod
    def of(cls, target: Target, chapters: Iterable[str] = ()) -> Chosen:
        """All chapters if none is named. Raises `LabError` for one that there isn't."""
        return cls(target, numbers(chapters) or tuple(CHAPTERS))

    @cached_property
    def not_in_class(self) -> tuple[str, ...]:
        """Those that an attendee can't do: the class was set up without their steps."""
        if not self.target.settings.attendee:
            return ()
        try:
            with translated_errors(self.target.aws.hint):
                if security_hub.describe(self.target) is not None:
                    return ()
        except LabError:  # which other checks tell
            return ()
        # Chapter 08 takes away whatever steps there are.
        return tuple(
            chapter
            for chapter in self.chapters
            if CHAPTERS[chapter].steps != STEPS.ORDER and {*_OF_FINDINGS} & {*CHAPTERS[chapter].steps}
        )

    @cached_property
    def steps(self) -> list[Step]:
        """Their steps and all that these need, in order."""
        found = STEPS.with_needs(name for chapter in self.chapters for name in CHAPTERS[chapter].steps)
        return [step for step in found if not (self.not_in_class and step.name in _OF_FINDINGS)]

    @cached_property
    def allowed(self) -> set[str]:
        """The Sids of the statements that allow what they call in AWS."""
        own = {sid for chapter in self.chapters for sid in CHAPTERS[chapter].allowed}
        return own.union(*(step.statements(self.target) for step in self.steps))

    @cached_property
    def access(self) -> set[Access]:
        """What they do in the cluster."""
        settings, found = self.target.settings, set()
        for chapter in self.chapters:
            for verbs, resources, setting in CHAPTERS[chapter].access:
                if setting == "app_namespace" or not settings.attendee:  # the others are the class's
                    found |= set(of(verbs, resources, getattr(settings, setting) if setting else ""))
        for step in self.steps:
            with suppress(LabError):  # without a cluster or an issuer, which other checks tell
                found |= {access for part in step.parts(self.target) for access in part.access(self.target)}
        return found
