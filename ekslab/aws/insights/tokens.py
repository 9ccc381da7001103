"""Cuts a query into tokens, from left to right as the parser asks for them."""

from __future__ import annotations

import re
from dataclasses import dataclass

_SPACE = re.compile(r"(?:\s|\#[^\n]*)+")
_REGEX = re.compile(r"/(?:\\.|[^/\\\n])+/")
_TOKENS = re.compile(
    r"""(?P<string>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')
    |(?P<quoted>`[^`]*`)
    |(?P<number>(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)
    |(?P<name>[@A-Za-z_][\w@.]*)
    |(?P<symbol>=~|!=|<=|>=|[=<>|,()\[\]*/%^+-])""",
    re.VERBOSE,
)
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}


class MalformedQuery(ValueError):
    """An invalid query. `start` and `end` are offsets into its text, from 0."""

    def __init__(self, message: str, start: int, end: int) -> None:
        super().__init__(message)
        self.start = start
        self.end = end


@dataclass(frozen=True)
class Token:
    """A token.

    Its kind is `string`, `quoted`, `number`, `name`, `symbol`, `regex`, `end` after the last one, or `none` where no
    token can begin.
    """

    kind: str
    text: str
    start: int
    end: int


class Tokens:
    """The tokens of a query: the current one, and the one that follows it.

    Where the parser expects a regular expression it asks for one: elsewhere a slash divides.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.current = self._read(0)
        self.previous = self.current

    @property
    def following(self) -> Token:
        return self._read(self.current.end)

    def advance(self) -> Token:
        """Goes on to the next token; returns the one that it leaves."""
        self.previous = self.current
        self.current = self._read(self.current.end)
        return self.previous

    def regex(self) -> Token | None:
        """The regular expression that begins at the current token, if one does: `/.../`."""
        found = _REGEX.match(self.text, self.current.start)
        if found is None:
            return None
        self.previous = Token("regex", found[0], found.start(), found.end())
        self.current = self._read(found.end())
        return self.previous

    def symbol(self, *symbols: str) -> Token | None:
        """Goes past one of these symbols, if it is the current token."""
        return self.advance() if self.current.kind == "symbol" and self.current.text in symbols else None

    def keyword(self, *words: str) -> Token | None:
        """Goes past one of these words, in capitals or not, if it is the current token."""
        return self.advance() if self.current.kind == "name" and self.current.text.lower() in words else None

    def expect(self, symbol: str) -> Token:
        """Goes past a symbol that must follow."""
        token = self.symbol(symbol)
        if token is None:
            raise self.unexpected()
        return token

    def expect_keyword(self, word: str) -> Token:
        """Goes past a word that must follow."""
        token = self.keyword(word)
        if token is None:
            raise self.unexpected()
        return token

    def unexpected(self, token: Token | None = None, hint: str = "") -> MalformedQuery:
        """The error of a token that can't be where it is: the current one, or the one given."""
        token = token or self.current
        return self.fault(f"unexpected symbol found {token.text or '<EOF>'}", token, hint)

    def fault(self, message: str, token: Token, hint: str = "") -> MalformedQuery:
        """The error of something that is wrong with a token, with its line (from 1) and position (from 0)."""
        line = self.text.count("\n", 0, token.start) + 1
        position = token.start - (self.text.rfind("\n", 0, token.start) + 1)
        return MalformedQuery(f"{message} at line {line} and position {position}{hint}", token.start, token.end)

    def _read(self, at: int) -> Token:
        space = _SPACE.match(self.text, at)
        start = space.end() if space else at
        if start == len(self.text):
            return Token("end", "", start, start)
        found = _TOKENS.match(self.text, start)
        if found is None:
            return Token("none", self.text[start], start, start + 1)
        return Token(str(found.lastgroup), found[0], start, found.end())


def unquoted(text: str) -> str:
    """The text of a string in quotes."""
    return re.sub(r"\\(.)", lambda found: _ESCAPES.get(found[1], found[1]), text[1:-1], flags=re.DOTALL)
