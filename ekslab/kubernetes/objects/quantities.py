"""Resource quantities such as `250m` and `64Mi`."""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache
from typing import Any

_BINARY = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "Pi": 2**50, "Ei": 2**60}
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_FORM = re.compile(r"([+-]?)(\d*)(?:\.(\d*))?(.*)", re.DOTALL)
_EXPONENT = re.compile(r"[eE]([+-]?\d+)")
_NO_NUMBER = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
_NO_UNIT = "unable to parse quantity's suffix"
_MAX_DIGITS = 64  # of a number, and of the power of ten that its exponent makes


def quantity(text: Any) -> float:
    """A resource quantity (`250m`, `64Mi`) as a number of cores, bytes or things. Raises `ValueError`."""
    return float(_parsed(str(text))[0])


def quantity_text(value: Any) -> str:
    """A quantity in its canonical form: `0.5` is `500m`, `1000m` is `1`, `1024Mi` is `1Gi`.

    Raises `ValueError` with the API server's words for what is no quantity.
    """
    return _canonical(str(value))


@lru_cache(4096)
def _canonical(text: str) -> str:
    number, form = _parsed(text)
    sign, number = ("-", -number) if number < 0 else ("", number)
    if form == "binary" and number >= 1024 and number.denominator == 1:
        amount, unit = int(number), ""
        for name, size in _BINARY.items():
            if amount % size == 0:
                unit = name
        return f"{sign}{amount // _BINARY[unit]}{unit}" if unit else f"{sign}{amount}"
    rounded = -(-number * 10**9 // 1)  # up to the billionth, the smallest that there is
    amount, power = int(rounded), -9
    while amount and amount % 1000 == 0 and power < 18:
        amount, power = amount // 1000, power + 3
    if not amount:
        return "0"
    if form == "exponent":
        return f"{sign}{amount}e{power}" if power else f"{sign}{amount}"
    return f"{sign}{amount}{next(unit for unit, exponent in _DECIMAL.items() if exponent == power)}"


@lru_cache(4096)
def _parsed(text: str) -> tuple[Fraction, str]:
    """The number, and whether its unit is `binary`, `decimal` or an `exponent`."""
    match = _FORM.fullmatch(text.strip())
    assert match is not None
    sign, whole, part, unit = match[1], match[2], match[3] or "", match[4]
    if not whole and not part:
        raise ValueError(_NO_UNIT if sign and unit[:1] in "+-" and unit else _NO_NUMBER)
    if len(whole) + len(part) > _MAX_DIGITS:
        raise ValueError(_NO_NUMBER)
    number = Fraction(int(f"{sign}{whole}{part}"), 10 ** len(part))
    if unit in _BINARY:
        return number * _BINARY[unit], "binary"
    if unit in _DECIMAL:
        return number * Fraction(10) ** _DECIMAL[unit], "decimal"
    exponent = _EXPONENT.fullmatch(unit)
    if exponent is not None and abs(int(exponent[1])) <= _MAX_DIGITS:
        return number * Fraction(10) ** int(exponent[1]), "exponent"
    raise ValueError(_NO_UNIT if re.fullmatch(r"[eEinumkKMGTP]*[-+]?\d*", unit) else _NO_NUMBER)
