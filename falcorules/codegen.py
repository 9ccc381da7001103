"""Generates one Python function for many conditions, which evaluates shared parts and extracts fields once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from falcorules.comparisons import (
    ancestors,
    any_value_test,
    as_address,
    as_bytes,
    as_hexadecimal,
    field_comparison,
    in_networks,
    sides,
    text_test,
)
from falcorules.fields import NETWORK_TYPES
from falcorules.graph import Graph, Leaf, Operand
from falcorules.text import as_time
from falcorules.transformers import TRANSFORMERS, texts

# Expressions nested deeper than this become functions of their own: Python's parser has limits.
_MAX_NESTING = 16
_MAX_INDENT = 40

Matcher = Callable[[Any], "list[int]"]

_UNITABLE = ("in", "startswith", "endswith", "net in")


def matcher(graph: Graph, roots: Sequence[int]) -> Matcher:
    """A function that returns, for an event, the ascending indexes in `roots` of the conditions that are true."""
    return _Writer(graph).matcher(roots)


class _Writer:
    """Writes the source of one matcher."""

    def __init__(self, graph: Graph) -> None:
        self.graph = _MergedGraph(graph)
        self.names: dict[str, Any] = {"U": object(), **_CALLED}
        self._constants: dict[tuple[str, Any], str] = {}
        self._fields: dict[tuple[Any, ...], str] = {}
        self._code: dict[int, str] = {}
        self._depth: dict[int, int] = {}
        self._hoisted: dict[int, str] = {}
        self._shared: set[int] = set()
        self._functions: list[str] = []

    def matcher(self, roots: Sequence[int]) -> Matcher:
        merged = [self.graph.merge(root) for root in roots]
        uses: Counter[int] = Counter(merged)
        for node in self.graph.reachable(merged):
            uses.update(self.graph.below(node))
        self._shared = {node for node, count in uses.items() if count > 1}
        for node in self.graph.reachable(merged):
            self._write(node)
        body: list[str] = []
        rules = [(place, self._conjuncts(root)) for place, root in enumerate(merged) if root != Graph.FALSE]
        self._tree(rules, 1, body)
        used = [node for line_nodes in self._used for node in line_nodes]
        source = "\n".join(
            [
                *self._functions,
                "def match(event):",
                " g = event.get",
                *self._locals(used),
                " hits = []",
                *body,
                " return hits if len(hits) < 2 else sorted(hits)",
            ]
        )
        exec(compile(source, "<conditions>", "exec"), self.names)
        function: Matcher = self.names["match"]
        return function

    # The decision tree: rules that share a conjunct stand under one test of it.

    def _conjuncts(self, root: int) -> tuple[int, ...]:
        if root == Graph.TRUE:
            return ()
        node = self.graph.nodes[root]
        children: tuple[int, ...] = node[1] if node[0] == "and" else (root,)
        return children

    _used: list[list[int]]

    def _tree(self, rules: list[tuple[int, tuple[int, ...]]], indent: int, body: list[str]) -> None:
        if indent == 1:
            self._used = []
        pad = " " * indent
        while rules:
            certain = [place for place, conjuncts in rules if not conjuncts]
            body.extend(f"{pad}hits.append({place})" for place in certain)
            rules = [rule for rule in rules if rule[1]]
            counts = Counter(node for _, conjuncts in rules for node in conjuncts)
            if not counts:
                return
            best, count = max(counts.items(), key=lambda item: (item[1], -item[0]))
            if count == 1 or indent >= _MAX_INDENT:
                for place, conjuncts in rules:
                    self._used.append(list(conjuncts))
                    body.append(f"{pad}if {' and '.join(self._code[node] for node in conjuncts)}: hits.append({place})")
                return
            self._used.append([best])
            body.append(f"{pad}if {self._code[best]}:")
            below = [(place, tuple(n for n in nodes if n != best)) for place, nodes in rules if best in nodes]
            self._tree(below, indent + 1, body)
            rules = [rule for rule in rules if best not in rule[1]]

    # Expressions

    def _write(self, node: int) -> None:
        kind = self.graph.nodes[node]
        below = self.graph.below(node)
        depth = 1 + max((self._depth[child] for child in below), default=0)
        match kind[0]:
            case "true" | "false":
                code = "True" if kind[0] == "true" else "False"
            case "leaf":
                code = self._leaf(kind[1])
            case "not":
                code = f"(not {self._code[kind[1]]})"
            case "one":
                code = f"(({' + '.join(f'bool({self._code[child]})' for child in below)}) == 1)"
            case _:
                code = f"({f' {kind[0]} '.join(self._code[child] for child in below)})"
        if depth > _MAX_NESTING:
            name = f"h{node}"
            body = [f"def {name}(event):", " g = event.get", *self._locals([node], root=node), f" return {code}"]
            self._functions.append("\n".join(body))
            self._hoisted[node] = name
            code, depth = f"{name}(event)", 1
        if node in self._shared and node > 1:
            code = f"(m{node} if m{node} is not U else (m{node} := {code}))"
        self._code[node] = code
        self._depth[node] = depth

    def _locals(self, nodes: Sequence[int], root: int = -1) -> list[str]:
        """The line that initialises every field and shared result used in a function as unknown."""
        names: dict[str, None] = {}
        seen: set[int] = set()
        pending = list(nodes)
        while pending:
            node = pending.pop()
            if node in seen:
                continue
            seen.add(node)
            if node in self._shared and node > 1 and node != root:
                names[f"m{node}"] = None
            if node in self._hoisted and node != root:
                continue
            kind = self.graph.nodes[node]
            if kind[0] == "leaf":
                names.update(dict.fromkeys(self._fields_of(kind[1])))
            pending.extend(self.graph.below(node))
        return [f" {' = '.join(names)} = U"] if names else []

    def _fields_of(self, leaf: Leaf) -> list[str]:
        found: list[str] = []
        pending = [leaf.operand.source]
        if isinstance(leaf.constant, Operand):
            pending.append(leaf.constant.source)
        while pending:
            source = pending.pop()
            match source[0]:
                case "field":
                    found.append(self._fields[source])
                case "sides":
                    found.append(self._fields[source])
                case "list":
                    pending.extend(source[1])
                case "call":
                    pending.extend(source[2])
        return found

    def _constant(self, value: Any) -> str:
        try:
            key = (type(value).__name__, value)
            name = self._constants.get(key)
        except TypeError:
            key, name = (str(id(value)), id(value)), None
        if name is None:
            name = self._constants[key] = f"k{len(self._constants)}"
            self.names[name] = value
        return name

    def _load(self, source: tuple[Any, ...]) -> tuple[str, str]:
        """Code that loads the value of an operand, and code that refers to it afterwards."""
        match source[0]:
            case "constant":
                name = self._constant(source[1])
                return name, name
            case "field" | "sides":
                name = self._fields.setdefault(source, f"f{len(self._fields)}")
                return f"({name} if {name} is not U else ({name} := {_extraction(source)}))", name
            case "list":
                return f"(x := texts({', '.join(self._load(item)[0] for item in source[1])}))", "x"
            case _:
                arguments = [self._load(item)[0] for item in source[2]]
                if source[1] == "getopt":
                    arguments.append(self._constant(source[3]))
                return f"(x := t_{source[1]}({', '.join(arguments)}))", "x"

    def _leaf(self, leaf: Leaf) -> str:
        load, value = self._load(leaf.operand.source)
        kind, constant = leaf.kind, leaf.constant
        if isinstance(constant, Operand):
            right, _ = self._load(constant.source)
            compare = self._constant(field_comparison(kind.removeprefix("field "), constant))
            return f"{compare}({load}, {right})"
        if leaf.operand.some:
            return f"{self._constant(any_value_test(kind, constant, leaf.operand.type))}({load})"
        if leaf.operand.is_list:
            members = self._constant(frozenset(constant)) if kind != "exists" else ""
            match kind:
                case "in":
                    return f"({load} is not None and {members}.issuperset({value}))"
                case "intersects":
                    return f"({load} is not None and not {members}.isdisjoint({value}))"
                case _:
                    return f"({load} is not None)"
        match kind:
            case "exists":
                return f"({load} is not None)"
            case "in":
                if len(constant) == 1:
                    return f"({load} == {self._constant(constant[0])})"
                return f"({load} in {self._constant(frozenset(constant))})"
            case "net in":
                return f"in_networks({load}, {self._constant(constant)})"
            case "!=":
                if leaf.operand.type in NETWORK_TYPES:
                    return f"({load} is not None and not in_networks({value}, {self._constant((constant,))}))"
                return f"({load} is not None and {value} != {self._constant(constant)})"
            case "<" | "<=" | ">" | ">=":
                return f"({load} is not None and {value} {kind} {self._constant(constant)})"
            case "contains":
                return f"({load} is not None and {self._constant(constant)} in {value})"
            case "startswith" | "endswith":
                prefixes = constant[0] if len(constant) == 1 else constant
                return f"({load} is not None and {value}.{kind}({self._constant(prefixes)}))"
            case _:
                test = self._constant(text_test(kind, constant))
                return f"({load} is not None and {test}({value}))"


class _MergedGraph(Graph):
    """A copy of the needed part of a graph, with one comparison for all constants that a value is compared with."""

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self._graph = graph
        self._new: dict[int, int] = {0: 0, 1: 1}

    def merge(self, root: int) -> int:
        for node in self._graph.reachable([root]):
            if node in self._new:
                continue
            kind = self._graph.nodes[node]
            match kind[0]:
                case "leaf":
                    self._new[node] = self.leaf(kind[1])
                case "type":
                    self._new[node] = self.event_type(kind[1])
                case "not":
                    self._new[node] = self.negated(self._new[kind[1]])
                case "one":
                    self._new[node] = self.exactly_one([self._new[child] for child in kind[1]])
                case _:
                    self._new[node] = self._united(kind[0], [self._new[child] for child in kind[1]])
        return self._new[root]

    def _united(self, kind: str, children: list[int]) -> int:
        """Or: `a = 1 or a = 2` is `a in (1, 2)`; and: the same under negation."""
        groups: dict[tuple[Any, ...], list[Leaf]] = {}
        out: list[tuple[Any, ...] | int] = []
        for child in children:
            node = self.nodes[child]
            if kind == "and":
                node = self.nodes[node[1]] if node[0] == "not" else ("",)
            leaf: Leaf | None = node[1] if node[0] == "leaf" else None
            if leaf and leaf.kind in _UNITABLE and not leaf.operand.some and not leaf.operand.is_list:
                key = (leaf.operand.source, leaf.operand.type, leaf.kind)
                if key not in groups:
                    out.append(key)
                groups.setdefault(key, []).append(leaf)
            else:
                out.append(child)
        parts = []
        for part in out:
            if isinstance(part, int):
                parts.append(part)
                continue
            leaves = groups[part]
            constants = dict.fromkeys(constant for leaf in leaves for constant in leaf.constant)
            united = self.leaf(Leaf(leaves[0].operand, leaves[0].kind, tuple(constants)))
            parts.append(self.negated(united) if kind == "and" else united)
        return self.joined(kind, parts)


def _extraction(source: tuple[Any, ...]) -> str:
    if source[0] == "sides":
        names = source[1]
        return f"sides({', '.join(f'g({name!r})' for name in names)})"
    _, name, argument, conversion = source
    get = f"g({name!r})" if argument is None else f"g({name!r}, {argument!r})"
    if name == "evt.type" and not argument:
        get = "event.type"
    match conversion:
        case "":
            return get
        case "ancestors":
            return f"ancestors({get})"
        case "address" | "bytes" | "hexadecimal":
            return f"as_{conversion}({get})"
        case _ if conversion.startswith("around "):
            return f"abs(event.time - {int(conversion[7:])})"
        case _ if conversion.startswith("is "):
            return f"int({get} == {conversion[3:]!r})"
        case _:
            return f"as_time(event.time, {conversion!r})"


_CALLED: dict[str, Any] = {
    "in_networks": in_networks,
    "sides": sides,
    "ancestors": ancestors,
    "as_address": as_address,
    "as_bytes": as_bytes,
    "as_hexadecimal": as_hexadecimal,
    "as_time": as_time,
    "texts": texts,
    **{f"t_{name}": function for name, function in TRANSFORMERS.items()},
}
