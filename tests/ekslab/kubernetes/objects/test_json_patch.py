"""JSON patch: RFC 6902 as kube-apiserver has it."""

from __future__ import annotations

from typing import Any

import pytest

from ekslab.kubernetes.objects.errors import ApiError
from ekslab.kubernetes.objects.json_patch import json_patch, unknown_fields

DOCUMENT = {"metadata": {"name": "d"}, "a": {"x/y": 1, "t~u": 2}, "b": True, "l": [1, 2, 3], "n": 0}


def patched(*operations: dict[str, Any]) -> dict[str, Any]:
    """What of the document is another after the operations."""
    result = json_patch(DOCUMENT, list(operations))
    return {key: value for key, value in result.items() if key not in DOCUMENT or DOCUMENT[key] != value}


def op(name: str, path: str, **rest: Any) -> dict[str, Any]:
    return {"op": name, "path": path, **rest}


@pytest.mark.parametrize(
    ("operation", "changed"),
    [
        (op("add", "/a/z", value=3), {"a": {"x/y": 1, "t~u": 2, "z": 3}}),
        (op("add", "/a/x~1y", value=2), {"a": {"x/y": 2, "t~u": 2}}),
        (op("add", "/l/0", value=0), {"l": [0, 1, 2, 3]}),
        (op("add", "/l/3", value=4), {"l": [1, 2, 3, 4]}),
        (op("add", "/l/-", value=4), {"l": [1, 2, 3, 4]}),
        (op("add", "/l/-1", value=4), {"l": [1, 2, 3, 4]}),
        (op("add", "/l/-4", value=0), {"l": [0, 1, 2, 3]}),
        (op("add", "/new"), {"new": None}),
        (op("replace", "/a/t~0u", value=3), {"a": {"x/y": 1, "t~u": 3}}),
        (op("replace", "/l/-1", value=4), {"l": [1, 2, 4]}),
        (op("replace", "/new", value=1), {"new": 1}),
        (op("remove", "/l/1"), {"l": [1, 3]}),
        (op("remove", "/l/-3"), {"l": [2, 3]}),
        (op("move", "/moved", **{"from": "/a"}), {"moved": {"x/y": 1, "t~u": 2}}),
        (op("move", "/l/-", **{"from": "/l/0"}), {"l": [2, 3, 1]}),
        (op("copy", "/copied", **{"from": "/l"}), {"copied": [1, 2, 3]}),
        (op("copy", "/copied", **{"from": "/nowhere"}), {"copied": None}),
        (op("test", "/a", value={"t~u": 2, "x/y": 1}), {}),
        (op("test", "/l", value=[1, 2, 3]), {}),
        (op("test", "/l/-1", value=3), {}),
        (op("test", "/nowhere"), {}),
        (op("replace", "", value={"metadata": {"name": "other"}}), {"metadata": {"name": "other"}}),
    ],
)
def test_an_operation_changes_what_it_names(operation: dict[str, Any], changed: dict[str, Any]) -> None:
    assert patched(operation) == changed


def test_operations_build_on_each_other_and_leave_the_target_alone() -> None:
    operations = [
        op("test", "/n", value=0),
        op("replace", "/n", value=1),
        op("test", "/n", value=1),
        op("remove", "/l/0"),
    ]
    assert patched(*operations) == {"n": 1, "l": [2, 3]}
    assert DOCUMENT["l"] == [1, 2, 3]


@pytest.mark.parametrize(
    "operation",
    [
        op("add", "/l/4", value=1),  # beyond the end
        op("add", "/l/-5", value=1),
        op("add", "/l/01", value=1),
        op("add", "/l/1.0", value=1),
        op("add", "/l/x", value=1),
        op("add", "/l/", value=1),
        op("add", "/nowhere/deeper", value=1),
        op("add", "/n/deeper", value=1),
        op("add", "b", value=1),
        op("add", "", value={}),
        op("replace", "/l/3", value=1),
        op("replace", "/l/-", value=1),
        op("replace", "/l/01", value=1),
        op("replace", "", value=1),
        op("remove", "/nowhere"),
        op("remove", "/l/3"),
        op("remove", "/l/-"),
        op("remove", ""),
        op("move", "/c", **{"from": "/nowhere"}),
        op("move", "/a/b", **{"from": "/a"}),
        op("copy", "/c", **{"from": ""}),
        op("copy", "/c"),
        op("copy", "/nowhere/c", **{"from": "/a"}),
        op("test", "/n", value=False),
        op("test", "/n", value=0.0),
        op("test", "/n", value="0"),
        op("test", "/b", value=1),
        op("test", "/b", value="true"),
        op("test", "/l", value=[3, 2, 1]),
        op("test", "/l/3", value=None),
        op("test", "/l/01", value=2),
        op("test", "/nowhere", value=1),
        op("test", "/a"),
        op("invent", "/a"),
        op("ADD", "/c", value=1),
        {"op": "add", "value": 1},
        {"path": "/a"},
        {},
    ],
)
def test_what_does_not_apply_is_refused(operation: dict[str, Any]) -> None:
    with pytest.raises(ApiError, match=r"^the server rejected our request due to an error in our request$") as refused:
        patched(operation)
    # As on a cluster: nothing says which operation it was, or why.
    assert (refused.value.code, refused.value.reason, refused.value.details) == (422, "Invalid", {})


@pytest.mark.parametrize(
    ("patch", "said"),
    [
        ({"op": "remove"}, "object into Go value of type []handlers.jsonPatchOp"),
        ("remove", "string into Go value of type []handlers.jsonPatchOp"),
        ([op("remove", "/a"), 7], "number into Go value of type handlers.jsonPatchOp"),
        ([{"op": 1, "path": "/a"}], "number into Go struct field jsonPatchOp.op of type string"),
        ([{"op": "add", "path": 1}], "number into Go struct field jsonPatchOp.path of type string"),
        ([{"op": "copy", "path": "/a", "from": [1]}], "array into Go struct field jsonPatchOp.from of type string"),
    ],
)
def test_a_patch_of_another_form_is_a_bad_request(patch: Any, said: str) -> None:
    with pytest.raises(ApiError) as refused:
        json_patch(DOCUMENT, patch)
    said = f"error decoding patch: json: cannot unmarshal {said}"
    assert (refused.value.code, refused.value.message) == (400, said)


def test_no_patch_changes_nothing() -> None:
    assert json_patch(DOCUMENT, None) == json_patch(DOCUMENT, []) == DOCUMENT


def test_an_index_may_have_a_sign() -> None:
    assert patched(op("add", "/l/+1", value=9))["l"] == [1, 9, 2, 3]
    assert patched(op("remove", "/l/-1"))["l"] == [1, 2]


def test_unknown_fields_of_operations_are_named() -> None:
    assert unknown_fields([op("add", "/a", value=1), op("add", "/b", value=1, extra=2)]) == ["[1].extra"]


def test_a_patch_has_a_largest_number_of_operations() -> None:
    operations = [op("add", "/n", value=number) for number in range(10_000)]
    assert json_patch(DOCUMENT, operations)["n"] == 9_999
    with pytest.raises(ApiError) as refused:
        json_patch(DOCUMENT, [*operations, operations[0]])
    assert (refused.value.code, refused.value.message) == (
        413,
        "Request entity too large: The allowed maximum operations in a JSON patch is 10000, got 10001",
    )


def test_the_copies_of_a_patch_have_a_largest_size() -> None:
    document = {"metadata": {"name": "d"}, "data": {"k": "x" * 1024**2}}
    twice = [op("copy", f"/{number}", **{"from": "/data/k"}) for number in range(2)]
    assert json_patch(document, twice)["1"] == document["data"]["k"]
    doubled = [op("copy", f"/data/{number}", **{"from": "/data"}) for number in range(100)]
    with pytest.raises(ApiError) as refused:
        json_patch(document, doubled)
    assert refused.value.code == 422
