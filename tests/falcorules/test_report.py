"""What a report says: each of Falco's codes with its message, the way to its place, and the line around it."""

from __future__ import annotations

import html
import json
import re
from typing import NamedTuple

import pytest

from falcorules import Engine, LoadError, Report, check, load
from falcorules.report import ERRORS, WARNINGS, Location, snippet

RULE = "- rule: R\n  desc: d\n  condition: evt.type = execve\n  output: o\n  priority: NOTICE\n"
# Only items that extensions of Falco bring have these; it has none itself.
OF_EXTENSIONS = {"LOAD_ERR_EXTENSION", "LOAD_WARNING_EXTENSION"}


class Case(NamedTuple):
    """A file, the problem in it, and the steps from the file to its place: type, name, line, column."""

    text: str
    message: str
    steps: tuple[tuple[str, str, int, int], ...]
    snippet: str


FILE = ("rules content", "", 0, 0)
R = ("rule", "R", 0, 2)
CASES = {
    "LOAD_ERR_YAML_PARSE": Case(
        "- rule: R\n  tags: [a\n",
        "yaml-cpp: error at line 3, column 1: end of sequence flow not found",
        (FILE, ("value for", "", 2, 0)),
        "  tags: [a\n         ^\n",
    ),
    "LOAD_ERR_YAML_VALIDATE": Case(
        "- list: l\n  items:\n    - a\n    - [b]\n",
        "sequence value is not scalar",
        (FILE, ("list", "l", 0, 2), ("value for", "items", 2, 4), ("list item", "", 3, 6)),
        "    - [b]\n      ^\n",
    ),
    "LOAD_ERR_VALIDATE": Case(
        f"{RULE}  exceptions:\n  - name: e\n    fields: [proc.name]\n    comps: [is]\n",
        "'is' is not a supported comparison operator",
        (FILE, R, ("exception", "e", 6, 4)),
        "  - name: e\n    ^\n",
    ),
    "LOAD_ERR_COMPILE_CONDITION": Case(
        RULE.replace("execve", "execve and proc.nme = a"),
        "filter_check called with nonexistent field proc.nme",
        (FILE, R, ("rule condition", "", 2, 13), ("condition expression", "", 3, 36)),
        "evt.type = execve and proc.nme = a\n                                 ^\n",
    ),
    "LOAD_ERR_COMPILE_OUTPUT": Case(
        RULE.replace("output: o", "output: x %fd.nt"),
        "unknown filter: unexpected token after '",
        (FILE, R, ("rule output", "", 3, 10)),
        "  output: x %fd.nt\n          ^\n",
    ),
    "LOAD_UNKNOWN_SOURCE": Case(
        f"{RULE}  source: k8s_audit\n", "Unknown source k8s_audit, skipping", (FILE, R), "- rule: R\n  ^\n"
    ),
    "LOAD_UNSAFE_NA_CHECK": Case(
        f"{RULE.replace('evt.type = execve', 'ka.verb = <NA>')}  skip-if-unknown-filter: true\n",
        "",
        (FILE, R, ("rule condition", "", 2, 13), ("condition expression", "", 2, 13)),
        "ka.verb = <NA>\n             ^\n",
    ),
    "LOAD_NO_EVTTYPE": Case(
        RULE.replace("evt.type = execve", "proc.name = a"),
        "Rule matches too many evt.type values. This has a significant performance penalty.",
        (FILE, R),
        "- rule: R\n  ^\n",
    ),
    "LOAD_UNKNOWN_FILTER": Case(
        f"{RULE.replace('evt.type = execve', 'a.b = c')}  skip-if-unknown-filter: true\n",
        "filter_check called with nonexistent field a.b",
        (FILE, R, ("rule condition", "", 2, 13), ("condition expression", "", 3, 14)),
        "a.b = c\n      ^\n",
    ),
    "LOAD_UNUSED_MACRO": Case(
        "- macro: m\n  condition: evt.num = 1\n",
        "Macro not referred to by any other rule/macro",
        (FILE, ("macro", "m", 0, 2)),
        "- macro: m\n  ^\n",
    ),
    "LOAD_UNUSED_LIST": Case(
        "- list: l\n  items: []\n",
        "List not referred to by any other rule/macro",
        (FILE, ("list", "l", 0, 2)),
        "- list: l\n  ^\n",
    ),
    "LOAD_UNKNOWN_ITEM": Case(
        "- rules: R\n", "Unknown top level item", (FILE, ("rules content item", "", 0, 2)), "- rules: R\n  ^\n"
    ),
    "LOAD_DEPRECATED_ITEM": Case(
        f"{RULE}- rule: R\n  enabled: false\n",
        "The standalone 'enabled' key usage is deprecated. The correct approach requires also a 'replace' entry under "
        "the 'override' key (i.e. 'enabled: replace').",
        (FILE, ("rule", "R", 5, 2)),
        "- rule: R\n  ^\n",
    ),
    "LOAD_APPEND_NO_VALUES": Case(
        f"{RULE}  exceptions: [{{name: e, fields: proc.name}}]\n"
        "- rule: R\n  exceptions:\n  - name: e\n  override: {exceptions: append}\n",
        "Overriding/appending exception with no values",
        (FILE, ("rule", "R", 6, 2), ("exception", "e", 8, 4)),
        "  - name: e\n    ^\n",
    ),
    "LOAD_EXCEPTION_NAME_NOT_UNIQUE": Case(
        f"{RULE}  exceptions:\n  - {{name: e, fields: proc.name}}\n  - {{name: e, fields: fd.name}}\n",
        "Multiple definitions of exception 'e' in the same rule",
        (FILE, R, ("exception", "e", 7, 4)),
        "  - {name: e, fields: fd.name}\n    ^\n",
    ),
    "LOAD_INVALID_MACRO_NAME": Case(
        "- macro: a-b\n  condition: evt.num = 1\n",
        "Macro has an invalid name. Macro names should match a regular expression: ([a-zA-Z]+[a-zA-Z0-9_]*)",
        (FILE, ("macro", "a-b", 0, 2)),
        "- macro: a-b\n  ^\n",
    ),
    "LOAD_INVALID_LIST_NAME": Case(
        "- list: a b\n  items: []\n",
        "List has an invalid name. List names should match a regular expression: ([^()\"'[:space:]=,]+)",
        (FILE, ("list", "a b", 0, 2)),
        "- list: a b\n  ^\n",
    ),
    "LOAD_COMPILE_CONDITION": Case(
        RULE.replace("execve", "execve and proc.name = proc.pname"),
        "'proc.pname' may be a valid field misused as a const string value",
        (FILE, R, ("rule condition", "", 2, 13), ("condition expression", "", 3, 48)),
        "evt.type = execve and proc.name = proc.pname\n                                           ^\n",
    ),
    "LOAD_UNKNOWN_KEY": Case(
        f"{RULE}  tag: [a]\n", "Unknown key 'tag'. The key will be ignored.", (FILE, R), "- rule: R\n  ^\n"
    ),
}


@pytest.mark.parametrize("code", CASES)
def test_a_code_comes_with_its_message_and_place(code: str) -> None:
    case = CASES[code]
    report = check([("rules.yaml", case.text)])
    found = [problem for problem in (*report.errors, *report.warnings) if problem.code == code]
    assert len(found) == 1, str(report)
    (problem,) = found
    steps = tuple((place.item_type, place.item_name, place.line, place.column) for place in problem.locations)
    assert (problem.message, steps, problem.snippet) == (case.message, case.steps, case.snippet)
    assert report.successful == (code in WARNINGS)
    said = problem.to_dict()
    assert said["codedesc"] == (ERRORS[code] if code in ERRORS else WARNINGS[code][1])
    assert f"{code} ({ERRORS[code] if code in ERRORS else WARNINGS[code][0]}): {case.message}" in str(problem)


def test_there_is_a_case_for_every_code() -> None:
    by_other_means = {"LOAD_ERR_FILE_READ"}  # of a file that isn't there
    assert len(ERRORS) == 7
    assert len(WARNINGS) == 15
    assert set(CASES) == (ERRORS.keys() | WARNINGS.keys()) - OF_EXTENSIONS - by_other_means


def test_warnings_come_in_the_order_of_reading_and_unknown_keys_after_their_item() -> None:
    text = (
        "- required_engine_version: 0.1.0\n  a: b\n- required_plugin_versions: []\n  c: d\n"
        f"- list: a(b\n  items: []\n  e: f\n{RULE}  g: h\n  source: other\n"
        "- macro: m\n  condition: evt.num = 1\n  i: j\n"
    )
    report = check([("rules.yaml", text)])
    assert [(problem.code.removeprefix("LOAD_"), problem.location.item_type) for problem in report.warnings] == [
        ("UNKNOWN_KEY", "required_engine_version"),
        ("UNKNOWN_KEY", "required plugin versions"),
        ("INVALID_LIST_NAME", "list"),
        ("UNKNOWN_KEY", "list"),
        ("UNKNOWN_SOURCE", "rule"),
        ("UNKNOWN_KEY", "rule"),
        ("UNKNOWN_KEY", "macro"),
        ("UNUSED_MACRO", "macro"),
        ("UNUSED_LIST", "list"),
    ]


def test_an_item_in_error_says_nothing_of_its_unknown_keys() -> None:
    report = check([("rules.yaml", "- list: l\n  item: []\n")])
    assert [problem.message for problem in report.errors] == ["Item has no mapping for key 'items'"]
    assert report.warnings == []


def test_a_report_reads_like_falcos_text() -> None:
    report = check([("a.yaml", f"{RULE}  tag: [a]\n"), ("b.yaml", "- list: l\n"), ("c.yaml", "")])
    assert str(report) == (
        "a.yaml: Ok, with warnings\n"
        "b.yaml: Invalid\n1 Errors:\nIn rules content: (b.yaml:0:0)\n    list 'l': (b.yaml:0:2)\n------\n"
        "- list: l\n  ^\n------\n"
        "LOAD_ERR_YAML_VALIDATE (Error validating internal structure of YAML file): "
        "Item has no mapping for key 'items'\n\n"
        "c.yaml: Ok\n"
    )
    assert [file["successful"] for file in json.loads(report.to_json())["falco_load_results"]] == [True, False, True]


@pytest.mark.parametrize(
    ("text", "warnings"),
    [
        ("- rule: 1\n", []),
        ("- capture_duration: 9223372036854775807\n", []),
        ("- capture_duration: 9223372036854775808\n", [("capture_duration", "type")]),
        ("- enabled: yes\n", [("enabled", "type")]),
        ("- override: {}\n", [("override", "fewer than 1 properties")]),
        ("- priority: {}\n", [("priority", "type"), ("priority", "enum values")]),
        ("- override: {tags: append, capture: replace, skip-if-unknown-filter: replace}\n", []),
    ],
)
def test_what_departs_from_the_schema_is_said_innermost_first(text: str, warnings: list[tuple[str, str]]) -> None:
    found = check([("rules.yaml", text)]).files[0].schema_warnings
    assert found is not None
    assert len(found) == (len(warnings) + 2 if warnings else 0)
    for said, (key, reason) in zip(found, warnings, strict=False):
        assert said.startswith(f"failed for <root>[0][{key}]: ")
        assert reason in said


@pytest.mark.parametrize("text", ["- []\n", "- exceptions: [[]]\n", "- override: []\n"])
def test_falco_dies_of_an_empty_list_in_place_of_a_map(text: str) -> None:
    report = check([("rules.yaml", text)])
    assert (report.said, report.crash, report.to_dict()) == ("JSON value is not an object.", "abort", None)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- list: l\n  items: []\n---\n- list: l\n", []),
        ("- list: l\n  items: []\n  x: y\n---\n- list: m\n  items: []\n", ["'x'.", "item #0 in array.", "ok"]),
        ("- list: l\nitems: []\n", []),  # a key in the first column starts another document
        ("", None),
        ("# nothing\n", None),
        ("null\n", None),
    ],
)
def test_the_first_document_says_whether_a_file_is_valid(text: str, said: list[str] | None) -> None:
    found = check([("rules.yaml", text)]).files[0]
    assert found.to_dict().get("schema_valid") == (None if said is None else not said)
    assert [line[-len(end) :] for line, end in zip(found.schema_warnings or [], said or [], strict=True)] == (
        said or []
    )


def test_what_departs_from_the_schema_is_in_the_text_of_a_valid_file_without_warnings() -> None:
    said = "".join(f"------\n{line}\n" for line in check([("a.yaml", "- ~\n")]).files[0].schema_warnings or [])
    assert str(check([("a.yaml", "- ~\n")])) == f"a.yaml: Ok\n2 Schema warnings:\n{said}------\n\n"


def test_a_missing_plugin_ends_the_loading_without_a_report() -> None:
    needs = "- required_plugin_versions: [{name: json, version: 0.7.0}]\n"
    report: Report = check([("a.yaml", RULE), ("b.yaml", f"{needs}- list: l\n"), ("c.yaml", "- macro: m\n")])
    assert not report.successful
    assert report.to_dict() is None
    assert str(report) == ""
    assert report.refused == "Plugin requirement not satisfied, must load one of: json (>= 0.7.0)"
    assert [file.name for file in report.files] == ["a.yaml", "b.yaml"]
    assert check([("b.yaml", f"- list: l\n{needs}")]).refused == ""  # which isn't reached


@pytest.mark.parametrize(
    ("keys", "refused"),
    [
        ("  condition: and proc.name = a\n  append: true\n", True),
        ("  condition: and proc.name = a\n  override: {condition: append}\n", True),
        ("  condition: evt.type = open\n  override: {condition: replace}\n", True),
        ("  desc: more\n  override: {desc: append}\n", False),
        ("  enabled: false\n", False),
    ],
)
def test_an_append_to_the_condition_must_not_name_another_source(keys: str, refused: bool) -> None:
    report = check([("rules.yaml", f"{RULE}- rule: R\n{keys}  source: other\n")])
    assert [problem.message for problem in report.errors] == (
        ["Rule has been re-defined with a different source"] if refused else []
    )
    for source in ("", "''", "syscall"):
        assert check([("rules.yaml", f"{RULE}- rule: R\n{keys}  source: {source}\n")]).successful
    (problem,) = check([("rules.yaml", f"{RULE}- rule: R\n{keys}  source: [a]\n")]).errors
    assert problem.message == "Value is not a scalar value"
    assert problem.location.item_name == "source"


@pytest.mark.parametrize(
    ("exception", "code", "message"),
    [
        ("{name: e, fields: [proc.name], comps: [=], values: [[a]]}", "", ""),
        ("{name: e, fields: [proc.nope], comps: [=], values: [[a]]}", "COMPILE_CONDITION", "nonexistent field"),
        ("{name: e, fields: [proc.name], comps: [is], values: [[a]]}", "COMPILE_CONDITION", "valid check operator"),
        ("{name: e, fields: proc.name, values: [a]}", "COMPILE_CONDITION", "valid check operator"),
        ("{name: e, fields: [proc.name], values: [[a]]}", "VALIDATE", "comps lists must have equal length"),
        ("{name: e, fields: [proc.nope]}", "", ""),
        ("{name: e, values: [a]}", "YAML_VALIDATE", "no mapping for key 'fields'"),
    ],
)
def test_exceptions_that_an_override_replaces_are_checked_in_the_condition(
    exception: str, code: str, message: str
) -> None:
    text = f"{RULE}- rule: R\n  exceptions: [{exception}]\n  override: {{exceptions: replace}}\n"
    report = check([("rules.yaml", text)])
    assert [problem.code for problem in report.errors] == ([f"LOAD_ERR_{code}"] if code else [])
    assert all(message in problem.message for problem in report.errors)


@pytest.mark.parametrize(
    ("field", "message", "place"),
    [
        ("proc.nope", "'proc.nope' is not a supported filter field", "exception"),
        ("proc.name[1]", "'proc.name[1]' is not a supported filter field", "exception"),
        ("tolower(evt.arg)", "'tolower(evt.arg)' is not a supported filter field", "exception"),
        ("evt.arg", "filter syntax error: evt.arg", "rules content"),
        ("evt.arg.nope", "unknown event argument nope", "rules content"),
    ],
)
def test_fields_of_exceptions(field: str, message: str, place: str) -> None:
    (problem,) = check([("rules.yaml", f"{RULE}  exceptions: [{{name: e, fields: ['{field}']}}]\n")]).errors
    assert (problem.code, problem.message) == ("LOAD_ERR_VALIDATE", message)
    assert problem.location.item_type == place


def test_a_third_exception_of_a_name_is_told_twice() -> None:
    exceptions = ", ".join(["{name: e, fields: proc.name}"] * 3)
    report = check([("rules.yaml", f"{RULE}  exceptions: [{exceptions}]\n")])
    assert [problem.code for problem in report.warnings] == ["LOAD_EXCEPTION_NAME_NOT_UNIQUE"] * 3


@pytest.mark.parametrize(
    ("exception", "condition"),
    [
        ("{name: e, fields: proc.name, comps: ' in\t', values: [a]}", "not proc.name in (a)"),
        ("{name: e, fields: [proc.name], comps: [' = '], values: [[a]]}", "not proc.name = a"),
        ("{name: e, fields: [proc.name], comps: [in], values: [[[~, a]]]}", "not proc.name in (a)"),
    ],
)
def test_comparisons_are_trimmed_and_nulls_are_empty(exception: str, condition: str) -> None:
    engine = Engine()
    engine.load([("rules.yaml", f"{RULE}  exceptions: [{exception.replace(chr(9), '')}]\n")])
    assert str(engine.rule("R").condition) == f"(evt.type = execve and {condition})"


@pytest.mark.parametrize(
    ("content", "offset", "shown"),
    [
        ("", 0, "<No context available>\n"),
        ("\n", 0, "<No context available>\n"),
        ("\n\n", 0, "...\n"),  # what Falco makes of a place on an empty first line: the rest of the file, its ends cut
        ("\nabcdefgh\n", 0, "...def...\n"),
        ("a\n  b\n", 4, "  b\n  ^\n"),
        ("a\n  b\n", 99, "  b\n  ^\n"),
        (f"{'x' * 100}y{'z' * 100}", 100, f"...{'x' * 77}y{'z' * 77}...\n{' ' * 80}^\n"),
    ],
)
def test_the_line_around_a_place(content: str, offset: int, shown: str) -> None:
    assert snippet({"a.yaml": content.encode()}, Location("rule", name="a.yaml", offset=offset)) == shown


def test_capture_limits_that_this_falco_does_not_have_are_unknown_keys() -> None:
    report = check([("rules.yaml", f"{RULE}  capture: true\n  capture_duration: 10\n  capture_events: many\n")])
    assert [problem.message for problem in report.warnings] == [
        "Unknown key 'capture_events'. The key will be ignored."
    ]
    assert report.successful


def test_a_carriage_return_alone_does_not_start_a_new_column() -> None:
    engine = Engine()
    engine.load([("rules.yaml", RULE.replace("evt.type = execve", "|\n    evt.type\r    = execve\r\n"))])
    assert engine.rule("R").event_types == {"execve"}


def test_a_page_shows_files_problems_and_what_was_refused() -> None:
    needs = "- required_plugin_versions: [{name: json, version: 0.7.0}]\n"
    report = check([("a.yaml", RULE), ("b.yaml", f"{RULE}  tag: [<b>]\n"), ("c.yaml", needs)])
    assert repr(report) == report.refused == "Plugin requirement not satisfied, must load one of: json (>= 0.7.0)"
    page = report._repr_html_()
    said = html.unescape(" ".join(re.sub("<[^>]*>", " ", page).split()))
    assert said.startswith("refused Plugin requirement not satisfied, must load one of: json (>= 0.7.0) ok a.yaml ok ")
    assert "ok with warnings b.yaml warning line 1, rule R , Unknown key in item definition ( LOAD_" in said
    assert "json (&gt;= 0.7.0)" in page
    with pytest.raises(LoadError, match="Rules can't be loaded: Plugin requirement") as caught:
        load([("c.yaml", needs)])
    assert caught.value.hint == "Rules are loaded as by a Falco that has the container plugin, and no other."
    assert caught.value._repr_html_() == caught.value.report._repr_html_()


@pytest.mark.parametrize(
    ("condition", "wrong"),
    [
        ("evt.type = execve and proc.nme = x and proc.nme != y", "proc.nme"),  # Falco's own caret is at the line's end
        ("evt.type = execve and proc.name = ", "="),
        ("evt.type = execve and evt.dir = < and proc.name = x", "evt.dir"),
    ],
)
def test_what_is_wrong_in_a_line_is_marked_on_the_page(condition: str, wrong: str) -> None:
    page = check([("a.yaml", RULE.replace("evt.type = execve", condition))])._repr_html_()
    assert "".join(re.findall('underline wavy">([^<]*)<', page)) == wrong
    text = html.unescape(re.sub("<[^>]*>", "", page))
    assert condition.strip() in text
