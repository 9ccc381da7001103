"""sh (dash) and bash: the programs that turn what an attendee types into processes on the simulated node."""

from __future__ import annotations

from labkit.embedded.node.kernel import Process, ProcessExit
from labkit.embedded.node.programs import program
from labkit.embedded.node.shell import builtins as _builtins  # noqa: F401 - registers them
from labkit.embedded.node.shell.expansion import ExpansionError
from labkit.embedded.node.shell.interactive import interactive
from labkit.embedded.node.shell.interpreter import Shell
from labkit.embedded.node.shell.parser import ShellSyntaxError, parse


@program("dash")
async def dash(p: Process) -> int:
    return await _shell(p, bash=False)


@program("bash")
async def bash(p: Process) -> int:
    return await _shell(p, bash=True)


_LETTERS = {"e": "errexit", "u": "nounset", "x": "xtrace", "f": "noglob", "a": "allexport", "C": "noclobber"}


async def _shell(p: Process, *, bash: bool) -> int:
    arguments = p.argv[1:]
    command: str | None = None
    wants_command = forced = from_stdin = login = False
    options: dict[str, bool] = {}
    while arguments and arguments[0][:1] in ("-", "+") and len(arguments[0]) > 1:
        word = arguments.pop(0)
        if word == "--":
            break
        if word.startswith("--"):
            if not bash or word not in ("--login", "--norc", "--noprofile", "--posix", "--noediting", "--version"):
                return p.fail(f"{word}: invalid option" if bash else "0: Illegal option --", 2)
            if word == "--version":
                p.print("GNU bash, version 5.2.15(1)-release (x86_64-pc-linux-gnu)")
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
    shell = Shell(p, bash=bash, arg0=p.argv[0])
    shell.options.update(options)
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
        status = await shell.run_text(command, tail=shell.bash and _single(command))
    elif arguments and not from_stdin:
        script = arguments[0]
        shell.arg0 = shell.in_script = script
        shell.positional = arguments[1:]
        try:
            text = p.read_text(script)
        except OSError as exc:
            if shell.bash:
                return p.fail(f"{script}: {exc.strerror}", 127)
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


def _single(command: str) -> bool:
    """Whether a text is one command, which `bash -c` then becomes."""
    try:
        tree = parse(command, bash=True)
    except ShellSyntaxError:
        return False
    return len(tree.items) == 1 and not tree.items[0].rest and len(tree.items[0].first.commands) == 1


async def _profile(shell: Shell) -> None:
    for path in ("/etc/profile", f"{shell.get('HOME', '/root')}/.profile"):
        if shell.process.exists(path):
            await shell.run_text(shell.process.read_text(path))


async def _from_stdin(shell: Shell) -> int:
    """Commands from standard input, read no further than needed so that they can read the rest themselves."""
    pending = ""
    while True:
        line = b""
        while not line.endswith(b"\n"):
            byte = await shell.process.read(0, 1)
            if not byte:
                break
            line += byte
        if not line and not pending:
            return shell.status
        pending += line.decode("utf-8", "surrogateescape")
        try:
            tree = parse(pending, bash=shell.bash)
        except ShellSyntaxError as exc:
            if exc.incomplete and line:
                continue
            shell.syntax_error(exc)
            return 2
        pending = ""
        await shell.run(tree)
        if not line:
            return shell.status
