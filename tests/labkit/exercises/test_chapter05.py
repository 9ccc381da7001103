"""The exercise of chapter 05, answered wrongly and rightly, and the day of alerts that it is about."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any, cast

import pandas as pd
import pytest

from labkit import exercises
from labkit.alerts import to_frame
from labkit.exercises import NotYet
from labkit.exercises.recorded_day import DAY
from labkit.settings import Settings
from labkit.target import Target


@pytest.fixture(scope="module")
def day(workshop: Path) -> pd.DataFrame:
    with gzip.open(workshop / DAY, "rt") as lines:
        return to_frame(lines)


@pytest.fixture
def target(workshop: Path, tmp_path: Path) -> Target:
    """Only its settings are used."""
    return Target(Settings.load(environ={}, root=workshop, home=tmp_path), *cast(Any, [None] * 5))


@pytest.fixture(scope="module")
def right(day: pd.DataFrame) -> dict[str, str]:
    """The answer, found as an attendee might."""
    rare = day.groupby("rule", observed=True)["k8s.pod.name"].nunique() == 1
    first = day[day["rule"].isin(rare[rare].index)].iloc[0]["k8s.pod.name"]
    there = day[day["k8s.pod.name"] == first]
    return {
        "pod": first,
        "parent": there[there["rule"] == "Run shell untrusted"]["proc.pname"].iloc[0],
        "left_behind": there[there["proc.exepath"].str.startswith("/tmp/")]["proc.exepath"].iloc[0],
        "moved_to": day[day["k8s.ns.name"] == "batch"]["k8s.pod.name"].iloc[0],
    }


def other(day: pd.DataFrame, namespace: str, not_this: str = "") -> str:
    pods = day[day["k8s.ns.name"] == namespace]["k8s.pod.name"]
    return str(pods[pods != not_this].iloc[0])


def test_it_is_a_day_of_falcos_alerts_and_all_of_them_are_read(day: pd.DataFrame) -> None:
    assert day.attrs["skipped"] == {}
    assert len(day) == day.attrs["events"] > 300
    assert day["time"].is_monotonic_increasing
    assert day["time"].dt.date.nunique() == 1
    assert day["k8s.pod.name"].nunique() > 50
    critical = day[day["priority"] >= "Critical"]
    assert len(critical) > 50  # so the priority alone finds nothing
    assert (critical["k8s.ns.name"] != "ci").sum() == 1


def test_the_right_answer_with_namespaces_or_without(target: Target, right: dict[str, str]) -> None:
    assert exercises.check(target, "05-intruder", right).right
    written = right | {"pod": f"shop/{right['pod']}", "moved_to": f" batch/{right['moved_to']} "}
    assert "were builds" in exercises.check(target, "05-intruder", written).text
    assert exercises.check(target, "05-intruder", right | {"parent": right["parent"].upper()}).right


def test_the_second_pod_is_not_where_it_began(target: Target, right: dict[str, str]) -> None:
    with pytest.raises(NotYet, match="is where it went later"):
        exercises.check(target, "05-intruder", right | {"pod": f"batch/{right['moved_to']}"})


def test_wrong_answers_are_told_what_is_wrong_with_them(
    target: Target, right: dict[str, str], day: pd.DataFrame
) -> None:
    web = other(day, "shop", right["pod"])
    wrong: list[tuple[Any, str]] = [
        (right | {"pod": "web"}, "`pod`: no pod `web` alerted that day"),
        (right | {"pod": web}, f"`pod`: `{web}` isn't it. It has"),
        (right | {"parent": "sh"}, "wasn't started by `sh`"),
        (right | {"left_behind": "kworker"}, "give its whole path"),
        (right | {"left_behind": "/workspace/bin/e2e.test"}, "all in the namespace ci: builds do that"),
        (right | {"left_behind": "/usr/bin/cat"}, "the image has that program"),
        (right | {"left_behind": "/sbin/init"}, "no alert is about a program at `/sbin/init`"),
        (right | {"moved_to": right["pod"]}, "is where it began"),
        (right | {"moved_to": other(day, "monitoring")}, "`moved_to`: `operator-"),
        (right | {"parent": 3}, "`parent` has to be text; it is `3`"),
        (right | {"more": "x"}, "a dict with the keys"),
        ("nginx", "a dict with the keys"),
    ]
    for answer, said in wrong:
        with pytest.raises(NotYet) as caught:
            exercises.check(target, "05-intruder", answer)
        assert said in str(caught.value)
        assert right["moved_to"] not in str(caught.value), "it gives the answer away"
