"""Falco's messages in plain words, with suggestions for misspelt names."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field

from falcorules.ast import MODIFIERS
from falcorules.fields import FieldInfo, event_types, fields
from falcorules.keys import PRIORITIES
from falcorules.parser import OPERATORS

_WORDS_FOR = {
    **dict.fromkeys(("&&", "&", "AND", "And"), "and"),
    **dict.fromkeys(("||", "|", "OR", "Or"), "or"),
    **dict.fromkeys(("!", "NOT", "Not"), "not"),
    **dict.fromkeys(("=~", "~", "matches", "like", "LIKE"), "regex' or 'glob"),
    **dict.fromkeys(("IN", "In"), "in"),
    **dict.fromkeys(("equals", "is", "eq", ":", ":="), "="),
    **dict.fromkeys(("<>", "=!", "ne", "isnt"), "!="),
    **dict.fromkeys(("includes", "has", "contain"), "contains"),
}
"""What other languages write -> the rule language's word."""

_PROGRAMS = """
    apk apt apt-get awk base64 bash cat chmod chown cp curl dash dd dnf docker env find gcc git grep
    head htop id java kill kubectl less ls mkdir more mv nano nc ncat netcat nginx nmap node passwd perl
    php pip ps python python3 rm ruby sed sh socat ssh su sudo tail tar tee top touch vi vim wget which
    who whoami yum zsh
"""
PROGRAMS = frozenset(_PROGRAMS.split())
"""What is a program's name wherever it stands: rules compare `proc.name` with these."""


@dataclass(frozen=True)
class Known:
    """The names that rule files define, by kind."""

    macros: Collection[str] = ()
    lists: Collection[str] = ()
    rules: Collection[str] = ()
    keys: Collection[str] = field(default=())
    """Keys that the item can have."""


def meant(word: str, names: Iterable[str], *, cutoff: float = 0.7) -> str:
    """` Did you mean 'a'?` with the most similar name, or with several that are as similar; empty if none is."""
    by_lower = {name.lower(): name for name in names}
    text = word.strip().lower()[:200]
    found = difflib.get_close_matches(text, by_lower, 3, cutoff)
    ratios = [difflib.SequenceMatcher(None, name, text).ratio() for name in found]
    best = [repr(by_lower[name]) for name, ratio in zip(found, ratios, strict=True) if ratio > ratios[0] - 0.02]
    return f" Did you mean {' or '.join(best)}?" if best else ""


def of_operator(word: str) -> str:
    """` Did you mean 'contains'?` for a word that stands where an operator should."""
    if word in _WORDS_FOR:
        return f" Did you mean '{_WORDS_FOR[word]}'?"
    return meant(word, (*OPERATORS, "and", "or", "not"), cutoff=0.6)


def of_field(word: str) -> str:
    """` Did you mean 'proc.name'?` for a word that stands where a field should."""
    return meant(word, (info.name for info in fields().values() if not info.hidden))


def plain(
    message: str,
    word: str,
    known: Known,
    *,
    before: str = "",
    info: FieldInfo | None = None,
    values: tuple[str, str] | None = None,
) -> str:
    """What Falco's `message` means for the reader of a rule; the message itself, if there is nothing to add.

    `word` is what stands at its place, `before` what stands before that, `info` the field of the comparison.
    `values` are a field and the values that `field = a or b` seems to give it.
    """
    for pattern, words in _PATTERNS:
        if found := re.search(pattern, message):
            return words(_Case(found, word, known, before, info, values)).replace("  ", " ").strip()
    return message[:1].upper() + message[1:]


@dataclass(frozen=True)
class _Case:
    found: re.Match[str]
    word: str
    known: Known
    before: str
    info: FieldInfo | None
    values: tuple[str, str] | None

    @property
    def name(self) -> str:
        return self.found[1]


def _unknown_field(case: _Case) -> str:
    name = case.name.partition("[")[0]
    if name in fields():
        return f"The field `{name}` takes no such argument."
    return f"There is no field `{name}`.{of_field(name)}"


def _unknown_macro(case: _Case) -> str:
    if case.name in ("not", "and", "or"):
        return "The condition ends too early: a comparison or a macro has to follow."
    if case.name in case.known.lists:
        return f"`{case.name}` is a list: compare a field with it, as in `proc.name in ({case.name})`."
    suggestion = meant(case.name, case.known.macros) or of_field(case.name)
    if case.values:
        field, values = case.values
        return f"`{case.name}` is neither a field nor a macro. For several values write `{field} in ({values})`."
    return f"There is no macro `{case.name}`, and a field would have a dot in its name.{suggestion}"


def _unknown_type(case: _Case) -> str:
    said = f"There is no event type `{case.name}`"
    if case.name in PROGRAMS or "/" in case.name:
        field = "proc.exepath" if "/" in case.name else "proc.name"
        return (
            f"{said}: event types are system calls, such as `execve`. For the program, write `{field} = {case.name}`."
        )
    if case.name in case.known.macros:
        return f"{said}: it is a macro, which stands in a condition by itself, without `evt.type`."
    return f"{said}.{meant(case.name, event_types())}"


def _after_operand(case: _Case) -> str:
    """Something other than `and` or `or` follows a comparison or a macro."""
    suggestion = of_operator(case.word)
    if case.name in MODIFIERS:
        return f"`{case.name}` has to have a space on both sides, as in `proc.name = {case.name} (a, b)`."
    if case.before in ("and", "or"):  # taken for a macro
        return f"Before this `{case.before}` a comparison or a macro is missing: it joins two of them."
    if case.word.startswith(")"):
        return "This `)` has no `(` before it."
    if case.word.startswith(","):
        return "A comma separates the values of a list, as in `proc.name in (a, b)`; comparisons are joined by `and`."
    a_word = re.fullmatch(r"[a-zA-Z]\w*", case.before) is not None
    if a_word and case.before not in case.known.macros and of_field(case.before):
        return f"`{case.before}` is no field: the name of a field has a dot in it.{of_field(case.before)}"
    if suggestion:
        return f"`{case.word}` is no word of the rule language.{suggestion}"
    return (
        f"`{case.word}` can't stand here: `and` or `or` joins comparisons, and a value with spaces in it has to be in "
        "quotes."
    )


def _operator_expected(case: _Case) -> str:
    if not case.word:
        return "The condition ends after a field: compare it with something, as in `proc.name = cat`."
    if case.word in OPERATORS:
        return f"A space is missing after `{case.word}`."
    if case.word in ("and", "or") or case.word[0] in "),":
        macro = case.before.partition(".")[0]
        also = f", or the macro `{macro}` alone was meant" if macro in case.known.macros else ""
        return (
            f"After the field `{case.before}` an operator and a value have to follow, as in `{case.before} = x`{also}."
        )
    operators = " ".join(OPERATORS)
    return f"`{case.word}` is no operator.{of_operator(case.word) or f' The operators: {operators}'}"


def _closing(case: _Case) -> str:
    if case.word:
        return f"A `)` is missing before `{case.word}` (in a list, commas separate the values)."
    return "A `(` is never closed: a `)` is missing at the end."


def _operand_expected(case: _Case) -> str:
    if not case.word:
        return "The condition ends too early: a comparison or a macro has to follow."
    if case.word[0] in "/\"'":
        return f"`{case.word}` is a value: compare a field with it."
    return f"`{case.word}` is neither a field nor a macro.{of_operator(case.word)}"


def _blank_expected(case: _Case) -> str:
    if not case.word or case.word == case.name:
        return "The condition ends too early: a comparison or a macro has to follow."
    return f"A space is missing after `{case.name}`."


def _value_expected(case: _Case) -> str:
    if case.word[:1] in ("'", '"'):
        return "This quote is never closed."
    expected = case.found[0]
    what = "a number" if "number" in expected else "a list, as in `(a, b)`," if "list" in expected else "a value"
    rest = f"not `{case.word}`" if case.word else "and nothing does"
    return f"After the operator {what} has to follow, {rest}.".replace(",,", ",")


def _unsupported(case: _Case) -> str:
    if case.info is None:
        return case.found[0].capitalize() + "."
    kind = "a list" if case.info.is_list else f"of the type {case.info.type.lower()}"
    return f"`{case.name}` can't be used on `{case.info.name}`, which is {kind}."


def _not_a_number(case: _Case) -> str:
    of = f"`{case.info.name}` is a number: " if case.info else ""
    return f"{of}`{case.name}` can't be compared with it."


def _missing_key(case: _Case) -> str:
    if case.name == "enabled":  # what Falco asks for in a rule that has nothing else
        if case.word.strip("\"'") in case.known.rules:
            return (
                "There is a rule of this name already, and this item would be a new one. To change that rule, say what "
                "is changed: `override:` in the same column as `rule`, with `exceptions: append`, for instance."
            )
        return "The keys `condition`, `desc`, `output` and `priority` are missing."
    if case.word[:1] in ("'", '"'):
        return f"This quote is never closed: what follows, `{case.name}` too, belongs to the text that it begins."
    if case.word in case.known.keys or not meant(case.word, [case.name], cutoff=0.6):
        return f"The key `{case.name}` is missing."
    return f"There is no key `{case.word}`. Did you mean '{case.name}'?"


def _unknown_key(case: _Case) -> str:
    return f"There is no key `{case.name}` here, and Falco ignores it.{meant(case.name, case.known.keys, cutoff=0.6)}"


def _unknown_item(case: _Case) -> str:
    similar = meant(case.word, ("rule", "macro", "list"), cutoff=0.5)
    return f"This item is no rule, macro or list, and Falco ignores it.{similar}"


def _priority(case: _Case) -> str:
    names = ", ".join(PRIORITIES)
    return f"`{case.word}` is no priority.{meant(case.word, PRIORITIES) or f' The priorities: {names}.'}"


def _nothing_to_change(case: _Case) -> str:
    kind = (case.found[1] or "rule").lower()
    names = {"rule": case.known.rules, "list": case.known.lists, "macro": case.known.macros}[kind]
    return f"There is no {kind} `{case.word}` to change.{meant(case.word, names)}"


def _override(case: _Case) -> str:
    return f"`{case.name}` can't be changed like this.{meant(case.name, case.known.keys, cutoff=0.6)}"


def _always(words: str) -> Callable[[_Case], str]:
    return lambda case: words


_A_LIST = "A rules file is a list of items: each one begins with `- rule:`, `- macro:` or `- list:`."
_INDENTATION = (
    "The indentation of this line fits nothing above it: the keys of an item begin in the same column, with spaces."
)
_PATTERNS: tuple[tuple[str, Callable[[_Case], str]], ...] = (
    (r"nonexistent field (.+)", _unknown_field),
    (r"Undefined macro '([^']*)'", _unknown_macro),
    (
        r"reference loop in macro '([^']*)'",
        lambda case: f"The macro `{case.name}` uses itself.",
    ),
    (
        r"unknown filter:|invalid formatting",
        lambda case: f"There is no field `{case.word}` for an output.{of_field(case.word)}",
    ),
    (r"unexpected token after '([^']*)'", _after_operand),
    (r"expected a valid check operator", _operator_expected),
    (r"expected (?:a '\)' token|'\)')", _closing),
    (r"expected a '\(' token, a field check", _operand_expected),
    (r"expected blank or '\(' after '(and|or)'", _blank_expected),
    (r"filter input string is empty", _always("The condition is empty.")),
    (r"expected a (?:number|string) value|expected a list", _value_expected),
    (r"unknown event type (.*)", _unknown_type),
    (r"^(.*) is not a valid number", _not_a_number),
    (r"'([^']*)' (?:operator|with modifier) not supported .*", _unsupported),
    (
        r"invalid regex pattern: (.*)",
        lambda case: (
            f"Falco can't read this regular expression: {case.name}. It reads RE2's POSIX syntax, which has no "
            "`(?i)` and no `\\d`: write `[0-9]`."
        ),
    ),
    (
        r"unknown field transfomer '([^']*)'",
        lambda case: f"`{case.name}` takes several arguments.",
    ),
    (r"unknown multivalue", _always("Only `join`, `concat` and `getopt` take several arguments. Falco crashes here.")),
    (r"Invalid priority", _priority),
    (r"Item has no mapping for key '([^']*)'", _missing_key),
    (r"Mapping for key '([^']*)' is empty", lambda case: f"`{case.name}` has no value."),
    (r"Value must be non-empty", _always("The value is empty.")),
    (r"Value is not a scalar value", _always("A single text belongs here, not a list or several keys.")),
    (r"Value is not a sequence", _always("A list belongs here, as in `[a, b]`.")),
    (r"Unknown key '([^']*)'", _unknown_key),
    (
        r"Unknown top level item",
        _unknown_item,
    ),
    (r"^(Rule|List|Macro) uses 'append'|replace' to a rule was requested|has 'enabled' key but", _nothing_to_change),
    (r"'([^']*)' is not a supported filter field", _unknown_field),
    (
        r"Fields and values lists must have equal length",
        _always(
            "`values` is a list of lists: each has one value for each of `fields`, as in `[a, b]` for two fields, and "
            "`[a]` for one."
        ),
    ),
    (
        r"Fields and comps lists must have equal length",
        _always(
            "`comps` needs one operator for each of `fields`. (To add an exception, use `exceptions: append`, which "
            "needs none; `replace` takes the rule's others away.)"
        ),
    ),
    (r"Key '([^']*)' cannot be (?:appended|replaced)", _override),
    (r"Unexpected key '([^']*)'", lambda case: f"`{case.name}` is given, but `override` doesn't name it."),
    (r"illegal tab", _always("Here is a tab. YAML is indented with spaces.")),
    (r"unknown token", lambda case: f"A value can't begin with `{case.word[:1]}`: put it in quotes."),
    (r"end of (?:sequence|map) not found|bad indentation", _always(_INDENTATION)),
    (r"end of (?:sequence|map) flow not found", _always("A `[` or `{` is never closed, or a comma is missing.")),
    (r"not yaml", _always(_A_LIST)),
    (r"should be a yaml associative array", _always(_A_LIST)),
    (
        r"matches too many evt.type",
        _always(
            "The condition doesn't say which system calls it is about (`evt.type`, or a macro such as "
            "`spawned_process` or `open_read`). Falco would evaluate it on every one, which is slow."
        ),
    ),
    (r"(List|Macro) not referred to", lambda case: f"No rule or macro uses this {case.name.lower()}."),
    (r"'evt.dir = <' always", _always("`evt.dir` says nothing since Falco 0.42: leave it out.")),
    (r"%container.info is deprecated", _always("Falco replaces `%container.info` by nothing: leave it out.")),
    (r"deprecated field '([^']*)'", lambda case: f"`{case.name}` is deprecated: leave it out."),
    (
        r"^'(.*)' may be a valid field misused",
        lambda case: f"`{case.name}` is compared as a text. For the value of that field, write `val({case.name})`.",
    ),
    (r"regex check with", _always("A simpler operator does the same as this regex, and faster.")),
)
