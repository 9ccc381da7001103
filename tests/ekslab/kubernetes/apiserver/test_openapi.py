"""OpenAPI documents: what `kubectl explain`, `apply` and `--validate` read of them."""

from __future__ import annotations

from typing import Any

import pytest
import requests

from ekslab.kubernetes.apiserver import openapi
from ekslab.kubernetes.apiserver.descriptions import describe
from ekslab.kubernetes.objects.resources import LACKED, RESOURCES
from ekslab.kubernetes.objects.schema import documented, types


@pytest.fixture(scope="module")
def documents(running) -> dict[str, Any]:
    """The documents, by the paths that the index has, fetched as kubectl does."""

    def get(path: str) -> Any:
        headers = {"Authorization": f"Bearer {running.credentials.kubernetes_token}"}
        answer = requests.get(running.url + path, headers=headers, verify=str(running.ca), timeout=30)
        assert answer.status_code == 200
        return answer.json()

    index = get("/openapi/v3")
    return {path: get(entry["serverRelativeURL"]) for path, entry in index["paths"].items()}


@pytest.fixture(scope="module")
def schemas(documents) -> dict[str, Any]:
    return {
        name: schema for document in documents.values() for name, schema in document["components"]["schemas"].items()
    }


def test_every_group_has_a_document_and_every_kind_a_schema(documents):
    assert set(documents) >= {"api/v1", "apis/apps/v1", "apis/batch/v1", "apis/rbac.authorization.k8s.io/v1"}
    kinds = [
        (kind["group"], kind["version"], kind["kind"])
        for document in documents.values()
        for schema in document["components"]["schemas"].values()
        for kind in schema.get("x-kubernetes-group-version-kind", ())
    ]
    assert sorted(kinds) == sorted((r.group, r.version, r.kind) for r in (*RESOURCES, *LACKED))


def test_references_lead_somewhere_in_the_same_document(documents):
    def references(value: Any) -> list[str]:
        if isinstance(value, dict):
            return [r for k, v in value.items() for r in ([v] if k == "$ref" else references(v))]
        return [r for v in value for r in references(v)] if isinstance(value, list) else []

    for document in documents.values():
        names = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
        assert set(references(document)) <= names


def test_every_type_and_field_is_described(schemas):
    missing = [name for name, schema in schemas.items() if not schema.get("description")]
    for name, schema in schemas.items():
        missing += [f"{name}.{f}" for f, p in schema.get("properties", {}).items() if not p.get("description")]
    assert missing == []


def test_fields_have_the_forms_that_explain_shows(schemas):
    pod, container = schemas["io.k8s.api.core.v1.PodSpec"], schemas["io.k8s.api.core.v1.Container"]
    assert pod["required"] == ["containers"]
    assert pod["properties"]["restartPolicy"]["enum"] == ["Always", "Never", "OnFailure"]
    assert container["required"] == ["name"]
    limits = schemas["io.k8s.api.core.v1.ResourceRequirements"]["properties"]["limits"]
    reference = {"$ref": "#/components/schemas/io.k8s.apimachinery.pkg.api.resource.Quantity"}
    assert limits["additionalProperties"]["allOf"] == [reference]
    port = schemas["io.k8s.api.core.v1.ServicePort"]["properties"]["targetPort"]
    assert port["allOf"][0]["$ref"].endswith(".IntOrString")
    metadata = schemas["io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"]["properties"]
    assert metadata["creationTimestamp"]["format"] == "date-time"
    assert schemas["io.k8s.api.networking.v1.IPBlock"]["properties"]["except"]["type"] == "array"
    assert schemas["io.k8s.api.discovery.v1.EndpointPort"]


def test_lists_are_merged_by_the_keys_that_the_server_merges_by(schemas):
    container = schemas["io.k8s.api.core.v1.Container"]["properties"]
    keys = {name: field.get("x-kubernetes-patch-merge-key") for name, field in container.items()}
    assert {name: key for name, key in keys.items() if key} == {
        "env": "name",
        "ports": "containerPort",
        "volumeDevices": "devicePath",
        "volumeMounts": "mountPath",
    }
    assert schemas["io.k8s.api.core.v1.ServiceSpec"]["properties"]["ports"]["x-kubernetes-patch-merge-key"] == "port"


def test_patches_say_what_they_take(documents):
    paths = documents["apis/apps/v1"]["paths"]
    patch = paths["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"]
    assert {"fieldValidation", "dryRun"} <= {parameter["name"] for parameter in patch["parameters"]}
    assert "application/strategic-merge-patch+json" in patch["requestBody"]["content"]
    assert patch["x-kubernetes-group-version-kind"] == {"group": "apps", "kind": "Deployment", "version": "v1"}
    assert "/api/v1/nodes/{name}" in documents["api/v1"]["paths"]


def test_an_unknown_document_is_not_found(running):
    headers = {"Authorization": f"Bearer {running.credentials.kubernetes_token}"}
    for path in ("/openapi/v3/apis/nosuch/v1", "/openapi/v3/api/v1/x", "/openapi/v3/"):
        answer = requests.get(running.url + path, headers=headers, verify=str(running.ca), timeout=30)
        assert answer.status_code in (200, 404)
        assert answer.status_code == 404 or path.endswith("v3/")
    assert requests.get(f"{running.url}/openapi/v3/api/v1", verify=str(running.ca), timeout=30).status_code == 401
    assert openapi.document("nosuch") is None


def test_what_the_cluster_s_version_has_not_is_no_field():
    assert "schedulingGroup" not in types()["PodSpec"]
    assert "schedulingGroup" in documented("PodSpec")["later"]


def test_descriptions_of_models_of_either_form():
    about, fields = describe("Container")
    assert about == "" or about.startswith("A single application container")
    assert fields["env"].startswith("List of environment variables to set in the container.")
    assert describe("NoSuchType") == ("", {})


def _messages(data: bytes) -> list[tuple[int, bytes]]:
    """The fields of a protobuf message in which all are texts or messages."""

    def number(position: int) -> tuple[int, int]:
        value = shift = 0
        while True:
            byte = data[position]
            value |= (byte & 0x7F) << shift
            position, shift = position + 1, shift + 7
            if byte < 0x80:
                return value, position

    found, position = [], 0
    while position < len(data):
        key, position = number(position)
        assert key & 7 == 2
        length, position = number(position)
        found.append((key >> 3, data[position : position + length]))
        position += length
    return found


def test_version_2_is_there_in_protobuf(running, schemas):
    headers = {"Authorization": f"Bearer {running.credentials.kubernetes_token}"}
    answer = requests.get(f"{running.url}/openapi/v2", headers=headers, verify=str(running.ca), timeout=30)
    assert answer.headers["Content-Type"].startswith("application/com.github.proto-openapi.spec.v2.v1.0+protobuf")
    document = dict(_messages(answer.content))
    assert document[1] == b"2.0"
    named = [dict(_messages(entry)) for _, entry in _messages(document[9])]
    definitions = {entry[1].decode(): entry[2] for entry in named}
    assert set(definitions) == set(schemas)
    pod = _messages(definitions["io.k8s.api.core.v1.PodSpec"])
    assert (19, b"containers") in pod
    named = [dict(_messages(entry)) for _, entry in _messages(dict(pod)[25])]
    properties = {entry[1]: _messages(entry[2]) for entry in named}
    assert (1, b"#/definitions/io.k8s.api.core.v1.Affinity") in properties[b"affinity"]
    assert (22, b"\n\x06string") in properties[b"restartPolicy"]
    assert b"x-kubernetes-patch-merge-key" in definitions["io.k8s.api.core.v1.Container"]


def test_the_hash_changes_with_what_a_document_says(monkeypatch):
    before = openapi.index()["paths"]["api/v1"]
    assert openapi.index()["paths"]["api/v1"] == before
    openapi._hash.cache_clear()
    monkeypatch.setattr(openapi, "own", lambda: {"spec": "Other words."})
    after = openapi.index()["paths"]["api/v1"]
    openapi._hash.cache_clear()
    assert after != before
