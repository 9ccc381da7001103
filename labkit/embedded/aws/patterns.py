"""CloudWatch's filter pattern language: a pattern goes in, a predicate over messages comes out.

Terms, `?`, `-`, phrases and JSON selectors as the CloudWatch Logs user guide describes them. What isn't covered
(space-delimited patterns) is refused by name: a pattern never answers wrongly.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import orjson

Matcher = Callable[[str], bool]
_MISSING = object()
MAX_REGEXES = 2


class PatternError(ValueError):
    """A pattern that can't be used. `position` counts characters from 1."""

    def __init__(self, message: str, position: int) -> None:
        super().__init__(f"{message} at position {position}")
        self.position = position


@functools.lru_cache(maxsize=256)
def compile_pattern(pattern: str) -> Matcher:
    """The predicate a pattern stands for. Raises PatternError."""
    text = pattern.strip()
    if not text:
        return lambda message: True
    offset = len(pattern) - len(pattern.lstrip())
    if text[0] == "[":
        raise PatternError("Space-delimited patterns are not supported by the embedded lab", offset + 1)
    if text[0] == "{":
        return _json_matcher(_JsonParser(pattern, offset).parse())
    return _terms_matcher(_parse_terms(pattern))


# -- regular expressions --

_REGEX_LITERALS = set(":_#=@/;,- ")
_REGEX_OPERATORS = set("^$?[]{}|\\*+.")


def _regex(source: str, position: int) -> Callable[[str], bool]:
    import re2  # linear in the message's length, whatever the pattern

    index = 0
    while index < len(source):
        char = source[index]
        if char == "\\":
            index += 2
            continue
        if not (char.isascii() and (char.isalnum() or char in _REGEX_LITERALS or char in _REGEX_OPERATORS)):
            raise PatternError(f"Unsupported character '{char}' in regular expression", position + index)
        index += 1
    try:
        compiled = re2.compile(source)
    except re2.error as error:
        raise PatternError(f"Invalid regular expression: {error}", position) from error
    return lambda message: compiled.search(message) is not None


def _end_of_regex(text: str, start: int) -> int:
    """The index of the `%` that closes the regular expression opened at `start`."""
    index = start + 1
    while index < len(text):
        if text[index] == "\\":
            index += 2
            continue
        if text[index] == "%":
            return index
        index += 1
    raise PatternError("Regular expression without a closing %", start + 1)


def _quoted(text: str, start: int) -> tuple[str, int]:
    """The string that a quote at `start` opens, and the index behind its closing quote."""
    value: list[str] = []
    index = start + 1
    while index < len(text):
        char = text[index]
        if char == "\\" and index + 1 < len(text):
            # Only a quote and a backslash need escaping; any other backslash stands for itself.
            value.append(text[index + 1] if text[index + 1] in '"\\' else text[index : index + 2])
            index += 2
            continue
        if char == '"':
            return "".join(value), index + 1
        value.append(char)
        index += 1
    raise PatternError("Quoted string without a closing quote", start + 1)


# -- terms --


@dataclass(frozen=True)
class Term:
    """One term of an unstructured pattern. `kind` is "" (must appear), "-" (must not) or "?" (any of these)."""

    kind: str
    matches: Matcher


def _parse_terms(text: str) -> list[Term]:
    terms: list[Term] = []
    index = regexes = 0
    while index < len(text):
        if text[index].isspace():
            index += 1
            continue
        kind = text[index] if text[index] in "?-" else ""
        start = index = index + len(kind)
        if index < len(text) and text[index] == '"':
            value, index = _quoted(text, index)
            matches = _contains(value)
        elif index < len(text) and text[index] == "%":
            end = _end_of_regex(text, index)
            matches = _regex(text[index + 1 : end], index + 2)
            index = end + 1
            regexes += 1
            if regexes > MAX_REGEXES:
                raise PatternError(f"More than {MAX_REGEXES} regular expressions", start + 1)
        else:
            while index < len(text) and not text[index].isspace():
                index += 1
            value = text[start:index]
            if not value or not all(c.isalnum() or c == "_" for c in value):
                raise PatternError(f"Invalid character(s) in term '{value}'", start + 1)
            matches = _contains(value)
        terms.append(Term(kind, matches))
    return terms


def _contains(value: str) -> Matcher:
    return lambda message: value in message


def _terms_matcher(terms: Sequence[Term]) -> Matcher:
    wanted = [term.matches for term in terms if term.kind == ""]
    unwanted = [term.matches for term in terms if term.kind == "-"]
    optional = [term.matches for term in terms if term.kind == "?"]
    if wanted or unwanted:
        # The service ignores `?` beside other terms.
        return lambda m: all(term(m) for term in wanted) and not any(term(m) for term in unwanted)
    return lambda m: any(term(m) for term in optional)


# -- JSON --

Selector = tuple[str | int, ...]


class Condition(Protocol):
    """A node of a JSON pattern's tree."""

    def holds(self, document: dict[str, Any]) -> bool: ...


@dataclass(frozen=True)
class And:
    parts: tuple[Condition, ...]

    def holds(self, document: dict[str, Any]) -> bool:
        return all(part.holds(document) for part in self.parts)


@dataclass(frozen=True)
class Or:
    parts: tuple[Condition, ...]

    def holds(self, document: dict[str, Any]) -> bool:
        return any(part.holds(document) for part in self.parts)


@dataclass(frozen=True)
class Is:
    """`IS TRUE`, `IS FALSE`, `IS NULL`, `NOT EXISTS`."""

    selector: Selector
    what: str

    _VALUES: ClassVar[dict[str, Any]] = {"IS TRUE": True, "IS FALSE": False, "IS NULL": None, "NOT EXISTS": _MISSING}

    def holds(self, document: dict[str, Any]) -> bool:
        return select(document, self.selector) is self._VALUES[self.what]


@dataclass(frozen=True)
class Compare:
    """A value that exists, compared. `test` gets the JSON value and never raises."""

    selector: Selector
    test: Callable[[Any], bool]

    def holds(self, document: dict[str, Any]) -> bool:
        value = select(document, self.selector)
        return value is not _MISSING and value is not None and self.test(value)


def select(document: Any, selector: Selector) -> Any:
    """The value a selector leads to; a private marker when it leads nowhere."""
    value = document
    for step in selector:
        if isinstance(step, str):
            if not isinstance(value, dict) or step not in value:
                return _MISSING
            value = value[step]
        else:
            if not isinstance(value, list) or step >= len(value):
                return _MISSING
            value = value[step]
    return value


def _json_matcher(condition: Condition) -> Matcher:
    def matches(message: str) -> bool:
        if not message.lstrip().startswith("{"):
            return False
        try:
            document = orjson.loads(message)
        except orjson.JSONDecodeError:
            return False
        return isinstance(document, dict) and condition.holds(document)

    return matches


class _JsonParser:
    """Recursive descent over `{ condition }`; && binds tighter than ||."""

    def __init__(self, text: str, start: int) -> None:
        self._text = text
        self._at = start
        self._regexes = 0

    def parse(self) -> Condition:
        self._expect("{")
        condition = self._any_of()
        self._expect("}")
        self._skip()
        if self._at < len(self._text):
            raise self._error(f"Unexpected '{self._text[self._at :]}' after the closing brace")
        return condition

    def _error(self, message: str) -> PatternError:
        return PatternError(message, self._at + 1)

    def _skip(self) -> None:
        while self._at < len(self._text) and self._text[self._at].isspace():
            self._at += 1

    def _take(self, literal: str) -> bool:
        self._skip()
        if self._text.startswith(literal, self._at):
            self._at += len(literal)
            return True
        return False

    def _expect(self, literal: str) -> None:
        if not self._take(literal):
            found = f"'{self._text[self._at]}'" if self._at < len(self._text) else "the end of the pattern"
            raise self._error(f"Expected '{literal}', found {found}")

    def _word(self, *words: str) -> bool:
        """Takes a sequence of keywords, if they come next."""
        self._skip()
        match = re.compile(r"\s+".join(words) + r"(?![A-Za-z0-9_])", re.IGNORECASE).match(self._text, self._at)
        if match is None:
            return False
        self._at = match.end()
        return True

    def _any_of(self) -> Condition:
        parts = [self._all_of()]
        while self._take("||"):
            parts.append(self._all_of())
        return parts[0] if len(parts) == 1 else Or(tuple(parts))

    def _all_of(self) -> Condition:
        parts = [self._condition()]
        while self._take("&&"):
            parts.append(self._condition())
        return parts[0] if len(parts) == 1 else And(tuple(parts))

    def _condition(self) -> Condition:
        if self._take("("):
            condition = self._any_of()
            self._expect(")")
            return condition
        selector = self._selector()
        for what in ("IS TRUE", "IS FALSE", "IS NULL", "NOT EXISTS"):
            if self._word(*what.split()):
                return Is(selector, what)
        for operator in ("!=", "<=", ">=", "=", "<", ">"):
            if self._take(operator):
                return Compare(selector, self._test(operator))
        raise self._error("Expected =, !=, <, <=, >, >=, IS TRUE, IS FALSE, IS NULL or NOT EXISTS")

    def _selector(self) -> Selector:
        if not self._take("$"):
            raise self._error("Expected a selector that begins with $")
        steps: list[str | int] = []
        while self._at < len(self._text):
            char = self._text[self._at]
            if char == ".":
                match = re.compile(r"[\w-]+").match(self._text, self._at + 1)
                if match is None:
                    raise self._error("Expected a property name")
                steps.append(match[0])
                self._at = match.end()
            elif char == "[":
                steps.append(self._bracket())
            else:
                break
        if not steps:
            raise self._error("Expected a property after $")
        return tuple(steps)

    def _bracket(self) -> str | int:
        match = re.compile(r"\[\s*(?:(?P<index>\d+)|\"(?P<double>[^\"]*)\"|'(?P<single>[^']*)')\s*\]").match(
            self._text, self._at
        )
        if match is None:
            raise self._error("Expected an array index or a quoted property name in brackets")
        self._at = match.end()
        if match["index"] is not None:
            return int(match["index"])
        return match["double"] if match["double"] is not None else match["single"]

    def _test(self, operator: str) -> Callable[[Any], bool]:
        self._skip()
        start = self._at
        if start >= len(self._text):
            raise self._error("Expected a value")
        if self._text[start] == '"':
            value, self._at = _quoted(self._text, start)
            if operator not in ("=", "!="):
                raise PatternError(f"{operator} needs a number, not a string", start + 1)
            return _negated(_string_test(value), operator)
        if self._text[start] == "%":
            end = _end_of_regex(self._text, start)
            search = _regex(self._text[start + 1 : end], start + 2)
            self._at = end + 1
            self._regexes += 1
            if self._regexes > MAX_REGEXES:
                raise PatternError(f"More than {MAX_REGEXES} regular expressions", start + 1)
            if operator not in ("=", "!="):
                raise PatternError(f"{operator} needs a number, not a regular expression", start + 1)
            return _negated(lambda found: isinstance(found, str) and search(found), operator)
        match = re.compile(r"(?:(?!&&|\|\|)[^\s(){}\"%])+").match(self._text, start)
        if match is None:
            raise self._error("Expected a value")
        self._at = match.end()
        word = match[0]
        number = _number(word)
        if operator in ("=", "!="):
            if number is None:
                return _negated(_string_test(word), operator)
            return _negated(_number_or_text_test(number, word), operator)
        if number is None:
            raise PatternError(f"{operator} needs a number, not '{word}'", start + 1)
        limit, compare = number, _NUMERIC[operator]
        return lambda found: isinstance(found, int | float) and not isinstance(found, bool) and compare(found, limit)


_NUMERIC: dict[str, Callable[[float, float], bool]] = {
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}


def _number(word: str) -> float | None:
    if re.fullmatch(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", word) is None:
        return None
    return int(word) if re.fullmatch(r"[+-]?\d+", word) else float(word)


def _negated(test: Callable[[Any], bool], operator: str) -> Callable[[Any], bool]:
    return test if operator == "=" else lambda found: not test(found)


def _string_test(value: str) -> Callable[[Any], bool]:
    if "*" not in value:
        return lambda found: found == value if isinstance(found, str) else _text(found) == value
    wildcard = re.compile(".*".join(re.escape(part) for part in value.split("*")), re.DOTALL)
    if not value.strip("*"):
        return lambda found: True
    return lambda found: wildcard.fullmatch(_text(found) or "") is not None


def _number_or_text_test(number: float, word: str) -> Callable[[Any], bool]:
    def test(found: Any) -> bool:
        if isinstance(found, bool):
            return False
        return found == number if isinstance(found, int | float) else found == word

    return test


def _text(found: Any) -> str | None:
    """A scalar as the message spells it; None for an object or an array, which no string equals."""
    if isinstance(found, str):
        return found
    return None if isinstance(found, dict | list) else orjson.dumps(found).decode()
