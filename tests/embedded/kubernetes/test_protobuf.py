"""The protobuf bodies of newer kubectls are read, and what isn't known in them is refused."""

from __future__ import annotations

import pytest
import requests

from labkit.embedded.kubernetes.errors import ApiError
from labkit.embedded.kubernetes.protobuf import MAGIC, decode


def field(number: int, value: bytes | str | int) -> bytes:
    """One field, as protobuf writes it."""
    if isinstance(value, int):
        return bytes((number << 3, value))
    data = value.encode() if isinstance(value, str) else value
    return bytes((number << 3 | 2, len(data))) + data


def body(api_version: str, kind: str, message: bytes) -> bytes:
    return MAGIC + field(1, field(1, api_version) + field(2, kind)) + field(2, message)


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


def test_what_is_not_known_is_refused_and_not_lost():
    with pytest.raises(ApiError, match="doesn't read kind Gadget in protobuf") as error:
        decode(body("v1", "Gadget", b""))
    assert error.value.code == 415
    with pytest.raises(ApiError, match="field 9 of ConfigMap"):
        decode(body("v1", "ConfigMap", CONFIG_MAP + field(9, "x")))


def test_garbage_is_a_bad_request():
    with pytest.raises(ApiError) as error:
        decode(body("v1", "ConfigMap", field(1, 1))[:-1])
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
