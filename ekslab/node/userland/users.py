"""Programs that change users and groups: useradd, usermod, userdel, groupadd, groupmod, groupdel, passwd, chpasswd.

As the real ones, they write a new database beside the old one and rename it, and start nscd, which isn't there.
"""

from __future__ import annotations

import hashlib
import posixpath
import re

from ekslab.node import abi
from ekslab.node.dates import formatted
from ekslab.node.process import Process
from ekslab.node.programs import program
from ekslab.node.userland.options import parse, usage
from ekslab.node.userland.show import answer, file_chunks

Rows = list[list[str]]
_DAY = 86_400_000_000_000  # nanoseconds
_NAME = re.compile(r"[a-z_][a-z0-9_-]{0,31}\$?", re.IGNORECASE)
_LONG = {
    "badname": "badname",
    "base-dir": "b",
    "home-dir": "d",
    "home": "d",
    "comment": "c",
    "create-home": "m",
    "no-create-home": "M",
    "move-home": "m",
    "system": "r",
    "uid": "u",
    "gid": "g",
    "groups": "G",
    "append": "a",
    "shell": "s",
    "password": "p",
    "skel": "k",
    "user-group": "U",
    "no-user-group": "N",
    "non-unique": "o",
    "lock": "L",
    "unlock": "U",
    "login": "l",
    "expiredate": "e",
    "inactive": "f",
    "force": "f",
    "remove": "r",
    "new-name": "n",
}


class _Databases:
    """/etc/passwd and its companions: read when they are asked for, written back when they were changed."""

    def __init__(self, p: Process) -> None:
        self.p = p
        self._rows: dict[str, Rows] = {}

    def __getitem__(self, name: str) -> Rows:
        if name not in self._rows:
            path = f"/etc/{name}"
            text = self.p.read_text(path) if self.p.exists(path) else ""
            self._rows[name] = [line.split(":") for line in text.splitlines() if line]
        return self._rows[name]

    def entry(self, name: str, key: str) -> list[str] | None:
        return next((row for row in self[name] if row[0] == key), None)

    def free(self, name: str, index: int, *, system: bool) -> int:
        """The number after the highest one in use, or for the system's the one before the lowest."""
        numbers = {int(row[index]) for row in self[name] if len(row) > index and row[index].isdigit()}
        if system:
            return next(number for number in range(999, 99, -1) if number not in numbers)
        return max([999, *(number for number in numbers if 1000 <= number < 60_000)]) + 1

    def write(self, *names: str) -> None:
        p = self.p
        for name in names:
            path = f"/etc/{name}"
            mode, gid = (0o640, 42) if "shadow" in name else (0o644, 0)
            p.write_text(f"{path}+", "".join(":".join(row) + "\n" for row in self[name]), mode)
            p.chown(f"{path}+", 0, gid)
            p.chmod(f"{path}+", mode)
            p.rename(f"{path}+", path)


async def _flush_caches(p: Process, *services: str) -> None:
    for service in services:
        argv = ["nscd", "-i", service]

        async def main(child: Process, argv: list[str] = argv) -> int:
            try:
                executable = child.loaded("/usr/sbin/nscd", argv)
            except OSError as exc:
                child.refused("/usr/sbin/nscd", argv, exc, {})
                return 127
            return await child.run_executable(executable)

        await p.wait(p.fork(main))


def _locked(p: Process, name: str) -> int | None:
    """The status when the databases can't be changed: only root may."""
    if not p.euid:
        return None
    p.stderr.write(f"{p.argv[0]}: Permission denied.\n{p.argv[0]}: cannot lock /etc/{name}; try again later.\n")
    return 10 if "group" in p.name and "group" in name else 1


def _numbered(p: Process, text: str, what: str, status: int = 3) -> int:
    if not re.fullmatch(r"\d{1,9}", text):
        usage_status = p.fail(f"invalid {what} '{text}'", status)
        p.exit(usage_status)
    return int(text)


@program("useradd")
async def useradd(p: Process) -> int:
    options = parse(p, "b:c:d:De:f:g:G:k:K:lmMNop:rs:u:UZ:", _LONG, status=2)
    for letter in "DKZe":
        if letter in options:
            return p.fail(f"option -{letter} is not simulated in this lab")
    if len(options.operands) != 1:
        usage(p, "exactly one login name is needed" if options.operands else "a login name is needed", 2)
    name = options.operands[0]
    if not _NAME.fullmatch(name):
        return p.fail(f"invalid user name '{name}': use --badname to ignore", 3)
    if (status := _locked(p, "passwd")) is not None:
        return status
    data = _Databases(p)
    if data.entry("passwd", name) is not None:
        return p.fail(f"user '{name}' already exists", 9)
    system, own_group = "r" in options, not ("g" in options or "N" in options)
    if own_group and data.entry("group", name) is not None:
        return p.fail(f"group {name} exists - if you want to add this user to that group, use -g.", 9)
    uid = (
        _numbered(p, options.values["u"], "user ID") if "u" in options.values else data.free("passwd", 2, system=system)
    )
    if any(row[2] == str(uid) for row in data["passwd"] if len(row) > 2) and "o" not in options:
        return p.fail(f"UID {uid} is not unique", 4)
    gid = uid if own_group else 100
    if own_group and any(row[2] == str(gid) for row in data["group"]):
        gid = data.free("group", 2, system=system)
    if "g" in options.values:
        found = next((row for row in data["group"] if options.values["g"] in (row[0], row[2])), None)
        if found is None:
            return p.fail(f"group '{options.values['g']}' does not exist", 6)
        gid = int(found[2])
    further = [group for group in options.values.get("G", "").split(",") if group]
    for group in further:
        if data.entry("group", group) is None:
            return p.fail(f"group '{group}' does not exist", 6)
    home = options.values.get("d") or posixpath.join(options.values.get("b", "/home"), name)
    day = str(p.kernel.now() // _DAY)
    shell = options.values.get("s", "/bin/sh")
    data["passwd"].append([name, "x", str(uid), str(gid), options.values.get("c", ""), home, shell])
    hashed = options.values.get("p", "!")
    data["shadow"].append([name, hashed, day, *(["", "", ""] if system else ["0", "99999", "7"]), "", "", ""])
    changed = ["passwd", "shadow"]
    if own_group or further:
        if own_group:
            data["group"].append([name, "x", str(gid), ""])
            data["gshadow"].append([name, "!", "", ""])
        _join(data, name, further)
        changed += ["group", "gshadow"]
    if not system:
        start = 100_000 + 65_536 * len(data["subuid"])
        for database in ("subuid", "subgid"):
            data[database].append([name, str(start), "65536"])
        changed += ["subuid", "subgid"]
    if "m" in options and "M" not in options:
        if p.exists(home):
            p.stderr.write(
                f"useradd: warning: the home directory {home} already exists.\n"
                "useradd: Not copying any file from skel directory into it.\n"
            )
        else:
            _make_home(p, home, options.values.get("k", "/etc/skel"), uid, gid)
    data.write(*changed)
    await _flush_caches(p, "passwd", "group")
    return 0


def _make_home(p: Process, home: str, skeleton: str, uid: int, gid: int) -> None:
    here = ""
    for part in home.strip("/").split("/"):
        here += f"/{part}"
        if not p.isdir(here):
            p.mkdir(here, 0)
            p.chown(here, 0, 0)
            p.chmod(here, 0o755)
    if p.isdir(skeleton):
        _copy_skeleton(p, skeleton, home, uid, gid)
    p.chown(home, uid, gid)
    p.chmod(home, 0o700)


def _copy_skeleton(p: Process, source: str, target: str, uid: int, gid: int) -> None:
    for name in p.listdir(source):
        old, new = posixpath.join(source, name), posixpath.join(target, name)
        found = p.lstat(old)
        if found.is_dir:
            p.mkdir(new, found.mode & 0o777)
            _copy_skeleton(p, old, new, uid, gid)
        elif found.is_symlink:
            p.symlink(p.readlink(old), new)
        else:
            content = p.read_bytes(old)
            fd = p.open(new, abi.O_WRONLY | abi.O_CREAT | abi.O_TRUNC, found.mode & 0o777)
            p.write(fd, content)
            p.close(fd)
        p.chown(new, uid, gid, follow=False)


def _join(data: _Databases, user: str, groups: list[str], *, only: bool = False) -> None:
    """Makes a user a member of groups, with `only` of no others."""
    for database in ("group", "gshadow"):
        for row in data[database]:
            members = [member for member in row[-1].split(",") if member]
            if row[0] in groups and user not in members:
                members.append(user)
            elif only and row[0] not in groups and user in members:
                members.remove(user)
            row[-1] = ",".join(members)


@program("usermod")
async def usermod(p: Process) -> int:
    options = parse(p, "ac:d:e:f:g:G:l:Lmop:rR:s:u:U", _LONG, status=2)
    for letter in "deflmru":
        if letter in options:
            return p.fail(f"option -{letter} is not simulated in this lab")
    if len(options.operands) != 1:
        usage(p, "a login name is needed", 2)
    name = options.operands[0]
    if (status := _locked(p, "passwd")) is not None:
        return status
    data = _Databases(p)
    entry, shadow = data.entry("passwd", name), data.entry("shadow", name)
    if entry is None:
        return p.fail(f"user '{name}' does not exist", 6)
    if not options.flags:
        return p.fail("no flags given")
    changed = {"passwd"}
    for letter, index in (("c", 4), ("s", 6)):
        if letter in options.values:
            entry[index] = options.values[letter]
    if "g" in options.values:
        group = next((row for row in data["group"] if options.values["g"] in (row[0], row[2])), None)
        if group is None:
            return p.fail(f"group '{options.values['g']}' does not exist", 6)
        entry[3] = group[2]
    if shadow is not None:
        if "p" in options.values:
            shadow[1] = options.values["p"]
        if "L" in options and not shadow[1].startswith("!"):
            shadow[1] = "!" + shadow[1]
        if "U" in options and shadow[1].startswith("!") and len(shadow[1]) > 1:
            shadow[1] = shadow[1][1:]
        changed |= {"shadow"} if {"p", "L", "U"} & set(options.flags) else set()
    if "G" in options.values:
        groups = [group for group in options.values["G"].split(",") if group]
        for one in groups:
            if data.entry("group", one) is None:
                return p.fail(f"group '{one}' does not exist", 6)
        _join(data, name, groups, only="a" not in options)
        changed |= {"group", "gshadow"}
    data.write(*(database for database in ("passwd", "shadow", "group", "gshadow") if database in changed))
    await _flush_caches(p, "passwd", "group")
    return 0


@program("userdel")
async def userdel(p: Process) -> int:
    options = parse(p, "frRZ", {"force": "f", "remove": "r"}, status=2)
    if len(options.operands) != 1:
        usage(p, "a login name is needed", 2)
    name = options.operands[0]
    if (status := _locked(p, "passwd")) is not None:
        return status
    data = _Databases(p)
    entry = data.entry("passwd", name)
    if entry is None:
        return p.fail(f"user '{name}' does not exist", 6)
    running = next((task for task in p.visible() if str(task.uid) == entry[2]), None)
    if running is not None and "f" not in options:
        return p.fail(f"user {name} is currently used by process {running.vpid}", 8)
    _leave(data, name)
    if "r" in options:
        if not p.exists(f"/var/mail/{name}"):
            p.stderr.write(f"userdel: {name} mail spool (/var/mail/{name}) not found\n")
        if p.isdir(entry[5]) and str(p.stat(entry[5]).uid) == entry[2]:
            _remove_tree(p, entry[5])
        else:
            p.stderr.write(f"userdel: {name} home directory ({entry[5]}) not found\n")
    data.write("passwd", "shadow", "group", "gshadow", "subuid", "subgid")
    await _flush_caches(p, "passwd", "group")
    return 0


def _leave(data: _Databases, name: str) -> None:
    entry = data.entry("passwd", name)
    own = data.entry("group", name)
    if entry is not None and own is not None and own[2] == entry[3]:
        data["group"].remove(own)
        data["gshadow"][:] = [row for row in data["gshadow"] if row[0] != name]
    for database in ("passwd", "shadow", "subuid", "subgid"):
        data[database][:] = [row for row in data[database] if row[0] != name]
    _join(data, name, [], only=True)


def _remove_tree(p: Process, path: str) -> None:
    for name in p.listdir(path):
        below = posixpath.join(path, name)
        if p.lstat(below).is_dir:
            _remove_tree(p, below)
        else:
            p.unlink(below)
    p.rmdir(path)


@program("groupadd")
async def groupadd(p: Process) -> int:
    options = parse(p, "fg:K:op:rR:", {"force": "f", "gid": "g", "non-unique": "o", "system": "r"}, status=2)
    if len(options.operands) != 1:
        usage(p, "a group name is needed", 2)
    name = options.operands[0]
    if not _NAME.fullmatch(name):
        return p.fail(f"'{name}' is not a valid group name", 3)
    if (status := _locked(p, "group")) is not None:
        return status
    data = _Databases(p)
    if data.entry("group", name) is not None:
        return 0 if "f" in options else p.fail(f"group '{name}' already exists", 9)
    gid = (
        _numbered(p, options.values["g"], "group ID")
        if "g" in options.values
        else data.free("group", 2, system="r" in options)
    )
    if any(row[2] == str(gid) for row in data["group"]) and "o" not in options:
        return p.fail(f"GID '{gid}' already exists", 4)
    data["group"].append([name, "x", str(gid), ""])
    data["gshadow"].append([name, "!", "", ""])
    data.write("group", "gshadow")
    await _flush_caches(p, "group")
    return 0


@program("groupmod")
async def groupmod(p: Process) -> int:
    options = parse(p, "g:n:op:", {"gid": "g", "new-name": "n", "non-unique": "o"}, status=2)
    if len(options.operands) != 1:
        usage(p, "a group name is needed", 2)
    if (status := _locked(p, "group")) is not None:
        return status
    data = _Databases(p)
    rows = [row for name in ("group", "gshadow") for row in data[name] if row[0] == options.operands[0]]
    if not rows:
        return p.fail(f"group '{options.operands[0]}' does not exist", 6)
    if "g" in options.values:
        rows[0][2] = str(_numbered(p, options.values["g"], "group ID"))
    for row in rows:
        row[0] = options.values.get("n", row[0])
    data.write("group", "gshadow")
    return 0


@program("groupdel")
async def groupdel(p: Process) -> int:
    options = parse(p, "fR:", {"force": "f"}, status=2)
    if len(options.operands) != 1:
        usage(p, "a group name is needed", 2)
    name = options.operands[0]
    if (status := _locked(p, "group")) is not None:
        return status
    data = _Databases(p)
    entry = data.entry("group", name)
    if entry is None:
        return p.fail(f"group '{name}' does not exist", 6)
    user = next((row[0] for row in data["passwd"] if len(row) > 3 and row[3] == entry[2]), None)
    if user is not None and "f" not in options:
        return p.fail(f"cannot remove the primary group of user '{user}'", 8)
    for database in ("group", "gshadow"):
        data[database][:] = [row for row in data[database] if row[0] != name]
    data.write("group", "gshadow")
    await _flush_caches(p, "group")
    return 0


def _hashed(name: str, password: str) -> str:
    """In the form of a yescrypt hash; the lab doesn't compute one."""
    digest = hashlib.sha256(f"{name}:{password}".encode()).hexdigest()
    return f"$y$j9T${digest[:22]}${digest[22:]}"[:73]


def _status_line(p: Process, row: list[str]) -> str:
    """`passwd -S`: name, state of the password, date of its change, and its days."""
    row = [*row, *[""] * (9 - len(row))]
    hashed = row[1]
    state = "NP" if not hashed else "L" if hashed.startswith(("!", "*")) else "P"
    day = formatted(int(row[2] or 0) * _DAY, "%Y-%m-%d")
    return f"{row[0]} {state} {day} {row[3] or -1} {row[4] or -1} {row[5] or -1} {row[6] or -1}"


@program("passwd")
async def passwd(p: Process) -> int:
    options = parse(
        p,
        "adehi:klqn:r:R:Suw:x:s",
        {
            "all": "a",
            "delete": "d",
            "expire": "e",
            "keep-tokens": "k",
            "lock": "l",
            "quiet": "q",
            "status": "S",
            "unlock": "u",
            "stdin": "s",
        },
        status=2,
    )
    for letter in "eiknwx":
        if letter in options:
            return p.fail(f"option -{letter} is not simulated in this lab")
    mine = p.user_name(p.uid) or "root"
    name = options.operands[0] if options.operands else mine
    data = _Databases(p)
    if data.entry("passwd", name) is None:
        return p.fail(f"user '{name}' does not exist", 1)
    if p.uid and name != mine:
        return p.fail(f"You may not view or modify password information for {name}.")
    row = data.entry("shadow", name)
    if row is None:
        return p.fail("Authentication token manipulation error", 10)
    if "S" in options:
        for one in data["shadow"] if "a" in options else [row]:
            p.print(_status_line(p, one))
        return 0
    if {"l", "u", "d"} & set(options.flags):
        if p.uid:
            return p.fail("Permission denied.")
        if "u" in options and row[1] in ("!", "*", "!*"):
            return p.fail(
                "unlocking the password would result in a passwordless account.\n"
                "You should set a password with usermod -p to unlock the password of this account.",
                3,
            )
        row[1] = f"!{row[1]}" if "l" in options else row[1].removeprefix("!") if "u" in options else ""
        data.write("shadow")
        if "q" not in options:
            p.print("passwd: password changed.")
        return 0
    for prompt in ("New password: ", "Retype new password: "):
        p.stderr.write(prompt)
        text = (await answer(p)).decode("utf-8", "surrogateescape")
        if p.isatty(0):
            p.stderr.write("\n")
        if prompt.startswith("New"):
            first = text
    if not first:
        p.stderr.write("No password has been supplied.\n")
        return p.fail("Authentication token manipulation error\npasswd: password unchanged", 10)
    if text != first:
        p.stderr.write("Sorry, passwords do not match.\n")
        return p.fail("Authentication token manipulation error\npasswd: password unchanged", 10)
    row[1], row[2] = _hashed(name, first), str(p.kernel.now() // _DAY)
    data.write("shadow")
    p.stderr.write("passwd: password updated successfully\n")
    return 0


@program("chpasswd")
async def chpasswd(p: Process) -> int:
    options = parse(p, "c:emR:s:", {"encrypted": "e", "crypt-method": "c", "md5": "m"}, status=2)
    if (status := _locked(p, "passwd")) is not None:
        return status
    text = b"".join([chunk async for chunk in file_chunks(p, "-")]).decode("utf-8", "surrogateescape")
    data = _Databases(p)
    bad = 0
    for number, line in enumerate(text.splitlines(), 1):
        name, colon, password = line.partition(":")
        row = data.entry("shadow", name)
        if not colon:
            p.stderr.write(f"chpasswd: line {number}: missing new password\n")
            bad = 1
        elif row is None:
            p.stderr.write(f"chpasswd: (user {name}) pam_chauthtok() failed, error:\n")
            p.stderr.write("Authentication token manipulation error\n")
            p.stderr.write(f"chpasswd: (line {number}, user {name}) password not changed\n")
            bad = 1
        else:
            row[1] = password if "e" in options else _hashed(name, password)
            row[2] = str(p.kernel.now() // _DAY)
    if bad:
        return 1
    data.write("shadow")
    return 0


@program("chsh")
async def chsh(p: Process) -> int:
    options = parse(p, "s:hR:", {"shell": "s"}, status=1)
    if "s" not in options.values:
        return p.fail("embedded lab: the lab's chsh asks nothing: chsh -s SHELL [LOGIN]")
    mine = p.user_name(p.uid) or "root"
    name = options.operands[0] if options.operands else mine
    if p.uid and name != mine:
        return p.fail(f"You may not change the shell for '{name}'.")
    data = _Databases(p)
    entry = data.entry("passwd", name)
    if entry is None:
        return p.fail(f"user '{name}' does not exist")
    if p.uid and options.values["s"] not in p.read_text("/etc/shells").splitlines():
        return p.fail(f"{options.values['s']} is an invalid shell")
    entry[6] = options.values["s"]
    data.write("passwd")
    return 0


@program("chage")
async def chage(p: Process) -> int:
    options = parse(p, "d:E:hI:lm:M:R:W:", {"list": "l"}, status=2)
    if "l" not in options or len(options.flags) > 1:
        return p.fail("embedded lab: the lab's chage only lists: chage -l LOGIN")
    if len(options.operands) != 1:
        usage(p, "a login name is needed", 2)
    row = _Databases(p).entry("shadow", options.operands[0])
    if row is None:
        return p.fail(f"user '{options.operands[0]}' does not exist in /etc/passwd")
    row = [*row, *[""] * (9 - len(row))]
    for title, value in (
        ("Last password change", formatted(int(row[2] or 0) * _DAY, "%b %d, %Y")),
        ("Password expires", "never"),
        ("Password inactive", "never"),
        ("Account expires", "never"),
        ("Minimum number of days between password change", row[3] or "-1"),
        ("Maximum number of days between password change", row[4] or "-1"),
        ("Number of days of warning before password expires", row[5] or "-1"),
    ):
        p.print(f"{title}\t\t\t\t\t\t: {value}")
    return 0
