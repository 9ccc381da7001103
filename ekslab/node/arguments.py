"""Arguments of system calls as Falco 0.44 prints them: `fd=3(<f>/etc/shadow)`, `dirfd=-100(AT_FDCWD)`.

The texts follow recordings of a real node.
"""

from __future__ import annotations

from typing import NamedTuple

from ekslab.node import abi
from ekslab.node.descriptors import OpenFile
from ekslab.node.inodes import Inode


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
    name = abi.result_name(number)
    return Argument("res", f"{number}({name})", name, number)


def path_argument(name: str, raw: str, absolute: str) -> Argument:
    """A path parameter: a relative one is shown with what it resolves to."""
    if raw.startswith("/"):
        return Argument(name, raw, raw)
    return Argument(name, f"{raw}({absolute})", absolute)


def flags_argument(name: str, number: int, text: str) -> Argument:
    if not number:
        return plain(name, "0")
    return Argument(name, f"{number}({text})", text, number)


def descriptor_argument(name: str, number: int, file: OpenFile | None) -> Argument:
    if number < 0:
        text = abi.result_name(number)
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
READ, WRITE, CREATED, _UPPER, _LOWER = 1, 2, 1 << 14, 1 << 15, 1 << 16


def open_flags_argument(flags: int, inode: Inode | None, created: bool) -> Argument:
    access = flags & abi.O_ACCMODE
    number = {abi.O_RDONLY: READ, abi.O_WRONLY: WRITE}.get(access, READ | WRITE)
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
        (created, CREATED, "O_F_CREATED"),
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


def at_fdcwd(name: str) -> Argument:
    """A directory descriptor that stands for the working directory."""
    return Argument(name, "-100(AT_FDCWD)", "AT_FDCWD")
