"""Runs a shell's commands: a tree goes in, system calls of the shell's process and of its children come out.

dash and bash differ in what a rule can see: dash makes a command's redirections itself before it starts the command
(vfork), bash in the forked child; `bash -c` with one command becomes that command, dash keeps waiting for it.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from collections.abc import Sequence as Arguments
from dataclasses import replace

from labkit.embedded.node import abi
from labkit.embedded.node.kernel import Process, ProcessExit
from labkit.embedded.node.patterns import PatternError, regex
from labkit.embedded.node.shell import expansion
from labkit.embedded.node.shell.expansion import ExpansionError
from labkit.embedded.node.shell.parser import (
    AndOr,
    Case,
    Command,
    For,
    Function,
    Group,
    If,
    Pipeline,
    Redirect,
    Sequence,
    ShellSyntaxError,
    Simple,
    Subshell,
    Test,
    Text,
    While,
    is_name,
    parse,
)

Builtin = Callable[["Shell", list[str]], Awaitable[int]]
BUILTINS: dict[str, Builtin] = {}
# Their redirections stay, an error of theirs ends a script, and assignments before them are kept.
SPECIAL = frozenset(
    {
        ":",
        ".",
        "break",
        "continue",
        "eval",
        "exec",
        "exit",
        "export",
        "readonly",
        "return",
        "set",
        "shift",
        "trap",
        "unset",
    }
)
_DEPTH = 64  # nested calls, substitutions and compound commands: each takes a dozen of Python's own frames
_CAPTURE = 16 << 20  # bytes that one command substitution may collect


class Interrupted(Exception):
    """Ctrl-C while an interactive shell was running a command of its own."""


# A variable that doubles in a loop must not take the memory of the computer that the lab runs on.
_LONGEST_VALUE = 4 * 1024 * 1024


class _LoopExit(Exception):
    def __init__(self, levels: int) -> None:
        super().__init__(levels)
        self.levels = levels


class _Break(_LoopExit):
    pass


class _Continue(_LoopExit):
    pass


class _Return(Exception):
    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class Shell:
    """The state of one shell process."""

    def __init__(self, process: Process, *, bash: bool, arg0: str) -> None:
        self.process = process
        self.bash = bash
        self.arg0 = arg0
        self.variables: dict[str, str] = {name: value for name, value in process.env.items() if is_name(name)}
        self.exported: set[str] = set(self.variables)
        self.readonly: set[str] = set()
        self.positional: list[str] = []
        self.functions: dict[str, Function] = {}
        self.traps: dict[str, str] = {}
        self.options: dict[str, bool] = {}
        self.status = 0
        self.last_background: Process | None = None
        self.jobs: list[Process] = []
        self.interactive = False
        self.interrupted = False
        self.line = 1
        self.shell_pid = process.vpid
        self.in_script = ""
        self.history: list[str] = []
        self._depth = 0
        self._loops = 0
        self._conditions = 0
        self._locals: list[dict[str, str | None]] = []
        self.set("PWD", process.cwd)
        self.variables.setdefault("IFS", " \t\n")
        self.variables.setdefault("PS1", r"\s-\v\$ " if bash else "# " if process.euid == 0 else "$ ")
        self.variables.setdefault("PS2", "> ")
        self.variables.setdefault("PS4", "+ ")
        self.variables["OPTIND"] = "1"
        self.variables.setdefault("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        if bash:
            self.variables.setdefault("HOSTNAME", _hostname(process))
            self.variables["BASH_VERSION"] = "5.2.15(1)-release"
            self.variables["UID"] = str(process.uid)
            self.variables["EUID"] = str(process.euid)
            self.variables["SHLVL"] = str(_integer(self.variables.get("SHLVL", "")) + 1)
            self.exported |= {"SHLVL", "PWD"}
        else:
            self.exported.add("PWD")

    # -- variables ----------------------------------------------------------------------------------------------------

    @property
    def globbing(self) -> bool:
        return not self.options.get("noglob")

    def get(self, name: str, default: str = "") -> str:
        return self.variables.get(name, default)

    def set(self, name: str, value: str) -> None:
        if name in self.readonly:
            raise ExpansionError(f"{name}: readonly variable" if self.bash else f"{name}: is read only")
        if len(value) > _LONGEST_VALUE:
            raise ExpansionError(f"xrealloc: cannot allocate {len(value)} bytes")
        self.variables[name] = value
        if self.options.get("allexport"):
            self.exported.add(name)

    def unset(self, name: str) -> None:
        if name in self.readonly:
            raise ExpansionError(f"{name}: is read only")
        self.variables.pop(name, None)
        self.exported.discard(name)

    def make_local(self, name: str) -> None:
        """Lets a function's variable get its old value back when the function ends."""
        if self._locals:
            self._locals[-1].setdefault(name, self.variables.get(name))

    @property
    def in_function(self) -> bool:
        return bool(self._locals)

    def parameter(self, name: str) -> str | None:
        """The value of `$name`, special parameters included; None when it isn't set."""
        if name.isdigit():
            index = int(name)
            if index == 0:
                return self.arg0
            return self.positional[index - 1] if index <= len(self.positional) else None
        if name == "?":
            return str(self.status)
        if name == "$":
            return str(self.shell_pid)
        if name == "!":
            return str(self.last_background.vpid) if self.last_background is not None else None
        if name == "#":
            return str(len(self.positional))
        if name == "-":
            letters = {"errexit": "e", "noglob": "f", "nounset": "u", "xtrace": "x"}
            return "".join(letter for option, letter in letters.items() if self.options.get(option)) + (
                "i" if self.interactive else ""
            )
        if name in ("@", "*"):
            return " ".join(self.positional) if self.positional else None
        if name == "PPID":
            return str(self.process.vppid)
        if name == "LINENO":
            return str(self.line)
        if name == "RANDOM" and self.bash:
            self._random = (getattr(self, "_random", self.process.pid) * 1_103_515_245 + 12_345) & 0x7FFFFFFF
            return str(self._random >> 16 & 0x7FFF)
        if name == "SECONDS" and self.bash:
            return str((self.process.kernel.now() - self.process.started_at) // 1_000_000_000)
        return self.variables.get(name)

    def environment(self, assignments: Mapping[str, str] | None = None) -> dict[str, str]:
        """What a program that is started gets."""
        env = {name: self.variables[name] for name in self.variables if name in self.exported}
        env.update(assignments or {})
        return env

    # -- errors -------------------------------------------------------------------------------------------------------

    def complain(self, message: str, *, where: bool = True) -> None:
        """An error message of the shell's own, in its own form."""
        if self.bash:
            if self.interactive or not where:
                prefix = "bash"
            elif self.in_script:
                prefix = f"{self.in_script}: line {self.line}"
            else:
                prefix = f"{self.arg0}: line {self.line}"
        else:
            prefix = f"{self.in_script or self.arg0}: {self.line}"
        try:
            self.process.stderr.write(f"{prefix}: {message}\n")
        except OSError:
            return  # its standard error is closed

    # -- text to commands ---------------------------------------------------------------------------------------------

    async def run_text(self, text: str, *, tail: bool = False) -> int:
        """Parses and runs a text; with `tail` its last command may take this process over (`bash -c`)."""
        try:
            tree = parse(text, bash=self.bash)
        except ShellSyntaxError as exc:
            self.syntax_error(exc)
            self.status = 2
            return 2
        return await self.run(tree, tail=tail)

    def syntax_error(self, exc: ShellSyntaxError) -> None:
        self.line = exc.line
        if self.bash:
            what = exc.message or (
                "syntax error: unexpected end of file"
                if exc.incomplete
                else f"syntax error near unexpected token `{exc.token}'"
            )
            if self.interactive or self.in_script:
                self.complain(what)
            else:
                self.process.stderr.write(f"{self.arg0}: -c: line {exc.line}: {what}\n")
        elif exc.message and not exc.incomplete:
            self.complain("Bad substitution")
        elif exc.incomplete and "matching" in exc.message:
            self.complain("Syntax error: Unterminated quoted string")
        else:
            token = "end of file" if exc.incomplete else "newline" if exc.token == "newline" else f'"{exc.token}"'
            self.complain(f"Syntax error: {token} unexpected")

    async def run(self, sequence: Sequence, *, tail: bool = False) -> int:
        """Runs commands one after the other; the last one's status."""
        for index, item in enumerate(sequence.items):
            await self._turn()
            if item.background:
                self._background(item)
                self.status = 0
            else:
                self.status = await self._and_or(item, tail=tail and index == len(sequence.items) - 1)
        return self.status

    async def _turn(self) -> None:
        """Between two commands: others run, and Ctrl-C is noticed."""
        await self.process.cooperate()
        if self.interrupted:
            self.interrupted = False
            raise Interrupted

    def _background(self, item: AndOr) -> None:
        async def main(child: Process) -> int:
            shell = self.in_child(child)
            if not shell.interactive:
                null = child.open("/dev/null")
                child.dup2(null, 0)
                child.close(null)
            shell.interactive = False
            return await shell._guard(shell._and_or(replace(item, background=False), tail=True))

        child = self.process.fork(main, new_group=self.interactive)
        if not self.interactive:
            child.on_signal(abi.SIGINT, None)
            child.on_signal(abi.SIGQUIT, None)
        self.last_background = child
        self.jobs.append(child)
        if self.interactive:
            self.process.stderr.write(f"[{len(self.jobs)}] {child.vpid}\n")

    async def _and_or(self, item: AndOr, *, tail: bool = False) -> int:
        pipelines = [("&&", item.first), *item.rest]
        status = 0
        checked = len(pipelines) > 1
        for index, (operator, pipeline) in enumerate(pipelines):
            if index and (status == 0) != (operator == "&&"):
                continue
            last = index == len(pipelines) - 1
            self._conditions += not last
            try:
                status = await self._pipeline(pipeline, tail=tail and last and not checked)
            finally:
                self._conditions -= not last
            self.status = status
            if status and last and not pipeline.negated and self.options.get("errexit") and not self._conditions:
                raise ProcessExit(status)
        return status

    async def _pipeline(self, pipeline: Pipeline, *, tail: bool = False) -> int:
        if len(pipeline.commands) == 1:
            self._conditions += pipeline.negated
            try:
                status = await self.command(pipeline.commands[0], tail=tail and not pipeline.negated)
            finally:
                self._conditions -= pipeline.negated
        else:
            status = await self._connected(pipeline.commands)
        self.status = int(status == 0) if pipeline.negated else status
        return self.status

    async def _connected(self, commands: tuple[Command, ...]) -> int:
        """`a | b | c`, each in a process of its own."""
        process = self.process
        children: list[Process] = []
        reading: int | None = None
        for index, command in enumerate(commands):
            last = index == len(commands) - 1
            following, writing = process.pipe() if not last else (None, None)
            child = process.fork(
                self._element(command, reading, writing, following), new_group=self.interactive and not children
            )
            if self.interactive and children:
                child.group_leader = children[0]
            children.append(child)
            for fd in (reading, writing):
                if fd is not None:
                    process.close(fd)
            reading = following
        statuses = await self._foreground(children)
        if self.options.get("pipefail"):
            return next((status for status in reversed(statuses) if status), 0)
        return statuses[-1]

    def _element(
        self, command: Command, reading: int | None, writing: int | None, following: int | None
    ) -> Callable[[Process], Awaitable[int]]:
        async def main(child: Process) -> int:
            for source, fd in ((reading, 0), (writing, 1)):
                if source is not None:
                    child.dup2(source, fd)
                    child.close(source)
            if following is not None:
                child.close(following)
            shell = self.in_child(child)
            return await shell._guard(shell.command(command, tail=True))

        return main

    async def _foreground(self, children: Arguments[Process]) -> list[int]:
        """Waits for children; in an interactive shell the terminal's keys are theirs until then."""
        tty = self.process.tty if self.interactive else None
        if tty is not None:
            tty.foreground = children[0].group_leader.pid
        try:
            return [await self.process.wait(child) for child in children]
        finally:
            if tty is not None:
                tty.foreground = self.process.group_leader.pid

    def in_child(self, child: Process) -> Shell:
        """The state of a subshell."""
        if self.interactive:
            for number in (abi.SIGINT, abi.SIGQUIT, abi.SIGTERM):
                child.default_signal(number)
        shell = object.__new__(Shell)
        shell.__dict__.update(self.__dict__)
        shell.process = child
        shell.variables = dict(self.variables)
        shell.exported = set(self.exported)
        shell.positional = list(self.positional)
        shell.functions = dict(self.functions)
        shell.options = dict(self.options)
        shell.traps = {}
        shell.jobs = []
        shell.interactive = False
        shell._locals = [dict(scope) for scope in self._locals]
        return shell

    async def _guard(self, running: Awaitable[int]) -> int:
        """Runs a subshell's command: what leaves it ends the subshell, not the shell around it."""
        try:
            return await running
        except _Return as exc:
            return exc.status
        except _LoopExit:
            return 0
        except ExpansionError as exc:
            self.complain(str(exc))
            return 1 if self.bash else 2

    async def substitute(self, body: Sequence) -> str:
        """The output of a command substitution, without the newlines at its end."""
        if not body.items:
            return ""
        self._nest()
        try:
            process = self.process
            reading, writing = process.pipe()

            async def main(child: Process) -> int:
                child.dup2(writing, 1)
                child.close(writing)
                child.close(reading)
                shell = self.in_child(child)
                return await shell._guard(shell.run(body, tail=True))

            child = process.fork(main)
            process.close(writing)
            collected = bytearray()
            while chunk := await process.read(reading):
                collected += chunk
                if len(collected) > _CAPTURE:
                    child.signal(abi.SIGKILL)
                    raise ExpansionError("cannot allocate memory for the output of a command")
            process.close(reading)
            self.status = await process.wait(child)
        finally:
            self._depth -= 1
        return collected.replace(b"\x00", b"").decode("utf-8", "surrogateescape").rstrip("\n")

    def _nest(self) -> None:
        self._depth += 1
        if self._depth > _DEPTH:
            self._depth = 0
            raise ExpansionError("maximum recursion reached")

    # -- commands -----------------------------------------------------------------------------------------------------

    async def command(self, command: Command, *, tail: bool = False) -> int:
        if isinstance(command, Simple):
            return await self._simple(command, tail=tail)
        if isinstance(command, Function):
            self.functions[command.name] = command
            return 0
        if isinstance(command, Subshell):
            return await self._subshell(command)
        self._nest()
        try:
            saved = await self._redirect(command.redirects)
        except (OSError, ExpansionError) as exc:
            self.complain(_message(exc, self.bash))
            self._depth -= 1
            return 1
        try:
            return await self._compound(command)
        finally:
            self._restore(saved)
            self._depth -= 1

    async def _compound(self, command: Group | If | For | While | Case | Test) -> int:
        if isinstance(command, Group):
            return await self.run(command.body)
        if isinstance(command, If):
            return await self._if(command)
        if isinstance(command, For):
            return await self._for(command)
        if isinstance(command, While):
            return await self._while(command)
        if isinstance(command, Case):
            return await self._case(command)
        return await self._double_bracket(command)

    async def _subshell(self, command: Subshell) -> int:
        async def main(child: Process) -> int:
            shell = self.in_child(child)
            try:
                await shell._redirect(command.redirects)
            except (OSError, ExpansionError) as exc:
                shell.complain(_message(exc, self.bash))
                return 1
            return await shell._guard(shell.run(command.body, tail=True))

        child = self.process.fork(main, new_group=self.interactive)
        return (await self._foreground([child]))[0]

    async def _condition(self, sequence: Sequence) -> bool:
        self._conditions += 1
        try:
            return await self.run(sequence) == 0
        finally:
            self._conditions -= 1

    async def _if(self, command: If) -> int:
        for condition, body in command.branches:
            if await self._condition(condition):
                return await self.run(body)
        return await self.run(command.otherwise) if command.otherwise is not None else 0

    async def _for(self, command: For) -> int:
        values = self.positional if command.words is None else await expansion.fields(self, command.words)
        status = 0
        self._loops += 1
        try:
            for value in list(values):
                self.set(command.name, value)
                try:
                    status = await self.run(command.body)
                except _LoopExit as exc:
                    if self._left(exc):
                        break
        finally:
            self._loops -= 1
        return status

    async def _while(self, command: While) -> int:
        status = 0
        self._loops += 1
        try:
            while True:
                await self._turn()
                try:
                    if await self._condition(command.condition) == command.until:
                        break
                    status = await self.run(command.body)
                except _LoopExit as exc:
                    if self._left(exc):
                        break
        finally:
            self._loops -= 1
        return status

    def _left(self, exc: _LoopExit) -> bool:
        """Whether a break or continue leaves this loop; raises it on when it means one further out."""
        if exc.levels > 1 and self._loops > 1:
            raise type(exc)(exc.levels - 1)
        self.status = 0
        return isinstance(exc, _Break)

    async def _case(self, command: Case) -> int:
        value = await expansion.text(self, command.word)
        for patterns, body in command.branches:
            for pattern in patterns:
                if expansion.matches(value, await expansion.pattern(self, pattern)):
                    return await self.run(body)
        return 0

    # -- simple commands ----------------------------------------------------------------------------------------------

    async def _simple(self, command: Simple, *, tail: bool) -> int:
        self.line = command.line
        before = self.status
        try:
            words = await expansion.fields(self, command.words)
            assignments: dict[str, str] = {}
            for name, word in command.assignments:
                value = await expansion.text(self, word)
                if not words:
                    self.set(name, value)
                    before = self.status  # of the last command substitution, if there was one
                assignments[name] = value
        except ExpansionError as exc:
            self.complain(str(exc))
            if self.interactive:
                return 1
            raise ProcessExit(1 if self.bash else 2) from None
        if self.options.get("xtrace"):
            trace = [f"{name}={_quoted(value)}" for name, value in assignments.items()] + [
                _quoted(word) for word in words
            ]
            self.process.stderr.write(self.get("PS4", "+ ") + " ".join(trace) + "\n")
        if not words:
            status = await self._redirections_only(command.redirects)
            substituted = any(not isinstance(part, Text) for _, word in command.assignments for part in word)
            return status or (before if substituted else 0)
        name = words[0]
        if name in self.functions and name not in SPECIAL:
            return await self._call(self.functions[name], words, assignments, command.redirects)
        if name in BUILTINS:
            return await self._builtin(name, words, assignments, command.redirects)
        return await self._program(words, assignments, command.redirects, tail=tail)

    async def _redirections_only(self, redirects: tuple[Redirect, ...]) -> int:
        try:
            self._restore(await self._redirect(redirects))
        except (OSError, ExpansionError) as exc:
            self.complain(_message(exc, self.bash))
            return 1 if self.bash else 2
        return 0

    async def _call(
        self, function: Function, words: list[str], assignments: dict[str, str], redirects: tuple[Redirect, ...]
    ) -> int:
        self._nest()
        positional, self.positional = self.positional, words[1:]
        scope: dict[str, str | None] = {}
        self._locals.append(scope)
        for name, value in assignments.items():
            self.make_local(name)
            self.set(name, value)
        try:
            saved = await self._redirect(redirects)
            try:
                return await self.command(function.body)
            except _Return as exc:
                return exc.status
            finally:
                self._restore(saved)
        except OSError as exc:
            self.complain(_message(exc, self.bash))
            return 1
        finally:
            self._locals.pop()
            for name, old in scope.items():
                if old is None:
                    self.variables.pop(name, None)
                else:
                    self.variables[name] = old
            self.positional = positional
            self._depth -= 1

    async def _builtin(
        self, name: str, words: list[str], assignments: dict[str, str], redirects: tuple[Redirect, ...]
    ) -> int:
        if name == "exec":
            return await self._exec(words, assignments, redirects)
        old = {variable: self.variables.get(variable) for variable in assignments}
        try:
            for variable, value in assignments.items():
                self.set(variable, value)
            saved = await self._redirect(redirects)
        except (OSError, ExpansionError) as exc:
            self.complain(_message(exc, self.bash))
            if name in SPECIAL and not self.bash and not self.interactive:
                raise ProcessExit(2) from None
            return 1 if self.bash else 2
        try:
            return await BUILTINS[name](self, words)
        except OSError as exc:
            self.complain(f"{name}: {_message(exc, self.bash)}")
            return 1
        finally:
            self._restore(saved)
            if name not in SPECIAL:
                for variable, before in old.items():
                    if before is None:
                        self.variables.pop(variable, None)
                    else:
                        self.variables[variable] = before

    async def _exec(self, words: list[str], assignments: dict[str, str], redirects: tuple[Redirect, ...]) -> int:
        """`exec`: redirections that stay, or another program in this process."""
        try:
            await self._redirect(redirects, keep=True)
        except (OSError, ExpansionError) as exc:
            self.complain(_message(exc, self.bash))
            if self.interactive:
                return 1
            raise ProcessExit(1 if self.bash else 2) from None
        if len(words) < 2:
            return 0
        status = await self._replace(words[1:], assignments)
        raise ProcessExit(status)

    async def _replace(self, argv: list[str], assignments: dict[str, str]) -> int:
        """Goes on as another program; the status of what it ran (or of not finding it)."""
        try:
            executable = self.process.executable(argv[0], argv=argv, path=self.get("PATH"))
        except OSError as exc:
            return self._not_run(argv[0], exc)
        return await self.process.run_executable(executable, env=self.environment(assignments))

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
                self.complain(_message(exc, self.bash))
                return 1 if self.bash else 2
        try:
            if tail:
                return await self._replace(words, assignments)
            try:
                executable = process.executable(words[0], argv=words, path=self.get("PATH"))
            except OSError as exc:
                if in_child and redirects:  # bash has made them by the time it finds out
                    self._restore(await self._redirect(redirects))
                return self._not_run(words[0], exc)

            async def main(child: Process) -> int:
                if in_child:
                    shell = self.in_child(child)
                    try:
                        await shell._redirect(redirects, keep=True)
                    except (OSError, ExpansionError) as exc:
                        shell.complain(_message(exc, self.bash))
                        return 1
                for fd in [fd for fd in child.fds if fd >= 10]:
                    child.close(fd)  # the shell's own copies
                if self.interactive:
                    for number in (abi.SIGINT, abi.SIGQUIT, abi.SIGTERM):
                        child.default_signal(number)
                return await child.run_executable(executable, env=self.environment(assignments))

            child = process.fork(main, new_group=self.interactive, call="clone" if self.bash else "vfork")
            return (await self._foreground([child]))[0]
        except OSError as exc:
            self.complain(_message(exc, self.bash))
            return 1
        finally:
            self._restore(saved)

    def _not_run(self, name: str, exc: OSError) -> int:
        error = abi.errno_name(exc)
        if error in ("ENOENT", "ENOTDIR") and "/" not in name:
            self.complain(f"{name}: command not found" if self.bash else f"{name}: not found")
            return 127
        if self.bash:
            if self.process.isdir(name):
                self.complain(f"{name}: Is a directory")
            elif error == "ENOEXEC":
                self.complain(f"{name}: cannot execute binary file: Exec format error")
            else:
                self.complain(f"{name}: {exc.strerror}")
        else:
            text = "not found" if error in ("ENOENT", "ENOTDIR") else exc.strerror or ""
            self.complain(f"{name}: {text}")
        return 127 if error in ("ENOENT", "ENOTDIR") else 126

    # -- redirections -------------------------------------------------------------------------------------------------

    async def _redirect(self, redirects: tuple[Redirect, ...], *, keep: bool = False) -> list[tuple[int, int | None]]:
        """Makes redirections; what `_restore` needs to undo them (nothing with `keep`)."""
        saved: list[tuple[int, int | None]] = []
        try:
            for redirect in redirects:
                await self._one_redirect(redirect, saved, keep)
        except BaseException:
            self._restore(saved)
            raise
        return saved

    def _save(self, fd: int, saved: list[tuple[int, int | None]], keep: bool) -> None:
        if not keep:
            saved.append((fd, self.process.dup(fd, 10) if fd in self.process.fds else None))

    async def _one_redirect(self, redirect: Redirect, saved: list[tuple[int, int | None]], keep: bool) -> None:
        process, op = self.process, redirect.op
        fd = redirect.fd if redirect.fd is not None else 0 if op.startswith("<") else 1
        if op in ("<<", "<<<"):
            word = redirect.document.body if redirect.document is not None else redirect.target
            text = await expansion.text(self, word) + ("\n" if op == "<<<" else "")
            reading, writing = process.pipe()
            process.write(writing, text.encode("utf-8", "surrogateescape"))
            process.close(writing)
            self._install(reading, fd, saved, keep)
            return
        target = await expansion.text(self, redirect.target)
        if op in ("<&", ">&") and (target.isdigit() or target == "-"):
            self._save(fd, saved, keep)
            if target == "-":
                if fd in process.fds:
                    process.close(fd)
                return
            if int(target) not in process.fds:
                raise ExpansionError(f"{target}: Bad file descriptor")
            process.dup2(int(target), fd)
            return
        if op in ("<&", ">&") and (not self.bash or op == "<&" or redirect.fd is not None):
            raise ExpansionError(f"{target}: ambiguous redirect" if self.bash else "Bad fd number")
        both = op in ("&>", ">&")
        flags = {
            "<": abi.O_RDONLY,
            "<>": abi.O_RDWR | abi.O_CREAT,
            ">>": abi.O_WRONLY | abi.O_CREAT | abi.O_APPEND,
        }.get(op, abi.O_WRONLY | abi.O_CREAT | abi.O_TRUNC)
        if op == ">" and self.options.get("noclobber") and process.isfile(target):
            raise ExpansionError(
                f"cannot create {target}: File exists" if not self.bash else f"{target}: cannot overwrite existing file"
            )
        connection = re.fullmatch(r"/dev/(tcp|udp)/([^/]+)/(\d+)", target) if self.bash else None
        try:
            opened = (
                await process.connect(connection[2], int(connection[3]))
                if connection
                else process.open(target, flags, 0o666)
            )
        except OSError as exc:
            raise _redirect_error(exc, target, op, self.bash, connection is not None) from None
        self._install(opened, fd, saved, keep)
        if both:
            self._save(2, saved, keep)
            process.dup2(1, 2)

    def _install(self, opened: int, fd: int, saved: list[tuple[int, int | None]], keep: bool) -> None:
        """Moves a fresh descriptor to where it belongs."""
        if opened == fd:
            if not keep:
                saved.append((fd, None))
            return
        self._save(fd, saved, keep)
        self.process.dup2(opened, fd)
        self.process.close(opened)

    def _restore(self, saved: list[tuple[int, int | None]]) -> None:
        process = self.process
        for fd, copy in reversed(saved):
            if copy is None:
                if fd in process.fds:
                    process.close(fd)
            else:
                process.dup2(copy, fd)
                process.close(copy)

    # -- [[ ]] --------------------------------------------------------------------------------------------------------

    async def _double_bracket(self, command: Test) -> int:
        evaluator = _DoubleBracket(self, list(command.words))
        try:
            return 0 if await evaluator.value() else 1
        except (ExpansionError, PatternError) as exc:
            self.complain(str(exc))
            return 2

    async def function_return(self, status: int) -> int:
        raise _Return(status)

    def leave_loop(self, levels: int, *, again: bool) -> None:
        if self._loops:
            raise _Continue(levels) if again else _Break(levels)

    def may_return(self) -> bool:
        return bool(self._locals) or bool(self.in_script)


class _DoubleBracket:
    def __init__(self, shell: Shell, words: list[tuple[object, ...]]) -> None:
        self.shell = shell
        self.words = words

    def _literal(self) -> str:
        if self.words and len(self.words[0]) == 1:
            part = self.words[0][0]
            if isinstance(part, Text) and not part.quoted:
                return part.value
        return ""

    async def value(self) -> bool:
        result = await self._or()
        if self.words:
            raise ExpansionError("syntax error in conditional expression")
        return result

    async def _or(self) -> bool:
        result = await self._and()
        while self._literal() == "||":
            self.words.pop(0)
            other = await self._and()
            result = result or other
        return result

    async def _and(self) -> bool:
        result = await self._not()
        while self._literal() == "&&":
            self.words.pop(0)
            other = await self._not()
            result = result and other
        return result

    async def _not(self) -> bool:
        if self._literal() == "!":
            self.words.pop(0)
            return not await self._not()
        if self._literal() == "(":
            self.words.pop(0)
            result = await self._or()
            if self._literal() != ")":
                raise ExpansionError("expected `)'")
            self.words.pop(0)
            return result
        return await self._primary()

    async def _take(self) -> str:
        if not self.words:
            raise ExpansionError("unexpected argument to conditional unary operator")
        return await expansion.text(self.shell, self.words.pop(0))  # type: ignore[arg-type]

    async def _primary(self) -> bool:
        from labkit.embedded.node.shell.builtins import evaluate_test

        first = self._literal()
        if re.fullmatch(r"-[a-zA-Z]", first) and len(self.words) > 1:
            self.words.pop(0)
            return evaluate_test(self.shell, [first, await self._take()])
        left = await self._take()
        operator = self._literal()
        if operator in ("==", "=", "!="):
            self.words.pop(0)
            glob = await expansion.pattern(self.shell, self.words.pop(0))  # type: ignore[arg-type]
            return expansion.matches(left, glob) == (operator != "!=")
        if operator == "=~":
            self.words.pop(0)
            return regex(await self._take()).search(left) is not None
        if operator in ("<", ">"):
            self.words.pop(0)
            right = await self._take()
            return left < right if operator == "<" else left > right
        if re.fullmatch(r"-(eq|ne|lt|le|gt|ge|nt|ot|ef)", operator):
            self.words.pop(0)
            return evaluate_test(self.shell, [left, operator, await self._take()])
        return bool(left)


def _message(exc: Exception, bash: bool) -> str:
    if isinstance(exc, OSError):
        return f"{exc.filename}: {exc.strerror}" if exc.filename else exc.strerror or str(exc)
    return str(exc)


def _redirect_error(exc: OSError, target: str, op: str, bash: bool, network: bool) -> Exception:
    why = exc.strerror or str(exc)
    if network:
        return ExpansionError(f"connect: {why}\nbash: {target}: {why}")
    if bash:
        return ExpansionError(f"{target}: {why}")
    absent = why == "No such file or directory"
    if op == "<":
        return ExpansionError(f"cannot open {target}: {'No such file' if absent else why}")
    return ExpansionError(f"cannot create {target}: {'Directory nonexistent' if absent else why}")


def _quoted(word: str) -> str:
    if word and re.fullmatch(r"[\w@%+=:,./-]+", word):
        return word
    return "'" + word.replace("'", "'\\''") + "'"


def _integer(text: str) -> int:
    return int(text) if re.fullmatch(r"[-+]?\d+", text) else 0


def _hostname(process: Process) -> str:
    return process.container.hostname if process.container is not None else process.kernel.hostname
