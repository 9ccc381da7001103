"""System calls as events: a `KernelEvent` answers with Falco's field names, computing a field when it is asked for.

In go the process, its open file and the call's arguments, as they are at the moment of the call; out come values as
Falco 0.44 extracts them (names and texts after real recordings: `fd=3(<f>/etc/shadow) dirfd=-100(AT_FDCWD) ...`).
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from ekslab.node import abi

if TYPE_CHECKING:
    from ekslab.node.descriptors import OpenFile
    from ekslab.node.filesystem import Inode
    from ekslab.node.kernel import Kernel, Process
    from ekslab.node.runtime import Container

Value = str | int | float | bool | bytes | list[str] | list[int]

# -- arguments --------------------------------------------------------------------------------------------------------


class Argument(NamedTuple):
    """`raw` is what evt.args shows after `name=`, `value` what evt.arg.<name> is."""

    name: str
    raw: str
    value: str
    number: int = 0


def plain(name: str, text: str) -> Argument:
    return Argument(name, text, text)


def result_argument(number: int) -> Argument:
    if number >= 0:
        return Argument("res", str(number), str(number), number)
    name = _errno_name(number)
    return Argument("res", f"{number}({name})", name, number)


def path_argument(name: str, raw: str, absolute: str) -> Argument:
    """A path parameter: a relative one is shown with what it resolves to."""
    if raw.startswith("/"):
        return Argument(name, raw, raw)
    return Argument(name, f"{raw}({absolute})", absolute)


def flags_argument(name: str, number: int, text: str) -> Argument:
    if not number:
        return Argument(name, "0(O_NONE)" if name == "flags" else "0", "O_NONE" if name == "flags" else "0")
    return Argument(name, f"{number}({text})", text, number)


def descriptor_argument(name: str, number: int, file: OpenFile | None) -> Argument:
    if number < 0:
        text = _errno_name(number)
        return Argument(name, f"{number}({text})", text, number)
    text = _descriptor_text(file)
    return Argument(name, f"{number}({text})", text, number)


def mode_argument(name: str, mode: int) -> Argument:
    names = [
        text
        for bit, text in (
            (0o001, "S_IXOTH"),
            (0o002, "S_IWOTH"),
            (0o004, "S_IROTH"),
            (0o010, "S_IXGRP"),
            (0o020, "S_IWGRP"),
            (0o040, "S_IRGRP"),
            (0o100, "S_IXUSR"),
            (0o200, "S_IWUSR"),
            (0o400, "S_IRUSR"),
            (0o1000, "S_ISVTX"),
            (0o2000, "S_ISGID"),
            (0o4000, "S_ISUID"),
        )
        if mode & bit
    ]
    text = "|".join(names)
    return Argument(name, f"0{mode:o}({text})" if text else f"0{mode:o}", text or f"0{mode:o}", mode)


# Falco's numbers for open's flags, in the order in which it prints their names.
_READ, _WRITE, _CREATED, _UPPER, _LOWER = 1, 2, 1 << 14, 1 << 15, 1 << 16


def open_flags_argument(flags: int, inode: Inode | None, created: bool) -> Argument:
    access = flags & abi.O_ACCMODE
    number = {abi.O_RDONLY: _READ, abi.O_WRONLY: _WRITE}.get(access, _READ | _WRITE)
    names = []
    for bit, value, text in (
        (abi.O_DIRECTORY, 1 << 10, "O_DIRECTORY"),
        (abi.O_TRUNC, 1 << 8, "O_TRUNC"),
        (abi.O_NONBLOCK, 1 << 6, "O_NONBLOCK"),
        (abi.O_EXCL, 1 << 5, "O_EXCL"),
        (abi.O_APPEND, 1 << 3, "O_APPEND"),
        (abi.O_CREAT, 1 << 2, "O_CREAT"),
    ):
        if flags & bit:
            number |= value
            names.append(text)
    names.append({abi.O_RDONLY: "O_RDONLY", abi.O_WRONLY: "O_WRONLY"}.get(access, "O_RDWR"))
    if flags & abi.O_CLOEXEC:
        number |= 1 << 12
        names.append("O_CLOEXEC")
    if flags & abi.O_DIRECTORY:  # O_TMPFILE's bits include O_DIRECTORY's, and Falco shows it
        number |= 1 << 13
        names.append("O_TMPFILE")
    layer = inode.layer if inode is not None else None
    for condition, value, text in (
        (created, _CREATED, "O_F_CREATED"),
        (layer == "upper", _UPPER, "FD_UPPER_LAYER"),
        (layer == "lower", _LOWER, "FD_LOWER_LAYER"),
    ):
        if condition:
            number |= value
            names.append(text)
    text = "|".join(names)
    return Argument("flags", f"{number}({text})", text, number)


def _descriptor_text(file: OpenFile | None) -> str:
    if file is None:
        return "<f>"
    protocol = {"tcp": "t", "udp": "u"}.get(getattr(file, "protocol", ""), "") if file.name else ""
    return f"<{file.typechar}{protocol}>{file.name}"


_ERRNO_NAMES: dict[int, str] = {}


def _errno_name(number: int) -> str:
    if not _ERRNO_NAMES:
        _ERRNO_NAMES.update({number: name for name, (number, _) in abi._ERRNO.items()})
    return _ERRNO_NAMES.get(-number, str(number))


# -- the event -------------------------------------------------------------------------------------------------------


class KernelEvent:
    """One system call. `get(field, arg)` returns None for what the event doesn't have (Falco's `<NA>`)."""

    __slots__ = (
        "arguments",
        "fd",
        "file",
        "filename",
        "kernel",
        "number",
        "path",
        "process",
        "result",
        "source_path",
        "target_path",
        "time",
        "type",
    )
    source = "syscall"

    def __init__(
        self,
        kernel: Kernel,
        process: Process,
        type: str,
        result: int,
        arguments: tuple[Argument, ...],
        *,
        fd: int | None = None,
        file: OpenFile | None = None,
        path: str | None = None,
        source: str | None = None,
        target: str | None = None,
        filename: str = "",
    ) -> None:
        self.kernel = kernel
        self.process = process
        self.type = type
        self.time = kernel.now()
        self.number = kernel.next_event_number()
        self.result = result
        self.arguments = arguments
        self.fd = fd
        self.file = file
        self.path = path
        self.source_path = source
        self.target_path = target
        self.filename = filename

    def __repr__(self) -> str:
        return f"<{self.number} {self.process.name} {self.type} {self.args_text()}>"

    def get(self, field: str, arg: str | None = None) -> Value | None:
        extract = _FIELDS.get(field)
        if extract is not None:
            return extract(self)
        with_argument = _ARGUMENT_FIELDS.get(field)
        if with_argument is not None:
            return with_argument(self, arg)
        if field.startswith("evt.arg."):
            return self.argument(field.removeprefix("evt.arg."))
        return None

    def argument(self, name: str | None) -> str | None:
        """The value of one of the call's parameters, by name or by index."""
        arguments = self._arguments()
        if name is None:
            return None
        if name.isdigit():
            return arguments[int(name)].value if int(name) < len(arguments) else None
        return next((argument.value for argument in arguments if argument.name == name), None)

    def args_text(self) -> str:
        return " ".join(f"{argument.name}={argument.raw}" for argument in self._arguments())

    def _arguments(self) -> tuple[Argument, ...]:
        if self.type in ("execve", "execveat"):
            return self.arguments or _execve_arguments(self)
        if self.type in ("clone", "clone3", "fork", "vfork"):
            return _clone_arguments(self)
        return self.arguments

    def recorded(self, fields: Iterable[str] | None = None) -> dict[str, object]:
        """The event as plain data, Falco field name -> value, in the form that `labkit rules replay` reads."""
        if fields is None:
            fields = [*_FIELDS, *_ANCESTORS, "proc.aargs", "proc.aenv", "proc.env"]
        values: dict[str, object] = {}
        for field in fields:
            value = self.get(field)
            if value is not None:
                values[field] = value
        values["evt.arg"] = {argument.name: argument.value for argument in self._arguments()}
        return values

    @property
    def container(self) -> Container | None:
        return self.process.container


def ancestors(process: Process) -> Iterator[Process]:
    """The process, its parent, and so on. What started the node's own services isn't visible."""
    current: Process | None = process
    while current is not None:
        yield current
        current = current.parent


# -- texts -----------------------------------------------------------------------------------------------------------


def _zero(parts: Iterable[str]) -> str:
    """A buffer of zero-terminated strings, as Falco prints one."""
    return "".join(f"{part}." for part in parts)


def _command_line(process: Process) -> str:
    return " ".join([process.name, *process.argv[1:]])


def _environment(process: Process) -> list[str]:
    return [f"{name}={value}" for name, value in process.env.items()]


def _cwd(process: Process) -> str:
    return process.cwd if process.cwd.endswith("/") else process.cwd + "/"


def exe_flags(process: Process) -> tuple[int, str]:
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


def _capability_mask(names: frozenset[str]) -> str:
    return f"{sum(1 << bit for bit, name in enumerate(abi.CAPABILITIES) if name in names):X}"


def _capability_names(names: frozenset[str]) -> str:
    return " ".join(name for name in abi.CAPABILITIES if name in names)


def _clock_text(nanoseconds: int) -> str:
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}.{rest:09d}"


_CONTROLLERS = ("cpuset", "cpu", "cpuacct", "io", "memory")


def _cgroups(process: Process) -> list[str]:
    path = process.container.cgroup if process.container is not None else "/system.slice/containerd.service"
    return [f"{controller}={path}" for controller in _CONTROLLERS]


def _pid_argument(name: str, process: Process | None) -> Argument:
    if process is None:
        return plain(name, "1")
    return Argument(name, f"{process.pid}({process.name})", process.name)


def _start_arguments(event: KernelEvent) -> tuple[Argument, ...]:
    process = event.process
    return (
        result_argument(event.result),
        plain("exe", process.exe),
        plain("args", _zero(process.argv[1:])),
        _pid_argument("tid", process),
        _pid_argument("pid", process),
        _pid_argument("ptid", process.parent),
        plain("cwd", "<NA>"),
        plain("fdlimit", str(_fd_limit(event))),
        plain("pgft_maj", "0"),
        plain("pgft_min", "0"),
        plain("vm_size", "0"),
        plain("vm_rss", "0"),
        plain("vm_swap", "0"),
        plain("comm", process.name),
        plain("cgroups", _zero(_cgroups(process))),
    )


def _clone_arguments(event: KernelEvent) -> tuple[Argument, ...]:
    process = event.process
    flags = (
        flags_argument("flags", 0x20000000, "CLONE_CHILD_IN_PIDNS")
        if process.container
        else flags_argument("flags", 0, "")
    )
    return (
        *_start_arguments(event),
        flags,
        plain("uid", str(process.uid)),
        plain("gid", str(process.gid)),
        plain("vtid", str(process.vpid)),
        plain("vpid", str(process.vpid)),
        plain("pidns_init_start_ts", "0"),
    )


def _execve_arguments(event: KernelEvent) -> tuple[Argument, ...]:
    process = event.process
    inode = process.exe_inode
    number, flags = exe_flags(process)
    capabilities = _capability_mask(process.capabilities)
    leader = process.group_leader
    return (
        *_start_arguments(event),
        plain("env", _zero(_environment(process))),
        plain("tty", str(_tty(event))),
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
            f"{process.uid}({process.user_name(process.uid) or '<NA>'})",
            process.user_name(process.uid) or "<NA>",
        ),
        plain("trusted_exepath", process.exe_path),
        _pid_argument("pgid", leader),
        Argument(
            "gid",
            f"{process.gid}({process.group_name(process.gid) or '<NA>'})",
            process.group_name(process.gid) or "<NA>",
        ),
        plain("filename", event.filename),
    )


# -- fields ----------------------------------------------------------------------------------------------------------

Extract = Callable[[KernelEvent], Value | None]
_FIELDS: dict[str, Extract] = {}
_ARGUMENT_FIELDS: dict[str, Callable[[KernelEvent, str | None], Value | None]] = {}

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
_OPEN = frozenset({"open", "openat", "openat2"})


def _category(event: KernelEvent) -> str:
    for types, name in ((_FILE, "file"), (_NET, "net"), (_PROCESS, "process")):
        if event.type in types:
            return name
    return {"setuid": "user", "setgid": "user", "kill": "signal", "pipe": "IPC"}.get(event.type, "other")


def _open_number(event: KernelEvent) -> int:
    if event.type not in _OPEN:
        return 0
    return next((argument.number for argument in event.arguments if argument.name == "flags"), 0)


def _open_exec(event: KernelEvent) -> bool:
    inode = event.file.inode if event.file is not None else None
    return bool(_open_number(event) & _CREATED) and inode is not None and bool(inode.mode & 0o111)


def _tty(event: KernelEvent) -> int:
    return event.process.tty.device if event.process.tty is not None else 0


def _fd_limit(event: KernelEvent) -> int:
    return 1_048_576 if event.process.container is None else 1024


def _parent(event: KernelEvent) -> Process | None:
    return event.process.parent


def _of_parent(read: Callable[[Process], Value]) -> Extract:
    def extract(event: KernelEvent) -> Value | None:
        parent = event.process.parent
        return read(parent) if parent is not None else None

    return extract


def _standard(fd: int, what: str) -> Extract:
    def extract(event: KernelEvent) -> Value | None:
        file = event.process.fds.get(fd)
        return getattr(file, what) if file is not None else None

    return extract


def _exe_inode(what: str) -> Extract:
    def extract(event: KernelEvent) -> Value | None:
        inode = event.process.exe_inode
        return int(getattr(inode, what)) if inode is not None else None

    return extract


def _ctime_duration(event: KernelEvent) -> int | None:
    inode = event.process.exe_inode
    if inode is None or event.process.started_at < inode.ctime:
        return None
    return event.process.started_at - inode.ctime


def _login_shell(event: KernelEvent) -> int | None:
    found = None
    for process in ancestors(event.process):
        if process.container is not event.process.container:
            break
        if process.name in ("sh", "bash", "dash", "ash", "zsh", "ksh", "csh", "tcsh"):
            found = process.pid
    return found


def _passwd(event: KernelEvent, index: int) -> str | None:
    try:
        text = event.process.filesystem.read_text("/etc/passwd")
    except OSError:
        return None
    for line in text.splitlines():
        fields = line.split(":")
        if len(fields) > index and fields[2] == str(event.process.euid):
            return fields[index]
    return None


_FIELDS.update(
    {
        "evt.num": lambda e: e.number,
        "evt.time": lambda e: e.time,
        "evt.time.s": lambda e: e.time,
        "evt.time.iso8601": lambda e: e.time,
        "evt.datetime": lambda e: e.time,
        "evt.datetime.s": lambda e: e.time,
        "evt.rawtime": lambda e: e.time,
        "evt.rawtime.s": lambda e: e.time // 1_000_000_000,
        "evt.rawtime.ns": lambda e: e.time % 1_000_000_000,
        "evt.reltime": lambda e: e.time - e.kernel.boot_time,
        "evt.reltime.s": lambda e: (e.time - e.kernel.boot_time) // 1_000_000_000,
        "evt.reltime.ns": lambda e: (e.time - e.kernel.boot_time) % 1_000_000_000,
        "evt.source": lambda e: "syscall",
        "evt.is_async": lambda e: False,
        "evt.hostname": lambda e: e.kernel.hostname,
        "evt.type": lambda e: e.type,
        "syscall.type": lambda e: e.type if e.type != "procexit" else None,
        "evt.category": _category,
        "evt.cpu": lambda e: 0,
        "evt.args": lambda e: e.args_text(),
        "evt.info": lambda e: e.args_text(),
        "evt.res": lambda e: None if e.type == "procexit" else "SUCCESS" if e.result >= 0 else _errno_name(e.result),
        "evt.rawres": lambda e: None if e.type == "procexit" else e.result,
        "evt.failed": lambda e: None if e.type == "procexit" else e.result < 0,
        "evt.is_io": lambda e: False,
        "evt.is_io_read": lambda e: False,
        "evt.is_io_write": lambda e: False,
        "evt.is_wait": lambda e: False,
        "evt.is_syslog": lambda e: False,
        "evt.count": lambda e: 1,
        "evt.count.exit": lambda e: 1,
        "evt.count.error": lambda e: int(e.result < 0),
        "evt.is_open_read": lambda e: bool(_open_number(e) & _READ),
        "evt.is_open_write": lambda e: bool(_open_number(e) & _WRITE),
        "evt.is_open_exec": _open_exec,
        "evt.is_open_create": lambda e: bool(_open_number(e) & _CREATED),
        "proc.name": lambda e: e.process.name,
        "proc.exe": lambda e: e.process.exe,
        "proc.exepath": lambda e: e.process.exe_path,
        "proc.args": lambda e: " ".join(e.process.argv[1:]),
        "proc.cmdline": lambda e: _command_line(e.process),
        "proc.cmdnargs": lambda e: len(e.process.argv) - 1,
        "proc.cmdlenargs": lambda e: sum(len(argument) for argument in e.process.argv[1:]),
        "proc.exeline": lambda e: f"{e.process.exe} {' '.join(e.process.argv[1:])}",
        "proc.cwd": lambda e: _cwd(e.process),
        "proc.tty": _tty,
        "proc.loginshellid": _login_shell,
        "proc.pid": lambda e: e.process.pid,
        "proc.ppid": lambda e: e.process.ppid,
        "proc.vpid": lambda e: e.process.vpid,
        "proc.pvpid": _of_parent(lambda p: p.vpid),
        "proc.pname": _of_parent(lambda p: p.name),
        "proc.pexe": _of_parent(lambda p: p.exe),
        "proc.pexepath": _of_parent(lambda p: p.exe_path),
        "proc.pcmdline": _of_parent(_command_line),
        "proc.ppid.ts": _of_parent(lambda p: p.started_at),
        "proc.ppid.duration": lambda e: e.time - e.process.parent.started_at if e.process.parent is not None else None,
        "proc.sid": lambda e: e.process.session_leader.vpid,
        "proc.sname": lambda e: e.process.session_leader.name,
        "proc.sid.exe": lambda e: e.process.session_leader.exe,
        "proc.sid.exepath": lambda e: e.process.session_leader.exe_path,
        "proc.vpgid": lambda e: e.process.group_leader.vpid,
        "proc.vpgid.name": lambda e: e.process.group_leader.name,
        "proc.vpgid.exe": lambda e: e.process.group_leader.exe,
        "proc.vpgid.exepath": lambda e: e.process.group_leader.exe_path,
        "proc.pgid": lambda e: e.process.group_leader.pid,
        "proc.pgid.name": lambda e: e.process.group_leader.name,
        "proc.pgid.exe": lambda e: e.process.group_leader.exe,
        "proc.pgid.exepath": lambda e: e.process.group_leader.exe_path,
        "proc.duration": lambda e: e.time - e.process.started_at,
        "proc.pid.ts": lambda e: e.process.started_at,
        "proc.is_exe_writable": lambda e: bool(exe_flags(e.process)[0] & 1),
        "proc.is_exe_upper_layer": lambda e: bool(exe_flags(e.process)[0] & 2),
        "proc.is_exe_from_memfd": lambda e: e.process.from_memfd,
        "proc.is_exe_lower_layer": lambda e: bool(exe_flags(e.process)[0] & 8),
        "proc.is_sid_leader": lambda e: e.process.session_leader is e.process,
        "proc.is_vpgid_leader": lambda e: e.process.group_leader is e.process,
        "proc.is_pgid_leader": lambda e: e.process.group_leader is e.process,
        "proc.exe_ino": _exe_inode("ino"),
        "proc.exe_ino.ctime": _exe_inode("ctime"),
        "proc.exe_ino.mtime": _exe_inode("mtime"),
        "proc.exe_ino.ctime_duration_proc_start": _ctime_duration,
        "proc.pidns_init_start_ts": lambda e: e.container.init.started_at if e.container and e.container.init else None,
        "proc.fdopencount": lambda e: len(e.process.fds),
        "proc.fdlimit": _fd_limit,
        "proc.fdusage": lambda e: 100.0 * len(e.process.fds) / _fd_limit(e),
        "proc.nthreads": lambda e: 1,
        "proc.nchilds": lambda e: 0,
        "proc.vmsize": lambda e: 0,
        "proc.vmrss": lambda e: 0,
        "proc.vmswap": lambda e: 0,
        "proc.stdin.type": _standard(0, "type"),
        "proc.stdout.type": _standard(1, "type"),
        "proc.stderr.type": _standard(2, "type"),
        "proc.stdin.name": _standard(0, "name"),
        "proc.stdout.name": _standard(1, "name"),
        "proc.stderr.name": _standard(2, "name"),
        "thread.tid": lambda e: e.process.pid,
        "thread.vtid": lambda e: e.process.vpid,
        "thread.ismain": lambda e: True,
        "thread.cap_effective": lambda e: _capability_names(e.process.capabilities),
        "thread.cap_permitted": lambda e: _capability_names(e.process.capabilities),
        "thread.cap_inheritable": lambda e: "",
        "thread.cgroups": lambda e: " ".join(_cgroups(e.process)),
        "user.uid": lambda e: e.process.euid,
        "user.name": lambda e: e.process.user_name(e.process.euid) or "<NA>",
        "user.homedir": lambda e: _passwd(e, 5) or "<NA>",
        # Falco takes a container's users from the image, without their shells.
        "user.shell": lambda e: (_passwd(e, 6) if e.container is None else None) or "<NA>",
        "user.loginuid": lambda e: -1,
        "user.loginname": lambda e: "<NA>",
        "group.gid": lambda e: e.process.egid,
        "group.name": lambda e: e.process.group_name(e.process.egid) or "<NA>",
    }
)


def _env(event: KernelEvent, name: str | None) -> Value | None:
    if name is None:
        return " ".join(_environment(event.process))
    return event.process.env.get(name)


_ANCESTORS: dict[str, Callable[[Process], Value]] = {
    "proc.aname": lambda p: p.name,
    "proc.aexe": lambda p: p.exe,
    "proc.aexepath": lambda p: p.exe_path,
    "proc.apid": lambda p: p.pid,
    "proc.acmdline": _command_line,
}


def _ancestor_field(read: Callable[[Process], Value]) -> Callable[[KernelEvent, str | None], Value | None]:
    def extract(event: KernelEvent, index: str | None) -> Value | None:
        line = ancestors(event.process)
        if index is None:
            return [read(process) for process in line]  # type: ignore[return-value]
        if not index.isdigit():
            return None
        return next((read(process) for depth, process in enumerate(line) if depth == int(index)), None)

    return extract


def _ancestor_text(
    read: Callable[[Process], str], *, itself: bool
) -> Callable[[KernelEvent, str | None], Value | None]:
    """Fields that are one text without an index: the process's own, or all ancestors' joined."""

    def extract(event: KernelEvent, index: str | None) -> Value | None:
        line = list(ancestors(event.process))
        if index is not None:
            return read(line[int(index)]) if index.isdigit() and int(index) < len(line) else None
        return read(event.process) if itself else " ".join(read(process) for process in line[1:])

    return extract


_ARGUMENT_FIELDS.update({field: _ancestor_field(read) for field, read in _ANCESTORS.items()})
_ARGUMENT_FIELDS["proc.aargs"] = _ancestor_text(lambda p: " ".join(p.argv[1:]), itself=False)
_ARGUMENT_FIELDS["proc.aenv"] = _ancestor_text(lambda p: " ".join(_environment(p)), itself=True)
_ARGUMENT_FIELDS["evt.arg"] = lambda e, name: e.argument(name)
_ARGUMENT_FIELDS["evt.rawarg"] = lambda e, name: e.argument(name)
_ARGUMENT_FIELDS["proc.env"] = _env
_ARGUMENT_FIELDS["evt.type.is"] = lambda e, name: int(e.type == name)

# -- fd.* and fs.* ----------------------------------------------------------------------------------------------------


def _fd_name(event: KernelEvent) -> str | None:
    if event.fd is None:
        return None
    if event.file is not None:
        return event.file.name
    if event.fd == -1 and event.path is not None:  # a failed open has a name, but no descriptor
        return event.process.absolute(event.path)
    return ""


def _file_path(event: KernelEvent) -> str | None:
    name = _fd_name(event)
    if not name or (event.file is not None and event.file.typechar not in "fd"):
        return None
    return name


def _open_file(read: Callable[[OpenFile], Value | None]) -> Extract:
    def extract(event: KernelEvent) -> Value | None:
        return read(event.file) if event.file is not None else None

    return extract


def _fd_inode(read: Callable[[Inode], Value]) -> Extract:
    def extract(event: KernelEvent) -> Value | None:
        if event.file is None:
            return None
        inode = event.file.inode
        return read(inode) if inode is not None else 0

    return extract


def _layer(name: str) -> Extract:
    def extract(event: KernelEvent) -> Value | None:
        if event.file is None:
            return None
        return event.file.inode is not None and event.file.inode.layer == name

    return extract


def _endpoint(side: str, index: int) -> Extract:
    """An address (index 0) or port (1) of a connection; the client is the side that connected."""

    def extract(event: KernelEvent) -> Value | None:
        pair: tuple[str, int] | None = getattr(event.file, side, None)
        return pair[index] if pair is not None else None

    return extract


def _port_text(side: str) -> Extract:
    port = _endpoint(side, 1)

    def extract(event: KernelEvent) -> Value | None:
        number = port(event)
        return str(number) if number is not None else None

    return extract


def _host_name(side: str) -> Extract:
    def extract(event: KernelEvent) -> Value | None:
        pair: tuple[str, int] | None = getattr(event.file, side, None)
        return event.kernel.network.name_of(pair[0]) if pair is not None else None

    return extract


def _both(index: int) -> Extract:
    def extract(event: KernelEvent) -> Value | None:
        client: tuple[str, int] | None = getattr(event.file, "client", None)
        server: tuple[str, int] | None = getattr(event.file, "server", None)
        if client is None or server is None:
            return None
        return [str(client[0]), str(server[0])] if index == 0 else [client[1], server[1]]

    return extract


def _sock_family(event: KernelEvent) -> str | None:
    return {"4": "ip", "6": "ip", "u": "unix"}.get(event.file.typechar) if event.file is not None else None


def _container_prefix(event: KernelEvent) -> str:
    return f"{event.container.short_id}:" if event.container is not None else ":"


def _fs_path(read: Callable[[KernelEvent], str | None], raw: bool) -> Extract:
    def extract(event: KernelEvent) -> Value | None:
        path = read(event)
        return path if raw or path is None else event.process.absolute(path)

    return extract


def _types(event: KernelEvent) -> list[str] | None:
    if event.fd is None:
        return None
    return list(dict.fromkeys(file.type for file in event.process.fds.values()))


def _directory(event: KernelEvent) -> str | None:
    path = _file_path(event)
    return posixpath.dirname(path) if path else None


_FIELDS.update(
    {
        "fd.num": lambda e: e.fd,
        "fd.type": _open_file(lambda f: f.type or "<NA>"),
        "fd.typechar": lambda e: e.file.typechar if e.file is not None else "f" if e.fd == -1 else None,
        "fd.types": _types,
        "fd.name": _fd_name,
        "fd.nameraw": lambda e: e.file.name_raw if e.file is not None else e.path if e.fd == -1 else _fd_name(e),
        "fd.directory": _directory,
        "fd.filename": lambda e: posixpath.basename(_file_path(e) or "") or "/" if e.file and _file_path(e) else None,
        "fd.ino": _fd_inode(lambda i: i.ino),
        "fd.dev": _fd_inode(lambda i: f"{i.dev:X}"),
        "fd.dev.major": _fd_inode(lambda i: i.dev >> 8),
        "fd.dev.minor": _fd_inode(lambda i: i.dev & 0xFF),
        "fd.is_upper_layer": _layer("upper"),
        "fd.is_lower_layer": _layer("lower"),
        "fd.name_changed": lambda e: (
            e.type in (*_OPEN, "connect") and bool(e.file.name) if e.file is not None else None
        ),
        "fd.uid": lambda e: f"{e.process.pid}{e.fd}" if e.fd is not None else None,
        "fd.containername": lambda e: _container_prefix(e) + (_fd_name(e) or "") if e.fd is not None else None,
        "fd.containerdirectory": lambda e: _container_prefix(e) + (_directory(e) or "") if _directory(e) else None,
        "fd.l4proto": _open_file(
            lambda f: getattr(f, "protocol", "") if f.name and f.type in ("ipv4", "ipv6") else "<NA>"
        ),
        "fd.sockfamily": _sock_family,
        "fd.connected": _open_file(lambda f: getattr(f, "server", None) is not None),
        "fd.is_server": _open_file(lambda f: getattr(f, "server", None) is not None),
        "fd.ip": _both(0),
        "fd.net": _both(0),
        "fd.port": _both(1),
        "fd.cip": _endpoint("client", 0),
        "fd.sip": _endpoint("server", 0),
        "fd.lip": _endpoint("local", 0),
        "fd.rip": _endpoint("remote", 0),
        "fd.cnet": _endpoint("client", 0),
        "fd.snet": _endpoint("server", 0),
        "fd.lnet": _endpoint("local", 0),
        "fd.rnet": _endpoint("remote", 0),
        "fd.cport": _endpoint("client", 1),
        "fd.sport": _endpoint("server", 1),
        "fd.lport": _endpoint("local", 1),
        "fd.rport": _endpoint("remote", 1),
        "fd.cproto": _port_text("client"),
        "fd.sproto": _port_text("server"),
        "fd.lproto": _port_text("local"),
        "fd.rproto": _port_text("remote"),
        "fd.cip.name": _host_name("client"),
        "fd.sip.name": _host_name("server"),
        "fd.lip.name": _host_name("local"),
        "fd.rip.name": _host_name("remote"),
        "fs.path.name": _fs_path(lambda e: e.path, raw=False),
        "fs.path.nameraw": _fs_path(lambda e: e.path, raw=True),
        "fs.path.source": _fs_path(lambda e: e.source_path, raw=False),
        "fs.path.sourceraw": _fs_path(lambda e: e.source_path, raw=True),
        "fs.path.target": _fs_path(lambda e: e.target_path, raw=False),
        "fs.path.targetraw": _fs_path(lambda e: e.target_path, raw=True),
    }
)

# -- container.* and k8s.* --------------------------------------------------------------------------------------------


def _contained(read: Callable[[Container], Value | None], on_host: Value | None) -> Extract:
    def extract(event: KernelEvent) -> Value | None:
        return read(event.container) if event.container is not None else on_host

    return extract


def _labels(labels: Iterable[tuple[str, str]]) -> str:
    return ", ".join(f"{name}:{value}" for name, value in sorted(labels))


_FIELDS.update(
    {
        "container.id": _contained(lambda c: c.short_id, "host"),
        "container.full_id": _contained(lambda c: c.id, "host"),
        "container.name": _contained(lambda c: c.spec.name, "host"),
        "container.image": _contained(lambda c: c.image_reference, ""),
        "container.image.repository": _contained(lambda c: c.image.repository, ""),
        "container.image.tag": _contained(lambda c: c.image_tag, ""),
        "container.image.digest": _contained(lambda c: c.image.digest, ""),
        "container.image.id": _contained(lambda c: c.image.id.removeprefix("sha256:"), ""),
        "container.type": _contained(lambda c: "containerd", "host"),
        "container.privileged": _contained(lambda c: c.spec.privileged, False),
        "container.start_ts": _contained(lambda c: c.started_at or None, None),
        "container.duration": lambda e: (
            e.time - e.container.started_at if e.container and e.container.started_at else None
        ),
        "container.ip": _contained(lambda c: c.spec.pod_ip, ""),
        "container.host_pid": _contained(lambda c: c.spec.host_pid, False),
        "container.host_network": _contained(lambda c: c.spec.host_network, False),
        "container.host_ipc": _contained(lambda c: c.spec.host_ipc, False),
        "container.cni.json": lambda e: "",
        "container.labels": _contained(lambda c: _labels(c.spec.labels.items()), ""),
        "container.mounts": _contained(lambda c: ",".join(c.mount_texts()), ""),
        "k8s.pod.name": _contained(lambda c: c.spec.pod_name or None, None),
        "k8s.ns.name": _contained(lambda c: c.spec.pod_namespace or None, None),
        "k8s.pod.id": _contained(lambda c: c.spec.pod_uid or None, None),
        "k8s.pod.uid": _contained(lambda c: c.spec.pod_uid or None, None),
        "k8s.pod.sandbox_id": _contained(lambda c: c.spec.sandbox_id[:12], ""),
        "k8s.pod.full_sandbox_id": _contained(lambda c: c.spec.sandbox_id, ""),
        "k8s.pod.labels": _contained(lambda c: _labels(c.spec.pod_labels.items()), ""),
        "k8s.pod.ip": _contained(lambda c: c.spec.pod_ip, ""),
    }
)
_ARGUMENT_FIELDS.update(
    {
        "container.label": lambda e, name: e.container.spec.labels.get(name or "") if e.container else None,
        "k8s.pod.label": lambda e, name: e.container.spec.pod_labels.get(name or "") if e.container else None,
    }
)
