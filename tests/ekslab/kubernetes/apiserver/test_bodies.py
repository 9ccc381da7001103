"""Bodies that are no JSON, no YAML or no patch, in the words of kube-apiserver 1.35."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from ekslab.kubernetes.apiserver.json_syntax import why_not_json

CONFIG_MAP = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "read"}, "data": {"a": "b"}}
STRUCT = r'struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" }'
UNRECOGNIZED = "the object provided is unrecognized (must be of type ConfigMap): "
UNREAD = "couldn't get version/kind; json parse error: "
NAMELESS = "the name of the object (read based on URL) was undeterminable: name must be provided"
NO_MAP = "json: cannot unmarshal {} into Go value of type map[string]interface {{}}"
NO_OPERATIONS = "error decoding patch: json: cannot unmarshal {} into Go value of type []handlers.jsonPatchOp"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "unexpected end of JSON input"),
        ("\n", "unexpected end of JSON input"),
        ("{", "unexpected end of JSON input"),
        ('{"a":"x', "unexpected end of JSON input"),
        ("x", "invalid character 'x' looking for beginning of value"),
        ("é", "invalid character 'Ã' looking for beginning of value"),
        ('{"a":}', "invalid character '}' looking for beginning of value"),
        ("[1,]", "invalid character ']' looking for beginning of value"),
        ('{"a":1,}', "invalid character '}' looking for beginning of object key string"),
        ("{'a':1}", r"invalid character '\'' looking for beginning of object key string"),
        ('{"a" 1}', "invalid character '1' after object key"),
        ('{"a":01}', "invalid character '1' after object key:value pair"),
        ("[1 2]", "invalid character '2' after array element"),
        ('{"a":1} "', "invalid character '\"' after top-level value"),
        ("tru", "invalid character ' ' in literal true (expecting 'e')"),
        ("nil", "invalid character 'i' in literal null (expecting 'u')"),
        ("-", "invalid character ' ' in numeric literal"),
        ("1.x", "invalid character 'x' after decimal point in numeric literal"),
        ("1e+", "invalid character ' ' in exponent of numeric literal"),
        ('"\t"', r"invalid character '\t' in string literal"),
        ('"\x01"', r"invalid character '\x01' in string literal"),
        (r'"\q"', "invalid character 'q' in string escape code"),
        (r'"\u00g0"', r"invalid character 'g' in \u hexadecimal character escape"),
        ('{"a": [1, -2.5e+3, true, null, "x\\u00e9\\n"], "b": {}, "c": []}', ""),
    ],
)
def test_json_is_refused_in_gos_words(text: str, why: str) -> None:
    assert why_not_json(text.encode()) == why


@pytest.fixture(scope="module")
def call(running) -> Iterator[Any]:
    with requests.Session() as session:
        session.trust_env = False
        session.verify = str(running.ca)
        session.headers["Authorization"] = f"Bearer {running.credentials.kubernetes_token}"
        url = f"{running.url}/api/v1/namespaces/default/configmaps"
        session.post(url, json=CONFIG_MAP)

        def send(method: str, name: str, body: str, kind: str) -> tuple[int, str]:
            path, query = f"{url}/{name}".rstrip("/"), {"dryRun": "All"}
            answer = session.request(method, path, data=body, params=query, headers={"Content-Type": kind})
            return answer.status_code, answer.json().get("message", "")

        yield send
        session.delete(f"{url}/read")


@pytest.mark.parametrize(
    ("kind", "body", "said"),
    [
        ("json", "", f"{UNRECOGNIZED}{UNREAD}unexpected end of JSON input (<empty>)"),
        ("json", "{", f"{UNRECOGNIZED}{UNREAD}unexpected end of JSON input ({{)"),
        ("json", "x", f"{UNRECOGNIZED}{UNREAD}invalid character 'x' looking for beginning of value (78)"),
        (
            "json",
            json.dumps(CONFIG_MAP) + "x",
            f"{UNRECOGNIZED}{UNREAD}invalid character 'x' after top-level value "
            '({"apiVersion": "v1", "kind": " ...)',
        ),
        ("json", "[]", f"{UNRECOGNIZED}{UNREAD}json: cannot unmarshal array into Go value of type {STRUCT} (5b5d)"),
        ("yaml", "x", f"{UNRECOGNIZED}{UNREAD}json: cannot unmarshal string into Go value of type {STRUCT} (227822)"),
        (
            "json",
            '{"kind": "A"}',
            'A in version "v1" cannot be handled as a ConfigMap: no kind "A" is registered for '
            'version "v1" in scheme "pkg/runtime/scheme.go:111"',
        ),
    ],
)
def test_a_body_that_is_no_object_is_refused(call: Any, kind: str, body: str, said: str) -> None:
    assert call("POST", "", body, f"application/{kind}") == (400, said)


def test_yaml_is_refused_with_its_line(call: Any) -> None:
    code, said = call("POST", "", "data:\n  a: [", "application/yaml")
    assert code == 400
    assert said.startswith(f"{UNRECOGNIZED}yaml: line 2: ")


@pytest.mark.parametrize("body", ["null", "{}"])
def test_a_body_may_leave_out_what_it_is(call: Any, body: str) -> None:
    said = 'ConfigMap "" is invalid: metadata.name: Required value: name or generateName is required'
    assert call("POST", "", body, "application/json") == (422, said)


PATCHES = [
    ("json", "", 400, "error decoding patch: unexpected end of JSON input"),
    ("merge", "", 400, "error decoding patch: unexpected end of JSON input"),
    ("strategic-merge", "", 400, "unexpected end of JSON input"),
    ("json", "x", 400, "error decoding patch: invalid character 'x' looking for beginning of value"),
    ("strategic-merge", "x", 400, "invalid character 'x' looking for beginning of value"),
    ("json", "{}", 400, NO_OPERATIONS.format("object")),
    ("json", '"x"', 400, NO_OPERATIONS.format("string")),
    ("merge", "[]", 400, f"error decoding patch: {NO_MAP.format('array')}"),
    ("strategic-merge", "1", 400, NO_MAP.format("number")),
    ("json", "null", 200, ""),
    ("merge", "null", 400, "Invalid JSON Patch"),
    ("strategic-merge", "null", 200, ""),
    ("merge", '{"metadata": null}', 400, NAMELESS),
    ("merge", '{"metadata": {"name": null}}', 400, NAMELESS),
    ("json", '[{"op": "remove", "path": "/metadata"}]', 400, NAMELESS),
    ("json", '[{"op": "replace", "path": "", "value": {}}]', 400, NAMELESS),
    (
        "json",
        '[{"op": "replace", "path": "", "value": []}]',
        422,
        f' "" is invalid: patch: Invalid value: "[]": {UNREAD}'
        f"json: cannot unmarshal array into Go value of type {STRUCT}",
    ),
    ("strategic-merge", '{"metadata": {"$patch": "replace"}}', 400, NAMELESS),
    ("strategic-merge", '{"metadata": {"$patch": "delete"}}', 400, NAMELESS),
    ("strategic-merge", '{"$patch": "replace"}', 400, NAMELESS),
    ("strategic-merge", '{"data": {"$patch": "merge"}}', 500, "unknown patch type: merge in map: map[$patch:merge]"),
    (
        "merge",
        '{"metadata": {"name": "q"}}',
        400,
        "the name of the object (q) does not match the name on the URL (read)",
    ),
    (
        "merge",
        '{"metadata": {"namespace": "x"}}',
        400,
        "the namespace of the provided object does not match the namespace sent on the request",
    ),
    (
        "merge",
        '{"metadata": {"uid": "x"}}',
        422,
        'ConfigMap "read" is invalid: metadata.uid: Invalid value: "x": field is immutable',
    ),
    (
        "strategic-merge",
        '{"data": {"a": 1.0}}',
        422,
        ' "" is invalid: patch: Invalid value: "map[data:map[a:1]]": unrecognized type: string',
    ),
    (
        "strategic-merge",
        '{"data": {"a": 1.5, "b": 1e3}}',
        422,
        ' "" is invalid: patch: Invalid value: "map[data:map[a:1.5 b:1000]]": unrecognized type: string',
    ),
]


@pytest.mark.parametrize(("kind", "body", "code", "said"), PATCHES)
def test_patches_are_refused_in_the_servers_words(call: Any, kind: str, body: str, code: int, said: str) -> None:
    assert call("PATCH", "read", body, f"application/{kind}-patch+json") == (code, said)
