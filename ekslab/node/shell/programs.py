"""Programs that a shell starts: in a child, or in its own place (`exec`, and the last command of `bash -c`).

dash makes a command's redirections before it starts the command (vfork), bash in the forked child.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Self

from ekslab.node import abi
from ekslab.node.kernel import ProcessExit
from ekslab.node.process import Process
from ekslab.node.shell.errors import ExpansionError, Interrupted
from ekslab.node.shell.redirections import Redirections, message
from ekslab.node.shell.syntax import Redirect
from ekslab.node.syscalls.processes import Executable

KEPT_SIGNALS = (abi.SIGINT, abi.SIGQUIT, abi.SIGTERM, *(abi.SIGNALS[name] for name in ("TSTP", "TTIN", "TTOU")))
"""What doesn't end or stop an interactive shell, and what it starts gets back."""
_LONGEST_ARGUMENT = 131_072  # bytes, the kernel's limit
_MOST_ARGUMENTS = 2_097_152  # bytes of all arguments and the environment


async def script_text(process: Process, path: str) -> str:
    """A script's text, which the process then holds; NULs are left out. Raises OSError."""
    fd = process.open(path)
    parts: list[bytes] = []
    try:
        while chunk := await process.read(fd):
            kept = chunk.replace(b"\0", b"")
            process.charge(len(kept) + 64)
            parts.append(kept)
            await process.cooperate()
    finally:
        process.close(fd)
    return b"".join(parts).decode("utf-8", "surrogateescape")


class Programs(Redirections):
    """Processes of a shell."""

    def _failed(self, exc: OSError | ExpansionError) -> int:
        """Reports a redirection that failed; the command's status."""
        self.complain(message(exc, self.bash))
        return 1 if self.bash else 2

    def _fork(
        self, main: Callable[[Process], Awaitable[int]], *, new_group: bool = False, call: str = "clone"
    ) -> Process:
        """Forks; ends the shell when the container has as many processes as it may."""
        try:
            return self.process.fork(main, new_group=new_group, call=call)
        except BlockingIOError:
            if self.bash:
                self.complain("fork: retry: Resource temporarily unavailable")
                self.complain("fork: Resource temporarily unavailable")
                raise ProcessExit(254) from None
            self.complain("Cannot fork")
            raise ProcessExit(2) from None

    async def foreground(self, children: Sequence[Process]) -> list[int]:
        """Waits for children; in an interactive shell the terminal's keys are theirs until then."""
        tty = self.process.tty if self.interactive else None
        if tty is not None:
            tty.foreground = children[0].group_leader.pid
        try:
            if tty is not None:
                for child in children:
                    await child.exited_or_stopped()
                    if child.stopped:
                        return self._suspended(children)
            statuses = [await self.process.wait(child) for child in children]
        finally:
            if tty is not None:
                tty.foreground = self.process.group_leader.pid
        if tty is not None and any(child.fatal_signal == abi.SIGINT for child in children):
            raise Interrupted  # Ctrl-C also ends the list or loop that the program is in
        return statuses

    def _suspended(self, children: Sequence[Process]) -> list[int]:
        """Keeps a pipeline that Ctrl-Z has stopped as a job; its status."""
        number = self.add_job(children[-1], self.text, children)
        self.process.stderr.write(f"\n[{number}]+  {'Stopped':<24}{self.text}\n")
        return [128 + (child.stopped or abi.SIGNALS["TSTP"]) for child in children]

    def in_child(self, child: Process) -> Self:
        """The state of a subshell."""
        if self.interactive:
            for number in KEPT_SIGNALS:
                child.default_signal(number)
        for value in self.variables.values():
            value.shared = True
        shell = object.__new__(type(self))
        shell.__dict__.update(self.__dict__)
        shell.process = child
        shell.variables = dict(self.variables)
        shell.positional = list(self.positional)
        shell.functions = dict(self.functions)
        shell.options = dict(self.options)
        shell.shopt = dict(self.shopt)
        shell.aliases = dict(self.aliases)
        shell.traps = {name: action for name, action in self.traps.items() if not action}
        shell.jobs = {}
        shell.interactive = False
        shell.subshell = self.subshell + 1
        shell._pending_traps = []
        shell._woken = asyncio.Event()
        shell._in_trap = False
        shell.pipes = []
        shell._own_copies = set(self._own_copies)
        shell._locals = [dict(scope) for scope in self._locals]
        shell.calls = list(self.calls)
        return shell

    async def exec(self, words: list[str], assignments: dict[str, str], redirects: tuple[Redirect, ...]) -> int:
        """`exec`: redirections that stay, or another program in this process."""
        try:
            await self._redirect(redirects, keep=True)
        except (OSError, ExpansionError) as exc:
            self.complain(message(exc, self.bash))
            if self.bash or self.interactive:
                return 1
            raise ProcessExit(2) from None
        self.pipes.clear()  # they stay, too
        argv, arg0, clean = words[1:], "", False
        while argv and argv[0].startswith("-") and self.bash:
            option = argv.pop(0)
            if option == "--":
                break
            clean = clean or "c" in option
            if "a" in option and argv:
                arg0 = argv.pop(0)
            elif "l" in option and argv:
                arg0 = f"-{argv[0]}"
        if not argv:
            return 0
        env = {} if clean else self.environment(assignments)
        try:
            self._check_size(argv)
            given = [arg0 or argv[0], *argv[1:]]
            if not self.bash:  # dash tries each directory of PATH here, and looks before only when it forks
                self.process.env["PATH"] = self.get("PATH") or self.process.env.get("PATH", "")
                raise ProcessExit(await self.process.exec(given, env=env, failed=self._raise))
            executable = self._executable(self.process, argv[0], given, env)
        except OSError as exc:
            status = self._not_run(argv[0], exc, "exec: ")
            if self.interactive or self.shopt.get("execfail"):
                return status
            raise ProcessExit(status) from None
        raise ProcessExit(await self.process.run_executable(executable, env=env))

    @staticmethod
    def _raise(exc: OSError) -> int:
        raise exc

    def _executable(self, process: Process, name: str, argv: list[str], env: Mapping[str, str]) -> Executable:
        """What a name means, as the shell finds it; an execve of `process` that fails is an event."""
        path = process.find_program(name, self.get("PATH"))
        try:
            return process.loaded(path, argv)
        except OSError as exc:
            process.refused(path, argv, exc, env)
            if abi.errno_name(exc) == "ENOEXEC" and not self.bash:
                return process.loaded("/bin/sh", ["/bin/sh", path, *argv[1:]])
            raise

    async def _script(self, path: str, argv: list[str]) -> int:
        """bash runs a file that has no first line `#!` itself."""
        text = await script_text(self.process, path)
        if "\0" in text.partition("\n")[0]:
            self.complain(f"{argv[0]}: cannot execute binary file: Exec format error")
            return 126
        self.arg0 = self.in_script = path
        self.prompts = False
        self.positional = argv[1:]
        return await self.run_text(text)

    async def _replace(self, process: Process, argv: list[str], assignments: dict[str, str]) -> int:
        """Goes on as another program; the status of what it ran (or of not finding it)."""
        env = self.environment(assignments)
        try:
            self._check_size(argv)
            executable = self._executable(process, argv[0], argv, env)
        except OSError as exc:
            if abi.errno_name(exc) == "ENOEXEC" and self.bash:
                return await self._script(process.find_program(argv[0], self.get("PATH")), argv)
            return self._not_run(argv[0], exc)
        return await process.run_executable(executable, env=env)

    def _check_size(self, argv: list[str]) -> None:
        """E2BIG when execve wouldn't take so many or so long arguments."""
        total = sum(len(word) + 9 for word in argv) + sum(
            len(name) + len(value.text or "") + 10 for name, value in self.variables.items() if "x" in value.flags
        )
        if total > _MOST_ARGUMENTS or any(len(word) >= _LONGEST_ARGUMENT for word in argv):
            raise abi.error("E2BIG", argv[0])

    async def run_program(self, words: list[str]) -> int:
        """Runs a program, whatever functions and built-ins there are of its name."""
        return await self._program(words, {}, (), tail=False)

    async def _program(
        self, words: list[str], assignments: dict[str, str], redirects: tuple[Redirect, ...], *, tail: bool
    ) -> int:
        process = self.process
        in_child = self.bash and not tail
        saved: list[tuple[int, int | None]] = []
        if not in_child:
            try:
                saved = await self._redirect(redirects, keep=tail)
            except (OSError, ExpansionError) as exc:
                return self._failed(exc)
        try:
            if tail and not (self.bash and ("EXIT" in self.traps)):
                return await self._replace(process, words, assignments)
            try:
                self._check_size(words)
                process.find_program(words[0], self.get("PATH"))
            except OSError as exc:
                if in_child:  # bash has made the redirections by the time it finds out
                    saved = await self._redirect(redirects)
                return self._not_run(words[0], exc)

            pipes = set(self.pipes)

            async def main(child: Process) -> int:
                shell = self
                if in_child:
                    shell = self.in_child(child)
                    try:
                        await shell._redirect(redirects, keep=True)
                    except (OSError, ExpansionError) as exc:
                        shell.complain(message(exc, self.bash))
                        return 1
                for fd in [fd for fd in child.fds if fd >= 10 and fd not in pipes and fd in self._own_copies]:
                    child.close(fd)
                if self.interactive:
                    for number in KEPT_SIGNALS:
                        child.default_signal(number)
                return await shell._replace(child, words, assignments)

            child = self._fork(main, new_group=self.interactive, call="clone" if self.bash else "vfork")
            return (await self.foreground([child]))[0]
        except OSError as exc:
            self.complain(message(exc, self.bash))
            return 1
        finally:
            self._restore(saved)

    def _not_run(self, name: str, exc: OSError, verb: str = "") -> int:
        error = abi.errno_name(exc)
        if error in ("ENOENT", "ENOTDIR") and "/" not in name:
            if verb:
                self.complain(f"{verb}{name}: not found")
            else:
                self.complain(f"{name}: command not found" if self.bash else f"{name}: not found")
            return 127
        if self.bash:
            if self.process.isdir(name):
                self.complain(f"{verb}{name}: {'cannot execute: ' if verb else ''}Is a directory")
            elif error == "ENOENT" and not verb and self.process.exists(name):
                self.complain(f"{name}: cannot execute: required file not found")  # the interpreter after its `#!`
            elif error == "ENOEXEC":
                self.complain(f"{name}: cannot execute binary file: Exec format error")
            elif error == "E2BIG":
                path = name
                try:
                    path = self.process.find_program(name, self.get("PATH"))
                except OSError:
                    path = name
                self.complain(f"{path}: Argument list too long")
            else:
                self.complain(f"{verb}{name}: {'cannot execute: ' if verb else ''}{exc.strerror}")
        else:
            text = "not found" if error in ("ENOENT", "ENOTDIR") else exc.strerror or ""
            self.complain(f"{verb}{name}: {text}")
        return 127 if error in ("ENOENT", "ENOTDIR") else 126
