"""Requests that the API server hands on to pods and services, and what a metrics server says of pods."""

from __future__ import annotations

import pytest
import requests
from kubernetes import client
from kubernetes.client.exceptions import ApiException


@pytest.fixture
def web(core, namespace, pod_manifest, eventually):
    """A pod behind a service, which is ready."""
    container = {"ports": [{"name": "http", "containerPort": 80}]}
    manifest = pod_manifest("web", container=container)
    manifest["metadata"]["labels"] = {"app": "web"}
    core.create_namespaced_pod(namespace, manifest)
    ports = [{"name": "web", "port": 8080, "targetPort": "http"}, {"name": "none", "port": 8081, "targetPort": 81}]
    core.create_namespaced_service(
        namespace, {"metadata": {"name": "web"}, "spec": {"selector": {"app": "web"}, "ports": ports}}
    )
    eventually(lambda: (core.read_namespaced_endpoints("web", namespace).subsets or [None])[0])


@pytest.fixture
def ask(running, namespace):
    def send(path, method="GET"):
        return requests.request(
            method,
            f"{running.url}/api/v1/namespaces/{namespace}/{path}",
            headers={"Authorization": f"Bearer {running.credentials.kubernetes_token}"},
            verify=str(running.ca),
            timeout=10,
        )

    return send


@pytest.mark.parametrize(
    ("path", "status", "text"),
    [
        ("pods/web/proxy/", 200, "hello from web"),
        ("pods/web:80/proxy/any/path?a=b", 200, "hello from web"),
        ("pods/http:web:http/proxy", 200, "hello from web"),
        ("pods/web:80/proxy/broken", 500, ""),
        ("pods/web:81/proxy/", 503, "error trying to reach service: dial tcp 10."),
        ("pods/no/proxy/", 404, "not found"),
        ("services/web:web/proxy/", 200, "hello from web"),
        ("services/web:8080/proxy/x", 200, "hello from web"),
        ("services/web:none/proxy/", 503, ":81: connect: connection refused"),
        ("services/web/proxy/", 503, "no service port"),
        ("services/ftp:web:80/proxy/", 400, "invalid service request"),
        ("services/no/proxy/", 404, "not found"),
    ],
)
def test_a_request_is_handed_on(web, ask, path, status, text):
    answer = ask(path)
    assert answer.status_code == status
    assert text in answer.text


def test_a_service_without_pods_has_no_endpoints(core, namespace, ask):
    core.create_namespaced_service(
        namespace, {"metadata": {"name": "alone"}, "spec": {"selector": {"app": "no"}, "ports": [{"port": 80}]}}
    )
    answer = ask("services/alone/proxy/")
    assert answer.status_code == 503
    assert 'no endpoints available for service "alone"' in answer.json()["message"]


def test_the_body_of_a_proxied_request_is_not_read_as_an_object(running, web, namespace):
    url = f"{running.url}/api/v1/namespaces/{namespace}/pods/web/proxy/"
    headers = {"Authorization": f"Bearer {running.credentials.kubernetes_token}"}
    assert requests.post(url, b"[" * 1000, headers=headers, verify=str(running.ca), timeout=10).status_code == 200


def test_metrics_of_pods_and_nodes(core, api, namespace, pod_manifest, eventually):
    core.create_namespaced_pod(namespace, pod_manifest("busy", "forever"))
    core.create_namespaced_pod(namespace, pod_manifest("ended", "exit", "0", restartPolicy="Never"))
    eventually(lambda: core.read_namespaced_pod("ended", namespace).status.phase == "Succeeded")
    eventually(lambda: core.read_namespaced_pod("busy", namespace).status.phase == "Running")
    metrics = client.CustomObjectsApi(api)

    def pods():
        return metrics.list_namespaced_custom_object("metrics.k8s.io", "v1beta1", namespace, "pods")["items"]

    def processors():
        (pod,) = pods()
        return int(pod["containers"][0]["usage"]["cpu"].removesuffix("n"))

    assert [pod["metadata"]["name"] for pod in pods()] == ["busy"]
    eventually(lambda: processors() > 0)
    assert int(pods()[0]["containers"][0]["usage"]["memory"].removesuffix("Ki")) >= 3456
    nodes = metrics.list_cluster_custom_object("metrics.k8s.io", "v1beta1", "nodes")["items"]
    assert {node["metadata"]["name"] for node in nodes} == {n.metadata.name for n in core.list_node().items}
    assert max(int(node["usage"]["memory"].removesuffix("Ki")) for node in nodes) >= 3456
    one = metrics.get_namespaced_custom_object("metrics.k8s.io", "v1beta1", namespace, "pods", "busy")
    assert one["kind"] == "PodMetrics"
    with pytest.raises(ApiException) as missing:
        metrics.get_namespaced_custom_object("metrics.k8s.io", "v1beta1", namespace, "pods", "ended")
    assert missing.value.status == 404
