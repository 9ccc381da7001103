"""Programs that run another one: nohup, nice, setsid, chroot, nsenter, flock, taskset, chrt, script, runuser, setpriv.

All of them look the command up by execvp (`Process.exec`), except those that start a shell by its path.
"""

from __future__ import annotations

import asyncio
import posixpath
import re
from collections.abc import Callable

from ekslab.node import abi
from ekslab.node.process import Process
from ekslab.node.programs import program
from ekslab.node.userland.identity import entries, su
from ekslab.node.userland.options import parse, quoted, usage
from ekslab.node.userland.show import interval


def not_run(p: Process, name: str, message: str = "failed to run command {}") -> Callable[[OSError], int]:
    """What coreutils' programs say of a command that they can't run: 127 if there is none, else 126."""

    def failed(exc: OSError) -> int:
        text = message.format(quoted(name))
        return p.fail(f"{text}: {exc.strerror}", 127 if isinstance(exc, FileNotFoundError) else 126)

    return failed


def executing(p: Process, name: str) -> Callable[[OSError], int]:
    """What util-linux's programs say of a command that they can't run."""

    def failed(exc: OSError) -> int:
        return p.fail(f"failed to execute {name}: {exc.strerror}", 127 if isinstance(exc, FileNotFoundError) else 126)

    return failed


@program("timeout")
async def timeout(p: Process) -> int:
    options = parse(
        p,
        "k:s:vfp",
        {
            "kill-after": "k",
            "signal": "s",
            "verbose": "v",
            "preserve-status": "p",
            "foreground": "f",
        },
        stop_at_operand=True,
        status=125,
    )
    if len(options.operands) < 2:
        usage(p, "missing operand", 125)
    text, *argv = options.operands
    factor = {"s": 1, "m": 60, "h": 3600, "d": 86400}.get(text[-1:], 0)
    amount = interval(text[:-1] if factor else text)
    if amount is None:
        usage(p, f"invalid time interval {quoted(text)}", 125)
    seconds = min((amount or 0.0) * (factor or 1), 1e8)
    name = options.values.get("s", "TERM").removeprefix("SIG")
    number = int(name) if name.isdigit() else abi.SIGNALS.get(name)
    if number is None:
        usage(p, f"{quoted(name)}: invalid signal", 125)
    child = p.spawn(argv, call="clone", failed=lambda child, exc: not_run(child, argv[0])(exc))
    try:
        return await asyncio.wait_for(p.wait(child), seconds or None)
    except TimeoutError:
        child.signal(number or abi.SIGTERM)
        status = await p.wait(child)
        return status if "p" in options else 137 if number == abi.SIGKILL else 124


@program("nohup")
async def nohup(p: Process) -> int:
    options = parse(p, "", stop_at_operand=True, status=125)
    if not options.operands:
        usage(p, "missing operand", 125)
    p.on_signal(abi.SIGHUP, None)
    if p.isatty(1):
        p.stderr.write("nohup: ignoring input and appending output to 'nohup.out'\n")
        fd = p.open("nohup.out", abi.O_WRONLY | abi.O_CREAT | abi.O_APPEND, 0o600)
        p.dup2(fd, 1)
        p.close(fd)
    return await p.exec(options.operands, failed=not_run(p, options.operands[0]))


@program("nice")
async def nice(p: Process) -> int:
    words = p.argv[1:]
    if words and words[0][:1] == "-" and words[0][1:].isdigit():
        words = ["-n", words[0][1:], *words[1:]]
    options = parse(p, "n:", {"adjustment": "n"}, stop_at_operand=True, status=125, arguments=words)
    adjustment = options.values.get("n", "10")
    if not re.fullmatch(r"[-+]?\d{1,9}", adjustment):
        return p.fail(f"invalid adjustment {quoted(adjustment)}", 125)
    if not options.operands:
        p.print(0)
        return 0
    return await p.exec(options.operands, failed=not_run(p, options.operands[0], "{}"))


@program("stdbuf")
async def stdbuf(p: Process) -> int:
    options = parse(p, "i:o:e:", {"input": "i", "output": "o", "error": "e"}, stop_at_operand=True, status=125)
    if not options.operands:
        usage(p, "missing operand", 125)
    if not options.values:
        usage(p, "you must specify a buffering mode option", 125)
    return await p.exec(options.operands, failed=not_run(p, options.operands[0]))


@program("setsid")
async def setsid(p: Process) -> int:
    options = parse(p, "cfw", {"ctty": "c", "fork": "f", "wait": "w"}, stop_at_operand=True)
    words = options.operands
    if not words:
        usage(p, "no command specified")
    if p.group_leader is p or "f" in options:

        async def main(child: Process) -> int:
            child.new_session()
            return await child.exec(words, failed=executing(child, words[0]))

        child = p.fork(main)
        return await p.wait(child) if "w" in options else 0
    p.new_session()
    return await p.exec(words, failed=executing(p, words[0]))


@program("ionice", "chrt", "taskset")
async def scheduled(p: Process) -> int:
    """Classes of scheduling, which the lab's kernel doesn't have: the command runs as any other."""
    short = {"ionice": "c:n:p:P:u:t", "chrt": "abdfioRrmpvT:P:D:G", "taskset": "acp"}[p.program]
    long = {"ionice": {"class": "c", "classdata": "n", "pid": "p", "ignore": "t"}, "taskset": {"cpu-list": "c"}}
    options = parse(p, short, long.get(p.program, {"fifo": "f", "other": "o", "rr": "r"}), stop_at_operand=True)
    words = list(options.operands)
    if p.program == "ionice" and not words:
        p.print("none: prio 4")
        return 0
    if "p" in options:
        return p.fail("embedded lab: processes of the lab have no scheduling classes")
    if p.program in ("chrt", "taskset") and words:
        words.pop(0)  # the priority, or the mask
    if not words:
        usage(p, "bad usage")
    return await p.exec(words, failed=executing(p, words[0]))


@program("setarch")
async def setarch(p: Process) -> int:
    words = p.argv[1:]
    if p.argv[0].endswith("setarch") and words and not words[0].startswith("-"):
        words.pop(0)
    options = parse(p, "RZXLv3BIFTS", stop_at_operand=True, arguments=words)
    return await _shell_or(p, options.operands)


async def _shell_or(p: Process, words: list[str]) -> int:
    words = words or [p.env.get("SHELL", "/bin/sh")]
    return await p.exec(words, failed=executing(p, words[0]))


_NAMESPACES = {
    "m": "CLONE_NEWNS",
    "U": "CLONE_NEWUSER",
    "n": "CLONE_NEWNET",
    "p": "CLONE_NEWPID",
    "u": "CLONE_NEWUTS",
    "i": "CLONE_NEWIPC",
}


@program("unshare")
async def unshare(p: Process) -> int:
    options = parse(
        p,
        "mUnpuirf",
        {"mount": "m", "user": "U", "net": "n", "pid": "p", "uts": "u", "ipc": "i", "map-root-user": "r", "fork": "f"},
        stop_at_operand=True,
    )
    flags = [_NAMESPACES["U"]] if "r" in options and "U" not in options else []
    flags += [_NAMESPACES[flag] for flag in options.flags if flag in _NAMESPACES]
    try:
        if flags:
            p.unshare("|".join(flags))
    except OSError as exc:
        return p.fail(f"unshare failed: {exc.strerror}")
    return await _shell_or(p, options.operands)


# In the order in which nsenter enters them.
_ENTERED = {
    "i": ("ipc", "CLONE_NEWIPC"),
    "u": ("uts", "CLONE_NEWUTS"),
    "n": ("net", "CLONE_NEWNET"),
    "p": ("pid", "CLONE_NEWPID"),
    "m": ("mnt", "CLONE_NEWNS"),
}


@program("nsenter")
async def nsenter(p: Process) -> int:
    """Opens the namespaces of a process; another one's can't be entered without CAP_SYS_ADMIN."""
    options = parse(
        p,
        "at:m::u::i::n::p::U::C::r::w::S:G:F",
        {
            "all": "a",
            "target": "t",
            "mount": "m",
            "uts": "u",
            "ipc": "i",
            "net": "n",
            "pid": "p",
            "user": "U",
            "root": "r",
            "wd": "w",
        },
        stop_at_operand=True,
    )
    target = options.values.get("t", "")
    if not target:
        usage(p, "no target PID specified")
    if not target.isdigit():
        return p.fail(f"failed to parse pid: {quoted(target)}")
    if p.find_process(int(target)) is None:
        return p.fail(f"cannot open /proc/{target}/ns/{'user' if 'a' in options else 'mnt'}: No such file or directory")
    for letter, (name, flag) in _ENTERED.items():
        if letter in options.flags or letter in options.values or "a" in options:
            fd = p.open_namespace(int(target), name)
            try:
                p.setns(fd, flag)
            except OSError as exc:
                return p.fail(f"reassociate to namespace 'ns/{name}' failed: {exc.strerror}")
            p.close(fd)
    return p.fail("embedded lab: entering another namespace is not simulated")


@program("setpriv")
async def setpriv(p: Process) -> int:
    names = {"reuid": "reuid=", "regid": "regid=", "clear-groups": "clear-groups", "no-new-privs": "no-new-privs"}
    options = parse(p, "d", {**names, "dump": "d"}, stop_at_operand=True, status=127)
    if "d" in options:
        if options.operands:
            usage(p, "--dump is incompatible with all other options", 127)
        bounding = ",".join(name[4:].lower() for name in abi.CAPABILITIES if name in p.bounding_capabilities)
        groups = ",".join(map(str, p.groups))
        sealed = p.container is not None and p.container.spec.no_new_privileges
        p.print(
            f"uid: {p.uid}\neuid: {p.euid}\ngid: {p.gid}\negid: {p.egid}\n"
            f"Supplementary groups: {groups or '[none]'}\nno_new_privs: {int(sealed)}\n"
            "Inheritable capabilities: [none]\n"
            f"Ambient capabilities: [none]\nCapability bounding set: {bounding or '[none]'}\n"
            "Securebits: [none]\nParent death signal: [none]"
        )
        return 0
    if not options.operands:
        usage(p, "No program specified", 127)
    for name, path in (("regid", "/etc/group"), ("reuid", "/etc/passwd")):
        value = options.values.get(name, "0")
        if not value.isdigit():
            entry = next((e for e in entries(p, path) if e[0] == value), None)
            if entry is None:
                usage(p, f"failed to parse {name}", 127)
            options.values[name] = entry[2] if entry is not None else ""
    try:
        if "clear-groups" in options.flags:
            p.groups = []
        if "regid" in options.values:
            p.setgid(int(options.values["regid"]))
        if "reuid" in options.values:
            p.setuid(int(options.values["reuid"]))
    except OSError as exc:
        return p.fail(f"setresuid failed: {exc.strerror}", 127)
    return await p.exec(options.operands, failed=executing(p, options.operands[0]))


@program("chroot")
async def chroot(p: Process) -> int:
    options = parse(p, "", {"userspec": "userspec=", "groups": "groups=", "skip-chdir": "skip"}, stop_at_operand=True)
    if not options.operands:
        usage(p, "missing operand", 125)
    root, *words = options.operands
    try:
        found = p.stat(root)
    except OSError as exc:
        return p.fail(f"cannot change root directory to {quoted(root)}: {exc.strerror}", 125)
    if not found.is_dir:
        return p.fail(f"cannot change root directory to {quoted(root)}: Not a directory", 125)
    if "CAP_SYS_CHROOT" not in p.capabilities:
        return p.fail(f"cannot change root directory to {quoted(root)}: Operation not permitted", 125)
    if p.real_path(root) != "/":
        return p.fail("embedded lab: another root directory is not simulated", 125)
    p.cwd = "/"
    words = words or [p.env.get("SHELL", "/bin/sh"), "-i"]
    return await p.exec(words, failed=not_run(p, words[0]))


@program("flock")
async def flock(p: Process) -> int:
    """Locks a file. Nothing else in the lab holds locks, so it never waits."""
    options = parse(
        p,
        "c:sexnuw:E:oFv",
        {"command": "c", "shared": "s", "exclusive": "e", "nonblock": "n", "unlock": "u", "timeout": "w", "close": "o"},
        stop_at_operand=True,
        status=64,
    )
    if not options.operands:
        usage(p, "not enough arguments", 64)
    file, *words = options.operands
    if file.isdigit() and not words:
        return 0 if int(file) in p.fds else p.fail(f"{file}: Bad file descriptor", 65)
    try:
        fd = p.open(file, abi.O_RDONLY | abi.O_CREAT, 0o666)
    except OSError as exc:
        return p.fail(f"cannot open lock file {file}: {exc.strerror}", 66)
    if words[:1] == ["-c"] and len(words) == 2:
        words = [p.env.get("SHELL", "/bin/sh"), "-c", words[1]]
    if not words:
        usage(p, "requires file descriptor, file or directory", 64)
    child = p.spawn(words, call="clone", failed=lambda child, exc: executing(child, words[0])(exc))
    status = await p.wait(child)
    p.close(fd)
    return status


@program("script")
async def script(p: Process) -> int:
    """Without a pseudo-terminal of its own: what the command writes goes to the typescript as well."""
    options = parse(
        p,
        "aB:c:efI:O:o:qT:m:t::",
        {"command": "c", "quiet": "q", "return": "e", "append": "a", "flush": "f"},
    )
    if "c" not in options.values:
        return p.fail("embedded lab: the lab's script runs one command: script -c COMMAND [FILE]")
    file = options.operands[0] if options.operands else "typescript"
    shell = p.env.get("SHELL", "/bin/sh")
    argv = [posixpath.basename(shell), "-c", options.values["c"]]
    try:
        fd = p.open(file, abi.O_WRONLY | abi.O_CREAT | (abi.O_APPEND if "a" in options else abi.O_TRUNC), 0o666)
    except OSError as exc:
        return p.fail(f"cannot open {file}: {exc.strerror}")
    if "q" not in options:
        p.print(f"Script started, output log file is '{file}'.")
    reading, writing = p.pipe()

    async def main(child: Process) -> int:
        for number in (1, 2):
            child.dup2(writing, number)
        for number in (reading, writing, fd):
            child.close(number)
        try:
            executable = child.loaded(shell, argv)
        except OSError as exc:
            child.refused(shell, argv, exc)
            return executing(child, shell)(exc)
        return await child.run_executable(executable)

    child = p.fork(main)
    p.close(writing)
    while chunk := await p.read(reading):
        p.write(1, chunk)
        p.write(fd, chunk)
        await p.drain(1)
    status = await p.wait(child)
    if "q" not in options:
        p.print("Script done.")
    return status if "e" in options else 0


@program("runuser")
async def runuser(p: Process) -> int:
    """As su, for root only; with -u it runs a program without a shell."""
    if p.euid:
        return p.fail("may not be used by non-root users")
    if not any(word == "-u" or word.startswith(("-u", "--user")) for word in p.argv[1:]):
        return int(await su(p))
    options = parse(p, "u:g:G:", {"user": "u"}, stop_at_operand=True)
    entry = next((e for e in entries(p, "/etc/passwd") if e[0] == options.values["u"]), None)
    if entry is None:
        return p.fail(
            f"user {options.values['u']} does not exist or the user entry does not contain all the required fields"
        )
    if not options.operands:
        usage(p, "no command was specified")
    p.setgid(int(entry[3]))
    p.groups = [int(e[2]) for e in entries(p, "/etc/group") if entry[0] in e[3].split(",")]
    p.setuid(int(entry[2]))
    return await p.exec(options.operands, failed=executing(p, options.operands[0]))


@program("ld.so")
async def loader(p: Process) -> int:
    """The dynamic loader as a program: it maps another one without an execve, where the file system permits that."""
    words = p.argv[1:]
    if words[:1] == ["--version"]:
        p.print("ld.so (Debian GLIBC 2.41-12) stable release version 2.41.")
        return 0
    verify = words[:1] == ["--verify"]
    words = words[1:] if verify else words
    if not words:
        p.stderr.write(f"{p.argv[0]}: missing program name\nTry '{p.argv[0]} --help' for more information.\n")
        return 1
    if words[0].startswith("--"):
        return p.fail(f"embedded lab: the lab's loader has no option {words[0]}")

    def broken(why: str) -> int:
        return 1 if verify else _loading(p, words[0], why)

    try:
        path = words[0] if "/" in words[0] else f"/lib/x86_64-linux-gnu/{words[0]}"
        data, mount = p.read_bytes(path), p.mount_of(path)
        if not data.startswith(b"\x7fELF"):
            return broken("invalid ELF header" if len(data) > 4 else "file too short")
        if verify:
            return 0
        if mount.noexec:
            return _loading(p, words[0], "failed to map segment from shared object")
        if p.env.get("LD_TRACE_LOADED_OBJECTS"):
            p.print("\tlinux-vdso.so.1 (0x00007fff5a9f2000)")
            p.print("\tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f2c8a1d4000)")
            p.print("\t/lib64/ld-linux-x86-64.so.2 (0x00007f2c8a3d0000)")
            return 0
        executable = p.mapped(path, words)
    except OSError as exc:
        return broken(
            f"cannot open shared object file: {exc.strerror}" if abi.errno_name(exc) == "ENOENT" else str(exc.strerror)
        )
    return await executable.main(p)


def _loading(p: Process, name: str, why: str) -> int:
    p.stderr.write(f"{name}: error while loading shared libraries: {name}: {why}\n")
    return 127
