"""What metrics and alarms cost: quantities of a month come in, a table at AWS's list prices goes out."""

from __future__ import annotations

import tomllib
from importlib import resources
from typing import Any

import pandas as pd

from labkit.errors import LabError
from labkit.show import Table


def prices() -> dict[str, Any]:
    """`prices.toml`: AWS's list prices, with the region and the month they are from."""
    return tomllib.loads(resources.files("labkit.respond").joinpath("prices.toml").read_text(encoding="utf-8"))


def costs(**quantities: float) -> pd.DataFrame:
    """What quantities a month cost at list prices (US dollars, us-east-1), without the account's free tier.

    Names are those of `prices.toml`: `custom_metrics=21, alarms=2, dashboards=1, ingested_gb=0.5, ...`. Rows are in the
    order of that file; columns `item` and `unit` (string), `quantity`, `price` (of one unit), `month` (Float64);
    `attrs` has `region`, `date`, `source`. A metric is paid for by the hour in which something was put to it, so one
    that is put to for a day costs a thirtieth.

    Raises `LabError` for a name that has no price, and for a quantity below zero.
    """
    table = prices()
    items = table.pop("items")
    for name, quantity in quantities.items():
        if name not in items:
            raise LabError(f"There is no price of {name!r}.", hint=f"There are prices of: {', '.join(items)}.")
        if not quantity >= 0:
            raise LabError(f"The quantity of {name} is {quantity}.", hint="Give a number that isn't below zero.")
    rows = [
        (item["item"], quantities[name], item["unit"], item["price"], quantities[name] * item["price"])
        for name, item in items.items()
        if name in quantities
    ]
    columns = {"item": "string", "quantity": "Float64", "unit": "string", "price": "Float64", "month": "Float64"}
    df = pd.DataFrame(rows, columns=list(columns)).astype(columns)
    df.attrs.update(table)
    return df


def shown(df: pd.DataFrame) -> Table:
    """The frame of `costs` as a table with its total: money in dollars and cents, and `< 0.01` for what is less."""
    rows = [
        (item, f"{quantity:,.2f}".removesuffix(".00"), unit, _dollars(month))
        for item, quantity, unit, month in zip(df["item"], df["quantity"], df["unit"], df["month"], strict=True)
    ]
    title = f"List prices, {df.attrs['region']}, {df.attrs['date']}: {_dollars(df['month'].sum())} US dollars a month"
    return Table(title, ("item", "quantity", "unit", "US dollars"), tuple(rows))


def _dollars(amount: float) -> str:
    return "< 0.01" if 0 < amount < 0.005 else f"{amount:,.2f}"
