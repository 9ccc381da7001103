"""Why a rule matches or doesn't: its expanded condition as a tree, with what was true for one event."""

from __future__ import annotations

import html
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from labkit.errors import LabError
from labkit.rules import ast
from labkit.rules.codegen import Matcher, matcher
from labkit.rules.compile import Graph, compile_condition
from labkit.rules.events import Event
from labkit.rules.fields import FIXED, UnknownField, resolve
from labkit.rules.loader import Rule
from labkit.rules.output import as_text

_WIDTH = 100
_MONO = "font-family:monospace"


@dataclass(frozen=True, repr=False)
class Explanation:
    """What a rule is made of. `fields` and `operators` are those of the condition, sorted."""

    rule: Rule
    fields: tuple[str, ...]
    operators: tuple[str, ...]

    @staticmethod
    def of(rule: Rule) -> Explanation:
        """The explanation of a loaded rule."""
        nodes = list(ast.walk(rule.condition))
        fields = {str(node) for node in nodes if isinstance(node, ast.Field)}
        operators = {node.operator for node in nodes if isinstance(node, ast.Check)}
        if any(isinstance(node, ast.Exists) for node in nodes):
            operators.add("exists")
        return Explanation(rule, tuple(sorted(fields)), tuple(sorted(operators)))

    @property
    def tree(self) -> str:
        """The condition, one part per line."""
        lines: list[str] = []
        pending: list[tuple[ast.Expression, int, str]] = [(self.rule.condition, 0, "")]
        while pending:
            node, depth, word = pending.pop()
            text = str(node)
            below = _parts(node)
            if len(text) + 2 * depth <= _WIDTH or not below:
                lines.append(f"{'  ' * depth}{word}{text}")
                continue
            lines.append(f"{'  ' * depth}{word}{_label(node)}")
            pending.extend((child, depth + 1, "") for child in reversed(below))
        return "\n".join(lines)

    def __str__(self) -> str:
        rule = self.rule
        types = sorted(rule.event_types)
        facts = {
            "priority": rule.priority + ("" if rule.enabled else " (disabled)"),
            "tags": ", ".join(rule.tags) or "-",
            "event types": ", ".join(types) if len(types) <= 20 else f"{len(types)} of them",
            "fields": ", ".join(self.fields),
            "operators": ", ".join(self.operators),
            "macros": ", ".join(rule.macros) or "-",
        }
        lines = [f"  {name:<12} {value}" for name, value in facts.items()]
        tree = "\n".join(f"    {line}" for line in self.tree.splitlines())
        return "\n".join([rule.name, f"  {rule.description.strip()}", *lines, "  condition", tree])

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><th>{name}</th><td style='text-align:left'>{html.escape(value)}</td></tr>"
            for name, value in (
                ("rule", self.rule.name),
                ("priority", self.rule.priority),
                ("tags", ", ".join(self.rule.tags)),
                ("event types", ", ".join(sorted(self.rule.event_types)[:20])),
                ("fields", ", ".join(self.fields)),
                ("macros", ", ".join(self.rule.macros)),
            )
        )
        return f"<table>{rows}</table><pre style='{_MONO}'>{html.escape(self.tree)}</pre>"


@dataclass(frozen=True)
class Truth:
    """A part of a condition and what it was for an event. `seen` is the value of the field it looks at, as text."""

    node: ast.Expression
    value: bool
    seen: str = ""
    parts: tuple[Truth, ...] = ()

    @property
    def decisive(self) -> tuple[Truth, ...]:
        """The parts that made this one what it is: all of an `and` that is true, the false ones of one that isn't."""
        if isinstance(self.node, ast.And):
            return self.parts if self.value else tuple(part for part in self.parts if not part.value)
        if isinstance(self.node, ast.Or):
            return tuple(part for part in self.parts if part.value) if self.value else self.parts
        return self.parts

    def reasons(self) -> list[Truth]:
        """The single comparisons that decided."""
        found: list[Truth] = []
        pending = [self]
        while pending:
            truth = pending.pop()
            if truth.parts:
                pending.extend(reversed(truth.decisive))
            else:
                found.append(truth)
        return found

    def __str__(self) -> str:
        return "\n".join(f"{'  ' * depth}{truth._line()}" for truth, depth in self._flat())

    def _repr_html_(self) -> str:
        return "".join(
            f"<div style='margin-left:{1.2 * depth:.1f}em;{_MONO}'>{truth._html_line()}</div>"
            for truth, depth in self._flat()
        )

    def _flat(self) -> Iterator[tuple[Truth, int]]:
        """Every part and its depth, as it is printed."""
        pending: list[tuple[Truth, int]] = [(self, 0)]
        while pending:
            truth, depth = pending.pop()
            yield truth, depth
            pending.extend((part, depth + 1) for part in reversed(truth.parts))

    def _line(self) -> str:
        seen = f"    [{_shortened(self.seen)}]" if self.seen else ""
        return f"{'✓' if self.value else '✗'} {self._what}{seen}"

    def _html_line(self) -> str:
        color, mark = ("#1b7f3b", "✓") if self.value else ("#b00020", "✗")
        seen = f" <i style='color:#666'>[{html.escape(_shortened(self.seen))}]</i>" if self.seen else ""
        return f"<span style='color:{color}'>{mark}</span> {html.escape(self._what)}{seen}"

    @property
    def _what(self) -> str:
        return _label(self.node) if self.parts else _shortened(str(self.node))


@dataclass(frozen=True)
class Verdict:
    """Whether a rule's condition is true for one event, and why: printed, the comparisons that decided come first."""

    rule: Rule
    event: Event
    truth: Truth

    @property
    def matched(self) -> bool:
        return self.truth.value

    @property
    def reasons(self) -> list[Truth]:
        """The comparisons that decided."""
        return self.truth.reasons()

    def __str__(self) -> str:
        reasons = "\n".join(f"  {truth._line()}" for truth in self.reasons)
        tree = "\n".join(f"  {line}" for line in str(self.truth).splitlines())
        return f"{self._headline}\n{reasons}\n\nthe whole condition\n{tree}"

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        reasons = "".join(
            f"<div style='margin-left:1.2em;{_MONO}'>{truth._html_line()}</div>" for truth in self.reasons
        )
        return (
            f"<div><b>{html.escape(self._headline)}</b></div>{reasons}"
            f"<details><summary>the whole condition</summary>{self.truth._repr_html_()}</details>"
        )

    @property
    def _headline(self) -> str:
        number, command = self.event.get("evt.num"), self.event.get("proc.cmdline")
        event = " ".join(str(part) for part in (self.event.type, number and f"(event {number})") if part)
        of = f" of `{_shortened(str(command))}`" if command else ""
        says = "matches" if self.matched else "does not match"
        return f"{self.rule.name!r} {says} {event}{of}. What decided:"


def explain_event(rule: Rule, event: Event) -> Verdict:
    """Which parts of a rule's condition are true for an event."""
    return Verdict(rule, event, _truth(rule.condition, event))


def closest(rule: Rule, events: Iterable[Event]) -> Event:
    """The event for which most of a rule's condition is true, the first of them. Raises LabError without events."""
    graph = Graph()
    nodes = [compile_condition(part, graph).node for part in _conjuncts(rule.condition)]
    matchers: dict[str, Matcher] = {}
    best: Event | None = None
    score = -1
    for event in events:
        match = matchers.get(event.type)
        if match is None:
            match = matchers[event.type] = matcher(graph, graph.specialised(nodes, event.type))
        found = len(match(event))
        if found > score:
            best, score = event, found
    if best is None:
        raise LabError("There are no events to look at.", hint="One JSON object per line is an event.")
    return best


def numbered(number: int, events: Iterable[Event]) -> Event:
    """The event whose `evt.num` is `number`. Raises LabError if there is none."""
    for event in events:
        if event.get("evt.num") == number:
            return event
    raise LabError(f"No event has the number {number}.", hint="`evt.num` of an event is in its JSON line.")


def _conjuncts(condition: ast.Expression) -> list[ast.Expression]:
    """The parts that all have to be true."""
    parts: list[ast.Expression] = []
    pending = [condition]
    while pending:
        part = pending.pop()
        if isinstance(part, ast.And):
            pending.extend(reversed(part.children))
        else:
            parts.append(part)
    return parts


def _truth(root: ast.Expression, event: Event) -> Truth:
    order: list[ast.Expression] = []
    pending = [root]
    while pending:
        node = pending.pop()
        order.append(node)
        pending.extend(_parts(node))
    done: dict[int, Truth] = {}
    for node in reversed(order):
        below = tuple(done[id(part)] for part in _parts(node))
        match node:
            case ast.And():
                done[id(node)] = Truth(node, all(part.value for part in below), parts=below)
            case ast.Or():
                done[id(node)] = Truth(node, any(part.value for part in below), parts=below)
            case ast.Not():
                done[id(node)] = Truth(node, not below[0].value, parts=below)
            case _:
                done[id(node)] = Truth(node, _holds(node, event), _seen(node, event))
    return done[id(root)]


def _holds(node: ast.Expression, event: Event) -> bool:
    graph = Graph()
    roots = graph.specialised([compile_condition(node, graph).node], event.type)
    return bool(matcher(graph, roots)(event))


def _seen(node: ast.Expression, event: Event) -> str:
    """The values of the fields a comparison looks at."""
    values = []
    for part in ast.walk(node):
        if not isinstance(part, ast.Field):
            continue
        try:
            reference = resolve(part.name, part.argument)
        except UnknownField:
            continue
        value: Any = FIXED.get(part.name, event.get(reference.field, reference.argument))
        if part.name == "evt.type":
            value = event.type
        values.append("missing" if value is None else as_text(value, reference.field) or '""')
    return ", ".join(values)


def _parts(node: ast.Expression) -> tuple[ast.Expression, ...]:
    if isinstance(node, ast.And | ast.Or):
        return node.children
    return (node.child,) if isinstance(node, ast.Not) else ()


def _label(node: ast.Expression) -> str:
    match node:
        case ast.And():
            return "all of"
        case ast.Or():
            return "any of"
        case _:
            return "not"


def _shortened(text: str) -> str:
    return text if len(text) <= _WIDTH else f"{text[: _WIDTH - 3]}..."
