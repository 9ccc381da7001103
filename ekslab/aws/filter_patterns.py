"""Compiles CloudWatch filter patterns: terms, phrases, regular expressions, JSON selectors, space-delimited fields.

Matching and error messages follow what TestMetricFilter was seen to do; errors have a position in addition.
"""

from __future__ import annotations

import functools
import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Protocol

import orjson

from ekslab.wildcards import wildcard

Test = Callable[[Any], bool]
MAX_REGEXES = 2
_MAX_DEPTH = 50  # of parentheses
MAX_WILDCARDS = 3
_MISSING = object()


class PatternError(ValueError):
    """An invalid pattern. `position` counts characters from 1."""

    def __init__(self, message: str, position: int) -> None:
        super().__init__(f"{message} (position {position})")
        self.position = position


class Pattern(Protocol):
    """A compiled pattern."""

    def matches(self, message: str) -> bool:
        """Whether the pattern selects a message."""
        ...

    def extracted(self, message: str) -> dict[str, str]:
        """The fields of a matching message by name (`$status`); empty unless the pattern is space-delimited."""
        ...


@functools.lru_cache(maxsize=256)
def compile_pattern(text: str) -> Pattern:
    """Compiles a pattern. Raises PatternError."""
    start = len(text) - len(text.lstrip())
    stripped = text.strip()
    for opening, closing in ("{}", "[]", "%%"):
        if stripped.startswith(opening) and (len(stripped) == 1 or not stripped.endswith(closing)):
            raise PatternError(
                f"If a filter pattern starts with '{opening}' it must end with '{closing}'", start + len(stripped)
            )
    if not stripped:
        return TermPattern(())
    if stripped[0] == "%":
        parser = _Parser(text, start)
        search = parser.regex()
        if parser.at < start + len(stripped):
            raise parser.invalid(text[parser.at], parser.at)
        return RegexPattern(search)
    if stripped[0] == "{":
        return _JsonParser(text, start).parse()
    if stripped[0] == "[":
        return _SpaceParser(text, start).parse()
    return _parse_terms(text)


def parse_selector(text: str) -> Selector:
    """Parses a selector such as `$.output_fields.['k8s.ns.name']`. Raises PatternError."""
    parser = _JsonParser(text, -1)
    selector = parser.selector()
    if text[parser.at :].strip():
        raise parser.invalid(text[parser.at], parser.at)
    return selector


def regexes(text: str) -> int:
    """The number of regular expressions in a pattern."""
    return len(re.findall(r"%[^%]+%", re.sub(r'"(?:[^"\\]|\\.)*"', "", text)))


# -- shared by all kinds of pattern --


class _Parser:
    """A position in a pattern's text, and the parsers of its tokens."""

    def __init__(self, text: str, start: int) -> None:
        self.text = text
        self.at = start
        self._regexes = 0
        self._depth = 0

    def invalid(self, term: str, position: int) -> PatternError:
        return PatternError(f"Invalid character(s) in term '{term}'", position + 1)

    def malformed(self, detail: str) -> PatternError:
        return PatternError(f"Invalid metric filter pattern: {detail}", self.at + 1)

    def skip(self) -> None:
        while self.at < len(self.text) and self.text[self.at].isspace():
            self.at += 1

    def take(self, literal: str) -> bool:
        self.skip()
        if self.text.startswith(literal, self.at):
            self.at += len(literal)
            return True
        return False

    def read(self, pattern: str) -> str:
        """Consumes and returns the text that matches at the position; "" if there is none."""
        match = re.compile(pattern).match(self.text, self.at)
        if match is None:
            return ""
        self.at = match.end()
        return match[0]

    def quoted(self) -> str:
        """Parses a quoted string."""
        start = self.at
        value: list[str] = []
        self.at += 1
        while self.at < len(self.text):
            char = self.text[self.at]
            self.at += 1
            if char == "\\" and self.at < len(self.text):
                # Only a quote and a backslash need escaping; any other backslash stands for itself.
                following = self.text[self.at]
                value.append(following if following in '"\\' else char + following)
                self.at += 1
            elif char == '"':
                if not value:
                    raise self.invalid('""', start)
                return "".join(value)
            else:
                value.append(char)
        raise self.invalid(self.text[start:].rstrip(), start)

    def regex(self) -> Callable[[str], bool]:
        """Parses a regular expression between percent signs."""
        import re2  # linear in the message's length, whatever the pattern

        options = re2.Options()
        options.log_errors = False

        start = self.at
        self.at += 1
        while self.at < len(self.text) and self.text[self.at] != "%":
            char = self.text[self.at]
            if not (char.isascii() and (char.isalnum() or char in ":_#=@/;,- ^$?[]{}|\\*+.")):
                raise self.invalid(self.text[start : self.at + 1], self.at)
            self.at += 1
        if self.at >= len(self.text):
            raise PatternError("If a filter pattern starts with '%' it must end with '%'", len(self.text))
        source = self.text[start + 1 : self.at]
        self.at += 1
        if not source:
            raise self.invalid("%%", start)
        self._regexes += 1
        if self._regexes > MAX_REGEXES:
            message = f"Your input has exceeded the maximum of {MAX_REGEXES} regular expressions per filter pattern."
            raise PatternError(message, start + 1)
        if re.search(r"(?<!\\)(?:\\\\)*\\[A-CE-RT-VX-Za-ce-rt-vyz]", source):  # all letters but d, D, s, S, w, W, x
            raise PatternError("Failed to compile regular expression.", start + 1)
        try:
            compiled = re2.compile(source, options)
        except re2.error as error:
            raise PatternError("Failed to compile regular expression.", start + 1) from error
        return lambda text: compiled.search(text) is not None

    def any_of(self, condition: Callable[[], Condition]) -> Condition:
        """Conditions with `&&`, `||` and parentheses; `&&` binds tighter."""
        alternatives = [self._all_of(condition)]
        while self.take("||"):
            alternatives.append(self._all_of(condition))
        if len(alternatives) == 1:
            return alternatives[0]
        needles = [needle for alternative in alternatives for needle in alternative.needles]
        every = all(alternative.needles for alternative in alternatives)
        return Condition(
            lambda subject: any(alternative(subject) for alternative in alternatives), tuple(needles) if every else ()
        )

    def _all_of(self, condition: Callable[[], Condition]) -> Condition:
        parts = [self._one(condition)]
        while self.take("&&"):
            parts.append(self._one(condition))
        if len(parts) == 1:
            return parts[0]
        needles = next((part.needles for part in parts if part.needles), ())
        return Condition(lambda subject: all(part(subject) for part in parts), needles)

    def _one(self, condition: Callable[[], Condition]) -> Condition:
        if not self.take("("):
            return condition()
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise self.malformed("too many parentheses")
        inner = self.any_of(condition)
        self._depth -= 1
        if not self.take(")"):
            raise self.malformed("expected ')'")
        return inner

    def operator(self) -> str | None:
        self.skip()
        return self.read(r"!=|<=|>=|=|<|>") or None

    def operand(self) -> Operand:
        """Parses the right side of a comparison."""
        self.skip()
        start = self.at
        if self.at < len(self.text) and self.text[self.at] == '"':
            return Operand(self.quoted(), start, quoted=True)
        if self.at < len(self.text) and self.text[self.at] == "%":
            return Operand("", start, search=self.regex())
        word = self.read(r"[\w.*+-]+")
        if not word:
            raise self.malformed("expected a value")
        if self.at < len(self.text) and not re.match(r"[\s)},&|\]]", self.text[self.at]):
            raise self.invalid(self.text[self.at], self.at)
        if word.lower() == "null":
            self.at = start
            raise self.malformed("null can't be compared with; use IS NULL")
        number = Decimal(word) if re.fullmatch(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,9})?", word) else None
        if number is None and re.fullmatch(r"[+-]?(\d+(\.\d*)?|\.\d+)[eE][+-]?\d+", word):
            self.at = start
            raise self.malformed("the exponent is too large")
        return Operand(word, start, number=number)


@dataclass(frozen=True)
class Condition:
    """A test of a document. Each message whose document passes contains one of the `needles`, unless it has none."""

    test: Test
    needles: Sequence[str] = ()

    def __call__(self, subject: Any) -> bool:
        return self.test(subject)


def needles_of(text: str) -> tuple[str, ...]:
    """The longest part of a text that stands in JSON as it is, and that no number contains; () if there is none.

    A message without it, and without an escape like `\\u0041`, has no string of JSON that contains the text.
    """
    parts = re.findall(r"[A-Za-z0-9 _:.,;@=|()#-]{3,}", text)
    usable = [part for part in parts if re.search(r"[^0-9.eEinfatyINF+ -]", part)]
    return (max(usable, key=len),) if usable else ()


def lacks(message: str, needles: Sequence[str]) -> bool:
    """Whether no string in a message's JSON can contain one of the needles."""
    for needle in needles:
        if needle in message:
            return False
    return "\\u" not in message


@dataclass(frozen=True)
class Operand:
    """The right side of a comparison: a string (perhaps with wildcards), a number, or a regular expression."""

    text: str
    position: int
    quoted: bool = False
    number: Decimal | None = None
    search: Callable[[str], bool] | None = None

    @functools.cached_property
    def matches_text(self) -> Callable[[str], bool]:
        """The test whether a text equals the operand."""
        if self.search is not None:
            return self.search
        if "*" not in self.text:
            return lambda found: found == self.text
        return wildcard(self.text)


def _ordered(operator: str, found: Decimal, limit: Decimal) -> bool:
    if operator == "<":
        return found < limit
    if operator == "<=":
        return found <= limit
    return found > limit if operator == ">" else found >= limit


# -- terms and a regular expression by itself --


@dataclass(frozen=True)
class RegexPattern:
    search: Callable[[str], bool]

    def matches(self, message: str) -> bool:
        return self.search(message)

    def extracted(self, message: str) -> dict[str, str]:
        return {}


@dataclass(frozen=True)
class TermPattern:
    """`terms` are (kind, text): "" must appear, "-" must not, "?" any of these, which count only among themselves."""

    terms: Sequence[tuple[str, str]]

    def matches(self, message: str) -> bool:
        optional = True
        found = False
        for kind, text in self.terms:
            if kind == "?":
                found = found or text in message
            else:
                optional = False
                if (text in message) != (kind == ""):
                    return False
        return found or not optional or not self.terms

    def extracted(self, message: str) -> dict[str, str]:
        return {}


def _parse_terms(text: str) -> TermPattern:
    parser = _Parser(text, 0)
    terms: list[tuple[str, str]] = []
    while True:
        parser.skip()
        if parser.at >= len(text):
            return TermPattern(tuple(terms))
        # A sign begins a term wherever it stands: `a-b` is `a` without `b`.
        kind = parser.read(r"[?-]")
        if text[parser.at : parser.at + 1] == '"':
            terms.append((kind, parser.quoted()))
            if re.match(r"[\w.\"]", text[parser.at :]):
                raise parser.malformed("expected a space after a phrase")
        elif word := parser.read(r"[\w.]+"):
            terms.append((kind, word))
        else:
            raise parser.invalid(text[parser.at : parser.at + 1].strip() or kind, min(parser.at, len(text) - 1))


# -- JSON --


class _Wildcard:
    """The step `[*]` or `.*`: every element of an array or an object."""


Step = str | int | _Wildcard


@dataclass(frozen=True)
class Selector:
    """The path of a value: names, indices, and at most one wildcard."""

    steps: tuple[Step, ...]

    @functools.cached_property
    def wildcard(self) -> int | None:
        """The index of the wildcard among the steps."""
        return next((i for i, step in enumerate(self.steps) if isinstance(step, _Wildcard)), None)

    def find(self, document: Any) -> list[Any]:
        """The selected values; without a wildcard at most one."""
        if self.wildcard is None:
            value = _walk(document, self.steps)
            return [] if value is _MISSING else [value]
        base = _walk(document, self.steps[: self.wildcard])
        children = base if isinstance(base, list) else base.values() if isinstance(base, dict) else ()
        found = (_walk(child, self.steps[self.wildcard + 1 :]) for child in children)
        return [value for value in found if value is not _MISSING]

    def base_exists(self, document: Any) -> bool:
        """Whether the path before the wildcard exists."""
        return self.wildcard is None or _walk(document, self.steps[: self.wildcard]) is not _MISSING


def _walk(value: Any, steps: Sequence[Step]) -> Any:
    for step in steps:
        if isinstance(step, str):
            value = value.get(step, _MISSING) if isinstance(value, dict) else _MISSING
        elif isinstance(step, int):
            value = value[step] if isinstance(value, list) and step < len(value) else _MISSING
    return value


@dataclass(frozen=True)
class JsonPattern:
    condition: Condition

    def matches(self, message: str) -> bool:
        needles = self.condition.needles
        if (needles and lacks(message, needles)) or not message.lstrip().startswith("{"):
            return False  # without parsing it
        try:
            document = orjson.loads(message)
        except orjson.JSONDecodeError:
            try:
                document = json.loads(message)  # knows numbers that are larger than a double
            except (ValueError, RecursionError):
                return False
        return self.condition(document)

    def extracted(self, message: str) -> dict[str, str]:
        return {}  # the service shows none for JSON


class _JsonParser(_Parser):
    """`{ condition }`"""

    def __init__(self, text: str, start: int) -> None:
        super().__init__(text, start + 1)
        self._wildcards = 0

    def parse(self) -> JsonPattern:
        condition = self.any_of(self._condition)
        if not self.take("}") or self.text[self.at :].strip():
            raise self.malformed("expected '&&', '||' or '}'")
        return JsonPattern(condition)

    def _condition(self) -> Condition:
        selector = self.selector()
        self.skip()
        if keyword := self.read(r"(?i:IS|NOT)\b"):
            return self._state(selector, keyword.upper())
        operator = self.operator()
        if operator is None:
            raise self.malformed("expected =, !=, <, <=, >, >=, IS or NOT EXISTS")
        operand = self.operand()
        if operator in ("=", "!="):
            equals = functools.partial(_equals, operand)
            if operator == "=":
                return Condition(
                    lambda document: any(equals(value) is True for value in selector.find(document)),
                    () if operand.search is not None else needles_of(max(operand.text.split("*"), key=len)),
                )
            if selector.wildcard is None:
                return Condition(lambda document: any(equals(value) is False for value in selector.find(document)))
            return Condition(
                lambda document: (
                    selector.base_exists(document)
                    and not any(equals(value) is True for value in selector.find(document))
                )
            )
        limit = operand.number
        if limit is None:
            raise self.invalid(f'"{operand.text}"' if operand.quoted else operand.text or "%", operand.position)
        return Condition(
            lambda document: any(
                (number := _number(value)) is not None and _ordered(operator, number, limit)
                for value in selector.find(document)
            )
        )

    def _state(self, selector: Selector, keyword: str) -> Condition:
        self.skip()
        start = self.at
        word = self.read(r"\w+")
        if keyword == "NOT" and word.upper() == "EXISTS":
            return Condition(lambda document: not selector.find(document))
        if keyword == "IS" and word.upper() in ("TRUE", "FALSE"):
            wanted = word.upper() == "TRUE"
            return Condition(lambda document: any(value is wanted for value in selector.find(document)))
        if keyword == "IS" and word.upper() == "NULL":
            return Condition(
                lambda document: any(
                    value is None or (selector.wildcard is None and isinstance(value, list) and None in value)
                    for value in selector.find(document)
                )
            )
        if not word:
            raise self.malformed("expected NULL, TRUE or FALSE" if keyword == "IS" else "expected EXISTS")
        raise self.invalid(word, start)

    def selector(self) -> Selector:
        self.skip()
        start = self.at
        if not self.read(r"\$"):
            raise self.malformed("expected a selector, which begins with $.")
        if self.text[self.at : self.at + 1] != ".":
            raise self.invalid(self.text[start : self.at + 1], start)
        steps: list[Step] = []
        while True:
            begin = self.at
            if self.read(r"\.\*|\[\*\]"):
                steps.append(_Wildcard())
            elif index := self.read(r"\[\d{1,9}\]"):
                steps.append(int(index[1:-1]))
            elif name := self.read(r"\.\['[^']+'\]"):
                steps.append(name[3:-2])
            elif name := self.read(r"\.[\w-]+"):
                steps.append(name[1:])
            elif bad := self.read(r"\.\[.|\[.|\."):
                shown = "$" + bad if not steps else bad
                hint = ": a key in brackets is written .['key']" if "[" in bad else ""
                raise PatternError(f"Invalid character(s) in term '{shown}'{hint}", begin + 1)
            else:
                break
        wildcards = sum(isinstance(step, _Wildcard) for step in steps)
        self._wildcards += wildcards
        if wildcards > 1:
            raise PatternError(
                "Your filter pattern has a JSON path selector that exceeds the maximum of 1 wildcard allowed per json "
                "selector.",
                start + 1,
            )
        if self._wildcards > MAX_WILDCARDS:
            message = f"Your filter pattern exceeds the maximum of {MAX_WILDCARDS} wildcard selectors."
            raise PatternError(message, start + 1)
        return Selector(tuple(steps))


def _equals(operand: Operand, found: Any) -> bool | None:
    """Whether a JSON value equals the operand; None if the two can't be compared: then neither = nor != holds."""
    if isinstance(found, str):
        return operand.matches_text(found)
    if isinstance(found, bool) or not isinstance(found, int | float):
        return None
    if operand.number is None:
        return operand.matches_text(_number_text(found))
    number = _number(found)
    return None if number is None else number == operand.number


def _number(found: Any) -> Decimal | None:
    """A JSON number as it is written; None for other values, and for what is larger than a double."""
    if isinstance(found, bool) or not isinstance(found, int | float):
        return None
    if isinstance(found, int):
        return Decimal(found)
    return Decimal(repr(found)) if math.isfinite(found) else None


def _number_text(found: int | float) -> str:
    """The text of a number for comparison with wildcards, as the service formats it: 1e3 is 1000.0, 1e7 is 1.0E7."""
    if isinstance(found, int):
        return str(found)
    if not math.isfinite(found):
        return "Infinity" if found > 0 else "-Infinity"
    if found == 0 or 1e-3 <= abs(found) < 1e7:
        return repr(found)
    digits, _, exponent = f"{Decimal(repr(found)):e}".partition("e")
    return f"{digits if '.' in digits else digits + '.0'}E{int(exponent)}"


# -- space-delimited --


@dataclass(frozen=True)
class Field:
    """One field of a space-delimited pattern; without a name, its index in the line is its name."""

    name: str
    condition: Condition | None = None


@dataclass(frozen=True)
class SpacePattern:
    """`before` and `after` an ellipsis; without one (`ellipsis` false) the last field takes the rest of the line."""

    before: Sequence[Field]
    after: Sequence[Field] = field(default=())
    ellipsis: bool = False

    @property
    def names(self) -> set[str]:
        """The names of its fields, each with its `$`."""
        named = {part.name for part in (*self.before, *self.after) if part.name}
        placed = {str(place) for place, part in enumerate(self.before, start=1) if not part.name}
        return {f"${name}" for name in named | placed}

    def matches(self, message: str) -> bool:
        return self._fields(message) is not None

    def extracted(self, message: str) -> dict[str, str]:
        return self._fields(message) or {}

    def _fields(self, message: str) -> dict[str, str] | None:
        values: dict[str, str] = {}
        tokens = _tokens(message)
        count = len(self.before) + len(self.after)
        if len(tokens) < count:
            return None
        if self.ellipsis:
            last = len(tokens) - len(self.after)
            names = [*self.before, *(Field("") for _ in range(len(self.before), last)), *self.after]
            texts = [text for text, _ in tokens]
        else:
            names = list(self.before)
            texts = [text for text, _ in tokens[: count - 1]]
            # The last field holds what is left as it stands, but a single word without its quotes.
            single = len(tokens) == count
            texts.append(tokens[-1][0] if single else message[tokens[count - 1][1] :])
        for place, (wanted, text) in enumerate(zip(names, texts, strict=True), start=1):
            if wanted.condition is not None and not wanted.condition(text):
                return None
            values[f"${wanted.name or place}"] = text
        return values


_WORD = re.compile(r"\S+")


def _tokens(message: str) -> list[tuple[str, int]]:
    """The words of a message with their offsets; text in quotes or brackets is one word."""
    found: list[tuple[str, int]] = []
    at = 0
    last = {'"': message.rfind('"'), "[": message.rfind("]")}  # so that what is never closed is looked for once
    while match := _WORD.search(message, at):
        start, opening = match.start(), match[0][0]
        if last.get(opening, -1) > start:
            at = message.index("]" if opening == "[" else '"', start + 1) + 1
            found.append((message[start + 1 : at - 1], start))
        else:
            at = match.end()
            found.append((match[0], start))
    return found


class _SpaceParser(_Parser):
    """`[field, field = value, ...]`"""

    def __init__(self, text: str, start: int) -> None:
        super().__init__(text, start + 1)
        self._end = len(text.rstrip()) - 1

    def parse(self) -> SpacePattern:
        groups: list[list[Field]] = [[]]
        seen: set[str] = set()
        if not self.text[self.at : self._end].strip():
            return SpacePattern((), (), ellipsis=True)
        while True:
            self.skip()
            start = self.at
            if self.take("..."):
                name = "..."
                groups.append([])
            elif self.at == self._end or self.text[self.at] == ",":
                name = ""
                groups[-1].append(Field(name))
            else:
                wanted = self._field()
                name = wanted.name
                groups[-1].append(wanted)
            if name in seen:
                raise PatternError(f"Duplicate field '{name}'", start + 1)
            if name:
                seen.add(name)
            if self.take(","):
                continue
            self.skip()
            if self.at == self._end:
                break
            raise self.malformed("expected ',' or ']'")
        if len(groups) == 1:
            return SpacePattern(tuple(groups[0]))
        return SpacePattern(tuple(groups[0]), tuple(groups[1]), ellipsis=True)

    def _field(self) -> Field:
        names: list[str] = []

        def condition() -> Condition:
            self.skip()
            start = self.at
            name = self.read(r"[\w-]+")
            if not re.fullmatch(r"[A-Za-z_]\w*", name):
                raise self.invalid(name or self.text[self.at : self.at + 1], start)
            if names and name != names[0]:
                message = f"Multiple variables used in a single filter. Var1 : {names[0]}, Var2 : {name}"
                raise PatternError(message, start + 1)
            names.append(name)
            operator = self.operator()
            if operator is None:
                return _ANYTHING
            operand = self.operand()
            if operator not in ("=", "!=") and operand.number is None:
                self.at = operand.position
                raise self.malformed(f"{operator} needs a number")
            return Condition(functools.partial(_compare_word, operator, operand))

        test = self.any_of(condition)
        return Field(names[0], None if test is _ANYTHING else test)


_ANYTHING = Condition(lambda text: True)


def _compare_word(operator: str, operand: Operand, text: str) -> bool:
    """Compares a word with an operand: by value if both are numbers."""
    number = Decimal(text) if re.fullmatch(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,9})?", text) else None
    if operator in ("=", "!="):
        if operand.number is not None and number is not None:
            equal = number == operand.number
        else:
            equal = operand.matches_text(text)
        return equal == (operator == "=")
    return number is not None and operand.number is not None and _ordered(operator, number, operand.number)
