"""Two frames compared."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from labkit.errors import LabError
from labkit.triage import compare
from tests.labkit.triage.conftest import alert, as_categories


@pytest.mark.parametrize("kind", [lambda df: df, as_categories], ids=["text", "categories"])
def test_what_is_new_gone_more_less_and_the_same(make: Any, kind: Any) -> None:
    def counts(**rules: int) -> pd.DataFrame:
        return kind(make(*(alert("01:00", rule, pod=rule) for rule, n in rules.items() for _ in range(n))))

    table = compare(counts(gone=2, more=1, less=9, same=3), counts(new=1, more=2, less=1, same=3))
    rules = table[table["by"] == "rule"].set_index("name")
    assert rules.index.tolist() == ["less", "gone", "more", "new", "same"]
    assert rules["state"].tolist() == rules.index.tolist()
    assert rules["before"].tolist() == [9, 2, 1, 0, 3]
    assert rules["after"].tolist() == [1, 0, 2, 1, 3]
    assert rules["change"].tolist() == [-8, -2, 1, 1, 0]
    assert table["by"].tolist() == ["rule"] * 5 + ["place"] * 5
    assert table["name"].iloc[5] == "shop/less"
    assert table[["before", "after", "change"]].dtypes.tolist() == ["int64"] * 3


def test_nothing_and_something(make: Any, empty: pd.DataFrame) -> None:
    some = make(alert("01:00"))
    assert compare(empty, empty).empty
    assert compare(empty, some)["state"].tolist() == ["new", "new"]
    assert compare(some, empty)["state"].tolist() == ["gone", "gone"]
    assert compare(some, some, by="user")["name"].tolist() == ["root"]
    assert compare(some, some, by="fd.name")["name"].tolist() == ["(none)"]


def test_what_can_not_be_compared(make: Any) -> None:
    some = make(alert("01:00"))
    with pytest.raises(LabError, match="neither a column"):
        compare(some, some, by="nonsense")
    with pytest.raises(LabError, match="by is empty"):
        compare(some, some, by=[])
    with pytest.raises(LabError, match="no column 'priority'"):
        compare(some, pd.DataFrame({"time": [], "rule": [], "tags": []}))
