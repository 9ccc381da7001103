"""AWS Signature Version 4: the signature of a request over the headers that it names."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import quote, unquote_to_bytes

ALGORITHM = "AWS4-HMAC-SHA256"


@dataclass(frozen=True)
class Scope:
    """The credential scope of a signature: who signs, for which day, region and service."""

    access_key_id: str
    date: str
    region: str
    service: str

    def __str__(self) -> str:
        return f"{self.date}/{self.region}/{self.service}/aws4_request"


def sign(
    secret: str,
    scope: Scope,
    timestamp: str,
    *,
    method: str,
    path: str,
    query: str,
    headers: Iterable[tuple[str, str]],
    payload_hash: str,
) -> str:
    """The signature, in hexadecimal. `headers` are those that are signed, names in lower case and sorted."""
    signed = list(headers)
    canonical = "\n".join(
        (
            method,
            canonical_path(path, scope.service),
            canonical_query(query),
            *(f"{name}:{canonical_value(value)}" for name, value in signed),
            "",
            ";".join(name for name, _ in signed),
            payload_hash,
        )
    )
    hashed = hashlib.sha256(canonical.encode("utf-8", "surrogateescape")).hexdigest()
    key = f"AWS4{secret}".encode()
    for part in str(scope).split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    return hmac.digest(key, f"{ALGORITHM}\n{timestamp}\n{scope}\n{hashed}".encode(), "sha256").hex()


def canonical_value(value: str) -> str:
    """A header's value without blanks around it, and with one in place of several: proxies change them."""
    return re.sub("[ \t]+", " ", value).strip(" ")


def canonical_path(path: str, service: str) -> str:
    """The path as it is signed: S3's as it is sent, all others' without dots, and encoded once more."""
    if service == "s3":
        return path or "/"
    parts: list[str] = []
    for part in path.split("/"):
        if part == ".." and parts:
            parts.pop()
        elif part not in ("", ".", ".."):
            parts.append(part)
    end = "/" if parts and path.endswith("/") else ""
    return quote("/" + "/".join(parts) + end, safe="/~")


def canonical_query(query: str) -> str:
    """The query's parameters sorted, their names and values in one encoding: clients differ in what they encode."""
    pairs = [part.partition("=")[::2] for part in query.split("&") if part]
    return "&".join(f"{name}={value}" for name, value in sorted((_encoded(n), _encoded(v)) for n, v in pairs))


def _encoded(text: str) -> str:
    return quote(unquote_to_bytes(text.replace("+", " ")), safe="~")
