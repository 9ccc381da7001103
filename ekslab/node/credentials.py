"""The credentials of a process: user, groups and capabilities, and what they permit on a file."""

from __future__ import annotations

from collections.abc import Sequence

from ekslab.node import abi, accounts
from ekslab.node.filesystem import Filesystem
from ekslab.node.inodes import Directory, Inode


class Credentials:
    """User and group ids and capabilities. Names come from the databases of `filesystem`."""

    def __init__(
        self, filesystem: Filesystem, uid: int, gid: int, groups: Sequence[int], capabilities: frozenset[str]
    ) -> None:
        self.filesystem: Filesystem = filesystem
        self.uid: int = uid
        self.euid: int = uid
        self.gid: int = gid
        self.egid: int = gid
        self.groups: list[int] = list(groups)
        self.bounding_capabilities: frozenset[str] = capabilities

    @property
    def capabilities(self) -> frozenset[str]:
        """The effective set: the bounding set for root, nothing for other users."""
        return self.bounding_capabilities if self.euid == 0 else frozenset()

    def user_name(self, uid: int) -> str | None:
        return accounts.name_of(self.filesystem, accounts.PASSWD, uid)

    def group_name(self, gid: int) -> str | None:
        return accounts.name_of(self.filesystem, accounts.GROUP, gid)

    def may(self, inode: Inode, want: int) -> bool:
        """Whether the process has R_OK/W_OK/X_OK on an inode."""
        if self.euid == 0 and "CAP_DAC_OVERRIDE" in self.bounding_capabilities:
            return not want & abi.X_OK or isinstance(inode, Directory) or bool(inode.mode & 0o111)
        if self.euid == inode.uid:
            bits = inode.mode >> 6
        elif self.egid == inode.gid or inode.gid in self.groups:
            bits = inode.mode >> 3
        else:
            bits = inode.mode
        return bits & want == want

    def owns(self, inode: Inode) -> bool:
        """Whether the process may do what only an inode's owner may."""
        return self.euid == inode.uid or "CAP_FOWNER" in self.capabilities
