"""Patches change what they name and nothing else."""

from __future__ import annotations

from ekslab.kubernetes.objects.patch import merge_patch, strategic_merge

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


def test_an_item_of_a_list_may_say_that_the_others_are_the_whole_list():
    patch = {"containers": [{"name": "a", "$patch": "replace"}, {"name": "c", "image": "3"}]}
    assert strategic_merge(POD["spec"], patch)["containers"] == [{"name": "c", "image": "3"}]
