"""Programs that the real image has and the lab lacks: each says that it is the lab that lacks it.

A program that the real image doesn't have either is no file, and a shell says `not found`.
"""

from __future__ import annotations

import posixpath

from ekslab.node.process import Process
from ekslab.node.programs import lookup, program

# Files whose program is emulated under another name.
_SAME = {
    "[": "test",
    "addgroup": "lacking",
    "adduser": "lacking",
    "i386": "setarch",
    "linux32": "setarch",
    "linux64": "setarch",
    "pkill": "pgrep",
    "x86_64": "setarch",
}
SET_USER = frozenset({"chfn", "chsh", "gpasswd", "mount", "newgrp", "passwd", "su", "umount"})
"""Programs that run as root for everybody."""


def emulated(name: str) -> str:
    """The program that a file of this name is in the lab."""
    program = _SAME.get(name, name)
    return program if lookup(program) is not None else "lacking"


@program("lacking")
async def lacking(p: Process) -> int:
    return p.fail(f"embedded lab: the real image has {posixpath.basename(p.exe_path)}, the lab doesn't")
