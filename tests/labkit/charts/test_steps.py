"""The sequence of an intrusion as a picture."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from labkit.charts import sequence
from tests.labkit.charts.incidents import intrusion, many, odd, untidy
from tests.labkit.charts.test_pictures import picture


def texts(ax: Any) -> list[str]:
    return [text.get_text() for text in ax.texts]


def ticks(ax: Any) -> list[str]:
    return [label.get_text() for label in ax.get_xticklabels()]


def at(*times: str, make: Any) -> pd.DataFrame:
    return make(*({"time": f"2026-11-{time}Z", "rule": f"Rule {i}"} for i, time in enumerate(times)))


@pytest.mark.parametrize(
    ("what", "dpi"),
    [("intrusion", 96), ("intrusion", 192), ("captured", 192), ("odd", 96), ("many", 96), ("one", 192)],
)
def test_no_text_covers_another_or_is_cut_off(what: str, dpi: float, make: Any, captured: pd.DataFrame) -> None:
    frames = {
        "intrusion": intrusion,
        "captured": lambda: captured,
        "odd": lambda: odd(make),
        "many": lambda: many(make, 200),
        "one": lambda: captured[:1],
    }
    assert untidy(sequence(frames[what]()), dpi) == []


def test_each_alert_has_a_mark_at_its_time_and_each_step_its_words() -> None:
    df = intrusion()
    ax = sequence(df)
    marks = np.concatenate([collection.get_offsets()[:, 0] for collection in ax.collections])
    assert len(marks) >= len(df) - 4  # the same time twice is one mark
    said = texts(ax)
    assert "sh -c id" in said
    assert "Find AWS Credentials" in said
    assert any(f"{len(df)} alerts in 2 places" in text for text in said)
    assert "13:30" in ticks(ax)
    assert ax.get_xlabel() == "time (UTC), 10 March 2026"


def test_a_long_pause_is_shortened_and_told(make: Any) -> None:
    times = ("23T04:00:00", "23T04:00:10", "23T04:00:20", "23T07:10:00", "23T07:10:30")
    ax = sequence(at(*times, make=make))
    assert "3 h 9 min" in texts(ax)
    assert "04:00:10" in ticks(ax)
    left, right = ax.get_xlim()
    marks = sorted(float(collection.get_offsets()[0, 0]) for collection in ax.collections[1:])
    assert marks[3] - marks[2] < 0.15 * (right - left)
    evenly = sequence(at("23T04:00:00", "23T05:00:00", make=make))
    assert not any(text == "1 h" for text in texts(evenly))


@pytest.mark.parametrize(
    ("times", "expected", "label"),
    [
        (("23T04:15:07",), ["04:15:07"], "time (UTC), 23 November 2026"),
        (("23T04:15:07.250", "23T04:15:07.270"), ["04:15:07.250", "04:15:07.270"], "time (UTC), 23 November 2026"),
        (("23T04:00:00", "24T04:00:00", "25T04:00:00"), ["23 Nov 12:00", "24 Nov 12:00"], "time (UTC)"),
    ],
)
def test_ticks_are_times_that_people_name(times: tuple[str, ...], expected: list[str], label: str, make: Any) -> None:
    ax = sequence(at(*times, make=make))
    assert set(expected) <= set(ticks(ax)), ticks(ax)
    assert ax.get_xlabel() == label


def test_what_does_not_fit_is_counted(make: Any) -> None:
    ax = sequence(many(make, 300), figsize=(8, 4))
    (left,) = [text for text in texts(ax) if "left out" in text]
    steps, alerts = (int(word.replace(",", "")) for word in left.split() if word[0].isdigit())
    assert steps > 50
    assert alerts < 300
    assert ax.figure.get_size_inches().tolist() == [8, 4]
    assert sequence(many(make, 300)).figure.get_size_inches()[1] < 18


def test_alerts_without_a_time_are_named(make: Any) -> None:
    df = at("23T04:00:00", "23T04:01:00", make=make)
    df.loc[0, "time"] = pd.NaT
    assert any("1 alert without a time left out" in text for text in texts(sequence(df)))
    assert any("No alerts" in text for text in texts(sequence(df[:0])))


@picture
def test_sequence_of_attacks(captured: pd.DataFrame) -> Figure:
    return sequence(captured[:40]).figure  # type: ignore[return-value]


@picture
def test_sequence_in_axes_on_white(make: Any) -> Figure:
    figure = Figure(figsize=(8, 5))
    sequence(odd(make), ax=figure.add_subplot())
    return figure


@picture
def test_sequence_of_one(captured: pd.DataFrame) -> Figure:
    return sequence(captured[:1]).figure  # type: ignore[return-value]
