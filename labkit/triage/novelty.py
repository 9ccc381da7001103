"""What is new or rare: combinations of a rule, an image, a command ..., and how often they occur."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from labkit.calls import checked, near, short_repr, texts
from labkit.errors import LabError
from labkit.show import counted
from labkit.triage.columns import Codes, codes, combined, commands
from labkit.triage.display import Rare
from labkit.triage.places import places

PARTS = {
    "rule": "rule",
    "place": "pod, container or node",
    "command": "the program; of a shell with -c, also what it starts",
    "pod": "k8s.pod.name",
    "namespace": "k8s.ns.name",
    "image": "container.image.repository",
    "program": "proc.name",
    "parent": "proc.pname",
    "user": "user.name",
    "node": "hostname",
}
"""Short names of what a combination can consist of, and what they stand for. Any column of the frame will do, too."""

COMBINATION = ("rule", "image", "command")


@checked
def first_seen(df: pd.DataFrame, by: str | Sequence[str] = COMBINATION) -> pd.DataFrame:
    """One row per combination of `by` (names of `PARTS`, or columns): when it was seen first, the earliest on top.

    Columns: those of `by`; `first` and `last`, datetime64[ns, UTC], NaT if no alert of it has a time; `alerts` and
    `places` (of how many different ones), int64. Missing values are a value of their own. Raises `LabError` for a name
    that is neither.
    """
    names, columns = _columns(df, by)
    group, first = combined(codes(column) for column in columns)
    grouped = df["time"].groupby(group, sort=True)
    place = places(df).cat.codes.to_numpy().astype(np.int64)
    _, at_place = combined([group, place])
    table = pd.DataFrame(
        {
            **{n: column.iloc[first].reset_index(drop=True) for n, column in zip(names, columns, strict=True)},
            "first": grouped.min(),
            "last": grouped.max(),
            "alerts": np.bincount(group, minlength=len(first)).astype(np.int64),
            "places": np.bincount(group[at_place], minlength=len(first)).astype(np.int64),
        }
    )
    return _sorted(table, ["first", "last"], names).reset_index(drop=True)


@checked
def rare(
    df: pd.DataFrame, by: str | Sequence[str] = COMBINATION, n: int = 3, share: float | None = None
) -> pd.DataFrame:
    """Alerts of combinations of `by` that occur at most `n` times; with `share` (0 to 1), less often than that share.

    The rows have the index of `df`: `df.loc[rare(df).index]` are the alerts. Rarest first, then in the order of time.
    Columns: `time`, `priority`, `rule`, `place`, `command line`; `alerts`, int64, and `share`, float64, of the
    combination; `why`, text. Raises `LabError` for a name that is neither a part nor a column, or another `share`.
    """
    if share is not None and not 0 <= share <= 1:
        raise LabError(
            f"share is {short_repr(share)}.", hint="Give it a number from 0 to 1: 0.001 is one in a thousand."
        )
    names, columns = _columns(df, by)
    parts = [codes(column) for column in columns]
    group, first = combined(parts)
    count = np.bincount(group, minlength=len(first)).astype(np.int64)
    total = len(df)
    seldom = count <= n if share is None else count < share * total
    reasons = _reasons(names, columns, parts, first, count, seldom, total)
    kept = np.flatnonzero(seldom[group])
    found = df.iloc[kept]
    table = pd.DataFrame(
        {
            "time": found["time"],
            "priority": found["priority"],
            "rule": found["rule"],
            "place": places(df).iloc[kept],
            "command line": found["proc.cmdline"] if "proc.cmdline" in df.columns else pd.NA,
            "alerts": count[group[kept]],
            "share": count[group[kept]] / max(total, 1),
            "why": pd.array([reasons[i] for i in group[kept].tolist()], dtype="string"),
        },
        index=found.index,
    )
    return Rare(table.sort_values(["alerts", "time"], kind="stable"))


def _reasons(
    names: list[str],
    columns: list[pd.Series[Any]],
    parts: list[Codes],
    first: Codes,
    count: Codes,
    seldom: Any,
    total: int,
) -> list[str]:
    """Why a combination is rare: the value that is rarest by itself, or that only all together are."""
    of_part = [np.bincount(part + 1) for part in parts]
    reasons = [""] * len(first)
    for i in np.flatnonzero(seldom).tolist():
        row = first[i]
        alone = [int(counts[part[row] + 1]) for counts, part in zip(of_part, parts, strict=True)]
        rarest = int(np.argmin(alone))
        if alone[rarest] == count[i]:
            value = columns[rarest].iloc[row]
            value = "(none)" if pd.isna(value) else value
            reasons[i] = f"{names[rarest]} {value}: {counted(alone[rarest], 'alert')} in all"
        else:
            reasons[i] = f"{' + '.join(names)}: {count[i]:,} of {counted(total, 'alert')}"
    return reasons


def _columns(df: pd.DataFrame, by: str | Sequence[str]) -> tuple[list[str], list[pd.Series[Any]]]:
    """The names and values of the parts of a combination."""
    names = list(dict.fromkeys(texts(by, "by")))
    if not names:
        raise LabError("by is empty.", hint=f"It takes {', '.join(PARTS)}, or columns of the frame.")
    return names, [column_of(df, name) for name in names]


def column_of(df: pd.DataFrame, name: str) -> pd.Series[Any]:
    """A column by its name or by the short name of a part. Raises `LabError` if it is neither."""
    if name == "place":
        return places(df)
    if name == "command":
        number, values = commands(df)
        return pd.Series(pd.Categorical.from_codes(number, categories=pd.Index(values, dtype="str")), index=df.index)
    column = PARTS.get(name, name)
    if column in df.columns:
        return df[column]
    if name in PARTS:  # selected away: missing in each row
        return pd.Series(pd.array([None] * len(df), dtype="string"), index=df.index)
    raise LabError(
        f"by is {short_repr(name)}, which is neither a column nor one of {', '.join(PARTS)}.",
        hint=near(name, [*PARTS, *df.columns]).strip(),
    )


def _sorted(table: pd.DataFrame, times: list[str], names: list[str]) -> pd.DataFrame:
    """By times, then by the texts of what is combined."""
    return table.sort_values(
        [*times, *names], kind="stable", key=lambda c: c if c.name in times else c.astype("string").fillna("")
    )
