"""awk, as mawk has it: a parser to nested tuples, and an interpreter of them over a process's system calls."""

from __future__ import annotations

import math
import posixpath
import random
import re
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from ekslab.node import abi
from ekslab.node.dates import formatted
from ekslab.node.kernel import ProcessExit
from ekslab.node.patterns import PatternError, Regex, regex
from ekslab.node.process import Process
from ekslab.node.programs import program
from ekslab.node.shell.quoting import unescape
from ekslab.node.userland.options import parse
from ekslab.node.userland.show import emit, line_batches

Tree = tuple[Any, ...]
_DEEPEST = 100  # calls of functions, and nested expressions
_MOST_FIELDS = 100_000


class _Input(str):
    """Text that came from outside: it counts as a number if it looks like one."""

    __slots__ = ()


Value = float | str | None  # None: a variable that was never set

_TOKEN = re.compile(
    r"""
    (?P<blank>[ \t\r]+|\\\n|\#[^\n]*)
  | (?P<newline>\n)
  | (?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)
  | (?P<string>"(?:\\.|[^"\\\n])*")
  | (?P<call>[A-Za-z_]\w*\()
  | (?P<name>[A-Za-z_]\w*)
  | (?P<mark>\+\+|--|\+=|-=|\*=|/=|%=|\^=|==|<=|>=|!=|!~|&&|\|\||>>|[-+*/%^!<>|?:=~,;{}()\[\]$])
    """,
    re.VERBOSE | re.DOTALL,
)
_WORDS = """
BEGIN END function func if else while for do break continue next nextfile exit return delete in getline print printf
"""
_FUNCTIONS = """
length substr index split sub gsub match sprintf sin cos atan2 exp log sqrt int rand srand tolower toupper system close
fflush systime strftime
"""
_KEYWORDS, _BUILTINS = frozenset(_WORDS.split()), frozenset(_FUNCTIONS.split())


class _Wrong(Exception):
    """A program that isn't awk, or goes wrong when it runs."""


class _Next(Exception):
    pass


class _Break(Exception):
    pass


class _Continue(Exception):
    pass


class _Exit(Exception):
    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class _Return(Exception):
    def __init__(self, value: Value) -> None:
        super().__init__(value)
        self.value = value


# -- the parser -------------------------------------------------------------------------------------------------------


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.depth = 0
        self.kind = self.word = ""
        self.functions: dict[str, tuple[list[str], Tree]] = {}
        self.begin: list[Tree] = []
        self.end: list[Tree] = []
        self.rules: list[tuple[Tree | None, Tree | None, Tree | None]] = []
        self._advance()

    def _advance(self) -> str:
        """Moves to the next token; returns the one before."""
        old = self.word
        while True:
            if self.at >= len(self.text):
                self.kind, self.word = "end", ""
                return old
            match = _TOKEN.match(self.text, self.at)
            if match is None:
                raise _Wrong(f"line {self._line()}: syntax error at or near {self.text[self.at]}")
            self.at = match.end()
            if match.lastgroup != "blank":
                break
        self.kind, self.word = str(match.lastgroup), match[0]
        if self.kind == "name" and self.word in _KEYWORDS:
            self.kind = "keyword"
        elif self.kind == "call" and self.word[:-1] in _KEYWORDS:
            self.kind, self.word, self.at = "keyword", self.word[:-1], self.at - 1
        elif self.kind == "call" and self.word[:-1] in _BUILTINS:
            self.kind, self.word, self.at = "builtin", self.word[:-1], self.at - 1
        elif self.kind == "name" and self.word in _BUILTINS:
            self.kind = "builtin"
        return old

    def _line(self) -> int:
        return self.text.count("\n", 0, self.at) + 1

    def _is(self, *words: str) -> bool:
        return self.word in words and self.kind in ("mark", "keyword", "newline")

    def _take(self, word: str) -> bool:
        if self._is(word):
            self._advance()
            return True
        return False

    def _need(self, word: str) -> None:
        if not self._take(word):
            raise self._unexpected()

    def _unexpected(self) -> _Wrong:
        """What mawk says of the token that it can't use here: first that a parenthesis or brace isn't closed."""
        marks = [
            match[0][-1:] for match in _TOKEN.finditer(self.text, 0, self.at) if match.lastgroup in ("mark", "call")
        ]
        if self.word:
            marks = marks[:-1] if self.kind == "mark" else marks
        parentheses, braces = (marks.count(one) - marks.count(other) for one, other in ("()", "{}"))
        shown = self.word.strip() or ("end of file" if self.kind == "end" else "end of line")
        line = self._line()
        if parentheses > 0 and (self.kind in ("end", "newline") or self._is(";", "}")):
            return _Wrong(f"line {line}: missing ) near {'end of line' if self.kind == 'end' else shown}")
        if braces > 0 and (self.kind == "end" or self._is("BEGIN", "END")):
            return _Wrong(f"line {line + (self.kind == 'end')}: missing }} near {shown}")
        return _Wrong(f"line {line}: syntax error at or near {shown}")

    def _blank_lines(self, *, semicolons: bool = False) -> None:
        while self.kind == "newline" or (semicolons and self._is(";")):
            self._advance()

    def program(self) -> None:
        self._blank_lines(semicolons=True)
        while self.kind != "end":
            if self._is("function", "func"):
                self._function()
            elif self._is("BEGIN", "END"):
                which = self.begin if self._advance() == "BEGIN" else self.end
                which.append(self._block())
            else:
                first = second = None
                if not self._is("{"):
                    first = self._expression()
                    if self._take(","):
                        self._blank_lines()
                        second = self._expression()
                self.rules.append((first, second, self._block() if self._is("{") else None))
            self._blank_lines(semicolons=True)

    def _function(self) -> None:
        self._advance()
        name = self._advance().rstrip("(")
        if self.text[self.at - 1 : self.at] != "(" and self._is("("):
            self._advance()
        parameters = []
        while not self._is(")"):
            parameters.append(self._advance())
            if not self._take(","):
                break
        self._need(")")
        self._blank_lines()
        self.functions[name] = (parameters, self._block())

    def _block(self) -> Tree:
        self._need("{")
        statements = []
        self._blank_lines(semicolons=True)
        while not self._is("}"):
            if self.kind == "end":
                raise self._unexpected()
            statements.append(self._statement())
            self._blank_lines(semicolons=True)
        self._advance()
        return ("block", statements)

    def _body(self) -> Tree:
        self._blank_lines()
        if self._take(";"):
            return ("block", [])
        return self._statement()

    def _statement(self) -> Tree:
        self.depth += 1
        if self.depth > _DEEPEST:
            raise _Wrong("embedded lab: the program is nested too deeply")
        try:
            return self._one_statement()
        finally:
            self.depth -= 1

    def _one_statement(self) -> Tree:
        if self._is("{"):
            return self._block()
        if self.kind == "keyword" and self.word not in ("getline", "in"):
            method = getattr(self, f"_{self.word}_statement", None)
            if method is None:
                raise self._unexpected()
            return method()  # type: ignore[no-any-return]
        return self._simple_end(("expression", self._expression()))

    def _simple_end(self, tree: Tree) -> Tree:
        if not (self._is(";", "}") or self.kind in ("newline", "end")):
            raise self._unexpected()
        if self._is(";"):
            self._advance()
        return tree

    def _if_statement(self) -> Tree:
        self._advance()
        self._need("(")
        test = self._expression()
        self._need(")")
        then = self._body()
        mark = (self.at, self.kind, self.word)
        self._blank_lines(semicolons=True)
        if self._take("else"):
            return ("if", test, then, self._body())
        self.at, self.kind, self.word = mark
        return ("if", test, then, None)

    def _while_statement(self) -> Tree:
        self._advance()
        self._need("(")
        test = self._expression()
        self._need(")")
        return ("while", test, self._body())

    def _do_statement(self) -> Tree:
        self._advance()
        body = self._body()
        self._blank_lines(semicolons=True)
        self._need("while")
        self._need("(")
        test = self._expression()
        self._need(")")
        return self._simple_end(("do", body, test))

    def _for_statement(self) -> Tree:
        self._advance()
        self._need("(")
        looping = re.compile(r"\s*([A-Za-z_]\w*)\s+in\s+([A-Za-z_]\w*)\s*\)")
        start = self.at - len(self.word)
        if self.kind == "name" and (match := looping.match(self.text, start)):
            self.at = match.end()
            self._advance()
            return ("for-in", match[1], match[2], self._body())
        first = None if self._is(";") else self._expression()
        self._need(";")
        self._blank_lines()
        test = None if self._is(";") else self._expression()
        self._need(";")
        self._blank_lines()
        step = None if self._is(")") else self._expression()
        self._need(")")
        return ("for", first, test, step, self._body())

    def _word_statement(self) -> Tree:
        return self._simple_end((self._advance(),))

    _break_statement = _continue_statement = _next_statement = _nextfile_statement = _word_statement

    def _value_statement(self) -> Tree:
        word = self._advance()
        empty = self._is(";", "}") or self.kind in ("newline", "end")
        return self._simple_end((word, None if empty else self._expression()))

    _exit_statement = _return_statement = _value_statement

    def _delete_statement(self) -> Tree:
        self._advance()
        name = self._advance()
        if not self._take("["):
            return self._simple_end(("delete", name, None))
        index = self._list("]")
        return self._simple_end(("delete", name, index))

    def _print_statement(self) -> Tree:
        word = self._advance()
        items: list[Tree] = []
        if not (self._is(";", "}", ">", ">>", "|") or self.kind in ("newline", "end")):
            items = self._print_items()
        target = None
        if self._is(">", ">>", "|"):
            mark = self._advance()
            target = (mark, self._concatenation())
        if word == "printf" and not items:
            raise _Wrong(f"line {self._line()}: no arguments in call to printf")
        return self._simple_end((word, items, target))

    _printf_statement = _print_statement

    def _print_items(self) -> list[Tree]:
        """The items of print: a list in parentheses, or expressions in which `>` is no comparison."""
        if self._is("("):
            mark = (self.at, self.kind, self.word)
            self._advance()
            items = self._list(")")
            if self._is(";", "}", ">", ">>", "|") or self.kind in ("newline", "end"):
                return items
            self.at, self.kind, self.word = mark
        items = [self._expression(no_greater=True)]
        while self._take(","):
            self._blank_lines()
            items.append(self._expression(no_greater=True))
        return items

    def _list(self, end: str) -> list[Tree]:
        """Expressions and what ends them; a subscript (`]`) has at least one."""
        items: list[Tree] = []
        self._blank_lines()
        more = end == "]" or not self._is(end)
        while more:
            items.append(self._expression())
            self._blank_lines()
            more = self._take(",")
            if more:
                self._blank_lines()
        self._need(end)
        return items

    # -- expressions, from the weakest operator to the strongest -------------------------------------------------------

    def _expression(self, *, no_greater: bool = False, no_in: bool = False) -> Tree:
        self.depth += 1
        if self.depth > _DEEPEST:
            raise _Wrong("embedded lab: the program is nested too deeply")
        try:
            return self._ternary(no_greater, no_in)
        finally:
            self.depth -= 1

    def _ternary(self, no_greater: bool, no_in: bool) -> Tree:
        test = self._or(no_greater, no_in)
        if self._is("?"):
            self._advance()
            self._blank_lines()
            yes = self._expression(no_greater=no_greater)
            self._blank_lines()
            self._need(":")
            self._blank_lines()
            return ("?", test, yes, self._expression(no_greater=no_greater))
        if self._is("=", "+=", "-=", "*=", "/=", "%=", "^=") and test[0] in ("name", "item", "$"):
            operator = self._advance()
            self._blank_lines()
            return ("assign", operator[:-1], test, self._expression(no_greater=no_greater))
        return test

    def _or(self, no_greater: bool, no_in: bool) -> Tree:
        left = self._and(no_greater, no_in)
        while self._is("||"):
            self._advance()
            self._blank_lines()
            left = ("||", left, self._and(no_greater, no_in))
        return left

    def _and(self, no_greater: bool, no_in: bool) -> Tree:
        left = self._membership(no_greater, no_in)
        while self._is("&&"):
            self._advance()
            self._blank_lines()
            left = ("&&", left, self._membership(no_greater, no_in))
        return left

    def _membership(self, no_greater: bool, no_in: bool) -> Tree:
        left = self._matching(no_greater)
        while self._is("in") and not no_in:
            self._advance()
            left = ("in", [left] if left[0] != "group" else left[1], self._advance())
        return left

    def _matching(self, no_greater: bool) -> Tree:
        left = self._comparison(no_greater)
        while self._is("~", "!~"):
            operator = self._advance()
            left = (operator, left, self._comparison(no_greater))
        return left

    def _comparison(self, no_greater: bool) -> Tree:
        left = self._concatenation()
        while self._is("<", "<=", "==", "!=", ">=", ">", "|"):
            if self._is(">") and no_greater:
                break
            if self._is("|"):
                if not re.match(r"\s*getline\b", self.text[self.at :]):
                    break
                self._advance()
                self._advance()
                left = ("getline", self._target(), "|", left)
                continue
            operator = self._advance()
            left = (operator, left, self._concatenation())
        return left

    def _concatenation(self) -> Tree:
        left = self._additive()
        while (
            self.kind in ("number", "string", "name", "call", "builtin")
            or self._is("$", "!", "(", "-", "+", "++", "--")
        ) and not self._is("in"):
            left = ("join", left, self._additive())
        return left

    def _additive(self) -> Tree:
        left = self._multiplicative()
        while self._is("+", "-"):
            operator = self._advance()
            left = (operator, left, self._multiplicative())
        return left

    def _multiplicative(self) -> Tree:
        left = self._unary()
        while self._is("*", "/", "%"):
            operator = self._advance()
            left = (operator, left, self._unary())
        return left

    def _unary(self) -> Tree:
        if self._is("!", "-", "+"):
            return ("unary", self._advance(), self._unary())
        return self._power()

    def _power(self) -> Tree:
        left = self._postfix()
        if self._is("^"):
            self._advance()
            return ("^", left, self._unary())
        return left

    def _postfix(self) -> Tree:
        tree = self._primary()
        if self._is("++", "--") and tree[0] in ("name", "item", "$"):
            return ("post", self._advance(), tree)
        return tree

    def _target(self) -> Tree | None:
        """What getline sets, if anything follows it."""
        if self.kind == "name" or self._is("$"):
            return self._primary()
        return None

    def _primary(self) -> Tree:
        kind, word = self.kind, self.word
        if kind == "number":
            self._advance()
            return ("constant", float(word))
        if kind == "string":
            self._advance()
            return ("constant", _text(word[1:-1]))
        if kind == "mark" and word in ("/", "/="):
            return ("regex", self._regex())
        if self._take("$"):
            return ("$", self._dollar())
        if self._is("++", "--"):
            operator = self._advance()
            return ("pre", operator, self._primary())
        if self._is("!", "-", "+"):
            return ("unary", self._advance(), self._primary())
        if self._take("("):
            items = self._list(")")
            if len(items) > 1:
                return ("group", items)
            if not items:
                raise _Wrong(f"line {self._line()}: syntax error at or near )")
            return ("parens", items[0])
        if self._is("getline"):
            self._advance()
            target = self._target()
            if self._take("<"):
                return ("getline", target, "<", self._postfix())
            return ("getline", target, "", None)
        if kind == "builtin":
            self._advance()
            return ("builtin", word, self._list(")") if self._take("(") else None)
        if kind == "call":
            self._advance()
            return ("call", word[:-1], self._list(")"))
        if kind == "name":
            self._advance()
            if self._take("["):
                return ("item", word, self._list("]"))
            return ("name", word)
        raise self._unexpected()

    def _dollar(self) -> Tree:
        if self._is("++", "--"):
            return ("pre", self._advance(), self._primary())
        if self._is("-"):
            return ("unary", self._advance(), self._primary())
        return self._primary()

    def _regex(self) -> str:
        start = self.at - len(self.word) + 1
        match = re.compile(r"((?:\\.|\[\^?\]?[^\]\n]*\]|[^/\\\n\[])*)/").match(self.text, start)
        if match is None:
            raise _Wrong(f"line {self._line()}: regular expression lacks its /")
        self.at = match.end()
        self._advance()
        return match[1].replace("\\/", "/")


def _text(raw: str) -> str:
    return unescape(raw.replace('\\"', '"').replace("\\/", "/")) if "\\" in raw else raw


# -- values -----------------------------------------------------------------------------------------------------------

_NUMBER = re.compile(r"\s*[-+]?(0[xX][0-9a-fA-F]+|\d+\.?\d*([eE][-+]?\d+)?|\.\d+([eE][-+]?\d+)?)")


def _number(value: Value) -> float:
    if value is None:
        return 0.0
    if isinstance(value, float):
        return value
    match = _NUMBER.match(value[:64])
    if match is None:
        return 0.0
    text = match[0].strip()
    return float(int(text, 16)) if "x" in text.lower() else float(text)


def _looks_numeric(value: str) -> bool:
    return len(value) < 64 and (match := _NUMBER.match(value)) is not None and not value[match.end() :].strip()


def _string(value: Value, form: str = "%.6g") -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return str(value)
    if math.isinf(value) or math.isnan(value):
        return ("-" if value < 0 else "") + ("inf" if math.isinf(value) else "nan")
    return str(int(value)) if value == int(value) and abs(value) < 1e16 else _format(form, [value])


def _true(value: Value) -> bool:
    if value is None:
        return False
    if isinstance(value, float):
        return value != 0
    if isinstance(value, _Input) and _looks_numeric(value):
        return _number(value) != 0
    return value != ""


def _numeric(value: Value) -> bool:
    return not isinstance(value, str) or (isinstance(value, _Input) and _looks_numeric(value))


_SPECIFIER = re.compile(r"%([-+ #0]*)(\*|\d+)?(?:\.(\*|\d*))?(?:hh|h|ll|l|L)?([diouxXcseEfFgGaA%])")


def _format(form: str, values: list[Value]) -> str:
    """printf's formats."""
    rest: Iterator[Any] = iter(values)
    missing: Any = object()

    def replace(match: re.Match[str]) -> str:
        flags, width, places, letter = match.groups()
        if letter == "%":
            return "%"
        width = str(int(_number(next(rest, None)))) if width == "*" else width or ""
        places = str(int(_number(next(rest, None)))) if places == "*" else places
        if len(width) > 4 or len(places or "") > 4:
            raise _Wrong("embedded lab: a field of printf is 9999 wide at most")
        value: Any = next(rest, missing)
        if value is missing:
            raise _Wrong(f'run time error: not enough arguments passed to printf("{form}")')
        spec = f"%{flags}{width}" + (f".{places or 0}" if places is not None else "")
        if letter == "c":
            one = chr(int(value) & 0x10FFFF) if isinstance(value, float) else _string(value)[:1]
            return f"%{flags.replace('0', '')}{width}s" % one
        if letter == "s":
            return f"{spec}s" % _string(value)
        number = _number(value)
        if letter in "diouxX":
            if math.isinf(number) or math.isnan(number):
                return f"%{flags}{width}s" % _string(number)
            return f"{spec}{'d' if letter in 'iu' else letter}" % int(number)
        return f"{spec}{letter if letter not in 'aA' else 'g'}" % number

    return _SPECIFIER.sub(replace, form)


# -- the interpreter --------------------------------------------------------------------------------------------------


class _Stream:
    """A file or pipe that the program writes or reads."""

    def __init__(self, fd: int, child: Process | None = None, lines: AsyncIterator[list[bytes]] | None = None) -> None:
        self.fd = fd
        self.child = child
        self.lines = lines
        self.ready: list[bytes] = []


class _Awk:
    def __init__(self, p: Process, parser: _Parser, names: list[str]) -> None:
        self.p = p
        self.functions = parser.functions
        self.parser = parser
        self.names = names
        self.globals: dict[str, Value] = {
            "FS": " ",
            "OFS": " ",
            "ORS": "\n",
            "RS": "\n",
            "NR": 0.0,
            "FNR": 0.0,
            "SUBSEP": "\x1c",
            "CONVFMT": "%.6g",
            "OFMT": "%.6g",
            "RSTART": 0.0,
            "RLENGTH": -1.0,
            "FILENAME": None,
        }
        self.arrays: dict[str, dict[str, Value]] = {"ENVIRON": {k: _Input(v) for k, v in p.env.items()}}
        self.locals: list[dict[str, Any]] = []
        self.record = ""
        self.fields: list[str] | None = []
        self.streams: dict[str, _Stream] = {}
        self.source: AsyncIterator[list[bytes]] | None = None
        self.ready: list[bytes] = []
        self.in_range: set[int] = set()
        self.status = 0
        self.seed, self.random = 0.0, random.Random(0)
        self.pending: list[str] = []
        self.pending_size = 0

    # -- input ---------------------------------------------------------------------------------------------------------

    async def next_record(self) -> bool:
        """Reads the next line of the files that were named."""
        while True:
            if self.ready:
                self.set_record(_Input(self.ready.pop(0).decode("utf-8", "surrogateescape")))
                for name in ("NR", "FNR"):
                    self.globals[name] = _number(self.globals[name]) + 1
                return True
            if self.source is not None:
                try:
                    batch = await anext(self.source)
                    self.ready = list(batch)
                    continue
                except StopAsyncIteration:
                    self.source = None
                except OSError as exc:
                    self.p.fail(f"cannot open {self.globals['FILENAME']} ({exc.strerror})", 2)
                    self.status, self.source = 2, None
            if not self.names:
                return False
            name = self.names.pop(0)
            variable, equals, value = name.partition("=")
            if equals and re.fullmatch(r"[A-Za-z_]\w*", variable):
                self.globals[variable] = _Input(_text(value))
                continue
            self.globals["FILENAME"], self.globals["FNR"] = name, 0.0
            self.source = self._records(name)

    async def _records(self, name: str) -> AsyncIterator[list[bytes]]:
        separator = _string(self.globals["RS"])
        if separator == "\n":
            async for batch in line_batches(self.p, name):
                yield batch
            return
        if separator == "":
            paragraph: list[bytes] = []
            async for batch in line_batches(self.p, name):
                for line in batch:
                    if line:
                        paragraph.append(line)
                    elif paragraph:
                        yield [b"\n".join(paragraph)]
                        paragraph = []
            if paragraph:
                yield [b"\n".join(paragraph)]
            return
        if len(separator) > 1:
            raise _Wrong("embedded lab: the lab's awk has one character as RS, or none")
        async for batch in line_batches(self.p, name, separator.encode("utf-8", "surrogateescape")):
            yield batch

    def set_record(self, text: str) -> None:
        self.record, self.fields = text, None

    def split(self) -> list[str]:
        if self.fields is None:
            self.fields = self.parts(self.record, _string(self.globals["FS"]), paragraph=self.globals["RS"] == "")
        return self.fields

    def parts(self, text: str, separator: str, *, paragraph: bool = False) -> list[str]:
        if not text:
            return []
        if separator == " ":
            return [_Input(part) for part in text.split()]
        if paragraph:
            separator = f"\n|{separator}"
        if len(separator) == 1 and separator != "\\":
            return [_Input(part) for part in text.split(separator)]
        if not separator:
            return [_Input(character) for character in text]
        fields, at = [], 0
        for found in self.pattern(separator).finditer(text):
            start, end = found.span()
            if end > start:
                fields.append(_Input(text[at:start]))
                at = end
        return [*fields, _Input(text[at:])]

    @staticmethod
    def pattern(text: str) -> Regex[str]:
        return regex(text)

    def field(self, index: int) -> Value:
        if index == 0:
            return self.record if isinstance(self.record, _Input) else _Input(self.record)
        if index < 0:
            raise _Wrong(f"negative field index ${index}")
        fields = self.split()
        return fields[index - 1] if index <= len(fields) else _Input("")

    def set_field(self, index: int, value: Value) -> None:
        if index == 0:
            self.set_record(_Input(_string(value)))
            return
        if not 0 < index <= _MOST_FIELDS:
            raise _Wrong(f"field index ${index} is out of range")
        fields = self.split()
        fields.extend([_Input("")] * (index - len(fields)))
        text = self.text(value)
        fields[index - 1] = _Input(text) if isinstance(value, _Input) else text
        self.record = _Input(self.text(self.globals["OFS"]).join(fields))

    # -- variables -----------------------------------------------------------------------------------------------------

    def text(self, value: Value) -> str:
        return value if isinstance(value, str) else _string(value, _string(self.globals["CONVFMT"]))

    def get(self, name: str) -> Value:
        if self.locals and name in self.locals[-1]:
            value = self.locals[-1][name]
            return None if isinstance(value, dict) else value
        if name == "NF":
            return float(len(self.split()))
        return self.globals.get(name)

    def set(self, name: str, value: Value) -> None:
        if self.locals and name in self.locals[-1]:
            self.locals[-1][name] = value
        elif name == "NF":
            count = min(int(_number(value)), _MOST_FIELDS)
            fields = self.split()
            self.fields = (fields + [_Input("")] * (count - len(fields)))[: max(count, 0)]
            self.record = _Input(self.text(self.globals["OFS"]).join(self.fields))
        else:
            self.globals[name] = value

    def array(self, name: str) -> dict[str, Value]:
        if self.locals and name in self.locals[-1]:
            value = self.locals[-1][name]
            if not isinstance(value, dict):
                value = self.locals[-1][name] = {}
            return value
        return self.arrays.setdefault(name, {})

    async def index(self, items: list[Tree]) -> str:
        return self.text(self.globals["SUBSEP"]).join([self.text(await self.value(item)) for item in items])

    async def assign(self, target: Tree, value: Value) -> None:
        if target[0] == "name":
            self.set(target[1], value)
        elif target[0] == "item":
            key = await self.index(target[2])
            array = self.array(target[1])
            if key not in array:
                self.p.charge(len(key) + 96)
            array[key] = value
        elif target[0] == "$":
            self.set_field(int(_number(await self.value(target[1]))), value)
        else:
            raise _Wrong("assignment to something that is no variable")

    # -- expressions ---------------------------------------------------------------------------------------------------

    async def value(self, tree: Tree) -> Value:
        kind = tree[0]
        if kind == "constant":
            return tree[1]  # type: ignore[no-any-return]
        if kind == "name":
            return self.get(tree[1])
        if kind == "$":
            return self.field(int(_number(await self.value(tree[1]))))
        if kind == "parens":
            return await self.value(tree[1])
        if kind == "item":
            key = await self.index(tree[2])
            return self.array(tree[1]).setdefault(key, None)
        if kind == "regex":
            return float(self.pattern(tree[1]).search(self.record) is not None)
        if kind in ("~", "!~"):
            wanted = await self.as_pattern(tree[2])
            found = wanted.search(self.text(await self.value(tree[1]))) is not None
            return float(found == (kind == "~"))
        if kind == "join":
            return self.text(await self.value(tree[1])) + self.text(await self.value(tree[2]))
        if kind in ("&&", "||"):
            left = _true(await self.value(tree[1]))
            if left == (kind == "||"):
                return float(left)
            return float(_true(await self.value(tree[2])))
        if kind == "?":
            return await self.value(tree[2] if _true(await self.value(tree[1])) else tree[3])
        if kind == "unary":
            value = await self.value(tree[2])
            if tree[1] == "!":
                return float(not _true(value))
            return -_number(value) if tree[1] == "-" else _number(value)
        if kind in ("<", "<=", "==", "!=", ">", ">="):
            return self._compared(kind, await self.value(tree[1]), await self.value(tree[2]))
        if kind in ("+", "-", "*", "/", "%", "^"):
            return _calculated(kind, _number(await self.value(tree[1])), _number(await self.value(tree[2])))
        if kind == "assign":
            value = await self.value(tree[3])
            if tree[1]:
                value = _calculated(tree[1], _number(await self.value(tree[2])), _number(value))
            await self.assign(tree[2], value)
            return value
        if kind in ("pre", "post"):
            old = _number(await self.value(tree[2]))
            new = old + (1 if tree[1] == "++" else -1)
            await self.assign(tree[2], new)
            return new if kind == "pre" else old
        if kind == "in":
            return float(await self.index(tree[1]) in self.array(tree[2]))
        if kind == "builtin":
            return await self.builtin(tree[1], tree[2])
        if kind == "call":
            return await self.call(tree[1], tree[2])
        if kind == "getline":
            return await self.getline(tree[1], tree[2], tree[3])
        raise _Wrong("syntax error at or near ,")

    def _compared(self, operator: str, left: Value, right: Value) -> float:
        one: Any
        two: Any
        if _numeric(left) and _numeric(right):
            one, two = _number(left), _number(right)
        else:
            one, two = self.text(left), self.text(right)
        return float(
            {
                "<": one < two,
                "<=": one <= two,
                "==": one == two,
                "!=": one != two,
                ">": one > two,
                ">=": one >= two,
            }[operator]
        )

    async def as_pattern(self, tree: Tree) -> Regex[str]:
        return self.pattern(tree[1] if tree[0] == "regex" else self.text(await self.value(tree)))

    async def call(self, name: str, arguments: list[Tree]) -> Value:
        if name not in self.functions:
            raise _Wrong(f"function {name} never defined")
        if len(self.locals) > _DEEPEST:
            raise _Wrong("embedded lab: functions call each other too deeply")
        parameters, body = self.functions[name]
        scope: dict[str, Any] = {}
        for index, parameter in enumerate(parameters):
            tree = arguments[index] if index < len(arguments) else None
            if tree is not None and tree[0] == "name" and self._is_array(tree[1]):
                scope[parameter] = self.array(tree[1])
            elif tree is not None and tree[0] == "name" and self.get(tree[1]) is None and tree[1] not in self.globals:
                scope[parameter] = self.array(tree[1]) if self._used_as_array(body, parameter) else None
            else:
                scope[parameter] = await self.value(tree) if tree is not None else None
        await self.p.cooperate()
        self.locals.append(scope)
        try:
            await self.run(body)
        except _Return as exc:
            return exc.value
        finally:
            self.locals.pop()
        return None

    def _is_array(self, name: str) -> bool:
        if self.locals and name in self.locals[-1]:
            return isinstance(self.locals[-1][name], dict)
        return name in self.arrays

    def _used_as_array(self, tree: Any, name: str) -> bool:
        if isinstance(tree, tuple):
            if tree[:2] in (("item", name), ("delete", name)) or (tree[:1] in (("in",), ("for-in",)) and name in tree):
                return True
            if tree[:2] == ("builtin", "split") and tree[2] and tree[2][1:2] == [("name", name)]:
                return True
        return isinstance(tree, tuple | list) and any(self._used_as_array(part, name) for part in tree)

    async def builtin(self, name: str, trees: list[Tree] | None) -> Value:
        if name == "length":
            if not trees:
                return float(len(self.record))
            if trees[0][0] == "name" and self._is_array(trees[0][1]):
                return float(len(self.array(trees[0][1])))
            return float(len(self.text(await self.value(trees[0]))))
        if name in ("sub", "gsub", "match", "split"):
            return await self._on_text(name, trees or [])
        values = [await self.value(tree) for tree in trees or []]
        first = values[0] if values else None
        if name in _MATHS:
            return _maths(name, values)
        if name == "substr":
            text, start = self.text(first), _number(values[1] if len(values) > 1 else 1.0)
            begin = round(start) - 1
            end = begin + round(_number(values[2])) if len(values) > 2 else len(text)
            return text[max(begin, 0) : max(end, 0)]
        if name == "index":
            return float(self.text(first).find(self.text(values[1] if len(values) > 1 else None)) + 1)
        if name == "sprintf":
            return _format(self.text(first), values[1:])
        if name in ("tolower", "toupper"):
            return self.text(first).lower() if name == "tolower" else self.text(first).upper()
        if name == "rand":
            return self.random.random()
        if name == "srand":
            old, self.seed = self.seed, _number(first) if values else float(self.p.kernel.now() // 1_000_000_000)
            self.random = random.Random(self.seed)
            return old
        if name == "systime":
            return float(self.p.kernel.now() // 1_000_000_000)
        if name == "strftime":
            moment = int(_number(values[1]) * 1e9) if len(values) > 1 else self.p.kernel.now()
            return formatted(moment, self.text(first) if values else "%c")
        if name == "close":
            return await self.close(self.text(first))
        await self.flush()
        if name == "system":
            return float(await self.p.wait(self._shell(self.text(first))))
        return 0.0  # fflush

    async def _on_text(self, name: str, trees: list[Tree]) -> Value:
        if name == "match":
            found = (await self.as_pattern(trees[1])).search(self.text(await self.value(trees[0])))
            start, end = found.span() if found is not None else (-1, -2)
            self.globals["RSTART"], self.globals["RLENGTH"] = float(start + 1), float(end - start)
            return float(start + 1)
        if name == "split":
            text = self.text(await self.value(trees[0]))
            if len(trees) > 2:
                separator = trees[2][1] if trees[2][0] == "regex" else self.text(await self.value(trees[2]))
            else:
                separator = _string(self.globals["FS"])
            parts = self.parts(text, separator)
            array = self.array(trees[1][1])
            array.clear()
            array.update({str(index): part for index, part in enumerate(parts, 1)})
            return float(len(parts))
        target = trees[2] if len(trees) > 2 else ("$", ("constant", 0.0))
        pattern, replacement = await self.as_pattern(trees[0]), self.text(await self.value(trees[1]))
        text = self.text(await self.value(target))
        made, at, count = [], 0, 0
        for found in pattern.finditer(text):
            start, end = found.span()
            if count and start == end == at:
                continue
            made += [text[at:start], _replaced(replacement, text[start:end])]
            at, count = end, count + 1
            if name == "sub":
                break
        if count:
            await self.assign(target, "".join([*made, text[at:]]))
        return float(count)

    # -- files and commands --------------------------------------------------------------------------------------------

    def _shell(self, command: str, stdin: int | None = None, stdout: int | None = None) -> Process:
        executable = self.p.loaded("/bin/sh", ["sh", "-c", command])
        own = [stream.fd for stream in self.streams.values() if stream.fd > 2]

        async def main(child: Process) -> int:
            for source, fd in ((stdin, 0), (stdout, 1)):
                if source is not None:
                    child.dup2(source, fd)
            for fd in {fd for fd in (stdin, stdout, *own) if fd is not None and fd > 2}:
                if fd in child.fds:
                    child.close(fd)
            return await child.run_executable(executable)

        return self.p.fork(main)

    async def getline(self, target: Tree | None, mark: str, source: Tree | None) -> float:
        if not mark:
            if not await self.next_record():
                return 0.0
            if target is not None:
                await self.assign(target, _Input(self.record))
            return 1.0
        assert source is not None
        name = self.text(await self.value(source))
        key = f"{mark}{name}"
        if key not in self.streams:
            await self.flush()
            try:
                self.streams[key] = self._reader(mark, name)
            except OSError:
                return -1.0
        stream = self.streams[key]
        while not stream.ready:
            if stream.lines is None:
                return 0.0
            try:
                stream.ready = list(await anext(stream.lines))
            except StopAsyncIteration:
                return 0.0
            except OSError:
                return -1.0
        line = _Input(stream.ready.pop(0).decode("utf-8", "surrogateescape"))
        if mark == "|":
            self.globals["NR"] = _number(self.globals["NR"]) + 1
        if target is not None:
            await self.assign(target, line)
        else:
            self.set_record(line)
        return 1.0

    def _reader(self, mark: str, name: str) -> _Stream:
        if mark == "<":
            fd = 0 if name == "-" else self.p.open(name)
            return _Stream(fd, lines=_lines_of(self.p, fd))
        reading, writing = self.p.pipe()
        child = self._shell(name, stdout=writing)
        self.p.close(writing)
        return _Stream(reading, child, _lines_of(self.p, reading))

    async def close(self, name: str) -> float:
        await self.flush()
        status = -1.0
        for key in [key for key in self.streams if key.lstrip("<|>") == name]:
            stream = self.streams.pop(key)
            if stream.fd > 2:
                self.p.close(stream.fd)
            status = float(await self.p.wait(stream.child)) if stream.child is not None else 0.0
        return status

    async def output(self, text: str, target: tuple[str, Tree] | None) -> None:
        if target is None:
            self.pending.append(text)
            self.pending_size += len(text)
            if self.pending_size > 4096 or self.p.isatty(1):
                await self.flush()
            return
        mark, tree = target
        name = self.text(await self.value(tree))
        if name in ("/dev/stdout", "-"):
            return await self.output(text, None)
        await self.flush()
        key = f"{mark[0]}{name}" if mark != "|" else f"|>{name}"
        if key not in self.streams:
            if mark == "|":
                reading, writing = self.p.pipe()
                self.streams[key] = _Stream(writing)
                self.streams[key].child = self._shell(name, stdin=reading)
                self.p.close(reading)
            elif name == "/dev/stderr":
                self.streams[key] = _Stream(2)
            else:
                flags = abi.O_WRONLY | abi.O_CREAT | (abi.O_APPEND if mark == ">>" else abi.O_TRUNC)
                try:
                    self.streams[key] = _Stream(self.p.open(name, flags, 0o666))
                except OSError as exc:
                    raise _Wrong(f'can\'t redirect to "{name}" ({exc.strerror})') from None
        await emit(self.p, text.encode("utf-8", "surrogateescape"), self.streams[key].fd)

    async def flush(self) -> None:
        text = "".join(self.pending)
        self.pending, self.pending_size = [], 0
        await emit(self.p, text.encode("utf-8", "surrogateescape"))

    # -- statements ----------------------------------------------------------------------------------------------------

    async def run(self, tree: Tree) -> None:
        kind = tree[0]
        if kind == "block":
            for statement in tree[1]:
                await self.run(statement)
        elif kind == "expression":
            await self.value(tree[1])
        elif kind in ("print", "printf"):
            await self._print(kind, tree[1], tree[2])
        elif kind == "if":
            branch = tree[2] if _true(await self.value(tree[1])) else tree[3]
            if branch is not None:
                await self.run(branch)
        elif kind in ("while", "do", "for"):
            await self._loop(tree)
        elif kind == "for-in":
            for key in list(self.array(tree[2])):
                self.set(tree[1], _Input(key))
                if not await self._once(tree[3]):
                    break
        elif kind == "delete":
            array = self.array(tree[1])
            if tree[2] is None:
                array.clear()
            else:
                array.pop(await self.index(tree[2]), None)
        elif kind == "exit":
            raise _Exit(int(_number(await self.value(tree[1]))) if tree[1] is not None else self.status)
        elif kind == "return":
            raise _Return(await self.value(tree[1]) if tree[1] is not None else None)
        else:
            if kind == "nextfile":
                self.source, self.ready = None, []
            raise {"break": _Break, "continue": _Continue}.get(kind, _Next)

    async def _once(self, body: Tree) -> bool:
        """Runs the body of a loop; whether the loop goes on."""
        await self.p.cooperate()
        try:
            await self.run(body)
        except _Break:
            return False
        except _Continue:
            return True
        return True

    async def _loop(self, tree: Tree) -> None:
        if tree[0] == "do":
            while await self._once(tree[1]) and _true(await self.value(tree[2])):
                pass
            return
        first, test, step, body = tree[1:] if tree[0] == "for" else (None, tree[1], None, tree[2])
        if first is not None:
            await self.value(first)
        while test is None or _true(await self.value(test)):
            if not await self._once(body):
                return
            if step is not None:
                await self.value(step)

    async def _print(self, kind: str, items: list[Tree], target: tuple[str, Tree] | None) -> None:
        values = [await self.value(item) for item in items]
        if kind == "printf":
            text = _format(self.text(values[0]), values[1:])
        else:
            form = _string(self.globals["OFMT"])
            shown = [_string(value, form) for value in values] if items else [str(self.record)]
            text = self.text(self.globals["OFS"]).join(shown) + self.text(self.globals["ORS"])
        await self.output(text, target)

    async def main(self) -> int:
        try:
            for block in self.parser.begin:
                await self._outside(block)
            if self.parser.rules or self.parser.end:
                while await self.next_record():
                    await self.p.cooperate()
                    try:
                        await self._rules()
                    except _Next:
                        continue
        except _Exit as exc:
            self.status = exc.status
        try:
            for block in self.parser.end:
                await self._outside(block)
        except _Exit as exc:
            self.status = exc.status
        await self.flush()
        for key in list(self.streams):
            await self.close(key.lstrip("<|>"))
        return self.status

    async def _outside(self, block: Tree) -> None:
        try:
            await self.run(block)
        except _Next:
            raise _Wrong("next used in BEGIN or END") from None

    async def _rules(self) -> None:
        for number, (first, second, action) in enumerate(self.parser.rules):
            if second is None:
                if first is not None and not _true(await self.value(first)):
                    continue
            else:
                if number not in self.in_range and (first is None or not _true(await self.value(first))):
                    continue
                self.in_range.add(number)
                if _true(await self.value(second)):
                    self.in_range.discard(number)
            if action is None:
                await self._print("print", [], None)
            else:
                await self.run(action)


async def _lines_of(p: Process, fd: int) -> AsyncIterator[list[bytes]]:
    held = b""
    while chunk := await p.read(fd, 8192):
        *lines, held = (held + chunk).split(b"\n")
        p.charge(len(held))
        if lines:
            yield lines
        p.charge(-len(held))
    if held:
        yield [held]


_MATHS: dict[str, Callable[..., float]] = {
    "sin": math.sin,
    "cos": math.cos,
    "atan2": math.atan2,
    "exp": math.exp,
    "log": math.log,
    "sqrt": math.sqrt,
    "int": math.trunc,
}


def _maths(name: str, values: list[Value]) -> float:
    try:
        return float(_MATHS[name](*map(_number, values)))
    except OverflowError:
        return math.inf
    except ValueError:
        return -math.inf if name == "log" and _number(values[0]) == 0 else math.nan
    except TypeError:
        raise _Wrong(f"wrong number of arguments in call to {name}") from None


def _calculated(operator: str, left: float, right: float) -> float:
    try:
        if operator == "+":
            return left + right
        if operator == "-":
            return left - right
        if operator == "*":
            return left * right
        if operator == "/":
            return left / right
        if operator == "%":
            return math.fmod(left, right)
        return float(left**right)
    except (ArithmeticError, ValueError, TypeError):
        return math.nan if operator == "%" or (operator == "/" and not left) else math.copysign(math.inf, left)


def _replaced(replacement: str, found: str) -> str:
    r"""The replacement with `&` for what was found; `\&` is a plain one."""
    if "&" not in replacement and "\\" not in replacement:
        return replacement
    return re.sub(r"\\\\|\\&|&", lambda match: found if match[0] == "&" else match[0][1:], replacement)


@program("mawk", "awk", "gawk")
async def awk(p: Process) -> int:
    if p.argv[1:2] in (["-W"], ["--version"], ["-V"]) and p.argv[-1].lower() in ("version", "--version", "-v", "-w"):
        p.print("mawk 1.3.4 20250131")
        return 0
    given = next((word for word in p.argv[1:2] if re.match(r"-(?![FvfW-]|$)|--.", word)), "")
    if given and p.program == "mawk" and not given.startswith(("--field-separator", "--assign", "--file")):
        return _fail(p, f"not an option: {given}")
    options = parse(p, "F:v:f:W:", {"field-separator": "F", "assign": "v", "file": "f"}, status=2, stop_at_operand=True)
    names = list(options.operands)
    if "W" in options:
        return _fail(p, f"embedded lab: the lab's awk has no option -W {options.values['W']}")
    try:
        if "f" in options.values:
            source = "\n".join([p.read_text(name) for name in options.all("f")])
        elif names:
            source = names.pop(0)
        else:
            p.stderr.write("Usage: mawk [Options] [Program] [file ...]\n")
            return 2
    except OSError as exc:
        return _fail(p, f"cannot open {exc.filename} ({exc.strerror})")
    interpreter: _Awk | None = None
    try:
        parser = _Parser(source)
        parser.program()
        arguments = {str(index): _Input(name) for index, name in enumerate(["awk", *names])}
        interpreter = _Awk(p, parser, names if any(not _is_assignment(name) for name in names) else [*names, "-"])
        interpreter.arrays["ARGV"] = {**arguments}
        interpreter.globals["ARGC"] = float(len(names) + 1)
        if "F" in options.values:
            separator = _text(options.values["F"])
            interpreter.globals["FS"] = "\t" if separator == "t" else separator
        for assignment in options.all("v"):
            name, equals, value = assignment.partition("=")
            if not equals or not _is_assignment(assignment):
                return _fail(p, f"improper assignment: -v {assignment}")
            interpreter.globals[name] = _Input(_text(value))
        return await interpreter.main()
    except (_Wrong, PatternError) as exc:
        if interpreter is not None:
            await interpreter.flush()
        return _fail(p, str(exc))
    except (_Break, _Continue, _Return):
        return _fail(p, "syntax error: break, continue or return in the wrong place")
    except RecursionError:
        raise ProcessExit(_fail(p, "embedded lab: the program is nested too deeply")) from None


def _fail(p: Process, message: str) -> int:
    """Reports an error by the last part of the name that mawk was started by."""
    p.stderr.write(f"{posixpath.basename(p.argv[0])}: {message}\n")
    return 2


def _is_assignment(text: str) -> bool:
    return re.match(r"[A-Za-z_]\w*=", text) is not None
