"""Patterns against what the real TestMetricFilter answered for them: which messages matched, or how it refused."""

from __future__ import annotations

import json
import re
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ekslab.aws import filter_patterns
from ekslab.aws.filter_patterns import JsonPattern, PatternError, compile_pattern

TERMS = [
    "ERROR", "ERRORS", "xERROR", "error", "[ERROR]", "ERROR_code", "ERROR timeout", "INFO timeout", "WARN",
    "two words", "two  words",
]  # fmt: skip
TEXTS = [
    "ERROR", "WARN", "aaaa", "aa", "cat", "a cat", "hat", "color", "colour", "a-b", "a b", "a\nb", "123", "_", "café",
    "key:value", "ab", "back\\slash", "!",
]  # fmt: skip
VALUES = [
    '{"a":1}', '{"a":"1"}', '{"a":1.0}', '{"a":"01"}', '{"a":true}', '{"a":false}', '{"a":"true"}', '{"a":null}',
    "{}", '{"a":{}}', '{"a":[]}', '{"a":"foo"}', '{"a":"foobar"}', '{"a":"FOO"}', '{"a":1e3}', '{"a":"1e3"}',
    '{"a":1e309}', '{"a":"1e309"}', '{"a":1e-999}', '{"a":-0.0}', '{"a":9007199254740993}',
]  # fmt: skip
NUMBERS = [
    '{"a":1}', '{"a":1.0}', '{"a":1e0}', '{"a":"1"}', '{"a":"1.0"}', '{"a":"01"}', '{"a":0.0}', '{"a":-0.0}',
    '{"a":-1}', '{"a":9007199254740992}', '{"a":9007199254740993}', '{"a":1e308}', '{"a":1e309}', '{"a":"1e309"}',
    '{"a":1e-999}', '{"a":"1e-999"}', '{"a":0}', '{"a":true}', '{"a":"true"}', '{"a":null}', '{"a":[1,2]}',
    '{"a":[null,2]}',
]  # fmt: skip
SHAPES = [
    "{}", '{"a":null}', '{"a":2}', '{"a":1}', '{"a":"2"}', '{"a":[]}', '{"a":[1,2]}', '{"a":[2,1]}', '{"a":[1]}',
    '{"a":[null,2]}', '{"a":{}}', '{"a":{"b":2}}', '{"a":[{"b":1},{"b":2}]}', '{"a":[{"b":null}]}', '{"a":[[1,2]]}',
    '{"a":[true,false]}',
]  # fmt: skip
PATHS = [
    '{"a":[1,2]}', '{"a":[2,1]}', '{"a":[null,2]}', '{"a":{"x":1,"y":2}}', '{"a":{"x":2,"y":1}}',
    '{"a":[{"b":1},{"b":2}]}', '{"a.b":2}', '{"a-b":2}', '{"a":null}', "{}", "[1,2]", '{"a":2} trailing',
]  # fmt: skip
NESTED = [
    '{"a":true}', '{"a":false}', '{"a":[true,false]}', '{"a":[null]}', '{"a":[[null]]}', '{"a":[{"b":2},{"b":1}]}',
    '{"a":[{}]}', "{}",
]  # fmt: skip
WORDS = [
    "ERROR", "ERROR one", "ERROR one two", "WARN one", "INFO one", 'a "two words" c', "a [two words] c",
    'a "two words"', "a [two words]", "a  b   c ", "a\tb\tc", 'a "unclosed', "a [unclosed", 'a "b"c d', "one", "1 2",
    "1.0 2", "a b c d",
]  # fmt: skip


def numbers(text: str) -> list[int]:
    """`1-3 5` -> [1, 2, 3, 5]"""
    found: list[int] = []
    for part in text.split():
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found


@pytest.mark.parametrize(
    ("pattern", "messages", "matching"),
    [
        ("ERROR", TERMS, "1-3 5-7"),
        ("error", TERMS, "4"),
        ("ERROR timeout", TERMS, "7"),
        ("ERROR -timeout", TERMS, "1-3 5 6"),
        ("-ERROR", TERMS, "4 8-11"),
        ("?ERROR ?WARN", TERMS, "1-3 5-7 9"),
        ("?ERROR timeout", TERMS, "7 8"),
        ("?ERROR -timeout", TERMS, "1-6 9-11"),
        ('"two words"', TERMS, "10"),
        ('-"two words"', TERMS, "1-9 11"),
        ('?"two words" ?WARN', TERMS, "9 10"),
        ('"ERR*"', TERMS, ""),
        ("", TERMS, "1-11"),
        (" ", TERMS, "1-11"),
        ("a-b", ["a", "b", "a-b", "ab", "a b"], "1"),
        ("a_b", ["a_b", "a b"], "1"),
        ("a.b", ["a.b", "a b"], "1"),
        ("a?b", ["a?b", "a b"], "1 2"),
        ("café", ["café", "cafe"], "1"),
        ('" "', ["x", "two words", " "], "2 3"),
        ("%ERROR|WARN%", TEXTS, "1 2"),
        ("%^[hc]at$%", TEXTS, "5 7"),
        ("%^a{3,5}$%", TEXTS, "3"),
        ("%colou?r%", TEXTS, "8 9"),
        (r"%\d+%", TEXTS, "13"),
        (r"%\w+%", TEXTS, "1-18"),
        (r"%a\sb%", TEXTS, "11 12"),
        (r"%\x3A%", TEXTS, "16"),
        ("%a.b%", TEXTS, "10 11"),
        (r"%a\-b%", TEXTS, "10"),
        ("%a+?%", TEXTS, "3-7 10-12 15-18"),
        ("{ $.a = 1 }", VALUES, "1-3"),
        ('{ $.a = "1" }', VALUES, "1 2"),
        ("{ $.a != 1 }", VALUES, "4 7 12-16 18-21"),
        ('{ $.a != "foo" }', VALUES, "1-4 7 13-21"),
        ("{ $.a > 0 }", VALUES, "1 3 15 21"),
        ("{ $.a = foo }", VALUES, "12"),
        ("{ $.a = true }", VALUES, "7"),
        ('{ $.a = "true" }', VALUES, "7"),
        ("{ $.a IS TRUE }", VALUES, "5"),
        ("{ $.a IS FALSE }", VALUES, "6"),
        ("{ $.a IS NULL }", VALUES, "8"),
        ("{ $.a NOT EXISTS }", VALUES, "9"),
        ("{ $.a = * }", VALUES, "1-4 7 12-21"),
        ('{ $.a = "*" }', VALUES, "1-4 7 12-21"),
        ("{ $.a = foo* }", VALUES, "12 13"),
        ("{ $.a = 1e3 }", VALUES, "15 16"),
        ("{ $.a = +1 }", VALUES, "1 3"),
        ("{ $.a = 1e309 }", VALUES, "18"),
        ("{ $.a = 1e-999 }", VALUES, ""),
        ("{ $.a = 9007199254740992 }", VALUES, ""),
        ("{ $.a = %1% }", VALUES, "1-4 15 16 18 21"),
        ("{ $.a = 1.0 }", NUMBERS, "1-3 5"),
        ("{ $.a = 0 }", NUMBERS, "7 8 15 17"),
        ("{ $.a = -0.0 }", NUMBERS, "7 8 15 17"),
        ("{ $.a = 9007199254740993 }", NUMBERS, "11"),
        ("{ $.a = 1e308 }", NUMBERS, "12"),
        ("{ $.a > 1e307 }", NUMBERS, "12"),
        ("{ $.a > 1e-999 }", NUMBERS, "1-3 10-12"),
        ('{ $.a = "1e0" }', NUMBERS, ""),
        ("{ $.a IS NULL }", SHAPES, "2 10"),
        ("{ $.a is null }", SHAPES, "2 10"),
        ("{ $.a = 2 }", SHAPES, "3 5"),
        ("{ $.a != 2 }", SHAPES, "4"),
        ("{ $.a[*] != 2 }", SHAPES, "2-6 9 11 13-16"),
        ("{ $.a[*] IS NULL }", SHAPES, "10"),
        ("{ $.a[*] NOT EXISTS }", SHAPES, "1-6 11"),
        ("{ $.a NOT EXISTS }", SHAPES, "1"),
        ("{ $.a.b = 2 }", SHAPES, "12"),
        ("{ $.a.b NOT EXISTS }", SHAPES, "1-11 13-16"),
        ("{ $.a = * }", SHAPES, "3-5"),
        ('{ $.a = "2" }', SHAPES, "3 5"),
        ("{ $.a != %2% }", SHAPES, "4"),
        ("{ $.a = %1% || $.a = %2% }", SHAPES, "3-5"),
        ("{ $.a[1] = 2 }", PATHS, "1 3"),
        ("{ $.a[*] = 2 }", PATHS, "1-5"),
        ("{ $.a.* = 2 }", PATHS, "1-5"),
        ("{ $.a[*].b = 2 }", PATHS, "6"),
        ("{ $.['a.b'] = 2 }", PATHS, "7"),
        ("{ $.a-b = 2 }", PATHS, "8"),
        ("{ $.a IS NULL }", PATHS, "3 9"),
        ("{ $.a = 9 || $.missing NOT EXISTS }", PATHS, "1-10"),
        ("{ $.a[*] != 2 }", PATHS, "6 9"),
        ("{ $.a IS TRUE }", NESTED, "1"),
        ("{ $.a IS FALSE }", NESTED, "2"),
        ("{ $.a IS NULL }", NESTED, "4"),
        ("{ $.a[*].b != 2 }", NESTED, "1-5 7"),
        ("{ $.a[*] IS NULL }", NESTED, "4"),
        ("[a, b, c]", WORDS, "3 6 7 10 11 14 18"),
        ("[a, rest]", WORDS, "2-14 16-18"),
        ("[a]", WORDS, "1-18"),
        ("[]", WORDS, "1-18"),
        ("[..., last]", WORDS, "1-18"),
        ("[first, ..., last]", WORDS, "2-14 16-18"),
        ("[first, ...]", WORDS, "1-18"),
        ("[, b,]", WORDS, "3 6 7 10 11 14 18"),
        ("[a,]", WORDS, "2-14 16-18"),
        ("[level=ERROR, rest]", WORDS, "2 3"),
        ("[level=ERROR || level=WARN, rest]", WORDS, "2-4"),
        ("[a=1, rest]", WORDS, "16 17"),
        ('[a="1", rest]', WORDS, "16"),
        ("[a=%ERR%, rest]", WORDS, "2 3"),
        ("[a, b]", ['x "y" ', "x [y] ", "x y ", "x  ", 'x ""', "x []"], "1-3 5 6"),
        ("[a, b, c]", ['x "y z', "x [y z", 'x "y z q', "x [y z q"], "1-4"),
    ],
)
def test_what_matched_there_matches_here(pattern: str, messages: list[str], matching: str) -> None:
    compiled = compile_pattern(pattern)
    assert [n for n, message in enumerate(messages, start=1) if compiled.matches(message)] == numbers(matching)


@pytest.mark.parametrize(
    ("pattern", "message", "values"),
    [
        ("[a, b, c]", 'a "two words" c', {"$a": "a", "$b": "two words", "$c": "c"}),
        ("[a, b, c]", "a  b   c ", {"$a": "a", "$b": "b", "$c": "c"}),
        ("[a, b, c]", 'a "b"c d', {"$a": "a", "$b": "b", "$c": "c d"}),
        ("[a, b, c]", "x [y z q", {"$a": "x", "$b": "[y", "$c": "z q"}),
        ("[a, rest]", 'a "two words" c', {"$a": "a", "$rest": '"two words" c'}),
        ("[a, rest]", "a [two words]", {"$a": "a", "$rest": "two words"}),
        ("[a, rest]", "a  b   c ", {"$a": "a", "$rest": "b   c "}),
        ("[a, rest]", 'a "unclosed', {"$a": "a", "$rest": '"unclosed'}),
        ("[a]", "a\tb\tc", {"$a": "a\tb\tc"}),
        ("[a, b]", 'x ""', {"$a": "x", "$b": ""}),
        ("[]", 'a "b"c d', {"$1": "a", "$2": "b", "$3": "c", "$4": "d"}),
        ("[..., last]", "a [two words] c", {"$1": "a", "$2": "two words", "$last": "c"}),
        ("[..., last]", "one", {"$last": "one"}),
        ("[first, ..., last]", "a b c d", {"$first": "a", "$2": "b", "$3": "c", "$last": "d"}),
        ("[first, ...]", "ERROR one", {"$first": "ERROR", "$2": "one"}),
        ("[, b,]", "a b c d", {"$1": "a", "$b": "b", "$3": "c d"}),
        ("[a,]", 'a "two words" c', {"$a": "a", "$2": '"two words" c'}),
        ("{ $.a = 1 }", '{"a":1}', {}),
        ("ERROR", "ERROR", {}),
    ],
)
def test_values_are_taken_out_as_there(pattern: str, message: str, values: dict[str, str]) -> None:
    assert compile_pattern(pattern).extracted(message) == values


GENERIC = "Invalid metric filter pattern"


@pytest.mark.parametrize(
    ("pattern", "message", "position"),
    [
        ("ERR*", "Invalid character(s) in term '*'", 4),
        ("ERROR!", "Invalid character(s) in term '!'", 6),
        ("ERROR:", "Invalid character(s) in term ':'", 6),
        ("a/b", "Invalid character(s) in term '/'", 2),
        ("a@b", "Invalid character(s) in term '@'", 2),
        ('""', "Invalid character(s) in term '\"\"'", 1),
        ('"ERROR', "Invalid character(s) in term '\"ERROR'", 1),
        ('"ERROR"WARN', GENERIC, 8),
        ("ERROR %WARN%", "Invalid character(s) in term '%'", 7),
        ("?%WARN%", "Invalid character(s) in term '%'", 2),
        ("%(ab)+%", "Invalid character(s) in term '%('", 2),
        ("%café%", "Invalid character(s) in term '%café'", 5),
        ("%!%", "Invalid character(s) in term '%!'", 2),
        (r"%\p%", "Failed to compile regular expression.", 1),
        (r"%\(ab\)%", r"Invalid character(s) in term '%\('", 3),
        ("%%", "Invalid character(s) in term '%%'", 1),
        ("%abc", "If a filter pattern starts with '%' it must end with '%'", 4),
        ("%[z-a]%", "Failed to compile regular expression.", 1),
        ("%a++%", "Failed to compile regular expression.", 1),
        ("%[a&&b]%", "Invalid character(s) in term '%[a&'", 4),
        ("%ERROR% %WARN%", "Invalid character(s) in term ' '", 8),
        ('{ $.a > "0" }', "Invalid character(s) in term '\"0\"'", 9),
        ("{ $.a = 1 AND $.b = 2 }", GENERIC, 11),
        ("{ $.a == 1 }", GENERIC, 8),
        ("{ $.a = 1 } x", "If a filter pattern starts with '{' it must end with '}'", 13),
        ("{", "If a filter pattern starts with '{' it must end with '}'", 1),
        ("{ $['a.b'] = 2 }", "Invalid character(s) in term '$['", 3),
        ('{ $.["a.b"] = 2 }', "Invalid character(s) in term '$.[\"'", 4),
        ("{ $[1] = 2 }", "Invalid character(s) in term '$['", 3),
        ("{ $.a[-1] = 2 }", "Invalid character(s) in term '[-'", 6),
        ("{ $ = 2 }", "Invalid character(s) in term '$ '", 3),
        ("{ $.a = null }", GENERIC, 9),
        ("{ $.a IS NOT NULL }", "Invalid character(s) in term 'NOT'", 10),
        ("{ $.a = a:b }", "Invalid character(s) in term ':'", 10),
        ("{ $.a = 1e2147483648 }", GENERIC, 9),
        (
            "{ $.a = %1% || $.a = %2% || $.a = %3% }",
            "Your input has exceeded the maximum of 2 regular expressions per filter pattern.",
            35,
        ),
        (
            "{ $.a[*].* = 2 }",
            "Your filter pattern has a JSON path selector that exceeds the maximum of 1 wildcard allowed per json "
            "selector.",
            3,
        ),
        ("[a=ERROR || b=one, b]", "Multiple variables used in a single filter. Var1 : a, Var2 : b", 13),
        ("[a, a]", "Duplicate field 'a'", 5),
        (
            "[ip, user, username, timestamp, request, status_code = 4* && bytes > 1000]",
            "Multiple variables used in a single filter. Var1 : status_code, Var2 : bytes",
            62,
        ),
        ("%something!%", "Invalid character(s) in term '%something!'", 11),
        ("[1a]", "Invalid character(s) in term '1a'", 2),
        ("[a, ..., b, ...]", "Duplicate field '...'", 13),
        ("[a == 1]", GENERIC, 5),
        ('[a>"1", b]', GENERIC, 4),
    ],
)
def test_what_was_refused_there_is_refused_here_and_where(pattern: str, message: str, position: int) -> None:
    with pytest.raises(PatternError) as caught:
        compile_pattern(pattern)
    assert str(caught.value).startswith(message)
    assert caught.value.position == position


ALERT = (
    '{"rule":"Terminal shell in container","priority":"Notice","tags":["T1059","container"],'
    '"output_fields":{"k8s.ns.name":"default","proc.tty":34816,"fd.name":null}}'
)


@pytest.mark.parametrize(
    ("pattern", "matches"),
    [
        ('{ $.priority = "Critical" || $.priority = "Notice" && $.rule = "Terminal*" }', True),
        ('{ ($.priority = "Critical" || $.priority = "Notice") && $.rule = "Drop*" }', False),
        ("{ $.output_fields.['k8s.ns.name'] = default }", True),
        ("{ $.output_fields.['proc.tty'] != 0 }", True),
        ("{ $.output_fields.['fd.name'] IS NULL }", True),
        ("{ $.tags[*] = T1059 }", True),
        ("{ $.tags[1] = %^cont% && $.tags[5] NOT EXISTS }", True),
        ('"Terminal shell in container"', True),
        ("Terminal -container", False),
    ],
)
def test_alerts_are_selected_by_their_fields(pattern: str, matches: bool) -> None:
    assert compile_pattern(pattern).matches(ALERT) is matches


def test_what_is_nested_beyond_reading_does_not_match() -> None:
    assert not compile_pattern("{ $.a = * }").matches('{"a":' * 200_000)


def test_access_logs_are_selected_as_the_user_guide_shows() -> None:
    line = '127.0.0.1 Prod frank [10/Oct/2000:13:25:15 -0700] "GET /index.html HTTP/1.0" 404 1534'
    for pattern in (
        "[ip, user, username, timestamp, request =*.html*, status_code = 4*, bytes]",
        "[ip, user, username, timestamp, request, status_code = 404 || status_code = 410, bytes > 1000]",
        "[..., request =*.html*, status_code = 4*, bytes]",
        r"[ip=%127\.0\.0\.[1-9]%, user, username, timestamp, request =*.html*, status_code = 4*, bytes]",
        "[w1!=ERROR&&w1!=WARN, w2]",
    ):
        assert compile_pattern(pattern).matches(line)
    assert not compile_pattern("[..., status_code = 5*, bytes]").matches(line)
    assert compile_pattern("[..., bytes]").extracted(line)["$bytes"] == "1534"


PIECES = re.findall(
    r"\S+",
    r"""
    { } ( ) [ ] $ $.a .b .['k.x'] [0] [*] .* = != > <= && || "x*" "q %r% % ? - IS TRUE NOT EXISTS NULL 5 1e3 word
    \ * , ... a=1
    """,
)


@given(st.lists(st.sampled_from(PIECES), max_size=12).map(" ".join) | st.text(max_size=25))
@settings(max_examples=500, deadline=None)
def test_any_text_is_a_pattern_or_has_an_error_somewhere_in_it(text: str) -> None:
    try:
        pattern = compile_pattern(text)
    except PatternError as error:
        position = error.position
    else:
        for message in (ALERT, *TEXTS, *SHAPES, *WORDS, ""):
            assert isinstance(pattern.matches(message), bool)
            assert isinstance(pattern.extracted(message), dict)
        return
    assert 1 <= position <= len(text) + 1


FOUND = st.sampled_from(
    [
        "Terminal shell in container",
        "Terminal shell",
        "bash",
        "a\\b",
        "é",
        "Ausführen",
        "12",
        "1000.0",
        12,
        1e3,
        True,
        None,
    ]
)
OPERANDS = [
    "Terminal shell in container",
    "Terminal*",
    "*shell*",
    "bash",
    "a\\\\b",
    "é",
    "Ausf*",
    "12",
    "1000.0",
    "true",
]
CONDITION = st.builds('$.{} = "{}"'.format, st.sampled_from("ab"), st.sampled_from(OPERANDS))


@given(
    st.lists(CONDITION, min_size=1, max_size=3).flatmap(
        lambda parts: st.sampled_from([" && ".join(parts), " || ".join(parts)])
    ),
    st.dictionaries(st.sampled_from("ab"), FOUND | st.lists(FOUND, max_size=2)),
    st.booleans(),
)
@settings(max_examples=500, deadline=None)
def test_what_is_dismissed_without_parsing_would_not_have_matched(text: str, document: Any, ascii_only: bool) -> None:
    pattern = compile_pattern("{ " + text + " }")
    assert isinstance(pattern, JsonPattern)
    message = json.dumps(document, ensure_ascii=ascii_only)
    assert pattern.matches(message) == pattern.condition(document)
    escaped = re.sub(r'"(?:[^"\\]|\\.)*"', _escaped, message)
    assert pattern.matches(escaped) == pattern.condition(document)


def _escaped(string: re.Match[str]) -> str:
    return '"' + "".join(f"\\u{ord(letter):04x}" for letter in json.loads(string[0])) + '"'


def test_a_selective_pattern_parses_little(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[str] = []
    loads = orjson.loads
    monkeypatch.setattr(filter_patterns.orjson, "loads", lambda text: parsed.append(text) or loads(text))
    pattern = compile_pattern('{ $.rule = "Terminal shell*" && $.priority != "Notice" }')
    assert not any(pattern.matches(f'{{"rule": "Read sensitive file untrusted", "n": {i}}}') for i in range(1000))
    assert parsed == []
    assert pattern.matches('{"rule": "Terminal shell in container", "priority": "Error"}')
    assert len(parsed) == 1


# The examples of the service's user guide, with what it says they match.

REQUESTS = [
    "[ERROR 400] BAD REQUEST",
    "[ERROR 401] UNAUTHORIZED REQUEST",
    "[ERROR 419] MISSING ARGUMENTS",
    "[ERROR 420] INVALID ARGUMENTS",
    "[INFO 500] INTERNAL SERVER ERROR",
    "[INFO] REQUEST FAILED",
    "[INFO] UNAUTHORIZED REQUEST",
    "Exiting with ERRORCODE: -1",
    "[WARN] Failed to process the request",
    "[ERROR] Unable to continue: Failed to process the request",
]
LEVELS = ["ERROR WARN message", "ERROR message", "WARN message"]
TRAIL = """{
  "eventType": "UpdateTrail",
  "sourceIPAddress": "111.111.111.111",
  "arrayKey": ["value", "another value"],
  "objectList": [{"name": "a", "id": 1}, {"name": "b", "id": 2}],
  "SomeObject": null,
  "ThisFlag": true,
  "cluster.name": "c"
}"""
USERS = """{
  "user": {"id": 1, "email": "John.Stiles@example.com"},
  "users": [{"id": 2, "email": "John.Doe@example.com"}, {"id": 3, "email": "Jane.Doe@example.com"}],
  "actions": ["GET", "PUT", "DELETE"],
  "coordinates": [[0, 1, 2], [4, 5, 6], [7, 8, 9]]
}"""
MEASURED = """{
  "latency": 1500, "bandwidth": 100.5, "errorCode": 400, "refreshRate": 60, "responseTime": 4.5,
  "numbers": [5, 1e3, 0.001],
  "processes": [{}, {}, {}, {}, {"averageRuntime": 55.5}]
}"""
ACCESS = [
    '127.0.0.1 - frank [10/Oct/2000:13:25:15 -0700] "GET /apache_pb.gif HTTP/1.0" 200 1534',
    '127.0.0.1 - frank [10/Oct/2000:13:35:22 -0700] "GET /apache_pb.gif HTTP/1.0" 500 5324',
    '127.0.0.1 - frank [10/Oct/2000:13:50:35 -0700] "GET /apache_pb.gif HTTP/1.0" 200 4355',
    '127.0.0.1 - frank [10/Oct/2000:13:25:15 -0700] "GET /index.html HTTP/1.0" 404 1534',
    '127.0.0.10 - frank [10/Oct/2000:13:25:15 -0700] "GET /index.html HTTP/1.0" 403 90',
]


@pytest.mark.parametrize(
    ("pattern", "messages", "matching"),
    [
        ("ERROR", REQUESTS, "1-5 8 10"),
        ("ERROR ARGUMENTS", REQUESTS, "3 4"),
        ("?ERROR ?ARGUMENTS", REQUESTS, "1-5 8 10"),
        ("ERROR -ARGUMENTS", REQUESTS, "1 2 5 8 10"),
        ('"INTERNAL SERVER ERROR"', REQUESTS, "5"),
        ("ERROR -Exiting", REQUESTS, "1-5 10"),
        ('"ERROR" -"Exiting"', REQUESTS, "1-5 10"),
        ("Failed to process the request", REQUESTS, "9 10"),
        ('"[ERROR"', REQUESTS, "1-4 10"),
        ('?"ERROR 400" ?"INFO 500"', REQUESTS, "1 5"),
        ("?INFO REQUEST", REQUESTS, "1 2 6 7"),  # a term without a sign outweighs those with a question mark
        ("%AUTHORIZED%", REQUESTS, "2 7"),
        ("%4[0-9]{2}%", REQUESTS, "1-4"),
        (r"%ERROR \d+%", REQUESTS, "1-4"),
        (r"%^\[INFO|-1$%", REQUESTS, "5-8"),
        ("%AUTHORIZED%", ["[ERROR 401] UNAUTHORIZED REQUEST", "[SUCCESS 200] AUTHORIZED REQUEST", "[INFO] OK"], "1 2"),
        ("%^[hc]at%", ["hat", "cat", "a hat", "bat"], "1 2"),
        ("%[hc]at$%", ["a hat", "the cat", "cats", "bat"], "1 2"),
        ("%colou?r%", ["color", "colour", "colouur"], "1 2"),
        ("%[abc]%", ["a", "xb", "d"], "1 2"),
        ("%a{3,5}%", ["aa", "aaa", "aaaaaa"], "2 3"),
        ("%gra|ey%", ["gray", "grey", "gry"], "1 2"),
        (r"%10\.10\.0\.1%", ["10.10.0.1", "10.10.0.12", "10x10x0x1"], "1 2"),
        ("%ab*c%", ["ac", "abc", "abbbc", "adc"], "1-3"),
        ("%ab+c%", ["ac", "abc", "abbbc"], "2 3"),
        ("%.at%", ["hat", "4at", "#at", " at", "at"], "1-4"),
        (r"%\d%", ["a1", "a"], "1"),
        (r"%^\D+$%", ["a1", "a"], "2"),
        (r"%\s%", ["a b", "ab"], "1"),
        (r"%^\S+$%", ["a b", "ab"], "2"),
        (r"%^\w+$%", ["a_1", "a-1"], "1"),
        (r"%\W%", ["a_1", "a-1"], "2"),
        (r"%\x3A%", ["key:value", "key=value"], "1"),
        ("ERROR", LEVELS, "1 2"),
        ("?ERROR ?WARN", LEVELS, "1-3"),
        ("ERROR WARN", LEVELS, "1"),
        ("ERROR -WARN", LEVELS, "2"),
        ("[w1=ERROR, w2]", LEVELS, "1 2"),
        ("[w1=ERROR || w1=WARN, w2]", LEVELS, "1-3"),
        ("[w1!=ERROR&&w1!=WARN, w2]", LEVELS, ""),
        ("{$.foo = bar}", ['{"foo": "bar"}', '{"foo": "baz"}'], "1"),
        ("{$.foo = baz }", ['{"foo": "bar"}', '{"foo": "baz"}'], "2"),
        ("{$.foo = bar || $.foo = baz }", ['{"foo": "bar"}', '{"foo": "baz"}'], "1 2"),
        ('{ $.eventType = "UpdateTrail" }', [TRAIL], "1"),
        ('{ $.eventType = "*Trail" }', [TRAIL], "1"),
        ("{ $.eventType = Update* }", [TRAIL], "1"),
        ("{ $.eventType = %Trail% }", [TRAIL], "1"),
        ("{ $.eventType = %Trail$% && $.arrayKey[0] = %^v% }", [TRAIL], "1"),
        ("{ $.sourceIPAddress != 123.123.* }", [TRAIL], "1"),
        (r"{ $.sourceIPAddress != %123\.123\.% }", [TRAIL], "1"),
        ("{ $.sourceIPAddress = 111.111.* }", [TRAIL], "1"),
        ('{ $.arrayKey[0] = "value" }', [TRAIL], "1"),
        ('{ $.arrayKey[1] = "value" }', [TRAIL], ""),
        ('{ $.arrayKey[*] = "another value" }', [TRAIL], "1"),
        ("{ $.objectList[1].id = 2 }", [TRAIL], "1"),
        ("{ $.objectList[*].id = 2 }", [TRAIL], "1"),
        ("{ $.objectList[0].id = 2 }", [TRAIL], ""),
        ("{ $.SomeObject IS NULL }", [TRAIL], "1"),
        ("{ $.SomeOtherObject NOT EXISTS }", [TRAIL], "1"),
        ("{ $.SomeObject NOT EXISTS }", [TRAIL], ""),
        ("{ $.ThisFlag IS TRUE }", [TRAIL], "1"),
        ("{ $.ThisFlag IS FALSE }", [TRAIL], ""),
        ("{ $.['cluster.name'] = \"c\" }", [TRAIL], "1"),
        ("{ $.arrayKey = value }", [TRAIL], ""),  # a selector has to lead to a value, not to an array
        ("{ $.arrayKey != value }", [TRAIL], ""),
        ('{ ($.user.id = 1) && ($.users[0].email = "John.Doe@example.com") }', [USERS], "1"),
        ('{ ($.user.id = 2 && $.users[0].email = "nonmatch") || $.actions[2] = "GET" }', [USERS], ""),
        (
            '{ $.user.email = "John.Stiles@example.com" || $.coordinates[0][1] = nonmatch && $.actions[2] = nomatch }',
            [USERS],
            "1",
        ),
        (
            '{ ($.user.email = "John.Stiles@example.com" || $.coordinates[0][1] = nonmatch) && '
            "$.actions[2] = nomatch }",
            [USERS],
            "",
        ),
        ("{ $.coordinates[1][2] = 6 }", [USERS], "1"),
        ("{ $.users = 1 }", ['{"users": [1, 2, 3]}'], ""),
        ("{ $.users != 1 }", ['{"users": [1, 2, 3]}'], ""),
        ("{ $.latency >= 500 }", [MEASURED], "1"),
        ("{ $.numbers[0] < 10e3 }", [MEASURED], "1"),
        ("{ $.numbers[0] < 10e-3 }", [MEASURED], ""),
        ("{ $.numbers[2] = 1e-3 }", [MEASURED], "1"),
        ("{ $.numbers[1] != 1e+3 }", [MEASURED], ""),
        ("{ $.processes[4].averageRuntime <= 55.5 }", [MEASURED], "1"),
        ("{ $.errorCode = 400 }", [MEASURED], "1"),
        ("{ $.errorCode != 500 }", [MEASURED], "1"),
        ("{ $.latency > +1000 }", [MEASURED], "1"),
        ("{ $.bandwidth > 75 }", [MEASURED], "1"),
        ("{ $.refreshRate >= 60 }", [MEASURED], "1"),
        ("{ $.responseTime < 5 }", [MEASURED], "1"),
        ("{ $.latency = * }", [MEASURED], "1"),
        ("[ip, user, username, timestamp, request, status_code, bytes]", ACCESS, "1-5"),
        ("[..., status_code, bytes]", ACCESS, "1-5"),
        ("[ip, user, ..., status_code, bytes]", ACCESS, "1-5"),
        ("[ip, user, ...]", ACCESS, "1-5"),
        ("[ip, user, username, timestamp, request, status_code, bytes > 1000]", ACCESS, "1-4"),
        ("[ip, user, username, timestamp, request, status_code = 200, bytes]", ACCESS, "1 3"),
        ("[ip, user, username, timestamp, request, status_code = 4*, bytes]", ACCESS, "4 5"),
        ("[ip, user, username, timestamp, request = *html*, status_code = 4*, bytes]", ACCESS, "4 5"),
        ("[ip, user, username, timestamp, request, status_code = 4* && status_code != 403, bytes]", ACCESS, "4"),
        (
            r"[ip=%127\.0\.0\.[1-9]$%, user, username, timestamp, request =*.html*, status_code = 4*, bytes]",
            ACCESS,
            "4",
        ),
        ("[..., request =*.html*, status_code = 4*,]", ACCESS, "4 5"),
        ('[ip, user, username, timestamp, request = "GET /index.html*", status_code, bytes]', ACCESS, "4 5"),
    ],
)
def test_examples_of_the_user_guide(pattern: str, messages: list[str], matching: str) -> None:
    compiled = compile_pattern(pattern)
    assert [n for n, message in enumerate(messages, start=1) if compiled.matches(message)] == numbers(matching)


def test_fields_are_extracted_as_the_user_guide_shows() -> None:
    pattern = compile_pattern("[..., request=*.html*, status_code=4*,]")
    assert pattern.extracted(ACCESS[3]) == {
        "$1": "127.0.0.1",
        "$2": "-",
        "$3": "frank",
        "$4": "10/Oct/2000:13:25:15 -0700",
        "$request": "GET /index.html HTTP/1.0",
        "$status_code": "404",
        "$7": "1534",
    }
