"""Lists and macros in conditions."""

from __future__ import annotations

import pytest

from falcorules import parse_condition
from falcorules.expansion import ListExpander, MacroResolver

LISTS = {"ab": ["a", "b"], "none": [], "spaced": ["a b", "'c d'"], "hollow": ["", "a"]}


@pytest.mark.parametrize(
    ("condition", "expanded"),
    [
        ("x in (ab)", "x in ( a, b )"),
        ("x in ( ab )", "x in ( a, b )"),
        ("x in (ab )", "x in ( a, b )"),
        ("x in (ab , c)", "x in ( a, b , c)"),
        ("x in (ab\t\r\n, c)", "x in ( a, b , c)"),
        ("x in (c, ab)", "x in (c, a, b )"),
        ("x in (c ,\n ab)", "x in (c , a, b )"),
        ("x in (ab, ab)", "x in ( a, b , a, b )"),
        ("ab in (x)", "a, b in (x)"),
        ("x in ab", "x in a, b "),
        ("x=ab", "x= a, b "),
        ("x in (abc, c-ab, 'ab')", None),
        ("x in (abc, ab)", "x in (abc, a, b )"),
        ("x in (spaced)", "x in ( \"a b\", 'c d' )"),
        ("x in (hollow)", "x in ( a )"),
        # An empty list takes the comma before it along, or else the one after it.
        ("x in (none)", "x in (  )"),
        ("x in (none, c)", "x in (   c)"),
        ("x in (none , c)", "x in (   c)"),
        ("x in (c, none)", "x in (c  )"),
        ("x in (c , none )", "x in (c   )"),
        ("x in (c, none , d)", "x in (c  , d)"),
        ("x in (none, none, c)", "x in (   c)"),
    ],
)
def test_the_names_of_lists_are_replaced_between_delimiters(condition: str, expanded: str | None) -> None:
    used: set[str] = set()
    assert ListExpander(LISTS, used).expanded(condition) == (condition if expanded is None else expanded)
    assert bool(used) is (expanded is not None)


def test_a_list_whose_name_has_a_delimiter_is_replaced_too() -> None:
    used: set[str] = set()
    assert ListExpander({"a b": ["c"]}, used).expanded("x in (a b)") == "x in ( c )"
    assert used == {"a b"}


MACROS = {
    name: parse_condition(text)
    for name, text in {
        "shell": "proc.name = sh",
        "spawned": "evt.type = execve",
        "shells": "spawned and shell",
        "loop": "not loop2",
        "loop2": "evt.num = 1 or loop",
        "hole": "shell or nowhere",
    }.items()
}


@pytest.mark.parametrize(
    ("condition", "resolved", "used"),
    [
        ("shell", "proc.name = sh", ["shell"]),
        ("not shells", "not (evt.type = execve and proc.name = sh)", ["spawned", "shell", "shells"]),
        ("evt.num = 1 or shell", "(evt.num = 1 or proc.name = sh)", ["shell"]),
        ("evt.num = 1 and not evt.num = 2", "(evt.num = 1 and not evt.num = 2)", []),
    ],
)
def test_the_names_of_macros_are_replaced_by_their_conditions(condition: str, resolved: str, used: list[str]) -> None:
    resolver = MacroResolver(MACROS, {})
    assert str(resolver.resolved(parse_condition(condition))) == resolved
    assert resolver.used == used
    assert resolver.faults == []


def test_what_has_no_macros_stays_the_same_tree() -> None:
    condition = parse_condition("evt.num = 1 and (shell or not evt.num = 2)")
    resolved = MacroResolver(MACROS, {}).resolved(condition)
    assert resolved.children[0] is condition.children[0]  # type: ignore[union-attr]
    plain = parse_condition("not evt.num = 2")
    assert MacroResolver(MACROS, {}).resolved(plain) is plain


@pytest.mark.parametrize(
    ("condition", "messages", "offsets"),
    [
        ("nowhere", ["Undefined macro 'nowhere' used in filter."], [0]),
        ("shell or nowhere", ["Undefined macro 'nowhere' used in filter."], [9]),
        ("hole", ["Undefined macro 'nowhere' used in filter."], [9]),  # the place in the macro
        ("nowhere or loop", ["reference loop in macro 'loop'", "Undefined macro 'nowhere' used in filter."], [15, 0]),
    ],
)
def test_loops_are_told_before_unknown_names(condition: str, messages: list[str], offsets: list[int]) -> None:
    resolver = MacroResolver(MACROS, {})
    resolver.resolved(parse_condition(condition))
    assert [message for message, _ in resolver.faults] == messages
    assert [position.offset for _, position in resolver.faults] == offsets


def test_a_macro_that_is_not_visible_is_unknown() -> None:
    resolver = MacroResolver(MACROS, {}, lambda name: name != "shell")
    resolver.resolved(parse_condition("shells"))
    assert [message for message, _ in resolver.faults] == ["Undefined macro 'shell' used in filter."]


def test_sizes_bound_what_is_expanded() -> None:
    sizes = {"shell": 150_000, "spawned": 49_999}
    resolver = MacroResolver(MACROS, sizes)
    resolver.resolved(parse_condition("shell or spawned"))
    assert resolver.size == 200_002
    assert "condition too large: more than 200000 parts" in resolver.faults[0][0]
    resolver = MacroResolver(MACROS, sizes | {"spawned": 49_997})
    resolver.resolved(parse_condition("shell or spawned"))
    assert (resolver.size, resolver.faults) == (200_000, [])
