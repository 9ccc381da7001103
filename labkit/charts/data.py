"""Counts of alerts for charts: small frames made from the frame of `labkit.alerts.read`.

A million alerts are counted in less than a second: texts are compared as numbers.
"""

from __future__ import annotations

from datetime import timedelta, tzinfo
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

import numpy as np
import pandas as pd

from labkit.alerts.mitre import TACTICS, tactics_of
from labkit.calls import checked, near, short_repr
from labkit.errors import LabError
from labkit.triage.columns import Codes, codes
from labkit.triage.places import UNKNOWN, places

NO_PRIORITY = "(no priority)"
"""Stands for the priority of an alert whose priority Falco doesn't know."""

_MINUTE, _HOUR, _DAY = 60, 3600, 86400
# Widths a reader can name, in seconds.
_WIDTHS = [
    *(1, 2, 5, 10, 15, 30),
    *(n * _MINUTE for n in (1, 2, 5, 10, 15, 30)),
    *(n * _HOUR for n in (1, 2, 3, 6, 12)),
    *(n * _DAY for n in (1, 2, 7, 30, 90, 365, 3650)),
]
_MOST_BARS = 60
_MONDAY = 4 * _DAY  # seconds since the epoch; weeks begin on one


@checked
def timeline_data(df: pd.DataFrame, tz: str | tzinfo = "UTC") -> pd.DataFrame:
    """Alerts per interval (rows: its start) and priority (columns: those that occur, least severe first); int64.

    There are at most 60 intervals, as narrow as that allows, with those without alerts. They begin at whole minutes,
    hours, days and Mondays of the time zone `tz`, in which the index is; where its clocks change, an interval of hours
    or days can be an hour longer or shorter. `attrs` has `width` (Timedelta, as long as an interval usually is), `end`
    (of the last one) and `untimed` (alerts without a time, which are not counted).
    """
    zone = time_zone(tz)
    happened = df["time"].dt.tz_localize(None).to_numpy(dtype="datetime64[ns]")
    timed = ~np.isnat(happened)
    whole = happened[timed].astype("datetime64[s]")  # nanoseconds can't hold centuries
    attrs: dict[str, Any] = {"width": pd.Timedelta(seconds=1), "end": pd.NaT, "untimed": int((~timed).sum())}
    edges = pd.DatetimeIndex([], tz=zone).as_unit("s")
    if len(whole):
        first, last = (pd.Timestamp(time).tz_localize("UTC") for time in (whole.min(), whole.max()))
        span = last.timestamp() - first.timestamp()
        width = next((w for w in _WIDTHS if span / w < _MOST_BARS - 1), _WIDTHS[-1])
        edges = _edges(first.tz_convert(zone), last.tz_convert(zone), width)
        attrs |= {"width": pd.Timedelta(seconds=width), "end": edges[-1]}
    interval = np.full(len(df), -1, dtype=np.int64)
    starts = edges.tz_convert("UTC").tz_localize(None).to_numpy(dtype="datetime64[s]")
    interval[timed] = np.searchsorted(starts, whole, side="right") - 1
    counts = _by_priority(df, interval, edges[:-1].rename("time"))
    counts.attrs.update(attrs)
    return counts


def _edges(first: pd.Timestamp, last: pd.Timestamp, width: int) -> pd.DatetimeIndex:
    """Where intervals of `width` seconds begin, and where the last one ends, by the clocks of the times' zone."""
    zone = first.tz
    if width <= _HOUR:  # each as long as any other, whatever the clocks do
        offset = (first.utcoffset() or timedelta()) // timedelta(seconds=1)
        start = int(first.timestamp()) - (int(first.timestamp()) + offset) % width
        return pd.to_datetime(
            np.arange(start, int(last.timestamp()) + width + 1, width), unit="s", utc=True
        ).tz_convert(zone)
    # By the clock on the wall: its time as if it were UTC.
    begin, end = (int(time.tz_localize(None).tz_localize("UTC").timestamp()) for time in (first, last))
    start = begin - (begin - (_MONDAY if width == 7 * _DAY else 0)) % width
    walls = pd.to_datetime(np.arange(start, end + width + 1, width), unit="s")
    edges = walls.tz_localize(zone, ambiguous=np.ones(len(walls), bool), nonexistent="shift_forward")
    return edges.unique().sort_values()  # where clocks skip a whole day, pandas shifts some too far


@checked
def time_zone(tz: object) -> tzinfo:
    """A time zone of its name, such as `Europe/Berlin`. Raises `LabError` if there is none of that name."""
    if isinstance(tz, tzinfo):
        return tz
    try:
        return ZoneInfo(str(tz))
    except (ZoneInfoNotFoundError, ValueError, OSError):
        similar = near(tz, available_timezones(), cutoff=0.7)
        hint = f'{similar}Give it a name such as "Europe/Berlin", "America/New_York" or "UTC".'
        raise LabError(f"There is no time zone {short_repr(tz)}.", hint=hint) from None


@checked
def top_rules_data(df: pd.DataFrame, n: int = 10) -> pd.DataFrame:
    """The `n` rules with the most alerts: `alerts` (int64) and `priority` (the highest seen), most frequent first.

    `attrs` has `rules` (how many different ones there are in all) and `alerts` (their total).
    """
    rule, names = _rules(df)
    by_priority = _table(rule, len(names), df)
    table = pd.DataFrame({"alerts": by_priority.sum(axis=1), "priority": _highest(by_priority, df)}, index=names)
    table = table.sort_values("alerts", ascending=False, kind="stable")
    top = table.head(n)
    top.attrs = {"rules": len(table), "alerts": len(df)}
    return top


@checked
def noise_data(df: pd.DataFrame) -> pd.DataFrame:
    """Each rule's `alerts` (int64), `share` of all alerts and the `cumulative` share of it and those before (0 to 1).

    Most alerts first. `attrs` has `alerts` (their total) and `most`, the number of rules that raised 80% of them.
    """
    rule, names = _rules(df)
    table = pd.DataFrame({"alerts": np.bincount(rule, minlength=len(names)).astype(np.int64)}, index=names)
    table = table.sort_values("alerts", ascending=False, kind="stable")
    total = len(df)
    upto = table["alerts"].cumsum()
    table["share"] = table["alerts"] / max(total, 1)
    table["cumulative"] = upto / max(total, 1)
    table.attrs = {"alerts": total, "most": int((upto * 5 < total * 4).sum()) + 1 if total else 0}
    return table


@checked
def by_pod_data(df: pd.DataFrame, n: int = 15) -> pd.DataFrame:
    """Alerts per pod (rows, most alerts first, at most `n`) and priority (columns, those that occur); int64.

    A row is a place: `namespace/pod`, without a pod's name `container ID`, and `host NAME` for what ran outside of one.
    `attrs["pods"]` counts the rows there are in all.
    """
    place = places(df)
    counts = _by_priority(df, codes(place), pd.Index(place.cat.categories, name="pod"))
    order = counts.sum(axis=1).sort_values(ascending=False, kind="stable").index
    top = counts.loc[order].head(n)
    top.attrs = {"pods": len(counts)}
    return top


@checked
def heat_map_data(df: pd.DataFrame, pods: int = 30, rules: int = 20) -> pd.DataFrame:
    """Alerts per pod (rows) and rule (columns); int64.

    Rows are places as in `by_pod_data`, those where most different rules alerted first, then those with most alerts: an
    intruder trips many rules, noise few. Columns are the most severe rules first, then those with most alerts. Of each
    there are at most `pods` and `rules`. `attrs` has `pods`, `rules` and `alerts` (how many there are in all) and
    `priorities`, each column's highest priority (None if it has none).
    """
    for name, value in (("pods", pods), ("rules", rules)):
        if not 1 <= value <= 200:
            raise LabError(f"{name} is {value}.", hint="It has to be a whole number from 1 to 200.")
    rule, rule_names = _rules(df)
    place = places(df)
    wide, high = len(rule_names), len(place.cat.categories)
    cells = np.bincount(codes(place) * wide + rule, minlength=high * wide).astype(np.int64)
    table = pd.DataFrame(
        cells.reshape(high, wide), index=pd.Index(place.cat.categories, name="pod"), columns=rule_names
    )
    priority = pd.Series(_highest(_table(rule, wide, df), df), index=rule_names)
    order = pd.DataFrame({"priority": priority, "alerts": table.sum()})
    columns = order.sort_values(["priority", "alerts"], ascending=False, kind="stable", na_position="last").index
    ranked = pd.DataFrame({"rules": (table > 0).sum(axis=1), "alerts": table.sum(axis=1)})
    index = ranked.sort_values(["rules", "alerts"], ascending=False, kind="stable").index
    shown = table.loc[index[:pods], columns[:rules]]
    named = [None if pd.isna(p) else str(p) for p in priority[shown.columns]]
    shown.attrs = {"pods": high, "rules": wide, "alerts": len(df), "priorities": named}
    return shown


@checked
def tactics_data(df: pd.DataFrame) -> pd.DataFrame:
    """Alerts per MITRE ATT&CK tactic: all fourteen in the order of an intrusion, columns `id`, `alerts` and `rules`.

    An alert whose rule names several tactics counts for each; `attrs["untagged"]` counts those that name none.
    """
    pairs = tagged(df)
    pairs["tactic"] = pd.Series([list(dict.fromkeys(tactics_of(tags))) for tags in pairs["tags"]], dtype=object)
    named = pairs.explode("tactic")
    grouped = named.dropna(subset=["tactic"]).groupby("tactic")
    table = pd.DataFrame(
        {
            "id": pd.Series(TACTICS, dtype="string"),
            "alerts": grouped["alerts"].sum().reindex(list(TACTICS), fill_value=0).astype("int64"),
            "rules": grouped["rule"].nunique().reindex(list(TACTICS), fill_value=0).astype("int64"),
        },
        index=pd.Index(list(TACTICS), name="tactic"),
    )
    table.attrs = {"untagged": int(named.loc[named["tactic"].isna(), "alerts"].sum())}
    return table


@checked
def tagged(df: pd.DataFrame) -> pd.DataFrame:
    """The combinations of `rule` and `tags` (a tuple) that occur, and how many `alerts` have each."""
    rule, names = _rules(df)
    number: dict[tuple[str, ...], int] = {}
    tags = np.fromiter((number.setdefault(tuple(t), len(number)) for t in df["tags"].to_numpy()), np.int64, len(df))
    size = max(len(number), 1)
    pairs, alerts = np.unique(rule * size + tags, return_counts=True)
    known = list(number)
    return pd.DataFrame(
        {
            "rule": [names[i] for i in pairs // size],
            "tags": pd.Series([known[i] for i in pairs % size], dtype=object),
            "alerts": alerts.astype(np.int64),
        }
    )


@checked
def summary_data(df: pd.DataFrame) -> pd.DataFrame:
    """One row per rule: `priority` (highest), `alerts`, `pods`, `first` and `last` (UTC); most severe first."""
    code, names = _rules(df)
    rule = pd.Series(pd.Categorical.from_codes(code, categories=names), index=df.index, name="rule")
    grouped = df[["time"]].assign(_place=places(df)).groupby(rule, observed=True)
    by_priority = _table(code, len(names), df)
    table = pd.DataFrame(
        {
            "priority": _highest(by_priority, df),
            "alerts": by_priority.sum(axis=1),
            "pods": grouped["_place"].nunique().to_numpy(dtype="int64"),
            "first": grouped["time"].min().array,
            "last": grouped["time"].max().array,
        },
        index=names,
    )
    return table.sort_values(["priority", "alerts"], ascending=False, kind="stable")


@checked
def before_after_data(before: pd.DataFrame, after: pd.DataFrame, n: int = 15) -> pd.DataFrame:
    """Each rule's alerts in two frames: `before`, `after` and `change` (the difference); int64, at most `n` rules.

    The largest changes first, then the most alerts. `attrs` has `before` and `after` (totals of all rules), `rules`
    (how many there are in all) and `changed` (how many of them differ).
    """
    sizes = []
    for df in (before, after):
        rule, names = _rules(df)
        sizes.append(pd.Series(np.bincount(rule, minlength=len(names)), index=names))
    table = pd.DataFrame(dict(zip(("before", "after"), sizes, strict=True))).fillna(0).astype("int64")
    table["change"] = table["after"] - table["before"]
    size = pd.DataFrame({"by": table["change"].abs(), "alerts": table["before"] + table["after"]})
    order = size.sort_values(["by", "alerts"], ascending=False, kind="stable").index
    top = table.loc[order].head(n)
    top.index.name = "rule"
    top.attrs = {"before": len(before), "after": len(after), "rules": len(table)}
    top.attrs["changed"] = int((table["change"] != 0).sum())
    return top


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


def _by_priority(df: pd.DataFrame, row: Codes, names: pd.Index[Any]) -> pd.DataFrame:
    """Counts with `names` as rows, and the priorities that occur as columns, least severe first; -1 is no row."""
    table = _table(row, len(names), df)
    levels = [NO_PRIORITY, *df["priority"].cat.categories]
    counts = pd.DataFrame(table, index=names, columns=pd.Index(levels, name="priority"))
    return counts[[name for name, any_ in zip(levels, table.any(axis=0), strict=True) if any_]]


def _table(row: Codes, rows: int, df: pd.DataFrame) -> Any:
    """Counts by row and priority, of which the first is none; -1 is no row."""
    priority = codes(df["priority"]) + 1
    across = len(df["priority"].cat.categories) + 1
    return np.bincount((row * across + priority)[row >= 0], minlength=rows * across).reshape(rows, across)


def _rules(df: pd.DataFrame) -> tuple[Codes, pd.Index[Any]]:
    """A number from 0 for each alert's rule, and the rules' names, sorted; an alert in Falco's text form has none."""
    number, found = codes(df["rule"]), df["rule"]
    known = list(found.cat.categories if isinstance(found.dtype, pd.CategoricalDtype) else pd.factorize(found)[1])
    used = np.flatnonzero(np.bincount(number[number >= 0], minlength=len(known))).tolist()
    texts = [UNKNOWN, *(str(known[i]) for i in used)]
    order, names = pd.factorize(np.array(texts, dtype=object), sort=True)
    row = np.full(len(known) + 1, order[0], dtype=np.int64)  # the last one, -1, is the rule of those without a name
    row[used] = order[1:]
    rule = row[number]
    kept = np.bincount(rule, minlength=len(names)) > 0
    return (np.cumsum(kept) - 1)[rule], pd.Index(names[kept], dtype="str", name="rule")


def _highest(table: Any, df: pd.DataFrame) -> Any:
    """Each row's highest priority, as the ordered categorical that `priority` is."""
    highest = np.where(table.any(axis=1), table.shape[1] - 1 - (table[:, ::-1] > 0).argmax(axis=1), 0) - 1
    return pd.Categorical.from_codes(highest.tolist(), categories=df["priority"].cat.categories, ordered=True)
