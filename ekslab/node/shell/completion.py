"""Completion of the word before the cursor: commands, files, variables and users, as bash does it on its own.

As the package bash-completion has it, only directories follow cd, pushd and rmdir.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from ekslab.node import abi, accounts
from ekslab.node.process import Process
from ekslab.node.shell.parser import RESERVED_BY_BASH
from ekslab.node.shell.registry import BUILTINS
from ekslab.node.shell.state import State

_LONGEST_PATH = 4096  # characters: PATH_MAX
_BREAKS = " \t\n\"'@><=;|&(:`"  # COMP_WORDBREAKS, and the backquote that begins a command
_ASSIGNMENT = re.compile(r"\s*[A-Za-z_]\w*\+?=(?:\\.|\"[^\"]*\"|'[^']*'|[^\s\\\"'])*\s")
_VARIABLE = re.compile(r"\$(\{?)(\w*)\Z")
_IN_FOLDER = re.compile(r"\$(?:\{(\w+)\}|(\w+))")
_SPECIAL = re.compile(r"([\s;&|<>()'\"\\$`*?\[\]!^{}])")
_SPECIAL_AT_START = re.compile(r"\A([~#])")
_FOLDERS_ONLY = frozenset({"cd", "pushd", "rmdir"})


@dataclass(frozen=True)
class Completion:
    """What could take the place of a line's text from `start` to the cursor."""

    start: int
    text: str = ""  # what all choices begin with, as it is written; of a single choice all of it
    end: str = ""  # what comes after a single choice: a blank, a slash
    choices: list[str] = field(default_factory=list)
    """The choices as they are listed, sorted."""
    words: list[str] = field(default_factory=list)
    """The choices as they are written."""


async def completion(shell: State, line: str, point: int) -> Completion:
    """The choices for the word that ends at `point`."""
    start, quote = _word(line, point)
    raw = line[start:point]
    lead = line[: start - 1] if quote and start else line[:start]
    variable = _VARIABLE.match(raw) if quote != "'" else None
    if variable is not None:
        return _variables(shell, start, variable)
    if raw.startswith("~") and "/" not in raw and not quote:
        return _users(shell, start, raw)
    typed = _unquoted(raw, quote)
    command, first = _command(lead)
    if first and "/" not in typed:
        names = await _commands(shell, typed)
        end = "" if lead.endswith("`") else " "
        return _found(start, raw, typed, {name: name for name in names}, quote, end)
    return await _files(shell, start, raw, quote, programs=first, folders=command in _FOLDERS_ONLY)


def _word(line: str, point: int) -> tuple[int, str]:
    """Where the word that ends at `point` begins, and the quote that is open there."""
    start, at, quote, opened = 0, 0, "", 0
    while at < point:
        character = line[at]
        if quote:
            if character == "\\" and quote == '"':
                at += 1
            elif character == quote:
                quote, start = "", at + 1
        elif character == "\\":
            at += 1
        elif character in "'\"":
            quote, opened = character, at + 1
        elif character in _BREAKS:
            start = at + 1
        at += 1
    return (opened, quote) if quote else (min(start, point), "")


def _command(lead: str) -> tuple[str, bool]:
    """The name of the command that the text before a word belongs to, and whether the word itself is that name."""
    depth_free = re.split(r"(?<![\\<>])[;|&(`{\n](?!>)", lead)[-1] if not lead.endswith((">&", "<&", ">|")) else "x x"
    while (match := _ASSIGNMENT.match(depth_free)) is not None:
        depth_free = depth_free[match.end() :]
    words = depth_free.split()
    first = not words and not re.search(r"=\Z", depth_free)
    return (words[0] if words else ""), first


def _unquoted(raw: str, quote: str) -> str:
    if quote == "'":
        return raw
    return re.sub(r"\\([\"$`\\])" if quote else r"\\(.)", r"\1", raw, flags=re.DOTALL)


def _quoted(text: str, quote: str, *, at_start: bool) -> str:
    if quote == "'":
        return text.replace("'", "'\\''")
    if quote:
        return re.sub(r"([\"$`\\])", r"\\\1", text)
    text = _SPECIAL.sub(lambda match: "'\n'" if match[1] == "\n" else f"\\{match[1]}", text)
    return _SPECIAL_AT_START.sub(r"\\\1", text) if at_start else text


def _common(names: Iterable[str]) -> str:
    return posixpath.commonprefix(list(names))


def _found(
    start: int, raw: str, typed: str, shown: dict[str, str], quote: str, end: str, folder: str = ""
) -> Completion:
    """The completion of `typed` to one of the names that `shown` has, with how each is listed."""
    if not shown:
        return Completion(start)
    names = sorted(shown)
    common = _common(names)
    written = [folder + _quoted(name, quote, at_start=not folder) for name in names]
    text = raw if common == typed and len(names) > 1 else folder + _quoted(common, quote, at_start=not folder)
    if len(names) == 1 and quote and end != "/" and end:
        end = quote + end
    return Completion(start, text, end if len(names) == 1 else "", [shown[name] for name in names], written)


def _variables(shell: State, start: int, match: re.Match[str]) -> Completion:
    brace, typed = match[1], match[2]
    names = sorted(name for name in shell.variables if name.startswith(typed))
    close = "}" if brace else ""
    words = [f"${brace}{name}{close}" for name in names]
    if len(names) == 1:
        end = "/" if shell.process.isdir(shell.get(names[0]) or "\0") else " "
        return Completion(start, words[0], end, words, words)
    return Completion(start, f"${brace}{_common(names) if names else typed}", "", words, words)


def _users(shell: State, start: int, raw: str) -> Completion:
    try:
        text = shell.process.read_text(accounts.PASSWD)
    except OSError:
        return Completion(start)
    names = sorted({f"~{line.partition(':')[0]}" for line in text.splitlines() if f"~{line}".startswith(raw)})
    return Completion(start, _common(names), "/" if len(names) == 1 else "", names, names)


async def _commands(shell: State, typed: str) -> set[str]:
    process = shell.process
    names = {*shell.aliases, *RESERVED_BY_BASH, *shell.functions, *BUILTINS}
    found = {name for name in names if name.startswith(typed)}
    for folder in dict.fromkeys(shell.get("PATH").split(":")[:256]):
        folder = folder or "."
        for name in await _listed(process, folder):
            if name.startswith(typed) and _is_program(process, posixpath.join(folder, name)):
                found.add(name)
    return found


async def _files(shell: State, start: int, raw: str, quote: str, *, programs: bool, folders: bool) -> Completion:
    process = shell.process
    raw_folder, slash, raw_base = raw.rpartition("/")
    raw_folder += slash
    if len(raw_folder) > _LONGEST_PATH:
        return Completion(start)
    base = _unquoted(raw_base, quote)
    folder = _unquoted(raw_folder, quote)
    if quote != "'":
        folder = _IN_FOLDER.sub(lambda match: shell.get(match[1] or match[2])[:_LONGEST_PATH], folder)
    if folder.startswith("~") and not quote:
        folder = _home(shell, folder[1:].partition("/")[0]) + "/" + folder.partition("/")[2]
    names = [name for name in await _listed(process, folder or ".") if name.startswith(base)]
    if base in (".", ".."):
        names += [name for name in (".", "..") if name.startswith(base)]
    shown: dict[str, str] = {}
    for name in names:
        path = folder + name
        directory = process.isdir(path)
        if directory or not (folders or (programs and not _is_program(process, path))):
            shown[name] = f"{name}/" if directory else name
        await process.cooperate()
    end = " "
    if len(shown) == 1:
        name = next(iter(shown))
        if shown[name].endswith("/"):
            end = "" if _is_link(process, folder + name) and name != base else "/"
    return _found(start, raw, base, shown, quote, end, raw_folder)


def _home(shell: State, user: str) -> str:
    if not user:
        return shell.get("HOME")
    try:
        lines = shell.process.read_text(accounts.PASSWD).splitlines()
    except OSError:
        return f"~{user}"
    return next(
        (line.split(":")[5] for line in lines if line.startswith(f"{user}:") and line.count(":") > 4), f"~{user}"
    )


async def _listed(process: Process, folder: str) -> list[str]:
    await process.cooperate()
    try:
        return process.listdir(folder)
    except OSError:
        return []


def _is_program(process: Process, path: str) -> bool:
    return process.isfile(path) and process.access(path, abi.X_OK)


def _is_link(process: Process, path: str) -> bool:
    try:
        process.readlink(path)
    except OSError:
        return False
    return True
