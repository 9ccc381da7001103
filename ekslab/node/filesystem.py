"""A mount namespace: path lookup, mounts, and file access for the kubelet and for tests.

`Filesystem` is the host's or a container's. Its methods emit no events; processes reach the same inodes through
system calls.
"""

from __future__ import annotations

import asyncio
import posixpath
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from ekslab.node import abi
from ekslab.node.abi import error
from ekslab.node.inodes import Directory, File, Inode, MagicLink, OverlayDirectory, Symlink, Viewer

_MAX_LINKS = 40
_PATH_MAX = 4096


class Watch:
    """Waits for files to change, like inotify; close it when done."""

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
                inode.watches.add(self._changed.set)
                self._inodes.append(inode)

    def close(self) -> None:
        for inode in self._inodes:
            if inode.watches is not None:
                inode.watches.discard(self._changed.set)
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


@dataclass(slots=True)
class MountPoint:
    """A mounted file system; `source`, `kind` and `options` (`ro,nosuid,relatime`) are shown in /proc/mounts.

    Lookup hands it on with what it finds: ro, noexec, nosuid and nodev hold for every file below.
    """

    path: str
    root: Inode
    covered: Inode
    source: str = "tmpfs"
    kind: str = "tmpfs"
    options: str = "rw,relatime"
    read_only: bool = field(init=False)
    noexec: bool = field(init=False)
    nosuid: bool = field(init=False)
    nodev: bool = field(init=False)

    def __post_init__(self) -> None:
        options = self.options.split(",")
        self.read_only, self.noexec = "ro" in options, "noexec" in options
        self.nosuid, self.nodev = "nosuid" in options, "nodev" in options


class Found(NamedTuple):
    """Where a path leads: its directory and last name, the inode if there is one, its mount, the path without links."""

    directory: Directory
    name: str
    inode: Inode | None
    mount: MountPoint
    real_path: str

    @property
    def read_only(self) -> bool:
        return self.mount.read_only

    def need(self, path: str) -> Inode:
        if self.inode is None:
            raise error("ENOENT", path)
        return self.inode


def _join(trail: list[tuple[Directory, str, MountPoint]], *names: str) -> str:
    return "/" + "/".join([name for _, name, _ in trail[1:]] + list(names))


class Filesystem:
    """A mount namespace: a root directory and what is mounted below it."""

    def __init__(
        self,
        root: Directory,
        *,
        clock: Callable[[], int],
        source: str = "overlay",
        kind: str = "overlay",
        options: str = "rw,relatime",
    ) -> None:
        self.root = root
        self.root_mount = MountPoint("/", root, root, source, kind, options)
        self.now = clock
        self.mounts: dict[int, MountPoint] = {}
        # Cache of `accounts.name_of`, by path: file, its ctime, number -> name.
        self.account_names: dict[str, tuple[Inode, int, dict[int, str]]] = {}

    # -- lookup ----------------------------------------------------------------------------------------------------

    def walk(
        self,
        path: str,
        *,
        follow: bool = True,
        viewer: Viewer | None = None,
        visited: list[Inode] | None = None,
    ) -> Found:
        """Looks an absolute path up. Raises ENOENT/ENOTDIR/ELOOP/EACCES for components before the last."""
        if len(path) > _PATH_MAX:
            raise error("ENAMETOOLONG", path)
        todo = [part for part in reversed(path.split("/")) if part and part != "."]
        # From the root to the current directory: (inode, name, its mount).
        trail: list[tuple[Directory, str, MountPoint]] = [(self.root, "", self.root_mount)]
        links = 0
        while todo:
            part = todo.pop()
            directory, _, mount = trail[-1]
            if viewer is not None and not viewer.may(directory, abi.X_OK):
                raise error("EACCES", path)
            if part == "..":
                if len(trail) > 1:
                    trail.pop()
                continue
            if visited is not None:
                visited.append(directory)
            inode = directory.lookup(part, viewer)
            if inode is None:
                if todo:
                    raise error("ENOENT", path)
                return Found(directory, part, None, mount, _join(trail, part))
            over = self.mounts.get(id(inode))
            if over is not None:
                inode, mount = over.root, over
            if isinstance(inode, Symlink) and (todo or follow):
                links += 1
                if links > _MAX_LINKS:
                    raise error("ELOOP", path)
                if isinstance(inode, MagicLink):
                    inode = inode.inode
                    mount = self._mount_of(inode)
                else:
                    if inode.target.startswith("/"):
                        del trail[1:]
                    todo.extend(piece for piece in reversed(inode.target.split("/")) if piece and piece != ".")
                    continue
            if not todo:
                if path.endswith("/") and not isinstance(inode, Directory) and follow:
                    raise error("ENOTDIR", path)
                return Found(directory, part, inode, mount, _join(trail, part))
            if not isinstance(inode, Directory):
                raise error("ENOTDIR", path)
            trail.append((inode, part, mount))
        directory, name, mount = trail[-1]
        parent = trail[-2][0] if len(trail) > 1 else directory
        return Found(parent, name, directory, mount, _join(trail))

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
        self, path: str, root: Inode, *, source: str = "tmpfs", kind: str = "tmpfs", options: str = "rw,relatime"
    ) -> None:
        """Mounts `root` at `path`, which is created (as a directory or an empty file, like `root`) if missing."""
        if isinstance(root, Directory):
            self.mkdir(path)
        elif not self.exists(path):
            self.write_bytes(path, b"")
        covered = self.walk(path).need(path)
        self.mounts[id(covered)] = MountPoint(path, root, covered, source, kind, options)

    def mount_points(self) -> list[MountPoint]:
        """Every mount, the root first."""
        return [self.root_mount, *self.mounts.values()]

    def _mount_of(self, inode: Inode) -> MountPoint:
        """Where an inode that a link of /proc leads to is mounted. What is mounted nowhere has no restrictions."""
        found = (mount for mount in self.mount_points() if mount.root.dev == inode.dev)
        return next(found, MountPoint("", inode, inode))

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
        """Part of a file, without copying the rest (for followers of logs)."""
        data = self._file(path).data
        return bytes(data[offset:] if size is None else data[offset : offset + size])

    def write_bytes(self, path: str, data: bytes, mode: int = 0o644) -> None:
        """Writes a whole file; missing directories are created."""
        self.open_file(path, mode).truncate(0, self.now())
        self.append_bytes(path, data)

    def write_text(self, path: str, text: str, mode: int = 0o644) -> None:
        self.write_bytes(path, text.encode(), mode)

    def append_bytes(self, path: str, data: bytes) -> None:
        file = self.open_file(path)
        file.write_at(file.size(), data, self.now())

    def open_file(self, path: str, mode: int = 0o644) -> File:
        """The file's inode; the file and its directories are created if missing."""
        self.mkdir(posixpath.dirname(path) or "/")
        found = self.walk(path)
        if found.inode is None:
            file = File(mode=mode, now=self.now(), dev=found.directory.dev)
            file.layer = found.directory.new_child_layer()
            found.directory.insert(found.name, file, self.now())
            return file
        return self._file(path)

    def mkdir(self, path: str, mode: int = 0o755) -> Directory:
        """The directory; it and its parents are created if missing."""
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
        """Creates or replaces a link; missing directories are created."""
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
