"""Checks documents against the JSON schema of rule files. Falco reports departures beside errors and ignores them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from falcorules.document import Node
from falcorules.yaml_scanner import YamlFault

_INTEGER = re.compile(r"[ \t\n\v\f\r]*([+-]?)([0-9]+)")
_NUMBER = re.compile(r"[ \t\n\v\f\r]*[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?|[+-]?(inf|infinity|nan)", re.I)

Schema = Mapping[str, Any]
"""A JSON schema: `type`, `enum`, `items`, `anyOf`, `oneOf`, `properties` and `required` as in JSON; `others` is the
schema of further properties, which are refused without it; `least` is the least number of properties, and `lowest` and
`highest` bound a number."""

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
        "items": {"type": "array", "items": {"anyOf": (_SCHEMA_INTEGER, _SCHEMA_STRING)}},
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
            "least": 1,
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


class SchemaFault(Exception):
    """A document that Falco's schema check fails on. `fatal` is True if Falco ends there, without a report."""

    def __init__(self, message: str, *, fatal: bool = False) -> None:
        super().__init__(message)
        self.fatal = fatal


def schema_warnings(roots: Sequence[Node]) -> list[str]:
    """Departures from the schema of rule files in Falco's words, innermost first. Raises SchemaFault.

    Falco judges a file by its first document: if that is valid, there are none; else a valid one after it is "ok".
    """
    said: list[str] = []
    for root in roots:
        said += [f"failed for {fault}" for fault in departures(root, _FILE_SCHEMA)] or ["ok"]
    return [] if said[:1] == ["ok"] else said


def departures(root: Node, schema: Schema) -> list[str]:
    """Where a document departs from a schema, each as `<root>[key]: what is wrong`, innermost first.

    Any scalar may be a number or a boolean, as for Falco, whose reader forgets quotes. Raises SchemaFault.
    """
    found: list[str] = []
    _validate(root, schema, "<root>", found)
    return found


def _validate(node: Node, schema: Schema, path: str, found: list[str]) -> bool:
    valid = True

    def fault(text: str) -> None:
        nonlocal valid
        found.append(f"{path}: {text}")
        valid = False

    if "type" in schema and not _has_type(node, schema["type"]):
        fault("Value type not permitted by 'type' constraint.")
    if "anyOf" in schema and _matches(node, schema["anyOf"], path, found) == 0:
        fault("Failed to validate against any schemas allowed by anyOf constraint.")
    if "enum" in schema and (node.kind != "scalar" or node.text not in schema["enum"]):
        fault("Failed to match against any enum values.")
    if "items" in schema and node.kind == "sequence":
        for place, item in enumerate(node.items):
            if not _validate(item, schema["items"], f"{path}[{place}]", found):
                fault(f"Failed to validate item #{place} in array.")
    if ("lowest" in schema or "highest" in schema) and _has_type(node, "number"):
        number = float(node.text)
        if number > schema.get("highest", number):
            fault(f"Expected number less than or equal to {schema['highest']:.6f}")
        if number < schema.get("lowest", number):
            fault(f"Expected number greater than or equal to {schema['lowest']:.6f}")
    if {"properties", "required", "least"} & schema.keys() and node.kind == "sequence" and not node.items:
        # It passes for an empty object until its keys are counted.
        raise SchemaFault("JSON value is not an object.", fatal=True)
    if "least" in schema and node.kind == "map" and len(node.pairs) < schema["least"]:
        fault(f"Object should have no fewer than {schema['least']} properties.")
    if "oneOf" in schema:
        matching = _matches(node, schema["oneOf"], path, found)
        if matching == 0:
            fault("Failed to validate against any child schemas allowed by oneOf constraint.")
        elif matching > 1:
            fault("Failed to validate against exactly one child schema.")
    if "properties" in schema and node.kind == "map":
        valid = _validate_object(node, schema, path, found) and valid
    for name in schema.get("required", ()) if node.kind == "map" else ():
        if node.get(name) is None:
            fault(f"Missing required property '{name}'.")
    return valid


def _matches(node: Node, schemas: Sequence[Schema], path: str, found: list[str]) -> int:
    """How many of the schemas the node is valid for; with none, what is wrong is added to `found`."""
    faults: list[str] = []
    matching = 0
    for place, schema in enumerate(schemas):
        if _validate(node, schema, path, faults):
            matching += 1
        else:
            faults.append(f"{path}: Failed to validate against child schema #{place}.")
    if not matching:
        found += faults
    return matching


def _validate_object(node: Node, schema: Schema, path: str, found: list[str]) -> bool:
    valid = True
    properties: Mapping[str, Schema] = schema["properties"]
    others: Schema | None = schema.get("others")
    values: dict[str, Node] = {}
    for key, value in node.pairs:
        if key.name is None:
            raise SchemaFault(YamlFault("bad conversion", key.place).message)
        values.setdefault(key.name, value)
    for name in sorted(properties.keys() & values.keys()):
        if not _validate(values[name], properties[name], f"{path}[{name}]", found):
            found.append(f"{path}: Failed to validate against schema associated with property name '{name}'.")
            valid = False
    if others is None and len(properties.keys() & values.keys()) != len(node.pairs):  # a repeated key counts as well
        unknown = next((name for name in values if name not in properties), "")
        found.append(
            f"{path}: Object contains a property that could not be validated using 'properties' or "
            f"'additionalProperties' constraints: '{unknown}'."
        )
        return False
    for name in values:
        if (
            others is not None
            and name not in properties
            and not _validate(values[name], others, f"{path}[{name}]", found)
        ):
            found.append(f"{path}: Failed to validate against additional properties schema")
            valid = False
    return valid


def _has_type(node: Node, wanted: str) -> bool:
    match wanted:
        case "array":
            return node.kind == "sequence"
        case "object":
            return node.kind == "map"
        case "boolean":
            return node.kind == "scalar" and node.text in ("true", "false")
        case "integer":
            return node.kind == "scalar" and _is_integer(node.text)
        case "number":
            return node.kind == "scalar" and _NUMBER.fullmatch(node.text) is not None
        case "text":  # a string where quotes are not forgotten
            return node.kind == "scalar" and not _has_type(node, "boolean") and not _has_type(node, "number")
        case "null":
            return node.kind == "null" or (node.kind == "scalar" and not node.text)
        case _:
            return node.kind == "scalar"


def _is_integer(text: str) -> bool:
    """Whether a text is a signed 64-bit integer."""
    match = _INTEGER.fullmatch(text)
    if match is None or len(digits := match[2].lstrip("0")) > 19:
        return False
    return -(1 << 63) <= int(f"{match[1]}{digits or 0}") < 1 << 63
