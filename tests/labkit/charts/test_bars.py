"""Charts of bars draw what their data says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb

from labkit.alerts import PRIORITIES
from labkit.charts import (
    before_after,
    before_after_data,
    by_pod,
    counts,
    counts_data,
    noise,
    noise_data,
    style,
    tactics,
    top_rules,
    top_rules_data,
)
from labkit.respond import metrics
from tests.labkit.charts.seen import texts, untidy


def test_what_is_left_out_is_never_none_of_it() -> None:
    times = pd.date_range("2026-01-01", periods=2001, freq="s", tz="UTC")
    rules = ["one"] * 1000 + ["two"] * 1000 + ["three"]
    df = pd.DataFrame({"time": times, "rule": rules, "priority": pd.Categorical(["Notice"] * 2001, PRIORITIES)})
    df["tags"] = [[] for _ in rules]
    shown = "2,001 alerts from 3 rules; the {} shown raised {} of them; colour: highest priority"
    assert shown.format(2, "more than 99%") in texts(top_rules(df, 2))
    assert shown.format(1, "49%") in texts(top_rules(df, 1))


def test_the_bars_of_top_rules_are_its_data(captured: pd.DataFrame) -> None:
    ax = top_rules(captured, 5)
    table = top_rules_data(captured, 5)
    assert [bar.get_width() for bar in ax.containers[0]] == list(table["alerts"])
    assert [label.get_text() for label in ax.get_yticklabels()] == list(table.index)
    colours = [to_rgb(style.DARK.priorities[p]) for p in table["priority"]]
    assert [bar.get_facecolor()[:3] for bar in ax.containers[0]] == colours


def test_severe_alerts_too_few_to_be_seen_in_a_pod_s_bar_are_written_beside_it(make: Any) -> None:
    many = pd.concat([make({})] * 1000, ignore_index=True)
    ax = by_pod(pd.concat([many, make({"priority": "Critical"})], ignore_index=True))
    assert "1,001 (1 Critical)" in texts(ax)


def test_noise_is_the_rules_that_raise_four_fifths(make: Any) -> None:
    df = pd.concat([make({"rule": "loud"})] * 70 + [make({"rule": "less"})] * 20, ignore_index=True)
    df = pd.concat([df, *(make({"rule": f"rare {i}"}) for i in range(10))], ignore_index=True)
    ax = noise(df, 4)
    assert [bar.get_width() for bar in ax.containers[0]] == [70, 20, 1, 1, 8]
    (line,) = ax.get_lines()
    assert np.allclose(line.get_xdata(), [70, 90, 91, 92, 100])
    said = texts(ax)
    assert {"2 rules of 12 raised 90% of 100 alerts", "8 other rules", "70  (70%)", "92%", "100%"} <= set(said)
    accented = [to_rgb(bar.get_facecolor()[:3]) == to_rgb(style.DARK.accent) for bar in ax.containers[0]]
    assert accented == [True, True, False, False, False]
    assert list(noise_data(df)["alerts"].head(3)) == [70, 20, 1]


def test_less_than_all_is_never_all_of_it(make: Any) -> None:
    df = pd.concat([make({"rule": "loud"})] * 3000 + [make({"rule": "rare"})], ignore_index=True)
    assert "1 rule of 2 raised 99.9% of 3,001 alerts" in texts(noise(df))


def test_before_and_after_are_a_wide_and_a_narrow_bar(make: Any) -> None:
    one = make({"rule": "noisy"}, {"rule": "same"}, {"rule": "fixed"})
    before = pd.concat([one, *[one.head(1)] * 199], ignore_index=True)
    after = pd.concat([one.iloc[:2], make({"rule": "new"})], ignore_index=True)
    ax = before_after(before, after)
    table = before_after_data(before, after)
    widths = [[bar.get_width() for bar in container] for container in ax.containers]
    assert widths == [table["before"].tolist(), table["after"].tolist()]
    said = set(texts(ax))
    assert {"200 → 1 (−99%)", "1 → 0 (gone)", "0 → 1 (new)", "1"} <= said
    assert "202 → 3 alerts (−99%); 3 rules of 4 changed" in said
    assert any("no rule changed" in text for text in texts(before_after(one, one)))


def compared(df: pd.DataFrame, by: str, missing: int = 0) -> pd.DataFrame:
    """As if CloudWatch had counted all but some of the first row."""
    alerts = metrics.count(df, by)
    counted = alerts.copy()
    counted.loc[counted.index[:1], "count"] -= missing
    return metrics.compare(alerts, counted)


@pytest.mark.parametrize("by", ["rule", "priority", ""])
def test_counts_are_drawn_side_by_side(captured: pd.DataFrame, by: str) -> None:
    table = compared(captured, by)
    ax = counts(table)
    drawn = [[bar.get_width() for bar in container] for container in ax.containers]
    assert np.array_equal(np.array(drawn).T, counts_data(table).to_numpy(dtype="float64"))
    assert len(drawn[0]) <= 15
    assert any("60 alerts in the frame, 60 in the metric; equal in every row" in text for text in texts(ax))
    assert untidy(ax) == []


def test_counts_that_differ_are_said(captured: pd.DataFrame, empty: pd.DataFrame) -> None:
    assert any("59 in the metric; not equal in 1 row" in text for text in texts(counts(compared(captured, "rule", 1))))
    assert any("No alerts" in text for text in texts(counts(compared(empty, "rule"))))


def test_a_count_of_one_is_in_the_singular(make: Any) -> None:
    one = make({"rule": "A rule", "tags": ["mitre_execution"]})
    said = {text for chart in (top_rules, by_pod, tactics) for text in texts(chart(one))}
    assert {"1 alert from 1 rule; colour: highest priority", "1 alert from 1 place", "1  (1 rule)"} <= said
    two = make({"tags": []}, {"tags": []})
    assert any("2 alerts without a tactic" in text for text in texts(tactics(two)))
    assert any("1 alert without a tactic" in text for text in texts(tactics(two.head(1))))
