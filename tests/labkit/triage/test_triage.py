"""The package's face."""

from __future__ import annotations

import inspect

import pandas as pd
import pytest

from labkit import triage
from labkit.errors import LabError

FUNCTIONS = [getattr(triage, name) for name in triage.__all__ if inspect.isfunction(getattr(triage, name))]


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__name__)
def test_a_frame_of_something_else_and_unknown_arguments_are_refused(function: object) -> None:
    assert callable(function)
    if function is triage.places:
        return  # any frame has places
    with pytest.raises(LabError, match="can't be called like this"):
        function(nonsense=1)
    with pytest.raises(LabError, match="has no column"):
        function(*[pd.DataFrame({"a": [1]})] * (2 if function is triage.compare else 1))


def test_arguments_are_not_changed(captured: pd.DataFrame) -> None:
    before = captured.copy(deep=True)
    for function in FUNCTIONS:
        function(captured, captured) if function is triage.compare else function(captured)
    pd.testing.assert_frame_equal(captured, before)
