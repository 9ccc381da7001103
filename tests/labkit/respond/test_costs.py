"""What it costs: the table of prices, and quantities times prices."""

from __future__ import annotations

import re

import pandas as pd
import pytest

from labkit.errors import LabError
from labkit.respond import costs


def test_quantities_become_dollars_at_list_prices() -> None:
    table = costs.costs(alarms=2, custom_metrics=20, ingested_gb=1.5).set_index("item")
    assert list(table.index) == ["custom metrics", "alarms, 60 s and longer", "Logs: ingestion"]  # the file's order
    assert table["month"].round(6).tolist() == [6.0, 0.2, 0.75]
    assert {name: str(dtype) for name, dtype in table.dtypes.items()} == {
        "quantity": "Float64",
        "unit": "string",
        "price": "Float64",
        "month": "Float64",
    }


def test_the_table_says_where_and_when_its_prices_are_from() -> None:
    table = costs.costs(dashboards=1)
    assert table.attrs["region"] == "us-east-1"
    assert re.fullmatch(r"\d{4}-\d\d", table.attrs["date"])
    assert "aws.amazon.com" in table.attrs["source"]


def test_every_price_is_a_price_of_something() -> None:
    items = costs.prices()["items"]
    assert all(item["price"] > 0 and item["item"] and item["unit"] for item in items.values())
    assert len(costs.costs(**dict.fromkeys(items, 1))) == len(items)


def test_nothing_costs_nothing() -> None:
    assert costs.costs().empty
    assert pd.isna(costs.costs()["month"].max())


def test_money_is_shown_in_dollars_and_cents_and_never_as_nothing_where_it_is_something() -> None:
    table = costs.table(costs.costs(custom_metrics=37, stored_gb=0.1, published=300, queue_calls=0))
    assert {row[0]: (row[1], row[3]) for row in table.rows} == {
        "custom metrics": ("37", "11.10"),
        "Logs: storage": ("0.10", "< 0.01"),
        "SNS: published": ("300", "< 0.01"),
        "SQS: sent, received, deleted": ("0", "0.00"),
    }
    assert re.fullmatch(r"List prices, us-east-1, \d{4}-\d\d: 11.10 US dollars a month", table.title)
    assert costs.table(costs.costs()).rows == ()


@pytest.mark.parametrize(
    ("quantities", "said"),
    [({"metrics": 1}, "no price of 'metrics'"), ({"alarms": -1}, "is -1"), ({"alarms": float("nan")}, "is nan")],
)
def test_what_has_no_price_is_said(quantities: dict[str, float], said: str) -> None:
    with pytest.raises(LabError, match=said) as caught:
        costs.costs(**quantities)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("quantity", "dollars"), [(0.0, "0.00"), (0.01, "< 0.01"), (0.02, "0.01"), (1.0, "0.30"), (5000.0, "1,500.00")]
)
def test_cents_are_rounded_and_thousands_grouped(quantity: float, dollars: str) -> None:
    ((_, _, _, shown),) = costs.table(costs.costs(custom_metrics=quantity)).rows
    assert shown == dollars
