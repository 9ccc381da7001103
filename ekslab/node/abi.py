"""Linux's numbers and names of errors, open flags, capabilities and signals, the same on every platform."""

from __future__ import annotations

import errno
import stat as _stat

# name -> (number on Linux, the C library's text). Only what the simulated kernel can answer with.
_ERRNO: dict[str, tuple[int, str]] = {
    "EPERM": (1, "Operation not permitted"),
    "ENOENT": (2, "No such file or directory"),
    "ESRCH": (3, "No such process"),
    "EINTR": (4, "Interrupted system call"),
    "EIO": (5, "Input/output error"),
    "ENXIO": (6, "No such device or address"),
    "E2BIG": (7, "Argument list too long"),
    "ENOEXEC": (8, "Exec format error"),
    "EBADF": (9, "Bad file descriptor"),
    "ECHILD": (10, "No child processes"),
    "EAGAIN": (11, "Resource temporarily unavailable"),
    "EACCES": (13, "Permission denied"),
    "EBUSY": (16, "Device or resource busy"),
    "EEXIST": (17, "File exists"),
    "EXDEV": (18, "Invalid cross-device link"),
    "ENODEV": (19, "No such device"),
    "ENOTDIR": (20, "Not a directory"),
    "EISDIR": (21, "Is a directory"),
    "EINVAL": (22, "Invalid argument"),
    "EMFILE": (24, "Too many open files"),
    "ENOTTY": (25, "Inappropriate ioctl for device"),
    "ETXTBSY": (26, "Text file busy"),
    "EFBIG": (27, "File too large"),
    "ENOSPC": (28, "No space left on device"),
    "ESPIPE": (29, "Illegal seek"),
    "EROFS": (30, "Read-only file system"),
    "EMLINK": (31, "Too many links"),
    "EPIPE": (32, "Broken pipe"),
    "ENAMETOOLONG": (36, "File name too long"),
    "ENOSYS": (38, "Function not implemented"),
    "ENOTEMPTY": (39, "Directory not empty"),
    "ELOOP": (40, "Too many levels of symbolic links"),
    "EADDRINUSE": (98, "Address already in use"),
    "ENETUNREACH": (101, "Network is unreachable"),
    "ECONNRESET": (104, "Connection reset by peer"),
    "ENOTCONN": (107, "Transport endpoint is not connected"),
    "ETIMEDOUT": (110, "Connection timed out"),
    "ECONNREFUSED": (111, "Connection refused"),
    "EHOSTUNREACH": (113, "No route to host"),
    "EINPROGRESS": (115, "Operation now in progress"),
}
_NAME_OF = {getattr(errno, name): name for name in _ERRNO if hasattr(errno, name)}
_NAME_OF_NUMBER = {number: name for name, (number, _) in _ERRNO.items()}


def error(name: str, path: str | None = None, path2: str | None = None) -> OSError:
    """The `OSError` (or the matching subclass) that a system call raises for Linux's errno `name`."""
    number = getattr(errno, name, _ERRNO[name][0])
    if path is None:
        return OSError(number, _ERRNO[name][1])
    return OSError(number, _ERRNO[name][1], path, None, path2)


def errno_name(exception: OSError) -> str:
    """Linux's name of an `OSError`, e.g. `ENOENT`; `EIO` for one that `error` didn't make."""
    return _NAME_OF.get(exception.errno or 0, "EIO")


def errno_number(name: str) -> int:
    """Linux's number of an errno name."""
    return _ERRNO[name][0]


def result_name(result: int) -> str:
    """Linux's name of the error that a negative result of a system call means."""
    return _NAME_OF_NUMBER.get(-result, str(result))


O_RDONLY = 0
O_WRONLY = 1
O_RDWR = 2
O_ACCMODE = 3
O_CREAT = 0o100
O_EXCL = 0o200
O_TRUNC = 0o1000
O_APPEND = 0o2000
O_NONBLOCK = 0o4000
O_DIRECTORY = 0o200000
O_NOFOLLOW = 0o400000
O_CLOEXEC = 0o2000000

R_OK, W_OK, X_OK, F_OK = 4, 2, 1, 0

# In the kernel's bit order, which is also the order in which Falco prints them.
CAPABILITIES = tuple(
    f"CAP_{name}"
    for name in [
        "CHOWN",
        "DAC_OVERRIDE",
        "DAC_READ_SEARCH",
        "FOWNER",
        "FSETID",
        "KILL",
        "SETGID",
        "SETUID",
        "SETPCAP",
        "LINUX_IMMUTABLE",
        "NET_BIND_SERVICE",
        "NET_BROADCAST",
        "NET_ADMIN",
        "NET_RAW",
        "IPC_LOCK",
        "IPC_OWNER",
        "SYS_MODULE",
        "SYS_RAWIO",
        "SYS_CHROOT",
        "SYS_PTRACE",
        "SYS_PACCT",
        "SYS_ADMIN",
        "SYS_BOOT",
        "SYS_NICE",
        "SYS_RESOURCE",
        "SYS_TIME",
        "SYS_TTY_CONFIG",
        "MKNOD",
        "LEASE",
        "AUDIT_WRITE",
        "AUDIT_CONTROL",
        "SETFCAP",
        "MAC_OVERRIDE",
        "MAC_ADMIN",
        "SYSLOG",
        "WAKE_ALARM",
        "BLOCK_SUSPEND",
        "AUDIT_READ",
        "PERFMON",
        "BPF",
        "CHECKPOINT_RESTORE",
    ]
)
ALL_CAPABILITIES = frozenset(CAPABILITIES)
# What containerd grants a container that asks for nothing.
DEFAULT_CAPABILITIES = frozenset(
    f"CAP_{name}"
    for name in [
        "CHOWN",
        "DAC_OVERRIDE",
        "FOWNER",
        "FSETID",
        "KILL",
        "SETGID",
        "SETUID",
        "SETPCAP",
        "NET_BIND_SERVICE",
        "NET_RAW",
        "SYS_CHROOT",
        "MKNOD",
        "AUDIT_WRITE",
        "SETFCAP",
    ]
)

SIGNALS = {
    "HUP": 1,
    "INT": 2,
    "QUIT": 3,
    "ILL": 4,
    "TRAP": 5,
    "ABRT": 6,
    "BUS": 7,
    "FPE": 8,
    "KILL": 9,
    "USR1": 10,
    "SEGV": 11,
    "USR2": 12,
    "PIPE": 13,
    "ALRM": 14,
    "TERM": 15,
    "STKFLT": 16,
    "CHLD": 17,
    "CONT": 18,
    "STOP": 19,
    "TSTP": 20,
    "TTIN": 21,
    "TTOU": 22,
    "URG": 23,
    "XCPU": 24,
    "XFSZ": 25,
    "VTALRM": 26,
    "PROF": 27,
    "WINCH": 28,
    "IO": 29,
    "PWR": 30,
    "SYS": 31,
}
SIGNAL_NAMES = {number: name for name, number in SIGNALS.items()}


def signal_name(number: int) -> str:
    """`SIGTERM` for 15; nothing for a number that isn't a signal's."""
    return f"SIG{SIGNAL_NAMES[number]}" if number in SIGNAL_NAMES else ""


SIGHUP, SIGINT, SIGQUIT, SIGKILL, SIGPIPE, SIGTERM, SIGCHLD = 1, 2, 3, 9, 13, 15, 17
# Without a handler, these don't end a process. Stopping a process isn't simulated.
STOPPING_SIGNALS = frozenset(SIGNALS[name] for name in ("STOP", "TSTP", "TTIN", "TTOU"))
HARMLESS_SIGNALS = frozenset(SIGNALS[name] for name in ("CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "WINCH"))

S_IFREG, S_IFDIR, S_IFLNK, S_IFCHR, S_IFIFO, S_IFSOCK = (
    _stat.S_IFREG,
    _stat.S_IFDIR,
    _stat.S_IFLNK,
    _stat.S_IFCHR,
    _stat.S_IFIFO,
    _stat.S_IFSOCK,
)
S_IFBLK = _stat.S_IFBLK
