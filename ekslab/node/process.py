"""A process as its program sees it: the system calls of all families, and shortcuts built on them."""

from __future__ import annotations

from collections.abc import AsyncIterator

from ekslab.node import abi
from ekslab.node.syscalls.attributes import AttributeCalls
from ekslab.node.syscalls.credentials import CredentialCalls
from ekslab.node.syscalls.directories import DirectoryCalls
from ekslab.node.syscalls.loading import LoadingCalls
from ekslab.node.syscalls.memory import MemoryCalls
from ekslab.node.syscalls.processes import ProcessCalls
from ekslab.node.syscalls.signals import SignalCalls
from ekslab.node.syscalls.sockets import SocketCalls


class TextOutput:
    """A process's stdout or stderr, unbuffered."""

    def __init__(self, process: Process, fd: int) -> None:
        self._process = process
        self._fd = fd

    def write(self, data: str | bytes) -> None:
        self._process.write(self._fd, data.encode("utf-8", "surrogateescape") if isinstance(data, str) else data)

    async def drain(self) -> None:
        await self._process.drain(self._fd)


class TextInput:
    """A process's stdin."""

    def __init__(self, process: Process, fd: int = 0) -> None:
        self._process = process
        self._fd = fd
        self._rest = b""
        self._charged = 0

    async def read(self) -> bytes:
        """Everything up to the end."""
        data = bytearray(self._rest)
        while chunk := await self._process.read(self._fd):
            self._process.charge(len(chunk))
            data += chunk
        self._rest = b""
        return bytes(data)

    async def readline(self) -> bytes:
        """A line with its newline; b"" at the end."""
        line = bytearray(self._rest)
        while b"\n" not in line:
            chunk = await self._process.read(self._fd)
            if not chunk:
                break
            self._process.charge(len(chunk))
            self._charged += len(chunk)
            line += chunk
        if self._charged:
            self._process.charge(-self._charged)
            self._charged = 0
        end = line.find(b"\n") + 1 or len(line)
        self._rest = bytes(line[end:])
        return bytes(line[:end])

    async def lines(self) -> AsyncIterator[bytes]:
        while line := await self.readline():
            yield line


class Process(
    ProcessCalls, DirectoryCalls, AttributeCalls, SignalCalls, CredentialCalls, MemoryCalls, LoadingCalls, SocketCalls
):
    """A process with its system calls as methods; the package's docstring lists them."""

    def read_bytes(self, path: str) -> bytes:
        fd = self.open(path, abi.O_RDONLY)
        try:
            return self.read_now(fd)
        finally:
            self.close(fd)

    def read_text(self, path: str) -> str:
        return self.read_bytes(path).decode("utf-8", "surrogateescape")

    def write_bytes(self, path: str, data: bytes, mode: int = 0o666) -> None:
        self._write_file(path, data, abi.O_WRONLY | abi.O_CREAT | abi.O_TRUNC, mode)

    def write_text(self, path: str, text: str, mode: int = 0o666) -> None:
        self.write_bytes(path, text.encode("utf-8", "surrogateescape"), mode)

    def append_text(self, path: str, text: str) -> None:
        self._write_file(
            path, text.encode("utf-8", "surrogateescape"), abi.O_WRONLY | abi.O_CREAT | abi.O_APPEND, 0o666
        )

    def _write_file(self, path: str, data: bytes, flags: int, mode: int) -> None:
        fd = self.open(path, flags, mode)
        try:
            self.write(fd, data)
        finally:
            self.close(fd)

    @property
    def stdin(self) -> TextInput:
        return TextInput(self, 0)

    @property
    def stdout(self) -> TextOutput:
        return TextOutput(self, 1)

    @property
    def stderr(self) -> TextOutput:
        return TextOutput(self, 2)

    def print(self, *values: object) -> None:
        """A line on stdout."""
        self.stdout.write(" ".join(str(value) for value in values) + "\n")

    def fail(self, message: str, code: int = 1) -> int:
        """`<argv0>: message` on stderr; returns `code` so that a program can end with it."""
        self.stderr.write(f"{self.argv[0]}: {message}\n")
        return code
