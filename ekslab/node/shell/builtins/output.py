"""Built-in commands: echo and printf."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ekslab.node.shell.builtins.common import PIECE, put
from ekslab.node.shell.interpreter import Shell
from ekslab.node.shell.quoting import quoted, unescape
from ekslab.node.shell.registry import builtin
from ekslab.node.shell.state import decimal
from ekslab.node.shell.syntax import is_name

_DIRECTIVE_FLAGS = re.compile(r"\A[-+ #0]*\d*(?:\.\d*)?")
_CONVERSION = re.compile(
    r"%([-+ #0']*)(\*|[0-9]{1,18})?(?:\.(\*|-?[0-9]{0,18}))?(?:hh|h|ll|l|j|z|t|L)?([diouxXeEfFgGaAcsbqQn%]|\([^)]*\)T)"
)


@builtin("echo")
async def _echo(shell: Shell, argv: list[str]) -> int:
    text, _ = echo_text(argv[1:], bash=shell.bash and not shell.shopt.get("xpg_echo"))
    if not text:
        shell.process.stdout.write("")
    await put(shell, text)
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
    words = argv[1:]
    variable: str | None = None
    if shell.bash and words[:1] == ["-v"] and len(words) > 1:
        variable, words = words[1], words[2:]
    if words[:1] == ["--"]:
        words = words[1:]
    if not words:
        if shell.bash:
            shell.process.stderr.write("printf: usage: printf [-v var] format [arguments]\n")
        else:
            shell.complain("printf: usage: printf format [arg ...]")
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
        elif size > PIECE // 4 or not count & 1023:
            await put(shell, "".join(held))
            held, size = [], 0
        await shell.process.cooperate()
    if variable is None:
        await put(shell, "".join(held))
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
                    shown = _DIRECTIVE_FLAGS.sub("", format[at + 1 :])[:1]
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
        return max(min(decimal(rest.pop()) or 0, 1 << 40), -(1 << 40)) if rest else 0
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
        yield character * min(count, PIECE)
        count -= PIECE


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
    from ekslab.node.dates import formatted

    seconds = decimal(given or "-1", 1 << 36)
    return formatted(now if seconds is None or seconds < 0 else seconds * 1_000_000_000, format[:512] or "%X")


def _shell_quoted(word: str) -> str:
    if not word:
        return "''"
    if any(ord(character) < 32 or ord(character) == 127 for character in word):
        return quoted(word)
    return re.sub(r"([^\w@%+=:./-])", r"\\\1", word)
