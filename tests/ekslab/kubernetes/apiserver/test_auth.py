"""Who may do what: tokens, RBAC, reviews."""

from __future__ import annotations

import json

import pytest
import requests
from kubernetes import client
from kubernetes.client.exceptions import ApiException


def test_nobody_gets_in_without_a_valid_token(running):
    path = f"{running.url}/api/v1/namespaces/default/pods"
    wrong = requests.get(path, headers={"Authorization": "Bearer nonsense"}, verify=str(running.ca), timeout=10)
    assert (wrong.status_code, wrong.json()["reason"], wrong.json()["message"]) == (401, "Unauthorized", "Unauthorized")
    without = requests.get(path, verify=str(running.ca), timeout=10)
    assert (without.status_code, without.json()["reason"]) == (401, "Unauthorized")
    assert requests.get(f"{running.url}/healthz", verify=str(running.ca), timeout=10).text == "ok"


def test_a_caller_of_aws_may_what_its_access_policies_say_and_another_is_refused(running):
    assert client.CoreV1Api(running.api_client("k8s-aws-v1.alice")).list_node().items
    bob = client.CoreV1Api(running.api_client("k8s-aws-v1.bob"))
    bob.list_namespaced_pod("default")
    bob.read_namespace("default")  # a namespace is in itself
    for call, status in (
        (bob.list_node, 403),
        (lambda: bob.list_namespaced_pod("kube-system"), 403),
        (lambda: bob.read_namespace("kube-system"), 403),
        (bob.list_namespace, 403),
        (client.CoreV1Api(running.api_client("k8s-aws-v1.robot")).list_node, 401),
    ):
        with pytest.raises(ApiException) as error:
            call()
        assert error.value.status == status


@pytest.fixture
def account(running, core, namespace):
    """A service account's own client."""
    core.create_namespaced_service_account(namespace, {"metadata": {"name": "robot"}})
    request = client.AuthenticationV1TokenRequest(
        spec=client.V1TokenRequestSpec(audiences=["https://kubernetes.default.svc"], expiration_seconds=3600)
    )
    token = core.create_namespaced_service_account_token("robot", namespace, request).status.token
    return running.api_client(token)


def test_a_service_account_may_what_its_roles_say(account, api, core, namespace):
    robot = client.CoreV1Api(account)
    core.create_namespaced_config_map(namespace, {"metadata": {"name": "a"}})
    core.create_namespaced_config_map(namespace, {"metadata": {"name": "b"}})
    with pytest.raises(ApiException) as error:
        robot.list_namespaced_config_map(namespace)
    assert json.loads(error.value.body)["message"] == (
        f'configmaps is forbidden: User "system:serviceaccount:{namespace}:robot" cannot list resource "configmaps" '
        f'in API group "" in the namespace "{namespace}"'
    )
    rbac = client.RbacAuthorizationV1Api(api)
    rules = [
        {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"], "resourceNames": ["a"]},
        {"apiGroups": [""], "resources": ["pods/log"], "verbs": ["get"]},
    ]
    rbac.create_namespaced_role(namespace, {"metadata": {"name": "reader"}, "rules": rules})
    subject = {"kind": "ServiceAccount", "name": "robot", "namespace": namespace}
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reader"}
    rbac.create_namespaced_role_binding(
        namespace, {"metadata": {"name": "reader"}, "subjects": [subject], "roleRef": reference}
    )
    assert robot.read_namespaced_config_map("a", namespace)
    for refused in (
        lambda: robot.read_namespaced_config_map("b", namespace),
        lambda: robot.list_namespaced_config_map(namespace),
        lambda: robot.list_namespaced_pod(namespace),
        lambda: robot.read_namespaced_config_map("a", "default"),
    ):
        with pytest.raises(ApiException) as error:
            refused()
        assert error.value.status == 403


def test_a_deleted_account_s_token_is_worth_nothing(account, core, namespace):
    core.delete_namespaced_service_account("robot", namespace)
    with pytest.raises(ApiException) as error:
        client.CoreV1Api(account).list_namespaced_pod(namespace)
    assert error.value.status == 401


def test_reviews(account, api, running, namespace):
    def may(who, verb):
        attributes = {"verb": verb, "resource": "pods", "namespace": namespace}
        review = {"spec": {"resourceAttributes": attributes}}
        return client.AuthorizationV1Api(who).create_self_subject_access_review(review).status.allowed

    assert may(api, "delete")
    assert not may(account, "delete")
    whoami = client.AuthenticationV1Api(account).create_self_subject_review({}).status.user_info
    assert whoami.username == f"system:serviceaccount:{namespace}:robot"
    assert f"system:serviceaccounts:{namespace}" in whoami.groups
    review = {"spec": {"token": running.credentials.kubernetes_token}}
    assert client.AuthenticationV1Api(api).create_token_review(review).status.authenticated


def test_an_administrator_may_act_as_somebody_else(running, namespace):
    answer = requests.get(
        f"{running.url}/api/v1/namespaces/{namespace}/pods",
        headers={
            "Authorization": f"Bearer {running.credentials.kubernetes_token}",
            "Impersonate-User": f"system:serviceaccount:{namespace}:default",
        },
        verify=str(running.ca),
        timeout=10,
    )
    assert answer.status_code == 403
    assert f"system:serviceaccount:{namespace}:default" in answer.json()["message"]


def test_acting_as_another_needs_the_right_for_each_group(account, running, api, namespace):
    rbac = client.RbacAuthorizationV1Api(api)
    rule = {"apiGroups": [""], "resources": ["users"], "resourceNames": ["anna"], "verbs": ["impersonate"]}
    rbac.create_cluster_role({"metadata": {"name": f"as-anna-{namespace}"}, "rules": [rule]})
    rbac.create_cluster_role_binding(
        {
            "metadata": {"name": f"as-anna-{namespace}"},
            "subjects": [{"kind": "ServiceAccount", "name": "robot", "namespace": namespace}],
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": f"as-anna-{namespace}"},
        }
    )
    whoami = {"kind": "SelfSubjectReview", "apiVersion": "authentication.k8s.io/v1"}

    def status(**headers):
        return requests.post(
            f"{running.url}/apis/authentication.k8s.io/v1/selfsubjectreviews",
            json=whoami,
            headers={**account.configuration.api_key, **{k.replace("_", "-"): v for k, v in headers.items()}},
            verify=str(running.ca),
            timeout=10,
        ).status_code

    assert status(Impersonate_User="anna") == 201
    assert status(Impersonate_User="bert") == 403
    assert status(Impersonate_User="anna", Impersonate_Group="system:masters") == 403
    assert status(Impersonate_Group="system:masters") == 400


def test_a_role_or_binding_grants_no_more_than_its_maker_has(account, api, namespace):
    """A role and a binding may give no right that their maker lacks, unless by `escalate` and `bind`."""
    rbac, group = client.RbacAuthorizationV1Api(api), "rbac.authorization.k8s.io"
    rules = [
        {"apiGroups": [group], "resources": ["roles", "rolebindings"], "verbs": ["create", "update"]},
        {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list"]},
        {"apiGroups": [group], "resources": ["clusterroles"], "resourceNames": ["view"], "verbs": ["bind"]},
    ]
    rbac.create_namespaced_role(namespace, {"metadata": {"name": "maker"}, "rules": rules})
    subject = {"kind": "ServiceAccount", "name": "robot", "namespace": namespace}

    def binding(name, kind="ClusterRole"):
        reference = {"apiGroup": group, "kind": kind, "name": name}
        return {"metadata": {"name": f"to-{name}"}, "subjects": [subject], "roleRef": reference}

    rbac.create_namespaced_role_binding(namespace, binding("maker", "Role"))
    robot = client.RbacAuthorizationV1Api(account)

    def role(name, *rules):
        return {"metadata": {"name": name}, "rules": list(rules)}

    robot.create_namespaced_role(
        namespace, role("less", {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"]})
    )
    robot.create_namespaced_role_binding(namespace, binding("less", "Role"))
    robot.create_namespaced_role_binding(namespace, binding("view"))
    more = {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}
    for refused in (
        lambda: robot.create_namespaced_role(namespace, role("more", more)),
        lambda: robot.replace_namespaced_role("less", namespace, role("less", more)),
        lambda: robot.create_namespaced_role_binding(namespace, binding("cluster-admin")),
    ):
        with pytest.raises(ApiException) as error:
            refused()
        assert error.value.status == 403
        assert (
            "is attempting to grant RBAC permissions not currently held:\n{APIGroups:["
            in json.loads(error.value.body)["message"]
        )


def test_applying_what_is_not_there_is_creating_it(account, api, running, namespace):
    rbac = client.RbacAuthorizationV1Api(api)
    rule = {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["patch"]}
    rbac.create_namespaced_role(namespace, {"metadata": {"name": "patcher"}, "rules": [rule]})
    rbac.create_namespaced_role_binding(
        namespace,
        {
            "metadata": {"name": "patcher"},
            "subjects": [{"kind": "ServiceAccount", "name": "robot", "namespace": namespace}],
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "patcher"},
        },
    )

    def apply():
        return requests.patch(
            f"{running.url}/api/v1/namespaces/{namespace}/configmaps/new?fieldManager=test",
            json={"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "new"}},
            headers={**account.configuration.api_key, "Content-Type": "application/apply-patch+yaml"},
            verify=str(running.ca),
            timeout=10,
        )

    assert "cannot create resource" in apply().json()["message"]
    client.CoreV1Api(api).create_namespaced_config_map(namespace, {"metadata": {"name": "new"}})
    assert apply().status_code == 200
