"""Output formats (`%field`, `%field[arg]`, `%20field`, `%tolower(field)`), and alerts as Falco's text and JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain
from typing import Any, TypeAlias

from falcorules import ast
from falcorules.compile import ConditionFault, FatalFault, check_operand
from falcorules.fields import ANCESTORS, FIXED, TIMES, UnknownField, fields, resolve
from falcorules.parser import ParseFailure, Parser
from falcorules.text import MISSING, as_text, iso8601
from falcorules.transformers import TRANSFORMERS, texts

_NUMBER = re.compile(r"[0-9]+")
_LONGEST_NAME = 100
_OPEN_FAMILIES = ("evt.arg.", "evt.rawarg.", "evt.abspath.", "evt.type.is.", "thread.cgroup.")
Getter: TypeAlias = Callable[[str, "str | None"], Any]


class BadFormat(Exception):
    """An output format is invalid. `unknown` is True if it names an unknown field."""

    def __init__(self, message: str, *, unknown: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.unknown = unknown


@dataclass(frozen=True)
class Token:
    """A field or transformer in a format. `width` pads or cuts the text (0: neither). `fields` are the fields it uses:
    the name in `output_fields`, and the arguments for `Event.get`."""

    operand: ast.Operand
    fields: tuple[tuple[str, str, str | None], ...]
    width: int = 0


@dataclass(frozen=True)
class Format:
    """A parsed output format: text and tokens in turn."""

    parts: tuple[str | Token, ...]

    @staticmethod
    @lru_cache(1024)
    def parse(text: str) -> Format:
        """Raises BadFormat."""
        if not text:
            raise BadFormat("empty formatting token")
        text = text.removeprefix("*")
        parts: list[str | Token] = []
        parser = Parser(text)
        at = 0
        while at < len(text):
            found = text.find("%", at)
            if found < 0:
                parts.append(text[at:])
                break
            if found > at:
                parts.append(text[at:found])
            token, at = _token(parser, text, found + 1)
            parts.append(token)
        return Format(tuple(parts))

    @property
    def tokens(self) -> tuple[Token, ...]:
        return tuple(part for part in self.parts if isinstance(part, Token))

    def text(self, get: Getter) -> str:
        """The format with values in place of the tokens; a missing value shows as <NA>."""
        return "".join(part if isinstance(part, str) else _shown(part, get) for part in self.parts)

    def values(self, get: Getter) -> dict[str, Any]:
        """The value of each field by its name, None if it is missing. Results of transformers are left out."""
        return {name: _got(get, field, argument) for token in self.tokens for name, field, argument in token.fields}


def _token(parser: Parser, text: str, at: int) -> tuple[Token, int]:
    if at == len(text):
        raise BadFormat("invalid formatting syntax: formatting cannot end with a %")
    width = 0
    if match := _NUMBER.match(text, at):
        width, at = min(int(match[0]), 1 << 16), match.end()
        if at == len(text):
            raise BadFormat("invalid formatting syntax: formatting cannot end with a number")
    for operand, end in chain(_transformers(parser, at), _candidates(parser, at)):
        try:
            check_operand(operand)
            fields = [node for node in ast.walk(operand) if isinstance(node, ast.Field)]
            return Token(operand, tuple(_named(node) for node in fields), width), end
        except FatalFault as fault:
            raise BadFormat(fault.message) from None
        except (ConditionFault, UnknownField):
            continue
    # Falco tries ever shorter names, and reports the last one, of one letter.
    raise BadFormat("unknown filter: unexpected token after '", unknown=True)


def _named(field: ast.Field) -> tuple[str, str, str | None]:
    """The name of a field in `output_fields`, and the arguments for `Event.get`. Raises UnknownField."""
    reference = resolve(field.name, field.argument)
    argument = reference.argument
    if argument is None and reference.field in ANCESTORS:
        argument = "0"  # the process itself
    return ast.canonical(field), reference.field, argument


def _transformers(parser: Parser, at: int) -> Iterator[tuple[ast.Operand, int]]:
    """The transformer that starts here, if any, and where it ends; then the same without its [argument]."""
    for index in (True, False):
        parser.at = at
        try:
            found = parser.transformer(index=index)
        except ParseFailure:
            continue
        if found:
            yield found, parser.at


def _candidates(parser: Parser, at: int) -> Iterator[tuple[ast.Operand, int]]:
    """The fields that the text may name here, the longest first, and where they end."""
    parser.at = at
    name = parser.field_name()
    if not name:
        return
    parser.at = at
    try:
        found = parser.field()
    except ParseFailure:
        found = None
    if found and found.argument is not None:
        yield found, parser.at
    name = name[:_LONGEST_NAME]
    while name:
        if name in fields() or name.startswith(_OPEN_FAMILIES):
            yield ast.Field(name), at + len(name)
        name = name[:-1]


def _got(get: Getter, field: str, argument: str | None) -> Any:
    if field in FIXED:
        return FIXED[field]
    return None if fields()[field].filter_only else get(field, argument)


def _shown(token: Token, get: Getter) -> str:
    if isinstance(token.operand, ast.Field):
        _, field, argument = token.fields[0]
        value = _got(get, field, argument)
        shown = MISSING if value is None else as_text(value, field)
    else:
        value = evaluated(token.operand, get)
        shown = MISSING if value is None else as_text(value).partition("\0")[0]
    if token.width:  # in bytes
        data = shown.encode("utf-8", "surrogateescape")[: token.width].ljust(token.width)
        shown = data.decode("utf-8", "surrogateescape")
    return shown


def evaluated(operand: ast.Operand, get: Getter) -> Any:
    """The value of a field or transformer; None if it is missing. Raises UnknownField."""
    match operand:
        case ast.Field():
            _, field, argument = _named(operand)
            value = _got(get, field, argument)
            return as_text(value, field) if field in TIMES and value is not None else value
        case ast.Value(text):
            return text
        case ast.TransformerList(items):
            return texts(*(evaluated(item, get) for item in items))
        case ast.Transformer("val", (field_, *_)):
            return evaluated(field_, get)
        case ast.Transformer(name, arguments, argument):
            values = [evaluated(item, get) for item in arguments]
            return TRANSFORMERS[name](*values, argument) if name == "getopt" else TRANSFORMERS[name](*values)
    return None


@dataclass(frozen=True)
class Alert:
    """An alert. `time` is in ns since the epoch (UTC), `output` is the whole line with time and priority,
    `output_fields` maps field names to values (None: missing)."""

    time: int
    rule: str
    priority: str
    source: str
    hostname: str
    output: str
    tags: tuple[str, ...] = ()
    output_fields: Mapping[str, Any] = field(default_factory=dict)
    message: str = ""
    # Which optional properties the JSON line has, in addition to the fixed ones.
    properties: Sequence[str] = ("output", "tags", "output_fields")

    def to_dict(self) -> dict[str, Any]:
        """The object of Falco's JSON line, with its order of keys."""
        optional = {
            "message": self.message,
            "output": self.output,
            "output_fields": dict(sorted(self.output_fields.items())),
            "tags": list(self.tags),
        }
        everything = {
            "hostname": self.hostname,
            **{name: value for name, value in optional.items() if name in self.properties},
            "priority": self.priority,
            "rule": self.rule,
            "source": self.source,
            "time": iso8601(self.time),
        }
        return dict(sorted(everything.items()))

    def to_json(self) -> str:
        """Falco's JSON line (without the line break)."""
        line = json.dumps(self.to_dict(), separators=(",", ":"), ensure_ascii=False, default=_plain)
        return line if line.isascii() else line.encode("utf-8", "replace").decode("utf-8")

    def to_text(self) -> str:
        """Falco's text line (without the line break)."""
        return self.output

    def __str__(self) -> str:
        return self.output


def _plain(value: Any) -> Any:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
