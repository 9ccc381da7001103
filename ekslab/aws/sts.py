"""STS: GetCallerIdentity, AssumeRole, AssumeRoleWithWebIdentity, and the access keys of the lab."""

from __future__ import annotations

import datetime as dt
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from xml.sax.saxutils import escape

import jwt

from ekslab import names
from ekslab.aws.account import Account
from ekslab.aws.iam_authorization import Document, Principal, evaluate, parse_document, trusts
from ekslab.aws.protocols import AwsError, Call, unsupported
from ekslab.aws.signature import SigningKey
from ekslab.http import HttpResponse
from ekslab.identity import Credentials, ServiceAccountIssuer

UNSIGNED = frozenset({"AssumeRoleWithWebIdentity", "AssumeRoleWithSAML"})
_NAMESPACE = "https://sts.amazonaws.com/doc/2011-06-15/"


@dataclass(frozen=True)
class Session:
    """Issued session credentials. `expires` is in seconds since the epoch."""

    access_key_id: str
    secret: str
    token: str
    expires: float
    role_arn: str
    role_id: str
    name: str
    account_id: str
    policy: Document | None = None
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def arn(self) -> str:
        role_name = self.role_arn.rpartition("/")[2]
        return f"arn:aws:sts::{self.account_id}:assumed-role/{role_name}/{self.name}"


class Sts:
    """The service. It knows all access keys: the administrator's, and those of the sessions that it issued."""

    def __init__(
        self,
        *,
        credentials: Credentials,
        issuer: ServiceAccountIssuer,
        account: Account,
        clock: Callable[[], float],
    ) -> None:
        self._credentials = credentials
        self._issuer = issuer
        self._account = account
        self._clock = clock
        self._sessions: dict[str, Session] = {}
        self._issued = 0
        self.admin = Principal(account.administrator.arn, account.administrator.user_id)

    def key(self, access_key_id: str) -> SigningKey | None:
        """The secret behind an access key id, or None if there is no such key."""
        if access_key_id == self._credentials.access_key_id:
            return SigningKey(self._credentials.secret_access_key)
        session = self._sessions.get(access_key_id)
        return SigningKey(session.secret, session.token, session.expires) if session else None

    def principal(self, access_key_id: str) -> Principal:
        """The principal of an access key, with its current policies."""
        session = self._sessions.get(access_key_id)
        if session is None:
            return self.admin
        return self._principal(session)

    def _principal(self, session: Session) -> Principal:
        role = self._account.role(session.role_arn)
        # Credentials of a deleted role are implicitly denied everything, as on AWS.
        policies = self._account.role_policies(role) if role is not None else []
        boundaries: list[tuple[str, list[Document]]] = []
        if role is not None and role.permissions_boundary_arn:
            document = self._account.policy(role.permissions_boundary_arn)
            boundaries.append(("permissions boundary", [document] if document else []))
        if session.policy is not None:
            boundaries.append(("session policy", [session.policy]))
        tags = {**_tags_of(role), **session.tags}
        return Principal(session.arn, f"{session.role_id}:{session.name}", policies, tuple(boundaries), tags)

    # -- for services that assume a role

    def trusts_service(self, service: str, role_arn: str) -> bool:
        """Whether the role exists and trusts a service (`lambda.amazonaws.com`)."""
        role = self._account.role(role_arn)
        trust = _trust_policy(role.assume_role_policy_document) if role is not None else {}
        return trusts(trust, "sts:AssumeRole", {"Service": [service]}, {})

    def credentials_for_service(self, service: str, role_arn: str, name: str) -> dict[str, str] | None:
        """Credentials for an hour as environment variables of SDKs; None if the role doesn't trust the service."""
        if not self.trusts_service(service, role_arn):
            return None
        session = self._issue(self._account.role(role_arn), role_arn, name, 3600)
        return {
            "AWS_ACCESS_KEY_ID": session.access_key_id,
            "AWS_SECRET_ACCESS_KEY": session.secret,
            "AWS_SESSION_TOKEN": session.token,
        }

    def session_for_service(
        self, service: str, role_arn: str, name: str, *, seconds: int, tags: Mapping[str, str], source_arn: str
    ) -> Session | None:
        """A session that a service asks for on behalf of `source_arn`; None if the role doesn't trust it with that.

        A session may last longer than the role's own limit: services renew theirs.
        """
        role = self._account.role(role_arn)
        trust = _trust_policy(role.assume_role_policy_document) if role is not None else {}
        context = {
            "aws:SourceArn": source_arn,
            "aws:SourceAccount": self._account.account_id,
            **_tag_context(tags),
        }
        actions = ("sts:AssumeRole", "sts:TagSession") if tags else ("sts:AssumeRole",)
        if not all(trusts(trust, action, {"Service": [service]}, context) for action in actions):
            return None
        return self._issue(role, role_arn, name, seconds, tags=tags, longest=seconds)

    def principal_of_role(self, role_arn: str, name: str) -> Principal:
        """A session of the role, with its current policies."""
        role = self._account.role(role_arn)
        role_id = str(getattr(role, "id", "AROA"))
        return self._principal(Session("", "", "", 0.0, role_arn, role_id, name, self._account.account_id))

    def handle(self, call: Call, caller: Principal | None) -> HttpResponse:
        """Answers a call; `caller` is None for an unsigned one. Raises AwsError."""
        match call.operation:
            case "GetCallerIdentity":
                assert caller is not None
                return _result(call, Arn=caller.arn, UserId=caller.user_id, Account=self._account.account_id)
            case "AssumeRoleWithWebIdentity":
                return self._assume_role_with_web_identity(call)
            case "AssumeRole":
                assert caller is not None
                return self._assume_role(call, caller)
        raise unsupported(call)

    def _assume_role_with_web_identity(self, call: Call) -> HttpResponse:
        role_arn, name, seconds = self._session_parameters(call)
        token = call.parameters.get("WebIdentityToken", "")
        try:
            claimed = jwt.decode(token, options={"verify_signature": False})
        except jwt.InvalidTokenError as error:
            message = "The ID Token provided is not a valid JWT. (You may see this error if you sent an Access Token)"
            raise AwsError("InvalidIdentityToken", message) from error
        issuer = str(claimed.get("iss", ""))
        provider = self._account.oidc_provider(issuer)
        if provider is None:
            message = f"No OpenIDConnect provider found in your account for {issuer}"
            raise AwsError("InvalidIdentityToken", message)
        provider_arn, client_ids = provider
        try:
            claims = self._issuer.verify(token)
        except jwt.ExpiredSignatureError as error:
            now, expiry = int(self._clock()), claimed.get("exp")
            message = f"Token expired: current date/time {now} must be before the expiration date/time {expiry}"
            raise AwsError("ExpiredTokenException", message) from error
        except jwt.InvalidTokenError as error:
            message = "Couldn't retrieve verification key from your identity provider, please reference "
            message += "AssumeRoleWithWebIdentity documentation for requirements"
            raise AwsError("InvalidIdentityToken", message) from error
        audiences = claims.get("aud", [])
        audiences = [audiences] if isinstance(audiences, str) else list(audiences)
        accepted = [audience for audience in audiences if audience in client_ids]
        if not accepted:
            raise AwsError("InvalidIdentityToken", "Incorrect token audience")
        role = self._account.role(role_arn)
        prefix = issuer.removeprefix("https://")
        context = {
            f"{prefix}:aud": accepted[0],
            f"{prefix}:sub": str(claims.get("sub", "")),
            "aws:FederatedProvider": provider_arn,
        }
        federated = {"Federated": [provider_arn]}
        if role is None or not trusts(_trust_policy(role.assume_role_policy_document), call.action, federated, context):
            raise AwsError("AccessDenied", "Not authorized to perform sts:AssumeRoleWithWebIdentity", 403)
        session = self._issue(role, role_arn, name, seconds, _session_policy(call))
        return _result(
            call,
            **_session_result(session),
            SubjectFromWebIdentityToken=str(claims.get("sub", "")),
            Audience=accepted[0],
            Provider=provider_arn,
        )

    def _assume_role(self, call: Call, caller: Principal) -> HttpResponse:
        role_arn, name, seconds = self._session_parameters(call)
        tags = _session_tags(call)
        denied = AwsError(
            "AccessDenied",
            f"User: {caller.arn} is not authorized to perform: sts:AssumeRole on resource: {role_arn}",
            403,
        )
        role = self._account.role(role_arn)
        if role is None:
            raise denied
        trust = _trust_policy(role.assume_role_policy_document)
        context: dict[str, str | list[str]] = {
            "aws:PrincipalArn": caller.arn,
            "aws:PrincipalAccount": self._account.account_id,
        }
        context |= _tag_context(tags)
        if "ExternalId" in call.parameters:
            context["sts:ExternalId"] = call.parameters["ExternalId"]
        itself, its_role = {"AWS": [caller.arn]}, {"AWS": self._role_of(caller)}
        account = {"AWS": [f"arn:aws:iam::{self._account.account_id}:root", self._account.account_id]}
        anyhow = {"AWS": [*itself["AWS"], *its_role["AWS"], *account["AWS"]]}
        # A trust policy that names the caller suffices; if it names the account, the caller's must allow it, too. A
        # permissions boundary and a session policy limit a role's session, except where it is named itself.
        for action in ("sts:AssumeRole", *(("sts:TagSession",) if tags else ())):
            trusted = partial(trusts, trust, action, context=context, deniable=anyhow)
            verdict = "allowed" if caller.policies is None else evaluate(caller.policies, action, role_arn, context)
            limits = [evaluate(policies, action, role_arn, context) for _, policies in caller.boundaries]
            within = all(limit == "allowed" for limit in limits)
            if "explicitly denied" in (verdict, *limits) or not (
                trusted(itself)
                or (within and trusted(its_role))
                or (within and verdict == "allowed" and trusted(account))
            ):
                denied.message = denied.message.replace("sts:AssumeRole", action)
                raise denied
        session = self._issue(role, role_arn, name, seconds, _session_policy(call), tags=tags)
        return _result(call, **_session_result(session))

    def _role_of(self, caller: Principal) -> list[str]:
        return [session.role_arn for session in self._sessions.values() if session.arn == caller.arn][:1]

    def _session_parameters(self, call: Call) -> tuple[str, str, int]:
        p = call.parameters
        problems = []
        for key, low, high in (("roleArn", 20, 2048), ("roleSessionName", 2, 64)):
            value = p.get(key[0].upper() + key[1:])
            if value is None:
                problems.append(f"Value null at '{key}' failed to satisfy constraint: Member must not be null")
            elif len(value) < low:
                problems.append(
                    f"Value '{value}' at '{key}' failed to satisfy constraint: "
                    f"Member must have length greater than or equal to {low}"
                )
            elif len(value) > high:
                problems.append(
                    f"Value '{value}' at '{key}' failed to satisfy constraint: "
                    f"Member must have length less than or equal to {high}"
                )
        name = p.get("RoleSessionName", "")
        if name and not re.fullmatch(r"[\w+=,.@-]*", name, re.ASCII):
            problems.append(
                f"Value '{name}' at 'roleSessionName' failed to satisfy constraint: "
                "Member must satisfy regular expression pattern: [\\w+=,.@-]*"
            )
        try:
            seconds = int(p.get("DurationSeconds", "3600"))
        except ValueError:
            raise AwsError("MalformedInput", "DurationSeconds must be a number") from None
        if not 900 <= seconds <= 43200:
            bound = "greater than or equal to 900" if seconds < 900 else "less than or equal to 43200"
            problems.append(
                f"Value '{seconds}' at 'durationSeconds' failed to satisfy constraint: Member must have value {bound}"
            )
        if problems:
            count = f"{len(problems)} validation error{'s' if len(problems) > 1 else ''} detected: "
            raise AwsError("ValidationError", count + "; ".join(problems))
        if any(key.startswith(("PolicyArns.", "TransitiveTagKeys.")) for key in p):
            raise unsupported(call, "transitive session tags and managed session policies")
        return p["RoleArn"], name, seconds

    def _issue(
        self,
        role: object,
        role_arn: str,
        name: str,
        seconds: int,
        policy: Document | None = None,
        *,
        tags: Mapping[str, str] | None = None,
        longest: int = 0,
    ) -> Session:
        longest = longest or int(getattr(role, "max_session_duration", None) or 3600)
        if seconds > longest:
            message = "The requested DurationSeconds exceeds the MaxSessionDuration set for this role."
            raise AwsError("ValidationError", message)
        self._issued += 1
        now = self._clock()
        for key_id in [key for key, session in self._sessions.items() if session.expires < now - 3600]:
            del self._sessions[key_id]
        session = Session(
            access_key_id="ASIA" + names.hex_id(16, role_arn, name, self._issued).upper(),
            secret=secrets.token_urlsafe(30),
            token=secrets.token_urlsafe(180),
            expires=now + seconds,
            role_arn=role_arn,
            role_id=str(getattr(role, "id", "AROA")),
            name=name,
            account_id=self._account.account_id,
            policy=policy,
            tags=dict(tags or {}),
        )
        self._sessions[session.access_key_id] = session
        return session


def _trust_policy(text: object) -> Document:
    return parse_document(text) if isinstance(text, str) else {}


def _tags_of(role: object) -> dict[str, str]:
    """A role's own tags, which moto has as a list until the first is added later, and then as a dictionary."""
    known = getattr(role, "tags", None) or []
    return {tag["Key"]: tag["Value"] for tag in (known.values() if isinstance(known, dict) else known)}


def _session_tags(call: Call) -> dict[str, str]:
    p = call.parameters
    tags: dict[str, str] = {}
    for number in range(1, 51):
        if (key := p.get(f"Tags.member.{number}.Key")) is None:
            break
        if key.lower() in {known.lower() for known in tags}:
            raise AwsError(
                "InvalidParameterValue", "Duplicate tag keys found. Please note that Tag keys are case insensitive."
            )
        tags[key] = p.get(f"Tags.member.{number}.Value", "")
        # A policy may have the value as a variable: with an asterisk it would match more than it names.
        for member, text, most, least in (("key", key, 128, 1), ("value", tags[key], 256, 0)):
            if not least <= len(text) <= most or not re.fullmatch(r"[\w\s.:/=+\-@]*", text):
                raise AwsError(
                    "ValidationError",
                    f"1 validation error detected: Value '{text}' at 'tags.{number}.member.{member}' failed to satisfy "
                    rf"constraint: Member must satisfy regular expression pattern: [\p{{L}}\p{{Z}}\p{{N}}_.:/=+\-@]"
                    f"{'+' if least else '*'}",
                )
    return tags


def _tag_context(tags: Mapping[str, str]) -> dict[str, str | list[str]]:
    """The condition keys of session tags in a request."""
    return {
        **{f"aws:RequestTag/{key}": value for key, value in tags.items()},
        **({"aws:TagKeys": list(tags)} if tags else {}),
    }


def _session_policy(call: Call) -> Document | None:
    if "Policy" not in call.parameters:
        return None
    try:
        return parse_document(call.parameters["Policy"])
    except ValueError as error:
        raise AwsError("MalformedPolicyDocument", f"This policy contains invalid Json: {error}") from error


def _session_result(session: Session) -> dict[str, str | dict[str, str]]:
    expiration = dt.datetime.fromtimestamp(int(session.expires), dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "Credentials": {
            "AccessKeyId": session.access_key_id,
            "SecretAccessKey": session.secret,
            "SessionToken": session.token,
            "Expiration": expiration,
        },
        "AssumedRoleUser": {"AssumedRoleId": f"{session.role_id}:{session.name}", "Arn": session.arn},
    }


def _result(call: Call, **members: str | dict[str, str]) -> HttpResponse:
    def xml(value: str | dict[str, str]) -> str:
        if isinstance(value, dict):
            return "".join(f"<{key}>{escape(item)}</{key}>" for key, item in value.items())
        return escape(value)

    request_id = names.uid("sts", call.operation, call.request.body)
    inner = "".join(f"<{key}>{xml(value)}</{key}>" for key, value in members.items())
    body = (
        f'<{call.operation}Response xmlns="{_NAMESPACE}"><{call.operation}Result>{inner}</{call.operation}Result>'
        f"<ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata></{call.operation}Response>"
    )
    return HttpResponse(200, {"Content-Type": "text/xml", "x-amzn-RequestId": request_id}, body.encode())
