"""Patterns from outside: what they match, as GNU grep and bash match it, and that none takes long."""

from __future__ import annotations

import ast
import time
from pathlib import Path

import pytest

from ekslab.node.patterns import PatternError, glob, has_magic, regex

NODE = Path(__file__).parents[3] / "ekslab/node"
MATCHING = {"compile", "search", "match", "fullmatch", "split", "findall", "finditer", "sub", "subn"}


def _calls(nodes: list[ast.AST]) -> list[tuple[int, str]]:
    """Calls of `re`'s functions whose pattern isn't a text in the source."""
    found = []
    for node in nodes:
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        owner = node.func.value
        if not isinstance(owner, ast.Name) or node.func.attr not in MATCHING:
            continue
        constant = bool(node.args) and isinstance(node.args[0], ast.Constant | ast.IfExp)
        if constant and isinstance(node.args[0], ast.IfExp):
            constant = all(isinstance(side, ast.Constant) for side in (node.args[0].body, node.args[0].orelse))
        if owner.id in ("re", "_re", "fnmatch", "re2") and not constant:
            found.append((node.lineno, ast.unparse(node)))
    return found


def test_only_patterns_of_the_source_go_to_pythons_own_expressions() -> None:
    paths = list(NODE.rglob("*.py"))
    assert len(paths) > 50
    for path in paths:
        nodes = list(ast.walk(ast.parse(path.read_text())))
        imported = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
        assert not imported & {"fnmatch", "glob", "shlex"}, path
        if path.name != "patterns.py":
            assert _calls(nodes) == [], path
            assert "re2" not in imported, path


def test_the_check_of_the_source_sees_a_pattern_that_is_not_constant() -> None:
    source = "re.search(given, text)\nre.search('x', text)\nre.compile(f'{x}*')"
    assert _calls(list(ast.walk(ast.parse(source)))) == [
        (1, "re.search(given, text)"),
        (3, "re.compile(f'{x}*')"),
    ]


@pytest.mark.parametrize(
    ("dialect", "pattern", "text", "found"),
    [
        ("extended", "a|ab|abc", "xabcd", "abc"),
        ("extended", "(a*)(ab)*", "aab", "aab"),
        ("extended", "[[:digit:]]{2,3}", "a12345", "123"),
        ("extended", "a{,2}b", "aaab", "aab"),
        ("extended", "a{x", "a{x", "a{x"),
        ("extended", "[]a]+", "x]a]", "]a]"),
        ("extended", r"(.)(.)\2\1", "xabbay", "abba"),
        ("extended", r"\<b\w*", "abc bcd", "bcd"),
        ("basic", r"\(ab\)\{2\}", "xababab", "abab"),
        ("basic", "*a", "b*a", "*a"),
        ("basic", "a+", "aa+", "a+"),
        ("basic", r"a\+", "xaa", "aa"),
        ("basic", "a|b", "a|b", "a|b"),
        ("basic", r"^a\|b$", "xb", "b"),
        ("perl", r"(?<=k=)\d+", "k=12", "12"),
        ("perl", r"k=\K\d+?", "k=12", "1"),
        ("perl", r"(?i)AB(?!c)", "abc abd", "ab"),
        ("fixed", "a.c", "abc a.c", "a.c"),
        ("emacs", r"a+\(b\|c\)", "aac", "aac"),
    ],
)
def test_expressions_match_as_posix_and_perl_have_it(dialect: str, pattern: str, text: str, found: str) -> None:
    match = regex(pattern, dialect).search(text)
    assert match is not None
    assert match.group() == found


@pytest.mark.parametrize(
    ("dialect", "pattern", "message"),
    [
        ("extended", "(a", "Unmatched ( or \\("),
        ("basic", r"a\)", "Unmatched ) or \\)"),
        ("extended", "[a", "Unmatched [, [^, [:, [., or [="),
        ("extended", "[[:foo:]]", "Invalid character class name"),
        ("extended", "[b-a]", "Invalid range end"),
        ("extended", r"\1", "Invalid back reference"),
        ("extended", "a\\", "Trailing backslash"),
        ("basic", r"a\{2,1\}", "Invalid content of \\{\\}"),
        ("extended", "a{99999}", "Regular expression too big"),
        ("extended", "((a{500}){500}){500}", "Regular expression too big"),
        ("perl", r"(?<=a+)b", "lookbehind assertion is not fixed length"),
        ("extended", "(" * 5000, "embedded lab: regular expressions nest 60 groups at most in the lab"),
        ("extended", "a" * 100_000, "embedded lab: patterns have 16384 characters at most in the lab"),
        ("perl", r"a++", "embedded lab: the lab's regular expressions don't have possessive quantifiers"),
    ],
)
def test_a_pattern_that_can_not_be_is_refused_in_a_sentence(dialect: str, pattern: str, message: str) -> None:
    with pytest.raises(PatternError) as refused:
        regex(pattern, dialect)
    assert str(refused.value) == message


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        (r"(a*)*\1b", "a" * 2000),
        (r"(.*)(.*)(.*)(.*)\1x", "a" * 500),
        ("(x+x+)+y", "x" * 100_000),
        ("(.*)(.*)(.*)(.*)", "a" * 2_000_000),
        ("x.{500}y", "x" * 1_000_000),
        ("(a|aa)+$", "a" * 5_000 + "b"),
    ],
)
def test_no_expression_takes_long(pattern: str, text: str) -> None:
    started = time.process_time()
    try:
        regex(pattern).search(text)
    except PatternError as exc:
        assert str(exc).startswith("embedded lab: ")  # noqa: PT017 - either it is fast, or it says why not
    assert time.process_time() - started < 1


@pytest.mark.parametrize(
    ("pattern", "text", "matches"),
    [
        ("a*b", "aXb", True),
        ("[!a-c]?", "dz", True),
        ("[]x]", "]", True),
        (r"\*", "x", False),
        ("[[:upper:]]*", "Abc", True),
        ("@(a|b)c", "bc", True),
        ("!(a*)", "ba", True),
        ("!(a*)", "ab", False),
        ("+(ab)?(c)", "ababc", True),
        ("*a*a*a*a*a*a*a*a*a*a*a*a*b", "a" * 5000, False),
        ("*!(b)*!(c)*!(d)", "a" * 60, True),
        ("*\udcff", "a\udcff", True),
    ],
)
def test_globs_match_as_bash_has_it(pattern: str, text: str, matches: bool) -> None:
    assert glob(pattern, extglob=True).matches(text) is matches


def test_globs_take_the_shortest_and_the_longest_end() -> None:
    found = glob("@(a|ab|abc)", extglob=True)
    assert (found.prefix("abcd", longest=False), found.prefix("abcd", longest=True)) == (1, 3)
    dots = glob(".*")
    assert (dots.suffix("a.b.c", longest=False), dots.suffix("a.b.c", longest=True)) == (3, 1)
    assert "".join(glob("l*l").replaced("hello world", "-", every=True)) == "he-d"
    assert "".join(glob("l").replaced("hello world", "L", every=False)) == "heLlo world"


@pytest.mark.parametrize(
    ("pattern", "extglob", "magic"),
    [
        ("a*", False, True),
        ("a?b", False, True),
        ("[a]", False, True),
        ("[a", False, False),
        ("[]", False, False),
        ("]a[", False, False),
        (r"\*\?\[a]", False, False),
        (r"\\*", False, True),
        ("+(a)", False, False),
        ("+(a)", True, True),
        ("@(a)", True, True),
        ("!(a)", True, True),
        ("+a", True, False),
    ],
)
def test_a_glob_has_magic_when_a_character_stands_for_others(pattern: str, extglob: bool, magic: bool) -> None:
    assert has_magic(pattern, extglob=extglob) is magic
