"""The state of a shell: variables, parameters, options, jobs; and the messages that it writes."""

from __future__ import annotations

import asyncio
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping

from ekslab.node.process import Process
from ekslab.node.shell.arithmetic import evaluate
from ekslab.node.shell.errors import ExpansionError
from ekslab.node.shell.quoting import double_quoted
from ekslab.node.shell.syntax import Assignment, Function, ProcessSubstitution, Sequence, is_name
from ekslab.node.shell.variables import Value, array


class Job:
    """A process in the background or stopped, the others of its pipeline, and the text that started it."""

    def __init__(self, process: Process, text: str, processes: Iterable[Process] = ()) -> None:
        self.process = process
        self.processes = [*processes] or [process]
        self.text = text
        self.told = False

    @property
    def stopped(self) -> bool:
        return any(process.alive and process.stopped for process in self.processes)


class State(ABC):
    """The state of one shell process. `Shell` adds the commands."""

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
        self.text = ""  # the command that runs now, as it was typed
        self.warned = False  # that there are stopped jobs
        self.interactive = False
        self.prompts = False  # interactive, or a subshell of a shell that is: messages have no line numbers
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
        self.pipes: list[int] = []  # descriptors of process substitutions
        self._own_copies: set[int] = set()  # of descriptors that a redirection took
        self.declared: list[Assignment] = []  # arrays that `declare` and its like were given
        self.option_index = self.option_place = 0  # where getopts is
        self.depth = 0
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
            ("BASH_VERSION", "5.2.37(1)-release"),
            ("BASH", "/bin/bash"),
            ("HOSTTYPE", "x86_64"),
            ("MACHTYPE", "x86_64-pc-linux-gnu"),
            ("OSTYPE", "linux-gnu"),
            ("OPTERR", "1"),
        ):
            self.variables[name] = Value(text)
        for name, number in (("UID", process.uid), ("EUID", process.euid), ("PPID", process.vppid)):
            self.variables[name] = Value(str(number), flags={"r", "i"})
        self.variables["SHLVL"] = Value(str(integer(level) + 1), flags={"x"})
        self.variables["BASH_VERSINFO"] = array(["5", "2", "15", "1", "release", "x86_64-pc-linux-gnu"])
        self.variables["BASH_VERSINFO"].flags.add("r")
        self.variables["GROUPS"] = array([str(process.egid)])

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
        """A variable for changing: created if missing, copied if shared with a parent shell."""
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
                self.process.started_at = self.process.kernel.now() - integer(value) * 1_000_000_000
            elif name == "RANDOM":
                self._random = integer(value)
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
        """The environment of a program that the shell starts."""
        env = {
            name: value.text for name, value in self.variables.items() if "x" in value.flags and value.text is not None
        }
        env.update(assignments or {})
        return env

    # -- jobs and signals ---------------------------------------------------------------------------------------------

    def add_job(self, child: Process, text: str, processes: Iterable[Process] = ()) -> int:
        if not processes:
            self.last_background = child
        if len(self.jobs) > 32 and not self.interactive:
            # A script may start thousands of them; those that have ended are only kept for `wait`.
            for number in [number for number, job in self.jobs.items() if not job.process.alive][:-16]:
                del self.jobs[number]
        number = max(self.jobs, default=0) + 1
        self.jobs[number] = Job(child, text, processes)
        return number

    def stays(self) -> bool:
        """Whether a shell that should exit stays for its stopped jobs: it says so once."""
        if self.warned or not self.interactive or not any(job.stopped for job in self.jobs.values()):
            return False
        self.warned = True
        self.process.stderr.write(f"{'There are' if self.bash else 'You have'} stopped jobs.\n")
        return True

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

    def signalled(self, name: str) -> None:
        """A signal came for which there is a trap; its commands run between two others."""
        if len(self._pending_traps) < 64:
            self._pending_traps.append(name)
        self._woken.set()

    # -- messages -----------------------------------------------------------------------------------------------------

    def complain(self, message: str, *, where: bool = True) -> None:
        """Writes an error message in the form of bash or dash."""
        if self.bash:
            if self.prompts or not where:
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
        """Reports something that the real shell has and the lab's doesn't."""
        self.complain(f"embedded lab: the lab's {'bash' if self.bash else 'sh'} doesn't have {what}")
        return 2

    def complain_as_command(self, message: str) -> None:
        """An error of the script itself, as getopts tells it."""
        self.process.stderr.write(f"{self.in_script or self.arg0}: {message}\n" if self.bash else f"{message}\n")

    # -- what running commands adds (`Shell`) -------------------------------------------------------------------------

    @abstractmethod
    async def run_text(self, text: str, *, tail: bool = False, line: int = 1) -> int:
        """Reads and runs a text; its status."""

    @abstractmethod
    async def substitute(self, body: Sequence) -> str:
        """The output of a command substitution, without the newlines at its end."""

    @abstractmethod
    async def process_substitution(self, part: ProcessSubstitution) -> str:
        """Starts commands on the other end of a pipe; the path under which this end can be opened."""


def _key(key: str) -> str:
    return key if re.fullmatch(r"[\w.-]+", key) else double_quoted(key)


def integer(text: str) -> int:
    return int(text) if re.fullmatch(r"\s*[-+]?\d{1,18}\s*", text) else 0


def _hostname(process: Process) -> str:
    return process.container.hostname if process.container is not None else process.kernel.hostname


def decimal(text: str, most: int = (1 << 63) - 1) -> int | None:
    """A decimal number as built-ins take it; None when it isn't one."""
    if not re.fullmatch(r"\s*[-+]?[0-9]{1,19}\s*", text):
        return None
    value = int(text)
    return value if -most - 1 <= value <= most else None
