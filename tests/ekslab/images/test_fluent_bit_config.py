"""Fluent Bit's configuration, records and filters, without a node."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from ekslab.images.fluent_bit.cloudwatch import MAX_BODY, SPAN, Batch, expand
from ekslab.images.fluent_bit.config import Config, ConfigError, check, parse, parse_bool, parse_size
from ekslab.images.fluent_bit.grep import grep
from ekslab.images.fluent_bit.patterns import matches
from ekslab.images.fluent_bit.records import Event, Lines, lookup, parse_time
from ekslab.images.fluent_bit.text import decoded, escaped

MANIFEST = Path(__file__).parents[3] / "manifests/fluent-bit/20-configmap.yaml"
SHIPPED = yaml.safe_load(MANIFEST.read_text())["data"]["fluent-bit.yaml"]
NOW = 1_795_407_615_000_000_000


def configured(text: str, **env: str) -> Config:
    config = parse(text, env)
    check(config)
    return config


def refusal(text: str) -> str:
    with pytest.raises(ConfigError) as refused:
        configured(text)
    return "\n".join(line for _, line in refused.value.lines)


def pipeline(**sections: Any) -> str:
    return yaml.safe_dump({"pipeline": sections})


def test_the_shipped_configuration_is_taken_whole() -> None:
    config = configured(SHIPPED, AWS_REGION="eu-west-1")
    (output,) = config.outputs
    assert output.get("region") == "eu-west-1"
    assert output.label == "output:cloudwatch_logs:cloudwatch_logs.0"
    assert (config.service["flush"], config.service["scheduler.cap"]) == ("1", "20")
    assert output.get("net.io_timeout") == "30"
    assert config.warnings == []


def test_a_variable_that_is_not_set_leaves_its_property_out() -> None:
    config = configured(SHIPPED)
    assert config.outputs[0].all("region") == []
    assert config.warnings == ["[env] variable ${AWS_REGION} is used but not set"]


def test_a_plugin_that_does_not_exist_is_refused_in_fluent_bits_words() -> None:
    said = refusal(pipeline(outputs=[{"name": "cloudwach_logs"}]))
    assert "[config] section 'cloudwach_logs' tried to instance a plugin name that doesn't exist" in said
    assert "configuration file contains errors, aborting." in said


def test_a_plugin_that_only_fluent_bit_has_is_refused_in_the_labs_words() -> None:
    said = refusal(pipeline(outputs=[{"name": "es", "match": "*"}]))
    assert "[embedded lab] output plugin 'es' exists in Fluent Bit, but the embedded lab doesn't emulate it" in said


def test_unknown_and_unsupported_properties_are_told_apart() -> None:
    unknown = refusal(pipeline(inputs=[{"name": "tail", "pahts": "/x"}]))
    assert "[config] tail: unknown configuration property 'pahts'. The following properties are allowed:" in unknown
    known = refusal(pipeline(inputs=[{"name": "tail", "exit_on_eof": "on"}]))
    assert "[embedded lab] tail: property 'exit_on_eof' exists in Fluent Bit" in known


def test_a_dry_run_misses_unknown_properties_as_fluent_bit_does() -> None:
    assert parse(pipeline(inputs=[{"name": "tail", "pahts": "/x"}]), {}).inputs


@pytest.mark.parametrize("text", ["pipeline: [", "pipeline:\n  inputs: {a: b}\n", "- flush: 1\n"])
def test_broken_yaml_and_sections_are_refused(text: str) -> None:
    assert "configuration file contains errors, aborting." in refusal(text)


def test_broken_yaml_is_reported_with_the_line_before_it() -> None:
    with pytest.raises(ConfigError) as refused:
        parse("service:\n  flush: 1\n   log_level: info\n", {}, path="/fluent-bit/etc/conf/fluent-bit.yaml")
    assert refused.value.code == 1
    assert [text for _, text in refused.value.lines] == [
        "[config] invalid YAML in file /fluent-bit/etc/conf/fluent-bit.yaml at line 3, column 13: "
        "mapping values are not allowed in this context",
        "[config] hint: check line 2 (above) for missing ':' or incorrect indentation",
        "configuration file contains errors, aborting.",
    ]


def test_an_unknown_section_is_ignored() -> None:
    assert configured("servce: {flush: 1}\n").service == {}


def test_sizes_are_decimal() -> None:
    assert [parse_size(text) for text in ("32k", "16M", "512")] == [32_000, 16_000_000, 512]


def test_a_cri_line_is_split_into_its_parts() -> None:
    (event,) = Lines(("cri",)).feed('2026-11-23T04:15:07.836922002Z stdout F {"rule":"x"}', NOW)
    assert event.record == {
        "time": "2026-11-23T04:15:07.836922002Z",
        "stream": "stdout",
        "_p": "F",
        "log": '{"rule":"x"}',
    }
    assert list(event.record) == ["time", "stream", "_p", "log"]
    assert event.time == parse_time("2026-11-23T04:15:07.836922002Z")


def test_partial_lines_are_joined_and_keep_the_firsts_flag_and_time() -> None:
    lines = Lines(("cri",))
    assert lines.feed("2026-11-23T04:15:07.1Z stdout P abc", NOW) == []
    assert lines.waiting
    (other,) = lines.feed("2026-11-23T04:15:07.2Z stderr F between", NOW)
    (event,) = lines.feed("2026-11-23T04:15:07.3Z stdout F def", NOW)
    assert (event.record["log"], event.record["_p"], event.record["time"]) == ("abcdef", "P", "2026-11-23T04:15:07.1Z")
    assert other.record["log"] == "between"
    assert not lines.waiting


def test_times_are_nanoseconds_since_the_epoch() -> None:
    assert parse_time("2026-11-23T04:20:15Z") == NOW
    assert parse_time("2026-11-23T04:20:15.5Z") == NOW + 500_000_000
    assert parse_time("2026-11-23T04:20:15.000000001Z") == NOW + 1
    assert parse_time("2026-11-23T06:20:15.0+02:00") == NOW


@pytest.mark.parametrize(
    ("text", "understood"),
    [
        ("2026-11-23T04:20:15+02:00", "2026-11-23T04:20:15Z"),  # without a fraction, the offset isn't reached
        ("2026-11-22T22:50:15.0-05:30", "2026-11-23T04:20:15Z"),
        ("2026-11-23T06:20:15.0+0200", "2026-11-23T04:20:15Z"),
        ("2026-02-31T10:00:00.0Z", "2026-03-03T10:00:00Z"),
        ("2026-13-01T10:00:00.0Z", "2025-12-31T00:00:00Z"),
        ("2026-00-10T10:00:00.0Z", "2025-12-31T00:00:00Z"),
        ("2026-11-00T10:00:00.0Z", "2026-10-31T00:00:00Z"),
        ("2026-11-23T24:00:00.0Z", "2026-11-23T00:00:00Z"),
        ("2026-11-23T04:20:60.5Z", "2026-11-23T04:21:00.5Z"),
        ("2026-11-23T04:20:61.0Z", "2026-11-23T04:20:00Z"),
        ("2026-11-23 04:20:15", "2026-11-23T00:00:00Z"),
        ("1970-01-01T00:00:00.0Z", "1970-01-01T00:00:00Z"),
        ("2106-02-07T06:28:13.5Z", "2106-02-07T06:28:13.5Z"),
        ("2106-02-07T06:28:16.0Z", None),
        ("1969-12-31T23:59:59.9Z", None),
        ("1970-01-01T00:00:00.0+01:00", None),
        ("yesterday", None),  # 1900, which no record can have
        ("", None),
        (" 2026-11-23T04:20:15.0Z", None),
        ("9999-99-99T99:99:99.9Z", None),
        ("0000-00-00T00:00:00.0Z", None),
    ],
)
def test_a_time_that_cannot_be_is_read_as_far_as_it_makes_sense(text: str, understood: str | None) -> None:
    found = parse_time(text)
    expected = None if understood is None else dt.datetime.fromisoformat(understood)
    assert (None if found is None else dt.datetime.fromtimestamp(found / 1e9, dt.UTC)) == expected


def test_the_text_of_a_line_with_an_impossible_time_comes_before_that_of_the_next_line() -> None:
    lines = Lines(("cri",))
    assert lines.feed('yesterday stdout F {"n":1}', NOW) == []
    assert lines.feed('1900-01-01T00:00:00.0Z stdout P {"n":', NOW) == []
    assert lines.feed("2026-11-23T04:20:15.0Z stdout F 2}", NOW) == []
    assert lines.unpacked == 2
    (other,) = lines.feed('2026-11-23T04:20:15.0Z stderr F {"n":3}', NOW)
    assert other.record["log"] == '{"n":3}'
    (event,) = lines.feed('2026-11-23T04:20:15.0Z stdout F {"n":4}', NOW)
    assert (event.time, event.record["log"]) == (NOW, '{"n":1}{"n":2}{"n":4}')
    (after,) = lines.feed('1970-01-01T00:00:00.0Z stdout F {"n":5}', NOW + 1)
    assert (after.time, after.record["log"]) == (NOW + 1, '{"n":5}')  # the epoch counts as no time


@pytest.mark.parametrize(
    "line",
    [
        "2026-11-23T04:15:07.1Z stdout F:tag {}",
        "2026-11-23T04:15:07.1Z stdout X {}",
        "2026-11-23T04:15:07.1Z stdin F {}",
        "2026-11-23T04:15:07.1Z stdout F",
        "[2026-11-23] {}",
        "",
    ],
)
def test_what_is_no_cri_line_is_the_text_itself(line: str) -> None:
    assert Lines(("cri",)).feed(line, NOW) == [Event(NOW, {"log": line})]


@pytest.mark.parametrize("character", ["é", "€", "😀"])
def test_a_character_that_was_split_between_two_parts_is_whole_again(character: str) -> None:
    for cut in range(1, len(character.encode())):
        lines = Lines(("cri",))
        first, rest = character.encode()[:cut], character.encode()[cut:]
        assert lines.feed(decoded(b"2026-11-23T04:15:07.1Z stdout P a" + first), NOW) == []
        (event,) = lines.feed(decoded(b"2026-11-23T04:15:07.1Z stdout F " + rest + b"z"), NOW)
        assert event.record["log"] == f"a{character}z"


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"a\tb\x00\x1b[0m\x7f\rz", "a\tb\0\x1b[0m\x7f\rz"),
        ("\u2028\ufeff\u00a0\U0001f600".encode(), "\u2028\ufeff\u00a0\U0001f600"),
        (b'{"a":"x\xff"}', '{"a":"x"}'),  # it would begin a character of six bytes, which are not there
        (b"x\xff" + b"y" * 9, "x\ue0ff" + "y" * 9),
        (b'\xc3"}', '\ue0c3"}'),
        (b'\xe9"}}', '\ue0e9"}}'),
        (b'\xe2\x82"}', '\ue0e2\ue082"}'),
        (b'\x80"}', '\ue080"}'),
        (b'\xf4\x90\x80\x80"}', '\ue0f4\ue090\ue080\ue080"}'),
        (b'\xc0\xaf"}', '/"}'),
        (b'\xed\xa0\x80"}', '\ue0ed\ue0a0\ue080"}'),
        (b"caf\xc3", "caf"),
    ],
)
def test_bytes_that_are_not_utf8_become_what_fluent_bit_makes_of_them(raw: bytes, message: str) -> None:
    sent = escaped(decoded(raw))
    assert json.loads(b'"' + sent + b'"') == message


def test_without_escapes_each_byte_that_is_not_utf8_is_replaced() -> None:
    assert escaped(decoded(b"\xc3\xa9\xe2\x82\xff"), ascii_only=False) == "é\ufffd\ufffd\ufffd".encode()


def test_what_is_not_ascii_is_written_in_six_bytes() -> None:
    assert escaped('"\\é€\x7f') == rb"\"\\\u00e9\u20ac\u007f"
    assert len(escaped("😀")) == 12
    assert escaped("é€😀", ascii_only=False) == "é€😀".encode()


def test_an_end_that_does_not_come_is_not_waited_for() -> None:
    lines = Lines(("cri",))
    lines.feed("2026-11-23T04:15:07.1Z stdout P abc", NOW)
    (event,) = lines.flush()
    assert event.record["log"] == "abc"
    assert not lines.waiting
    assert lines.flush() == []


def test_split_docker_lines_are_joined() -> None:
    lines = Lines(("docker",))
    assert lines.feed(json.dumps({"log": "hel", "stream": "stdout"}), NOW) == []
    (event,) = lines.feed(json.dumps({"log": "lo\n", "stream": "stdout"}), NOW + 1)
    assert event == Event(NOW, {"log": "hello\n", "stream": "stdout"})
    assert lines.feed("[1]", NOW) == [Event(NOW, {"log": "[1]"})]
    assert lines.feed('{"msg": "x"}', NOW) == [Event(NOW, {"log": '{"msg": "x"}'})]


def test_a_line_of_another_form_is_kept_as_it_is() -> None:
    assert Lines(("cri",)).feed("plain text", NOW) == [Event(NOW, {"log": "plain text"})]


def test_docker_lines_are_read_too() -> None:
    line = json.dumps({"log": "hello\n", "stream": "stdout", "time": "2026-11-23T04:15:07.5Z"})
    (event,) = Lines(("docker", "cri")).feed(line, NOW)
    assert event.record["log"] == "hello\n"
    assert event.time == parse_time("2026-11-23T04:15:07.5Z")


def filtered(section: dict[str, Any], *records: dict[str, Any]) -> list[dict[str, Any]]:
    """The records that a grep filter keeps."""
    apply = grep(configured(pipeline(filters=[{"name": "grep", "match": "*"} | section])).filters[0])
    return [event.record for event in apply([Event(NOW, record) for record in records])]


def test_grep_keeps_json_lines_only() -> None:
    kept = filtered({"regex": r"log ^\{"}, {"log": '{"a":1}'}, {"log": "Falco version"})
    assert kept == [{"log": '{"a":1}'}]


def test_grep_excludes_and_reaches_into_records() -> None:
    section = {"exclude": "$kubernetes['pod'] ^falco"}
    assert filtered(section, {"kubernetes": {"pod": "falco-x"}}, {"log": "b"}) == [{"log": "b"}]


def test_no_pattern_of_a_configuration_takes_long() -> None:
    assert filtered({"regex": "log ^(a+)+$"}, {"log": "a" * 50_000 + "!"}) == []


@pytest.mark.parametrize("pattern", ["(?=a)b", r"(a)\1", "a++", "("])
def test_a_pattern_that_cannot_be_used_is_refused_when_the_filter_is_made(pattern: str) -> None:
    known = "the embedded lab knows no look-around" if pattern != "(" else ""
    with pytest.raises(ConfigError, match=f"could not compile regex pattern .*{known}"):
        filtered({"regex": f"log {pattern}"})


def test_tags_match_by_stars() -> None:
    section = configured(pipeline(filters=[{"name": "grep", "match": "falco.*"}])).filters[0]
    assert matches(section, "falco.alerts")
    assert not matches(section, "kube.alerts")


def test_record_accessors_find_nested_values() -> None:
    record = {"kubernetes": {"labels": {"app.kubernetes.io/name": "falco"}}}
    assert lookup(record, "$kubernetes['labels']['app.kubernetes.io/name']") == "falco"
    assert lookup(record, "$kubernetes['nope']['x']") is None


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("", ""),
        ("fixed", "fixed"),
        ("$TAG", "kube.var.log"),
        ("$TAG[1]-$TAG[2]", "var-log"),
        ("$TAG[3]", ""),
        ("$stream", "stdout"),
        ("/eks/$kubernetes['labels']['app'].$stream", "/eks/falco.stdout"),
        ("$kubernetes['nope']", ""),
        ("$nope-x", ""),
    ],
)
def test_templates_of_groups_and_streams(template: str, expected: str) -> None:
    record = {"stream": "stdout", "kubernetes": {"labels": {"app": "falco"}}}
    assert expand(template, "kube.var.log", record) == expected


@pytest.mark.parametrize(
    ("properties", "kept"),
    [
        ({"regex": ["a x", "b y"]}, ["ab"]),
        ({"exclude": ["a x", "b y"]}, ["n"]),
        ({"regex": "a x", "exclude": "b y"}, ["a"]),
        ({"regex": ["a x", "b y"], "logical_op": "or"}, ["a", "b", "ab"]),
        ({"exclude": ["a x", "b y"], "logical_op": "or"}, ["n"]),
        ({"regex": ["a x", "b y"], "logical_op": "AND"}, ["ab"]),
        ({"exclude": ["a x", "b y"], "logical_op": "and"}, ["a", "b", "n"]),
    ],
)
def test_grep_combines_its_patterns(properties: dict[str, Any], kept: list[str]) -> None:
    records = [{"id": "a", "a": "x"}, {"id": "b", "b": "y"}, {"id": "ab", "a": "x", "b": "y"}, {"id": "n", "a": 1}]
    assert [record["id"] for record in filtered(properties, *records)] == kept


@pytest.mark.parametrize(
    ("properties", "said"),
    [
        ({"regex": "log"}, "invalid regex, expected field and regular expression"),
        ({"regex": "log x", "logical_op": "xor"}, "logical_op: unknown value 'xor'"),
        ({"regex": "log x", "exclude": "log y", "logical_op": "or"}, "Both 'regex' and 'exclude' are set."),
    ],
)
def test_grep_refuses_what_does_not_go_together(properties: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        filtered(properties)
    assert refused.value.lines == (
        ("error", f"[filter:grep:grep.0] {said}"),
        ("error", "Failed initialize filter grep.0"),
        ("error", "[engine] filter initialization failed"),
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- a", "the document is not a map of sections"),
        ("pipeline: []\nenv: 3\n", "section 'env' must be a map"),
        (
            "pipeline: {input: []}",
            "the pipeline component 'input' is not valid. Try one of these values: customs, inputs",
        ),
        ("pipeline: {inputs: [{tag: a}]}", "section 'input' is missing the 'name' property"),
        ("pipeline: {inputs: [{name: common}]}", "section 'common' tried to instance a plugin name that doesn't exist"),
        ("parsers: [{name: json, format: json}]", "[embedded lab] section 'parsers' exists in Fluent Bit"),
        ("service: {log_file: /x}", "[embedded lab] service property 'log_file' exists in Fluent Bit"),
        (
            "pipeline: {inputs: [{name: tail, processors: {a: b}}]}",
            "tail: nested values of 'processors'",
        ),
    ],
)
def test_refusals_of_the_configuration(text: str, said: str) -> None:
    assert said in refusal(text)


@pytest.mark.parametrize("plugin", ["parser", "modify", "record_modifier", "lua"])
def test_filters_of_fluent_bit_only_are_refused_by_name(plugin: str) -> None:
    said = refusal(pipeline(filters=[{"name": plugin, "match": "*"}]))
    assert (
        f"[embedded lab] filter plugin '{plugin}' exists in Fluent Bit, but the embedded lab doesn't emulate it" in said
    )
    assert "(it emulates: grep, kubernetes)" in said


def test_a_tag_matches_by_a_regular_expression() -> None:
    section = configured(pipeline(filters=[{"name": "grep", "match_regex": "^(falco|kube)\\."}])).filters[0]
    assert matches(section, "kube.alerts")
    assert not matches(section, "my.falco.alerts")
    assert not matches(configured(pipeline(filters=[{"name": "grep"}])).filters[0], "falco")


def test_values_of_flags_and_variables() -> None:
    text = pipeline(inputs=[{"name": "tail", "path": "${DIR}/x", "skip_long_lines": "Yes", "alias": "mine"}])
    (section,) = configured("env: {DIR: /own}\n" + text, DIR="/given").inputs
    assert section.get("path") == "/own/x"
    assert section.flag("skip_long_lines")
    assert section.flag("read_from_head", True)
    assert section.label == "input:tail:mine"
    with pytest.raises(ValueError, match="maybe"):
        parse_bool("maybe")
    with pytest.raises(ValueError, match="16 T"):
        parse_size("16 T")
    assert parse_size("2gb") == 2_000_000_000


def test_a_batch_takes_what_one_request_may_hold() -> None:
    batch = Batch("group", "stream")
    own, each = batch.size, 42
    batch.add(SPAN, b"x" * (MAX_BODY - own - 2 * each - 1))
    assert batch.takes(SPAN, 1)
    assert not batch.takes(SPAN, 2)
    assert batch.takes(1, 0)
    assert not batch.takes(0, 0)
    assert not batch.takes(2 * SPAN, 0)
    batch.add(1, b"y")
    assert [event["timestamp"] for event in json.loads(batch.payload())["logEvents"]] == [1, SPAN]
    assert len(batch.payload()) <= MAX_BODY
