"""Interactive bash and sh: prompt, history, and the files that bash reads and writes."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress

from ekslab.node import abi
from ekslab.node.kernel import ProcessExit
from ekslab.node.process import Process
from ekslab.node.shell.errors import ExpansionError, Interrupted, ShellSyntaxError
from ekslab.node.shell.interpreter import Shell
from ekslab.node.shell.programs import KEPT_SIGNALS
from ekslab.node.shell.readline import LineEditor

_MOST_HISTORY = 500  # lines that are read from the history file
_CONTINUES = re.compile(r"\A(?:[^#]|(?<=[^\s;&|()])#)*(?<!\\)(?:\\\\)*\\\Z", re.DOTALL)  # with a backslash at the end


async def interactive(shell: Shell) -> int:
    """Reads and runs commands until `exit` or Ctrl-D; the shell's exit status."""
    process, tty = shell.process, shell.process.tty
    shell.interactive = shell.prompts = True
    process.on_signal(abi.SIGQUIT, None)
    for number in KEPT_SIGNALS[2:]:
        process.on_signal(number, None)

    def interrupt() -> None:
        shell.interrupted = True
        if tty is not None:
            tty.interrupt()

    process.on_signal(abi.SIGINT, interrupt)
    shell.prompt = lambda text: expanded_prompt(shell, text)
    history = shell.history
    if shell.bash:
        await _start_bash(shell)
    known = len(history)
    editor = LineEditor(shell, tty) if tty is not None else None
    try:
        return await _loop(shell, editor, history)
    except ProcessExit as exc:
        return exc.status
    finally:
        for job in shell.jobs.values():
            if job.stopped:  # nothing is left that could let them go on
                for number in (abi.SIGHUP, abi.SIGNALS["CONT"]):
                    process.kernel.signal_group(job.process.group_leader.pid, number)
        if shell.bash:
            _save_history(shell, history[known if len(history) >= known else 0 :])


async def _start_bash(shell: Shell) -> None:
    process = shell.process
    shell.set("PS1", r"\u@\h:\w\$ ")
    for path in ("/etc/bash.bashrc", f"{shell.get('HOME', '/root')}/.bashrc"):
        try:
            text = process.read_text(path)
        except OSError:
            continue
        with suppress(Interrupted):
            await shell.run_text(text)
    shell.set("HISTFILE", shell.get("HISTFILE") or f"{shell.get('HOME', '/root')}/.bash_history")
    with suppress(OSError):  # as often as not it isn't there
        text = process.read_text(shell.get("HISTFILE"))
        shell.history += text.removesuffix("\n").split("\n")[-_MOST_HISTORY:] if text else []
    with suppress(OSError):
        process.read_text("/etc/inputrc")  # bash's readline does; the lab has no key bindings to read from it


def _save_history(shell: Shell, history: list[str]) -> None:
    """bash makes the history file anew when there is none, and adds to it when there is."""
    path = shell.get("HISTFILE")
    if not history or not path:
        return
    process = shell.process
    flags = abi.O_APPEND if process.exists(path) else abi.O_CREAT | abi.O_TRUNC
    try:
        fd = process.open(path, abi.O_WRONLY | flags, 0o600)
        process.write(fd, "".join(f"{line}\n" for line in history).encode("utf-8", "surrogateescape"))
        process.close(fd)
    except OSError:
        return  # bash says nothing either


async def _loop(shell: Shell, editor: LineEditor | None, history: list[str]) -> int:
    process = shell.process
    pending = ""
    while True:
        prompt = shell.get("PS2") if pending else shell.get("PS1")
        text = expanded_prompt(shell, prompt) if shell.bash else prompt
        try:
            line = await editor.read(text) if editor is not None and shell.bash else await _plain_line(process, text)
        except InterruptedError:
            shell.interrupted = False
            process.stderr.write("\n")
            pending, shell.status = "", 130
            continue
        if line is None:
            if pending:
                shell.complain("syntax error: unexpected end of file")
                pending = ""
                continue
            process.stderr.write("exit\n" if shell.bash else "\n")
            if shell.stays():
                continue
            return shell.status
        if shell.bash and "!" in line and not pending:
            expanded = _history_expanded(shell, line)
            if expanded is None:
                shell.status = 1
                continue
            if expanded != line:
                process.stderr.write(expanded + "\n")
                line = expanded
        pending += line + "\n"
        if _CONTINUES.search(line):
            continue
        try:
            tree = await shell.parsed(pending, prompting=True)
        except ShellSyntaxError as exc:
            if exc.incomplete:
                continue
            shell.syntax_error(exc)
            history.append(pending.rstrip("\n"))
            pending, shell.status = "", 2
            continue
        shell.warned = shell.warned and _is_exit(pending)
        if pending.strip():
            history.append(pending.rstrip("\n"))
        pending = ""
        try:
            await shell.run(tree)
        except ProcessExit:
            if shell.bash and tree.items and _is_exit(tree.items[0].text):
                process.stderr.write("exit\n")
            raise
        except Interrupted:
            process.stderr.write("\n")
            shell.status = 130
        except ExpansionError as exc:
            shell.complain(str(exc))
            shell.status = 1
        if shell.bash:
            _tell_of_jobs(shell)


def _tell_of_jobs(shell: Shell) -> None:
    """Says which jobs in the background have ended, before the next prompt."""
    last = max(shell.jobs, default=0)
    for number, job in list(shell.jobs.items()):
        if not job.process.alive:
            status = job.process.status or 0
            state = "Done" if not status else {143: "Terminated", 137: "Killed"}.get(status, f"Exit {status}")
            shell.process.stderr.write(f"[{number}]{'+' if number == last else '-'}  {state:<24}{job.text}\n")
            del shell.jobs[number]


def _history_expanded(shell: Shell, line: str) -> str | None:
    """A line with `!!`, `!n`, `!-n`, `!text` and `!$` replaced, outside of single quotes; None when there is none."""
    out, at, quote = [], 0, ""
    while at < len(line):
        character = line[at]
        if character in "'\"" and quote in ("", character):
            quote = "" if quote else character
        if character == "\\":
            out.append(line[at : at + 2])
            at += 2
            continue
        match = _EVENT.match(line, at) if quote != "'" else None
        if match is None:
            out.append(character)
            at += 1
            continue
        found = _event(shell.history, match[1])
        if found is None:
            shell.complain(f"{match[0]}: event not found")
            return None
        out.append(found)
        at = match.end()
    return "".join(out)


# Not what has another meaning: `$!`, `${!name}`, `[!abc]`.
_EVENT = re.compile(r"(?<!\$)(?<!\$\{)(?<!\[(?=.*\]))!(!|\$|-?\d{1,6}|[A-Za-z/.][\w./-]*)")


def _event(history: list[str], word: str) -> str | None:
    if not history:
        return None
    if word == "!":
        return history[-1]
    if word == "$":
        return history[-1].split()[-1] if history[-1].split() else ""
    if word.lstrip("-").isdigit():
        place = int(word) - 1 if int(word) > 0 else len(history) + int(word)
        return history[place] if 0 <= place < len(history) else None
    return next((line for line in reversed(history) if line.startswith(word)), None)


def _is_exit(text: str) -> bool:
    return text.split()[:1] == ["exit"]


async def _plain_line(process: Process, prompt: str) -> str | None:
    """A line as the terminal itself edits it."""
    process.stderr.write(prompt)
    data = b""
    while not data.endswith(b"\n"):
        chunk = await process.read(0)
        await process.cooperate()
        if not chunk:
            return data.decode("utf-8", "surrogateescape") if data else None
        kept = chunk.replace(b"\0", b"")
        process.charge(len(kept))
        data += kept
    process.charge(-len(data))
    return data[:-1].decode("utf-8", "surrogateescape")


def expanded_prompt(shell: Shell, prompt: str) -> str:
    """A prompt with bash's backslash escapes replaced."""
    process = shell.process
    home, cwd = shell.get("HOME"), shell.get("PWD", "/")
    shown = "~" + cwd[len(home) :] if home not in ("", "/") and (cwd + "/").startswith(home + "/") else cwd
    values: dict[str, Callable[[], str]] = {
        "u": lambda: process.user_name(process.euid) or "I have no name!",
        "h": lambda: shell.get("HOSTNAME").split(".")[0],
        "H": lambda: shell.get("HOSTNAME"),
        "w": lambda: shown,
        "W": lambda: shown if shown in ("/", "~") else shown.rsplit("/", 1)[-1],
        "$": lambda: "#" if process.euid == 0 else "$",
        "s": lambda: "bash",
        "v": lambda: "5.2",
        "n": lambda: "\n",
        "\\": lambda: "\\",
        "[": lambda: "",
        "]": lambda: "",
        "e": lambda: "\x1b",
        "a": lambda: "\a",
    }
    return re.sub(r"\\(.)", lambda match: values[match[1]]() if match[1] in values else match[0], prompt)
