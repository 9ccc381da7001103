"""Filters: events go in, events come out, fewer or changed. Each is made once from its section and then called."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable
from typing import Any

import re2

from ekslab.images.fluent_bit.config import ConfigError, Section, parse_bool
from ekslab.images.fluent_bit.records import Event, Record, parse_time
from ekslab.wildcards import wildcard

Filter = Callable[[list[Event]], list[Event]]
Parsers = dict[str, dict[str, str]]


def build(section: Section, parsers: Parsers) -> Filter:
    """The filter of a section. Raises `ConfigError` when its properties don't work together."""
    _compiled(section, section.get("match_regex"))
    return _BUILDERS[section.plugin](section, parsers)


def matches(section: Section, tag: str) -> bool:
    """Whether a filter or output wants events of this tag; `*` stands for any text."""
    if section.get("match_regex"):
        try:
            return _regex(section.get("match_regex")).search(tag) is not None
        except re2.error:
            return False
    pattern = section.get("match")
    return bool(pattern) and wildcard(pattern)(tag)


def lookup(record: Record, accessor: str) -> Any:
    """The value of a key, or of a record accessor such as `$kubernetes['labels']['app']`; None if there is none."""
    if not accessor.startswith("$"):
        return record.get(accessor)
    value: Any = record
    for dotted, quoted in re.findall(r"\$?([^\[\]$]+)|\['([^']*)'\]", accessor):
        if not isinstance(value, dict):
            return None
        value = value.get(quoted or dotted)
    return value


def _init_failed(section: Section, *texts: str) -> ConfigError:
    lines = [("error", f"[{section.label}] {text}") for text in texts]
    return ConfigError(
        *lines,
        ("error", f"[filter] failed initialize filter {section.instance}"),
        ("error", "[engine] filter initialization failed"),
    )


@functools.lru_cache(maxsize=256)
def _regex(pattern: str) -> Any:
    """RE2's, whose searches take linear time. Raises re2.error."""
    options = re2.Options()
    options.log_errors = False
    # Onigmo's named groups are written (?<name>...).
    return re2.compile(re.sub(r"\(\?<(?![=!])", "(?P<", pattern), options)


def _compiled(section: Section, pattern: str) -> Any:
    """Raises `ConfigError` for what isn't a regular expression, or none that the lab can use."""
    try:
        return _regex(pattern)
    except re2.error as error:
        why = error.args[0].decode() if isinstance(error.args[0], bytes) else error
        if re.search(r"\(\?<?[=!]|\\[1-9]|[+*?}]\+", pattern):
            why = "the embedded lab knows no look-around, back-references or possessive quantifiers here"
        raise _init_failed(section, f"could not compile regex pattern '{pattern}': {why}") from error


def _rule(section: Section, text: str) -> tuple[str, Any]:
    key, _, pattern = text.partition(" ")
    if not pattern.strip():
        raise _init_failed(section, f"invalid regex, expected field and regular expression: {text}")
    return key, _compiled(section, pattern.strip())


def _grep(section: Section, parsers: Parsers) -> Filter:
    keep = [_rule(section, text) for text in section.all("regex")]
    drop = [_rule(section, text) for text in section.all("exclude")]
    combine = section.get("logical_op", "legacy").lower()
    if combine not in ("legacy", "and", "or"):
        raise _init_failed(section, f"logical_op: unknown value '{combine}'")
    if combine != "legacy" and keep and drop:
        raise _init_failed(section, "Both 'regex' and 'exclude' are set.")

    def found(record: Record, rule: tuple[str, Any]) -> bool:
        value = lookup(record, rule[0])
        return isinstance(value, str) and rule[1].search(value) is not None

    def keeps(record: Record) -> bool:
        kept = [found(record, rule) for rule in keep]
        dropped = [found(record, rule) for rule in drop]
        if combine == "or":
            return any(kept) if keep else not any(dropped)
        if combine == "and":
            return all(kept) if keep else not all(dropped)
        return all(kept) and not any(dropped)

    return lambda events: [event for event in events if keeps(event.record)]


def _modify(section: Section, parsers: Parsers) -> Filter:
    # Fluent Bit applies the rules in the order of the file; sections keep the order of names, which is the same as
    # long as a rule's kind isn't used twice with another one in between.
    rules = [(kind, value) for kind, values in section.properties.items() for value in values]
    rules = [rule for rule in rules if rule[0] in ("add", "set", "remove", "remove_wildcard", "rename", "copy")]

    def change(record: Record) -> Record:
        for kind, text in rules:
            key, _, value = text.partition(" ")
            value = value.strip()
            if kind == "set" or (kind == "add" and key not in record):
                record = record | {key: value}
            elif kind == "remove":
                record = {k: v for k, v in record.items() if k != key}
            elif kind == "remove_wildcard":
                record = {k: v for k, v in record.items() if not k.startswith(key.rstrip("*"))}
            elif kind == "rename" and key in record and value not in record:
                record = {value if k == key else k: v for k, v in record.items()}
            elif kind == "copy" and key in record and value not in record:
                record = record | {value: record[key]}
        return record

    return lambda events: [Event(event.time, change(event.record)) for event in events]


def _record_modifier(section: Section, parsers: Parsers) -> Filter:
    added = [text.partition(" ") for text in section.all("record")]
    removed = set(section.all("remove_key"))
    allowed = set(section.all("allowlist_key") + section.all("whitelist_key"))

    def change(record: Record) -> Record:
        kept = {k: v for k, v in record.items() if k not in removed and (not allowed or k in allowed)}
        return kept | {key: value.strip() for key, _, value in added}

    return lambda events: [Event(event.time, change(event.record)) for event in events]


def _parser(section: Section, parsers: Parsers) -> Filter:
    key = section.get("key_name")
    names = section.all("parser")
    if not key:
        raise _init_failed(section, 'Key "Key_Name" is missing')
    missing = [name for name in names if name not in parsers]
    if missing or not names:
        raise _init_failed(section, f"requested parser '{' '.join(missing)}' not found", "Invalid 'parser'")
    chosen = [parsers[name] for name in names]
    for parser in chosen:
        if parser["format"].lower() not in ("json", "regex"):
            raise _init_failed(
                section, f"the embedded lab emulates parsers of format json and regex, not {parser['format']}"
            )
        _compiled(section, parser.get("regex", ""))
    reserve, preserve = section.flag("reserve_data"), section.flag("preserve_key")

    def change(event: Event) -> Event:
        value = event.record.get(key)
        if not isinstance(value, str):
            return event
        for parser in chosen:
            fields = _parse(parser, value)
            if fields is None:
                continue
            time = event.time
            time_key = parser.get("time_key", "")
            if time_key and isinstance(fields.get(time_key), str):
                time = parse_time(fields[time_key]) or time
                if not parse_bool(parser.get("time_keep", "off")):
                    del fields[time_key]
            rest = {k: v for k, v in event.record.items() if k != key or preserve} if reserve else {}
            # A name that both have keeps its first place and gets the outer record's value.
            return Event(time, fields | rest if reserve else fields)
        return event

    return lambda events: [change(event) for event in events]


def _parse(parser: dict[str, str], text: str) -> Record | None:
    if parser["format"].lower() == "json":
        try:
            value = json.loads(text)
        except ValueError:
            return None
        return value if isinstance(value, dict) else None
    match = _regex(parser.get("regex", "")).match(text)
    return None if match is None else {k: v for k, v in match.groupdict().items() if v is not None}


_BUILDERS: dict[str, Callable[[Section, Parsers], Filter]] = {
    "grep": _grep,
    "modify": _modify,
    "record_modifier": _record_modifier,
    "parser": _parser,
}
