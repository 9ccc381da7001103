"""Columns of a frame of alerts as numbers, so that a million rows are grouped in a second."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

Codes = npt.NDArray[np.int64]


def codes(column: pd.Series[Any]) -> Codes:
    """A number for each value, the same for equal values; -1 where it is missing."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        return column.cat.codes.to_numpy().astype(np.int64)
    return pd.factorize(column)[0].astype(np.int64)


def codes_of(df: pd.DataFrame, name: str) -> Codes:
    """The `codes` of a column; all missing if the frame doesn't have it."""
    return codes(df[name]) if name in df.columns else np.full(len(df), -1, dtype=np.int64)


def combined(parts: Iterable[Codes]) -> tuple[Codes, Codes]:
    """A number from 0 for each combination of codes, in order of appearance, and the position of each one's first row.

    Missing values (-1) count as a value of their own.
    """
    key: Codes | None = None
    size = 1
    for part in parts:
        width = int(part.max(initial=-1)) + 2
        if key is None:
            key, size = part + 1, width
            continue
        if size * width >= 2**62:
            key = pd.factorize(key)[0].astype(np.int64)
            size = int(key.max(initial=-1)) + 1
        key, size = key * width + (part + 1), size * width
    assert key is not None
    group, values = pd.factorize(key)
    first = np.empty(len(values), dtype=np.int64)
    first[group[::-1]] = np.arange(len(group) - 1, -1, -1)
    return group.astype(np.int64), first


def texts_at(df: pd.DataFrame, name: str, rows: Codes) -> list[str | None]:
    """A column's values at some positions; None where the value is missing or empty."""
    if name not in df.columns:
        return [None] * len(rows)
    values = df[name].iloc[rows].astype(object)
    return [value if isinstance(value, str) and value else None for value in values]


def tuples(owner: Codes, value: Codes, names: Sequence[Any], owners: int) -> list[tuple[Any, ...]]:
    """For each owner from 0, the names of its values in order of appearance, each once; -1 is no value."""
    kept = value >= 0
    width = len(names)
    pairs = pd.unique(owner[kept] * width + value[kept])
    pairs = pairs[np.argsort(pairs // max(width, 1), kind="stable")]
    ends = np.cumsum(np.bincount(pairs // max(width, 1), minlength=owners)) if width else np.zeros(owners, np.int64)
    found = [names[i] for i in (pairs % width).tolist()] if width else []
    starts = [0, *ends.tolist()]
    return [tuple(found[start:end]) for start, end in itertools.pairwise(starts)]


SHELL_COMMAND = re.compile(r"\S+(?: -\w+)*? -[a-z]*c\s+[\"']*([^\s\"';&|<>]+)", re.ASCII)
_SHELLS = frozenset(("sh", "bash", "dash", "ash", "zsh", "ksh"))


def commands(df: pd.DataFrame) -> tuple[Codes, list[str | None]]:
    """What ran, as numbers of names (-1: not known): the program; of a shell with `-c`, also what it starts first.

    `sh -c convert a.jpg b.jpg` is `sh -c convert`: a server that scales pictures runs `sh` all day, but not `sh -c id`.
    """
    program, cmdline = codes_of(df, "proc.name"), codes_of(df, "proc.cmdline")
    number, first = combined([program])
    shell = np.array([name in _SHELLS for name in texts_at(df, "proc.name", first)], dtype=bool)
    group, first = combined([program, np.where(shell[number], cmdline, -1)])
    found: dict[str, int] = {}
    numbers = []
    for name, line in zip(texts_at(df, "proc.name", first), texts_at(df, "proc.cmdline", first), strict=True):
        if name in _SHELLS and line and (match := SHELL_COMMAND.match(line)):
            name = f"{name} -c {match[1].rpartition('/')[2] or match[1]}"
        numbers.append(-1 if name is None else found.setdefault(name, len(found)))
    return np.array(numbers, dtype=np.int64)[group] if numbers else group, list(found)
