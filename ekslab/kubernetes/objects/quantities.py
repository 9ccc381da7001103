"""Resource quantities such as `250m` and `64Mi`."""

from __future__ import annotations

import re
from typing import Any

_UNITS = {
    "n": 1e-9, "u": 1e-6, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18,
    "Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40, "Pi": 2.0**50, "Ei": 2.0**60,
}  # fmt: skip


def quantity(text: Any) -> float:
    """A resource quantity (`250m`, `64Mi`) as a number of cores, bytes or things."""
    text = str(text)
    for length in (2, 1):
        if text[-length:] in _UNITS:
            return float(text[:-length]) * _UNITS[text[-length:]]
    return float(text)


def quantity_text(value: Any) -> str:
    """A quantity in its canonical form: `0.5` is `500m`, `1000m` is `1`."""
    text = str(value)
    match = re.fullmatch(r"(\d+)(?:\.(\d{1,3}))?(m?)", text)
    if match is None or (match[2] and match[3]):
        return text
    milli = int(match[1]) if match[3] else int(match[1]) * 1000 + int((match[2] or "").ljust(3, "0"))
    return f"{milli}m" if milli % 1000 else str(milli // 1000)
