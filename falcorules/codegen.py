"""Turns conditions into one Python function per event type: shared parts once, a field extracted at most once."""

from __future__ import annotations

import base64
import binascii
import operator
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from falcorules import values
from falcorules.ast import MODIFIERS
from falcorules.compile import Graph, Leaf, Operand
from falcorules.fields import NETWORK_TYPES
from falcorules.output import as_text, moment_of

# Expressions nested deeper than this become functions of their own: Python's parser has limits.
_MAX_NESTING = 16
_MAX_INDENT = 40

Matcher = Callable[[Any], "list[int]"]

_UNITABLE = ("in", "startswith", "endswith", "net in")
_ORDERINGS: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def matcher(graph: Graph, roots: Sequence[int]) -> Matcher:
    """A function from an event to the places in `roots` of the conditions that are true for it, ascending."""
    return _Writer(graph).matcher(roots)


class _Writer:
    """Writes the source of one matcher."""

    def __init__(self, graph: Graph) -> None:
        self.graph = _merged(graph)
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
        """The line that marks every field and shared result used in a function as not known yet."""
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
        """Code that gets the value of an operand, and code that names it afterwards."""
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
            return f"{self._constant(_several(kind, constant, leaf.operand.type))}({load})"
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


class _merged(Graph):
    """A copy of the needed part of a graph in which tests of one value against several constants are one test."""

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


# What the generated code calls


def text_test(kind: str, constant: Any) -> Callable[[str], bool]:
    """A test of a string for one of the operators that need more than Python's own."""
    match kind:
        case "icontains":
            wanted = values.lower(constant)
            return lambda text: wanted in values.lower(text)
        case "glob":
            return values.glob(constant)
        case "iglob":
            return values.glob(constant, fold_case=True)
        case "regex":
            return values.regex(constant)
        case "pmatch":
            return values.Paths(constant).match
        case "startswith" | "endswith":
            check = str.startswith if kind == "startswith" else str.endswith
            return lambda text: check(text, constant)
        case "contains":
            return lambda text: constant in text
    raise ValueError(f"not an operator on strings: {kind}")


def _one(kind: str, constant: Any, type_: str) -> Callable[[Any], bool]:
    """A test of one present value."""
    if kind.endswith(MODIFIERS):
        kind, modifier = kind.split(" ")
        tests = [_one(kind, each, type_) for each in constant]
        wanted = {"oneof": (1,), "anyof": range(1, len(tests) + 1), "allof": (len(tests),)}[modifier]
        return lambda value: sum(test(value) for test in tests) in wanted
    if type_ in NETWORK_TYPES:
        networks = constant if kind in ("in", "intersects") else (constant,)
        if kind == "!=":
            return lambda value: not in_networks(value, networks)
        return lambda value: in_networks(value, networks)
    match kind:
        case "=":
            return lambda value: bool(value == constant)
        case "!=":
            return lambda value: bool(value != constant)
        case "in" | "intersects":
            members = frozenset(constant)
            return lambda value: value in members
        case "exists":
            return lambda value: True
        case "<" | "<=" | ">" | ">=":
            compare = _ORDERINGS[kind]
            return lambda value: compare(value, constant)
        case "startswith" | "endswith" | "contains" | "icontains" | "glob" | "iglob" | "regex" | "pmatch":
            return text_test(kind, constant)
    raise ValueError(f"not an operator: {kind}")


def _several(kind: str, constant: Any, type_: str) -> Callable[[Any], bool]:
    """A test of values any of which may match: all ancestors, either side of a connection."""
    if type_ in ("IPADDR", "PORT") or type_ in NETWORK_TYPES:
        convert = values.address if type_ == "IPADDR" else None
        test = _one(kind, constant, type_)
        quantifier = all if kind.startswith("!=") else any
        return lambda found: bool(found and quantifier(test(convert(value) if convert else value) for value in found))
    test = _one(kind, constant, type_)
    return lambda found: bool(found) and any(map(test, found))


def field_comparison(kind: str, right: Operand) -> Callable[[Any, Any], bool]:
    """A comparison of two fields; false if either is missing."""
    mapped = right.source[0] == "call" and right.source[1] in _MAPPING and not right.is_list
    if mapped and kind in ("in", "intersects"):
        # What they make has its terminating NUL with it, which no value on the left has.
        return lambda a, b: False
    compare = _comparison_of(kind, is_list=right.is_list)
    return lambda a, b: a is not None and b is not None and compare(a, b)


def _comparison_of(kind: str, *, is_list: bool) -> Callable[[Any, Any], bool]:
    match kind:
        case "in" if is_list:
            return lambda a, b: set(b).issuperset(a)
        case "intersects" if is_list:
            return lambda a, b: not set(a).isdisjoint(b)
        case "=" | "in" | "intersects":
            return lambda a, b: bool(a == b)
        case "!=":
            return lambda a, b: bool(a != b)
        case "<" | "<=" | ">" | ">=":
            return _ORDERINGS[kind]
        case "contains" | "bcontains":
            return lambda a, b: b in a
        case "startswith" | "bstartswith":
            return lambda a, b: bool(a.startswith(b))
        case "endswith":
            return lambda a, b: bool(a.endswith(b))
        case _:
            return lambda a, b: text_test(kind, b)(a)


def in_networks(value: str | bytes | None, networks: tuple[tuple[int, int, int], ...]) -> bool:
    if value is None:
        return False
    packed = values.address(value) if isinstance(value, str) else value
    if packed is None:
        return False
    bits, length = int.from_bytes(packed, "big"), len(packed)
    return any(length == size and bits & mask == network for network, mask, size in networks)


def sides(client: Any, server: Any, local: Any, remote: Any) -> list[Any] | None:
    found = [side for side in (client, server) if side is not None]
    return found or [side for side in (local, remote) if side is not None] or None


def ancestors(chain: Any) -> list[Any] | None:
    """The recorded chain starts with the process itself; ancestors are what follows."""
    return list(chain[1:]) if isinstance(chain, list | tuple) else None


def as_address(value: Any) -> bytes | None:
    return values.address(value) if isinstance(value, str) else value


def as_bytes(value: Any) -> bytes | None:
    return value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value


def as_hexadecimal(value: Any) -> int | None:
    return int(value, 16) if isinstance(value, str) else value


def as_time(value: Any, field: str) -> str | None:
    """A time in nanoseconds as the text that `field` shows (UTC)."""
    if not isinstance(value, int):
        text: str | None = value
        return text
    moment, nanoseconds = moment_of(value)
    match field:
        case "evt.time":
            return f"{moment:%H:%M:%S}.{nanoseconds:09d}"
        case "evt.time.s":
            return f"{moment:%H:%M:%S}"
        case "evt.time.iso8601":
            return f"{moment:%Y-%m-%dT%H:%M:%S}.{nanoseconds:09d}+0000"
        case "evt.datetime":
            return f"{moment:%Y-%m-%d %H:%M:%S}.{nanoseconds:09d}"
        case _:
            return f"{moment:%Y-%m-%d %H:%M:%S}"


# Values that transformers make. Falco's have the terminating NUL of a C string with them: it doesn't matter where
# strings are compared, but it does in a list, and at the end of a buffer.


def _mapped(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """`function` on a value, or on each of a list; nothing where there is no value, or where it finds none."""

    def apply(value: Any) -> Any:
        if isinstance(value, str):
            return function(value)
        if value is None:
            return None
        if isinstance(value, bytes):
            made = function(value.rstrip(b"\0"))
            return made if made is None or made.endswith(b"\0") else made + b"\0"
        items = [function(item.rstrip("\0")) for item in value]
        return None if None in items else [item if item.endswith("\0") else f"{item}\0" for item in items]

    return apply


def _until_nul(text: str) -> str:
    return text.partition("\0")[0]


def _decoded(text: str | bytes) -> Any:
    """Base64, padded or not; None where it isn't that."""
    data = text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text
    data = data[:-2] if data.endswith(b"==") else data.removesuffix(b"=")
    if not data:
        return None if text else text
    try:
        out = base64.b64decode(data + b"=" * (-len(data) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None
    if base64.b64encode(out).rstrip(b"=") != data:  # bits are left over
        return None
    return _until_nul(out.decode("utf-8", "surrogateescape")) if isinstance(text, str) else out


def texts(*items: Any) -> list[str] | None:
    """A list of what there is as text; nothing where one is missing."""
    return None if any(item is None for item in items) else [as_text(item) for item in items]


def t_len(value: Any) -> int | None:
    if value is None:
        return None
    return len(value.encode("utf-8", "surrogateescape")) if isinstance(value, str) else len(value)


def t_join(separator: Any, items: Any) -> str | None:
    if separator is None or items is None:
        return None
    return as_text(separator).join(_until_nul(item) for item in items)


def t_concat(*parts: Any) -> str | None:
    return None if any(part is None for part in parts) else "".join(as_text(part) for part in parts)


def t_getopt(arguments: Any, options: Any, wanted: str) -> Any:
    """What getopt(3) finds among `arguments`, in order: the letter of each option and, if it takes one, its value; "?"
    for an unknown option, "" alone where a value is missing. With `wanted`, a letter: the value of that option (its
    letter, if it takes none), the last if there are several, None if it isn't there."""
    if arguments is None or options is None:
        return None
    known, valued = _options(options)
    found: list[str] = []
    chosen: str | None = None
    pending = iter(arguments)
    for argument in pending:
        if argument.startswith("--") and len(argument) > 2:
            continue  # a long option
        if argument in ("--", "-") or not argument.startswith("-"):
            break
        for place, letter in enumerate(argument[1:], start=2):
            if letter not in known:
                found.append("?")
                continue
            value = (argument[place:] or next(pending, None)) if letter in valued else None
            found.extend([letter] if letter not in valued else [""] if value is None else [letter, value])
            if letter == wanted:
                chosen = found[-1]
            if letter in valued:
                break
    return chosen if wanted else found


def _options(text: str) -> tuple[set[str], set[str]]:
    """The options of getopt(3)'s text, and those that take a value."""
    known: set[str] = set()
    valued: set[str] = set()
    for place, letter in enumerate(text):
        if letter != ":":
            known.add(letter)
            if text[place + 1 : place + 2] == ":":
                valued.add(letter)
    return known, valued


_MAPPING: dict[str, Callable[[Any], Any]] = {
    "tolower": _mapped(values.lower),
    "toupper": _mapped(values.upper),
    "basename": _mapped(lambda path: path.rpartition("/")[2]),
    "b64": _mapped(_decoded),
}
TRANSFORMS: dict[str, Callable[..., Any]] = {
    **_MAPPING,
    "len": t_len,
    "join": t_join,
    "concat": t_concat,
    "getopt": t_getopt,
}
_CALLED: dict[str, Any] = {
    "in_networks": in_networks,
    "sides": sides,
    "ancestors": ancestors,
    "as_address": as_address,
    "as_bytes": as_bytes,
    "as_hexadecimal": as_hexadecimal,
    "as_time": as_time,
    "texts": texts,
    **{f"t_{name}": function for name, function in TRANSFORMS.items()},
}
