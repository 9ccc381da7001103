"""What clients send is taken as the API's types take it: unknown fields go, wrong types are refused."""

from __future__ import annotations

import json

import pytest
import requests

from ekslab.kubernetes.objects import resources as r
from ekslab.kubernetes.objects.schema import TypeMismatch, decode


def test_unknown_fields_nulls_and_empty_lists_are_left_out():
    pod = {"metadata": {"name": "a", "annotations": None}, "spec": {"volumes": [], "containers": [{"imag": "x"}]}}
    decoded, unknown = decode(r.PODS, pod)
    assert decoded == {"metadata": {"name": "a"}, "spec": {"containers": [{}]}}
    assert unknown == ["spec.containers[0].imag"]


@pytest.mark.parametrize(
    ("resource", "obj", "said"),
    [
        (
            r.DEPLOYMENTS,
            {"spec": {"replicas": "2"}},
            "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32",
        ),
        (
            r.PODS,
            {"spec": {"containers": [{"env": [{"name": "A", "value": True}]}]}},
            "json: cannot unmarshal bool into Go struct field EnvVar.spec.containers.env.value of type string",
        ),
        (
            r.PODS,
            {"metadata": {"labels": {"a": 1}}},
            "json: cannot unmarshal number into Go struct field ObjectMeta.metadata.labels of type string",
        ),
        (
            r.PODS,
            {"spec": {"containers": {"name": "a"}}},
            "json: cannot unmarshal object into Go struct field PodSpec.spec.containers of type []v1.Container",
        ),
    ],
)
def test_wrong_types_are_refused_in_go_s_words(resource, obj, said):
    with pytest.raises(TypeMismatch) as error:
        decode(resource, obj)
    assert str(error.value) == said


@pytest.fixture
def post(running, namespace):
    """Sends an object that the official client would not."""

    def send(path: str, body: dict) -> requests.Response:
        return requests.post(
            f"{running.url}/api/v1/namespaces/{namespace}/{path}",
            json=body,
            headers={"Authorization": f"Bearer {running.credentials.kubernetes_token}"},
            verify=str(running.ca),
            timeout=10,
        )

    return send


def test_a_typo_is_a_warning_or_strictly_an_error(post):
    body = {"metadata": {"name": "a"}, "dat": {"k": "v"}}
    refused = post("configmaps?fieldValidation=Strict", body)
    assert refused.status_code == 400
    assert refused.json()["message"] == (
        'ConfigMap in version "v1" cannot be handled as a ConfigMap: strict decoding error: unknown field "dat"'
    )
    made = post("configmaps", body)
    assert made.status_code == 201
    assert made.headers["Warning"] == '299 - "unknown field \\"dat\\""'
    assert "dat" not in made.json()


def test_the_client_can_read_quantities_that_were_given_as_numbers(post, core, namespace, pod_manifest):
    body = pod_manifest("a", container={"resources": {"limits": {"cpu": 1, "memory": "64Mi"}}})
    assert post("pods", body).status_code == 201
    made = core.read_namespaced_pod("a", namespace)
    assert made.spec.containers[0].resources.limits == {"cpu": "1", "memory": "64Mi"}
    assert made.spec.containers[0].resources.requests == {"cpu": "1", "memory": "64Mi"}
    assert made.status.qos_class == "Guaranteed"


def test_kubectl_hears_of_a_typo(kubectl):
    manifest = json.dumps({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "dat": {"k": "v"}})
    refused = kubectl.run("apply", "-f", "-", stdin=manifest, check=False)
    assert 'strict decoding error: unknown field "dat"' in refused.stderr
