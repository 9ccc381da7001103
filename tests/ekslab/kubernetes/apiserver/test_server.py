"""The API server as the official client sees it."""

from __future__ import annotations

import json
import threading

import pytest
import requests
from kubernetes import client, watch
from kubernetes.client.exceptions import ApiException

from labkit.versions import pinned


def refused(call, *args, **kwargs) -> tuple[int, str, str]:
    """Status, reason and message of a refusal."""
    with pytest.raises(ApiException) as error:
        call(*args, **kwargs)
    body = json.loads(error.value.body)
    assert body["kind"] == "Status"
    assert body["code"] == error.value.status
    return body["code"], body["reason"], body["message"]


def test_objects_get_an_identity(core, namespace):
    made = core.create_namespaced_config_map(namespace, {"metadata": {"name": "a"}, "data": {"k": "v"}})
    assert made.metadata.uid
    assert made.metadata.creation_timestamp
    assert int(made.metadata.resource_version) > 0
    assert made.metadata.managed_fields[0].operation == "Update"
    again = core.read_namespaced_config_map("a", namespace)
    assert again.metadata.uid == made.metadata.uid


def test_generated_names_differ(core, namespace):
    names = [
        core.create_namespaced_config_map(namespace, {"metadata": {"generateName": "g-"}}).metadata.name
        for _ in range(3)
    ]
    assert len(set(names)) == 3
    assert all(len(name) == 7 for name in names)


def test_refusals_have_the_standard_reasons(core, apps, namespace, workload):
    body = {"metadata": {"name": "a"}}
    core.create_namespaced_config_map(namespace, body)
    assert refused(core.create_namespaced_config_map, namespace, body) == (
        409,
        "AlreadyExists",
        'configmaps "a" already exists',
    )
    assert refused(core.read_namespaced_pod, "nope", namespace) == (404, "NotFound", 'pods "nope" not found')
    assert refused(apps.read_namespaced_deployment, "nope", namespace) == (
        404,
        "NotFound",
        'deployments.apps "nope" not found',
    )
    assert refused(core.create_namespaced_config_map, "nowhere", body) == (
        404,
        "NotFound",
        'namespaces "nowhere" not found',
    )
    bad = workload("Deployment", "web")
    bad["spec"]["selector"] = {"matchLabels": {"app": "other"}}
    code, reason, message = refused(apps.create_namespaced_deployment, namespace, bad)
    assert (code, reason) == (422, "Invalid")
    assert message == (
        'Deployment.apps "web" is invalid: spec.template.metadata.labels: Invalid value: {"app":"web"}: '
        "`selector` does not match template `labels`"
    )


def test_validation_collects_every_cause(core, namespace):
    pod = {
        "metadata": {"name": "a"},
        "spec": {
            "containers": [{"name": "Bad_Name", "image": "i", "volumeMounts": [{"name": "x", "mountPath": "/x"}]}]
        },
    }
    with pytest.raises(ApiException) as error:
        core.create_namespaced_pod(namespace, pod)
    causes = json.loads(error.value.body)["details"]["causes"]
    assert [(cause["field"], cause["reason"]) for cause in causes] == [
        ("spec.containers[0].name", "FieldValueInvalid"),
        ("spec.containers[0].volumeMounts[0].name", "FieldValueNotFound"),
    ]


def test_an_update_of_an_older_version_conflicts(core, namespace):
    made = core.create_namespaced_config_map(namespace, {"metadata": {"name": "a"}, "data": {"k": "1"}})
    made.data = {"k": "2"}
    core.replace_namespaced_config_map("a", namespace, made)
    code, reason, message = refused(core.replace_namespaced_config_map, "a", namespace, made)
    assert (code, reason) == (409, "Conflict")
    assert "the object has been modified; please apply your changes to the latest version" in message


def test_a_dry_run_changes_nothing(core, namespace):
    made = core.create_namespaced_config_map(namespace, {"metadata": {"name": "a"}}, dry_run="All")
    assert made.metadata.uid
    assert refused(core.read_namespaced_config_map, "a", namespace)[0] == 404
    core.create_namespaced_config_map(namespace, {"metadata": {"name": "a"}})
    core.patch_namespaced_config_map("a", namespace, {"data": {"k": "v"}}, dry_run="All")
    core.delete_namespaced_config_map("a", namespace, dry_run="All")
    assert core.read_namespaced_config_map("a", namespace).data is None


def test_an_unchanged_object_keeps_its_version(core, namespace):
    made = core.create_namespaced_config_map(namespace, {"metadata": {"name": "a"}, "data": {"k": "v"}})
    same = core.patch_namespaced_config_map("a", namespace, {"data": {"k": "v"}})
    assert same.metadata.resource_version == made.metadata.resource_version


def test_lists_come_in_pages(core, namespace):
    for number in range(5):
        core.create_namespaced_config_map(namespace, {"metadata": {"name": f"m{number}", "labels": {"l": "x"}}})
    names, token = [], None
    while True:
        page = core.list_namespaced_config_map(namespace, label_selector="l=x", limit=2, _continue=token)
        assert len(page.items) <= 2
        names += [item.metadata.name for item in page.items]
        token = page.metadata._continue
        if not token:
            break
    assert names == [f"m{number}" for number in range(5)]


def test_a_watch_shows_changes_and_respects_selectors(core, namespace):
    listed = core.list_namespaced_config_map(namespace)
    seen = []
    ready = threading.Event()

    def follow() -> None:
        stream = watch.Watch()
        ready.set()
        for event in stream.stream(
            core.list_namespaced_config_map,
            namespace,
            label_selector="on=yes",
            resource_version=listed.metadata.resource_version,
            timeout_seconds=5,
        ):
            seen.append((event["type"], event["object"].metadata.name))
            if event["type"] == "DELETED":
                stream.stop()

    thread = threading.Thread(target=follow)
    thread.start()
    ready.wait()
    core.create_namespaced_config_map(namespace, {"metadata": {"name": "off"}})
    core.create_namespaced_config_map(namespace, {"metadata": {"name": "on", "labels": {"on": "yes"}}})
    core.patch_namespaced_config_map("on", namespace, {"data": {"k": "v"}})
    core.patch_namespaced_config_map("on", namespace, {"metadata": {"labels": {"on": "no"}}})
    thread.join(60)
    assert seen == [("ADDED", "on"), ("MODIFIED", "on"), ("DELETED", "on")]


def test_a_watch_ends_after_its_timeout(core, namespace):
    assert list(watch.Watch().stream(core.list_namespaced_secret, namespace, timeout_seconds=1)) == []


def test_a_watch_that_wants_the_state_first_is_told_when_it_has_it(running):
    response = requests.get(
        f"{running.url}/api/v1/nodes?watch=1",
        headers={"Authorization": f"Bearer {running.credentials.kubernetes_token}"},
        params={"timeoutSeconds": "1", "sendInitialEvents": "true", "allowWatchBookmarks": "true"},
        verify=str(running.ca),
        timeout=10,
    )
    events = [json.loads(line) for line in response.text.splitlines()]
    assert [event["type"] for event in events] == ["ADDED", "ADDED", "BOOKMARK"]
    assert events[-1]["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}


def test_finalizers_hold_a_deleted_object(core, namespace):
    body = {"metadata": {"name": "held", "finalizers": ["example.com/wait"]}}
    core.create_namespaced_config_map(namespace, body)
    core.delete_namespaced_config_map("held", namespace)
    held = core.read_namespaced_config_map("held", namespace)
    assert held.metadata.deletion_timestamp
    core.patch_namespaced_config_map("held", namespace, [{"op": "remove", "path": "/metadata/finalizers"}])
    assert refused(core.read_namespaced_config_map, "held", namespace)[0] == 404


def test_secrets_take_plain_text_and_keep_base64(core, namespace):
    made = core.create_namespaced_secret(namespace, {"metadata": {"name": "s"}, "stringData": {"k": "plain"}})
    assert made.data == {"k": "cGxhaW4="}
    assert made.string_data is None
    assert made.type == "Opaque"


def test_immutable_things_stay(core, apps, namespace, workload):
    core.create_namespaced_config_map(namespace, {"metadata": {"name": "i"}, "data": {"k": "1"}, "immutable": True})
    assert refused(core.patch_namespaced_config_map, "i", namespace, {"data": {"k": "2"}})[2] == (
        'ConfigMap "i" is invalid: data: Forbidden: field is immutable when `immutable` is set'
    )
    apps.create_namespaced_deployment(namespace, workload("Deployment", "web", replicas=0))
    change = {"spec": {"selector": {"matchLabels": {"x": "y"}}, "template": {"metadata": {"labels": {"x": "y"}}}}}
    assert "field is immutable" in refused(apps.patch_namespaced_deployment, "web", namespace, change)[2]


def test_defaults_are_those_of_a_cluster(apps, namespace, workload):
    made = apps.create_namespaced_deployment(namespace, workload("Deployment", "web", replicas=0))
    spec = made.spec
    assert spec.strategy.rolling_update.max_surge == "25%"
    assert spec.progress_deadline_seconds == 600
    assert spec.revision_history_limit == 10
    pod = spec.template.spec
    assert (pod.restart_policy, pod.dns_policy, pod.termination_grace_period_seconds) == ("Always", "ClusterFirst", 30)
    container = pod.containers[0]
    assert container.image_pull_policy == "IfNotPresent"
    assert container.termination_message_path == "/dev/termination-log"


def test_protected_namespaces_stay(core):
    assert refused(core.delete_namespace, "kube-system")[1] == "Forbidden"


def test_a_namespace_has_its_account_and_certificate(core, namespace):
    assert core.read_namespaced_service_account("default", namespace).metadata.name == "default"
    assert "BEGIN CERTIFICATE" in core.read_namespaced_config_map("kube-root-ca.crt", namespace).data["ca.crt"]


def test_a_deleted_namespace_takes_everything_along(core, apps, workload, eventually):
    core.create_namespace({"metadata": {"name": "short-lived"}})
    apps.create_namespaced_deployment("short-lived", workload("Deployment", "web"))
    eventually(lambda: core.list_namespaced_pod("short-lived").items)
    core.delete_namespace("short-lived")
    eventually(lambda: "short-lived" not in [n.metadata.name for n in core.list_namespace().items])
    assert core.list_namespaced_pod("short-lived").items == []
    assert refused(core.create_namespaced_config_map, "short-lived", {"metadata": {"name": "a"}})[0] == 404


def test_version_and_discovery(api):
    assert client.VersionApi(api).get_code().minor == pinned()["kubernetes"]["eks"].split(".")[1]
    assert {group.name for group in client.ApisApi(api).get_api_versions().groups} >= {"apps", "batch"}
    names = {resource.name for resource in client.AppsV1Api(api).get_api_resources().resources}
    assert {"deployments", "deployments/scale", "daemonsets", "replicasets"} <= names


def test_unknown_paths_and_methods_are_refused(running):
    def ask(method: str, path: str) -> tuple[int, str]:
        answer = requests.request(
            method,
            running.url + path,
            headers={"Authorization": f"Bearer {running.credentials.kubernetes_token}"},
            verify=str(running.ca),
            timeout=10,
        )
        return answer.status_code, answer.json()["reason"]

    assert ask("GET", "/apis/nothing.example/v1/things") == (404, "NotFound")
    assert ask("GET", "/api/v1/namespaces/default/gadgets") == (404, "NotFound")
    assert ask("GET", "/api/v1/namespaces/default/pods/a/nothing") == (404, "NotFound")
    assert ask("POST", "/api/v1/namespaces/default/pods/a/portforward") == (404, "NotFound")
    assert ask("POST", "/api/v1/namespaces/default/pods/a/ephemeralcontainers") == (405, "MethodNotAllowed")
    assert ask("GET", "/api/v1/namespaces/default/pods/a/proxy") == (404, "NotFound")
    assert ask("GET", "/api/v1/nodes/a/proxy/stats/summary") == (501, "NotImplemented")
    assert ask("GET", "/api/v1/namespaces/default/pods/a/log/b") == (404, "NotFound")
    assert ask("POST", "/apis/apps/v1/namespaces/default/statefulsets") == (501, "NotImplemented")
    assert ask("PATCH", "/apis/apps/v1/namespaces/default/statefulsets/a") == (501, "NotImplemented")
    assert ask("DELETE", "/apis/apps/v1/namespaces/default/statefulsets/a") == (404, "NotFound")
    assert ask("POST", "/apis/metrics.k8s.io/v1beta1/nodes") == (405, "MethodNotAllowed")
    assert ask("PUT", "/api/v1/namespaces/default/pods") == (405, "MethodNotAllowed")
    assert ask("POST", "/api/v1/namespaces/default/pods") == (400, "BadRequest")


@pytest.mark.parametrize("kind", ["application/json", "application/yaml", "application/apply-patch+yaml"])
@pytest.mark.parametrize("body", [b"[" * 100_000, b"a: [", b"\xff\xfe{", b"2026-13-45"])
def test_a_body_that_is_no_object_is_a_bad_request_and_harms_nobody(running, kind, body):
    answer = requests.patch(
        f"{running.url}/api/v1/namespaces/default/configmaps/a?fieldManager=tests",
        data=body,
        headers={"Authorization": f"Bearer {running.credentials.kubernetes_token}", "Content-Type": kind},
        verify=str(running.ca),
        timeout=30,
    )
    assert answer.status_code in (400, 415)
    assert answer.json()["reason"] in ("BadRequest", "UnsupportedMediaType")
    assert requests.get(f"{running.url}/readyz", verify=str(running.ca), timeout=30).text == "ok"


def test_nodes_look_like_those_of_eks(core):
    nodes = core.list_node().items
    assert [node.metadata.name for node in nodes] == ["ip-10-0-1-10.ec2.internal", "ip-10-0-2-20.ec2.internal"]
    info = nodes[0].status.node_info
    assert info.kernel_version.startswith("6.12.")
    assert info.os_image.startswith("Amazon Linux 2023")
    assert info.container_runtime_version.startswith("containerd://2.")
    assert nodes[0].spec.provider_id.startswith("aws:///us-east-1a/i-")
    assert nodes[0].metadata.labels["topology.kubernetes.io/zone"] == "us-east-1a"
    assert {c.type: c.status for c in nodes[0].status.conditions} == {
        "MemoryPressure": "False",
        "DiskPressure": "False",
        "PIDPressure": "False",
        "Ready": "True",
    }
    resources = {"cpu", "ephemeral-storage", "hugepages-1Gi", "hugepages-2Mi", "memory", "pods"}
    assert set(nodes[0].status.capacity) == set(nodes[0].status.allocatable) == resources
    assert {a.type: a.address for a in nodes[0].status.addresses}["InternalIP"] == "10.0.1.10"


def test_a_full_lab_stores_no_more(core, namespace, monkeypatch):
    core.create_namespaced_config_map(namespace, {"metadata": {"name": "a"}})
    monkeypatch.setattr("ekslab.memory.is_full", lambda: True)
    with pytest.raises(ApiException, match="memory is full"):
        core.create_namespaced_config_map(namespace, {"metadata": {"name": "b"}})
    core.delete_namespaced_config_map("a", namespace)


def test_objects_and_all_of_them_have_a_largest_size(core, namespace, pod_manifest):
    big = ["x" * 100_000] * 20
    with pytest.raises(ApiException, match="etcdserver: request is too large"):
        core.create_namespaced_pod(namespace, pod_manifest("big", *big))
