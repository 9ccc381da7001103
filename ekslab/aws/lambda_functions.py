"""Lambda: functions, their permissions and settings. `lambda_invocations` runs them.

Only trusted code is accepted: by default, the function that the workshop ships.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import datetime as dt
import hashlib
import io
import json
import re
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import orjson

from ekslab import names
from ekslab.aws import iam_authorization
from ekslab.aws.lambda_invocations import CallAs, Function, Invocations, log_tail
from ekslab.aws.metrics import Metrics
from ekslab.aws.protocols import AwsError, Call, unsupported
from ekslab.aws.validation import validate

if TYPE_CHECKING:
    from ekslab.aws.account import Account
    from ekslab.aws.iam_authorization import Principal
    from ekslab.aws.sts import Sts
    from ekslab.aws.wire import Parameters, Result

MAX_PAYLOAD = 6_291_456  # bytes of a synchronous event
MAX_EVENT = 1_048_576  # bytes of an asynchronous event
MAX_VARIABLES = 4096  # bytes of names and values
_MAX_FILE = 1_048_576  # bytes; what the lab trusts is far smaller
_SERVICE = "lambda.amazonaws.com"

# Default settings of functions.
_DEFAULTS: dict[str, Any] = {
    "Description": "",
    "Timeout": 3,
    "MemorySize": 128,
    "PackageType": "Zip",
    "Architectures": ["x86_64"],
    "TracingConfig": {"Mode": "PassThrough"},
    "EphemeralStorage": {"Size": 512},
    "SnapStart": {"ApplyOn": "None", "OptimizationStatus": "Off"},
}
# Members of a request of which the lab supports only these values.
_ONLY: dict[str, Any] = {
    "PackageType": ("Zip",),
    "TracingConfig": ({"Mode": "PassThrough"},),
    "EphemeralStorage": ({"Size": 512},),
    "Publish": (False,),
    "Layers": ([],),
    "KMSKeyArn": ("",),
    "SnapStart": ({"ApplyOn": "None"},),
    "VpcConfig": ({}, {"SubnetIds": [], "SecurityGroupIds": []}),
}
_SETTINGS = ("Runtime", "Role", "Handler", "Description", "Timeout", "MemorySize", "Architectures")
_SETTABLE = {*_SETTINGS, *_ONLY, "FunctionName", "Environment", "DeadLetterConfig", "RevisionId"}
# The supported members of operations that have more.
_KNOWN = {
    "CreateFunction": _SETTABLE - {"RevisionId"} | {"Code", "Tags"},
    "UpdateFunctionConfiguration": _SETTABLE,
    "UpdateFunctionCode": {"FunctionName", "ZipFile", "Publish", "DryRun", "RevisionId", "Architectures"},
    "Invoke": {"FunctionName", "InvocationType", "LogType", "Payload", "Qualifier"},
    "AddPermission": {
        *("FunctionName", "StatementId", "Action", "Principal"),
        *("SourceArn", "SourceAccount", "RevisionId", "Qualifier"),
    },
}
_RANGES = {"Timeout": (1, 900), "MemorySize": (128, 10_240)}


def digest(code: bytes) -> str:
    """SHA-256 of a file, in hexadecimal."""
    return hashlib.sha256(code).hexdigest()


class Lambda:
    """The service, in every region of the account."""

    def __init__(
        self,
        *,
        account_id: str,
        clock: Callable[[], float],
        account: Account,
        sts: Sts,
        call_as: CallAs,
        url: Callable[[], str],
        metrics: Callable[[str], Metrics],
        trusted: Iterable[str],
        concurrency: Callable[[], int],
    ) -> None:
        """`trusted` are the SHA-256 digests of the files that may run. No request can add to them.

        `concurrency` returns the account's quota of concurrent executions.
        """
        self._concurrency = concurrency
        self.account_id = account_id
        self._clock = clock
        self._account = account
        self._sts = sts
        self._trusted = frozenset(trusted)
        self._functions: dict[str, Function] = {}  # by ARN
        self._made: dict[str, int] = {}  # number of functions made under an ARN
        self._invocations = Invocations(sts=sts, clock=clock, call_as=call_as, url=url, metrics=metrics)
        self._operations: dict[str, Callable[[Call, Parameters, Principal], Result]] = {
            "CreateFunction": self._create,
            "GetFunction": self._get,
            "GetFunctionConfiguration": self._get_configuration,
            "UpdateFunctionCode": self._update_code,
            "UpdateFunctionConfiguration": self._update_configuration,
            "DeleteFunction": self._delete,
            "ListFunctions": self._list,
            "AddPermission": self._add_permission,
            "RemovePermission": self._remove_permission,
            "GetPolicy": self._get_policy,
            "PutFunctionEventInvokeConfig": self._put_event_invoke,
            "GetFunctionEventInvokeConfig": self._get_event_invoke,
            "DeleteFunctionEventInvokeConfig": self._delete_event_invoke,
            "TagResource": self._tag,
            "UntagResource": self._untag,
            "ListTags": self._list_tags,
            "GetAccountSettings": self._account_settings,
        }

    async def stop(self) -> None:
        """Ends every process that runs a function."""
        await self._invocations.stop()

    # -- for other services

    def permits(self, service: str, source_arn: str, function_arn: str) -> bool:
        """Whether there is such a function and its policy lets a service invoke it for `source_arn`."""
        function = self._functions.get(function_arn)
        if function is None:
            return False
        document = {"Statement": list(function.policy.values())}
        context = {"aws:SourceArn": source_arn, "aws:SourceAccount": self.account_id}
        return iam_authorization.trusts_service(document, "lambda:InvokeFunction", service, function_arn, context)

    def submit(self, function_arn: str, payload: str) -> None:
        """Invokes a function asynchronously for a service that has permission. Raises AwsError."""
        function = self._functions.get(function_arn)
        if function is None:
            raise _not_found(function_arn)
        function.events += 1
        request_id = names.uid("event for a function", function_arn, function.events, payload)
        self._invocations.submit(function, request_id, payload)

    # -- the service

    def resources(self, call: Call, p: Parameters) -> list[str]:
        if call.operation in ("ListFunctions", "GetAccountSettings"):
            return ["*"]
        if "Resource" in p:
            return [p["Resource"]]
        name = p.get("FunctionName")
        return [self._arn(call, str(name))] if name else ["*"]

    async def handle(self, call: Call, p: Parameters, caller: Principal) -> Result:
        """The operation's result. Raises AwsError, named and worded as the service does."""
        if call.operation != "Invoke" and call.operation not in self._operations:
            raise unsupported(call)
        _refuse_others(call, p)
        try:
            validate("lambda", call.operation, p)
        except AwsError as error:
            code = "ValidationException" if error.code == "InvalidParameterException" else error.code
            raise AwsError(code, error.message) from error
        if not self._account.loaded:  # the roles are checked next
            await asyncio.to_thread(self._account.load)
        if call.operation == "Invoke":
            return await self._invoke(call, p)
        return self._operations[call.operation](call, p, caller)

    # -- names

    def _arn(self, call: Call, name: str) -> str:
        """A function's ARN from its name, its ARN or a part of that. Raises AwsError for a version or alias."""
        match = re.fullmatch(
            r"(?:arn:aws:lambda:)?(?:([a-z]{2}(?:-[a-z]+)+-\d):)?(?:(\d{12}):)?(?:function:)?([\w-]+)(?::([\w$-]+))?",
            name,
            re.ASCII,
        )
        if match is None:
            raise _invalid(f"{name} is not the name of a function.")
        region, account, bare, qualifier = match.groups()
        arn = f"arn:aws:lambda:{region or call.region}:{account or self.account_id}:function:{bare}"
        if qualifier not in (None, "$LATEST"):
            raise _not_found(f"{arn}:{qualifier}")
        return arn

    def _function(self, call: Call, p: Parameters) -> Function:
        arn = self._arn(call, p["FunctionName"])
        qualifier = p.get("Qualifier")
        if arn not in self._functions or qualifier not in (None, "$LATEST"):
            raise _not_found(arn if qualifier in (None, "$LATEST") else f"{arn}:{qualifier}")
        return self._functions[arn]

    def _tagged(self, p: Parameters) -> Function:
        function = self._functions.get(p["Resource"])
        if function is None:
            raise _not_found(p["Resource"])
        return function

    # -- functions

    def _create(self, call: Call, p: Parameters, caller: Principal) -> Result:
        arn = self._arn(call, p["FunctionName"])
        name = arn.rpartition(":")[2]
        if arn in self._functions:
            raise AwsError("ResourceConflictException", f"Function already exist: {name}", 409, members=_USER)
        for member in ("Runtime", "Handler"):
            if not p.get(member):
                raise _invalid(f"{member} is mandatory for functions created with deployment packages.")
        if len(p["Code"]) > 1:
            raise _invalid("Please do not provide other FunctionCode parameters when providing a ZipFile.")
        files, package = self._code(p["Code"]["ZipFile"])
        self._check_settings(call, p, files, caller)
        if p.get("Tags"):
            iam_authorization.authorize(caller, "lambda:TagResource", [arn], {})
        self._made[arn] = self._made.get(arn, 0) + 1
        configuration = {
            "FunctionName": name,
            "FunctionArn": arn,
            **_DEFAULTS,
            **{key: p[key] for key in _SETTINGS if key in p},
            **package,
            "Version": "$LATEST",
            "LoggingConfig": {"LogFormat": "Text", "LogGroup": f"/aws/lambda/{name}"},
            **_optional(p),
        }
        function = Function(call.region, arn, configuration, files, dict(p.get("Tags") or {}), changing="create")
        self._revise(function)
        self._functions[arn] = function
        return self._shown(function)

    def _revise(self, function: Function) -> None:
        function.revisions += 1
        moment = dt.datetime.fromtimestamp(self._clock(), dt.UTC).isoformat(timespec="milliseconds")
        function.configuration["LastModified"] = moment.replace("+00:00", "+0000")
        revision = names.uid("lambda revision", function.arn, self._made[function.arn], function.revisions)
        function.configuration["RevisionId"] = revision
        self._invocations.renew(function)

    def _shown(self, function: Function) -> Result:
        """Its configuration. The first response after a change says that it is in progress, the next that it isn't."""
        states: dict[str, Any] = {"State": "Active", "LastUpdateStatus": "Successful"}
        if function.changing == "create":
            states = {
                "State": "Pending",
                "StateReason": "The function is being created.",
                "StateReasonCode": "Creating",
            }
        elif function.changing == "update":
            states |= {
                "LastUpdateStatus": "InProgress",
                "LastUpdateStatusReason": "The function is being created.",
                "LastUpdateStatusReasonCode": "Creating",
            }
        function.changing = ""
        return {**function.configuration, **states}

    def _get(self, call: Call, p: Parameters, caller: Principal) -> Result:
        function = self._function(call, p)
        result: Result = {"Configuration": self._shown(function), "Code": {"RepositoryType": "S3"}}
        if function.tags:
            result["Tags"] = dict(function.tags)
        return result

    def _get_configuration(self, call: Call, p: Parameters, caller: Principal) -> Result:
        return self._shown(self._function(call, p))

    def _update_code(self, call: Call, p: Parameters, caller: Principal) -> Result:
        function = self._function(call, p)
        _check_revision(function, p)
        files, package = self._code(p["ZipFile"])
        _check_handler(function.configuration["Handler"], files)
        if p.get("DryRun"):
            return {**self._shown(function), **package}
        function.files = files
        function.configuration |= package | {key: p[key] for key in ("Architectures",) if key in p}
        self._revise(function)
        function.changing = "update"
        return self._shown(function)

    def _update_configuration(self, call: Call, p: Parameters, caller: Principal) -> Result:
        function = self._function(call, p)
        _check_revision(function, p)
        self._check_settings(call, {**function.configuration, **p}, function.files, caller)
        function.configuration |= {key: p[key] for key in _SETTINGS if key in p}
        for key in ("Environment", "DeadLetterConfig"):
            if key in p:
                function.configuration.pop(key, None)
        function.configuration |= _optional(p)
        self._revise(function)
        function.changing = "update"
        return self._shown(function)

    def _delete(self, call: Call, p: Parameters, caller: Principal) -> Result:
        function = self._function(call, p)
        del self._functions[function.arn]
        function.deleted = True
        self._invocations.renew(function)
        return {"StatusCode": 204}

    def _list(self, call: Call, p: Parameters, caller: Principal) -> Result:
        after = p.get("Marker") or ""
        found = [f for arn, f in sorted(self._functions.items()) if f.region == call.region and arn > after]
        most = p.get("MaxItems") or 50
        more = {"NextMarker": found[most - 1].arn} if len(found) > most else {}
        return {"Functions": [function.configuration for function in found[:most]], **more}

    # -- checks of code and settings

    def _code(self, encoded: str) -> tuple[dict[str, bytes], dict[str, Any]]:
        """(files, CodeSize and CodeSha256) of a deployment package. Raises AwsError unless every file is trusted."""
        try:
            data = base64.b64decode(encoded, validate=True)
            archive = zipfile.ZipFile(io.BytesIO(data))
            members = [member for member in archive.infolist() if not member.is_dir()]
            if any(member.file_size > _MAX_FILE for member in members):
                raise _foreign(next(member.filename for member in members if member.file_size > _MAX_FILE))
            files = {member.filename: archive.read(member) for member in members}
        # RuntimeError: encrypted; NotImplementedError is one, of compressions that zipfile doesn't know.
        except (binascii.Error, zipfile.BadZipFile, RuntimeError, EOFError, OSError) as error:
            message = "Could not unzip uploaded file. Please check your file, then try to upload again."
            raise _invalid(message) from error
        if not files:
            raise _invalid("Uploaded file must be a non-empty zip")
        for name, code in files.items():
            if digest(code) not in self._trusted or PurePosixPath(name).parts != (name,):
                raise _foreign(name)
        sha = base64.b64encode(hashlib.sha256(data).digest()).decode()
        return files, {"CodeSize": len(data), "CodeSha256": sha}

    def _check_settings(self, call: Call, p: Parameters, files: Mapping[str, bytes], caller: Principal) -> None:
        """Raises AwsError for invalid settings. `p` holds all settings, including unchanged ones."""
        if not re.fullmatch(r"python3\.\d+", p["Runtime"]):
            raise _invalid(
                f"Runtime {p['Runtime']} is not supported by the embedded lab: it runs functions in its own Python, "
                "as python3.11, python3.12, ..."
            )
        for name, (least, most) in _RANGES.items():
            if not least <= p.get(name, least) <= most:
                bound = f"less than or equal to {most}" if p[name] > most else f"greater than or equal to {least}"
                raise _invalid(f"'{name}' value failed to satisfy constraint: Member must have value {bound}")
        _check_handler(p["Handler"], files)
        variables = (p.get("Environment") or {}).get("Variables") or {}
        reserved = sorted(key for key in variables if key.startswith(("AWS_", "LAMBDA_")) or key in ("_HANDLER", "TZ"))
        if reserved:
            raise _invalid(
                "Lambda was unable to configure your environment variables because the environment variables you have "
                "provided contains reserved keys that are currently not supported for modification. Reserved keys used "
                f"in this request: {', '.join(reserved)}"
            )
        if sum(len(f"{key}{value}".encode()) for key, value in variables.items()) > MAX_VARIABLES:
            raise _invalid(
                "Lambda was unable to configure your environment variables because the environment variables you have "
                "provided exceeded the 4KB limit."
            )
        role = p["Role"]
        context = {
            "iam:PassedToService": _SERVICE,
            "iam:AssociatedResourceArn": self._arn(call, p["FunctionName"]),
            "aws:PrincipalArn": caller.arn,
        }
        if "Role" in call.parameters:
            iam_authorization.authorize(caller, "iam:PassRole", [role], context)
        if not self._sts.trusts_service(_SERVICE, role):
            raise _invalid("The role defined for the function cannot be assumed by Lambda.")
        target = (p.get("DeadLetterConfig") or {}).get("TargetArn")
        if target and not self._may_send(role, target):
            raise _invalid("The provided execution role does not have permissions to call SendMessage on SQS")

    def _may_send(self, role: str, queue_arn: str) -> bool:
        if not re.fullmatch(r"arn:aws:sqs:[\w-]+:\d{12}:[\w-]+", queue_arn):
            raise _invalid(f"{queue_arn} is not supported by the embedded lab: it sends to SQS queues only.")
        principal = self._sts.principal_of_role(role, "lambda")
        try:
            iam_authorization.authorize(principal, "sqs:SendMessage", [queue_arn], {})
        except AwsError:
            return False
        return True

    # -- invoking

    async def _invoke(self, call: Call, p: Parameters) -> Result:
        function = self._function(call, p)
        kind, payload = p.get("InvocationType", "RequestResponse"), p.get("Payload") or b"{}"
        limit = MAX_EVENT if kind == "Event" else MAX_PAYLOAD
        if len(payload) > limit:
            message = f"Request must be smaller than {limit} bytes for the InvokeFunction operation"
            raise AwsError("RequestTooLargeException", message, 413, members=_USER)
        try:
            orjson.loads(payload)
            event = payload.decode()
        except ValueError as error:
            message = f"Could not parse request body into json: Could not parse payload into json: {error}"
            raise AwsError("InvalidRequestContentException", message, members=_USER) from error
        if kind == "DryRun":
            return {"StatusCode": 204}
        if kind == "Event":
            self._invocations.submit(function, call.request_id, event)
            return {"StatusCode": 202, "Payload": b""}
        outcome, log = await self._invocations.run(function, call.request_id, event)
        result: Result = {"StatusCode": 200, "ExecutedVersion": "$LATEST", "Payload": outcome.payload.encode()}
        if outcome.failed:
            result["FunctionError"] = "Unhandled"
        if p.get("LogType") == "Tail":
            result["LogResult"] = log_tail(log)
        return result

    # -- permissions

    def _add_permission(self, call: Call, p: Parameters, caller: Principal) -> Result:
        function = self._function(call, p)
        _check_revision(function, p)
        if p["StatementId"] in function.policy:
            message = (
                f"The statement id ({p['StatementId']}) provided already exists. Please provide a new statement id, or "
                "remove the existing statement."
            )
            raise AwsError("ResourceConflictException", message, 409, members=_USER)
        statement: dict[str, Any] = {
            "Sid": p["StatementId"],
            "Effect": "Allow",
            "Principal": _principal(p["Principal"]),
            "Action": p["Action"],
            "Resource": function.arn,
        }
        conditions: dict[str, Any] = {}
        if "SourceAccount" in p:
            conditions["StringEquals"] = {"AWS:SourceAccount": p["SourceAccount"]}
        if "SourceArn" in p:
            conditions["ArnLike"] = {"AWS:SourceArn": p["SourceArn"]}
        if conditions:
            statement["Condition"] = conditions
        function.policy[p["StatementId"]] = statement
        return {"Statement": json.dumps(statement)}

    def _remove_permission(self, call: Call, p: Parameters, caller: Principal) -> Result:
        function = self._function(call, p)
        _check_revision(function, p)
        if function.policy.pop(p["StatementId"], None) is None:
            message = f"Statement {p['StatementId']} is not found in resource policy."
            raise AwsError("ResourceNotFoundException", message, 404, members=_USER)
        return {}

    def _get_policy(self, call: Call, p: Parameters, caller: Principal) -> Result:
        function = self._function(call, p)
        if not function.policy:
            raise AwsError(
                "ResourceNotFoundException", "No policy is associated with the given resource.", 404, members=_USER
            )
        document = {"Version": "2012-10-17", "Id": "default", "Statement": list(function.policy.values())}
        return {"Policy": json.dumps(document), "RevisionId": function.revision}

    # -- settings of asynchronous invocation

    def _put_event_invoke(self, call: Call, p: Parameters, caller: Principal) -> Result:
        function = self._function(call, p)
        if any((p.get("DestinationConfig") or {}).values()):
            raise unsupported(call, "destinations")
        function.event_invoke = {
            **{key: p[key] for key in ("MaximumRetryAttempts", "MaximumEventAgeInSeconds") if key in p},
            "DestinationConfig": {"OnSuccess": {}, "OnFailure": {}},
            "LastModified": dt.datetime.fromtimestamp(self._clock(), dt.UTC),
        }
        return self._shown_event_invoke(function)

    def _with_event_invoke(self, call: Call, p: Parameters) -> Function:
        function = self._function(call, p)
        if function.event_invoke is None:
            message = f"The function {function.arn}:$LATEST doesn't have an EventInvokeConfig"
            raise AwsError("ResourceNotFoundException", message, 404, members=_USER)
        return function

    def _shown_event_invoke(self, function: Function) -> Result:
        return {"FunctionArn": f"{function.arn}:$LATEST", **(function.event_invoke or {})}

    def _get_event_invoke(self, call: Call, p: Parameters, caller: Principal) -> Result:
        return self._shown_event_invoke(self._with_event_invoke(call, p))

    def _delete_event_invoke(self, call: Call, p: Parameters, caller: Principal) -> Result:
        self._with_event_invoke(call, p).event_invoke = None
        return {}

    # -- tags

    def _tag(self, call: Call, p: Parameters, caller: Principal) -> Result:
        self._tagged(p).tags.update(p["Tags"])
        return {}

    def _untag(self, call: Call, p: Parameters, caller: Principal) -> Result:
        function = self._tagged(p)
        for key in p["TagKeys"]:
            function.tags.pop(key, None)
        return {}

    def _list_tags(self, call: Call, p: Parameters, caller: Principal) -> Result:
        return {"Tags": dict(self._tagged(p).tags)}

    def _account_settings(self, call: Call, p: Parameters, caller: Principal) -> Result:
        functions = [function for function in self._functions.values() if function.region == call.region]
        concurrency = self._concurrency()
        return {
            "AccountLimit": {
                "TotalCodeSize": 80_530_636_800,
                "CodeSizeUnzipped": 262_144_000,
                "CodeSizeZipped": 52_428_800,
                "ConcurrentExecutions": concurrency,
                "UnreservedConcurrentExecutions": concurrency,
            },
            "AccountUsage": {
                "TotalCodeSize": sum(function.configuration["CodeSize"] for function in functions),
                "FunctionCount": len(functions),
            },
        }


_USER = {"Type": "User"}


def _invalid(message: str) -> AwsError:
    return AwsError("InvalidParameterValueException", message, members=_USER)


def _not_found(arn: str) -> AwsError:
    return AwsError("ResourceNotFoundException", f"Function not found: {arn}", 404, members=_USER)


def _foreign(name: str) -> AwsError:
    return _invalid(
        f"The embedded lab runs only the function files that it was started with, and {name} of this package is not "
        "one of them: uploaded code would run on this computer. After a change to such a file, restart the lab."
    )


def _refuse_others(call: Call, p: Parameters) -> None:
    """Raises AwsError for members or values that the lab doesn't support."""
    known = _KNOWN.get(call.operation)
    if known is None:
        return
    for name, value in p.items():
        if name not in known or (name in _ONLY and value not in _ONLY[name]):
            raise unsupported(call, f"parameter {name}")
    code = p.get("Code", p) if call.operation in ("CreateFunction", "UpdateFunctionCode") else None
    if isinstance(code, Mapping) and "ZipFile" not in code:
        others = ", ".join(sorted(code)) if code is not p else ""
        raise unsupported(call, f"code other than a ZipFile{f' ({others})' if others else ''}")


def _check_revision(function: Function, p: Parameters) -> None:
    if p.get("RevisionId") not in (None, function.revision):
        message = (
            "The Revision Id provided does not match the latest Revision Id. Call the GetFunction/GetAlias API to "
            "retrieve the latest Revision Id"
        )
        raise AwsError("PreconditionFailedException", message, 412, members=_USER)


def _check_handler(handler: str, files: Mapping[str, bytes]) -> None:
    """Raises AwsError unless the handler is a function of an uploaded module: the lab imports nothing else."""
    module, _, name = handler.rpartition(".")
    if not (module.isidentifier() and name.isidentifier() and f"{module}.py" in files):
        raise _invalid(
            f"Handler {handler} is not supported by the embedded lab: it takes `module.function`, with module.py in "
            "the package."
        )


def _optional(p: Parameters) -> dict[str, Any]:
    """Settings that responses contain only if they aren't empty."""
    shown = {}
    if (p.get("Environment") or {}).get("Variables"):
        shown["Environment"] = {"Variables": dict(p["Environment"]["Variables"])}
    if (p.get("DeadLetterConfig") or {}).get("TargetArn"):
        shown["DeadLetterConfig"] = {"TargetArn": p["DeadLetterConfig"]["TargetArn"]}
    return shown


def _principal(text: str) -> Any:
    if text == "*":
        return "*"
    if re.fullmatch(r"[a-z0-9.-]+\.amazonaws\.com(\.cn)?", text):
        return {"Service": text}
    if re.fullmatch(r"\d{12}", text):
        return {"AWS": f"arn:aws:iam::{text}:root"}
    if text.startswith("arn:"):
        return {"AWS": text}
    raise _invalid("The provided principal was invalid. Please check the principal and try again.")
