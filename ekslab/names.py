"""Names and ids in the form of the real ones, derived by a hash: the same input gives the same id in every run."""

from __future__ import annotations

import hashlib
import uuid

# The alphabet of Kubernetes' random suffixes: no vowels, no look-alikes.
_SUFFIX_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"


def digest(*parts: object) -> bytes:
    """The SHA-256 of the parts, in order."""
    return hashlib.sha256("\x00".join(str(part) for part in parts).encode()).digest()


def hex_id(length: int, *parts: object) -> str:
    """A lower-case hexadecimal id of up to 64 characters, e.g. a container id."""
    return digest(*parts).hex()[:length]


def uid(*parts: object) -> str:
    """A UUID (version 4 form), e.g. an object's uid."""
    return str(uuid.UUID(bytes=digest(*parts)[:16], version=4))


def suffix(length: int, *parts: object) -> str:
    """A suffix as `generateName` appends it, e.g. the `x7k2q` of a pod's name."""
    return "".join(_SUFFIX_ALPHABET[b % len(_SUFFIX_ALPHABET)] for b in digest(*parts)[:length])
