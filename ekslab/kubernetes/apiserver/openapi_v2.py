"""The OpenAPI v2 document in protobuf, the only form in which kubectl reads it; made of the documents of version 3.

`kubectl explain --output plaintext-openapiv2` asks for it, and kubectl before 1.27 for whatever it validates.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any

import orjson

from ekslab.kubernetes.apiserver import openapi
from ekslab.kubernetes.objects.resources import Object

CONTENT_TYPE = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
# Numbers of fields in messages of gnostic's OpenAPIv2.proto.
_DOCUMENT = {"swagger": 1, "info": 2, "paths": 8, "definitions": 9}
_SCHEMA = {"$ref": 1, "format": 2, "description": 4}
_REQUIRED, _ADDITIONAL, _TYPE, _ITEMS, _PROPERTIES, _EXTENSION = 19, 21, 22, 23, 25, 31
_PATCH_OF_PATH, _PARAMETERS, _EXTENSION_OF_OPERATION = 8, 8, 13


@cache
def document() -> bytes:
    """The document of all groups."""
    schemas: dict[str, Object] = {}
    paths: dict[str, Object] = {}
    for path in openapi.index()["paths"]:
        found = orjson.loads(openapi.document(path) or b"{}")
        schemas.update(found["components"]["schemas"])
        paths.update(found["paths"])
    info = _text(1, "Kubernetes") + _text(2, "unversioned")
    return b"".join(
        (
            _text(_DOCUMENT["swagger"], "2.0"),
            _field(_DOCUMENT["info"], info),
            _field(_DOCUMENT["paths"], _named(2, ((path, _path(item)) for path, item in paths.items()))),
            _field(_DOCUMENT["definitions"], _named(1, ((name, _schema(schemas[name])) for name in sorted(schemas)))),
        )
    )


def _field(number: int, data: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _varint(number: int) -> bytes:
    data = bytearray()
    while number > 0x7F:
        data.append(number & 0x7F | 0x80)
        number >>= 7
    data.append(number)
    return bytes(data)


def _text(number: int, text: str) -> bytes:
    return _field(number, text.encode())


def _named(number: int, items: Iterable[tuple[str, bytes]]) -> bytes:
    return b"".join(_field(number, _text(1, name) + _field(2, data)) for name, data in items)


def _extensions(number: int, holder: Object) -> bytes:
    """Members that begin with `x-`; their values are YAML, for which JSON will do."""
    found = ((key, _text(2, orjson.dumps(value).decode())) for key, value in holder.items() if key.startswith("x-"))
    return _named(number, found)


def _schema(schema: Object) -> bytes:
    reference = (schema.get("allOf") or [{}])[0].get("$ref", "").replace("/components/schemas/", "/definitions/")
    plain: dict[str, Any] = {"$ref": reference, **schema}
    if "oneOf" in schema:
        plain["type"] = "string"
    data = b"".join(_text(number, plain[name]) for name, number in _SCHEMA.items() if plain.get(name))
    data += b"".join(_text(_REQUIRED, name) for name in schema.get("required", ()))
    if "additionalProperties" in schema:
        data += _field(_ADDITIONAL, _field(1, _schema(schema["additionalProperties"])))
    if "type" in plain and not reference:
        data += _field(_TYPE, _text(1, plain["type"]))
    if "items" in schema:
        data += _field(_ITEMS, _field(1, _schema(schema["items"])))
    if schema.get("properties"):
        properties = ((name, _schema(each)) for name, each in schema["properties"].items())
        data += _field(_PROPERTIES, _named(1, properties))
    return data + _extensions(_EXTENSION, schema)


def _path(item: Object) -> bytes:
    """The operation that patches, which says what its query can have; others are of no use to clients."""
    operation = item.get("patch")
    if operation is None:
        return b""
    parameters = (_text(2, "query") + _text(4, entry["name"]) + _text(6, "string") for entry in operation["parameters"])
    data = b"".join(_field(_PARAMETERS, _field(1, _field(2, _field(3, each)))) for each in parameters)
    return _field(_PATCH_OF_PATH, data + _extensions(_EXTENSION_OF_OPERATION, operation))
