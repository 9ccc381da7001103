"""Inodes: files, directories, links and devices, and the overlay directories of a container's root."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Literal, NamedTuple, Protocol

from ekslab.node import abi
from ekslab.node.abi import error
from ekslab.node.limits import INODE, LAYER, SHARED_MEMORY, Disk, Memory

_NAME_MAX = 255
_inode_numbers = itertools.count(131_072)
_device_numbers = itertools.count(0x27)

Layer = Literal["lower", "upper"] | None


def new_device_number() -> int:
    """The device number of a new file system."""
    return next(_device_numbers)


class Viewer(Protocol):
    """The process that looks a name up: permissions and /proc/self depend on it."""

    pid: int
    vpid: int

    def may(self, inode: Inode, want: int) -> bool: ...


class Stat(NamedTuple):
    """What `stat` answers; times are nanoseconds since the epoch, `mode` includes the type bits."""

    mode: int
    ino: int
    dev: int
    nlink: int
    uid: int
    gid: int
    size: int
    atime: int
    mtime: int
    ctime: int
    rdev: int = 0

    @property
    def is_dir(self) -> bool:
        return self.mode & 0o170000 == abi.S_IFDIR

    @property
    def is_file(self) -> bool:
        return self.mode & 0o170000 == abi.S_IFREG

    @property
    def is_symlink(self) -> bool:
        return self.mode & 0o170000 == abi.S_IFLNK

    @property
    def is_device(self) -> bool:
        return self.mode & 0o170000 in (abi.S_IFCHR, abi.S_IFBLK)


class Inode:
    """`layer` is "lower" (from the image) or "upper" (written since) in a container's overlay, None elsewhere.

    `disk` is the file system whose space it takes while anything refers to it.
    """

    __slots__ = (
        "_taken", "atime", "ctime", "dev", "disk", "gid", "ino", "layer", "mode", "mtime", "nlink", "uid", "watches"
    )  # fmt: skip
    type_bits = 0

    def __init__(self, mode: int, *, uid: int = 0, gid: int = 0, now: int = 0, dev: int = 0xFE00) -> None:
        self.mode = mode & 0o7777
        self.uid = uid
        self.gid = gid
        self.atime = self.mtime = self.ctime = now
        self.ino = next(_inode_numbers)
        self.dev = dev
        self.nlink = 1
        self.layer: Layer = None
        self.watches: set[Callable[[], None]] | None = None
        self.disk: Disk | None = None
        self._taken = 0

    def place(self, disk: Disk | None) -> None:
        """Allocates the inode on a disk. Raises ENOSPC when the disk is full."""
        self.disk = disk
        self._take(INODE)

    def _take(self, size: int) -> None:
        if self.disk is not None:
            if size > 0:
                self.disk.charge(size)
            else:
                self.disk.release(-size)
            self._taken += size

    def __del__(self) -> None:
        if self._taken and self.disk is not None:
            self.disk.release(self._taken)

    def size(self) -> int:
        return 0

    def stat(self) -> Stat:
        return Stat(
            self.type_bits | self.mode,
            self.ino,
            self.dev,
            self.nlink,
            self.uid,
            self.gid,
            self.size(),
            self.atime,
            self.mtime,
            self.ctime,
            getattr(self, "rdev", 0),
        )

    def touched(self, now: int, *, content: bool = True) -> None:
        """Records a change: updates times, copies up into a container's writable layer, wakes watches."""
        self.ctime = now
        if content:
            self.mtime = now
        if self.layer == "lower":
            self.layer = "upper"
        self.notify()

    def notify(self) -> None:
        if self.watches:
            for notify in tuple(self.watches):
                notify()

    def _like(self, other: Inode) -> None:
        self.mode, self.uid, self.gid = other.mode, other.uid, other.gid
        self.atime, self.mtime, self.ctime = other.atime, other.mtime, other.ctime
        self.ino, self.nlink = other.ino, other.nlink


class File(Inode):
    """A regular file. `data` is `bytes` while it is shared with an image's layer and a `bytearray` once written."""

    __slots__ = ("data",)
    type_bits = abi.S_IFREG

    def __init__(
        self,
        data: bytes | bytearray = b"",
        mode: int = 0o644,
        *,
        uid: int = 0,
        gid: int = 0,
        now: int = 0,
        dev: int = 0xFE00,
    ) -> None:
        super().__init__(mode, uid=uid, gid=gid, now=now, dev=dev)
        self.data: bytes | bytearray = data

    def size(self) -> int:
        return len(self.data)

    def content(self) -> bytes:
        """The content; computed files compute it now."""
        return bytes(self.data)

    def write_at(self, offset: int, data: bytes, now: int) -> None:
        self._grow(offset + len(data))
        if not isinstance(self.data, bytearray):
            self.data = bytearray(self.data)
        if offset > len(self.data):
            self.data.extend(bytes(offset - len(self.data)))
        self.data[offset : offset + len(data)] = data
        self.touched(now)

    def _grow(self, size: int) -> None:
        """Allocates space for `size` bytes; the first write to an image's file copies all of it up."""
        if self.disk is None and size > LAYER:
            raise error("ENOSPC")
        held = len(self.data) if isinstance(self.data, bytearray) else 0
        if (wanted := max(size, len(self.data))) > held:
            self._take(wanted - held)

    def truncate(self, size: int, now: int) -> None:
        self._grow(size)
        if size < len(self.data):
            self._take(size - len(self.data))
        self.data = bytearray(self.data[:size].ljust(size, b"\x00"))
        self.touched(now)


class ComputedFile(File):
    """A file of /proc or /sys: its content is computed when it is opened."""

    __slots__ = ("compute",)

    def __init__(self, compute: Callable[[], bytes], mode: int = 0o444, *, uid: int = 0, gid: int = 0) -> None:
        super().__init__(b"", mode, uid=uid, gid=gid, dev=0x2A)
        self.compute = compute

    def content(self) -> bytes:
        return self.compute()

    def write_at(self, offset: int, data: bytes, now: int) -> None:
        raise error("EACCES")

    def truncate(self, size: int, now: int) -> None:
        """Opening with O_TRUNC is harmless, as in /proc."""


class Symlink(Inode):
    __slots__ = ("target",)
    type_bits = abi.S_IFLNK

    def __init__(self, target: str, *, uid: int = 0, gid: int = 0, now: int = 0, dev: int = 0xFE00) -> None:
        super().__init__(0o777, uid=uid, gid=gid, now=now, dev=dev)
        self.target = target

    def size(self) -> int:
        return len(self.target)


class MagicLink(Symlink):
    """A link of /proc/<pid>/fd or /proc/<pid>/exe: following it leads to an inode, not to the path it shows."""

    __slots__ = ("inode",)

    def __init__(self, target: str, inode: Inode) -> None:
        super().__init__(target, dev=0x2A)
        self.inode = inode


class Device(Inode):
    """A character device; `driver` is null, zero, full, random, tty (the process's own), inert or denied."""

    __slots__ = ("driver", "rdev")
    type_bits = abi.S_IFCHR

    def __init__(self, driver: str, major: int, minor: int, mode: int = 0o666, *, uid: int = 0, gid: int = 0) -> None:
        super().__init__(mode, uid=uid, gid=gid, dev=0x2B)
        self.driver = driver
        self.rdev = major << 8 | minor


class BlockDevice(Device):
    __slots__ = ()
    type_bits = abi.S_IFBLK


class Directory(Inode):
    __slots__ = ("entries",)
    type_bits = abi.S_IFDIR

    def __init__(self, mode: int = 0o755, *, uid: int = 0, gid: int = 0, now: int = 0, dev: int = 0xFE00) -> None:
        super().__init__(mode, uid=uid, gid=gid, now=now, dev=dev)
        self.entries: dict[str, Inode | None] = {}
        self.nlink = 2

    def size(self) -> int:
        return 4096

    def lookup(self, name: str, viewer: Viewer | None = None) -> Inode | None:
        """The entry's inode; /proc/self depends on `viewer`, the process that looks it up."""
        return self.entries.get(name)

    def names(self, viewer: Viewer | None = None) -> list[str]:
        return [name for name, inode in self.entries.items() if inode is not None]

    def insert(self, name: str, inode: Inode, now: int) -> None:
        if len(name) > _NAME_MAX:
            raise error("ENAMETOOLONG", name)
        if inode.disk is None:
            inode.place(self.disk)
        self.entries[name] = inode
        self.touched(now)

    def remove(self, name: str, now: int) -> None:
        if name not in self.entries:  # an entry that is computed, as in /proc
            raise error("EPERM", name)
        del self.entries[name]
        self.touched(now)

    def new_child_layer(self) -> Layer:
        return None


class OverlayDirectory(Directory):
    """A directory of a container: an image's directory as lower layer, and entries written since.

    Creating a container copies nothing: entries are wrapped at the first lookup.
    """

    __slots__ = ("lower",)

    def __init__(self, lower: Directory | None, mode: int = 0o755, *, dev: int, now: int = 0) -> None:
        super().__init__(mode, dev=dev, now=now)
        self.lower = lower
        if lower is not None:
            self._like(lower)
            self.layer = "lower"
        else:
            self.layer = "upper"

    def lookup(self, name: str, viewer: Viewer | None = None) -> Inode | None:
        try:
            return self.entries[name]
        except KeyError:
            pass
        below = self.lower.lookup(name) if self.lower is not None else None
        if below is None:
            return None
        inode = self._wrap(below)
        self.entries[name] = inode
        return inode

    def _wrap(self, below: Inode) -> Inode:
        wrapped: Inode
        if isinstance(below, Directory):
            wrapped = OverlayDirectory(below, dev=self.dev)
            wrapped.disk = self.disk
            return wrapped
        if isinstance(below, File):
            wrapped = File(below.data)
        elif isinstance(below, Symlink):
            wrapped = Symlink(below.target)
        else:
            return below
        wrapped._like(below)
        wrapped.dev = self.dev
        wrapped.disk = self.disk
        wrapped.layer = "lower"
        return wrapped

    def names(self, viewer: Viewer | None = None) -> list[str]:
        below = self.lower.names() if self.lower is not None else []
        hidden = {name for name, inode in self.entries.items() if inode is None}
        seen = set(below)
        above = [name for name, inode in self.entries.items() if inode is not None and name not in seen]
        return [name for name in below if name not in hidden] + above

    def remove(self, name: str, now: int) -> None:
        if self.lower is not None and self.lower.lookup(name) is not None:
            self.entries[name] = None  # a whiteout
        else:
            del self.entries[name]
        self.touched(now)

    def new_child_layer(self) -> Layer:
        return "upper"


def new_tmpfs(clock: Callable[[], int], memory: Memory, mode: int = 0o755) -> Directory:
    """The root of an empty tmpfs with a new device number."""
    root = Directory(mode, now=clock(), dev=new_device_number())
    root.disk = Disk(SHARED_MEMORY, memory=memory)
    return root


def new_overlay(lower: Directory, clock: Callable[[], int], disk: Disk) -> OverlayDirectory:
    """The root of a container: an image's tree as lower layer, an empty writable layer on `disk`."""
    root = OverlayDirectory(lower, dev=new_device_number())
    root.disk = disk
    root.mtime = clock()
    return root
