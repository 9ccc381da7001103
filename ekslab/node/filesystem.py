"""A mount namespace: path lookup, mounts, and file access for the kubelet and for tests.

`Filesystem` is the host's or a container's. Its methods emit no events; processes reach the same inodes through
system calls.
"""

from __future__ import annotations

import asyncio
import posixpath
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class MountPoint:
    """A mounted file system; `source` and `kind` are shown in /proc/mounts."""

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
        # From the root to the current directory: (inode, name, whether its mount is read-only).
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
        """Mounts `root` at `path`, which is created (as a directory or an empty file, like `root`) if missing."""
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
