"""The steps of an incident: what was done, where and when, for a picture or a report."""

from __future__ import annotations

import numpy as np
import pandas as pd

from labkit.calls import checked
from labkit.triage.columns import codes, codes_of, combined, texts_at
from labkit.triage.places import UNKNOWN, places


@checked
def steps(df: pd.DataFrame, n: int = 60) -> pd.DataFrame:
    """Alerts of the same place, rule and command line as one step; places and steps in the order of time.

    If these are more than `n`, a step is all alerts of a place and a rule; if these are still more, the `n` with the
    highest priority are given. The index `step` numbers them from 0. Columns: `place`, `rule`, `command` (a command
    line, or how many different ones), string; `priority`: the highest, ordered categorical; `alerts`, int64; `first`,
    `last`, datetime64[ns, UTC]; `times`: numpy arrays of datetime64[ns] (UTC), sorted, one per alert. Alerts without a
    time are left out. `attrs` has `steps`, `alerts` and `places`, how many there are in all, and `untimed`, how many
    were left out for that.
    """
    timed = df[df["time"].notna()].sort_values("time", kind="stable")
    time = pd.DatetimeIndex(timed["time"]).as_unit("ns").asi8
    place = places(timed)
    at, rule, command = codes(place), codes_of(timed, "rule"), codes_of(timed, "proc.cmdline")
    group, first = combined([at, rule, command])
    merged = len(first) > n
    if merged:
        group, first = combined([at, rule])
    count = np.bincount(group, minlength=len(first))
    level = np.full(len(first), -1, dtype=np.int64)
    np.maximum.at(level, group, timed["priority"].cat.codes.to_numpy().astype(np.int64))
    commands = texts_at(timed, "proc.cmdline", first)
    if merged:
        _, different = combined([group, command])
        several = np.bincount(group[different], minlength=len(first)).tolist()
        commands = [text if m == 1 else f"{m:,} commands" for text, m in zip(commands, several, strict=True)]
    by_group = np.argsort(group, kind="stable")
    ends = np.cumsum(count)
    times = np.split(time[by_group].view("datetime64[ns]"), ends[:-1]) if len(first) else []
    spans = [
        pd.DatetimeIndex(t.view("datetime64[ns]")).tz_localize("UTC") for t in (time[first], time[by_group][ends - 1])
    ]
    table = pd.DataFrame(
        {
            "place": pd.array(place.iloc[first].tolist(), dtype="string"),
            "rule": pd.array([text or UNKNOWN for text in texts_at(timed, "rule", first)], dtype="string"),
            "command": pd.array(commands, dtype="string"),
            "priority": pd.Categorical.from_codes(
                level.tolist(), categories=df["priority"].cat.categories, ordered=True
            ),
            "alerts": count.astype(np.int64),
            "first": spans[0],
            "last": spans[1],
            "times": pd.Series(times, dtype=object),
        }
    )
    shown = table
    if len(table) > n:
        shown = table.sort_values("priority", ascending=False, kind="stable").head(n)
    begins = shown["first"].groupby(shown["place"]).transform("min")
    shown = shown.iloc[np.lexsort((shown.index, shown["first"], shown["place"].to_numpy(dtype=object), begins))]
    shown = shown.set_axis(pd.RangeIndex(len(shown), name="step"))
    shown.attrs = {
        "steps": len(table),
        "alerts": len(timed),
        "places": int(table["place"].nunique()),
        "untimed": len(df) - len(timed),
    }
    return shown
