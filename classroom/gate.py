"""The gate (`labkit class gate`): takes attendees' rules to the Falco that they share, checked and limited.

An attendee writes rules into ConfigMap `falco-rules` of the own namespace. The gate checks them (module `rules`),
writes what becomes of them under a key of their own into ConfigMap `falco-attendees`, which every Falco has as a folder
and reloads without a restart, waits until all have, and writes a verdict into the attendee's ConfigMap.

It keeps nothing to itself: ended at any moment and started again, it goes on with what the cluster has. Rules that
wait while it is busy are taken together the next time, and reloaded once.
"""

from __future__ import annotations

import json
import re
import time
import uuid
from collections.abc import Callable, Mapping, Set
from dataclasses import asdict, dataclass, field, replace

from classroom.attendees import STEP
from classroom.rules import Checked, Worker
from labkit.alerts.falco_rules import ATTENDEES, LOADED, default_rules, listing
from labkit.errors import LabError, StepError, TargetError
from labkit.kube import KubernetesError, Object
from labkit.kube.objects import config_map, is_ready
from labkit.provision.own_rules import (
    BEAT,
    GATE,
    KEY,
    RULES,
    VERDICT,
    Verdict,
    digest,
    digest_of,
    holder,
    silence,
    text_of,
    unread,
)
from labkit.target import Target

MAX_TOTAL = 1_000_000
"""Bytes of all rules together: a ConfigMap holds 1 MiB."""
_NAMESPACE = re.compile(r"attendee-[a-z0-9]{1,12}")
_GENERATION = re.compile(r"generation-[0-9a-f]{12}\.yaml")
_EVENTS = ("custom-rules", "recorded", "visit.jsonl.gz")
_FAILURE = "Falco internal: hot restart failure"
_NUDGE = "falco-workshop/generation"
_FIELDS = f"metadata.name={RULES}"
LOAD_SECONDS = 120.0
"""How long Falco may take to load rules: a kubelet may need more than a minute to notice them."""
_ALL_SECONDS = 10.0  # until all Falcos have refused what one has
_PATIENCE = 900.0  # seconds for a cluster that doesn't answer to come back
_TAIL = 2000  # lines of Falco's log: those of a reload, and alerts meanwhile
MOST_TRIES = 6
"""Of one attendee in `_TRIES_SECONDS`; more wait. Each may cost all a reload of Falco, which sees nothing meanwhile."""
_TRIES_SECONDS = 60.0
_AGAIN = 30.0  # seconds until rules are tried again that Falco hasn't loaded in that time


def run(
    target: Target, *, say: Callable[[str], None] = lambda line: None, stop: Callable[[], bool] = lambda: False
) -> None:
    """Works as the gate until `stop()` is true, or Ctrl-C. `say` is called with a line about each thing that is done.

    It ends by itself with its class: when that is no longer in the ledger (`labkit down`) and the cluster is away.
    Raises `StepError` if another gate is running, and what kept it from working for `_PATIENCE` seconds.
    """
    gate = Gate(target, say)
    known = bool(target.ledger.records(STEP))  # a ledger that was lost says nothing
    gate.take_over()
    publish(target)
    say(f"The gate is open: it watches ConfigMaps {RULES} in namespaces attendee-*.")
    worked, told = time.monotonic(), ""
    try:
        while not stop():
            try:
                version = gate.version()
                if not gate.settle():
                    gate.beat()
                    gate.wait(version)
                worked, told = time.monotonic(), ""
            except (KubernetesError, TargetError) as error:
                # The cluster is away for a while, or an object was changed or deleted meanwhile.
                if known and not target.ledger.records(STEP):
                    say("The class has ended, and so does the gate.")
                    return
                if time.monotonic() - worked > _PATIENCE:
                    raise
                if error.message != told:
                    told = error.message
                    say(f"{' '.join(told.split())} Trying again.")
                time.sleep(1.0)
    finally:
        gate.leave()


def publish(target: Target) -> None:
    """Writes what attendees may read of Falco's rules into ConfigMap `falco-loaded`."""
    name, text = default_rules(target)
    data = {"rules.json": listing(target), name: text}
    target.kube.apply_one(config_map(LOADED, target.settings.falco_namespace, data))


@dataclass
class _Waiting:
    """Rules that have no verdict yet."""

    namespace: str
    item: Object
    since: float
    checked: Checked = field(default_factory=Checked)

    @property
    def text(self) -> str:
        return text_of(self.item)

    @property
    def digest(self) -> str:
        return digest_of(self.item)

    @property
    def unread(self) -> tuple[str, ...]:
        """A sentence about keys that aren't read, if there are any."""
        keys = unread(self.item)
        return (f"Not read: key {', '.join(keys)}. Put all rules under {KEY}.",) if keys else ()


class Gate:
    """One gate: what it knows it can find again."""

    def __init__(self, target: Target, say: Callable[[str], None]) -> None:
        self._target = target
        self._kube = target.kube
        self._say = say
        self._namespace = target.settings.falco_namespace
        self._holder = holder()
        self._id = uuid.uuid4().hex
        self._began = self._kube.now().isoformat(timespec="seconds")
        self._beaten = self._looked = 0.0
        self._worker: Worker | None = None
        self._tries: dict[str, list[float]] = {}
        """When the rules in a namespace were taken lately."""
        self._untold: dict[str, str] = {}
        """Namespaces whose ConfigMap takes no verdict, and the digest of the rules that it is about."""
        self._unloaded: dict[str, float] = {}
        """Namespaces of accepted rules that Falco hasn't loaded, and when that was said."""

    # One gate at a time

    def take_over(self) -> None:
        """Says that this gate is there. Raises `StepError` if another is."""
        found = self._kube.get("ConfigMap", GATE, self._namespace)
        data = (found or {}).get("data") or {}
        there = "renewed" in data and not silence(self._target, found) and data.get("id") != self._id
        if there:
            raise StepError(
                f"A gate is running already: {data['holder']}, since {data.get('began')}.",
                hint="Leave it, or end that one first; one that was killed elsewhere is given up after half a minute.",
            )
        self.beat()

    def beat(self) -> None:
        """Says again that it is there, every few seconds."""
        if time.monotonic() - self._beaten < BEAT:
            return
        renewed = self._kube.now().isoformat(timespec="milliseconds")
        data = {"holder": self._holder, "id": self._id, "began": self._began, "renewed": renewed}
        self._kube.apply_one(config_map(GATE, self._namespace, data))
        self._beaten = time.monotonic()

    def leave(self) -> None:
        """Says that it is gone."""
        if self._worker is not None:
            self._worker.close()
        try:
            self._kube.delete_one(config_map(GATE, self._namespace, {}), timeout=5.0)
        except LabError:
            return  # it will be noticed

    # Watching

    def version(self) -> str:
        return self._kube.version(self._kube.path("v1", "ConfigMap"))

    def wait(self, version: str) -> None:
        """Waits until something about attendees' rules changes, but not longer than to the next beat."""
        left = max(BEAT - (time.monotonic() - self._beaten), 0.5)
        self._kube.until_change(self._kube.path("v1", "ConfigMap"), version, left, fields=_FIELDS)

    # Working

    def settle(self) -> bool:
        """Takes all rules that wait, and removes those of attendees who have left. Whether there was anything to do."""
        there = {
            item["metadata"]["namespace"]: item
            for item in self._kube.list("ConfigMap", fields=_FIELDS)
            if _NAMESPACE.fullmatch(item["metadata"]["namespace"]) and "deletionTimestamp" not in item["metadata"]
        }
        loaded = self._loaded()
        waiting = [
            _Waiting(namespace, item, time.monotonic())
            for namespace, item in there.items()
            if not self._is_settled(item, loaded.get(f"{namespace}.yaml")) and self._may_try(namespace)
        ]
        wanted = {key: text for key, text in loaded.items() if key.removesuffix(".yaml") in there}
        for one in waiting:
            self.beat()
            one.checked = self._check(one, wanted)
            if one.checked.accepted:
                wanted[f"{one.namespace}.yaml"] = one.checked.text
            else:
                self._tell(one, Verdict(one.digest, said=one.checked.problems + one.unread))
        changed = sorted(key for key in {*wanted, *loaded} if wanted.get(key) != loaded.get(key))
        accepted = [one for one in waiting if one.checked.accepted]
        if not changed and not accepted:
            return bool(waiting)
        for key in changed:
            if key not in wanted:
                self._say(f"{key.removesuffix('.yaml')}: removed")
        self._load(accepted, wanted, loaded)
        return True

    def _is_settled(self, item: Object, loaded: str | None) -> bool:
        """Whether an attendee's rules have a verdict that still holds."""
        if self._untold.get(item["metadata"]["namespace"]) == digest_of(item):
            return True
        verdict = Verdict.of(item)
        if verdict is None or verdict.digest != digest_of(item):
            return False
        if not verdict.accepted:
            return True
        said = self._unloaded.get(item["metadata"]["namespace"], 0.0)
        return loaded is not None and (verdict.loaded or time.monotonic() - said < _AGAIN)

    def _may_try(self, namespace: str) -> bool:
        """Whether rules may be taken now; counts it if so."""
        now = time.monotonic()
        recent = self._tries[namespace] = [at for at in self._tries.get(namespace, ()) if now - at < _TRIES_SECONDS]
        if len(recent) >= MOST_TRIES:
            return False
        recent.append(now)
        return True

    def _check(self, one: _Waiting, others: Mapping[str, str]) -> Checked:
        if not one.text:
            return Checked((f"There is no key {KEY} in ConfigMap {RULES}.",))
        if self._worker is None:
            self._worker = Worker([self._shared()], self._target.settings.root.joinpath(*_EVENTS))
        found = self._worker.check(one.namespace, one.text)
        rest = sum(len(text.encode()) for key, text in others.items() if key != f"{one.namespace}.yaml")
        if found.accepted and rest + len(found.text.encode()) > MAX_TOTAL:
            return Checked(("The class's rules are too large together. Shorten yours.",))
        return found

    def _shared(self) -> tuple[str, str]:
        """Name and text of Falco's default rules."""
        found = self._kube.get("ConfigMap", LOADED, self._namespace) or {}
        for name, text in (found.get("data") or {}).items():
            if name.endswith(".yaml"):
                return name, str(text)
        return default_rules(self._target)

    def _loaded(self) -> dict[str, str]:
        found = self._kube.get("ConfigMap", ATTENDEES, self._namespace) or {}
        return {key: text for key, text in (found.get("data") or {}).items() if not _GENERATION.fullmatch(key)}

    def _load(self, accepted: list[_Waiting], wanted: dict[str, str], before: dict[str, str]) -> None:
        """Hands rules to Falco; takes back what it refuses, and tells those concerned."""
        falcos, refusals, missing = self._try(wanted)
        if refusals:
            # What Falco refuses isn't left in its folder: the next Falco that starts would end by it.
            self._say(f"Falco refuses what the gate has accepted: {refusals[0]}")
            named = {key for key in wanted if any(key in said for said in refusals)} or {*wanted} - {*before}
            for key in named:
                wanted.pop(key)
                if key in before:
                    wanted[key] = before[key]
            falcos, _, missing = self._try(wanted)
        for one in accepted:
            key = f"{one.namespace}.yaml"
            seconds = round(time.monotonic() - one.since, 2)
            if refusals and wanted.get(key) != one.checked.text:
                verdict = Verdict(one.digest, said=(f"Falco refuses them: {refusals[0]}",), seconds=seconds)
            else:
                said = (f"{', '.join(missing)} hasn't loaded them yet.",) if missing else ()
                if not falcos:
                    said = (f"No Falco is running in namespace {self._namespace}.",)
                names, loaded = one.checked.rules, not said
                verdict = Verdict(one.digest, True, loaded, said + one.unread, names, falcos, seconds)
            self._tell(one, verdict)

    def _try(self, wanted: Mapping[str, str]) -> tuple[int, list[str], list[str]]:
        failed = {line for pod in self._falcos() for line in _failures(self._log(pod["metadata"]["name"]))}
        return self._await(self._write(wanted), failed)

    def _write(self, wanted: Mapping[str, str]) -> str:
        """Writes the rules of all, and a file that says which version of them it is: Falco logs each file it loads."""
        name = f"generation-{digest(json.dumps(sorted(wanted.items())) + str(time.time_ns()))[:12]}.yaml"
        data = {**wanted, name: "- required_engine_version: 0.31.0\n"}
        self._kube.apply_one(config_map(ATTENDEES, self._namespace, data))
        # A kubelet brings a pod's volumes up to date when the pod changes; otherwise it takes up to a minute and more.
        for pod in self._falcos():
            self._annotate("Pod", self._namespace, pod["metadata"]["name"], {_NUDGE: name})
        return name

    def _falcos(self) -> list[Object]:
        return [
            pod
            for pod in self._kube.list("Pod", self._namespace, labels="app.kubernetes.io/name=falco")
            if "deletionTimestamp" not in pod["metadata"]
        ]

    def _await(self, generation: str, failed: Set[str]) -> tuple[int, list[str], list[str]]:
        """Waits until each Falco that runs has loaded a version; `failed` are the failures that were there before.

        How many have, what those say that refuse it, and the nodes of those that have done neither.
        """
        ends = time.monotonic() + LOAD_SECONDS
        loaded: set[str] = set()
        refused: dict[str, str] = {}
        while True:
            self.beat()
            # One that isn't ready doesn't hold up the others: it reads the files when it starts.
            falcos = self._falcos()
            pods = {pod["metadata"]["name"]: pod for pod in falcos if is_ready(pod)}
            for name in pods.keys() - loaded - refused.keys():
                log = self._log(name)
                if _has_loaded(log, generation):
                    loaded.add(name)
                elif failures := _failures(log) - failed:
                    refused[name] = _reason(failures.pop())
                    ends = min(ends, time.monotonic() + _ALL_SECONDS)
            left = sorted(pods[name]["spec"].get("nodeName", name) for name in pods.keys() - loaded - refused.keys())
            if (not left and (pods or not falcos)) or time.monotonic() > ends:
                return len(loaded & pods.keys()), list(refused.values()), left
            time.sleep(0.2)

    def _log(self, pod: str) -> str:
        """The end of a Falco's log; empty if it hasn't started or is gone."""
        try:
            return self._kube.pod_log(pod, self._namespace, container="falco", tail=_TAIL)
        except KubernetesError:
            return ""

    def _tell(self, one: _Waiting, verdict: Verdict) -> None:
        """Writes a verdict into the attendee's ConfigMap, if that is still there."""
        said = (_printable(text)[:500] for text in verdict.said[:10])
        verdict = replace(verdict, said=tuple(said), rules=tuple(map(_printable, verdict.rules)))
        self._say(f"{one.namespace}: {verdict}")
        self._unloaded.pop(one.namespace, None)
        if verdict.accepted and not verdict.loaded:
            self._unloaded[one.namespace] = time.monotonic()
        self._untold.pop(one.namespace, None)
        try:
            self._annotate("ConfigMap", one.namespace, RULES, {VERDICT: json.dumps(asdict(verdict))})
        except KubernetesError as error:
            # It is full of other annotations, for example. That must not keep the others' rules waiting.
            if error.status not in (400, 413, 422):
                raise
            self._untold[one.namespace] = verdict.digest
            self._say(f"{one.namespace}: the verdict can't be written: {' '.join(error.message.split())[:300]}")

    def _annotate(self, kind: str, namespace: str, name: str, annotations: Mapping[str, str]) -> None:
        try:
            self._kube.request(
                "PATCH",
                self._kube.path("v1", kind, namespace, name),
                body={"metadata": {"annotations": annotations}},
                content_type="application/merge-patch+json",
            )
        except KubernetesError as error:
            if error.status != 404:
                raise


def _has_loaded(log: str, generation: str) -> bool:
    """Whether Falco has logged a file as loaded. An attendee's alert that quotes its name doesn't count."""
    return any(f"/{generation} " in line for line in log.split("\n") if not line.startswith("{"))


def _failures(log: str) -> set[str]:
    """The lines with which Falco says that it goes on with the rules that it has.

    They are alerts of Falco's own. An attendee's alert may quote the same words, but not as the name of a rule.
    """
    return {line for line in log.split("\n") if _FAILURE in line and _rule(line) == _FAILURE}


def _rule(line: str) -> str:
    """The rule of an alert in JSON; empty if a line is none."""
    try:
        return str(json.loads(line)["rule"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""


def _printable(text: str) -> str:
    """A text in one line, without what a terminal would obey."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in " ".join(text.split()))


def _reason(failure: str) -> str:
    """What such a line says of the rules."""
    said = str(json.loads(failure).get("output", ""))
    return " ".join(said.partition(f"{_FAILURE}: ")[2].split())[:500]
