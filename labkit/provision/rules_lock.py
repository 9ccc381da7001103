"""Pins the artifacts of Falco's rules by digest: asks the registry what their versions are, and writes a values file.

falcoctl takes `falco-rules@sha256:...` and checks the signature of what it fetched. A name with a version and a digest
it doesn't find, so the versions are in comments.
"""

from __future__ import annotations

import json
import re
import urllib.parse
from pathlib import Path
from typing import Any

from labkit.calls import short_repr
from labkit.errors import LabError, TargetError
from labkit.provision.falco import artifacts, chosen_values, lock_file
from labkit.settings import Settings

REGISTRY = "https://ghcr.io"
REPOSITORY = "falcosecurity/rules"
_TIMEOUT = 20.0
_TYPES = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json"


def lock_rules(settings: Settings, registry: str = REGISTRY) -> Path:
    """Writes the digests of the artifacts that the settings ask for, and returns the file.

    Raises `TargetError` if the registry can't be asked, or hasn't a version, `LabError` for an address that is none.
    Nothing is written then.
    """
    if not re.fullmatch(r"https?://[A-Za-z0-9.\-]+(:\d{1,5})?(/[\w.\-/]*)?", registry, re.ASCII):
        raise LabError(f"{short_repr(registry)} is no address of a registry.", hint=f"Give one such as {REGISTRY}.")
    digests = {ref: _digest(registry, *ref.split(":", 1)) for ref in artifacts(chosen_values(settings))}
    lines = [
        f"          - {ref.partition(':')[0]}@{digest}  # {ref.partition(':')[2]}\n" for ref, digest in digests.items()
    ]
    head = f"# Written by `labkit rules lock`, which asked {registry}. Falco's step uses it on eks.\n"
    file = lock_file(settings)
    file.parent.mkdir(parents=True, exist_ok=True)
    nested = "falcoctl:\n  config:\n    artifact:\n      install:\n        refs:\n"
    file.write_text(head + nested + "".join(lines), encoding="utf-8")
    return file


def _digest(registry: str, name: str, version: str) -> str:
    """The digest of an artifact's manifest, as the registry's header has it."""
    repository = f"{REPOSITORY}/{name}"
    token = _token(registry, repository)
    headers = {"Accept": _TYPES, **({"Authorization": f"Bearer {token}"} if token else {})}
    answer, _ = _ask(f"{registry}/v2/{repository}/manifests/{version}", "HEAD", headers)
    digest = str(answer.get("Docker-Content-Digest", ""))
    if not re.fullmatch(r"sha256:[0-9a-f]{64}", digest):
        raise TargetError(
            f"{registry} names no digest of {repository}:{version}.", hint="Name a registry that does with --registry."
        )
    return digest


def _token(registry: str, repository: str) -> str:
    """An anonymous token, which ghcr.io asks for; empty where the registry has none to give."""
    query = urllib.parse.urlencode({"scope": f"repository:{repository}:pull", "service": registry.split("//")[-1]})
    try:
        _, body = _ask(f"{registry}/token?{query}", "GET", {})
        return str(json.loads(body)["token"])
    except (_NotFoundError, ValueError, KeyError, TypeError):
        return ""


class _NotFoundError(TargetError):
    """The registry has no such thing."""


def _ask(url: str, method: str, headers: dict[str, str]) -> tuple[Any, bytes]:
    """Headers and body of an answer."""
    import http.client
    import urllib.error
    import urllib.request

    try:
        request = urllib.request.Request(url, method=method, headers=headers)
        with urllib.request.urlopen(request, timeout=_TIMEOUT) as response:
            return response.headers, response.read(1 << 20)
    except (urllib.error.URLError, http.client.HTTPException, OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        kind = _NotFoundError if getattr(error, "code", 0) == 404 else TargetError
        raise kind(
            f"Can't ask {url}: {reason}.",
            hint="Check the network, or name a mirror with --registry. Without a lock the rules are pinned by version.",
        ) from error
