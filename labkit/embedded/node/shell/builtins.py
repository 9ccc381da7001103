"""The shells' built-in commands, registered in a table by name."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Sequence

from labkit.embedded.node import abi
from labkit.embedded.node.filesystem import Stat
from labkit.embedded.node.kernel import Process, ProcessExit
from labkit.embedded.node.shell.expansion import ExpansionError, evaluate
from labkit.embedded.node.shell.interpreter import BUILTINS, SPECIAL, Builtin, Shell
from labkit.embedded.node.shell.parser import is_name, unescape

_OPTIONS = {
    "a": "allexport",
    "C": "noclobber",
    "e": "errexit",
    "f": "noglob",
    "u": "nounset",
    "x": "xtrace",
    "m": "monitor",
    "b": "notify",
    "v": "verbose",
    "h": "hashall",
}


def builtin(*names: str) -> Callable[[Builtin], Builtin]:
    def register(function: Builtin) -> Builtin:
        for name in names:
            BUILTINS[name] = function
        return function

    return register


@builtin(":", "true")
async def _true(shell: Shell, argv: list[str]) -> int:
    return 0


@builtin("false")
async def _false(shell: Shell, argv: list[str]) -> int:
    return 1


@builtin("echo")
async def _echo(shell: Shell, argv: list[str]) -> int:
    text, _ = echo_text(argv[1:], bash=shell.bash)
    shell.process.stdout.write(text)
    await shell.process.drain(1)
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


@builtin("printf")
async def _printf(shell: Shell, argv: list[str]) -> int:
    if len(argv) > 2 and argv[1] == "-v" and shell.bash and len(argv) > 3:
        text, errors = printf_text(argv[3], argv[4:])
        shell.set(argv[2], text)
    else:
        if len(argv) > 1 and argv[1] == "--":
            argv = [argv[0], *argv[2:]]
        if len(argv) < 2:
            shell.complain(
                "printf: usage: printf [-v var] format [arguments]"
                if shell.bash
                else "printf: usage: printf format [arg ...]"
            )
            return 2
        text, errors = printf_text(argv[1], argv[2:])
        shell.process.stdout.write(text)
        await shell.process.drain(1)
    for error in errors:
        shell.complain(f"printf: {error}")
    return 1 if errors else 0


_CONVERSION = re.compile(r"%([-+ #0]*)(\*|\d+)?(?:\.(\*|\d+))?([diouxXeEfFgGcsbq%])")


def printf_text(format: str, arguments: list[str]) -> tuple[str, list[str]]:
    """printf's output, the format used again while arguments are left, and what was wrong with them."""
    errors: list[str] = []
    out: list[str] = []
    rest = list(arguments)
    while True:
        before = len(rest)
        at = 0
        while at < len(format):
            match = _CONVERSION.match(format, at)
            if match is None:
                end = format.find("%", at + 1)
                end = len(format) if end < 0 else end
                if format[at] == "%":
                    errors.append(f"%{format[at + 1 : at + 2]}: invalid directive")
                    return "".join(out), errors
                out.append(unescape(format[at:end]))
                at = end
                continue
            at = match.end()
            out.append(_converted(match, rest, errors))
        if not rest or len(rest) == before:
            return "".join(out), errors


def _converted(match: re.Match[str], rest: list[str], errors: list[str]) -> str:
    flags, width, precision, kind = match.groups()
    if kind == "%":
        return "%"
    width = rest.pop(0) if width == "*" and rest else width
    precision = rest.pop(0) if precision == "*" and rest else precision
    given = rest.pop(0) if rest else ""
    specification = "%" + flags + (width or "") + (f".{precision}" if precision is not None else "")
    if kind in "sbq":
        value = unescape(given, zero_octal=True) if kind == "b" else _shell_quoted(given) if kind == "q" else given
        return (specification + "s") % value
    if kind == "c":
        return (specification + "s") % given[:1]
    try:
        if kind in "diouxX":
            number = ord(given[1]) if given[:1] in "'\"" and len(given) > 1 else int(given or "0", 0)
            return (specification + {"i": "d", "u": "d"}.get(kind, kind)) % number
        return (specification + kind) % float(given or "0")
    except ValueError:
        errors.append(f"{given}: invalid number")
        return (specification + ("d" if kind in "diouxX" else kind)) % 0


def _shell_quoted(word: str) -> str:
    return re.sub(r"([^\w@%+=:,./-])", r"\\\1", word) if word else "''"


@builtin("cd", "chdir")
async def _cd(shell: Shell, argv: list[str]) -> int:
    arguments = [word for word in argv[1:] if word not in ("-L", "-P", "--")]
    target = arguments[0] if arguments else shell.get("HOME")
    if not target:
        shell.complain("cd: HOME not set")
        return 1
    announce = target == "-"
    if announce:
        target = shell.get("OLDPWD")
        if not target:
            shell.complain("cd: OLDPWD not set")
            return 1 if shell.bash else 2
    try:
        shell.process.chdir(shell.process.absolute(target) if not target.startswith("/") else target)
    except OSError as exc:
        shell.complain(f"cd: {target}: {exc.strerror}" if shell.bash else f"cd: can't cd to {target}")
        return 1 if shell.bash else 2
    shell.set("OLDPWD", shell.get("PWD"))
    logical = posixpath.normpath(posixpath.join(shell.get("PWD", "/"), target))
    shell.set("PWD", logical)
    shell.process.cwd = shell.process.real_path(shell.process.cwd)
    if announce:
        shell.process.print(logical)
    return 0


@builtin("pwd")
async def _pwd(shell: Shell, argv: list[str]) -> int:
    shell.process.print(shell.process.cwd if "-P" in argv else shell.get("PWD", shell.process.cwd))
    return 0


@builtin("export", "readonly")
async def _export(shell: Shell, argv: list[str]) -> int:
    chosen = shell.exported if argv[0] == "export" else shell.readonly
    words = argv[1:]
    if not words or words == ["-p"]:
        for name in sorted(chosen):
            if name in shell.variables:
                lead = "declare -x" if shell.bash and argv[0] == "export" else "declare -r" if shell.bash else argv[0]
                quote = '"' if shell.bash else "'"
                shell.process.print(f"{lead} {name}={quote}{shell.get(name)}{quote}")
        return 0
    remove = False
    status = 0
    for word in words:
        if word == "-n":
            remove = True
            continue
        if word in ("-p", "--"):
            continue
        name, equals, value = word.partition("=")
        if not is_name(name):
            shell.complain(
                f"{argv[0]}: `{word}': not a valid identifier"
                if shell.bash
                else f"{argv[0]}: {name}: bad variable name"
            )
            status = 1 if shell.bash else 2
            continue
        if equals:
            shell.set(name, value)
        if remove:
            chosen.discard(name)
        else:
            chosen.add(name)
    return status


@builtin("unset")
async def _unset(shell: Shell, argv: list[str]) -> int:
    functions = "-f" in argv
    for name in argv[1:]:
        if name in ("-f", "-v"):
            continue
        if functions or (name not in shell.variables and name in shell.functions):
            shell.functions.pop(name, None)
        else:
            try:
                shell.unset(name)
            except ExpansionError as exc:
                shell.complain(f"unset: {exc}")
                return 1
    return 0


@builtin("local", "declare", "typeset")
async def _local(shell: Shell, argv: list[str]) -> int:
    if argv[0] != "local" and not shell.bash:
        shell.complain(f"{argv[0]}: not found")
        return 127
    if argv[0] == "local" and not shell.in_function:
        shell.complain("local: can only be used in a function" if shell.bash else "local: not in a function")
        return 1 if shell.bash else 2
    flags = ""
    for word in argv[1:]:
        if word.startswith("-"):
            flags += word[1:]
            if set(word[1:]) - set("xrgip"):
                shell.complain(f"{argv[0]}: {word}: not supported by the lab's shell")
                return 2
            continue
        name, equals, value = word.partition("=")
        if shell.in_function and "g" not in flags:
            shell.make_local(name)
        if equals:
            shell.set(name, value)
        if "x" in flags:
            shell.exported.add(name)
        if "r" in flags:
            shell.readonly.add(name)
    return 0


@builtin("set")
async def _set(shell: Shell, argv: list[str]) -> int:
    words = argv[1:]
    if not words:
        for name in sorted(shell.variables):
            shell.process.print(
                f"{name}='{shell.variables[name]}'"
                if not shell.bash
                else f"{name}={_shell_quoted(shell.variables[name])}"
            )
        return 0
    while words:
        word = words[0]
        if word == "--":
            shell.positional = words[1:]
            return 0
        if word[:1] not in ("-", "+") or len(word) < 2:
            shell.positional = words
            return 0
        on = word[0] == "-"
        words = words[1:]
        for letter in word[1:]:
            if letter == "o":
                if not words:
                    for option in sorted(set(_OPTIONS.values()) | {"pipefail"}):
                        shell.process.print(f"{option:<15}\t{'on' if shell.options.get(option) else 'off'}")
                    return 0
                option, words = words[0], words[1:]
                if option not in (*_OPTIONS.values(), "pipefail", "posix") or (option == "pipefail" and not shell.bash):
                    shell.complain(
                        f"set: {option}: invalid option name" if shell.bash else f"set: Illegal option -o {option}"
                    )
                    return _fatal(shell, 2)
                shell.options[option] = on
            elif letter in _OPTIONS:
                shell.options[_OPTIONS[letter]] = on
            else:
                shell.complain(f"set: -{letter}: invalid option" if shell.bash else f"set: Illegal option -{letter}")
                return _fatal(shell, 2)
    return 0


def _fatal(shell: Shell, status: int) -> int:
    """A special built-in's error ends dash's scripts."""
    if not shell.bash and not shell.interactive:
        raise ProcessExit(status)
    return status


@builtin("shift")
async def _shift(shell: Shell, argv: list[str]) -> int:
    count = int(argv[1]) if len(argv) > 1 and argv[1].isdigit() else 1
    if count > len(shell.positional):
        if not shell.bash:
            shell.complain("shift: can't shift that many")
            return _fatal(shell, 2)
        return 1
    del shell.positional[:count]
    return 0


@builtin("exit")
async def _exit(shell: Shell, argv: list[str]) -> int:
    status = shell.status
    if len(argv) > 1:
        if not re.fullmatch(r"-?\d+", argv[1]):
            shell.complain(
                f"exit: {argv[1]}: numeric argument required" if shell.bash else f"exit: Illegal number: {argv[1]}"
            )
            raise ProcessExit(2)
        status = int(argv[1]) & 0xFF
    raise ProcessExit(status)


@builtin("return")
async def _return(shell: Shell, argv: list[str]) -> int:
    if not shell.may_return():
        if shell.bash:
            shell.complain("return: can only `return' from a function or sourced script")
            return 1
        raise ProcessExit(int(argv[1]) & 0xFF if len(argv) > 1 and argv[1].isdigit() else shell.status)
    return await shell.function_return(int(argv[1]) & 0xFF if len(argv) > 1 and argv[1].isdigit() else shell.status)


@builtin("break", "continue")
async def _break(shell: Shell, argv: list[str]) -> int:
    shell.leave_loop(int(argv[1]) if len(argv) > 1 and argv[1].isdigit() else 1, again=argv[0] == "continue")
    return 0


@builtin("eval")
async def _eval(shell: Shell, argv: list[str]) -> int:
    return await shell.run_text(" ".join(argv[1:]))


@builtin(".", "source")
async def _source(shell: Shell, argv: list[str]) -> int:
    if argv[0] == "source" and not shell.bash:
        shell.complain("source: not found")
        return 127
    if len(argv) < 2:
        shell.complain(f"{argv[0]}: filename argument required")
        return 2
    path = argv[1]
    if "/" not in path:
        path = next((f"{d}/{path}" for d in shell.get("PATH").split(":") if shell.process.isfile(f"{d}/{path}")), path)
    try:
        text = shell.process.read_text(path)
    except OSError as exc:
        shell.complain(f"{argv[1]}: {exc.strerror}" if shell.bash else f".: cannot open {argv[1]}: {_no_file(exc)}")
        return _fatal(shell, 2) if not shell.bash else 1
    before, shell.in_script = shell.in_script, path
    try:
        return await shell.run_text(text)
    finally:
        shell.in_script = before


def _no_file(exc: OSError) -> str:
    return "No such file" if abi.errno_name(exc) == "ENOENT" else exc.strerror or ""


@builtin("read")
async def _read(shell: Shell, argv: list[str]) -> int:
    raw, prompt, names, words = False, "", [], argv[1:]
    while words:
        word = words.pop(0)
        if word == "-r":
            raw = True
        elif word == "-p" and words:
            prompt = words.pop(0)
        elif word.startswith("-") and len(word) > 1:
            shell.complain(f"read: {word}: not supported by the lab's shell")
            return 2
        else:
            names.append(word)
    process = shell.process
    if prompt and process.isatty(0):
        process.stderr.write(prompt)
    line = ""
    ended = False
    while True:
        data = await process.read(0, 1) if not process.isatty(0) else await process.read(0)
        if not data:
            ended = True
            break
        line += data.decode("utf-8", "surrogateescape")
        if line.endswith("\n"):
            line = line[:-1]
            if not raw and line.endswith("\\"):
                line = line[:-1]
                continue
            break
    if not raw:
        line = re.sub(r"\\(.)", r"\1", line)
    separators = shell.get("IFS", " \t\n")
    names = names or ["REPLY"]
    if names == ["REPLY"]:
        shell.set("REPLY", line)
        return int(ended and not line)
    rest = line.strip(separators) if separators else line
    for name in names[:-1]:
        cut = next((at for at, character in enumerate(rest) if character in separators), len(rest))
        shell.set(name, rest[:cut])
        rest = rest[cut:].lstrip(separators) if separators else ""
    shell.set(names[-1], rest)
    return int(ended and not line)


@builtin("wait")
async def _wait(shell: Shell, argv: list[str]) -> int:
    if len(argv) == 1:
        for each in shell.jobs:
            await shell.process.wait(each)
        shell.jobs.clear()
        return 0
    status = 0
    for word in argv[1:]:
        job: Process | None = next((known for known in shell.jobs if str(known.vpid) == word), None)
        if word.startswith("%") and word[1:].isdigit() and 0 < int(word[1:]) <= len(shell.jobs):
            job = shell.jobs[int(word[1:]) - 1]
        if job is None:
            shell.complain(f"wait: pid {word} is not a child of this shell")
            status = 127
        else:
            status = await shell.process.wait(job)
    return status


@builtin("jobs")
async def _jobs(shell: Shell, argv: list[str]) -> int:
    for number, job in enumerate(shell.jobs, 1):
        state = "Running" if job.alive else "Done" if job.status == 0 else f"Exit {job.status}"
        shell.process.print(f"[{number}]{'+' if number == len(shell.jobs) else '-'}  {state:<23} {' '.join(job.argv)}")
    return 0


@builtin("type", "command")
async def _type(shell: Shell, argv: list[str]) -> int:
    words = argv[1:]
    verbose = argv[0] == "type"
    short = False
    while words and words[0].startswith("-"):
        option = words.pop(0)
        if option in ("-v", "-V"):
            short, verbose = option == "-v", option == "-V"
        elif option == "-p":
            continue
        elif option != "--":
            shell.complain(f"{argv[0]}: {option}: invalid option")
            return 2
    if argv[0] == "command" and not short and not verbose:
        if not words:
            return 0
        if words[0] in BUILTINS:
            return await BUILTINS[words[0]](shell, words)
        return await shell._program(words, {}, (), tail=False)
    status = 0
    for name in words:
        kind, path = _what_is(shell, name)
        if not kind:
            status = 1 if shell.bash else 127
            if verbose:
                shell.complain(f"{argv[0]}: {name}: not found" if shell.bash else f"{name}: not found")
        elif short:
            shell.process.print(path or name)
        else:
            shell.process.print(f"{name} is {kind}")
    return status


def _what_is(shell: Shell, name: str) -> tuple[str, str]:
    if name in shell.functions:
        return ("a function" if shell.bash else "a shell function"), ""
    if name in BUILTINS:
        return (
            "a shell builtin" if shell.bash else "a special shell builtin" if name in SPECIAL else "a shell builtin"
        ), ""
    if name in (
        "if",
        "then",
        "else",
        "elif",
        "fi",
        "for",
        "do",
        "done",
        "while",
        "until",
        "case",
        "esac",
        "{",
        "}",
        "!",
    ):
        return "a shell keyword", ""
    try:
        path = shell.process.find_program(name, shell.get("PATH"))
    except OSError:
        return "", ""
    return (path, path) if shell.process.access(path, abi.X_OK) else ("", "")


@builtin("kill")
async def _kill(shell: Shell, argv: list[str]) -> int:
    return kill(shell.process, argv, lambda message: shell.complain(f"kill: {message}"), shell.jobs)


def kill(process: Process, argv: list[str], complain: Callable[[str], object], jobs: Sequence[Process] = ()) -> int:
    """kill as a built-in and as a program have it."""
    words = argv[1:]
    number = abi.SIGTERM
    if words and words[0] in ("-l", "-L"):
        if len(words) > 1:
            for word in words[1:]:
                process.print(
                    abi.SIGNAL_NAMES.get(int(word) & 0x7F, word)
                    if word.isdigit()
                    else abi.SIGNALS.get(word.removeprefix("SIG"), word)
                )
        else:
            process.print(" ".join(abi.SIGNALS))
        return 0
    if words and words[0] == "-s" and len(words) > 1:
        name = words[1]
        words = words[2:]
    elif words and re.fullmatch(r"-[A-Z0-9]+", words[0]) and words[0] != "--":
        name = words[0][1:]
        words = words[1:]
    else:
        name = ""
    if name:
        found = int(name) if name.isdigit() else abi.SIGNALS.get(name.removeprefix("SIG"))
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
        if word.startswith("%") and word[1:].isdigit() and jobs and 0 < int(word[1:]) <= len(jobs):
            job = jobs[int(word[1:]) - 1]
            target = str(job.vpid)
        if not re.fullmatch(r"-?\d+", target):
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
    if len(argv) == 1:
        shell.process.print(f"{shell.process.umask:04o}")
        return 0
    if not re.fullmatch(r"[0-7]{1,4}", argv[1]):
        shell.complain(f"umask: {argv[1]}: invalid mode (the lab's shell takes octal ones)")
        return 1
    shell.process.umask = int(argv[1], 8) & 0o777
    return 0


@builtin("trap")
async def _trap(shell: Shell, argv: list[str]) -> int:
    words = [word for word in argv[1:] if word != "--"]
    if not words:
        for name, action in shell.traps.items():
            shell.process.print(f"trap -- '{action}' {name}")
        return 0
    action = "-" if len(words) == 1 else words.pop(0)
    for word in words:
        name = "EXIT" if word in ("0", "EXIT") else word.removeprefix("SIG")
        number = int(name) if name.isdigit() else abi.SIGNALS.get(name, 0)
        if name != "EXIT" and number not in abi.SIGNAL_NAMES:
            shell.complain(f"trap: {word}: invalid signal specification" if shell.bash else f"trap: {word}: bad trap")
            return 1
        if name == "EXIT":
            shell.traps.pop(name, None)
            if action != "-":
                shell.traps[name] = action
        elif action == "-":
            shell.traps.pop(abi.SIGNAL_NAMES[number], None)
            shell.process.default_signal(number)
        elif action == "":
            shell.process.on_signal(number, None)
        else:
            shell.complain(f"trap: the lab's shell runs actions at EXIT only, and can ignore signals ('' {word})")
            return 1
    return 0


@builtin("let")
async def _let(shell: Shell, argv: list[str]) -> int:
    if not shell.bash:
        shell.complain("let: not found")
        return 127
    value = 0
    for word in argv[1:]:
        value = evaluate(shell, word)
    return int(value == 0)


@builtin("history")
async def _history(shell: Shell, argv: list[str]) -> int:
    if not shell.bash:
        shell.complain("history: not found")
        return 127
    if argv[1:] == ["-c"]:
        shell.history.clear()
        return 0
    count = int(argv[1]) if len(argv) > 1 and argv[1].isdigit() else len(shell.history)
    first = max(len(shell.history) - count, 0)
    for number, line in enumerate(shell.history[first:], first + 1):
        shell.process.print(f"{number:5}  {line}")
    return 0


@builtin("alias")
async def _alias(shell: Shell, argv: list[str]) -> int:
    if len(argv) > 1:
        shell.complain("alias: not simulated by the lab's shell")
        return 1
    return 0


@builtin("hash", "ulimit", "bind", "shopt", "unalias", "complete")
async def _quiet(shell: Shell, argv: list[str]) -> int:
    """Settings without an effect on what the lab shows."""
    if argv[0] in ("bind", "shopt", "complete") and not shell.bash:
        shell.complain(f"{argv[0]}: not found")
        return 127
    if argv[0] == "ulimit" and len(argv) == 1:
        shell.process.print("unlimited")
    return 0


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
        if words[:1] == ["!"] and len(words) > 1:
            words.pop(0)
            return not self._not()
        if words[:1] == ["("] and len(words) > 2:
            words.pop(0)
            result = self.either()
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
            if not re.fullmatch(r"\s*[-+]?\d+\s*", word):
                raise ExpansionError(
                    f"{word}: integer expression expected" if self.shell.bash else f"Illegal number: {word}"
                )
            numbers.append(int(word))
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
            return word.isdigit() and process.isatty(int(word))
        if operator == "-v":
            return self.shell.parameter(word) is not None
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
