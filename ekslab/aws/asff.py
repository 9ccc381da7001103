"""Validates findings against the AWS Security Finding Format, with Security Hub's error messages."""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from ekslab.aws.protocols import service_model

MAX_BYTES = 240_000
"""The largest finding as JSON: 240 KB."""
NORMALIZED = {"INFORMATIONAL": 0, "LOW": 1, "MEDIUM": 40, "HIGH": 70, "CRITICAL": 90}
"""Severity.Normalized that Security Hub derives from a label."""

_TIMESTAMP = re.compile(
    r"(\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])T(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d)(?:\.(\d{1,9}))?"
    r"(?:Z|([+-])(0\d|1[0-8]):?([0-5]\d)?)",
    re.ASCII,
)
_URI = re.compile(r"[a-z][a-z0-9+.-]*:(?:/?/)?\S*\Z", re.IGNORECASE | re.ASCII)
_KINDS: dict[str, tuple[str, tuple[type, ...]]] = {
    "string": ("string", (str,)),
    "integer": ("integer", (int,)),
    "long": ("integer", (int,)),
    "double": ("number", (int, float)),
    "boolean": ("boolean", (bool,)),
    "list": ("array", (list,)),
    "map": ("object", (dict,)),
    "structure": ("object", (dict,)),
}


@cache
def rules() -> dict[str, Any]:
    """The limits, patterns and filters of `asff.yaml`."""
    loaded: dict[str, Any] = yaml.safe_load((Path(__file__).parent / "asff.yaml").read_text(encoding="utf-8"))
    return loaded


@cache
def _shapes() -> dict[str, Any]:
    shapes: dict[str, Any] = service_model("securityhub")["shapes"]
    return shapes


def nanoseconds(timestamp: str) -> int | None:
    """A timestamp in ns since the epoch; None if its format isn't one that Security Hub accepts."""
    found = _TIMESTAMP.fullmatch(timestamp)
    if found is None:
        return None
    moment, fraction, sign, hours, minutes = found.groups()
    try:
        seconds = int(dt.datetime.fromisoformat(moment).replace(tzinfo=dt.UTC).timestamp())
    except ValueError:
        return None
    offset = (int(hours) * 3600 + int(minutes or 0) * 60) * (1 if sign == "+" else -1) if sign else 0
    return (seconds - offset) * 10**9 + int((fraction or "").ljust(9, "0"))


def faults(finding: Any) -> list[str]:
    """The faults of a finding that is to be imported; none if it is valid."""
    found = list(_faults("AwsSecurityFinding", finding, "", "data"))
    if isinstance(finding, dict) and not (_rated(finding) or _rated(finding.get("FindingProviderFields"))):
        found += [
            "data should have required property 'FindingProviderFields'",
            "data should match some schema in anyOf",
        ]
    return found


def _rated(fields: Any) -> bool:
    """Whether the finding has a severity and types, at the top level or in FindingProviderFields."""
    severity = fields.get("Severity") if isinstance(fields, dict) else None
    return isinstance(severity, dict) and ("Label" in severity or "Normalized" in severity) and "Types" in fields


def _faults(shape_name: str, value: Any, path: str, shown: str) -> Iterator[str]:
    shape = _shapes()[shape_name]
    kind, types = _KINDS[shape["type"]]
    right = isinstance(value, types) and (kind == "boolean" or not isinstance(value, bool))
    if not right:
        yield f"{shown} should be {kind}"
    elif kind in ("integer", "number"):
        least, most = rules()["ranges"].get(path, (shape.get("min", -math.inf), shape.get("max", math.inf)))
        if not least <= value <= most:
            yield f"{shown} should be {'>=' if value < least else '<='} {least if value < least else most}"
    elif kind == "string":
        yield from _text_faults(shape, value, path, shown)
    elif kind == "array":
        least, most = rules()["limits"].get(path, (shape.get("min", 0), shape.get("max", math.inf)))
        if len(value) > most:
            yield f"{shown} should NOT have more than {most} items"
        if len(value) < least:
            yield f"{shown} should NOT have fewer than {least} items"
        for index, item in enumerate(value):
            yield from _faults(shape["member"]["shape"], item, f"{path}[]", f"{shown}[{index}]")
    elif shape["type"] == "map":
        yield from _map_faults(shape, value, path, shown)
    elif kind == "object":
        yield from _object_faults(shape, value, path, shown)
    if "enum" in shape and value not in shape["enum"]:
        yield f"{shown} should be equal to one of the allowed values"


def _object_faults(shape: Mapping[str, Any], value: Mapping[str, Any], path: str, shown: str) -> Iterator[str]:
    for name in shape.get("required", ()):
        if name not in value:
            yield f"{shown} should have required property '{name}'"
    for name in value:
        if name not in shape["members"]:
            yield f"{shown} should NOT have additional properties"
    for name, member in shape["members"].items():
        if name in value:
            inner = f"{path}.{name}" if path else name
            yield from _faults(member["shape"], value[name], inner, f"{shown}.{name}")


def _text_faults(shape: Mapping[str, Any], value: str, path: str, shown: str) -> Iterator[str]:
    pattern = rules()["patterns"].get(path)
    date = path in rules()["timestamps"]
    # What has a pattern or is a time says so by that alone.
    least = 1 if "pattern" in shape and not (pattern or date) else 0
    least, most = rules()["limits"].get(path, (least, math.inf))
    if len(value) > most:
        yield f"{shown} should NOT be longer than {most} characters"
    if len(value.strip()) < least:
        yield f"{shown} should NOT be shorter than {least} characters"
    if pattern and re.search(pattern, value, re.ASCII) is None:
        yield f'{shown} should match pattern "{pattern}"'
    if date and nanoseconds(value) is None:
        yield f'{shown} should match format "date-time"'
    if path in rules()["uris"] and _URI.match(value) is None:
        yield f'{shown} should match format "uri"'


def _map_faults(shape: Mapping[str, Any], value: Mapping[str, Any], path: str, shown: str) -> Iterator[str]:
    most, longest_key, longest_value = rules()["maps"].get(path, (math.inf, math.inf, math.inf))
    if len(value) > most:
        yield f"{shown} should NOT have more than {most} properties"
    for key in value:
        if len(key) > longest_key:
            yield f"{shown} should NOT be longer than {longest_key} characters"
        if not key.strip():
            yield f"{shown} should NOT be shorter than 1 characters"
        if not key.strip() or len(key) > longest_key:
            yield f"{shown} property name '{key}' is invalid"
    for key, item in value.items():
        inner = f"{shown}['{key}']"
        if isinstance(item, str) and len(item) > longest_value:
            yield f"{inner} should NOT be longer than {longest_value} characters"
        yield from _faults(shape["value"]["shape"], item, f"{path}.*", inner)


def values(finding: Mapping[str, Any], path: str) -> list[Any]:
    """All values at a path such as `Resources[].Details.Container.Name`, in order."""
    found: list[Any] = [finding]
    for part in path.split("."):
        name = part.removesuffix("[]")
        found = [value[name] for value in found if isinstance(value, Mapping) and name in value]
        if part.endswith("[]"):
            found = [item for value in found if isinstance(value, list) for item in value]
    return found
