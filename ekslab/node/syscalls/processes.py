"""fork, execve, wait and exit: system calls that start and end processes. Events: clone, vfork, execve, ptrace."""

from __future__ import annotations

import asyncio
import posixpath
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Self

from ekslab.node import abi, programs
from ekslab.node.abi import error
from ekslab.node.arguments import Argument, plain, result_argument
from ekslab.node.filesystem import Found
from ekslab.node.inodes import File
from ekslab.node.kernel import Attempt, ProcessExit, Task
from ekslab.node.syscalls.files import FileCalls

_MOST_PROCESSES = 512  # per container
_LONGEST_WORD, _LONGEST_COMMAND = 128 << 10, 2 << 20  # bytes of one argument, and of all of them with the environment
_DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

_PTRACE = {
    "PTRACE_TRACEME": 0,
    "PTRACE_PEEKTEXT": 1,
    "PTRACE_PEEKDATA": 2,
    "PTRACE_POKETEXT": 4,
    "PTRACE_POKEDATA": 5,
    "PTRACE_CONT": 7,
    "PTRACE_SETREGS": 13,
    "PTRACE_ATTACH": 16,
    "PTRACE_DETACH": 17,
    "PTRACE_SEIZE": 0x4206,
}


@dataclass(frozen=True)
class Executable:
    """A program that `Process.executable` found, ready to run."""

    path: str
    found: Found
    main: programs.Program
    program_name: str
    argv: list[str]
    comm: str


class ProcessCalls(FileCalls):
    """The life of processes."""

    def fork(
        self,
        main: Callable[[Self], Awaitable[int]],
        *,
        uid: int | None = None,
        gid: int | None = None,
        new_group: bool = False,
        call: str = "clone",
    ) -> Self:
        """Starts a child that runs an async function with the same files, environment and directory.

        EAGAIN when the container has as many processes as it may.
        """
        if sum(process.container is self.container for process in self.kernel.processes.values()) >= _MOST_PROCESSES:
            raise error("EAGAIN")
        child = type(self)(
            self.kernel,
            parent=self,
            filesystem=self.filesystem,
            container=self.container,
            argv=self.argv,
            env=self.env,
            cwd=self.cwd,
            uid=self.uid if uid is None else uid,
            gid=self.gid if gid is None else gid,
            groups=self.groups,
            capabilities=self.bounding_capabilities,
        )
        child.name, child.exe, child.exe_path, child.exe_inode = self.name, self.exe, self.exe_path, self.exe_inode
        child.from_memfd = self.from_memfd
        child.umask = self.umask
        if uid is None:
            child.euid = self.euid
        if gid is None:
            child.egid = self.egid
        child.tty = self.tty
        child.session_leader = self.session_leader
        child.group_leader = child if new_group else self.group_leader
        child.program = self.program
        child.signal_handlers = self._ignored_signals()
        child.inherit(self)
        self.children.append(child)
        self._emit_clone(call, child.vpid)
        child._emit_clone(call, 0)
        child.start(main)
        return child

    def _ignored_signals(self) -> dict[int, Callable[[], object] | None]:
        return {number: None for number, handler in self.signal_handlers.items() if handler is None}

    def _emit_clone(self, call: str, result: int) -> None:
        self.emit(call, result, plain("res", str(result)))

    async def wait(self, child: Task) -> int:
        """Waits for a process to end and returns its exit status."""
        status = await child.exited()
        if child in self.children:
            self.children.remove(child)
        return status

    def _candidates(self, name: str, path: str | None) -> list[str]:
        search = self.env.get("PATH", _DEFAULT_PATH) if path is None else path
        return [posixpath.join(directory or ".", name) for directory in search.split(":")]

    def find_program(self, name: str, path: str | None = None) -> str:
        """The path of the file that a name means, as shells look it up in PATH: by stat, before they fork.

        A file that may not be executed is the last resort. FileNotFoundError if there is none.
        """
        if "/" in name:
            return name
        files = [candidate for candidate in self._candidates(name, path) if self.isfile(candidate)]
        for candidate in files:
            if self.access(candidate, abi.X_OK):
                return candidate
        if not files:
            raise error("ENOENT", name)
        return files[0]

    def _load(self, path: str, argv: Sequence[str]) -> tuple[Found, programs.Program, str, list[str], str]:
        """Resolves what execve runs: the file, its program, the program's name, the arguments, and the new `comm`."""
        comm = posixpath.basename(path)
        arguments = list(argv)
        for _ in range(4):
            found = self._walk(path)
            inode = found.need(path)
            if not isinstance(inode, File) or not self.may(inode, abi.X_OK) or found.mount.noexec:
                raise error("EACCES", path)
            name = programs.program_name(inode.data)
            if name is not None:
                main = programs.lookup(name)
                if main is None:
                    raise error("ENOEXEC", path)
                return found, main, name, arguments, comm
            if not inode.data.startswith(b"#!"):
                raise error("ENOEXEC", path)
            line = bytes(inode.data[2 : inode.data.find(b"\n") if b"\n" in inode.data else None]).decode(
                errors="replace"
            )
            interpreter, _, option = line.strip().partition(" ")
            arguments = [interpreter, *([option.strip()] if option.strip() else []), path, *arguments[1:]]
            path = interpreter
        raise error("ELOOP", path)

    def executable(self, name: str, *, argv: Sequence[str] | None = None, path: str | None = None) -> Executable:
        """Looks a program up, for `run_executable`; raises what execve would raise."""
        return self.loaded(self.find_program(name, path), argv if argv is not None else [name])

    def loaded(self, path: str, argv: Sequence[str]) -> Executable:
        """The program in a file, for `run_executable`; raises what execve would raise."""
        words = list(map(len, argv))
        if max(words, default=0) > _LONGEST_WORD or sum(words) + len(words) * 8 > _LONGEST_COMMAND:
            raise error("E2BIG", path)
        return Executable(path, *self._load(path, argv))

    def mapped(self, path: str, argv: Sequence[str]) -> Executable:
        """The program in a file that needs no right to execute, as the dynamic loader maps one; the name stays."""
        found = self._walk(path)
        inode = found.need(path)
        name = programs.program_name(inode.data) if isinstance(inode, File) else None
        main = programs.lookup(name) if name is not None else None
        if name is None or main is None:
            raise error("ENOEXEC", path)
        self.argv = list(argv)
        return Executable(path, found, main, name, self.argv, self.name)

    def refused(self, path: str, argv: Sequence[str], exc: OSError, env: Mapping[str, str] | None = None) -> None:
        """Emits the execve that failed. The process stays what it is, and so do its fields in the event."""
        attempt = Attempt(argv, self.env if env is None else env)
        self.emit("execve", -abi.errno_number(abi.errno_name(exc)), filename=path, attempt=attempt)

    async def run_executable(self, executable: Executable, *, env: Mapping[str, str] | None = None) -> int:
        """Replaces what this process runs (execve) and runs that to its end; its exit status."""
        if env is not None:
            self.env = dict(env)
        for fd in [fd for fd in self.close_on_exec if fd in self.fds]:
            self.close(fd)
        self.signal_handlers = self._ignored_signals()
        self.argv = executable.argv
        self.exe = executable.argv[0] if executable.argv else ""
        self.name = executable.comm[:15]
        self.exe_inode = executable.found.inode
        self.exe_path = executable.found.real_path
        self.program = executable.program_name
        self.from_memfd = bool(self.exe_inode is not None and getattr(self.exe_inode, "memfd", ""))
        if self.from_memfd:
            self.exe_path = self.name = f"memfd:{getattr(self.exe_inode, 'memfd', '')}"
            self.name = self.name[:15]
        inode = self.exe_inode
        mount, container = executable.found.mount, self.container
        if inode is not None and container is not None and not (mount.nosuid or container.spec.no_new_privileges):
            if inode.mode & 0o4000:
                self.euid = inode.uid
            if inode.mode & 0o2010 == 0o2010:
                self.egid = inode.gid
        self.emit("execve", 0, filename=executable.path)
        self._load_libraries()
        return await executable.main(self)

    def _load_libraries(self) -> None:
        """Opens the files of the dynamic loader (ld.so.cache, libc) if the image has them."""
        for path in self.kernel.loader_files:
            if self.filesystem.exists(path):
                fd = self.open(path, abi.O_RDONLY | abi.O_CLOEXEC)
                self.close(fd)

    async def exec(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        failed: Callable[[OSError], int] | None = None,
    ) -> int:
        """`return await p.exec(argv)`: goes on as another program, which the C library's execvp finds.

        When it can't be run, ends with what `failed` returns, else raises the error.
        """
        try:
            executable = self._execvp(argv, env)
        except OSError as exc:
            if failed is None:
                raise
            return failed(exc)
        return await self.run_executable(executable, env=env)

    def _execvp(self, argv: Sequence[str], env: Mapping[str, str] | None) -> Executable:
        """Tries execve for each directory of PATH until one succeeds; each failure is an event.

        A file without a first line `#!` is run by sh.
        """
        name, denied = argv[0], False
        for path in [name] if "/" in name else self._candidates(name, None):
            try:
                return self.loaded(path, argv)
            except OSError as exc:
                self.refused(path, argv, exc, env)
                number = abi.errno_name(exc)
                if number == "ENOEXEC":
                    return self.loaded("/bin/sh", ["/bin/sh", path, *argv[1:]])
                if number not in ("ENOENT", "ENOTDIR", "EACCES"):
                    raise
                denied = denied or number == "EACCES"
        raise error("EACCES" if denied else "ENOENT", name)

    def spawn(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        stdin: int | None = None,
        stdout: int | None = None,
        stderr: int | None = None,
        uid: int | None = None,
        gid: int | None = None,
        new_group: bool = False,
        call: str = "vfork",
        failed: Callable[[Self, OSError], int] | None = None,
    ) -> Self:
        """Starts a program as a child, which looks it up by `exec`.

        When it can't be run, the child ends with what `failed` returns, else with an error message and 1.
        """

        async def main(child: Self) -> int:
            for source, fd in ((stdin, 0), (stdout, 1), (stderr, 2)):
                if source is not None and source != fd:
                    child.dup2(source, fd)
            for fd in [fd for fd in (stdin, stdout, stderr) if fd is not None and fd > 2]:
                if fd in child.fds:
                    child.close(fd)
            if cwd is not None:
                child.cwd = child.real_path(cwd)
            return await child.exec(argv, env=env, failed=partial(failed, child) if failed is not None else None)

        return self.fork(main, uid=uid, gid=gid, new_group=new_group, call=call)

    def exit(self, status: int = 0) -> None:
        """Ends the process at once."""
        raise ProcessExit(status & 0xFF)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(seconds, 0))

    def ptrace(self, request: str, vpid: int = 0) -> None:
        """`request` is Linux's name, e.g. PTRACE_ATTACH; nothing is traced, but the call makes an event."""
        self.emit(
            "ptrace",
            0,
            result_argument(0),
            plain("addr", "0"),
            plain("data", "0"),
            Argument("request", f"{_PTRACE.get(request, 0)}({request})", request),
            plain("pid", str(vpid)),
        )
