"""Path lookup, and the system calls that only look: stat, access, readlink. Falco has no events for them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ekslab.node import abi
from ekslab.node.abi import error
from ekslab.node.arguments import Argument, result_argument
from ekslab.node.filesystem import Found, MountPoint, Watch
from ekslab.node.inodes import Device, Directory, File, Inode, Stat, Symlink
from ekslab.node.kernel import Task


class PathLookup(Task):
    """What calls that take a path share."""

    def _rooted(self, path: str) -> str:
        if not path:
            raise error("ENOENT", path)
        return path if path.startswith("/") else f"{self.cwd}/{path}"

    def _walk(self, path: str, *, follow: bool = True) -> Found:
        try:
            return self.filesystem.walk(self._rooted(path), follow=follow, viewer=self)
        except OSError as exc:
            raise error(abi.errno_name(exc), path) from None

    def _may_change(self, found: Found, path: str) -> None:
        """Whether entries may be made or removed in the directory that a path leads to."""
        if found.read_only:
            raise error("EROFS", path)
        if not self.may(found.directory, abi.W_OK | abi.X_OK):
            raise error("EACCES", path)

    def _may_remove(self, found: Found, path: str) -> Inode:
        inode = found.need(path)
        self._may_change(found, path)
        if found.directory.mode & 0o1000 and not (self.owns(inode) or self.owns(found.directory)):
            raise error("EPERM", path)
        if self.filesystem.is_mount_root(inode):
            raise error("EBUSY", path)
        return inode

    @contextmanager
    def _event(
        self,
        type: str,
        *arguments: Argument,
        path: str | None = None,
        source: str | None = None,
        target: str | None = None,
        fd: int | None = None,
    ) -> Iterator[None]:
        """Emits a call that changes the file system: its result is 0, or the errno that the body raises."""

        def emit(number: int) -> None:
            self.emit(type, number, result_argument(number), *arguments, path=path, source=source, target=target, fd=fd)

        try:
            yield
        except OSError as exc:
            emit(-abi.errno_number(abi.errno_name(exc)))
            raise
        emit(0)

    def stat(self, path: str) -> Stat:
        return self._walk(path).need(path).stat()

    def lstat(self, path: str) -> Stat:
        return self._walk(path, follow=False).need(path).stat()

    def access(self, path: str, mode: int = abi.F_OK) -> bool:
        try:
            found = self._walk(path)
        except OSError:
            return False
        if found.inode is None or (mode & abi.W_OK and found.read_only and not isinstance(found.inode, Device)):
            return False
        if mode & abi.X_OK and found.mount.noexec and isinstance(found.inode, File):
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

    def mount_of(self, path: str) -> MountPoint:
        """The mount in which a path lies (statfs)."""
        found = self._walk(path)
        found.need(path)
        return found.mount

    def readlink(self, path: str) -> str:
        inode = self._walk(path, follow=False).need(path)
        if not isinstance(inode, Symlink):
            raise error("EINVAL", path)
        return inode.target

    def watch(self, *paths: str) -> Watch:
        """A lasting watch of files and directories (as inotify): `await watch.wait(timeout)`, then `close()`."""
        return self.filesystem.watch(*(self._rooted(path) for path in paths))

    async def wait_for_change(self, *paths: str, timeout: float | None = None) -> bool:
        with self.watch(*paths) as watch:
            return await watch.wait(timeout)
