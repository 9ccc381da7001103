"""A draft tried on recorded events: what its rules match, and what differs from the last try."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

from labkit.errors import LabError

if TYPE_CHECKING:
    from falcorules import Event, Replay

Change = Literal["", "new", "gone"]


@dataclass(frozen=True)
class Match:
    """An event that a rule of the draft matches (or did in the last try, if `change` is `gone`).

    `number` counts the recording's events from 0. `first` is the rule whose alert Falco raises instead, if another is
    loaded earlier: it raises one alert for an event.
    """

    rule: str
    number: int
    time: str
    event: str
    command: str
    file: str
    change: Change = ""
    first: str = ""


@dataclass(frozen=True)
class Trial:
    """What a draft matches. `first_time`: there is no earlier try on this recording to compare with.

    `others` says of which rules of other files the draft changes the number of alerts, and by how many.
    """

    replay: Replay
    matches: tuple[Match, ...]
    first_time: bool
    others: dict[str, int]

    @property
    def now(self) -> list[Match]:
        return [match for match in self.matches if match.change != "gone"]

    @property
    def new(self) -> list[Match]:
        return [match for match in self.matches if match.change == "new"]

    @property
    def gone(self) -> list[Match]:
        return [match for match in self.matches if match.change == "gone"]


def tried(
    files: Sequence[tuple[str, str]],
    others: Sequence[tuple[str, str]],
    rules: Sequence[str],
    recording: Path,
    before: list[tuple[str, int]] | None,
) -> Trial:
    """Evaluates `files` on a recording. `rules` are the draft's, `others` the files without it, `before` what matched
    in the last try (None: there was none). Raises `LabError` for a recording that can't be read."""
    from falcorules import Replay, load

    engine = load(list(files), matching="all")
    events = _events(recording)
    raised = [engine.process(event) for event in events]
    without = _without(tuple(others), recording, recording_key(recording))
    now = {(alert.rule, number): alerts[0].rule for number, alerts in enumerate(raised) for alert in alerts}
    own = {key: first for key, first in now.items() if key[0] in rules}
    last = set(own) if before is None else set(before)
    found = []
    for key in sorted({*own, *(key for key in last if key[1] < len(events))}, key=lambda key: (key[1], key[0])):
        change: Change = "gone" if key not in own else "" if key in last else "new"
        first = own.get(key, key[0])
        found.append(_match(*key, events[key[1]], change, "" if first == key[0] else first))
    counts: Counter[str] = Counter()
    if without is not None:  # else the others load with the draft only: there is nothing to compare with
        added = {rule for rule in rules if rule not in without.rules}
        counts.update(rule for rule, _ in now if rule not in added)
        counts.subtract(rule for rule, _ in without.raised)
    alerts = tuple(alerts[0] for alerts in raised if alerts)
    changed = {rule: count for rule, count in sorted(counts.items()) if count}
    return Trial(Replay(len(events), alerts), tuple(found), before is None, changed)


def matches_of(trial: Trial) -> list[tuple[str, int]]:
    """What is kept of a try for the next one."""
    return [(match.rule, match.number) for match in trial.now]


def recording_key(recording: Path) -> str:
    """What tells a recording from others, and from a later one in the same file."""
    try:
        return f"{recording.name}, {recording.stat().st_size} bytes"
    except OSError:
        return recording.name


def _events(recording: Path) -> list[Event]:
    from falcorules import EventError, open_events

    try:
        return list(open_events(recording))
    except EventError as error:
        raise LabError(error.message, hint=error.hint) from error


class _Without(NamedTuple):
    """Rules as they are without the draft: their names, and which matches which event."""

    rules: frozenset[str]
    raised: frozenset[tuple[str, int]]


@lru_cache(4)
def _without(files: tuple[tuple[str, str], ...], recording: Path, key: str) -> _Without | None:
    """The other files on a recording, whose `key` changes when it is recorded again. None if they need the draft."""
    from falcorules import FalcoRulesError, load

    try:
        engine = load(list(files), matching="all")
    except FalcoRulesError:
        return None
    events = enumerate(_events(recording))
    raised = frozenset((alert.rule, number) for number, event in events for alert in engine.process(event))
    return _Without(frozenset(rule.name for rule in engine.rules), raised)


def _match(rule: str, number: int, event: Event, change: Change, first: str) -> Match:
    time = f"{datetime.fromtimestamp(event.time // 10**9, UTC):%H:%M:%S}.{event.time // 10**6 % 1000:03d}"
    command, file = (str(event.get(name) or "") for name in ("proc.cmdline", "fd.name"))
    return Match(rule, number, time, event.type, command, file, change, first)
