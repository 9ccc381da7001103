"""Verifies Signature Version 4, in headers and presigned URLs."""

from __future__ import annotations

import calendar
import hashlib
import hmac
import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

from ekslab import sigv4
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
    given = request.header("authorization").strip()
    algorithm, _, rest = given.partition(" ")
    if algorithm != sigv4.ALGORITHM:
        raise _error("incomplete", call.protocol, f"Unsupported AWS 'algorithm': '{algorithm}'.")
    fields = {}
    for part in filter(None, map(str.strip, rest.split(","))):
        name, equals, value = part.partition("=")
        if not equals:
            message = f"'{part}' not a valid key=value pair (missing equal-sign) in Authorization header: '{given}'."
            raise _error("incomplete", call.protocol, message)
        fields[name] = value
    timestamp = request.header("x-amz-date") or request.header("date")
    missing = [
        f"Authorization header requires '{name}' parameter."
        for name in ("Signature", "SignedHeaders")
        if not fields.get(name)
    ]
    if not timestamp:
        missing.append("Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.")
    if missing:
        raise _error("incomplete", call.protocol, f"{' '.join(missing)} Authorization={algorithm}")
    _check_clock(call, timestamp, now, CLOCK_SKEW)
    if (key.session_token or "") != request.header("x-amz-security-token"):
        raise _error("unknown", call.protocol, "The security token included in the request is invalid.")
    body_hash = hashlib.sha256(request.body).hexdigest()
    payload_hash = request.header("x-amz-content-sha256") or body_hash
    if payload_hash not in (UNSIGNED_PAYLOAD, body_hash):
        raise _error("mismatch", call.protocol, _MISMATCH)
    query = urlsplit(request.url).query
    _compare(call, key, timestamp, fields["SignedHeaders"], query, payload_hash, fields["Signature"])


def _verify_presigned(call: Call, key: SigningKey, now: float, fixed_lifetime: int | None) -> None:
    parts = urlsplit(call.request.url)
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    missing = [
        f"AWS query-string parameters must include '{name}'."
        for name in ("X-Amz-Signature", "X-Amz-SignedHeaders", "X-Amz-Date")
        if not query.get(name)
    ]
    if missing:
        raise _error("incomplete", call.protocol, f"{' '.join(missing)} Re-examine the query-string parameters.")
    timestamp = query["X-Amz-Date"]
    try:
        lifetime = int(query.get("X-Amz-Expires", "3600"))
    except ValueError:
        raise _error("incomplete", call.protocol, "X-Amz-Expires must be a number.") from None
    _check_clock(call, timestamp, now, fixed_lifetime or lifetime)
    if (key.session_token or "") != query.get("X-Amz-Security-Token", ""):
        raise _error("unknown", call.protocol, "The security token included in the request is invalid.")
    unsigned = "&".join(pair for pair in parts.query.split("&") if not pair.startswith("X-Amz-Signature="))
    s3 = call.scope is not None and call.scope.service == "s3"
    payload_hash = UNSIGNED_PAYLOAD if s3 else hashlib.sha256(call.request.body).hexdigest()
    _compare(call, key, timestamp, query["X-Amz-SignedHeaders"], unsigned, payload_hash, query["X-Amz-Signature"])


def _check_clock(call: Call, timestamp: str, now: float, lifetime: int) -> None:
    try:
        signed_at = calendar.timegm(time.strptime(timestamp, "%Y%m%dT%H%M%SZ"))
    except ValueError:
        message = (
            f"Date must be in ISO-8601 'basic format'. Got '{timestamp}'. See http://en.wikipedia.org/wiki/ISO_8601"
        )
        raise _error("incomplete", call.protocol, message) from None
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
    if now > signed_at + lifetime:
        raise _error("mismatch", call.protocol, f"Signature expired: {timestamp} is now earlier than {stamp}")
    if signed_at > now + CLOCK_SKEW:
        raise _error("mismatch", call.protocol, f"Signature not yet current: {timestamp} is still later than {stamp}")


def _compare(
    call: Call, key: SigningKey, timestamp: str, signed: str, query: str, payload_hash: str, signature: str
) -> None:
    """Raises AwsError unless `signature` is that of the request with exactly the headers that `signed` names."""
    scope = call.scope
    assert scope is not None
    names = sorted({name.strip().lower() for name in signed.split(";")})
    if "host" not in names and ":authority" not in names:
        message = "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization."
        raise _error("mismatch", call.protocol, message)
    if scope.date != timestamp[:8]:
        message = (
            "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: "
            f"'{scope.date}' != '{timestamp[:8]}', from '{timestamp}'."
        )
        raise _error("mismatch", call.protocol, message)
    headers = _signed_headers(call.request, names)
    if headers is None:
        raise _error("mismatch", call.protocol, _MISMATCH)
    expected = sigv4.sign(
        key.secret,
        scope,
        timestamp,
        method=call.request.method,
        path=urlsplit(call.request.url).path,
        query=query,
        headers=headers,
        payload_hash=payload_hash,
    )
    if not hmac.compare_digest(expected.encode(), signature.encode("utf-8", "surrogateescape")):
        raise _error("mismatch", call.protocol, _MISMATCH)


def _signed_headers(request: HttpRequest, names: list[str]) -> list[tuple[str, str]] | None:
    """Names and values of the signed headers; None if the request lacks one of them."""
    values = {name.lower(): value for name, value in request.headers.items()}
    authority = urlsplit(request.url).netloc
    values = {"host": authority, ":authority": authority} | values
    if any(name not in values for name in names):
        return None
    return [(name, values[name]) for name in names]
