"""Transformers, by themselves: results have the terminating NUL of a C string in lists and buffers."""

from __future__ import annotations

from typing import Any

import pytest

from falcorules.transformers import TRANSFORMERS, texts


@pytest.mark.parametrize(
    ("name", "arguments", "result"),
    [
        ("tolower", ("AbÉ",), "abÉ"),
        ("toupper", ("abé",), "ABé"),
        ("tolower", (None,), None),
        ("tolower", (["A", "B\0"],), ["a\0", "b\0"]),
        ("basename", ("/a/b",), "b"),
        ("basename", ("a",), "a"),
        ("basename", ("/a/",), ""),
        ("b64", ("YQ==",), "a"),
        ("b64", ("YQ",), "a"),
        ("b64", ("YWI=",), "ab"),
        ("b64", ("YQBi",), "a"),
        ("b64", ("",), ""),
        ("b64", ("=",), None),
        ("b64", ("YR",), None),
        ("b64", ("Y*==",), None),
        ("b64", ("Y",), None),
        ("b64", (b"YWI=\0",), b"ab\0"),
        ("b64", (["YQ", "*"],), None),
        ("len", ("é",), 2),
        ("len", (["a", "b"],), 2),
        ("len", (None,), None),
        ("join", (",", ["a\0", "b"]), "a,b"),
        ("join", (None, ["a"]), None),
        ("join", (",", None), None),
        ("concat", ("a", 5), "a5"),
        ("concat", ("a", None), None),
        ("getopt", (None, "a", ""), None),
        ("getopt", (["-a"], None, ""), None),
        ("getopt", (["-xa"], "a", ""), ["?", "a"]),
        ("getopt", (["-a", "-", "-a"], "a", ""), ["a"]),
        ("getopt", (["-a", "-b", "-c"], "ab:c", ""), ["a", "b", "-c"]),
        ("getopt", (["-b"], "b:", ""), [""]),
        ("getopt", (["-b1", "-b2"], "b:", "b"), "2"),
        ("getopt", (["-b1"], "ab:", "a"), None),
    ],
)
def test_a_transformer(name: str, arguments: tuple[Any, ...], result: Any) -> None:
    assert TRANSFORMERS[name](*arguments) == result


def test_a_list_has_texts_and_is_missing_if_one_of_them_is() -> None:
    assert texts("a", 5, True) == ["a", "5", "true"]
    assert texts("a", None) is None
