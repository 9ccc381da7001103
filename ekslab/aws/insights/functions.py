"""Functions of Logs Insights by name: numbers, strings, times, IP addresses and conditions."""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import hashlib
import ipaddress
import math
import operator
import re
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import re2

from ekslab.aws.insights.values import Millis, Value, computed, number, text, truth

_LONGEST = 1_000_000  # characters of a text that a query makes


@dataclass(frozen=True)
class Function:
    """A function: how many arguments it takes (`most` None: any number), and what it makes of their values."""

    least: int
    most: int | None
    apply: Callable[..., Value]


# -- numbers --


def _on_numbers(function: Callable[..., float]) -> Callable[..., Value]:
    """Of numbers a number: none if an argument is none, or if there is no result."""

    def apply(*values: Value) -> Value:
        numbers = [number(value) for value in values]
        if any(found is None for found in numbers):
            return None
        try:
            return computed(function(*numbers))
        except (ArithmeticError, ValueError):  # 1/0, sqrt(-1), a result that is too large
            return None

    return apply


def _power(a: float, b: float) -> float:
    found = math.pow(a, b)
    return int(found) if found.is_integer() and abs(found) < 2**53 else found


def _quotient(a: float, b: float) -> float:
    whole = isinstance(a, int) and isinstance(b, int) and a % b == 0
    return a // b if whole else a / b


def _remainder(a: float, b: float) -> float:
    # As in Java, the remainder has the dividend's sign.
    found = math.fmod(a, b)
    return int(found) if isinstance(a, int) and isinstance(b, int) else found


def _round(a: float, digits: float = 0) -> float:
    scale = 10.0**digits
    found = math.floor(a * scale + 0.5) / scale
    return int(found) if found.is_integer() else found


OPERATORS: dict[str, Callable[..., Value]] = {
    "+": _on_numbers(operator.add),
    "-": _on_numbers(operator.sub),
    "*": _on_numbers(operator.mul),
    "/": _on_numbers(_quotient),
    "%": _on_numbers(_remainder),
    "^": _on_numbers(_power),
    "negative": _on_numbers(operator.neg),
}


# -- strings --


def _of_text(function: Callable[..., Value]) -> Callable[..., Value]:
    """Of a text and other texts a value; missing if the first is missing."""
    return lambda first, *others: None if first is None else function(text(first), *map(text, others))


def _substr(value: Value, start: Value, length: Value = None) -> Value:
    first, count = number(start), number(length)
    if value is None or first is None or first < 0 or (count is not None and count < 0):
        return None
    return text(value)[int(first) : None if count is None else int(first) + int(count)]


def _replace(value: str, wanted: str, other: str) -> Value:
    if not wanted or value.count(wanted) * len(other) > _LONGEST:
        return value
    return value.replace(wanted, other)


@lru_cache(maxsize=64)
def regex(pattern: str) -> Any:
    """A compiled regular expression. Raises re2.error."""
    options = re2.Options()
    options.log_errors = False
    return re2.compile(pattern, options)


def _regex_replace(value: str, pattern: str, other: str) -> Value:
    try:
        return str(regex(pattern).sub(re.sub(r"\$(\d)", r"\\\1", other), value))[:_LONGEST]
    except re2.error:
        return None


def _decoded(value: str) -> Value:
    try:
        return base64.b64decode(value, validate=True).decode("utf-8", "replace")
    except (binascii.Error, ValueError):
        return None


# -- times --

_UNITS = {
    unit: (letter, width)
    for letter, width, units in (
        ("ms", 1, "ms msec millisecond"),
        ("s", 1000, "s sec second"),
        ("m", 60_000, "m min minute"),
        ("h", 3_600_000, "h hr hour"),
        ("d", 86_400_000, "d day"),
        ("w", 604_800_000, "w week"),
        ("mo", 1, "mo mon month"),  # of these the width is in months
        ("q", 3, "q qtr quarter"),
        ("y", 12, "y yr year"),
    )
    for name in units.split()
    for unit in ([name, f"{name}s"] if len(name) > 1 else [name])
}
_CALENDAR = ("mo", "q", "y")
_MOST_MONTHS = 1200
_LAST = 250_000_000_000_000  # ms: with the longest period after it that is the year 9992; dates end in 9999


@dataclass(frozen=True)
class Period:
    """A length of time: `width` in ms, or in months for months, quarters and years."""

    width: int
    months: bool

    def floor(self, time: int) -> int:
        """The beginning of the period that a time (ms) is in."""
        if not self.months:
            return time - time % self.width
        moment = dt.datetime(1970, 1, 1) + dt.timedelta(milliseconds=time)
        count = (moment.year - 1970) * 12 + moment.month - 1
        return _month(count - count % self.width)

    def ceil(self, time: int) -> int:
        """The end of the period that a time (ms) is in; the time itself where one begins."""
        begins = self.floor(time)
        if begins == time:
            return time
        if not self.months:
            return begins + self.width
        moment = dt.datetime(1970, 1, 1) + dt.timedelta(milliseconds=begins)
        return _month((moment.year - 1970) * 12 + moment.month - 1 + self.width)


def _month(count: int) -> int:
    """The ms since the epoch at which the month begins that is so many after January 1970."""
    begins = dt.datetime(1970 + count // 12, count % 12 + 1, 1)
    return (begins - dt.datetime(1970, 1, 1)) // dt.timedelta(milliseconds=1)


def period(count: int, unit: str) -> Period | None:
    """The period of a number and a unit such as `m`, `mins` or `quarter`; None if there is no such one."""
    letter, width = _UNITS.get(unit.lower(), ("", 0))
    months = letter in _CALENDAR
    if not letter or not 0 < count * width <= (_MOST_MONTHS if months else _MOST_MONTHS * 30 * 86_400_000):
        return None
    return Period(count * width, months)


def time_of(value: Value) -> int | None:
    """A time in ms that has a date, else None."""
    found = number(value)
    return int(found) if found is not None and 0 <= found < _LAST else None


def _from_millis(value: Value) -> Value:
    found = time_of(value)
    return Millis(found) if found is not None else None


# -- IP addresses --


def _address(value: Value) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text(value)) if isinstance(value, str) else None
    except ValueError:
        return None


def _is_address(version: int | None) -> Callable[[Value], Value]:
    def apply(value: Value) -> Value:
        found = _address(value)
        return int(found is not None and version in (None, found.version))

    return apply


@lru_cache(maxsize=256)
def _subnet(written: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(written, strict=False)
    except ValueError:
        return None


def _in_subnet(version: int | None) -> Callable[[Value, Value], Value]:
    def apply(value: Value, subnet: Value) -> Value:
        found, network = _address(value), _subnet(text(subnet))
        if found is None or network is None or version not in (None, found.version):
            return 0
        return int(found.version == network.version and found in network)

    return apply


# -- conditions --


def _case(*values: Value) -> Value:
    """Pairs of a condition and a value, and a value for when none of them is met."""
    for at in range(0, len(values) - 1, 2):
        if truth(values[at]):
            return values[at + 1]
    return values[-1] if len(values) % 2 else None


def _coalesce(*values: Value) -> Value:
    return next((value for value in values if value is not None), None)


def _whole(value: Value) -> Value:
    found = number(value)
    return int(found) if found is not None and math.isfinite(found) else None


def _digest(name: str) -> Callable[[str], Value]:
    return lambda value: hashlib.new(name, value.encode(), usedforsecurity=False).hexdigest()


FUNCTIONS: dict[str, Function] = {
    "abs": Function(1, 1, _on_numbers(abs)),
    "ceil": Function(1, 1, _on_numbers(math.ceil)),
    "floor": Function(1, 1, _on_numbers(math.floor)),
    "round": Function(1, 2, _on_numbers(_round)),
    "log": Function(1, 1, _on_numbers(math.log)),
    "sqrt": Function(1, 1, _on_numbers(math.sqrt)),
    "greatest": Function(1, None, _on_numbers(lambda *numbers: max(numbers))),
    "least": Function(1, None, _on_numbers(lambda *numbers: min(numbers))),
    "tonumber": Function(1, 1, number),
    "todouble": Function(1, 1, number),
    "toint": Function(1, 1, _whole),
    "tolong": Function(1, 1, _whole),
    "frommillis": Function(1, 1, _from_millis),
    "tomillis": Function(1, 1, time_of),
    "ispresent": Function(1, 1, lambda value: int(value is not None)),
    "coalesce": Function(1, None, _coalesce),
    "if": Function(3, 3, _case),
    "case": Function(2, None, _case),
    "isempty": Function(1, 1, lambda value: int(value is None or value == "")),
    "isblank": Function(1, 1, lambda value: int(value is None or not text(value).strip())),
    "concat": Function(1, None, lambda *values: "".join(map(text, values))[:_LONGEST]),
    "strlen": Function(1, 1, _of_text(len)),
    "trim": Function(1, 2, _of_text(lambda value, characters=None: value.strip(characters))),
    "ltrim": Function(1, 2, _of_text(lambda value, characters=None: value.lstrip(characters))),
    "rtrim": Function(1, 2, _of_text(lambda value, characters=None: value.rstrip(characters))),
    "toupper": Function(1, 1, _of_text(str.upper)),
    "tolower": Function(1, 1, _of_text(str.lower)),
    "substr": Function(2, 3, _substr),
    "replace": Function(3, 3, _of_text(_replace)),
    "regex_replace": Function(3, 3, _of_text(_regex_replace)),
    # The service takes a third argument, and finds as much with it as without.
    "strcontains": Function(2, 3, lambda value, part, *_: int(value is not None and text(part) in text(value))),
    "startswith": Function(2, 2, lambda value, part: int(value is not None and text(value).startswith(text(part)))),
    "endswith": Function(2, 2, lambda value, part: int(value is not None and text(value).endswith(text(part)))),
    "urlencode": Function(1, 1, _of_text(urllib.parse.quote_plus)),
    "urldecode": Function(1, 1, _of_text(urllib.parse.unquote_plus)),
    "base64encode": Function(1, 1, _of_text(lambda value: base64.b64encode(value.encode()).decode())),
    "base64decode": Function(1, 1, _of_text(_decoded)),
    "md5": Function(1, 1, _of_text(_digest("md5"))),
    "sha256": Function(1, 1, _of_text(_digest("sha256"))),
    "isvalidip": Function(1, 1, _is_address(None)),
    "isvalidipv4": Function(1, 1, _is_address(4)),
    "isvalidipv6": Function(1, 1, _is_address(6)),
    "isipinsubnet": Function(2, 2, _in_subnet(None)),
    "isipv4insubnet": Function(2, 2, _in_subnet(4)),
    "isipv6insubnet": Function(2, 2, _in_subnet(6)),
}  # fmt: skip
