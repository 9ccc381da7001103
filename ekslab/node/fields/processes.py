"""proc.*, thread.*, user.* and group.*: fields of the process."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ekslab.node import abi, accounts
from ekslab.node.fields.common import (
    ArgumentExtract,
    Extract,
    Value,
    cgroups,
    command_line,
    environment,
    exe_flags,
    fd_limit,
    tty_device,
)
from ekslab.node.kernel import SystemCall, Task


def ancestors(process: Task) -> Iterator[Task]:
    """The process, its parent, and so on, up to the container's shim."""
    current: Task | None = process
    while current is not None:
        yield current
        current = current.parent


def _cwd(process: Task) -> str:
    return process.cwd if process.cwd.endswith("/") else process.cwd + "/"


def _capability_names(names: frozenset[str]) -> str:
    return " ".join(name for name in abi.CAPABILITIES if name in names)


def _of_parent(read: Callable[[Task], Value]) -> Extract:
    def extract(call: SystemCall) -> Value | None:
        parent = call.process.parent
        return read(parent) if parent is not None else None

    return extract


def _standard(fd: int, what: str) -> Extract:
    def extract(call: SystemCall) -> Value | None:
        file = call.process.fds.get(fd)
        return getattr(file, what) if file is not None else None

    return extract


def _exe_inode(what: str) -> Extract:
    def extract(call: SystemCall) -> Value | None:
        inode = call.process.exe_inode
        return int(getattr(inode, what)) if inode is not None else None

    return extract


def _ctime_duration(call: SystemCall) -> int | None:
    inode = call.process.exe_inode
    if inode is None or call.process.started_at < inode.ctime:
        return None
    return call.process.started_at - inode.ctime


def _login_shell(call: SystemCall) -> int | None:
    found = None
    for process in ancestors(call.process):
        if process.container is not call.process.container:
            break
        if process.name in ("sh", "bash", "dash", "ash", "zsh", "ksh", "csh", "tcsh"):
            found = process.pid
    return found


def _passwd(call: SystemCall, index: int) -> str | None:
    uid = str(call.process.euid)
    lines = accounts.entries(call.process.filesystem, accounts.PASSWD)
    return next((fields[index] for fields in lines if len(fields) > index and fields[2] == uid), None)


def _first_process_start(call: SystemCall) -> int | None:
    process = call.process
    first = process.kernel.first_process(process.container) if process.container is not None else None
    return first.started_at if first is not None else None


def _env(call: SystemCall, name: str | None) -> Value | None:
    if name is None:
        return " ".join(environment(call.process))
    return call.process.env.get(name)


_ANCESTORS: dict[str, Callable[[Task], Value]] = {
    "proc.aname": lambda p: p.name,
    "proc.aexe": lambda p: p.exe,
    "proc.aexepath": lambda p: p.exe_path,
    "proc.apid": lambda p: p.pid,
    "proc.acmdline": command_line,
}


def _ancestor_field(read: Callable[[Task], Value]) -> Callable[[SystemCall, str | None], Value | None]:
    def extract(call: SystemCall, index: str | None) -> Value | None:
        line = ancestors(call.process)
        if index is None:
            return [read(process) for process in line]  # type: ignore[return-value]
        if not index.isdigit():
            return None
        return next((read(process) for depth, process in enumerate(line) if depth == int(index)), None)

    return extract


def _ancestor_text(read: Callable[[Task], str], *, itself: bool) -> Callable[[SystemCall, str | None], Value | None]:
    """Fields that are one text without an index: the process's own, or all ancestors' joined."""

    def extract(call: SystemCall, index: str | None) -> Value | None:
        line = list(ancestors(call.process))
        if index is not None:
            return read(line[int(index)]) if index.isdigit() and int(index) < len(line) else None
        return read(call.process) if itself else " ".join(read(process) for process in line[1:])

    return extract


FIELDS: dict[str, Extract] = {
    "proc.name": lambda c: c.process.name,
    "proc.exe": lambda c: c.process.exe,
    "proc.exepath": lambda c: c.process.exe_path,
    "proc.args": lambda c: " ".join(c.process.argv[1:]),
    "proc.cmdline": lambda c: command_line(c.process),
    "proc.cmdnargs": lambda c: len(c.process.argv) - 1,
    "proc.cmdlenargs": lambda c: sum(len(argument) for argument in c.process.argv[1:]),
    "proc.exeline": lambda c: f"{c.process.exe} {' '.join(c.process.argv[1:])}",
    "proc.cwd": lambda c: _cwd(c.process),
    "proc.tty": tty_device,
    "proc.loginshellid": _login_shell,
    "proc.pid": lambda c: c.process.pid,
    "proc.ppid": lambda c: c.process.ppid,
    "proc.vpid": lambda c: c.process.vpid,
    "proc.pvpid": _of_parent(lambda p: p.vpid),
    "proc.pname": _of_parent(lambda p: p.name),
    "proc.pexe": _of_parent(lambda p: p.exe),
    "proc.pexepath": _of_parent(lambda p: p.exe_path),
    "proc.pcmdline": _of_parent(command_line),
    "proc.ppid.ts": _of_parent(lambda p: p.started_at),
    "proc.ppid.duration": lambda c: c.time - c.process.parent.started_at if c.process.parent is not None else None,
    "proc.sid": lambda c: c.process.session_leader.vpid,
    "proc.sname": lambda c: c.process.session_leader.name,
    "proc.sid.exe": lambda c: c.process.session_leader.exe,
    "proc.sid.exepath": lambda c: c.process.session_leader.exe_path,
    "proc.vpgid": lambda c: c.process.group_leader.vpid,
    "proc.vpgid.name": lambda c: c.process.group_leader.name,
    "proc.vpgid.exe": lambda c: c.process.group_leader.exe,
    "proc.vpgid.exepath": lambda c: c.process.group_leader.exe_path,
    "proc.pgid": lambda c: c.process.group_leader.pid,
    "proc.pgid.name": lambda c: c.process.group_leader.name,
    "proc.pgid.exe": lambda c: c.process.group_leader.exe,
    "proc.pgid.exepath": lambda c: c.process.group_leader.exe_path,
    "proc.duration": lambda c: c.time - c.process.started_at,
    "proc.pid.ts": lambda c: c.process.started_at,
    "proc.is_exe_writable": lambda c: bool(exe_flags(c.process)[0] & 1),
    "proc.is_exe_upper_layer": lambda c: bool(exe_flags(c.process)[0] & 2),
    "proc.is_exe_from_memfd": lambda c: c.process.from_memfd,
    "proc.is_exe_lower_layer": lambda c: bool(exe_flags(c.process)[0] & 8),
    "proc.is_sid_leader": lambda c: c.process.session_leader is c.process,
    "proc.is_vpgid_leader": lambda c: c.process.group_leader is c.process,
    "proc.is_pgid_leader": lambda c: c.process.group_leader is c.process,
    "proc.exe_ino": _exe_inode("ino"),
    "proc.exe_ino.ctime": _exe_inode("ctime"),
    "proc.exe_ino.mtime": _exe_inode("mtime"),
    "proc.exe_ino.ctime_duration_proc_start": _ctime_duration,
    "proc.pidns_init_start_ts": _first_process_start,
    "proc.fdopencount": lambda c: len(c.process.fds),
    "proc.fdlimit": fd_limit,
    "proc.fdusage": lambda c: 100.0 * len(c.process.fds) / fd_limit(c),
    "proc.nthreads": lambda c: 1,
    "proc.nchilds": lambda c: 0,
    "proc.vmsize": lambda c: 0,
    "proc.vmrss": lambda c: 0,
    "proc.vmswap": lambda c: 0,
    "proc.stdin.type": _standard(0, "type"),
    "proc.stdout.type": _standard(1, "type"),
    "proc.stderr.type": _standard(2, "type"),
    "proc.stdin.name": _standard(0, "name"),
    "proc.stdout.name": _standard(1, "name"),
    "proc.stderr.name": _standard(2, "name"),
    "thread.tid": lambda c: c.process.pid,
    "thread.vtid": lambda c: c.process.vpid,
    "thread.ismain": lambda c: True,
    "thread.cap_effective": lambda c: _capability_names(c.process.capabilities),
    "thread.cap_permitted": lambda c: _capability_names(c.process.capabilities),
    "thread.cap_inheritable": lambda c: "",
    "thread.cgroups": lambda c: " ".join(cgroups(c.process)),
    "user.uid": lambda c: c.process.euid,
    "user.name": lambda c: c.process.user_name(c.process.euid) or "<NA>",
    "user.homedir": lambda c: _passwd(c, 5) or "<NA>",
    # Falco takes a container's users from the image, without their shells.
    "user.shell": lambda c: (_passwd(c, 6) if c.container is None else None) or "<NA>",
    "user.loginuid": lambda c: -1,
    "user.loginname": lambda c: "<NA>",
    "group.gid": lambda c: c.process.egid,
    "group.name": lambda c: c.process.group_name(c.process.egid) or "<NA>",
}
ARGUMENT_FIELDS: dict[str, ArgumentExtract] = {
    **{field: _ancestor_field(read) for field, read in _ANCESTORS.items()},
    "proc.aargs": _ancestor_text(lambda p: " ".join(p.argv[1:]), itself=False),
    "proc.aenv": _ancestor_text(lambda p: " ".join(environment(p)), itself=True),
    "proc.env": _env,
}
