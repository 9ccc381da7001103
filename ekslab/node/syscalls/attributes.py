"""System calls that change what `stat` shows: mode, owner, times, size. Events: fchmodat, fchownat."""

from __future__ import annotations

from ekslab.node import abi
from ekslab.node.abi import error
from ekslab.node.arguments import at_fdcwd, flags_argument, mode_argument, path_argument, plain
from ekslab.node.inodes import Directory, File
from ekslab.node.syscalls.lookup import PathLookup


class AttributeCalls(PathLookup):
    """Attributes of files."""

    def chmod(self, path: str, mode: int) -> None:
        with self._event(
            "fchmodat",
            at_fdcwd("dirfd"),
            path_argument("filename", path, self.absolute(path)),
            mode_argument("mode", mode),
            path=path,
            fd=-100,
        ):
            found = self._walk(path)
            inode = found.need(path)
            if not self.owns(inode):
                raise error("EPERM", path)
            if found.read_only:
                raise error("EROFS", path)
            inode.mode = mode & 0o7777
            inode.touched(self.kernel.now(), content=False)

    def chown(self, path: str, uid: int, gid: int, *, follow: bool = True) -> None:
        """Changes owner and group; -1 leaves one as it is."""
        with self._event(
            "fchownat",
            at_fdcwd("dirfd"),
            path_argument("pathname", path, self.absolute(path)),
            plain("uid", str(uid)),
            plain("gid", str(gid)),
            flags_argument("flags", 0, ""),
            path=path,
            fd=-100,
        ):
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

    def utime(
        self, path: str, ns: int | None = None, *, atime: bool = True, mtime: bool = True, follow: bool = True
    ) -> None:
        """Sets access and modification time; now when `ns` is None."""
        found = self._walk(path, follow=follow)
        inode = found.need(path)
        if not (self.owns(inode) or (ns is None and self.may(inode, abi.W_OK))):
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
