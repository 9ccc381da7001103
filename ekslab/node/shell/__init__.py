"""The programs sh (dash) and bash."""

from __future__ import annotations

from ekslab.node import abi
from ekslab.node.kernel import ProcessExit
from ekslab.node.process import Process
from ekslab.node.programs import program
from ekslab.node.shell import builtins as _builtins  # noqa: F401 - registers the built-in commands
from ekslab.node.shell.errors import ExpansionError, ShellSyntaxError
from ekslab.node.shell.interactive import interactive
from ekslab.node.shell.interpreter import Shell
from ekslab.node.shell.programs import script_text


@program("dash")
async def dash(p: Process) -> int:
    return await _shell(p, bash=False)


@program("bash")
async def bash(p: Process) -> int:
    return await _shell(p, bash=True)


_LETTERS = {
    "e": "errexit",
    "u": "nounset",
    "x": "xtrace",
    "f": "noglob",
    "a": "allexport",
    "C": "noclobber",
    "n": "noexec",
    "v": "verbose",
    "m": "monitor",
    "E": "errtrace",
    "T": "functrace",
    "B": "braceexpand",
    "p": "privileged",
    "h": "hashall",
}
_LONG = ("--login", "--norc", "--noprofile", "--posix", "--noediting", "--version", "--restricted", "--verbose")
_MOST_PENDING = 1 << 20  # characters of one command that is read line by line


async def _shell(p: Process, *, bash: bool) -> int:
    arguments = p.argv[1:]
    command: str | None = None
    wants_command = forced = from_stdin = login = False
    options: dict[str, bool] = {}
    shopt: dict[str, bool] = {}
    while arguments and arguments[0][:1] in ("-", "+") and len(arguments[0]) > 1:
        word = arguments.pop(0)
        if word == "--":
            break
        if word.startswith("--"):
            if not bash or word not in _LONG:
                return p.fail(f"{word}: invalid option" if bash else "0: Illegal option --", 2)
            if word == "--version":
                p.print("GNU bash, version 5.2.37(1)-release (x86_64-pc-linux-gnu)")
                return 0
            login = login or word == "--login"
            continue
        for letter in word[1:]:
            if letter == "c":
                wants_command = True
            elif letter == "i":
                forced = True
            elif letter == "s":
                from_stdin = True
            elif letter == "l":
                login = True
            elif letter == "o" and arguments:
                options[arguments.pop(0)] = word[0] == "-"
            elif letter == "O" and arguments and bash:
                shopt[arguments.pop(0)] = word[0] == "-"
            elif letter in _LETTERS:
                options[_LETTERS[letter]] = word[0] == "-"
            else:
                return p.fail(
                    f"{word[0]}{letter}: invalid option" if bash else f"0: Illegal option {word[0]}{letter}", 2
                )
    if wants_command:
        if not arguments:
            return p.fail("-c: option requires an argument" if bash else "0: -c requires an argument", 2)
        command = arguments.pop(0)
    if not options.get("privileged"):  # of a set-uid copy
        p.drop_effective_ids()
    shell = Shell(p, bash=bash, arg0=p.argv[0])
    shell.options.update(options)
    shell.shopt.update(shopt)
    try:
        if login:
            await _profile(shell)
        return await _run(shell, command, arguments, forced=forced, from_stdin=from_stdin)
    except ProcessExit as exc:
        shell.status = exc.status
        if shell.process.kernel.processes.get(p.pid) is p and "EXIT" in shell.traps:
            return await _at_exit(shell)
        raise
    except ExpansionError as exc:
        shell.complain(str(exc))
        return 1 if bash else 2


async def _run(shell: Shell, command: str | None, arguments: list[str], *, forced: bool, from_stdin: bool) -> int:
    p = shell.process
    if command is not None:
        if arguments:
            shell.arg0, shell.positional = arguments[0], arguments[1:]
        status = await shell.run_text(command, tail=shell.bash)
    elif arguments and not from_stdin:
        script = arguments[0]
        shell.arg0 = shell.in_script = script
        shell.positional = arguments[1:]
        try:
            if p.isdir(script):
                raise abi.error("EISDIR", script)
            path = script
            if not p.exists(script) and "/" not in script:
                path = p.find_program(script)
            text = await script_text(p, path)
        except OSError as exc:
            if shell.bash:
                return p.fail(f"{script}: {exc.strerror}", 126 if isinstance(exc, IsADirectoryError) else 127)
            why = "No such file" if isinstance(exc, FileNotFoundError) else exc.strerror
            return p.fail(f"0: cannot open {script}: {why}", 2)
        status = await shell.run_text(text)
    else:
        shell.positional = arguments
        if forced or (p.isatty(0) and p.isatty(2)):
            return await interactive(shell)
        status = await _from_stdin(shell)
    return await _at_exit(shell) if "EXIT" in shell.traps else status


async def _at_exit(shell: Shell) -> int:
    action, status = shell.traps.pop("EXIT"), shell.status
    try:
        await shell.run_text(action)
    except ProcessExit as exc:
        return exc.status
    return status


async def _profile(shell: Shell) -> None:
    for path in ("/etc/profile", f"{shell.get('HOME', '/root')}/.profile"):
        if shell.process.exists(path):
            await shell.run_text(shell.process.read_text(path))


async def _from_stdin(shell: Shell) -> int:
    """Commands from standard input, read no further than needed so that they can read the rest themselves."""
    lines: list[str] = []
    size, needs, number = 0, "", 1
    while True:
        line = await _input_line(shell)
        text = line.decode("utf-8", "surrogateescape")
        if not line and not lines:
            return shell.status
        lines.append(text)
        size += len(text)
        if line and needs and needs not in text:
            if size > _MOST_PENDING:
                shell.complain(
                    f"embedded lab: a command has {_MOST_PENDING} characters at most when it is read from a pipe"
                )
                return 2
            continue
        try:
            tree = await shell.parsed("".join(lines), line=number, prompting=bool(line))
        except ShellSyntaxError as exc:
            if exc.incomplete and line and size <= _MOST_PENDING:
                needs = exc.needs
                continue
            shell.syntax_error(exc)
            return 2
        number += len(lines)
        lines, size, needs = [], 0, ""
        await shell.run(tree)
        if not line:
            return shell.status


async def _input_line(shell: Shell) -> bytes:
    """A line of standard input, of which nothing after it is taken; NULs are left out."""
    process = shell.process
    line = bytearray()
    while not line.endswith(b"\n"):
        byte = await process.read(0, 1)
        await process.cooperate()
        if not byte:
            break
        if byte != b"\0":
            line += byte
            if not len(line) & 4095:
                process.charge(4096)
    process.charge(-(len(line) // 4096) * 4096)
    return bytes(line)
