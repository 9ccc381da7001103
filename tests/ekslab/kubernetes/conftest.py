"""A cluster of two simulated nodes, served over HTTPS as the lab serves it, and the clients that people use."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import queue
import shutil
import signal
import ssl
import subprocess
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from kubernetes import client

from ekslab.http import HttpRequest, HttpResponse
from ekslab.identity import Credentials, ServerCertificate, ServiceAccountIssuer
from ekslab.images import nginx
from ekslab.kubernetes import Cluster
from ekslab.kubernetes.apiserver.auth import User
from ekslab.node import Image, ImageRegistry, Layer, Network, Node, Process, program

ISSUER = "https://oidc.eks.us-east-1.amazonaws.com/id/0123456789ABCDEF"


@program("toolbox-serve")
async def _serve(p: Process) -> int:
    """Answers on port 80 (or that in PORT) until it is told to stop."""

    async def answer(request: HttpRequest) -> HttpResponse:
        if request.url.endswith("/broken"):
            return HttpResponse(500)
        return HttpResponse(200, {}, f"hello from {p.env['HOSTNAME']}".encode())

    await p.sleep(float(p.env.get("START_SECONDS", "0")))
    stop = p.listen(int(p.env.get("PORT", "80")), answer)
    p.print("serving")
    try:
        await asyncio.Event().wait()
    finally:
        stop()
    return 0


@program("toolbox-env")
async def _env(p: Process) -> int:
    for name, value in sorted(p.env.items()):
        p.print(f"{name}={value}")
    return 0


@program("toolbox-cat")
async def _cat(p: Process) -> int:
    if len(p.argv) == 1:
        while data := await p.read(0):
            p.write(1, data)
    for path in p.argv[1:]:
        p.stdout.write(p.read_bytes(path))
    return 0


@program("toolbox-ls")
async def _ls(p: Process) -> int:
    for name in sorted(p.listdir(p.argv[1])):
        p.print(name)
    return 0


@program("toolbox-exit")
async def _exit(p: Process) -> int:
    p.print("about to exit")
    p.stderr.write("with an error\n")
    return int(p.argv[1])


@program("toolbox-touch")
async def _touch(p: Process) -> int:
    p.write_text(p.argv[1], "")
    return 0


@program("toolbox-count")
async def _count(p: Process) -> int:
    for number in range(1, int(p.argv[1]) + 1):
        p.print(f"line {number}")
    await asyncio.Event().wait()
    return 0


@program("toolbox-forever")
async def _forever(p: Process) -> int:
    while True:
        p.print("still here")
        await p.sleep(0.01)


@program("toolbox-tty")
async def _tty(p: Process) -> int:
    p.print(f"{p.tty.rows}x{p.tty.columns}" if p.tty else "not a tty")
    return 0


@program("toolbox-fetch")
async def _fetch(p: Process) -> int:
    headers = {}
    if p.exists("/var/run/secrets/kubernetes.io/serviceaccount/token"):
        token = p.read_text("/var/run/secrets/kubernetes.io/serviceaccount/token")
        headers["Authorization"] = f"Bearer {token}"
    response = await p.http("GET", p.argv[1], headers)
    p.print(f"{response.status} {response.body.decode()}")
    return 0


def _images() -> ImageRegistry:
    layer = Layer().file("/etc/passwd", "root:x:0:0:root:/root:/bin/sh\nweb:x:101:101::/:/bin/false\n")
    layer.directory("/tmp", 0o1777)
    for name in ("serve", "env", "cat", "ls", "exit", "touch", "count", "tty", "fetch", "forever"):
        layer.program(f"/usr/bin/{name}", f"toolbox-{name}")
    toolbox = Image("docker.io/library/toolbox", ("1", "2", "latest"), layer, entrypoint=("serve",))
    return ImageRegistry([toolbox, nginx.image()])


class RunningCluster:
    """A cluster on a loop of its own, in a thread: tests talk to it by HTTPS like anybody else."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.credentials = Credentials()
        self.issuer = ServiceAccountIssuer(ISSUER)
        self._certificate = ServerCertificate.for_loopback()
        self._loop = asyncio.new_event_loop()
        self._stop: asyncio.Event
        ready = threading.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._run(ready),), daemon=True)
        self._thread.start()
        assert ready.wait(60)

    async def _run(self, ready: threading.Event) -> None:
        self._stop = asyncio.Event()
        network = Network()
        images = _images()
        nodes = [
            Node(f"ip-10-0-{n}-{n}0.ec2.internal", network=network, images=images, ip=f"10.0.{n}.{n}0") for n in (1, 2)
        ]
        self.cluster = Cluster(
            nodes=nodes,
            credentials=self.credentials,
            issuer=self.issuer,
            certificate=self._certificate.certificate,
            aws_user={
                "k8s-aws-v1.alice": User("alice", ("system:authenticated",), grants=(("cluster-admin", ""),)),
                "k8s-aws-v1.bob": User("bob", ("system:authenticated",), grants=(("view", "default"),)),
            }.get,
        )
        runner = web.AppRunner(self.cluster.web_app(), access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        pem = self.home / "server.pem"
        pem.write_bytes(self._certificate.certificate + self._certificate.key)
        context.load_cert_chain(pem)
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
        await site.start()
        self.url = f"https://127.0.0.1:{runner.addresses[0][1]}"
        self.ca = self.home / "ca.pem"
        self.ca.write_bytes(self._certificate.certificate)
        self.kubeconfig = self.home / "kubeconfig"
        self.kubeconfig.write_text(json.dumps(self._kubeconfig(self.credentials.kubernetes_token)))
        await self.cluster.start()
        ready.set()
        await self._stop.wait()
        await self.cluster.stop()
        await runner.cleanup()

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(60)

    def call(self, function: Callable[..., Any], *args: Any) -> Any:
        """Calls a plain function on the cluster's loop."""

        async def run() -> Any:
            return function(*args)

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(60)

    def _kubeconfig(self, token: str) -> dict[str, Any]:
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {
                    "name": "lab",
                    "cluster": {
                        "server": self.url,
                        "certificate-authority-data": b64encode(self._certificate.certificate).decode(),
                    },
                }
            ],
            "users": [{"name": "lab", "user": {"token": token}}],
            "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": "lab"}}],
            "current-context": "lab",
        }

    def api_client(self, token: str | None = None) -> client.ApiClient:
        """The official client, as the lab's administrator or with another token."""
        configuration = client.Configuration()
        configuration.host = self.url
        configuration.ssl_ca_cert = str(self.ca)
        configuration.api_key = {"authorization": f"Bearer {token or self.credentials.kubernetes_token}"}
        return client.ApiClient(configuration)


class Errors(logging.Handler):
    """What the cluster logs as an error: a control loop or a request that failed unexpectedly."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(self.format(record))


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningCluster]:
    errors = Errors()
    logging.getLogger("ekslab").addHandler(errors)
    cluster = RunningCluster(tmp_path_factory.mktemp("cluster"))
    yield cluster
    cluster.stop()
    logging.getLogger("ekslab").removeHandler(errors)
    assert errors.messages == []


@pytest.fixture(scope="session")
def api(running: RunningCluster) -> client.ApiClient:
    return running.api_client()


@pytest.fixture(scope="session")
def core(api: client.ApiClient) -> client.CoreV1Api:
    return client.CoreV1Api(api)


@pytest.fixture(scope="session")
def apps(api: client.ApiClient) -> client.AppsV1Api:
    return client.AppsV1Api(api)


@pytest.fixture
def namespace(core: client.CoreV1Api, request: pytest.FixtureRequest) -> Iterator[str]:
    """A namespace of the test's own, gone afterwards."""
    name = "t-" + "".join(c if c.isalnum() else "-" for c in request.node.name.lower())[:50].strip("-")
    core.create_namespace({"metadata": {"name": name}})
    yield name
    core.delete_namespace(name)
    eventually(lambda: name not in [n.metadata.name for n in core.list_namespace().items])


def eventually(condition: Callable[[], Any], timeout: float = 60.0) -> Any:
    """The condition's value as soon as it is true."""
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)
    return value


@pytest.fixture(name="eventually")
def _eventually() -> Callable[..., Any]:
    return eventually


class Started:
    """A command that goes on until it is interrupted; its lines on both outputs, in order."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)

    def line(self, part: str) -> str:
        """The next line that contains a text; those before it are dropped."""
        while part not in (line := self._lines.get(timeout=30)):
            pass
        return line

    def interrupt(self) -> None:
        self._process.send_signal(signal.SIGINT)

    def ended(self) -> int:
        return self._process.wait(30)


class Kubectl:
    """kubectl with the cluster's kubeconfig, in a namespace."""

    def __init__(self, running: RunningCluster, namespace: str) -> None:
        self._environment = {**os.environ, "KUBECONFIG": str(running.kubeconfig), "HOME": str(running.home)}
        self._namespace = namespace

    def run(self, *args: str, stdin: str = "", check: bool = True) -> subprocess.CompletedProcess[str]:
        found = subprocess.run(
            ["kubectl", "-n", self._namespace, *args],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=30,
            env=self._environment,
        )
        assert not check or found.returncode == 0, found.stderr
        return found

    @contextlib.contextmanager
    def started(self, *args: str, **variables: str) -> Iterator[Started]:
        """A command that goes on in the background; killed at the end if it still runs."""
        with subprocess.Popen(
            ["kubectl", "-n", self._namespace, *args],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**self._environment, **variables},
        ) as process:
            try:
                yield Started(process)
            finally:
                process.kill()

    def terminal(self, command: str) -> str:
        """What a person sees who types this command into a terminal."""
        found = subprocess.run(
            ["script", "-qec", f"kubectl -n {self._namespace} {command}", "/dev/null"],
            capture_output=True,
            text=True,
            timeout=30,
            stdin=subprocess.DEVNULL,
            env=self._environment,
        )
        return found.stdout

    def __call__(self, *args: str, stdin: str = "") -> str:
        return self.run(*args, stdin=stdin).stdout


def _kubectl_is_recent() -> bool:
    if shutil.which("kubectl") is None:
        return False
    text = subprocess.run(["kubectl", "version", "--client", "-o", "json"], capture_output=True, text=True).stdout
    try:
        version = json.loads(text)["clientVersion"]["gitVersion"]
        return tuple(int(part) for part in version.removeprefix("v").split(".")[:2]) >= (1, 30)
    except (ValueError, KeyError):
        return False


@pytest.fixture
def kubectl(running: RunningCluster, namespace: str) -> Kubectl:
    if not _kubectl_is_recent():
        pytest.skip("needs kubectl 1.30 or later on the PATH")
    return Kubectl(running, namespace)


def pod_manifest(name: str, *command: str, **spec: Any) -> dict[str, Any]:
    """A pod of the toolbox image; `container` adds to its container, other keywords to its spec."""
    container = {"name": "main", "image": "toolbox:1", **spec.pop("container", {})}
    if command:
        container["command"] = list(command)
    return {"metadata": {"name": name}, "spec": {"containers": [container], **spec}}


@pytest.fixture(name="pod_manifest", scope="session")
def _pod_manifest() -> Callable[..., dict[str, Any]]:
    return pod_manifest


def workload(kind: str, name: str, **spec: Any) -> dict[str, Any]:
    """A Deployment or DaemonSet of the toolbox image."""
    container = {"name": "main", "image": "toolbox:1", **spec.pop("container", {})}
    pod = spec.pop("pod", {})
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": {"containers": [container], **pod}},
            **spec,
        },
    }


@pytest.fixture(name="workload", scope="session")
def _workload() -> Callable[..., dict[str, Any]]:
    return workload
