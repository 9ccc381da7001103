"""Compiles an expanded condition: checks it against the field registry and lowers it to a graph of comparisons."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import Any

from falcorules import ast, patterns, values
from falcorules.ast import Position
from falcorules.fields import (
    ADDRESS_TYPES,
    ANCESTORS,
    FIXED,
    NETWORK_TYPES,
    NUMBER_TYPES,
    STRING_TYPES,
    TIMES,
    FieldInfo,
    Reference,
    UnknownField,
    event_types,
    fields,
    generic_event_types,
    resolve,
)
from falcorules.graph import Graph, Leaf, Operand
from falcorules.parser import LIST_OPERATORS, TRANSFORMERS
from falcorules.values import BadValue

_EQUALITY = frozenset({"=", "==", "!=", "in", "intersects", "exists"})
_NUMERIC = _EQUALITY | {"<", "<=", ">", ">="}
_STRING = _NUMERIC | {
    "contains",
    "icontains",
    "startswith",
    "glob",
    "iglob",
    "pmatch",
    "endswith",
    "regex",
}
_BUFFER = _EQUALITY | {"contains", "startswith", "endswith", "bcontains", "bstartswith"}
_LISTABLE = STRING_TYPES - {"FSPATH", "FSRELPATH"} | {"UINT64", "RELTIME", "ABSTIME", "BOOL", "IPADDR", "IPNET"}
_EITHER_SIDE = {
    "fd.ip": ("fd.cip", "fd.sip", "fd.lip", "fd.rip"),
    "fd.port": ("fd.cport", "fd.sport", "fd.lport", "fd.rport"),
    "fd.proto": ("fd.cport", "fd.sport", "fd.lport", "fd.rport"),
    "fd.net": ("fd.cip", "fd.sip", "fd.lip", "fd.rip"),
}
_ADDRESS_OF = {"fd.cnet": "fd.cip", "fd.snet": "fd.sip", "fd.lnet": "fd.lip", "fd.rnet": "fd.rip"}
# What getopt() makes of arguments; Falco's name for it shows in errors.
_FOUND_OPTIONS = FieldInfo("INTERNAL", "CHARBUF", is_list=True)
# Names in Falco's table of events that no event has.
_NAMELESS = frozenset({"", "NA"})


class ConditionFault(Exception):
    """A condition can't be compiled. `message` is Falco's."""

    def __init__(self, message: str, position: Position) -> None:
        super().__init__(message)
        self.message = message
        self.position = position


class FatalFault(ConditionFault):
    """Falco ends at this condition, without a report."""


@dataclass
class Compiled:
    """A valid condition: its node in the graph, the event types it is evaluated for (Falco adds asynchronous events to
    every rule), and warnings."""

    node: int
    event_types: frozenset[str]
    # How many of Falco's event codes those are (all generic system calls share one).
    event_codes: int
    warnings: list[tuple[str, Position]] = field(default_factory=list)


def compile_condition(expression: ast.Expression, graph: Graph) -> Compiled:
    """Checks `expression` (macros already expanded) and adds it to `graph`; raises ConditionFault."""
    warnings: list[tuple[str, Position]] = []
    checks: dict[int, int] = {}
    # A macro that stands there twice is compiled once, but its warnings are as many as in Falco.
    warned: dict[int, list[tuple[str, Position]]] = {}
    # Checks are made left to right, so that the first fault is the one Falco reports.
    for node in ast.walk(expression):
        match node:
            case ast.Check():
                if id(node) not in checks:
                    checks[id(node)] = _check(node, graph, warned.setdefault(id(node), []))
                warnings += warned[id(node)]
            case ast.Exists() if id(node) not in checks:
                checks[id(node)] = _exists(node, graph)
            case ast.Macro():
                raise ConditionFault(f"filter error: unexpected identifier '{node.name}'", node.position)
    root = _lowered(expression, graph, checks)
    types, codes = _event_types(expression)
    return Compiled(root, types, codes, warnings)


def _lowered(root: ast.Expression, graph: Graph, checks: dict[int, int]) -> int:
    """The boolean structure, with negation pushed down to the comparisons."""
    order: list[tuple[ast.Expression, bool]] = []
    pending: list[tuple[ast.Expression, bool]] = [(root, False)]
    while pending:
        node, negated = pending.pop()
        order.append((node, negated))
        if isinstance(node, ast.Not):
            pending.append((node.child, not negated))
        elif isinstance(node, ast.And | ast.Or):
            pending.extend((child, negated) for child in node.children)
    done: dict[tuple[int, bool], int] = {}
    for node, negated in reversed(order):
        key = (id(node), negated)
        if key in done:
            continue
        if isinstance(node, ast.Not):
            done[key] = done[id(node.child), not negated]
        elif isinstance(node, ast.And | ast.Or):
            kind = "and" if isinstance(node, ast.And) is not negated else "or"
            done[key] = graph.joined(kind, [done[id(child), negated] for child in node.children])
        else:
            check = checks[id(node)]
            done[key] = graph.negated(check) if negated else check
    return done[id(root), False]


# Single checks


def _exists(node: ast.Exists, graph: Graph) -> int:
    operand = _operand(node.operand, node.position, in_check=True)
    if operand.source == ("field", "evt.type", None, ""):
        return graph.TRUE
    return graph.leaf(Leaf(operand, "exists"))


def _check(node: ast.Check, graph: Graph, warnings: list[tuple[str, Position]]) -> int:
    place = node.position
    left = _operand(node.operand, place, in_check=True)
    operator = "=" if node.operator == "==" else node.operator
    if fault := _incomparable(operator, left, node.modifier):
        raise ConditionFault(f"filter error: {fault}", place)
    if isinstance(node.value, ast.Transformer):
        right = _operand(node.value, place, in_check=True)
        if operator in ("pmatch", "regex"):
            raise ConditionFault(f"operator '{operator.upper()}' doesn't support right-hand side fields", place)
        _comparable(left, right, place)
        return graph.leaf(Leaf(left, f"field {operator}", right))
    texts = node.value.items if isinstance(node.value, ast.ValueList) else (_text(node.value),)
    constants = []
    for text in texts:
        _suspect(text, operator, node.value.position, warnings)
        try:
            constants.append(_constant(text, operator, left))
        except BadValue as bad:
            raise (FatalFault if bad.fatal else ConditionFault)(bad.message, place) from None
    if constants and compares_with_first_only(node):
        constants = constants[:1]
    elif node.modifier:
        return _modified(graph, left, operator, node.modifier, constants)
    if operator in LIST_OPERATORS:
        return _comparison(graph, left, operator, tuple(constants))
    return _comparison(graph, left, operator, constants[0])


def compares_with_first_only(check: ast.Check) -> bool:
    """Whether Falco compares with the first of several values only: some fields have code of their own for comparisons,
    which overlooks modifiers, and that of fd.net lists."""
    if not isinstance(check.operand, ast.Field):
        return False
    name = check.operand.name
    if check.operator == "in":
        return name == "fd.net"
    all_ancestors = name in ANCESTORS and check.operand.argument is None
    return bool(check.modifier) and (name in _EITHER_SIDE or all_ancestors or name.startswith("evt.rawarg."))


def _modified(graph: Graph, left: Operand, operator: str, modifier: str, constants: list[Any]) -> int:
    if not constants:
        return graph.FALSE
    each = [_comparison(graph, left, operator, constant) for constant in constants]
    if modifier == "oneof":
        return graph.exactly_one(each)
    return graph.joined("or" if modifier == "anyof" else "and", each)


def _comparison(graph: Graph, left: Operand, operator: str, constant: Any) -> int:
    """One comparison with one constant (a tuple of them for the list operators)."""
    if left.source == ("field", "evt.type", None, "") and operator in ("=", "!=", "in", "intersects"):
        names = constant if isinstance(constant, tuple) else (constant,)
        node = graph.event_type(names)
        return graph.negated(node) if operator == "!=" else node
    if left.is_list or left.some:
        return graph.leaf(Leaf(left, operator, constant))
    if left.name == "evt.around":  # the operand is the distance in time; the constant is in milliseconds
        return graph.leaf(Leaf(left, "<=", constant * 1_000_000 % (1 << 64)))
    match operator:
        case "=" | "in" | "intersects":
            constants = (constant,) if operator == "=" else tuple(dict.fromkeys(constant))
            kind = "net in" if left.type in NETWORK_TYPES else "in"
            return graph.leaf(Leaf(left, kind, constants)) if constants else graph.FALSE
        case "contains" | "bcontains":
            return graph.leaf(Leaf(left, "contains", constant))
        case "startswith" | "bstartswith":
            return graph.leaf(Leaf(left, "startswith", (constant,)))
        case "endswith":
            return graph.leaf(Leaf(left, "endswith", (constant,)))
        case _:
            return graph.leaf(Leaf(left, operator, constant))


def _text(value: ast.Operand) -> str:
    if not isinstance(value, ast.Value):
        raise TypeError(f"not a constant: {value!r}")
    return value.text


def _constant(text: str, operator: str, left: Operand) -> Any:
    unhexed = values.unhex(text) if operator in ("bcontains", "bstartswith") else None
    if left.name == "evt.rawarg" and left.type == "BYTEBUF":
        raise BadValue("wrong parameter type 10")
    if unhexed is not None:
        return unhexed
    constant = values.convert(text, left.type)
    if operator == "regex":
        patterns.regex(text)
    if left.name == "evt.around" and operator != "=":
        raise BadValue("evt.around supports only '=' comparison operator")
    # Whatever is made of the type, it is compared with names of types.
    if left.name == "evt.type":
        name = text.partition("\0")[0]
        if name not in event_types() and name not in _NAMELESS:
            raise BadValue(f"unknown event type {name}")
    return constant


def _incomparable(operator: str, left: Operand, modifier: str) -> str:
    """Why `operator` can't be used on the type of `left`, in Falco's words; "" if it can."""
    if left.is_list:
        if left.type not in _LISTABLE:
            return f"list filters are not supported for type '{left.type}'"
        return "" if operator in ("in", "intersects", "exists") else f"'{operator}' operator not supported list filters"
    refused = "operator"
    if left.type in NUMBER_TYPES:
        allowed, what = _NUMERIC, "numeric filters"
    elif left.type == "BOOL":
        allowed, what = _EQUALITY, "numeric filters"
    elif left.type in ADDRESS_TYPES or left.type in NETWORK_TYPES:
        allowed, what = _EQUALITY, "ip address and network filters"
        refused = "with modifier" if modifier else refused
    elif left.type in STRING_TYPES:
        allowed, what = _STRING, "string filters"
    elif left.type == "BYTEBUF":
        allowed, what = _BUFFER, "buffer filters"
    else:
        return f"'{operator}' operator not supported for type '{left.type}'"
    return "" if operator in allowed else f"'{operator}' {refused} not supported for {what}"


def _comparable(left: Operand, right: Operand, position: Position) -> None:
    """Raises ConditionFault unless the fields on both sides may be compared."""
    if left.type in NETWORK_TYPES:
        raise ConditionFault("field type 'IPNET' doesn't support right-hand side fields", position)
    if not left.info.right_hand:
        raise ConditionFault(f"field '{left.name}' doesn't support right-hand side fields", position)
    if not right.info.right_hand:
        raise ConditionFault(f"field '{right.name}' can't be used as a right-hand side field", position)
    if (left.type, left.is_list) != (right.type, right.is_list):
        kinds = [f"{side.type}{' (list)' if side.is_list else ''}" for side in (left, right)]
        raise ConditionFault(
            f"field '{left.name}' has type '{kinds[0]}' while the right-hand side field '{right.name}' has "
            f"incompatible type '{kinds[1]}'",
            position,
        )


# Operands


def _operand(node: ast.Operand, place: Position, *, in_check: bool = False) -> Operand:
    """The operand for a field or transformer, the innermost first. Raises ConditionFault, at `place`: a fault of a
    check is reported where the check starts."""
    order: list[ast.Operand] = []
    pending: list[ast.Operand] = [node]
    while pending:
        current = pending.pop()
        order.append(current)
        if isinstance(current, ast.Transformer):
            pending.extend(current.arguments)
        elif isinstance(current, ast.TransformerList):
            pending.extend(current.items)
    done: dict[int, Operand] = {}
    for current in reversed(order):
        match current:
            case ast.Field():
                try:
                    reference = resolve(current.name, current.argument)
                except UnknownField as unknown:
                    raise ConditionFault(unknown.message, place) from None
                done[id(current)] = field_operand(reference, in_check=in_check and current is node)
            case ast.Value(text):
                done[id(current)] = Operand(("constant", text), "CHARBUF")
            case ast.TransformerList():
                # Whatever is in a list is text in it.
                source = ("list", tuple(done[id(item)].source for item in current.items))
                done[id(current)] = Operand(source, "CHARBUF", is_list=True, base=("CHARBUF", True))
            case ast.Transformer():
                arguments = [done[id(argument)] for argument in current.arguments]
                done[id(current)] = _transformed(current, arguments, place)
    return done[id(node)]


def check_operand(node: ast.Operand) -> None:
    """Raises ConditionFault unless a transformer accepts its arguments."""
    _operand(node, node.position)


def compared_fields(name: str) -> tuple[str, ...]:
    """The fields that are compared in place of this one: either side of a connection, the address for a network."""
    return _EITHER_SIDE.get(name) or ((_ADDRESS_OF[name],) if name in _ADDRESS_OF else ())


def field_operand(reference: Reference, *, in_check: bool = False) -> Operand:
    """The operand for a field. In a check, a field may have several values."""
    info = reference.info
    all_ancestors = reference.field in ANCESTORS and reference.argument is None
    some = in_check and (reference.field in _EITHER_SIDE or all_ancestors)
    source = _source_of(reference, some=some)
    return Operand(source, info.type, info.is_list, some=some, info=info, base=(info.type, info.is_list))


def _source_of(reference: Reference, *, some: bool) -> tuple[Any, ...]:
    name, argument = reference.field, reference.argument
    if name in _EITHER_SIDE:
        return ("sides", _EITHER_SIDE[name]) if some else ("constant", None)
    if name in ANCESTORS and argument is None:
        return ("field", name, None, "ancestors") if some else ("field", name, "0", "")
    if name in _ADDRESS_OF:
        return ("field", _ADDRESS_OF[name], None, "")
    if name == "evt.around":
        return ("field", "evt.time", None, f"around {argument}")
    if name in FIXED:
        return ("constant", FIXED[name])
    if name == "evt.type.is":
        return ("field", "evt.type", None, f"is {argument}")
    conversion = ""
    if name in TIMES:
        conversion = name
    elif reference.info.type in ADDRESS_TYPES:
        conversion = "address"
    elif reference.info.type == "BYTEBUF":
        conversion = "bytes"
    elif name == "fd.dev":
        conversion = "hexadecimal"
    return ("field", name, argument, conversion)


def _transformed(node: ast.Transformer, arguments: list[Operand], place: Position) -> Operand:
    name, first = node.name, arguments[0]
    if node.argument is not None and (name == "val" or len(arguments) == 1):
        raise ConditionFault(f"filter error: transformer '{name}' does not support field arguments", place)
    if name == "val":
        return first
    source = ("call", name, tuple(argument.source for argument in arguments), node.argument)
    if len(arguments) > 1:
        if name not in ("join", "concat", "getopt"):
            raise FatalFault("unknown multivalue transformer", place)
        if fault := _misapplied(node, [argument.base for argument in arguments]):
            raise ConditionFault(fault, place)
        if name == "getopt" and node.argument is None:
            return Operand(source, "CHARBUF", is_list=True, info=_FOUND_OPTIONS)
        return Operand(source, "CHARBUF")
    if name in ("join", "concat", "getopt"):
        raise ConditionFault(f"unknown field transfomer '{name}'", place)
    if not first.info.transformable:
        raise ConditionFault(f"field '{first.name}' does not support transformers", place)
    kind, is_list = first.type, first.is_list
    if name == "len":
        supported = is_list or kind in STRING_TYPES or kind == "BYTEBUF"
        kind, is_list = "UINT64", False
    else:
        supported = kind in ({"CHARBUF", "BYTEBUF"} if name == "b64" else STRING_TYPES)
    if not supported:
        raise ConditionFault(_unsupported(node, first), place)
    return Operand(source, kind, is_list, info=replace(first.info, type=kind, is_list=is_list), base=first.base)


def _misapplied(node: ast.Transformer, arguments: list[tuple[str, bool]]) -> str:
    """Why a transformer doesn't accept these arguments, in Falco's words; "" if it does. An argument is given by the
    field it is made of (type, whether it is a list): Falco ignores transformers in between."""
    match node.name:
        case "join":
            if len(arguments) != 2:
                return "join() requires exactly 2 arguments: separator and list"
            if arguments[0][1]:
                return "join() first argument (separator) must be a single value, not a list"
            if not arguments[1][1]:
                return "join() second argument must be a list"
        case "concat":
            if any(argument != ("CHARBUF", False) for argument in arguments):
                return "concat() arguments must be strings"
        case _:
            if len(arguments) != 2:
                return "getopt() requires exactly 2 arguments: args list and optstring"
            if not arguments[0][1]:
                return "getopt() first argument must be a list"
            if arguments[1][1]:
                return "getopt() second argument (optstring) must be a single value"
            if {kind for kind, _ in arguments} != {"CHARBUF"}:
                return "getopt() arguments must be strings"
            if node.argument is not None and len(node.argument.encode("utf-8", "surrogateescape")) != 1:
                return "getopt() field argument must be a single option character"
            return ""
    return "" if node.argument is None else f"transformer '{node.name}' does not support field arguments"


def _unsupported(node: ast.Transformer, operand: Operand) -> str:
    name = "NA" if operand.name == _FOUND_OPTIONS.name else operand.name
    return (
        f"can't add field transformer: type '{operand.type}' is not supported by '{node.name}' transformer "
        f"applied on {'list ' if operand.is_list else ''}field '{name}'"
    )


# Warnings


def _suspect(text: str, operator: str, position: Position, warnings: list[tuple[str, Position]]) -> None:
    """Warns of constants that look like a field, a transformer or a needless regex."""
    stripped = "".join(text.split())
    if operator == "regex" and _is_simple(text):
        warnings.append(
            (
                f"regex check with '{text}' may be optimized with simpler operators such as '=', 'contains', "
                "'startswith', 'endswith'",
                position,
            )
        )
    if "." in stripped and _is_field(stripped):
        warnings.append((f"'{text}' may be a valid field misused as a const string value", position))
    if stripped.endswith(")"):
        message = f"'{text}' may be a valid field transformer misused as a const string value"
        warnings.extend((message, position) for name in ("val", *TRANSFORMERS) if stripped.startswith(f"{name}("))


_FIELD_TEXT = re.compile(r"([a-zA-Z][a-zA-Z0-9_.]*)(?:\[(.*)\])?")


def _is_field(text: str) -> bool:
    match = _FIELD_TEXT.fullmatch(text)
    if match is None or (match[1] not in fields() and not match[1].startswith(("evt.arg.", "evt.rawarg."))):
        return False
    try:
        resolve(match[1], match[2])
    except UnknownField:
        return False
    return True


def _is_simple(pattern: str) -> bool:
    """Whether =, contains, startswith or endswith could replace a regex."""
    at, size = 0, len(pattern)
    while at < size:
        character = pattern[at]
        if (at == 0 and character == "^") or (at == size - 1 and character == "$"):
            at += 1
        elif ((at == 0 and size > 1) or at == size - 2) and character == "." and pattern[at + 1] in "+*?":
            at += 2
        elif character in ".+*?^$()[]{}|\\\0":
            return False
        else:
            at += 1
    return True


# Event types

_CODES_BEYOND_NAMES = 1  # the one event that all generic system calls share


def _event_types(root: ast.Expression) -> tuple[frozenset[str], int]:
    """The event types a condition can be true for, and the number of Falco's event codes for them."""
    everything = event_types()
    order: list[tuple[ast.Expression, bool]] = []
    pending: list[tuple[ast.Expression, bool]] = [(root, False)]
    while pending:
        node, negated = pending.pop()
        order.append((node, negated))
        if isinstance(node, ast.Not):
            pending.append((node.child, not negated))
        elif isinstance(node, ast.And | ast.Or):
            pending.extend((child, negated) for child in node.children)
    done: dict[tuple[int, bool], frozenset[str]] = {}
    for node, negated in reversed(order):
        if isinstance(node, ast.Not):
            types = done[id(node.child), not negated]
        elif isinstance(node, ast.And | ast.Or):
            parts = [done[id(child), negated] for child in node.children]
            intersect = isinstance(node, ast.And) is not negated
            types = everything.intersection(*parts) if intersect else frozenset().union(*parts)
        elif isinstance(node, ast.Check):
            types = _types_of_check(node, negated, everything)
        else:
            types = everything
            if isinstance(node, ast.Exists):
                _reject_untraceable(node)
            if isinstance(node, ast.Exists) and negated and _is_event_type(node.operand):
                types = frozenset()
        done[id(node), negated] = types
    types = done[id(root), False]
    generic = types & generic_event_types()
    return types, len(types) - len(generic) + (_CODES_BEYOND_NAMES if generic else 0)


def _types_of_check(node: ast.Check, negated: bool, everything: frozenset[str]) -> frozenset[str]:
    if node.operator in ("=", "==", "!=", "in") and not node.modifier:
        _reject_untraceable(node)
    if not _is_event_type(node.operand) or node.operator not in ("=", "==", "!=", "in") or node.modifier:
        return everything
    names = node.value.items if isinstance(node.value, ast.ValueList) else (_text(node.value),)
    # A code stands for all generic system calls at once, so that naming one selects them all.
    named = frozenset(names) & everything
    if named & generic_event_types():
        named |= generic_event_types()
    return everything - named if negated is not (node.operator == "!=") else named


def _reject_untraceable(node: ast.Check | ast.Exists) -> None:
    """Raises FatalFault for a check whose event types Falco can't determine."""
    sides: list[ast.Operand] = [node.operand]
    compared = isinstance(node, ast.Check) and _is_event_type(node.operand) and isinstance(node.value, ast.Transformer)
    if compared and isinstance(node, ast.Check):
        sides.append(node.value)
    if any(_transforms_event_type(part) for side in sides for part in ast.walk(side)):
        raise FatalFault("event code search does not support `evt.type` checks with transformers", node.position)
    if compared:
        message = (
            "right-hand field comparisons on `evt.type`/`syscall.type` checks are not supported by event code search"
        )
        raise FatalFault(message, node.position)


def _transforms_event_type(node: ast.Node) -> bool:
    """Whether a transformer has the event type as an argument, or last in a list (Falco checks no other item)."""
    if not isinstance(node, ast.Transformer):
        return False
    arguments = [
        part.items[-1] if isinstance(part, ast.TransformerList) and part.items else part for part in node.arguments
    ]
    return any(map(_is_event_type, arguments))


def _is_event_type(operand: ast.Node) -> bool:
    return isinstance(operand, ast.Field) and operand.name in ("evt.type", "syscall.type") and operand.argument is None
