"""A simulated Linux node: containers, processes, files and sockets whose system calls become events for Falco's rules.

A node shows what a real one shows: exit codes, terminal output, CRI logs on the host's file system, HTTP requests on
the lab's network, and a `KernelEvent` for every system call that a rule can ask about. Nothing here touches the
computer that the lab runs on: no subprocess, no real file, no real socket.

    node = Node("ip-10-0-1-10", network=Network(), images=ImageRegistry([image]), ip="10.0.1.10")
    unsubscribe = subscribe(node.kernel, lambda event: ...)       # synchronous, called inside the system call
    container = await node.runtime.create(ContainerSpec(pod_name=..., image="nginx:1.27", ...))
    await node.runtime.start(container)
    code = await node.runtime.exec(container, ["bash"], tty=True, stdin=reader, stdout=writer)

Layers, low to high; a module imports only from lines above its own, or earlier in its line
    abi, limits, patterns         Linux's numbers and names; bounds of memory and disk; globs and regular expressions
    programs, turns               the registry of programs; how they share the event loop
    inodes, filesystem, volumes   files and directories; mounts and path lookup; what a pod can mount
    descriptors, tty, sockets     open files, pipes and a process's table of them; terminals; connections
    network, images, accounts     names and servers; images and their registry; /etc/passwd and /etc/group
    arguments, credentials, container     how Falco prints arguments; users and capabilities; a container's description
    kernel                        the process table (`Task`), the clock, subscriptions to system calls
    syscalls/, process            the system calls by family; `Process`, which programs get
    fields/, events, procfs       Falco's fields of a system call; `KernelEvent`; /proc and /dev
    container_logs, runtime, node CRI logs; containerd's role; a whole machine
    shell/, userland/, debian     sh and bash; the programs of Debian; the image that has them

Programs (`programs.py`)
    @program("cat")                          registers a program under a name that is unique in the lab
    async def cat(p: Process) -> int         its return value is the exit status
    An executable file is one whose content starts with an ELF header that names a program (`elf("cat")` makes it), so
    a copied /bin/ls is still ls. `#!interpreter` scripts run too. `Layer.program(path, name)` puts one into an image.

Process (`process.py`, `syscalls/`): what a program gets. System calls raise `OSError` with Linux's errno;
`error.strerror` is the C library's text.
    state      argv env cwd uid gid euid egid groups umask capabilities, pid ppid (as the node sees them), vpid vppid
               (as its container sees them), name (comm, 15 characters), parent container tty kernel network fds
    files      open(path, flags=O_RDONLY, mode=0o666) -> fd   close dup dup2 pipe() -> (r, w)   seek isatty
               read_now(fd, n) -> bytes (files)   await read(fd, n) -> bytes (b"" at the end; waits on pipe and tty)
               write(fd, data) -> int (never waits)   await drain(fd) (waits until a pipe's reader kept up)
               stat lstat fstat -> Stat   listdir readlink access mkdir rmdir unlink rename link symlink(target, path)
               chmod chown utime truncate chdir
    shortcuts  exists isdir isfile read_bytes read_text write_bytes write_text append_text; paths may be relative
               stdin.read() .readline() .lines() (async)   stdout.write(str | bytes) stderr.write  await stdout.drain()
               print(*values) = a line on stdout    fail(message, code=1) = "<argv0>: message" on stderr, returns code
               await wait_for_change(*paths, timeout=None) -> bool; watch(*paths) for a lasting Watch
    processes  spawn(argv, env=, cwd=, stdin=, stdout=, stderr=, uid=, gid=) -> Process; argv[0] is looked up in PATH
               fork(async function of the child -> int) -> Process    `return await p.exec(argv)` replaces it
               await p.wait(child) -> int (0..255, 128+n after signal n)   kill(vpid, signal)   exit(code)
               setuid setgid   await sleep(seconds)   await cooperate() in busy loops
               on_signal(number, callback | None): callback() runs in the event loop; None ignores the signal; with
               nothing registered a fatal signal cancels the program, which exits with 128 + n
    network    await http(method, url, headers=None, body=b"", timeout=None) -> HttpResponse
               await connect(host, port) -> fd       listen(port, handler) -> callable that stops listening
               errors: socket.gaierror for an unknown host, ConnectionRefusedError, TimeoutError

Images (`images.py`, `debian.py`)
    layer = debian_userland()                a fresh, editable copy of a Debian 13 root with the userland in /usr/bin
    layer.file(path, content, mode=0o644, uid=0, gid=0) .directory(path, mode) .symlink(path, target)
         .program(path, name) .remove(path) .user(name, uid, gid, home, shell)   each returns the layer
    Image(repository, tags, layer, entrypoint=(), cmd=(), env={}, user="", workdir="/", stop_signal="SIGTERM")
    ImageRegistry(images).add(image) .resolve("nginx:1.27") -> Image; ImagePullError has containerd's words

Runtime (`runtime.py`), what the kubelet talks to: node.runtime
    await create(ContainerSpec(...)) -> Container;  await start(c);  await stop(c, grace=30.0);  await remove(c)
    Container: id spec image state ("created" | "running" | "exited") exit_code started_at finished_at (ns, int) reason
               log_path pid filesystem;  await c.wait() -> exit code
    await exec(c, argv, tty=, stdin=, stdout=, stderr=, size=, env=) -> exit code; start_exec -> Execution
               stdin is an object with `async read(n) -> bytes` (b"" = end), outputs have `write(bytes)`;
               without stdin the process reads /dev/null; with a tty everything goes to stdout
    ImagePullError from create; OciError (runc's words, .exit_code) from start and exec
    Mount(path, source, read_only=False, sub_path="")  source: HostPath(path) | EmptyDir() | Files({"a/b": b"..."});
               Files.update({...}) replaces the whole content atomically, as the kubelet does (`..data` link)

Filesystem (`filesystem.py`): node.filesystem (the host's) and container.filesystem - no events, for kubelet and tests
Network (`network.py`): serve(host_glob, handler, ip=, port=), listen, resolve, name_of, add_name;
    http for requests of the lab itself
Kernel (`kernel.py`): processes, processes_of(container), first_process(container), now() -> ns, strictly increasing
KernelEvent (`events.py`): implements falcorules.Event; subscribe(kernel, callback, types=None). Fields are computed
    when asked for: keep `event.recorded(fields)` instead of the event to look at it later
"""

from ekslab.node.abi import O_APPEND, O_CREAT, O_EXCL, O_RDONLY, O_RDWR, O_TRUNC, O_WRONLY
from ekslab.node.container import Container, ContainerSpec, PidNamespace
from ekslab.node.debian import debian_userland
from ekslab.node.events import KernelEvent, subscribe
from ekslab.node.filesystem import Filesystem, Watch
from ekslab.node.images import Image, ImagePullError, ImageRegistry, Layer
from ekslab.node.inbox import Inbox
from ekslab.node.inodes import Stat
from ekslab.node.kernel import Kernel
from ekslab.node.network import Network
from ekslab.node.node import Node
from ekslab.node.process import Process
from ekslab.node.programs import elf, program
from ekslab.node.runtime import Connection, Execution, OciError, Runtime
from ekslab.node.volumes import EmptyDir, Files, HostPath, Mount

__all__ = [
    "O_APPEND",
    "O_CREAT",
    "O_EXCL",
    "O_RDONLY",
    "O_RDWR",
    "O_TRUNC",
    "O_WRONLY",
    "Connection",
    "Container",
    "ContainerSpec",
    "EmptyDir",
    "Execution",
    "Files",
    "Filesystem",
    "HostPath",
    "Image",
    "ImagePullError",
    "ImageRegistry",
    "Inbox",
    "Kernel",
    "KernelEvent",
    "Layer",
    "Mount",
    "Network",
    "Node",
    "OciError",
    "PidNamespace",
    "Process",
    "Runtime",
    "Stat",
    "Watch",
    "debian_userland",
    "elf",
    "program",
    "subscribe",
]
