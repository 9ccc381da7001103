"""The registry of programs that a simulated node can run. The content of an executable file names its program."""

from __future__ import annotations

import inspect
import os
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

Program = Callable[[Any], Awaitable[int]]
"""`async def main(p: Process) -> int`. This module is below `Process`, so the type can't say it."""
_P = TypeVar("_P", bound=Program)

# 64-bit little-endian x86-64 executable, so that `head -c 4` and `file` would say what they say on a real node.
_ELF_HEADER = b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x03\x00\x3e\x00\x01\x00\x00\x00" + bytes(40)
_MARK = b"\x00.note.program\x00"

_programs: dict[str, Program] = {}
_folders: tuple[str, ...] = ()


def program(*names: str) -> Callable[[_P], _P]:
    """Registers `async def main(p: Process) -> int` under names that are unique in the lab."""

    def register(function: _P) -> _P:
        global _folders
        folder = os.path.dirname(inspect.unwrap(function).__code__.co_filename) + os.sep
        if folder not in _folders:
            _folders = (*_folders, folder)
        for name in names:
            if name in _programs and _programs[name].__qualname__ != function.__qualname__:
                raise ValueError(f"a program named {name!r} is registered already")
            _programs[name] = function
        return function

    return register


def elf(name: str) -> bytes:
    """The content of an executable file that is the program `name`."""
    return _ELF_HEADER + _MARK + name.encode() + b"\x00" * 8


def program_name(content: bytes | bytearray) -> str | None:
    """The program an executable's content stands for, or None if it isn't one of ours."""
    if not content.startswith(_ELF_HEADER + _MARK):
        return None
    start = len(_ELF_HEADER) + len(_MARK)
    return bytes(content[start : content.index(0, start)]).decode()


def folders() -> tuple[str, ...]:
    """Where the code of programs is, for telling it from the kernel's."""
    return _folders


def lookup(name: str) -> Program | None:
    return _programs.get(name)


def names() -> list[str]:
    return sorted(_programs)
