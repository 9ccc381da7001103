"""Log events in, a typed frame out."""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labkit.alerts import PRIORITIES, to_frame
from labkit.alerts.frame import Found
from labkit.errors import LabError
from labkit.respond.forwarder import time_of

DATA = Path(__file__).parent / "data"
SHIPPED = [json.loads(line)["message"] for line in (DATA / "shipped-messages.jsonl").read_text().splitlines()]
LINES = (DATA / "falco-alerts.jsonl").read_text().splitlines()
ALERTS = [json.loads(line) for line in LINES]


def alert(**changes: Any) -> str:
    fields = {**ALERTS[0]["output_fields"], **changes.pop("output_fields", {})}
    return json.dumps({**ALERTS[0], **changes, "output_fields": fields})


def event(message: str, timestamp: int = 1795407307836, n: int = 0) -> dict[str, Any]:
    stream = {"eventId": f"{n:056d}", "logStreamName": "alerts", "ingestionTime": timestamp + 500}
    return {"message": message, "timestamp": timestamp, **stream}


def test_every_captured_alert_is_a_row_with_all_its_values() -> None:
    df = to_frame(LINES)
    assert df.attrs == {"events": 60, "alerts": 60, "skipped": {}, "untimed": 0}
    expected = sorted(ALERTS, key=lambda a: a["time"])
    for (_, row), captured in zip(df.iterrows(), expected, strict=True):
        assert row["time"] == pd.Timestamp(captured["time"])
        assert row[["rule", "priority", "source", "hostname", "output"]].to_dict() == {
            name: captured[name] for name in ("rule", "priority", "source", "hostname", "output")
        }
        assert row["tags"] == tuple(captured["tags"])
        for name, value in captured["output_fields"].items():
            assert pd.isna(row[name]) if value in (None, "<NA>") else row[name] == value


def test_every_shipped_message_is_a_row_or_counted() -> None:
    df = to_frame([event(m) for m in SHIPPED])
    assert len(df) == 6
    assert df.attrs == {"events": 9, "alerts": 6, "skipped": {"lifecycle": 2, "malformed": 1}, "untimed": 0}
    assert set(df["rule"]) == {"Terminal shell in container"}


def test_columns_have_types() -> None:
    df = to_frame([event(alert(output_fields={"ratio": 0.5, "container.privileged": True}))])
    kinds = df.dtypes.astype(str)
    assert kinds["time"] == kinds["timestamp"] == kinds["ingestionTime"] == "datetime64[ns, UTC]"
    assert {kinds[name] for name in ("rule", "priority", "source", "hostname")} == {"category"}
    assert df["priority"].cat.ordered
    assert tuple(df["priority"].cat.categories) == PRIORITIES
    assert kinds[["output", "eventId"]].eq("string").all()
    assert kinds[["proc.cmdline", "k8s.pod.name", "logStreamName"]].eq("category").all()
    assert kinds[["proc.tty", "user.uid", "evt.time"]].eq("Int64").all()
    assert (kinds["ratio"], kinds["container.privileged"]) == ("Float64", "boolean")
    assert (df["priority"] >= "Notice").all()


def test_no_alerts_give_the_same_columns_and_types() -> None:
    empty, full = to_frame([]), to_frame(LINES)
    assert empty.empty
    assert set(empty.columns) <= set(full.columns)
    pd.testing.assert_series_equal(empty.dtypes.astype(str), full[empty.columns].dtypes.astype(str))
    assert not empty["proc.name"].str.contains("bash").any()
    assert not (empty["rule"] == "Terminal shell in container").any()
    assert pd.concat([empty, full])["rule"].tolist() == full["rule"].tolist()


def test_time_is_exact_to_the_nanosecond_and_rows_are_in_its_order() -> None:
    times = ["2026-11-23T04:15:07.123456789Z", "2026-11-23T04:15:07.123456788Z", "2026-11-23T04:15:07Z"]
    df = to_frame([alert(time=t) for t in times])
    assert [t.isoformat() for t in df["time"]] == [
        "2026-11-23T04:15:07+00:00",
        "2026-11-23T04:15:07.123456788+00:00",
        "2026-11-23T04:15:07.123456789+00:00",
    ]


@pytest.mark.parametrize(
    ("time", "expected"),
    [
        ("2026-11-23T06:15:07.5+02:00", "2026-11-23T04:15:07.5Z"),
        (None, "2026-11-23T04:15:07.836Z"),
        ("nonsense", "2026-11-23T04:15:07.836Z"),
        ("now", "2026-11-23T04:15:07.836Z"),
        ("2026-02-30T00:00:00Z", "2026-11-23T04:15:07.836Z"),
        ("2262-04-11T23:47:16.854775807Z", "2262-04-11T23:47:16.854775807Z"),
        ("1677-09-21T00:12:44Z", "1677-09-21T00:12:44Z"),
    ],
)
def test_other_times_are_understood_or_replaced_by_the_time_of_logging(time: str | None, expected: str) -> None:
    messages = [alert(time=time, output_fields={"evt.time": None}), alert(time="2026-11-23T04:15:09.000000001Z")]
    df = to_frame(map(event, messages))
    assert list(df["time"]) == sorted([pd.Timestamp(expected), pd.Timestamp("2026-11-23T04:15:09.000000001Z")])


@pytest.mark.parametrize(
    "time",
    [
        *("9999-12-31T23:59:59Z", "9999-12-31T23:59:59-02:00", "2262-04-11T23:47:16.854775808Z"),
        *("1677-09-21T00:12:43Z", "0001-01-01T00:00:00Z", "0001-01-01T00:00:00+02:00"),
    ],
)
def test_a_time_that_nanoseconds_can_not_hold_is_missing_and_counted(time: str) -> None:
    df = to_frame([event(alert(time=time)), event(alert(time="2026-11-23T04:15:09.000000001Z"))])
    assert df["time"].isna().tolist() == [False, True]
    assert df["time"][0] == pd.Timestamp("2026-11-23T04:15:09.000000001Z")
    assert df["timestamp"].notna().all()
    assert (df.attrs["alerts"], df.attrs["untimed"]) == (2, 1)


LOGGED = 1795407307836


@pytest.mark.parametrize(
    ("happened", "expected"),
    [
        (1795407307000000001, 1795407307000000001),
        *((nothing, LOGGED * 1_000_000) for nothing in (-1, 0, "1795407307000000001", True, -(2**63), 1.5)),
        *((too_large, None) for too_large in (2**63, 2**64 - 1, 2**65)),
    ],
)
def test_without_a_time_of_its_own_an_alert_has_that_of_its_event(happened: Any, expected: int | None) -> None:
    df = to_frame([event(alert(time=None, output_fields={"evt.time": happened}), LOGGED)])
    assert [None if pd.isna(time) else time.value for time in df["time"]] == [expected]


@pytest.mark.parametrize("logged", [2**63 - 1, 2**64, 9_999_999_999_999, 253_402_300_799_999, -(2**62)])
def test_a_time_of_logging_that_nanoseconds_can_not_hold_is_missing(logged: int) -> None:
    df = to_frame([event(LINES[0], logged), event(LINES[1], LOGGED)])
    assert sorted(df["timestamp"].isna()) == [False, True]
    assert df["time"].notna().all()


@pytest.mark.parametrize(
    ("logged", "expected"),
    [
        ("2026-11-23T04:20:16Z", "2026-11-23T04:20:15.177232855Z"),
        ("2026-11-23T00:00:01Z", "2026-11-22T23:59:59.5Z"),
    ],
)
def test_a_time_of_day_gets_its_date_from_the_time_of_logging(logged: str, expected: str) -> None:
    stamp = pd.Timestamp(expected)
    line = f"{stamp:%H:%M:%S}.{stamp.microsecond * 1000 + stamp.nanosecond:09d}: Notice A shell | command=bash"
    df = to_frame([event(line, timestamp=int(pd.Timestamp(logged).timestamp() * 1000))])
    assert df["time"][0] == stamp
    assert df["rule"].isna().all()


def test_missing_values_are_missing_however_they_are_written() -> None:
    df = to_frame([alert(output_fields={"proc.tty": "<NA>", "fd.lport": None}), alert(output_fields={"fd.lport": 443})])
    assert df["proc.tty"].dtype == "Int64"
    assert sorted(df["proc.tty"].isna()) == [False, True]
    assert df["fd.lport"].dropna().tolist() == [443]


def test_values_that_fit_no_column_of_numbers_are_kept_as_text() -> None:
    df = to_frame(
        [alert(output_fields={"x": 1}), alert(output_fields={"x": "one"}), alert(output_fields={"x": [1, 2]})]
    )
    assert sorted(df["x"]) == ["1", "1, 2", "one"]
    assert to_frame([alert(output_fields={"x": 2**63 + 1})])["x"][0] == 2**63 + 1


@pytest.mark.parametrize(("written", "meant"), [("info", "Informational"), ("WARNING", "Warning"), ("?", None)])
def test_priorities_are_known_in_any_case(written: str, meant: str | None) -> None:
    found = to_frame([alert(priority=written)])["priority"][0]
    assert pd.isna(found) if meant is None else found == meant


def test_an_added_field_never_takes_a_column_s_place() -> None:
    df = to_frame([alert(output_fields={"hostname": "mine", "cluster": "blue"})])
    assert df["hostname"][0] == "vm"
    assert df["output_fields.hostname"][0] == "mine"
    assert df["cluster"][0] == "blue"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.dictionaries(st.sampled_from(sorted(ALERTS[0])), JSON), max_size=4))
def test_no_message_breaks_the_others(changes: list[dict[str, Any]]) -> None:
    messages = [json.dumps({**ALERTS[0], **change}) for change in changes]
    df = to_frame([*messages, LINES[0]])
    assert len(df) + sum(df.attrs["skipped"].values()) == len(messages) + 1
    assert "Terminal shell in container" in set(df["rule"])


@pytest.mark.parametrize("enabled", [True, False])
def test_the_garbage_collector_rests_meanwhile_and_is_then_as_it_was(enabled: bool) -> None:
    states = []

    def events() -> Iterator[str]:
        states.append(gc.isenabled())
        yield LINES[0]

    before = gc.isenabled()
    try:
        (gc.enable if enabled else gc.disable)()
        to_frame(events())
        states.append(gc.isenabled())
        with pytest.raises(LabError, match="5 is no log event"):
            to_frame([5])  # type: ignore[list-item]
        states.append(gc.isenabled())
    finally:
        (gc.enable if before else gc.disable)()
    assert states == [False, enabled, enabled]


@settings(max_examples=200, deadline=None)
@given(
    st.datetimes(datetime(1677, 10, 1), datetime(2262, 4, 1)),
    st.sampled_from(["", ".5", ".000000001", ".123456789", ".12345678"]),
    st.sampled_from(["Z", "+02:00", "-1130"]),
    st.sampled_from([None, 1795407307000000001, -5, True, "1795407307000000001"]),
)
def test_a_row_has_the_time_that_the_finding_of_its_alert_has(
    moment: datetime, fraction: str, zone: str, happened: Any
) -> None:
    stamp = f"{moment:%Y-%m-%dT%H:%M:%S}".zfill(19) + fraction + zone
    for time in (stamp, stamp.replace("T", " "), None):
        own = {"rule": "r", "time": time, "output_fields": {"evt.time": happened}}
        expected = time_of(own, LOGGED) if (moment.year >= 1971 or time != stamp) else pd.Timestamp(stamp).value
        assert to_frame([event(json.dumps(own), LOGGED)])["time"][0].value == expected


def test_a_frame_that_says_why_it_is_empty_gives_plain_frames() -> None:
    found = Found(to_frame([]), "No alerts of <x>.")
    assert repr(found) == "No alerts of <x>."
    assert found._repr_html_() == "<p>No alerts of &lt;x&gt;.</p>"
    assert type(found[["rule"]]) is type(found.head(1)) is pd.DataFrame
    full = Found(to_frame(LINES), "No alerts.")
    assert "No alerts" not in repr(full)
    assert "<table" in str(full._repr_html_())
    assert full.attrs["alerts"] == 60


def test_arrow_takes_texts_without_a_copy() -> None:
    df = to_frame([event(line, n=i) for i, line in enumerate(LINES * 50)])
    before = pa.total_allocated_bytes()
    table = pa.Table.from_pandas(df)
    texts = df[["output", "eventId"]].memory_usage(index=False, deep=True).sum()
    assert pa.total_allocated_bytes() - before < texts / 4
    assert table.column("output").to_pylist() == df["output"].tolist()
    assert table.column("tags").to_pylist()[0] == list(df["tags"][0])


def test_a_frame_is_small() -> None:
    df = to_frame([event(line, n=i) for i, line in enumerate(LINES * 50)])
    used = df.memory_usage(index=False, deep=True) / len(df)
    assert used["output"] < df["output"].str.len().mean() + 10
    assert used["tags"] < 3
    categories = used[[name for name in df.columns if df[name].dtype == "category"]]
    assert len(categories) > 30
    assert categories.max() < 4  # a code of one or two bytes, and the texts, once
