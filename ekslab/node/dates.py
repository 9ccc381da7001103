"""Dates as GNU date and bash's printf format them."""

from __future__ import annotations

import re
import time


def formatted(nanoseconds: int, format: str) -> str:
    """strftime with GNU date's %N, %s, %3N and `%-d`."""
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    moment = time.gmtime(seconds)

    def replace(match: re.Match[str]) -> str:
        flag, width, letter = match.groups()
        if letter == "N":
            return f"{rest:09d}"[: int(width or 9)]
        if letter == "s":
            return str(seconds)
        if letter == "z":
            return "+0000"
        if letter == "Z":
            return "UTC"
        text = time.strftime(f"%{letter}", moment)
        return text.lstrip("0 ") or "0" if flag == "-" else text

    return re.sub(r"%(-?)(\d*)([a-zA-Z%])", replace, format)
