"""NetworkPolicy: what may connect to what."""

from __future__ import annotations

import pytest

from ekslab.kubernetes.objects import resources as r
from ekslab.kubernetes.objects.network_policy import NetworkPolicies
from ekslab.kubernetes.objects.store import Store

OWN = {"from": [{"podSelector": {}}]}
OUTSIDE = {"to": [{"ipBlock": {"cidr": "0.0.0.0/0", "except": ["169.254.169.254/32"]}}]}
WEB, OTHER, DB, NODE, FAR = "10.0.1.10", "10.0.2.10", "10.0.1.11", "10.0.1.23", "93.184.216.34"


@pytest.fixture
def store():
    store = Store()
    addresses = [{"type": "InternalIP", "address": NODE}]
    store.put(r.NODES, {"metadata": {"name": "node"}, "status": {"addresses": addresses}})
    for name, labels in (("a", {"team": "a"}), ("b", {"team": "b"})):
        store.put(r.NAMESPACES, {"metadata": {"name": name, "labels": labels}})
    for namespace, name, ip in (("a", "web", WEB), ("a", "db", DB), ("b", "web", OTHER)):
        meta = {"namespace": namespace, "name": name, "labels": {"app": name}}
        store.put(r.PODS, {"metadata": meta, "spec": {}, "status": {"podIP": ip}})
    store.put(
        r.SERVICES,
        {"metadata": {"namespace": "a", "name": "web"}, "spec": {"clusterIP": "10.100.0.9", "ports": [{"port": 80}]}},
    )
    subset = {"addresses": [{"ip": WEB}], "ports": [{"port": 8080}]}
    store.put(r.ENDPOINTS, {"metadata": {"namespace": "a", "name": "web"}, "subsets": [subset]})
    return store


def policy(store, *, selector=None, types=("Ingress",), **rules):
    spec = {"podSelector": selector or {}, "policyTypes": list(types), **rules}
    store.put(r.NETWORK_POLICIES, {"metadata": {"namespace": "a", "name": "p"}, "spec": spec})
    return NetworkPolicies(store).allows


def test_without_a_policy_everything_connects(store):
    allows = NetworkPolicies(store).allows
    assert allows(OTHER, WEB, 80)
    assert allows(WEB, FAR, 443)


def test_a_namespace_of_its_own(store):
    allows = policy(store, types=("Ingress", "Egress"), ingress=[OWN], egress=[{"to": OWN["from"]}, OUTSIDE])
    assert allows(DB, WEB, 8080)
    assert not allows(OTHER, WEB, 8080)
    assert not allows(OTHER, "10.100.0.9", 80)  # by the service it is the same pod
    assert allows(DB, "10.100.0.9", 80)
    assert allows(NODE, WEB, 8080)  # its kubelet's probes
    assert not allows("10.0.9.9", WEB, 8080)
    assert allows(WEB, FAR, 443)
    assert not allows(WEB, "169.254.169.254%10.0.1.23", 80)
    assert allows(OTHER, "169.254.169.254", 80)  # no policy in namespace b
    assert allows(WEB, OTHER, 80)


def test_peers_are_chosen_by_labels_of_pods_and_namespaces_and_by_ports(store):
    peer = {"namespaceSelector": {"matchLabels": {"team": "b"}}, "podSelector": {"matchLabels": {"app": "web"}}}
    allows = policy(
        store,
        selector={"matchLabels": {"app": "db"}},
        ingress=[{"from": [peer], "ports": [{"port": 5432, "endPort": 5433}]}],
    )
    assert allows(OTHER, DB, 5432)
    assert allows(OTHER, DB, 5433)
    assert not allows(OTHER, DB, 5434)
    assert not allows(WEB, DB, 5432)
    assert allows(OTHER, WEB, 80)  # which the policy doesn't select


def test_a_policy_without_rules_lets_nothing_in(store):
    allows = policy(store)
    assert not allows(DB, WEB, 80)
    assert allows(WEB, OTHER, 80)
