"""Files and data in colour, with marked lines."""

from __future__ import annotations

import html
import re
from pathlib import Path

import pytest

from labkit.errors import LabError, StepError
from labkit.source import _MARKED, _PLACEHOLDER_STYLE, _STYLES, Source, source

from ..contrast import least_contrast

POLICY = "manifests/iam/fluent-bit-permissions.json"


def seen(shown: Source) -> str:
    """The text of the HTML, a line for each `div`."""
    lines = re.sub(r"</div>", "\n", shown._repr_html_())
    return html.unescape(re.sub(r"<[^>]+>", "", lines))


def test_a_file_is_printed_as_it_is(workshop: Path) -> None:
    text = (workshop / POLICY).read_text()
    for what in (POLICY, workshop / POLICY):
        shown = source(what, workshop)
        assert (shown.language, shown.name) == ("json", POLICY)
        assert str(shown) == repr(shown) == text.strip("\n")


def test_marked_lines_have_a_sign_and_notes_a_number(workshop: Path) -> None:
    shown = source(POLICY, workshop, mark={'"logs:': "two calls", '"Sid"': ""})
    lines = repr(shown).splitlines()
    assert [line for line in lines if line.startswith(">")] == [
        '>       "Sid": "WriteFalcoAlerts",',
        '>         "logs:CreateLogStream",  (1)',
        '>         "logs:PutLogEvents"',
    ]
    assert lines[-1] == "(1) two calls"
    assert shown._repr_html_().count("border-left:3px solid #f2a93b") == 3
    assert "1 two calls" in seen(shown)


@pytest.mark.parametrize("path", ["manifests", "custom-rules", "labkit/attacks"])
def test_no_character_of_a_file_is_lost_in_colour(workshop: Path, path: str) -> None:
    files = [f for f in (workshop / path).rglob("*") if f.suffix in (".yaml", ".json", ".sh", ".py")]
    assert files
    for file in files:
        shown = source(file, workshop)
        body = seen(shown).partition("\n")[2]
        assert [line for line in body.splitlines() if line.strip()] == [
            line for line in file.read_text().splitlines() if line.strip()
        ]


def test_what_is_of_different_kinds_has_different_colours(workshop: Path) -> None:
    rules = source("- rule: A\n  condition: evt.type = execve and not proc.name in (sh)\n", workshop)
    assert rules.language == "falco"
    styles = {text: style for style, text in re.findall(r'<span style="([^"]*)">([^<]*)</span>', rules._repr_html_())}
    assert styles["evt.type"] == styles["proc.name"]
    assert len({styles["condition"], styles["and"], styles["evt.type"]}) == 3
    assert styles["and"] == styles["="] == styles["not"] == styles["in"]
    assert "${region}</span>" in source(POLICY, workshop)._repr_html_()


def test_a_file_in_a_file_is_in_colour_too(workshop: Path) -> None:
    shown = source("custom-rules/whoami.yaml", workshop)._repr_html_()
    assert re.search(r'#1565c0 [^>]*">condition</span>', shown)


@pytest.mark.parametrize("style", [*_STYLES.values(), _PLACEHOLDER_STYLE])
def test_colours_are_read_easily_on_marked_lines_too(style: str) -> None:
    assert least_contrast(style) >= 4.5
    assert least_contrast(style, _MARKED) >= 4.5


def test_a_dict_is_json_and_a_text_has_the_language_it_is_given(workshop: Path) -> None:
    assert repr(source({"a": [1]}, workshop)) == '{\n  "a": [\n    1\n  ]\n}'
    assert source("ls -l", workshop, language="bash").language == "bash"
    assert source("one\ntwo", workshop)._repr_html_().count("one") == 1
    assert "&lt;script&gt;" in source("<script>\n", workshop, language="no such language")._repr_html_()


def test_what_cannot_be_shown_says_why(workshop: Path) -> None:
    with pytest.raises(StepError, match="can't be read: No such file") as caught:
        source("manifests/nothing.yaml", workshop)
    assert "LABKIT_ROOT" in caught.value.hint
    with pytest.raises(StepError, match="not a regular file"):
        source("manifests", workshop)
    with pytest.raises(StepError, match="can't be read"):
        source("a\0b", workshop)
    with pytest.raises(LabError, match="No line matches 'Sids'"):
        source(POLICY, workshop, mark=["Sid", "Sids"])
    with pytest.raises(LabError, match="no regular expression"):
        source(POLICY, workshop, mark="(")
    with pytest.raises(LabError, match="can't be shown as JSON"):
        source({(1, 2): 3}, workshop)


def test_a_dollar_sign_is_no_formula_and_backquotes_are_code(workshop: Path) -> None:
    """JupyterLab's MathJax takes `$.rule and $` for a formula where it isn't told to leave an element alone."""
    shown = source("a: $.rule and $.priority\n", workshop, language="yaml", mark={"a": "see `$.rule`"})._repr_html_()
    assert shown.startswith('<div class="mathjax_ignore"')
    assert "`" not in shown
    assert re.search(r"see <code[^>]*>\$\.rule</code>", shown)


def test_what_is_neither_text_nor_data_is_refused(tmp_path: Path) -> None:
    for odd in ({1, 2}, 3, object(), (n for n in ())):
        with pytest.raises(LabError, match="can't be shown"):
            source(odd, tmp_path)
