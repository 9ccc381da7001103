"""The variables of a container."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import pytest

from ekslab.kubernetes.kubelet.environment import ConfigError, environment, expand, service_variables
from ekslab.kubernetes.kubelet.volumes import field_value
from ekslab.kubernetes.objects import resources as r
from ekslab.kubernetes.objects.store import Store

POD: dict[str, Any] = {
    "metadata": {
        "name": "p",
        "namespace": "n",
        "labels": {"b": "2", "a": 'say "hi"\n\\'},
        "annotations": {"x/y": "z"},
    },
    "spec": {"nodeName": "node", "containers": []},
    "status": {"podIP": "10.0.1.5", "podIPs": [{"ip": "10.0.1.5"}, {"ip": "::1"}]},
}


@pytest.fixture
def store() -> Store:
    store = Store()
    store.put(
        r.CONFIG_MAPS, {"metadata": {"name": "c", "namespace": "n"}, "data": {"A": "1"}, "binaryData": {"B": "Mg=="}}
    )
    secret = {"metadata": {"name": "s", "namespace": "n"}, "data": {"A": b64encode(b"hidden").decode()}}
    store.put(r.SECRETS, secret)
    web = [{"name": "a-b", "port": 80}, {"port": 53, "protocol": "UDP"}]
    for namespace, name, spec in (
        ("default", "kubernetes", {"clusterIP": "10.100.0.1", "ports": [{"name": "https", "port": 443}]}),
        ("n", "my-web", {"clusterIP": "10.100.0.9", "ports": web}),
        ("n", "headless", {"clusterIP": "None", "ports": [{"port": 80}]}),
        ("n", "portless", {"clusterIP": "10.100.0.8"}),
        ("other", "far", {"clusterIP": "10.100.0.7", "ports": [{"port": 80}]}),
    ):  # fmt: skip
        store.put(r.SERVICES, {"metadata": {"name": name, "namespace": namespace}, "spec": spec})
    return store


def test_references_expand_where_the_variable_exists() -> None:
    assert expand("$(A)-$$(A)-$(B)-$A-$", {"A": "1"}) == "1-$(A)-$(B)-$A-$"


def test_services_are_found_by_variables(store: Store) -> None:
    assert service_variables(store, "n", links=True) == {
        "KUBERNETES_SERVICE_HOST": "10.100.0.1",
        "KUBERNETES_SERVICE_PORT": "443",
        "KUBERNETES_SERVICE_PORT_HTTPS": "443",
        "KUBERNETES_PORT": "tcp://10.100.0.1:443",
        "KUBERNETES_PORT_443_TCP": "tcp://10.100.0.1:443",
        "KUBERNETES_PORT_443_TCP_PROTO": "tcp",
        "KUBERNETES_PORT_443_TCP_PORT": "443",
        "KUBERNETES_PORT_443_TCP_ADDR": "10.100.0.1",
        "MY_WEB_SERVICE_HOST": "10.100.0.9",
        "MY_WEB_SERVICE_PORT": "80",
        "MY_WEB_SERVICE_PORT_A_B": "80",
        "MY_WEB_PORT": "tcp://10.100.0.9:80",
        "MY_WEB_PORT_80_TCP": "tcp://10.100.0.9:80",
        "MY_WEB_PORT_80_TCP_PROTO": "tcp",
        "MY_WEB_PORT_80_TCP_PORT": "80",
        "MY_WEB_PORT_80_TCP_ADDR": "10.100.0.9",
        "MY_WEB_PORT_53_UDP": "udp://10.100.0.9:53",
        "MY_WEB_PORT_53_UDP_PROTO": "udp",
        "MY_WEB_PORT_53_UDP_PORT": "53",
        "MY_WEB_PORT_53_UDP_ADDR": "10.100.0.9",
    }
    assert all(name.startswith("KUBERNETES_") for name in service_variables(store, "n", links=False))
    assert service_variables(store, "n", links=False)["KUBERNETES_PORT"] == "tcp://10.100.0.1:443"


def variables(store: Store, *env: dict[str, Any], **container: Any) -> dict[str, str]:
    """Those that the container itself sets."""
    found = environment({"env": list(env), **container}, POD, store)
    return {name: value for name, value in found.items() if not name.startswith(("KUBERNETES_", "MY_WEB_"))}


def test_values_come_from_where_the_container_says(store: Store) -> None:
    resources = {"limits": {"memory": "64Mi"}, "requests": {"cpu": "50m"}}
    env = [
        {"name": "EMPTY"},
        {"name": "HOST", "value": "$(MY_WEB_SERVICE_HOST)"},
        {"name": "MEMORY", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory"}}},
        {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "requests.cpu"}}},
        {"name": "UNSET", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
        {"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "A"}}},
        {"name": "GONE", "valueFrom": {"configMapKeyRef": {"name": "nope", "key": "A", "optional": True}}},
    ]
    from_ = [
        {"configMapRef": {"name": "c"}},
        {"prefix": "S_", "secretRef": {"name": "s"}},
        {"secretRef": {"name": "x", "optional": True}},
    ]
    assert variables(store, *env, envFrom=from_, resources=resources) == {
        "A": "hidden",  # what `env` says goes before what `envFrom` brings
        "B": "2",
        "S_A": "hidden",
        "EMPTY": "",
        "HOST": "10.100.0.9",
        "MEMORY": "64Mi",
        "CPU": "50m",
        "UNSET": "0",
    }


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ({"configMapKeyRef": {"name": "c", "key": "nope"}}, "couldn't find key nope in ConfigMap n/c"),
        ({"secretKeyRef": {"name": "s", "key": "nope"}}, "couldn't find key nope in Secret n/s"),
        ({"configMapKeyRef": {"name": "nope", "key": "A"}}, 'configmap "nope" not found'),
        ({"secretKeyRef": {"name": "nope", "key": "A"}}, 'secret "nope" not found'),
    ],
)
def test_what_is_missing_is_a_config_error(store: Store, reference: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as error:
        variables(store, {"name": "X", "valueFrom": reference})
    assert str(error.value) == said


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("metadata.name", "p"),
        ("spec.nodeName", "node"),
        ("metadata.labels['b']", "2"),
        ("metadata.labels['nope']", ""),
        ("metadata.annotations['x/y']", "z"),
        ("metadata.labels", 'a="say \\"hi\\"\\n\\\\"\nb="2"'),
        ("metadata.annotations", 'x/y="z"'),
        ("status.podIPs", "10.0.1.5,::1"),
        ("status.hostIPs", ""),
        ("status.phase", ""),
        ("metadata.name.deeper", ""),
    ],
)
def test_fields_of_the_downward_api(path: str, value: str) -> None:
    assert field_value(POD, path) == value
