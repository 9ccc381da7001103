"""How incidents are displayed: as a table that fits a notebook's page, or a terminal."""

from __future__ import annotations

import html
from abc import ABC, abstractmethod
from typing import Any

import pandas as pd

from falcorules import markup
from labkit.show import Table, counted

_SHOWN = 20  # rows


class _Listed(pd.DataFrame, ABC):
    """A frame that is displayed as a table of its first rows, unless it lacks the columns for that."""

    @property
    def _constructor(self) -> type[_Listed]:
        return type(self)

    @abstractmethod
    def _table(self) -> Table | None: ...

    @abstractmethod
    def _page(self, shown: Table) -> str:
        """The table as HTML that fits a notebook's page."""

    def __repr__(self) -> str:
        shown = self._table()
        return repr(pd.DataFrame(self)) if shown is None else repr(shown)

    def _repr_html_(self) -> str | None:
        shown = self._table()
        if shown is None:
            return pd.DataFrame(self)._repr_html_()  # type: ignore[operator,no-any-return]
        return f"<b>{html.escape(shown.title)}</b>{self._page(shown)}"


class Incidents(_Listed):
    """Incidents, one row each. Displayed, it is a table of the first twenty that fits a notebook's page."""

    def _table(self) -> Table | None:
        if not set(_COLUMNS) <= set(self.columns):
            return None
        columns = ("id", "score", "priority", "start (UTC)", "lasted", "alerts", "place", "rules", "tactics", "user")
        rows = tuple(_row(number, row) for number, row in zip(self.index, self.itertuples(), strict=False))[:_SHOWN]
        routine = int(self["routine"].sum())
        title = counted(len(self) - routine, "incident")
        if routine:
            title += f" and {counted(routine, 'row')} of routine"
        title += f", {counted(int(self['alerts'].sum()), 'alert')}"
        if len(self) > _SHOWN:
            title += f"; the first {_SHOWN} are shown"
        if untimed := self.attrs.get("untimed"):
            title += f"; {counted(untimed, 'alert')} without a time left out"
        return Table(title, columns, rows)

    def _page(self, shown: Table) -> str:
        """A row has what happened, where and as whom below one another: side by side they are too wide for a page."""
        columns = ("id", "score", "priority", "start (UTC)", "alerts", "what happened")
        rows = []
        for number, score, priority, start, span, alerts, place, rules, tactics, user in shown.rows:
            badge = markup.priority_badge(priority) if priority else ""
            when = markup.styled(markup.Html(f"{html.escape(start)}<br>{html.escape(span)}"), "white-space:nowrap")
            who = markup.styled(f" as {user}", markup.FAINT) if user else ""
            lines = [markup.styled(place, "font-weight:600") + who, html.escape(rules)]
            lines += [markup.styled(tactics, markup.FAINT)] if tactics else []
            what = markup.styled(markup.Html("<br>".join(lines)), "overflow-wrap:anywhere")
            rows.append([number, score, badge, when, alerts, what])
        return str(markup.table(columns, rows))


class Rare(_Listed):
    """Rare alerts, one row each. Displayed, it is a table of the first twenty, with why on top of what happened."""

    def _table(self) -> Table | None:
        if not {"time", "priority", "rule", "place", "command line", "why"} <= set(self.columns):
            return None
        title = counted(len(self), "rare alert") + (f"; the first {_SHOWN} are shown" if len(self) > _SHOWN else "")
        columns = ("time (UTC)", "priority", "why", "rule", "place", "command")
        shown = self[["time", "priority", "why", "rule", "place", "command line"]].head(_SHOWN).astype(object)
        return Table(title, columns, tuple(tuple(map(_text, row)) for row in shown.itertuples(index=False)))

    def _page(self, shown: Table) -> str:
        rows = []
        for when, priority, why, rule, place, command in shown.rows:
            badge = markup.priority_badge(priority) if priority else ""
            lines = [html.escape(why), markup.styled(f"{rule}, {place}", "font-weight:600")]
            lines += [markup.styled(command, f"{markup.MONO};{markup.FAINT}")] if command else []
            what = markup.styled(markup.Html("<br>".join(lines)), "overflow-wrap:anywhere")
            rows.append([markup.styled(when, "white-space:nowrap"), badge, what])
        return str(markup.table(("time (UTC)", "priority", "why, and what"), rows))


def _text(value: Any) -> str:
    if isinstance(value, pd.Timestamp):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    return "" if pd.isna(value) else " ".join(str(value).split())


_COLUMNS = (
    *("start", "end", "duration", "places", "alerts", "rules", "priority", "tactics", "users", "routine"),
    *("severity", "breadth", "rarity", "score"),
)


def _row(number: object, row: Any) -> tuple[str, ...]:
    return (
        str(number),
        f"{row.score:.1f}",
        "" if pd.isna(row.priority) else str(row.priority),
        f"{row.start:%Y-%m-%d %H:%M:%S}",
        lasted(row.duration) + (", routine" if row.routine else ""),
        f"{row.alerts:,}",
        _listed(row.places, 2, ", "),
        _listed(row.rules, 3, ", "),
        " → ".join(row.tactics),
        _listed(row.users, 2, ", "),
    )


def _listed(names: tuple[str, ...], most: int, between: str) -> str:
    if len(names) <= most + 1:
        return between.join(names)
    return between.join([*names[:most], f"{len(names) - most} more"])


def lasted(span: pd.Timedelta) -> str:
    """`45 s`, `24 min`, `3 h 12 min`, `2 d 4 h`: rounded down to what matters."""
    seconds = int(span.total_seconds())
    if seconds < 60:
        return f"{seconds} s"
    minutes, hours, days = seconds // 60 % 60, seconds // 3600 % 24, seconds // 86400
    if days:
        return f"{days} d {hours} h" if hours else f"{days} d"
    if hours:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    return f"{minutes} min"
