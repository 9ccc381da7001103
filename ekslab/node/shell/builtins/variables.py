"""Built-in commands: export, readonly, declare, local, unset, let."""

from __future__ import annotations

import re

from ekslab.node.shell.arithmetic import evaluate
from ekslab.node.shell.builtins.common import fatal, put
from ekslab.node.shell.errors import ExpansionError
from ekslab.node.shell.interpreter import Shell
from ekslab.node.shell.registry import builtin
from ekslab.node.shell.syntax import Assignment, is_name
from ekslab.node.shell.variables import Value

_ATTRIBUTES = frozenset("aAilnrtux")


@builtin("export", "readonly")
async def _export(shell: Shell, argv: list[str]) -> int:
    letter = "x" if argv[0] == "export" else "r"
    words = argv[1:]
    if not [word for word in words if word != "-p"]:
        for name in sorted(shell.variables):
            if letter in shell.variables[name].flags:
                if shell.bash:
                    shell.process.print(shell.declaration(name))
                else:
                    quoted = "'" + shell.get(name).replace("'", "'\\''") + "'"
                    shell.process.print(f"{argv[0]} {name}={quoted}")
        return 0
    options = {"a": "a", "A": "A", "f": "f", "n": "", "p": ""}
    flags = {letter}
    remove = functions = False
    while words and words[0].startswith("-") and len(words[0]) > 1:
        word = words.pop(0)
        if word == "--":
            break
        for each in word[1:]:
            if each not in options or (not shell.bash and each not in "p"):
                shell.complain(
                    f"{argv[0]}: -{each}: invalid option" if shell.bash else f"{argv[0]}: Illegal option -{each}"
                )
                return 2
            remove = remove or each == "n"
            functions = functions or each == "f"
            flags |= {each} & {"a", "A"}
    if functions:
        return 0 if all(word in shell.functions for word in words) else 1
    return await _declare_names(shell, argv[0], words, flags, {letter} if remove else set(), print_only=False)


async def _declare_names(
    shell: Shell,
    command: str,
    words: list[str],
    add: set[str],
    remove: set[str],
    *,
    print_only: bool,
    local: bool = False,
) -> int:
    status = 0
    for word in words:
        name, index, append, value = _split_assignment(word)
        if not is_name(name) or (index is not None and not shell.bash):
            shell.complain(
                f"{command}: `{word}': not a valid identifier"
                if shell.bash
                else f"{command}: {name}: bad variable name"
            )
            status = 1 if shell.bash else 2
            continue
        if print_only:
            text = shell.declaration(name)
            if text:
                shell.process.print(text)
            else:
                shell.complain(f"{command}: {name}: not found")
                status = 1
            continue
        try:
            await _declare_one(shell, name, index, append, value, add, remove, local=local)
        except ExpansionError as exc:
            shell.complain(f"{command}: {exc}" if shell.bash and command != "readonly" else str(exc))
            status = 1 if shell.bash else 2
    return status


def _split_assignment(word: str) -> tuple[str, str | None, bool, str | None]:
    """The name, subscript, whether it appends, and the value of `name[index]+=value`."""
    match = re.match(r"([A-Za-z_]\w*)(?:\[([^\n]*?)\])?(\+?)=", word)
    if match is None:
        match = re.fullmatch(r"([A-Za-z_]\w*)\[([^\n]*)\]", word)
        return (match[1], match[2], False, None) if match is not None else (word, None, False, None)
    return match[1], match[2], bool(match[3]), word[match.end() :]


async def _declare_one(
    shell: Shell,
    name: str,
    index: str | None,
    append: bool,
    value: str | None,
    add: set[str],
    remove: set[str],
    *,
    local: bool,
) -> None:
    if local:
        fresh = not shell.is_local(name)
        shell.make_local(name)
        if fresh and not append:
            shell.check_writable(name)
            old = shell.variables.pop(name, None)
            if old is not None and "x" in old.flags:
                shell.variables[name] = Value(flags={"x"})
    changes = name not in shell.variables or value is not None or bool(add - {"x", "r"}) or "r" in remove
    if changes and "n" not in add:
        shell.check_writable(name)
    known = shell.own(name)
    if "A" in add and known.table is None:
        if known.items is not None:
            raise ExpansionError(f"{name}: cannot convert indexed to associative array")
        known.table = {} if known.text is None else {"0": known.text}
        known.text = None
    elif "a" in add and known.items is None:
        if known.table is not None:
            raise ExpansionError(f"{name}: cannot convert associative to indexed array")
        known.items = {} if known.text is None else {0: known.text}
        known.text = None
    early = add - {"r"}
    if "u" in add:
        known.flags.discard("l")
    if "l" in add:
        known.flags.discard("u")
    if "n" in add and value is not None and value == name:
        raise ExpansionError(f"{name}: nameref variable self references not allowed")
    if "n" in add:
        known.text = value if value is not None else known.text
        known.flags.add("n")
        return
    if "n" in known.flags and "n" not in remove and (value is not None):
        shell.set(name, value, index=index, append=append)
        return
    known.flags |= early
    known.flags -= remove
    if value is not None and value.startswith("\0") and value[1:].isdigit() and int(value[1:]) < len(shell.declared):
        given = shell.declared[int(value[1:])]
        await shell.assign(Assignment(name, (), None, append, given.elements))
    elif value is not None:
        match = re.fullmatch(r"\((.*)\)", value, re.DOTALL) if add & {"a", "A"} and shell.bash else None
        if match is not None:
            await shell.run_text(f"{name}{'+' if append else ''}={value}")
        else:
            shell.set(name, value, index=index, append=append)
    shell.own(name).flags |= add & {"r"}


@builtin("unset")
async def _unset(shell: Shell, argv: list[str]) -> int:
    functions = variables = reference = False
    status = 0
    for word in argv[1:]:
        if word in ("-f", "-v", "-n", "--"):
            functions, variables, reference = functions or word == "-f", variables or word == "-v", word == "-n"
            continue
        match = re.fullmatch(r"([A-Za-z_]\w*)\[(.*)\]", word, re.DOTALL) if shell.bash else None
        name = match[1] if match is not None else word
        index = match[2] if match is not None else None
        if not reference and not functions:
            name, index = shell.resolved(name, index)
        if functions or (not variables and name not in shell.variables and name in shell.functions):
            shell.functions.pop(name, None)
            continue
        try:
            shell.unset(name, None if index in ("@", "*") else index)
        except ExpansionError:
            shell.complain(
                f"unset: {name}: cannot unset: readonly variable" if shell.bash else f"unset: {name}: is read only"
            )
            status = 1 if shell.bash else fatal(shell, 2)
    return status


@builtin("declare", "typeset", bash_only=True)
async def _declare(shell: Shell, argv: list[str]) -> int:
    return await _declaring(shell, argv)


@builtin("local")
async def _local(shell: Shell, argv: list[str]) -> int:
    if not shell.in_function:
        shell.complain("local: can only be used in a function" if shell.bash else "local: not in a function")
        return 1 if shell.bash else fatal(shell, 2)
    if not shell.bash:
        for word in argv[1:]:
            name, _, value = word.partition("=")
            shell.make_local(name)
            if "=" in word:
                shell.set(name, value)
        return 0
    return await _declaring(shell, argv)


async def _declaring(shell: Shell, argv: list[str]) -> int:
    add: set[str] = set()
    remove: set[str] = set()
    others: set[str] = set()
    words = argv[1:]
    while words and words[0][:1] in ("-", "+") and len(words[0]) > 1:
        word = words.pop(0)
        if word == "--":
            break
        for letter in word[1:]:
            if letter not in _ATTRIBUTES | set("fFgpI"):
                shell.complain(f"{argv[0]}: {word[0]}{letter}: invalid option")
                shell.process.stderr.write(
                    f"{argv[0]}: usage: {argv[0]} [-aAfFgiIlnrtux] [name[=value] ...] or "
                    f"{argv[0]} -p [-aAfFilnrtux] [name ...]\n"
                    if argv[0] != "local"
                    else "local: usage: local [option] name[=value] ...\n"
                )
                return 2
            if letter in "fFgpI":
                others.add(letter)
            else:
                (add if word[0] == "-" else remove).add(letter)
    if others & set("fF"):
        return await _show_functions(shell, words, names_only="F" in others)
    if ("p" in others and not words) or (not words and not add):
        for name in sorted(shell.variables):
            if not add or add <= shell.variables[name].flags:
                await put(shell, shell.declaration(name) + "\n")
        return 0
    if not words:
        for name in sorted(name for name, value in shell.variables.items() if add <= value.flags):
            await put(shell, shell.declaration(name) + "\n")
        return 0
    local = shell.in_function and "g" not in others
    return await _declare_names(shell, argv[0], words, add, remove, print_only="p" in others, local=local)


async def _show_functions(shell: Shell, words: list[str], *, names_only: bool) -> int:
    status = 0
    for name in words or sorted(shell.functions):
        if name not in shell.functions:
            status = 1
        elif names_only:
            shell.process.print(name if words else f"declare -f {name}")
        else:
            await put(shell, function_text(shell, name))
    return status


def function_text(shell: Shell, name: str) -> str:
    return f"{name} () \n{shell.functions[name].text}\n"


@builtin("let", bash_only=True)
async def _let(shell: Shell, argv: list[str]) -> int:
    if len(argv) < 2:
        shell.complain("let: expression expected")
        return 1
    value = 0
    for word in argv[1:]:
        value = evaluate(shell, word)
    return int(value == 0)
