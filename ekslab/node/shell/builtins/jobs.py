"""Built-in commands: wait, jobs, fg, disown, kill, trap."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping

from ekslab.node import abi
from ekslab.node.process import Process
from ekslab.node.shell.interpreter import Shell
from ekslab.node.shell.registry import builtin
from ekslab.node.shell.state import Job

_EVENTS = ("EXIT", "ERR", "DEBUG", "RETURN")


@builtin("wait")
async def _wait(shell: Shell, argv: list[str]) -> int:
    words = [word for word in argv[1:] if word not in ("-f", "--")]
    if words[:1] == ["-n"]:
        return await _wait_for_next(shell)
    if words[:1] == ["-p"]:
        return shell.lacks("the option -p of wait")
    if not words:
        for number, job in list(shell.jobs.items()):
            if await shell.wait_for(job.process) is None:
                return 128 + abi.SIGTERM
            if not shell.interactive:  # else it is told of before the next prompt
                shell.jobs.pop(number, None)
        return 0
    status = 0
    for word in words:
        found = shell.job(word)
        if found is None and not shell.bash:
            status = 127
            continue
        if found is None:
            shell.complain(
                f"wait: {word}: no such job"
                if word.startswith("%")
                else f"wait: pid {word} is not a child of this shell"
                if word.isdigit()
                else f"wait: `{word}': not a pid or valid job spec"
            )
            status = 127
            continue
        ended = await shell.wait_for(shell.jobs[found].process)
        status = 128 + abi.SIGTERM if ended is None else ended
    return status


async def _wait_for_next(shell: Shell) -> int:
    if not shell.jobs:
        return 127
    tasks = {asyncio.ensure_future(shell.process.wait(job.process)): number for number, job in shell.jobs.items()}
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
    first = next(iter(done))
    shell.jobs.pop(tasks[first], None)
    return first.result()


@builtin("jobs")
async def _jobs(shell: Shell, argv: list[str]) -> int:
    last = max(shell.jobs, default=0)
    for number, job in list(shell.jobs.items()):
        state = _state(job)
        if "-p" in argv:
            shell.process.print(job.process.vpid)
            continue
        if ("-r" in argv and state != "Running") or ("-s" in argv and state != "Stopped"):
            continue
        mark = "+" if number == last else "-" if number == sorted(shell.jobs)[-2] else " "
        pid = f" {job.process.vpid}" if "-l" in argv else ""
        tail = " &" if state == "Running" and shell.bash else ""
        shell.process.print(f"[{number}]{mark} {pid} {state:<24}{job.text}{tail}")
        if not job.process.alive:
            shell.jobs.pop(number, None)
    return 0


def _state(job: Job) -> str:
    if job.process.alive:
        return "Stopped" if job.stopped else "Running"
    status = job.process.status or 0
    if status > 128 and status - 128 in abi.SIGNAL_NAMES:
        return {9: "Killed", 15: "Terminated", 2: "Interrupt", 1: "Hangup"}.get(status - 128, f"Exit {status}")
    return f"Exit {status}" if status else "Done"


@builtin("fg", "bg")
async def _foreground(shell: Shell, argv: list[str]) -> int:
    if not shell.interactive:
        shell.complain(f"{argv[0]}: no job control")
        return 1
    found = shell.job(argv[1] if len(argv) > 1 else "%+")
    if found is None:
        shell.complain(f"{argv[0]}: {argv[1] if len(argv) > 1 else 'current'}: no such job")
        return 1
    job = shell.jobs[found]
    group = job.process.group_leader.pid
    if argv[0] == "bg":
        if not job.stopped:
            shell.complain(f"bg: job {found} already in background")
            return 0
        shell.process.print(f"[{found}]+ {job.text} &" if shell.bash else f"[{found}] {job.text}")
        shell.last_background = job.process
        shell.process.kernel.signal_group(group, abi.SIGNALS["CONT"])
        return 0
    shell.process.print(job.text)
    shell.jobs.pop(found, None)
    shell.text = job.text
    shell.process.kernel.signal_group(group, abi.SIGNALS["CONT"])
    return (await shell.foreground(job.processes))[-1]


@builtin("disown", "suspend", bash_only=True)
async def _disown(shell: Shell, argv: list[str]) -> int:
    if argv[0] == "suspend":
        return shell.lacks("suspend")
    words = [word for word in argv[1:] if not word.startswith("-")]
    if "-a" in argv:
        shell.jobs.clear()
        return 0
    for word in words or ["%+"]:
        found = shell.job(word)
        if found is None:
            shell.complain(f"disown: {word if words else 'current'}: no such job")
            return 1
        if "-h" not in argv:
            job = shell.jobs.pop(found)
            if job.stopped:
                group = job.process.group_leader.vpid
                shell.complain(f"warning: deleting stopped job {found} with process group {group}")
    return 0


@builtin("kill")
async def _kill(shell: Shell, argv: list[str]) -> int:
    jobs = {number: job.process for number, job in shell.jobs.items()}

    def complain(message: str) -> None:
        if message.startswith("usage") and shell.bash:
            shell.process.stderr.write(f"kill: {message}\n")
        else:
            shell.complain(f"kill: {message}")

    if argv[1:] in (["-l"], ["-L"]):
        shell.process.stdout.write(_signal_list(table=shell.bash))
        return 0
    status = kill(shell.process, argv, complain, jobs)
    for job in [shell.jobs[found] for word in argv[1:] if word[:1] == "%" and (found := shell.job(word)) is not None]:
        if job.stopped:  # a stopped job is killed when it goes on
            shell.process.kernel.signal_group(job.process.group_leader.pid, abi.SIGNALS["CONT"])
    await shell.turn()
    return status


def _signal_list(*, table: bool) -> str:
    """What `kill -l` prints: bash's table of five columns, or dash's names."""
    names = {number: name for name, number in abi.SIGNALS.items()}
    names |= {34 + n: f"RTMIN+{n}" if n else "RTMIN" for n in range(16)}
    names |= {64 - n: f"RTMAX-{n}" if n else "RTMAX" for n in range(15)}
    if not table:
        return "0\n" + "".join(f"{names.get(number, number)}\n" for number in range(1, 65))
    cells = [f"{number:2d}) SIG{names[number]}" for number in sorted(names) if number > 0]
    rows = [cells[start : start + 5] for start in range(0, len(cells), 5)]
    return "".join("\t".join(row) + ("\n" if len(row) == 5 else "\t\n") for row in rows)


def kill(
    process: Process, argv: list[str], complain: Callable[[str], object], jobs: Mapping[int, Process] | None = None
) -> int:
    """kill as a built-in and as a program have it."""
    words = argv[1:]
    number = abi.SIGTERM
    if words and words[0] in ("-l", "-L"):
        if len(words) > 1:
            for word in words[1:]:
                process.print(
                    abi.SIGNAL_NAMES.get(int(word) & 0x7F, word)
                    if re.fullmatch(r"[0-9]{1,3}", word)
                    else abi.SIGNALS.get(word.removeprefix("SIG"), word)
                )
        else:
            process.print(" ".join(abi.SIGNALS))
        return 0
    if words and words[0] in ("-s", "-n") and len(words) > 1:
        name = words[1]
        words = words[2:]
    elif words and re.fullmatch(r"-[A-Za-z0-9]+", words[0]) and words[0] != "--":
        name = words[0][1:]
        words = words[1:]
    else:
        name = ""
    if name:
        found = int(name) if re.fullmatch(r"[0-9]{1,3}", name) else abi.SIGNALS.get(name.upper().removeprefix("SIG"))
        if found is None or found > 64:
            complain(f"{name}: invalid signal specification")
            return 1
        number = found
    words = [word for word in words if word != "--"]
    if not words:
        complain("usage: kill [-s sigspec | -n signum | -sigspec] pid | jobspec ... or kill -l [sigspec]")
        return 2
    status = 0
    for word in words:
        target = word
        if word.startswith("%") and jobs:
            chosen = int(word[1:]) if re.fullmatch(r"%[0-9]{1,6}", word) else max(jobs)
            if chosen in jobs:
                target = str(jobs[chosen].vpid)
        if word.startswith("%") and target == word:
            complain(f"{word}: no such job")
            status = 1
            continue
        if not re.fullmatch(r"-?[0-9]{1,9}", target):
            complain(f"{word}: arguments must be process or job IDs")
            status = 1
            continue
        try:
            process.kill(int(target), number)
        except OSError as exc:
            complain(f"({target}) - {exc.strerror}")
            status = 1
    return status


@builtin("trap")
async def _trap(shell: Shell, argv: list[str]) -> int:
    words = argv[1:]
    if words[:1] == ["-l"]:
        shell.process.stdout.write(_signal_list(table=True))
        return 0
    show = words[:1] == ["-p"]
    words = [word for word in (words[1:] if show else words) if word != "--"]
    if not words or show:
        wanted = {_trap_name(word) for word in words}
        for each, given in shell.traps.items():
            if not wanted or each in wanted:
                shown = each if each in _EVENTS or not shell.bash else f"SIG{each}"
                quoted = given.replace("'", "'\\''")
                shell.process.print(f"trap -- '{quoted}' {shown}")
        return 0
    action = "-" if len(words) == 1 or (words[0].isdigit() and shell.bash) else words.pop(0)
    status = 0
    for word in words:
        name = _trap_name(word)
        if name is None or (name in _EVENTS[1:] and not shell.bash):
            if shell.bash:
                shell.complain(f"trap: {word}: invalid signal specification")
            else:
                shell.process.stderr.write(f"trap: {word}: bad trap\n")
            status = 1
            continue
        if action == "-":
            shell.traps.pop(name, None)
        else:
            shell.traps[name] = action
        if name not in _EVENTS and name not in ("KILL", "STOP"):
            _handle(shell, name, action)
    return status


def _trap_name(word: str) -> str | None:
    """The name of a signal or event, without SIG; None when there is none."""
    name = word.upper().removeprefix("SIG")
    if name in ("0", "EXIT"):
        return "EXIT"
    if name in _EVENTS or name in abi.SIGNALS:
        return name
    return abi.SIGNAL_NAMES.get(int(name)) if re.fullmatch(r"[0-9]{1,3}", name) else None


def _handle(shell: Shell, name: str, action: str) -> None:
    number = abi.SIGNALS[name]
    if action == "-":
        shell.process.default_signal(number)
    elif not action:
        shell.process.on_signal(number, None)
    else:
        shell.process.on_signal(number, lambda: shell.signalled(name))
