"""Where alerts happened."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from labkit.triage import places
from tests.labkit.triage.conftest import alert, as_categories

_NO_POD = {"pod": None, "namespace": None}


@pytest.mark.parametrize("kind", [lambda df: df, as_categories], ids=["text", "categories"])
def test_a_place_is_a_pod_or_else_a_container_or_else_a_node(make: Any, kind: Any) -> None:
    df = make(
        alert("01:00"),
        alert("02:00", namespace=None),
        alert("03:00", **_NO_POD, container_id="0123456789ab"),
        alert("04:00", **_NO_POD, container_id="host"),
        {**alert("05:00", **_NO_POD, container_id="host"), "hostname": "another"},
        {**alert("06:00", **_NO_POD, container_id=None), "hostname": None},
    )
    expected = ["shop/web-0", "?/web-0", "container 0123456789ab", "host vm", "host another", "host"]
    assert places(kind(df)).tolist() == expected


def test_places_are_categories_in_their_order(captured: pd.DataFrame, empty: pd.DataFrame) -> None:
    found = places(captured)
    assert found.cat.categories.tolist() == sorted(found.unique())
    assert found.index.equals(captured.index)
    assert places(empty).empty
    assert places(captured[["rule"]]).unique().tolist() == ["host"]
