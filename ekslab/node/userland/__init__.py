"""The programs of a Debian image, as coroutines over a process's system calls: one module per family.

A program supports the options it names; any other is refused in the program's own words, never ignored.
"""

from ekslab.node.userland import (
    archives,
    awk,
    compare,
    coreutils,
    files,
    identity,
    lacking,
    launch,
    listing,
    machine,
    network,
    openssl,
    packages,
    perl,
    processes,
    search,
    sed,
    show,
    system,
    text,
    users,
)

__all__ = [
    "archives",
    "awk",
    "compare",
    "coreutils",
    "files",
    "identity",
    "lacking",
    "launch",
    "listing",
    "machine",
    "network",
    "openssl",
    "packages",
    "perl",
    "processes",
    "search",
    "sed",
    "show",
    "system",
    "text",
    "users",
]
