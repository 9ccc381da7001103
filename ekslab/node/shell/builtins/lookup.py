"""Built-in commands: type, command, hash, alias, history, compgen."""

from __future__ import annotations

import posixpath

from ekslab.node import abi
from ekslab.node.shell.builtins.common import put
from ekslab.node.shell.builtins.variables import function_text
from ekslab.node.shell.interpreter import Shell
from ekslab.node.shell.parser import RESERVED, RESERVED_BY_BASH
from ekslab.node.shell.registry import BASH_ONLY, BUILTINS, SPECIAL, builtin
from ekslab.node.shell.state import decimal

_ACTIONS = {
    "command": "c",
    "builtin": "b",
    "function": "A",
    "alias": "a",
    "variable": "v",
    "file": "f",
    "directory": "d",
    "export": "e",
    "keyword": "k",
}


@builtin("type", "command")
async def _type(shell: Shell, argv: list[str]) -> int:
    words = argv[1:]
    letters = ""
    while words and words[0].startswith("-") and len(words[0]) > 1:
        option = words.pop(0)
        if option == "--":
            break
        allowed = "vVp" if argv[0] == "command" else "afptP"
        bad = next((letter for letter in option[1:] if letter not in allowed), None)
        if bad is not None or (argv[0] == "type" and not shell.bash):
            shell.complain(
                f"{argv[0]}: -{bad}: invalid option" if shell.bash else f"{argv[0]}: Illegal option {option}"
            )
            return 2
        letters += option[1:]
    if argv[0] == "command" and not set(letters) & set("vV"):
        if not words:
            return 0
        if words[0] in BUILTINS and words[0] != "exec":
            return await BUILTINS[words[0]](shell, words)
        if words[0] == "exec":
            return await shell.exec(words, {}, ())
        return await shell.run_program(words)
    status = 0
    for name in words:
        kinds = [] if "P" in letters else _what_is(shell, name, every="a" in letters, functions="f" not in letters)
        if "P" in letters:
            kinds = _paths(shell, name, every="a" in letters)
        if not kinds:
            status = 1 if shell.bash else 127
            if (argv[0] == "type" and not set(letters) & set("tpP")) or "V" in letters:
                if shell.bash:
                    shell.complain(f"{argv[0]}: {name}: not found")
                else:
                    shell.process.print(f"{name}: not found")
        for kind, text in kinds[: None if "a" in letters else 1]:
            await put(shell, _described(shell, argv[0], letters, name, kind, text))
    return status


def _described(shell: Shell, command: str, letters: str, name: str, kind: str, text: str) -> str:
    if command == "type" and "t" in letters:
        return f"{kind}\n"
    if command == "type" and ("p" in letters or "P" in letters):
        return f"{text}\n" if kind == "file" else ""
    if command == "command" and "v" in letters:
        if kind == "alias":
            return f"alias {name}='{text}'\n"
        return f"{text if kind == 'file' else name}\n"
    if kind == "file":
        return f"{name} is {text}\n"
    if kind == "alias":
        return f"{name} is aliased to `{text}'\n" if shell.bash else f"{name} is an alias for {text}\n"
    if kind == "function":
        if shell.bash:
            return f"{name} is a function\n{function_text(shell, name)}"
        return f"{name} is a shell function\n"
    if kind == "keyword":
        return f"{name} is a shell keyword\n"
    special = not shell.bash and name in SPECIAL
    return f"{name} is a {'special ' if special else ''}shell builtin\n"


def _what_is(shell: Shell, name: str, *, every: bool, functions: bool = True) -> list[tuple[str, str]]:
    """What a name can mean, in the order in which the shell looks."""
    found = []
    if name in shell.aliases and (shell.interactive or shell.shopt.get("expand_aliases") or not shell.bash):
        found.append(("alias", shell.aliases[name]))
    if name in (RESERVED_BY_BASH if shell.bash else RESERVED) - ({"]]"} if not shell.bash else set()):
        found.append(("keyword", ""))
    if functions and name in shell.functions:
        found.append(("function", ""))
    if name in BUILTINS and (shell.bash or name not in BASH_ONLY):
        found.append(("builtin", ""))
    return found + (_paths(shell, name, every=every) if every or not found else [])


def _paths(shell: Shell, name: str, *, every: bool) -> list[tuple[str, str]]:
    process = shell.process
    if "/" in name:
        return [("file", name)] if process.isfile(name) and process.access(name, abi.X_OK) else []
    found = []
    for directory in shell.get("PATH").split(":")[:256]:
        path = posixpath.join(directory or ".", name)
        if process.isfile(path) and process.access(path, abi.X_OK):
            found.append(("file", path))
            if not every:
                break
    return found


@builtin("alias")
async def _alias(shell: Shell, argv: list[str]) -> int:
    words = [word for word in argv[1:] if word != "-p"]
    lead = "alias " if shell.bash else ""
    status = 0
    for name in sorted(shell.aliases) if not words else []:
        quoted = shell.aliases[name].replace("'", "'\\''")
        shell.process.print(f"{lead}{name}='{quoted}'")
    for word in words:
        name, equals, value = word.partition("=")
        if equals and name:
            if set(name) & set(" \t\n/$`'\"\\|&;()<>"):
                shell.complain(f"alias: `{name}': invalid alias name")
                status = 1
                continue
            if len(shell.aliases) >= 4096 or len(value) > 65_536:
                return shell.lacks("room for so many or so long aliases")
            shell.aliases[name] = value
        elif name in shell.aliases:
            quoted = shell.aliases[name].replace("'", "'\\''")
            shell.process.print(f"{lead}{name}='{quoted}'")
        else:
            if shell.bash:
                shell.complain(f"alias: {name}: not found")
            else:
                shell.process.stderr.write(f"alias: {name} not found\n")
            status = 1
    return status


@builtin("unalias")
async def _unalias(shell: Shell, argv: list[str]) -> int:
    status = 0
    for word in argv[1:]:
        if word == "-a":
            shell.aliases.clear()
        elif shell.aliases.pop(word, None) is None:
            shell.complain(f"unalias: {word}: not found")
            status = 1
    return status


@builtin("hash")
async def _hash(shell: Shell, argv: list[str]) -> int:
    status = 0
    for name in argv[1:]:
        if not name.startswith("-") and name not in BUILTINS and not _paths(shell, name, every=False):
            shell.complain(f"hash: {name}: not found")
            status = 1
    if len(argv) == 1 and shell.bash:
        shell.process.print("hash: hash table empty")
    return status


@builtin("history", "fc", bash_only=True)
async def _history(shell: Shell, argv: list[str]) -> int:
    if argv[0] == "fc":
        return shell.lacks("fc (history shows the commands, !! runs the last one again)")
    if argv[1:] == ["-c"]:
        shell.history.clear()
        return 0
    if argv[1:2] == ["-d"] and len(argv) > 2:
        place = decimal(argv[2], 1 << 30)
        if place is None or not 0 < place <= len(shell.history):
            shell.complain(f"history: {argv[2]}: history position out of range")
            return 1
        del shell.history[place - 1]
        return 0
    if argv[1:2] in (["-w"], ["-a"], ["-r"], ["-n"]):
        return 0
    count = len(shell.history)
    if len(argv) > 1:
        given = decimal(argv[1], 1 << 30)
        if given is None:
            shell.complain(f"history: {argv[1]}: numeric argument required")
            return 1
        count = given
    first = max(len(shell.history) - count, 0)
    for number, line in enumerate(shell.history[first:], first + 1):
        await put(shell, f"{number:5}  {line}\n")
    return 0


@builtin("bind", "complete", "compopt", "enable", "caller", "times", "compgen", bash_only=True)
async def _less_common(shell: Shell, argv: list[str]) -> int:
    name, words = argv[0], argv[1:]
    if name == "compgen":
        return await _compgen(shell, words)
    if name == "times":
        shell.process.print("0m0.000s 0m0.000s\n0m0.000s 0m0.000s")
    elif name == "caller":
        if not shell.calls:
            return 1
        shell.process.print(f"{shell.line} {shell.in_script or 'NULL'}")
    elif name == "enable":
        if words:
            return shell.lacks("built-ins that can be disabled or loaded")
        for each in sorted(BUILTINS):
            shell.process.print(f"enable {each}")
    return 0


async def _compgen(shell: Shell, words: list[str]) -> int:
    actions: list[str] = []
    wordlist = prefix = ""
    while words:
        word = words.pop(0)
        if word == "-W" and words:
            wordlist = words.pop(0)
        elif word == "-A" and words:
            actions.append(_ACTIONS.get(words.pop(0), ""))
        elif word.startswith("-"):
            actions += list(word[1:])
        else:
            prefix = word
    names: set[str] = set(wordlist.split())
    process = shell.process
    if set(actions) & set("c"):
        for directory in shell.get("PATH").split(":")[:256]:
            await process.cooperate()
            if process.isdir(directory):
                names |= set(process.listdir(directory))
    if set(actions) & set("cb"):
        names |= set(BUILTINS)
    if set(actions) & set("ck"):
        names |= set(RESERVED_BY_BASH)
    if set(actions) & set("ca"):
        names |= set(shell.aliases)
    if set(actions) & set("cA"):
        names |= set(shell.functions)
    if set(actions) & set("ve"):
        names |= {name for name, value in shell.variables.items() if "v" in actions or "x" in value.flags}
    if set(actions) & set("fd"):
        directory, base = posixpath.split(prefix)
        for name in process.listdir(directory or ".") if process.isdir(directory or ".") else []:
            path = posixpath.join(directory, name)
            if name.startswith(base) and ("f" in actions or process.isdir(path)):
                names.add(path)
    found = sorted(name for name in names if name.startswith(prefix))
    await put(shell, "".join(f"{name}\n" for name in found))
    return 0 if found else 1
