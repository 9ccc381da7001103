"""The syntax tree of the shells: words and their parts, redirections, commands."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

NAME_START = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_")
NAME = NAME_START | set("0123456789")


def is_name(text: str) -> bool:
    return bool(text) and text[0] in NAME_START and set(text) <= NAME


@dataclass(frozen=True)
class Text:
    value: str
    quoted: bool


@dataclass(frozen=True)
class Variable:
    """`$name` or `${name<op>word}`; `op` is empty, or one of the operators.

    `length`, `indirect`, `keys` (`${!a[@]}`) and `prefix` (`${!name*}`) stand for those in front of the name. `index`
    is the subscript of an array's element, `@` and `*` for all of them.
    """

    name: str
    quoted: bool
    op: str = ""
    word: Word | None = None
    word2: Word | None = None
    index: Word | None = None

    @property
    def every(self) -> str:
        """`@` or `*` for all positional parameters or all elements of an array, else empty."""
        if self.name in ("@", "*"):
            return self.name
        if self.index is not None and len(self.index) == 1:
            part = self.index[0]
            if isinstance(part, Text) and part.value in ("@", "*"):
                return part.value
        return ""


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


@dataclass(frozen=True)
class ProcessSubstitution:
    """`<(...)` or `>(...)`: the name of a pipe from or to commands."""

    body: Sequence
    op: str
    quoted: bool = False


Part = Text | Variable | Substitution | Arithmetic | ProcessSubstitution


Word = tuple[Part, ...]


@dataclass(frozen=True)
class Assignment:
    """`name=value`, `name[index]=value` or `name=(elements)`, of which each may have an index; `+=` appends."""

    name: str
    value: Word = ()
    index: Word | None = None
    append: bool = False
    elements: tuple[tuple[Word | None, bool, Word], ...] | None = None


@dataclass
class HereDocument:
    """The lines after a command that are its input; `body` is known once they have been read."""

    delimiter: str
    strip: bool
    literal: bool
    body: Word = ()


@dataclass(frozen=True)
class Redirect:
    """`fd<op>target`; `<<` has a document instead of a target. `variable` is the name in `{name}<op>target`."""

    op: str
    fd: int | None
    target: Word
    document: HereDocument | None = None
    variable: str = ""


@dataclass(frozen=True)
class Simple:
    assignments: tuple[Assignment, ...] = ()
    words: tuple[Word | Assignment, ...] = ()
    redirects: tuple[Redirect, ...] = ()
    line: int = 1


@dataclass(frozen=True)
class Pipeline:
    commands: tuple[Command, ...]
    negated: bool = False
    timed: str = ""


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
class Compound:
    """A command that contains others; its redirections hold for all of them."""

    redirects: tuple[Redirect, ...] = field(default=(), kw_only=True)


@dataclass(frozen=True)
class Subshell(Compound):
    """`( commands )`."""

    body: Sequence


@dataclass(frozen=True)
class Group(Compound):
    """`{ commands; }`."""

    body: Sequence


@dataclass(frozen=True)
class If(Compound):
    branches: tuple[tuple[Sequence, Sequence], ...]
    otherwise: Sequence | None = None


@dataclass(frozen=True)
class For(Compound):
    """`for name in words`, or `select` with a menu of them."""

    name: str
    words: tuple[Word, ...] | None
    body: Sequence
    menu: bool = False


@dataclass(frozen=True)
class ForArithmetic(Compound):
    """`for ((first; condition; step))`."""

    parts: tuple[Word, Word, Word]
    body: Sequence


@dataclass(frozen=True)
class While(Compound):
    condition: Sequence
    body: Sequence
    until: bool = False


@dataclass(frozen=True)
class Case(Compound):
    """Each branch has patterns, commands, and what ends it: `;;`, `;&` (on into the next) or `;;&` (go on matching)."""

    word: Word
    branches: tuple[tuple[tuple[Word, ...], Sequence, str], ...]


@dataclass(frozen=True)
class Function(Compound):
    name: str
    body: Command
    text: str = ""


@dataclass(frozen=True)
class Test(Compound):
    """`[[ ... ]]`: a tree of `("or" | "and", left, right)`, `("not", one)`, `("unary" | "binary", operator, words)`."""

    tree: tuple[object, ...]


@dataclass(frozen=True)
class Calculation(Compound):
    """`((expression))`."""

    word: Word


@dataclass(frozen=True)
class Coprocess(Compound):
    name: str
    body: Command


Command = (
    Simple | Subshell | Group | If | For | ForArithmetic | While | Case | Function | Test | Calculation | Coprocess
)
