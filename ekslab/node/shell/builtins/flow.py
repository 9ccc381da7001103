"""Built-in commands: true, exit, return, break, eval, source, exec, test."""

from __future__ import annotations

from ekslab.node import abi
from ekslab.node.kernel import ProcessExit
from ekslab.node.shell.builtins.common import fatal
from ekslab.node.shell.conditions import evaluate_test
from ekslab.node.shell.errors import ExpansionError
from ekslab.node.shell.interpreter import Shell
from ekslab.node.shell.programs import script_text
from ekslab.node.shell.registry import BUILTINS, builtin
from ekslab.node.shell.state import decimal


@builtin(":", "true")
async def _true(shell: Shell, argv: list[str]) -> int:
    return 0


@builtin("false")
async def _false(shell: Shell, argv: list[str]) -> int:
    return 1


@builtin("exit", "logout")
async def _exit(shell: Shell, argv: list[str]) -> int:
    status = _exit_status(shell, argv)
    if shell.interactive and not shell.warned and any(job.stopped for job in shell.jobs.values()):
        if shell.bash:
            shell.process.stderr.write("exit\n")
        shell.stays()
        return 1
    raise ProcessExit(status)


def _exit_status(shell: Shell, argv: list[str]) -> int:
    if len(argv) < 2:
        return shell.status
    status = decimal(argv[1])
    if status is None or (not shell.bash and status < 0):
        shell.complain(
            f"{argv[0]}: {argv[1]}: numeric argument required"
            if shell.bash
            else f"{argv[0]}: Illegal number: {argv[1]}"
        )
        return 2
    return status & 0xFF


@builtin("return")
async def _return(shell: Shell, argv: list[str]) -> int:
    if not shell.may_return():
        if shell.bash:
            shell.complain("return: can only `return' from a function or sourced script")
            return 2
        raise ProcessExit(_exit_status(shell, argv))
    return await shell.function_return(_exit_status(shell, argv))


@builtin("break", "continue")
async def _break(shell: Shell, argv: list[str]) -> int:
    levels = decimal(argv[1]) if len(argv) > 1 else 1
    if levels is None or levels < 1:
        shell.complain(
            (
                f"{argv[0]}: {argv[1]}: loop count out of range"
                if levels is not None
                else f"{argv[0]}: {argv[1]}: numeric argument required"
            )
            if shell.bash
            else f"{argv[0]}: Illegal number: {argv[1]}"
        )
        levels = 1
    shell.leave_loop(min(levels, 1000), again=argv[0] == "continue")
    return 0


@builtin("eval")
async def _eval(shell: Shell, argv: list[str]) -> int:
    words = argv[2:] if argv[1:2] == ["--"] else argv[1:]
    shell.nest()
    try:
        return await shell.run_text(" ".join(words), line=shell.line)
    finally:
        shell.depth = max(shell.depth - 1, 0)


@builtin("source", bash_only=True)
@builtin(".")
async def _source(shell: Shell, argv: list[str]) -> int:
    words = argv[2:] if argv[1:2] == ["--"] else argv[1:]
    if not words:
        shell.complain(f"{argv[0]}: filename argument required")
        if shell.bash:
            shell.process.stderr.write(f"{argv[0]}: usage: {argv[0]} filename [arguments]\n")
        return 2
    path = words[0]
    if "/" not in path:
        found = next((f"{d}/{path}" for d in shell.get("PATH").split(":") if shell.process.isfile(f"{d}/{path}")), "")
        if not found and not shell.bash:
            shell.complain(f".: {path}: not found")
            return fatal(shell, 2)
        path = found or path
    try:
        text = await script_text(shell.process, path)
    except OSError as exc:
        shell.complain(f"{words[0]}: {exc.strerror}" if shell.bash else f".: cannot open {words[0]}: {_no_file(exc)}")
        return fatal(shell, 2) if not shell.bash else 1
    shell.nest()
    before, shell.in_script = shell.in_script, path
    shell.sourced += 1
    positional = shell.positional
    if words[1:]:
        shell.positional = words[1:]
    try:
        return await shell.returning(text)
    finally:
        shell.sourced -= 1
        shell.in_script = before
        shell.depth = max(shell.depth - 1, 0)
        if words[1:]:
            shell.positional = positional
        shell.process.charge(-len(text))


def _no_file(exc: OSError) -> str:
    return "No such file" if abi.errno_name(exc) == "ENOENT" else exc.strerror or ""


@builtin("exec")
async def _exec(shell: Shell, argv: list[str]) -> int:
    """Run by the interpreter itself, since its redirections stay."""
    raise AssertionError("exec is handled before built-ins are called")


@builtin("builtin", bash_only=True)
async def _builtin(shell: Shell, argv: list[str]) -> int:
    if len(argv) < 2:
        return 0
    if argv[1] not in BUILTINS:
        shell.complain(f"builtin: {argv[1]}: not a shell builtin")
        return 1
    return await BUILTINS[argv[1]](shell, argv[1:])


@builtin("test", "[")
async def _test(shell: Shell, argv: list[str]) -> int:
    words = argv[1:]
    if argv[0] == "[":
        if not words or words[-1] != "]":
            shell.complain("[: missing `]'" if shell.bash else "[: missing ]")
            return 2
        words = words[:-1]
    try:
        return 0 if evaluate_test(shell, words) else 1
    except ExpansionError as exc:
        shell.complain(f"{argv[0]}: {exc}")
        return 2
