"""The grep filter: keeps or excludes events by regular expressions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ekslab.images.fluent_bit.config import Section
from ekslab.images.fluent_bit.patterns import compiled, filter_failed
from ekslab.images.fluent_bit.records import Event, Record, lookup
from ekslab.images.fluent_bit.text import valid

Filter = Callable[[list[Event]], list[Event]]


def _rule(section: Section, text: str) -> tuple[str, Any]:
    key, _, pattern = text.partition(" ")
    if not pattern.strip():
        raise filter_failed(section, "invalid regex, expected field and regular expression")
    return key, compiled(section, pattern.strip())


def grep(section: Section) -> Filter:
    """The filter of a section. Raises `ConfigError`."""
    keep = [_rule(section, text) for text in section.all("regex")]
    drop = [_rule(section, text) for text in section.all("exclude")]
    combine = section.get("logical_op", "legacy").lower()
    if combine not in ("legacy", "and", "or"):
        raise filter_failed(section, f"logical_op: unknown value '{combine}'")
    if combine != "legacy" and keep and drop:
        raise filter_failed(section, "Both 'regex' and 'exclude' are set.")

    def found(record: Record, rule: tuple[str, Any]) -> bool:
        value = lookup(record, rule[0])
        return isinstance(value, str) and rule[1].search(valid(value)) is not None

    def keeps(record: Record) -> bool:
        kept = [found(record, rule) for rule in keep]
        dropped = [found(record, rule) for rule in drop]
        if combine == "or":
            return any(kept) if keep else not any(dropped)
        if combine == "and":
            return all(kept) if keep else not all(dropped)
        return all(kept) and not any(dropped)

    return lambda events: [event for event in events if keeps(event.record)]
