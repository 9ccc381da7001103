"""The alerts that recorded events raised, shown as a table."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from falcorules import markup
from falcorules.output import Alert
from falcorules.text import moment_of

_WIDTH = 70
_COLUMNS = ("Time", "Priority", "Rule", "Command")


@dataclass(frozen=True, repr=False)
class Replay:
    """`events` is the number of events that were evaluated, `alerts` are what they raised, in order.

    It is shown with a row for each alert: time of day (UTC), priority, rule, and command line or else message.
    """

    events: int
    alerts: tuple[Alert, ...]

    @property
    def rules(self) -> list[str]:
        """The rules that alerted, one entry for each alert."""
        return [alert.rule for alert in self.alerts]

    def __len__(self) -> int:
        return len(self.alerts)

    def __iter__(self) -> Iterator[Alert]:
        return iter(self.alerts)

    def __repr__(self) -> str:
        rows = self._rows()
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        return "\n  ".join([self._title, *lines])

    def _repr_html_(self) -> str:
        rows = [
            (when, markup.priority_badge(priority), rule, _said(alert))
            for (when, priority, rule, _), alert in zip(self._rows(), self.alerts, strict=True)
        ]
        return f"<b>{self._title}</b>{markup.table(_COLUMNS, rows) if rows else ''}"

    @property
    def _title(self) -> str:
        return f"{_counted(self.events, 'event')}, {_counted(len(self.alerts), 'alert')}"

    def _rows(self) -> list[tuple[str, str, str, str]]:
        return [
            (
                _time_of_day(alert.time),
                alert.priority,
                alert.rule,
                _shortened(_said(alert)),
            )
            for alert in self.alerts
        ]


def _said(alert: Alert) -> str:
    return str(alert.output_fields.get("proc.cmdline") or alert.message)


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _time_of_day(time: int) -> str:
    moment, nanoseconds = moment_of(time)
    return f"{moment:%H:%M:%S}.{nanoseconds // 1_000_000:03d}"


def _shortened(text: str) -> str:
    return text if len(text) <= _WIDTH else f"{text[: _WIDTH - 3]}..."
