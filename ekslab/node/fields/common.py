"""Types of field extractors, and process texts that several classes of fields use."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from ekslab.node import abi
from ekslab.node.kernel import SystemCall, Task

Value = str | int | float | bool | bytes | list[str] | list[int]
Extract = Callable[[SystemCall], Value | None]
ArgumentExtract = Callable[[SystemCall, str | None], Value | None]
OPEN = frozenset({"open", "openat", "openat2"})
_CONTROLLERS = ("cpuset", "cpu", "cpuacct", "io", "memory")


def zero_terminated(parts: Iterable[str]) -> str:
    """A buffer of zero-terminated strings, as Falco prints one."""
    return "".join(f"{part}." for part in parts)


def exe_flags(process: Task) -> tuple[int, str]:
    """The flags of execve's event: what kind of file the process runs."""
    inode = process.exe_inode
    number, names = 0, []
    for condition, bit, name in (
        (inode is not None and process.may(inode, abi.W_OK), 1, "EXE_WRITABLE"),
        (inode is not None and inode.layer == "upper", 2, "EXE_UPPER_LAYER"),
        (process.from_memfd, 4, "EXE_FROM_MEMFD"),
        (inode is not None and inode.layer == "lower", 8, "EXE_LOWER_LAYER"),
    ):
        if condition:
            number |= bit
            names.append(name)
    return number, "|".join(names)


def command_line(process: Task) -> str:
    return " ".join([process.name, *process.argv[1:]])


def environment(process: Task) -> list[str]:
    return variables(process.env)


def variables(env: Mapping[str, str]) -> list[str]:
    return [f"{name}={value}" for name, value in env.items()]


def cgroups(process: Task) -> list[str]:
    path = process.container.cgroup if process.container is not None else "/system.slice/containerd.service"
    return [f"{controller}={path}" for controller in _CONTROLLERS]


def tty_device(call: SystemCall) -> int:
    return call.process.tty.device if call.process.tty is not None else 0


def fd_limit(call: SystemCall) -> int:
    return 1_048_576 if call.process.container is None else 1024
