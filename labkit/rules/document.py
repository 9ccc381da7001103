"""Rule files as YAML: bytes in, nodes with byte positions out, and the check against the schema of rule files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

# Deeper than this, Falco's YAML reader gives up too.
MAX_NESTING = 500

_NULLS = ("", "~", "null", "Null", "NULL")
_TRUE = re.compile(r"y|Y|yes|Yes|YES|true|True|TRUE|on|On|ON")
_FALSE = re.compile(r"n|N|no|No|NO|false|False|FALSE|off|Off|OFF")
# Characters that YAML forbids but Falco's reader lets pass; they travel through the parser in disguise.
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ufffe\uffff]")
_DISGUISE = 0xF0000


class YamlFault(Exception):
    """The text isn't YAML. `line` and `column` count from 0, `offset` in bytes."""

    def __init__(self, message: str, line: int, column: int, offset: int) -> None:
        super().__init__(message)
        self.message = message
        self.line = line
        self.column = column
        self.offset = offset


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """A YAML node. `kind` is "map", "sequence", "scalar" or "null"; places count from 0, in bytes."""

    kind: str
    line: int
    column: int
    offset: int
    text: str = ""
    items: tuple[Node, ...] = ()
    pairs: tuple[tuple[Node, Node], ...] = ()

    def get(self, key: str) -> Node | None:
        """The value of a key of a map (of the first one, if it is there twice)."""
        for name, value in self.pairs:
            if name.text == key and name.kind == "scalar":
                return value
        return None

    def boolean(self) -> bool | None:
        """The scalar as a boolean, or None if it isn't one."""
        if _TRUE.fullmatch(self.text):
            return True
        return False if _FALSE.fullmatch(self.text) else None

    def unsigned(self) -> int | None:
        """The scalar as a 32-bit unsigned integer (decimal, 0x, leading 0: octal), or None if it isn't one."""
        match = re.fullmatch(r"([+-]?)(0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)\s*", self.text)
        if match is None or len(match[2]) > 12:
            return None
        digits = match[2]
        value = int(digits, 16 if digits[:2] in ("0x", "0X") else 8 if digits.startswith("0") else 10)
        if match[1] == "-":
            return None if value else 0
        return value if value < 1 << 32 else None


def documents(content: bytes) -> list[Node]:
    """The documents of a file, with shared nodes where it has aliases; raises YamlFault."""
    import yaml

    text = content.decode("utf-8", "replace")
    disguised = _FORBIDDEN.search(text) is not None
    if disguised:
        text = _FORBIDDEN.sub(lambda match: chr(_DISGUISE + ord(match[0])), text)
    places = _Places(text, ascii_only=text.isascii())
    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        return _compose(iter(yaml.parse(text, Loader=loader)), places, disguised)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column, offset = places.of(mark) if mark else (0, 0, 0)
        message = _PROBLEMS.get((error.context or "").split(" from ")[0], error.problem or error.context or "bad file")
        raise _fault(message, line, column, offset) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise _fault(str(error).splitlines()[0], 0, 0, 0) from None


# The words of Falco's YAML reader for what this one says.
_PROBLEMS = {
    "while parsing a flow sequence": "end of sequence flow not found",
    "while parsing a flow mapping": "end of map flow not found",
    "while parsing a block mapping": "end of map not found",
    "while parsing a block collection": "end of sequence not found",
}


def _fault(message: str, line: int, column: int, offset: int) -> YamlFault:
    return YamlFault(f"yaml-cpp: error at line {line + 1}, column {column + 1}: {message}", line, column, offset)


class _Places:
    """Marks of the YAML parser (in characters) as byte positions."""

    def __init__(self, text: str, *, ascii_only: bool) -> None:
        self._text = "" if ascii_only else text
        self._starts: dict[int, int] = {}

    def of(self, mark: Any) -> tuple[int, int, int]:
        line, column, index = mark.line, mark.column, mark.index
        if not self._text:
            return line, column, index
        start = index - column
        before = self._starts.get(start)
        if before is None:
            before = self._starts[start] = len(self._text[:start].encode("utf-8", "surrogatepass"))
        width = len(self._text[start:index].encode("utf-8", "surrogatepass"))
        return line, width, before + width


class _Open:
    """A map or sequence whose end hasn't been reached."""

    __slots__ = ("anchor", "kind", "nodes", "place")

    def __init__(self, kind: str, place: tuple[int, int, int], anchor: str | None) -> None:
        self.kind = kind
        self.place = place
        self.anchor = anchor
        self.nodes: list[Node] = []


def _compose(events: Iterator[Any], places: _Places, disguised: bool) -> list[Node]:
    """Nodes from parser events, without recursion."""
    import yaml

    roots: list[Node] = []
    anchors: dict[str, Node] = {}
    stack: list[_Open] = []
    for event in events:
        node: Node | None = None
        if isinstance(event, yaml.ScalarEvent):
            place = places.of(event.start_mark)
            text = event.value
            if disguised:
                text = re.sub("[\U000f0000-\U000fffff]", lambda match: chr(ord(match[0]) - _DISGUISE), text)
            plain = event.style in (None, "") and event.tag is None
            node = Node("null" if plain and text in _NULLS else "scalar", *place, text=text)
            if event.anchor:
                anchors[event.anchor] = node
        elif isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
            kind = "map" if isinstance(event, yaml.MappingStartEvent) else "sequence"
            stack.append(_Open(kind, places.of(event.start_mark), event.anchor))
            if len(stack) > MAX_NESTING:
                raise _fault("bad file", *places.of(event.start_mark))
        elif isinstance(event, yaml.MappingEndEvent | yaml.SequenceEndEvent):
            opened = stack.pop()
            if opened.kind == "map":
                keys, items = opened.nodes[::2], opened.nodes[1::2]
                node = Node("map", *opened.place, pairs=tuple(zip(keys, items, strict=True)))
            else:
                node = Node("sequence", *opened.place, items=tuple(opened.nodes))
            if opened.anchor:
                anchors[opened.anchor] = node
        elif isinstance(event, yaml.AliasEvent):
            node = anchors.get(event.anchor or "")
            if node is None:
                raise _fault("the referenced anchor is not defined", *places.of(event.start_mark))
        elif isinstance(event, yaml.DocumentStartEvent):
            anchors = {}
        if node is not None:
            (stack[-1].nodes if stack else roots).append(node)
    return roots


# The schema of rule files, as Falco checks it: faults are reported beside the errors and stop nothing.

_SCHEMA_STRING = {"type": "string"}
_SCHEMA_BOOLEAN = {"type": "boolean"}
_SCHEMA_INTEGER = {"type": "integer"}
_PRIORITIES = ("EMERGENCY", "ALERT", "CRITICAL", "ERROR", "WARNING", "NOTICE", "INFO", "INFORMATIONAL", "DEBUG")
_OVERRIDE = {"type": "string", "enum": ("append", "replace")}
_REQUIREMENT: dict[str, Any] = {"name": _SCHEMA_STRING, "version": _SCHEMA_STRING}
_ITEM_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        **dict.fromkeys(
            ("required_engine_version", "macro", "condition", "list", "rule", "desc", "output", "source"),
            _SCHEMA_STRING,
        ),
        **dict.fromkeys(("enabled", "append", "capture", "warn_evttypes", "skip-if-unknown-filter"), _SCHEMA_BOOLEAN),
        "capture_duration": _SCHEMA_INTEGER,
        "priority": {"type": "string", "enum": _PRIORITIES},
        "items": {"type": "array", "items": {"anyOf": ("integer", "string")}},
        "tags": {"type": "array", "items": _SCHEMA_STRING},
        "exceptions": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"name": _SCHEMA_STRING, "fields": {}, "comps": {}, "values": {}},
                "required": ("name",),
            },
        },
        "override": {
            "type": "object",
            "minimum": 1,
            "properties": dict.fromkeys(
                (
                    *("items", "desc", "condition", "output", "priority", "enabled", "exceptions", "capture"),
                    *("capture_duration", "tags", "warn_evttypes", "skip-if-unknown-filter"),
                ),
                _OVERRIDE,
            ),
        },
        "required_plugin_versions": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    **_REQUIREMENT,
                    "alternatives": {
                        "type": "array",
                        "items": {"type": "object", "properties": _REQUIREMENT, "required": ("name", "version")},
                    },
                },
                "required": ("name", "version"),
            },
        },
    },
}
_FILE_SCHEMA = {"type": "array", "items": _ITEM_SCHEMA}


def schema_warnings(roots: list[Node]) -> list[str]:
    """How the documents depart from the schema, in Falco's words, innermost first."""
    found: list[str] = []
    for root in roots:
        _validate(root, _FILE_SCHEMA, "<root>", found)
    return [f"failed for {fault}" for fault in found]


def _validate(node: Node, schema: dict[str, Any], path: str, found: list[str]) -> bool:
    if "anyOf" in schema:
        if node.kind in ("scalar", "null"):
            return True
        found.append(f"{path}: Failed to validate against any child schemas allowed by anyOf constraint.")
        return False
    wanted = schema.get("type")
    if wanted and not _has_type(node, wanted):
        found.append(f"{path}: Value type not permitted by 'type' constraint.")
        return False
    valid = True
    if "enum" in schema and node.text not in schema["enum"]:
        found.append(f"{path}: Failed to match against any enum values.")
        valid = False
    if wanted == "array":
        for place, item in enumerate(node.items):
            if not _validate(item, schema["items"], f"{path}[{place}]", found):
                found.append(f"{path}: Failed to validate item #{place} in array.")
                valid = False
    if wanted == "object":
        valid = _validate_object(node, schema, path, found) and valid
    return valid


def _validate_object(node: Node, schema: dict[str, Any], path: str, found: list[str]) -> bool:
    valid = True
    properties = schema["properties"]
    if len(node.pairs) < schema.get("minimum", 0):
        found.append(f"{path}: Object should have no fewer than {schema['minimum']} properties.")
        valid = False
    for name in sorted(properties):
        value = node.get(name)
        if value is not None and not _validate(value, properties[name], f"{path}[{name}]", found):
            found.append(f"{path}: Failed to validate against schema associated with property name '{name}'.")
            valid = False
    unknown = next((key.text for key, _ in node.pairs if key.text not in properties), None)
    if unknown is not None:
        found.append(
            f"{path}: Object contains a property that could not be validated using 'properties' or "
            f"'additionalProperties' constraints: '{unknown}'."
        )
        valid = False
    for name in schema.get("required", ()):
        if node.get(name) is None:
            found.append(f"{path}: Missing required property '{name}'.")
            valid = False
    return valid


def _has_type(node: Node, wanted: str) -> bool:
    match wanted:
        case "array":
            return node.kind == "sequence"
        case "object":
            return node.kind == "map"
        case "boolean":
            return node.kind == "null" or (node.kind == "scalar" and node.text in ("true", "false"))
        case "integer":
            return node.kind == "null" or (
                node.kind == "scalar" and re.fullmatch(r"[+-]?[0-9]+", node.text) is not None
            )
        case _:
            return node.kind in ("scalar", "null")
