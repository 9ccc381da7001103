"""AWS protocols: parses HTTP requests to calls (JSON, query, REST), and formats errors."""

from __future__ import annotations

import contextlib
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, Literal
from urllib.parse import parse_qsl, unquote, urlsplit
from xml.sax.saxutils import escape

import orjson

from ekslab.http import HttpRequest, HttpResponse
from ekslab.sigv4 import Scope

Protocol = Literal["json", "query", "ec2", "rest-json", "rest-xml"]

# Signing names whose service has another name in botocore.
BOTOCORE_NAMES = {
    "monitoring": "cloudwatch",
    "servicequotas": "service-quotas",
    "states": "stepfunctions",
    "tagging": "resourcegroupstaggingapi",
}
# Signing names whose actions have another prefix in IAM policies.
IAM_PREFIXES = {"monitoring": "cloudwatch", "tagging": "tag"}
# Operations that have another name in IAM policies.
IAM_ACTIONS = {
    ("lambda", "Invoke"): "InvokeFunction",
    ("sns", "PublishBatch"): "Publish",
    ("sqs", "ChangeMessageVisibilityBatch"): "ChangeMessageVisibility",
    ("sqs", "DeleteMessageBatch"): "DeleteMessage",
    ("sqs", "SendMessageBatch"): "SendMessage",
}
_MAX_FIELDS = 10_000  # of a form
_MAX_GZIP_MEMBERS = 8


@dataclass(frozen=True)
class Call:
    """One call of one operation.

    `parameters` are the request's members: nested for the JSON protocols, flat as sent for query and ec2, empty for
    rest-xml bodies. `path_parameters` are those that a REST path carries.
    """

    request: HttpRequest
    service: str
    operation: str
    protocol: Protocol
    region: str
    scope: Scope | None
    parameters: dict[str, Any] = field(default_factory=dict)
    path_parameters: dict[str, str] = field(default_factory=dict)
    request_id: str = ""

    @property
    def action(self) -> str:
        """The operation as IAM policies name it, e.g. `logs:PutLogEvents`."""
        name = IAM_ACTIONS.get((self.service, self.operation), self.operation)
        return f"{IAM_PREFIXES.get(self.service, self.service)}:{name}"


class AwsError(Exception):
    """An error of a service. `code` is the service's name for it."""

    def __init__(self, code: str, message: str, status: int = 400, *, members: Mapping[str, Any] | None = None) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.status = status
        self.members = dict(members or {})


def unsupported(call: Call, detail: str = "") -> AwsError:
    """The error for an unsupported operation or parameter: a 4xx, so that no SDK retries it."""
    message = f"{call.action} is not supported by the embedded lab{': ' + detail if detail else ''}."
    code = "InvalidAction" if call.protocol in ("query", "ec2") else "UnknownOperationException"
    return AwsError(code, message)


def scope_of(request: HttpRequest) -> Scope | None:
    """The credential scope, from the Authorization header or from a presigned URL; None for an unsigned request."""
    authorization = request.header("authorization")
    if authorization:
        match = re.search(r"Credential=([^,\s]+)", authorization)
        credential = match[1] if match else ""
    else:
        query = dict(parse_qsl(urlsplit(request.url).query))
        credential = query.get("X-Amz-Credential", "")
    parts = credential.split("/")
    if len(parts) != 5 or parts[4] != "aws4_request":
        return None
    return Scope(parts[0], parts[1], parts[2], parts[3])


_AWS_HOST = re.compile(
    r"^(?:(?P<prefix>stream-|streaming-)?(?P<service>[a-z0-9-]+?))(?:\.(?P<region>[a-z]{2}(?:-[a-z]+)+-\d))?"
    r"\.amazonaws\.com(?:\.cn)?$"
)


def service_of_host(host: str) -> tuple[str, str] | None:
    """(signing name, region or "") of an AWS host name; None for any other host."""
    match = _AWS_HOST.match(host)
    return (match["service"], match["region"] or "") if match else None


def parse_call(request: HttpRequest, *, default_region: str) -> Call:
    """Parses a request: service, operation and parameters. Raises AwsError if its body can't be decoded."""
    return with_parameters(outline(request, default_region=default_region))


def outline(request: HttpRequest, *, default_region: str) -> Call:
    """Parses the head of a request: enough to check the signature.

    `with_parameters` adds the rest: the parameters, and the operation if the body is a form. Raises AwsError if the
    request is in a protocol that the lab doesn't speak.
    """
    scope = scope_of(request)
    url = urlsplit(request.url)
    named = service_of_host(request.host)
    target = request.header("x-amz-target")
    query = dict(parse_qsl(url.query, keep_blank_values=True))
    form = request.header("content-type").startswith("application/x-www-form-urlencoded")

    service = scope.service if scope else named[0] if named else ""
    region = scope.region if scope else (named[1] if named else "") or default_region
    if not service and (target or form or "Action" in query):
        service = _service_of_target(target) if target else "sts"

    if request.header("smithy-protocol"):
        message = "The embedded lab speaks JSON, as boto3 and the AWS CLI do, and not CBOR (smithy-rpc-v2-cbor)."
        raise AwsError("UnsupportedMediaType", message, 415)
    if target:
        return Call(request, service, target.rpartition(".")[2], "json", region, scope)
    if form or "Action" in query:
        protocol: Protocol = "ec2" if service == "ec2" else "query"
        return Call(request, service, query.get("Action", ""), protocol, region, scope)
    return _rest_call(Call(request, service, "", "rest-json", region, scope), query)


def with_parameters(call: Call) -> Call:
    """Adds the parameters in the body to a call. Raises AwsError if the body can't be decoded."""
    query = dict(parse_qsl(urlsplit(call.request.url).query, keep_blank_values=True))
    match call.protocol:
        case "json":
            try:
                parameters = orjson.loads(decoded_body(call) or b"{}")
            except orjson.JSONDecodeError as error:
                raise AwsError("SerializationException", f"Could not decode the request body: {error}") from error
            if not isinstance(parameters, dict):
                raise AwsError("SerializationException", "Unexpected value type in payload")
            return replace(call, parameters=parameters)
        case "query" | "ec2":
            body = b""
            if call.request.header("content-type").startswith("application/x-www-form-urlencoded"):
                body = decoded_body(call)
            try:
                form = dict(
                    parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=_MAX_FIELDS)
                )
            except ValueError as error:
                raise AwsError("MalformedInput", f"a request has at most {_MAX_FIELDS:,} parameters") from error
            action = form.get("Action") or call.operation
            if not action:
                return _rest_call(call, query)
            given = {k: v for k, v in {**query, **form}.items() if not k.startswith("X-Amz-")}
            return replace(call, operation=action, parameters=given)
        case "rest-json":
            parsed: Any = None
            if call.request.body and payload_member(call.service, call.operation) is None:
                with contextlib.suppress(orjson.JSONDecodeError):
                    parsed = orjson.loads(decoded_body(call))
            return replace(call, parameters={**query, **(parsed if isinstance(parsed, dict) else {})})
    return call


def _rest_call(call: Call, query: Mapping[str, str]) -> Call:
    operation, path_parameters = _rest_operation(
        call.service, call.request.method, urlsplit(call.request.url).path, query
    )
    protocol: Protocol = "rest-xml" if call.service in ("s3", "route53", "cloudfront", "") else "rest-json"
    parameters = dict(query)
    return replace(call, operation=operation, protocol=protocol, parameters=parameters, path_parameters=path_parameters)


def body_limit(scope: Scope | None) -> int:
    """The largest size of a request's body in bytes, compressed and uncompressed."""
    if scope is None:
        return 64 * 1024
    # Lambda needs it for deployment packages. The operations of other services have smaller limits.
    return 70_167_211 if scope.service == "lambda" else 10 * 1024 * 1024


def too_large(limit: int) -> AwsError:
    message = f"Request must be smaller than {limit} bytes"
    return AwsError("RequestEntityTooLargeException", message, 413)


def decoded_body(call: Call) -> bytes:
    """The uncompressed body. Raises AwsError if it can't be decompressed, or is too large."""
    body = call.request.body
    if call.request.header("content-encoding").lower() != "gzip":
        return body
    limit = body_limit(call.scope)
    decoded = bytearray()
    try:
        for _ in range(_MAX_GZIP_MEMBERS):
            part = zlib.decompressobj(wbits=31)
            decoded += part.decompress(body, limit + 1 - len(decoded))
            if len(decoded) > limit:
                raise too_large(limit)
            if not part.eof:
                raise zlib.error("it ends too early")
            body = part.unused_data
            if not body:
                return bytes(decoded)
    except zlib.error as error:
        raise AwsError("SerializationException", f"The request body is not valid gzip: {error}") from error
    raise AwsError("SerializationException", "The request body is not valid gzip: it has too many parts")


def _service_of_target(target: str) -> str:
    prefix = target.partition(".")[0]
    return {"Logs_20140328": "logs", "GraniteServiceVersion20100801": "monitoring"}.get(prefix, prefix.lower())


@lru_cache(maxsize=16)
def service_model(name: str) -> dict[str, Any]:
    """botocore's description of a service, by its signing name; an empty one where botocore has none."""
    if re.fullmatch(r"[a-z0-9-]+", name) is None:  # it becomes part of a path
        return {"operations": {}, "shapes": {}}
    import botocore.loaders  # takes 0.1 s, which the lab's start needn't wait for
    from botocore.exceptions import DataNotFoundError, UnknownServiceError

    try:
        model: dict[str, Any] = botocore.loaders.Loader().load_service_model(
            BOTOCORE_NAMES.get(name, name), "service-2"
        )
    except (UnknownServiceError, DataNotFoundError):  # depending on the loader's search path
        return {"operations": {}, "shapes": {}}
    return model


@lru_cache(maxsize=16)
def _routes(service: str) -> list[tuple[str, re.Pattern[str], dict[str, str], str]]:
    routes = []
    for name, operation in service_model(service)["operations"].items():
        uri = operation["http"]["requestUri"]
        path, _, query = uri.partition("?")
        pattern = re.sub(r"\\\{(\w+)\\\+\\\}", r"(?P<\1>.+)", re.escape(path))
        pattern = re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[^/]+)", pattern)
        required = dict(parse_qsl(query, keep_blank_values=True))
        routes.append((operation["http"]["method"], re.compile(pattern + "/?"), required, name))
    # The most literal templates first: /clusters/{name}/updates before templates whose variables would match it.
    routes.sort(key=lambda route: (-len(route[2]), route[1].groups, -len(route[1].pattern)))
    return routes


def _rest_operation(service: str, method: str, path: str, query: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    if service:
        for verb, pattern, required, name in _routes(service):
            if verb == method and all(query.get(k) == v for k, v in required.items()):
                match = pattern.fullmatch(path)
                if match:
                    return name, {key: unquote(value) for key, value in match.groupdict().items()}
    return f"{method} {path}", {}


@lru_cache(maxsize=256)
def payload_member(service: str, operation: str) -> str | None:
    """The member of a REST operation's input that is its whole body, uninterpreted (Lambda's `Payload`)."""
    model = service_model(service)
    shape = model["shapes"].get(model["operations"].get(operation, {}).get("input", {}).get("shape"), {})
    name: str | None = shape.get("payload")
    return name if name and model["shapes"][shape["members"][name]["shape"]]["type"] == "blob" else None


# Error codes of SQS in the query protocol, which the service still sends and botocore's model lacks.
_SQS_CODES = {
    "QueueDoesNotExist": "AWS.SimpleQueueService.NonExistentQueue",
    "QueueNameExists": "QueueAlreadyExists",
    **{
        name: f"AWS.SimpleQueueService.{name}"
        for name in (
            *("BatchEntryIdsNotDistinct", "BatchRequestTooLong", "EmptyBatchRequest", "InvalidBatchEntryId"),
            *("MessageNotInflight", "PurgeQueueInProgress", "QueueDeletedRecently", "TooManyEntriesInBatchRequest"),
            "UnsupportedOperation",
        )
    },
}


@lru_cache(maxsize=16)
def _query_codes(service: str) -> dict[str, tuple[str, str]]:
    """(shape, code in the query protocol) of an error by either of the two, for services that spoke it before."""
    model = service_model(service)
    if "awsQueryCompatible" not in model.get("metadata", {}):
        return {}
    codes: dict[str, tuple[str, str]] = {}
    for name, shape in model["shapes"].items():
        if shape.get("exception"):
            code = shape.get("error", {}).get("code", _SQS_CODES.get(name, name) if service == "sqs" else name)
            codes[name] = codes[code] = (name, code)
    return codes


def error_response(error: AwsError, protocol: Protocol, request_id: str, service: str = "") -> HttpResponse:
    """Formats an error in a protocol."""
    headers = {"x-amzn-RequestId": request_id}
    shape, code = _query_codes(service).get(error.code, (error.code, error.code)) if service else ("", error.code)
    match protocol:
        case "json":
            if shape != code:
                headers["x-amzn-query-error"] = f"{code};Sender"
            body = orjson.dumps({"__type": shape or code, "message": error.message, **error.members})
            headers["Content-Type"] = "application/x-amz-json-1.1"
        case "rest-json":
            body = orjson.dumps({"message": error.message, **error.members})
            headers |= {"Content-Type": "application/json", "x-amzn-ErrorType": error.code}
        case "ec2":
            body = (
                f"<Response><Errors><Error><Code>{escape(code)}</Code><Message>{escape(error.message)}</Message>"
                f"</Error></Errors><RequestID>{request_id}</RequestID></Response>"
            ).encode()
            headers["Content-Type"] = "text/xml"
        case "rest-xml":
            body = (
                f"<Error><Code>{escape(code)}</Code><Message>{escape(error.message)}</Message>"
                f"<RequestId>{request_id}</RequestId></Error>"
            ).encode()
            headers["Content-Type"] = "application/xml"
        case "query":
            body = (
                f"<ErrorResponse><Error><Type>Sender</Type><Code>{escape(code)}</Code>"
                f"<Message>{escape(error.message)}</Message></Error><RequestId>{request_id}</RequestId></ErrorResponse>"
            ).encode()
            headers["Content-Type"] = "text/xml"
    return HttpResponse(error.status, headers, body)


def json_response(result: Mapping[str, Any], request_id: str) -> HttpResponse:
    """Formats a result in the json protocol."""
    headers = {"Content-Type": "application/x-amz-json-1.1", "x-amzn-RequestId": request_id}
    return HttpResponse(200, headers, orjson.dumps(result))
