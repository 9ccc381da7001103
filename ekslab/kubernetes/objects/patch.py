"""Merge patch and strategic merge patch. None of the functions changes its arguments."""

from __future__ import annotations

import copy
from typing import Any

from ekslab.kubernetes.objects.errors import patch_failed
from ekslab.kubernetes.objects.resources import Object

# Lists whose items are known by a key, by the name of the list; everything else is replaced as a whole. From the
# `patchMergeKey` tags of the API's types.
_MERGE_KEYS = {
    "addresses": "type",
    "conditions": "type",
    "containers": "name",
    "env": "name",
    "ephemeralContainers": "name",
    "hostAliases": "ip",
    "imagePullSecrets": "name",
    "initContainers": "name",
    "ownerReferences": "uid",
    "podIPs": "ip",
    "secrets": "name",
    "topologySpreadConstraints": "topologyKey",
    "volumeDevices": "devicePath",
    "volumeMounts": "mountPath",
    "volumes": "name",
}
_SETS = {"finalizers"}


def go_map(value: Any) -> str:
    """A value as Go prints maps and lists: `map[a:1 b:[x y]]`."""
    if isinstance(value, dict):
        return f"map[{' '.join(f'{key}:{go_map(value[key])}' for key in sorted(value))}]"
    if isinstance(value, list):
        return f"[{' '.join(map(go_map, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e21:
        return str(int(value))
    return "<nil>" if value is None else str(value)


def merge_key(path: tuple[str, ...]) -> str | None:
    """The field that identifies an item of the list at `path` (field names only), None if it has none."""
    name = path[-1]
    if name == "ports":
        return "containerPort" if "containers" in path or "initContainers" in path else "port"
    return _MERGE_KEYS.get(name)


def is_set(path: tuple[str, ...]) -> bool:
    """Whether the list at `path` is a set of plain values."""
    return path[-1] in _SETS


def merge_patch(target: Any, patch: Any) -> Any:
    """RFC 7396: null removes, objects merge, everything else replaces."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge_patch(result.get(key), value)
    return result


def strategic_merge(target: Any, patch: Object, path: tuple[str, ...] = ()) -> Object:
    """A merge patch that also merges lists by their keys, and obeys `$patch`, `$retainKeys` and the like."""
    match patch.get("$patch"):
        case "replace":
            return {k: copy.deepcopy(v) for k, v in patch.items() if k != "$patch"}
        case "delete":
            return {}
        case None:
            pass
        case other:
            raise patch_failed(f"unknown patch type: {other} in map: {go_map(patch)}")
    result: Object = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if key.startswith("$"):
            continue
        if value is None:
            result.pop(key, None)
        elif isinstance(value, dict):
            result[key] = strategic_merge(result.get(key), value, (*path, key))
        elif isinstance(value, list):
            result[key] = _merge_list(result.get(key) or [], value, (*path, key))
        else:
            result[key] = value
    for key, value in patch.items():
        directive, _, name = key.partition("/")
        if directive == "$deleteFromPrimitiveList":
            result[name] = [item for item in result.get(name) or [] if item not in value]
        elif directive == "$setElementOrder" and isinstance(result.get(name), list):
            result[name] = _ordered(result[name], value, (*path, name))
    if "$retainKeys" in patch:
        result = {key: value for key, value in result.items() if key in patch["$retainKeys"]}
    return result


def _merge_list(current: list[Any], changes: list[Any], path: tuple[str, ...]) -> list[Any]:
    if is_set(path):
        return current + [item for item in changes if item not in current]
    key = merge_key(path)
    if key is None or not all(isinstance(item, dict) for item in (*current, *changes)):
        return copy.deepcopy(changes)
    plain = [item for item in changes if "$patch" not in item]
    directives = [item for item in changes if "$patch" in item]
    for item in directives:
        if item["$patch"] == "merge":
            raise patch_failed("merging lists cannot yet be specified in the patch")
        if item["$patch"] not in ("delete", "replace"):
            raise patch_failed(f"unknown patch type: {item['$patch']} in map: {go_map(item)}")
    if any(item["$patch"] == "replace" for item in directives):
        return copy.deepcopy(plain)
    result = list(current)
    for change in (*directives, *plain):
        if key not in change:
            raise patch_failed(f"map: {go_map(change)} does not contain declared merge key: {key}")
        index = next((i for i, item in enumerate(result) if item.get(key) == change[key]), None)
        if change.get("$patch") == "delete":
            if index is not None:
                del result[index]
        elif index is None:
            result.append(strategic_merge({}, change, path))
        else:
            result[index] = strategic_merge(result[index], change, path)
    return result


def _ordered(items: list[Any], order: list[Any], path: tuple[str, ...]) -> list[Any]:
    key = merge_key(path)
    if key is None:
        wanted = {str(value): place for place, value in enumerate(order)}
        return sorted(items, key=lambda item: wanted.get(str(item), len(wanted)))
    wanted = {str(value.get(key)): place for place, value in enumerate(order)}
    return sorted(items, key=lambda item: wanted.get(str(item.get(key)), len(wanted)))
