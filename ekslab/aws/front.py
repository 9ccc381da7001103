"""The front door of the emulated AWS: a signed HTTP request comes in, the called service's answer goes out.

Between the two, the signature is checked and the caller's policies are asked.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import itertools
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

from ekslab import memory, names
from ekslab.aws import iam_authorization, policy_simulation, signature, wire
from ekslab.aws.account import Account, Administrator
from ekslab.aws.cloudwatch import CloudWatch
from ekslab.aws.eks import Eks, KubernetesUser
from ekslab.aws.iam_authorization import Principal
from ekslab.aws.lambda_functions import Lambda
from ekslab.aws.live_tail import LiveTail
from ekslab.aws.load import Load
from ekslab.aws.logs import Logs
from ekslab.aws.protocols import (
    AwsError,
    Call,
    body_limit,
    error_response,
    json_response,
    outline,
    parse_call,
    scope_of,
    service_of_host,
    too_large,
    unsupported,
    with_parameters,
)
from ekslab.aws.securityhub import SecurityHub
from ekslab.aws.service_quotas import ServiceQuotas
from ekslab.aws.sns import Sns
from ekslab.aws.sqs import Sqs
from ekslab.aws.sts import UNSIGNED, Sts
from ekslab.http import HttpRequest, HttpResponse
from ekslab.identity import Credentials, ServiceAccountIssuer
from ekslab.turns import TooLong, limited

if TYPE_CHECKING:
    from aiohttp import web

logger = logging.getLogger(__name__)

ADMINISTRATOR = "workshop"
EKS_TOKEN_PREFIX = "k8s-aws-v1."
EKS_TOKEN_LIFETIME = 15 * 60  # seconds; what an EKS cluster grants, whatever the presigned URL says
_STORING = ("Put", "Create", "Send", "Publish", "BatchImport", "Invoke", "StartQuery", "Update", "Upload")
_BODY_SECONDS = 60  # in which a client has to have sent its body
_SMALL_BODY = 1024 * 1024  # bytes; of larger ones, two are read at a time


class Aws:
    """One AWS account as the lab sees it. Lives on one event loop.

    `kubernetes_ca` is PEM, `clock` returns seconds since the epoch. `trusted_code` holds the SHA-256 digests
    (hexadecimal) of the files that Lambda functions may consist of. The constructor is cheap: `warm_up`, or the first
    call that needs it, loads the emulation of IAM.
    """

    def __init__(
        self,
        *,
        credentials: Credentials,
        issuer: ServiceAccountIssuer,
        region: str = "us-east-1",
        account_id: str = "111122223333",
        cluster: str = "falco-workshop",
        kubernetes_url: str = "",
        kubernetes_ca: bytes = b"",
        clock: Callable[[], float] = time.time,
        url: str = "",
        trusted_code: Iterable[str] = (),
    ) -> None:
        self.url = url
        """Where SDKs on this computer reach it; functions do."""
        self.region = region
        self.account_id = account_id
        self._cluster = cluster
        self._clock = clock
        self._issuer = issuer
        self._request_numbers = itertools.count(1)
        self._large_bodies = asyncio.Semaphore(2)
        arn = f"arn:aws:iam::{account_id}:user/{ADMINISTRATOR}"
        self.eks = Eks(
            account_id=account_id,
            region=region,
            cluster=cluster,
            endpoint=kubernetes_url,
            certificate_authority=kubernetes_ca,
            issuer=issuer.issuer,
            creator=arn,
            principal_exists=lambda principal: self.account.policies_of(principal) is not None,
            clock=clock,
        )
        user_id = "AIDA" + names.hex_id(16, arn).upper()
        self.account = Account(
            account_id=account_id,
            region=region,
            administrator=Administrator(ADMINISTRATOR, arn, user_id, credentials.access_key_id),
            cluster_roles=self.eks.roles,
        )
        self.load = Load()
        self.service_quotas = ServiceQuotas(account_id=account_id, load=self.load)
        self.sts = Sts(credentials=credentials, issuer=issuer, account=self.account, clock=clock)
        self.sqs = Sqs(account_id=account_id, clock=clock)
        self.sns = Sns(account_id=account_id, clock=clock, sqs=self.sqs)
        self.cloudwatch = CloudWatch(
            account_id=account_id, clock=clock, publish=partial(self.sns.publish_as, "cloudwatch.amazonaws.com")
        )
        self.functions = Lambda(
            account_id=account_id,
            clock=clock,
            account=self.account,
            sts=self.sts,
            call_as=self.call_as,
            url=lambda: self.url,
            metrics=lambda region: self.cloudwatch.region(region).metrics,
            trusted=trusted_code,
            concurrency=lambda: int(self.service_quotas.value("lambda", "L-B99A9384")),
        )
        self.logs = Logs(
            account_id=account_id,
            clock=clock,
            metrics=lambda region: self.cloudwatch.region(region).metrics,
            functions=self.functions,
            load=self.load,
        )
        # Services behind the interface `wire.Service`, by signing name.
        self._services: dict[str, wire.Service] = {
            "monitoring": self.cloudwatch,
            "servicequotas": self.service_quotas,
            "securityhub": SecurityHub(account_id=account_id, clock=clock),
            "sns": self.sns,
            "sqs": self.sqs,
            "lambda": self.functions,
        }

    async def warm_up(self) -> None:
        """Loads the emulation of IAM in a thread, so that the first call that needs IAM doesn't wait for it."""
        if not self.account.loaded:
            await asyncio.to_thread(self.account.load)

    async def handle(self, request: HttpRequest) -> HttpResponse:
        """Answers any AWS call; errors are responses in the protocol of the called service."""
        answer, call, request_id = await self._respond(request)
        if isinstance(answer, LiveTail):
            assert call is not None
            return error_response(unsupported(call, "only over a connection to the lab itself"), "json", request_id)
        return answer

    async def handle_as_node(self, request: HttpRequest) -> HttpResponse:
        """Answers a call of EKS Auth as if it was signed with the nodes' role, which its agent on a node has."""
        request_id = names.uid("aws request", next(self._request_numbers))
        call = Call(request, "eks-auth", "AssumeRoleForPodIdentity", "rest-json", self.region, None)
        try:
            path = f"/clusters/{self._cluster}/assume-role-for-pod-identity"
            if request.method != "POST" or urlsplit(request.url).path != path:
                raise AwsError("ResourceNotFoundException", "No cluster found.", 404)
            call = with_parameters(call)
            await self.warm_up()
            node = self.sts.principal_of_role(self.eks.roles["node"], "i-" + names.hex_id(17, request.peer))
            self._authorize(call, node, [f"arn:aws:eks:{self.region}:{self.account_id}:cluster/{self._cluster}"])
            return json_response(self.eks.pod_identity.assume_role(call, self._issuer, self.sts), request_id)
        except AwsError as error:
            return error_response(_in_protocol(error, call), "rest-json", request_id)

    async def call_as(
        self, caller: Principal, service: str, operation: str, region: str, parameters: dict[str, Any]
    ) -> dict[str, Any]:
        """Calls an operation as a role, for another service; the role's policies must allow it. Raises AwsError."""
        call = Call(HttpRequest("POST", f"{self.url}/"), service, operation, "json", region, None, parameters)
        if service == "logs":
            self._authorize(call, caller, iam_authorization.resources_of(call, self.account_id))
            result = self.logs.handle(call, caller.arn)
            assert isinstance(result, dict)
            return result
        called = self._services[service]
        self._authorize(call, caller, called.resources(call, parameters))
        return await called.handle(call, parameters, caller)

    async def _respond(
        self, request: HttpRequest, content: AsyncIterator[bytes] | None = None
    ) -> tuple[HttpResponse | LiveTail, Call | None, str]:
        """(response, call, request id). `content` is the body if it is still to be read."""
        request_id = names.uid("aws request", next(self._request_numbers))
        try:
            call = replace(outline(request, default_region=self.region), request_id=request_id)
        except AwsError as error:
            return error_response(error, "json", request_id), None, request_id
        try:
            if content is not None:
                call = replace(call, request=replace(request, body=await self._body(request, content)))
            if call.scope is None:  # what needs no signature is known by its form
                call = with_parameters(call)
            caller = self._authenticate(call)
            if call.scope is not None:
                call = with_parameters(call)
            if call.service == "logs":
                self.load.admit(call.operation, call.region)
            if call.operation.startswith(_STORING) and memory.is_full():
                raise AwsError("LimitExceededException", memory.MESSAGE)
            needs_iam = (
                call.operation.startswith(("AssumeRole", "CreateAccessEntry")) or "PodIdentity" in call.operation
            )
            if call.service == "iam" or needs_iam:
                await self.warm_up()
            service = self._services.get(call.service)
            if service is not None and caller is not None:
                p = wire.parameters(call)
                self._authorize(replace(call, parameters=p), caller, service.resources(call, p))
                return wire.response(call, await service.handle(call, p, caller), request_id), call, request_id
            resources = iam_authorization.resources_of(call, self.account_id)
            if call.service == "eks" and (principal := call.path_parameters.get("principalArn")):
                resources = [self.eks.access.resource(principal)]
            self._authorize(call, caller, resources)
            return self._answer(call, caller, request_id), call, request_id
        except AwsError as error:
            return error_response(_in_protocol(error, call), call.protocol, request_id, call.service), call, request_id
        except TooLong:
            logger.warning("%s took too long", call.action)
            message = f"{call.action} asks for too much at once: the embedded lab stopped it, as others were waiting."
            return (
                error_response(AwsError("LimitExceededException", message), call.protocol, request_id),
                call,
                request_id,
            )
        except RecursionError:
            deep = AwsError("SerializationException", "The request is nested too deeply.")
            return error_response(deep, call.protocol, request_id), call, request_id
        except MemoryError:
            logger.exception("%s failed", call.action)
            short = AwsError("ServiceUnavailable", "The embedded lab is short of memory; try again.", 503)
            return error_response(short, call.protocol, request_id), call, request_id
        except Exception:
            logger.exception("%s failed", call.action)
            # Not a 5xx: SDKs would retry it, and get the same answer later.
            failure = AwsError("InternalFailure", f"The embedded lab failed at {call.action}; its log says why.")
            return error_response(failure, call.protocol, request_id), call, request_id

    def _authenticate(self, call: Call) -> Principal | None:
        """The caller; None for a call that needs no signature. Raises AwsError."""
        if call.service == "sts" and call.operation in UNSIGNED:
            return None
        access_key_id = signature.verify(call, self.sts.key, self._clock())
        named = service_of_host(call.request.host)
        if named and call.scope and named[1] and named[1] != call.scope.region:
            message = f"Credential should be scoped to a valid region, not '{call.scope.region}'."
            code = "SignatureDoesNotMatch" if call.protocol in ("query", "rest-xml") else "InvalidSignatureException"
            raise AwsError(code, message, 403)
        return self.sts.principal(access_key_id)

    def _authorize(self, call: Call, caller: Principal | None, resources: list[str]) -> None:
        """Raises AwsError unless the caller's policies allow the call."""
        if caller is None or (call.service == "sts" and call.operation in ("GetCallerIdentity", "AssumeRole")):
            return  # AWS asks for no permission for the first; the second is weighed together with the role's trust
        context: dict[str, str | list[str]] = {
            "aws:PrincipalArn": caller.arn,
            "aws:PrincipalAccount": self.account_id,
            "aws:RequestedRegion": call.region,
            "aws:userid": caller.user_id,
            "aws:SecureTransport": "true",
            **{f"aws:PrincipalTag/{key}": value for key, value in caller.tags.items()},
            **iam_authorization.condition_keys_of(call),
        }
        iam_authorization.authorize(caller, call.action, resources, context)
        tags, tagging = iam_authorization.TAGGED_WHEN_MADE.get(call.action, ("", ""))
        if not call.parameters.get(tags):
            return
        tagged = [resource.removesuffix(":log-stream:") for resource in resources]
        try:
            iam_authorization.authorize(caller, tagging, tagged, context)
        except AwsError as error:
            if call.service != "logs":
                raise
            message = f"User with accountId: {self.account_id} is not authorized to perform CreateLogGroup with Tags"
            raise AwsError("AccessDeniedException", message) from error

    def _answer(self, call: Call, caller: Principal | None, request_id: str) -> HttpResponse | LiveTail:
        if call.service == "logs" and call.protocol == "json" and caller is not None:
            result = self.logs.handle(call, caller.arn)
            return result if isinstance(result, LiveTail) else json_response(result, request_id)
        if call.service == "sts":
            return self.sts.handle(call, caller)
        if call.service == "eks":
            return self.eks.handle(call, caller)
        if call.service == "eks-auth" and call.operation == "AssumeRoleForPodIdentity":
            return json_response(self.eks.pod_identity.assume_role(call, self._issuer, self.sts), request_id)
        if call.service == "iam" and call.operation in policy_simulation.OPERATIONS:
            return policy_simulation.simulate(call, self.account)
        if call.service == "iam":
            return self.account.handle(call)
        raise unsupported(call)

    def eks_user(self, token: str) -> KubernetesUser | None:
        """The Kubernetes user behind a `k8s-aws-v1.` token; None if it is invalid or has no access entry."""
        arn = self.authenticate_eks_token(token)
        return self.eks.access.user(arn) if arn is not None else None

    def authenticate_eks_token(self, token: str) -> str | None:
        """The ARN of the caller who made a `k8s-aws-v1.` token (a presigned GetCallerIdentity); None if invalid."""
        if not token.startswith(EKS_TOKEN_PREFIX):
            return None
        encoded = token.removeprefix(EKS_TOKEN_PREFIX)
        try:
            url = base64.urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)).decode()
        except (binascii.Error, ValueError):
            return None
        parts = urlsplit(url)
        named = service_of_host(parts.hostname or "")
        query = dict(parse_qsl(parts.query))
        # The cluster's authenticator follows such a URL, so it insists on where it leads and on what was signed.
        loopback = parts.hostname in ("127.0.0.1", "localhost")
        if not (loopback or (named and named[0] == "sts")) or query.get("Action") != "GetCallerIdentity":
            return None
        if "x-k8s-aws-id" not in query.get("X-Amz-SignedHeaders", "").split(";"):
            return None
        headers = {"host": parts.netloc, "x-k8s-aws-id": self._cluster}
        try:
            call = parse_call(HttpRequest("GET", url, headers), default_region=self.region)
            if call.service != "sts":
                return None
            key = signature.verify(call, self.sts.key, self._clock(), presigned_lifetime=EKS_TOKEN_LIFETIME)
        except AwsError:
            return None
        return self.sts.principal(key).arn

    async def _body(self, head: HttpRequest, content: AsyncIterator[bytes]) -> bytes:
        """Reads the body of a request; empty for an unknown access key. Raises AwsError if it is too large or late."""
        from aiohttp import web

        scope = scope_of(head)
        if scope is not None and self.sts.key(scope.access_key_id) is None:
            return b""
        limit = body_limit(scope)
        body = bytearray()
        async with contextlib.AsyncExitStack() as stack:
            try:
                async with asyncio.timeout(_BODY_SECONDS):
                    async for part in content:
                        if len(body) <= _SMALL_BODY < len(body) + len(part):
                            await stack.enter_async_context(self._large_bodies)
                        body += part
                        if len(body) > limit:
                            raise too_large(limit)
            except (OSError, web.RequestPayloadError) as error:  # too late, or the client went away
                message = f"The body of the request did not arrive within {_BODY_SECONDS} s."
                raise AwsError("RequestTimeout", message, 408) from error
        return bytes(body)

    def web_app(self) -> web.Application:
        """The aiohttp application: every path and method is an AWS call."""
        from aiohttp import web

        async def serve(request: web.Request) -> web.StreamResponse:
            head = HttpRequest(
                request.method,
                # As it came on the wire: a signature covers the encoded form.
                f"http://{request.host}{request.raw_path}",
                _joined(request.headers.items()),
            )
            answer, _, request_id = await limited(self._respond(head, request.content.iter_any()))
            if self.load.latency:
                await asyncio.sleep(self.load.latency)
            if isinstance(answer, HttpResponse):
                return web.Response(status=answer.status, headers=dict(answer.headers), body=answer.body)
            stream = web.StreamResponse(
                headers={"Content-Type": "application/vnd.amazon.eventstream", "x-amzn-RequestId": request_id}
            )
            await stream.prepare(request)
            sessions.add(answer)
            try:
                async with contextlib.aclosing(answer.frames()) as frames:
                    with contextlib.suppress(ConnectionError):  # the reader went away, which ends a session
                        async for frame in frames:
                            await stream.write(frame)
            finally:
                sessions.discard(answer)
            return stream

        async def end(app: web.Application) -> None:
            for session in tuple(sessions):
                session.close()
            await self.functions.stop()

        async def background(app: web.Application) -> AsyncIterator[None]:
            """Evaluates alarms in the background."""
            task = asyncio.create_task(self.cloudwatch.run())
            yield
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

        sessions: set[LiveTail] = set()
        app = web.Application()
        app.on_shutdown.append(end)
        app.cleanup_ctx.append(background)
        app.router.add_route("*", "/{path:.*}", serve)
        return app


def _joined(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Headers by name; a repeated one has its values in one line, with commas, as a signature covers them."""
    found: dict[str, tuple[str, str]] = {}
    for name, value in headers:
        first, before = found.get(name.lower(), (name, None))
        found[name.lower()] = (first, value if before is None else f"{before},{value}")
    return dict(found.values())


def _in_protocol(error: AwsError, call: Call) -> AwsError:
    """An access error with the code and the status of the call's protocol."""
    if error.code == "AccessDeniedException" and call.protocol in ("query", "ec2", "rest-xml"):
        return AwsError("UnauthorizedOperation" if call.protocol == "ec2" else "AccessDenied", error.message, 403)
    if error.code == "AccessDeniedException" and call.protocol == "rest-json":
        return AwsError(error.code, error.message, 403)
    return error
