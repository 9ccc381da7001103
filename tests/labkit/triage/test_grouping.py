"""Incidents: which alerts belong together, and which of them come first."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pandas as pd
import pytest

from labkit.errors import LabError
from labkit.exercises import recorded_day
from labkit.triage import Incidents, compare, first_seen, incident, incidents, processes, rare, steps
from tests.labkit.triage.conftest import alert, as_categories


def groups(df: pd.DataFrame, gap: Any = "5m") -> list[list[int]]:
    """The rows of each incident, ordered by their first one."""
    return sorted(incident(df, number, gap).index.tolist() for number in incidents(df, gap).index)


def test_the_intruder_of_a_noisy_day_is_on_top(day: pd.DataFrame) -> None:
    table = incidents(day)
    first = table.iloc[0]
    assert table["score"].is_monotonic_decreasing
    assert first["score"] > 2 * table["score"].iloc[1]
    assert len(first["places"]) == 2  # it moved on
    alerts = incident(day)
    pd.testing.assert_frame_equal(alerts, recorded_day.intruder(day))
    assert len(alerts) == first["alerts"]
    assert alerts["time"].is_monotonic_increasing
    assert (alerts["time"].iloc[0], alerts["time"].iloc[-1]) == (first["start"], first["end"])


@pytest.mark.parametrize("gap", ["1m", "2m", "10m", "1h"])
def test_the_intruder_is_on_top_with_another_gap_too(day: pd.DataFrame, gap: str) -> None:
    intruder = set(recorded_day.intruder(day).index)
    assert len(intruder & set(incident(day, 1, gap).index)) > len(intruder) / 2
    score = incidents(day, gap)["score"]
    assert score.iloc[0] > 2 * score.iloc[1]


def test_the_intruder_is_on_top_when_it_is_slow_or_its_critical_alerts_are_missing(day: pd.DataFrame) -> None:
    visit = recorded_day.intruder(day)
    slow = day.copy()
    slow.loc[visit.index, "time"] = visit["time"].iloc[0] + (visit["time"] - visit["time"].iloc[0]) * 3
    for df in (slow, day.drop(visit.index[visit["priority"] == "Critical"])):
        found = incident(df)
        assert len(set(found.index) & set(visit.index)) > 0.8 * len(visit)
        assert incidents(df)["score"].iloc[0] > 2 * incidents(df)["score"].iloc[1]


def test_the_intruder_is_on_top_in_a_week(day: pd.DataFrame) -> None:
    visit = recorded_day.intruder(day)
    days = [(day if n == 3 else day.drop(visit.index)) for n in range(7)]
    week = pd.concat(
        [df.assign(time=df["time"] + pd.Timedelta(days=n)) for n, df in enumerate(days)], ignore_index=True
    )
    found = incident(week)
    assert found["output"].tolist() == visit["output"].tolist()


def test_any_rows_and_columns_with_any_values_missing_will_do(day: pd.DataFrame) -> None:
    random = np.random.default_rng(0)
    fields = [name for name in day.columns if name not in ("time", "rule", "priority", "tags")]
    for seed in range(15):
        df = day.sample(int(random.integers(0, 60)), random_state=seed)
        df = df[["time", "rule", "priority", "tags", *(name for name in fields if random.random() < 0.5)]]
        df = df.assign(**{name: df[name].mask(random.random(len(df)) < 0.2) for name in df.columns if name != "tags"})
        assert incidents(df)["alerts"].sum() == df["time"].notna().sum()
        assert processes(df)["alerts"].sum() == len(df)
        assert steps(df)["alerts"].sum() == df["time"].notna().sum()
        assert first_seen(df)["alerts"].sum() == len(df)
        assert set(rare(df).index) <= set(df.index)
        assert (compare(df, df)["state"] == "same").all()


def test_each_alert_is_in_one_incident(day: pd.DataFrame) -> None:
    table = incidents(day)
    assert table["alerts"].sum() == len(day)
    some = [incident(day, number).index.tolist() for number in (1, 2, len(table))]
    assert list(map(len, some)) == table["alerts"].loc[[1, 2, len(table)]].tolist()
    assert len({row for rows in some for row in rows}) == sum(map(len, some))


def test_rows_in_another_order_or_as_categories_make_no_difference(day: pd.DataFrame) -> None:
    table = incidents(day)
    pd.testing.assert_frame_equal(incidents(as_categories(day)), table)
    pd.testing.assert_frame_equal(incidents(day.sample(frac=1, random_state=1)), table)


def test_types_are_as_documented(day: pd.DataFrame, empty: pd.DataFrame) -> None:
    for df in (day, empty):
        table = incidents(df)
        assert table.dtypes.astype(str).to_dict() == {
            **{"start": "datetime64[ns, UTC]", "end": "datetime64[ns, UTC]", "duration": "timedelta64[ns]"},
            **{"places": "object", "alerts": "int64", "rules": "object", "priority": "category"},
            **{"tactics": "object", "users": "object", "routine": "bool"},
            **{"severity": "int64", "breadth": "int64", "rarity": "float64", "score": "float64"},
        }
        assert table["priority"].dtype == day["priority"].dtype
        assert table.index.name == "incident"
    assert incidents(empty).empty


@pytest.mark.parametrize(("gap", "count"), [("5m", 2), ("10m", 1), (600, 1), (pd.Timedelta(minutes=5), 2), ("599s", 2)])
def test_a_pause_longer_than_the_gap_ends_an_incident(make: Any, gap: Any, count: int) -> None:
    df = make(alert("01:00"), alert("01:10", user_name="www", proc_pname="nginx"))
    assert len(incidents(df, gap)) == count


@pytest.mark.parametrize("gap", ["soon", -1, 0, None, True, "", float("nan")])
def test_a_gap_that_is_no_duration_is_refused(make: Any, gap: Any) -> None:
    with pytest.raises(LabError, match="no duration"):
        incidents(make(alert("01:00")), gap)


def test_an_incident_that_is_not_there(make: Any, empty: pd.DataFrame) -> None:
    with pytest.raises(LabError, match="no incident 2: the frame has 1 incident") as refused:
        incident(make(alert("01:00")), 2)
    assert "The first is 1" in str(refused.value.hint)
    with pytest.raises(LabError, match="no incident 1: the frame has 0 incidents"):
        incident(empty)


def test_alerts_of_another_pod_are_another_incident(make: Any) -> None:
    df = make(alert("01:00"), alert("01:01", pod="db-0", proc_cmdline="psql", proc_name="psql"), alert("01:02"))
    assert groups(df) == [[0, 2], [1]]


def test_the_same_shell_after_a_pause_goes_on(make: Any) -> None:
    shell = {"proc_tty": 34816, "user_name": "root", "proc_pname": "bash"}
    df = make(
        alert("01:00", **shell),
        alert("01:29", "Other", **shell),  # within six gaps of five minutes
        alert("02:00", **shell),  # after more
        alert("02:29", **{**shell, "user_name": "www"}),  # another user
    )
    assert groups(df) == [[0, 1], [2], [3]]


def test_a_command_that_names_a_pod_leads_there(make: Any) -> None:
    def there(time: str, command: str) -> pd.DataFrame:
        attack = {"proc_cmdline": command, "proc_name": "kubectl"}
        second = {"pod": "db-0", "namespace": "data", "proc_name": "sh", "proc_cmdline": "sh", "proc_tty": 34816}
        return make(alert("01:00", **attack), alert(time, "Terminal shell in container", **second))

    assert groups(there("01:20", "kubectl -n x exec -it db-0 -- sh")) == [[0, 1]]
    assert groups(there("01:31", "kubectl -n x exec -it db-0 -- sh")) == [[0], [1]]  # later than six gaps
    assert groups(there("00:59", "kubectl -n x exec -it db-0 -- sh")) == [[0], [1]]  # before
    assert groups(there("01:20", "kubectl -n x exec -it db-01 -- sh")) == [[0], [1]]  # another
    for command in (
        "kubectl -n data get po",
        "kubectl --namespace=data x",
        "curl https://k/api/v1/namespaces/data/pods",
    ):
        assert groups(there("01:04", command)) == [[0, 1]], command
        assert groups(there("01:06", command)) == [[0], [1]], command  # of a namespace, only what follows at once
    assert groups(there("01:04", "kubectl -n database get po")) == [[0], [1]]


@pytest.mark.parametrize(
    ("one", "other", "joined"),
    [
        ({"proc_cmdline": "curl http://203.0.113.7/x"}, {"fd_name": "10.0.1.2:4000->203.0.113.7:443"}, True),
        ({"fd_name": "[::1]:4->2606:4700::1:443"}, {"fd_name": "10.0.1.2:1->2606:4700::1:443"}, True),
        ({"proc_cmdline": "curl https://Bad.example/a"}, {"proc_cmdline": "wget http://bad.example/b"}, True),
        ({"proc_exepath": "/tmp/.x/miner"}, {"proc_cmdline": "rm -f /tmp/.x/miner"}, True),
        ({"proc_cmdline": "curl http://10.0.0.9/x"}, {"proc_cmdline": "wget http://10.0.0.9/y"}, False),
        ({"proc_cmdline": "curl https://k.default.svc/"}, {"proc_cmdline": "curl https://k.default.svc/"}, False),
        ({"proc_cmdline": "app 1.2.3.4.5"}, {"proc_cmdline": "tool 1.2.3.4.5"}, False),
        ({"proc_cmdline": "cat /etc/passwd"}, {"proc_cmdline": "less /etc/passwd"}, False),
    ],
)
def test_an_address_outside_or_a_temporary_file_joins_what_names_it(
    make: Any, one: dict[str, Any], other: dict[str, Any], joined: bool
) -> None:
    df = make(alert("01:00", **one), alert("01:20", "Other", pod="db-0", **other))
    assert (len(incidents(df)) == 1) is joined
    assert len(incidents(df, "3m")) == 2  # more than six gaps apart


def test_an_address_that_is_seen_all_day_joins_nothing(make: Any) -> None:
    def calls(hours: int) -> pd.DataFrame:
        registry = {"proc_name": "curl", "proc_cmdline": "curl https://registry.example/v2"}
        some = [alert(f"{hour:02}:50", pod=f"p-{hour}", proc_pname=f"x{hour}", **registry) for hour in range(hours)]
        return make(*some, alert("23:01", "A", pod="a", **registry), alert("23:07", "B", pod="b", **registry))

    assert len(incidents(calls(4))) == 5
    assert len(incidents(calls(5))) == 7


def test_a_rollout_in_several_pods_is_one_incident(make: Any) -> None:
    def rollout(tty: int) -> pd.DataFrame:
        return make(*(alert(f"01:0{n}", pod=f"web-{n}", proc_cmdline="migrate", proc_tty=tty) for n in range(3)))

    assert groups(rollout(0)) == [[0, 1, 2]]
    assert groups(rollout(34816)) == [[0], [1], [2]]  # people at terminals do the same


def test_what_comes_back_hour_after_hour_is_routine(make: Any) -> None:
    def daily(hours: int, **fields: Any) -> pd.DataFrame:
        noise = [alert(f"{hour:02}:0{minute}", **fields) for hour in range(hours) for minute in (0, 3)]
        return make(*noise, alert("02:01", "Another rule", "Error", proc_name="nc", proc_cmdline="nc -l"))

    table = incidents(daily(6))
    assert table["routine"].tolist() == [False, True]
    assert table["alerts"].tolist() == [1, 12]
    assert not incidents(daily(5))["routine"].any()
    assert not incidents(daily(6, proc_tty=34816))["routine"].any()  # a person at a terminal is no routine


def test_what_a_shell_is_told_to_run_tells_noise_from_an_intruder(make: Any) -> None:
    def web(time: str, command: str) -> dict[str, Any]:
        return alert(time, proc_name="sh", proc_pname="apache2", proc_cmdline=command)

    noise = [web(f"{hour:02}:30", f"sh -c convert '/tmp/php{hour}' -resize {hour}") for hour in range(10)]
    df = make(*noise, web("04:31", "sh -c id"), web("04:33", "sh -c 'cat /etc/passwd'"))
    table = incidents(df)
    assert table["alerts"].tolist() == [2, 10]
    assert table["routine"].tolist() == [False, True]


def test_the_score_is_what_the_documentation_says(make: Any) -> None:
    df = make(
        alert("01:00", "A", "Error", tags=["mitre_discovery"], user_name="www"),
        alert("01:01", "B", "Notice", tags=["mitre_execution", "mitre_discovery"], user_name="root"),
        alert("05:00", "B", "Notice", pod="db-0", tags=["mitre_execution", "mitre_discovery"], user_name="root"),
    )
    first = incidents(df).iloc[0]
    assert first["rules"] == ("A", "B")
    assert first["tactics"] == ("Discovery", "Execution")
    assert first["users"] == ("www", "root")
    assert first["severity"] == 5
    assert first["breadth"] == 4
    assert first["rarity"] == pytest.approx((1 + 1 / 2) / 2)  # B has two occasions
    assert first["score"] == pytest.approx(5 * 4 * 0.75)


def test_missing_values_are_no_obstacle(make: Any) -> None:
    df = make(alert("01:00"), alert("01:01"))
    texts = [name for name in df.columns if df[name].dtype in ("string", "category")]
    df.loc[0, ["proc.tty", *texts]] = pd.NA
    df["tags"] = pd.Series([(), df["tags"][1]], dtype="tags")
    df.loc[1, "time"] = pd.NaT
    table = incidents(df)
    assert table["alerts"].tolist() == [1]
    assert table["rules"].tolist() == [("(no rule name)",)]
    assert table["users"].tolist() == [()]
    assert table["priority"].isna().all()
    assert table["severity"].tolist() == [1]
    assert table.attrs["untimed"] == 1
    assert "1 alert without a time left out" in repr(table)
    few = df[["time", "rule", "priority", "tags"]]
    assert len(incidents(few)) == 1


def test_it_is_displayed_as_a_table_that_fits(day: pd.DataFrame, empty: pd.DataFrame, make: Any) -> None:
    table = incidents(day)
    shown = repr(table)
    assert shown.splitlines()[0].endswith("the first 20 are shown")
    assert len(shown.splitlines()) == 21
    assert "background:#" in str(table._repr_html_())  # the badge of the priority
    assert isinstance(table.head(3), Incidents)
    assert len(repr(table.head(3)).splitlines()) == 4
    assert repr(table[["score"]]).split()[:2] == ["score", "incident"]
    assert "<table" in str(table[["score"]]._repr_html_())
    assert repr(incidents(empty)) == "0 incidents, 0 alerts"
    evil = incidents(make(alert("01:00", "<script>$x$</script>\n💥", pod="<b>")))
    assert "<script>" not in str(evil._repr_html_())


def test_a_million_alerts_take_seconds(day: pd.DataFrame) -> None:
    random = np.random.default_rng(1)
    many = as_categories(day.iloc[random.integers(0, len(day), 1_000_000)].reset_index(drop=True))
    start = pd.Timestamp("2026-03-10", tz="UTC").value
    many["time"] = pd.to_datetime(np.sort(start + random.integers(0, 86_400_000_000_000, len(many))), utc=True)
    before = time.process_time()
    assert incidents(many)["alerts"].sum() == len(many)
    assert time.process_time() - before < 15
