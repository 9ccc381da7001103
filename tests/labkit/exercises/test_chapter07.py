"""The exercise of chapter 07: tables of severities that are wrong in one way each, and two that are right."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from labkit import Lab, exercises
from labkit.exercises import NotYet
from labkit.exercises.exercise import find
from labkit.settings import Settings
from labkit.target import Target

RIGHT = {
    "Emergency": "CRITICAL",
    "Alert": "CRITICAL",
    "Critical": "HIGH",
    "Error": "HIGH",
    "Warning": "MEDIUM",
    "Notice": "LOW",
    "Informational": "INFORMATIONAL",
    "Debug": "INFORMATIONAL",
}


@pytest.fixture
def target(workshop: Path, tmp_path: Path) -> Target:
    """Only its settings are used."""
    return Target(Settings.load(environ={}, root=workshop, home=tmp_path), *cast(Any, [None] * 5))


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (RIGHT | {"Alert": "HIGH", "Critical": "CRITICAL"}, "`Critical` would be more severe than `Alert`"),
        (RIGHT | {"Alert": "HIGH", "Critical": "CRITICAL"}, "takes for granted that a worse alert never gets a milder"),
        (RIGHT | {"Critical": "CRITICAL"}, "55 findings would be `CRITICAL`: 55 pages, nearly all builds"),
        (RIGHT | {"Warning": "HIGH"}, "findings would be `HIGH`: no team looks at more than 60 a day"),
        (RIGHT | {"Warning": "LOW"}, "`Warning` is `LOW`"),
        (RIGHT | {"Emergency": "HIGH", "Alert": "HIGH"}, "Nothing would ever page"),
        (RIGHT | {"Emergency": "HIGH", "Alert": "HIGH"}, "takes for granted that the worst does"),
        (RIGHT | {"Notice": "low"}, "no severity `'low'`; labels are in capital letters. Did you mean 'LOW'"),
        (RIGHT | {"Notice": 3}, "no severity `3`"),
        (RIGHT | {"Info": "LOW"}, "Falco has no priority `'Info'`. Did you mean 'Informational'"),
        ({name: label for name, label in RIGHT.items() if name != "Debug"}, "It says nothing of `Debug`"),
        (["HIGH"], "a dict of priorities and labels"),
    ],
)
def test_what_is_wrong_is_said(target: Target, table: Any, said: str) -> None:
    with pytest.raises(NotYet) as caught:
        exercises.check(target, "07-severity", table)
    assert said in str(caught.value)


@pytest.mark.parametrize("changed", [{}, {"Error": "MEDIUM", "Notice": "INFORMATIONAL"}])
def test_right_tables(target: Target, changed: dict[str, str]) -> None:
    told = exercises.check(target, "07-severity", RIGHT | changed)
    assert told.right
    assert "55 `HIGH`" in told.text
    assert "The intruder's programs are among the `HIGH` ones" in told.text


def test_the_first_hints_code_works_in_any_notebook(target: Target) -> None:
    lab = SimpleNamespace(read_alerts=partial(Lab.read_alerts, cast(Any, target)))
    code = next(one for one in find("07-severity").hints[0].split("`") if one.startswith("lab."))
    assert eval(code, {"lab": lab})["Critical"] == 55
