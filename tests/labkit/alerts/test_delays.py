"""How long alerts took: by stage, in milliseconds, shown with the unit."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from labkit.alerts import to_frame
from labkit.charts import accessor  # noqa: F401  registers df.falco
from labkit.errors import LabError


def event(time: str, timestamp: int | None, ingestion: int | None) -> dict[str, object]:
    message = json.dumps({"time": time, "rule": "A rule", "priority": "Notice", "output": "x"})
    return {"message": message, "timestamp": timestamp, "ingestionTime": ingestion}


START = int(pd.Timestamp("2026-11-23T04:15:07Z").timestamp() * 1000)
FRAME = to_frame(
    [
        event("2026-11-23T04:15:07.000000000Z", START + 3, START + 1250),
        event("2026-11-23T04:15:08.499600000Z", START + 1500, START + 1510),
        event("2026-11-23T04:15:09.000000000Z", START + 2000, None),
    ]
)


def test_each_stage_is_in_milliseconds_and_missing_where_a_time_is() -> None:
    found = FRAME.falco.delays()
    assert found[["printed", "shipped", "total"]].dtypes.astype(str).tolist() == ["Int64"] * 3
    assert found.iloc[:2, 2:].to_numpy().tolist() == [[3, 1247, 1250], [1, 10, 11]]
    assert found["printed"].tolist()[2] == 0
    assert found["total"].isna().tolist() == [False, False, True]
    assert found["total"].median() == 630.5


def test_a_log_event_of_the_same_millisecond_did_not_come_before_its_system_call() -> None:
    found = to_frame([event("2026-11-23T04:15:07.000999999Z", START, START)]).falco.delays()
    assert found.iloc[0, 2:].tolist() == [0, 0, 0]


def test_it_is_exact_over_centuries_and_missing_beyond() -> None:
    logged = int(pd.Timestamp("2026-11-23T04:20:16Z").timestamp() * 1000)
    ages = ["2026-11-23T04:20:15.25Z", "1700-01-01T00:00:00Z", "9999-12-31T23:59:59Z"]
    found = to_frame([event(age, logged, logged) for age in ages]).falco.delays()["total"]
    assert found.isna().tolist() == [False, False, True]
    assert found[:2].tolist() == [10315743616000, 750]


def test_it_is_shown_with_its_unit_and_as_wide_whatever_the_numbers_are() -> None:
    found = FRAME.falco.delays()
    assert "1,250 ms" in repr(found)
    assert "1,250 ms" in found._repr_html_()
    time = "2026-11-23T04:15:07Z"
    shown = [repr(to_frame([event(time, START + n, START + 2 * n)]).falco.delays()) for n in (1, 4321)]
    assert len({len(text) for text in shown}) == 1


def test_a_frame_without_the_times_of_delivery_is_told_so() -> None:
    with pytest.raises(LabError, match="no column 'ingestionTime'"):
        FRAME.drop(columns="ingestionTime").falco.delays()


def test_of_many_alerts_as_many_are_shown_as_pandas_shows() -> None:
    many = to_frame([event("2026-11-23T04:15:07Z", START, START)] * 200).falco.delays()
    assert len(many) == 200
    assert repr(many).count("A rule") == many._repr_html_().count("A rule") == pd.get_option("display.max_rows")
