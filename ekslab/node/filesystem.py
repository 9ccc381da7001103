"""Files as the simulated kernel keeps them: inodes, the overlay of a container, mounts, path lookup.

A `Filesystem` is one mount namespace (the host's, or a container's): paths go in, inodes come out. Its public methods
are for the kubelet and for tests and make no events; a process reaches the same inodes through its system calls.
"""

from __future__ import annotations

import asyncio
import itertools
import posixpath
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

from ekslab.node import abi
from ekslab.node.abi import error
from ekslab.node.limits import INODE, LAYER, SHARED_MEMORY, Disk, Memory

if TYPE_CHECKING:
    from ekslab.node.kernel import Process

_inode_numbers = itertools.count(131_072)
_device_numbers = itertools.count(0x27)
_MAX_LINKS = 40
_NAME_MAX = 255
_PATH_MAX = 4096

Layer = Literal["lower", "upper"] | None


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
        return self.mode & 0o170000 == abi.S_IFCHR


class Inode:
    """`layer` says where in a container's overlay the inode lives: from the image, written since, or not overlay.

    `disk` is the file system that it takes space of, as long as anything refers to it.
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
        self.watches: set[Watch] | None = None
        self.disk: Disk | None = None
        self._taken = 0

    def place(self, disk: Disk | None) -> None:
        """Takes its space on a disk. Raises ENOSPC when there is none left."""
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
        """Records a change: times, the copy up into a container's writable layer, and whoever waits for it."""
        self.ctime = now
        if content:
            self.mtime = now
        if self.layer == "lower":
            self.layer = "upper"
        self.notify()

    def notify(self) -> None:
        if self.watches:
            for watch in tuple(self.watches):
                watch.fire()

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
        """All of it; made when asked for in files that the kernel computes."""
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
        """Takes the space for so many bytes; the first write to a file of an image takes it for all of the file."""
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
    """A link of /proc/<pid>/fd or /proc/<pid>/exe: following it arrives at an inode, whatever its text says."""

    __slots__ = ("inode",)

    def __init__(self, target: str, inode: Inode) -> None:
        super().__init__(target, dev=0x2A)
        self.inode = inode


class Device(Inode):
    """A character device; `driver` is null, zero, full, random, tty (the process's own) or inert."""

    __slots__ = ("driver", "rdev")
    type_bits = abi.S_IFCHR

    def __init__(self, driver: str, major: int, minor: int, mode: int = 0o666, *, uid: int = 0, gid: int = 0) -> None:
        super().__init__(mode, uid=uid, gid=gid, dev=0x2B)
        self.driver = driver
        self.rdev = major << 8 | minor


class Directory(Inode):
    __slots__ = ("entries",)
    type_bits = abi.S_IFDIR

    def __init__(self, mode: int = 0o755, *, uid: int = 0, gid: int = 0, now: int = 0, dev: int = 0xFE00) -> None:
        super().__init__(mode, uid=uid, gid=gid, now=now, dev=dev)
        self.entries: dict[str, Inode | None] = {}
        self.nlink = 2

    def size(self) -> int:
        return 4096

    def lookup(self, name: str, viewer: Process | None = None) -> Inode | None:
        """The entry's inode; `viewer` is the process that looks, which /proc/self depends on."""
        return self.entries.get(name)

    def names(self, viewer: Process | None = None) -> list[str]:
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
    """A directory of a container: an image's directory below, seen until something is written above it.

    Nothing is copied when a container is made: each entry is wrapped when it is first looked up.
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

    def lookup(self, name: str, viewer: Process | None = None) -> Inode | None:
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

    def names(self, viewer: Process | None = None) -> list[str]:
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


class Watch:
    """Something that waits for files to change, as inotify lets a program do; close it when done."""

    def __init__(self, filesystem: Filesystem, paths: Iterable[str]) -> None:
        self._filesystem = filesystem
        self._paths = tuple(paths)
        self._inodes: list[Inode] = []
        self._changed = asyncio.Event()
        self._attach()

    def _attach(self) -> None:
        for path in self._paths:
            for inode in self._filesystem.trail(path):
                if inode.watches is None:
                    inode.watches = set()
                inode.watches.add(self)
                self._inodes.append(inode)

    def fire(self) -> None:
        self._changed.set()

    def close(self) -> None:
        for inode in self._inodes:
            if inode.watches is not None:
                inode.watches.discard(self)
                if not inode.watches:
                    inode.watches = None
        self._inodes = []

    async def wait(self, timeout: float | None = None) -> bool:
        """Waits for a change since the last call (or since the watch was made): True, or False after `timeout`."""
        try:
            await asyncio.wait_for(self._changed.wait(), timeout)
        except TimeoutError:
            return False
        self._changed.clear()
        self.close()  # what is behind the paths may be other inodes by now
        self._attach()
        return True

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@dataclass(frozen=True, slots=True)
class MountPoint:
    """A file system hung into another one's tree; `source` and `kind` are what /proc/mounts says."""

    path: str
    root: Inode
    covered: Inode
    read_only: bool = False
    source: str = "tmpfs"
    kind: str = "tmpfs"


class Found(NamedTuple):
    """Where a path leads: its directory and last name, the inode if there is one, and the path without links."""

    directory: Directory
    name: str
    inode: Inode | None
    read_only: bool
    real_path: str

    def need(self, path: str) -> Inode:
        if self.inode is None:
            raise error("ENOENT", path)
        return self.inode


def _join(trail: list[tuple[Directory, str, bool]], *names: str) -> str:
    return "/" + "/".join([name for _, name, _ in trail[1:]] + list(names))


class Filesystem:
    """A mount namespace: a root directory and what is mounted below it."""

    def __init__(self, root: Directory, *, clock: Callable[[], int], root_source: str = "overlay") -> None:
        self.root = root
        self.root_source = root_source
        self.now = clock
        self.mounts: dict[int, MountPoint] = {}
        # What the kernel read from /etc/passwd and /etc/group: file, its ctime, number -> name.
        self.account_names: dict[str, tuple[Inode, int, dict[int, str]]] = {}

    # -- lookup ----------------------------------------------------------------------------------------------------

    def walk(
        self,
        path: str,
        *,
        follow: bool = True,
        viewer: Process | None = None,
        visited: list[Inode] | None = None,
    ) -> Found:
        """Finds an absolute path. Raises ENOENT/ENOTDIR/ELOOP/EACCES for what comes before its last name."""
        if len(path) > _PATH_MAX:
            raise error("ENAMETOOLONG", path)
        todo = [part for part in reversed(path.split("/")) if part and part != "."]
        # From the root to where we are: (inode, name, whether its mount is read-only).
        trail: list[tuple[Directory, str, bool]] = [(self.root, "", False)]
        links = 0
        while todo:
            part = todo.pop()
            directory, _, read_only = trail[-1]
            if viewer is not None and not viewer.may(directory, abi.X_OK):
                raise error("EACCES", path)
            if part == "..":
                if len(trail) > 1:
                    trail.pop()
                continue
            if visited is not None:
                visited.append(directory)
            inode = directory.lookup(part, viewer)
            mount = self.mounts.get(id(inode)) if inode is not None else None
            if mount is not None:
                inode, read_only = mount.root, mount.read_only
            if inode is None:
                if todo:
                    raise error("ENOENT", path)
                return Found(directory, part, None, read_only, _join(trail, part))
            if isinstance(inode, Symlink) and (todo or follow):
                links += 1
                if links > _MAX_LINKS:
                    raise error("ELOOP", path)
                if isinstance(inode, MagicLink):
                    inode = inode.inode
                else:
                    if inode.target.startswith("/"):
                        del trail[1:]
                    todo.extend(piece for piece in reversed(inode.target.split("/")) if piece and piece != ".")
                    continue
            if not todo:
                if path.endswith("/") and not isinstance(inode, Directory) and follow:
                    raise error("ENOTDIR", path)
                return Found(directory, part, inode, read_only, _join(trail, part))
            if not isinstance(inode, Directory):
                raise error("ENOTDIR", path)
            trail.append((inode, part, read_only))
        directory, name, read_only = trail[-1]
        parent = trail[-2][0] if len(trail) > 1 else directory
        return Found(parent, name, directory, read_only, _join(trail))

    def trail(self, path: str) -> list[Inode]:
        """The inodes whose change can change what `path` shows: the file, its directory, and links on the way."""
        visited: list[Inode] = []
        try:
            found = self.walk(path, visited=visited)
        except OSError:
            return visited
        return [*visited, found.inode] if found.inode is not None else visited

    # -- mounts ----------------------------------------------------------------------------------------------------

    def mount(
        self, path: str, root: Inode, *, read_only: bool = False, source: str = "tmpfs", kind: str = "tmpfs"
    ) -> None:
        """Hangs `root` over `path`, which is made (a directory or an empty file, as `root` is) when it isn't there."""
        if isinstance(root, Directory):
            self.mkdir(path)
        elif not self.exists(path):
            self.write_bytes(path, b"")
        covered = self.walk(path).need(path)
        self.mounts[id(covered)] = MountPoint(path, root, covered, read_only, source, kind)

    def mount_of(self, path: str) -> MountPoint | None:
        """The mount whose tree a path lies in, or None for the root."""
        best: MountPoint | None = None
        for mount in self.mounts.values():
            if (path == mount.path or path.startswith(mount.path.rstrip("/") + "/")) and (
                best is None or len(mount.path) >= len(best.path)
            ):
                best = mount
        return best

    def is_mount_root(self, inode: Inode) -> bool:
        return any(mount.root is inode for mount in self.mounts.values())

    # -- for the kubelet and for tests: root's view, without events --------------------------------------------------

    def exists(self, path: str) -> bool:
        try:
            return self.walk(path).inode is not None
        except OSError:
            return False

    def _file(self, path: str) -> File:
        inode = self.walk(path).need(path)
        if isinstance(inode, Directory):
            raise error("EISDIR", path)
        if not isinstance(inode, File):
            raise error("EINVAL", path)
        return inode

    def read_bytes(self, path: str) -> bytes:
        return self._file(path).content()

    def read_text(self, path: str) -> str:
        return self.read_bytes(path).decode(errors="replace")

    def size(self, path: str) -> int:
        return self._file(path).size()

    def read_range(self, path: str, offset: int, size: int | None = None) -> bytes:
        """Part of a file, without copying the rest: what a follower of a log needs."""
        data = self._file(path).data
        return bytes(data[offset:] if size is None else data[offset : offset + size])

    def write_bytes(self, path: str, data: bytes, mode: int = 0o644) -> None:
        """Writes a whole file; its directories are made."""
        self.open_file(path, mode).truncate(0, self.now())
        self.append_bytes(path, data)

    def write_text(self, path: str, text: str, mode: int = 0o644) -> None:
        self.write_bytes(path, text.encode(), mode)

    def append_bytes(self, path: str, data: bytes) -> None:
        file = self.open_file(path)
        file.write_at(file.size(), data, self.now())

    def open_file(self, path: str, mode: int = 0o644) -> File:
        """The file's inode; it and its directories are made when they aren't there."""
        self.mkdir(posixpath.dirname(path) or "/")
        found = self.walk(path)
        if found.inode is None:
            file = File(mode=mode, now=self.now(), dev=found.directory.dev)
            file.layer = found.directory.new_child_layer()
            found.directory.insert(found.name, file, self.now())
            return file
        return self._file(path)

    def mkdir(self, path: str, mode: int = 0o755) -> Directory:
        """The directory; it and its parents are made when they aren't there."""
        here = ""
        current: Inode = self.root
        for part in path.split("/"):
            if not part or part == ".":
                continue
            here += f"/{part}"
            found = self.walk(here)
            if found.inode is None:
                made = self.new_directory(found.directory, mode)
                found.directory.insert(found.name, made, self.now())
                current = made
            else:
                current = found.inode
        if not isinstance(current, Directory):
            raise error("ENOTDIR", path)
        return current

    def new_directory(self, parent: Directory, mode: int, *, uid: int = 0, gid: int = 0) -> Directory:
        now = self.now()
        made: Directory
        if isinstance(parent, OverlayDirectory):
            made = OverlayDirectory(None, mode, dev=parent.dev, now=now)
        else:
            made = Directory(mode, now=now, dev=parent.dev)
        made.uid, made.gid = uid, gid
        return made

    def symlink(self, target: str, path: str) -> None:
        """Makes a link, replacing one that is there; its directories are made."""
        self.mkdir(posixpath.dirname(path) or "/")
        found = self.walk(path, follow=False)
        found.directory.insert(found.name, Symlink(target, now=self.now(), dev=found.directory.dev), self.now())

    def remove(self, path: str) -> None:
        """Removes a file, link or whole directory; nothing happens when there is none."""
        try:
            found = self.walk(path, follow=False)
        except OSError:
            return
        if found.inode is not None and found.name:
            found.inode.notify()
            found.directory.remove(found.name, self.now())

    def rename(self, old: str, new: str) -> None:
        """Moves what is at a path."""
        source, target = self.walk(old, follow=False), self.walk(new, follow=False)
        inode = source.need(old)
        source.directory.remove(source.name, self.now())
        target.directory.insert(target.name, inode, self.now())
        inode.notify()

    def listdir(self, path: str) -> list[str]:
        inode = self.walk(path).need(path)
        if not isinstance(inode, Directory):
            raise error("ENOTDIR", path)
        return sorted(inode.names())

    def stat(self, path: str) -> Stat:
        return self.walk(path).need(path).stat()

    def watch(self, *paths: str) -> Watch:
        return Watch(self, paths)

    async def wait_for_change(self, *paths: str, timeout: float | None = None) -> bool:
        """Waits until something about one of the paths changes; False when `timeout` seconds pass first."""
        with self.watch(*paths) as watch:
            return await watch.wait(timeout)

    def files(self, path: str = "/") -> Iterator[str]:
        """Every path below a directory, depth first; doesn't follow links."""
        inode = self.walk(path).inode
        if not isinstance(inode, Directory):
            return
        for name in sorted(inode.names()):
            child = posixpath.join(path, name)
            yield child
            if isinstance(self.walk(child, follow=False).inode, Directory):
                yield from self.files(child)


def new_tmpfs(clock: Callable[[], int], memory: Memory, mode: int = 0o755) -> Directory:
    """The root of an empty in-memory file system with a device number of its own."""
    root = Directory(mode, now=clock(), dev=next(_device_numbers))
    root.disk = Disk(SHARED_MEMORY, memory=memory)
    return root


def new_overlay(lower: Directory, clock: Callable[[], int], disk: Disk) -> OverlayDirectory:
    """The root of a container: an image's tree below, an empty writable layer on `disk` above."""
    root = OverlayDirectory(lower, dev=next(_device_numbers))
    root.disk = disk
    root.mtime = clock()
    return root


# -- what a pod can mount --------------------------------------------------------------------------------------------


class EmptyDir:
    """An emptyDir volume: the object is the volume, share it between a pod's containers."""

    def __init__(self, *, medium: str = "") -> None:
        self.medium = medium
        self.root = Directory(0o777, dev=next(_device_numbers))


class Files:
    """Files held in memory: a ConfigMap, Secret, downward API or token volume.

    As with the kubelet, names are links through `..data` to a directory that is replaced as a whole, so a program
    that follows the links never sees half an update.
    """

    def __init__(
        self, content: Mapping[str, bytes | str] | None = None, *, mode: int = 0o644, uid: int = 0, gid: int = 0
    ) -> None:
        self.root = Directory(0o777, dev=next(_device_numbers))
        self.mode = mode
        self.uid, self.gid = uid, gid
        self._generation = 0
        self.content: dict[str, bytes] = {}
        if content is not None:
            self.update(content)

    def update(self, content: Mapping[str, bytes | str], now: int = 0) -> None:
        """Replaces everything; nothing happens when the content is what is already there."""
        new = {name: data.encode() if isinstance(data, str) else bytes(data) for name, data in content.items()}
        if new == self.content and self._generation:
            return
        self.content = new
        self._generation += 1
        data_name = f"..{self._generation:04d}"
        data_dir = Directory(0o755, now=now, dev=self.root.dev)
        for name, data in new.items():
            *parents, base = name.split("/")
            directory = data_dir
            for parent in parents:
                below = directory.lookup(parent)
                if not isinstance(below, Directory):
                    below = Directory(0o755, now=now, dev=self.root.dev)
                    directory.entries[parent] = below
                directory = below
            directory.entries[base] = File(data, self.mode, uid=self.uid, gid=self.gid, now=now, dev=self.root.dev)
        entries: dict[str, Inode | None] = {
            data_name: data_dir,
            "..data": Symlink(data_name, now=now, dev=self.root.dev),
        }
        for top in dict.fromkeys(name.split("/")[0] for name in new):
            entries[top] = Symlink(f"..data/{top}", now=now, dev=self.root.dev)
        self.root.entries = entries
        self.root.touched(now)

    def file(self, name: str) -> Inode:
        """The inode of one file, for a subPath mount; ENOENT when there is none."""
        current: Inode | None = self.root.lookup(f"..{self._generation:04d}")
        for part in name.split("/"):
            current = current.lookup(part) if isinstance(current, Directory) else None
        if current is None:
            raise error("ENOENT", name)
        return current


@dataclass(frozen=True)
class HostPath:
    """A directory or file of the node."""

    path: str


@dataclass(frozen=True)
class Mount:
    """A volume at a path in a container; `sub_path` mounts only that part of the volume."""

    path: str
    source: HostPath | EmptyDir | Files
    read_only: bool = False
    sub_path: str = ""
