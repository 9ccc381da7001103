"""Parses a log message in any shape that log shippers produce: a Falco alert, or the reason why it is none."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Any

import orjson

from labkit.calls import short_repr
from labkit.errors import LabError

Alert = dict[str, Any]
"""Falco's own keys: `time`, `rule`, `priority`, `source`, `hostname`, `output`, `tags`, `output_fields`."""

PRIORITIES = ("Debug", "Informational", "Notice", "Warning", "Error", "Critical", "Alert", "Emergency")
"""Falco's priorities, least severe first."""


class NotAlert(StrEnum):
    """Why a message is no alert."""

    LIFECYCLE = "lifecycle"
    """Plain text: Falco's own messages when it starts or reloads its rules."""
    MALFORMED = "malformed"
    """Broken JSON: cut off, damaged, or nested too deeply."""
    OTHER = "other"
    """JSON of another program: it names no rule."""


_TEXTS = ("time", "priority", "source", "hostname", "output")
_TEXT_OR_MISSING = {str, type(None)}
_NO_FIELDS: dict[str, Any] = {}

# Where shippers put the decoded line (Fluent Bit's Merge_Log_Key) and the undecoded one (CRI and docker parsers).
_DECODED = ("log_processed", "data")
_UNDECODED = ("log", "message")

# A CRI line that nobody parsed: "<time> stdout F <what the container wrote>".
_CRI = re.compile(r"^\d{4}-\d\d-\d\dT\S+ (?:stdout|stderr) [FP] ")

# Falco's text form (json_output: false): "04:20:15.177232855: Notice <message> | key=value key=value".
_TEXT = re.compile(
    r"^(?P<time>\d\d:\d\d:\d\d\.\d{9}|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+(?:Z|[+-]\d\d:?\d\d)): "
    rf"(?P<priority>{'|'.join(PRIORITIES)}) (?P<message>.*)$",
    re.DOTALL,
)
# The default rules shorten some field names in their text; all others only swap dots for underscores.
_SHORT = {
    "user": "user.name",
    "process": "proc.name",
    "parent": "proc.pname",
    "command": "proc.cmdline",
    "terminal": "proc.tty",
    "exe_flags": "evt.arg.flags",
    "container_image": "container.image.repository",
    "container_image_repository": "container.image.repository",
    "container_image_tag": "container.image.tag",
    "k8s_pod_name": "k8s.pod.name",
    "k8s_ns_name": "k8s.ns.name",
    "file": "fd.name",
    "connection": "fd.name",
    "lport": "fd.lport",
    "rport": "fd.rport",
    "fd_type": "fd.type",
    "fd_proto": "fd.l4proto",
    "pcmdline": "proc.pcmdline",
    "gparent": "proc.aname[2]",
    "ggparent": "proc.aname[3]",
    "gggparent": "proc.aname[4]",
    "proc_exe_ino_ctime": "proc.exe_ino.ctime",
    "proc_exe_ino_mtime": "proc.exe_ino.mtime",
    "proc_exe_ino_ctime_duration_proc_start": "proc.exe_ino.ctime_duration_proc_start",
}
_KEY = re.compile(r"(evt|proc|user|group|fd|container|k8s|thread|fs|json|ka|jevt)[._](.+)")
_NUMBERS = frozenset(
    {"container.start_ts", "proc.tty", "proc.pid", "proc.ppid", "user.uid", "user.loginuid", "fd.lport", "fd.rport"}
) | {f"proc.exe_ino.{name}" for name in ("ctime", "mtime", "ctime_duration_proc_start")}
# Fields whose values may contain `key=`.
_FREE = frozenset({"proc.cmdline", "proc.pcmdline", "evt.args"})
_WHOLE = re.compile(r"-?\d{1,20}", re.ASCII)
_PAIR = re.compile(r"(?:^| )([a-z][a-z0-9_.\[\]]*)=")


def parse(message: str) -> Alert | NotAlert:
    """The alert that `message` carries, or the reason why it carries none. Raises `LabError` if it isn't even text.

    Understands Falco's JSON line; the same line inside Fluent Bit's or docker's record (`log`), with its keys merged
    into the record or under a key of their own (`log_processed`, `data`); a CRI line; and Falco's text form, whose
    alerts have no rule name (`rule` is absent) and, unless Falco writes ISO times, no date (`time` is a time of day).
    """
    if not isinstance(message, str):
        raise LabError(f"{short_repr(message)} is no log message.", hint="Give it text: one message of a log event.")
    text = message.strip()
    try:
        return _record(orjson.loads(text)) if text.startswith("{") else _plain(text)
    except (orjson.JSONDecodeError, RecursionError):  # records in records, more than any shipper makes
        return NotAlert.MALFORMED


def _record(record: Alert) -> Alert | NotAlert:
    if "rule" in record and ("output_fields" in record or "output" in record):
        return record if is_alert(record) else NotAlert.OTHER
    for key in _DECODED:
        inner = record.get(key)
        if isinstance(inner, dict):
            return _record(inner)
    for key in _UNDECODED:
        inner = record.get(key)
        if isinstance(inner, str):
            return parse(inner)
    return NotAlert.OTHER


def is_alert(record: Alert) -> bool:
    """Whether the values have the types that Falco writes."""
    get = record.get
    return (
        type(record["rule"]) is str
        and type(get("output_fields", _NO_FIELDS)) is dict
        and type(get("tags") or []) is list
        and {*map(type, map(get, _TEXTS))} <= _TEXT_OR_MISSING
    )


def _plain(text: str) -> Alert | NotAlert:
    if cri := _CRI.match(text):
        return parse(text[cri.end() :])
    if found := _TEXT.match(text):
        return _text(text, found)
    return NotAlert.LIFECYCLE


def _text(output: str, found: re.Match[str]) -> Alert:
    pairs = found["message"].partition(" | ")[2]
    fields: dict[str, Any] = {}
    # A value ends where the next key begins. A value that may contain `key=` ends at the next known key.
    every = list(_PAIR.finditer(pairs))
    known = [(name, mark) for mark in every if (name := _field_name(mark[1]))]
    for name, mark in known:
        ends = [m for _, m in known] if name in _FREE else every
        end = next((m.start() for m in ends if m.start() > mark.start()), len(pairs))
        value = pairs[mark.end() : end]
        if value == "<NA>":
            fields[name] = None
        elif name in _NUMBERS and _WHOLE.fullmatch(value):
            fields[name] = int(value)
        else:
            fields[name] = value
    return {
        "time": found["time"],
        "priority": found["priority"],
        "output": output,
        "output_fields": fields,
        "tags": [],
    }


def _field_name(key: str) -> str | None:
    if key in _SHORT:
        return _SHORT[key]
    if key.startswith("aname["):
        return f"proc.{key}"
    found = _KEY.fullmatch(key)
    return f"{found[1]}.{found[2]}" if found else None
