"""A loopback service that answers FilterLogEvents from encoded pages: so quick that a reader never waits for it.

`python -m benchmarks.service FOLDER` prints its port. It serves the log groups of the folder's files, and ends when its
standard input does. It checks neither signatures nor times: what it can't answer truthfully, it refuses.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

# What a request may ask for: the whole group, in order.
_UNDERSTOOD = {"logGroupName", "logStreamNames", "limit", "nextToken"}


@contextmanager
def running(folder: Path) -> Iterator[str]:
    """The service in a process of its own; the value is its URL."""
    command = [sys.executable, "-m", "benchmarks.service", str(folder)]
    root = Path(__file__).parent.parent
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=root) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.stdin.close()


class Service:
    """Pages of log groups, by the groups' names."""

    def __init__(self, folder: Path) -> None:
        self._bounds: dict[str, list[int]] = {}
        self._files: dict[str, int] = {}
        for index in folder.glob("*.json"):
            self._bounds[index.stem] = json.loads(index.read_text())["bounds"]
            self._files[index.stem] = os.open(index.with_suffix(".pages"), os.O_RDONLY)

    def serve(self, connection: socket.socket) -> None:
        """Answers the requests of a connection until the client closes it."""
        with connection, suppress(ConnectionError):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            stream = connection.makefile("rb")
            while request := _request(stream):
                self._answer(connection, *request)

    def _answer(self, connection: socket.socket, operation: str, parameters: dict[str, object]) -> None:
        name = str(parameters.get("logGroupName"))
        if operation == "DescribeLogStreams":
            _send(connection, 200, json.dumps({"logStreams": [{"logStreamName": "alerts"}]}).encode())
        elif operation != "FilterLogEvents" or name not in self._bounds or parameters.keys() - _UNDERSTOOD:
            problem = {"__type": "InvalidParameterException", "message": f"not served: {operation} {parameters}"}
            _send(connection, 400, json.dumps(problem).encode())
        else:
            page = int(str(parameters.get("nextToken", 0)))
            first, end = self._bounds[name][page : page + 2]
            _send(connection, 200, b"", length=end - first)
            while first < end:
                first += os.sendfile(connection.fileno(), self._files[name], first, end - first)


def _request(stream: BinaryIO) -> tuple[str, dict[str, object]] | None:
    """The operation and its parameters; None at the end."""
    if not stream.readline():
        return None
    headers = {}
    while line := stream.readline().strip():
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.lower()] = value.strip()
    parameters = json.loads(stream.read(int(headers.get("content-length", 0))) or b"{}")
    return headers.get("x-amz-target", "").partition(".")[2], parameters


def _send(connection: socket.socket, status: int, body: bytes, *, length: int | None = None) -> None:
    head = f"HTTP/1.1 {status} OK\r\nContent-Type: application/x-amz-json-1.1\r\n"
    connection.sendall(f"{head}Content-Length: {len(body) if length is None else length}\r\n\r\n".encode() + body)


def main() -> None:
    service = Service(Path(sys.argv[1]))
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)

    def accept() -> None:
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=service.serve, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    sys.stdin.read()


if __name__ == "__main__":
    main()
