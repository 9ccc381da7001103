"""The steps of an incident."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from labkit.triage import incident, steps
from tests.labkit.triage.conftest import alert, as_categories


@pytest.fixture
def some(make: Any) -> pd.DataFrame:
    return make(
        alert("01:00", "A", proc_cmdline="x"),
        alert("01:01", "B", pod="db-0", proc_cmdline="y"),
        alert("01:02", "A", "Error", proc_cmdline="x"),
        alert("01:03", "A", proc_cmdline="z"),
        alert("01:04", "C", "Critical", proc_cmdline="z"),
    )


@pytest.mark.parametrize("kind", [lambda df: df, as_categories], ids=["as read", "categories"])
def test_the_same_command_and_rule_in_a_place_are_one_step(some: pd.DataFrame, kind: Any) -> None:
    table = steps(kind(some))
    assert table["place"].tolist() == ["shop/web-0"] * 3 + ["shop/db-0"]
    assert table["rule"].tolist() == ["A", "A", "C", "B"]
    assert table["command"].tolist() == ["x", "z", "z", "y"]
    assert table["alerts"].tolist() == [2, 1, 1, 1]
    assert table["priority"].tolist() == ["Error", "Notice", "Critical", "Notice"]
    assert table["first"].dt.minute.tolist() == [0, 3, 4, 1]
    assert table["last"].dt.minute.tolist() == [2, 3, 4, 1]
    assert [len(times) for times in table["times"]] == [2, 1, 1, 1]
    assert table["times"].iloc[0].tolist() == some["time"].iloc[[0, 2]].astype("int64").tolist()
    assert table.attrs == {"steps": 4, "alerts": 5, "places": 2, "untimed": 0}


def test_too_many_steps_become_one_per_rule_and_then_the_most_severe(some: pd.DataFrame) -> None:
    table = steps(some, n=3)
    assert table["rule"].tolist() == ["A", "C", "B"]
    assert table["command"].tolist() == ["2 commands", "z", "y"]
    severe = steps(some, n=2)
    assert severe["rule"].tolist() == ["A", "C"]
    assert severe.attrs["steps"] == 3


def test_alerts_without_a_time_are_counted(some: pd.DataFrame, empty: pd.DataFrame) -> None:
    some.loc[0, "time"] = pd.NaT
    table = steps(some)
    assert table["alerts"].sum() == 4
    assert table.attrs["untimed"] == 1
    nothing = steps(empty)
    assert nothing.empty
    assert nothing.dtypes.tolist() == table.dtypes.tolist()


def test_each_alert_of_an_incident_is_in_a_step(day: pd.DataFrame) -> None:
    alerts = incident(day)
    table = steps(alerts)
    assert table["alerts"].sum() == len(alerts) == sum(map(len, table["times"]))
