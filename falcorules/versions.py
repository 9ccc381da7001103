"""Versions that rule files require, read as Falco reads them."""

from __future__ import annotations

import re


def parse_version(text: str) -> tuple[int, int, int] | None:
    match = re.match(r"\s*([+-]?[0-9]+)\.\s*([+-]?[0-9]+)\.\s*([+-]?[0-9]+)", text.partition("\0")[0], re.ASCII)
    if match is None:
        return None
    major, minor, patch = (_wrapped(digits) for digits in match.groups())
    return major, minor, patch


def _wrapped(digits: str) -> int:
    """A number as an unsigned 32-bit integer."""
    sign, digits = digits[0] == "-", digits.lstrip("+-0")
    value = int(digits or "0") if len(digits) < 20 else 1 << 64
    if value >= 1 << 64:
        return (1 << 32) - 1
    return (-value if sign else value) % (1 << 32)


def compatible(have: tuple[int, int, int], wanted: tuple[int, int, int] | None) -> bool:
    return wanted is not None and have[0] == wanted[0] and have >= wanted
