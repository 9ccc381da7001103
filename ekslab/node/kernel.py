"""The simulated kernel: processes and the system calls they make, each of which becomes an event there and then.

A program is a coroutine that is given its `Process`. Everything runs in one event loop; a system call is an ordinary
method call, so what a subscriber of the kernel's events sees is the state at that very moment.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import posixpath
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ekslab.http import HttpRequest, HttpResponse
from ekslab.node import abi, programs
from ekslab.node.abi import error
from ekslab.node.descriptors import (
    OpenFile,
    Pipe,
    PipeReader,
    PipeWriter,
    TtyFile,
    open_inode,
)
from ekslab.node.events import (
    Argument,
    KernelEvent,
    descriptor_argument,
    flags_argument,
    mode_argument,
    open_flags_argument,
    path_argument,
    plain,
    result_argument,
)
from ekslab.node.filesystem import Device, Directory, File, Filesystem, Found, Inode, Stat, Symlink, Watch
from ekslab.node.limits import MIB, NODE_DISK, NODE_MEMORY, Disk, Memory, OutOfMemory
from ekslab.node.tty import Tty
from ekslab.node.turns import LONGEST, Overrun, Turns

if TYPE_CHECKING:
    from ekslab.node.network import Network
    from ekslab.node.runtime import Container

log = logging.getLogger(__name__)

Main = Callable[["Process"], Awaitable[int]]
Subscriber = Callable[[KernelEvent], object]

_AT_FDCWD = Argument("dirfd", "-100(AT_FDCWD)", "AT_FDCWD")
_MOST_PROCESSES = 512  # per container
_MOST_FILES = 1024  # that a process has open
_LONGEST_WORD, _LONGEST_COMMAND = 128 << 10, 2 << 20  # bytes of one argument, and of all of them with the environment
_MUCH = 48 * MIB  # what a program has to take of the lab's memory before it can be what fills it


class ProcessExit(BaseException):
    """Ends the program that is running, from however deep inside it."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


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


class Process:
    """A process: its state, and its system calls as methods (see the package's docstring for what each one takes)."""

    def __init__(
        self,
        kernel: Kernel,
        *,
        parent: Process | None,
        filesystem: Filesystem,
        container: Container | None = None,
        argv: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        cwd: str = "/",
        uid: int = 0,
        gid: int = 0,
        groups: Sequence[int] = (),
        capabilities: frozenset[str] = abi.ALL_CAPABILITIES,
    ) -> None:
        self.kernel: Kernel = kernel
        self.parent: Process | None = parent
        self.filesystem: Filesystem = filesystem
        self.container: Container | None = container
        self.argv: list[str] = list(argv)
        self.env: dict[str, str] = dict(env or {})
        self.cwd: str = cwd
        self.uid: int = uid
        self.euid: int = uid
        self.gid: int = gid
        self.egid: int = gid
        self.groups: list[int] = list(groups)
        self.bounding_capabilities: frozenset[str] = capabilities
        self.umask: int = 0o022
        self.tty: Tty | None = None
        self.fds: dict[int, OpenFile] = {}
        self.close_on_exec: set[int] = set()
        self.name: str = posixpath.basename(argv[0])[:15] if argv else ""
        self.exe: str = argv[0] if argv else ""
        self.exe_path: str = ""
        self.exe_inode: Inode | None = None
        self.from_memfd: bool = False
        self.session_leader: Process = self
        self.group_leader: Process = self
        self.children: list[Process] = []
        self.started_at: int = kernel.now()
        self.pid: int = kernel.new_pid()
        self.vpid: int = container.new_pid() if container is not None else self.pid
        self.status: int | None = None
        self.task: asyncio.Task[None] | None = None
        self.program = ""
        self._fatal_signal = 0
        self._handlers: dict[int, Callable[[], object] | None] = {}
        self._exited = asyncio.Event()
        self.held = 0
        self.ran: float | None = None
        self._filled: OpenFile | None = None
        kernel.processes[self.pid] = self

    def __repr__(self) -> str:
        return f"<Process {self.pid} {' '.join(self.argv)!r}>"

    # -- who and where -----------------------------------------------------------------------------------------------

    @property
    def network(self) -> Network:
        return self.kernel.network

    @property
    def ip(self) -> str:
        """The address of the network namespace that the process is in."""
        if self.container is None or self.container.spec.host_network:
            return self.kernel.ip
        return self.container.spec.pod_ip

    @property
    def ppid(self) -> int:
        return self.parent.pid if self.parent is not None else 1

    @property
    def vppid(self) -> int:
        """The parent as seen from the container: 0 when the parent is outside."""
        if self.parent is None or self.parent.container is not self.container:
            return 0
        return self.parent.vpid

    @property
    def capabilities(self) -> frozenset[str]:
        """The effective set: what the container may have, for root only."""
        return self.bounding_capabilities if self.euid == 0 else frozenset()

    @property
    def alive(self) -> bool:
        return self.status is None

    def visible(self) -> list[Process]:
        """The processes in the same pid namespace, oldest first."""
        everyone = sorted(self.kernel.processes.values(), key=lambda process: process.pid)
        if self.container is None or self.container.spec.host_pid:
            return everyone
        return [process for process in everyone if process.container is self.container]

    def find_process(self, vpid: int) -> Process | None:
        """The process with this number in the caller's pid namespace."""
        if self.container is None or self.container.spec.host_pid:
            return self.kernel.processes.get(vpid)
        return next((process for process in self.visible() if process.vpid == vpid), None)

    def user_name(self, uid: int) -> str | None:
        return _database_name(self.filesystem, "/etc/passwd", uid)

    def group_name(self, gid: int) -> str | None:
        return _database_name(self.filesystem, "/etc/group", gid)

    def may(self, inode: Inode, want: int) -> bool:
        """Whether the process has R_OK/W_OK/X_OK on an inode."""
        if self.euid == 0 and "CAP_DAC_OVERRIDE" in self.bounding_capabilities:
            return not want & abi.X_OK or isinstance(inode, Directory) or bool(inode.mode & 0o111)
        if self.euid == inode.uid:
            bits = inode.mode >> 6
        elif self.egid == inode.gid or inode.gid in self.groups:
            bits = inode.mode >> 3
        else:
            bits = inode.mode
        return bits & want == want

    def _owns(self, inode: Inode) -> bool:
        return self.euid == inode.uid or "CAP_FOWNER" in self.capabilities

    # -- events ------------------------------------------------------------------------------------------------------

    def _emit(
        self,
        type: str,
        result: int,
        *arguments: Argument,
        fd: int | None = None,
        file: OpenFile | None = None,
        path: str | None = None,
        source: str | None = None,
        target: str | None = None,
    ) -> None:
        if self.kernel.wants(type):
            self.kernel.emit(
                KernelEvent(
                    self.kernel,
                    self,
                    type,
                    result,
                    arguments,
                    fd=fd,
                    file=file,
                    path=path,
                    source=source,
                    target=target,
                )
            )

    def absolute(self, path: str) -> str:
        """The path as Falco shows it: absolute, `..` taken out of the text, links not followed."""
        if not path.startswith("/"):
            path = f"{self.cwd}/{path}"
        return posixpath.normpath("/" + path.lstrip("/"))

    def _rooted(self, path: str) -> str:
        if not path:
            raise error("ENOENT", path)
        return path if path.startswith("/") else f"{self.cwd}/{path}"

    def _walk(self, path: str, *, follow: bool = True) -> Found:
        try:
            return self.filesystem.walk(self._rooted(path), follow=follow, viewer=self)
        except OSError as exc:
            raise error(abi.errno_name(exc), path) from None

    # -- files -------------------------------------------------------------------------------------------------------

    def open(self, path: str, flags: int = abi.O_RDONLY, mode: int = 0o666) -> int:
        """Opens a file and returns the lowest free descriptor."""
        try:
            file, created = self._open(path, flags, mode)
        except OSError as exc:
            self._emit_open(path, flags, mode, exc)
            raise
        fd = self.install(file)
        if flags & abi.O_CLOEXEC:
            self.close_on_exec.add(fd)
        self._emit_open(path, flags, mode, fd, created)
        return fd

    def _open(self, path: str, flags: int, mode: int) -> tuple[OpenFile, bool]:
        found = self._walk(path, follow=not flags & abi.O_NOFOLLOW)
        inode, created = found.inode, False
        writing = flags & abi.O_ACCMODE != abi.O_RDONLY
        if inode is None:
            if not flags & abi.O_CREAT:
                raise error("ENOENT", path)
            if path.endswith("/"):
                raise error("EISDIR", path)
            self._may_change(found, path)
            inode, created = self._new_file(found, mode), True
        else:
            if flags & abi.O_CREAT and flags & abi.O_EXCL:
                raise error("EEXIST", path)
            if isinstance(inode, Symlink):
                raise error("ELOOP", path)
            if flags & abi.O_DIRECTORY and not isinstance(inode, Directory):
                raise error("ENOTDIR", path)
            if writing and isinstance(inode, Directory):
                raise error("EISDIR", path)
            want = (abi.W_OK if writing else 0) | (abi.R_OK if flags & abi.O_ACCMODE != abi.O_WRONLY else 0)
            if not self.may(inode, want):
                raise error("EACCES", path)
            if writing and found.read_only and isinstance(inode, File):
                raise error("EROFS", path)
        if isinstance(inode, File) and writing and not created:
            if inode.layer == "lower":
                inode.layer = "upper"  # opening for writing copies the file up
            if flags & abi.O_TRUNC:
                inode.truncate(0, self.kernel.now())
        return open_inode(self, inode, self.absolute(path), path, flags), created

    def _new_file(self, found: Found, mode: int) -> File:
        now = self.kernel.now()
        inode = File(mode=mode & ~self.umask, uid=self.euid, gid=self.egid, now=now, dev=found.directory.dev)
        inode.layer = found.directory.new_child_layer()
        found.directory.insert(found.name, inode, now)
        return inode

    def _may_change(self, found: Found, path: str) -> None:
        """Whether entries may be made or removed in the directory that a path leads to."""
        if found.read_only:
            raise error("EROFS", path)
        if not self.may(found.directory, abi.W_OK | abi.X_OK):
            raise error("EACCES", path)

    def _may_remove(self, found: Found, path: str) -> Inode:
        inode = found.need(path)
        self._may_change(found, path)
        if found.directory.mode & 0o1000 and not (self._owns(inode) or self._owns(found.directory)):
            raise error("EPERM", path)
        if self.filesystem.is_mount_root(inode):
            raise error("EBUSY", path)
        return inode

    def _emit_open(self, path: str, flags: int, mode: int, result: int | OSError, created: bool = False) -> None:
        if not self.kernel.wants("openat"):
            return
        number = result if isinstance(result, int) else -abi.errno_number(abi.errno_name(result))
        file = self.fds.get(number) if number >= 0 else None
        inode = file.inode if file is not None else None
        absolute = self.absolute(path)
        self._emit(
            "openat",
            number,
            descriptor_argument("fd", number, file),
            _AT_FDCWD,
            path_argument("name", path, absolute),
            open_flags_argument(flags, inode, created),
            plain("mode", f"0{mode:o}" if flags & abi.O_CREAT else "0"),
            plain("dev", f"{inode.dev:X}" if inode is not None else "0"),
            plain("ino", str(inode.ino) if inode is not None else "0"),
            fd=number if number >= 0 else -1,
            file=file,
            path=path,
        )

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
        """The open file behind a descriptor; EBADF when it isn't open."""
        try:
            return self.fds[fd]
        except KeyError:
            raise error("EBADF") from None

    def close(self, fd: int) -> None:
        file = self.descriptor(fd)
        del self.fds[fd]
        self.close_on_exec.discard(fd)
        _release(file)

    def dup(self, fd: int, at_least: int = 0) -> int:
        """A second descriptor for the same open file (as F_DUPFD makes it, without an event)."""
        file = self.descriptor(fd)
        file.references += 1
        return self.install(file, at_least)

    def dup2(self, old: int, new: int) -> int:
        file = self.descriptor(old)
        if old != new:
            if new in self.fds:
                self.close(new)
            file.references += 1
            self.fds[new] = file
            self.close_on_exec.discard(new)
        self._emit(
            "dup2",
            new,
            descriptor_argument("res", new, file),
            descriptor_argument("oldfd", old, file),
            descriptor_argument("newfd", new, file),
            fd=new,
            file=file,
        )
        return new

    def pipe(self) -> tuple[int, int]:
        """The reading and the writing end of a new pipe."""
        pipe = Pipe(now=self.kernel.now(), memory=self.memory)
        return self.install(PipeReader(pipe)), self.install(PipeWriter(pipe))

    async def read(self, fd: int, size: int = 65_536) -> bytes:
        """Up to `size` bytes, waiting for the first of them; b"" at the end."""
        file = self.descriptor(fd)
        if not file.readable:
            raise error("EBADF")
        await self.cooperate()
        return await file.read(size)

    def read_now(self, fd: int, size: int = 1 << 30) -> bytes:
        """Up to `size` bytes of a file, device or directory - nothing that would have to be waited for."""
        file = self.descriptor(fd)
        if not file.readable:
            raise error("EBADF")
        return file.read_now(size)

    def write(self, fd: int, data: bytes) -> int:
        """Writes all of it. A pipe without a reader ends the process (SIGPIPE) unless it ignores that signal."""
        file = self.descriptor(fd)
        if not file.writable:
            raise error("EBADF")
        try:
            written = file.write(data, self.kernel.now())
            if file.full:
                self._filled = file
            return written
        except BrokenPipeError:
            if abi.SIGPIPE in self._handlers:
                raise
            self._fatal_signal = abi.SIGPIPE
            raise ProcessExit(128 + abi.SIGPIPE) from None

    async def drain(self, fd: int) -> None:
        await self.cooperate()
        await self.descriptor(fd).drain()

    def seek(self, fd: int, offset: int) -> None:
        """Sets the offset of a regular file, from its start."""
        file = self.descriptor(fd)
        if not hasattr(file, "offset"):
            raise error("ESPIPE")
        file.offset = offset

    def isatty(self, fd: int) -> bool:
        return isinstance(self.fds.get(fd), TtyFile)

    def stat(self, path: str) -> Stat:
        return self._walk(path).need(path).stat()

    def lstat(self, path: str) -> Stat:
        return self._walk(path, follow=False).need(path).stat()

    def fstat(self, fd: int) -> Stat:
        inode = self.descriptor(fd).inode
        if inode is None:
            return Stat(abi.S_IFSOCK | 0o777, 0, 0, 1, self.uid, self.gid, 0, 0, 0, 0)
        return inode.stat()

    def access(self, path: str, mode: int = abi.F_OK) -> bool:
        try:
            found = self._walk(path)
        except OSError:
            return False
        if found.inode is None or (mode & abi.W_OK and found.read_only and not isinstance(found.inode, Device)):
            return False
        return self.may(found.inode, mode)

    def exists(self, path: str) -> bool:
        return self.access(path)

    def isdir(self, path: str) -> bool:
        return self._is(path, Directory)

    def isfile(self, path: str) -> bool:
        return self._is(path, File)

    def _is(self, path: str, kind: type[Inode]) -> bool:
        try:
            return isinstance(self._walk(path).inode, kind)
        except OSError:
            return False

    def real_path(self, path: str) -> str:
        """The path with every link followed."""
        found = self._walk(path)
        found.need(path)
        return found.real_path

    def readlink(self, path: str) -> str:
        inode = self._walk(path, follow=False).need(path)
        if not isinstance(inode, Symlink):
            raise error("EINVAL", path)
        return inode.target

    def listdir(self, path: str, *, nonblocking: bool = True) -> list[str]:
        """The names in a directory, in its own order; opens and closes it."""
        fd = self.open(path, abi.O_RDONLY | abi.O_DIRECTORY | abi.O_CLOEXEC | (abi.O_NONBLOCK if nonblocking else 0))
        try:
            inode = self.descriptor(fd).inode
            if not isinstance(inode, Directory):
                raise error("ENOTDIR", path)
            return inode.names(self)
        finally:
            self.close(fd)

    def _change(
        self,
        type: str,
        action: Callable[[], None],
        *arguments: Argument,
        path: str | None = None,
        source: str | None = None,
        target: str | None = None,
        fd: int | None = None,
    ) -> None:
        """Runs a call that changes the file system and makes its event, whether it succeeds or fails."""
        try:
            action()
        except OSError as exc:
            number = -abi.errno_number(abi.errno_name(exc))
            self._emit(
                type, number, result_argument(number), *arguments, path=path, source=source, target=target, fd=fd
            )
            raise
        self._emit(type, 0, result_argument(0), *arguments, path=path, source=source, target=target, fd=fd)

    def mkdir(self, path: str, mode: int = 0o777) -> None:
        def action() -> None:
            found = self._walk(path.rstrip("/") or "/", follow=False)
            if found.inode is not None:
                raise error("EEXIST", path)
            self._may_change(found, path)
            made = self.filesystem.new_directory(found.directory, mode & ~self.umask, uid=self.euid, gid=self.egid)
            found.directory.insert(found.name, made, self.kernel.now())
            found.directory.nlink += 1

        self._change(
            "mkdir", action, path_argument("path", path, self.absolute(path)), plain("mode", f"{mode:X}"), path=path
        )

    def rmdir(self, path: str) -> None:
        def action() -> None:
            found = self._walk(path.rstrip("/") or "/", follow=False)
            inode = self._may_remove(found, path)
            if not isinstance(inode, Directory):
                raise error("ENOTDIR", path)
            if inode.names():
                raise error("ENOTEMPTY", path)
            found.directory.remove(found.name, self.kernel.now())
            found.directory.nlink -= 1

        self._unlinkat(path, action, abi_flags="AT_REMOVEDIR", number=0x200)

    def unlink(self, path: str) -> None:
        def action() -> None:
            found = self._walk(path, follow=False)
            inode = self._may_remove(found, path)
            if isinstance(inode, Directory):
                raise error("EISDIR", path)
            inode.nlink -= 1
            inode.notify()
            found.directory.remove(found.name, self.kernel.now())

        self._unlinkat(path, action)

    def _unlinkat(self, path: str, action: Callable[[], None], abi_flags: str = "", number: int = 0) -> None:
        self._change(
            "unlinkat",
            action,
            _AT_FDCWD,
            path_argument("name", path, self.absolute(path)),
            flags_argument("flags", number, abi_flags),
            path=path,
            fd=-100,
        )

    def rename(self, old: str, new: str, *, no_replace: bool = False) -> None:
        """Moves a file within one file system; with `no_replace` EEXIST when the target is there."""

        def action() -> None:
            source = self._walk(old.rstrip("/") or "/", follow=False)
            inode = self._may_remove(source, old)
            target = self._walk(new.rstrip("/") or "/", follow=False)
            self._may_change(target, new)
            if target.inode is inode:
                return
            if inode.dev != target.directory.dev:
                raise error("EXDEV", old, new)
            if isinstance(inode, Directory) and f"{target.real_path}/".startswith(f"{source.real_path}/"):
                raise error("EINVAL", old, new)
            if target.inode is not None:
                if no_replace:
                    raise error("EEXIST", new)
                if isinstance(target.inode, Directory):
                    if not isinstance(inode, Directory):
                        raise error("EISDIR", new)
                    if target.inode.names():
                        raise error("ENOTEMPTY", new)
                elif isinstance(inode, Directory):
                    raise error("ENOTDIR", new)
                target.inode.notify()
            now = self.kernel.now()
            source.directory.remove(source.name, now)
            if inode.layer == "lower":
                inode.layer = "upper"
            inode.ctime = now
            target.directory.insert(target.name, inode, now)
            inode.notify()

        olddirfd = Argument("olddirfd", "-100(AT_FDCWD)", "AT_FDCWD")
        newdirfd = Argument("newdirfd", "-100(AT_FDCWD)", "AT_FDCWD")
        old_argument = path_argument("oldpath", old, self.absolute(old))
        new_argument = path_argument("newpath", new, self.absolute(new))
        if no_replace:
            flags = flags_argument("flags", 1, "RENAME_NOREPLACE")
            self._change(
                "renameat2", action, olddirfd, old_argument, newdirfd, new_argument, flags, source=old, target=new
            )
        else:
            self._change("rename", action, old_argument, new_argument, source=old, target=new)

    def link(self, old: str, new: str) -> None:
        def action() -> None:
            source = self._walk(old, follow=False)
            inode = source.need(old)
            if isinstance(inode, Directory):
                raise error("EPERM", old, new)
            target = self._walk(new, follow=False)
            if target.inode is not None:
                raise error("EEXIST", old, new)
            self._may_change(target, new)
            if inode.dev != target.directory.dev:
                raise error("EXDEV", old, new)
            now = self.kernel.now()
            inode.nlink += 1
            inode.ctime = now
            if inode.layer == "lower":
                inode.layer = "upper"
            target.directory.insert(target.name, inode, now)

        self._change(
            "linkat",
            action,
            Argument("olddir", "-100(AT_FDCWD)", "AT_FDCWD"),
            path_argument("oldpath", old, self.absolute(old)),
            Argument("newdir", "-100(AT_FDCWD)", "AT_FDCWD"),
            path_argument("newpath", new, self.absolute(new)),
            flags_argument("flags", 0, ""),
            source=old,
            target=new,
        )

    def symlink(self, target: str, path: str) -> None:
        def action() -> None:
            found = self._walk(path, follow=False)
            if found.inode is not None:
                raise error("EEXIST", path)
            self._may_change(found, path)
            now = self.kernel.now()
            made = Symlink(target, uid=self.euid, gid=self.egid, now=now, dev=found.directory.dev)
            made.layer = found.directory.new_child_layer()
            found.directory.insert(found.name, made, now)

        self._change(
            "symlinkat",
            action,
            plain("target", target),
            Argument("linkdirfd", "-100(AT_FDCWD)", "AT_FDCWD"),
            path_argument("linkpath", path, self.absolute(path)),
            source=target,
            target=path,
        )

    def chmod(self, path: str, mode: int) -> None:
        def action() -> None:
            found = self._walk(path)
            inode = found.need(path)
            if not self._owns(inode):
                raise error("EPERM", path)
            if found.read_only:
                raise error("EROFS", path)
            inode.mode = mode & 0o7777
            inode.touched(self.kernel.now(), content=False)

        self._change(
            "fchmodat",
            action,
            _AT_FDCWD,
            path_argument("filename", path, self.absolute(path)),
            mode_argument("mode", mode),
            path=path,
            fd=-100,
        )

    def chown(self, path: str, uid: int, gid: int, *, follow: bool = True) -> None:
        """Changes owner and group; -1 leaves one as it is."""

        def action() -> None:
            found = self._walk(path, follow=follow)
            inode = found.need(path)
            allowed = "CAP_CHOWN" in self.capabilities
            if not allowed and not (self.euid == inode.uid and uid in (-1, inode.uid) and gid in (-1, self.egid)):
                raise error("EPERM", path)
            if found.read_only:
                raise error("EROFS", path)
            inode.uid = inode.uid if uid == -1 else uid
            inode.gid = inode.gid if gid == -1 else gid
            inode.touched(self.kernel.now(), content=False)

        self._change(
            "fchownat",
            action,
            _AT_FDCWD,
            path_argument("pathname", path, self.absolute(path)),
            plain("uid", str(uid)),
            plain("gid", str(gid)),
            flags_argument("flags", 0, ""),
            path=path,
            fd=-100,
        )

    def utime(self, path: str, ns: int | None = None, *, atime: bool = True, mtime: bool = True) -> None:
        """Sets access and modification time; now when `ns` is None."""
        found = self._walk(path)
        inode = found.need(path)
        if not (self._owns(inode) or (ns is None and self.may(inode, abi.W_OK))):
            raise error("EPERM" if ns is not None else "EACCES", path)
        if found.read_only:
            raise error("EROFS", path)
        now = self.kernel.now()
        inode.touched(now, content=False)
        if atime:
            inode.atime = ns if ns is not None else now
        if mtime:
            inode.mtime = ns if ns is not None else now

    def truncate(self, path: str, size: int = 0) -> None:
        found = self._walk(path)
        inode = found.need(path)
        if isinstance(inode, Directory):
            raise error("EISDIR", path)
        if not isinstance(inode, File):
            raise error("EINVAL", path)
        if found.read_only:
            raise error("EROFS", path)
        if not self.may(inode, abi.W_OK):
            raise error("EACCES", path)
        inode.truncate(size, self.kernel.now())

    def chdir(self, path: str) -> None:
        def action() -> None:
            inode = self._walk(path).need(path)
            if not isinstance(inode, Directory):
                raise error("ENOTDIR", path)
            if not self.may(inode, abi.X_OK):
                raise error("EACCES", path)
            self.cwd = self.real_path(path)

        self._change("chdir", action, plain("path", path))

    # -- shortcuts ---------------------------------------------------------------------------------------------------

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

    def watch(self, *paths: str) -> Watch:
        """A lasting watch of files and directories (as inotify): `await watch.wait(timeout)`, then `close()`."""
        return self.filesystem.watch(*(self._rooted(path) for path in paths))

    async def wait_for_change(self, *paths: str, timeout: float | None = None) -> bool:
        with self.watch(*paths) as watch:
            return await watch.wait(timeout)

    # -- processes ---------------------------------------------------------------------------------------------------

    def fork(
        self,
        main: Main,
        *,
        uid: int | None = None,
        gid: int | None = None,
        new_group: bool = False,
        call: str = "clone",
    ) -> Process:
        """Starts a child that runs an async function with the same files, environment and directory.

        EAGAIN when the container has as many processes as it may.
        """
        if sum(process.container is self.container for process in self.kernel.processes.values()) >= _MOST_PROCESSES:
            raise error("EAGAIN")
        child = Process(
            self.kernel,
            parent=self,
            filesystem=self.filesystem,
            container=self.container,
            argv=self.argv,
            env=self.env,
            cwd=self.cwd,
            uid=self.uid if uid is None else uid,
            gid=self.gid if gid is None else gid,
            groups=self.groups,
            capabilities=self.bounding_capabilities,
        )
        child.name, child.exe, child.exe_path, child.exe_inode = self.name, self.exe, self.exe_path, self.exe_inode
        child.from_memfd = self.from_memfd
        child.umask = self.umask
        child.tty = self.tty
        child.session_leader = self.session_leader
        child.group_leader = child if new_group else self.group_leader
        child.program = self.program
        child.close_on_exec = set(self.close_on_exec)
        child._handlers = {number: None for number, handler in self._handlers.items() if handler is None}
        for fd, file in self.fds.items():
            file.references += 1
            child.fds[fd] = file
        self.children.append(child)
        self._emit_clone(call, child.vpid)
        child._emit_clone(call, 0)
        child.start(main)
        return child

    def _emit_clone(self, call: str, result: int) -> None:
        self._emit(call, result, plain("res", str(result)))

    def start(self, main: Main) -> None:
        """Begins to run a program in a process that was just made."""
        self.task = self.kernel.turns.task(self._run(main), self, f"{self.pid}:{self.name}")
        self.task.add_done_callback(lambda _: self._end(128 + (self._fatal_signal or abi.SIGKILL)))

    async def _run(self, main: Main) -> None:
        try:
            status = await main(self)
        except ProcessExit as exc:
            status = exc.status
        except asyncio.CancelledError:
            status = 128 + (self._fatal_signal or abi.SIGKILL)
        except Overrun:
            self._fatal_signal = abi.SIGKILL
            status = 128 + abi.SIGKILL
            log.warning("%s was killed: it ran for %.2f s without a pause", self._described(), LONGEST)
            self._complain(f"[embedded lab] {self.name} was killed: it kept the lab's processor to itself\n")
        except OutOfMemory as exc:
            status = self._out_of_memory(exc.group)
        except MemoryError:
            status = self._out_of_memory(self.memory)
        except OSError as exc:
            # A program that doesn't handle an error ends as one that says what its last call returned.
            self._complain(f"{self.name}: {_describe(exc)}\n")
            status = 1
        except RecursionError:
            self._complain("Segmentation fault (core dumped)\n")
            status = 139
        except Exception:
            log.exception("the program %r failed", " ".join(self.argv))
            self._complain(f"{self.name}: internal error of the simulated program\n")
            status = 70
        self._end(int(status) & 0xFF)

    def _out_of_memory(self, group: Memory) -> int:
        self._fatal_signal = abi.SIGKILL
        log.warning("%s ran out of memory: %d MiB are all there is", self._described(), group.limit // MIB)
        if group.kill is not None:
            group.kill()
        return 128 + abi.SIGKILL

    def _described(self) -> str:
        where = self.container.spec if self.container is not None else None
        pod = f" in pod {where.pod_namespace}/{where.pod_name}" if where is not None else ""
        return f"process {self.pid} ({self.name}){pod} on {self.kernel.hostname}"

    @property
    def memory(self) -> Memory:
        """The control group that the process is in."""
        return self.container.memory if self.container is not None else self.kernel.memory

    def charge(self, size: int) -> None:
        """Counts `size` bytes that the program holds from now on, until it ends; fewer when negative.

        Ends the program, and everything else in its container, when that is more than the container may have.
        """
        self.memory.charge(size)
        self.held += size

    @property
    def group(self) -> object:
        """What takes turns with others: the container, or the node for processes outside of containers."""
        return self.container or self.kernel

    def room(self) -> Coroutine[Any, Any, object] | None:
        """Waits until somebody took what the process wrote, if that is much: see `turns.Owner`."""
        file, self._filled = self._filled, None
        return file.drain() if file is not None and file.full else None

    def overran(self, reason: BaseException) -> None:
        """A task of the process was ended for `reason`: so is the process."""
        if isinstance(reason, OutOfMemory):
            self._out_of_memory(reason.group)
        elif self.task is not asyncio.current_task():
            log.warning("%s was killed: %r", self._described(), reason)
            self.signal(abi.SIGKILL)

    def grew(self, size: int, *, over: bool) -> None:
        memory = self.memory
        memory.grown = max(0, memory.grown + size)
        if over and memory.grown > _MUCH:
            raise OutOfMemory(memory)

    def _complain(self, text: str) -> None:
        try:
            self.stderr.write(text)
        except (OSError, ProcessExit):
            log.debug("nobody reads the error output of %r: %s", self, text)

    def _end(self, status: int) -> None:
        if self.status is not None:
            return
        self.status = status
        self.charge(-self.held)
        for fd in list(self.fds):
            self.close(fd)
        self._emit(
            "procexit",
            0,
            plain("status", str(self._fatal_signal or status << 8)),
            plain("ret", str(0 if self._fatal_signal else status)),
            flags_argument("sig", self._fatal_signal, _signal_name(self._fatal_signal)),
            plain("core", "0"),
            plain("reaper_tid", "0"),
        )
        self.kernel.forget(self)
        self._exited.set()

    async def wait(self, child: Process) -> int:
        """Waits for a process to end; its exit status."""
        await child._exited.wait()
        assert child.status is not None
        if child in self.children:
            self.children.remove(child)
        return child.status

    async def exited(self) -> int:
        """Waits for this process itself to end."""
        await self._exited.wait()
        assert self.status is not None
        return self.status

    def find_program(self, name: str, path: str | None = None) -> str:
        """The path of the executable that a name means, looked up in PATH; FileNotFoundError if there is none."""
        if "/" in name:
            return name
        search = (
            self.env.get("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            if path is None
            else path
        )
        denied = False
        for directory in search.split(":"):
            candidate = posixpath.join(directory or ".", name)
            if self.isfile(candidate):
                if self.access(candidate, abi.X_OK):
                    return candidate
                denied = True
        raise error("EACCES" if denied else "ENOENT", name)

    def _load(self, path: str, argv: Sequence[str]) -> tuple[Found, programs.Program, str, list[str], str]:
        """What execve would run: the executable, its program, its name, its arguments, and the process's new name."""
        comm = posixpath.basename(path)
        arguments = list(argv)
        for _ in range(4):
            found = self._walk(path)
            inode = found.need(path)
            if isinstance(inode, Directory) or not isinstance(inode, File) or not self.may(inode, abi.X_OK):
                raise error("EACCES", path)
            name = programs.program_name(inode.data)
            if name is not None:
                main = programs.lookup(name)
                if main is None:
                    raise error("ENOEXEC", path)
                return found, main, name, arguments, comm
            if not inode.data.startswith(b"#!"):
                raise error("ENOEXEC", path)
            line = bytes(inode.data[2 : inode.data.find(b"\n") if b"\n" in inode.data else None]).decode(
                errors="replace"
            )
            interpreter, _, option = line.strip().partition(" ")
            arguments = [interpreter, *([option.strip()] if option.strip() else []), path, *arguments[1:]]
            path = interpreter
        raise error("ELOOP", path)

    def executable(self, name: str, *, argv: Sequence[str] | None = None, path: str | None = None) -> Executable:
        """Looks a program up, for `run_executable`; raises what execve would raise."""
        words = list(map(len, argv or ()))
        if max(words, default=0) > _LONGEST_WORD or sum(words) + len(words) * 8 > _LONGEST_COMMAND:
            raise error("E2BIG", name)
        found_path = self.find_program(name, path)
        return Executable(found_path, *self._load(found_path, argv if argv is not None else [name]))

    async def run_executable(self, executable: Executable, *, env: Mapping[str, str] | None = None) -> int:
        """Replaces what this process runs (execve) and runs that to its end; its exit status."""
        if env is not None:
            self.env = dict(env)
        for fd in [fd for fd in self.close_on_exec if fd in self.fds]:
            self.close(fd)
        self._handlers = {number: handler for number, handler in self._handlers.items() if handler is None}
        self.argv = executable.argv
        self.exe = executable.argv[0] if executable.argv else ""
        self.name = executable.comm[:15]
        self.exe_inode = executable.found.inode
        self.exe_path = executable.found.real_path
        self.program = executable.program_name
        self.from_memfd = bool(self.exe_inode is not None and getattr(self.exe_inode, "memfd", ""))
        if self.from_memfd:
            self.exe_path = self.name = f"memfd:{getattr(self.exe_inode, 'memfd', '')}"
            self.name = self.name[:15]
        inode = self.exe_inode
        if inode is not None and inode.mode & 0o4000 and self.container is not None:
            self.euid = inode.uid
        self.kernel.emit_execve(self, executable.path)
        self._load_libraries()
        return await executable.main(self)

    def _load_libraries(self) -> None:
        """What the dynamic loader opens before `main`, where the image has it."""
        for path in self.kernel.loader_files:
            if self.filesystem.exists(path):
                fd = self.open(path, abi.O_RDONLY | abi.O_CLOEXEC)
                self.close(fd)

    async def exec(self, argv: Sequence[str], *, env: Mapping[str, str] | None = None) -> int:
        """`return await p.exec(argv)`: goes on as another program."""
        return await self.run_executable(self.executable(argv[0], argv=argv), env=env)

    def spawn(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        stdin: int | None = None,
        stdout: int | None = None,
        stderr: int | None = None,
        uid: int | None = None,
        gid: int | None = None,
        new_group: bool = False,
        call: str = "vfork",
        path: str | None = None,
    ) -> Process:
        """Starts a program as a child; raises FileNotFoundError, PermissionError or ENOEXEC when it can't be run."""
        executable = self.executable(argv[0], argv=argv, path=path)

        async def main(child: Process) -> int:
            for source, fd in ((stdin, 0), (stdout, 1), (stderr, 2)):
                if source is not None and source != fd:
                    child.dup2(source, fd)
            for fd in [fd for fd in (stdin, stdout, stderr) if fd is not None and fd > 2]:
                if fd in child.fds:
                    child.close(fd)
            if cwd is not None:
                child.cwd = child.real_path(cwd)
            return await child.run_executable(executable, env=env)

        return self.fork(main, uid=uid, gid=gid, new_group=new_group, call=call)

    def exit(self, status: int = 0) -> None:
        """Ends the process at once."""
        raise ProcessExit(status & 0xFF)

    def kill(self, vpid: int, number: int) -> None:
        """Sends a signal to a process, the group -vpid, its own (0) or everyone (-1). Signal 0 only checks.

        The first process of a pid namespace gets from inside it the signals that it handles, and no others.
        """
        first = None if self.container is None or self.container.spec.host_pid else self.find_process(1)
        if vpid == -1:
            targets = [process for process in self.visible() if process not in (self, first)]
        elif vpid <= 0:
            group = self.group_leader.vpid if vpid == 0 else -vpid
            targets = [process for process in self.visible() if process.group_leader.vpid == group]
        else:
            targets = [process for process in (self.find_process(vpid),) if process is not None]
        if not targets:
            raise error("ESRCH")
        for target in targets:
            if self.euid not in (0, target.uid) or (
                self.euid == 0 and "CAP_KILL" not in self.capabilities and target.uid
            ):
                raise error("EPERM")
        self._emit(
            "kill",
            0,
            result_argument(0),
            plain("pid", str(vpid)),
            flags_argument("sig", number, _signal_name(number)),
        )
        for target in targets:
            if target is first and (number == abi.SIGKILL or number not in target._handlers):
                continue
            if number:
                target.signal(number)
        if number and not self.alive:
            raise ProcessExit(128 + number)

    def signal(self, number: int) -> None:
        """Delivers a signal: runs its handler, or ends the process."""
        if not self.alive:
            return
        if number != abi.SIGKILL and number in self._handlers:
            handler = self._handlers[number]
            if handler is not None:
                handler()
            return
        if number in abi.HARMLESS_SIGNALS:
            return
        self._fatal_signal = number
        if self.task is None:
            self._end(128 + number)
        elif self.task is not asyncio.current_task():
            self.task.cancel()
        else:
            raise ProcessExit(128 + number)

    def on_signal(self, number: int, handler: Callable[[], object] | None) -> None:
        """What to do at a signal; None ignores it."""
        self._handlers[int(number)] = handler

    def default_signal(self, number: int) -> None:
        """Undoes `on_signal`."""
        self._handlers.pop(int(number), None)

    def setuid(self, uid: int) -> None:
        self._identity("setuid", uid, self.user_name(uid), "CAP_SETUID", uid in (self.uid, self.euid))
        self.uid = self.euid = uid

    def setgid(self, gid: int) -> None:
        self._identity("setgid", gid, self.group_name(gid), "CAP_SETGID", gid in (self.gid, self.egid))
        self.gid = self.egid = gid

    def _identity(self, call: str, number: int, name: str | None, capability: str, same: bool) -> None:
        result = 0 if same or capability in self.capabilities else -abi.errno_number("EPERM")
        argument = Argument(call[3:], f"{number}({name})" if name else str(number), name or str(number))
        self._emit(call, result, result_argument(result), argument)
        if result:
            raise error("EPERM")

    def new_session(self) -> None:
        """Makes the process the leader of a session and group of its own."""
        self.session_leader = self.group_leader = self

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(seconds, 0))

    async def cooperate(self) -> None:
        """Lets everyone else have a turn when programs have been running for a while. Each call that waits does."""
        if self.kernel.turns.spent():
            await asyncio.sleep(0)

    # -- other calls that rules ask about -----------------------------------------------------------------------------

    def ptrace(self, request: str, vpid: int = 0) -> None:
        """`request` is Linux's name, e.g. PTRACE_ATTACH; nothing is traced, but the call is seen."""
        self._emit(
            "ptrace",
            0,
            result_argument(0),
            plain("addr", "0"),
            plain("data", "0"),
            Argument("request", f"{_PTRACE.get(request, 0)}({request})", request),
            plain("pid", str(vpid)),
        )

    def unshare(self, flags: str) -> None:
        """`flags` are Linux's names, e.g. CLONE_NEWNET; EPERM without CAP_SYS_ADMIN, except for a user namespace."""
        allowed = "CLONE_NEWUSER" in flags or "CAP_SYS_ADMIN" in self.capabilities
        if "CLONE_NEWUSER" in flags:
            self.bounding_capabilities = abi.ALL_CAPABILITIES  # in a user namespace of its own it may do everything
        result = 0 if allowed else -abi.errno_number("EPERM")
        self._emit(
            "unshare",
            result,
            result_argument(result),
            flags_argument("flags", sum(_UNSHARE.get(flag, 0) for flag in flags.split("|")), flags),
        )
        if not allowed:
            raise error("EPERM")

    def userfaultfd(self) -> int:
        fd = self.install(OpenFile())
        self._emit("userfaultfd", fd, result_argument(fd), flags_argument("flags", 0, ""), fd=fd, file=self.fds[fd])
        return fd

    def memfd_create(self, name: str, data: bytes = b"") -> str:
        """Makes an anonymous file and returns the path under which it can be executed."""
        inode = MemoryFile(name, data, now=self.kernel.now())
        fd = self.install(open_inode(self, inode, f"memfd:{name}", name, abi.O_RDWR))
        self._emit(
            "memfd_create", fd, plain("fd", str(fd)), plain("name", name), flags_argument("flags", 1, "MFD_CLOEXEC")
        )
        return f"/proc/self/fd/{fd}"

    # -- network -----------------------------------------------------------------------------------------------------

    async def http(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        *,
        timeout: float | None = None,
    ) -> HttpResponse:
        """Sends a request over the lab's network; raises socket.gaierror, ConnectionRefusedError or TimeoutError."""
        return await self.network.http(self, HttpRequest(method, url, dict(headers or {}), body), timeout=timeout)

    async def connect(self, host: str, port: int) -> int:
        """A descriptor of a TCP connection."""
        return await self.network.connect(self, host, port)

    def listen(self, port: int, handler: Callable[[HttpRequest], Awaitable[HttpResponse]]) -> Callable[[], None]:
        """Answers HTTP requests at the process's address; returns what stops it. EADDRINUSE when the port is taken."""

        async def answer(request: HttpRequest) -> HttpResponse:
            return await self.kernel.turns.task(_awaited(handler(request)), self)

        return self.network.listen(self.ip, port, answer)

    def socket(self, domain: str, type: int = 1, protocol: int = 0) -> int:
        """A socket that isn't connected; `domain` is Linux's name, e.g. AF_PACKET."""
        return self.network.socket(self, domain, type, protocol)

    def emit_network(self, type: str, result: int, *arguments: Argument, fd: int, file: OpenFile) -> None:
        """Makes an event about a socket."""
        self._emit(type, result, *arguments, fd=fd, file=file)


class MemoryFile(File):
    """An anonymous file made by memfd_create."""

    __slots__ = ("memfd",)

    def __init__(self, name: str, data: bytes, *, now: int) -> None:
        super().__init__(data, 0o777, now=now, dev=1)
        self.memfd = name


class Executable:
    """What `Process.executable` found."""

    def __init__(
        self, path: str, found: Found, main: programs.Program, program_name: str, argv: list[str], comm: str
    ) -> None:
        self.path = path
        self.found = found
        self.main = main
        self.program_name = program_name
        self.argv = argv
        self.comm = comm


class Kernel:
    """One node's kernel: the process table, the clock, and the events."""

    def __init__(
        self, hostname: str, *, network: Network, ip: str = "127.0.0.1", clock: Callable[[], int] = time.time_ns
    ) -> None:
        self.hostname: str = hostname
        self.network = network
        self.ip = ip
        self.processes: dict[int, Process] = {}
        self.memory = Memory(NODE_MEMORY)
        self.disk = Disk(NODE_DISK)
        self.ttys: dict[tuple[Container | None, int], Tty] = {}
        self.loader_files: tuple[str, ...] = ("/etc/ld.so.cache", "/lib/x86_64-linux-gnu/libc.so.6")
        self._clock = clock
        self._last = 0
        self._pids = itertools.count(1201)
        self._event_number = itertools.count(1)
        self._subscribers: list[tuple[Subscriber, frozenset[str] | None]] = []
        self._wanted: frozenset[str] | None = frozenset()
        self.boot_time: int = self.now()

    @property
    def turns(self) -> Turns:
        """The turns that programs take on the running event loop."""
        return Turns.of(asyncio.get_running_loop())

    def now(self) -> int:
        """Nanoseconds since the epoch; never the same twice."""
        self._last = max(self._clock(), self._last + 1)
        return self._last

    def new_pid(self) -> int:
        return next(self._pids)

    def subscribe(self, callback: Subscriber, types: Iterable[str] | None = None) -> Callable[[], None]:
        """Calls back at every event (of the given types, else of all), inside the system call; returns what ends it."""
        entry = (callback, frozenset(types) if types is not None else None)
        self._subscribers.append(entry)
        self._update_wanted()

        def unsubscribe() -> None:
            if entry in self._subscribers:
                self._subscribers.remove(entry)
                self._update_wanted()

        return unsubscribe

    def _update_wanted(self) -> None:
        wanted: frozenset[str] | None = frozenset()
        for _, types in self._subscribers:
            wanted = None if wanted is None or types is None else wanted | types
        self._wanted = wanted

    def wants(self, type: str) -> bool:
        """Whether anybody would look at an event of this type."""
        return self._wanted is None or type in self._wanted

    def emit(self, event: KernelEvent) -> None:
        for callback, types in tuple(self._subscribers):
            if types is None or event.type in types:
                callback(event)

    def emit_execve(self, process: Process, filename: str) -> None:
        if self.wants("execve"):
            self.emit(KernelEvent(self, process, "execve", 0, (), filename=filename))

    def next_event_number(self) -> int:
        return next(self._event_number)

    def forget(self, process: Process) -> None:
        """Takes an ended process out of the table; its children get the container's first process as parent."""
        self.processes.pop(process.pid, None)
        if process.children:
            heir = process.container.init if process.container is not None else None
            heir = heir if heir is not process else None
            for child in process.children:
                if child.alive:
                    child.parent = heir
                    if heir is not None:
                        heir.children.append(child)

    def signal_group(self, group: int, number: int) -> None:
        """Sends a signal to every process of a group, named by its leader's pid."""
        for process in list(self.processes.values()):
            if process.group_leader.pid == group:
                process.signal(number)

    def open_tty(
        self, output: Callable[[bytes], object], container: Container | None, screen: OpenFile | None = None
    ) -> Tty:
        """A new pseudo-terminal with the lowest free number; each container has a /dev/pts, and numbers, of its own.

        `screen` is what the output goes to, if that can be full.
        """
        number = next(number for number in itertools.count() if (container, number) not in self.ttys)
        tty = self.ttys[container, number] = Tty(self, number, output, container, screen)
        return tty

    def close_tty(self, tty: Tty) -> None:
        tty.hang_up()
        self.ttys.pop((tty.container, tty.number), None)


async def _awaited(response: Awaitable[HttpResponse]) -> HttpResponse:
    return await response


def _release(file: OpenFile) -> None:
    file.references -= 1
    if file.references == 0:
        file.closed()


def _describe(exc: OSError) -> str:
    text = exc.strerror or str(exc)
    return f"{exc.filename}: {text}" if exc.filename else text


def _signal_name(number: int) -> str:
    return f"SIG{abi.SIGNAL_NAMES[number]}" if number in abi.SIGNAL_NAMES else ""


def _database_name(filesystem: Filesystem, path: str, number: int) -> str | None:
    """The name that /etc/passwd or /etc/group gives a number; read again only when the file has changed."""
    try:
        inode = filesystem.walk(path).inode
    except OSError:
        inode = None
    if not isinstance(inode, File):
        return "root" if number == 0 else None
    known = filesystem.account_names.get(path)
    if known is None or known[0] is not inode or known[1] != inode.ctime:
        names: dict[int, str] = {}
        for line in inode.content().decode(errors="replace").splitlines():
            fields = line.split(":")
            if len(fields) > 2 and fields[2].isdigit():
                names.setdefault(int(fields[2]), fields[0])
        known = filesystem.account_names[path] = (inode, inode.ctime, names)
    return known[2].get(number)


_PTRACE = {
    "PTRACE_TRACEME": 0,
    "PTRACE_PEEKTEXT": 1,
    "PTRACE_PEEKDATA": 2,
    "PTRACE_POKETEXT": 4,
    "PTRACE_POKEDATA": 5,
    "PTRACE_CONT": 7,
    "PTRACE_SETREGS": 13,
    "PTRACE_ATTACH": 16,
    "PTRACE_DETACH": 17,
    "PTRACE_SEIZE": 0x4206,
}
# Falco's own numbers for clone's flags.
_UNSHARE = {
    "CLONE_NEWIPC": 1 << 7,
    "CLONE_NEWNET": 1 << 8,
    "CLONE_NEWNS": 1 << 9,
    "CLONE_NEWPID": 1 << 10,
    "CLONE_NEWUTS": 1 << 11,
    "CLONE_NEWUSER": 1 << 19,
}
