"""Built-in commands: set, shopt, shift, getopts, umask, ulimit."""

from __future__ import annotations

import re

from ekslab.node.shell.builtins.common import fatal, put
from ekslab.node.shell.interpreter import Shell
from ekslab.node.shell.quoting import quoted
from ekslab.node.shell.registry import builtin
from ekslab.node.shell.state import decimal

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


@builtin("set")
async def _set(shell: Shell, argv: list[str]) -> int:
    words = argv[1:]
    if not words:
        for name in sorted(shell.variables):
            value = shell.variables[name]
            if value.is_array:
                await put(shell, shell.declaration(name).partition(" ")[2].partition(" ")[2] + "\n")
            elif value.text is not None:
                shown = value.text
                if not shell.bash:
                    shown = "'" + shown.replace("'", "'\\''") + "'"
                elif not re.fullmatch(r"[\w@%+=:,./-]*", shown):
                    shown = quoted(shown)
                await put(shell, f"{name}={shown}\n")
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
                    return fatal(shell, 2)
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
                return fatal(shell, 2)
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


@builtin("shift")
async def _shift(shell: Shell, argv: list[str]) -> int:
    count = decimal(argv[1]) if len(argv) > 1 else 1
    if count is None:
        shell.complain(
            f"shift: {argv[1]}: numeric argument required" if shell.bash else f"shift: Illegal number: {argv[1]}"
        )
        return fatal(shell, 2) if not shell.bash else 1
    if not 0 <= count <= len(shell.positional):
        if not shell.bash:
            shell.complain("shift: can't shift that many")
            return fatal(shell, 2)
        if count < 0:
            shell.complain(f"shift: {count}: shift count out of range")
        return 1
    del shell.positional[:count]
    return 0


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
    index = decimal(shell.get("OPTIND"), 1 << 30) or 1
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
        if values[0] != "unlimited" and decimal(values[0]) is None:
            shell.complain(f"ulimit: {values[0]}: invalid number")
            return 1
        return shell.lacks("limits that can be changed: a container's limits are those of its manifest")
    for letter in chosen:
        what, unit, value = _LIMITS[letter]
        unit = f"({unit}, -{letter})" if unit else f"(-{letter})"
        shell.process.print(f"{what:<24}{unit:>16} {value}" if len(chosen) > 1 else value)
    return 0
