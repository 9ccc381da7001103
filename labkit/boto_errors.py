"""boto3's errors as errors of labkit: what happened and why in one line, and what to do in another."""

from __future__ import annotations

import datetime as dt
import email.utils
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any

from labkit.calls import near, short_repr, shortened
from labkit.errors import Hint, LabError, TargetError, UnreachableError

if TYPE_CHECKING:
    from botocore.exceptions import ClientError

UNREACHABLE = "Is the embedded lab running (`labkit status`)? On EKS: check network, region and credentials."
LAB_UP = (
    "The embedded lab has ended: start it again with `labkit up` (clients keep working, what was in it is gone), "
    "then run this again."
)
_CREDENTIALS = "Set AWS_PROFILE, or run `aws configure` or `aws sso login`; `aws sts get-caller-identity` should work."
_FILE = "Correct ~/.aws/config or ~/.aws/credentials (or the file that AWS_CONFIG_FILE names)."
_MAY_NOT = "This identity may not do that: ask for the permission that the message names."
_SECRET = "The secret key is not the one of this access key, or has a blank or a line break in it. "
_ENDED = (
    "The session has ended: get new credentials (`aws sso login`, or new AWS_* variables), then `Lab.connect()` again."
)

_LAB = re.compile(r"http://(?:127\.0\.0\.1|localhost):\d+/")

# Those of them that say that the credentials are good no more, or never were.
_OF_CREDENTIALS = (
    *("InvalidClientTokenId", "UnrecognizedClient", "InvalidAccessKeyId", "ExpiredToken"),
    *("SignatureDoesNotMatch", "InvalidSignature", "IncompleteSignature"),
)
# AWS's code, without `Exception` at its end -> what to do.
_REFUSED: Mapping[str, str] = {
    "InvalidClientTokenId": f"{_CREDENTIALS} Some regions have to be switched on for an account first.",
    "UnrecognizedClient": f"{_CREDENTIALS} Some regions have to be switched on for an account first.",
    "InvalidAccessKeyId": _CREDENTIALS,
    "OptInRequired": "Switch the region on for this account (`aws account enable-region`), or use another one.",
    "SignatureDoesNotMatch": _SECRET + _CREDENTIALS,
    "InvalidSignature": _SECRET + _CREDENTIALS,
    "IncompleteSignature": "The access key id has a blank or a line break in it. " + _CREDENTIALS,
    "ExpiredToken": _ENDED,
    "AccessDenied": _MAY_NOT,
    "UnauthorizedOperation": _MAY_NOT,
    "Throttling": "AWS asks to slow down: wait a minute and run this again.",
    "TooManyRequests": "AWS asks to slow down: wait a minute and run this again.",
    "ServiceUnavailable": "Wait a minute and run this again; `https://health.aws.amazon.com` lists outages.",
}
_LATE = ("RequestExpired", "RequestTimeTooSkewed", "RequestInTheFuture")
_LATE_WORDS = re.compile(r"Signature (expired|not yet current)|is now (earlier|later) than|clock", re.IGNORECASE)
_PASSWORD = re.compile(r"//[^/\s\"']*@")
_HEADER = re.compile(r"(Invalid header value).*")
_BY_POLICY = re.compile(r"with an explicit deny in an? (service control|resource control) policy")

_profile = ""


def use_profile(profile: str) -> None:
    """Notes the profile of the AWS configuration that clients use, for what to type."""
    global _profile
    _profile = profile


def code_of(error: ClientError) -> str:
    """AWS's code, without the `Exception` that some services append."""
    return error.response["Error"]["Code"].removesuffix("Exception")


def refusal(error: BaseException) -> tuple[str, str]:
    """AWS's code and message, if `error` is or was caused by its refusal of a call (a `ClientError`); else empty."""
    problem = getattr(error, "response", None) or getattr(error.__cause__, "response", None) or {}
    known = problem.get("Error", {}) if isinstance(problem, dict) else {}
    return str(known.get("Code", "")), str(known.get("Message", ""))


@contextmanager
def translated_errors(hint: Hint = UNREACHABLE) -> Iterator[None]:
    """Turns boto3's errors into a `TargetError` that says what to do. `hint` is for a service that doesn't answer."""
    try:
        yield
    except LabError:
        raise
    except Exception as error:
        if "botocore" not in sys.modules or (found := _translated(error, hint)) is None:
            raise
        raise found from error


def _translated(error: Exception, hint: Hint) -> TargetError | None:
    from botocore import exceptions as aws

    if isinstance(error, aws.ClientError):
        return _of_refusal(error)
    for kinds, made in _table():
        if isinstance(error, kinds):
            return made(error, hint)
    if isinstance(error, aws.BotoCoreError):
        return TargetError(
            f"boto3 can't do that: {_line(error)}.", hint="Check the settings and the AWS configuration."
        )
    if _raised_in_botocore(error.__traceback__):
        return _of_configuration(error)
    return None


def _table() -> Iterator[tuple[tuple[type[BaseException], ...], Callable[[Any, Hint], TargetError]]]:
    """Kinds of errors, the first that fits, and what makes labkit's."""
    from botocore import exceptions as aws

    yield (aws.SSOError, aws.TokenRetrievalError), lambda error, _: _of_sso(error)
    yield (aws.ProfileNotFound,), lambda error, _: _of_profile(error)
    yield (aws.ConfigParseError, aws.ConfigNotFound), lambda error, _: TargetError(f"{_line(error)}.", hint=_FILE)
    yield (
        (aws.InvalidConfigError,),
        lambda error, _: TargetError(f"The AWS configuration can't be used: {_line(error)}.", hint=_FILE),
    )
    yield (aws.CredentialRetrievalError,), lambda error, _: _of_source(error)
    yield (
        (aws.NoCredentialsError, aws.PartialCredentialsError),
        lambda error, _: TargetError(
            f"There are no usable AWS credentials: {_line(error)}.", hint=_for_attendee() or _CREDENTIALS
        ),
    )
    yield (
        (aws.NoRegionError, aws.InvalidRegionError),
        lambda error, _: TargetError(str(error), hint="Set LABKIT_REGION or AWS_REGION, e.g. us-east-1."),
    )
    yield (aws.UnknownServiceError,), lambda error, _: _of_service(error)
    yield (aws.ProxyConnectionError, aws.InvalidProxiesConfigError), lambda error, _: _of_proxy(error)
    yield (aws.SSLError,), lambda error, _: _of_certificate(error)
    yield (aws.HTTPClientError, aws.ConnectionError), _of_silence


def _line(error: BaseException) -> str:
    said = _PASSWORD.sub(r"//***@", " ".join(str(error).split()))
    return shortened(_HEADER.sub(r"\1 (it may be a secret, so it isn't shown)", said), 400).rstrip(". ")


def _of_refusal(error: ClientError) -> TargetError:
    problem = error.response["Error"]
    # STS and others append the whole canonical request to what is wrong.
    message = " ".join(problem.get("Message", "").strip().partition("\n\n")[0].split())
    code = code_of(error)
    said = f"AWS refused {error.operation_name} ({problem['Code']}): {message}"
    if error.operation_name == "AssumeRole" and code == "AccessDenied":
        return TargetError(
            f"The role can't be assumed: {message}",
            hint="Is it LABKIT_ROLE's or the profile's, and does it exist? Its trust policy has to name this "
            "identity, or the account and this identity's policies allow sts:AssumeRole on it. If it needs MFA or an "
            "external id, put it into a profile.",
        )
    if code in _LATE or (code in ("SignatureDoesNotMatch", "InvalidSignature") and _LATE_WORDS.search(message)):
        return TargetError(said, hint=f"Set this computer's clock{_how_wrong(error)}, then run this again.")
    if found := _BY_POLICY.search(message):
        return TargetError(said, hint=f"A {found[1]} policy of the organization forbids it: ask who administers that.")
    if code in _OF_CREDENTIALS:
        return TargetError(said, hint=_for_attendee() or _REFUSED[code])
    return TargetError(said, hint=_REFUSED.get(code, "Correct that and run this again."))


def env_again(attendee: str) -> str:
    """What an attendee of a class does whose credentials are good no more."""
    return f"ask the instructor for `labkit class env {attendee}` again, and run what it prints in this shell."


def _for_attendee() -> str:
    """The same for the credentials that a class's instructor has handed out; empty if it's the person's own."""
    attendee = os.environ.get("LABKIT_ATTENDEE", "")
    if not attendee or os.environ.get("LABKIT_ROLE"):
        return ""
    return (
        "These credentials of the class are good no more: they have ended, or the class was set up again. "
        f"Please {env_again(attendee)}"
    )


def _how_wrong(error: ClientError) -> str:
    """How far this computer's clock is from AWS's, by the date of its answer."""
    date = error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date")
    if not date:
        return ""
    off = dt.datetime.now(dt.UTC) - email.utils.parsedate_to_datetime(date)
    minutes = round(off.total_seconds() / 60)
    return f", which is {abs(minutes)} min {'fast' if minutes > 0 else 'slow'}" if minutes else ""


def _of_sso(error: Exception) -> TargetError:
    profile = _profile or os.environ.get("AWS_PROFILE", "")
    which = f" of profile {short_repr(profile)}" if profile else ""
    return TargetError(
        f"The SSO session{which} has ended, or was never begun: {_line(error)}.",
        hint=f"`aws sso login{f' --profile {profile}' if profile else ''}`, then run this again.",
    )


def _of_profile(error: Any) -> TargetError:
    from botocore.session import Session

    name = str(error.kwargs.get("profile", ""))
    there = Session(session_vars={"profile": (None, None, None, None)}).available_profiles
    known = f"There are: {', '.join(sorted(there)[:20])}." if there else "There are none: `aws configure` makes one."
    return TargetError(
        f"There is no profile {short_repr(name)} in the AWS configuration.",
        hint=f"{near(name, there)}Set LABKIT_PROFILE or AWS_PROFILE to one that is there. {known}",
    )


def _of_source(error: Any) -> TargetError:
    provider, said = str(error.kwargs.get("provider", "")), _line(error)
    if provider == "custom-process":
        said = re.sub(r":$", ": it failed and said nothing", said)
        hint = "Run the command of `credential_process` in ~/.aws/config yourself: it has to print credentials."
    else:
        hint = _CREDENTIALS
    return TargetError(f"There are no usable AWS credentials: {said}.", hint=hint)


def _of_service(error: Any) -> TargetError:
    name, known = error.kwargs["service_name"], str(error.kwargs["known_service_names"])
    hint = f"{near(name, known.split(', '))}Use a service's name in boto3, such as logs or securityhub."
    return TargetError(f"AWS has no service {short_repr(name)}.", hint=hint)


def _of_proxy(error: Exception) -> TargetError:
    return UnreachableError(
        f"The proxy to AWS does not answer: {_line(error)}.",
        service="AWS",
        hint="Correct HTTPS_PROXY (and HTTP_PROXY), or unset it; NO_PROXY lists hosts that need none.",
    )


def _of_certificate(error: Exception) -> TargetError:
    bundle = os.environ.get("AWS_CA_BUNDLE") or os.environ.get("REQUESTS_CA_BUNDLE", "")
    if bundle and not os.path.exists(bundle):
        said = f"The file of certificates {bundle} isn't there, so that AWS can't be trusted."
        return UnreachableError(said, service="AWS", hint="Correct AWS_CA_BUNDLE (or REQUESTS_CA_BUNDLE), or unset it.")
    return UnreachableError(
        f"The certificate of AWS is not trusted: {_line(error)}.",
        service="AWS",
        hint="If a proxy of your network opens TLS, set AWS_CA_BUNDLE to the file with its certificate; check "
        "AWS_ENDPOINT_URL and this computer's clock.",
    )


def _of_silence(error: Exception, hint: Hint) -> TargetError:
    said = _line(error)
    if _HEADER.search(said):
        return TargetError(
            "There are no usable AWS credentials: one has a line break, or another character that can't be sent.",
            hint=_CREDENTIALS,
        )
    if "Failed to parse" in said and any(os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy")):
        return _of_proxy(error)
    region = re.search(r"https://[\w.-]+?\.([a-z]{2,4}(?:-[a-z]+)+-\d+)\.(?:amazonaws|api\.aws)", said)
    if region and (known := _regions()) and region[1] not in known:
        return TargetError(
            f"AWS has no region {region[1]!r}.",
            hint=f"{near(region[1], known)}Set LABKIT_REGION (or AWS_REGION) to the cluster's.",
        )
    if hint is UNREACHABLE and _LAB.search(said):
        hint = LAB_UP
    return UnreachableError(f"AWS does not answer: {said}.", service="AWS", hint=hint)


def _regions() -> set[str]:
    from botocore.session import Session

    session = Session(session_vars={"profile": (None, None, None, None)})
    return {
        region
        for partition in session.get_available_partitions()
        for region in session.get_available_regions("logs", partition)
    }


def _raised_in_botocore(traceback: TracebackType | None) -> bool:
    """Whether an error that isn't botocore's was raised below it: a file that isn't there, a value that is none."""
    modules = []
    while traceback is not None:
        modules.append(str(traceback.tb_frame.f_globals.get("__name__", "")))
        traceback = traceback.tb_next
    last = next((name for name in reversed(modules) if name.startswith(("botocore", "boto3", "labkit"))), "")
    return last.startswith(("botocore", "boto3"))


def _of_configuration(error: Exception) -> TargetError:
    file = getattr(error, "filename", None)
    said = f"{file}: {getattr(error, 'strerror', '') or error}" if file else _line(error)
    named = {name: value for name, value in os.environ.items() if name.startswith("AWS_") and value}
    names = sorted(name for name, value in named.items() if re.search(rf"(?<!\w){re.escape(value)}(?!\w)", said))
    return TargetError(
        f"boto3 can't use the AWS configuration: {shortened(said, 300)}.",
        hint=f"Correct {' or '.join(names)}."
        if names
        else "Correct ~/.aws/config, or the AWS_* variable of that value.",
    )
