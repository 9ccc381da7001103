"""Commands in containers, over the API server's WebSocket: sends input, reads output, keeps a deadline."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import selectors
import ssl
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from labkit.calls import shortened
from labkit.errors import ExecError, StoppedError
from labkit.kube.client import Client
from labkit.kube.objects import Object

MAX_OUTPUT = 64 * 1024 * 1024  # bytes
_PROTOCOLS = ["v5.channel.k8s.io", "v4.channel.k8s.io"]  # input can be closed in the first only
_STDIN, _STDOUT, _STDERR, _ERROR, _CLOSE = 0, 1, 2, 3, 255
_MESSAGE = 64 * 1024  # bytes of input in one message
BLOCKED = (ssl.SSLWantReadError, ssl.SSLWantWriteError, BlockingIOError)


@dataclass(frozen=True)
class Ran:
    """Where a command ran, and from when to when (UTC, by the cluster's clock)."""

    argv: tuple[str, ...]
    namespace: str
    pod: str
    container: str
    started: dt.datetime
    ended: dt.datetime


@dataclass(frozen=True)
class ExecResult:
    """What a command in a pod printed, and how it ended. With a terminal, everything is in `stdout`."""

    stdout: str
    stderr: str
    exit_code: int
    ran: Ran | None = field(default=None, compare=False)
    """Where and when."""

    def __str__(self) -> str:
        return self.stdout + self.stderr

    def __repr__(self) -> str:
        """In a notebook: what a terminal would show, and the exit code if it isn't 0."""
        text = str(self).replace("\r\n", "\n").rstrip("\n")
        if self.exit_code:
            text += f"\n(exit code {self.exit_code})"
        return text.strip("\n") or "(no output)"


def run(
    client: Client, path: str, argv: Sequence[str], *, stdin: str | bytes | None, tty: bool, timeout: float
) -> ExecResult:
    """Runs the command that `path`, an exec request, names. Raises `ExecError` and `StoppedError`."""
    from kubernetes.stream.ws_client import get_websocket_url
    from websocket import WebSocketBadStatusException, WebSocketException, WebSocketTimeoutException

    configuration = client.client.configuration
    data = stdin.encode() if isinstance(stdin, str) else stdin
    if tty:  # at a terminal the end of input is a character (Ctrl-D) on a line of its own; a pipe is closed
        data = data or b""
        data += b"\x04" if not data or data.endswith(b"\n") else b"\n\x04"
    command = " ".join(argv)
    try:
        found = exchange(
            configuration,
            get_websocket_url(configuration.host + path),
            client.authorization(),
            stdin=data,
            close=not tty,
            timeout=timeout,
        )
        status = json.loads(found.status or b"{}")
    except WebSocketBadStatusException as error:
        raise refused(error, argv) from error
    except (TimeoutError, WebSocketTimeoutException):
        raise ExecError(
            f"`{command}` was still running after {timeout:.0f} s.",
            hint="Give it an end (an argument, input on stdin), or a longer timeout.",
        ) from None
    except OutputTooLarge:
        raise ExecError(
            f"`{command}` printed more than {MAX_OUTPUT // 1024**2} MB, and was stopped.",
            hint="Let it print less, for example with `| head`.",
        ) from None
    except KeyboardInterrupt:
        raise StoppedError(f"Stopped `{command}`.", hint="It may still be running in the pod.") from None
    except (OSError, WebSocketException) as error:
        raise client.unreachable(error) from error
    out, err = found.stdout, found.stderr
    return ExecResult(out.decode("utf-8", "replace"), err.decode("utf-8", "replace"), exit_code(status, argv))


def refused(error: Any, argv: Sequence[str]) -> ExecError:
    """The error for an exec request that the API server has not accepted."""
    body = error.resp_body or b""
    try:
        said = json.loads(body)["message"]
    except (ValueError, KeyError, TypeError):
        said = body.decode("utf-8", "replace").strip() or str(error)
    return ExecError(
        f"`{shortened(' '.join(argv))}` could not be run: {said}", hint="Check the pod, the container and its state."
    )


def exit_code(status: Object, argv: Sequence[str]) -> int:
    """The exit code in the Status object that ends an exec. Raises `ExecError` if the command could not be started."""
    if status.get("status") == "Success":
        return 0
    for cause in (status.get("details") or {}).get("causes", []):
        if cause.get("reason") == "ExitCode":
            return int(cause["message"])
    said = status.get("message", "the connection ended without a status")
    missing = "executable file not found" in said or "no such file or directory" in said
    raise (NoProgramError if missing else ExecError)(
        f"`{shortened(' '.join(argv))}` could not be run: {said}", hint="Is the program in the image? Try `ls /bin`."
    )


class NoProgramError(ExecError):
    """The image doesn't have the program."""


class OutputTooLarge(Exception):
    """The command printed more than `MAX_OUTPUT` bytes."""


@dataclass(frozen=True)
class Exchange:
    """What came back: standard output, standard error, and a Status object as JSON (empty if the connection ended)."""

    stdout: bytes
    stderr: bytes
    status: bytes


def exchange(
    configuration: Any, url: str, headers: Mapping[str, str], *, stdin: bytes | None, close: bool, timeout: float
) -> Exchange:
    """Sends `stdin`, closes it if `close` says so, and reads until the command has ended.

    Leaving, for whatever reason, closes the connection, which ends the command in the embedded lab.
    Raises TimeoutError after `timeout` seconds whatever the server does, `OutputTooLarge`, OSError and websocket's
    errors.
    """
    from websocket import ABNF

    deadline = time.monotonic() + timeout
    socket = connect(configuration, url, headers, timeout)
    channels: dict[int, list[bytes]] = {_STDOUT: [], _STDERR: [], _ERROR: []}
    size = 0
    urgent: deque[bytes] = deque()
    messages = _messages(stdin, close=close and socket.subprotocol == _PROTOCOLS[0])
    unsent = memoryview(b"")
    try:
        raw = socket.sock
        raw.setblocking(False)
        with selectors.DefaultSelector() as selector:
            selector.register(raw, selectors.EVENT_READ)
            while (left := deadline - time.monotonic()) > 0:
                if not unsent:
                    unsent = memoryview(urgent.popleft() if urgent else next(messages, b""))
                selector.modify(raw, selectors.EVENT_READ | (selectors.EVENT_WRITE if unsent else 0))
                if not (isinstance(raw, ssl.SSLSocket) and raw.pending()):
                    selector.select(left)
                try:
                    unsent = unsent[raw.send(unsent) :] if unsent else unsent
                except BLOCKED:
                    pass
                except OSError:  # the command has ended; what it said can still be read
                    messages, unsent = iter(()), memoryview(b"")
                with contextlib.suppress(*BLOCKED):
                    got = socket.recv_frame()
                    if got.opcode == ABNF.OPCODE_CLOSE:
                        return Exchange(*(b"".join(parts) for parts in channels.values()))
                    if got.opcode == ABNF.OPCODE_PING:
                        urgent.append(frame(got.data, ABNF.OPCODE_PONG))
                    elif got.data and got.data[0] in channels:
                        channels[got.data[0]].append(got.data[1:])
                        size += len(got.data)
                        if size > MAX_OUTPUT:
                            raise OutputTooLarge
        raise TimeoutError(f"no end after {timeout:.0f} s")
    finally:
        socket.shutdown()


def _messages(stdin: bytes | None, *, close: bool) -> Iterator[bytes]:
    """Input as frames on its channel."""
    from websocket import ABNF

    for start in range(0, len(stdin or b""), _MESSAGE):
        yield frame(bytes((_STDIN,)) + (stdin or b"")[start : start + _MESSAGE], ABNF.OPCODE_BINARY)
    if stdin is not None and close:
        yield frame(bytes((_CLOSE, _STDIN)), ABNF.OPCODE_BINARY)


def frame(data: bytes, opcode: int) -> bytes:
    """One message of a WebSocket client."""
    from websocket import ABNF

    formatted: bytes = ABNF(1, 0, 0, 0, opcode, 1, data).format()
    return formatted


def connect(configuration: Any, url: str, headers: Mapping[str, str], timeout: float) -> Any:
    """A WebSocket as the official client's `create_websocket` opens it, but with a timeout."""
    import certifi
    from kubernetes.stream import ws_client
    from websocket import WebSocket

    verified = url.startswith("wss://") and configuration.verify_ssl
    options: dict[str, Any] = {"cert_reqs": ssl.CERT_REQUIRED if verified else ssl.CERT_NONE}
    if verified:
        options["ca_certs"] = configuration.ssl_ca_cert or certifi.where()
        if configuration.assert_hostname is not None:
            options["check_hostname"] = configuration.assert_hostname
    further = {
        "certfile": configuration.cert_file,
        "keyfile": configuration.key_file,
        "server_hostname": configuration.tls_server_name,
    }
    options |= {option: value for option, value in further.items() if value}
    connection: dict[str, Any] = {
        "header": [f"{name}: {value}" for name, value in headers.items()],
        "subprotocols": _PROTOCOLS,
        "timeout": timeout,
    }
    if configuration.proxy or configuration.proxy_headers:
        connection = ws_client.websocket_proxycare(connection, configuration, url, headers)
    socket: Any = WebSocket(sslopt=options, skip_utf8_validation=True)
    socket.connect(url, **connection)
    return socket
