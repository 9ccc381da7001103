"""Errors of the API: `ApiError` carries a Kubernetes `Status` with the messages of Kubernetes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from ekslab.kubernetes.objects.resources import Resource

_JSON_KINDS = {bool: "bool", int: "number", float: "number", str: "string", list: "array", dict: "object"}


class ApiError(Exception):
    """A refusal. `code` is the HTTP status, `reason` the machine-readable word clients switch on."""

    def __init__(self, code: int, reason: str, message: str, details: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.details = details

    def status(self) -> dict[str, Any]:
        """The `Status` object that goes over the wire."""
        status: dict[str, Any] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "code": self.code,
        }
        if self.reason:
            status["reason"] = self.reason
        if self.details is not None:
            status["details"] = self.details
        return status


@dataclass(frozen=True)
class Cause:
    """One error of one field. `detail` is the message without the name of the field."""

    field: str
    reason: str
    detail: str

    @classmethod
    def required(cls, field: str, why: str = "") -> Cause:
        return cls(field, "FieldValueRequired", f"Required value{': ' + why if why else ''}")

    @classmethod
    def invalid(cls, field: str, value: Any, why: str) -> Cause:
        """`value` is what the field has, or a `Printed` text that stands for it."""
        return cls(field, "FieldValueInvalid", f"Invalid value: {go_value(value)}: {why}")

    @classmethod
    def wrong(cls, field: str, why: str) -> Cause:
        """Invalid, of a value that isn't printed."""
        return cls(field, "FieldValueInvalid", f"Invalid value: {why}")

    @classmethod
    def unsupported(cls, field: str, value: Any, supported: Sequence[str]) -> Cause:
        names = ", ".join(f'"{name}"' for name in supported)
        return cls(field, "FieldValueNotSupported", f"Unsupported value: {go_value(value)}: supported values: {names}")

    @classmethod
    def forbidden(cls, field: str, why: str) -> Cause:
        return cls(field, "FieldValueForbidden", f"Forbidden: {why}")

    @classmethod
    def duplicate(cls, field: str, value: Any) -> Cause:
        return cls(field, "FieldValueDuplicate", f"Duplicate value: {go_value(value)}")

    @classmethod
    def not_found(cls, field: str, value: Any, why: str = "") -> Cause:
        return cls(field, "FieldValueNotFound", f"Not found: {go_value(value)}{': ' + why if why else ''}")

    @classmethod
    def too_long(cls, field: str, limit: int) -> Cause:
        return cls(field, "FieldValueTooLong", f"Too long: may not be more than {limit} bytes")

    @classmethod
    def too_many(cls, field: str, count: int, limit: int) -> Cause:
        return cls(field, "FieldValueTooMany", f"Too many: {count}: must have at most {limit} items")


class Printed(str):
    """A value as Go prints it, where that isn't the value's JSON."""


def json_kind(value: Any) -> str:
    """The kind of a JSON value, as Go's decoder names it in its errors."""
    return _JSON_KINDS.get(type(value), "null")


_ESCAPES = {"\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v"}


def go_value(value: Any) -> str:
    """A value as Go prints it in a validation message: text quoted, anything else as its JSON."""
    if isinstance(value, Printed):
        return value
    if isinstance(value, str):
        return quoted(value)
    text = orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def quoted(text: str) -> str:
    """The text as Go's `%q` has it."""
    if text.isprintable() and '"' not in text and "\\" not in text:
        return f'"{text}"'
    return f'"{"".join(map(_quoted_character, text))}"'


def _quoted_character(character: str) -> str:
    if character in '"\\':
        return f"\\{character}"
    if character.isprintable():
        return character
    number = ord(character)
    if number < 0x7F or number == 0x7F:
        return _ESCAPES.get(character) or f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def _details(resource: Resource, name: str, *, kind: str | None = None, **extra: Any) -> dict[str, Any]:
    details: dict[str, Any] = {"name": name, "kind": kind or resource.plural, **extra}
    if resource.group:
        details["group"] = resource.group
    return details


def not_found(resource: Resource, name: str) -> ApiError:
    return ApiError(404, "NotFound", f'{resource.qualified} "{name}" not found', _details(resource, name))


def no_such_path() -> ApiError:
    return ApiError(404, "NotFound", "the server could not find the requested resource", {})


def already_exists(resource: Resource, name: str) -> ApiError:
    return ApiError(409, "AlreadyExists", f'{resource.qualified} "{name}" already exists', _details(resource, name))


def conflict(resource: Resource, name: str, why: str = "") -> ApiError:
    why = why or "the object has been modified; please apply your changes to the latest version and try again"
    message = f'Operation cannot be fulfilled on {resource.qualified} "{name}": {why}'
    return ApiError(409, "Conflict", message, _details(resource, name))


def invalid(resource: Resource, name: str, causes: Sequence[Cause]) -> ApiError:
    """422 with every cause, as one sentence when there is one and as a bracketed list when there are more."""
    lines = list(dict.fromkeys(f"{cause.field}: {cause.detail}" for cause in causes))
    said = lines[0] if len(lines) == 1 else f"[{', '.join(lines)}]"
    kind = f"{resource.kind}.{resource.group}" if resource.group else resource.kind
    details = _details(
        resource,
        name,
        kind=resource.kind,
        causes=[{"reason": c.reason, "message": c.detail, "field": c.field} for c in causes],
    )
    return ApiError(422, "Invalid", f'{kind} "{name}" is invalid: {said}', details)


def invalid_patch(cause: Cause) -> ApiError:
    """422 of a patch after which an object isn't of its kind any more."""
    causes = [{"reason": cause.reason, "message": cause.detail, "field": cause.field}]
    return ApiError(422, "Invalid", f' "" is invalid: {cause.field}: {cause.detail}', {"causes": causes})


def patch_failed(why: str) -> ApiError:
    """A strategic merge patch that can't be applied: an error without a reason."""
    return ApiError(500, "", why)


def forbidden(resource: Resource, name: str, why: str) -> ApiError:
    subject = f'{resource.qualified} "{name}"' if name else resource.qualified
    return ApiError(403, "Forbidden", f"{subject} is forbidden: {why}", _details(resource, name))


def bad_request(message: str) -> ApiError:
    return ApiError(400, "BadRequest", message)


def unauthorized() -> ApiError:
    return ApiError(401, "Unauthorized", "Unauthorized")


def method_not_allowed() -> ApiError:
    return ApiError(405, "MethodNotAllowed", "the server does not allow this method on the requested resource", {})


def unsupported_media_type(message: str) -> ApiError:
    return ApiError(415, "UnsupportedMediaType", message)


def request_entity_too_large(why: str) -> ApiError:
    return ApiError(413, "RequestEntityTooLarge", f"Request entity too large: {why}")


def too_many_requests() -> ApiError:
    message = "too many requests, please try again later"
    return ApiError(429, "TooManyRequests", message, {"retryAfterSeconds": 1})


def gone(message: str) -> ApiError:
    return ApiError(410, "Expired", message)
