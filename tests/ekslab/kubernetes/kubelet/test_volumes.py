"""The volumes of a pod, without a kubelet."""

from __future__ import annotations

from typing import Any

import pytest

from ekslab.identity import ServiceAccountIssuer
from ekslab.kubernetes.kubelet.volumes import MountError, Volumes
from ekslab.kubernetes.objects import resources as r
from ekslab.kubernetes.objects.store import Store
from ekslab.node import EmptyDir, Files, HostPath, ImageRegistry, Network, Node


@pytest.fixture
def store() -> Store:
    store = Store()
    store.put(r.CONFIG_MAPS, {"metadata": {"name": "c", "namespace": "n"}, "data": {"a": "1", "b": "2"}})
    store.put(r.SECRETS, {"metadata": {"name": "s", "namespace": "n"}, "data": {"k": "dg=="}})
    store.put(r.SERVICE_ACCOUNTS, {"metadata": {"name": "robot", "namespace": "n", "uid": "u1"}})
    return store


class Clock:
    now = 1_795_407_615.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def issuer() -> ServiceAccountIssuer:
    return ServiceAccountIssuer("https://issuer.example")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def node() -> Node:
    return Node("node", network=Network(), images=ImageRegistry([]))


@pytest.fixture
def volumes(store: Store, issuer: ServiceAccountIssuer, clock: Clock, node: Node) -> Any:
    """Volumes of a pod that are set up."""

    def make(*volumes: dict[str, Any]) -> Volumes:
        metadata = {"name": "p", "namespace": "n", "uid": "u", "labels": {"x": "y"}}
        pod = {"metadata": metadata, "spec": {"volumes": list(volumes), "serviceAccountName": "robot"}}
        made = Volumes(pod, store, issuer, node.filesystem, clock)
        made.set_up()
        return made

    return make


def content(volumes: Volumes, name: str = "v") -> dict[str, bytes]:
    (mount,) = volumes.mounts({"volumeMounts": [{"name": name, "mountPath": "/m"}]})
    assert isinstance(mount.source, Files)
    return dict(mount.source.content)


@pytest.mark.parametrize(
    ("volume", "files"),
    [
        ({"configMap": {"name": "c"}}, {"a": b"1", "b": b"2"}),
        ({"configMap": {"name": "c", "items": [{"key": "a", "path": "x/y"}]}}, {"x/y": b"1"}),
        ({"configMap": {"name": "c", "optional": True, "items": [{"key": "z", "path": "z"}]}}, {}),
        ({"configMap": {"name": "none", "optional": True}}, {}),
        ({"secret": {"secretName": "s"}}, {"k": b"v"}),
        (
            {"downwardAPI": {"items": [{"path": "l", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
            {"l": b'x="y"'},
        ),
        (
            {"projected": {"sources": [
                {"configMap": {"name": "c", "items": [{"key": "a", "path": "a"}]}},
                {"secret": {"name": "s"}},
                {"downwardAPI": {"items": [{"path": "n", "fieldRef": {"fieldPath": "metadata.name"}}]}},
            ]}},
            {"a": b"1", "k": b"v", "n": b"p"},
        ),
    ],
)  # fmt: skip
def test_files(volumes: Any, volume: dict[str, Any], files: dict[str, bytes]) -> None:
    assert content(volumes({"name": "v", **volume})) == files


@pytest.mark.parametrize(
    ("volume", "said"),
    [
        ({"configMap": {"name": "none"}}, 'configmap "none" not found'),
        ({"secret": {"secretName": "none"}}, 'secret "none" not found'),
        (
            {"configMap": {"name": "c", "items": [{"key": "z", "path": "z"}]}},
            "configmap references non-existent config key: z",
        ),
        (
            {"secret": {"secretName": "s", "items": [{"key": "z", "path": "z"}]}},
            "secret references non-existent secret key: z",
        ),
        ({"hostPath": {"path": "/none", "type": "Directory"}}, "hostPath type check failed: /none is not a directory"),
        ({"hostPath": {"path": "/none", "type": "File"}}, "hostPath type check failed: /none is not a file"),
        ({"hostPath": {"path": "/none", "type": "Socket"}}, "hostPath type check failed: /none is not a socket file"),
        ({"nfs": {}}, "no volume plugin matched name: nfs volumes don't exist in the embedded cluster"),
    ],
)
def test_what_cannot_be_mounted_is_said_in_the_kubelet_s_words(volumes: Any, volume: dict[str, Any], said: str) -> None:
    with pytest.raises(MountError) as error:
        volumes({"name": "v", **volume})
    assert str(error.value) == f'MountVolume.SetUp failed for volume "v" : {said}'


def test_paths_of_the_host_are_made_where_they_may_be(volumes: Any, node: Node) -> None:
    made = volumes(
        {"name": "d", "hostPath": {"path": "/new/d", "type": "DirectoryOrCreate"}},
        {"name": "f", "hostPath": {"path": "/new/d/f", "type": "FileOrCreate"}},
        {"name": "e", "emptyDir": {}},
    )
    names = ("d", "f", "e")
    mounts = made.mounts({"volumeMounts": [{"name": n, "mountPath": f"/{n}", "readOnly": n == "d"} for n in names]})
    assert [type(mount.source) for mount in mounts] == [HostPath, HostPath, EmptyDir]
    assert [mount.read_only for mount in mounts] == [True, False, False]
    assert node.filesystem.read_text("/new/d/f") == ""


def test_files_follow_their_source_and_stay_when_it_is_gone(volumes: Any, store: Store) -> None:
    volume = {"name": "v", "configMap": {"name": "c"}}
    pod = {"metadata": {"name": "p", "namespace": "n"}, "spec": {"volumes": [volume]}}
    made = volumes(volume)
    changed = {"metadata": {"name": "c", "namespace": "n"}, "data": {"a": "3"}}
    store.put(r.CONFIG_MAPS, changed)
    made.refresh(pod)
    assert content(made) == {"a": b"3"}
    store.remove(r.CONFIG_MAPS, changed)
    made.refresh(pod)
    assert content(made) == {"a": b"3"}


def test_a_token_is_renewed_when_four_fifths_of_its_life_are_over(
    volumes: Any, issuer: ServiceAccountIssuer, clock: Clock
) -> None:
    source = {"serviceAccountToken": {"path": "token", "audience": "sts", "expirationSeconds": 1000}}
    volume = {"name": "v", "projected": {"sources": [source]}}
    made = volumes(volume)
    spec = {"volumes": [volume], "serviceAccountName": "robot"}
    pod = {"metadata": {"name": "p", "namespace": "n", "uid": "u"}, "spec": spec}
    first = content(made)["token"]
    clock.now += 799
    made.refresh(pod)
    assert content(made)["token"] == first
    clock.now += 1
    made.refresh(pod)
    assert content(made)["token"] != first
