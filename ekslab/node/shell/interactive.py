"""Interactive bash and sh: prompt, line editing, history, and the files that bash reads and writes."""

from __future__ import annotations

import re
from collections.abc import Callable

from ekslab.node import abi
from ekslab.node.kernel import ProcessExit
from ekslab.node.process import Process
from ekslab.node.shell.errors import ExpansionError, Interrupted, ShellSyntaxError
from ekslab.node.shell.interpreter import Shell
from ekslab.node.shell.registry import BUILTINS
from ekslab.node.tty import Tty


async def interactive(shell: Shell) -> int:
    """Reads and runs commands until `exit` or Ctrl-D; the shell's exit status."""
    process, tty = shell.process, shell.process.tty
    shell.interactive = True
    process.on_signal(abi.SIGQUIT, None)
    process.on_signal(abi.SIGTERM, None)

    def interrupt() -> None:
        shell.interrupted = True
        if tty is not None:
            tty.interrupt()

    process.on_signal(abi.SIGINT, interrupt)
    shell.prompt = lambda text: expanded_prompt(shell, text)
    history = shell.history
    if shell.bash:
        await _start_bash(shell)
    editor = LineEditor(shell, tty) if tty is not None else None
    try:
        return await _loop(shell, editor, history)
    except ProcessExit as exc:
        return exc.status
    finally:
        if shell.bash:
            _save_history(shell, history)


async def _start_bash(shell: Shell) -> None:
    process = shell.process
    shell.set("PS1", r"\u@\h:\w\$ ")
    for path in ("/etc/bash.bashrc", f"{shell.get('HOME', '/root')}/.bashrc"):
        try:
            text = process.read_text(path)
        except OSError:
            continue
        await shell.run_text(text)
    shell.set("HISTFILE", shell.get("HISTFILE") or f"{shell.get('HOME', '/root')}/.bash_history")
    for path in (shell.get("HISTFILE"), "/etc/inputrc"):
        try:
            process.close(process.open(path))
        except OSError:
            continue  # as often as not they aren't there


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
            process.stderr.write("^C\n" if shell.bash else "\n")
            pending, shell.status = "", 130
            continue
        if line is None:
            if pending:
                shell.complain("syntax error: unexpected end of file")
                pending = ""
                continue
            process.stderr.write("exit\n" if shell.bash else "\n")
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
        try:
            tree = await shell.parsed(pending, prompting=True)
        except ShellSyntaxError as exc:
            if exc.incomplete:
                continue
            shell.syntax_error(exc)
            history.append(pending.rstrip("\n"))
            pending, shell.status = "", 2
            continue
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
            shell.process.stderr.write(f"[{number}]{'+' if number == last else '-'}  {state:<23} {job.text}\n")
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


class LineEditor:
    """readline's first form: typing, erasing, cursor keys, history, completion. Echoes what is being typed."""

    def __init__(self, shell: Shell, tty: Tty) -> None:
        self.shell = shell
        self.process = shell.process
        self.tty = tty
        self.history = shell.history
        self._typed = ""

    async def read(self, prompt: str) -> str | None:
        """The next line, or None at Ctrl-D on an empty one. Raises InterruptedError at Ctrl-C."""
        self.tty.set_mode(canonical=False, echo=False)
        try:
            return await self._read(prompt)
        finally:
            if self._typed:
                # Typed ahead: for the program that runs next, or for the next line.
                self.tty.unread(self._typed.encode("utf-8", "surrogateescape"))
                self._typed = ""
            self.tty.set_mode(canonical=True, echo=True)

    async def _read(self, prompt: str) -> str | None:
        self._show(prompt)
        line, at, index = "", 0, len(self.history)
        last_line = prompt.rsplit("\n", 1)[-1]
        key: str | None = ""
        while True:
            tabs = key == "\t"
            key = await self._key()
            if key is None or (key == "\x04" and not line):
                return None
            if key in ("\n", "\r"):
                self._show("\n")
                return line
            before = line
            if key in ("\x7f", "\b"):
                if at:
                    line, at = line[: at - 1] + line[at:], at - 1
            elif key == "\x15":
                line, at = line[at:], 0
            elif key == "\x0b":
                line = line[:at]
            elif key == "\x17":
                start = len(line[:at].rstrip().rpartition(" ")[0])
                start = start + 1 if start else 0
                line, at = line[:start] + line[at:], start
            elif key in ("\x01", "\x1b[H", "\x1b[1~"):
                at = 0
            elif key in ("\x05", "\x1b[F", "\x1b[4~"):
                at = len(line)
            elif key in ("\x1b[D", "\x02"):
                at = max(at - 1, 0)
            elif key in ("\x1b[C", "\x06"):
                at = min(at + 1, len(line))
            elif key in ("\x1b[3~", "\x04"):
                line = line[:at] + line[at + 1 :]
            elif key in ("\x1b[A", "\x10") and index > 0:
                index -= 1
                line = self.history[index]
                at = len(line)
            elif key in ("\x1b[B", "\x0e") and index < len(self.history):
                index += 1
                line = self.history[index] if index < len(self.history) else ""
                at = len(line)
            elif key == "\t":
                added, choices = _completed(self.shell, line[:at])
                if not added and choices and tabs:
                    self._show(f"\n{_in_columns(choices, self.tty.columns)}\n")
                elif not added:
                    self._show("\a")
                    continue
                line, at = line[:at] + added + line[at:], at + len(added)
            elif key == "\x0c":
                self._show("\x1b[H\x1b[2J")
                before = "\0"
            elif len(key) == 1 and key.isprintable():
                line, at = line[:at] + key + line[at:], at + 1
                if at == len(line):
                    self._show(key)
                    continue
            else:
                continue
            self._redraw(last_line, before, line, at)

    def _redraw(self, prompt: str, before: str, line: str, at: int) -> None:
        back = f"\x1b[{len(line) - at}D" if at < len(line) else ""
        self._show(f"\r{prompt}{line}\x1b[K{back}")

    def _show(self, text: str) -> None:
        self.process.write(2, text.encode("utf-8", "surrogateescape"))

    async def _key(self) -> str | None:
        """The next key; a cursor key is an escape sequence."""
        if not self._typed:
            data = await self.process.read(0)
            if not data:
                return None
            self._typed = data.decode("utf-8", "replace")
        match = re.match(r"\x1b\[[0-9;]*[A-Za-z~]|\x1bO[A-Z]", self._typed)
        length = match.end() if match is not None else 1
        key, self._typed = self._typed[:length], self._typed[length:]
        return key.replace("\x1bO", "\x1b[") if key.startswith("\x1bO") else key


# The word that the cursor is at the end of, and what in a name has to be written with a backslash.
_WORD = re.compile(r"(?:[^\s;&|<>()'\"=\\]|\\.)*\Z")
_SPECIAL = re.compile(r"([\s;&|<>()'\"\\$`*?\[\]!#~{}])")
_MOST_CHOICES = 200


def _completed(shell: Shell, before: str) -> tuple[str, list[str]]:
    """What Tab adds to a line's beginning, and the names that there are to choose from."""
    match = _WORD.search(before)
    word = match[0] if match is not None else ""
    earlier = before[: len(before) - len(word)]
    process, typed = shell.process, re.sub(r"\\(.)", r"\1", word)
    if typed.startswith("$") and "/" not in typed:
        names = [f"${name}" for name in shell.variables if name.startswith(typed[1:])]
    elif "/" not in typed and re.search(r"(?:\A|[;&|(]|\b(?:do|then|else|sudo))\s*\Z", earlier):
        known = {*BUILTINS, *shell.functions, *shell.aliases}
        for folder in shell.get("PATH").split(":"):
            known.update(_listed(process, folder or "."))
        names = [name for name in known if name.startswith(typed)] if typed else []
    else:
        folder, slash, start = typed.rpartition("/")
        home = shell.get("HOME") + folder[1:] if re.match(r"~(/|\Z)", folder) else folder
        found = _listed(process, home + slash or ".")
        names = [n for n in found if n.startswith(start) and (start.startswith(".") or not n.startswith("."))]
        names = [f"{n}/" if process.isdir(f"{home}{slash}{n}") else n for n in names[:_MOST_CHOICES]]
        typed = start
    if not names:
        return "", []
    first, last = min(names), max(names)
    common = next((n for n, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))
    added = first[len(typed) : common]
    end = " " if len(names) == 1 and not names[0].endswith("/") else ""
    added = added if typed.startswith("$") else _SPECIAL.sub(r"\\\1", added)
    return added + end, sorted(names)[:_MOST_CHOICES]


def _listed(process: Process, folder: str) -> list[str]:
    try:
        return process.listdir(folder)
    except OSError:
        return []


def _in_columns(names: list[str], width: int) -> str:
    each = max(map(len, names)) + 2
    number = max(width // each, 1)
    rows = -(-len(names) // number)
    return "\n".join("".join(name.ljust(each) for name in names[row::rows]).rstrip() for row in range(rows))
