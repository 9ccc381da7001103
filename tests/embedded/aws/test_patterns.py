"""Filter patterns: each form the user guide describes matches what it should, and errors point at their place."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labkit.embedded.aws.patterns import PatternError, compile_pattern

ALERT = json.dumps(
    {
        "rule": "Terminal shell in container",
        "priority": "Notice",
        "tags": ["T1059", "container"],
        "output_fields": {
            "k8s.ns.name": "default",
            "proc.tty": 34816,
            "user.uid": 0,
            "fd.name": None,
            "cpu": 1.5,
            "nested": {"list": [{"id": 7}, {"id": 8}]},
        },
        "interactive": True,
        "quiet": False,
    }
)
TEXT = "[ERROR 400] BAD REQUEST from 10.1.2.3: exit_code=-1"


@pytest.mark.parametrize(
    ("pattern", "matches"),
    [
        ("", True),
        ("   ", True),
        ("ERROR", True),
        ("error", False),
        ("ERR", True),
        ("ERROR REQUEST", True),
        ("ERROR GOOD", False),
        ("?GOOD ?BAD", True),
        ("?GOOD ?FINE", False),
        ("ERROR -REQUEST", False),
        ("ERROR -GOOD", True),
        ("-ERROR", False),
        ("-GOOD", True),
        ('"BAD REQUEST"', True),
        ('"REQUEST BAD"', False),
        ('"exit_code=-1"', True),
        ('-"10.1.2.3" ERROR', False),
        ('?"10.1.2.3" ?GOOD', True),
        ("?GOOD ERROR", True),  # `?` beside other terms is ignored
        ("%4[0-9]{2}%", True),
        ("%^BAD%", False),
        (r"%10\.1\.2\.\d+%", True),
        ("%[Gg]ood|[Bb]AD%", True),
    ],
)
def test_terms(pattern: str, matches: bool) -> None:
    assert compile_pattern(pattern)(TEXT) is matches


@pytest.mark.parametrize(
    ("pattern", "matches"),
    [
        ('{ $.rule = "Terminal shell in container" }', True),
        ('{$.rule="Terminal*"}', True),
        ('{ $.rule = "*shell*" }', True),
        ('{ $.rule = "shell*" }', False),
        ('{ $.rule != "Terminal*" }', False),
        ("{ $.priority = Notice }", True),
        ("{ $.priority = Not* }", True),
        ('{ $.priority = "Critical" || $.priority = "Notice" }', True),
        ('{ $.priority = "Critical" && $.rule = "Terminal*" }', False),
        ('{ ($.priority = "Critical" || $.priority = "Notice") && $.rule = "Drop*" }', False),
        ('{ $.priority = "Notice" || $.priority = "Critical" && $.rule = "Drop*" }', True),
        ('{ $.output_fields["k8s.ns.name"] = "default" }', True),
        ("{ $.output_fields['k8s.ns.name'] = \"shop\" }", False),
        ('{ $.output_fields["proc.tty"] != 0 }', True),
        ('{ $.output_fields["user.uid"] = 0 }', True),
        ("{ $.output_fields.cpu > 1 }", True),
        ("{ $.output_fields.cpu >= 1.5 && $.output_fields.cpu <= 1.5e0 }", True),
        ("{ $.output_fields.cpu < 1 }", False),
        ('{ $.output_fields["fd.name"] IS NULL }', True),
        ('{ $.output_fields["fd.name"] = "*" }', False),
        ("{ $.missing IS NULL }", False),
        ("{ $.missing NOT EXISTS }", True),
        ("{ $.rule NOT EXISTS }", False),
        ('{ $.missing != "x" }', False),
        ("{ $.interactive IS TRUE }", True),
        ("{ $.interactive IS FALSE }", False),
        ("{ $.quiet IS FALSE }", True),
        ('{ $.tags[0] = "T1059" }', True),
        ('{ $.tags[2] = "*" }', False),
        ("{ $.output_fields.nested.list[1].id = 8 }", True),
        ("{ $.rule = %shell in (container)?% }", None),
        ("{ $.rule = %^Terminal [a-z]+% }", True),
        ("{ $.rule != %^Terminal% }", False),
        ('{ $.output_fields.cpu = "*" }', True),
    ],
)
def test_json(pattern: str, matches: bool | None) -> None:
    if matches is None:
        with pytest.raises(PatternError):
            compile_pattern(pattern)
    else:
        assert compile_pattern(pattern)(ALERT) is matches


def test_json_patterns_match_no_other_lines() -> None:
    matches = compile_pattern('{ $.missing NOT EXISTS || $.rule = "*" }')
    assert matches("Terminal shell in container") is False
    assert matches('{"broken": ') is False
    assert matches("[1, 2]") is False


@pytest.mark.parametrize(
    ("pattern", "position", "words"),
    [
        ("ERROR:", 1, "Invalid character(s) in term 'ERROR:'"),
        ("a b.c", 3, "Invalid character(s) in term 'b.c'"),
        ('"open', 1, "closing quote"),
        ("%open", 1, "closing %"),
        ("%a(b)%", 3, "Unsupported character '('"),
        ("%a!%", 3, "Unsupported character '!'"),
        ("%a% %b% %c%", 9, "More than 2 regular expressions"),
        ("{ $.a = 1", 10, "Expected '}', found the end of the pattern"),
        ("{ $.a }", 7, "Expected =, !="),
        ("{ a = 1 }", 3, "begins with $"),
        ("{ $.a = }", 9, "Expected a value"),
        ('{ $.a > "x" }', 9, "needs a number"),
        ("{ $.a > b }", 9, "needs a number"),
        ("{ $.a = 1 } x", 13, "after the closing brace"),
        ("{ $.a[*] = 1 }", 6, "array index"),
        ("{ $ = 1 }", 4, "Expected a property"),
        ("[ip, user, ...]", 1, "not supported by the embedded lab"),
    ],
)
def test_errors_say_what_and_where(pattern: str, position: int, words: str) -> None:
    with pytest.raises(PatternError) as caught:
        compile_pattern(pattern)
    assert words in str(caught.value)
    assert caught.value.position == position


PIECES = re.findall(
    r"""\S+""",
    r"""
    { } ( ) [ ] $ $.a .b ["k.x"] [0] = != > <= && || "x*" "q %r% % ? - IS TRUE NOT EXISTS NULL 5 1e3
    word \ *
    """,
)


@given(st.lists(st.sampled_from(PIECES), max_size=12).map(" ".join) | st.text(max_size=25))
@settings(max_examples=400, deadline=None)
def test_any_text_is_a_pattern_or_has_an_error_somewhere_in_it(text: str) -> None:
    try:
        matches = compile_pattern(text)
    except PatternError as error:
        position = error.position
    else:
        assert all(isinstance(matches(message), bool) for message in (ALERT, TEXT, "", "{}", '{"a": [1, {"b": null}]}'))
        return
    assert 1 <= position <= len(text) + 1
