"""User and group programs: whoami, id, groups, logname, getent, su."""

from __future__ import annotations

import posixpath

from ekslab.node import abi
from ekslab.node.process import Process
from ekslab.node.programs import program
from ekslab.node.userland.options import parse, quoted, usage
from ekslab.node.userland.show import answer, look_up_names

_ROOT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def entries(p: Process, path: str) -> list[list[str]]:
    """The lines of /etc/passwd or /etc/group, split at colons."""
    try:
        text = p.filesystem.read_text(path)
    except OSError:
        return []
    return [line.split(":") for line in text.splitlines() if line.count(":") > 2]


@program("whoami")
async def whoami(p: Process) -> int:
    options = parse(p, "")
    if options.operands:
        usage(p, f"extra operand {quoted(options.operands[0])}")
    look_up_names(p, "/etc/passwd")
    name = p.user_name(p.euid)
    if name is None:
        return p.fail(f"cannot find name for user ID {p.euid}")
    p.print(name)
    return 0


@program("id")
async def id_(p: Process) -> int:
    options = parse(p, "agGnruzZ", {"group": "g", "groups": "G", "name": "n", "real": "r", "user": "u"})
    if ("n" in options or "r" in options) and not any(flag in options for flag in "ugG"):
        return p.fail("cannot print only names or real IDs in default format")
    default = not any(flag in options for flag in "ugG")
    real = default or "r" in options
    uid, gid = (p.uid, p.gid) if real else (p.euid, p.egid)
    groups = [p.egid, p.gid, *p.groups] if default else [p.gid, p.egid, *p.groups]
    effective = "".join(
        f" {kind}={_with_name(number, name)}"
        for kind, number, name, same in (
            ("euid", p.euid, p.user_name(p.euid), p.euid == p.uid),
            ("egid", p.egid, p.group_name(p.egid), p.egid == p.gid),
        )
        if not same and not options.operands
    )
    p.close(p.open("/proc/filesystems", abi.O_RDONLY | abi.O_CLOEXEC)) if p.exists("/proc/filesystems") else None
    look_up_names(p, "/etc/passwd", "/etc/group")
    if options.operands:
        wanted = options.operands[0]
        entry = next((e for e in entries(p, "/etc/passwd") if wanted in (e[0], e[2])), None)
        if entry is None:
            return p.fail(f"{quoted(wanted)}: no such user")
        uid, gid = int(entry[2]), int(entry[3])
        groups = [gid, *(int(e[2]) for e in entries(p, "/etc/group") if entry[0] in e[3].split(","))]
    everything = list(dict.fromkeys(groups))
    names = "n" in options
    if "u" in options:
        p.print((p.user_name(uid) or uid) if names else uid)
    elif "g" in options:
        p.print((p.group_name(gid) or gid) if names else gid)
    elif "G" in options:
        p.print(" ".join(str((p.group_name(group) or group) if names else group) for group in everything))
    else:
        listed = ",".join(_with_name(group, p.group_name(group)) for group in everything)
        own = f"uid={_with_name(uid, p.user_name(uid))} gid={_with_name(gid, p.group_name(gid))}"
        p.print(f"{own}{effective} groups={listed}")
    return 0


def _with_name(number: int, name: str | None) -> str:
    return f"{number}({name})" if name else str(number)


@program("groups")
async def groups(p: Process) -> int:
    look_up_names(p, "/etc/group")
    everything = [p.egid, *(group for group in p.groups if group != p.egid)]
    p.print(" ".join(p.group_name(group) or str(group) for group in everything))
    return 0


@program("logname")
async def logname(p: Process) -> int:
    return p.fail("no login name")


@program("who", "w", "users", "last")
async def who(p: Process) -> int:
    """A container has no utmp, so no users are logged in."""
    parse(p, "abdhHlmnpqrstTuw")
    if p.name == "w":
        p.print("USER     TTY      FROM             LOGIN@   IDLE   JCPU   PCPU WHAT")
    return 0


@program("getent")
async def getent(p: Process) -> int:
    if len(p.argv) < 2:
        return p.fail("wrong number of arguments")
    database, keys = p.argv[1], p.argv[2:]
    if database == "hosts":
        status = 0
        for key in keys:
            try:
                p.print(f"{p.resolve(key):<15} {key}")
            except OSError:
                status = 2
        return status
    path = {"passwd": "/etc/passwd", "group": "/etc/group", "shadow": "/etc/shadow"}.get(database)
    if path is None:
        return p.fail(f"Unknown database: {database}")
    try:
        lines = p.read_text(path).splitlines()
    except OSError:
        return 2
    found = [line for line in lines if not keys or line.split(":")[0] in keys or line.split(":")[2] in keys]
    for line in found:
        p.print(line)
    return 0 if found else 2


@program("nologin")
async def nologin(p: Process) -> int:
    p.print("This account is currently not available.")
    return 1


@program("su")
async def su(p: Process) -> int:
    """util-linux's: it runs the shell by its path, without looking along PATH."""
    options = parse(
        p,
        "mplhVPTc:s:g:G:w:",
        {
            "login": "l",
            "command": "c",
            "session-command": "c",
            "shell": "s",
            "preserve-environment": "p",
            "group": "g",
            "supp-group": "G",
            "whitelist-environment": "w",
            "pty": "P",
        },
    )
    words = list(options.operands)
    login = "l" in options
    if words[:1] == ["-"]:
        login = True
        words.pop(0)
    user, *further = words or ["root"]
    for letter in "gGwPT":
        if letter in options:
            return p.fail(f"option -{letter} is not simulated in this lab")
    entry = next((e for e in entries(p, "/etc/passwd") if e[0] == user), None)
    if entry is None:
        return p.fail(f"user {user} does not exist or the user entry does not contain all the required fields")
    if p.uid:
        if p.isatty(0):
            p.stderr.write("Password: ")
            await answer(p)
        return p.fail("Authentication failure")
    p.close(p.open("/etc/shadow")) if p.exists("/etc/shadow") else None
    keep = ("p" in options or "m" in options) and not login
    shell = options.values.get("s") or (p.env.get("SHELL") if keep else None) or entry[6] or "/bin/sh"
    env = dict(p.env) if not login else {name: p.env[name] for name in ("TERM",) if name in p.env}
    if not keep:
        env |= {"HOME": entry[5], "SHELL": shell, "USER": user, "LOGNAME": user}
    if login:
        env["PATH"] = "/usr/local/bin:/usr/bin:/bin:/usr/local/games:/usr/games" if int(entry[2]) else _ROOT_PATH
    name = posixpath.basename(shell)
    command = options.values.get("c")
    argv = [f"-{name}" if login else name, *(["-c", command] if command is not None else []), *further]

    async def main(child: Process) -> int:
        child.setgid(int(entry[3]))
        child.groups = [int(e[2]) for e in entries(p, "/etc/group") if user in e[3].split(",")]
        child.setuid(int(entry[2]))
        if login:
            child.cwd = entry[5] if child.isdir(entry[5]) else "/"
        try:
            executable = child.loaded(shell, argv)
        except OSError as exc:
            child.refused(shell, argv, exc, env)
            child.stderr.write(f"su: failed to execute {shell}: {exc.strerror}\n")
            return 127 if isinstance(exc, FileNotFoundError) else 126
        return await child.run_executable(executable, env=env)

    return await p.wait(p.fork(main))
