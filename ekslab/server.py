"""The process of an embedded lab: serves AWS and the Kubernetes API on two ports of loopback.

`ekslab.client` starts it. It writes the state folder, and `ready` or an error message to the pipe `--ready-fd`. It ends
on SIGTERM, after `--idle-minutes` without a request, and with the process `--parent`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import errno
import functools
import gc
import importlib
import logging
import os
import random
import resource
import secrets
import signal
import socket
import ssl
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aiohttp import web

from ekslab import connections, memory, state, versions
from ekslab.control import Control
from ekslab.identity import Credentials, ServerCertificate, ServiceAccountIssuer
from ekslab.names import hex_id
from ekslab.node.limits import MIB
from ekslab.node.turns import Turns
from ekslab.state import Endpoints

ACCOUNT_ID = "111122223333"
NICE = "EKSLAB_NICE"
"""Environment variable with the niceness of the process: on a computer with many labs, notebooks come first."""
_MAX_URL = 512 * 1024  # bytes; the URL of an exec holds the command, percent-encoded
_ADDRESS_SPACE = 4 * 1024**3  # bytes; a lab in use takes some 0.2 GB of memory and 1 GB of address space
_PROGRAM_MEMORY = 520 * MIB  # of the process; above it, programs in pods that grow are ended
_ALLOCATIONS = 640 * MIB  # that the process can make after it is ready
logger = logging.getLogger("ekslab")


class IdleClock:
    """Knows the time of the last request."""

    def __init__(self) -> None:
        self.last_request = time.monotonic()

    @web.middleware
    async def middleware(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self.last_request = time.monotonic()
        try:
            response: web.StreamResponse = await handler(request)
            return response
        finally:
            self.last_request = time.monotonic()  # a request may last for hours: a log that is followed

    async def wait_until_idle(self, minutes: float) -> None:
        """Returns when there has been no request for so many minutes."""
        while (left := self.last_request + minutes * 60 - time.monotonic()) > 0:
            await asyncio.sleep(left)


async def serve(options: argparse.Namespace) -> None:
    """Runs the lab until it is stopped, idle, or its parent ends."""
    from ekslab.lab import EmbeddedLab  # slow to import: after the arguments have been parsed

    started = time.monotonic()
    home: Path = options.home
    held = state.hold(home)
    previous = state.previous(home)
    credentials = previous.credentials if previous else Credentials()
    certificate = previous.certificate if previous else None
    if certificate is None or certificate.expires_soon:
        certificate = ServerCertificate.for_loopback()
    aws_socket = _listen(options.aws_port, previous.aws_port if previous else 0)
    kubernetes_socket = _listen(options.kubernetes_port, previous.kubernetes_port if previous else 0)
    endpoints = Endpoints(
        pid=os.getpid(),
        id=secrets.token_hex(8),
        region=options.region,
        cluster=options.cluster,
        account_id=ACCOUNT_ID,
        aws_port=aws_socket.getsockname()[1],
        kubernetes_port=kubernetes_socket.getsockname()[1],
        credentials=credentials,
        certificate=certificate,
        home=home,
    )
    issuer = f"https://oidc.eks.{options.region}.amazonaws.com/id/{hex_id(32, options.cluster, options.region).upper()}"
    lab = EmbeddedLab(endpoints, ServiceAccountIssuer(issuer), nodes=options.nodes, functions=options.function)

    idle = IdleClock()
    aws_app, kubernetes_app = lab.aws.web_app(), lab.cluster.web_app()
    for app in (aws_app, kubernetes_app):
        app.middlewares.insert(0, idle.middleware)

    def health() -> dict[str, Any]:
        return {
            "pid": os.getpid(),
            "id": endpoints.id,
            "uptime": round(time.monotonic() - started, 3),
            "memory": memory.resident() or memory.peak(),
            "kubernetes_version": versions.KUBERNETES,
            "load": lab.aws.load.described(endpoints.region),
            "noise": lab.noise.described(),
            **lab.describe(),
        }

    console = _Console(endpoints, options.diagnosis)
    control = Control(lab, credentials.kubernetes_token, health, console.started)
    aws_app.middlewares.insert(0, control.middleware)

    servers = [await _serve(aws_app, aws_socket), await _serve(kubernetes_app, kubernetes_socket, certificate)]
    await lab.start()
    state.write(endpoints)
    os.write(options.ready_fd, b"ready")
    os.close(options.ready_fd)
    options.ready_fd = -1
    _limit_allocations()
    gc.collect()
    gc.freeze()  # these objects stay: later collections need not visit them
    Turns.of(asyncio.get_running_loop()).memory_limit = _PROGRAM_MEMORY
    logger.info("ready after %.2f s: AWS %s, Kubernetes %s", time.monotonic() - started, endpoints.aws_url, home)

    stop = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    warm_up = asyncio.create_task(lab.aws.warm_up())  # slow to load, and not always needed
    reopened = asyncio.create_task(console.reopen())
    let_others_first = asyncio.create_task(_let_others_first(os.environ.get(NICE, "")))
    reasons = {
        asyncio.create_task(stop.wait()): "asked to",
        asyncio.create_task(idle.wait_until_idle(options.idle_minutes)): f"idle for {options.idle_minutes:g} minutes",
    }
    if options.parent:
        reasons[asyncio.create_task(_wait_for_end(options.parent))] = f"process {options.parent} ended"
    waits = list(reasons)
    done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    logger.info("stopping: %s", reasons[done.pop()])
    for task in (*waits, warm_up, reopened, let_others_first):
        task.cancel()
    await console.close()
    state.remove(home)
    await lab.stop()
    for listener, runner in servers:
        listener.close()
        await runner.cleanup()
    held.close()


class _Console:
    """The console, which is a package that may be missing: imported and started when it is first asked for."""

    def __init__(self, endpoints: Endpoints, diagnosis: Sequence[str]) -> None:
        self._endpoints = endpoints
        self._diagnosis = diagnosis
        self._running: Any = None
        self._starting = asyncio.Lock()

    async def started(self) -> Any:
        """The running console; None if the lab has none."""
        async with self._starting:
            if self._running is None and (Path(__file__).parent / "console").is_dir():
                module = await asyncio.to_thread(importlib.import_module, "ekslab.console.server")
                console = module.Console(self._endpoints, self._diagnosis)
                await console.start(functools.partial(_listen, 0))
                self._running = console
        return self._running

    async def reopen(self) -> None:
        """Starts the console if an earlier lab of this folder had one: pages that are open connect again."""
        if (self._endpoints.home / "console.json").exists():
            await self.started()

    async def close(self) -> None:
        if self._running is not None:
            await self._running.close()


async def _let_others_first(niceness: str) -> None:
    """Gives this process a niceness, and the group of its session, where Linux shares processors among groups."""
    if not niceness.isdecimal() or not int(niceness):
        return
    os.nice(int(niceness))
    with contextlib.suppress(OSError):
        while True:
            try:
                Path("/proc/self/autogroup").write_text(niceness, encoding="ascii")
                return
            except BlockingIOError:  # Linux takes ten a second from all processes of users
                await asyncio.sleep(random.uniform(0.1, 1))


async def _wait_for_end(pid: int) -> None:
    """Returns when the process has ended."""
    if hasattr(os, "pidfd_open"):
        with contextlib.suppress(ProcessLookupError):
            descriptor = os.pidfd_open(pid)
            ended = asyncio.Event()
            asyncio.get_running_loop().add_reader(descriptor, ended.set)
            await ended.wait()
            asyncio.get_running_loop().remove_reader(descriptor)
            os.close(descriptor)
        return
    with contextlib.suppress(ProcessLookupError):
        while True:
            os.kill(pid, 0)
            await asyncio.sleep(1.0)


def _listen(wanted: int, preferred: int) -> socket.socket:
    """A listening socket on loopback, on the port `wanted`; if that is 0, on the `preferred` or else any free port."""
    for port in [wanted] if wanted else [preferred, 0]:
        candidate = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            candidate.bind(("127.0.0.1", port))
            candidate.listen(128)
        except OSError as error:
            candidate.close()
            if error.errno not in (errno.EADDRINUSE, errno.EACCES) or port == wanted:
                raise
        else:
            return candidate
    raise AssertionError("port 0 can always be bound")


async def _serve(
    app: web.Application, listener: socket.socket, certificate: ServerCertificate | None = None
) -> tuple[asyncio.Server, web.AppRunner]:
    # Bodies are not decompressed here: an AWS signature covers the compressed body.
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0, auto_decompress=False, max_line_size=_MAX_URL)
    await runner.setup()
    return await connections.serve(runner, listener, _tls(certificate) if certificate else None), runner


def _tls(certificate: ServerCertificate) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.NamedTemporaryFile(suffix=".pem") as file:  # the ssl module reads keys from files only
        file.write(certificate.certificate + certificate.key)
        file.flush()
        context.load_cert_chain(file.name)
    return context


def _limit_memory() -> None:
    """Limits the address space of the process."""
    with contextlib.suppress(OSError, ValueError):  # not supported everywhere; a lower limit may be set already
        resource.setrlimit(resource.RLIMIT_AS, (_ADDRESS_SPACE, _ADDRESS_SPACE))


def _limit_allocations() -> None:
    """Limits the data of the process (Linux), so that a single enormous allocation fails at once."""
    with contextlib.suppress(OSError, ValueError, StopIteration):
        status = Path("/proc/self/status").read_text().splitlines()
        held = next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmData:"))
        resource.setrlimit(resource.RLIMIT_DATA, (held + _ALLOCATIONS, held + _ALLOCATIONS))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m ekslab.server", description=__doc__)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--region", default="us-east-1")
    parser.add_argument("--cluster", default="falco-workshop")
    parser.add_argument("--nodes", type=int, default=2)
    parser.add_argument("--idle-minutes", type=float, default=240.0)
    parser.add_argument("--aws-port", type=int, default=0)
    parser.add_argument("--kubernetes-port", type=int, default=0)
    parser.add_argument(
        "--function", type=Path, action="append", default=[], help="File that functions may consist of."
    )
    parser.add_argument(
        "--diagnosis",
        action="append",
        default=[],
        help="Word of the command that finds broken links.",
    )
    parser.add_argument("--ready-fd", type=int, required=True)
    parser.add_argument("--parent", type=int, default=0, help="End when this process ends.")
    options = parser.parse_args()
    _limit_memory()
    connections.raise_file_limit()
    memory.keep_below_full()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        asyncio.run(serve(options))
    except OSError as error:
        if error.errno not in (errno.EADDRINUSE, errno.EACCES) or error.filename:
            if options.ready_fd >= 0:
                what = f"{error.filename or 'a file'} can't be written: {error.strerror}"
                os.write(options.ready_fd, what.encode("utf-8", "replace"))
            raise
        ports = ", ".join(str(p) for p in (options.aws_port, options.kubernetes_port) if p)
        os.write(options.ready_fd, f"a port is in use ({ports}): choose another, or 0 for any free one.".encode())
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
