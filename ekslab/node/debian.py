"""The root file system of a Debian 12 image: configuration files, and programs at Debian's paths."""

from __future__ import annotations

from functools import cache

from ekslab.node import shell as _shell  # noqa: F401 - registers sh and bash
from ekslab.node import userland as _userland  # noqa: F401 - registers the programs
from ekslab.node.images import Layer
from ekslab.node.userland import lacking

# Programs of Debian's slim images. An image adds others (curl, nc, ...) itself.
_PROGRAMS = [
    "arch",
    "b2sum",
    "awk:mawk",
    "base64",
    "base32",
    "basename",
    "bash",
    "cat",
    "chgrp",
    "chmod",
    "chown",
    "clear",
    "comm",
    "cp",
    "cut",
    "date",
    "dd",
    "df",
    "dirname",
    "dpkg",
    "du",
    "echo",
    "egrep:grep",
    "env",
    "expr",
    "false",
    "fgrep:grep",
    "find",
    "fold",
    "free:-",
    "getent",
    "grep",
    "groups",
    "head",
    "hostname",
    "id",
    "ln",
    "logname",
    "ls",
    "md5sum",
    "mkdir",
    "mktemp",
    "mount",
    "mv",
    "nice",
    "nl",
    "nohup",
    "nproc",
    "od",
    "paste",
    "printenv",
    "printf",
    "pwd",
    "readlink",
    "realpath",
    "rev",
    "rm",
    "rmdir",
    "sed",
    "seq",
    "setpriv",
    "setsid",
    "sha1sum",
    "sha224sum",
    "sha256sum",
    "sha384sum",
    "sha512sum",
    "shred",
    "sleep",
    "sort",
    "stat",
    "stdbuf",
    "stty",
    "su",
    "sync",
    "tac",
    "tail",
    "tee",
    "test",
    "timeout",
    "touch",
    "tr",
    "true",
    "truncate",
    "tty",
    "umount",
    "uname",
    "uniq",
    "unlink",
    "unshare",
    "users:who",
    "wc",
    "which",
    "who",
    "whoami",
    "xargs",
    "yes",
    "[:test",
    "apt",
    "apt-get",
    "kill",
    "passwd",
]
_SBIN = ["useradd", "groupadd", "userdel", "usermod", "chpasswd"]
_EXTRA = {
    "ps": "ps",
    "curl": "curl",
    "pgrep": "pgrep",
    "pkill": "pgrep",
    "pidof": "pgrep",
    "uptime": "uptime",
    "free": "free",
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
_OS_RELEASE = """PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"
NAME="Debian GNU/Linux"
VERSION_ID="12"
VERSION="12 (bookworm)"
VERSION_CODENAME=bookworm
ID=debian
HOME_URL="https://www.debian.org/"
SUPPORT_URL="https://www.debian.org/support"
BUG_REPORT_URL="https://bugs.debian.org/"
"""
_PACKAGES = {
    "apt": "2.6.1",
    "base-files": "12.4+deb12u11",
    "bash": "5.2.15-2+b8",
    "coreutils": "9.1-1",
    "curl": "7.88.1-10+deb12u12",
    "dash": "0.5.12-2",
    "debianutils": "5.7-0.5~deb12u1",
    "dpkg": "1.21.22",
    "findutils": "4.9.0-4",
    "grep": "3.8-5",
    "hostname": "3.23+nmu1",
    "libc6": "2.36-9+deb12u10",
    "login": "1:4.13+dfsg1-1+deb12u1",
    "mawk": "1.3.4.20200120-3.1",
    "mount": "2.38.1-5+deb12u3",
    "passwd": "1:4.13+dfsg1-1+deb12u1",
    "sed": "4.9-1",
    "util-linux": "2.38.1-5+deb12u3",
}
_BASHRC = """# System-wide .bashrc file for interactive bash(1) shells.
[ -z "$PS1" ] && return
PS1='\\u@\\h:\\w\\$ '
"""
_PROFILE = """if [ "$(id -u)" -eq 0 ]; then
  PATH="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
else
  PATH="/usr/local/bin:/usr/bin:/bin:/usr/local/games:/usr/games"
fi
export PATH
"""


def debian_userland() -> Layer:
    """A new layer that an image can extend."""
    return _base().copy()


@cache
def _base() -> Layer:
    layer = Layer()
    for path, mode in (
        ("/boot", 0o755),
        ("/dev", 0o755),
        ("/etc/apt/sources.list.d", 0o755),
        ("/etc/cron.d", 0o755),
        ("/etc/cron.daily", 0o755),
        ("/etc/pam.d", 0o755),
        ("/etc/security", 0o755),
        ("/home", 0o755),
        ("/media", 0o755),
        ("/mnt", 0o755),
        ("/opt", 0o755),
        ("/proc", 0o755),
        ("/root", 0o700),
        ("/run/lock", 0o1777),
        ("/srv", 0o755),
        ("/sys", 0o755),
        ("/tmp", 0o1777),
        ("/usr/bin", 0o755),
        ("/usr/lib/x86_64-linux-gnu", 0o755),
        ("/usr/lib64", 0o755),
        ("/usr/local/bin", 0o755),
        ("/usr/local/sbin", 0o755),
        ("/usr/sbin", 0o755),
        ("/usr/share/doc", 0o755),
        ("/var/cache/apt/archives/partial", 0o755),
        ("/var/lib/apt/lists", 0o755),
        ("/var/log/apt", 0o755),
        ("/var/mail", 0o2775),
        ("/var/spool/mail", 0o755),
        ("/var/tmp", 0o1777),
        ("/var/www", 0o755),
    ):
        layer.directory(path, mode)
    for name in ("bin", "sbin", "lib", "lib64"):
        layer.symlink(f"/{name}", f"usr/{name}")
    layer.symlink("/var/run", "/run").symlink("/var/lock", "/run/lock")
    for entry in _PROGRAMS:
        path, _, name = entry.partition(":")
        if name != "-":
            layer.program(f"/usr/bin/{path}", name or path)
    for name in _SBIN:
        layer.program(f"/usr/sbin/{name}", "useradd" if name != "groupadd" else "groupadd")
    layer.program("/usr/sbin/nologin", "nologin")
    for path, name in _EXTRA.items():
        layer.program(f"/usr/bin/{path}", name)
    for name in lacking.NAMES:
        layer.program(f"/usr/bin/{name}", name)
    layer.program("/usr/bin/dash", "dash").symlink("/usr/bin/sh", "dash").symlink("/usr/bin/rbash", "bash")
    _configuration(layer)
    return layer


def _configuration(layer: Layer) -> None:
    groups = [entry.split(":") for entry in _GROUPS]
    users = [line.split(":")[0] for line in _PASSWD.splitlines()]
    layer.file("/etc/passwd", _PASSWD)
    layer.file("/etc/group", "".join(f"{name}:x:{number}:\n" for name, number in groups))
    layer.file("/etc/shadow", "".join(f"{name}:*:20370:0:99999:7:::\n" for name in users), 0o640, gid=42)
    layer.file("/etc/gshadow", "".join(f"{name}:*::\n" for name, _ in groups), 0o640, gid=42)
    layer.file(
        "/etc/nsswitch.conf",
        "passwd:         files\ngroup:          files\nshadow:         files\nhosts:          files dns\n",
    )
    layer.file("/usr/lib/os-release", _OS_RELEASE).symlink("/etc/os-release", "../usr/lib/os-release")
    layer.file("/etc/debian_version", "12.11\n")
    layer.file("/etc/issue", "Debian GNU/Linux 12 \\n \\l\n\n")
    layer.file("/etc/ld.so.cache", b"glibc-ld.so.cache1.1" + bytes(28))
    layer.file("/etc/ld.so.conf", "include /etc/ld.so.conf.d/*.conf\n")
    layer.file("/usr/lib/x86_64-linux-gnu/libc.so.6", b"\x7fELF\x02\x01\x01" + bytes(57), 0o755)
    layer.file("/etc/bash.bashrc", _BASHRC).file("/etc/profile", _PROFILE)
    layer.file("/root/.bashrc", "# ~/.bashrc: executed by bash(1) for non-login shells.\n")
    layer.file("/root/.profile", "# ~/.profile: executed by Bourne-compatible login shells.\n")
    layer.file(
        "/etc/shells", "# /etc/shells: valid login shells\n/bin/sh\n/usr/bin/sh\n/bin/bash\n/usr/bin/bash\n/bin/dash\n"
    )
    layer.file("/etc/environment", "").file("/etc/fstab", "# UNCONFIGURED FSTAB FOR BASE SYSTEM\n")
    layer.file("/etc/host.conf", "multi on\n").file("/etc/timezone", "Etc/UTC\n").file(
        "/etc/services", "http\t\t80/tcp\nhttps\t\t443/tcp\n"
    )
    layer.file("/etc/login.defs", "MAIL_DIR\t/var/mail\nUID_MIN\t\t\t 1000\n")
    layer.file("/etc/pam.conf", "# /etc/pam.conf\n").file(
        "/etc/pam.d/common-auth", "auth\t[success=1 default=ignore]\tpam_unix.so nullok\n"
    )
    layer.file("/etc/pam.d/su", "auth       sufficient pam_rootok.so\n")
    layer.file("/etc/security/limits.conf", "# /etc/security/limits.conf\n")
    layer.file(
        "/etc/apt/sources.list.d/debian.sources",
        "Types: deb\nURIs: http://deb.debian.org/debian\nSuites: bookworm bookworm-updates\nComponents: main\n",
    )
    layer.file("/etc/cron.daily/dpkg", "#!/bin/sh\nexit 0\n", 0o755)
    status = "\n".join(
        f"Package: {name}\nStatus: install ok installed\nArchitecture: amd64\nVersion: {version}\n"
        for name, version in _PACKAGES.items()
    )
    layer.file("/var/lib/dpkg/status", status)
    layer.file("/var/log/dpkg.log", "").file("/var/log/lastlog", "").file("/var/log/wtmp", "").file("/var/log/btmp", "")
    layer.file("/var/log/apt/history.log", "")
