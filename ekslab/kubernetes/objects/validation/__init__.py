"""Validation of objects: for each kind, a table of what is checked for which field, and what may not change."""

from __future__ import annotations

from ekslab.kubernetes.objects import resources as r
from ekslab.kubernetes.objects.errors import Cause
from ekslab.kubernetes.objects.resources import Object, Resource
from ekslab.kubernetes.objects.validation import formats
from ekslab.kubernetes.objects.validation.configuration import CONFIG_MAP, NAMESPACE, SECRET, VOLUME_CLAIM
from ekslab.kubernetes.objects.validation.formats import Format
from ekslab.kubernetes.objects.validation.metadata import metadata
from ekslab.kubernetes.objects.validation.networking import (
    ENDPOINT_SLICE,
    INGRESS,
    LEASE,
    NETWORK_POLICY,
    POD_DISRUPTION_BUDGET,
    PRIORITY_CLASS,
)
from ekslab.kubernetes.objects.validation.pods import POD, pod_annotations
from ekslab.kubernetes.objects.validation.quotas import LIMIT_RANGE, RESOURCE_QUOTA
from ekslab.kubernetes.objects.validation.rbac import CLUSTER_ROLE, CLUSTER_ROLE_BINDING, ROLE, ROLE_BINDING
from ekslab.kubernetes.objects.validation.rules import ROOT, Rule, Scope, field, fields
from ekslab.kubernetes.objects.validation.services import SERVICE, wrong_addresses
from ekslab.kubernetes.objects.validation.updates import UPDATES
from ekslab.kubernetes.objects.validation.workloads import DAEMON_SET, DEPLOYMENT, JOB, REPLICA_SET

__all__ = ["formats", "validate", "wrong_addresses"]

_NAMES: dict[Resource, Format] = {
    r.NAMESPACES: formats.dns_label,
    r.SERVICES: formats.dns_1035_label,
    r.ROLES: formats.path_segment,
    r.CLUSTER_ROLES: formats.path_segment,
    r.ROLE_BINDINGS: formats.path_segment,
    r.CLUSTER_ROLE_BINDINGS: formats.path_segment,
    r.POD_DISRUPTION_BUDGETS: formats.path_segment,
}
"""The format of a kind's names; that of all others is `dns_subdomain`."""
_TABLES: dict[Resource, Rule] = {
    r.PODS: POD,
    r.DEPLOYMENTS: DEPLOYMENT,
    r.REPLICA_SETS: REPLICA_SET,
    r.DAEMON_SETS: DAEMON_SET,
    r.JOBS: JOB,
    r.SERVICES: SERVICE,
    r.CONFIG_MAPS: CONFIG_MAP,
    r.SECRETS: SECRET,
    r.NAMESPACES: NAMESPACE,
    r.PERSISTENT_VOLUME_CLAIMS: VOLUME_CLAIM,
    r.ROLES: ROLE,
    r.CLUSTER_ROLES: CLUSTER_ROLE,
    r.ROLE_BINDINGS: ROLE_BINDING,
    r.CLUSTER_ROLE_BINDINGS: CLUSTER_ROLE_BINDING,
    r.NETWORK_POLICIES: NETWORK_POLICY,
    r.INGRESSES: INGRESS,
    r.POD_DISRUPTION_BUDGETS: POD_DISRUPTION_BUDGET,
    r.PRIORITY_CLASSES: PRIORITY_CLASS,
    r.LIMIT_RANGES: LIMIT_RANGE,
    r.RESOURCE_QUOTAS: RESOURCE_QUOTA,
    r.LEASES: LEASE,
    r.ENDPOINT_SLICES: ENDPOINT_SLICE,
}
_OF_PODS = fields(field("annotations", pod_annotations))


def _table(resource: Resource) -> Rule:
    rows = [field("metadata", metadata(_NAMES.get(resource, formats.dns_subdomain)), absent={})]
    if resource is r.PODS:
        rows.append(field("metadata", _OF_PODS))
    return fields(*rows, _TABLES.get(resource, fields()))


_ALL = {resource: _table(resource) for resource in r.RESOURCES}


def validate(resource: Resource, obj: Object, old: Object | None = None) -> list[Cause]:
    """Everything wrong with `obj` (which has its defaults); `old` is the state it replaces, if any."""
    causes = list(_ALL[resource](obj, ROOT, Scope(obj, old)))
    if old is not None and (check := UPDATES.get(resource)) is not None:
        changed = list(check(obj, old))
        causes = [*changed, *causes] if resource in _CHANGES_FIRST else [*causes, *changed]
    return causes


_CHANGES_FIRST = (r.CONFIG_MAPS, r.SECRETS, r.SERVICES, r.DAEMON_SETS)
"""Kinds of which Kubernetes looks at the change before the rest."""
