"""open, read, write, dup and pipe: system calls on files and descriptors. Events: openat, dup2."""

from __future__ import annotations

from ekslab.node import abi
from ekslab.node.abi import error
from ekslab.node.arguments import at_fdcwd, descriptor_argument, open_flags_argument, path_argument, plain
from ekslab.node.descriptors import (
    DeviceFile,
    DirectoryFile,
    Fifo,
    FifoBoth,
    OpenFile,
    Pipe,
    PipeReader,
    PipeWriter,
    RegularFile,
    Sink,
    Source,
)
from ekslab.node.filesystem import Found
from ekslab.node.inodes import Device, Directory, File, Inode, Stat, Symlink
from ekslab.node.kernel import ProcessExit, Task
from ekslab.node.syscalls.lookup import PathLookup
from ekslab.node.tty import TtyFile


class FileCalls(PathLookup):
    """Open files."""

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
            read_only = writing and found.read_only and isinstance(inode, File)
            if read_only and flags & abi.O_TRUNC:
                raise error("EROFS", path)
            want = (abi.W_OK if writing else 0) | (abi.R_OK if flags & abi.O_ACCMODE != abi.O_WRONLY else 0)
            if not self.may(inode, want) or (isinstance(inode, Device) and found.mount.nodev):
                raise error("EACCES", path)
            if read_only:
                raise error("EROFS", path)
        if isinstance(inode, File) and writing and not created:
            if inode.layer == "lower":
                inode.layer = "upper"  # opening for writing copies the file up
            if flags & abi.O_TRUNC:
                inode.truncate(0, self.kernel.now())
        return _open_inode(self, inode, self.absolute(path), path, flags), created

    def _new_file(self, found: Found, mode: int) -> File:
        now = self.kernel.now()
        inode = File(mode=mode & ~self.umask, uid=self.euid, gid=self.egid, now=now, dev=found.directory.dev)
        inode.layer = found.directory.new_child_layer()
        found.directory.insert(found.name, inode, now)
        return inode

    def _emit_open(self, path: str, flags: int, mode: int, result: int | OSError, created: bool = False) -> None:
        if not self.kernel.wants("openat"):
            return
        number = result if isinstance(result, int) else -abi.errno_number(abi.errno_name(result))
        file = self.fds.get(number) if number >= 0 else None
        inode = file.inode if file is not None else None
        absolute = self.absolute(path)
        self.emit(
            "openat",
            number,
            descriptor_argument("fd", number, file),
            at_fdcwd("dirfd"),
            path_argument("name", path, absolute),
            open_flags_argument(flags, inode, created),
            plain("mode", f"0{mode:o}" if flags & abi.O_CREAT else "0"),
            plain("dev", f"{inode.dev:X}" if inode is not None else "0"),
            plain("ino", str(inode.ino) if inode is not None else "0"),
            fd=number if number >= 0 else -1,
            file=file,
            path=path,
        )

    def dup2(self, old: int, new: int) -> int:
        file = self.descriptor(old)
        if old != new:
            if new in self.fds:
                self.close(new)
            file.references += 1
            self.fds[new] = file
            self.close_on_exec.discard(new)
        self.emit(
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
        """Up to `size` bytes of a file or device; never waits."""
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
                self.filled(file)
            return written
        except BrokenPipeError:
            if abi.SIGPIPE in self.signal_handlers:
                raise
            self.fatal_signal = abi.SIGPIPE
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

    def fstat(self, fd: int) -> Stat:
        inode = self.descriptor(fd).inode
        if inode is None:
            return Stat(abi.S_IFSOCK | 0o777, 0, 0, 1, self.uid, self.gid, 0, 0, 0, 0)
        return inode.stat()

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

    def chdir(self, path: str) -> None:
        with self._event("chdir", plain("path", path)):
            inode = self._walk(path).need(path)
            if not isinstance(inode, Directory):
                raise error("ENOTDIR", path)
            if not self.may(inode, abi.X_OK):
                raise error("EACCES", path)
            self.cwd = self.real_path(path)


def _open_inode(process: Task, inode: Inode, name: str, name_raw: str, flags: int) -> OpenFile:
    """Opens what a path led to."""
    if isinstance(inode, File):
        return RegularFile(inode, name, name_raw, flags)
    if isinstance(inode, Directory):
        if flags & abi.O_ACCMODE != abi.O_RDONLY:
            raise error("EISDIR", name_raw)
        return DirectoryFile(inode, name, name_raw, flags)
    if isinstance(inode, Pipe):
        return _open_pipe(process, inode, name, flags)
    if isinstance(inode, Device):
        if inode.driver == "denied":
            raise error("EPERM", name_raw)
        if inode.driver == "tty":
            if process.tty is None:
                raise error("ENXIO", name_raw)
            return TtyFile(process.tty, inode, name, flags)
        if inode.driver.startswith("pts"):
            tty = process.kernel.ttys.get((process.container, inode.rdev & 0xFF))
            if tty is None:
                raise error("EIO", name_raw)
            return TtyFile(tty, inode, name, flags)
        return DeviceFile(inode, name, name_raw, flags)
    raise error("ENXIO", name_raw)


def _open_pipe(process: Task, pipe: Pipe, name: str, flags: int) -> OpenFile:
    # /dev/stdout, or another process's /proc/1/fd/1, where the output leaves the node: the same end again. What was
    # written there has left: a reader waits, until the last writer is gone.
    reading = flags & abi.O_ACCMODE == abi.O_RDONLY
    if isinstance(pipe, Fifo):
        if flags & abi.O_ACCMODE == abi.O_RDWR:
            return FifoBoth(pipe, name)
        return PipeReader(pipe, name) if reading else PipeWriter(pipe, name)
    for owner in (process, *process.kernel.processes.values()):
        for descriptor in owner.fds.values():
            if descriptor.inode is pipe and isinstance(descriptor, Source if reading else Sink | Source):
                descriptor.references += 1
                return descriptor
    if reading:
        return PipeReader(pipe, name)
    return PipeWriter(pipe, name)
