"""What is new or rare."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from labkit.errors import LabError
from labkit.triage import first_seen, incidents, rare
from tests.labkit.triage.conftest import alert, as_categories


@pytest.fixture
def some(make: Any) -> pd.DataFrame:
    return make(
        *(alert(f"0{n}:00", "Noisy", pod=f"web-{n % 2}") for n in range(8)),
        alert("03:30", "Rare", "Error", proc_name="nc", proc_cmdline="nc -l"),
        alert("04:30", "Rare", "Error", image=None),
        alert("05:30", "Noisy", proc_name="nc", proc_cmdline="nc x"),
    )


def test_when_each_combination_was_seen_first(some: pd.DataFrame) -> None:
    table = first_seen(some, ["rule", "program"])
    assert list(table.columns) == ["rule", "program", "first", "last", "alerts", "places"]
    assert table[["rule", "program"]].astype(str).to_numpy().tolist() == [
        ["Noisy", "ls"],
        ["Rare", "nc"],
        ["Rare", "ls"],
        ["Noisy", "nc"],
    ]
    assert table["first"].dt.hour.tolist() == [0, 3, 4, 5]
    assert table["last"].dt.hour.tolist() == [7, 3, 4, 5]
    assert table["alerts"].tolist() == [8, 1, 1, 1]
    assert table["places"].tolist() == [2, 1, 1, 1]
    assert str(table["first"].dtype) == "datetime64[ns, UTC]"
    assert table["alerts"].dtype == table["places"].dtype == "int64"


@pytest.mark.parametrize("by", ["rule", "place", "command", "image", "k8s.pod.name", "user.uid", "priority"])
def test_one_part_or_any_column_will_do(some: pd.DataFrame, by: str) -> None:
    assert first_seen(some, by)["alerts"].sum() == len(some)
    pd.testing.assert_frame_equal(
        first_seen(as_categories(some), by).astype({by: str}), first_seen(some, by).astype({by: str})
    )


def test_what_is_rare_and_why(some: pd.DataFrame) -> None:
    found = rare(some, ["rule", "program"], n=1)
    assert found.index.tolist() == sorted(found.index, key=lambda row: some.loc[row, "time"])
    assert some.loc[found.index, "rule"].tolist() == ["Rare", "Rare", "Noisy"]
    assert found["why"].tolist() == ["rule + program: 1 of 11 alerts"] * 3
    assert list(found.columns) == ["time", "priority", "rule", "place", "command line", "alerts", "share", "why"]
    assert found["share"].tolist() == pytest.approx([1 / 11] * 3)
    alone = rare(some, ["rule", "command"], n=2)
    assert len(alone) == 3
    assert rare(some, "rule", n=2)["why"].tolist() == ["rule Rare: 2 alerts in all"] * 2
    assert rare(some, "image", n=1)["why"].tolist() == ["image (none): 1 alert in all"]
    assert len(rare(some, "rule", share=0.2)) == 2
    assert rare(some, "rule", share=0.1).empty


def test_rare_alerts_of_a_day_have_its_intruder(day: pd.DataFrame) -> None:
    found = rare(day)
    assert 0 < len(found) < len(day) / 5
    assert incidents(day.loc[found.index])["score"].iloc[0] > 20


def test_nothing_is_rare_or_new_in_nothing(empty: pd.DataFrame) -> None:
    assert rare(empty).empty
    assert first_seen(empty).empty
    assert list(first_seen(empty, "place").columns) == ["place", "first", "last", "alerts", "places"]


def test_what_can_not_be_combined(some: pd.DataFrame) -> None:
    with pytest.raises(LabError, match="neither a column nor one of rule, place") as refused:
        first_seen(some, "comand")
    assert "'command'" in str(refused.value.hint)
    with pytest.raises(LabError, match="by is empty"):
        rare(some, [])
    with pytest.raises(LabError, match="share is 2"):
        rare(some, share=2.0)
    with pytest.raises(LabError, match="whole number"):
        rare(some, n=0)


def test_a_part_without_its_column_is_missing(some: pd.DataFrame) -> None:
    few = some[["time", "rule", "priority", "tags"]]
    assert first_seen(few)["image"].isna().all()
    assert rare(few, n=2)["why"].tolist() == ["rule Rare: 2 alerts in all"] * 2


def test_alerts_without_a_time_are_last(some: pd.DataFrame) -> None:
    some.loc[0, "time"] = pd.NaT
    some["rule"] = some["rule"].astype("string")
    some.loc[0, "rule"] = "Untimed"
    table = first_seen(some, "rule")
    assert table["rule"].iloc[-1] == "Untimed"
    assert table["first"].isna().tolist() == [False, False, True]


def test_rare_alerts_are_displayed_as_a_table_of_the_first(day: pd.DataFrame) -> None:
    found = rare(day)
    shown = repr(found)
    assert shown.startswith(f"{len(found)} rare alerts; the first 20 are shown")
    assert found["why"].iloc[0].split(":")[0] in shown
    page = str(found._repr_html_())
    assert page.count("<tr") == 21
    assert "<script>" not in str(rare(day.assign(**{"proc.cmdline": "<script>"}))._repr_html_())
    assert type(found[["time", "why"]]).__name__ == "Rare"
    assert "rare alerts" not in repr(found[["time", "why"]])
