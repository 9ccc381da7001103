"""Evidence that groups of alerts belong together: a shell that went on, a name, an address, a rollout."""

from __future__ import annotations

import functools
import ipaddress
import itertools
import re
from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from labkit.triage.columns import Codes, codes_of, combined, texts_at

Name = TypeVar("Name", bound=Hashable)

ROUTINE_HOURS = 6
"""In how many different hours a combination has to alert to be routine, and an address or a file to be common."""

REACH = 6
"""How many gaps may lie between groups that evidence joins."""

HOUR = 3_600_000_000_000
"""Nanoseconds of an hour."""

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


def hours(value: Codes, time: Codes) -> Codes:
    """In how many different hours each value from 0 occurs."""
    _, first = combined([value, np.asarray(time // HOUR - time.min(initial=0) // HOUR)])
    return np.bincount(value[first])


def evidence(
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
    kept = (hours(name, time[row]) < ROUTINE_HOURS)[name]
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
