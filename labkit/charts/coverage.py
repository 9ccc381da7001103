"""MITRE ATT&CK: which techniques alerts were about, and which the loaded rules cover."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pandas as pd

from labkit.alerts.mitre import TACTICS, TECHNIQUE, TECHNIQUES, tactics_of
from labkit.calls import checked, short_repr
from labkit.charts.data import tagged
from labkit.errors import LabError


@checked
def attack_matrix_data(df: pd.DataFrame, covered: Any = None) -> pd.DataFrame:
    """A row for each tactic and technique that an alert or a loaded rule is tagged with, in the order of an intrusion.

    Columns: `tactic`, `technique` (its id; missing where a rule names the tactic only) and `name` (missing if unknown),
    all string; `alerts` and `seen` (rules that alerted), int64; `covered` (loaded rules), Int64, missing if `covered`
    isn't given. That is the frame of `lab.falco_rules()`, of which rules that aren't enabled don't count, its column
    `tags`, or any list of rules' tags. A rule that names several tactics counts for each. `attrs["untagged"]` counts
    the alerts whose rule names no tactic.
    """
    seen = tagged(df)
    found: dict[tuple[str, str], dict[str, Any]] = {}

    def cells(tags: Iterable[str]) -> list[dict[str, Any]]:
        tags = list(tags)
        techniques = [t for t in dict.fromkeys(tags) if TECHNIQUE.fullmatch(t) and not t.startswith("TA")] or [""]
        pairs = ((tactic, technique) for tactic in dict.fromkeys(tactics_of(tags)) for technique in techniques)
        return [found.setdefault(pair, {"alerts": 0, "seen": set(), "covered": 0}) for pair in pairs]

    untagged = 0
    for rule, tags, alerts in zip(seen["rule"], seen["tags"], seen["alerts"], strict=True):
        named = cells(tags)
        untagged += 0 if named else alerts
        for cell in named:
            cell["alerts"] += alerts
            cell["seen"].add(rule)
    for tags in _tags(covered) if covered is not None else ():
        for cell in cells(tags):
            cell["covered"] += 1
    order = list(TACTICS)
    rows = sorted(found, key=lambda pair: (order.index(pair[0]), pair[1] == "", pair[1]))
    table = pd.DataFrame(
        {
            "tactic": pd.array([tactic for tactic, _ in rows], dtype="string"),
            "technique": pd.array([technique or None for _, technique in rows], dtype="string"),
            "name": pd.array([TECHNIQUES.get(technique) for _, technique in rows], dtype="string"),
            "alerts": pd.Series([found[row]["alerts"] for row in rows], dtype="int64"),
            "seen": pd.Series([len(found[row]["seen"]) for row in rows], dtype="int64"),
            "covered": pd.array(
                [None if covered is None else found[row]["covered"] for row in rows],
                dtype="Int64",
            ),
        }
    )
    table.attrs["untagged"] = untagged
    return table


def _tags(covered: Any) -> list[list[str]]:
    """Tags of each rule. Raises `LabError` for anything else."""
    if isinstance(covered, pd.DataFrame):
        if "tags" not in covered.columns:
            raise _no_rules(covered)
        if "enabled" in covered.columns:
            covered = covered[covered["enabled"].fillna(True).astype(bool)]
        covered = covered["tags"]
    if isinstance(covered, str) or not isinstance(covered, Iterable):
        raise _no_rules(covered)
    rules = [[] if _missing(tags) else tags for tags in covered]
    if any(isinstance(tags, str) or not isinstance(tags, Iterable) for tags in rules):
        raise _no_rules(covered)
    return [[str(tag) for tag in tags] for tags in rules]


def _missing(tags: Any) -> bool:
    return tags is None or (not isinstance(tags, Iterable) and bool(pd.isna(tags)))


def _no_rules(covered: object) -> LabError:
    hint = "Give it what lab.falco_rules() gives, or a list with each rule's tags."
    return LabError(f"covered is {short_repr(covered, 40)}, which are no rules.", hint=hint)
