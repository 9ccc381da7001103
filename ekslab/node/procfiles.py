"""Texts of files in /proc: limits, maps, namespaces, mounts, the network's tables; and the files that the lab lacks."""

from __future__ import annotations

import ipaddress
import json
import uuid
import zlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from ekslab.node.filesystem import Filesystem
from ekslab.node.inodes import ComputedFile, Directory, Inode, Symlink
from ekslab.node.kernel import Task

KERNEL_VERSION = "#1 SMP PREEMPT_DYNAMIC Tue Aug  5 00:00:00 UTC 2025"
LACKING = "embedded lab: the real kernel has this file, the lab doesn't\n"
_LIST = """
    buddyinfo cgroups config.gz consoles crypto devices diskstats dma execdomains fb interrupts iomem ioports kallsyms
    kcore keys key-users kmsg kpagecgroup kpagecount kpageflags locks misc mtrr pagetypeinfo schedstat slabinfo softirqs
    sysrq-trigger timer_list vmallocinfo vmstat zoneinfo
"""
LACKED = tuple(_LIST.split())
READ_ONLY = ("bus", "fs", "irq", "sys", "sysrq-trigger")
"""What the runtime makes read-only in /proc of a container that isn't privileged; it hides `HIDDEN`."""
HIDDEN = ("interrupts", "kcore", "keys", "timer_list")
_LIST = """
    arch_status autogroup auxv clear_refs coredump_filter cpuset io ksm_merging_pages ksm_stat mem mountstats numa_maps
    oom_adj pagemap personality projid_map sched schedstat sessionid setgroups smaps smaps_rollup stack syscall
    timens_offsets timers timerslack_ns wchan
"""
LACKED_OF_PROCESSES = tuple(_LIST.split())
_SETTINGS = {
    "sys/fs/file-max": "9223372036854775807",
    "sys/kernel/core_pattern": "core",
    "sys/kernel/dmesg_restrict": "0",
    "sys/kernel/kptr_restrict": "0",
    "sys/kernel/panic": "0",
    "sys/kernel/pid_max": "4194304",
    "sys/kernel/randomize_va_space": "2",
    "sys/kernel/random/entropy_avail": "256",
    "sys/kernel/random/poolsize": "256",
    "sys/kernel/threads-max": "62895",
    "sys/kernel/version": KERNEL_VERSION,
    "sys/net/core/somaxconn": "4096",
    "sys/net/ipv4/ip_forward": "0",
    "sys/net/ipv4/ip_local_port_range": "32768\t60999",
    "sys/net/ipv4/tcp_syncookies": "1",
    "sys/vm/max_map_count": "262144",
    "sys/vm/overcommit_memory": "1",
    "sys/vm/swappiness": "60",
}
_BOOT_ID = str(uuid.uuid4())
_NOT_WRITABLE = frozenset(("boot_id", "entropy_avail", "osrelease", "ostype", "poolsize", "uuid", "version"))


def text_file(text: str) -> ComputedFile:
    return ComputedFile(f"{text}\n".encode)


@cache
def _folders() -> dict[str, list[str]]:
    """The files of a real kernel's /proc, below the folders that hold them."""
    text = (Path(__file__).parent / "proc.json").read_text(encoding="utf-8")
    return {folder: names.split() for folder, names in json.loads(text).items()}


def folders(computed: Mapping[str, Inode]) -> dict[str, Inode]:
    """/proc/sys and the other folders beside the processes'; `computed` has some of their files, by path."""
    top = Directory(0o555, dev=0x2A)
    lacking = {mode: ComputedFile(LACKING.encode, mode) for mode in (0o444, 0o644)}
    for path, names in _folders().items():
        folder = top
        for part in path.split("/"):
            below = folder.entries.setdefault(part, Directory(0o555, dev=0x2A))
            assert isinstance(below, Directory)
            folder = below
        for name in names:
            mode = 0o644 if path.startswith("sys/") and name not in _NOT_WRITABLE else 0o444
            at = f"{path}/{name}"
            if at in _SETTINGS:
                folder.entries[name] = ComputedFile(f"{_SETTINGS[at]}\n".encode, mode)
            else:
                folder.entries[name] = computed.get(at, lacking[mode])
    return {name: inode for name, inode in top.entries.items() if inode is not None}


RANDOM: dict[str, Inode] = {
    "sys/kernel/random/boot_id": ComputedFile(f"{_BOOT_ID}\n".encode),
    "sys/kernel/random/uuid": ComputedFile(lambda: f"{uuid.uuid4()}\n".encode()),
}


def limits(process: Task) -> str:
    files = 1_048_576
    rows = [
        ("Max cpu time", "unlimited", "unlimited", "seconds"),
        ("Max file size", "unlimited", "unlimited", "bytes"),
        ("Max stack size", "8388608", "unlimited", "bytes"),
        ("Max core file size", "unlimited", "unlimited", "bytes"),
        ("Max processes", "unlimited", "unlimited", "processes"),
        ("Max open files", str(files), str(files), "files"),
        ("Max locked memory", "8388608", "8388608", "bytes"),
        ("Max address space", "unlimited", "unlimited", "bytes"),
    ]
    head = f"{'Limit':<25} {'Soft Limit':<20} {'Hard Limit':<20} {'Units':<10}\n"
    return head + "".join(f"{name:<25} {soft:<20} {hard:<20} {unit:<10}\n" for name, soft, hard, unit in rows)


def maps(process: Task) -> str:
    inode = process.exe_inode.ino if process.exe_inode is not None else 0
    rows = (
        ("55d0c2a00000-55d0c2a04000 r--p 00000000", "103:01", inode, process.exe_path),
        ("55d0c2a04000-55d0c2a18000 r-xp 00004000", "103:01", inode, process.exe_path),
        ("55d0c3f41000-55d0c3f62000 rw-p 00000000", "00:00", 0, "[heap]"),
        ("7f31a4c00000-7f31a4de5000 r-xp 00028000", "103:01", inode + 1, "/usr/lib/x86_64-linux-gnu/libc.so.6"),
        ("7ffd2a1e0000-7ffd2a201000 rw-p 00000000", "00:00", 0, "[stack]"),
    )
    return "".join(f"{place} {device} {number} ".ljust(73) + f"{name}\n" for place, device, number, name in rows)


def mount_info(filesystem: Filesystem) -> str:
    lines = []
    for number, mount in enumerate(filesystem.mount_points()):
        own = [name for name in mount.options.split(",") if name in _MOUNT_FLAGS]
        rest = [name for name in mount.options.split(",") if name not in _MOUNT_FLAGS or name in ("rw", "ro")]
        lines.append(
            f"{1400 + number} {1400 if number else 1390} 0:{mount.root.dev & 0xFFFF} / {mount.path} {','.join(own)} - "
            f"{mount.kind} {mount.source} {','.join(rest)}\n"
        )
    return "".join(lines)


_MOUNT_FLAGS = frozenset(("rw", "ro", "nosuid", "nodev", "noexec", "relatime", "noatime"))


def namespaces(process: Task) -> Directory:
    made = Directory(0o511, uid=process.euid, gid=process.egid, dev=0x2A)
    spec = process.container.spec if process.container is not None else None
    for index, name in enumerate(("cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts")):
        shared = spec is None or name in ("time", "user") or (name == "net" and spec.host_network)
        shared = shared or (name == "pid" and spec is not None and spec.host_pid)
        key = spec.sandbox_id if spec is not None and name in ("ipc", "net", "uts") else repr(process.container)
        number = 4_026_531_834 + index if shared else 4_026_532_000 + (zlib.crc32(f"{name}{key}".encode()) % 9000)
        made.entries[name] = Symlink(f"{name}:[{number}]", dev=0x2A)
    return made


def interfaces() -> str:
    columns = "bytes    packets errs drop fifo "
    head = (
        f"Inter-|   Receive{' ' * 48}|  Transmit\n"
        f" face |{columns}frame compressed multicast|{columns}colls carrier compressed\n"
    )
    counts = f"{0:8d}{0:8d}{0:5d}{0:5d}{0:5d}"
    rows = (f"{name:>6}: {counts}{0:6d}{0:11d}{0:10d} {counts}{0:6d}{0:8d}{0:11d}\n" for name in ("lo", "eth0"))
    return head + "".join(rows)


def routes() -> str:
    """A pod's routes as the VPC's network plugin makes them: everything through 169.254.1.1."""
    head = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
    rows = (("00000000", "0101FEA9", "0003", "00000000"), ("0101FEA9", "00000000", "0005", "FFFFFFFF"))
    return head + "".join(f"eth0\t{to}\t{via}\t{flags}\t0\t0\t0\t{mask}\t0\t0\t0\n" for to, via, flags, mask in rows)


TCP_HEADER = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"


def _address(ip: str, port: int) -> str:
    try:
        return f"{int.from_bytes(ipaddress.IPv4Address(ip).packed, 'little'):08X}:{port:04X}"
    except ValueError:
        return f"00000000:{port:04X}"


def tcp(process: Task) -> str:
    """Listening and connected sockets of the process's network namespace."""
    rows = [(_address("0.0.0.0", port), _address("0.0.0.0", 0), "0A") for port in process.network.ports(process.ip)]
    for other in process.visible():
        for file in other.fds.values():
            local, remote = getattr(file, "local", None), getattr(file, "remote", None)
            if local is not None and remote is not None:
                rows.append((_address(*local), _address(*remote), "01"))
    lines = [
        f"{index:>4}: {local} {remote} {state} 00000000:00000000 00:00000000 00000000     0        0 "
        f"{20_000 + index} 1 0000000000000000 100 0 0 10 0\n"
        for index, (local, remote, state) in enumerate(rows)
    ]
    return TCP_HEADER + "".join(lines)
