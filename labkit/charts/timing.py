"""How long alerts took, as a distribution: from the system call to Falco's line, from there to CloudWatch Logs."""

from __future__ import annotations

import numpy as np
import pandas as pd

from labkit.alerts.delays import delays
from labkit.calls import checked

STAGES = ("printed", "shipped", "total")
_PER_DECADE = 10


@checked
def latency_data(df: pd.DataFrame) -> pd.DataFrame:
    """What `df.falco.delays()` says of each alert, summed up: a row per stage, `printed`, `shipped` and `total`.

    Columns: `alerts`, `missing` (a time is missing) and `negative` (the clocks of node and AWS differ), int64; and in
    milliseconds, Float64, missing without alerts: `min`, `median`, `p90`, `p99`, `max`. Negative ones are among them.
    """
    took = delays(df)
    rows = {}
    for stage in STAGES:
        known = took[stage].dropna().to_numpy(dtype="int64")
        marks = np.percentile(known, [0, 50, 90, 99, 100]) if len(known) else [None] * 5
        rows[stage] = [len(known), len(took) - len(known), int((known < 0).sum()), *marks]
    columns = ["alerts", "missing", "negative", "min", "median", "p90", "p99", "max"]
    table = pd.DataFrame.from_dict(rows, orient="index", columns=columns)
    table.index.name = "stage"
    return table.astype(dict.fromkeys(columns[:3], "int64") | dict.fromkeys(columns[3:], "Float64"))


@checked
def latency_histogram_data(df: pd.DataFrame) -> pd.DataFrame:
    """Alerts by how long a stage took: rows are intervals of milliseconds, columns the stages of `latency_data`; int64.

    Intervals include their start and are at most ten to a power of ten, with whole numbers as bounds. The first one,
    [0, 1), holds negative ones, too.
    """
    took = delays(df)
    known = [took[stage].dropna().to_numpy(dtype="int64") for stage in STAGES]
    highest = max((int(values.max()) for values in known if len(values)), default=0)
    steps = int(np.ceil(np.log10(highest + 1) * _PER_DECADE))
    edges = np.unique([0, *np.ceil(np.round(np.power(10, np.arange(steps + 1) / _PER_DECADE), 9)).astype(np.int64)])
    table = {}
    for stage, values in zip(STAGES, known, strict=True):
        place = np.searchsorted(edges, np.clip(values, 0, None), side="right") - 1
        table[stage] = np.bincount(place, minlength=len(edges) - 1).astype(np.int64)
    return pd.DataFrame(table, index=pd.IntervalIndex.from_breaks(edges, closed="left", name="milliseconds"))
