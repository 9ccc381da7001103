"""The syntax tree of a condition: immutable nodes with positions.

`str(node)` is text that parses to an equal tree; `canonical(node)` is the text that Falco prints.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple, TypeAlias

# What Falco's lexer reads as one unquoted string; anything else has to be quoted.
BARE_STRING = re.compile(r"[^()\"'\t\n\v\f\r =,]+")
_BARE_ARGUMENT = re.compile(r"[^\]\[\"'\t\n\v\f\r ]+")
NUMBER = re.compile(r"0[xX][0-9a-fA-F]+|[+-]?[0-9]+\.?[0-9]*(?:[eE][+-][0-9]+)?")
_ESCAPED = re.compile(r"[\x08\f\n\r\t\\\" ']")
_ESCAPES = {"\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\\": "\\\\", '"': '\\"'}
MODIFIERS = ("oneof", "anyof", "allof")


class Position(NamedTuple):
    """Where a node starts in its text: `offset` from 0, `line` and `column` from 1, all in characters."""

    offset: int = 0
    line: int = 1
    column: int = 1


class _Node:
    """Base of all nodes. Two nodes are equal if their text is; positions don't count."""

    @cached_property
    def _text(self) -> str:
        return _written(self, quote)

    def __str__(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._text}>"

    def __eq__(self, other: object) -> bool:
        return self is other or (type(self) is type(other) and str(self) == str(other))

    def __hash__(self) -> int:
        return hash(self._text)


@dataclass(frozen=True, eq=False, repr=False)
class And(_Node):
    children: tuple[Expression, ...]
    position: Position = field(default=Position(), compare=False)


@dataclass(frozen=True, eq=False, repr=False)
class Or(_Node):
    children: tuple[Expression, ...]
    position: Position = field(default=Position(), compare=False)


@dataclass(frozen=True, eq=False, repr=False)
class Not(_Node):
    child: Expression
    position: Position = field(default=Position(), compare=False)


@dataclass(frozen=True, eq=False, repr=False)
class Macro(_Node):
    """The name of a macro."""

    name: str
    position: Position = field(default=Position(), compare=False)


@dataclass(frozen=True, eq=False, repr=False)
class Field(_Node):
    """A field of the event, with its `[argument]` if it has one."""

    name: str
    argument: str | None = None
    position: Position = field(default=Position(), compare=False)


@dataclass(frozen=True, eq=False, repr=False)
class Transformer(_Node):
    """A function applied to fields and constants: `tolower(proc.name)`; `val(field)` marks a right-hand field."""

    name: str
    arguments: tuple[Operand, ...]
    argument: str | None = None
    position: Position = field(default=Position(), compare=False)


@dataclass(frozen=True, eq=False, repr=False)
class TransformerList(_Node):
    """A list literal among the arguments of a transformer."""

    items: tuple[Operand, ...]
    position: Position = field(default=Position(), compare=False)


@dataclass(frozen=True, eq=False, repr=False)
class Value(_Node):
    text: str
    position: Position = field(default=Position(), compare=False)


@dataclass(frozen=True, eq=False, repr=False)
class ValueList(_Node):
    items: tuple[str, ...]
    position: Position = field(default=Position(), compare=False)


@dataclass(frozen=True, eq=False, repr=False)
class Exists(_Node):
    operand: Operand
    position: Position = field(default=Position(), compare=False)


@dataclass(frozen=True, eq=False, repr=False)
class Check(_Node):
    """A comparison. `modifier` is "" or one of oneof, anyof, allof."""

    operand: Operand
    operator: str
    value: Operand
    modifier: str = ""
    position: Position = field(default=Position(), compare=False)


Operand: TypeAlias = "Field | Transformer | TransformerList | Value | ValueList"
Expression: TypeAlias = "And | Or | Not | Macro | Check | Exists"
Node: TypeAlias = "Expression | Operand"


def canonical(node: Node) -> str:
    """The text that Falco prints for a tree. It may parse to another tree: Falco leaves out quotes that matter."""
    return _written(node, _canonical)


def quote(text: str) -> str:
    """A string as written in a condition: bare if that is one token, else in double quotes."""
    # A backspace is a blank between tokens, though it may stand in one.
    if BARE_STRING.fullmatch(text) and text not in MODIFIERS and "\b" not in text:
        return text
    escaped = _escaped(text)
    if escaped.endswith("\\\\"):
        # The lexer takes a backslash before the closing quote for an escape; this legacy form says the same.
        escaped = escaped[:-1] + " "
    return f'"{escaped}"'


def _canonical(text: str) -> str:
    """A string as Falco prints it: in quotes only if it has a blank, a quote or a character to escape."""
    return f'"{_escaped(text)}"' if _ESCAPED.search(text) else text


def _escaped(text: str) -> str:
    return "".join(_ESCAPES.get(character, character) for character in text)


def walk(node: Node) -> Iterator[Node]:
    """Every node of the tree, parents first, left to right."""
    pending: list[Node] = [node]
    while pending:
        current = pending.pop()
        yield current
        pending.extend(reversed(children(current)))


def children(node: Node) -> tuple[Node, ...]:
    """The nodes directly below `node`."""
    match node:
        case And() | Or():
            return node.children
        case Not():
            return (node.child,)
        case Check():
            return (node.operand, node.value)
        case Exists():
            return (node.operand,)
        case Transformer():
            return node.arguments
        case TransformerList():
            return node.items
        case _:
            return ()


def _written(root: object, quoted: Callable[[str], str]) -> str:
    """The text of a tree, without recursion: nesting is bounded by memory only."""
    exact = quoted is quote
    out: list[str] = []
    pending: list[object] = [root]
    while pending:
        node = pending.pop()
        match node:
            case str():
                out.append(node)
            case And() | Or():
                word = " and " if isinstance(node, And) else " or "
                pending.append(")")
                pending.extend(_separated(node.children, word))
                pending.append("(")
            case Not(child):
                # "not not x" would read as x: an even number of nots cancels in the grammar.
                inner: list[object] = ["(", child, ")"] if exact and isinstance(child, Not) else [child]
                pending.extend(reversed(["not ", *inner]))
            case Macro(name):
                out.append(name)
            case Field(name, argument):
                out.append(name if argument is None else f"{name}[{_argument(argument, quoted)}]")
            case Transformer(name, arguments, argument):
                pending.append(")" if argument is None else f")[{_argument(argument, quoted)}]")
                pending.extend(_separated([_constant(item, exact=exact) for item in arguments], ", "))
                pending.append(f"{name}(")
            case TransformerList(items):
                pending.append(")")
                pending.extend(_separated([_constant(item, exact=exact) for item in items], ", "))
                pending.append("(")
            case Value(text):
                out.append(quoted(text))
            case ValueList(values):
                out.append(f"({', '.join(map(quoted, values))})")
            case Exists(operand):
                pending.extend([" exists", operand])
            case Check(operand, operator, value, modifier):
                middle = f" {operator} {modifier} " if modifier else f" {operator} "
                # Only a name may stand in place of a list, and not in quotes.
                takes_list = modifier or operator in ("in", "intersects", "pmatch")
                pending.extend([value.text if takes_list and isinstance(value, Value) else value, middle, operand])
            case _:
                raise TypeError(f"not a node of a condition: {node!r}")
    return "".join(out)


def _separated(items: tuple[object, ...] | list[object], separator: str) -> list[object]:
    """The items with separators between them, in reverse order, to be pushed on a stack."""
    parts: list[object] = []
    for item in reversed(items):
        parts.extend([item, separator])
    return parts[:-1]


def _constant(item: object, *, exact: bool) -> object:
    """A constant among a transformer's arguments is a number or a quoted string, never bare."""
    if not exact or not isinstance(item, Value) or NUMBER.fullmatch(item.text):
        return item
    quoted = quote(item.text)
    return quoted if quoted.startswith('"') else f'"{quoted}"'


def _argument(argument: str, quoted: Callable[[str], str]) -> str:
    if quoted is not quote or _BARE_ARGUMENT.fullmatch(argument):
        return quoted(argument)
    text = quote(argument)
    return text if text.startswith('"') else f'"{text}"'
