"""Dates as GNU date and bash's printf format them."""

from __future__ import annotations

import calendar
import re
import time
from datetime import UTC, date, datetime, timedelta
from datetime import time as Time


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


_UNITS = {
    "sec": 1, "second": 1, "min": 60, "minute": 60, "hour": 3600, "day": 86_400, "week": 604_800,
    "fortnight": 1_209_600, "month": 0, "year": 0,
}  # fmt: skip
_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_ORDINALS = {"last": -1, "this": 0, "next": 1}
_WORD = re.compile(
    r"(?P<date>\d{4}-\d{1,2}-\d{1,2})|(?P<american>\d{1,2}/\d{1,2}/\d{4})|(?P<time>\d{1,2}:\d{2}(:\d{2}([.,]\d{1,9})?)?)"
    r"|(?P<number>[-+]\s*\d{1,15}|\d{1,15})|(?P<word>[a-z]+)|(?P<skip>[\s,]+)",
    re.IGNORECASE,
)


def moment_of(text: str, now: int) -> int | None:
    """The nanoseconds that a date means as GNU `date -d` reads it, or None if it means none.

    Reads ISO dates and times, `@seconds`, names of months and days, and distances such as `2 days ago`.
    """
    if re.fullmatch(r"@-?\d{1,11}(\.\d{1,9})?", text.strip()):
        return int(float(text.strip()[1:]) * 1e9)
    try:
        return _moment_of(re.sub(r"(?<=\d)T(?=\d)", " ", text.strip()), now)
    except (ValueError, OverflowError):
        return None


def _moment_of(text: str, now: int) -> int:
    words = _dated(text)
    start = datetime.fromtimestamp(now // 1_000_000_000, UTC)
    clock: tuple[int, int, int] | None = None
    day: date | None = None
    zone = timedelta(0)
    fraction, months, seconds = now % 1_000_000_000, 0, 0
    at = 0
    while at < len(words):
        kind, word = words[at]
        following = words[at + 1][1] if at + 1 < len(words) else ""
        at += 1
        unit = following.removesuffix("s") if following.removesuffix("s") in _UNITS else ""
        if kind == "date":
            day = date(*(int(part) for part in word.split("-")))
        elif kind == "american":
            day = datetime.strptime(word, "%m/%d/%Y").date()
        elif kind == "time":
            parts = [float(part) for part in (*word.replace(",", ".").split(":"), "0")[:3]]
            if following in ("am", "pm"):
                parts[0] = parts[0] % 12 + 12 * (following == "pm")
                at += 1
            clock = (int(parts[0]), int(parts[1]), int(parts[2]))
            fraction = round(parts[2] % 1 * 1e9)
        elif kind == "number" and clock is not None and word[0] in "+-" and not unit and len(word) in (3, 5):
            zone = timedelta(hours=int(word[:3]), minutes=int(word[0] + (word[3:] or "0")))
        elif (kind == "number" or word in _ORDINALS) and unit:
            count = _ORDINALS[word] if word in _ORDINALS else int(word.replace(" ", ""))
            at += 1
            if words[at : at + 1] == [("word", "ago")]:
                count = -count
                at += 1
            months += count * {"month": 1, "year": 12}.get(unit, 0)
            seconds += count * _UNITS[unit]
        elif word in _ORDINALS and _day(following) is not None:
            ahead = ((_day(following) or 0) - start.weekday()) % 7
            ahead += -7 if word == "last" else 7 if word == "next" and not ahead else 0
            day, clock, at = start.date() + timedelta(ahead), clock or (0, 0, 0), at + 1
        elif kind == "word" and word[:3] in _MONTHS and following.isdecimal():
            year = words[at + 1][1] if words[at + 1 : at + 2] and words[at + 1][0] == "number" else ""
            day = date(int(year or start.year), _MONTHS.index(word[:3]) + 1, int(following))
            at += 2 if year else 1
        elif kind == "number" and following[:3] in _MONTHS:
            year = words[at + 1][1] if words[at + 1 : at + 2] and words[at + 1][0] == "number" else ""
            day = date(int(year or start.year), _MONTHS.index(following[:3]) + 1, int(word))
            at += 2 if year else 1
        elif kind == "number" and len(word) == 8 and word.isdecimal():
            day = date(int(word[:4]), int(word[4:6]), int(word[6:]))
        elif kind == "number" and following in ("am", "pm") and word.isdecimal():
            clock, at = (int(word) % 12 + 12 * (following == "pm"), 0, 0), at + 1
        elif word in ("today", "now", "yesterday", "tomorrow"):
            seconds += {"yesterday": -86_400, "tomorrow": 86_400}.get(word, 0)
        elif word == "midnight":
            clock = (0, 0, 0)
        elif word == "noon":
            clock = (12, 0, 0)
        elif word in ("utc", "gmt", "z"):
            pass
        elif kind == "word" and (weekday := _day(word)) is not None:
            if day is None:
                day = start.date() + timedelta((weekday - start.weekday()) % 7)
                clock = clock or (0, 0, 0)
        elif word in _UNITS or word.removesuffix("s") in _UNITS:
            seconds += _UNITS[word.removesuffix("s")]
            months += {"month": 1, "year": 12}.get(word.removesuffix("s"), 0)
        else:
            raise ValueError(text)
    if not words or (day is not None and clock is None):
        clock = (0, 0, 0)
    if clock is None:
        clock = (start.hour, start.minute, start.second)
    elif not any(kind == "time" for kind, _ in words):
        fraction = 0
    day = day or start.date()
    month = day.month - 1 + months
    first = date(day.year + month // 12, month % 12 + 1, 1)
    moment = datetime.combine(first, Time(*clock), UTC) + timedelta(day.day - 1) - zone
    moment += timedelta(seconds=seconds)  # which is refused where there is no such year
    return calendar.timegm(moment.timetuple()) * 1_000_000_000 + fraction


def _dated(text: str) -> list[tuple[str, str]]:
    """The words of a date and their kinds."""
    words = []
    at = 0
    while at < len(text):
        match = _WORD.match(text, at)
        if match is None:
            raise ValueError(text)
        kind = match.lastgroup or "time"
        if kind != "skip":
            words.append((str(kind), re.sub(r"\s", "", match[0]).lower()))
        at = match.end()
    return words


def _day(word: str) -> int | None:
    """The number of a day of the week, by its name or the beginning of it."""
    found = [index for index, name in enumerate(_DAYS) if len(word) > 2 and name.startswith(word)]
    return found[0] if found else None
