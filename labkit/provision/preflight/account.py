"""Who the caller is for AWS, and which Helm there is on this computer."""

from __future__ import annotations

import re
from collections.abc import Iterator

from labkit.provision.preflight.finding import Finding, blocker, ok, warning
from labkit.target import Target

_ACCOUNT, _TOOLS = "account", "tools"


def identity(target: Target) -> Iterator[Finding]:
    """Account and ARN of the caller."""
    found = target.aws.identity
    yield ok(_ACCOUNT, "account", f"{found.account_id} in {target.settings.region}")
    if found.arn.endswith(":root"):
        hint = "This is the account's root user: use a role or a user instead."
        yield warning(_ACCOUNT, "identity", found.arn, hint)
    else:
        yield ok(_ACCOUNT, "identity", found.arn)


def helm(target: Target) -> Iterator[Finding]:
    """Helm's version: `--labels`, with which a release is marked as the workshop's, came with 3.13."""
    version = target.helm.version()
    numbers = re.match(r"v(\d+)\.(\d+)", version)
    if numbers and (int(numbers[1]), int(numbers[2])) >= (3, 13):
        yield ok(_TOOLS, "helm", version)
    else:
        hint = "Install Helm 3.13 or later: https://helm.sh/docs/intro/install/."
        yield blocker(_TOOLS, "helm", version or "no version", hint)
