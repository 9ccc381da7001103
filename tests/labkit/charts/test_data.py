"""The numbers behind the charts."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from labkit.charts import by_pod_data, counts_data, summary_data, tactics_data, timeline_data, top_rules_data


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
