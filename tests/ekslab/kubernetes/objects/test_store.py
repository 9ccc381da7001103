"""The store numbers changes, tells them at once, and forgets the oldest."""

from __future__ import annotations

import pytest

from ekslab.kubernetes.objects import resources as r
from ekslab.kubernetes.objects.errors import ApiError
from ekslab.kubernetes.objects.store import Store


def config_map(name: str, **data: str) -> dict:
    return {"metadata": {"name": name, "namespace": "n"}, "data": data}


def test_listeners_hear_each_change_with_what_was_before():
    store, heard = Store(), []
    end = store.subscribe(lambda change: heard.append((change.type, change.previous and change.previous["data"])))
    store.put(r.CONFIG_MAPS, config_map("a", k="1"))
    store.put(r.CONFIG_MAPS, config_map("a", k="2"))
    store.remove(r.CONFIG_MAPS, config_map("a"))
    end()
    store.put(r.CONFIG_MAPS, config_map("b"))
    assert heard == [("ADDED", None), ("MODIFIED", {"k": "1"}), ("DELETED", {"k": "2"})]


def test_lists_are_ordered_and_namespaced():
    store = Store()
    for name in ("b", "a"):
        store.put(r.CONFIG_MAPS, config_map(name))
    store.put(r.CONFIG_MAPS, {"metadata": {"name": "c", "namespace": "m"}})
    assert [obj["metadata"]["name"] for obj in store.list(r.CONFIG_MAPS)] == ["c", "a", "b"]
    assert [obj["metadata"]["name"] for obj in store.list(r.CONFIG_MAPS, "n")] == ["a", "b"]


def test_changes_since_a_version_until_it_is_too_old():
    store = Store(history=2)
    first = int(store.put(r.CONFIG_MAPS, config_map("a"))["metadata"]["resourceVersion"])
    store.put(r.CONFIG_MAPS, config_map("b"))
    assert [change.object["metadata"]["name"] for change in store.since(r.CONFIG_MAPS, first)] == ["b"]
    assert store.since(r.SECRETS, first) == []
    for name in ("c", "d"):
        store.put(r.CONFIG_MAPS, config_map(name))
    with pytest.raises(ApiError) as error:
        store.since(r.CONFIG_MAPS, first)
    assert (error.value.code, error.value.reason) == (410, "Expired")
