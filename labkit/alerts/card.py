"""Shows one alert as a card: what Falco says, its fields by what they are about, and why some are missing."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import pandas as pd

from falcorules import markup
from falcorules.card import MISSING, Section, attack_of, printable, sections
from labkit.alerts.frame import DELIVERY
from labkit.show import Table, terminal_width

_Series = pd.Series[Any] if TYPE_CHECKING else pd.Series


class Alert(_Series):  # type: ignore[misc,valid-type,unused-ignore]
    """The fields of one alert that have a value, under Falco's names; at the end of a cell, a card.

    It is a Series in every other way. What is made of it (a slice, a copy) is a plain Series.
    """

    @property
    def _constructor(self) -> type[pd.Series[Any]]:
        return pd.Series

    @classmethod
    def of(cls, row: pd.Series[Any]) -> Alert:
        """The alert of a row of `lab.alerts()`, without delivery columns and missing values."""
        return cls(row.drop(list(DELIVERY), errors="ignore").dropna())

    def _ipython_key_completions_(self) -> list[str]:
        """What Tab completes after `alert["`."""
        return [str(name) for name in self.index]

    def __repr__(self) -> str:
        width = terminal_width() or 100
        lines = [f"[{self.get('priority', '?')}] {printable(self.get('rule', 'no rule'))}", *self._facts, ""]
        lines += _wrapped(printable(self.get("output", "")), width, "  ")
        for title, rows in self._sections():
            widest = max(len(name) for name, _, _ in rows)
            lines += ["", title]
            for name, value, note in rows:
                text = " ".join(f"{value}  ({note})".split() if value and note else (value or note).split())
                first, *more = _wrapped(text, width - widest - 4, "") or [""]
                lines += [f"  {name:<{widest}}  {first}".rstrip(), *(f"{'':<{widest + 4}}{line}" for line in more)]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        colour, _ = markup.PRIORITY_COLOURS.get(str(self.get("priority")), markup.TONES["plain"])
        badge = markup.priority_badge(str(self.get("priority", "?")))
        apart = f"{markup.FAINT};margin-right:1.2em;display:inline-block"
        facts = "".join(markup.styled(fact, apart) for fact in self._facts)
        name = markup.styled(str(self.get("rule", "no rule")), "font-weight:600;font-size:1.1em;margin-left:0.5em")
        text, bar, fields = str(self.get("output", "")).partition(" | ")
        said = markup.styled(text, "font-weight:600") + markup.styled(bar + fields, markup.FAINT)
        output = markup.styled(
            markup.Html(said),
            f"{markup.MONO};margin:0.5em 0;{markup.WRAPPED}",
            "div",
        )
        groups = "".join(_group(title, rows) for title, rows in self._sections())
        grid = "display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,24em),1fr));gap:0.7em 1.6em"
        head = f"<div>{badge}{name}</div><div>{facts}</div>"
        return markup.box(f'{head}{output}<div style="{grid}">{groups}</div>', colour)

    @property
    def _facts(self) -> list[str]:
        """When it happened (UTC), and where it is in ATT&CK."""
        time = self.get("time")
        when = [f"{time:%Y-%m-%d %H:%M:%S}.{time.value % 10**9:09d} UTC"] if isinstance(time, pd.Timestamp) else []
        attack = attack_of(str(tag) for tag in self.get("tags", ()))
        return [*when, *([attack] if attack else [])]

    def _sections(self) -> list[Section]:
        """Titles, and under each name, value and note of its fields. The last one is of what is missing."""
        return list(sections({str(name): self[name] for name in self.index}))


def card(row: pd.Series[Any]) -> Alert:
    """One alert, a row of `lab.alerts()`, as a card."""
    return row if isinstance(row, Alert) else Alert.of(row)


def table(title: str, alerts: Iterable[Alert]) -> Table:
    """A row for each alert: time (UTC; the date, too, if there are several), priority, rule, pod and command line."""
    alerts = list(alerts)
    days = {time.date() for alert in alerts if isinstance(time := alert.get("time"), pd.Timestamp)}
    form = "%Y-%m-%d %H:%M:%S" if len(days) > 1 else "%H:%M:%S"
    rows = tuple(_row(alert, form) for alert in alerts)
    return Table(title, ("time", "priority", "rule", "pod", "command"), rows)


def _row(alert: Alert, form: str) -> tuple[str, ...]:
    time = alert.get("time")
    moment = f"{time.strftime(form)}.{time.value % 10**9:09d}" if isinstance(time, pd.Timestamp) else "-"
    pod = alert.get("k8s.pod.name", alert.get("container.name", "host"))
    texts = (alert.get("priority", "-"), alert.get("rule", "-"), pod, alert.get("proc.cmdline", ""))
    return (moment, *map(printable, texts))


def _group(title: str, rows: Iterable[tuple[str, str, str]]) -> str:
    head = markup.styled(title, f"font-weight:600;border-bottom:{markup.LINE};margin-bottom:0.2em", "div")
    cells = []
    for name, value, note in rows:
        said = markup.styled(value, markup.MONO) if value else ""
        if note:
            said += markup.styled(f"{' ' if value else ''}{note}", f"{markup.FAINT};font-style:italic")
        # A long name may be broken at its underscores.
        broken = markup.Html(markup.escaped(name).replace("_", "_<wbr>")) if len(name) > 30 else name
        cells.append((broken, markup.Html(said)))
    wide = "grid-column:1/-1" if title == MISSING else ""
    return f'<div style="{wide}">{head}{markup.pairs(cells)}</div>'


def _wrapped(text: str, width: int, indent: str) -> list[str]:
    return textwrap.wrap(text, max(width, 20), initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)
