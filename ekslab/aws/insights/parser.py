"""Parses a query of Logs Insights: commands separated by `|`, by a table of commands."""

from __future__ import annotations

import re
from collections.abc import Callable
from operator import itemgetter

from ekslab.aws.insights.aggregates import Aggregate
from ekslab.aws.insights.expressions import Expressions
from ekslab.aws.insights.functions import regex
from ekslab.aws.insights.stages import Dedup, Fields, Filter, Limit, Parse, Sort, Stage, Stats, Tail
from ekslab.aws.insights.tokens import MalformedQuery, Token, Tokens
from ekslab.aws.insights.values import Expression, text, truth

MAX_LIMIT = 100_000
MAX_STATS = 2
NO_COMMAND = ": the embedded lab's queries have no such command"
_DEFINED = ": results show it unless `display` chooses others, and another value needs another name"
_PARSE_MODES = ("logfmt", "csv", "xml")


class Parser:
    """Parses a query into its `stages`, and the columns that are `shown` (None: those of a query that names none)."""

    def __init__(self, query: str, now: int) -> None:
        """`now` (ms) is when the query starts."""
        self.tokens = Tokens(query)
        self.expressions = Expressions(self.tokens, now)
        self.stages: list[Stage] = []
        self.shown: list[str] | None = None

    @property
    def aggregated(self) -> bool:
        """Whether rows are statistics, not log events."""
        return self.expressions.columns is not None

    def parse(self) -> None:
        """Raises MalformedQuery."""
        self.tokens.symbol("|")
        while self.tokens.current.kind != "end":
            self._command()
            if self.tokens.current.kind != "end":
                self.tokens.expect("|")
                if self.tokens.current.kind == "end":
                    raise self.tokens.unexpected()

    def _command(self) -> None:
        token = self.tokens.current
        name = token.text.lower()
        if token.kind != "name" or name not in _COMMANDS:
            raise self.tokens.unexpected(hint=NO_COMMAND if token.kind == "name" else "")
        command = _COMMANDS[name]
        # After `dedup` the service takes nothing but a limit.
        if command not in (Parser._limit, Parser._head) and any(isinstance(stage, Dedup) for stage in self.stages):
            raise self.tokens.unexpected()
        self.tokens.advance()
        command(self)

    # -- names --

    def _list(self) -> list[str]:
        names = [self.expressions.field()]
        while self.tokens.symbol(","):
            names.append(self.expressions.field())
        return names

    def _written(self, start: Token) -> str:
        """The text of the query from a token to the last one that was read."""
        return self.tokens.text[start.start : self.tokens.previous.end]

    def _alias(self) -> str:
        token = self.tokens.current
        if token.kind not in ("name", "quoted"):
            raise self.tokens.unexpected()
        self.tokens.advance()
        return token.text.strip("`")

    def _define(self, name: str, start: Token) -> str:
        """Gives a name to a value that the query makes: each name once."""
        end = self.tokens.previous.end
        if name in self.expressions.defined:
            message = f"Ephemeral field is already defined: {name} ([{start.start},{end}]){_DEFINED}"
            raise MalformedQuery(message, start.start, end)
        self.expressions.defined.add(name)
        if self.expressions.columns is not None:
            self.expressions.columns.add(name)
        return name

    # -- commands --

    def _fields(self) -> None:
        made: list[tuple[str, Expression]] = []
        names = []
        while True:
            start, following = self.tokens.current, self.tokens.following
            expression = self.expressions.condition()
            plain = start.kind in ("name", "quoted") and self.tokens.previous == start and following.text != "("
            if self.tokens.keyword("as"):
                name = self._alias()
                made.append((self._define(name, start), expression))
            elif plain:
                name = start.text.strip("`")
                if not self.aggregated and name in self.expressions.defined:
                    self._define(name, start)
            else:
                name = self._written(start)
                made.append((name, expression))
            names.append(name)
            if not self.tokens.symbol(","):
                break
        if made:
            self.stages.append(Fields(made))
        self.shown = [*(self.shown or []), *names]

    def _display(self) -> None:
        self.shown = self._list()

    def _filter(self) -> None:
        self.stages.append(Filter(self.expressions.condition()))

    def _search(self) -> None:
        self.stages.append(Filter(self._any_of()))

    def _any_of(self) -> Expression:
        parts = [self._all_of()]
        while self.tokens.keyword("or"):
            parts.append(self._all_of())
        return parts[0] if len(parts) == 1 else lambda row: any(truth(part(row)) for part in parts)

    def _all_of(self) -> Expression:
        parts = [self._term()]
        while self.tokens.keyword("and") or self.tokens.current.text.lower() not in ("|", "", ")", "or"):
            parts.append(self._term())
        return parts[0] if len(parts) == 1 else lambda row: all(truth(part(row)) for part in parts)

    def _term(self) -> Expression:
        """What a message contains: a text, a word, or what a regular expression matches."""
        if self.tokens.keyword("not"):
            inner = self._term()
            return lambda row: not truth(inner(row))
        if self.tokens.symbol("("):
            inner = self._any_of()
            self.tokens.expect(")")
            return inner
        found = self.expressions.pattern()
        if found is not None:
            return lambda row: found.search(text(row["@message"])) is not None
        token = self.tokens.current
        wanted = token.text if token.kind in ("name", "number") else self.expressions.string()
        if token.kind != "string":
            self.tokens.advance()
        return lambda row: wanted in text(row["@message"])

    def _sort(self) -> None:
        self.tokens.keyword("by")
        keys = []
        while True:
            name = self.expressions.field()
            descending = self.tokens.keyword("desc") is not None
            if not descending:
                self.tokens.keyword("asc")
            keys.append((name, descending))
            if not self.tokens.symbol(","):
                break
        self.stages.append(Sort(keys))

    def _count(self) -> int:
        token = self.tokens.current
        if token.kind != "number" or not token.text.isdigit() or not 1 <= int(token.text) <= MAX_LIMIT:
            raise self.tokens.unexpected()
        self.tokens.advance()
        return int(token.text)

    def _limit(self) -> None:
        self.tokens.keyword("any")  # any rows will do: these do
        self.stages.append(Limit(self._count()))

    def _head(self) -> None:
        self.stages.append(Limit(self._count()))

    def _tail(self) -> None:
        self.stages.append(Tail(self._count()))

    def _dedup(self) -> None:
        self.stages.append(Dedup(self._list()))

    def _parse(self) -> None:
        source = "@message"
        if self.tokens.current.kind in ("name", "quoted"):
            source = self.expressions.field()
            self.tokens.symbol(",")
        if self.tokens.current.text.lower() in _PARSE_MODES:
            raise self.tokens.unexpected(hint=NO_COMMAND)
        pattern = self.expressions.pattern()
        named: list[tuple[str, int]] = []
        if pattern is None:
            pattern = regex(_glob(self.expressions.string()))
        else:
            named = sorted(pattern.groupindex.items(), key=itemgetter(1))
        start = self.tokens.previous
        unnamed = sorted(set(range(1, pattern.groups + 1)) - {group for _, group in named})
        aliases = []
        if unnamed and self.tokens.expect_keyword("as"):
            aliases.append(self._alias())
            while self.tokens.symbol(","):
                aliases.append(self._alias())
        if len(aliases) != len(unnamed) or not (aliases or named):
            message = f"{len(aliases)} names for {len(unnamed)} values in {start.text}"
            raise self.tokens.fault(message, start)
        named += zip(aliases, unnamed, strict=True)
        for name, _ in named:
            self._define(name, start)
        self.stages.append(Parse(itemgetter(source), pattern, named))
        self.shown = [*(self.shown or ["@timestamp", "@message"]), *(name for name, _ in named)]

    def _stats(self) -> None:
        if sum(isinstance(stage, Stats) for stage in self.stages) == MAX_STATS:
            raise self.tokens.fault(f"no more than {MAX_STATS} stats commands are allowed", self.tokens.previous)
        aggregates: list[Aggregate] = []
        columns: list[tuple[str, Expression]] = []
        while True:
            start = self.tokens.current
            expression, made = self.expressions.aggregated({name for name, _ in columns})
            aggregates += made
            name = self._define(self._alias(), start) if self.tokens.keyword("as") else self._written(start)
            columns.append((name, expression))
            if not self.tokens.symbol(","):
                break
        keys: list[tuple[str, Expression]] = []
        while self.tokens.keyword("by") if not keys else self.tokens.symbol(","):
            start = self.tokens.current
            expression = self.expressions.condition()
            if self.tokens.keyword("as"):
                name = self._define(self._alias(), start)
            else:
                name = self._written(start).strip("`")
            keys.append((name, expression))
        self.stages.append(Stats(aggregates, columns, keys))
        self.shown = list(dict.fromkeys([*(name for name, _ in keys), *(name for name, _ in columns)]))
        self.expressions.columns = set(self.shown)


_COMMANDS: dict[str, Callable[[Parser], None]] = {
    "fields": Parser._fields,
    "display": Parser._display,
    "filter": Parser._filter,
    "search": Parser._search,
    "parse": Parser._parse,
    "stats": Parser._stats,
    "sort": Parser._sort,
    "order": Parser._sort,
    "limit": Parser._limit,
    "head": Parser._head,
    "tail": Parser._tail,
    "dedup": Parser._dedup,
}


def _glob(pattern: str) -> str:
    """A pattern with `*` for each value, as a regular expression. The last one, at its end, takes all that is left."""
    parts = [re.escape(part) for part in pattern.split("*")]
    last = parts.pop()
    text = "(.*?)".join(parts)
    end = (f"(.*?){last}" if last else "(.*)") if parts else last
    return f"(?s){text}{end}"
