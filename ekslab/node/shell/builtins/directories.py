"""Built-in commands: cd, pwd, pushd, popd, dirs."""

from __future__ import annotations

import posixpath
import re

from ekslab.node.shell.builtins.common import put
from ekslab.node.shell.interpreter import Shell
from ekslab.node.shell.registry import builtin


@builtin("cd", "chdir")
async def _cd(shell: Shell, argv: list[str]) -> int:
    arguments = [word for word in argv[1:] if word not in ("-L", "-P", "--", "-e", "-@")]
    if len(arguments) > 1 and shell.bash:
        shell.complain("cd: too many arguments")
        return 1
    target = arguments[0] if arguments else shell.get("HOME")
    if not target:
        if arguments:
            return 0
        shell.complain("cd: HOME not set")
        return 1
    announce = target == "-"
    if announce:
        target = shell.get("OLDPWD")
        if not target:
            shell.complain("cd: OLDPWD not set")
            return 1 if shell.bash else 2
    if not target.startswith(("/", "./", "../")) and target not in (".", "..") and shell.get("CDPATH"):
        for base in shell.get("CDPATH").split(":")[:64]:
            if shell.process.isdir(posixpath.join(base or ".", target)):
                announce = announce or bool(base)
                target = posixpath.join(base or ".", target)
                break
    return _change_directory(shell, target, announce=announce, physical="-P" in argv)


def _change_directory(shell: Shell, target: str, *, announce: bool = False, physical: bool = False) -> int:
    try:
        shell.process.chdir(shell.process.absolute(target) if not target.startswith("/") else target)
    except OSError as exc:
        shell.complain(f"cd: {target}: {exc.strerror}" if shell.bash else f"cd: can't cd to {target}")
        return 1 if shell.bash else 2
    shell.set("OLDPWD", shell.get("PWD"))
    shell.own("OLDPWD").flags.add("x")
    logical = posixpath.normpath(posixpath.join(shell.get("PWD", "/"), target))
    shell.process.cwd = shell.process.real_path(shell.process.cwd)
    shell.set("PWD", shell.process.cwd if physical else logical)
    if announce:
        shell.process.print(shell.get("PWD"))
    return 0


@builtin("pwd")
async def _pwd(shell: Shell, argv: list[str]) -> int:
    shell.process.print(shell.process.cwd if "-P" in argv else shell.get("PWD", shell.process.cwd))
    return 0


@builtin("pushd", "popd", "dirs", bash_only=True)
async def _directories(shell: Shell, argv: list[str]) -> int:
    name, words = argv[0], argv[1:]
    stack = [shell.get("PWD"), *shell.directories]
    if name == "dirs":
        if words == ["-c"]:
            shell.directories = []
            return 0
        shown = [each if "-l" in words else _short_path(shell, each) for each in stack]
        if "-v" in words:
            await put(shell, "".join(f"{number:2d}  {each}\n" for number, each in enumerate(shown)))
        else:
            await put(shell, ("\n" if "-p" in words else " ").join(shown) + "\n")
        return 0
    quiet = "-n" in words
    words = [word for word in words if word != "-n"]
    rotate = re.fullmatch(r"([-+])(\d{1,6})", words[0]) if words else None
    place = 0
    if rotate is not None:
        place = int(rotate[2]) if rotate[1] == "+" else len(stack) - 1 - int(rotate[2])
        if not 0 <= place < len(stack):
            shell.complain(f"{name}: {words[0]}: directory stack index out of range")
            return 1
    if name == "popd":
        if len(stack) < 2:
            shell.complain("popd: directory stack empty")
            return 1
        del stack[place]
    elif rotate is not None:
        stack = stack[place:] + stack[:place]
    elif words:
        stack.insert(1 if quiet else 0, words[0])
        if len(stack) > 10_000:
            return shell.lacks("room for so many directories")
    elif len(stack) < 2:
        shell.complain("pushd: no other directory")
        return 1
    else:
        stack[0], stack[1] = stack[1], stack[0]
    if not quiet and (name == "pushd" or not place):
        target = stack[0]
        try:
            shell.process.chdir(shell.process.absolute(target))
        except OSError as exc:
            shell.complain(f"{name}: {target}: {exc.strerror}")
            return 1
        shell.set("OLDPWD", shell.get("PWD"))
        stack[0] = posixpath.normpath(posixpath.join(shell.get("PWD", "/"), target))
        shell.set("PWD", stack[0])
    shell.directories = stack[1:]
    await put(shell, " ".join(_short_path(shell, each) for each in stack) + "\n")
    return 0


def _short_path(shell: Shell, path: str) -> str:
    home = shell.get("HOME")
    return "~" + path[len(home) :] if home not in ("", "/") and f"{path}/".startswith(f"{home}/") else path
