"""What a check found: a subject, a result (`ok`, `warning`, `blocker`), and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One finding. `result` is `ok`, `warning` (read it) or `blocker` (the workshop would fail)."""

    subject: str
    """What it is about: `account`, `cluster`, `nodes`, `quotas`, `permissions`, `there already`, `tools`."""
    what: str
    result: str
    found: str
    hint: str = ""
    """What to do; empty if that is nothing."""


def ok(subject: str, what: str, found: str) -> Finding:
    return Finding(subject, what, "ok", found)


def warning(subject: str, what: str, found: str, hint: str) -> Finding:
    return Finding(subject, what, "warning", found, hint)


def blocker(subject: str, what: str, found: str, hint: str) -> Finding:
    return Finding(subject, what, "blocker", found, hint)
