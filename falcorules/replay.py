"""The alerts that recorded events raised, shown as a table."""

from __future__ import annotations

import html
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from falcorules.output import Alert
from falcorules.text import moment_of

_WIDTH = 70
_COLUMNS = ("Time", "Priority", "Rule", "Command")
_STYLE = 'style="text-align:left"'


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
        def line(tag: str, cells: Iterable[str]) -> str:
            return f"<tr>{''.join(f'<{tag} {_STYLE}>{html.escape(cell)}</{tag}>' for cell in cells)}</tr>"

        if not self.alerts:
            return f"<b>{self._title}</b>"
        body = "".join(line("td", row) for row in self._rows())
        return f"<b>{self._title}</b><table><thead>{line('th', _COLUMNS)}</thead><tbody>{body}</tbody></table>"

    @property
    def _title(self) -> str:
        return f"{_counted(self.events, 'event')}, {_counted(len(self.alerts), 'alert')}"

    def _rows(self) -> list[tuple[str, str, str, str]]:
        return [
            (
                _time_of_day(alert.time),
                alert.priority,
                alert.rule,
                _shortened(str(alert.output_fields.get("proc.cmdline") or alert.message)),
            )
            for alert in self.alerts
        ]


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _time_of_day(time: int) -> str:
    moment, nanoseconds = moment_of(time)
    return f"{moment:%H:%M:%S}.{nanoseconds // 1_000_000:03d}"


def _shortened(text: str) -> str:
    return text if len(text) <= _WIDTH else f"{text[: _WIDTH - 3]}..."
