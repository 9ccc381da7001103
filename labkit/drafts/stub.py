"""Placeholders in a stub: what an exercise leaves to the attendee."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from falcorules import Mark

_KEY = re.compile(r"\s*(?:-\s+)?([\w-]+):(?:\s+(.*?))?\s*$")
_WHOLE = re.compile(r"""["']?(\.\.\.|…|TODO|\?\?\?)["']?\s*(?:#.*)?""")
_PART = re.compile(r"(?<![\w.])(\.\.\.|…|\?\?\?|never_true)(?![\w.])")


def placeholders(text: str) -> tuple[Mark, ...]:
    """Marks of what is to be replaced: `...` for a value or in a rule's condition, `never_true` in one, a condition
    that is empty; or all of a text that has nothing but comments."""
    from falcorules import Mark

    lines = text.split("\n")
    if not any(line.strip() and not line.lstrip().startswith("#") for line in lines):
        return (Mark("todo", "Write your rule here, from `- rule:` on.", line=0, end=len(lines[0])),)
    found: list[Mark] = []
    key = item = ""
    for number, line in enumerate(lines):
        if line.lstrip().startswith("#"):
            continue
        value, at = line, 0
        if match := _KEY.match(line):
            key, value = match[1], match[2] or ""
            item = key if key in ("rule", "macro", "list") and line.lstrip().startswith("-") else item
            at = line.find(value) if value else len(line)
            if key == "condition" and value in ("", '""', "''") and not _continues(lines, number):
                found.append(
                    Mark("todo", "Write the condition here.", line=number, start=match.start(1), end=len(line))
                )
        whole = _WHOLE.fullmatch(value.strip())
        part = _PART.search(value) if key == "condition" and item == "rule" else None
        if place := whole or part:
            start = line.index(place[1], at)
            words = f"Put what is missing in place of `{place[1]}`."
            if place[1] == "never_true":
                words = "`never_true` holds the rule back: put what is missing in its place."
            found.append(Mark("todo", words, line=number, start=start, end=start + len(place[1])))
    return tuple(found)


def _continues(lines: list[str], number: int) -> bool:
    """Whether the value of a key without one is in the lines below, indented more."""
    following = next((line for line in lines[number + 1 :] if line.strip()), "")
    indent = len(lines[number]) - len(lines[number].lstrip(" -"))
    return len(following) - len(following.lstrip()) > indent
