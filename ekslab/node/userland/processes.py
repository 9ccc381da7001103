"""Process programs: ps, env, printenv, kill; and echo, printf, test, seq, yes."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from decimal import Decimal

from ekslab.node import abi
from ekslab.node.kernel import Task
from ekslab.node.patterns import PatternError, regex
from ekslab.node.process import Process
from ekslab.node.programs import program
from ekslab.node.shell.builtins.jobs import kill as send
from ekslab.node.shell.builtins.output import echo_text, printf_pieces
from ekslab.node.shell.conditions import evaluate_test
from ekslab.node.shell.errors import ExpansionError
from ekslab.node.shell.interpreter import Shell
from ekslab.node.userland.launch import not_run
from ekslab.node.userland.options import parse, quoted, usage
from ekslab.node.userland.show import emit

# -- ps ---------------------------------------------------------------------------------------------------------------


def _tty(process: Task) -> str:
    return f"pts/{process.tty.number}" if process.tty is not None else "?"


def _pid(viewer: Process, process: Task) -> tuple[int, int]:
    if viewer.container is None or viewer.container.spec.host_pid:
        return process.pid, process.ppid
    return process.vpid, process.vppid


def _start(process: Task) -> str:
    return time.strftime("%H:%M", time.gmtime(process.started_at // 1_000_000_000))


_COLUMNS: dict[str, tuple[str, int, Callable[[Process, Task], object]]] = {
    "pid": ("PID", 7, lambda v, p: _pid(v, p)[0]),
    "ppid": ("PPID", 7, lambda v, p: _pid(v, p)[1]),
    "user": ("USER", -8, lambda v, p: (v.user_name(p.euid) or str(p.euid))[:8]),
    "uid": ("UID", 5, lambda v, p: p.euid),
    "gid": ("GID", 5, lambda v, p: p.egid),
    "tty": ("TT", -8, lambda v, p: _tty(p)),
    "time": ("TIME", 8, lambda v, p: "00:00:00"),
    "comm": ("COMMAND", -15, lambda v, p: p.name),
    "cmd": ("CMD", -27, lambda v, p: " ".join(p.argv)),
    "args": ("COMMAND", -27, lambda v, p: " ".join(p.argv)),
    "stat": ("STAT", -4, lambda v, p: "T" if v.stopped else "S"),
    "pgid": ("PGID", 7, lambda v, p: p.group_leader.vpid),
    "sid": ("SID", 7, lambda v, p: p.session_leader.vpid),
    "stime": ("STIME", 5, lambda v, p: _start(p)),
    "etime": ("ELAPSED", 11, lambda v, p: _elapsed((v.kernel.now() - p.started_at) // 1_000_000_000)),
}
_COLUMNS["command"] = _COLUMNS["args"]
_COLUMNS["tname"] = _COLUMNS["tty"]
_COLUMNS["ucmd"] = _COLUMNS["comm"]


def _elapsed(seconds: int) -> str:
    hours, rest = divmod(seconds, 3600)
    return (f"{hours:02d}:" if hours else "") + f"{rest // 60:02d}:{rest % 60:02d}"


@program("ps")
async def ps(p: Process) -> int:
    words = p.argv[1:]
    letters = "".join(word for word in words if not word.startswith("-") and re.fullmatch(r"[auxwfe]+", word))
    dashed = ""
    chosen: list[str] | None = None
    only: set[str] | None = None
    header = True
    rest = [word for word in words if not re.fullmatch(r"[auxwfe]+", word)]
    while rest:
        word = rest.pop(0)
        if word in ("-o", "--format", "o") and rest:
            chosen = [*(chosen or []), *re.split("[, ]+", rest.pop(0))]
        elif word.startswith("-o") and len(word) > 2:
            chosen = [*(chosen or []), *re.split("[, ]+", word[2:])]
        elif word in ("-p", "--pid") and rest:
            only = set(re.split("[, ]+", rest.pop(0)))
        elif word == "--no-headers":
            header = False
        elif re.fullmatch(r"-[eAfaxuwlj]+", word):
            dashed += word[1:]
        elif re.fullmatch(r"-[eAfaxuwlj]+o", word) and rest:
            dashed += word[1:-1]
            chosen = re.split("[, ]+", rest.pop(0))
        else:
            p.stderr.write(
                "error: unsupported option (BSD syntax)\n\nUsage:\n ps [options]\n\n"
                " Try 'ps --help <simple|list|output|threads|misc|all>'\n"
            )
            return 1
    # ps looks at every process of the namespace in /proc.
    everyone = p.visible()
    for process in everyone:
        number = _pid(p, process)[0]
        for name in ("stat", "status"):
            try:
                p.close(p.open(f"/proc/{number}/{name}"))
            except OSError:
                continue  # it ended meanwhile
    if only is not None:
        everyone = [process for process in everyone if str(_pid(p, process)[0]) in only]
    elif not ("x" in letters or set(dashed) & set("eA")):
        everyone = [
            process
            for process in everyone
            if process.tty is p.tty and process.euid == p.euid and (p.tty or process.session_leader is p.session_leader)
        ]
    if chosen is not None:
        return _custom(p, everyone, chosen, header)
    if "u" in letters:
        _bsd(p, everyone)
    elif "x" in letters:
        p.print(f"{'PID':>7} {'TTY':<8} {'STAT':<4} {'TIME':>6} COMMAND")
        for process in everyone:
            p.print(
                f"{_pid(p, process)[0]:>7} {_tty(process):<8} {_state(process):<4} {'0:00':>6} {' '.join(process.argv)}"
            )
    elif "f" in dashed:
        p.print(f"{'UID':<8} {'PID':>7} {'PPID':>7}  C {'STIME':<5} {'TTY':<8} {'TIME':>8} CMD")
        for process in everyone:
            pid, ppid = _pid(p, process)
            user = (p.user_name(process.euid) or str(process.euid))[:8]
            p.print(
                f"{user:<8} {pid:>7} {ppid:>7}  0 {_start(process)} {_tty(process):<8} 00:00:00 "
                f"{' '.join(process.argv)}"
            )
    else:
        p.print(f"{'PID':>7} {'TTY':<8} {'TIME':>8} CMD")
        for process in everyone:
            p.print(f"{_pid(p, process)[0]:>7} {_tty(process):<8} 00:00:00 {process.name}")
    return 0 if everyone else 1


def _state(process: Task) -> str:
    state = "T" if process.stopped else "S"
    return (state if process.session_leader is not process else f"{state}s") + ("+" if process.tty is not None else "")


def _bsd(p: Process, everyone: list[Task]) -> None:
    p.print("USER         PID %CPU %MEM    VSZ   RSS TTY      STAT START   TIME COMMAND")
    for process in everyone:
        user = (p.user_name(process.euid) or str(process.euid))[:8]
        state = "R+" if process is p and p.tty else "R" if process is p else _state(process)
        p.print(
            f"{user:<8} {_pid(p, process)[0]:>7}  0.0  0.0   4188  3456 {_tty(process):<8} {state:<4} "
            f"{_start(process)}   0:00 {' '.join(process.argv)}"
        )


def _custom(p: Process, everyone: list[Task], chosen: list[str], header: bool) -> int:
    columns = []
    for word in chosen:
        name, _, title = word.partition("=")
        if name not in _COLUMNS:
            p.stderr.write(f'error: unknown user-defined format specifier "{name}"\n')
            return 1
        default, width, read = _COLUMNS[name]
        columns.append((title if "=" in word else default, width, read))
    rows = [[str(read(p, process)) for _, _, read in columns] for process in everyone]
    if header and any(title for title, _, _ in columns):
        rows.insert(0, [title for title, _, _ in columns])
    for row in rows:
        cells = [
            cell.rjust(width) if width > 0 else cell.ljust(-width)
            for cell, (_, width, _) in zip(row, columns, strict=True)
        ]
        p.print(" ".join(cells).rstrip())
    return 0


@program("pgrep", "pkill", "pidof")
async def pgrep(p: Process) -> int:
    options = parse(p, "flxsn9", {"full": "f", "exact": "x"})
    if not options.operands:
        usage(p, "no matching criteria specified", 2)
    found = []
    try:
        patterns = [regex(pattern) for pattern in options.operands]
    except PatternError as exc:
        return p.fail(str(exc), 2)
    for process in p.visible():
        await p.cooperate()
        if process is p:
            continue
        text = " ".join(process.argv) if "f" in options else process.name
        for pattern, expression in zip(options.operands, patterns, strict=True):
            exact = "x" in options or p.name == "pidof"
            if (text == pattern) if exact else expression.search(text[:4096]):
                found.append(process)
                break
    if p.name == "pkill":
        for process in found:
            p.kill(_pid(p, process)[0], abi.SIGKILL if "9" in options else abi.SIGTERM)
    elif p.name == "pidof":
        if found:
            p.print(" ".join(str(_pid(p, process)[0]) for process in reversed(found)))
    else:
        for process in found:
            p.print(f"{_pid(p, process)[0]} {process.name}" if "l" in options else _pid(p, process)[0])
    return 0 if found else 1


# -- env, kill -------------------------------------------------------------------------------------------------------


@program("env")
async def env(p: Process) -> int:
    options = parse(
        p,
        "0iu:C:",
        {"ignore-environment": "i", "unset": "u", "null": "0", "chdir": "C"},
        stop_at_operand=True,
        status=125,
    )
    environment = {} if "i" in options else dict(p.env)
    for name in options.all("u"):
        environment.pop(name, None)
    words = [word for word in options.operands if word != "-"]
    if options.operands[:1] == ["-"]:
        environment = {}
    while words and "=" in words[0]:
        name, _, value = words.pop(0).partition("=")
        environment[name] = value
    if "C" in options.values:
        p.chdir(options.values["C"])
    if not words:
        for name, value in environment.items():
            p.stdout.write(f"{name}={value}" + ("\0" if "0" in options else "\n"))
        return 0
    p.env = environment
    return await p.exec(words, env=environment, failed=not_run(p, words[0], "{}"))


@program("printenv")
async def printenv(p: Process) -> int:
    options = parse(p, "0", {"null": "0"}, status=2)
    end = "\0" if "0" in options else "\n"
    if not options.operands:
        for name, value in p.env.items():
            p.stdout.write(f"{name}={value}{end}")
        return 0
    status = 0
    for name in options.operands:
        await p.cooperate()
        if name in p.env:
            p.stdout.write(p.env[name] + end)
        else:
            status = 1
    return status


@program("kill")
async def kill(p: Process) -> int:
    return send(p, p.argv, p.fail)


# -- the shell's built-ins as programs -------------------------------------------------------------------------------


@program("true")
async def true(p: Process) -> int:
    return 0


@program("false")
async def false(p: Process) -> int:
    return 1


@program("echo")
async def echo(p: Process) -> int:
    p.stdout.write(echo_text(p.argv[1:], bash=True)[0])
    return 0


@program("printf")
async def printf(p: Process) -> int:
    if len(p.argv) < 2:
        usage(p, "missing operand")
    errors: list[str] = []
    for piece in printf_pieces(p.argv[1], p.argv[2:], errors):
        await emit(p, piece.encode("utf-8", "surrogateescape"))
    for error in errors:
        p.fail(error)
    return 1 if errors else 0


@program("test")
async def test(p: Process) -> int:
    words = p.argv[1:]
    if p.argv[0].endswith("["):
        if words[-1:] != ["]"]:
            return p.fail("missing ']'", 2)
        words = words[:-1]
    try:
        return 0 if evaluate_test(Shell(p, bash=True, arg0=p.argv[0]), words) else 1
    except ExpansionError as exc:
        return p.fail(str(exc), 2)


@program("yes")
async def yes(p: Process) -> int:
    line = (" ".join(p.argv[1:]) or "y").encode("utf-8", "surrogateescape") + b"\n"
    block = line * max(4096 // len(line), 1)
    while True:
        await emit(p, block)


@program("seq")
async def seq(p: Process) -> int:
    negative = any(re.fullmatch(r"-[\d.].*", word) for word in p.argv[1:])
    options = parse(
        p,
        "s:wf:",
        {"separator": "s", "equal-width": "w", "format": "f"},
        arguments=["--", *p.argv[1:]] if negative else p.argv[1:],
    )
    words = options.operands
    if not words:
        usage(p, "missing operand")
    format = options.values.get("f")
    if format is not None:
        found = _NUMBER_DIRECTIVE.findall(format.replace("%%", ""))
        if len(found) != 1 or not found[0]:
            more = "has no % directive" if not found else "has unknown or too many % directives"
            return p.fail(f"format {quoted(format)} {more}")
        if "w" in options:
            usage(p, "format string may not be specified when printing equal width strings")
    if len(words) > 3:
        usage(p, f"extra operand {quoted(words[3])}")
    numbers = []
    for word in words:
        if not re.fullmatch(r"[-+]?(\d{1,30}(\.\d{0,15})?|\.\d{1,15})(e\d{1,2})?", word):
            usage(p, f"invalid floating point argument: {quoted(word)}")
        numbers.append(Decimal(word))
    first, step, last = (
        (Decimal(1), Decimal(1), numbers[0])
        if len(numbers) == 1
        else (numbers[0], Decimal(1), numbers[1])
        if len(numbers) == 2
        else tuple(numbers)
    )
    if step == 0:
        usage(p, f"invalid Zero increment value: {quoted(words[1])}")
    places = max(_places(word) for word in (words[:-1] or ["1"]))
    separator = options.values.get("s", "\n")
    width = max(len(f"{first:.{places}f}"), len(f"{last:.{places}f}")) if "w" in options else 0
    form = f"0{width}.{places}f" if width else f".{places}f"
    value, begun, out, size = first, False, [], 0
    while value <= last if step > 0 else value >= last:
        text = f"{value:{form}}" if format is None else format % float(value)
        out.append((separator if begun else "") + text)
        begun = True
        value += step
        size += len(out[-1])
        if len(out) == 128 or size > 65_536:
            size = 0
            await emit(p, "".join(out).encode("utf-8", "surrogateescape"))
            out.clear()
    await emit(p, ("".join(out) + ("\n" if begun else "")).encode("utf-8", "surrogateescape"))
    return 0


_NUMBER_DIRECTIVE = re.compile(r"%([-+ #0]{0,5}\d{0,3}(?:\.\d{0,3})?[eEfFgG])?")


def _places(word: str) -> int:
    return 0 if "e" in word else len(word.partition(".")[2])
