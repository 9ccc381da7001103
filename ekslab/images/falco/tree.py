"""The YAML tree of Falco's settings, read, changed and converted as yaml-cpp does."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping
from typing import Any

from falcorules.document import Node, documents
from falcorules.yaml_scanner import Place

NOWHERE = Place(-1, -1, -1)
"""The place of what no file has."""

_INTEGER = re.compile(r"([+-]?)(0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)[ \t\n\v\f\r]*")
_DOUBLE = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?[ \t\n\v\f\r]*")
_SPECIAL = re.compile(r"([+-]?)\.(?:(inf|Inf|INF)|nan|NaN|NAN)")
INTEGERS = {
    "int16": (-(1 << 15), (1 << 15) - 1),
    "int32": (-(1 << 31), (1 << 31) - 1),
    **{f"uint{bits}": (0, (1 << bits) - 1) for bits in (8, 16, 32, 64)},
}


class TreeError(Exception):
    """A value can't be reached or converted; the message is yaml-cpp's."""

    def __init__(self, text: str, place: Place = NOWHERE) -> None:
        where = f"yaml-cpp: error at line {place.line + 1}, column {place.column + 1}: " if place != NOWHERE else ""
        super().__init__(where + text)


def parse(content: bytes, env: Mapping[str, str] | None = None) -> Node:
    """The first document, with `${NAME}` replaced by variables if `env` is given. Raises falcorules' YamlFault."""
    found = documents(content)
    root = found[0] if found else Node("null", NOWHERE)
    return _copy(root, env, {})


def _copy(node: Node, env: Mapping[str, str] | None, known: dict[int, Node]) -> Node:
    """A copy that may be changed: what is parsed once is shared. Aliases stay one node."""
    if id(node) in known:
        return known[id(node)]
    text = _substituted(node.text, env) if env is not None and node.kind == "scalar" else node.text
    copied = known[id(node)] = dataclasses.replace(node, text=text)
    copied.items = tuple(_copy(item, env, known) for item in node.items)
    copied.pairs = tuple((key, _copy(value, env, known)) for key, value in node.pairs)
    return copied


def _substituted(text: str, env: Mapping[str, str]) -> str:
    """`${NAME}` is a variable's value, `$${NAME}` stands for `${NAME}`, and another `$` ends it."""
    start = text.find("$")
    while start >= 0:
        if text.startswith("${", start):
            end = text.find("}", start)
            if end < 0:
                break
            text = text[:start] + env.get(text[start + 2 : end], "") + text[end + 1 :]
        elif text.startswith("$${", start):
            if text.find("}", start) < 0:
                break
            text = text[:start] + text[start + 1 :]
            start += 1
        else:
            break
        start = text.find("$", start)
    return text


# -- reaching values


def child(node: Node | None, key: str) -> Node | None:
    """A value of a map; None where there is none. Raises `TreeError` for a scalar, which has no keys."""
    if node is None:
        return None
    if node.kind == "scalar":
        raise TreeError(f'operator[] call on a scalar (key: "{key}")', node.place)
    return node.get(key) if node.kind == "map" else None


def at(root: Node, dotted: str) -> Node | None:
    """The value at a path such as `webserver.listen_port`. Raises `TreeError` for a path through a scalar."""
    node: Node | None = root
    for key in dotted.split("."):
        try:
            node = child(node, key)
        except TreeError as error:
            raise TreeError(f'Config error at key "{dotted}": {error}') from error
    return node


def assign(root: Node, path: str, value: Node) -> None:
    """Sets the value at a path such as `a.b[0].c`, `a[]` or `a\\.b`; makes what isn't there. Raises `TreeError`."""
    try:
        node = root
        for key in _keys(path):
            node = _reached(node, key)
    except TreeError as error:
        raise TreeError(f'Config error at key "{path}": {error}') from error
    node.kind, node.text, node.items, node.pairs = value.kind, value.text, value.items, value.pairs
    if value.kind != "scalar":
        node.place = value.place


def _keys(path: str) -> list[str | int | None]:
    """The keys and indexes of a path, None for `[]`."""
    keys: list[str | int | None] = []
    key, place = "", 0
    while place < len(path):
        char, last = path[place], place == len(path) - 1
        if char == "\\":
            if last:
                raise TreeError(f"Parsing error: trailing backslash at pos {place}")
            if path[place + 1] not in ".[]\\":
                raise TreeError(f"Parsing error: invalid escape sequence '\\{path[place + 1]}' at pos {place}")
            key += path[place + 1]
            place += 2
            if place == len(path):
                keys.append(key)
            continue
        if char not in ".[":
            if place and not key and path[place - 1] != ".":
                raise TreeError(f"Parsing error: expected '.' character at pos {place - 1}")
            key += char
        if char in ".[" or last:
            if not key:
                raise TreeError(f"Parsing error: unexpected character at pos {place}")
            keys.append(key)
            key = ""
        if char == "[":
            end = path.find("]", place)
            text = path[place + 1 : end] if end >= 0 else path[place + 1 :]
            number = re.match(r"\s*[+-]?[0-9]+", text)
            if text and number is None:
                raise TreeError(f"Parsing error: expected a numeric index, found '{text}'")
            keys.append(int(number[0]) if number else None)
            place = end if end >= 0 else len(path)
            if path[place + 1 : place + 2] == ".":
                place += 1
        place += 1
    return keys


def _reached(node: Node, key: str | int | None) -> Node:
    """The value of a key, which is made if it isn't there. A list that is asked for a key becomes a map."""
    if key is None:
        if node.kind not in ("sequence", "null"):
            raise TreeError("Parsing error: expected a numeric index, found ''")
        key = len(node.items)
    if node.kind == "scalar":
        raise TreeError(f'operator[] call on a scalar (key: "{key}")', node.place)
    made = Node("null", NOWHERE)
    if node.kind in ("sequence", "null") and isinstance(key, int) and 0 <= key <= len(node.items):
        if key == len(node.items):
            node.kind, node.items = "sequence", (*node.items, made)
        return node.items[key]
    if node.kind != "map":
        named = tuple((Node("scalar", NOWHERE, str(place)), item) for place, item in enumerate(node.items))
        node.kind, node.items, node.pairs = "map", (), named
    found = node.get(str(key))
    if found is None:
        node.pairs = (*node.pairs, (Node("scalar", NOWHERE, str(key)), made))
    return found or made


# -- converting


def bad_conversion(node: Node) -> TreeError:
    return TreeError("bad conversion", node.place)


def text(node: Node) -> str:
    """A scalar's text. Raises `TreeError` for a list or a map."""
    if node.kind not in ("scalar", "null"):
        raise bad_conversion(node)
    return node.name or ""


def texts(node: Node | None) -> list[str]:
    """The texts of a list, or of one scalar; none of anything else. Raises `TreeError`."""
    if node is not None and node.kind == "sequence":
        return [text(item) for item in node.items]
    return [node.text] if node is not None and node.kind == "scalar" else []


def scalar(node: Node | None, kind: str, default: Any) -> Any:
    """A value of type `string`, `boolean`, `double` or one of `INTEGERS`; the default where it is none."""
    if node is None:
        return default
    if kind == "string":
        return default if node.name is None else node.name
    if node.kind != "scalar":
        return default
    value = node.boolean() if kind == "boolean" else double(node) if kind == "double" else integer(node, kind)
    return default if value is None else value


def integer(node: Node, kind: str) -> int | None:
    match = _INTEGER.fullmatch(node.text)
    lowest, highest = INTEGERS[kind]
    if match is None or len(match[2]) > 40 or (match[1] == "-" and lowest == 0):
        return None
    base = 16 if match[2][:2] in ("0x", "0X") else 8 if match[2].startswith("0") else 10
    value = int(match[2], base) * (-1 if match[1] == "-" else 1)
    return value if lowest <= value <= highest else None


def double(node: Node) -> float | None:
    if _DOUBLE.fullmatch(node.text):
        return float(node.text)
    match = _SPECIAL.fullmatch(node.text)
    return None if match is None else float(f"{match[1]}{'inf' if match[2] else 'nan'}")


def as_json(node: Node) -> Any:
    """The tree as the JSON that Falco makes of it: what looks like a number or a boolean is one in spite of quotes, and
    empty lists and maps are null."""
    if node.kind == "map":
        return {text(key): as_json(value) for key, value in node.pairs} or None
    if node.kind == "sequence":
        return [as_json(item) for item in node.items] or None
    if node.kind == "null":
        return None
    for value in (integer(node, "int32"), double(node), node.boolean()):
        if value is not None:
            return value if math.isfinite(value) else None
    return node.text
