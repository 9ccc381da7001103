"""Patches change what they name and nothing else."""

from __future__ import annotations

import pytest

from ekslab.kubernetes.objects.errors import ApiError
from ekslab.kubernetes.objects.patch import json_patch, merge_patch, strategic_merge

POD = {
    "spec": {
        "containers": [
            {"name": "a", "image": "a:1", "env": [{"name": "X", "value": "1"}, {"name": "Y", "value": "2"}]},
            {"name": "b", "image": "b:1"},
        ],
        "tolerations": [{"key": "old"}],
        "volumes": [{"name": "v", "emptyDir": {}}],
    }
}


def test_merge_patch_replaces_lists_and_removes_nulls():
    assert merge_patch({"a": {"b": 1, "c": 2}, "l": [1]}, {"a": {"b": None}, "l": [2]}) == {"a": {"c": 2}, "l": [2]}


def test_strategic_merge_changes_one_container_and_keeps_the_other():
    patched = strategic_merge(POD, {"spec": {"containers": [{"name": "b", "image": "b:2"}]}})
    assert [c["image"] for c in patched["spec"]["containers"]] == ["a:1", "b:2"]
    assert POD["spec"]["containers"][1]["image"] == "b:1"


def test_strategic_merge_deletes_an_item_by_its_key():
    change = {"spec": {"containers": [{"name": "a", "env": [{"name": "X", "$patch": "delete"}]}]}}
    patched = strategic_merge(POD, change)
    assert patched["spec"]["containers"][0]["env"] == [{"name": "Y", "value": "2"}]


def test_strategic_merge_replaces_lists_without_a_key():
    patched = strategic_merge(POD, {"spec": {"tolerations": [{"key": "new"}]}})
    assert patched["spec"]["tolerations"] == [{"key": "new"}]


def test_strategic_merge_orders_items_as_asked():
    change = {
        "spec": {
            "$setElementOrder/containers": [{"name": "c"}, {"name": "b"}, {"name": "a"}],
            "containers": [{"name": "c", "image": "c:1"}],
        }
    }
    patched = strategic_merge(POD, change)
    assert [c["name"] for c in patched["spec"]["containers"]] == ["c", "b", "a"]


def test_strategic_merge_keeps_only_retained_keys():
    change = {"spec": {"volumes": [{"$retainKeys": ["name", "configMap"], "name": "v", "configMap": {"name": "c"}}]}}
    assert strategic_merge(POD, change)["spec"]["volumes"] == [{"name": "v", "configMap": {"name": "c"}}]


def test_strategic_merge_removes_from_a_set_of_values():
    change = {"metadata": {"$deleteFromPrimitiveList/finalizers": ["b"], "finalizers": ["c"]}}
    patched = strategic_merge({"metadata": {"finalizers": ["a", "b"]}}, change)
    assert patched["metadata"]["finalizers"] == ["a", "c"]


def test_strategic_merge_replaces_a_map_as_a_whole():
    patched = strategic_merge({"template": {"a": 1, "b": 2}}, {"template": {"$patch": "replace", "a": 3}})
    assert patched == {"template": {"a": 3}}


def test_service_ports_are_known_by_port_and_container_ports_by_container_port():
    service = {"spec": {"ports": [{"port": 80, "name": "http"}]}}
    assert strategic_merge(service, {"spec": {"ports": [{"port": 80, "targetPort": 8080}]}})["spec"]["ports"] == [
        {"port": 80, "name": "http", "targetPort": 8080}
    ]
    pod = {"spec": {"containers": [{"name": "a", "ports": [{"containerPort": 80}]}]}}
    change = {"spec": {"containers": [{"name": "a", "ports": [{"containerPort": 80, "name": "http"}]}]}}
    assert strategic_merge(pod, change)["spec"]["containers"][0]["ports"] == [{"containerPort": 80, "name": "http"}]


def test_json_patch_operations():
    document = {"a": {"x/y": 1}, "l": [1, 2]}
    patched = json_patch(
        document,
        [
            {"op": "test", "path": "/a/x~1y", "value": 1},
            {"op": "replace", "path": "/a/x~1y", "value": 2},
            {"op": "add", "path": "/l/-", "value": 3},
            {"op": "add", "path": "/l/0", "value": 0},
            {"op": "remove", "path": "/l/1"},
            {"op": "copy", "from": "/l", "path": "/copied"},
            {"op": "move", "from": "/a", "path": "/moved"},
        ],
    )
    assert patched == {"l": [0, 2, 3], "copied": [0, 2, 3], "moved": {"x/y": 2}}
    assert document == {"a": {"x/y": 1}, "l": [1, 2]}


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "remove", "path": "/nowhere"},
        {"op": "remove", "path": "/l/1"},
        {"op": "remove", "path": "/l/x"},
        {"op": "replace", "path": "/nowhere", "value": 1},
        {"op": "replace", "path": "", "value": {"a": 1}},
        {"op": "add", "path": "/nowhere/deeper", "value": 1},
        {"op": "add", "path": "/l/2", "value": 1},
        {"op": "add", "path": "/b"},
        {"op": "add", "path": "b", "value": 1},
        {"op": "add", "path": 3, "value": 1},
        {"op": "copy", "from": "/nowhere", "path": "/b"},
        {"op": "copy", "from": "", "path": "/b"},
        {"op": "move", "from": "/nowhere", "path": "/b"},
        {"op": "copy", "path": "/b"},
        {"op": "test", "path": "/a", "value": 2},
        {"op": "test", "path": "/a", "value": True},
        {"op": "invent", "path": "/a"},
        {"path": "/a"},
        {},
    ],
)
def test_json_patch_that_does_not_apply_is_refused(operation):
    document = {"a": 1, "l": [0]}
    with pytest.raises(ApiError, match=r"^the server rejected our request due to an error in our request$") as refused:
        json_patch(document, [operation])
    # As on a cluster: nothing says which operation it was, or why.
    assert (refused.value.code, refused.value.reason, refused.value.details) == (422, "Invalid", {})
    assert document == {"a": 1, "l": [0]}


@pytest.mark.parametrize(
    ("patch", "said"),
    [
        ({"op": "remove"}, "json: cannot unmarshal object into Go value of type jsonpatch.Patch"),
        ("remove", "json: cannot unmarshal string into Go value of type jsonpatch.Patch"),
        (
            [{"op": "remove", "path": "/a"}, 7],
            "json: cannot unmarshal number into Go value of type jsonpatch.Operation",
        ),
    ],
)
def test_a_json_patch_of_another_form_is_a_bad_request(patch, said):
    with pytest.raises(ApiError) as refused:
        json_patch({"a": 1}, patch)
    assert (refused.value.code, refused.value.message) == (400, said)


def test_a_json_patch_has_a_largest_number_of_operations():
    operations = [{"op": "add", "path": "/a", "value": n} for n in range(10_000)]
    assert json_patch({}, operations) == {"a": 9_999}
    with pytest.raises(ApiError) as refused:
        json_patch({}, [*operations, operations[0]])
    assert (refused.value.code, refused.value.message) == (
        413,
        "Request entity too large: The allowed maximum operations in a JSON patch is 10000, got 10001",
    )


def test_the_copies_of_a_json_patch_have_a_largest_size():
    document = {"data": {"k": "x" * 1024**2}}
    twice = [{"op": "copy", "from": "/data/k", "path": f"/{n}"} for n in range(2)]
    assert json_patch(document, twice)["1"] == document["data"]["k"]
    doubled = [{"op": "copy", "from": "/data", "path": f"/data/{n}"} for n in range(100)]
    with pytest.raises(ApiError) as refused:
        json_patch(document, doubled)
    assert refused.value.code == 422
