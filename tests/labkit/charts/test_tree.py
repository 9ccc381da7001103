"""The process tree as a picture."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
import pandas as pd
import pytest
from matplotlib.figure import Figure

from labkit.charts import process_tree
from labkit.triage import processes
from tests.labkit.charts.incidents import intrusion, many, odd, untidy
from tests.labkit.charts.test_pictures import picture


def texts(ax: Any) -> list[str]:
    return [text.get_text() for text in ax.texts]


@pytest.mark.parametrize(
    ("what", "dpi"),
    [("intrusion", 96), ("intrusion", 192), ("captured", 192), ("odd", 96), ("many", 96), ("one", 192)],
)
def test_no_text_covers_another_or_is_cut_off(what: str, dpi: float, make: Any, captured: pd.DataFrame) -> None:
    frames = {
        "intrusion": intrusion,
        "captured": lambda: captured,
        "odd": lambda: odd(make),
        "many": lambda: many(make, 300),
        "one": lambda: captured[:1],
    }
    assert untidy(process_tree(frames[what]()), dpi) == []


def test_each_process_has_its_command_line_time_user_and_badges(make: Any) -> None:
    def alert(time: str, rule: str, command: str, user: str) -> dict[str, Any]:
        fields = {"proc.cmdline": command, "proc.pname": "nginx", "user.name": user, "proc.pid": 31}
        return {"time": f"2026-11-23T{time}Z", "rule": rule, "fields": fields}

    df = make(
        alert("04:00:01", "One", "sh -c id", "www"),
        alert("04:00:02", "Two", "sh -c id", "www"),
        alert("04:00:03", "Two", "sh -c id", "www"),
        alert("04:00:04", "One", "ls $x$", "root"),
    )
    said = texts(process_tree(df))
    for text in ("nginx", "sh -c id", "04:00:01", "www pid 31", "One", "Two ×2", "ls $x$", "shop/web-0"):
        assert text in said
    assert "04:00:02" not in said
    assert any("4 alerts in 1 place; 23 November 2026, 04:00:01 to 04:00:04 UTC" in text for text in said)


def test_one_user_of_a_place_is_named_once(make: Any) -> None:
    df = make({"fields": {"proc.cmdline": "a"}}, {"fields": {"proc.cmdline": "b"}})
    said = texts(process_tree(df))
    assert "as root" in said
    assert "user" not in said


def test_what_does_not_fit_is_counted(make: Any) -> None:
    df = many(make, 300)
    ax = process_tree(df)
    (left,) = [text for text in texts(ax) if "left out" in text]
    table = processes(df)
    assert left.startswith(f"… {len(table) - 60:,} processes with ") or int(left.split()[1]) >= len(table) - 60
    _, given = plt.subplots(figsize=(8, 3))
    fewer = process_tree(df, ax=given)
    assert fewer is given
    assert len(texts(fewer)) < len(texts(ax))
    assert any("left out" in text for text in texts(fewer))
    assert process_tree(df, figsize=(8, 3)).figure.get_size_inches().tolist() == [8, 3]
    plt.close("all")


def test_severe_alerts_are_drawn_before_others(make: Any) -> None:
    calm = [{"priority": "Debug", "fields": {"proc.cmdline": f"calm {i}", "proc.pname": "x"}} for i in range(70)]
    df = make(*calm, {"priority": "Critical", "fields": {"proc.cmdline": "grave", "proc.pname": "x"}})
    said = texts(process_tree(df))
    assert "grave" in said
    assert sum(text.startswith("calm") for text in said) == 58  # with the parent, sixty


@picture
def test_tree_of_attacks(captured: pd.DataFrame) -> Figure:
    return process_tree(captured[:24]).figure  # type: ignore[return-value]


@picture
def test_tree_of_odd_texts(make: Any) -> Figure:
    return process_tree(odd(make)).figure  # type: ignore[return-value]


@picture
def test_tree_in_axes_on_white(captured: pd.DataFrame) -> Figure:
    figure = Figure(figsize=(8, 5))
    process_tree(captured, ax=figure.add_subplot())
    return figure


@picture
def test_tree_of_nothing(empty: pd.DataFrame) -> Figure:
    return process_tree(empty).figure  # type: ignore[return-value]
