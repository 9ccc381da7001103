"""What becomes of a word: variables, command substitution, arithmetic, splitting into fields, file name patterns."""

from __future__ import annotations

import posixpath
import re
from itertools import pairwise
from typing import TYPE_CHECKING

from labkit.embedded.node.patterns import glob, glob_escaped, has_magic, unescaped
from labkit.embedded.node.shell.parser import Arithmetic, Part, Substitution, Text, Variable, Word

if TYPE_CHECKING:
    from labkit.embedded.node.kernel import Process
    from labkit.embedded.node.shell.interpreter import Shell

# A field while it is put together: pieces of text, and whether each is quoted.
_Field = list[tuple[str, bool]]


class ExpansionError(Exception):
    """A word can't be expanded (`${x:?}`, `set -u`, a bad number); the command isn't run."""


async def fields(shell: Shell, words: tuple[Word, ...]) -> list[str]:
    """The arguments that a command's words become."""
    result: list[str] = []
    for word in _braces(words) if shell.bash else words:
        for field in await _split(shell, word):
            result += await _names(shell.process, field) if shell.globbing else [_plain(field)]
    return result


def _braces(words: tuple[Word, ...]) -> list[Word]:
    """bash's `{a,b}` and `{1..3}`: each word as the words that it stands for."""
    return [expanded for word in words for expanded in _brace(word)]


def _brace(word: Word) -> list[Word]:
    # One piece per unquoted character, so that braces and commas are told from quoted ones.
    pieces: list[Part] = []
    for part in word:
        if isinstance(part, Text) and not part.quoted:
            pieces += [Text(character, False) for character in part.value]
        else:
            pieces.append(part)
    marks = ["" if not isinstance(piece, Text) or piece.quoted else piece.value for piece in pieces]
    for start, mark in enumerate(marks):
        if mark != "{":
            continue
        depth, cuts, end = 0, [start], -1
        for at in range(start, len(marks)):
            depth += (marks[at] == "{") - (marks[at] == "}")
            if marks[at] == "," and depth == 1:
                cuts.append(at)
            if depth == 0:
                end = at
                break
        if end < 0:
            continue
        inside = "".join(marks[start + 1 : end])
        choices: list[tuple[Part, ...]]
        if len(cuts) > 1:
            bounds = [*cuts, end]
            choices = [tuple(pieces[a + 1 : b]) for a, b in pairwise(bounds)]
        elif (sequence := _sequence(inside)) and len(inside) == end - start - 1:
            choices = [(Text(value, False),) for value in sequence]
        else:
            continue
        before, after = tuple(pieces[:start]), tuple(pieces[end + 1 :])
        return [found for choice in choices for found in _brace(_joined_text((*before, *choice, *after)))]
    return [word]


def _sequence(inside: str) -> list[str]:
    numbers = re.fullmatch(r"(-?\d+)\.\.(-?\d+)", inside)
    if numbers is not None:
        first, last = int(numbers[1]), int(numbers[2])
        step = 1 if last >= first else -1
        return [str(number) for number in range(first, last + step, step)][:10_000]
    letters = re.fullmatch(r"([a-zA-Z])\.\.([a-zA-Z])", inside)
    if letters is None:
        return []
    first, last = ord(letters[1]), ord(letters[2])
    step = 1 if last >= first else -1
    return [chr(code) for code in range(first, last + step, step)]


def _joined_text(parts: tuple[Part, ...]) -> Word:
    """Neighbouring unquoted characters as one text again."""
    joined: list[Part] = []
    for part in parts:
        last = joined[-1] if joined else None
        if isinstance(part, Text) and not part.quoted and isinstance(last, Text) and not last.quoted:
            joined[-1] = Text(last.value + part.value, False)
        else:
            joined.append(part)
    return tuple(joined) or (Text("", True),)


async def text(shell: Shell, word: Word) -> str:
    """A word as one string, without splitting or file names: an assignment's value, a redirect's target."""
    return _plain(await _joined(shell, word))


async def pattern(shell: Shell, word: Word) -> str:
    """A word as a pattern in which quoted characters stand for themselves."""
    return _pattern(await _joined(shell, word))


def _plain(field: _Field) -> str:
    return "".join(piece for piece, _ in field)


def _pattern(field: _Field) -> str:
    return "".join(glob_escaped(piece) if quoted else piece for piece, quoted in field)


async def _joined(shell: Shell, word: Word) -> _Field:
    field: _Field = []
    for index, part in enumerate(word):
        if isinstance(part, Text):
            value = part.value
            if index == 0 and not part.quoted:
                value = _tilde(shell, value)
            field.append((value, part.quoted))
        else:
            values = await _values(shell, part)
            field.append((" ".join(values), part.quoted))
    return field


def _tilde(shell: Shell, value: str) -> str:
    if not value.startswith("~"):
        return value
    user, slash, rest = value[1:].partition("/")
    if not user:
        return shell.get("HOME", "/") + slash + rest
    for line in _read(shell.process, "/etc/passwd").splitlines():
        entry = line.split(":")
        if entry[0] == user and len(entry) > 5:
            return entry[5] + slash + rest
    return value


def _read(process: Process, path: str) -> str:
    try:
        return process.filesystem.read_text(path)
    except OSError:
        return ""


async def _split(shell: Shell, word: Word) -> list[_Field]:
    """Splits what unquoted expansions gave at IFS."""
    done: list[_Field] = []
    current: _Field = []
    started = False
    separators = shell.get("IFS", " \t\n")
    for index, part in enumerate(word):
        if isinstance(part, Text):
            value = _tilde(shell, part.value) if index == 0 and not part.quoted else part.value
            current.append((value, part.quoted))
            started = True
            continue
        values = await _values(shell, part)
        if part.quoted:
            every = isinstance(part, Variable) and part.name == "@" and not part.op
            if every and not values:
                continue
            for number, value in enumerate(values):
                if number:
                    done.append(current)
                    current = []
                current.append((value, True))
                started = True
            continue
        for number, value in enumerate(values):
            if number and started:
                done.append(current)
                current, started = [], False
            pieces, leading, trailing = _pieces(value, separators)
            if leading and started:
                done.append(current)
                current, started = [], False
            for at, piece in enumerate(pieces):
                if at:
                    done.append(current)
                    current = []
                current.append((piece, False))
                started = True
            if trailing and started:
                done.append(current)
                current, started = [], False
    if started:
        done.append(current)
    return done


def _pieces(value: str, separators: str) -> tuple[list[str], bool, bool]:
    """The fields of a value, and whether it starts and ends with a separator."""
    if not separators:
        return ([value] if value else []), False, False
    blanks = "".join(character for character in separators if character in " \t\n")
    others = "".join(character for character in separators if character not in " \t\n")
    if not others:
        blank = blanks[0]
        pieces = [piece for piece in value.translate(dict.fromkeys(map(ord, blanks), blank)).split(blank) if piece]
    else:
        pieces = _split_at(value.strip(blanks) if blanks else value, blanks, others)
    return pieces, value[:1] in tuple(separators) and bool(value), value[-1:] in tuple(separators) and bool(value)


def _split_at(value: str, blanks: str, others: str) -> list[str]:
    pieces: list[str] = []
    start = at = 0
    while at < len(value):
        if value[at] not in blanks and value[at] not in others:
            at += 1
            continue
        pieces.append(value[start:at])
        while at < len(value) and value[at] in blanks:
            at += 1
        if at < len(value) and value[at] in others:
            at += 1
            while at < len(value) and value[at] in blanks:
                at += 1
        start = at
    return [*pieces, value[start:]] if start < len(value) else pieces


async def _values(shell: Shell, part: Part) -> list[str]:
    """What an expansion gives: one string, or several for `$@`."""
    if isinstance(part, Substitution):
        return [await shell.substitute(part.body)]
    if isinstance(part, Arithmetic):
        return [str(evaluate(shell, await text(shell, part.word)))]
    assert isinstance(part, Variable)
    if part.name in ("@", "*") and not part.op:
        if part.name == "*" and part.quoted:
            return [shell.get("IFS", " \t\n")[:1].join(shell.positional)]
        return list(shell.positional)
    return [await _variable(shell, part)]


async def _variable(shell: Shell, part: Variable) -> str:
    value = shell.parameter(part.name)
    op = part.op
    if op == "length":
        if part.name in ("@", "*"):
            return str(len(shell.positional))
        return str(len(value or ""))
    if op == "indirect":
        return shell.parameter(value or "") or ""
    if op in (":-", "-", ":=", "=", ":?", "?", ":+", "+"):
        absent = value is None or (op.startswith(":") and value == "")
        kind = op[-1]
        if kind == "+":
            return "" if absent else await text(shell, part.word or ())
        if not absent:
            return value or ""
        given = await text(shell, part.word or ())
        if kind == "=":
            shell.set(part.name, given)
        elif kind == "?":
            default = "parameter null or not set" if op.startswith(":") else "parameter not set"
            raise ExpansionError(f"{part.name}: {given or default}")
        return given
    if value is None:
        if shell.options.get("nounset") and part.name not in "@*":
            message = "unbound variable" if shell.bash else "parameter not set"
            raise ExpansionError(f"{part.name}: {message}")
        value = ""
    if not op:
        return value
    if op in ("#", "##", "%", "%%"):
        return _trimmed(value, await pattern(shell, part.word or ()), op)
    if op in ("/", "//"):
        found = glob(await pattern(shell, part.word or ()))
        replacement = await text(shell, part.word2 or ())
        return found.replaced(value, lambda _: replacement, every=op == "//")
    if op == ":":
        start = evaluate(shell, await text(shell, part.word or ()) or "0")
        length = evaluate(shell, await text(shell, part.word2)) if part.word2 is not None else None
        begin = max(len(value) + start, 0) if start < 0 else start
        if length is None:
            return value[begin:]
        return value[begin : begin + length] if length >= 0 else value[begin:length]
    if op in ("^^", ",,"):
        return value.upper() if op == "^^" else value.lower()
    return (value[:1].upper() if op == "^" else value[:1].lower()) + value[1:]


def _trimmed(value: str, pattern: str, op: str) -> str:
    found = glob(pattern)
    if op[0] == "#":
        end = found.prefix(value, longest=op == "##")
        return value if end is None else value[end:]
    start = found.suffix(value, longest=op == "%%")
    return value if start is None else value[:start]


# -- patterns --------------------------------------------------------------------------------------------------------


def matches(value: str, pattern: str) -> bool:
    return glob(pattern).matches(value)


async def _names(process: Process, field: _Field) -> list[str]:
    """The files that a field's pattern matches, or the field itself when there is none."""
    pattern = _pattern(field)
    if not has_magic(pattern):
        return [_plain(field)]
    found = sorted(await _match_files(process, pattern))
    return found or [_plain(field)]


async def _match_files(process: Process, pattern: str) -> list[str]:
    absolute = pattern.startswith("/")
    bases = ["/" if absolute else ""]
    components = [component for component in pattern.split("/") if component]
    for index, component in enumerate(components):
        last = index == len(components) - 1
        following: list[str] = []
        for base in bases:
            if not has_magic(component):
                path = posixpath.join(base, unescaped(component))
                if process.exists(path) or (last and _is_link(process, path)):
                    following.append(path)
                continue
            try:
                names = process.listdir(base or ".")
            except OSError:
                continue
            for name in names:
                await process.cooperate()
                if matches(name, component) and (not name.startswith(".") or component.startswith((".", "\\."))):
                    path = posixpath.join(base, name)
                    if last or process.isdir(path):
                        following.append(path)
        bases = following
    return [f"{base}/" for base in bases if process.isdir(base)] if pattern.endswith("/") else bases


def _is_link(process: Process, path: str) -> bool:
    try:
        process.lstat(path)
    except OSError:
        return False
    return True


# -- arithmetic ------------------------------------------------------------------------------------------------------

_TOKEN = re.compile(
    r"\s*(0[xX][0-9a-fA-F]+|\d+|[A-Za-z_]\w*|<<=|>>=|\*\*|<<|>>|<=|>=|==|!=|&&|\|\||\+\+|--|[-+*/%&|^]=|[-+*/%<>=!~&|^?:(),])"
)
_BINARY = (
    ("||",),
    ("&&",),
    ("|",),
    ("^",),
    ("&",),
    ("==", "!="),
    ("<=", ">=", "<", ">"),
    ("<<", ">>"),
    ("+", "-"),
    ("*", "/", "%"),
)


def evaluate(shell: Shell, expression: str) -> int:
    """The value of an arithmetic expression. Raises ExpansionError."""
    tokens: list[str] = []
    at = 0
    expression = expression.rstrip()
    while at < len(expression):
        match = _TOKEN.match(expression, at)
        if match is None:
            raise ExpansionError(f"arithmetic expression: expecting EOF: {expression!r}".replace("'", '"'))
        tokens.append(match[1])
        at = match.end()
    if not tokens:
        return 0
    calculator = _Calculator(shell, tokens, expression)
    value = calculator.assignment()
    if calculator.tokens:
        raise calculator.error()
    return value


class _Calculator:
    def __init__(self, shell: Shell, tokens: list[str], expression: str) -> None:
        self.shell = shell
        self.tokens = tokens
        self.expression = expression

    def error(self) -> ExpansionError:
        return ExpansionError(f'arithmetic expression: syntax error: "{self.expression}"')

    def _next(self) -> str:
        return self.tokens[0] if self.tokens else ""

    def _take(self) -> str:
        if not self.tokens:
            raise self.error()
        return self.tokens.pop(0)

    def assignment(self) -> int:
        following = self.tokens[1] if len(self.tokens) > 1 else ""
        if self._next()[:1].isidentifier() and following in (
            "=",
            "+=",
            "-=",
            "*=",
            "/=",
            "%=",
            "&=",
            "|=",
            "^=",
            "<<=",
            ">>=",
        ):
            name, operator = self._take(), self._take()
            value = self.assignment()
            if operator != "=":
                value = self._apply(operator[:-1], self._name(name), value)
            self.shell.set(name, str(value))
            return value
        return self._conditional()

    def _conditional(self) -> int:
        condition = self._binary(0)
        if self._next() != "?":
            return condition
        self._take()
        yes = self.assignment()
        if self._take() != ":":
            raise self.error()
        no = self.assignment()
        return yes if condition else no

    def _binary(self, level: int) -> int:
        if level == len(_BINARY):
            return self._unary()
        left = self._binary(level + 1)
        while self._next() in _BINARY[level]:
            operator = self._take()
            left = self._apply(operator, left, self._binary(level + 1))
        return left

    def _apply(self, operator: str, left: int, right: int) -> int:
        if operator in ("/", "%"):
            if right == 0:
                raise ExpansionError("division by 0" if self.shell.bash else "arithmetic expression: division by zero")
            quotient = abs(left) // abs(right) * (1 if (left < 0) == (right < 0) else -1)
            return quotient if operator == "/" else left - quotient * right
        operations = {
            "||": lambda: int(bool(left or right)),
            "&&": lambda: int(bool(left and right)),
            "|": lambda: left | right,
            "^": lambda: left ^ right,
            "&": lambda: left & right,
            "==": lambda: int(left == right),
            "!=": lambda: int(left != right),
            "<=": lambda: int(left <= right),
            ">=": lambda: int(left >= right),
            "<": lambda: int(left < right),
            ">": lambda: int(left > right),
            "<<": lambda: left << (right & 63),
            ">>": lambda: left >> (right & 63),
            "+": lambda: left + right,
            "-": lambda: left - right,
            "*": lambda: left * right,
        }
        value = operations[operator]()
        return (value + (1 << 63)) % (1 << 64) - (1 << 63)  # 64 bits, as the shells have it

    def _unary(self) -> int:
        token = self._take()
        if token in ("-", "+", "!", "~"):
            value = self._unary()
            return {"-": -value, "+": value, "!": int(not value), "~": ~value}[token]
        if token in ("++", "--"):
            name = self._take()
            value = self._name(name) + (1 if token == "++" else -1)
            self.shell.set(name, str(value))
            return value
        if token == "(":
            value = self.assignment()
            if self._take() != ")":
                raise self.error()
            return value
        if token[0].isdigit():
            return _number(token)
        if token[0].isidentifier():
            value = self._name(token)
            if self._next() in ("++", "--"):
                self.shell.set(token, str(value + (1 if self._take() == "++" else -1)))
            return value
        raise self.error()

    def _name(self, name: str) -> int:
        value = (self.shell.get(name, "") or "0").strip()
        if re.fullmatch(r"[-+]?(0[xX][0-9a-fA-F]+|\d+)", value):
            return -_number(value[1:]) if value[0] == "-" else _number(value.lstrip("+"))
        raise ExpansionError(f"Illegal number: {value}")


def _number(text: str) -> int:
    if text[:2] in ("0x", "0X"):
        return int(text, 16)
    if text.startswith("0") and len(text) > 1 and all(digit in "01234567" for digit in text):
        return int(text, 8)
    return int(text)
