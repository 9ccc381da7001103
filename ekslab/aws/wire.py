"""Typed parameters and responses for services: decodes a call's members, encodes a result in the call's protocol."""

from __future__ import annotations

import base64
import datetime as dt
import json
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol, TypeVar
from urllib.parse import parse_qsl, urlsplit

import orjson

from ekslab.aws.protocols import (
    BOTOCORE_NAMES,
    AwsError,
    Call,
    decoded_body,
    payload_member,
    service_model,
    unsupported,
)
from ekslab.http import HttpResponse

if TYPE_CHECKING:
    from ekslab.aws.iam_authorization import Principal

Parameters = Mapping[str, Any]
Result = dict[str, Any]
T = TypeVar("T")


class Service(Protocol):
    """The interface of a service. Results hold plain values; times are aware datetimes."""

    def resources(self, call: Call, p: Parameters) -> list[str]:
        """The ARNs that a call is authorised on; `*` for an action without resource-level permissions."""

    async def handle(self, call: Call, p: Parameters, caller: Principal) -> Result:
        """The operation's result. Raises AwsError, named and worded as the service does."""


def parameters(call: Call) -> dict[str, Any]:
    """The request's members by name, with their types. Raises AwsError if they can't be decoded."""
    match call.protocol:
        case "json":
            return call.parameters
        case "rest-json":
            return _typed(call, {**call.parameters, **call.path_parameters})
        case "query":
            return _from_query(call)
    raise unsupported(call, f"over the protocol {call.protocol}")


def response(call: Call, result: Result, request_id: str) -> HttpResponse:
    """Encodes a result in the call's protocol. A member `StatusCode` is the HTTP status if the model says so."""
    if call.protocol == "query":
        return _as_query(call, result, request_id)
    headers = {"x-amzn-RequestId": request_id}
    headers["Content-Type"] = "application/x-amz-json-1.1" if call.protocol == "json" else "application/json"
    status = 200
    if call.protocol == "rest-json":
        model = service_model(call.service)
        operation = model["operations"][call.operation]
        status = operation["http"].get("responseCode", 200)
        shape = model["shapes"].get(operation.get("output", {}).get("shape"), {"members": {}})
        for name, member in shape["members"].items():
            if name not in result:
                continue
            match member.get("location"):
                case "statusCode":
                    status = result.pop(name)
                case "header":
                    headers[member["locationName"]] = str(result.pop(name))
        if "payload" in shape and isinstance(result.get(shape["payload"]), bytes):
            return HttpResponse(status, headers, result[shape["payload"]])
        if status == 204:
            return HttpResponse(status, headers, b"")
        result = {shape["members"].get(name, {}).get("locationName", name): value for name, value in result.items()}
    return HttpResponse(status, headers, orjson.dumps(result, default=_plain, option=orjson.OPT_PASSTHROUGH_DATETIME))


def _plain(value: Any) -> Any:
    if isinstance(value, dt.datetime):
        return value.timestamp()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    raise TypeError(f"not a value of a result: {value!r}")


_READERS: dict[str, Callable[[str], Any]] = {"integer": int, "long": int, "boolean": json.loads}


def _typed(call: Call, given: dict[str, Any]) -> dict[str, Any]:
    """Members by their names in the model; text from the path or query is converted to numbers and booleans."""
    model = service_model(call.service)
    operation = model["operations"].get(call.operation)
    if operation is None or "input" not in operation:
        return given
    members = model["shapes"][operation["input"]["shape"]]["members"]
    typed: dict[str, Any] = {}
    payload = payload_member(call.service, call.operation)
    query = parse_qsl(urlsplit(call.request.url).query)
    for name, member in members.items():
        sent = member.get("locationName", name)
        kind = model["shapes"][member["shape"]]["type"]
        if name == payload:
            value: Any = decoded_body(call)
        elif member.get("location") == "header":
            value = call.request.header(sent) or None
        elif member.get("location") == "querystring" and kind == "list":
            value = [text for key, text in query if key == sent] or None
        else:
            value = given.get(sent, given.get(name))
        if value is None:
            continue
        if isinstance(value, str) and member.get("location") in ("querystring", "uri", "header"):
            try:
                value = _READERS.get(kind, str)(value)
            except ValueError as error:
                raise AwsError("SerializationException", f"{value!r} is not of type {kind}") from error
        typed[name] = value
    return typed


def page(found: Sequence[T], token: str | None, size: int) -> tuple[Sequence[T], dict[str, str]]:
    """A page of a list, and NextToken if there are more items. Raises ValueError for an invalid token."""
    first = int(base64.b64decode(token, validate=True)) if token is not None else 0
    if first < 0:
        raise ValueError(token)
    more = len(found) > first + size
    return found[first : first + size], {"NextToken": base64.b64encode(b"%d" % (first + size)).decode()} if more else {}


# moto parses and serializes the query protocol (SNS, older SDKs of CloudWatch).


@lru_cache(maxsize=64)
def _operation(service: str, name: str) -> Any:
    from moto.core.utils import get_service_model

    return get_service_model(BOTOCORE_NAMES.get(service, service)).operation_model(name)


def _from_query(call: Call) -> dict[str, Any]:
    from moto.core.parse import QueryParser
    from werkzeug.datastructures import Headers, MultiDict

    if call.operation not in service_model(call.service)["operations"]:
        raise unsupported(call)
    parsed: dict[str, Any] = QueryParser(_operation(call.service, call.operation)).parse(
        {
            "body": b"",
            "headers": Headers(),
            "method": "POST",
            "url_params": {},
            "url_path": "/",
            "values": MultiDict(call.parameters),
        }
    )
    return parsed


def _as_query(call: Call, result: Result, request_id: str) -> HttpResponse:
    from moto.core.serialize import SerializationContext, get_serializer_class

    name = BOTOCORE_NAMES.get(call.service, call.service)
    serializer = get_serializer_class(name, "query")(
        _operation(call.service, call.operation), context=SerializationContext(request_id)
    )
    made = serializer.serialize(result)
    body = made["body"]
    headers = {**made["headers"], "x-amzn-RequestId": request_id}
    return HttpResponse(made["status_code"], headers, body if isinstance(body, bytes) else body.encode())
