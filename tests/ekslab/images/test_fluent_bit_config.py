"""Fluent Bit's configuration, records and filters, without a node."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from ekslab.images.fluent_bit.config import Config, ConfigError, check, parse, parse_size
from ekslab.images.fluent_bit.grep import grep
from ekslab.images.fluent_bit.patterns import matches
from ekslab.images.fluent_bit.records import Event, Lines, lookup, parse_time

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
    known = "the embedded lab knows no look-around" if pattern != "(" else "missing \\)"
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
