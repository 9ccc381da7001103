"""A node's memory and disk: limits and use of control groups and file systems, in bytes.

Everything is in the memory of the lab's process, so the sizes are small. `df` and the cgroup files show them.
"""

from __future__ import annotations

from collections.abc import Callable

from ekslab.node.abi import error

MIB = 1 << 20
NODE_MEMORY = 144 * MIB
"""For all containers of a node together; a container may have a smaller limit in its manifest."""
NODE_DISK = 160 * MIB
LOGS = 88 * MIB
"""The part of the disk that containers can't fill, for their logs and for the 64 MB that Fluent Bit may keep."""
LAYER = 48 * MIB
"""A container's writable layer, and an emptyDir: parts of the node's disk."""
SHARED_MEMORY = 64 * MIB
"""A pod's /dev/shm, as in Kubernetes."""
INODE = 1024
"""What each file, directory and link takes beside its content."""


class OutOfMemory(BaseException):
    """Ends the program whose control group is beyond its limit, from any depth of its calls."""

    def __init__(self, group: Memory) -> None:
        super().__init__(group)
        self.group = group


class Memory:
    """A control group: bytes that its processes, pipes and tmpfs files hold. A node's holds those of its containers.

    `kill` ends everything in the group.
    """

    def __init__(self, limit: int, parent: Memory | None = None, kill: Callable[[], None] | None = None) -> None:
        self.limit = limit
        self.parent = parent
        self.kill = kill
        self.used = 0
        self.grown = 0
        """Bytes by which the lab's process grew while programs of this group ran."""
        self.kills = 0
        self.groups: list[Memory] = []
        if parent is not None:
            parent.groups.append(self)

    def charge(self, size: int) -> None:
        """Counts memory that is held from now on, or (negative) given back.

        Raises `OutOfMemory`, and counts nothing, beyond the limit. Beyond the node's, the largest group is killed.
        """
        if size > 0:
            self._fit(size)
        self._add(size)

    def _fit(self, size: int) -> None:
        if self.used + size > self.limit:
            raise OutOfMemory(self)
        if self.parent is not None and self.parent.used + size > self.parent.limit:
            largest = self.parent.largest()
            if largest is self or largest is None:
                raise OutOfMemory(self)
            if largest.kill is not None:
                largest.kill()

    def largest(self) -> Memory | None:
        """The control group below this one that holds most."""
        return max(self.groups, key=lambda group: max(group.used, group.grown), default=None)

    def _add(self, size: int) -> None:
        self.used += size
        if self.parent is not None:
            self.parent._add(size)

    def remove(self) -> None:
        """The container was removed, with all that it held."""
        if self.parent is not None:
            self.parent._add(-self.used)
            self.parent.groups.remove(self)
            self.parent = None


class Disk:
    """A file system of a certain size, or a part of another one with a quota; on `memory` if it is a tmpfs."""

    def __init__(
        self, size: int, *, parent: Disk | None = None, reserve: int = LOGS, memory: Memory | None = None
    ) -> None:
        self.size = size
        self.parent = parent
        self.reserve = reserve
        """What has to stay free on the parent."""
        self.memory = memory
        self.used = 0

    @property
    def free(self) -> int:
        """Bytes that can still be written."""
        here = max(0, self.size - self.used)
        return here if self.parent is None else max(0, min(here, self.parent.free - self.reserve))

    def charge(self, size: int) -> None:
        """Takes space. Raises ENOSPC when there isn't enough, `OutOfMemory` when a tmpfs fills its memory."""
        if size > self.free:
            raise error("ENOSPC")
        if self.memory is not None:
            self.memory.charge(size)
        self._add(size)

    def release(self, size: int) -> None:
        if self.memory is not None:
            self.memory.charge(-size)
        self._add(-size)

    def _add(self, size: int) -> None:
        disk: Disk | None = self
        while disk is not None:
            disk.used += size
            disk = disk.parent

    def remove(self) -> None:
        """The container was removed, with all that it wrote."""
        if self.parent is not None:
            self.parent._add(-self.used)
            self.parent = None
