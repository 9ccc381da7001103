"""Departures from the schema of rule files, in Falco's words."""

from __future__ import annotations

import pytest

from falcorules.document import documents
from falcorules.schema import SchemaFault, schema_warnings

TYPE = "Value type not permitted by 'type' constraint."


def of_key(key: str, *inner: str) -> list[str]:
    """The warnings about a value, from the innermost to that about the file."""
    return [
        *inner,
        f"<root>[0]: Failed to validate against schema associated with property name '{key}'.",
        "<root>: Failed to validate item #0 in array.",
    ]


def of_child(path: str) -> list[str]:
    reasons = [[TYPE, f"Failed to validate against child schema #{number}."] for number in range(2)]
    return [
        *(f"{path}: {reason}" for pair in reasons for reason in pair),
        f"{path}: Failed to validate against any schemas allowed by anyOf constraint.",
    ]


@pytest.mark.parametrize(
    ("text", "warnings"),
    [
        ("- rule: 1\n  tags: [a]\n  enabled: true\n  capture_duration: -9223372036854775808", []),
        ("- rule: R\n  priority: WARNING\n  capture_duration: ' +007'", []),
        (
            "- rule: R\n  nothing:",
            [
                "<root>[0]: Object contains a property that could not be validated using 'properties' or "
                "'additionalProperties' constraints: 'nothing'.",
                "<root>: Failed to validate item #0 in array.",
            ],
        ),
        ("- rule: R\n- list: l\n  items: [a, 1]", []),
        ("- required_plugin_versions: [{name: a, version: 1, alternatives: [{name: b, version: 2}]}]", []),
        ("x: y", [f"<root>: {TYPE}"]),
        ("- x", [f"<root>[0]: {TYPE}", "<root>: Failed to validate item #0 in array."]),
        ("- rule: R\n  tags: a", of_key("tags", f"<root>[0][tags]: {TYPE}")),
        (
            "- rule: R\n  tags: [a, [b]]",
            of_key("tags", f"<root>[0][tags][1]: {TYPE}", "<root>[0][tags]: Failed to validate item #1 in array."),
        ),
        (
            "- list: l\n  items: [a, [b]]",
            of_key(
                "items",
                *of_child("<root>[0][items][1]"),
                "<root>[0][items]: Failed to validate item #1 in array.",
            ),
        ),
        ("- rule: R\n  capture_duration: 1.5", of_key("capture_duration", f"<root>[0][capture_duration]: {TYPE}")),
        ("- rule: R\n  desc:", of_key("desc", f"<root>[0][desc]: {TYPE}")),
        (
            "- rule: R\n  priority: warning",
            of_key("priority", "<root>[0][priority]: Failed to match against any enum values."),
        ),
        (
            "- rule: R\n  override: {desc: prepend}",
            of_key(
                "override",
                "<root>[0][override][desc]: Failed to match against any enum values.",
                "<root>[0][override]: Failed to validate against schema associated with property name 'desc'.",
            ),
        ),
        (
            "- rule: R\n  exceptions: [{fields: a}]",
            of_key(
                "exceptions",
                "<root>[0][exceptions][0]: Missing required property 'name'.",
                "<root>[0][exceptions]: Failed to validate item #0 in array.",
            ),
        ),
        (
            "- required_plugin_versions: [{name: a}]",
            of_key(
                "required_plugin_versions",
                "<root>[0][required_plugin_versions][0]: Missing required property 'version'.",
                "<root>[0][required_plugin_versions]: Failed to validate item #0 in array.",
            ),
        ),
    ],
)
def test_departures_are_said_innermost_first(text: str, warnings: list[str]) -> None:
    assert schema_warnings(documents(text.encode())) == [f"failed for {warning}" for warning in warnings]


def test_a_key_that_is_there_twice_is_one_too_many() -> None:
    assert "constraints: ''." in schema_warnings(documents(b"- rule: R\n  rule: S"))[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- []", "JSON value is not an object."),
        ("- override: []", "JSON value is not an object."),
        ("- [a]: b", "yaml-cpp: error at line 1, column 3: bad conversion"),
    ],
)
def test_what_ends_the_check(text: str, message: str) -> None:
    with pytest.raises(SchemaFault) as caught:
        schema_warnings(documents(text.encode()))
    assert str(caught.value) == message
