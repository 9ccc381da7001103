"""The programs of a Debian image, as coroutines over a process's system calls: one module per family.

A program supports the options it names; any other is refused in the program's own words, never ignored.
"""

from ekslab.node.userland import (
    files,
    identity,
    lacking,
    network,
    packages,
    processes,
    search,
    sed,
    show,
    system,
    text,
)

__all__ = [
    "files",
    "identity",
    "lacking",
    "network",
    "packages",
    "processes",
    "search",
    "sed",
    "show",
    "system",
    "text",
]
