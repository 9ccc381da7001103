"""The shells' built-in commands, registered in a table by name."""

from __future__ import annotations

import asyncio
import posixpath
import re
from collections.abc import Callable, Iterator, Mapping

from ekslab.node import abi
from ekslab.node.descriptors import RegularFile
from ekslab.node.inodes import Stat
from ekslab.node.kernel import ProcessExit
from ekslab.node.process import Process
from ekslab.node.shell import expansion
from ekslab.node.shell.expansion import ExpansionError, evaluate, split_at
from ekslab.node.shell.interpreter import BASH_ONLY, BUILTINS, SPECIAL, Builtin, Job, Shell
from ekslab.node.shell.parser import RESERVED, RESERVED_BY_BASH, Assignment, is_name, unescape
from ekslab.node.shell.variables import Value, array

_OPTIONS = {
    "a": "allexport",
    "B": "braceexpand",
    "b": "notify",
    "C": "noclobber",
    "E": "errtrace",
    "e": "errexit",
    "f": "noglob",
    "H": "histexpand",
    "h": "hashall",
    "k": "keyword",
    "m": "monitor",
    "n": "noexec",
    "P": "physical",
    "p": "privileged",
    "T": "functrace",
    "t": "onecmd",
    "u": "nounset",
    "v": "verbose",
    "x": "xtrace",
}
_LONG_OPTIONS = frozenset(_OPTIONS.values()) | {
    "emacs",
    "history",
    "ignoreeof",
    "interactive-comments",
    "nolog",
    "pipefail",
    "posix",
    "vi",
}
_SHOPT = {
    "autocd": False,
    "cdspell": False,
    "checkhash": False,
    "checkwinsize": True,
    "cmdhist": True,
    "dotglob": False,
    "execfail": False,
    "expand_aliases": False,
    "extglob": False,
    "failglob": False,
    "globasciiranges": True,
    "globstar": False,
    "histappend": False,
    "hostcomplete": True,
    "huponexit": False,
    "inherit_errexit": False,
    "interactive_comments": True,
    "lastpipe": False,
    "nocaseglob": False,
    "nocasematch": False,
    "nullglob": False,
    "progcomp": True,
    "promptvars": True,
    "sourcepath": True,
    "xpg_echo": False,
}
_BITS = {"r": 4, "w": 2, "x": 1}
_PIECE = 16_384  # characters that a built-in writes before others get their turn


def builtin(*names: str, bash_only: bool = False) -> Callable[[Builtin], Builtin]:
    def register(function: Builtin) -> Builtin:
        for name in names:
            BUILTINS[name] = function
            if bash_only:
                BASH_ONLY.add(name)
        return function

    return register


async def _put(shell: Shell, text: str) -> None:
    """Writes a built-in's output; a reader that is slow is waited for."""
    process = shell.process
    for start in range(0, len(text), _PIECE):
        process.stdout.write(text[start : start + _PIECE])
        await process.drain(1)
        await process.cooperate()


def _number(text: str, most: int = (1 << 63) - 1) -> int | None:
    """A decimal number as built-ins take it; None when it isn't one."""
    if not re.fullmatch(r"\s*[-+]?[0-9]{1,19}\s*", text):
        return None
    value = int(text)
    return value if -most - 1 <= value <= most else None


@builtin(":", "true")
async def _true(shell: Shell, argv: list[str]) -> int:
    return 0


@builtin("false")
async def _false(shell: Shell, argv: list[str]) -> int:
    return 1


@builtin("echo")
async def _echo(shell: Shell, argv: list[str]) -> int:
    text, _ = echo_text(argv[1:], bash=shell.bash and not shell.shopt.get("xpg_echo"))
    if not text:
        shell.process.stdout.write("")
    await _put(shell, text)
    return 0


def echo_text(words: list[str], *, bash: bool) -> tuple[str, bool]:
    """What echo prints: dash's always knows escapes, bash's with -e. The second value: whether `\\c` stopped it."""
    newline, escapes = True, not bash
    while words and re.fullmatch(r"-[neE]+" if bash else r"-n", words[0]):
        for letter in words[0][1:]:
            newline = newline and letter != "n"
            escapes = {"e": True, "E": False}.get(letter, escapes)
        words = words[1:]
    text = " ".join(words)
    if escapes:
        head, stopped, _ = text.partition("\\c")
        text = unescape(head, zero_octal=True)
        if stopped:
            return text, True
    return text + ("\n" if newline else ""), False


# -- printf -----------------------------------------------------------------------------------------------------------


@builtin("printf")
async def _printf(shell: Shell, argv: list[str]) -> int:
    words = argv[1:]
    variable: str | None = None
    if shell.bash and words[:1] == ["-v"] and len(words) > 1:
        variable, words = words[1], words[2:]
    if words[:1] == ["--"]:
        words = words[1:]
    if not words:
        shell.complain(
            "printf: usage: printf [-v var] format [arguments]"
            if shell.bash
            else "printf: usage: printf format [arg ...]"
        )
        return 2
    errors: list[str] = []
    held: list[str] = []
    size = 0
    pieces = printf_pieces(words[0], words[1:], errors, now=shell.process.kernel.now())
    for count, piece in enumerate(pieces):
        held.append(piece)
        size += len(piece)
        if variable is not None:
            shell.process.charge(len(piece))
        elif size > _PIECE // 4 or not count & 1023:
            await _put(shell, "".join(held))
            held, size = [], 0
        await shell.process.cooperate()
    if variable is None:
        await _put(shell, "".join(held))
    if variable is not None:
        shell.process.charge(-size)
        match = re.fullmatch(r"(\w+)\[(.*)\]", variable, re.DOTALL)
        name, index = (match[1], match[2]) if match is not None else (variable, None)
        if not is_name(name):
            shell.complain(f"printf: `{variable}': not a valid identifier")
            return 2
        shell.set(name, "".join(held), index=index)
    for error in errors:
        if not shell.bash:
            error = error.replace("invalid number", "expected numeric value")
        shell.complain(f"printf: {error}")
    return 1 if errors else 0


_CONVERSION = re.compile(
    r"%([-+ #0']*)(\*|[0-9]{1,18})?(?:\.(\*|-?[0-9]{0,18}))?(?:hh|h|ll|l|j|z|t|L)?([diouxXeEfFgGaAcsbqQn%]|\([^)]*\)T)"
)


def printf_pieces(format: str, arguments: list[str], errors: list[str], *, now: int = 0) -> Iterator[str]:
    """printf's output piece by piece, the format used again while arguments are left; adds to what was wrong."""
    rest = arguments[::-1]
    while True:
        before = len(rest)
        at = 0
        while at < len(format):
            match = _CONVERSION.match(format, at)
            if match is None:
                end = format.find("%", at + 1)
                end = len(format) if end < 0 else end
                if format[at] == "%":
                    shown = format[at + 1 : at + 2]
                    errors.append(f"`{shown}': invalid format character" if shown else "`%': missing format character")
                    return
                head, stopped, _ = format[at:end].partition("\\c")
                yield unescape(head)
                if stopped:
                    return
                at = end
                continue
            at = match.end()
            if match[4] == "b" and rest and "\\c" in rest[-1]:
                rest[-1] = rest[-1].partition("\\c")[0]
                yield from _converted(match, rest, errors, now)
                return
            yield from _converted(match, rest, errors, now)
        if not rest or len(rest) == before:
            return


def _converted(match: re.Match[str], rest: list[str], errors: list[str], now: int) -> Iterator[str]:
    flags, width_text, precision_text, kind = match.groups()
    if kind == "%":
        yield "%"
        return
    width = _amount(width_text, rest)
    precision = _amount(precision_text, rest) if precision_text is not None else None
    if width < 0:
        flags, width = flags + "-", -width
    if precision is not None and precision < 0:
        precision = None
    given = rest.pop() if rest else None
    zeros = 0
    if kind in ("s", "b", "q", "Q", "c") or kind.startswith("("):
        if kind.startswith("("):
            body = _moment(kind[1:-2], given, now)
        elif kind == "c":
            body = (given or "")[:1]
        else:
            value = given or ""
            value = unescape(value, zero_octal=True) if kind == "b" else _shell_quoted(value) if kind in "qQ" else value
            body = value if precision is None or kind == "q" else value[:precision]
        flags = flags.replace("0", "")
    elif kind == "n":
        return
    elif kind in "diouxX":
        body, zeros = _integer_text(given, flags, precision, kind, errors)
        if precision is not None:
            flags = flags.replace("0", "")
    else:
        body, zeros = _float_text(given, flags, precision, kind, errors)
    yield from _padded(body, zeros, flags, width, numeric=kind in "diouxXeEfFgGaA")


def _amount(text: str | None, rest: list[str]) -> int:
    if text == "*":
        return max(min(_number(rest.pop()) or 0, 1 << 40), -(1 << 40)) if rest else 0
    return min(int(text or "0"), 1 << 40)


def _padded(body: str, zeros: int, flags: str, width: int, *, numeric: bool) -> Iterator[str]:
    """A conversion's text with blanks or zeros around it, however many."""
    lead = len(body) - len(body.lstrip("+- ")) if numeric else 0
    if numeric and body[lead : lead + 2] in ("0x", "0X"):
        lead += 2
    missing = width - len(body) - zeros
    left, zero = "-" in flags, "0" in flags and numeric and "-" not in flags
    if not left and not zero:
        yield from _repeated(" ", missing)
    yield body[:lead]
    yield from _repeated("0", zeros + (max(missing, 0) if zero else 0))
    yield body[lead:]
    if left:
        yield from _repeated(" ", missing)


def _repeated(character: str, count: int) -> Iterator[str]:
    while count > 0:
        yield character * min(count, _PIECE)
        count -= _PIECE


def _integer_text(
    given: str | None, flags: str, precision: int | None, kind: str, errors: list[str]
) -> tuple[str, int]:
    """An integer's text, and the zeros that its precision puts in front of it."""
    number = _parsed_integer(given or "", errors, signed=kind in "di")
    if kind in "ouxX":
        number &= (1 << 64) - 1
    digits = {"o": f"{abs(number):o}", "x": f"{number:x}", "X": f"{number:X}"}.get(kind, str(abs(number)))
    if precision == 0 and number == 0:
        digits = ""
    sign = "-" if number < 0 else "+" if "+" in flags and kind in "di" else " " if " " in flags and kind in "di" else ""
    if "#" in flags and number:
        sign += {"o": "0", "x": "0x", "X": "0X"}.get(kind, "")
    return sign + digits, max((precision or 0) - len(digits), 0)


def _parsed_integer(given: str, errors: list[str], *, signed: bool) -> int:
    text = given.strip()
    if text[:1] in ("'", '"') and len(text) > 1:
        return ord(text[1])
    match = re.match(r"([-+]?)(0[xX][0-9a-fA-F]{1,20}|0[0-7]{0,25}|[1-9][0-9]{0,24})", text)
    if match is None:
        if text:
            errors.append(f"{given}: invalid number")
        return 0
    digits = match[2]
    value = int(digits, 16 if digits[:2].lower() == "0x" else 8 if digits[0] == "0" else 10)
    value = -value if match[1] == "-" else value
    if match.end() < len(text):
        errors.append(f"{given}: invalid number")
    low, high = (-(1 << 63), (1 << 63) - 1) if signed else (-(1 << 63), (1 << 64) - 1)
    if not low <= value <= high:
        errors.append(f"warning: {given}: Numerical result out of range")
    return min(max(value, low), high)


def _float_text(given: str | None, flags: str, precision: int | None, kind: str, errors: list[str]) -> tuple[str, int]:
    text = (given or "").strip()
    match = re.match(
        r"[-+]?([0-9]{1,400}\.?[0-9]{0,400}|\.[0-9]{1,400})([eE][-+]?[0-9]{1,5})?|[-+]?(inf|nan)", text, re.I
    )
    number = float(match[0]) if match is not None else 0.0
    if text and (match is None or match.end() < len(text)):
        errors.append(f"{given}: invalid number")
    digits = 6 if precision is None else min(precision, 60)
    if kind in "aA":
        return number.hex(), 0
    shown = ("%" + "".join(flag for flag in flags if flag in "+ #") + f".{digits}{kind}") % number
    if precision is not None and precision > digits and kind in "fF":
        return shown, 0
    return shown, 0


def _moment(format: str, given: str | None, now: int) -> str:
    from ekslab.node.userland.system import formatted

    seconds = _number(given or "-1", 1 << 36)
    return formatted(now if seconds is None or seconds < 0 else seconds * 1_000_000_000, format[:512] or "%X")


def _shell_quoted(word: str) -> str:
    if not word:
        return "''"
    if any(ord(character) < 32 or ord(character) == 127 for character in word):
        return expansion.quoted(word)
    return re.sub(r"([^\w@%+=:./-])", r"\\\1", word)


# -- directories ------------------------------------------------------------------------------------------------------


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
            await _put(shell, "".join(f"{number:2d}  {each}\n" for number, each in enumerate(shown)))
        else:
            await _put(shell, ("\n" if "-p" in words else " ").join(shown) + "\n")
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
    await _put(shell, " ".join(_short_path(shell, each) for each in stack) + "\n")
    return 0


def _short_path(shell: Shell, path: str) -> str:
    home = shell.get("HOME")
    return "~" + path[len(home) :] if home not in ("", "/") and f"{path}/".startswith(f"{home}/") else path


# -- variables --------------------------------------------------------------------------------------------------------


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
            status = 1 if shell.bash else _fatal(shell, 2)
    return status


_ATTRIBUTES = frozenset("aAilnrtux")


@builtin("declare", "typeset", bash_only=True)
async def _declare(shell: Shell, argv: list[str]) -> int:
    return await _declaring(shell, argv)


@builtin("local")
async def _local(shell: Shell, argv: list[str]) -> int:
    if not shell.in_function:
        shell.complain("local: can only be used in a function" if shell.bash else "local: not in a function")
        return 1 if shell.bash else _fatal(shell, 2)
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
                await _put(shell, shell.declaration(name) + "\n")
        return 0
    if not words:
        for name in sorted(name for name, value in shell.variables.items() if add <= value.flags):
            await _put(shell, shell.declaration(name) + "\n")
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
            await _put(shell, function_text(shell, name))
    return status


def function_text(shell: Shell, name: str) -> str:
    return f"{name} () \n{shell.functions[name].text}\n"


@builtin("set")
async def _set(shell: Shell, argv: list[str]) -> int:
    words = argv[1:]
    if not words:
        for name in sorted(shell.variables):
            value = shell.variables[name]
            if value.is_array:
                await _put(shell, shell.declaration(name).partition(" ")[2].partition(" ")[2] + "\n")
            elif value.text is not None:
                shown = value.text
                if not shell.bash:
                    shown = "'" + shown.replace("'", "'\\''") + "'"
                elif not re.fullmatch(r"[\w@%+=:,./-]*", shown):
                    shown = expansion.quoted(shown)
                await _put(shell, f"{name}={shown}\n")
        return 0
    while words:
        word = words[0]
        if word == "--":
            shell.positional = words[1:]
            return 0
        if word == "-":
            shell.positional = words[1:] or shell.positional
            return 0
        if word[:1] not in ("-", "+") or len(word) < 2:
            shell.positional = words
            return 0
        on = word[0] == "-"
        words = words[1:]
        for letter in word[1:]:
            if letter == "o":
                if not words:
                    _show_options(shell, plain=on)
                    return 0
                option, words = words[0], words[1:]
                if option not in _LONG_OPTIONS or (option == "pipefail" and not shell.bash):
                    shell.complain(
                        f"set: {option}: invalid option name" if shell.bash else f"set: Illegal option -o {option}"
                    )
                    return _fatal(shell, 2)
                shell.options[option] = on
            elif letter in _OPTIONS:
                shell.options[_OPTIONS[letter]] = on
            else:
                shell.complain(
                    f"set: {word[0]}{letter}: invalid option"
                    if shell.bash
                    else f"set: Illegal option {word[0]}{letter}"
                )
                if shell.bash:
                    shell.process.stderr.write(
                        "set: usage: set [-abefhkmnptuvxBCEHPT] [-o option-name] [--] [-] [arg ...]\n"
                    )
                return _fatal(shell, 2)
    return 0


def _show_options(shell: Shell, *, plain: bool) -> None:
    defaults = {"braceexpand", "hashall", "interactive-comments"} if shell.bash else set()
    if not shell.bash:
        shell.process.print("Current option settings")
    for option in sorted(_LONG_OPTIONS):
        on = shell.options.get(option, option in defaults)
        shell.process.print(
            f"{option:<15}\t{'on' if on else 'off'}" if plain else f"set {'-' if on else '+'}o {option}"
        )


@builtin("shopt", bash_only=True)
async def _shopt(shell: Shell, argv: list[str]) -> int:
    letters = ""
    names: list[str] = []
    for word in argv[1:]:
        if word.startswith("-") and not names:
            letters += word[1:]
        else:
            names.append(word)
    if set(letters) - set("suqpo"):
        shell.complain(f"shopt: -{sorted(set(letters) - set('suqpo'))[0]}: invalid option")
        return 2
    known = _LONG_OPTIONS if "o" in letters else frozenset(_SHOPT)
    values = shell.options if "o" in letters else shell.shopt

    def current(name: str) -> bool:
        return values.get(name, _SHOPT.get(name, False) or (name == "expand_aliases" and shell.interactive))

    status = 0
    for name in names or (sorted(known) if not set(letters) & set("su") or True else []):
        if name not in known:
            shell.complain(f"shopt: {name}: invalid shell option name")
            status = 1
        elif names and set(letters) & set("su"):
            values[name] = "s" in letters
        else:
            on = current(name)
            if not names and (("s" in letters and not on) or ("u" in letters and on)):
                continue
            status = status or (int(not on) if names else 0)
            if "q" not in letters:
                shown = (
                    f"shopt -{'s' if on else 'u'} {name}" if "p" in letters else f"{name:<15}\t{'on' if on else 'off'}"
                )
                shell.process.print(shown)
    return status


def _fatal(shell: Shell, status: int) -> int:
    """A special built-in's error ends dash's scripts."""
    if not shell.bash and not shell.interactive:
        raise ProcessExit(status)
    return status


@builtin("shift")
async def _shift(shell: Shell, argv: list[str]) -> int:
    count = _number(argv[1]) if len(argv) > 1 else 1
    if count is None:
        shell.complain(
            f"shift: {argv[1]}: numeric argument required" if shell.bash else f"shift: Illegal number: {argv[1]}"
        )
        return _fatal(shell, 2) if not shell.bash else 1
    if not 0 <= count <= len(shell.positional):
        if not shell.bash:
            shell.complain("shift: can't shift that many")
            return _fatal(shell, 2)
        if count < 0:
            shell.complain(f"shift: {count}: shift count out of range")
        return 1
    del shell.positional[:count]
    return 0


@builtin("exit", "logout")
async def _exit(shell: Shell, argv: list[str]) -> int:
    raise ProcessExit(_exit_status(shell, argv))


def _exit_status(shell: Shell, argv: list[str]) -> int:
    if len(argv) < 2:
        return shell.status
    status = _number(argv[1])
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
    levels = _number(argv[1]) if len(argv) > 1 else 1
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
    shell._nest()
    try:
        return await shell.run_text(" ".join(words), line=shell.line)
    finally:
        shell._depth = max(shell._depth - 1, 0)


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
            return _fatal(shell, 2)
        path = found or path
    try:
        text = await script_text(shell.process, path)
    except OSError as exc:
        shell.complain(f"{words[0]}: {exc.strerror}" if shell.bash else f".: cannot open {words[0]}: {_no_file(exc)}")
        return _fatal(shell, 2) if not shell.bash else 1
    shell._nest()
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
        shell._depth = max(shell._depth - 1, 0)
        if words[1:]:
            shell.positional = positional
        shell.process.charge(-len(text))


async def script_text(process: Process, path: str) -> str:
    """A script's text, which the process then holds; NULs are left out. Raises OSError."""
    fd = process.open(path)
    parts: list[bytes] = []
    try:
        while chunk := await process.read(fd):
            kept = chunk.replace(b"\0", b"")
            process.charge(len(kept) + 64)
            parts.append(kept)
            await process.cooperate()
    finally:
        process.close(fd)
    return b"".join(parts).decode("utf-8", "surrogateescape")


def _no_file(exc: OSError) -> str:
    return "No such file" if abi.errno_name(exc) == "ENOENT" else exc.strerror or ""


# -- input ------------------------------------------------------------------------------------------------------------


@builtin("read")
async def _read(shell: Shell, argv: list[str]) -> int:
    raw, prompt, words = False, "", argv[1:]
    names: list[str] = []
    into, end, most, exactly, fd, silent = "", "\n", 0, False, 0, False
    limit: float | None = None
    while words:
        word = words.pop(0)
        if not word.startswith("-") or word == "-" or names:
            names.append(word)
            continue
        if word == "--":
            names += words
            break
        for at, letter in enumerate(word[1:], 2):
            if letter == "r":
                raw = True
            elif letter in "se" and shell.bash:
                silent = silent or letter == "s"
            elif letter in "padnNtui" and (shell.bash or letter == "p"):
                value = word[at:] or (words.pop(0) if words else None)
                if value is None:
                    shell.complain(f"read: -{letter}: option requires an argument")
                    return 2
                amount = _number(value)
                if letter == "p":
                    prompt = value
                elif letter == "a":
                    into = value
                elif letter == "d":
                    end = value[:1] or "\0"
                elif letter == "t":
                    limit = _seconds(value)
                    if limit is None:
                        shell.complain(f"read: {value}: invalid timeout specification")
                        return 1
                elif letter in "nN":
                    if amount is None or amount < 0:
                        shell.complain(f"read: {value}: invalid number")
                        return 1
                    most, exactly = amount, letter == "N"
                elif letter == "u":
                    if amount is None or amount not in shell.process.fds:
                        shell.complain(f"read: {value}: invalid file descriptor: Bad file descriptor")
                        return 1
                    fd = amount
                break
            else:
                shell.complain(f"read: -{letter}: invalid option" if shell.bash else f"read: Illegal option -{letter}")
                if shell.bash:
                    shell.process.stderr.write(
                        "read: usage: read [-ers] [-a array] [-d delim] [-i text] [-n nchars] [-N nchars] "
                        "[-p prompt] [-t timeout] [-u fd] [name ...]\n"
                    )
                return 2
    for name in [*names, *([into] if into else [])]:
        if not is_name(name.partition("[")[0]):
            shell.complain(
                f"read: `{name}': not a valid identifier" if shell.bash else f"read: {name}: bad variable name"
            )
            return 1 if shell.bash else 2
    process = shell.process
    if not names and not into and not shell.bash:
        shell.complain("read: arg count")
        return 2
    if fd not in process.fds:
        shell.complain(f"read: read error: {fd}: Bad file descriptor")
        return 1
    if prompt and process.isatty(fd):
        process.stderr.write(prompt)
    if limit == 0:
        return 0
    reader = _LineReader(process, fd, end, most, exactly, raw)
    echo = silent and process.tty is not None and process.isatty(fd)
    if echo and process.tty is not None:
        process.tty.echo = False
    status = 0
    try:
        ended = await (asyncio.wait_for(reader.run(), limit) if limit else reader.run())
        status = int(ended)
    except TimeoutError:
        status = 142
    except OSError as exc:
        shell.complain(f"read: read error: {fd}: {exc.strerror}")
        return 1
    finally:
        if echo and process.tty is not None:
            process.tty.echo = True
    _assign_fields(shell, names, into, reader, exactly=exactly)
    process.charge(-reader.size)
    return status


def _seconds(text: str) -> float | None:
    return min(float(text), 1e8) if re.fullmatch(r"[0-9]{1,12}(\.[0-9]{0,9})?|\.[0-9]{1,9}", text) else None


class _LineReader:
    """Reads no further than a line goes. Characters after a backslash are marked, so that they don't split fields."""

    def __init__(self, process: Process, fd: int, end: str, most: int, exactly: bool, raw: bool) -> None:
        self.process = process
        self.fd = fd
        self.end = end.encode("utf-8", "surrogateescape")
        self.most = most
        self.exactly = exactly
        self.raw = raw
        self.data = bytearray()
        self.escaped: set[int] = set()  # places of bytes that stand for themselves
        self.size = 0

    async def _byte(self) -> bytes:
        process = self.process
        return await process.read(self.fd, 1)

    async def run(self) -> bool:
        """Whether the input ended before the line did."""
        process, data = self.process, self.data
        file = process.fds.get(self.fd)
        if isinstance(file, RegularFile) and self.raw and not self.most and len(self.end) == 1:
            return await self._from_file(file)
        backslash = False
        while not self.most or len(data.decode("utf-8", "ignore")) < self.most:
            byte = await self._byte()
            await process.cooperate()
            if not byte:
                return True
            if not len(data) & 1023:
                process.charge(1024)
                self.size += 1024
            if backslash:
                backslash = False
                if byte != b"\n":
                    self.escaped.add(len(data))
                    data += byte
                continue
            if byte == self.end and not self.exactly:
                return False
            if byte == b"\\" and not self.raw:
                backslash = True
            elif byte != b"\0":
                data += byte
        return False

    async def _from_file(self, file: RegularFile) -> bool:
        while True:
            start = file.offset
            chunk = await self.process.read(self.fd, 16_384)
            await self.process.cooperate()
            if not chunk:
                return True
            line, found, _ = chunk.partition(self.end)
            self.process.charge(len(line))
            self.size += len(line)
            self.data += line.replace(b"\0", b"")
            if found:
                file.offset = start + len(line) + 1
                return False


def _assign_fields(shell: Shell, names: list[str], into: str, reader: _LineReader, *, exactly: bool) -> None:
    data, escaped = reader.data, reader.escaped
    separators = shell.get("IFS", " \t\n")
    if escaped:
        # A character that was escaped is hidden from the separators while the line is split.
        hidden = {byte: chr(0xF0000 + byte) for byte in range(256)}
        text = "".join(
            hidden[byte] if at in escaped and byte < 128 else chr(byte) if byte < 128 else chr(0xDC00 + byte)
            for at, byte in enumerate(data)
        )
        shown = {0xF0000 + byte: chr(byte) for byte in range(128)}
    else:
        text, shown = data.decode("utf-8", "surrogateescape"), {}

    def plain(value: str) -> str:
        value = value.translate(shown) if shown else value
        return value.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape") if shown else value

    if exactly:
        for number, name in enumerate(names or ["REPLY"]):
            shell.set(name, plain(text) if not number else "")
        return
    if not names and not into:
        shell.set("REPLY", plain(text))
        return
    blanks = "".join(character for character in separators if character in " \t\n")
    others = "".join(character for character in separators if character not in " \t\n")
    if into:
        body = text.strip(blanks) if blanks else text
        shell.set_value(
            into,
            array(plain(each) for each in (split_at(body, blanks, others) if separators else [body] if body else [])),
        )
        return
    body = text.strip(blanks) if blanks else text
    fields = split_at(body, blanks, others, len(names)) if separators else [body]
    if fields and len(fields) == len(names) and others and fields[-1][-1:] in tuple(others):
        # One separator at the end goes when there is no other in the last field.
        last = fields[-1][:-1]
        if not any(character in separators for character in last):
            fields[-1] = last
    for number, name in enumerate(names):
        value = plain(fields[number]) if number < len(fields) else ""
        match = re.fullmatch(r"(\w+)\[(.*)\]", name, re.DOTALL)
        shell.set(match[1] if match else name, value, index=match[2] if match else None)


@builtin("mapfile", "readarray", bash_only=True)
async def _mapfile(shell: Shell, argv: list[str]) -> int:
    words = argv[1:]
    trim, end, most, origin, skip, fd, name = False, b"\n", 0, 0, 0, 0, "MAPFILE"
    while words:
        word = words.pop(0)
        if not word.startswith("-"):
            name = word
            break
        letter, value = word[1:2], word[2:]
        if letter == "t" and len(word) == 2:
            trim = True
            continue
        if letter not in ("d", "n", "O", "s", "u", "C", "c"):
            shell.complain(f"{argv[0]}: -{letter}: invalid option")
            return 2
        value = value or (words.pop(0) if words else "")
        if letter in ("C", "c"):
            return shell.lacks(f"the option -{letter} of {argv[0]}")
        number = _number(value, 1 << 31)
        if letter == "d":
            end = value[:1].encode("utf-8", "surrogateescape") or b"\0"
            continue
        if number is None or number < 0:
            shell.complain(f"{argv[0]}: {value}: invalid line count")
            return 1
        most, origin, skip, fd = (
            number if letter == "n" else most,
            number if letter == "O" else origin,
            number if letter == "s" else skip,
            number if letter == "u" else fd,
        )
    if not is_name(name):
        shell.complain(f"{argv[0]}: `{name}': not a valid identifier")
        return 1
    process = shell.process
    process.descriptor(fd)
    lines: dict[int, str] = {}
    pending = b""
    count = size = 0
    while chunk := await process.read(fd, 16_384):
        pending += chunk.replace(b"\0", b"") if end != b"\0" else chunk
        process.charge(len(chunk))
        size += len(chunk)
        *whole, pending = pending.split(end)
        for line in whole:
            count += 1
            if count > skip and (not most or len(lines) < most):
                text = (line if trim else line + end).decode("utf-8", "surrogateescape")
                lines[origin + len(lines)] = text.replace("\0", "")
        await process.cooperate()
        if most and len(lines) >= most:
            break
    if pending and count >= skip and (not most or len(lines) < most):
        lines[origin + len(lines)] = pending.decode("utf-8", "surrogateescape")
    process.charge(-size)
    shell.set_value(name, Value(items=lines, flags={"a"}))
    return 0


# -- jobs -------------------------------------------------------------------------------------------------------------


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
        if "-r" in argv and not job.process.alive:
            continue
        mark = "+" if number == last else "-" if number == sorted(shell.jobs)[-2] else " "
        pid = f" {job.process.vpid}" if "-l" in argv else ""
        tail = " &" if job.process.alive and shell.bash else ""
        shell.process.print(f"[{number}]{mark} {pid} {state:<23}{job.text}{tail}")
        if not job.process.alive:
            shell.jobs.pop(number, None)
    return 0


def _state(job: Job) -> str:
    if job.process.alive:
        return "Running"
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
    if argv[0] == "bg":
        shell.complain(f"bg: job {found} already in background")
        return 0
    shell.process.print(job.text)
    shell.jobs.pop(found, None)
    return (await shell._foreground([job.process]))[0]


@builtin("disown", "suspend", bash_only=True)
async def _disown(shell: Shell, argv: list[str]) -> int:
    if argv[0] == "suspend":
        return shell.lacks("suspend: processes can't be stopped")
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
            shell.jobs.pop(found, None)
    return 0


@builtin("kill")
async def _kill(shell: Shell, argv: list[str]) -> int:
    jobs = {number: job.process for number, job in shell.jobs.items()}

    def complain(message: str) -> None:
        if message.startswith("usage") and shell.bash:
            shell.process.stderr.write(f"kill: {message}\n")
        else:
            shell.complain(f"kill: {message}")

    status = kill(shell.process, argv, complain, jobs)
    await shell._turn()
    return status


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


@builtin("umask")
async def _umask(shell: Shell, argv: list[str]) -> int:
    words = [word for word in argv[1:] if word not in ("-p", "-S")]
    if not words:
        mask = shell.process.umask
        if "-S" in argv:
            parts = [
                f"{who}={''.join(letter for letter, bit in _BITS.items() if not mask >> shift & bit)}"
                for who, shift in (("u", 6), ("g", 3), ("o", 0))
            ]
            shell.process.print(",".join(parts))
        else:
            shell.process.print(f"{'umask ' if '-p' in argv else ''}{mask:04o}")
        return 0
    if re.fullmatch(r"[0-7]{1,4}", words[0]):
        shell.process.umask = int(words[0], 8) & 0o777
        return 0
    if re.fullmatch(r"[0-9]+", words[0]):
        shell.complain(
            f"umask: {words[0]}: octal number out of range" if shell.bash else f"umask: Illegal number: {words[0]}"
        )
        return 1
    allowed = 0o777 & ~shell.process.umask
    for clause in words[0].split(","):
        match = re.fullmatch(r"([ugoa]*)([-+=])([rwx]*)", clause)
        if match is None:
            shell.complain(
                f"umask: `{words[0][:1]}': invalid symbolic mode operator"
                if shell.bash
                else f"umask: Illegal mode: {words[0]}"
            )
            return 1
        bits = sum(_BITS[letter] for letter in set(match[3]))
        for who in set((match[1] or "a").replace("a", "ugo")):
            shift = {"u": 6, "g": 3, "o": 0}[who]
            if match[2] == "=":
                allowed &= ~(7 << shift)
            allowed = allowed & ~(bits << shift) if match[2] == "-" else allowed | bits << shift
    shell.process.umask = 0o777 & ~allowed
    return 0


_EVENTS = ("EXIT", "ERR", "DEBUG", "RETURN")


@builtin("trap")
async def _trap(shell: Shell, argv: list[str]) -> int:
    words = argv[1:]
    if words[:1] == ["-l"]:
        kill(shell.process, ["kill", "-l"], shell.complain)
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


# -- what else the shell knows ----------------------------------------------------------------------------------------


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
            return await shell._exec(words, {}, ())
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
            await _put(shell, _described(shell, argv[0], letters, name, kind, text))
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


@builtin("builtin", bash_only=True)
async def _builtin(shell: Shell, argv: list[str]) -> int:
    if len(argv) < 2:
        return 0
    if argv[1] not in BUILTINS:
        shell.complain(f"builtin: {argv[1]}: not a shell builtin")
        return 1
    return await BUILTINS[argv[1]](shell, argv[1:])


@builtin("let", bash_only=True)
async def _let(shell: Shell, argv: list[str]) -> int:
    if len(argv) < 2:
        shell.complain("let: expression expected")
        return 1
    value = 0
    for word in argv[1:]:
        value = evaluate(shell, word)
    return int(value == 0)


@builtin("getopts")
async def _getopts(shell: Shell, argv: list[str]) -> int:
    if len(argv) < 3:
        shell.complain(
            "getopts: usage: getopts optstring name [arg ...]"
            if shell.bash
            else "getopts: Usage: getopts optstring var [arg]"
        )
        return 2
    options, name = argv[1], argv[2]
    given = argv[3:] or shell.positional
    quiet = options.startswith(":") or shell.get("OPTERR") == "0"
    index = _number(shell.get("OPTIND"), 1 << 30) or 1
    place = getattr(shell, "option_place", 1) if getattr(shell, "option_index", 0) == index else 1
    word = given[index - 1] if 0 < index <= len(given) else ""
    if not word.startswith("-") or word in ("-", "--"):
        shell.set("OPTIND", str(index + (word == "--")))
        shell.set(name, "?")
        shell.unset("OPTARG")
        return 1
    letter = word[place : place + 1]
    at = options.find(letter) if letter != ":" else -1
    takes = at >= 0 and options[at + 1 : at + 2] == ":"
    place += 1
    ended = place >= len(word)
    result, argument = letter, None
    if at < 0:
        result = "?"
        argument = letter if options.startswith(":") else None
        if not quiet:
            shell.complain_as_command(f"illegal option -- {letter}" if shell.bash else f"Illegal option -{letter}")
    elif takes:
        if not ended:
            argument = word[place:]
        elif index < len(given):
            argument = given[index]
            index += 1
        elif options.startswith(":"):
            result, argument = ":", letter
        else:
            result = "?"
            if not quiet:
                shell.complain_as_command(
                    f"option requires an argument -- {letter}" if shell.bash else f"No arg for -{letter} option"
                )
        ended = True
    if ended:
        index, place = index + 1, 1
    shell.option_index, shell.option_place = index, place
    shell.set("OPTIND", str(index))
    shell.set(name, result)
    if argument is None:
        shell.unset("OPTARG")
    else:
        shell.set("OPTARG", argument)
    return 0


@builtin("history", "fc", bash_only=True)
async def _history(shell: Shell, argv: list[str]) -> int:
    if argv[0] == "fc":
        return shell.lacks("fc (history shows the commands, !! runs the last one again)")
    if argv[1:] == ["-c"]:
        shell.history.clear()
        return 0
    if argv[1:2] == ["-d"] and len(argv) > 2:
        place = _number(argv[2], 1 << 30)
        if place is None or not 0 < place <= len(shell.history):
            shell.complain(f"history: {argv[2]}: history position out of range")
            return 1
        del shell.history[place - 1]
        return 0
    if argv[1:2] in (["-w"], ["-a"], ["-r"], ["-n"]):
        return 0
    count = len(shell.history)
    if len(argv) > 1:
        given = _number(argv[1], 1 << 30)
        if given is None:
            shell.complain(f"history: {argv[1]}: numeric argument required")
            return 1
        count = given
    first = max(len(shell.history) - count, 0)
    for number, line in enumerate(shell.history[first:], first + 1):
        await _put(shell, f"{number:5}  {line}\n")
    return 0


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


_LIMITS = {
    "c": ("core file size", "blocks", "0"),
    "d": ("data seg size", "kbytes", "unlimited"),
    "e": ("scheduling priority", "", "0"),
    "f": ("file size", "blocks", "unlimited"),
    "i": ("pending signals", "", "30446"),
    "l": ("max locked memory", "kbytes", "8192"),
    "m": ("max memory size", "kbytes", "unlimited"),
    "n": ("open files", "", "1048576"),
    "p": ("pipe size", "512 bytes", "8"),
    "q": ("POSIX message queues", "bytes", "819200"),
    "r": ("real-time priority", "", "0"),
    "s": ("stack size", "kbytes", "8192"),
    "t": ("cpu time", "seconds", "unlimited"),
    "u": ("max user processes", "", "unlimited"),
    "v": ("virtual memory", "kbytes", "unlimited"),
    "x": ("file locks", "", "unlimited"),
}


@builtin("ulimit")
async def _ulimit(shell: Shell, argv: list[str]) -> int:
    letters, values = "", []
    for word in argv[1:]:
        if word.startswith("-"):
            letters += word[1:]
        else:
            values.append(word)
    chosen = [letter for letter in letters if letter not in "SHa"] or (list(_LIMITS) if "a" in letters else ["f"])
    for letter in chosen:
        if letter not in _LIMITS:
            shell.complain(f"ulimit: -{letter}: invalid option" if shell.bash else f"ulimit: Illegal option -{letter}")
            return 2
    if values:
        if values[0] != "unlimited" and _number(values[0]) is None:
            shell.complain(f"ulimit: {values[0]}: invalid number")
            return 1
        return shell.lacks("limits that can be changed: a container's limits are those of its manifest")
    for letter in chosen:
        what, unit, value = _LIMITS[letter]
        unit = f"({unit}, -{letter})" if unit else f"(-{letter})"
        shell.process.print(f"{what:<24}{unit:>16} {value}" if len(chosen) > 1 else value)
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
    await _put(shell, "".join(f"{name}\n" for name in found))
    return 0 if found else 1


# -- test ------------------------------------------------------------------------------------------------------------


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


def evaluate_test(shell: Shell, words: list[str]) -> bool:
    """The value of a test expression. Raises ExpansionError when it isn't one."""
    tester = _Tester(shell, list(words))
    if not words:
        return False
    result = tester.either()
    if tester.words:
        raise ExpansionError("too many arguments" if shell.bash else f"{tester.words[0]}: unexpected operator")
    return result


_BINARY_TESTS = frozenset(["=", "==", "!=", "-eq", "-ne", "-lt", "-le", "-gt", "-ge", "-nt", "-ot", "-ef", "<", ">"])


class _Tester:
    def __init__(self, shell: Shell, words: list[str]) -> None:
        self.shell = shell
        self.words = words
        self.depth = 0

    def either(self) -> bool:
        result = self._both()
        while self.words[:1] == ["-o"]:
            self.words.pop(0)
            other = self._both()
            result = result or other
        return result

    def _both(self) -> bool:
        result = self._not()
        while self.words[:1] == ["-a"]:
            self.words.pop(0)
            other = self._not()
            result = result and other
        return result

    def _not(self) -> bool:
        words = self.words
        if len(words) >= 3 and words[1] in _BINARY_TESTS:
            return self._binary()
        negated = False
        while words[:1] == ["!"] and len(words) > 1 and not (len(words) >= 3 and words[1] in _BINARY_TESTS):
            words.pop(0)
            negated = not negated
        if negated:
            return not self._not()
        if words[:1] == ["("] and len(words) > 2:
            self.depth += 1
            if self.depth > 60:
                raise ExpansionError("labkit: test nests 60 parentheses at most in the lab's shell")
            words.pop(0)
            result = self.either()
            self.depth -= 1
            if words[:1] != [")"]:
                raise ExpansionError("closing paren expected")
            words.pop(0)
            return result
        if len(words) >= 2 and re.fullmatch(r"-[a-zA-Z]", words[0]) and words[0] not in ("-a", "-o"):
            return self._unary(words.pop(0), words.pop(0))
        if not words:
            raise ExpansionError("argument expected")
        return bool(words.pop(0))

    def _binary(self) -> bool:
        left, operator, right = self.words.pop(0), self.words.pop(0), self.words.pop(0)
        if operator in ("=", "=="):
            return left == right
        if operator == "!=":
            return left != right
        if operator in ("<", ">"):
            return left < right if operator == "<" else left > right
        if operator in ("-nt", "-ot", "-ef"):
            one, two = self._stat(left), self._stat(right)
            if operator == "-ef":
                return one is not None and two is not None and (one.dev, one.ino) == (two.dev, two.ino)
            newer, older = (one, two) if operator == "-nt" else (two, one)
            return newer is not None and (older is None or newer.mtime > older.mtime)
        numbers = []
        for word in (left, right):
            number = _number(word)
            if number is None:
                raise ExpansionError(
                    f"{word}: integer expression expected" if self.shell.bash else f"Illegal number: {word}"
                )
            numbers.append(number)
        a, b = numbers
        return {"-eq": a == b, "-ne": a != b, "-lt": a < b, "-le": a <= b, "-gt": a > b, "-ge": a >= b}[operator]

    def _stat(self, path: str, *, follow: bool = True) -> Stat | None:
        try:
            return self.shell.process.stat(path) if follow else self.shell.process.lstat(path)
        except OSError:
            return None

    def _unary(self, operator: str, word: str) -> bool:
        process = self.shell.process
        if operator == "-n":
            return bool(word)
        if operator == "-z":
            return not word
        if operator == "-t":
            return bool(re.fullmatch(r"[0-9]{1,6}", word)) and process.isatty(int(word))
        if operator == "-v":
            match = re.fullmatch(r"(\w+)\[(.*)\]", word, re.DOTALL)
            if match is not None and match[2] in ("@", "*"):
                return bool(self.shell.elements(match[1]))
            return (
                bool(word) and self.shell.value_of(match[1] if match else word, match[2] if match else None) is not None
            )
        if operator == "-o":
            return bool(self.shell.options.get(word))
        if operator == "-R":
            known = self.shell.variables.get(word)
            return known is not None and "n" in known.flags
        if operator in ("-r", "-w", "-x"):
            return process.access(word, {"-r": abi.R_OK, "-w": abi.W_OK, "-x": abi.X_OK}[operator])
        if operator in ("-h", "-L"):
            link = self._stat(word, follow=False)
            return link is not None and link.is_symlink
        found = self._stat(word)
        if found is None:
            if operator not in ["-a", "-e", "-f", "-d", "-s", "-p", "-S", "-c", "-b", "-u", "-g", "-k", "-O", "-G"]:
                raise ExpansionError(f"{operator}: unary operator expected")
            return False
        kind = found.mode & 0o170000
        checks = {
            "-a": True,
            "-e": True,
            "-f": found.is_file,
            "-d": found.is_dir,
            "-s": found.size > 0,
            "-p": kind == abi.S_IFIFO,
            "-S": kind == abi.S_IFSOCK,
            "-c": found.is_device,
            "-b": False,
            "-u": bool(found.mode & 0o4000),
            "-g": bool(found.mode & 0o2000),
            "-k": bool(found.mode & 0o1000),
            "-O": found.uid == process.euid,
            "-G": found.gid == process.egid,
        }
        if operator not in checks:
            raise ExpansionError(f"{operator}: unary operator expected")
        return checks[operator]


@builtin("exec")
async def _exec(shell: Shell, argv: list[str]) -> int:
    """Run by the interpreter itself, since its redirections stay."""
    raise AssertionError("exec is handled before built-ins are called")
