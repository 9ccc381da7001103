"""The container runtime of a node, in the role of containerd and runc.

It turns container specifications and exec requests of the kubelet into processes on the node's kernel, and writes the
containers' logs to the node's file system.
"""

from __future__ import annotations

import asyncio
import posixpath
from collections.abc import Mapping, Sequence
from functools import partial

from ekslab.names import hex_id
from ekslab.node import abi, accounts
from ekslab.node.container import Container, ContainerSpec
from ekslab.node.container_logs import LogFile, LogWriter
from ekslab.node.descriptors import DeviceFile, InputStream, OpenFile, OutputStream, Sink, Source
from ekslab.node.filesystem import Filesystem, MountPoint
from ekslab.node.images import ImageRegistry
from ekslab.node.inodes import Device, File, Inode, new_overlay
from ekslab.node.kernel import Kernel
from ekslab.node.limits import LAYER, LOGS, SHARED_MEMORY, Disk, Memory
from ekslab.node.process import Process
from ekslab.node.procfs import mount_kernel_filesystems
from ekslab.node.sockets import Socket
from ekslab.node.tty import Tty, TtyFile
from ekslab.node.volumes import EmptyDir, Files, HostPath, Mount

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_FIRST_READ = 0.25  # seconds that a terminal's program has to get ready for what is typed


class OciError(Exception):
    """runc refused to start something; `exit_code` is what a client of docker's would see (126, 127, 128)."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.message = message
        self.exit_code = exit_code


class Execution:
    """A command that runs in a container by request of a client."""

    def __init__(self, process: Process, tty: Tty | None, pump: asyncio.Task[None] | None) -> None:
        self.process = process
        self._tty = tty
        self._pump = pump

    def resize(self, rows: int, cols: int) -> None:
        if self._tty is not None:
            self._tty.resize(rows, cols)

    def kill(self, signal: int = abi.SIGKILL) -> None:
        self.process.signal(signal)

    def hang_up(self) -> None:
        """The client went away: the command and its children get SIGHUP."""
        if self._tty is not None:
            self._tty.hang_up()
        else:
            self.process.kernel.signal_group(self.process.group_leader.pid, abi.SIGHUP)

    async def wait(self) -> int:
        """Waits for the command to end; its exit code."""
        try:
            return await self.process.exited()
        finally:
            if self._pump is not None:
                self._pump.cancel()
            if self._tty is not None:
                self.process.kernel.close_tty(self._tty)


class Connection:
    """A TCP connection that containerd holds for a client outside the node."""

    def __init__(self, process: Process, fd: int) -> None:
        self._process = process
        self._fd = fd
        socket = process.fds[fd]
        assert isinstance(socket, Socket)
        self._socket = socket

    async def write(self, data: bytes) -> None:
        """Waits until the other end reads. Raises EPIPE when it has closed the connection."""
        await self._socket.settled()
        self._socket.write(data, self._process.kernel.now())

    async def read(self, size: int) -> bytes:
        """At most `size` bytes; b"" when the other end has closed it."""
        return await self._socket.read(size)

    def shut(self) -> None:
        """Nothing more is written."""
        self._socket.shut()

    def close(self) -> None:
        if self._fd in self._process.fds:
            self._process.close(self._fd)


class Runtime:
    """containerd of one node."""

    def __init__(self, kernel: Kernel, filesystem: Filesystem, images: ImageRegistry) -> None:
        self.kernel = kernel
        self.filesystem = filesystem
        self.images = images
        self.containers: dict[str, Container] = {}
        self._shims: dict[str, Process] = {}
        self._daemon: Process | None = None
        self._attempts: dict[tuple[str, str], int] = {}
        self._watchers: set[asyncio.Task[None]] = set()

    # -- containers ---------------------------------------------------------------------------------------------------

    async def create(self, spec: ContainerSpec) -> Container:
        """Makes a container: its root over the image's layer, its mounts, its log file. Raises ImagePullError."""
        image = self.images.resolve(spec.image)
        key = (spec.pod_uid, spec.name)
        attempt = self._attempts[key] = self._attempts.get(key, -1) + 1
        id = hex_id(64, "container", spec.pod_uid, spec.name, spec.restart_count, attempt)
        hostname = self.kernel.hostname if spec.host_network else spec.hostname or spec.pod_name
        disk = Disk(LAYER, parent=self.kernel.disk, reserve=0)
        memory = Memory(spec.memory_limit, self.kernel.memory)
        root = new_overlay(image.layer.root, self.kernel.now, disk)
        filesystem = Filesystem(
            root, clock=self.kernel.now, options="ro,relatime" if spec.read_only_root else "rw,relatime"
        )
        container = Container(spec, image, id, hostname, filesystem, disk, memory)
        memory.kill = partial(self._out_of_memory, container)
        mount_kernel_filesystems(filesystem, self.kernel, container)
        self._mount_pod_files(container)
        for mount in sorted(spec.mounts, key=lambda mount: mount.path.count("/")):
            self._mount(container, mount)
        container.disk.reserve = LOGS  # from now on; what the runtime makes of a container fits on a full node
        self.filesystem.open_file(container.log_path)
        self.filesystem.symlink(container.log_path, container.log_link)
        self.containers[id] = container
        return container

    def _out_of_memory(self, container: Container) -> None:
        """Ends all processes of a container together, as the kernel does for the kubelet (memory.oom.group)."""
        container.memory.kills += 1
        container.reason = "OOMKilled"
        for process in self.kernel.processes_of(container):
            if process.task is not asyncio.current_task():
                process.signal(abi.SIGKILL)

    def _mount_pod_files(self, container: Container) -> None:
        """The files that the kubelet gives every pod."""
        spec = container.spec
        hosts = (
            "# Kubernetes-managed hosts file.\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"
            f"fe00::0\tip6-localnet\nff00::0\tip6-mcastprefix\n{spec.pod_ip or self.kernel.ip}\t{container.hostname}\n"
        )
        domains = f"{spec.pod_namespace}.svc.cluster.local svc.cluster.local cluster.local"
        resolv = f"search {domains}\nnameserver 10.100.0.10\noptions ndots:5\n"
        for path, text in (
            ("/etc/hosts", hosts),
            ("/etc/hostname", f"{container.hostname}\n"),
            ("/etc/resolv.conf", resolv),
            (spec.termination_log, ""),
        ):
            file = File(text.encode(), 0o644 if path != spec.termination_log else 0o666, now=self.kernel.now())
            file.place(container.disk)
            container.filesystem.mount(path, file, source="/dev/nvme0n1p1", kind="xfs", options="rw,noatime")

    def _mount(self, container: Container, mount: Mount) -> None:
        source = mount.source
        root: Inode
        if isinstance(source, HostPath):
            path = posixpath.join(source.path, mount.sub_path) if mount.sub_path else source.path
            if not self.filesystem.exists(path):
                self.filesystem.mkdir(path)
            root = self.filesystem.walk(path).need(path)
            options = f"{'ro' if mount.read_only else 'rw'},noatime"
            container.filesystem.mount(mount.path, root, source=path, kind="xfs", options=options)
            self._mount_below(container, path, mount)
            return
        if isinstance(source, Files):
            root = source.file(mount.sub_path) if mount.sub_path else source.root
            name = "tmpfs"
        else:
            if source.root.disk is None:
                source.root.disk = (
                    Disk(SHARED_MEMORY, memory=container.memory)
                    if source.medium
                    else Disk(LAYER, parent=self.kernel.disk)
                )
            root = _below(source, mount.sub_path, self.kernel.now())
            name = "tmpfs" if source.medium else "/dev/nvme0n1p1"
        kind, times = ("tmpfs", "relatime") if name == "tmpfs" else ("xfs", "noatime")
        options = f"{'ro' if mount.read_only else 'rw'},{times}"
        container.filesystem.mount(mount.path, root, source=name, kind=kind, options=options)

    def _mount_below(self, container: Container, path: str, mount: Mount) -> None:
        """What is mounted on the node below a hostPath is seen in the container as well."""
        prefix = path.rstrip("/") + "/"
        for host in list(self.filesystem.mounts.values()):
            if host.path.startswith(prefix):
                inside = posixpath.join(mount.path, host.path[len(prefix) :])
                options = host.options.replace("rw,", "ro,", 1) if mount.read_only else host.options
                container.filesystem.mounts[id(host.covered)] = MountPoint(
                    inside, host.root, host.covered, host.source, host.kind, options
                )

    async def start(self, container: Container) -> None:
        """Starts the container's first process; OciError when its program can't be run."""
        spec, image = container.spec, container.image
        argv = [*(spec.command or image.entrypoint), *(spec.args or (() if spec.command else image.cmd))]
        if not argv:
            raise OciError("failed to generate container spec: no command specified", 128)
        log = LogFile(container.log_path, self.filesystem)
        logs = [LogWriter(log, stream, self.kernel.now) for stream in ("stdout", "stderr")]
        tty = self.kernel.open_tty(logs[0].write, container) if spec.tty else None
        sinks: list[OpenFile] = [Sink(log, log.flush) for log in logs]
        process = self._process(container, tty, container.stdin, sinks)
        container.pid = process.pid
        try:
            self._run(container, process, argv, "create")
        except OciError:
            container.pid = 0
            raise
        container.state = "running"
        container.started_at = self.kernel.now()
        watcher = asyncio.get_running_loop().create_task(self._watch(container, process, tty, logs))
        self._watchers.add(watcher)
        watcher.add_done_callback(self._watchers.discard)
        await asyncio.sleep(0)

    async def _watch(self, container: Container, init: Process, tty: Tty | None, logs: list[LogWriter]) -> None:
        status = await init.exited()
        # A pid namespace ends with its first process: the others are killed. The container runs until they are gone,
        # which takes several turns if there are hundreds.
        while processes := self.kernel.processes_of(container):
            for process in processes:
                process.signal(abi.SIGKILL)
            await processes[0].exited()
        for log in logs:
            log.flush()
        if tty is not None:
            self.kernel.close_tty(tty)
        container.finish(status, self.kernel.now())

    async def stop(self, container: Container, grace: float = 30.0) -> None:
        """Asks the container to end, and ends it when `grace` seconds have passed."""
        init = self.kernel.first_process(container)
        if container.state != "running" or init is None:
            return
        name = container.image.stop_signal.removeprefix("SIG")
        init.signal(abi.SIGNALS.get(name, abi.SIGTERM))
        try:
            await asyncio.wait_for(container.wait(), grace)
        except TimeoutError:
            init.signal(abi.SIGKILL)
            await container.wait()

    async def remove(self, container: Container) -> None:
        """Forgets a container, ending it first if need be; its logs go with it."""
        await self.stop(container, 0)
        self.containers.pop(container.id, None)
        container.memory.remove()
        container.disk.remove()
        self.filesystem.remove(container.log_link)
        self.filesystem.remove(container.log_path)
        sandbox = container.spec.sandbox_id
        if not any(other.spec.sandbox_id == sandbox for other in self.containers.values()):
            shim = self._shims.pop(sandbox, None)
            if shim is not None:
                shim.signal(abi.SIGKILL)
            self.filesystem.remove(posixpath.dirname(posixpath.dirname(container.log_path)))

    # -- port-forward -------------------------------------------------------------------------------------------------

    async def connect(self, address: str, port: int) -> Connection:
        """Connects to a port of a pod from inside its network namespace, as containerd does for `port-forward`.

        `address` is the pod's. Raises ECONNREFUSED.
        """
        daemon = self._containerd()
        daemon.entered_network = address  # which its thread leaves again before another one runs
        try:
            return Connection(daemon, await daemon.connect("127.0.0.1", port))
        finally:
            daemon.entered_network = ""

    def _containerd(self) -> Process:
        """containerd's process on the node."""
        if self._daemon is None:
            self._daemon = Process(self.kernel, parent=None, filesystem=self.filesystem, argv=["/usr/bin/containerd"])
            self._daemon.exe_path = "/usr/bin/containerd"
            if self.filesystem.exists(self._daemon.exe_path):
                self._daemon.exe_inode = self.filesystem.walk(self._daemon.exe_path).inode
        return self._daemon

    # -- processes ----------------------------------------------------------------------------------------------------

    def _shim(self, sandbox_id: str) -> Process:
        """The process on the node that is the parent of everything in a pod."""
        shim = self._shims.get(sandbox_id)
        if shim is None:
            path = "/usr/bin/containerd-shim-runc-v2"
            argv = [path, "-namespace", "k8s.io", "-id", sandbox_id, "-address", "/run/containerd/containerd.sock"]
            shim = Process(self.kernel, parent=None, filesystem=self.filesystem, argv=argv)
            shim.exe_path = path
            if self.filesystem.exists(path):
                shim.exe_inode = self.filesystem.walk(path).inode
            self._shims[sandbox_id] = shim
        return shim

    def _process(
        self,
        container: Container,
        tty: Tty | None,
        stdin: InputStream | None,
        outputs: Sequence[OpenFile],
        env: Mapping[str, str] | None = None,
    ) -> Process:
        spec = container.spec
        uid, gid, groups, home = self._user(container)
        environment = {"PATH": _PATH, "HOSTNAME": container.hostname}
        if tty is not None:
            environment["TERM"] = "xterm"
        environment.update(container.image.env)
        environment.update(spec.env)
        environment.update(env or {})
        environment.setdefault("HOME", home)
        process = Process(
            self.kernel,
            parent=self._shim(spec.sandbox_id),
            filesystem=container.filesystem,
            container=container,
            env=environment,
            cwd=spec.workdir or container.image.workdir or "/",
            uid=uid,
            gid=gid,
            groups=groups,
            capabilities=spec.capabilities,
        )
        process.name = "runc:[2:INIT]"
        if tty is not None:
            process.tty = tty
            tty.foreground = process.pid
            terminal = TtyFile(tty, container.filesystem.walk(tty.path).inode, tty.path)
            terminal.references = 3
            process.fds = dict.fromkeys(range(3), terminal)
        else:
            source: OpenFile = (
                Source(stdin) if stdin is not None else DeviceFile(_NULL, "/dev/null", "/dev/null", abi.O_RDWR)
            )
            process.fds = {0: source, 1: outputs[0], 2: outputs[1]}
        return process

    def _user(self, container: Container) -> tuple[int, int, list[int], str]:
        """uid, gid, further groups and home directory that the container's user means."""
        wanted = container.spec.user or container.image.user or "0"
        name, _, group = wanted.partition(":")
        passwd = accounts.entries(container.filesystem, accounts.PASSWD)
        groups = accounts.entries(container.filesystem, accounts.GROUP)
        entry = next((line for line in passwd if name in (line[0], line[2])), None)
        if entry is None and not name.isdigit():
            raise OciError(
                "failed to create containerd container: "
                f"unable to find user {name}: no matching entries in passwd file",
                128,
            )
        uid = int(entry[2]) if entry is not None else int(name)
        gid = int(entry[3]) if entry is not None and len(entry) > 3 else 0
        if group:
            found = next((line for line in groups if group in (line[0], line[2])), None)
            gid = int(found[2]) if found is not None else int(group) if group.isdigit() else gid
        further = [
            int(line[2]) for line in groups if entry is not None and len(line) > 3 and entry[0] in line[3].split(",")
        ]
        home = entry[5] if entry is not None and len(entry) > 5 else "/"
        return uid, gid, further, home

    def _run(self, container: Container, process: Process, argv: Sequence[str], action: str) -> None:
        """Looks the program up and starts it, or says in runc's words why it can't be."""
        try:
            if not process.isdir(process.cwd):
                container.filesystem.mkdir(process.cwd)  # runc makes a working directory that isn't there
            process.cwd = process.real_path(process.cwd)
            executable = process.executable(argv[0], argv=argv)
        except OSError as exc:
            process.abandon()
            raise self._refusal(exc, argv[0], action, container) from exc

        async def main(p: Process) -> int:
            return await p.run_executable(executable)

        process.start(main)

    def _refusal(self, exc: OSError, program: str, action: str, container: Container) -> OciError:
        name = abi.errno_name(exc)
        if "/" not in program:
            why, code = f'exec: "{program}": executable file not found in $PATH', 127
        elif name in ("ENOENT", "ENOTDIR"):
            why, code = f'exec: "{program}": stat {program}: {(exc.strerror or "").lower()}', 127
        elif name == "ENOEXEC":
            why, code = f"exec {program}: exec format error", 255
        else:
            why, code = f'exec: "{program}": {(exc.strerror or "").lower()}', 126
        if action == "create":
            text = (
                "failed to create containerd task: failed to create shim task: OCI runtime create failed: "
                f"runc create failed: unable to start container process: error during container init: {why}: unknown"
            )
            return OciError(text, 128)
        text = f"OCI runtime exec failed: exec failed: unable to start container process: {why}: unknown"
        return OciError(text, code)

    def start_exec(
        self,
        container: Container,
        argv: Sequence[str],
        *,
        tty: bool = False,
        stdin: InputStream | None = None,
        stdout: OutputStream | None = None,
        stderr: OutputStream | None = None,
        size: tuple[int, int] | None = None,
        env: Mapping[str, str] | None = None,
    ) -> Execution:
        """Starts a command in a running container; OciError when it can't be."""
        if container.state != "running":
            raise OciError(f"container {container.id} is not running", 128)
        if not argv:
            raise OciError("exec: no command specified", 128)
        outputs: list[OpenFile] = [Sink(stream or _Nowhere()) for stream in (stdout, stderr)]
        terminal = self.kernel.open_tty((stdout or _Nowhere()).write, container, outputs[0]) if tty else None
        if terminal is not None and size is not None:
            terminal.rows, terminal.columns = size
        process = self._process(container, terminal, stdin, outputs, env)
        try:
            self._run(container, process, list(argv), "exec")
        except OciError:
            if terminal is not None:
                self.kernel.close_tty(terminal)
            raise
        pump = None
        if terminal is not None and stdin is not None:
            pump = self.kernel.turns.task(_pump(stdin, terminal, process), process)
        return Execution(process, terminal, pump)

    async def exec(
        self,
        container: Container,
        argv: Sequence[str],
        *,
        tty: bool = False,
        stdin: InputStream | None = None,
        stdout: OutputStream | None = None,
        stderr: OutputStream | None = None,
        size: tuple[int, int] | None = None,
        env: Mapping[str, str] | None = None,
    ) -> int:
        """Runs a command in a running container to its end; its exit code. OciError when it can't be started."""
        execution = self.start_exec(
            container, argv, tty=tty, stdin=stdin, stdout=stdout, stderr=stderr, size=size, env=env
        )
        try:
            return await execution.wait()
        except asyncio.CancelledError:
            execution.kill()
            raise


async def _pump(stdin: InputStream, tty: Tty, process: Process) -> None:
    """Types into a terminal what a client sends; at the client's end of input, Ctrl-D."""
    await tty.used(_FIRST_READ)
    while data := await stdin.read(4096):
        await tty.room()
        tty.input(data)
        await process.cooperate()
    tty.input(b"\x04")


class _Nowhere:
    def write(self, data: bytes) -> None:
        """Drops it."""


# Standard streams that nothing is attached to. Not the container's /dev/null, which can be removed.
_NULL = Device("null", 1, 3, 0o666)


def _below(volume: EmptyDir, sub_path: str, now: int) -> Inode:
    filesystem = Filesystem(volume.root, clock=lambda: now)
    return filesystem.mkdir(sub_path) if sub_path else volume.root
