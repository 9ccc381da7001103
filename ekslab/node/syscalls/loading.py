"""Calls that put code into the kernel; none gets there. Events: bpf, finit_module."""

from __future__ import annotations

from ekslab.node import abi
from ekslab.node.arguments import Argument, descriptor_argument, plain, result_argument
from ekslab.node.kernel import Task

_COMMANDS = (
    *("BPF_MAP_CREATE", "BPF_MAP_LOOKUP_ELEM", "BPF_MAP_UPDATE_ELEM", "BPF_MAP_DELETE_ELEM"),
    *("BPF_MAP_GET_NEXT_KEY", "BPF_PROG_LOAD"),
)


class LoadingCalls(Task):
    """BPF programs and kernel modules."""

    def bpf(self, command: int) -> int:
        """A command with an empty description; the error that Linux answers with."""
        allowed = self.capabilities & {"CAP_BPF", "CAP_SYS_ADMIN"}
        result = -abi.errno_number("EINVAL" if allowed else "EPERM")
        name = _COMMANDS[command] if command < len(_COMMANDS) else str(command)
        argument = Argument("cmd", f"{command}({name})", name, command)
        self.emit("bpf", result, descriptor_argument("fd", result, None), argument)
        return result

    def finit_module(self, fd: int) -> int:
        """A module in an open file: the lab's kernel takes none. The error that Linux answers with."""
        error = "EPERM" if "CAP_SYS_MODULE" not in self.capabilities else "EBADF" if fd not in self.fds else "ENOEXEC"
        result = -abi.errno_number(error)
        file = self.fds.get(fd)
        self.emit(
            "finit_module",
            result,
            result_argument(result),
            descriptor_argument("fd", fd, file),
            plain("uargs", ""),
            plain("flags", "0"),
        )
        return result
