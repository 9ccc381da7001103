"""Checks documents against the JSON schema of rule files. Falco reports departures beside errors and ignores them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from falcorules.document import Node
from falcorules.yaml_scanner import YamlFault

_INTEGER = re.compile(r"[ \t\n\v\f\r]*([+-]?)([0-9]+)")

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
                ("items", "desc", "condition", "output", "priority", "enabled", "exceptions"), _OVERRIDE
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
    """A document that Falco's schema check fails on."""


def schema_warnings(roots: Sequence[Node]) -> list[str]:
    """Departures from the schema in Falco's words, innermost first. Raises SchemaFault."""
    found: list[str] = []
    for root in roots:
        _validate(root, _FILE_SCHEMA, "<root>", found)
    return [f"failed for {fault}" for fault in found]


def _validate(node: Node, schema: dict[str, Any], path: str, found: list[str]) -> bool:
    valid = True
    wanted = schema.get("type", "")
    if "anyOf" in schema and not any(_has_type(node, name) for name in schema["anyOf"]):
        for place in range(len(schema["anyOf"])):
            found.append(f"{path}: Value type not permitted by 'type' constraint.")
            found.append(f"{path}: Failed to validate against child schema #{place}.")
        found.append(f"{path}: Failed to validate against any schemas allowed by anyOf constraint.")
        valid = False
    if "enum" in schema and (node.kind != "scalar" or node.text not in schema["enum"]):
        found.append(f"{path}: Failed to match against any enum values.")
        valid = False
    if wanted and not _has_type(node, wanted):
        found.append(f"{path}: Value type not permitted by 'type' constraint.")
        valid = False
    if wanted == "array":
        for place, item in enumerate(node.items):
            if not _validate(item, schema["items"], f"{path}[{place}]", found):
                found.append(f"{path}: Failed to validate item #{place} in array.")
                valid = False
    if wanted == "object" and node.kind == "sequence" and not node.items:
        raise SchemaFault("JSON value is not an object.")  # it passes for an empty object until its keys are counted
    if wanted == "object" and node.kind == "map":
        valid = _validate_object(node, schema, path, found) and valid
    return valid


def _validate_object(node: Node, schema: dict[str, Any], path: str, found: list[str]) -> bool:
    valid = True
    properties = schema["properties"]
    values: dict[str, Node] = {}
    for key, value in node.pairs:
        if key.name is None:
            raise SchemaFault(YamlFault("bad conversion", key.place).message)
        values.setdefault(key.name, value)
    if len(node.pairs) < schema.get("minimum", 0):
        found.append(f"{path}: Object should have no fewer than {schema['minimum']} properties.")
        valid = False
    for name in sorted(properties.keys() & values.keys()):
        if not _validate(values[name], properties[name], f"{path}[{name}]", found):
            found.append(f"{path}: Failed to validate against schema associated with property name '{name}'.")
            valid = False
    if len(properties.keys() & values.keys()) != len(node.pairs):  # a key that is there twice counts as well
        unknown = next((name for name in values if name not in properties), "")
        found.append(
            f"{path}: Object contains a property that could not be validated using 'properties' or "
            f"'additionalProperties' constraints: '{unknown}'."
        )
        valid = False
    for name in schema.get("required", ()):
        if name not in values:
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
            return node.kind == "scalar" and node.text in ("true", "false")
        case "integer":
            return node.kind == "scalar" and _is_integer(node.text)
        case _:
            return node.kind == "scalar"


def _is_integer(text: str) -> bool:
    """Whether a text is a signed 64-bit integer."""
    match = _INTEGER.fullmatch(text)
    if match is None or len(digits := match[2].lstrip("0")) > 19:
        return False
    return -(1 << 63) <= int(f"{match[1]}{digits or 0}") < 1 << 63
