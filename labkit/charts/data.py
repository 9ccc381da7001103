"""Counts of alerts for charts: small frames made from the frame of `labkit.alerts.read`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from labkit.alerts.mitre import TACTICS, tactics_of
from labkit.calls import checked
from labkit.triage.places import UNKNOWN, places

# Widths a reader can name, in seconds: from one second to thirty days.
_WIDTHS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 604800, 2592000]
_MOST_BARS = 60


@checked
def timeline_data(df: pd.DataFrame) -> pd.DataFrame:
    """Alerts per interval (rows: its start, UTC) and priority (columns: those that occur, least severe first); int64.

    There are at most 60 intervals, as narrow as that allows, with those without alerts. `attrs["width"]` is the length
    of an interval as a Timedelta.
    """
    times = df["time"].dropna()
    span = times.max().timestamp() - times.min().timestamp() if len(times) else 0.0
    seconds = next((w for w in _WIDTHS if span / w < _MOST_BARS - 1), _WIDTHS[-1])
    width = pd.Timedelta(seconds=seconds)
    start = df["time"].dt.floor(width)
    counts = _by_priority(df, start)
    if len(counts):
        every = pd.date_range(counts.index[0], counts.index[-1], freq=width, name="time").as_unit("ns")
        counts = counts.reindex(every, fill_value=0)
    counts.attrs = {"width": width}
    return counts


@checked
def top_rules_data(df: pd.DataFrame, n: int = 10) -> pd.DataFrame:
    """The `n` rules with the most alerts: `alerts` (count) and `priority` (the highest seen), most frequent first.

    `attrs` has `rules` (how many different ones there are in all) and `alerts` (their total).
    """
    rule = _rule(df)
    table = pd.DataFrame({"alerts": df.groupby(rule).size().astype("int64"), "priority": _highest(df, rule)})
    table = table.reset_index().sort_values(["alerts", "rule"], ascending=[False, True]).set_index("rule")
    top = table.head(n)
    top.attrs = {"rules": len(table), "alerts": len(df)}
    return top


@checked
def by_pod_data(df: pd.DataFrame, n: int = 15) -> pd.DataFrame:
    """Alerts per pod (rows, most alerts first, at most `n`) and priority (columns).

    A row is a place: `namespace/pod`, without a pod's name `container ID`, and `host NAME` for what ran outside of one.
    `attrs["pods"]` counts the rows there are in all.
    """
    counts = _by_priority(df, places(df).rename("pod"))
    order = counts.sum(axis=1).sort_values(ascending=False, kind="stable").index
    top = counts.loc[order].head(n)
    top.attrs = {"pods": len(counts)}
    return top


@checked
def tactics_data(df: pd.DataFrame) -> pd.DataFrame:
    """Alerts per MITRE ATT&CK tactic: all fourteen in the order of an intrusion, columns `id`, `alerts` and `rules`.

    An alert whose rule names several tactics counts for each; `attrs["untagged"]` counts those that name none.
    """
    tactic = pd.Series([tactics_of(tags) for tags in df["tags"]], index=df.index, dtype=object)
    exploded = pd.DataFrame({"tactic": tactic, "rule": df["rule"].astype("string")}).explode("tactic")
    named = exploded.dropna(subset=["tactic"])
    table = pd.DataFrame(
        {
            "id": pd.Series(TACTICS, dtype="string"),
            "alerts": named.groupby("tactic").size().reindex(list(TACTICS), fill_value=0).astype("int64"),
            "rules": named.groupby("tactic")["rule"].nunique().reindex(list(TACTICS), fill_value=0).astype("int64"),
        },
        index=pd.Index(list(TACTICS), name="tactic"),
    )
    table.attrs = {"untagged": int(exploded["tactic"].isna().sum())}
    return table


@checked
def summary_data(df: pd.DataFrame) -> pd.DataFrame:
    """One row per rule: `priority` (highest), `alerts`, `pods`, `first` and `last` (UTC); most severe first."""
    rule = _rule(df)
    grouped = df.assign(_location=places(df)).groupby(rule)
    table = pd.DataFrame(
        {
            "priority": _highest(df, rule),
            "alerts": grouped.size().astype("int64"),
            "pods": grouped["_location"].nunique().astype("int64"),
            "first": grouped["time"].min(),
            "last": grouped["time"].max(),
        }
    )
    return (
        table.reset_index()
        .sort_values(["priority", "alerts", "rule"], ascending=[False, False, True], kind="stable")
        .set_index("rule")
    )


@checked
def counts_data(compared: pd.DataFrame, n: int = 15) -> pd.DataFrame:
    """Totals of the frame of `labkit.respond.metrics.compare`: at most `n` rows, columns `alerts` and `metric` (Int64).

    Rows are the values that were counted by, most alerts first; without any, the latest periods (`HH:MM`, UTC), oldest
    first. `attrs` has the totals `alerts` and `metric` of all rows, and `differing`, the number of rows of `compared`
    in which the two differ.
    """
    (by,) = [name for name in compared.columns if name not in ("period", "alerts", "metric")] or ["period"]
    table = compared.groupby(by)[["alerts", "metric"]].sum()
    if by == "period":
        table = table.tail(n)
        table.index = pd.DatetimeIndex(table.index).strftime("%H:%M")
    else:
        table = table.reset_index().sort_values(["alerts", by], ascending=[False, True]).set_index(by).head(n)
    table.attrs.update({name: int(compared[name].sum()) for name in ("alerts", "metric")})
    table.attrs["differing"] = int((compared["alerts"] != compared["metric"]).sum())
    return table


def _by_priority(df: pd.DataFrame, key: pd.Series[Any]) -> pd.DataFrame:
    """Counts with `key`'s values as rows, and the priorities that occur as columns, least severe first."""
    levels = df["priority"].cat.categories
    present = [p for p in levels if (df["priority"] == p).any()]
    codes, rows = pd.factorize(key, sort=True)
    priority = df["priority"].cat.codes.to_numpy()
    kept = (codes >= 0) & (priority >= 0)
    table = np.zeros((len(rows), len(levels)), dtype="int64")
    np.add.at(table, (codes[kept], priority[kept]), 1)
    counts = pd.DataFrame(table, index=pd.Index(rows, name=key.name), columns=pd.Index(levels, name="priority"))
    return counts[present]


def _rule(df: pd.DataFrame) -> pd.Series[Any]:
    """Rule names as plain strings; an alert in Falco's text form has none."""
    return df["rule"].astype("string").fillna(UNKNOWN)


def _highest(df: pd.DataFrame, rule: pd.Series[Any]) -> pd.Series[Any]:
    """Each rule's highest priority, as the ordered categorical that `priority` is."""
    codes = df["priority"].cat.codes.groupby(rule).max()
    levels = df["priority"].cat.categories
    return pd.Series(pd.Categorical.from_codes(codes.tolist(), categories=levels, ordered=True), index=codes.index)
