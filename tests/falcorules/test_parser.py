"""Conditions read as Falco's parser reads them."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from falcorules import ConditionError, ast, parse_condition


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("a", "a"),
        ("  proc.name=cat ", "proc.name = cat"),
        ("a or b and c", "(a or (b and c))"),
        ("(a or b) and c", "((a or b) and c)"),
        ("a and b and c or d or e and f", "((a and b and c) or d or (e and f))"),
        ("not a and not b or c", "((not a and not b) or c)"),
        ("not not a", "a"),
        ("not not not a", "not a"),
        ("not(a)", "not a"),
        ("not not(a)", "a"),
        ("not (not a)", "not (not a)"),
        ("a and(b or(c))", "(a and (b or c))"),
        ("proc.name exists", "proc.name exists"),
        ("proc.name in ()", "proc.name in ()"),
        ("proc.name in (a, 'b c', \"d\")", 'proc.name in (a, "b c", d)'),
        ("proc.name in ('', '(x)', 'a,b', c)", 'proc.name in ("", "(x)", "a,b", c)'),
        ("proc.name in ('a=b', \"it's\", 'x\ty')", 'proc.name in ("a=b", "it\'s", "x\\ty")'),
        ("proc.name in shells", "proc.name in shells"),
        ("evt.num >= 0x1F", "evt.num >= 0x1F"),
        ("evt.num < -1.5e+3", "evt.num < -1.5e+3"),
        ("proc.aname[2] = x", "proc.aname[2] = x"),
        ("proc.env['A B'] = x", 'proc.env["A B"] = x'),
        ("proc.env['A]B'] = [x]", 'proc.env["A]B"] = [x]'),
        ("proc.name = val(proc.pname)", "proc.name = val(proc.pname)"),
        ("tolower( toupper(proc.name) ) = a", "tolower(toupper(proc.name)) = a"),
        ("join(', ', (proc.name, 'x', 3)) = a", 'join(", ", (proc.name, "x", 3)) = a'),
        ("getopt((proc.name), 'ab:')[b] = a", 'getopt((proc.name), "ab:")[b] = a'),
        ("proc.name startswith oneof (a, b)", "proc.name startswith oneof (a, b)"),
        ("proc.name = oneof and a", '(proc.name = "oneof" and a)'),
        ("proc.name = oneof", 'proc.name = "oneof"'),
        ("proc.name = anyof names", "proc.name = anyof names"),
        ("proc.name = \\", "proc.name = \\"),
        ("proc.name contains\tanyof\n(a, b)", "proc.name contains anyof (a, b)"),
        ("proc.name = allof nothing", "proc.name = allof nothing"),
        ("proc.name in oneof", "proc.name in oneof"),
        ("proc.name = oneof oneof", "proc.name = oneof oneof"),
        ("proc.name = a\0b", "proc.name = a\0b"),
        # An escape that doesn't exist makes a list of one string an empty list there.
        (r"proc.name in ('\x')", "proc.name in ()"),
        ("orange and android", "(orange and android)"),
    ],
)
def test_a_condition_has_this_tree(text: str, written: str) -> None:
    tree = parse_condition(text)
    assert str(tree) == written
    assert parse_condition(str(tree)) == tree


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("not (not a)", "not not a"),
        ("proc.name = oneof", "proc.name = oneof"),
        ("proc.name in ('', '(x)', 'a,b', 'a=b')", "proc.name in (, (x), a,b, a=b)"),
        ("proc.name in (\"it's\", 'x\ty', 'b c')", 'proc.name in ("it\'s", "x\\ty", "b c")'),
        ("proc.name = \\", 'proc.name = "\\\\"'),
        ("proc.env['A]B'] = [x]", "proc.env[A]B] = [x]"),
        ("join('-', (proc.name, 'x', 3)) = a", "join(-, (proc.name, x, 3)) = a"),
        ("proc.name == cat and not(a)", "(proc.name == cat and not a)"),
    ],
)
def test_the_canonical_text_leaves_out_quotes_as_falco_does(text: str, canonical: str) -> None:
    assert ast.canonical(parse_condition(text)) == canonical


@pytest.mark.parametrize(
    ("text", "message", "column"),
    [
        ("", "filter input string is empty", 1),
        ("a b", "unexpected token after 'a', expecting 'or', 'and'", 3),
        ("(a", "expected a ')' token", 3),
        ("a orb", "expected blank or '(' after 'or'", 5),
        ("a or", "expected blank or '(' after 'or'", 5),
        ("a and ", "expected a '(' token, a field check, or an identifier", 7),
        ("proc.name", "expected a valid check operator: one of 'exists'", 10),
        ("proc.name = ", "expected a string value or a field with a valid transformer", 13),
        ("proc.pid > x", "expected a number value or a field with a valid transformer", 12),
        ("proc.name in 'x'", "expected a list, an identifier, or a field", 14),
        ("proc.name in (a,)", "expected a string value", 17),
        ("proc.aname[ = x", "expected a valid field argument", 12),
        ("proc.aname[2 = x", "expected a ']' token", 13),
        ("proc.name = 'x", "expected a string value", 13),
        (r"proc.name = '\q'", r"unsupported string escape sequence: \q", 17),
        (r"""proc.name = '\"'""", r"invalid \" escape in '-quoted string", 17),
        ("tolower() = x", "expected field transformer argument", 9),
        ("tolower(proc.name = x", "expected a ')' token closing the transformer", 19),
        ("val(proc.name) = x", "unexpected token after 'val'", 4),
        ("join(',', (x)) = a", "expected transformer list argument", 12),
        ("join(',', ('a' = a", "expected ')'", 16),
        ("getopt((proc.name), 'a')[[] = x", "expected a valid field argument", 26),
        ("getopt((proc.name), 'a')[b = x", "expected a ']' token", 27),
        ("proc.name = val(proc.name", "expected a ')' token closing the transformer", 26),
        ("proc.name = val(x)", "expected a field within 'val' transformer", 17),
        ("proc.name in oneof (a)", "unexpected token after 'oneof'", 20),
        ("proc.name =oneof (a)", "unexpected token after 'oneof'", 18),
        ("proc.name = oneof(a)", "unexpected token after 'oneof'", 18),
        ("proc.name glob oneof(a)", "unexpected token after 'oneof'", 21),
        ("proc.name = 'a\0b'", "expected a string value", 13),
        ("proc.name globin (a)", "expected a valid check operator", 11),
        ("proc.name startswith'a'", "expected a valid check operator", 11),
        ("proc.name = anyof not", "unexpected token after 'anyof'", 19),
        ("proc.name = anyof not (a)", "unexpected token after 'anyof'", 19),
        ("proc.name = anyof and-x", "expected blank or '(' after 'and'", 22),
        ("proc.name = anyof tolower(fd.name)", "unexpected token after 'tolower'", 26),
        ("proc.name = val(fd.name)[x", "expected a ']' token", 27),
    ],
)
def test_what_cannot_be_read_says_where(text: str, message: str, column: int) -> None:
    with pytest.raises(ConditionError) as caught:
        parse_condition(text)
    assert message in caught.value.message
    assert (caught.value.line, caught.value.column) == (1, column)
    assert caught.value.code == "LOAD_ERR_COMPILE_CONDITION"


def test_lines_and_excerpts() -> None:
    with pytest.raises(ConditionError) as caught:
        parse_condition("a and\n  b or\n  c d")
    error = caught.value
    assert (error.line, error.column) == (3, 5)
    assert error.excerpt == "  c d\n    ^"
    assert "line 3, column 5" in str(error)


def test_nodes_know_their_places() -> None:
    tree = parse_condition("a and proc.name = x\n and b")
    assert isinstance(tree, ast.And)
    assert [(node.position.offset, node.position.line) for node in tree.children] == [(0, 1), (6, 1), (25, 2)]


@pytest.mark.parametrize("nest", ["({})", "not (a and {})", "(a or (b and {}))", "not(not({}) or c)"])
def test_five_hundred_levels_are_read(nest: str) -> None:
    text = "proc.name = x"
    for _ in range(500):
        text = nest.format(text)
    tree = parse_condition(text)
    assert parse_condition(str(tree)) == tree
    assert hash(parse_condition(str(tree))) == hash(tree)


def test_deeper_nesting_is_refused_and_does_not_overflow_the_stack() -> None:
    with pytest.raises(ConditionError, match="exceeded max depth limit of 2500"):
        parse_condition("(" * 100_000 + "a" + ")" * 100_000)
    deep = "tolower(" * 5_000 + "proc.name" + ")" * 5_000 + " = x"
    assert str(parse_condition(deep)) == deep
    assert sys.getrecursionlimit() < 5_000


_WORDS = st.text("abcxyz01_", min_size=1, max_size=6).map(lambda text: "m" + text)
_FIELDS = st.sampled_from(["proc.name", "fd.name", "proc.aname[2]", "evt.type", "tolower(proc.exe)", "evt.arg.flags"])
_STRINGS = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), max_size=12)


@st.composite
def _checks(draw: st.DrawFn) -> ast.Expression:
    left = parse_condition(f"{draw(_FIELDS)} exists")
    assert isinstance(left, ast.Exists)
    operator = draw(st.sampled_from(["=", "!=", "in", "startswith", "contains", "exists", "pmatch"]))
    if operator == "exists":
        return left
    if operator in ("in", "pmatch"):
        return ast.Check(left.operand, operator, ast.ValueList(tuple(draw(st.lists(_STRINGS, max_size=4)))))
    if draw(st.booleans()):
        values = ast.ValueList(tuple(draw(st.lists(_STRINGS, max_size=3))))
        return ast.Check(left.operand, operator, values, draw(st.sampled_from(ast.MODIFIERS)))
    return ast.Check(left.operand, operator, ast.Value(draw(_STRINGS)))


def _expressions() -> st.SearchStrategy[ast.Expression]:
    leaves = st.one_of(_checks(), _WORDS.map(ast.Macro))
    return st.recursive(
        leaves,
        lambda inner: st.one_of(
            st.lists(inner, min_size=2, max_size=3).map(lambda parts: ast.And(tuple(parts))),
            st.lists(inner, min_size=2, max_size=3).map(lambda parts: ast.Or(tuple(parts))),
            inner.map(ast.Not),
        ),
        max_leaves=8,
    )


@settings(max_examples=200, deadline=None)
@given(_expressions())
def test_the_text_of_a_tree_reads_back_as_the_same_tree(tree: ast.Expression) -> None:
    assert parse_condition(str(tree)) == tree


_PIECES = st.sampled_from(
    [
        "proc.name",
        "(",
        ")",
        " and ",
        " or ",
        "not ",
        "=",
        "!=",
        " in ",
        "'",
        '"',
        "\\",
        ",",
        "a",
        "0x1",
        "val(",
        "[",
        "]",
    ]
)


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.text(max_size=40), st.lists(_PIECES, max_size=25).map("".join)))
def test_any_text_is_a_tree_or_a_located_error(text: str) -> None:
    caught = None
    try:
        tree = parse_condition(text)
    except ConditionError as error:
        caught = error
    else:
        assert parse_condition(str(tree)) == tree
    if caught is not None:
        assert caught.line >= 1
        assert caught.column >= 1
        assert "^" in caught.excerpt
