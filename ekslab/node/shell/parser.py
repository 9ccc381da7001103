"""The shells' grammar: parses text into a syntax tree of commands.

POSIX's grammar as dash and bash share it, and bash's own where `bash` is set. What isn't understood is a syntax error,
never something else than what was written.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from ekslab.node.shell.errors import ShellSyntaxError
from ekslab.node.shell.quoting import unescape
from ekslab.node.shell.syntax import (
    NAME,
    NAME_START,
    AndOr,
    Arithmetic,
    Assignment,
    Calculation,
    Case,
    Command,
    Coprocess,
    For,
    ForArithmetic,
    Function,
    Group,
    HereDocument,
    If,
    Part,
    Pipeline,
    ProcessSubstitution,
    Redirect,
    Sequence,
    Simple,
    Subshell,
    Substitution,
    Test,
    Text,
    Variable,
    While,
    Word,
    is_name,
)

_DEPTH = 50  # of commands and expansions within one another: each takes half a dozen of Python's own frames
_LONGEST = 0.08  # seconds of the processor that reading one command may take
_PLAIN = re.compile(r"[^\s;&|<>()'\"\\$`?*+@!]+")
_QUOTED = re.compile(r'[^"\\$`\n]+')


# -- words -----------------------------------------------------------------------------------------------------------


# -- commands ---------------------------------------------------------------------------------------------------------


RESERVED = frozenset(
    ["if", "then", "elif", "else", "fi", "for", "in", "do", "done", "while", "until", "case", "esac", "{", "}", "!"]
)
RESERVED_BY_BASH = RESERVED | {"[[", "]]", "function", "select", "time", "coproc"}
DECLARATIONS = frozenset(["declare", "typeset", "local", "export", "readonly"])
_CLOSERS = frozenset(["then", "elif", "else", "fi", "do", "done", "esac", "}"])
_OPERATORS = (
    "<<-", ";;&", "&>>", "&&", "||", ";;", ";&", "<<", ">>", "<&", ">&", "<>", ">|", "&>", "|&",
    ";", "&", "|", "<", ">", "(", ")",
)  # fmt: skip
_BASH_ONLY = frozenset([";;&", ";&", "&>>", "&>", "|&"])
_REDIRECTIONS = frozenset(["<", ">", ">>", "<<", "<<-", "<&", ">&", "<>", ">|", "&>", "&>>"])
_META = set(" \t\n;&|<>()")
_DIGITS = frozenset("0123456789")
_SPECIAL = set("?$!#@*-0123456789")
_WORD_OPERATORS = (":-", ":=", ":?", ":+", "-", "=", "?", "+", "##", "#", "%%", "%")
_BASH_OPERATORS = ("//", "/#", "/%", "/", "^^", "^", ",,", ",", "@", ":")


@dataclass
class Parser:
    """A recursive-descent parser over one text; `bash` allows bash's own syntax.

    `line` gives a line's commands at a time, so that what it does (`alias`, `shopt`) counts for the next one.
    """

    text: str
    bash: bool = False
    prompting: bool = False  # more lines can be asked for
    pos: int = 0
    line_number: int = 1
    aliases: Mapping[str, str] = field(default_factory=dict)
    extglob: bool = False
    depth: int = 0
    _pending: list[HereDocument] = field(default_factory=list)
    _steps: int = 0
    _began: float = 0.0
    _separated: bool = True  # the command before ended with a `;` or `&`

    # -- characters and tokens ----------------------------------------------------------------------------------------

    def _error(self, token: str | None = None, expecting: str = "") -> ShellSyntaxError:
        if token is None:
            token = self._peek_token()
        end = self.text.find("\n", self.pos)
        shown = self.text[self.text.rfind("\n", 0, self.pos) + 1 : end if end >= 0 else len(self.text)]
        return ShellSyntaxError(
            token or "end of file", self.line_number, incomplete=not token, expecting=expecting, text=shown[:4096]
        )

    def _incomplete(self, message: str, needs: str = "") -> ShellSyntaxError:
        return ShellSyntaxError("end of file", self.line_number, incomplete=True, message=message, needs=needs)

    def _deeper(self) -> None:
        self.depth += 1
        if self.depth > _DEPTH:
            raise ShellSyntaxError(
                "",
                self.line_number,
                message=f"embedded lab: commands and expansions nest {_DEPTH} levels at most in the lab's shell",
            )

    def _within(self, text: str) -> Parser:
        """A parser of a text inside this one."""
        return Parser(
            text,
            self.bash,
            line_number=self.line_number,
            extglob=self.extglob,
            depth=self.depth,
            aliases=self.aliases,
            _began=self._began,
        )

    def _skip_blanks(self) -> None:
        while self.pos < len(self.text):
            character = self.text[self.pos]
            if character in " \t":
                self.pos += 1
            elif character == "\\" and self.text[self.pos + 1 : self.pos + 2] == "\n":
                self.pos += 2
                self.line_number += 1
            elif character == "#":
                end = self.text.find("\n", self.pos)
                self.pos = end if end >= 0 else len(self.text)
            else:
                return

    def _operator(self) -> str:
        """The operator at the current position, or nothing."""
        self._skip_blanks()
        if self.pos >= len(self.text):
            return ""
        if self.text[self.pos] == "\n":
            return "\n"
        if self.text[self.pos] not in _META:
            return ""
        for operator in _OPERATORS:
            if self.text.startswith(operator, self.pos) and (operator not in _BASH_ONLY or self.bash):
                return operator
        return ""

    def _take(self, operator: str) -> bool:
        if self._operator() != operator:
            return False
        self.pos += len(operator)
        if operator == "\n":
            self.line_number += 1
            self._read_documents()
        return True

    def _newlines(self) -> None:
        while self._take("\n"):
            pass

    def _peek_word(self) -> str:
        """The unquoted literal word at the current position, without taking it; empty when it isn't one."""
        self._steps += 1
        if not self._steps & 255 and time.thread_time() - self._began > _LONGEST:
            raise ShellSyntaxError(
                "",
                self.line_number,
                message="embedded lab: the lab's shell gives up on a command that is so long to read",
            )
        self._skip_blanks()
        end = self.pos
        while end < len(self.text) and self.text[end] not in _META and end - self.pos < 256:
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
            raise self._error(expecting=word)

    # -- commands -----------------------------------------------------------------------------------------------------

    def parse(self) -> Sequence:
        """The whole text."""
        self._began = self._began or time.thread_time()
        sequence = self._sequence()
        self._skip_blanks()
        if self.pos < len(self.text):
            raise self._error()
        self._read_documents()
        return sequence

    def next_item(self) -> AndOr | None:
        """The next command of the current line; None at its end."""
        if self.pos >= len(self.text):
            return None
        self._began = time.thread_time()
        operator = self._operator()
        if operator == "\n" or self.pos >= len(self.text):
            return None
        if not self._separated:
            raise self._error()
        return self._item()

    def next_line(self) -> bool:
        """Goes on to the next line that has a command; False at the end of the text."""
        self._newlines()
        self._skip_blanks()
        self._separated = True
        if self.pos >= len(self.text):
            self._read_documents()
            return False
        return True

    def ends_line(self) -> None:
        """Checks that nothing but a line's end follows, and reads the here-documents after it."""
        if self._operator() == "\n":
            self._take("\n")
        elif self.pos < len(self.text):
            raise self._error()
        else:
            self._read_documents()

    def _item(self) -> AndOr:
        start = self.pos
        item = self._and_or()
        text = self.text[start : min(self.pos, start + 4096)].strip()
        if self._take("&"):
            self._separated = True
            return AndOr(item.first, item.rest, True, text)
        self._separated = self._take(";")
        return AndOr(item.first, item.rest, False, text)

    def _sequence(self) -> Sequence:
        items: list[AndOr] = []
        while True:
            self._newlines()
            if self.pos >= len(self.text) or self._operator() in (")", ";;", ";&", ";;&"):
                return Sequence(tuple(items))
            if self._peek_word() in _CLOSERS:
                return Sequence(tuple(items))
            items.append(self._item())
            if not self._separated and self._operator() != "\n":
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
        negated, timed = False, ""
        while True:
            if self._reserved("!"):
                negated = not negated
            elif self.bash and not timed and self._reserved("time"):
                timed = "time -p" if self._reserved("-p") else "time"
            else:
                break
        if timed and (self._operator() in ("\n", ";", "&", ")", "&&", "||") or self.pos >= len(self.text)):
            return Pipeline((), negated, timed)
        commands = [self._command()]
        while self._operator() in ("|", "|&"):
            both = self._operator() == "|&"
            self._take("|&" if both else "|")
            if both:
                errors = Redirect(">&", 2, (Text("1", False),))
                commands[-1] = Group(Sequence((AndOr(Pipeline((commands[-1],))),)), redirects=(errors,))
            self._newlines()
            commands.append(self._command())
        return Pipeline(tuple(commands), negated, timed)

    def _command(self) -> Command:
        self._deeper()
        try:
            return self._any_command()
        finally:
            self.depth -= 1

    def _any_command(self) -> Command:
        word = self._peek_word()
        if self.bash and self.text.startswith("((", self.pos):
            self.pos -= 1  # as if it were the end of `$((`
            if self._is_arithmetic():
                parts: list[Part] = []
                self._arithmetic(parts, True)
                assert isinstance(parts[0], Arithmetic)
                return Calculation(parts[0].word, redirects=self._redirects())
            self.pos += 1
        if self._operator() == "(":
            self._take("(")
            body = self._body()
            if not self._take(")"):
                raise self._error(expecting=")")
            return Subshell(body, redirects=self._redirects())
        compounds: dict[str, Callable[[], Command]] = {
            "{": self._group,
            "if": self._if,
            "for": self._for,
            "while": self._while,
            "until": self._while,
            "case": self._case,
        }
        if self.bash:
            compounds |= {
                "[[": self._test,
                "select": self._for,
                "function": self._function_keyword,
                "coproc": self._coprocess,
            }
        compound = compounds.get(word)
        if compound is not None:
            return compound()
        if word in _CLOSERS:
            raise self._error(word)
        return self._simple()

    def _body(self, expecting: str = "") -> Sequence:
        body = self._sequence()
        if not body.items:
            raise self._error(expecting=expecting if self.pos >= len(self.text) else "")
        return body

    def _group(self) -> Group:
        self._expect("{")
        body = self._body("}")
        self._expect("}")
        return Group(body, redirects=self._redirects())

    def _if(self) -> If:
        self._expect("if")
        branches = []
        otherwise = None
        while True:
            condition = self._body("then")
            self._expect("then")
            branches.append((condition, self._body("fi")))
            if self._reserved("elif"):
                continue
            if self._reserved("else"):
                otherwise = self._body()
            self._expect("fi")
            return If(tuple(branches), otherwise, redirects=self._redirects())

    def _for(self) -> Command:
        menu = self._peek_word() == "select"
        self._expect("select" if menu else "for")
        self._skip_blanks()
        if self.bash and not menu and self.text.startswith("((", self.pos):
            return self._for_arithmetic()
        name = self._peek_word()
        if not is_name(name):
            if not self.bash:
                raise ShellSyntaxError("", self.line_number, message="Bad for loop variable")
            if name or self._operator() or self.pos >= len(self.text):
                raise self._error()
            raise self._error(self._peek_token())
        self._reserved(name)
        words: list[Word] | None = None
        if self._take(";"):
            self._newlines()
        else:
            self._newlines()
            if self._reserved("in"):
                words = []
                while not self._operator() and self.pos < len(self.text):
                    words.append(self.word())
                if not (self._take(";") or self._operator() == "\n"):
                    raise self._error()
        self._newlines()
        body = self._loop_body()
        return For(name, tuple(words) if words is not None else None, body, menu, redirects=self._redirects())

    def _loop_body(self) -> Sequence:
        if self.bash and self._peek_word() == "{":
            self._expect("{")
            body = self._body("}")
            self._expect("}")
            return body
        self._expect("do")
        body = self._body("done")
        self._expect("done")
        return body

    def _for_arithmetic(self) -> ForArithmetic:
        self.pos -= 1
        inner = self._arithmetic_text()
        pieces = inner.split(";")
        if len(pieces) != 3:
            raise self._error("((")
        first, condition, step = (self._within(piece)._document() for piece in pieces)
        self._take(";")
        self._newlines()
        return ForArithmetic((first, condition, step), self._loop_body(), redirects=self._redirects())

    def _while(self) -> While:
        until = self._peek_word() == "until"
        self._expect("until" if until else "while")
        condition = self._body("do")
        self._expect("do")
        body = self._body("done")
        self._expect("done")
        return While(condition, body, until, redirects=self._redirects())

    def _case(self) -> Case:
        self._expect("case")
        word = self.word()
        self._newlines()
        self._expect("in")
        self._newlines()
        branches = []
        while not self._reserved("esac"):
            self._take("(")
            if self.pos >= len(self.text):
                raise self._error(expecting=")")
            patterns = [self.word(pattern=True)]
            while self._take("|"):
                patterns.append(self.word(pattern=True))
            if not self._take(")"):
                raise self._error(expecting=")")
            body = self._sequence()
            self._newlines()
            end = next((operator for operator in (";;&", ";;", ";&") if self._take(operator)), "")
            branches.append((tuple(patterns), body, end or ";;"))
            self._newlines()
            if not end:
                self._expect("esac")
                break
        return Case(word, tuple(branches), redirects=self._redirects())

    def _coprocess(self) -> Coprocess:
        self._expect("coproc")
        name = self._peek_word()
        if is_name(name):
            before = self.pos, self.line_number
            self._reserved(name)
            if self._peek_word() in ("{", "while", "until", "for", "if", "case", "[[") or self._operator() == "(":
                return Coprocess(name, self._command())
            self.pos, self.line_number = before
        return Coprocess("COPROC", self._command())

    # -- [[ ]] --------------------------------------------------------------------------------------------------------

    def _test(self) -> Test:
        self._reserved("[[")
        tree = self._either()
        self._newlines()
        if not self._reserved("]]"):
            raise self._condition_error()
        return Test(tree, redirects=self._redirects())

    def _condition_error(self) -> ShellSyntaxError:
        token = self._peek_token()
        if not token or token == "newline":
            return self._incomplete("unexpected EOF while looking for `]]'")
        return ShellSyntaxError(
            token, self.line_number, message=f"syntax error in conditional expression: unexpected token `{token}'"
        )

    def _either(self) -> tuple[object, ...]:
        left = self._both()
        while True:
            self._newlines()
            if not self._take("||"):
                return left
            left = ("or", left, self._both())

    def _both(self) -> tuple[object, ...]:
        left = self._one()
        while True:
            self._newlines()
            if not self._take("&&"):
                return left
            left = ("and", left, self._one())

    def _one(self) -> tuple[object, ...]:
        self._newlines()
        negated = False
        while self._reserved("!"):
            negated = not negated
            self._newlines()
        if self._operator() == "(":
            self._deeper()
            self._take("(")
            inner = self._either()
            if not self._take(")"):
                raise self._condition_error()
            self.depth -= 1
        else:
            inner = self._primary()
        return ("not", inner) if negated else inner

    def _primary(self) -> tuple[object, ...]:
        word = self._peek_word()
        if self._operator() or self.pos >= len(self.text) or word == "]]":
            raise self._condition_error()
        if len(word) == 2 and word[0] == "-" and word[1].isalpha():
            before = self.pos
            self._reserved(word)
            if not self._operator() and self.pos < len(self.text) and self._peek_word() != "]]":
                return ("unary", word, self.word())
            self.pos = before
        left = self.word()
        operator = self._peek_word()
        symbol = self._operator()
        if symbol in ("<", ">"):
            self._take(symbol)
            return ("binary", symbol, left, self._operand())
        if operator in ("=", "==", "!=", "=~", "-eq", "-ne", "-lt", "-le", "-gt", "-ge", "-nt", "-ot", "-ef"):
            self._reserved(operator)
            return ("binary", operator, left, self._operand(operator))
        if symbol in ("&&", "||", ")", "\n") or operator == "]]":
            return ("unary", "-n", left)
        raise self._condition_error()

    def _operand(self, operator: str = "") -> Word:
        self._skip_blanks()
        if operator != "=~" and (self._operator() not in ("", "(") or self.pos >= len(self.text)):
            raise self._condition_error()
        return self.word(regex=operator == "=~", pattern=operator in ("=", "==", "!="), extglob=True)

    # -- redirections -------------------------------------------------------------------------------------------------

    def _redirects(self) -> tuple[Redirect, ...]:
        redirects = []
        while (redirect := self._redirect()) is not None:
            redirects.append(redirect)
        return tuple(redirects)

    def _redirect(self) -> Redirect | None:
        self._skip_blanks()
        start, fd, variable = self.pos, None, ""
        end = self.pos
        while end < len(self.text) and self.text[end] in _DIGITS and end - start < 10:
            end += 1
        if end > start and self.text[end : end + 1] in ("<", ">"):
            fd = int(self.text[start:end])
            self.pos = end
        elif self.bash and self.text.startswith("{", start):
            close = self.text.find("}", start, start + 64)
            if close > 0 and is_name(self.text[start + 1 : close]) and self.text[close + 1 : close + 2] in ("<", ">"):
                variable = self.text[start + 1 : close]
                self.pos = close + 1
        if self.pos < len(self.text) and self.text[self.pos] not in "<>&":
            self.pos = start
            return None
        if self.bash and self.text.startswith(("<(", ">("), self.pos):
            self.pos = start
            return None  # a process substitution
        operator = self._operator()
        if operator not in _REDIRECTIONS:
            self.pos = start
            return None
        self.pos += len(operator)
        if operator == "<<" and self.bash and self.text.startswith("<", self.pos):
            self.pos += 1
            return Redirect("<<<", fd, self._redirect_word(), variable=variable)
        if operator in ("<<", "<<-"):
            return self._here_document(operator, fd)
        return Redirect(operator, fd, self._redirect_word(), variable=variable)

    def _redirect_word(self) -> Word:
        operator = self._operator()
        if self.bash and self.text.startswith(("<(", ">("), self.pos):
            return self.word()
        if not self.bash and operator in _REDIRECTIONS:
            raise ShellSyntaxError("redirection", self.line_number)
        if operator or self.pos >= len(self.text):
            raise self._error("newline" if self.bash and self.pos >= len(self.text) else None)
        return self.word()

    def _here_document(self, operator: str, fd: int | None) -> Redirect:
        self._skip_blanks()
        if self._operator() or self.pos >= len(self.text):
            raise self._error("newline" if self.pos >= len(self.text) else None)
        start = self.pos
        word = self.word()
        raw = self.text[start : self.pos]
        delimiter = "".join(part.value for part in word if isinstance(part, Text))
        document = HereDocument(delimiter, operator == "<<-", any(c in raw for c in "'\"\\"))
        self._pending.append(document)
        return Redirect("<<", fd, (), document)

    def _read_documents(self) -> None:
        pending, self._pending = self._pending, []
        for document in pending:
            lines = []
            while True:
                if self.pos >= len(self.text):
                    if self.prompting:
                        raise self._incomplete("here-document", needs=document.delimiter)
                    break
                end = self.text.find("\n", self.pos)
                end = len(self.text) if end < 0 else end
                line = self.text[self.pos : end]
                self.pos = min(end + 1, len(self.text))
                self.line_number += 1
                if document.strip:
                    line = line.lstrip("\t")
                if line == document.delimiter:
                    break
                lines.append(line + "\n")
            body = "".join(lines)
            document.body = (Text(body, True),) if document.literal else self._within(body)._document()

    def _document(self) -> Word:
        parts: list[Part] = []
        self._quoted_until("", parts)
        return tuple(parts)

    # -- simple commands ----------------------------------------------------------------------------------------------

    def _simple(self) -> Command:
        assignments: list[Assignment] = []
        words: list[Word | Assignment] = []
        redirects: list[Redirect] = []
        line = self.line_number
        declaring = False
        used: set[str] = set()
        while True:
            redirect = self._redirect()
            if redirect is not None:
                redirects.append(redirect)
                continue
            operator = self._operator()
            substitution = self.bash and self.text.startswith(("<(", ">("), self.pos)
            if operator == "(" and len(words) == 1 and not assignments and not redirects and not declaring:
                first = words[0]
                assert isinstance(first, tuple)
                return self._function(first)
            if (operator and not substitution) or self.pos >= len(self.text):
                break
            if not words:
                name = self._peek_word()
                if self.aliases and name in self.aliases and name not in used:
                    used.add(name)
                    self._skip_blanks()
                    self._replace_alias(name)
                    if self._peek_word() in RESERVED_BY_BASH or self._operator():
                        return self._any_command()
                    continue
            assignment = self._assignment(arrays=self.bash) if not words or declaring else None
            if assignment is not None:
                (words if words else assignments).append(assignment)
            else:
                word = self.word()
                declaring = declaring or (not words and _literal(word) in DECLARATIONS)
                words.append(word)
        if not (assignments or words or redirects):
            raise self._error()
        return Simple(tuple(assignments), tuple(words), tuple(redirects), line)

    def _replace_alias(self, name: str) -> None:
        """Puts an alias's text in its place; one that ends with a blank lets the next word be an alias, too."""
        value = self.aliases[name]
        self.text = self.text[: self.pos] + value + self.text[self.pos + len(name) :]
        if value.endswith((" ", "\t")):
            start, self.pos = self.pos, self.pos + len(value)
            following = self._peek_word()
            if following in self.aliases and following != name:
                self.text = self.text[: self.pos] + self.aliases[following] + self.text[self.pos + len(following) :]
            self.pos = start

    def _function(self, word: Word) -> Function:
        self._take("(")
        if not self._take(")"):
            raise self._error("newline" if self.bash and self.pos >= len(self.text) else None, expecting=")")
        name = _literal(word)
        if not (is_name(name) or (self.bash and name and not set(name) & set("$'\"`"))):
            raise self._error("(")
        return self._function_body(name)

    def _function_keyword(self) -> Function:
        self._reserved("function")
        name = self._peek_word()
        if not name:
            raise self._error()
        self._reserved(name)
        if self._take("(") and not self._take(")"):
            raise self._error()
        return self._function_body(name)

    def _function_body(self, name: str) -> Function:
        self._newlines()
        self._skip_blanks()
        start = self.pos
        body = self._command()
        if self.bash and isinstance(body, Simple):
            self.pos = start
            raise self._error()
        return Function(name, body, self.text[start : self.pos].strip())

    def _assignment(self, *, arrays: bool) -> Assignment | None:
        end = self.pos
        while end < len(self.text) and self.text[end] in NAME:
            end += 1
        name = self.text[self.pos : end]
        if not is_name(name):
            return None
        index: Word | None = None
        after = self.pos, self.line_number
        if arrays and self.text.startswith("[", end):
            close = self._subscript_end(end)
            if close < 0 or self.text[close + 1 : close + 2] not in ("=", "+"):
                return None
            index = self._within(self.text[end + 1 : close])._subscript()
            end = close + 1
        append = self.bash and self.text.startswith("+=", end)
        if not (append or self.text.startswith("=", end)):
            self.pos, self.line_number = after
            return None
        self.pos = end + (2 if append else 1)
        if arrays and index is None and self.text.startswith("(", self.pos):
            return Assignment(name, (), None, append, self._elements())
        at_end = self.pos >= len(self.text) or self.text[self.pos] in _META
        if at_end and not (self.bash and self.text.startswith(("<(", ">("), self.pos)):
            return Assignment(name, (), index, append)
        return Assignment(name, self.word(assignment=True), index, append)

    def _subscript_end(self, start: int) -> int:
        """Where the bracket closes that opens at `start`; -1 when it doesn't on this line."""
        depth, at = 0, start
        while at < len(self.text) and self.text[at] != "\n" and at - start < 65_536:
            character = self.text[at]
            if character == "\\":
                at += 1
            elif character in "'\"":
                close = self.text.find(character, at + 1)
                if close < 0:
                    return -1
                at = close
            elif character == "[":
                depth += 1
            elif character == "]":
                depth -= 1
                if not depth:
                    return at
            at += 1
        return -1

    def _subscript(self) -> Word:
        """The text of a subscript as a word in which blanks and operators stand for themselves."""
        parts: list[Part] = []
        plain: list[str] = []
        while self.pos < len(self.text):
            character = self.text[self.pos]
            if character in "'\"\\$`":
                if plain:
                    parts.append(Text("".join(plain), False))
                    plain.clear()
                self._special(parts, quoted=False)
            else:
                plain.append(character)
                self.pos += 1
        if plain:
            parts.append(Text("".join(plain), False))
        return tuple(parts)

    def _elements(self) -> tuple[tuple[Word | None, bool, Word], ...]:
        """The inside of `name=( ... )`: an index or None, whether it is appended to, and the value."""
        self.pos += 1
        found: list[tuple[Word | None, bool, Word]] = []
        while True:
            self._newlines()
            if self._take(")"):
                return tuple(found)
            self._skip_blanks()
            if self.pos >= len(self.text):
                raise self._incomplete("unexpected EOF while looking for matching `)'")
            if self._operator() and not self.text.startswith(("<(", ">("), self.pos):
                raise self._error()
            if self.text.startswith("[", self.pos):
                close = self._subscript_end(self.pos)
                if close > 0 and self.text.startswith(("=", "+="), close + 1):
                    index = self._within(self.text[self.pos + 1 : close])._subscript()
                    append = self.text.startswith("+=", close + 1)
                    self.pos = close + (3 if append else 2)
                    at_end = self.pos >= len(self.text) or self.text[self.pos] in _META
                    found.append((index, append, () if at_end else self.word(assignment=True)))
                    continue
            found.append((None, False, self.word()))

    # -- words --------------------------------------------------------------------------------------------------------

    def word(
        self, *, assignment: bool = False, regex: bool = False, pattern: bool = False, extglob: bool = False
    ) -> Word:
        """A word, up to a blank or an operator."""
        self._skip_blanks()
        parts: list[Part] = []
        plain: list[str] = []
        depth = 0
        groups = self.extglob or extglob
        while self.pos < len(self.text):
            run = _PLAIN.match(self.text, self.pos)
            if run is not None:
                plain.append(run[0])
                self.pos = run.end()
                continue
            character = self.text[self.pos]
            if regex and (character in "()|" or (depth > 0 and character in " <>&;\t")):
                depth += {"(": 1, ")": -1}.get(character, 0)
                if depth < 0:
                    break
                plain.append(character)
                self.pos += 1
                continue
            if regex and character == "\\" and self.text[self.pos + 1 : self.pos + 2] not in ("", "\n"):
                plain.append(self.text[self.pos : self.pos + 2])  # the expression's own escape
                self.pos += 2
                continue
            if groups and character in "?*+@!" and self.text.startswith("(", self.pos + 1) and not regex:
                self._deeper()
                plain.append(character + "(")
                self.pos += 2
                self._group_pattern(parts, plain)
                self.depth -= 1
                continue
            if character in _META:
                if self.bash and character in "<>" and self.text.startswith("(", self.pos + 1) and not plain:
                    self._process_substitution(parts)
                    continue
                break
            if character in "'\"\\$`":
                if plain:
                    parts.append(Text("".join(plain), False))
                    plain.clear()
                self._special(parts, quoted=False)
            else:
                plain.append(character)
                self.pos += 1
        if plain:
            parts.append(Text("".join(plain), False))
        if not parts and not assignment:
            raise self._error()
        return tuple(parts)

    def _group_pattern(self, parts: list[Part], plain: list[str]) -> None:
        """The inside of `@(a|b)`, up to its closing parenthesis."""
        depth = 1
        while depth:
            if self.pos >= len(self.text):
                raise self._incomplete("unexpected EOF while looking for matching `)'")
            character = self.text[self.pos]
            if character in "'\"\\$`":
                if plain:
                    parts.append(Text("".join(plain), False))
                    plain.clear()
                self._special(parts, quoted=False)
                continue
            depth += {"(": 1, ")": -1}.get(character, 0)
            plain.append(character)
            self.pos += 1

    def _process_substitution(self, parts: list[Part]) -> None:
        op = self.text[self.pos]
        self.pos += 2
        parts.append(ProcessSubstitution(self._inner_sequence(), op))

    def _inner_sequence(self) -> Sequence:
        """Commands up to the parenthesis that closes a substitution."""
        self._deeper()
        pending, self._pending = self._pending, []  # here-documents of the outer line are read after it
        body = self._sequence()
        if not self._take(")"):
            if self.pos >= len(self.text):
                raise self._incomplete("unexpected EOF while looking for matching `)'", needs=")")
            raise self._error()
        self._pending = pending
        self.depth -= 1
        return body

    def _special(self, parts: list[Part], *, quoted: bool) -> None:
        """Takes a quote, escape or expansion at the current position."""
        character = self.text[self.pos]
        if character == "'":
            end = self.text.find("'", self.pos + 1)
            if end < 0:
                raise self._incomplete("unexpected EOF while looking for matching `''", needs="'")
            parts.append(Text(self.text[self.pos + 1 : end], True))
            self.line_number += self.text.count("\n", self.pos, end)
            self.pos = end + 1
        elif character == '"':
            self.pos += 1
            before = len(parts)
            self._quoted_until('"', parts)
            if len(parts) == before:
                parts.append(Text("", True))
        elif character == "\\":
            if self.pos + 1 >= len(self.text):
                if self.prompting:
                    raise self._incomplete("unexpected end of file")
                parts.append(Text("\\", True))
                self.pos += 1
                return
            if self.text[self.pos + 1] == "\n":
                self.line_number += 1
            else:
                parts.append(Text(self.text[self.pos + 1], True))
            self.pos += 2
        elif character == "`":
            self._backquotes(parts, quoted)
        else:
            self._dollar(parts, quoted)

    def _quoted_until(self, end: str, parts: list[Part]) -> None:
        """The inside of double quotes, or (with no end) of a here-document."""
        plain: list[str] = []

        def flush() -> None:
            if plain:
                parts.append(Text("".join(plain), True))
                plain.clear()

        while True:
            run = _QUOTED.match(self.text, self.pos)
            if run is not None:
                plain.append(run[0])
                self.pos = run.end()
            if self.pos >= len(self.text):
                if end:
                    raise self._incomplete("unexpected EOF while looking for matching `\"'", needs='"')
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
                    self.line_number += 1
                elif following in "$`\\" or (following == '"' and end):
                    plain.append(following)
                else:
                    plain.append(character + following)
                self.pos += 2
            elif character in "$`":
                flush()
                if character == "`":
                    self._backquotes(parts, True)
                else:
                    self._dollar(parts, True)
            else:
                self.line_number += character == "\n"
                plain.append(character)
                self.pos += 1

    def _backquotes(self, parts: list[Part], quoted: bool) -> None:
        end = self.pos + 1
        inner: list[str] = []
        while end < len(self.text) and self.text[end] != "`":
            if self.text[end] == "\\" and (
                self.text[end + 1 : end + 2] in ("`", "\\", "$") or (quoted and self.text[end + 1 : end + 2] == '"')
            ):
                end += 1
            inner.append(self.text[end])
            end += 1
        if end >= len(self.text):
            raise self._incomplete("unexpected EOF while looking for matching ``'", needs="`")
        self._deeper()
        self.pos = end + 1
        parser = self._within("".join(inner))
        self.depth -= 1
        parts.append(Substitution(parser.parse(), quoted))

    def _dollar(self, parts: list[Part], quoted: bool) -> None:
        following = self.text[self.pos + 1 : self.pos + 2]
        if self.text.startswith("$((", self.pos) and self._is_arithmetic():
            self._arithmetic(parts, quoted)
        elif following == "(":
            self.pos += 2
            parts.append(Substitution(self._inner_sequence(), quoted))
        elif following == "{":
            self._deeper()
            self._braced(parts, quoted)
            self.depth -= 1
        elif following == "[" and self.bash:
            close = self._subscript_end(self.pos + 1)
            if close < 0:
                raise self._incomplete("unexpected EOF while looking for matching `]'", needs="]")
            parts.append(Arithmetic(self._within(self.text[self.pos + 2 : close])._document(), quoted))
            self.pos = close + 1
        elif following == "'" and self.bash and not quoted:
            self._ansi_c(parts)
        elif following == '"' and self.bash and not quoted:
            self.pos += 1  # a text to be translated, of which there are no translations
            self._special(parts, quoted=False)
        elif following and following in NAME_START:
            end = self.pos + 1
            while end < len(self.text) and self.text[end] in NAME:
                end += 1
            parts.append(Variable(self.text[self.pos + 1 : end], quoted))
            self.pos = end
        elif following and following in _SPECIAL:
            parts.append(Variable(following, quoted))
            self.pos += 2
        else:
            parts.append(Text("$", quoted))
            self.pos += 1

    def _ansi_c(self, parts: list[Part]) -> None:
        end = self.pos + 2
        while end < len(self.text) and self.text[end] != "'":
            end += 2 if self.text[end] == "\\" else 1
        if end >= len(self.text):
            raise self._incomplete("unexpected EOF while looking for matching `''", needs="'")
        parts.append(Text(unescape(self.text[self.pos + 2 : end], quote=True), True))
        self.pos = end + 1

    def _is_arithmetic(self) -> bool:
        """Whether `$((` is closed by `))` and not a command substitution that starts with a subshell."""
        depth, at = 0, self.pos + 1
        while at < len(self.text):
            found = _PARENTHESIS.search(self.text, at)
            if found is None:
                break
            at = found.start()
            if self.text[at] == "(":
                depth += 1
            else:
                depth -= 1
                if depth == 1 and self.text[at : at + 2] != "))":
                    return False
                if depth == 0:
                    return True
            at += 1
        return True

    def _arithmetic_text(self) -> str:
        """The inside of `((...))` with the position on what comes before the parentheses; goes on behind them."""
        depth, end = 2, self.pos + 3
        while end < len(self.text) and depth:
            depth += {"(": 1, ")": -1}.get(self.text[end], 0)
            end += 1
        if depth:
            raise self._incomplete("unexpected EOF while looking for matching `)'", needs=")")
        inner = self.text[self.pos + 3 : end - 2]
        self.pos = end
        return inner

    def _arithmetic(self, parts: list[Part], quoted: bool) -> None:
        self._deeper()
        inner = self._arithmetic_text()
        parts.append(Arithmetic(self._within(inner)._document(), quoted))
        self.depth -= 1

    def _bad_substitution(self, start: int) -> ShellSyntaxError:
        closing = self.text.find("}", start)
        shown = self.text[start : closing + 1] if closing >= 0 else self.text[start:]
        return ShellSyntaxError("Bad substitution", self.line_number, message=f"{shown[:200]}: bad substitution")

    def _braced(self, parts: list[Part], quoted: bool) -> None:
        start = self.pos
        at = self.pos + 2
        length = self.text.startswith("#", at) and self.text[at + 1 : at + 2] not in ("}", "")
        if length and self.text[at + 1 : at + 2] in (":", "%", "=", "+", "/") and self.bash:
            length = False
        if length:
            at += 1
        after = self.text[at + 1 : at + 3]
        indirect = self.bash and self.text.startswith("!", at) and (after[:1] or "}") not in "}:-=?+%/^,"
        if after[:1] == "#" and after != "#}":
            indirect = False
        if indirect:
            at += 1
        end = at
        if end < len(self.text) and self.text[end] in NAME_START:
            while end < len(self.text) and self.text[end] in NAME:
                end += 1
        elif end < len(self.text) and self.text[end] in _DIGITS:
            while end < len(self.text) and self.text[end] in _DIGITS:
                end += 1
        elif end < len(self.text) and self.text[end] in _SPECIAL:
            end += 1
        name = self.text[at:end]
        if end >= len(self.text):
            raise self._incomplete("unexpected EOF while looking for matching `}'", needs="}")
        if not name:
            raise self._bad_substitution(start)
        index: Word | None = None
        if self.bash and self.text.startswith("[", end) and is_name(name):
            close = self._subscript_end(end)
            if close < 0:
                raise self._bad_substitution(start)
            index = self._within(self.text[end + 1 : close])._subscript()
            end = close + 1
        kind = "length" if length else ""
        if indirect:
            kind = "indirect"
            if index is not None and _literal(index) in ("@", "*"):
                kind = "keys"
            elif self.text[end : end + 1] in ("*", "@") and self.text[end + 1 : end + 2] == "}" and index is None:
                kind = "prefix"
                index = (Text(self.text[end], False),)
                end += 1
        if self.text[end : end + 1] == "}":
            self.pos = end + 1
            parts.append(Variable(name, quoted, kind, index=index))
            return
        operators = (*_WORD_OPERATORS, *_BASH_OPERATORS) if self.bash else _WORD_OPERATORS
        operator = next((op for op in operators if self.text.startswith(op, end)), None)
        if operator is None or length or kind in ("keys", "prefix"):
            raise self._bad_substitution(start)
        if operator == "@":
            letter = self.text[end + 1 : end + 2]
            if letter not in ("Q", "E", "P", "A", "a", "U", "u", "L", "K", "k") or self.text[end + 2 : end + 3] != "}":
                raise self._bad_substitution(start)
            self.pos = end + 3
            parts.append(Variable(name, quoted, f"@{letter}", index=index))
            return
        self.pos = end + len(operator)
        word2: Word | None = None
        if operator in ("/", "//", "/#", "/%"):
            word = self._brace_word(quoted, "/}", pattern=True)
            if self.text[self.pos - 1] == "/":
                word2 = self._brace_word(quoted, "}")
        elif operator == ":":
            word = self._brace_word(quoted, ":}")
            if self.text[self.pos - 1] == ":":
                word2 = self._brace_word(quoted, "}")
        else:
            word = self._brace_word(quoted, "}", pattern=operator[0] in "#%^,")
        if indirect:
            operator = "!" + operator
        parts.append(Variable(name, quoted, operator, word, word2, index))

    def _brace_word(self, quoted: bool, ends: str, *, pattern: bool = False) -> Word:
        """The word of `${name-word}`, up to one of `ends`, which is taken as well."""
        parts: list[Part] = []
        plain: list[str] = []
        nested = 0
        while True:
            if self.pos >= len(self.text):
                raise self._incomplete("unexpected EOF while looking for matching `}'", needs="}")
            character = self.text[self.pos]
            if character in ends and not (nested and character == ":"):
                self.pos += 1
                break
            if character in '"\\$`' or (character == "'" and (not quoted or pattern)):
                if plain:
                    parts.append(Text("".join(plain), quoted and not pattern))
                    plain.clear()
                if character == "\\" and quoted and not pattern and self.text[self.pos + 1 : self.pos + 2] not in (
                    "$", "`", '"', "\\", "}", "\n",
                ):  # fmt: skip
                    plain.append("\\")
                    self.pos += 1
                    continue
                self._special(parts, quoted=quoted and not pattern)
            else:
                nested += (character == "?" and ":" in ends) - (character == ":" and nested > 0)
                plain.append(character)
                self.pos += 1
        if plain:
            parts.append(Text("".join(plain), quoted and not pattern))
        return tuple(parts)


_PARENTHESIS = re.compile(r"[()]")


def _literal(word: Word) -> str:
    """An unquoted word's text; empty when it is something else."""
    if len(word) == 1 and isinstance(word[0], Text) and not word[0].quoted:
        return word[0].value
    return ""


def parse(text: str, *, bash: bool = False, prompting: bool = False) -> Sequence:
    """The tree of a text. Raises ShellSyntaxError."""
    return Parser(text, bash, prompting).parse()
