"""Field ownership (`metadata.managedFields`) and server-side apply with its conflicts.

A set of fields is a set of paths; a path is a tuple of elements in the wire's notation (`f:spec`, `k:{"name":"web"}`,
`v:"orphan"`), so that reading and writing `fieldsV1` is only folding and unfolding.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from ekslab.kubernetes.objects.errors import ApiError
from ekslab.kubernetes.objects.patch import is_set, merge_key
from ekslab.kubernetes.objects.resources import Object

Path = tuple[str, ...]
FieldSet = set[Path]

# Fields that are set as a whole although they are objects (the API's `x-kubernetes-map-type: atomic`).
_ATOMIC = {"nodeSelector", "selector", "labelSelector", "roleRef", "fieldRef", "configMapKeyRef", "secretKeyRef"}
_EXTRA_KEYS = {"containerPort": "protocol", "port": "protocol", "topologyKey": "whenUnsatisfiable"}
_IDENTITY: FieldSet = {
    ("f:apiVersion",),
    ("f:kind",),
    *(
        ("f:metadata", f"f:{name}")
        for name in (
            "name",
            "namespace",
            "uid",
            "resourceVersion",
            "generation",
            "creationTimestamp",
            "selfLink",
            "managedFields",
            "generateName",
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
        )
    ),
}


@dataclass(frozen=True)
class Manager:
    """Who writes and how: `operation` is `Apply` or `Update`."""

    name: str
    operation: str
    api_version: str
    subresource: str = ""


def field_set(obj: Object) -> FieldSet:
    """The paths of everything set in `obj`, its identity and bookkeeping left out."""
    return {
        path for path in _paths(obj, (), ()) if path not in _IDENTITY and path[:2] != ("f:metadata", "f:managedFields")
    }


def _paths(value: Any, path: Path, names: tuple[str, ...]) -> Iterable[Path]:
    if isinstance(value, dict) and value and not (names and names[-1] in _ATOMIC):
        for key, child in value.items():
            yield from _paths(child, (*path, f"f:{key}"), (*names, key))
    elif isinstance(value, list) and value and names and is_set(names):
        for item in value:
            yield (*path, f"v:{json.dumps(item)}")
    elif isinstance(value, list) and value and _keyed(value, names):
        key = str(merge_key(names))
        for item in value:
            element = (*path, _key_element(item, key))
            yield element
            yield from _paths(item, element, names)
    else:
        yield path


def _keyed(items: list[Any], names: tuple[str, ...]) -> bool:
    key = merge_key(names)
    return key is not None and all(isinstance(item, dict) and key in item for item in items)


def _key_element(item: Object, key: str) -> str:
    keys = {key: item[key]}
    if extra := _EXTRA_KEYS.get(key):
        keys[extra] = item.get(extra, "TCP" if extra == "protocol" else "DoNotSchedule")
    return f"k:{json.dumps(keys, sort_keys=True, separators=(',', ':'))}"


_MISSING = object()


def _value(obj: Any, path: Path) -> Any:
    for element in path:
        kind, _, text = element.partition(":")
        if kind == "f":
            obj = obj.get(text, _MISSING) if isinstance(obj, dict) else _MISSING
        elif isinstance(obj, list):
            wanted = json.loads(text)
            if kind == "v":
                obj = wanted if wanted in obj else _MISSING
            else:
                obj = next((item for item in obj if _has_keys(item, wanted)), _MISSING)
        else:
            return _MISSING
    return obj


def _has_keys(item: Any, wanted: Object) -> bool:
    main = next(key for key in wanted if key not in _EXTRA_KEYS.values())
    return isinstance(item, dict) and all(
        item.get(key, value if key != main else None) == value for key, value in wanted.items()
    )


def _same(left: Object, right: Object, path: Path) -> bool:
    if path[-1].startswith("k:"):  # an item's existence; its fields are paths of their own
        return (_value(left, path) is _MISSING) == (_value(right, path) is _MISSING)
    return bool(_value(left, path) == _value(right, path))


def _unfold(paths: FieldSet) -> Object:
    tree: Object = {}
    for path in sorted(paths):
        node = tree
        for element in path:
            node = node.setdefault(element, {})
        if path[-1].startswith("k:"):
            node["."] = {}
    return tree


def _fold(tree: Object, path: Path = ()) -> Iterable[Path]:
    if not tree and path:
        yield path
    for element, child in tree.items():
        if element == ".":
            if path and path[-1].startswith("k:"):
                yield path
        else:
            yield from _fold(child, (*path, element))


def _entries(obj: Object) -> list[tuple[Manager, FieldSet, Object]]:
    found = []
    for entry in obj["metadata"].get("managedFields") or ():
        manager = Manager(
            entry.get("manager", ""), entry["operation"], entry.get("apiVersion", ""), entry.get("subresource", "")
        )
        found.append((manager, set(_fold(entry.get("fieldsV1") or {})), entry))
    return found


def _write(obj: Object, entries: Iterable[tuple[Manager, FieldSet, Object]], now: str) -> None:
    """Puts the entries into the object; one that comes with its former entry, whose fields it has, keeps its time."""
    written = []
    for manager, paths, entry in entries:
        if not paths:
            continue
        fields = _unfold(paths)
        if entry.get("fieldsV1") == fields:
            written.append(entry)
            continue
        new = {
            "manager": manager.name,
            "operation": manager.operation,
            "apiVersion": manager.api_version,
            "time": now,
            "fieldsType": "FieldsV1",
            "fieldsV1": fields,
        }
        if manager.subresource:
            new["subresource"] = manager.subresource
        written.append(new)
    if written:
        obj["metadata"]["managedFields"] = written
    else:
        obj["metadata"].pop("managedFields", None)


def track_update(old: Object | None, new: Object, manager: Manager, now: str) -> None:
    """Makes `manager` the owner of the fields of `new` that differ from `old`, in place of their former owners."""
    after = field_set(new)
    changed = {path for path in after if old is None or not _same(old, new, path)}
    entries: list[tuple[Manager, FieldSet, Object]] = []
    owned: FieldSet = set()
    own_entry: Object = {}
    for owner, paths, entry in _entries(new):
        if owner == manager:
            owned, own_entry = paths & after, {} if changed else entry
        elif (kept := (paths & after) - changed) != paths:
            entries.append((owner, kept, {}))
        else:
            entries.append((owner, paths, entry))
    _write(new, [*entries, (manager, owned | changed, own_entry)], now)


def server_side_apply(
    live: Object | None,
    applied: Object,
    manager: Manager,
    *,
    force: bool,
    now: str,
    complete: Callable[[Object], None],
) -> Object:
    """`live` merged with `applied`, without the fields that `manager` applied before and no manager applies now.

    `complete` fills in defaults: a value that equals its default is no change. Raises a 409 error
    naming each field that another manager has set to another value, unless `force`.
    """
    applied = copy.deepcopy(applied)
    applied.get("metadata", {}).pop("managedFields", None)
    wanted = field_set(applied)
    if live is None:
        _write(applied, [(manager, wanted, {})], now)
        return applied
    entries = _entries(live)
    before = next((paths for owner, paths, _ in entries if owner == manager), set())
    before_entry = next((entry for owner, _, entry in entries if owner == manager), {})
    others = [(owner, paths, entry) for owner, paths, entry in entries if owner != manager]
    result: Object = _merge(copy.deepcopy(live), applied, ())
    complete(result)
    disputed = {owner: {path for path in paths & wanted if not _same(live, result, path)} for owner, paths, _ in others}
    if not force and any(disputed.values()):
        raise _apply_conflict(disputed)
    still_wanted = wanted.union(*(paths for _, paths, _ in others)) if others else wanted
    for path in sorted(before - still_wanted, key=len):  # an item goes before the fields that identify it
        _delete(result, path)
    kept = []
    for owner, paths, entry in others:
        left = paths - disputed[owner]
        kept.append((owner, left, entry if left == paths else {}))
    if any(not _same(live, result, path) for path in wanted):
        before_entry = {}
    _write(result, [*kept, (manager, wanted, before_entry)], now)
    return result


def _apply_conflict(disputed: dict[Manager, FieldSet]) -> ApiError:
    causes: list[Object] = []
    sentences = []
    for owner, paths in disputed.items():
        using = f" using {owner.api_version}" if owner.api_version else ""
        fields = [_dotted(path) for path in sorted(paths)]
        message = f'conflict with "{owner.name}"{using}'
        causes += [{"reason": "FieldManagerConflict", "message": message, "field": field} for field in fields]
        if len(fields) == 1:
            sentences.append(f"{message}: {fields[0]}")
        elif fields:
            sentences.append(f'conflicts with "{owner.name}"{using}:\n' + "\n".join(f"- {field}" for field in fields))
    count = f"{len(causes)} conflict{'s' if len(causes) > 1 else ''}"
    said = "\n".join(sentences)
    return ApiError(409, "Conflict", f"Apply failed with {count}: {said}", {"causes": causes})


def _dotted(path: Path) -> str:
    text = ""
    for element in path:
        kind, _, name = element.partition(":")
        if kind == "f":
            text += f".{name}"
        elif kind == "k":
            text += "[" + ",".join(f"{k}={json.dumps(v)}" for k, v in json.loads(name).items()) + "]"
        else:
            text += f"[={name}]"
    return text


def _merge(live: Any, applied: Any, names: tuple[str, ...]) -> Any:
    if isinstance(live, dict) and isinstance(applied, dict) and not (names and names[-1] in _ATOMIC):
        for key, value in applied.items():
            live[key] = _merge(live[key], value, (*names, key)) if key in live else value
        return live
    if isinstance(live, list) and isinstance(applied, list) and names:
        if is_set(names):
            return live + [item for item in applied if item not in live]
        if applied and _keyed(applied, names) and _keyed(live, names):
            key = str(merge_key(names))
            for item in applied:
                element = json.loads(_key_element(item, key)[2:])
                index = next((i for i, other in enumerate(live) if _has_keys(other, element)), None)
                if index is None:
                    live.append(item)
                else:
                    live[index] = _merge(live[index], item, names)
            return live
    return applied


def _delete(obj: Object, path: Path) -> None:
    parent = _value(obj, path[:-1])
    kind, _, text = path[-1].partition(":")
    if kind == "f" and isinstance(parent, dict):
        parent.pop(text, None)
        if not parent and len(path) > 2 and path[-2].startswith("f:"):  # an emptied map goes as well
            _delete(obj, path[:-1])
    elif isinstance(parent, list):
        wanted = json.loads(text)
        for item in [i for i in parent if (i == wanted if kind == "v" else _has_keys(i, wanted))]:
            parent.remove(item)
