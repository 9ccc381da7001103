"""A lab's AWS on a real loopback port, and boto3 clients for it."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from aiohttp import web
from botocore.config import Config

from ekslab.aws import Aws
from ekslab.identity import Credentials, ServiceAccountIssuer
from tests.aws_cli import install

ISSUER_URL = "https://oidc.eks.us-east-1.amazonaws.com/id/0123456789ABCDEF0123456789ABCDEF"
SESSION = boto3.session.Session()  # shared: it keeps the service descriptions it has read
OIDC_PROVIDER = ISSUER_URL.removeprefix("https://")
SUBJECT = "system:serviceaccount:fluent-bit:fluent-bit"


@dataclass
class Clock:
    """Real time, moved by an offset in seconds."""

    offset: float = 0.0

    def __call__(self) -> float:
        return time.time() + self.offset

    def ms(self) -> int:
        return int(self() * 1000)


@dataclass
class RunningAws:
    aws: Aws
    url: str
    credentials: Credentials
    issuer: ServiceAccountIssuer
    clock: Clock
    loop: asyncio.AbstractEventLoop

    def client(self, service: str, *, region: str = "us-east-1", **credentials: str) -> Any:
        """A boto3 client; without credentials of its own it uses the lab's."""
        if not credentials:
            credentials = {
                "aws_access_key_id": self.credentials.access_key_id,
                "aws_secret_access_key": self.credentials.secret_access_key,
            }
        return SESSION.client(
            service,
            region_name=region,
            endpoint_url=self.url,
            config=Config(inject_host_prefix=False, retries={"total_max_attempts": 1}),
            **credentials,
        )

    def as_session(self, service: str, credentials: dict[str, str]) -> Any:
        """A client with the credentials that an STS call answered."""
        return self.client(
            service,
            aws_access_key_id=credentials["AccessKeyId"],
            aws_secret_access_key=credentials["SecretAccessKey"],
            aws_session_token=credentials["SessionToken"],
        )

    def token(self, subject: str = SUBJECT, audience: str = "sts.amazonaws.com", **kwargs: Any) -> str:
        _, _, namespace, account = subject.split(":")
        kwargs.setdefault("now", time.time())
        return self.issuer.issue(namespace, account, audience=audience, **kwargs)

    def make_role(self, policy: dict[str, Any] | None, name: str = "fluent-bit", condition: Any = None) -> str:
        """An OIDC provider and a role that trusts the service account; returns the role's ARN."""
        iam = self.client("iam")
        arn = f"arn:aws:iam::111122223333:oidc-provider/{OIDC_PROVIDER}"
        if arn not in [p["Arn"] for p in iam.list_open_id_connect_providers()["OpenIDConnectProviderList"]]:
            iam.create_open_id_connect_provider(
                Url=ISSUER_URL, ClientIDList=["sts.amazonaws.com"], ThumbprintList=["a" * 40]
            )
        trust = {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Effect": "Allow",
                    "Principal": {"Federated": arn},
                    "Action": "sts:AssumeRoleWithWebIdentity",
                    "Condition": condition
                    or {"StringEquals": {f"{OIDC_PROVIDER}:aud": "sts.amazonaws.com", f"{OIDC_PROVIDER}:sub": SUBJECT}},
                }
            ],
        }
        role = iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(trust))["Role"]["Arn"]
        if policy is not None:
            iam.put_role_policy(RoleName=name, PolicyName="permissions", PolicyDocument=json.dumps(policy))
        return str(role)

    def session(self, policy: dict[str, Any] | None) -> dict[str, str]:
        """Session credentials of a fresh role with this inline policy, got by a service account's token."""
        role = self.make_role(policy)
        answer = self.client("sts").assume_role_with_web_identity(
            RoleArn=role, RoleSessionName="pod", WebIdentityToken=self.token()
        )
        return dict(answer["Credentials"])


class LoopThread:
    """An event loop in a thread of its own, as the lab's process has one: boto3 blocks."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(30)

    def stop(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


async def _serve(aws: Aws) -> tuple[web.AppRunner, str]:
    runner = web.AppRunner(aws.web_app(), access_log=None, shutdown_timeout=1.0, auto_decompress=False)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    return runner, f"http://127.0.0.1:{port}"


@pytest.fixture(scope="session")
def issuer() -> ServiceAccountIssuer:
    return ServiceAccountIssuer(ISSUER_URL)


@pytest.fixture
def make_aws(issuer: ServiceAccountIssuer) -> Iterator[Callable[..., RunningAws]]:
    thread = LoopThread()
    runners = []

    def make(**options: Any) -> RunningAws:
        clock, credentials = Clock(), Credentials()
        aws = Aws(
            credentials=credentials,
            issuer=issuer,
            kubernetes_url="https://127.0.0.1:6443",
            kubernetes_ca=b"-----BEGIN CERTIFICATE-----\n",
            clock=clock,
            **options,
        )
        runner, url = thread.run(_serve(aws))
        aws.url = url
        runners.append(runner)
        return RunningAws(aws, url, credentials, issuer, clock, thread.loop)

    yield make
    for runner in runners:
        thread.run(runner.cleanup())
    thread.stop()


@pytest.fixture
def running(make_aws: Callable[[], RunningAws]) -> RunningAws:
    return make_aws()


@pytest.fixture(scope="session")
def aws_program(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The AWS CLI."""
    if shutil.which("aws") is None:
        pytest.skip("the AWS CLI is not installed")
    folder = tmp_path_factory.mktemp("aws")
    with install(folder):
        yield folder / "aws"


@pytest.fixture
def aws_cli(running: RunningAws, aws_program: Path) -> Callable[..., Any]:
    """The AWS CLI against the lab: what a command prints, read from JSON; with `refused=True`, its standard error."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": "/nonexistent",
        "AWS_ENDPOINT_URL": running.url,
        "AWS_ACCESS_KEY_ID": running.credentials.access_key_id,
        "AWS_SECRET_ACCESS_KEY": running.credentials.secret_access_key,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_MAX_ATTEMPTS": "1",
    }

    def run(*arguments: str, refused: bool = False) -> Any:
        words = [str(aws_program), *arguments, "--output", "json"]
        done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
        assert (done.returncode != 0) is refused, done.stdout + done.stderr
        if refused:
            return done.stderr
        return json.loads(done.stdout) if done.stdout else None

    return run
