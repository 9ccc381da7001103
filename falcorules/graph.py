"""Conditions as a shared graph of comparisons: what conditions have in common is one node."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from falcorules.fields import FieldInfo

# Of a constant, a list, and what is made of several values: Falco's name for it shows in errors.
UNNAMED = FieldInfo("NA", "CHARBUF")


@dataclass(frozen=True)
class Operand:
    """How a value is read from an event. `source` is a complete, hashable description; `type` is the value's type.

    source: ("field", name, argument, conversion) | ("sides", names) | ("constant", value) | ("list", sources)
    | ("call", transformer, sources, argument).
    `some` is True for a field with several values, any of which may match (ancestors, either side).
    `base` is the type of the innermost operand below transformers, and whether that is a list.
    """

    source: tuple[Any, ...]
    type: str
    is_list: bool = False
    some: bool = False
    info: FieldInfo = UNNAMED
    base: tuple[str, bool] = ("CHARBUF", False)

    @property
    def name(self) -> str:
        return self.info.name


@dataclass(frozen=True)
class Leaf:
    """One comparison. `kind` is the operation, `constant` the other side (value, tuple of values, or Operand)."""

    operand: Operand
    kind: str
    constant: Any = None

    def key(self) -> tuple[Any, ...]:
        constant = self.constant.source if isinstance(self.constant, Operand) else self.constant
        return (self.operand.source, self.operand.type, self.kind, type(constant).__name__, constant)


class Graph:
    """Conditions as a shared directed graph: equal parts are one node, negation is only at the comparisons.

    A node is an int; `nodes[n]` is ("true",) | ("false",) | ("type", frozenset) | ("leaf", Leaf) | ("not", n)
    | ("and", ns) | ("or", ns) | ("one", ns: exactly one). Children are smaller numbers than their parents.
    """

    TRUE = 0
    FALSE = 1

    def __init__(self) -> None:
        self.nodes: list[tuple[Any, ...]] = [("true",), ("false",)]
        self._ids: dict[tuple[Any, ...], int] = {("true",): 0, ("false",): 1}

    def _intern(self, key: tuple[Any, ...], node: tuple[Any, ...]) -> int:
        found = self._ids.get(key)
        if found is None:
            found = self._ids[key] = len(self.nodes)
            self.nodes.append(node)
        return found

    def leaf(self, leaf: Leaf) -> int:
        return self._intern(("leaf", *leaf.key()), ("leaf", leaf))

    def event_type(self, names: Iterable[str]) -> int:
        node = ("type", frozenset(names))
        return self._intern(node, node)

    def negated(self, node: int) -> int:
        """The negation of a comparison or of an already negated one."""
        kind = self.nodes[node]
        if node in (self.TRUE, self.FALSE):
            return 1 - node
        if kind[0] == "not":
            inner: int = kind[1]
            return inner
        return self._intern(("not", node), ("not", node))

    def joined(self, kind: str, children: Iterable[int]) -> int:
        """`kind` is "and" or "or". Flattens, drops duplicates and constants."""
        neutral, absorbing = (self.TRUE, self.FALSE) if kind == "and" else (self.FALSE, self.TRUE)
        flat: dict[int, None] = {}
        for child in children:
            node = self.nodes[child]
            for part in node[1] if node[0] == kind else (child,):
                if part == absorbing:
                    return absorbing
                if part != neutral:
                    flat[part] = None
        if not flat:
            return neutral
        if len(flat) == 1:
            return next(iter(flat))
        key = (kind, tuple(flat))
        return self._intern(key, key)

    def exactly_one(self, children: Sequence[int]) -> int:
        key = ("one", tuple(children))
        return self._intern(key, key)

    def reachable(self, roots: Iterable[int]) -> list[int]:
        """Every node below `roots`, children before parents."""
        seen: set[int] = set()
        pending = list(roots)
        while pending:
            node = pending.pop()
            if node not in seen:
                seen.add(node)
                pending.extend(self.below(node))
        return sorted(seen)

    def below(self, node: int) -> tuple[int, ...]:
        kind = self.nodes[node]
        if kind[0] in ("and", "or", "one"):
            children: tuple[int, ...] = kind[1]
            return children
        return (kind[1],) if kind[0] == "not" else ()

    def specialised(self, roots: Sequence[int], event_type: str) -> list[int]:
        """`roots` for events of one type: comparisons of `evt.type` are decided, the rest is simplified."""
        new: dict[int, int] = {}
        for node in self.reachable(roots):
            kind = self.nodes[node]
            match kind[0]:
                case "type":
                    new[node] = self.TRUE if event_type in kind[1] else self.FALSE
                case "not":
                    new[node] = self.negated(new[kind[1]])
                case "and" | "or":
                    new[node] = self.joined(kind[0], [new[child] for child in kind[1]])
                case "one":
                    new[node] = self.exactly_one([new[child] for child in kind[1]])
                case _:
                    new[node] = node
        return [new[root] for root in roots]
