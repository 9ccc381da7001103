"""Incidents: which alerts belong together, and which incident to look at first.

An incident is found in three steps.

1. **Routine is set aside.** The same command of the same image, started by the same parent, that raises the same rule
   in six or more different hours (UTC) and not on a terminal is routine: a health check, a cron job, a noisy rule. It
   would tie everything in a pod together, so each such combination is one row of its own, `routine`. The command is the
   program; of a shell, `sh -c` and the program that it starts.
2. **Place and time.** What is left in one place (pod, container, node) is one group until nothing happened there for
   longer than `gap`.
3. **Evidence joins groups** that are at most six gaps apart:
   * the same place, user, terminal and parent program: the same shell, after a pause;
   * a command that names the pod of another group, which follows; or its namespace, and it follows within one gap;
   * an address outside the cluster, or a file in a folder for temporary files, that both name, unless it is seen in six
     or more different hours;
   * the same command in several places of one image, within one gap and not on a terminal: a rollout.

The score is `severity x breadth x rarity`: an intrusion raises several rules of several tactics that seldom alert;
noise raises one, again and again; a person at work raises few, which others raise, too.
"""

from __future__ import annotations

import functools
import html
import ipaddress
import itertools
import re
from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from falcorules import markup
from labkit.alerts.mitre import tactics_of
from labkit.calls import checked, duration, short_repr
from labkit.errors import LabError
from labkit.show import Table, counted
from labkit.triage.columns import Codes, codes_of, combined, commands, texts_at, tuples
from labkit.triage.places import UNKNOWN, places

Name = TypeVar("Name", bound=Hashable)

ROUTINE_HOURS = 6
"""In how many different hours a combination has to alert to be routine, and an address or a file to be common."""

REACH = 6
"""How many gaps may lie between groups that evidence joins."""

_HOUR = 3_600_000_000_000  # ns
_SHOWN = 20  # rows

_INSIDE = [
    ipaddress.ip_network(net)
    for net in (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
        *("192.168.0.0/16", "224.0.0.0/3", "::/127", "fc00::/7", "fe80::/10", "ff00::/8", "::ffff:0:0/96"),
    )
]
_ADDRESS = re.compile(r"(?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?![\w.]*\w)")
_HOST = re.compile(r"\bhttps?://(?:[^/\s@]*@)?([a-z0-9-]+(?:\.[a-z0-9-]+)+)", re.ASCII | re.IGNORECASE)
_TEMPORARY = re.compile(r"(?<![\w/.-])/(?:tmp|var/tmp|dev/shm)/[\w./-]*\w", re.ASCII)
_NAMESPACE = re.compile(r"(?:\bnamespaces/|\s-n[ =]?|--namespace[ =])([a-z0-9](?:[a-z0-9-]*[a-z0-9])?)", re.ASCII)
_WORD = re.compile(r"[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?", re.ASCII)
_CLUSTER = (".svc", ".local", ".internal", ".cluster")


class Incidents(pd.DataFrame):
    """Incidents, one row each. Displayed, it is a table of the first twenty that fits a notebook's page."""

    @property
    def _constructor(self) -> type[Incidents]:
        return Incidents

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

    def __repr__(self) -> str:
        shown = self._table()
        return repr(pd.DataFrame(self)) if shown is None else repr(shown)

    def _repr_html_(self) -> str | None:
        """A row has what happened, where and as whom below one another: side by side they are too wide for a page."""
        shown = self._table()
        if shown is None:
            return pd.DataFrame(self)._repr_html_()  # type: ignore[operator,no-any-return]
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
        return f"<b>{html.escape(shown.title)}</b>{markup.table(columns, rows)}"


_COLUMNS = (
    *("start", "end", "duration", "places", "alerts", "rules", "priority", "tactics", "users", "routine"),
    *("severity", "breadth", "rarity", "score"),
)


@checked
def incidents(df: pd.DataFrame, gap: Any = "5m") -> Incidents:
    """Alerts that belong together as incidents, the one to look at first on top. The module says what belongs together.

    `gap` is a text (`"5m"`), seconds or a Timedelta. The index `incident` numbers the rows from 1, for `incident`.

    * `start`, `end`: datetime64[ns, UTC]; `duration`: timedelta64[ns]
    * `places`, `rules`, `tactics`, `users`: tuples of text, in the order in which they first appear
    * `alerts`: int64; `priority`: the highest, ordered categorical; `routine`: bool
    * `severity`: int64, the highest priority as a number from 1 (Debug) to 8 (Emergency)
    * `breadth`: int64, the number of different rules plus that of different tactics
    * `rarity`: float64 from 0 to 1. How seldom the incident's combinations of rule, image, command and parent are: the
      mean of `1 / occasions`, where an occasion is an hour and a place with such an alert
    * `score`: float64, `severity * breadth * rarity`

    Alerts without a time are in no incident; `attrs["untimed"]` counts them. Raises `LabError` for another `gap`.
    """
    table, _ = _incidents(df, gap)
    return table


@checked
def incident(df: pd.DataFrame, number: int = 1, gap: Any = "5m") -> pd.DataFrame:
    """The alerts of an incident in the order of time, by its number in `incidents(df, gap)` with the same `gap`.

    Raises `LabError` if there is none of that number.
    """
    table, group = _incidents(df, gap)
    if not 1 <= number <= len(table):
        there = f"There are {counted(len(table), 'incident')}, numbered from 1." if len(table) else "There is none."
        raise LabError(f"There is no incident {number}.", hint=there)
    alerts: pd.DataFrame = df[group == number].sort_values("time", kind="stable")
    return alerts


def seconds_of(gap: object) -> float:
    """A gap in seconds, of a text, seconds or a Timedelta. Raises `LabError` for another value."""
    number: object = gap
    if isinstance(gap, str):
        number = duration(gap)
    elif isinstance(gap, pd.Timedelta) or hasattr(gap, "total_seconds"):
        number = gap.total_seconds()
    if isinstance(number, bool) or not isinstance(number, int | float | np.number) or not 0 < number < 10**9:
        raise LabError(f"gap is {short_repr(gap)}, which is no duration.", hint='Give it a text such as "5m" or "90s".')
    return float(number)


def _incidents(df: pd.DataFrame, gap: object) -> tuple[Incidents, Codes]:
    """The incidents, and the number of each alert's incident (0: it has no time)."""
    wide = int(seconds_of(gap) * 1e9)
    timed = df["time"].notna().to_numpy()
    alerts = df[timed]
    order = np.argsort(_nanoseconds(alerts), kind="stable")
    alerts = alerts.iloc[order]
    time = _nanoseconds(alerts)
    place = places(alerts)
    at = place.cat.codes.to_numpy().astype(np.int64)
    rule, image, parent = (codes_of(alerts, name) for name in ("rule", "container.image.repository", "proc.pname"))
    command, _ = commands(alerts)
    combination, _ = combined([rule, image, command, parent])
    terminal = _on_terminal(alerts)
    routine = (_hours(combination, time) >= ROUTINE_HOURS)[combination] & ~terminal
    group, _ = combined([_groups(time, at, combination, routine, wide)])
    rest = np.flatnonzero(~routine)
    left = alerts.iloc[rest], place.iloc[rest], time[rest], combination[rest], group[rest], terminal[rest]
    edges = list(_evidence(*left, wide))
    group, first = combined([_joined(group, edges)])
    table = _table(alerts, time, place, combination, group, routine[first] if len(first) else routine)
    ranked = table.sort_values(["score", "start", "end"], ascending=[False, True, True], kind="stable")
    number = np.empty(len(table), dtype=np.int64)
    number[ranked.index.to_numpy()] = np.arange(1, len(table) + 1)
    of_alert = np.zeros(len(df), dtype=np.int64)
    of_alert[np.flatnonzero(timed)[order]] = number[group]
    ranked.index = pd.RangeIndex(1, len(table) + 1, name="incident")
    ranked.attrs = {"untimed": int((~timed).sum())}
    return ranked, of_alert


def _nanoseconds(df: pd.DataFrame) -> Codes:
    return pd.DatetimeIndex(df["time"]).as_unit("ns").asi8


def _on_terminal(df: pd.DataFrame) -> Any:
    if "proc.tty" not in df.columns:
        return np.zeros(len(df), dtype=bool)
    return (df["proc.tty"] > 0).fillna(False).to_numpy(dtype=bool)


def _hours(value: Codes, time: Codes) -> Codes:
    """In how many different hours each value from 0 occurs."""
    _, first = combined([value, np.asarray(time // _HOUR - time.min(initial=0) // _HOUR)])
    return np.bincount(value[first])


def _groups(time: Codes, place: Codes, combination: Codes, routine: Any, gap: int) -> Codes:
    """Numbers of groups: a routine's combination, or alerts of a place without a longer pause. `time` is sorted."""
    number = combination.copy()
    rest = np.flatnonzero(~routine)
    by_place = rest[np.argsort(place[rest], kind="stable")]
    starts = np.ones(len(by_place), dtype=bool)
    starts[1:] = (np.diff(place[by_place]) != 0) | (np.diff(time[by_place]) > gap)
    number[by_place] = combination.max(initial=0) + np.cumsum(starts)
    return number


def _evidence(
    df: pd.DataFrame, place: pd.Series[Any], time: Codes, combination: Codes, group: Codes, terminal: Any, gap: int
) -> Iterator[tuple[Codes, Codes]]:
    """Pairs of groups that belong together, of alerts that are no routine, sorted by time."""
    at = place.cat.codes.to_numpy().astype(np.int64)
    tty, user, parent = (codes_of(df, name) for name in ("proc.tty", "user.name", "proc.pname"))
    shell, _ = combined([at, tty, user, parent])
    yield _neighbours(shell, time, group, REACH * gap)
    alone = np.flatnonzero(~terminal)
    same, _ = combined([combination[alone], codes_of(df, "proc.cmdline")[alone]])
    yield _neighbours(same, time[alone], group[alone], gap)
    row, name, _ = _named(df, ("proc.cmdline", "fd.name", "proc.exepath"), _indicators)
    kept = (_hours(name, time[row]) < ROUTINE_HOURS)[name]
    yield _neighbours(name[kept], time[row][kept], group[row][kept], REACH * gap)
    yield from _reached(df, place, time, group, gap)


def _neighbours(value: Codes, time: Codes, group: Codes, reach: int) -> tuple[Codes, Codes]:
    """Groups of alerts with the same value that follow each other within `reach`."""
    order = np.lexsort((time, value))
    value, time, group = value[order], time[order], group[order]
    near = (np.diff(value) == 0) & (np.diff(time) <= reach)
    return group[:-1][near], group[1:][near]


def _named(
    df: pd.DataFrame, columns: Iterable[str], names: Callable[[str], Iterable[Name]]
) -> tuple[Codes, Codes, list[Name]]:
    """Positions of alerts (sorted), numbers of the names that `names` finds in a text of theirs, and these names."""
    known: dict[Name, int] = {}
    rows, numbers = [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.int64)]
    for column in columns:
        value, first = combined([codes_of(df, column)])
        found = [[known.setdefault(n, len(known)) for n in names(t)] if t else [] for t in texts_at(df, column, first)]
        count = np.array([len(named) for named in found], dtype=np.int64)
        hits = np.flatnonzero(count[value] > 0) if len(count) else rows[0]
        rows.append(np.repeat(hits, count[value[hits]]))
        numbers.append(np.array(list(itertools.chain.from_iterable(found[v] for v in value[hits].tolist())), np.int64))
    row, number = np.concatenate(rows), np.concatenate(numbers)
    order = np.argsort(row, kind="stable")
    return row[order], number[order], list(known)


def _indicators(text: str) -> list[str]:
    """Addresses and hosts outside the cluster and files in folders for temporary files that a text names."""
    found = _TEMPORARY.findall(text) if "/" in text else []
    hosts = [host.lower() for host in _HOST.findall(text)] if "://" in text else []
    if "." in text:
        hosts += _ADDRESS.findall(text)
    if "->" in text:
        hosts.append(text.partition("->")[2].rpartition(":")[0])
    return list(dict.fromkeys([*found, *filter(_outside, hosts)]))


@functools.lru_cache(100_000)
def _outside(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return bool(_HOST.fullmatch(f"http://{host}")) and not f".{host}".endswith(_CLUSTER)
    return not any(address in network for network in _INSIDE)


def _reached(
    df: pd.DataFrame, place: pd.Series[Any], time: Codes, group: Codes, gap: int
) -> Iterator[tuple[Codes, Codes]]:
    """Groups in pods that an earlier command of another place names, or whose namespace it names."""
    at = place.cat.codes.to_numpy().astype(np.int64)
    by_pod: dict[str, list[int]] = {}
    by_namespace: dict[str, list[int]] = {}
    for number in np.unique(at).tolist():
        namespace, slash, pod = place.cat.categories[number].partition("/")
        if slash:
            by_pod.setdefault(pod, []).append(number)
            by_namespace.setdefault(namespace, []).append(number)

    def targets(text: str) -> dict[tuple[int, int], None]:
        found = {(target, REACH * gap): None for word in _WORD.findall(text) for target in by_pod.get(word, ())}
        spaces = _NAMESPACE.findall(text)
        return found | {(target, gap): None for word in spaces for target in by_namespace.get(word, ())}

    rows, numbers, named = _named(df, ["proc.cmdline"], targets)
    order = np.argsort(at, kind="stable")
    starts = np.searchsorted(at[order], np.arange(len(place.cat.categories) + 1))
    times = [time[order[start:end]] for start, end in itertools.pairwise(starts)]
    pairs = [(0, 0)]
    for row, number in zip(rows.tolist(), numbers.tolist(), strict=True):
        target, reach = named[number]
        after = int(np.searchsorted(times[target], time[row]))
        if target != at[row] and after < len(times[target]) and times[target][after] - time[row] <= reach:
            pairs.append((group[row], group[order[starts[target] + after]]))
    found = np.array(pairs, dtype=np.int64)
    yield found[:, 0], found[:, 1]


def _joined(group: Codes, edges: Iterable[tuple[Codes, Codes]]) -> Codes:
    """Groups that edges connect, as one: the lowest of their numbers."""
    top = list(range(int(group.max(initial=-1)) + 1))

    def root(number: int) -> int:
        while top[number] != number:
            top[number] = top[top[number]]
            number = top[number]
        return number

    for left, right in edges:
        apart = left != right
        _, first = combined([left[apart], right[apart]])
        for a, b in zip(left[apart][first].tolist(), right[apart][first].tolist(), strict=True):
            low, high = sorted((root(a), root(b)))
            top[high] = low
    return np.array([root(number) for number in top], dtype=np.int64)[group]


def _table(
    df: pd.DataFrame, time: Codes, place: pd.Series[Any], combination: Codes, group: Codes, routine: Any
) -> Incidents:
    """One row for each group, numbered from 0; `df` is sorted by time."""
    n = len(routine)
    start, end = np.zeros(n, np.int64), np.zeros(n, np.int64)
    start[group[::-1]], end[group] = time[::-1], time
    levels = df["priority"].cat.categories
    level = np.full(n, -1, dtype=np.int64)
    np.maximum.at(level, group, df["priority"].cat.codes.to_numpy().astype(np.int64))
    at = place.cat.codes.to_numpy().astype(np.int64)
    rule, rules = _texts(df, "rule", UNKNOWN)
    user, users = _texts(df, "user.name", None)
    of_rules, of_tactics = tuples(group, rule, rules, n), _tactics(df, group, n)
    _, first = combined([group, combination])
    hour = time // _HOUR
    _, at_first = combined([combination, at, hour - hour.min(initial=0)])
    occasions = np.bincount(combination[at_first], minlength=int(combination.max(initial=-1)) + 1)
    shares = np.bincount(group[first], weights=1 / occasions[combination[first]], minlength=n)
    rarity = shares / np.maximum(np.bincount(group[first], minlength=n), 1)
    severity = np.maximum(level + 1, 1)
    breadth = np.array([len(a) + len(b) for a, b in zip(of_rules, of_tactics, strict=True)], dtype=np.int64)
    starts, ends = (pd.DatetimeIndex(t.view("datetime64[ns]")).tz_localize("UTC") for t in (start, end))
    return Incidents(
        {
            "start": starts,
            "end": ends,
            "duration": ends - starts,
            "places": _objects(tuples(group, at, list(place.cat.categories), n)),
            "alerts": np.bincount(group, minlength=n).astype(np.int64),
            "rules": _objects(of_rules),
            "priority": pd.Categorical.from_codes(level.tolist(), categories=levels, ordered=True),
            "tactics": _objects(of_tactics),
            "users": _objects(tuples(group, user, users, n)),
            "routine": np.asarray(routine, dtype=bool),
            "severity": severity,
            "breadth": breadth,
            "rarity": rarity,
            "score": severity * breadth * rarity,
        },
        index=pd.RangeIndex(n, name="incident"),
    )


def _texts(df: pd.DataFrame, name: str, missing: str | None) -> tuple[Codes, list[str | None]]:
    """A column as numbers of texts; what is missing or empty is `missing`, or -1."""
    value, first = combined([codes_of(df, name)])
    texts = [text or missing for text in texts_at(df, name, first)]
    number = np.array([-1 if text is None else i for i, text in enumerate(texts)], dtype=np.int64)
    return number[value] if len(number) else value, texts


def _tactics(df: pd.DataFrame, group: Codes, n: int) -> list[tuple[str, ...]]:
    """The tactics of each group in the order in which its alerts name them."""
    known: dict[tuple[str, ...], int] = {}
    tags = np.array(
        [known.setdefault(tuple(value), len(known)) for value in np.asarray(df["tags"], dtype=object)], dtype=np.int64
    )
    by_tags = [tactics_of(value) for value in known]
    combinations = tuples(group, tags, [tuple(names) for names in by_tags], n)
    return [tuple(dict.fromkeys(itertools.chain.from_iterable(names))) for names in combinations]


def _objects(values: list[Any]) -> pd.Series[Any]:
    """A column of tuples."""
    column = np.empty(len(values), dtype=object)
    column[:] = values
    return pd.Series(column, dtype=object)


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
