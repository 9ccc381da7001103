"""What rules say to recorded events: how many were evaluated, and the alerts, as a table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from falcorules.output import Alert, moment_of
from labkit.show import Table, counted

_WIDTH = 70


@dataclass(frozen=True, repr=False)
class Replay:
    """`alerts` are those that `events` recorded events raised, in order."""

    events: int
    alerts: tuple[Alert, ...]

    @property
    def rules(self) -> list[str]:
        """The rules that alerted, one entry for each alert."""
        return [alert.rule for alert in self.alerts]

    def table(self) -> Table:
        """One row for each alert: time of day (UTC), priority, rule, and the command (else, what its output says)."""
        title = f"{counted(self.events, 'event')}, {counted(len(self.alerts), 'alert')}"
        rows = tuple(
            (
                _time_of_day(alert.time),
                alert.priority,
                alert.rule,
                _shortened(str(alert.output_fields.get("proc.cmdline") or alert.message)),
            )
            for alert in self.alerts
        )
        return Table(title, ("Time", "Priority", "Rule", "Command"), rows)

    def __len__(self) -> int:
        return len(self.alerts)

    def __iter__(self) -> Iterator[Alert]:
        return iter(self.alerts)

    def __repr__(self) -> str:
        return repr(self.table())

    def _repr_html_(self) -> str:
        return self.table()._repr_html_()


def _time_of_day(time: int) -> str:
    moment, nanoseconds = moment_of(time)
    return f"{moment:%H:%M:%S}.{nanoseconds // 1_000_000:03d}"


def _shortened(text: str) -> str:
    return text if len(text) <= _WIDTH else f"{text[: _WIDTH - 3]}..."
