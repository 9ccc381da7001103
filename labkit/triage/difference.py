"""Two frames of alerts compared: before and after a rule was tuned, yesterday and today."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from labkit.calls import checked, texts
from labkit.errors import LabError
from labkit.triage.novelty import column_of

STATES = ("new", "gone", "more", "less", "same")
_STATE = pd.CategoricalDtype(list(STATES))


@checked
def compare(before: pd.DataFrame, after: pd.DataFrame, by: str | Sequence[str] = ("rule", "place")) -> pd.DataFrame:
    """How many alerts there were of each rule and place in either frame: what is new, gone, more, less, or the same.

    `by` takes what `first_seen` takes; each name is compared on its own. Columns: `by`, `name` (text); `before`,
    `after`, `change` (`after - before`), int64; `state`, categorical: new, gone, more, less or same. The largest change
    of a `by` is on top. These are counts: compare times of equal length. Raises `LabError` for an unknown name.
    """
    kinds = list(dict.fromkeys(texts(by, "by")))
    tables = [_by_one(before, after, kind) for kind in kinds]
    if not tables:
        raise LabError("by is empty.", hint='Give it "rule", "place" or another name of what is counted.')
    return pd.concat(tables, ignore_index=True)


def _by_one(before: pd.DataFrame, after: pd.DataFrame, kind: str) -> pd.DataFrame:
    counts = [column_of(df, kind).astype("string").fillna("(none)").value_counts() for df in (before, after)]
    names = counts[0].index.union(counts[1].index, sort=False)
    old, new = (count.reindex(names, fill_value=0).to_numpy(dtype=np.int64) for count in counts)
    state = np.select([old == 0, new == 0, new > old, new < old], [0, 1, 2, 3], 4)
    table = pd.DataFrame(
        {
            "by": pd.array([kind] * len(names), dtype="string"),
            "name": pd.array(list(names), dtype="string"),
            "before": old,
            "after": new,
            "change": new - old,
            "state": pd.Categorical.from_codes(state.tolist(), dtype=_STATE),
        }
    )
    order = np.lexsort((table["name"].to_numpy(dtype=object), -np.maximum(old, new), -np.abs(new - old)))
    return table.iloc[order]
