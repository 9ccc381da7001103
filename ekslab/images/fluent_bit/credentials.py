"""Finds AWS credentials of a pod: in its environment, or by its service account (IRSA, EKS Pod Identity)."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import re
from dataclasses import dataclass
from html import unescape
from typing import TYPE_CHECKING
from urllib.parse import urlencode, urlsplit

if TYPE_CHECKING:
    from ekslab.images.fluent_bit.log import Log
    from ekslab.node import Process

REFRESH_WINDOW = 60
"""Seconds before their end at which credentials are replaced, as in Fluent Bit."""
_CONNECT_TIMEOUT = 5.0
_LOCAL = ("127.", "169.254.170.2", "169.254.170.23", "::1", "fd00:ec2::23", "fe80:")


@dataclass(frozen=True)
class AwsCredentials:
    access_key: str
    secret_key: str
    token: str
    expires: float
    """Seconds since the epoch; infinity for those that don't expire."""


class Provider:
    """Finds credentials and keeps them until shortly before they expire."""

    def __init__(self, process: Process, log: Log, *, region: str, sts_endpoint: str = "") -> None:
        self._process = process
        self._log = log
        self._region = region
        self._sts = sts_endpoint.removeprefix("https://").rstrip("/") or f"sts.{region}.amazonaws.com"
        self._current: AwsCredentials | None = None

    async def get(self, now: float) -> AwsCredentials | None:
        """Credentials that are valid at `now` (seconds since the epoch), None if there are none."""
        if self._current is None or now > self._current.expires - REFRESH_WINDOW:
            self._current = await self._fetch()
        return self._current

    async def refresh(self) -> None:
        """Asks for new ones, after AWS has refused a request. The whole chain does so, with or without need."""
        fresh = await self._fetch(quietly=True)
        self._current = fresh or self._current
        self._no_profile()

    async def _fetch(self, *, quietly: bool = False) -> AwsCredentials | None:
        env = self._process.env
        if env.get("AWS_ACCESS_KEY_ID") and env.get("AWS_SECRET_ACCESS_KEY"):
            return AwsCredentials(
                env["AWS_ACCESS_KEY_ID"], env["AWS_SECRET_ACCESS_KEY"], env.get("AWS_SESSION_TOKEN", ""), float("inf")
            )
        if env.get("AWS_WEB_IDENTITY_TOKEN_FILE") and env.get("AWS_ROLE_ARN"):
            found = await self._web_identity(env["AWS_WEB_IDENTITY_TOKEN_FILE"], env["AWS_ROLE_ARN"])
            if found is not None:
                return found
        if env.get("AWS_CONTAINER_CREDENTIALS_FULL_URI"):
            found = await self._container(env["AWS_CONTAINER_CREDENTIALS_FULL_URI"])
            if found is not None:
                return found
        if quietly:
            return None
        self._no_profile()
        self._log.error("[aws_credentials] Failed to retrieve credentials for AWS Profile default")
        await self._instance_metadata()
        return None

    def _no_profile(self) -> None:
        home = self._process.env.get("HOME") or "/root"
        self._log.error(f"[aws_credentials] Shared credentials file {home}/.aws/credentials does not exist")

    async def _web_identity(self, token_file: str, role: str) -> AwsCredentials | None:
        try:
            # Read each time: the kubelet replaces the token before it expires.
            token = self._process.read_text(token_file).strip()
        except OSError:
            self._log.error("[aws_credentials] Could not read web identify token file")
            return None
        query = urlencode(
            {
                "Version": "2011-06-15",
                "Action": "AssumeRoleWithWebIdentity",
                "RoleSessionName": self._process.env.get("AWS_ROLE_SESSION_NAME") or "fluent-bit",
                "RoleArn": role,
                "WebIdentityToken": token,
            }
        )
        try:
            response = await self._process.http(
                "GET", f"https://{self._sts}/?{query}", {"User-Agent": "aws-fluent-bit-plugin"}
            )
        except (OSError, TimeoutError):
            self._log.error("[aws_client] connection initialization error")
            self._log.error("[aws_credentials] STS assume role request failed")
            return None
        text = response.body.decode("utf-8", "replace")
        if response.status != 200:
            # It looks for an error in JSON, and STS answers in XML: the reason is in no line.
            self._log.debug(f"[aws_credentials] STS raw response: \n{text}")
            self._log.error("[aws_credentials] STS assume role request failed")
            return None
        return AwsCredentials(
            _tag(text, "AccessKeyId"),
            _tag(text, "SecretAccessKey"),
            _tag(text, "SessionToken"),
            dt.datetime.fromisoformat(_tag(text, "Expiration")).timestamp(),
        )

    async def _container(self, uri: str) -> AwsCredentials | None:
        """Asks the agent of EKS Pod Identity on the node; the kubelet replaces the token that it takes."""
        headers = {"User-Agent": "aws-fluent-bit-plugin"}
        if token_file := self._process.env.get("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"):
            try:
                headers["Authorization"] = self._process.read_text(token_file).strip()
            except OSError:
                self._log.error(f"[aws credentials] failed to read authorization token from {token_file}")
                return None
        url = urlsplit(uri)
        if url.scheme != "https" and not (url.hostname or "").startswith(_LOCAL):
            self._log.error(
                "[aws credentials] AWS_CONTAINER_CREDENTIALS_FULL_URI must be set to an https:// address, a link local "
                "IP address, or localhost with Greengrass credential provider path. "
                f"Found protocol={url.scheme}, host={url.hostname}, port={url.port or 80}, path={url.path}"
            )
            return None
        try:
            response = await self._process.http("GET", uri, headers, timeout=_CONNECT_TIMEOUT)
        except TimeoutError:
            address = f"tcp://{url.hostname}:{url.port or 80}"
            self._log.error(
                f"[upstream] connection #-1 to {address} timed out after {_CONNECT_TIMEOUT:.0f} seconds "
                "(connection timeout)"
            )
            self._log.error("[aws_client] connection initialization error")
            response = None
        except OSError:
            self._log.error("[aws_client] connection initialization error")
            response = None
        found: dict[str, str] = {}
        if response is not None:
            text = response.body.decode("utf-8", "replace")
            with contextlib.suppress(ValueError):
                found = json.loads(text)
            if response.status != 200:
                self._log.warn(f"ContainerCredentialsLocalServer: Raw response: {text.rstrip()}")
                found = {}
        if "AccessKeyId" not in found or "SecretAccessKey" not in found:
            self._log.warn(
                "[aws_credentials] No cached credentials are available and a credential refresh is already in "
                "progress. The current co-routine will retry."
            )
            return None
        return AwsCredentials(
            found["AccessKeyId"],
            found["SecretAccessKey"],
            found.get("Token", ""),
            dt.datetime.fromisoformat(found["Expiration"]).timestamp(),
        )

    async def _instance_metadata(self) -> None:
        """Asks the instance metadata service, which doesn't answer pods in the lab."""
        with contextlib.suppress(OSError, TimeoutError):
            ttl = {"X-aws-ec2-metadata-token-ttl-seconds": "21600"}
            await self._process.http("PUT", "http://169.254.169.254/latest/api/token", ttl, timeout=1.0)
        self._log.warn("[imds] unable to evaluate IMDS version")


def _tag(xml: str, name: str) -> str:
    match = re.search(rf"<{name}>(.*?)</{name}>", xml, re.DOTALL)
    return unescape(match[1].strip()) if match else ""
