"""What a changed service keeps of what it was given, and what it gives up with its type."""

from __future__ import annotations

from ekslab.kubernetes.objects.resources import Object

_WITH_NODE_PORTS = ("NodePort", "LoadBalancer")
# What belongs to a type: a service that changes to another one gives it up, unless it was changed with it.
_OF_BALANCERS = ("allocateLoadBalancerNodePorts", "loadBalancerClass", "healthCheckNodePort")
_OF_ADDRESSES = ("ipFamilies", "ipFamilyPolicy")


def keep_given(service: Object, old: Object) -> None:
    """Takes over what the API server gave to a service, and gives up what another type has no use for, in place."""
    spec, before = service.setdefault("spec", {}), old["spec"]
    _sync_addresses(spec, before)
    if _has_address(spec) and _has_address(before):
        _keep_addresses(spec, before)
    if _has_node_ports(spec) and _has_node_ports(before):
        _keep_node_ports(spec, before)
    _give_up(spec, before)


def _has_address(spec: Object) -> bool:
    return spec.get("type") != "ExternalName"


def _has_node_ports(spec: Object) -> bool:
    return spec.get("type") in _WITH_NODE_PORTS


def _sync_addresses(spec: Object, before: Object) -> None:
    """A client that knows one address only changes one of the two fields."""
    address, addresses = spec.get("clusterIP") or "", spec.get("clusterIPs") or []
    if address != before.get("clusterIP", "") and addresses and addresses == before.get("clusterIPs"):
        spec["clusterIPs"] = [address] if address else []


def _keep_addresses(spec: Object, before: Object) -> None:
    if "clusterIP" in before and not spec.get("clusterIP"):
        spec["clusterIP"] = before["clusterIP"]
    if not spec.get("clusterIPs") and spec.get("clusterIP") == before.get("clusterIP"):
        spec["clusterIPs"] = list(before.get("clusterIPs") or ())


def _keep_node_ports(spec: Object, before: Object) -> None:
    """Ports without a number get that of the old port with their name, unless another port took it."""
    had = {port.get("name", ""): port.get("nodePort") for port in before.get("ports") or ()}
    used = {port.get("nodePort") for port in spec.get("ports") or ()}
    for port in spec.get("ports") or ():
        number = had.get(port.get("name", ""))
        if not port.get("nodePort") and number and number not in used:
            port["nodePort"] = number


def _give_up(spec: Object, before: Object) -> None:
    given_up: tuple[str, ...] = ()
    if _has_address(before) and not _has_address(spec):
        given_up += _OF_ADDRESSES
        if spec.get("clusterIPs") == before.get("clusterIPs"):
            given_up += ("clusterIP", "clusterIPs")
    if before.get("type") == "LoadBalancer" and spec.get("type") != "LoadBalancer":
        given_up += _OF_BALANCERS
    if _has_node_ports(before) and not _has_node_ports(spec):
        if not spec.get("externalIPs"):
            given_up += ("externalTrafficPolicy",)
        had = [port.get("nodePort") for port in before.get("ports") or ()]
        if [port.get("nodePort") for port in spec.get("ports") or ()] == had:
            for port in spec.get("ports") or ():
                port.pop("nodePort", None)
    for name in given_up:
        if spec.get(name) == before.get(name):
            spec.pop(name, None)
