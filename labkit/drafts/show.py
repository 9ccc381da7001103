"""A draft as a cell shows it: whether Falco would load it, what it matches of the recording, and what changed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from falcorules import markup
from labkit.calls import shortened
from labkit.drafts.trial import Match, Trial
from labkit.show import Table, counted

if TYPE_CHECKING:
    from falcorules import Annotated

_MOST = 12  # rows
_BADGES = {
    "untouched": ("your turn", ("#0b5cad", "#ffffff")),
    "broken": ("Falco refuses it", markup.TONES["bad"]),
    "ready": ("ready", markup.TONES["good"]),
}
_CHANGES = {"": "", "new": "new", "gone": "no longer"}


@dataclass(frozen=True, repr=False)
class Card:
    """A draft's name, state, report, and trial if it is `ready`; `loaded` are the files that are loaded with it."""

    name: str
    state: str
    annotated: Annotated
    loaded: tuple[str, ...]
    recording: str
    trial: Trial | None

    def __repr__(self) -> str:
        parts = [f"{self.name}: {_BADGES[self.state][0]}. {self._headline}"]
        if self.annotated.marks:
            parts.append(repr(self.annotated))
        if self.trial:
            parts += self._findings(self.trial)
            parts += [table.text(110).lstrip("\n") for table in _tables(self.trial)]
        return "\n".join(parts)

    def _repr_html_(self) -> str:
        badge = markup.badge(*_BADGES[self.state])
        parts = [f"<div>{badge} <b>{markup.escaped(self.name)}</b> {markup.with_code(self._headline)}</div>"]
        if self.annotated.marks:
            parts.append(self.annotated._repr_html_())
        if self.trial:
            parts += [
                markup.styled(markup.with_code(said), "margin:0.3em 0", "div") for said in self._findings(self.trial)
            ]
            parts += [f"{markup.table(t.columns, t.rows)}{markup.escaped(t.title)}" for t in _tables(self.trial)]
        return markup.styled(markup.Html("".join(parts)), "text-align:left;overflow-wrap:anywhere", "div")

    @property
    def _headline(self) -> str:
        if self.state == "untouched":
            return "Finish the rule and run the cell again."
        if self.state == "broken":
            errors = counted(len(self.annotated.errors), "error")
            return f"{errors}: with this file, Falco would not start. Correct it and run the cell again."
        warnings = sum(mark.severity == "warning" for mark in self.annotated.marks)
        also = f", with {counted(warnings, 'warning')}" if warnings else ""
        return f"Falco would load it{also} (checked with {', '.join(self.loaded)})."

    def _findings(self, trial: Trial) -> Iterator[str]:
        matches = "1 match" if len(trial.now) == 1 else f"{len(trial.now):,} matches"
        events = counted(trial.replay.events, "event")
        yield f"Replayed on {self.recording}: {events}, {matches}. {_changes(trial)}".strip()
        hidden = [match for match in trial.now if match.first]
        if hidden:
            names = ", ".join(sorted({match.first for match in hidden}))
            yield (
                f"{len(hidden)} of them would raise no alert of this draft: for one event Falco raises one alert, that "
                f"of the rule which is loaded first ({names})."
            )
        for rule, count in trial.others.items():
            than = "more" if count > 0 else "fewer"
            yield f"With the draft, the rule {rule} raises {counted(abs(count), 'alert')} {than}."
        if not trial.now and self.annotated.rules:
            yield f'`lab.draft("{self.name}").why()` shows the event that came closest, and what was not true for it.'


def _changes(trial: Trial) -> str:
    if trial.first_time:
        return ""
    if not trial.new and not trial.gone:
        return "The same as in the last try."
    new = f"{len(trial.new)} new" if trial.new else ""
    gone = f"{len(trial.gone)} no longer" if trial.gone else ""
    return f"Since the last try: {', '.join(filter(None, [new, gone]))}."


def _tables(trial: Trial) -> Iterator[Table]:
    if not trial.matches:
        return
    changed, several = bool(trial.new or trial.gone), len({match.rule for match in trial.matches}) > 1
    shown = _most_telling(trial)
    rows = [
        (
            _CHANGES[match.change],
            match.rule,
            match.time,
            match.event,
            shortened(match.command, 70),
            shortened(match.file),
        )
        for match in shown
    ]
    columns = ("", "Rule", "Time", "Event", "Command", "File")
    chosen = [n for n in range(len(columns)) if (n > 0 or changed) and (n != 1 or several)]
    left = len(trial.matches) - len(shown)
    gone = len(trial.gone) - sum(match.change == "gone" for match in shown)
    of_gone = f", {gone} of them no longer matching" if gone else ""
    yield Table(
        f"{left} more are left out{of_gone}." if left else "",
        tuple(columns[n] for n in chosen),
        tuple(tuple(row[n] for n in chosen) for row in rows),
    )


def _most_telling(trial: Trial) -> list[Match]:
    """The matches to show: what matches now, then what no longer does.

    Of many, those that are new come before the others, and a third of the rows is for what is gone.
    """
    gone = trial.gone[: max(_MOST // 3, _MOST - len(trial.now))]
    now = sorted(trial.now, key=lambda match: not match.change)[: _MOST - len(gone)]
    return [*sorted(now, key=lambda match: match.number), *gone]
