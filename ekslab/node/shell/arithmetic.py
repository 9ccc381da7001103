"""The shells' arithmetic: evaluates expressions with 64-bit integers."""

from __future__ import annotations

import re
from typing import Protocol

from ekslab.node.shell.errors import ExpansionError

_TOKEN = re.compile(
    r"\s*(\d+#[0-9a-zA-Z@_]*|0[xX][0-9a-fA-F]+|\d[0-9a-zA-Z]*|[A-Za-z_]\w*"
    r"|<<=|>>=|\*\*|<<|>>|<=|>=|==|!=|&&|\|\||\+\+|--|[-+*/%&|^]=|[-+*/%<>=!~&|^?:(),\[\]])"
)
_LEVELS = {
    "||": 1, "&&": 2, "|": 3, "^": 4, "&": 5, "==": 6, "!=": 6, "<=": 7, ">=": 7, "<": 7, ">": 7,
    "<<": 8, ">>": 8, "+": 9, "-": 9, "*": 10, "/": 10, "%": 10, "**": 11,
}  # fmt: skip
_ASSIGNING = frozenset(["=", "+=", "-=", "*=", "/=", "%=", "&=", "|=", "^=", "<<=", ">>="])
_DEPTH = 48
_LONGEST = 65_536
_MOST_TOKENS = 8_192


class Variables(Protocol):
    """The shell, as far as an expression needs it."""

    bash: bool
    options: dict[str, bool]

    def element(self, name: str, index: str | None) -> str | None: ...

    def parameter(self, name: str) -> str | None: ...

    def set(self, name: str, value: str, *, index: str | None = None) -> None: ...


def wrapped(value: int) -> int:
    """A number as 64 bits hold it."""
    return (value + (1 << 63)) % (1 << 64) - (1 << 63)


def evaluate(shell: Variables, expression: str, depth: int = 0) -> int:
    """The value of an expression; assignments in it are made. Raises ExpansionError."""
    return _Calculator(shell, expression, depth).value()


class _Calculator:
    def __init__(self, shell: Variables, expression: str, depth: int) -> None:
        self.shell = shell
        self.expression = expression.lstrip() if shell.bash else expression  # as error messages show it
        self.depth = depth
        self.tokens: list[tuple[str, int]] = []
        self.at = 0
        self.skipping = 0  # inside what `&&`, `||` and `?:` don't evaluate
        if len(self.expression) > _LONGEST:
            raise ExpansionError(f"embedded lab: expressions have {_LONGEST} characters at most in the lab's shell")
        if depth > _DEPTH:
            raise self.error("expression recursion level exceeded")

    def error(self, what: str, at: int | None = None) -> ExpansionError:
        if not self.shell.bash:
            why = {"division by 0": "division by zero", "missing `)'": "expecting ')'"}.get(what, "expecting primary")
            if what == "syntax error in expression":
                why = "expecting EOF"
            return ExpansionError(f'arithmetic expression: {why}: "{self.expression}"')
        start = self.tokens[self.at][1] if at is None and self.at < len(self.tokens) else at
        if start is None:
            start = self.tokens[-1][1] if self.tokens else 0
        shown = self.expression if len(self.expression) < 200 else self.expression[:200] + "..."
        return ExpansionError(f'{shown}: {what} (error token is "{self.expression[start:][:200]}")')

    def value(self) -> int:
        at, end = 0, len(self.expression.rstrip())
        while at < end:
            match = _TOKEN.match(self.expression, at)
            if match is None:
                self.at = len(self.tokens)
                raise self.error("syntax error: invalid arithmetic operator", at)
            self.tokens.append((match[1], match.start(1)))
            at = match.end()
            if len(self.tokens) > _MOST_TOKENS:
                raise ExpansionError(f"embedded lab: expressions have {_MOST_TOKENS} parts at most in the lab's shell")
        if not self.tokens:
            return 0
        value = self._comma()
        if self.at < len(self.tokens):
            what = "syntax error in expression"
            if self.tokens[self.at][0] in _ASSIGNING:
                what = "attempted assignment to non-variable"
            raise self.error(what)
        return value

    def _next(self) -> str:
        return self.tokens[self.at][0] if self.at < len(self.tokens) else ""

    def _accept(self, token: str) -> bool:
        if self._next() != token:
            return False
        self.at += 1
        return True

    def _comma(self) -> int:
        value = self._assignment()
        while self._accept(","):
            value = self._assignment()
        return value

    def _assignment(self) -> int:
        self.depth += 1
        if self.depth > _DEPTH:
            raise self.error("expression recursion level exceeded")
        start = self.at
        target = self._target()
        if target is not None and self._next() in _ASSIGNING:
            operator = self._next()
            self.at += 1
            value = self._assignment()
            if operator != "=":
                value = self._apply(operator[:-1], self._read(*target), value)
            self._write(*target, value)
        else:
            self.at = start
            value = self._conditional()
        self.depth -= 1
        return value

    def _target(self) -> tuple[str, str | None] | None:
        """A variable (or an element of an array) at the current position."""
        name = self._next()
        if not (name[:1].isalpha() or name[:1] == "_"):
            return None
        self.at += 1
        if self.shell.bash and self._next() == "[":
            depth, first = 0, self.at
            while self.at < len(self.tokens):
                token = self._next()
                self.at += 1
                depth += (token == "[") - (token == "]")
                if not depth:
                    start = self.tokens[first][1] + 1
                    return name, self.expression[start : self.tokens[self.at - 1][1]]
            raise self.error("bad array subscript")
        return name, None

    def _conditional(self) -> int:
        condition = self._binary(1)
        if not self._accept("?"):
            return condition
        self.skipping += not condition
        yes = self._assignment()
        self.skipping -= not condition
        if not self._accept(":"):
            raise self.error("`:' expected for conditional expression")
        self.skipping += bool(condition)
        no = self._assignment()
        self.skipping -= bool(condition)
        return yes if condition else no

    def _binary(self, level: int) -> int:
        left = self._unary()
        while True:
            operator = self._next()
            mine = _LEVELS.get(operator, 0)
            if mine < level or (operator == "**" and not self.shell.bash):
                return left
            self.at += 1
            if operator in ("&&", "||"):
                decided = bool(left) == (operator == "||")
                self.skipping += decided
                right = self._binary(mine + 1)
                self.skipping -= decided
                left = int(bool(left and right) if operator == "&&" else bool(left or right))
                continue
            position = self.at
            right = self._binary(mine if operator == "**" else mine + 1)
            left = self._apply(operator, left, right, position)

    def _apply(self, operator: str, left: int, right: int, position: int | None = None) -> int:
        if operator in ("/", "%"):
            if right == 0:
                if self.skipping:
                    return 0
                at = self.tokens[position][1] if position is not None and position < len(self.tokens) else None
                raise self.error("division by 0", at)
            quotient = abs(left) // abs(right) * (1 if (left < 0) == (right < 0) else -1)
            return wrapped(quotient if operator == "/" else left - quotient * right)
        if operator == "**":
            if right < 0:
                if self.skipping:
                    return 0
                raise self.error("exponent less than 0")
            return wrapped(pow(left, right, 1 << 64))
        if operator in ("<<", ">>"):
            return wrapped(left << (right & 63)) if operator == "<<" else left >> (right & 63)
        comparisons = {
            "==": left == right, "!=": left != right, "<=": left <= right,
            ">=": left >= right, "<": left < right, ">": left > right,
        }  # fmt: skip
        if operator in comparisons:
            return int(comparisons[operator])
        if operator == "+":
            return wrapped(left + right)
        if operator == "-":
            return wrapped(left - right)
        if operator == "*":
            return wrapped(left * right)
        return {"|": left | right, "^": left ^ right, "&": left & right}[operator]

    def _unary(self) -> int:
        signs: list[str] = []
        while self._next() in ("-", "+", "!", "~"):
            signs.append(self._next())
            self.at += 1
        token = self._next()
        if token in ("++", "--") and self.shell.bash:
            self.at += 1
            target = self._target()
            if target is None:
                # two signs before a number
                signs += [token[0], token[0]]
                value = self._unary()
            else:
                value = wrapped(self._read(*target) + (1 if token == "++" else -1))
                self._write(*target, value)
        else:
            value = self._primary()
        for sign in reversed(signs):
            value = {"-": -value, "+": value, "!": int(not value), "~": ~value}[sign]
        return wrapped(value)

    def _primary(self) -> int:
        token = self._next()
        if token == "(":
            self.at += 1
            value = self._comma()
            if not self._accept(")"):
                raise self.error("missing `)'")
            return value
        if token[:1].isdigit():
            value = self._number(token)
            self.at += 1
            return value
        target = self._target() if token else None
        if target is None:
            raise self.error("syntax error: operand expected")
        value = self._read(*target)
        if self.shell.bash and self._next() in ("++", "--"):
            step = 1 if self._next() == "++" else -1
            self.at += 1
            self._write(*target, wrapped(value + step))
        return value

    def _number(self, token: str) -> int:
        if len(token) > 128:
            token = token[-128:] if not token.startswith("0x") else token
        base, hash_mark, digits = token.partition("#")
        if hash_mark:
            radix = int(base)
            if not 2 <= radix <= 64:
                raise self.error("invalid arithmetic base")
            if not digits:
                raise self.error("invalid integer constant")
        elif token[:2] in ("0x", "0X"):
            radix, digits = 16, token[2:]
        elif token.startswith("0") and len(token) > 1:
            radix, digits = 8, token[1:]
        else:
            radix, digits = 10, token
        value = 0
        for digit in digits:
            place = _digit(digit, radix)
            if place >= radix:
                if not self.shell.bash:
                    raise self.error("syntax error in expression")
                raise self.error("value too great for base")
            value = (value * radix + place) & ((1 << 64) - 1)
        return wrapped(value)

    def _read(self, name: str, subscript: str | None) -> int:
        if self.skipping:
            return 0
        text = self.shell.element(name, subscript) if subscript is not None else self.shell.parameter(name)
        if text is None and self.shell.options.get("nounset"):
            raise ExpansionError(f"{name}: {'unbound variable' if self.shell.bash else 'parameter not set'}")
        text = (text or "").strip()
        if not text:
            return 0
        if text.isdigit() and text.isascii() and len(text) < 19 and text[0] != "0":
            return int(text)
        if not self.shell.bash and not re.fullmatch(r"[-+]?(0[xX][0-9a-fA-F]+|\d+)", text):
            raise ExpansionError(f"Illegal number: {text}")
        return evaluate(self.shell, text, self.depth + 4)

    def _write(self, name: str, subscript: str | None, value: int) -> None:
        if not self.skipping:
            self.shell.set(name, str(value), index=subscript)


def _digit(character: str, radix: int) -> int:
    if character.isdigit():
        return int(character)
    if "a" <= character <= "z":
        return ord(character) - 87
    if "A" <= character <= "Z":
        return ord(character) - (55 if radix <= 36 else 29)
    return 62 if character == "@" else 63
