"""The lab's rules of the incubating and sandbox tiers: they load alone and together, and are named as the published."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from falcorules import check, load
from falcorules.rulesets import DATA, TIERS, default_rules

FILES = {tier: DATA / file for tier, file in TIERS.items()}


def items(file: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = yaml.safe_load(file.read_text())
    return found


@pytest.mark.parametrize("tier", TIERS)
def test_a_tier_loads_alone_and_nothing_in_it_is_unused(tier: str) -> None:
    assert default_rules(tier) == (TIERS[tier], FILES[tier].read_text())
    report = check([default_rules(tier)])
    assert report.successful
    assert report.warnings == []
    text = FILES[tier].read_text()
    for item in items(FILES[tier]):
        name = item.get("macro") or item.get("list")
        assert name is None or len(re.findall(rf"(?<![\w-]){re.escape(name)}(?![\w-])", text)) > 1, name


def test_the_tiers_load_together_and_what_two_of_them_define_is_the_same() -> None:
    assert check(list(FILES.values())).warnings == []
    defined: dict[str, Any] = {}
    for file in FILES.values():
        for item in items(file):
            for kind, body in (("macro", "condition"), ("list", "items")):
                if kind in item:
                    assert defined.setdefault(item[kind], item[body]) == item[body], item[kind]
    names = [rule.name for rule in load(list(FILES.values())).rules]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("tier", TIERS)
def test_rules_have_the_names_order_priorities_tags_and_fields_of_the_published(
    tier: str, upstream: list[Path]
) -> None:
    published = {item["rule"]: item for item in items(upstream[list(TIERS).index(tier)]) if "rule" in item}
    own = [item for item in items(FILES[tier]) if "rule" in item]
    names = [item["rule"] for item in own]
    assert names == [name for name in published if name in names]
    for item in own:
        other = published[item["rule"]]
        assert (item["priority"], item["tags"]) == (other["priority"], other["tags"])
        assert re.findall(r"\S+=%\S+", item["output"]) == re.findall(r"\S+=%\S+", other["output"])
        assert item.get("enabled", True) == other.get("enabled", True)
