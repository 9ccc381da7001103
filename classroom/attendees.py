"""The attendees of a class: their names, their settings, and who is in it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from labkit.aws import NoClusterError, translated_errors
from labkit.errors import LabError, SettingsError
from labkit.ledger import Record
from labkit.settings import Settings, attendee_settings
from labkit.target import Target

STEP = "class"
"""The class's own step in the ledger."""
LABEL = "falco-workshop/attendee"
"""Label of an attendee's namespace; its value is the attendee's name."""
GROUP = "falco-workshop:attendees"
"""The Kubernetes group that all attendees are in. That of one is `falco-workshop:attendee-07`."""
MOST = 99
# With the prefix before them and a word after, these would be names of the class itself.
_RESERVED = {"alarms", "alert", "alerts", "attendee", "class", "critical", "dead", "fluent", "forwarder"}
_RESERVED |= {"notifications"}


def names(count: int | None = None, given: Sequence[str] = ()) -> list[str]:
    """Names of attendees: `01` to `30` for a count of 30, or those given. Raises `LabError` for one that can't be."""
    if (count is None) == (not given):
        raise LabError(
            "Say how many attendees there are, or their names.", hint="`--attendees 30`, or `--names anna,ben`."
        )
    if count is not None:
        if not 1 <= count <= MOST:
            raise LabError(f"A class has 1 to {MOST} attendees, not {count}.", hint="Give a number such as 30.")
        return [f"{number:02}" for number in range(1, count + 1)]
    for name in given:
        if not re.fullmatch(r"[a-z0-9]{1,12}", name):
            hint = "Use lower-case letters and digits, at most 12, such as anna or 07."
            raise LabError(f"{name!r} can't be an attendee's name.", hint=hint)
        if name in _RESERVED:
            hint = f"Use another; these are the class's own: {', '.join(sorted(_RESERVED))}."
            raise LabError(f"{name!r} can't be an attendee's name: names of the class begin so.", hint=hint)
    return list(dict.fromkeys(given))


def target_of(target: Target, name: str) -> Target:
    """The instructor's target with an attendee's settings: with the instructor's rights, about an attendee's things."""
    return replace(target, settings=attendee_settings(target.settings, name))


def group_of(name: str) -> str:
    """The Kubernetes group of one attendee."""
    return f"falco-workshop:attendee-{name}"


def role_name(settings: Settings, name: str) -> str:
    """Name of an attendee's IAM role; `settings` are the instructor's."""
    return f"{settings.prefix}-attendee-{name}"


def role_arn(target: Target, name: str) -> str:
    """ARN of an attendee's IAM role, whether or not it is there; `target` is the instructor's."""
    return target.aws.arn("iam", f"role/{role_name(target.settings, name)}")


def folder(target: Target) -> Path:
    """Folder of the class's files in the state folder: handouts, and what the gate notes down."""
    return target.ledger.path.with_name(target.ledger.path.stem.replace("ledger", "class", 1))


def noted(target: Target) -> dict[str, Any]:
    """What the ledger knows of the class: `attendees` (name: principals trusted), `findings`, `steps`."""
    records = target.ledger.records(STEP)
    return {"attendees": {}, "findings": False, "steps": [], **(records[0].details if records else {})}


def note(target: Target, **details: Any) -> None:
    """Writes what the ledger knows of the class; what isn't given stays."""
    target.ledger.write(Record(STEP, STEP, target.settings.prefix, True, noted(target) | details))


def known(target: Target) -> list[str]:
    """Names of the attendees of the class, sorted: of the ledger, of namespaces with the label, and of roles.

    So an instructor at another computer, or one whose ledger is lost, finds them, too. Raises `TargetError` if AWS or
    the cluster doesn't answer.
    """
    found = set(noted(target)["attendees"])
    try:
        namespaces = target.kube.list("Namespace", labels=LABEL)
    except NoClusterError:
        namespaces = []
    found |= {namespace["metadata"]["labels"][LABEL] for namespace in namespaces}
    prefix = role_name(target.settings, "")
    with translated_errors(target.aws.hint):
        pages = target.aws.client("iam").get_paginator("list_roles").paginate()
        roles = [str(name) for name in pages.search("Roles[].RoleName")]
    found |= {role.removeprefix(prefix) for role in roles if re.fullmatch(re.escape(prefix) + r"[a-z0-9]{1,12}", role)}
    return sorted(found)


def require(target: Target, wanted: Iterable[str]) -> None:
    """Raises `LabError` unless all of `wanted` are in the class."""
    there = known(target)
    for name in wanted:
        if name not in there:
            listed = f"In the class are: {', '.join(there)}." if there else "`labkit class up` sets a class up."
            raise LabError(f"There is no attendee {name!r} in the class.", hint=listed)


def refuse_attendee(target: Target) -> None:
    """Raises `SettingsError` for an attendee: a class is the instructor's."""
    if target.settings.attendee:
        raise SettingsError(
            f"LABKIT_ATTENDEE is {target.settings.attendee}, and a class is its instructor's.",
            hint="Unset LABKIT_ATTENDEE and LABKIT_ROLE, and use the instructor's credentials.",
        )
