"""Costs of metrics, alarms and logs a month, at AWS's list prices."""

from __future__ import annotations

import tomllib
from importlib import resources
from numbers import Real
from typing import Any

import pandas as pd

from labkit.calls import checked, near, short_repr
from labkit.errors import LabError
from labkit.show import Table


def prices() -> dict[str, Any]:
    """`prices.toml`: AWS's list prices, with the region and the month they are from."""
    return tomllib.loads(resources.files("labkit.respond").joinpath("prices.toml").read_text(encoding="utf-8"))


@checked
def costs(**quantities: float) -> pd.DataFrame:
    """The costs of quantities a month at list prices (US dollars, us-east-1), without the account's free tier.

    Names are those of `prices.toml`: `custom_metrics=21, alarms=2, dashboards=1, ingested_gb=0.5, ...`. Rows are in the
    order of that file; columns `item` and `unit` (string), `quantity`, `price` (of one unit), `month` (Float64);
    `attrs` has `region`, `date`, `source`. A metric costs by the hour in which it got a value: one that got values on
    one day of the month costs a thirtieth.

    Raises `LabError` for a name without a price and for a quantity that isn't a number from 0 on.
    """
    about = prices()
    items = about.pop("items")
    del about["instances"]
    for name, quantity in quantities.items():
        if name not in items:
            hint = f"{near(name, items)}There are prices of: {', '.join(items)}."
            raise LabError(f"There is no price of {name!r}.", hint=hint)
        if not isinstance(quantity, Real) or not quantity >= 0:
            raise LabError(f"The quantity of {name} is {short_repr(quantity)}.", hint="Give a number from 0 on.")
    rows = [
        (item["item"], quantities[name], item["unit"], item["price"], quantities[name] * item["price"])
        for name, item in items.items()
        if name in quantities
    ]
    columns = {"item": "string", "quantity": "Float64", "unit": "string", "price": "Float64", "month": "Float64"}
    df = pd.DataFrame(rows, columns=list(columns)).astype(columns)
    df.attrs.update(about)
    return df


@checked
def table(priced: pd.DataFrame) -> Table:
    """The frame of `costs` as a table with its total, in dollars and cents; less than a cent is `< 0.01`."""
    rows = [
        (item, f"{quantity:,.2f}".removesuffix(".00"), unit, _dollars(month))
        for item, quantity, unit, month in priced[["item", "quantity", "unit", "month"]].itertuples(index=False)
    ]
    region, date, total = priced.attrs["region"], priced.attrs["date"], _dollars(priced["month"].sum())
    title = f"List prices, {region}, {date}: {total} US dollars a month"
    return Table(title, ("item", "quantity", "unit", "US dollars"), tuple(rows))


def _dollars(amount: float) -> str:
    return "< 0.01" if 0 < amount < 0.005 else f"{amount:,.2f}"
