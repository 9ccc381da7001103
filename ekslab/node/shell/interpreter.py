"""Runs the syntax tree of a shell's commands, by system calls of the shell's process and its children.

dash and bash differ in what a rule can see: dash makes a command's redirections itself before it starts the command
(vfork), bash in the forked child; `bash -c` with one command becomes that command, dash keeps waiting for it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from ekslab.node import abi
from ekslab.node.kernel import ProcessExit
from ekslab.node.process import Process
from ekslab.node.shell import expansion
from ekslab.node.shell.arithmetic import evaluate
from ekslab.node.shell.assignments import Assignments
from ekslab.node.shell.conditions import Conditions
from ekslab.node.shell.errors import (
    Break,
    Continue,
    ExpansionError,
    Interrupted,
    LoopExit,
    Return,
    ShellSyntaxError,
    TooDeep,
)
from ekslab.node.shell.programs import KEPT_SIGNALS, Programs
from ekslab.node.shell.quoting import traced
from ekslab.node.shell.reading import Reading
from ekslab.node.shell.redirections import message
from ekslab.node.shell.registry import BASH_ONLY, BUILTINS, SPECIAL
from ekslab.node.shell.state import integer
from ekslab.node.shell.syntax import (
    AndOr,
    Assignment,
    Calculation,
    Case,
    Command,
    Coprocess,
    For,
    ForArithmetic,
    Function,
    Group,
    If,
    Pipeline,
    ProcessSubstitution,
    Redirect,
    Sequence,
    Simple,
    Subshell,
    Test,
    Text,
    While,
    Word,
)
from ekslab.node.shell.variables import Value, array

_WRITE_ERRORS = ("EACCES", "EBADF", "EINVAL", "EIO", "ENOSPC")
_DEPTH = 64  # nested calls, substitutions and compound commands: each takes a dozen of Python's own frames


class Shell(Reading, Assignments, Programs, Conditions):
    """Runs the commands of one shell process."""

    async def run_text(self, text: str, *, tail: bool = False, line: int = 1) -> int:
        """Reads and runs a text line by line; with `tail` a single command may take this process over (`bash -c`)."""
        parser = self.parser(text, line=line)
        first = True
        status = 0
        while True:
            self._prepare(parser)
            items: list[AndOr] = []
            try:
                if not parser.next_line():
                    return status
                while (item := parser.next_item()) is not None:
                    items.append(item)
                    await self.process.cooperate()
                parser.ends_line()
            except ShellSyntaxError as exc:
                self.syntax_error(exc, at_end=not text.endswith("\n"))
                bad = self.bash and exc.message.endswith("bad substitution")
                self.status = 1 if bad else 2
                if not self.bash and not self.interactive:
                    raise ProcessExit(2) from None
                return self.status
            whole = tail and first and len(items) == 1 and not items[0].rest and len(items[0].first.commands) == 1
            whole = whole and not items[0].first.timed and not text[parser.pos :].strip()
            first = False
            status = await self.run(Sequence(tuple(items)), tail=whole)

    async def run(self, sequence: Sequence, *, tail: bool = False) -> int:
        """Runs commands one after the other; the last one's status."""
        for index, item in enumerate(sequence.items):
            await self.turn()
            if item.background:
                self._background(item)
                self.status = 0
            else:
                self.text = self.text if self._in_trap else item.text
                self.status = await self._and_or(item, tail=tail and index == len(sequence.items) - 1)
        return self.status

    async def turn(self) -> None:
        """Between two commands: others run, and Ctrl-C and signals with a trap are noticed."""
        await self.process.cooperate()
        if self.interrupted:
            self.interrupted = False
            raise Interrupted
        while self._pending_traps and not self._in_trap:
            await self.run_trap(self._pending_traps.pop(0))

    async def run_trap(self, name: str) -> None:
        """Runs the action of a trap; `$?` stays as it was."""
        action = self.traps.get(name)
        if not action or self._in_trap:
            return
        status, line = self.status, self.line
        self._in_trap = True
        try:
            await self.run_text(action, line=line)
        finally:
            self._in_trap = False
            self.status, self.line = status, line

    async def wait_for(self, child: Process) -> int | None:
        """Waits for a child, or for a signal that has a trap: then None."""
        self._woken.clear()
        waiting = {asyncio.ensure_future(self.process.wait(child)), asyncio.ensure_future(self._woken.wait())}
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in waiting:
                each.cancel()
        return child.status

    def _background(self, item: AndOr) -> None:
        async def main(child: Process) -> int:
            shell = self.in_child(child)
            if not shell.interactive:
                null = child.open("/dev/null")
                child.dup2(null, 0)
                child.close(null)
            shell.interactive = False
            return await shell.guarded(shell._and_or(replace(item, background=False), tail=True))

        child = self._fork(main, new_group=self.interactive)
        if self.interactive:
            for signal in KEPT_SIGNALS:
                child.default_signal(signal)  # now: it may be killed before it has begun
        else:
            child.on_signal(abi.SIGINT, None)
            child.on_signal(abi.SIGQUIT, None)
        number = self.add_job(child, item.text)
        if self.interactive:
            self.process.stderr.write(f"[{number}] {child.vpid}\n")

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
            if status and last and not pipeline.negated and not self._conditions:
                if "ERR" in self.traps and (not self._locals or self.options.get("errtrace")):
                    await self.run_trap("ERR")
                if self.options.get("errexit"):
                    raise ProcessExit(status)
        return status

    async def _pipeline(self, pipeline: Pipeline, *, tail: bool = False) -> int:
        if pipeline.timed:
            return await self._timed(pipeline)
        if len(pipeline.commands) == 1:
            self._conditions += pipeline.negated
            try:
                status = await self.command(pipeline.commands[0], tail=tail and not pipeline.negated)
            finally:
                self._conditions -= pipeline.negated
            if self.bash:
                self.variables["PIPESTATUS"] = array([str(status)])
        else:
            status = await self._connected(pipeline.commands)
        self.status = int(status == 0) if pipeline.negated else status
        return self.status

    async def _timed(self, pipeline: Pipeline) -> int:
        started = time.monotonic()
        status = 0
        if pipeline.commands:
            status = await self._pipeline(replace(pipeline, timed=""))
        seconds = time.monotonic() - started
        if pipeline.timed == "time -p":
            text = f"real {seconds:.2f}\nuser 0.00\nsys 0.00\n"
        else:
            minutes, rest = divmod(seconds, 60)
            text = f"\nreal\t{int(minutes)}m{rest:.3f}s\nuser\t0m0.000s\nsys\t0m0.000s\n"
        self.process.stderr.write(text)
        return status

    async def _connected(self, commands: tuple[Command, ...]) -> int:
        """`a | b | c`, each in a child process."""
        process = self.process
        children: list[Process] = []
        reading: int | None = None
        for index, command in enumerate(commands):
            last = index == len(commands) - 1
            following, writing = process.pipe() if not last else (None, None)
            child = self._fork(
                self._element(command, reading, writing, following), new_group=self.interactive and not children
            )
            if self.interactive and children:
                child.group_leader = children[0]
            children.append(child)
            for fd in (reading, writing):
                if fd is not None:
                    process.close(fd)
            reading = following
        statuses = await self.foreground(children)
        if self.bash:
            self.variables["PIPESTATUS"] = array(str(status) for status in statuses)
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
            return await shell.guarded(shell.command(command, tail=True))

        return main

    async def guarded(self, running: Awaitable[int]) -> int:
        """Runs a subshell's command: `exit`, `return` and `break` end the subshell only."""
        try:
            status = await running
        except Return as exc:
            status = exc.status
        except LoopExit:
            status = 0
        except ProcessExit as exc:
            if not self.process.alive or "EXIT" not in self.traps:
                raise
            status = exc.status
        except ExpansionError as exc:
            self.complain(str(exc))
            status = 1 if self.bash else 2
        if "EXIT" in self.traps:
            action, self.status = self.traps.pop("EXIT"), status
            await self.run_text(action)
        return status

    async def substitute(self, body: Sequence) -> str:
        """The output of a command substitution, without the newlines at its end."""
        if not body.items:
            return ""
        if (path := self._read_shortcut(body)) is not None:
            return await self._file_text(path)
        self.nest()
        process = self.process
        try:
            reading, writing = process.pipe()

            async def main(child: Process) -> int:
                child.dup2(writing, 1)
                child.close(writing)
                child.close(reading)
                shell = self.in_child(child)
                return await shell.guarded(shell.run(body, tail=True))

            child = self._fork(main)
            process.close(writing)
            collected = await self._collected(reading)
            process.close(reading)
            self.status = await process.wait(child)
        finally:
            self.depth -= 1
        if self.bash and b"\x00" in collected:
            self.complain("warning: command substitution: ignored null byte in input")
        return _substituted(collected)

    async def _collected(self, fd: int) -> bytes:
        """Everything that can be read from a descriptor."""
        process = self.process
        collected = bytearray()
        while chunk := await process.read(fd):
            process.charge(len(chunk))
            collected += chunk
            await process.cooperate()
        process.charge(-len(collected))
        return bytes(collected)

    def _read_shortcut(self, body: Sequence) -> Word | None:
        """The file of `$(< file)`."""
        if not self.bash or len(body.items) != 1 or body.items[0].rest or len(body.items[0].first.commands) != 1:
            return None
        command = body.items[0].first.commands[0]
        if not isinstance(command, Simple) or command.words or command.assignments or len(command.redirects) != 1:
            return None
        redirect = command.redirects[0]
        return redirect.target if redirect.op == "<" and redirect.fd in (None, 0) else None

    async def _file_text(self, target: Word) -> str:
        process = self.process
        path = await expansion.text(self, target)
        try:
            fd = process.open(path)
            try:
                collected = await self._collected(fd)
            finally:
                process.close(fd)
        except OSError as exc:
            self.complain(f"{path}: {exc.strerror}")
            self.status = 1
            return ""
        self.status = 0
        return _substituted(collected)

    async def process_substitution(self, part: ProcessSubstitution) -> str:
        """Starts commands on the other end of a pipe; the path under which this end can be opened."""
        process = self.process
        reading, writing = process.pipe()
        mine, theirs = (reading, writing) if part.op == "<" else (writing, reading)

        async def main(child: Process) -> int:
            child.dup2(theirs, 1 if part.op == "<" else 0)
            child.close(theirs)
            for fd in [fd for fd in child.fds if fd > 9 or fd == mine]:
                child.close(fd)
            shell = self.in_child(child)
            return await shell.guarded(shell.run(part.body, tail=True))

        number = 63
        while number in process.fds and number > 12:
            number -= 1
        process.dup2(mine, number)
        process.close(mine)
        mine = number
        child = self._fork(main)
        process.close(theirs)
        self.pipes.append(number)
        self.last_background = child
        return f"/dev/fd/{number}"

    def nest(self) -> None:
        self.depth += 1
        limit = integer(self.get("FUNCNEST")) if self.bash else 0
        if self.depth > _DEPTH or (0 < limit < len(self.calls)):
            if 0 < limit < len(self.calls):
                self.depth -= 1
                raise ExpansionError(f"{self.calls[-1]}: maximum function nesting level exceeded ({limit})")
            self.depth = 0
            raise TooDeep(
                f"embedded lab: commands and functions call one another {_DEPTH} levels deep at most in the lab's bash"
                if self.bash
                else "maximum recursion reached"
            )

    async def command(self, command: Command, *, tail: bool = False) -> int:
        if isinstance(command, Simple):
            kept = len(self.pipes)
            try:
                return await self._simple(command, tail=tail)
            finally:
                self._close_pipes(kept)
        if isinstance(command, Function):
            if command.name in SPECIAL and not self.bash:
                self.complain("Syntax error: Bad function name")
                raise ProcessExit(2)
            self.functions[command.name] = command
            return 0
        if isinstance(command, Subshell):
            return await self._subshell(command)
        self.nest()
        kept = len(self.pipes)
        try:
            saved = await self._redirect(command.redirects)
        except (OSError, ExpansionError) as exc:
            self.depth -= 1
            return self._failed(exc)
        try:
            return await self._compound(command)
        finally:
            self._restore(saved)
            self._close_pipes(kept)
            self.depth = max(self.depth - 1, 0)

    async def _compound(self, command: Command) -> int:
        if isinstance(command, Group):
            return await self.run(command.body)
        if isinstance(command, If):
            return await self._if(command)
        if isinstance(command, For):
            return await (self._select(command) if command.menu else self._for(command))
        if isinstance(command, ForArithmetic):
            return await self._for_arithmetic(command)
        if isinstance(command, While):
            return await self._while(command)
        if isinstance(command, Case):
            return await self._case(command)
        if isinstance(command, Calculation):
            return await self._calculation(command)
        if isinstance(command, Coprocess):
            return self._coprocess(command)
        assert isinstance(command, Test)
        return await self._double_bracket(command)

    async def _subshell(self, command: Subshell) -> int:
        async def main(child: Process) -> int:
            shell = self.in_child(child)
            try:
                await shell._redirect(command.redirects)
            except (OSError, ExpansionError) as exc:
                shell.complain(message(exc, self.bash))
                return 1
            return await shell.guarded(shell.run(command.body, tail=True))

        kept = len(self.pipes)
        child = self._fork(main, new_group=self.interactive)
        try:
            return (await self.foreground([child]))[0]
        finally:
            self._close_pipes(kept)

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

    @contextmanager
    def _loop(self) -> Iterator[None]:
        self._loops += 1
        try:
            yield
        finally:
            self._loops -= 1

    async def _iterated(self, body: Sequence) -> int | None:
        """Runs a loop's body once; its status, or None after `break`."""
        try:
            return await self.run(body)
        except LoopExit as exc:
            return None if self._left(exc) else 0

    async def _choices(self, command: For) -> list[str]:
        return self.positional if command.words is None else await expansion.fields(self, command.words)

    async def _for(self, command: For) -> int:
        status: int | None = 0
        with self._loop():
            for value in list(await self._choices(command)):
                self.set(command.name, value)
                status = await self._iterated(command.body)
                if status is None:
                    break
        return status or 0

    async def _for_arithmetic(self, command: ForArithmetic) -> int:
        first, condition, step = command.parts
        status: int | None = 0
        try:
            with self._loop():
                await self._evaluated(first)
                while not (text := (await expansion.text(self, condition)).strip()) or evaluate(self, text):
                    await self.turn()
                    status = await self._iterated(command.body)
                    if status is None:
                        break
                    await self._evaluated(step)
        except ExpansionError as exc:
            self.complain(f"((: {exc}")
            return 1
        return status or 0

    async def _evaluated(self, word: Word) -> int:
        return evaluate(self, await expansion.text(self, word))

    async def _calculation(self, command: Calculation) -> int:
        try:
            return int(await self._evaluated(command.word) == 0)
        except ExpansionError as exc:
            self.complain(f"((: {exc}")
            return 1

    async def _select(self, command: For) -> int:
        values = list(await self._choices(command))
        if not values:
            return 0
        width = len(str(len(values)))
        menu = "".join(f"{number:{width}d}) {value}\n" for number, value in enumerate(values, 1))
        status: int | None = 0
        shown = False
        with self._loop():
            while status is not None:
                await self.turn()
                if not shown:
                    self.process.stderr.write(menu)
                shown = True
                self.process.stderr.write(self.get("PS3", "#? "))
                if await BUILTINS["read"](self, ["read", "-r", "REPLY"]):
                    self.process.stdout.write("\n")
                    return 1
                reply = self.get("REPLY").strip()
                if not reply:
                    shown = False
                    continue
                number = integer(reply)
                self.set(command.name, values[number - 1] if 0 < number <= len(values) else "")
                status = await self._iterated(command.body)
        return 0

    def _coprocess(self, command: Coprocess) -> int:
        process = self.process
        from_child, child_out = process.pipe()
        child_in, to_child = process.pipe()

        async def main(child: Process) -> int:
            child.dup2(child_in, 0)
            child.dup2(child_out, 1)
            for fd in (from_child, child_out, child_in, to_child):
                child.close(fd)
            shell = self.in_child(child)
            return await shell.guarded(shell.command(command.body, tail=True))

        child = self._fork(main)
        for fd in (child_in, child_out):
            process.close(fd)
        ends = []
        for fd in (from_child, to_child):
            ends.append(str(process.dup(fd, 60)))
            process.close(fd)
        self.set_value(command.name, array(ends))
        self.set(f"{command.name}_PID", str(child.vpid))
        self.add_job(child, f"coproc {command.name}")
        return 0

    async def _while(self, command: While) -> int:
        status = 0
        with self._loop():
            while True:
                await self.turn()
                try:
                    if await self._condition(command.condition) == command.until:
                        break
                    status = await self.run(command.body)
                except LoopExit as exc:
                    status = 0
                    if self._left(exc):
                        break
        return status

    def _left(self, exc: LoopExit) -> bool:
        """Whether a break or continue leaves this loop; raises it on when it means one further out."""
        if exc.levels > 1 and self._loops > 1:
            raise type(exc)(exc.levels - 1)
        self.status = 0
        return isinstance(exc, Break)

    async def _case(self, command: Case) -> int:
        value = await expansion.text(self, command.word)
        status, entered = 0, False
        for patterns, body, end in command.branches:
            if not entered and not await self._matches_one(value, patterns):
                continue
            status = await self.run(body) if body.items else 0
            if end == ";;":
                break
            entered = end == ";&"
        return status

    async def _matches_one(self, value: str, patterns: tuple[Word, ...]) -> bool:
        for pattern in patterns:
            if expansion.matches(self, value, await expansion.pattern(self, pattern)):
                return True
        return False

    async def _simple(self, command: Simple, *, tail: bool) -> int:
        self.line = command.line
        before = self.status
        if "DEBUG" in self.traps:
            self.variables["BASH_COMMAND"] = Value(self.text)
            await self.run_trap("DEBUG")
        assignments: dict[str, str] = {}
        trace: list[str] = []
        try:
            words = await self._words(command)
            for given in command.assignments:
                if words:
                    if given.elements is not None or given.index is not None:
                        continue  # bash doesn't pass arrays on
                    old = self.get(given.name) if given.append else ""
                    assignments[given.name] = old + await expansion.text(self, given.value)
                    trace.append(f"{given.name}={traced(assignments[given.name])}")
                else:
                    trace.append(await self.assign(given))
                    before = self.status  # of the last command substitution, if there was one
        except TooDeep as exc:
            self.complain(str(exc))
            raise ProcessExit(1 if self.bash else 2) from None
        except ExpansionError as exc:
            self.complain(str(exc))
            if self.interactive:
                return 1
            raise ProcessExit(exc.status if self.bash else 2) from None
        if self.options.get("xtrace"):
            trace += [traced(word) for word in words]
            lead = self.prompt(self.get("PS4", "+ "))
            self.process.stderr.write(lead[:1] * self.subshell + lead + " ".join(trace) + "\n")
        if not words:
            status = await self._redirections_only(command.redirects)
            substituted = any(not isinstance(part, Text) for given in command.assignments for part in given.value)
            return status or (before if substituted else 0)
        name = words[0]
        if name in self.functions and (name not in SPECIAL or self.bash):
            status = await self._call(self.functions[name], words, assignments, command.redirects)
        elif name in BUILTINS and (self.bash or name not in BASH_ONLY):
            status = await self._builtin(name, words, assignments, command.redirects)
        else:
            status = await self._program(words, assignments, command.redirects, tail=tail)
        self.last_argument = words[-1]
        return status

    async def _words(self, command: Simple) -> list[str]:
        """A command's arguments; assignments after `declare` and its like are words that aren't split."""
        words: list[str] = []
        self.declared = []
        plain: list[Word] = []
        for word in command.words:
            if isinstance(word, Assignment):
                words += await expansion.fields(self, plain)
                plain = []
                if word.elements is not None:
                    self.declared.append(word)
                    words.append(f"{word.name}{'+' if word.append else ''}=\0{len(self.declared) - 1}")
                    continue
                index = f"[{await expansion.text(self, word.index)}]" if word.index is not None else ""
                value = await expansion.text(self, word.value)
                words.append(f"{word.name}{index}{'+' if word.append else ''}={value}")
            else:
                plain.append(word)
        return words + await expansion.fields(self, plain)

    async def _redirections_only(self, redirects: tuple[Redirect, ...]) -> int:
        try:
            self._restore(await self._redirect(redirects))
        except (OSError, ExpansionError) as exc:
            return self._failed(exc)
        return 0

    async def _call(
        self, function: Function, words: list[str], assignments: dict[str, str], redirects: tuple[Redirect, ...]
    ) -> int:
        self.calls.append(function.name)
        try:
            self.nest()
        except ExpansionError as exc:
            self.calls.pop()
            self.complain(str(exc))
            raise ProcessExit(1 if self.bash else 2) from None
        positional, self.positional = self.positional, words[1:]
        scope: dict[str, Value | None] = {}
        self._locals.append(scope)
        loops, self._loops = self._loops, 0
        try:
            for name, value in assignments.items():
                self.make_local(name)
                self.variables[name] = Value(value, flags={"x"})
            saved = await self._redirect(redirects)
            try:
                return await self.command(function.body)
            except Return as exc:
                return exc.status
            finally:
                self._restore(saved)
                if "RETURN" in self.traps and self.options.get("functrace"):
                    await self.run_trap("RETURN")
        except OSError as exc:
            self.complain(message(exc, self.bash))
            return 1
        finally:
            self._locals.pop()
            for name, old in scope.items():
                if old is None:
                    self.variables.pop(name, None)
                else:
                    self.variables[name] = old
            self.positional = positional
            self._loops = loops
            self.depth = max(self.depth - 1, 0)
            if self.calls:
                self.calls.pop()

    async def _builtin(
        self, name: str, words: list[str], assignments: dict[str, str], redirects: tuple[Redirect, ...]
    ) -> int:
        if name == "exec":
            return await self.exec(words, assignments, redirects)
        old = {variable: self.variables.get(variable) for variable in assignments}
        try:
            for variable, value in assignments.items():
                self.check_writable(variable)
                self.variables[variable] = Value(value, flags={"x"})
            saved = await self._redirect(redirects)
        except (OSError, ExpansionError) as exc:
            status = self._failed(exc)
            if name in SPECIAL and not self.bash and not self.interactive:
                raise ProcessExit(2) from None
            return status
        try:
            return await BUILTINS[name](self, words)
        except InterruptedError:  # Ctrl-C while it read from the terminal
            self.interrupted = False
            raise Interrupted from None
        except OSError as exc:
            verb = "write error: " if exc.filename is None and abi.errno_name(exc) in _WRITE_ERRORS else ""
            self.complain(f"{name}: {verb}{message(exc, self.bash)}")
            return 1
        except TooDeep:
            raise
        except ExpansionError as exc:
            # Of what a built-in was given, such as a readonly variable's name.
            self.complain(
                f"{name}: {exc}" if not str(exc).endswith(("readonly variable", "is read only")) else str(exc)
            )
            if name in SPECIAL and not self.bash and not self.interactive:
                raise ProcessExit(2) from None
            return 1 if self.bash else 2
        finally:
            self._restore(saved)
            if name not in SPECIAL or self.bash:
                for variable, before in old.items():
                    if before is None:
                        self.variables.pop(variable, None)
                    else:
                        self.variables[variable] = before

    async def returning(self, text: str) -> int:
        """Runs a sourced script, out of which `return` leads."""
        try:
            return await self.run_text(text)
        except Return as exc:
            return exc.status

    async def function_return(self, status: int) -> int:
        raise Return(status)

    def leave_loop(self, levels: int, *, again: bool) -> None:
        if self._loops:
            raise Continue(levels) if again else Break(levels)
        if self.bash:
            command = "continue" if again else "break"
            self.complain(f"{command}: only meaningful in a `for', `while', or `until' loop")

    def may_return(self) -> bool:
        return bool(self._locals) or bool(self.sourced)


def _substituted(output: bytes) -> str:
    return output.replace(b"\x00", b"").decode("utf-8", "surrogateescape").rstrip("\n")
