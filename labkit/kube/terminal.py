"""A command in a container, connected to this process's own input and output: the terminal, or a pipe."""

from __future__ import annotations

import contextlib
import json
import os
import re
import selectors
import signal
import ssl
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import Any

from labkit.errors import ExecError
from labkit.kube.client import Client
from labkit.kube.exec import BLOCKED, connect, exit_code, frame, refused

_STDIN, _STDOUT, _STDERR, _ERROR, _RESIZE, _CLOSE = 0, 1, 2, 3, 4, 255
_CLOSES_INPUT = "v5.channel.k8s.io"
_CONNECT = 30.0  # seconds
_PING = 5.0  # seconds between pings
_SILENCE = 30.0  # seconds without any frame, pongs included, until the connection counts as lost
_READ = 16 * 1024  # bytes
_MODE = re.compile(rb"\x1b\[\?([\d;]{1,64})([hl])")


class Terminated(BaseException):
    """A signal ended the session. `number` is the signal's."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def is_terminal() -> bool:
    """Whether standard input and output are both a terminal."""
    return _is_tty(0) and _is_tty(1)


def attach(client: Client, path: str, argv: Sequence[str], *, tty: bool, greeting: Callable[[], None]) -> int:
    """Runs the command that `path`, an exec request, names; its exit code.

    With `tty`, this process's terminal is in raw mode until the command has ended, and its size follows the window's.
    Else, input is passed on until its end, and standard output and error stay apart. `greeting` is called before the
    first output. Raises `ExecError` (`NoProgramError` if the image doesn't have the program), also if the connection
    is lost, and `Terminated` for SIGTERM and SIGHUP, with the terminal as it was before.
    """
    from kubernetes.stream.ws_client import get_websocket_url
    from websocket import WebSocketBadStatusException, WebSocketException

    configuration = client.client.configuration
    try:
        socket = connect(configuration, get_websocket_url(configuration.host + path), client.authorization(), _CONNECT)
    except WebSocketBadStatusException as error:
        raise refused(error, argv) from error
    except (OSError, WebSocketException) as error:
        raise client.unreachable(error) from error
    try:
        if not tty and socket.subprotocol != _CLOSES_INPUT:
            raise ExecError(
                "This cluster can't be told where the input ends: it has Kubernetes 1.29 or earlier.",
                hint='Use a terminal, or `labkit exec POD --stdin "$(cat FILE)" -- ARGV`.',
            )
        status = _Session(socket, tty, greeting).run()
    finally:
        socket.shutdown()
    if status is None:
        raise ExecError(
            f"The connection to `{' '.join(argv)}` was lost; it may still be running in the pod.",
            hint="Check that the cluster answers and the pod is there: `labkit status`, `kubectl get pods`. "
            "Then open a new shell.",
        )
    return exit_code(json.loads(status), argv)


class _Session:
    """One command's connection, from the first frame to its status."""

    def __init__(self, socket: Any, tty: bool, greeting: Callable[[], None]) -> None:
        self.socket = socket
        self.raw = socket.sock
        self.tty = tty
        self._greeting: Callable[[], None] | None = greeting
        self._unsent = memoryview(b"")
        self._waiting: deque[bytes] = deque()
        self._modes: set[bytes] = set()
        self._reads = True  # from standard input, which has not ended

    def run(self) -> bytes | None:
        """Passes bytes on until the command has ended; its Status object, or None if the connection was lost."""
        status = None
        with _signals() as woken, _raw_mode(self.tty) as enter_raw:
            try:
                self.raw.setblocking(False)
                if self.tty:
                    self._resize()
                status = self._loop(woken, enter_raw)
            finally:
                self._reset_screen(cut_off=status is None)
        return status

    def _loop(self, woken: int, enter_raw: Callable[[], None]) -> bytes | None:
        from websocket import ABNF

        heard = pinged = time.monotonic()
        while True:
            self._send()
            reads: list[Any] = [self.raw, woken]
            if self._reads and not self._unsent:
                reads.append(0)
            ready = self._ready(reads)
            now = time.monotonic()
            if woken in ready:
                numbers = os.read(woken, 1024)
                if signal.SIGCONT in numbers:
                    enter_raw()
                if self.tty and {signal.SIGWINCH, signal.SIGCONT} & set(numbers):
                    self._resize()
            if 0 in ready:
                self._read_input()
            try:
                for opcode, data in self._frames():
                    heard = now
                    if opcode == ABNF.OPCODE_CLOSE:
                        return None
                    if opcode == ABNF.OPCODE_PING:
                        self._waiting.append(frame(data, ABNF.OPCODE_PONG))
                    elif data[:1] == bytes((_ERROR,)) and len(data) > 1:
                        return data[1:]
                    elif data and data[0] in (_STDOUT, _STDERR) and len(data) > 1:
                        self._show(data[0], data[1:])
            except EOFError:
                return None
            if now - heard > _SILENCE:
                return None
            if now - pinged > _PING:
                pinged = now
                self._waiting.append(frame(b"", ABNF.OPCODE_PING))

    def _ready(self, reads: list[Any]) -> set[Any]:
        if isinstance(self.raw, ssl.SSLSocket) and self.raw.pending():
            return set()
        with selectors.SelectSelector() as selector:  # epoll takes no files
            for each in reads:
                writes = selectors.EVENT_WRITE if each is self.raw and self._unsent else 0
                selector.register(each, selectors.EVENT_READ | writes)
            return {key.fileobj for key, _ in selector.select(_PING)}

    def _frames(self) -> Iterator[tuple[int, bytes]]:
        """Frames that have arrived. Raises EOFError at the end of the connection."""
        from websocket import WebSocketException

        try:
            for _ in range(64):
                got = self.socket.recv_frame()
                yield got.opcode, got.data
        except BLOCKED:
            return
        except (OSError, WebSocketException) as error:
            raise EOFError from error

    def _send(self) -> None:
        try:
            while self._unsent or self._waiting:
                if not self._unsent:
                    self._unsent = memoryview(self._waiting.popleft())
                self._unsent = self._unsent[self.raw.send(self._unsent) :]
        except BLOCKED:
            return
        except OSError:  # the command has ended; what it said can still be read
            self._unsent, self._reads = memoryview(b""), False
            self._waiting.clear()

    def _read_input(self) -> None:
        from websocket import ABNF

        try:
            data = os.read(0, _READ)
        except OSError:  # the terminal is gone, or standard input was closed
            data = b""
        if data:
            self._waiting.append(frame(bytes((_STDIN,)) + data, ABNF.OPCODE_BINARY))
            return
        self._reads = False
        if self.tty:
            raise Terminated(signal.SIGHUP)
        self._waiting.append(frame(bytes((_CLOSE, _STDIN)), ABNF.OPCODE_BINARY))

    def _show(self, channel: int, data: bytes) -> None:
        if self._greeting is not None:
            greeting, self._greeting = self._greeting, None
            greeting()
        if self.tty:
            for match in _MODE.finditer(data):
                change = self._modes.add if match[2] == b"h" else self._modes.discard
                for mode in match[1].split(b";"):
                    change(mode)
                    if mode == b"25":  # the cursor, which is there unless a program hides it
                        (self._modes.add if match[2] == b"l" else self._modes.discard)(mode)
        _write(channel, data)

    def _resize(self) -> None:
        from websocket import ABNF

        with contextlib.suppress(OSError):
            columns, rows = os.get_terminal_size(1)
            if columns and rows:
                size = json.dumps({"Width": columns, "Height": rows}).encode()
                self._waiting.append(frame(bytes((_RESIZE,)) + size, ABNF.OPCODE_BINARY))

    def _reset_screen(self, *, cut_off: bool) -> None:
        """Ends what a program that was killed has done to the terminal: other screen, mouse, bracketed paste."""
        ends = b"".join(b"\x1b[?" + mode + (b"h" if mode == b"25" else b"l") for mode in sorted(self._modes))
        if self.tty and cut_off:
            ends += b"\x1b[0m\r\n"
        with contextlib.suppress(OSError):
            _write(_STDOUT, ends)


def _write(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


def _is_tty(fd: int) -> bool:
    try:
        return os.isatty(fd)
    except OSError:
        return False


@contextlib.contextmanager
def _signals() -> Iterator[int]:
    """A descriptor from which the numbers of signals can be read; those that end the process raise `Terminated`."""

    def ends(number: int, at: FrameType | None) -> None:
        raise Terminated(number)

    def wakes(number: int, at: FrameType | None) -> None:
        """Only interrupts the wait."""

    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    handlers = {signal.SIGTERM: ends, signal.SIGHUP: ends, signal.SIGWINCH: wakes, signal.SIGCONT: wakes}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    woken_before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    try:
        yield reader
    finally:
        signal.set_wakeup_fd(woken_before)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(reader)
        os.close(writer)


@contextlib.contextmanager
def _raw_mode(wanted: bool) -> Iterator[Callable[[], None]]:
    """Passes every key on as it is typed, until the end. What is given enters the mode again, after a stop."""
    if not wanted:
        yield lambda: None
        return
    import termios
    import tty

    before = termios.tcgetattr(0)

    def enter() -> None:
        tty.setraw(0, termios.TCSADRAIN)

    enter()
    try:
        yield enter
    finally:
        with contextlib.suppress(termios.error):  # the terminal is gone
            termios.tcsetattr(0, termios.TCSADRAIN, before)
        sys.stdout.flush()
