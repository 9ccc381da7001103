"""A node of the simulated cluster: kernel, file system and container runtime."""

from __future__ import annotations

import time
from collections.abc import Callable

from ekslab.node.filesystem import Filesystem
from ekslab.node.images import ImageRegistry
from ekslab.node.inodes import Directory
from ekslab.node.kernel import Kernel
from ekslab.node.network import Network
from ekslab.node.procfs import KERNEL_RELEASE, mount_kernel_filesystems
from ekslab.node.runtime import Runtime

_OS_RELEASE = """NAME="Amazon Linux"
VERSION="2023"
ID="amzn"
ID_LIKE="fedora"
VERSION_ID="2023"
PLATFORM_ID="platform:al2023"
PRETTY_NAME="Amazon Linux 2023.8.20250818"
"""


class Node:
    """One machine. `ip` is its address in the lab's network, `clock` answers nanoseconds since the epoch."""

    def __init__(
        self,
        name: str,
        *,
        network: Network,
        images: ImageRegistry,
        ip: str = "10.0.1.10",
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self.name = name
        self.ip = ip
        self.network = network
        self.kernel = Kernel(name, network=network, ip=ip, clock=clock)
        self.filesystem = self._host_files()
        self.runtime = Runtime(self.kernel, self.filesystem, images)

    def _host_files(self) -> Filesystem:
        root = Directory(0o755, now=self.kernel.now())
        root.disk = self.kernel.disk
        filesystem = Filesystem(root, clock=self.kernel.now, source="/dev/nvme0n1p1", kind="xfs", options="rw,noatime")
        for path in (
            "/boot",
            "/lib/modules",
            "/root",
            "/run/containerd",
            "/tmp",
            "/usr/bin",
            "/usr/src",
            "/var/lib/kubelet",
            "/var/log/containers",
            "/var/log/pods",
        ):
            filesystem.mkdir(path)
        filesystem.write_text("/etc/os-release", _OS_RELEASE)
        filesystem.write_text("/etc/hostname", f"{self.name}\n")
        filesystem.write_text("/etc/passwd", "root:x:0:0:root:/root:/bin/bash\n")
        filesystem.write_text("/etc/group", "root:x:0:\n")
        filesystem.write_text("/run/containerd/containerd.sock", "")
        filesystem.write_text("/usr/bin/containerd-shim-runc-v2", "", 0o755)
        filesystem.mkdir(f"/lib/modules/{KERNEL_RELEASE}")
        mount_kernel_filesystems(filesystem, self.kernel, None)
        return filesystem
