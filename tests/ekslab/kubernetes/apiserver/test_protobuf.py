"""The protobuf bodies of client-go's typed clients are read, and what isn't known in them is refused."""

from __future__ import annotations

import pytest
import requests

from ekslab.kubernetes.apiserver.protobuf import MAGIC, decode
from ekslab.kubernetes.objects.errors import ApiError
from ekslab.kubernetes.objects.resources import RESOURCES


def field(number: int, value: bytes | str | int) -> bytes:
    """One field, as protobuf writes it."""
    if isinstance(value, int):
        return bytes((number << 3, value))
    data = value.encode() if isinstance(value, str) else value
    return bytes((number << 3 | 2, len(data))) + data


def body(api_version: str, kind: str, message: bytes) -> bytes:
    return MAGIC + field(1, field(1, api_version) + field(2, kind)) + field(2, message)


SECONDS = b"\x80\x84\x8e\xd8\x06"  # 2026-11-23T00:00:00Z as a varint
CONFIG_MAP = field(1, field(1, "a") + field(8, b"")) + field(2, field(1, "key") + field(2, "value"))


def test_maps_lists_and_numbers():
    assert decode(body("v1", "ConfigMap", CONFIG_MAP)) == {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "a"},
        "data": {"key": "value"},
    }
    port = field(2, "TCP") + field(3, 80) + field(4, field(1, 1) + field(3, "http"))
    service = field(1, field(1, "web")) + field(2, field(1, port) + field(4, "ClusterIP"))
    assert decode(body("v1", "Service", service))["spec"] == {
        "ports": [{"protocol": "TCP", "port": 80, "targetPort": "http"}],
        "type": "ClusterIP",
    }
    secret = field(1, field(1, "s")) + field(2, field(1, "k") + field(2, b"v"))
    assert decode(body("v1", "Secret", secret))["data"] == {"k": "dg=="}


def test_zeros_that_json_would_have_are_kept():
    spec = field(1, 0) + field(2, field(1, field(1, "app") + field(2, "a"))) + field(5, 0) + field(7, 0)
    made = decode(body("apps/v1", "Deployment", field(1, field(1, "a")) + field(2, spec)))
    assert made["spec"] == {"replicas": 0, "selector": {"matchLabels": {"app": "a"}}}
    options = field(1, 0) + field(2, field(1, "u")) + field(4, "Orphan") + field(5, "All")
    wanted = {"gracePeriodSeconds": 0, "preconditions": {"uid": "u"}, "propagationPolicy": "Orphan", "dryRun": ["All"]}
    for api_version in ("v1", "apps/v1", "meta.k8s.io/v1"):
        assert decode(body(api_version, "DeleteOptions", options)) == {
            "apiVersion": api_version,
            "kind": "DeleteOptions",
            **wanted,
        }


def test_inlined_messages_times_quantities_and_lists_in_maps():
    volume = field(1, "v") + field(2, field(6, field(1, "s")))
    container = field(1, "c") + field(8, field(1, field(1, "cpu") + field(2, field(1, "1500m"))))
    meta = field(1, "a") + field(9, bytes((1 << 3,)) + SECONDS)
    spec = field(1, volume) + field(2, container) + bytes((18 << 3 & 0x7F | 0x82, 1, 2)) + field(2, b"")
    assert decode(body("v1", "Pod", field(1, meta) + field(2, spec))) == {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "a", "deletionTimestamp": "2026-11-23T00:00:00Z"},
        "spec": {
            "volumes": [{"name": "v", "secret": {"secretName": "s"}}],
            "containers": [{"name": "c", "resources": {"limits": {"cpu": "1500m"}}}],
            "affinity": {"podAffinity": {}},
        },
    }
    extra = field(5, field(1, "scopes") + field(2, field(1, "a") + field(1, "b")))
    review = decode(body("authorization.k8s.io/v1", "SubjectAccessReview", field(2, field(3, "ann") + extra)))
    assert review["spec"] == {"user": "ann", "extra": {"scopes": ["a", "b"]}}


@pytest.mark.parametrize("resource", RESOURCES, ids=lambda resource: resource.kind)
def test_every_kind_that_is_served_is_read(resource):
    made = decode(body(resource.api_version, resource.kind, field(1, field(1, "a"))))
    assert made == {"apiVersion": resource.api_version, "kind": resource.kind, "metadata": {"name": "a"}}


def test_what_is_not_known_is_refused_and_not_lost():
    with pytest.raises(ApiError, match="doesn't read kind Gadget of v1 in protobuf") as error:
        decode(body("v1", "Gadget", b""))
    assert error.value.code == 415
    with pytest.raises(ApiError, match=r"field 9 of core/v1\.ConfigMap"):
        decode(body("v1", "ConfigMap", CONFIG_MAP + field(9, "x")))


def test_garbage_is_a_bad_request():
    endless = b"\x80" * 100_000
    for data in (body("v1", "ConfigMap", field(1, 1))[:-1], MAGIC + endless, MAGIC + b"\x0a\xff\x01"):
        with pytest.raises(ApiError) as error:
            decode(data)
        assert error.value.code == 400


def test_the_server_takes_them(running, core, namespace):
    answer = requests.post(
        f"{running.url}/api/v1/namespaces/{namespace}/configmaps",
        data=body("v1", "ConfigMap", CONFIG_MAP),
        headers={
            "Authorization": f"Bearer {running.credentials.kubernetes_token}",
            "Content-Type": "application/vnd.kubernetes.protobuf",
        },
        verify=str(running.ca),
        timeout=10,
    )
    assert answer.status_code == 201
    assert core.read_namespaced_config_map("a", namespace).data == {"key": "value"}
