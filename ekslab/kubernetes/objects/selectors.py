"""Label and field selectors as predicates over objects."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from ekslab.kubernetes.objects.errors import bad_request
from ekslab.kubernetes.objects.resources import Object, Resource

Labels = Mapping[str, str]
Predicate = Callable[[Object], bool]

_REQUIREMENT = re.compile(
    r"""\s*(?:
        (?P<key>[^\s,=!()]+)\s+(?P<set>in|notin)\s*\((?P<values>[^)]*)\)
      | (?P<absent>!\s*[^\s,=!()]+)
      | (?P<left>[^\s,=!()]+)\s*(?P<op>==|=|!=)\s*(?P<right>[^\s,]*)
      | (?P<present>[^\s,=!()]+)
    )\s*(?:,|$)""",
    re.VERBOSE,
)


def parse_labels(text: str) -> Callable[[Labels], bool]:
    """A predicate over labels from `a=b,c!=d,e in (f,g),h,!i`. Raises a 400 error for a selector it can't read."""
    tests: list[Callable[[Labels], bool]] = []
    position = 0
    while position < len(text):
        match = _REQUIREMENT.match(text, position)
        if match is None or match.end() == position:
            raise bad_request(f'unable to parse requirement: found "{text[position:]}", expected: identifier')
        tests.append(_label_test(match))
        position = match.end()
    return lambda labels: all(test(labels) for test in tests)


def _label_test(match: re.Match[str]) -> Callable[[Labels], bool]:
    if match["set"]:
        key, values = match["key"], {value.strip() for value in match["values"].split(",")}
        if match["set"] == "in":
            return lambda labels: labels.get(key) in values
        return lambda labels: labels.get(key) not in values
    if match["absent"]:
        missing = match["absent"][1:].strip()
        return lambda labels: missing not in labels
    if match["present"]:
        present = match["present"]
        return lambda labels: present in labels
    left, right = match["left"], match["right"]
    if match["op"] == "!=":
        return lambda labels: labels.get(left) != right
    return lambda labels: labels.get(left) == right


def matches(selector: Mapping[str, Any] | None, labels: Labels) -> bool:
    """Whether a `LabelSelector` object selects `labels`. No selector selects nothing, an empty one everything."""
    if selector is None:
        return False
    if any(labels.get(key) != value for key, value in (selector.get("matchLabels") or {}).items()):
        return False
    return all(expression_matches(expression, labels) for expression in selector.get("matchExpressions") or ())


def expression_matches(expression: Mapping[str, Any], labels: Labels) -> bool:
    """Whether one `{key, operator, values}` requirement (of a label selector or a node affinity) holds."""
    value = labels.get(expression["key"])
    values: list[str] = expression.get("values") or []
    match expression["operator"]:
        case "In":
            return value in values
        case "NotIn":
            return value not in values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case "Gt":
            return value is not None and int(value) > int(values[0])
        case "Lt":
            return value is not None and int(value) < int(values[0])
    return False


def selector_text(selector: Mapping[str, Any] | None) -> str:
    """A `LabelSelector` as text, as `Scale` and wide tables show it."""
    if not selector:
        return "<none>"
    parts = [f"{key}={value}" for key, value in sorted((selector.get("matchLabels") or {}).items())]
    for expression in selector.get("matchExpressions") or ():
        values = ",".join(expression.get("values") or ())
        match expression["operator"]:
            case "In":
                parts.append(f"{expression['key']} in ({values})")
            case "NotIn":
                parts.append(f"{expression['key']} notin ({values})")
            case "Exists":
                parts.append(str(expression["key"]))
            case "DoesNotExist":
                parts.append(f"!{expression['key']}")
    return ",".join(parts)


def parse_fields(resource: Resource, text: str) -> Predicate:
    """A predicate over objects from `metadata.name=a,status.phase!=Failed`; only fields the resource offers."""
    tests: list[tuple[list[str], bool, str]] = []
    for part in filter(None, text.split(",")):
        match = re.fullmatch(r"\s*([^=!\s]+)\s*(==|=|!=)\s*(.*?)\s*", part)
        if match is None:
            raise bad_request(f"invalid field selector: {part}; can't understand '{part}'")
        name, operator, value = match.groups()
        if name not in ("metadata.name", "metadata.namespace", *resource.selectable):
            raise bad_request(f"field label not supported: {name}")
        tests.append((name.split("."), operator != "!=", value))
    return lambda obj: all((_field(obj, path) == value) is wanted for path, wanted, value in tests)


def _field(obj: Object, path: list[str]) -> str:
    value: Any = obj
    if path == ["source"]:
        return str((obj.get("source") or {}).get("component", ""))
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)


def selection(resource: Resource, labels: str, fields: str) -> Predicate:
    """Both selectors of a list or watch as one predicate."""
    label_test = parse_labels(labels)
    field_test = parse_fields(resource, fields)
    return lambda obj: label_test(obj["metadata"].get("labels") or {}) and field_test(obj)
