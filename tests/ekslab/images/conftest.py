"""A node with the lab's images and its AWS: what the kubelet would start, a test starts by hand."""

from __future__ import annotations

import asyncio
import io
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from string import Template
from typing import Any

import boto3
import pytest
import yaml
from botocore.awsrequest import AWSRequest, AWSResponse
from botocore.config import Config

from ekslab import images
from ekslab.aws import Aws
from ekslab.helm import chart
from ekslab.helm.values import read
from ekslab.http import Handler, HttpRequest
from ekslab.identity import Credentials, ServiceAccountIssuer
from ekslab.node import Container, ContainerSpec, EmptyDir, Files, HostPath, Mount, Network, Node
from labkit.versions import pinned

ROOT = Path(__file__).parents[3]
ISSUER = "https://oidc.eks.us-east-1.amazonaws.com/id/0123456789ABCDEF0123456789ABCDEF"
ACCOUNT = "111122223333"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/fluent-bit"
SESSION = boto3.session.Session()
NAMES = {
    "partition": "aws",
    "region": "us-east-1",
    "account_id": ACCOUNT,
    "log_group": "falco",
    "oidc_provider": ISSUER.removeprefix("https://"),
    "namespace": "logging",
    "service_account": "fluent-bit",
}


class Output:
    """What a command in a container prints."""

    def __init__(self) -> None:
        self.data = b""

    def write(self, data: bytes) -> None:
        self.data += data

    @property
    def text(self) -> str:
        return self.data.decode()


class Lab:
    """One node, and the AWS it reaches."""

    def __init__(self) -> None:
        self.credentials = Credentials()
        self.issuer = ServiceAccountIssuer(ISSUER)
        self.network = Network()
        self.aws = Aws(credentials=self.credentials, issuer=self.issuer, account_id=ACCOUNT)
        self.answer: Handler = self.aws.handle
        self.network.serve("*.amazonaws.com", lambda request: self.answer(request))
        self.node = Node("ip-10-0-1-10.ec2.internal", network=self.network, images=images.registry())
        self.state = EmptyDir()
        self._started: list[Container] = []
        self._restarts: dict[str, int] = {}
        self._loop = asyncio.get_running_loop()

    # -- AWS

    def client(self, service: str) -> Any:
        """A boto3 client whose requests are answered right here."""
        client = SESSION.client(
            service,
            region_name="us-east-1",
            aws_access_key_id=self.credentials.access_key_id,
            aws_secret_access_key=self.credentials.secret_access_key,
            config=Config(inject_host_prefix=False, retries={"total_max_attempts": 1}),
        )
        client.meta.events.register("before-send", self._answer)
        return client

    def _answer(self, request: AWSRequest, **_: Any) -> AWSResponse:
        headers = {k: v.decode() if isinstance(v, bytes) else v for k, v in request.headers.items()}
        body = request.body or b""
        call = self.aws.handle(
            HttpRequest(request.method, request.url, headers, body if isinstance(body, bytes) else body.encode())
        )
        response = asyncio.run_coroutine_threadsafe(call, self._loop).result(30)
        raw = io.BytesIO(response.body)
        raw.stream = lambda: iter([response.body])  # type: ignore[attr-defined]
        return AWSResponse(request.url, response.status, dict(response.headers), raw)

    async def call(self, service: str, operation: str, **parameters: Any) -> Any:
        """One AWS call, made in a thread as any program would make it."""
        return await asyncio.to_thread(getattr(self.client(service), operation), **parameters)

    async def grant(self, *, policy: bool = True) -> None:
        """The log group, the OIDC provider and the role, from the repository's own policies."""
        await self.call("logs", "create_log_group", logGroupName="falco")
        await self.call(
            "iam",
            "create_open_id_connect_provider",
            Url=ISSUER,
            ClientIDList=["sts.amazonaws.com"],
            ThumbprintList=["9e99a48a9960b14926bb7f3b02e22da2b0ab7280"],
        )
        trust = Template((ROOT / "manifests/iam/fluent-bit-trust.json").read_text()).substitute(NAMES)
        await self.call("iam", "create_role", RoleName="fluent-bit", AssumeRolePolicyDocument=trust)
        if policy:
            await self.allow()

    async def allow(self) -> None:
        document = Template((ROOT / "manifests/iam/fluent-bit-permissions.json").read_text()).substitute(NAMES)
        await self.call("iam", "put_role_policy", RoleName="fluent-bit", PolicyName="write", PolicyDocument=document)

    async def deny(self) -> None:
        await self.call("iam", "delete_role_policy", RoleName="fluent-bit", PolicyName="write")

    async def delivered(self, count: int = 1) -> list[str]:
        """The messages in log group `falco`, as soon as there are `count`; at once with 0."""
        client = self.client("logs")

        def messages() -> list[str]:
            try:
                return [event["message"] for event in client.filter_log_events(logGroupName="falco")["events"]]
            except client.exceptions.ResourceNotFoundException:
                return []

        deadline = time.monotonic() + 60
        while len(found := await asyncio.to_thread(messages)) < count:
            assert time.monotonic() < deadline, {c.spec.name: self.log(c)[-25:] for c in self._started}
            await asyncio.sleep(0.02)
        return found

    # -- containers

    async def start(self, name: str, image: str, *, namespace: str, pod: str = "", **more: Any) -> Container:
        pod = pod or f"{name}-x7k2p"
        number = self._restarts.get(pod + name, 0)
        self._restarts[pod + name] = number + 1
        spec = ContainerSpec(
            pod_name=pod,
            pod_namespace=namespace,
            pod_uid=f"uid-{pod}",
            sandbox_id="f" * 64,
            name=name,
            image=image,
            restart_count=number,
            pod_ip=f"10.0.1.{20 + len(self._started)}",
            **more,
        )
        container = await self.node.runtime.create(spec)
        await self.node.runtime.start(container)
        self._started.append(container)
        return container

    async def falco(
        self,
        rules: Mapping[str, str] | None = None,
        *,
        values: Mapping[str, Any] | None = None,
        rule_files: Files | None = None,
    ) -> Container:
        """Falco as its chart starts it: falcoctl first, then Falco with the chart's files mounted."""
        given = read([ROOT / "manifests/falco/values.yaml"])
        given["falco"] = given["falco"] | dict(values or {}).get("falco", {})
        tty = dict(values or {}).get("tty", True)
        objects = chart.render("falco", "falco", given, warn=print)
        maps = {o["metadata"]["name"]: o["data"] for o in objects if o["kind"] == "ConfigMap"}
        folder = EmptyDir()
        installer = await self.start(
            "falcoctl-artifact-install",
            f"docker.io/falcosecurity/falcoctl:{pinned()['falco']['falcoctl']}",
            namespace="falco",
            pod="falco-x7k2p",
            args=("artifact", "install", "--log-format=json"),
            mounts=(
                Mount("/rulesfiles", folder),
                Mount("/plugins", EmptyDir()),
                Mount("/etc/falcoctl", Files(maps["falco-falcoctl"])),
            ),
        )
        assert await installer.wait() == 0
        mounts = [
            Mount("/etc/falco", folder),
            Mount("/etc/falco/falco.yaml", Files(maps["falco"]), sub_path="falco.yaml"),
        ]
        if rules or rule_files:
            mounts.append(Mount("/etc/falco/rules.d", rule_files or Files(dict(rules or {}))))
        return await self.start(
            "falco",
            "docker.io/falcosecurity/falco:0.44.1",
            namespace="falco",
            args=("/usr/bin/falco",),
            env={"HOST_ROOT": "/host", "FALCO_HOSTNAME": self.node.name},
            tty=tty,
            privileged=not dict(values or {}).get("unprivileged"),
            mounts=tuple(mounts),
        )

    def fluent_bit_config(self, change: Callable[[dict[str, Any]], None] = lambda config: None) -> str:
        """The configuration in manifests/, quicker at everything, with a change."""
        text = yaml.safe_load((ROOT / "manifests/fluent-bit/20-configmap.yaml").read_text())["data"]["fluent-bit.yaml"]
        config = yaml.load(text, Loader=yaml.BaseLoader)
        config["service"] |= {"flush": "0.2", "scheduler.base": "1", "scheduler.cap": "2"}
        change(config)
        return yaml.safe_dump(config)

    async def fluent_bit(
        self, config: str = "", *, role: bool = True, env: Mapping[str, str] | None = None
    ) -> Container:
        token = self.issuer.issue("logging", "fluent-bit", audience="sts.amazonaws.com", now=time.time())
        variables = {
            "AWS_REGION": "us-east-1",
            "AWS_ROLE_ARN": ROLE,
            "AWS_WEB_IDENTITY_TOKEN_FILE": "/var/run/secrets/eks.amazonaws.com/serviceaccount/token",
        }
        return await self.start(
            "fluent-bit",
            "cr.fluentbit.io/fluent/fluent-bit:5.1.1",
            namespace="logging",
            command=("/fluent-bit/bin/fluent-bit",),
            args=("--config=/fluent-bit/etc/conf/fluent-bit.yaml",),
            env=dict(env) if env is not None else variables if role else {"AWS_REGION": "us-east-1"},
            user="0",
            drop=("ALL",),
            mounts=(
                Mount(
                    "/fluent-bit/etc/conf",
                    Files({"fluent-bit.yaml": config or self.fluent_bit_config()}),
                    read_only=True,
                ),
                Mount("/var/log", HostPath("/var/log"), read_only=True),
                Mount("/var/lib/fluent-bit", self.state),
                Mount("/var/run/secrets/eks.amazonaws.com/serviceaccount", Files({"token": token}), read_only=True),
            ),
        )

    async def nginx(self) -> Container:
        return await self.start("nginx", "docker.io/library/nginx:1.29.3", namespace="default")

    async def exec(self, container: Container, *argv: str, tty: bool = False) -> tuple[int, str]:
        """Exit code and output of a command in a container."""
        output = Output()
        code = await self.node.runtime.exec(container, list(argv), tty=tty, stdout=output, stderr=output)
        return code, output.text

    def log(self, container: Container) -> list[str]:
        """The lines of a container's log, without what CRI writes in front."""
        if not self.node.filesystem.exists(container.log_path):
            return []
        lines = self.node.filesystem.read_text(container.log_path).splitlines()
        return [line.split(" ", 3)[3].rstrip("\r") for line in lines]

    def alerts(self, container: Container) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log(container) if line.startswith("{")]

    async def until(self, condition: Callable[[], Any], *, timeout: float = 60.0) -> Any:
        """What `condition` returns, as soon as that is true."""
        deadline = time.monotonic() + timeout
        while not (found := condition()):
            assert time.monotonic() < deadline, {c.spec.name: self.log(c)[-25:] for c in self._started}
            await asyncio.sleep(0.01)
        return found

    async def ready(self, container: Container, sign: str) -> None:
        await self.until(lambda: any(sign in line for line in self.log(container)) or container.state == "exited")

    async def close(self) -> None:
        for container in self._started:
            if container.state == "running":
                await self.node.runtime.stop(container, grace=1.0)


@pytest.fixture
async def lab() -> AsyncIterator[Lab]:
    lab = Lab()
    yield lab
    await lab.close()
