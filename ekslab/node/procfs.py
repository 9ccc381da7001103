"""/proc, /dev and /dev/pts of a container or of the node, computed from the kernel's state."""

from __future__ import annotations

import zlib
from collections.abc import Callable

from ekslab.node import abi
from ekslab.node.container import Container
from ekslab.node.filesystem import Filesystem
from ekslab.node.inodes import ComputedFile, Device, Directory, Inode, MagicLink, Symlink, Viewer, new_tmpfs
from ekslab.node.kernel import Kernel, Task
from ekslab.node.limits import SHARED_MEMORY, Memory
from ekslab.node.procfiles import (
    HIDDEN,
    KERNEL_VERSION,
    LACKED,
    LACKED_OF_PROCESSES,
    LACKING,
    RANDOM,
    READ_ONLY,
    TCP_HEADER,
    folders,
    interfaces,
    limits,
    maps,
    mount_info,
    namespaces,
    routes,
    tcp,
    text_file,
)

KERNEL_RELEASE = "6.12.40-64.114.amzn2023.x86_64"
MEMORY_KIB = 7_935_204
_RESTRICTED = "nosuid,nodev,noexec,relatime"
_FILESYSTEMS = (
    "nodev\tsysfs\nnodev\ttmpfs\nnodev\tproc\nnodev\tcgroup2\nnodev\tdevtmpfs\n\text4\n\txfs\nnodev\toverlay\n"
)


class ProcDirectory(Directory):
    """/proc of a pid namespace: the node's (container None) or a container's."""

    __slots__ = ("container", "filesystem", "kernel", "static")

    def __init__(self, kernel: Kernel, filesystem: Filesystem, container: Container | None) -> None:
        super().__init__(0o555, now=kernel.boot_time, dev=0x2A)
        self.kernel = kernel
        self.filesystem = filesystem
        self.container = container
        computed = {
            **RANDOM,
            "sys/kernel/hostname": ComputedFile(lambda: f"{self._hostname()}\n".encode(), 0o644),
            "sys/kernel/osrelease": ComputedFile(lambda: f"{KERNEL_RELEASE}\n".encode()),
            "sys/kernel/ostype": ComputedFile(lambda: b"Linux\n"),
        }
        self.static: dict[str, Inode] = {
            **folders(computed),
            **{name: ComputedFile(LACKING.encode, 0o200 if name == "sysrq-trigger" else 0o444) for name in LACKED},
            "cmdline": text_file("BOOT_IMAGE=(hd0,gpt1)/boot/vmlinuz root=/dev/nvme0n1p1 ro console=ttyS0"),
            "cpuinfo": ComputedFile(_cpuinfo),
            "filesystems": ComputedFile(_FILESYSTEMS.encode),
            "loadavg": ComputedFile(lambda: b"0.08 0.04 0.01 1/214 1\n"),
            "meminfo": ComputedFile(_meminfo),
            "modules": text_file("overlay 212992 12 - Live 0x0000000000000000"),
            "mounts": Symlink("self/mounts", dev=0x2A),
            "net": Symlink("self/net", dev=0x2A),
            "partitions": text_file(
                "major minor  #blocks  name\n\n 259        0   83886080 nvme0n1\n 259        1   83884032 nvme0n1p1"
            ),
            "stat": ComputedFile(self._stat),
            "swaps": text_file("Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority"),
            "uptime": ComputedFile(self._uptime),
            "version": ComputedFile(
                lambda: (
                    f"Linux version {KERNEL_RELEASE} (mockbuild@ip-10-0-0-1) (gcc 11.5.0) {KERNEL_VERSION}\n".encode()
                )
            ),
        }

    def _hostname(self) -> str:
        return self.container.hostname if self.container is not None else self.kernel.hostname

    def _uptime(self) -> bytes:
        seconds = (self.kernel.now() - self.kernel.boot_time) / 1e9
        return f"{seconds:.2f} {seconds * 1.9:.2f}\n".encode()

    def _stat(self) -> bytes:
        ticks = (self.kernel.now() - self.kernel.boot_time) // 10_000_000
        one = f"{ticks // 40} 0 {ticks // 60} {ticks} 0 0 0 0 0 0"
        started, count = self.kernel.boot_time // 1_000_000_000, len(self.kernel.processes)
        return (
            f"cpu  {one}\ncpu0 {one}\ncpu1 {one}\nintr 0\nctxt {ticks * 9}\nbtime {started}\nprocesses {count}\n"
            "procs_running 1\nprocs_blocked 0\n"
        ).encode()

    def _processes(self) -> dict[str, Task]:
        if self.container is None:
            return {str(process.pid): process for process in self.kernel.processes.values()}
        return {str(process.vpid): process for process in self.kernel.processes_in(self.container.pid_namespace)}

    def lookup(self, name: str, viewer: Viewer | None = None) -> Inode | None:
        if name in self.static:
            return self.static[name]
        if name in ("self", "thread-self"):
            if viewer is None:
                return None
            return Symlink(str(viewer.vpid if self.container is not None else viewer.pid), dev=0x2A)
        process = self._processes().get(name) if name.isdigit() else None
        return self._process(process) if process is not None else None

    def names(self, viewer: Viewer | None = None) -> list[str]:
        numbers = sorted(self._processes(), key=int)
        return [*numbers, *self.static, *(["self"] if viewer is not None else [])]

    def _process(self, process: Task) -> Directory:
        made = Directory(0o555, uid=process.euid, gid=process.egid, now=process.started_at, dev=0x2A)

        def file(compute: Callable[[], str], mode: int = 0o444) -> ComputedFile:
            return ComputedFile(lambda: compute().encode("utf-8", "surrogateescape"), mode, uid=process.euid)

        descriptors = Directory(0o500, uid=process.euid, gid=process.egid, dev=0x2A)
        for fd, opened in process.fds.items():
            inode = opened.inode
            text = opened.name or (f"{opened.type}:[{inode.ino if inode is not None else 0}]")
            if inode is not None:
                text = f"/{text} (deleted)" if text.startswith("memfd:") else text
                descriptors.entries[str(fd)] = MagicLink(text, inode)
            else:
                descriptors.entries[str(fd)] = Symlink(text, dev=0x2A)
        made.entries = {
            "cgroup": file(lambda: f"0::{process.container.cgroup if process.container else '/init.scope'}\n"),
            "cmdline": file(lambda: "".join(f"{argument}\0" for argument in process.argv)),
            "comm": file(lambda: f"{process.name}\n"),
            "cwd": Symlink(process.cwd, dev=0x2A),
            "environ": file(lambda: "".join(f"{name}={value}\0" for name, value in process.env.items()), 0o400),
            "fd": descriptors,
            "limits": file(lambda: limits(process)),
            "loginuid": file(lambda: "4294967295"),
            "maps": file(lambda: maps(process)),
            "mountinfo": file(lambda: mount_info(process.filesystem)),
            "mounts": file(lambda: mount_table(process.filesystem)),
            "net": self._net(process),
            "ns": namespaces(process),
            "oom_score": file(lambda: "0\n"),
            "oom_score_adj": file(lambda: "1000\n" if process.container is not None else "0\n"),
            "root": MagicLink("/", process.filesystem.root),
            "stat": file(lambda: _stat_line(process, self.container is not None)),
            "statm": file(lambda: "1047 864 640 12 0 120 0\n"),
            "status": file(lambda: _status(process, self.container is not None)),
            **{name: file(lambda: "         0          0 4294967295\n") for name in ("uid_map", "gid_map")},
            **{name: file(lambda: LACKING, 0o600 if name == "mem" else 0o444) for name in LACKED_OF_PROCESSES},
        }
        if process.exe_inode is not None:
            made.entries["exe"] = MagicLink(process.exe_path, process.exe_inode)
        return made

    def _net(self, process: Task) -> Directory:
        """What the process's network namespace shows: interfaces, routes, sockets."""
        made = Directory(0o555, dev=0x2A)

        def file(compute: Callable[[], str]) -> ComputedFile:
            return ComputedFile(lambda: compute().encode())

        made.entries = {
            "arp": file(lambda: "IP address       HW type     Flags       HW address            Mask     Device\n"),
            "dev": file(interfaces),
            "if_inet6": file(lambda: "00000000000000000000000000000001 01 80 10 80       lo\n"),
            "route": file(routes),
            "tcp": file(lambda: tcp(process)),
            "tcp6": file(lambda: TCP_HEADER.replace("rem_address  ", "rem_address                        ")),
            "udp": file(lambda: TCP_HEADER),
            "unix": file(lambda: "Num       RefCount Protocol Flags    Type St Inode Path\n"),
            **{name: file(lambda: LACKING) for name in ("fib_trie", "netstat", "raw", "snmp", "sockstat", "udp6")},
        }
        return made


def _numbers(process: Task, inside: bool) -> tuple[int, int]:
    return (process.vpid, process.vppid) if inside else (process.pid, process.ppid)


def _stat_line(process: Task, inside: bool) -> str:
    pid, ppid = _numbers(process, inside)
    tty = process.tty.device if process.tty is not None else 0
    ticks = (process.started_at - process.kernel.boot_time) // 10_000_000
    state = "T" if process.stopped else "S"
    return f"{pid} ({process.name}) {state} {ppid} {pid} {pid} {tty} -1 0 0 0 0 0 0 0 0 0 20 0 1 0 {ticks} 0 0\n"


def _status(process: Task, inside: bool) -> str:
    pid, ppid = _numbers(process, inside)
    mask = sum(1 << bit for bit, name in enumerate(abi.CAPABILITIES) if name in process.capabilities)
    bound = sum(1 << bit for bit, name in enumerate(abi.CAPABILITIES) if name in process.bounding_capabilities)
    groups = " ".join(str(group) for group in process.groups)
    sealed = process.container is not None and process.container.spec.no_new_privileges
    state = "T (stopped)" if process.stopped else "S (sleeping)"
    return (
        f"Name:\t{process.name}\nUmask:\t{process.umask:04o}\nState:\t{state}\n"
        f"Tgid:\t{pid}\nNgid:\t0\nPid:\t{pid}\n"
        f"PPid:\t{ppid}\nTracerPid:\t0\nUid:\t{process.uid}\t{process.euid}\t{process.euid}\t{process.euid}\n"
        f"Gid:\t{process.gid}\t{process.egid}\t{process.egid}\t{process.egid}\nFDSize:\t64\nGroups:\t{groups} \n"
        f"Threads:\t1\nCapInh:\t{0:016x}\nCapPrm:\t{mask:016x}\nCapEff:\t{mask:016x}\nCapBnd:\t{bound:016x}\n"
        f"CapAmb:\t{0:016x}\nNoNewPrivs:\t{int(sealed)}\nSeccomp:\t0\n"
    )


def _cpuinfo() -> bytes:
    one = "processor\t: {}\nvendor_id\t: AuthenticAMD\nmodel name\t: AMD EPYC 7R13 Processor\ncpu MHz\t\t: 2650.000\n\n"
    return "".join(one.format(number) for number in range(2)).encode()


def _meminfo() -> bytes:
    rows = (("MemTotal:", MEMORY_KIB), ("MemFree:", MEMORY_KIB // 2), ("MemAvailable:", MEMORY_KIB * 3 // 4))
    return "".join(f"{name:<16} {size} kB\n" for name, size in rows).encode()


def mount_table(filesystem: Filesystem) -> str:
    """What /proc/mounts says."""
    return "".join(
        f"{mount.source} {mount.path} {mount.kind} {mount.options} 0 0\n" for mount in filesystem.mount_points()
    )


class PtsDirectory(Directory):
    """/dev/pts: the terminals that are open in a container, or on the node."""

    __slots__ = ("container", "kernel", "nodes")

    def __init__(self, kernel: Kernel, container: Container | None) -> None:
        super().__init__(0o755, now=kernel.boot_time, dev=0x2C)
        self.kernel = kernel
        self.container = container
        self.nodes: dict[int, Device] = {}

    def lookup(self, name: str, viewer: Viewer | None = None) -> Inode | None:
        if not name.isdigit() or (self.container, int(name)) not in self.kernel.ttys:
            return None
        number = int(name)
        return self.nodes.setdefault(number, Device(f"pts{number}", 136, number, 0o620, gid=5))

    def names(self, viewer: Viewer | None = None) -> list[str]:
        return [str(n) for n in sorted(number for owner, number in self.kernel.ttys if owner is self.container)]


def new_dev(kernel: Kernel, memory: Memory) -> Directory:
    """/dev with the devices that every container has."""
    dev = new_tmpfs(kernel.now, memory)
    for name, minor, driver in (
        ("null", 3, "null"),
        ("zero", 5, "zero"),
        ("full", 7, "full"),
        ("random", 8, "random"),
        ("urandom", 9, "random"),
    ):
        dev.entries[name] = Device(driver, 1, minor)
    dev.entries["tty"] = Device("tty", 5, 0, gid=5)
    for name, target in (
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
        ("ptmx", "pts/ptmx"),
    ):
        dev.entries[name] = Symlink(target, dev=dev.dev)
    for inode in dev.entries.values():
        if inode is not None:
            inode.atime = inode.mtime = inode.ctime = dev.ctime
    return dev


def mount_kernel_filesystems(filesystem: Filesystem, kernel: Kernel, container: Container | None) -> None:
    """Mounts /proc, /dev, /dev/pts, /dev/shm, /dev/mqueue and /sys into a namespace, with the runtime's options."""
    memory = container.memory if container is not None else kernel.memory
    pids = None if container is not None and container.spec.host_pid else container
    processes = ProcDirectory(kernel, filesystem, pids)
    filesystem.mount("/proc", processes, source="proc", kind="proc", options=f"rw,{_RESTRICTED}")
    if container is not None and not container.spec.privileged:
        processes.static.update({name: ComputedFile(bytes, 0o666) for name in HIDDEN})
        for name in READ_ONLY:
            inode = processes.static[name]
            filesystem.mount(f"/proc/{name}", inode, source="proc", kind="proc", options=f"ro,{_RESTRICTED}")
    filesystem.mount("/dev", new_dev(kernel, memory), options="rw,nosuid,size=65536k,mode=755")
    terminals = PtsDirectory(kernel, container)
    options = "rw,nosuid,noexec,relatime,gid=5,mode=620,ptmxmode=666"
    filesystem.mount("/dev/pts", terminals, source="devpts", kind="devpts", options=options)
    queues = new_tmpfs(kernel.now, memory, 0o1777)
    filesystem.mount("/dev/mqueue", queues, source="mqueue", kind="mqueue", options=f"rw,{_RESTRICTED}")
    sys = new_tmpfs(kernel.now, memory, 0o555)
    changeable = container is None or container.spec.privileged
    options = f"{'rw' if changeable else 'ro'},{_RESTRICTED}"
    filesystem.mount("/sys", sys, source="sysfs", kind="sysfs", options=options)
    # The node's own is for its programs: of what systemd mounts, only a container's has noexec.
    options = f"rw,{_RESTRICTED},size={SHARED_MEMORY >> 10}k" if container is not None else "rw,nosuid,nodev"
    filesystem.mount("/dev/shm", new_tmpfs(kernel.now, memory, 0o1777), source="shm", options=options)
    fs = sys.entries["fs"] = Directory(0o755, dev=sys.dev)
    cgroup = fs.entries["cgroup"] = Directory(0o555, dev=sys.dev)
    cgroup.entries = {
        "memory.current": ComputedFile(lambda: f"{memory.used}\n".encode()),
        "memory.events": ComputedFile(lambda: f"oom {memory.kills}\noom_kill {memory.kills}\n".encode()),
        "memory.max": ComputedFile(lambda: f"{memory.limit}\n".encode()),
        "cgroup.controllers": text_file("cpuset cpu io memory hugetlb pids rdma misc"),
        "cpu.max": text_file("max 100000"),
        "cpu.stat": text_file("usage_usec 48211\nuser_usec 30107\nsystem_usec 18104"),
        "pids.max": text_file("512"),
    }
    sys.entries["kernel"] = Directory(0o755, dev=sys.dev)
    links = Directory(0o755, dev=sys.dev)
    sys.entries["class"] = kinds = Directory(0o755, dev=sys.dev)
    kinds.entries["net"] = links
    for name, address, mtu in (("eth0", _hardware_address(container), 9001), ("lo", "00:00:00:00:00:00", 65_536)):
        link = links.entries[name] = Directory(0o755, dev=sys.dev)
        state = "up" if name == "eth0" else "unknown"
        link.entries = {"address": text_file(address), "mtu": text_file(str(mtu)), "operstate": text_file(state)}


def _hardware_address(container: Container | None) -> str:
    number = zlib.crc32((container.spec.sandbox_id if container is not None else "node").encode())
    return "0a:" + ":".join(f"{number >> shift & 0xFF:02x}" for shift in (24, 16, 8, 0)) + ":01"
