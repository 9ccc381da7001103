"""Who set which field is known, and whoever applies over somebody else's value hears about it."""

from __future__ import annotations

import copy

import pytest

from ekslab.kubernetes.objects.errors import ApiError
from ekslab.kubernetes.objects.managed_fields import Manager, server_side_apply, track_update


def apply(live, applied, manager, *, force=False):
    who = Manager(manager, "Apply", "apps/v1")
    return server_side_apply(live, applied, who, force=force, now="2026-01-01T00:00:00Z", complete=lambda _: None)


def deployment(**spec):
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"}, "spec": spec}


def managers(obj):
    return {entry["manager"]: entry["fieldsV1"] for entry in obj["metadata"]["managedFields"]}


def test_an_update_owns_what_it_changed_and_the_former_owner_loses_it():
    first = deployment(replicas=1, paused=False)
    track_update(None, first, Manager("alice", "Update", "apps/v1"), "t1")
    second = copy.deepcopy(first)
    second["spec"]["replicas"] = 3
    track_update(first, second, Manager("bob", "Update", "apps/v1"), "t2")
    assert managers(second) == {"alice": {"f:spec": {"f:paused": {}}}, "bob": {"f:spec": {"f:replicas": {}}}}


def test_applying_over_another_value_is_a_conflict_that_names_field_and_owner():
    live = apply(None, deployment(replicas=1), "alice")
    with pytest.raises(ApiError) as refused:
        apply(live, deployment(replicas=2), "bob")
    assert refused.value.code == 409
    assert refused.value.message == 'Apply failed with 1 conflict: conflict with "alice" using apps/v1: .spec.replicas'
    assert refused.value.details["causes"][0]["field"] == ".spec.replicas"


def test_several_conflicts_are_listed():
    live = apply(None, deployment(replicas=1, paused=False), "alice")
    with pytest.raises(ApiError) as refused:
        apply(live, deployment(replicas=2, paused=True), "bob")
    assert refused.value.message == (
        'Apply failed with 2 conflicts: conflicts with "alice" using apps/v1:\n- .spec.paused\n- .spec.replicas'
    )


def test_forced_apply_takes_the_field_over():
    live = apply(None, deployment(replicas=1), "alice")
    taken = apply(live, deployment(replicas=2), "bob", force=True)
    assert taken["spec"]["replicas"] == 2
    assert set(managers(taken)) == {"bob"}


def test_the_same_value_is_shared():
    live = apply(None, deployment(replicas=1), "alice")
    shared = apply(live, deployment(replicas=1), "bob")
    assert set(managers(shared)) == {"alice", "bob"}


def test_what_is_no_longer_applied_goes_unless_another_wants_it():
    containers = [{"name": "a", "image": "a", "env": [{"name": "X", "value": "1"}]}]
    live = apply(None, deployment(template={"spec": {"containers": containers}}, replicas=1), "alice")
    live = apply(live, deployment(replicas=1), "bob")
    live["spec"]["foreign"] = True
    left = apply(live, deployment(template={"spec": {"containers": [{"name": "a", "image": "a"}]}}), "alice")
    assert left["spec"]["template"]["spec"]["containers"][0].get("env", []) == []
    assert left["spec"]["replicas"] == 1
    assert left["spec"]["foreign"] is True


def test_items_of_keyed_lists_are_owned_one_by_one():
    live = apply(None, deployment(template={"spec": {"containers": [{"name": "a", "image": "a:1"}]}}), "alice")
    merged = apply(live, deployment(template={"spec": {"containers": [{"name": "b", "image": "b:1"}]}}), "bob")
    assert [c["name"] for c in merged["spec"]["template"]["spec"]["containers"]] == ["a", "b"]


def test_applying_twice_changes_nothing():
    live = apply(None, deployment(replicas=1), "alice")
    assert apply(live, deployment(replicas=1), "alice") == live


def times(obj):
    return {entry["manager"]: entry["time"] for entry in obj["metadata"]["managedFields"]}


def test_another_value_of_the_same_fields_has_the_time_of_the_change():
    alice = Manager("alice", "Apply", "apps/v1")

    def applied(live, replicas, now):
        return server_side_apply(
            live, deployment(replicas=replicas), alice, force=False, now=now, complete=lambda _: None
        )

    live = applied(None, 1, "t1")
    assert times(applied(live, 1, "t2")) == {"alice": "t1"}
    assert times(applied(live, 2, "t2")) == {"alice": "t2"}
    updated = deployment(replicas=1)
    track_update(None, updated, Manager("bob", "Update", "apps/v1"), "t1")
    for replicas, time in ((1, "t1"), (2, "t2")):
        after = copy.deepcopy(updated)
        after["spec"]["replicas"] = replicas
        track_update(updated, after, Manager("bob", "Update", "apps/v1"), "t2")
        assert times(after) == {"bob": time}
