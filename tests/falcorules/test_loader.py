"""Rule files: every item and key, in order, with Falco's codes at Falco's places."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from falcorules import Engine, LoadError, Report, check, loader
from tests.falcorules import fuzz

ReportOn = Callable[[str], Report]
DATA = Path(__file__).parent / "data"
VALIDATED: list[dict[str, Any]] = json.loads(gzip.decompress((DATA / "validated.json.gz").read_bytes()))


@pytest.mark.parametrize("sample", VALIDATED, ids=lambda sample: sample["name"])
def test_the_report_is_the_one_that_falco_gives(sample: dict[str, Any]) -> None:
    report = check([(f"{sample['name']}.yaml", sample["rules"])])
    assert report.to_dict() == sample["json"]
    assert json.loads(report.to_json()) == sample["json"]
    if "text" in sample:
        assert str(report) == sample["text"]


# Rule files made up for these tests, and the reports of Falco 0.44.1: what its engine, built from source without a
# driver, says; a stand-in for the container plugin 0.7.1 declares that plugin's fields.
REPORTS: list[dict[str, Any]] = json.loads(gzip.decompress((DATA / "reports.json.gz").read_bytes()))


@pytest.mark.parametrize("kind", sorted({sample["kind"] for sample in REPORTS}))
def test_the_reports_on_many_small_files_are_falcos(kind: str) -> None:
    samples = [sample for sample in REPORTS if sample["kind"] == kind]
    assert len(samples) >= 20
    for sample in samples:
        report = check([(name, text) for name, text in sample["files"]])
        assert report.to_dict() == sample.get("report"), sample["files"]
        assert report.said == sample.get("said", ""), sample["files"]


def _rule(name: str = "R", **keys: str) -> str:
    values = {"desc": "d", "condition": "evt.type = execve", "output": "o", "priority": "NOTICE", **keys}
    return f"- rule: {name}\n" + "".join(f"  {key}: {value}\n" for key, value in values.items() if value)


@pytest.mark.parametrize(
    ("text", "code", "message"),
    [
        ("x: y", "LOAD_ERR_YAML_VALIDATE", "Rules content is not yaml array of objects"),
        ("word", "LOAD_ERR_YAML_VALIDATE", "Rules content is not yaml"),
        ("- word", "LOAD_ERR_YAML_VALIDATE", "Unexpected element type. Each element should be a yaml associative"),
        ("- rule: [", "LOAD_ERR_YAML_PARSE", "yaml-cpp: error at line"),
        ("- rule: *nobody", "LOAD_ERR_YAML_PARSE", "the referenced anchor is not defined"),
        ("- list: l", "LOAD_ERR_YAML_VALIDATE", "Item has no mapping for key 'items'"),
        ("- list: l\n  items: x", "LOAD_ERR_YAML_VALIDATE", "Value is not a sequence"),
        ("- list: l\n  items: [[x]]", "LOAD_ERR_YAML_VALIDATE", "sequence value is not scalar"),
        ("- list:\n  items: []", "LOAD_ERR_YAML_VALIDATE", "Mapping for key 'list' is empty"),
        ("- list: [a]\n  items: []", "LOAD_ERR_YAML_VALIDATE", "Value is not a scalar value"),
        ("- list: ''\n  items: []", "LOAD_ERR_YAML_VALIDATE", "Value must be non-empty"),
        ("- list: l\n  items: [a]\n  append: perhaps", "LOAD_ERR_YAML_VALIDATE", "Can't decode YAML scalar value"),
        ("- list: l\n  items: [a]\n  append: true", "LOAD_ERR_VALIDATE", "List uses 'append'"),
        ("- macro: m", "LOAD_ERR_YAML_VALIDATE", "Item has no mapping for key 'condition'"),
        ("- macro: m\n  condition: a.b = c\n  append: yes", "LOAD_ERR_VALIDATE", "Macro uses 'append'"),
        ("- macro: m\n  condition: (x", "LOAD_ERR_COMPILE_CONDITION", "expected a ')' token"),
        ("- macro: m\n  condition: other", "LOAD_ERR_VALIDATE", "Undefined macro 'other' used in filter."),
        ("- macro: m\n  condition: m", "LOAD_ERR_VALIDATE", "Undefined macro 'm' used in filter."),
        (
            "- macro: m\n  condition: m\n- macro: m\n  condition: or m\n  override: {condition: append}",
            "LOAD_ERR_VALIDATE",
            "reference loop in macro 'm'",
        ),
        (_rule(priority="''"), "LOAD_ERR_YAML_VALIDATE", "Value must be non-empty"),
        (_rule(enabled="perhaps"), "LOAD_ERR_YAML_VALIDATE", "Can't decode YAML scalar value"),
        (_rule(tags="one"), "LOAD_ERR_YAML_VALIDATE", "Value is not a sequence"),
        (_rule(exceptions="{a: b}"), "LOAD_ERR_YAML_VALIDATE", "Rule exceptions must be a sequence"),
        (_rule(exceptions="[x]"), "LOAD_ERR_YAML_VALIDATE", "Rule exception must be a mapping"),
        (_rule(exceptions="[{fields: x}]"), "LOAD_ERR_YAML_VALIDATE", "Item has no mapping for key 'name'"),
        (_rule(exceptions="[{name: e}]"), "LOAD_ERR_YAML_VALIDATE", "Item has no mapping for key 'fields'"),
        (_rule(exceptions="[{name: e, fields: []}]"), "LOAD_ERR_VALIDATE", "must have fields property"),
        (_rule(exceptions="[{name: e, fields: a.b}]"), "LOAD_ERR_VALIDATE", "'a.b' is not a supported filter field"),
        (_rule(exceptions="[{name: e, fields: proc.name, comps: =}]"), "LOAD_ERR_VALIDATE", "comps must be one of"),
        (_rule(exceptions="[{name: e, fields: proc.name, comps: [in]}]"), "LOAD_ERR_VALIDATE", "must both be strings"),
        (
            _rule(exceptions="[{name: e, fields: [proc.name], comps: [=, in]}]"),
            "LOAD_ERR_VALIDATE",
            "Fields and comps lists must have equal length",
        ),
        (_rule(exceptions="[{name: e, fields: [proc.name], comps: [is]}]"), "LOAD_ERR_VALIDATE", "'is' is not a supp"),
        (
            _rule(exceptions="[{name: e, fields: proc.name, values: [[a]]}]"),
            "LOAD_ERR_VALIDATE",
            "Expected values array to contain a list of strings",
        ),
        (_rule(output="'%'"), "LOAD_ERR_COMPILE_OUTPUT", "unknown filter: unexpected token after"),
        (_rule(output="'%tolower(proc.name, fd.name)'"), "LOAD_ERR_COMPILE_OUTPUT", "unknown multivalue transformer"),
        (_rule(condition="evt.type = nothing"), "LOAD_ERR_COMPILE_CONDITION", "unknown event type nothing"),
        ("- rule: R\n  enabled: false", "LOAD_ERR_VALIDATE", "no rule by that name already exists"),
        ("- rule: R\n  tags: [a]", "LOAD_ERR_YAML_VALIDATE", "Item has no mapping for key 'enabled'"),
        (_rule() + "- rule: R\n  append: true", "LOAD_ERR_VALIDATE", "Appended rule must have exceptions or condition"),
        (
            _rule() + "- rule: R\n  append: true\n  condition: and a\n  override: {condition: append}",
            "LOAD_ERR_YAML_VALIDATE",
            "cannot be used together",
        ),
        (
            _rule() + "- rule: R\n  priority: INFO\n  override: {priority: append}",
            "LOAD_ERR_YAML_VALIDATE",
            "Key 'priority' cannot be appended to, use 'replace' instead",
        ),
        (
            _rule() + "- rule: R\n  source: x\n  override: {source: replace}",
            "LOAD_ERR_YAML_VALIDATE",
            "Key 'source' cannot be replaced",
        ),
        (
            _rule() + "- rule: R\n  desc: x\n  override: {desc: add}",
            "LOAD_ERR_YAML_VALIDATE",
            "Invalid override operation for key 'desc': 'add'. Allowed values are: append replace ",
        ),
        (
            _rule() + "- rule: R\n  override: {desc: append}",
            "LOAD_ERR_YAML_VALIDATE",
            "An append override for 'desc' was specified but 'desc' is not defined",
        ),
        (
            _rule() + "- rule: R\n  desc: x\n  output: y\n  override: {desc: append}",
            "LOAD_ERR_YAML_VALIDATE",
            "Unexpected key 'output': no corresponding entry under 'override' is defined.",
        ),
        ("- rule: R\n  desc: x\n  override: {desc: replace}", "LOAD_ERR_VALIDATE", "replace' to a rule was requested"),
        ("- rule: R\n  desc: x\n  override: {desc: [a]}", "LOAD_ERR_VALIDATE", "line 3, column 20: bad conversion"),
        (_rule() + _rule(source="other"), "LOAD_ERR_VALIDATE", "re-defined with a different source"),
        (
            "- macro: a\n  condition: evt.num = 1\n- macro: b\n  condition: a\n- macro: a\n  condition: b\n",
            "LOAD_ERR_VALIDATE",
            "reference loop in macro 'b'",
        ),
        ("- required_engine_version: 63", "LOAD_ERR_VALIDATE", "Rules require engine version 0.63.0"),
        ("- required_engine_version: new", "LOAD_ERR_YAML_VALIDATE", "Unable to parse engine version 'new'"),
        ("- required_plugin_versions: x", "LOAD_ERR_YAML_VALIDATE", "must be a sequence"),
        ("- required_plugin_versions: [{name: a}]", "LOAD_ERR_YAML_VALIDATE", "no mapping for key 'version'"),
        ("- required_plugin_versions: [{name: a, version: b}]", "LOAD_ERR_VALIDATE", "Invalid required version 'b'"),
    ],
)
def test_an_error_has_falcos_code_and_words(report_on: ReportOn, text: str, code: str, message: str) -> None:
    report = report_on(text)
    assert [problem.code for problem in report.errors] == [code]
    assert message in report.errors[0].message
    assert report.errors[0].location.item_type
    assert report.errors[0].snippet


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("proc.nme = x", "filter_check called with nonexistent field proc.nme"),
        ("proc.name[1] = x", "filter_check called with nonexistent field proc.name[1]"),
        ("proc.aname[x] = y", "filter_check called with nonexistent field proc.aname[x]"),
        ("fd.types[x] in (y)", "x is not a valid number"),
        ("thread.cgroup = y", "filter syntax error: thread.cgroup"),
        ("container.id[x] = y", "container.id does not allow nor require an argument"),
        ("k8s.pod.label = y", "k8s.pod.label requires an argument"),
        ("k8s.pod.labelx = y", "filter 'k8s.pod.labelx': k8s.pod.label requires an argument but none provided"),
        ("k8s.pod.namex = y", "nonexistent field k8s.pod.namex"),
        ("proc.fdusage > 1.5", "1.5 is not a valid number"),
        ("evt.rawarg.sig = 9", "wrong parameter type"),
        ("evt.rawarg.data contains x", "wrong parameter type 10"),
        ("evt.rawarg.addr > 0", "'>' operator not supported for type 'SOCKADDR'"),
        ("evt.aroundx = 1", "filter syntax error: evt.aroundx"),
        ("evt.argument = x", "filter syntax error: evt.argument"),
        ("evt.argsx = x", "filter_check called with nonexistent field evt.argsx"),
        (f"proc.name = {'x' * 256}", "filter parameter too long"),
        ("fd.sip = ::ffff:1.2.3.4", "unrecognized IPv4 address"),
        ("fd.snet = ::/0", "invalid v6 netmask 0"),
        ("evt.around[1] > 5", "evt.around supports only '=' comparison operator"),
        ("evt.arg = x", "filter syntax error: evt.arg"),
        ("evt.arg.nothing = x", "unknown event argument nothing"),
        ("evt.rawarg[1] = x", "evt.arg fields must be expressed explicitly"),
        ("proc.name > 5 and proc.pid contains 5", "'contains' operator not supported for numeric filters"),
        ("evt.failed < 1", "'<' operator not supported for numeric filters"),
        ("fd.sip contains 1", "'contains' operator not supported for ip address and network filters"),
        ("fd.types = file", "'=' operator not supported list filters"),
        ("evt.buffer icontains x", "'icontains' operator not supported for buffer filters"),
        ("evt.buffer bcontains xyz", "bcontains and bstartswith operator support hex strings only"),
        ("proc.name bcontains 61", "'bcontains' operator not supported for string filters"),
        ("proc.pid = 0x10", "0x10 is not a valid number"),
        ("proc.pid = 1.5", "1.5 is not a valid number"),
        ("evt.failed = yes", "unrecognized boolean value yes"),
        ("fd.sip = 1.2.3", "unrecognized IPv4 address 1.2.3"),
        ("fd.sip = ::zz", "unrecognized IPv6 address ::zz"),
        ("fd.snet = 1.2.3.4", "unrecognized IP network 1.2.3.4"),
        ("fd.snet = 1.2.3.4/40", "invalid netmask 40"),
        ("fd.sport = nosuchservice", "unrecognized protocol nosuchservice"),
        ("proc.name = val(proc.pid)", "incompatible type 'INT64'"),
        ("proc.name pmatch val(proc.pname)", "'PMATCH' doesn't support right-hand side fields"),
        ("fd.ip = val(fd.sip)", "field 'fd.ip' doesn't support right-hand side fields"),
        ("proc.name = val(proc.aname[1])", "can't be used as a right-hand side field"),
        ("tolower(proc.pid) = 1", "type 'INT64' is not supported by 'tolower' transformer"),
        ("tolower(proc.aname) = x", "field 'proc.aname' does not support transformers"),
        ("concat(proc.name) = x", "unknown field transfomer 'concat'"),
        ("proc.name = join(proc.args)", "unknown field transfomer 'join'"),
        ("join(',', (a.b, 'x')) = x", "filter_check called with nonexistent field a.b"),
        ("getopt(proc.args, 'x:') = a", "getopt() first argument must be a list"),
        ("tolower(proc.name)[1] = a", "filter error: transformer 'tolower' does not support field arguments"),
        ("join(',', (proc.name))[1] = a", "transformer 'join' does not support field arguments"),
        ("getopt((proc.name), 'a')['ab'] = x", "getopt() field argument must be a single option character"),
        ("getopt((proc.name), 'a')[''] = x", "getopt() field argument must be a single option character"),
        ("proc.name = val(fd.name)[x]", "filter error: transformer 'val' does not support field arguments"),
        (
            "tolower(len(proc.name)) = 1",
            "type 'UINT64' is not supported by 'tolower' transformer applied on field 'proc",
        ),
        ("tolower(getopt((proc.name), 'a')) = x", "'=' operator not supported list filters"),
        ("len(getopt((proc.name), 'a')) = val(proc.name)", "field 'INTERNAL' has type 'UINT64' while the right-hand"),
        ("concat(proc.name, 'x') = val(proc.pid)", "field 'NA' has type 'CHARBUF' while the right-hand side field"),
        ("fd.ip contains oneof (a)", "'contains' with modifier not supported for ip address and network filters"),
        ("join(proc.name, proc.exe) = x", "join() second argument must be a list"),
        ("proc.cmdnargs = len(fd.types)", "can't be used as a right-hand side field"),
    ],
)
def test_a_condition_that_cannot_be_compiled(report_on: ReportOn, condition: str, message: str) -> None:
    report = report_on(_rule(condition=json.dumps(f"evt.type = execve and {condition}")))
    assert [problem.code for problem in report.errors] == ["LOAD_ERR_COMPILE_CONDITION"]
    assert message in report.errors[0].message
    assert [place.item_type for place in report.errors[0].locations] == [
        "rules content",
        "rule",
        "rule condition",
        "condition expression",
    ]
    # Whatever in a check is wrong, its place is where the check starts.
    starts = len("evt.type = execve and ") + (condition.find("proc.pid") if " and " in condition else 0)
    condition_place, place = report.errors[0].locations[-2:]
    assert place.offset - condition_place.offset == starts


@pytest.mark.parametrize(
    "condition",
    [
        "proc.fdusage > 1",
        "evt.rawarg.uid = 0",
        "evt.rawarg.euid in (0, 1)",
        "evt.rawarg.pgid >= -1",
        "evt.rawarg.flags < 515",
        "evt.rawarg.trusted_exepath pmatch ('')",
        "evt.rawarg.res exists",
        "tolower('x') = x",
        "len((proc.name)) = 1",
        "evt.buffer bcontains ''",
        "fd.sport in (http, 8080, '')",
        "fd.net in (10.0.0.0/8, ::1/128)",
        "evt.type in ('', NA)",  # names in the table of events that no event has
        "syscall.type = nothing",
        "evt.type.is.open = 1",
        "proc.name in ()",
        "proc.name startswith oneof ()",
    ],
)
def test_a_condition_that_is_accepted(report_on: ReportOn, condition: str) -> None:
    report = report_on(_rule(condition=json.dumps(f"evt.type = execve and {condition}")))
    assert report.successful, str(report)


@pytest.mark.parametrize(
    ("text", "codes"),
    [
        ("", []),
        ("---\n---\n", []),
        ("- unknown: x\n---\n~\n---\n- unknown: x\n", ["LOAD_UNKNOWN_ITEM"]),  # an empty document is the last
        (_rule(), []),
        (f"{_rule()}---\n{_rule('S')}", []),
        ("- unknown: x\n- null\n", ["LOAD_UNKNOWN_ITEM"]),
        ("- list: a(b\n  items: []", ["LOAD_INVALID_LIST_NAME", "LOAD_UNUSED_LIST"]),
        ("- macro: a-b\n  condition: evt.num = 1", ["LOAD_INVALID_MACRO_NAME", "LOAD_UNUSED_MACRO"]),
        (f"{_rule()}- rule: R\n  enabled: false", ["LOAD_DEPRECATED_ITEM"]),
        (_rule(output="'%container.info'"), ["LOAD_DEPRECATED_ITEM"]),
        (_rule(source="k8s_audit", condition="ka.verb = x"), ["LOAD_UNKNOWN_SOURCE"]),
        (_rule(condition="evt.num = 1"), ["LOAD_NO_EVTTYPE"]),
        (_rule(condition="evt.num = 1", warn_evttypes="false"), []),
        (_rule(condition="evt.type != execve"), ["LOAD_NO_EVTTYPE"]),
        (_rule(condition="evt.type = open and evt.type = execve"), ["LOAD_NO_EVTTYPE"]),
        (_rule(condition="not (evt.type = execve or evt.num = 1)"), ["LOAD_NO_EVTTYPE"]),
        (_rule(condition="a.b = c", **{"skip-if-unknown-filter": "true"}), ["LOAD_UNKNOWN_FILTER"]),
        (_rule(output="'%a.b'", **{"skip-if-unknown-filter": "true"}), ["LOAD_UNKNOWN_FILTER"]),
        (_rule(condition="evt.type = execve and proc.name = proc.pname"), ["LOAD_COMPILE_CONDITION"]),
        (_rule(condition="evt.type = execve and proc.name = 'tolower(x)'"), ["LOAD_COMPILE_CONDITION"]),
        (_rule(condition="evt.type = execve and proc.name regex 'abc'"), ["LOAD_COMPILE_CONDITION"]),
        (_rule(condition="evt.type = execve and proc.name regex 'a.c'"), []),
        (_rule(exceptions="[{name: e, fields: proc.name}, {name: e, fields: proc.name}]"),
         ["LOAD_EXCEPTION_NAME_NOT_UNIQUE"]),
        (f"{_rule()}- rule: R\n  exceptions: [{{name: e}}]\n  append: true", None),
    ],
)  # fmt: skip
def test_warnings(report_on: ReportOn, text: str, codes: list[str] | None) -> None:
    report = report_on(text)
    if codes is None:
        assert "LOAD_APPEND_NO_VALUES" in [problem.code for problem in report.warnings]
        return
    assert report.successful, str(report)
    assert [problem.code for problem in report.warnings] == codes


def _loaded(*texts: str) -> dict[str, str]:
    """Rule name -> its expanded condition."""
    engine = Engine()
    engine.load([(f"{number}.yaml", text) for number, text in enumerate(texts)])
    return {rule.name: str(rule.condition) for rule in engine.rules}


def test_lists_are_replaced_by_their_items_as_text() -> None:
    rules = _loaded(
        "- list: empty\n  items: []\n- list: inner\n  items: [a, 'b c']\n- list: outer\n  items: [x, inner]\n"
        + "- list: blank\n  items: ['', b, c]\n"
        + _rule("A", condition="proc.name in (outer)")
        + _rule("B", condition="proc.name in (empty, q)")
        + _rule("C", condition="proc.name in (q, empty)")
        + _rule("D", condition="proc.name in (empty)")
        + _rule("E", condition="proc.name in (blank)")
    )
    assert rules == {
        "A": 'proc.name in (x, a, "b c")',
        "B": "proc.name in (q)",
        "C": "proc.name in (q)",
        "D": "proc.name in ()",
        "E": "proc.name in (b, c)",
    }


def test_a_list_sees_lists_before_it_one_level_deep() -> None:
    rules = _loaded(
        "- list: a\n  items: [1, late]\n- list: late\n  items: [2]\n- list: b\n  items: [a]\n"
        + _rule("A", condition="proc.name in (b)")
    )
    # `late` comes after `a`, and is looked for in the condition before `b` brings its name there.
    assert rules["A"] == "proc.name in (1, late)"


def test_macros_see_what_is_defined_before_them() -> None:
    rules = _loaded(
        "- macro: one\n  condition: evt.num = 1\n- macro: two\n  condition: one or evt.num = 2\n",
        "- macro: one\n  condition: evt.num = 9\n" + _rule("A", condition="not two and one"),
    )
    assert rules["A"] == "(not (evt.num = 9 or evt.num = 2) and evt.num = 9)"


def test_append_override_and_redefinition() -> None:
    rules = _loaded(
        "- list: l\n  items: [a]\n- macro: m\n  condition: evt.num = 1\n"
        + _rule("A", condition="m and proc.name in (l)"),
        "- list: l\n  items: [b]\n  override: {items: append}\n"
        "- macro: m\n  condition: or evt.num = 2\n  override: {condition: append}\n"
        "- rule: A\n  condition: and evt.cpu = 3\n  override: {condition: append}\n",
    )
    assert rules["A"] == "((evt.num = 1 or evt.num = 2) and proc.name in (a, b) and evt.cpu = 3)"


def test_replacing_keys_of_a_rule() -> None:
    engine = Engine()
    engine.load(
        [
            (
                "r.yaml",
                _rule("A", tags="[x]")
                + "- rule: A\n  priority: critical\n  tags: [y, z]\n  output: new %proc.name\n  enabled: false\n"
                "  override: {priority: replace, tags: append, output: replace, enabled: replace}\n",
            )
        ]
    )
    rule = engine.rule("a")
    assert (rule.priority, rule.tags, rule.enabled) == ("Critical", ("x", "y", "z"), False)
    assert rule.output.startswith("new %proc.name container_id=")


def test_a_redefined_rule_keeps_its_place() -> None:
    engine = Engine()
    engine.load([("r.yaml", _rule("A") + _rule("B") + _rule("A", condition="evt.type = open"))])
    assert [rule.name for rule in engine.rules] == ["A", "B"]
    assert engine.rules[0].event_types == {"open"}


@pytest.mark.parametrize(
    ("exceptions", "condition"),
    [
        ("[{name: e, fields: proc.name, values: [a, 'b c']}]", '(evt.type = execve and not proc.name in (a, "b c"))'),
        (
            "[{name: e, fields: fd.name, comps: pmatch, values: [/a]}]",
            "(evt.type = execve and not fd.name pmatch (/a))",
        ),
        (
            "[{name: e, fields: fd.name, comps: startswith anyof, values: [/a, /b]}]",
            "(evt.type = execve and not fd.name startswith anyof (/a, /b))",
        ),
        (
            "[{name: e, fields: [proc.name, fd.num], values: [[a, 1], [b, 2]]}]",
            "(evt.type = execve and not ((proc.name = a and fd.num = 1) or (proc.name = b and fd.num = 2)))",
        ),
        (
            "[{name: e, fields: [proc.name, fd.name], comps: [in, contains], values: [[[a, b], c], [d, e]]}]",
            "(evt.type = execve and not ((proc.name in (a, b) and fd.name contains c) or "
            "(proc.name in (d) and fd.name contains e)))",
        ),
        ("[{name: e, fields: proc.name}]", "evt.type = execve"),
        (
            "[{name: e, fields: tolower(proc.name), values: [a]}]",
            "(evt.type = execve and not tolower(proc.name) in (a))",
        ),
    ],
)
def test_exceptions_are_added_to_the_condition(exceptions: str, condition: str) -> None:
    assert _loaded(_rule("A", exceptions=exceptions))["A"] == condition


def test_appended_exceptions_extend_those_of_the_same_name() -> None:
    first = _rule("A", exceptions="[{name: e, fields: proc.name, values: [a]}]")
    second = "- rule: A\n  exceptions: [{name: e, values: [b]}]\n  override: {exceptions: append}\n"
    assert _loaded(first, second)["A"] == "(evt.type = execve and not proc.name in (a, b))"


def test_later_files_report_what_they_break() -> None:
    report = check([("a.yaml", _rule("A")), ("b.yaml", "- rule: A\n  condition: and (\n  append: true\n")])
    assert [file.successful for file in report.files] == [True, False]
    assert report.errors[0].location.name.startswith('"evt.type')


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    report = check([tmp_path / "nowhere.yaml"])
    assert report.errors[0].code == "LOAD_ERR_FILE_READ"
    with pytest.raises(LoadError) as caught:
        Engine().load([tmp_path / "nowhere.yaml"])
    assert caught.value.report.errors == report.errors


def test_a_folder_stands_for_its_files_by_name(tmp_path: Path) -> None:
    (tmp_path / "b.yaml").write_text(_rule("B", condition="one and evt.type = open"))
    (tmp_path / "a.yml").write_text("- macro: one\n  condition: evt.num = 1\n")
    (tmp_path / "notes.txt").write_text("not: rules")
    report = check([tmp_path])
    assert [Path(file.name).name for file in report.files] == ["a.yml", "b.yaml"]
    assert report.successful


def test_positions_count_bytes() -> None:
    text = '- rule: é\n  desc: "ü"\n  condition: evt.type = execve and proc.name = é and proc.nö = 1\n'
    place = check([("a.yaml", text + "  output: o\n  priority: INFO\n")]).errors[0].location
    assert place.offset == text.encode().index(b"evt.type") + len(
        "evt.type = execve and proc.name = é and proc.n".encode()
    )


def test_positions_count_the_bytes_of_lists_that_are_put_in() -> None:
    condition = "evt.type = execve and proc.name in (l) and proc.nme = x"
    expanded = condition.replace("(l)", "( é, ü )")
    report = check([("a.yaml", "- list: l\n  items: [é, ü]\n" + _rule(condition=condition))])
    start, place = report.errors[0].locations[-2:]
    assert place.offset - start.offset == len(expanded[: expanded.index("proc.nme")].encode())


def test_a_macro_that_stands_in_a_condition_twice_warns_twice() -> None:
    macro = "- macro: m\n  condition: fd.name regex abc\n"
    report = check([("a.yaml", macro + _rule(condition="evt.type = open and (m or proc.name = a and m)"))])
    assert [problem.code for problem in report.warnings] == ["LOAD_COMPILE_CONDITION"] * 2


def test_a_missing_plugin_is_said(report_on: ReportOn) -> None:
    report = report_on(
        "- required_plugin_versions: [{name: json, version: 0.7.0, alternatives: [{name: x, version: 1.0.0}]}]"
    )
    assert not report.successful
    assert report.refused == ("Plugin requirement not satisfied, must load one of: json (>= 0.7.0), x (>= 1.0.0)")
    assert report_on("- required_plugin_versions: [{name: container, version: 0.4.0}]").successful
    newer = report_on("- required_plugin_versions: [{name: container, version: 0.9.0}, {name: json, version: 0.7.0}]")
    assert newer.refused == "Plugin 'container' version '0.7.1' is not compatible with required plugin version '0.9.0'"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            _rule(condition="tolower(evt.type) = open"),
            "Runtime error: event code search does not support `evt.type` checks with transformers. Exiting.",
        ),
        (
            _rule(condition="evt.type = val(proc.name)"),
            "Runtime error: right-hand field comparisons on `evt.type`/`syscall.type` checks are not supported by "
            "event code search. Exiting.",
        ),
        (_rule(condition="evt.type = tolower(evt.type)"), "Runtime error: event code search does not support"),
        (_rule(condition="tolower(proc.name, fd.name) = a"), "Runtime error: unknown multivalue transformer. Exiting."),
        (_rule(condition="fd.sport = 99999999999"), "Runtime error: stoi. Exiting."),
        ("- []", "JSON value is not an object."),
    ],
)
def test_what_falco_dies_of_leaves_no_report(report_on: ReportOn, text: str, said: str) -> None:
    report = report_on(text)
    assert report.said.startswith(said)
    assert report.to_dict() is None
    assert not report.successful


def test_multiplying_aliases_lists_and_macros_are_refused_quickly(report_on: ReportOn) -> None:
    bomb = "- &a0 [x, x]\n" + "".join(f"- &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12))
    assert not report_on(f"{bomb}{_rule(exceptions='[{name: e, fields: proc.name, values: *a11}]')}").successful
    lists = "".join(f"- list: l{n}\n  items: [{', '.join([f'l{n + 1}'] * 10)}]\n" for n in range(12))
    assert report_on(lists + _rule(condition="proc.name in (l0)")).errors[0].code == "LOAD_ERR_COMPILE_CONDITION"
    macros = "- macro: m0\n  condition: evt.num = 1\n" + "".join(
        f"- macro: m{n}\n  condition: {' and '.join([f'm{n - 1}'] * 9)}\n" for n in range(1, 12)
    )
    assert not report_on(macros).successful


def test_conditions_that_are_too_large_together_are_refused(
    report_on: ReportOn, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = f"- macro: m\n  condition: {' or '.join(f'evt.num = {number}' for number in range(500))}\n"
    items = f"- list: l\n  items: [{', '.join(f'a{number}' for number in range(500))}]\n"
    users = "".join(
        _rule(f"R{number}", condition=f"m and proc.name in (l) and evt.cpu = {number}") for number in range(9)
    )
    assert report_on(large + items + users).successful
    monkeypatch.setattr(loader, "_MAX_PARTS", 4_000)
    (problem,) = report_on(large + items + users).errors
    assert problem.message == "condition too large: with its macros expanded, 4040 parts in all conditions"
    assert problem.locations[1].item_name == "R7"
    monkeypatch.setattr(loader, "_MAX_TEXTS", 20_000)
    (problem,) = report_on(large + items + users).errors
    assert problem.message.startswith("condition too long: ")


def test_a_chain_of_macros_or_lists_is_followed_once(report_on: ReportOn) -> None:
    macros = "- macro: m0\n  condition: evt.type = open\n" + "".join(
        f"- macro: m{number}\n  condition: m{number - 1} or evt.num = {number}\n" for number in range(1, 700)
    )
    lists = "".join(f"- list: l{number}\n  items: [a{number}]\n" for number in range(2_000))
    started = time.process_time()
    assert report_on(macros + _rule(condition="m699")).successful
    names = ", ".join(f"l{number}" for number in range(2_000))
    report = report_on(lists + _rule(condition=f"evt.type = open and proc.name in ({names})"))
    assert report.successful
    assert report.warnings == []
    assert time.process_time() - started < 10
    doubled = ", ".join(["{name: e, fields: proc.name}"] * 2_000)
    assert len(report_on(_rule(exceptions=f"[{doubled}]")).warnings) == 1_000


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- &a [*a]", "Unexpected element type. Each element should be a yaml associative array."),
        ("- list: l\n  items: &a [x, *a]", "sequence value is not scalar"),
        ("- &a\n  rule: *a", "Value is not a scalar value"),
        (_rule(exceptions="[{name: e, fields: proc.name, values: &a [*a]}]"), "Rule exception has too many values"),
        (_rule(exceptions="&a [*a]"), "Rule exception must be a mapping"),
    ],
)
def test_an_alias_may_stand_for_what_it_is_in(report_on: ReportOn, text: str, message: str) -> None:
    report = report_on(text)
    assert [(problem.code, problem.message) for problem in report.errors] == [("LOAD_ERR_YAML_VALIDATE", message)]
    report.to_json()


def test_deep_and_broken_files_are_refused(report_on: ReportOn) -> None:
    assert report_on("[" * 20_000).errors[0].code == "LOAD_ERR_YAML_PARSE"
    assert report_on("- " * 5_000).errors[0].code == "LOAD_ERR_YAML_PARSE"
    assert report_on("- &a [*a]").errors[0].code.startswith("LOAD_ERR")
    assert check([("a.yaml", b"\xff\xfe\x00")]).files[0].name == "a.yaml"
    nested = "(" * 600 + "evt.num = 1" + ")" * 600
    assert report_on(_rule(condition=nested)).successful


@pytest.mark.parametrize(
    "condition",
    [
        "proc.name = " + "'" * 5_000,
        "proc.name in (" + "'a" * 5_000,
        "not " * 5_000 + "a",
        "not(" * 5_000,
        "proc.env[" * 5_000,
        "tolower(" * 5_000,
        "\n" * 20_000 + "x y",
        "proc.name glob " + "*a" * 60,
        "proc.name glob " + "[" * 100,
        " or ".join(f"(evt.num = {number} and proc.name = x{number})" for number in range(1_000)),
    ],
)
def test_texts_made_to_be_slow_are_not(report_on: ReportOn, condition: str) -> None:
    started = time.process_time()
    report_on(_rule(condition=json.dumps(condition)))
    report_on(_rule(output=json.dumps(condition.replace("proc", "%proc"))))
    assert time.process_time() - started < 5


def test_html_of_a_report_shows_lines_and_messages(report_on: ReportOn) -> None:
    html = report_on(_rule(condition="proc.nme = '<b>'"))._repr_html_()
    assert "LOAD_ERR_COMPILE_CONDITION" in html
    assert ">line 3, rule " in html
    assert "&#x27;&lt;b&gt;&#x27;" in html
    assert 'underline wavy">proc.nme</span>' in html


_SEEDS = [sample["rules"] for sample in VALIDATED]


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_no_mutation_of_a_rule_file_raises(data: st.DataObject) -> None:
    content = bytearray(data.draw(st.sampled_from(_SEEDS)).encode())
    for _ in range(data.draw(st.integers(1, 6))):
        place = data.draw(st.integers(0, len(content)))
        cut = data.draw(st.integers(0, 4))
        content[place : place + cut] = data.draw(
            st.one_of(
                st.binary(max_size=4), st.sampled_from([b"[", b"- ", b": ", b"'", b'"', b"&a ", b"*a", b"\t", b"()"])
            )
        )
    report = check([("fuzz.yaml", bytes(content))])
    for problem in [*report.errors, *report.warnings]:
        assert problem.code.startswith("LOAD_")
        assert problem.locations
    str(report)
    report.to_json()
    report._repr_html_()


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 1 << 32))
def test_no_mistake_in_a_real_rule_raises(seed: int) -> None:
    fuzz.checked(fuzz.realistic(Random(seed)).encode("utf-8", "surrogatepass"))


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 1 << 32))
def test_no_random_rule_file_raises(seed: int) -> None:
    fuzz.checked(fuzz.generated(Random(seed)))


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200))
def test_no_bytes_raise(content: bytes) -> None:
    check([("fuzz.yaml", content)]).to_json()


@pytest.mark.parametrize(
    ("change", "how", "wanted"),
    [
        ("condition: and evt.num = 1", "append", {"condition": "(evt.type = execve and evt.num = 1)"}),
        ("output: more", "append", {"output": "o more"}),
        ("desc: e", "append", {"description": "d e"}),
        ("tags: [b]", "append", {"tags": ("a", "b")}),
        (
            "exceptions: [{name: x, fields: proc.name, values: [sh]}]",
            "append",
            {"condition": "(evt.type = execve and not proc.name in (sh))"},
        ),
        ("condition: evt.type = open", "replace", {"condition": "evt.type = open"}),
        ("output: other", "replace", {"output": "other"}),
        ("desc: e", "replace", {"description": "e"}),
        ("tags: [b]", "replace", {"tags": ("b",)}),
        ("priority: INFO", "replace", {"priority": "Informational"}),
        ("enabled: true", "replace", {"enabled": True}),
    ],
)
def test_an_override_changes_one_key(change: str, how: str, wanted: dict[str, object]) -> None:
    override = f"  override: {{{change.partition(':')[0]}: {how}}}\n"
    engine = Engine(suggested_output=False)
    engine.load(("rules.yaml", f"{_rule(tags='[a]')}  enabled: false\n- rule: R\n  {change}\n{override}"))
    (rule,) = engine.rules
    plain = {
        "condition": "evt.type = execve",
        "output": "o",
        "description": "d",
        "priority": "Notice",
        "tags": ("a",),
        "enabled": False,
    }
    found = {name: getattr(rule, name) for name in plain}
    assert found | {"condition": str(rule.condition)} == plain | wanted
