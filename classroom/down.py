"""Takes a class down, or one attendee out of it: all that is the class's, whatever attendees left, and nothing else."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from classroom import background, parts
from classroom.attendees import (
    LABEL,
    STEP,
    folder,
    known,
    note,
    noted,
    refuse_attendee,
    require,
    target_of,
)
from classroom.up import each
from labkit.alerts.falco_rules import ATTENDEES, LOADED
from labkit.aws import NoClusterError, translated_errors
from labkit.errors import LabError, StoppedError
from labkit.kube import KubernetesError
from labkit.kube.client import HELD_SECONDS
from labkit.kube.objects import LAB_LABELS, has_labels, held_by
from labkit.provision.own_rules import GATE
from labkit.provision.steps import STEPS, Change, Step, TeardownError, table_of
from labkit.settings import attendee_settings
from labkit.show import Table
from labkit.target import Target
from labkit.waiting import poll

_QUEUE_SECONDS = 90.0  # SQS shows a queue for up to a minute after it was deleted


@dataclass(frozen=True)
class _Kind:
    """What attendees make in AWS: how it is listed by the prefix of its names, and deleted."""

    kind: str
    service: str
    operation: str
    names: str
    """Path of the names in the answer."""
    delete: Callable[[Any, str], Any] = field(repr=False)
    parameter: str = ""
    """Of the operation, for the prefix; empty: it lists all."""


_KINDS = (
    _Kind(
        "alarm",
        "cloudwatch",
        "describe_alarms",
        "MetricAlarms[].AlarmName",
        lambda client, name: client.delete_alarms(AlarmNames=[name]),
        "AlarmNamePrefix",
    ),
    _Kind(
        "dashboard",
        "cloudwatch",
        "list_dashboards",
        "DashboardEntries[].DashboardName",
        lambda client, name: client.delete_dashboards(DashboardNames=[name]),
        "DashboardNamePrefix",
    ),
    _Kind(
        "SNS topic",
        "sns",
        "list_topics",
        "Topics[].TopicArn",
        lambda client, name: client.delete_topic(TopicArn=name),
    ),
    _Kind(
        "SQS queue",
        "sqs",
        "list_queues",
        "QueueUrls[]",
        lambda client, name: client.delete_queue(QueueUrl=name),
        "QueueNamePrefix",
    ),
)


def plan(target: Target, names: Sequence[str] | None = None) -> Table:
    """What `remove` (None: `down`) takes away; changes nothing. What AWS or the cluster doesn't list isn't in it."""
    refuse_attendee(target)
    if names is not None:
        require(target, names)
    unknown: list[Change] = []
    chosen = _names(target, unknown) if names is None else names
    rows = []
    for name in chosen:
        namespace = attendee_settings(target.settings, name).app_namespace
        what = f"namespace {namespace} with all in it, role and access entry"
        rows.append(("removed", "attendee", name, what))
    rows += [
        ("removed", kind.kind, _short(name), "an attendee's") for kind, name in _leftovers(target, chosen, unknown)
    ]
    made = noted(target)["steps"]
    if names is None and (made or rows):
        steps = [parts.FILTERS, parts.ACCESS, *reversed([step for step in STEPS if step.name in made])]
        rows += [("removed", "for all", step.name, step.title) for step in steps]
    title = f"Out of the class: {', '.join(names)}" if names else "The class goes" if rows else "There is no class"
    return Table(title, ("action", "kind", "name", "what"), tuple(rows))


def down(target: Target) -> Table:
    """Takes all of the class down: one row for each thing that was there; steps that were applied before it stay.

    It gets to the end whatever fails, and may be run again. Raises `TeardownError` with what is left and why.
    """
    refuse_attendee(target)
    background.stop(target)
    changes: list[Change] = []
    names = _names(target, changes)
    changes += _take_out(target, names)
    made = set(noted(target)["steps"])
    # The class's own steps can go whether or not the ledger knows of them: their names are the class's.
    mine: list[Step] = [step for step in STEPS if step.name in made]
    silent: dict[str, str] = {}
    gone = {step.name for step in mine}
    with target.helm.reading_once():
        for step in [parts.FILTERS, parts.ACCESS, *reversed(mine)]:
            undone = step.undo(target, silent=silent, last=gone.isdisjoint(step.needs))
            changes += [change for change in undone.changes if change.action not in ("absent", "kept")]
    changes += _published(target)
    left = [change for change in changes if change.action == "left"]
    if not left:
        left = audit(target)
    if not left:
        target.ledger.forget(STEP, STEP, target.settings.prefix)
        shutil.rmtree(folder(target), ignore_errors=True)
        with suppress(NoClusterError):
            if "falco" not in made and not STEPS["falco"].is_missing(target):
                STEPS["falco"].apply(target)  # with the values that it had before the class
    done = [change for change in changes if change.action != "left"]
    table = table_of("The class is taken down" if done else "There was no class", done)
    if left:
        raise TeardownError(left, table)
    return table


def _published(target: Target) -> list[Change]:
    """Takes away what the gate has in Falco's namespace, which may be there without the class."""
    namespace = target.settings.falco_namespace
    changes = []
    for name in (LOADED, ATTENDEES, GATE):
        try:
            item = target.kube.get("ConfigMap", name, namespace)
            if item is not None and has_labels(item, LAB_LABELS):
                target.kube.delete_one(item)
                changes.append(Change("removed", "ConfigMap", f"{namespace}/{name}"))
        except NoClusterError:
            break
        except LabError as error:
            changes.append(Change("left", "ConfigMap", f"{namespace}/{name}", " ".join(error.message.split())))
    return changes


def remove(target: Target, names: Sequence[str]) -> Table:
    """Takes attendees out of the class, with all that is theirs. Raises `TeardownError` with what is left and why."""
    refuse_attendee(target)
    require(target, names)
    changes = _take_out(target, names)
    left = [change for change in changes if change.action == "left"] or audit(target, names)
    out = [name for name in names if not left or not audit(target, [name])]
    there = noted(target)["attendees"]
    if there:
        note(target, attendees={name: arns for name, arns in there.items() if name not in out})
    for name in out:
        shutil.rmtree(folder(target) / f"attendee-{name}", ignore_errors=True)
    table = table_of(f"Out of the class: {', '.join(names)}", [c for c in changes if c.action != "left"])
    if left:
        raise TeardownError(left, table)
    return table


def audit(target: Target, names: Sequence[str] | None = None) -> list[Change]:
    """What of the class, or of some attendees, is still there; each as a change `left`. Empty if nothing is."""
    left: list[Change] = []
    for name in _names(target, left) if names is None else names:
        attendee = target_of(target, name)
        for part in parts.of_attendee(attendee, target, ["*"], findings=True):
            if part.kind in ("Namespace", "IAM role", "access entry"):
                _try(left, part.kind, part.name, lambda p=part, a=attendee: _owned_state(p, a))  # type: ignore[misc]
    left += [Change("left", kind.kind, _short(name), "still there") for kind, name in _leftovers(target, names, left)]
    if names is None:
        for step in (parts.FILTERS, parts.ACCESS):
            for part in step.parts(target):
                _try(left, part.kind, part.name, lambda p=part: _still(_state(p, target)))  # type: ignore[misc]
    return left


def _state(part: Any, target: Target) -> str:
    with suppress(NoClusterError):
        return str(part.state(target))
    return ""


def _owned_state(part: Any, target: Target) -> str:
    found, state = part.look(target)
    return _still(state) if state and part.is_owned(target, found) else ""


def _still(state: str) -> str:
    return f"still there: {state}" if state else ""


def _try(left: list[Change], kind: str, name: str, look: Callable[[], str]) -> None:
    """Notes what `look` says, or that it failed, as something left."""
    try:
        why = look()
    except NoClusterError:
        return
    except LabError as error:
        why = _reason(error)
    if why:
        left.append(Change("left", kind, name, why))


def _reason(error: LabError) -> str:
    return " ".join(error.message.split())


def _names(target: Target, left: list[Change]) -> list[str]:
    """The class's attendees; if AWS or the cluster can't say who they are, those of the ledger, and that is left."""
    try:
        return known(target)
    except LabError as error:
        left.append(Change("left", "class", "attendees", _reason(error)))
        return sorted(noted(target)["attendees"])


def _take_out(target: Target, names: Sequence[str]) -> list[Change]:
    """Deletes what is the attendees': in AWS first, then the way in, and at last the namespaces."""
    changes: list[Change] = []
    found = _leftovers(target, names, changes)

    def delete(number: str) -> Change:
        kind, name = found[int(number)]
        return _done(target, kind.kind, _short(name), partial(_delete, target, kind, name))

    changes += each(target, map(str, range(len(found))), delete, "What attendees made")
    # The role's way in goes first, so that what is deleted isn't made again meanwhile.
    for some in each(target, names, lambda name: _close(target, name), "Attendees"):
        changes += some
    changes += _wait_namespaces(target, names)
    queues = {_short(name) for kind, name in found if kind.kind == "SQS queue"}
    if queues and not poll(lambda: not _queues(target) & queues or None, "the queues to go", _QUEUE_SECONDS):
        changes += [
            Change("left", "SQS queue", name, "SQS still shows it") for name in sorted(_queues(target) & queues)
        ]
    return [change for change in changes if change.action != "absent"]


def _queues(target: Target) -> set[str]:
    kind = next(kind for kind in _KINDS if kind.kind == "SQS queue")
    with translated_errors(target.aws.hint):
        return {_short(name) for name in _listed(target, kind)}


def _listed(target: Target, kind: _Kind) -> list[str]:
    prefix = f"{target.settings.prefix}-"
    query = {kind.parameter: prefix} if kind.parameter else {}
    pages = target.aws.client(kind.service).get_paginator(kind.operation).paginate(**query)
    return [str(name) for name in pages.search(kind.names) if name and _short(str(name)).startswith(prefix)]


def _leftovers(target: Target, names: Sequence[str] | None, left: list[Change]) -> list[tuple[_Kind, str]]:
    """What the attendees (None: all of the class) have made in AWS, by their prefixes; the names as AWS lists them."""
    names = known(target) if names is None else names
    prefixes = tuple(attendee_settings(target.settings, name).prefix for name in names)
    found: list[tuple[_Kind, str]] = []
    for kind in _KINDS:
        try:
            with translated_errors(target.aws.hint):
                listed = _listed(target, kind)
        except StoppedError:
            raise
        except LabError as error:
            left.append(Change("left", kind.kind, f"{target.settings.prefix}-*", _reason(error)))
            continue
        found += [
            (kind, name)
            for name in listed
            if any(_short(name) == prefix or _short(name).startswith(f"{prefix}-") for prefix in prefixes)
        ]
    return found


def _short(name: str) -> str:
    return re.split("[:/]", name)[-1]


def _done(target: Target, kind: str, name: str, delete: Callable[[], str]) -> Change:
    """Deletes something; what `delete` says (`removed`, `absent`, `kept`), or `left` with the reason."""
    try:
        with translated_errors(target.aws.hint):
            action = delete()
            return Change(action, kind, name, "it isn't the class's" if action == "kept" else "")
    except StoppedError:
        raise
    except NoClusterError:
        return Change("absent", kind, name)
    except LabError as error:
        return Change("left", kind, name, _reason(error))


def _close(target: Target, name: str) -> list[Change]:
    """Deletes an attendee's way into the cluster and role, and begins to delete the namespace."""
    attendee = target_of(target, name)
    changes = []
    for part in reversed(parts.of_attendee(attendee, target, ["*"], findings=True)):
        if part.kind not in ("Namespace", "IAM role", "access entry"):
            continue  # it goes with the role, or with the namespace

        def delete(part: Any = part) -> str:
            found, state = part.look(attendee)
            if not state:
                return "absent"
            if not part.is_owned(attendee, found):
                return "kept"
            if part.kind == "Namespace":
                _begin_deletion(target, part.name)
            else:
                part.delete(attendee, found)
            return "removed"

        changes.append(_done(target, part.kind, part.name, delete))
    return changes


def _begin_deletion(target: Target, namespace: str) -> None:
    try:
        target.kube.request("DELETE", target.kube.path("v1", "Namespace", "", namespace))
    except KubernetesError as error:
        if error.status not in (404, 409):  # gone, or being deleted already
            raise


def _wait_namespaces(target: Target, names: Iterable[str]) -> list[Change]:
    """Waits until the namespaces are gone; those that don't go, with what keeps them."""
    wanted = {attendee_settings(target.settings, name).app_namespace for name in names}
    if not wanted:
        return []

    held_since: dict[str, float] = {}

    def left() -> dict[str, str]:
        """What keeps each namespace that is still there; empty while its contents go by themselves."""
        listed = {one["metadata"]["name"]: one for one in target.kube.list("Namespace", labels=LABEL)}
        return {
            name: held_by({**one, "kind": "Namespace"})
            for name, one in listed.items()
            if name in wanted and "deletionTimestamp" in one["metadata"]
        }

    def settled() -> dict[str, str] | None:
        """Those that don't go, once no other is on its way."""
        there, now = left(), time.monotonic()
        for name, why in there.items():
            if why:
                held_since.setdefault(name, now)
            else:
                held_since.pop(name, None)
        return there if all(now - held_since.get(name, now) >= HELD_SECONDS for name in there) else None

    try:
        stuck = poll(settled, "the attendees' namespaces to go", target.settings.timeout)
        return [
            Change("left", "Namespace", name, f"it is being deleted, but does not go: {why or 'its pods end'}")
            for name, why in (left() if stuck is None else stuck).items()
        ]
    except StoppedError:
        raise
    except NoClusterError:
        return []
    except LabError as error:
        return [Change("left", "Namespace", ", ".join(sorted(wanted)), _reason(error))]


def _delete(target: Target, kind: _Kind, name: str) -> str:
    kind.delete(target.aws.client(kind.service), name)
    return "removed"
