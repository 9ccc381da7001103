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

import itertools
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from labkit.alerts.mitre import tactics_of
from labkit.calls import checked, duration, short_repr
from labkit.errors import LabError
from labkit.show import counted
from labkit.triage.columns import Codes, codes_of, combined, commands, texts_at, tuples
from labkit.triage.display import Incidents
from labkit.triage.evidence import HOUR, ROUTINE_HOURS, evidence, hours
from labkit.triage.places import UNKNOWN, places


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
        there = f"the frame has {counted(len(table), 'incident')}"
        hint = (
            "The first is 1; df.falco.incidents() lists them." if len(table) else "Read more alerts, or a longer time."
        )
        raise LabError(f"There is no incident {number}: {there}.", hint=hint)
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
    routine = (hours(combination, time) >= ROUTINE_HOURS)[combination] & ~terminal
    group, _ = combined([_groups(time, at, combination, routine, wide)])
    rest = np.flatnonzero(~routine)
    left = alerts.iloc[rest], place.iloc[rest], time[rest], combination[rest], group[rest], terminal[rest]
    edges = list(evidence(*left, wide))
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


def _groups(time: Codes, place: Codes, combination: Codes, routine: Any, gap: int) -> Codes:
    """Numbers of groups: a routine's combination, or alerts of a place without a longer pause. `time` is sorted."""
    number = combination.copy()
    rest = np.flatnonzero(~routine)
    by_place = rest[np.argsort(place[rest], kind="stable")]
    starts = np.ones(len(by_place), dtype=bool)
    starts[1:] = (np.diff(place[by_place]) != 0) | (np.diff(time[by_place]) > gap)
    number[by_place] = combination.max(initial=0) + np.cumsum(starts)
    return number


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
    hour = time // HOUR
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
