"""Parses a condition token by token as Falco's parser does, without recursion."""

from __future__ import annotations

import re
from bisect import bisect_left
from itertools import accumulate

from falcorules import ast
from falcorules.arguments import checked
from falcorules.ast import NUMBER, Position
from falcorules.errors import ConditionError

UNARY_OPERATORS = ("exists",)
NUMBER_OPERATORS = ("<=", "<", ">=", ">")
# The words among the string operators need a blank after them.
STRING_OPERATORS = (
    "==",
    "=",
    "!=",
    "glob",
    "iglob",
    "contains",
    "icontains",
    "bcontains",
    "startswith",
    "bstartswith",
    "endswith",
    "regex",
)
LIST_OPERATORS = ("intersects", "in", "pmatch")
OPERATORS = (*UNARY_OPERATORS, *NUMBER_OPERATORS, *STRING_OPERATORS, *LIST_OPERATORS)
TRANSFORMERS = ("tolower", "toupper", "b64", "basename", "len", "join", "concat", "getopt")

# More nested parentheses than this are refused, to bound the memory.
MAX_DEPTH = 2500

_SPACE = r"\t\n\v\f\r "
_NOT = re.compile(rf"not[{_SPACE}]+")
_IDENTIFIER = re.compile(r"[a-zA-Z]+[a-zA-Z0-9_]*")
_FIELD = re.compile(r"[a-zA-Z]+[a-zA-Z0-9_]*(?:\.[a-zA-Z]+[a-zA-Z0-9_]*)+")
_FIELD_ARGUMENT = re.compile(rf"[^\]\[\"'{_SPACE}]+")
_BLANK = re.compile(r"[ \t\b\r\n]+")
_LINE_BREAK = re.compile(r"[\r\n]")
_TRANSFORMER = re.compile(rf"(?:{'|'.join(TRANSFORMERS)})\(")
_BOOLEAN_WORD = re.compile(r"(?:and|or|not)(?![a-zA-Z0-9])")
_UNESCAPED = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", " ": "\\", "\\": "\\", "/": "/"}


@checked
def parse_condition(text: str) -> ast.Expression:
    """The tree of a condition.

    Raises ConditionError, whose `line` and `column` count from 1 and whose `excerpt` is the line with a caret.
    """
    parser = Parser(text)
    try:
        return parser.parse()
    except ParseFailure as failure:
        position = parser.position()
        raise ConditionError(
            failure.message, line=position.line, column=position.column, excerpt=excerpt(text, position)
        ) from None


def excerpt(text: str, position: Position) -> str:
    """The line of `text` at `position`, cut to a readable width, and a caret under the place."""
    start = max((text.rfind(mark, 0, position.offset) for mark in "\r\n"), default=-1) + 1
    ends = [end for mark in "\r\n" if (end := text.find(mark, position.offset)) >= 0]
    end = min(ends, default=len(text))
    first, last = max(start, position.offset - 70), min(end, position.offset + 70)
    line = ("..." if first > start else "") + text[first:last] + ("..." if last < end else "")
    caret = position.offset - first + (3 if first > start else 0)
    return f"{line}\n{' ' * caret}^"


class ParseFailure(Exception):
    """The text at the parser's position is invalid. `message` is Falco's."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class _Frame:
    """A rule of the grammar that waits for a subexpression."""

    __slots__ = ("children", "kind", "negated", "position")

    def __init__(self, kind: str, position: Position, *, negated: bool = False) -> None:
        self.kind = kind
        self.position = position
        self.negated = negated
        self.children: list[ast.Expression] = []


class _Call:
    """A transformer, or a list literal in one (name ""), whose arguments are being read."""

    __slots__ = ("arguments", "name", "position")

    def __init__(self, name: str, position: Position) -> None:
        self.name = name
        self.position = position
        self.arguments: list[ast.Operand] = []


class Parser:
    """Parses one text. After a ParseFailure, `position()` is the place that Falco reports.

    Positions count characters, or with `in_bytes` the bytes of UTF-8.
    """

    def __init__(self, text: str, *, in_bytes: bool = False) -> None:
        self.text = text
        self.at = 0
        self.last = ""
        self._breaks = [match.start() for match in _LINE_BREAK.finditer(text)]
        sizes = (len(character.encode("utf-8", "surrogatepass")) for character in text)
        self._offsets = list(accumulate(sizes, initial=0)) if in_bytes and not text.isascii() else ()

    def position(self) -> Position:
        line = bisect_left(self._breaks, self.at)
        start, offset = self._breaks[line - 1] + 1 if line else 0, self.at
        if self._offsets:
            start, offset = self._offsets[start], self._offsets[offset]
        return Position(offset, line + 1, offset - start + 1)

    def parse(self) -> ast.Expression:
        """The tree of the whole text. Raises ParseFailure."""
        if not self.text:
            raise ParseFailure("filter input string is empty")
        expression = self._expression()
        if self.at != len(self.text):
            raise ParseFailure(f"unexpected token after '{self.last}', expecting 'or', 'and'")
        return expression

    def field(self) -> ast.Field | None:
        """The field that starts here, if any. Raises ParseFailure for a bad argument."""
        position = self.position()
        return self._field(position) if self._token(_FIELD) else None

    def field_name(self) -> str:
        """The name of a field that starts here; "" if there is none."""
        return self.last if self._token(_FIELD) else ""

    def transformer(self, *, index: bool = True) -> ast.Transformer | None:
        """The transformer that starts here, if any, with or without the `[argument]` after it. Raises ParseFailure."""
        position = self.position()
        return self._transformer(position, index=index) if self._token(_TRANSFORMER) else None

    # Expressions. The grammar is or > and > not > check > ( or ); instead of calling each other, the rules push a
    # frame, so that deep nesting costs memory and not stack.

    def _expression(self) -> ast.Expression:
        stack: list[_Frame] = []
        depth = 0
        start = "or"
        while True:
            done: ast.Expression | None = None
            if start == "embedded":
                depth += 1
                if depth > MAX_DEPTH:
                    raise ParseFailure(f"exceeded max depth limit of {MAX_DEPTH}")
                self._blank()
                stack.append(_Frame("embedded", self.position()))
                start = "or"
            if start == "or":
                stack.append(_Frame("or", self.position()))
                self._blank()
                start = "and"
            if start == "and":
                stack.append(_Frame("and", self.position()))
                self._blank()
            frame = _Frame("not", self.position())
            self._blank()
            while self._token(_NOT):
                frame.negated = not frame.negated
            stack.append(frame)
            if self._literal("not("):
                frame.negated = not frame.negated
                start = "embedded"
                continue
            position = self.position()
            self._blank()
            if self._literal("("):
                start = "embedded"
                continue
            done = self._check(position)
            while done is not None:
                if not stack:
                    return done
                frame = stack.pop()
                if frame.kind == "embedded":
                    depth -= 1
                    self._blank()
                    if not self._literal(")"):
                        raise ParseFailure("expected a ')' token")
                elif frame.kind == "not":
                    done = ast.Not(done, frame.position) if frame.negated else done
                else:
                    frame.children.append(done)
                    self._blank()
                    if not self._literal(frame.kind):
                        done = _joined(frame)
                        continue
                    stack.append(frame)
                    if self._blank():
                        start = "and" if frame.kind == "or" else "not"
                    elif self._literal("("):
                        start = "embedded"
                    else:
                        raise ParseFailure(f"expected blank or '(' after '{frame.kind}'")
                    done = None

    def _check(self, position: Position) -> ast.Expression:
        if self._token(_FIELD):
            operand: ast.Operand = self._field(position)
        elif self._token(_TRANSFORMER):
            operand = self._transformer(position)
        elif self._token(_IDENTIFIER):
            return ast.Macro(self.last, position)
        else:
            raise ParseFailure("expected a '(' token, a field check, or an identifier")
        self._blank()
        if self._operator(UNARY_OPERATORS):
            return ast.Exists(operand, position)
        if operator := self._operator(NUMBER_OPERATORS):
            return ast.Check(operand, operator, self._number_or_transformer(), position=position)
        if operator := self._operator(STRING_OPERATORS, blank=True):
            if modifier := self._modifier(operator):
                return ast.Check(operand, operator, self._list_or_name(), modifier, position)
            return ast.Check(operand, operator, self._string_or_transformer(), position=position)
        if operator := self._operator(LIST_OPERATORS):
            return ast.Check(operand, operator, self._list_or_transformer(), position=position)
        raise ParseFailure(f"expected a valid check operator: one of {_quoted(OPERATORS)}")

    def _modifier(self, operator: str) -> str:
        """oneof, anyof or allof, if it has blanks around it and a list follows; else it is a string like any other."""
        start, last = self.at, self.last
        # The blank after an operator that is a word has been read with it.
        if operator[0].isalpha() or self._blank():
            modifier = self._operator(ast.MODIFIERS, blank=True)
            names_list = _IDENTIFIER.match(self.text, self.at) and not _BOOLEAN_WORD.match(self.text, self.at)
            if modifier and (names_list or self.text.startswith("(", self.at)):
                return modifier
        self.at, self.last = start, last
        return ""

    # Operands

    def _field(self, position: Position) -> ast.Field:
        name = self.last
        return ast.Field(name, self._index(), position)

    def _transformer(self, position: Position, *, index: bool = True) -> ast.Transformer:
        """The transformer whose name and parenthesis have just been read."""
        calls = [_Call(self.last[:-1], position)]
        while True:
            # As in Falco, what is in a list stands where the list does, and a further argument where its comma ends.
            if calls[-1].name and not calls[-1].arguments:
                self._blank()
            position = self.position() if calls[-1].name else calls[-1].position
            self._blank()
            done: ast.Operand
            if not calls[-1].name and not calls[-1].arguments and self._literal(")"):
                done = ast.TransformerList((), calls.pop().position)
            elif self._token(NUMBER) or self._quoted():
                done = ast.Value(self.last, position)
            elif calls[-1].name and self._literal("("):
                calls.append(_Call("", position))
                continue
            elif self._token(_TRANSFORMER):
                calls.append(_Call(self.last[:-1], position))
                continue
            elif self._token(_FIELD):
                done = self._field(position)
            elif calls[-1].name:
                raise ParseFailure(
                    "expected field transformer argument: field, transformer, quoted string, number, "
                    "or transformer list"
                )
            else:
                raise ParseFailure("expected transformer list argument: field, transformer, quoted string, or number")
            while True:
                call = calls[-1]
                call.arguments.append(done)
                self._blank()
                if self._literal(","):
                    break
                if not self._literal(")"):
                    raise ParseFailure("expected a ')' token closing the transformer" if call.name else "expected ')'")
                calls.pop()
                if not call.name:
                    done = ast.TransformerList(tuple(call.arguments), call.position)
                    continue
                argument = self._index() if calls or index else None
                done = ast.Transformer(call.name, tuple(call.arguments), argument, call.position)
                if not calls:
                    return done

    def _index(self) -> str | None:
        """The `[argument]` that may follow a field or a transformer."""
        if not self._literal("["):
            return None
        if not self._quoted() and not self._token(_FIELD_ARGUMENT):
            raise ParseFailure("expected a valid field argument: a quoted string or a bare string")
        argument = self.last
        if not self._literal("]"):
            raise ParseFailure("expected a ']' token")
        return argument

    def _right_hand_transformer(self) -> ast.Transformer | None:
        self._blank()
        position = self.position()
        if self._literal("val("):
            self._blank()
            inner = self.position()
            if not self._token(_FIELD):
                raise ParseFailure("expected a field within 'val' transformer")
            field = self._field(inner)
            self._blank()
            if not self._literal(")"):
                raise ParseFailure("expected a ')' token closing the transformer")
            return ast.Transformer("val", (field,), self._index(), position)
        if self._token(_TRANSFORMER):
            return self._transformer(position)
        return None

    def _number_or_transformer(self) -> ast.Operand:
        if transformer := self._right_hand_transformer():
            return transformer
        position = self.position()
        if self._token(NUMBER):
            return ast.Value(self.last, position)
        raise ParseFailure(
            f"expected a number value or a field with a valid transformer: {_quoted(('val', *TRANSFORMERS))}"
        )

    def _string_or_transformer(self) -> ast.Operand:
        if transformer := self._right_hand_transformer():
            return transformer
        position = self.position()
        if self._quoted() or self._token(ast.BARE_STRING):
            return ast.Value(self.last, position)
        raise ParseFailure(
            f"expected a string value or a field with a valid transformer: {_quoted(('val', *TRANSFORMERS))}"
        )

    def _list_or_transformer(self) -> ast.Operand:
        if listed := self._list_or_nothing():
            return listed
        if transformer := self._right_hand_transformer():
            return transformer
        position = self.position()
        if self._token(_IDENTIFIER):
            return ast.Value(self.last, position)
        raise ParseFailure(
            f"expected a list, an identifier, or a field with a valid transformer: {_quoted(('val', *TRANSFORMERS))}"
        )

    def _list_or_name(self) -> ast.Operand:
        """What follows a modifier, which isn't one unless this does."""
        if listed := self._list_or_nothing():
            return listed
        position = self.position()
        self._token(_IDENTIFIER)
        return ast.Value(self.last, position)

    def _list_or_nothing(self) -> ast.ValueList | None:
        self._blank()
        position = self.position()
        return self._list(position) if self._literal("(") else None

    def _list(self, position: Position) -> ast.ValueList:
        values: list[str] = []
        self._blank()
        try:
            values.append(self._string())
        except ParseFailure:
            pass  # then the list has to be empty
        else:
            self._blank()
            while self._literal(","):
                values.append(self._string())
                self._blank()
        if not self._literal(")"):
            raise ParseFailure("expected a ')' token")
        return ast.ValueList(tuple(values), position)

    def _string(self) -> str:
        self._blank()
        if self._quoted() or self._token(ast.BARE_STRING):
            return self.last
        raise ParseFailure("expected a string value")

    # Tokens

    def _blank(self) -> bool:
        match = _BLANK.match(self.text, self.at)
        if match is None:
            return False
        self.at = match.end()
        return True

    def _token(self, pattern: re.Pattern[str]) -> bool:
        match = pattern.match(self.text, self.at)
        if match is None:
            return False
        self.last = match[0]
        self.at = match.end()
        return True

    def _literal(self, literal: str) -> bool:
        if not self.text.startswith(literal, self.at):
            return False
        self.last = literal
        self.at += len(literal)
        return True

    def _operator(self, operators: tuple[str, ...], *, blank: bool = False) -> str:
        """The first of the operators that stands here; with `blank`, a word only if a blank follows, which is read."""
        for operator in operators:
            start, last = self.at, self.last
            if self._literal(operator):
                if not (blank and operator[0].isalpha()) or self._blank():
                    return operator
                self.at, self.last = start, last
        return ""

    def _quoted(self) -> bool:
        delimiter = self.text[self.at : self.at + 1]
        if delimiter not in ("'", '"'):
            return False
        end = self.at + 1
        # Falco looks for the quote as far as a NUL.
        limit = nul if (nul := self.text.find("\0", self.at)) >= 0 else len(self.text)
        while (end := self.text.find(delimiter, end, limit)) >= 0 and (
            self.text[end - 1] == "\\" if end > self.at + 1 else False
        ):
            end += 1
        if end < 0:
            self.last = self.text[self.at : limit]
            return False
        body = self.text[self.at + 1 : end]
        self.at = end + 1
        self.last = _unescape(body, delimiter) if "\\" in body else body
        return True


def _joined(frame: _Frame) -> ast.Expression:
    if len(frame.children) == 1:
        return frame.children[0]
    if frame.kind == "or":
        return ast.Or(tuple(frame.children), frame.position)
    return ast.And(tuple(frame.children), frame.position)


def _unescape(body: str, delimiter: str) -> str:
    out: list[str] = []
    characters = iter(body)
    for character in characters:
        if character != "\\":
            out.append(character)
            continue
        escaped = next(characters, None)
        if escaped is None:
            break
        if escaped in "\"'":
            if escaped != delimiter:
                raise ParseFailure(f"invalid \\{escaped} escape in {delimiter}-quoted string")
            out.append(escaped)
        elif escaped in _UNESCAPED:
            out.append(_UNESCAPED[escaped])
        else:
            raise ParseFailure(f"unsupported string escape sequence: \\{escaped}")
    return "".join(out)


def _quoted(words: tuple[str, ...]) -> str:
    return ", ".join(f"'{word}'" for word in words)
