"""Starts labs for tests by forking: a process that has imported the lab already forks for each of them.

What runs is `ekslab.server.main` with the arguments, environment and open files of the process that asked; only the
second of imports and parsed policies is paid once. `tests/ekslab/test_client.py` starts labs as `labkit up` does.
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import socket
import subprocess
import sys
from pathlib import Path

_CLIENT = """
import json, os, re, socket, sys
ready = int(next(a for a in sys.argv if a.startswith("--ready-fd=")).partition("=")[2])
connection = socket.socket(socket.AF_UNIX)
connection.connect(sys.argv[1])
request = {"arguments": sys.argv[2:], "environment": dict(os.environ), "folder": os.getcwd(), "ready": ready}
data = json.dumps(request).encode() + b"\\n"
sent = socket.send_fds(connection, [data], [0, 1, 2, ready])
connection.sendall(data[sent:])
connection.recv(1)
"""


def start(folder: Path) -> tuple[subprocess.Popen[bytes], list[str]]:
    """The process, which ends with this one, and the program that starts a lab by it."""
    address = str(folder / "socket")
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.lab_forks", address],
        cwd=Path(__file__).parent.parent,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    return process, [sys.executable, "-ISc", _CLIENT, address]


def _serve(address: str) -> None:
    from ekslab import server
    from ekslab.aws import Aws
    from ekslab.identity import Credentials, ServiceAccountIssuer
    from ekslab.lab import EmbeddedLab  # noqa: F401

    Aws(credentials=Credentials(), issuer=ServiceAccountIssuer("https://oidc.example/id/0")).account.load()
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
            _become_lab(connection)
            sys.exit(server.main())
        connection.close()


def _become_lab(connection: socket.socket) -> None:
    """Takes over what the asking process had."""
    data, files, *_ = socket.recv_fds(connection, 1 << 20, 4)
    while not data.endswith(b"\n"):
        data += connection.recv(1 << 20)
    connection.close()
    request = json.loads(data)
    os.setsid()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for number, file in zip((0, 1, 2, request["ready"]), files, strict=True):
        os.dup2(file, number)
    for file in files:
        if file != request["ready"]:
            os.close(file)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.argv[1:] = request["arguments"]


def _reap() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


if __name__ == "__main__":
    _serve(sys.argv[1])
