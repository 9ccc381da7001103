"""Tables of NetworkPolicies, Ingresses, PodDisruptionBudgets, PriorityClasses, Leases and EndpointSlices."""

from __future__ import annotations

import ipaddress

from ekslab.kubernetes.objects.errors import Cause
from ekslab.kubernetes.objects.resources import Object
from ekslab.kubernetes.objects.validation import formats
from ekslab.kubernetes.objects.validation.metadata import SELECTOR
from ekslab.kubernetes.objects.validation.pods import port_or_name
from ekslab.kubernetes.objects.validation.printed import internal
from ekslab.kubernetes.objects.validation.rules import (
    Causes,
    Place,
    Rule,
    Scope,
    between,
    created,
    each,
    equals,
    field,
    fields,
    formatted,
    holds,
    one_of,
    pointer,
    required,
    when,
)
from ekslab.kubernetes.objects.validation.workloads import at_most_100_percent, int_or_percent

_port = between(1, 65535)


# Network policies


def _end_port(value: Object, at: Place, scope: Scope) -> Causes:
    port, end = value.get("port"), value.get("endPort")
    if end is None:
        return
    place = at.child("endPort")
    if port is None:
        yield Cause.invalid(str(place), end, "may not be specified when `port` is not specified")
    elif isinstance(port, str):
        yield Cause.invalid(str(place), end, "may not be specified when `port` is non-numeric")
    else:
        if end < port:
            yield Cause.invalid(str(place), port, "must be greater than or equal to `port`")
        yield from _port(end, place, scope)


_POLICY_PORT = fields(
    pointer("protocol", one_of("TCP", "UDP", "SCTP")),
    pointer("port", port_or_name),
    _end_port,
)


def _except(value: Object, at: Place, scope: Scope) -> Causes:
    if formats.cidr(value["cidr"]):
        return
    block = ipaddress.ip_network(value["cidr"], strict=False)
    for index, text in enumerate(value.get("except") or ()):
        place = at.child("except").item(index)
        if wrong := formats.cidr(text):
            yield Cause.invalid(str(place), text, wrong[0])
            return
        part = ipaddress.ip_network(text, strict=False)
        if part.version != block.version or part.network_address not in block or part.prefixlen <= block.prefixlen:
            yield Cause.invalid(str(place), text, "must be a strict subset of `cidr`")


_IP_BLOCK = fields(required("cidr", formatted(formats.cidr)), when(lambda block: bool(block.get("cidr")), _except))


def _one_peer(value: Object, at: Place, _: Scope) -> Causes:
    if not value:
        yield Cause.required(str(at), "must specify a peer")
    elif "ipBlock" in value and len(value) > 1:
        yield Cause.forbidden(str(at), "may not specify both ipBlock and another peer")


_PEER = fields(
    field("podSelector", SELECTOR),
    field("namespaceSelector", SELECTOR),
    field("ipBlock", _IP_BLOCK),
    _one_peer,
)


def _traffic(peers: str) -> Rule:
    return each(fields(field("ports", each(_POLICY_PORT)), field(peers, each(_PEER))))


NETWORK_POLICY = fields(
    field(
        "spec",
        fields(
            field("podSelector", SELECTOR),
            field("ingress", _traffic("from")),
            field("egress", _traffic("to")),
            when(
                lambda spec: len(spec.get("policyTypes") or ()) > 2,
                lambda spec, at, _: (
                    Cause.invalid(
                        str(at.child("policyTypes")), spec["policyTypes"], "may not specify more than two policyTypes"
                    ),
                ),
                otherwise=(field("policyTypes", each(one_of("Ingress", "Egress"))),),
            ),
        ),
    )
)

# Ingresses


def _service_backend(value: Object, at: Place, scope: Scope) -> Causes:
    service = value["service"]
    place = at.child("service")
    yield from required("name", formatted(formats.dns_1035_label)).collected(service, place, scope)
    port = service.get("port") or {}
    name, number, place = port.get("name"), port.get("number"), place.child("port")
    if name and number:
        yield Cause.invalid(str(at), "", "cannot set both port name & port number")
    elif name:
        yield from formatted(formats.port_name)(name, place.child("name"), scope)
    elif number:
        yield from _port(number, place.child("number"), scope)
    else:
        yield Cause.required(str(at), "port name or number is required")


def _backend(value: Object, at: Place, scope: Scope) -> Causes:
    if "resource" in value and "service" in value:
        yield Cause.invalid(str(at), "", "cannot set both resource and service backends")
    elif "service" in value:
        yield from _service_backend(value, at, scope)
    elif "resource" in value:
        yield from _RESOURCE_BACKEND(value["resource"], at.child("resource"), scope)
    else:
        yield Cause.invalid(str(at), "", "resource or service backend is required")


_RESOURCE_BACKEND = fields(
    field("apiGroup", formatted(formats.dns_subdomain)),
    required("kind", formatted(formats.path_segment), why="kind is required"),
    required("name", formatted(formats.path_segment), why="name is required"),
)
_absolute = holds(lambda path: path.startswith("/"), "must be an absolute path")
_NOT_IN_PATHS = ("//", "/./", "/../", "%2f", "%2F")
_NOT_AT_ENDS = ("/..", "/.")


def _plain_path(path: str, at: Place, _: Scope) -> Causes:
    for part in _NOT_IN_PATHS:
        if part in path:
            yield Cause.invalid(str(at), path, f"must not contain '{part}'")
    for end in _NOT_AT_ENDS:
        if path.endswith(end):
            yield Cause.invalid(str(at), path, f"cannot end with '{end}'")


_PATH = when(
    lambda path: path.get("pathType") is None,
    required("pathType", why="pathType must be specified"),
    otherwise=(
        when(equals("pathType", "Exact", "Prefix"), field("path", _absolute, _plain_path, absent="")),
        when(equals("pathType", "ImplementationSpecific"), field("path", _absolute)),
        pointer("pathType", one_of("Exact", "ImplementationSpecific", "Prefix")),
        field("backend", _backend, absent={}),
    ),
)
_is_no_address = holds(lambda host: bool(formats.ip_address(host)), "must be a DNS name, not an IP address")
INGRESS = fields(
    field(
        "spec",
        fields(
            when(
                lambda spec: not spec.get("rules") and spec.get("defaultBackend") is None,
                lambda _, at, __: (
                    Cause.invalid(str(at), None, "either `defaultBackend` or `rules` must be specified"),
                ),
            ),
            field("defaultBackend", _backend),
            field(
                "rules",
                each(
                    fields(
                        field("host", _is_no_address, formatted(formats.host_name)),
                        field("http", fields(required("paths", each(_PATH)))),
                    )
                ),
            ),
            field(
                "tls",
                each(
                    fields(
                        field("hosts", each(formatted(formats.host_name))),
                        field("secretName", formatted(formats.dns_subdomain)),
                    )
                ),
            ),
            pointer("ingressClassName", formatted(formats.dns_subdomain)),
        ),
        absent={},
    )
)

# Disruption budgets, priorities, leases, endpoints


def _one_bound(value: Object, at: Place, _: Scope) -> Causes:
    if value.get("minAvailable") is not None and value.get("maxUnavailable") is not None:
        why = "minAvailable and maxUnavailable cannot be both set"
        yield Cause.invalid(str(at), internal("PodDisruptionBudgetSpec", value), why)


POD_DISRUPTION_BUDGET = fields(
    field(
        "spec",
        fields(
            _one_bound,
            pointer("minAvailable", int_or_percent, at_most_100_percent),
            pointer("maxUnavailable", int_or_percent, at_most_100_percent),
            field("selector", SELECTOR),
            pointer("unhealthyPodEvictionPolicy", one_of("AlwaysAllow", "IfHealthyBudget")),
        ),
    )
)

_HIGHEST_PRIORITY = 1_000_000_000


def _priority(value: Object, at: Place, _: Scope) -> Causes:
    name, number = value["metadata"].get("name", ""), value.get("value", 0)
    if name.startswith("system-"):
        if name not in ("system-node-critical", "system-cluster-critical"):
            why = "priority class names with 'system-' prefix are reserved for system use only. error: "
            yield Cause.forbidden(
                str(at.child("metadata").child("name")), why + f"{name} is not a known system priority class"
            )
    elif number > _HIGHEST_PRIORITY:
        why = f"maximum allowed value of a user defined priority is {_HIGHEST_PRIORITY}"
        yield Cause.forbidden(str(at.child("value")), why)


PRIORITY_CLASS = created(
    _priority,
    required("preemptionPolicy", one_of("PreemptLowerPriority", "Never")),
)
LEASE = fields(
    field(
        "spec",
        fields(
            pointer("leaseDurationSeconds", holds(lambda seconds: seconds > 0, "must be greater than 0")),
            pointer("leaseTransitions", holds(lambda count: count >= 0, "must be greater than or equal to 0")),
        ),
    )
)


def _endpoints(value: Object, at: Place, scope: Scope) -> Causes:
    """Endpoints have addresses of the slice's type."""
    kind = value.get("addressType")
    for index, endpoint in enumerate(value.get("endpoints") or ()):
        place = at.child("endpoints").item(index).child("addresses")
        addresses = endpoint.get("addresses") or []
        if not addresses:
            yield Cause.required(str(place), "must contain at least 1 address")
        for number, text in enumerate(addresses):
            where = place.item(number)
            if kind == "FQDN":
                yield from formatted(formats.dns_subdomain)(text, where, scope)
            elif kind in ("IPv4", "IPv6"):
                wrong = [*formatted(formats.ip_address)(text, where, scope)]
                yield from wrong
                if not wrong and (":" in text) != (kind == "IPv6"):
                    yield Cause.invalid(str(where), text, f"must be an {kind} address")
                elif not wrong:
                    yield from formatted(formats.special_address)(text, where, scope)


ENDPOINT_SLICE = fields(
    required("addressType", one_of("FQDN", "IPv4", "IPv6")),
    _endpoints,
    field(
        "ports",
        each(
            fields(
                field("name", formatted(formats.dns_label)),
                pointer("protocol", one_of("SCTP", "TCP", "UDP")),
                pointer("port", _port),
            )
        ),
    ),
)
