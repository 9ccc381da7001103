"""Parses the expressions of Logs Insights into functions of a row, by precedence.

From loose to tight: `or`, `and`, `not`, comparisons, `+ -`, `* / %`, a sign, `^`. A condition is a value, too: 1 or 0.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import itemgetter

import re2

from ekslab.aws import filter_patterns
from ekslab.aws.insights.aggregates import AGGREGATES, Aggregate
from ekslab.aws.insights.functions import FUNCTIONS, OPERATORS, Period, period, regex, time_of
from ekslab.aws.insights.tokens import Token, Tokens, unquoted
from ekslab.aws.insights.values import Expression, Millis, Row, Value, compare, number, text, truth

_MAX_DEPTH = 50  # of parentheses, signs and negations
_COMPARISONS = ("=", "!=", "<", "<=", ">", ">=")
_BINARY = (("+", "-"), ("*", "/", "%"))  # from loose to tight
_WORDS = {"true": 1, "false": 0}
# What Logs Insights has and the lab lacks. The error says so, so that it isn't taken for a typing error.
LACKING_FUNCTIONS = {
    "jsonparse", "jsonstringify", "split", "values", "haversine", "rate", "histogram", "offset", "count_over_time",
    "sum_over_time", "unmask", "ipv4tonumber", "isprivateip", "ispublicip", "isreservedip",
}  # fmt: skip
NO_FUNCTION = ": the embedded lab's queries have no such function"


class Expressions:
    """The part of the parser that reads expressions.

    `needed` collects the fields that they read. `columns`, once there are statistics, are the only names there are;
    `defined` are those that the query has given to values: they need not be in the message.
    """

    def __init__(self, tokens: Tokens, now: int) -> None:
        """`now` (ms) is when the query starts."""
        self.tokens = tokens
        self.needed: set[str] = set()
        self.columns: set[str] | None = None
        self.defined: set[str] = set()
        self._now = now
        self._depth = 0
        self._aggregates: list[Aggregate] | None = None
        self._before: set[str] = set()  # names of values that stand before an aggregate within the same command
        self._count = 0  # of aggregates

    def field(self) -> str:
        """A field by name, in backquotes or not."""
        token, following = self.tokens.current, self.tokens.following
        if token.kind not in ("name", "quoted"):
            raise self.tokens.unexpected()
        if token.kind == "name" and following.text == "(":
            raise self._no_function(token, following)
        name = token.text.strip("`")
        if self._aggregates is not None:
            if name not in self._before:
                raise self.tokens.unexpected()
            self.tokens.advance()
            return name
        if self.columns is not None and name not in self.columns:
            raise self.tokens.fault(f"Unknown symbols found in or after stats: {name}", token)
        self.tokens.advance()
        self.needed.add(name)
        return name

    def _no_function(self, token: Token, following: Token) -> Exception:
        if token.text.lower() in LACKING_FUNCTIONS:
            return self.tokens.unexpected(token, NO_FUNCTION)
        column = next((name for name in self.columns or () if self.tokens.text.startswith(name, token.start)), None)
        return self.tokens.unexpected(following, f": write this column in backquotes, `{column}`" if column else "")

    def aggregated(self, before: set[str]) -> tuple[Expression, list[Aggregate]]:
        """An expression over aggregates such as `sum(a) / count(*)`: a function of the row that has their results.

        `before` are the names of such expressions that the row has, too.
        """
        made: list[Aggregate] = []
        self._aggregates, self._before = made, before
        try:
            return self._sum(), made
        finally:
            self._aggregates = None

    def condition(self) -> Expression:
        """An expression with `or`, `and` and `not`."""
        parts = [self._and()]
        while self.tokens.keyword("or"):
            parts.append(self._and())
        return parts[0] if len(parts) == 1 else lambda row: any(truth(part(row)) for part in parts)

    def _and(self) -> Expression:
        parts = [self._not()]
        while self.tokens.keyword("and"):
            parts.append(self._not())
        return parts[0] if len(parts) == 1 else lambda row: all(truth(part(row)) for part in parts)

    def _not(self) -> Expression:
        if not self.tokens.keyword("not"):
            return self._comparison()
        inner = self._deeper(self._not)
        return lambda row: not truth(inner(row))

    def _deeper(self, parse: Callable[[], Expression]) -> Expression:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise self.tokens.unexpected()
        parsed = parse()
        self._depth -= 1
        return parsed

    def _comparison(self) -> Expression:
        first = self.tokens.current
        left = self._sum()
        plain = self.tokens.previous is first
        operator = self.tokens.symbol(*_COMPARISONS)
        if operator:
            constant = self.tokens.current
            right, sign = self._sum(), operator.text
            if (
                plain
                and sign == "="
                and self.tokens.previous is constant
                and (needles := self._needles(first, constant))
            ):
                return lambda row: not row.lacks(needles) and compare(sign, left(row), right(row))
            return lambda row: compare(sign, left(row), right(row))
        if self.tokens.symbol("=~"):
            return self._pattern(left)
        negated = self.tokens.current.text.lower() == "not" and self.tokens.following.text.lower() in ("like", "in")
        if negated:
            self.tokens.advance()
        if self.tokens.keyword("like"):
            predicate = self._pattern(left)
        elif self.tokens.keyword("in"):
            predicate = self._membership(left)
        else:
            return left
        return (lambda row: not predicate(row)) if negated else predicate

    def _needles(self, name: Token, constant: Token) -> tuple[str, ...]:
        """What a message must contain for a field to equal a constant; () where that can't be said."""
        if name.kind != "name" or name.text.startswith("@") or constant.kind != "string":
            return ()
        if name.text in self.defined or self.columns is not None:
            return ()
        return filter_patterns.needles_of(unquoted(constant.text))

    def _pattern(self, left: Expression) -> Callable[[Row], bool]:
        found = self.pattern()
        if found is None:
            wanted = self.string()
            return lambda row: (value := left(row)) is not None and wanted in text(value)
        return lambda row: (value := left(row)) is not None and found.search(text(value)) is not None

    def pattern(self) -> re2._Regexp[str] | None:
        """A regular expression, if the current token begins one."""
        token = self.tokens.regex()
        if token is None:
            return None
        try:
            return regex(token.text[1:-1].replace("\\/", "/"))
        except re2.error as error:
            why = error.args[0].decode("utf-8", "replace")
            raise self.tokens.fault(f"Invalid regular expression {token.text}: {why}", token) from error

    def string(self) -> str:
        """A string in quotes."""
        if self.tokens.current.kind != "string":
            raise self.tokens.unexpected()
        return unquoted(self.tokens.advance().text)

    def _membership(self, left: Expression) -> Callable[[Row], bool]:
        self.tokens.expect("[")
        options = [self._sum()]
        while self.tokens.symbol(","):
            options.append(self._sum())
        self.tokens.expect("]")
        return lambda row: any(compare("=", left(row), option(row)) for option in options)

    # -- arithmetic --

    def _sum(self, level: int = 0) -> Expression:
        if level == len(_BINARY):
            return self._signed()
        first = self._sum(level + 1)
        others = []
        while operator := self.tokens.symbol(*_BINARY[level]):
            others.append((OPERATORS[operator.text], self._sum(level + 1)))
        return _from_left(first, others) if others else first

    def _signed(self) -> Expression:
        if self.tokens.symbol("-"):
            return _applied(OPERATORS["negative"], [self._deeper(self._signed)])
        if self.tokens.symbol("+"):
            return self._deeper(self._signed)
        base = self._primary()
        if self.tokens.symbol("^"):
            return _applied(OPERATORS["^"], [base, self._deeper(self._signed)])
        return base

    def _primary(self) -> Expression:
        token, following = self.tokens.current, self.tokens.following
        if self.tokens.symbol("("):
            inner = self._deeper(self.condition)
            self.tokens.expect(")")
            return inner
        if token.kind == "string":
            return _constant(self.string())
        if token.kind == "number":
            self.tokens.advance()
            return _constant(number(token.text))
        name = token.text.lower()
        if token.kind == "name" and following.text == "(":
            return self._call(name, token)
        if token.kind == "name" and name in _WORDS:
            self.tokens.advance()
            return _constant(_WORDS[name])
        return itemgetter(self.field())

    # -- functions --

    def _call(self, name: str, token: Token) -> Expression:
        if name in AGGREGATES and self._aggregates is not None:
            return self._aggregate(name)
        if name in _OF_TIMES:
            self._open()
            return _OF_TIMES[name](self)
        function = FUNCTIONS.get(name)
        if function is None:
            raise self._no_function(token, self.tokens.following)
        self._open()
        arguments = [self._deeper(self.condition)]
        while (function.most is None or len(arguments) < function.most) and self.tokens.symbol(","):
            arguments.append(self._deeper(self.condition))
        if len(arguments) < function.least:
            raise self.tokens.unexpected()
        self.tokens.expect(")")
        return _applied(function.apply, arguments)

    def _open(self) -> None:
        """Goes past the name of a function and the parenthesis after it."""
        self.tokens.advance()
        self.tokens.advance()

    def _aggregate(self, name: str) -> Expression:
        aggregates = self._aggregates
        assert aggregates is not None
        self._open()
        argument: Expression | None = None
        rank: float | None = None
        # What is aggregated has no aggregates in it.
        self._aggregates = None
        all_of_them = name == "count" and (self.tokens.symbol("*") or self.tokens.current.text == ")")
        if not all_of_them:
            argument = self._deeper(self.condition)
        if name == "pct":
            self.tokens.expect(",")
            rank = self._percentile()
        self.tokens.expect(")")
        self._aggregates = aggregates
        self._count += 1
        aggregates.append(Aggregate(f"aggregate {self._count}", name, argument, rank))
        return itemgetter(aggregates[-1].key)

    def _percentile(self) -> float:
        token = self.tokens.current
        rank = number(token.text) if token.kind == "number" else None
        if rank is None or not 0 <= rank <= 100:
            raise self.tokens.unexpected()
        self.tokens.advance()
        return rank

    def _period(self) -> Period:
        """A period of time: `5m`, `1 hour`."""
        count = self.tokens.current
        if count.kind != "number":
            raise self.tokens.unexpected()
        unit = self.tokens.following
        found = period(int(count.text), unit.text) if count.text.isdigit() and unit.kind == "name" else None
        if found is None:
            raise self.tokens.unexpected(unit if unit.kind != "name" or count.text.strip("0") else count)
        self.tokens.advance()
        self.tokens.advance()
        return found

    def _bin(self) -> Expression:
        width = self._period()
        self.tokens.expect(")")
        self.needed.add("@timestamp")
        return _in_periods(itemgetter("@timestamp"), width.floor)

    def _datefloor(self) -> Expression:
        return self._of_a_time(lambda width: width.floor)

    def _dateceil(self) -> Expression:
        return self._of_a_time(lambda width: width.ceil)

    def _of_a_time(self, edge: Callable[[Period], Callable[[int], int]]) -> Expression:
        time = self._deeper(self._sum)
        self.tokens.expect(",")
        width = self._period()
        self.tokens.expect(")")
        return _in_periods(time, edge(width))

    def _seconds_now(self) -> Expression:
        self.tokens.expect(")")
        return _constant(self._now // 1000)


# Functions whose arguments are no expressions.
_OF_TIMES: dict[str, Callable[[Expressions], Expression]] = {
    "bin": Expressions._bin,
    "datefloor": Expressions._datefloor,
    "dateceil": Expressions._dateceil,
    "now": Expressions._seconds_now,
}


def _constant(value: Value) -> Expression:
    return lambda row: value


def _applied(function: Callable[..., Value], arguments: list[Expression]) -> Expression:
    if len(arguments) == 1:
        (only,) = arguments
        return lambda row: function(only(row))
    if len(arguments) == 2:
        first, second = arguments
        return lambda row: function(first(row), second(row))
    return lambda row: function(*[argument(row) for argument in arguments])


def _from_left(first: Expression, others: list[tuple[Callable[..., Value], Expression]]) -> Expression:
    """Operations of the same precedence, from left to right."""

    def apply(row: Row) -> Value:
        value = first(row)
        for operation, operand in others:
            value = operation(value, operand(row))
        return value

    return apply


def _in_periods(time: Expression, edge: Callable[[int], int]) -> Expression:
    def apply(row: Row) -> Value:
        found = time_of(time(row))
        return None if found is None else Millis(edge(found))

    return apply
