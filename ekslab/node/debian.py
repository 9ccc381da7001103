"""The root file system of a Debian 13 image, from the packages in `debian.toml`."""

from __future__ import annotations

import posixpath
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

from ekslab.node import shell as _shell  # noqa: F401 - registers sh and bash
from ekslab.node import userland as _userland  # noqa: F401 - registers the programs
from ekslab.node.images import Layer
from ekslab.node.userland import lacking

_DIRECTORIES = {
    "/dev": 0o755,
    "/etc/cron.d": 0o755,
    "/proc": 0o755,
    "/root": 0o700,
    "/run/lock": 0o1777,
    "/sys": 0o755,
    "/tmp": 0o1777,
    "/usr/bin": 0o755,
    "/usr/lib/x86_64-linux-gnu": 0o755,
    "/usr/lib64": 0o755,
    "/usr/sbin": 0o755,
    "/usr/share": 0o755,
    "/var/lib/dpkg/info": 0o755,
    "/var/lib/pam": 0o755,
    "/var/mail": 0o2775,
    "/var/tmp": 0o1777,
}

_PASSWD = """root:x:0:0:root:/root:/bin/bash
daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin
bin:x:2:2:bin:/bin:/usr/sbin/nologin
sys:x:3:3:sys:/dev:/usr/sbin/nologin
sync:x:4:65534:sync:/bin:/bin/sync
games:x:5:60:games:/usr/games:/usr/sbin/nologin
man:x:6:12:man:/var/cache/man:/usr/sbin/nologin
lp:x:7:7:lp:/var/spool/lpd:/usr/sbin/nologin
mail:x:8:8:mail:/var/mail:/usr/sbin/nologin
news:x:9:9:news:/var/spool/news:/usr/sbin/nologin
www-data:x:33:33:www-data:/var/www:/usr/sbin/nologin
backup:x:34:34:backup:/var/backups:/usr/sbin/nologin
_apt:x:42:65534::/nonexistent:/usr/sbin/nologin
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
"""
_GROUPS = [
    "root:0",
    "daemon:1",
    "bin:2",
    "sys:3",
    "adm:4",
    "tty:5",
    "disk:6",
    "lp:7",
    "mail:8",
    "news:9",
    "man:12",
    "kmem:15",
    "voice:22",
    "cdrom:24",
    "floppy:25",
    "tape:26",
    "sudo:27",
    "audio:29",
    "dip:30",
    "www-data:33",
    "backup:34",
    "operator:37",
    "src:40",
    "shadow:42",
    "utmp:43",
    "video:44",
    "staff:50",
    "games:60",
    "users:100",
    "nogroup:65534",
]


@cache
def _packages() -> dict[str, dict[str, Any]]:
    with (Path(__file__).parent / "debian.toml").open("rb") as file:
        return tomllib.load(file)


def debian_userland(*packages: str) -> Layer:
    """A new layer that an image can extend: Debian's essential packages and others of `debian.toml`."""
    layer = _base().copy()
    for name in packages:
        _install(layer, name)
    return layer


@cache
def _base() -> Layer:
    layer = Layer()
    for path, mode in _DIRECTORIES.items():
        layer.directory(path, mode)
    for name in ("bin", "sbin", "lib", "lib64"):
        layer.symlink(f"/{name}", f"usr/{name}")
    layer.symlink("/var/run", "/run").symlink("/var/lock", "/run/lock")
    _accounts(layer)
    layer.file("/var/lib/dpkg/status", "")
    for name, package in _packages().items():
        if package.get("essential"):
            _install(layer, name)
    layer.symlink("/var/spool/mail", "../mail")
    layer.file("/etc/environment", "").file("/etc/fstab", "# UNCONFIGURED FSTAB FOR BASE SYSTEM\n")
    layer.symlink("/etc/rmt", "/usr/sbin/rmt").file("/etc/.pwd.lock", "", 0o600)
    layer.file("/etc/ld.so.cache", b"glibc-ld.so.cache1.1" + bytes(28))
    library = b"\x7fELF\x02\x01\x01" + bytes(57)
    layer.file("/usr/lib/x86_64-linux-gnu/libc.so.6", library, 0o755)
    layer.program("/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2", "ld.so")
    layer.symlink("/usr/lib64/ld-linux-x86-64.so.2", "../lib/x86_64-linux-gnu/ld-linux-x86-64.so.2")
    for name in ("btmp", "faillog", "lastlog", "wtmp"):
        layer.file(f"/var/log/{name}", "", 0o660 if name == "btmp" else 0o664, gid=43)
    return layer


def _install(layer: Layer, name: str) -> None:
    """Adds a package: what it holds, and its entry in dpkg's database."""
    package = _packages()[name]
    files: list[str] = []
    for path in package.get("directories", "").split():
        layer.directory(path)
        files.append(path)
    for key, folder in (("bin", "/usr/bin"), ("sbin", "/usr/sbin")):
        for program in package.get(key, "").split():
            layer.program(f"{folder}/{program}", lacking.emulated(program))
            files.append(f"{folder}/{program}")
    for path, text in package.get("files", {}).items():
        layer.file(path, _text(text))
        files.append(path)
    for path, text in package.get("scripts", {}).items():
        layer.file(path, "#!/bin/sh\n" + _text(text), 0o755)
        files.append(path)
    for path, target in package.get("links", {}).items():
        layer.symlink(path, target)
        files.append(path)
    for generic, target in package.get("alternatives", {}).items():
        path, target = posixpath.join("/usr/bin", generic), posixpath.join("/usr/bin", target)
        layer.symlink(path, f"/etc/alternatives/{posixpath.basename(path)}")
        layer.symlink(f"/etc/alternatives/{posixpath.basename(path)}", target)
    for program in [posixpath.basename(path) for path in files]:
        if program in lacking.SET_USER and layer.lookup(f"/usr/bin/{program}") is not None:
            layer.program(f"/usr/bin/{program}", lacking.emulated(program), 0o4755)
    layer.append(
        "/var/lib/dpkg/status",
        f"Package: {name}\nStatus: install ok installed\n"
        + ("Essential: yes\n" if package.get("essential") else "")
        + f"Architecture: amd64\nVersion: {package['version']}\nDescription: package of Debian 13\n\n",
    )
    layer.file(f"/var/lib/dpkg/info/{name}.list", "".join(f"{path}\n" for path in ["/.", *files]))


def _text(text: str) -> str:
    return f"{text}\n" if text else ""


def _accounts(layer: Layer) -> None:
    groups = [entry.split(":") for entry in _GROUPS]
    users = [line.split(":")[0] for line in _PASSWD.splitlines()]
    for backup in ("", "-"):
        layer.file(f"/etc/passwd{backup}", _PASSWD)
        layer.file(f"/etc/group{backup}", "".join(f"{name}:x:{number}:\n" for name, number in groups))
        layer.file(f"/etc/shadow{backup}", "".join(f"{name}:*:20370:0:99999:7:::\n" for name in users), 0o640, gid=42)
        layer.file(f"/etc/gshadow{backup}", "".join(f"{name}:*::\n" for name, _ in groups), 0o640, gid=42)
