"""What a pod can mount: emptyDir volumes, files held in memory, and paths of the node."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ekslab.node.abi import error
from ekslab.node.inodes import Directory, File, Inode, Symlink, new_device_number


class EmptyDir:
    """An emptyDir volume: the object is the volume, share it between a pod's containers."""

    def __init__(self, *, medium: str = "") -> None:
        self.medium = medium
        self.root = Directory(0o777, dev=new_device_number())


class Files:
    """Files held in memory: a ConfigMap, Secret, downward API or token volume.

    As with the kubelet, names are links through `..data` to a directory that is replaced as a whole, so a program
    that follows the links never sees half an update.
    """

    def __init__(
        self, content: Mapping[str, bytes | str] | None = None, *, mode: int = 0o644, uid: int = 0, gid: int = 0
    ) -> None:
        self.root = Directory(0o777, dev=new_device_number())
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
