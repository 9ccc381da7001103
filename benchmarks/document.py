"""Puts what was measured into `docs/performance.md`: tables between a comment with their part's name and its end."""

from __future__ import annotations

import re
from collections.abc import Mapping

from benchmarks.report import ROOT, Machine, Part

FILE = ROOT / "docs" / "performance.md"


def write(parts: Mapping[str, Part]) -> None:
    """Replaces the tables of these parts; the others stay as they are."""
    text = FILE.read_text(encoding="utf-8")
    for name, part in parts.items():
        text = replaced(text, name, section(part))
    FILE.write_text(text, encoding="utf-8")


def section(part: Part) -> str:
    """The tables of a part, with where and when it was measured."""
    parts = [f"**{table.title}**\n\n{table.markdown()}" for table in part.tables]
    return "\n\n".join([*parts, *(note for table in part.tables for note in table.notes), measured_on(part.machine)])


def measured_on(machine: Machine) -> str:
    """A line about the machine. It says so if other programs ran at the same time."""
    versions = ", ".join(f"{name} {number}" for name, number in machine.versions.items())
    where = f"{machine.cores} cores of {machine.processor}, {machine.memory_gb} GB, {machine.system}"
    line = f"*Measured {machine.date} on {where}; Python {machine.python}, {versions}.*"
    if machine.busy:
        line += f" **Measured with load**: other programs ran meanwhile (load average {machine.load:.1f} before)."
    return line


def replaced(text: str, name: str, body: str) -> str:
    """The text with another body between the comments of a part. Raises `ValueError` if it hasn't these comments."""
    found = re.search(rf"(<!-- {name} -->\n).*?(<!-- end of {name} -->)", text, re.S)
    if found is None:
        raise ValueError(f"{FILE.name} has no place for {name}: <!-- {name} -->")
    return text[: found.end(1)] + body + "\n" + text[found.start(2) :]
