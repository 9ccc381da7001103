"""The table of Services."""

from __future__ import annotations

import ipaddress

from ekslab.kubernetes.objects.errors import Cause
from ekslab.kubernetes.objects.resources import Object
from ekslab.kubernetes.objects.validation import formats
from ekslab.kubernetes.objects.validation.metadata import label_key, labels
from ekslab.kubernetes.objects.validation.pods import port_or_name
from ekslab.kubernetes.objects.validation.printed import internal
from ekslab.kubernetes.objects.validation.rules import (
    Causes,
    Place,
    Scope,
    between,
    both,
    each,
    equals,
    field,
    fields,
    first,
    forbidden,
    formatted,
    invalid,
    is_unique,
    not_,
    one_of,
    pointer,
    required,
    when,
)

_TYPES = ("ClusterIP", "ExternalName", "LoadBalancer", "NodePort")
_port = between(1, 65535)
_MAX_TIMEOUT = 86400  # seconds of session affinity
_FAMILIES, _POLICIES = ("IPv4", "IPv6"), ("PreferDualStack", "RequireDualStack", "SingleStack")
_DISTRIBUTIONS = ("PreferClose", "PreferSameZone", "PreferSameNode")


def is_headless(spec: Object) -> bool:
    return spec.get("clusterIP") == "None"


_has_node_ports = equals("type", "NodePort", "LoadBalancer")
_is_balanced = equals("type", "LoadBalancer")


def _is_external(spec: Object) -> bool:
    return _has_node_ports(spec) or (spec.get("type") == "ClusterIP" and bool(spec.get("externalIPs")))


def _needs_health_check(spec: Object) -> bool:
    return _is_balanced(spec) and spec.get("externalTrafficPolicy") == "Local"


def _named_if_many(ports: list[Object], at: Place, _: Scope) -> Causes:
    if len(ports) > 1:
        for index, port in enumerate(ports):
            if not port.get("name"):
                yield Cause.required(str(at.item(index).child("name")))


PORT = fields(
    field("name", formatted(formats.dns_label), is_unique),
    field("port", _port, absent=0),
    required("protocol", one_of("SCTP", "TCP", "UDP")),
    field("targetPort", port_or_name, absent=0),
    pointer("appProtocol", label_key),
)


def _ports_differ(ports: list[Object], at: Place, _: Scope) -> Causes:
    seen: list[tuple[str, int]] = []
    for index, port in enumerate(ports):
        key = (port.get("protocol", ""), port.get("nodePort", 0))
        if key[1]:
            if key in seen:
                yield Cause.duplicate(str(at.item(index).child("nodePort")), key[1])
            seen.append(key)
    seen = []
    for index, port in enumerate(ports):
        key = (port.get("protocol", ""), port.get("port", 0))
        if key in seen:
            same = internal("ServicePort", {"protocol": key[0], "port": key[1], "targetPort": 0})
            yield Cause.duplicate(str(at.item(index)), same)
        seen.append(key)


def _affinity(spec: Object, at: Place, _: Scope) -> Causes:
    kind, config, place = (
        spec.get("sessionAffinity"),
        spec.get("sessionAffinityConfig"),
        at.child("sessionAffinityConfig"),
    )
    if kind == "None" and config is not None:
        yield Cause.forbidden(str(place), "must not be set when session affinity is None")
    if kind != "ClientIP":
        return
    needed = "when session affinity type is ClientIP"
    client = (config or {}).get("clientIP")
    seconds = (client or {}).get("timeoutSeconds")
    place_of_client = place.child("clientIP")
    if config is None or client is None or seconds is None:
        lacking = (
            place if config is None else place_of_client if client is None else place_of_client.child("timeoutSeconds")
        )
        yield Cause.required(str(lacking), needed)
    elif not 0 < seconds <= _MAX_TIMEOUT:
        why = f"must be greater than 0 and less than {_MAX_TIMEOUT}"
        yield Cause.invalid(str(place_of_client.child("timeoutSeconds")), seconds, why)


def _addresses(spec: Object, at: Place, scope: Scope) -> Causes:
    """The cluster's addresses of a service, their families, and how they go together."""
    if spec.get("type") == "ExternalName":
        return
    address, addresses, place = spec.get("clusterIP", ""), spec.get("clusterIPs") or [], at.child("clusterIPs")
    if address and not addresses:
        yield Cause.required(str(place))
    elif address and addresses[0] != address:
        yield Cause.invalid(str(place), addresses, "first value must match `clusterIP`")
    elif not address and addresses:
        yield Cause.invalid(str(place), addresses, "must be empty when `clusterIP` is not specified")
    families, place_of_families = spec.get("ipFamilies") or [], at.child("ipFamilies")
    for index, family in enumerate(families):
        yield from one_of(*_FAMILIES)(family, place_of_families.item(index), scope)
        if family in families[:index]:
            yield Cause.duplicate(str(place_of_families.item(index)), family)
    if (policy := spec.get("ipFamilyPolicy")) is not None:
        yield from one_of(*_POLICIES)(policy, at.child("ipFamilyPolicy"), scope)
    wrong = False
    for index, text in enumerate(addresses):
        if not index and text == "None":
            if len(addresses) > 1:
                wrong = True
                yield Cause.invalid(str(place), addresses, "'None' must be the first and only value")
            continue
        causes = [Cause.invalid(str(place.item(index)), text, why) for why in formats.ip_address(text)]
        wrong = wrong or bool(causes)
        yield from causes
    if len(addresses) > 2:
        yield Cause.invalid(str(place), addresses, "may only hold up to 2 values")
    if wrong:
        return
    versions = [ipaddress.ip_address(text).version for text in addresses if text != "None"]
    if len(addresses) > 1 and sorted(versions) != [4, 6]:
        yield Cause.invalid(str(place), addresses, "may specify no more than one IP for each IP family")
    for index, (version, family) in enumerate(zip(versions, families, strict=False)):
        if family in _FAMILIES and family != f"IPv{version}":
            why = f"expected an {family} value as indicated by `ipFamilies[{index}]`"
            yield Cause.invalid(str(place.item(index)), addresses[index], why)


def _source_ranges(spec: Object, at: Place, scope: Scope) -> Causes:
    ranges, place = spec.get("loadBalancerSourceRanges") or [], at.child("LoadBalancerSourceRanges")
    if ranges and not _is_balanced(spec):
        yield Cause.forbidden(str(place), "may only be used when `type` is 'LoadBalancer'")
    for index, text in enumerate(ranges):
        yield from formatted(formats.cidr)(text.strip(), place.item(index), scope)


_balanced_only = "may only be used when `type` is 'LoadBalancer'"
_no_external_name = "may not be set for ExternalName services"
_health_only = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"
_external_address = first(formatted(formats.ip_address), formatted(formats.special_address))

SPEC = fields(
    when(
        both(lambda spec: not is_headless(spec), not_(equals("type", "ExternalName"))),
        required("ports"),
    ),
    when(
        both(is_headless, _has_node_ports),
        lambda spec, at, _: (
            Cause.invalid(
                str(at.child("clusterIPs").item(0)), "None", f"may not be set to 'None' for {spec['type']} services"
            ),
        ),
    ),
    when(
        equals("type", "ExternalName"),
        field("clusterIPs", forbidden(_no_external_name)),
        field("ipFamilies", forbidden(_no_external_name)),
        field("ipFamilyPolicy", forbidden(_no_external_name)),
        required(
            "externalName",
            lambda name, at, scope: formatted(formats.dns_subdomain)(name.removesuffix("."), at, scope),
        ),
    ),
    field("ports", _named_if_many, each(PORT)),
    field("selector", labels),
    required("sessionAffinity", one_of("ClientIP", "None")),
    _affinity,
    _addresses,
    field("externalIPs", each(_external_address)),
    required("type", one_of(*_TYPES)),
    when(
        equals("type", "ClusterIP"),
        field("ports", each(fields(field("nodePort", forbidden("may not be used when `type` is 'ClusterIP'"))))),
    ),
    field("ports", _ports_differ),
    _source_ranges,
    when(not_(_is_balanced), pointer("allocateLoadBalancerNodePorts", forbidden(_balanced_only))),
    when(
        _is_balanced,
        pointer("loadBalancerClass", label_key),
        otherwise=(pointer("loadBalancerClass", forbidden(_balanced_only)),),
    ),
    when(
        _is_external,
        required("externalTrafficPolicy", one_of("Cluster", "Local")),
        otherwise=(field("externalTrafficPolicy", invalid("may only be set for externally-accessible services")),),
    ),
    when(
        _needs_health_check,
        field("healthCheckNodePort", _port),
        otherwise=(field("healthCheckNodePort", invalid(_health_only)),),
    ),
    pointer("internalTrafficPolicy", one_of("Cluster", "Local")),
    pointer("trafficDistribution", one_of(*_DISTRIBUTIONS)),
)
SERVICE = fields(field("spec", SPEC, absent={}))


def wrong_addresses(service: Object) -> list[Cause]:
    """What is wrong with a service's addresses: that alone is said, before the rest is looked at."""
    return list(_addresses(service["spec"], Place("spec"), Scope(service)))


def service_update(value: Object, old: Object) -> Causes:
    """What of a service's addresses may not change."""
    spec, before, at = value["spec"], old["spec"], Place("spec")
    if "ExternalName" in (spec.get("type"), before.get("type")) or (is_headless(spec) and is_headless(before)):
        return
    addresses, had = spec.get("clusterIPs") or [], before.get("clusterIPs") or []
    place = at.child("clusterIPs")
    if not addresses and had:
        yield Cause.invalid(str(place.item(0)), addresses, "primary clusterIP can not be unset")
    for index, (new, old_address) in enumerate(zip(addresses, had, strict=False)):
        if new != old_address:
            yield Cause.invalid(str(place.item(index)), addresses, "may not change once set")
    families, had_families = spec.get("ipFamilies") or [], before.get("ipFamilies") or []
    if families and had_families and families[0] != had_families[0] and not is_headless(before):
        yield Cause.invalid(str(at.child("ipFamilies").item(0)), families, "may not change once set")
    if _is_balanced(spec) and _is_balanced(before) and spec.get("loadBalancerClass") != before.get("loadBalancerClass"):
        yield Cause.invalid(
            str(at.child("loadBalancerClass")), spec.get("loadBalancerClass"), "may not change once set"
        )
