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


def test_all_objects_have_a_largest_size():
    store = Store()
    store.put(r.CONFIG_MAPS, config_map("a", k="x" * 1000))
    size = store.size
    assert size > 1000
    store.put(r.CONFIG_MAPS, config_map("a", k="x" * 500))
    assert store.size == size - 500
    store.remove(r.CONFIG_MAPS, config_map("a"))
    assert store.size == 0
    with pytest.raises(ApiError, match=r"^etcdserver: request is too large$"):
        store.put(r.CONFIG_MAPS, config_map("a", k="x" * 1536 * 1024))
    for number in range(33):
        store.put(r.CONFIG_MAPS, config_map(f"m{number}", k="x" * 1_000_000))
    with pytest.raises(ApiError, match=r"^etcdserver: mvcc: database space exceeded$"):
        store.put(r.CONFIG_MAPS, config_map("new", k="x" * 1_000_000))
    store.put(r.CONFIG_MAPS, config_map("m0", k="y" * 1_000_001))  # what is there may still change


def test_a_watch_looks_back_only_so_many_bytes():
    store = Store()
    first = int(store.put(r.CONFIG_MAPS, config_map("a"))["metadata"]["resourceVersion"])
    for _ in range(18):
        store.put(r.CONFIG_MAPS, config_map("b", k="x" * 1_000_000))
    with pytest.raises(ApiError, match=f"^too old resource version: {first} "):
        store.since(r.CONFIG_MAPS, first)
