"""Users and groups: reads /etc/passwd and /etc/group of a file system."""

from __future__ import annotations

from ekslab.node.filesystem import Filesystem
from ekslab.node.inodes import File

PASSWD, GROUP = "/etc/passwd", "/etc/group"


def entries(filesystem: Filesystem, path: str) -> list[list[str]]:
    """The lines of a database, split at colons; none if the file can't be read."""
    try:
        text = filesystem.read_text(path)
    except OSError:
        return []
    return [fields for line in text.splitlines() if len(fields := line.split(":")) > 2]


def name_of(filesystem: Filesystem, path: str, number: int) -> str | None:
    """The name of a uid (in PASSWD) or gid (in GROUP). The file is parsed again only after it has changed."""
    try:
        inode = filesystem.walk(path).inode
    except OSError:
        inode = None
    if not isinstance(inode, File):
        return "root" if number == 0 else None
    known = filesystem.account_names.get(path)
    if known is None or known[0] is not inode or known[1] != inode.ctime:
        names: dict[int, str] = {}
        for fields in entries(filesystem, path):
            if fields[2].isdigit():
                names.setdefault(int(fields[2]), fields[0])
        known = filesystem.account_names[path] = (inode, inode.ctime, names)
    return known[2].get(number)
