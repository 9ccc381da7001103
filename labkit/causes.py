"""Why something doesn't run or arrive, and how to mend it: looked up by the words that the programs use for it.

`causes.toml` has the table. Waits, statuses, diagnoses and hints all take their words from it.
"""

from __future__ import annotations

import re
import tomllib
from collections import defaultdict
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Literal

Area = Literal["pod", "refusal", "fluent-bit", "helm"]
Ends = Literal["now", "soon", "slow", "never"]

PATIENCE: dict[Ends, float] = {"now": 0.0, "soon": 1.0, "slow": 4.0, "never": float("inf")}
"""For how long a wait goes on with a cause of each kind, as multiples of the wait's patience (15 s)."""


@dataclass(frozen=True)
class Cause:
    """What is wrong, and what to do about it."""

    name: str
    """Its name in the table, such as `no-room`."""
    what: str
    mend: str
    ends: Ends
    """Whether it may pass by itself: see the table's beginning."""


@dataclass(frozen=True)
class Sign:
    """A row of the table: what a cause is known by."""

    name: str
    what: str
    mend: str
    ends: Ends = "soon"
    reason: str = ""
    text: str = ""
    container: str = ""

    def match(self, reason: str, text: str, known: dict[str, str]) -> Cause | None:
        """The cause, if what was said is a sign of it. `known` fills placeholders that the text doesn't."""
        if self.container and self.container != known.get("container"):
            return None
        if self.reason and not re.fullmatch(self.reason, reason):
            return None
        found = re.search(self.text, text) if self.text else None
        if self.text and found is None:
            return None
        groups = {name: value.strip() for name, value in (found.groupdict() if found else {}).items() if value}
        words = defaultdict(lambda: "?", known | groups)
        return Cause(self.name, self.what.format_map(words), self.mend.format_map(words), self.ends)


@cache
def signs() -> dict[str, tuple[Sign, ...]]:
    """The table, by area."""
    text = resources.files("labkit").joinpath("causes.toml").read_text(encoding="utf-8")
    return {area: tuple(Sign(**row) for row in rows) for area, rows in tomllib.loads(text).items()}


def cause(area: Area, text: str, reason: str = "", **known: str) -> Cause | None:
    """The cause that a message of that area (and its reason, in Kubernetes' word) is a sign of; None for others.

    `known` are names to put into the hint: `namespace`, `pod`, `container`, `node`.
    """
    known = {name: value for name, value in known.items() if value}
    return next(filter(None, (sign.match(reason, text, known) for sign in signs()[area])), None)


def of_line(area: Area, log: str, **known: str) -> tuple[Cause, str] | None:
    """The first cause of the table that a line of a log is a sign of, with the last such line."""
    lines = log.splitlines()
    for sign in signs()[area]:
        for line in reversed(lines):
            if found := sign.match("", line, known):
                return found, line.strip()
    return None
