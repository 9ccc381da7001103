"""The processes behind alerts, as a frame and as a tree in text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
import pandas as pd

from falcorules import markup
from labkit.calls import checked
from labkit.triage.columns import SHELL_COMMAND, codes, codes_of, combined, texts_at
from labkit.triage.places import UNKNOWN, places

_Key: TypeAlias = "tuple[str | None, str, int | None]"

_DRAWN = "│├└─ "
_LATER = 2**63 - 1  # ns: after any time


class Tree(str):
    """Text that a notebook displays in a fixed-width font. A long line goes on below its text, not below the tree."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        lines = []
        for line in self.splitlines():
            text = line.lstrip(_DRAWN)
            drawn = markup.styled(line[: len(line) - len(text)], "white-space:pre;flex:none")
            lines.append(markup.styled(markup.Html(drawn + markup.styled(text, markup.WRAPPED)), "display:flex", "div"))
        return markup.code(markup.Html("".join(lines)))


@dataclass
class _Process:
    program: str | None
    command: str | None = None  # its command line; None if other processes' alerts only name it
    pid: int | None = None
    user: str | None = None
    inferred: bool = False
    first: int = _LATER  # ns, of its alerts
    last: int = -_LATER
    raised: dict[tuple[str, int], int] = field(default_factory=dict)  # rule and level of its priority -> alerts
    children: dict[_Key, _Process] = field(default_factory=dict)

    def child(self, program: str | None, command: str | None, pid: int | None) -> _Process:
        """The child with this command line (or only this name) and process ID; a new one if there is none yet."""
        key = (program if command is None else "", command or "", pid)
        found = self.children.setdefault(key, _Process(program, command, pid))
        found.program = found.program or program
        return found

    def began(self) -> int:
        """When it, or a process below it, alerted first."""
        return min([self.first, *(child.began() for child in self.children.values())])


@checked
def processes(df: pd.DataFrame) -> pd.DataFrame:
    """The processes that alerts are about and the ancestors that they name, parents before their children.

    One row per command line (and process ID, if `proc.pid` is there) below the same ancestors, in the order of time;
    places in that order, too. The index `process` numbers them from 0. Columns:

    * `parent`: Int64, the number of the parent's row; missing at the top of a place
    * `place`, `program`, `command`, `user`: string. `command` is the command line, missing for an ancestor that is
      known by its name only
    * `depth`: int64, from 0; `pid`: Int64, missing unless alerts have `proc.pid`
    * `alerts`: int64; `priority`: the highest, ordered categorical; `first`, `last`: datetime64[ns, UTC], of its alerts
    * `raised`: a tuple of `(rule, priority, alerts)` for each rule, in the order of time
    * `inferred`: bool, that alerts only name the parent, and it was concluded which process that is

    Rules differ in how many ancestors they output (`proc.pname`, `proc.aname[n]`). A branch begins with the oldest that
    any alert of the place names. Which process a name means is told by what it ran: a shell whose `-c` has the child's
    command line in it, or else the only process of that name that alerted before. Without either, the name is a row of
    its own.
    """
    levels = df["priority"].cat.categories if isinstance(df["priority"].dtype, pd.CategoricalDtype) else pd.Index([])
    rows: list[tuple[int | None, str, int, _Process]] = []
    for place, top in _places(df):
        rows += _below(top, None, place, 0, len(rows))
    found = [process for *_, process in rows]
    highest = [max((level for _, level in process.raised), default=-1) for process in found]
    names = [None if level < 0 else str(levels[level]) for level in range(-1, len(levels))]
    return pd.DataFrame(
        {
            "parent": pd.array([parent for parent, *_ in rows], dtype="Int64"),
            "place": pd.array([place for _, place, *_ in rows], dtype="string"),
            "depth": np.array([depth for *_, depth, _ in rows], dtype=np.int64),
            "program": pd.array([process.program for process in found], dtype="string"),
            "command": pd.array([process.command for process in found], dtype="string"),
            "pid": pd.array([process.pid for process in found], dtype="Int64"),
            "user": pd.array([process.user for process in found], dtype="string"),
            "alerts": np.array([sum(process.raised.values()) for process in found], dtype=np.int64),
            "priority": pd.Categorical.from_codes(highest, categories=levels, ordered=True),
            "raised": pd.Series([_raised(process, names) for process in found], dtype=object),
            "first": _times([process.first for process in found]),
            "last": _times([process.last for process in found]),
            "inferred": np.array([process.inferred for process in found], dtype=bool),
        },
        index=pd.RangeIndex(len(rows), name="process"),
    )


def _times(values: list[int]) -> pd.DatetimeIndex:
    never = np.iinfo(np.int64).min  # numpy's NaT
    stamps = np.array([never if abs(value) == _LATER else value for value in values], dtype=np.int64)
    return pd.DatetimeIndex(stamps.view("datetime64[ns]")).tz_localize("UTC")


def _raised(process: _Process, names: list[str | None]) -> tuple[tuple[str, str | None, int], ...]:
    """Rules with the highest priority of each, and how many alerts."""
    found: dict[str, tuple[int, int]] = {}
    for (rule, level), count in process.raised.items():
        highest, sofar = found.get(rule, (-1, 0))
        found[rule] = (max(highest, level), sofar + count)
    return tuple((rule, names[level + 1], count) for rule, (level, count) in found.items())


def _below(
    node: _Process, number: int | None, place: str, depth: int, start: int
) -> list[tuple[int | None, str, int, _Process]]:
    """Rows of what is below a process: number of the parent, place, depth; `start` is the number of the first."""
    rows: list[tuple[int | None, str, int, _Process]] = []
    stack = [(number, depth, child) for child in reversed(_in_time(node))]
    while stack:
        parent, deep, process = stack.pop()
        own = start + len(rows)
        rows.append((parent, place, deep, process))
        stack += [(own, deep + 1, child) for child in reversed(_in_time(process))]
    return rows


def _in_time(node: _Process) -> list[_Process]:
    return sorted(node.children.values(), key=_Process.began)


def _places(df: pd.DataFrame) -> list[tuple[str, _Process]]:
    """For each place, in the order of its first alert, a node above its processes."""
    tops: dict[str, _Process] = {}
    alerts = list(_alerts(df))
    completed = _completed((place, chain) for place, chain, _ in alerts if chain)
    for place, chain, alert in alerts:
        node = tops.setdefault(place, _Process(None))
        known = completed.get((place, chain), ())
        for name in known[:-1]:
            node = node.child(name, None, None)
        if known:
            node = node.child(known[-1], alert.parent_command, alert.parent_pid)
        node = node.child(alert.program, alert.command, alert.pid)
        node.user = node.user or alert.user
        node.first, node.last = min(node.first, alert.first), max(node.last, alert.last)
        node.raised[alert.raised] = node.raised.get(alert.raised, 0) + alert.count
    for top in tops.values():
        _infer(top)
    return sorted(tops.items(), key=lambda item: (item[1].began(), item[0]))


@dataclass(frozen=True)
class _Alert:
    """Alerts that are equal in all that matters here."""

    program: str | None
    command: str | None
    pid: int | None
    parent_command: str | None
    parent_pid: int | None
    user: str | None
    raised: tuple[str, int]
    count: int
    first: int
    last: int


def _alerts(df: pd.DataFrame) -> Iterator[tuple[str, tuple[str, ...], _Alert]]:
    """Place, names of ancestors from the oldest to the parent, and the alert, in the order of time."""
    df = df.sort_values("time", kind="stable")
    ancestors = sorted(
        (c for c in df.columns if c.startswith("proc.aname[") and c[11:-1].isdigit()),
        key=lambda c: int(c[11:-1]),
        reverse=True,
    )
    texts = ["rule", "proc.name", "proc.cmdline", "proc.pcmdline", "user.name", *ancestors, "proc.pname"]
    place = places(df)
    level = codes(df["priority"])
    pids = [codes_of(df, name) for name in ("proc.pid", "proc.ppid")]
    group, first = combined([codes(place), level, *pids, *(codes_of(df, name) for name in texts)])
    count = np.bincount(group, minlength=len(first)).tolist()
    time = pd.DatetimeIndex(df["time"]).as_unit("ns")
    when = np.where(time.isna(), _LATER, time.asi8)
    last = np.full(len(first), -_LATER, dtype=np.int64)
    np.maximum.at(last, group, np.where(time.isna(), -_LATER, time.asi8))
    numbers = [_numbers(df, name, first) for name in ("proc.pid", "proc.ppid")]
    values = zip(
        place.iloc[first].tolist(),
        level[first].tolist(),
        count,
        when[first].tolist(),
        last.tolist(),
        *numbers,
        *(texts_at(df, name, first) for name in texts),
        strict=True,
    )
    for where, priority, n, start, end, pid, ppid, rule, name, cmdline, pcmdline, user, *names in values:
        program = name or next(iter((cmdline or "").split()), None)
        raised = (rule or UNKNOWN, priority)
        alert = _Alert(program, cmdline or name or "?", pid, pcmdline, ppid, user, raised, n, start, end)
        yield where, tuple(name for name in names if name), alert


def _numbers(df: pd.DataFrame, name: str, rows: np.ndarray) -> list[int | None]:
    if name not in df.columns:
        return [None] * len(rows)
    return [None if pd.isna(value) else int(value) for value in df[name].iloc[rows]]


def _completed(chains: Iterable[tuple[str, tuple[str, ...]]]) -> dict[tuple[str, tuple[str, ...]], tuple[str, ...]]:
    """Each chain of names with what other alerts of the place name above it, unless they contradict each other."""
    every = set(chains)
    tops: dict[tuple[str, tuple[str, ...]], set[tuple[str, ...]]] = {}
    for place, chain in every:
        for start in range(1, len(chain)):
            for end in range(start + 1, len(chain) + 1):
                tops.setdefault((place, chain[start:end]), set()).add(chain[:start])
    completed = {}
    for place, chain in every:
        whole, used = chain, set()
        while (top := _top(tops, place, whole)) and top not in used:
            used.add(top)
            whole = (*top, *whole)
        completed[place, chain] = whole
    return completed


def _top(
    tops: dict[tuple[str, tuple[str, ...]], set[tuple[str, ...]]], place: str, chain: tuple[str, ...]
) -> tuple[str, ...]:
    """What is above a chain, or else above as much of it, from its beginning, as another one has."""
    for end in range(len(chain), 0, -1):
        found = tops.get((place, chain[:end]), set())
        # `sh` below `sh` doesn't mean that there is a third one above.
        others = [top for top in found if chain[: len(top) + end] != (*top, *chain[:end])]
        if others:
            # A shorter one that is the end of a longer one says nothing new.
            longest = [top for top in others if not any(o != top and o[-len(top) :] == top for o in others)]
            return longest[0] if len(longest) == 1 else ()
    return ()


def _infer(node: _Process) -> None:
    """Moves children of a process that is known by its name only to a sibling of that name, if it must be that one."""
    for key, named in list(node.children.items()):
        if named.command is not None:
            continue
        known = [p for p in node.children.values() if p.command is not None and p.program == named.program]
        for own, child in list(named.children.items()):
            if parent := _parent(child, [p for p in known if not p.raised or p.first <= child.began()]):
                child.inferred = True
                _adopt(parent, own, named.children.pop(own))
        if known and not named.children:
            del node.children[key]
    for child in node.children.values():
        _infer(child)


def _parent(child: _Process, candidates: list[_Process]) -> _Process | None:
    """The latest shell with `-c` that has the child's command line in its own, else the only candidate without `-c`."""
    command = _unquoted(child.command or child.program or "")
    others = []
    for candidate in reversed(candidates):
        told = _unquoted(candidate.command or "")
        if not SHELL_COMMAND.match(told):
            others.append(candidate)
        elif command != told and command in told:
            return candidate
    return others[0] if len(others) == 1 else None


def _unquoted(text: str) -> str:
    """Falco prints arguments without their quotes."""
    return text.replace("'", "").replace('"', "")


def _adopt(parent: _Process, key: _Key, child: _Process) -> None:
    """Puts a process below another one, where the same process may be already."""
    there = parent.children.setdefault(key, child)
    if there is child:
        return
    there.first, there.last = min(there.first, child.first), max(there.last, child.last)
    there.user = there.user or child.user
    for raised, count in child.raised.items():
        there.raised[raised] = there.raised.get(raised, 0) + count
    for own, grandchild in child.children.items():
        _adopt(there, own, grandchild)


@checked
def tree(df: pd.DataFrame, n: int = 500) -> Tree:
    """The `processes` behind alerts as text: a tree per place, command lines, and their rules.

    After `n` processes it ends with a line that says how many are left out.
    """
    if df.empty:
        return Tree("No alerts: no processes to show.")
    table = processes(df)
    lines: list[str] = []
    for place, rows in table.head(n).groupby("place", sort=False):
        lines.append(str(place))
        lines += _lines(rows)
    if len(table) > n:
        lines.append(f"… {len(table) - n:,} of {len(table):,} processes are left out: select an incident, or a place.")
    return Tree("\n".join(lines))


def _lines(rows: pd.DataFrame) -> list[str]:
    parents = [None if pd.isna(parent) else int(parent) for parent in rows["parent"]]
    last = {parent: number for number, parent in zip(rows.index, parents, strict=True)}  # the last child of each
    names = rows["command"].fillna(rows["program"]).tolist()
    indent: dict[int | None, str] = {None: ""}
    lines = []
    for number, parent, name, raised in zip(rows.index, parents, names, rows["raised"], strict=True):
        final = last[parent] == number
        indent[number] = indent[parent] + ("   " if final else "│  ")
        rules = ", ".join(rule if n == 1 else f"{rule} ×{n}" for rule, _, n in raised)
        lines.append(f"{indent[parent]}{'└─ ' if final else '├─ '}{one_line(name)}{f'   ◄ {rules}' if rules else ''}")
    return lines


def one_line(text: str, width: int = 80) -> str:
    """A text on one line, cut at a width."""
    text = " ".join(text.split())
    return text if len(text) <= width else text[: width - 1] + "…"
