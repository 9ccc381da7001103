"""What there is to say of one alert: its fields by what they are about, notes on them, and why some are missing."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from falcorules.attack import TECHNIQUE, tactics_of

Section = tuple[str, list[tuple[str, str, str]]]
"""A title, and below it the name, value and note of each field."""

# Titles of groups, in the order in which they are shown, and the fields that belong to them; the first pattern counts.
_GROUPS = {
    "ancestors": r"proc\.(p(name|exe|exepath|cmdline|pid|vpid|comm)|a(name|exe|exepath|cmdline|pid|env)|s(name|id|exe)|"
    r"vpgid)\b",
    "process": r"(proc|thread)\.",
    "user": r"(user|group)\.",
    "container and pod": r"(container|k8s|k8smeta)\.|hostname$",
    "file or network": r"(fd|fs|syslog)\.|evt\.arg\.(name|path|oldpath|newpath|target|linkpath)$",
    "event": r"evt\.|source$",
    "other": "",
}
_SHOWN = ("process", "ancestors", "user", "container and pod", "file or network", "event", "other")

MISSING = "missing, and why that is normal"
_METADATA = "Falco doesn't know it yet: normal in the first moments of a container"
_HOST = "the process runs on the node itself, in no container"
_WHY_MISSING = {
    "fd.name": "the event is about no file and no connection",
    "proc.pname": "the parent had ended already",
    "proc.exepath": "the program's file can't be named, as that of a program that was deleted",
    "user.name": "the user's number has no name that Falco knows",
    "user.loginuid": "no login session is known",
}
_NOT_OUTPUT = "the rule doesn't output it, or the event has none"
_ANCESTOR = re.compile(r"proc\.aname\[(\d{1,9})\]", re.ASCII)
_NA = re.compile(r"(?:^|[\s|(,])([\w.\[\]]+)=<NA>")
_NOT_FIELDS = ("time", "rule", "priority", "output", "tags")

USUAL = (
    *("evt.type", "proc.name", "proc.cmdline", "proc.exepath", "proc.pname", "proc.tty", "user.name", "user.uid"),
    *("user.loginuid", "fd.name", "container.id", "container.name", "container.image.repository"),
    *("container.image.tag", "k8s.ns.name", "k8s.pod.name"),
)
"""Fields that an alert of a container usually has: it is worth saying why one is missing."""


def attack_of(tags: Iterable[str]) -> str:
    """The tactics and techniques of ATT&CK among the tags; empty if there are none."""
    tags = list(tags)
    attack = [*tactics_of(tags), *(tag for tag in tags if TECHNIQUE.fullmatch(tag))]
    return f"ATT&CK: {', '.join(attack)}" if attack else ""


def sections(alert: Mapping[str, Any]) -> Iterator[Section]:
    """The fields of an alert, whose output fields are beside `rule`, `tags` and so on. The last section is of what is
    missing. Fields without a value are left out beforehand."""
    found: dict[str, list[tuple[str, str, str]]] = {title: [] for title in _SHOWN}
    for name in alert:
        if name not in _NOT_FIELDS:
            title = next(title for title, pattern in _GROUPS.items() if re.match(pattern, name))
            found[title].append((name, _text(alert[name]), _note(name, alert[name])))
    if chain := _chain(alert):
        found["ancestors"].insert(0, ("chain", " → ".join(chain), ""))
    if "tags" in alert:
        found["event"].append(("tags", " ".join(map(str, alert["tags"])), ""))
    yield from ((title, rows) for title, rows in found.items() if rows)
    if missing := list(_missing(alert)):
        yield MISSING, missing


def _chain(alert: Mapping[str, Any]) -> list[str]:
    """The process's ancestors, oldest first, and itself; empty if no ancestor is known."""
    older = {int(m[1]): str(alert[m[0]]) for name in alert if (m := _ANCESTOR.fullmatch(name))}
    names = [older[n] for n in sorted(older, reverse=True) if n > 1]
    names += [str(alert[name]) for name in ("proc.pname", "proc.name") if name in alert]
    return names if len(names) > 1 else []


def _missing(alert: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    # The rule's own fields are called in the output as the rule calls them, with <NA> for no value.
    said = str(alert.get("output", "")).partition(" | ")[2]
    reasons: dict[str, list[str]] = {}
    for name in USUAL:
        if name not in alert:
            reasons.setdefault(_why_missing(alert, name, "<NA>" in said), []).append(name)
    ancestors = [name for name in _NA.findall(said) if re.fullmatch(r"g+parent|.*aname.*", name)]
    if ancestors:
        reasons["the process has fewer ancestors than the rule asks for"] = ancestors
    yield from ((", ".join(names), "", why) for why, names in reasons.items())


def _why_missing(alert: Mapping[str, Any], name: str, without_value: bool) -> str:
    """`without_value`: some field of the rule's output has no value; it may be this one."""
    if name.startswith(("container.", "k8s.")):
        return _HOST if alert.get("container.id") == "host" else _METADATA
    if without_value or (name == "fd.name" and str(alert.get("evt.type")).startswith("execve")):
        return _WHY_MISSING.get(name, _NOT_OUTPUT)
    return _NOT_OUTPUT


def printable(value: Any) -> str:
    """A value on one line, without what a terminal would act on."""
    return "".join(c if c.isprintable() else "?" for c in " ".join(str(value).split()))


def _text(value: Any) -> str:
    return printable(value) or '""'


def _note(name: str, value: Any) -> str:
    """What a value means that doesn't say so itself."""
    if name == "user.loginuid" and value == -1:
        return "no login session is behind it: normal in a container"
    if name == "proc.tty":
        # A device number: 136 << 8 and what follows are the pseudo-terminals.
        return f"a terminal, /dev/pts/{value - 34816}" if 34816 <= value < 35072 else "" if value else "no terminal"
    if name == "evt.arg.flags" and "EXE_UPPER_LAYER" in str(value):
        return "the program's file isn't part of the image"
    return ""
