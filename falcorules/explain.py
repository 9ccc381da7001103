"""Why a rule matches or doesn't: its expanded condition as a tree, with what was true for one event."""

from __future__ import annotations

import html
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from falcorules import ast, markup
from falcorules.codegen import Matcher, matcher
from falcorules.compile import compared_fields, compile_condition
from falcorules.errors import EventError
from falcorules.events import Event
from falcorules.fields import ANCESTORS, UnknownField
from falcorules.graph import Graph
from falcorules.loader import Rule
from falcorules.output import evaluated
from falcorules.text import as_text

_WIDTH = 100
_MONO = markup.MONO
_LINE = f"{_MONO};text-indent:-1.2em;overflow-wrap:anywhere"


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

    @property
    def _facts(self) -> dict[str, str]:
        rule = self.rule
        return {
            "priority": rule.priority + ("" if rule.enabled else " (disabled)"),
            "tags": ", ".join(rule.tags) or "-",
            "event types": types_text(rule.event_types, 20),
            "fields": ", ".join(self.fields) or "-",
            "operators": ", ".join(self.operators) or "-",
            "macros": ", ".join(rule.macros) or "-",
        }

    def __str__(self) -> str:
        lines = [f"  {name:<12} {value}" for name, value in self._facts.items()]
        tree = "\n".join(f"    {line}" for line in self.tree.splitlines())
        return "\n".join([self.rule.name, f"  {self.rule.description.strip()}", *lines, "  condition", tree])

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        facts = {"description": self.rule.description.strip(), **self._facts}
        head = f"{markup.priority_badge(self.rule.priority)} {markup.styled(self.rule.name, 'font-weight:600')}"
        title = markup.styled("condition", f"{markup.FAINT};margin-top:0.4em", "div")
        return markup.box(
            f'<div style="margin-bottom:0.4em">{head}</div>{markup.pairs(facts.items())}{title}'
            f"{markup.code(self.tree)}",
            markup.PRIORITY_COLOURS[self.rule.priority][0],
        )


def types_text(types: frozenset[str], limit: int) -> str:
    """Event types by name, or how many they are."""
    if not types:
        return "none: it can't match"
    return ", ".join(sorted(types)) if len(types) <= limit else f"{len(types):,} types"


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
            f"<div style='{_LINE};padding-left:{1.2 * depth + 1.2:.1f}em'>{truth._html_line()}</div>"
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
        colour, mark = (markup.GOOD, "✓") if self.value else (markup.BAD, "✗")
        seen = markup.styled(f" [{_shortened(self.seen)}]", f"{markup.FAINT};font-style:italic") if self.seen else ""
        return f"{markup.styled(mark, f'{colour};font-weight:700')} {html.escape(self._what)}{seen}"

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
        word, tone = ("matches", "good") if self.matched else ("no match", "plain")
        lines = (truth._html_line() for truth in self.reasons)
        reasons = "".join(f"<div style='{_LINE};padding-left:1.2em'>{line}</div>" for line in lines)
        return markup.box(
            f"<div>{markup.badge(word, markup.TONES[tone])} {markup.with_code(self._headline)}</div>{reasons}"
            f"<details><summary>the whole condition</summary>{self.truth._repr_html_()}</details>",
            markup.TONES[tone][0],
        )

    @property
    def _headline(self) -> str:
        number, command = self.event.get("evt.num"), self.event.get("proc.cmdline")
        event = " ".join(str(part) for part in (self.event.type, number and f"(event {number})") if part)
        of = f" of `{_shortened(str(command))}`" if command else ""
        says = "matches" if self.matched else "does not match"
        return f"{self.rule.name!r} {says} {event}{of}. What decided (✓ true, ✗ false):"


def explain_event(rule: Rule, event: Event) -> Verdict:
    """Which parts of a rule's condition are true for an event."""
    return Verdict(rule, event, _truth(rule.condition, event))


def closest(rule: Rule, events: Iterable[Event]) -> Event:
    """The event for which most of a rule's condition is true, the first of them. Raises EventError without events."""
    graph = Graph()
    parts = _parts(rule.condition) if isinstance(rule.condition, ast.And) else (rule.condition,)
    nodes = [compile_condition(part, graph).node for part in parts]
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
        raise EventError("There are no events to explain.", hint="Each event is one JSON object per line.")
    return best


def numbered(number: int, events: Iterable[Event]) -> Event:
    """The event whose `evt.num` is `number`. Raises EventError if there is none."""
    for event in events:
        if event.get("evt.num") == number:
            return event
    raise EventError(f"No event has the number {number}.", hint="`evt.num` of an event is in its JSON line.")


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
    """What a comparison looks at: the value on its left, and that on its right if it is a field too."""
    if not isinstance(node, ast.Check | ast.Exists):
        return ""
    looked_at = [node.operand]
    if isinstance(node, ast.Check) and isinstance(node.value, ast.Transformer):
        looked_at.append(node.value)
    return ", ".join(_value(operand, event) for operand in looked_at)


def _value(operand: ast.Operand, event: Event) -> str:
    """The value of an operand for an event, as text; of one that stands for several values, all of them."""
    if isinstance(operand, ast.Field):
        values: list[Any] | None = None
        if compared := compared_fields(operand.name):
            values = [value for field in compared if (value := event.get(field)) is not None]
        elif operand.name in ANCESTORS and operand.argument is None:
            values = list((event.get(operand.name) or ())[1:])
        if values is not None:
            return ", ".join(map(as_text, values)) or "missing"

    def get(field: str, argument: str | None) -> Any:
        return event.type if field == "evt.type" and argument is None else event.get(field, argument)

    try:
        value = evaluated(operand, get)
    except UnknownField:
        return ""
    return "missing" if value is None else as_text(value) or '""'


def _parts(node: ast.Expression) -> tuple[ast.Expression, ...]:
    """What a node is made of; what of it is of the same kind is taken apart, too."""
    if isinstance(node, ast.Not):
        return (node.child,)
    if not isinstance(node, ast.And | ast.Or):
        return ()
    parts: list[ast.Expression] = []
    pending = list(reversed(node.children))
    while pending:
        child = pending.pop()
        if isinstance(child, ast.And | ast.Or) and type(child) is type(node):
            pending.extend(reversed(child.children))
        else:
            parts.append(child)
    return tuple(parts)


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
