"""evt.*: fields of the system call itself, and the arguments of execve and clone."""

from __future__ import annotations

from datetime import UTC, datetime

from ekslab.node import abi
from ekslab.node.arguments import CREATED, READ, WRITE, Argument, flags_argument, plain, result_argument
from ekslab.node.fields.common import (
    OPEN,
    ArgumentExtract,
    Extract,
    cgroups,
    exe_flags,
    fd_limit,
    tty_device,
    variables,
    zero_terminated,
)
from ekslab.node.kernel import SystemCall, Task


def _capability_mask(names: frozenset[str]) -> str:
    return f"{sum(1 << bit for bit, name in enumerate(abi.CAPABILITIES) if name in names):X}"


def _clock_text(nanoseconds: int) -> str:
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}.{rest:09d}"


def _pid_argument(name: str, process: Task | None) -> Argument:
    if process is None:
        return plain(name, "1")
    return Argument(name, f"{process.pid}({process.name})", process.name)


def _start_arguments(call: SystemCall) -> tuple[Argument, ...]:
    process = call.process
    argv = call.attempt.argv if call.attempt is not None else [process.exe, *process.argv[1:]]
    return (
        result_argument(call.result),
        plain("exe", argv[0] if argv else ""),
        plain("args", zero_terminated(argv[1:])),
        _pid_argument("tid", process),
        _pid_argument("pid", process),
        _pid_argument("ptid", process.parent),
        plain("cwd", "<NA>"),
        plain("fdlimit", str(fd_limit(call))),
        plain("pgft_maj", "0"),
        plain("pgft_min", "0"),
        plain("vm_size", "0"),
        plain("vm_rss", "0"),
        plain("vm_swap", "0"),
        plain("comm", process.name),
        plain("cgroups", zero_terminated(cgroups(process))),
    )


def _clone_arguments(call: SystemCall) -> tuple[Argument, ...]:
    process = call.process
    flags = (
        flags_argument("flags", 0x20000000, "CLONE_CHILD_IN_PIDNS")
        if process.container
        else flags_argument("flags", 0, "")
    )
    return (
        *_start_arguments(call),
        flags,
        plain("uid", str(process.euid)),
        plain("gid", str(process.egid)),
        plain("vtid", str(process.vpid)),
        plain("vpid", str(process.vpid)),
        plain("pidns_init_start_ts", "0"),
    )


def _execve_arguments(call: SystemCall) -> tuple[Argument, ...]:
    process = call.process
    inode = process.exe_inode
    number, flags = exe_flags(process)
    capabilities = _capability_mask(process.capabilities)
    leader = process.group_leader
    return (
        *_start_arguments(call),
        plain("env", zero_terminated(variables(call.attempt.env if call.attempt is not None else process.env))),
        plain("tty", str(tty_device(call))),
        plain("vpgid", str(leader.vpid)),
        Argument("loginuid", "-1(<NONE>)", "<NONE>", -1),
        Argument("flags", f"{number}({flags})" if number else "0", flags if number else "0", number),
        plain("cap_inheritable", "0"),
        plain("cap_permitted", capabilities),
        plain("cap_effective", capabilities),
        plain("exe_ino", str(inode.ino if inode is not None else 0)),
        plain("exe_ino_ctime", _clock_text(inode.ctime if inode is not None else 0)),
        plain("exe_ino_mtime", _clock_text(inode.mtime if inode is not None else 0)),
        Argument(
            "uid",
            f"{process.euid}({process.user_name(process.euid) or '<NA>'})",
            process.user_name(process.euid) or "<NA>",
        ),
        plain("trusted_exepath", process.exe_path),
        _pid_argument("pgid", leader),
        Argument(
            "gid",
            f"{process.egid}({process.group_name(process.egid) or '<NA>'})",
            process.group_name(process.egid) or "<NA>",
        ),
        plain("filename", call.filename),
    )


def arguments(call: SystemCall) -> tuple[Argument, ...]:
    """The call's parameters; those of execve and clone are computed from the process."""
    if call.type in ("execve", "execveat"):
        return call.arguments or _execve_arguments(call)
    if call.type in ("clone", "clone3", "fork", "vfork"):
        return _clone_arguments(call)
    return call.arguments


def argument(call: SystemCall, name: str | None) -> str | None:
    """The value of one of the call's parameters, by name or by index."""
    if name is None:
        return None
    found = arguments(call)
    if name.isdigit():
        return found[int(name)].value if int(name) < len(found) else None
    return next((argument.value for argument in found if argument.name == name), None)


def arguments_text(call: SystemCall) -> str:
    return " ".join(f"{argument.name}={argument.raw}" for argument in arguments(call))


_NET = frozenset({"socket", "connect", "bind", "listen", "accept", "accept4", "sendto", "recvfrom", "getsockopt"})
_FILE = frozenset(
    [
        "open",
        "openat",
        "openat2",
        "close",
        "unlink",
        "unlinkat",
        "mkdir",
        "mkdirat",
        "rmdir",
        "rename",
        "renameat2",
        "link",
        "linkat",
        "symlink",
        "symlinkat",
        "chmod",
        "fchmod",
        "fchmodat",
        "fchown",
        "fchownat",
        "chdir",
        "dup2",
        "dup3",
        "memfd_create",
    ]
)
_PROCESS = frozenset({"execve", "execveat", "clone", "clone3", "fork", "vfork", "procexit", "unshare", "ptrace"})


def _category(call: SystemCall) -> str:
    for types, name in ((_FILE, "file"), (_NET, "net"), (_PROCESS, "process")):
        if call.type in types:
            return name
    return {"setuid": "user", "setgid": "user", "kill": "signal", "pipe": "IPC"}.get(call.type, "other")


def open_number(call: SystemCall) -> int:
    if call.type not in OPEN:
        return 0
    return next((argument.number for argument in call.arguments if argument.name == "flags"), 0)


def _open_exec(call: SystemCall) -> bool:
    inode = call.file.inode if call.file is not None else None
    return bool(open_number(call) & CREATED) and inode is not None and bool(inode.mode & 0o111)


FIELDS: dict[str, Extract] = {
    "evt.num": lambda c: c.number,
    "evt.time": lambda c: c.time,
    "evt.time.s": lambda c: c.time,
    "evt.time.iso8601": lambda c: c.time,
    "evt.datetime": lambda c: c.time,
    "evt.datetime.s": lambda c: c.time,
    "evt.rawtime": lambda c: c.time,
    "evt.rawtime.s": lambda c: c.time // 1_000_000_000,
    "evt.rawtime.ns": lambda c: c.time % 1_000_000_000,
    "evt.reltime": lambda c: c.time - c.process.kernel.boot_time,
    "evt.reltime.s": lambda c: (c.time - c.process.kernel.boot_time) // 1_000_000_000,
    "evt.reltime.ns": lambda c: (c.time - c.process.kernel.boot_time) % 1_000_000_000,
    "evt.source": lambda c: "syscall",
    "evt.is_async": lambda c: False,
    "evt.hostname": lambda c: c.process.kernel.hostname,
    "evt.type": lambda c: c.type,
    "syscall.type": lambda c: c.type if c.type != "procexit" else None,
    "evt.category": _category,
    "evt.cpu": lambda c: 0,
    "evt.args": arguments_text,
    "evt.info": arguments_text,
    "evt.res": lambda c: None if c.type == "procexit" else "SUCCESS" if c.result >= 0 else abi.result_name(c.result),
    "evt.rawres": lambda c: None if c.type == "procexit" else c.result,
    "evt.failed": lambda c: None if c.type == "procexit" else c.result < 0,
    "evt.is_io": lambda c: False,
    "evt.is_io_read": lambda c: False,
    "evt.is_io_write": lambda c: False,
    "evt.is_wait": lambda c: False,
    "evt.is_syslog": lambda c: False,
    "evt.count": lambda c: 1,
    "evt.count.exit": lambda c: 1,
    "evt.count.error": lambda c: int(c.result < 0),
    "evt.is_open_read": lambda c: bool(open_number(c) & READ),
    "evt.is_open_write": lambda c: bool(open_number(c) & WRITE),
    "evt.is_open_exec": _open_exec,
    "evt.is_open_create": lambda c: bool(open_number(c) & CREATED),
}
ARGUMENT_FIELDS: dict[str, ArgumentExtract] = {
    "evt.arg": argument,
    "evt.rawarg": argument,
    "evt.type.is": lambda c, name: int(c.type == name),
}
