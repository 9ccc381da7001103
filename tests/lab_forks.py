"""Starts labs for tests, and the stand-in for Helm where it only reads, by forking a process that has imported both.

What runs is `ekslab.server.main` or `ekslab.helm.cli.main` with the arguments, environment and open files of the
process that asked; only imports, policies and models of services are paid once. A test marked `start_up` starts labs
as `labkit up` does, and commands that change a release are programs of their own.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

_SERVICES = ("eks", "iam", "lambda", "logs", "monitoring", "securityhub", "sns", "sqs", "sts")
"""Signing names of the services that tests use."""
_LAZY = ("ekslab.lab", "ekslab.images.falco", "ekslab.images.fluent_bit", "ekslab.images.nginx", "falcorules.engine")
_LAZY += ("ekslab.helm.cli", "botocore.auth", "moto.eks.models", "moto.iam.responses", "moto.iam.urls", "moto.sts")
_READS = {"get", "history", "list", "status"}
"""Commands of Helm that change nothing."""
_CLIENT = """
import json, os, socket, sys
ready = int(next(a for a in sys.argv if a.startswith("--ready-fd=")).partition("=")[2])
connection = socket.socket(socket.AF_UNIX)
connection.connect(sys.argv[1])
request = {"lab": ready, "arguments": sys.argv[2:], "environment": dict(os.environ), "folder": os.getcwd()}
data = json.dumps(request).encode() + b"\\n"
sent = socket.send_fds(connection, [data], [0, 1, 2, ready])
connection.sendall(data[sent:])
connection.recv(1)
"""


class Forks:
    """The process that forks; it ends with this one, or with `process.communicate()`."""

    def __init__(self, folder: Path) -> None:
        self._address = str(folder / "socket")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.lab_forks", self._address],
            cwd=Path(__file__).parent.parent,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"ready\n"
        self.lab = [sys.executable, "-ISc", _CLIENT, self._address]
        """The program that starts a lab."""

    def reads(self, argv: Sequence[str]) -> bool:
        """Whether a command is one of the stand-in for Helm that changes nothing."""
        return list(argv[:3]) == [sys.executable, "-m", "ekslab.helm"] and argv[3] in _READS

    def helm(self, argv: Sequence[str], seconds: float) -> subprocess.CompletedProcess[str]:
        """Runs such a command to its end. Raises `subprocess.TimeoutExpired`."""
        with (
            tempfile.TemporaryFile("w+", encoding="utf-8") as out,
            tempfile.TemporaryFile("w+", encoding="utf-8") as err,
            open(os.devnull) as nothing,
            socket.socket(socket.AF_UNIX) as connection,
        ):
            connection.connect(self._address)
            connection.settimeout(seconds)
            request = {"lab": 0, "arguments": argv[3:], "environment": dict(os.environ), "folder": os.getcwd()}
            data = json.dumps(request).encode() + b"\n"
            files = [nothing.fileno(), out.fileno(), err.fileno()]
            connection.sendall(data[socket.send_fds(connection, [data], files) :])
            try:
                code = connection.recv(1)
            except TimeoutError as error:
                raise subprocess.TimeoutExpired(list(argv), seconds) from error
            out.seek(0)
            err.seek(0)
            return subprocess.CompletedProcess(argv, code[0] if code else -signal.SIGKILL, out.read(), err.read())


def _serve(address: str) -> None:
    from ekslab.aws import Aws, protocols
    from ekslab.identity import Credentials, ServiceAccountIssuer

    for module in _LAZY:
        importlib.import_module(module)
    Aws(credentials=Credentials(), issuer=ServiceAccountIssuer("https://oidc.example/id/0")).account.load()
    for service in _SERVICES:
        protocols.service_model(service)
    gc.collect()
    gc.freeze()
    signal.signal(signal.SIGCHLD, lambda *_: _reap())
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen()
    print("ready", flush=True)
    while sys.stdin not in select.select([listener, sys.stdin], [], [])[0]:
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            _run(connection)
        connection.close()


def _run(connection: socket.socket) -> NoReturn:
    from ekslab import server
    from ekslab.helm import cli

    if _take_over(connection)["lab"]:
        connection.close()
        sys.exit(server.main())
    code = 1
    try:
        cli.main()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        connection.sendall(bytes([code]))
    os._exit(code)


def _take_over(connection: socket.socket) -> dict[str, Any]:
    """Takes over what the asking process had."""
    data, files, *_ = socket.recv_fds(connection, 1 << 20, 4)
    while not data.endswith(b"\n"):
        data += connection.recv(1 << 20)
    request: dict[str, Any] = json.loads(data)
    os.setsid()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for number, file in zip((0, 1, 2, request["lab"]), files, strict=False):
        os.dup2(file, number)
    for file in files:
        if file != request["lab"]:
            os.close(file)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.argv[1:] = request["arguments"]
    return request


def _reap() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


if __name__ == "__main__":
    _serve(sys.argv[1])
