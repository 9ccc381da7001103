"""System programs: hostname, uname, date, df, mount, free, uptime, tty, and privileged ones."""

from __future__ import annotations

import time

from ekslab.node.dates import formatted
from ekslab.node.limits import Disk
from ekslab.node.process import Process
from ekslab.node.procfiles import KERNEL_VERSION
from ekslab.node.procfs import KERNEL_RELEASE, MEMORY_KIB
from ekslab.node.programs import program
from ekslab.node.userland.files import parse_date
from ekslab.node.userland.options import parse, quoted, usage
from ekslab.node.userland.show import human


def host_name(p: Process) -> str:
    return p.container.hostname if p.container is not None else p.kernel.hostname


@program("pwd")
async def pwd(p: Process) -> int:
    parse(p, "LP", {"logical": "L", "physical": "P"})
    p.print(p.cwd)
    return 0


@program("hostname")
async def hostname(p: Process) -> int:
    options = parse(
        p, "fsiId", {"fqdn": "f", "long": "f", "short": "s", "ip-address": "i", "all-ip-addresses": "I", "domain": "d"}
    )
    if options.operands:
        return p.fail("you must be root to change the host name" if p.euid else "sethostname: Operation not permitted")
    if "i" in options or "I" in options:
        p.print(p.ip + (" " if "I" in options else ""))
    elif "d" in options:
        p.print("")
    else:
        p.print(host_name(p).split(".")[0] if "s" in options else host_name(p))
    return 0


@program("uname")
async def uname(p: Process) -> int:
    options = parse(
        p,
        "asnrvmpio",
        {
            "all": "a",
            "kernel-name": "s",
            "nodename": "n",
            "kernel-release": "r",
            "kernel-version": "v",
            "machine": "m",
            "operating-system": "o",
        },
    )
    values = {
        "s": "Linux",
        "n": host_name(p),
        "r": KERNEL_RELEASE,
        "v": KERNEL_VERSION,
        "m": "x86_64",
        "p": "unknown",
        "i": "unknown",
        "o": "GNU/Linux",
    }
    if "a" in options:
        wanted = "snrvmo"
    else:
        wanted = "".join(letter for letter in "snrvmpio" if letter in options) or "s"
    p.print(" ".join(values[letter] for letter in wanted))
    return 0


@program("arch")
async def arch(p: Process) -> int:
    p.print("x86_64")
    return 0


@program("nproc")
async def nproc(p: Process) -> int:
    p.print(2)
    return 0


_PRECISIONS = {
    "date": "%Y-%m-%d",
    "hours": "%Y-%m-%dT%H+00:00",
    "minutes": "%Y-%m-%dT%H:%M+00:00",
    "seconds": "%Y-%m-%dT%H:%M:%S+00:00",
    "ns": "%Y-%m-%dT%H:%M:%S,%N+00:00",
}


@program("date")
async def date(p: Process) -> int:
    options = parse(
        p,
        "uRd:I::r:",
        {
            "utc": "u",
            "universal": "u",
            "date": "d",
            "rfc-email": "R",
            "iso-8601": "I",
            "reference": "r",
            "rfc-3339": "rfc-3339=",
        },
    )
    moment = p.kernel.now()
    if "r" in options.values:
        try:
            moment = p.stat(options.values["r"]).mtime
        except OSError as exc:
            return p.fail(f"{options.values['r']}: {exc.strerror}")
    elif "d" in options.values:
        moment = parse_date(p, options.values["d"])
    if options.operands and not options.operands[0].startswith("+"):
        return p.fail(f"invalid date {quoted(options.operands[0])}")
    if options.operands:
        format = options.operands[0][1:]
    elif "R" in options:
        format = "%a, %d %b %Y %H:%M:%S +0000"
    elif "I" in options:
        precision = options.values.get("I", "date")
        if precision not in _PRECISIONS:
            usage(p, f"invalid argument {quoted(precision)} for '--iso-8601'")
        format = _PRECISIONS[precision]
    elif "rfc-3339" in options.values:
        format = "%Y-%m-%d" if options.values["rfc-3339"] == "date" else "%Y-%m-%d %H:%M:%S+00:00"
    else:
        format = "%a %b %e %H:%M:%S UTC %Y"
    p.print(formatted(moment, format))
    return 0


@program("uptime")
async def uptime(p: Process) -> int:
    seconds = (p.kernel.now() - p.kernel.boot_time) // 1_000_000_000
    hours, minutes = seconds // 3600, seconds % 3600 // 60
    up = f"{hours}:{minutes:02d}" if hours else f"{minutes} min"
    now = time.strftime("%H:%M:%S", time.gmtime(p.kernel.now() // 1_000_000_000))
    p.print(f" {now} up {up},  0 users,  load average: 0.08, 0.04, 0.01")
    return 0


@program("free")
async def free(p: Process) -> int:
    options = parse(p, "bkmgh", {"human": "h", "mebi": "m", "kibi": "k"})
    total = MEMORY_KIB
    values = [total, total // 4, total // 2, 1024, total // 4, total * 3 // 4]
    divisor = 1024 if "m" in options else 1024**2 if "g" in options else 1
    shown = [human(value * 1024) + "i" if "h" in options else str(value // divisor) for value in values]
    p.print("               total        used        free      shared  buff/cache   available")
    p.print("Mem:    " + "".join(text.rjust(12) for text in shown))
    p.print("Swap:   " + "".join(text.rjust(12) for text in ("0B" if "h" in options else "0",) * 3))
    return 0


@program("df")
async def df(p: Process) -> int:
    options = parse(p, "ahTHikP", {"human-readable": "h", "print-type": "T", "all": "a", "inodes": "i"})
    if "i" in options:
        return p.fail("option -i is not simulated in this lab")
    rows = []
    for mount in p.filesystem.mount_points():
        if mount.kind in ("proc", "sysfs", "devpts", "mqueue") and not ("a" in options or options.operands):
            continue
        rows.append((mount.source, mount.kind, *_space(mount.root.disk), mount.path))
    if options.operands:
        wanted = []
        for name in options.operands:
            await p.cooperate()
            if not p.exists(name):
                p.fail(f"{name}: No such file or directory")
                continue
            wanted.append(p.mount_of(name).path)
        rows = [row for row in rows if row[-1] in wanted]
        if not rows:
            return 1
    table = [
        [
            "Filesystem",
            "Type",
            "Size" if "h" in options else "1K-blocks",
            "Used",
            "Avail" if "h" in options else "Available",
            "Use%",
            "Mounted on",
        ]
    ]
    for source, kind, size, taken, left, path in rows:
        numbers = [size, taken, left]
        shown = [human(value * 1024) if "h" in options else str(value) for value in numbers]
        table.append([source, kind, *shown, f"{-(-taken * 100 // size) if size else 0}%", path])
    if "T" not in options:
        table = [[row[0], *row[2:]] for row in table]
    left = 2 if "T" in options else 1
    least = [14, 4, *[5] * 3, 4, 0] if left == 2 else [14, *[5] * 3, 4, 0]
    widths = [max(least[index], *(len(row[index]) for row in table)) for index in range(len(table[0]))]
    for row in table:
        cells = [
            cell.ljust(widths[i]) if i < left or i == len(row) - 1 else cell.rjust(widths[i])
            for i, cell in enumerate(row)
        ]
        p.print(" ".join(cells).rstrip())
    return 0


def _space(disk: Disk | None) -> tuple[int, int, int]:
    """Size, use and what is left of a file system, in KiB."""
    return (disk.size // 1024, -(-disk.used // 1024), disk.free // 1024) if disk is not None else (0, 0, 0)


@program("mount")
async def mount(p: Process) -> int:
    if len(p.argv) > 1:
        if p.euid or "CAP_SYS_ADMIN" not in p.capabilities:
            return p.fail(f"{p.argv[-1]}: permission denied.", 32)
        return p.fail("mounting is not simulated in this lab", 32)
    for line in p.read_text("/proc/mounts").splitlines():
        source, path, kind, flags = line.split()[:4]
        p.print(f"{source} on {path} type {kind} ({flags})")
    return 0


@program("umount")
async def umount(p: Process) -> int:
    if len(p.argv) < 2:
        usage(p, "bad usage")
    if "CAP_SYS_ADMIN" not in p.capabilities:
        return p.fail(f"{p.argv[-1]}: must be superuser to unmount.", 32)
    return p.fail("unmounting is not simulated in this lab", 32)


@program("tty")
async def tty(p: Process) -> int:
    if p.tty is None or not p.isatty(0):
        p.print("not a tty")
        return 1
    p.print(p.tty.path)
    return 0


@program("clear", "reset")
async def clear(p: Process) -> int:
    p.stdout.write("\x1b[H\x1b[2J\x1b[3J")
    return 0


@program("stty")
async def stty(p: Process) -> int:
    if p.tty is None or not p.isatty(0):
        return p.fail("'standard input': Inappropriate ioctl for device")
    if p.argv[1:] == ["size"]:
        p.print(f"{p.tty.rows} {p.tty.columns}")
    elif p.argv[1:] in ([], ["-a"]):
        p.print(f"speed 38400 baud; rows {p.tty.rows}; columns {p.tty.columns};")
    elif p.argv[1:] == ["-echo"]:
        p.tty.echo = False
    elif p.argv[1:] in (["echo"], ["sane"]):
        p.tty.echo = True
    else:
        return p.fail(f"invalid argument {quoted(p.argv[1])}")
    return 0


@program("sync")
async def sync(p: Process) -> int:
    return 0


@program("dmesg")
async def dmesg(p: Process) -> int:
    if "CAP_SYSLOG" not in p.capabilities and "CAP_SYS_ADMIN" not in p.capabilities:
        return p.fail("read kernel buffer failed: Operation not permitted")
    p.print(f"[    0.000000] Linux version {KERNEL_RELEASE} {KERNEL_VERSION}")
    return 0


@program("du")
async def du(p: Process) -> int:
    options = parse(
        p, "ahskcd:x", {"summarize": "s", "human-readable": "h", "all": "a", "max-depth": "d", "total": "c"}
    )
    most = (
        0 if "s" in options else int(options.values.get("d", "99")) if options.values.get("d", "99").isdigit() else 99
    )
    status = 0

    async def measure(path: str, depth: int) -> int:
        await p.cooperate()
        found = p.lstat(path)
        blocks = 4 if found.is_dir else -(-found.size // 4096) * 4 if found.is_file else 0
        if found.is_dir:
            for name in p.listdir(path):
                try:
                    blocks += await measure(f"{path.rstrip('/')}/{name}", depth + 1)
                except OSError as exc:
                    p.fail(f"cannot access {quoted(exc.filename)}: {exc.strerror}")
        if (found.is_dir or "a" in options or depth == 0) and depth <= most:
            p.print(f"{human(blocks * 1024) if 'h' in options else blocks}\t{path}")
        return blocks

    total = 0
    for name in options.operands or ["."]:
        await p.cooperate()
        try:
            total += await measure(name, 0)
        except OSError as exc:
            p.fail(f"cannot access {quoted(name)}: {exc.strerror}")
            status = 1
    if "c" in options:
        p.print(f"{human(total * 1024) if 'h' in options else total}\ttotal")
    return status


@program("file")
async def file(p: Process) -> int:
    status = 0
    for name in parse(p, "bi").operands:
        await p.cooperate()
        try:
            found = p.lstat(name)
        except OSError as exc:
            p.print(f"{name}: cannot open `{name}' ({exc.strerror})")
            continue
        if found.is_dir:
            what = "directory"
        elif found.is_symlink:
            what = f"symbolic link to {p.readlink(name)}"
        elif not found.is_file:
            what = "character special"
        else:
            data = p.read_bytes(name)
            if data.startswith(b"\x7fELF"):
                what = "ELF 64-bit LSB pie executable, x86-64, version 1 (SYSV), dynamically linked"
            elif data.startswith(b"#!"):
                what = f"{data.splitlines()[0][2:].decode(errors='replace').strip()} script, ASCII text executable"
            else:
                what = "empty" if not data else "data" if b"\0" in data else "ASCII text"
        p.print(f"{name}: {what}")
    return status


@program("modprobe", "insmod")
async def modprobe(p: Process) -> int:
    if len(p.argv) < 2:
        return p.fail("ERROR: missing module name")
    if "CAP_SYS_MODULE" not in p.capabilities:
        return p.fail(f"ERROR: could not insert module {p.argv[1]}: Operation not permitted")
    return p.fail(f"FATAL: Module {p.argv[1]} not found in directory /lib/modules/{KERNEL_RELEASE}")
