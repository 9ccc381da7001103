"""The shell's grammar: text goes in, a tree of commands comes out.

POSIX's grammar as dash and bash share it; `[[ ]]` and `function` for bash. What isn't understood is a syntax error,
never something else than what was written.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal


class ShellSyntaxError(Exception):
    """`token` is what the parser stumbled over, as the shells name it; `incomplete` when more input could help."""

    def __init__(self, token: str, line: int, *, incomplete: bool = False, message: str = "") -> None:
        super().__init__(message or token)
        self.token = token
        self.line = line
        self.incomplete = incomplete
        self.message = message


# -- words -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Text:
    value: str
    quoted: bool


@dataclass(frozen=True)
class Variable:
    """`$name` or `${name<op>word}`; `op` is empty, `#` (length, in front) or one of the operators."""

    name: str
    quoted: bool
    op: str = ""
    word: Word | None = None
    word2: Word | None = None


@dataclass(frozen=True)
class Substitution:
    """`$(...)` or backquotes."""

    body: Sequence
    quoted: bool


@dataclass(frozen=True)
class Arithmetic:
    """`$((...))`; its text is expanded first."""

    word: Word
    quoted: bool


Part = Text | Variable | Substitution | Arithmetic
Word = tuple[Part, ...]

# -- commands ---------------------------------------------------------------------------------------------------------


@dataclass
class HereDocument:
    """The lines after a command that are its input; `body` is known once they have been read."""

    delimiter: str
    strip: bool
    literal: bool
    body: Word = ()


@dataclass(frozen=True)
class Redirect:
    """`fd<op>target`; `<<` has a document instead of a target."""

    op: str
    fd: int | None
    target: Word
    document: HereDocument | None = None


@dataclass(frozen=True)
class Simple:
    assignments: tuple[tuple[str, Word], ...] = ()
    words: tuple[Word, ...] = ()
    redirects: tuple[Redirect, ...] = ()
    line: int = 1


@dataclass(frozen=True)
class Pipeline:
    commands: tuple[Command, ...]
    negated: bool = False


@dataclass(frozen=True)
class AndOr:
    first: Pipeline
    rest: tuple[tuple[Literal["&&", "||"], Pipeline], ...] = ()
    background: bool = False
    text: str = ""


@dataclass(frozen=True)
class Sequence:
    items: tuple[AndOr, ...]


@dataclass(frozen=True)
class Subshell:
    body: Sequence
    redirects: tuple[Redirect, ...] = ()


@dataclass(frozen=True)
class Group:
    body: Sequence
    redirects: tuple[Redirect, ...] = ()


@dataclass(frozen=True)
class If:
    branches: tuple[tuple[Sequence, Sequence], ...]
    otherwise: Sequence | None = None
    redirects: tuple[Redirect, ...] = ()


@dataclass(frozen=True)
class For:
    name: str
    words: tuple[Word, ...] | None
    body: Sequence
    redirects: tuple[Redirect, ...] = ()


@dataclass(frozen=True)
class While:
    condition: Sequence
    body: Sequence
    until: bool = False
    redirects: tuple[Redirect, ...] = ()


@dataclass(frozen=True)
class Case:
    word: Word
    branches: tuple[tuple[tuple[Word, ...], Sequence], ...]
    redirects: tuple[Redirect, ...] = ()


@dataclass(frozen=True)
class Function:
    name: str
    body: Command
    redirects: tuple[Redirect, ...] = ()


@dataclass(frozen=True)
class Test:
    """`[[ ... ]]`: words and operators, evaluated by the interpreter."""

    words: tuple[Word, ...]
    redirects: tuple[Redirect, ...] = ()


Command = Simple | Subshell | Group | If | For | While | Case | Function | Test

_RESERVED = frozenset(
    ["if", "then", "elif", "else", "fi", "for", "in", "do", "done", "while", "until", "case", "esac", "{", "}", "!"]
)
_CLOSERS = frozenset(["then", "elif", "else", "fi", "do", "done", "esac", "}"])
_OPERATORS = ("<<-", "&&", "||", ";;", "<<", ">>", "<&", ">&", "<>", ">|", "&>", ";", "&", "|", "<", ">", "(", ")")
_META = set(" \t\n;&|<>()")
_NAME_START = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_")
_NAME = _NAME_START | set("0123456789")
_SPECIAL = set("?$!#@*-0123456789")
_WORD_OPERATORS = (":-", ":=", ":?", ":+", "-", "=", "?", "+", "##", "#", "%%", "%")
_BASH_OPERATORS = ("//", "/", "^^", "^", ",,", ",", ":")


def is_name(text: str) -> bool:
    return bool(text) and text[0] in _NAME_START and all(character in _NAME for character in text)


@dataclass
class Parser:
    """A recursive-descent parser over one text; `bash` allows bash's own syntax."""

    text: str
    bash: bool = False
    prompting: bool = False  # more lines can be asked for
    pos: int = 0
    line: int = 1
    _pending: list[HereDocument] = field(default_factory=list)

    # -- characters and tokens ----------------------------------------------------------------------------------------

    def _error(self, token: str | None = None) -> ShellSyntaxError:
        if token is None:
            token = self._peek_token()
        return ShellSyntaxError(token or "end of file", self.line, incomplete=not token)

    def _incomplete(self, message: str) -> ShellSyntaxError:
        return ShellSyntaxError("end of file", self.line, incomplete=True, message=message)

    def _skip_blanks(self) -> None:
        while self.pos < len(self.text):
            character = self.text[self.pos]
            if character in " \t":
                self.pos += 1
            elif character == "\\" and self.text[self.pos + 1 : self.pos + 2] == "\n":
                self.pos += 2
                self.line += 1
            elif character == "#":
                while self.pos < len(self.text) and self.text[self.pos] != "\n":
                    self.pos += 1
            else:
                return

    def _operator(self) -> str:
        """The operator at the current position, or nothing."""
        self._skip_blanks()
        if self.pos >= len(self.text):
            return ""
        if self.text[self.pos] == "\n":
            return "\n"
        for operator in _OPERATORS:
            if self.text.startswith(operator, self.pos) and (operator != "&>" or self.bash):
                return operator
        return ""

    def _take(self, operator: str) -> bool:
        if self._operator() != operator:
            return False
        self.pos += len(operator)
        if operator == "\n":
            self.line += 1
            self._read_documents()
        return True

    def _newlines(self) -> None:
        while self._take("\n"):
            pass

    def _peek_word(self) -> str:
        """The unquoted literal word at the current position, without taking it; empty when it isn't one."""
        self._skip_blanks()
        end = self.pos
        while end < len(self.text) and self.text[end] not in _META:
            if self.text[end] in "'\"\\$`":
                return ""
            end += 1
        return self.text[self.pos : end]

    def _peek_token(self) -> str:
        operator = self._operator()
        if operator:
            return "newline" if operator == "\n" else operator
        end = self.pos
        while end < len(self.text) and self.text[end] not in _META:
            end += 1
        return self.text[self.pos : end]

    def _reserved(self, word: str) -> bool:
        """Takes a reserved word if it is next."""
        if self._peek_word() != word:
            return False
        self._skip_blanks()
        self.pos += len(word)
        return True

    def _expect(self, word: str) -> None:
        if not self._reserved(word):
            raise self._error()

    # -- commands -----------------------------------------------------------------------------------------------------

    def parse(self) -> Sequence:
        """The whole text."""
        sequence = self._sequence()
        self._skip_blanks()
        if self.pos < len(self.text):
            raise self._error()
        self._read_documents()
        return sequence

    def _sequence(self) -> Sequence:
        items: list[AndOr] = []
        while True:
            self._newlines()
            if self.pos >= len(self.text) or self._operator() in (")", ";;") or self._peek_word() in _CLOSERS:
                return Sequence(tuple(items))
            start = self.pos
            item = self._and_or()
            text = self.text[start : self.pos].strip()
            if self._take("&"):
                items.append(AndOr(item.first, item.rest, True, text))
                continue
            items.append(AndOr(item.first, item.rest, False, text))
            if self._take(";") or self._operator() == "\n":
                continue
            return Sequence(tuple(items))

    def _and_or(self) -> AndOr:
        first = self._pipeline()
        rest: list[tuple[Literal["&&", "||"], Pipeline]] = []
        while True:
            if self._take("&&"):
                self._newlines()
                rest.append(("&&", self._pipeline()))
            elif self._take("||"):
                self._newlines()
                rest.append(("||", self._pipeline()))
            else:
                return AndOr(first, tuple(rest))

    def _pipeline(self) -> Pipeline:
        negated = False
        while self._reserved("!"):
            negated = not negated
        commands = [self._command()]
        while self._operator() == "|":
            self._take("|")
            self._newlines()
            commands.append(self._command())
        return Pipeline(tuple(commands), negated)

    def _command(self) -> Command:
        word = self._peek_word()
        if self.bash and self.text.startswith("((", self.pos):
            self.pos -= 1  # as if it were the end of `$((`
            if self._is_arithmetic():
                return self._let()
            self.pos += 1
        if self._operator() == "(":
            self._take("(")
            body = self._body()
            if not self._take(")"):
                raise self._error()
            return Subshell(body, self._redirects())
        compounds: dict[str, Callable[[], Command]] = {
            "{": self._group,
            "if": self._if,
            "for": self._for,
            "while": self._while,
            "until": self._while,
            "case": self._case,
        }
        compound = compounds.get(word)
        if compound is not None:
            return compound()
        if self.bash and word == "[[":
            return self._test()
        if self.bash and word == "function":
            self._reserved("function")
            name = self._peek_word()
            self._reserved(name)
            if self._take("("):
                self._take(")")
            self._newlines()
            return Function(name, self._command())
        if word in _CLOSERS:
            raise self._error(word)
        return self._simple()

    def _let(self) -> Simple:
        """`((expression))`, which is `let "expression"`."""
        parts: list[Part] = []
        self._arithmetic(parts, True)
        arithmetic = parts[0]
        assert isinstance(arithmetic, Arithmetic)
        return Simple((), ((Text("let", False),), arithmetic.word), self._redirects(), self.line)

    def _body(self) -> Sequence:
        body = self._sequence()
        if not body.items:
            raise self._error()
        return body

    def _group(self) -> Group:
        self._expect("{")
        body = self._body()
        self._expect("}")
        return Group(body, self._redirects())

    def _if(self) -> If:
        self._expect("if")
        branches = []
        otherwise = None
        while True:
            condition = self._body()
            self._expect("then")
            branches.append((condition, self._body()))
            if self._reserved("elif"):
                continue
            if self._reserved("else"):
                otherwise = self._body()
            self._expect("fi")
            return If(tuple(branches), otherwise, self._redirects())

    def _for(self) -> For:
        self._expect("for")
        name = self._peek_word()
        if not is_name(name):
            raise self._error()
        self._reserved(name)
        self._newlines()
        words: list[Word] | None = None
        if self._reserved("in"):
            words = []
            while not self._operator() and self.pos < len(self.text):
                words.append(self.word())
            if not (self._take(";") or self._operator() == "\n"):
                raise self._error()
        else:
            self._take(";")
        self._newlines()
        self._expect("do")
        body = self._body()
        self._expect("done")
        return For(name, tuple(words) if words is not None else None, body, self._redirects())

    def _while(self) -> While:
        until = self._peek_word() == "until"
        self._expect("until" if until else "while")
        condition = self._body()
        self._expect("do")
        body = self._body()
        self._expect("done")
        return While(condition, body, until, self._redirects())

    def _case(self) -> Case:
        self._expect("case")
        word = self.word()
        self._newlines()
        self._expect("in")
        self._newlines()
        branches = []
        while not self._reserved("esac"):
            self._take("(")
            patterns = [self.word()]
            while self._take("|"):
                patterns.append(self.word())
            if not self._take(")"):
                raise self._error()
            body = self._sequence()
            branches.append((tuple(patterns), body))
            self._newlines()
            if not self._take(";;"):
                self._newlines()
                self._expect("esac")
                break
            self._newlines()
        return Case(word, tuple(branches), self._redirects())

    def _test(self) -> Test:
        self._reserved("[[")
        words: list[Word] = []
        while True:
            self._skip_blanks()
            if self.pos >= len(self.text):
                raise self._error()
            if self._reserved("]]"):
                return Test(tuple(words), self._redirects())
            operator = self._operator()
            if operator in ("&&", "||", "(", ")", "<", ">"):
                self._take(operator)
                words.append((Text(operator, False),))
            elif operator == "\n":
                self._take("\n")
            elif operator:
                raise self._error()
            else:
                regex = bool(words) and words[-1] == (Text("=~", False),)
                words.append(self.word(regex=regex))

    def _redirects(self) -> tuple[Redirect, ...]:
        redirects = []
        while (redirect := self._redirect()) is not None:
            redirects.append(redirect)
        return tuple(redirects)

    def _redirect(self) -> Redirect | None:
        self._skip_blanks()
        start, fd = self.pos, None
        end = self.pos
        while end < len(self.text) and self.text[end].isdigit():
            end += 1
        if end > start and self.text[end : end + 1] in ("<", ">"):
            fd = int(self.text[start:end])
            self.pos = end
        operator = self._operator()
        if operator not in ("<", ">", ">>", "<<", "<<-", "<&", ">&", "<>", ">|", "&>"):
            self.pos = start
            return None
        self.pos += len(operator)
        if operator == "<<" and self.bash and self.text.startswith("<", self.pos):
            self.pos += 1
            return Redirect("<<<", fd, self._redirect_word())
        if operator in ("<<", "<<-"):
            return self._here_document(operator, fd)
        return Redirect(operator, fd, self._redirect_word())

    def _redirect_word(self) -> Word:
        if self._operator() or self.pos >= len(self.text):
            raise self._error()
        return self.word()

    def _here_document(self, operator: str, fd: int | None) -> Redirect:
        self._skip_blanks()
        start = self.pos
        word = self.word()
        raw = self.text[start : self.pos]
        delimiter = "".join(part.value for part in word if isinstance(part, Text))
        document = HereDocument(delimiter, operator == "<<-", any(c in raw for c in "'\"\\"))
        self._pending.append(document)
        return Redirect("<<", fd, (), document)

    def _read_documents(self) -> None:
        for document in self._pending:
            lines = []
            while True:
                if self.pos >= len(self.text):
                    if self.prompting:
                        raise self._incomplete("here-document")
                    break
                end = self.text.find("\n", self.pos)
                end = len(self.text) if end < 0 else end
                line = self.text[self.pos : end]
                self.pos = min(end + 1, len(self.text))
                self.line += 1
                if document.strip:
                    line = line.lstrip("\t")
                if line == document.delimiter:
                    break
                lines.append(line + "\n")
            body = "".join(lines)
            if document.literal:
                document.body = (Text(body, True),)
            else:
                document.body = Parser(body, self.bash, line=self.line)._document()
        self._pending.clear()

    def _document(self) -> Word:
        parts: list[Part] = []
        self._quoted_until("", parts)
        return tuple(parts)

    def _simple(self) -> Command:
        assignments: list[tuple[str, Word]] = []
        words: list[Word] = []
        redirects: list[Redirect] = []
        line = self.line
        while True:
            redirect = self._redirect()
            if redirect is not None:
                redirects.append(redirect)
                continue
            operator = self._operator()
            if operator == "(" and len(words) == 1 and not assignments and not redirects:
                return self._function(words[0])
            if operator or self.pos >= len(self.text):
                break
            assignment = self._assignment() if not words else None
            if assignment is not None:
                assignments.append(assignment)
            else:
                words.append(self.word())
        if not (assignments or words or redirects):
            raise self._error()
        return Simple(tuple(assignments), tuple(words), tuple(redirects), line)

    def _function(self, word: Word) -> Function:
        self._take("(")
        if not self._take(")"):
            raise self._error()
        name = word[0].value if len(word) == 1 and isinstance(word[0], Text) else ""
        if not is_name(name.replace("-", "_")):
            raise self._error("(")
        self._newlines()
        return Function(name, self._command())

    def _assignment(self) -> tuple[str, Word] | None:
        end = self.pos
        while end < len(self.text) and self.text[end] in _NAME:
            end += 1
        name = self.text[self.pos : end]
        append = self.bash and self.text.startswith("+=", end)
        if not is_name(name) or not (append or self.text.startswith("=", end)):
            return None
        self.pos = end + (2 if append else 1)
        value = self.word(assignment=True) if self.pos < len(self.text) and self.text[self.pos] not in _META else ()
        if append:
            value = (Variable(name, True), *value)
        return name, value

    # -- words --------------------------------------------------------------------------------------------------------

    def word(self, *, assignment: bool = False, regex: bool = False) -> Word:
        """A word, up to a blank or an operator."""
        self._skip_blanks()
        parts: list[Part] = []
        plain = ""
        depth = 0
        while self.pos < len(self.text):
            character = self.text[self.pos]
            if regex and character in "()|":
                depth += {"(": 1, ")": -1}.get(character, 0)
                plain += character
                self.pos += 1
                continue
            if character in _META and not (regex and depth > 0 and character == " "):
                break
            if character in "'\"\\$`":
                if plain:
                    parts.append(Text(plain, False))
                    plain = ""
                self._special(parts, quoted=False)
            else:
                plain += character
                self.pos += 1
        if plain:
            parts.append(Text(plain, False))
        if not parts and not assignment:
            raise self._error()
        return tuple(parts)

    def _special(self, parts: list[Part], *, quoted: bool) -> None:
        """Takes a quote, escape or expansion at the current position."""
        character = self.text[self.pos]
        if character == "'":
            end = self.text.find("'", self.pos + 1)
            if end < 0:
                raise self._incomplete("unexpected EOF while looking for matching `''")
            parts.append(Text(self.text[self.pos + 1 : end], True))
            self.line += self.text.count("\n", self.pos, end)
            self.pos = end + 1
        elif character == '"':
            self.pos += 1
            before = len(parts)
            self._quoted_until('"', parts)
            if len(parts) == before:
                parts.append(Text("", True))
        elif character == "\\":
            if self.pos + 1 >= len(self.text):
                raise self._incomplete("unexpected end of file")
            if self.text[self.pos + 1] == "\n":
                self.line += 1
            else:
                parts.append(Text(self.text[self.pos + 1], True))
            self.pos += 2
        elif character == "`":
            self._backquotes(parts, quoted)
        else:
            self._dollar(parts, quoted)

    def _quoted_until(self, end: str, parts: list[Part]) -> None:
        """The inside of double quotes, or (with no end) of a here-document."""
        plain = ""

        def flush() -> None:
            nonlocal plain
            if plain:
                parts.append(Text(plain, True))
                plain = ""

        while True:
            if self.pos >= len(self.text):
                if end:
                    raise self._incomplete("unexpected EOF while looking for matching `\"'")
                flush()
                return
            character = self.text[self.pos]
            if end and character == end:
                self.pos += 1
                flush()
                return
            if character == "\\" and self.pos + 1 < len(self.text):
                following = self.text[self.pos + 1]
                if following == "\n":
                    self.line += 1
                elif following in "$`\\" or (following == '"' and end):
                    plain += following
                else:
                    plain += character + following
                self.pos += 2
            elif character in "$`":
                flush()
                if character == "`":
                    self._backquotes(parts, True)
                else:
                    self._dollar(parts, True)
            else:
                self.line += character == "\n"
                plain += character
                self.pos += 1

    def _backquotes(self, parts: list[Part], quoted: bool) -> None:
        end = self.pos + 1
        inner = ""
        while end < len(self.text) and self.text[end] != "`":
            if self.text[end] == "\\" and self.text[end + 1 : end + 2] in ("`", "\\", "$"):
                end += 1
            inner += self.text[end]
            end += 1
        if end >= len(self.text):
            raise self._incomplete("unexpected EOF while looking for matching ``'")
        self.pos = end + 1
        parts.append(Substitution(Parser(inner, self.bash, line=self.line).parse(), quoted))

    def _dollar(self, parts: list[Part], quoted: bool) -> None:
        following = self.text[self.pos + 1 : self.pos + 2]
        if self.text.startswith("$((", self.pos) and self._is_arithmetic():
            self._arithmetic(parts, quoted)
        elif following == "(":
            self.pos += 2
            # Here-documents of the outer line are read after it.
            pending, self._pending = self._pending, []
            body = self._sequence()
            if not self._take(")"):
                raise self._error()
            self._pending = pending
            parts.append(Substitution(body, quoted))
        elif following == "{":
            self._braced(parts, quoted)
        elif following == "'" and self.bash and not quoted:
            self._ansi_c(parts)
        elif following and following in _NAME_START:
            end = self.pos + 1
            while end < len(self.text) and self.text[end] in _NAME:
                end += 1
            parts.append(Variable(self.text[self.pos + 1 : end], quoted))
            self.pos = end
        elif following and following in _SPECIAL:
            parts.append(Variable(following, quoted))
            self.pos += 2
        else:
            parts.append(Text("$", True))
            self.pos += 1

    def _ansi_c(self, parts: list[Part]) -> None:
        end = self.pos + 2
        while end < len(self.text) and self.text[end] != "'":
            end += 2 if self.text[end] == "\\" else 1
        if end >= len(self.text):
            raise self._incomplete("unexpected EOF while looking for matching `''")
        parts.append(Text(unescape(self.text[self.pos + 2 : end]), True))
        self.pos = end + 1

    def _is_arithmetic(self) -> bool:
        """Whether `$((` is closed by `))` and not a command substitution that starts with a subshell."""
        depth, at = 0, self.pos + 1
        while at < len(self.text):
            if self.text[at] == "(":
                depth += 1
            elif self.text[at] == ")":
                depth -= 1
                if depth == 1 and self.text[at : at + 2] != "))":
                    return False
                if depth == 0:
                    return True
            at += 1
        return True

    def _arithmetic(self, parts: list[Part], quoted: bool) -> None:
        depth, end = 2, self.pos + 3
        while end < len(self.text) and depth:
            depth += {"(": 1, ")": -1}.get(self.text[end], 0)
            end += 1
        if depth:
            raise self._incomplete("unexpected end of file")
        inner = self.text[self.pos + 3 : end - 2]
        parts.append(Arithmetic(Parser(inner, self.bash, line=self.line)._document(), quoted))
        self.pos = end

    def _braced(self, parts: list[Part], quoted: bool) -> None:
        start = self.pos
        at = self.pos + 2
        length = self.text.startswith("#", at) and self.text[at + 1 : at + 2] not in ("}", "")
        if length:
            at += 1
        indirect = self.bash and self.text.startswith("!", at) and self.text[at + 1 : at + 2] in _NAME_START
        if indirect:
            at += 1
        end = at
        if end < len(self.text) and self.text[end] in _NAME_START:
            while end < len(self.text) and self.text[end] in _NAME:
                end += 1
        elif end < len(self.text) and self.text[end].isdigit():
            while end < len(self.text) and self.text[end].isdigit():
                end += 1
        elif end < len(self.text) and self.text[end] in _SPECIAL:
            end += 1
        name = self.text[at:end]
        if end >= len(self.text):
            raise self._incomplete("unexpected EOF while looking for matching `}'")
        if not name:
            raise ShellSyntaxError("Bad substitution", self.line, message="bad substitution")
        if self.text[end] == "}":
            self.pos = end + 1
            parts.append(Variable(name, quoted, "length" if length else "indirect" if indirect else ""))
            return
        operators = (*_WORD_OPERATORS, *_BASH_OPERATORS) if self.bash else _WORD_OPERATORS
        operator = next((op for op in operators if self.text.startswith(op, end)), None)
        if operator is None or length or indirect:
            closing = self.text.find("}", end)
            shown = self.text[start : closing + 1] if closing >= 0 else self.text[start:]
            raise ShellSyntaxError("Bad substitution", self.line, message=f"{shown}: bad substitution")
        self.pos = end + len(operator)
        word2: Word | None = None
        if operator in ("/", "//"):
            word = self._brace_word(quoted, "/}")
            if self.text[self.pos - 1] == "/":
                word2 = self._brace_word(quoted, "}")
        elif operator == ":":
            word = self._brace_word(quoted, ":}")
            if self.text[self.pos - 1] == ":":
                word2 = self._brace_word(quoted, "}")
        else:
            word = self._brace_word(quoted, "}")
        parts.append(Variable(name, quoted, operator, word, word2))

    def _brace_word(self, quoted: bool, ends: str) -> Word:
        """The word of `${name-word}`, up to one of `ends`, which is taken as well."""
        parts: list[Part] = []
        plain = ""
        while True:
            if self.pos >= len(self.text):
                raise self._incomplete("unexpected EOF while looking for matching `}'")
            character = self.text[self.pos]
            if character in ends:
                self.pos += 1
                break
            if character in '"\\$`' or (character == "'" and not quoted):
                if plain:
                    parts.append(Text(plain, quoted))
                    plain = ""
                self._special(parts, quoted=quoted)
            else:
                plain += character
                self.pos += 1
        if plain:
            parts.append(Text(plain, quoted))
        return tuple(parts)


_ESCAPES = {
    "a": "\a",
    "b": "\b",
    "e": "\x1b",
    "E": "\x1b",
    "f": "\f",
    "n": "\n",
    "r": "\r",
    "t": "\t",
    "v": "\v",
    "\\": "\\",
    "'": "'",
    '"': '"',
    "?": "?",
}


def unescape(text: str, *, zero_octal: bool = False) -> str:
    """Backslash escapes as `$'...'`, echo and printf know them; with `zero_octal` octal numbers need a leading 0."""
    out = []
    at = 0
    while at < len(text):
        character = text[at]
        following = text[at + 1 : at + 2]
        if character != "\\" or not following:
            out.append(character)
            at += 1
        elif following in _ESCAPES:
            out.append(_ESCAPES[following])
            at += 2
        elif following == "x" and (digits := _digits(text, at + 2, 2, "0123456789abcdefABCDEF")):
            out.append(chr(int(digits, 16)))
            at += 2 + len(digits)
        elif following in "01234567" and (following == "0" or not zero_octal):
            digits = _digits(text, at + 1, 4 if zero_octal or following == "0" else 3, "01234567")
            out.append(chr(int(digits, 8) & 0xFF))
            at += 1 + len(digits)
        else:
            out.append(character + following)
            at += 2
    return "".join(out)


def _digits(text: str, start: int, most: int, allowed: str) -> str:
    end = start
    while end < len(text) and end - start < most and text[end] in allowed:
        end += 1
    return text[start:end]


def parse(text: str, *, bash: bool = False, prompting: bool = False) -> Sequence:
    """The tree of a text. Raises ShellSyntaxError."""
    return Parser(text, bash, prompting).parse()
