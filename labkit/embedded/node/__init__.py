"""A simulated Linux node: containers, processes, files and sockets whose system calls become events for Falco's rules.

Programs, images and pods go in; what comes out is what a node shows: exit codes, terminal output, CRI logs on the
host's file system, HTTP requests to the lab's network, and a `KernelEvent` for every system call a rule can ask about.
Nothing here ever touches the computer the lab runs on: no subprocess, no real file, no real socket.

    node = Node("ip-10-0-1-10", network=Network(), images=ImageRegistry([image]), ip="10.0.1.10")
    unsubscribe = node.kernel.subscribe(lambda event: ...)        # synchronous, called inside the system call
    container = await node.runtime.create(ContainerSpec(pod_name=..., image="nginx:1.27", ...))
    await node.runtime.start(container)
    code = await node.runtime.exec(container, ["bash"], tty=True, stdin=reader, stdout=writer)

Programs (`programs.py`)
    @program("cat")                          registers a program under a name that is unique in the lab
    async def cat(p: Process) -> int         its return value is the exit status; `CancelledError` ends it (see signals)
    An executable file is one whose content starts with an ELF header that names a program (`elf("cat")` makes it), so a
    copied /bin/ls is still ls. `#!interpreter` scripts run too. `Layer.program(path, name)` puts one into an image.

Process: what a program gets. System calls raise `OSError` with Linux's errno (`error.strerror` is the C library's text).
    state      argv: list[str]   env: dict[str, str]   cwd: str   uid gid euid egid: int   groups: list[int]
               pid ppid (as the node sees them)  vpid vppid (as its container sees them)  name (comm, 15 chars)
               parent: Process | None   container: Container | None   tty: Tty | None   umask   capabilities: set[str]
               kernel: Kernel   network: Network   fds: dict[int, Descriptor]   user_name(uid) group_name(gid)
    files      open(path, flags=O_RDONLY, mode=0o666) -> fd   close(fd)   dup(fd)   dup2(old, new)   pipe() -> (r, w)
               read_now(fd, n) -> bytes (files)   await read(fd, n=65536) -> bytes (b"" at the end; waits on pipe and tty)
               write(fd, data) -> int (never waits)   await drain(fd) (waits until a pipe's reader kept up)
               stat(path) lstat(path) fstat(fd) -> Stat   listdir(path) -> list[str]   readlink(path)  access(path, mode)
               mkdir(path, mode) rmdir(path) unlink(path) rename(old, new) link(old, new) symlink(target, path)
               chmod(path, mode) chown(path, uid, gid) utime(path, ns) truncate(path, size) chdir(path) isatty(fd)
    shortcuts  exists(path) isdir(path) isfile(path) read_bytes(path) read_text(path) write_bytes(path, data)
               write_text(path, text) append_text(path, text); a path is relative to the process's cwd
               stdin.read() / stdin.lines() (async)   stdout.write(str | bytes)  stderr.write(...)   await stdout.drain()
               print(*values) = a line on stdout    fail(message, code=1) = "<argv0>: message" on stderr, returns code
               await wait_for_change(*paths, timeout=None) -> bool: a file or directory grew, changed, appeared or went
    processes  spawn(argv, *, env=None, cwd=None, stdin=None, stdout=None, stderr=None, uid=None, gid=None) -> Process
                   (stdin... are own descriptors; argv[0] is looked up in PATH; FileNotFoundError if it isn't there)
               fork(async function of the child -> int) -> Process    `return await p.exec(argv, env=None)` replaces it
               await p.wait(child) -> int (0..255, 128+n after signal n)   kill(pid, signal)   exit(code) (raises)
               setuid(uid) setgid(gid)   await sleep(seconds)   await cooperate() in busy loops
               on_signal(signal.SIGHUP, callback | None): callback() runs in the event loop; None ignores the signal;
               with nothing registered a fatal signal cancels the program, which exits with 128 + n
    network    await http(method, url, headers=None, body=b"", *, timeout=None) -> HttpResponse
               connect(host_or_ip, port) -> fd       listen(port, handler) -> callable that stops listening
               NameError_: socket.gaierror for an unknown host, ConnectionRefusedError, TimeoutError as usual

Images (`images.py`)
    layer = debian_userland()                a fresh, editable copy of a Debian 12 root with the userland in /usr/bin
    layer.file(path, text_or_bytes, mode=0o644, uid=0, gid=0) .directory(path, mode) .symlink(path, target)
         .program(path, name, mode=0o755) .remove(path) .user(name, uid, gid, home, shell)   each returns the layer;
         parents are made as needed
    Layer()                                  an empty one (distroless)
    Image(repository="docker.io/library/nginx", tags=("1.27", "latest"), layer=layer, entrypoint=("/docker-entrypoint.sh",),
          cmd=("nginx", "-g", "daemon off;"), env={...}, user="", workdir="/", stop_signal="SIGTERM", labels={})
    ImageRegistry(images=()).add(image) .resolve("nginx:1.27") -> Image     short names mean docker.io/library/...;
          raises ImagePullError(reason="ErrImagePull", message=as containerd words it)
    Image.id, Image.digest (sha256:...), Image.reference(tag)

Runtime (`runtime.py`), what the kubelet talks to: node.runtime
    await create(ContainerSpec(...)) -> Container;  await start(c);  await stop(c, grace=30.0);  await remove(c)
    Container: id (64 hex) spec image state ("created" | "running" | "exited") exit_code started_at finished_at (ns, int)
               reason ("Completed" | "Error") log_path pid init (Process) filesystem;  await c.wait() -> exit code
    await exec(c, argv, *, tty=False, stdin=None, stdout=None, stderr=None, size=None, env=None) -> exit code
    start_exec(same arguments) -> Execution: .process .resize(rows, cols) .kill(signal) await .wait() -> exit code
               stdin is an object with `async read(n) -> bytes` (b"" = end), outputs have `write(bytes)`;
               without stdin the process reads /dev/null; with a tty everything goes to stdout
    raises     ImagePullError (create), OciError(message in runc's words, .exit_code 126 | 127 | 128) from start and exec
    containers: dict[id, Container];  logs: CRI lines in spec.log_path on node.filesystem, with the usual symlink
    ContainerSpec(pod_name, pod_namespace, pod_uid, sandbox_id, name, image, command=(), args=(), env={}, workdir="",
               user="" ("1000", "1000:2000", "nginx"), tty=False, stdin=False, privileged=False, capabilities=Capabilities
               add/drop tuples: add=(), drop=(), mounts=(), restart_count=0, host_network=False, host_pid=False,
               host_ipc=False, pod_ip="", hostname="", labels={}, pod_labels={}, annotations={}, termination_log=...)
    Mount(path, source, read_only=False)     source: HostPath(path) | EmptyDir() (share the object) | Files({"a/b": b"..."})
               Files.update({...}) replaces the whole content atomically, as the kubelet does (`..data` symlink);
               for a single file (subPath) use Mount(path, source, sub_path="a/b")

Filesystem: node.filesystem (the host's) and container.filesystem - no events, for the kubelet and for tests
    read_bytes write_bytes append_bytes read_text write_text exists listdir(path) mkdir(path) (with parents) remove(path)
    (recursive) symlink(target, path) stat(path) size(path); await wait_for_change(*paths, timeout=None) -> bool

Network (`network.py`)
    serve(host_glob, handler, *, ip=None, port=None) -> callable that stops serving;  add_name(name, ip)
    resolve(host, search=()) -> ip (socket.gaierror when unknown)   name_of(ip) -> str | None
    listen(ip, port, handler)   await http(process_or_None, HttpRequest, timeout=None) -> HttpResponse

Kernel: node.kernel
    subscribe(callback(event)) -> callable that unsubscribes    processes: dict[pid, Process]    now() -> ns, increasing
    A KernelEvent implements labkit.rules.Event: source "syscall", type, time, get(field, arg); fields are computed when asked
    for, at the moment of the system call: keep `event.recorded(fields)` instead of the event if you look later.
"""

from labkit.embedded.node import shell as _shell
from labkit.embedded.node.filesystem import EmptyDir, Files, Filesystem, HostPath, Mount
from labkit.embedded.node.images import Image, ImagePullError, ImageRegistry, Layer
from labkit.embedded.node.kernel import Kernel, Process
from labkit.embedded.node.network import Network
from labkit.embedded.node.node import Node
from labkit.embedded.node.programs import elf, program
from labkit.embedded.node.runtime import Container, ContainerSpec, Execution, OciError, Runtime

del _shell  # imported for the programs that it registers

__all__ = [
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
    "Kernel",
    "Layer",
    "Mount",
    "Network",
    "Node",
    "OciError",
    "Process",
    "Runtime",
    "elf",
    "program",
]

from labkit.embedded.node.abi import (
    O_APPEND,
    O_CREAT,
    O_EXCL,
    O_RDONLY,
    O_RDWR,
    O_TRUNC,
    O_WRONLY,
)
from labkit.embedded.node.debian import debian_userland
from labkit.embedded.node.events import KernelEvent
from labkit.embedded.node.filesystem import Stat, Watch

__all__ = [
    "O_APPEND",
    "O_CREAT",
    "O_EXCL",
    "O_RDONLY",
    "O_RDWR",
    "O_TRUNC",
    "O_WRONLY",
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
    "Kernel",
    "KernelEvent",
    "Layer",
    "Mount",
    "Network",
    "Node",
    "OciError",
    "Process",
    "Runtime",
    "Stat",
    "Watch",
    "debian_userland",
    "elf",
    "program",
]
