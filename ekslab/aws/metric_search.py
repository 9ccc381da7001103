"""Search expressions of CloudWatch: compiles `{Namespace,Dimension} terms` to a test of metrics."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable

from ekslab.aws.metrics import Metric
from ekslab.aws.protocols import AwsError

LONGEST = 1024
Found = Callable[[Metric], bool]
_TERM = re.compile(
    r"\s*(?:(?P<paren>[()])|(?P<key>(?:[\w.:-]+|\"(?:[^\"\\]|\\.)*\")=)?(?P<value>\"(?:[^\"\\]|\\.)*\"|[^\s()\"=]+)?)"
)


def compile_search(text: str) -> Found:
    """Compiles a search expression to a test of metrics. Raises AwsError."""
    if len(text) > LONGEST:
        raise _invalid(text[:50], f"it is longer than {LONGEST} characters")
    schema = re.match(r"\s*\{([^{}]*)\}\s*,?", text)
    terms = text[schema.end() :] if schema else text
    if not schema and not terms.strip():
        raise _invalid(text, "it has neither a schema nor a term")
    matches = _Parser(terms).parse() if terms.strip() else _everything
    if schema is None:
        return matches
    parts = re.findall(r'\s*(?:"([^"]*)"|([^,"]+?))\s*(?:,|$)', schema[1])
    namespace, *dimensions = (quoted or plain for quoted, plain in parts) if parts else [""]
    if not namespace:
        raise _invalid(text, "its schema has no namespace")
    wanted = set(dimensions)
    return lambda metric: (
        metric.namespace == namespace and {name for name, _ in metric.dimensions} == wanted and matches(metric)
    )


def _everything(metric: Metric) -> bool:
    return True


class _Parser:
    """Terms with AND (which may be left out), OR, NOT and parentheses; AND binds tighter than OR."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = _tokens_of(text)
        self._at = 0

    def parse(self) -> Found:
        found = self._any()
        if self._at < len(self._tokens):
            raise _invalid(self._text, f"unexpected {self._tokens[self._at][1]!r}")
        return found

    def _peek(self) -> str:
        """The next word if it is an operator or a parenthesis; "" for a term, ")" at the end."""
        if self._at == len(self._tokens):
            return ")"
        key, value = self._tokens[self._at]
        return value if not key and value in ("AND", "OR", "NOT", "(", ")") else ""

    def _any(self) -> Found:
        options = [self._all()]
        while self._peek() == "OR":
            self._at += 1
            options.append(self._all())
        return lambda metric: any(option(metric) for option in options)

    def _all(self) -> Found:
        parts = [self._one()]
        while self._peek() not in ("OR", ")"):
            self._at += self._peek() == "AND"
            parts.append(self._one())
        return lambda metric: all(part(metric) for part in parts)

    def _one(self) -> Found:
        word = self._peek()
        if word == "NOT":
            self._at += 1
            negated = self._one()
            return lambda metric: not negated(metric)
        if word == "(":
            self._at += 1
            inner = self._any()
            self._close()
            return inner
        if word or self._at == len(self._tokens):
            raise _invalid(self._text, "a term is missing")
        key, value = self._tokens[self._at]
        self._at += 1
        if value != "(":
            return _term(key, value)
        options = []  # Key=("a" OR "b")
        while self._peek() not in (")", "("):
            if self._peek() == "OR":
                self._at += 1
            elif self._peek():
                raise _invalid(self._text, f"only OR can stand between the values of {key}")
            else:
                options.append(_term(key, self._tokens[self._at][1]))
                self._at += 1
        self._close()
        return lambda metric: any(option(metric) for option in options)

    def _close(self) -> None:
        if self._at == len(self._tokens) or self._tokens[self._at] != ("", ")"):
            raise _invalid(self._text, "a parenthesis isn't closed")
        self._at += 1


def _tokens_of(text: str) -> list[tuple[str, str]]:
    """(key or "", value or parenthesis) of each word; a key before a parenthesis goes with it."""
    tokens: list[tuple[str, str]] = []
    at = 0
    while text[at:].strip():
        match = _TERM.match(text, at)
        if match is None or match.end() == at or not match[0].strip():
            raise _invalid(text, f"unexpected {text[at:].strip()[0]!r}")
        at = match.end()
        key = (match["key"] or "")[:-1].strip('"')
        if match["key"] and not match["value"]:
            if not text[at:].lstrip().startswith("("):
                raise _invalid(text, f"{key}= has no value")
            at = text.index("(", at) + 1
            tokens.append((key, "("))
        else:
            tokens.append((key, match["paren"] or match["value"]))
    return tokens


def _term(key: str, value: str) -> Found:
    if value.startswith('"'):
        exact = re.sub(r"\\(.)", r"\1", value[1:-1])
        return lambda metric: exact in _texts(metric, key)
    return lambda metric: any(_partly(value, text) for text in _texts(metric, key))


def _texts(metric: Metric, key: str) -> list[str]:
    """The names and values of a metric that a term is compared with."""
    if key == "MetricName":
        return [metric.name]
    if key == "Namespace":
        return [metric.namespace]
    if key:
        return [value for name, value in metric.dimensions if name == key]
    return [metric.namespace, metric.name, *(text for dimension in metric.dimensions for text in dimension)]


def _partly(term: str, text: str) -> bool:
    """Whether a term is a token of a text, or several in a row.

    Case counts for several that are written as one word (`Count1`), not for those with something between them.
    """
    wanted, parts = _tokenized(term), _tokenized(text)
    if "".join(wanted).lower() == "".join(parts).lower():
        return bool(wanted)
    if len(wanted) == 1 or "".join(wanted) != term:
        wanted, parts = tuple(word.lower() for word in wanted), tuple(word.lower() for word in parts)
    return bool(wanted) and any(parts[start : start + len(wanted)] == wanted for start in range(len(parts)))


@functools.lru_cache(maxsize=16_384)
def _tokenized(text: str) -> tuple[str, ...]:
    """`CustomCount1` is Custom, Count, 1; `SDBFailure` is SDB, Failure; what isn't alphanumeric only separates."""
    return tuple(re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\d_a-zA-Z]+", text))


def _invalid(text: str, why: str) -> AwsError:
    return AwsError("ValidationError", f"Error in search expression '{text.strip()}': {why}.")
