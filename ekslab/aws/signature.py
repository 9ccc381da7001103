"""Verifies Signature Version 4, in headers and presigned URLs."""

from __future__ import annotations

import calendar
import hashlib
import hmac
import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from ekslab.aws.protocols import AwsError, Call, Protocol
from ekslab.http import HttpRequest

UNSIGNED_PAYLOAD = "UNSIGNED-PAYLOAD"
CLOCK_SKEW = 15 * 60  # seconds that a client's clock may differ, as on AWS
_MISMATCH = (
    "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key "
    "and signing method. Consult the service documentation for details."
)


@dataclass(frozen=True)
class SigningKey:
    """The secret behind an access key id. `expires` is in seconds since the epoch, None for long-lived keys."""

    secret: str
    session_token: str | None = None
    expires: float | None = None


Keys = Callable[[str], SigningKey | None]


def _error(kind: str, protocol: Protocol, message: str) -> AwsError:
    """An error with the code and the status that services of this protocol use."""
    query, other = {
        "mismatch": ("SignatureDoesNotMatch", "InvalidSignatureException"),
        "unknown": ("InvalidClientTokenId", "UnrecognizedClientException"),
        "expired": ("ExpiredToken", "ExpiredTokenException"),
        "missing": ("MissingAuthenticationToken", "MissingAuthenticationTokenException"),
        "incomplete": ("IncompleteSignature", "IncompleteSignatureException"),
    }[kind]
    if protocol == "rest-xml" and kind == "unknown":
        query = "InvalidAccessKeyId"
    if protocol == "ec2":
        return AwsError("AuthFailure", "AWS was not able to validate the provided access credentials", 401)
    if protocol in ("query", "rest-xml"):
        return AwsError(query, message, 403)
    return AwsError(other, message, 403 if protocol == "rest-json" else 400)


def verify(call: Call, keys: Keys, now: float, *, presigned_lifetime: int | None = None) -> str:
    """Checks the call's signature; returns the access key id that signed it.

    `presigned_lifetime` (seconds) replaces the X-Amz-Expires of a presigned URL.

    Raises AwsError, named as the call's protocol names it: a missing or incomplete signature, an unknown or expired
    key, a signature made with another secret, a body that isn't the one signed, a signature too old.
    """
    scope = call.scope
    if scope is None:
        if call.request.header("authorization"):
            raise _error("incomplete", call.protocol, "Authorization header requires 'Credential' parameter.")
        raise _error("missing", call.protocol, "Request is missing Authentication Token")
    key = keys(scope.access_key_id)
    if key is None:
        raise _error("unknown", call.protocol, "The security token included in the request is invalid.")
    if "X-Amz-Signature=" in urlsplit(call.request.url).query:
        _verify_presigned(call, key, now, presigned_lifetime)
    else:
        _verify_header(call, key, now)
    if key.expires is not None and now >= key.expires:
        raise _error("expired", call.protocol, "The security token included in the request is expired")
    return scope.access_key_id


def _verify_header(call: Call, key: SigningKey, now: float) -> None:
    request = call.request
    algorithm, _, rest = request.header("authorization").partition(" ")
    fields = dict(part.strip().partition("=")[::2] for part in rest.split(","))
    if algorithm != "AWS4-HMAC-SHA256" or not fields.get("SignedHeaders") or not fields.get("Signature"):
        raise _error("incomplete", call.protocol, "Authorization header requires 'SignedHeaders' and 'Signature'.")
    timestamp = request.header("x-amz-date")
    _check_clock(call, timestamp, now, CLOCK_SKEW)
    if (key.session_token or "") != request.header("x-amz-security-token"):
        raise _error("unknown", call.protocol, "The security token included in the request is invalid.")
    payload_hash = request.header("x-amz-content-sha256")
    if payload_hash and payload_hash != UNSIGNED_PAYLOAD and payload_hash != hashlib.sha256(request.body).hexdigest():
        raise _error("mismatch", call.protocol, _MISMATCH)
    _compare(call, key, timestamp, fields["SignedHeaders"].split(";"), request.url, fields["Signature"])


def _verify_presigned(call: Call, key: SigningKey, now: float, fixed_lifetime: int | None) -> None:
    parts = urlsplit(call.request.url)
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    timestamp = query.get("X-Amz-Date", "")
    try:
        lifetime = int(query.get("X-Amz-Expires", "3600"))
    except ValueError:
        raise _error("incomplete", call.protocol, "X-Amz-Expires must be a number.") from None
    _check_clock(call, timestamp, now, fixed_lifetime or lifetime)
    if (key.session_token or "") != query.get("X-Amz-Security-Token", ""):
        raise _error("unknown", call.protocol, "The security token included in the request is invalid.")
    unsigned = "&".join(pair for pair in parts.query.split("&") if not pair.startswith("X-Amz-Signature="))
    url = urlunsplit((parts.scheme, parts.netloc, parts.path, unsigned, ""))
    _compare(call, key, timestamp, query.get("X-Amz-SignedHeaders", "").split(";"), url, query["X-Amz-Signature"])


def _check_clock(call: Call, timestamp: str, now: float, lifetime: int) -> None:
    try:
        signed_at = calendar.timegm(time.strptime(timestamp, "%Y%m%dT%H%M%SZ"))
    except ValueError:
        message = "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header."
        raise _error("incomplete", call.protocol, message) from None
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
    if now > signed_at + lifetime:
        raise _error("mismatch", call.protocol, f"Signature expired: {timestamp} is now earlier than {stamp}")
    if signed_at > now + CLOCK_SKEW:
        raise _error("mismatch", call.protocol, f"Signature not yet current: {timestamp} is still later than {stamp}")


def _compare(call: Call, key: SigningKey, timestamp: str, signed: list[str], url: str, signature: str) -> None:
    # Imported here so that the lab starts faster.
    from botocore.auth import S3SigV4Auth, SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials as SigningCredentials

    scope = call.scope
    assert scope is not None
    headers = {name: _header(call.request, name) for name in signed}
    request = AWSRequest(method=call.request.method, url=url, data=call.request.body, headers=headers)
    request.context["timestamp"] = timestamp
    signer_class = S3SigV4Auth if scope.service == "s3" else SigV4Auth
    signer = signer_class(SigningCredentials(scope.access_key_id, key.secret), scope.service, scope.region)
    canonical = signer.canonical_request(request)
    expected = signer.signature(signer.string_to_sign(request, canonical), request)
    if not hmac.compare_digest(expected, signature) or scope.date != timestamp[:8]:
        raise _error("mismatch", call.protocol, _MISMATCH)


def _header(request: HttpRequest, name: str) -> str:
    if name == "host":
        return request.header("host") or urlsplit(request.url).netloc
    return request.header(name)
