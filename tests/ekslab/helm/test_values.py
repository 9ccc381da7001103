"""Values files and `--set` options, merged as Helm merges them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ekslab.helm.errors import HelmError
from ekslab.helm.values import coalesce, read


def refused(*files: Path, settings: tuple[str, ...] = ()) -> str:
    with pytest.raises(HelmError) as caught:  # its whole text is compared
        read(files, settings)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- rule: x", _array := "cannot unmarshal array into Go value of type map[string]interface {}"),
        ("rules", _array.replace("array", "string")),
        ("7", _array.replace("array", "number")),
        ("1.5", _array.replace("array", "number")),
        ("true", _array.replace("array", "bool")),
    ],
)
def test_a_file_that_is_no_map_is_refused(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "values.yaml"
    file.write_text(text)
    prefix = "error unmarshaling JSON: while decoding JSON: json: "
    assert refused(file) == f"failed to parse {file}: {prefix}{said}"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: b: c", "line 1: mapping values are not allowed in this context"),
        ("a: 1\n b: 2", "line 2: mapping values are not allowed in this context"),
        ("- a\nb: 1", "line 2: did not find expected '-' indicator"),
        ("a: 1\n- b", "line 2: did not find expected key"),
    ],
)
def test_what_is_no_yaml_is_refused_with_its_line(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "values.yaml"
    file.write_text(text)
    assert refused(file) == f"failed to parse {file}: error converting YAML to JSON: yaml: {said}"


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    assert refused(tmp_path / "nope.yaml") == f"open {tmp_path}/nope.yaml: no such file or directory"
    assert refused(tmp_path) == f"read {tmp_path}: is a directory"
    (tmp_path / "latin").write_bytes(b"a: \xff")
    said = "error converting YAML to JSON: yaml: invalid leading UTF-8 octet"
    assert refused(tmp_path / "latin") == f"failed to parse {tmp_path}/latin: {said}"


def test_later_files_and_settings_win_and_maps_are_merged(tmp_path: Path) -> None:
    first, second, empty = (tmp_path / name for name in ("first", "second", "empty"))
    first.write_text("a: {b: 1, c: 2}\nd: [1]\ne: kept")
    second.write_text("a: {c: 3}\nd: [2, 3]")
    empty.write_text("")
    assert read([first, second, empty], ["a.b=4"], ["e=5"]) == {"a": {"b": 4, "c": 3}, "d": [2, 3], "e": "5"}


@pytest.mark.parametrize(
    ("setting", "values"),
    [
        ("a=true,b=false,c=null,d=", {"a": True, "b": False, "c": None, "d": ""}),
        ("a=0,b=12,c=012,d=1.5", {"a": 0, "b": 12, "c": "012", "d": "1.5"}),
        ("a.b.c=x", {"a": {"b": {"c": "x"}}}),
        (r"a\.b=x\,y", {"a.b": "x,y"}),
        ("a={1,x,null},b={}", {"a": [1, "x", None], "b": [""]}),
        ("a[0].b=c,a[2]=d", {"a": [{"b": "c"}, None, "d"]}),
        ("a[0][1]=x", {"a": [[None, "x"]]}),
        (r"a={b\,c,d}", {"a": ["b,c", "d"]}),
        ("a=TRUE,b=Null,c=-5,d=+7,e=99999999999999999999", {"a": True, "b": None, "c": -5, "d": 7, "e": "9" * 20}),
        ("a=x=y", {"a": "x=y"}),
    ],
)
def test_settings_have_types(setting: str, values: dict[str, Any]) -> None:
    assert read([], [setting]) == values


def test_set_string_keeps_texts() -> None:
    assert read([], [], ["a=true,b=12,c={1,2}", r"d=x\,y"]) == {"a": "true", "b": "12", "c": ["1", "2"], "d": "x,y"}


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("a,b=1", 'key "a" has no value (cannot end with ,)'),
        ("a.b", 'key "b" has no value'),
        ("a={b", "list must terminate with '}'"),
        ("a[x]=1", 'error parsing index: strconv.Atoi: parsing "x": invalid syntax'),
        ("a[-1]=x", "negative -1 index not allowed"),
        ("a[99999]=x", "index of 99999 is greater than maximum supported index of 65536"),
        ("a[0]x=1", "unexpected data at end of array index: ['x']"),
        (
            "a=1,a.b=2",
            "unable to parse key: interface conversion: interface {} is int64, not map[string]interface {}",
        ),
        ("a=x,a[0]=y", "unable to parse key: interface conversion: interface {} is string, not []interface {}"),
    ],
)
def test_settings_that_are_wrong_are_refused(setting: str, said: str) -> None:
    assert refused(settings=(setting,)) == f"failed parsing --set data: {said}"


def test_settings_may_be_json_files_and_literals(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("a: b\n")
    assert read([], json_settings=['a={"b":[1,null]},c="x"', "a.d="]) == {"a": {"b": [1, None], "d": None}, "c": "x"}
    assert read([], file_settings=[f"a.b={tmp_path}/text"]) == {"a": {"b": "a: b\n"}}
    assert read([], literals=["a.b={c,d}\\e"]) == {"a": {"b": "{c,d}\\e"}}
    with pytest.raises(HelmError, match="failed parsing --set-json data a=x"):
        read([], json_settings=["a=x"])
    with pytest.raises(HelmError, match="failed parsing --set-file data: open /nope: no such file or directory"):
        read([], file_settings=["a=/nope"])


def test_null_removes_a_default_and_type_conflicts_are_warned_of() -> None:
    warned: list[str] = []
    defaults = {"a": 1, "b": None, "c": {"d": {"e": 1}, "f": "x", "g": True}, "h": 2, "i": {"j": 1}}
    user = {"a": None, "b": None, "c": {"d": 5, "f": {"k": 1}, "g": None}, "h": {"k": 1}, "i": 7}
    assert coalesce(user, defaults, warn=warned.append, path="falco") == {
        **{"b": None, "c": {"d": 5, "f": {"k": 1}}, "h": {"k": 1}, "i": 7}
    }
    assert warned == [
        "warning: cannot overwrite table with non table for falco.c.d (map[e:1])",
        "warning: destination for falco.c.f is a table. Ignoring non-table value (x)",
        "warning: skipped value for falco.h: Not a table.",
    ]
    assert user["c"] == {"d": 5, "f": {"k": 1}, "g": None}  # the user's values are not changed


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"b": 1, "a": [1, "x", True, None]}, "map[a:[1 x true <nil>] b:1]"),
        ({"a": False, "b": {}}, "map[a:false b:map[]]"),
    ],
)
def test_values_in_warnings_are_written_as_go_writes_them(value: dict[str, Any], text: str) -> None:
    warned: list[str] = []
    coalesce({"a": {"b": 1}}, {"a": {"b": value}}, warn=warned.append, path="falco")
    assert warned == [f"warning: cannot overwrite table with non table for falco.a.b ({text})"]
