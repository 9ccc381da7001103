"""Reads the values of an item's keys, with Falco's checks. A wrong value raises Refused."""

from __future__ import annotations

from collections.abc import Sequence

from falcorules.document import MAX_NESTING, Node
from falcorules.items import Entry, Refused, Trail
from falcorules.report import Location
from falcorules.yaml_scanner import YamlFault

PRIORITIES = ("Emergency", "Alert", "Critical", "Error", "Warning", "Notice", "Informational", "Debug")


def trail_to(node: Node, item_type: str, item_name: str, parent: Trail) -> Trail:
    """`parent` and the location of a node in it."""
    return (*parent, Location(item_type, item_name, parent[0].name, *node.place))


def trail_to_item(item: Node, kind: str, parent: Trail) -> Trail:
    """The trail to a list, macro or rule, whose name is the value of the key `kind`."""
    return trail_to(item, kind, text(item, kind, trail_to(item, kind, "", parent)), parent)


def trail_to_key(item: Node, key: str, item_type: str, parent: Trail, item_name: str = "") -> Trail:
    """The trail to the value of a key, or to the item if it doesn't have the key."""
    node = item.get(key)
    return trail_to(node if node is not None else item, item_type, item_name, parent)


def invalid(message: str, trail: Trail) -> Refused:
    return Refused("LOAD_ERR_YAML_VALIDATE", message, trail)


def _scalar(item: Node, key: str, trail: Trail, *, required: bool = True) -> Node | None:
    node = item.get(key)
    if node is None:
        if required:
            raise invalid(f"Item has no mapping for key '{key}'", trail)
        return None
    if node.kind == "null":
        raise invalid(f"Mapping for key '{key}' is empty", trail)
    inside = trail_to(node, "value for", key, trail)
    if node.kind != "scalar":
        raise invalid("Value is not a scalar value", inside)
    if not node.text:
        raise invalid("Value must be non-empty", inside)
    return node


def text(item: Node, key: str, trail: Trail) -> str:
    node = _scalar(item, key, trail)
    return node.text if node else ""


def optional_text(item: Node, key: str, trail: Trail) -> str:
    """The text of a key that may be missing or empty."""
    node = item.get(key)
    if node is None or node.kind == "null":
        return ""
    if node.kind != "scalar":
        raise invalid("Value is not a scalar value", trail_to(node, "value for", key, trail))
    return node.text


def boolean(item: Node, key: str, trail: Trail, *, required: bool = False) -> bool | None:
    node = _scalar(item, key, trail, required=required)
    if node is None:
        return None
    value = node.boolean()
    if value is None:
        raise invalid("Can't decode YAML scalar value", trail_to(node, "value for", key, trail))
    return value


def unsigned(item: Node, key: str, trail: Trail) -> int:
    node = _scalar(item, key, trail)
    value = node.unsigned() if node else None
    if node is None or value is None:
        raise invalid("Can't decode YAML scalar value", trail_to_key(item, key, "value for", trail, key))
    return value


def texts(item: Node, key: str, trail: Trail, *, required: bool = True) -> list[str]:
    node = item.get(key)
    if node is None:
        if required:
            raise invalid(f"Item has no mapping for key '{key}'", trail)
        return []
    inside = trail_to(node, "value for", key, trail)
    if node.kind != "sequence":
        raise invalid("Value is not a sequence", inside)
    for value in node.items:
        if value.kind != "scalar":
            raise invalid("sequence value is not scalar", trail_to(value, "list item", "", inside))
    return [value.text for value in node.items]


def priority(item: Node, trail: Trail) -> str:
    found = text(item, "priority", trail).lower()
    for name in PRIORITIES:
        if found == name.lower() or (found == "info" and name == "Informational"):
            return name
    raise invalid("Invalid priority", trail_to_key(item, "priority", "rule priority", trail))


def overrides(
    item: Node, appendable: Sequence[str], replaceable: Sequence[str], trail: Trail
) -> tuple[list[str], list[str]]:
    """The keys to append to and those to replace."""
    node = item.get("override")
    if node is None:
        return [], []
    outer = trail_to(item, "overrides", "", trail)
    if node.kind == "sequence" and node.items:
        message = "invalid node; this may result from using a map iterator as a sequence iterator, or vice-versa"
        raise Refused("LOAD_ERR_VALIDATE", message, trail[:1])
    appended, replaced = [], []
    for key, value in node.pairs:
        name, operation = key.name, value.name
        if name is None or operation is None:
            bad = key if name is None else value
            raise Refused("LOAD_ERR_VALIDATE", YamlFault("bad conversion", bad.place).message, trail[:1])
        at_key = trail_to(key, "overrides", name, outer)
        if operation == "append":
            if name not in appendable:
                raise invalid(f"Key '{name}' cannot be appended to, use 'replace' instead", at_key)
            appended.append(name)
        elif operation == "replace":
            if name not in replaceable:
                raise invalid(f"Key '{name}' cannot be replaced", at_key)
            replaced.append(name)
        else:
            allowed = f"{'append ' if name in appendable else ''}{'replace ' if name in replaceable else ''}"
            message = f"Invalid override operation for key '{name}': '{operation}'. Allowed values are: {allowed}"
            raise invalid(message, trail_to(value, "value for", name, outer))
    return appended, replaced


def entry(node: Node, key: str, trail: Trail, budget: list[int], depth: int = 0) -> Entry:
    """An exception's value; `budget` bounds how many there may be (aliases can multiply them)."""
    inside = trail_to(node, "value for", key, trail)
    budget[0] -= 1
    if budget[0] < 0 or depth > MAX_NESTING:  # an alias can stand for what it is in
        raise invalid("Rule exception has too many values", inside)
    if node.kind == "scalar":
        if not node.text:
            raise invalid("Value must be non-empty", inside)
        return Entry(node.text)
    if node.kind == "sequence":
        items = []
        for item in node.items:  # in a comprehension each level of nesting would take two frames
            items.append(entry(item, "", trail_to(item, "exception", "", inside), budget, depth + 1))  # noqa: PERF401
        return Entry(items=items)
    return Entry()
