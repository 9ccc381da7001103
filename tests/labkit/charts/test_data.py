"""The numbers behind the charts."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pandas as pd
import pytest

from labkit.charts import (
    attack_matrix_data,
    before_after_data,
    by_pod_data,
    counts_data,
    heat_map_data,
    latency_data,
    latency_histogram_data,
    noise_data,
    summary_data,
    tactics_data,
    timeline_data,
    top_rules_data,
)
from labkit.errors import LabError


def test_timeline_counts_each_alert_once_by_priority(captured: pd.DataFrame) -> None:
    counts = timeline_data(captured)
    assert list(counts.columns) == ["Informational", "Notice", "Warning", "Error", "Critical"]
    assert counts.sum().to_dict() == captured["priority"].value_counts().loc[counts.columns].to_dict()
    assert counts.index.is_monotonic_increasing
    assert str(counts.index.tz) == "UTC"
    assert counts.attrs["width"] == pd.Timedelta(seconds=5)
    assert set(counts.index.diff()[1:]) == {pd.Timedelta(seconds=5)}


@pytest.mark.parametrize(
    ("last", "width"),
    [
        ("2026-11-23T00:00:00Z", "1s"),
        ("2026-11-23T00:00:45Z", "1s"),
        ("2026-11-23T01:00:00Z", "2min"),
        ("2026-11-24T00:00:00Z", "30min"),
        ("2026-12-23T00:00:00Z", "1D"),
        ("2027-11-23T00:00:00Z", "7D"),
    ],
)
def test_timeline_never_has_more_than_sixty_bars_and_skips_no_interval(make: Any, last: str, width: str) -> None:
    counts = timeline_data(make({"time": "2026-11-23T00:00:00Z"}, {"time": last}))
    assert counts.attrs["width"] == pd.Timedelta(width)
    assert len(counts) <= 60
    assert counts.to_numpy().sum() == 2


def test_timeline_counts_alerts_that_are_centuries_apart(make: Any) -> None:
    counts = timeline_data(make({"time": "1700-01-01T00:00:00Z"}, {"time": "2199-01-01T00:00:00Z"}))
    assert counts.to_numpy().sum() == 2


def test_top_rules_are_the_most_frequent_with_their_highest_priority(make: Any) -> None:
    df = make(
        {"rule": "b", "priority": "Notice"},
        {"rule": "a", "priority": "Notice"},
        {"rule": "c", "priority": "Warning"},
        {"rule": "c", "priority": "Critical"},
        {"rule": "c", "priority": "Notice"},
    )
    top = top_rules_data(df, 2)
    assert top["alerts"].to_dict() == {"c": 3, "a": 1}
    assert top["priority"].to_dict() == {"c": "Critical", "a": "Notice"}
    assert top.attrs == {"rules": 3, "alerts": 5}


def test_pods_are_named_or_else_the_container_or_the_host(make: Any) -> None:
    nameless = {"k8s.pod.name": None, "k8s.ns.name": None}
    df = make(
        {"fields": {}},
        {"priority": "Warning"},
        {"fields": {**nameless, "container.id": "0123456789ab"}},
        {"fields": {**nameless, "container.id": "host"}},
        {"fields": {**nameless, "container.id": None}},
        {"fields": {**nameless, "container.id": "host"}},
    )
    counts = by_pod_data(df)
    assert counts.sum(axis=1).to_dict() == {"host vm": 3, "shop/web-0": 2, "container 0123456789ab": 1}
    assert counts.loc["shop/web-0"].to_dict() == {"Notice": 1, "Warning": 1}
    assert by_pod_data(df, 1).attrs == {"pods": 3}


def test_tactics_come_in_the_order_of_an_intrusion(make: Any, captured: pd.DataFrame) -> None:
    table = tactics_data(captured)
    assert list(table.index[:4]) == ["Reconnaissance", "Resource Development", "Initial Access", "Execution"]
    assert list(table.index[-2:]) == ["Exfiltration", "Impact"]
    assert len(table) == 14
    assert table.loc["Credential Access", "id"] == "TA0006"
    assert table["alerts"].sum() == sum(tag.startswith("mitre_") for tags in captured["tags"] for tag in tags)

    two = {"rule": "x", "tags": ["mitre_execution", "mitre_impact"]}
    table = tactics_data(make(two, two, {"tags": ["container"]}, {"tags": []}))
    assert table[table["alerts"] > 0][["alerts", "rules"]].to_dict("index") == {
        "Execution": {"alerts": 2, "rules": 1},
        "Impact": {"alerts": 2, "rules": 1},
    }
    assert table.attrs == {"untagged": 2}


def test_summary_has_a_row_per_rule_worst_first(make: Any) -> None:
    df = make(
        {"rule": "mild", "time": "2026-11-23T01:00:00Z"},
        {"rule": "mild", "time": "2026-11-23T03:00:00Z", "fields": {"k8s.pod.name": "web-1"}},
        {"rule": "bad", "priority": "Critical", "time": "2026-11-23T02:00:00Z"},
    )
    summary = summary_data(df)
    assert list(summary.index) == ["bad", "mild"]
    mild = summary.loc["mild"]
    assert (mild["alerts"], mild["pods"], mild["priority"]) == (2, 2, "Notice")
    assert (mild["first"], mild["last"]) == (pd.Timestamp("2026-11-23T01:00Z"), pd.Timestamp("2026-11-23T03:00Z"))


def test_nothing_counts_as_nothing(empty: pd.DataFrame) -> None:
    assert timeline_data(empty).empty
    assert top_rules_data(empty).empty
    assert by_pod_data(empty).empty
    assert summary_data(empty).empty
    assert tactics_data(empty)["alerts"].sum() == 0


def test_alerts_without_a_rule_name_are_counted_too() -> None:
    from labkit.alerts import to_frame

    df = to_frame(["2026-11-23T04:20:15.177232855+0000: Notice A shell was spawned | command=bash"])
    assert top_rules_data(df)["alerts"].to_dict() == {"(no rule name)": 1}
    assert timeline_data(df).to_numpy().sum() == 1


def test_rows_of_a_frame_can_be_drawn_as_well_as_the_whole(captured: pd.DataFrame) -> None:
    some = captured[captured["priority"] >= "Error"]
    assert timeline_data(some).to_numpy().sum() == len(some)
    assert top_rules_data(some, 99)["alerts"].sum() == len(some)
    assert by_pod_data(some).to_numpy().sum() == len(some)


def counted(rows: list[tuple[str, str, int, int]]) -> pd.DataFrame:
    """A frame such as `labkit.respond.metrics.compare` gives, of period, rule, alerts and metric."""
    table = pd.DataFrame(rows, columns=["period", "rule", "alerts", "metric"])
    table["period"] = pd.to_datetime(table["period"], utc=True)
    return table.astype({"alerts": "Int64", "metric": "Int64"})


def test_counts_keep_the_largest_and_total_all() -> None:
    rows = [(f"2026-11-23T04:{i % 3:02}Z", f"rule {i % 4}", i, i - (i == 7)) for i in range(8)]
    table = counts_data(counted(rows), 2)
    assert table["alerts"].to_dict() == {"rule 3": 10, "rule 2": 8}
    assert table["metric"].to_dict() == {"rule 3": 9, "rule 2": 8}
    assert table.attrs == {"alerts": 28, "metric": 27, "differing": 1}


def test_counts_that_are_equal_are_in_the_order_of_their_names() -> None:
    table = counts_data(counted([("2026-11-23T04:00Z", name, 1, 1) for name in "cab"]))
    assert list(table.index) == ["a", "b", "c"]


def test_counts_by_nothing_are_the_latest_periods_oldest_first() -> None:
    rows = [(f"2026-11-23T{hour:02}:30Z", "", hour, 2 * hour) for hour in (5, 3, 4)]
    table = counts_data(counted(rows).drop(columns="rule"), 2)
    assert list(table.index) == ["04:30", "05:30"]
    assert table["metric"].tolist() == [8, 10]
    assert table.attrs == {"alerts": 12, "metric": 24, "differing": 3}


def test_pods_with_most_alerts_come_first_and_at_most_n_of_them(make: Any) -> None:
    df = make(*({"fields": {"k8s.pod.name": pod}} for pod in ["one", "two", "two", "three", "three", "three"]))
    assert by_pod_data(df, 2).sum(axis=1).to_dict() == {"shop/three": 3, "shop/two": 2}
    assert len(by_pod_data(df)) == 3


def test_a_pod_without_a_namespace_is_told_from_others(make: Any) -> None:
    df = make({"fields": {"k8s.ns.name": None}}, {"fields": {"k8s.pod.name": "", "container.id": ""}})
    assert sorted(by_pod_data(df).index) == ["?/web-0", "host vm"]


def test_rows_in_any_order_have_the_same_counts(make: Any) -> None:
    times = [f"2026-11-23T04:00:0{second}Z" for second in range(4)]
    df = make(*({"time": time, "fields": {"k8s.pod.name": pod}} for time, pod in zip(times, "abca", strict=True)))
    turned = df.iloc[::-1]
    pd.testing.assert_frame_equal(timeline_data(turned), timeline_data(df), check_freq=False)
    assert list(by_pod_data(turned).index) == ["shop/a", "shop/b", "shop/c"]


def test_intervals_are_by_the_clocks_of_the_zone(make: Any) -> None:
    # In Berlin, 25 October 2026 has 25 hours: from 22:00 UTC of the day before to 23:00 UTC.
    times = ["2026-10-24T21:59:59Z", "2026-10-24T22:00:00Z", "2026-10-25T22:59:59Z", "2026-10-25T23:00:00Z"]
    df = make(*({"time": time} for time in times), {"time": "2026-11-20T00:00:00Z"})
    counts = timeline_data(df, "Europe/Berlin")
    assert counts.attrs["width"] == pd.Timedelta("12h")
    days = counts.groupby(counts.index.normalize()).sum()["Notice"]
    assert days.head(3).tolist() == [1, 2, 1]
    assert set(counts.index.hour) == {0, 12}
    assert str(counts.index.tz) == "Europe/Berlin"


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kathmandu", "Australia/Lord_Howe", "America/St_Johns", "Pacific/Apia"])
def test_every_alert_is_in_the_interval_of_its_time(captured: pd.DataFrame, zone: str) -> None:
    for span in (0, 45, 4000, 50_000, 1_000_000, 40_000_000, 2_000_000_000):
        seconds = pd.to_timedelta(np.linspace(0, span, len(captured)).astype("int64"), unit="s")
        df = captured.assign(time=pd.Timestamp("2011-12-29T11:59:30Z").as_unit("ns") + seconds)
        counts = timeline_data(df, zone)
        edges = pd.DatetimeIndex([*counts.index, counts.attrs["end"]])
        assert len(counts) <= 61
        assert counts.to_numpy().sum() == len(df)
        assert edges.is_monotonic_increasing
        assert pd.cut(df["time"].dt.tz_convert(zone), edges, right=False).value_counts(sort=False).tolist() == list(
            counts.sum(axis=1)
        )


def test_weeks_begin_on_mondays(make: Any) -> None:
    counts = timeline_data(make({"time": "2026-01-01T00:00:00Z"}, {"time": "2026-12-01T00:00:00Z"}))
    assert counts.attrs["width"] == pd.Timedelta(days=7)
    assert set(counts.index.day_name()) == {"Monday"}


def test_alerts_without_a_time_or_a_priority_are_counted_as_such(make: Any) -> None:
    df = make({"priority": "Odd"}, {"time": "9999-01-01T00:00:00Z"}, {})
    counts = timeline_data(df)
    assert counts.sum().to_dict() == {"(no priority)": 1, "Notice": 1}
    assert counts.attrs["untimed"] == 1
    assert by_pod_data(df).sum().to_dict() == {"(no priority)": 1, "Notice": 2}
    assert top_rules_data(df.head(0)).empty


def test_the_heat_map_counts_each_alert_once_pods_with_most_rules_first(make: Any) -> None:
    def at(pod: str, rule: str, priority: str = "Notice") -> dict[str, Any]:
        return {"rule": rule, "priority": priority, "fields": {"k8s.pod.name": pod}}

    df = make(*[at("loud", "a")] * 5, at("odd", "b", "Critical"), at("odd", "a"), at("odd", "c"), at("calm", "c"))
    table = heat_map_data(df)
    assert list(table.index) == ["shop/odd", "shop/loud", "shop/calm"]
    assert list(table.columns) == ["b", "a", "c"]
    assert table.to_numpy().tolist() == [[1, 1, 1], [0, 5, 0], [0, 0, 1]]
    assert set(table.dtypes) == {np.dtype("int64")}
    assert table.attrs == {"pods": 3, "rules": 3, "alerts": 9, "priorities": ["Critical", "Notice", "Notice"]}
    assert heat_map_data(df, 1, 2).to_numpy().tolist() == [[1, 1]]
    for pods, rules in ((0, 5), (5, 0), (5, 1000)):
        with pytest.raises(LabError, match="from 1 to 200"):
            heat_map_data(df, pods, rules)


def test_noise_adds_up(captured: pd.DataFrame, empty: pd.DataFrame) -> None:
    table = noise_data(captured)
    assert table["alerts"].is_monotonic_decreasing
    assert table["share"].sum() == pytest.approx(1)
    assert table["cumulative"].iloc[-1] == 1
    assert table["cumulative"].iloc[table.attrs["most"] - 1] >= 0.8 > table["cumulative"].iloc[table.attrs["most"] - 2]
    assert noise_data(empty).attrs == {"alerts": 0, "most": 0}


def test_the_largest_changes_come_first(make: Any) -> None:
    before = make(*[{"rule": "noisy"}] * 5, {"rule": "same"}, {"rule": "same"}, {"rule": "gone"})
    after = make({"rule": "noisy"}, {"rule": "same"}, {"rule": "same"}, {"rule": "new"}, {"rule": "new"})
    table = before_after_data(before, after)
    assert table.to_dict("index") == {
        "noisy": {"before": 5, "after": 1, "change": -4},
        "new": {"before": 0, "after": 2, "change": 2},
        "gone": {"before": 1, "after": 0, "change": -1},
        "same": {"before": 2, "after": 2, "change": 0},
    }
    assert table.attrs == {"before": 8, "after": 5, "rules": 4, "changed": 3}
    assert set(map(str, table.dtypes)) == {"int64"}
    assert len(before_after_data(before, after, 1)) == 1


def test_text_and_categories_are_counted_alike(captured: pd.DataFrame) -> None:
    columns = ["rule", "k8s.pod.name", "k8s.ns.name", "container.id", "hostname"]
    texts = captured.astype(dict.fromkeys(columns, "string"))
    categories = captured.astype(dict.fromkeys(columns, "category"))
    # A category that no alert has any longer counts for none.
    fewer = categories[categories["rule"] != categories["rule"].iloc[0]]
    same = texts[texts["rule"] != texts["rule"].iloc[0]]
    for count in (timeline_data, top_rules_data, by_pod_data, heat_map_data, tactics_data, summary_data, noise_data):
        pd.testing.assert_frame_equal(count(categories), count(texts))
        pd.testing.assert_frame_equal(count(fewer), count(same))
        pd.testing.assert_frame_equal(count(categories.head(0)), count(texts.head(0)))


def test_a_hundred_thousand_alerts_are_counted_in_no_time(captured: pd.DataFrame) -> None:
    """A million take less than a second of a processor; a tenth of them half a second leaves room for a slower one."""
    many = captured.iloc[np.tile(np.arange(len(captured)), 1700)].reset_index(drop=True)
    counts = (timeline_data, top_rules_data, by_pod_data, heat_map_data, tactics_data, summary_data, noise_data)
    for count in (*counts, attack_matrix_data, latency_data, latency_histogram_data):
        start = time.process_time()
        count(many)
        assert time.process_time() - start < 0.5, count.__name__
