"""Exercises of chapter 07: how severe an alert is for a team."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from labkit.alerts.parse import PRIORITIES
from labkit.calls import near, short_repr
from labkit.exercises import recorded_day
from labkit.exercises.exercise import Wrong, exercise
from labkit.show import counted
from labkit.target import Target

_PRIORITIES = tuple(reversed(PRIORITIES))
_LABELS = ("INFORMATIONAL", "LOW", "MEDIUM", "HIGH", "CRITICAL")
MOST_PAGES, MOST_HIGH = 5, 60


@exercise(
    "07-severity",
    "A table of severities that a team can live with",
    hints=(
        "How many alerts of each priority did chapter 05's day have? "
        '`lab.read_alerts("notebooks/data/day.jsonl.gz")["priority"].value_counts()` counts them. '
        "Builds make most of one priority: what may it be, so that no team is called 55 times?",
        "Leave `CRITICAL` to what Falco calls worse than `Critical`. That priority may be `HIGH` then, and `Warning` "
        "one step below.",
    ),
)
def severity(target: Target, table: Any) -> str:
    """`table`: a dict of Falco's eight priorities and the labels that their findings get."""
    if not isinstance(table, dict):
        raise Wrong(f"It has to be a dict of priorities and labels; it is `{short_repr(table)}`.")
    for priority in table:
        if priority not in _PRIORITIES:
            raise Wrong(f"Falco has no priority `{short_repr(priority)}`. {near(priority, _PRIORITIES)}".strip())
    if missing := [priority for priority in _PRIORITIES if priority not in table]:
        raise Wrong(f"It says nothing of {', '.join(f'`{priority}`' for priority in missing)}.")
    for priority, label in table.items():
        if label not in _LABELS:
            words = f"`{priority}`: Security Hub has no severity `{short_repr(label)}`; labels are in capital letters."
            raise Wrong(f"{words} {near(label, _LABELS)}".strip())
    levels = [_LABELS.index(table[priority]) for priority in _PRIORITIES]
    for (worse, after), (higher, lower) in zip(pairwise(_PRIORITIES), pairwise(levels), strict=True):
        if higher < lower:
            raise Wrong(
                f"`{after}` would be more severe than `{worse}`, which Falco takes for worse: the list above takes for "
                "granted that a worse alert never gets a milder label."
            )
    if "CRITICAL" not in table.values():
        raise Wrong(
            "Nothing would ever page: no priority is `CRITICAL`. The list above takes for granted that the worst does."
        )
    if _LABELS.index(table["Warning"]) < _LABELS.index("MEDIUM"):
        raise Wrong(f"`Warning` is `{table['Warning']}`: reads of /etc/shadow would be among what needs no action.")
    counts = recorded_day.frame(target.settings.root)["priority"].astype(str).map(table).value_counts()
    pages, high = int(counts.get("CRITICAL", 0)), int(counts.get("HIGH", 0))
    if pages > MOST_PAGES:
        raise Wrong(
            f"On chapter 05's day, {pages} findings would be `CRITICAL`: {counted(pages, 'page')}, nearly all builds."
        )
    if high > MOST_HIGH:
        raise Wrong(
            f"On chapter 05's day, {high} findings would be `HIGH`: no team looks at more than {MOST_HIGH} a day."
        )
    told = ", ".join(f"{counts[label]} `{label}`" for label in reversed(_LABELS) if label in counts.index)
    return (
        f"On chapter 05's day: {told}. The intruder's programs are among the `{table['Critical']}` ones. Next you "
        "would tell the rule about your builds, and could afford to be called for the rest."
    )
