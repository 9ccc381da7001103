"""NetworkPolicy: which connections between addresses the policies of a cluster allow."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address, ip_network
from typing import Any

from ekslab.kubernetes.objects import resources as r
from ekslab.kubernetes.objects.resources import Object, namespace_of
from ekslab.kubernetes.objects.selectors import matches
from ekslab.kubernetes.objects.store import Store


class NetworkPolicies:
    """Decides by the store's policies. A pod that no policy selects takes part in every connection."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def allows(self, source: str, destination: str, port: int) -> bool:
        """Whether an address may connect to another one. A service's address counts as its pods'."""
        if not any(True for _ in self._store.list(r.NETWORK_POLICIES)):
            return True
        pods = {pod["status"]["podIP"]: pod for pod in self._store.list(r.PODS) if _has_address(pod)}
        client = pods.get(source)
        ends = self._backends(destination, port) or [(destination, port)]
        return any(
            self._permits(client, "Egress", ip, pods.get(ip), number)
            and self._permits(pods.get(ip), "Ingress", source, client, number)
            for ip, number in ends
        )

    def _backends(self, ip: str, port: int) -> list[tuple[str, int]]:
        """Addresses and ports behind a service's address."""
        for service in self._store.list(r.SERVICES):
            if service["spec"].get("clusterIP") == ip:
                found = self._store.get(r.ENDPOINTS, namespace_of(service), service["metadata"]["name"]) or {}
                named = {p.get("name", ""): p["port"] for p in service["spec"].get("ports") or ()}
                return [
                    (address["ip"], number["port"])
                    for subset in found.get("subsets") or ()
                    for number in subset.get("ports") or ()
                    if named.get(number.get("name", "")) == port
                    for address in subset.get("addresses") or ()
                ]
        return []

    def _permits(self, pod: Object | None, way: str, ip: str, peer: Object | None, port: int) -> bool:
        """Whether a pod's policies let it take part in a connection with `ip`, which is `peer`'s if that is a pod."""
        if pod is None or (way == "Ingress" and self._is_node(ip)):
            return True
        labels = pod["metadata"].get("labels") or {}
        policies = [
            policy["spec"]
            for policy in self._store.list(r.NETWORK_POLICIES, namespace_of(pod))
            if way in _types(policy["spec"]) and matches(policy["spec"].get("podSelector") or {}, labels)
        ]
        if not policies:
            return True
        key, side = ("ingress", "from") if way == "Ingress" else ("egress", "to")
        return any(
            self._matches(rule.get(side) or (), namespace_of(pod), ip, peer) and _has_port(rule.get("ports"), port)
            for spec in policies
            for rule in spec.get(key) or ()
        )

    def _is_node(self, ip: str) -> bool:
        """Whether it is a node's address, from where its kubelet probes pods whatever policies say."""
        return any(
            address.get("address") == ip
            for node in self._store.list(r.NODES)
            for address in node.get("status", {}).get("addresses") or ()
        )

    def _matches(self, peers: Iterable[Object], namespace: str, ip: str, peer: Object | None) -> bool:
        wanted = list(peers)
        return not wanted or any(self._is(one, namespace, ip, peer) for one in wanted)

    def _is(self, wanted: Object, namespace: str, ip: str, peer: Object | None) -> bool:
        if block := wanted.get("ipBlock"):
            address = ip_address(ip.partition("%")[0])  # a link-local one has its node behind it
            return address in ip_network(block["cidr"], strict=False) and not any(
                address in ip_network(part, strict=False) for part in block.get("except") or ()
            )
        if peer is None:
            return False
        where = namespace_of(peer)
        if "namespaceSelector" in wanted:
            found = self._store.get(r.NAMESPACES, "", where)
            if found is None or not matches(wanted["namespaceSelector"], found["metadata"].get("labels") or {}):
                return False
        elif where != namespace:
            return False
        return "podSelector" not in wanted or matches(wanted["podSelector"], peer["metadata"].get("labels") or {})


def _has_address(pod: Object) -> bool:
    """Whether a pod has an address of its own: those in the node's network have the node's, and no policies."""
    return bool(pod.get("status", {}).get("podIP")) and not pod["spec"].get("hostNetwork")


def _types(spec: Object) -> tuple[str, ...]:
    return tuple(spec.get("policyTypes") or (("Ingress", "Egress") if spec.get("egress") else ("Ingress",)))


def _has_port(ports: Iterable[Object] | None, port: int) -> bool:
    wanted = list(ports or ())

    def has(one: Any) -> bool:
        if one.get("protocol", "TCP") != "TCP":
            return False
        number = one.get("port")
        # The name of a container's port isn't looked up.
        return not isinstance(number, int) or number <= port <= int(one.get("endPort", number))

    return not wanted or any(map(has, wanted))
