"""Anonymous files and user fault handling, which rules ask about. Events: memfd_create, userfaultfd."""

from __future__ import annotations

from ekslab.node import abi
from ekslab.node.arguments import Argument, flags_argument, plain, result_argument
from ekslab.node.descriptors import OpenFile, RegularFile
from ekslab.node.inodes import File
from ekslab.node.kernel import Task


class MemoryFile(File):
    """An anonymous file made by memfd_create."""

    __slots__ = ("memfd",)

    def __init__(self, name: str, data: bytes, *, now: int) -> None:
        super().__init__(data, 0o777, now=now, dev=1)
        self.memfd = name


class MemoryCalls(Task):
    """Anonymous memory."""

    def memfd_create(self, name: str, data: bytes = b"") -> str:
        """Makes an anonymous file and returns the path under which it can be executed."""
        inode = MemoryFile(name, data, now=self.kernel.now())
        fd = self.install(RegularFile(inode, f"memfd:{name}", name, abi.O_RDWR))
        self.emit(
            "memfd_create", fd, plain("fd", str(fd)), plain("name", name), flags_argument("flags", 1, "MFD_CLOEXEC")
        )
        return f"/proc/self/fd/{fd}"

    def userfaultfd(self) -> int:
        """For page faults of user space only, which needs no privilege."""
        fd = self.install(OpenFile())
        self.emit(
            "userfaultfd", fd, result_argument(fd), Argument("flags", "0(O_NONE)", "O_NONE"), fd=fd, file=self.fds[fd]
        )
        return fd
