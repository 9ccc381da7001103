"""ResourceQuota and LimitRange: what a namespace may hold, and what containers get that don't say what they need."""

from __future__ import annotations

import json

import pytest
from kubernetes.client.exceptions import ApiException

IMAGE = "docker.io/library/nginx:1.29.3"


def pod(name, priority="", **resources):
    container = {"name": "main", "image": IMAGE, "resources": resources}
    return {"metadata": {"name": name}, "spec": {"containers": [container], "priorityClassName": priority or None}}


def quota(hard, name="q", **spec):
    return {"metadata": {"name": name}, "spec": {"hard": hard, **spec}}


def refusal(call, *arguments, status=403):
    with pytest.raises(ApiException) as error:
        call(*arguments)
    assert error.value.status == status, error.value.body
    return json.loads(error.value.body)["message"]


def test_a_namespace_holds_no_more_than_its_quota(core, namespace):
    core.create_namespaced_resource_quota(
        namespace, quota({"pods": "2", "requests.cpu": "100m", "count/configmaps": "2"})
    )
    core.create_namespaced_pod(namespace, pod("a", requests={"cpu": "60m"}))
    said = refusal(core.create_namespaced_pod, namespace, pod("b", requests={"cpu": "50m"}))
    assert said == (
        'pods "b" is forbidden: exceeded quota: q, requested: requests.cpu=50m, used: requests.cpu=60m, '
        "limited: requests.cpu=100m"
    )
    said = refusal(core.create_namespaced_pod, namespace, pod("b"))
    assert said == 'pods "b" is forbidden: failed quota: q: must specify requests.cpu for: main'
    core.create_namespaced_config_map(namespace, {"metadata": {"name": "one"}})  # with kube-root-ca.crt that makes two
    assert "exceeded quota: q, requested: count/configmaps=1, used: count/configmaps=2" in refusal(
        core.create_namespaced_config_map, namespace, {"metadata": {"name": "two"}}
    )
    core.patch_namespaced_config_map("one", namespace, {"data": {"a": "b"}})  # what is there already isn't one more
    core.delete_namespaced_config_map("one", namespace)
    core.create_namespaced_config_map(namespace, {"metadata": {"name": "two"}})


def test_a_quota_says_what_is_used(core, namespace, eventually):
    core.create_namespaced_resource_quota(
        namespace, quota({"pods": "2", "limits.memory": "1Gi", "services.nodeports": "0"})
    )
    core.create_namespaced_pod(namespace, pod("a", limits={"memory": "512Mi"}))
    used = {"limits.memory": "512Mi", "pods": "1", "services.nodeports": "0"}
    eventually(lambda: core.read_namespaced_resource_quota("q", namespace).status.used == used)
    service = {"metadata": {"name": "s"}, "spec": {"type": "NodePort", "ports": [{"port": 80}]}}
    assert "requested: services.nodeports=1" in refusal(core.create_namespaced_service, namespace, service)


def test_a_quota_may_be_for_pods_of_a_priority_only(core, namespace):
    selector = {"scopeName": "PriorityClass", "operator": "In", "values": ["system-node-critical"]}
    core.create_namespaced_resource_quota(
        namespace, quota({"pods": "0"}, scopeSelector={"matchExpressions": [selector]})
    )
    core.create_namespaced_pod(namespace, pod("ordinary"))
    said = refusal(core.create_namespaced_pod, namespace, pod("pushy", "system-node-critical"))
    assert "exceeded quota: q, requested: pods=1, used: pods=0, limited: pods=0" in said


def test_containers_get_what_a_limit_range_says_and_stay_within_it(core, namespace):
    item = {
        "type": "Container",
        "defaultRequest": {"cpu": "25m", "memory": "32Mi"},
        "default": {"memory": "128Mi"},
        "max": {"memory": "512Mi"},
    }
    core.create_namespaced_limit_range(namespace, {"metadata": {"name": "l"}, "spec": {"limits": [item]}})
    made = core.create_namespaced_pod(namespace, pod("a", requests={"cpu": "50m"})).spec.containers[0].resources
    assert made.requests == {"cpu": "50m", "memory": "32Mi"}
    assert made.limits == {"memory": "128Mi"}
    said = refusal(core.create_namespaced_pod, namespace, pod("b", limits={"memory": "1Gi"}))
    assert said == 'pods "b" is forbidden: maximum memory usage per Container is 512Mi, but limit is 1Gi'


@pytest.mark.parametrize(
    ("hard", "said"),
    [
        ({"pods": "-1"}, "must be greater than or equal to 0"),
        ({"pods": "1.5"}, "must be an integer"),
        ({"cups": "1"}, "must be a standard resource type or fully qualified"),
    ],
)
def test_what_is_no_quota_is_invalid(hard, said, core, namespace):
    assert said in refusal(core.create_namespaced_resource_quota, namespace, quota(hard), status=422)


def test_what_is_no_limit_range_is_invalid(core, namespace):
    item = {"type": "Container", "min": {"cpu": "2"}, "max": {"cpu": "1"}}
    body = {"metadata": {"name": "l"}, "spec": {"limits": [item]}}
    assert "min value 2 is greater than max value 1" in refusal(
        core.create_namespaced_limit_range, namespace, body, status=422
    )


def test_a_service_with_a_node_port_gets_one(core, namespace):
    made = core.create_namespaced_service(
        namespace, {"metadata": {"name": "s"}, "spec": {"type": "NodePort", "ports": [{"port": 80}]}}
    )
    assert 30_000 <= made.spec.ports[0].node_port < 32_768
