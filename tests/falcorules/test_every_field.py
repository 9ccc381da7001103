"""Every field that recorded events have, under every operator that its type allows: what should match is worked out
here, from the recorded values alone."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Any

import pytest

from falcorules import RecordedEvent, ast, open_events, parse_condition
from falcorules.codegen import matcher
from falcorules.compile import compile_condition
from falcorules.fields import TIMES, FieldInfo, fields
from falcorules.graph import Graph

Value = Any
Expected = Callable[[Value], bool]

EVENTS = list(open_events(Path(__file__).parent / "data" / "events.jsonl.gz"))
FIELDS = sorted({name for event in EVENTS for name in event.to_dict()} & set(fields()))
ARGUMENTS = sorted({name for event in EVENTS for name in event.to_dict()["evt.arg"]})
# In JSON these are a mark or a number in hexadecimal, not the value that is compared.
NETWORKS = {"fd.cnet": "fd.cip", "fd.snet": "fd.sip", "fd.lnet": "fd.lip", "fd.rnet": "fd.rip"}
HEXADECIMAL = {"fd.dev"}
ANCESTORS = {"proc.apid", "proc.aname", "proc.aexe", "proc.aexepath", "proc.acmdline"}


def _value(event: RecordedEvent, field: str) -> Value:
    value = event.to_dict().get(NETWORKS.get(field, field))
    if value is not None and field in TIMES:
        moment = datetime.fromtimestamp(value // 10**9, UTC)
        shown = {
            "evt.time": "%H:%M:%S.{}",
            "evt.time.s": "%H:%M:%S",
            "evt.time.iso8601": "%Y-%m-%dT%H:%M:%S.{}+0000",
            "evt.datetime": "%Y-%m-%d %H:%M:%S.{}",
            "evt.datetime.s": "%Y-%m-%d %H:%M:%S",
        }[field]
        return moment.strftime(shown).format(f"{value % 10**9:09d}")
    return int(value, 16) if value is not None and field in HEXADECIMAL else value


def _constants(values: list[Value]) -> list[Value]:
    """Some of the values: the first and last in order, and one or two between."""
    distinct = sorted({value for value in values if not isinstance(value, str) or len(value.encode()) < 256})
    chosen = [*distinct[:1], *distinct[len(distinct) // 2 :][:2], *distinct[-1:]]
    return list(dict.fromkeys(chosen))


def _of_text(values: list[str]) -> Iterator[tuple[str, Expected]]:
    for constant in _constants(values):
        quoted = ast.quote(constant)
        middle = ast.quote(constant[1:-1])
        first, second = constant[: len(constant) // 2], constant[len(constant) // 2 :]
        yield f"= {quoted}", lambda value, c=constant: value == c
        yield f"!= {quoted}", lambda value, c=constant: value != c
        yield f"in ({quoted}, nothing)", lambda value, c=constant: value in (c, "nothing")
        yield f"intersects ({quoted})", lambda value, c=constant: value == c
        yield f"contains {middle}", lambda value, c=constant: c[1:-1] in value
        yield (
            f"icontains {ast.quote(constant[1:-1].swapcase())}",
            lambda value, c=constant: c[1:-1].lower() in value.lower(),
        )
        yield f"startswith {ast.quote(first)}", lambda value, c=first: value.startswith(c)
        yield f"endswith {ast.quote(second)}", lambda value, c=second: value.endswith(c)
        yield (
            f"startswith oneof ({ast.quote(first)}, {quoted})",
            lambda value, f=first, c=constant: value.startswith(f) != value.startswith(c),
        )
        yield f"!= allof ({quoted}, nothing)", lambda value, c=constant: value not in (c, "nothing")
        yield f"glob anyof ('*', {quoted})", lambda value: True
        literal = re.sub(r"([*?\[\\])", r"[\1]", first).replace("[\\]", "\\\\")
        yield f"glob {ast.quote(literal + '*')}", lambda value, c=first: value.startswith(c)
        yield f"iglob {ast.quote(literal.swapcase() + '*')}", lambda value, c=first: value.lower().startswith(c.lower())
        if len(pattern := re.escape(first).replace("\\\n", "\n") + "(.|\n)*") < 256:
            yield f"regex {ast.quote(pattern)}", lambda value, c=first: value.startswith(c)
        path = [part for part in constant.split("/") if part]
        if not re.search(r"[*?\[]", constant):
            yield f"pmatch ({quoted})", lambda value, p=path: [part for part in value.split("/") if part][: len(p)] == p
        if re.fullmatch("[0-9]+", constant):  # only a number may follow these
            yield f"< {constant}", lambda value, c=constant: value.encode() < c.encode()
            yield f">= {constant}", lambda value, c=constant: value.encode() >= c.encode()


def _of_numbers(values: list[Value]) -> Iterator[tuple[str, Expected]]:
    for constant in {int(value) for value in _constants(values)} | {0, 1}:
        yield f"= {constant}", lambda value, c=constant: value == c
        yield f"!= {constant}", lambda value, c=constant: value != c
        yield f"< {constant}", lambda value, c=constant: value < c
        yield f"<= {constant}", lambda value, c=constant: value <= c
        yield f"> {constant}", lambda value, c=constant: value > c
        yield f">= {constant}", lambda value, c=constant: value >= c
        yield f"in ({constant}, 12345)", lambda value, c=constant: value in (c, 12345)
        yield f"intersects ({constant})", lambda value, c=constant: value == c


def _of_addresses(values: list[str]) -> Iterator[tuple[str, Expected]]:
    for constant in _constants(values):
        yield f"= {constant}", lambda value, c=constant: value == c
        yield f"!= {constant}", lambda value, c=constant: value != c
        yield f"in ({constant}, ::1)", lambda value, c=constant: value == c


def _of_networks(values: list[str]) -> Iterator[tuple[str, Expected]]:
    for constant in _constants(values):
        for network in (ipaddress.ip_network(f"{constant}/{length}", strict=False) for length in (8, 24, 32)):
            yield f"= {network}", lambda value, n=network: ipaddress.ip_address(value) in n
            yield f"!= {network}", lambda value, n=network: ipaddress.ip_address(value) not in n
            yield f"in (192.0.2.0/24, {network})", lambda value, n=network: ipaddress.ip_address(value) in n


def _of_truth(_values: list[bool]) -> Iterator[tuple[str, Expected]]:
    yield "= true", lambda value: value is True
    yield "!= true", lambda value: value is False
    yield "= false", lambda value: value is False
    yield "in (true, false)", lambda value: True
    yield "intersects (false)", lambda value: value is False


def _of_buffers(values: list[str]) -> Iterator[tuple[str, Expected]]:
    for constant in (value[:200] for value in values[:3]):
        quoted = ast.quote(constant)
        yield f"= {quoted}", lambda value, c=constant: value == c
        yield f"contains {quoted}", lambda value, c=constant: c in value
        yield f"startswith {quoted}", lambda value, c=constant: value.startswith(c)
        yield f"endswith {ast.quote(constant[-9:])}", lambda value, c=constant: value.endswith(c[-9:])
        yield f"bcontains {constant[3:20].encode().hex()}", lambda value, c=constant: c[3:20] in value
        yield f"bstartswith {constant[:9].encode().hex()}", lambda value, c=constant: value.startswith(c[:9])


def _of_lists(values: list[list[str]]) -> Iterator[tuple[str, Expected]]:
    for constant in {tuple(value) for value in values}:
        inside = ", ".join(map(ast.quote, constant))
        yield f"in ({inside})", lambda value, c=constant: set(value) <= set(c)
        yield f"intersects ({inside})", lambda value, c=constant: bool(set(value) & set(c))


def _cases(info: FieldInfo, values: list[Value]) -> Iterator[tuple[str, Expected]]:
    yield "exists", lambda value: True
    if info.is_list:
        yield from _of_lists(values)
    elif info.type == "BYTEBUF":
        yield from _of_buffers(values)
    elif info.type == "BOOL":
        yield from _of_truth(values)
    elif info.type == "IPADDR":
        yield from _of_addresses(values)
    elif info.type == "IPNET":
        yield from _of_networks(values)
    elif info.type == "CHARBUF":
        yield from _of_text(values)
    else:
        yield from _of_numbers(values)


def _matching(conditions: list[str]) -> list[set[int]]:
    """For each condition, which of the events it is true for."""
    graph = Graph()
    nodes = [compile_condition(parse_condition(condition), graph).node for condition in conditions]
    found: list[set[int]] = [set() for _ in conditions]
    of_type = any("evt.type " in condition for condition in conditions)
    for type_ in {event.type for event in EVENTS} if of_type else [""]:  # the same function for all
        match = matcher(graph, graph.specialised(nodes, type_))
        for number, event in enumerate(EVENTS):
            if event.type == type_ or not of_type:
                for place in match(event):
                    found[place].add(number)
    return found


def _check(name: str, cases: list[tuple[str, Expected]], values: dict[int, Value]) -> None:
    assert values
    conditions = [f"{name} {case}" for case, _ in cases]
    negated = [f"not {condition}" for condition in conditions]
    found = _matching(conditions + negated)
    everything = set(range(len(EVENTS)))
    for (_, expected), condition, matched, unmatched in zip(
        cases, conditions, found[: len(cases)], found[len(cases) :], strict=True
    ):
        wanted = {number for number, value in values.items() if expected(value)}
        assert matched == wanted, condition
        assert unmatched == everything - wanted, f"not {condition}"


@pytest.mark.parametrize("name", [name for name in FIELDS if name not in ANCESTORS and name != "evt.arg"])
def test_a_field_matches_where_its_recorded_value_does(name: str) -> None:
    values = {number: value for number, event in enumerate(EVENTS) if (value := _value(event, name)) is not None}
    cases = list(_cases(fields()[name], list(values.values())))
    if name == "evt.type":  # names of types only
        cases = [case for case in cases if re.fullmatch(r"exists|!?= \w+", case[0])]
    _check(name, cases, values)


@pytest.mark.parametrize("argument", ARGUMENTS)
def test_an_argument_of_an_event_is_text(argument: str) -> None:
    values = {
        number: value
        for number, event in enumerate(EVENTS)
        if (value := event.to_dict()["evt.arg"].get(argument)) is not None
    }
    _check(f"evt.arg.{argument}", list(_cases(fields()["evt.arg"], list(values.values()))), values)


@pytest.mark.parametrize("name", sorted(ANCESTORS & set(FIELDS)))
def test_ancestors_match_if_one_does_and_a_level_is_one_of_them(name: str) -> None:
    chains = {number: event.to_dict()[name] for number, event in enumerate(EVENTS) if name in event.to_dict()}
    everyone = [value for chain in chains.values() for value in chain]
    cases = list(_cases(fields()[name], everyone))
    any_of = [
        (case, lambda chain, expected=expected: any(map(expected, chain[1:])))
        for case, expected in cases
        if not re.search(" (?:oneof|anyof|allof) ", case)  # which Falco overlooks here
    ]
    _check(name, any_of, chains)
    for level in range(3):
        values = {number: chain[level] for number, chain in chains.items() if len(chain) > level}
        _check(f"{name}[{level}]", cases, values)


@pytest.mark.parametrize(("name", "sides"), [("fd.ip", ("fd.cip", "fd.sip")), ("fd.port", ("fd.cport", "fd.sport"))])
def test_either_side_of_a_connection_may_match_and_both_have_to_differ(name: str, sides: tuple[str, str]) -> None:
    both = {
        number: [event.to_dict()[side] for side in sides if side in event.to_dict()]
        for number, event in enumerate(EVENTS)
        if any(side in event.to_dict() for side in sides)
    }
    assert both
    cases = [
        (case, lambda values, expected=expected, case=case: (all if case[0] == "!" else any)(map(expected, values)))
        for case, expected in _cases(fields()[name], [value for values in both.values() for value in values])
    ]
    _check(name, cases, both)


def _combined(random: Random, checks: list[tuple[str, set[int]]], depth: int) -> tuple[str, set[int]]:
    """A random expression over checks, and the events it is true for."""
    kind = random.choice(("and", "or", "or", "not")) if depth else ""
    if not kind:
        return random.choice(checks)
    if kind == "not":
        text, found = _combined(random, checks, depth - 1)
        return f"not ({text})", set(range(len(EVENTS))) - found
    parts = [_combined(random, checks, depth - 1) for _ in range(random.randint(2, 4))]
    union = set.union if kind == "or" else set.intersection
    return "(" + f" {kind} ".join(text for text, _ in parts) + ")", union(*(found for _, found in parts))


def _checks(random: Random, names: list[str], count: int) -> list[tuple[str, set[int]]]:
    """Few checks of these fields, so that expressions share them, and what they are true for."""
    cases = []
    for name in names:
        values = {number: value for number, event in enumerate(EVENTS) if (value := _value(event, name)) is not None}
        cases += [(f"{name} {case}", expected, values) for case, expected in _cases(fields()[name], [*values.values()])]
    return [
        (text, {number for number, value in values.items() if expected(value)})
        for text, expected, values in random.sample(cases, min(len(cases), count))
    ]


def _check_combinations(random: Random, checks: list[tuple[str, set[int]]], count: int) -> None:
    combined = [_combined(random, checks, random.randint(1, 3)) for _ in range(count)]
    found = _matching([text for text, _ in combined])
    for (text, expected), matched in zip(combined, found, strict=True):
        assert matched == expected, text


PLAIN = [name for name in FIELDS if name not in ANCESTORS | {"evt.arg", "evt.type"}]


@pytest.mark.parametrize("name", PLAIN)
def test_checks_of_a_field_combine_as_sets_of_events_do(name: str) -> None:
    random = Random(name)
    _check_combinations(random, _checks(random, [name], 20) + _checks(random, ["proc.name"], 2), 10)


@pytest.mark.parametrize("seed", range(2))
def test_checks_of_the_event_type_combine_too(seed: int) -> None:
    random = Random(seed)
    checks = _checks(random, random.sample(PLAIN, 2), 8)
    for type_ in random.sample(sorted({event.type for event in EVENTS}), 4):
        checks.append((f"evt.type = {type_}", {number for number, event in enumerate(EVENTS) if event.type == type_}))
    _check_combinations(random, checks, 30)
