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


def test_aws_users_of_the_account_are_administrators_and_roles_are_not(running):
    core = client.CoreV1Api(running.api_client("k8s-aws-v1.alice"))
    assert core.list_node().items
    with pytest.raises(ApiException) as error:
        client.CoreV1Api(running.api_client("k8s-aws-v1.robot")).list_node()
    assert error.value.status == 401


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
