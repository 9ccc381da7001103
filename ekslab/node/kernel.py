"""The kernel of a node: its clock, its process table, and the system calls that subscribers see.

A program is a coroutine that gets its process. Everything runs in one event loop. A system call is an ordinary method
call (`syscalls/`), so a subscriber sees the state at the moment of the call.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import posixpath
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Self

from ekslab.node import abi
from ekslab.node.arguments import Argument, flags_argument, plain
from ekslab.node.container import Container, PidNamespace
from ekslab.node.credentials import Credentials
from ekslab.node.descriptors import DescriptorTable, OpenFile
from ekslab.node.filesystem import Filesystem
from ekslab.node.inodes import Inode
from ekslab.node.limits import MIB, NODE_DISK, NODE_MEMORY, Disk, Memory, OutOfMemory
from ekslab.node.network import Network
from ekslab.node.tty import Tty
from ekslab.node.turns import LONGEST, Overrun, Turns

log = logging.getLogger(__name__)

_LARGE = 48 * MIB  # growth of the lab's memory from which on a container can be the one that fills it


class ProcessExit(BaseException):
    """Ends the program that is running, from any depth of its calls."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class Attempt(NamedTuple):
    """The arguments and environment of an execve that failed."""

    argv: Sequence[str]
    env: Mapping[str, str]


class SystemCall(NamedTuple):
    """A system call as it is about to return. `source` and `target` are the two paths of rename, link and symlink."""

    process: Task
    type: str
    result: int
    arguments: tuple[Argument, ...]
    fd: int | None
    file: OpenFile | None
    path: str | None
    source: str | None
    target: str | None
    filename: str
    """What execve was asked to run."""
    time: int
    number: int
    attempt: Attempt | None = None
    """What an execve that failed would have run: the process is still what it was."""

    @property
    def container(self) -> Container | None:
        return self.process.container


class Task(Credentials, DescriptorTable):
    """What the kernel keeps of a process (Linux's `task_struct`): its place in the process tree, its state and end.

    `Process` adds the system calls.
    """

    def __init__(
        self,
        kernel: Kernel,
        *,
        parent: Task | None,
        filesystem: Filesystem,
        container: Container | None = None,
        argv: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        cwd: str = "/",
        uid: int = 0,
        gid: int = 0,
        groups: Sequence[int] = (),
        capabilities: frozenset[str] = abi.ALL_CAPABILITIES,
    ) -> None:
        Credentials.__init__(self, filesystem, uid, gid, groups, capabilities)
        DescriptorTable.__init__(self)
        self.kernel: Kernel = kernel
        self.parent: Task | None = parent
        self.container: Container | None = container
        self.argv: list[str] = list(argv)
        self.env: dict[str, str] = dict(env or {})
        self.cwd: str = cwd
        self.umask: int = 0o022
        self.tty: Tty | None = None
        self.name: str = posixpath.basename(argv[0])[:15] if argv else ""
        self.exe: str = argv[0] if argv else ""
        self.exe_path: str = ""
        self.exe_inode: Inode | None = None
        self.from_memfd: bool = False
        self.session_leader: Task = self
        self.group_leader: Task = self
        self.children: list[Task] = []
        self.started_at: int = kernel.now()
        self.pid: int = kernel.new_pid()
        self.vpid: int = container.new_pid() if container is not None else self.pid
        self.status: int | None = None
        self.task: asyncio.Task[None] | None = None
        self.program = ""
        self.signal_handlers: dict[int, Callable[[], object] | None] = {}
        """What handles a signal; None ignores it."""
        self.fatal_signal = 0
        self.entered_network = ""
        """The address in the network namespace of a pod that a process of the node has entered."""
        self.ran: float | None = None
        self._held = 0
        self._filled: OpenFile | None = None
        self.stopped = 0
        """The signal that stopped the process; 0 while it runs."""
        self._pending: list[int] = []  # signals that a stopped process gets when it goes on
        self._changed = asyncio.Event()
        self._resumed = asyncio.Event()
        self._exited = asyncio.Event()
        kernel.processes[self.pid] = self

    def __repr__(self) -> str:
        return f"<Process {self.pid} {' '.join(self.argv)!r}>"

    # -- the process tree --------------------------------------------------------------------------------------------

    @property
    def network(self) -> Network:
        return self.kernel.network

    @property
    def ip(self) -> str:
        """The address of the process's network namespace."""
        if self.entered_network:
            return self.entered_network
        if self.container is None or self.container.spec.host_network:
            return self.kernel.ip
        return self.container.spec.pod_ip

    @property
    def ppid(self) -> int:
        return self.parent.pid if self.parent is not None else 1

    @property
    def vppid(self) -> int:
        """The parent's number in the pid namespace; 0 when the parent is outside."""
        if self.parent is None or self.parent.pid_namespace is not self.pid_namespace:
            return 0
        return self.parent.vpid

    @property
    def pid_namespace(self) -> PidNamespace | None:
        """None for the node's."""
        return self.container.pid_namespace if self.container is not None else None

    @property
    def alive(self) -> bool:
        return self.status is None

    def visible(self) -> list[Task]:
        """The processes in the same pid namespace, oldest first."""
        if self.container is None or self.container.spec.host_pid:
            return sorted(self.kernel.processes.values(), key=lambda process: process.pid)
        return self.kernel.processes_in(self.container.pid_namespace)

    def find_process(self, vpid: int) -> Task | None:
        """The process with this number in the caller's pid namespace."""
        if self.container is None or self.container.spec.host_pid:
            return self.kernel.processes.get(vpid)
        return next((process for process in self.visible() if process.vpid == vpid), None)

    def absolute(self, path: str) -> str:
        """The path as Falco shows it: absolute, `..` taken out of the text, links not followed."""
        if not path.startswith("/"):
            path = f"{self.cwd}/{path}"
        return posixpath.normpath("/" + path.lstrip("/"))

    def emit(
        self,
        type: str,
        result: int,
        *arguments: Argument,
        fd: int | None = None,
        file: OpenFile | None = None,
        path: str | None = None,
        source: str | None = None,
        target: str | None = None,
        filename: str = "",
        attempt: Attempt | None = None,
    ) -> None:
        """Shows a system call to the kernel's subscribers."""
        kernel = self.kernel
        if kernel.wants(type):
            now, number = kernel.now(), kernel.next_call_number()
            kernel.emit(
                SystemCall(
                    self, type, result, arguments, fd, file, path, source, target, filename, now, number, attempt
                )
            )

    # -- running -----------------------------------------------------------------------------------------------------

    def start(self, main: Callable[[Self], Awaitable[int]]) -> None:
        """Runs a program in a process that was just made."""
        self.task = self.kernel.turns.task(self._run(main), self, f"{self.pid}:{self.name}")
        self.task.add_done_callback(lambda _: self._end(128 + (self.fatal_signal or abi.SIGKILL)))

    async def _run(self, main: Callable[[Self], Awaitable[int]]) -> None:
        try:
            status = await main(self)
        except ProcessExit as exc:
            status = exc.status
        except asyncio.CancelledError:
            status = 128 + (self.fatal_signal or abi.SIGKILL)
        except Overrun:
            self.fatal_signal = abi.SIGKILL
            status = 128 + abi.SIGKILL
            log.warning("%s was killed: it ran for %.2f s without a pause", self._described(), LONGEST)
            self._complain(f"[embedded lab] {self.name} was killed: it kept the lab's processor to itself\n")
        except OutOfMemory as exc:
            status = self._out_of_memory(exc.group)
        except MemoryError:
            status = self._out_of_memory(self.memory)
        except OSError as exc:
            # An error that the program doesn't handle is reported as its error message.
            text = exc.strerror or str(exc)
            self._complain(f"{self.name}: {f'{exc.filename}: {text}' if exc.filename else text}\n")
            status = 1
        except RecursionError:
            self._complain("Segmentation fault (core dumped)\n")
            status = 139
        except Exception:
            log.exception("the program %r failed", " ".join(self.argv))
            self._complain(f"{self.name}: internal error of the simulated program\n")
            status = 70
        self._end(int(status) & 0xFF)

    def _described(self) -> str:
        spec = self.container.spec if self.container is not None else None
        pod = f" in pod {spec.pod_namespace}/{spec.pod_name}" if spec is not None else ""
        return f"process {self.pid} ({self.name}){pod} on {self.kernel.hostname}"

    def _complain(self, text: str) -> None:
        """Writes to stderr, if it is open and something reads it."""
        file = self.fds.get(2)
        try:
            if file is not None:
                file.write(text.encode("utf-8", "surrogateescape"), self.kernel.now())
        except OSError:
            log.debug("nothing reads the error output of %r: %s", self, text)

    def _end(self, status: int) -> None:
        if self.status is not None:
            return
        self.status = status
        self.charge(-self._held)
        self.close_all()
        self.emit(
            "procexit",
            0,
            plain("status", str(self.fatal_signal or status << 8)),
            plain("ret", str(0 if self.fatal_signal else status)),
            flags_argument("sig", self.fatal_signal, abi.signal_name(self.fatal_signal)),
            plain("core", "0"),
            plain("reaper_tid", "0"),
        )
        self.kernel.forget(self)
        self._exited.set()
        self._changed.set()

    async def exited(self) -> int:
        """Waits for the process to end and returns its exit status."""
        await self._exited.wait()
        assert self.status is not None
        return self.status

    async def exited_or_stopped(self) -> None:
        """Waits for the process to end or to be stopped, as waitpid does with WUNTRACED."""
        while self.alive and not self.stopped:
            self._changed.clear()
            await self._changed.wait()

    def abandon(self) -> None:
        """Gives up a process whose program couldn't be started."""
        self.close_all()
        self.kernel.forget(self)
        self.status = 255

    def signal(self, number: int) -> None:
        """Delivers a signal: runs its handler, or ends the process."""
        if not self.alive:
            return
        if number == abi.SIGNALS["CONT"] and self.stopped:
            self.stopped = 0
            self._resumed.set()
            for pending in self._pending:
                self.signal(pending)
            self._pending.clear()
        if number in abi.STOPPING_SIGNALS and (number == abi.SIGNALS["STOP"] or number not in self.signal_handlers):
            self._stop(number)
            return
        if self.stopped and number not in (abi.SIGKILL, abi.SIGNALS["CONT"]):
            self._pending = [*self._pending[-63:], number]
            return
        if number != abi.SIGKILL and number in self.signal_handlers:
            handler = self.signal_handlers[number]
            if handler is not None:
                handler()
            return
        if number in abi.HARMLESS_SIGNALS:
            return
        self.fatal_signal = number
        if self.task is None:
            self._end(128 + number)
        elif self.task is not asyncio.current_task():
            self.task.cancel()
        else:
            raise ProcessExit(128 + number)

    def _stop(self, number: int) -> None:
        """Stops the process until SIGCONT; the terminal's signals don't stop what no shell waits for.

        What was started from outside the container doesn't stop itself either: nothing could make it go on.
        """
        parent = self.group_leader.parent
        orphaned = parent is None or parent.session_leader is not self.session_leader
        forced = number == abi.SIGNALS["STOP"] and not (orphaned and self.task is asyncio.current_task())
        if not self.stopped and (forced or not orphaned):
            self.stopped = number
            self._resumed.clear()
            self._changed.set()

    async def _held_back(self) -> None:
        while self.stopped:
            await self._resumed.wait()

    # -- memory and turns: see `turns.Owner` -------------------------------------------------------------------------

    @property
    def memory(self) -> Memory:
        """The process's control group."""
        return self.container.memory if self.container is not None else self.kernel.memory

    def charge(self, size: int) -> None:
        """Counts `size` bytes that the program holds from now on, until it ends; fewer when negative.

        Beyond the container's limit, the program and everything else in its container ends.
        """
        self.memory.charge(size)
        self._held += size

    def _out_of_memory(self, group: Memory) -> int:
        self.fatal_signal = abi.SIGKILL
        log.warning("%s ran out of memory: the limit is %d MiB", self._described(), group.limit // MIB)
        if group.kill is not None:
            group.kill()
        return 128 + abi.SIGKILL

    @property
    def group(self) -> object:
        """The unit that takes turns: the container, or the node for processes outside of containers."""
        return self.container or self.kernel

    def filled(self, file: OpenFile) -> None:
        """The process wrote more than `file` can hold: it waits in `room` before it goes on."""
        self._filled = file

    def room(self) -> Coroutine[Any, Any, object] | None:
        if self.stopped:
            return self._held_back()
        file, self._filled = self._filled, None
        return file.drain() if file is not None and file.full else None

    def overran(self, reason: BaseException) -> None:
        if isinstance(reason, OutOfMemory):
            self._out_of_memory(reason.group)
        elif self.task is not asyncio.current_task():
            log.warning("%s was killed: %r", self._described(), reason)
            self.signal(abi.SIGKILL)

    def grew(self, size: int, *, over: bool) -> None:
        memory = self.memory
        memory.grown = max(0, memory.grown + size)
        if over and memory.grown > _LARGE:
            raise OutOfMemory(memory)

    async def cooperate(self) -> None:
        """Lets other programs run if this one has had its turn. Calls that wait do this by themselves."""
        if self.stopped or self.kernel.turns.spent():
            await asyncio.sleep(0)


Subscriber = Callable[[SystemCall], object]


class Kernel:
    """One node's kernel: the clock, the process table, terminals, and subscriptions to system calls."""

    def __init__(
        self, hostname: str, *, network: Network, ip: str = "127.0.0.1", clock: Callable[[], int] = time.time_ns
    ) -> None:
        self.bpf_fault = ""
        """Why no eBPF probe can be loaded: `no-btf`, `old` or `locked-down`; empty if one can."""
        self.hostname: str = hostname
        self.network = network
        self.ip = ip
        self.processes: dict[int, Task] = {}
        self.memory = Memory(NODE_MEMORY)
        self.disk = Disk(NODE_DISK)
        self.ttys: dict[tuple[Container | None, int], Tty] = {}
        self.loader_files: tuple[str, ...] = ("/etc/ld.so.cache", "/lib/x86_64-linux-gnu/libc.so.6")
        self._clock = clock
        self._last = 0
        self._pids = itertools.count(1201)
        self._call_numbers = itertools.count(1)
        self._subscribers: list[tuple[Subscriber, frozenset[str] | None]] = []
        self._wanted: frozenset[str] | None = frozenset()
        self.boot_time: int = self.now()

    @property
    def turns(self) -> Turns:
        """The turns that programs take on the running event loop."""
        return Turns.of(asyncio.get_running_loop())

    def now(self) -> int:
        """Nanoseconds since the epoch; never the same twice."""
        self._last = max(self._clock(), self._last + 1)
        return self._last

    # -- system calls ------------------------------------------------------------------------------------------------

    def subscribe(self, callback: Subscriber, types: Iterable[str] | None = None) -> Callable[[], None]:
        """Calls back at every system call (of the given types, else of all), before it returns.

        Returns what ends the subscription. `events.subscribe` gives the callback Falco's view of the calls.
        """
        entry = (callback, frozenset(types) if types is not None else None)
        self._subscribers.append(entry)
        self._update_wanted()

        def unsubscribe() -> None:
            if entry in self._subscribers:
                self._subscribers.remove(entry)
                self._update_wanted()

        return unsubscribe

    def _update_wanted(self) -> None:
        wanted: frozenset[str] | None = frozenset()
        for _, types in self._subscribers:
            wanted = None if wanted is None or types is None else wanted | types
        self._wanted = wanted

    def wants(self, type: str) -> bool:
        """Whether there is a subscriber for calls of this type."""
        return self._wanted is None or type in self._wanted

    def emit(self, call: SystemCall) -> None:
        for callback, types in tuple(self._subscribers):
            if types is None or call.type in types:
                callback(call)

    def next_call_number(self) -> int:
        return next(self._call_numbers)

    # -- the process table -------------------------------------------------------------------------------------------

    def new_pid(self) -> int:
        return next(self._pids)

    def processes_of(self, container: Container) -> list[Task]:
        """The processes of a container."""
        return [process for process in self.processes.values() if process.container is container]

    def processes_in(self, namespace: PidNamespace) -> list[Task]:
        """The processes of a pid namespace, oldest first."""
        found = [process for process in self.processes.values() if process.pid_namespace is namespace]
        return sorted(found, key=lambda process: process.pid)

    def first_process(self, container: Container) -> Task | None:
        """The process with number 1 in a container, while it runs."""
        return self.processes.get(container.pid)

    def forget(self, process: Task) -> None:
        """Removes an ended process from the table; its children get the container's first process as parent."""
        self.processes.pop(process.pid, None)
        if process.parent is not None and process in process.parent.children:
            process.parent.children.remove(process)  # the parent may live for ever, and never wait for it
        if process.children:
            heir = self.first_process(process.container) if process.container is not None else None
            for child in process.children:
                if child.alive:
                    child.parent = heir
                    if heir is not None:
                        heir.children.append(child)
            process.children.clear()

    def signal_group(self, group: int, number: int) -> None:
        """Sends a signal to every process of a group, named by its leader's pid."""
        for process in list(self.processes.values()):
            if process.group_leader.pid == group:
                process.signal(number)

    # -- terminals ---------------------------------------------------------------------------------------------------

    def open_tty(
        self, output: Callable[[bytes], object], container: Container | None, screen: OpenFile | None = None
    ) -> Tty:
        """A new pseudo-terminal with the lowest free number; each container has its own /dev/pts and numbers.

        `screen` is where the output goes, if that can be full.
        """
        number = next(number for number in itertools.count() if (container, number) not in self.ttys)
        tty = self.ttys[container, number] = Tty(number, output, self.signal_group, screen)
        return tty

    def close_tty(self, tty: Tty) -> None:
        tty.hang_up()
        self.ttys = {key: other for key, other in self.ttys.items() if other is not tty}
