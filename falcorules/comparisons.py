"""Comparisons of values: the operators of conditions that are more than one Python operator."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from falcorules import patterns, values
from falcorules.fields import NETWORK_TYPES
from falcorules.graph import Operand
from falcorules.transformers import MAPPING

_ORDERINGS: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def text_test(kind: str, constant: Any) -> Callable[[str], bool]:
    """A test of a string for one of the operators that need more than Python's own."""
    match kind:
        case "icontains":
            wanted = values.lower(constant)
            return lambda text: wanted in values.lower(text)
        case "glob":
            return patterns.glob(constant)
        case "iglob":
            return patterns.glob(constant, fold_case=True)
        case "regex":
            return patterns.regex(constant)
        case "pmatch":
            return patterns.Paths(constant).match
        case "startswith" | "endswith":
            check = str.startswith if kind == "startswith" else str.endswith
            return lambda text: check(text, constant)
        case "contains":
            return lambda text: constant in text
    raise ValueError(f"not an operator on strings: {kind}")


def value_test(kind: str, constant: Any, type_: str) -> Callable[[Any], bool]:
    """A test of one present value."""
    if type_ in NETWORK_TYPES:
        networks = constant if kind in ("in", "intersects") else (constant,)
        if kind == "!=":
            return lambda value: not in_networks(value, networks)
        return lambda value: in_networks(value, networks)
    match kind:
        case "=":
            return lambda value: bool(value == constant)
        case "!=":
            return lambda value: bool(value != constant)
        case "in" | "intersects":
            members = frozenset(constant)
            return lambda value: value in members
        case "exists":
            return lambda value: True
        case "<" | "<=" | ">" | ">=":
            compare = _ORDERINGS[kind]
            return lambda value: compare(value, constant)
        case "startswith" | "endswith" | "contains" | "icontains" | "glob" | "iglob" | "regex" | "pmatch":
            return text_test(kind, constant)
    raise ValueError(f"not an operator: {kind}")


def any_value_test(kind: str, constant: Any, type_: str) -> Callable[[Any], bool]:
    """A test of a field that has several values, any of which may match: ancestors, either side of a connection."""
    if type_ in ("IPADDR", "PORT") or type_ in NETWORK_TYPES:
        convert = values.address if type_ == "IPADDR" else None
        test = value_test(kind, constant, type_)
        quantifier = all if kind.startswith("!=") else any
        return lambda found: bool(found and quantifier(test(convert(value) if convert else value) for value in found))
    test = value_test(kind, constant, type_)
    return lambda found: bool(found) and any(map(test, found))


def field_comparison(kind: str, right: Operand) -> Callable[[Any, Any], bool]:
    """A comparison of two fields; false if either is missing."""
    mapped = right.source[0] == "call" and right.source[1] in MAPPING and not right.is_list
    if mapped and kind in ("in", "intersects"):
        # What they make has its terminating NUL with it, which no value on the left has.
        return lambda a, b: False
    compare = _comparison_of(kind, is_list=right.is_list)
    return lambda a, b: a is not None and b is not None and compare(a, b)


def _comparison_of(kind: str, *, is_list: bool) -> Callable[[Any, Any], bool]:
    match kind:
        case "in" if is_list:
            return lambda a, b: set(b).issuperset(a)
        case "intersects" if is_list:
            return lambda a, b: not set(a).isdisjoint(b)
        case "=" | "in" | "intersects":
            return lambda a, b: bool(a == b)
        case "!=":
            return lambda a, b: bool(a != b)
        case "<" | "<=" | ">" | ">=":
            return _ORDERINGS[kind]
        case "contains" | "bcontains":
            return lambda a, b: b in a
        case "startswith" | "bstartswith":
            return lambda a, b: bool(a.startswith(b))
        case "endswith":
            return lambda a, b: bool(a.endswith(b))
        case _:
            return lambda a, b: text_test(kind, b)(a)


def in_networks(value: str | bytes | None, networks: tuple[tuple[int, int, int], ...]) -> bool:
    if value is None:
        return False
    packed = values.address(value) if isinstance(value, str) else value
    if packed is None:
        return False
    bits, length = int.from_bytes(packed, "big"), len(packed)
    return any(length == size and bits & mask == network for network, mask, size in networks)


def sides(client: Any, server: Any, local: Any, remote: Any) -> list[Any] | None:
    found = [side for side in (client, server) if side is not None]
    return found or [side for side in (local, remote) if side is not None] or None


def ancestors(chain: Any) -> list[Any] | None:
    """The recorded chain starts with the process itself; ancestors are what follows."""
    return list(chain[1:]) if isinstance(chain, list | tuple) else None


def as_address(value: Any) -> bytes | None:
    return values.address(value) if isinstance(value, str) else value


def as_bytes(value: Any) -> bytes | None:
    return value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value


def as_hexadecimal(value: Any) -> int | None:
    return int(value, 16) if isinstance(value, str) else value
