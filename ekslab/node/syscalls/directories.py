"""System calls that make, remove and rename directory entries.

Events: mkdir, mkdirat, mknodat, unlinkat, unlink, rmdir, rename, renameat2, linkat, symlinkat.
"""

from __future__ import annotations

from contextlib import AbstractContextManager

from ekslab.node import abi
from ekslab.node.abi import error
from ekslab.node.arguments import at_fdcwd, flags_argument, path_argument, plain
from ekslab.node.descriptors import Fifo
from ekslab.node.inodes import BlockDevice, Device, Directory, Inode, Symlink
from ekslab.node.syscalls.lookup import PathLookup

# The devices that the device controller of a container's control group lets be opened.
_DRIVERS = {(1, 3): "null", (1, 5): "zero", (1, 7): "full", (1, 8): "random", (1, 9): "random", (5, 0): "tty"}


class DirectoryCalls(PathLookup):
    """Directory entries."""

    def mkdir(self, path: str, mode: int = 0o777, *, call: str = "mkdir") -> None:
        """Makes a directory. `call` is mkdir or mkdirat, as the program calls it."""
        arguments = [path_argument("path", path, self.absolute(path)), plain("mode", f"{mode:X}")]
        if call == "mkdirat":
            arguments = [at_fdcwd("dirfd"), *arguments]
        with self._event(call, *arguments, path=path):
            found = self._walk(path.rstrip("/") or "/", follow=False)
            if found.inode is not None:
                raise error("EEXIST", path)
            self._may_change(found, path)
            made = self.filesystem.new_directory(found.directory, mode & ~self.umask, uid=self.euid, gid=self.egid)
            found.directory.insert(found.name, made, self.kernel.now())
            found.directory.nlink += 1

    def rmdir(self, path: str, *, call: str = "unlinkat") -> None:
        """Removes a directory. `call` is unlinkat or rmdir."""
        with self._unlinkat(path, call, abi_flags="AT_REMOVEDIR", number=0x200):
            found = self._walk(path.rstrip("/") or "/", follow=False)
            inode = self._may_remove(found, path)
            if not isinstance(inode, Directory):
                raise error("ENOTDIR", path)
            if inode.names():
                raise error("ENOTEMPTY", path)
            found.directory.remove(found.name, self.kernel.now())
            found.directory.nlink -= 1

    def unlink(self, path: str, *, call: str = "unlinkat") -> None:
        """Removes a name. `call` is unlinkat or unlink."""
        with self._unlinkat(path, call):
            found = self._walk(path, follow=False)
            inode = self._may_remove(found, path)
            if isinstance(inode, Directory):
                raise error("EISDIR", path)
            inode.nlink -= 1
            inode.notify()
            found.directory.remove(found.name, self.kernel.now())

    def _unlinkat(self, path: str, call: str, abi_flags: str = "", number: int = 0) -> AbstractContextManager[None]:
        if call != "unlinkat":
            return self._event(call, path_argument("path", path, self.absolute(path)), path=path)
        return self._event(
            "unlinkat",
            at_fdcwd("dirfd"),
            path_argument("name", path, self.absolute(path)),
            flags_argument("flags", number, abi_flags),
            path=path,
            fd=-100,
        )

    def rename(self, old: str, new: str, *, no_replace: bool = False) -> None:
        """Moves a file within one file system; with `no_replace` EEXIST when the target is there."""
        source_path = path_argument("oldpath", old, self.absolute(old))
        target_path = path_argument("newpath", new, self.absolute(new))
        arguments = [source_path, target_path]
        if no_replace:
            flags = flags_argument("flags", 1, "RENAME_NOREPLACE")
            arguments = [at_fdcwd("olddirfd"), source_path, at_fdcwd("newdirfd"), target_path, flags]
        with self._event("renameat2" if no_replace else "rename", *arguments, source=old, target=new):
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

    def link(self, old: str, new: str) -> None:
        with self._event(
            "linkat",
            at_fdcwd("olddir"),
            path_argument("oldpath", old, self.absolute(old)),
            at_fdcwd("newdir"),
            path_argument("newpath", new, self.absolute(new)),
            flags_argument("flags", 0, ""),
            source=old,
            target=new,
        ):
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

    def mknod(self, path: str, mode: int, kind: int = abi.S_IFIFO, device: tuple[int, int] = (0, 0)) -> None:
        """Makes a named pipe or a device. A device can be made and not opened, but for those of `_DRIVERS`."""
        with self._event(
            "mknodat",
            at_fdcwd("dirfd"),
            path_argument("path", path, self.absolute(path)),
            plain("mode", f"{kind | mode:X}"),
            plain("dev", f"{device[0] << 8 | device[1]:X}"),
            path=path,
        ):
            found = self._walk(path, follow=False)
            if found.inode is not None:
                raise error("EEXIST", path)
            self._may_change(found, path)
            if kind != abi.S_IFIFO and "CAP_MKNOD" not in self.capabilities:
                raise error("EPERM", path)
            now, mode = self.kernel.now(), mode & ~self.umask
            made: Inode
            if kind == abi.S_IFIFO:
                made = Fifo(mode, now, self.memory, uid=self.euid, gid=self.egid, dev=found.directory.dev)
            else:
                block = kind == abi.S_IFBLK
                driver = "denied" if block else _DRIVERS.get(device, "denied")
                made = (BlockDevice if block else Device)(driver, *device, mode, uid=self.euid, gid=self.egid)
            made.layer = found.directory.new_child_layer()
            found.directory.insert(found.name, made, now)

    def symlink(self, target: str, path: str) -> None:
        with self._event(
            "symlinkat",
            plain("target", target),
            at_fdcwd("linkdirfd"),
            path_argument("linkpath", path, self.absolute(path)),
            source=target,
            target=path,
        ):
            found = self._walk(path, follow=False)
            if found.inode is not None:
                raise error("EEXIST", path)
            self._may_change(found, path)
            now = self.kernel.now()
            made = Symlink(target, uid=self.euid, gid=self.egid, now=now, dev=found.directory.dev)
            made.layer = found.directory.new_child_layer()
            found.directory.insert(found.name, made, now)
