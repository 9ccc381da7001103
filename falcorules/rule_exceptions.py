"""Exceptions of rules: checks of their fields and operators, and their text in the rule's condition."""

from __future__ import annotations

from falcorules import ast
from falcorules.compile import ConditionFault, compile_condition
from falcorules.expansion import BLANKS, joined, quoted
from falcorules.fields import UnknownField, resolve
from falcorules.graph import Graph
from falcorules.items import Entry, Refused, RuleException, RuleItem
from falcorules.parser import LIST_OPERATORS, OPERATORS, STRING_OPERATORS, ParseFailure, Parser


def _with_modifier(comparison: str) -> bool:
    operator, _, modifier = comparison.rpartition(" ")
    return modifier in ast.MODIFIERS and operator.strip() in STRING_OPERATORS


def validate(exception: RuleException, *, check_fields: bool) -> None:
    """Adds default comparisons, and raises Refused if the exception is invalid.

    As in Falco, exceptions that an override replaces aren't validated: their errors appear in the condition.
    """

    def require(condition: bool, message: str) -> None:
        if not condition:
            raise Refused("LOAD_ERR_VALIDATE", message, exception.trail)

    fields = exception.fields
    if fields.items is None:
        if not exception.comps.given:
            exception.comps = Entry("in")
        require(not exception.comps.is_list, "Fields and comps must both be strings")
        comparison = exception.comps.text = exception.comps.text.strip(BLANKS)
        require(
            comparison in ("in", "pmatch", "intersects") or _with_modifier(comparison),
            "When fields is a single value, comps must be one of (in, pmatch, intersects) or a modifier operator "
            "(e.g. startswith oneof)",
        )
        names = [fields.text]
    else:
        if not exception.comps.given:
            exception.comps = Entry(items=[Entry("=") for _ in fields.items])
        comparisons = exception.comps.items or []
        require(len(fields.items) == len(comparisons), "Fields and comps lists must have equal length")
        for entry in comparisons:
            entry.text = entry.text.strip(BLANKS)
            require(
                entry.text in OPERATORS or _with_modifier(entry.text),
                f"'{entry.text}' is not a supported comparison operator",
            )
        names = [entry.text for entry in fields.items]
    if check_fields:
        for name in names:
            try:
                known = _is_exception_field(name)
            except UnknownField as unknown:  # such as a missing argument: Falco reports it at the file
                raise Refused("LOAD_ERR_VALIDATE", unknown.message, exception.trail[:1]) from None
            require(known, f"'{name}' is not a supported filter field")


def _is_exception_field(text: str) -> bool:
    """Whether a text is a field or a transformer of one. Raises UnknownField for a field with a wrong argument."""
    parser = Parser(f"{text} exists")
    try:
        if "(" in text:
            compile_condition(parser.parse(), Graph())
            return True
        found = parser.field()
        if found is None or parser.at != len(text):
            return False
        resolve(found.name, found.argument)
    except UnknownField as unknown:
        if "(" not in text and "nonexistent field" not in unknown.message:
            raise
        return False
    except (ParseFailure, ConditionFault):
        return False
    return True


def with_exceptions(rule: RuleItem) -> str:
    """The condition of a rule with its exceptions after it."""
    if not rule.exceptions:
        return rule.condition
    parts = [f"({rule.condition})"]
    for exception in rule.exceptions:
        text = _exception_text(exception)
        if text:
            parts.append(f" and not {text}")
    return "".join(parts)


def _exception_text(exception: RuleException) -> str:
    if exception.fields.items is None:
        texts = []
        for value in exception.values:
            if value.is_list:
                message = "Expected values array to contain a list of strings"
                raise Refused("LOAD_ERR_VALIDATE", message, exception.trail)
            texts.append(quoted(value.text))
        return f"({exception.fields.text} {exception.comps.text} ({', '.join(texts)}))" if texts else ""
    names = [entry.text for entry in exception.fields.items]
    comparisons = [entry.text for entry in exception.comps.items or []]
    alternatives = []
    for value in exception.values:
        entries = value.items or []
        if len(names) != len(entries):
            message = "Fields and values lists must have equal length"
            raise Refused("LOAD_ERR_VALIDATE", message, exception.trail)
        if len(names) > len(comparisons):  # only where they were replaced; Falco reads beyond the list then, and dies
            message = "Fields and comps lists must have equal length"
            raise Refused("LOAD_ERR_VALIDATE", message, exception.trail)
        checks = [
            f" {name} {comparison} {_exception_value(comparison, entry)}"
            for name, comparison, entry in zip(names, comparisons, entries, strict=False)
        ]
        alternatives.append(f"({' and '.join(checks)})")
    return f"({' or '.join(alternatives)})" if alternatives else ""


def _exception_value(comparison: str, entry: Entry) -> str:
    if entry.items is not None:
        listed = joined(item.text for item in entry.items)  # a null is an empty text
        return f"({listed})"
    if comparison in LIST_OPERATORS or _with_modifier(comparison):
        return entry.text if entry.text.startswith("(") else f"({entry.text})"
    return quoted(entry.text)
