"""An attendee's own rules on a Falco that is shared: a ConfigMap of their own, and what the class's gate says of it.

The gate (`labkit class gate`) checks the rules, limits them to the attendee's namespace and hands them to Falco, which
loads them without a restart. Names and forms that both sides share are here.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import os
import re
import socket
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from labkit.alerts.falco_rules import ATTENDEES
from labkit.calls import short_repr
from labkit.errors import LabError, StepError
from labkit.files import named
from labkit.kube import KubernetesError, Object
from labkit.kube.objects import LAB_LABELS, config_map, has_labels
from labkit.provision.falco import merged_values
from labkit.provision.parts import Part
from labkit.show import counted
from labkit.target import Target
from labkit.waiting import poll

RULES, KEY = "falco-rules", "rules.yaml"
"""The attendee's ConfigMap, and its key."""
VERDICT = "falco-workshop/verdict"
"""Annotation of that ConfigMap: what the gate says, as JSON."""
GATE = "falco-gate"
"""ConfigMap in Falco's namespace: who runs the gate, and when it was last there."""
BEAT = 5.0
"""Seconds after which a gate says again that it is there."""
SILENT = 30.0
"""Seconds without a word from it after which it is taken for ended."""
_REMOVED = 30.0  # seconds that the gate may take to remove rules
_RETURNS = 5.0  # seconds in which a gate that was killed may be there again


@dataclass(frozen=True)
class Verdict:
    """What the gate says of an attendee's rules."""

    digest: str = ""
    """Of the text that it is about."""
    accepted: bool = False
    loaded: bool = False
    """Whether every Falco has loaded them."""
    said: tuple[str, ...] = ()
    """Why they are refused or not loaded, and what of the ConfigMap isn't read."""
    rules: tuple[str, ...] = ()
    """Their names in Falco."""
    falcos: int = 0
    seconds: float = 0.0
    """From the moment at which the gate saw them until Falco had loaded them."""

    @classmethod
    def of(cls, item: Object | None) -> Verdict | None:
        """The verdict in a ConfigMap's annotations; None if there is none.

        The attendee can write there, too: what isn't of the gate's form is no verdict.
        """
        text = ((item or {}).get("metadata", {}).get("annotations") or {}).get(VERDICT)
        try:
            found = json.loads(text or "")
            made = cls(**{**found, "said": tuple(found["said"]), "rules": tuple(found["rules"])})
        except (ValueError, TypeError, KeyError, RecursionError):
            return None
        texts, flags = (made.digest, *made.said, *made.rules), (made.accepted, made.loaded)
        well_formed = (
            all(isinstance(text, str) and text.isprintable() for text in texts)
            and all(isinstance(flag, bool) for flag in flags)
            and all(isinstance(number, int | float) and 0 <= number < 1e9 for number in (made.falcos, made.seconds))
        )
        return made if well_formed else None

    def __str__(self) -> str:
        if not self.accepted:
            return f"refused: {' '.join(self.said)}"
        if not self.loaded:
            return f"accepted, but not loaded: {' '.join(self.said)}"
        return (
            f"accepted in {self.seconds:.1f} s: {counted(len(self.rules), 'rule')} "
            f"in {counted(self.falcos, 'running Falco')}{'. ' * bool(self.said)}{' '.join(self.said)}"
        )


def digest(text: str) -> str:
    """A short name for a text."""
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:16]


def text_of(item: Object | None) -> str:
    """The rules in an attendee's ConfigMap."""
    return str(((item or {}).get("data") or {}).get(KEY) or "")


def unread(item: Object | None) -> list[str]:
    """The other keys in an attendee's ConfigMap, sorted: nothing reads them."""
    return sorted({key for part in ("data", "binaryData") for key in (item or {}).get(part) or {}} - {KEY})


def digest_of(item: Object | None) -> str:
    """A short name for all that a verdict on an attendee's ConfigMap is about."""
    return digest("\0".join([text_of(item), *unread(item)]))


def holder() -> str:
    """How a gate that is this process is named."""
    return f"{socket.gethostname()}, process {os.getpid()}"


def _has_ended(named: str) -> bool:
    """Whether a gate was a process of this computer that has ended, killed perhaps, without a word."""
    found = re.fullmatch(rf"{re.escape(socket.gethostname())}, process (\d{{1,9}})", named)
    if found is None:
        return False
    try:
        os.kill(int(found[1]), 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    try:
        return not Path(f"/proc/{found[1]}/cmdline").read_bytes()  # it is about to end, or its parent hasn't noticed
    except OSError:
        return False


def silence(target: Target, found: Object | None) -> str:
    """Why the gate won't answer, in words; empty if it is there. `found` is the ConfigMap `GATE`."""
    data = (found or {}).get("data") or {}
    if "renewed" not in data:
        return "no gate has been started"
    if _has_ended(str(data.get("holder"))):
        return f"the gate on {data['holder']} has ended"
    with suppress(ValueError):
        ago = (target.kube.now() - dt.datetime.fromisoformat(data["renewed"])).total_seconds()
        if ago <= SILENT:
            return ""
        return f"the gate on {data.get('holder', 'another computer')} was last there {_long(ago)} ago"
    return "it isn't known when the gate was last there"


def _long(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min" if seconds < 7200 else "hours"


@dataclass(frozen=True)
class OwnRules(Part):
    """The rules of an attendee, from values files for the chart. Applied means: the gate accepts and Falco has them."""

    files: tuple[Path, ...]
    namespace: str
    kind: str = "own rules"
    service: ClassVar[str] = "Kubernetes"
    _said: list[str] = field(default_factory=list, compare=False, repr=False)

    @property
    def name(self) -> str:
        return f"{self.namespace}/{RULES}"

    def find(self, target: Target) -> Any:
        return target.kube.get("ConfigMap", RULES, self.namespace)

    def describe(self, found: Any) -> str:
        verdict = Verdict.of(found)
        return "there" if verdict is None else str(verdict).partition(":")[0]

    def fault(self, target: Target, found: Any) -> str:
        verdict = Verdict.of(found)
        return str(verdict) if verdict is not None and not (verdict.accepted and verdict.loaded) else ""

    def is_owned(self, target: Target, found: Any) -> bool:
        return has_labels(found, LAB_LABELS)

    def apply(self, target: Target, found: Any, *, owned: bool) -> str:
        text = rules_of(self.files)
        action = "created" if found is None else "unchanged" if text_of(found) == text else "updated"
        if action != "unchanged":
            target.kube.apply_one(config_map(RULES, self.namespace, {KEY: text}))
        verdict = self._verdict(target, text, Verdict.of(found))
        self._said[:] = [str(verdict)]
        if not verdict.accepted:
            raise StepError(
                f"The class's gate refuses these rules: {' '.join(verdict.said)}",
                hint="Correct them and apply this again. What Falco had of yours before goes on.",
            )
        if not verdict.loaded:
            raise StepError(
                f"The class's gate accepts these rules, but Falco hasn't loaded them: {' '.join(verdict.said)}",
                hint="Apply this again in a minute; if that says the same, tell the instructor.",
            )
        return action

    def remark(self) -> str:
        return " ".join(self._said)

    def _verdict(self, target: Target, text: str, before: Verdict | None) -> Verdict:
        """The gate's verdict on the text. Raises `StepError` as soon as it is known that there will be none.

        Falco may have loaded since what it hadn't `before`: then the gate says so.
        """

        ended: list[float] = []

        def look() -> Verdict | None:
            item = self.find(target)
            verdict = Verdict.of(item)
            fresh = verdict is not None and (verdict != before or verdict.loaded or not verdict.accepted)
            if verdict is not None and verdict.digest == digest_of(item) and text_of(item) == text and fresh:
                return verdict
            gate = target.kube.get("ConfigMap", GATE, target.settings.falco_namespace)
            if _has_ended(str(((gate or {}).get("data") or {}).get("holder"))):
                ended.append(time.monotonic())
            else:
                ended.clear()
            absent = silence(target, gate)
            if absent and not (ended and ended[-1] - ended[0] < _RETURNS):
                raise StepError(
                    f"Your rules wait in ConfigMap {self.name}: {absent}.",
                    hint="Tell the instructor: `labkit class gate` starts it. It takes what waits: apply this again.",
                )
            return None

        found = poll(look, "the class's gate", target.settings.timeout)
        if found is None:
            raise StepError(
                f"The class's gate has said nothing of ConfigMap {self.name} for {target.settings.timeout:g} s.",
                hint="Apply this again; if that says the same, tell the instructor.",
            )
        return found

    def delete(self, target: Target, found: Any) -> None:
        target.kube.delete_one(config_map(RULES, self.namespace, {}), timeout=target.settings.timeout)

    def wait_without(self, target: Target) -> None:
        """Waits until Falco's folder is without them. A gate that isn't there removes them when it is back."""

        def gone() -> bool | None:
            falco = target.settings.falco_namespace
            found = target.kube.get("ConfigMap", ATTENDEES, falco) or {}
            there = f"{self.namespace}.yaml" in (found.get("data") or {})
            return True if not there or silence(target, target.kube.get("ConfigMap", GATE, falco)) else None

        with suppress(KubernetesError):
            poll(gone, "the class's gate to remove the rules", _REMOVED)

    def details(self) -> dict[str, Any]:
        return {"files": [str(file) for file in self.files]}


def rules_of(files: Sequence[Path]) -> str:
    """The rules in values files for the chart, under `customRules`, as one text. Raises `StepError`."""
    texts: list[str] = []
    for file in files:
        found = merged_values([file]).get("customRules")
        if not isinstance(found, Mapping) or not all(isinstance(text, str) for text in found.values()) or not found:
            raise StepError(
                f"{named(file)} has no rules for the chart: its `customRules` is {short_repr(found)}.",
                hint="Put rules under `customRules:`, as a file name and a block of text.",
            )
        texts += found.values()
    return "\n".join(text.rstrip("\n") + "\n" for text in texts)


def verdicts(target: Target, namespaces: Sequence[str]) -> dict[str, Verdict | None]:
    """The gate's verdict on the rules in each namespace, by namespace; without rules it has no entry."""
    found = {}
    for namespace in namespaces:
        with suppress(LabError):
            item = target.kube.get("ConfigMap", RULES, namespace)
            if item is not None:
                found[namespace] = Verdict.of(item)
    return found
