"""Wrong calls of the public functions: what is obviously meant is accepted, the rest is refused in two lines."""

from __future__ import annotations

import inspect
import pydoc
from collections.abc import Callable
from pathlib import Path

import pytest

import falcorules as rules
from falcorules.arguments import near, shown

RULE = "- rule: X\n  desc: d\n  condition: evt.type = execve and {} = cat\n  output: o\n  priority: NOTICE\n"

WRONG: dict[str, tuple[Callable[[], object], str]] = {
    "no rules": (lambda: rules.check(5), "Give paths"),  # type: ignore[arg-type]
    "no rules in a list": (lambda: rules.check([None]), "pairs of a name and a text"),  # type: ignore[list-item]
    "an option of load": (lambda: rules.load([], priorty="x"), "Did you mean 'priority'"),
    "a kind of matching": (lambda: rules.load([], matching="frist"), "'first' or 'all'"),
    "events that are none": (lambda: rules.Engine().replay(5), "a list of them"),  # type: ignore[arg-type]
    "values files": (lambda: rules.from_values([]), "It has to be a path or text"),  # type: ignore[arg-type]
    "lines that are none": (lambda: list(rules.read_events([5])), "lines of JSON"),  # type: ignore[list-item]
    "no condition": (lambda: rules.parse_condition(5), "It has to be text"),  # type: ignore[arg-type]
    "a selection that is none": (lambda: rules.Engine().select([5]), "enable or disable"),  # type: ignore[list-item]
    "a dict that is no event": (lambda: rules.Engine().replay([{"a": 1}]), "a list of them"),  # type: ignore[list-item]
}


@pytest.mark.parametrize(("call", "said"), WRONG.values(), ids=WRONG)
def test_a_wrong_call_is_refused_in_two_lines(call: Callable[[], object], said: str) -> None:
    with pytest.raises(rules.FalcoRulesError) as caught:
        call()
    in_a_notebook = "\n".join(caught.value._render_traceback_())
    assert said in caught.value.hint
    assert len(in_a_notebook.splitlines()) == 2
    assert max(map(len, in_a_notebook.splitlines())) < 400


def test_rules_are_checked_from_one_file_several_or_their_text(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text(RULE.format("proc.name"))
    text = file.read_text()
    for given in (file, str(file), [file], [[file]], tmp_path, ("x", text), [("x", text)], text):
        report = rules.check(given)  # type: ignore[arg-type]
        assert report.successful, given
        assert [rule.name for rule in rules.load(given).rules] == ["X"]  # type: ignore[arg-type]


def test_rules_that_are_not_loaded_show_the_place_and_a_similar_field() -> None:
    with pytest.raises(rules.LoadError) as caught:
        rules.load(("mine.yaml", RULE.format("proc.nam")))
    lines = str(caught.value).splitlines()
    assert lines[0] == "Rules can't be loaded: mine.yaml: filter_check called with nonexistent field proc.nam"
    assert lines[1].strip() == "evt.type = execve and proc.nam = cat"
    assert lines[2].strip() == "^"
    assert "Did you mean 'proc.name'" in lines[3]
    assert "Did you mean &#x27;proc.name&#x27;" in rules.check(("x", RULE.format("proc.nam")))._repr_html_()


def test_tab_and_help_show_the_public_names_and_no_others() -> None:
    assert [name for name in dir(rules) if not name.startswith("__")] == sorted(rules.__all__)
    assert all(getattr(rules, name).__name__.rpartition(".")[2] == name for name in rules.__all__)
    page = pydoc.plain(pydoc.render_doc(rules))
    assert all(name in page for name in rules.__all__)
    with pytest.raises(AttributeError, match=r"'falcorules' has no attribute 'xyzzy'\.$"):
        rules.xyzzy  # noqa: B018


def test_a_misspelt_name_of_a_package_is_answered_with_the_right_one() -> None:
    with pytest.raises(AttributeError, match="Did you mean 'check'"):
        rules.chekc  # noqa: B018


def test_help_shows_the_signature_of_a_checked_function() -> None:
    assert list(inspect.signature(rules.Engine.why).parameters) == ["self", "rule", "events", "number"]
    assert "The tree of a condition" in str(rules.parse_condition.__doc__)


def test_similar_names_are_found_by_their_letters_and_by_a_part() -> None:
    assert near("Terminal shell", ["Terminal shell in container", "Other"]) == (
        "Did you mean 'Terminal shell in container'? "
    )
    assert near("PROC.NAM", ["proc.name", "fd.name"]).startswith("Did you mean 'proc.name'")
    assert near("xyzzy", ["proc.name"]) == near("", ["proc.name"]) == ""
    assert near("a" * 10**6, ["proc.name"]) == ""


def test_a_value_is_shown_on_one_short_line() -> None:
    assert shown("a\nb" * 10**6) == "'" + "a\\nb" * 14 + "..."
    assert shown({"a": "b\n" * 100}).endswith("...")

    class Broken:
        def __repr__(self) -> str:
            raise ValueError

    assert shown(Broken()) == "a Broken"
