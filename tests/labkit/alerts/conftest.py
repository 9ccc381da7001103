"""CloudWatch Logs of the embedded lab on a loopback port, and a boto3 client that speaks to it."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import boto3
import pytest
from aiohttp import web
from botocore.config import Config

from ekslab.aws import Aws
from ekslab.identity import Credentials, ServiceAccountIssuer

LINES = (Path(__file__).parent / "data" / "falco-alerts.jsonl").read_text().splitlines()


@pytest.fixture(scope="session")
def falco_lines() -> list[str]:
    """Alerts of a real Falco, one JSON line each."""
    return LINES


@pytest.fixture(scope="session")
def make_client() -> Iterator[Callable[..., Any]]:
    """Makes clients for one AWS account that lives as long as the session; keyword arguments are boto3's."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()
    credentials = Credentials()
    aws = Aws(credentials=credentials, issuer=ServiceAccountIssuer("https://oidc.example/id/0"))
    runner = web.AppRunner(aws.web_app(), access_log=None, shutdown_timeout=0.1, auto_decompress=False)

    async def serve() -> int:
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return int(runner.addresses[0][1])

    port = asyncio.run_coroutine_threadsafe(serve(), loop).result(30)
    session = boto3.session.Session()  # reads the description of a service once for all clients

    def make(service: str = "logs", **arguments: Any) -> Any:
        defaults = {
            "region_name": "us-east-1",
            "endpoint_url": f"http://127.0.0.1:{port}",
            "aws_access_key_id": credentials.access_key_id,
            "aws_secret_access_key": credentials.secret_access_key,
            "config": Config(inject_host_prefix=False, retries={"total_max_attempts": 1}),
        }
        return session.client(service, **{**defaults, **arguments})

    yield make
    asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(30)
    loop.call_soon_threadsafe(loop.stop)


@pytest.fixture(scope="session")
def client(make_client: Callable[..., Any]) -> Any:
    return make_client()


class LogGroup:
    """A log group with one stream, `alerts`, to put messages into."""

    def __init__(self, client: Any, name: str) -> None:
        self.client, self.name = client, name
        self.now = int(time.time() * 1000)
        client.create_log_group(logGroupName=name)
        self.stream("alerts")

    def stream(self, name: str) -> None:
        self.client.create_log_stream(logGroupName=self.name, logStreamName=name)

    def put(self, messages: Sequence[str], *, ago: int = 0, step: int = 0, stream: str = "alerts") -> None:
        """Puts messages, the first logged `ago` ms ago and each later one `step` ms after the one before."""
        start = self.now - ago
        events = [{"timestamp": start + i * step, "message": message} for i, message in enumerate(messages)]
        for i in range(0, len(events), 500):
            self.client.put_log_events(logGroupName=self.name, logStreamName=stream, logEvents=events[i : i + 500])


@pytest.fixture
def group(client: Any, request: pytest.FixtureRequest) -> LogGroup:
    """A new log group."""
    return LogGroup(client, f"falco/{abs(hash(request.node.nodeid)):x}")


@pytest.fixture
def shell(falco_lines: list[str]) -> Callable[[str], str]:
    """An alert of a shell with this command line."""
    alert = json.loads(falco_lines[0])

    def make(cmdline: str, rule: str = "Terminal shell in container") -> str:
        fields = {**alert["output_fields"], "proc.cmdline": cmdline}
        return json.dumps({**alert, "rule": rule, "output_fields": fields})

    return make
