"""Open files: what file descriptors refer to, a process's table of them, and the pipes between processes."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Protocol

from ekslab.node import abi
from ekslab.node.abi import error
from ekslab.node.inodes import Device, Directory, File, Inode
from ekslab.node.limits import MIB, Memory

_MOST_FILES = 1024  # that a process has open
_PIPE_SIZE = 65_536
_PIPE_LIMIT = 64 << 20  # for a writer that never waits for its reader


class InputStream(Protocol):
    """A process's input from outside the node."""

    async def read(self, n: int) -> bytes: ...


class OutputStream(Protocol):
    """A process's output that leaves the node. It may have `async drain()`, which is awaited, and `full`: while that is
    true, the process waits."""

    def write(self, data: bytes) -> object: ...


class OpenFile:
    """An open file description, shared by the descriptors that were duplicated from one another.

    `name` is the absolute path that Falco shows, `typechar` and `type` are its words for the kind of file.
    """

    typechar: str = "f"
    type: str = "file"
    inode: Inode | None = None

    def __init__(self, name: str = "", name_raw: str = "", flags: int = 0) -> None:
        self.name: str = name
        self.name_raw: str = name_raw
        self.flags: int = flags
        self.references: int = 1

    @property
    def readable(self) -> bool:
        return self.flags & abi.O_ACCMODE != abi.O_WRONLY

    @property
    def writable(self) -> bool:
        return self.flags & abi.O_ACCMODE != abi.O_RDONLY

    async def read(self, size: int) -> bytes:
        return self.read_now(size)

    def read_now(self, size: int) -> bytes:
        raise error("EINVAL")

    def write(self, data: bytes, now: int) -> int:
        raise error("EINVAL")

    @property
    def full(self) -> bool:
        """Whether the writer has to wait until something was read."""
        return False

    async def drain(self) -> None:
        """Waits until the reader has caught up."""

    def closed(self) -> None:
        """The last descriptor was closed."""


class RegularFile(OpenFile):
    def __init__(self, inode: File, name: str, name_raw: str, flags: int) -> None:
        super().__init__(name, name_raw, flags)
        self.inode: File = inode
        self.offset = 0
        # A computed file is a snapshot, like one read of a file in /proc.
        self._content = inode.content() if type(inode) is not File else None

    def read_now(self, size: int) -> bytes:
        data = self._content if self._content is not None else self.inode.data
        chunk = bytes(data[self.offset : self.offset + size])
        self.offset += len(chunk)
        return chunk

    def write(self, data: bytes, now: int) -> int:
        if self.flags & abi.O_APPEND:
            self.offset = self.inode.size()
        self.inode.write_at(self.offset, data, now)
        self.offset += len(data)
        return len(data)


class DirectoryFile(OpenFile):
    def __init__(self, inode: Directory, name: str, name_raw: str, flags: int) -> None:
        super().__init__(name, name_raw, flags)
        self.inode: Directory = inode
        if flags & abi.O_DIRECTORY:
            self.typechar, self.type = "d", "directory"

    def read_now(self, size: int) -> bytes:
        raise error("EISDIR")


class DeviceFile(OpenFile):
    def __init__(self, inode: Device, name: str, name_raw: str, flags: int) -> None:
        super().__init__(name, name_raw, flags)
        self.inode: Device = inode

    def read_now(self, size: int) -> bytes:
        size = min(size, MIB)
        if self.inode.driver in ("zero", "full"):
            return bytes(size)
        if self.inode.driver == "random":
            return os.urandom(size)
        return b""

    def write(self, data: bytes, now: int) -> int:
        if self.inode.driver == "full":
            raise error("ENOSPC")
        return len(data)


class Pipe(Inode):
    """The buffer between a pipe's two ends."""

    __slots__ = ("_space", "_wake", "buffer", "memory", "readers", "writers")
    type_bits = abi.S_IFIFO

    def __init__(self, mode: int = 0o600, now: int = 0, memory: Memory | None = None) -> None:
        super().__init__(mode, now=now, dev=0)
        self.memory = memory
        self.buffer = bytearray()
        self.readers = 0
        self.writers = 0
        self._wake = asyncio.Event()
        self._space = asyncio.Event()

    async def read(self, size: int) -> bytes:
        while not self.buffer:
            if not self.writers:
                return b""
            self._wake.clear()
            await self._wake.wait()
        data = bytes(self.buffer[:size])
        del self.buffer[:size]
        self._account(-len(data))
        self._space.set()
        return data

    def _account(self, size: int) -> None:
        if self.memory is not None:
            self.memory.charge(size)

    def write(self, data: bytes) -> int:
        if not self.readers:
            raise error("EPIPE")
        if len(self.buffer) > _PIPE_LIMIT:
            raise error("EAGAIN")
        self._account(len(data))
        self.buffer.extend(data)
        self._wake.set()
        return len(data)

    async def drain(self) -> None:
        while len(self.buffer) >= _PIPE_SIZE and self.readers:
            self._space.clear()
            await self._space.wait()

    def end_changed(self) -> None:
        if not self.readers:
            self._account(-len(self.buffer))
            self.buffer.clear()
        self._wake.set()
        self._space.set()


class Fifo(Pipe):
    """A pipe that has a name. Where Linux waits in open for the other end, the lab waits in read, and keeps what is
    written until a reader comes."""

    __slots__ = ("_written",)

    def __init__(self, mode: int, now: int, memory: Memory | None, *, uid: int = 0, gid: int = 0, dev: int = 0) -> None:
        super().__init__(mode, now, memory)
        self.uid, self.gid, self.dev = uid, gid, dev
        self._written = False

    async def read(self, size: int) -> bytes:
        while not self.buffer and (self.writers or not self._written):
            self._wake.clear()
            await self._wake.wait()
        return await super().read(size) if self.buffer else b""

    def write(self, data: bytes) -> int:
        if self.readers:
            return super().write(data)
        if len(self.buffer) >= _PIPE_SIZE:
            raise error("EAGAIN")
        self._account(len(data))
        self.buffer.extend(data)
        return len(data)

    def end_changed(self) -> None:
        self._written = bool(self.writers or (self._written and self.readers) or self.buffer)
        self._wake.set()
        self._space.set()


class PipeReader(OpenFile):
    typechar, type = "p", "pipe"

    def __init__(self, pipe: Pipe, name: str = "") -> None:
        super().__init__(name, name, abi.O_RDONLY)
        self.inode: Pipe = pipe
        pipe.readers += 1

    async def read(self, size: int) -> bytes:
        return await self.inode.read(size)

    def closed(self) -> None:
        self.inode.readers -= 1
        self.inode.end_changed()


class PipeWriter(OpenFile):
    typechar, type = "p", "pipe"

    def __init__(self, pipe: Pipe, name: str = "") -> None:
        super().__init__(name, name, abi.O_WRONLY)
        self.inode: Pipe = pipe
        pipe.writers += 1
        if isinstance(pipe, Fifo):
            pipe.end_changed()

    def write(self, data: bytes, now: int) -> int:
        return self.inode.write(data)

    async def drain(self) -> None:
        await self.inode.drain()

    def closed(self) -> None:
        self.inode.writers -= 1
        self.inode.end_changed()


class FifoBoth(PipeWriter):
    """A named pipe that was opened for reading and writing."""

    def __init__(self, pipe: Fifo, name: str) -> None:
        super().__init__(pipe, name)
        self.flags = abi.O_RDWR
        pipe.readers += 1

    async def read(self, size: int) -> bytes:
        return await self.inode.read(size)

    def closed(self) -> None:
        self.inode.readers -= 1
        super().closed()


class Source(OpenFile):
    """The reading end of a pipe whose writer is outside the node."""

    typechar, type = "p", "pipe"

    def __init__(self, stream: InputStream) -> None:
        super().__init__(flags=abi.O_RDONLY)
        self.inode = Pipe()
        self._stream = stream
        self._rest = b""

    async def read(self, size: int) -> bytes:
        data = self._rest or await self._stream.read(max(size, 4096))
        self._rest = data[size:]
        return data[:size]


class Sink(OpenFile):
    """The writing end of a pipe whose reader is outside the node (a log, a client)."""

    typechar, type = "p", "pipe"

    def __init__(
        self,
        stream: OutputStream,
        on_close: Callable[[], None] | None = None,
    ) -> None:
        super().__init__(flags=abi.O_WRONLY)
        self.inode: Pipe = Pipe()
        self.inode.writers += 1
        self._stream = stream
        self._on_close = on_close

    @property
    def full(self) -> bool:
        return getattr(self._stream, "full", False)

    async def drain(self) -> None:
        drain = getattr(self._stream, "drain", None)
        if drain is not None:
            await drain()

    def write(self, data: bytes, now: int) -> int:
        self._stream.write(data)
        return len(data)

    def closed(self) -> None:
        self.inode.writers -= 1
        self.inode.end_changed()
        if self._on_close is not None:
            self._on_close()


class DescriptorTable:
    """The open files of a process, by descriptor."""

    def __init__(self) -> None:
        self.fds: dict[int, OpenFile] = {}
        self.close_on_exec: set[int] = set()

    def install(self, file: OpenFile, at_least: int = 0) -> int:
        """Gives an open file the lowest free descriptor."""
        if len(self.fds) >= _MOST_FILES:
            raise error("EMFILE")
        fd = at_least
        while fd in self.fds:
            fd += 1
        self.fds[fd] = file
        return fd

    def descriptor(self, fd: int) -> OpenFile:
        """The open file of a descriptor; EBADF when it isn't open."""
        try:
            return self.fds[fd]
        except KeyError:
            raise error("EBADF") from None

    def close(self, fd: int) -> None:
        file = self.descriptor(fd)
        del self.fds[fd]
        self.close_on_exec.discard(fd)
        file.references -= 1
        if file.references == 0:
            file.closed()

    def close_all(self) -> None:
        for fd in list(self.fds):
            self.close(fd)

    def dup(self, fd: int, at_least: int = 0) -> int:
        """A second descriptor for the same open file (as F_DUPFD makes it, without an event)."""
        file = self.descriptor(fd)
        file.references += 1
        return self.install(file, at_least)

    def inherit(self, parent: DescriptorTable) -> None:
        """Takes over the parent's descriptors, as fork does."""
        for fd, file in parent.fds.items():
            file.references += 1
            self.fds[fd] = file
        self.close_on_exec = set(parent.close_on_exec)
