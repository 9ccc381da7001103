"""Programs that tell of the machine: findmnt, lscpu, getconf, locale, tput, whereis; and envsubst, more, run-parts."""

from __future__ import annotations

import posixpath
import re

from ekslab.names import suffix
from ekslab.node.filesystem import MountPoint
from ekslab.node.process import Process
from ekslab.node.programs import program
from ekslab.node.userland.options import parse, quoted, usage
from ekslab.node.userland.show import emit, file_chunks, whole


@program("findmnt")
async def findmnt(p: Process) -> int:
    options = parse(
        p,
        "abcDeino:rlt:T:uvm",
        {"noheadings": "n", "output": "o", "raw": "r", "list": "l", "types": "t", "target": "T", "kernel": "k"},
    )
    for letter in "abDeium":
        if letter in options:
            return p.fail(f"option -{letter} is not simulated in this lab")
    names = [name.upper() for name in options.values.get("o", "TARGET,SOURCE,FSTYPE,OPTIONS").split(",")]
    unknown = next((name for name in names if name not in ("TARGET", "SOURCE", "FSTYPE", "OPTIONS")), None)
    if unknown is not None:
        return p.fail(f"embedded lab: the lab's findmnt has no column {unknown}")
    mounts = p.filesystem.mount_points()
    if "T" in options.values:
        mounts = [p.mount_of(options.values["T"])]
    elif options.operands:
        mounts = [mount for mount in mounts if options.operands[0] in (mount.path, mount.source)]
    if "t" in options.values:
        mounts = [mount for mount in mounts if mount.kind in options.values["t"].split(",")]
    flat = bool({"r", "l", "t", "T"} & set(options.flags)) or bool(options.operands)
    ordered = mounts if flat else _tree_order(mounts)
    rows = [[_mount_cell(name, mount, mounts, flat) for name in names] for mount in ordered]
    if not rows:
        return 1
    if "n" not in options:
        rows.insert(0, names)
    widths = [max(len(row[index]) for row in rows) for index in range(len(names))]
    for row in rows:
        cells = row if "r" in options else [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        p.print(" ".join(cells).rstrip())
    return 0


def _parent(mount: MountPoint, mounts: list[MountPoint]) -> MountPoint | None:
    above = [one for one in mounts if one is not mount and f"{mount.path}/".startswith(one.path.rstrip("/") + "/")]
    return max(above, key=lambda one: len(one.path), default=None)


def _tree_order(mounts: list[MountPoint]) -> list[MountPoint]:
    ordered: list[MountPoint] = []

    def add(mount: MountPoint) -> None:
        ordered.append(mount)
        for one in mounts:
            if _parent(one, mounts) is mount:
                add(one)

    for mount in mounts:
        if _parent(mount, mounts) is None:
            add(mount)
    return ordered


def _mount_cell(name: str, mount: MountPoint, mounts: list[MountPoint], flat: bool) -> str:
    if name != "TARGET" or flat:
        return {"SOURCE": mount.source, "FSTYPE": mount.kind, "OPTIONS": mount.options}.get(name, mount.path)
    text = mount.path
    parent, first = _parent(mount, mounts), True
    while parent is not None:
        siblings = [one for one in mounts if _parent(one, mounts) is parent]
        last = siblings[-1] is mount
        text = (("└─" if last else "├─") if first else ("  " if last else "│ ")) + text
        mount, parent, first = parent, _parent(parent, mounts), False
    return text


@program("mountpoint")
async def mountpoint(p: Process) -> int:
    options = parse(p, "dqx", {"quiet": "q", "fs-devno": "d"})
    if len(options.operands) != 1:
        usage(p, "bad usage")
    path = options.operands[0]
    try:
        real = p.real_path(path)
    except OSError as exc:
        return 1 if "q" in options else p.fail(f"{path}: {exc.strerror}")
    is_one = any(mount.path == real for mount in p.filesystem.mount_points())
    if "q" not in options:
        p.print(f"{path} is {'' if is_one else 'not '}a mountpoint")
    return 0 if is_one else 32


@program("lscpu")
async def lscpu(p: Process) -> int:
    if p.argv[1:]:
        return p.fail("embedded lab: the lab's lscpu has no options")
    p.close(p.open("/proc/cpuinfo"))
    for title, value in (
        ("Architecture", "x86_64"),
        ("  CPU op-mode(s)", "32-bit, 64-bit"),
        ("  Byte Order", "Little Endian"),
        ("CPU(s)", "2"),
        ("  On-line CPU(s) list", "0,1"),
        ("Vendor ID", "AuthenticAMD"),
        ("  Model name", "AMD EPYC 7R13 Processor"),
        ("    Thread(s) per core", "2"),
        ("    Core(s) per socket", "1"),
        ("    Socket(s)", "1"),
        ("Virtualization features", ""),
        ("  Hypervisor vendor", "KVM"),
        ("  Virtualization type", "full"),
    ):
        p.print(f"{title + ':':<25} {value}".rstrip())
    return 0


_CONFIGURATION = {
    "ARG_MAX": "2097152",
    "CHILD_MAX": "31447",
    "CLK_TCK": "100",
    "HOST_NAME_MAX": "64",
    "LONG_BIT": "64",
    "NAME_MAX": "255",
    "NGROUPS_MAX": "65536",
    "OPEN_MAX": "1024",
    "PAGESIZE": "4096",
    "PAGE_SIZE": "4096",
    "PATH": "/bin:/usr/bin",
    "PATH_MAX": "4096",
    "PIPE_BUF": "4096",
    "GNU_LIBC_VERSION": "glibc 2.41",
    "_NPROCESSORS_CONF": "2",
    "_NPROCESSORS_ONLN": "2",
}


@program("getconf")
async def getconf(p: Process) -> int:
    words = p.argv[1:]
    if words == ["-a"]:
        for name, value in _CONFIGURATION.items():
            p.print(f"{name:<34} {value}")
        return 0
    if not words:
        p.stderr.write("Usage: getconf [-v SPEC] VAR\n  or:  getconf [-v SPEC] PATH_VAR PATH\n")
        return 2
    if words[0] not in _CONFIGURATION:
        return p.fail(f"Unrecognized variable `{words[0]}'", 2)
    p.print(_CONFIGURATION[words[0]])
    return 0


_CATEGORIES = (
    *("CTYPE", "NUMERIC", "TIME", "COLLATE", "MONETARY", "MESSAGES"),
    *("PAPER", "NAME", "ADDRESS", "TELEPHONE", "MEASUREMENT", "IDENTIFICATION"),
)


@program("locale")
async def locale(p: Process) -> int:
    options = parse(p, "amckv", {"all-locales": "a", "charmaps": "m"})
    if "a" in options:
        p.print("C\nC.utf8\nPOSIX")
        return 0
    if options.flags or options.operands:
        if options.operands == ["charmap"]:
            p.print("UTF-8" if "UTF-8" in p.env.get("LC_ALL", p.env.get("LANG", "")) else "ANSI_X3.4-1968")
            return 0
        return p.fail("embedded lab: the lab's locale shows the settings, and the names with -a")
    language = p.env.get("LANG", "")
    p.print(f"LANG={language}\nLANGUAGE={p.env.get('LANGUAGE', '')}")
    for name in _CATEGORIES:
        key = f"LC_{name}"
        given = p.env.get("LC_ALL") or p.env.get(key)
        own = key in p.env and not p.env.get("LC_ALL")
        p.print(f"{key}={p.env[key]}" if own else f'{key}="{given or language or "POSIX"}"')
    p.print(f"LC_ALL={p.env.get('LC_ALL', '')}")
    return 0


@program("tput")
async def tput(p: Process) -> int:
    words = [word for word in p.argv[1:] if not word.startswith("-T")]
    if not words:
        return p.fail("usage: tput [-V] [-S] [-T term] capname", 2)
    if not p.env.get("TERM") and len(words) == len(p.argv) - 1:
        p.stderr.write("tput: No value for $TERM and no -T specified\n")
        return 2
    texts = {
        "clear": "\x1b[H\x1b[2J\x1b[3J",
        "bold": "\x1b[1m",
        "sgr0": "\x1b(B\x1b[m",
        "smul": "\x1b[4m",
        "rmul": "\x1b[24m",
        "rev": "\x1b[7m",
        "civis": "\x1b[?25l",
        "cnorm": "\x1b[?25h",
        "el": "\x1b[K",
        "bel": "\a",
    }
    name, *values = words
    if name in ("cols", "lines", "colors"):
        size = (p.tty.columns, p.tty.rows) if p.tty is not None else (80, 24)
        p.print({"cols": size[0], "lines": size[1], "colors": 8}[name])
    elif name in ("setaf", "setab") and values and values[0].isdigit():
        p.stdout.write(f"\x1b[{3 if name == 'setaf' else 4}{int(values[0]) % 8}m")
    elif name == "cup" and len(values) == 2:
        p.stdout.write(f"\x1b[{int(values[0]) + 1};{int(values[1]) + 1}H")
    elif name in texts:
        p.stdout.write(texts[name])
    else:
        return p.fail(f"embedded lab: the lab's tput has no capability '{name}'", 4)
    return 0


@program("whereis")
async def whereis(p: Process) -> int:
    options = parse(p, "bmsul", {})
    if not options.operands:
        usage(p, "not enough arguments")
    for name in options.operands:
        found = [
            f"{folder}/{name}" for folder in ("/usr/bin", "/usr/sbin", "/usr/local/bin") if p.exists(f"{folder}/{name}")
        ]
        found += [f"/etc/{name}"] if p.exists(f"/etc/{name}") and "b" not in options else []
        p.print(" ".join([f"{name}:", *found]))
    return 0


@program("mcookie")
async def mcookie(p: Process) -> int:
    p.print("".join(f"{ord(letter) % 16:x}" for letter in suffix(32, p.kernel.now())))
    return 0


@program("envsubst")
async def envsubst(p: Process) -> int:
    """Replaces $NAME and ${NAME} by the environment; with an argument only the variables that it names."""
    words = p.argv[1:]
    pattern = re.compile(r"\$(?:([A-Za-z_]\w*)|\{([A-Za-z_]\w*)\})", re.ASCII)
    listing = words[:1] in (["-v"], ["--variables"])
    words = words[1:] if listing else words
    if words and words[0].startswith("-") and len(words[0]) > 1:
        usage(p, f"unrecognized option '{words[0]}'")
    if len(words) > 1:
        return p.fail("too many arguments")
    named = {match[1] or match[2] for match in pattern.finditer(words[0])} if words else None
    if listing:
        if named is None:
            return p.fail("missing arguments")
        for name in dict.fromkeys(match[1] or match[2] for match in pattern.finditer(words[0])):
            p.print(name)
        return 0
    text = (await whole(p, "-")).decode("utf-8", "surrogateescape")

    def replace(match: re.Match[str]) -> str:
        name = match[1] or match[2]
        return match[0] if named is not None and name not in named else p.env.get(name, "")

    await emit(p, pattern.sub(replace, text).encode("utf-8", "surrogateescape"))
    return 0


@program("gettext", "ngettext")
async def gettext(p: Process) -> int:
    """There are no translations: the text itself."""
    words = [word for word in p.argv[1:] if not word.startswith("-")]
    if not words:
        return p.fail("missing arguments")
    if p.program == "ngettext" and len(words) > 2:
        p.stdout.write(words[0] if words[2] == "1" else words[1])
    else:
        p.stdout.write(words[-1])
    return 0


@program("more")
async def more(p: Process) -> int:
    """Without a terminal `more` is `cat` with titles; the lab's never stops in between."""
    options = parse(p, "dflcpsun:")
    status = 0
    for name in options.operands or ["-"]:
        try:
            if p.isdir(name):
                p.print(f"\n*** {name}: directory ***\n")
                continue
            if len(options.operands) > 1:
                p.print(f"::::::::::::::\n{name}\n::::::::::::::")
            async for chunk in file_chunks(p, name):
                await emit(p, chunk)
        except OSError as exc:
            status = p.fail(f"cannot open {name}: {exc.strerror}")
    return status


@program("run-parts")
async def run_parts(p: Process) -> int:
    options = parse(
        p, "a:u:v", {"test": "test", "list": "list", "verbose": "v", "arg": "a", "report": "report", "regex": "regex="}
    )
    if "regex" in options.values:
        return p.fail("option --regex is not simulated in this lab")
    if len(options.operands) != 1:
        p.stderr.write("run-parts: missing operand\nTry `run-parts --help' for more information.\n")
        return 1
    folder = options.operands[0]
    try:
        names = sorted(p.listdir(folder))
    except OSError as exc:
        return p.fail(f"failed to open directory {folder}: {exc.strerror}")
    status = 0
    for name in names:
        path = posixpath.join(folder, name)
        if not re.fullmatch(r"[A-Za-z0-9_-]+", name) or not p.isfile(path):
            continue
        if "list" in options.flags or ("test" in options.flags and p.access(path, 1)):
            p.print(path)
            continue
        if "test" in options.flags or not p.access(path, 1):
            continue
        if "v" in options:
            p.stderr.write(f"run-parts: executing {path}\n")
        code = await p.wait(p.spawn([path, *options.all("a")], call="clone"))
        if code:
            status = p.fail(f"{path} exited with return code {code}")
    return status


@program("update-alternatives")
async def update_alternatives(p: Process) -> int:
    words = [word for word in p.argv[1:] if word not in ("--quiet", "--verbose")]
    action, names = (words[0], words[1:]) if words else ("", [])
    if action in ("--display", "--query", "--list") and len(names) == 1:
        link = f"/etc/alternatives/{names[0]}"
        try:
            target = p.readlink(link)
        except OSError:
            p.stderr.write(f"update-alternatives: error: no alternatives for {names[0]}\n")
            return 2
        if action == "--list":
            p.print(target)
        else:
            p.print(f"{names[0]} - auto mode\n  link best version is {target}\n  link currently points to {target}")
        return 0
    if action == "--get-selections":
        for name in sorted(p.listdir("/etc/alternatives")):
            if name != "README":
                p.print(f"{name:<30} auto     {p.readlink(f'/etc/alternatives/{name}')}")
        return 0
    what = action or "without an action"
    return p.fail(f"embedded lab: update-alternatives {what} is not simulated", 2)


@program("logger")
async def logger(p: Process) -> int:
    """A container has no system logger."""
    parse(p, "it:p:sf:n:P:eud", {"tag": "t", "priority": "p", "stderr": "s", "file": "f"})
    p.unix_connect("/dev/log")
    return p.fail("socket /dev/log: No such file or directory")


@program("dnsdomainname", "domainname", "nisdomainname", "ypdomainname")
async def domain_name(p: Process) -> int:
    if p.argv[1:]:
        return p.fail(f"option {quoted(p.argv[1])} is not simulated in this lab")
    p.print("" if p.program == "dnsdomainname" else "(none)")
    return 0


@program("service")
async def service(p: Process) -> int:
    words = p.argv[1:]
    if words == ["--status-all"]:
        return 0
    if not words or words[0].startswith("-"):
        p.print("Usage: service < option > | --status-all | [ service_name [ command | --full-restart ] ]")
        return 1
    p.stderr.write(f"{words[0]}: unrecognized service\n")
    return 1
