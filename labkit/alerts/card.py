"""Shows one alert as a card: what Falco says, its fields by what they are about, and why some are missing."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import pandas as pd

from falcorules import markup
from labkit.alerts.frame import ALERT, DELIVERY, FIELDS
from labkit.alerts.mitre import TECHNIQUE, tactics_of
from labkit.show import Table, terminal_width

_Series = pd.Series[Any] if TYPE_CHECKING else pd.Series

# Titles of groups, in the order in which they are shown, and the fields that belong to them; the first pattern counts.
_GROUPS = {
    "ancestors": r"proc\.(p(name|exe|exepath|cmdline|pid|vpid|comm)|a(name|exe|exepath|cmdline|pid|env)|s(name|id|exe)|"
    r"vpgid)\b",
    "process": r"(proc|thread)\.",
    "user": r"(user|group)\.",
    "container and pod": r"(container|k8s|k8smeta)\.|hostname$",
    "file or network": r"(fd|fs|syslog)\.|evt\.arg\.(name|path|oldpath|newpath|target|linkpath)$",
    "event": r"evt\.|source$",
    "other": "",
}
_SHOWN = ("process", "ancestors", "user", "container and pod", "file or network", "event", "other")

_MISSING = "missing, and why that is normal"
_METADATA = "Falco doesn't know it yet: normal in the first moments of a container"
_HOST = "the process runs on the node itself, in no container"
_WHY_MISSING = {
    "fd.name": "the event is about no file and no connection",
    "proc.pname": "the parent had ended already",
    "proc.exepath": "the program's file can't be named, as that of a program that was deleted",
    "user.name": "the user's number has no name that Falco knows",
    "user.loginuid": "no login session is known",
}
_NOT_OUTPUT = "the rule doesn't output it, or the event has none"
_ANCESTOR = re.compile(r"proc\.aname\[(\d{1,9})\]", re.ASCII)
_NA = re.compile(r"(?:^|[\s|(,])([\w.\[\]]+)=<NA>")


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
            f"{markup.MONO};margin:0.5em 0;white-space:pre-wrap;overflow-wrap:anywhere",
            "div",
        )
        groups = "".join(_group(title, rows) for title, rows in self._sections())
        grid = "display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,24em),1fr));gap:0.7em 1.6em"
        head = f"<div>{badge}{name}</div><div>{facts}</div>"
        return markup.box(f'{head}{output}<div style="{grid}">{groups}</div>', colour)

    @property
    def _facts(self) -> list[str]:
        """When it happened (UTC), and where it is in ATT&CK."""
        tags = [str(tag) for tag in self.get("tags", ())]
        attack = [*tactics_of(tags), *(tag for tag in tags if TECHNIQUE.fullmatch(tag))]
        time = self.get("time")
        when = [f"{time:%Y-%m-%d %H:%M:%S}.{time.value % 10**9:09d} UTC"] if isinstance(time, pd.Timestamp) else []
        return [*when, *([f"ATT&CK: {', '.join(attack)}"] if attack else [])]

    def _sections(self) -> Iterator[tuple[str, list[tuple[str, str, str]]]]:
        """Titles, and under each name, value and note of its fields. The last one is of what is missing."""
        found: dict[str, list[tuple[str, str, str]]] = {title: [] for title in _SHOWN}
        for name in map(str, self.index):
            if name not in ALERT or name in ("source", "hostname"):
                title = next(title for title, pattern in _GROUPS.items() if re.match(pattern, name))
                found[title].append((name, _text(self[name]), _note(name, self[name])))
        if chain := self._chain():
            found["ancestors"].insert(0, ("chain", " → ".join(chain), ""))
        if "tags" in self:
            found["event"].append(("tags", " ".join(map(str, self["tags"])), ""))
        yield from ((title, rows) for title, rows in found.items() if rows)
        if missing := list(self._missing()):
            yield _MISSING, missing

    def _chain(self) -> list[str]:
        """The process's ancestors, oldest first, and itself; empty if no ancestor is known."""
        older = {int(m[1]): str(self[m[0]]) for name in self.index if (m := _ANCESTOR.fullmatch(name))}
        names = [older[n] for n in sorted(older, reverse=True) if n > 1]
        names += [str(self[name]) for name in ("proc.pname", "proc.name") if name in self]
        return names if len(names) > 1 else []

    def _missing(self) -> Iterator[tuple[str, str, str]]:
        # The rule's own fields are called in the output as the rule calls them, with <NA> for no value.
        said = str(self.get("output", "")).partition(" | ")[2]
        reasons: dict[str, list[str]] = {}
        for name in FIELDS:
            if name not in self:
                reasons.setdefault(self._why_missing(name, "<NA>" in said), []).append(name)
        ancestors = [name for name in _NA.findall(said) if re.fullmatch(r"g+parent|.*aname.*", name)]
        if ancestors:
            reasons["the process has fewer ancestors than the rule asks for"] = ancestors
        yield from ((", ".join(names), "", why) for why, names in reasons.items())

    def _why_missing(self, name: str, without_value: bool) -> str:
        """`without_value`: some field of the rule's output has no value; it may be this one."""
        if name.startswith(("container.", "k8s.")):
            return _HOST if self.get("container.id") == "host" else _METADATA
        if without_value or (name == "fd.name" and str(self.get("evt.type")).startswith("execve")):
            return _WHY_MISSING.get(name, _NOT_OUTPUT)
        return _NOT_OUTPUT


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
    wide = "grid-column:1/-1" if title == _MISSING else ""
    return f'<div style="{wide}">{head}{markup.pairs(cells)}</div>'


def printable(value: Any) -> str:
    """A value on one line, without what a terminal would act on."""
    return "".join(c if c.isprintable() else "?" for c in " ".join(str(value).split()))


def _text(value: Any) -> str:
    return printable(value) or '""'


def _note(name: str, value: Any) -> str:
    """What a value means that doesn't say so itself."""
    if name == "user.loginuid" and value == -1:
        return "no login session is behind it: normal in a container"
    if name == "proc.tty":
        # A device number: 136 << 8 and what follows are the pseudo-terminals.
        return f"a terminal, /dev/pts/{value - 34816}" if 34816 <= value < 35072 else "" if value else "no terminal"
    if name == "evt.arg.flags" and "EXE_UPPER_LAYER" in str(value):
        return "the program's file isn't part of the image"
    return ""


def _wrapped(text: str, width: int, indent: str) -> list[str]:
    return textwrap.wrap(text, max(width, 20), initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)
