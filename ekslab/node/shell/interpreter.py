"""Runs a shell's commands: a tree goes in, system calls of the shell's process and of its children come out.

dash and bash differ in what a rule can see: dash makes a command's redirections itself before it starts the command
(vfork), bash in the forked child; `bash -c` with one command becomes that command, dash keeps waiting for it.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from collections.abc import Sequence as Arguments
from dataclasses import replace

from ekslab.node import abi
from ekslab.node.kernel import ProcessExit
from ekslab.node.patterns import PatternError, regex
from ekslab.node.process import Process
from ekslab.node.shell import expansion
from ekslab.node.shell.expansion import ExpansionError, double_quoted, evaluate
from ekslab.node.shell.parser import (
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
    Parser,
    Pipeline,
    ProcessSubstitution,
    Redirect,
    Sequence,
    ShellSyntaxError,
    Simple,
    Subshell,
    Test,
    Text,
    While,
    Word,
    is_name,
)
from ekslab.node.shell.variables import Value, array

Builtin = Callable[["Shell", list[str]], Awaitable[int]]
BUILTINS: dict[str, Builtin] = {}
BASH_ONLY: set[str] = set()  # built-ins that dash doesn't have
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
_LONGEST_ARGUMENT = 131_072  # bytes, as the kernel has it
_MOST_ARGUMENTS = 2_097_152  # bytes of all arguments and the environment


class Interrupted(Exception):
    """Ctrl-C while an interactive shell was running a command of its own."""


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
        self.variables: dict[str, Value] = {
            name: Value(value, flags={"x"}) for name, value in process.env.items() if is_name(name)
        }
        self.positional: list[str] = []
        self.functions: dict[str, Function] = {}
        self.aliases: dict[str, str] = {}
        self.traps: dict[str, str] = {}
        self.options: dict[str, bool] = {}
        self.shopt: dict[str, bool] = {}
        self.status = 0
        self.last_background: Process | None = None
        self.jobs: dict[int, Job] = {}
        self.interactive = False
        self.interrupted = False
        self.line = 1
        self.shell_pid = process.vpid
        self.in_script = ""
        self.sourced = 0
        self.history: list[str] = []
        self.directories: list[str] = []
        self.calls: list[str] = []  # names of the functions that are running, the innermost last
        self.prompt: Callable[[str], str] = str
        self.last_argument = ""
        self.subshell = 0
        self._pending_traps: list[str] = []
        self._woken = asyncio.Event()
        self._in_trap = False
        self._pipes: list[int] = []  # descriptors of process substitutions
        self._own_copies: set[int] = set()  # of descriptors that a redirection took
        self.declared: list[Assignment] = []  # arrays that `declare` and its like were given
        self.option_index = self.option_place = 0  # where getopts is
        self._depth = 0
        self._loops = 0
        self._conditions = 0
        self._locals: list[dict[str, Value | None]] = []
        self._random = process.pid
        for name, value in (
            ("PWD", process.cwd),
            ("IFS", " \t\n"),
            ("PS1", r"\s-\v\$ " if bash else "# " if process.euid == 0 else "$ "),
            ("PS2", "> "),
            ("PS4", "+ "),
            ("OPTIND", "1"),
            ("PATH", self.get("PATH") or "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
        ):
            known = self.variables.setdefault(name, Value())
            if known.text is None or name in ("PWD", "IFS", "OPTIND"):
                known.text = value
        self.variables["PWD"].flags.add("x")
        if bash:
            self._bash_variables()

    def _bash_variables(self) -> None:
        process = self.process
        self.variables.setdefault("HOSTNAME", Value(_hostname(process)))
        level = self.get("SHLVL")
        for name, text in (
            ("BASH_VERSION", "5.2.15(1)-release"),
            ("BASH", "/bin/bash"),
            ("HOSTTYPE", "x86_64"),
            ("MACHTYPE", "x86_64-pc-linux-gnu"),
            ("OSTYPE", "linux-gnu"),
            ("OPTERR", "1"),
        ):
            self.variables[name] = Value(text)
        for name, number in (("UID", process.uid), ("EUID", process.euid), ("PPID", process.vppid)):
            self.variables[name] = Value(str(number), flags={"r", "i"})
        self.variables["SHLVL"] = Value(str(_integer(level) + 1), flags={"x"})
        self.variables["BASH_VERSINFO"] = array(["5", "2", "15", "1", "release", "x86_64-pc-linux-gnu"])
        self.variables["BASH_VERSINFO"].flags.add("r")
        self.variables["PIPESTATUS"] = array(["0"])
        self.variables["GROUPS"] = array([str(process.egid)])

    # -- variables ----------------------------------------------------------------------------------------------------

    @property
    def globbing(self) -> bool:
        return not self.options.get("noglob")

    def resolved(self, name: str, index: str | None = None) -> tuple[str, str | None]:
        """The name that a reference leads to, and the subscript."""
        for _ in range(8):
            known = self.variables.get(name)
            if known is None or "n" not in known.flags or not known.text:
                return name, index
            match = re.fullmatch(r"(\w+)\[(.*)\]", known.text, re.DOTALL)
            name, index = (match[1], match[2]) if match is not None else (known.text, index)
        raise ExpansionError(f"{name}: circular name reference")

    def get(self, name: str, default: str = "") -> str:
        known = self.variables.get(name)
        text = known.scalar() if known is not None else None
        return default if text is None else text

    def own(self, name: str) -> Value:
        """A variable that can be changed: made when there is none, copied when a parent shell has it, too."""
        known = self.variables.get(name)
        if known is None:
            known = self.variables[name] = Value()
        elif known.shared:
            known = self.variables[name] = known.copy()
        return known

    def check_writable(self, name: str) -> None:
        known = self.variables.get(name)
        if known is not None and "r" in known.flags:
            raise ExpansionError(f"{name}: readonly variable" if self.bash else f"{name}: is read only")

    def set(self, name: str, value: str, *, index: str | None = None, append: bool = False) -> None:
        """Assigns a text to a variable or to an array's element."""
        name, index = self.resolved(name, index)
        self.check_writable(name)
        known = self.own(name)
        if index is None and known.is_array:
            index = "0"
        old = self.element(name, index) if index is not None else known.text
        value = self._converted(known, value, (old or "") if append else None)
        self.process.charge(len(value) - len(old or ""))
        if index is None:
            known.text = value
            if name == "SECONDS":
                self.process.started_at = self.process.kernel.now() - _integer(value) * 1_000_000_000
            elif name == "RANDOM":
                self._random = _integer(value)
        elif known.table is not None:
            known.table[index] = value
        else:
            if known.items is None:
                known.items = {} if known.text is None else {0: known.text}
                known.text = None
                known.flags.add("a")
            known.items[self.subscript(name, index)] = value
        if self.options.get("allexport"):
            known.flags.add("x")

    def _converted(self, known: Value, value: str, old: str | None) -> str:
        if "i" in known.flags:
            number = evaluate(self, value)
            return str(number if old is None else evaluate(self, f"({old or 0})+({number})"))
        if old is not None:
            value = old + value
        if "l" in known.flags:
            return value.lower()
        return value.upper() if "u" in known.flags else value

    def set_value(self, name: str, value: Value) -> None:
        """Replaces a variable as a whole."""
        name, _ = self.resolved(name)
        self.check_writable(name)
        old = self.variables.get(name)
        self.process.charge(value.size() - (old.size() if old is not None and not old.shared else 0))
        value.flags |= {flag for flag in (old.flags if old is not None else ()) if flag not in "aA"}
        self.variables[name] = value

    def unset(self, name: str, index: str | None = None) -> None:
        self.check_writable(name)
        known = self.variables.get(name)
        if known is None:
            return
        if index is None:
            if not known.shared:
                self.process.charge(-known.size())
            del self.variables[name]
            return
        known = self.own(name)
        if known.table is not None:
            known.table.pop(index, None)
        elif known.items is not None:
            known.items.pop(self.subscript(name, index), None)

    def subscript(self, name: str, index: str) -> int:
        """An array's index from its text; negative ones count from the end."""
        number = evaluate(self, index)
        if number < 0:
            known = self.variables.get(name)
            items = known.items if known is not None and known.items else {}
            number += max(items, default=-1) + 1
            if number < 0:
                raise ExpansionError(f"{name}[{index}]: bad array subscript")
        return number

    def element(self, name: str, index: str | None) -> str | None:
        """The value of an array's element; a plain variable is an array of one."""
        known = self._known(name)
        if known is None:
            return None
        if index is None:
            return known.scalar()
        if known.table is not None:
            return known.table.get(index)
        number = self.subscript(name, index or "0")
        if known.items is not None:
            return known.items.get(number)
        return known.text if number == 0 else None

    def _known(self, name: str) -> Value | None:
        known = self.variables.get(name)
        if known is not None and "n" in known.flags:
            known = self.variables.get(self.resolved(name)[0])
        if known is None and self.bash and name in ("FUNCNAME", "BASH_SOURCE", "BASH_LINENO", "DIRSTACK"):
            return array(self._computed_array(name))
        return known

    def _computed_array(self, name: str) -> list[str]:
        if name == "DIRSTACK":
            return [self.get("PWD"), *self.directories]
        if name == "FUNCNAME":
            return [*reversed(self.calls), *(["main"] if self.calls and self.in_script else [])]
        if name == "BASH_SOURCE":
            source = self.in_script or ("environment" if self.calls else "")
            return [source] * max(len(self.calls) + bool(self.in_script), 0)
        return [str(self.line)] * max(len(self.calls), 1)

    def value_of(self, name: str, index: str | None = None) -> str | None:
        """The value of `$name` or `${name[index]}`; None when it isn't set."""
        if index is None:
            return self.parameter(name)
        name, index = self.resolved(name, index)
        return self.element(name, index)

    def elements(self, name: str) -> list[str]:
        known = self._known(name)
        return known.values() if known is not None else []

    def keys(self, name: str) -> list[str]:
        known = self._known(name)
        return known.keys() if known is not None else []

    def numbers(self, name: str) -> list[int] | None:
        """The indices of an array by number; None of anything else."""
        known = self._known(name)
        return sorted(known.items) if known is not None and known.items is not None else None

    def flags(self, name: str) -> str:
        """A variable's attributes in bash's order."""
        known = self._known(name)
        return "".join(letter for letter in "aAilnrux" if known is not None and letter in known.flags)

    def declaration(self, name: str) -> str:
        """The command that makes a variable as it is (`declare -p`)."""
        known = self._known(name)
        if known is None:
            return ""
        lead = f"declare -{self.flags(name) or '-'} {name}"
        if known.items is not None or known.table is not None:
            pairs = zip(known.keys(), known.values(), strict=True)
            end = " " if known.table else ""
            shown = (
                f"[{key if known.items is not None else _key(key)}]={double_quoted(value)}" for key, value in pairs
            )
            return f"{lead}=({' '.join(shown)}{end})"
        return lead if known.text is None else f"{lead}={double_quoted(known.text)}"

    async def assign(self, given: Assignment) -> str:
        """Makes an assignment; what `set -x` shows of it."""
        if given.elements is not None:
            await self._assign_array(given)
            return f"{given.name}=(...)"
        value = await expansion.text(self, given.value)
        index = await expansion.text(self, given.index) if given.index is not None else None
        if index == "":
            raise ExpansionError(f"{given.name}[]: bad array subscript")
        self.set(given.name, value, index=index, append=given.append)
        return f"{given.name}={_quoted(value)}" if self.options.get("xtrace") else ""

    async def _assign_array(self, given: Assignment) -> None:
        name, _ = self.resolved(given.name)
        self.check_writable(name)
        old = self._known(name)
        made = Value(flags=set(old.flags) if old is not None else set())
        if old is not None and old.table is not None:
            made.table = dict(old.table) if given.append else {}
        else:
            kept = {} if old is None or old.text is None else {0: old.text}
            made.items = (
                (dict(old.items) if old is not None and old.items is not None else kept) if given.append else {}
            )
            made.flags.add("a")
        following = max(made.items, default=-1) + 1 if made.items is not None else 0
        assert given.elements is not None
        words: list[str] = []
        for position, append, word in given.elements:
            if position is None and made.items is not None:
                for value in await expansion.fields(self, [word]):
                    made.items[following] = self._converted(made, value, None)
                    following += 1
                    if not following & 255:
                        await self.process.cooperate()
                continue
            if position is None:
                words += await expansion.fields(self, [word])
                continue
            key = await expansion.text(self, position)
            value = await expansion.text(self, word)
            if made.table is not None:
                made.table[key] = self._converted(made, value, made.table.get(key, "") if append else None)
            elif made.items is not None:
                following = evaluate(self, key)
                if following < 0:
                    raise ExpansionError(f"{name}[{key}]: bad array subscript")
                made.items[following] = self._converted(made, value, made.items.get(following, "") if append else None)
                following += 1
        if made.table is not None and words:  # bash 5.2 takes keys and values in turn
            for key, value in zip(words[::2], [*words[1::2], ""], strict=False):
                made.table[key] = value
        self.set_value(name, made)

    def make_local(self, name: str) -> None:
        """Lets a function's variable get its old value back when the function ends."""
        if self._locals and name not in self._locals[-1]:
            old = self._locals[-1][name] = self.variables.get(name)
            if old is not None:
                self.variables[name] = old.copy()

    @property
    def in_function(self) -> bool:
        return bool(self._locals)

    def is_local(self, name: str) -> bool:
        return bool(self._locals) and name in self._locals[-1]

    def parameter(self, name: str) -> str | None:
        """The value of `$name`, special parameters included; None when it isn't set."""
        if name[0] in "0123456789":
            index = int(name[:9])
            if index == 0:
                return self.arg0
            return self.positional[index - 1] if index <= len(self.positional) else None
        if len(name) == 1 and name in "?$!#-@*":
            return self._special(name)
        if self.bash and (value := self._computed(name)) is not None:
            return value
        if name == "LINENO":
            return str(self.line)
        if name == "PPID":
            return str(self.process.vppid)
        known = self._known(name)
        if known is not None and "n" in known.flags:
            return self.value_of(*self.resolved(name))
        return known.scalar() if known is not None else None

    def _special(self, name: str) -> str | None:
        if name == "?":
            return str(self.status)
        if name == "$":
            return str(self.shell_pid)
        if name == "!":
            return str(self.last_background.vpid) if self.last_background is not None else None
        if name == "#":
            return str(len(self.positional))
        if name == "-":
            letters = {"errexit": "e", "noglob": "f", "nounset": "u", "xtrace": "x", "allexport": "a", "noclobber": "C"}
            return "".join(letter for option, letter in sorted(letters.items()) if self.options.get(option)) + (
                ("hB" if self.bash else "") + ("im" if self.interactive else "")
            )
        return " ".join(self.positional) if self.positional else None

    def _computed(self, name: str) -> str | None:
        now = self.process.kernel.now
        if name == "RANDOM":
            self._random = (self._random * 1_103_515_245 + 12_345) & 0x7FFFFFFF
            return str(self._random >> 16 & 0x7FFF)
        if name == "SRANDOM":
            return str(now() * 2_654_435_761 & 0xFFFFFFFF)
        if name == "SECONDS":
            return str((now() - self.process.started_at) // 1_000_000_000)
        if name == "EPOCHSECONDS":
            return str(now() // 1_000_000_000)
        if name == "EPOCHREALTIME":
            return f"{now() // 1_000_000_000}.{now() // 1000 % 1_000_000:06d}"
        if name == "BASHPID":
            return str(self.process.vpid)
        if name == "BASH_SUBSHELL":
            return str(self.subshell)
        if name == "_":
            return self.last_argument
        if name == "SHELLOPTS":
            return ":".join(sorted(["braceexpand", "hashall", *(key for key, on in self.options.items() if on)]))
        return None

    def environment(self, assignments: Mapping[str, str] | None = None) -> dict[str, str]:
        """What a program that is started gets."""
        env = {
            name: value.text for name, value in self.variables.items() if "x" in value.flags and value.text is not None
        }
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

    def lacks(self, what: str) -> int:
        """Says that it is the lab that doesn't have something which the real shell has."""
        self.complain(f"labkit: the lab's {'bash' if self.bash else 'sh'} doesn't have {what}")
        return 2

    # -- text to commands ---------------------------------------------------------------------------------------------

    def parser(self, text: str, *, prompting: bool = False, line: int = 1) -> Parser:
        parser = Parser(text, self.bash, prompting, line_number=line)
        self._prepare(parser)
        return parser

    def _prepare(self, parser: Parser) -> None:
        """Lets a parser know what the lines before have set."""
        parser.extglob = self.shopt.get("extglob", False)
        if self.interactive or self.shopt.get("expand_aliases") or not self.bash:
            parser.aliases = self.aliases

    async def parsed(self, text: str, *, line: int = 1, prompting: bool = False) -> Sequence:
        """The commands of a text that should be complete. Raises ShellSyntaxError, `incomplete` when it isn't."""
        parser = self.parser(text, prompting=prompting, line=line)
        items = []
        while parser.next_line():
            while (item := parser.next_item()) is not None:
                items.append(item)
                await self.process.cooperate()
            parser.ends_line()
        return Sequence(tuple(items))

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

    def syntax_error(self, exc: ShellSyntaxError, *, at_end: bool = False) -> None:
        """Tells of a syntax error; `at_end` when the text's last line has no end, which bash counts as one more."""
        self.line = exc.line
        if self.bash and exc.incomplete and at_end and (not exc.message or exc.needs == ")"):
            self.line += 1
        if exc.message.startswith("labkit: ") or (self.bash and exc.message.endswith("bad substitution")):
            self.complain(exc.message)
        elif self.bash:
            what = exc.message or (
                "syntax error: unexpected end of file"
                if exc.incomplete
                else f"syntax error near unexpected token `{exc.token}'"
            )
            self._complain_of_syntax(what)
            if not exc.incomplete and exc.text and not exc.message:
                self._complain_of_syntax(f"`{exc.text}'")
        elif exc.message and not exc.incomplete:
            bad = "bad substitution" in exc.message
            self.complain("Bad substitution" if bad else f"Syntax error: {exc.message}")
        elif exc.incomplete and "matching" in exc.message and exc.needs in ("'", '"', "`"):
            what = "EOF in backquote substitution" if exc.needs == "`" else "Unterminated quoted string"
            self.complain(f"Syntax error: {what}")
        elif exc.incomplete and exc.needs == "}":
            self.complain("Syntax error: Missing '}'")
        else:
            expecting = f' (expecting "{exc.expecting or exc.needs}")' if exc.expecting or exc.needs else ""
            if exc.incomplete:
                token = "end of file"
            elif exc.token in ("newline", "redirection"):
                token = exc.token
            elif exc.token and not set(exc.token) & set(";&|<>()") and exc.token not in _SHOWN:
                token = "word"
            else:
                token = f'"{exc.token}"'
            self.complain(f"Syntax error: {token} unexpected{expecting}")

    def _complain_of_syntax(self, what: str) -> None:
        if self.interactive or self.in_script:
            self.complain(what)
        else:
            self.process.stderr.write(f"{self.arg0}: -c: line {self.line}: {what}\n")

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
        """Between two commands: others run, and Ctrl-C and signals with a trap are noticed."""
        await self.process.cooperate()
        if self.interrupted:
            self.interrupted = False
            raise Interrupted
        while self._pending_traps and not self._in_trap:
            await self.run_trap(self._pending_traps.pop(0))

    def signalled(self, name: str) -> None:
        """A signal came for which there is a trap; its commands run between two others."""
        if len(self._pending_traps) < 64:
            self._pending_traps.append(name)
        self._woken.set()

    async def run_trap(self, name: str) -> None:
        """Runs what `trap` has for a signal or an event; `$?` stays as it was."""
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
            return await shell._guard(shell._and_or(replace(item, background=False), tail=True))

        try:
            child = self.process.fork(main, new_group=self.interactive)
        except BlockingIOError:
            self._no_fork()
        if self.interactive:
            for signal in (abi.SIGINT, abi.SIGQUIT, abi.SIGTERM):
                child.default_signal(signal)  # now: it may be killed before it has begun
        else:
            child.on_signal(abi.SIGINT, None)
            child.on_signal(abi.SIGQUIT, None)
        number = self.add_job(child, item.text)
        if self.interactive:
            self.process.stderr.write(f"[{number}] {child.vpid}\n")

    def _no_fork(self) -> None:
        """The container has as many processes as it may."""
        if self.bash:
            self.complain("fork: retry: Resource temporarily unavailable")
            self.complain("fork: Resource temporarily unavailable")
            raise ProcessExit(254)
        self.complain("Cannot fork")
        raise ProcessExit(2)

    def add_job(self, child: Process, text: str) -> int:
        self.last_background = child
        if len(self.jobs) > 32 and not self.interactive:
            # A script may start thousands of them; those that have ended are only kept for `wait`.
            for number in [number for number, job in self.jobs.items() if not job.process.alive][:-16]:
                del self.jobs[number]
        number = max(self.jobs, default=0) + 1
        self.jobs[number] = Job(child, text)
        return number

    def job(self, word: str) -> int | None:
        """The number of the job that `%1`, `%+`, `%-`, `%text` or a process's number means."""
        if not self.jobs:
            return None
        if word.isdigit():
            return next((number for number, job in self.jobs.items() if str(job.process.vpid) == word), None)
        rest = word.removeprefix("%")
        if rest in ("", "%", "+"):
            return max(self.jobs)
        if rest == "-":
            return sorted(self.jobs)[-2] if len(self.jobs) > 1 else max(self.jobs)
        if rest.isdigit():
            return int(rest[:9]) if int(rest[:9]) in self.jobs else None
        inside = rest.startswith("?")
        return next(
            (
                number
                for number, job in self.jobs.items()
                if (rest[1:] in job.text if inside else job.text.startswith(rest))
            ),
            None,
        )

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
        """`a | b | c`, each in a process of its own."""
        process = self.process
        children: list[Process] = []
        reading: int | None = None
        for index, command in enumerate(commands):
            last = index == len(commands) - 1
            following, writing = process.pipe() if not last else (None, None)
            try:
                child = process.fork(
                    self._element(command, reading, writing, following), new_group=self.interactive and not children
                )
            except BlockingIOError:
                self._no_fork()
            if self.interactive and children:
                child.group_leader = children[0]
            children.append(child)
            for fd in (reading, writing):
                if fd is not None:
                    process.close(fd)
            reading = following
        statuses = await self._foreground(children)
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
        for value in self.variables.values():
            value.shared = True
        shell = object.__new__(Shell)
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
        shell._pipes = []
        shell._own_copies = set(self._own_copies)
        shell._locals = [dict(scope) for scope in self._locals]
        shell.calls = list(self.calls)
        return shell

    async def _guard(self, running: Awaitable[int]) -> int:
        """Runs a subshell's command: what leaves it ends the subshell, not the shell around it."""
        try:
            status = await running
        except _Return as exc:
            status = exc.status
        except _LoopExit:
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
        self._nest()
        process = self.process
        try:
            reading, writing = process.pipe()

            async def main(child: Process) -> int:
                child.dup2(writing, 1)
                child.close(writing)
                child.close(reading)
                shell = self.in_child(child)
                return await shell._guard(shell.run(body, tail=True))

            try:
                child = process.fork(main)
            except BlockingIOError:
                self._no_fork()
            process.close(writing)
            collected = bytearray()
            while chunk := await process.read(reading):
                process.charge(len(chunk))
                collected += chunk
                await process.cooperate()
            process.close(reading)
            self.status = await process.wait(child)
        finally:
            self._depth -= 1
        process.charge(-len(collected))
        if self.bash and b"\x00" in collected:
            self.complain("warning: command substitution: ignored null byte in input")
        return collected.replace(b"\x00", b"").decode("utf-8", "surrogateescape").rstrip("\n")

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
        collected = bytearray()
        try:
            fd = process.open(path)
            try:
                while chunk := await process.read(fd):
                    process.charge(len(chunk))
                    collected += chunk
                    await process.cooperate()
            finally:
                process.close(fd)
        except OSError as exc:
            self.complain(f"{path}: {exc.strerror}")
            self.status = 1
            return ""
        self.status = 0
        process.charge(-len(collected))
        return collected.replace(b"\x00", b"").decode("utf-8", "surrogateescape").rstrip("\n")

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
            return await shell._guard(shell.run(part.body, tail=True))

        number = 63
        while number in process.fds and number > 12:
            number -= 1
        process.dup2(mine, number)
        process.close(mine)
        mine = number
        try:
            child = process.fork(main)
        except BlockingIOError:
            self._no_fork()
        process.close(theirs)
        self._pipes.append(number)
        self.last_background = child
        return f"/dev/fd/{number}"

    def _close_pipes(self, kept: int) -> None:
        """Closes the pipes of process substitutions that were made since there were `kept` of them."""
        while len(self._pipes) > kept:
            fd = self._pipes.pop()
            if fd in self.process.fds:
                self.process.close(fd)

    def _nest(self) -> None:
        self._depth += 1
        limit = _integer(self.get("FUNCNEST")) if self.bash else 0
        if self._depth > _DEPTH or (0 < limit < len(self.calls)):
            if 0 < limit < len(self.calls):
                self._depth -= 1
                raise ExpansionError(f"{self.calls[-1]}: maximum function nesting level exceeded ({limit})")
            self._depth = 0
            raise TooDeep(
                f"labkit: commands and functions call one another {_DEPTH} levels deep at most in the lab's bash"
                if self.bash
                else "maximum recursion reached"
            )

    # -- commands -----------------------------------------------------------------------------------------------------

    async def command(self, command: Command, *, tail: bool = False) -> int:
        if isinstance(command, Simple):
            kept = len(self._pipes)
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
        self._nest()
        kept = len(self._pipes)
        try:
            saved = await self._redirect(command.redirects)
        except (OSError, ExpansionError) as exc:
            self.complain(_message(exc, self.bash))
            self._depth -= 1
            return 1 if self.bash else 2
        try:
            return await self._compound(command)
        finally:
            self._restore(saved)
            self._close_pipes(kept)
            self._depth = max(self._depth - 1, 0)

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
                shell.complain(_message(exc, self.bash))
                return 1
            return await shell._guard(shell.run(command.body, tail=True))

        kept = len(self._pipes)
        try:
            child = self.process.fork(main, new_group=self.interactive)
        except BlockingIOError:
            self._no_fork()
        try:
            return (await self._foreground([child]))[0]
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

    async def _for_arithmetic(self, command: ForArithmetic) -> int:
        first, condition, step = command.parts
        status = 0
        self._loops += 1
        try:
            await self._evaluated(first)
            while not condition or not (text := await expansion.text(self, condition)).strip() or evaluate(self, text):
                await self._turn()
                try:
                    status = await self.run(command.body)
                except _LoopExit as exc:
                    if self._left(exc):
                        break
                await self._evaluated(step)
        except ExpansionError as exc:
            self.complain(f"((: {exc}")
            return 1
        finally:
            self._loops -= 1
        return status

    async def _evaluated(self, word: Word) -> int:
        return evaluate(self, await expansion.text(self, word))

    async def _calculation(self, command: Calculation) -> int:
        try:
            return int(await self._evaluated(command.word) == 0)
        except ExpansionError as exc:
            self.complain(f"((: {exc}")
            return 1

    async def _select(self, command: For) -> int:
        values = self.positional if command.words is None else await expansion.fields(self, command.words)
        status = 0
        if not values:
            return 0
        width = len(str(len(values)))
        menu = "".join(f"{number:{width}d}) {value}\n" for number, value in enumerate(values, 1))
        self._loops += 1
        shown = False
        try:
            while True:
                await self._turn()
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
                number = _integer(reply)
                self.set(command.name, values[number - 1] if 0 < number <= len(values) else "")
                try:
                    status = await self.run(command.body)
                except _LoopExit as exc:
                    if self._left(exc):
                        break
        finally:
            self._loops -= 1
        return status

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
            return await shell._guard(shell.command(command.body, tail=True))

        try:
            child = process.fork(main)
        except BlockingIOError:
            self._no_fork()
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

    # -- simple commands ----------------------------------------------------------------------------------------------

    async def _simple(self, command: Simple, *, tail: bool) -> int:
        self.line = command.line
        before = self.status
        if "DEBUG" in self.traps:
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
                    trace.append(f"{given.name}={_quoted(assignments[given.name])}")
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
            trace += [_quoted(word) for word in words]
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
            self.complain(_message(exc, self.bash))
            return 1 if self.bash else 2
        return 0

    async def _call(
        self, function: Function, words: list[str], assignments: dict[str, str], redirects: tuple[Redirect, ...]
    ) -> int:
        self.calls.append(function.name)
        try:
            self._nest()
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
            except _Return as exc:
                return exc.status
            finally:
                self._restore(saved)
                if "RETURN" in self.traps and self.options.get("functrace"):
                    await self.run_trap("RETURN")
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
            self._loops = loops
            self._depth = max(self._depth - 1, 0)
            if self.calls:
                self.calls.pop()

    async def _builtin(
        self, name: str, words: list[str], assignments: dict[str, str], redirects: tuple[Redirect, ...]
    ) -> int:
        if name == "exec":
            return await self._exec(words, assignments, redirects)
        old = {variable: self.variables.get(variable) for variable in assignments}
        try:
            for variable, value in assignments.items():
                self.check_writable(variable)
                self.variables[variable] = Value(value, flags={"x"})
            saved = await self._redirect(redirects)
        except (OSError, ExpansionError) as exc:
            self.complain(_message(exc, self.bash))
            if name in SPECIAL and not self.bash and not self.interactive:
                raise ProcessExit(2) from None
            return 1 if self.bash else 2
        try:
            return await BUILTINS[name](self, words)
        except OSError as exc:
            verb = "write error: " if exc.filename is None and abi.errno_name(exc) in ("EBADF", "ENOSPC") else ""
            self.complain(f"{name}: {verb}{_message(exc, self.bash)}")
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

    async def _exec(self, words: list[str], assignments: dict[str, str], redirects: tuple[Redirect, ...]) -> int:
        """`exec`: redirections that stay, or another program in this process."""
        try:
            await self._redirect(redirects, keep=True)
        except (OSError, ExpansionError) as exc:
            self.complain(_message(exc, self.bash))
            if self.interactive:
                return 1
            raise ProcessExit(1 if self.bash else 2) from None
        self._pipes.clear()  # they stay, too
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
        try:
            self._check_size(argv)
            executable = self.process.executable(argv[0], argv=[arg0 or argv[0], *argv[1:]], path=self.get("PATH"))
        except OSError as exc:
            status = self._not_run(argv[0], exc, "exec: ")
            if self.interactive or self.shopt.get("execfail"):
                return status
            raise ProcessExit(status) from None
        raise ProcessExit(
            await self.process.run_executable(executable, env={} if clean else self.environment(assignments))
        )

    async def _replace(self, argv: list[str], assignments: dict[str, str]) -> int:
        """Goes on as another program; the status of what it ran (or of not finding it)."""
        try:
            self._check_size(argv)
            executable = self.process.executable(argv[0], argv=argv, path=self.get("PATH"))
        except OSError as exc:
            return self._not_run(argv[0], exc)
        return await self.process.run_executable(executable, env=self.environment(assignments))

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
                self.complain(_message(exc, self.bash))
                return 1 if self.bash else 2
        try:
            if tail and not (self.bash and ("EXIT" in self.traps)):
                return await self._replace(words, assignments)
            try:
                self._check_size(words)
                executable = process.executable(words[0], argv=words, path=self.get("PATH"))
            except OSError as exc:
                if in_child:  # bash has made the redirections by the time it finds out
                    saved = await self._redirect(redirects)
                return self._not_run(words[0], exc)

            pipes = set(self._pipes)

            async def main(child: Process) -> int:
                if in_child:
                    shell = self.in_child(child)
                    try:
                        await shell._redirect(redirects, keep=True)
                    except (OSError, ExpansionError) as exc:
                        shell.complain(_message(exc, self.bash))
                        return 1
                for fd in [fd for fd in child.fds if fd >= 10 and fd not in pipes and fd in self._own_copies]:
                    child.close(fd)
                if self.interactive:
                    for number in (abi.SIGINT, abi.SIGQUIT, abi.SIGTERM):
                        child.default_signal(number)
                return await child.run_executable(executable, env=self.environment(assignments))

            try:
                child = process.fork(main, new_group=self.interactive, call="clone" if self.bash else "vfork")
            except BlockingIOError:
                self._no_fork()
            return (await self._foreground([child]))[0]
        except OSError as exc:
            self.complain(_message(exc, self.bash))
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
            copy = self.process.dup(fd, 10) if fd in self.process.fds else None
            if copy is not None:
                self._own_copies.add(copy)
            saved.append((fd, copy))

    async def _one_redirect(self, redirect: Redirect, saved: list[tuple[int, int | None]], keep: bool) -> None:
        process, op = self.process, redirect.op
        fd = redirect.fd if redirect.fd is not None else 0 if op.startswith("<") else 1
        if fd > 1023:
            raise ExpansionError(f"{fd}: Bad file descriptor")
        if redirect.variable:
            if op in ("<&", ">&") and await expansion.text(self, redirect.target) == "-":
                number = _integer(self.get(redirect.variable))
                if number in process.fds:
                    process.close(number)
                return
            fd = 10
            while fd in process.fds:
                fd += 1
            self.set(redirect.variable, str(fd))
            keep = True
        if op in ("<<", "<<<"):
            word = redirect.document.body if redirect.document is not None else redirect.target
            text = await expansion.text(self, word) + ("\n" if op == "<<<" else "")
            reading, writing = process.pipe()
            process.write(writing, text.encode("utf-8", "surrogateescape"))
            process.close(writing)
            self._install(reading, fd, saved, keep)
            return
        target = await self._target(redirect.target)
        if op in ("<&", ">&") and (target.rstrip("-").isdigit() or target == "-"):
            self._save(fd, saved, keep)
            if target == "-":
                if fd in process.fds:
                    process.close(fd)
                return
            source = int(target.rstrip("-")[:9])
            if source not in process.fds:
                raise ExpansionError(f"{target}: Bad file descriptor")
            process.dup2(source, fd)
            if target.endswith("-") and source != fd:
                process.close(source)
            return
        if op in ("<&", ">&") and (not self.bash or op == "<&" or redirect.fd is not None):
            raise ExpansionError(f"{target}: ambiguous redirect" if self.bash else "Bad fd number")
        both = op in ("&>", ">&", "&>>")
        flags = {
            "<": abi.O_RDONLY,
            "<>": abi.O_RDWR | abi.O_CREAT,
            ">>": abi.O_WRONLY | abi.O_CREAT | abi.O_APPEND,
            "&>>": abi.O_WRONLY | abi.O_CREAT | abi.O_APPEND,
        }.get(op, abi.O_WRONLY | abi.O_CREAT | abi.O_TRUNC)
        if op == ">" and self.options.get("noclobber") and process.isfile(target):
            raise ExpansionError(
                f"cannot create {target}: File exists" if not self.bash else f"{target}: cannot overwrite existing file"
            )
        connection = re.fullmatch(r"/dev/(tcp|udp)/([^/]+)/(\d{1,5})", target) if self.bash else None
        if connection is not None and connection[1] == "udp":
            raise ExpansionError("labkit: the lab's network has no UDP (/dev/tcp works)")
        try:
            opened = (
                await process.connect(connection[2], int(connection[3]))
                if connection
                else process.open(target, flags, 0o666)
            )
        except OSError as exc:
            raise _redirect_error(exc, target, op, self.bash, connection) from None
        self._install(opened, fd, saved, keep)
        if both:
            self._save(2, saved, keep)
            process.dup2(1, 2)

    async def _target(self, word: Word) -> str:
        """The one name that a redirection's word stands for."""
        if not self.bash or all(isinstance(part, Text) and part.quoted for part in word):
            return await expansion.text(self, word)
        names = await expansion.fields(self, [word])
        if len(names) != 1:
            raise ExpansionError(f"{await expansion.text(self, word)}: ambiguous redirect")
        return names[0]

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
            elif copy in process.fds:
                process.dup2(copy, fd)
                process.close(copy)
                self._own_copies.discard(copy)

    # -- [[ ]] --------------------------------------------------------------------------------------------------------

    async def _double_bracket(self, command: Test) -> int:
        try:
            return 0 if await self._holds(command.tree) else 1
        except PatternError as exc:
            self.complain(f"[[: {exc}" if str(exc).startswith("labkit") else f"[[: invalid regular expression: {exc}")
            return 2
        except ExpansionError as exc:
            self.complain(f"[[: {exc}")
            return 2

    async def _holds(self, tree: tuple[object, ...]) -> bool:
        from ekslab.node.shell.builtins import evaluate_test

        kind, *rest = tree
        await self.process.cooperate()
        if kind in ("and", "or"):
            # A long chain leans to the left: it is walked, not recursed into.
            chain = []
            while tree[0] == kind:
                chain.append(tree[2])
                tree = tree[1]  # type: ignore[assignment]
            chain.append(tree)
            for each in reversed(chain):
                if await self._holds(each) != (kind == "and"):  # type: ignore[arg-type]
                    return kind == "or"
            return kind == "and"
        if kind == "not":
            return not await self._holds(rest[0])  # type: ignore[arg-type]
        if kind == "unary":
            operator, word = rest
            return evaluate_test(self, [str(operator), await expansion.text(self, word)])  # type: ignore[arg-type]
        operator, left_word, right_word = rest
        left = await expansion.text(self, left_word)  # type: ignore[arg-type]
        if operator in ("==", "=", "!="):
            given = await expansion.pattern(self, right_word)  # type: ignore[arg-type]
            return expansion.matches(self, left, given) == (operator != "!=")
        if operator == "=~":
            return self._searched(left, await expansion.regex(self, right_word))  # type: ignore[arg-type]
        right = await expansion.text(self, right_word)  # type: ignore[arg-type]
        if operator in ("<", ">"):
            return left < right if operator == "<" else left > right
        if str(operator) in ("-nt", "-ot", "-ef"):
            return evaluate_test(self, [left, str(operator), right])
        a, b = evaluate(self, left), evaluate(self, right)
        return {"-eq": a == b, "-ne": a != b, "-lt": a < b, "-le": a <= b, "-gt": a > b, "-ge": a >= b}[str(operator)]

    def _searched(self, text: str, pattern: str) -> bool:
        found = regex(pattern, ignore_case=self.shopt.get("nocasematch", False)).search(text)
        if found is None:
            self.variables["BASH_REMATCH"] = array([])
            return False
        self.variables["BASH_REMATCH"] = array(found.group(number) or "" for number in range(found.groups + 1))
        return True

    async def returning(self, text: str) -> int:
        """Runs a sourced script, out of which `return` leads."""
        try:
            return await self.run_text(text)
        except _Return as exc:
            return exc.status

    def complain_as_command(self, message: str) -> None:
        """An error of the script itself, as getopts tells it."""
        self.process.stderr.write(f"{self.in_script or self.arg0}: {message}\n" if self.bash else f"{message}\n")

    async def function_return(self, status: int) -> int:
        raise _Return(status)

    def leave_loop(self, levels: int, *, again: bool) -> None:
        if self._loops:
            raise _Continue(levels) if again else _Break(levels)
        if self.bash:
            command = "continue" if again else "break"
            self.complain(f"{command}: only meaningful in a `for', `while', or `until' loop")

    def may_return(self) -> bool:
        return bool(self._locals) or bool(self.sourced)


class Job:
    """A process in the background, and the text that started it."""

    def __init__(self, process: Process, text: str) -> None:
        self.process = process
        self.text = text
        self.told = False


class TooDeep(ExpansionError):
    """Commands call one another deeper than the shell goes: the shell ends."""


_SHOWN = frozenset(
    ["if", "then", "elif", "else", "fi", "do", "done", "case", "esac", "while", "until", "for", "{", "}", "in", "!"]
)


def _message(exc: Exception, bash: bool) -> str:
    if isinstance(exc, OSError):
        return f"{exc.filename}: {exc.strerror}" if exc.filename else exc.strerror or str(exc)
    return str(exc)


def _redirect_error(exc: OSError, target: str, op: str, bash: bool, connection: re.Match[str] | None) -> Exception:
    why = exc.strerror or str(exc)
    if connection is not None:
        import socket

        if isinstance(exc, socket.gaierror):
            return ExpansionError(f"{connection[2]}: Name or service not known\nbash: {target}: Invalid argument")
        return ExpansionError(f"connect: {why}\nbash: line 1: {target}: {why}")
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


def _key(key: str) -> str:
    return key if re.fullmatch(r"[\w.-]+", key) else double_quoted(key)


def _integer(text: str) -> int:
    return int(text) if re.fullmatch(r"\s*[-+]?\d{1,18}\s*", text) else 0


def _hostname(process: Process) -> str:
    return process.container.hostname if process.container is not None else process.kernel.hostname
