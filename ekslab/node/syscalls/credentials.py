"""setuid, setgid, setsid, unshare and setns: system calls that change who a process is and where it lives.

Events: setuid, setgid, unshare, setns.
"""

from __future__ import annotations

from ekslab.node import abi
from ekslab.node.abi import error
from ekslab.node.arguments import Argument, descriptor_argument, flags_argument, result_argument
from ekslab.node.descriptors import RegularFile
from ekslab.node.inodes import File
from ekslab.node.kernel import Task

# Falco's own numbers for clone's flags.
_UNSHARE = {
    "CLONE_NEWIPC": 1 << 7,
    "CLONE_NEWNET": 1 << 8,
    "CLONE_NEWNS": 1 << 9,
    "CLONE_NEWPID": 1 << 10,
    "CLONE_NEWUTS": 1 << 11,
    "CLONE_NEWUSER": 1 << 19,
}


class CredentialCalls(Task):
    """Users, groups, sessions and namespaces."""

    def setuid(self, uid: int) -> None:
        self._identity("setuid", uid, self.user_name(uid), "CAP_SETUID", uid in (self.uid, self.euid))
        self.euid, self.uid = uid, uid if "CAP_SETUID" in self.capabilities else self.uid

    def setgid(self, gid: int) -> None:
        self._identity("setgid", gid, self.group_name(gid), "CAP_SETGID", gid in (self.gid, self.egid))
        self.egid, self.gid = gid, gid if "CAP_SETGID" in self.capabilities else self.gid

    def drop_effective_ids(self) -> None:
        """Goes back to the real user and group (setresuid and setresgid, of which the lab makes no event)."""
        self.euid, self.egid = self.uid, self.gid

    def _identity(self, call: str, number: int, name: str | None, capability: str, same: bool) -> None:
        result = 0 if same or capability in self.capabilities else -abi.errno_number("EPERM")
        argument = Argument(call[3:], f"{number}({name})" if name else str(number), name or str(number))
        self.emit(call, result, result_argument(result), argument)
        if result:
            raise error("EPERM")

    def new_session(self) -> None:
        """Makes the process the leader of a new session and group."""
        self.session_leader = self.group_leader = self

    def unshare(self, flags: str) -> None:
        """`flags` are Linux's names, e.g. CLONE_NEWNET; EPERM without CAP_SYS_ADMIN, except for a user namespace."""
        allowed = "CLONE_NEWUSER" in flags or "CAP_SYS_ADMIN" in self.capabilities
        if "CLONE_NEWUSER" in flags:
            self.bounding_capabilities = abi.ALL_CAPABILITIES  # in a new user namespace it may do everything
        result = 0 if allowed else -abi.errno_number("EPERM")
        self.emit(
            "unshare",
            result,
            result_argument(result),
            flags_argument("flags", sum(_UNSHARE.get(flag, 0) for flag in flags.split("|")), flags),
        )
        if not allowed:
            raise error("EPERM")

    def open_namespace(self, vpid: int, name: str) -> int:
        """A descriptor of /proc/<vpid>/ns/<name>, e.g. of `net`; no event."""
        path = f"/proc/{vpid}/ns/{name}"
        return self.install(RegularFile(File(now=self.kernel.now()), path, path, abi.O_RDONLY))

    def setns(self, fd: int, flags: str = "") -> None:
        """Enters the namespace behind a descriptor of /proc/<pid>/ns; EPERM without CAP_SYS_ADMIN.

        With it the call succeeds and changes nothing: the lab's processes stay where they are.
        """
        allowed = "CAP_SYS_ADMIN" in self.capabilities
        result = 0 if allowed else -abi.errno_number("EPERM")
        file = self.fds.get(fd)
        self.emit(
            "setns",
            result,
            result_argument(result),
            descriptor_argument("fd", fd, file),
            flags_argument("nstype", _UNSHARE.get(flags, 0), flags),
            fd=fd,
            file=file,
        )
        if not allowed:
            raise error("EPERM")
