"""Values of Logs Insights: how they compare, sort, count as numbers, and read in results."""

from __future__ import annotations

import datetime as dt
import math
import operator
import re
from collections.abc import Callable, Sequence
from decimal import Decimal
from functools import lru_cache
from typing import Any

Value = str | int | float | None

_NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_LONGEST = 100  # characters of a text that is taken for a number
_CHUNKS = re.compile(r"[0-9]+|[^0-9]+")
_ORDERS: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


class Millis(int):
    """A time in milliseconds since the epoch; results show it as a date."""


class Computed(float):
    """A number that the query has computed; results show it with at most ten decimals."""


class Row(dict[str, Value]):
    """The values of a row by name; those that it lacks are None."""

    def __missing__(self, name: str) -> Value:
        return None

    def lacks(self, needles: Sequence[str]) -> bool:
        """Whether none of the discovered fields can contain one of the needles."""
        return False

    def release(self) -> None:
        """Lets go of what can be found again: the row is kept for a while."""


Expression = Callable[[Row], Value]


def number(value: Value) -> int | float | None:
    """The value of a number or of a text with a number; None for anything else."""
    if isinstance(value, int | float):
        return value
    if value is None or len(value) > _LONGEST or not _NUMBER.fullmatch(value):
        return None
    if re.search(r"[.eE]", value):
        found = float(value)
        return found if math.isfinite(found) else None
    return int(value)


def computed(value: float) -> Value:
    """The result of a computation: a whole number where it is one, None where it is none (1/0, sqrt(-1))."""
    if isinstance(value, int):
        if abs(value) < 1 << 63:
            return int(value)
        value = float(value) if abs(value) < 1 << 1000 else math.inf
    return Computed(value) if math.isfinite(value) else None


def text(value: Value) -> str:
    """The text of a value in results."""
    if isinstance(value, str):
        return value
    if isinstance(value, Millis):
        return f"{_second(value // 1000)}.{value % 1000:03d}"
    if isinstance(value, float):
        shown = round(value, 10) if isinstance(value, Computed) else float(value)
        return str(int(shown)) if shown.is_integer() else f"{Decimal(repr(float(shown))):f}"
    return str(int(value)) if value is not None else ""


@lru_cache(maxsize=4096)
def _second(seconds: int) -> str:
    moment = dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(seconds=seconds)
    return f"{moment:%Y-%m-%d %H:%M:%S}"


def truth(value: Value) -> bool:
    """Whether a condition that has this value is met: functions say 1 or 0."""
    return bool(number(value))


def compare(sign: str, left: Value, right: Value) -> bool:
    """A comparison. With a value that is missing only `!=` is true, as `not (a = b)` is."""
    if sign == "!=":
        return not compare("=", left, right)
    if left is None or right is None:
        return False
    a, b = number(left), number(right)
    if a is not None and b is not None:
        return _ORDERS[sign](a, b)
    return _ORDERS[sign](text(left), text(right))


def order(value: Value) -> tuple[int, Any]:
    """The key by which `sort` orders values of any type: missing ones, text by its chunks, then numbers."""
    if value is None:
        return 0, 0
    found = number(value)
    if found is not None:
        return 2, found
    # A chunk of digits is ordered by its length and then by its value; against other text by its first character.
    return 1, [
        ("0", len(chunk), chunk) if chunk.isdigit() else (chunk, 0, "") for chunk in _CHUNKS.findall(text(value))
    ]


def discovered(document: Any, path: str) -> Value:
    """The value of a discovered JSON field: nesting, array indices and dots within keys are all written as dots."""
    found = _descend(document, path)
    if isinstance(found, bool):
        return int(found)  # Insights shows truth values as 1 and 0
    return found if isinstance(found, str | int | float) else None


@lru_cache(maxsize=256)
def _splits(path: str) -> list[tuple[str, str | None]]:
    """A path as (key, path below it, None at its end), in every way that its dots allow."""
    parts = path.split(".")
    below = (".".join(parts[length:]) for length in range(1, len(parts)))
    return [(".".join(parts[:length]), rest) for length, rest in enumerate([*below, None], start=1)]


def _descend(value: Any, path: str | None) -> Any:
    if path is None:
        return value
    if isinstance(value, dict):
        for key, rest in _splits(path):
            if key in value:
                found = _descend(value[key], rest)
                if found is not None:
                    return found
    elif isinstance(value, list):
        index, rest = _splits(path)[0]
        if index.isdigit() and int(index) < len(value):
            return _descend(value[int(index)], rest)
    return None
