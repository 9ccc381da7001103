"""Fluent Bit's configuration, records and filters, without a node."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from ekslab.images.fluent_bit.config import Config, ConfigError, check, parse, parse_size
from ekslab.images.fluent_bit.filters import build, lookup, matches
from ekslab.images.fluent_bit.records import Event, Lines, parse_time

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
    assert config.service["flush"] == "0.2"
    assert config.warnings == []


def test_a_variable_that_is_not_set_leaves_its_property_out() -> None:
    config = configured(SHIPPED)
    assert config.outputs[0].all("region") == []
    assert config.warnings == ["[env] variable ${AWS_REGION} is used but not set"]


def test_a_plugin_that_does_not_exist_is_refused_in_fluent_bits_words() -> None:
    said = refusal(pipeline(outputs=[{"name": "cloudwach_logs"}]))
    assert "section 'output' tried to instance a plugin name that doesn't exist" in said
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


@pytest.mark.parametrize("text", ["pipeline: [", "pipeline:\n  inputs: {a: b}\n", "servce: {flush: 1}\n"])
def test_broken_yaml_and_sections_are_refused(text: str) -> None:
    assert "configuration file contains errors, aborting." in refusal(text)


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


def test_a_line_of_another_form_is_kept_as_it_is() -> None:
    assert Lines(("cri",)).feed("plain text", NOW) == [Event(NOW, {"log": "plain text"})]


def test_docker_lines_are_read_too() -> None:
    line = json.dumps({"log": "hello\n", "stream": "stdout", "time": "2026-11-23T04:15:07.5Z"})
    (event,) = Lines(("docker", "cri")).feed(line, NOW)
    assert event.record["log"] == "hello\n"
    assert event.time == parse_time("2026-11-23T04:15:07.5Z")


def one_filter(section: dict[str, Any], *records: dict[str, Any], parsers: Any = None) -> list[dict[str, Any]]:
    config = configured(yaml.safe_dump({"pipeline": {"filters": [section]}, "parsers": parsers or []}))
    apply = build(config.filters[0], config.parsers)
    return [event.record for event in apply([Event(NOW, record) for record in records])]


def test_grep_keeps_json_lines_only() -> None:
    kept = one_filter({"name": "grep", "match": "*", "regex": r"log ^\{"}, {"log": '{"a":1}'}, {"log": "Falco version"})
    assert kept == [{"log": '{"a":1}'}]


def test_grep_excludes_and_reaches_into_records() -> None:
    section = {"name": "grep", "match": "*", "exclude": "$kubernetes['pod'] ^falco"}
    assert one_filter(section, {"kubernetes": {"pod": "falco-x"}}, {"log": "b"}) == [{"log": "b"}]


def test_no_pattern_of_a_configuration_takes_long() -> None:
    text = "a" * 50_000
    assert one_filter({"name": "grep", "match": "*", "regex": "log ^(a+)+$"}, {"log": text + "!"}) == []
    parser = {"name": "p", "format": "regex", "regex": r"^(?<x>(a|aa)+)(?<y>b)$"}
    section = {"name": "parser", "match": "*", "key_name": "log", "parser": "p"}
    assert one_filter(section, {"log": text}, parsers=[parser]) == [{"log": text}]
    assert one_filter(section, {"log": "aab"}, parsers=[parser]) == [{"x": "aa", "y": "b"}]


@pytest.mark.parametrize("pattern", ["(?=a)b", r"(a)\1", "a++", "("])
def test_a_pattern_that_cannot_be_used_is_refused_when_the_filter_is_made(pattern: str) -> None:
    known = "the embedded lab knows no look-around" if pattern != "(" else "missing \\)"
    with pytest.raises(ConfigError, match=f"could not compile regex pattern .*{known}"):
        one_filter({"name": "grep", "match": "*", "regex": f"log {pattern}"})


def test_the_parser_filter_lets_cris_time_win_over_falcos() -> None:
    section = {"name": "parser", "match": "*", "key_name": "log", "parser": "json", "reserve_data": "on"}
    record = {"time": "outer", "stream": "stdout", "_p": "F", "log": '{"rule":"x","time":"inner"}'}
    (merged,) = one_filter(section, record, parsers=[{"name": "json", "format": "json"}])
    assert merged == {"rule": "x", "time": "outer", "stream": "stdout", "_p": "F"}
    assert list(merged) == ["rule", "time", "stream", "_p"]


def test_modify_and_record_modifier_change_records() -> None:
    section = {"name": "modify", "match": "*", "add": "cluster lab", "rename": "log message", "remove": "_p"}
    assert one_filter(section, {"log": "a", "_p": "F"}) == [{"message": "a", "cluster": "lab"}]
    section = {"name": "record_modifier", "match": "*", "record": "cluster lab", "remove_key": "_p"}
    assert one_filter(section, {"log": "a", "_p": "F"}) == [{"log": "a", "cluster": "lab"}]


def test_an_unknown_parser_is_refused_when_the_filter_is_made() -> None:
    with pytest.raises(ConfigError, match="requested parser 'nope' not found"):
        one_filter({"name": "parser", "match": "*", "key_name": "log", "parser": "nope"})


def test_tags_match_by_stars() -> None:
    section = configured(pipeline(filters=[{"name": "grep", "match": "falco.*"}])).filters[0]
    assert matches(section, "falco.alerts")
    assert not matches(section, "kube.alerts")


def test_record_accessors_find_nested_values() -> None:
    record = {"kubernetes": {"labels": {"app.kubernetes.io/name": "falco"}}}
    assert lookup(record, "$kubernetes['labels']['app.kubernetes.io/name']") == "falco"
    assert lookup(record, "$kubernetes['nope']['x']") is None
