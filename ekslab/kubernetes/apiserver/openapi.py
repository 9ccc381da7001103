"""OpenAPI v3 documents, one for each API group: what `kubectl explain`, `apply` and `--validate` ask for.

The types are those of `objects/schema.py`, which decode objects. `openapi.json` beside it adds what only documentation
and clients' patches need, as the API's Go types have it: packages, required fields, values of enumerations, the keys
by which lists are merged, and formats.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import cache
from importlib.metadata import version
from typing import Any

import orjson

from ekslab import versions
from ekslab.kubernetes.apiserver.descriptions import describe, own
from ekslab.kubernetes.objects.resources import LACKED, METRICS, Object, Resource, groups, lacked
from ekslab.kubernetes.objects.schema import documented, types

_META = "io.k8s.apimachinery.pkg.apis.meta.v1"
_SCALARS: dict[str, Object] = {
    "str": {"type": "string"},
    "bool": {"type": "boolean"},
    "int": {"type": "integer", "format": "int32"},
    "float": {"type": "number", "format": "double"},
}
_FORMATS: dict[str, Object] = {
    "Time": {"type": "string", "format": "date-time"},
    "MicroTime": {"type": "string", "format": "date-time"},
    "Duration": {"type": "string"},
    "byte": {"type": "string", "format": "byte"},
    "int64": {"type": "integer", "format": "int64"},
}
_NAMED: dict[str, tuple[str, Object]] = {
    "IntOrString": (
        "io.k8s.apimachinery.pkg.util.intstr.IntOrString",
        {
            "oneOf": [{"type": "integer"}, {"type": "string"}],
            "format": "int-or-string",
            "description": "A number, or a text such as a port's name or a percentage.",
        },
    ),
    "quantity": (
        "io.k8s.apimachinery.pkg.api.resource.Quantity",
        {
            "oneOf": [{"type": "string"}, {"type": "number"}],
            "description": "A number with an optional suffix: 100m is a tenth, 64Mi are 64 times 1024 times 1024.",
        },
    ),
    "FieldsV1": (
        f"{_META}.FieldsV1",
        {"type": "object", "description": "A set of fields, as a tree of their names."},
    ),
    "RawExtension": (
        "io.k8s.apimachinery.pkg.runtime.RawExtension",
        {"type": "object", "description": "An object of any kind."},
    ),
}
_PATCHES = ("apply-patch+yaml", "json-patch+json", "merge-patch+json", "strategic-merge-patch+json")
_PARAMETERS = {"patch": ("dryRun", "fieldManager", "fieldValidation", "force")}
_WRITING = ("dryRun", "fieldManager", "fieldValidation")


def index() -> Object:
    """`/openapi/v3`: where the document of each group is. The hash changes with its contents."""
    return {"paths": {path: {"serverRelativeURL": f"/openapi/v3/{path}?hash={_hash(path)}"} for path in _paths()}}


def document(path: str) -> bytes | None:
    """The document of a group and version such as `apis/apps/v1`, as JSON; None for one that isn't there."""
    return _document(path) if path in _paths() else None


@cache
def _hash(path: str) -> str:
    """A hash of what the document is made of: kubectl keeps documents on disk by it."""
    facts = [orjson.dumps(each) for each in (types(), own(), [documented(kind) for kind in sorted(types())])]
    kinds = [resource.kind for resource in _paths()[path]]
    made_of = [path, versions.KUBERNETES, version("kubernetes"), *kinds]
    return hashlib.sha256(b" ".join([*facts, *(text.encode() for text in made_of)])).hexdigest()[:32].upper()


@cache
def _paths() -> dict[str, list[Resource]]:
    return {
        f"apis/{name}/{found[0].version}" if name else f"api/{found[0].version}": found
        for name, found in groups().items()
        if not set(found) & set(METRICS)
    }


@cache
def _document(path: str) -> bytes:
    resources = _paths()[path]
    schemas: dict[str, Object] = {}
    for resource in resources:
        if resource in LACKED:
            schemas[_name(resource.kind)] = {"type": "object", "description": lacked(resource).capitalize() + "."}
        else:
            _add(resource.kind, schemas)
        schema = schemas[_name(resource.kind)]
        schema["x-kubernetes-group-version-kind"] = [_group_version_kind(resource)]
    return orjson.dumps(
        {
            "openapi": "3.0.0",
            "info": {"title": "Kubernetes", "version": f"v{versions.KUBERNETES}"},
            "paths": {place: operations for resource in resources for place, operations in _operations(path, resource)},
            "components": {"schemas": dict(sorted(schemas.items()))},
        }
    )


def _group_version_kind(resource: Resource) -> Object:
    return {"group": resource.group, "kind": resource.kind, "version": resource.version}


def _operations(path: str, resource: Resource) -> Iterator[tuple[str, Object]]:
    scope = "/namespaces/{namespace}" if resource.namespaced else ""
    collection = f"/{path}{scope}/{resource.plural}"
    verbs = resource.verbs
    methods = {"get": "list", "post": "create", "delete": "deletecollection"}
    yield collection, {m: _operation(m, verb, resource) for m, verb in methods.items() if verb in verbs}
    methods = {"get": "get", "put": "update", "patch": "patch", "delete": "delete"}
    one = {m: _operation(m, verb, resource) for m, verb in methods.items() if verb in verbs}
    if one:
        yield f"{collection}/{{name}}", one


def _operation(method: str, action: str, resource: Resource) -> Object:
    reference = {"$ref": f"#/components/schemas/{_name(resource.kind)}"}
    content = {"application/json": {"schema": reference}}
    names = _PARAMETERS.get(method, _WRITING if method in ("post", "put") else ())
    operation: Object = {
        "parameters": [{"name": name, "in": "query", "schema": {"type": "string"}} for name in names],
        "responses": {"200": {"description": "OK", "content": content}},
        "x-kubernetes-action": {"create": "post", "update": "put"}.get(action, action),
        "x-kubernetes-group-version-kind": _group_version_kind(resource),
    }
    if method in ("post", "put"):
        operation["requestBody"] = {"content": content, "required": True}
    elif method == "patch":
        patches = {f"application/{kind}": {"schema": {"type": "object"}} for kind in _PATCHES}
        operation["requestBody"] = {"content": patches, "required": True}
    return operation


def _name(kind: str) -> str:
    """The name of a type of the schema in the document: `PodSpec` is `io.k8s.api.core.v1.PodSpec`."""
    if kind in _NAMED:
        return _NAMED[kind][0]
    package = documented(kind).get("package", "core")
    name = kind.removeprefix("DiscoveryV1").removeprefix("RbacV1")
    return f"{_META}.{name}" if package == "meta" else f"io.k8s.api.{package}.v1.{name}"


def _add(kind: str, schemas: dict[str, Object]) -> None:
    """Adds a type and all that it refers to."""
    name = _name(kind)
    if name in schemas:
        return
    if kind in _NAMED:
        schemas[name] = _NAMED[kind][1]
        return
    facts = documented(kind)
    about, fields = describe(kind)
    properties: dict[str, Object] = {}
    schemas[name] = {"type": "object", "properties": properties}
    if about:
        schemas[name]["description"] = about
    if required := facts.get("required"):
        schemas[name]["required"] = required
    for field, declared in sorted(types()[kind].items()):
        schema = _field(declared, facts.get("types", {}).get(field, ""), schemas)
        if text := fields.get(field) or own().get(field):
            schema["description"] = text
        if values := facts.get("enums", {}).get(field):
            (schema["items"] if declared.startswith("[") else schema)["enum"] = values
        if merge := facts.get("merge", {}).get(field):
            schema["x-kubernetes-patch-strategy"] = merge[0]
            if len(merge) > 1:
                schema["x-kubernetes-patch-merge-key"] = merge[1]
        properties[field] = schema


def _field(declared: str, form: str, schemas: dict[str, Object]) -> dict[str, Any]:
    if declared.startswith("["):
        return {"type": "array", "items": _field(declared[1:], form, schemas)}
    if declared.startswith("{"):
        return {"type": "object", "additionalProperties": _field(declared[1:], form, schemas)}
    if form in _FORMATS:
        return dict(_FORMATS[form])
    if declared in _SCALARS:
        return dict(_SCALARS[declared])
    kind = form if form in _NAMED else declared
    if kind == "any":
        return {"type": "object"}
    _add(kind, schemas)
    return {"allOf": [{"$ref": f"#/components/schemas/{_name(kind)}"}]}
