"""The YAML reader: what PyYAML reads from the same text, and yaml-cpp's errors and differences."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from falcorules.document import Node, documents
from falcorules.yaml_scanner import YamlFault

TEXTS = [
    "{a:}",
    "{a:, b: c}",
    "[a:]",
    "[a:, b]",
    "{a: 1, b}",
    "{a:b}",
    "{'a':b}",
    '{"a":1,"b":[x]}',
    "[a, b, ]",
    "[]",
    "{}",
    "[[a], {b: c}]",
    "[a: b, c]",
    "[? a : b]",
    "{? a : b, ? c}",
    "a: b\nc: d",
    "- a\n- b: c\n  d: e\n-\n  - f",
    "a:\n- x\n- y",
    "? a\n: b",
    "a: |\n  x\n  y\n",
    "a: |-\n  x\n\n",
    "a: |+\n  x\n\n",
    "a: >\n  x\n  y\n\n  z\n",
    "a: >-\n  x\n   y\n  z\n",
    "a: |2\n   x\n  y\n",
    "a: |1-\n x",
    "- |\n a\n- >\n b\n",
    "a: 'it''s'",
    'a: "x\\ty\\n\\x41\\u00e9\\U0001F600"',
    'a: "x\\\n  y"',
    "a: 'x\n  y\n\n  z'",
    'a: "x\n\n y"',
    "a: x\n  y\n  z",
    "a: x # c\nb: x#c",
    "# c\na: b # d\n# e\n",
    "a: -1\nb: -x\nc: ?x\nd: :x",
    "a: b:c",
    "a: 'b: c'",
    "a: [x y, 'z', \"w\"]",
    "- - a\n  - b\n- - c",
    "a: &x 1\nb: *x",
    "- &x [a]\n- *x",
    "a: &x\n  b: c\nd: *x",
    "!t\na: b",
    "--- a\n--- b\n...\n",
    "---\na: b\n---\nc: d",
    "%YAML 1.1\n---\na",
    "a: \"\"\nb: ''\n",
    "a:\n  b:\n    c: d\n  e: f\ng: h",
    "a: b\n\n\nc: d\n",
    "a:   b   \n",
    "'a': b",
    '"a b": c',
    "a b: c d",
    "- a\n\n- b",
    "-\n  a: b\n-\n  c: d",
    "- a: b\n  c:\n  - d",
    "[a,\n b,\n  c]",
    "{a: b,\n c: d}",
    "a: [\n b\n ]\nc: d",
    "a: |\n\n  x\n\n  y",
    "a: >\n\n x\n\n y",
    "a: |\n  x\n # c\nb: d",
    "a: x%",
    "a: 'x' ",
    "[a, 'b':c]",
    "é: ü",
    "a: b\r\nc: d\r\n",
    "a: >\r\n  b\r\n  c\r\n",
    "{a: [b, {c: d}], e: f}",
    "- [a, b]\n- {c: d}",
    "a: ~\nb: null\nc: ''",
    "- !t\n- !t x",
    "a: &a\nb: *a",
    "? |\n  a\n: b",
    "a: >2\n   x\n  y",
    "a\n",
    "'a'\n",
    "a: 1\na: 2\n",
    " a: b\n c: d",
    " - a\n - b",
    "a:\n   - b\n   -  c",
    "[a\n b, c\n\n d]",
    "a: #x\n  b",
    'a: "#x"',
    "- #x\n- y",
]


def value_of(node: Node) -> Any:
    """Maps as lists of pairs; an empty text and a null are the same here."""
    match node.kind:
        case "map":
            return [(value_of(key), value_of(value)) for key, value in node.pairs]
        case "sequence":
            return [value_of(item) for item in node.items]
        case _:
            return node.text if node.text not in ("", "~", "null") else None


def value_of_pyyaml(node: yaml.Node) -> Any:
    if isinstance(node, yaml.MappingNode):
        return [(value_of_pyyaml(key), value_of_pyyaml(value)) for key, value in node.value]
    if isinstance(node, yaml.SequenceNode):
        return [value_of_pyyaml(item) for item in node.value]
    return node.value if node.value not in ("", "~", "null") else None


@pytest.mark.parametrize("text", TEXTS, ids=ascii)
def test_a_text_reads_as_in_another_reader(text: str) -> None:
    expected = [value_of_pyyaml(node) for node in yaml.compose_all(text, yaml.BaseLoader)]
    assert [value_of(node) for node in documents(text.encode())] == expected


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: >+\n x\n\n\nb: c", [("a", "x\n\n"), ("b", "c")]),  # a folded break is lost
        ("a:\tb", [("a", "b")]),
        ("a: !e!x b", [("a", "b")]),  # no handle has to be declared
        (": a", [(None, "a")]),
        ('a: "b\\\r\n  c"', [("a", "bc")]),
        ("a: |# c\n b", [("a", "b")]),
        ("a: ! b", [("a", "b")]),
        ("[&x a, *x]", ["a", "a"]),
        ("a: |2-\n   b\n  c", [("a", " b\nc")]),
        ("[: a]", [[(None, "a")]]),
        ("? - a\n: - b", [(["a"], ["b"])]),
    ],
)
def test_what_yaml_cpp_reads_otherwise(text: str, value: Any) -> None:
    (document,) = documents(text.encode())
    assert value_of(document) == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: @x", "line 1, column 4: unknown token"),
        ("%YAML\n---\na", "line 1, column 1: YAML directives must have exactly one argument"),
        ("%YAML 1.1\n%YAML 1.1\n---\na", "line 2, column 1: repeated YAML directive"),
        ("%YAML x\n---\na", "line 1, column 1: bad YAML version: x"),
        ("%YAML 2.0\n---\na", "line 1, column 1: YAML major version too large"),
        ("%TAG !\n---\na", "line 1, column 1: TAG directives must have exactly two arguments"),
        ("%TAG ! !a\n%TAG ! !b\n---\na", "line 2, column 1: repeated TAG directive"),
        ("a: !x !y b", "line 1, column 7: cannot assign multiple tags to the same node"),
        ("a: &x &y b", "line 1, column 7: cannot assign multiple anchors to the same node"),
        ("a: !<t b", "line 1, column 7: end of verbatim tag not found"),
        ("a: !e! b", "line 1, column 7: tag handle with no suffix"),
        ("a: &", "line 1, column 5: anchor not found after &"),
        ("a: * b", "line 1, column 5: alias not found after *"),
        ("a: &x{b", "line 1, column 6: illegal character found while scanning anchor"),
        ("'a\n---\nb'", "line 2, column 1: illegal document indicator in scalar"),
        ('a: "\\xzz"', "line 1, column 9: bad character found while scanning hex number"),
        ('a: "\\ud800"', "line 1, column 11: invalid unicode: 55296"),
        ('a: "\\U00110000"', "line 1, column 15: invalid unicode: 1114112"),
        ("{a: b", "line 1, column 1: end of map flow not found"),
        ("[a]]", "line 1, column 4: illegal flow end"),
        ("a: b\n- c", "line 2, column 1: end of map not found"),
        ("a: ]", "line 1, column 4: illegal flow end"),
        ("[a}", "line 1, column 3: illegal flow end"),
        ("a: |\n\tx", "line 2, column 1: illegal tab when looking for indentation"),
        ("a: - b", "line 1, column 4: illegal block entry"),
        ("a: b: c", "line 1, column 5: illegal map value"),
        ("a: [b", "line 1, column 1: end of sequence flow not found"),
        ("a: 'b", "line 1, column 6: illegal EOF in scalar"),
        ('a: "\\q"', "line 1, column 7: unknown escape character: q"),
        ("a: *x", "line 1, column 4: the referenced anchor is not defined: x"),
        ("a: |9\n x", "line 2, column 2: end of map not found"),
        ("a: |0\n x", "line 1, column 6: cannot set zero indentation for a block scalar"),
        ("a: |x\n b", "line 1, column 5: unexpected character in block scalar"),
        ("k: [a, b]: c", "line 1, column 10: illegal map value"),
        ("a: 'x'y", "line 1, column 7: unexpected scalar"),
        ("'x' \"y\"", "line 1, column 5: unexpected scalar"),
        ("- 'x', y", "line 1, column 6: unexpected scalar"),
        (", a", "line 1, column 1: plain value cannot start with flow indicator character"),
        ("[a\n, b]", "line 2, column 1: plain value cannot start with flow indicator character"),
        ("...\n, b", "line 2, column 1: plain value cannot start with flow indicator character"),
        ("a: b\r- c\n", "line 2, column 1: end of map not found"),
        ("a: b\n c: d", "line 2, column 3: illegal map value"),
        ("{a b\n c: d}", "line 1, column 2: end of map flow not found"),
    ],
)
def test_an_error_is_that_of_yaml_cpp(text: str, message: str) -> None:
    with pytest.raises(YamlFault) as caught:
        documents(text.encode())
    assert caught.value.message == f"yaml-cpp: error at {message}"


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_encodings_are_detected(encoding: str, mark: str) -> None:
    (document,) = documents(f"{mark if encoding != 'utf-8-sig' else ''}a: é\nb: 💥".encode(encoding))
    assert value_of(document) == [("a", "é"), ("b", "💥")]


def test_nodes_have_places_in_bytes() -> None:
    (document,) = documents("é: [a,\n  b]\n".encode())
    ((key, value),) = document.pairs
    assert [tuple(node.place) for node in (document, key, value, *value.items)] == [
        (0, 0, 0),
        (0, 0, 0),
        (0, 4, 4),
        (0, 5, 5),
        (1, 2, 10),
    ]


def test_a_file_that_is_read_again_is_parsed_once_unless_it_is_large() -> None:
    assert documents(b"a: [b]") is documents(b"a: [b]")
    large = b"a: [" + b"b, " * 30_000 + b"]"
    assert documents(large) is not documents(large)
