"""RBAC: which rules a user has, and what they allow."""

from __future__ import annotations

from typing import Any

import pytest

from ekslab.kubernetes.apiserver.auth import Attributes, Authorizer, User
from ekslab.kubernetes.objects import resources as r
from ekslab.kubernetes.objects.admission import Admission
from ekslab.kubernetes.objects.errors import ApiError
from ekslab.kubernetes.objects.registry import Registry
from ekslab.kubernetes.objects.store import Store
from ekslab.kubernetes.seed import seed

BOB = User("bob", ("dev", "system:authenticated"))
ROBOT = User("system:serviceaccount:n:robot", ("system:serviceaccounts", "system:authenticated"))


def authorizer(*rules: dict[str, Any], subject: dict[str, Any] | None = None, cluster: bool = False) -> Authorizer:
    """With one role and one binding."""
    store = Store()
    role, binding = (r.CLUSTER_ROLES, r.CLUSTER_ROLE_BINDINGS) if cluster else (r.ROLES, r.ROLE_BINDINGS)
    metadata = {"name": "x"} if cluster else {"name": "x", "namespace": "n"}
    store.put(role, {"metadata": dict(metadata), "rules": list(rules)})
    reference = {"kind": role.kind, "name": "x"}
    subjects = [{"kind": "User", "name": "alice"}, subject or {"kind": "User", "name": "bob"}]
    store.put(binding, {"metadata": dict(metadata), "roleRef": reference, "subjects": subjects})
    return Authorizer(store)


READ_PODS = {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]}


@pytest.mark.parametrize(
    ("rule", "wanted", "allowed"),
    [
        (READ_PODS, Attributes("get", "", "pods", "", "n", "a"), True),
        (READ_PODS, Attributes("delete", "", "pods", "", "n", "a"), False),
        (READ_PODS, Attributes("get", "apps", "pods", "", "n", "a"), False),
        (READ_PODS, Attributes("get", "", "secrets", "", "n", "a"), False),
        (READ_PODS, Attributes("get", "", "pods", "", "other", "a"), False),
        (READ_PODS, Attributes("get", "", "pods", "log", "n", "a"), False),
        (READ_PODS, Attributes("get", path="/healthz"), False),
        ({**READ_PODS, "resources": ["pods/log"]}, Attributes("get", "", "pods", "log", "n", "a"), True),
        ({**READ_PODS, "resources": ["pods/log"]}, Attributes("get", "", "pods", "", "n", "a"), False),
        ({**READ_PODS, "resources": ["*/log"]}, Attributes("get", "", "pods", "log", "n", "a"), True),
        ({**READ_PODS, "resources": ["*/log"]}, Attributes("get", "", "pods", "", "n", "a"), False),
        ({**READ_PODS, "resources": ["*"]}, Attributes("get", "", "pods", "log", "n", "a"), True),
        ({**READ_PODS, "verbs": ["*"]}, Attributes("delete", "", "pods", "", "n", "a"), True),
        ({**READ_PODS, "apiGroups": ["*"]}, Attributes("get", "apps", "pods", "", "n", "a"), True),
        ({**READ_PODS, "resourceNames": ["a"]}, Attributes("get", "", "pods", "", "n", "a"), True),
        ({**READ_PODS, "resourceNames": ["a"]}, Attributes("get", "", "pods", "", "n", "b"), False),
        ({**READ_PODS, "resourceNames": ["a"]}, Attributes("list", "", "pods", "", "n"), False),
    ],
)
def test_a_rule_allows_what_it_names(rule: dict[str, Any], wanted: Attributes, allowed: bool) -> None:
    assert authorizer(rule).allows(BOB, wanted) is allowed


@pytest.mark.parametrize(
    ("urls", "path", "allowed"),
    [
        (["/healthz"], "/healthz", True),
        (["/healthz"], "/healthz/etcd", False),
        (["/api/*"], "/api/v1", True),
        (["/api/*"], "/apis", False),
        (["*"], "/anything", True),
    ],
)
def test_paths(urls: list[str], path: str, allowed: bool) -> None:
    rule = {"nonResourceURLs": urls, "verbs": ["get"]}
    assert authorizer(rule, cluster=True).allows(BOB, Attributes("get", path=path)) is allowed
    assert not authorizer(rule, cluster=True).allows(BOB, Attributes("post", path=path))


@pytest.mark.parametrize(
    ("subject", "bound"),
    [
        ({"kind": "User", "name": "bob"}, BOB),
        ({"kind": "Group", "name": "dev"}, BOB),
        ({"kind": "ServiceAccount", "name": "robot", "namespace": "n"}, ROBOT),
        ({"kind": "Group", "name": "bob"}, None),
        ({"kind": "User", "name": "dev"}, None),
        ({"kind": "ServiceAccount", "name": "robot", "namespace": "other"}, None),
        ({"kind": "ServiceAccount", "name": "bob", "namespace": "n"}, None),
    ],
)
def test_a_binding_is_for_its_subjects(subject: dict[str, Any], bound: User | None) -> None:
    wanted = Attributes("get", "", "pods", "", "n", "a")
    for user in (BOB, ROBOT):
        assert authorizer(READ_PODS, subject=subject).allows(user, wanted) is (user is bound)


def test_a_cluster_role_counts_everywhere_and_in_one_namespace_by_a_role_binding() -> None:
    everywhere = authorizer(READ_PODS, cluster=True)
    assert everywhere.allows(BOB, Attributes("get", "", "pods", "", "anywhere", "a"))
    store = Store()
    store.put(r.CLUSTER_ROLES, {"metadata": {"name": "x"}, "rules": [READ_PODS]})
    subjects = [{"kind": "User", "name": "bob"}]
    reference = {"kind": "ClusterRole", "name": "x"}
    store.put(
        r.ROLE_BINDINGS, {"metadata": {"name": "b", "namespace": "n"}, "roleRef": reference, "subjects": subjects}
    )
    assert Authorizer(store).allows(BOB, Attributes("get", "", "pods", "", "n", "a"))
    assert not Authorizer(store).allows(BOB, Attributes("get", "", "pods", "", "m", "a"))
    store.put(r.CLUSTER_ROLE_BINDINGS, {"metadata": {"name": "gone"}, "roleRef": {"name": "no"}, "subjects": subjects})
    assert Authorizer(store).rules(BOB, "") == []


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        (
            Attributes("get", "apps", "deployments", "scale", "n", "web"),
            'deployments.apps "web" is forbidden: User "bob" cannot get resource "deployments/scale" in API group '
            '"apps" in the namespace "n"',
        ),
        (
            Attributes("list", "", "nodes"),
            'nodes is forbidden: User "bob" cannot list resource "nodes" in API group "" at the cluster scope',
        ),
        (Attributes("get", path="/metrics"), 'forbidden: User "bob" cannot get path "/metrics"'),
    ],
)
def test_refusals_are_worded_as_in_kubernetes(wanted: Attributes, said: str) -> None:
    with pytest.raises(ApiError) as error:
        authorizer().check(BOB, wanted)
    assert (error.value.code, error.value.reason, error.value.message) == (403, "Forbidden", said)


@pytest.fixture(scope="module")
def seeded() -> Store:
    store = Store()
    seed(Registry(store, Admission(store, "us-east-1"), lambda: 0.0))
    return store


MATRIX = {
    # verb, group, resource, subresource: the user-facing roles that allow it
    ("get", "", "pods", ""): {"view", "edit", "admin"},
    ("get", "", "pods", "log"): {"view", "edit", "admin"},
    ("watch", "", "configmaps", ""): {"view", "edit", "admin"},
    ("list", "apps", "deployments", ""): {"view", "edit", "admin"},
    ("list", "batch", "jobs", ""): {"view", "edit", "admin"},
    ("list", "networking.k8s.io", "networkpolicies", ""): {"view", "edit", "admin"},
    ("list", "policy", "poddisruptionbudgets", ""): {"view", "edit", "admin"},
    ("get", "", "secrets", ""): {"edit", "admin"},
    ("create", "", "pods", "exec"): {"edit", "admin"},
    ("create", "", "serviceaccounts", "token"): {"edit", "admin"},
    ("delete", "", "pods", ""): {"edit", "admin"},
    ("deletecollection", "apps", "replicasets", ""): {"edit", "admin"},
    ("patch", "apps", "deployments", "scale"): {"edit", "admin"},
    ("update", "batch", "jobs", ""): {"edit", "admin"},
    ("create", "networking.k8s.io", "ingresses", ""): {"edit", "admin"},
    ("create", "policy", "poddisruptionbudgets", ""): {"edit", "admin"},
    ("create", "rbac.authorization.k8s.io", "rolebindings", ""): {"admin"},
    ("list", "rbac.authorization.k8s.io", "roles", ""): {"admin"},
    ("create", "", "namespaces", ""): set(),
    ("get", "", "nodes", ""): set(),
}


@pytest.mark.parametrize("wanted", MATRIX, ids=" ".join)
def test_the_roles_for_people(seeded: Store, wanted: tuple[str, str, str, str]) -> None:
    allowing = set()
    for role in ("view", "edit", "admin"):
        store = Store()
        store.put(r.CLUSTER_ROLES, {**(seeded.get(r.CLUSTER_ROLES, "", role) or {})})
        reference = {"kind": "ClusterRole", "name": role}
        subjects = [{"kind": "User", "name": "bob"}]
        store.put(r.CLUSTER_ROLE_BINDINGS, {"metadata": {"name": "b"}, "roleRef": reference, "subjects": subjects})
        if Authorizer(store).allows(BOB, Attributes(*wanted, namespace="n", name="a")):
            allowing.add(role)
    assert allowing == MATRIX[wanted]


def test_what_every_user_may(seeded: Store) -> None:
    authorizer = Authorizer(seeded)
    for group, review in (
        ("authorization.k8s.io", "selfsubjectaccessreviews"),
        ("authorization.k8s.io", "selfsubjectrulesreviews"),
        ("authentication.k8s.io", "selfsubjectreviews"),
    ):
        assert authorizer.allows(BOB, Attributes("create", group, review))
        assert not authorizer.allows(BOB, Attributes("delete", group, review))
    for path in ("/api", "/api/v1", "/apis", "/apis/apps/v1", "/healthz", "/livez", "/readyz", "/version", "/version/",
                 "/openapi/v2"):  # fmt: skip
        assert authorizer.allows(BOB, Attributes("get", path=path))
    assert not authorizer.allows(BOB, Attributes("get", path="/metrics"))
    anonymous = User("system:anonymous", ("system:unauthenticated",))
    assert authorizer.allows(anonymous, Attributes("get", path="/version"))
    assert not authorizer.allows(anonymous, Attributes("get", path="/api"))
    admin = User("a", ("system:masters",))
    assert authorizer.allows(admin, Attributes("delete", "any", "thing"))
    assert {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]} in authorizer.rules(admin, "")
