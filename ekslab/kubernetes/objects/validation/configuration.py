"""Tables of ConfigMaps, Secrets, Namespaces, ServiceAccounts and claims for volumes."""

from __future__ import annotations

import base64
import binascii

import orjson

from ekslab.kubernetes.objects.errors import Cause, quoted
from ekslab.kubernetes.objects.resources import Object
from ekslab.kubernetes.objects.validation import formats
from ekslab.kubernetes.objects.validation.metadata import kube_finalizer
from ekslab.kubernetes.objects.validation.rules import (
    Causes,
    Place,
    Rule,
    Scope,
    each_unplaced,
    equals,
    field,
    fields,
    first,
    formatted,
    keys,
    when,
)
from ekslab.kubernetes.objects.validation.volumes import CLAIM

_MAX_SIZE = 1024 * 1024  # bytes of all values


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text)
    except (binascii.Error, ValueError):
        return text.encode()


def _in_one_place(value: Object, place: Place, _: Scope) -> Causes:
    for key in value.get("data") or {}:
        if key in (value.get("binaryData") or {}):
            yield Cause.invalid(str(place.child("data").key(key)), key, "duplicate of key present in binaryData")


def _config_size(value: Object, place: Place, _: Scope) -> Causes:
    size = sum(len(text.encode()) for text in (value.get("data") or {}).values())
    size += sum(len(_decoded(text)) for text in (value.get("binaryData") or {}).values())
    if size > _MAX_SIZE:
        yield Cause.too_long("[]", _MAX_SIZE)


_config_keys = keys(formatted(formats.config_key))
CONFIG_MAP = fields(
    field("data", _config_keys),
    _in_one_place,
    field("binaryData", _config_keys),
    _config_size,
)


def _secret_size(value: Object, place: Place, _: Scope) -> Causes:
    if sum(len(_decoded(text)) for text in value.values()) > _MAX_SIZE:
        yield Cause.too_long(str(place), _MAX_SIZE)


def _has_key(name: str) -> Rule:
    def check(value: Object, place: Place, _: Scope) -> Causes:
        if name not in (value.get("data") or {}):
            yield Cause.required(str(place.child("data").key(name)))

    return check


def _is_object(name: str) -> Rule:
    def check(value: Object, place: Place, _: Scope) -> Causes:
        try:
            parsed = orjson.loads(_decoded(value["data"][name]))
            why = "" if isinstance(parsed, dict) else _unmarshalled(parsed)
        except orjson.JSONDecodeError as error:
            why = _json_error(_decoded(value["data"][name]), error)
        if why:
            yield Cause.invalid(str(place.child("data").key(name)), "<secret contents redacted>", why)

    return check


def _unmarshalled(parsed: object) -> str:
    names = {str: "string", bool: "bool", list: "array", int: "number", float: "number"}
    return f"json: cannot unmarshal {names.get(type(parsed), 'null')} into Go value of type map[string]interface {{}}"


def _json_error(data: bytes, error: orjson.JSONDecodeError) -> str:
    text = data.strip()
    if not text or error.pos >= len(text.decode(errors="replace")):
        return "unexpected end of JSON input"
    found = quoted(chr(text[min(error.pos, len(text) - 1)]))[1:-1]
    return f"invalid character '{found}' looking for beginning of value"


def _login(value: Object, place: Place, _: Scope) -> Causes:
    data = value.get("data") or {}
    if "username" not in data and "password" not in data:
        yield Cause.required(str(place.child("data").key("username")))
        yield Cause.required(str(place.child("data").key("password")))


def _private_key(value: Object, place: Place, _: Scope) -> Causes:
    if not (value.get("data") or {}).get("ssh-privatekey"):
        yield Cause.required(str(place.child("data").key("ssh-privatekey")))


def _of_account(value: Object, place: Place, _: Scope) -> Causes:
    name = "kubernetes.io/service-account.name"
    if not (value["metadata"].get("annotations") or {}).get(name):
        yield Cause.required(str(place.child("metadata").child("annotations").key(name)))


SECRET_TYPES: dict[str, tuple[Rule, ...]] = {
    "kubernetes.io/service-account-token": (_of_account,),
    "kubernetes.io/dockercfg": (first(_has_key(".dockercfg"), _is_object(".dockercfg")),),
    "kubernetes.io/dockerconfigjson": (first(_has_key(".dockerconfigjson"), _is_object(".dockerconfigjson")),),
    "kubernetes.io/basic-auth": (_login,),
    "kubernetes.io/ssh-auth": (_private_key,),
    "kubernetes.io/tls": (_has_key("tls.crt"), _has_key("tls.key")),
}
SECRET = fields(
    field("data", _config_keys, _secret_size),
    *(when(equals("type", kind), *rules) for kind, rules in SECRET_TYPES.items()),
)
NAMESPACE = fields(
    field(
        "spec",
        fields(field("finalizers", each_unplaced(formatted(formats.qualified_name), kube_finalizer))),
    )
)
VOLUME_CLAIM = fields(field("spec", CLAIM, absent={}))
