"""A loopback service that answers FilterLogEvents from encoded pages: so quick that a reader never waits for it.

`python -m benchmarks.service FOLDER` prints its port. It serves the log groups of the folder's files, and ends when its
standard input does. It checks neither signatures nor times: what it can't answer truthfully, it refuses.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from benchmarks.pages import Group

# What a request may ask for: all events of a window, oldest first.
_UNDERSTOOD = {"logGroupName", "logStreamNames", "limit", "startTime", "endTime", "nextToken"}


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
        found = [Group.load(file) for file in folder.glob("*.pages")]
        self._groups = {group.name: group for group in found if group is not None}
        self._files = {name: os.open(group.file, os.O_RDONLY) for name, group in self._groups.items()}

    def serve(self, connection: socket.socket) -> None:
        """Answers the requests of a connection until the client closes it."""
        with connection, suppress(ConnectionError):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            stream = connection.makefile("rb")
            while request := _request(stream):
                self._answer(connection, *request)

    def _answer(self, connection: socket.socket, operation: str, asked: dict[str, Any]) -> None:
        group = self._groups.get(str(asked.get("logGroupName")))
        if operation == "DescribeLogStreams":
            _send(connection, 200, orjson.dumps({"logStreams": [{"logStreamName": "alerts"}]}))
        elif operation != "FilterLogEvents" or group is None or asked.keys() - _UNDERSTOOD:
            problem = {"__type": "InvalidParameterException", "message": f"not served: {operation} {asked}"}
            _send(connection, 400, orjson.dumps(problem))
        else:
            self._page(connection, group, asked)

    def _page(self, connection: socket.socket, group: Group, asked: dict[str, Any]) -> None:
        start, end = asked.get("startTime", 0), asked.get("endTime", 1 << 62)
        inside = [i for i, (_, _, first, last) in enumerate(group.pages) if first <= end and last >= start]
        page = int(asked["nextToken"]) if "nextToken" in asked else next(iter(inside), 0)
        at, ends, first, last = group.pages[page]
        is_last = not inside or page == inside[-1]
        if start <= first and last <= end and (not is_last or page == len(group.pages) - 1):
            _send(connection, 200, b"", length=ends - at)
            while at < ends:
                at += os.sendfile(connection.fileno(), self._files[group.name], at, ends - at)
            return
        body = orjson.loads(os.pread(self._files[group.name], ends - at, at))
        body["events"] = [event for event in body["events"] if start <= event["timestamp"] <= end]
        if is_last:
            body.pop("nextToken", None)
        _send(connection, 200, orjson.dumps(body))


def _request(stream: BinaryIO) -> tuple[str, dict[str, Any]] | None:
    """The operation and its parameters; None at the end."""
    if not stream.readline():
        return None
    headers = {}
    while line := stream.readline().strip():
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.lower()] = value.strip()
    parameters = orjson.loads(stream.read(int(headers.get("content-length", 0))) or b"{}")
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
